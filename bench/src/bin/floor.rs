//! The machine's floor: what it costs to encode records into batches, checksum them, write them to a socket and read the answers,
//! and nothing else. `scripts/floor` runs it beside `rohrpost perf produce`.
//!
//! One thread, one blocking socket. The same bytes on the wire as the producer's: batches of `batch.size` with producer id, epoch and
//! sequence, one batch per partition and request, acks=all, up to five requests in flight. Up to 16 batches go into one `writev`, and
//! answers are read only when five requests are in flight, or at the end.
//!
//! What it leaves out is what a producer is for: no call per record, no other thread, no handle, no memory to wait for, no retry. A
//! batch's memory is used again as soon as it is written, so it stays in the cache. All records have the same size, so that the frame
//! around the batches is made once.
//!
//! ```text
//! floor BOOTSTRAP TOPIC RECORDS SIZE [BATCH_SIZE]
//! ```

#[path = "../../../crates/cli/src/perf/usage.rs"]
mod usage;

use std::error::Error;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rohrpost_net::{Client, ClientConfig, Target, parse_bootstrap_servers};
use rohrpost_protocol::messages::{
    InitProducerIdRequest, PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use rohrpost_protocol::{
    ApiKey, Decoder, ErrorCode, Gap, Message as _, Records, ResponseHeader, Uuid, encode_request,
};

use self::usage::{Cpu, peak_memory_bytes};

const IN_FLIGHT_MAX: usize = 5;
const BATCHES_PER_WRITE: usize = 16;
/// Values are slices of an area of this size, as in `rohrpost perf produce`.
const AREA_BYTES: usize = 1 << 20;
const HEADER_LEN: usize = 61;
/// Where the checksum lies, and where what it covers begins.
const AT_CRC: usize = 17;
const AT_ATTRIBUTES: usize = 21;
/// Where the correlation id lies in a frame: after size, key and version.
const AT_CORRELATION: usize = 8;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[allow(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (bootstrap, topic, records, size, batch_size) = match arguments.as_slice() {
        [bootstrap, topic, records, size] => (bootstrap, topic, records, size, "16384"),
        [bootstrap, topic, records, size, batch] => (bootstrap, topic, records, size, batch.as_str()),
        _ => return Err("usage: floor BOOTSTRAP TOPIC RECORDS SIZE [BATCH_SIZE]".into()),
    };
    let (records, size, batch_size): (u64, usize, usize) =
        (records.parse()?, size.parse()?, batch_size.parse()?);
    if size == 0 || size > AREA_BYTES / 2 {
        return Err(format!("SIZE is 1 to {}", AREA_BYTES / 2).into());
    }
    let peer = Peer::find(bootstrap, topic)?;
    let partitions = peer.partitions;
    let mut floor = Floor::new(peer, Shape::new(size, batch_size)?)?;
    let per_request = u64::from(floor.shape.records) * partitions as u64;
    // whole requests: the last one of a real run would be a little shorter
    let requests = records.div_ceil(per_request);

    let cpu = Cpu::now();
    let start = Instant::now();
    floor.send(requests)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = Cpu::now().zip(cpu).map(|(now, before)| now.since(before));

    let records = requests * per_request;
    let per_record = |time: std::time::Duration| time.as_secs_f64() * 1e6 / records as f64;
    println!(
        "{}",
        serde_json::json!({
            "records": records,
            "seconds": seconds,
            "records_per_second": records as f64 / seconds,
            "megabytes_per_second": (records * size as u64) as f64 / 1e6 / seconds,
            "cpu_user_us_per_record": cpu.map(|cpu| per_record(cpu.user)),
            "cpu_system_us_per_record": cpu.map(|cpu| per_record(cpu.system)),
            "peak_memory_bytes": peak_memory_bytes(),
            "topic": topic,
            "partitions": partitions,
            "failed": 0,
            "retries": 0,
            "size": size,
            "batches": requests * partitions as u64,
            "requests": requests,
        })
    );
    Ok(())
}

/// Who is written to, and as whom.
struct Peer {
    stream: TcpStream,
    topic: String,
    topic_id: Uuid,
    partitions: usize,
    version: i16,
    producer_id: i64,
    producer_epoch: i16,
}

impl Peer {
    fn find(bootstrap: &str, topic: &str) -> Result<Peer> {
        let mut client = Client::connect(&parse_bootstrap_servers(bootstrap)?, ClientConfig::default())?;
        let metadata = client.metadata(Some(&[topic]))?;
        let found = metadata.topic(topic).ok_or("the broker does not name the topic")?;
        if found.error.is_error() {
            return Err(format!("topic '{topic}': {}", found.error.name()).into());
        }
        let leader = found.partitions.first().ok_or("the topic has no partitions")?.leader_id;
        if found.partitions.iter().any(|partition| partition.leader_id != leader) {
            return Err("all partitions must have the same leader".into());
        }
        let broker = metadata.brokers.iter().find(|broker| broker.id == leader).ok_or("no leader")?;
        let version = client.version(Target::Node(leader), ApiKey::Produce, ApiKey::Produce.versions())?;
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..Default::default()
        };
        let response = client.call(Target::Any, &request)?;
        let identity = response.decode::<InitProducerIdRequest<'_>>()?;
        if identity.error_code.is_error() {
            return Err(format!("InitProducerId: {}", identity.error_code.name()).into());
        }
        let stream = TcpStream::connect((broker.address.host.as_str(), broker.address.port))?;
        stream.set_nodelay(true)?;
        Ok(Peer {
            stream,
            topic: topic.to_owned(),
            topic_id: found.id,
            partitions: found.partitions.len(),
            version,
            producer_id: identity.producer_id,
            producer_epoch: identity.producer_epoch,
        })
    }

    /// The frame around batches of `len` bytes, one per partition.
    fn frame(&self, len: usize) -> Result<(Vec<u8>, Vec<Gap>)> {
        let partition = |index| PartitionProduceData {
            index,
            records: Some(Records::Elsewhere { len }),
            ..Default::default()
        };
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                name: &self.topic,
                topic_id: self.topic_id,
                partition_data: (0..self.partitions as i32).map(partition).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        Ok(encode_request(&request, self.version, 0, Some("floor"))?.into_parts())
    }
}

/// What every batch has in common.
struct Shape {
    size: usize,
    /// Records per batch.
    records: u32,
    /// Bytes of a batch.
    len: usize,
}

impl Shape {
    /// As many records as fit.
    fn new(size: usize, batch_size: usize) -> Result<Shape> {
        let mut shape = Shape { size, records: 0, len: HEADER_LEN };
        loop {
            let mut record = Vec::new();
            push_head(&mut record, shape.records, size);
            let more = record.len() + size + 1;
            if shape.records > 0 && shape.len + more > batch_size {
                return Ok(shape);
            }
            shape.records += 1;
            shape.len += more;
        }
    }
}

struct Floor {
    peer: Peer,
    shape: Shape,
    area: Vec<u8>,
    at: usize,
    /// The frames and batches of one write.
    frames: Vec<Vec<u8>>,
    gaps: Vec<Gap>,
    batches: Vec<Vec<u8>>,
    /// The next sequence of every partition: all batches have the same length.
    sequence: i32,
    correlation: i32,
    answers: Vec<u8>,
}

impl Floor {
    fn new(peer: Peer, shape: Shape) -> Result<Floor> {
        let (frame, gaps) = peer.frame(shape.len)?;
        let per_write = (BATCHES_PER_WRITE / peer.partitions).clamp(1, IN_FLIGHT_MAX);
        let mut area = vec![0; AREA_BYTES];
        fastrand::Rng::with_seed(1).fill(&mut area);
        Ok(Floor {
            frames: vec![frame; per_write],
            gaps,
            batches: vec![vec![0; shape.len]; per_write * peer.partitions],
            area,
            at: 0,
            sequence: 0,
            correlation: 0,
            answers: Vec::new(),
            shape,
            peer,
        })
    }

    fn send(&mut self, requests: u64) -> Result<()> {
        let (mut left, mut in_flight) = (requests, 0);
        while left > 0 || in_flight > 0 {
            while left > 0 && in_flight < IN_FLIGHT_MAX {
                let count = self.frames.len().min(IN_FLIGHT_MAX - in_flight).min(left as usize);
                self.encode(count)?;
                self.write(count)?;
                in_flight += count;
                left -= count as u64;
            }
            in_flight -= self.read()?;
        }
        Ok(())
    }

    /// The next `count` requests.
    fn encode(&mut self, count: usize) -> Result<()> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        for request in 0..count {
            self.frames[request][AT_CORRELATION..AT_CORRELATION + 4]
                .copy_from_slice(&self.correlation.to_be_bytes());
            self.correlation = self.correlation.wrapping_add(1);
            for partition in 0..self.peer.partitions {
                self.encode_batch(request * self.peer.partitions + partition, now_ms);
            }
            self.sequence = self.sequence.wrapping_add(self.shape.records as i32) & i32::MAX;
        }
        Ok(())
    }

    fn encode_batch(&mut self, number: usize, now_ms: i64) {
        let Shape { size, records, len } = self.shape;
        let batch = &mut self.batches[number];
        batch.clear();
        batch.extend_from_slice(&[0; 8]); // base offset
        batch.extend_from_slice(&(len as i32 - 12).to_be_bytes());
        batch.extend_from_slice(&(-1i32).to_be_bytes()); // leader epoch
        batch.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0]); // magic, checksum, attributes
        batch.extend_from_slice(&(records as i32 - 1).to_be_bytes());
        batch.extend_from_slice(&now_ms.to_be_bytes());
        batch.extend_from_slice(&now_ms.to_be_bytes());
        batch.extend_from_slice(&self.peer.producer_id.to_be_bytes());
        batch.extend_from_slice(&self.peer.producer_epoch.to_be_bytes());
        batch.extend_from_slice(&self.sequence.to_be_bytes());
        batch.extend_from_slice(&(records as i32).to_be_bytes());
        for index in 0..records {
            if self.at + size > self.area.len() {
                self.at = (self.at + 1) % size;
            }
            push_head(batch, index, size);
            batch.extend_from_slice(&self.area[self.at..self.at + size]);
            batch.push(0); // no headers
            self.at += size;
        }
        let crc = crc32c::crc32c(&batch[AT_ATTRIBUTES..]);
        batch[AT_CRC..AT_ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    }

    /// Writes `count` requests at once.
    fn write(&mut self, count: usize) -> Result<()> {
        let mut slices = Vec::with_capacity(count * (2 * self.peer.partitions + 1));
        let mut batches = self.batches.iter();
        for frame in &self.frames[..count] {
            let mut at = 0;
            for gap in &self.gaps {
                slices.push(IoSlice::new(&frame[at..gap.at]));
                slices.extend(batches.next().map(|batch| IoSlice::new(batch)));
                at = gap.at;
            }
            if at < frame.len() {
                slices.push(IoSlice::new(&frame[at..]));
            }
        }
        let mut slices = slices.as_mut_slice();
        while !slices.is_empty() {
            let written = self.peer.stream.write_vectored(slices)?;
            if written == 0 {
                return Err("the broker takes no more".into());
            }
            IoSlice::advance_slices(&mut slices, written);
        }
        Ok(())
    }

    /// Waits for at least one answer, and takes all that came with it.
    fn read(&mut self) -> Result<usize> {
        let mut count = 0;
        while count == 0 {
            let mut chunk = [0; 16 * 1024];
            let read = self.peer.stream.read(&mut chunk)?;
            if read == 0 {
                return Err("the broker closed the connection".into());
            }
            self.answers.extend_from_slice(&chunk[..read]);
            let mut at = 0;
            while let Some(size) = self.answers[at..].first_chunk() {
                let end = at + 4 + usize::try_from(i32::from_be_bytes(*size))?;
                let Some(frame) = self.answers.get(at + 4..end) else { break };
                check(frame, self.peer.version)?;
                at = end;
                count += 1;
            }
            self.answers.drain(..at);
        }
        Ok(count)
    }
}

/// What stands before a record's value: no key, the batch's time.
fn push_head(out: &mut Vec<u8>, offset_delta: u32, size: usize) {
    let body = 1 + 1 + varint_len(offset_delta) + 1 + varint_len(size as u32) + size + 1;
    push_varint(out, body as u32);
    out.extend_from_slice(&[0, 0]); // attributes, timestamp delta
    push_varint(out, offset_delta);
    out.push(1); // no key
    push_varint(out, size as u32);
}

/// Zigzag, of numbers that are not negative.
fn push_varint(out: &mut Vec<u8>, number: u32) {
    let mut rest = number << 1;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn varint_len(number: u32) -> usize {
    let bits = 32 - (number << 1 | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// An answer without errors.
fn check(frame: &[u8], version: i16) -> Result<()> {
    let mut input = Decoder::new(frame);
    ResponseHeader::decode(&mut input, ApiKey::Produce.response_header_version(version))?;
    let answer = ProduceResponse::decode(&mut input, version)?;
    for partition in answer.responses.iter().flat_map(|topic| &topic.partition_responses) {
        if partition.error_code != ErrorCode::NONE {
            return Err(format!("partition {}: {}", partition.index, partition.error_code.name()).into());
        }
    }
    Ok(())
}
