//! Loading a log from what lies in its directory (D15 to D19).
//!
//! The one truth is the batches. Whatever else is missing, damaged or left over from a crash is removed or rebuilt; at the first
//! bad batch the log ends. So a start never fails over the content of a file, and what comes up is a prefix of whole batches.
//!
//! What this cannot see: base offset and leader epoch of a batch lie outside its checksum (L6). An offset that falls ends the
//! log; one that a flipped bit has raised looks like a gap that compaction has left.

use std::sync::Arc;

use rohrpost_record::crc::crc32c_append;
use rohrpost_record::{Batch, BatchHeader, HEADER_LEN};

use crate::config::LogConfig;
use crate::epochs::LeaderEpochs;
use crate::error::LogError;
use crate::log::{OpenOptions, append::note_producer, write_snapshot};
use crate::producer_state::ProducerStates;
use crate::segment::{self, Segment, base_of, file_name};
use crate::storage::{self, File, NamedFile, Storage};

/// The parts of a log, ready for use.
pub(crate) struct Loaded {
    pub(crate) segments: Vec<Segment>,
    pub(crate) log_start: i64,
    pub(crate) log_end: i64,
    pub(crate) recovery_point: i64,
    pub(crate) producers: ProducerStates,
    /// A snapshot written here and not yet synced.
    pub(crate) snapshot: Option<NamedFile>,
}

/// Reads the directory of a log and repairs it.
pub(crate) fn load(
    storage: &dyn Storage,
    dir: &str,
    config: &LogConfig,
    options: &OpenOptions,
    epochs: &mut LeaderEpochs,
) -> Result<Loaded, LogError> {
    let bases = clean_up(storage, dir)?;
    let mut segments = load_segments(storage, dir, config, options, &bases)?;
    let mut log_end = match segments.segments.last_mut() {
        Some(_) => segments.log_end,
        None => options.log_start.max(0),
    };
    // D18
    let first_base = segments.segments.first().map_or(log_end, |s| s.base_offset);
    let log_start = options.log_start.max(first_base);
    let had_data = !segments.segments.is_empty();
    if log_end < log_start {
        tracing::warn!(dir, log_end, log_start, "the log ends below its start and is emptied");
        for segment in segments.segments.drain(..) {
            segment.remove(storage)?;
        }
        log_end = log_start;
    }
    if segments.segments.is_empty() {
        segments.segments.push(Segment::create(storage, dir, log_end, config, options.now_ms, 0)?);
    }
    restore_epochs(&segments, epochs, had_data, log_start, log_end)?;
    remove_snapshots(storage, dir, |offset| offset > log_end)?;
    let producers = load_producers(storage, dir, &segments.segments, log_start, log_end)?;
    let snapshot = match producers.snapshot_offset {
        Some(offset) if offset == log_end => None,
        _ if !had_data => None,
        // I11
        _ => Some(write_snapshot(storage, dir, log_end, &producers.states)?),
    };
    remove_stragglers(storage, dir, &segments.segments)?;
    // D19
    let trusted = options.clean && segments.recovered.is_none();
    let recovery_point = if trusted { log_end } else { options.recovery_point.clamp(0, log_end) };
    Ok(Loaded {
        segments: segments.segments,
        log_start,
        log_end,
        recovery_point,
        producers: producers.states,
        snapshot,
    })
}

/// Removes leftovers and completes a swap (D17); returns the base offsets of the segments.
fn clean_up(storage: &dyn Storage, dir: &str) -> Result<Vec<i64>, LogError> {
    // D17
    let mut names = file_names(storage, dir)?;
    let cleaned = names.iter().filter_map(|n| base_of(n.strip_suffix(".cleaned")?, ".log")).min();
    let mut swaps: Vec<i64> =
        names.iter().filter_map(|n| base_of(n.strip_suffix(".swap")?, ".log")).collect();
    swaps.retain(|base| cleaned.is_none_or(|first| *base < first));
    for base in &swaps {
        complete_swap(storage, dir, *base, &names)?;
    }
    for name in &names {
        let leftover =
            [segment::DELETED, ".cleaned", ".swap", ".tmp"].iter().any(|suffix| name.ends_with(suffix));
        if leftover {
            segment::remove_if_there(storage, &storage::join(dir, name))?;
        }
    }
    if !swaps.is_empty() {
        names = file_names(storage, dir)?;
    }
    let bases: Vec<i64> = names.iter().filter_map(|n| base_of(n, ".log")).collect();
    for name in &names {
        let orphan = [".index", ".timeindex", ".txnindex"]
            .iter()
            .find_map(|suffix| base_of(name, suffix))
            .is_some_and(|base| !bases.contains(&base));
        if orphan {
            segment::remove_if_there(storage, &storage::join(dir, name))?;
        }
    }
    let mut bases = bases;
    bases.sort_unstable();
    Ok(bases)
}

/// A compacted segment takes the place of those in its offset range (D17).
fn complete_swap(storage: &dyn Storage, dir: &str, base: i64, names: &[String]) -> Result<(), LogError> {
    let swap = storage::join(dir, &file_name(base, ".log.swap"));
    let file = match storage.open(&swap, storage::OpenMode::Existing) {
        Ok(file) => file,
        Err(e) => return Err(LogError::storage("opening", &swap, e)),
    };
    let len = file.len().map_err(|e| LogError::storage("reading", &swap, e))?;
    // Even without a batch it replaces the segment of its name.
    let mut last_offset = base;
    walk(&*file, &swap, len, |header| {
        last_offset = last_offset.max(header.last_offset());
        Ok(())
    })?;
    drop(file);
    for name in names {
        let Some(replaced) = base_of(name, ".log").filter(|b| (base..=last_offset).contains(b)) else {
            continue;
        };
        remove_segment_files(storage, dir, replaced)?;
    }
    let target = storage::join(dir, &file_name(base, ".log"));
    storage.rename(&swap, &target).map_err(|e| LogError::storage("renaming", &swap, e))?;
    storage.sync_dir(dir).map_err(|e| LogError::storage("syncing", dir, e))
}

struct Segments {
    segments: Vec<Segment>,
    log_end: i64,
    /// Base offset of the first segment that was recovered.
    recovered: Option<i64>,
    /// Leader epochs found in recovered segments, with the offset of their first batch there.
    epochs: Vec<(i32, i64)>,
}

fn load_segments(
    storage: &dyn Storage,
    dir: &str,
    config: &LogConfig,
    options: &OpenOptions,
    bases: &[i64],
) -> Result<Segments, LogError> {
    let mut loaded = Segments { segments: Vec::new(), log_end: 0, recovered: None, epochs: Vec::new() };
    for (i, base) in bases.iter().enumerate() {
        let last = i + 1 == bases.len();
        // D16: from the segment that holds the recovery point on.
        let synced = !last && bases[i + 1] <= options.recovery_point;
        if options.clean || synced {
            if let Some((segment, end)) = trust(storage, dir, *base, last, options)? {
                loaded.segments.push(segment);
                loaded.log_end = end.max(loaded.log_end);
                continue;
            }
            tracing::warn!(dir, base, "a segment's index is missing or damaged; recovering the segment");
        }
        loaded.recovered.get_or_insert(*base);
        let recovered = recover(storage, dir, *base, config, options, &mut loaded)?;
        let mut segment = recovered.segment;
        let bad = recovered.cut < recovered.file_len;
        // A file may also have lost its unsynced end at exactly the end of a batch. Only compaction leaves gaps between segments
        // that were meant.
        let unsynced = !options.clean && !synced && !config.compact;
        // Below the log start a gap is what a crash has left of a deletion (D23).
        let gap = unsynced
            && bases.get(i + 1).is_some_and(|next| *next > loaded.log_end && *next > options.log_start);
        if bad && !recovered.only_zeros {
            let lost = recovered.file_len - recovered.cut;
            tracing::warn!(dir, base, lost, end = loaded.log_end, "cut the log at its first bad batch");
        }
        if bad || gap {
            // Later segments go first: should power fail in between, the cut is found again (D16).
            remove_segments(storage, dir, &bases[i + 1..])?;
            if bad {
                segment.cut_file()?;
            }
            loaded.segments.push(segment);
            break;
        }
        if !last {
            // Closed again, so its indexes must be on disk before the recovery point passes it.
            segment.finish()?;
            for (path, file) in segment.files(false)? {
                file.sync().map_err(|e| LogError::storage("syncing", &path, e))?;
            }
        }
        loaded.segments.push(segment);
    }
    Ok(loaded)
}

/// Removes all files of segments, the last ones first, durably.
fn remove_segments(storage: &dyn Storage, dir: &str, bases: &[i64]) -> Result<(), LogError> {
    if bases.is_empty() {
        return Ok(());
    }
    tracing::warn!(dir, count = bases.len(), "removing the segments behind the end of the recovered log");
    for base in bases.iter().rev() {
        remove_segment_files(storage, dir, *base)?;
    }
    storage.sync_dir(dir).map_err(|e| LogError::storage("syncing", dir, e))
}

fn remove_segment_files(storage: &dyn Storage, dir: &str, base: i64) -> Result<(), LogError> {
    for suffix in segment::SUFFIXES {
        segment::remove_if_there(storage, &storage::join(dir, &file_name(base, suffix)))?;
    }
    Ok(())
}

/// A segment whose files are trusted (D15), and the offset after its last batch as far as that is needed.
fn trust(
    storage: &dyn Storage,
    dir: &str,
    base: i64,
    last: bool,
    options: &OpenOptions,
) -> Result<Option<(Segment, i64)>, LogError> {
    let Some(mut segment) = Segment::open(storage, dir, base, options.now_ms)? else { return Ok(None) };
    if !last {
        return Ok(Some((segment, base)));
    }
    // D15
    match segment.resume() {
        Ok(end) => Ok(Some((segment, end))),
        Err(LogError::Damaged { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

struct Recovered {
    segment: Segment,
    /// Where the last good batch ends.
    cut: u64,
    file_len: u64,
    /// What follows is preallocated space and no loss.
    only_zeros: bool,
}

/// Rebuilds a segment from its batches (D16).
fn recover(
    storage: &dyn Storage,
    dir: &str,
    base: i64,
    config: &LogConfig,
    options: &OpenOptions,
    loaded: &mut Segments,
) -> Result<Recovered, LogError> {
    // D16
    let mut segment = Segment::reopen_empty(storage, dir, base, config, options.now_ms)?;
    let file = Arc::clone(&segment.file);
    let path = segment.path.clone();
    let file_len = file.len().map_err(|e| LogError::storage("reading", &path, e))?;
    let mut next_offset = base.max(loaded.log_end);
    let cut = walk(&*file, &path, file_len, |header| {
        if header.base_offset < next_offset || header.last_offset() - base > i64::from(u32::MAX) {
            return Err(Stop::Bad);
        }
        next_offset = header.next_offset();
        see_epoch(&mut loaded.epochs, header);
        segment.note(header, config.index_interval_bytes).map_err(Stop::Failed)
    })?;
    loaded.log_end = next_offset;
    let only_zeros = config.preallocate && is_zero(&*file, cut, file_len);
    Ok(Recovered { segment, cut, file_len, only_zeros })
}

/// Why a walk ends before the end of the file.
enum Stop {
    /// The batch does not belong here.
    Bad,
    Failed(LogError),
}

/// Visits all good batches from the start of a file: whole, with a valid checksum. Returns where the last of them ends. Reads in
/// pieces, so that a damaged length allocates nothing.
fn walk(
    file: &dyn File,
    path: &str,
    file_len: u64,
    mut visit: impl FnMut(&BatchHeader) -> Result<(), Stop>,
) -> Result<u64, LogError> {
    const PIECE: u64 = 256 << 10;
    /// The checksum covers a batch from its attributes on (L2).
    const CRC_FROM: u64 = 21;
    let failed = |e| LogError::storage("reading", path, e);
    let mut window = Window { file, buffer: vec![0; PIECE.min(file_len) as usize], start: 0, len: 0 };
    let mut position = 0;
    // At the end of the file nothing is left that could be a header.
    while let Ok(header) = BatchHeader::parse(window.at(position, HEADER_LEN).map_err(failed)?) {
        let total = header.total_len() as u64;
        if header.base_offset < 0 || header.next_offset() <= header.base_offset {
            break;
        }
        let (mut crc, mut done) = (0, CRC_FROM);
        while done < total {
            let piece = window.at(position + done, (total - done).min(PIECE) as usize).map_err(failed)?;
            // The file ends within the batch.
            if piece.is_empty() {
                return Ok(position);
            }
            crc = crc32c_append(crc, piece);
            done += piece.len() as u64;
        }
        if crc != header.crc {
            break;
        }
        match visit(&header) {
            Ok(()) => position += total,
            Err(Stop::Bad) => break,
            Err(Stop::Failed(e)) => return Err(e),
        }
    }
    Ok(position)
}

/// A buffer that moves over a file.
struct Window<'a> {
    file: &'a dyn File,
    buffer: Vec<u8>,
    start: u64,
    len: usize,
}

impl Window<'_> {
    /// Up to `want` bytes at `position`: fewer at the end of the file, or of the buffer.
    fn at(&mut self, position: u64, want: usize) -> std::io::Result<&[u8]> {
        let inside = position.checked_sub(self.start).filter(|i| i + want as u64 <= self.len as u64);
        let inside = match inside {
            Some(inside) => inside as usize,
            None => {
                self.len = self.file.read_at(position, &mut self.buffer)?;
                self.start = position;
                0
            }
        };
        Ok(&self.buffer[inside..self.len.min(inside + want)])
    }
}

fn is_zero(file: &dyn File, from: u64, to: u64) -> bool {
    let mut window = Window { file, buffer: vec![0; 64 << 10], start: 0, len: 0 };
    let mut position = from;
    while position < to {
        match window.at(position, ((to - position) as usize).min(64 << 10)) {
            Ok(piece) if !piece.is_empty() && piece.iter().all(|b| *b == 0) => position += piece.len() as u64,
            _ => return false,
        }
    }
    true
}

/// Brings the epochs in line with the batches that are there (D16, D18).
fn restore_epochs(
    segments: &Segments,
    epochs: &mut LeaderEpochs,
    had_data: bool,
    log_start: i64,
    log_end: i64,
) -> Result<(), LogError> {
    let lost = epochs.entries().is_empty() && had_data;
    if lost && segments.recovered != segments.segments.first().map(|s| s.base_offset) {
        // The file is gone: all batches are asked.
        let mut seen: Vec<(i32, i64)> = Vec::new();
        for segment in &segments.segments {
            let mut scan = segment.scan(0);
            while let Ok(Some(found)) = scan.next() {
                see_epoch(&mut seen, &found.header);
            }
        }
        return epochs.restore(0, &seen, log_start, log_end);
    }
    epochs.restore(segments.recovered.unwrap_or(log_end), &segments.epochs, log_start, log_end)
}

/// Leader epochs in the order of their first batches; -1 is none, and is left out by [`LeaderEpochs::restore`].
fn see_epoch(seen: &mut Vec<(i32, i64)>, header: &BatchHeader) {
    let epoch = header.partition_leader_epoch;
    if seen.last().is_none_or(|(latest, _)| epoch > *latest) {
        seen.push((epoch, header.base_offset));
    }
}

pub(crate) struct LoadedProducers {
    pub(crate) states: ProducerStates,
    /// Offset of the snapshot it began with.
    pub(crate) snapshot_offset: Option<i64>,
}

/// The producers' state at `end`: the newest usable snapshot at or below it, then the batches after that. A snapshot has one batch per
/// producer; the others are found again in the last part of the log before it (I11).
pub(crate) fn load_producers(
    storage: &dyn Storage,
    dir: &str,
    segments: &[Segment],
    log_start: i64,
    end: i64,
) -> Result<LoadedProducers, LogError> {
    /// How much of the log before a snapshot is looked at.
    const TAIL: u64 = 1 << 20;
    let mut loaded = LoadedProducers { states: ProducerStates::default(), snapshot_offset: None };
    let mut offsets = snapshots(storage, dir)?;
    offsets.retain(|offset| *offset <= end);
    for offset in offsets.into_iter().rev() {
        let path = storage::join(dir, &file_name(offset, ".snapshot"));
        let read = storage::read_small(storage, &path, 1 << 30);
        let bytes = match read {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Vec::new(),
            Err(e) => return Err(LogError::storage("reading", &path, e)),
        };
        if let Some(states) = ProducerStates::from_snapshot(&bytes) {
            loaded = LoadedProducers { states, snapshot_offset: Some(offset) };
            break;
        }
        tracing::warn!(path, "damaged producer snapshot is removed");
        segment::remove_if_there(storage, &path)?;
    }
    if let Some(offset) = loaded.snapshot_offset {
        // I11
        let before = segments.partition_point(|s| s.base_offset < offset);
        if let Some(segment) = before.checked_sub(1).and_then(|i| segments.get(i)) {
            let mut tail = ProducerStates::default();
            replay(&mut tail, segment, segment.tail_start(TAIL)?, offset)?;
            loaded.states.refill(&tail);
        }
    }
    let from = loaded.snapshot_offset.unwrap_or(log_start);
    let first = segments.partition_point(|s| s.base_offset <= from).saturating_sub(1);
    for segment in &segments[first.min(segments.len())..] {
        match segment.find(from) {
            Ok(Some(found)) => replay(&mut loaded.states, segment, found.position, end)?,
            Ok(None) => {}
            Err(LogError::Damaged { .. }) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(loaded)
}

fn replay(states: &mut ProducerStates, segment: &Segment, from: u64, end: i64) -> Result<(), LogError> {
    let mut scan = segment.scan(from);
    loop {
        let found = match scan.next() {
            Ok(Some(found)) if found.header.base_offset < end => found,
            Ok(_) => return Ok(()),
            Err(LogError::Damaged { path, position, reason }) => {
                tracing::warn!(path, position, reason, "producer state ends at a damaged batch");
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let bytes = match found.header.attributes.is_control() {
            true => segment
                .file
                .read_bytes(found.position, found.header.total_len())
                .map_err(|e| LogError::storage("reading", &segment.path, e))?,
            false => bytes::Bytes::new(),
        };
        note_producer(states, &found.header, || Batch::parse(&bytes).ok());
    }
}

/// Removes the snapshots whose offset `doomed` says.
pub(crate) fn remove_snapshots(
    storage: &dyn Storage,
    dir: &str,
    doomed: impl Fn(i64) -> bool,
) -> Result<(), LogError> {
    for offset in snapshots(storage, dir)? {
        if doomed(offset) {
            segment::remove_if_there(storage, &storage::join(dir, &file_name(offset, ".snapshot")))?;
        }
    }
    Ok(())
}

/// Snapshots that belong to no segment go, except the newest above the last base (D18).
fn remove_stragglers(storage: &dyn Storage, dir: &str, segments: &[Segment]) -> Result<(), LogError> {
    // D18
    let newest = snapshots(storage, dir)?.last().copied();
    let last_base = segments.last().map_or(0, |s| s.base_offset);
    remove_snapshots(storage, dir, |offset| {
        let of_segment = segments.binary_search_by_key(&offset, |s| s.base_offset).is_ok();
        let of_the_end = Some(offset) == newest && offset > last_base;
        !of_segment && !of_the_end
    })
}

/// Offsets of the snapshot files, rising.
pub(crate) fn snapshots(storage: &dyn Storage, dir: &str) -> Result<Vec<i64>, LogError> {
    let mut offsets: Vec<i64> =
        file_names(storage, dir)?.iter().filter_map(|n| base_of(n, ".snapshot")).collect();
    offsets.sort_unstable();
    Ok(offsets)
}

fn file_names(storage: &dyn Storage, dir: &str) -> Result<Vec<String>, LogError> {
    let entries = storage.list(dir).map_err(|e| LogError::storage("listing", dir, e))?;
    Ok(entries.into_iter().filter(|e| !e.is_dir).map(|e| e.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{MemoryStorage, OpenMode};

    #[test]
    fn preallocated_space_is_zero_to_its_end_and_not_beyond() {
        // D7
        const LEN: u64 = 150_000;
        let storage = MemoryStorage::new();
        let file = storage.open("file", OpenMode::Create).unwrap();
        file.set_len(LEN).unwrap();
        for at in [9, LEN] {
            file.write_at(at, &[7]).unwrap();
        }
        assert!(is_zero(&*file, 10, LEN) && is_zero(&*file, 10, 10));
        assert!(!is_zero(&*file, 9, LEN) && !is_zero(&*file, 10, LEN + 1));
        assert!(!is_zero(&*file, LEN, LEN + 2), "the file ends before");
        for at in [10, 70_000, LEN - 1] {
            file.write_at(at, &[1]).unwrap();
            assert!(!is_zero(&*file, 10, LEN), "{at}");
            file.write_at(at, &[0]).unwrap();
        }
        assert!(is_zero(&*file, 10, LEN));
    }
}
