//! Outcomes that wait until their records are in the failed-records file (SEND-2).
//!
//! A batch that fails hands its bytes to the [`Sink`]; its outcome, and those of the partition that come after it (CMPL-3), stand
//! here until the file is synced. The sender lets them go with its next turn, so that callbacks run where they always do. Everything
//! here is called by the sender alone, but for what the sink says.
//!
//! A disk that hangs holds an outcome for [`KEEP_GRACE`] and no longer; then it is told without the file, and counted as lost. Its bytes
//! stay with the sink, charged: when the disk goes on they get into the file after all.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Completion;
use crate::accumulator::{Batch, Pool, Remains};
use crate::failed_records::{Kept, Sink};
use crate::outcome::{BatchFailure, BatchResult};
use crate::sync::{self, AtomicBool, AtomicUsize, Mutex};

/// So long at most does an outcome wait for the file, and so does a producer that has ended.
pub(crate) const KEEP_GRACE: Duration = Duration::from_secs(10);
const KEEP_GRACE_MS: u64 = KEEP_GRACE.as_millis() as u64;

pub(crate) struct Keeping {
    pub(crate) sink: Sink,
    pool: Pool,
    inner: Mutex<Inner>,
    /// Outcomes held back.
    held: AtomicUsize,
    /// Batches that failed and whose bytes have not come.
    lacking: AtomicUsize,
    /// The producer has ended, and nobody would let go what is held back.
    has_ended: AtomicBool,
}

#[derive(Default)]
struct Inner {
    /// Batches that failed and are not with the sink yet.
    failing: HashMap<Address, Failing>,
    /// By partition key, in the order in which they are to be told.
    lanes: HashMap<u32, VecDeque<Held>>,
}

/// Of a completion. It is compared and never followed: what it stands for is kept alive beside it.
type Address = usize;

struct Failing {
    completion: sync::Arc<Completion>,
    failure: Arc<BatchFailure>,
    age_ms: u64,
    /// `None`: a request has the bytes (ACC-25).
    remains: Option<Remains>,
    /// Its outcome stands in a lane.
    is_held: bool,
}

struct Held {
    completion: sync::Arc<Completion>,
    result: BatchResult,
    /// It has to wait for the file itself.
    waits: bool,
    /// Until then at most; `None` until the sender has looked at it once.
    until_ms: Option<u64>,
}

impl Keeping {
    pub(crate) fn new(sink: Sink, pool: Pool) -> Keeping {
        let (held, lacking) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Keeping { sink, pool, inner: Mutex::default(), held, lacking, has_ended: AtomicBool::new(false) }
    }

    /// A batch fails; its outcome follows. Without `remains` a request has its bytes still.
    pub(crate) fn fails(
        &self,
        completion: &sync::Arc<Completion>,
        failure: &Arc<BatchFailure>,
        age_ms: u64,
        remains: Option<Remains>,
    ) {
        if self.has_ended.load(Ordering::Acquire) {
            return self.sink.count_lost(completion.records());
        }
        self.lacking.fetch_add(usize::from(remains.is_none()), Ordering::AcqRel);
        let (completion, failure) = (completion.clone(), failure.clone());
        let address = address(&completion);
        let failing = Failing { completion, failure, age_ms, remains, is_held: false };
        self.inner.lock().failing.insert(address, failing);
    }

    /// Whether bytes are in requests that are wanted here.
    pub(crate) fn lacks_bytes(&self) -> bool {
        self.lacking.load(Ordering::Acquire) > 0
    }

    /// A batch that a request owns: its bytes are copied, if they are wanted.
    pub(crate) fn look_at(&self, batch: &Batch) {
        self.give(batch.completion(), || batch.copy_remains(&self.pool));
    }

    /// A batch is back from its request: its bytes are taken, if they are wanted.
    pub(crate) fn take_from(&self, batch: &mut Batch) {
        let completion = batch.completion().clone();
        self.give(&completion, || batch.take_remains());
    }

    fn give(&self, completion: &sync::Arc<Completion>, remains: impl FnOnce() -> Option<Remains>) {
        if !self.lacks_bytes() {
            return;
        }
        let address = address(completion);
        {
            let mut inner = self.inner.lock();
            let Some(failing) = inner.failing.get_mut(&address).filter(|failing| failing.remains.is_none())
            else {
                return;
            };
            failing.remains = remains();
            if failing.remains.is_none() {
                return;
            }
        }
        self.lacking.fetch_sub(1, Ordering::AcqRel);
        self.submit(address);
    }

    /// A batch has its outcome. Gives it back if it is to be told now.
    pub(super) fn hold(
        &self,
        completion: &sync::Arc<Completion>,
        result: BatchResult,
    ) -> Option<BatchResult> {
        let (address, key) = (address(completion), completion.partition.key());
        {
            let mut inner = self.inner.lock();
            let Inner { failing, lanes } = &mut *inner;
            let failing = failing.get_mut(&address);
            let waits = failing.is_some();
            if !waits && !lanes.contains_key(&key) {
                return Some(result);
            }
            if let Some(failing) = failing {
                failing.is_held = true;
            }
            completion.is_held.store(true, Ordering::Release);
            self.held.fetch_add(1, Ordering::AcqRel);
            lanes.entry(key).or_default().push_back(Held {
                completion: completion.clone(),
                result,
                waits,
                until_ms: None,
            });
        }
        self.submit(address);
        None
    }

    /// Hands a batch to the sink, if its outcome and its bytes are there.
    fn submit(&self, address: Address) {
        let failing = {
            let mut inner = self.inner.lock();
            let is_due = |failing: &Failing| failing.is_held && failing.remains.is_some();
            if !inner.failing.get(&address).is_some_and(is_due) {
                return;
            }
            inner.failing.remove(&address)
        };
        let Some(Failing { completion, failure, age_ms, remains: Some(remains), .. }) = failing else {
            return;
        };
        let kept = Kept { completion, remains, failure, age_ms };
        if let Err(kept) = self.sink.keep(Box::new(kept)) {
            self.sink.count_lost(kept.remains.record_count().into());
            self.sink.is_done(kept.completion);
        }
    }

    /// Tells the outcomes that need not wait any more, or have waited long enough. Gives the moment at which the next one has. Call it
    /// without any lock held: it runs callbacks.
    pub(crate) fn release(&self, now_ms: u64) -> Option<u64> {
        if self.held.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.hear();
        let next_ms = self.give_up(now_ms);
        self.tell();
        next_ms
    }

    /// What the sink has done.
    fn hear(&self) {
        let mut inner = self.inner.lock();
        for done in self.sink.take_done() {
            let mut held = inner.lanes.values_mut().flatten();
            if let Some(held) = held.find(|held| sync::Arc::ptr_eq(&held.completion, &done)) {
                held.waits = false;
            }
        }
    }

    /// Waits no more for what is late. Gives the moment at which the next one is.
    fn give_up(&self, now_ms: u64) -> Option<u64> {
        let mut next_ms = None;
        let mut lost = 0;
        {
            let mut inner = self.inner.lock();
            let Inner { failing, lanes } = &mut *inner;
            for held in lanes.values_mut().flatten().filter(|held| held.waits) {
                let until_ms = *held.until_ms.get_or_insert(now_ms.saturating_add(KEEP_GRACE_MS));
                if until_ms > now_ms {
                    next_ms = next_ms.into_iter().chain([until_ms]).min();
                    continue;
                }
                held.waits = false;
                lost += held.completion.records();
                // Its bytes were still with its request.
                if failing.remove(&address(&held.completion)).is_some() {
                    self.lacking.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
        if lost > 0 {
            self.sink.count_lost(lost);
            tracing::error!(
                "{lost} failed records did not get into the failed-records file within {} s; their deliveries and callbacks are told \
                 without it",
                KEEP_GRACE.as_secs()
            );
        }
        next_ms
    }

    fn tell(&self) {
        let mut due = Vec::new();
        {
            let mut inner = self.inner.lock();
            inner.lanes.retain(|_, lane| {
                let ready = lane.iter().take_while(|held| !held.waits).count();
                due.extend(lane.drain(..ready));
                !lane.is_empty()
            });
        }
        for Held { completion, result, .. } in due {
            completion.settle(result);
            self.held.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits until everything is in the file and told, but not without end: what is not there after [`KEEP_GRACE`], or has no bytes,
    /// is told without it.
    pub(crate) fn finish(&self) {
        let deadline = Instant::now() + KEEP_GRACE;
        loop {
            self.hear();
            self.tell();
            let (held, lacking) = (self.held.load(Ordering::Acquire), self.lacking.load(Ordering::Acquire));
            if held == 0 {
                return;
            }
            // What lacks its bytes gets none any more.
            if Instant::now() >= deadline || lacking > 0 && self.is_only_lacking() {
                break;
            }
            self.sink.wait_done(deadline);
        }
        let mut lost = 0;
        {
            let mut inner = self.inner.lock();
            inner.failing.clear();
            for held in inner.lanes.values_mut().flatten().filter(|held| held.waits) {
                held.waits = false;
                lost += held.completion.records();
            }
        }
        self.lacking.store(0, Ordering::Release);
        self.sink.count_lost(lost);
        tracing::error!(
            "{lost} failed records did not get into the failed-records file before the producer ended"
        );
        self.tell();
    }

    /// The last thing that the producer does with it.
    pub(crate) fn end(&self) {
        self.finish();
        self.has_ended.store(true, Ordering::Release);
        self.sink.close();
    }

    /// Whether nobody waits for the sink itself.
    fn is_only_lacking(&self) -> bool {
        let inner = self.inner.lock();
        let is_with_sink =
            |held: &Held| held.waits && !inner.failing.contains_key(&address(&held.completion));
        !inner.lanes.values().flatten().any(is_with_sink)
    }
}

fn address(completion: &sync::Arc<Completion>) -> Address {
    sync::Arc::as_ptr(completion) as Address
}

#[cfg(test)]
impl Keeping {
    /// Nothing is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Acquire) == 0
    }
}
