//! A batch: the records of one partition that travel and are answered together.
//!
//! Open: it takes records, encoded straight into its chunks. Closed: its records are final; with a codec it then waits to be
//! compressed. Ready: it can be drained. Drained: the sender stamps it and its bytes go to the socket as they lie, piece by
//! piece. A batch owns its memory all the way (ACC-25).

use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use rohrpost_record::{BatchBuilder, Codec, HEADER_LEN, PayloadLen, RecordSize, Stamp, prefetch};

use super::pool::{BATCH_BYTES, Chunk, Places};
use super::queue::Partition;
use super::split::BatchId;
use crate::delivery::{Completion, Handle, Stock};
use crate::outcome::{BatchFailure, BatchResult, Outcome, Reason};
use crate::record::{Header, Parts, Record, TopicName};
use crate::sync;

/// The records of one partition that travel together.
pub(crate) struct Batch {
    pub(super) partition: Arc<Partition>,
    pub(super) completion: sync::Arc<Completion>,
    /// For the handles of its records, until it leaves its queue.
    stock: Option<Stock>,
    pub(super) pieces: Vec<Piece>,
    pub(super) builder: BatchBuilder,
    pub(super) state: State,
    pub(super) id: BatchId,
    /// Write limit, in estimated bytes: `batch.size`, or the first record's estimate if that is larger (ACC-3).
    pub(super) limit: usize,
    /// The same in uncompressed bytes: a batch that does not shrink after all must still go into a request.
    raw_limit: usize,
    /// Estimated bytes per uncompressed byte, in 1/65536 (ACC-5). 65536 without compression.
    scale: u64,
    /// A record that takes less than this fits, whatever the codec, and does not fill the batch; see [`Batch::append_short`].
    quick_room: usize,
    /// Codec and bytes of the records part as they travel. Set when the batch is ready.
    pub(super) codec: Codec,
    pub(super) payload_len: usize,
    pub(super) created_ms: u64,
    /// The same to the microsecond, and when it was closed for appends (MTR-2); 0: when it was sent.
    pub(super) created_us: u64,
    pub(super) closed_us: u64,
    /// Waiting counts from here: creation, or the last re-enqueue (ACC-12).
    pub(super) since_ms: u64,
    pub(super) not_before_ms: u64,
    pub(super) attempts: u32,
    pub(super) is_retry: bool,
    /// The leader epoch when it was last drained (ACC-10).
    pub(super) leader_epoch: i32,
    stamp: Option<Stamp>,
    /// The largest record's estimate (ACC-8).
    pub(super) max_record: usize,
    /// It has left its queue, and is counted as such.
    pub(super) is_out: bool,
    /// It was taken out to be sent, or is part of a batch of which an earlier attempt may have been written.
    pub(super) was_drained: bool,
    /// It is part of a batch that was too large (ACC-8).
    pub(super) is_split: bool,
    /// Its header is written; from then on only its stamp may change.
    has_header: bool,
    /// Of its records, if they are counted (CFG-21).
    pub(super) places: Option<Places>,
    /// Bytes of records when the sender last looked: does it grow?
    pub(super) seen_len: usize,
}

/// [`Batch::scale`] without compression.
const PLAIN: u64 = 1 << 16;

/// What is charged for a batch has room for the batch twice (a queue doubles), its completion, a few pieces, and the sender's entry.
#[cfg(not(loom))]
const _: () = assert!(
    2 * size_of::<Batch>() + size_of::<Completion>() + 2 * size_of::<Piece>() <= BATCH_BYTES,
    "a batch has grown: so must BATCH_BYTES"
);

/// How far before an append memory is asked for, in bytes: see [`prefetch`]. And how much at most.
const AHEAD: usize = 512;
const AHEAD_MAX: usize = 2048;

/// Memory and how much of it is used. The first piece begins with the batch's header. A record lies in one piece.
pub(crate) struct Piece {
    pub(super) chunk: Chunk,
    pub(super) used: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Takes records.
    Open,
    /// With the codec pool; its pieces are there too.
    Compressing,
    /// Its bytes are final but for header and stamp.
    Ready,
}

impl Batch {
    pub(super) fn open(
        partition: Arc<Partition>,
        id: BatchId,
        chunk: Chunk,
        limit: usize,
        raw_limit: usize,
        scale: u64,
        now_ms: u64,
    ) -> Batch {
        let mut batch = Batch::with(Completion::open(partition.clone()), partition, id, chunk, now_ms);
        (batch.limit, batch.raw_limit, batch.scale) = (limit, raw_limit, scale);
        batch.stock = Some(batch.completion.stock());
        if let Some(piece) = batch.pieces.first_mut() {
            let len = piece.chunk.len().min(AHEAD);
            prefetch::for_write(&mut piece.chunk.bytes_mut()[..len]);
        }
        batch
    }

    /// A batch that takes whatever is appended. When it was created is told to the millisecond; its maker knows it better.
    pub(super) fn with(
        completion: sync::Arc<Completion>,
        partition: Arc<Partition>,
        id: BatchId,
        chunk: Chunk,
        now_ms: u64,
    ) -> Batch {
        Batch {
            completion,
            stock: None,
            partition,
            pieces: vec![Piece { chunk, used: HEADER_LEN }],
            builder: BatchBuilder::new(),
            state: State::Open,
            id,
            limit: usize::MAX,
            raw_limit: usize::MAX,
            scale: PLAIN,
            quick_room: 0,
            codec: Codec::None,
            payload_len: 0,
            created_ms: now_ms,
            created_us: 0,
            closed_us: 0,
            since_ms: now_ms,
            not_before_ms: 0,
            attempts: 0,
            is_retry: false,
            leader_epoch: -1,
            stamp: None,
            max_record: 0,
            is_out: false,
            was_drained: false,
            is_split: false,
            has_header: false,
            places: None,
            seen_len: 0,
        }
    }

    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// The shared end of its records. Clone the reference to keep it beyond the batch.
    pub(crate) fn completion(&self) -> &sync::Arc<Completion> {
        &self.completion
    }

    pub(crate) fn record_count(&self) -> u32 {
        self.builder.count()
    }

    /// Bytes of the whole batch as it travels, header included. Final once it is drained.
    pub(crate) fn encoded_len(&self) -> usize {
        HEADER_LEN + if self.state == State::Ready { self.payload_len } else { self.builder.records_len() }
    }

    /// Producer id, epoch and sequence, once it has them (ACC-18).
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// Writes producer id, epoch, sequence, and the checksum over all of the batch (IDM-0). Only on a drained batch.
    pub(crate) fn set_stamp(&mut self, stamp: Stamp) {
        let Some((first, rest)) = self.pieces.split_first_mut() else { return };
        let rest = rest.iter().map(|piece| &piece.chunk.bytes()[..piece.used]);
        rohrpost_record::stamp(&mut first.chunk.bytes_mut()[..first.used], rest, stamp);
        self.stamp = (stamp != Stamp::NONE).then_some(stamp);
    }

    /// The stamp it is to have (ACC-22); it is written when the batch is sent. The sender may still decide otherwise.
    pub(super) fn inherit_stamp(&mut self, stamp: Stamp) {
        self.stamp = Some(stamp);
    }

    /// The bytes to write, in order.
    pub(crate) fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
        out.extend(self.pieces.iter().map(|piece| IoSlice::new(&piece.chunk.bytes()[..piece.used])));
    }

    /// Gives its memory back before its outcome is told: its request has ended, but an older batch has to be told first (IDM-14).
    pub(crate) fn release_memory(&mut self) {
        self.pieces = Vec::new();
        self.release_places();
    }

    /// Its records are not counted any more (CFG-21): they have their outcome.
    pub(crate) fn release_places(&mut self) {
        self.places = None;
    }

    /// A record is in that has this place (CFG-21).
    pub(super) fn take_place(&mut self, place: Places) {
        match &mut self.places {
            Some(places) => places.join(place),
            None => self.places = Some(place),
        }
    }

    /// Its place in the order of its partition.
    pub(crate) fn id(&self) -> BatchId {
        self.id
    }

    /// Whether its bytes are there, header and all.
    pub(super) fn has_bytes(&self) -> bool {
        self.has_header && !self.pieces.is_empty()
    }

    /// How often it was put back into its queue (ACC-21).
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Monotonic ms when its first record was appended.
    pub(crate) fn created_ms(&self) -> u64 {
        self.created_ms
    }

    /// Monotonic µs of the same moment.
    pub(crate) fn created_us(&self) -> u64 {
        self.created_us
    }

    /// MTR-2: how long it took records, and how long it then waited, if it is sent now.
    pub(crate) fn filling_and_queued_us(&self, now_us: u64) -> (u64, u64) {
        let closed_us = if self.closed_us == 0 { now_us } else { self.closed_us.min(now_us) };
        let closed_us = closed_us.max(self.created_us);
        (closed_us - self.created_us, now_us.saturating_sub(closed_us))
    }

    /// Bytes of its records before compression.
    pub(crate) fn records_len(&self) -> usize {
        self.builder.records_len()
    }

    /// The largest record's size estimate in bytes, with a header of its own (ACC-8).
    pub(crate) fn max_record_size(&self) -> usize {
        self.max_record
    }

    /// When `delivery.timeout.ms` of its topic is over (ACC-24, CFG-17).
    pub(crate) fn expiry_ms(&self) -> u64 {
        self.created_ms.saturating_add(self.partition.settings().delivery_timeout_ms)
    }

    /// A copy of its bytes. The header is there if it was drained.
    pub(super) fn copy(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        for piece in &self.pieces {
            bytes.extend_from_slice(&piece.chunk.bytes()[..piece.used]);
        }
        bytes
    }

    /// Copies of its records, for reports on what was not delivered. `limit` bounds what a compressed batch may grow to.
    pub(crate) fn records(&self, limit: usize) -> Vec<Record> {
        let mut bytes = self.copy();
        let Some(head) = bytes.first_chunk_mut::<HEADER_LEN>() else { return Vec::new() };
        let (codec, payload_len) = match self.state {
            State::Ready => (self.codec, self.payload_len),
            _ => (Codec::None, self.builder.records_len()),
        };
        self.builder.write_header(head, codec, payload_len, false);
        let mut scratch = Vec::new();
        let Ok(batch) = rohrpost_record::Batch::parse(&bytes) else { return Vec::new() };
        let Ok(records) = batch.records(&mut scratch, limit) else { return Vec::new() };
        let topic = TopicName::new(self.partition.topic_name());
        records
            .map_while(Result::ok)
            .map(|record| Record {
                topic: Some(topic.clone()),
                partition: Some(self.partition.index()),
                timestamp: Some(record.timestamp),
                key: record.key.map(Bytes::copy_from_slice),
                value: record.value.map(Bytes::copy_from_slice),
                headers: record
                    .headers()
                    .map(|header| {
                        Header::new(
                            String::from_utf8_lossy(header.key),
                            header.value.map(Bytes::copy_from_slice),
                        )
                    })
                    .collect(),
            })
            .collect()
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// ACC-5: without compression exact.
    #[inline]
    pub(super) fn estimated_len(&self) -> usize {
        HEADER_LEN + self.scaled(self.builder.records_len())
    }

    /// ACC-4: it has a record, and no more estimated bytes are allowed than it has; or it is closed.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        !self.is_open()
            || (self.builder.count() != 0
                && (self.limit <= self.estimated_len() || self.raw_limit <= self.uncompressed_len()))
    }

    /// ACC-4: whether a record of `len` bytes fits.
    #[inline]
    pub(super) fn fits(&self, len: usize) -> bool {
        self.builder.count() == 0
            || (self.limit >= self.estimated_len() + len && self.raw_limit >= self.uncompressed_len() + len)
    }

    #[inline]
    pub(super) fn uncompressed_len(&self) -> usize {
        HEADER_LEN + self.builder.records_len()
    }

    /// Bytes left in the last piece.
    #[inline]
    pub(super) fn tail_room(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.chunk.len() - piece.used)
    }

    /// How large the next chunk should be: twice the last, but not more than the batch can still use.
    pub(super) fn next_chunk_wish(&self) -> usize {
        let last = self.pieces.last().map_or(0, |piece| piece.chunk.len());
        let left = self.limit.saturating_sub(self.estimated_len());
        // With compression more goes in than the estimate counts.
        let left = (left as u64).saturating_mul(1 << 16) / self.scale.max(1);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        (2 * last).min(left).min(self.raw_limit.saturating_sub(self.uncompressed_len()))
    }

    pub(super) fn add_chunk(&mut self, chunk: Chunk) {
        self.pieces.push(Piece { chunk, used: 0 });
    }

    /// Encodes a record that fits and for which there is room; gives its index and the estimated bytes it added.
    #[inline]
    pub(super) fn append(&mut self, record: &Record, size: RecordSize, timestamp: i64) -> (u32, usize) {
        let Some(piece) = self.pieces.last_mut() else {
            unreachable!("an open batch has a piece");
        };
        let (index, before) = (self.builder.count(), self.builder.records_len());
        piece.used += self.builder.append_measured(
            &mut piece.chunk.bytes_mut()[piece.used..],
            size,
            timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            &record.headers,
        );
        self.quick_room = self.room_for_certain();
        (index, self.scaled(self.builder.records_len()) - self.scaled(before))
    }

    /// Encodes a record if there is no question that it fits and that the batch is not full afterwards; else nothing has happened.
    /// Gives the same as [`append`](Batch::append).
    #[inline]
    pub(super) fn append_short<R: Parts>(
        &mut self,
        record: &R,
        payload: PayloadLen,
        timestamp: i64,
    ) -> Option<(u32, usize)> {
        let (index, before) = (self.builder.count(), self.builder.records_len());
        let piece = self.pieces.last_mut()?;
        let room = &mut piece.chunk.bytes_mut()[piece.used..];
        let end = room.len().min(self.quick_room);
        let len = self.builder.try_append(
            &mut room[..end],
            timestamp,
            payload,
            record.key_part(),
            record.value_part(),
            record.header_part(),
        )?;
        // What the record after the next will be written to: the lines come from another core, and that takes as long as an append.
        let ahead = (len + len.max(AHEAD)).min(end);
        prefetch::for_write(&mut room[ahead..(ahead + len.min(AHEAD_MAX)).min(end)]);
        piece.used += len;
        self.quick_room -= len;
        let added = match self.scale {
            PLAIN => len,
            _ => self.scaled(before + len) - self.scaled(before),
        };
        Some((index, added))
    }

    /// Uncompressed bytes that fit by both limits, were each of them to count in full (ACC-4).
    fn room_for_certain(&self) -> usize {
        let left = self.limit.saturating_sub(self.estimated_len());
        let left = match self.scale {
            0..=PLAIN => left,
            // What grows counts for more than it is.
            scale => (left as u128 * u128::from(PLAIN) / u128::from(scale)) as usize,
        };
        left.min(self.raw_limit.saturating_sub(self.uncompressed_len()))
    }

    /// ACC-23: from now on it takes no more than this.
    pub(super) fn lower_limit(&mut self, limit: usize) {
        self.limit = self.limit.min(limit);
        self.quick_room = 0;
    }

    /// A handle for the record that was just appended.
    #[inline]
    pub(super) fn handle(&mut self) -> Handle {
        match &mut self.stock {
            Some(stock) => stock.take(),
            None => self.completion.handle(),
        }
    }

    /// It leaves its queue: how many records and handles it has is known from now on.
    pub(super) fn seal(&mut self) {
        self.stock = None;
        self.completion.set_records(self.record_count());
    }

    /// Closes it for appends. Without a codec it is ready at once.
    pub(super) fn close_plain(&mut self) {
        self.state = State::Ready;
        self.codec = Codec::None;
        self.payload_len = self.builder.records_len();
    }

    /// It leaves its queue: writes the header. Outside the partition's lock.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.has_header, true) {
            return; // it was out before, and may be stamped
        }
        if let Some(head) =
            self.pieces.first_mut().and_then(|piece| piece.chunk.bytes_mut().first_chunk_mut())
        {
            self.builder.write_header(head, self.codec, self.payload_len, false);
        }
    }

    #[inline]
    fn scaled(&self, bytes: usize) -> usize {
        ((bytes as u64 * self.scale) >> 16) as usize
    }
}

/// Every batch ends with a result. This is for those that are dropped with the producer itself, so that no handle waits for ever.
impl Drop for Batch {
    fn drop(&mut self) {
        if self.completion.is_done() || self.completion.is_held() {
            return;
        }
        self.seal();
        let records = self.builder.count();
        if !self.is_out {
            self.partition.ledger().taken_out(records.into());
        }
        // Never drained: nobody can have written it (CMPL-8).
        let outcome =
            if self.attempts == 0 && !self.was_drained { Outcome::NotWritten } else { Outcome::Unknown };
        let failure = BatchFailure {
            outcome,
            reason: Reason::Closed,
            message: Some("the producer was dropped".into()),
            record_errors: Vec::new(),
            attempts: self.attempts + u32::from(self.was_drained),
        };
        let failure = Arc::new(failure);
        let ledger = self.partition.ledger().clone();
        if let Some(keeping) = ledger.outlet.keeping()
            && let Some(remains) = self.take_remains()
        {
            // How old it is nobody knows here.
            keeping.fails(&self.completion, &failure, 0, Some(remains));
        }
        self.completion.resolve(BatchResult::Failed(failure));
    }
}

#[cfg(test)]
impl Batch {
    /// It was in a request before (ACC-8).
    pub(crate) fn is_retry(&self) -> bool {
        self.is_retry
    }

    /// The codec it travels with.
    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }
}
