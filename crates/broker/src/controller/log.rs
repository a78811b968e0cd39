//! The metadata log `__cluster_metadata-0`: batches of records, in Kafka's format, in a partition log of `rohrpost-log`.
//!
//! Recovery after a crash, torn tails, indexes and segments come from that log; here is what makes it a metadata log: each
//! controller epoch begins with a LeaderChange control record (C7), a change is one batch or one metadata transaction (C5),
//! and it is synced before anybody hears of it (C21). Kafka's dump tool reads the files with its cluster-metadata decoder (C26).
//!
//! Snapshots (C6) bound it: when [`MetadataLog::snapshot_due`] says so, the image is written as one, and what is older than the
//! oldest snapshot that is kept goes. A start reads the newest whole snapshot and the log after it.

use std::fmt;

use rohrpost_log::{Log, LogConfig, LogError};
use rohrpost_protocol::metadata_log::{BeginTransactionRecord, EndTransactionRecord, MetadataRecord};
use rohrpost_record::control::{ControlType, LeaderChange, LeaderVoter};
use rohrpost_record::{Attributes, BatchBuilder, Batches, HEADER_LEN, NO_HEADERS, Stamp, patch, stamp};

use super::records;
use super::snapshot::{Snapshot, SnapshotId, Snapshots};
use super::source::ApiError;
use crate::config::BrokerConfig;
use crate::metadata::{ApplyError, MetadataImage, Replay};

/// Largest batch that is written, unless one record alone is larger. Bytes.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// How much of the log is read at a time while it is replayed. Bytes.
const READ_BYTES: usize = 4 << 20;

/// The log of one controller. See the module.
#[derive(Debug)]
pub struct MetadataLog {
    log: Log,
    epoch: i32,
    snapshots: Snapshots,
    policy: SnapshotPolicy,
    /// Of the newest snapshot, or of the first append without one; ms.
    snapshot_ms: Option<i64>,
    /// Bytes appended since the newest snapshot.
    bytes_since_snapshot: u64,
    /// Time of the last append, ms.
    appended_ms: i64,
}

/// When snapshots are written and how long they are kept: four keys of Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub bytes_between: u64,
    /// `metadata.log.max.snapshot.interval.ms`; 0 = no matter.
    pub interval_ms: i64,
    /// `metadata.max.retention.bytes`, of log and snapshots; negative = no limit.
    pub retention_bytes: i64,
    /// `metadata.max.retention.ms`; negative = no limit.
    pub retention_ms: i64,
}

/// A metadata log that cannot be read or written.
#[derive(Debug)]
pub enum MetadataLogError {
    /// The disk, or the log below.
    Log(LogError),
    /// A record that this version cannot apply (C4).
    Apply(ApplyError),
    /// Bytes in the log that are no records.
    Damaged {
        /// First offset of the batch.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// A record that cannot be written.
    Encode(ApiError),
    /// A snapshot that cannot be read or written.
    Snapshot(String),
}

impl MetadataLog {
    /// Takes an opened log: `__cluster_metadata`, partition 0, [topic id](crate::metadata::CLUSTER_METADATA_TOPIC_ID), with
    /// [`MetadataLog::config`].
    pub fn new(log: Log) -> MetadataLog {
        MetadataLog::with_policy(log, SnapshotPolicy::default())
    }

    /// The same with other snapshots than by default.
    pub fn with_policy(log: Log, policy: SnapshotPolicy) -> MetadataLog {
        let epoch = log.latest_epoch().unwrap_or(0);
        let snapshots = Snapshots::new(log.storage().clone(), log.dir());
        MetadataLog {
            log,
            epoch,
            snapshots,
            policy,
            snapshot_ms: None,
            bytes_since_snapshot: 0,
            appended_ms: 0,
        }
    }

    /// The settings that the log is to be opened with.
    pub fn config(segment_bytes: u32) -> LogConfig {
        LogConfig {
            segment_bytes,
            // a change may be of any size; batches above BATCH_BYTES_MAX hold one record
            max_message_bytes: i32::MAX as u32,
            // nothing of a metadata log expires but what a snapshot contains
            retention_ms: -1,
            retention_bytes: -1,
            ..LogConfig::default()
        }
    }

    /// Applies the newest whole snapshot and everything in the log after it. `replay` is one that has seen nothing yet. What an
    /// unfinished transaction left stays open in it: the next epoch begins with its end
    /// ([`Controller::begin_epoch`](super::Controller::begin_epoch)).
    ///
    /// # Errors
    /// What cannot be read or applied; and a log that begins after the newest snapshot: what lay between is lost.
    pub fn replay(&mut self, replay: &mut Replay) -> Result<(), MetadataLogError> {
        let from = self.load_snapshot(replay)?;
        if from > self.log.log_end_offset() {
            // the snapshot was written from what was synced: the log has lost its end, and the snapshot has it
            tracing::warn!(
                offset = from,
                "the metadata log ends before its snapshot; going on from the snapshot"
            );
            self.log.truncate_fully_and_start_at(from)?;
        }
        let start = self.log.log_start_offset();
        if start > from {
            return Err(MetadataLogError::Damaged {
                offset: start,
                reason: format!(
                    "the log begins here, and no snapshot is whole that says what was before; restore one of \
                     {}/*.checkpoint from a backup",
                    self.log.dir()
                ),
            });
        }
        self.replay_log(from, replay)
    }

    /// Applies the newest whole snapshot. The answer is the offset to go on from.
    fn load_snapshot(&mut self, replay: &mut Replay) -> Result<i64, MetadataLogError> {
        // C6
        self.snapshots.remove_parts().map_err(snapshot_failed)?;
        for id in self.snapshots.list().map_err(snapshot_failed)?.into_iter().rev() {
            let snapshot = match self.snapshots.read(id).map_err(snapshot_failed)? {
                Ok(snapshot) => snapshot,
                Err(reason) => {
                    let offset = id.end_offset;
                    tracing::warn!(offset, %reason, "a snapshot of the metadata log is damaged; using an older one");
                    continue;
                }
            };
            for value in &snapshot.values {
                replay.apply(id.end_offset - 1, id.epoch, value)?;
            }
            replay.passed(id.end_offset - 1, id.epoch);
            self.epoch = self.epoch.max(id.epoch);
            self.snapshot_ms = Some(snapshot.timestamp_ms);
            return Ok(id.end_offset);
        }
        Ok(0)
    }

    fn replay_log(&mut self, from: i64, replay: &mut Replay) -> Result<(), MetadataLogError> {
        let end = self.log.log_end_offset();
        let mut offset = from;
        let mut scratch = Vec::new();
        while offset < end {
            let read = self.log.read(offset, READ_BYTES, end, true)?;
            if read.next_offset <= offset {
                return Err(MetadataLogError::Damaged {
                    offset,
                    reason: "the log cannot be read on".to_owned(),
                });
            }
            replay_batches(&read.records, from, replay, &mut scratch)?;
            self.bytes_since_snapshot += read.records.len() as u64;
            offset = read.next_offset;
        }
        Ok(())
    }

    /// Begins a controller epoch, one above the last, with its LeaderChange record (C7). It is synced with the
    /// epoch's first change: nobody is told anything before that. Returns the record's offset.
    ///
    /// # Errors
    /// The log cannot be written. After that it must not be used any more (D31).
    pub fn begin_epoch(&mut self, leader_id: i32, now_ms: i64) -> Result<i64, MetadataLogError> {
        // C7
        self.epoch += 1;
        let voters = vec![LeaderVoter { id: leader_id, directory_id: [0; 16] }];
        let change = LeaderChange { version: 0, leader_id, granting_voters: voters.clone(), voters };
        let mut value = Vec::new();
        change.encode(&mut value, 0);
        let key = ControlType::LeaderChange.key();
        let mut batch = BatchWriter::new(true);
        batch.push(now_ms, Some(&key), &value);
        let offset = self.log.log_end_offset();
        self.log.append_as_follower(&batch.finish(offset, self.epoch), self.epoch, now_ms)?;
        Ok(offset)
    }

    /// The values as they will lie in the log, with the offset of the first: a change that must take effect at once and does not
    /// fit into one batch gets its transaction's Begin and End (C5).
    ///
    /// # Errors
    /// These two records cannot be encoded. Nothing was written.
    pub fn prepare(
        &self,
        mut values: Vec<Vec<u8>>,
        atomic: bool,
    ) -> Result<(i64, Vec<Vec<u8>>), MetadataLogError> {
        if atomic && batches(&values).count() > 1 {
            let encode =
                |record: MetadataRecord<'_>| records::encode(&record).map_err(MetadataLogError::Encode);
            values.insert(0, encode(BeginTransactionRecord::default().into())?);
            values.push(encode(EndTransactionRecord::default().into())?);
        }
        Ok((self.log.log_end_offset(), values))
    }

    /// Appends prepared values and syncs (C21).
    ///
    /// # Errors
    /// After an error nobody knows what the disk holds: the log must not be used any more (D31).
    pub fn append(&mut self, values: &[Vec<u8>], now_ms: i64) -> Result<(), MetadataLogError> {
        if values.is_empty() {
            return Ok(());
        }
        let mut offset = self.log.log_end_offset();
        let mut bytes = Vec::new();
        for part in batches(values) {
            let mut batch = BatchWriter::new(false);
            for value in part {
                batch.push(now_ms, None, value);
            }
            bytes.extend_from_slice(&batch.finish(offset, self.epoch));
            offset += part.len() as i64;
        }
        self.log.append_as_follower(&bytes, self.epoch, now_ms)?;
        // C21
        self.log.flush()?;
        self.bytes_since_snapshot += bytes.len() as u64;
        self.appended_ms = now_ms;
        self.snapshot_ms.get_or_insert(now_ms);
        Ok(())
    }

    /// The epoch of this controller.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Offset of the next record.
    pub fn next_offset(&self) -> i64 {
        self.log.log_end_offset()
    }

    /// Whether the log has grown so far, or the newest snapshot so old, that another one is due.
    pub fn snapshot_due(&self, now_ms: i64) -> bool {
        let SnapshotPolicy { bytes_between, interval_ms, .. } = self.policy;
        let age_ms = now_ms.saturating_sub(self.snapshot_ms.unwrap_or(now_ms));
        let is_old = interval_ms > 0 && age_ms >= interval_ms && self.bytes_since_snapshot > 0;
        self.bytes_since_snapshot >= bytes_between || is_old
    }

    /// Writes the image of the log's end as a snapshot, and lets go of what is older than the snapshots that are kept.
    ///
    /// # Errors
    /// The disk. The log is as good as before, and the next snapshot is due as late as after one that was written.
    pub fn write_snapshot(&mut self, image: &MetadataImage, now_ms: i64) -> Result<(), MetadataLogError> {
        // C6
        self.bytes_since_snapshot = 0;
        self.snapshot_ms = Some(now_ms);
        let id = SnapshotId { end_offset: image.offset + 1, epoch: image.epoch };
        let snapshot = Snapshot::of(image, self.appended_ms).map_err(MetadataLogError::Encode)?;
        self.snapshots.write(id, &snapshot, now_ms).map_err(snapshot_failed)?;
        self.let_go(now_ms)
    }

    /// Removes the oldest snapshots while there is too much or they are too old, and with each the log below the next one.
    fn let_go(&mut self, now_ms: i64) -> Result<(), MetadataLogError> {
        let SnapshotPolicy { retention_bytes, retention_ms, .. } = self.policy;
        let mut kept = self.snapshots.list().map_err(snapshot_failed)?;
        let mut bytes = self.log.size_bytes();
        for id in &kept {
            bytes += self.snapshots.size(*id).map_err(snapshot_failed)?;
        }
        while let [oldest, next, ..] = kept[..] {
            let is_too_much = u64::try_from(retention_bytes).is_ok_and(|most| bytes > most);
            let is_too_old = || -> Result<bool, MetadataLogError> {
                let written = self.snapshots.read(oldest).map_err(snapshot_failed)?;
                let written_ms = written.map_or(i64::MIN, |snapshot| snapshot.timestamp_ms);
                Ok(retention_ms >= 0 && now_ms.saturating_sub(written_ms) > retention_ms)
            };
            if !is_too_much && !is_too_old()? {
                break;
            }
            // the next one must be whole before this one goes
            if self.snapshots.read(next).map_err(snapshot_failed)?.is_err() {
                break;
            }
            let before = self.log.size_bytes();
            bytes -= self.snapshots.size(oldest).map_err(snapshot_failed)?;
            self.log.advance_log_start(next.end_offset)?;
            // nobody else reads this log, so its files go at once
            if let Some(deletion) = self.log.delete_old_segments(now_ms, next.end_offset)? {
                deletion.remove()?;
                self.log.complete_deletion(&deletion);
            }
            self.snapshots.remove(oldest).map_err(snapshot_failed)?;
            bytes -= before - self.log.size_bytes();
            kept.remove(0);
        }
        Ok(())
    }

    /// The log below, to be closed with the others of its directory (D21).
    pub fn into_log(self) -> Log {
        self.log
    }
}

impl Default for SnapshotPolicy {
    fn default() -> SnapshotPolicy {
        (&BrokerConfig::default()).into()
    }
}

impl From<&BrokerConfig> for SnapshotPolicy {
    fn from(config: &BrokerConfig) -> SnapshotPolicy {
        SnapshotPolicy {
            bytes_between: config.metadata_log_max_record_bytes_between_snapshots,
            interval_ms: config.metadata_log_max_snapshot_interval_ms,
            retention_bytes: config.metadata_max_retention_bytes,
            retention_ms: config.metadata_max_retention_ms,
        }
    }
}

impl fmt::Display for MetadataLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetadataLogError::Log(error) => write!(f, "metadata log: {error}"),
            MetadataLogError::Apply(error) => error.fmt(f),
            MetadataLogError::Damaged { offset, reason } => {
                write!(f, "metadata log, batch at offset {offset}: {reason}")
            }
            MetadataLogError::Encode(error) => error.fmt(f),
            MetadataLogError::Snapshot(error) => write!(f, "snapshot of the metadata log: {error}"),
        }
    }
}

impl std::error::Error for MetadataLogError {}

impl From<LogError> for MetadataLogError {
    fn from(error: LogError) -> Self {
        MetadataLogError::Log(error)
    }
}

impl From<ApplyError> for MetadataLogError {
    fn from(error: ApplyError) -> Self {
        MetadataLogError::Apply(error)
    }
}

fn snapshot_failed(error: std::io::Error) -> MetadataLogError {
    MetadataLogError::Snapshot(error.to_string())
}

/// Applies the records of whole batches from an offset on: the first batch may begin before it.
fn replay_batches(
    bytes: &[u8],
    from: i64,
    replay: &mut Replay,
    scratch: &mut Vec<u8>,
) -> Result<(), MetadataLogError> {
    for batch in Batches::new(bytes) {
        let damaged = |offset, reason: String| MetadataLogError::Damaged { offset, reason };
        let batch = batch.map_err(|e| damaged(replay.image().offset, e.to_string()))?;
        let header = *batch.header();
        let epoch = header.partition_leader_epoch;
        if header.attributes.is_control() {
            // C7: nothing in it concerns the image
            replay.passed(header.last_offset(), epoch);
            continue;
        }
        // a controller writes plain batches; the limit bounds what a foreign log can make us take
        let records = batch
            .records(scratch, READ_BYTES * 16)
            .map_err(|e| damaged(header.base_offset, e.to_string()))?;
        for record in records {
            let record = record.map_err(|e| damaged(header.base_offset, e.to_string()))?;
            if record.offset < from {
                continue; // the snapshot has it
            }
            let Some(value) = record.value else {
                return Err(damaged(record.offset, "a record without a value".to_owned()));
            };
            replay.apply(record.offset, epoch, value)?;
        }
    }
    Ok(())
}

/// Splits values into runs of at most [`BATCH_BYTES_MAX`], each of at least one value.
pub(super) fn batches(values: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
    let mut rest = values;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = rest.iter().take_while(|value| {
            bytes += value.len() + rohrpost_record::RECORD_OVERHEAD_MAX;
            bytes <= BATCH_BYTES_MAX
        });
        let (part, tail) = rest.split_at(fits.count().max(1));
        rest = tail;
        Some(part)
    })
}

/// One batch being written.
pub(super) struct BatchWriter {
    builder: BatchBuilder,
    bytes: Vec<u8>,
    control: bool,
}

impl BatchWriter {
    pub(super) fn new(control: bool) -> BatchWriter {
        BatchWriter { builder: BatchBuilder::new(), bytes: vec![0; HEADER_LEN], control }
    }

    pub(super) fn push(&mut self, now_ms: i64, key: Option<&[u8]>, value: &[u8]) {
        let at = self.bytes.len();
        let len = self.builder.record_len(now_ms, key, Some(value), NO_HEADERS);
        self.bytes.resize(at + len, 0);
        self.builder.append(&mut self.bytes[at..], now_ms, key, Some(value), NO_HEADERS);
    }

    pub(super) fn finish(mut self, base_offset: i64, epoch: i32) -> Vec<u8> {
        let attributes = if self.control {
            Attributes::control(false)
        } else {
            Attributes::new(rohrpost_record::Codec::None, false)
        };
        let header = self.builder.header(attributes, self.builder.records_len());
        let Some(head) = self.bytes.first_chunk_mut() else {
            unreachable!("a batch writer begins with room for the header");
        };
        header.write(head);
        stamp(&mut self.bytes, [], Stamp::NONE);
        patch(&mut self.bytes, base_offset, epoch);
        self.bytes
    }
}
