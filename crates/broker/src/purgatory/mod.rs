//! Requests that wait: a fetch for bytes that are not there yet, later a produce for its followers.
//!
//! An operation ends exactly once (W1), whoever comes first: an append (the partition's [`FetchWaiters`]), the deadline
//! (the network thread that owns the connection keeps the time), or the end of the connection. No thread waits with it, and it
//! does not hold the request's bytes (W11). Since a connection has one request in flight (N4), there are never more operations
//! than connections.
//!
//! **Delayed produce has its place here too**, ordered by required offset (W10). With one replica the high watermark moves
//! with the append itself, so that a produce is answered in the same pass (P10), and there is none yet.

mod delayed_fetch;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

pub(crate) use delayed_fetch::{DelayedFetch, FetchWork, Progress};

/// The fetches that wait for one partition.
#[derive(Default)]
pub(crate) struct FetchWaiters {
    waiting: Mutex<Vec<Arc<DelayedFetch>>>,
    /// How many there are, to be read without the lock: most appends wake nobody.
    count: AtomicUsize,
}

impl FetchWaiters {
    /// Adds an operation. The caller tests it once more afterwards (W2).
    pub(crate) fn watch(&self, fetch: &Arc<DelayedFetch>) {
        let mut waiting = self.waiting.lock();
        if waiting.iter().any(|other| Arc::ptr_eq(other, fetch)) {
            return; // the request names the partition twice
        }
        waiting.push(Arc::clone(fetch));
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Takes an operation off the list.
    pub(crate) fn forget(&self, fetch: &DelayedFetch) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|other| !std::ptr::eq(&**other, fetch));
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Tests every operation that waits here; called after the partition has changed, **with no partition or log lock held**
    /// (W3), since ending a fetch reads other partitions.
    pub(crate) fn notify(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let waiting = self.waiting.lock().clone();
        for fetch in waiting {
            fetch.try_complete();
        }
    }

    /// How many operations wait here.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}
