//! Batches whose time is over (ACC-24), and the words about those that take long (RTY-3). See [`super::core`]; what the words
//! are is [`super::slow`]'s to say.

use rohrpost_protocol::ErrorCode;
use tracing::{debug, warn};

use super::core::{Links, SenderCore};
use super::partition::{Entry, PartitionState, Place};
use super::slow::{self, Around, Times, Trip, Verdict};
use crate::accumulator::Batch;
use crate::config::TopicConfig;
use crate::delivery::Completion;
use crate::outcome::Reason;
use crate::rules::{self, Rule};
use crate::sync;

impl SenderCore {
    /// ACC-24: batches that have reached `delivery.timeout.ms`, in flight and queued.
    pub(super) fn expire(&mut self, links: &mut dyn Links, now_ms: u64) {
        if self.next_scan_ms.is_some_and(|at| at <= now_ms) && rules::holds(Rule::ExpiryInFlight) {
            for key in 0..self.partitions.len() {
                self.expire_on_wire(key, links, now_ms);
            }
            // CFG-17: each topic has its own time
            let first = |state: &PartitionState| {
                let timeout_ms = state.partition.as_ref()?.settings().delivery_timeout_ms;
                state.entries().map(|entry| entry.created_ms.saturating_add(timeout_ms)).min()
            };
            // What is back in its queue is found there.
            self.next_scan_ms = self.partitions.iter().filter_map(first).min().map(|at| at.max(now_ms + 1));
        }
        let mut expired = Vec::new();
        self.shared.accumulator.expire(now_ms, &mut expired);
        // Before the first of them ends: what holds the others is still there.
        let stories: Vec<_> =
            expired.iter().map(|batch| self.verdict_in_queue(batch, links, now_ms)).collect();
        for (batch, (node, verdict)) in expired.into_iter().zip(stories) {
            let partition = batch.partition();
            let text = format!(
                "Expiring {} record(s) for {}-{}: {} ms has passed since batch creation",
                batch.record_count(),
                partition.topic_name(),
                partition.index(),
                now_ms.saturating_sub(batch.created_ms()),
            );
            let partition = partition.clone();
            let state = self.state(&partition);
            let last_error = state.find(batch.completion()).and_then(|at| state.entry(at).last_error);
            let text = match (last_error, self.shared.trouble()) {
                (Some(code), _) => format!("{text}; its last attempt ended with {code}"),
                (None, Some(trouble)) => format!("{text}; {trouble}"),
                (None, None) => text,
            };
            let text = with_verdict(text, verdict);
            self.log_expiry(node, &text, now_ms);
            self.fail_batch(batch, Reason::Expired, Some(text));
        }
    }

    /// Their requests go on (ACC-25).
    fn expire_on_wire(&mut self, key: usize, links: &dyn Links, now_ms: u64) {
        let Some(partition) = &self.partitions[key].partition else { return };
        let TopicConfig { delivery_timeout_ms: timeout_ms, linger_ms, .. } = *partition.settings();
        let too_old = |entry: &Entry| now_ms.saturating_sub(entry.created_ms) >= timeout_ms;
        let on_wire = |entry: &&Entry| matches!(entry.place, Place::OnWire) && too_old(entry);
        let Some(oldest) = self.partitions[key].unsettled().find(on_wire) else { return };
        // One story for all of them: they are of one partition, and the oldest has most of it.
        let trip = Trip {
            node: oldest.node,
            sent_ms: oldest.since_ms,
            // With nothing of its connection written, not even the oldest request is.
            written_ms: (links.unwritten(oldest.node) < links.in_flight(oldest.node).max(1))
                .then_some(oldest.since_ms),
            round_trip_ms: links.round_trip_ms(oldest.node),
            ..Trip::default()
        };
        let (mut times, last_error) = (oldest.times, oldest.last_error);
        times.left_request(&trip, self.last_answer_ms(trip.node), now_ms);
        let around = Around { last_error, linger_ms, ..self.around(&trip, now_ms) };
        let text = format!(
            "delivery.timeout.ms ({timeout_ms} ms) has passed since batch creation, and the request that carries the batch is not \
             answered"
        );
        let text = with_verdict(text, slow::verdict(&times, &around));
        if let Some(partition) = &self.partitions[key].partition {
            let line =
                format!("Expiring records for {}-{}: {text}", partition.topic_name(), partition.index());
            self.log_expiry(Some(trip.node), &line, now_ms);
        }
        self.give_up_on_wire(key, |entry| too_old(entry), Reason::Expired, || text.clone());
    }

    /// A batch's request has ended with an error or without an answer: the entry learns where the time went.
    pub(super) fn note_trip(&mut self, batch: &Batch, trip: &Trip, now_ms: u64) {
        let last_answer_ms = self.last_answer_ms(trip.node);
        let state = self.state(&batch.partition().clone());
        if let Some(at) = state.find(batch.completion()) {
            let entry = state.entry(at);
            entry.times.left_request(trip, last_answer_ms, now_ms);
            entry.since_ms = now_ms;
        }
    }

    /// RTY-3: what took so long, if it is time that the batch ran out of.
    pub(super) fn slow_verdict(&mut self, batch: &Batch, code: ErrorCode, trip: &Trip) -> Option<Verdict> {
        if !matches!(code, ErrorCode::NETWORK_EXCEPTION | ErrorCode::REQUEST_TIMED_OUT) {
            return None;
        }
        let (times, last_error) = self.times_of(batch.completion(), batch)?;
        let linger_ms = batch.partition().settings().linger_ms;
        let around = Around { last_error, linger_ms, ..self.around(trip, trip.sent_ms) };
        slow::verdict(&times, &around)
    }

    /// RTY-3: Kafka's line, and what took so long; once in a while per broker.
    pub(super) fn log_retry(
        &mut self,
        batch: &Batch,
        code: ErrorCode,
        message: Option<&str>,
        trip: &Trip,
        now_ms: u64,
    ) {
        let Some(held_back) = self.ways.entry(trip.node).or_default().lines.take(now_ms) else {
            let (partition, attempts) = (batch.partition(), batch.attempts());
            debug!("{}-{}: {code}, attempt {attempts}", partition.topic_name(), partition.index());
            return;
        };
        let left = self.shared.config.retries.saturating_sub(batch.attempts()).saturating_sub(1);
        let partition = batch.partition();
        let line = format!(
            "Got error produce response with correlation id {} on topic-partition {}-{}, retrying ({left} attempts left). Error: \
             {code}. Error Message: {}",
            trip.correlation_id,
            partition.topic_name(),
            partition.index(),
            message.unwrap_or(code.message()),
        );
        let line = with_verdict(line, self.slow_verdict(batch, code, trip));
        warn!("{}", with_held_back(line, trip.node, held_back));
    }

    fn log_expiry(&mut self, node: Option<i32>, text: &str, now_ms: u64) {
        // Without a leader there is no broker to tell it of; -1 is the first bootstrap server, gone by then.
        let node = node.unwrap_or(-1);
        match self.ways.entry(node).or_default().lines.take(now_ms) {
            Some(held_back) => warn!("{}", with_held_back(text.to_owned(), node, held_back)),
            None => debug!("{text}"),
        }
    }

    /// Of a batch that came out of its queue without being sent: the broker that leads its partition, and what took so long.
    fn verdict_in_queue(
        &mut self,
        batch: &Batch,
        links: &dyn Links,
        now_ms: u64,
    ) -> (Option<i32>, Option<Verdict>) {
        let partition = batch.partition().clone();
        let (mut times, last_error) = self.times_of(batch.completion(), batch).unwrap_or_default();
        let state = self.state(&partition);
        let known = state.find(batch.completion());
        let (since_ms, is_first) = match known {
            Some(at) => (state.entry(at).since_ms, state.entry(at).attempts == 0),
            None => (batch.created_ms(), true),
        };
        times.left_queue(now_ms.saturating_sub(since_ms), is_first);
        let older =
            state.lowest().filter(|lowest| !sync::Arc::ptr_eq(&lowest.completion, batch.completion()));
        let held_by = older.and_then(|older| older.last_error);
        let node = self.metadata.snapshot().partition(partition.topic_name(), partition.index());
        let node = node.and_then(|known| known.leader);
        let trip = Trip { node: node.unwrap_or(-1), ..Trip::default() };
        let max_in_flight = self.shared.config.max_in_flight;
        let around = Around {
            node,
            is_connected: node.is_some_and(|node| links.is_connected(node)),
            lacks_id: self.idempotence.as_ref().is_some_and(|ids| ids.current().is_none()),
            is_full: node.is_some_and(|node| links.in_flight(node) >= max_in_flight),
            held_by,
            last_error,
            linger_ms: partition.settings().linger_ms,
            ..self.around(&trip, now_ms)
        };
        (node, slow::verdict(&times, &around))
    }

    /// What is known of the broker that a request went to, at that time.
    fn around(&self, trip: &Trip, at_ms: u64) -> Around {
        let way = self.ways.get(&trip.node).copied().unwrap_or_default();
        let config = &self.shared.config;
        Around {
            node: Some(trip.node),
            is_connected: true,
            throttle_ms: if way.throttled_until_ms >= at_ms { way.throttle_ms } else { 0 },
            is_full: trip.ahead + 1 >= config.max_in_flight,
            produce_ms: way.produce_ms,
            max_in_flight: config.max_in_flight,
            ..Around::default()
        }
    }

    fn times_of(
        &mut self,
        completion: &sync::Arc<Completion>,
        batch: &Batch,
    ) -> Option<(Times, Option<ErrorCode>)> {
        let state = self.state(&batch.partition().clone());
        let at = state.find(completion)?;
        let entry = state.entry(at);
        Some((entry.times, entry.last_error))
    }

    fn last_answer_ms(&self, node: i32) -> u64 {
        self.ways.get(&node).map_or(0, |way| way.last_answer_ms)
    }
}

fn with_verdict(text: String, verdict: Option<Verdict>) -> String {
    match verdict {
        // a broker's message is a sentence
        Some(verdict) => format!("{}; {verdict}", text.trim_end_matches('.')),
        None => text,
    }
}

fn with_held_back(line: String, node: i32, held_back: u64) -> String {
    match held_back {
        0 => line,
        n if node < 0 => format!("{line} ({n} such lines were held back before)"),
        n => format!("{line} ({n} such lines about broker {node} were held back before)"),
    }
}
