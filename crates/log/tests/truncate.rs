//! Cutting a log: by offset, by epoch as a follower must, as a whole; and crashes meanwhile.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use rohrpost_log::{Fault, LeaderChecks, Log, LogConfig, MemoryStorage, OpenOptions};
use rohrpost_record::Stamp;

#[test]
fn truncation_ends_the_log_at_the_batch_that_holds_the_offset() {
    // D27, D28, R24, I10
    let storage = MemoryStorage::new();
    let (all, end) = filled(&storage);
    let ends = batches(&all);
    for (base, count) in ends.iter().rev().step_by(7) {
        for inside in [*base, base + i64::from(count - 1)] {
            let storage = MemoryStorage::new();
            filled(&storage);
            let mut log = open_with(&storage, small(), OpenOptions { recovery_point: end, ..clean() });
            assert_eq!(log.truncate_to(inside).unwrap(), *base);
            assert_eq!((log.log_end_offset(), log.recovery_point()), (*base, *base));
            assert!(all.starts_with(&content(&log)));
            assert!(log.epochs().iter().all(|(_, start)| start < base));
            assert!(log.producers().all(|(_, p)| p.batches().iter().all(|b| b.last_offset < *base)));
            storage.power_loss();
            let log = open_with(&storage, small(), options());
            assert_eq!(log.log_end_offset(), *base, "a truncation is durable");
        }
    }
}

#[test]
fn truncation_at_or_above_the_end_cuts_no_data_but_drops_epochs() {
    // D28
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, batch(3)).unwrap();
    log.assign_epoch(8).unwrap();
    assert_eq!(log.latest_epoch(), Some(8));
    assert_eq!(log.truncate_to(100).unwrap(), 3);
    assert_eq!(log.epochs(), [(1, 0)]);
    assert_eq!(batches(&content(&log)), [(0, 3)]);
}

#[test]
fn full_truncation_leaves_an_empty_log_elsewhere() {
    // D29
    for to in [5, 10_000] {
        let storage = MemoryStorage::new();
        filled(&storage);
        let mut log = open_with(&storage, small(), clean());
        log.truncate_fully_and_start_at(to).unwrap();
        assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size_bytes()), (to, to, 0));
        assert!(log.epochs().is_empty() && log.producers().next().is_none());
        assert!(!files(&storage).iter().any(|n| n.ends_with(".snapshot")));
        append(&mut log, batch(2)).unwrap();
        log.flush().unwrap();
        storage.power_loss();
        let log = open_with(&storage, small(), options());
        assert_eq!(batches(&content(&log)), [(to, 2)]);
    }
}

#[test]
fn after_a_truncation_the_indexes_are_those_of_the_shorter_log() {
    // D5, D27
    let write_all = |cut_at: Option<i64>| {
        let storage = MemoryStorage::new();
        let mut log =
            open_with(&storage, LogConfig { index_interval_bytes: 150, ..LogConfig::default() }, options());
        for i in 0..40 {
            append(&mut log, batch_with(1, 30, NOW - 1000 + i, Stamp::NONE)).unwrap();
        }
        if let Some(cut_at) = cut_at {
            log.truncate_to(cut_at).unwrap();
            for i in cut_at..40 {
                append(&mut log, batch_with(1, 30, NOW - 1000 + i, Stamp::NONE)).unwrap();
            }
        }
        log.close().unwrap();
        (read(&storage, &path(0, ".index")), read(&storage, &path(0, ".timeindex")))
    };
    let straight = write_all(None);
    for cut_at in 0..40 {
        assert_eq!(write_all(Some(cut_at)), straight, "cut at {cut_at}");
    }
}

/// What a leader answers to (last fetched epoch, fetch offset): the epoch and end where the follower diverges, if it does (R24).
fn divergence(leader: &Log, epoch: i32, offset: i64) -> Option<(i32, i64)> {
    let (known, end) = leader.end_offset_for_epoch(epoch)?;
    (known < epoch || end < offset).then_some((known, end))
}

#[test]
fn a_follower_with_another_history_ends_with_the_leaders_bytes() {
    // R22, R24, R25: (epoch, batches) of leader and follower after a common beginning
    type Epochs = &'static [(i32, u32)];
    let histories: [(Epochs, Epochs); 5] = [
        (&[(3, 4)], &[(2, 3)]),
        (&[(2, 1), (5, 4)], &[(2, 6)]),
        (&[(4, 9)], &[(2, 2), (3, 2)]),
        (&[(2, 3), (4, 1), (6, 2)], &[(2, 1), (3, 7)]),
        (&[(2, 2)], &[]),
    ];
    for (leaders, followers) in histories {
        // One leader wrote each epoch, so what it wrote is the same wherever it is.
        let write = |own: &[(i32, u32)]| {
            let mut log = open_with(&MemoryStorage::new(), small(), options());
            for (epoch, n) in [(1, 8)].iter().chain(own) {
                for _ in 0..*n {
                    let mut bytes = batch_with(2, 20 + *epoch as usize, NOW - 1000, Stamp::NONE);
                    log.append_as_leader(&mut bytes, *epoch, NOW, LeaderChecks::default()).unwrap();
                }
            }
            log
        };
        let (leader, mut follower) = (write(leaders), write(followers));
        let now = leader.latest_epoch().unwrap();
        let mut rounds = 0;
        while follower.log_end_offset() < leader.log_end_offset()
            || divergence(&leader, follower.latest_epoch().unwrap(), follower.log_end_offset()).is_some()
        {
            rounds += 1;
            assert!(rounds < 20, "{leaders:?} {followers:?}");
            let at = follower.log_end_offset();
            match divergence(&leader, follower.latest_epoch().unwrap(), at) {
                Some((epoch, end)) => {
                    let cut = follower.truncation_for(epoch, end);
                    assert!(cut < at && cut >= 16, "never below what both have");
                    follower.truncate_to(cut).unwrap();
                }
                None => {
                    let read = leader.read(at, 300, i64::MAX, true).unwrap();
                    follower.append_as_follower(&read.records, now, NOW).unwrap();
                }
            }
        }
        assert!(content(&follower) == content(&leader), "{leaders:?} {followers:?}");
        assert_eq!(follower.epochs(), leader.epochs());
    }
}

#[test]
fn a_crash_during_a_truncation_leaves_a_prefix_that_can_be_cut_again() {
    // D27, D29
    for full in [false, true] {
        for sync in [false, true] {
            for nth in 1.. {
                let storage = MemoryStorage::new();
                let (all, end) = filled(&storage);
                let target = base_from_end(&storage, 2) + 2;
                let mut log = open_with(&storage, small(), OpenOptions { recovery_point: end, ..clean() });
                log.flush().unwrap();
                storage.inject(if sync { Fault::FailSync(nth) } else { Fault::FailWrite(nth) });
                let result = match full {
                    false => log.truncate_to(target).map(|_| ()),
                    true => log.truncate_fully_and_start_at(target),
                };
                let left = storage.clone();
                left.clear_faults();
                if nth % 2 == 0 {
                    left.power_loss()
                } else {
                    left.kill()
                }
                let mut log = open_with(&left, small(), OpenOptions { recovery_point: target, ..options() });
                let found = content(&log);
                batches(&found);
                assert!(all.starts_with(&found));
                if !full {
                    assert!(log.log_end_offset() >= target - 2, "nothing below the target is lost");
                    log.truncate_to(target).unwrap();
                    assert!(log.log_end_offset() <= target);
                }
                append(&mut log, batch(1)).unwrap();
                if result.is_ok() {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_log_that_failed_to_begin_anew_answers_and_says_that_it_is_offline() {
    // D29, D30
    for fault in [Fault::FailSync, Fault::FailCreate] {
        for nth in 1.. {
            let storage = MemoryStorage::new();
            let (_, end) = filled(&storage);
            let mut log = open_with(&storage, small(), OpenOptions { recovery_point: end, ..clean() });
            log.advance_log_start(end).unwrap();
            let deletion =
                log.delete_old_segments(NOW, end).unwrap().expect("all lies below the log's start");
            storage.inject(fault(nth));
            if log.truncate_fully_and_start_at(end).is_ok() {
                assert!(nth > 1, "it meets neither");
                break;
            }
            log.needs_flush_after_roll();
            log.complete_deletion(&deletion);
            assert!(!log.read(end, 100, i64::MAX, true).is_ok_and(|read| !read.records.is_empty()));
            assert!(append(&mut log, batch(1)).is_err() && log.flush().is_err() && log.close().is_err());
        }
    }
}

#[test]
fn the_log_start_never_falls() {
    // D25
    let storage = MemoryStorage::new();
    let (_, end) = filled(&storage);
    let mut log = open_with(&storage, small(), clean());
    assert!(log.advance_log_start(30).unwrap());
    assert!(!log.advance_log_start(20).unwrap());
    assert_eq!(log.log_start_offset(), 30);
    assert_eq!(log.advance_log_start(end + 1).unwrap_err().code(), rohrpost_log::code::OFFSET_OUT_OF_RANGE);
}
