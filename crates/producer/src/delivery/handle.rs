//! A caller's reference to a batch's completion, counted per batch instead of per record.
//!
//! With an `Arc` in every handle each record costs two locked instructions for its count, and the first of them waits until the
//! record's bytes have reached the cache. Here all handles of a completion share *one* strong reference of its `Arc`, and how many
//! they are stands in a counter of its own, which is touched in bulk:
//!
//! * an open batch holds a [`Stock`], counted at once, and gives handles out of it without counting;
//! * a thread that drops handles of finished batches notes how many it has dropped of the last completion, and tells when it
//!   comes to another one, or ends. Until then it keeps that one completion alive: a few hundred bytes per thread, none of them
//!   `buffer.memory`.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::Ordering;

use super::Completion;
#[cfg(not(tsan))]
use crate::sync::fence;
use crate::sync::{Arc, AtomicUsize, is_broken};

/// A caller's reference to a completion: in a `Delivery`, a `Delivered` or a `DeliveryError`.
///
/// What it holds is a copy of the strong reference that all handles share: it must never be dropped as an `Arc` is.
pub(crate) struct Handle(ManuallyDrop<Arc<Completion>>);

/// Handles that are counted and not yet given out.
pub(crate) struct Stock {
    handle: Handle,
    left: usize,
}

/// How many handles there are. As long as it is not 0, one strong reference belongs to them together.
#[derive(Default)]
pub(super) struct HandleCount(AtomicUsize);

/// Handles counted at a time: more than most batches have records.
const STOCK: usize = 1024;

impl Completion {
    /// Another handle.
    pub(crate) fn handle(self: &Arc<Self>) -> Handle {
        self.add_handles(1);
        Handle::copy(self)
    }

    /// Handles for a batch's records.
    pub(crate) fn stock(self: &Arc<Self>) -> Stock {
        self.add_handles(STOCK + 1);
        Stock { handle: Handle::copy(self), left: STOCK }
    }

    /// How many handles there are, those dropped by a thread that has not told yet included. Before the batch has its outcome
    /// there are none of these.
    pub(super) fn handles(&self) -> usize {
        self.handles.0.load(Ordering::Acquire)
    }

    fn add_handles(self: &Arc<Self>, n: usize) {
        let before = self.handles.0.fetch_add(n, Ordering::Relaxed);
        if before == 0 {
            // They share a strong reference from now on; whoever drops the last of them drops it.
            std::mem::forget(self.clone());
        }
        if before > usize::MAX / 2 {
            std::process::abort(); // forgotten handles, as many as there are addresses: as `Arc` does
        }
    }
}

impl Stock {
    /// A handle that is counted already.
    #[inline]
    pub(crate) fn take(&mut self) -> Handle {
        if self.left == 0 {
            self.refill();
        }
        self.left -= 1;
        Handle::copy(&self.handle)
    }

    #[cold]
    fn refill(&mut self) {
        self.handle.add_handles(STOCK);
        self.left = STOCK;
    }
}

/// What was not given out was never there.
impl Drop for Stock {
    fn drop(&mut self) {
        if self.left > 0 {
            // Its own handle stays counted, so this is not the last.
            self.handle.handles.0.fetch_sub(self.left, Ordering::Release);
        }
    }
}

impl Handle {
    /// A handle that is counted already.
    #[inline]
    #[allow(unsafe_code)]
    fn copy(completion: &Arc<Completion>) -> Handle {
        // SAFETY: the pointer comes from an `Arc`. The copy is never dropped as one: `release` does that once, for all handles
        // together, with the reference that `add_handles` left to them.
        Handle(ManuallyDrop::new(unsafe { Arc::from_raw(Arc::as_ptr(completion)) }))
    }
}

impl Deref for Handle {
    type Target = Arc<Completion>;
    #[inline]
    fn deref(&self) -> &Arc<Completion> {
        &self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        self.0.handle()
    }
}

impl Drop for Handle {
    #[inline]
    fn drop(&mut self) {
        let completion = Arc::as_ptr(&self.0);
        // Only then does nobody ask any more how many handles there are.
        if self.result.get().is_some() && DROPPED.try_with(|dropped| dropped.note(completion)).is_ok() {
            return;
        }
        release(completion, 1);
    }
}

/// `n` handles are gone.
#[allow(unsafe_code)]
fn release(completion: *const Completion, n: usize) {
    let order = if is_broken("handle: release") { Ordering::Relaxed } else { Ordering::Release };
    // SAFETY: the pointer comes from `n` handles that are counted until this line, so a strong reference keeps the completion alive.
    // Nothing looks at it after that, unless they were the last.
    if unsafe { &*completion }.handles.0.fetch_sub(n, order) == n {
        // What other threads did with their handles comes before the end.
        #[cfg(not(tsan))]
        if !is_broken("handle: acquire") {
            fence(Ordering::Acquire);
        }
        // SAFETY: as above, this is the last of them. The thread sanitizer does not know fences.
        #[cfg(tsan)]
        unsafe { &*completion }.handles.0.load(Ordering::Acquire);
        // SAFETY: `add_handles` left this strong reference to whoever brings the count to 0.
        drop(unsafe { Arc::from_raw(completion) });
    }
}

#[cfg(not(loom))]
thread_local! {
    static DROPPED: Dropped = const { Dropped { completion: Cell::new(ptr::null()), count: Cell::new(0) } };
}
#[cfg(loom)]
loom::thread_local! {
    static DROPPED: Dropped = Dropped { completion: Cell::new(ptr::null()), count: Cell::new(0) };
}

/// Handles of one completion that this thread has dropped, and not told of.
struct Dropped {
    completion: Cell<*const Completion>,
    count: Cell<usize>,
}

impl Dropped {
    #[inline]
    fn note(&self, completion: *const Completion) {
        // A completion of which handles are noted is alive, so an equal address is the same one.
        if ptr::eq(self.completion.get(), completion) {
            self.count.set(self.count.get() + 1);
        } else {
            self.change(completion, 1);
        }
    }

    /// First the new note, then the old one's end: that may run other code, which may drop handles.
    fn change(&self, completion: *const Completion, count: usize) {
        let (old, dropped) = (self.completion.replace(completion), self.count.replace(count));
        if dropped > 0 {
            release(old, dropped);
        }
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.change(ptr::null(), 0);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Weak;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::accumulator::TopicState;
    use crate::outcome::BatchResult;

    fn completion() -> Arc<Completion> {
        let topic = TopicState::new("t".into(), 0, 0);
        Completion::open(topic.partition_or_new(0, &Arc::default(), &Default::default()).clone())
    }

    fn acked() -> BatchResult {
        BatchResult::Acked { base_offset: 0, log_append_time: -1 }
    }

    fn is_alive(completion: &Weak<Completion>) -> bool {
        completion.strong_count() > 0
    }

    #[test]
    fn a_stock_counts_what_it_gave_out_and_no_more() {
        let completion = completion();
        let mut stock = completion.stock();
        let given: Vec<Handle> = (0..3 * STOCK + 5).map(|_| stock.take()).collect();
        drop(stock);
        assert_eq!(completion.handles(), 3 * STOCK + 5);
        assert_eq!(Arc::strong_count(&completion), 2, "ours and the one that all handles share");
        let cloned = given[0].clone();
        drop(given);
        assert_eq!((completion.handles(), Arc::strong_count(&completion)), (1, 2));
        drop(cloned);
        assert_eq!((completion.handles(), Arc::strong_count(&completion)), (0, 1));
        drop(completion.handle());
        assert_eq!((completion.handles(), Arc::strong_count(&completion)), (0, 1), "from nothing and back");
    }

    #[test]
    fn a_thread_tells_of_dropped_handles_when_it_comes_to_another_batch_or_ends() {
        std::thread::spawn(|| {
            let [first, second] = [(); 2].map(|()| {
                let completion = completion();
                let handles = (completion.handle(), completion.handle());
                completion.resolve(acked());
                (Arc::downgrade(&completion), handles)
            });
            drop(first.1.0);
            drop(first.1.1);
            assert!(is_alive(&first.0), "noted, not told");
            drop(second.1.0);
            assert!(!is_alive(&first.0) && is_alive(&second.0));
            std::thread::spawn(move || drop(second.1.1)).join().unwrap();
            assert!(is_alive(&second.0), "this thread's is open");
            second.0
        })
        .join()
        .map(|second| assert!(!is_alive(&second), "the thread has ended"))
        .unwrap();
    }

    #[test]
    fn handles_dropped_on_many_threads_at_once_end_their_completion_once() {
        const THREADS: usize = 4;
        const BATCHES: usize = 300;
        const EACH: usize = 40;
        let (lines, takers): (Vec<_>, Vec<_>) = (0..THREADS)
            .map(|_| {
                let (line, handles) = channel::<Handle>();
                let taker = std::thread::spawn(move || {
                    for (n, handle) in handles.into_iter().enumerate() {
                        match n % 5 {
                            0 => drop(handle.clone()),
                            1 => drop(handle.handle()),
                            _ => {}
                        }
                    }
                });
                (line, taker)
            })
            .unzip();
        let maker = std::thread::spawn(move || {
            let one = |n: usize| {
                let completion = completion();
                let mut stock = completion.stock();
                if n.is_multiple_of(2) {
                    completion.resolve(acked()); // else some are dropped before, some after
                }
                for at in 0..EACH {
                    lines[at % THREADS].send(stock.take()).unwrap();
                }
                drop(stock);
                completion.resolve(acked());
                Arc::downgrade(&completion)
            };
            (0..BATCHES).map(one).collect::<Vec<_>>()
        });
        // Joined, so that what they noted last is told too.
        let ends = maker.join().unwrap();
        takers.into_iter().for_each(|taker| taker.join().unwrap());
        assert!(ends.iter().all(|completion| !is_alive(completion)), "one is left over");
    }
}
