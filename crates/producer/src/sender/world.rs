//! A small world for tests: the core on a clock set by hand, links that record what is sent, and brokers that keep logs and
//! check sequences as IDM-7 says. Nothing in it waits or draws its own randomness.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;

use rohrpost_net::Outgoing;
use rohrpost_protocol::messages::{
    BatchIndexAndErrorMessage, InitProducerIdResponse, LeaderIdAndEpoch, MetadataResponse,
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic, NodeEndpoint,
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use rohrpost_protocol::{ApiKey, Encoder, ErrorCode, Message, Uuid, VersionRange};

use super::core::{Links, Pass, SenderCore};
use super::request::{Body, Request};
use crate::accumulator::{Append, Batch, Candidate};
use crate::config::ProducerBuilder;
use crate::delivery::Delivery;
use crate::producer::{PurgeReport, Shared};
use crate::record::Record;

/// The value that `prime` sends.
pub(super) const PRIMED: u64 = 1_000_000;

/// Core, links and cluster.
pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    pub(super) core: SenderCore,
    pub(super) links: ToyLinks,
    pub(crate) cluster: ToyCluster,
}

/// Links that keep what is sent, by broker, until the test takes it.
pub(super) struct ToyLinks {
    pub(super) nodes: BTreeMap<i32, VecDeque<Request>>,
    pub(super) down: BTreeSet<i32>,
    pub(super) throttled: BTreeMap<i32, u64>,
    pub(super) produce_max: i16,
    pub(super) disconnects: Vec<i32>,
    /// Their sockets take nothing.
    pub(super) stuck: BTreeSet<i32>,
    pub(super) round_trip_ms: Option<u64>,
    /// They answer nothing but Produce, and that when the test says so.
    pub(super) mute: BTreeSet<i32>,
    /// They are ready, and refuse what they are given, as when a connection ends at that moment.
    pub(super) refusing: BTreeSet<i32>,
    max_in_flight: usize,
}

/// What the brokers would say.
#[derive(Default)]
pub(crate) struct ToyCluster {
    pub(super) brokers: BTreeSet<i32>,
    pub(super) topics: BTreeMap<String, ToyTopic>,
    /// Topics that Metadata refuses.
    pub(super) refused: BTreeMap<String, ErrorCode>,
    /// The answer to InitProducerId.
    pub(super) identity: (ErrorCode, i64, i16),
    pub(super) identities_asked: usize,
    /// What Metadata was asked: topics, and whether they may be created.
    pub(super) questions: Vec<(Vec<String>, bool)>,
    /// `message.max.bytes`, if there is a limit.
    pub(super) message_max_bytes: Option<usize>,
    /// How often that was too little.
    pub(super) too_large: usize,
    /// What answers to Produce ask for (SND-7).
    pub(super) throttle_ms: i32,
}

pub(super) struct ToyTopic {
    pub(super) id: Uuid,
    pub(super) partitions: Vec<ToyPartition>,
}

#[derive(Default)]
pub(super) struct ToyPartition {
    pub(super) leader: i32,
    pub(super) epoch: i32,
    /// Values in the log.
    pub(super) log: Vec<u64>,
    producers: BTreeMap<i64, ToyProducer>,
}

/// What a broker remembers of a producer: its epoch, and its last five batches as (first, last sequence, offset).
#[derive(Default)]
struct ToyProducer {
    epoch: i16,
    batches: VecDeque<(i32, i32, i64)>,
}

/// A batch as it lies on the wire.
#[derive(Debug, Clone)]
pub(super) struct WireBatch {
    pub(super) topic: String,
    /// Zero if the request's version has none.
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
    pub(super) values: Vec<u64>,
    /// Bytes, header included.
    pub(super) len: usize,
}

/// An answer for one partition.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) code: ErrorCode,
    pub(super) base_offset: i64,
    pub(super) hint: Option<(i32, i32)>,
    pub(super) records: Vec<(i32, String)>,
    pub(super) log_start_offset: i64,
    pub(super) message: Option<String>,
}

impl Answer {
    pub(super) fn ok(base_offset: i64) -> Answer {
        Answer { base_offset, ..Answer::error(ErrorCode::NONE) }
    }

    pub(super) fn error(code: ErrorCode) -> Answer {
        Answer { code, base_offset: -1, hint: None, records: Vec::new(), log_start_offset: 0, message: None }
    }
}

impl World {
    /// A cluster of brokers 1 to 3 with topic `t` of three partitions, led by 1, 2 and 3.
    pub(super) fn new(settings: &[(&str, &str)]) -> World {
        let mut pairs = vec![("bootstrap.servers", "toy:1"), ("linger.ms", "0"), ("client.id", "toy")];
        pairs.extend_from_slice(settings);
        let config = ProducerBuilder::from_pairs(pairs).check().unwrap();
        let max_in_flight = config.max_in_flight;
        let shared = Arc::new(Shared::by_hand(config));
        let mut links = ToyLinks {
            nodes: BTreeMap::new(),
            down: BTreeSet::new(),
            throttled: BTreeMap::new(),
            produce_max: 13,
            disconnects: Vec::new(),
            stuck: BTreeSet::new(),
            round_trip_ms: None,
            mute: BTreeSet::new(),
            refusing: BTreeSet::new(),
            max_in_flight,
        };
        let mut core = SenderCore::new(shared.clone(), 7);
        core.start(&mut links);
        let mut cluster = ToyCluster { identity: (ErrorCode::NONE, 4000, 0), ..ToyCluster::default() };
        cluster.brokers.extend([1, 2, 3]);
        cluster.create("t", 1, &[1, 2, 3]);
        World { shared, core, links, cluster }
    }

    /// A world in which metadata and producer id are there and nothing was sent.
    pub(crate) fn warm(settings: &[(&str, &str)]) -> World {
        let mut world = World::new(settings);
        world.shared.metadata.want(&"t".into());
        world.settle();
        world
    }

    /// A record is acknowledged on each partition of `t`; from there the producer goes on in this epoch and from this sequence, and
    /// the brokers know of nothing before.
    pub(super) fn begin_at(&mut self, epoch: i16, sequence: i32) {
        for partition in 0..3 {
            self.prime(partition);
            self.cluster.forget_producers(partition as usize);
        }
        self.cluster.identity.2 = epoch;
        self.core.begin_at(epoch, sequence);
    }

    /// Gets a record acknowledged on a partition of `t`, so that the brokers know the producer there.
    pub(super) fn prime(&mut self, partition: i32) {
        self.send(partition, PRIMED);
        self.serve_all();
    }

    /// As the next turn would.
    pub(crate) fn note_ended(&mut self) {
        self.core.note_ended();
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.shared.clock.last_ms()
    }

    /// Appends a record. The topic must be known.
    pub(crate) fn send(&mut self, partition: i32, value: u64) -> Delivery {
        self.send_to("t", partition, value)
    }

    pub(crate) fn send_to(&mut self, topic: &str, partition: i32, value: u64) -> Delivery {
        let state = self.shared.accumulator.topic_or_new(topic);
        let snapshot = self.shared.metadata.snapshot();
        if let Some(known) = snapshot.topics.get(topic) {
            self.shared.accumulator.apply_to(&state, known, &snapshot);
        }
        let record = Record::to(topic).partition(partition).unwrap().value(value.to_be_bytes().to_vec());
        let size = record.size();
        let mut candidate = Candidate::new(&record, size);
        match self.shared.accumulator.append(&state, &mut candidate, &self.shared.clock) {
            Append::Done(Some(delivery)) => delivery,
            other => panic!("the record was not taken: {other:?}"),
        }
    }

    pub(super) fn pass(&mut self) -> Pass {
        self.core.pass(&mut self.links, self.shared.clock.last_ms())
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.shared.clock.advance(ms);
    }

    /// Passes until nothing more is sent, answering metadata and producer id requests. Produce requests stay.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            let sent = self.pass().sent;
            if !self.answer_small() && !sent {
                return;
            }
        }
        panic!("the core does not come to rest");
    }

    /// Lets so much time pass, in steps of 10 ms, settling after each.
    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.advance(10);
            self.settle();
        }
    }

    /// Answers Metadata and InitProducerId requests that wait. True if there were any.
    pub(super) fn answer_small(&mut self) -> bool {
        let nodes: Vec<i32> = self.links.nodes.keys().copied().collect();
        let nodes = nodes.into_iter().filter(|node| !self.links.mute.contains(node)).collect::<Vec<_>>();
        let mut any = false;
        for node in nodes {
            while let Some(at) = self.links.nodes.get(&node).and_then(|requests| {
                requests.iter().position(|request| !matches!(request.body, Body::Produce(_)))
            }) {
                let request = self.links.nodes.get_mut(&node).and_then(|r| r.remove(at)).unwrap();
                let body = match &request.body {
                    Body::Metadata(question) => {
                        let topics: Vec<String> = question.topics.iter().map(ToString::to_string).collect();
                        let body = self.cluster.metadata(&topics, request.version);
                        self.cluster.questions.push((topics, question.may_create));
                        body
                    }
                    _ => self.cluster.new_identity(request.version),
                };
                let now_ms = self.now_ms();
                self.core.handle_response(node, request, &body, &mut self.links, now_ms);
                any = true;
            }
        }
        any
    }

    /// Produce requests that wait at a broker.
    pub(super) fn waiting(&self, node: i32) -> usize {
        let produce = |r: &&Request| matches!(r.body, Body::Produce(_));
        self.links.nodes.get(&node).map_or(0, |requests| requests.iter().filter(produce).count())
    }

    /// Takes the oldest Produce request at a broker.
    pub(super) fn take(&mut self, node: i32) -> Request {
        let requests = self.links.nodes.get_mut(&node).expect("no such broker");
        let at = requests
            .iter()
            .position(|r| matches!(r.body, Body::Produce(_)))
            .expect("no Produce request waits");
        requests.remove(at).unwrap()
    }

    /// What the oldest Produce request at a broker carries.
    pub(super) fn peek(&self, node: i32) -> Vec<WireBatch> {
        let requests = self.links.nodes.get(&node).expect("no such broker");
        let request =
            requests.iter().find(|r| matches!(r.body, Body::Produce(_))).expect("no Produce request waits");
        batches(request)
    }

    /// Answers the oldest Produce request at a broker, the same for all its partitions.
    pub(super) fn answer(&mut self, node: i32, answer: Answer) {
        let request = self.take(node);
        self.answer_request(node, request, |_| answer.clone());
    }

    pub(super) fn answer_request(
        &mut self,
        node: i32,
        request: Request,
        mut answer: impl FnMut(&WireBatch) -> Answer,
    ) {
        let answers: Vec<(WireBatch, Answer)> = batches(&request)
            .into_iter()
            .map(|batch| {
                let a = answer(&batch);
                (batch, a)
            })
            .collect();
        let body = produce_answer(&request, &answers, &self.cluster);
        let now_ms = self.now_ms();
        self.core.handle_response(node, request, &body, &mut self.links, now_ms);
    }

    /// The leader does what a leader does with the oldest Produce request, and answers.
    pub(super) fn serve(&mut self, node: i32) {
        let request = self.take(node);
        let answers: BTreeMap<(String, i32), Answer> = batches(&request)
            .iter()
            .map(|batch| ((batch.topic.clone(), batch.partition), self.cluster.append(node, batch)))
            .collect();
        self.answer_request(node, request, |batch| answers[&(batch.topic.clone(), batch.partition)].clone());
    }

    /// Serves until nothing waits and nothing is queued, letting time pass.
    pub(crate) fn serve_all(&mut self) {
        for _ in 0..2000 {
            self.settle();
            let busy: Vec<i32> = (1..=3).filter(|node| self.waiting(*node) > 0).collect();
            if busy.is_empty() && self.shared.accumulator.counts().pending == 0 {
                return;
            }
            for node in busy {
                while self.waiting(node) > 0 {
                    self.serve(node);
                }
            }
            self.advance(20);
        }
        panic!("records are still pending: {:?}", self.shared.accumulator.counts());
    }

    /// Purges, and wants to know what of.
    pub(super) fn purge(&mut self, queued: bool, in_flight: bool) -> PurgeReport {
        self.core.purge(queued, in_flight, true, &self.links)
    }

    /// A broker's connection ends; its requests come back unanswered.
    pub(super) fn cut(&mut self, node: i32, timed_out: bool) {
        let requests: Vec<Request> =
            self.links.nodes.get_mut(&node).map(std::mem::take).unwrap_or_default().into();
        let now_ms = self.now_ms();
        self.core.handle_disconnect(node, requests, timed_out, Some("cut".into()), now_ms);
    }

    /// The leader of a partition moves; metadata will say so.
    pub(super) fn move_leader(&mut self, topic: &str, partition: usize, to: i32) {
        let partition = &mut self.cluster.topics.get_mut(topic).unwrap().partitions[partition];
        partition.leader = to;
        partition.epoch += 1;
    }

    pub(super) fn log(&self, partition: usize) -> &[u64] {
        &self.cluster.topics["t"].partitions[partition].log
    }
}

impl ToyCluster {
    pub(crate) fn create(&mut self, name: &str, id: u8, leaders: &[i32]) {
        let partitions =
            leaders.iter().map(|leader| ToyPartition { leader: *leader, ..ToyPartition::default() });
        self.topics.insert(name.into(), ToyTopic { id: Uuid([id; 16]), partitions: partitions.collect() });
    }

    /// What a leader does with a batch (IDM-7).
    pub(super) fn append(&mut self, node: i32, batch: &WireBatch) -> Answer {
        let Some(topic) = self.topics.get_mut(&batch.topic) else {
            return Answer::error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        };
        if !batch.topic_id.is_zero() && batch.topic_id != topic.id {
            return Answer::error(ErrorCode::UNKNOWN_TOPIC_ID);
        }
        let Some(partition) = topic.partitions.get_mut(batch.partition as usize) else {
            return Answer::error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        };
        if partition.leader != node {
            return Answer::error(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        // Before anything else is looked at, duplicates included, as leaders do.
        if self.message_max_bytes.is_some_and(|max| batch.len > max) {
            self.too_large += 1;
            return Answer::error(ErrorCode::MESSAGE_TOO_LARGE);
        }
        let base_offset = partition.log.len() as i64;
        if batch.producer_id >= 0 {
            let last = ((batch.sequence as u32 + batch.values.len() as u32 - 1) & 0x7fff_ffff) as i32;
            if let Some(known) = partition.producers.get(&batch.producer_id) {
                if batch.epoch < known.epoch {
                    return Answer::error(ErrorCode::INVALID_PRODUCER_EPOCH);
                }
                if batch.epoch > known.epoch {
                    if batch.sequence != 0 {
                        return Answer::error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
                    }
                } else {
                    let same =
                        known.batches.iter().find(|(first, end, _)| (*first, *end) == (batch.sequence, last));
                    if let Some((_, _, offset)) = same {
                        return Answer::ok(*offset);
                    }
                    let next =
                        known.batches.back().map(|(_, end, _)| ((*end as u32 + 1) & 0x7fff_ffff) as i32);
                    if next != Some(batch.sequence) {
                        return Answer::error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
                    }
                }
            }
            let known = partition.producers.entry(batch.producer_id).or_default();
            if known.epoch != batch.epoch {
                *known = ToyProducer { epoch: batch.epoch, batches: VecDeque::new() };
            }
            known.batches.push_back((batch.sequence, last, base_offset));
            if known.batches.len() > 5 {
                known.batches.pop_front();
            }
        }
        partition.log.extend(&batch.values);
        Answer::ok(base_offset)
    }

    /// Deletes a topic and creates it anew, with the leaders that it has. Gives what was in its logs.
    pub(super) fn create_anew(&mut self, name: &str) -> Vec<Vec<u64>> {
        let old = self.topics.remove(name).expect("no such topic");
        let leaders: Vec<i32> = old.partitions.iter().map(|p| p.leader).collect();
        self.create(name, old.id.0[0] + 1, &leaders);
        old.partitions.into_iter().map(|p| p.log).collect()
    }

    /// The brokers lose what they know of producers, as by an unclean election.
    pub(super) fn forget_producers(&mut self, partition: usize) {
        self.topics.get_mut("t").unwrap().partitions[partition].producers.clear();
    }

    fn new_identity(&mut self, version: i16) -> Vec<u8> {
        let (error_code, producer_id, producer_epoch) = self.identity;
        self.identities_asked += 1;
        if error_code.is_ok() {
            self.identity.1 += 1;
        }
        encode(
            &InitProducerIdResponse { error_code, producer_id, producer_epoch, ..Default::default() },
            version,
        )
    }

    fn metadata(&self, topics: &[String], version: i16) -> Vec<u8> {
        let brokers = self.brokers.iter().map(|id| MetadataResponseBroker {
            node_id: *id,
            host: "toy",
            port: 9000 + id,
            ..Default::default()
        });
        let topics = topics.iter().map(|name| match self.topics.get(name) {
            None => MetadataResponseTopic {
                error_code: *self.refused.get(name).unwrap_or(&ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                name: Some(name),
                ..Default::default()
            },
            Some(topic) => MetadataResponseTopic {
                name: Some(name),
                topic_id: topic.id,
                partitions: topic
                    .partitions
                    .iter()
                    .zip(0..)
                    .map(|(p, index)| MetadataResponsePartition {
                        partition_index: index,
                        leader_id: p.leader,
                        leader_epoch: p.epoch,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            },
        });
        encode(
            &MetadataResponse { brokers: brokers.collect(), topics: topics.collect(), ..Default::default() },
            version,
        )
    }
}

impl Links for ToyLinks {
    fn ready(&mut self, node: i32, now_ms: u64) -> bool {
        let busy = self.nodes.get(&node).is_none_or(|requests| requests.len() >= self.max_in_flight);
        let throttled = self.throttled.get(&node).is_some_and(|until| now_ms < *until);
        !busy && !throttled && !self.down.contains(&node)
    }

    fn is_connected(&self, node: i32) -> bool {
        self.nodes.contains_key(&node) && !self.down.contains(&node)
    }

    fn is_backing_off(&self, node: i32) -> bool {
        self.down.contains(&node)
    }

    fn negotiate(&self, _node: i32, api: ApiKey, ours: VersionRange) -> Option<i16> {
        let theirs = match api {
            ApiKey::Produce => VersionRange::new(0, self.produce_max),
            _ => api.versions(),
        };
        let common = theirs.intersect(ours);
        (!common.is_empty()).then_some(common.max)
    }

    fn least_loaded(&mut self, now_ms: u64) -> Option<i32> {
        let nodes: Vec<i32> = self.nodes.keys().copied().collect();
        let ready: Vec<i32> = nodes.into_iter().filter(|node| self.ready(*node, now_ms)).collect();
        ready.into_iter().min_by_key(|node| self.in_flight(*node))
    }

    fn in_flight(&self, node: i32) -> usize {
        self.nodes.get(&node).map_or(0, VecDeque::len)
    }

    fn unwritten(&self, node: i32) -> usize {
        if self.stuck.contains(&node) { self.in_flight(node) } else { 0 }
    }

    fn round_trip_ms(&self, _node: i32) -> Option<u64> {
        self.round_trip_ms
    }

    fn send(&mut self, node: i32, request: Request, now_ms: u64) -> Result<(), Request> {
        if !self.ready(node, now_ms) || self.refusing.contains(&node) {
            return Err(request);
        }
        // The frame must be possible, whatever is in the request.
        if let Some(requests) = self.nodes.get_mut(&node) {
            let mut framed =
                request.frame(1, "toy").map_err(|refused| refused.1).expect("the request can be encoded");
            if !self.stuck.contains(&node) {
                framed.note_written(now_ms);
            }
            requests.push_back(framed.request);
        }
        Ok(())
    }

    fn set_node(&mut self, node: i32, _host: &str, _port: u16) {
        self.nodes.entry(node).or_default();
    }

    fn remove_node(&mut self, node: i32) {
        self.nodes.remove(&node);
    }

    fn disconnect(&mut self, node: i32, _now_ms: u64) {
        self.disconnects.push(node);
    }

    fn throttle(&mut self, node: i32, until_ms: u64, _now_ms: u64) {
        self.throttled.insert(node, until_ms);
    }

    fn look_into_requests(&self, look: &mut dyn FnMut(&Request)) {
        self.nodes.values().flatten().for_each(look);
    }
}

/// The batches of a Produce request, read from their bytes.
pub(super) fn batches(request: &Request) -> Vec<WireBatch> {
    let Body::Produce(produce) = &request.body else { panic!("not a Produce request") };
    let ids = produce.topics.iter().map(|t| if request.version >= 13 { t.id } else { Uuid::default() });
    let topics = produce.topics.iter().zip(ids);
    topics.flat_map(|(t, id)| t.batches.iter().map(move |batch| wire(batch, id))).collect()
}

fn wire(batch: &Batch, topic_id: Uuid) -> WireBatch {
    let mut slices: Vec<IoSlice<'_>> = Vec::new();
    batch.slices(&mut slices);
    let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
    let parsed = rohrpost_record::Batch::parse(&bytes).expect("a batch on the wire");
    assert!(parsed.is_crc_valid(), "the checksum covers what was stamped");
    let mut scratch = Vec::new();
    let records = parsed.records(&mut scratch, 1 << 20).unwrap();
    let values = records.map(|r| u64::from_be_bytes(r.unwrap().value.unwrap().try_into().unwrap()));
    let header = parsed.header();
    WireBatch {
        topic_id,
        topic: batch.partition().topic_name().to_string(),
        partition: batch.partition().index(),
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        sequence: header.base_sequence,
        values: values.collect(),
        len: bytes.len(),
    }
}

fn produce_answer(request: &Request, answers: &[(WireBatch, Answer)], cluster: &ToyCluster) -> Vec<u8> {
    let Body::Produce(produce) = &request.body else { panic!("not a Produce request") };
    let responses = produce.topics.iter().map(|topic| TopicProduceResponse {
        name: &topic.name,
        topic_id: topic.id,
        partition_responses: answers
            .iter()
            .filter(|(batch, _)| *batch.topic == *topic.name)
            .map(|(batch, answer)| PartitionProduceResponse {
                index: batch.partition,
                error_code: answer.code,
                base_offset: answer.base_offset,
                log_append_time_ms: -1,
                log_start_offset: answer.log_start_offset,
                record_errors: answer
                    .records
                    .iter()
                    .map(|(index, text)| BatchIndexAndErrorMessage {
                        batch_index: *index,
                        batch_index_error_message: Some(text),
                        ..Default::default()
                    })
                    .collect(),
                error_message: answer.message.as_deref(),
                current_leader: answer.hint.map_or_else(Default::default, |(leader_id, leader_epoch)| {
                    LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() }
                }),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let hinted =
        answers.iter().filter_map(|(_, a)| a.hint).filter(|(node, _)| !cluster.brokers.contains(node));
    let node_endpoints = hinted.map(|(node_id, _)| NodeEndpoint {
        node_id,
        host: "toy",
        port: 9000 + node_id,
        ..Default::default()
    });
    let answer = ProduceResponse {
        responses: responses.collect(),
        throttle_time_ms: cluster.throttle_ms,
        node_endpoints: if request.version >= 10 { node_endpoints.collect() } else { Vec::new() },
        ..Default::default()
    };
    encode(&answer, request.version)
}

pub(super) fn encode<'a>(message: &impl Message<'a>, version: i16) -> Vec<u8> {
    let mut out = Encoder::new();
    message.encode(&mut out, version).expect("the answer can be encoded");
    out.into_parts().0
}
