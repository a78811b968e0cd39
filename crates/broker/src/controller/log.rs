//! The metadata log `__cluster_metadata-0`: batches of records, in Kafka's format, in a partition log of `rohrpost-log`.
//!
//! Recovery after a crash, torn tails, indexes and segments come from that log; here is what makes it a metadata log: each
//! controller epoch begins with a LeaderChange control record (C7), a change is one batch or one metadata transaction (C5),
//! and it is synced before anybody hears of it (C21). Kafka's dump tool reads the files with its cluster-metadata decoder (C26).
//!
//! Snapshots are not written yet: [`MetadataLog::snapshot_due`] says when one should be. They belong here: the image's
//! records between a SnapshotHeader and a SnapshotFooter into `<end offset>-<epoch>.checkpoint`, then the log start moves up.

use std::fmt;

use rohrpost_log::{Log, LogConfig, LogError};
use rohrpost_protocol::metadata_log::{BeginTransactionRecord, EndTransactionRecord, MetadataRecord};
use rohrpost_record::control::{ControlType, LeaderChange, LeaderVoter};
use rohrpost_record::{Attributes, BatchBuilder, Batches, HEADER_LEN, NO_HEADERS, Stamp, patch, stamp};

use super::records;
use super::source::ApiError;
use crate::metadata::{ApplyError, Replay};

/// Largest batch that is written, unless one record alone is larger. Bytes.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// How much of the log is read at a time while it is replayed. Bytes.
const READ_BYTES: usize = 4 << 20;
/// `metadata.log.max.record.bytes.between.snapshots`. Bytes.
const SNAPSHOT_BYTES: u64 = 20 << 20;

/// The log of one controller. See the module.
#[derive(Debug)]
pub struct MetadataLog {
    log: Log,
    epoch: i32,
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
}

impl MetadataLog {
    /// Takes an opened log: `__cluster_metadata`, partition 0, [topic id](crate::metadata::CLUSTER_METADATA_TOPIC_ID), with
    /// [`MetadataLog::config`].
    pub fn new(log: Log) -> MetadataLog {
        let epoch = log.latest_epoch().unwrap_or(0);
        MetadataLog { log, epoch }
    }

    /// The settings that the log is to be opened with.
    pub fn config(segment_bytes: u32) -> LogConfig {
        LogConfig {
            segment_bytes,
            // a change may be of any size; batches above BATCH_BYTES_MAX hold one record
            max_message_bytes: i32::MAX as u32,
            // nothing of a metadata log expires before there are snapshots
            retention_ms: -1,
            retention_bytes: -1,
            ..LogConfig::default()
        }
    }

    /// Applies everything in the log. What an unfinished transaction left stays open in `replay`: the next epoch begins with
    /// its end ([`Controller::begin_epoch`](super::Controller::begin_epoch)).
    pub fn replay(&self, replay: &mut Replay) -> Result<(), MetadataLogError> {
        let end = self.log.log_end_offset();
        let mut offset = self.log.log_start_offset();
        let mut scratch = Vec::new();
        while offset < end {
            let read = self.log.read(offset, READ_BYTES, end, true)?;
            if read.next_offset <= offset {
                return Err(MetadataLogError::Damaged {
                    offset,
                    reason: "the log cannot be read on".to_owned(),
                });
            }
            replay_batches(&read.records, replay, &mut scratch)?;
            offset = read.next_offset;
        }
        Ok(())
    }

    /// Begins a controller epoch, one above the last, with its LeaderChange record (C7). It is synced with the
    /// epoch's first change: nobody is told anything before that. Returns the record's offset.
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

    /// Whether the log has grown so far that a snapshot should replace its beginning. Nobody writes one yet.
    pub fn snapshot_due(&self) -> bool {
        self.log.size_bytes() > SNAPSHOT_BYTES
    }

    /// The log below, to be closed with the others of its directory (D21).
    pub fn into_log(self) -> Log {
        self.log
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

/// Applies the records of whole batches.
fn replay_batches(bytes: &[u8], replay: &mut Replay, scratch: &mut Vec<u8>) -> Result<(), MetadataLogError> {
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
            let Some(value) = record.value else {
                return Err(damaged(record.offset, "a record without a value".to_owned()));
            };
            replay.apply(record.offset, epoch, value)?;
        }
    }
    Ok(())
}

/// Splits values into runs of at most [`BATCH_BYTES_MAX`], each of at least one value.
fn batches(values: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
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
struct BatchWriter {
    builder: BatchBuilder,
    bytes: Vec<u8>,
    control: bool,
}

impl BatchWriter {
    fn new(control: bool) -> BatchWriter {
        BatchWriter { builder: BatchBuilder::new(), bytes: vec![0; HEADER_LEN], control }
    }

    fn push(&mut self, now_ms: i64, key: Option<&[u8]>, value: &[u8]) {
        let at = self.bytes.len();
        let len = self.builder.record_len(now_ms, key, Some(value), NO_HEADERS);
        self.bytes.resize(at + len, 0);
        self.builder.append(&mut self.bytes[at..], now_ms, key, Some(value), NO_HEADERS);
    }

    fn finish(mut self, base_offset: i64, epoch: i32) -> Vec<u8> {
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
