//! A batch that was too large became several (ACC-22): its records' handles and callbacks go on to the parts.
//!
//! Callbacks move at once. A handle is its owner's, so it moves itself, when it is looked at next; a task that waits is woken for
//! that. Whoever looks at a handle sees the same as before: one outcome, of its own record.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::{Completion, Delivery, HandleCount, NO_SLOT};
use crate::outcome::BatchResult;
use crate::sync::{self, AtomicBool, AtomicU32, AtomicU64, Mutex, OnceLock};

/// The parts that a batch became.
pub(super) struct Split {
    /// With the index that a part's first record had in the batch.
    parts: Vec<(u32, sync::Arc<Completion>)>,
}

/// Records of a split batch without handle and callback, that failed unseen or still may. A handle does not say which record it had
/// when it was dropped before the split, so all parts, and their parts, share one number; those that fail first are counted first.
#[derive(Default)]
pub(super) struct Orphans(AtomicU64);

impl Completion {
    /// Ends this completion in parts of so many records. Call it without any lock held: it wakes tasks.
    pub(crate) fn split(self: &sync::Arc<Self>, counts: &[u32]) -> Vec<sync::Arc<Completion>> {
        assert!(!self.is_done(), "a batch is split while it has no outcome");
        let mut callbacks = std::mem::take(&mut *self.callbacks.lock());
        let orphans = self.orphans.clone().unwrap_or_else(|| {
            let handles = self.handles();
            let records: u32 = counts.iter().sum();
            let known = (handles + callbacks.callers()) as u64;
            Arc::new(Orphans(AtomicU64::new(u64::from(records).saturating_sub(known))))
        });
        self.partition.ledger().split_batch(self.generation, counts.len()); // FLU-2
        let mut first = 0;
        let mut parts = Vec::with_capacity(counts.len());
        for count in counts {
            let end = first + count;
            let part = Completion {
                partition: self.partition.clone(),
                result: OnceLock::new(),
                is_held: AtomicBool::new(false),
                split: OnceLock::new(),
                orphans: Some(orphans.clone()),
                records: AtomicU32::new(*count),
                handles: HandleCount::default(),
                generation: self.generation,
                wakers: Mutex::default(),
                callbacks: Mutex::new(callbacks.take(first, end)),
            };
            parts.push((first, sync::Arc::new(part)));
            first = end;
        }
        let shared = parts.iter().map(|(_, part)| part.clone()).collect();
        if self.split.set(Split { parts }).is_err() {
            unreachable!("a batch is split once");
        }
        let woken = self.wakers.lock().close();
        woken.into_iter().flatten().for_each(Waker::wake);
        shared
    }

    /// Whether the record at `index` has its outcome.
    pub(super) fn is_settled(&self, index: u32) -> bool {
        self.result.get().is_some()
            || self.split.get().is_some_and(|split| {
                let (first, part) = split.part_of(index);
                part.is_settled(index - first)
            })
    }

    /// The handle of a record without outcome here was dropped.
    #[inline]
    pub(super) fn handle_dropped(&self, index: u32) {
        if self.orphans.is_some() || self.split.get().is_some() {
            self.orphan(index);
        }
    }

    #[cold]
    fn orphan(&self, index: u32) {
        if let Some(split) = self.split.get() {
            let (first, part) = split.part_of(index);
            return part.orphan(index - first);
        }
        match (self.result.get(), &self.orphans) {
            (Some(BatchResult::Failed(_)), _) => self.partition.ledger().count_unseen(1),
            (None, Some(orphans)) => drop(orphans.0.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
    }
}

impl Delivery {
    /// Goes on to the part that has the record now.
    #[cold]
    pub(super) fn follow(&mut self) {
        while let Some(split) = self.completion.as_ref().and_then(|completion| completion.split.get()) {
            let (first, part) = split.part_of(self.index);
            let part = part.handle();
            self.index -= first;
            self.slot = NO_SLOT; // the wakers there are gone
            self.completion = Some(part);
        }
    }
}

impl Split {
    fn part_of(&self, index: u32) -> (u32, &sync::Arc<Completion>) {
        let at = self.parts.partition_point(|(first, _)| *first <= index);
        let (first, part) = &self.parts[at.saturating_sub(1)];
        (*first, part)
    }
}

impl Orphans {
    /// So many records have failed, at most: how many of them nobody sees.
    pub(super) fn claim(&self, records_max: u64) -> u64 {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(records_max)));
        taken.unwrap_or(0).min(records_max)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::super::{Callback, PlaceInBatch, charged_bytes};
    use super::*;
    use crate::accumulator::{Pool, TopicState};
    use crate::outcome::{BatchFailure, Delivered, DeliveryError, Outcome, Reason};
    use crate::wait::SenderWake;

    fn completion(records: u32) -> Arc<Completion> {
        let topic = TopicState::new("orders".into(), 0, 0);
        let partition = topic.partition_or_new(3, &Arc::default(), &AtomicU32::new(0)).clone();
        let completion = Completion::open(partition);
        completion.partition.ledger().taken_out(records.into());
        completion.set_records(records);
        completion
    }

    fn place(index: u32) -> PlaceInBatch {
        PlaceInBatch { index, timestamp: 1000, key_size: -1, value_size: 5 }
    }

    fn handles(completion: &Arc<Completion>, records: u32) -> Vec<Delivery> {
        (0..records).map(|index| Delivery::new(completion.handle(), place(index))).collect()
    }

    fn acked(base_offset: i64) -> BatchResult {
        BatchResult::Acked { base_offset, log_append_time: -1 }
    }

    fn failure(message: &str, record_errors: Vec<(u32, Option<String>)>) -> BatchResult {
        BatchResult::Failed(Arc::new(BatchFailure {
            outcome: Outcome::NotWritten,
            reason: Reason::Broker(rohrpost_protocol::ErrorCode::INVALID_RECORD),
            message: Some(message.into()),
            record_errors,
            attempts: 1,
        }))
    }

    fn offset(delivery: &mut Delivery) -> Option<i64> {
        delivery.poll_now().expect("an outcome").expect("acknowledged").offset()
    }

    // ACC-22
    #[test]
    fn handles_find_their_part_and_its_parts_however_they_are_looked_at() {
        let completion = completion(6);
        let mut handles = handles(&completion, 6);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut handles[5]).poll(&mut cx).is_pending());
        let parts = completion.split(&[2, 4]);
        assert!(Pin::new(&mut handles[4]).poll(&mut cx).is_pending());
        let grandchildren = parts[1].split(&[1, 3]);
        assert!(completion.is_done() && handles.iter().all(|handle| !handle.is_done()));
        assert!(handles.iter_mut().all(|handle| handle.poll_now().is_none()));
        parts[0].resolve(acked(10));
        grandchildren[1].resolve(acked(40));
        assert_eq!([0, 1, 3, 4, 5].map(|at| offset(&mut handles[at])), [10, 11, 40, 41, 42].map(Some));
        assert!(!handles[2].is_done());
        grandchildren[0].resolve(failure("too old", Vec::new()));
        assert!(handles[2].is_done());
        let last = handles.remove(5);
        assert_eq!(last.wait().unwrap().offset(), Some(42));
        let Poll::Ready(Err(error)) = Pin::new(&mut handles[2]).poll(&mut cx) else { panic!("no error") };
        assert_eq!((error.message(), error.topic(), error.partition()), ("too old", Some("orders"), Some(3)));
    }

    // ACC-22, CMPL-1
    #[test]
    fn a_thread_that_waits_gets_the_outcome_of_its_part() {
        let completion = completion(2);
        let mut handles = handles(&completion, 2);
        let waiting = handles.remove(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| waiting.wait());
            while completion.registered_wakers() == 0 {
                std::thread::yield_now();
            }
            let parts = completion.split(&[1, 1]);
            while parts[1].registered_wakers() == 0 {
                std::thread::yield_now(); // it was woken, and waits there now
            }
            parts[1].resolve(acked(7));
            assert_eq!(waiting.join().unwrap().unwrap().offset(), Some(7));
            parts[0].resolve(acked(6));
        });
    }

    // ACC-22, ERR-3
    #[test]
    fn records_that_the_broker_names_are_those_of_the_part() {
        let completion = completion(4);
        let mut handles = handles(&completion, 4);
        let parts = completion.split(&[2, 2]);
        parts[0].resolve(acked(0));
        parts[1].resolve(failure("a record is bad", vec![(1, Some("no key".into()))]));
        let mut text = |at: usize| handles[at].poll_now().unwrap().unwrap_err().message().to_owned();
        assert_eq!(text(3), "no key");
        assert_eq!(text(2), "part of a batch which had invalid records");
    }

    // ACC-22, CMPL-3
    #[test]
    fn callbacks_go_with_their_records_and_their_memory_with_them() {
        let pool = Pool::new(1 << 20, 16384, SenderWake::new());
        let completion = completion(100);
        let (tell, told) = std::sync::mpsc::channel();
        for index in (0..100).filter(|index| index % 3 == 0) {
            let tell = tell.clone();
            let callback: Callback = Box::new(move |outcome: Result<Delivered, DeliveryError>| {
                let offset = outcome.map(|at| at.offset()).ok();
                tell.send((index, offset.flatten())).unwrap();
            });
            assert!(completion.charge_callback(charged_bytes(&callback), &pool, false));
            completion.push_callback(callback, place(index));
        }
        let held = pool.held();
        let parts = completion.split(&[50, 1, 49]);
        assert_eq!(pool.held(), held, "nothing is lost or counted twice");
        parts[0].resolve(acked(1000));
        assert!(pool.held() < held && pool.held() > 0);
        parts[1].resolve(failure("no", Vec::new()));
        parts[2].resolve(acked(2000));
        assert_eq!(pool.held(), 0);
        let expected = (0..100).filter(|index| index % 3 == 0).map(|index: u32| match index {
            0..50 => (index, Some(1000 + i64::from(index))),
            50 => (index, None),
            _ => (index, Some(2000 + i64::from(index) - 51)),
        });
        assert_eq!(told.try_iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    // FLU-2
    #[test]
    fn a_flush_that_waits_for_the_batch_waits_for_its_parts() {
        let completion = completion(3);
        let ledger = completion.partition.ledger().clone();
        let mut flush = ledger.begin_flush();
        let mut is_done = || {
            std::future::Future::poll(Pin::new(&mut flush), &mut Context::from_waker(Waker::noop()))
                .is_ready()
        };
        let parts = completion.split(&[1, 2]);
        parts[1].resolve(acked(1));
        assert!(!is_done());
        let again = parts[0].split(&[1]);
        assert!(!is_done());
        again[0].resolve(acked(0));
        assert!(is_done());
        let counts = ledger.counts(0);
        assert_eq!((counts.acked, counts.pending), (3, 0));
    }

    // ACC-22: chapter 2.4
    #[test]
    fn records_whose_handle_was_dropped_are_counted_when_their_part_fails() {
        let completion = completion(6);
        let mut handles = handles(&completion, 6);
        drop(handles.remove(5)); // before the split
        let parts = completion.split(&[3, 3]);
        drop(handles.remove(4)); // after it, and it never came to its part
        assert!(handles[3].poll_now().is_none());
        drop(handles.remove(3)); // after it, from its part
        parts[0].resolve(acked(0));
        parts[1].resolve(failure("no", Vec::new()));
        let ledger = completion.partition.ledger();
        assert_eq!((ledger.counts(0).unseen, ledger.counts(0).not_written), (3, 3));
        drop(handles);
        assert_eq!(ledger.counts(0).unseen, 3, "success is no news");
    }
}
