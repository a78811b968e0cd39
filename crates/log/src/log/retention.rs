//! Retention: which of a log's oldest segments go, and how they go (D22 to D24).
//!
//! The decision ([`expired`]) is a function of numbers: sizes, times and offsets in, a count out. Letting go has four steps, so that
//! no reader and no append waits for the file system: under the log's lock the log start moves ([`Log::delete_old_segments`]), and
//! nobody is sent below it; without the lock the files get the suffix `.deleted` ([`Deletion::rename`]); under the lock the
//! segments leave the log ([`Log::complete_deletion`]); and after `file.delete.delay.ms` whoever drives the log removes the
//! files ([`LogDir::remove_files`](crate::LogDir::remove_files)).
//!
//! A crash in between leaves the log as it was before or after: what is still there at the next start under its old name is a
//! segment again, and what has the suffix is removed (D17). That is why the segments stay in the log until their files are gone
//! for good: until then, checkpoints must say where the log starts, and no recovery point may pass what was never synced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Log;
use crate::config::LogConfig;
use crate::error::{DirHealth, LogError};
use crate::recovery;
use crate::segment::{DELETED, SUFFIXES, file_name};
use crate::storage::{self, Storage};

/// Segments below the log start that are to go. One that is dropped changes nothing: the next decision finds them again.
#[derive(Debug)]
#[must_use = "the files are still there before `rename`"]
pub struct Deletion {
    storage: Arc<dyn Storage>,
    dir: String,
    health: DirHealth,
    gone: Arc<AtomicBool>,
    /// Base offsets of the segments, rising.
    bases: Vec<i64>,
    /// Snapshots below belong to no segment any more.
    first_kept: i64,
    bytes: u64,
    delay_ms: u64,
}

impl Deletion {
    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.bases.len()
    }

    /// Bytes of batches in them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// First offset that the log has kept.
    pub fn first_kept(&self) -> i64 {
        self.first_kept
    }

    /// `file.delete.delay.ms`: how long the renamed files stay.
    pub fn delay_ms(&self) -> u64 {
        self.delay_ms
    }

    /// Renames the files to `.deleted`, the oldest first, so that a crash leaves no gap, and syncs the directory. Returns the
    /// new paths, to be removed after [`delay_ms`](Deletion::delay_ms). Who holds one of the files reads on undisturbed.
    ///
    /// # Errors
    /// A failure of the file system takes the data directory offline. None if the log has been deleted meanwhile.
    pub fn rename(&self) -> Result<Vec<String>, LogError> {
        // D23
        let result = self.rename_all();
        self.settle(result)
    }

    /// Removes the files at once: for storage in memory, where a reader has the bytes and not the file.
    ///
    /// # Errors
    /// As [`rename`](Deletion::rename).
    pub fn remove(&self) -> Result<(), LogError> {
        let result = self.names().and_then(|names| {
            names.iter().try_for_each(|name| {
                crate::segment::remove_if_there(&*self.storage, &storage::join(&self.dir, name))
            })
        });
        self.settle(result)
    }

    fn rename_all(&self) -> Result<Vec<String>, LogError> {
        let mut renamed = Vec::new();
        for name in self.names()? {
            let from = storage::join(&self.dir, &name);
            let to = format!("{from}{DELETED}");
            match self.storage.rename(&from, &to) {
                Ok(()) => renamed.push(to),
                // Not every segment has every file.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(LogError::storage("renaming", &from, e)),
            }
        }
        self.storage.sync_dir(&self.dir).map_err(|e| LogError::storage("syncing", &self.dir, e))?;
        Ok(renamed)
    }

    fn names(&self) -> Result<Vec<String>, LogError> {
        let segments =
            self.bases.iter().flat_map(|base| SUFFIXES.iter().map(|suffix| file_name(*base, suffix)));
        // I11: what no segment needs any more, also one of a clean stop in between
        let snapshots = recovery::snapshots(&*self.storage, &self.dir)?.into_iter();
        let old = snapshots.filter(|offset| *offset < self.first_kept);
        Ok(segments.chain(old.map(|offset| file_name(offset, ".snapshot"))).collect())
    }

    fn settle<T: Default>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        match result {
            // The topic was deleted while this ran, and its directory has another name: all of it goes anyway.
            Err(_) if self.gone.load(Ordering::Acquire) => Ok(T::default()),
            result => self.health.note(result),
        }
    }
}

impl Log {
    /// Moves the log start behind the oldest segments that `retention.bytes`, `retention.ms` and the log start itself no longer
    /// keep (D22, D23). If all segments go, an empty one is begun before. `None`: nothing to do.
    ///
    /// `high_watermark`: nothing at or above it goes, whatever the settings say.
    ///
    /// The caller runs [`Deletion::rename`] without the log's lock, and then calls
    /// [`complete_deletion`](Log::complete_deletion).
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already, unless there is nothing to do; [`LogError::Storage`] if the
    /// empty segment cannot be begun, which takes it offline. The log start has not moved then, and no segment goes.
    pub fn delete_old_segments(
        &mut self,
        now_ms: i64,
        high_watermark: i64,
    ) -> Result<Option<Deletion>, LogError> {
        let facts: Vec<Facts> = self
            .segments
            .iter()
            .map(|s| Facts { base_offset: s.base_offset, size: s.size, time_ms: s.time_ms() })
            .collect();
        let ends = Ends { log_start: self.log_start, log_end: self.log_end, high_watermark };
        let count = expired(&facts, ends, Policy::of(&self.config), now_ms);
        if count == 0 {
            return Ok(None);
        }
        self.health.check()?;
        if count == self.segments.len() {
            // D22: so the active segment can expire too
            let rolled = self.roll(self.log_end, now_ms);
            self.health.note(rolled)?;
        }
        let first_kept = self.segments[count].base_offset;
        // D23, U8: from here on nobody is sent to these segments.
        self.log_start = self.log_start.max(first_kept);
        self.epochs.forget_before(self.log_start);
        let bases = self.segments[..count].iter().map(|s| s.base_offset).collect();
        self.assert_invariants();
        Ok(Some(Deletion {
            storage: Arc::clone(&self.storage),
            dir: self.dir.clone(),
            health: self.health.clone(),
            gone: Arc::clone(&self.gone),
            bases,
            first_kept,
            bytes: facts[..count].iter().map(|f| f.size).sum(),
            delay_ms: self.config.file_delete_delay_ms,
        }))
    }

    /// Takes the segments of a deletion out of the log, after their files were [renamed](Deletion::rename).
    pub fn complete_deletion(&mut self, deletion: &Deletion) {
        let first_kept = deletion.first_kept;
        if self.segments.last().is_none_or(|active| active.base_offset < first_kept) {
            return; // the log was cut meanwhile, and has begun anew below, or has failed at that
        }
        self.segments.retain(|s| s.base_offset >= first_kept);
        // What is gone needs no sync.
        self.recovery_point = self.recovery_point.max(first_kept);
        self.unsynced_snapshots.retain(|(path, _)| {
            let name = path.rsplit('/').next().unwrap_or_default();
            crate::segment::base_of(name, ".snapshot").is_none_or(|offset| offset >= first_kept)
        });
        self.assert_invariants();
    }
}

/// What retention looks at of a segment.
#[derive(Debug, Clone, Copy)]
struct Facts {
    base_offset: i64,
    /// Bytes of batches.
    size: u64,
    /// Largest timestamp, or the file's time if it has none.
    time_ms: i64,
}

/// Where a log begins and ends.
#[derive(Debug, Clone, Copy)]
struct Ends {
    log_start: i64,
    log_end: i64,
    high_watermark: i64,
}

/// A topic's settings. Negative: no limit.
#[derive(Debug, Clone, Copy)]
struct Policy {
    /// `cleanup.policy` contains delete.
    delete: bool,
    retention_bytes: i64,
    retention_ms: i64,
}

impl Policy {
    fn of(config: &LogConfig) -> Policy {
        Policy {
            delete: config.delete,
            retention_bytes: config.retention_bytes,
            retention_ms: config.retention_ms,
        }
    }
}

/// How many of the oldest segments go: up to the first that stays (D22).
fn expired(segments: &[Facts], ends: Ends, policy: Policy, now_ms: i64) -> usize {
    // D22
    let mut total: u64 = segments.iter().map(|s| s.size).sum();
    let mut count = 0;
    for (i, segment) in segments.iter().enumerate() {
        let next_base = segments.get(i + 1).map(|next| next.base_offset);
        let end = next_base.unwrap_or(ends.log_end);
        if end > ends.high_watermark || (next_base.is_none() && segment.size == 0) {
            break;
        }
        let below_start = end <= ends.log_start && next_base.is_some();
        // D24
        let too_large = policy.delete
            && u64::try_from(policy.retention_bytes).is_ok_and(|keep| total - segment.size >= keep);
        let too_old = policy.delete
            && policy.retention_ms >= 0
            && now_ms.saturating_sub(segment.time_ms) > policy.retention_ms;
        if !(below_start || too_large || too_old) {
            break;
        }
        total -= segment.size;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: Policy = Policy { delete: true, retention_bytes: -1, retention_ms: -1 };

    /// Segments of ten offsets each.
    fn facts(sizes: &[u64], times: &[i64]) -> Vec<Facts> {
        let with = sizes.iter().zip(times).enumerate();
        with.map(|(i, (size, time))| Facts { base_offset: i as i64 * 10, size: *size, time_ms: *time })
            .collect()
    }

    fn all(count: i64) -> Ends {
        Ends { log_start: 0, log_end: count * 10, high_watermark: count * 10 }
    }

    #[test]
    fn size_keeps_at_least_what_it_says() {
        // D22
        let segments = facts(&[100, 100, 100, 50], &[0; 4]);
        let keeping = |bytes| expired(&segments, all(4), Policy { retention_bytes: bytes, ..NONE }, 0);
        assert_eq!(keeping(-1), 0);
        assert_eq!(keeping(251), 0, "250 would be too little");
        assert_eq!(keeping(250), 1);
        assert_eq!(keeping(149), 2);
        assert_eq!(keeping(50), 3);
        assert_eq!(keeping(0), 4, "also the active one");
    }

    #[test]
    fn age_counts_from_the_largest_timestamp_and_stops_at_the_first_that_stays() {
        // D22
        let segments = facts(&[1; 4], &[100, 500, 200, 700]);
        let keeping = |ms| expired(&segments, all(4), Policy { retention_ms: ms, ..NONE }, 1000);
        assert_eq!(keeping(900), 0, "900 old is not older than 900");
        assert_eq!(keeping(899), 1);
        assert_eq!(keeping(500), 1, "the third is old enough, the second is not");
        assert_eq!(keeping(299), 4);
        assert_eq!(keeping(-1), 0);
        let future = facts(&[1, 1], &[i64::MAX, 0]);
        assert_eq!(expired(&future, all(2), Policy { retention_ms: 0, ..NONE }, 1000), 0);
    }

    #[test]
    fn nothing_goes_that_reaches_the_high_watermark() {
        // D22
        let segments = facts(&[1; 3], &[0; 3]);
        let policy = Policy { retention_ms: 0, retention_bytes: 0, ..NONE };
        let with = |high_watermark| expired(&segments, Ends { high_watermark, ..all(3) }, policy, 1000);
        assert_eq!([with(9), with(10), with(19), with(29), with(30)], [0, 1, 1, 2, 3]);
    }

    #[test]
    fn without_delete_only_what_lies_below_the_log_start_goes() {
        // D24
        let segments = facts(&[1; 3], &[0; 3]);
        let policy = Policy { delete: false, retention_ms: 0, retention_bytes: 0 };
        let with = |log_start| expired(&segments, Ends { log_start, ..all(3) }, policy, 1000);
        assert_eq!([with(0), with(9), with(10), with(20), with(30)], [0, 0, 1, 2, 2]);
    }

    #[test]
    fn an_empty_active_segment_stays() {
        // D22
        let mut segments = facts(&[1, 0], &[0, 0]);
        let policy = Policy { retention_ms: 0, ..NONE };
        assert_eq!(
            expired(&segments, Ends { log_end: 10, high_watermark: 10, log_start: 0 }, policy, 1000),
            1
        );
        segments.remove(0);
        assert_eq!(
            expired(&segments, Ends { log_end: 10, high_watermark: 10, log_start: 10 }, policy, 1000),
            0
        );
    }

    proptest! {
        /// Kafka runs three passes, one per rule, each over what the one before has left.
        #[test]
        fn one_pass_decides_as_three(
            shape in prop::collection::vec((0u64..50, 0i64..100), 1..12),
            delete: bool,
            retention_bytes in -1i64..300,
            retention_ms in -1i64..100,
            log_start in 0i64..130,
            high_watermark in 0i64..130,
        ) {
            let (sizes, times): (Vec<u64>, Vec<i64>) = shape.into_iter().unzip();
            let segments = facts(&sizes, &times);
            let log_end = segments.len() as i64 * 10;
            let ends = Ends { log_start: log_start.min(log_end), log_end, high_watermark: high_watermark.min(log_end) };
            let policy = Policy { delete, retention_bytes, retention_ms };
            let mut left = &segments[..];
            let pass = |left: &[Facts], goes: &mut dyn FnMut(&Facts, Option<i64>) -> bool| {
                let stays = (0..left.len()).find(|i| {
                    let next = left.get(i + 1).map(|n| n.base_offset);
                    next.unwrap_or(log_end) > ends.high_watermark
                        || (next.is_none() && left[*i].size == 0)
                        || !goes(&left[*i], next)
                });
                stays.unwrap_or(left.len())
            };
            left = &left[pass(left, &mut |_, next| next.is_some_and(|base| base <= ends.log_start))..];
            if delete {
                let total: u64 = left.iter().map(|s| s.size).sum();
                let mut over = total as i64 - retention_bytes;
                left = &left[pass(left, &mut |s, _| {
                    over -= s.size as i64;
                    retention_bytes >= 0 && over >= 0
                })..];
                left = &left[pass(left, &mut |s, _| retention_ms >= 0 && 100 - s.time_ms > retention_ms)..];
            }
            prop_assert_eq!(expired(&segments, ends, policy, 100), segments.len() - left.len());
        }
    }
}
