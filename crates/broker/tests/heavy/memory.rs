//! How much memory the process holds: an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: isize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

#[allow(
    unsafe_code,
    reason = "a global allocator cannot be had otherwise; each call goes to the system's with the same arguments"
)]
// SAFETY: every method hands its arguments unchanged to `System`, whose contract is the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize - layout.size() as isize);
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What is held beyond what was held when it began.
pub(crate) struct Growth {
    begin: isize,
}

impl Growth {
    pub(crate) fn begin() -> Growth {
        let begin = LIVE.load(Ordering::Relaxed);
        PEAK.store(begin, Ordering::Relaxed);
        Growth { begin }
    }

    /// Bytes more than at the beginning, now.
    pub(crate) fn now(&self) -> isize {
        LIVE.load(Ordering::Relaxed) - self.begin
    }

    /// Most bytes more than at the beginning, at any moment since.
    pub(crate) fn peak(&self) -> isize {
        PEAK.load(Ordering::Relaxed) - self.begin
    }
}

#[test]
fn the_count_sees_what_another_thread_allocates() {
    let _turn = super::my_turn();
    // large beside what the test's own harness does meanwhile
    let growth = Growth::begin();
    let held = std::thread::spawn(|| vec![1u8; 100 << 20]).join().unwrap();
    assert!(growth.now() > 80 << 20);
    drop(held);
    assert!(growth.now() < 20 << 20 && growth.peak() > 80 << 20);
}
