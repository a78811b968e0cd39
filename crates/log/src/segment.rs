//! One segment: a file of batches back to back, named by a lower bound of the offsets in it, and its two indexes.

use std::sync::Arc;

use rohrpost_record::{BatchHeader, HEADER_LEN};

use crate::config::LogConfig;
use crate::error::LogError;
use crate::index::{OffsetEntry, OffsetIndex, TimeIndex};
use crate::storage::{self, File, NamedFile, OpenMode, Storage};

/// What a segment's files end in; not every segment has the last one.
pub(crate) const SUFFIXES: [&str; 4] = [".log", ".index", ".timeindex", ".txnindex"];
/// What a deleted segment's files end in until they are removed (D23).
pub(crate) const DELETED: &str = ".deleted";

/// `<20 digits><suffix>` (8.2).
pub(crate) fn file_name(base_offset: i64, suffix: &str) -> String {
    format!("{base_offset:020}{suffix}")
}

/// The base offset in a file name, if it is `<20 digits><suffix>`.
pub(crate) fn base_of(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// A batch's header and where the batch starts in the segment file.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
}

/// A segment. The last one of a log is active: only it is appended to.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    pub(crate) path: String,
    pub(crate) file: Arc<dyn File>,
    /// Bytes of batches; the file may be longer while it is preallocated.
    pub(crate) size: u64,
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
    /// Largest timestamp and the last offset of the batch that holds it; (-1, base) if there is none.
    pub(crate) largest: (i64, i64),
    bytes_since_entry: u64,
    /// Largest timestamp of the first batch; `None` while it is not known.
    first_timestamp: Option<i64>,
    created_ms: i64,
    /// When the file was last written: its own time after a start.
    written_ms: i64,
    jitter_ms: i64,
}

impl Segment {
    /// A new, empty segment. Files of the same name are emptied.
    pub(crate) fn create(
        storage: &dyn Storage,
        dir: &str,
        base_offset: i64,
        config: &LogConfig,
        now_ms: i64,
        jitter_ms: i64,
    ) -> Result<Segment, LogError> {
        let path = storage::join(dir, &file_name(base_offset, ".log"));
        let file =
            storage.open(&path, OpenMode::Truncate).map_err(|e| LogError::storage("creating", &path, e))?;
        if config.preallocate && storage.preallocates() {
            file.set_len(u64::from(config.segment_bytes))
                .map_err(|e| LogError::storage("preallocating", &path, e))?;
        }
        let mut segment = Segment::with_file(storage, dir, base_offset, file, config, now_ms)?;
        segment.written_ms = now_ms;
        segment.jitter_ms = jitter_ms;
        Ok(segment)
    }

    /// A segment whose batches are there but whose indexes are dropped, to be [`note`](Segment::note)d anew (D16).
    pub(crate) fn reopen_empty(
        storage: &dyn Storage,
        dir: &str,
        base_offset: i64,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<Segment, LogError> {
        // D16
        let path = storage::join(dir, &file_name(base_offset, ".log"));
        let file =
            storage.open(&path, OpenMode::Existing).map_err(|e| LogError::storage("opening", &path, e))?;
        remove_if_there(storage, &storage::join(dir, &file_name(base_offset, ".txnindex")))?;
        Segment::with_file(storage, dir, base_offset, file, config, now_ms)
    }

    fn with_file(
        storage: &dyn Storage,
        dir: &str,
        base_offset: i64,
        file: Arc<dyn File>,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<Segment, LogError> {
        let index_path = storage::join(dir, &file_name(base_offset, ".index"));
        let time_path = storage::join(dir, &file_name(base_offset, ".timeindex"));
        let path = storage::join(dir, &file_name(base_offset, ".log"));
        let written_ms = file_time(&*file, &path)?.unwrap_or(now_ms);
        Ok(Segment {
            base_offset,
            path,
            file,
            size: 0,
            offsets: OffsetIndex::create(storage, index_path, config.segment_index_bytes)?,
            times: TimeIndex::create(storage, time_path, config.segment_index_bytes)?,
            largest: (-1, base_offset),
            bytes_since_entry: 0,
            first_timestamp: None,
            created_ms: now_ms,
            written_ms,
            jitter_ms: 0,
        })
    }

    /// Cuts the file at the end of its batches, durably: what lay behind must not come back behind new batches.
    pub(crate) fn cut_file(&self) -> Result<(), LogError> {
        let cut = self.file.set_len(self.size).and_then(|()| self.file.sync());
        cut.map_err(|e| LogError::storage("cutting", &self.path, e))
    }

    /// A position about `bytes` before the end, where a batch starts.
    pub(crate) fn tail_start(&self, bytes: u64) -> Result<u64, LogError> {
        let from = self.size.saturating_sub(bytes);
        let entry = self.offsets.last_where(|e| u64::from(e.position) <= from)?;
        Ok(entry.map_or(0, |e| u64::from(e.position)))
    }

    /// A segment as it lies there, trusted. `None`: an index is missing or does not fit, so it must be recovered (D16).
    pub(crate) fn open(
        storage: &dyn Storage,
        dir: &str,
        base_offset: i64,
        now_ms: i64,
    ) -> Result<Option<Segment>, LogError> {
        let path = storage::join(dir, &file_name(base_offset, ".log"));
        let file =
            storage.open(&path, OpenMode::Existing).map_err(|e| LogError::storage("opening", &path, e))?;
        let size = file.len().map_err(|e| LogError::storage("reading", &path, e))?;
        let index_path = storage::join(dir, &file_name(base_offset, ".index"));
        let time_path = storage::join(dir, &file_name(base_offset, ".timeindex"));
        let Some(offsets) = OffsetIndex::open(storage, index_path)? else { return Ok(None) };
        let Some(times) = TimeIndex::open(storage, time_path)? else { return Ok(None) };
        if offsets.last().is_some_and(|e| u64::from(e.position) >= size) {
            return Ok(None);
        }
        let largest = times
            .last()
            .map_or((-1, base_offset), |e| (e.timestamp, base_offset + i64::from(e.relative_offset)));
        let written_ms = file_time(&*file, &path)?.unwrap_or(now_ms);
        let segment = Segment {
            base_offset,
            path,
            file,
            size,
            offsets,
            times,
            largest,
            bytes_since_entry: 0,
            first_timestamp: None,
            created_ms: now_ms,
            written_ms,
            jitter_ms: 0,
        };
        if let Some(entry) = segment.offsets.last() {
            // A last entry that does not lead to its batch: the file is another one's, or damaged.
            match segment.scan(u64::from(entry.position)).next() {
                Ok(Some(found))
                    if segment.relative(found.header.last_offset()) == Some(entry.relative_offset) => {}
                Ok(_) | Err(LogError::Damaged { .. }) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        if let Some(entry) = segment.times.last() {
            // D6: the batch that the entry names has its timestamp as the largest.
            match segment.find(segment.largest.1) {
                Ok(Some(found))
                    if found.header.last_offset() == segment.largest.1
                        && found.header.max_timestamp == entry.timestamp => {}
                Ok(_) | Err(LogError::Damaged { .. }) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        Ok(Some(segment))
    }

    /// Makes the segment ready for appends: indexes at full size (D7).
    pub(crate) fn activate(&mut self, config: &LogConfig, jitter_ms: i64) -> Result<(), LogError> {
        self.offsets.activate(config.segment_index_bytes)?;
        self.times.activate(config.segment_index_bytes)?;
        self.jitter_ms = jitter_ms;
        Ok(())
    }

    /// Appends whole batches in one write, of which `headers` are the headers in order.
    pub(crate) fn append(
        &mut self,
        bytes: &[u8],
        headers: &[BatchHeader],
        index_interval: u32,
        now_ms: i64,
    ) -> Result<(), LogError> {
        self.written_ms = now_ms;
        self.file.write_at(self.size, bytes).map_err(|e| LogError::storage("appending to", &self.path, e))?;
        for header in headers {
            self.note(header, index_interval)?;
        }
        Ok(())
    }

    /// Counts in a batch that lies at the end of the file already.
    pub(crate) fn note(&mut self, header: &BatchHeader, index_interval: u32) -> Result<(), LogError> {
        let last_offset = header.last_offset();
        if self.first_timestamp.is_none() {
            self.first_timestamp = Some(header.max_timestamp);
        }
        if header.max_timestamp > self.largest.0 {
            self.largest = (header.max_timestamp, last_offset);
        }
        if self.bytes_since_entry > u64::from(index_interval) {
            // D5: the batch after the interval gets the entry, so a segment's first batch never has one.
            if let (Some(relative_offset), Ok(position)) =
                (self.relative(last_offset), u32::try_from(self.size))
            {
                self.offsets.push(OffsetEntry { relative_offset, position })?;
                self.note_largest()?;
            }
            self.bytes_since_entry = 0;
        }
        self.size += header.total_len() as u64;
        self.bytes_since_entry += header.total_len() as u64;
        Ok(())
    }

    /// Whether a batch of `len` bytes, ending at `last_offset`, must go to a new segment (D10).
    pub(crate) fn must_roll(
        &self,
        len: usize,
        last_offset: i64,
        max_timestamp: i64,
        config: &LogConfig,
        now_ms: i64,
    ) -> bool {
        // D10
        if self.relative(last_offset).is_none_or(|r| r > i32::MAX as u32) {
            return true;
        }
        if self.size == 0 {
            return false;
        }
        let age = match self.first_timestamp {
            Some(first) if first >= 0 => max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        };
        self.size + len as u64 > u64::from(config.segment_bytes)
            || age > config.segment_ms - self.jitter_ms
            || self.offsets.is_full()
            || self.times.is_full()
    }

    /// What retention goes by: the largest timestamp, or the file's time if no record has one (D22).
    pub(crate) fn time_ms(&self) -> i64 {
        // D22
        if self.largest.0 >= 0 { self.largest.0 } else { self.written_ms }
    }

    /// No more appends: final time entry (D6), indexes and file cut to what is used (D7).
    pub(crate) fn finish(&mut self) -> Result<(), LogError> {
        // D6, D7
        self.note_largest()?;
        self.offsets.trim()?;
        self.times.trim()?;
        let len = self.file.len().map_err(|e| LogError::storage("reading", &self.path, e))?;
        if len > self.size {
            self.file.set_len(self.size).map_err(|e| LogError::storage("trimming", &self.path, e))?;
        }
        Ok(())
    }

    /// First batch whose last offset is ≥ `offset` (D9). `None`: all batches here end before it.
    pub(crate) fn find(&self, offset: i64) -> Result<Option<Located>, LogError> {
        // D9
        let relative = offset.saturating_sub(self.base_offset).max(0);
        let mut scan = self.scan(0);
        if let Some(entry) = self.offsets.floor(relative)? {
            scan = self.scan(u64::from(entry.position));
            match scan.next() {
                Ok(Some(found))
                    if self.relative(found.header.last_offset()) == Some(entry.relative_offset) =>
                {
                    if found.header.last_offset() >= offset {
                        return Ok(Some(found));
                    }
                }
                Err(e @ LogError::Storage { .. }) => return Err(e),
                _ => {
                    tracing::warn!(
                        path = self.path,
                        "offset index does not fit its segment; reading from the start"
                    );
                    scan = self.scan(0);
                }
            }
        }
        while let Some(found) = scan.next()? {
            if found.header.last_offset() >= offset {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A position from which all batches with a timestamp ≥ `timestamp` can be reached (O3).
    pub(crate) fn start_for_timestamp(&self, timestamp: i64) -> Result<u64, LogError> {
        // The entry says: up to this offset nothing is later than its timestamp. Below `timestamp` nothing was missed.
        let Some(entry) = self.times.floor(timestamp.saturating_sub(1))? else { return Ok(0) };
        let offset = self.base_offset + i64::from(entry.relative_offset);
        Ok(self.find(offset)?.map_or(0, |found| found.position))
    }

    /// Batch headers from `position` (the start of a batch) to the end.
    pub(crate) fn scan(&self, position: u64) -> Scan<'_> {
        Scan {
            file: &*self.file,
            path: &self.path,
            position,
            end: self.size,
            window: [0; WINDOW],
            start: 0,
            len: 0,
        }
    }

    /// Continues the counters of a trusted segment from its last index entry; returns the offset after the last batch
    /// (D15). An error: the file is damaged there.
    pub(crate) fn resume(&mut self) -> Result<i64, LogError> {
        // D15
        let start = self.offsets.last().map_or(0, |e| u64::from(e.position));
        let mut next = self.base_offset;
        let mut largest = self.largest;
        {
            let mut scan = self.scan(start);
            while let Some(found) = scan.next()? {
                next = found.header.next_offset();
                if found.header.max_timestamp > largest.0 {
                    largest = (found.header.max_timestamp, found.header.last_offset());
                }
            }
        }
        self.largest = largest;
        self.bytes_since_entry = self.size - start;
        self.first_timestamp = self.scan(0).next()?.map(|found| found.header.max_timestamp);
        Ok(next)
    }

    /// Cuts the segment at the start of the batch that holds `offset` (D27). Returns whether anything went.
    pub(crate) fn truncate_to(&mut self, offset: i64) -> Result<bool, LogError> {
        // D27
        let Some(found) = self.find(offset)? else { return Ok(false) };
        let cut = found.position;
        self.file.set_len(cut).map_err(|e| LogError::storage("cutting", &self.path, e))?;
        self.size = cut;
        self.offsets.truncate(|e| u64::from(e.position) < cut)?;
        let limit = found.header.base_offset - self.base_offset;
        self.times.truncate(|e| i64::from(e.relative_offset) < limit)?;
        self.largest = self.times.last().map_or((-1, self.base_offset), |e| {
            (e.timestamp, self.base_offset + i64::from(e.relative_offset))
        });
        self.resume()?;
        Ok(true)
    }

    /// The files that a sync of this segment covers: of the active one the batches alone, since its indexes are rebuilt
    /// after a crash anyway (D16).
    pub(crate) fn files(&mut self, active: bool) -> Result<Vec<NamedFile>, LogError> {
        let mut files = vec![(self.path.clone(), Arc::clone(&self.file))];
        if !active {
            self.offsets.write_pending()?;
            self.times.write_pending()?;
            files.push((self.offsets.path().to_owned(), Arc::clone(self.offsets.file())));
            files.push((self.times.path().to_owned(), Arc::clone(self.times.file())));
        }
        Ok(files)
    }

    /// Removes all files of the segment.
    pub(crate) fn remove(self, storage: &dyn Storage) -> Result<(), LogError> {
        let Segment { path, file, offsets, times, .. } = self;
        drop(file);
        let index_paths = [offsets.path().to_owned(), times.path().to_owned()];
        // Closed before removal, which Windows asks for.
        drop((offsets, times));
        for path in std::iter::once(path).chain(index_paths) {
            remove_if_there(storage, &path)?;
        }
        Ok(())
    }

    fn note_largest(&mut self) -> Result<(), LogError> {
        match self.relative(self.largest.1) {
            Some(relative) => self.times.maybe_push(self.largest.0, relative),
            None => Ok(()),
        }
    }

    fn relative(&self, offset: i64) -> Option<u32> {
        u32::try_from(offset.checked_sub(self.base_offset)?).ok()
    }
}

fn file_time(file: &dyn File, path: &str) -> Result<Option<i64>, LogError> {
    file.modified_ms().map_err(|e| LogError::storage("reading", path, e))
}

pub(crate) fn remove_if_there(storage: &dyn Storage, path: &str) -> Result<(), LogError> {
    match storage.remove(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LogError::storage("removing", path, e)),
        _ => Ok(()),
    }
}

const WINDOW: usize = 4096;

/// Walks batch headers; reads small batches many at a time and skips the records of large ones.
pub(crate) struct Scan<'a> {
    file: &'a dyn File,
    path: &'a str,
    position: u64,
    end: u64,
    window: [u8; WINDOW],
    /// Where the window lies in the file.
    start: u64,
    len: usize,
}

impl Scan<'_> {
    /// The next batch; `None` at the end. Bytes that are no whole batch are [`LogError::Damaged`].
    pub(crate) fn next(&mut self) -> Result<Option<Located>, LogError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let inside = self.position.wrapping_sub(self.start);
        if self.position < self.start || inside + HEADER_LEN as u64 > self.len as u64 {
            let want = (self.end - self.position).min(WINDOW as u64) as usize;
            self.len = self
                .file
                .read_at(self.position, &mut self.window[..want])
                .map_err(|e| LogError::storage("reading", self.path, e))?;
            self.start = self.position;
        }
        let inside = (self.position - self.start) as usize;
        let header =
            BatchHeader::parse(&self.window[inside..self.len]).map_err(|e| self.damaged(e.to_string()))?;
        let len = header.total_len() as u64;
        if len > self.end - self.position {
            return Err(self.damaged(format!("a batch of {len} bytes reaches beyond the end of the file")));
        }
        if header.last_offset_delta < 0 || header.base_offset < 0 || header.next_offset() <= 0 {
            return Err(self.damaged("a batch's offsets are impossible".to_owned()));
        }
        let located = Located { position: self.position, header };
        self.position += len;
        Ok(Some(located))
    }

    fn damaged(&self, reason: String) -> LogError {
        LogError::Damaged { path: self.path.to_owned(), position: self.position, reason }
    }
}
