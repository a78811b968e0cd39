//! A client of a few lines: raw requests over a real socket, answers decoded; and batches, good and bad.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses a part; all of it is test code

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rohrpost_broker::Cluster;
use rohrpost_protocol::messages::fetch::{FetchPartition, FetchTopic};
use rohrpost_protocol::messages::{
    FetchRequest, InitProducerIdRequest, MetadataRequest, MetadataRequestTopic, PartitionProduceData,
    ProduceRequest, TopicProduceData,
};
use rohrpost_protocol::{Decoder, ErrorCode, Message, Records, Request, Uuid, encode_request};
use rohrpost_record::{BatchBuilder, Codec, HEADER_LEN, Stamp, stamp};

/// Long enough for a slow machine; only a test that fails waits so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts what panics in the broker's own threads: the broker turns it into an answer, so that a client would not see it (G8).
pub fn count_panics() {
    static HOOK: OnceLock<()> = OnceLock::new();
    HOOK.get_or_init(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("rohrpost-")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
}

/// How often one of them has panicked since then.
pub fn panics() -> usize {
    PANICS.load(Ordering::SeqCst)
}

pub struct Client {
    pub stream: TcpStream,
    correlation_id: i32,
    body: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, correlation_id: 0, body: Vec::new() }
    }

    pub fn of(cluster: &Cluster) -> Client {
        Client::connect(cluster.address())
    }

    pub fn send<'a, R: Request<'a>>(&mut self, request: &R, version: i16) {
        self.correlation_id += 1;
        let encoder = encode_request(request, version, self.correlation_id, Some("test")).unwrap();
        assert!(encoder.gaps().is_empty());
        self.stream.write_all(encoder.bytes()).unwrap();
    }

    /// Waits for the answer to the request of this type that was sent `ago` requests before the last.
    pub fn receive<'a, 's, R: Request<'a>>(&'s mut self, version: i16, ago: i32) -> R::Response<'s> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).unwrap();
        self.body.resize(i32::from_be_bytes(size) as usize, 0);
        self.stream.read_exact(&mut self.body).unwrap();
        let mut input = Decoder::new(&self.body);
        let header_version = R::API_KEY.response_header_version(version);
        let header = rohrpost_protocol::ResponseHeader::decode(&mut input, header_version).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id - ago);
        let response = <R::Response<'s> as Message<'s>>::decode(&mut input, version).unwrap();
        input.finish().unwrap();
        response
    }

    pub fn call<'a, 's, R: Request<'a>>(&'s mut self, request: &R, version: i16) -> R::Response<'s> {
        self.send(request, version);
        self.receive::<R>(version, 0)
    }

    /// A frame of these bytes.
    pub fn send_raw(&mut self, body: &[u8]) {
        self.stream.write_all(&(body.len() as i32).to_be_bytes()).unwrap();
        self.stream.write_all(body).unwrap();
    }

    /// Waits until the broker has closed the connection.
    pub fn assert_closed(&mut self, why: &str) {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => panic!("an answer instead of a closed connection: {why}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{why}"),
        }
    }

    pub fn produce(&mut self, topic: &str, partition: i32, records: Option<&[u8]>) -> Produced {
        self.produce_with(topic, partition, records, -1, 12)
    }

    pub fn produce_with(
        &mut self,
        topic: &str,
        partition: i32,
        records: Option<&[u8]>,
        acks: i16,
        version: i16,
    ) -> Produced {
        let request = produce_request(topic, partition, records, acks);
        let response = self.call(&request, version);
        assert_eq!(response.responses.len(), 1);
        assert_eq!(response.responses[0].name, topic);
        let [answer] = &response.responses[0].partition_responses[..] else {
            panic!("one partition was asked for")
        };
        assert_eq!(answer.index, partition);
        Produced {
            error: answer.error_code,
            base_offset: answer.base_offset,
            log_append_time_ms: answer.log_append_time_ms,
            log_start_offset: answer.log_start_offset,
            record_errors: answer.record_errors.iter().map(|r| r.batch_index).collect(),
            message: answer.error_message.map(str::to_owned),
        }
    }

    /// Values of the records that a fetch returns, from whole batches.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Vec<String> {
        let response = self.call(&fetch_request(topic, partition, offset, 0, 1), 12);
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, ErrorCode::NONE);
        values(data.records.as_ref().and_then(|r| r.bytes()).unwrap_or_default())
    }

    pub fn topic_id(&mut self, topic: &str) -> Uuid {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name: Some(topic), ..Default::default() }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        self.call(&request, 12).topics[0].topic_id
    }

    pub fn producer_id(&mut self) -> i64 {
        let response = self.call(
            &InitProducerIdRequest { transactional_id: None, producer_epoch: -1, ..Default::default() },
            4,
        );
        assert_eq!(response.error_code, ErrorCode::NONE);
        response.producer_id
    }
}

/// What a produce request was answered for its one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    pub error: ErrorCode,
    pub base_offset: i64,
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
    pub record_errors: Vec<i32>,
    pub message: Option<String>,
}

pub fn produce_request<'a>(
    topic: &'a str,
    partition: i32,
    records: Option<&'a [u8]>,
    acks: i16,
) -> ProduceRequest<'a> {
    ProduceRequest {
        acks,
        timeout_ms: 30_000,
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

pub fn fetch_request(
    topic: &str,
    partition: i32,
    fetch_offset: i64,
    max_wait_ms: i32,
    min_bytes: i32,
) -> FetchRequest<'_> {
    FetchRequest {
        max_wait_ms,
        min_bytes,
        max_bytes: 50 << 20,
        topics: vec![FetchTopic {
            topic,
            partitions: vec![FetchPartition {
                partition,
                fetch_offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub const NOW: i64 = 1_700_000_000_000;

/// A batch of these values, plain, without producer id.
pub fn batch(values: &[&str]) -> Vec<u8> {
    stamped(values, Stamp::NONE)
}

pub fn stamped(values: &[&str], by: Stamp) -> Vec<u8> {
    build(values, by, NOW)
}

pub fn build(values: &[&str], by: Stamp, timestamp: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut bytes = vec![0; HEADER_LEN + values.iter().map(|v| 100 + v.len()).sum::<usize>()];
    let mut at = HEADER_LEN;
    for value in values {
        at += builder.append(
            &mut bytes[at..],
            timestamp,
            None,
            Some(value.as_bytes()),
            rohrpost_record::NO_HEADERS,
        );
    }
    bytes.truncate(at);
    let head: &mut [u8; HEADER_LEN] = bytes.first_chunk_mut().unwrap();
    builder.write_header(head, Codec::None, at - HEADER_LEN, false);
    stamp(&mut bytes, [], by);
    bytes
}

/// Writes the checksum anew, after the bytes were tampered with.
pub fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = rohrpost_record::crc::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

pub fn values(records: &[u8]) -> Vec<String> {
    let mut scratch = Vec::new();
    let mut out = Vec::new();
    for batch in rohrpost_record::Batches::new(records) {
        for record in batch.unwrap().records(&mut scratch, 1 << 30).unwrap() {
            out.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    out
}

/// Values in a log, as the cluster sees them.
pub fn log_values(cluster: &Cluster, topic: &str, partition: i32) -> Vec<String> {
    let records = cluster.log(topic, partition).records();
    records.into_iter().map(|r| String::from_utf8(r.value.unwrap()).unwrap()).collect()
}

/// Waits for something that another thread brings about.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::yield_now();
    }
}
