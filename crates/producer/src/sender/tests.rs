//! The core against answers written by hand.

use std::sync::atomic::Ordering;

use rohrpost_protocol::ErrorCode;

use super::request::Body;
use super::world::{Answer, PRIMED, World, batches};
use crate::delivery::Delivery;
use crate::outcome::{Delivered, DeliveryError, Outcome, Reason};

fn outcome(delivery: &mut Delivery) -> Result<Delivered, DeliveryError> {
    delivery.poll_now().expect("the record has an outcome")
}

pub(super) fn acked_at(delivery: &mut Delivery) -> Option<i64> {
    outcome(delivery).expect("acknowledged").offset()
}

pub(super) fn failed(delivery: &mut Delivery) -> (Outcome, Reason) {
    let error = outcome(delivery).expect_err("failed");
    (error.outcome(), error.reason())
}

/// Nothing of the partition is open, and all memory is back.
pub(super) fn is_clean(world: &World) -> bool {
    let pool = world.shared.accumulator.pool();
    world.shared.accumulator.counts().pending == 0 && pool.available() == pool.total()
}

// ---------------------------------------------------------------------------------------------- the ordinary way

#[test]
fn a_record_is_sent_to_its_leader_and_acknowledged_with_its_offset() {
    // MET-1: one bootstrap server reveals all. CMPL-8
    let mut world = World::warm(&[]);
    assert_eq!(
        world.links.nodes.keys().copied().collect::<Vec<_>>(),
        [1, 2, 3],
        "the bootstrap server is gone"
    );
    let mut delivery = world.send(1, 7);
    world.settle();
    assert_eq!(world.waiting(2), 1);
    assert!(delivery.poll_now().is_none());
    world.answer(2, Answer::ok(42));
    assert_eq!(acked_at(&mut delivery), Some(42));
    assert!(is_clean(&world));
}

#[test]
fn all_partitions_of_a_broker_go_in_one_request() {
    // ACC-16
    let mut world = World::new(&[]);
    world.cluster.create("t", 1, &[1, 1, 1]);
    world.shared.metadata.want(&"t".into());
    world.settle();
    for partition in 0..3 {
        world.send(partition, 1);
    }
    world.settle();
    assert_eq!(world.waiting(1), 1);
    assert_eq!(world.peek(1).len(), 3);
}

#[test]
fn the_request_tells_the_broker_acks_and_timeout() {
    // SND-5
    let mut world = World::warm(&[("request.timeout.ms", "7000")]);
    world.send(0, 1);
    world.settle();
    let Body::Produce(produce) = world.take(1).body else { panic!() };
    assert_eq!((produce.acks, produce.timeout_ms), (-1, 7000));
}

#[test]
fn with_acks_0_a_record_is_handed_over_when_it_is_written() {
    // SND-8, CMPL-8
    let mut world = World::warm(&[("acks", "0")]);
    let mut delivery = world.send(0, 1);
    world.settle();
    let request = world.take(1);
    assert!(delivery.poll_now().is_none(), "not before it is written");
    world.core.handle_written(request);
    assert_eq!(acked_at(&mut delivery), None);
    assert_eq!(world.shared.accumulator.counts().handed_over, 1);
    assert_eq!(world.shared.stats.requests_in_flight.load(Ordering::Relaxed), 0);
    assert!(is_clean(&world));
}

#[test]
fn produce_13_is_used_only_if_every_topic_has_an_id() {
    // VER-4
    let mut world = World::new(&[]);
    world.cluster.create("old", 0, &[1]);
    world.shared.metadata.want(&"t".into());
    world.shared.metadata.want(&"old".into());
    world.settle();
    world.send(0, 1);
    world.settle();
    assert_eq!(world.take(1).version, 13);
    world.send_to("old", 0, 1);
    world.settle();
    assert_eq!(world.take(1).version, 12);
    world.links.produce_max = 9;
    world.send(1, 1);
    world.settle();
    assert_eq!(world.take(2).version, 9);
}

#[test]
fn a_broker_without_a_common_version_ends_an_idempotent_producer_and_only_the_batch_of_another() {
    // ERR-4, VER-1
    for (idempotence, ends) in [("true", true), ("false", false)] {
        let mut world = World::warm(&[("enable.idempotence", idempotence)]);
        world.links.produce_max = 2;
        let mut delivery = world.send(0, 1);
        world.settle();
        let (outcome, reason) = failed(&mut delivery);
        assert_eq!((outcome, reason), (Outcome::NotWritten, Reason::Broker(ErrorCode::UNSUPPORTED_VERSION)));
        assert_eq!(world.shared.lifecycle.check().is_err(), ends);
    }
}

#[test]
fn a_throttled_broker_gets_nothing_until_its_time_is_over() {
    // SND-7
    let mut world = World::warm(&[]);
    world.links.throttled.insert(1, world.now_ms() + 100);
    world.send(0, 1);
    world.settle();
    assert_eq!(world.waiting(1), 0);
    world.advance(100);
    world.settle();
    assert_eq!(world.waiting(1), 1);
}

#[test]
fn a_pass_that_sent_nothing_names_a_later_time() {
    // SND-3, ACC-17: nothing spins while the leader is busy, held or away.
    let mut world = World::warm(&[]);
    world.prime(0);
    for value in 0..8 {
        world.send(0, value);
        world.settle();
    }
    assert_eq!(world.waiting(1), 5);
    let pass = world.pass();
    assert!(!pass.sent);
    assert!(pass.next_ms.is_none_or(|at| at > world.now_ms()));
    world.links.down.extend([-1, 1, 2, 3]);
    world.shared.metadata.want(&"unknown".into());
    let pass = world.pass();
    assert!(!pass.sent && pass.next_ms.is_some_and(|at| at > world.now_ms()));
}

// ---------------------------------------------------------------------------------------------- idempotence

#[test]
fn sequences_are_given_at_drain_and_count_records() {
    // IDM-0, IDM-2, ACC-18
    let mut world = World::warm(&[("linger.ms", "5")]);
    world.send(0, 1);
    world.send(0, 2);
    world.run(10);
    world.send(0, 3);
    world.run(10);
    assert_eq!(world.waiting(1), 1, "the first of an epoch goes alone");
    let request = world.take(1);
    let first = batches(&request)[0].clone();
    world.answer_request(1, request, |_| Answer::ok(0));
    world.settle();
    let second = &batches(&world.take(1))[0];
    assert_eq!((first.producer_id, first.epoch, first.sequence, first.values.len()), (4000, 0, 0, 2));
    assert_eq!((second.sequence, second.values.len()), (2, 1));
}

#[test]
fn nothing_is_drained_without_a_producer_id_and_appending_does_not_wait_for_it() {
    // IDM-1, RTY-1
    let mut world = World::new(&[]);
    world.cluster.identity.0 = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
    world.shared.metadata.want(&"t".into());
    world.settle();
    let mut delivery = world.send(0, 1);
    world.run(300);
    assert_eq!(world.waiting(1), 0);
    assert!((2..=4).contains(&world.cluster.identities_asked), "{}", world.cluster.identities_asked);
    world.cluster.identity.0 = ErrorCode::NONE;
    world.run(1000);
    world.serve(1);
    assert_eq!(acked_at(&mut delivery), Some(0));
}

#[test]
fn a_cluster_that_forbids_idempotent_writes_ends_the_producer_with_a_clear_error() {
    // IDM-15
    let mut world = World::new(&[]);
    world.shared.metadata.want(&"t".into());
    world.cluster.identity.0 = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
    world.settle();
    let refusal = world.shared.lifecycle.check().unwrap_err();
    assert!(format!("{refusal:?}").contains("enable.idempotence=false"), "{refusal:?}");
}

#[test]
fn retried_batches_keep_their_order_with_five_in_flight() {
    // IDM-4, IDM-5, ACC-21, THR-3
    let mut world = World::warm(&[]);
    world.prime(0);
    let mut deliveries: Vec<Delivery> = Vec::new();
    for value in 0..5 {
        deliveries.push(world.send(0, value));
        world.settle();
    }
    assert_eq!(world.waiting(1), 5);
    let stamps: Vec<i32> = {
        // The first is refused, so the others leave a gap.
        let mut sequences = Vec::new();
        for at in 0..5 {
            let request = world.take(1);
            sequences.push(batches(&request)[0].sequence);
            let code = if at == 0 {
                ErrorCode::NOT_ENOUGH_REPLICAS
            } else {
                ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            };
            world.answer_request(1, request, |_| Answer::error(code));
        }
        sequences
    };
    assert_eq!(stamps, [1, 2, 3, 4, 5]);
    deliveries.push(world.send(0, 5));
    for expected in 0..5 {
        world.run(2000);
        assert_eq!(world.waiting(1), 1, "one at a time, and nothing new before");
        let batch = &world.peek(1)[0];
        assert_eq!((batch.sequence, batch.epoch, batch.values[0]), (expected + 1, 0, expected as u64));
        world.serve(1);
    }
    world.serve_all();
    assert_eq!(world.log(0), [PRIMED, 0, 1, 2, 3, 4, 5]);
    for (offset, delivery) in deliveries.iter_mut().enumerate() {
        assert_eq!(acked_at(delivery), Some(offset as i64 + 1));
    }
    assert!(is_clean(&world));
}

#[test]
fn a_batch_lost_with_its_answer_is_found_again_and_not_written_twice() {
    // IDM-4, IDM-7
    let mut world = World::warm(&[]);
    let mut delivery = world.send(0, 9);
    world.settle();
    let batch = world.peek(1)[0].clone();
    assert_eq!(world.cluster.append(1, &batch).code, ErrorCode::NONE);
    world.cut(1, false);
    world.serve_all();
    assert_eq!(world.log(0), [9]);
    assert_eq!(acked_at(&mut delivery), Some(0));
}

#[test]
fn a_refused_batch_bumps_the_epoch_and_the_others_go_on_from_sequence_0() {
    // IDM-6, IDM-11
    let mut world = World::warm(&[]);
    let mut refused = world.send(0, 0);
    world.settle();
    let mut later = Vec::new();
    // The broker knows the producer, or it would accept any first sequence.
    world.serve(1);
    assert!(acked_at(&mut refused).is_some());
    let mut refused = world.send(0, 1);
    world.settle();
    for value in 2..4 {
        later.push(world.send(0, value));
        world.settle();
    }
    world.answer(1, Answer::error(ErrorCode::MESSAGE_TOO_LARGE));
    assert_eq!(failed(&mut refused), (Outcome::NotWritten, Reason::Broker(ErrorCode::MESSAGE_TOO_LARGE)));
    assert!(outcome(&mut refused).unwrap_err().message().contains("max.message.bytes"));
    world.serve_all();
    assert_eq!(world.log(0), [0, 2, 3]);
    assert!(later.iter_mut().all(|d| acked_at(d).is_some()));
    assert_eq!(world.shared.metrics_epoch_bumps(), 1);
    world.send(0, 4);
    world.settle();
    let batch = &world.peek(1)[0];
    assert_eq!((batch.epoch, batch.sequence), (1, 2));
    // Another partition changes with its next batch, at once: nothing of it is in flight.
    world.send(1, 5);
    world.settle();
    assert_eq!((world.peek(2)[0].epoch, world.peek(2)[0].sequence), (1, 0));
}

#[test]
fn a_partition_in_flight_finishes_its_old_epoch_before_it_takes_the_new_one() {
    // IDM-6, ACC-17
    let mut world = World::warm(&[]);
    world.send(1, 1);
    world.send(0, 2);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::INVALID_RECORD));
    world.send(0, 3);
    world.settle();
    assert_eq!(world.peek(1)[0].epoch, 1);
    world.send(1, 4);
    world.settle();
    assert_eq!(world.waiting(2), 1, "the new batch waits while the old epoch is in flight");
    world.serve(2);
    world.settle();
    assert_eq!((world.peek(2)[0].epoch, world.peek(2)[0].sequence), (1, 0));
}

#[test]
fn a_batch_of_unknown_fate_keeps_its_epoch_and_ends_as_unknown() {
    // IDM-16, IDM-8
    let mut world = World::warm(&[]);
    world.send(0, 0);
    world.settle();
    world.serve(1);
    let mut unknown = world.send(0, 1);
    world.settle();
    let mut behind = world.send(0, 2);
    world.settle();
    world.cut(1, false);
    // The broker has lost the end of its log: the sequence does not fit any more.
    let mut epochs = Vec::new();
    while unknown.poll_now().is_none() {
        world.run(1000);
        let batch = world.peek(1)[0].clone();
        assert_eq!(batch.values, [1]);
        epochs.push((batch.epoch, batch.sequence));
        world.answer(1, Answer::error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    }
    assert!(epochs.len() > 1 && epochs.iter().all(|e| *e == (0, 1)), "{epochs:?}");
    assert_eq!(
        failed(&mut unknown),
        (Outcome::Unknown, Reason::Broker(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER))
    );
    // The one behind it was in flight unanswered too: it is settled first, in its own epoch.
    while behind.poll_now().is_none() {
        world.run(1000);
        assert_eq!(world.peek(1)[0].epoch, 0);
        world.answer(1, Answer::error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    }
    // The partition goes on in the new epoch.
    let mut next = world.send(0, 3);
    world.settle();
    assert_eq!((world.peek(1)[0].epoch, world.peek(1)[0].sequence), (1, 0));
    world.serve(1);
    assert!(acked_at(&mut next).is_some());
}

#[test]
fn a_batch_that_was_certainly_not_written_goes_on_in_the_new_epoch() {
    // IDM-8, IDM-9, IDM-6
    for code in [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
    ] {
        let mut world = World::warm(&[]);
        let mut delivery = world.send(0, 1);
        world.settle();
        world.answer(1, Answer::error(code));
        world.run(500);
        assert_eq!((world.peek(1)[0].epoch, world.peek(1)[0].sequence), (1, 0), "{code}");
        world.serve(1);
        assert_eq!(acked_at(&mut delivery), Some(0));
    }
}

#[test]
fn restamped_batches_keep_their_order_when_the_first_of_them_fails_again() {
    // IDM-5, IDM-6
    let mut world = World::warm(&[]);
    world.send(0, 0);
    world.settle();
    world.serve(1);
    for value in 1..4 {
        world.send(0, value);
        world.settle();
    }
    for _ in 0..3 {
        world.answer(1, Answer::error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    }
    world.run(2000);
    assert_eq!((world.peek(1)[0].epoch, world.peek(1)[0].values[0]), (1, 1));
    world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    world.serve_all();
    assert_eq!(world.log(0), [0, 1, 2, 3]);
}

#[test]
fn a_partition_whose_later_batches_are_acknowledged_needs_no_new_epoch_after_an_expiry() {
    // IDM-12: all up to the next sequence is in the log, so the expired batch was written.
    let mut world = World::warm(&[("delivery.timeout.ms", "1000"), ("request.timeout.ms", "900")]);
    world.prime(0);
    let mut expired = world.send(0, 1);
    world.settle();
    world.advance(500);
    let mut second = world.send(0, 2);
    world.settle();
    world.run(600);
    assert_eq!(failed(&mut expired), (Outcome::Unknown, Reason::Expired));
    world.send(0, 3);
    world.settle();
    assert_eq!(world.waiting(1), 2, "a new batch waits until it is clear how the partition goes on");
    world.serve(1);
    world.serve(1);
    assert!(acked_at(&mut second).is_some());
    world.settle();
    assert_eq!((world.peek(1)[0].epoch, world.peek(1)[0].sequence), (0, 3));
    world.serve(1);
    assert_eq!(world.log(0), [PRIMED, 1, 2, 3]);
}

#[test]
fn a_batch_that_expires_alone_on_the_wire_sends_the_partition_to_a_new_epoch() {
    // IDM-12, IDM-16
    let mut world = World::warm(&[("delivery.timeout.ms", "1000"), ("request.timeout.ms", "900")]);
    let mut expired = world.send(0, 1);
    world.settle();
    let request = world.take(1);
    world.run(1000);
    assert_eq!(failed(&mut expired), (Outcome::Unknown, Reason::Expired));
    // Nothing else is open, so the partition goes on in a new epoch at once.
    let mut next = world.send(0, 2);
    world.settle();
    assert_eq!((world.peek(1)[0].epoch, world.peek(1)[0].sequence), (1, 0));
    world.serve(1);
    assert!(acked_at(&mut next).is_some());
    world.answer_request(1, request, |_| Answer::ok(0));
    assert!(is_clean(&world));
}

#[test]
fn the_memory_of_an_expired_batch_stays_with_its_request() {
    // ACC-25, ACC-24
    let mut world = World::warm(&[("delivery.timeout.ms", "1000"), ("request.timeout.ms", "900")]);
    let mut expired = world.send(0, 1);
    world.settle();
    let request = world.take(1);
    world.run(1000);
    assert!(expired.poll_now().is_some());
    let pool = world.shared.accumulator.pool();
    assert!(pool.available() < pool.total(), "the request still has the bytes");
    assert_eq!(batches(&request)[0].values, [1]);
    world.answer_request(1, request, |_| Answer::ok(0));
    assert_eq!(pool_left(&world), 0);
}

pub(super) fn pool_left(world: &World) -> usize {
    let pool = world.shared.accumulator.pool();
    pool.total() - pool.available()
}

#[test]
fn no_more_than_five_batches_of_a_partition_are_unsettled_when_its_leader_moves() {
    // IDM-7
    let mut world = World::warm(&[]);
    world.prime(0);
    for value in 0..5 {
        world.send(0, value);
        world.settle();
    }
    world.move_leader("t", 0, 2);
    world.core.warm_up(0, Vec::new(), 0);
    world.cut(3, false);
    world.run(200);
    world.send(0, 5);
    world.settle();
    assert_eq!((world.waiting(1), world.waiting(2)), (5, 0));
    world.answer(1, Answer::ok(0));
    world.settle();
    assert_eq!(world.waiting(2), 1);
}

#[test]
fn the_first_batch_of_an_epoch_is_acknowledged_before_the_next_one_goes() {
    // THR-3, IDM-7: the new leader does not know the producer and would take the second batch as its first.
    let mut world = World::warm(&[]);
    world.send(0, 1);
    world.settle();
    world.move_leader("t", 0, 2);
    world.cut(3, false);
    world.send(0, 2);
    world.settle();
    assert_eq!(world.waiting(2), 0);
    world.serve_all();
    assert_eq!(world.log(0), [1, 2]);
}

// ---------------------------------------------------------------------------------------------- outcomes

#[test]
fn a_batch_that_was_never_sent_ends_as_not_written() {
    // CMPL-8, ACC-24
    let mut world = World::warm(&[("delivery.timeout.ms", "1000"), ("request.timeout.ms", "900")]);
    world.links.down.insert(1);
    let mut delivery = world.send(0, 1);
    world.run(990);
    assert!(delivery.poll_now().is_none());
    world.run(10);
    assert_eq!(failed(&mut delivery), (Outcome::NotWritten, Reason::Expired));
    let text = outcome(&mut delivery).unwrap_err().to_string();
    assert!(text.contains("Expiring 1 record(s) for t-0: 1000 ms has passed since batch creation"), "{text}");
    assert!(is_clean(&world));
}

#[test]
fn an_expired_batch_tells_the_last_error_it_met() {
    let mut world = World::warm(&[("delivery.timeout.ms", "1000"), ("request.timeout.ms", "900")]);
    let mut delivery = world.send(0, 1);
    world.settle();
    while delivery.poll_now().is_none() {
        if world.waiting(1) > 0 {
            world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
        }
        world.run(10);
    }
    let error = outcome(&mut delivery).unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotWritten);
    assert!(error.to_string().contains("NOT_ENOUGH_REPLICAS"), "{error}");
}

#[test]
fn a_refused_batch_asks_again_within_half_a_second_unless_its_waits_or_attempts_are_set() {
    // RTY-1, ACC-13: what waits for replicas goes on within a second of their return (docs/departures.md)
    let longest_wait_ms = |settings: &[(&str, &str)]| {
        let mut world = World::warm(settings);
        world.send(0, 1);
        world.settle();
        let mut longest_ms = 0;
        for _ in 0..12 {
            world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
            let refused_ms = world.now_ms();
            while world.waiting(1) == 0 {
                world.run(10);
            }
            longest_ms = longest_ms.max(world.now_ms() - refused_ms);
        }
        longest_ms
    };
    assert!((320..500).contains(&longest_wait_ms(&[])), "{}", longest_wait_ms(&[]));
    for set in [("retries", "100"), ("retry.backoff.max.ms", "999")] {
        let longest_ms = longest_wait_ms(&[set]);
        assert!((800..1020).contains(&longest_ms), "{set:?}: {longest_ms}: Kafka's waits");
    }
}

#[test]
fn a_batch_whose_attempts_were_all_refused_ends_as_not_written() {
    // CMPL-8, RTY-2
    let mut world = World::warm(&[("retries", "2")]);
    let mut delivery = world.send(0, 1);
    for attempt in 0..3 {
        world.run(1500);
        assert_eq!(world.waiting(1), 1, "attempt {attempt}");
        world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    }
    assert_eq!(failed(&mut delivery), (Outcome::NotWritten, Reason::Broker(ErrorCode::NOT_ENOUGH_REPLICAS)));
    assert!(is_clean(&world));
}

#[test]
fn a_batch_with_one_attempt_that_may_have_written_ends_as_unknown() {
    // CMPL-8: the example of the reference.
    let mut world = World::warm(&[("retries", "2")]);
    let mut delivery = world.send(0, 1);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND));
    for _ in 0..2 {
        world.run(1500);
        world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    }
    assert_eq!(failed(&mut delivery).0, Outcome::Unknown);
}

#[test]
fn an_unanswered_attempt_makes_the_outcome_unknown() {
    // CMPL-8, SND-4
    for (timed_out, code) in [(true, ErrorCode::REQUEST_TIMED_OUT), (false, ErrorCode::NETWORK_EXCEPTION)] {
        let mut world = World::warm(&[("retries", "0")]);
        let mut delivery = world.send(0, 1);
        world.settle();
        world.cut(1, timed_out);
        assert_eq!(failed(&mut delivery), (Outcome::Unknown, Reason::Broker(code)));
        assert!(is_clean(&world));
    }
}

#[test]
fn a_duplicate_without_place_is_acknowledged_without_offset() {
    // IDM-10, CMPL-8
    let mut world = World::warm(&[]);
    let mut delivery = world.send(0, 1);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::DUPLICATE_SEQUENCE_NUMBER));
    assert_eq!(acked_at(&mut delivery), None);
}

#[test]
fn an_unknown_code_counts_as_an_unknown_server_error() {
    // ERR-5
    let mut world = World::warm(&[]);
    let mut delivery = world.send(0, 1);
    world.settle();
    world.answer(1, Answer::error(ErrorCode(2999)));
    assert_eq!(failed(&mut delivery).0, Outcome::Unknown);
}

#[test]
fn named_records_fail_with_their_own_words_and_the_others_because_of_them() {
    // ERR-3
    let mut world = World::warm(&[("linger.ms", "5")]);
    let mut all: Vec<Delivery> = (0..3).map(|value| world.send(0, value)).collect();
    world.run(10);
    let answer = Answer { records: vec![(1, "no key".into())], ..Answer::error(ErrorCode::INVALID_RECORD) };
    world.answer(1, answer);
    let texts: Vec<String> = all.iter_mut().map(|d| outcome(d).unwrap_err().message().to_owned()).collect();
    assert_eq!(texts[1], "no key");
    assert!(texts[0].contains("part of a batch which had"), "{texts:?}");
    assert!(all.iter_mut().all(|d| failed(d).0 == Outcome::NotWritten));
    // The partition goes on.
    let mut next = world.send(0, 4);
    world.serve_all();
    assert!(acked_at(&mut next).is_some());
}

#[test]
fn batches_complete_in_send_order_though_answers_come_otherwise() {
    // CMPL-3, IDM-14
    let mut world = World::warm(&[("enable.idempotence", "false")]);
    let mut first = world.send(0, 1);
    world.settle();
    let mut second = world.send(0, 2);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    let held = pool_left(&world);
    world.answer(1, Answer::ok(0));
    assert!(second.poll_now().is_none(), "the one before it has no outcome yet");
    assert!(pool_left(&world) < held, "but its memory is free");
    world.run(500);
    world.answer(1, Answer::ok(1));
    assert_eq!((acked_at(&mut first), acked_at(&mut second)), (Some(1), Some(0)));
    assert!(is_clean(&world));
}

#[test]
fn a_single_request_in_flight_mutes_the_partition() {
    // ACC-20
    let mut world =
        World::new(&[("max.in.flight.requests.per.connection", "1"), ("enable.idempotence", "false")]);
    world.cluster.create("t", 1, &[1, 1, 2]);
    world.shared.metadata.want(&"t".into());
    world.settle();
    let mut first = world.send(0, 1);
    world.settle();
    world.send(0, 2);
    world.move_leader("t", 0, 2);
    world.cut(3, false);
    world.run(100);
    assert_eq!(world.waiting(2), 0, "muted, though another broker leads now");
    world.answer(1, Answer::ok(0));
    assert!(acked_at(&mut first).is_some());
    world.settle();
    assert_eq!(world.waiting(2), 1);
}

#[test]
fn a_held_partition_holds_no_other() {
    // ACC-17
    let mut world = World::new(&[]);
    world.cluster.create("t", 1, &[1, 1, 1]);
    world.shared.metadata.want(&"t".into());
    world.settle();
    world.send(0, 1);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    world.send(0, 2);
    let mut other = world.send(1, 3);
    world.settle();
    assert_eq!(world.peek(1).iter().map(|b| b.partition).collect::<Vec<_>>(), [1]);
    world.serve(1);
    assert!(acked_at(&mut other).is_some());
}
