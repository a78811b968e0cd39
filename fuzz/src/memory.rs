//! How much the targets' work may take: what is alive is counted, per thread.

use rohrpost_testing::memory::{Counting, peak_of};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, if it had at most `bound` bytes more alive at once than there were before.
///
/// # Panics
/// If it had more.
pub fn within<T>(bound: usize, work: impl FnOnce() -> T) -> T {
    let (result, peak) = peak_of(work);
    assert!(peak <= bound, "{peak} bytes were alive at once, at most {bound} are allowed");
    result
}

/// The bound that decoders promise for an input of this length: four times as much, and 64 KiB.
pub fn usual(input_len: usize) -> usize {
    4 * input_len + (64 << 10)
}
