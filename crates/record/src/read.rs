//! Reading: bytes → batches → records, without copying.
//!
//! [`Batches`] splits a slice into whole [`Batch`]es, as a broker does with a produce request and a consumer with a fetched piece of
//! a log. A batch hands out its [`Records`]; those of a plain batch point into the batch itself, those of a compressed one into a
//! scratch vector of the caller's, which is bounded and can be used again (REC-7).
//!
//! A reader believes nothing: every length is checked against the bytes that are there, the number of records must be the stated
//! one, and no byte may be left over. The checksum is checked by [`Batch::is_crc_valid`], at a moment of the caller's choice.

use std::fmt;

use crate::build::Header;
use crate::codec::{self, Codec, DecompressError};
use crate::crc;
use crate::header::{
    AT_ATTRIBUTES, BatchError, BatchHeader, HEADER_LEN, TimestampType, increment_sequence, peek_len,
};
use crate::varint::{VarintError, read_varint, read_varlong};

/// Splits bytes into batches. Ends at the first error, and without one where the bytes end within a batch: [`Batches::remaining`]
/// tells what was left.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> Batches<'a> {
    /// Batches that lie back to back in `bytes`.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Batches { rest: bytes, failed: false }
    }

    /// The bytes that were not yet read: after the end, those of a batch that was cut short, or of what is no batch.
    #[inline]
    pub const fn remaining(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match Batch::parse(self.rest) {
            Ok(batch) => {
                self.rest = &self.rest[batch.bytes.len()..];
                Some(Ok(batch))
            }
            Err(BatchError::Cut { .. }) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

/// One whole batch in someone else's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch at the start of `input`; more may follow.
    ///
    /// # Errors
    /// [`BatchError::Cut`] if it is not all there; other [`BatchError`]s if it is no batch of format 2.
    #[inline]
    pub fn parse(input: &'a [u8]) -> Result<Batch<'a>, BatchError> {
        let len = peek_len(input)?;
        let Some(bytes) = input.get(..len) else {
            return Err(BatchError::Cut { needed: len, have: input.len() });
        };
        Ok(Batch { header: BatchHeader::parse(bytes)?, bytes })
    }

    /// The header's fields.
    #[inline]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records part as it is, compressed or not.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// Whether the checksum is that of the bytes (REC-3).
    #[inline]
    pub fn is_crc_valid(&self) -> bool {
        crc::crc32c(&self.bytes[AT_ATTRIBUTES..]) == self.header.crc
    }

    /// The records. Those of a compressed batch are decompressed into `scratch` first, whose content is replaced; `limit` is the most
    /// bytes that they may take there. Plain batches leave `scratch` alone.
    ///
    /// # Errors
    /// [`RecordError::Codec`] or [`RecordError::Decompress`] if the records cannot be had at all, [`RecordError::Count`] if the count
    /// is impossible. What is wrong with single records is found while iterating.
    pub fn records<'s>(&self, scratch: &'s mut Vec<u8>, limit: usize) -> Result<Records<'s>, RecordError>
    where
        'a: 's,
    {
        let bytes = self.plain_records(scratch, limit)?;
        Ok(Records::new(&self.header, bytes))
    }

    /// The records part, decompressed; see [`Batch::records`].
    ///
    /// # Errors
    /// As [`Batch::records`].
    pub fn plain_records<'s>(&self, scratch: &'s mut Vec<u8>, limit: usize) -> Result<&'s [u8], RecordError>
    where
        'a: 's,
    {
        let codec = self.header.attributes.codec().map_err(|id| RecordError::Codec { id })?;
        let count = self.header.records_count;
        if count < 0 {
            return Err(RecordError::Count { stated: count });
        }
        let payload = self.payload();
        if codec == Codec::None || (count == 0 && payload.is_empty()) {
            return Ok(payload);
        }
        codec::decompress(codec, payload, scratch, limit).map_err(RecordError::Decompress)?;
        Ok(scratch)
    }
}

/// The records of one batch, in order. Ends at the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: u32,
    base_offset: i64,
    /// With log append time, the timestamp of every record.
    append_time: Option<i64>,
    base_timestamp: i64,
    base_sequence: i32,
}

impl<'a> Records<'a> {
    /// Records of a batch with `header`, which lie uncompressed in `bytes`.
    pub fn new(header: &BatchHeader, bytes: &'a [u8]) -> Self {
        let append_time = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        Records {
            rest: bytes,
            left: u32::try_from(header.records_count).unwrap_or(0),
            base_offset: header.base_offset,
            append_time: append_time.then_some(header.max_timestamp),
            base_timestamp: header.base_timestamp,
            base_sequence: header.base_sequence,
        }
    }

    /// Records that the header says are still to come.
    #[inline]
    pub const fn left(&self) -> u32 {
        self.left
    }

    fn fail(&mut self, error: RecordError) -> RecordError {
        self.left = 0;
        self.rest = &[];
        error
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.rest.is_empty() {
                return None;
            }
            let error = RecordError::Trailing { bytes: self.rest.len() };
            return Some(Err(self.fail(error)));
        }
        if self.rest.is_empty() {
            let error = RecordError::Missing { records: self.left };
            return Some(Err(self.fail(error)));
        }
        match Raw::read(self.rest) {
            Ok((raw, used)) => {
                self.rest = &self.rest[used..];
                self.left -= 1;
                Some(Ok(Record {
                    offset: self.base_offset.wrapping_add(i64::from(raw.offset_delta)),
                    timestamp: self
                        .append_time
                        .unwrap_or(self.base_timestamp.wrapping_add(raw.timestamp_delta)),
                    sequence: increment_sequence(self.base_sequence, raw.offset_delta),
                    key: raw.key,
                    value: raw.value,
                    size: raw.size,
                    attributes: raw.attributes,
                    timestamp_delta: raw.timestamp_delta,
                    offset_delta: raw.offset_delta,
                    headers: raw.headers,
                }))
            }
            Err(error) => Some(Err(self.fail(error))),
        }
    }
}

/// One record in someone else's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position in the partition.
    pub offset: i64,
    /// In ms since 1970, or −1: the producer's, or with log append time the batch's.
    pub timestamp: i64,
    /// Its sequence, or −1.
    pub sequence: i32,
    /// The key; `None` is null, which differs from empty.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null (a tombstone), which differs from empty.
    pub value: Option<&'a [u8]>,
    /// Bytes as stored, uncompressed, without the length field.
    pub size: usize,
    /// Attribute bits: none are defined.
    pub attributes: i8,
    /// Timestamp minus the batch's base timestamp, as stored.
    pub timestamp_delta: i64,
    /// Offset minus the batch's base offset, as stored.
    pub offset_delta: i32,
    headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// The headers, in order, duplicate names included.
    #[inline]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }
}

/// The headers of one record. They were checked when the record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        // `Raw::read` walked the same bytes without an error
        let (key, used) = read_nullable(self.rest, Part::HeaderKey).ok()?;
        let (value, more) = read_nullable(&self.rest[used..], Part::HeaderValue).ok()?;
        self.rest = &self.rest[used + more..];
        Some(Header { key: key?, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// A record as it is stored.
pub(crate) struct Raw<'a> {
    pub(crate) size: usize,
    pub(crate) attributes: i8,
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

impl<'a> Raw<'a> {
    /// The record at the start of `input`, and its bytes with the length field.
    #[inline]
    pub(crate) fn read(input: &'a [u8]) -> Result<(Raw<'a>, usize), RecordError> {
        let (length, at) =
            read_varint(input).map_err(|error| RecordError::Varint { part: Part::Length, error })?;
        let beyond = RecordError::Length { part: Part::Length, length };
        let Ok(size) = usize::try_from(length) else {
            return Err(beyond);
        };
        let Some(body) = input[at..].get(..size) else {
            return Err(beyond);
        };
        let Some((&attributes, mut rest)) = body.split_first() else {
            return Err(beyond);
        };
        let (timestamp_delta, used) =
            read_varlong(rest).map_err(|error| RecordError::Varint { part: Part::TimestampDelta, error })?;
        rest = &rest[used..];
        let (offset_delta, used) =
            read_varint(rest).map_err(|error| RecordError::Varint { part: Part::OffsetDelta, error })?;
        rest = &rest[used..];
        let (key, used) = read_nullable(rest, Part::Key)?;
        rest = &rest[used..];
        let (value, used) = read_nullable(rest, Part::Value)?;
        rest = &rest[used..];
        let (count, used) =
            read_varint(rest).map_err(|error| RecordError::Varint { part: Part::HeaderCount, error })?;
        rest = &rest[used..];
        let headers = read_headers(rest, count)?;
        Ok((
            Raw { size, attributes: attributes as i8, timestamp_delta, offset_delta, key, value, headers },
            at + size,
        ))
    }
}

/// Walks the headers, which must fill `input` exactly.
#[inline]
fn read_headers(input: &[u8], count: i32) -> Result<Headers<'_>, RecordError> {
    if count == 0 && input.is_empty() {
        return Ok(Headers { rest: input, left: 0 });
    }
    let wrong = RecordError::Length { part: Part::HeaderCount, length: count };
    let Ok(left) = usize::try_from(count) else {
        return Err(wrong);
    };
    // a header takes two bytes at least, so that a lie is found before the walk
    if left > input.len() / 2 {
        return Err(wrong);
    }
    let mut rest = input;
    for _ in 0..left {
        let (key, used) = read_nullable(rest, Part::HeaderKey)?;
        if key.is_none() {
            return Err(RecordError::Length { part: Part::HeaderKey, length: -1 });
        }
        rest = &rest[used..];
        let (_, used) = read_nullable(rest, Part::HeaderValue)?;
        rest = &rest[used..];
    }
    if !rest.is_empty() {
        return Err(RecordError::Leftover { bytes: rest.len() });
    }
    Ok(Headers { rest: input, left })
}

#[inline]
fn read_nullable(input: &[u8], part: Part) -> Result<(Option<&[u8]>, usize), RecordError> {
    let (length, at) = read_varint(input).map_err(|error| RecordError::Varint { part, error })?;
    match usize::try_from(length) {
        Ok(len) => match input[at..].get(..len) {
            Some(bytes) => Ok((Some(bytes), at + len)),
            None => Err(RecordError::Length { part, length }),
        },
        // stricter than Kafka, which takes every negative length for null
        Err(_) if length != -1 => Err(RecordError::Length { part, length }),
        Err(_) => Ok((None, at)),
    }
}

/// The part of a record that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The record's length.
    Length,
    /// The timestamp delta.
    TimestampDelta,
    /// The offset delta.
    OffsetDelta,
    /// The key.
    Key,
    /// The value.
    Value,
    /// The number of headers.
    HeaderCount,
    /// A header's name.
    HeaderKey,
    /// A header's value.
    HeaderValue,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Length => "record length",
            Part::TimestampDelta => "timestamp delta",
            Part::OffsetDelta => "offset delta",
            Part::Key => "key length",
            Part::Value => "value length",
            Part::HeaderCount => "header count",
            Part::HeaderKey => "header key length",
            Part::HeaderValue => "header value length",
        })
    }
}

/// Why a batch's records cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// There is no codec with this id.
    Codec {
        /// Bits 0–2 of the attributes.
        id: u8,
    },
    /// The records could not be decompressed.
    Decompress(DecompressError),
    /// The batch states a number of records that cannot be.
    Count {
        /// The header's record count.
        stated: i32,
    },
    /// The bytes end before the stated number of records.
    Missing {
        /// Records that are not there.
        records: u32,
    },
    /// Bytes follow the last record.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A number is cut or too long.
    Varint {
        /// Which.
        part: Part,
        /// How.
        error: VarintError,
    },
    /// A length or a count is impossible, or goes beyond the record.
    Length {
        /// Which.
        part: Part,
        /// What it says.
        length: i32,
    },
    /// Bytes follow the last header within the record's stated length.
    Leftover {
        /// How many.
        bytes: usize,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Codec { id } => write!(f, "there is no compression codec {id}"),
            RecordError::Decompress(error) => write!(f, "the records do not decompress: {error}"),
            RecordError::Count { stated } => write!(f, "a batch cannot have {stated} records"),
            RecordError::Missing { records } => {
                write!(f, "the batch ends {records} records before the stated count")
            }
            RecordError::Trailing { bytes } => write!(f, "{bytes} bytes follow the last record"),
            RecordError::Varint { part, error } => write!(f, "{part}: {error}"),
            RecordError::Length { part, length } => write!(f, "{part} {length} does not fit the record"),
            RecordError::Leftover { bytes } => write!(f, "{bytes} bytes follow the last header of a record"),
        }
    }
}

impl std::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RecordError::Decompress(error) => Some(error),
            RecordError::Varint { error, .. } => Some(error),
            _ => None,
        }
    }
}
