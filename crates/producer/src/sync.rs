//! What threads meet at: the atomics, locks and cells of the stations that application threads share with the sender.
//!
//! One place for them, because the models of `scripts/interleavings` put `loom`'s in their stead (`--cfg loom`): these are tried in
//! every order that the memory model allows. Otherwise this module is a list of names and costs nothing.
//!
//! Kept out of it is what no model needs to see: statistics, the clock's cells, the metadata's snapshot, the codec pool's threads.

#[cfg(not(loom))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::OnceLock;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
    pub(crate) use std::thread::{sleep, yield_now};

    /// Whether a model runs with this promise broken, to show that it would notice.
    #[inline(always)]
    pub(crate) const fn is_broken(_promise: &str) -> bool {
        false
    }
}

#[cfg(not(loom))]
pub(crate) use self::real::*;

#[cfg(loom)]
pub(crate) use self::model::*;
#[cfg(loom)]
pub(crate) use self::once::OnceLock;

/// The same names for models.
#[cfg(loom)]
pub(crate) mod model {
    use std::cell::Cell;
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
    pub(crate) use loom::thread::yield_now;

    /// Who spins cannot go on by itself, and a model has no time.
    pub(crate) fn spin_loop() {
        yield_now();
    }

    pub(crate) fn sleep(_: Duration) {
        yield_now();
    }

    thread_local! {
        static BROKEN: Cell<&'static str> = const { Cell::new("") };
    }

    /// Breaks a promise for models on this thread; all threads of a model are on one.
    pub(crate) fn break_promise(promise: &'static str) {
        BROKEN.set(promise);
    }

    pub(crate) fn is_broken(promise: &str) -> bool {
        BROKEN.get() == promise
    }

    /// `loom`'s mutex with the manners of `parking_lot`'s.
    #[derive(Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    pub(crate) struct MutexGuard<'a, T>(loom::sync::MutexGuard<'a, T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(data: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(data))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            match self.0.lock() {
                Ok(guard) => MutexGuard(guard),
                Err(_) => panic!("a thread of the model panicked with the lock"),
            }
        }

        #[cfg(test)]
        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok().map(MutexGuard)
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }
}

/// The standard library's `OnceLock`, as far as it is used here, in the open: models see what becomes visible when.
#[cfg(loom)]
mod once {
    use std::sync::atomic::Ordering;

    use loom::cell::UnsafeCell;

    use super::{AtomicBool, Mutex};

    pub(crate) struct OnceLock<T> {
        is_set: AtomicBool,
        setting: Mutex<()>,
        value: UnsafeCell<Option<T>>,
    }

    // SAFETY: `value` is written once, under `setting` and before `is_set`, and read after it only.
    #[allow(unsafe_code)]
    unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}
    // SAFETY: it owns what it holds.
    #[allow(unsafe_code)]
    unsafe impl<T: Send> Send for OnceLock<T> {}

    impl<T> Default for OnceLock<T> {
        fn default() -> OnceLock<T> {
            OnceLock::new()
        }
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> OnceLock<T> {
            OnceLock { is_set: AtomicBool::new(false), setting: Mutex::new(()), value: UnsafeCell::new(None) }
        }

        #[allow(unsafe_code)]
        pub(crate) fn get(&self) -> Option<&T> {
            if !self.is_set.load(Ordering::Acquire) {
                return None;
            }
            // SAFETY: it was written before `is_set`, and is never again.
            self.value.with(|value| unsafe { (*value).as_ref() })
        }

        #[allow(unsafe_code)]
        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            let _setting = self.setting.lock();
            if self.is_set.load(Ordering::Relaxed) {
                return Err(value);
            }
            // SAFETY: one at a time gets here, and nobody reads yet.
            self.value.with_mut(|place| unsafe { *place = Some(value) });
            self.is_set.store(true, Ordering::Release);
            Ok(())
        }

        #[allow(unsafe_code)]
        pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            if self.get().is_none() {
                let _setting = self.setting.lock();
                if !self.is_set.load(Ordering::Relaxed) {
                    let made = make();
                    // SAFETY: one at a time gets here, and nobody reads yet.
                    self.value.with_mut(|place| unsafe { *place = Some(made) });
                    self.is_set.store(true, Ordering::Release);
                }
            }
            self.get().expect("it is set now")
        }
    }

    /// Its value goes with it: whoever still reads is an error of the model.
    impl<T> Drop for OnceLock<T> {
        #[allow(unsafe_code)]
        fn drop(&mut self) {
            // SAFETY: `&mut self`.
            self.value.with_mut(|value| drop(unsafe { (*value).take() }));
        }
    }
}

/// What `scripts/sanitize` must find: if it does not, it finds nothing.
#[cfg(all(test, any(tsan, asan)))]
mod canary {
    use std::hint::black_box;
    #[cfg(tsan)]
    use std::sync::atomic::Ordering;

    /// A counter that two threads change with nothing between them.
    #[cfg(tsan)]
    struct Unguarded(std::cell::UnsafeCell<u64>);

    // SAFETY: none, on purpose.
    #[cfg(tsan)]
    #[allow(unsafe_code)]
    unsafe impl Sync for Unguarded {}

    #[cfg(tsan)]
    #[test]
    #[allow(unsafe_code)]
    fn a_race_is_reported() {
        let (count, running) = (Unguarded(0.into()), std::sync::atomic::AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (count, running) = (&count, &running);
                scope.spawn(move || {
                    // Both at a time, and nothing that orders them: a thread's end may be ordered before another's beginning.
                    running.fetch_add(1, Ordering::Relaxed);
                    while running.load(Ordering::Relaxed) < 2 {
                        std::thread::yield_now();
                    }
                    // SAFETY: none, on purpose.
                    (0..1000).for_each(|_| unsafe { *black_box(count).0.get() += 1 });
                });
            }
        });
    }

    #[cfg(asan)]
    #[test]
    #[allow(unsafe_code)]
    fn a_use_after_free_is_reported() {
        let owner = Box::new(7_u64);
        let freed = &raw const *owner;
        drop(owner);
        // SAFETY: none, on purpose.
        black_box(unsafe { *black_box(freed) });
    }
}
