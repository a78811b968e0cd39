//! Making appends durable, so that one sync serves all appends before it (U3, group commit).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Log;
use crate::error::{DirHealth, LogError};
use crate::storage::{NamedFile, Storage};

/// A sync that is about to run, without the log: [`Log::prepare_flush`] makes it under the partition's lock, [`Flush::run`]
/// waits for the disk outside of it, [`Log::complete_flush`] moves the recovery point. Appends go on meanwhile (D12). One that is
/// dropped instead changes nothing: the next one covers the same.
#[derive(Debug)]
#[must_use = "nothing is synced before `run`"]
pub struct Flush {
    storage: Arc<dyn Storage>,
    dir: String,
    sync_dir: bool,
    files: Vec<NamedFile>,
    health: DirHealth,
    gone: Arc<AtomicBool>,
    upto: i64,
    appended_bytes: u64,
    dir_changes: u64,
    truncations: u64,
}

impl Flush {
    /// The log end that is durable once this has run.
    pub fn upto(&self) -> i64 {
        self.upto
    }

    /// Syncs data, and the directory if names in it changed (D14). A failure takes the directory offline and must not be
    /// tried again (D31).
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already; nothing was synced. [`LogError::Storage`] if a sync fails: what
    /// of the appends since the last good flush is on disk is open then. A failed sync is none if the log was dropped meanwhile.
    pub fn run(&self) -> Result<(), LogError> {
        self.health.check()?;
        match self.sync() {
            // The log was deleted while this ran, and its directory has another name: nothing is left to be synced.
            Err(_) if self.gone.load(Ordering::Acquire) => Ok(()),
            result => self.health.note(result),
        }
    }

    fn sync(&self) -> Result<(), LogError> {
        for (path, file) in &self.files {
            file.sync().map_err(|e| LogError::storage("syncing", path, e))?;
        }
        if self.sync_dir {
            // D14
            self.storage.sync_dir(&self.dir).map_err(|e| LogError::storage("syncing", &self.dir, e))?;
        }
        Ok(())
    }
}

impl Log {
    /// Everything appended so far is durable when this returns (D13, D14). The simple form of the three calls below.
    ///
    /// # Errors
    /// As [`prepare_flush`](Log::prepare_flush) and [`Flush::run`]. The recovery point stays where it was.
    pub fn flush(&mut self) -> Result<(), LogError> {
        let flush = self.prepare_flush()?;
        flush.run()?;
        self.complete_flush(flush);
        Ok(())
    }

    /// What has to be synced for everything appended so far.
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already; [`LogError::Storage`] if the last index entries of a closed
    /// segment cannot be written, which takes it offline. Nothing was synced.
    pub fn prepare_flush(&mut self) -> Result<Flush, LogError> {
        self.health.check()?;
        let dirty = self.recovery_point < self.log_end || !self.unsynced_snapshots.is_empty();
        let files = if dirty { self.files_to_sync() } else { Ok(Vec::new()) };
        let files = self.health.note(files)?;
        Ok(Flush {
            storage: Arc::clone(&self.storage),
            dir: self.dir.clone(),
            sync_dir: self.dir_changes > self.dir_synced,
            files,
            health: self.health.clone(),
            gone: Arc::clone(&self.gone),
            upto: self.log_end,
            appended_bytes: self.appended_bytes,
            dir_changes: self.dir_changes,
            truncations: self.truncations,
        })
    }

    /// Takes note of a flush that [`ran`](Flush::run) without error.
    pub fn complete_flush(&mut self, flush: Flush) {
        if flush.truncations != self.truncations {
            // What it has synced may be gone, and other bytes in its place.
            return;
        }
        self.recovery_point = self.recovery_point.max(flush.upto);
        self.flushed_bytes = self.flushed_bytes.max(flush.appended_bytes);
        self.dir_synced = self.dir_synced.max(flush.dir_changes);
        self.unsynced_snapshots
            .retain(|(_, file)| !flush.files.iter().any(|(_, synced)| Arc::ptr_eq(file, synced)));
        self.assert_invariants();
    }

    /// Leaves syncs by `flush.messages` to the owner, who asks [`flush_due`](Log::flush_due) after each append and syncs without
    /// the log's lock, so that one sync serves many appends (U3).
    pub fn leave_flushes_to_owner(&mut self) {
        self.owner_flushes = true;
    }

    /// Whether `flush.messages` records are unsynced (L10).
    pub fn flush_due(&self) -> bool {
        // L10, U3
        self.unflushed_messages() >= self.config.flush_messages
    }

    /// Whether a segment was closed since the last flush, so that a background flush is due (D11).
    pub fn needs_flush_after_roll(&self) -> bool {
        self.segments.last().is_some_and(|active| self.recovery_point < active.base_offset)
    }

    /// Syncs everything, trims the indexes and writes a producer snapshot at the log's end (D21). The recovery point that
    /// goes into the checkpoint is the result.
    ///
    /// # Errors
    /// After an error the directory must not get its clean-shutdown file.
    pub fn close(mut self) -> Result<i64, LogError> {
        // D21
        self.health.check()?;
        let result = self.finish();
        self.health.clone().note(result)?;
        Ok(self.recovery_point)
    }

    fn finish(&mut self) -> Result<(), LogError> {
        self.active_mut().finish()?;
        self.epochs.write_if_changed()?;
        // I11
        self.write_snapshot(self.log_end)?;
        let mut files = self.files_to_sync()?;
        if let Some(active) = self.segments.last_mut() {
            files.extend(active.files(false)?);
        }
        for (path, file) in &files {
            file.sync().map_err(|e| LogError::storage("syncing", path, e))?;
        }
        self.storage.sync_dir(&self.dir).map_err(|e| LogError::storage("syncing", &self.dir, e))?;
        self.recovery_point = self.log_end;
        Ok(())
    }

    fn files_to_sync(&mut self) -> Result<Vec<NamedFile>, LogError> {
        let mut files = self.unsynced_snapshots.clone();
        let last = self.segments.len() - 1;
        // From the segment that holds the recovery point on.
        let first = self.segments.partition_point(|s| s.base_offset <= self.recovery_point).saturating_sub(1);
        for (i, segment) in self.segments.iter_mut().enumerate().skip(first) {
            files.extend(segment.files(i == last)?);
        }
        Ok(files)
    }
}
