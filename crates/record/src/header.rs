//! The 61 bytes before the records: what stands where, how a sender stamps them, how a broker patches them (§15, L9).
//!
//! A batch's header is written in three moments. *Close* fixes what follows from the records ([`BatchHeader::write`], through
//! [`BatchBuilder`](crate::BatchBuilder)). *Stamp* is the sender's: producer id, epoch, sequence, and the checksum over all of it
//! ([`stamp`]). *Patch* is the broker's: base offset and leader epoch, which lie outside the checksum ([`patch`]).

use std::fmt;

use crate::codec::Codec;
use crate::crc;

/// Bytes of a batch before its records.
pub const HEADER_LEN: usize = 61;
/// Bytes before those that the length field counts: base offset and the length itself.
pub const LOG_OVERHEAD: usize = 12;
/// The one batch format that is read and written here.
pub const MAGIC: i8 = 2;
/// A record without a timestamp has this one.
pub const NO_TIMESTAMP: i64 = -1;

const AT_LENGTH: usize = 8;
const AT_LEADER_EPOCH: usize = 12;
const AT_MAGIC: usize = 16;
const AT_CRC: usize = 17;
/// The checksum covers everything from here on.
pub(crate) const AT_ATTRIBUTES: usize = 21;
const AT_LAST_OFFSET_DELTA: usize = 23;
const AT_BASE_TIMESTAMP: usize = 27;
const AT_MAX_TIMESTAMP: usize = 35;
const AT_PRODUCER_ID: usize = 43;
const AT_PRODUCER_EPOCH: usize = 51;
const AT_BASE_SEQUENCE: usize = 53;
const AT_COUNT: usize = 57;

/// The shortest batch of any format that Kafka ever wrote, by its length field.
const LENGTH_MIN_ANY: i32 = 14;

/// Who says when a record happened (`message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer: each record has its own.
    #[default]
    CreateTime,
    /// The leader that appended it: the batch's maximum timestamp stands for every record.
    LogAppendTime,
}

/// A batch's attribute bits: 0–2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon (L9).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// Data of a client: codec and, inside a transaction, bit 4 (REC-5).
    #[inline]
    pub const fn new(codec: Codec, transactional: bool) -> Attributes {
        Attributes(codec.id() as i16 | if transactional { Self::TRANSACTIONAL } else { 0 })
    }

    /// A control batch: written by brokers only, never compressed.
    pub const fn control(transactional: bool) -> Attributes {
        Attributes(Self::CONTROL | if transactional { Self::TRANSACTIONAL } else { 0 })
    }

    /// The codec, or the id if there is no such codec.
    ///
    /// # Errors
    /// The id, if it is none of a codec's (5 to 7).
    #[inline]
    pub const fn codec(self) -> Result<Codec, u8> {
        let id = (self.0 & Self::CODEC) as u8;
        match Codec::from_id(id) {
            Some(codec) => Ok(codec),
            None => Err(id),
        }
    }

    /// Bit 3.
    #[inline]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Bit 4.
    #[inline]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Bit 5.
    #[inline]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Bit 6: the base timestamp field holds the time after which markers and tombstones in this batch may go.
    #[inline]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same with another timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Attributes {
        match timestamp_type {
            TimestampType::CreateTime => Attributes(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Attributes(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// The same with another codec.
    #[must_use]
    pub const fn with_codec(self, codec: Codec) -> Attributes {
        Attributes(self.0 & !Self::CODEC | codec.id() as i16)
    }

    /// The same with bit 6 set.
    #[must_use]
    pub const fn with_delete_horizon(self) -> Attributes {
        Attributes(self.0 | Self::DELETE_HORIZON)
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({:#06x}", self.0)?;
        match self.codec() {
            Ok(codec) => write!(f, " {codec}")?,
            Err(id) => write!(f, " codec {id}")?,
        }
        for (set, name) in [
            (self.timestamp_type() == TimestampType::LogAppendTime, "log append time"),
            (self.is_transactional(), "transactional"),
            (self.is_control(), "control"),
            (self.has_delete_horizon(), "delete horizon"),
        ] {
            if set {
                write!(f, ", {name}")?;
            }
        }
        f.write_str(")")
    }
}

/// The fields of a batch's header as they stand on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 until a leader has appended the batch.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch, or −1.
    pub partition_leader_epoch: i32,
    /// The format: 2.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Offset of the last record minus base offset. Compaction keeps it when records go.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from, in ms. With a delete horizon: that horizon.
    pub base_timestamp: i64,
    /// The largest timestamp of the batch, in ms; with log append time, the timestamp of every record.
    pub max_timestamp: i64,
    /// Producer id, or −1.
    pub producer_id: i64,
    /// Producer epoch, or −1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or −1.
    pub base_sequence: i32,
    /// Number of records.
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `input`, which may hold less than the whole batch.
    ///
    /// # Errors
    /// [`BatchError`] if there is no header of format 2 here, or its length field is impossible. The checksum is not looked at.
    #[inline]
    pub fn parse(input: &[u8]) -> Result<BatchHeader, BatchError> {
        peek_len(input)?;
        let Some(header) = input.first_chunk::<HEADER_LEN>() else {
            return Err(BatchError::Cut { needed: HEADER_LEN, have: input.len() });
        };
        Ok(BatchHeader {
            base_offset: i64_at(header, 0),
            batch_length: i32_at(header, AT_LENGTH),
            partition_leader_epoch: i32_at(header, AT_LEADER_EPOCH),
            magic: header[AT_MAGIC] as i8,
            crc: i32_at(header, AT_CRC) as u32,
            attributes: Attributes(i16_at(header, AT_ATTRIBUTES)),
            last_offset_delta: i32_at(header, AT_LAST_OFFSET_DELTA),
            base_timestamp: i64_at(header, AT_BASE_TIMESTAMP),
            max_timestamp: i64_at(header, AT_MAX_TIMESTAMP),
            producer_id: i64_at(header, AT_PRODUCER_ID),
            producer_epoch: i16_at(header, AT_PRODUCER_EPOCH),
            base_sequence: i32_at(header, AT_BASE_SEQUENCE),
            records_count: i32_at(header, AT_COUNT),
        })
    }

    /// Writes all fields as they are, the checksum included.
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER_LEN]) {
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        out[16] = self.magic as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.records_count.to_be_bytes());
    }

    /// Bytes of the whole batch, header included.
    #[inline]
    pub fn total_len(&self) -> usize {
        // parse refuses negative lengths; a header made by hand with one has no bytes
        LOG_OVERHEAD + usize::try_from(self.batch_length).unwrap_or(0)
    }

    /// Offset of the last record.
    #[inline]
    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record's.
    #[inline]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Sequence of the last record, or −1 without sequences. Sequences wrap from 2147483647 to 0.
    #[inline]
    pub fn last_sequence(&self) -> i32 {
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// The time in ms after which markers and tombstones of this batch may go, if the batch has one.
    #[inline]
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Whether an idempotent or transactional producer wrote the batch.
    #[inline]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > -1
    }
}

/// The sequence `by` records after `sequence`; wraps from 2147483647 to 0. −1 (no sequence) stays −1.
#[inline]
pub fn increment_sequence(sequence: i32, by: i32) -> i32 {
    if sequence < 0 {
        return -1;
    }
    (i64::from(sequence).wrapping_add(i64::from(by)) & i64::from(i32::MAX)) as i32
}

/// What the sender knows and the appending thread does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Producer id, or −1.
    pub producer_id: i64,
    /// Producer epoch, or −1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or −1.
    pub base_sequence: i32,
}

impl Stamp {
    /// Without idempotence.
    pub const NONE: Stamp = Stamp { producer_id: -1, producer_epoch: -1, base_sequence: -1 };
}

/// Writes producer id, epoch, sequence, and the checksum of the whole batch (REC-3, REC-4). The records stay untouched, so a batch
/// may be stamped again for another epoch.
///
/// The batch may lie in several pieces: `head` begins with the header, `rest` are the pieces after it, in order.
///
/// # Panics
/// If `head` is shorter than a header.
pub fn stamp<'a>(head: &mut [u8], rest: impl IntoIterator<Item = &'a [u8]>, stamp: Stamp) {
    assert!(head.len() >= HEADER_LEN, "a batch begins with its {HEADER_LEN} byte header");
    head[AT_PRODUCER_ID..AT_PRODUCER_EPOCH].copy_from_slice(&stamp.producer_id.to_be_bytes());
    head[AT_PRODUCER_EPOCH..AT_BASE_SEQUENCE].copy_from_slice(&stamp.producer_epoch.to_be_bytes());
    head[AT_BASE_SEQUENCE..AT_COUNT].copy_from_slice(&stamp.base_sequence.to_be_bytes());
    let mut crc = crc::crc32c_append_cold(0, &head[AT_ATTRIBUTES..]);
    for piece in rest {
        crc = crc::crc32c_append_cold(crc, piece);
    }
    head[AT_CRC..AT_ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
}

/// Writes base offset and leader epoch. Both lie outside the checksum, so nothing else changes (REC-3, L4, L5, L6).
///
/// # Panics
/// If `batch` is shorter than a header.
#[inline]
pub fn patch(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    assert!(batch.len() >= HEADER_LEN, "a batch begins with its {HEADER_LEN} byte header");
    batch[0..AT_LENGTH].copy_from_slice(&base_offset.to_be_bytes());
    batch[AT_LEADER_EPOCH..AT_MAGIC].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Writes maximum timestamp and timestamp type, and with them a new checksum (L6): for topics with log append time, and where a
/// producer's header was wrong. `batch` is one whole batch.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_max_timestamp_and_type(batch: &mut [u8], max_timestamp: i64, timestamp_type: TimestampType) {
    assert!(batch.len() >= HEADER_LEN, "a batch begins with its {HEADER_LEN} byte header");
    let attributes = Attributes(i16_at(batch, AT_ATTRIBUTES)).with_timestamp_type(timestamp_type);
    batch[AT_ATTRIBUTES..AT_LAST_OFFSET_DELTA].copy_from_slice(&attributes.0.to_be_bytes());
    batch[AT_MAX_TIMESTAMP..AT_PRODUCER_ID].copy_from_slice(&max_timestamp.to_be_bytes());
    let crc = crc::crc32c(&batch[AT_ATTRIBUTES..]);
    batch[AT_CRC..AT_ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
}

/// The length in bytes of the batch that begins `input`, if its first 17 bytes are there and possible.
#[inline]
pub(crate) fn peek_len(input: &[u8]) -> Result<usize, BatchError> {
    let cut = |needed| Err(BatchError::Cut { needed, have: input.len() });
    if input.len() < LOG_OVERHEAD {
        return cut(LOG_OVERHEAD);
    }
    let length = i32_at(input, AT_LENGTH);
    if length < LENGTH_MIN_ANY {
        return Err(BatchError::Length { length });
    }
    if input.len() <= AT_MAGIC {
        return cut(AT_MAGIC + 1);
    }
    match input[AT_MAGIC] as i8 {
        MAGIC => {}
        magic @ 0..=1 => return Err(BatchError::OldMagic { magic }),
        magic => return Err(BatchError::Magic { magic }),
    }
    // Kafka adds the 12 bytes in 32 bits: what overflows there is no batch
    if (length as usize) < HEADER_LEN - LOG_OVERHEAD || length > i32::MAX - LOG_OVERHEAD as i32 {
        return Err(BatchError::Length { length });
    }
    Ok(LOG_OVERHEAD + length as usize)
}

/// Why bytes cannot be split into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchError {
    /// The input ends within the batch.
    Cut {
        /// Bytes that the batch (or the part of it that was asked for) takes.
        needed: usize,
        /// Bytes there.
        have: usize,
    },
    /// No batch is as short, or as long, as its length field says.
    Length {
        /// The length field.
        length: i32,
    },
    /// A format that does not exist.
    Magic {
        /// The format field.
        magic: i8,
    },
    /// A message set of format 0 or 1, as clients before Kafka 0.11 wrote them. Those are not read here.
    OldMagic {
        /// The format field.
        magic: i8,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::Cut { needed, have } => write!(f, "the batch takes {needed} bytes, {have} are there"),
            BatchError::Length { length } => write!(f, "no batch has a length field of {length}"),
            BatchError::Magic { magic } => write!(f, "there is no batch format {magic}"),
            BatchError::OldMagic { magic } => {
                write!(f, "message format {magic} is not supported, only record batches (format 2)")
            }
        }
    }
}

impl std::error::Error for BatchError {}

#[inline]
fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let mut buffer = [0; 8];
    buffer.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
        assert_eq!(increment_sequence(5, 0), 5);
        assert_eq!(increment_sequence(-1, 7), -1);
    }
}
