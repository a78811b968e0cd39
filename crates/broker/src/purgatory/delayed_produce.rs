//! A produce request with acks=all that waits until its batches are committed (W5).
//!
//! [`ProduceState`] decides: one entry per batch that was appended, what each is worth, and when the request ends.
//! [`DelayedProduce`] drives it: it watches the partitions, and answers once. The batches are in the log; of the request nothing is
//! kept here but what the answer needs, inside the closure that builds it (W11).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rohrpost_protocol::ErrorCode;

use super::send_guarded;
use crate::network::{Outcome, Responder, Waiter};

/// What a partition says to those who wait for its high watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// This broker leads it.
    UpTo {
        /// Everything below is committed.
        high_watermark: i64,
        /// What that is worth now: NONE, or NOT_ENOUGH_REPLICAS_AFTER_APPEND (R33).
        status: ErrorCode,
    },
    /// Nothing more will be committed here, and this is why.
    Never(ErrorCode),
}

impl Committed {
    /// What a batch is told that needs the high watermark at `required_offset`; `None`: it waits on.
    pub fn status_of(self, required_offset: i64) -> Option<ErrorCode> {
        match self {
            Committed::Never(code) => Some(code),
            Committed::UpTo { high_watermark, status } => {
                (high_watermark >= required_offset).then_some(status)
            }
        }
    }
}

/// A partition as its waiters see it.
pub(crate) trait Watched: Send + Sync {
    /// How far it is committed now. Takes the partition's lock.
    fn committed(&self) -> Committed;
    /// Who waits there.
    fn produce_waiters(&self) -> &ProduceWaiters;
}

/// One batch that was appended.
pub(crate) struct Awaited {
    pub(crate) partition: Arc<dyn Watched>,
    /// What the high watermark must reach: last offset + 1.
    pub(crate) required_offset: i64,
    /// What the partition said right after the append: the first try (W2).
    pub(crate) first_look: Committed,
}

/// Builds the answer from what became of each batch, in the order in which they were given.
pub(crate) type Answer = Box<dyn FnOnce(&[ErrorCode]) -> Outcome + Send>;

/// The state of one request: no I/O, no clock.
#[derive(Debug)]
struct ProduceState {
    batches: Vec<Batch>,
    pending: usize,
    ended: bool,
}

#[derive(Debug)]
struct Batch {
    required_offset: i64,
    /// `None` = pending.
    settled: Option<ErrorCode>,
}

impl ProduceState {
    /// All pending (W5).
    fn new(required_offsets: impl Iterator<Item = i64>) -> Self {
        let batches: Vec<Batch> =
            required_offsets.map(|required_offset| Batch { required_offset, settled: None }).collect();
        Self { pending: batches.len(), batches, ended: false }
    }

    /// Tells what the partition of a batch says. What is settled stays so. True if this ends the request (W1).
    fn observe(&mut self, index: usize, committed: Committed) -> bool {
        let batch = &mut self.batches[index];
        if self.ended || batch.settled.is_some() {
            return false;
        }
        batch.settled = committed.status_of(batch.required_offset);
        self.pending -= usize::from(batch.settled.is_some());
        self.pending == 0 && self.end()
    }

    /// The deadline, or nobody waits for the answer any more. True if this ends the request (W1).
    fn end(&mut self) -> bool {
        !std::mem::replace(&mut self.ended, true)
    }

    fn is_pending(&self, index: usize) -> bool {
        self.batches[index].settled.is_none()
    }

    /// W5: what is pending has timed out.
    fn statuses(&self) -> Vec<ErrorCode> {
        self.batches.iter().map(|batch| batch.settled.unwrap_or(ErrorCode::REQUEST_TIMED_OUT)).collect()
    }
}

/// One waiting produce request.
pub(crate) struct DelayedProduce {
    awaited: Vec<Awaited>,
    /// Never held while a partition is looked at, or while the answer is built.
    state: Mutex<(ProduceState, Option<Answer>)>,
    responder: Responder,
}

impl DelayedProduce {
    /// Registers the request at the partitions of its batches that are not settled by their first look. If it ends by the second
    /// one (an event came between append and registration), it is answered through the responder before this returns.
    pub(crate) fn start(awaited: Vec<Awaited>, answer: Answer, responder: Responder) -> Arc<DelayedProduce> {
        let mut state = ProduceState::new(awaited.iter().map(|awaited| awaited.required_offset));
        let mut ends = false;
        for (index, awaited) in awaited.iter().enumerate() {
            ends |= state.observe(index, awaited.first_look);
        }
        let open: Vec<usize> = (0..awaited.len()).filter(|index| state.is_pending(*index)).collect();
        let produce =
            Arc::new(DelayedProduce { awaited, state: Mutex::new((state, Some(answer))), responder });
        if ends {
            produce.answer();
        }
        for index in &open {
            let Awaited { partition, required_offset, .. } = &produce.awaited[*index];
            partition.produce_waiters().watch(*required_offset, *index, &produce);
        }
        // W2: without the second try a wake-up can be lost
        for index in open {
            produce.observe(index, produce.awaited[index].partition.committed());
        }
        produce
    }

    fn observe(&self, index: usize, committed: Committed) {
        let ends = self.state.lock().0.observe(index, committed);
        if ends {
            self.answer();
        }
    }

    /// Called by whoever ended the request.
    fn answer(&self) {
        let (statuses, answer) = {
            let (state, answer) = &mut *self.state.lock();
            (state.statuses(), answer.take())
        };
        self.forget();
        if let Some(answer) = answer {
            send_guarded(&self.responder, || answer(&statuses));
        }
    }

    fn forget(&self) {
        for Awaited { partition, required_offset, .. } in &self.awaited {
            partition.produce_waiters().forget(*required_offset, self);
        }
    }
}

impl Waiter for DelayedProduce {
    fn expire(&self) {
        let ends = self.state.lock().0.end();
        if ends {
            self.answer();
        }
    }

    fn cancel(&self) {
        let answer = {
            let (state, answer) = &mut *self.state.lock();
            state.end().then(|| answer.take())
        };
        if answer.is_some() {
            self.forget();
        }
    }
}

/// The produce requests that wait for one partition, ordered by the offset that they need (W10).
///
/// Lock order: this queue's lock, then the partition's. So a look at the partition is never older than a request that it finds in
/// the queue, and nobody is told of a time before its append.
#[derive(Default)]
pub(crate) struct ProduceWaiters {
    waiting: Mutex<VecDeque<Entry>>,
    /// How many there are, to be read without the lock: most appends wake nobody.
    count: AtomicUsize,
}

struct Entry {
    required_offset: i64,
    /// Which of the request's batches.
    index: usize,
    produce: Arc<DelayedProduce>,
}

impl ProduceWaiters {
    /// Adds a batch of a request. The caller looks at the partition once more afterwards (W2).
    fn watch(&self, required_offset: i64, index: usize, produce: &Arc<DelayedProduce>) {
        let mut waiting = self.waiting.lock();
        // nearly always at the end; two handlers may come in the other order, and a duplicate needs an old offset
        let at = waiting.partition_point(|entry| entry.required_offset <= required_offset);
        waiting.insert(at, Entry { required_offset, index, produce: Arc::clone(produce) });
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Takes a request that needs this offset off the queue, if it is still there.
    fn forget(&self, required_offset: i64, produce: &DelayedProduce) {
        let mut waiting = self.waiting.lock();
        let mut at = waiting.partition_point(|entry| entry.required_offset < required_offset);
        while let Some(entry) = waiting.get(at).filter(|entry| entry.required_offset == required_offset) {
            if std::ptr::eq(&*entry.produce, produce) {
                waiting.remove(at);
            } else {
                at += 1;
            }
        }
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Takes off and settles every batch that the partition has an answer for: those up to its high watermark, or all of them if
    /// it is gone (W7). Called after the partition has changed, **with no partition or log lock held** (W3).
    pub(crate) fn notify(&self, committed: impl FnOnce() -> Committed) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let (settled, committed) = {
            let mut waiting = self.waiting.lock();
            let committed = committed();
            // W10: ordered, so the first one that waits on ends the search
            let end = waiting.partition_point(|entry| committed.status_of(entry.required_offset).is_some());
            let settled: Vec<Entry> = waiting.drain(..end).collect();
            self.count.store(waiting.len(), Ordering::SeqCst);
            (settled, committed)
        };
        for Entry { index, produce, .. } in settled {
            produce.observe(index, committed);
        }
    }

    /// How many batches wait here.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicI64};

    use super::*;
    use crate::network::ResponseQueue;

    const NONE: ErrorCode = ErrorCode::NONE;
    const TIMED_OUT: ErrorCode = ErrorCode::REQUEST_TIMED_OUT;
    const NOT_LEADER: ErrorCode = ErrorCode::NOT_LEADER_OR_FOLLOWER;
    const TOO_FEW: ErrorCode = ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND;

    fn up_to(high_watermark: i64) -> Committed {
        Committed::UpTo { high_watermark, status: NONE }
    }

    #[test]
    fn a_request_ends_with_its_last_batch_and_only_then() {
        // W1, W5, R33
        let mut state = ProduceState::new([10, 20, 30].into_iter());
        assert_eq!(state.statuses(), [TIMED_OUT; 3]);
        assert!(!state.observe(0, up_to(9)), "the high watermark is one short");
        assert!(!state.observe(0, up_to(10)));
        assert!(!state.observe(0, Committed::Never(NOT_LEADER)), "what is committed stays so");
        assert!(!state.observe(2, Committed::Never(NOT_LEADER)));
        assert_eq!(state.statuses(), [NONE, TIMED_OUT, NOT_LEADER]);
        assert!(state.observe(1, Committed::UpTo { high_watermark: 25, status: TOO_FEW }));
        assert_eq!(state.statuses(), [NONE, TOO_FEW, NOT_LEADER]);
        assert!(!state.end(), "it has ended");
        assert!(!state.observe(1, up_to(99)));
    }

    #[test]
    fn at_the_deadline_what_is_pending_has_timed_out() {
        // W1, W5
        let mut state = ProduceState::new([1, 1].into_iter());
        assert!(!state.observe(1, up_to(1)));
        assert!(state.end());
        assert!(!state.end());
        assert!(!state.observe(0, up_to(1)), "too late");
        assert_eq!(state.statuses(), [TIMED_OUT, NONE]);
    }

    /// A partition that is its high watermark; below zero it is led by another.
    #[derive(Default)]
    struct Fake {
        high_watermark: AtomicI64,
        waiters: ProduceWaiters,
        /// The followers come just when somebody begins to watch.
        rises_when_watched: AtomicBool,
    }

    impl Watched for Fake {
        fn committed(&self) -> Committed {
            match self.high_watermark.load(Ordering::SeqCst) {
                high_watermark @ 0.. => up_to(high_watermark),
                _ => Committed::Never(NOT_LEADER),
            }
        }

        fn produce_waiters(&self) -> &ProduceWaiters {
            if self.rises_when_watched.swap(false, Ordering::SeqCst) {
                self.set(100);
            }
            &self.waiters
        }
    }

    impl Fake {
        fn set(&self, high_watermark: i64) {
            self.high_watermark.store(high_watermark, Ordering::SeqCst);
            self.waiters.notify(|| self.committed());
        }
    }

    /// Which request, and what became of its batches.
    type Told = (usize, Vec<ErrorCode>);

    struct World {
        partitions: [Arc<Fake>; 2],
        responder: Responder,
        answers: Arc<Mutex<Vec<Told>>>,
        _poll: mio::Poll,
    }

    impl World {
        fn new() -> World {
            let poll = mio::Poll::new().unwrap();
            let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
            World {
                partitions: Default::default(),
                responder: Responder { queue: Arc::new(ResponseQueue::new(waker)), slot: 0, serial: 0 },
                answers: Arc::default(),
                _poll: poll,
            }
        }

        /// A request with batches that need these offsets: (partition, offset).
        fn start(&self, name: usize, batches: &[(usize, i64)]) -> Arc<DelayedProduce> {
            let awaited = batches.iter().map(|(partition, required_offset)| Awaited {
                partition: Arc::clone(&self.partitions[*partition]) as Arc<dyn Watched>,
                required_offset: *required_offset,
                first_look: self.partitions[*partition].committed(),
            });
            let answers = Arc::clone(&self.answers);
            let answer = move |statuses: &[ErrorCode]| {
                answers.lock().push((name, statuses.to_vec()));
                Outcome::NoResponse
            };
            DelayedProduce::start(awaited.collect(), Box::new(answer), self.responder.clone())
        }

        fn waiting(&self) -> [usize; 2] {
            [0, 1].map(|n| self.partitions[n].waiters.len())
        }

        /// What was answered since the last call; each answer went out.
        fn answers(&self) -> Vec<Told> {
            let mut sent = Vec::new();
            self.responder.queue.drain(&mut sent);
            let answers = std::mem::take(&mut *self.answers.lock());
            assert_eq!(sent.len(), answers.len());
            answers
        }
    }

    #[test]
    fn requests_are_answered_in_the_order_of_the_offsets_they_need() {
        // W10
        let world = World::new();
        for (name, offset) in [(0, 10), (2, 30), (1, 20), (3, 40)] {
            world.start(name, &[(0, offset)]);
        }
        world.partitions[0].set(9);
        assert_eq!((world.answers(), world.waiting()), (vec![], [4, 0]));
        world.partitions[0].set(30);
        assert_eq!(world.answers(), [(0, vec![NONE]), (1, vec![NONE]), (2, vec![NONE])]);
        assert_eq!(world.waiting(), [1, 0]);
        world.partitions[0].set(40);
        assert_eq!(world.answers(), [(3, vec![NONE])]);
    }

    #[test]
    fn a_request_waits_for_all_its_partitions_and_looks_only_at_those_that_are_open() {
        // W5, W10
        let world = World::new();
        world.partitions[0].set(5);
        world.start(0, &[(0, 5), (1, 7), (0, 6)]);
        assert_eq!(world.waiting(), [1, 1], "the first look has settled one");
        world.partitions[0].set(6);
        assert_eq!((world.answers(), world.waiting()), (vec![], [0, 1]));
        world.partitions[1].set(7);
        assert_eq!(world.answers(), [(0, vec![NONE; 3])]);
    }

    #[test]
    fn a_partition_that_goes_settles_all_who_wait_there() {
        // W7, W5
        let world = World::new();
        world.start(0, &[(0, 10), (1, 10)]);
        world.start(1, &[(0, 99)]);
        world.partitions[0].set(-1);
        assert_eq!(world.answers(), [(1, vec![NOT_LEADER])]);
        assert_eq!(world.waiting(), [0, 1]);
        world.partitions[1].set(10);
        assert_eq!(world.answers(), [(0, vec![NOT_LEADER, NONE])]);
    }

    #[test]
    fn what_was_committed_before_it_was_watched_is_answered_at_once() {
        // W2
        let world = World::new();
        world.partitions[0].rises_when_watched.store(true, Ordering::SeqCst);
        world.start(0, &[(0, 10)]);
        assert_eq!((world.answers(), world.waiting()), (vec![(0, vec![NONE])], [0, 0]));
    }

    #[test]
    fn an_answer_is_built_with_no_lock_held() {
        // W3: it may be anything, also an event of the same partitions
        let world = World::new();
        let partitions = world.partitions.clone();
        let free = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&free);
        let answer = move |_: &[ErrorCode]| {
            let unlocked = partitions.iter().all(|partition| partition.waiters.waiting.try_lock().is_some());
            seen.store(unlocked, Ordering::SeqCst);
            partitions[1].set(20);
            Outcome::NoResponse
        };
        let partition = Arc::clone(&world.partitions[0]) as Arc<dyn Watched>;
        let awaited = Awaited { partition, required_offset: 10, first_look: up_to(0) };
        DelayedProduce::start(vec![awaited], Box::new(answer), world.responder.clone());
        world.start(1, &[(0, 10), (1, 20)]);
        world.partitions[0].set(10);
        assert!(free.load(Ordering::SeqCst));
        assert_eq!(*world.answers.lock(), [(1, vec![NONE, NONE])]);
    }

    #[test]
    fn what_expires_or_is_cancelled_leaves_nothing_behind() {
        // W1, W5
        let world = World::new();
        let (expires, cancelled) = (world.start(0, &[(0, 10), (1, 10)]), world.start(1, &[(0, 10), (1, 10)]));
        world.partitions[1].set(10);
        assert_eq!(world.waiting(), [2, 0]);
        expires.expire();
        cancelled.cancel();
        assert_eq!(world.waiting(), [0, 0]);
        cancelled.expire();
        expires.expire();
        world.partitions[0].set(10);
        assert_eq!(world.answers(), [(0, vec![TIMED_OUT, NONE])]);
        assert_eq!(Arc::strong_count(&expires), 1);
        assert_eq!(Arc::strong_count(&world.answers), 1, "no answer is kept");
    }

    #[test]
    fn events_and_the_deadline_together_answer_once() {
        // W1
        for _ in 0..50 {
            let world = World::new();
            let produce = world.start(0, &[(0, 1), (1, 1)]);
            std::thread::scope(|scope| {
                for partition in &world.partitions {
                    scope.spawn(|| partition.set(1));
                }
                scope.spawn(|| produce.expire());
            });
            assert_eq!(world.waiting(), [0, 0]);
            assert_eq!(world.answers().len(), 1);
        }
    }
}
