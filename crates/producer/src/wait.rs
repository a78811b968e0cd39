//! Waiting without a thread: timers for futures, the sender's wake-up, and a plain thread's way to wait for a future.
//!
//! A future that waits holds nothing but its place and a waker (BUF-8). Its deadline stands in [`Timers`], which the sender
//! fires on every pass. The blocking calls are the same futures driven by a parked thread, so there is one implementation.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Mutex, OnceLock, is_broken};

/// Longest sleep of the sender after which the wall-clock cell still counts as fresh (API-4: a stamp is at most 2 ms off).
pub(crate) const NAP_MS: u64 = 2;

const AWAKE: u8 = 0;
const NAP: u8 = 1;
const SLEEP: u8 = 2;

/// How other threads wake the sender: only if it sleeps, and only if they left it something to do (PRE-9).
///
/// The sender's loop is `begin_pass` → look for work → `sleep` → poll → `awake`. Whoever leaves work calls
/// [`wake`](SenderWake::wake). Work left between `begin_pass` and `sleep` makes `sleep` answer `false`, so no wake-up is lost.
#[derive(Clone)]
pub(crate) struct SenderWake(Arc<SenderWakeInner>);

struct SenderWakeInner {
    state: AtomicU8,
    /// Counts calls of `wake`: one per batch, not per record.
    work: AtomicU32,
    /// Calls of `wake` that found the sender asleep.
    wakes: AtomicU64,
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl SenderWake {
    pub(crate) fn new() -> SenderWake {
        SenderWake(Arc::new(SenderWakeInner {
            state: AtomicU8::new(AWAKE),
            work: AtomicU32::new(0),
            wakes: AtomicU64::new(0),
            waker: OnceLock::new(),
        }))
    }

    /// Says how a sleeping sender is woken; the driver calls it once, before its first pass.
    pub(crate) fn set_waker(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.waker.set(Box::new(wake));
    }

    /// There is work: ends the sender's sleep if it sleeps.
    pub(crate) fn wake(&self) {
        // SeqCst on both sides: either the sender sees the new count, or we see that it is about to sleep.
        self.0.work.fetch_add(1, Ordering::SeqCst);
        self.wake_if_asleep();
    }

    /// [`wake`](SenderWake::wake) for callers whose work the sender notices otherwise.
    pub(crate) fn wake_if_asleep(&self) {
        if self.0.state.load(Ordering::SeqCst) != AWAKE && self.0.state.swap(AWAKE, Ordering::SeqCst) != AWAKE
        {
            self.0.wakes.fetch_add(1, Ordering::Relaxed);
            if let Some(wake) = self.0.waker.get() {
                wake();
            }
        }
    }

    /// A pass of the sender begins. The token goes to [`sleep`](SenderWake::sleep).
    pub(crate) fn begin_pass(&self) -> u32 {
        self.0.work.load(Ordering::SeqCst)
    }

    /// The sender is about to poll for at most `timeout_ms`. `false`: work arrived since `begin_pass`, poll with 0.
    pub(crate) fn sleep(&self, token: u32, timeout_ms: u64) -> bool {
        // The count is changed by nothing, but changed: of this line and `wake`'s one comes after the other and sees what was before
        // it. A plain load would rely on the one order of all SeqCst accesses, which the models of scripts/interleavings do not have.
        let look = || self.0.work.fetch_add(0, Ordering::SeqCst);
        let early = is_broken("wake: look last").then(look);
        self.0.state.store(if timeout_ms <= NAP_MS { NAP } else { SLEEP }, Ordering::SeqCst);
        let may_sleep = early.unwrap_or_else(look) == token;
        if !may_sleep {
            self.awake();
        }
        may_sleep
    }

    /// The poll returned.
    pub(crate) fn awake(&self) {
        self.0.state.store(AWAKE, Ordering::SeqCst);
    }

    /// Whether the sender sleeps so long that the clock's cells grow stale: then the caller reads the clock itself (API-4).
    #[inline]
    pub(crate) fn clock_is_stale(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) == SLEEP
    }
}

/// Deadlines of waiting futures. A timer that fires only wakes; the future reads the clock and fails with its own error.
pub(crate) struct Timers {
    inner: Mutex<TimersInner>,
    sender: SenderWake,
}

#[derive(Default)]
struct TimersInner {
    timers: BTreeMap<(u64, u64), Waker>,
    next_id: u64,
}

/// Names a registered timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerKey(u64, u64);

impl Timers {
    pub(crate) fn new(sender: SenderWake) -> Timers {
        Timers { inner: Mutex::default(), sender }
    }

    /// Wakes `waker` when the sender's clock reaches `deadline_ms`. Bounded by the number of waiting futures: each holds one
    /// timer and cancels it when it ends.
    pub(crate) fn register(&self, deadline_ms: u64, waker: &Waker) -> TimerKey {
        let mut inner = self.inner.lock();
        let key = (deadline_ms, inner.next_id);
        inner.next_id += 1;
        let is_first = inner.timers.first_key_value().is_none_or(|(first, _)| key < *first);
        inner.timers.insert(key, waker.clone());
        drop(inner);
        if is_first {
            self.sender.wake(); // it polls until an older deadline
        }
        TimerKey(key.0, key.1)
    }

    /// Replaces the waker of a timer; `false` if it has fired.
    pub(crate) fn rearm(&self, key: TimerKey, waker: &Waker) -> bool {
        let mut inner = self.inner.lock();
        let Some(old) = inner.timers.get_mut(&(key.0, key.1)) else { return false };
        let old = (!old.will_wake(waker)).then(|| std::mem::replace(old, waker.clone()));
        drop(inner);
        drop(old); // outside the lock: dropping a waker may run foreign code
        true
    }

    pub(crate) fn cancel(&self, key: TimerKey) {
        let removed = self.inner.lock().timers.remove(&(key.0, key.1));
        drop(removed); // outside the lock: dropping a waker may run foreign code
    }

    /// Wakes whoever's deadline has come.
    pub(crate) fn fire(&self, now_ms: u64) {
        let due = {
            let mut inner = self.inner.lock();
            if inner.timers.first_key_value().is_none_or(|(first, _)| first.0 > now_ms) {
                return;
            }
            let later = inner.timers.split_off(&(now_ms.saturating_add(1), 0));
            std::mem::replace(&mut inner.timers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<u64> {
        self.inner.lock().timers.first_key_value().map(|(first, _)| first.0)
    }
}

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
    static OWN_THREAD: Cell<bool> = const { Cell::new(false) };
    static PARKED: Waker = Waker::from(Arc::new(ParkedThread(std::thread::current())));
}

/// Whether this thread runs a delivery callback. There a call that would wait fails at once, for the thread that waits is the
/// one that frees memory (CMPL-6).
pub(crate) fn in_callback() -> bool {
    IN_CALLBACK.get()
}

/// Runs `callback` with the mark that [`in_callback`] reads.
pub(crate) fn as_callback<T>(callback: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            IN_CALLBACK.set(self.0);
        }
    }
    let _restore = Restore(IN_CALLBACK.replace(true));
    callback()
}

/// This thread is one of a producer's own from now on: the sender's, the codec's, the one of the failed-records file. Whoever waits on it
/// for a producer waits for himself, so there a call that parks the thread acts as in a callback. User code comes here without being one:
/// a subscriber of the log is called wherever something is logged. Futures are polled as anywhere else, for an executor may poll a task
/// where it is woken.
pub(crate) fn mark_own_thread() {
    OWN_THREAD.set(true);
}

/// Whether a call that parks this thread would wait for what only this thread can bring about (CMPL-6).
pub(crate) fn must_not_park() -> bool {
    in_callback() || OWN_THREAD.get()
}

struct ParkedThread(Thread);

impl Wake for ParkedThread {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future on this thread, parked while it waits.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    match block_until(future, None) {
        Some(output) => output,
        None => unreachable!("a wait without deadline ended without result"),
    }
}

/// [`block_on`] that gives up at `deadline`.
pub(crate) fn block_until<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    if OWN_THREAD.get() {
        as_callback(|| park_until(future, deadline)) // the future ends at its first poll
    } else {
        park_until(future, deadline)
    }
}

fn park_until<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut future = pin!(future);
    PARKED.with(|waker| {
        let mut context = Context::from_waker(waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Some(output);
            }
            match deadline {
                None => std::thread::park(),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    std::thread::park_timeout(left);
                }
            }
        }
    })
}

#[cfg(test)]
impl SenderWake {
    /// How often a sleeping sender was woken.
    pub(crate) fn wakes(&self) -> u64 {
        self.0.wakes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Timers {
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().timers.len()
    }
}

/// A waker that counts how often it is woken.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Count(std::sync::atomic::AtomicUsize);

#[cfg(test)]
impl Count {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    // PRE-9
    #[test]
    fn work_left_during_a_pass_keeps_the_sender_from_sleeping() {
        let wake = SenderWake::new();
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        wake.set_waker(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let token = wake.begin_pass();
        wake.wake();
        assert_eq!(woken.load(Ordering::SeqCst), 0, "an awake sender is not woken");
        assert!(!wake.sleep(token, 100));
        let token = wake.begin_pass();
        assert!(wake.sleep(token, 100));
        assert!(wake.clock_is_stale());
        wake.wake();
        wake.wake();
        assert_eq!((woken.load(Ordering::SeqCst), wake.wakes()), (1, 1), "one wake-up per sleep");
        wake.awake();
        assert!(wake.sleep(wake.begin_pass(), NAP_MS));
        assert!(!wake.clock_is_stale());
    }

    #[test]
    fn timers_fire_in_order_and_cancelled_ones_never() {
        let timers = Timers::new(SenderWake::new());
        let counts: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
        let keys: Vec<_> = counts
            .iter()
            .zip([30, 10, 20])
            .map(|(c, at)| timers.register(at, &Waker::from(c.clone())))
            .collect();
        assert_eq!(timers.next(), Some(10));
        timers.cancel(keys[1]);
        assert_eq!(timers.next(), Some(20));
        timers.fire(19);
        timers.fire(20);
        timers.rearm(keys[0], &Waker::from(counts[1].clone()));
        timers.fire(1000);
        assert_eq!(timers.len(), 0);
        let fired: Vec<_> = counts.iter().map(|c| c.get()).collect();
        assert_eq!(fired, [0, 1, 1]);
    }

    #[test]
    fn a_blocked_thread_gives_up_at_its_deadline() {
        assert_eq!(block_until(std::future::pending::<()>(), Some(Instant::now())), None);
        assert_eq!(block_on(async { 7 }), 7);
    }
}
