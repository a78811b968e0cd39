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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::BatchBuilder;
    use crate::header::{Attributes, Stamp, stamp};

    /// A batch whose header says this, with these bytes as its records.
    fn batch_of(records_count: i32, codec: Codec, payload: &[u8]) -> Vec<u8> {
        let header = BatchBuilder::new().header(Attributes::new(codec, false), payload.len());
        let header = BatchHeader { records_count, last_offset_delta: records_count - 1, ..header };
        let mut bytes = vec![0; HEADER_LEN];
        header.write(bytes.first_chunk_mut().expect("61 bytes"));
        bytes.extend_from_slice(payload);
        stamp(&mut bytes, [], Stamp::NONE);
        bytes
    }

    /// A record without key and value, with this at its end: the number of headers, and headers.
    fn record_with(headers: &[u8]) -> Vec<u8> {
        let body = [&[0, 0, 0, 1, 1], headers].concat();
        [&[body.len() as u8 * 2], &body[..]].concat()
    }

    fn error_of(record: &[u8]) -> RecordError {
        Raw::read(record).map(|_| ()).expect_err("no record")
    }

    /// REC-7
    #[test]
    fn headers_fill_the_rest_of_their_record_exactly() {
        // the shortest there is: an empty name, and null
        let record = record_with(&[4, 0, 1, 2, b'h', 0]);
        let (raw, used) = Raw::read(&record).expect("a record");
        assert_eq!((used, raw.size), (record.len(), record.len() - 1));
        let mut headers = raw.headers;
        assert_eq!((headers.len(), headers.size_hint()), (2, (2, Some(2))));
        assert_eq!(headers.next(), Some(Header { key: b"", value: None }));
        assert_eq!(headers.len(), 1);
        assert_eq!(headers.next(), Some(Header { key: b"h", value: Some(b"") }));
        assert_eq!((headers.next(), headers.len()), (None, 0));
        let shortest = record_with(&[4, 0, 1, 0, 1]);
        assert_eq!(Raw::read(&shortest).expect("a record").0.headers.count(), 2);

        let length = |part, length| RecordError::Length { part, length };
        assert_eq!(error_of(&record_with(&[0, 7])), RecordError::Leftover { bytes: 1 });
        assert_eq!(error_of(&record_with(&[2, 0, 1, 7])), RecordError::Leftover { bytes: 1 });
        // more than two bytes each could be, none at all, fewer than none
        assert_eq!(error_of(&record_with(&[4, 0, 1, 0])), length(Part::HeaderCount, 2));
        assert_eq!(error_of(&record_with(&[2])), length(Part::HeaderCount, 1));
        assert_eq!(error_of(&record_with(&[1])), length(Part::HeaderCount, -1));
        // null, and a length that is no length
        assert_eq!(error_of(&record_with(&[2, 1, 1])), length(Part::HeaderKey, -1));
        assert_eq!(error_of(&record_with(&[2, 3, 1])), length(Part::HeaderKey, -2));
        assert_eq!(error_of(&record_with(&[2, 0, 2])), length(Part::HeaderValue, 1));
    }

    /// REC-7
    #[test]
    fn a_record_is_as_long_as_it_says() {
        let length = |length| RecordError::Length { part: Part::Length, length };
        assert_eq!(error_of(&[]), RecordError::Varint { part: Part::Length, error: VarintError::Cut });
        assert_eq!(error_of(&[0]), length(0));
        assert_eq!(error_of(&[1]), length(-1));
        assert_eq!(error_of(&[14, 0, 0, 0, 1, 1, 0]), length(7));
        let (raw, used) = Raw::read(&[12, 0, 0, 0, 1, 1, 0, 9]).expect("a record, and a byte behind it");
        assert_eq!((raw.size, used), (6, 7));
    }

    /// REC-7, and the empty batches that compaction leaves
    #[test]
    fn an_empty_batch_is_not_decompressed_and_an_impossible_count_is_refused() {
        let mut scratch = Vec::new();
        let mut plain = |count, codec, payload: &[u8]| {
            let bytes = batch_of(count, codec, payload);
            let batch = Batch::parse(&bytes).expect("a batch");
            batch.plain_records(&mut scratch, 100).map(<[u8]>::len)
        };
        assert_eq!(plain(0, Codec::None, &[]), Ok(0));
        assert_eq!(plain(0, Codec::Gzip, &[]), Ok(0));
        assert_eq!(plain(-1, Codec::None, &[]), Err(RecordError::Count { stated: -1 }));
        // nothing, where records are stated; something that is no stream, where none are
        assert!(matches!(plain(1, Codec::Gzip, &[]), Err(RecordError::Decompress(_))));
        assert!(matches!(plain(0, Codec::Gzip, &[7; 9]), Err(RecordError::Decompress(_))));
    }

    /// REC-7
    #[test]
    fn records_end_with_the_first_error() {
        let record = record_with(&[0]);
        let bytes = batch_of(3, Codec::None, &[&record[..], &[0xff]].concat());
        let batch = Batch::parse(&bytes).expect("a batch");
        let mut unused = Vec::new();
        let mut records = batch.records(&mut unused, 0).expect("plain");
        assert_eq!(records.left(), 3);
        assert!(matches!(records.next(), Some(Ok(_))));
        assert_eq!(records.left(), 2);
        assert!(matches!(records.next(), Some(Err(RecordError::Varint { part: Part::Length, .. }))));
        assert_eq!((records.left(), records.next()), (0, None));

        let ends = |count, payload: &[u8]| {
            let bytes = batch_of(count, Codec::None, payload);
            let batch = Batch::parse(&bytes).expect("a batch");
            let all: Vec<_> = Records::new(batch.header(), payload).collect();
            (all.len(), all.into_iter().find_map(Result::err))
        };
        assert_eq!(ends(2, &record), (2, Some(RecordError::Missing { records: 1 })));
        assert_eq!(ends(1, &[&record[..], &[1, 2]].concat()), (2, Some(RecordError::Trailing { bytes: 2 })));
        assert_eq!(ends(1, &record), (1, None));
    }

    #[test]
    fn batches_end_at_a_cut_one_and_at_the_first_that_is_none() {
        let one = batch_of(0, Codec::None, &[]);
        let cut = [&one[..], &one[..20]].concat();
        let mut batches = Batches::new(&cut);
        assert_eq!(batches.by_ref().map(|b| b.expect("a batch").bytes().len()).collect::<Vec<_>>(), [61]);
        assert_eq!(batches.remaining(), &one[..20]);
        let mut wrong = [&one[..], &one[..], &one[..]].concat();
        wrong[61 + 16] = 3;
        let mut batches = Batches::new(&wrong);
        assert!(batches.next().is_some_and(|b| b.is_ok()));
        assert!(matches!(batches.next(), Some(Err(BatchError::Magic { magic: 3 }))));
        assert!(batches.next().is_none(), "nothing behind it is believed");
        assert_eq!(batches.remaining().len(), 122);
    }

    #[test]
    fn errors_say_which_part_and_what_it_says() {
        use std::error::Error as _;
        let decompress = DecompressError::TooLarge { codec: Codec::Gzip, limit: 9 };
        let texts = [
            (RecordError::Codec { id: 6 }, "there is no compression codec 6".to_owned()),
            (
                RecordError::Decompress(decompress.clone()),
                format!("the records do not decompress: {decompress}"),
            ),
            (RecordError::Count { stated: -1 }, "a batch cannot have -1 records".to_owned()),
            (
                RecordError::Missing { records: 2 },
                "the batch ends 2 records before the stated count".to_owned(),
            ),
            (RecordError::Trailing { bytes: 4 }, "4 bytes follow the last record".to_owned()),
            (
                RecordError::Length { part: Part::Key, length: -7 },
                "key length -7 does not fit the record".to_owned(),
            ),
            (RecordError::Leftover { bytes: 3 }, "3 bytes follow the last header of a record".to_owned()),
        ];
        for (error, text) in texts {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.source().is_some(), matches!(error, RecordError::Decompress(_)), "{text}");
        }
        let parts = [
            (Part::Length, "record length"),
            (Part::TimestampDelta, "timestamp delta"),
            (Part::OffsetDelta, "offset delta"),
            (Part::Key, "key length"),
            (Part::Value, "value length"),
            (Part::HeaderCount, "header count"),
            (Part::HeaderKey, "header key length"),
            (Part::HeaderValue, "header value length"),
        ];
        for (part, name) in parts {
            let error = RecordError::Varint { part, error: VarintError::Cut };
            assert_eq!(error.to_string(), format!("{name}: the bytes end within a variable-length integer"));
            assert!(error.source().is_some());
        }
    }
}
