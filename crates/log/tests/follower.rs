//! Appending as a follower: what a leader has sent, byte for byte.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use rohrpost_log::{Fault, LeaderChecks, LogConfig, LogError, MemoryStorage, OpenOptions, code};
use rohrpost_record::control::{ControlBatch, ControlType, EndTxnMarker, control_batch, end_txn_marker};
use rohrpost_record::{Attributes, Codec, Stamp, stamp};

/// A leader's batch of `count` records at `base_offset`.
fn at(base_offset: i64, epoch: i32, count: u32) -> Vec<u8> {
    let mut bytes = batch(count);
    bytes[0..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes
}

fn logs(storage: &MemoryStorage) -> Vec<String> {
    files(storage).into_iter().filter(|name| name.ends_with(".log")).collect()
}

#[test]
fn a_follower_takes_sequences_as_they_come() {
    // I8, I10
    let mut leader = open(&MemoryStorage::new());
    append(&mut leader, produced(0, 0, 2)).unwrap();
    let mut follower = open(&MemoryStorage::new());
    let mut gap = produced(0, 9, 1);
    gap[12..16].copy_from_slice(&1i32.to_be_bytes());
    gap[0..8].copy_from_slice(&2i64.to_be_bytes());
    follower.append_as_follower(&content(&leader), 1, NOW).unwrap();
    follower.append_as_follower(&gap, 1, NOW).unwrap();
    assert_eq!(follower.log_end_offset(), 3);
    let state: Vec<_> = follower.producer(10).unwrap().batches().iter().map(|b| b.last_sequence).collect();
    assert_eq!(state, [1, 9]);
}

#[test]
fn a_follower_has_the_leaders_bytes_epochs_and_producers() {
    // R22, I10
    let mut leader = open(&MemoryStorage::new());
    for epoch in 1..4 {
        for i in 0..3 {
            let mut bytes = produced(0, (epoch - 1) * 6 + i * 2, 2);
            leader.append_as_leader(&mut bytes, epoch, NOW, LeaderChecks::default()).unwrap();
        }
    }
    let mut follower = open(&MemoryStorage::new());
    let info = follower.append_as_follower(&content(&leader), 3, NOW).unwrap();
    assert_eq!((info.first_offset, info.last_offset), (0, 17));
    assert_eq!(content(&follower), content(&leader));
    assert_eq!(follower.epochs(), leader.epochs());
    assert_eq!(follower.producer(10), leader.producer(10));
}

#[test]
fn a_follower_drops_batches_of_a_later_leader_and_all_after_them() {
    // R22
    let mut leader = open(&MemoryStorage::new());
    for epoch in [1, 2, 5] {
        leader.append_as_leader(&mut batch(2), epoch, NOW, LeaderChecks::default()).unwrap();
    }
    let mut follower = open(&MemoryStorage::new());
    follower.append_as_follower(&content(&leader), 2, NOW).unwrap();
    assert_eq!(follower.log_end_offset(), 4);
    let nothing = follower.append_as_follower(&content(&leader)[2..], 2, NOW);
    assert!(nothing.is_err(), "not a batch boundary");
}

#[test]
fn a_cut_last_batch_is_left_out_by_a_follower() {
    // R22, F5
    let mut leader = open(&MemoryStorage::new());
    append(&mut leader, batch(2)).unwrap();
    append(&mut leader, batch(2)).unwrap();
    let bytes = content(&leader);
    let mut follower = open(&MemoryStorage::new());
    follower.append_as_follower(&bytes[..bytes.len() - 1], 1, NOW).unwrap();
    assert_eq!(follower.log_end_offset(), 2);
}

#[test]
fn an_empty_follower_may_begin_at_the_batch_that_holds_its_end() {
    // R22
    let mut leader = open(&MemoryStorage::new());
    append(&mut leader, batch(10)).unwrap();
    let bytes = content(&leader);
    let start_at_4 = OpenOptions { log_start: 4, ..options() };
    let mut follower = open_with(&MemoryStorage::new(), LogConfig::default(), start_at_4);
    assert_eq!(follower.log_end_offset(), 4);
    follower.append_as_follower(&bytes, 1, NOW).unwrap();
    assert_eq!((follower.log_start_offset(), follower.log_end_offset()), (0, 10));
    let again = follower.append_as_follower(&bytes, 1, NOW).unwrap_err();
    assert_eq!(again.code(), code::UNKNOWN_SERVER_ERROR);
}

#[test]
fn a_follower_has_the_leaders_segments_whatever_came_at_once() {
    // R22, D10
    let leaders = MemoryStorage::new();
    let mut leader = open_with(&leaders, small(), options());
    for i in 0..40 {
        let mut bytes = batch_with(2, 20, NOW - 1000 + i, Stamp::NONE);
        leader.append_as_leader(&mut bytes, 1 + i as i32 / 15, NOW, LeaderChecks::default()).unwrap();
    }
    let bytes = content(&leader);
    let followers = MemoryStorage::new();
    let mut follower = open_with(&followers, small(), options());
    let info = follower.append_as_follower(&bytes, 3, NOW).unwrap();
    assert_eq!((info.bytes, info.max_timestamp, info.rolled), (bytes.len(), NOW - 960, true));
    assert_eq!(logs(&followers), logs(&leaders));
    assert_eq!(logs(&leaders).len(), 5);
    for name in logs(&leaders) {
        let path = format!("{DIR}/{name}");
        assert_eq!(read(&followers, &path), read(&leaders, &path), "{name}");
    }
    assert_eq!(follower.epochs(), leader.epochs());
}

#[test]
fn batches_of_one_segment_and_epoch_are_one_write() {
    // R22
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    log.append_as_follower(&at(0, 1, 2), 1, NOW).unwrap();
    storage.inject(Fault::FailWrite(2));
    let three = [at(2, 1, 2), at(4, 1, 2), at(6, 1, 2)].concat();
    let info = log.append_as_follower(&three, 1, NOW).unwrap();
    assert_eq!((info.bytes, info.rolled, log.log_end_offset()), (three.len(), false, 8));
}

#[test]
fn records_that_overlap_what_a_follower_has_are_refused() {
    // R22
    let unexpected = |result: Result<_, LogError>| {
        let error: LogError = result.map(|_: rohrpost_log::FollowerAppend| ()).unwrap_err();
        assert_eq!(error.code(), code::UNKNOWN_SERVER_ERROR, "{error}");
    };
    let mut log = open(&MemoryStorage::new());
    log.append_as_follower(&at(0, 1, 2), 1, NOW).unwrap();
    unexpected(log.append_as_follower(&at(1, 1, 9), 1, NOW));
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, 2));
    // an empty log: the batch ends below, or holds its end
    let start_at_4 = OpenOptions { log_start: 4, ..options() };
    let mut log = open_with(&MemoryStorage::new(), LogConfig::default(), start_at_4);
    unexpected(log.append_as_follower(&at(1, 1, 3), 1, NOW));
    assert_eq!(log.log_start_offset(), 4);
    log.append_as_follower(&at(1, 1, 4), 1, NOW).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (1, 5));
}

#[test]
fn offsets_of_replicated_batches_rise() {
    // R22
    let with_delta = |delta: i32| {
        let mut bytes = at(3, 1, 2);
        bytes[23..27].copy_from_slice(&delta.to_be_bytes());
        stamp(&mut bytes, [], Stamp::NONE);
        bytes
    };
    let cases = [
        ("fall", at(2, 1, 2)),
        ("overlap", at(1, 1, 5)),
        ("below nothing", at(-1, 1, 1)),
        ("no record", with_delta(-1)),
        ("backwards", with_delta(-3)),
        ("beyond the last", at(i64::MAX, 1, 1)),
        ("around the last", at(i64::MAX - 1, 1, 5)),
    ];
    for (what, second) in cases {
        let mut log = open(&MemoryStorage::new());
        let result = log.append_as_follower(&[at(0, 1, 3), second].concat(), 1, NOW);
        assert_eq!(result.unwrap_err().code(), code::UNKNOWN_SERVER_ERROR, "{what}");
        assert_eq!(log.log_end_offset(), 0, "{what}: nothing was appended");
    }
    let mut log = open(&MemoryStorage::new());
    log.append_as_follower(&[at(0, 1, 3), at(3, 1, 1), at(9, 1, 1)].concat(), 1, NOW).unwrap();
    assert_eq!(log.log_end_offset(), 10, "a gap, as compaction leaves them");
}

#[test]
fn a_follower_flushes_as_its_topic_says_unless_its_owner_does() {
    // D13, R22
    let config = LogConfig { flush_messages: 3, ..LogConfig::default() };
    for owner_flushes in [false, true] {
        let mut log = open_with(&MemoryStorage::new(), config.clone(), options());
        if owner_flushes {
            log.leave_flushes_to_owner();
        }
        log.append_as_follower(&at(0, 1, 2), 1, NOW).unwrap();
        assert_eq!(log.recovery_point(), 0);
        log.append_as_follower(&at(2, 1, 1), 1, NOW).unwrap();
        assert_eq!(log.recovery_point(), if owner_flushes { 0 } else { 3 });
    }
}

#[test]
fn a_marker_ends_the_transaction_of_its_producer_and_other_control_batches_end_none() {
    // I10, T9
    let mut log = open(&MemoryStorage::new());
    let mut open_transaction = at(0, 1, 2);
    open_transaction[21..23].copy_from_slice(&Attributes::new(Codec::None, true).0.to_be_bytes());
    let by = Stamp { producer_id: 10, producer_epoch: 0, base_sequence: 0 };
    stamp(&mut open_transaction, [], by);
    log.append_as_follower(&open_transaction, 1, NOW).unwrap();
    assert_eq!(log.producer(10).unwrap().transaction_first_offset, Some(0));
    let placed = |base_offset| ControlBatch { base_offset, leader_epoch: 1, timestamp: NOW };
    let mut offset = 2;
    for kind in [
        ControlType::LeaderChange,
        ControlType::SnapshotHeader,
        ControlType::SnapshotFooter,
        ControlType::KRaftVersion,
        ControlType::Voters,
    ] {
        let mut bytes = Vec::new();
        control_batch(&mut bytes, placed(offset), &[(kind, b"value")]);
        // even if it bears the producer's name
        stamp(&mut bytes, [], by);
        log.append_as_follower(&bytes, 1, NOW).unwrap();
        assert_eq!(log.producer(10).unwrap().transaction_first_offset, Some(0), "{kind:?}");
        offset += 1;
    }
    for (committed, epoch) in [(false, 7), (true, 8)] {
        let marker =
            end_txn_marker(placed(offset), 10, 0, committed, EndTxnMarker { coordinator_epoch: epoch });
        log.append_as_follower(&marker, 1, NOW).unwrap();
        let producer = log.producer(10).unwrap();
        assert_eq!((producer.transaction_first_offset, producer.coordinator_epoch), (None, epoch));
        offset += 1;
    }
    let mut unknown = Vec::new();
    control_batch(&mut unknown, placed(offset), &[(ControlType::Unknown(7), b"")]);
    assert_eq!(log.append_as_follower(&unknown, 1, NOW).unwrap_err().code(), code::INVALID_RECORD);
    let mut short = Vec::new();
    control_batch(&mut short, placed(offset), &[(ControlType::Commit, b"short")]);
    assert_eq!(log.append_as_follower(&short, 1, NOW).unwrap_err().code(), code::INVALID_RECORD);
}
