//! The memory that batches are made of: `buffer.memory` in chunks.
//!
//! A batch takes its bytes chunk by chunk, as it grows (BUF-7): the first chunk is small unless the partition's last batch was
//! larger, the next ones double. What is charged is whole chunks, so that an append into a chunk already held touches nothing
//! shared; and with a batch's first chunk what the batch takes beside them ([`BATCH_BYTES`]), or a great many tiny batches would
//! take a multiple of `buffer.memory`. A [`Chunk`] owns its charge and gives both back when it is dropped; whoever owns the batch owns the memory, and no
//! memory can be reused while a request still holds it (ACC-25).
//!
//! No room: callers wait in a line ([`line`](super::line)), strictly first come first served (BUF-4).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::line::{Line, Stage};
use super::queue::TopicState;
use crate::rules::{self, Rule};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, is_broken};
use crate::wait::SenderWake;

/// Size of the first chunk of a batch, unless more is known to be needed.
pub(crate) const FIRST_CHUNK: usize = 1024;

/// What a batch takes beside its chunks, rounded up: itself, its place in its queue, its completion, what the sender notes of it.
/// It is charged with its first chunk. `tests/memory.rs` holds the sum of all this against an allocator that counts.
pub(crate) const BATCH_BYTES: usize = 1024;

/// Of a smaller `buffer.memory` nothing is left if that is charged too. Then it is not: there is room for a thousand tiny batches.
const CHARGED_FROM: usize = 64 << 10;

/// This part of `buffer.memory` is worth a wake-up at any time: some two thousand records of 1 KiB with Kafka's default.
const HAND_ON_PART: usize = 16;

/// `buffer.memory`, shared by everyone.
#[derive(Clone)]
pub(crate) struct Pool(Arc<PoolShared>);

struct PoolShared {
    total: usize,
    /// `batch.size`: the largest chunk, but for a larger record.
    batch_size: usize,
    /// Charged for a batch beside its chunks.
    per_batch: usize,
    sender: SenderWake,
    /// How many wait for room: then no partition lingers (BUF-5).
    wanting: AtomicUsize,
    /// Calls that gave up for want of room (`buffer-exhausted-total`).
    exhausted: AtomicU64,
    /// Records are counted: `queue.buffering.max.messages` is set (CFG-21).
    counts_records: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Places for records that are left, if they are counted.
    places: isize,
    /// Never granted to anyone. Below 0 only by what callbacks were charged over it, by what the parts of a split batch take more than
    /// the batch did, and by what a batch takes that begins with another's chunk.
    available: isize,
    /// Chunks kept for use: by class, see [`PoolShared::class`]. They count as available.
    free: Vec<Vec<Box<[u8]>>>,
    free_bytes: usize,
    /// Charged by grants that have no memory yet.
    promised: usize,
    /// Callers that give much back and want whoever waits to be woken once, at the end.
    holds: usize,
    line: Line,
}

/// Memory with its charge. What was granted to a waiting call is a charge alone until [`back`](Chunk::back).
pub(crate) struct Chunk {
    data: Box<[u8]>,
    charge: Charge,
}

/// Bytes of `buffer.memory` held; given back when dropped.
pub(crate) struct Charge {
    bytes: usize,
    pool: Pool,
}

/// Where a waiting caller stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Not yet.
    Wait(Stage),
    /// It has room and it is its turn.
    Go,
}

/// Places for records under `queue.buffering.max.messages` (CFG-21); given back when dropped.
pub(crate) struct Places {
    count: usize,
    pool: Pool,
}

impl Pool {
    #[cfg(any(test, loom))]
    pub(crate) fn new(total: usize, batch_size: usize, sender: SenderWake) -> Pool {
        Pool::counting(total, batch_size, None, sender)
    }

    /// With so many records without outcome at most (CFG-21).
    pub(crate) fn counting(
        total: usize,
        batch_size: usize,
        records_max: Option<usize>,
        sender: SenderWake,
    ) -> Pool {
        let batch_size = batch_size.max(1);
        let classes = PoolShared::classes(batch_size);
        let inner = Inner {
            available: isize::try_from(total).unwrap_or(isize::MAX),
            free: std::iter::repeat_with(Vec::new).take(classes).collect(),
            free_bytes: 0,
            promised: 0,
            holds: 0,
            places: records_max.map_or(isize::MAX, to_isize),
            line: Line::default(),
        };
        Pool(Arc::new(PoolShared {
            total,
            batch_size,
            per_batch: if total >= CHARGED_FROM { BATCH_BYTES } else { 0 },
            sender,
            wanting: AtomicUsize::new(0),
            exhausted: AtomicU64::new(0),
            counts_records: records_max.is_some(),
            inner: Mutex::new(inner),
        }))
    }

    /// The size of the chunk that holds `need` bytes and is to hold `wish` bytes: a power of two up to `batch.size`, or exactly
    /// the bytes of a larger record. Never above `buffer.memory`, if the record itself is not.
    pub(crate) fn chunk_size(&self, need: usize, wish: usize) -> usize {
        let batch_size = self.0.batch_size;
        let size = if need >= batch_size {
            need
        } else {
            need.max(wish.min(batch_size)).max(FIRST_CHUNK).next_power_of_two().min(batch_size)
        };
        size.min(self.0.total.max(need))
    }

    /// What is charged for a batch whose first chunk has this size.
    fn charge_of(&self, size: usize) -> usize {
        (size + self.0.per_batch).min(self.0.total.max(size))
    }

    /// What a record of this size may need: a batch of its own.
    pub(crate) fn room_for(&self, record: usize) -> usize {
        self.charge_of(self.chunk_size(record, 0))
    }

    /// A chunk to begin a batch with, if there is room and nobody waits for it (BUF-4).
    pub(crate) fn try_take(&self, size: usize) -> Option<Chunk> {
        self.try_take_for(size, true, &mut None)
    }

    /// A chunk, if there is room and nobody waits for it (BUF-4); `is_first`: a batch begins with it. What the caller was granted
    /// goes into it: whoever had to wait goes on with a chunk as large as if it had not.
    pub(crate) fn try_take_for(
        &self,
        size: usize,
        is_first: bool,
        granted: &mut Option<Chunk>,
    ) -> Option<Chunk> {
        let bytes = if is_first { self.charge_of(size) } else { size };
        let promised = granted.as_ref().map_or(0, Chunk::promised);
        let mut garbage = Vec::new();
        let data = {
            let mut inner = self.0.inner.lock();
            let in_turn = rules::holds(Rule::StrictLine) && !is_broken("pool: in turn");
            if inner.line.first_for_room().is_some() && in_turn
                || inner.available.saturating_add(to_isize(promised)) < to_isize(bytes)
            {
                return None;
            }
            inner.available += to_isize(promised);
            inner.available -= to_isize(bytes);
            inner.promised -= promised;
            self.0.reuse(&mut inner, size, &mut garbage)
        };
        drop(garbage);
        if promised > 0
            && let Some(mut granted) = granted.take()
        {
            granted.charge.bytes = 0;
        }
        // Zeroing a fresh chunk costs a few hundred ns per 16 KiB, and only until the pool is warm.
        let data = data.unwrap_or_else(|| vec![0; size].into_boxed_slice());
        Some(Chunk { data, charge: Charge { bytes, pool: self.clone() } })
    }

    /// Charges bytes that lie elsewhere (callbacks): only if there is room, or whatever there is if `force`.
    pub(crate) fn charge(&self, bytes: usize, force: bool) -> Option<Charge> {
        let mut garbage = Vec::new();
        {
            let mut inner = self.0.inner.lock();
            if !force && (inner.line.first_for_room().is_some() || inner.available < to_isize(bytes)) {
                return None;
            }
            inner.available -= to_isize(bytes);
            self.0.trim(&mut inner, &mut garbage); // kept chunks make way for it
        }
        Some(Charge { bytes, pool: self.clone() })
    }

    /// Whether every record needs a place (CFG-21).
    #[inline]
    pub(crate) fn counts_records(&self) -> bool {
        self.0.counts_records
    }

    /// A place for a record, if there is one and nobody waits for it.
    pub(crate) fn try_place(&self) -> Option<Places> {
        let mut inner = self.0.inner.lock();
        if inner.line.first_for_room().is_some() || inner.places <= 0 {
            return None;
        }
        inner.places -= 1;
        Some(Places { count: 1, pool: self.clone() })
    }

    /// The place that came with a grant (CFG-21).
    pub(crate) fn granted_place(&self) -> Option<Places> {
        self.counts_records().then(|| Places { count: 1, pool: self.clone() })
    }

    /// Charges memory that is there already, whether there is room or not: the parts of a batch that was too large (ACC-22).
    pub(crate) fn adopt(&self, data: Box<[u8]>) -> Chunk {
        let mut garbage = Vec::new();
        let bytes = self.charge_of(data.len());
        {
            let mut inner = self.0.inner.lock();
            inner.available -= to_isize(bytes);
            self.0.trim(&mut inner, &mut garbage);
        }
        Chunk { data, charge: Charge { bytes, pool: self.clone() } }
    }

    /// Takes a place in the line. `known`: partitions the topic is known to have.
    pub(crate) fn enter(
        &self,
        topic: &Arc<TopicState>,
        partition: Option<i32>,
        bytes: usize,
        known: u32,
        waker: &Waker,
    ) -> u64 {
        let mut garbage = Vec::new();
        let (ticket, wake, before) = {
            let mut inner = self.0.inner.lock();
            let before = inner.line.waiting_for_room();
            let ticket = inner.line.enter(topic, partition, bytes, known, waker.clone());
            (ticket, self.0.serve(&mut inner, &mut garbage), before)
        };
        self.finish(wake, before);
        ticket
    }

    /// Tells the line what is known of the topic, renews the waker, and asks where the caller stands.
    pub(crate) fn poll(&self, ticket: u64, topic: &TopicState, known: u32, waker: &Waker) -> Turn {
        let mut garbage = Vec::new();
        let (turn, wake, before, _old) = {
            let mut inner = self.0.inner.lock();
            let before = inner.line.waiting_for_room();
            inner.line.admit(topic.id(), known);
            let wake = self.0.serve(&mut inner, &mut garbage);
            let (stage, is_turn, old) = inner.line.poll(ticket, waker);
            (if stage == Stage::Granted && is_turn { Turn::Go } else { Turn::Wait(stage) }, wake, before, old)
        };
        self.finish(wake, before);
        turn
    }

    /// The chunk that was granted, without memory as yet; the place in the line is kept until [`leave`](Pool::leave).
    pub(crate) fn take_grant(&self, ticket: u64) -> Option<Chunk> {
        let bytes = self.0.inner.lock().line.take_grant(ticket);
        let charge = Charge { bytes, pool: self.clone() };
        (bytes > 0).then(|| Chunk { data: Box::default(), charge })
    }

    /// Leaves the line, done or not; what was granted and not taken goes to the next (BUF-2).
    pub(crate) fn leave(&self, ticket: u64) {
        let mut garbage = Vec::new();
        let (mut wake, next, _waker) = {
            let mut inner = self.0.inner.lock();
            let (bytes, waker, next) = inner.line.leave(ticket);
            if rules::holds(Rule::CancelGivesBack) && !is_broken("pool: leave gives back") {
                inner.available += to_isize(bytes);
            }
            inner.promised -= bytes;
            if bytes > 0 && self.0.counts_records {
                inner.places += 1;
            }
            (self.0.serve(&mut inner, &mut garbage), next, waker)
        };
        wake.extend(next);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Counts a call that gave up.
    pub(crate) fn count_exhausted(&self) {
        self.0.exhausted.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that gave up for want of room (BUF-3).
    pub(crate) fn exhausted(&self) -> u64 {
        self.0.exhausted.load(Ordering::Relaxed)
    }

    /// Whether someone waits for room: then every partition is ready (BUF-5).
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.wanting.load(Ordering::Acquire) > 0
    }

    /// How many calls wait for room.
    pub(crate) fn waiting_for_room(&self) -> usize {
        self.0.wanting.load(Ordering::Acquire)
    }

    /// Wakes everybody in the line; they find the producer closed and leave (BUF-6).
    pub(crate) fn wake_all(&self) {
        let wake = self.0.inner.lock().line.wakers();
        wake.into_iter().for_each(Waker::wake);
    }

    /// Whether so much has come back that those who wait for room go on for a while (under a [`hold`](Pool::hold)), or nobody waits.
    pub(crate) fn is_worth_handing_on(&self) -> bool {
        !self.is_wanted() || self.available() >= self.0.total / HAND_ON_PART
    }

    /// Bytes not held.
    pub(crate) fn available(&self) -> usize {
        usize::try_from(self.0.inner.lock().available).unwrap_or(0)
    }

    pub(crate) fn total(&self) -> usize {
        self.0.total
    }

    /// Wakes, outside the lock, who can go on, and the sender if more calls wait for room than before.
    fn finish(&self, wake: Vec<Waker>, waited_before: usize) {
        wake.into_iter().for_each(Waker::wake);
        if self.0.wanting.load(Ordering::Acquire) > waited_before {
            self.0.sender.wake(); // BUF-5: it has to send what lingers
        }
    }

    /// Until the guard is dropped, memory that comes back wakes nobody: then all of it is handed on together, and whoever waits goes
    /// on with more than one batch's worth.
    pub(crate) fn hold(&self) -> Hold {
        self.0.inner.lock().holds += 1;
        Hold(self.clone())
    }

    /// Hands on what came back, and ends so many holds.
    fn hand_on(&self, holds_ended: usize) {
        let mut garbage = Vec::new();
        let wake = {
            let mut inner = self.0.inner.lock();
            inner.holds -= holds_ended;
            self.0.serve(&mut inner, &mut garbage)
        };
        drop(garbage);
        wake.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn give_back(&self, bytes: usize, data: Option<Box<[u8]>>) {
        let mut garbage = Vec::new();
        let wake = {
            let mut inner = self.0.inner.lock();
            inner.available += to_isize(bytes);
            if data.as_ref().is_some_and(|data| data.is_empty()) {
                inner.promised -= bytes;
            } else if let Some(data) = data {
                match self.0.class(data.len()) {
                    Some(class) => {
                        inner.free_bytes += data.len();
                        inner.free[class].push(data);
                    }
                    None => garbage.push(data),
                }
            }
            if inner.holds > 0 { Vec::new() } else { self.0.serve(&mut inner, &mut garbage) }
        };
        drop(garbage);
        wake.into_iter().for_each(Waker::wake);
    }
}

/// See [`Pool::hold`].
pub(crate) struct Hold(Pool);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.hand_on(1);
    }
}

impl PoolShared {
    /// Gives room to whoever is first in line, as long as there is enough; gives the wakers of those that can go on.
    fn serve(&self, inner: &mut Inner, garbage: &mut Vec<Box<[u8]>>) -> Vec<Waker> {
        let mut wake = Vec::new();
        while let Some((ticket, bytes)) = inner.line.first_for_room() {
            if inner.available < to_isize(bytes) || inner.places <= 0 {
                break; // BUF-2, BUF-4: what becomes free is collected for it
            }
            inner.available -= to_isize(bytes);
            inner.promised += bytes;
            inner.places -= isize::from(self.counts_records);
            wake.extend(inner.line.grant(ticket));
        }
        self.wanting.store(inner.line.waiting_for_room(), Ordering::Release);
        self.trim(inner, garbage);
        wake
    }

    /// A kept chunk of this size. The caller has charged it.
    fn reuse(&self, inner: &mut Inner, size: usize, garbage: &mut Vec<Box<[u8]>>) -> Option<Box<[u8]>> {
        let data = self.class(size).and_then(|class| inner.free[class].pop());
        inner.free_bytes -= data.as_ref().map_or(0, |data| data.len());
        self.trim(inner, garbage);
        data
    }

    /// Kept chunks plus those held stay within `buffer.memory`; the largest go first.
    fn trim(&self, inner: &mut Inner, garbage: &mut Vec<Box<[u8]>>) {
        while to_isize(inner.free_bytes) > inner.available.saturating_add(to_isize(inner.promised)) {
            let Some(data) = inner.free.iter_mut().rev().find_map(Vec::pop) else { break };
            inner.free_bytes -= data.len();
            garbage.push(data);
        }
    }

    /// Powers of two from the first chunk's size, and last `batch.size` itself (BUF-1).
    fn class(&self, size: usize) -> Option<usize> {
        if size == self.batch_size {
            Some(Self::classes(self.batch_size) - 1)
        } else if size.is_power_of_two() && (FIRST_CHUNK..self.batch_size).contains(&size) {
            Some((size.ilog2() - FIRST_CHUNK.ilog2()) as usize)
        } else {
            None
        }
    }

    const fn classes(batch_size: usize) -> usize {
        if batch_size <= FIRST_CHUNK { 1 } else { (batch_size.ilog2() - FIRST_CHUNK.ilog2()) as usize + 2 }
    }
}

impl Chunk {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data
    }

    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// A batch begins with this chunk: if another batch was to have it, what batches are charged for is missing.
    pub(super) fn begin_batch(&mut self) {
        let pool = self.charge.pool.clone();
        let missing = pool.charge_of(self.len()).saturating_sub(self.charge.bytes);
        if missing == 0 {
            return;
        }
        let mut garbage = Vec::new();
        {
            let mut inner = pool.0.inner.lock();
            inner.available -= to_isize(missing);
            pool.0.trim(&mut inner, &mut garbage); // kept chunks make way for it
        }
        self.charge.bytes += missing;
    }

    /// Gives a grant its memory.
    pub(super) fn back(&mut self) {
        let bytes = self.promised();
        if bytes == 0 {
            return;
        }
        // All of it where it was cut to `buffer.memory`: see `charge_of`.
        let pool = &self.charge.pool.0;
        let size = if bytes >= pool.total { bytes } else { bytes - pool.per_batch };
        let mut garbage = Vec::new();
        let data = {
            let mut inner = self.charge.pool.0.inner.lock();
            inner.promised -= bytes;
            self.charge.pool.0.reuse(&mut inner, size, &mut garbage)
        };
        drop(garbage);
        self.data = data.unwrap_or_else(|| vec![0; size].into_boxed_slice());
    }

    /// Bytes charged for which there is no memory yet.
    fn promised(&self) -> usize {
        if self.data.is_empty() { self.charge.bytes } else { 0 }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.charge.bytes);
        if bytes == 0 {
            return; // it went into another
        }
        if rules::every(Rule::MemoryReleased, 16) {
            self.charge.pool.give_back(bytes, Some(std::mem::take(&mut self.data)));
        }
    }
}

impl Charge {
    /// Lets whoever waits have what came back, in spite of a hold: what comes now may take its time.
    pub(crate) fn hand_on(&self) {
        self.pool.hand_on(0);
    }

    /// Hands a part of it on.
    pub(crate) fn take(&mut self, bytes: usize) -> Charge {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Charge { bytes, pool: self.pool.clone() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Places {
    /// Takes in others.
    pub(crate) fn join(&mut self, mut other: Places) {
        self.count += std::mem::take(&mut other.count);
    }

    /// Hands so many on.
    pub(crate) fn take(&mut self, count: usize) -> Places {
        let count = count.min(self.count);
        self.count -= count;
        Places { count, pool: self.pool.clone() }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        let mut garbage = Vec::new();
        let wake = {
            let mut inner = self.pool.0.inner.lock();
            inner.places += to_isize(self.count);
            if inner.holds > 0 { Vec::new() } else { self.pool.0.serve(&mut inner, &mut garbage) }
        };
        drop(garbage);
        wake.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes != 0 {
            self.pool.give_back(self.bytes, None);
        }
    }
}

#[inline]
fn to_isize(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

#[cfg(test)]
impl Pool {
    /// Bytes held: batches, permits, callbacks.
    pub(crate) fn held(&self) -> usize {
        usize::try_from(to_isize(self.0.total) - self.0.inner.lock().available).unwrap_or(0)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.0.inner.lock().line.len()
    }
}

#[cfg(test)]
mod tests;
