//! Target: a whole broker in memory, by way of a socket.
//!
//! Input: how (requests, stream). Requests: each with its length, header included. Stream: how many bytes are written at a
//! time, and what is written. Requests that may rightly wait for long are left out.
//!
//! Promises: every request of an API that is served gets an answer that a client can read, or a closed connection; no
//! thread of the broker panics; the next connection is served.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use rohrpost_broker::Cluster;
use rohrpost_protocol::messages::{
    CreateTopicsRequest, FetchRequest, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
    MetadataRequest, MetadataRequestTopic, PartitionProduceData, ProduceRequest, TopicProduceData,
};
use rohrpost_protocol::{
    ApiKey, Decoder, Kind, Message, Records, RequestHeader, ResponseHeader, encode_request, frame,
    reencode_body,
};
use rohrpost_record::{Codec, Stamp};

use crate::input::{Input, put_counted};
use crate::log_recovery::batch;
use crate::vectors::{SEED_BYTES_MAX, bytes, cases};

/// A broker lives for so many inputs, so that its topics do not pile up.
const LIFE: u32 = 300;
/// Nothing here may take so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
pub fn run(data: &[u8]) {
    static WORLD: Mutex<Option<(Cluster, u32)>> = Mutex::new(None);
    let mut world = WORLD.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if world.as_ref().is_none_or(|(_, age)| *age >= LIFE) {
        let cluster = Cluster::builder().topic("t", 2, 1).start().expect("a broker starts");
        *world = Some((cluster, 0));
    }
    let (cluster, age) = world.as_mut().expect("it was just made");
    *age += 1;
    let mut input = Input::new(data);
    match input.byte() % 2 {
        REQUESTS => requests(cluster, input),
        _ => stream(cluster, input),
    }
    // the next client is served
    let metadata = encode_request(&MetadataRequest::default(), 12, 1, None).expect("a valid request");
    assert!(
        talk(connect(cluster), &metadata.bytes()[4..]).is_some(),
        "a good request is not answered any more"
    );
}

const REQUESTS: u8 = 0;
const STREAM: u8 = 1;

fn requests(cluster: &Cluster, mut input: Input<'_>) {
    let mut stream = None;
    let mut requests = 0;
    while !input.is_empty() && requests < 8 {
        let request = input.counted();
        if request.is_empty() || may_wait(request) {
            continue;
        }
        requests += 1;
        let open = stream.take().unwrap_or_else(|| connect(cluster));
        stream = talk(open, request);
    }
}

/// Bytes in pieces, then nothing more: the broker answers what it can and closes the connection (N8, CON-9).
fn stream(cluster: &Cluster, mut input: Input<'_>) {
    let step = usize::from(input.byte()).max(1) * 8;
    let bytes = input.rest();
    let mut rest = bytes;
    while let Ok(frame::Progress::Complete(len)) = frame::check(rest, frame::DEFAULT_MAX_SIZE) {
        let (request, behind) = rest[frame::SIZE_LEN..].split_at(len);
        if may_wait(request) {
            return;
        }
        rest = behind;
    }
    let mut stream = connect(cluster);
    for piece in bytes.chunks(step) {
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    // it may be closed already
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    match stream.take(1 << 24).read_to_end(&mut answers) {
        Ok(_) => assert!(answers.len() < 1 << 24, "16 MiB of answers to {} bytes", bytes.len()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
        Err(error) => panic!("a connection that has ended is not closed: {error}"),
    }
    let mut rest = &answers[..];
    while !rest.is_empty() {
        match frame::check(rest, 1 << 24) {
            Ok(frame::Progress::Complete(len)) => rest = &rest[frame::SIZE_LEN + len..],
            cut => panic!("answers are whole frames: {cut:?}"),
        }
    }
}

/// See the module.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        vec![STREAM, 0, 0x7f, 0xff, 0xff, 0xff],
        vec![STREAM, 0, 0, 0, 0, 0],
        vec![STREAM, 0, 0xff, 0xff, 0xff, 0xff],
    ];
    let mut add = |request: &[u8]| {
        let mut seed = vec![REQUESTS];
        put_counted(&mut seed, request);
        seeds.push(seed);
        let frame = [&(request.len() as i32).to_be_bytes(), request].concat();
        seeds.push([&[STREAM, 3][..], &frame, &frame].concat());
    };
    for case in cases("messages.jsonl").iter().filter(|case| case["type"] == "request") {
        let body = bytes(case, "hex");
        let number = |field: &str| case[field].as_i64().unwrap_or(0) as i16;
        if body.len() > SEED_BYTES_MAX || case["unstable"] == true {
            continue;
        }
        let mut request = Vec::new();
        request.extend(number("apiKey").to_be_bytes());
        request.extend(number("version").to_be_bytes());
        request.extend([0, 0, 0, 1, 0, 1, b'x']);
        if number("headerVersion") >= 2 {
            request.push(0);
        }
        request.extend(body);
        add(&request);
    }
    let records = batch(2, Codec::None, Stamp::NONE);
    let partition =
        PartitionProduceData { index: 0, records: Some(Records::Bytes(&records)), ..Default::default() };
    let produce = ProduceRequest {
        acks: -1,
        timeout_ms: 100,
        topic_data: vec![TopicProduceData {
            name: "t",
            partition_data: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    add(&encode_request(&produce, 12, 1, Some("x")).expect("a valid request").bytes()[4..]);
    let list = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: "t",
            partitions: vec![ListOffsetsPartition { timestamp: -1, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    add(&encode_request(&list, 9, 1, Some("x")).expect("a valid request").bytes()[4..]);
    let topics = Some(vec![MetadataRequestTopic { name: Some("t"), ..Default::default() }]);
    let metadata = MetadataRequest { topics, ..Default::default() };
    add(&encode_request(&metadata, 12, 1, Some("x")).expect("a valid request").bytes()[4..]);
    seeds
}

/// Fetches that wait for data, and changes that would take the machine rather than the broker.
fn may_wait(request: &[u8]) -> bool {
    let mut input = Decoder::new(request);
    let Ok((api, header)) = RequestHeader::read(&mut input) else { return false };
    let version = header.api_version;
    match api {
        ApiKey::Fetch => FetchRequest::decode(&mut input, version)
            .is_ok_and(|fetch| fetch.min_bytes > 0 && fetch.max_wait_ms > 50),
        ApiKey::CreateTopics => CreateTopicsRequest::decode(&mut input, version).is_ok_and(|create| {
            create.topics.iter().any(|topic| topic.num_partitions > 50 || topic.assignments.len() > 50)
        }),
        _ => false,
    }
}

fn connect(cluster: &Cluster) -> TcpStream {
    let stream = TcpStream::connect(cluster.address()).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_nodelay(true).expect("an option can be set");
    stream
}

/// Sends a request and reads its answer; gives the connection back if the broker has not closed it.
fn talk(mut stream: TcpStream, request: &[u8]) -> Option<TcpStream> {
    let frame = [&(request.len() as i32).to_be_bytes(), request].concat();
    stream.write_all(&frame).ok()?;
    let mut input = Decoder::new(request);
    let header = RequestHeader::read(&mut input);
    if let Ok((ApiKey::Produce, header)) = &header
        && ProduceRequest::decode(&mut input, header.api_version).is_ok_and(|produce| produce.acks == 0)
    {
        // N13: no answer, and perhaps a closed connection
        return None;
    }
    let mut size = [0; 4];
    match stream.read_exact(&mut size) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            return None;
        }
        Err(error) => panic!("neither an answer nor a closed connection: {error}"),
    }
    let mut answer = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).expect("the whole answer");
    let (api, header) = header.expect("what is no request gets no answer");
    let (version, header_version) = match api {
        ApiKey::ApiVersions if !api.versions().contains(header.api_version) => (0, 0),
        _ => (header.api_version, api.response_header_version(header.api_version)),
    };
    let mut input = Decoder::new(&answer);
    let found = ResponseHeader::decode(&mut input, header_version).expect("a response header");
    assert_eq!(found.correlation_id, header.correlation_id);
    let body = input.rest();
    let again =
        reencode_body(api as i16, version, Kind::Response, body).expect("an answer that a client can read");
    assert!(again == body, "{} {version}: an answer is written as a writer would", api.name());
    Some(stream)
}
