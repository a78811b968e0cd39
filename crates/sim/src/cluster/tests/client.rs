//! A client of a few lines that talks frames to the simulated cluster, and waits on the simulated clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rohrpost_protocol::messages::{
    InitProducerIdRequest, MetadataRequest, MetadataRequestTopic, PartitionProduceData, ProduceRequest,
    ProduceResponse, TopicProduceData,
};
use rohrpost_protocol::{
    Decoder, ErrorCode, Message, Records, Request, ResponseHeader, Uuid, encode_request,
};
use rohrpost_record::{BatchBuilder, Codec, HEADER_LEN, NO_HEADERS, Stamp, stamp};

use crate::cluster::{Cluster, ClusterConfig, Event, Fault, TopicSpec};

/// When simulated time begins, and what the clocks show then.
pub(super) const START_MS: u64 = 1_000;
pub(super) const WALL_MS: i64 = 1_700_000_000_000;

pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) now_ms: u64,
    connections: u64,
    answers: BTreeMap<u64, VecDeque<Vec<u8>>>,
    cut: BTreeSet<u64>,
}

/// What a produce request was answered for its one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Produced {
    pub(super) code: ErrorCode,
    pub(super) base_offset: i64,
    pub(super) leader: i32,
    pub(super) record_errors: Vec<i32>,
    pub(super) throttle_ms: i32,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Called<T> {
    Answered(T),
    Cut,
    TimedOut,
}

impl<T> Called<T> {
    pub(super) fn unwrap(self) -> T {
        match self {
            Called::Answered(answer) => answer,
            Called::Cut => panic!("the connection was cut"),
            Called::TimedOut => panic!("no answer came"),
        }
    }
}

/// Three brokers and the topic "t" with one partition, three replicas and `min.insync.replicas=2`.
pub(super) fn config() -> ClusterConfig {
    ClusterConfig { topics: vec![TopicSpec::default()], wall_clock_ms: WALL_MS, ..ClusterConfig::default() }
}

impl World {
    pub(super) fn new(config: &ClusterConfig, seed: u64) -> World {
        let cluster = Cluster::new(config, seed, START_MS);
        World { cluster, now_ms: START_MS, connections: 0, answers: BTreeMap::new(), cut: BTreeSet::new() }
    }

    pub(super) fn connect(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    pub(super) fn apply(&mut self, fault: Fault) {
        self.cluster.apply(&fault, self.now_ms);
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        self.run(until_ms, |_| false);
    }

    /// Lets time pass until `done`, at most `ms`. True if it came to be.
    pub(super) fn pass_until(&mut self, ms: u64, done: impl Fn(&World) -> bool) -> bool {
        let until_ms = self.now_ms + ms;
        self.run(until_ms, done)
    }

    fn run(&mut self, until_ms: u64, done: impl Fn(&World) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let next_ms = self.cluster.next_ms().filter(|next| *next <= until_ms);
            self.now_ms = next_ms.unwrap_or(until_ms).max(self.now_ms);
            let mut events = Vec::new();
            self.cluster.advance(self.now_ms, &mut events);
            for event in events {
                match event {
                    Event::Answer { to, frame, .. } => self.answers.entry(to).or_default().push_back(frame),
                    Event::Cut { connection, .. } => {
                        self.cut.insert(connection);
                    }
                }
            }
            if next_ms.is_none() {
                return done(self);
            }
        }
    }

    pub(super) fn send<'a, R: Request<'a>>(&mut self, node: i32, connection: u64, request: &R, version: i16) {
        let frame = encode_request(request, version, connection as i32, Some("naive")).unwrap();
        self.cluster.receive(node, connection, frame.bytes(), self.now_ms);
    }

    /// The next answer on a connection, without size and header.
    pub(super) fn wait<'a, R: Request<'a>>(
        &mut self,
        connection: u64,
        version: i16,
        ms: u64,
    ) -> Called<Vec<u8>> {
        let over = |world: &World| {
            world.cut.contains(&connection) || world.answers.get(&connection).is_some_and(|a| !a.is_empty())
        };
        if !self.pass_until(ms, over) {
            return Called::TimedOut;
        }
        let Some(frame) = self.answers.get_mut(&connection).and_then(VecDeque::pop_front) else {
            return Called::Cut;
        };
        let mut input = Decoder::new(&frame[4..]);
        assert_eq!(i32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
        let header = ResponseHeader::decode(&mut input, R::API_KEY.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, connection as i32);
        Called::Answered(input.rest().to_vec())
    }

    pub(super) fn call<'a, R: Request<'a>>(
        &mut self,
        node: i32,
        request: &R,
        version: i16,
    ) -> Called<Vec<u8>> {
        let connection = self.connect();
        self.send(node, connection, request, version);
        self.wait::<R>(connection, version, 40_000)
    }

    /// The leader of "t"-0 as this broker sees it, -1 if there is none or no answer.
    pub(super) fn leader(&mut self, node: i32, topic: &str) -> i32 {
        let request = metadata_request(topic);
        let connection = self.connect();
        self.send(node, connection, &request, 12);
        let Called::Answered(body) = self.wait::<MetadataRequest<'_>>(connection, 12, 1_000) else {
            return -1;
        };
        let answer =
            rohrpost_protocol::messages::MetadataResponse::decode(&mut Decoder::new(&body), 12).unwrap();
        answer.topics.first().and_then(|t| t.partitions.first()).map_or(-1, |p| p.leader_id)
    }

    pub(super) fn topic_id(&self, topic: &str) -> Uuid {
        self.cluster.incarnations(topic).last().map_or(Uuid::ZERO, |incarnation| incarnation.id)
    }

    pub(super) fn produce(&mut self, node: i32, batch: &[u8], acks: i16) -> Called<Produced> {
        let connection = self.connect();
        self.send_batch(node, connection, batch, acks, 30_000);
        self.produced(connection, 40_000)
    }

    pub(super) fn send_batch(
        &mut self,
        node: i32,
        connection: u64,
        batch: &[u8],
        acks: i16,
        timeout_ms: i32,
    ) {
        let request = produce_request("t", 0, Some(batch), acks, timeout_ms);
        self.send(node, connection, &request, 12);
    }

    pub(super) fn produced(&mut self, connection: u64, ms: u64) -> Called<Produced> {
        match self.wait::<ProduceRequest<'_>>(connection, 12, ms) {
            Called::Answered(body) => {
                let answer = ProduceResponse::decode(&mut Decoder::new(&body), 12).unwrap();
                let partition = &answer.responses[0].partition_responses[0];
                Called::Answered(Produced {
                    code: partition.error_code,
                    base_offset: partition.base_offset,
                    leader: partition.current_leader.leader_id,
                    record_errors: partition.record_errors.iter().map(|r| r.batch_index).collect(),
                    throttle_ms: answer.throttle_time_ms,
                })
            }
            Called::Cut => Called::Cut,
            Called::TimedOut => Called::TimedOut,
        }
    }

    pub(super) fn producer_id(&mut self, node: i32) -> i64 {
        let request =
            InitProducerIdRequest { transactional_id: None, producer_epoch: -1, ..Default::default() };
        let body = self.call(node, &request, 4).unwrap();
        let mut input = Decoder::new(&body);
        rohrpost_protocol::messages::InitProducerIdResponse::decode(&mut input, 4).unwrap().producer_id
    }

    /// Values and offsets of "t"-0.
    pub(super) fn log(&self) -> Vec<(i64, String)> {
        let records = self.cluster.committed("t", 0).into_iter();
        records.map(|r| (r.offset, String::from_utf8(r.value.unwrap()).unwrap())).collect()
    }

    pub(super) fn heal(&mut self) {
        self.cluster.heal(self.now_ms);
        self.pass(30_000);
    }
}

pub(super) fn metadata_request(topic: &str) -> MetadataRequest<'_> {
    MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(topic), ..Default::default() }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    }
}

pub(super) fn produce_request<'a>(
    topic: &'a str,
    partition: i32,
    records: Option<&'a [u8]>,
    acks: i16,
    timeout_ms: i32,
) -> ProduceRequest<'a> {
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms,
        topic_data: vec![TopicProduceData {
            name: topic,
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: records.map(Records::Bytes),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(super) fn batch(values: &[&str], by: Stamp) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut bytes = vec![0; HEADER_LEN];
    for value in values {
        let at = bytes.len();
        let value = Some(value.as_bytes());
        bytes.resize(at + builder.record_len(WALL_MS, None, value, NO_HEADERS), 0);
        builder.append(&mut bytes[at..], WALL_MS, None, value, NO_HEADERS);
    }
    let head = bytes.first_chunk_mut::<HEADER_LEN>().unwrap();
    builder.write_header(head, Codec::None, builder.records_len(), false);
    stamp(&mut bytes, [], by);
    bytes
}

pub(super) fn plain(value: &str) -> Vec<u8> {
    batch(&[value], Stamp::NONE)
}

pub(super) fn by(producer_id: i64, base_sequence: i32) -> Stamp {
    Stamp { producer_id, producer_epoch: 0, base_sequence }
}
