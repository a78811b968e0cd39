//! What a log knows of its producers after a start: snapshots, and the batches beside them.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use rohrpost_log::{Fault, Log, LogConfig, MemoryStorage, OpenMode, OpenOptions, Storage};

#[test]
fn snapshots_without_a_segment_are_removed() {
    // D18
    let storage = MemoryStorage::new();
    let (_, end) = filled(&storage);
    let within = base_from_end(&storage, 0) + 1;
    assert!(within < end);
    for stray in [3, within, end + 9] {
        let good = read(&storage, &path(end, ".snapshot"));
        write(&storage, &path(stray, ".snapshot"), 0, &good);
    }
    open_with(&storage, small(), clean());
    let left: Vec<_> = files(&storage).into_iter().filter(|n| n.ends_with(".snapshot")).collect();
    for stray in [3, within, end + 9] {
        assert!(!left.contains(&format!("{stray:020}.snapshot")), "{stray}");
    }
    assert!(left.contains(&format!("{end:020}.snapshot")));
}

#[test]
fn duplicates_are_known_after_a_clean_stop_and_after_a_kill() {
    // I10, I11
    for clean_stop in [true, false] {
        let storage = MemoryStorage::new();
        let mut log = open_with(&storage, small(), options());
        for i in 0..20 {
            append(&mut log, produced(4, i * 3, 3)).unwrap();
        }
        let before = log.producer(10).unwrap().clone();
        if clean_stop {
            log.close().unwrap();
        } else {
            storage.kill();
        }
        let mut log = open_with(&storage, small(), OpenOptions { clean: clean_stop, ..options() });
        assert_eq!(log.producer(10).unwrap().epoch, before.epoch);
        assert_eq!(log.producer(10).unwrap().batches().last(), before.batches().last());
        let again = append(&mut log, produced(4, 57, 3)).unwrap();
        assert!(again.duplicate);
        assert_eq!(again.first_offset, 57);
        append(&mut log, produced(4, 60, 1)).unwrap();
    }
}

#[test]
fn all_five_batches_are_known_again_if_they_lie_in_the_last_segment() {
    // I11, "Rohrpost may replay the last segment"
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    for i in 0..7 {
        append(&mut log, produced(4, i * 3, 3)).unwrap();
    }
    let before = log.producer(10).unwrap().clone();
    log.close().unwrap();
    assert_eq!(read(&storage, &path(21, ".snapshot")).len(), 10 + 46, "one batch per producer");
    let log = open_with(&storage, LogConfig::default(), clean());
    assert_eq!(log.producer(10), Some(&before));
}

#[test]
fn all_five_batches_are_known_again_if_they_lie_before_the_last_roll() {
    // I11
    let storage = MemoryStorage::new();
    let mut log = open_with(&storage, small(), options());
    for i in 0..5 {
        append(&mut log, produced(4, i, 1)).unwrap();
    }
    assert_eq!(log.segment_count(), 1);
    while !append(&mut log, batch(1)).unwrap().rolled {}
    let before = log.producer(10).unwrap().clone();
    storage.kill();
    let log = open_with(&storage, small(), OpenOptions { recovery_point: log.log_end_offset(), ..options() });
    assert_eq!(log.producer(10), Some(&before));
}

#[test]
fn batches_on_both_sides_of_a_snapshot_are_known_again() {
    // I11
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    for i in 0..3 {
        append(&mut log, produced(4, i, 1)).unwrap();
    }
    log.close().unwrap();
    let mut log = open_with(&storage, LogConfig::default(), clean());
    append(&mut log, produced(4, 3, 1)).unwrap();
    let before = log.producer(10).unwrap().clone();
    assert_eq!(before.batches().len(), 4);
    storage.kill();
    assert_eq!(open(&storage).producer(10), Some(&before));
}

#[test]
fn the_snapshot_at_the_logs_end_is_believed() {
    // I11: of a producer whose batches were deleted nothing else is left
    let with = |batch: Vec<u8>| {
        let storage = MemoryStorage::new();
        let mut log = open(&storage);
        append(&mut log, batch).unwrap();
        log.close().unwrap();
        storage
    };
    let (known, unknown) = (with(produced(4, 7, 2)), with(batch(2)));
    let snapshot = path(2, ".snapshot");
    cut(&unknown, &snapshot, 0);
    write(&unknown, &snapshot, 0, &read(&known, &snapshot));
    let log = open_with(&unknown, LogConfig::default(), clean());
    assert_eq!(log.producer(10).unwrap().batches()[0].last_sequence, 8);
}

#[test]
fn a_snapshot_too_long_to_be_one_is_replaced() {
    // I11: no memory is taken for it
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, produced(4, 0, 2)).unwrap();
    log.close().unwrap();
    cut(&storage, &path(2, ".snapshot"), (1 << 30) + 1);
    let log = open_with(&storage, LogConfig::default(), clean());
    assert_eq!(log.producer(10).unwrap().batches().len(), 1);
    drop(log);
    let file = storage.open(&path(2, ".snapshot"), OpenMode::Existing).unwrap();
    assert_eq!(file.len().unwrap(), 10 + 46);
}

#[test]
fn a_snapshot_that_cannot_be_read_now_is_no_damaged_one() {
    // I11: it may hold what no batch tells any more
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, produced(4, 0, 2)).unwrap();
    log.close().unwrap();
    let before = read(&storage, &path(2, ".snapshot"));
    storage.inject_in(".snapshot", Fault::FailRead(1));
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let error = Log::open(shared, DIR, LogConfig::default(), clean()).map(drop).unwrap_err();
    assert!(error.is_storage_error(), "{error}");
    assert_eq!(read(&storage, &path(2, ".snapshot")), before);
}

#[test]
fn a_damaged_snapshot_is_replaced_by_the_batches() {
    // I11, D16
    let storage = MemoryStorage::new();
    let (_, end) = filled(&storage);
    let states = |log: &Log| {
        let mut all: Vec<_> =
            log.producers().map(|(id, p)| (id, p.epoch, p.batches().last().copied())).collect();
        all.sort_by_key(|(id, ..)| *id);
        all
    };
    let before = states(&open_with(&storage, small(), clean()));
    assert_eq!(before.len(), 2);
    for name in files(&storage).into_iter().filter(|n| n.ends_with(".snapshot")) {
        let file = format!("{DIR}/{name}");
        let bytes = read(&storage, &file);
        write(&storage, &file, bytes.len() as u64 - 1, &[bytes[bytes.len() - 1] ^ 1]);
    }
    assert_eq!(states(&open_with(&storage, small(), OpenOptions { recovery_point: end, ..clean() })), before);
}
