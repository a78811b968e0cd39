//! The model beside the real broker: the same request bytes to an embedded broker of one node and to a simulated cluster of one
//! broker give the same answers, field by field, or the same closed connection.
//!
//! Ids, ports and texts with numbers of the clock differ by nature and are masked; all else must be equal.

#![allow(clippy::unwrap_used)] // all of it is test code

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rohrpost_broker::{Cluster as RealCluster, ManualClock};
use rohrpost_protocol::messages::{
    ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, MetadataRequestTopic, PartitionProduceData,
    ProduceRequest, TopicProduceData,
};
use rohrpost_protocol::{
    ApiKey, Decoder, ErrorCode, Kind, Records, Request, ResponseHeader, Uuid, describe_body, encode_request,
};
use rohrpost_record::{Attributes, BatchBuilder, Codec, HEADER_LEN, NO_HEADERS, Stamp, stamp};
use rohrpost_sim::cluster::{Cluster, ClusterConfig, Event, TopicSpec};

/// What all clocks show.
const NOW: i64 = 1_750_000_000_000;
const MAX_MESSAGE_BYTES: u32 = 2_000;

/// Both brokers, each with topic "t" of two partitions.
struct Both {
    real: RealCluster,
    model: Cluster,
    /// The id of "t" at each, the real broker first.
    ids: (Uuid, Uuid),
    connections: u64,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reply {
    /// The body, written out, with what differs by nature masked.
    Answer(String),
    /// No answer, and the connection goes on.
    Nothing,
    Closed,
}

impl Both {
    fn new(log_append_time: bool) -> Both {
        let clock = ManualClock::new(NOW);
        let time = if log_append_time { "LogAppendTime" } else { "CreateTime" };
        let real = RealCluster::builder()
            .topic("t", 2, 1)
            .config("message.max.bytes", MAX_MESSAGE_BYTES.to_string())
            .config("log.message.timestamp.type", time)
            .clock(&clock)
            .start()
            .unwrap();
        let topic = TopicSpec {
            partitions: 2,
            replication_factor: 1,
            min_insync_replicas: 1,
            max_message_bytes: MAX_MESSAGE_BYTES,
            log_append_time,
            ..TopicSpec::default()
        };
        let config =
            ClusterConfig { brokers: 1, topics: vec![topic], wall_clock_ms: NOW, ..ClusterConfig::default() };
        let model = Cluster::new(&config, 1, 0);
        let ids = (topic_id(&real), model.incarnations("t")[0].id);
        Both { real, model, ids, connections: 0 }
    }

    /// Sends the same request to both; `make` gets the id of the topic "t", which differs.
    fn compare<'a, R: Request<'a>>(
        &mut self,
        what: &str,
        version: i16,
        make: impl Fn(Uuid) -> Vec<u8>,
    ) -> Reply {
        let real = self.ask_real(R::API_KEY, version, &make(self.ids.0));
        let model = self.ask_model(R::API_KEY, version, &make(self.ids.1));
        assert_eq!(
            model,
            real,
            "{what}, {} version {version}: the model (left) and the broker (right)",
            R::API_KEY
        );
        real
    }

    fn compare_produce(&mut self, what: &str, version: i16, request: &ProduceRequest<'_>) -> Reply {
        self.compare::<ProduceRequest<'_>>(what, version, |id| {
            let mut request = request.clone();
            for topic in &mut request.topic_data {
                if version >= 13 && topic.name == "t" {
                    topic.topic_id = id;
                }
            }
            encode_request(&request, version, 7, Some("both")).unwrap().bytes().to_vec()
        })
    }

    fn ask_real(&self, api: ApiKey, version: i16, frame: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.real.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(frame).unwrap();
        // a second request shows whether the connection goes on when the first has no answer
        let probe = encode_request(&ApiVersionsRequest::default(), 0, PROBE, None).unwrap();
        let _ = stream.write_all(probe.bytes());
        match read_frame(&mut stream) {
            None => Reply::Closed,
            Some(body) if is_probe(&body) => Reply::Nothing,
            Some(body) => Reply::Answer(self.mask(api, version, &body)),
        }
    }

    fn ask_model(&mut self, api: ApiKey, version: i16, frame: &[u8]) -> Reply {
        self.connections += 1;
        self.model.receive(1, self.connections, frame, 0);
        let mut events = Vec::new();
        self.model.advance(0, &mut events);
        match &events[..] {
            [] => Reply::Nothing,
            [Event::Cut { .. }] => Reply::Closed,
            [Event::Answer { frame, .. }] => Reply::Answer(self.mask(api, version, &frame[4..])),
            more => panic!("{more:?}"),
        }
    }

    fn mask(&self, api: ApiKey, version: i16, body: &[u8]) -> String {
        let header = 4 + usize::from(api.response_header_version(version) == 1);
        let text = describe_body(api as i16, version, Kind::Response, &body[header..]).unwrap();
        let address = self.real.address();
        let (host, port) = self.model.address(1).unwrap();
        let mut text = text
            .replace(&self.ids.0.to_string(), "ID")
            .replace(&self.ids.1.to_string(), "ID")
            .replace(&host, "HOST")
            .replace(&address.ip().to_string(), "HOST")
            .replace(&port.to_string(), "PORT")
            .replace(&address.port().to_string(), "PORT");
        // the cluster's id is the only other text of 22 characters
        let ids: Vec<String> = text
            .split('"')
            .filter(|part| part.len() == 22 && part.parse::<Uuid>().is_ok())
            .map(str::to_owned)
            .collect();
        for id in ids {
            text = text.replace(&id, "CLUSTER");
        }
        text
    }
}

fn topic_id(broker: &RealCluster) -> Uuid {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some("t"), ..Default::default() }]),
        ..Default::default()
    };
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    stream.write_all(encode_request(&request, 12, 7, None).unwrap().bytes()).unwrap();
    let body = read_frame(&mut stream).unwrap();
    let mut input = Decoder::new(&body);
    let _header: ResponseHeader = rohrpost_protocol::Message::decode(&mut input, 1).unwrap();
    let answer: rohrpost_protocol::messages::MetadataResponse<'_> =
        rohrpost_protocol::Message::decode(&mut input, 12).unwrap();
    answer.topics[0].topic_id
}

const PROBE: i32 = 0x7072_6f62;

fn is_probe(body: &[u8]) -> bool {
    body.starts_with(&PROBE.to_be_bytes())
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).ok()?;
    let mut body = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

fn produce<'a>(topic: &'a str, partition: i32, records: Option<&'a [u8]>, acks: i16) -> ProduceRequest<'a> {
    let data =
        PartitionProduceData { index: partition, records: records.map(Records::Bytes), ..Default::default() };
    let topic = TopicProduceData { name: topic, partition_data: vec![data], ..Default::default() };
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 1_000,
        topic_data: vec![topic],
        ..Default::default()
    }
}

fn batch_at(time: i64, values: &[&str], by: Stamp) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut bytes = vec![0; HEADER_LEN];
    for value in values {
        let (at, value) = (bytes.len(), Some(value.as_bytes()));
        bytes.resize(at + builder.record_len(time, None, value, NO_HEADERS), 0);
        builder.append(&mut bytes[at..], time, None, value, NO_HEADERS);
    }
    let head = bytes.first_chunk_mut::<HEADER_LEN>().unwrap();
    builder.write_header(head, Codec::None, builder.records_len(), false);
    stamp(&mut bytes, [], by);
    bytes
}

fn batch(values: &[&str]) -> Vec<u8> {
    batch_at(NOW, values, Stamp::NONE)
}

fn by(producer_epoch: i16, base_sequence: i32) -> Stamp {
    Stamp { producer_id: 500, producer_epoch, base_sequence }
}

/// Changes bytes and writes the checksum anew.
fn changed(mut bytes: Vec<u8>, at: usize, to: &[u8]) -> Vec<u8> {
    bytes[at..at + to.len()].copy_from_slice(to);
    let crc = rohrpost_record::crc::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Good and bad records, and what is wrong with them.
fn records() -> Vec<(&'static str, Option<Vec<u8>>)> {
    let good = batch(&["a", "b"]);
    let mut bad_crc = good.clone();
    bad_crc[17] ^= 1;
    let mut two = good.clone();
    two.extend_from_slice(&good);
    let mut stray = good.clone();
    stray.extend_from_slice(&[0; 5]);
    let control = Attributes::control(false).0.to_be_bytes();
    let transactional = Attributes::new(Codec::None, true).0.to_be_bytes();
    let snappy = Attributes::new(Codec::Snappy, false).0.to_be_bytes();
    vec![
        ("good", Some(good.clone())),
        ("null", None),
        ("empty", Some(Vec::new())),
        ("cut short", Some(good[..good.len() - 1].to_vec())),
        ("shorter than a header", Some(good[..30].to_vec())),
        ("wrong checksum", Some(bad_crc)),
        ("two batches", Some(two)),
        ("stray bytes behind", Some(stray)),
        ("magic 1", Some(changed(good.clone(), 16, &[1]))),
        ("magic 3", Some(changed(good.clone(), 16, &[3]))),
        ("base offset 5", Some(changed(good.clone(), 7, &[5]))),
        ("a wrong count", Some(changed(good.clone(), 57, &3i32.to_be_bytes()))),
        ("a control batch", Some(changed(good.clone(), 21, &control))),
        ("transactional", Some(changed(good.clone(), 21, &transactional))),
        ("not snappy", Some(changed(good.clone(), 21, &snappy))),
        ("codec 6", Some(changed(good.clone(), 21, &6i16.to_be_bytes()))),
        ("too large", Some(batch(&["x".repeat(2_500).as_str()]))),
        ("from the far future", Some(batch_at(NOW + 7_200_000, &["a", "b"], Stamp::NONE))),
        ("from the past", Some(batch_at(NOW - 7_200_000, &["a"], Stamp::NONE))),
        ("a producer's first", Some(batch_at(NOW, &["p0", "p1"], by(0, 0)))),
        ("the same again", Some(batch_at(NOW, &["p0", "p1"], by(0, 0)))),
        ("a gap", Some(batch_at(NOW, &["p9"], by(0, 9)))),
        ("the next", Some(batch_at(NOW, &["p2"], by(0, 2)))),
        ("another cut of it", Some(batch_at(NOW, &["p1", "p2"], by(0, 1)))),
        ("a new epoch not at 0", Some(batch_at(NOW, &["q"], by(1, 3)))),
        ("a new epoch", Some(batch_at(NOW, &["q0"], by(1, 0)))),
        ("the old epoch", Some(batch_at(NOW, &["p3"], by(0, 3)))),
        ("a producer without sequence", Some(batch_at(NOW, &["r"], by(1, -1)))),
    ]
}

#[test]
fn produce_is_answered_alike_for_good_and_bad_records_in_all_versions() {
    for log_append_time in [false, true] {
        for version in if log_append_time { 11..=13 } else { 3..=13 } {
            let mut both = Both::new(log_append_time);
            let mut answers = Vec::new();
            for acks in [-1, 1, 0] {
                for (what, records) in records() {
                    let request = produce("t", 1, records.as_deref(), acks);
                    if let Reply::Answer(text) = both.compare_produce(what, version, &request) {
                        answers.push(text);
                    }
                }
            }
            assert_eq!(answers.len(), 2 * records().len(), "acks 0 has no answers, all else has");
            // the table is worth its name
            for code in [
                ErrorCode::NONE,
                ErrorCode::CORRUPT_MESSAGE,
                ErrorCode::INVALID_RECORD,
                ErrorCode::MESSAGE_TOO_LARGE,
                ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
                ErrorCode::INVALID_PRODUCER_EPOCH,
                ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
                ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            ] {
                assert!(
                    answers.iter().any(|text| text.contains(code.name())),
                    "{} is not among the answers",
                    code.name()
                );
            }
        }
    }
}

#[test]
fn produce_is_answered_alike_for_wrong_places_and_acks() {
    for version in 3..=13 {
        let mut both = Both::new(false);
        let good = batch(&["a"]);
        for (what, topic, partition, acks) in [
            ("no such topic", "u", 0, -1),
            ("no such partition", "t", 2, -1),
            ("a partition below 0", "t", -1, -1),
            ("acks 2", "t", 0, 2),
            ("acks -2", "t", 0, -2),
            ("acks 0 and no such topic", "u", 0, 0),
        ] {
            both.compare_produce(what, version, &produce(topic, partition, Some(&good), acks));
        }
        // several at once: each is judged alone
        let mut request = produce("t", 0, Some(&good), -1);
        for (index, records) in
            [(7, Some(Records::Bytes(&good))), (1, None), (1, Some(Records::Bytes(&good)))]
        {
            let data = PartitionProduceData { index, records, ..Default::default() };
            request.topic_data[0].partition_data.push(data);
        }
        request.topic_data.extend(produce("u", 0, Some(&good), -1).topic_data);
        assert!(matches!(both.compare_produce("several", version, &request), Reply::Answer(_)));
        let none = ProduceRequest { topic_data: Vec::new(), ..request };
        both.compare_produce("nothing at all", version, &none);
    }
}

#[test]
fn ids_are_given_alike_and_refused_alike() {
    let mut both = Both::new(false);
    for version in 0..=5 {
        let mut ask =
            |what: &str, transactional_id: Option<&'static str>, producer_id: i64, producer_epoch: i16| {
                let known = if version >= 3 { (producer_id, producer_epoch) } else { (-1, -1) };
                let request = InitProducerIdRequest {
                    transactional_id,
                    transaction_timeout_ms: i32::MAX,
                    producer_id: known.0,
                    producer_epoch: known.1,
                    ..Default::default()
                };
                both.compare::<InitProducerIdRequest<'_>>(what, version, |_| {
                    encode_request(&request, version, 7, None).unwrap().bytes().to_vec()
                })
            };
        for (what, transactional_id, id, epoch) in [
            ("a new one", None, -1, -1),
            ("the next", None, -1, -1),
            ("half an identity", None, 5, -1),
            ("an identity", None, 5, 3),
            ("a transactional one", Some("x"), -1, -1),
            ("an empty transactional one", Some(""), -1, -1),
        ] {
            assert!(matches!(ask(what, transactional_id, id, epoch), Reply::Answer(_)));
        }
    }
}

#[test]
fn metadata_is_told_alike() {
    for version in 0..=13 {
        let mut both = Both::new(false);
        for (what, names) in [
            ("all", None),
            ("none", Some(vec![])),
            ("one", Some(vec!["t"])),
            ("an unknown one", Some(vec!["u"])),
            ("a wrong name", Some(vec!["u/v"])),
            ("several", Some(vec!["u", "t", "t", ""])),
        ] {
            if names.is_none() && version == 0 {
                continue; // null came with version 1
            }
            for by_id in [false, true] {
                if by_id && version < 10 {
                    continue;
                }
                let reply = both.compare::<MetadataRequest<'_>>(what, version, |id| {
                    let topics = names.as_ref().map(|names| {
                        let topics = names.iter().map(|name| MetadataRequestTopic {
                            topic_id: if by_id && *name == "t" { id } else { Uuid::ZERO },
                            name: Some(name).copied().filter(|name| !by_id || *name != "t"),
                            ..Default::default()
                        });
                        topics.collect()
                    });
                    let request = MetadataRequest {
                        topics,
                        allow_auto_topic_creation: version < 4,
                        ..Default::default()
                    };
                    encode_request(&request, version, 7, None).unwrap().bytes().to_vec()
                });
                assert!(matches!(reply, Reply::Answer(_)));
                if version < 4 {
                    both = Both::new(false); // these create what is missing
                }
            }
        }
    }
}

#[test]
fn versions_are_told_alike() {
    let mut both = Both::new(false);
    for version in 0..=4 {
        for name in ["both", "", "a b"] {
            let request = ApiVersionsRequest {
                client_software_name: name,
                client_software_version: "1",
                ..Default::default()
            };
            let frame = encode_request(&request, version, 7, None).unwrap().bytes().to_vec();
            // features are the real one's own
            let keys = |reply: Reply| match reply {
                Reply::Answer(text) => text.split("supported_features").next().unwrap_or_default().to_owned(),
                other => format!("{other:?}"),
            };
            let real = keys(both.ask_real(ApiKey::ApiVersions, version, &frame));
            let model = keys(both.ask_model(ApiKey::ApiVersions, version, &frame));
            assert_eq!(model, real, "version {version}, client {name:?}");
        }
    }
}
