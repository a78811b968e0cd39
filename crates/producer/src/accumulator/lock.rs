//! The lock of a partition's queue: taken with every record, held for some fifty nanoseconds.
//!
//! A common mutex gives itself back with a locked instruction, because it has to learn whether somebody sleeps for it. That
//! instruction waits until everything written before it has reached the cache: just here that is the record, into memory
//! that comes from another core. This lock is given back with a plain store. The price is that nobody can be woken: who
//! finds it taken spins, then gives its processor away, then sleeps in growing steps of at most a millisecond, and looks again.
//! That is a case for a holder that lost its processor within those fifty nanoseconds.
//!
//! Measured: the instruction took 29 ns of an append of 100 B, and 133 ns of one of 1 KiB (docs/performance.md).

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::sync::{AtomicBool, is_broken, sleep, spin_loop, yield_now};

/// A mutex for what takes less than a microsecond. It is not fair, and must not be held while anything is waited for.
#[cfg(not(loom))]
pub(crate) type ShortMutex<T> = parking_lot::lock_api::Mutex<ShortLock, T>;
#[cfg(loom)]
pub(crate) use self::model::ShortMutex;

/// See [`ShortMutex`].
pub(crate) struct ShortLock(AtomicBool);

/// Looks at the lock with a pause between: some microseconds, many times what it is held.
const SPINS: u32 = if cfg!(loom) { 0 } else { 200 };
/// Then so many times the processor is given to whoever is ready to run.
const YIELDS: u32 = 20;
/// Then sleep, twice as long each time.
const FIRST_SLEEP: Duration = Duration::from_micros(20);
const LONGEST_SLEEP: Duration = Duration::from_millis(1);

// SAFETY: `take` and a successful `try_take` are the only ways from false to true, by a compare-and-exchange that one thread wins;
// `give_back` is the way back. Acquire on taking and Release on giving back order what is done under it.
#[cfg(not(loom))]
#[allow(unsafe_code)]
unsafe impl parking_lot::lock_api::RawMutex for ShortLock {
    #[allow(clippy::declare_interior_mutable_const)] // what the trait asks for
    const INIT: ShortLock = ShortLock(AtomicBool::new(false));
    type GuardMarker = parking_lot::lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        self.take();
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.try_take()
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.give_back();
    }
}

impl ShortLock {
    #[inline]
    fn take(&self) {
        if !self.try_take() {
            self.take_slow();
        }
    }

    #[inline]
    fn try_take(&self) -> bool {
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    fn give_back(&self) {
        let order = if is_broken("lock: release") { Ordering::Relaxed } else { Ordering::Release };
        self.0.store(false, order); // THR-2: the next holder sees what this one appended
    }

    #[cold]
    fn take_slow(&self) {
        let mut looks = 0;
        let mut nap = FIRST_SLEEP;
        loop {
            // A look first: a failing exchange would take the line away from the holder.
            if !self.0.load(Ordering::Relaxed) && self.try_take() {
                return;
            }
            looks += 1;
            if looks < SPINS {
                spin_loop();
            } else if looks < SPINS + YIELDS {
                yield_now();
            } else {
                sleep(nap);
                nap = (2 * nap).min(LONGEST_SLEEP);
            }
        }
    }
}

/// The mutex as models see it: what it guards is watched, so two that have it at once, or without order between them, are noticed.
#[cfg(loom)]
mod model {
    use std::ops::{Deref, DerefMut};

    use loom::cell::{MutPtr, UnsafeCell};

    use super::{AtomicBool, ShortLock};

    pub(crate) struct ShortMutex<T> {
        lock: ShortLock,
        data: UnsafeCell<T>,
    }

    // SAFETY: the lock lets one thread at a time to the data; that it does is what the models look at.
    #[allow(unsafe_code)]
    unsafe impl<T: Send> Sync for ShortMutex<T> {}

    pub(crate) struct Guard<'a, T> {
        lock: &'a ShortLock,
        data: Option<MutPtr<T>>,
    }

    impl<T> ShortMutex<T> {
        pub(crate) fn new(data: T) -> ShortMutex<T> {
            ShortMutex { lock: ShortLock(AtomicBool::new(false)), data: UnsafeCell::new(data) }
        }

        pub(crate) fn lock(&self) -> Guard<'_, T> {
            self.lock.take();
            Guard { lock: &self.lock, data: Some(self.data.get_mut()) }
        }

        #[cfg(test)]
        pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
            self.lock.try_take().then(|| Guard { lock: &self.lock, data: Some(self.data.get_mut()) })
        }
    }

    impl<T: Default> Default for ShortMutex<T> {
        fn default() -> ShortMutex<T> {
            ShortMutex::new(T::default())
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;
        #[allow(unsafe_code)]
        fn deref(&self) -> &T {
            match &self.data {
                // SAFETY: this guard has the lock.
                Some(data) => unsafe { data.deref() },
                None => unreachable!("a guard has its data until it is dropped"),
            }
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        #[allow(unsafe_code)]
        fn deref_mut(&mut self) -> &mut T {
            match &self.data {
                // SAFETY: this guard has the lock.
                Some(data) => unsafe { data.deref() },
                None => unreachable!("a guard has its data until it is dropped"),
            }
        }
    }

    impl<T> Drop for Guard<'_, T> {
        fn drop(&mut self) {
            self.data = None; // the access ends before the lock is given back
            self.lock.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // THR-2
    #[test]
    fn one_thread_at_a_time_holds_it_and_sees_what_the_one_before_did() {
        const THREADS: u64 = 4;
        const EACH: u64 = 5000;
        let mutex = ShortMutex::new((0_u64, 0_u64));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for n in 0..EACH {
                        let mut both = mutex.lock();
                        both.0 += 1;
                        if n % 512 == 0 {
                            yield_now(); // the others come to their yields and sleeps
                        }
                        both.1 += 1;
                        assert_eq!(both.0, both.1, "two held it at once");
                    }
                });
            }
        });
        assert_eq!(*mutex.lock(), (THREADS * EACH, THREADS * EACH));
        let held = mutex.lock();
        assert!(mutex.try_lock().is_none());
        drop(held);
        assert!(mutex.try_lock().is_some());
    }

    #[test]
    fn who_waits_for_it_gets_it_after_a_long_hold() {
        let mutex = ShortMutex::new(0);
        std::thread::scope(|scope| {
            let held = mutex.lock();
            let waiting = scope.spawn(|| *mutex.lock() += 1);
            (0..2000).for_each(|_| yield_now()); // it comes to its sleeps, or not: the outcome does not depend on it
            assert!(!waiting.is_finished());
            drop(held);
        });
        assert_eq!(*mutex.lock(), 1);
    }
}
