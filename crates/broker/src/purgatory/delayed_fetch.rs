//! A fetch that waits for bytes (W6).
//!
//! What it reads and how it is answered is the fetch handler's; here is only *when*: try, watch, try again (W2), and the one
//! end (W1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::network::{Outcome, Responder, Waiter};
use crate::replica::Partition;

/// What the fetch handler says about a fetch at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Enough bytes, or something that must be told now.
    Ready,
    /// Not yet.
    Waiting,
}

/// The work of a fetch: to look, and to answer.
pub(crate) trait FetchWork: Send + Sync {
    /// Whether to answer now. Must not block for long: it runs after each append.
    fn progress(&self) -> Progress;
    /// Reads again and builds the answer (W6).
    fn answer(&self) -> Outcome;
}

/// One waiting fetch.
pub(crate) struct DelayedFetch {
    work: Box<dyn FetchWork>,
    partitions: Vec<Arc<Partition>>,
    responder: Responder,
    ended: AtomicBool,
}

impl DelayedFetch {
    /// Registers the fetch at each of its partitions. If it is ready after all (an append came between the caller's first test
    /// and the registration), it is answered through the responder before this returns.
    pub(crate) fn start(
        work: Box<dyn FetchWork>,
        partitions: Vec<Arc<Partition>>,
        responder: Responder,
    ) -> Arc<DelayedFetch> {
        let fetch = Arc::new(DelayedFetch { work, partitions, responder, ended: AtomicBool::new(false) });
        for partition in &fetch.partitions {
            partition.fetch_waiters().watch(&fetch);
        }
        fetch.try_complete(); // W2: without the second test a wake-up can be lost
        fetch
    }

    /// Ends the fetch if it is ready.
    pub(crate) fn try_complete(&self) {
        if !self.ended.load(Ordering::SeqCst) && self.work.progress() == Progress::Ready {
            self.complete();
        }
    }

    fn complete(&self) {
        if self.end() {
            // a panic in the answer must not take the appending thread down, nor leave this fetch unanswered (G8)
            let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work.answer()))
                .unwrap_or_else(|_| Outcome::Close("answering its waiting fetch failed".to_owned()));
            self.responder.send(answer, Vec::new());
        }
    }

    /// True for the one caller that may answer (W1).
    fn end(&self) -> bool {
        let first = !self.ended.swap(true, Ordering::SeqCst);
        if first {
            for partition in &self.partitions {
                partition.fetch_waiters().forget(self);
            }
        }
        first
    }
}

impl Waiter for DelayedFetch {
    fn expire(&self) {
        self.complete();
    }

    fn cancel(&self) {
        self.end();
    }
}
