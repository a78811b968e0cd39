//! The same bytes to our broker and to Apache Kafka: what each answers, field by field, and where they differ.
//!
//! A [`Case`] is a few requests on a connection of its own. After each request goes a small question that every broker answers
//! (ApiVersions 0), so that "no answer" needs no clock: the question was answered and the request was not. Only a broker that
//! leaves its connection hanging is found by waiting.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rohrpost_protocol::messages::{
    ApiVersionsRequest, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
    FetchResponse, InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse,
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData, list_offsets,
};
use rohrpost_protocol::{
    ApiKey, CodecError, Decoder, Kind, Message, Request, ResponseHeader, Uuid, describe_body, encode_request,
};

/// The question after each request.
const PROBE_ID: i32 = i32::MAX;
/// Until all partitions must have a leader.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Fields of an answer that are told one by one.
const FIELDS_SHOWN: usize = 5;
/// Characters of a value that are told.
const VALUE_SHOWN: usize = 40;
/// Cases at a time.
const WORKERS: usize = 12;

/// One of the two brokers.
#[derive(Debug, Clone)]
pub struct Side {
    address: String,
    /// Until it counts as silent.
    patience: Duration,
    topic_ids: HashMap<String, Uuid>,
}

/// What a connection has learned, for requests that build on answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// The fetch session that was opened last.
    pub session_id: i32,
    /// The producer id that was given last.
    pub producer_id: i64,
}

/// Makes a request's frame, size included: from the side, what was learned, and the correlation id to use.
type Frame = Box<dyn Fn(&Side, Memory, i32) -> Vec<u8> + Send + Sync>;

/// One request.
pub struct Step {
    api_key: i16,
    version: i16,
    frame: Frame,
}

/// Requests on a connection of its own, under a name and, in the table, an API.
pub struct Case {
    /// The table's first cell.
    pub api: String,
    /// Unique within the API.
    pub input: String,
    /// The version of the last request; -1 where that means nothing.
    pub version: i16,
    /// One after the other; each waits for the answer to the one before.
    pub steps: Vec<Step>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its fields, with their paths; what differs from broker to broker by nature is replaced by a word.
    Answer(Vec<(String, String)>),
    /// None, and the connection goes on.
    NoAnswer,
    /// The connection was closed.
    Closed,
    /// Neither it nor what came after it was answered in time.
    Silent,
    /// The answer is not what the protocol says.
    Unreadable(String),
}

impl Step {
    /// A request that does not depend on the side.
    pub fn of<R>(version: i16, make: impl Fn() -> R + Send + Sync + 'static) -> Step
    where
        R: Request<'static> + 'static,
    {
        Step::with(version, move |_, _| make())
    }

    /// A request that does.
    pub fn with<R>(version: i16, make: impl Fn(&Side, Memory) -> R + Send + Sync + 'static) -> Step
    where
        R: Request<'static> + 'static,
    {
        let frame = move |side: &Side, memory: Memory, id: i32| frame_of(&make(side, memory), version, id);
        Step { api_key: R::API_KEY as i16, version, frame: Box::new(frame) }
    }

    /// Bytes as they are. `api_key` and `version` say how an answer would be read.
    pub fn raw(api_key: i16, version: i16, frame: impl Fn(i32) -> Vec<u8> + Send + Sync + 'static) -> Step {
        Step { api_key, version, frame: Box::new(move |_, _, id| frame(id)) }
    }
}

/// A frame of this request; panics if the version cannot carry it.
pub fn frame_of<'a, R: Request<'a>>(request: &R, version: i16, correlation_id: i32) -> Vec<u8> {
    let encoder = encode_request(request, version, correlation_id, Some("test"))
        .unwrap_or_else(|error| panic!("{} {version}: {error}", R::NAME));
    assert!(encoder.gaps().is_empty(), "records stand in the request");
    encoder.bytes().to_vec()
}

impl Side {
    /// A broker at this address; makes the topics there that the cases need, and learns their ids.
    ///
    /// `patience` is how long it may take for an answer before it counts as silent.
    pub fn prepare(address: &str, patience: Duration, topics: &[TopicSpec]) -> Side {
        let mut side = Side { address: address.to_owned(), patience, topic_ids: HashMap::new() };
        let wanted = topics.iter().map(|topic| CreatableTopic {
            name: &topic.name,
            num_partitions: topic.partitions,
            replication_factor: 1,
            configs: topic
                .configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig { name, value: Some(value), ..Default::default() })
                .collect(),
            ..Default::default()
        });
        let request =
            CreateTopicsRequest { topics: wanted.collect(), timeout_ms: 60_000, ..Default::default() };
        let body = side.call(&request, 7);
        let made = CreateTopicsResponse::decode(&mut Decoder::new(&body), 7).expect("an answer");
        for topic in &made.topics {
            assert!(
                !topic.error_code.is_error(),
                "{}: {:?} {:?}",
                topic.name,
                topic.error_code,
                topic.error_message
            );
            side.topic_ids.insert(topic.name.to_owned(), topic.topic_id);
        }
        side.await_leaders(topics);
        side.fill(topics);
        side
    }

    /// The id of a topic that was prepared.
    pub fn id(&self, topic: &str) -> Uuid {
        *self.topic_ids.get(topic).unwrap_or_else(|| panic!("no topic {topic} was prepared"))
    }

    /// Kafka answers before it has made the partitions (M3), and before it can give producer ids.
    fn await_leaders(&self, topics: &[TopicSpec]) {
        let asked = topics.iter().map(|topic| list_offsets::ListOffsetsTopic {
            name: &topic.name,
            partitions: (0..topic.partitions)
                .map(|partition_index| list_offsets::ListOffsetsPartition {
                    partition_index,
                    timestamp: -1,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let ends = ListOffsetsRequest { replica_id: -1, topics: asked.collect(), ..Default::default() };
        let id = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 1000,
            ..Default::default()
        };
        let start = Instant::now();
        loop {
            let body = self.call(&ends, 7);
            let ends = ListOffsetsResponse::decode(&mut Decoder::new(&body), 7).expect("an answer");
            let mut partitions = ends.topics.iter().flat_map(|topic| &topic.partitions);
            let body = self.call(&id, 4);
            let id = InitProducerIdResponse::decode(&mut Decoder::new(&body), 4).expect("an answer");
            if partitions.all(|partition| !partition.error_code.is_error()) && !id.error_code.is_error() {
                return;
            }
            assert!(start.elapsed() < READY_WITHIN, "{} is not ready: {id:?} {ends:?}", self.address);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Writes what the topics are to hold.
    fn fill(&self, topics: &[TopicSpec]) {
        for topic in topics {
            let Some(records) = &topic.records else { continue };
            let data = PartitionProduceData {
                records: Some(rohrpost_protocol::Records::Bytes(records)),
                ..Default::default()
            };
            let data =
                TopicProduceData { name: &topic.name, partition_data: vec![data], ..Default::default() };
            let request =
                ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![data], ..Default::default() };
            let body = self.call(&request, 9);
            let answer = ProduceResponse::decode(&mut Decoder::new(&body), 9).expect("an answer");
            let error = answer.responses[0].partition_responses[0].error_code;
            assert!(!error.is_error(), "{}: {error:?}", topic.name);
        }
    }

    /// The body of the answer to a request that must succeed.
    fn call<'a, R: Request<'a>>(&self, request: &R, version: i16) -> Vec<u8> {
        let mut stream = self.connect(Duration::from_secs(120));
        stream.write_all(&frame_of(request, version, 1)).expect("the broker reads");
        let frame = read_frame(&mut stream).expect("the broker answers");
        let mut input = Decoder::new(&frame);
        ResponseHeader::decode(&mut input, R::API_KEY.response_header_version(version)).expect("a header");
        frame[input.position()..].to_vec()
    }

    fn connect(&self, patience: Duration) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("the broker listens");
        stream.set_read_timeout(Some(patience)).expect("a timeout can be set");
        stream.set_write_timeout(Some(patience)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("nodelay can be set");
        stream
    }

    /// What becomes of each request of a case.
    pub fn run(&self, case: &Case) -> Vec<Outcome> {
        let mut stream = self.connect(self.patience);
        let mut memory = Memory::default();
        let mut outcomes = Vec::new();
        for (at, step) in case.steps.iter().enumerate() {
            let id = at as i32 + 1;
            let mut bytes = (step.frame)(self, memory, id);
            bytes.extend_from_slice(&frame_of(&ApiVersionsRequest::default(), 0, PROBE_ID));
            let outcome = match stream.write_all(&bytes) {
                Ok(()) => self.read_outcome(&mut stream, step, id, &mut memory),
                Err(_) => Outcome::Closed,
            };
            let goes_on = matches!(outcome, Outcome::Answer(_) | Outcome::NoAnswer);
            outcomes.push(outcome);
            if !goes_on {
                break;
            }
        }
        outcomes
    }

    fn read_outcome(&self, stream: &mut TcpStream, step: &Step, id: i32, memory: &mut Memory) -> Outcome {
        let mut answer = None;
        loop {
            let frame = match read_frame(stream) {
                Ok(frame) => frame,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Outcome::Silent;
                }
                Err(_) => {
                    // an answer, and then the end: both belong to the outcome
                    return match answer {
                        Some(Outcome::Answer(mut fields)) => {
                            fields.push(("connection".to_owned(), "closed".to_owned()));
                            Outcome::Answer(fields)
                        }
                        _ => Outcome::Closed,
                    };
                }
            };
            match frame.first_chunk().map(|id| i32::from_be_bytes(*id)) {
                Some(PROBE_ID) => return answer.unwrap_or(Outcome::NoAnswer),
                Some(found) if found == id => answer = Some(self.read_answer(&frame, step, memory)),
                other => return Outcome::Unreadable(format!("correlation id {other:?}")),
            }
        }
    }

    fn read_answer(&self, frame: &[u8], step: &Step, memory: &mut Memory) -> Outcome {
        let Some(api) = ApiKey::from_i16(step.api_key) else {
            return Outcome::Unreadable("an answer to an unknown API".to_owned());
        };
        // an ApiVersions answer to a version that is not known is in version 0 (G3)
        let known = api != ApiKey::ApiVersions || (0..=4).contains(&step.version);
        let version = if known { step.version } else { 0 };
        let mut input = Decoder::new(frame);
        if let Err(error) = ResponseHeader::decode(&mut input, api.response_header_version(version)) {
            return Outcome::Unreadable(error.to_string());
        }
        let body = &frame[input.position()..];
        match api {
            ApiKey::Fetch => {
                let answer = FetchResponse::decode(&mut Decoder::new(body), version);
                memory.session_id = answer.map_or(0, |answer| answer.session_id);
            }
            ApiKey::InitProducerId => {
                let answer = InitProducerIdResponse::decode(&mut Decoder::new(body), version);
                memory.producer_id = answer.map_or(-1, |answer| answer.producer_id);
            }
            _ => {}
        }
        match describe_body(step.api_key, version, Kind::Response, body) {
            Ok(text) => Outcome::Answer(self.normalised(flatten(&text))),
            Err(CodecError::UnknownApi(_)) => {
                let start: String = body.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                Outcome::Answer(vec![("body".to_owned(), format!("0x{start}"))])
            }
            Err(error) => Outcome::Unreadable(error.to_string()),
        }
    }

    /// Replaces what is a broker's own by a word, and drops texts for people: their wording is free.
    fn normalised(&self, fields: Vec<(String, String)>) -> Vec<(String, String)> {
        let ids: HashMap<String, &String> =
            self.topic_ids.iter().map(|(name, id)| (format!("{id:?}"), name)).collect();
        let mut out: Vec<(String, String)> = Vec::new();
        for (path, mut value) in fields {
            // bytes are printed one by one
            if let Some((records, _)) =
                path.rsplit_once('.').filter(|(path, _)| path.ends_with(".records.0.0"))
            {
                match out.last_mut().filter(|(path, _)| path == records) {
                    Some((_, bytes)) => bytes.extend([" ", &value]),
                    None => out.push((records.to_owned(), value)),
                }
                continue;
            }
            let name = path.rsplit('.').find(|part| part.parse::<usize>().is_err()).unwrap_or_default();
            match name {
                "unknown_tags" | "error_message" | "batch_index_error_message" => continue,
                "topic_id" if value == format!("{:?}", Uuid::default()) => value = "zero".to_owned(),
                "topic_id" => {
                    value = ids.get(&value).map_or("unknown".to_owned(), |name| format!("of {name}"))
                }
                "cluster_id" | "host" | "port" => value = "its own".to_owned(),
                "session_id" if value.parse().is_ok_and(|id: i32| id > 0) => value = "some".to_owned(),
                "producer_id" if value.parse().is_ok_and(|id: i64| id >= 0) => value = "some".to_owned(),
                "index" | "partition_index"
                    if value.parse().is_ok_and(|at: i32| (0..100_000).contains(&at)) =>
                {
                    value = "asked".to_owned();
                }
                "log_append_time_ms" if value.parse().is_ok_and(|time: i64| time > 1_760_000_000_000) => {
                    value = "now".to_owned();
                }
                _ => {}
            }
            out.push((path, value));
        }
        out
    }
}

/// A topic that both brokers get.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// Its settings.
    pub configs: Vec<(&'static str, &'static str)>,
    /// A batch for partition 0, to be there before the cases begin.
    pub records: Option<Vec<u8>>,
}

/// Runs all cases against a broker, several at a time.
pub fn run_all(side: &Side, cases: &[Case]) -> Vec<Vec<Outcome>> {
    let next = Mutex::new(0..cases.len());
    let found = Mutex::new(vec![Vec::new(); cases.len()]);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(at) = next.lock().expect("no worker panicked").next() else { return };
                    let outcomes = side.run(&cases[at]);
                    found.lock().expect("no worker panicked")[at] = outcomes;
                }
            });
        }
    });
    found.into_inner().expect("no worker panicked")
}

/// A kind of difference, and the inputs that show it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The API.
    pub api: String,
    /// What Apache Kafka did, as far as it differs.
    pub kafka: String,
    /// What we did, as far as it differs.
    pub ours: String,
}

/// Compares the outcomes of all cases: each difference, and which inputs in which versions show it.
pub fn compare(
    cases: &[Case],
    kafka: &[Vec<Outcome>],
    ours: &[Vec<Outcome>],
) -> BTreeMap<Difference, BTreeMap<String, Vec<i16>>> {
    let mut found = BTreeMap::<Difference, BTreeMap<String, Vec<i16>>>::new();
    for ((case, kafka), ours) in cases.iter().zip(kafka).zip(ours) {
        if kafka == ours {
            continue;
        }
        let first = kafka.iter().zip(ours).position(|(kafka, ours)| kafka != ours);
        let at = first.expect("one ended earlier only because it differed before");
        let (kafka, ours) = differing(&kafka[at], &ours[at]);
        let difference = Difference { api: case.api.clone(), kafka, ours };
        found.entry(difference).or_default().entry(case.input.clone()).or_default().push(case.version);
    }
    found
}

/// Those fields that differ, in words.
fn differing(kafka: &Outcome, ours: &Outcome) -> (String, String) {
    let (Outcome::Answer(theirs), Outcome::Answer(mine)) = (kafka, ours) else {
        return (kafka.to_string(), ours.to_string());
    };
    let only = |fields: &[(String, String)], others: &[(String, String)]| {
        let fields = fields.iter().filter(|field| !others.contains(field));
        let mut shown: Vec<String> = fields
            .map(|(path, value)| match value.char_indices().nth(VALUE_SHOWN) {
                Some((end, _)) => format!("{} {}\u{2026}", short(path), &value[..end]),
                None => format!("{} {value}", short(path)),
            })
            .collect();
        if shown.len() > FIELDS_SHOWN + 1 {
            let more = shown.len() - FIELDS_SHOWN;
            shown.truncate(FIELDS_SHOWN);
            shown.push(format!("and {more} fields more"));
        }
        if shown.is_empty() { "without".to_owned() } else { shown.join(", ") }
    };
    (only(theirs, mine), only(mine, theirs))
}

/// A path without the steps that all fields of an answer share.
fn short(path: &str) -> &str {
    match path.match_indices('.').rev().nth(1) {
        Some((at, _))
            if path[at + 1..].split('.').next().is_some_and(|part| part.parse::<usize>().is_err()) =>
        {
            &path[at + 1..]
        }
        _ => path.rsplit('.').find(|part| part.parse::<usize>().is_err()).unwrap_or(path),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answer(fields) => {
                let errors: Vec<&str> = fields
                    .iter()
                    .filter(|(path, value)| path.ends_with("error_code") && !value.starts_with("NONE"))
                    .map(|(_, value)| value.as_str())
                    .collect();
                if errors.is_empty() { f.write_str("success") } else { f.write_str(&errors.join(", ")) }
            }
            Outcome::NoAnswer => f.write_str("no answer, the connection goes on"),
            Outcome::Closed => f.write_str("the connection is closed"),
            Outcome::Silent => f.write_str("never answers"),
            Outcome::Unreadable(why) => write!(f, "unreadable: {why}"),
        }
    }
}

/// Takes a printed struct apart, one field a line: paths and values.
fn flatten(text: &str) -> Vec<(String, String)> {
    let mut path: Vec<(String, usize)> = Vec::new();
    let mut out = Vec::new();
    for line in text.lines().map(str::trim) {
        if matches!(line, "}" | "}," | "]" | "]," | ")" | "),") {
            path.pop();
            continue;
        }
        let (name, rest) = match line.split_once(": ") {
            Some((name, rest)) if !name.starts_with('"') => (name.to_owned(), rest),
            _ => {
                // an item of an array, the inside of an option, or the message itself
                let number = path.last_mut().map_or(0, |(_, items)| std::mem::replace(items, *items + 1));
                (number.to_string(), line)
            }
        };
        if rest.ends_with(['{', '[', '(']) {
            path.push((name, 0));
            continue;
        }
        let mut full: Vec<&str> = path.iter().skip(1).map(|(name, _)| name.as_str()).collect();
        full.push(&name);
        out.push((full.join("."), rest.trim_end_matches(',').to_owned()));
    }
    out
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size)).map_err(std::io::Error::other)?;
    let mut frame = vec![0; size];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_answer_becomes_paths_and_values() {
        let text = "Response {\n  a: 1,\n  list: [\n    Item {\n      b: Some(\n        \"x: y\",\n      ),\n    },\n    7,\n  ],\n  none: [],\n}";
        let expected = [("a", "1"), ("list.0.b.0", "\"x: y\""), ("list.1", "7"), ("none", "[]")];
        assert_eq!(flatten(text), expected.map(|(path, value)| (path.to_owned(), value.to_owned())));
    }
}
