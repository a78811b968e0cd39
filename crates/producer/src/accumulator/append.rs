//! The append: a record's place in its partition is fixed in one synchronous step (THR-2).
//!
//! This is the hot path. Into a batch that has room it takes one partition lock, one copy of the record's bytes and one reference
//! count; no clock, no allocation, no wake-up, nothing that all threads share but the topic's waiter flag. Memory is never waited for
//! here: who cannot go on is told why, and waits outside (`send`).

use std::sync::Arc;

use super::batch::Batch;
use super::pool::{Chunk, Places};
use super::queue::{Partition, Queue, TopicState};
use super::split::BatchId;
use super::{Accumulator, codec_pool};
use crate::delivery::{Callback, Delivery, PlaceInBatch, charged_bytes};
use crate::partitioner::{self, Chosen};
use crate::record::{Parts, Record};
use crate::rules::{self, Rule};
use crate::sync::is_broken;
use crate::time::Clock;

/// What came of an append.
#[derive(Debug)]
pub(crate) enum Append {
    /// The record is accepted. No handle if it has a callback of its caller.
    Done(Option<Delivery>),
    /// The topic is not known.
    Cold,
    /// The topic has only so many partitions.
    Beyond(u32),
    /// Other senders of the topic wait: take a place behind them.
    Behind,
    /// A chunk is needed, and there is none.
    NoRoom,
    /// The producer takes no more records.
    Closed,
    /// The producer's partitioner gave no partition: why.
    NoPartition(String),
}

/// A record on its way in, and what it may use.
pub(crate) struct Candidate<'a> {
    pub(crate) record: &'a Record,
    /// The record's size estimate (PRE-5).
    pub(crate) size: usize,
    pub(crate) callback: Option<Callback>,
    /// Of an accepted record with interceptors: what the caller gave. Starts as `None`.
    pub(crate) original: Option<Box<Record>>,
    /// Its place, if records are counted and it has one (CFG-21).
    pub(crate) place: Option<Places>,
    /// Memory reserved for it, at least `size` bytes.
    pub(crate) granted: Option<Chunk>,
    /// It need not go behind waiters: it is the first of them, or it has a permit.
    pub(crate) goes_first: bool,
    /// Partitions that its permit found; a topic that vanishes meanwhile does not make the permit fail.
    pub(crate) known_at_least: u32,
    /// What the producer's own partitioner has said, if it has one. Starts as `Open`.
    pub(crate) chosen: Chosen,
}

impl<'a> Candidate<'a> {
    /// A record that brings nothing, and has to go behind those who wait.
    pub(crate) fn new(record: &'a Record, size: usize) -> Candidate<'a> {
        Candidate {
            record,
            size,
            callback: None,
            original: None,
            place: None,
            granted: None,
            goes_first: false,
            known_at_least: 0,
            chosen: Chosen::Open,
        }
    }
}

/// Memory at hand while an append looks for its place.
#[derive(Default)]
struct Room {
    taken: Option<Chunk>,
    asked: bool,
    /// The candidate brought memory; if this append comes to nothing, it must not leave without.
    has_grant: bool,
}

impl Accumulator {
    /// The common case and nothing else: the open batch of the record's partition has room for it in the memory it holds and for
    /// more, and nobody waits. `None`: nothing has happened; [`append`](Accumulator::append) does it, or says why it cannot be done.
    #[inline]
    pub(crate) fn append_short<R: Parts>(
        &self,
        topic: &TopicState,
        record: &R,
        clock: &Clock,
    ) -> Option<Delivery> {
        let payload = record.parts_len();
        let known = topic.known();
        if payload.upper_bound() > self.record_limit || topic.has_waiters() && rules::holds(Rule::StrictLine)
        {
            return None; // PRE-6; BUF-4
        }
        // PAR-1
        let (index, is_sticky) = match (record.own_partition(), record.key_part()) {
            (Some(partition), _) => (partition as u32, false),
            (None, Some(key)) if !self.settings.ignore_keys && known > 0 => {
                (partitioner::for_key(key, known), false)
            }
            _ => (topic.sticky.stay()?.partition, true),
        };
        if index >= known {
            return None;
        }
        let partition = topic.partition(index)?;
        let mut queue = partition.queue.lock();
        // As in `append_to`: under the lock.
        if self.is_closing() {
            return None;
        }
        let stay = match is_sticky.then(|| topic.sticky.stay()) {
            None => None,
            Some(Some(stay))
                if stay.partition == index && !stay.is_over(topic.batch_size, || queue.is_all_full()) =>
            {
                Some(stay)
            }
            Some(_) => return None,
        };
        let batch = queue.open_batch()?;
        let timestamp = self.timestamp(record, clock);
        let (index, added) = batch.append_short(record, payload, timestamp)?;
        batch.max_record = batch.max_record.max(payload.upper_bound());
        if let Some(stay) = stay {
            topic.sticky.add(stay, added);
        }
        // PRE-9: the batch is not new, and not full either, so there is nobody to wake.
        Some(Delivery::new(batch.handle(), place_of(record, index, timestamp)))
    }

    /// Appends a record, if it can be done at once. Otherwise nothing has happened (PRE-8), and what the candidate brought is
    /// still with it.
    pub(crate) fn append(
        &self,
        topic: &Arc<TopicState>,
        candidate: &mut Candidate<'_>,
        clock: &Clock,
    ) -> Append {
        let record = candidate.record;
        let mut room = Room::of(candidate);
        loop {
            let known = topic.known().max(candidate.known_at_least);
            if known == 0 {
                room.put_back(candidate);
                return Append::Cold;
            }
            if !candidate.goes_first && topic.has_waiters() && rules::holds(Rule::StrictLine) {
                return Append::Behind;
            }
            // PAR-1
            let own = match (record.partition, &self.custom) {
                (Some(partition), _) if partition as u32 >= known => {
                    room.put_back(candidate);
                    return Append::Beyond(known);
                }
                (Some(partition), _) => Some(partition as u32),
                (None, None) => None,
                // PAR-18: before any lock, and once for a record
                (None, Some(custom)) => match custom.choose(record, topic, known, &mut candidate.chosen) {
                    Ok(chosen) => chosen,
                    Err(why) => return Append::NoPartition(why),
                },
            };
            let fixed = match (own, &record.key) {
                (None, Some(key)) if !self.settings.ignore_keys => Some(partitioner::for_key(key, known)),
                _ => own,
            };
            let index = match fixed {
                Some(index) => index,
                None => match topic.sticky.stay() {
                    Some(stay) if stay.partition < known => stay.partition,
                    seen => {
                        topic.sticky.begin(seen, topic.draw(known));
                        continue;
                    }
                },
            };
            let partition = match topic.partition(index) {
                Some(partition) => partition,
                None => topic.partition_or_new(index, &self.ledger, &self.next_key),
            };
            match self.append_to(topic, partition, fixed.is_none(), candidate, &mut room, clock) {
                Step::Done(delivery) => return Append::Done(delivery),
                Step::Again => {}
                Step::NewBatch => {
                    let Some(custom) = &self.custom else { continue };
                    if let Err(why) = custom.tell_of_new_batch(record, topic, known, &mut candidate.chosen) {
                        return Append::NoPartition(why);
                    }
                }
                Step::MoveOn => self.move_on(topic, partition, known),
                Step::NeedsChunk { wish, is_first } => {
                    // ACC-2: memory is taken without the lock, and then the append is tried again
                    room.asked = true;
                    room.put_back(candidate);
                    let size = self.pool.chunk_size(candidate.size, wish);
                    room.taken = self.pool.try_take_for(size, is_first, &mut candidate.granted);
                    match (&room.taken, &mut candidate.granted) {
                        (None, None) => return Append::NoRoom,
                        (None, Some(granted)) => granted.back(),
                        _ => {}
                    }
                }
                // A chunk would not help, and to look for one again and again would spin until a batch is acknowledged.
                Step::NoRoom => return Append::NoRoom,
                Step::Closed => return Append::Closed,
            }
        }
    }

    #[inline]
    fn append_to(
        &self,
        topic: &TopicState,
        partition: &Arc<Partition>,
        is_sticky: bool,
        candidate: &mut Candidate<'_>,
        room: &mut Room,
        clock: &Clock,
    ) -> Step {
        let record = candidate.record;
        let mut jobs = Submit(self, None);
        let early = is_broken("close: look under the lock").then(|| self.is_closing());
        let mut queue = partition.queue.lock();
        // Under the lock: whoever sets the flag and then takes every queue's lock misses no record (FLU-5, PRE-8).
        if early.unwrap_or_else(|| self.is_closing()) {
            return Step::Closed;
        }
        // CFG-21: like memory, and beside it
        if self.pool.counts_records() && candidate.place.is_none() {
            candidate.place = self.pool.try_place();
            if candidate.place.is_none() {
                return Step::NoRoom;
            }
        }
        let stay = match is_sticky.then(|| topic.sticky.stay()) {
            None => None,
            Some(Some(stay)) if stay.partition == partition.index() as u32 => {
                if stay.is_over(topic.batch_size, || queue.is_all_full()) {
                    return Step::MoveOn; // PAR-7, PAR-8
                }
                Some(stay)
            }
            // PAR-8: another thread moved on meanwhile
            Some(_) => return Step::Again,
        };
        if let Some(batch) = queue.open_batch() {
            let timestamp = self.timestamp(record, clock);
            let size = batch.builder.measure(
                timestamp,
                record.key.as_deref(),
                record.value.as_deref(),
                &record.headers,
            );
            if batch.fits(size.total()) {
                if batch.tail_room() < size.total() {
                    let Some(chunk) = room.get(candidate) else {
                        return Step::NeedsChunk { wish: batch.next_chunk_wish(), is_first: false };
                    };
                    batch.add_chunk(chunk);
                }
                if !self.has_room_for_callback(batch, candidate) {
                    return Step::NoRoom;
                }
                let (index, added) = batch.append(record, size, timestamp);
                batch.max_record = batch.max_record.max(candidate.size);
                if let Some(stay) = stay {
                    topic.sticky.add(stay, added);
                }
                if index + 1 >= self.settings.batch_records_max {
                    batch.lower_limit(0); // ACC-9: it is full
                }
                let delivery = hand_out(batch, candidate, index, timestamp);
                let filled = batch.is_full();
                drop(queue);
                if filled {
                    self.sender.wake(); // PRE-9
                }
                return Step::Done(delivery);
            }
            // ACC-2: it does not fit: the batch is closed for appends
            jobs.1 = self.close_last(&mut queue, clock.last_us());
            if stay.is_some_and(|stay| stay.is_over(topic.batch_size, || true)) {
                return Step::MoveOn;
            }
        }
        if matches!(candidate.chosen, Chosen::First(_)) {
            return Step::NewBatch; // PAR-18: the partitioner may want to go elsewhere instead
        }
        let Some(chunk) = room.get(candidate) else {
            return Step::NeedsChunk { wish: queue.last_len, is_first: true };
        };
        let now_ms = clock.refresh(); // API-4: whoever opens a batch reads the clock
        let delivery = self.open_batch(topic, partition, &mut queue, stay, chunk, candidate, clock, now_ms);
        drop(queue);
        if rules::holds(Rule::WakeAfterAppend) {
            self.sender.wake(); // PRE-9
        }
        Step::Done(delivery)
    }

    /// Opens a batch with the candidate as its first record.
    #[allow(clippy::too_many_arguments)]
    fn open_batch(
        &self,
        topic: &TopicState,
        partition: &Arc<Partition>,
        queue: &mut Queue,
        stay: Option<partitioner::Stay>,
        mut chunk: Chunk,
        candidate: &mut Candidate<'_>,
        clock: &Clock,
        now_ms: u64,
    ) -> Option<Delivery> {
        let record = candidate.record;
        chunk.begin_batch();
        let timestamp = record.timestamp.unwrap_or_else(|| clock.last_wall_ms());
        // ACC-3; but CFG-11: a batch.size of 0 or 1 means one record per batch, and the estimate has room for two small ones
        let limit =
            if topic.batch_size == 1 { 1 } else { self.batch_limit(partition, now_ms).max(candidate.size) };
        let scale = codec_pool::CodecPool::scale(partition);
        let id = BatchId::new(queue.next_id);
        queue.next_id += 1;
        let raw_limit = self.settings.max_request_size.max(candidate.size);
        let mut batch = Batch::open(partition.clone(), id, chunk, limit, raw_limit, scale, now_ms);
        batch.created_us = clock.last_us();
        let size =
            batch.builder.measure(timestamp, record.key.as_deref(), record.value.as_deref(), &record.headers);
        let (index, _) = batch.append(record, size, timestamp);
        batch.max_record = candidate.size;
        if candidate.callback.is_some() {
            // The first callback of a batch is charged whether there is room or not: the record has it already.
            batch.completion.charge_callback(callback_bytes(candidate), &self.pool, true);
        }
        if let Some(stay) = stay {
            topic.sticky.add(stay, batch.estimated_len()); // PAR-7: the header counts
        }
        if self.settings.batch_records_max <= 1 {
            batch.lower_limit(0); // ACC-9
        }
        let delivery = hand_out(&mut batch, candidate, index, timestamp);
        if queue.batches.capacity() == 0 {
            queue.batches.reserve_exact(1); // BUF-7: most queues never have a second one
        }
        queue.batches.push_back(batch);
        self.list(partition, queue);
        delivery
    }

    /// Closes the last batch if it is open; the job, if there is one, is to be submitted after the lock. `now_us` 0: as it is sent.
    pub(super) fn close_last(&self, queue: &mut Queue, now_us: u64) -> Option<codec_pool::Job> {
        let batch = queue.open_batch()?;
        batch.closed_us = now_us;
        let len = rohrpost_record::HEADER_LEN + batch.builder.records_len();
        let job = self.codec.close(batch);
        queue.last_len = len;
        job
    }

    /// Leaves the partition for the next one, if it is still time. The choice is made without the lock.
    fn move_on(&self, topic: &TopicState, partition: &Partition, known: u32) {
        let next = topic.draw(known);
        let queue = partition.queue.lock();
        if let Some(stay) = topic.sticky.stay()
            && stay.partition == partition.index() as u32
            && stay.is_over(topic.batch_size, || queue.is_all_full())
        {
            topic.sticky.leave_for(next);
        }
    }

    /// API-4: the given one, else the wall clock, which is read only if the sender sleeps too long to keep it fresh.
    #[inline]
    fn timestamp(&self, record: &impl Parts, clock: &Clock) -> i64 {
        record.own_timestamp().unwrap_or_else(|| {
            if self.sender.clock_is_stale() {
                clock.refresh();
            }
            clock.last_wall_ms()
        })
    }

    fn has_room_for_callback(&self, batch: &Batch, candidate: &Candidate<'_>) -> bool {
        candidate.callback.is_none()
            || batch.completion.charge_callback(callback_bytes(candidate), &self.pool, candidate.goes_first)
    }
}

#[cfg(test)]
impl<'a> Candidate<'a> {
    /// Nothing but a record.
    pub(crate) fn of(record: &'a Record) -> Candidate<'a> {
        Candidate::new(record, record.size())
    }
}

enum Step {
    Done(Option<Delivery>),
    /// Start over.
    Again,
    /// The producer's own partitioner is to be told that a batch is to begin.
    NewBatch,
    /// The topic's stay in this partition is over.
    MoveOn,
    /// Memory is needed; `wish` bytes would be good. `is_first`: a batch is to begin with it.
    NeedsChunk {
        wish: usize,
        is_first: bool,
    },
    /// There is no room for the callback.
    NoRoom,
    Closed,
}

impl Room {
    fn of(candidate: &Candidate<'_>) -> Room {
        Room { has_grant: candidate.granted.is_some(), ..Room::default() }
    }

    /// Memory for the record: what was taken from the pool, or what was granted if the pool had nothing better.
    fn get(&mut self, candidate: &mut Candidate<'_>) -> Option<Chunk> {
        self.taken.take().or_else(|| if self.asked { candidate.granted.take() } else { None })
    }

    /// What the grant was exchanged for is the grant now.
    fn put_back(&mut self, candidate: &mut Candidate<'_>) {
        if self.has_grant && candidate.granted.is_none() {
            candidate.granted = self.taken.take();
        }
    }
}

/// Submits a codec job when the partition's lock is gone (it is declared before the guard, so dropped after it).
struct Submit<'a>(&'a Accumulator, Option<codec_pool::Job>);

impl Drop for Submit<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.1.take() {
            self.0.codec.submit(job);
        }
    }
}

fn callback_bytes(candidate: &Candidate<'_>) -> usize {
    candidate.callback.as_ref().map_or(0, charged_bytes)
}

/// The record is in: its handle, or its callback to the batch.
#[inline]
fn hand_out(
    batch: &mut Batch,
    candidate: &mut Candidate<'_>,
    index: u32,
    timestamp: i64,
) -> Option<Delivery> {
    let place = place_of(candidate.record, index, timestamp);
    if let Some(counted) = candidate.place.take() {
        batch.take_place(counted);
    }
    match candidate.callback.take() {
        None => Some(Delivery::new(batch.handle(), place)),
        Some(mut callback) => {
            candidate.original = callback.take_original(); // it is dropped without the lock
            let delivery = (!callback.is_callers()).then(|| Delivery::new(batch.handle(), place));
            batch.completion.push_callback(callback, place);
            delivery
        }
    }
}

#[inline]
fn place_of(record: &impl Parts, index: u32, timestamp: i64) -> PlaceInBatch {
    let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i32);
    PlaceInBatch {
        index,
        timestamp,
        key_size: size(record.key_part()),
        value_size: size(record.value_part()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accumulator::tests::{cluster, settings, topic_metadata};
    use crate::wait::SenderWake;

    // PAR-8
    #[test]
    fn an_append_starts_over_if_the_topic_has_moved_on_before_the_partition_was_locked() {
        let accumulator = Accumulator::new(settings(), SenderWake::new());
        let topic = accumulator.topic_or_new("t");
        accumulator.apply(&cluster(1, [topic_metadata("t", &[Some(1), Some(1)], 0)]));
        let partition = topic.partition_or_new(0, &accumulator.ledger, &accumulator.next_key);
        topic.sticky.begin(None, 0);
        topic.sticky.leave_for(1);
        let (record, clock) = (Record::value("v"), Clock::by_hand(0));
        let mut candidate = Candidate::of(&record);
        let mut room = Room { taken: accumulator.pool.try_take(1024), asked: true, has_grant: false };
        let step = accumulator.append_to(&topic, partition, true, &mut candidate, &mut room, &clock);
        assert!(matches!(step, Step::Again));
        assert!(partition.queue.lock().batches.is_empty() && room.taken.is_some(), "nothing has happened");
    }

    // PRE-8
    #[test]
    fn memory_that_a_grant_was_exchanged_for_stays_with_who_brought_it_if_nothing_comes_of_the_append() {
        let accumulator = Accumulator::new(settings(), SenderWake::new());
        let chunk = |size| accumulator.pool.try_take(size);
        let record = Record::value("v");
        for brought in [false, true] {
            let mut candidate = Candidate::of(&record);
            candidate.granted = chunk(1024).filter(|_| brought);
            let mut room = Room::of(&candidate);
            candidate.granted = None;
            room.taken = chunk(2048);
            room.put_back(&mut candidate);
            assert_eq!(candidate.granted.map(|granted| granted.len()), brought.then_some(2048));
            assert_eq!(room.taken.is_some(), !brought, "else it goes back to the pool");
        }
    }
}
