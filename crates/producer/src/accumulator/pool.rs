//! The memory that batches are made of: `buffer.memory` in chunks.
//!
//! A batch takes its bytes chunk by chunk, as it grows (BUF-7): the first chunk is small unless the partition's last batch was
//! larger, the next ones double. What is charged is whole chunks, so that an append into a chunk already held touches nothing
//! shared. A [`Chunk`] owns its charge and gives both back when it is dropped; whoever owns the batch owns the memory, and no
//! memory can be reused while a request still holds it (ACC-25).
//!
//! No room: callers wait in a line ([`line`](super::line)), strictly first come first served (BUF-4).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use super::line::{Line, Stage};
use super::queue::TopicState;
use crate::wait::SenderWake;

/// Size of the first chunk of a batch, unless more is known to be needed.
pub(crate) const FIRST_CHUNK: usize = 1024;

/// `buffer.memory`, shared by everyone.
#[derive(Clone)]
pub(crate) struct Pool(Arc<PoolShared>);

struct PoolShared {
    total: usize,
    /// `batch.size`: the largest chunk, but for a larger record.
    batch_size: usize,
    sender: SenderWake,
    /// How many wait for room: then no partition lingers (BUF-5).
    wanting: AtomicUsize,
    /// Calls that gave up for want of room (`buffer-exhausted-total`).
    exhausted: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Never granted to anyone. Below 0 only by what callbacks were charged over it.
    available: isize,
    /// Chunks kept for use: by class, see [`PoolShared::class`]. They count as available.
    free: Vec<Vec<Box<[u8]>>>,
    free_bytes: usize,
    line: Line,
}

/// Memory with its charge.
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

impl Pool {
    pub(crate) fn new(total: usize, batch_size: usize, sender: SenderWake) -> Pool {
        let batch_size = batch_size.max(1);
        let classes = PoolShared::classes(batch_size);
        let inner = Inner {
            available: isize::try_from(total).unwrap_or(isize::MAX),
            free: std::iter::repeat_with(Vec::new).take(classes).collect(),
            free_bytes: 0,
            line: Line::default(),
        };
        Pool(Arc::new(PoolShared {
            total,
            batch_size,
            sender,
            wanting: AtomicUsize::new(0),
            exhausted: AtomicU64::new(0),
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

    /// A chunk, if there is room and nobody waits for it (BUF-4).
    pub(crate) fn try_take(&self, size: usize) -> Option<Chunk> {
        let mut garbage = Vec::new();
        let data = {
            let mut inner = self.0.inner.lock();
            if inner.line.first_for_room().is_some() || inner.available < to_isize(size) {
                return None;
            }
            inner.available -= to_isize(size);
            self.0.reuse(&mut inner, size, &mut garbage)
        };
        drop(garbage);
        Some(self.chunk(size, data))
    }

    /// Charges bytes that lie elsewhere (callbacks): only if there is room, or whatever there is if `force`.
    pub(crate) fn charge(&self, bytes: usize, force: bool) -> Option<Charge> {
        let mut inner = self.0.inner.lock();
        if !force && (inner.line.first_for_room().is_some() || inner.available < to_isize(bytes)) {
            return None;
        }
        inner.available -= to_isize(bytes);
        Some(Charge { bytes, pool: self.clone() })
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

    /// The chunk that was granted; the place in the line is kept until [`leave`](Pool::leave).
    pub(crate) fn take_grant(&self, ticket: u64) -> Option<Chunk> {
        let mut garbage = Vec::new();
        let (bytes, data) = {
            let mut inner = self.0.inner.lock();
            let bytes = inner.line.take_grant(ticket);
            if bytes == 0 {
                return None;
            }
            (bytes, self.0.reuse(&mut inner, bytes, &mut garbage))
        };
        drop(garbage);
        Some(self.chunk(bytes, data))
    }

    /// Leaves the line, done or not; what was granted and not taken goes to the next (BUF-2).
    pub(crate) fn leave(&self, ticket: u64) {
        let mut garbage = Vec::new();
        let (mut wake, next, _waker) = {
            let mut inner = self.0.inner.lock();
            let (bytes, waker, next) = inner.line.leave(ticket);
            inner.available += to_isize(bytes);
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

    /// Wakes everybody in the line; they find the producer closed and leave (BUF-6).
    pub(crate) fn wake_all(&self) {
        let wake = self.0.inner.lock().line.wakers();
        wake.into_iter().for_each(Waker::wake);
    }

    /// Bytes not held.
    pub(crate) fn available(&self) -> usize {
        usize::try_from(self.0.inner.lock().available).unwrap_or(0)
    }

    pub(crate) fn total(&self) -> usize {
        self.0.total
    }

    fn chunk(&self, size: usize, data: Option<Box<[u8]>>) -> Chunk {
        // Zeroing a fresh chunk costs a few hundred ns per 16 KiB, and only until the pool is warm.
        let data = data.unwrap_or_else(|| vec![0; size].into_boxed_slice());
        Chunk { data, charge: Charge { bytes: size, pool: self.clone() } }
    }

    /// Wakes, outside the lock, who can go on, and the sender if more calls wait for room than before.
    fn finish(&self, wake: Vec<Waker>, waited_before: usize) {
        wake.into_iter().for_each(Waker::wake);
        if self.0.wanting.load(Ordering::Acquire) > waited_before {
            self.0.sender.wake(); // BUF-5: it has to send what lingers
        }
    }

    fn give_back(&self, bytes: usize, data: Option<Box<[u8]>>) {
        let mut garbage = Vec::new();
        let wake = {
            let mut inner = self.0.inner.lock();
            inner.available += to_isize(bytes);
            if let Some(data) = data {
                match self.0.class(data.len()) {
                    Some(class) => {
                        inner.free_bytes += data.len();
                        inner.free[class].push(data);
                    }
                    None => garbage.push(data),
                }
            }
            self.0.serve(&mut inner, &mut garbage)
        };
        drop(garbage);
        wake.into_iter().for_each(Waker::wake);
    }
}

impl PoolShared {
    /// Gives room to whoever is first in line, as long as there is enough; gives the wakers of those that can go on.
    fn serve(&self, inner: &mut Inner, garbage: &mut Vec<Box<[u8]>>) -> Vec<Waker> {
        let mut wake = Vec::new();
        while let Some((ticket, bytes)) = inner.line.first_for_room() {
            if inner.available < to_isize(bytes) {
                break; // BUF-2, BUF-4: what becomes free is collected for it
            }
            inner.available -= to_isize(bytes);
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

    /// Kept chunks plus charges stay within `buffer.memory`; the largest go first.
    fn trim(&self, inner: &mut Inner, garbage: &mut Vec<Box<[u8]>>) {
        while to_isize(inner.free_bytes) > inner.available {
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
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.charge.bytes);
        self.charge.pool.give_back(bytes, Some(std::mem::take(&mut self.data)));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.pool.give_back(self.bytes, None);
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({})", self.len())
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
mod tests {
    use super::*;

    fn pool(total: usize, batch_size: usize) -> Pool {
        Pool::new(total, batch_size, SenderWake::new())
    }

    // BUF-7
    #[test]
    fn chunks_are_powers_of_two_up_to_a_batch_and_exact_beyond() {
        let size = |need, wish| pool(1 << 20, 16384).chunk_size(need, wish);
        assert_eq!(size(100, 0), 1024);
        assert_eq!(size(1024, 0), 1024);
        assert_eq!(size(1025, 0), 2048);
        assert_eq!(size(100, 16277), 16384, "a busy partition's next batch");
        assert_eq!(size(100, 99_999), 16384);
        assert_eq!(size(20_001, 0), 20_001, "a record larger than a batch");
        assert_eq!(
            pool(1 << 20, 20_000).chunk_size(100, 19_000),
            20_000,
            "batch.size need not be a power of two"
        );
        assert_eq!(pool(500, 16384).chunk_size(93, 0), 500, "never more than there is");
        assert_eq!(pool(1 << 20, 100).chunk_size(85, 0), 100);
    }

    // BUF-1
    #[test]
    fn memory_comes_back_and_is_used_again_within_the_total() {
        let pool = pool(40_000, 16384);
        let chunk = pool.try_take(16384).unwrap();
        let address = chunk.bytes().as_ptr();
        drop(chunk);
        let again = pool.try_take(16384).unwrap();
        assert_eq!(again.bytes().as_ptr(), address, "kept for use");
        assert_eq!(pool.available(), 40_000 - 16384);
        drop(again);
        // What is kept and what is held stay within the total: kept chunks give way.
        let other = pool.try_take(39_000).unwrap();
        assert_eq!(pool.0.inner.lock().free_bytes, 0);
        assert!(pool.try_take(1024).is_none());
        drop(other);
        assert_eq!((pool.available(), pool.held(), pool.total()), (40_000, 0, 40_000));
        assert_eq!(pool.0.inner.lock().free_bytes, 0, "odd sizes are not kept");
    }

    #[test]
    fn a_forced_charge_delays_the_next_taker() {
        let pool = pool(2000, 1024);
        let _chunk = pool.try_take(1024).unwrap();
        assert!(pool.charge(1024, false).is_none());
        let forced = pool.charge(1024, true).unwrap();
        assert_eq!((pool.available(), pool.held()), (0, 2048));
        assert!(pool.try_take(1).is_none());
        drop(forced);
        assert_eq!(pool.available(), 976);
    }
}
