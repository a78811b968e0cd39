//! The cases, the topics that they need, and what they are made of.

use std::collections::BTreeMap;

use rohrpost_interop::duel::{Case, Step, TopicSpec};
use rohrpost_interop::root;
use rohrpost_record::{BatchBuilder, Codec, HEADER_LEN, NO_HEADERS, Stamp, stamp};

/// A time in the past of any run.
pub(crate) const TIME: i64 = 1_750_000_000_000;

/// The topics that cases may use, with their settings.
const TOPICS: [(&str, &[(&str, &str)]); 9] = [
    ("bad", &[]),
    ("compacted", &[("cleanup.policy", "compact")]),
    ("append-time", &[("message.timestamp.type", "LogAppendTime")]),
    ("small-messages", &[("max.message.bytes", "1000")]),
    ("small-segments", &[("segment.bytes", "1048576"), ("max.message.bytes", "4000000")]),
    ("no-past", &[("message.timestamp.before.max.ms", "1000")]),
    ("__consumer_offsets", &[]),
    // these two have one partition always; ten records in one of them
    ("small-limits", &[]),
    ("ten", &[]),
];

/// Collects cases. Each that writes gets partitions of its own, so that none depends on another.
#[derive(Default)]
pub(crate) struct Cases {
    pub(crate) list: Vec<Case>,
    partitions: BTreeMap<&'static str, i32>,
}

impl Cases {
    /// The next unused partition of a topic.
    pub(crate) fn partition(&mut self, topic: &'static str) -> i32 {
        let count = self.partitions.entry(topic).or_default();
        *count += 1;
        *count - 1
    }

    pub(crate) fn add(&mut self, api: &str, input: &str, version: i16, steps: Vec<Step>) {
        self.list.push(Case { api: api.to_owned(), input: input.to_owned(), version, steps });
    }

    pub(crate) fn topics(&self) -> Vec<TopicSpec> {
        let topics = TOPICS.iter().map(|(name, configs)| TopicSpec {
            name: (*name).to_owned(),
            partitions: self.partitions.get(name).copied().unwrap_or(1),
            // the records are old: without this, Kafka deletes them sooner or later
            configs: [configs, [("retention.ms", "-1")].as_slice()].concat(),
            records: (*name == "ten").then(|| batch(&[b"value".as_slice(); 10])),
        });
        topics.collect()
    }
}

/// Golden vectors of a file: id and bytes.
pub(crate) fn vectors(file: &str) -> Vec<(String, Vec<u8>)> {
    let text = std::fs::read_to_string(root().join("vectors").join(file)).expect("the vectors are there");
    let lines =
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line"));
    lines
        .map(|line| {
            let hex = line["hex"].as_str().expect("bytes");
            (line["id"].as_str().expect("an id").to_owned(), from_hex(hex))
        })
        .collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hex digit") as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A plain batch of these values at [`TIME`], with keys.
pub(crate) fn batch(values: &[&[u8]]) -> Vec<u8> {
    build(values, Some(b"key"), TIME, Stamp::NONE)
}

pub(crate) fn build(values: &[&[u8]], key: Option<&[u8]>, timestamp: i64, by: Stamp) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut bytes = vec![0; HEADER_LEN + values.iter().map(|value| 100 + value.len()).sum::<usize>()];
    let mut at = HEADER_LEN;
    for value in values {
        at += builder.append(&mut bytes[at..], timestamp, key, Some(value), NO_HEADERS);
    }
    bytes.truncate(at);
    builder.write_header(bytes.first_chunk_mut().expect("a header"), Codec::None, at - HEADER_LEN, false);
    stamp(&mut bytes, [], by);
    bytes
}

/// These bytes written over a batch at a place, and the checksum anew.
pub(crate) fn patched(mut batch: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    batch[at..at + with.len()].copy_from_slice(with);
    let crc = rohrpost_record::crc::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// For the length of the test: requests borrow what they are made of.
pub(crate) fn keep<T: 'static>(values: Vec<T>) -> &'static [T] {
    values.leak()
}
