//! How a producer ends: the report of `close`, and waiting for it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::accumulator::Batch;
use crate::outcome::{BatchFailure, Outcome, Reason};
use crate::record::Record;

/// What became of the records that had no outcome when `close` was called (FLU-6).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CloseReport {
    /// Acknowledged while the producer closed.
    pub acked: u64,
    /// With acks=0: written to the socket while the producer closed.
    pub handed_over: u64,
    /// Failed, and certainly not in the log.
    pub not_written: u64,
    /// Failed, and perhaps in the log.
    pub unknown: u64,
    /// The records that failed while the producer closed. At most what fits into `buffer.memory`.
    pub undelivered: Vec<Undelivered>,
}

/// A record that was accepted and not delivered.
#[derive(Clone)]
pub struct Undelivered {
    record: Record,
    failure: Arc<BatchFailure>,
    index: u32,
}

impl Undelivered {
    /// The records of a failed batch.
    pub(crate) fn of(batch: &Batch, failure: &Arc<BatchFailure>, bytes_max: usize) -> Vec<Undelivered> {
        let records = batch.records(bytes_max);
        records
            .into_iter()
            .zip(0..)
            .map(|(record, index)| Undelivered { record, failure: failure.clone(), index })
            .collect()
    }

    /// Whether the record may be in the log (CMPL-8).
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.failure.outcome
    }

    /// Why it failed. If the broker named records of the batch, this record's own reason (ERR-3).
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.failure.reason_of(self.index)
    }

    /// The broker's words, or ours.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        let own = self.failure.record_errors.iter().find(|(index, _)| *index == self.index);
        own.and_then(|(_, message)| message.as_deref()).or(self.failure.message.as_deref())
    }

    /// The record, with the partition and the timestamp that it got.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record, with the partition and the timestamp that it got.
    #[must_use]
    pub fn into_record(self) -> Record {
        self.record
    }
}

impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered")
            .field("record", &self.record)
            .field("outcome", &self.outcome())
            .field("reason", &self.reason())
            .field("message", &self.message())
            .finish()
    }
}

/// The end of a producer, to be waited for.
#[derive(Default)]
pub(crate) struct Closed {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    report: Option<CloseReport>,
    /// Calls that wait, one entry each.
    waiting: BTreeMap<u64, Waker>,
    next_id: u64,
}

impl Closed {
    /// The sender has ended.
    pub(crate) fn finish(&self, report: CloseReport) {
        let mut inner = self.inner.lock();
        inner.report = Some(report);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_values().for_each(Waker::wake);
    }

    /// The report; the undelivered records go to the first who comes.
    pub(crate) fn wait(&self) -> ClosedWait<'_> {
        ClosedWait { closed: self, id: None }
    }
}

pub(crate) struct ClosedWait<'a> {
    closed: &'a Closed,
    id: Option<u64>,
}

impl Future for ClosedWait<'_> {
    type Output = CloseReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReport> {
        let closed = self.closed;
        let mut inner = closed.inner.lock();
        if let Some(report) = &mut inner.report {
            let undelivered = std::mem::take(&mut report.undelivered);
            return Poll::Ready(CloseReport { undelivered, ..*report });
        }
        let id = *self.id.get_or_insert_with(|| {
            inner.next_id += 1;
            inner.next_id
        });
        let old = inner.waiting.insert(id, cx.waker().clone());
        drop(inner);
        drop(old); // outside the lock: dropping a waker may run foreign code
        Poll::Pending
    }
}

impl Drop for ClosedWait<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let removed = self.closed.inner.lock().waiting.remove(&id);
            drop(removed);
        }
    }
}
