//! An allocator that counts what is alive. A test program that wants it says so:
//!
//! ```text
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//! ```
//!
//! What a C library has for itself comes from C's allocator and is not seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

/// The system's allocator; counts for the process, and for each thread alone.
pub struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static OWN_LIVE: Cell<isize> = const { Cell::new(0) };
    static OWN_PEAK: Cell<isize> = const { Cell::new(0) };
    static OWN_SUM: Cell<usize> = const { Cell::new(0) };
}

/// The process: what is held beyond what was held when it began. One at a time: the peak is the process's.
pub struct Growth {
    begin: isize,
}

impl Growth {
    /// Begins to look.
    #[must_use]
    pub fn begin() -> Growth {
        let begin = LIVE.load(Ordering::Relaxed);
        PEAK.store(begin, Ordering::Relaxed);
        Growth { begin }
    }

    /// Bytes more than at the beginning, now.
    #[must_use]
    pub fn now(&self) -> isize {
        LIVE.load(Ordering::Relaxed) - self.begin
    }

    /// Most bytes more than at the beginning, at any moment since.
    #[must_use]
    pub fn peak(&self) -> isize {
        PEAK.load(Ordering::Relaxed) - self.begin
    }
}

/// This thread: what `work` gives, and how many bytes more were alive at once at most than there were before. What other threads allocate
/// does not count.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = OWN_LIVE.get();
    OWN_PEAK.set(before);
    let result = work();
    (result, (OWN_PEAK.get() - before).max(0) as usize)
}

/// This thread: what `work` gives, and how many bytes it allocated in all, freed again or not.
pub fn allocated_by<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = OWN_SUM.get();
    let result = work();
    (result, OWN_SUM.get() - before)
}

// The thread's counters are cells without a destructor: touching them allocates nothing. A thread that ends has none any more.
fn count(bytes: isize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
    let _ = OWN_LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = OWN_PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn count_sum(bytes: usize) {
    let _ = OWN_SUM.try_with(|sum| sum.set(sum.get() + bytes));
}

#[allow(
    unsafe_code,
    reason = "a global allocator cannot be had otherwise; each call goes to the system's with the same arguments"
)]
// SAFETY: every method hands its arguments unchanged to `System`, whose contract is the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        count_sum(layout.size());
        // SAFETY: the caller's promises are passed on, here and below
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        count_sum(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // one that moves has both alive for a moment; what stays is the difference
        count(new_size as isize - layout.size() as isize);
        count_sum(new_size);
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn the_process_count_sees_what_another_thread_allocates_and_the_thread_s_does_not() {
        // large beside what the test's own harness does meanwhile
        let growth = Growth::begin();
        let (held, own) = peak_of(|| std::thread::spawn(|| vec![1u8; 100 << 20]).join().unwrap());
        assert!(growth.now() > 80 << 20);
        assert!(own < 1 << 20, "{own}");
        drop(held);
        assert!(growth.now() < 20 << 20 && growth.peak() > 80 << 20);
        let twice = || (0..2).for_each(|_| drop(vec![1u8; 1 << 20]));
        let (((), sum), peak) = peak_of(|| allocated_by(twice));
        assert!((1 << 20..2 << 20).contains(&peak) && (2 << 20..3 << 20).contains(&sum), "{peak} {sum}");
    }
}
