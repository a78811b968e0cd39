//! The lock of a partition's queue: taken with every record, held for some fifty nanoseconds.
//!
//! A common mutex gives itself back with a locked instruction, because it has to learn whether somebody sleeps for it. That
//! instruction waits until everything written before it has reached the cache: just here that is the record, into memory
//! that comes from another core. This lock is given back with a plain store. The price is that nobody can be woken: who
//! finds it taken spins, then gives its processor away, then sleeps in growing steps of at most a millisecond, and looks again.
//! That is a case for a holder that lost its processor within those fifty nanoseconds.
//!
//! Measured: the instruction took 29 ns of an append of 100 B, and 133 ns of one of 1 KiB (docs/performance.md).

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, yield_now};
use std::time::Duration;

use parking_lot::lock_api::{GuardSend, Mutex, RawMutex};

/// A mutex for what takes less than a microsecond. It is not fair, and must not be held while anything is waited for.
pub(crate) type ShortMutex<T> = Mutex<ShortLock, T>;

/// See [`ShortMutex`].
pub(crate) struct ShortLock(AtomicBool);

/// Looks at the lock with a pause between: some microseconds, many times what it is held.
const SPINS: u32 = 200;
/// Then so many times the processor is given to whoever is ready to run.
const YIELDS: u32 = 20;
/// Then sleep, twice as long each time.
const FIRST_SLEEP: Duration = Duration::from_micros(20);
const LONGEST_SLEEP: Duration = Duration::from_millis(1);

// SAFETY: `lock` and a successful `try_lock` are the only ways from false to true, by a compare-and-exchange that one thread wins;
// `unlock` is the way back. Acquire on taking and Release on giving back order what is done under it.
#[allow(unsafe_code)]
unsafe impl RawMutex for ShortLock {
    #[allow(clippy::declare_interior_mutable_const)] // what the trait asks for
    const INIT: ShortLock = ShortLock(AtomicBool::new(false));
    type GuardMarker = GuardSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            self.lock_slow();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl ShortLock {
    #[cold]
    fn lock_slow(&self) {
        let mut looks = 0;
        let mut nap = FIRST_SLEEP;
        loop {
            // A look first: a failing exchange would take the line away from the holder.
            if !self.0.load(Ordering::Relaxed) && self.try_lock() {
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
