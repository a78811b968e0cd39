//! The way of outcomes to callbacks: on the sender's thread, or, if the user says so, on an executor of theirs (SND-11). Before it,
//! with a failed-records file, the wait until that is written ([`keeping`](super::keeping)).
//!
//! On an executor, a partition's callbacks are one queue that one job at a time works off, so their order is that of the
//! outcomes (CMPL-3). The queues are bounded: what stands in them is charged to `buffer.memory` until it has run.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Completion;
use super::callback::Callbacks;
use super::keeping::Keeping;
use crate::accumulator::{Ending, Partition};
use crate::sync::{self, AtomicU64, Mutex, OnceLock};
use crate::wait::SenderWake;

/// Takes jobs and runs them, each once, on a thread of its choice.
pub(crate) type Executor = Arc<dyn Fn(Job) + Send + Sync>;

/// Callbacks and interceptors of one partition that are due; see [`ProducerBuilder::callbacks_on`](crate::ProducerBuilder::callbacks_on).
///
/// A job that is dropped without having run runs there and then: every callback runs. It takes as long as the callbacks do, and
/// may block its thread with them.
#[must_use = "a job is to be run"]
pub struct Job {
    partition: Option<Arc<Partition>>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Outlet {
    /// Until the producer ends: it may own what ends the executor's threads, and these may hold completions.
    executor: Mutex<Option<(Executor, SenderWake)>>,
    keeping: OnceLock<Keeping>,
    /// By partition key: what its job has still to run. There is a job for each.
    lanes: Mutex<HashMap<u32, VecDeque<Due>>>,
    /// Batches in lanes, those that are just being told included.
    open: AtomicU64,
}

/// A batch whose callbacks are due.
struct Due {
    completion: sync::Arc<Completion>,
    callbacks: Callbacks,
    ending: Ending,
    records: u64,
}

impl Outlet {
    /// From now on callbacks run there. The sender is woken when the last one has run.
    pub(crate) fn set_executor(&self, executor: Executor, sender: SenderWake) {
        *self.executor.lock() = Some((executor, sender));
    }

    /// The producer has ended: the executor gets nothing more.
    pub(crate) fn end(&self) {
        let executor = self.executor.lock().take();
        drop(executor); // outside the lock: it is the user's own code
    }

    /// From now on batches that fail go into the failed-records file.
    pub(crate) fn set_keeping(&self, keeping: Keeping) {
        let _ = self.keeping.set(keeping);
    }

    /// The failed-records file, if there is one.
    #[inline]
    pub(crate) fn keeping(&self) -> Option<&Keeping> {
        self.keeping.get()
    }

    /// Batches whose callbacks have not run yet.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Acquire)
    }

    /// Runs a batch's callbacks, or has them run. Call it without any lock held.
    pub(super) fn tell(
        &self,
        completion: &sync::Arc<Completion>,
        callbacks: Callbacks,
        ending: Ending,
        records: u64,
    ) {
        let executor = self.executor.lock().as_ref().map(|(executor, _)| executor.clone());
        let Some(executor) = executor else {
            return completion.run(callbacks, ending, records);
        };
        self.open.fetch_add(1, Ordering::AcqRel);
        let due = Due { completion: completion.clone(), callbacks, ending, records };
        let partition = completion.partition().clone();
        {
            let mut lanes = self.lanes.lock();
            if let Some(lane) = lanes.get_mut(&partition.key()) {
                return lane.push_back(due); // its job comes to it
            }
            lanes.insert(partition.key(), VecDeque::from([due]));
        }
        let job = Job { partition: Some(partition) };
        // One that panics drops the job, which runs then.
        if catch_unwind(AssertUnwindSafe(|| executor(job))).is_err() {
            tracing::error!("the executor of callbacks panicked");
        }
    }

    /// Works off a partition's lane.
    fn work_off(&self, key: u32) {
        loop {
            let due = {
                let mut lanes = self.lanes.lock();
                match lanes.get_mut(&key).and_then(VecDeque::pop_front) {
                    Some(due) => due,
                    None => {
                        lanes.remove(&key); // the next one needs a job
                        return;
                    }
                }
            };
            let Due { completion, callbacks, ending, records } = due;
            completion.run(callbacks, ending, records);
            if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
                let sender = self.executor.lock().as_ref().map(|(_, sender)| sender.clone());
                sender.iter().for_each(SenderWake::wake); // a close may wait for it
            }
        }
    }
}

impl Job {
    /// Runs the callbacks. They must not wait for this producer: inside, a call that would wait fails at once (CMPL-6).
    pub fn run(mut self) {
        self.work_off();
    }

    fn work_off(&mut self) {
        if let Some(partition) = self.partition.take() {
            partition.ledger().outlet.work_off(partition.key());
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.work_off();
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Job");
        if let Some(partition) = &self.partition {
            debug.field("topic", &partition.topic_name()).field("partition", &partition.index());
        }
        debug.finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::super::{Callback, PlaceInBatch, charged_bytes};
    use super::*;
    use crate::accumulator::{Pool, TopicState};
    use crate::outcome::{BatchResult, Delivered, DeliveryError};

    struct Rig {
        topic: TopicState,
        ledger: Arc<crate::accumulator::Ledger>,
        keys: std::sync::atomic::AtomicU32,
        pool: Pool,
        jobs: Receiver<Job>,
    }

    impl Rig {
        /// An executor that keeps its jobs.
        fn new() -> Rig {
            let (tell, jobs) = channel();
            let ledger: Arc<crate::accumulator::Ledger> = Arc::default();
            let tell = Mutex::new(tell);
            let executor: Executor =
                Arc::new(move |job| tell.lock().send(job).expect("the test waits for its jobs"));
            ledger.outlet.set_executor(executor, SenderWake::new());
            let topic = TopicState::new("orders".into(), 0, 0);
            let pool = Pool::new(1 << 20, 16384, SenderWake::new());
            Rig { topic, ledger, keys: Default::default(), pool, jobs }
        }

        /// A batch of one record, whose callback runs `then`.
        fn batch(&self, partition: u32, then: impl FnOnce() + Send + 'static) -> sync::Arc<Completion> {
            let partition = self.topic.partition_or_new(partition, &self.ledger, &self.keys).clone();
            let completion = Completion::open(partition);
            let callback: Callback = Box::new(move |_: Result<Delivered, DeliveryError>| then());
            assert!(completion.charge_callback(charged_bytes(&callback), &self.pool, false));
            completion.push_callback(
                callback,
                PlaceInBatch { index: 0, timestamp: 0, key_size: -1, value_size: 1 },
            );
            self.ledger.taken_out(1);
            completion.set_records(1);
            completion
        }
    }

    fn acked() -> BatchResult {
        BatchResult::Acked { base_offset: 0, log_append_time: -1 }
    }

    // SND-11, CMPL-3
    #[test]
    fn an_executor_gets_one_job_per_partition_at_a_time_and_their_order_stays() {
        let rig = Rig::new();
        let (tell, told) = channel();
        for n in 0..6 {
            let tell = tell.clone();
            rig.batch(n % 2, move || tell.send((std::thread::current().id(), n)).unwrap()).resolve(acked());
        }
        assert!(told.try_recv().is_err(), "nothing runs on the sender's thread");
        let jobs: Vec<Job> = rig.jobs.try_iter().collect();
        assert_eq!(jobs.len(), 2, "one for each partition");
        let threads: Vec<_> = jobs.into_iter().map(|job| std::thread::spawn(move || job.run())).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let told: Vec<_> = told.try_iter().collect();
        assert!(told.iter().all(|(thread, _)| *thread != std::thread::current().id()));
        let of = |parity: u32| told.iter().map(|(_, n)| *n).filter(move |n| n % 2 == parity);
        assert!(of(0).eq([0, 2, 4]) && of(1).eq([1, 3, 5]), "{told:?}");
        // Another batch needs another job.
        rig.batch(0, || {}).resolve(acked());
        assert_eq!(rig.jobs.try_iter().count(), 1);
    }

    // SND-11, FLU-1
    #[test]
    fn a_callback_is_charged_and_its_flush_waits_until_the_executor_has_run_it() {
        let rig = Rig::new();
        let batch = rig.batch(0, || {});
        let mut flush = std::pin::pin!(rig.ledger.begin_flush());
        let mut is_flushed = || {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            std::future::Future::poll(flush.as_mut(), &mut cx).is_ready()
        };
        let held = rig.pool.held();
        assert!(held > 0);
        batch.resolve(acked());
        let counts = rig.ledger.counts(0);
        assert_eq!((counts.acked, counts.pending), (1, 0), "the outcome is there");
        assert!(!is_flushed());
        assert_eq!((rig.pool.held(), rig.ledger.outlet.open()), (held, 1));
        rig.jobs.recv().unwrap().run();
        assert!(is_flushed());
        assert_eq!((rig.pool.held(), rig.ledger.outlet.open()), (0, 0));
    }

    // SND-11
    #[test]
    fn a_job_that_is_dropped_runs_all_the_same() {
        let rig = Rig::new();
        let (tell, told) = channel();
        rig.batch(0, move || tell.send(()).unwrap()).resolve(acked());
        drop(rig.jobs.recv().unwrap());
        assert!(told.try_recv().is_ok());
    }
}
