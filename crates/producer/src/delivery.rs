//! The last station: how a record's outcome reaches the application.
//!
//! One [`Completion`] per batch; a record's [`Delivery`] is a [`Handle`] of it and an index (CMPL-1). Futures, callbacks and
//! waits are three views of it, so that nothing is allocated, sent or woken per record that nobody asked for. A completion
//! holds no buffer memory: handles are the caller's, and outlive the batch. [`split`] is for batches that become several.

mod callback;
mod handle;
mod keeping;
mod outlet;
mod split;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use self::callback::Callbacks;
pub(crate) use self::callback::{Callback, Notify, charged_bytes, run_callback};
use self::handle::HandleCount;
pub(crate) use self::handle::{Handle, Stock};
pub(crate) use self::keeping::Keeping;
pub use self::outlet::Job;
pub(crate) use self::outlet::{Executor, Outlet};
use self::split::{Orphans, Split};
use crate::accumulator::{Counts, Ending, Partition, Pool};
use crate::outcome::{BatchResult, Delivered, DeliveryError};
use crate::rules::{self, Rule};
use crate::sync::{self, AtomicBool, AtomicU32, Mutex, MutexGuard, OnceLock, is_broken};
use crate::wait;

/// What becomes of one accepted record.
///
/// It can be awaited on any executor, polled, waited for in a plain thread with or without timeout, or dropped. What each outcome
/// means, and what to do about it, is in `docs/outcomes.md`. Inside a callback of this producer it may be asked ([`poll_now`](Self::poll_now),
/// [`is_done`](Self::is_done)) but not waited for (CMPL-6).
///
/// ```
/// # use std::time::Duration;
/// # use rohrpost::{Producer, Record, WaitError};
/// # let cluster = rohrpost_broker::Cluster::builder().topic("orders", 1, 1).start()?;
/// # let producer = Producer::builder(cluster.bootstrap_servers()).build()?;
/// let delivery = producer.send_blocking(Record::to("orders").value("one espresso"))?;
/// match delivery.wait_timeout(Duration::from_secs(5)) {
///     Ok(at) => println!("{}-{} at {:?}", at.topic(), at.partition(), at.offset()),
///     Err(WaitError::TimedOut(delivery)) => println!("no answer yet, which says nothing about the record: {delivery:?}"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
/// Dropping it changes nothing for the record: it is sent, retried and counted as any other (CMPL-2). A `select!` that drops a borrowed
/// poll loses nothing.
///
/// # Panics
/// If it is polled again after it has given its result.
pub struct Delivery {
    /// `None` once the result was taken.
    completion: Option<Handle>,
    index: u32,
    slot: u32,
    timestamp: i64,
    key_size: i32,
    value_size: i32,
}

/// `Delivery::slot`: no waker is registered.
const NO_SLOT: u32 = u32::MAX;
/// `Delivery::slot`: the result was shown to the caller.
const SEEN: u32 = u32::MAX - 1;

/// Why [`Delivery::wait`] or [`Delivery::wait_timeout`] gave no [`Delivered`].
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// The record was not delivered.
    Failed(DeliveryError),
    /// The time was over. That says nothing about the record (CMPL-2); the handle is given back.
    TimedOut(Delivery),
    /// Called inside a callback, or where the log is taken on a thread of the producer's own, while the outcome was open: the wait would
    /// never end (CMPL-6). The handle is given back.
    InCallback(Delivery),
}

impl Delivery {
    #[inline]
    pub(crate) fn new(completion: Handle, place: PlaceInBatch) -> Delivery {
        let PlaceInBatch { index, timestamp, key_size, value_size } = place;
        Delivery { completion: Some(completion), index, slot: NO_SLOT, timestamp, key_size, value_size }
    }

    /// The result if it is there. It can be asked for again, and awaited afterwards. `None` after it was awaited to its end.
    ///
    /// # Errors
    /// The record's failure; [`DeliveryError::outcome`] says whether it may be in the log.
    pub fn poll_now(&mut self) -> Option<Result<Delivered, DeliveryError>> {
        if self.completion.as_ref()?.result.get().is_none() {
            self.follow();
        }
        let completion = self.completion.as_ref()?;
        let result = completion.result.get()?;
        let outcome = completion.outcome(result, completion.clone(), self.place());
        if let Some(completion) = self.completion.as_ref().filter(|_| self.slot < SEEN) {
            completion.forget_waker(self.slot);
        }
        self.slot = SEEN;
        Some(outcome)
    }

    /// Whether the outcome is there.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.completion.as_ref().is_none_or(|completion| completion.is_settled(self.index))
    }

    /// Waits in a plain thread, without limit.
    ///
    /// Who waits for each record before the next is sent pays `linger.ms` and a round trip every time; records sent without waiting
    /// share requests (SEND-1).
    ///
    /// # Blocking
    /// Parks the thread until the outcome is there: at most `delivery.timeout.ms`, the time that callbacks of older records take, and,
    /// with a failed-records file on a disk that hangs, ten seconds. Do not call it on an executor's thread: await the `Delivery`.
    ///
    /// # Errors
    /// The record's failure ([`DeliveryError::outcome`] says whether it may be in the log), or [`WaitError::InCallback`].
    #[inline]
    pub fn wait(mut self) -> Result<Delivered, WaitError> {
        // The common case of who waits for one after the other: acknowledged, and nothing to undo.
        if self.slot == NO_SLOT
            && let Some(completion) = &self.completion
            && let Some(&BatchResult::Acked { base_offset, log_append_time }) = completion.result.get()
            && let Some(completion) = self.completion.take()
        {
            return Ok(self.place().acked(completion, base_offset, log_append_time));
        }
        self.wait_until(None)
    }

    /// Waits in a plain thread, at most `timeout` (CMPL-2). [`Duration::ZERO`] looks and does not wait.
    ///
    /// # Blocking
    /// Parks the thread for at most `timeout`.
    ///
    /// # Errors
    /// The record's failure, or [`WaitError::TimedOut`] or [`WaitError::InCallback`] with the handle. These two say nothing about the
    /// record, which is still on its way: to send it again because of them may repeat it.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Delivered, WaitError> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(mut self, deadline: Option<Instant>) -> Result<Delivered, WaitError> {
        if wait::must_not_park() && !self.is_done() {
            return Err(WaitError::InCallback(self)); // CMPL-6
        }
        match wait::block_until(&mut self, deadline) {
            Some(result) => result.map_err(WaitError::Failed),
            None => Err(WaitError::TimedOut(self)),
        }
    }

    fn place(&self) -> PlaceInBatch {
        PlaceInBatch {
            index: self.index,
            timestamp: self.timestamp,
            key_size: self.key_size,
            value_size: self.value_size,
        }
    }
}

impl Future for Delivery {
    type Output = Result<Delivered, DeliveryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(completion) = this.completion.take() else {
            panic!("a Delivery was polled after it had given its result");
        };
        if completion.result.get().is_none() && completion.register(&mut this.slot, cx.waker()) {
            this.completion = Some(completion);
            return Poll::Pending;
        }
        if this.slot < SEEN {
            completion.forget_waker(this.slot);
        }
        this.slot = NO_SLOT;
        let place = this.place();
        // The handle's reference moves into the result: no count is touched on the way.
        match completion.result.get() {
            Some(&BatchResult::Acked { base_offset, log_append_time }) => {
                Poll::Ready(Ok(place.acked(completion, base_offset, log_append_time)))
            }
            Some(BatchResult::HandedOver) => Poll::Ready(Ok(place.handed_over(completion))),
            Some(BatchResult::Failed(failure)) => {
                let failure = failure.clone();
                Poll::Ready(Err(DeliveryError::new(completion, failure, place.index)))
            }
            None => {
                // The batch was split: the outcome is to be found elsewhere.
                this.completion = Some(completion);
                this.follow();
                self.poll(cx)
            }
        }
    }
}

impl Drop for Delivery {
    #[inline]
    fn drop(&mut self) {
        if self.completion.is_some() {
            self.end();
        }
    }
}

impl Delivery {
    /// It is dropped with its result not taken.
    fn end(&mut self) {
        let Some(completion) = &self.completion else { return };
        if self.slot < SEEN {
            completion.forget_waker(self.slot);
        }
        match completion.result.get() {
            Some(BatchResult::Failed(_)) if self.slot != SEEN => {
                completion.partition.ledger().count_unseen(1);
            }
            None => completion.handle_dropped(self.index),
            _ => {}
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Delivery");
        if let Some(completion) = &self.completion {
            debug.field("topic", &completion.partition.topic_name());
            debug.field("partition", &completion.partition.index());
        }
        debug.field("index_in_batch", &self.index).field("done", &self.is_done()).finish()
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::Failed(error) => error.fmt(f),
            WaitError::TimedOut(_) => {
                write!(f, "no outcome yet when the time to wait was over; the record is still under way")
            }
            WaitError::InCallback(_) => write!(
                f,
                "the outcome is open, and this thread runs a callback or is the producer's own: waiting here would wait for ever"
            ),
        }
    }
}

impl std::error::Error for WaitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WaitError::Failed(error) => Some(error),
            _ => None,
        }
    }
}

/// What a handle knows of its record beside the batch; the buffer it was encoded into is reused (API-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlaceInBatch {
    pub(crate) index: u32,
    pub(crate) timestamp: i64,
    pub(crate) key_size: i32,
    pub(crate) value_size: i32,
}

impl PlaceInBatch {
    #[inline]
    fn acked(self, completion: Handle, base_offset: i64, log_append_time: i64) -> Delivered {
        Delivered {
            completion,
            // API-5: base + index, unknown stays unknown, and so does one that no log can have
            offset: match base_offset.checked_add(i64::from(self.index)) {
                Some(offset) if base_offset >= 0 => offset,
                _ => -1,
            },
            // API-6: the broker's time if it says one
            timestamp: if log_append_time == -1 { self.timestamp } else { log_append_time },
            key_size: self.key_size,
            value_size: self.value_size,
        }
    }

    #[inline]
    fn handed_over(self, completion: Handle) -> Delivered {
        self.acked(completion, -1, -1)
    }
}

/// The shared end of a batch's records.
pub(crate) struct Completion {
    partition: Arc<Partition>,
    result: OnceLock<BatchResult>,
    /// It has an outcome, which waits for the failed-records file.
    is_held: AtomicBool,
    /// Instead of a result: the batch was too large, and its parts have the results (ACC-22).
    split: OnceLock<Split>,
    /// Set on parts: what nobody waits for, of all of them together.
    orphans: Option<Arc<Orphans>>,
    /// Known when the batch leaves its queue.
    records: AtomicU32,
    /// The callers' references to this.
    handles: HandleCount,
    /// Which flushes wait for this batch: those begun after it was opened (FLU-1).
    generation: u64,
    wakers: Mutex<Wakers>,
    callbacks: Mutex<Callbacks>,
}

impl Completion {
    pub(crate) fn open(partition: Arc<Partition>) -> sync::Arc<Completion> {
        let generation = partition.ledger().open_batch();
        sync::Arc::new(Completion {
            partition,
            result: OnceLock::new(),
            is_held: AtomicBool::new(false),
            split: OnceLock::new(),
            orphans: None,
            records: AtomicU32::new(0),
            handles: HandleCount::default(),
            generation,
            wakers: Mutex::default(),
            callbacks: Mutex::default(),
        })
    }

    #[inline]
    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Which flushes wait for it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it has come to its end: with a result, or in parts.
    pub(crate) fn is_done(&self) -> bool {
        self.result.get().is_some() || self.split.get().is_some()
    }

    /// Whether it has an outcome that is not told yet.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    pub(crate) fn set_records(&self, records: u32) {
        self.records.store(records, Ordering::Release);
    }

    /// As was set.
    pub(crate) fn record_count(&self) -> u32 {
        self.records.load(Ordering::Acquire)
    }

    /// Charges a callback ([`charged_bytes`]). `false`: there is no room, and nothing was charged.
    pub(crate) fn charge_callback(&self, bytes: usize, pool: &Pool, force: bool) -> bool {
        self.callbacks.lock().charge(bytes, pool, force)
    }

    /// Keeps a callback for the record at `place`; called under the partition's lock, so they stand in append order (CMPL-3).
    pub(crate) fn push_callback(&self, callback: Callback, place: PlaceInBatch) {
        self.callbacks.lock().push(callback, place);
    }

    /// How many records it has; known once the batch has left its queue.
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Acquire).into()
    }

    /// acks=0, and written to the socket.
    pub(crate) fn is_handed_over(&self) -> bool {
        matches!(self.result.get(), Some(BatchResult::HandedOver))
    }

    /// Gives all records of the batch their outcome. The first one wins; later ones change nothing (ACC-26).
    ///
    /// Call it without any lock held: it wakes tasks and runs callbacks.
    pub(crate) fn resolve(self: &sync::Arc<Self>, mut result: BatchResult) -> bool {
        if let Some(keeping) = self.partition.ledger().outlet.keeping() {
            if self.is_held() {
                self.log_second_result(&result);
                return false;
            }
            match keeping.hold(self, result) {
                Some(due) => result = due,
                None => return true,
            }
        }
        self.settle(result)
    }

    /// [`resolve`](Completion::resolve) for a failure whose records a close would hand back: once one has begun, it gives the result back
    /// and tells nobody (FLU-6). `free` is called when the outcome can be seen, and before those are woken that wait for it.
    ///
    /// With a failed-records file the records are there by now, and the outcome may have to wait for it: then a close changes nothing.
    pub(crate) fn resolve_before_close(
        self: &sync::Arc<Self>,
        result: BatchResult,
        free: impl FnOnce(),
    ) -> Result<(), BatchResult> {
        let ledger = self.partition.ledger();
        if ledger.outlet.keeping().is_some() {
            free();
            self.resolve(result);
            return Ok(());
        }
        let mut before_close = ledger.before_close();
        if before_close.is_some() {
            return Err(result);
        }
        if is_broken("close: one look and outcome") {
            drop(before_close);
            before_close = ledger.before_close();
        }
        let shown = self.show(result, before_close);
        free();
        if let Some(ending) = shown {
            self.announce(ending);
        }
        Ok(())
    }

    /// [`resolve`](Completion::resolve) without waiting for the failed-records file.
    fn settle(self: &sync::Arc<Self>, result: BatchResult) -> bool {
        let shown = self.show(result, self.partition.ledger().before_close());
        if let Some(ending) = shown {
            self.announce(ending);
        }
        shown.is_some()
    }

    /// From here on the outcome can be seen, and is counted. `None`: there was one.
    #[inline]
    fn show(&self, result: BatchResult, before_close: MutexGuard<'_, Option<Counts>>) -> Option<Ending> {
        debug_assert!(self.split.get().is_none(), "the parts of a split batch have the outcomes");
        let ending = (&result).into();
        if let Err(result) = self.result.set(result) {
            drop(before_close);
            self.log_second_result(&result);
            return None;
        }
        self.partition.ledger().count(ending, self.records());
        Some(ending)
    }

    /// Tells those that wait for the outcome.
    #[inline]
    fn announce(self: &sync::Arc<Self>, ending: Ending) {
        let (ledger, records) = (self.partition.ledger(), self.records());
        // CMPL-1: futures first, then callbacks.
        let woken = self.wakers.lock().close();
        let callbacks = self.callbacks.lock().take_all();
        if matches!(ending, Ending::NotWritten | Ending::Unknown) {
            // A handle dropped at this very moment may be missed or counted twice; the number feeds a warning.
            let handles = self.handles() as u64;
            let callers = callbacks.as_ref().map_or(0, Callbacks::callers);
            let unseen = records.saturating_sub(callers as u64);
            let unseen = match &self.orphans {
                None => unseen.saturating_sub(handles),
                Some(orphans) => orphans.claim(unseen), // not every handle has come here yet
            };
            ledger.count_unseen(unseen);
        }
        if rules::every(Rule::EveryWaiter, 20) {
            ledger.wake(woken);
        }
        let Some(callbacks) = callbacks.filter(|callbacks| !callbacks.entries.is_empty()) else {
            ledger.close_batch(self.generation, ending, records);
            return;
        };
        ledger.wake_held(); // a callback may take its time
        callbacks.hand_on();
        ledger.outlet.tell(self, callbacks, ending, records);
    }

    /// Runs the callbacks; then, and not before, the batch is complete for those who flush (FLU-1).
    fn run(self: &sync::Arc<Self>, callbacks: Callbacks, ending: Ending, records: u64) {
        if let Some(result) = self.result.get() {
            callbacks.run(|| self.handle(), |handle, place| self.outcome(result, handle, place));
        }
        self.partition.ledger().close_batch(self.generation, ending, records);
    }

    fn outcome(
        &self,
        result: &BatchResult,
        this: Handle,
        place: PlaceInBatch,
    ) -> Result<Delivered, DeliveryError> {
        match result {
            BatchResult::Acked { base_offset, log_append_time } => {
                Ok(place.acked(this, *base_offset, *log_append_time))
            }
            BatchResult::HandedOver => Ok(place.handed_over(this)),
            BatchResult::Failed(failure) => Err(DeliveryError::new(this, failure.clone(), place.index)),
        }
    }

    fn log_second_result(&self, late: &BatchResult) {
        let (topic, partition) = (&**self.partition.topic_name(), self.partition.index());
        match (self.result.get(), late) {
            (Some(BatchResult::Failed(_)), BatchResult::Acked { base_offset, .. }) => tracing::warn!(
                topic,
                partition,
                base_offset,
                "a batch that was reported as failed has been acknowledged after all"
            ),
            (Some(BatchResult::Failed(_)), _) => {}
            (_, late) => {
                tracing::error!(
                    topic,
                    partition,
                    ?late,
                    "a delivered batch was given a second outcome: a bug"
                );
            }
        }
    }

    /// Puts `waker` into the handle's slot. `false`: the result has arrived meanwhile, or the batch was split.
    fn register(&self, slot: &mut u32, waker: &Waker) -> bool {
        let mut wakers = self.wakers.lock();
        if self.is_done() && !is_broken("delivery: look again") {
            return false;
        }
        let old = wakers.put(slot, waker);
        drop(wakers);
        drop(old); // outside the lock: dropping a waker may run foreign code
        true
    }

    fn forget_waker(&self, slot: u32) {
        let old = self.wakers.lock().remove(slot);
        drop(old);
    }
}

/// One slot per polled handle: replaced when it is polled again, freed when it is dropped. A plain list would grow under
/// `select!`.
#[derive(Default)]
struct Wakers {
    slots: Vec<Option<Waker>>,
    free: Vec<u32>,
}

impl Wakers {
    fn put(&mut self, slot: &mut u32, waker: &Waker) -> Option<Waker> {
        if *slot < SEEN {
            match self.slots.get_mut(*slot as usize) {
                Some(Some(old)) if old.will_wake(waker) => None,
                Some(place) => place.replace(waker.clone()),
                None => None,
            }
        } else {
            match self.free.pop() {
                Some(free) => {
                    *slot = free;
                    self.slots[free as usize] = Some(waker.clone());
                }
                None => {
                    *slot = self.slots.len() as u32;
                    self.slots.push(Some(waker.clone()));
                }
            }
            None
        }
    }

    fn remove(&mut self, slot: u32) -> Option<Waker> {
        let waker = self.slots.get_mut(slot as usize)?.take();
        if waker.is_some() {
            self.free.push(slot);
        }
        waker
    }

    fn close(&mut self) -> Vec<Option<Waker>> {
        self.free = Vec::new();
        std::mem::take(&mut self.slots)
    }
}

#[cfg(test)]
impl Delivery {
    pub(crate) fn partition_for_test(&self) -> i32 {
        self.completion.as_ref().map_or(-1, |completion| completion.partition.index())
    }

    pub(crate) fn place_for_test(&self) -> PlaceInBatch {
        self.place()
    }
}

#[cfg(test)]
impl Completion {
    fn registered_wakers(&self) -> usize {
        self.wakers.lock().slots.iter().flatten().count()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicU32 as Counter;

    use super::*;
    use crate::accumulator::TopicState;
    use crate::outcome::{BatchFailure, Outcome, Reason};
    use crate::wait::Count;
    use rohrpost_protocol::ErrorCode;

    fn completion() -> Arc<Completion> {
        let topic = TopicState::new("orders".into(), 0, 0);
        let partition = topic.partition_or_new(3, &Arc::default(), &Counter::new(0)).clone();
        let completion = Completion::open(partition);
        completion.partition.ledger().taken_out(3);
        completion.set_records(3);
        completion
    }

    fn handle(completion: &Arc<Completion>, index: u32) -> Delivery {
        Delivery::new(
            completion.handle(),
            PlaceInBatch { index, timestamp: 1000, key_size: -1, value_size: 5 },
        )
    }

    fn poll(delivery: &mut Delivery, waker: &Arc<Count>) -> Poll<Result<Delivered, DeliveryError>> {
        Pin::new(delivery).poll(&mut Context::from_waker(&Waker::from(waker.clone())))
    }

    fn acked(base_offset: i64, log_append_time: i64) -> BatchResult {
        BatchResult::Acked { base_offset, log_append_time }
    }

    // CMPL-1
    #[test]
    fn a_handle_has_one_waker_the_last_and_frees_it_when_dropped() {
        let completion = completion();
        let (old, new, other) =
            (Arc::new(Count::default()), Arc::new(Count::default()), Arc::new(Count::default()));
        let (mut first, mut second) = (handle(&completion, 0), handle(&completion, 1));
        for _ in 0..100 {
            // what `select!` does
            assert!(poll(&mut first, &old).is_pending());
            assert!(poll(&mut first, &new).is_pending());
            let mut dropped = handle(&completion, 2);
            assert!(poll(&mut dropped, &other).is_pending());
        }
        assert!(poll(&mut second, &other).is_pending());
        assert_eq!(completion.registered_wakers(), 2);
        assert_eq!(Arc::strong_count(&other), 2, "dropped handles have let go of their wakers");
        assert!(completion.wakers.lock().slots.len() <= 2, "slots are used again");
        completion.resolve(acked(40, -1));
        assert_eq!([&old, &new, &other].map(|count| count.get()), [0, 1, 1]);
        let Poll::Ready(Ok(at)) = poll(&mut second, &other) else { panic!("not delivered") };
        assert_eq!((at.offset(), at.topic(), at.partition()), (Some(41), "orders", 3));
        assert_eq!(completion.registered_wakers(), 0);
    }

    // API-5, API-6, CMPL-8
    #[test]
    fn offset_and_time_are_the_brokers_where_it_says_them() {
        let result_of = |result: BatchResult| {
            let completion = completion();
            let mut delivery = handle(&completion, 2);
            completion.resolve(result);
            let at = delivery.poll_now().unwrap().unwrap();
            (at.offset(), at.timestamp())
        };
        assert_eq!(result_of(acked(40, -1)), (Some(42), Some(1000)));
        assert_eq!(result_of(acked(40, 2000)), (Some(42), Some(2000)), "log append time");
        assert_eq!(
            result_of(acked(i64::MAX - 1, -1)),
            (None, Some(1000)),
            "no such offset: a broker's mistake"
        );
        assert_eq!(result_of(acked(-1, -1)), (None, Some(1000)), "a duplicate: its offset is not known");
        assert_eq!(result_of(BatchResult::HandedOver), (None, Some(1000)));
        let completion = completion();
        let mut delivery = handle(&completion, 0);
        completion.resolve(acked(0, -1));
        let at = delivery.poll_now().unwrap().unwrap();
        assert_eq!((at.key_size(), at.value_size()), (None, Some(5)));
    }

    // CMPL-2
    #[test]
    fn a_wait_that_times_out_gives_the_handle_back() {
        let completion = completion();
        let Err(WaitError::TimedOut(delivery)) = handle(&completion, 0).wait_timeout(Duration::ZERO) else {
            panic!("there was nothing to wait for")
        };
        completion.resolve(acked(7, -1));
        assert_eq!(delivery.wait_timeout(Duration::ZERO).unwrap().offset(), Some(7));
        assert_eq!(handle(&completion, 1).wait().unwrap().offset(), Some(8));
    }

    // CMPL-1
    #[test]
    fn a_thread_that_waits_is_woken_by_the_outcome() {
        let completion = completion();
        let delivery = handle(&completion, 0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| delivery.wait());
            while completion.registered_wakers() == 0 {
                std::thread::yield_now();
            }
            completion.resolve(acked(7, -1));
            assert_eq!(waiting.join().unwrap().unwrap().offset(), Some(7));
        });
    }

    // ERR-3
    #[test]
    fn records_that_the_broker_named_fail_with_its_words_and_the_others_as_innocents() {
        let errors_of = |record_errors: Vec<(u32, Option<String>)>| {
            let completion = completion();
            let mut handles: Vec<_> = (0..3).map(|index| handle(&completion, index)).collect();
            completion.resolve(BatchResult::Failed(Arc::new(BatchFailure {
                outcome: Outcome::NotWritten,
                reason: Reason::Broker(ErrorCode::INVALID_TIMESTAMP),
                message: Some("the partition's message".into()),
                record_errors,
                attempts: 1,
            })));
            let errors = handles.iter_mut().map(|handle| handle.poll_now().unwrap().unwrap_err());
            errors.map(|error| (error.code().unwrap(), error.message().to_owned())).collect::<Vec<_>>()
        };
        let innocent = (ErrorCode::INVALID_RECORD, "part of a batch which had invalid records".to_owned());
        assert_eq!(
            errors_of(vec![(1, Some("too old".into()))]),
            [innocent.clone(), (ErrorCode::INVALID_TIMESTAMP, "too old".into()), innocent.clone()]
        );
        assert_eq!(
            errors_of(vec![(0, None), (2, Some("no key".into()))]),
            [
                (ErrorCode::INVALID_RECORD, "the partition's message".into()),
                innocent,
                (ErrorCode::INVALID_RECORD, "no key".into())
            ]
        );
        assert_eq!(
            errors_of(Vec::new())[0],
            (ErrorCode::INVALID_TIMESTAMP, "the partition's message".to_owned())
        );
    }

    // CMPL-8
    #[test]
    fn an_error_says_what_is_certain_and_what_to_do() {
        let text_of = |outcome, reason, message: Option<&str>, attempts| {
            let completion = completion();
            let mut delivery = handle(&completion, 0);
            completion.resolve(BatchResult::Failed(Arc::new(BatchFailure {
                outcome,
                reason,
                message: message.map(str::to_owned),
                record_errors: Vec::new(),
                attempts,
            })));
            delivery.poll_now().unwrap().unwrap_err().to_string()
        };
        assert_eq!(
            text_of(Outcome::NotWritten, Reason::Expired, Some("Expiring 3 record(s)"), 0),
            "record for orders-3 was not written, it is safe to send it again: Expiring 3 record(s)"
        );
        let unknown =
            text_of(Outcome::Unknown, Reason::Broker(ErrorCode::REQUEST_TIMED_OUT), Some("no answer"), 2);
        assert_eq!(
            unknown,
            "record for orders-3 may have been written, look into the log before sending it again: REQUEST_TIMED_OUT: no answer (2 attempts)"
        );
    }
}
