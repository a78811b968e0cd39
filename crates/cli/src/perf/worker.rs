//! One application thread of `perf produce`: it sends, keeps every delivery, and awaits them in order.
//!
//! Nothing here is shared between threads but the counters of [`Common`], touched once per round. The clock is read once per round
//! if there is a rate, and once per sampled record.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use rohrpost::{Delivered, Delivery, DeliveryError, Producer, Record, SendError, Topic, WaitError};

use super::latency::Latencies;
use super::pace::Pace;
use super::payload::Cursor;

/// Deliveries that may be outstanding at once, all threads together.
pub(super) const OUTSTANDING_MAX: usize = 100_000;
/// After so many sends a thread takes up what is acknowledged, and looks whether it is to stop.
const ROUND: u64 = 256;

/// What all threads and callbacks share.
pub(super) struct Common {
    /// Set by Ctrl-C, and by a thread that cannot send on.
    pub(super) stop: AtomicBool,
    /// Records settled, for the progress bar.
    pub(super) settled: AtomicU64,
    /// Sampled records that ended well, and badly; their callbacks count them.
    pub(super) sampled: AtomicU64,
    pub(super) sampled_failed: AtomicU64,
    /// What went wrong first.
    pub(super) first_error: OnceLock<String>,
    pub(super) latencies: Latencies,
}

/// Where records go.
pub(super) enum Route {
    /// Through a handle of the topic.
    Handle(Topic),
    /// By the name in each record.
    Name(Producer, String),
}

/// What one thread came to. Sampled records are counted in [`Common`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
}

/// One thread's part of the run.
pub(super) struct Worker {
    pub(super) common: Arc<Common>,
    pub(super) route: Route,
    pub(super) values: Cursor,
    pub(super) keys: Option<(&'static [Bytes], fastrand::Rng)>,
    pub(super) records: u64,
    pub(super) pace: Option<Pace>,
    /// One in so many records is sampled; 0: none.
    pub(super) latency_every: u64,
    /// This thread's part of [`OUTSTANDING_MAX`].
    pub(super) outstanding_max: usize,
}

impl Worker {
    /// Sends all records, or until it is told to stop, and returns when every plain delivery has its outcome.
    pub(super) fn run(self, start: Instant) -> Tally {
        let until_sample = if self.latency_every == 0 { u64::MAX } else { 0 };
        Running {
            outstanding: VecDeque::with_capacity(self.outstanding_max),
            limit: self.outstanding_max,
            worker: self,
            start,
            tally: Tally::default(),
            until_sample,
            samples_sent: 0,
            samples_done: Arc::default(),
        }
        .run()
    }
}

struct Running {
    worker: Worker,
    start: Instant,
    outstanding: VecDeque<Delivery>,
    /// Plain deliveries that may be outstanding: sampled ones count, too.
    limit: usize,
    tally: Tally,
    /// Plain records before the next sampled one.
    until_sample: u64,
    samples_sent: u64,
    samples_done: Arc<AtomicU64>,
}

impl Running {
    fn run(mut self) -> Tally {
        while self.tally.sent < self.worker.records && !self.worker.common.stop.load(Ordering::Relaxed) {
            let left = self.worker.records - self.tally.sent;
            let round = match self.worker.pace {
                None => left.min(ROUND),
                Some(pace) => {
                    let elapsed = self.start.elapsed();
                    let due = pace.due(elapsed).saturating_sub(self.tally.sent);
                    if due == 0 {
                        self.settle_finished();
                        let next = pace.due_at(self.tally.sent);
                        std::thread::sleep(next.saturating_sub(self.start.elapsed()));
                        continue;
                    }
                    left.min(ROUND).min(due)
                }
            };
            for _ in 0..round {
                if let Err(error) = self.send_one() {
                    self.worker.common.fail(&error);
                    // what was refused once is refused again: the run cannot be what was asked for
                    self.worker.common.stop.store(true, Ordering::Relaxed);
                    break;
                }
            }
            self.settle_finished();
        }
        while !self.outstanding.is_empty() {
            self.settle_oldest();
        }
        self.tally
    }

    #[inline]
    fn send_one(&mut self) -> Result<(), SendError> {
        while self.outstanding.len() >= self.limit {
            self.settle_oldest();
        }
        let value = self.worker.values.next();
        let record = match &self.worker.route {
            Route::Handle(_) => Record::value(value),
            Route::Name(_, name) => Record::to(name).value(value),
        };
        let record = match &mut self.worker.keys {
            Some((keys, random)) => record.key(keys[random.usize(..keys.len())].clone()),
            None => record,
        };
        self.tally.sent += 1;
        if self.until_sample == 0 {
            self.until_sample = self.worker.latency_every - 1;
            return self.send_sampled(record);
        }
        self.until_sample -= 1;
        let delivery = match &self.worker.route {
            Route::Handle(topic) => topic.send_blocking(record),
            Route::Name(producer, _) => producer.send_blocking(record),
        };
        match delivery {
            Ok(delivery) => {
                self.outstanding.push_back(delivery);
                Ok(())
            }
            Err(error) => {
                self.tally.failed += 1;
                Err(error)
            }
        }
    }

    #[cold]
    fn send_sampled(&mut self, record: Record) -> Result<(), SendError> {
        let now = Instant::now();
        // who waits for the pace loses nothing; who falls behind it is late from when the record was due
        let begin = match self.worker.pace {
            Some(pace) => now.min(self.start + pace.due_at(self.tally.sent - 1)),
            None => now,
        };
        let (common, done) = (self.worker.common.clone(), self.samples_done.clone());
        let callback = move |outcome: Result<Delivered, DeliveryError>| {
            common.sampled(begin, outcome);
            done.fetch_add(1, Ordering::Relaxed);
        };
        let sent = match &self.worker.route {
            Route::Handle(topic) => pollster::block_on(topic.send_with(record, callback)),
            Route::Name(producer, _) => pollster::block_on(producer.send_with(record, callback)),
        };
        self.samples_sent += 1;
        let open = self.samples_sent - self.samples_done.load(Ordering::Relaxed);
        self.limit = self.worker.outstanding_max.saturating_sub(open as usize).max(1);
        // a refused record's callback has run, and counted it
        sent
    }

    /// Takes up what is acknowledged, in order, without waiting.
    fn settle_finished(&mut self) {
        let before = self.outstanding.len();
        while self.outstanding.front().is_some_and(Delivery::is_done) {
            self.settle_oldest();
        }
        let settled = (before - self.outstanding.len()) as u64;
        self.worker.common.settled.fetch_add(settled, Ordering::Relaxed);
    }

    /// Waits for the oldest delivery.
    #[inline]
    fn settle_oldest(&mut self) {
        let Some(delivery) = self.outstanding.pop_front() else { return };
        match delivery.wait() {
            Ok(_) => self.tally.acked += 1,
            Err(error) => {
                self.tally.failed += 1;
                self.worker.common.fail(&told(&error));
            }
        }
    }
}

impl Common {
    pub(super) fn new(latencies: Latencies) -> Common {
        Common {
            stop: AtomicBool::new(false),
            settled: AtomicU64::new(0),
            sampled: AtomicU64::new(0),
            sampled_failed: AtomicU64::new(0),
            first_error: OnceLock::new(),
            latencies,
        }
    }

    /// A sampled record has its outcome.
    fn sampled(&self, begin: Instant, outcome: Result<Delivered, DeliveryError>) {
        match outcome {
            Ok(_) => {
                self.latencies.record(begin, Instant::now());
                self.sampled.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.sampled_failed.fetch_add(1, Ordering::Relaxed);
                self.fail(&error);
            }
        }
    }

    /// Keeps the first error.
    fn fail(&self, error: &impl ToString) {
        self.first_error.get_or_init(|| error.to_string());
    }
}

/// The delivery's own error, without what `wait` puts around it.
fn told(error: &WaitError) -> String {
    match error {
        WaitError::Failed(error) => error.to_string(),
        other => other.to_string(),
    }
}
