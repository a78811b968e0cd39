//! A whole data directory, read only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::kind::{aside_suffix, partition_of_dir};
use super::partition::{self, Known, PartitionSummary};
use super::problem::{Kind, Place, Problem, Severity};
use super::source::open;
use super::texts::{BadLine, meta_properties, parse_clean_shutdown, parse_offsets, read_text};

/// How a directory is verified.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Topics that are known to be compacted: gaps between their offsets are nothing special. Partitions in
    /// `cleaner-offset-checkpoint` count as compacted, too.
    pub compacted: BTreeSet<String>,
}

/// What [`verify`] tells while it goes on.
#[derive(Debug)]
pub enum Finding {
    /// Something is not as it should be.
    Problem(Problem),
    /// A partition is done.
    Partition(PartitionSummary),
}

/// What [`verify`] has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Partitions.
    pub partitions: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Batches.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// Notes.
    pub notes: u64,
    /// What the next start repairs.
    pub repaired: u64,
    /// Damage.
    pub damaged: u64,
    /// Files that could not be read.
    pub unreadable: u64,
    /// The last stop was a clean one (D15).
    pub is_clean: bool,
    /// A broker holds the directory, if that can be told: then files may change under the reader.
    pub is_held: Option<bool>,
}

/// Checks every file of a data directory against the others. Opens files for reading only and takes no lock; memory is
/// bounded, whatever lies there.
///
/// # Errors
/// Only if the directory itself cannot be listed; what cannot be read inside is a [`Severity::Unreadable`] problem.
pub fn verify(dir: &Path, options: &VerifyOptions, tell: &mut dyn FnMut(Finding)) -> io::Result<Totals> {
    let mut totals = Totals { is_held: holder(dir), ..Totals::default() };
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path().is_dir()));
    }
    entries.sort();
    let partitions: Vec<(&str, &str, i32)> = entries
        .iter()
        .filter(|(name, is_dir)| *is_dir && aside_suffix(name).is_none())
        .filter_map(|(name, _)| partition_of_dir(name).map(|(topic, number)| (name.as_str(), topic, number)))
        .collect();
    let mut counts = Totals::default();
    let mut report = |problem: Problem| {
        counts.count(problem.severity);
        tell(Finding::Problem(problem));
    };
    names(&entries, &mut report);
    let is_there = |name: &str| entries.iter().any(|(entry, is_dir)| entry == name && !is_dir);
    identity(dir, is_there("meta.properties"), &mut report);
    bootstrap(dir, is_there(BOOTSTRAP), &mut report);
    let is_clean = is_there(CLEAN);
    if is_clean {
        small(dir, CLEAN, &mut report, |text| parse_clean_shutdown(text).map(|_| ()));
    }
    let known = Checkpoints::read(dir, &is_there, &partitions, &mut report);
    totals.is_clean = is_clean;
    totals.add(&counts);

    for (name, topic, number) in partitions {
        let key = (topic.to_owned(), number);
        let about = Known {
            recovery_point: known.recovery_points.get(&key).copied(),
            high_watermark: known.high_watermarks.get(&key).copied(),
            log_start: known.log_starts.get(&key).map(|(offset, _)| *offset),
            is_clean,
            is_compacted: options.compacted.contains(topic) || known.cleaned.contains_key(&key),
            is_live: totals.is_held == Some(true),
        };
        let mut counts = Totals::default();
        let mut report = |problem: Problem| {
            counts.count(problem.severity);
            tell(Finding::Problem(problem));
        };
        match partition::check(&dir.join(name), name, topic, number, about, &mut report) {
            Ok(summary) => {
                counts.partitions = 1;
                counts.segments = summary.segments;
                counts.bytes = summary.bytes;
                counts.batches = summary.batches;
                counts.records = summary.records;
                tell(Finding::Partition(summary));
            }
            Err(error) => report(Problem {
                path: name.to_owned(),
                place: Place::Whole,
                kind: Kind::Unreadable,
                severity: Severity::Unreadable,
                what: error.to_string(),
            }),
        }
        totals.add(&counts);
    }
    Ok(totals)
}

impl Totals {
    fn count(&mut self, severity: Severity) {
        match severity {
            Severity::Note => self.notes += 1,
            Severity::Repaired => self.repaired += 1,
            Severity::Damage => self.damaged += 1,
            Severity::Unreadable => self.unreadable += 1,
        }
    }

    fn add(&mut self, other: &Totals) {
        self.partitions += other.partitions;
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.batches += other.batches;
        self.records += other.records;
        self.notes += other.notes;
        self.repaired += other.repaired;
        self.damaged += other.damaged;
        self.unreadable += other.unreadable;
    }
}

const CLEAN: &str = ".kafka_cleanshutdown";
/// The first records of the metadata log, as `kafka-storage format` leaves them.
const BOOTSTRAP: &str = "bootstrap.checkpoint";

/// Names that have no business here (D3), replicas on their way out, and files nobody knows.
fn names(entries: &[(String, bool)], report: &mut dyn FnMut(Problem)) {
    const FILES: [&str; 9] = [
        "meta.properties",
        ".lock",
        CLEAN,
        ".rohrpost-address",
        BOOTSTRAP,
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
        "log-start-offset-checkpoint",
        "cleaner-offset-checkpoint",
    ];
    for (name, is_dir) in entries {
        let (kind, severity, what) = match (is_dir, aside_suffix(name)) {
            (true, Some(suffix)) => (Kind::Aside, Severity::Note, format!("a replica's directory, {suffix}")),
            (true, None) if partition_of_dir(name).is_some() => continue,
            // D3
            (true, None) => (
                Kind::UnknownDirectory,
                Severity::Damage,
                "the directory is not called <topic>-<partition>".to_owned(),
            ),
            (false, _) if FILES.contains(&name.as_str()) => continue,
            // D2
            (false, _) if name.ends_with(".tmp") => {
                (Kind::Leftover, Severity::Note, "a file that was being written".to_owned())
            }
            (false, _) => {
                (Kind::UnknownFile, Severity::Note, "no file of a data directory is called so".to_owned())
            }
        };
        report(Problem { path: name.clone(), place: Place::Whole, kind, severity, what });
    }
}

fn identity(dir: &Path, is_there: bool, report: &mut dyn FnMut(Problem)) {
    const NAME: &str = "meta.properties";
    if !is_there {
        let what = "whose directory this is is not known".to_owned();
        let (place, kind, severity) = (Place::Whole, Kind::Missing, Severity::Damage);
        report(Problem { path: NAME.to_owned(), place, kind, severity, what });
        return;
    }
    small(dir, NAME, report, |text| meta_properties(text).map(|_| ()));
}

fn bootstrap(dir: &Path, is_there: bool, report: &mut dyn FnMut(Problem)) {
    if !is_there {
        return;
    }
    let found = open(&dir.join(BOOTSTRAP)).and_then(|file| partition::metadata_snapshot(&file));
    let (place, kind, severity, what) = match found {
        Ok(None) => return,
        Ok(Some((position, kind, what))) => (Place::Byte(position), kind, Severity::Damage, what),
        Err(error) => (Place::Whole, Kind::Unreadable, Severity::Unreadable, error.to_string()),
    };
    report(Problem { path: BOOTSTRAP.to_owned(), place, kind, severity, what });
}

/// Offsets by partition, each with its line.
type Lines = BTreeMap<(String, i32), (i64, usize)>;

/// What the checkpoints of the data directory say.
struct Checkpoints {
    recovery_points: Lines,
    high_watermarks: Lines,
    log_starts: Lines,
    cleaned: Lines,
}

impl Checkpoints {
    fn read(
        dir: &Path,
        is_there: &dyn Fn(&str) -> bool,
        partitions: &[(&str, &str, i32)],
        report: &mut dyn FnMut(Problem),
    ) -> Checkpoints {
        let here: BTreeSet<(&str, i32)> =
            partitions.iter().map(|(_, topic, number)| (*topic, *number)).collect();
        let mut read = |name: &str| {
            let mut lines = Lines::new();
            if !is_there(name) {
                return lines;
            }
            let parsed = small(dir, name, report, parse_offsets).unwrap_or_default();
            for line in parsed {
                if !here.contains(&(line.topic.as_str(), line.partition)) {
                    let what = format!("there is no {}-{} here", line.topic, line.partition);
                    report(Problem {
                        path: name.to_owned(),
                        place: Place::Line(line.line),
                        kind: Kind::CheckpointStray,
                        severity: Severity::Note,
                        what,
                    });
                }
                lines.insert((line.topic, line.partition), (line.offset, line.line));
            }
            lines
        };
        Checkpoints {
            recovery_points: read("recovery-point-offset-checkpoint"),
            high_watermarks: read("replication-offset-checkpoint"),
            log_starts: read("log-start-offset-checkpoint"),
            cleaned: read("cleaner-offset-checkpoint"),
        }
    }
}

/// Reads and parses a small text; tells what is wrong with it.
fn small<T>(
    dir: &Path,
    name: &str,
    report: &mut dyn FnMut(Problem),
    parse: impl FnOnce(&str) -> Result<T, BadLine>,
) -> Option<T> {
    let (place, kind, severity, what) = match open(&dir.join(name)).and_then(|file| read_text(&file)) {
        Ok(Ok(text)) => match parse(&text) {
            Ok(value) => return Some(value),
            Err(bad) => (Place::Line(bad.line), Kind::BadText, Severity::Damage, bad.what),
        },
        Ok(Err(bad)) => (Place::Line(bad.line), Kind::BadText, Severity::Damage, bad.what),
        Err(error) => (Place::Whole, Kind::Unreadable, Severity::Unreadable, error.to_string()),
    };
    report(Problem { path: name.to_owned(), place, kind, severity, what });
    None
}

/// Whether a process holds the directory's lock. Linux lists all locks, so that none has to be tried; elsewhere nothing
/// is known, and `None` comes back.
pub fn holder(dir: &Path) -> Option<bool> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        let Ok(lock) = fs::metadata(dir.join(".lock")) else { return Some(false) };
        let locks = fs::read_to_string("/proc/locks").ok()?;
        let (major, minor) = (dev_major(lock.dev()), dev_minor(lock.dev()));
        let ours = format!("{major:02x}:{minor:02x}:{}", lock.ino());
        // `1: FLOCK ADVISORY WRITE 1234 fe:01:5678 0 EOF`
        Some(locks.lines().any(|line| line.split_whitespace().any(|field| field == ours)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        None
    }
}

#[cfg(target_os = "linux")]
fn dev_major(dev: u64) -> u64 {
    (dev >> 8 & 0xfff) | (dev >> 32 & 0xffff_f000)
}

#[cfg(target_os = "linux")]
fn dev_minor(dev: u64) -> u64 {
    (dev & 0xff) | (dev >> 12 & 0xffff_ff00)
}
