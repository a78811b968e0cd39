//! How a producer ends: the report of `close`. And how records end before that by `purge`: its report.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::report::{Coming, Report, Wait};
use crate::accumulator::Batch;
use crate::outcome::{BatchFailure, Outcome, Reason};
use crate::record::Record;
use crate::wait::{block_on, in_callback};

/// What became of the records that had no outcome when `close` was called (FLU-6). Each of them is counted, and no other: an outcome that
/// could be seen before is not in the report, whatever the sender did at that moment.
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
    /// The records that `not_written` and `unknown` count, at most what fits into `buffer.memory`. Those that had failed before
    /// the call and are told only now, because an older one of their partition had no outcome yet, are among them, but for two kinds that are
    /// counted and not handed back a second time: what [`purge`](crate::Producer::purge) took from the queue, which is in its report,
    /// and, with a [failed-records file](crate::FailedRecords), what failed before the call, which is there.
    pub undelivered: Vec<Undelivered>,
}

/// What a purge did (FLU-4). See [`Producer::purge`](crate::Producer::purge).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct PurgeReport {
    /// Records dropped that are certainly not in the log.
    pub not_written: u64,
    /// Records dropped that are perhaps in the log: a request had carried them.
    pub unknown: u64,
    /// The records, in the order of sending within a partition. At most what fits into `buffer.memory`.
    pub undelivered: Vec<Undelivered>,
}

/// A purge under way, from [`Producer::purge`](crate::Producer::purge): its report can be awaited on any executor, waited for in a plain
/// thread, or not asked for. Inside a callback, where the wait would never end, it gives an empty report at once if there is none yet
/// (CMPL-6).
///
/// # Cancel safety
/// The purge was begun by the call, not by a poll. Dropping this changes nothing for it; then nobody gets the records back.
#[derive(Debug)]
pub struct Purge(Wait<PurgeReport, Arc<Coming<PurgeReport>>>);

impl Purge {
    pub(crate) fn new(coming: Arc<Coming<PurgeReport>>) -> Purge {
        Purge(Wait::new(coming))
    }

    /// Waits in a plain thread.
    ///
    /// # Blocking
    /// Parks the thread until the sender's next pass, which comes at once: it does not wait for answers of brokers. Callbacks that are
    /// just running on the sender's thread hold it up.
    #[must_use = "it waits for nothing but the report"]
    pub fn wait(self) -> PurgeReport {
        block_on(self)
    }
}

impl Future for Purge {
    type Output = PurgeReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PurgeReport> {
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Pending if in_callback() => Poll::Ready(PurgeReport::default()),
            polled => polled,
        }
    }
}

impl Report for CloseReport {
    fn hand_out(&mut self) -> CloseReport {
        let undelivered = std::mem::take(&mut self.undelivered);
        CloseReport { undelivered, ..*self }
    }
}

impl Report for PurgeReport {
    fn hand_out(&mut self) -> PurgeReport {
        let undelivered = std::mem::take(&mut self.undelivered);
        PurgeReport { undelivered, ..*self }
    }
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
