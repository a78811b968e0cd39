//! One partition's log: what a record's journey ends in.
//!
//! A [`Log`] owns a directory of segments. The leader appends one batch at a time ([`Log::append_as_leader`]): validate,
//! place at the log's end, patch offset and epoch, write. A follower appends what the leader has, byte for byte
//! ([`Log::append_as_follower`]). Readers get the same bytes back, whole batches only ([`Log::read`]).
//!
//! A log has a single owner: appends take `&mut self`, reads `&self`; the broker keeps it behind the partition's lock. It
//! reads no clock and draws no randomness: both are handed in. It knows no high watermark: `end` of a read is the caller's.

pub(crate) mod append;
mod flush;
mod read;
mod retention;
mod truncate;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rohrpost_record::Compressor;

pub use self::append::{AppendInfo, AppendOrigin, FollowerAppend, LeaderChecks, check_produce_shape};
pub use self::flush::Flush;
pub use self::read::{Read, TimestampOffset};
pub use self::retention::Deletion;

use crate::config::LogConfig;
use crate::epochs::{self, LeaderEpochs};
use crate::error::{DirHealth, LogError};
use crate::producer_state::{Producer, ProducerStates};
use crate::recovery;
use crate::segment::Segment;
use crate::storage::{self, NamedFile, OpenMode, Storage};

/// How a log is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The last stop was a clean one: files are trusted (D15).
    pub clean: bool,
    /// Offset up to which the log is known to be synced; 0 if unknown (D19).
    pub recovery_point: i64,
    /// Checkpointed log start; 0 if unknown. A new log begins there (D18).
    pub log_start: i64,
    /// The clock, ms since 1970.
    pub now_ms: i64,
    /// Health of the data directory, shared by its logs (D30).
    pub health: DirHealth,
    /// Seed for `segment.jitter.ms`.
    pub seed: u64,
}

/// A partition's log. See the module.
#[derive(Debug)]
pub struct Log {
    storage: Arc<dyn Storage>,
    dir: String,
    config: LogConfig,
    health: DirHealth,
    /// By base offset; never empty; the last one is active.
    segments: Vec<Segment>,
    log_start: i64,
    /// Offset of the next record.
    log_end: i64,
    epochs: LeaderEpochs,
    producers: ProducerStates,
    recovery_point: i64,
    /// Latest leader epoch appended since the log was opened or cut; -1 at first. What the files say is not asserted.
    appended_epoch: i32,
    /// Bytes ever appended by this `Log`, and how many of them were flushed.
    appended_bytes: u64,
    flushed_bytes: u64,
    /// How often names in the directory have changed, and up to which change it was synced (D14).
    dir_changes: u64,
    dir_synced: u64,
    /// How often the log was cut: a flush that was prepared before says nothing about what came after.
    truncations: u64,
    /// Producer snapshots written since the last flush (D11).
    unsynced_snapshots: Vec<NamedFile>,
    /// Syncs by `flush.messages` are the owner's.
    owner_flushes: bool,
    /// Told to those who work on the files without the log: it is no more.
    gone: Arc<AtomicBool>,
    jitter_seed: u64,
    /// For decompressed records; reused.
    scratch: Vec<u8>,
    compressor: Option<Compressor>,
}

impl Log {
    /// Opens the log in `dir`, creating directory and first segment if there are none, and recovering what an unclean
    /// stop has left (D15 to D19). Damaged files never make this fail; only an I/O error does.
    ///
    /// # Errors
    /// [`LogError::Offline`] if `options.health` is offline already; [`LogError::Storage`] if the file system fails, which takes
    /// it offline. What a crash has left may be repaired in part then.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: &str,
        config: LogConfig,
        options: OpenOptions,
    ) -> Result<Log, LogError> {
        let health = options.health.clone();
        health.check()?;
        let result = Log::load(storage, dir, config, options);
        health.note(result)
    }

    fn load(
        storage: Arc<dyn Storage>,
        dir: &str,
        config: LogConfig,
        options: OpenOptions,
    ) -> Result<Log, LogError> {
        storage.create_dir(dir).map_err(|e| LogError::storage("creating", dir, e))?;
        let mut epochs = LeaderEpochs::open(Arc::clone(&storage), storage::join(dir, epochs::FILE))?;
        let mut loaded = recovery::load(&*storage, dir, &config, &options, &mut epochs)?;
        let mut seed = options.seed;
        let jitter = next_jitter(&mut seed, &config);
        if let Some(active) = loaded.segments.last_mut() {
            active.activate(&config, jitter)?;
        }
        let log = Log {
            storage,
            dir: dir.to_owned(),
            config,
            health: options.health,
            segments: loaded.segments,
            log_start: loaded.log_start,
            log_end: loaded.log_end,
            epochs,
            producers: loaded.producers,
            recovery_point: loaded.recovery_point,
            appended_epoch: -1,
            appended_bytes: 0,
            flushed_bytes: 0,
            dir_changes: 1,
            dir_synced: 0,
            truncations: 0,
            unsynced_snapshots: loaded.snapshot.into_iter().collect(),
            owner_flushes: false,
            gone: Arc::default(),
            jitter_seed: seed,
            scratch: Vec::new(),
            compressor: None,
        };
        log.assert_invariants();
        Ok(log)
    }

    /// First offset that can be read.
    pub fn log_start_offset(&self) -> i64 {
        self.log_start
    }

    /// One past the last offset: where the next record goes (LEO).
    pub fn log_end_offset(&self) -> i64 {
        self.log_end
    }

    /// Offset up to which everything is on disk (D19).
    pub fn recovery_point(&self) -> i64 {
        self.recovery_point
    }

    /// Records appended since the last flush.
    pub fn unflushed_messages(&self) -> u64 {
        (self.log_end - self.recovery_point).max(0) as u64
    }

    /// Bytes appended since the last flush.
    pub fn unflushed_bytes(&self) -> u64 {
        self.appended_bytes - self.flushed_bytes
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.size).sum()
    }

    /// What the log start checkpoint should say: the log start, if it lies above the base of the first segment.
    pub fn log_start_checkpoint(&self) -> Option<i64> {
        self.segments.first().filter(|s| self.log_start > s.base_offset).map(|_| self.log_start)
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// First offset of the earliest open transaction, if any: the last stable offset lies at or below it.
    pub fn first_open_transaction_offset(&self) -> Option<i64> {
        self.producers.first_open_offset()
    }

    /// What is known of a producer id (I1).
    pub fn producer(&self, producer_id: i64) -> Option<&Producer> {
        self.producers.get(producer_id)
    }

    /// All producers known, in no order.
    pub fn producers(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.producers.iter()
    }

    /// Forgets producers silent for longer than `producer.id.expiration.ms` (I9).
    pub fn expire_producers(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.expire(now_ms, expiration_ms);
    }

    /// The latest leader epoch with its start offset.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.latest().map(|(epoch, _)| epoch)
    }

    /// Leader epochs with their start offsets, rising.
    pub fn epochs(&self) -> &[(i32, i64)] {
        self.epochs.entries()
    }

    /// The leader epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.epochs.epoch_at(offset)
    }

    /// Largest epoch ≤ `epoch` that the log knows, and where it ends; `None` if undefined (R25).
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.end_offset_for(epoch, self.log_end)
    }

    /// A new leader notes where its epoch begins (R16). On disk when this returns (D14).
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already; nothing has changed then. [`LogError::Storage`] if the file
    /// cannot be replaced, which takes the directory offline: this `Log` has the epoch then, the file has it or not.
    pub fn assign_epoch(&mut self, leader_epoch: i32) -> Result<(), LogError> {
        self.health.check()?;
        let result = self.epochs.assign(leader_epoch, self.log_end);
        self.health.note(result)
    }

    /// Where its files are.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The directory.
    pub fn dir(&self) -> &str {
        &self.dir
    }

    /// The configuration in force.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Replaces the configuration; it holds from the next append on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// Health of the data directory.
    pub fn health(&self) -> &DirHealth {
        &self.health
    }

    /// Call it only while the directory is online: a log that has failed to begin anew has no segment.
    fn active(&self) -> &Segment {
        match self.segments.last() {
            Some(segment) => segment,
            None => unreachable!("a log always has an active segment"),
        }
    }

    fn active_mut(&mut self) -> &mut Segment {
        match self.segments.last_mut() {
            Some(segment) => segment,
            None => unreachable!("a log always has an active segment"),
        }
    }

    /// Closes the active segment and begins one at `base_offset` (D11). The old one is synced by the next flush.
    fn roll(&mut self, base_offset: i64, now_ms: i64) -> Result<(), LogError> {
        // D11
        let jitter = next_jitter(&mut self.jitter_seed, &self.config);
        if self.active().size == 0 {
            // Nothing to keep: an empty segment gives way to the new one.
            if let Some(empty) = self.segments.pop() {
                empty.remove(&*self.storage)?;
            }
        } else {
            self.active_mut().finish()?;
            // I11: named by the new base.
            self.write_snapshot(base_offset)?;
        }
        let segment = Segment::create(&*self.storage, &self.dir, base_offset, &self.config, now_ms, jitter)?;
        self.segments.push(segment);
        self.dir_changes += 1;
        Ok(())
    }

    /// Writes the producers' state as of `offset`; synced by the next flush.
    fn write_snapshot(&mut self, offset: i64) -> Result<(), LogError> {
        let snapshot = write_snapshot(&*self.storage, &self.dir, offset, &self.producers)?;
        self.unsynced_snapshots.push(snapshot);
        self.dir_changes += 1;
        Ok(())
    }

    /// Chapter 23 of the reference, invariants 1 to 3, as far as a log knows them.
    fn assert_invariants(&self) {
        debug_assert!(self.log_start <= self.log_end, "invariant 1: log start ≤ LEO");
        debug_assert!(self.recovery_point <= self.log_end, "the recovery point lies within the log");
        debug_assert!(
            self.epochs.latest().is_none_or(|(_, start)| start <= self.log_end),
            "invariant 2: the last epoch starts at or below the LEO"
        );
        debug_assert!(
            self.epochs.entries().first().is_none_or(|(_, start)| *start >= self.log_start),
            "invariant 2: the first epoch starts at or above the log start"
        );
        debug_assert!(
            self.segments.windows(2).all(|w| w[0].base_offset < w[1].base_offset),
            "invariant 3: segments are in order"
        );
        debug_assert!(self.active().base_offset <= self.log_end, "the active segment holds the LEO");
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Release);
    }
}

/// Writes `<offset>.snapshot` without syncing it (D11).
pub(crate) fn write_snapshot(
    storage: &dyn Storage,
    dir: &str,
    offset: i64,
    producers: &ProducerStates,
) -> Result<NamedFile, LogError> {
    let path = storage::join(dir, &crate::segment::file_name(offset, ".snapshot"));
    let written = storage.open(&path, OpenMode::Truncate).and_then(|file| {
        file.write_at(0, &producers.to_snapshot())?;
        Ok(file)
    });
    let file = written.map_err(|e| LogError::storage("writing", &path, e))?;
    Ok((path, file))
}

/// A number from [0, `segment.jitter.ms`), from a small generator of its own: no two segments should roll together. At most
/// `segment.ms`, or no batch would ever find its segment young enough.
fn next_jitter(seed: &mut u64, config: &LogConfig) -> i64 {
    // D10
    let max_ms = config.segment_jitter_ms.min(config.segment_ms);
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    if max_ms <= 0 { 0 } else { (z % max_ms as u64) as i64 }
}
