//! How batches end that were given up on while a request carried them, or whose request never left.

use rohrpost_protocol::ErrorCode;

use super::tests::{acked_at, failed, is_clean};
use super::world::{Answer, World};
use crate::outcome::{Outcome, Reason};
use crate::producer::Undelivered;

fn values(undelivered: &[Undelivered]) -> Vec<u64> {
    let value =
        |u: &Undelivered| u64::from_be_bytes(u.record().value_bytes().unwrap()[..].try_into().unwrap());
    undelivered.iter().map(value).collect()
}

#[test]
fn a_batch_purged_on_the_wire_is_not_sent_again_though_its_outcome_waits_for_an_older_one() {
    // FLU-4, CMPL-3, ACC-25
    for idempotence in ["true", "false"] {
        let mut world = World::warm(&[("enable.idempotence", idempotence)]);
        world.prime(0);
        let mut first = world.send(0, 1);
        world.settle();
        let mut second = world.send(0, 2);
        world.settle();
        // The first is back in its queue, so the second, which is purged on the wire, has to wait to be told.
        world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
        world.purge(false, true);
        assert!(first.poll_now().is_none() && second.poll_now().is_none());
        world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
        world.serve_all();
        assert!(acked_at(&mut first).is_some());
        assert_eq!(failed(&mut second), (Outcome::Unknown, Reason::Purged));
        assert!(!world.log(0).contains(&2), "it was given up on, and went out once more: {:?}", world.log(0));
        assert!(is_clean(&world));
    }
}

#[test]
fn a_batch_purged_on_the_wire_stays_purged_when_its_connection_ends() {
    // FLU-4, CMPL-3
    let mut world = World::warm(&[("enable.idempotence", "false")]);
    let _first = world.send(0, 1);
    world.settle();
    let mut second = world.send(0, 2);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    world.purge(false, true);
    world.cut(1, false);
    world.serve_all();
    assert_eq!(failed(&mut second), (Outcome::Unknown, Reason::Purged));
    assert_eq!(world.log(0), [1]);
}

#[test]
fn records_that_run_out_of_time_on_the_wire_while_the_producer_closes_are_handed_back_with_their_request() {
    // FLU-6, ACC-24, ACC-25
    let mut world = World::warm(&[("delivery.timeout.ms", "1000"), ("request.timeout.ms", "900")]);
    let mut expired = world.send(0, 7);
    world.settle();
    let request = world.take(1);
    world.core.collect_undelivered();
    world.run(1000);
    assert_eq!(failed(&mut expired), (Outcome::Unknown, Reason::Expired));
    assert!(world.core.awaits_given_up(), "the request still has the bytes");
    let now_ms = world.now_ms();
    world.core.handle_disconnect(1, vec![request], false, None, now_ms);
    assert!(!world.core.awaits_given_up());
    let undelivered = world.core.take_undelivered();
    assert_eq!(values(&undelivered), [7]);
    assert_eq!((undelivered[0].outcome(), undelivered[0].reason()), (Outcome::Unknown, Reason::Expired));
    assert!(is_clean(&world));
}

#[test]
fn records_given_up_on_before_the_producer_closes_are_not_the_close_s_to_report() {
    // FLU-6
    let mut world = World::warm(&[]);
    let mut purged = world.send(0, 7);
    world.settle();
    world.purge(false, true);
    assert_eq!(failed(&mut purged).1, Reason::Purged);
    world.core.collect_undelivered();
    assert!(!world.core.awaits_given_up());
    world.serve(1);
    assert!(world.core.take_undelivered().is_empty());
}

#[test]
fn a_request_that_never_left_uses_up_no_retry() {
    // RTY-2: an attempt is a request that was handed to a connection.
    for idempotence in ["true", "false"] {
        let mut world = World::warm(&[("retries", "1"), ("enable.idempotence", idempotence)]);
        world.prime(0);
        let mut delivery = world.send(0, 1);
        world.links.refusing.insert(1);
        world.run(3000);
        assert!(delivery.poll_now().is_none());
        world.links.refusing.clear();
        world.run(1500);
        world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
        assert!(delivery.poll_now().is_none(), "its one retry is left");
        world.serve_all();
        let delivered = delivery.poll_now().unwrap().unwrap();
        assert_eq!(delivered.offset(), Some(1));
        assert!(is_clean(&world));
    }
}

#[test]
fn a_batch_whose_request_never_left_was_not_sent_and_its_sequence_leaves_no_gap_unseen() {
    // CMPL-8, IDM-11
    let mut world = World::warm(&[("delivery.timeout.ms", "1000"), ("request.timeout.ms", "900")]);
    world.prime(0);
    let mut delivery = world.send(0, 1);
    world.links.refusing.insert(1);
    world.run(1000);
    let error = delivery.poll_now().unwrap().unwrap_err();
    assert_eq!(
        (error.outcome(), error.reason(), error.attempts()),
        (Outcome::NotWritten, Reason::Expired, 0)
    );
    world.links.refusing.clear();
    let mut next = world.send(0, 2);
    world.settle();
    assert_eq!(
        (world.peek(1)[0].epoch, world.peek(1)[0].sequence),
        (1, 0),
        "its number was given and never used"
    );
    world.serve(1);
    assert!(acked_at(&mut next).is_some());
    assert!(is_clean(&world));
}

#[test]
fn records_purged_before_the_producer_closes_and_told_while_it_does_are_handed_back() {
    // FLU-6, CMPL-3
    let mut world = World::warm(&[("enable.idempotence", "false")]);
    let mut first = world.send(0, 1);
    world.settle();
    let mut second = world.send(0, 2);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    world.purge(false, true);
    assert!(second.poll_now().is_none(), "the one before it has no outcome yet");
    world.core.collect_undelivered();
    world.core.collect_undelivered();
    world.serve_all();
    assert!(acked_at(&mut first).is_some());
    assert_eq!(failed(&mut second), (Outcome::Unknown, Reason::Purged));
    assert_eq!(values(&world.core.take_undelivered()), [2]);
    assert!(is_clean(&world));
}

#[test]
fn on_the_wire_each_topic_has_its_own_time() {
    // CFG-17, ACC-24
    let mut world = World::warm(&[
        ("delivery.timeout.ms", "3000"),
        ("request.timeout.ms", "900"),
        ("retries", "0"),
        ("enable.idempotence", "false"),
        ("topic.u.delivery.timeout.ms", "1000"),
        ("topic.u.linger.ms", "0"),
    ]);
    world.cluster.create("u", 2, &[1]);
    world.shared.metadata.want(&"u".into());
    world.run(200);
    let mut slow = world.send(0, 1);
    let mut fast = world.send_to("u", 0, 2);
    world.settle();
    let mut requests = Vec::new();
    while world.waiting(1) > 0 {
        requests.push(world.take(1)); // nobody ever answers, and nothing ends the connection
    }
    world.run(900);
    assert!(fast.poll_now().is_none());
    world.run(100);
    assert_eq!(failed(&mut fast), (Outcome::Unknown, Reason::Expired));
    world.run(1800);
    assert!(slow.poll_now().is_none());
    world.run(200);
    assert_eq!(failed(&mut slow), (Outcome::Unknown, Reason::Expired));
    drop(requests);
}
