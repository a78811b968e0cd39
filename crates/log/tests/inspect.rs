//! Looking at a data directory: what is sound is left alone, and every damage is found where it is.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use common::{NOW, batch_with};
use proptest::prelude::*;
use rohrpost_log::inspect::{
    Finding, Kind, Place, Problem, Scan, ScanStep, Severity, Totals, VerifyOptions, verify,
};
use rohrpost_log::{FileStorage, Identity, LeaderChecks, LogConfig, LogDir};
use rohrpost_record::{Batches, Stamp};

const DIR: &str = "t-0";

/// A data directory with one partition: four segments, two leader epochs, an idempotent producer; stopped cleanly.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(FileStorage::new());
    let identity =
        Identity { node_id: 1, cluster_id: None, new_cluster_id: [0xab; 16], new_directory_id: [0xcd; 16] };
    let log_dir = LogDir::open(storage, dir.path().to_str().unwrap(), &identity).unwrap();
    let config = LogConfig { segment_bytes: 700, index_interval_bytes: 150, ..LogConfig::default() };
    let mut log = log_dir.open_log("t", 0, [7; 16], config, NOW, 1).unwrap();
    let mut sequence = 0;
    for n in 0..20 {
        let epoch = if n < 12 { 1 } else { 3 };
        if n % 12 == 0 {
            log.assign_epoch(epoch).unwrap();
        }
        let count = 1 + n % 3;
        let id = Stamp { producer_id: 10, producer_epoch: 0, base_sequence: sequence };
        sequence += count as i32;
        let mut batch = batch_with(count, 20, NOW - 1000 + i64::from(n) * 10, id);
        log.append_as_leader(&mut batch, epoch, NOW, LeaderChecks::default()).unwrap();
    }
    let end = log.log_end_offset();
    assert!(log.segment_count() >= 4);
    log_dir.close([(("t".to_owned(), 0), log, end)], 5).unwrap();
    drop(log_dir);
    dir
}

fn look(dir: &Path) -> (Totals, Vec<Problem>) {
    let mut problems = Vec::new();
    let totals = verify(dir, &VerifyOptions::default(), &mut |finding| match finding {
        Finding::Problem(problem) => problems.push(problem),
        Finding::Partition(_) => {}
    });
    (totals.unwrap(), problems)
}

/// The partition's files with this suffix, in order.
fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir.join(DIR))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect();
    found.sort();
    found
}

fn relative(dir: &Path, file: &Path) -> String {
    file.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()
}

/// Where each batch of a segment begins.
fn positions(bytes: &[u8]) -> Vec<u64> {
    let mut all = Batches::new(bytes);
    let mut positions = Vec::new();
    while let Some(batch) = all.next() {
        positions.push((bytes.len() - all.remaining().len() - batch.unwrap().bytes().len()) as u64);
    }
    positions
}

fn holding(positions: &[u64], byte: usize) -> u64 {
    *positions.iter().rev().find(|position| **position <= byte as u64).unwrap()
}

#[test]
fn a_sound_directory_has_no_problems_and_is_left_as_it_was() {
    let dir = directory();
    let before: Vec<_> =
        files(dir.path(), "").into_iter().map(|file| (fs::read(&file).unwrap(), file)).collect();
    let (totals, problems) = look(dir.path());
    assert_eq!(problems, []);
    assert_eq!((totals.partitions, totals.batches, totals.records), (1, 20, 39));
    assert!(totals.segments >= 4 && totals.is_clean);
    let after: Vec<_> =
        files(dir.path(), "").into_iter().map(|file| (fs::read(&file).unwrap(), file)).collect();
    assert!(before == after, "nothing was touched");
}

#[test]
fn every_changed_byte_of_a_segment_is_found_at_its_batch() {
    // L2, and what lies outside the checksum: base offset, length, leader epoch, magic
    let dir = directory();
    for file in files(dir.path(), ".log") {
        let good = fs::read(&file).unwrap();
        let positions = positions(&good);
        for at in 0..good.len() {
            // another bit of each byte
            let bit = at % 8;
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            fs::write(&file, &bad).unwrap();
            let (totals, problems) = look(dir.path());
            let place = Place::Byte(holding(&positions, at));
            let found = problems.iter().any(|problem| {
                problem.path == relative(dir.path(), &file)
                    && problem.place == place
                    && problem.severity == Severity::Damage
            });
            assert!(found, "byte {at} bit {bit} of {}: {problems:?}", file.display());
            assert!(totals.damaged > 0);
        }
        fs::write(&file, &good).unwrap();
    }
}

#[test]
fn one_changed_offset_or_epoch_is_one_problem() {
    // L6: both lie outside the checksum, so nothing but the neighbours tells
    let dir = directory();
    let file = &files(dir.path(), ".log")[1];
    let good = fs::read(file).unwrap();
    let second = positions(&good)[1] as usize;
    for (at, kind) in [(second + 6, Kind::OffsetGap), (second + 15, Kind::EpochUnlike)] {
        let mut bad = good.clone();
        bad[at] ^= 0x04;
        fs::write(file, &bad).unwrap();
        let (_, problems) = look(dir.path());
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].kind, problems[0].place), (kind, Place::Byte(second as u64)));
    }
}

#[test]
fn a_segment_cut_anywhere_is_found() {
    // D16, D19
    let dir = directory();
    let logs = files(dir.path(), ".log");
    for (n, file) in logs.iter().enumerate() {
        let good = fs::read(file).unwrap();
        let positions = positions(&good);
        for len in 0..good.len() {
            fs::write(file, &good[..len]).unwrap();
            let (_, problems) = look(dir.path());
            let here = relative(dir.path(), file);
            let place = if positions.contains(&(len as u64)) {
                // whole batches are gone: only the neighbours know
                match logs.get(n + 1) {
                    Some(next) => (relative(dir.path(), next), Place::Byte(0), Kind::OffsetGap),
                    None => (here, Place::Byte(len as u64), Kind::LogShort),
                }
            } else {
                (here, Place::Byte(holding(&positions, len)), Kind::CutBatch)
            };
            let found = problems.iter().any(|problem| {
                (problem.path.clone(), problem.place, problem.kind) == place
                    && problem.severity == Severity::Damage
            });
            assert!(found, "{} cut at {len}: {problems:?}", file.display());
        }
        fs::write(file, &good).unwrap();
    }
}

#[test]
fn every_changed_index_entry_is_found_at_its_position() {
    // D5, D6
    let dir = directory();
    for (suffix, size) in [(".index", 8), (".timeindex", 12)] {
        for file in files(dir.path(), suffix) {
            let good = fs::read(&file).unwrap();
            for at in 0..good.len() {
                for bit in [0, 5, 7] {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << bit;
                    fs::write(&file, &bad).unwrap();
                    let (_, problems) = look(dir.path());
                    let place = Place::Byte((at / size * size) as u64);
                    let found = problems
                        .iter()
                        .any(|problem| problem.path == relative(dir.path(), &file) && problem.place == place);
                    assert!(found, "byte {at} bit {bit} of {}: {problems:?}", file.display());
                    assert!(problems.iter().all(|p| p.path == relative(dir.path(), &file)), "{problems:?}");
                }
            }
            if let Some(cut) = good.len().checked_sub(1) {
                fs::write(&file, &good[..cut]).unwrap();
                let (_, problems) = look(dir.path());
                assert!(problems.iter().any(|problem| problem.kind == Kind::IndexSize), "{problems:?}");
            }
            fs::write(&file, &good).unwrap();
        }
    }
}

#[test]
fn entries_in_the_wrong_order_are_found() {
    // D5
    let dir = directory();
    let file = &files(dir.path(), ".index")[0];
    let good = fs::read(file).unwrap();
    assert!(good.len() >= 16);
    let mut swapped = good[8..16].to_vec();
    swapped.extend_from_slice(&good[..8]);
    swapped.extend_from_slice(&good[16..]);
    fs::write(file, swapped).unwrap();
    let (_, problems) = look(dir.path());
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].kind, problems[0].place), (Kind::IndexOrder, Place::Byte(8)));
}

#[test]
fn a_changed_producer_snapshot_is_found() {
    // I11
    let dir = directory();
    for file in files(dir.path(), ".snapshot") {
        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&file, &bad).unwrap();
            let (_, problems) = look(dir.path());
            assert!(
                problems
                    .iter()
                    .any(|p| p.path == relative(dir.path(), &file) && p.kind == Kind::ProducerSnapshot)
            );
            fs::write(&file, &good[..at]).unwrap();
            assert!(look(dir.path()).1.iter().any(|problem| problem.kind == Kind::ProducerSnapshot));
        }
        fs::write(&file, &good).unwrap();
    }
}

#[test]
fn what_a_crash_leaves_is_told_apart_from_damage() {
    // D16: the same torn tail, with and without a promise that it was synced
    let dir = directory();
    let last = files(dir.path(), ".log").pop().unwrap();
    let good = fs::read(&last).unwrap();
    fs::write(&last, &good[..good.len() - 5]).unwrap();
    let (totals, problems) = look(dir.path());
    assert_eq!(
        (totals.damaged, problems[0].kind),
        (1, Kind::CutBatch),
        "the recovery point says that it was synced"
    );

    fs::remove_file(dir.path().join(".kafka_cleanshutdown")).unwrap();
    fs::write(dir.path().join("recovery-point-offset-checkpoint"), "0\n1\nt 0 0\n").unwrap();
    let torn = |what: &[u8]| {
        let mut bytes = good.clone();
        bytes.extend_from_slice(what);
        fs::write(&last, &bytes).unwrap();
        let (totals, problems) = look(dir.path());
        assert_eq!((totals.damaged, totals.is_clean), (0, false), "{problems:?}");
        let tail: Vec<_> = problems.iter().filter(|problem| problem.kind == Kind::TornTail).collect();
        assert_eq!(tail.len(), 1, "{problems:?}");
        assert_eq!((tail[0].severity, tail[0].place), (Severity::Repaired, Place::Byte(good.len() as u64)));
    };
    torn(&[0; 100]);
    torn(&good[..70]);
    torn(b"this was never a batch, and it is longer than a header of 61 bytes");
    fs::write(&last, &good).unwrap();
    // I11, D11: a snapshot that was begun, and one below a recovery point, which was synced with the segment before it
    let snapshots = files(dir.path(), ".snapshot");
    let intact = fs::read(&snapshots[0]).unwrap();
    fs::write(&snapshots[0], b"").unwrap();
    let (totals, problems) = look(dir.path());
    assert_eq!((totals.damaged, totals.repaired, problems[0].kind), (0, 1, Kind::ProducerSnapshot));
    let end = snapshots.last().unwrap().file_stem().unwrap().to_str().unwrap().parse::<i64>().unwrap();
    fs::write(dir.path().join("recovery-point-offset-checkpoint"), format!("0\n1\nt 0 {end}\n")).unwrap();
    assert_eq!(look(dir.path()).0.damaged, 1);
    fs::write(&snapshots[0], intact).unwrap();
    fs::write(dir.path().join("recovery-point-offset-checkpoint"), "0\n1\nt 0 0\n").unwrap();
    // a missing index alone
    fs::remove_file(files(dir.path(), ".index").pop().unwrap()).unwrap();
    let (totals, problems) = look(dir.path());
    assert_eq!((totals.damaged, totals.repaired, problems[0].kind), (0, 1, Kind::IndexMissing));
}

#[test]
fn behind_a_damaged_place_the_check_goes_on() {
    let dir = directory();
    let file = &files(dir.path(), ".log")[1];
    let good = fs::read(file).unwrap();
    let positions = positions(&good);
    let mut bad = good.clone();
    // a length that leads nowhere, and a flipped bit two batches later
    bad[positions[0] as usize + 8] = 0x7f;
    bad[positions[2] as usize + 40] ^= 1;
    fs::write(file, &bad).unwrap();
    let (_, problems) = look(dir.path());
    let places: Vec<Place> = problems.iter().map(|problem| problem.place).collect();
    assert_eq!(places, [Place::Byte(positions[0]), Place::Byte(positions[2])], "{problems:?}");
}

#[test]
fn names_leftovers_and_texts_are_told() {
    // D1, D3, D17
    let dir = directory();
    let put = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put("lost+found/x", b"");
    put("t-1.0123456789abcdef0123456789abcdef-delete/x", b"");
    put("t-0/00000000000000000000.log.deleted", b"");
    put("t-0/00000000000000000099.timeindex", b"");
    put("t-0/notes.txt", b"");
    put("t-0/leader-epoch-checkpoint", b"0\n2\n1 0\n1 20\n");
    put("replication-offset-checkpoint", b"0\n1\nt 0\n");
    put("log-start-offset-checkpoint", b"0\n1\ngone 3 5\n");
    put("meta.properties", b"version=1\nnode.id=one\ncluster.id=c\n");
    let (_, problems) = look(dir.path());
    let found: Vec<(&str, Place, Kind)> =
        problems.iter().map(|problem| (problem.path.as_str(), problem.place, problem.kind)).collect();
    for expected in [
        ("lost+found", Place::Whole, Kind::UnknownDirectory),
        ("t-1.0123456789abcdef0123456789abcdef-delete", Place::Whole, Kind::Aside),
        ("t-0/00000000000000000000.log.deleted", Place::Whole, Kind::Leftover),
        ("t-0/00000000000000000099.timeindex", Place::Whole, Kind::IndexAlone),
        ("t-0/notes.txt", Place::Whole, Kind::UnknownFile),
        ("t-0/leader-epoch-checkpoint", Place::Line(4), Kind::BadText),
        ("replication-offset-checkpoint", Place::Line(3), Kind::BadText),
        ("log-start-offset-checkpoint", Place::Line(3), Kind::CheckpointStray),
        ("meta.properties", Place::Line(2), Kind::BadText),
    ] {
        assert!(found.contains(&expected), "no {expected:?} in {found:?}");
    }
}

#[test]
fn gaps_are_damage_unless_the_log_is_compacted() {
    let dir = directory();
    let logs = files(dir.path(), ".log");
    for suffix in ["log", "index", "timeindex"] {
        fs::remove_file(logs[1].with_extension(suffix)).unwrap();
    }
    let (_, problems) = look(dir.path());
    assert_eq!(problems[0].kind, Kind::OffsetGap);
    assert_eq!(problems[0].path, relative(dir.path(), &logs[2]));
    fs::write(dir.path().join("cleaner-offset-checkpoint"), "0\n1\nt 0 5\n").unwrap();
    assert_eq!(look(dir.path()).1, []);
}

#[test]
#[cfg(target_os = "linux")]
fn a_broker_that_holds_the_directory_is_told_and_not_disturbed() {
    let dir = directory();
    assert_eq!(look(dir.path()).0.is_held, Some(false));
    let identity =
        Identity { node_id: 1, cluster_id: None, new_cluster_id: [1; 16], new_directory_id: [0xcd; 16] };
    let held = LogDir::open(Arc::new(FileStorage::new()), dir.path().to_str().unwrap(), &identity).unwrap();
    let log = held.open_log("t", 0, [7; 16], LogConfig::default(), NOW, 1).unwrap();
    let (totals, problems) = look(dir.path());
    assert_eq!(totals.is_held, Some(true));
    assert_eq!((totals.damaged, totals.repaired), (0, 0), "{problems:?}");
    held.close([(("t".to_owned(), 0), log, 39)], 6).unwrap();
}

#[test]
fn the_manual_has_every_kind_of_problem_as_the_code_words_it() {
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/log-tools.md")).unwrap();
    for kind in Kind::ALL {
        let row = format!("| `{}` | {} | {} |", kind.name(), kind.meaning(), kind.advice());
        assert!(manual.contains(&row), "docs/log-tools.md lacks the row\n{row}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_are_no_reason_to_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        which in 0usize..64,
        keep in 0usize..400,
    ) {
        static SHARED: OnceLock<tempfile::TempDir> = OnceLock::new();
        let dir = SHARED.get_or_init(directory);
        let mut all = files(dir.path(), "");
        all.extend(fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()));
        let file = &all[which % all.len()];
        let good = fs::read(file).unwrap();
        let mut content = good.clone();
        content.truncate(keep);
        content.extend_from_slice(&bytes);
        fs::write(file, &content).unwrap();
        let _ = look(dir.path());
        fs::write(file, good).unwrap();
        let mut scan = Scan::new(&content).unwrap();
        while !matches!(scan.step().unwrap(), ScanStep::End) {}
    }
}
