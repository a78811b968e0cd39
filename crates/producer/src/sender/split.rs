//! A batch that a broker found too large is sent again in parts (ACC-22).
//!
//! The parts stand in the batch's place, in its queue and among what is in flight: they share its sequences, so whatever was sent
//! behind it, and is refused now because the batch is missing (IDM-8), comes back and goes again behind the last part, with the
//! stamp that it has (IDM-4, IDM-5). Without idempotence, what is in flight behind it may be written before the parts (THR-3).
//!
//! # An earlier attempt of unknown fate
//!
//! The answer says that this attempt was not written; an earlier one that was never answered may have been. Its parts keep that
//! doubt, every one of them, since it covers all records of the batch. They can be sent without writing anything twice, as long as
//! they keep producer id, epoch and sequences, which IDM-16 makes sure of: if the batch is in the log, the next sequence there is
//! the one behind it, and each part, which is no duplicate by first and last sequence, is refused as out of order and ends as
//! `Unknown`, which is true. If it arrives late, after a part, it is refused itself. So nothing is lost that a retry of the whole
//! batch would have saved, and nothing is written twice that it would not have written twice: a broker that has forgotten the
//! producer accepts both. The same holds without idempotence, where every retry may repeat.

use std::sync::atomic::Ordering;

use rohrpost_protocol::ErrorCode;
use tracing::{debug, info};

use super::answers::advice;
use super::core::SenderCore;
use crate::accumulator::Batch;
use crate::outcome::Reason;

impl SenderCore {
    /// ACC-22, CMP-8: the batch was answered with MESSAGE_TOO_LARGE and may be sent again in parts.
    pub(super) fn split_batch(&mut self, batch: Batch, message: Option<&str>, now_ms: u64) {
        let shared = self.shared.clone();
        let partition = batch.partition().clone();
        let state = self.state(&partition);
        let at = state.entry_of(&batch);
        let may_be_written = state.entry(at).may_be_written;
        let (bytes, records) = (batch.encoded_len(), batch.record_count());
        match shared.accumulator.split(batch, true, may_be_written, now_ms) {
            Ok(parts) => {
                info!(
                    "{}-{}: a batch of {records} records and {bytes} bytes is too large for the broker; it is sent again in {} \
                     parts, and batches of the topic stay smaller from now on",
                    partition.topic_name(),
                    partition.index(),
                    parts.len(),
                );
                state.split(at, parts);
                shared.stats.batches_split.fetch_add(1, Ordering::Relaxed);
                shared.book.split(shared.clock.last_us());
            }
            Err(batch) => {
                let code = ErrorCode::MESSAGE_TOO_LARGE;
                let message = message.map(str::to_owned).or_else(|| advice(code));
                self.fail_batch(*batch, Reason::Broker(code), message);
            }
        }
    }

    /// ACC-23: a batch that was closed before its topic's limit was learned, and that would be refused again, goes back in parts
    /// instead of out. Not one of unknown fate: sent as it is, it may be found in the log.
    pub(super) fn split_ahead(&mut self, batch: Batch, now_ms: u64) -> Option<Batch> {
        let shared = self.shared.clone();
        if !shared.accumulator.is_known_too_large(&batch) {
            return Some(batch);
        }
        let partition = batch.partition().clone();
        let state = self.state(&partition);
        let at = state.find(batch.completion());
        if at.is_some_and(|at| state.entry(at).may_be_written) {
            return Some(batch);
        }
        match shared.accumulator.split(batch, false, false, now_ms) {
            Ok(parts) => {
                // What was never sent has no sequences, and neither have its parts.
                if let Some(at) = at {
                    state.split(at, parts);
                }
                shared.stats.batches_split.fetch_add(1, Ordering::Relaxed);
                shared.book.split(shared.clock.last_us());
                debug!(
                    "{}-{}: a batch is sent in parts: the topic takes only smaller ones",
                    partition.topic_name(),
                    partition.index()
                );
                None
            }
            Err(batch) => Some(*batch),
        }
    }
}
