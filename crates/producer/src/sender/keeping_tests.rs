//! Batches that fail go into the failed-records file, and their outcomes wait for it.

use std::time::{Duration, Instant};

use rohrpost_protocol::ErrorCode;

use super::tests::{acked_at, failed, is_clean};
use super::world::{Answer, World};
use crate::delivery::{Delivery, Keeping};
use crate::failed_records::{Sink, SmallDisk};
use crate::outcome::{Outcome, Reason};

/// A world whose producer keeps failed records, on a disk with so much room.
pub(super) fn world(settings: &[(&str, &str)], room: usize) -> (World, SmallDisk) {
    let world = World::warm(settings);
    let disk = SmallDisk::default();
    disk.0.lock().1 = room;
    let sink = Sink::on_disk(disk.clone(), world.shared.sender.clone());
    let outlet = world.shared.accumulator.outlet();
    outlet.set_keeping(Keeping::new(sink, world.shared.accumulator.pool().clone()));
    (world, disk)
}

fn keeping(world: &World) -> &Keeping {
    world.shared.accumulator.outlet().keeping().unwrap()
}

/// Waits until the file has been asked to keep so many records, and lets outcomes go that waited for it.
pub(super) fn release(world: &World, records: u64) {
    world.core.look_into_requests(&world.links);
    let kept = || {
        let counts = keeping(world).sink.counts();
        counts.kept + counts.lost
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while kept() < records {
        assert!(Instant::now() < deadline, "nothing was written");
        keeping(world).sink.wait_done(deadline);
        let _ = keeping(world).release(world.now_ms());
    }
    while !keeping(world).is_empty() && Instant::now() < deadline {
        keeping(world).sink.wait_done(deadline);
        let _ = keeping(world).release(world.now_ms());
    }
}

pub(super) fn lines(disk: &SmallDisk) -> Vec<String> {
    let data = disk.0.lock().0.clone();
    String::from_utf8(data).unwrap().lines().map(str::to_owned).collect()
}

fn is_open(delivery: &mut Delivery) -> bool {
    delivery.poll_now().is_none()
}

// SEND-2, CMPL-3
#[test]
fn a_failure_is_told_when_its_line_is_synced_and_later_outcomes_of_the_partition_wait_for_it() {
    let (mut world, disk) = world(&[], 1 << 20);
    world.prime(0);
    let mut bad = world.send(0, 1);
    world.settle();
    let mut good = world.send(0, 2);
    let mut elsewhere = world.send(1, 3);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::INVALID_RECORD));
    for _ in 0..100 {
        world.run(20);
        (1..=2).for_each(|node| (0..world.waiting(node)).for_each(|_| world.serve(node)));
    }
    assert_eq!(world.log(0).last(), Some(&2), "it is in the log");
    assert!(is_open(&mut bad) && is_open(&mut good), "the file is not asked yet");
    assert!(acked_at(&mut elsewhere).is_some(), "other partitions do not wait");
    release(&world, 1);
    assert_eq!(failed(&mut bad), (Outcome::NotWritten, Reason::Broker(ErrorCode::INVALID_RECORD)));
    assert!(acked_at(&mut good).is_some());
    let lines = lines(&disk);
    assert_eq!(lines.len(), 1);
    for part in [
        r#""topic":"t","partition":0"#,
        r#""value_base64":"AAAAAAAAAAE=""#,
        r#""error":"INVALID_RECORD""#,
        r#""outcome":"not_written","attempts":1"#,
    ] {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
    assert!(is_clean(&world));
}

// SEND-2, ACC-24, ACC-25
#[test]
fn what_expires_on_the_wire_is_in_the_file_though_its_request_has_the_memory() {
    let (mut world, disk) = world(&[("delivery.timeout.ms", "1000"), ("request.timeout.ms", "900")], 1 << 20);
    let mut expired = world.send(0, 7);
    world.settle();
    world.advance(1000);
    world.pass();
    assert!(keeping(&world).lacks_bytes() && is_open(&mut expired));
    release(&world, 1);
    assert_eq!(failed(&mut expired), (Outcome::Unknown, Reason::Expired));
    assert!(
        lines(&disk)[0].contains(r#""outcome":"unknown","attempts":1,"age_ms":1000}"#),
        "{:?}",
        lines(&disk)
    );
    assert!(!is_clean(&world), "the request still owns the batch");
    world.serve_all();
    assert!(is_clean(&world));
    assert_eq!(lines(&disk).len(), 1);
}

// SEND-2, FLU-4
#[test]
fn bytes_that_nobody_can_look_at_come_back_with_the_request() {
    let (mut world, disk) = world(&[], 1 << 20);
    let mut purged = world.send(0, 7);
    world.settle();
    world.purge(false, true);
    let request = world.take(1); // it is not to be found
    world.core.look_into_requests(&world.links);
    assert!(keeping(&world).lacks_bytes() && is_open(&mut purged));
    let now_ms = world.now_ms();
    world.core.handle_disconnect(1, vec![request], false, None, now_ms);
    release(&world, 1);
    assert_eq!(failed(&mut purged), (Outcome::Unknown, Reason::Purged));
    assert!(lines(&disk)[0].contains(r#""error":"PURGED""#));
    assert!(is_clean(&world));
}

// SEND-2, ERR-3
#[test]
fn each_record_of_a_batch_has_a_line_with_its_own_error_also_of_a_compressed_one() {
    for codec in ["none", "lz4"] {
        let (mut world, disk) = world(&[("linger.ms", "5"), ("compression.type", codec)], 1 << 20);
        let mut deliveries: Vec<_> = (0..3).map(|n| world.send(0, n)).collect();
        world.run(20);
        let named = vec![(1, "too old".to_owned())];
        world.answer(1, Answer { records: named, ..Answer::error(ErrorCode::INVALID_RECORD) });
        release(&world, 3);
        let lines = lines(&disk);
        assert_eq!(lines.len(), 3);
        for (n, (line, delivery)) in lines.iter().zip(&mut deliveries).enumerate() {
            let error = delivery.poll_now().unwrap().unwrap_err();
            assert!(line.contains(&format!(r#""reason":"{}""#, error.message())), "{line}");
            assert_eq!(error.message() == "too old", n == 1);
        }
        assert!(is_clean(&world));
    }
}

// SEND-2: never silently, and never in the way
#[test]
fn a_full_disk_is_counted_and_keeps_no_outcome_back() {
    let (mut world, disk) = world(&[], 10);
    for (records, room) in [(1, 10), (2, 1 << 20)] {
        disk.0.lock().1 = room;
        let mut delivery = world.send(0, 7);
        world.settle();
        world.answer(1, Answer::error(ErrorCode::INVALID_RECORD));
        release(&world, records);
        assert_eq!(failed(&mut delivery).0, Outcome::NotWritten);
    }
    let counts = keeping(&world).sink.counts();
    assert_eq!((counts.lost, counts.kept), (1, 1), "the next batch is tried again");
    assert_eq!(lines(&disk).len(), 1);
    assert!(is_clean(&world));
}

// SEND-2, BUF-1
#[test]
fn what_waits_for_the_file_is_charged_to_buffer_memory() {
    let (mut world, disk) = world(&[], 1 << 20);
    let mut delivery = world.send(0, 7);
    world.settle();
    let held = {
        let _disk_is_busy = disk.0.lock();
        world.answer(1, Answer::error(ErrorCode::INVALID_RECORD));
        assert!(is_open(&mut delivery));
        world.shared.accumulator.pool().held()
    };
    assert!(held >= 1024, "{held} bytes");
    release(&world, 1);
    assert!(!is_open(&mut delivery) && is_clean(&world));
}

// SEND-2, CMPL-8
#[test]
fn the_end_of_a_producer_waits_for_the_file() {
    let (mut world, disk) = world(&[("linger.ms", "1000")], 1 << 20);
    let mut delivery = world.send(0, 7);
    world.core.force_close();
    keeping(&world).finish();
    assert_eq!(failed(&mut delivery), (Outcome::NotWritten, Reason::Closed));
    assert_eq!(lines(&disk).len(), 1);
    assert!(is_clean(&world));
}

// SEND-2, ACC-24: no outcome is open for longer than delivery.timeout.ms and these ten seconds
#[test]
fn a_disk_that_hangs_holds_an_outcome_for_ten_seconds_and_its_record_gets_into_the_file_when_it_goes_on() {
    let (mut world, disk) = world(&[], 1 << 20);
    let mut bad = world.send(0, 1);
    world.settle();
    let mut good = world.send(0, 2);
    let hangs = disk.0.lock(); // who writes waits here
    world.answer(1, Answer::error(ErrorCode::INVALID_RECORD));
    for _ in 0..100 {
        world.run(20);
        (0..world.waiting(1)).for_each(|_| world.serve(1));
    }
    let begin_ms = world.now_ms();
    assert_eq!(keeping(&world).release(begin_ms), Some(begin_ms + 10_000));
    assert_eq!(keeping(&world).release(begin_ms + 9_999), Some(begin_ms + 10_000));
    assert!(is_open(&mut bad) && is_open(&mut good));
    assert_eq!(keeping(&world).release(begin_ms + 10_000), None);
    assert_eq!(failed(&mut bad).0, Outcome::NotWritten);
    assert!(acked_at(&mut good).is_some(), "what stood behind it goes on");
    assert_eq!((keeping(&world).sink.counts().lost, keeping(&world).sink.counts().kept), (1, 0));
    assert!(!is_clean(&world), "its bytes wait for the disk, and are charged");
    drop(hangs);
    let deadline = Instant::now() + Duration::from_secs(30);
    while keeping(&world).sink.counts().kept < 1 {
        assert!(Instant::now() < deadline, "it is not written");
        std::thread::yield_now();
    }
    assert_eq!(lines(&disk).len(), 1);
    assert!(is_clean(&world));
    // The next one is told with its line, as ever.
    let mut next = world.send(1, 3);
    world.run(100);
    world.answer(2, Answer::error(ErrorCode::INVALID_RECORD));
    release(&world, 3);
    assert_eq!(failed(&mut next).0, Outcome::NotWritten);
    assert_eq!((keeping(&world).sink.counts().lost, lines(&disk).len()), (1, 2));
}

// SEND-2: a request that never ends
#[test]
fn an_outcome_does_not_wait_for_bytes_that_do_not_come() {
    let (mut world, disk) = world(&[], 1 << 20);
    let mut purged = world.send(0, 7);
    world.settle();
    world.purge(false, true);
    let request = world.take(1); // it is not to be found
    let begin_ms = world.now_ms();
    let _ = keeping(&world).release(begin_ms);
    assert!(keeping(&world).lacks_bytes() && is_open(&mut purged));
    let _ = keeping(&world).release(begin_ms + 10_000);
    assert_eq!(failed(&mut purged), (Outcome::Unknown, Reason::Purged));
    assert!(!keeping(&world).lacks_bytes());
    assert_eq!(keeping(&world).sink.counts().lost, 1);
    let now_ms = world.now_ms();
    world.core.handle_disconnect(1, vec![request], false, None, now_ms);
    assert!(is_clean(&world) && lines(&disk).is_empty());
}
