//! A broker refuses a batch and names the records that it means (KIP-467). With `resend.innocent.records` the others are sent again
//! without them, in order (ERR-3); else all of them fail, as Kafka's do.
//!
//! Only if no attempt can have written the batch: its records cannot keep their sequences without those that are taken out, and what
//! may be in the log is never sent again under others (IDM-16).

use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::PartitionProduceResponse;
use tracing::warn;

use super::core::SenderCore;
use super::partition::Bump;
use crate::accumulator::Batch;
use crate::outcome::Reason;

impl SenderCore {
    /// Takes the named records out of a batch: they fail, and the others take its place. Gives the batch back if they all fail.
    pub(super) fn sort_out(
        &mut self,
        batch: Batch,
        told: &PartitionProduceResponse<'_>,
        named: &[(u32, Option<String>)],
        now_ms: u64,
    ) -> Option<Batch> {
        let partition = batch.partition().clone();
        let may_go_on = self.may_go_on(&batch, now_ms) && self.barred(&batch).is_none();
        let state = self.state(&partition);
        let at = state.entry_of(&batch);
        if !self.shared.config.resend_innocent_records || !may_go_on || named.is_empty() {
            return Some(batch);
        }
        if self.state(&partition).entry(at).may_be_written {
            return Some(batch);
        }
        let mut places: Vec<u32> = named.iter().map(|(index, _)| *index).collect();
        places.sort_unstable();
        places.dedup();
        let accumulator = &self.shared.clone().accumulator;
        let records = batch.record_count();
        let (parts, out) =
            match accumulator.sort_out(batch, |index| places.binary_search(&index).is_ok(), now_ms) {
                Ok(sorted) => sorted,
                Err(batch) => return Some(*batch),
            };
        warn!(
            "{}-{}: {} of {records} records are refused ({}); the others are sent again without them",
            partition.topic_name(),
            partition.index(),
            places.len(),
            told.error_code,
        );
        self.state(&partition).split(at, parts);
        // IDM-11: what is taken out leaves a gap in the batch's sequences.
        self.wants_new_epoch(&partition, Bump::Yes);
        let code = if places.len() == 1 { told.error_code } else { ErrorCode::INVALID_RECORD };
        let mut left = &places[..];
        for part in out {
            // A part has named records that stood side by side.
            let (own, rest) = left.split_at(part.record_count() as usize);
            left = rest;
            let words = |place: &u32| {
                named.iter().find(|(index, _)| index == place).and_then(|(_, text)| text.clone())
            };
            let record_errors = (0..).zip(own).map(|(index, place)| (index, words(place))).collect();
            let message = told.error_message.map(str::to_owned);
            self.fail_with(part, Reason::Broker(code), message, record_errors);
        }
        None
    }
}
