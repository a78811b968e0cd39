//! Records that a broker names, and the others of their batch (ERR-3).

use std::sync::atomic::Ordering;

use rohrpost_protocol::ErrorCode;

use super::tests::{acked_at, failed, is_clean};
use super::world::{Answer, PRIMED, World};
use crate::delivery::Delivery;
use crate::outcome::{Outcome, Reason};

const ON: (&str, &str) = ("resend.innocent.records", "true");

fn primed(settings: &[(&str, &str)]) -> World {
    let mut world = World::warm(settings);
    world.prime(0);
    world
}

fn send(world: &mut World, values: std::ops::Range<u64>) -> Vec<Delivery> {
    let sent = values.map(|value| world.send(0, value)).collect();
    // With a codec it takes a pass to compress them.
    (0..10).for_each(|_| world.settle());
    assert_eq!(world.waiting(1), 1);
    sent
}

fn named(code: ErrorCode, records: &[i32]) -> Answer {
    let records = records.iter().map(|index| (*index, format!("record {index} has no key"))).collect();
    Answer { records, ..Answer::error(code) }
}

#[test]
fn the_others_of_a_refused_batch_are_sent_again_in_order_without_the_named_ones() {
    // ERR-3, THR-3
    for (idempotence, codec) in [("true", "none"), ("true", "lz4"), ("false", "none"), ("false", "gzip")] {
        let mut world = primed(&[ON, ("enable.idempotence", idempotence), ("compression.type", codec)]);
        let mut sent = send(&mut world, 0..8);
        world.answer(1, named(ErrorCode::INVALID_TIMESTAMP, &[5, 0, 4, 99, -1]));
        for (value, delivery) in sent.iter_mut().enumerate() {
            match value {
                0 => {
                    assert_eq!(
                        failed(delivery),
                        (Outcome::NotWritten, Reason::Broker(ErrorCode::INVALID_RECORD)),
                        "several are named"
                    );
                    let text = delivery.poll_now().unwrap().unwrap_err().message().to_owned();
                    assert_eq!(text, "record 0 has no key");
                }
                // 4 and 5 failed as well, and are told behind the ones before them.
                _ => assert!(delivery.poll_now().is_none(), "{value}"),
            }
        }
        let mut later = world.send(0, 8);
        world.serve_all();
        assert_eq!(world.log(0), [PRIMED, 1, 2, 3, 6, 7, 8], "{idempotence} {codec}");
        for value in [4, 5] {
            let error = sent[value].poll_now().unwrap().unwrap_err();
            assert_eq!(error.message(), format!("record {value} has no key"));
            assert_eq!(error.outcome(), Outcome::NotWritten);
        }
        let offsets: Vec<_> = [1, 2, 3, 6, 7].map(|value| acked_at(&mut sent[value]).unwrap()).to_vec();
        assert_eq!(offsets, [1, 2, 3, 4, 5]);
        assert!(acked_at(&mut later).is_some());
        let bumps = world.shared.stats.epoch_bumps.load(Ordering::Relaxed);
        assert_eq!(bumps, u64::from(idempotence == "true"), "their sequences have gaps");
        assert!(is_clean(&world));
    }
}

#[test]
fn a_single_named_record_fails_with_the_partition_s_error() {
    // ERR-3
    let mut world = primed(&[ON]);
    let mut sent = send(&mut world, 0..3);
    world.answer(1, named(ErrorCode::INVALID_TIMESTAMP, &[2]));
    world.serve_all();
    assert_eq!(failed(&mut sent[2]), (Outcome::NotWritten, Reason::Broker(ErrorCode::INVALID_TIMESTAMP)));
    assert_eq!(world.log(0), [PRIMED, 0, 1]);
}

#[test]
fn a_batch_of_which_all_or_none_are_named_fails_as_a_whole() {
    // ERR-3
    for records in [&[][..], &[0, 1, 2][..], &[7][..]] {
        let mut world = primed(&[ON]);
        let mut sent = send(&mut world, 0..3);
        world.answer(1, named(ErrorCode::INVALID_RECORD, records));
        assert!(sent.iter_mut().all(|delivery| failed(delivery).0 == Outcome::NotWritten));
        assert!(is_clean(&world));
    }
}

#[test]
fn what_may_be_in_the_log_is_not_sent_again_under_other_sequences() {
    // ERR-3, IDM-16
    let mut world = primed(&[ON]);
    let mut sent = send(&mut world, 0..3);
    world.cut(1, false);
    world.run(1500);
    world.answer(1, named(ErrorCode::INVALID_RECORD, &[1]));
    assert!(sent.iter_mut().all(|delivery| failed(delivery).0 == Outcome::Unknown));
    assert!(is_clean(&world));
}

#[test]
fn batches_behind_one_that_is_sorted_out_keep_their_place() {
    // ERR-3, IDM-5, THR-3
    let mut world = primed(&[ON]);
    let mut sent = send(&mut world, 0..3);
    sent.push(world.send(0, 3));
    world.settle();
    sent.push(world.send(0, 4));
    world.settle();
    world.answer(1, named(ErrorCode::INVALID_RECORD, &[1]));
    world.serve_all();
    assert_eq!(world.log(0), [PRIMED, 0, 2, 3, 4]);
    assert_eq!(failed(&mut sent[1]).0, Outcome::NotWritten);
    assert!(is_clean(&world));
}

#[test]
fn by_default_the_others_fail_with_the_named_ones() {
    // ERR-3
    let mut world = primed(&[]);
    let mut sent = send(&mut world, 0..3);
    world.answer(1, named(ErrorCode::INVALID_RECORD, &[1]));
    assert!(sent.iter_mut().all(|delivery| failed(delivery).0 == Outcome::NotWritten));
}
