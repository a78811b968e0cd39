//! Reads a partition and compares it with what is known of its records.

use std::collections::{BTreeMap, HashMap, HashSet};

use rohrpost_net::{Address, Client, ClientConfig, Target};
use rohrpost_protocol::messages::fetch::{FetchPartition, FetchTopic};
use rohrpost_protocol::messages::{FetchRequest, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use rohrpost_protocol::{ErrorCode, Records, VersionRange};
use rohrpost_record::{BatchHeader, Batches};

use super::load::{Fate, Load, value};

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// A client of the broker, which may just be away.
pub fn connect(port: u16) -> Client {
    let config = ClientConfig { connect_timeout_ms: 120_000, ..ClientConfig::default() };
    Client::connect(&[Address::new("127.0.0.1", port)], config).unwrap()
}

/// Reads one partition, a stretch after each start.
pub struct Reader {
    topic: &'static str,
    partition: i32,
    /// Offset to read from; `None` before the first read.
    next_offset: Option<i64>,
    /// Offsets and numbers read since the last check.
    found: Vec<(i64, u64)>,
    /// The largest number read.
    last_number: Option<u64>,
    /// By producer id: the last number read, and the batch that it was in. Order is a producer's own: a request of one that was given up may
    /// be carried out when the next one writes already.
    last_of: HashMap<i64, (u64, BatchHeader)>,
    /// Every number read.
    seen: HashSet<u64>,
    /// Every number up to this that was acknowledged must have been read.
    must_find: Option<u64>,
    /// Up to which number that was checked.
    checked: Option<u64>,
    /// Where the log began at the last look.
    log_start: i64,
}

impl Reader {
    pub fn new(topic: &'static str, partition: i32) -> Reader {
        Reader {
            topic,
            partition,
            next_offset: None,
            found: Vec::new(),
            last_number: None,
            last_of: HashMap::new(),
            seen: HashSet::new(),
            must_find: None,
            checked: None,
            log_start: 0,
        }
    }

    pub fn is_of(&self, topic: &str) -> bool {
        self.topic == topic
    }

    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    fn place(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }

    /// What was acknowledged up to now is to be found by the next read.
    pub fn must_find(&mut self, acknowledged: &BTreeMap<(&'static str, i32), u64>) {
        self.must_find = acknowledged.get(&(self.topic, self.partition)).copied();
    }

    /// The next read begins at the log's start.
    pub fn begin_again(&mut self) {
        (self.next_offset, self.last_number, self.checked) = (None, None, None);
        self.found.clear();
        self.last_of.clear();
        self.seen.clear();
    }

    /// Reads up to the end that the partition has now.
    pub fn read_on(&mut self, client: &mut Client) {
        let end = self.offset(client, LATEST);
        let mut start = self.offset(client, EARLIEST);
        let mut next = self.next_offset.unwrap_or(start);
        assert!(next <= end, "{}: read up to {next} before, and now the log ends at {end}", self.place());
        while next < end {
            let (code, bytes) = self.fetch(client, next);
            if code == ErrorCode::OFFSET_OUT_OF_RANGE {
                // retention was faster
                start = self.offset(client, EARLIEST);
                assert!(
                    start > next,
                    "{}: offset {next} is not there, and the log starts at {start}",
                    self.place()
                );
                next = start;
                continue;
            }
            assert_eq!(code, ErrorCode::NONE, "{} at {next}", self.place());
            next = self.take(&bytes, next);
        }
        self.log_start = start;
        // what retention has removed cannot be found
        if start > self.next_offset.unwrap_or(0) {
            let first = self.found.iter().find(|(offset, _)| *offset >= start).map(|(_, number)| *number);
            self.checked =
                self.checked.max(first.map(|number| number.saturating_sub(1)).or(self.last_number));
            self.found.retain(|(offset, _)| *offset >= start);
        }
        self.next_offset = Some(next);
    }

    /// Batches from `from` on; gives the offset after them.
    fn take(&mut self, bytes: &[u8], from: i64) -> i64 {
        let mut next = from;
        let mut scratch = Vec::new();
        let mut all = Batches::new(bytes);
        for batch in all.by_ref() {
            let batch = batch.unwrap();
            assert!(batch.is_crc_valid(), "{}: a bad batch is served", self.place());
            for record in batch.records(&mut scratch, 1 << 20).unwrap() {
                let record = record.unwrap();
                if record.offset < from {
                    continue;
                }
                assert_eq!(record.offset, next, "{}: a gap or a repetition of offsets", self.place());
                next = record.offset + 1;
                let text = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
                let number: u64 = text.split(' ').nth(2).and_then(|n| n.parse().ok()).unwrap_or_else(|| {
                    panic!("{} at {}: not a value of ours: {text}", self.place(), record.offset)
                });
                assert_eq!(text, value((self.topic, self.partition), number), "content");
                let header = batch.header();
                let before = self.last_of.insert(header.producer_id, (number, *header));
                assert!(
                    before.is_none_or(|(last, _)| number > last) && self.seen.insert(number),
                    "{}: {number} is repeated or out of order in {header:#?}; its producer's last one was {before:#?}",
                    self.place(),
                );
                self.last_number = self.last_number.max(Some(number));
                self.found.push((record.offset, number));
            }
        }
        assert!(next > from, "{}: nothing at {from}, which lies before the end", self.place());
        next
    }

    /// Compares what was read with what is known of the records.
    pub fn check(&mut self, load: &Load) {
        let place = (self.topic, self.partition);
        let first = self.checked.map_or(0, |checked| checked + 1);
        let (late, mut found): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.found).into_iter().partition(|(_, number)| *number < first);
        for (offset, number) in late {
            let fate = load.fate(place, number);
            assert_eq!(fate, Some(Fate::Unknown), "{}: record {number} came late, at {offset}", self.place());
        }
        found.sort_unstable_by_key(|(_, number)| *number);
        let mut found = found.into_iter().peekable();
        let last = self.last_number.max(self.must_find);
        let Some(last) = last else { return };
        for number in first..=last {
            let here = found.next_if(|(_, n)| *n == number).map(|(offset, _)| offset);
            let fate = load.fate(place, number).unwrap_or_else(|| panic!("{number} was never sent"));
            match (fate, here) {
                (Fate::Acknowledged(said), Some(offset)) => {
                    assert_eq!(said, offset, "{}: record {number} was said to be elsewhere", self.place());
                }
                (Fate::Acknowledged(said), None) if self.must_find.is_some_and(|must| number <= must) => {
                    panic!("{}: record {number} was acknowledged at {said}, and is lost", self.place());
                }
                (Fate::NotWritten, Some(offset)) => {
                    panic!(
                        "{}: record {number} was said to be not written, and is at {offset}",
                        self.place()
                    );
                }
                _ => {}
            }
        }
        assert_eq!(found.next(), None, "{}: numbers that were checked before", self.place());
        self.checked = self.last_number;
    }

    fn offset(&self, client: &mut Client, timestamp: i64) -> i64 {
        let partition =
            ListOffsetsPartition { partition_index: self.partition, timestamp, ..Default::default() };
        let topic = ListOffsetsTopic { name: self.topic, partitions: vec![partition], ..Default::default() };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let response = client.call(Target::Any, &request).unwrap();
        let answer = response.decode::<ListOffsetsRequest<'_>>().unwrap();
        let answer = &answer.topics[0].partitions[0];
        assert_eq!(answer.error_code, ErrorCode::NONE, "{}", self.place());
        answer.offset
    }

    fn fetch(&self, client: &mut Client, offset: i64) -> (ErrorCode, Vec<u8>) {
        let partition = FetchPartition {
            partition: self.partition,
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic = FetchTopic { topic: self.topic, partitions: vec![partition], ..Default::default() };
        let request = FetchRequest {
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 4 << 20,
            topics: vec![topic],
            ..Default::default()
        };
        // from version 13 on topics have ids only
        let response = client.call_within(Target::Any, VersionRange::new(4, 12), &request).unwrap();
        let answer = response.decode::<FetchRequest<'_>>().unwrap();
        let data = &answer.responses[0].partitions[0];
        let bytes = match &data.records {
            Some(Records::Bytes(bytes)) => bytes.to_vec(),
            _ => Vec::new(),
        };
        (data.error_code, bytes)
    }
}
