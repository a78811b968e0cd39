//! Cutting a log: a follower drops what the leader never had (R24), and forgets it everywhere (D27 to D29).

use super::{Log, next_jitter};
use crate::error::LogError;
use crate::recovery;
use crate::segment::{self, Segment};

impl Log {
    /// Drops everything from `offset` on: the log ends at the start of the batch that holds it (D27). At or above the log's end
    /// no data goes, but epochs that begin there do (D28). Returns the new log end.
    ///
    /// The recovery point in memory follows; the caller writes its checkpoint. The cut itself is synced here.
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already; nothing was cut. [`LogError::Storage`] if the file system
    /// fails, which takes it offline, and [`LogError::Damaged`] if bytes on the way to `offset` are no batch: how much was cut is
    /// open then, and this `Log` does not know; one that is opened anew does.
    pub fn truncate_to(&mut self, offset: i64) -> Result<i64, LogError> {
        self.health.check()?;
        let result = self.cut(offset);
        self.health.note(result)?;
        self.assert_invariants();
        Ok(self.log_end)
    }

    /// Where a follower must cut its log when the leader answers that epoch `epoch` ends at `end_offset` there (R24). After the cut it
    /// fetches again, until both agree.
    pub fn truncation_for(&self, epoch: i32, end_offset: i64) -> i64 {
        // R24
        let target = match self.end_offset_for_epoch(epoch) {
            Some((own, own_end)) if own == epoch => own_end.min(end_offset),
            Some((_, own_end)) => own_end,
            None => end_offset,
        };
        target.min(self.log_end)
    }

    fn cut(&mut self, offset: i64) -> Result<(), LogError> {
        if offset >= self.log_end {
            // D28
            return self.epochs.truncate_from_end(self.log_end);
        }
        if offset < self.segments[0].base_offset {
            return self.start_anew(offset.max(0));
        }
        // D27: later segments first and the last of them first, so that a crash leaves no gap.
        let mut names_changed = false;
        while self.segments.len() > 1 && self.active().base_offset > offset {
            if let Some(segment) = self.segments.pop() {
                segment.remove(&*self.storage)?;
                names_changed = true;
            }
        }
        if names_changed {
            self.storage.sync_dir(&self.dir).map_err(|e| LogError::storage("syncing", &self.dir, e))?;
        }
        self.truncations += 1;
        self.appended_epoch = -1;
        let jitter = next_jitter(&mut self.jitter_seed, &self.config);
        let config = self.config.clone();
        let active = self.active_mut();
        let mut end = offset;
        if let Some(found) = active.find(offset)? {
            end = end.min(found.header.base_offset);
        }
        if active.truncate_to(offset)? {
            active.file.sync().map_err(|e| LogError::storage("syncing", &active.path, e))?;
        }
        active.activate(&config, jitter)?;
        self.log_end = end;
        self.log_start = self.log_start.min(end);
        self.recovery_point = self.recovery_point.min(end);
        self.flushed_bytes = self.appended_bytes;
        self.epochs.truncate_from_end(end)?;
        self.reload_producers()
    }

    /// Drops all data and begins an empty log at `offset` (D29).
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already; nothing was dropped. [`LogError::Storage`] if the file system
    /// fails, which takes it offline: how much was dropped is open then, and this `Log` does not know; one that is opened anew
    /// does.
    pub fn truncate_fully_and_start_at(&mut self, offset: i64) -> Result<(), LogError> {
        self.health.check()?;
        let result = self.start_anew(offset);
        self.health.note(result)?;
        self.assert_invariants();
        Ok(())
    }

    fn start_anew(&mut self, offset: i64) -> Result<(), LogError> {
        // D29
        self.truncations += 1;
        self.appended_epoch = -1;
        let jitter = next_jitter(&mut self.jitter_seed, &self.config);
        while let Some(segment) = self.segments.pop() {
            segment.remove(&*self.storage)?;
        }
        recovery::remove_snapshots(&*self.storage, &self.dir, |_| true)?;
        let segment = Segment::create(&*self.storage, &self.dir, offset, &self.config, 0, jitter)?;
        self.segments.push(segment);
        self.storage.sync_dir(&self.dir).map_err(|e| LogError::storage("syncing", &self.dir, e))?;
        self.unsynced_snapshots.clear();
        self.epochs.clear()?;
        self.producers.clear();
        (self.log_start, self.log_end, self.recovery_point) = (offset, offset, offset);
        self.flushed_bytes = self.appended_bytes;
        Ok(())
    }

    /// Raises the log start; it never falls (D25). Data below it can no longer be read. Returns whether it moved.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE above the log's end; [`LogError::Offline`] if the start would move and the directory is offline already. It
    /// has not moved then.
    pub fn advance_log_start(&mut self, offset: i64) -> Result<bool, LogError> {
        // D25
        if offset > self.log_end {
            return Err(LogError::OffsetOutOfRange {
                offset,
                log_start: self.log_start,
                log_end: self.log_end,
            });
        }
        if offset <= self.log_start {
            return Ok(false);
        }
        self.health.check()?;
        self.log_start = offset;
        self.epochs.forget_before(offset);
        Ok(true)
    }

    /// The producers' state as of the log's end, from the newest snapshot below it and the batches after that (I10).
    fn reload_producers(&mut self) -> Result<(), LogError> {
        // I10
        let end = self.log_end;
        recovery::remove_snapshots(&*self.storage, &self.dir, |offset| offset > end)?;
        self.unsynced_snapshots.retain(|(path, _)| {
            let name = path.rsplit('/').next().unwrap_or_default();
            segment::base_of(name, ".snapshot").is_some_and(|offset| offset <= end)
        });
        self.producers =
            recovery::load_producers(&*self.storage, &self.dir, &self.segments, self.log_start, end)?.states;
        Ok(())
    }
}
