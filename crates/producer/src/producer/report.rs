//! A report that is to come, and any number of calls that wait for it: the end of a producer, or of a purge.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// What is told to everybody who asks, but for what only one can have.
pub(crate) trait Report {
    /// The report; what only one can have goes to the first who comes.
    fn hand_out(&mut self) -> Self;
}

/// A report that is to come.
pub(crate) struct Coming<R>(Mutex<Inner<R>>);

struct Inner<R> {
    report: Option<R>,
    /// Calls that wait, one entry each.
    waiting: BTreeMap<u64, Waker>,
    next_id: u64,
}

impl<R> Default for Coming<R> {
    fn default() -> Coming<R> {
        Coming(Mutex::new(Inner { report: None, waiting: BTreeMap::new(), next_id: 0 }))
    }
}

impl<R: Report> Coming<R> {
    /// Here it is.
    pub(crate) fn finish(&self, report: R) {
        let mut inner = self.0.lock();
        inner.report = Some(report);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_values().for_each(Waker::wake);
    }

    /// Whether it has come.
    pub(crate) fn is_there(&self) -> bool {
        self.0.lock().report.is_some()
    }

    /// The report, when it has come.
    pub(crate) fn wait(&self) -> Wait<R, &Coming<R>> {
        Wait::new(self)
    }
}

impl<R> fmt::Debug for Coming<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coming").field("is_there", &self.0.lock().report.is_some()).finish()
    }
}

/// Waits for a report. Cancel safe: dropped before it has come, it leaves no trace.
#[derive(Debug)]
pub(crate) struct Wait<R: Report, C: Deref<Target = Coming<R>>> {
    coming: C,
    id: Option<u64>,
}

impl<R: Report, C: Deref<Target = Coming<R>>> Wait<R, C> {
    pub(crate) fn new(coming: C) -> Self {
        Wait { coming, id: None }
    }
}

impl<R: Report, C: Deref<Target = Coming<R>> + Unpin> Future for Wait<R, C> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let this = &mut *self;
        let mut inner = this.coming.0.lock();
        if let Some(report) = &mut inner.report {
            return Poll::Ready(report.hand_out());
        }
        let id = *this.id.get_or_insert_with(|| {
            inner.next_id += 1;
            inner.next_id
        });
        let old = inner.waiting.insert(id, cx.waker().clone());
        drop(inner);
        drop(old); // outside the lock: dropping a waker may run foreign code
        Poll::Pending
    }
}

impl<R: Report, C: Deref<Target = Coming<R>>> Drop for Wait<R, C> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let removed = self.coming.0.lock().waiting.remove(&id);
            drop(removed);
        }
    }
}
