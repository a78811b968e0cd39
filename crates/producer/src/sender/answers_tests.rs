//! Answers that differ in one thing: which batch they are about, what they count for, and what they say to the user.

use std::sync::atomic::Ordering;

use rohrpost_protocol::ErrorCode;

use super::request::Body;
use super::tests::{acked_at, failed, is_clean};
use super::world::{Answer, World};
use crate::outcome::{Outcome, Reason};

/// What the user reads when the only attempt of a record ends so.
fn told(end: impl FnOnce(&mut World)) -> String {
    let mut world = World::warm(&[("retries", "0"), ("enable.idempotence", "false")]);
    let mut delivery = world.send(0, 1);
    world.settle();
    end(&mut world);
    delivery.poll_now().unwrap().unwrap_err().message().to_owned()
}

#[test]
fn each_topic_of_a_request_gets_its_own_answer() {
    // SND-9: by id from version 13 on, by name before
    for produce_max in [13, 12] {
        let mut world = World::warm(&[]);
        world.links.produce_max = produce_max;
        world.cluster.create("u", 2, &[1]);
        world.shared.metadata.want(&"u".into());
        world.run(200);
        let mut good = world.send(0, 1);
        let mut bad = world.send_to("u", 0, 2);
        world.settle();
        let request = world.take(1);
        let Body::Produce(produce) = &request.body else { panic!("no Produce") };
        let mut topics: Vec<_> = produce.topics.iter().map(|t| (&*t.name, t.batches.len())).collect();
        topics.sort_unstable();
        assert_eq!(topics, [("t", 1), ("u", 1)]);
        world.answer_request(1, request, |batch| match &*batch.topic {
            "t" => Answer::ok(5),
            _ => Answer::error(ErrorCode::INVALID_RECORD),
        });
        assert_eq!(acked_at(&mut good), Some(5));
        assert_eq!(failed(&mut bad).1, Reason::Broker(ErrorCode::INVALID_RECORD));
    }
}

#[test]
fn only_refusals_for_the_sequence_count_as_such() {
    // IDM-9: the broker is asked once, and what it had answered before is no part of that
    let mut world = World::warm(&[]);
    world.prime(0);
    let mut delivery = world.send(0, 1);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    world.run(1500);
    world.answer(1, Answer { log_start_offset: -1, ..Answer::error(ErrorCode::UNKNOWN_PRODUCER_ID) });
    world.run(1500);
    assert_eq!((world.peek(1)[0].epoch, world.peek(1)[0].sequence), (0, 1));
    world.serve(1);
    assert_eq!(acked_at(&mut delivery), Some(1));
}

#[test]
fn a_retriable_error_that_comes_when_the_time_is_over_is_the_last() {
    // RTY-2, ACC-24
    for (after_ms, is_last) in [(999, false), (1000, true)] {
        let mut world = World::warm(&[("delivery.timeout.ms", "1000"), ("request.timeout.ms", "900")]);
        let mut delivery = world.send(0, 1);
        world.settle();
        world.advance(after_ms);
        world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
        assert_eq!(delivery.is_done(), is_last, "{after_ms} ms");
        if is_last {
            let reason = Reason::Broker(ErrorCode::NOT_ENOUGH_REPLICAS);
            assert_eq!(failed(&mut delivery), (Outcome::NotWritten, reason));
        }
    }
}

#[test]
fn a_batch_that_is_too_large_is_not_split_once_the_producer_is_closed_by_force() {
    // ACC-22, FLU-6
    let mut world = World::warm(&[("linger.ms", "5")]);
    let deliveries = [world.send(0, 1), world.send(0, 2)];
    world.run(10);
    world.core.force_close();
    world.answer(1, Answer::error(ErrorCode::MESSAGE_TOO_LARGE));
    for mut delivery in deliveries {
        let reason = Reason::Broker(ErrorCode::MESSAGE_TOO_LARGE);
        assert_eq!(failed(&mut delivery), (Outcome::NotWritten, reason));
    }
    assert_eq!(world.shared.stats.batches_split.load(Ordering::Relaxed), 0);
    assert!(is_clean(&world));
}

#[test]
fn a_single_record_that_is_too_large_fails_as_such_in_a_partition_that_has_stopped() {
    // ACC-22, RTY-5: there is nothing to send again, and so nothing that the stop keeps back
    let mut world = World::warm(&[("stop.on.failure", "t"), ("enable.idempotence", "false")]);
    let mut deliveries = [1, 2].map(|value| {
        let delivery = world.send(0, value);
        world.settle();
        delivery
    });
    for code in [ErrorCode::INVALID_RECORD, ErrorCode::MESSAGE_TOO_LARGE] {
        world.answer(1, Answer::error(code));
    }
    let reasons = [0, 1].map(|at| failed(&mut deliveries[at]).1);
    assert_eq!(
        reasons,
        [ErrorCode::INVALID_RECORD, ErrorCode::MESSAGE_TOO_LARGE].map(Reason::Broker),
        "each its own"
    );
}

#[test]
fn a_record_that_is_not_in_the_batch_is_not_named() {
    // ERR-3
    let beyond = vec![(1, "the second of one".into())];
    let text =
        told(|world| world.answer(1, Answer { records: beyond, ..Answer::error(ErrorCode::INVALID_RECORD) }));
    assert!(!text.contains("part of a batch"), "{text}");
    let first = vec![(0, "the first of one".into())];
    let text =
        told(|world| world.answer(1, Answer { records: first, ..Answer::error(ErrorCode::INVALID_RECORD) }));
    assert_eq!(text, "the first of one");
}

#[test]
fn a_failure_says_what_was_waited_for_or_what_to_turn() {
    let timed_out = told(|world| world.cut(1, true));
    assert!(timed_out.contains("no answer within request.timeout.ms"), "{timed_out}");
    let cut = told(|world| world.cut(1, false));
    assert!(cut.contains("the connection ended before the answer"), "{cut}");
    let too_large = told(|world| world.answer(1, Answer::error(ErrorCode::MESSAGE_TOO_LARGE)));
    assert!(too_large.contains("raise that, or lower batch.size"), "{too_large}");
    let too_long = told(|world| world.answer(1, Answer::error(ErrorCode::RECORD_LIST_TOO_LARGE)));
    assert!(too_long.contains("than a log segment of the topic may be: lower batch.size"), "{too_long}");
}
