//! Topics that were created anew under each policy (MET-9), and partitions that a failure stops (RTY-5).

use std::sync::atomic::Ordering;

use rohrpost_protocol::ErrorCode;

use super::slow_tests::warnings;
use super::tests::{acked_at, failed, is_clean};
use super::world::{Answer, PRIMED, World};
use crate::delivery::Delivery;
use crate::outcome::{Outcome, Reason};
use crate::producer::HeldRecords;

// ---------------------------------------------------------------------------------------------- topics created anew

/// One record of `t` is in flight, two are queued; then the topic is created anew, and the producer hears of it.
fn recreated(policy: &str) -> (World, [Delivery; 3]) {
    let mut world = World::warm(&[("topic.recreation", policy)]);
    world.prime(0);
    world.links.down.insert(3);
    let on_wire = world.send(0, 1);
    world.settle();
    let elsewhere = world.send(2, 2);
    world.cluster.create("t", 9, &[1, 2, 3]);
    world.cut(2, false);
    world.run(200);
    assert_eq!(world.shared.stats.topics_recreated.load(Ordering::Relaxed), 1);
    assert_eq!(world.waiting(1), 1, "the request to the old topic is on its way");
    let late = world.send(0, 3);
    (world, [on_wire, elsewhere, late])
}

#[test]
fn by_default_records_follow_their_topic() {
    // MET-9
    let (mut world, mut sent) = recreated("follow");
    world.answer(1, Answer::error(ErrorCode::UNKNOWN_TOPIC_ID));
    world.links.down.clear();
    world.serve_all();
    assert!(sent.iter_mut().all(|delivery| acked_at(delivery).is_some()));
    assert_eq!((world.log(0), world.log(2)), (&[1, 3][..], &[2][..]));
    assert!(is_clean(&world));
}

#[test]
fn with_policy_fail_what_is_buffered_for_a_topic_fails_and_what_is_sent_later_goes_to_the_new_one() {
    // MET-9, CMPL-8
    let (mut world, [mut on_wire, mut elsewhere, mut late]) = recreated("fail");
    assert_eq!(failed(&mut elsewhere), (Outcome::NotWritten, Reason::TopicRecreated));
    assert!(on_wire.poll_now().is_none(), "its request is not answered");
    world.answer(1, Answer::error(ErrorCode::UNKNOWN_TOPIC_ID));
    assert_eq!(failed(&mut on_wire), (Outcome::NotWritten, Reason::TopicRecreated));
    world.links.down.clear();
    world.serve_all();
    assert!(acked_at(&mut late).is_some());
    assert_eq!((world.log(0), world.log(2)), (&[3][..], &[][..]));
    assert!(is_clean(&world));
}

#[test]
fn with_policy_fail_a_record_that_may_be_in_the_old_topic_ends_as_unknown() {
    // MET-9, CMPL-8
    let (mut world, [mut on_wire, ..]) = recreated("fail");
    world.cut(1, false);
    assert_eq!(failed(&mut on_wire), (Outcome::Unknown, Reason::TopicRecreated));
}

#[test]
fn with_policy_hold_records_wait_for_the_application_s_word_to_send_them() {
    // MET-9
    let (mut world, mut sent) = recreated("hold");
    world.answer(1, Answer::error(ErrorCode::UNKNOWN_TOPIC_ID));
    world.links.down.clear();
    world.run(3000);
    assert!((1..=3).all(|node| world.waiting(node) == 0));
    assert!(sent.iter_mut().all(|delivery| delivery.poll_now().is_none()));
    assert_eq!(world.shared.stops.held.lock().len(), 1);
    world.shared.release("t", HeldRecords::Send);
    world.serve_all();
    assert!(sent.iter_mut().all(|delivery| acked_at(delivery).is_some()));
    assert_eq!((world.log(0), world.log(2)), (&[1, 3][..], &[2][..]));
    assert!(world.shared.stops.held.lock().is_empty());
    assert!(is_clean(&world));
}

#[test]
fn with_policy_hold_records_wait_for_the_application_s_word_to_fail_them() {
    // MET-9: those sent before the word, and no others.
    let (mut world, [mut on_wire, mut elsewhere, mut late]) = recreated("hold");
    world.links.down.clear();
    world.run(1000);
    world.shared.release("t", HeldRecords::Fail);
    let mut next = world.send(0, 4);
    world.settle();
    assert_eq!(failed(&mut elsewhere), (Outcome::NotWritten, Reason::TopicRecreated));
    assert!(late.poll_now().is_none(), "told behind the one in flight");
    world.answer(1, Answer::error(ErrorCode::UNKNOWN_TOPIC_ID));
    for delivery in [&mut on_wire, &mut late] {
        assert_eq!(failed(delivery), (Outcome::NotWritten, Reason::TopicRecreated));
    }
    world.serve_all();
    assert!(acked_at(&mut next).is_some());
    assert_eq!(world.log(0), [4]);
    assert!(is_clean(&world));
}

#[test]
fn held_records_of_partitions_that_are_gone_wait_as_well_and_fail_once_they_are_released() {
    // MET-9
    let mut world = World::warm(&[("topic.recreation", "hold")]);
    world.links.down.insert(3);
    let mut gone = world.send(2, 1);
    world.cluster.create("t", 9, &[1]);
    world.cut(2, false);
    world.run(200);
    assert!(gone.poll_now().is_none());
    world.shared.release("t", HeldRecords::Send);
    world.run(200);
    assert_eq!(
        failed(&mut gone),
        (Outcome::NotWritten, Reason::Broker(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
    );
}

#[test]
fn held_records_keep_their_delivery_timeout_and_hold_no_other_topic() {
    // MET-9, ACC-24, ACC-17
    let mut world = World::warm(&[
        ("topic.recreation", "hold"),
        ("delivery.timeout.ms", "3000"),
        ("request.timeout.ms", "2000"),
    ]);
    world.prime(0);
    world.cluster.create("t", 9, &[1, 2, 3]);
    world.cluster.create("u", 2, &[1]);
    world.shared.metadata.want(&"u".into());
    world.cut(2, false);
    world.run(200);
    let mut held = world.send(0, 1);
    let mut other = world.send_to("u", 0, 2);
    world.settle();
    world.serve(1);
    assert!(acked_at(&mut other).is_some());
    world.run(3000);
    assert_eq!(failed(&mut held), (Outcome::NotWritten, Reason::Expired));
}

#[test]
fn older_brokers_are_said_to_notice_a_topic_created_anew_only_between_two_batches() {
    // MET-9
    for (policy, lines) in [("fail", 1), ("hold", 1), ("follow", 0)] {
        let mut world = World::warm(&[("topic.recreation", policy)]);
        world.links.produce_max = 12;
        let told = warnings(|| {
            for value in 0..3 {
                world.send(0, value);
                world.serve_all();
            }
        });
        let told: Vec<_> = told.iter().filter(|line| line.contains("do not take topic ids")).collect();
        assert_eq!(told.len(), lines, "{told:?}");
        // What is queued when a refresh notices it is treated all the same.
        world.links.down.insert(1);
        let mut queued = world.send(0, 4);
        world.cluster.create("t", 9, &[1, 2, 3]);
        world.cut(2, false);
        world.run(200);
        let ended = queued.poll_now().map(|ended| ended.unwrap_err().reason());
        assert_eq!(ended, (policy == "fail").then_some(Reason::TopicRecreated));
    }
}

// ---------------------------------------------------------------------------------------------- a failure stops its partition

fn refuse(world: &mut World, node: i32) {
    world.answer(node, Answer::error(ErrorCode::INVALID_RECORD));
}

#[test]
fn records_behind_a_failed_one_fail_until_the_application_resumes() {
    // RTY-5
    let mut world = World::warm(&[("stop.on.failure", "t"), ("enable.idempotence", "false")]);
    let mut first = world.send(0, 1);
    world.settle();
    let mut elsewhere = world.send(1, 9);
    world.links.down.insert(1);
    let mut queued = world.send(0, 2);
    world.settle();
    refuse(&mut world, 1);
    assert_eq!(failed(&mut first).1, Reason::Broker(ErrorCode::INVALID_RECORD));
    world.settle();
    assert_eq!(failed(&mut queued), (Outcome::NotWritten, Reason::Stopped));
    let mut later = world.send(0, 3);
    world.settle();
    assert_eq!(failed(&mut later), (Outcome::NotWritten, Reason::Stopped));
    assert_eq!(world.shared.stops.stopped.lock().iter().next(), Some(&("t".into(), 0)));
    // Sent before the call, after it, and in this order, with no pass of the sender in between.
    world.links.down.clear();
    let mut before = world.send(0, 4);
    world.shared.resume("t", 0);
    let mut after = world.send(0, 5);
    world.serve_all();
    assert_eq!(failed(&mut before), (Outcome::NotWritten, Reason::Stopped));
    assert!(acked_at(&mut after).is_some());
    assert!(acked_at(&mut elsewhere).is_some(), "other partitions go on");
    assert_eq!(world.log(0), [5]);
    assert!(world.shared.stops.stopped.lock().is_empty());
    assert!(is_clean(&world));
}

#[test]
fn what_is_in_flight_behind_a_failed_record_is_not_sent_again() {
    // RTY-5, CMPL-8, IDM-8
    for idempotence in ["true", "false"] {
        let mut world = World::warm(&[("stop.on.failure", "*"), ("enable.idempotence", idempotence)]);
        world.prime(0);
        let mut sent: Vec<Delivery> = Vec::new();
        for value in 1..5 {
            sent.push(world.send(0, value));
            world.settle();
        }
        assert_eq!(world.waiting(1), 4);
        refuse(&mut world, 1);
        world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
        // Without idempotence a broker takes what comes; this one has an outcome of its own.
        world.serve(1);
        // Sent before the call, and comes back after it.
        world.shared.resume("t", 0);
        world.settle();
        world.cut(1, false);
        let mut anew = world.send(0, 9);
        world.serve_all();
        assert_eq!(failed(&mut sent[0]).1, Reason::Broker(ErrorCode::INVALID_RECORD));
        assert_eq!(failed(&mut sent[1]), (Outcome::NotWritten, Reason::Stopped));
        if idempotence == "true" {
            assert_eq!(failed(&mut sent[2]), (Outcome::NotWritten, Reason::Stopped));
            assert_eq!(world.log(0), [PRIMED, 9]);
        } else {
            assert!(acked_at(&mut sent[2]).is_some());
            assert_eq!(world.log(0), [PRIMED, 3, 9]);
        }
        assert_eq!(failed(&mut sent[3]), (Outcome::Unknown, Reason::Stopped));
        assert!(acked_at(&mut anew).is_some());
        assert!(world.shared.stops.stopped.lock().is_empty(), "those failures were part of what was seen");
        assert!(is_clean(&world));
    }
}

#[test]
fn what_was_sent_before_the_failed_record_goes_on() {
    // RTY-5
    for idempotence in ["true", "false"] {
        let mut world = World::warm(&[("stop.on.failure", "t"), ("enable.idempotence", idempotence)]);
        world.prime(0);
        let mut sent: Vec<Delivery> = Vec::new();
        for value in 1..4 {
            sent.push(world.send(0, value));
            world.settle();
        }
        let mut queued = world.send(0, 4);
        let (first, second, third) = (world.take(1), world.take(1), world.take(1));
        world.answer_request(1, second, |_| Answer::error(ErrorCode::INVALID_RECORD));
        world.answer_request(1, first, |_| Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
        world.answer_request(1, third, |_| Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
        world.serve_all();
        assert!(acked_at(&mut sent[0]).is_some());
        assert_eq!(failed(&mut sent[1]).1, Reason::Broker(ErrorCode::INVALID_RECORD));
        assert_eq!(failed(&mut sent[2]), (Outcome::NotWritten, Reason::Stopped));
        assert_eq!(failed(&mut queued), (Outcome::NotWritten, Reason::Stopped));
        assert_eq!(world.log(0), [PRIMED, 1]);
        // The next failure is another one.
        world.shared.resume("t", 0);
        let mut again = world.send(0, 5);
        world.settle();
        refuse(&mut world, 1);
        let mut behind = world.send(0, 6);
        world.serve_all();
        assert_eq!(failed(&mut again).1, Reason::Broker(ErrorCode::INVALID_RECORD));
        assert_eq!(failed(&mut behind), (Outcome::NotWritten, Reason::Stopped));
        assert!(is_clean(&world));
    }
}

#[test]
fn a_record_that_runs_out_of_time_stops_its_partition_and_one_that_was_purged_does_not() {
    // RTY-5
    let settings = [
        ("stop.on.failure", "a,t"),
        ("delivery.timeout.ms", "1000"),
        ("request.timeout.ms", "900"),
        ("batch.size", "1"),
    ];
    let mut world = World::warm(&settings);
    world.links.down.insert(1);
    let mut purged = world.send(0, 1);
    world.purge(true, true);
    assert_eq!(failed(&mut purged).1, Reason::Purged);
    let mut expired = world.send(0, 2);
    world.run(900);
    let mut behind = world.send(0, 3);
    world.run(100);
    assert_eq!(failed(&mut expired).1, Reason::Expired);
    assert_eq!(failed(&mut behind), (Outcome::NotWritten, Reason::Stopped));
    // In flight.
    let mut world = World::warm(&settings);
    let mut expired = world.send(0, 1);
    world.settle();
    world.run(900);
    let mut behind = world.send(0, 2);
    world.run(100);
    assert_eq!(failed(&mut expired), (Outcome::Unknown, Reason::Expired));
    assert_eq!(failed(&mut behind), (Outcome::NotWritten, Reason::Stopped));
}

#[test]
fn without_the_option_a_failure_stops_nothing() {
    // RTY-5
    for option in ["", "u"] {
        let mut world = World::warm(&[("stop.on.failure", option)]);
        world.send(0, 1);
        world.settle();
        refuse(&mut world, 1);
        let mut next = world.send(0, 2);
        world.serve_all();
        assert!(acked_at(&mut next).is_some());
    }
}
