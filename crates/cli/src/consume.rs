//! `rohrpost consume`: records of a topic to standard output, partition by partition, without a consumer group.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::Duration;

use rohrpost_net::{Client, ClientError, NodeId, Response, Target as Node};
use rohrpost_protocol::messages::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use rohrpost_protocol::{ApiKey, ErrorCode, Records, Uuid, VersionRange};
use rohrpost_record::{Batches, Record};

use crate::args::{Consume, OutputFormat};
use crate::cluster::Target;
use crate::failure::Failure;
use crate::interrupt;
use crate::jsonl::{ConsumedLine, HeaderLine, KeyField, ValueField};
use crate::terminal;
use crate::topics::{EARLIEST, LATEST, connect, offset_at, partitions_of};

/// How long a broker may hold back an answer while nothing comes.
const WAIT_MAX_MS: i32 = 500;
const FETCH_BYTES_MAX: i32 = 16 * 1024 * 1024;
const PARTITION_BYTES_MAX: i32 = 1024 * 1024;
/// A batch that decompresses to more is refused.
const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Before a partition is asked for again that had no leader.
const LEADER_BACKOFF: Duration = Duration::from_millis(200);

pub(crate) fn run(options: &Consume) -> Result<(), Failure> {
    interrupt::catch(|count| {
        if count > 1 {
            std::process::exit(1);
        }
    })?;
    let target = Target::open(&options.cluster)?;
    let result = connect(&target.bootstrap_servers).and_then(|client| {
        let out = Output::new(options.format, options.max);
        let mut reader = Reader::open(client, options, out)?;
        say_where_it_begins(options);
        reader.read()
    });
    let closed = target.close();
    result.and(closed)
}

/// Who looks at a terminal on which nothing happens is told why.
fn say_where_it_begins(options: &Consume) {
    if options.from_beginning || options.offset.is_some() || !terminal::is_terminal() {
        return;
    }
    let what = match options.until_end {
        true => "nothing is read: it begins at the end of the topic, and ends there",
        false => "waiting for new records; Ctrl-C ends",
    };
    terminal::note(&format!("{what}; --from-beginning reads those that are there"));
}

/// Where records go.
pub(crate) trait Sink {
    /// It takes no more.
    fn is_done(&self) -> bool;
    /// One record.
    fn write(&mut self, topic: &str, partition: i32, record: &Record<'_>) -> Result<(), Failure>;
    /// There may be a pause now.
    fn flush(&mut self) -> Result<(), Failure>;
    /// Ctrl-C asks it to end.
    fn is_interrupted(&self) -> bool {
        interrupt::count() > 0
    }
}

/// What is read, how far, and where it goes.
pub(crate) struct Reader<S> {
    topic: String,
    client: Client,
    topic_id: Uuid,
    positions: BTreeMap<i32, Position>,
    out: S,
    scratch: Vec<u8>,
}

/// How far a partition is read, and how far it is to be read.
pub(crate) struct Position {
    pub(crate) next_offset: i64,
    /// With `--until-end`: where the partition ended at the start.
    pub(crate) end_offset: Option<i64>,
}

impl<S: Sink> Reader<S> {
    pub(crate) fn open(mut client: Client, options: &Consume, out: S) -> Result<Reader<S>, Failure> {
        let topic = options.topic.as_str();
        let metadata = client.metadata(Some(&[topic])).map_err(Failure::start)?;
        let all = partitions_of(&metadata, topic)?;
        let chosen = match options.partition {
            Some(partition) if !all.contains(&partition) => {
                return Err(Failure::start(ClientError::UnknownPartition {
                    topic: topic.to_owned(),
                    partition,
                    partitions: all.len(),
                }));
            }
            Some(partition) => vec![partition],
            None => all,
        };
        let mut positions = BTreeMap::new();
        for partition in chosen {
            let end = offset_at(&mut client, topic, partition, LATEST).map_err(Failure::start)?;
            let next_offset = match options.offset {
                Some(offset) => {
                    let start = offset_at(&mut client, topic, partition, EARLIEST).map_err(Failure::start)?;
                    if !(start..=end).contains(&offset) {
                        return Err(Failure::start(out_of_range(topic, partition, offset, start, end)));
                    }
                    offset
                }
                None if options.from_beginning => {
                    offset_at(&mut client, topic, partition, EARLIEST).map_err(Failure::start)?
                }
                None => end,
            };
            positions
                .insert(partition, Position { next_offset, end_offset: options.until_end.then_some(end) });
        }
        let topic_id = metadata.topic(topic).map(|topic| topic.id).unwrap_or_default();
        Ok(Reader::at(client, topic, topic_id, positions, out))
    }

    /// Reads these partitions from these positions on.
    pub(crate) fn at(
        client: Client,
        topic: &str,
        topic_id: Uuid,
        positions: BTreeMap<i32, Position>,
        out: S,
    ) -> Reader<S> {
        Reader { topic: topic.to_owned(), client, topic_id, positions, out, scratch: Vec::new() }
    }

    /// What it read with, and where records went.
    pub(crate) fn into_parts(self) -> (Client, S) {
        (self.client, self.out)
    }

    /// How many partitions it reads.
    pub(crate) fn partitions(&self) -> usize {
        self.positions.len()
    }

    /// Reads to the end, or for ever. After an error it may be called again, and goes on where it was.
    pub(crate) fn read(&mut self) -> Result<(), Failure> {
        while !self.out.is_interrupted() && !self.out.is_done() {
            self.positions.retain(|_, at| at.end_offset.is_none_or(|end| at.next_offset < end));
            if self.positions.is_empty() {
                break;
            }
            for (leader, partitions) in self.by_leader()? {
                match self.fetch(leader, &partitions) {
                    Ok(response) => self.take(&response)?,
                    // the connection broke: ask who leads now, and go on
                    Err(ClientError::Disconnected { .. }) => self.new_leaders(),
                    Err(error) => return Err(Failure::run(error)),
                }
                if self.out.is_done() {
                    break;
                }
            }
        }
        self.out.flush()
    }

    fn by_leader(&mut self) -> Result<BTreeMap<NodeId, Vec<i32>>, Failure> {
        let mut by_leader = BTreeMap::<NodeId, Vec<i32>>::new();
        for &partition in self.positions.keys() {
            let leader = self.client.leader(&self.topic, partition).map_err(Failure::run)?;
            by_leader.entry(leader).or_default().push(partition);
        }
        Ok(by_leader)
    }

    fn fetch(&mut self, leader: NodeId, partitions: &[i32]) -> Result<Response, ClientError> {
        let partitions = partitions.iter().filter_map(|&partition| {
            let at = self.positions.get(&partition)?;
            Some(FetchPartition {
                partition,
                fetch_offset: at.next_offset,
                partition_max_bytes: PARTITION_BYTES_MAX,
                ..Default::default()
            })
        });
        let topic = FetchTopic {
            topic: &self.topic,
            topic_id: self.topic_id,
            partitions: partitions.collect(),
            ..Default::default()
        };
        let request = FetchRequest {
            max_wait_ms: WAIT_MAX_MS,
            min_bytes: 1,
            max_bytes: FETCH_BYTES_MAX,
            topics: vec![topic],
            ..Default::default()
        };
        // from version 13 on topics have ids only
        let ours = ApiKey::Fetch.versions();
        let versions = if self.topic_id == Uuid::default() { VersionRange::new(ours.min, 12) } else { ours };
        self.client.call_within(Node::Node(leader), versions, &request)
    }

    fn take(&mut self, response: &Response) -> Result<(), Failure> {
        let answer = response.decode::<FetchRequest<'_>>().map_err(Failure::run)?;
        if answer.error_code.is_error() {
            return Err(Failure::run(format!(
                "{}: {}",
                answer.error_code.name(),
                answer.error_code.message()
            )));
        }
        for data in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            self.take_partition(data)?;
        }
        self.out.flush()
    }

    fn take_partition(&mut self, data: &PartitionData<'_>) -> Result<(), Failure> {
        let topic = &self.topic;
        let partition = data.partition_index;
        let Some(at) = self.positions.get_mut(&partition) else { return Ok(()) };
        match data.error_code {
            ErrorCode::NONE => {}
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                return Err(Failure::run(format!(
                    "partition {partition} of topic '{topic}' has no offset {}; try --from-beginning",
                    at.next_offset
                )));
            }
            error if error.is_retriable() && error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                self.new_leaders();
                return Ok(());
            }
            error => {
                return Err(Failure::run(format!(
                    "partition {partition} of topic '{topic}': {}: {}",
                    error.name(),
                    error.message()
                )));
            }
        }
        let Some(Records::Bytes(bytes)) = data.records else { return Ok(()) };
        for batch in Batches::new(bytes) {
            let corrupt = |what: &dyn std::fmt::Display, offset: i64| {
                Failure::run(format!("partition {partition} of topic '{topic}', at offset {offset}: {what}"))
            };
            let batch = match batch {
                Ok(batch) => batch,
                // an answer may end inside a batch: the rest comes with the next one
                Err(rohrpost_record::BatchError::Cut { .. }) => break,
                Err(error) => return Err(corrupt(&error, at.next_offset)),
            };
            if !batch.is_crc_valid() {
                return Err(corrupt(&"the batch's checksum is wrong", batch.header().base_offset));
            }
            if !batch.header().attributes.is_control() {
                let records = batch
                    .records(&mut self.scratch, BATCH_BYTES_MAX)
                    .map_err(|error| corrupt(&error, batch.header().base_offset))?;
                for record in records {
                    let record = record.map_err(|error| corrupt(&error, batch.header().base_offset))?;
                    // the answer starts with the batch that contains the offset (F3)
                    let is_wanted = record.offset >= at.next_offset
                        && at.end_offset.is_none_or(|end| record.offset < end);
                    if is_wanted && !self.out.is_done() {
                        self.out.write(topic, partition, &record)?;
                    }
                }
            }
            at.next_offset = at.next_offset.max(batch.header().next_offset());
        }
        Ok(())
    }

    /// Who leads is asked anew, in a moment.
    pub(crate) fn new_leaders(&mut self) {
        self.client.forget_leaders(&self.topic);
        // an election takes a moment; nothing tells when it is over
        std::thread::sleep(LEADER_BACKOFF);
    }
}

fn out_of_range(topic: &str, partition: i32, offset: i64, start: i64, end: i64) -> String {
    let there = match end - start {
        0 => format!("it is empty, the next record gets offset {end}"),
        _ => format!("it has {start} to {}", end - 1),
    };
    format!("partition {partition} of topic '{topic}' has no offset {offset}; {there}")
}

/// Standard output, and how many records may still go there.
struct Output {
    out: BufWriter<StdoutLock<'static>>,
    format: OutputFormat,
    left: Option<u64>,
    /// The reader has gone, as `head` does.
    is_closed: bool,
}

impl Output {
    fn new(format: OutputFormat, max: Option<u64>) -> Output {
        let out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
        Output { out, format, left: max, is_closed: false }
    }

    fn check(&mut self, result: io::Result<()>) -> Result<(), Failure> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            Err(error) => Err(Failure::run(format!("cannot write to standard output: {error}"))),
            Ok(()) => Ok(()),
        }
    }
}

impl Sink for Output {
    fn is_done(&self) -> bool {
        self.is_closed || self.left == Some(0)
    }

    fn write(&mut self, topic: &str, partition: i32, record: &Record<'_>) -> Result<(), Failure> {
        let result = match self.format {
            OutputFormat::Text => self.out.write_all(record.value.unwrap_or_default()),
            OutputFormat::Jsonl => {
                let names: Vec<_> = record
                    .headers()
                    .map(|header| (String::from_utf8_lossy(header.key), header.value))
                    .collect();
                let line = ConsumedLine {
                    topic,
                    partition,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: KeyField::of(record.key),
                    value: ValueField::of(record.value),
                    headers: names
                        .iter()
                        .map(|(key, value)| HeaderLine { key, value: ValueField::of(*value) })
                        .collect(),
                };
                serde_json::to_writer(&mut self.out, &line).map_err(io::Error::from)
            }
        };
        self.left = self.left.map(|left| left.saturating_sub(1));
        let result = result.and_then(|()| self.out.write_all(b"\n"));
        self.check(result)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let result = self.out.flush();
        self.check(result)
    }
}
