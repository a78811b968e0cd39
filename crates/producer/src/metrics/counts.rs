//! Exact counts and levels, as a plain struct: what adds up (MTR-1).

use std::sync::atomic::Ordering;

use crate::producer::Shared;

/// A producer's counts since it was built, and its levels now.
///
/// Records add up (MTR-1): `accepted = acked + handed_over + not_written + unknown + pending`, when nothing moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Records accepted.
    pub records_accepted: u64,
    /// Records acknowledged.
    pub records_acked: u64,
    /// With acks=0: records written to the socket.
    pub records_handed_over: u64,
    /// Records that failed and are certainly not in the log.
    pub records_not_written: u64,
    /// Records that failed and may be in the log.
    pub records_unknown: u64,
    /// Records without an outcome.
    pub records_pending: u64,
    /// Records that were put back to be sent again, counted each time (`record-retry-total`).
    pub records_retried: u64,
    /// Batches that were put back to be sent again.
    pub batches_retried: u64,
    /// Batches that went in parts because a broker found them, or a smaller one of the topic, too large (`batch-split-total`).
    pub batches_split: u64,
    /// Batches in requests, counted each time.
    pub batches_sent: u64,
    /// Produce requests sent.
    pub produce_requests: u64,
    /// Produce requests without an answer (`requests-in-flight`).
    pub requests_in_flight: u64,
    /// How often the producer epoch was bumped (IDM-6).
    pub epoch_bumps: u64,
    /// How often a topic that was sent to turned out to have been deleted and created anew (MET-9).
    pub topics_recreated: u64,
    /// How often a topic that was sent to turned out to have more partitions than before: most keys go elsewhere from then on (PAR-4).
    pub topics_grown: u64,
    /// Connections that stand (`connection-count`).
    pub connections: u64,
    /// Bytes of `buffer.memory` that are free (`buffer-available-bytes`).
    pub buffer_available_bytes: u64,
    /// `buffer.memory` (`buffer-total-bytes`).
    pub buffer_total_bytes: u64,
    /// Calls that found no room within `max.block.ms` (`buffer-exhausted-total`).
    pub buffer_exhausted: u64,
    /// Records in the failed-records file, if there is one (SEND-2).
    pub failed_records_kept: u64,
    /// Records that should be in the failed-records file and are not, because it could not be written.
    pub failed_records_lost: u64,
}

impl Metrics {
    /// Records that failed.
    #[must_use]
    pub fn records_failed(&self) -> u64 {
        self.records_not_written + self.records_unknown
    }

    pub(crate) fn of(shared: &Shared) -> Metrics {
        let counts = shared.accumulator.counts();
        let pool = shared.accumulator.pool();
        let stats = &shared.stats;
        let keeping = shared.accumulator.outlet().keeping();
        let failed_records = keeping.map(|keeping| keeping.sink.counts()).unwrap_or_default();
        Metrics {
            records_accepted: counts.accepted,
            records_acked: counts.acked,
            records_handed_over: counts.handed_over,
            records_not_written: counts.not_written,
            records_unknown: counts.unknown,
            records_pending: counts.pending,
            records_retried: stats.records_retried.load(Ordering::Relaxed),
            batches_retried: stats.batches_retried.load(Ordering::Relaxed),
            batches_split: stats.batches_split.load(Ordering::Relaxed),
            batches_sent: stats.batches_sent.load(Ordering::Relaxed),
            produce_requests: stats.produce_requests.load(Ordering::Relaxed),
            requests_in_flight: stats.requests_in_flight.load(Ordering::Relaxed),
            epoch_bumps: stats.epoch_bumps.load(Ordering::Relaxed),
            topics_grown: shared.accumulator.topics_grown(),
            topics_recreated: stats.topics_recreated.load(Ordering::Relaxed),
            connections: stats.connections.load(Ordering::Relaxed),
            buffer_available_bytes: pool.available() as u64,
            buffer_total_bytes: pool.total() as u64,
            buffer_exhausted: pool.exhausted(),
            failed_records_kept: failed_records.kept,
            failed_records_lost: failed_records.lost,
        }
    }
}
