//! What a leader checks of a batch before it appends it (L2, L3, L7, and the table of bad input in chapter 5).
//!
//! [`single_batch`] is the shape of a produce request's records: exactly one batch of format 2 (P3). [`validate`] is everything that
//! one batch can show by itself: checksum, base offset, size, counts, every record's lengths, offsets, key and time. What needs the
//! log's state (sequences, epochs, transactions) is the log's.
//!
//! Both answer with [`InvalidBatch`], which says in Kafka's words ([`Answer`]) what to tell the client.

use std::fmt;

use crate::codec::{Codec, DecompressError};
use crate::header::{BatchError, NO_TIMESTAMP, TimestampType};
use crate::read::{Batch, Raw, RecordError};

/// At most this many records are listed in [`InvalidBatch::rejected`]; the batch is refused all the same.
pub const REJECTED_MAX: usize = 1000;

/// What a topic, and the version of a produce request, ask of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidateRules {
    /// The broker's clock, in ms since 1970.
    pub now_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a record's time may lie in the past.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far it may lie in the future.
    pub after_max_ms: i64,
    /// `cleanup.policy` contains `compact`: records without a key are refused.
    pub compacted: bool,
    /// Whether the request may carry zstd: Produce 7 or newer (CMP-4).
    pub zstd_allowed: bool,
    /// `max.message.bytes`: the most bytes of a batch as it is stored.
    pub max_message_bytes: usize,
    /// The most bytes that a compressed batch's records may take.
    pub max_decompressed_bytes: usize,
}

impl Default for ValidateRules {
    /// Kafka's defaults at time 0, and 128 MiB of decompressed records.
    fn default() -> Self {
        ValidateRules {
            now_ms: 0,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            compacted: false,
            zstd_allowed: true,
            max_message_bytes: 1_048_588,
            max_decompressed_bytes: 128 << 20,
        }
    }
}

/// What a leader needs to know of a good batch to store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validated {
    /// Number of records; the last offset delta is one less.
    pub records_count: i32,
    /// The timestamp that the stored header must have as its maximum: the largest of the records, or with log append time `now_ms`.
    pub max_timestamp: i64,
    /// Offset delta of the first record with the largest timestamp; with log append time, of the last record.
    pub max_timestamp_offset_delta: i32,
    /// The header's maximum timestamp is another one.
    pub fix_max_timestamp: bool,
    /// The header's timestamp-type bit is not the topic's.
    pub fix_timestamp_type: bool,
}

impl Validated {
    /// Whether the header must be rewritten by [`set_max_timestamp_and_type`](crate::set_max_timestamp_and_type) (L6). If not, the batch is
    /// stored verbatim but for [`patch`](crate::patch).
    #[inline]
    pub const fn must_rewrite(&self) -> bool {
        self.fix_max_timestamp || self.fix_timestamp_type
    }
}

/// The records of a produce request for one partition: exactly one batch of format 2 (P3, REC-6). Stray bytes after it are dropped if
/// they are fewer than 12, or the beginning of a batch that is cut short.
///
/// # Errors
/// [`InvalidBatch::Shape`] or [`InvalidBatch::Split`].
pub fn single_batch(records: Option<&[u8]>) -> Result<Batch<'_>, InvalidBatch> {
    let Some(records) = records else {
        return Err(InvalidBatch::Shape { what: "the records are null" });
    };
    let batch = match Batch::parse(records) {
        Ok(batch) => batch,
        Err(error) => return Err(InvalidBatch::Split(error)),
    };
    match Batch::parse(&records[batch.bytes().len()..]) {
        Err(BatchError::Cut { .. }) => Ok(batch),
        Ok(_) | Err(BatchError::OldMagic { .. }) => {
            Err(InvalidBatch::Shape { what: "more than one batch for a partition" })
        }
        Err(error) => Err(InvalidBatch::Split(error)),
    }
}

/// Checks everything that one batch shows by itself, in Kafka's order. The records of a compressed batch are decompressed into `scratch`.
///
/// # Errors
/// [`InvalidBatch`], with Kafka's answer in [`InvalidBatch::answer`].
pub fn validate(
    batch: &Batch<'_>,
    rules: &ValidateRules,
    scratch: &mut Vec<u8>,
) -> Result<Validated, InvalidBatch> {
    check_header(batch, rules)?;
    let plain = batch.plain_records(scratch, rules.max_decompressed_bytes).map_err(|error| match error {
        RecordError::Codec { id } => InvalidBatch::Codec { id },
        RecordError::Decompress(error) => InvalidBatch::Decompress(error),
        error => InvalidBatch::Records { index: 0, error },
    })?;
    walk(batch, rules, plain)
}

/// Everything before the first record (L2).
fn check_header(batch: &Batch<'_>, rules: &ValidateRules) -> Result<(), InvalidBatch> {
    let header = batch.header();
    let shape = |what| Err(InvalidBatch::Shape { what });
    if header.base_offset != 0 {
        return Err(InvalidBatch::BaseOffset { base_offset: header.base_offset });
    }
    let size = batch.bytes().len();
    if size > rules.max_message_bytes {
        return Err(InvalidBatch::TooLarge { size, limit: rules.max_message_bytes });
    }
    if !batch.is_crc_valid() {
        return Err(InvalidBatch::Crc);
    }
    let count = header.records_count;
    if count <= 0 || i64::from(header.last_offset_delta) + 1 != i64::from(count) {
        return Err(InvalidBatch::Counts {
            records_count: count,
            last_offset_delta: header.last_offset_delta,
        });
    }
    if header.attributes.is_control() {
        return shape("clients must not write control batches");
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return shape("a batch with a producer id has no base sequence");
    }
    if header.attributes.codec() == Ok(Codec::Zstd) && !rules.zstd_allowed {
        return Err(InvalidBatch::ZstdTooOld);
    }
    Ok(())
}

/// Every record (L3).
fn walk(batch: &Batch<'_>, rules: &ValidateRules, plain: &[u8]) -> Result<Validated, InvalidBatch> {
    let header = batch.header();
    let mut rejected = Vec::new();
    let mut reject = |index: i32, why: Reject| {
        if rejected.len() < REJECTED_MAX {
            rejected.push(RejectedRecord { index, why });
        }
    };
    let marked = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    let create_time = rules.timestamp_type == TimestampType::CreateTime;
    let (mut max_timestamp, mut at_max) = (NO_TIMESTAMP, 0);
    let mut rest = plain;
    for index in 0..header.records_count {
        if rest.is_empty() {
            let records = (header.records_count - index) as u32;
            return Err(InvalidBatch::Records { index, error: RecordError::Missing { records } });
        }
        let (record, used) = Raw::read(rest).map_err(|error| InvalidBatch::Records { index, error })?;
        rest = &rest[used..];
        if record.offset_delta != index {
            return Err(InvalidBatch::OffsetDelta { index, offset_delta: record.offset_delta });
        }
        if rules.compacted && record.key.is_none() {
            reject(index, Reject::NoKey);
            continue;
        }
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        if create_time && timestamp != NO_TIMESTAMP {
            // L7
            if rules.now_ms.saturating_sub(timestamp) > rules.before_max_ms {
                reject(index, Reject::TooOld { timestamp });
            } else if timestamp.saturating_sub(rules.now_ms) > rules.after_max_ms {
                reject(index, Reject::TooNew { timestamp });
            }
        } else if marked {
            reject(index, Reject::MarkedLogAppendTime);
        }
        if timestamp > max_timestamp {
            (max_timestamp, at_max) = (timestamp, index);
        }
    }
    if !rest.is_empty() {
        return Err(InvalidBatch::Records {
            index: header.records_count,
            error: RecordError::Trailing { bytes: rest.len() },
        });
    }
    if !rejected.is_empty() {
        return Err(InvalidBatch::Rejected { records: rejected });
    }
    if !create_time {
        (max_timestamp, at_max) = (rules.now_ms, header.last_offset_delta);
    }
    Ok(Validated {
        records_count: header.records_count,
        max_timestamp,
        max_timestamp_offset_delta: at_max,
        fix_max_timestamp: header.max_timestamp != max_timestamp,
        fix_timestamp_type: header.attributes.timestamp_type() != rules.timestamp_type,
    })
}

/// The error that Kafka answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// CORRUPT_MESSAGE (2).
    CorruptMessage,
    /// MESSAGE_TOO_LARGE (10).
    MessageTooLarge,
    /// INVALID_TIMESTAMP (32).
    InvalidTimestamp,
    /// UNSUPPORTED_COMPRESSION_TYPE (76).
    UnsupportedCompressionType,
    /// INVALID_RECORD (87).
    InvalidRecord,
}

impl Answer {
    /// The error code on the wire.
    pub const fn code(self) -> i16 {
        match self {
            Answer::CorruptMessage => 2,
            Answer::MessageTooLarge => 10,
            Answer::InvalidTimestamp => 32,
            Answer::UnsupportedCompressionType => 76,
            Answer::InvalidRecord => 87,
        }
    }

    /// Kafka's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Answer::CorruptMessage => "CORRUPT_MESSAGE",
            Answer::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Answer::InvalidTimestamp => "INVALID_TIMESTAMP",
            Answer::UnsupportedCompressionType => "UNSUPPORTED_COMPRESSION_TYPE",
            Answer::InvalidRecord => "INVALID_RECORD",
        }
    }
}

/// Why one record of a readable batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reject {
    /// No key in a compacted topic.
    NoKey,
    /// Older than `message.timestamp.before.max.ms` allows.
    TooOld {
        /// The record's timestamp in ms.
        timestamp: i64,
    },
    /// Newer than `message.timestamp.after.max.ms` allows.
    TooNew {
        /// The record's timestamp in ms.
        timestamp: i64,
    },
    /// The producer set the bit for log append time.
    MarkedLogAppendTime,
}

/// One refused record: an entry of `RecordErrors` in a produce response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Its index in the batch.
    pub index: i32,
    /// Why.
    pub why: Reject,
}

impl fmt::Display for RejectedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Reject::NoKey => f.write_str("a compacted topic takes no record without a key"),
            Reject::TooOld { timestamp } => {
                write!(
                    f,
                    "timestamp {timestamp} is further in the past than message.timestamp.before.max.ms allows"
                )
            }
            Reject::TooNew { timestamp } => {
                write!(
                    f,
                    "timestamp {timestamp} is further in the future than message.timestamp.after.max.ms allows"
                )
            }
            Reject::MarkedLogAppendTime => {
                f.write_str("a producer must not set the timestamp type to LogAppendTime")
            }
        }
    }
}

/// Why a leader refuses a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidBatch {
    /// The bytes do not begin with a whole batch of format 2.
    Split(BatchError),
    /// A rule about batches as a whole is broken.
    Shape {
        /// Which.
        what: &'static str,
    },
    /// A client's base offset must be 0.
    BaseOffset {
        /// The field.
        base_offset: i64,
    },
    /// The batch is larger than `max.message.bytes`.
    TooLarge {
        /// Its bytes.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The checksum is not that of the bytes.
    Crc,
    /// No records, or their number and the last offset delta disagree.
    Counts {
        /// The header's record count.
        records_count: i32,
        /// The header's last offset delta.
        last_offset_delta: i32,
    },
    /// zstd in a Produce version before 7.
    ZstdTooOld,
    /// There is no codec with this id.
    Codec {
        /// Bits 0–2 of the attributes.
        id: u8,
    },
    /// The records do not decompress.
    Decompress(DecompressError),
    /// A record cannot be read, or the records are not as many as stated.
    Records {
        /// Index of the record in the batch.
        index: i32,
        /// What is wrong.
        error: RecordError,
    },
    /// Offset deltas must be 0, 1, 2, …
    OffsetDelta {
        /// Index of the record in the batch.
        index: i32,
        /// What it says.
        offset_delta: i32,
    },
    /// The batch can be read, but some of its records are not allowed here: at least one is listed, at most [`REJECTED_MAX`].
    Rejected {
        /// Which, and why.
        records: Vec<RejectedRecord>,
    },
}

impl InvalidBatch {
    /// The error to answer with.
    pub fn answer(&self) -> Answer {
        match self {
            InvalidBatch::Split(BatchError::Cut { .. } | BatchError::OldMagic { .. }) => {
                Answer::InvalidRecord
            }
            InvalidBatch::Split(BatchError::Length { .. } | BatchError::Magic { .. }) | InvalidBatch::Crc => {
                Answer::CorruptMessage
            }
            InvalidBatch::TooLarge { .. } | InvalidBatch::Decompress(DecompressError::TooLarge { .. }) => {
                Answer::MessageTooLarge
            }
            InvalidBatch::ZstdTooOld
            | InvalidBatch::Codec { .. }
            | InvalidBatch::Decompress(DecompressError::Feature { .. }) => Answer::UnsupportedCompressionType,
            InvalidBatch::Rejected { records }
                if records.iter().any(|record| record.why != Reject::NoKey) =>
            {
                Answer::InvalidTimestamp
            }
            InvalidBatch::Shape { .. }
            | InvalidBatch::BaseOffset { .. }
            | InvalidBatch::Counts { .. }
            | InvalidBatch::Decompress(_)
            | InvalidBatch::Records { .. }
            | InvalidBatch::OffsetDelta { .. }
            | InvalidBatch::Rejected { .. } => Answer::InvalidRecord,
        }
    }

    /// The refused records, if single records are the reason.
    pub fn rejected(&self) -> &[RejectedRecord] {
        match self {
            InvalidBatch::Rejected { records } => records,
            _ => &[],
        }
    }
}

impl fmt::Display for InvalidBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidBatch::Split(error) => error.fmt(f),
            InvalidBatch::Shape { what } => f.write_str(what),
            InvalidBatch::BaseOffset { base_offset } => {
                write!(f, "the base offset must be 0, it is {base_offset}")
            }
            InvalidBatch::TooLarge { size, limit } => {
                write!(f, "the batch has {size} bytes, max.message.bytes allows {limit}")
            }
            InvalidBatch::Crc => f.write_str("the checksum is not that of the batch"),
            InvalidBatch::Counts { records_count, last_offset_delta } => {
                write!(
                    f,
                    "a batch of {records_count} records cannot have the last offset delta {last_offset_delta}"
                )
            }
            InvalidBatch::ZstdTooOld => f.write_str("zstd needs Produce version 7 or newer"),
            InvalidBatch::Codec { id } => write!(f, "there is no compression codec {id}"),
            InvalidBatch::Decompress(error) => write!(f, "the records do not decompress: {error}"),
            InvalidBatch::Records { index, error } => write!(f, "record {index}: {error}"),
            InvalidBatch::OffsetDelta { index, offset_delta } => {
                write!(
                    f,
                    "record {index} has the offset delta {offset_delta}, offset deltas must be 0, 1, 2, …"
                )
            }
            InvalidBatch::Rejected { records } => match records.first() {
                Some(first) => write!(
                    f,
                    "{} records are refused, the first is record {}: {first}",
                    records.len(),
                    first.index
                ),
                None => f.write_str("records are refused"),
            },
        }
    }
}

impl std::error::Error for InvalidBatch {}
