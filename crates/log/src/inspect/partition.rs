//! One partition's directory: its segments in order, and every other file held against them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::entries::{PRODUCER_SNAPSHOT_HEADER, ProducerEntry, entries, read_producer_snapshot_header};
use super::kind::{FileKind, base_offset_of};
use super::problem::{Kind, Place, Problem, Severity};
use super::scan::{Scan, ScanStep};
use super::segment::{self, Context, Files};
use super::source::{Source, open};
use super::texts::{EpochLine, parse_epochs, parse_partition_metadata, read_text};

/// What there is of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSummary {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Its directory, relative to the data directory.
    pub path: String,
    /// First offset.
    pub start_offset: i64,
    /// The offset after the last good record.
    pub end_offset: i64,
    /// Segments.
    pub segments: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Whole batches with a good checksum.
    pub batches: u64,
    /// Records in them, as their headers say.
    pub records: u64,
    /// How many problems there are, notes aside.
    pub problems: u64,
    /// The worst of them.
    pub worst: Option<Severity>,
}

/// What the data directory knows about a partition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    pub(super) recovery_point: Option<(i64, usize)>,
    pub(super) high_watermark: Option<(i64, usize)>,
    pub(super) log_start: Option<i64>,
    pub(super) is_clean: bool,
    pub(super) is_compacted: bool,
    pub(super) is_live: bool,
}

/// Files of a partition's directory, sorted by what they are.
#[derive(Default)]
struct Found {
    /// By base offset: which of the segment's files are there.
    segments: BTreeMap<i64, SegmentFiles>,
    snapshots: Vec<i64>,
    metadata_snapshots: Vec<String>,
    has_epochs: bool,
    has_metadata: bool,
}

#[derive(Default)]
struct SegmentFiles {
    log: bool,
    index: bool,
    time: bool,
    transactions: bool,
}

pub(super) fn check(
    dir: &Path,
    name: &str,
    topic: &str,
    partition: i32,
    known: Known,
    report: &mut dyn FnMut(Problem),
) -> io::Result<PartitionSummary> {
    let (mut problems, mut worst) = (0, None);
    let mut tell = |problem: Problem| {
        if problem.severity > Severity::Note {
            problems += 1;
        }
        worst = worst.max(Some(problem.severity));
        report(problem);
    };
    let mut check = Check { dir, name, known, tell: &mut tell };
    let found = check.list()?;
    let mut summary = PartitionSummary {
        topic: topic.to_owned(),
        partition,
        path: name.to_owned(),
        start_offset: 0,
        end_offset: 0,
        segments: 0,
        bytes: 0,
        batches: 0,
        records: 0,
        problems: 0,
        worst: None,
    };
    let epochs = check.epochs(found.has_epochs)?;
    let is_sound = check.segments(&found, epochs.as_deref(), &mut summary)?;
    check.snapshots(&found.snapshots, is_sound.then_some(summary.end_offset))?;
    for snapshot in &found.metadata_snapshots {
        check.metadata_snapshot(snapshot)?;
    }
    check.topic_id(found.has_metadata)?;
    summary.problems = problems;
    summary.worst = worst;
    Ok(summary)
}

struct Check<'a> {
    dir: &'a Path,
    name: &'a str,
    known: Known,
    tell: &'a mut dyn FnMut(Problem),
}

impl Check<'_> {
    /// What lies in the directory; tells of what should not (D17).
    fn list(&mut self) -> io::Result<Found> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.dir)? {
            let entry = entry?;
            names.push((entry.file_name().to_string_lossy().into_owned(), entry.file_type()?.is_dir()));
        }
        names.sort();
        let mut found = Found::default();
        for (name, is_dir) in names {
            if is_dir {
                let what = "a directory within a partition's directory".to_owned();
                self.report(&name, Place::Whole, Kind::UnknownFile, Severity::Note, what);
                continue;
            }
            // D17
            if [".deleted", ".cleaned", ".swap", ".tmp"].iter().any(|suffix| name.ends_with(suffix)) {
                let what = "a file in transition".to_owned();
                self.report(&name, Place::Whole, Kind::Leftover, Severity::Note, what);
                continue;
            }
            match FileKind::of(Path::new(&name)) {
                Some(FileKind::EpochCheckpoint) => found.has_epochs = true,
                Some(FileKind::PartitionMetadata) => found.has_metadata = true,
                Some(FileKind::MetadataSnapshot) => found.metadata_snapshots.push(name),
                Some(FileKind::ProducerSnapshot) if base_offset_of(&name, ".snapshot").is_some() => {
                    found.snapshots.extend(base_offset_of(&name, ".snapshot"));
                }
                _ => self.note_segment_file(&name, &mut found),
            }
        }
        found.segments.retain(|base, files| {
            if files.log {
                return true;
            }
            for (is_there, suffix) in
                [(files.index, ".index"), (files.time, ".timeindex"), (files.transactions, ".txnindex")]
            {
                if is_there {
                    let what = format!("there is no {base:020}.log");
                    let path = format!("{base:020}{suffix}");
                    self.report(&path, Place::Whole, Kind::IndexAlone, Severity::Repaired, what);
                }
            }
            false
        });
        Ok(found)
    }

    fn note_segment_file(&mut self, name: &str, found: &mut Found) {
        type Flag = fn(&mut SegmentFiles) -> &mut bool;
        let suffixes: [(&str, Flag); 4] = [
            (".log", |files| &mut files.log),
            (".index", |files| &mut files.index),
            (".timeindex", |files| &mut files.time),
            (".txnindex", |files| &mut files.transactions),
        ];
        for (suffix, flag) in suffixes {
            if let Some(base) = base_offset_of(name, suffix) {
                *flag(found.segments.entry(base).or_default()) = true;
                return;
            }
        }
        // a KRaft node's own state, and a lock
        if !matches!(name, "quorum-state" | ".lock") {
            let what = "no file of a partition is called so".to_owned();
            self.report(name, Place::Whole, Kind::UnknownFile, Severity::Note, what);
        }
    }

    fn epochs(&mut self, is_there: bool) -> io::Result<Option<Vec<EpochLine>>> {
        const NAME: &str = "leader-epoch-checkpoint";
        if !is_there {
            return Ok(None);
        }
        let parsed = match self.with(NAME, |file| read_text(file))? {
            Some(Ok(text)) => parse_epochs(&text),
            Some(Err(bad)) => Err(bad),
            None => return Ok(None),
        };
        match parsed {
            Ok(lines) => Ok(Some(lines).filter(|lines| !lines.is_empty())),
            Err(bad) => {
                self.report(NAME, Place::Line(bad.line), Kind::BadText, Severity::Damage, bad.what);
                Ok(None)
            }
        }
    }

    /// Returns whether it is known where the log ends.
    fn segments(
        &mut self,
        found: &Found,
        epochs: Option<&[EpochLine]>,
        summary: &mut PartitionSummary,
    ) -> io::Result<bool> {
        let first_base = found.segments.keys().next().copied();
        let log_start = self.known.log_start.unwrap_or(0).max(first_base.unwrap_or(0));
        let recovery_point = self.known.recovery_point.map_or(0, |(offset, _)| offset);
        let mut expected = None;
        let mut end = log_start;
        let mut last_epoch = -1;
        let mut last_end = 0;
        let mut is_sound = true;
        let mut bases = found.segments.iter().peekable();
        while let Some((base, files)) = bases.next() {
            let next_base = bases.peek().map(|(base, _)| **base);
            let stem = format!("{base:020}");
            summary.segments += 1;
            if let Some(end) = expected.filter(|end| *end > *base) {
                let what = format!("the segment before it ends at offset {end}");
                self.report(
                    &format!("{stem}.log"),
                    Place::Byte(0),
                    Kind::OffsetFalls,
                    Severity::Damage,
                    what,
                );
                is_sound = false;
            }
            let context = Context {
                stem: &format!("{}/{stem}", self.name),
                base_offset: *base,
                is_last: next_base.is_none(),
                expected: expected.filter(|end| end <= base),
                epochs,
                last_epoch,
                log_start,
                recovery_point,
                is_compacted: self.known.is_compacted,
                is_live: self.known.is_live,
                // D16
                is_rebuilt: !self.known.is_clean && next_base.is_none_or(|next| next > recovery_point),
            };
            let checked = self.segment(&stem, files, context, &mut is_sound)?;
            let Some(checked) = checked else {
                (expected, is_sound) = (None, false);
                continue;
            };
            summary.bytes += checked.bytes;
            summary.batches += checked.batches;
            summary.records += checked.records;
            last_epoch = checked.last_epoch;
            last_end = checked.good_end;
            let here = checked.next_offset.unwrap_or(*base);
            end = end.max(here);
            // a gap at the end of a segment shows at the first batch of the next one
            expected = checked.is_whole.then_some(here);
            if checked.is_whole && checked.batches == 0 {
                // rolled and left empty, or begun anew behind a truncation: its name is what counts
                expected = Some(*base);
            }
        }
        summary.start_offset = log_start;
        summary.end_offset = end;
        if is_sound && let Some(base) = found.segments.keys().next_back() {
            self.checkpoints(*base, last_end, end);
            self.epoch_ends(epochs, end);
        }
        Ok(is_sound)
    }

    fn segment(
        &mut self,
        stem: &str,
        files: &SegmentFiles,
        context: Context<'_>,
        is_sound: &mut bool,
    ) -> io::Result<Option<segment::Summary>> {
        let Some(log) = self.open(&format!("{stem}.log")) else { return Ok(None) };
        let mut other = |is_there: bool, suffix: &str| {
            if is_there { self.open(&format!("{stem}{suffix}")) } else { None }
        };
        let index = other(files.index, ".index");
        let time = other(files.time, ".timeindex");
        let transactions = other(files.transactions, ".txnindex");
        let sources = Files {
            log: &log,
            index: index.as_ref().map(|file| file as &dyn Source),
            time: time.as_ref().map(|file| file as &dyn Source),
            transactions: transactions.as_ref().map(|file| file as &dyn Source),
        };
        let tell = &mut *self.tell;
        let checked = segment::check(&sources, context, &mut |problem| {
            *is_sound &= problem.severity < Severity::Damage || problem.path.ends_with("index");
            tell(problem);
        });
        match checked {
            Ok(summary) => Ok(Some(summary)),
            Err(error) => {
                self.unreadable(&format!("{stem}.log"), &error);
                Ok(None)
            }
        }
    }

    /// What the data directory's checkpoints say of a log in which every batch is good.
    fn checkpoints(&mut self, last_base: i64, last_end: u64, end: i64) {
        let file = format!("{last_base:020}.log");
        if let Some((point, _)) = self.known.recovery_point.filter(|(point, _)| *point > end) {
            let what = format!("the log ends at offset {end}, but was synced up to {point}");
            self.report(&file, Place::Byte(last_end), Kind::LogShort, Severity::Damage, what);
        }
        if let Some(start) = self.known.log_start.filter(|start| *start > end) {
            let what = format!("the log ends at offset {end}, below its start {start}");
            self.report(&file, Place::Byte(last_end), Kind::CheckpointBeyond, Severity::Repaired, what);
        }
        if let Some((watermark, line)) = self.known.high_watermark.filter(|(mark, _)| *mark > end) {
            let what = format!("the high watermark of {} is {watermark}, its log ends at {end}", self.name);
            let severity = if self.known.is_live { Severity::Note } else { Severity::Repaired };
            (self.tell)(Problem {
                path: "replication-offset-checkpoint".to_owned(),
                place: Place::Line(line),
                kind: Kind::CheckpointBeyond,
                severity,
                what,
            });
        }
    }

    fn epoch_ends(&mut self, epochs: Option<&[EpochLine]>, end: i64) {
        let Some(line) = epochs.and_then(|epochs| epochs.iter().find(|line| line.start_offset > end)) else {
            return;
        };
        let what =
            format!("epoch {} begins at offset {}, the log ends at {end}", line.epoch, line.start_offset);
        let severity = if self.known.is_live { Severity::Note } else { Severity::Repaired };
        self.report(
            "leader-epoch-checkpoint",
            Place::Line(line.line),
            Kind::CheckpointBeyond,
            severity,
            what,
        );
    }

    fn snapshots(&mut self, offsets: &[i64], end: Option<i64>) -> io::Result<()> {
        for offset in offsets {
            let name = format!("{offset:020}.snapshot");
            let Some(file) = self.open(&name) else { continue };
            match producer_snapshot(&file, *offset) {
                Ok(None) => {}
                Ok(Some((place, what))) => {
                    // D11: it is synced together with the segment before it, and that moves the recovery point
                    let was_synced = *offset < self.known.recovery_point.map_or(0, |(point, _)| point);
                    let severity = match self.known.is_clean || was_synced {
                        true => Severity::Damage,
                        false => Severity::Repaired,
                    };
                    self.report(&name, place, Kind::ProducerSnapshot, severity, what);
                    continue;
                }
                Err(error) => {
                    self.unreadable(&name, &error);
                    continue;
                }
            }
            if let Some(end) = end.filter(|end| *offset > *end && !self.known.is_live) {
                let what = format!("the log ends at offset {end}");
                self.report(&name, Place::Whole, Kind::CheckpointBeyond, Severity::Repaired, what);
            }
        }
        Ok(())
    }

    /// C6: batches, the first one with a header record, the last one with a footer.
    fn metadata_snapshot(&mut self, name: &str) -> io::Result<()> {
        let found = self.with(name, |file| metadata_snapshot(file))?;
        if let Some(Some((position, kind, what))) = found {
            self.report(name, Place::Byte(position), kind, Severity::Damage, what);
        }
        Ok(())
    }

    fn topic_id(&mut self, is_there: bool) -> io::Result<()> {
        const NAME: &str = "partition.metadata";
        if !is_there {
            let what = "the topic's id is not known".to_owned();
            self.report(NAME, Place::Whole, Kind::Missing, Severity::Note, what);
            return Ok(());
        }
        let bad = match self.with(NAME, |file| read_text(file))? {
            Some(Ok(text)) => parse_partition_metadata(&text).err(),
            Some(Err(bad)) => Some(bad),
            None => None,
        };
        if let Some(bad) = bad {
            self.report(NAME, Place::Line(bad.line), Kind::BadText, Severity::Damage, bad.what);
        }
        Ok(())
    }

    /// `None`, and told, if the file cannot be read.
    fn with<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&fs::File) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Some(file) = self.open(name) else { return Ok(None) };
        match read(&file) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.unreadable(name, &error);
                Ok(None)
            }
        }
    }

    fn open(&mut self, name: &str) -> Option<fs::File> {
        match open(&self.dir.join(name)) {
            Ok(file) => Some(file),
            // a broker at work takes files away while we look
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.known.is_live => None,
            Err(error) => {
                self.unreadable(name, &error);
                None
            }
        }
    }

    fn unreadable(&mut self, name: &str, error: &io::Error) {
        self.report(name, Place::Whole, Kind::Unreadable, Severity::Unreadable, error.to_string());
    }

    fn report(&mut self, name: &str, place: Place, kind: Kind, severity: Severity, what: String) {
        (self.tell)(Problem { path: format!("{}/{name}", self.name), place, kind, severity, what });
    }
}

/// What is wrong with a producer snapshot, and where.
fn producer_snapshot(file: &dyn Source, offset: i64) -> io::Result<Option<(Place, String)>> {
    let Some(header) = read_producer_snapshot_header(file)? else {
        let what = format!("{} bytes are too few, {PRODUCER_SNAPSHOT_HEADER} at least", file.len()?);
        return Ok(Some((Place::Byte(0), what)));
    };
    if header.version != 1 {
        return Ok(Some((Place::Byte(0), format!("version {} is not known, only 1 is", header.version))));
    }
    if header.crc != header.crc_computed {
        let what = format!("the checksum is {:08x}, the bytes give {:08x}", header.crc, header.crc_computed);
        return Ok(Some((Place::Byte(2), what)));
    }
    if header.expected_len() != Some(header.len) {
        let what = format!("{} entries do not make {} bytes", header.count, header.len);
        return Ok(Some((Place::Byte(6), what)));
    }
    let mut wrong = None;
    entries::<ProducerEntry>(file, PRODUCER_SNAPSHOT_HEADER, false, |position, entry| {
        if entry.producer_id < 0 || entry.last_offset >= offset {
            let what = format!(
                "producer {} with last offset {} as of offset {offset}",
                entry.producer_id, entry.last_offset
            );
            wrong = Some((Place::Byte(position), what));
            return std::ops::ControlFlow::Break(());
        }
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(wrong)
}

/// What is wrong with a snapshot of the cluster's metadata, and where.
pub(super) fn metadata_snapshot(file: &dyn Source) -> io::Result<Option<(u64, Kind, String)>> {
    use rohrpost_record::Batch;
    use rohrpost_record::control::ControlType;

    let mut scan = Scan::new(file)?;
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    let mut first_is_header = None;
    let mut last = (0, None);
    loop {
        match scan.step()? {
            ScanStep::End => break,
            ScanStep::Broken { position, why } => {
                return Ok(Some((position, Kind::MetadataSnapshot, format!("no batch: {why:?}"))));
            }
            ScanStep::Batch(batch) if !batch.is_crc_valid() => {
                let what =
                    format!("the checksum is {:08x}, the bytes give {:08x}", batch.header.crc, batch.crc);
                return Ok(Some((batch.position, Kind::Checksum, what)));
            }
            ScanStep::Batch(batch) => {
                last = (batch.position, None);
                if !scan.read(&batch, super::RECORD_BYTES_MAX, &mut bytes)? {
                    continue;
                }
                let Ok(whole) = Batch::parse(&bytes) else { continue };
                if let Err((kind, what)) = segment::look_into(&whole, false, &mut scratch) {
                    return Ok(Some((batch.position, kind, what)));
                }
                if !batch.header.attributes.is_control() {
                    first_is_header.get_or_insert(false);
                    continue;
                }
                let records = whole.records(&mut scratch, super::RECORD_BYTES_MAX);
                for record in records.into_iter().flatten().flatten() {
                    let kind = ControlType::from_key(record.key.unwrap_or_default()).ok();
                    first_is_header.get_or_insert(kind == Some(ControlType::SnapshotHeader));
                    last.1 = kind;
                }
            }
        }
    }
    if first_is_header != Some(true) {
        return Ok(Some((0, Kind::MetadataSnapshot, "the first record is no snapshot header".to_owned())));
    }
    if last.1 != Some(ControlType::SnapshotFooter) {
        return Ok(Some((
            last.0,
            Kind::MetadataSnapshot,
            "the last record is no snapshot footer".to_owned(),
        )));
    }
    Ok(None)
}
