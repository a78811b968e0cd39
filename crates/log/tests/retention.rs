//! Retention on a log in memory: what goes, what stays, and what a crash in between leaves (D22 to D24).
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use rohrpost_log::{Deletion, FileStorage, Log, LogConfig, MemoryStorage, OpenMode, OpenOptions, Storage};
use rohrpost_record::Stamp;

/// Two batches of one record a segment.
fn config() -> LogConfig {
    let one = batch(1).len() as u32;
    LogConfig { segment_bytes: 2 * one, index_interval_bytes: 0, ..LogConfig::default() }
}

/// A log with one batch per given time; half as many segments.
fn log_with(storage: &MemoryStorage, config: LogConfig, times: &[i64]) -> Log {
    let mut log = open_with(storage, config, options());
    for time in times {
        append(&mut log, batch_with(1, 20, *time, Stamp::NONE)).unwrap();
    }
    log
}

fn names(storage: &MemoryStorage, suffix: &str) -> Vec<String> {
    files(storage).into_iter().filter(|name| name.ends_with(suffix)).collect()
}

fn delete(log: &mut Log, high_watermark: i64) -> Vec<String> {
    match log.delete_old_segments(NOW, high_watermark).unwrap() {
        Some(deletion) => go(log, &deletion),
        None => Vec::new(),
    }
}

fn go(log: &mut Log, deletion: &Deletion) -> Vec<String> {
    let renamed = deletion.rename().unwrap();
    log.complete_deletion(deletion);
    renamed
}

#[test]
fn old_segments_go_and_the_log_start_moves_with_them() {
    // D22, D23
    let storage = MemoryStorage::new();
    let config = LogConfig { retention_ms: 1000, ..config() };
    let mut log = log_with(&storage, config, &[NOW - 3000, NOW - 2000, NOW - 900, NOW - 2000, NOW, NOW]);
    assert_eq!(log.segment_count(), 3);
    let deletion = log.delete_old_segments(NOW, 6).unwrap().unwrap();
    assert_eq!((deletion.segments(), deletion.first_kept()), (1, 2), "the second holds a young record");
    // The log start has moved before a file has changed.
    assert_eq!((log.log_start_offset(), log.log_start_checkpoint()), (2, Some(2)));
    assert!(names(&storage, ".deleted").is_empty());
    assert_eq!(log.read(1, 1, 6, true).unwrap_err().code(), rohrpost_log::code::OFFSET_OUT_OF_RANGE);
    let renamed = go(&mut log, &deletion);
    assert_eq!((log.segment_count(), log.log_start_checkpoint()), (2, None));
    assert_eq!(
        names(&storage, ".deleted"),
        [
            "00000000000000000000.index.deleted",
            "00000000000000000000.log.deleted",
            "00000000000000000000.timeindex.deleted",
        ]
    );
    assert_eq!(renamed.len(), 3);
    assert_eq!(batches(&content(&log)).len(), 4);
    assert!(log.delete_old_segments(NOW, 6).unwrap().is_none());
}

#[test]
fn size_keeps_the_newest() {
    // D22
    let storage = MemoryStorage::new();
    let two = 2 * batch(1).len() as i64;
    let mut log = log_with(&storage, LogConfig { retention_bytes: 2 * two, ..config() }, &[NOW; 9]);
    assert_eq!(log.segment_count(), 5);
    delete(&mut log, 9);
    assert_eq!((log.log_start_offset(), log.segment_count()), (4, 3), "two and a half are left");
    assert!(log.size_bytes() as i64 >= 2 * two);
}

#[test]
fn nothing_at_or_above_the_high_watermark_goes() {
    // D22
    let storage = MemoryStorage::new();
    let mut log = log_with(&storage, LogConfig { retention_bytes: 0, ..config() }, &[NOW; 6]);
    delete(&mut log, 3);
    assert_eq!(log.log_start_offset(), 2);
    delete(&mut log, 5);
    assert_eq!(log.log_start_offset(), 4);
}

#[test]
fn the_active_segment_expires_behind_a_new_one() {
    // D22, I11: the state of producers goes on
    let storage = MemoryStorage::new();
    let mut log = open_with(&storage, LogConfig { retention_ms: 1000, ..LogConfig::default() }, options());
    append(&mut log, produced(0, 0, 3)).unwrap();
    let later = NOW + 5000;
    let deletion = log.delete_old_segments(later, 3).unwrap().unwrap();
    go(&mut log, &deletion);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.segment_count()), (3, 3, 1));
    assert_eq!(names(&storage, ".log"), ["00000000000000000003.log"]);
    assert!(log.delete_old_segments(later, 3).unwrap().is_none(), "an empty one stays");
    assert_eq!(log.epochs(), [(1, 3)]);
    log.close().unwrap();
    let mut log = open_with(&storage, LogConfig::default(), clean());
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (3, 3));
    assert_eq!(append(&mut log, produced(0, 3, 1)).unwrap().first_offset, 3);
}

#[test]
fn a_log_that_is_not_deleted_from_only_loses_what_lies_below_its_start() {
    // D24, D22, D25
    let storage = MemoryStorage::new();
    let config = LogConfig { retention_ms: 0, retention_bytes: 0, delete: false, ..config() };
    let mut log = log_with(&storage, config, &[NOW - 5000; 6]);
    assert!(log.delete_old_segments(NOW, 6).unwrap().is_none());
    log.advance_log_start(3).unwrap();
    delete(&mut log, 6);
    assert_eq!((log.log_start_offset(), log.segment_count()), (3, 2));
    assert_eq!(names(&storage, ".log")[0], "00000000000000000002.log");
    assert_eq!(log.log_start_checkpoint(), Some(3));
}

#[test]
fn records_without_time_are_as_old_as_their_file() {
    // D22
    let storage = MemoryStorage::new();
    let config = LogConfig { retention_ms: 1000, ..config() };
    let mut log = open_with(&storage, config.clone(), options());
    for now in [NOW, NOW + 500, NOW + 5000] {
        let mut timeless = batch_with(1, 20, -1, Stamp::NONE);
        log.append_as_leader(&mut timeless, 1, now, Default::default()).unwrap();
    }
    assert!(log.delete_old_segments(NOW + 1500, 3).unwrap().is_none());
    assert_eq!(log.delete_old_segments(NOW + 1501, 3).unwrap().unwrap().segments(), 1);
}

#[test]
fn a_file_knows_when_it_was_written() {
    // D22
    let dir = tempfile::tempdir().unwrap();
    let path = format!("{}/x", dir.path().to_str().unwrap());
    let file = FileStorage::new().open(&path, OpenMode::Create).unwrap();
    file.write_at(0, b"x").unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_600_000_000_123);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(file.modified_ms().unwrap(), Some(1_600_000_000_123));
}

#[test]
fn snapshots_and_epochs_go_with_their_segments() {
    // D22, I11, D18
    let storage = MemoryStorage::new();
    let mut log = open_with(&storage, LogConfig { retention_bytes: 0, ..config() }, options());
    for (i, epoch) in [1, 1, 1, 2, 2, 3, 3].into_iter().enumerate() {
        let mut one =
            batch_with(1, 20, NOW, Stamp { producer_id: 10, producer_epoch: 0, base_sequence: i as i32 });
        log.append_as_leader(&mut one, epoch, NOW, Default::default()).unwrap();
    }
    assert_eq!(names(&storage, ".snapshot").len(), 3);
    delete(&mut log, 5);
    assert_eq!(log.log_start_offset(), 4);
    assert_eq!(
        names(&storage, ".snapshot"),
        ["00000000000000000004.snapshot", "00000000000000000006.snapshot"]
    );
    assert_eq!(log.epochs(), [(2, 4), (3, 5)]);
    // The file follows later; a start trims it itself (D14, D18).
    storage.kill();
    let log = open_with(&storage, config(), options());
    assert_eq!(log.epochs(), [(2, 4), (3, 5)]);
    assert_eq!(log.producer(10).unwrap().batches().last().unwrap().last_sequence, 6);
}

#[test]
fn a_reader_that_holds_a_file_finishes_undisturbed() {
    // D23
    let dir = tempfile::tempdir().unwrap();
    let path = format!("{}/t-0", dir.path().to_str().unwrap());
    let storage: std::sync::Arc<dyn Storage> = std::sync::Arc::new(FileStorage::new());
    let config = LogConfig { retention_bytes: 0, ..LogConfig::default() };
    let mut log = Log::open(storage.clone(), &path, config, options()).unwrap();
    append(&mut log, batch(3)).unwrap();
    let before = content(&log);
    let name = format!("{path}/00000000000000000000.log");
    let held = storage.open(&name, OpenMode::Existing).unwrap();
    let renamed = log.delete_old_segments(NOW, 3).unwrap().unwrap().rename().unwrap();
    assert!(!storage.exists(&name).unwrap());
    assert_eq!(held.read_bytes(0, before.len()).unwrap(), before);
    renamed.iter().for_each(|path| storage.remove(path).unwrap());
    assert_eq!(held.read_bytes(0, before.len()).unwrap(), before, "also when the file is removed");
}

#[test]
fn a_crash_during_deletion_leaves_the_log_as_it_was_before_or_after() {
    // D23, D17, U8
    let times = [NOW - 5000, NOW - 5000, NOW - 5000, NOW - 5000, NOW, NOW];
    let opened = |storage: &MemoryStorage| {
        let log = open_with(storage, config(), OpenOptions { recovery_point: 4, ..options() });
        assert_eq!(names(storage, ".deleted"), [""; 0]);
        (log.log_start_offset(), batches(&content(&log)).len())
    };
    let start = |storage: &MemoryStorage| {
        let mut log = log_with(storage, LogConfig { retention_ms: 1000, ..config() }, &times);
        log.flush().unwrap();
        let deletion = log.delete_old_segments(NOW, 6).unwrap().unwrap();
        (log, deletion)
    };
    // The process dies before a file is renamed.
    let storage = MemoryStorage::new();
    drop(start(&storage));
    storage.kill();
    assert_eq!(opened(&storage), (0, 6));
    // Or in the middle: the older one is gone, the newer is not.
    let storage = MemoryStorage::new();
    drop(start(&storage));
    for suffix in [".log", ".index"] {
        storage.rename(&path(0, suffix), &format!("{}.deleted", path(0, suffix))).unwrap();
    }
    storage.kill();
    assert_eq!(opened(&storage), (2, 4));
    // Wherever it is: the older ones go first, so no gap is left that would end the log.
    for nth in 1..=6 {
        let storage = MemoryStorage::new();
        let (_log, deletion) = start(&storage);
        storage.inject(rohrpost_log::Fault::FailRename(nth));
        assert!(deletion.rename().is_err());
        storage.kill();
        storage.clear_faults();
        let log = open_with(&storage, config(), options());
        let first = match nth {
            1 => 0,
            2..=5 => 2,
            _ => 4,
        };
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (first, 6), "{nth}");
    }
    // Or afterwards, by a loss of power: the directory was synced.
    let storage = MemoryStorage::new();
    start(&storage).1.rename().unwrap();
    storage.power_loss();
    assert_eq!(opened(&storage), (4, 2));
}

#[test]
fn a_deletion_that_did_not_come_to_its_end_is_made_up_by_the_next() {
    // D22, D23
    let storage = MemoryStorage::new();
    let mut log = log_with(&storage, LogConfig { retention_bytes: 0, ..config() }, &[NOW; 5]);
    drop(log.delete_old_segments(NOW, 4).unwrap().unwrap());
    assert_eq!((log.log_start_offset(), log.segment_count()), (4, 3));
    log.set_config(config());
    delete(&mut log, 4);
    assert_eq!((log.log_start_offset(), log.segment_count()), (4, 1));
}

#[test]
fn a_log_that_was_cut_while_its_old_segments_went_keeps_what_it_has() {
    // D23, D29
    let storage = MemoryStorage::new();
    let mut log = log_with(&storage, LogConfig { retention_bytes: 0, ..config() }, &[NOW; 5]);
    let deletion = log.delete_old_segments(NOW, 4).unwrap().unwrap();
    log.truncate_fully_and_start_at(1).unwrap();
    append(&mut log, batch(1)).unwrap();
    log.complete_deletion(&deletion);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), batches(&content(&log)).len()), (1, 2, 1));
}

#[test]
fn the_largest_time_is_that_of_what_can_be_read() {
    // O1, D23
    let storage = MemoryStorage::new();
    let mut log = log_with(&storage, config(), &[NOW, NOW, NOW - 7, NOW - 9]);
    log.advance_log_start(2).unwrap();
    let found = log.offset_of_max_timestamp().unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp), (2, NOW - 7));
}

#[test]
fn a_gap_below_the_log_start_does_not_end_the_log() {
    // D23: renames that a loss of power has brought into another order
    let storage = MemoryStorage::new();
    let log = log_with(&storage, config(), &[NOW; 6]);
    drop(log);
    for suffix in [".log", ".index", ".timeindex"] {
        storage.remove(&path(2, suffix)).unwrap();
    }
    let log = open_with(&storage, config(), OpenOptions { log_start: 4, ..options() });
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (4, 6));
    assert_eq!(batches(&content(&log)).len(), 2);
}

#[test]
fn the_deletion_of_a_deleted_log_is_no_disk_error() {
    // D26: the directory has another name meanwhile
    let storage = MemoryStorage::new();
    let mut log = log_with(&storage, LogConfig { retention_bytes: 0, ..config() }, &[NOW; 4]);
    let deletion = log.delete_old_segments(NOW, 4).unwrap().unwrap();
    append(&mut log, batch(1)).unwrap();
    let flush = log.prepare_flush().unwrap();
    let health = log.health().clone();
    drop(log);
    storage.rename(DIR, "data/t-0.0123-delete").unwrap();
    assert!(deletion.rename().unwrap().is_empty());
    flush.run().unwrap();
    assert!(!health.is_offline());
}

#[test]
fn a_failed_rename_takes_the_directory_offline() {
    // D30
    let storage = MemoryStorage::new();
    let mut log = log_with(&storage, LogConfig { retention_bytes: 0, ..config() }, &[NOW; 4]);
    let deletion = log.delete_old_segments(NOW, 4).unwrap().unwrap();
    storage.inject(rohrpost_log::Fault::FailSync(1));
    assert!(deletion.rename().is_err());
    assert!(log.health().is_offline());
}
