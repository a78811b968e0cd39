//! What is still open and how the rest ended: counters per outcome, and the snapshot a flush waits for.
//!
//! Everything here is touched once per batch, never per record.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use crate::delivery::Outlet;
use crate::outcome::{BatchResult, Outcome};
use crate::rules::{self, Rule};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, is_broken};

/// Least time between two warnings about failures that nobody saw.
const UNSEEN_WARNING_MS: u64 = 10_000;

/// How many records were accepted and how they ended. Exact when nothing moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) acked: u64,
    pub(crate) handed_over: u64,
    pub(crate) not_written: u64,
    pub(crate) unknown: u64,
    /// Accepted and without outcome.
    pub(crate) pending: u64,
    /// Of `not_written` and `unknown`: those whose `Delivery` was dropped.
    pub(crate) unseen: u64,
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Acked,
    HandedOver,
    NotWritten,
    Unknown,
}

impl From<&BatchResult> for Ending {
    fn from(result: &BatchResult) -> Ending {
        match result {
            BatchResult::Acked { .. } => Ending::Acked,
            BatchResult::HandedOver => Ending::HandedOver,
            BatchResult::Failed(failure) => match failure.outcome {
                Outcome::NotWritten => Ending::NotWritten,
                Outcome::Unknown => Ending::Unknown,
            },
        }
    }
}

/// Shared by everything that opens or ends a batch.
#[derive(Default)]
pub(crate) struct Ledger {
    acked: AtomicU64,
    handed_over: AtomicU64,
    not_written: AtomicU64,
    unknown: AtomicU64,
    /// Records of batches that have left their queue and have no outcome.
    out: AtomicU64,
    unseen: AtomicU64,
    unseen_reported: Mutex<UnseenReport>,
    flushing: AtomicUsize,
    flushes: Mutex<Flushes>,
    held: Mutex<HeldWakers>,
    /// FLU-6: the counts when a close began. An outcome comes to light, and is counted, under its lock.
    before_close: Mutex<Option<Counts>>,
    /// The way of outcomes to callbacks.
    pub(crate) outlet: Outlet,
}

/// Tasks that wait for records which have their outcome now, while the sender still reads what else came.
#[derive(Default)]
struct HeldWakers {
    holds: usize,
    /// At most one per handle that was polled.
    wakers: Vec<Waker>,
}

#[derive(Default)]
struct UnseenReport {
    reported: u64,
    next_ms: u64,
}

/// Batches are numbered by generation; a flush begins a new one and waits until the older ones are complete (FLU-1).
#[derive(Default)]
struct Flushes {
    generation: u64,
    /// Incomplete batches by generation. Entries at 0 are removed.
    incomplete: BTreeMap<u64, usize>,
    /// Waiting flushes by id.
    waiting: BTreeMap<u64, WaitingFlush>,
    next_id: u64,
}

struct WaitingFlush {
    /// The newest generation that it waits for.
    until: u64,
    waker: Option<Waker>,
    /// How the batches ended that it waited for.
    report: FlushReport,
}

/// What became of the records that had no outcome when `flush` was called, once all of them have one (FLU-1). Those, and no others: what
/// is sent after the call is counted by the next one. (Records whose callbacks were still to run count as well.)
///
/// Each failed record's own outcome is in its `Delivery` or callback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushReport {
    /// Acknowledged.
    pub acked: u64,
    /// With acks=0: written to the socket.
    pub handed_over: u64,
    /// Failed, and certainly not in the log.
    pub not_written: u64,
    /// Failed, and perhaps in the log.
    pub unknown: u64,
}

impl FlushReport {
    /// Records that were not delivered: not written, or of unknown outcome.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        self.not_written + self.unknown
    }

    fn add(&mut self, ending: Ending, records: u64) {
        *match ending {
            Ending::Acked => &mut self.acked,
            Ending::HandedOver => &mut self.handed_over,
            Ending::NotWritten => &mut self.not_written,
            Ending::Unknown => &mut self.unknown,
        } += records;
    }
}

impl Ledger {
    /// A batch is opened; gives its generation.
    pub(crate) fn open_batch(&self) -> u64 {
        let mut flushes = self.flushes.lock();
        let generation = flushes.generation;
        *flushes.incomplete.entry(generation).or_default() += 1;
        generation
    }

    /// A close begins: what comes to light from here on is in its report (FLU-6). The first one counts (FLU-7).
    pub(crate) fn begin_close(&self) {
        let mut before = self.before_close.lock();
        before.get_or_insert_with(|| self.counts(0));
    }

    /// The counts when a close began, if one has. None begins while this is held: no foreign code may run meanwhile.
    pub(crate) fn before_close(&self) -> MutexGuard<'_, Option<Counts>> {
        self.before_close.lock()
    }

    /// Records have their outcome. Call it with [`before_close`](Ledger::before_close) held.
    pub(crate) fn count(&self, ending: Ending, records: u64) {
        let counter = match ending {
            Ending::Acked => &self.acked,
            Ending::HandedOver => &self.handed_over,
            Ending::NotWritten => &self.not_written,
            Ending::Unknown => &self.unknown,
        };
        counter.fetch_add(records, Ordering::Relaxed);
        self.out.fetch_sub(records, Ordering::Relaxed);
    }

    /// A batch is complete, its callbacks included.
    pub(crate) fn close_batch(&self, generation: u64, ending: Ending, records: u64) {
        let wake = {
            let mut flushes = self.flushes.lock();
            for waiting in flushes.waiting.values_mut().filter(|waiting| waiting.until >= generation) {
                waiting.report.add(ending, records);
            }
            let left = flushes.incomplete.get_mut(&generation).map_or(0, |count| {
                *count -= 1;
                *count
            });
            if left == 0 { flushes.finish(generation) } else { Vec::new() }
        };
        wake.into_iter().for_each(Waker::wake);
    }

    /// A batch has become so many parts, which a flush waits for in its stead (FLU-2).
    pub(crate) fn split_batch(&self, generation: u64, parts: usize) {
        if let Some(count) = self.flushes.lock().incomplete.get_mut(&generation) {
            *count += if rules::holds(Rule::FlushParts) { parts.saturating_sub(1) } else { 0 };
        }
    }

    /// A batch left its queue with this many records.
    pub(crate) fn taken_out(&self, records: u64) {
        self.out.fetch_add(records, Ordering::Relaxed);
    }

    /// A batch went back into its queue.
    pub(crate) fn put_back(&self, records: u64) {
        self.out.fetch_sub(records, Ordering::Relaxed);
    }

    /// Counts; `queued` are the records in queues.
    pub(crate) fn counts(&self, queued: u64) -> Counts {
        let [acked, handed_over, not_written, unknown, out, unseen] =
            [&self.acked, &self.handed_over, &self.not_written, &self.unknown, &self.out, &self.unseen]
                .map(|counter| counter.load(Ordering::Relaxed));
        let pending = out + queued;
        let accepted = acked + handed_over + not_written + unknown + pending;
        Counts { accepted, acked, handed_over, not_written, unknown, pending, unseen }
    }

    /// Wakes whoever waited for a batch that has its outcome now; or later, under a [hold](Ledger::hold_wakers).
    pub(crate) fn wake(&self, woken: Vec<Option<Waker>>) {
        if woken.is_empty() {
            return;
        }
        let mut held = self.held.lock();
        if held.holds > 0 {
            held.wakers.extend(woken.into_iter().flatten());
            return;
        }
        drop(held);
        woken.into_iter().flatten().for_each(Waker::wake);
    }

    /// Until the guard is dropped nobody is woken who waits for a record: who waits for one after the other is woken once for all
    /// that came together. [`wake_held`](Ledger::wake_held) ends the wait before anything that may take its time.
    pub(crate) fn hold_wakers(self: &Arc<Self>) -> WakerHold {
        self.held.lock().holds += 1;
        WakerHold(self.clone())
    }

    /// Wakes those that are held back, in spite of the hold.
    pub(crate) fn wake_held(&self) {
        let wakers = std::mem::take(&mut self.held.lock().wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Failures whose `Delivery` was dropped.
    pub(crate) fn count_unseen(&self, records: u64) {
        if records != 0 {
            self.unseen.fetch_add(records, Ordering::Relaxed);
        }
    }

    /// Warns, at most every ten seconds, about failures that nobody looked at (chapter 2.4). Gives the number warned about.
    pub(crate) fn report_unseen(&self, now_ms: u64) -> u64 {
        let unseen = self.unseen.load(Ordering::Relaxed);
        if unseen == 0 {
            return 0;
        }
        let mut report = self.unseen_reported.lock();
        let new = unseen - report.reported;
        if new == 0 || now_ms < report.next_ms {
            return 0;
        }
        *report = UnseenReport { reported: unseen, next_ms: now_ms + UNSEEN_WARNING_MS };
        drop(report); // whoever takes the log may use this producer
        tracing::warn!(records = new, total = unseen, "records failed whose Delivery was dropped");
        new
    }

    /// Whether a flush runs: then no partition lingers (FLU-3).
    pub(crate) fn is_flushing(&self) -> bool {
        self.flushing.load(Ordering::Acquire) > 0
    }

    /// Snapshots the incomplete batches and waits for them.
    pub(crate) fn begin_flush(self: &Arc<Self>) -> FlushWait {
        self.flushing.fetch_add(1, Ordering::AcqRel);
        let mut flushes = self.flushes.lock();
        let until = flushes.generation;
        flushes.generation += 1;
        let id = flushes.next_id;
        flushes.next_id += 1;
        flushes.waiting.insert(id, WaitingFlush { until, waker: None, report: FlushReport::default() });
        FlushWait { ledger: self.clone(), id, until }
    }
}

/// See [`Ledger::hold_wakers`].
pub(crate) struct WakerHold(Arc<Ledger>);

impl Drop for WakerHold {
    fn drop(&mut self) {
        self.0.held.lock().holds -= 1;
        self.0.wake_held();
    }
}

impl Flushes {
    /// Removes a generation without incomplete batches; gives the wakers of flushes that wait for nothing older any more.
    fn finish(&mut self, generation: u64) -> Vec<Waker> {
        self.incomplete.remove(&generation);
        let oldest = self.oldest();
        self.waiting
            .values_mut()
            .filter(|waiting| waiting.until < oldest)
            .filter_map(|waiting| waiting.waker.take())
            .collect()
    }

    fn oldest(&self) -> u64 {
        self.incomplete.first_key_value().map_or(u64::MAX, |(oldest, _)| *oldest)
    }
}

/// Completes when every batch that was incomplete when the flush began is complete, its callbacks included (FLU-1). Cancel safe:
/// dropping it ends the flush's hurry and changes nothing else.
#[must_use = "a flush does nothing unless it is awaited"]
pub(crate) struct FlushWait {
    ledger: Arc<Ledger>,
    id: u64,
    until: u64,
}

impl FlushWait {
    /// Whether it waits for batches of this generation.
    pub(super) fn is_for(&self, generation: u64) -> bool {
        generation <= self.until
    }
}

impl Future for FlushWait {
    type Output = FlushReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FlushReport> {
        let mut flushes = self.ledger.flushes.lock();
        let until = if rules::holds(Rule::FlushSnapshot) { self.until } else { self.until.saturating_sub(1) };
        let is_over = flushes.oldest() > until;
        if is_broken("flush: one look and place") {
            drop(flushes);
            flushes = self.ledger.flushes.lock();
        }
        let Some(waiting) = flushes.waiting.get_mut(&self.id) else {
            unreachable!("a flush's entry stays until its FlushWait is dropped")
        };
        if is_over {
            return Poll::Ready(waiting.report);
        }
        let old = waiting.waker.replace(cx.waker().clone());
        drop(flushes);
        drop(old); // outside the lock: dropping a waker may run foreign code
        Poll::Pending
    }
}

impl Drop for FlushWait {
    fn drop(&mut self) {
        let removed = self.ledger.flushes.lock().waiting.remove(&self.id);
        drop(removed);
        self.ledger.flushing.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl FlushWait {
        fn report(&self) -> FlushReport {
            self.ledger.flushes.lock().waiting[&self.id].report
        }
    }

    fn poll(flush: &mut FlushWait) -> bool {
        Pin::new(flush).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    // FLU-1
    #[test]
    fn a_flush_waits_for_the_batches_before_it_and_for_no_later_one() {
        let ledger = Arc::new(Ledger::default());
        let close = |generation, ending, records| {
            ledger.count(ending, records);
            ledger.close_batch(generation, ending, records);
        };
        let (first, second) = (ledger.open_batch(), ledger.open_batch());
        ledger.taken_out(3);
        let mut flush = ledger.begin_flush();
        assert!(ledger.is_flushing());
        let later = ledger.open_batch();
        assert!(!poll(&mut flush));
        close(second, Ending::Acked, 1);
        assert!(!poll(&mut flush));
        let mut second_flush = ledger.begin_flush();
        close(first, Ending::Unknown, 1);
        assert!(poll(&mut flush), "the batch opened after the call is not waited for");
        assert!(!poll(&mut second_flush));
        close(later, Ending::NotWritten, 1);
        let (one, two) = (flush.report(), second_flush.report());
        assert_eq!((one.acked, one.unknown, one.undelivered()), (1, 1, 1), "later batches are not its own");
        assert_eq!(
            (two.acked, two.unknown, two.not_written),
            (0, 1, 1),
            "the batch that ended before it is not its own"
        );
        assert!(poll(&mut second_flush));
        drop((flush, second_flush));
        assert!(!ledger.is_flushing());
        assert!(poll(&mut ledger.begin_flush()));
        let counts = ledger.counts(0);
        assert_eq!((counts.accepted, counts.acked, counts.not_written, counts.unknown), (3, 1, 1, 1));
        assert_eq!(counts.pending, 0);
    }

    #[test]
    fn unseen_failures_are_reported_at_most_every_ten_seconds() {
        let ledger = Ledger::default();
        assert_eq!(ledger.report_unseen(0), 0);
        ledger.count_unseen(2);
        assert_eq!(ledger.report_unseen(5), 2);
        ledger.count_unseen(3);
        assert_eq!(ledger.report_unseen(10_004), 0);
        assert_eq!(ledger.report_unseen(10_005), 3);
        assert_eq!(ledger.report_unseen(90_000), 0);
    }

    // CMPL-1
    #[test]
    fn who_waits_for_an_outcome_is_woken_at_the_end_of_a_hold_or_before_what_takes_its_time() {
        let ledger = Arc::new(Ledger::default());
        let count = Arc::new(crate::wait::Count::default());
        let wake = || ledger.wake(vec![None, Some(Waker::from(count.clone()))]);
        wake();
        assert_eq!(count.get(), 1, "no hold");
        let hold = ledger.hold_wakers();
        wake();
        wake();
        assert_eq!(count.get(), 1);
        ledger.wake_held();
        assert_eq!(count.get(), 3);
        wake();
        drop(hold);
        assert_eq!(count.get(), 4);
        wake();
        assert_eq!(count.get(), 5);
    }

    // FLU-1
    #[test]
    fn a_flush_is_woken_by_the_last_of_its_own_batches_and_by_no_other() {
        let ledger = Arc::new(Ledger::default());
        let (first, second) = (ledger.open_batch(), ledger.open_batch());
        let mut flush = ledger.begin_flush();
        let later = ledger.open_batch();
        assert!(flush.is_for(first) && flush.is_for(second) && !flush.is_for(later));
        let count = Arc::new(crate::wait::Count::default());
        let waker = Waker::from(count.clone());
        assert!(Pin::new(&mut flush).poll(&mut Context::from_waker(&waker)).is_pending());
        let close = |generation| ledger.close_batch(generation, Ending::Acked, 1);
        close(later);
        assert_eq!(count.get(), 0, "a later one");
        close(first);
        assert_eq!(count.get(), 0, "not the last one");
        close(second);
        assert_eq!(count.get(), 1);
        assert!(poll(&mut flush));
    }

    // FLU-1
    #[test]
    fn a_waker_that_is_replaced_may_call_back_when_it_is_dropped() {
        struct Flushes(Arc<Ledger>);
        impl std::task::Wake for Flushes {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Flushes {
            fn drop(&mut self) {
                assert!(
                    self.0.flushes.try_lock().is_some(),
                    "dropped under the lock: a second flush would never return"
                );
            }
        }
        let ledger = Arc::new(Ledger::default());
        ledger.open_batch();
        let mut flush = ledger.begin_flush();
        let waker = Waker::from(Arc::new(Flushes(ledger.clone())));
        assert!(Pin::new(&mut flush).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert!(!poll(&mut flush));
    }
}
