//! One segment held against itself, its indexes and its partition's epochs.
//!
//! Batches stream through once. The indexes are read beforehand (they are small and their size is bounded), so that each
//! entry is held against the batch that it names, whatever else is wrong.

use std::io;

use rohrpost_record::control::ControlRecord;
use rohrpost_record::{Batch, BatchHeader, RecordError, TimestampType};

use super::RECORD_BYTES_MAX;
use super::entries::{AbortedTransaction, BinaryEntry, OffsetIndexEntry, TimeIndexEntry, entries};
use super::problem::{Kind, Place, Problem, Severity};
use super::scan::{Broken, FoundBatch, Scan, ScanStep};
use super::source::Source;
use super::texts::EpochLine;

/// A larger index file is none: `segment.index.bytes` is 10 MiB unless somebody changed it.
const INDEX_BYTES_MAX: u64 = 64 << 20;
/// How many bytes may be checksummed while a batch is looked for behind a damaged place.
const SEARCH_BYTES_MAX: u64 = 1 << 30;

/// What a segment is checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// Path without a suffix, relative to the data directory.
    pub(super) stem: &'a str,
    pub(super) base_offset: i64,
    /// The active segment.
    pub(super) is_last: bool,
    /// Where the segment before ended, if that is known.
    pub(super) expected: Option<i64>,
    /// The partition's leader epochs; `None` if the file is missing, empty or malformed.
    pub(super) epochs: Option<&'a [EpochLine]>,
    pub(super) last_epoch: i32,
    pub(super) log_start: i64,
    pub(super) recovery_point: i64,
    /// Gaps are nothing special.
    pub(super) is_compacted: bool,
    /// A broker is writing it.
    pub(super) is_live: bool,
    /// The next start makes the indexes of this segment anew (D16).
    pub(super) is_rebuilt: bool,
}

impl Context<'_> {
    /// How bad it is that an index is wrong.
    fn index_severity(&self) -> Severity {
        match (self.is_live && self.is_last, self.is_rebuilt) {
            // a broker at work writes the segment before the index, and collects entries
            (true, _) => Severity::Note,
            (false, true) => Severity::Repaired,
            (false, false) => Severity::Damage,
        }
    }
}

/// A segment's files.
pub(super) struct Files<'s> {
    pub(super) log: &'s dyn Source,
    pub(super) index: Option<&'s dyn Source>,
    pub(super) time: Option<&'s dyn Source>,
    pub(super) transactions: Option<&'s dyn Source>,
}

/// What was found in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) bytes: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    /// After the last good batch; `None` if there is none.
    pub(super) next_offset: Option<i64>,
    pub(super) last_epoch: i32,
    /// Where the last good batch ends.
    pub(super) good_end: u64,
    /// Everything could be read to the end, or to a torn tail.
    pub(super) is_whole: bool,
}

pub(super) fn check(
    files: &Files<'_>,
    context: Context<'_>,
    report: &mut dyn FnMut(Problem),
) -> io::Result<Summary> {
    let mut check = Check::new(files, context, report)?;
    check.batches()?;
    check.indexes_end();
    check.transactions(files.transactions)?;
    Ok(check.summary)
}

struct Check<'a, 's> {
    context: Context<'a>,
    report: &'a mut dyn FnMut(Problem),
    scan: Scan<'s>,
    offsets: Index<OffsetIndexEntry>,
    times: Index<TimeIndexEntry>,
    summary: Summary,
    /// The offset that comes next; `None` behind a damaged place.
    expected: Option<i64>,
    /// The same had the last batch the offset that was expected of it.
    otherwise: Option<i64>,
    /// Entries of the time index below the next batch name offsets that could not be read.
    times_skip: bool,
    largest_timestamp: i64,
    /// The last disagreement of epochs that was told: (file's, batch's).
    told_epochs: Option<(Option<i32>, i32)>,
    bytes: Vec<u8>,
    scratch: Vec<u8>,
}

impl<'a, 's> Check<'a, 's> {
    fn new(
        files: &Files<'s>,
        context: Context<'a>,
        report: &'a mut dyn FnMut(Problem),
    ) -> io::Result<Check<'a, 's>> {
        let scan = Scan::new(files.log)?;
        let offsets = Index::read(files.index, ".index", context, report)?;
        let times = Index::read(files.time, ".timeindex", context, report)?;
        let summary = Summary {
            bytes: scan.len(),
            batches: 0,
            records: 0,
            next_offset: None,
            last_epoch: context.last_epoch,
            good_end: 0,
            is_whole: true,
        };
        Ok(Check {
            context,
            report,
            scan,
            offsets,
            times,
            summary,
            expected: Some(context.expected.unwrap_or(context.base_offset)),
            otherwise: None,
            times_skip: false,
            largest_timestamp: -1,
            told_epochs: None,
            bytes: Vec::new(),
            scratch: Vec::new(),
        })
    }

    fn batches(&mut self) -> io::Result<()> {
        loop {
            match self.scan.step()? {
                ScanStep::End => return Ok(()),
                ScanStep::Batch(batch) if batch.is_crc_valid() => self.good_batch(&batch)?,
                ScanStep::Batch(batch) => {
                    let what = format!(
                        "the checksum of the batch with base offset {} is {:08x}, its bytes give {:08x}",
                        batch.header.base_offset, batch.header.crc, batch.crc
                    );
                    let resume = self.next_batch_after(&batch)?;
                    if !self.bad_place(batch.position, Kind::Checksum, what, resume) {
                        return Ok(());
                    }
                }
                ScanStep::Broken { position, why } => {
                    let (kind, what) = match why {
                        Broken::Cut { needed, have } => {
                            (Kind::CutBatch, format!("the batch takes {needed} bytes, {have} are there"))
                        }
                        Broken::Zeros { bytes } => {
                            (Kind::Zeros, format!("{bytes} zeros from here to the end of the file"))
                        }
                        Broken::NoBatch(error) => (Kind::NoBatch, error.to_string()),
                    };
                    let resume = match why {
                        Broken::Zeros { .. } => None,
                        _ => self.find_batch(position + 1)?,
                    };
                    if !self.bad_place(position, kind, what, resume) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Tells of a place that cannot be read, and whether the walk goes on behind it.
    fn bad_place(&mut self, position: u64, kind: Kind, what: String, resume: Option<u64>) -> bool {
        let next = self.next_offset();
        match resume {
            Some(at) => {
                let what = match at.checked_sub(position) {
                    Some(skipped) => format!("{what}; the next whole batch is {skipped} bytes further on"),
                    None => what,
                };
                self.tell(".log", Place::Byte(position), kind, Severity::Damage, what);
                self.offsets.skip_before(at);
                self.times_skip = true;
                self.expected = None;
                self.otherwise = None;
                self.scan.go_to(at);
                true
            }
            None => {
                let left = self.scan.len() - position;
                let what = format!("{what}; no whole batch in the last {left} bytes of the file");
                let (kind, severity) = match self.context.is_last {
                    true if self.context.is_live => (Kind::TornTail, Severity::Note),
                    // D16: not known to be synced, so a crash may have left it like this
                    true if next >= self.context.recovery_point => (Kind::TornTail, Severity::Repaired),
                    _ => (kind, Severity::Damage),
                };
                self.summary.is_whole = severity != Severity::Damage;
                self.tell(".log", Place::Byte(position), kind, severity, what);
                self.offsets.skip_from(position);
                self.times.skip_all();
                false
            }
        }
    }

    /// Where the walk goes on after a batch with a wrong checksum.
    fn next_batch_after(&mut self, bad: &FoundBatch) -> io::Result<Option<u64>> {
        let end = bad.end();
        if end >= self.scan.len() {
            // nothing follows; but a length that was raised by chance may have swallowed whole batches
            return self.find_batch(bad.position + 1);
        }
        self.scan.go_to(end);
        if let ScanStep::Batch(next) = self.scan.step()?
            && (next.is_crc_valid() || next.header.base_offset == bad.header.next_offset())
        {
            return Ok(Some(end));
        }
        self.find_batch(bad.position + 1)
    }

    /// The next place from `from` on where a whole batch with a good checksum and a later offset begins.
    fn find_batch(&mut self, from: u64) -> io::Result<Option<u64>> {
        let least = self.next_offset();
        self.scan.search(from, SEARCH_BYTES_MAX, |header| {
            // within reach of this segment's file name
            let ahead = header.base_offset.checked_sub(least);
            ahead.is_some_and(|ahead| (0..=i64::from(i32::MAX)).contains(&ahead))
                && header.records_count >= 0
                && i64::from(header.records_count) <= i64::from(header.last_offset_delta) + 1
        })
    }

    fn next_offset(&self) -> i64 {
        self.summary.next_offset.or(self.context.expected).unwrap_or(self.context.base_offset)
    }

    fn good_batch(&mut self, batch: &FoundBatch) -> io::Result<()> {
        let header = &batch.header;
        if self.is_in_place(batch) {
            self.epoch_of(batch);
            if std::mem::take(&mut self.times_skip) {
                self.times.skip_below(header.base_offset - self.context.base_offset);
            }
            self.offsets.meet(batch, self.context, self.report);
            self.times.meet(batch, self.context, self.report);
        } else {
            // what is said about its offsets elsewhere would only say the same again
            self.offsets.skip_before(batch.end());
            self.times_skip = true;
        }
        self.records_of(batch)?;
        self.largest_timestamp = self.largest_timestamp.max(header.max_timestamp);
        self.summary.batches += 1;
        self.summary.records += u64::try_from(header.records_count).unwrap_or(0);
        self.summary.good_end = batch.end();
        Ok(())
    }

    /// Whether the batch has the offsets that its place calls for. Base offset and epoch lie outside the checksum.
    fn is_in_place(&mut self, batch: &FoundBatch) -> bool {
        let header = &batch.header;
        let place = Place::Byte(batch.position);
        let least = self.next_offset();
        let expected = self.expected;
        let otherwise = self.otherwise.take();
        let found = header.base_offset;
        let wrong = if let Some(what) = impossible(header, self.context.base_offset) {
            Some((Kind::HeaderField, what))
        } else {
            let fits = |expected: i64| found == expected || (found > expected && self.context.is_compacted);
            match expected {
                Some(expected) if fits(expected) || otherwise == Some(found) => None,
                None if found >= least => None,
                Some(expected) if found > expected => {
                    let what = format!("offsets {expected} to {} are missing before this batch", found - 1);
                    Some((Kind::OffsetGap, what))
                }
                _ => {
                    let end = expected.unwrap_or(least);
                    let what = format!("the batch has base offset {found}, the one before it ends at {end}");
                    Some((Kind::OffsetFalls, what))
                }
            }
        };
        let Some((kind, what)) = wrong else {
            self.expected = Some(header.next_offset());
            self.summary.next_offset = self.expected;
            return true;
        };
        self.tell(".log", place, kind, Severity::Damage, what);
        // the batch behind it tells whether this one's offset was changed, or others are missing
        let delta = i64::from(header.last_offset_delta.max(0)) + 1;
        let otherwise = expected.unwrap_or(least).saturating_add(delta);
        self.otherwise = Some(otherwise);
        self.summary.next_offset = Some(otherwise);
        self.expected = Some(header.next_offset());
        false
    }

    fn epoch_of(&mut self, batch: &FoundBatch) {
        let found = batch.header.partition_leader_epoch;
        let place = Place::Byte(batch.position);
        // what lies below the log start is on its way out, and -1 is of brokers before epochs
        if found == -1 || batch.header.last_offset() < self.context.log_start {
            return;
        }
        let Some(epochs) = self.context.epochs else {
            if found < self.summary.last_epoch {
                let what = format!("leader epoch {found} follows {}", self.summary.last_epoch);
                self.tell(".log", place, Kind::EpochFalls, Severity::Damage, what);
            }
            self.summary.last_epoch = found;
            return;
        };
        let at = batch.header.base_offset.max(self.context.log_start);
        let after = epochs.partition_point(|line| line.start_offset <= at);
        let stated = after.checked_sub(1).map(|line| epochs[line].epoch);
        if stated == Some(found) {
            self.told_epochs = None;
            self.summary.last_epoch = found;
        } else if self.told_epochs != Some((stated, found)) {
            self.told_epochs = Some((stated, found));
            let stated = match stated {
                Some(epoch) => format!("epoch {epoch}"),
                None => "no epoch".to_owned(),
            };
            let what = format!(
                "the batch with base offset {} has leader epoch {found}, leader-epoch-checkpoint has {stated} there",
                batch.header.base_offset
            );
            self.tell(".log", place, Kind::EpochUnlike, Severity::Damage, what);
        }
    }

    fn records_of(&mut self, batch: &FoundBatch) -> io::Result<()> {
        let place = Place::Byte(batch.position);
        if !self.scan.read(batch, RECORD_BYTES_MAX, &mut self.bytes)? {
            let what = format!("the batch has {} bytes", batch.header.total_len());
            self.tell(".log", place, Kind::TooLarge, Severity::Note, what);
            return Ok(());
        }
        let Ok(whole) = Batch::parse(&self.bytes) else {
            // a file that changes under our hands
            return Ok(());
        };
        let found = look_into(&whole, self.context.is_compacted, &mut self.scratch);
        if self.scratch.capacity() > 16 << 20 {
            self.scratch = Vec::new();
        }
        if let Err((kind, what)) = found {
            let severity = if kind == Kind::TooLarge { Severity::Note } else { Severity::Damage };
            let what = format!("the batch with base offset {}: {what}", batch.header.base_offset);
            self.tell(".log", place, kind, severity, what);
        }
        Ok(())
    }

    /// What is left of the indexes leads nowhere; and a closed segment's time index must be complete (D6).
    fn indexes_end(&mut self) {
        self.offsets.leads_nowhere(self.context, self.report);
        self.times.leads_nowhere(self.context, self.report);
        self.offsets.check_order(self.context, self.report);
        self.times.check_order(self.context, self.report);
        let last = self.times.entries.iter().map(|entry| entry.entry.timestamp).max();
        let closed = !self.context.is_last && self.summary.is_whole && self.times.is_usable;
        if closed && self.largest_timestamp > last.unwrap_or(-1) && self.largest_timestamp >= 0 {
            let what = match last {
                Some(last) => format!(
                    "the last entry has timestamp {last}, the segment goes up to {}",
                    self.largest_timestamp
                ),
                None => format!("no entries, the segment has timestamps up to {}", self.largest_timestamp),
            };
            let severity = self.context.index_severity();
            self.tell(".timeindex", Place::Whole, Kind::TimeIndexShort, severity, what);
        }
    }

    fn transactions(&mut self, source: Option<&dyn Source>) -> io::Result<()> {
        let Some(source) = source else { return Ok(()) };
        let (base, end) = (self.context.base_offset, self.summary.next_offset);
        let is_whole = self.summary.is_whole;
        let mut before = None;
        let mut bad = Vec::new();
        let left = entries::<AbortedTransaction>(source, 0, false, |position, entry| {
            let what = if entry.version != 0 {
                Some(format!("the entry's version is {}, not 0", entry.version))
            } else if entry.first_offset > entry.last_offset || entry.first_offset < 0 {
                Some(format!("a transaction from offset {} to {}", entry.first_offset, entry.last_offset))
            } else if entry.last_offset < base
                || (is_whole && end.is_some_and(|end| entry.last_offset >= end))
            {
                Some(format!("the marker at offset {} is not in this segment", entry.last_offset))
            } else if before.is_some_and(|before| entry.last_offset <= before) {
                Some(format!("the marker at offset {} follows a later one", entry.last_offset))
            } else {
                before = Some(entry.last_offset);
                None
            };
            bad.extend(what.map(|what| (position, what)));
            if bad.len() < 1000 {
                std::ops::ControlFlow::Continue(())
            } else {
                std::ops::ControlFlow::Break(())
            }
        })?;
        for (position, what) in bad {
            self.tell(
                ".txnindex",
                Place::Byte(position),
                Kind::TransactionEntry,
                self.context.index_severity(),
                what,
            );
        }
        if left > 0 {
            let at = source.len()? - left;
            let what = format!("{left} bytes at the end are no whole entry of {}", AbortedTransaction::SIZE);
            self.tell(".txnindex", Place::Byte(at), Kind::IndexSize, Severity::Repaired, what);
        }
        Ok(())
    }

    fn tell(&mut self, suffix: &str, place: Place, kind: Kind, severity: Severity, what: String) {
        let path = format!("{}{suffix}", self.context.stem);
        (self.report)(Problem { path, place, kind, severity, what });
    }
}

/// What is impossible in a header whose checksum is right.
fn impossible(header: &BatchHeader, base_offset: i64) -> Option<String> {
    let delta = header.last_offset_delta;
    if header.base_offset < 0 || header.base_offset < base_offset {
        return Some(format!(
            "base offset {} lies below the {base_offset} that the file's name says",
            header.base_offset
        ));
    }
    if delta < 0 || header.base_offset.checked_add(i64::from(delta) + 1).is_none() {
        return Some(format!("base offset {} and last offset delta {delta}", header.base_offset));
    }
    if header.last_offset() - base_offset > i64::from(i32::MAX) {
        return Some(format!(
            "last offset {} is too far from the base {base_offset} for an index",
            header.last_offset()
        ));
    }
    if header.records_count < 0 || i64::from(header.records_count) > i64::from(delta) + 1 {
        return Some(format!("{} records within {} offsets", header.records_count, i64::from(delta) + 1));
    }
    None
}

/// Reads every record of a whole batch; what is wrong with them.
pub(super) fn look_into(
    batch: &Batch<'_>,
    is_compacted: bool,
    scratch: &mut Vec<u8>,
) -> Result<(), (Kind, String)> {
    let header = batch.header();
    let wrong = |error: RecordError| match error {
        RecordError::Decompress(rohrpost_record::DecompressError::TooLarge { .. }) => {
            (Kind::TooLarge, error.to_string())
        }
        error => (Kind::Records, error.to_string()),
    };
    let records = batch.records(scratch, RECORD_BYTES_MAX).map_err(wrong)?;
    let (mut count, mut delta_before, mut largest) = (0i64, -1i64, i64::MIN);
    for record in records {
        let record = record.map_err(wrong)?;
        let delta = i64::from(record.offset_delta);
        if delta <= delta_before || delta > i64::from(header.last_offset_delta) {
            return Err((
                Kind::Records,
                format!("record {count} has offset delta {delta} after {delta_before}"),
            ));
        }
        if header.attributes.is_control()
            && let Err(error) =
                ControlRecord::read(record.key.unwrap_or_default(), record.value.unwrap_or_default())
        {
            return Err((Kind::Records, format!("control record {count}: {error}")));
        }
        delta_before = delta;
        largest = largest.max(record.timestamp);
        count += 1;
    }
    if !is_compacted && count != i64::from(header.last_offset_delta) + 1 {
        let what = format!("{count} records within {} offsets", i64::from(header.last_offset_delta) + 1);
        return Err((Kind::RecordCount, what));
    }
    let own_times = header.attributes.timestamp_type() == TimestampType::CreateTime
        && !header.attributes.has_delete_horizon();
    if count > 0 && own_times && largest != header.max_timestamp {
        let what =
            format!("the header's largest timestamp is {}, the records' is {largest}", header.max_timestamp);
        return Err((Kind::Timestamp, what));
    }
    Ok(())
}

/// An index read whole, with what became of each entry.
struct Index<E> {
    suffix: &'static str,
    entries: Vec<Held<E>>,
    /// The next one that a batch may meet; entries are sorted by what they meet.
    next: usize,
    is_usable: bool,
}

struct Held<E> {
    entry: E,
    /// In the file, in entries.
    number: u32,
    is_good: bool,
}

/// How an index's entries are held against batches.
trait Checked: BinaryEntry + Copy {
    /// Entries are met in this order.
    fn order(&self) -> i64;
    /// Both columns must rise from one entry to the next.
    fn follows(&self, before: &Self) -> bool;
    fn describe(&self, base_offset: i64) -> String;
    /// `None`: the batch comes before what the entry names. `Some(Err)`: it is wrong.
    fn meet(&self, batch: &FoundBatch, base_offset: i64) -> Option<Result<(), (Kind, String)>>;
}

impl Checked for OffsetIndexEntry {
    fn order(&self) -> i64 {
        i64::from(self.position)
    }

    fn follows(&self, before: &Self) -> bool {
        self.relative_offset > before.relative_offset && self.position > before.position
    }

    fn describe(&self, base_offset: i64) -> String {
        format!("offset {} at position {}", base_offset + i64::from(self.relative_offset), self.position)
    }

    fn meet(&self, batch: &FoundBatch, base_offset: i64) -> Option<Result<(), (Kind, String)>> {
        // D5
        let position = u64::from(self.position);
        if position >= batch.end() {
            return None;
        }
        let entry = self.describe(base_offset);
        if position != batch.position {
            let what = format!("the entry ({entry}) leads into the batch at position {}", batch.position);
            return Some(Err((Kind::IndexEntry, what)));
        }
        let offset = base_offset + i64::from(self.relative_offset);
        let last = batch.header.last_offset();
        if offset == last {
            return Some(Ok(()));
        }
        let what = format!("the entry ({entry}) leads to a batch whose last offset is {last}");
        Some(Err((Kind::IndexEntry, what)))
    }
}

impl Checked for TimeIndexEntry {
    fn order(&self) -> i64 {
        i64::from(self.relative_offset)
    }

    fn follows(&self, before: &Self) -> bool {
        self.timestamp >= before.timestamp && self.relative_offset >= before.relative_offset
    }

    fn describe(&self, base_offset: i64) -> String {
        format!("timestamp {} at offset {}", self.timestamp, base_offset + i64::from(self.relative_offset))
    }

    fn meet(&self, batch: &FoundBatch, base_offset: i64) -> Option<Result<(), (Kind, String)>> {
        // D6
        let offset = base_offset + i64::from(self.relative_offset);
        let header = &batch.header;
        if offset > header.last_offset() {
            return None;
        }
        let entry = self.describe(base_offset);
        if offset < header.base_offset {
            return Some(Err((
                Kind::IndexEntry,
                format!("the entry ({entry}) names an offset that is not there"),
            )));
        }
        if self.timestamp != header.max_timestamp {
            let what = format!(
                "the entry ({entry}) names a batch whose largest timestamp is {}",
                header.max_timestamp
            );
            return Some(Err((Kind::IndexEntry, what)));
        }
        if offset != header.last_offset() {
            let what = format!(
                "the entry ({entry}) names a record within the batch that ends at {}",
                header.last_offset()
            );
            return Some(Err((Kind::IndexOld, what)));
        }
        Some(Ok(()))
    }
}

impl<E: Checked> Index<E> {
    fn read(
        source: Option<&dyn Source>,
        suffix: &'static str,
        context: Context<'_>,
        report: &mut dyn FnMut(Problem),
    ) -> io::Result<Index<E>> {
        let mut index = Index { suffix, entries: Vec::new(), next: 0, is_usable: false };
        let Some(source) = source else {
            let what = "the segment has no such index".to_owned();
            index.tell(context, report, Place::Whole, Kind::IndexMissing, Severity::Repaired, what);
            return Ok(index);
        };
        let len = source.len()?;
        if len > INDEX_BYTES_MAX {
            let what = format!("the file has {len} bytes, more than {INDEX_BYTES_MAX}: not read");
            index.tell(context, report, Place::Whole, Kind::IndexSize, Severity::Damage, what);
            return Ok(index);
        }
        let held = &mut index.entries;
        let left = entries::<E>(source, 0, true, |position, entry| {
            let number = (position / E::SIZE as u64) as u32;
            held.push(Held { entry, number, is_good: false });
            std::ops::ControlFlow::Continue(())
        })?;
        // the active segment's index of a broker at work is a whole number of entries, too
        if left > 0 {
            let what = format!("{left} bytes at the end are no whole entry of {}", E::SIZE);
            index.tell(context, report, Place::Byte(len - left), Kind::IndexSize, Severity::Repaired, what);
        }
        index.is_usable = left == 0;
        // by what they meet: one entry that is wrong must not make others look so
        index.entries.sort_by_key(|held| (held.entry.order(), held.number));
        Ok(index)
    }

    fn meet(&mut self, batch: &FoundBatch, context: Context<'_>, report: &mut dyn FnMut(Problem)) {
        while let Some(held) = self.entries.get_mut(self.next) {
            let Some(met) = held.entry.meet(batch, context.base_offset) else { break };
            self.next += 1;
            held.is_good = met.is_ok();
            let place = Place::Byte(u64::from(held.number) * E::SIZE as u64);
            if let Err((kind, what)) = met {
                let severity = if kind == Kind::IndexOld { Severity::Note } else { context.index_severity() };
                self.tell(context, report, place, kind, severity, what);
            }
        }
    }

    /// What is left after the last batch.
    fn leads_nowhere(&mut self, context: Context<'_>, report: &mut dyn FnMut(Problem)) {
        let severity = context.index_severity();
        for at in self.next..self.entries.len() {
            let held = &self.entries[at];
            let what = format!(
                "the entry ({}) leads beyond the last batch",
                held.entry.describe(context.base_offset)
            );
            let place = Place::Byte(u64::from(held.number) * E::SIZE as u64);
            self.tell(context, report, place, Kind::IndexEntry, severity, what);
        }
        self.next = self.entries.len();
    }

    /// Entries that are right each, in the wrong order.
    fn check_order(&mut self, context: Context<'_>, report: &mut dyn FnMut(Problem)) {
        self.entries.sort_by_key(|held| held.number);
        let mut wrong = Vec::new();
        let mut before: Option<&Held<E>> = None;
        for held in self.entries.iter().filter(|held| held.is_good) {
            match before {
                Some(before) if !held.entry.follows(&before.entry) => {
                    let what = format!(
                        "the entry ({}) follows ({})",
                        held.entry.describe(context.base_offset),
                        before.entry.describe(context.base_offset)
                    );
                    wrong.push((u64::from(held.number) * E::SIZE as u64, what));
                }
                _ => before = Some(held),
            }
        }
        for (position, what) in wrong {
            let severity = context.index_severity();
            self.tell(context, report, Place::Byte(position), Kind::IndexOrder, severity, what);
        }
    }

    fn tell(
        &self,
        context: Context<'_>,
        report: &mut dyn FnMut(Problem),
        place: Place,
        kind: Kind,
        severity: Severity,
        what: String,
    ) {
        report(Problem { path: format!("{}{}", context.stem, self.suffix), place, kind, severity, what });
    }
}

impl Index<OffsetIndexEntry> {
    /// Entries that lead into a place that could not be read say nothing.
    fn skip_before(&mut self, position: u64) {
        while self.entries.get(self.next).is_some_and(|held| u64::from(held.entry.position) < position) {
            self.next += 1;
        }
    }

    /// Entries behind the end of what could be read are as good as gone: a start drops them.
    fn skip_from(&mut self, position: u64) {
        while self.entries.get(self.next).is_some_and(|held| u64::from(held.entry.position) < position) {
            self.next += 1;
        }
        self.entries.truncate(self.next);
    }
}

impl Index<TimeIndexEntry> {
    fn skip_below(&mut self, relative_offset: i64) {
        while self.entries.get(self.next).is_some_and(|held| held.entry.order() < relative_offset) {
            self.next += 1;
        }
    }

    fn skip_all(&mut self) {
        self.entries.truncate(self.next);
    }
}
