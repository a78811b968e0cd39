//! An allocator that counts, per thread, what is alive, so that targets can assert how much their work took.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // a thread that ends has no counters any more
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// The counters above are cells without a destructor: touching them allocates nothing.
#[allow(unsafe_code, reason = "a global allocator cannot be had otherwise")]
// SAFETY: every method hands its arguments unchanged to `System`, whose contract is the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize - layout.size() as isize);
        // SAFETY: the caller's promises are passed on
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, if it had at most `bound` bytes more alive at once than there were before.
///
/// # Panics
/// If it had more.
pub fn within<T>(bound: usize, work: impl FnOnce() -> T) -> T {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    let peak = (PEAK.get() - before).max(0) as usize;
    assert!(peak <= bound, "{peak} bytes were alive at once, at most {bound} are allowed");
    result
}

/// The bound that decoders promise for an input of this length: four times as much, and 64 KiB.
pub fn usual(input_len: usize) -> usize {
    4 * input_len + (64 << 10)
}
