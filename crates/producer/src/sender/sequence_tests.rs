//! Sequences that wrap, epochs that run out, brokers that have forgotten the producer; and that nothing parks the sender for long.

use std::sync::atomic::Ordering;

use rohrpost_protocol::ErrorCode;

use super::tests::{acked_at, failed, is_clean};
use super::world::{Answer, PRIMED, World};
use crate::delivery::Delivery;
use crate::outcome::{Outcome, Reason};

#[test]
fn batches_keep_their_order_over_the_wrap_of_their_sequences() {
    // IDM-2, IDM-3, IDM-5, ACC-21
    let mut world = World::warm(&[]);
    world.begin_at(0, i32::MAX - 2);
    world.send(0, 0);
    world.serve_all();
    let mut sent: Vec<Delivery> = Vec::new();
    for value in 1..6 {
        sent.push(world.send(0, value));
        world.settle();
    }
    // The first is refused, so the others leave a gap; they come back in another order than they went.
    let requests: Vec<_> = (0..5).map(|_| world.take(1)).collect();
    let sequences: Vec<i32> = requests.iter().map(|r| super::world::batches(r)[0].sequence).collect();
    assert_eq!(sequences, [i32::MAX - 1, i32::MAX, 0, 1, 2]);
    for (at, request) in requests.into_iter().enumerate().rev() {
        let code =
            if at == 0 { ErrorCode::NOT_ENOUGH_REPLICAS } else { ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER };
        world.answer_request(1, request, |_| Answer::error(code));
    }
    world.serve_all();
    assert_eq!(world.log(0), [PRIMED, 0, 1, 2, 3, 4, 5]);
    assert!(sent.iter_mut().all(|delivery| acked_at(delivery).is_some()));
    assert_eq!(world.shared.metrics_epoch_bumps(), 0);
    // All up to the next sequence is acknowledged: an expiry does not ask for a new epoch then (IDM-12).
    assert!(is_clean(&world));
}

#[test]
fn after_the_last_epoch_the_producer_goes_on_with_a_new_id() {
    // IDM-6
    let mut world = World::warm(&[]);
    world.begin_at(i16::MAX - 1, 0);
    world.cluster.identity.2 = 0;
    let asked = world.cluster.identities_asked;
    for value in 1..4 {
        let mut refused = world.send(0, value);
        world.settle();
        let epoch = world.peek(1)[0].epoch;
        assert_eq!(epoch, [i16::MAX - 1, i16::MAX, 0][value as usize - 1]);
        assert_eq!(world.peek(1)[0].sequence, 0);
        world.answer(1, Answer::error(ErrorCode::INVALID_RECORD));
        assert_eq!(failed(&mut refused).0, Outcome::NotWritten);
        world.settle();
    }
    assert_eq!(world.cluster.identities_asked, asked + 1);
    let mut next = world.send(0, 9);
    let mut elsewhere = world.send(1, 9);
    world.serve_all();
    assert!(acked_at(&mut next).is_some() && acked_at(&mut elsewhere).is_some());
    assert!(world.shared.stats.has_identity.load(Ordering::Relaxed));
}

#[test]
fn a_batch_of_unknown_fate_at_the_last_epoch_is_settled_before_the_new_id_is_used_for_its_partition() {
    // IDM-6, IDM-16
    let mut world = World::warm(&[]);
    world.begin_at(i16::MAX, 0);
    world.send(0, 1);
    world.settle();
    world.serve(1);
    let mut unknown = world.send(0, 2);
    world.settle();
    world.send(1, 7);
    world.settle();
    let old = world.peek(1)[0].producer_id;
    world.cut(1, false);
    world.answer(2, Answer::error(ErrorCode::INVALID_RECORD));
    let mut behind = world.send(0, 3);
    world.run(1500);
    assert_eq!((world.peek(1)[0].producer_id, world.peek(1)[0].epoch), (old, i16::MAX), "as it was sent");
    world.serve_all();
    assert!(acked_at(&mut unknown).is_some() && acked_at(&mut behind).is_some());
    assert_eq!(world.log(0), [PRIMED, 1, 2, 3]);
    world.send(0, 4);
    world.settle();
    assert_ne!(world.peek(1)[0].producer_id, old);
}

#[test]
fn a_broker_that_has_forgotten_the_producer_gets_its_batch_again_from_sequence_0() {
    // IDM-9
    let mut world = World::warm(&[]);
    world.prime(0);
    let mut delivery = world.send(0, 1);
    world.settle();
    let silent = Answer { log_start_offset: -1, ..Answer::error(ErrorCode::UNKNOWN_PRODUCER_ID) };
    world.answer(1, silent.clone());
    world.run(500);
    assert_eq!((world.peek(1)[0].epoch, world.peek(1)[0].sequence), (0, 1), "it did not say why");
    world.answer(1, silent);
    world.run(1000);
    assert_eq!((world.peek(1)[0].epoch, world.peek(1)[0].sequence), (1, 0), "and never will");
    world.serve(1);
    assert!(acked_at(&mut delivery).is_some());
}

#[test]
fn an_answer_that_cannot_say_where_the_log_begins_costs_no_attempt() {
    // IDM-9: below Produce 5 it never says, so there is nothing to wait for; with few retries that attempt would be missing.
    let mut world = World::warm(&[("retries", "1")]);
    world.prime(0);
    world.links.produce_max = 4;
    let mut delivery = world.send(0, 1);
    world.settle();
    world.answer(1, Answer { log_start_offset: -1, ..Answer::error(ErrorCode::UNKNOWN_PRODUCER_ID) });
    world.run(500);
    assert_eq!((world.peek(1)[0].epoch, world.peek(1)[0].sequence), (1, 0));
    world.serve(1);
    assert!(acked_at(&mut delivery).is_some());
}

#[test]
fn zstd_is_not_sent_to_a_broker_that_would_refuse_it_and_the_producer_goes_on() {
    // ERR-6
    let mut world = World::warm(&[("compression.type", "zstd")]);
    world.links.produce_max = 6;
    let mut delivery = world.send(0, 1);
    (0..10).for_each(|_| world.settle());
    assert_eq!(
        failed(&mut delivery),
        (Outcome::NotWritten, Reason::Broker(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE))
    );
    assert!(delivery.poll_now().unwrap().unwrap_err().message().contains("needs 7"));
    world.links.produce_max = 7;
    let mut delivery = world.send(0, 2);
    world.serve_all();
    assert!(acked_at(&mut delivery).is_some());
    assert!(world.shared.lifecycle.check().is_ok());
}

// ---------------------------------------------------------------------------------------------- nothing parks the sender

#[test]
fn an_error_in_a_pass_is_followed_by_the_next_pass_after_the_smallest_back_off() {
    // SND-10: what cannot be handed to a connection is tried again, and no other broker waits for it.
    let mut world = World::warm(&[]);
    world.links.refusing.insert(1);
    let mut refused = world.send(0, 1);
    let mut other = world.send(1, 2);
    world.settle();
    assert_eq!(world.waiting(2), 1);
    world.serve(2);
    assert!(acked_at(&mut other).is_some());
    for _ in 0..50 {
        let pass = world.pass();
        let wait_ms = pass.next_ms.expect("a later time") - world.now_ms();
        assert!(!pass.sent && (1..=120).contains(&wait_ms), "waits {wait_ms} ms");
        world.advance(wait_ms);
    }
    world.links.refusing.clear();
    world.run(120);
    assert_eq!(world.waiting(1), 1, "no longer than the smallest back-off");
    world.serve(1);
    assert!(acked_at(&mut refused).is_some());
}

#[test]
fn after_an_outage_of_any_length_sending_goes_on_with_the_next_pass() {
    // SND-10, MET-12
    for outage_ms in [100, 60_000] {
        let mut world = World::warm(&[]);
        world.prime(0);
        world.links.down.extend([-1, 1, 2, 3]);
        (1..=3).for_each(|node| world.cut(node, false));
        let mut delivery = world.send(0, 1);
        let mut waited_ms = 0;
        while waited_ms < outage_ms {
            let pass = world.pass();
            let wait_ms = pass.next_ms.expect("a later time") - world.now_ms();
            assert!(wait_ms <= 1000, "parked for {wait_ms} ms");
            world.advance(wait_ms);
            waited_ms += wait_ms;
        }
        world.links.down.clear();
        world.run(60);
        world.serve_all();
        assert!(acked_at(&mut delivery).is_some());
    }
}

#[test]
fn the_default_retries_bridge_an_election_of_any_length_within_the_delivery_timeout() {
    // RTY-4
    let mut world = World::warm(&[]);
    let mut delivery = world.send(0, 1);
    let mut attempts = 0;
    while world.now_ms() < 110_000 {
        world.run(100);
        if world.waiting(1) > 0 {
            world.answer(1, Answer::error(ErrorCode::NOT_LEADER_OR_FOLLOWER));
            attempts += 1;
        }
    }
    assert!((220..=300).contains(&attempts), "{attempts} attempts in 110 s: back-off, and no end");
    assert!(delivery.poll_now().is_none());
    world.run(1200);
    world.serve(1);
    assert!(acked_at(&mut delivery).is_some());
}
