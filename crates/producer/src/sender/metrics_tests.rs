//! What the sender writes down: each record once, each batch's time where it was spent, each change of state as one event.

use std::time::Duration;

use rohrpost_protocol::ErrorCode;

use super::slow_tests::events;
use super::tests::{acked_at, failed};
use super::world::{Answer, World};
use crate::metrics::{Histogram, MetricsSnapshot, Stage};

fn snapshot(world: &mut World) -> MetricsSnapshot {
    world.core.note_ended();
    MetricsSnapshot::of(&world.shared)
}

/// What a stage's histogram has got since `before`: how many, and their sum in ms.
fn since(before: &MetricsSnapshot, after: &MetricsSnapshot, stage: Stage) -> (u64, u128) {
    let since: Histogram = after.latency(stage).since(&before.latency(stage));
    (since.count(), since.sum().as_millis())
}

/// Whether the exact counts add up, and the topic's figures to the producer's.
fn assert_adds_up(snapshot: &MetricsSnapshot) {
    let counts = &snapshot.counts;
    assert_eq!(
        counts.records_accepted,
        counts.records_acked
            + counts.records_handed_over
            + counts.records_not_written
            + counts.records_unknown
            + counts.records_pending
    );
    let topics = |of: fn(&crate::TopicMetrics) -> u64| snapshot.topics.values().map(of).sum::<u64>();
    let producer = &snapshot.producer;
    assert_eq!(topics(|t| t.record_send.total), producer.record_send.total);
    assert_eq!(topics(|t| t.record_retry.total), producer.record_retry.total);
    assert_eq!(topics(|t| t.record_error.total), producer.record_error.total);
    assert_eq!(producer.record_retry.total, counts.records_retried);
    assert_eq!(producer.batch_split.total, counts.batches_split);
}

#[test]
fn a_record_is_sent_once_however_often_its_batch_is_retried_or_split() {
    // MTR-1: Kafka counts 194 for such 40 records.
    let mut world = World::warm(&[]);
    world.prime(0);
    world.cluster.message_max_bytes = Some(150);
    let deliveries: Vec<_> = (0..40).map(|value| world.send(0, value)).collect();
    world.settle();
    world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    world.serve_all();
    let metrics = snapshot(&mut world);
    assert!(deliveries.iter().all(|delivery| delivery.is_done()));
    assert_eq!((metrics.producer.record_send.total, metrics.counts.records_acked), (41, 41));
    assert_eq!(metrics.producer.record_retry.total, 40);
    assert!(metrics.producer.batch_split.total >= 1);
    assert_eq!((metrics.counts.records_accepted, metrics.producer.record_error.total), (41, 0));
    assert_adds_up(&metrics);
}

#[test]
fn a_batch_that_no_connection_took_was_not_sent() {
    // MTR-1
    let mut world = World::warm(&[]);
    world.prime(0);
    let before = snapshot(&mut world);
    world.links.refusing.insert(1);
    let _delivery = world.send(0, 1);
    world.pass();
    let refused = snapshot(&mut world);
    assert_eq!(refused.producer.record_send.total, before.producer.record_send.total);
    assert_eq!(since(&before, &refused, Stage::Filling).0, 0);
    world.links.refusing.clear();
    world.serve_all();
    let sent = snapshot(&mut world);
    assert_eq!(sent.producer.record_send.total, before.producer.record_send.total + 1);
    assert_eq!(since(&before, &sent, Stage::Filling).0, 1);
    assert_adds_up(&sent);
}

#[test]
fn records_that_fail_are_errors_of_their_topic() {
    // MTR-1
    let mut world = World::warm(&[("retries", "0")]);
    let mut delivery = world.send(0, 1);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    failed(&mut delivery);
    let mut expired = world.send(1, 2);
    world.settle();
    world.run(130_000); // delivery.timeout.ms
    failed(&mut expired);
    let metrics = snapshot(&mut world);
    assert_eq!((metrics.producer.record_error.total, metrics.topics["t"].record_error.total), (2, 2));
    assert_eq!((metrics.counts.records_not_written, metrics.counts.records_unknown), (1, 1));
    assert_adds_up(&metrics);
}

#[test]
fn a_batch_s_time_is_written_down_where_it_was_spent() {
    // MTR-2: the application's pace, the broker, callbacks
    let mut world = World::warm(&[]);
    world.prime(0);
    let before = snapshot(&mut world);
    let mut delivery = world.send(0, 1);
    world.advance(30);
    world.settle();
    world.advance(70);
    world.serve(1);
    assert!(acked_at(&mut delivery).is_some());
    world.advance(5);
    let after = snapshot(&mut world);
    let stages = Stage::ALL.map(|stage| since(&before, &after, stage));
    assert_eq!(stages, [(0, 0), (1, 30), (1, 0), (1, 0), (1, 70), (1, 5), (1, 105)]);
    let node = |snapshot: &MetricsSnapshot, stage| snapshot.nodes[&1].latency(stage).unwrap().sum();
    assert_eq!(
        node(&after, Stage::Answering) - node(&before, Stage::Answering),
        Duration::from_millis(70),
        "and that of the broker"
    );
    assert_eq!(after.producer.request_latency_ms.unwrap().max, 70.0);
    assert_eq!(after.producer.record_queue_time_ms.unwrap().max, 30.0);
}

#[test]
fn waiting_for_a_turn_and_for_the_link_are_told_apart_from_the_broker() {
    // MTR-2
    let mut world = World::warm(&[("batch.size", "80"), ("max.in.flight.requests.per.connection", "1")]);
    world.prime(0);
    let _first = world.send(0, 1);
    world.settle();
    let before = snapshot(&mut world);
    let _second = world.send(0, 2);
    world.advance(10);
    let _others = [3, 4].map(|value| world.send(0, value)); // the last does not fit: the batch before it is closed
    world.advance(20);
    world.links.stuck.insert(1);
    world.serve(1);
    world.settle();
    let sent = snapshot(&mut world);
    assert_eq!(since(&before, &sent, Stage::Filling), (1, 10));
    assert_eq!(since(&before, &sent, Stage::Queued), (1, 20));
    world.advance(40);
    world.serve(1);
    let served = snapshot(&mut world);
    assert_eq!(since(&sent, &served, Stage::Writing), (1, 40), "the socket has taken nothing until now");
    assert_eq!(since(&sent, &served, Stage::Answering), (1, 0));
}

#[test]
fn an_outcome_that_waits_for_an_older_batch_is_late_by_telling() {
    // MTR-2, CMPL-3
    let mut world = World::warm(&[]);
    world.prime(0);
    let deliveries: Vec<_> = [1, 2]
        .map(|value| {
            let delivery = world.send(0, value);
            world.settle();
            delivery
        })
        .into();
    let before = snapshot(&mut world);
    let (older, younger) = (world.take(1), world.take(1));
    world.advance(10);
    world.answer_request(1, younger, |_| Answer::ok(2));
    let waiting = snapshot(&mut world);
    assert_eq!(since(&before, &waiting, Stage::Telling), (0, 0));
    world.advance(50);
    world.answer_request(1, older, |_| Answer::ok(1));
    let told = snapshot(&mut world);
    assert!(deliveries.iter().all(|delivery| delivery.is_done()));
    assert_eq!(since(&before, &told, Stage::Telling), (2, 50));
    assert_eq!(since(&before, &told, Stage::Total), (2, 120));
}

#[test]
fn throttling_and_the_size_of_requests_are_those_of_produce() {
    // MTR-1: Kafka's include all requests, and passes that sent nothing
    let mut world = World::warm(&[]);
    world.prime(0);
    world.cluster.throttle_ms = 300;
    let _deliveries: Vec<_> = (0..9).map(|value| world.send(0, value)).collect();
    world.settle();
    (0..20).for_each(|_| {
        world.pass();
    });
    world.serve(1);
    let metrics = snapshot(&mut world);
    assert_eq!(metrics.producer.produce_throttle_time_ms.unwrap().max, 300.0);
    assert_eq!(metrics.producer.produce_throttle_time_ms.unwrap().avg, 150.0, "of two answers");
    assert_eq!(metrics.producer.records_per_request_avg, Some(5.0), "of two requests");
    let size = metrics.producer.record_size.unwrap();
    assert!(size.avg > 8.0 && size.avg <= size.max && size.max < 40.0, "{size:?}");
}

#[test]
fn compression_is_told_in_bytes() {
    let mut world = World::warm(&[("compression.type", "lz4")]);
    let _deliveries: Vec<_> = (0..200).map(|_| world.send(0, 7)).collect();
    world.serve_all();
    let metrics = snapshot(&mut world);
    let rate = metrics.producer.compression_rate_avg.unwrap();
    assert!(rate > 0.01 && rate < 0.6, "{rate}");
    assert_eq!(metrics.topics["t"].compression_rate, Some(rate));
    assert!(metrics.topics["t"].byte.total < 200 * 15);
}

#[test]
fn each_change_of_state_is_an_event() {
    let mut world = World::warm(&[]);
    world.prime(0);
    let count = |events: &[String], text: &str| events.iter().filter(|event| event.contains(text)).count();
    // The leader moves, and a broker asks for silence.
    world.cluster.throttle_ms = 50;
    world.move_leader("t", 0, 2);
    let told = events(|| {
        let _delivery = world.send(0, 1);
        world.serve_all();
    });
    assert_eq!(count(&told, "t-0: the leader moved from 1 to 2"), 1, "{told:?}");
    assert!(count(&told, "asks for 50 ms") >= 1, "{told:?}");
    world.cluster.throttle_ms = 0;
    world.run(100);
    // The brokers forget the producer.
    let told = events(|| {
        let _delivery = world.send(0, 2);
        world.settle();
        world.answer(2, Answer::error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        world.serve_all();
    });
    assert_eq!(count(&told, "producer epoch bumped"), 1, "{told:?}");
    // A batch is too large, and then another one, of which that is known.
    world.cluster.message_max_bytes = Some(150);
    let told = events(|| {
        let _deliveries: Vec<_> = (0..40).map(|value| world.send(0, value)).collect();
        world.serve_all();
    });
    assert!(count(&told, "it is sent again in") >= 1, "{told:?}");
    world.cluster.message_max_bytes = None;
    // A batch expires.
    let told = events(|| {
        let _delivery = world.send(0, 3);
        world.settle();
        world.run(130_000);
    });
    assert_eq!(count(&told, "Expiring"), 1, "{told:?}");
    // The topic is created anew, and has more partitions.
    world.cut(2, false);
    let told = events(|| {
        world.cluster.create_anew("t");
        world.core.metadata.request_refresh();
        world.run(1000);
    });
    assert_eq!(count(&told, "created anew"), 1, "{told:?}");
    let told = events(|| {
        world.cluster.topics.get_mut("t").unwrap().partitions.push(Default::default());
        world.core.metadata.request_refresh();
        world.run(1000);
    });
    // PAR-4
    assert_eq!(count(&told, "partitions"), 1, "{told:?}");
    assert_eq!(count(&told, "topic t has grown from 3 to 4 partitions"), 1, "{told:?}");
}
