//! What a crash may leave behind, and what a log makes of it.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use proptest::prelude::*;
use rohrpost_log::{Fault, FileStorage, LeaderChecks, Log, LogConfig, MemoryStorage, OpenOptions, Storage};
use rohrpost_record::Stamp;

#[test]
fn a_clean_start_trusts_the_files() {
    // D15
    let storage = MemoryStorage::new();
    let (all, end) = filled(&storage);
    let log = open_with(&storage, small(), OpenOptions { recovery_point: 0, ..clean() });
    assert_eq!((log.log_end_offset(), log.recovery_point()), (end, end));
    assert_eq!(content(&log), all);
    assert_eq!(log.epochs().len(), 3);
    assert!(files(&storage).contains(&format!("{end:020}.snapshot")), "I11");
}

#[test]
fn an_unclean_start_finds_the_same_log() {
    // D16, D19
    let storage = MemoryStorage::new();
    let (all, end) = filled(&storage);
    let epochs = open_with(&storage, small(), clean()).epochs().to_vec();
    assert_eq!(epochs.len(), 3);
    for recovery_point in [0, 7] {
        let log = open_with(&storage, small(), OpenOptions { recovery_point, ..options() });
        assert_eq!((log.log_end_offset(), log.recovery_point()), (end, recovery_point));
        assert_eq!(content(&log), all);
        assert_eq!(log.epochs(), epochs);
    }
    let beyond = OpenOptions { recovery_point: 10_000, ..options() };
    assert_eq!(open_with(&storage, small(), beyond).recovery_point(), end, "D19: bounded by the LEO");
}

#[test]
fn a_recovered_segment_has_the_indexes_it_had() {
    // D5, D6, D16
    let storage = MemoryStorage::new();
    filled(&storage);
    let indexes = |storage: &MemoryStorage| -> Vec<Vec<u8>> {
        let names = files(storage).into_iter().filter(|f| f.ends_with("index"));
        names.map(|n| read(storage, &format!("{DIR}/{n}"))).collect()
    };
    let before = indexes(&storage);
    assert!(before.iter().any(|i| i.len() > 16));
    let names: Vec<_> = files(&storage).into_iter().filter(|f| f.ends_with("index")).collect();
    for name in names {
        storage.remove(&format!("{DIR}/{name}")).unwrap();
    }
    open_with(&storage, small(), options()).close().unwrap();
    assert_eq!(indexes(&storage), before);
}

#[test]
fn a_torn_tail_ends_the_log_at_the_last_good_batch() {
    // D16: a header without its body, half a header, zeros, garbage
    let tail = batch(3);
    let zeros = vec![0; 300];
    let garbage: Vec<u8> = (0..200u8).collect();
    for torn in [&tail[..61], &tail[..30], &tail[..tail.len() - 1], &zeros[..], &garbage[..], &[0xff; 80][..]]
    {
        let storage = MemoryStorage::new();
        let (all, end) = filled(&storage);
        let last = path(base_from_end(&storage, 0), ".log");
        let size = read(&storage, &last).len() as u64;
        write(&storage, &last, size, torn);
        for options in [options(), clean()] {
            let mut log = open_with(&storage, small(), options);
            assert_eq!((log.log_end_offset(), content(&log) == all), (end, true));
            assert_eq!(read(&storage, &last).len() as u64, size, "cut");
            append(&mut log, batch(1)).unwrap();
            assert_eq!(log.log_end_offset(), end + 1);
            log.truncate_to(end).unwrap();
            write(&storage, &last, size, torn);
        }
    }
}

#[test]
fn a_flipped_bit_cuts_there_and_removes_the_segments_after_it() {
    // D16
    let storage = MemoryStorage::new();
    let (all, _) = filled(&storage);
    let base = base_from_end(&storage, 2);
    let file = path(base, ".log");
    let bytes = read(&storage, &file);
    let second = batches(&bytes)[1].0;
    let first_len = rohrpost_record::Batch::parse(&bytes).unwrap().bytes().len();
    write(&storage, &file, first_len as u64 + 70, &[bytes[first_len + 70] ^ 4]);
    let log = open_with(&storage, small(), options());
    assert_eq!(log.log_end_offset(), second);
    assert_eq!(content(&log), all[..content(&log).len()]);
    assert_eq!(base_from_end(&storage, 0), base);
    assert!(log.epochs().iter().all(|(_, start)| *start < second), "D18");
}

#[test]
fn a_segment_that_lost_its_end_at_a_batch_boundary_leaves_no_gap() {
    // D16: every byte that is left is good, and still the log must end there
    let storage = MemoryStorage::new();
    let (all, _) = filled(&storage);
    let file = path(base_from_end(&storage, 1), ".log");
    let bytes = read(&storage, &file);
    let found = batches(&bytes);
    let first_len = rohrpost_record::Batch::parse(&bytes).unwrap().bytes().len();
    cut(&storage, &file, first_len as u64);
    let log = open_with(&storage, small(), OpenOptions { recovery_point: found[0].0, ..options() });
    assert_eq!(log.log_end_offset(), found[1].0);
    assert!(all.starts_with(&content(&log)));
}

/// Leaves one batch of the last segment but one, without an index, so that it is looked at in any case. Returns the bases of that
/// segment and of the last.
fn lose_part(storage: &MemoryStorage) -> (i64, i64) {
    let (lost, next) = (base_from_end(storage, 1), base_from_end(storage, 0));
    let first_len = rohrpost_record::Batch::parse(&read(storage, &path(lost, ".log"))).unwrap().bytes().len();
    cut(storage, &path(lost, ".log"), first_len as u64);
    storage.remove(&path(lost, ".index")).unwrap();
    (lost, next)
}

#[test]
fn a_gap_between_segments_stays_where_nothing_can_have_been_lost() {
    // D16: compaction makes gaps, and neither a clean stop nor what lies below the recovery point loses a tail
    let compact = LogConfig { compact: true, ..small() };
    for (what, config, clean, synced) in [
        ("compacted", compact, false, false),
        ("a clean stop", small(), true, false),
        ("below the recovery point", small(), false, true),
    ] {
        let storage = MemoryStorage::new();
        let (_, end) = filled(&storage);
        let (_, next) = lose_part(&storage);
        let recovery_point = if synced { next } else { 0 };
        let log = open_with(&storage, config, OpenOptions { clean, recovery_point, ..options() });
        assert_eq!(log.log_end_offset(), end, "{what}");
    }
}

#[test]
fn a_gap_below_the_log_start_is_what_a_deletion_has_left() {
    // D23: a crash in the middle of it
    for above in [false, true] {
        let storage = MemoryStorage::new();
        let (_, end) = filled(&storage);
        let (_, next) = lose_part(&storage);
        let log_start = next - i64::from(above);
        let log = open_with(&storage, small(), OpenOptions { log_start, ..options() });
        assert_eq!(log.log_start_offset(), log_start);
        assert_eq!(log.log_end_offset(), if above { log_start } else { end });
    }
}

#[test]
fn a_batch_that_ends_before_it_begins_ends_the_log() {
    // D16: its checksum is right
    for delta in [-1i32, -5] {
        let storage = MemoryStorage::new();
        let (_, end) = filled(&storage);
        let mut wrong = batch(3);
        wrong[0..8].copy_from_slice(&end.to_be_bytes());
        wrong[23..27].copy_from_slice(&delta.to_be_bytes());
        rohrpost_record::stamp(&mut wrong, [], Stamp::NONE);
        let last = path(base_from_end(&storage, 0), ".log");
        let size = read(&storage, &last).len();
        write(&storage, &last, size as u64, &wrong);
        assert_eq!(open_with(&storage, small(), options()).log_end_offset(), end);
        assert_eq!(read(&storage, &last).len(), size, "cut");
    }
}

#[test]
fn an_offset_too_far_from_the_segments_base_ends_the_log() {
    // D16, D5: an index has 32 bits for it
    for (beyond, taken) in [(0, true), (1, false)] {
        let storage = MemoryStorage::new();
        let mut log = open_with(&storage, small(), OpenOptions { log_start: 5, ..options() });
        append(&mut log, batch(1)).unwrap();
        log.close().unwrap();
        let far = 5 + i64::from(u32::MAX) + beyond;
        let mut bytes = batch(1);
        bytes[0..8].copy_from_slice(&far.to_be_bytes());
        let size = read(&storage, &path(5, ".log")).len() as u64;
        write(&storage, &path(5, ".log"), size, &bytes);
        let log = open_with(&storage, small(), OpenOptions { log_start: 5, ..options() });
        assert_eq!(log.log_end_offset(), if taken { far + 1 } else { 6 });
    }
}

#[test]
fn a_batch_longer_than_the_buffer_is_checked_in_whole() {
    // D16
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, batch_with(1, 900_000, NOW - 1000, Stamp::NONE)).unwrap();
    append(&mut log, batch(1)).unwrap();
    drop(log);
    assert_eq!(open(&storage).log_end_offset(), 2);
    let file = path(0, ".log");
    let byte = read(&storage, &file)[800_000];
    write(&storage, &file, 800_000, &[byte ^ 1]);
    assert_eq!(open(&storage).log_end_offset(), 0);
}

#[test]
fn an_offset_that_falls_ends_the_log() {
    // D16: a good batch in the wrong place, as old bytes that come back behind a cut would be
    let storage = MemoryStorage::new();
    let (all, end) = filled(&storage);
    let file = path(base_from_end(&storage, 0), ".log");
    let bytes = read(&storage, &file);
    let first_len = rohrpost_record::Batch::parse(&bytes).unwrap().bytes().len();
    write(&storage, &file, bytes.len() as u64, &bytes[..first_len]);
    let log = open_with(&storage, small(), options());
    assert_eq!((log.log_end_offset(), content(&log) == all), (end, true));
}

#[test]
fn segments_below_the_recovery_point_are_not_read_again() {
    // D16: damage there is not looked for at start
    let storage = MemoryStorage::new();
    let (_, end) = filled(&storage);
    let file = path(base_from_end(&storage, 2), ".log");
    let bytes = read(&storage, &file);
    write(&storage, &file, 70, &[bytes[70] ^ 4]);
    let point = base_from_end(&storage, 0);
    let log = open_with(&storage, small(), OpenOptions { recovery_point: point, ..options() });
    assert_eq!(log.log_end_offset(), end);
}

#[test]
fn missing_and_damaged_indexes_are_rebuilt() {
    // D16, D9
    type Damage = fn(&MemoryStorage, &str);
    let damage: [(&str, Damage); 5] = [
        ("missing", |s, p| s.remove(p).unwrap()),
        ("not whole entries", |s, p| cut(s, p, 13)),
        ("beyond the file", |s, p| write(s, p, 0, &[0x7f; 48])),
        ("empty", |s, p| cut(s, p, 0)),
        ("another place in the file", |s, p| {
            let len = read(s, p).len();
            write(s, p, len as u64 - 1, &[77]);
        }),
    ];
    for (what, damage) in damage {
        for suffix in [".index", ".timeindex"] {
            for n in [0, 1, 3] {
                let storage = MemoryStorage::new();
                let (all, end) = filled(&storage);
                damage(&storage, &path(base_from_end(&storage, n), suffix));
                let log = open_with(&storage, small(), OpenOptions { recovery_point: end, ..clean() });
                assert!(content(&log) == all, "{what} {suffix} {n}");
                for offset in 0..end {
                    let found = batches(&log.read(offset, 1, i64::MAX, true).unwrap().records)[0];
                    assert!((found.0..found.0 + i64::from(found.1)).contains(&offset), "{what} {suffix} {n}");
                }
            }
        }
    }
}

#[test]
fn leftovers_are_removed_and_a_swap_is_completed() {
    // D17
    let storage = MemoryStorage::new();
    let (all, end) = filled(&storage);
    let (a, b) = (base_from_end(&storage, 2), base_from_end(&storage, 1));
    write(&storage, &path(a, ".log.deleted"), 0, b"x");
    write(&storage, &path(a, ".index.deleted"), 0, b"x");
    write(&storage, &path(b, ".log.cleaned"), 0, b"x");
    write(&storage, &path(b, ".log.swap"), 0, b"not finished: not below all .cleaned");
    write(&storage, &path(777_777, ".index"), 0, b"12345678");
    write(&storage, &path(777_777, ".timeindex"), 0, b"x");
    write(&storage, &format!("{DIR}/leader-epoch-checkpoint.tmp"), 0, b"0");
    // A finished swap of the first segment: the same batches again.
    let first = read(&storage, &path(0, ".log"));
    write(&storage, &path(0, ".log.swap"), 0, &first);
    write(&storage, &path(0, ".index.swap"), 0, b"x");
    let log = open_with(&storage, small(), OpenOptions { recovery_point: end, ..clean() });
    assert_eq!(content(&log), all);
    let left = files(&storage);
    for suffix in [".deleted", ".cleaned", ".swap", ".tmp"] {
        assert!(!left.iter().any(|n| n.ends_with(suffix)), "{left:?}");
    }
    assert!(!left.iter().any(|n| n.starts_with("00000000000000777777")), "{left:?}");
}

#[test]
fn a_swap_takes_the_place_of_all_segments_in_its_range() {
    // D17
    let storage = MemoryStorage::new();
    let (all, _) = filled(&storage);
    let bases: Vec<i64> = (0..3).map(|n| base_from_end(&storage, logs(&storage) - 1 - n)).collect();
    let (first, second) = (read(&storage, &path(bases[0], ".log")), read(&storage, &path(bases[1], ".log")));
    // of two segments two batches are left
    let head = rohrpost_record::Batch::parse(&first).unwrap().bytes();
    let tail = rohrpost_record::Batches::new(&second).last().unwrap().unwrap().bytes();
    write(&storage, &path(bases[0], ".log.swap"), 0, &[head, tail].concat());
    write(&storage, &path(bases[2], ".log.cleaned"), 0, b"x");
    let log = open_with(&storage, small(), clean());
    let kept = &all[first.len() + second.len()..];
    assert!(content(&log) == [head, tail, kept].concat());
    assert!(!files(&storage).iter().any(|name| name.starts_with(&format!("{:020}", bases[1]))));
}

#[test]
fn an_empty_swap_leaves_nothing_of_the_segment_it_replaces() {
    // D17
    let storage = MemoryStorage::new();
    let one = LogConfig { segment_bytes: batch(1).len() as u32, ..LogConfig::default() };
    let mut log = open_with(&storage, one.clone(), options());
    for _ in 0..3 {
        append(&mut log, batch(1)).unwrap();
    }
    log.close().unwrap();
    assert_eq!(read(&storage, &path(1, ".timeindex")).len(), 12);
    write(&storage, &path(1, ".log.swap"), 0, b"");
    let log = open_with(&storage, one, clean());
    assert_eq!(batches(&content(&log)), [(0, 1), (2, 1)]);
    assert_eq!(read(&storage, &path(1, ".timeindex")).len(), 0);
}

fn logs(storage: &MemoryStorage) -> usize {
    files(storage).iter().filter(|name| name.ends_with(".log")).count()
}

#[test]
fn a_lost_or_damaged_epoch_file_is_rebuilt_from_the_batches() {
    // D16
    for clean_start in [false, true] {
        for damage in ["", "0\n9\n", "\u{0}\u{0}\u{0}"] {
            let storage = MemoryStorage::new();
            let (_, end) = filled(&storage);
            let file = format!("{DIR}/leader-epoch-checkpoint");
            let before = read(&storage, &file);
            cut(&storage, &file, 0);
            write(&storage, &file, 0, damage.as_bytes());
            let options = OpenOptions { recovery_point: end, clean: clean_start, ..options() };
            let log = open_with(&storage, small(), options);
            assert_eq!(log.epochs().len(), 3);
            drop(log);
            assert_eq!(read(&storage, &file), before);
        }
    }
}

#[test]
fn epochs_at_or_above_the_log_end_are_dropped() {
    // D18
    let storage = MemoryStorage::new();
    let (_, end) = filled(&storage);
    let file = format!("{DIR}/leader-epoch-checkpoint");
    let text = format!("0\n3\n1 0\n2 20\n9 {end}\n");
    cut(&storage, &file, 0);
    write(&storage, &file, 0, text.as_bytes());
    let log = open_with(&storage, small(), OpenOptions { recovery_point: end, ..clean() });
    assert_eq!(log.epochs(), [(1, 0), (2, 20)]);
}

#[test]
fn a_log_that_ends_below_its_start_begins_anew_there() {
    // D18
    let storage = MemoryStorage::new();
    let (_, end) = filled(&storage);
    let start = end + 50;
    let mut log = open_with(&storage, small(), OpenOptions { log_start: start, ..options() });
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (start, start));
    assert_eq!(append(&mut log, batch(1)).unwrap().first_offset, start);
    assert_eq!(base_from_end(&storage, 0), start);
}

#[test]
fn a_log_that_ends_at_its_start_keeps_its_files() {
    // D18
    let storage = MemoryStorage::new();
    let (all, end) = filled(&storage);
    let log = open_with(&storage, small(), OpenOptions { log_start: end, ..clean() });
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (end, end));
    assert_eq!(log.size_bytes(), all.len() as u64);
}

#[test]
fn a_clean_start_writes_nothing() {
    // D15, I11: the snapshot is there
    let storage = MemoryStorage::new();
    let (_, end) = filled(&storage);
    storage.inject(Fault::FailWrite(1));
    assert_eq!(open_with(&storage, small(), clean()).log_end_offset(), end);
}

#[test]
fn what_had_to_be_recovered_is_not_taken_for_synced() {
    // D19
    let storage = MemoryStorage::new();
    filled(&storage);
    storage.remove(&path(base_from_end(&storage, 0), ".index")).unwrap();
    let point = OpenOptions { recovery_point: 7, ..clean() };
    assert_eq!(open_with(&storage, small(), point).recovery_point(), 7);
    // nor is an empty log after a crash
    let empty = OpenOptions { log_start: 50, recovery_point: 7, ..options() };
    assert_eq!(open_with(&MemoryStorage::new(), small(), empty).recovery_point(), 7);
}

#[test]
fn the_checkpointed_log_start_holds() {
    // D18
    let storage = MemoryStorage::new();
    filled(&storage);
    let log = open_with(&storage, small(), OpenOptions { log_start: 30, ..clean() });
    assert_eq!((log.log_start_offset(), log.log_start_checkpoint()), (30, Some(30)));
    assert!(log.read(29, 1, i64::MAX, true).is_err());
    assert_eq!(log.epochs()[0].1, 30, "invariant 2: the first epoch starts at the log start");
}

#[test]
fn a_crash_during_recovery_is_recovered_from() {
    // D16: cutting, removing later segments, rebuilding, snapshot
    for sync in [false, true] {
        for nth in 1.. {
            let storage = MemoryStorage::new();
            let (all, _) = filled(&storage);
            let base = base_from_end(&storage, 2);
            let file = path(base, ".log");
            let bytes = read(&storage, &file);
            let first_len = rohrpost_record::Batch::parse(&bytes).unwrap().bytes().len();
            let cut_at = batches(&bytes)[1].0;
            write(&storage, &file, first_len as u64 + 70, &[bytes[first_len + 70] ^ 4]);
            storage.create_dir(DIR).unwrap();
            storage.inject(if sync { Fault::FailSync(nth) } else { Fault::FailWrite(nth) });
            let shared: Arc<dyn Storage> = Arc::new(storage.clone());
            let opened = Log::open(shared, DIR, small(), options()).is_ok();
            storage.clear_faults();
            if nth % 2 == 0 {
                storage.power_loss()
            } else {
                storage.kill()
            }
            let log = open_with(&storage, small(), options());
            // Of a power loss the flipped bit is the unsynced part, so there all is well again if nothing was synced.
            let found = content(&log);
            assert!(all.starts_with(&found));
            assert!(log.log_end_offset() == cut_at || found == all, "{nth}");
            if opened {
                break;
            }
        }
    }
}

#[test]
fn both_storages_hold_the_same_files() {
    // D5, D6, D7, I11
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().to_str().unwrap().to_owned() + "/t-0";
    let memory = MemoryStorage::new();
    let write = |storage: Arc<dyn Storage>, dir: &str| {
        let mut end = 0;
        for round in 0..3 {
            let options = OpenOptions { clean: round > 0, recovery_point: end, ..options() };
            let mut log = Log::open(Arc::clone(&storage), dir, small(), options).unwrap();
            for i in 0..25 {
                let sequence = (round * 25 + i) * 2;
                let id = Stamp { producer_id: 10, producer_epoch: 0, base_sequence: sequence };
                append(&mut log, batch_with(2, 20 + i as usize, NOW - 1000 + i64::from(sequence), id))
                    .unwrap();
            }
            log.truncate_to(log.log_end_offset() - 2).unwrap();
            let id = Stamp { producer_id: 10, producer_epoch: 0, base_sequence: (round * 25 + 24) * 2 };
            append(&mut log, batch_with(2, 5, NOW, id)).unwrap();
            end = log.close().unwrap();
        }
    };
    write(Arc::new(memory.clone()), DIR);
    let real = FileStorage::new();
    write(Arc::new(real), &root);
    let names: Vec<_> = real.list(&root).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names, files(&memory));
    assert!(names.len() > 20);
    for name in names {
        let bytes = std::fs::read(format!("{root}/{name}")).unwrap();
        assert!(bytes == read(&memory, &format!("{DIR}/{name}")), "{name}");
    }
}

#[test]
fn a_preallocated_segment_is_cut_to_its_batches_after_a_crash() {
    // D7, D16
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned() + "/t-0";
    let config = LogConfig { segment_bytes: 5000, preallocate: true, ..LogConfig::default() };
    let open = || Log::open(Arc::new(FileStorage::new()), &path, config.clone(), options()).unwrap();
    let mut log = open();
    append(&mut log, batch(3)).unwrap();
    drop(log);
    let mut log = open();
    assert_eq!(batches(&content(&log)), [(0, 3)]);
    append(&mut log, batch(1)).unwrap();
    assert_eq!(batches(&content(&log)), [(0, 3), (3, 1)]);
}

#[test]
fn a_crash_at_any_write_or_sync_leaves_a_prefix_with_all_that_was_flushed() {
    // D16, D30, U8: kill during append, roll, snapshot, epoch change
    for sync in [false, true] {
        for nth in 1.. {
            let storage = MemoryStorage::new();
            let mut log = open_with(&storage, small(), options());
            storage.inject(if sync { Fault::FailSync(nth) } else { Fault::TearWrite { nth, keep: 33 } });
            let (mut stored, mut synced, mut failed) = (0, 0, false);
            for i in 0..30 {
                let mut bytes = batch(2);
                if log.append_as_leader(&mut bytes, 1 + i / 11, NOW, LeaderChecks::default()).is_err() {
                    failed = true;
                    break;
                }
                stored += 2;
                if i % 5 == 4 {
                    if log.flush().is_err() {
                        failed = true;
                        break;
                    }
                    synced = stored;
                }
            }
            let point = log.recovery_point();
            storage.clear_faults();
            if nth % 2 == 0 {
                storage.power_loss()
            } else {
                storage.kill()
            }
            let log = open_with(&storage, small(), OpenOptions { recovery_point: point, ..options() });
            let found = batches(&content(&log));
            assert!((0..).step_by(2).zip(&found).all(|(base, b)| *b == (base, 2)));
            let end = found.len() as i64 * 2;
            assert_eq!(log.log_end_offset(), end);
            // A batch that was torn or refused may be there in whole only if it was acknowledged.
            assert!((synced..=stored).contains(&end), "nth {nth}: {end} not in {synced}..={stored}");
            if !failed {
                break;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// D16: whatever happens to the bytes of the files, the log comes up as a prefix of its batches, and goes on.
    #[test]
    fn any_damage_leaves_a_prefix_of_whole_batches(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..5, any::<u8>()), 1..6),
        clean_start in any::<bool>(),
        point in 0i64..200,
    ) {
        let storage = MemoryStorage::new();
        let (all, _) = filled(&storage);
        let names = files(&storage);
        let mut touched_below_point = false;
        let mut data_touched = false;
        for (which, at, how, byte) in damages {
            let name = which.get(&names).clone();
            let file = format!("{DIR}/{name}");
            // A data file that is gone as a whole leaves a gap that nobody can tell from a compacted one.
            if !storage.exists(&file).unwrap() || (how == 0 && name.ends_with(".log")) {
                continue;
            }
            if name.ends_with(".log") {
                data_touched = true;
                let base: i64 = name[..20].parse().unwrap();
                let next = names.iter().filter(|n| n.ends_with(".log")).map(|n| n[..20].parse::<i64>().unwrap()).find(|b| *b > base);
                touched_below_point |= next.is_some_and(|n| n <= point);
            }
            let len = read(&storage, &file).len();
            let at = if len == 0 { 0 } else { at.index(len) };
            // Base offset and leader epoch are outside the checksum (L6).
            let unchecked = name.ends_with(".log") && how == 2 && {
                let bytes = read(&storage, &file);
                let mut start = 0;
                while let Ok(batch) = rohrpost_record::Batch::parse(&bytes[start..]) {
                    if at < start + batch.bytes().len() {
                        break;
                    }
                    start += batch.bytes().len();
                }
                (0..8).contains(&(at - start)) || (12..16).contains(&(at - start))
            };
            match how {
                _ if unchecked => {}
                0 => storage.remove(&file).unwrap(),
                1 => cut(&storage, &file, at as u64),
                2 => write(&storage, &file, at as u64, &[byte]),
                3 => write(&storage, &file, at as u64, &[0; 100]),
                _ => write(&storage, &file, len as u64, &vec![byte; 1 + at]),
            }
        }
        // A clean start trusts the batches, so only the other files may be damaged then.
        let options = OpenOptions { clean: clean_start && !data_touched, recovery_point: point, ..options() };
        let mut log = open_with(&storage, small(), options);
        // Below the recovery point a file that lost whole batches looks like one that was compacted.
        if !touched_below_point {
            let found = content(&log);
            prop_assert!(all.starts_with(&found), "a prefix");
            let known = batches(&found);
            let end = known.last().map_or(log.log_start_offset(), |(base, count)| base + i64::from(*count));
            if !found.is_empty() {
                prop_assert_eq!(log.log_end_offset(), end);
            }
            if !data_touched {
                prop_assert_eq!(found.len(), all.len(), "nothing but shortcuts was damaged");
            }
        }
        let end = log.log_end_offset();
        let epoch = log.latest_epoch().unwrap_or(0) + 1;
        let info = log.append_as_leader(&mut batch(2), epoch, NOW, LeaderChecks::default()).unwrap();
        prop_assert_eq!(info.first_offset, end);
        log.close().unwrap();
        let log = open_with(&storage, small(), clean());
        prop_assert_eq!(log.log_end_offset(), end + 2);
    }

    /// D15: a clean start trusts the files. When it should not have, reads may fail, but nothing panics and nothing hangs.
    #[test]
    fn trusted_files_that_are_damaged_give_errors_and_no_panics(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..4, any::<u64>()), 1..4),
        cut_at in 0i64..130,
    ) {
        let storage = MemoryStorage::new();
        let (_, end) = filled(&storage);
        let names = files(&storage);
        for (which, at, how, noise) in damages {
            let file = format!("{DIR}/{}", which.get(&names));
            let len = read(&storage, &file).len().max(1);
            let at = at.index(len) as u64;
            match how {
                0 => cut(&storage, &file, at),
                1 => write(&storage, &file, at, &noise.to_be_bytes()[7..]),
                2 => write(&storage, &file, at, &noise.to_be_bytes()),
                _ => write(&storage, &file, at, &noise.to_be_bytes().repeat(40)),
            }
        }
        let mut log = open_with(&storage, small(), OpenOptions { recovery_point: end, ..clean() });
        let mut offset = log.log_start_offset();
        while offset < log.log_end_offset() {
            match log.read(offset, 500, i64::MAX, true) {
                Ok(read) if read.next_offset > offset => offset = read.next_offset,
                Ok(_) => break,
                Err(e) => {
                    prop_assert!(!e.is_storage_error());
                    break;
                }
            }
        }
        let _ = log.offset_for_timestamp(NOW - 99_900);
        let _ = log.offset_of_max_timestamp();
        let _ = log.end_offset_for_epoch(2);
        let _ = log.truncate_to(cut_at);
        if !log.health().is_offline() {
            let epoch = log.latest_epoch().unwrap_or(0);
            log.append_as_leader(&mut batch(1), epoch, NOW, LeaderChecks::default()).unwrap();
            log.close().unwrap();
        }
    }

    /// D16, U3: power loss at any point, with any part of the unsynced bytes kept: all that was flushed is there, in whole batches.
    #[test]
    fn power_loss_keeps_all_that_was_flushed(
        counts in prop::collection::vec((1u32..5, 0usize..120, any::<bool>()), 1..40),
        keeps in prop::collection::vec(0u64..400, 20),
    ) {
        let storage = MemoryStorage::new();
        let mut log = open_with(&storage, small(), options());
        let mut flushed = 0;
        for (count, size, flush) in counts {
            append(&mut log, batch_with(count, size, NOW - 1000, Stamp::NONE)).unwrap();
            if flush {
                log.flush().unwrap();
                flushed = log.log_end_offset();
            }
        }
        let all = content(&log);
        let point = log.recovery_point();
        prop_assert_eq!(point, flushed);
        let mut keeps = keeps.into_iter().cycle();
        storage.power_loss_keeping(|_, _| keeps.next().unwrap_or(0));
        let log = open_with(&storage, small(), OpenOptions { recovery_point: point, ..options() });
        prop_assert!(log.log_end_offset() >= flushed);
        let found = content(&log);
        batches(&found);
        prop_assert!(all.starts_with(&found));
    }
}
