//! A fetch that waits for bytes (W6).
//!
//! What it reads and how it is answered is the fetch handler's; here is only *when*: try, watch, try again (W2), and the one
//! end (W1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::send_guarded;
use crate::network::{Outcome, Responder, Waiter};
use crate::replica::Partition;

/// What the fetch handler says about a fetch at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Enough bytes, or something that must be told now.
    Ready,
    /// Not yet.
    Waiting,
}

/// The work of a fetch: to look, and to answer.
pub(crate) trait FetchWork: Send + Sync {
    /// Whether to answer now. Must not block for long: it runs after each append.
    fn progress(&self) -> Progress;
    /// Reads again and builds the answer (W6).
    fn answer(&self) -> Outcome;
}

/// One waiting fetch.
pub(crate) struct DelayedFetch {
    work: Box<dyn FetchWork>,
    partitions: Vec<Arc<Partition>>,
    responder: Responder,
    ended: AtomicBool,
}

impl DelayedFetch {
    /// Registers the fetch at each of its partitions. If it is ready after all (an append came between the caller's first test
    /// and the registration), it is answered through the responder before this returns.
    pub(crate) fn start(
        work: Box<dyn FetchWork>,
        partitions: Vec<Arc<Partition>>,
        responder: Responder,
    ) -> Arc<DelayedFetch> {
        let fetch = Arc::new(DelayedFetch { work, partitions, responder, ended: AtomicBool::new(false) });
        for partition in &fetch.partitions {
            partition.fetch_waiters().watch(&fetch);
        }
        fetch.try_complete(); // W2: without the second test a wake-up can be lost
        if fetch.ended.load(Ordering::SeqCst) {
            fetch.forget(); // an event may have ended it before its last partition was watched
        }
        fetch
    }

    /// Ends the fetch if it is ready.
    pub(crate) fn try_complete(&self) {
        if !self.ended.load(Ordering::SeqCst) && self.work.progress() == Progress::Ready {
            self.complete();
        }
    }

    fn complete(&self) {
        if self.end() {
            send_guarded(&self.responder, || self.work.answer());
        }
    }

    /// True for the one caller that may answer (W1).
    fn end(&self) -> bool {
        let first = !self.ended.swap(true, Ordering::SeqCst);
        if first {
            self.forget();
        }
        first
    }

    fn forget(&self) {
        for partition in &self.partitions {
            partition.fetch_waiters().forget(self);
        }
    }
}

impl Waiter for DelayedFetch {
    fn expire(&self) {
        self.complete();
    }

    fn cancel(&self) {
        self.end();
    }
}

/// The fetches that wait for one partition.
#[derive(Default)]
pub(crate) struct FetchWaiters {
    waiting: Mutex<Vec<Arc<DelayedFetch>>>,
    /// How many there are, to be read without the lock: most appends wake nobody.
    count: AtomicUsize,
}

impl FetchWaiters {
    /// Adds an operation. The caller tests it once more afterwards (W2).
    fn watch(&self, fetch: &Arc<DelayedFetch>) {
        let mut waiting = self.waiting.lock();
        if waiting.iter().any(|other| Arc::ptr_eq(other, fetch)) {
            return; // the request names the partition twice
        }
        waiting.push(Arc::clone(fetch));
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Takes an operation off the list.
    fn forget(&self, fetch: &DelayedFetch) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|other| !std::ptr::eq(&**other, fetch));
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Tests every operation that waits here; called after the partition has changed, **with no partition or log lock held**
    /// (W3), since ending a fetch reads other partitions.
    pub(crate) fn notify(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let waiting = self.waiting.lock().clone();
        for fetch in waiting {
            fetch.try_complete();
        }
    }

    /// How many operations wait here.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::ResponseQueue;
    use crate::replica::Role;

    /// Ready when told so; counts its answers.
    struct Work {
        ready: Arc<AtomicBool>,
        answers: Arc<AtomicUsize>,
    }

    impl FetchWork for Work {
        fn progress(&self) -> Progress {
            if self.ready.load(Ordering::SeqCst) { Progress::Ready } else { Progress::Waiting }
        }
        fn answer(&self) -> Outcome {
            self.answers.fetch_add(1, Ordering::SeqCst);
            Outcome::NoResponse
        }
    }

    struct World {
        partitions: Vec<Arc<Partition>>,
        responder: Responder,
        ready: Arc<AtomicBool>,
        answers: Arc<AtomicUsize>,
        _poll: mio::Poll,
    }

    impl World {
        fn new() -> World {
            let poll = mio::Poll::new().unwrap();
            let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
            let role = Role { is_leader: true, ..Role::default() };
            World {
                partitions: (0..2)
                    .map(|n| Arc::new(Partition::new("t".into(), n, None, role.clone())))
                    .collect(),
                responder: Responder { queue: Arc::new(ResponseQueue::new(waker)), slot: 0, serial: 0 },
                ready: Arc::default(),
                answers: Arc::default(),
                _poll: poll,
            }
        }

        fn start(&self) -> Arc<DelayedFetch> {
            let work = Work { ready: Arc::clone(&self.ready), answers: Arc::clone(&self.answers) };
            DelayedFetch::start(Box::new(work), self.partitions.clone(), self.responder.clone())
        }

        fn waiting(&self) -> Vec<usize> {
            self.partitions.iter().map(|partition| partition.fetch_waiters().len()).collect()
        }

        fn answers(&self) -> usize {
            let mut queued = Vec::new();
            self.responder.queue.drain(&mut queued);
            assert_eq!(queued.len(), self.answers.load(Ordering::SeqCst));
            queued.len()
        }
    }

    #[test]
    fn what_became_ready_before_it_was_watched_is_answered_at_once() {
        // W2
        let world = World::new();
        world.ready.store(true, Ordering::SeqCst);
        world.start();
        assert_eq!(world.waiting(), [0, 0]);
        assert_eq!(world.answers(), 1);
    }

    #[test]
    fn an_event_that_changes_nothing_leaves_it_waiting_and_a_cancelled_one_is_never_answered() {
        // W1, W3
        let world = World::new();
        let fetch = world.start();
        world.partitions[0].fetch_waiters().notify();
        assert_eq!(world.waiting(), [1, 1]);
        fetch.cancel();
        assert_eq!(world.waiting(), [0, 0]);
        world.ready.store(true, Ordering::SeqCst);
        fetch.try_complete();
        fetch.expire();
        assert_eq!(world.answers(), 0);
    }

    #[test]
    fn events_and_the_deadline_together_answer_once() {
        // W1
        for _ in 0..50 {
            let world = World::new();
            let fetch = world.start();
            world.ready.store(true, Ordering::SeqCst);
            std::thread::scope(|scope| {
                for partition in &world.partitions {
                    scope.spawn(|| partition.fetch_waiters().notify());
                }
                scope.spawn(|| fetch.expire());
            });
            assert_eq!(world.waiting(), [0, 0]);
            assert_eq!(world.answers(), 1);
        }
    }
}
