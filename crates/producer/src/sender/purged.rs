//! What a purge drops, while it does: for its report (FLU-4).
//!
//! A queued batch is copied before its memory goes back. One on the wire is its request's (ACC-25): the requests are looked into when all
//! are chosen.

use std::sync::Arc;

use super::core::Links;
use super::request::Body;
use crate::accumulator::{Batch, BatchId};
use crate::delivery::Completion;
use crate::outcome::{BatchFailure, Outcome, Reason};
use crate::producer::{PurgeReport, Undelivered};
use crate::sync;

/// Collects the batches that end by a purge.
pub(super) struct Purged {
    report: PurgeReport,
    /// What a batch may grow to when it is read; `None`: nobody wants the records.
    bytes_max: Option<usize>,
    /// Partition key and number: the order to hand them back in.
    batches: Vec<((u32, BatchId), Vec<Undelivered>)>,
    on_wire: Vec<(sync::Arc<Completion>, Arc<BatchFailure>)>,
}

impl Purged {
    pub(super) fn new(bytes_max: Option<usize>) -> Purged {
        Purged { report: PurgeReport::default(), bytes_max, batches: Vec::new(), on_wire: Vec::new() }
    }

    /// A batch that the sender holds has failed; its bytes are there.
    pub(super) fn took(&mut self, batch: &Batch, failure: &Arc<BatchFailure>) {
        if failure.reason != Reason::Purged {
            return;
        }
        self.count(failure, batch.record_count().into());
        self.hand_back(batch, failure);
    }

    /// A batch has failed that a request owns.
    pub(super) fn gave_up(&mut self, completion: &sync::Arc<Completion>, failure: &Arc<BatchFailure>) {
        self.count(failure, completion.records());
        if self.bytes_max.is_some() {
            self.on_wire.push((completion.clone(), failure.clone()));
        }
    }

    /// The report. Requests are found among the links' ones; a batch that is in none of them is only counted.
    pub(super) fn finish(mut self, links: &dyn Links) -> PurgeReport {
        let mut on_wire = std::mem::take(&mut self.on_wire);
        if !on_wire.is_empty() {
            links.look_into_requests(&mut |request| {
                let Body::Produce(produce) = &request.body else { return };
                for batch in produce.batches() {
                    let is_it = |(completion, _): &(_, _)| sync::Arc::ptr_eq(completion, batch.completion());
                    if let Some(at) = on_wire.iter().position(is_it) {
                        let (_, failure) = on_wire.swap_remove(at);
                        self.hand_back(batch, &failure);
                    }
                }
            });
        }
        self.batches.sort_by_key(|(place, _)| *place);
        self.report.undelivered = self.batches.into_iter().flat_map(|(_, records)| records).collect();
        self.report
    }

    fn count(&mut self, failure: &BatchFailure, records: u64) {
        match failure.outcome {
            Outcome::NotWritten => self.report.not_written += records,
            Outcome::Unknown => self.report.unknown += records,
        }
    }

    fn hand_back(&mut self, batch: &Batch, failure: &Arc<BatchFailure>) {
        if let Some(bytes_max) = self.bytes_max {
            let place = (batch.partition().key(), batch.id());
            self.batches.push((place, Undelivered::of(batch, failure, bytes_max)));
        }
    }
}
