//! Index files: fixed entries, sorted, found by halving (D5 to D9).
//!
//! An index is a shortcut and never a truth: whatever it says is checked against the batches, and it can be rebuilt from
//! them. So entries are collected in memory and written in groups; a crash loses at most entries of the active segment,
//! whose indexes are rebuilt then anyway (D16).

mod offset;
mod time;

use std::sync::Arc;

use crate::error::LogError;
use crate::storage::{File, OpenMode, Storage};

pub(crate) use self::offset::{OffsetEntry, OffsetIndex};
pub(crate) use self::time::TimeIndex;

/// Entries collected before they are written.
const PENDING_MAX: usize = 512;

/// An entry of an index file: sorted by `key`.
pub(crate) trait IndexEntry: Copy + Default + PartialEq + std::fmt::Debug {
    /// Bytes in the file.
    const SIZE: usize;
    /// What entries are sorted by.
    fn key(&self) -> i64;
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads an entry of `SIZE` bytes.
    fn decode(bytes: &[u8]) -> Self;
}

/// An index file of entries `E`.
#[derive(Debug)]
pub(crate) struct IndexFile<E> {
    file: Arc<dyn File>,
    path: String,
    /// Entries in the file.
    written: usize,
    /// Entries that follow them.
    pending: Vec<E>,
    last: Option<E>,
    /// Entries that fit.
    capacity: usize,
    preallocate: bool,
}

impl<E: IndexEntry> IndexFile<E> {
    /// An empty index with room for `max_bytes`, rounded down to whole entries (D7). An old file of this name is emptied.
    pub(crate) fn create(
        storage: &dyn Storage,
        path: String,
        max_bytes: u32,
    ) -> Result<IndexFile<E>, LogError> {
        let file =
            storage.open(&path, OpenMode::Truncate).map_err(|e| LogError::storage("creating", &path, e))?;
        let mut index = IndexFile::of(storage, file, path, 0);
        index.activate(max_bytes)?;
        Ok(index)
    }

    /// An index as it lies there. `None`: missing, or not whole entries; then it must be rebuilt.
    pub(crate) fn open(storage: &dyn Storage, path: String) -> Result<Option<IndexFile<E>>, LogError> {
        let file = match storage.open(&path, OpenMode::Existing) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(LogError::storage("opening", &path, e)),
        };
        let len = file.len().map_err(|e| LogError::storage("reading", &path, e))?;
        if len % E::SIZE as u64 != 0 {
            return Ok(None);
        }
        let mut index = IndexFile::of(storage, file, path, (len / E::SIZE as u64) as usize);
        // D7: trailing zero entries are unused. Used ones come first, so their end is found by halving.
        let (mut low, mut high) = (0, index.capacity);
        while low < high {
            let middle = low + (high - low) / 2;
            if index.read(middle)? == E::default() { high = middle } else { low = middle + 1 }
        }
        index.written = low;
        if low > 0 {
            index.last = Some(index.read(low - 1)?);
        }
        Ok(Some(index))
    }

    /// Gives the file its full size, as an active segment's index has it (D7).
    pub(crate) fn activate(&mut self, max_bytes: u32) -> Result<(), LogError> {
        // D7. One entry always fits, or an index smaller than an entry would roll segments for ever.
        self.capacity = (max_bytes as usize / E::SIZE).max(1).max(self.len());
        if self.preallocate {
            let len = (self.capacity * E::SIZE) as u64;
            self.file.set_len(len).map_err(|e| self.failed("extending", e))?;
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.written + self.pending.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn last(&self) -> Option<E> {
        self.last
    }

    /// Adds an entry. The caller sees to it that keys rise.
    pub(crate) fn push(&mut self, entry: E) -> Result<(), LogError> {
        self.pending.push(entry);
        self.last = Some(entry);
        if self.pending.len() >= PENDING_MAX { self.write_pending() } else { Ok(()) }
    }

    /// Last entry with a key ≤ `key` (D9).
    pub(crate) fn floor(&self, key: i64) -> Result<Option<E>, LogError> {
        // D9
        self.last_where(|e| e.key() <= key)
    }

    /// Last entry for which `holds`, which must be so for all entries up to some point and for none after it.
    pub(crate) fn last_where(&self, holds: impl Fn(&E) -> bool) -> Result<Option<E>, LogError> {
        // Most readers are at the tail, so the newest entries are looked at first.
        if let Some(last) = self.last.filter(&holds) {
            return Ok(Some(last));
        }
        if self.pending.first().is_some_and(&holds) {
            let after = self.pending.partition_point(&holds);
            return Ok(Some(self.pending[after - 1]));
        }
        let (mut low, mut high) = (0, self.written);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.read(middle)?;
            if holds(&entry) {
                found = Some(entry);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    /// Drops all entries from the first on that `keep` denies.
    pub(crate) fn truncate(&mut self, keep: impl Fn(&E) -> bool) -> Result<(), LogError> {
        self.write_pending()?;
        let (mut low, mut high) = (0, self.written);
        while low < high {
            let middle = low + (high - low) / 2;
            if keep(&self.read(middle)?) { low = middle + 1 } else { high = middle }
        }
        if low < self.written {
            // Cut and extend, so that what follows is zeros again.
            self.file.set_len((low * E::SIZE) as u64).map_err(|e| self.failed("cutting", e))?;
            if self.preallocate {
                let len = (self.capacity * E::SIZE) as u64;
                self.file.set_len(len).map_err(|e| self.failed("extending", e))?;
            }
        }
        self.written = low;
        self.last = if low > 0 { Some(self.read(low - 1)?) } else { None };
        Ok(())
    }

    pub(crate) fn write_pending(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.pending.len() * E::SIZE);
        for entry in &self.pending {
            entry.encode(&mut bytes);
        }
        let position = (self.written * E::SIZE) as u64;
        self.file.write_at(position, &bytes).map_err(|e| self.failed("writing", e))?;
        self.written += self.pending.len();
        self.pending.clear();
        Ok(())
    }

    /// Cuts the file to its used size: at roll and at clean stop (D7).
    pub(crate) fn trim(&mut self) -> Result<(), LogError> {
        // D7
        self.write_pending()?;
        let len = (self.written * E::SIZE) as u64;
        self.file.set_len(len).map_err(|e| self.failed("trimming", e))
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn read(&self, index: usize) -> Result<E, LogError> {
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..E::SIZE];
        self.file.read_at((index * E::SIZE) as u64, bytes).map_err(|e| self.failed("reading", e))?;
        Ok(E::decode(bytes))
    }

    fn failed(&self, doing: &'static str, error: std::io::Error) -> LogError {
        LogError::storage(doing, &self.path, error)
    }

    fn of(storage: &dyn Storage, file: Arc<dyn File>, path: String, capacity: usize) -> IndexFile<E> {
        let preallocate = storage.preallocates();
        IndexFile { file, path, written: 0, pending: Vec::new(), last: None, capacity, preallocate }
    }
}
