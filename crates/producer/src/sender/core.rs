//! The sender as a state machine: what to ask and send now, and what each answer means.
//!
//! A driver calls [`SenderCore::pass`] whenever something may be due, and the `handle_*` methods with what came from the
//! network. Connections are reached through [`Links`], time is an argument, jitter comes from a seeded generator: the same
//! calls give the same behaviour, in a simulator as on sockets.
//!
//! One pass: topics asked for → batches too old → metadata → producer id → epochs → drain and send. Nothing in it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rohrpost_net::Backoff;
use rohrpost_protocol::messages::{InitProducerIdResponse, MetadataResponse, ProduceResponse};
use rohrpost_protocol::{ApiKey, Decoder, ErrorCode, Message, VersionRange};
use rohrpost_record::{Codec, HEADER_LEN};
use tracing::debug;

use super::cluster::Asked;
use super::idempotence::Idempotence;
#[cfg(test)]
use super::idempotence::Identity;
use super::partition::{PartitionState, Place, Policy, Told};
use super::purged::Purged;
use super::request::{Body, Produce, ProduceTopic, Request};
use super::slow::{Trip, Way};
use super::stops::Halts;
use crate::accumulator::{Batch, Gate, HeadInfo, Partition, Ready};
use crate::delivery::Completion;
use crate::metadata::{MetadataCore, Question, Snapshot};
use crate::metrics::book::{self, Draft, Sent};
use crate::outcome::{BatchFailure, BatchResult, Reason};
use crate::producer::{PurgeReport, Shared, Undelivered};
use crate::rules::{self, Rule};
use crate::sync;

/// Connections to brokers, as far as the core knows them.
pub(crate) trait Links {
    /// SND-1: a request can be handed over now. SND-2: begins to connect if it is time to.
    fn ready(&mut self, node: i32, now_ms: u64) -> bool;
    /// The connection stands, though it may be busy.
    fn is_connected(&self, node: i32) -> bool;
    /// There is no connection, and it is too early to try again.
    fn is_backing_off(&self, node: i32) -> bool;
    /// VER-1: the version to use with this broker; `None` if there is none in common.
    fn negotiate(&self, node: i32, api: ApiKey, ours: VersionRange) -> Option<i16>;
    /// MET-10
    fn least_loaded(&mut self, now_ms: u64) -> Option<i32>;
    /// Unanswered requests.
    fn in_flight(&self, node: i32) -> usize;
    /// Of those, the ones of which the socket does not have all yet.
    fn unwritten(&self, node: i32) -> usize;
    /// What a small request took there and back when the connection was made, if that is known.
    fn round_trip_ms(&self, node: i32) -> Option<u64>;
    /// Takes a request that is to be written. Gives it back if it cannot; nothing of it was written then.
    fn send(&mut self, node: i32, request: Request, now_ms: u64) -> Result<(), Request>;
    /// Says where a broker listens.
    fn set_node(&mut self, node: i32, host: &str, port: u16);
    /// The broker is gone; its requests come back.
    fn remove_node(&mut self, node: i32);
    /// Ends the connection; its requests come back.
    fn disconnect(&mut self, node: i32, now_ms: u64);
    /// SND-7: no new requests until then.
    fn throttle(&mut self, node: i32, until_ms: u64, now_ms: u64);
    /// Shows every unanswered request, as far as that can be done. They stay what they are (ACC-25).
    fn look_into_requests(&self, look: &mut dyn FnMut(&Request));
}

/// The first version of Produce in which brokers take zstd.
const PRODUCE_WITH_ZSTD: i16 = 7;

/// What a pass leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Something was handed to the network: look again at once (SND-3).
    pub(crate) sent: bool,
    /// When the next pass may have something to do, if nothing happens before. Later than now.
    pub(crate) next_ms: Option<u64>,
}

/// Counts that the metrics show. Written by the sender alone.
#[derive(Debug, Default)]
pub(crate) struct SenderStats {
    pub(crate) requests_in_flight: AtomicU64,
    pub(crate) produce_requests: AtomicU64,
    pub(crate) batches_sent: AtomicU64,
    pub(crate) records_retried: AtomicU64,
    pub(crate) batches_retried: AtomicU64,
    pub(crate) batches_split: AtomicU64,
    pub(crate) epoch_bumps: AtomicU64,
    pub(crate) topics_recreated: AtomicU64,
    pub(crate) connections: AtomicU64,
    /// A producer id is there, or none is needed (CON-8).
    pub(crate) has_identity: AtomicBool,
    /// Why there is no producer id yet, in words.
    pub(crate) identity_trouble: Mutex<Option<Arc<str>>>,
}

/// The state machine. Owned by the sender thread, or by a simulator.
pub(crate) struct SenderCore {
    pub(super) shared: Arc<Shared>,
    pub(super) metadata: MetadataCore,
    /// `None`: idempotence is off.
    pub(super) idempotence: Option<Idempotence>,
    /// By [`Partition::key`].
    pub(super) partitions: Vec<PartitionState>,
    pub(super) random: fastrand::Rng,
    /// Brokers that the links know of. Bootstrap servers are -1, -2, … (MET-1).
    pub(super) nodes: BTreeSet<i32>,
    /// The last error of each server since one last answered, for the text of a metadata timeout.
    pub(super) troubles: BTreeMap<i32, String>,
    pub(super) fatal: Option<(ErrorCode, Arc<str>)>,
    /// Partitions with a bump pending, by key.
    pub(super) bumping: BTreeSet<u32>,
    /// The earliest moment at which a batch that was sent can reach its delivery timeout (ACC-24).
    pub(super) next_scan_ms: Option<u64>,
    /// Reasons to have connections before any record asks for them: calls of `connect` with their topics (CON-8).
    warm_ups: Vec<(u64, Vec<Arc<str>>)>,
    /// Set while the producer closes: records that were not delivered are collected (FLU-6).
    pub(super) undelivered: Option<Vec<Undelivered>>,
    /// Failed while the producer closes, and still in requests: they join `undelivered` when these end (FLU-6, ACC-25).
    pub(super) given_up: Vec<(sync::Arc<Completion>, Arc<BatchFailure>)>,
    /// While a purge is done: what it has dropped so far (FLU-4).
    pub(super) purged: Option<Purged>,
    /// `close` ran out of time: what comes back is not sent again.
    pub(super) forced: bool,
    drained: Vec<Batch>,
    /// When the first of the batches that this pass put back may be sent.
    put_back_until_ms: Option<u64>,
    /// What the sender knows of the way to each broker.
    pub(super) ways: BTreeMap<i32, Way>,
    pub(super) halts: Halts,
    /// Empty between uses; only its memory is kept.
    pub(super) told: Vec<Told>,
    /// The same, of what the metrics say of a request.
    draft: Draft,
    /// Batches that have got their outcome in this turn (MTR-2).
    pub(super) ended: Vec<book::Told>,
    /// The moment of the event that is being handled, for what is measured: application threads move the clock on meanwhile.
    pub(super) now_us: u64,
    /// A broker named a new leader since the last pass (ERR-2).
    pub(super) hinted: bool,
    /// Brokers that are gone still have to answer.
    pub(super) has_gone: bool,
    /// When to look for brokers that owe an answer.
    pub(super) next_look_ms: Option<u64>,
    /// Those that did, when it was looked last.
    pub(super) silent: BTreeSet<i32>,
    /// Brokers that have a question of ours and have answered none since, with its time; and the one that was asked last.
    pub(super) questions: BTreeMap<i32, u64>,
    pub(super) asked: Option<i32>,
    /// Brokers that have batches to get and no connection yet, with the time since when.
    pub(super) unready: BTreeMap<i32, u64>,
}

impl SenderCore {
    pub(crate) fn new(shared: Arc<Shared>, seed: u64) -> SenderCore {
        let config = &shared.config;
        let backoff = Backoff::new(config.retry_backoff_ms, config.retry_backoff_max_ms);
        let metadata = MetadataCore::new(config);
        let idempotence = config.enable_idempotence.then(|| Idempotence::new(backoff));
        shared.stats.has_identity.store(idempotence.is_none(), Ordering::Release);
        SenderCore {
            metadata,
            idempotence,
            partitions: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            nodes: BTreeSet::new(),
            troubles: BTreeMap::new(),
            fatal: None,
            bumping: BTreeSet::new(),
            next_scan_ms: None,
            warm_ups: Vec::new(),
            undelivered: None,
            purged: None,
            given_up: Vec::new(),
            forced: false,
            drained: Vec::new(),
            put_back_until_ms: None,
            ways: BTreeMap::new(),
            halts: Halts::default(),
            told: Vec::new(),
            draft: Draft::default(),
            ended: Vec::new(),
            now_us: 0,
            hinted: false,
            has_gone: false,
            next_look_ms: None,
            silent: BTreeSet::new(),
            questions: BTreeMap::new(),
            asked: None,
            unready: BTreeMap::new(),
            shared,
        }
    }

    /// MET-1: what there is to begin with.
    pub(crate) fn start(&mut self, links: &mut dyn Links) {
        let shared = self.shared.clone();
        for (index, server) in shared.config.bootstrap_servers.iter().enumerate() {
            let node = -1 - index as i32;
            links.set_node(node, &server.host, server.port);
            self.nodes.insert(node);
        }
    }

    /// Does what is due.
    pub(crate) fn pass(&mut self, links: &mut dyn Links, now_ms: u64) -> Pass {
        self.look_at_clock();
        for topic in self.shared.metadata.take_wanted() {
            self.metadata.want(&topic, now_ms);
        }
        if self.shared.metadata.take_refresh_wanted() {
            self.metadata.request_refresh();
        }
        self.expire(links, now_ms);
        self.look_for_silent(now_ms);
        let was_hinted = std::mem::take(&mut self.hinted);
        if was_hinted || self.has_gone {
            self.set_nodes(links);
        }
        if self.metadata.forget_refusals(now_ms) || was_hinted {
            self.publish();
        }
        let mut sent = false;
        let mut blocked = false;
        let asks = self.ask_for_metadata(links, now_ms, &mut sent);
        blocked |= matches!(asks, Asked::Blocked | Asked::WaitsForSlot);
        if self.fatal.is_some() {
            self.fail_queued();
            return Pass { sent, next_ms: self.next_ms(now_ms, None, blocked) };
        }
        self.carry_out_stops();
        blocked |= self.ask_for_identity(links, now_ms, &mut sent) == Asked::Blocked;
        self.leave_epochs();
        self.connect_warm(links, now_ms);
        // MET-3: while a refresh waits for a slot on a connection that stands, nothing else takes the slot.
        let next_check_ms =
            if asks == Asked::WaitsForSlot { None } else { self.send_batches(links, now_ms, &mut sent) };
        Pass { sent, next_ms: self.next_ms(now_ms, next_check_ms, blocked) }
    }

    /// A broker answered.
    pub(crate) fn handle_response(
        &mut self,
        node: i32,
        request: Request,
        body: &[u8],
        links: &mut dyn Links,
        now_ms: u64,
    ) {
        self.look_at_clock();
        let Request { version, body: request } = request;
        let mut input = Decoder::new(body);
        let result = match request {
            Body::Produce(produce) => match ProduceResponse::decode(&mut input, version) {
                Ok(answer) => {
                    self.throttle(links, node, answer.throttle_time_ms, version >= 6, now_ms);
                    self.handle_produce(produce, version, &answer, now_ms);
                    Ok(())
                }
                Err(error) => {
                    self.handle_unanswered(
                        Request { version, body: Body::Produce(produce) },
                        ErrorCode::NETWORK_EXCEPTION,
                        now_ms,
                    );
                    Err(error)
                }
            },
            Body::Metadata(question) => match MetadataResponse::decode(&mut input, version) {
                Ok(answer) => {
                    self.questions.remove(&node);
                    self.throttle(links, node, answer.throttle_time_ms, version >= 6, now_ms);
                    self.handle_metadata(&question, &answer, version, links, now_ms);
                    Ok(())
                }
                Err(error) => {
                    self.metadata_failed(&question, now_ms);
                    Err(error)
                }
            },
            Body::InitProducerId => match InitProducerIdResponse::decode(&mut input, version) {
                Ok(answer) => {
                    self.throttle(links, node, answer.throttle_time_ms, version >= 1, now_ms);
                    self.handle_identity(&answer, now_ms);
                    Ok(())
                }
                Err(error) => {
                    self.identity_failed(now_ms);
                    Err(error)
                }
            },
        };
        if let Err(error) = result {
            self.unreadable(node, &error, links, now_ms);
        }
        self.ways.entry(node).or_default().last_answer_ms = now_ms;
        self.silent.remove(&node);
    }

    /// acks=0: a request is written to the socket, and that is all there will be (SND-8).
    pub(crate) fn handle_written(&mut self, request: Request) {
        let Body::Produce(produce) = request.body else { return };
        self.look_at_clock();
        self.request_ended();
        for batch in produce.topics.into_iter().flat_map(|t| t.batches) {
            if let Some((_, batch)) = self.take_back(batch) {
                self.end_batch(batch, BatchResult::HandedOver);
            }
        }
    }

    /// A connection ended, or could not be made. `requests` come back unanswered; `timed_out` says that one of them was the
    /// reason (SND-4). `trouble` is for people.
    pub(crate) fn handle_disconnect(
        &mut self,
        node: i32,
        mut requests: Vec<Request>,
        timed_out: bool,
        trouble: Option<String>,
        now_ms: u64,
    ) {
        self.look_at_clock();
        // SND-4
        if !rules::holds(Rule::AllRequestsEnd) {
            requests.truncate(1);
        }
        self.questions.remove(&node);
        let code = if timed_out { ErrorCode::REQUEST_TIMED_OUT } else { ErrorCode::NETWORK_EXCEPTION };
        for request in requests {
            self.handle_unanswered(request, code, now_ms);
        }
        let Some(trouble) = trouble else { return };
        // MET-3
        self.metadata.request_refresh();
        self.troubles.insert(node, trouble);
        self.tell_trouble();
    }

    /// CON-8: connections to the leaders of these topics, and the producer id, before there are records.
    pub(crate) fn warm_up(&mut self, number: u64, topics: Vec<Arc<str>>, now_ms: u64) {
        if self.metadata.snapshot().brokers.is_empty() {
            self.metadata.request_refresh();
        }
        for topic in &topics {
            self.metadata.want(topic, now_ms);
        }
        self.warm_ups.push((number, topics));
    }

    /// From now on what fails is collected for the report of `close`.
    pub(crate) fn collect_undelivered(&mut self) {
        if self.undelivered.is_some() {
            return;
        }
        let mut undelivered = Vec::new();
        // What ended before, and is told only now because of its order (CMPL-3), counts as well. Its records are handed back by the
        // request that has them (ACC-25), or lie here.
        for entry in self.partitions.iter().flat_map(PartitionState::entries) {
            match &entry.place {
                Place::Ended(BatchResult::Failed(failure), None) => {
                    self.given_up.push((entry.completion.clone(), failure.clone()));
                }
                Place::Ended(BatchResult::Failed(failure), Some(batch)) => {
                    undelivered.extend(self.undelivered_of(batch, failure));
                }
                _ => {}
            }
        }
        self.undelivered = Some(undelivered);
    }

    /// Requests still own records that were given up on while the producer closes: their copies for the report come with them.
    pub(crate) fn awaits_given_up(&self) -> bool {
        !self.given_up.is_empty()
    }

    pub(crate) fn take_undelivered(&mut self) -> Vec<Undelivered> {
        self.undelivered.take().unwrap_or_default()
    }

    /// FLU-6: fails everything that is queued, and whatever comes back from now on. The driver ends the connections.
    pub(crate) fn force_close(&mut self) {
        self.forced = true;
        self.look_at_clock();
        self.fail_queued();
    }

    /// Ends all connections; their requests come back.
    pub(crate) fn disconnect_all(&mut self, links: &mut dyn Links, now_ms: u64) {
        for node in &self.nodes {
            links.disconnect(*node, now_ms);
        }
    }

    /// How many connections stand.
    pub(crate) fn connections(&self, links: &mut dyn Links) -> u64 {
        self.nodes.iter().filter(|node| links.is_connected(**node)).count() as u64
    }

    /// FLU-4: drops queued batches and, if asked, gives up on those in flight; their memory stays with their requests
    /// (ACC-25). `hands_back`: somebody wants the records.
    pub(crate) fn purge(
        &mut self,
        queued: bool,
        in_flight: bool,
        hands_back: bool,
        links: &dyn Links,
    ) -> PurgeReport {
        self.look_at_clock();
        self.purged = Some(Purged::new(hands_back.then(|| self.record_bytes_max())));
        if queued {
            let mut batches = Vec::new();
            self.shared.accumulator.abort_all(&mut batches);
            for batch in batches {
                self.fail_batch(batch, Reason::Purged, Some("dropped by purge".into()));
            }
        }
        if in_flight {
            for key in 0..self.partitions.len() {
                self.give_up_on_wire(
                    key,
                    |_| true,
                    Reason::Purged,
                    || "dropped by purge while its request was in flight".into(),
                );
            }
        }
        self.purged.take().map(|purged| purged.finish(links)).unwrap_or_default()
    }

    // ---------------------------------------------------------------------------------------------- sending

    fn policy(&self) -> Policy {
        Policy {
            idempotent: self.idempotence.is_some(),
            max_in_flight: self.shared.config.max_in_flight,
            identity: self.idempotence.as_ref().and_then(Idempotence::current),
        }
    }

    /// Ready → drain → stamp → send, one request per broker. Gives the time of the next look.
    fn send_batches(&mut self, links: &mut dyn Links, now_ms: u64, sent: &mut bool) -> Option<u64> {
        let snapshot = self.metadata.snapshot().clone();
        let policy = self.policy();
        let shared = self.shared.clone();
        let gate = GateView { partitions: &self.partitions, held: &self.halts.held, policy };
        let Ready { nodes, next_check_ms, leaderless } = shared.accumulator.ready(now_ms, &snapshot, &gate);
        // ACC-14
        for topic in leaderless {
            self.metadata.want(&topic, now_ms);
            if rules::holds(Rule::LeaderlessAsks) {
                self.metadata.request_refresh();
            }
        }
        self.unready.retain(|node, _| nodes.contains(node));
        for node in nodes {
            if !links.ready(node, now_ms) {
                if !links.is_connected(node) {
                    self.unready.entry(node).or_insert(now_ms); // RTY-4
                    self.look_later(now_ms);
                }
                continue;
            }
            self.unready.remove(&node);
            let mut drained = std::mem::take(&mut self.drained);
            let gate = GateView { partitions: &self.partitions, held: &self.halts.held, policy };
            shared.accumulator.drain(
                now_ms,
                &snapshot,
                node,
                shared.config.max_request_size,
                &gate,
                &mut drained,
            );
            if !drained.is_empty() {
                *sent |= self.send_to(links, node, &mut drained, &snapshot, now_ms);
            }
            drained.clear();
            self.drained = drained;
        }
        // SND-10: what was put back just now was not there when the accumulator was asked.
        [next_check_ms, self.put_back_until_ms.take()].into_iter().flatten().min()
    }

    fn send_to(
        &mut self,
        links: &mut dyn Links,
        node: i32,
        drained: &mut Vec<Batch>,
        snapshot: &Snapshot,
        now_ms: u64,
    ) -> bool {
        // Batches of one topic mostly stand together: it is looked up once for all of them.
        let of_same_topic =
            |a: &Batch, b: &Batch| Arc::ptr_eq(a.partition().topic_name(), b.partition().topic_name());
        let has_ids = drained.chunk_by(of_same_topic).all(|some| {
            snapshot.topics.get(some[0].partition().topic_name()).is_some_and(|t| !t.id.is_zero())
        });
        // VER-4
        let ours = VersionRange::new(3, if has_ids { 13 } else { 12 });
        let Some(version) = links.negotiate(node, ApiKey::Produce, ours) else {
            self.refuse_version(node, drained);
            return true;
        };
        let has_zstd = |batch: &Batch| batch.partition().settings().compression.codec() == Codec::Zstd;
        if version < PRODUCE_WITH_ZSTD && drained.iter().any(has_zstd) {
            self.refuse_zstd(node, version, drained);
            return true;
        }
        let mut topics: Vec<ProduceTopic> = Vec::new();
        let count = drained.len();
        let now_us = self.shared.clock.last_us();
        for batch in drained.drain(..) {
            let Some(mut batch) = self.split_ahead(batch, now_ms) else { continue };
            let Some(is_first) = self.prepare(&mut batch, node, snapshot, now_ms) else {
                // IDM-16
                let text =
                    "an attempt got no answer, and the partition has gone on in a new producer epoch since";
                self.fail_batch(
                    batch,
                    Reason::Broker(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
                    Some(text.into()),
                );
                continue;
            };
            let name = batch.partition().topic_name();
            let same = |topic: &ProduceTopic| Arc::ptr_eq(&topic.name, name) || topic.name == *name;
            let at = topics.len().checked_sub(1).filter(|last| same(&topics[*last]));
            let at = at.or_else(|| topics.iter().position(same)).unwrap_or_else(|| {
                // MET-2
                self.metadata.want(name, now_ms);
                let id = snapshot.topics.get(name).map(|t| t.id).unwrap_or_default();
                // All that are left may be its own.
                let batches = Vec::with_capacity(if topics.is_empty() { count } else { 1 });
                topics.push(ProduceTopic { name: name.clone(), id, batches });
                topics.len() - 1
            });
            self.draft.add(at, &topics[at].name, sent(&batch, is_first, now_us));
            topics[at].batches.push(batch);
        }
        if topics.is_empty() {
            return true;
        }
        self.note_produce_version(version);
        let config = &self.shared.config;
        let batches: usize = topics.iter().map(|t| t.batches.len()).sum();
        // SND-5
        let timeout_ms = config.request_timeout_ms.min(i32::MAX as u64) as i32;
        let trip = Trip {
            node,
            sent_ms: now_ms,
            sent_us: now_us,
            ahead: links.in_flight(node),
            round_trip_ms: links.round_trip_ms(node),
            ..Trip::default()
        };
        let produce = Produce { acks: config.acks.id(), timeout_ms, trip: Box::new(trip), topics };
        match links.send(node, Request { version, body: Body::Produce(produce) }, now_ms) {
            Ok(()) => {
                let stats = &self.shared.stats;
                stats.requests_in_flight.fetch_add(1, Ordering::Relaxed);
                stats.produce_requests.fetch_add(1, Ordering::Relaxed);
                stats.batches_sent.fetch_add(batches as u64, Ordering::Relaxed);
                self.shared.book.sent(&mut self.draft, now_us);
                true
            }
            Err(refused) => {
                self.draft.clear();
                if let Body::Produce(produce) = refused.body {
                    self.put_back(produce, now_ms);
                }
                false
            }
        }
    }

    /// ACC-18: pid, epoch and sequence. Says whether it goes out for the first time; `None`: it may not go any more.
    fn prepare(&mut self, batch: &mut Batch, node: i32, snapshot: &Snapshot, now_ms: u64) -> Option<bool> {
        let identity = self.idempotence.as_ref().and_then(Idempotence::current);
        let expiry_ms = batch.expiry_ms();
        self.next_scan_ms = Some(self.next_scan_ms.map_or(expiry_ms, |at| at.min(expiry_ms)));
        let partition = batch.partition().clone();
        let state = self.state(&partition);
        if state.topic_id.is_zero() {
            state.topic_id = snapshot.topics.get(partition.topic_name()).map(|t| t.id).unwrap_or_default();
        }
        let stamp = match identity {
            Some(identity) => state.stamp(batch, identity),
            None => Some(rohrpost_record::Stamp::NONE),
        };
        // IDM-0
        batch.set_stamp(stamp?);
        Some(state.register(batch, node, now_ms))
    }

    /// The connection went away between `ready` and `send`: nothing was written, and it was no attempt (RTY-2).
    fn put_back(&mut self, produce: Produce, now_ms: u64) {
        for batch in produce.topics.into_iter().flat_map(|t| t.batches) {
            let Some((at, batch)) = self.take_back(batch) else { continue };
            self.state(&batch.partition().clone()).entry(at).attempts -= 1;
            let not_before_ms = self.queue_again(&batch, now_ms);
            self.put_back_until_ms =
                Some(self.put_back_until_ms.map_or(not_before_ms, |at| at.min(not_before_ms)));
            self.shared.accumulator.put_back(batch, now_ms, not_before_ms);
        }
    }

    /// ERR-4: the broker has no version of Produce that this client has.
    fn refuse_version(&mut self, node: i32, drained: &mut Vec<Batch>) {
        let text = format!("broker {node} has no Produce version from 3 to 13");
        for batch in drained.drain(..) {
            self.fail_batch(batch, Reason::Broker(ErrorCode::UNSUPPORTED_VERSION), Some(text.clone()));
        }
        if self.idempotence.is_some() {
            self.fail(ErrorCode::UNSUPPORTED_VERSION, text.into());
        }
    }

    /// ERR-6: the broker would refuse it, batch by batch. The producer goes on: other brokers of the cluster may be newer.
    fn refuse_zstd(&mut self, node: i32, version: i16, drained: &mut Vec<Batch>) {
        let text = format!(
            "broker {node} has Produce up to version {version}, and compression.type=zstd needs 7 (Kafka 2.1): choose another codec"
        );
        for batch in drained.drain(..) {
            let reason = Reason::Broker(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
            self.fail_batch(batch, reason, Some(text.clone()));
        }
    }

    /// CON-8
    fn connect_warm(&mut self, links: &mut dyn Links, now_ms: u64) {
        if self.warm_ups.is_empty() {
            return;
        }
        let snapshot = self.metadata.snapshot().clone();
        let commands = &self.shared.commands;
        let mut any_done = false;
        self.warm_ups.retain(|(number, topics)| {
            // One whose caller gave up must not hold up anybody, nor keep connections alive for a topic that nobody uses.
            if !commands.is_warm_up_open(*number) {
                return false;
            }
            let known: Vec<_> = topics.iter().filter_map(|topic| snapshot.topics.get(topic)).collect();
            let leaders: BTreeSet<i32> =
                known.iter().flat_map(|topic| &topic.partitions).filter_map(|p| p.leader).collect();
            // Each is asked, so that all connect at once. A connection that is busy stands.
            let mut connects = |leader: i32| links.ready(leader, now_ms) || links.is_connected(leader);
            let all_connected = leaders.into_iter().map(&mut connects).fold(true, |all, ready| all & ready);
            let is_done = all_connected && known.len() == topics.len();
            if is_done {
                commands.end_warm_up(*number);
                any_done = true;
            }
            !is_done
        });
        if any_done {
            self.shared.metadata.wake_all();
        }
    }
}

impl SenderCore {
    // ---------------------------------------------------------------------------------------------- time

    /// SND-3, ACC-17: the next moment with something to do; never now, or the loop would spin.
    fn next_ms(&self, now_ms: u64, next_check_ms: Option<u64>, blocked: bool) -> Option<u64> {
        let config = &self.shared.config;
        // The network wakes the loop when a connection changes; this is for what it cannot see.
        let again =
            blocked.then(|| now_ms + config.reconnect_backoff_ms.min(config.retry_backoff_ms).max(10));
        let metadata = self.metadata.next_ms(now_ms).filter(|_| !blocked);
        let identity = self.idempotence.as_ref().and_then(Idempotence::next_ms);
        let identity = identity.filter(|_| !blocked && !self.metadata.snapshot().brokers.is_empty());
        let expiry = self.shared.accumulator.next_expiry_ms().filter(|_| self.fatal.is_none());
        let times = [again, metadata, identity, expiry, self.next_scan_ms, next_check_ms, self.next_look_ms];
        times.into_iter().flatten().min().map(|at| at.max(now_ms + 1))
    }

    // ---------------------------------------------------------------------------------------------- small things

    /// SND-7: from this version of an API on it is the client that keeps still.
    fn throttle(&mut self, links: &mut dyn Links, node: i32, throttle_ms: i32, is_ours: bool, now_ms: u64) {
        if let (true, Ok(ms @ 1..)) = (is_ours, u64::try_from(throttle_ms)) {
            debug!("broker {node} asks for {ms} ms without requests");
            let way = self.ways.entry(node).or_default();
            (way.throttle_ms, way.throttled_until_ms) = (ms, way.throttled_until_ms.max(now_ms + ms));
            links.throttle(node, now_ms + ms, now_ms);
        }
    }

    pub(super) fn look_at_clock(&mut self) {
        self.now_us = self.shared.clock.last_us();
    }

    pub(super) fn metadata_failed(&mut self, question: &Question, now_ms: u64) {
        let random = self.random.f64();
        self.metadata.handle_failure(question, now_ms, random);
    }

    pub(super) fn request_ended(&mut self) {
        self.shared.stats.requests_in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// What is known of a partition.
    pub(super) fn state(&mut self, partition: &Arc<Partition>) -> &mut PartitionState {
        let key = partition.key() as usize;
        if self.partitions.len() <= key {
            self.partitions.resize_with(key + 1, PartitionState::default);
        }
        let state = &mut self.partitions[key];
        if state.partition.is_none() {
            state.partition = Some(partition.clone());
        }
        state
    }
}

#[cfg(feature = "simulate")]
impl SenderCore {
    /// What must not be, between two turns; for the simulator.
    pub(crate) fn oddity(&self) -> Option<String> {
        let policy = self.policy();
        self.partitions.iter().find_map(|state| {
            let (partition, text) = (state.partition.as_ref()?, state.oddity(&policy)?);
            Some(format!("{}-{}: {text}", partition.topic_name(), partition.index()))
        })
    }
}

#[cfg(test)]
impl SenderCore {
    /// As if so many epochs and sequences had been used before.
    pub(super) fn begin_at(&mut self, epoch: i16, sequence: i32) {
        let Some(ids) = &mut self.idempotence else { return };
        let Some(identity) = ids.current().map(|known| Identity { epoch, ..known }) else { return };
        ids.got(identity);
        self.partitions.iter_mut().for_each(|state| state.begin_at(identity, sequence));
    }
}

/// What the metrics say of a batch that goes into a request.
fn sent(batch: &Batch, is_first: bool, now_us: u64) -> Sent {
    let record_bytes = batch.records_len();
    Sent {
        records: batch.record_count().into(),
        bytes: batch.encoded_len() as u64,
        raw_bytes: (HEADER_LEN + record_bytes) as u64,
        record_bytes: record_bytes as u64,
        largest_record: batch.max_record_size().saturating_sub(HEADER_LEN) as u64,
        // MTR-1
        first: is_first.then(|| batch.filling_and_queued_us(now_us)),
    }
}

/// ACC-17: the partitions' states as the accumulator asks them.
struct GateView<'a> {
    partitions: &'a [PartitionState],
    /// MET-9: topics whose records wait for the application.
    held: &'a BTreeSet<Arc<str>>,
    policy: Policy,
}

impl Gate for GateView<'_> {
    fn may_send(&self, partition: &Partition, head: HeadInfo) -> bool {
        if !self.held.is_empty() && self.held.contains(partition.topic_name()) {
            return false;
        }
        match self.partitions.get(partition.key() as usize) {
            Some(state) => state.may_send(&head, &self.policy),
            None => !self.policy.idempotent || self.policy.identity.is_some(),
        }
    }
}
