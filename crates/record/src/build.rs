//! Encoding at append time: a record goes straight into the bytes that will travel.
//!
//! The accumulator owns the buffer; a [`BatchBuilder`] only remembers what the header will need: how many records, how many bytes,
//! the first and the largest timestamp. It measures a record before room is taken for it ([`BatchBuilder::measure`]), writes it
//! ([`BatchBuilder::append_measured`]), and writes the header when the batch closes ([`BatchBuilder::write_header`]).
//!
//! ```
//! use rohrpost_record::{BatchBuilder, Codec, HEADER_LEN, NO_HEADERS, Stamp, stamp};
//!
//! let mut builder = BatchBuilder::new();
//! let mut batch = vec![0; HEADER_LEN];
//! let len = builder.record_len(1_750_000_000_000, Some(b"key"), Some(b"value"), NO_HEADERS);
//! batch.resize(HEADER_LEN + len, 0);
//! builder.append(&mut batch[HEADER_LEN..], 1_750_000_000_000, Some(b"key"), Some(b"value"), NO_HEADERS);
//! let header = batch.first_chunk_mut().expect("61 bytes were reserved");
//! builder.write_header(header, Codec::None, builder.records_len(), false);
//! stamp(&mut batch, [], Stamp::NONE);
//! ```

use crate::codec::Codec;
use crate::header::{Attributes, BatchHeader, HEADER_LEN, LOG_OVERHEAD, MAGIC};
use crate::varint::{put_unsigned_varlong, put_varlong, size_varint, size_varlong, zigzag32, zigzag64};

/// What a record takes at most beside key, value and headers: length, attributes, timestamp delta, offset delta (PRE-5).
pub const RECORD_OVERHEAD_MAX: usize = 21;

/// A record's header as the encoder sees it, so that callers can keep theirs in any form.
pub trait HeaderRef {
    /// The name: UTF-8, may be empty, may occur more than once.
    fn key(&self) -> &[u8];
    /// The value; `None` is null, which differs from empty.
    fn value(&self) -> Option<&[u8]>;
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name: UTF-8 by Kafka's rules, not checked here.
    pub key: &'a [u8],
    /// The value; `None` is null, which differs from empty.
    pub value: Option<&'a [u8]>,
}

impl HeaderRef for Header<'_> {
    #[inline]
    fn key(&self) -> &[u8] {
        self.key
    }
    #[inline]
    fn value(&self) -> Option<&[u8]> {
        self.value
    }
}

impl<H: HeaderRef> HeaderRef for &H {
    #[inline]
    fn key(&self) -> &[u8] {
        (**self).key()
    }
    #[inline]
    fn value(&self) -> Option<&[u8]> {
        (**self).value()
    }
}

/// A record without headers.
pub const NO_HEADERS: &[Header<'static>] = &[];

/// Bytes of a record's key, value and headers with their lengths: the part of its size that does not depend on the batch. Take it
/// once, and the checks before the append and the append itself share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadLen(usize);

impl PayloadLen {
    /// The last part of PRE-5 and REC-2.
    #[inline]
    pub fn of<H: HeaderRef>(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[H]) -> PayloadLen {
        let count_len = if headers.is_empty() { 1 } else { size_varlong(headers.len() as i64) };
        let mut len = nullable_len(key) + nullable_len(value) + count_len;
        for header in headers {
            len += nullable_len(Some(header.key())) + nullable_len(header.value());
        }
        PayloadLen(len)
    }

    /// An upper bound of the bytes of a batch with this record alone, before compression, whatever the timestamp (PRE-5).
    #[inline]
    pub const fn upper_bound(self) -> usize {
        HEADER_LEN + RECORD_OVERHEAD_MAX + self.0
    }
}

/// What a record takes if it is appended next; see [`BatchBuilder::measure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSize {
    body: usize,
    total: usize,
    timestamp_delta: i64,
}

impl RecordSize {
    /// Bytes of the record, its length field included.
    #[inline]
    pub const fn total(self) -> usize {
        self.total
    }
}

/// The state of an open batch. It owns no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchBuilder {
    count: u32,
    records_len: usize,
    base_timestamp: i64,
    max_timestamp: i64,
    /// The base timestamp is a delete horizon, not the first record's time.
    delete_horizon: bool,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// A batch without records.
    pub const fn new() -> Self {
        BatchBuilder {
            count: 0,
            records_len: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            delete_horizon: false,
        }
    }

    /// A batch whose markers and tombstones may go after `horizon_ms`, as compaction writes it: the base timestamp field holds the
    /// horizon, bit 6 says so, and the records' deltas count from it.
    pub const fn with_delete_horizon(horizon_ms: i64) -> Self {
        BatchBuilder { base_timestamp: horizon_ms, delete_horizon: true, ..Self::new() }
    }

    /// An upper bound of the bytes of a batch with this record alone, before compression, whatever the timestamp (PRE-5).
    #[inline]
    pub fn upper_bound<H: HeaderRef>(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[H]) -> usize {
        PayloadLen::of(key, value, headers).upper_bound()
    }

    /// The exact size of a record, if it is appended next (REC-2).
    #[inline]
    pub fn measure<H: HeaderRef>(
        &self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[H],
    ) -> RecordSize {
        self.measure_payload(timestamp, PayloadLen::of(key, value, headers))
    }

    /// [`BatchBuilder::measure`] of a record whose payload was measured before.
    #[inline]
    pub fn measure_payload(&self, timestamp: i64, payload: PayloadLen) -> RecordSize {
        let timestamp_delta = self.timestamp_delta(timestamp);
        let body = 1 + size_varlong(timestamp_delta) + size_varint(self.count as i32) + payload.0;
        RecordSize { body, total: size_varlong(body as i64) + body, timestamp_delta }
    }

    /// The exact size in bytes of a record, if it is appended next (REC-2).
    #[inline]
    pub fn record_len<H: HeaderRef>(
        &self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[H],
    ) -> usize {
        self.measure(timestamp, key, value, headers).total
    }

    /// Encodes a record at the start of `out` and returns the bytes written: [`BatchBuilder::record_len`].
    ///
    /// # Panics
    /// If `out` is shorter than that. A record's body must stay below 2 GiB: check [`BatchBuilder::upper_bound`] against a limit first.
    #[inline]
    pub fn append<H: HeaderRef>(
        &mut self,
        out: &mut [u8],
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[H],
    ) -> usize {
        let size = self.measure(timestamp, key, value, headers);
        self.append_measured(out, size, timestamp, key, value, headers)
    }

    /// [`BatchBuilder::append`] for a record that was just measured: `size` comes from [`BatchBuilder::measure`] with the same
    /// arguments, and nothing was appended in between.
    ///
    /// # Panics
    /// As `append`, and if `size` is another record's.
    // `inline(always)`: nine arguments that the caller mostly knows; a call costs as much as the work (22 against 12 ns per record of
    // 100 bytes, of which copying takes 3)
    #[inline(always)]
    pub fn append_measured<H: HeaderRef>(
        &mut self,
        out: &mut [u8],
        size: RecordSize,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[H],
    ) -> usize {
        let out = &mut out[..size.total];
        let mut at = put_head(out, size.body, size.timestamp_delta, self.count as i32);
        at = put_nullable(out, at, key);
        at = put_nullable(out, at, value);
        at += put_varlong(&mut out[at..], headers.len() as i64);
        for header in headers {
            at = put_nullable(out, at, Some(header.key()));
            at = put_nullable(out, at, header.value());
        }
        assert!(at == size.total, "a record was measured with other arguments than it was appended with");
        self.count_in(timestamp, size.total);
        size.total
    }

    /// Encodes a record whose payload was measured before into less than all of `out`, if it is one of nearly all: body, timestamp
    /// delta and offset delta each below 8192. Returns the bytes written; with `None` nothing has happened.
    ///
    /// It does in one step what [`BatchBuilder::measure`] and [`BatchBuilder::append_measured`] do in two (100 instructions fewer),
    /// for the case that the record fits. `payload` comes from the same key, value and headers.
    ///
    /// # Panics
    /// If `payload` is smaller than what key, value and headers take: a broken invariant.
    // `inline(always)`: see `append_measured`
    #[inline(always)]
    pub fn try_append<H: HeaderRef>(
        &mut self,
        out: &mut [u8],
        timestamp: i64,
        payload: PayloadLen,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[H],
    ) -> Option<usize> {
        let timestamp_delta = zigzag64(self.timestamp_delta(timestamp));
        let offset_delta = u64::from(zigzag32(self.count as i32));
        if timestamp_delta | offset_delta | payload.0 as u64 >= 1 << 13 {
            return None; // 2^13 and not 2^14: the body is up to five bytes longer than the payload, and then doubled
        }
        let (timestamp_bits, timestamp_len) = short_varint(timestamp_delta);
        let (offset_bits, offset_len) = short_varint(offset_delta);
        let body = 1 + timestamp_len + offset_len + payload.0;
        if body >= 1 << 13 {
            return None;
        }
        let (body_bits, body_len) = short_varint(body as u64 * 2);
        let total = body_len + body;
        if total >= out.len() {
            return None;
        }
        // After the length one byte of attributes: none are defined.
        let at = body_len + 1;
        let head = body_bits | timestamp_bits << (8 * at) | offset_bits << (8 * (at + timestamp_len));
        // Seven bytes at most; what the eighth overwrites is written again, or not used.
        *out.first_chunk_mut::<8>()? = head.to_le_bytes();
        let out = &mut out[..total];
        let mut at = at + timestamp_len + offset_len;
        at = put_nullable(out, at, key);
        at = put_nullable(out, at, value);
        at += put_unsigned_varlong(&mut out[at..], headers.len() as u64 * 2);
        for header in headers {
            at = put_nullable(out, at, Some(header.key()));
            at = put_nullable(out, at, header.value());
        }
        assert!(at == total, "a record was measured with other arguments than it was appended with");
        self.count_in(timestamp, total);
        Some(total)
    }

    #[inline]
    fn count_in(&mut self, timestamp: i64, len: usize) {
        if self.count == 0 {
            if !self.delete_horizon {
                self.base_timestamp = timestamp;
            }
            self.max_timestamp = timestamp;
        } else if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
        }
        self.count += 1;
        self.records_len += len;
    }

    /// Records so far.
    #[inline]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the records so far, uncompressed and without the batch's header.
    #[inline]
    pub const fn records_len(&self) -> usize {
        self.records_len
    }

    /// Timestamp of the first record, −1 without records; or the delete horizon.
    #[inline]
    pub const fn base_timestamp(&self) -> i64 {
        self.base_timestamp
    }

    /// The largest timestamp; −1 without records.
    #[inline]
    pub const fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Closes the batch: the header as [`BatchBuilder::header`] has it.
    ///
    /// `payload_len`: bytes of the records part as it will travel, that is compressed if `codec` is one.
    ///
    /// # Panics
    /// If `payload_len` is 2 GiB or more.
    #[inline]
    pub fn write_header(
        &self,
        out: &mut [u8; HEADER_LEN],
        codec: Codec,
        payload_len: usize,
        transactional: bool,
    ) {
        self.header(Attributes::new(codec, transactional), payload_len).write(out);
    }

    /// The header of the closed batch: base offset 0, leader epoch, producer id, epoch and sequence −1, checksum 0. [`stamp`](crate::stamp)
    /// writes the last four.
    ///
    /// # Panics
    /// If `payload_len` is 2 GiB or more.
    pub fn header(&self, attributes: Attributes, payload_len: usize) -> BatchHeader {
        let length = HEADER_LEN - LOG_OVERHEAD + payload_len;
        assert!(
            length <= i32::MAX as usize - LOG_OVERHEAD,
            "a batch's length is 32 bits long, {length} does not fit"
        );
        BatchHeader {
            base_offset: 0,
            batch_length: length as i32,
            partition_leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: if self.delete_horizon { attributes.with_delete_horizon() } else { attributes },
            last_offset_delta: self.count as i32 - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records_count: self.count as i32,
        }
    }

    #[inline]
    fn timestamp_delta(&self, timestamp: i64) -> i64 {
        if self.count == 0 && !self.delete_horizon { 0 } else { timestamp.wrapping_sub(self.base_timestamp) }
    }
}

#[inline]
fn nullable_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => size_varlong(bytes.len() as i64) + bytes.len(),
        None => 1,
    }
}

/// Length, attributes (none are defined), timestamp delta and offset delta of a record that fills `out`. Returns the bytes written.
#[inline(always)]
fn put_head(out: &mut [u8], body: usize, timestamp_delta: i64, offset_delta: i32) -> usize {
    let timestamp_delta = zigzag64(timestamp_delta);
    let offset_delta = u64::from(zigzag32(offset_delta));
    let body = zigzag64(body as i64);
    // Nearly every record: three numbers of one or two bytes each, put together in a register and stored at once. What the eight
    // bytes reach beyond the seven that these can take is written again right after.
    if body | timestamp_delta | offset_delta < 1 << 14
        && let Some(room) = out.first_chunk_mut::<8>()
    {
        let (bits, len) = short_varint(body);
        let (mut head, mut at) = (bits, len + 1);
        let (bits, len) = short_varint(timestamp_delta);
        head |= bits << (8 * at);
        at += len;
        let (bits, len) = short_varint(offset_delta);
        head |= bits << (8 * at);
        *room = head.to_le_bytes();
        return at + len;
    }
    let mut at = put_unsigned_varlong(out, body);
    out[at] = 0;
    at += 1;
    at += put_unsigned_varlong(&mut out[at..], timestamp_delta);
    at + put_unsigned_varlong(&mut out[at..], offset_delta)
}

/// Writes a length and the bytes at `at`, or the length −1; returns the position after them.
#[inline(always)]
fn put_nullable(out: &mut [u8], mut at: usize, bytes: Option<&[u8]>) -> usize {
    let Some(bytes) = bytes else {
        out[at] = 1;
        return at + 1;
    };
    let zigzagged = bytes.len() as u64 * 2;
    // not empty, so that two bytes are there whether or not the length takes both
    if (1..1 << 14).contains(&zigzagged) {
        let (bits, len) = short_varint(zigzagged);
        out[at..at + 2].copy_from_slice(&(bits as u16).to_le_bytes());
        at += len;
    } else {
        at += put_unsigned_varlong(&mut out[at..], zigzagged);
    }
    out[at..at + bytes.len()].copy_from_slice(bytes);
    at + bytes.len()
}

/// The one or two bytes of a varint below 2^14, in the low bits of a register, and how many they are; without a branch.
#[inline]
const fn short_varint(value: u64) -> (u64, usize) {
    let more = (value >= 0x80) as u64;
    (value & 0x7f | more << 7 | (value >> 7) << 8, 1 + more as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::Raw;

    #[test]
    fn an_open_batch_has_no_place_in_a_log_and_no_producer() {
        let mut builder = BatchBuilder::new();
        builder.append(&mut [0; 64], 7, None, Some(b"v"), NO_HEADERS);
        let header = builder.header(Attributes::new(Codec::None, false), 9);
        assert_eq!((header.base_offset, header.partition_leader_epoch, header.crc), (0, -1, 0));
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (-1, -1, -1));
        assert_eq!((header.batch_length, header.records_count, header.last_offset_delta), (58, 1, 0));
    }

    #[test]
    fn headers_may_be_borrowed() {
        let own = [Header { key: b"h", value: Some(b"v") }, Header { key: b"n", value: None }];
        let borrowed: Vec<&Header<'_>> = own.iter().collect();
        let (mut one, mut other) = ([0; 64], [0; 64]);
        let len = BatchBuilder::new().append(&mut one, 7, None, None, &own);
        assert_eq!(BatchBuilder::new().append(&mut other, 7, None, None, &borrowed), len);
        assert_eq!(one, other);
    }

    /// REC-2
    #[test]
    fn record_sizes_of_the_reference() {
        let mut builder = BatchBuilder::new();
        assert_eq!(builder.record_len(7, Some(b"key"), Some(b"value"), NO_HEADERS), 15);
        let value = [7; 1000];
        let mut out = [0; 1024];
        for _ in 0..64 {
            assert_eq!(builder.record_len(7, None, Some(&value), NO_HEADERS), 1009);
            builder.append(&mut out, 7, None, Some(&value), NO_HEADERS);
        }
        assert_eq!(builder.record_len(7, None, Some(&value), NO_HEADERS), 1010);
    }

    /// PRE-5
    #[test]
    fn the_estimate_is_never_exceeded() {
        let headers = [Header { key: b"h", value: None }, Header { key: b"h", value: Some(b"") }];
        assert_eq!(
            BatchBuilder::upper_bound(Some(b"key"), Some(b"value"), &headers),
            61 + 21 + 4 + 6 + 1 + 3 + 3
        );
        assert_eq!(BatchBuilder::upper_bound(None, None, NO_HEADERS), 61 + 21 + 1 + 1 + 1);
        let builder =
            BatchBuilder { count: i32::MAX as u32, base_timestamp: i64::MIN, ..BatchBuilder::new() };
        let body = builder.record_len(-1, Some(b"key"), Some(b"value"), &headers);
        assert!(HEADER_LEN + body <= BatchBuilder::upper_bound(Some(b"key"), Some(b"value"), &headers));
    }

    /// REC-2: at every border between one and two bytes, and between the short way and the long one
    #[test]
    fn both_ways_of_an_append_write_the_same_bytes() {
        let value = [7; 8300];
        let headers = [Header { key: b"h", value: None }, Header { key: b"long", value: Some(&value[..70]) }];
        let mut short_ways = 0;
        for (len, key_len, n_headers) in
            [0, 1, 50, 53, 56, 57, 58, 59, 60, 63, 64, 65, 8100, 8170, 8180, 8185, 8190, 8192, 8300]
                .into_iter()
                .flat_map(|len| [(len, 0, 0), (len, 0, 2), (len, 1, 0), (len, 70, 1)])
        {
            let key = (key_len > 0).then_some(&value[..key_len]);
            let headers = &headers[..n_headers];
            for value in [None, Some(&value[..len])] {
                for count in [0, 1, 63, 64, 4095, 4096, 8191, 8192] {
                    for delta in [0, 63, 64, -64, -65, 4095, 4096, 8192, 1 << 40] {
                        let long = BatchBuilder { count, base_timestamp: 1 << 41, ..BatchBuilder::new() };
                        let (mut long, mut short) = (long, long);
                        let timestamp = (1 << 41) + delta;
                        let (mut expected, mut out) = ([0; 8600], [0xff; 8600]);
                        let size = long.append(&mut expected, timestamp, key, value, headers);
                        let (read, used) = Raw::read(&expected[..size]).expect("a record");
                        assert_eq!((used, read.key, read.value), (size, key, value));
                        assert_eq!(read.headers.collect::<Vec<_>>(), headers);
                        let delta = if count == 0 { 0 } else { delta };
                        assert_eq!((read.timestamp_delta, read.offset_delta), (delta, count as i32));
                        let payload = PayloadLen::of(key, value, headers);
                        let mut append = |room| {
                            short.try_append(&mut out[..room], timestamp, payload, key, value, headers)
                        };
                        assert_eq!(append(size), None, "all of the room is too much");
                        let Some(written) = append(size + 1) else { continue };
                        short_ways += 1;
                        assert_eq!((written, &out[..size]), (size, &expected[..size]));
                        assert_eq!(short, long);
                    }
                }
            }
        }
        assert!(short_ways > 2000, "{short_ways}");
    }

    #[test]
    #[should_panic(expected = "measured with other arguments")]
    fn a_size_of_another_record_is_noticed() {
        let mut builder = BatchBuilder::new();
        let size = builder.measure(0, None, Some(b"longer"), NO_HEADERS);
        builder.append_measured(&mut [0; 64], size, 0, None, Some(b"short"), NO_HEADERS);
    }
}
