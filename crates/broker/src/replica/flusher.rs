//! Threads that wait for the disk, so that no request does (D12, U3).
//!
//! A partition that wants a sync is queued here once; a thread takes it and syncs what the log holds at that moment, without the
//! partition's lock. Appends that come meanwhile are served together by the next sync of that log: group commit. Whether a log
//! needs a sync is the partition's to say; here is only the queue, the threads, and the times at which `flush.ms` is over.
//!
//! There is no thread before the first sync, and at most `background.threads` of them. The queue is bounded by the number of
//! partitions.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::Partition;
use crate::clock::Clock;

/// See the module.
pub(crate) struct Flusher {
    state: Mutex<State>,
    arrived: Condvar,
    threads_max: usize,
    timers: Mutex<Timers>,
    clock: Arc<dyn Clock>,
    bell: Bell,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Partition>>,
    idle: usize,
    threads: Vec<JoinHandle<()>>,
    stopped: bool,
}

/// When `flush.ms` of a log is over; at most one entry per partition, and one more after a change of its settings.
#[derive(Default)]
struct Timers {
    by_time: BTreeMap<(u64, u64), Weak<Partition>>,
    serial: u64,
}

impl Flusher {
    pub(crate) fn new(threads_max: usize, clock: Arc<dyn Clock>) -> Flusher {
        Flusher {
            state: Mutex::default(),
            arrived: Condvar::new(),
            threads_max: threads_max.max(1),
            timers: Mutex::default(),
            clock,
            bell: Bell::default(),
        }
    }

    /// Queues a partition for a sync. The partition sees to it that it is queued once (its flag `flushing`).
    pub(crate) fn push(self: &Arc<Self>, partition: Arc<Partition>) {
        let mut state = self.state.lock();
        if state.stopped {
            return;
        }
        state.queue.push_back(partition);
        if state.queue.len() > state.idle && state.threads.len() < self.threads_max {
            let flusher = Arc::clone(self);
            let name = format!("rohrpost-sync-{}", state.threads.len());
            match std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || flusher.run())
            {
                Ok(thread) => state.threads.push(thread),
                Err(error) if state.threads.is_empty() => {
                    // better a slow request than one that is never answered
                    tracing::error!(%error, "cannot start a thread for syncs; a request waits for the disk itself");
                    let partition = state.queue.pop_back();
                    drop(state);
                    partition.into_iter().for_each(|partition| while self.flush(&partition) {});
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot start one more thread for syncs"),
            }
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// The monotonic clock.
    pub(crate) fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    /// The partition is to be looked at when the monotonic clock shows `due_ms`. May be called with the partition's lock held.
    pub(crate) fn look_at(&self, due_ms: u64, partition: Weak<Partition>) {
        let mut timers = self.timers.lock();
        timers.serial += 1;
        let key = (due_ms, timers.serial);
        timers.by_time.insert(key, partition);
        drop(timers);
        self.bell.ring_before(due_ms);
    }

    /// Looks at the partitions whose `flush.ms` is over; returns when the next is.
    pub(crate) fn run_timers(&self, now_ms: u64) -> u64 {
        loop {
            let due = {
                let mut timers = self.timers.lock();
                match timers.by_time.first_key_value() {
                    None => return u64::MAX,
                    Some(((due_ms, _), _)) if *due_ms > now_ms => return *due_ms,
                    Some(_) => timers.by_time.pop_first(),
                }
            };
            if let Some(((due_ms, _), partition)) = due
                && let Some(partition) = partition.upgrade()
            {
                partition.flush_timer(due_ms, now_ms);
            }
        }
    }

    /// What wakes the thread of timed work.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Ends the threads after the syncs that run; what is queued is dropped.
    pub(crate) fn stop(&self) {
        self.bell.stop();
        let threads = {
            let mut state = self.state.lock();
            state.stopped = true;
            state.queue.clear();
            std::mem::take(&mut state.threads)
        };
        self.arrived.notify_all();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread for syncs had panicked");
            }
        }
        self.state.lock().queue.clear();
        self.timers.lock().by_time.clear();
    }

    fn run(&self) {
        loop {
            let partition = {
                let mut state = self.state.lock();
                loop {
                    if state.stopped {
                        return;
                    }
                    if let Some(partition) = state.queue.pop_front() {
                        break partition;
                    }
                    state.idle += 1;
                    self.arrived.wait(&mut state);
                    state.idle -= 1;
                }
            };
            if self.flush(&partition) {
                // behind the others, so that one busy log does not keep the thread
                let mut state = self.state.lock();
                if !state.stopped {
                    state.queue.push_back(partition);
                }
            }
        }
    }

    /// One sync of one log. True if it needs another.
    fn flush(&self, partition: &Arc<Partition>) -> bool {
        let result = catch_unwind(AssertUnwindSafe(|| partition.flush_queued()));
        match result {
            Ok(Ok(again)) => again,
            // D31, U5: it took the directory offline, and is not tried again
            Ok(Err(_)) => {
                self.bell.ring();
                false
            }
            Err(_) => {
                partition.flush_panicked();
                self.bell.ring();
                false
            }
        }
    }
}

const STACK_BYTES: usize = 256 << 10;

/// Wakes the one thread of timed work before its time.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<BellState>,
    changed: Condvar,
}

#[derive(Default)]
struct BellState {
    rung: bool,
    stopped: bool,
    /// When the thread wakes by itself; `None` while it works, and then any ring counts.
    sleeps_until_ms: Option<u64>,
}

impl Bell {
    /// Wakes the thread.
    pub(crate) fn ring(&self) {
        self.ring_before(0);
    }

    /// Wakes the thread unless it wakes by `due_ms` itself.
    fn ring_before(&self, due_ms: u64) {
        let mut state = self.state.lock();
        if state.sleeps_until_ms.is_none_or(|until| due_ms < until) {
            state.rung = true;
            drop(state);
            self.changed.notify_one();
        }
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_one();
    }

    /// Sleeps until `due_ms`, which is `wake_at` on the machine's clock (`None`: no time wakes it), or until the bell rings. False
    /// when the work is to end.
    pub(crate) fn sleep(&self, due_ms: u64, wake_at: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        state.sleeps_until_ms = Some(due_ms);
        while !state.rung && !state.stopped {
            let timed_out = match wake_at {
                Some(at) => self.changed.wait_until(&mut state, at).timed_out(),
                None => {
                    self.changed.wait(&mut state);
                    false
                }
            };
            if timed_out {
                break;
            }
        }
        state.rung = false;
        state.sleeps_until_ms = None;
        !state.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_while_the_thread_works_is_not_lost() {
        let bell = Bell::default();
        bell.ring_before(u64::MAX - 1);
        assert!(bell.sleep(u64::MAX, None), "returns at once");
        bell.stop();
        assert!(!bell.sleep(u64::MAX, None));
    }
}
