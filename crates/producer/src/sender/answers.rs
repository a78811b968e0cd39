//! What comes back: the core's half that ends batches or sends them again. See [`super::core`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rohrpost_net::Backoff;
use rohrpost_protocol::messages::{PartitionProduceResponse, ProduceResponse};
use rohrpost_protocol::{DecodeError, ErrorCode, Uuid};
use tracing::{debug, error, warn};

use super::core::{Links, SenderCore};
use super::partition::{Bump, Entry, Place, Told};
use super::request::{Body, Produce, Request};
use super::retry::{self, Facts, Verdict};
use super::slow::Trip;
use crate::accumulator::{Batch, FIRST_CHUNK, Partition};
use crate::delivery::Completion;
use crate::metrics::book;
use crate::outcome::{BatchFailure, BatchResult, Outcome, Reason};
use crate::producer::Undelivered;
use crate::rules::{self, Rule};
use crate::sync;

/// The first version of Produce in which topics go by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// The first version of Produce whose answers say where a log begins.
const LOG_START_SINCE: i16 = 5;

impl SenderCore {
    /// `version`: of the request, and so of the answer.
    pub(super) fn handle_produce(
        &mut self,
        produce: Produce,
        version: i16,
        answer: &ProduceResponse<'_>,
        now_ms: u64,
    ) {
        self.request_ended();
        let trip = produce.trip;
        let now_us = self.now_us;
        self.shared.book.answered(
            trip.node,
            trip.sent_and_written_us(now_us),
            u64::try_from(answer.throttle_time_ms).unwrap_or(0),
            produce.topics.iter().map(|topic| (&topic.name, topic.batches.len())),
            now_us,
        );
        self.ways.entry(trip.node).or_default().produced(now_ms.saturating_sub(trip.sent_ms));
        for topic in produce.topics {
            // SND-9: from version 13 on topics go by the id that the request had.
            let answers = answer
                .responses
                .iter()
                .filter(|t| *t.name == *topic.name || t.name.is_empty() && t.topic_id == topic.id)
                .flat_map(|t| &t.partition_responses);
            let answers: Vec<&PartitionProduceResponse<'_>> = answers.collect();
            let mut answers = ByPartition::new(&answers);
            for batch in topic.batches {
                let partition = batch.partition().clone();
                match answers.get(partition.index()) {
                    Some(told) => {
                        let id = (version >= TOPIC_IDS_SINCE).then_some(topic.id);
                        self.take_hint(&partition, id, told, answer, trip.node);
                        self.handle_answer(batch, told, version, &trip, now_ms);
                    }
                    None => {
                        warn!(
                            "{}-{}: the broker's answer leaves it out",
                            partition.topic_name(),
                            partition.index()
                        );
                        self.handle_no_answer(batch, ErrorCode::NETWORK_EXCEPTION, &trip, now_ms);
                    }
                }
            }
        }
    }

    /// A request came back without answer (SND-4).
    pub(super) fn handle_unanswered(&mut self, request: Request, code: ErrorCode, now_ms: u64) {
        match request.body {
            Body::Produce(produce) => {
                self.request_ended();
                let trip = produce.trip;
                for batch in produce.topics.into_iter().flat_map(|t| t.batches) {
                    self.handle_no_answer(batch, code, &trip, now_ms);
                }
            }
            Body::Metadata(question) => self.metadata_failed(&question, now_ms),
            Body::InitProducerId => self.identity_failed(now_ms),
        }
    }

    /// ERR-2: the leader that the broker names, if it is news; then no back-off and no waiting for metadata. `id`: of the topic, if the
    /// request went by id.
    fn take_hint(
        &mut self,
        partition: &Partition,
        id: Option<Uuid>,
        told: &PartitionProduceResponse<'_>,
        answer: &ProduceResponse<'_>,
        node: i32,
    ) {
        let names_leader =
            matches!(told.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH);
        if !names_leader && told.error_code != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
            return;
        }
        let leader = &told.current_leader;
        let (leader, epoch) = (leader.leader_id, leader.leader_epoch);
        let (topic, index) = (partition.topic_name(), partition.index());
        if names_leader && self.metadata.hint(topic, id, index, (leader, epoch), &answer.node_endpoints) {
            debug!("{topic}-{index}: led by {leader} since epoch {epoch}");
            self.hinted = true;
        } else if self.metadata.deny(topic, index, node) {
            debug!("{topic}-{index}: {node} does not lead it, though another broker said so");
            self.hinted = true;
        }
    }

    fn handle_answer(
        &mut self,
        batch: Batch,
        told: &PartitionProduceResponse<'_>,
        version: i16,
        trip: &Trip,
        now_ms: u64,
    ) {
        let code = told.error_code;
        if !code.is_known() {
            // ERR-5
            warn!("a broker answered with the unknown error code {}", code.0);
        }
        if code.invalidates_metadata() && rules::holds(Rule::RefreshOnError) {
            // ERR-1
            self.metadata.request_refresh();
        }
        let records = batch.record_count();
        let stamp = batch.stamp();
        let partition = batch.partition().clone();
        let Some((at, batch)) = self.take_back(batch) else {
            if let (true, Some(stamp)) = (code.is_ok(), stamp) {
                self.state(&partition).acked(&stamp, records);
            }
            return;
        };
        if code.is_error() {
            self.note_trip(&batch, trip, now_ms);
        }
        let state = self.state(&partition);
        let is_lowest = state.lowest().is_some_and(|e| sync::Arc::ptr_eq(&e.completion, batch.completion()));
        let entry = state.entry(at);
        let facts = Facts {
            code,
            idempotent: false,
            is_lowest,
            may_be_written: entry.may_be_written,
            resequenced: entry.resequenced,
            // An older answer has no such field: that it says nothing means nothing.
            log_start_offset: if version >= LOG_START_SINCE { told.log_start_offset } else { 0 },
            may_retry: false,
            may_split: false,
        };
        entry.last_error = Some(code);
        entry.may_be_written &= rules::holds(Rule::EveryAttempt);
        // CMPL-8: an error with an offset was an append first. A leader that is deposed while the batch waits for its followers
        // answers so, and they may have it.
        entry.may_be_written |= code.is_error() && (retry::may_have_written(code) || told.base_offset >= 0);
        entry.resequenced += u32::from(is_lowest && is_sequence_error(code));
        let facts = Facts {
            idempotent: self.idempotence.is_some(),
            may_retry: self.may_retry(&batch, now_ms),
            // RTY-2: a split is no attempt
            may_split: records > 1 && self.may_go_on(&batch, now_ms),
            ..facts
        };
        let verdict = retry::verdict(&facts);
        if matches!(verdict, Verdict::Retry | Verdict::RetryInNewEpoch | Verdict::Split)
            && let Some((reason, text)) = self.barred(&batch)
        {
            self.fail_batch(batch, reason, Some(text));
            return;
        }
        match verdict {
            Verdict::Acked => {
                if let Some(stamp) = stamp {
                    self.state(&partition).acked(&stamp, records);
                }
                // IDM-10: a duplicate's offset is not known.
                let base_offset = if code.is_ok() { told.base_offset } else { -1 };
                self.end_batch(
                    batch,
                    BatchResult::Acked { base_offset, log_append_time: told.log_append_time_ms },
                );
            }
            Verdict::Retry => self.retry(batch, code, told.error_message, trip, now_ms),
            Verdict::RetryInNewEpoch => {
                self.wants_new_epoch(&partition, Bump::Yes);
                self.retry(batch, code, told.error_message, trip, now_ms);
            }
            Verdict::Split => self.split_batch(batch, told.error_message, now_ms),
            Verdict::Fail => {
                let message = told.error_message.map(str::to_owned).or_else(|| advice(code));
                let message = match self.slow_verdict(&batch, code, trip) {
                    Some(slow) => Some(format!("{}; {slow}", message.as_deref().unwrap_or(code.message()))),
                    None => message,
                };
                self.fail_batch(batch, Reason::Broker(code), message);
            }
            Verdict::FailRecords => self.fail_records(batch, told, now_ms),
            Verdict::Fatal => {
                let message = told.error_message.unwrap_or(code.message()).to_owned();
                self.fail_batch(batch, Reason::Fatal(code), Some(message.clone()));
                self.fail(code, message.into());
            }
        }
    }

    /// The connection ended before the answer: it may have been written (CMPL-8).
    fn handle_no_answer(&mut self, batch: Batch, code: ErrorCode, trip: &Trip, now_ms: u64) {
        let Some((at, batch)) = self.take_back(batch) else { return };
        self.note_trip(&batch, trip, now_ms);
        let entry = self.state(&batch.partition().clone()).entry(at);
        entry.may_be_written |= rules::holds(Rule::UnansweredIsUnknown);
        entry.last_error = Some(code);
        self.metadata.request_refresh();
        if let Some((reason, text)) = self.barred(&batch) {
            self.fail_batch(batch, reason, Some(text));
        } else if self.may_retry(&batch, now_ms) {
            self.retry(batch, code, None, trip, now_ms);
        } else if self.forced {
            let text = "the producer was closed before the answer came".into();
            self.fail_batch(batch, Reason::Closed, Some(text));
        } else {
            let text = match self.slow_verdict(&batch, code, trip) {
                Some(slow) => format!("{}; {slow}", unanswered(code)),
                None => unanswered(code).into(),
            };
            self.fail_batch(batch, Reason::Broker(code), Some(text));
        }
    }

    /// RTY-2
    fn may_retry(&self, batch: &Batch, now_ms: u64) -> bool {
        batch.attempts() < self.shared.config.retries && self.may_go_on(batch, now_ms)
    }

    /// Its time is not over, and the producer's is not either.
    pub(super) fn may_go_on(&self, batch: &Batch, now_ms: u64) -> bool {
        now_ms < batch.expiry_ms() && !self.forced && self.fatal.is_none()
    }

    fn retry(&mut self, batch: Batch, code: ErrorCode, message: Option<&str>, trip: &Trip, now_ms: u64) {
        self.log_retry(&batch, code, message, trip, now_ms);
        let stats = &self.shared.stats;
        stats.batches_retried.fetch_add(1, Ordering::Relaxed);
        let records = u64::from(batch.record_count());
        stats.records_retried.fetch_add(records, Ordering::Relaxed);
        self.shared.book.retried(batch.partition().topic_name(), records, self.now_us);
        self.requeue(batch, now_ms);
    }

    /// ACC-21
    fn requeue(&mut self, batch: Batch, now_ms: u64) {
        let not_before_ms = self.queue_again(&batch, now_ms);
        self.shared.accumulator.reenqueue(batch, now_ms, not_before_ms);
    }

    /// A batch's entry says that it is in its queue. Gives the time until which it stays there.
    pub(super) fn queue_again(&mut self, batch: &Batch, now_ms: u64) -> u64 {
        let state = self.state(&batch.partition().clone());
        let at = state.entry_of(batch);
        state.entry(at).place = Place::Queued;
        let config = &self.shared.config;
        let backoff = Backoff::new(config.retry_backoff_ms, config.retry_backoff_max_ms);
        // ACC-13: drawn once per attempt.
        let step = batch.attempts().min(config.retry_backoff_step_max);
        now_ms + backoff.delay_ms(step, self.random.f64())
    }

    /// ERR-3: records that the broker names fail with its words, and the others because they were in one batch with them.
    /// Nothing was written.
    fn fail_records(&mut self, batch: Batch, told: &PartitionProduceResponse<'_>, now_ms: u64) {
        let named = told.record_errors.iter().filter_map(|e| {
            let index = u32::try_from(e.batch_index).ok().filter(|index| *index < batch.record_count())?;
            Some((index, e.batch_index_error_message.map(str::to_owned)))
        });
        let record_errors: Vec<(u32, Option<String>)> = named.collect();
        let batch = match self.sort_out(batch, told, &record_errors, now_ms) {
            Some(batch) => batch,
            None => return,
        };
        let message = told.error_message.map(str::to_owned);
        self.fail_with(batch, Reason::Broker(told.error_code), message, record_errors);
    }

    pub(super) fn fail_batch(&mut self, batch: Batch, reason: Reason, message: Option<String>) {
        self.fail_with(batch, reason, message, Vec::new());
    }

    /// CMPL-8: the outcome follows from what the batch's attempts were answered with.
    pub(super) fn fail_with(
        &mut self,
        batch: Batch,
        reason: Reason,
        message: Option<String>,
        record_errors: Vec<(u32, Option<String>)>,
    ) {
        let state = self.state(&batch.partition().clone());
        let at = state.entry_of(&batch);
        let entry = state.entry(at);
        let outcome = if entry.may_be_written { Outcome::Unknown } else { Outcome::NotWritten };
        let failure = BatchFailure { outcome, reason, message, record_errors, attempts: entry.attempts };
        self.end_batch(batch, BatchResult::Failed(Arc::new(failure)));
    }

    /// A batch that the sender holds has its outcome. It is told at once, or when all batches sent before it have theirs.
    pub(super) fn end_batch(&mut self, mut batch: Batch, result: BatchResult) {
        let partition = batch.partition().clone();
        if let BatchResult::Failed(failure) = &result {
            self.look_for_close();
            self.report_undelivered(&batch, failure);
            if let Some(purged) = &mut self.purged {
                purged.took(&batch, failure);
            }
            self.stop_on_failure(&partition, batch.id(), failure.reason);
            self.keep_failed(&mut batch, failure);
        }
        let mut told = std::mem::take(&mut self.told);
        let now_us = self.now_us;
        let state = self.state(&partition);
        let at = state.entry_of(&batch);
        // IDM-11, IDM-12: what was numbered and is not acknowledged may leave a gap.
        let leaves_gap = state.entry(at).stamp.is_some() && !matches!(result, BatchResult::Acked { .. });
        state.end(at, result, Some(batch), now_us, &mut told);
        if leaves_gap && rules::holds(Rule::UnresolvedMarked) {
            self.wants_new_epoch(&partition, Bump::IfUnresolved);
        }
        self.tell(&mut told);
        self.told = told;
    }

    /// Gives outcomes to batches on the wire that `which` chooses. Their requests keep the memory (ACC-25); what they bring
    /// back later changes nothing.
    pub(super) fn give_up_on_wire(
        &mut self,
        key: usize,
        which: impl Fn(&Entry) -> bool,
        reason: Reason,
        message: impl Fn() -> String,
    ) {
        self.look_for_close();
        let state = &mut self.partitions[key];
        let Some(partition) = state.partition.clone() else { return };
        let chosen: Vec<sync::Arc<Completion>> = state
            .unsettled()
            .filter(|e| matches!(e.place, Place::OnWire) && which(e))
            .map(|e| e.completion.clone())
            .collect();
        if chosen.is_empty() {
            return;
        }
        let closes = self.undelivered.is_some();
        let mut given_up = Vec::new();
        let keeping = self.shared.accumulator.outlet().keeping();
        let now_us = self.now_us;
        let mut told = Vec::new();
        for completion in chosen {
            let Some(at) = state.find(&completion) else { continue };
            let (attempts, id) = (state.entry(at).attempts, state.entry(at).id);
            given_up.push(id);
            if !rules::holds(Rule::ExpiredKeepsMemory) {
                self.shared.accumulator.pool().give_back(FIRST_CHUNK, None);
            }
            // The attempt on the wire is unanswered.
            let is_unknown = rules::holds(Rule::GivenUpIsUnknown);
            let failure = BatchFailure {
                outcome: if is_unknown { Outcome::Unknown } else { Outcome::NotWritten },
                reason,
                message: Some(message()),
                record_errors: Vec::new(),
                attempts,
            };
            let failure = Arc::new(failure);
            if let Some(keeping) = keeping {
                let age_ms = (now_us / 1000).saturating_sub(state.entry(at).created_ms);
                keeping.fails(&completion, &failure, age_ms, None); // SEND-2
            }
            if let Some(purged) = &mut self.purged {
                purged.gave_up(&completion, &failure);
            }
            if closes {
                self.given_up.push((completion, failure.clone()));
            }
            state.end(at, BatchResult::Failed(failure), None, now_us, &mut told);
        }
        given_up.into_iter().for_each(|id| self.stop_on_failure(&partition, id, reason));
        // IDM-12: marked whenever a request may have carried it.
        if rules::holds(Rule::UnresolvedMarked) {
            self.wants_new_epoch(&partition, Bump::IfUnresolved);
        }
        self.tell(&mut told);
    }

    /// Completes batches, callbacks included (CMPL-3).
    fn tell(&mut self, told: &mut Vec<Told>) {
        // What ended while the producer closed is in the report, or will be.
        let is_reported = self.undelivered.is_some();
        for Told { completion, mut result, mut batch, created_us, ended_us } in told.drain(..) {
            self.ended.push(book::Told {
                topic: completion.partition().topic_name().clone(),
                records: u64::from(completion.record_count()),
                failed: matches!(result, BatchResult::Failed(_)),
                created_us,
                ended_us,
            });
            if let (false, BatchResult::Failed(failure)) = (is_reported, &result) {
                let failure = failure.clone();
                match self.shared.accumulator.fail_before_close(&completion, batch.as_mut(), result) {
                    Ok(()) => continue,
                    Err(not_told) => result = not_told,
                }
                // FLU-6: a close has begun before anybody could see the outcome.
                self.collect_undelivered();
                match &batch {
                    Some(batch) => self.report_undelivered(batch, &failure),
                    None => self.given_up.push((completion.clone(), failure)),
                }
            }
            // Before it is told: who waits for the outcome finds the room.
            if let Some(batch) = &mut batch {
                batch.release_memory();
            }
            self.shared.accumulator.resolve(&completion, result);
        }
    }

    /// FLU-6: once a close has begun, what fails is collected.
    fn look_for_close(&mut self) {
        if self.undelivered.is_none() && self.shared.accumulator.before_close().is_some() {
            self.collect_undelivered();
        }
    }

    /// MTR-2: writes down the batches that have got their outcome since the last call; their callbacks have run meanwhile.
    pub(super) fn note_ended(&mut self) {
        if !self.ended.is_empty() {
            self.shared.book.told(&mut self.ended, self.shared.clock.last_us());
        }
    }

    /// IDM-15: an error that a bump repairs ends nothing.
    pub(super) fn wants_new_epoch(&mut self, partition: &Arc<Partition>, bump: Bump) {
        if self.idempotence.is_none() {
            return;
        }
        let state = self.state(partition);
        state.bump = state.bump.max(bump);
        self.bumping.insert(partition.key());
    }

    /// The producer is over: authorization, fencing, an unsupported version (IDM-15). Everything queued fails with the reason;
    /// what is on the wire still gets its true outcome.
    pub(super) fn fail(&mut self, code: ErrorCode, text: Arc<str>) {
        if self.fatal.is_some() {
            return;
        }
        error!("the producer cannot go on: {text}");
        self.fatal = Some((code, text.clone()));
        self.shared.lifecycle.fail(code, text);
        // BUF-6: whoever waits for room wakes with an error.
        self.shared.accumulator.set_closing();
        self.shared.metadata.wake_all();
        self.fail_queued();
    }

    /// Fails all that is queued, because the producer is closed by force or is over.
    pub(super) fn fail_queued(&mut self) {
        let mut batches = Vec::new();
        self.shared.accumulator.abort_all(&mut batches);
        for batch in batches {
            match self.fatal.clone() {
                Some((code, text)) => self.fail_batch(batch, Reason::Fatal(code), Some(text.to_string())),
                None => self.fail_batch(batch, Reason::Closed, Some("Producer is closed forcefully.".into())),
            }
        }
    }

    /// A batch's request has ended. Gives the batch on, with the place of its entry, if its outcome is still open.
    pub(super) fn take_back(&mut self, mut batch: Batch) -> Option<(usize, Batch)> {
        let given_up =
            |(completion, _): &(sync::Arc<Completion>, _)| sync::Arc::ptr_eq(completion, batch.completion());
        if let Some(at) = self.given_up.iter().position(given_up) {
            let (_, failure) = self.given_up.swap_remove(at);
            self.report_undelivered(&batch, &failure);
        }
        if let Some(keeping) = self.shared.accumulator.outlet().keeping() {
            keeping.take_from(&mut batch);
        }
        let state = self.state(&batch.partition().clone());
        debug_assert!(state.on_wire > 0, "a batch came back that was not on the wire");
        state.on_wire = state.on_wire.saturating_sub(1);
        state.take_back(batch)
    }

    /// SEND-2: the bytes are in its memory now, and nowhere else.
    fn keep_failed(&self, batch: &mut Batch, failure: &Arc<BatchFailure>) {
        let Some(keeping) = self.shared.accumulator.outlet().keeping() else { return };
        let age_ms = self.shared.clock.last_ms().saturating_sub(batch.created_ms());
        let completion = batch.completion().clone();
        keeping.fails(&completion, failure, age_ms, batch.take_remains());
    }

    /// SEND-2: copies what was given up on from the requests that carry it. A request that is gone brings its batch back.
    pub(super) fn look_into_requests(&self, links: &dyn Links) {
        if let Some(keeping) = self.shared.accumulator.outlet().keeping()
            && keeping.lacks_bytes()
        {
            links.look_into_requests(&mut |request| {
                if let Body::Produce(produce) = &request.body {
                    produce.batches().for_each(|batch| keeping.look_at(batch));
                }
            });
        }
    }

    /// FLU-6
    fn report_undelivered(&mut self, batch: &Batch, failure: &Arc<BatchFailure>) {
        if self.undelivered.is_none() || !rules::holds(Rule::UndeliveredListed) {
            return;
        }
        let records = self.undelivered_of(batch, failure);
        self.undelivered.get_or_insert_default().extend(records);
    }

    /// The records of a batch that failed; none if it has no bytes any more.
    pub(super) fn undelivered_of(&self, batch: &Batch, failure: &Arc<BatchFailure>) -> Vec<Undelivered> {
        Undelivered::of(batch, failure, self.record_bytes_max())
    }

    /// What a batch of ours may grow to when it is read.
    pub(super) fn record_bytes_max(&self) -> usize {
        self.shared.config.max_request_size.max(self.shared.config.batch_size_max())
    }

    pub(super) fn unreadable(&mut self, node: i32, error: &DecodeError, links: &mut dyn Links, now_ms: u64) {
        warn!("broker {node} sent an answer that cannot be read: {error}");
        self.trouble(node, format!("its answer cannot be read: {error}"));
        links.disconnect(node, now_ms);
    }
}

/// A topic's answers by partition. Brokers answer in the request's order, so the next one is nearly always the one that is asked for.
struct ByPartition<'a, 'b> {
    answers: &'a [&'a PartitionProduceResponse<'b>],
    next: usize,
    /// Made when they come in another order after all.
    index: Option<HashMap<i32, usize>>,
}

impl<'a, 'b> ByPartition<'a, 'b> {
    fn new(answers: &'a [&'a PartitionProduceResponse<'b>]) -> Self {
        ByPartition { answers, next: 0, index: None }
    }

    fn get(&mut self, partition: i32) -> Option<&'a PartitionProduceResponse<'b>> {
        if let Some(answer) = self.answers.get(self.next).filter(|answer| answer.index == partition) {
            self.next += 1;
            return Some(answer);
        }
        let answers = self.answers;
        let index = self.index.get_or_insert_with(|| {
            answers.iter().enumerate().map(|(at, answer)| (answer.index, at)).collect()
        });
        index.get(&partition).map(|at| answers[*at])
    }
}

fn is_sequence_error(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID)
}

fn unanswered(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::REQUEST_TIMED_OUT => "no answer within request.timeout.ms, and no retry is left",
        _ => "the connection ended before the answer, and no retry is left",
    }
}

/// What would help, where the code alone does not say it.
pub(super) fn advice(code: ErrorCode) -> Option<String> {
    match code {
        ErrorCode::MESSAGE_TOO_LARGE => Some(
            "the batch is larger than the topic's max.message.bytes allows: raise that, or lower batch.size (and \
             max.request.size, if a single record is that large)"
                .into(),
        ),
        ErrorCode::RECORD_LIST_TOO_LARGE => {
            Some("the batch is larger than a log segment of the topic may be: lower batch.size".into())
        }
        _ => None,
    }
}
