//! Batches that a broker finds too large.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use rohrpost_protocol::ErrorCode;

use super::tests::{acked_at, failed, is_clean};
use super::world::{Answer, PRIMED, World};
use crate::delivery::Delivery;
use crate::outcome::{Outcome, Reason};

/// A world whose brokers take `max` bytes, and know the producer on partition 0.
fn world(settings: &[(&str, &str)], max: usize) -> World {
    let mut world = World::warm(settings);
    world.prime(0);
    world.cluster.message_max_bytes = Some(max);
    world
}

fn send(world: &mut World, values: std::ops::Range<u64>) -> Vec<Delivery> {
    values.map(|value| world.send(0, value)).collect()
}

/// Until a request is on its way: with a codec that takes a pass more.
fn settle(world: &mut World) {
    for _ in 0..10 {
        world.settle();
        if world.waiting(1) > 0 {
            return;
        }
    }
    panic!("nothing is sent");
}

fn splits(world: &World) -> u64 {
    world.shared.stats.batches_split.load(Ordering::Relaxed)
}

fn bumps(world: &World) -> u64 {
    world.shared.stats.epoch_bumps.load(Ordering::Relaxed)
}

fn log_of(values: impl IntoIterator<Item = u64>) -> Vec<u64> {
    std::iter::once(PRIMED).chain(values).collect()
}

#[test]
fn a_batch_that_is_too_large_arrives_in_parts_in_order_and_once() {
    // ACC-22, CMP-8
    for codec in ["none", "gzip", "snappy", "lz4"] {
        let mut world = world(&[("compression.type", codec), ("retries", "1")], 110);
        let mut sent = send(&mut world, 0..40);
        world.serve_all();
        assert_eq!(world.log(0), log_of(0..40), "{codec}");
        for (value, delivery) in sent.iter_mut().enumerate() {
            assert_eq!(acked_at(delivery), Some(1 + value as i64), "{codec}");
        }
        assert!(splits(&world) >= 1, "{codec}");
        assert_eq!(bumps(&world), 0, "{codec}: the parts have the batch's sequences");
        assert!(is_clean(&world), "{codec}");
    }
}

#[test]
fn parts_take_the_batch_s_sequences_and_later_batches_keep_theirs() {
    // ACC-22, IDM-4, IDM-5
    let mut world = world(&[], 150);
    let mut sent = Vec::new();
    for batch in 0..4 {
        sent.extend(send(&mut world, batch * 8..batch * 8 + 8));
        world.settle();
    }
    assert_eq!(world.waiting(1), 4);
    for _ in 0..4 {
        world.serve(1); // the first is too large, and so are the others
    }
    assert_eq!(world.log(0), log_of([]));
    world.settle();
    assert_eq!(world.waiting(1), 1, "one at a time, from the front");
    let part = &world.peek(1)[0];
    assert_eq!((part.sequence, part.values.first()), (1, Some(&0)));
    world.serve_all();
    assert_eq!(world.log(0), log_of(0..32));
    assert!(sent.iter_mut().enumerate().all(|(at, d)| acked_at(d) == Some(1 + at as i64)));
    assert_eq!((bumps(&world), splits(&world)), (0, 4));
}

#[test]
fn batches_behind_one_that_is_split_come_back_and_go_again_behind_its_parts() {
    // ACC-22, IDM-5, IDM-8
    let mut world = world(&[], 150);
    let mut sent = Vec::new();
    for values in [0..8, 8..9, 9..11, 11..12] {
        sent.extend(send(&mut world, values));
        world.settle();
    }
    world.serve_all();
    assert_eq!(world.log(0), log_of(0..12));
    assert!(sent.iter_mut().enumerate().all(|(at, d)| acked_at(d) == Some(1 + at as i64)));
    assert_eq!((bumps(&world), splits(&world)), (0, 1));
}

#[test]
fn the_size_that_failed_is_learned_and_not_tried_again() {
    // ACC-23
    for codec in ["none", "lz4"] {
        let mut world = world(&[("compression.type", codec)], 400);
        send(&mut world, 0..200);
        world.serve_all();
        let after_the_first = splits(&world);
        assert!(after_the_first > 0);
        for round in 1..5 {
            send(&mut world, round * 200..round * 200 + 200);
            world.serve_all();
        }
        assert_eq!(splits(&world), after_the_first, "{codec}");
        assert_eq!(world.log(0), log_of(0..1000));
        // The other partitions of the topic know it too.
        for value in 0..200 {
            drop(world.send(1, value));
        }
        world.serve_all();
        assert_eq!(splits(&world), after_the_first, "{codec}");
    }
}

#[test]
fn batches_that_were_closed_before_the_size_was_learned_are_split_before_they_are_sent() {
    // ACC-23
    for codec in ["none", "lz4"] {
        let mut world = world(&[("batch.size", "500"), ("compression.type", codec)], 300);
        let mut sent = send(&mut world, 0..400);
        world.serve_all();
        // The five in flight, and the last one, which is smaller than they were. Compressed, no two are of one size.
        assert!(codec != "none" || world.cluster.too_large == 6, "{}", world.cluster.too_large);
        assert!(splits(&world) > world.cluster.too_large as u64, "{codec}");
        assert_eq!(world.log(0), log_of(0..400), "{codec}");
        assert!(sent.iter_mut().enumerate().all(|(at, d)| acked_at(d) == Some(1 + at as i64)));
        assert_eq!(bumps(&world), 0);
        assert!(is_clean(&world));
    }
}

#[test]
fn a_batch_of_unknown_fate_is_sent_whole_though_its_size_was_refused() {
    // ACC-23, IDM-16: if it is in the log, only the whole batch is found to be there.
    let mut world = world(&[], usize::MAX);
    let mut sent = send(&mut world, 0..8);
    world.settle();
    let carried = world.peek(1);
    carried.iter().for_each(|batch| drop(world.cluster.append(1, batch)));
    world.cut(1, false);
    // Another partition's leader has a lower limit.
    let mut others: Vec<Delivery> = (0..8).map(|value| world.send(1, value)).collect();
    world.settle();
    world.answer(2, Answer::error(ErrorCode::MESSAGE_TOO_LARGE));
    world.serve_all();
    assert_eq!(world.log(0), log_of(0..8));
    assert!(sent.iter_mut().enumerate().all(|(at, d)| acked_at(d) == Some(1 + at as i64)));
    assert!(others.iter_mut().all(|delivery| acked_at(delivery).is_some()));
}

#[test]
fn a_split_is_no_attempt_and_needs_no_retry() {
    // RTY-2
    let mut world = World::warm(&[
        ("enable.idempotence", "false"),
        ("max.in.flight.requests.per.connection", "1"),
        ("retries", "0"),
    ]);
    world.cluster.message_max_bytes = Some(100);
    let mut sent = send(&mut world, 0..16);
    world.serve_all();
    assert!(sent.iter_mut().all(|delivery| acked_at(delivery).is_some()));
    assert_eq!(world.log(0), (0..16).collect::<Vec<_>>());
    assert_eq!(world.shared.stats.batches_retried.load(Ordering::Relaxed), 0);
    assert!(is_clean(&world));
}

#[test]
fn a_single_record_that_is_too_large_fails_and_the_others_go_on() {
    // ACC-22, CMPL-8
    let mut world = world(&[], 60);
    let mut alone = world.send(0, 1);
    world.serve_all();
    assert_eq!(failed(&mut alone), (Outcome::NotWritten, Reason::Broker(ErrorCode::MESSAGE_TOO_LARGE)));
    let text = alone.poll_now().unwrap().unwrap_err().to_string();
    assert!(text.contains("max.message.bytes"), "{text}");
    let mut none = send(&mut world, 0..3);
    world.serve_all();
    assert!(none.iter_mut().all(|delivery| failed(delivery).0 == Outcome::NotWritten));
    world.cluster.message_max_bytes = None;
    let mut later = world.send(0, 9);
    world.serve_all();
    assert_eq!(acked_at(&mut later), Some(1));
    assert!(is_clean(&world));
}

#[test]
fn a_flush_waits_for_all_parts() {
    // FLU-2
    let mut world = world(&[], 150);
    send(&mut world, 0..8);
    let mut flush = world.shared.accumulator.begin_flush();
    let mut is_done = || Pin::new(&mut flush).poll(&mut Context::from_waker(Waker::noop())).is_ready();
    world.settle();
    world.serve(1); // refused
    let mut parts = 0;
    while world.shared.accumulator.counts().pending > 0 {
        assert!(!is_done(), "after {parts} parts");
        world.settle();
        world.serve(1);
        parts += 1;
    }
    assert!(parts > 1);
    assert!(is_done());
}

#[test]
fn a_batch_of_unknown_fate_that_is_split_is_not_written_twice() {
    // ACC-22, CMPL-8, IDM-16
    let mut world = world(&[], usize::MAX);
    let mut sent = send(&mut world, 0..8);
    world.settle();
    let carried = world.peek(1);
    carried.iter().for_each(|batch| drop(world.cluster.append(1, batch)));
    world.cut(1, false);
    // The topic's limit is lowered meanwhile: leaders look at the size before they look for duplicates.
    world.cluster.message_max_bytes = Some(150);
    let mut later = world.send(0, 8);
    world.serve_all();
    assert_eq!(splits(&world), 1);
    assert_eq!(world.log(0), log_of(0..9));
    assert!(sent.iter_mut().all(|delivery| failed(delivery).0 == Outcome::Unknown));
    assert_eq!(acked_at(&mut later), Some(9));
    assert!(is_clean(&world));
}

#[test]
fn a_batch_of_unknown_fate_that_was_not_written_arrives_in_parts() {
    // ACC-22, IDM-16
    let mut world = world(&[], 150);
    let mut sent = send(&mut world, 0..8);
    world.settle();
    let late = world.peek(1);
    world.cut(1, true);
    world.run(1000);
    world.serve(1); // refused
    world.settle();
    world.serve(1); // the first part
    // The request that was cut reaches the broker after all, and the limit is gone.
    world.cluster.message_max_bytes = None;
    let answer = world.cluster.append(1, &late[0]);
    assert_eq!(answer.code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    world.serve_all();
    assert_eq!(world.log(0), log_of(0..8));
    assert!(sent.iter_mut().enumerate().all(|(at, d)| acked_at(d) == Some(1 + at as i64)));
}

/// A world with a batch of eight records in parts, of which none is on its way.
fn in_parts(settings: &[(&str, &str)]) -> (World, Vec<Delivery>) {
    let mut world = world(settings, 150);
    let sent = send(&mut world, 0..8);
    settle(&mut world);
    world.serve(1);
    assert_eq!((splits(&world), world.waiting(1)), (1, 0));
    (world, sent)
}

#[test]
fn parts_that_wait_expire_with_the_batch_s_age_and_are_not_written() {
    // ACC-22, ACC-24, CMPL-8
    let (mut world, mut sent) = in_parts(&[("delivery.timeout.ms", "6000"), ("request.timeout.ms", "2000")]);
    world.links.down.extend([1]);
    world.advance(5999);
    world.settle();
    assert!(sent.iter_mut().all(|delivery| delivery.poll_now().is_none()));
    world.advance(1);
    world.settle();
    assert!(sent.iter_mut().all(|d| failed(d) == (Outcome::NotWritten, Reason::Expired)));
    world.links.down.clear();
    let mut later = world.send(0, 8);
    world.serve_all();
    assert_eq!(acked_at(&mut later), Some(1));
    assert!(is_clean(&world));
}

#[test]
fn parts_that_wait_are_purged_and_closed_with_true_outcomes_and_handed_back() {
    // ACC-22, FLU-4, FLU-6
    for codec in ["none", "lz4"] {
        let (mut world, mut sent) = in_parts(&[("compression.type", codec)]);
        world.purge(true, true);
        assert!(sent.iter_mut().all(|d| failed(d) == (Outcome::NotWritten, Reason::Purged)));
        assert!(is_clean(&world));

        let (mut world, mut sent) = in_parts(&[("compression.type", codec)]);
        settle(&mut world); // the first part is on its way
        world.core.collect_undelivered();
        world.core.force_close();
        world.cut(1, false);
        let outcomes: Vec<Outcome> = sent.iter_mut().map(|delivery| failed(delivery).0).collect();
        assert!(outcomes.is_sorted_by_key(|outcome| *outcome == Outcome::NotWritten), "{outcomes:?}");
        assert_eq!((outcomes[0], outcomes[7]), (Outcome::Unknown, Outcome::NotWritten));
        let mut values: Vec<u64> = world
            .core
            .take_undelivered()
            .iter()
            .map(|u| u64::from_be_bytes(u.record().value_bytes().unwrap()[..].try_into().unwrap()))
            .collect();
        values.sort_unstable();
        assert_eq!(values, (0..8).collect::<Vec<_>>());
        assert!(is_clean(&world));
    }
}

#[test]
fn a_split_needs_no_free_memory() {
    // ACC-22, BUF-2
    for codec in ["none", "gzip"] {
        let settings = [("buffer.memory", "2048"), ("batch.size", "1024"), ("compression.type", codec)];
        let mut world = world(&settings, 100);
        send(&mut world, 0..30);
        settle(&mut world);
        let pool = world.shared.accumulator.pool().clone();
        let rest = pool.try_take(pool.available());
        assert_eq!(pool.available(), 0);
        world.serve(1);
        assert_eq!(splits(&world), 1);
        assert!(pool.held() <= pool.total() + 1024, "the batch and its parts never count together");
        world.serve_all();
        drop(rest);
        assert_eq!(world.log(0), log_of(0..30));
        assert!(is_clean(&world));
    }
}

#[test]
fn without_idempotence_a_split_loses_nothing() {
    // THR-3
    let mut world = World::warm(&[("enable.idempotence", "false")]);
    world.cluster.message_max_bytes = Some(120);
    let mut sent = Vec::new();
    for values in [0..8, 8..9, 9..11, 11..20] {
        sent.extend(send(&mut world, values));
        world.settle();
    }
    world.serve_all();
    let mut log = world.log(0).to_vec();
    assert!(sent.iter_mut().enumerate().all(|(at, delivery)| {
        let offset = acked_at(delivery).expect("an offset") as usize;
        world.log(0)[offset] == at as u64
    }));
    log.sort_unstable();
    assert_eq!(log, (0..20).collect::<Vec<_>>());
}

#[test]
fn parts_whose_sequence_is_refused_go_on_in_a_new_epoch() {
    // ACC-22, IDM-6, IDM-8
    let (mut world, mut sent) = in_parts(&[]);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    world.serve_all();
    assert_eq!(bumps(&world), 1);
    assert_eq!(world.log(0), log_of(0..8));
    assert!(sent.iter_mut().enumerate().all(|(at, d)| acked_at(d) == Some(1 + at as i64)));
}
