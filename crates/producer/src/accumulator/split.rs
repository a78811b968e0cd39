//! A batch that a broker found too large becomes smaller ones (ACC-22), and its topic remembers the size (ACC-23).
//!
//! The parts stand in the queue where the batch would stand, in order, closed, as old as the batch. They hold the same records, so
//! that whatever was numbered behind the batch keeps its number. A part has at least one record fewer than its batch: splitting
//! ends.
//!
//! Memory: nothing is waited for, or a full pool could never be emptied. The parts are charged to `buffer.memory` whether there is
//! room or not, and the batch's own charge goes back after that. Without compression they differ by the parts' headers and bookkeeping. With it,
//! the parts take their uncompressed size until they are compressed: `buffer.memory` can be exceeded for that long by the
//! uncompressed size of the batches that are being split: of a partition those in flight, each at most `max.request.size`. Until it is below its bound again,
//! the pool gives nothing to appends.

use std::sync::atomic::Ordering;

use rohrpost_record::{BatchBuilder, HEADER_LEN, Header, Stamp, increment_sequence};

use super::Accumulator;
use super::batch::Batch;
use super::pool::Chunk;
use super::queue::Partition;
use crate::delivery::Completion;
use crate::rules::{self, Rule};
use crate::sync::{self, AtomicU64, AtomicUsize};

/// Names a batch within its partition, and orders it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchId {
    /// Grows with each batch that is opened.
    number: u64,
    /// Of a part: where its first record stood in the batch that was opened.
    first_record: u32,
}

/// What is known of the size that a topic's brokers allow (ACC-23).
pub(crate) struct SizeLimit {
    /// New batches stay within.
    wanted: AtomicUsize,
    /// The smallest size that was refused.
    refused: AtomicUsize,
    /// Monotonic ms at which twice as much is tried.
    try_more_ms: AtomicU64,
}

/// So long after a refusal, or after the last try, twice as much is tried.
const TRY_MORE_AFTER_MS: u64 = 600_000;

/// A part of a batch, as the sender needs to know it.
pub(crate) struct SplitPart {
    pub(crate) id: BatchId,
    pub(crate) completion: sync::Arc<Completion>,
    /// The place of its records in the batch's sequences.
    pub(crate) stamp: Option<Stamp>,
}

impl Accumulator {
    /// Whether a batch that was drained can be split, and is as large as one of its topic that was refused.
    pub(crate) fn is_known_too_large(&self, batch: &Batch) -> bool {
        batch.encoded_len() >= batch.partition.size_limit().refused() && batch.record_count() > 1
    }

    /// Splits a batch that is too large, and puts its parts where it would stand. Their attempts count from 0 (RTY-2).
    /// `was_refused`: a broker said so, and its topic learns from it. `may_be_written`: an earlier attempt may have written it.
    /// Without a way to split it, it comes back.
    pub(crate) fn split(
        &self,
        batch: Batch,
        was_refused: bool,
        may_be_written: bool,
        now_ms: u64,
    ) -> Result<Vec<SplitPart>, Box<Batch>> {
        let own = batch.encoded_len();
        let target = self.split_target(&batch);
        let fits = |_: u32, draft: &Draft, len: usize| draft.bytes.len() + len <= target;
        let Some(drafts) = Draft::refill(&batch, fits).filter(|drafts| drafts.len() > 1) else {
            return Err(Box::new(batch));
        };
        let partition = batch.partition.clone();
        if was_refused {
            partition.ratio().reset(); // ACC-6
            partition.size_limit().learn(own, batch.max_record, now_ms);
        }
        Ok(self.put_parts(batch, drafts, |_| false, may_be_written, now_ms).0)
    }

    /// ERR-3: takes records out of a batch, by the places that `is_out` names. The others are put in the batch's place, in order, to
    /// be sent again; parts whose records are taken out come back. Every part is told of. Without a way to split it, the batch comes
    /// back.
    pub(crate) fn sort_out(
        &self,
        batch: Batch,
        is_out: impl Fn(u32) -> bool,
        now_ms: u64,
    ) -> Result<(Vec<SplitPart>, Vec<Batch>), Box<Batch>> {
        let of_a_kind = |index: u32, _: &Draft, _: usize| is_out(index) == is_out(index - 1);
        let Some(drafts) = Draft::refill(&batch, of_a_kind).filter(|drafts| drafts.len() > 1) else {
            return Err(Box::new(batch));
        };
        Ok(self.put_parts(batch, drafts, is_out, false, now_ms))
    }

    /// Puts drafts in the place of the batch that they were made of, but for those whose first record `is_out`.
    fn put_parts(
        &self,
        mut batch: Batch,
        drafts: Vec<Draft>,
        is_out: impl Fn(u32) -> bool,
        may_be_written: bool,
        now_ms: u64,
    ) -> (Vec<SplitPart>, Vec<Batch>) {
        let partition = batch.partition.clone();
        let counts: Vec<u32> = drafts.iter().map(|draft| draft.builder.count()).collect();
        let completions = batch.completion().split(&counts);
        let (mut parts, mut out, mut told, mut jobs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut first_record = 0;
        for (draft, completion) in drafts.into_iter().zip(completions) {
            let id = BatchId { first_record: batch.id.first_record + first_record, ..batch.id };
            let stamp = batch.stamp().map(|stamp| Stamp {
                base_sequence: match rules::holds(Rule::SplitSequences) {
                    true => increment_sequence(stamp.base_sequence, first_record as i32),
                    false => stamp.base_sequence,
                },
                ..stamp
            });
            let goes_out = is_out(first_record);
            first_record += draft.builder.count();
            told.push(SplitPart { id, completion: completion.clone(), stamp });
            let chunk = self.pool.adopt(draft.bytes.into_boxed_slice());
            let mut part = Batch::with(completion, partition.clone(), id, chunk, batch.created_ms);
            part.places = batch.places.as_mut().map(|places| places.take(draft.builder.count() as usize));
            part.fill(draft.builder, draft.max_record);
            if let Some(stamp) = stamp {
                part.inherit_stamp(stamp);
            }
            part.since_ms = now_ms;
            part.created_us = batch.created_us;
            part.leader_epoch = batch.leader_epoch;
            part.is_split = true;
            part.was_drained = may_be_written;
            if goes_out {
                part.close_plain();
                part.leave_queue();
                part.finish();
                out.push(part);
                continue;
            }
            jobs.extend(self.codec.close(&mut part));
            parts.push(part);
        }
        let expiry_ms = batch.expiry_ms();
        self.next_expiry_ms.fetch_min(expiry_ms, Ordering::Relaxed);
        self.ledger.put_back(parts.iter().map(|part| u64::from(part.record_count())).sum());
        let limit = self.batch_limit(&partition, now_ms);
        {
            let mut queue = partition.queue.lock();
            let at = parts.first().map_or(0, |first| queue.place_of(first));
            for (offset, part) in parts.into_iter().enumerate() {
                let offset = if rules::holds(Rule::SplitOrder) { offset } else { 0 };
                queue.batches.insert(at + offset, part);
            }
            if let Some(open) = queue.open_batch() {
                open.lower_limit(limit.max(open.max_record)); // ACC-23
            }
            self.list(&partition, &mut queue);
        }
        jobs.into_iter().for_each(|job| self.codec.submit(job));
        if !rules::holds(Rule::SplitMemory) {
            std::mem::forget(batch);
            return (told, out);
        }
        drop(batch); // its memory goes back when the parts have theirs: see above
        (told, out)
    }

    /// The write limit of a new batch: `batch.size`, or less if the topic's brokers refused that (ACC-3, ACC-23).
    #[inline]
    pub(super) fn batch_limit(&self, partition: &Partition, now_ms: u64) -> usize {
        let (own, limit) = (partition.settings().batch_size, partition.size_limit());
        if limit.wanted() >= own {
            return own;
        }
        limit.try_more(now_ms);
        own.min(limit.wanted())
    }

    /// ACC-22: the parts' size in uncompressed bytes, header included. Less than the batch's own, or nothing would be gained; so a
    /// batch of at most `batch.size` is halved the first time already, where Kafka makes the same batch once more.
    fn split_target(&self, batch: &Batch) -> usize {
        let (own, raw) = (batch.encoded_len(), batch.uncompressed_len());
        let wish = if batch.is_split { own / 2 } else { batch.partition.settings().batch_size };
        let wish = wish.min(batch.partition.size_limit().wanted());
        let wish = if wish < raw { wish } else { own / 2 };
        wish.max(batch.max_record).min(raw - 1)
    }
}

impl BatchId {
    pub(super) fn new(number: u64) -> BatchId {
        BatchId { number, first_record: 0 }
    }

    /// Parts of a batch have its number.
    pub(crate) fn number(self) -> u64 {
        self.number
    }
}

impl Default for SizeLimit {
    fn default() -> SizeLimit {
        SizeLimit {
            wanted: AtomicUsize::new(usize::MAX),
            refused: AtomicUsize::new(usize::MAX),
            try_more_ms: AtomicU64::new(u64::MAX),
        }
    }
}

impl SizeLimit {
    #[inline]
    fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    #[inline]
    fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// A batch of `size` bytes with more than one record was refused. What the broker allows is not known; half of that is what its
    /// parts have.
    pub(super) fn learn(&self, size: usize, max_record: usize, now_ms: u64) {
        if !rules::holds(Rule::LearnedLimit) {
            return;
        }
        let limit = (size / 2).max(max_record).min(size - 1);
        self.wanted.fetch_min(limit, Ordering::Relaxed);
        self.refused.fetch_min(size, Ordering::Relaxed);
        self.try_more_ms.store(now_ms.saturating_add(TRY_MORE_AFTER_MS), Ordering::Relaxed);
    }

    /// ACC-23: the limit grows back, for it may have been raised, or one odd batch may have been the reason. Every ten minutes
    /// twice as much is allowed, until it is `batch.size` again. What is refused then halves it again: that costs a topic one split in
    /// ten minutes at most.
    fn try_more(&self, now_ms: u64) {
        let due_ms = self.try_more_ms.load(Ordering::Relaxed);
        let next_ms = now_ms.saturating_add(TRY_MORE_AFTER_MS);
        // One of several threads that open a batch at this moment.
        if now_ms < due_ms
            || self
                .try_more_ms
                .compare_exchange(due_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let more = self.wanted().saturating_mul(2);
        if more >= self.refused() {
            self.refused.store(usize::MAX, Ordering::Relaxed); // or what is to be tried would be split without a try
        }
        self.wanted.store(more, Ordering::Relaxed);
    }
}

/// A part before it has memory of the pool.
struct Draft {
    /// Room for the header, and the records.
    bytes: Vec<u8>,
    builder: BatchBuilder,
    max_record: usize,
}

impl Draft {
    fn new() -> Draft {
        Draft { bytes: vec![0; HEADER_LEN], builder: BatchBuilder::new(), max_record: 0 }
    }

    /// Decodes a batch and fills its records into drafts: one that is not the first goes on in a draft if `joins`, which is asked with
    /// the record's place, the draft and the record's length. `None` if the batch cannot be read, which would be a bug.
    fn refill(batch: &Batch, joins: impl Fn(u32, &Draft, usize) -> bool) -> Option<Vec<Draft>> {
        let bytes = batch.copy();
        let parsed = rohrpost_record::Batch::parse(&bytes).ok()?;
        let mut scratch = Vec::new();
        // What was compressed is known to the byte: nothing grows beyond it.
        let records = parsed.records(&mut scratch, batch.builder.records_len()).ok()?;
        let mut drafts = vec![Draft::new()];
        let mut headers: Vec<Header<'_>> = Vec::new();
        for (index, record) in (0..).zip(records) {
            let record = record.ok()?;
            headers.clear();
            headers.extend(record.headers());
            let (timestamp, key, value) = (record.timestamp, record.key, record.value);
            let mut draft = drafts.last_mut()?;
            let mut size = draft.builder.measure(timestamp, key, value, &headers);
            if draft.builder.count() > 0 && !joins(index, draft, size.total()) {
                drafts.push(Draft::new());
                draft = drafts.last_mut()?;
                size = draft.builder.measure(timestamp, key, value, &headers);
            }
            let start = draft.bytes.len();
            draft.bytes.resize(start + size.total(), 0);
            draft.builder.append_measured(&mut draft.bytes[start..], size, timestamp, key, value, &headers);
            // ACC-8
            let estimate = BatchBuilder::upper_bound(key, value, &headers);
            draft.max_record = draft.max_record.max(estimate);
        }
        let count: u32 = drafts.iter().map(|draft| draft.builder.count()).sum();
        (count == batch.record_count()).then_some(drafts)
    }
}

impl Batch {
    /// Takes over records that lie in its first chunk already.
    fn fill(&mut self, builder: BatchBuilder, max_record: usize) {
        self.builder = builder;
        self.max_record = max_record;
        for piece in &mut self.pieces {
            piece.used = Chunk::len(&piece.chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // ACC-23
    #[test]
    fn the_learned_limit_doubles_every_ten_minutes_and_a_refusal_halves_it_again() {
        let limit = SizeLimit::default();
        limit.learn(1000, 100, 5);
        let both = |limit: &SizeLimit| (limit.wanted(), limit.refused());
        assert_eq!(both(&limit), (500, 1000));
        limit.try_more(5 + TRY_MORE_AFTER_MS - 1);
        assert_eq!(both(&limit), (500, 1000));
        limit.try_more(5 + TRY_MORE_AFTER_MS);
        limit.try_more(5 + TRY_MORE_AFTER_MS);
        assert_eq!(both(&limit), (1000, usize::MAX), "what was refused is tried, by one of two");
        limit.learn(1000, 100, 2 * TRY_MORE_AFTER_MS);
        assert_eq!(both(&limit), (500, 1000));
        limit.try_more(3 * TRY_MORE_AFTER_MS - 1);
        assert_eq!(both(&limit), (500, 1000), "counted from the refusal");
        limit.learn(4000, 100, 2 * TRY_MORE_AFTER_MS);
        assert_eq!(both(&limit), (500, 1000), "what was closed before is no news");
        // A record of this topic takes nearly a batch, and may take more than it did here.
        limit.learn(400, 390, 2 * TRY_MORE_AFTER_MS);
        assert_eq!(both(&limit), (390, 400));
        limit.learn(300, 310, 2 * TRY_MORE_AFTER_MS);
        assert_eq!(both(&limit), (299, 300), "smaller than what was refused");
    }
}
