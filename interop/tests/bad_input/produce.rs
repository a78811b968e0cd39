//! Produce: the table of chapter 5, the golden vectors, acks, and sequences of chapter 7.

use rohrpost_interop::duel::{Side, Step};
use rohrpost_protocol::messages::{PartitionProduceData, ProduceRequest, TopicProduceData};
use rohrpost_protocol::{Records, Uuid};
use rohrpost_record::Stamp;

use crate::cases::{Cases, TIME, batch, build, keep, patched, vectors};

/// Those in which the answer has another form than in the one before, and the newest.
const VERSIONS: [i16; 6] = [3, 5, 8, 9, 10, 13];
const API: &str = "Produce";

pub(crate) fn add(cases: &mut Cases) {
    table(cases);
    golden(cases);
    refusals(cases);
    sequences(cases);
}

/// The rows of the table that have no golden vector, or whose answer depends on the version.
fn table(cases: &mut Cases) {
    let good = || batch(&[b"one", b"two"]);
    let with_stray = |count: usize| [good(), vec![7; count]].concat();
    let times_two = || [good(), good()].concat();
    let attributes = |bits: u16| patched(good(), 21, &bits.to_be_bytes());
    let rows: Vec<(&str, &'static str, Option<Vec<u8>>)> = vec![
        ("records null", "bad", None),
        ("records empty", "bad", Some(Vec::new())),
        ("shorter than a header", "bad", Some(good()[..40].to_vec())),
        ("cut short", "bad", Some(good()[..70].to_vec())),
        ("two batches", "bad", Some(times_two())),
        ("5 stray bytes", "bad", Some(with_stray(5))),
        ("11 stray bytes", "bad", Some(with_stray(11))),
        ("12 stray bytes", "bad", Some(with_stray(12))),
        ("100 stray bytes", "bad", Some(with_stray(100))),
        ("a wrong checksum", "bad", Some(damaged(good(), 18))),
        ("base offset 5", "bad", Some(replaced(good(), 0, &5_i64.to_be_bytes()))),
        ("larger than max.message.bytes", "small-messages", Some(batch(&[&[b'x'; 1000]]))),
        ("larger than segment.bytes", "small-segments", Some(batch(&[&[b'x'; 1_100_000]]))),
        ("a control batch", "bad", Some(attributes(0x20))),
        ("a producer id without a sequence", "bad", Some(patched(good(), 43, &17_i64.to_be_bytes()))),
        ("no key in a compacted topic", "compacted", Some(build(&[b"one", b"two"], None, TIME, Stamp::NONE))),
        (
            "a time in the far future",
            "bad",
            Some(build(&[b"one", b"two"], Some(b"key"), 4_000_000_000_000, Stamp::NONE)),
        ),
        ("a time in the far past", "no-past", Some(good())),
        ("marked LogAppendTime, topic too", "append-time", Some(attributes(8))),
        ("marked LogAppendTime, topic not", "bad", Some(attributes(8))),
        ("codec 5", "bad", Some(attributes(5))),
        ("codec 7", "bad", Some(attributes(7))),
        ("plain records marked as gzip", "bad", Some(attributes(1))),
        ("plain records marked as zstd", "bad", Some(attributes(4))),
        ("reserved attribute bits", "bad", Some(attributes(0x7f80))),
        ("the delete horizon bit", "bad", Some(attributes(0x40))),
        ("a wrong maximum timestamp", "bad", Some(patched(good(), 35, &(TIME - 5).to_be_bytes()))),
        ("a transactional batch without a transactional id", "bad", Some(transactional())),
        ("an internal topic", "__consumer_offsets", Some(good())),
        ("nothing wrong", "bad", Some(good())),
        ("nothing wrong, LogAppendTime", "append-time", Some(good())),
    ];
    for (input, topic, records) in rows {
        let records: Option<&'static [u8]> = records.map(keep);
        for version in VERSIONS {
            let partition = cases.partition(topic);
            cases.add(API, input, version, vec![produce(topic, partition, records, -1, version)]);
        }
    }
    // zstd is as old as version 7
    let (_, zstd) = vectors("batches.jsonl").into_iter().find(|(id, _)| id == "zstd").expect("a vector");
    let zstd = keep(zstd);
    for version in [3, 6, 7] {
        let partition = cases.partition("bad");
        cases.add(API, "zstd", version, vec![produce("bad", partition, Some(zstd), -1, version)]);
    }
}

/// Every batch of the vectors, good and bad. Some are whole logs' worth of odd batches that a client may not send.
fn golden(cases: &mut Cases) {
    for file in ["invalid_batches.jsonl", "batches.jsonl"] {
        for (id, bytes) in vectors(file) {
            // many alike; and large ones say nothing about input
            if id.starts_with("random-") || bytes.len() > 1_000_000 {
                continue;
            }
            let records = keep(bytes);
            let partition = cases.partition("bad");
            cases.add(API, &format!("`{id}`"), 12, vec![produce("bad", partition, Some(records), -1, 12)]);
        }
    }
}

/// What is refused whatever the records are.
fn refusals(cases: &mut Cases) {
    let good: &'static [u8] = keep(batch(&[b"one"]));
    let bad: &'static [u8] = keep(damaged(good.to_vec(), 18));
    for version in VERSIONS {
        let named = version < 13;
        let at = |cases: &mut Cases| cases.partition("bad");
        for (input, acks) in [("acks 2", 2), ("acks -2", -2)] {
            let partition = at(cases);
            cases.add(API, input, version, vec![produce("bad", partition, Some(good), acks, version)]);
        }
        let partition = at(cases);
        cases.add(API, "acks 0", version, vec![produce("bad", partition, Some(good), 0, version)]);
        let partition = at(cases);
        cases.add(
            API,
            "acks 0, a wrong checksum",
            version,
            vec![produce("bad", partition, Some(bad), 0, version)],
        );
        let partition = at(cases);
        cases.add(
            API,
            "acks 1, a wrong checksum",
            version,
            vec![produce("bad", partition, Some(bad), 1, version)],
        );
        cases.add(
            API,
            "unknown partition",
            version,
            vec![produce("bad", 1_000_000, Some(good), -1, version)],
        );
        cases.add(API, "partition -1", version, vec![produce("bad", -1, Some(good), -1, version)]);
        let request = move |name: &'static str, id: Uuid, partitions: Vec<i32>| ProduceRequest {
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![TopicProduceData {
                name,
                topic_id: id,
                partition_data: partitions.into_iter().map(|index| data(index, Some(good))).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        if named {
            let unknown = Step::of(version, move || request("unknown", Uuid::default(), vec![0]));
            cases.add(API, "unknown topic", version, vec![unknown]);
            let bad_name = Step::of(version, move || request("a/b", Uuid::default(), vec![0]));
            cases.add(API, "a bad topic name", version, vec![bad_name]);
        } else {
            let unknown = Step::of(version, move || request("", odd_id(), vec![0]));
            cases.add(API, "unknown topic id", version, vec![unknown]);
            let zero = Step::of(version, move || request("", Uuid::default(), vec![0]));
            cases.add(API, "a topic id of zeros", version, vec![zero]);
        }
        cases.add(
            API,
            "no topics",
            version,
            vec![Step::of(version, || ProduceRequest { acks: -1, timeout_ms: 10_000, ..Default::default() })],
        );
        // Q2: one bad item spoils no other
        let partition = at(cases);
        let mixed = Step::with(version, move |side: &Side, _| {
            request("bad", side.id("bad"), vec![1_000_000, partition])
        });
        cases.add(API, "good and bad partitions", version, vec![mixed]);
        let partition = at(cases);
        let transactional = Step::with(version, move |side: &Side, _| ProduceRequest {
            transactional_id: Some("transactional"),
            ..request("bad", side.id("bad"), vec![partition])
        });
        cases.add(API, "a transactional id, plain records", version, vec![transactional]);
        let partition = at(cases);
        let twice = Step::with(version, move |side: &Side, _| {
            request("bad", side.id("bad"), vec![partition, partition])
        });
        cases.add(API, "a partition twice", version, vec![twice]);
    }
}

/// I2 to I5: a producer's batches one after the other.
fn sequences(cases: &mut Cases) {
    // epoch, first sequence, records
    type Sent = (i16, i32, usize);
    let rows: [(&str, &[Sent]); 14] = [
        ("a batch again", &[(0, 0, 2), (0, 0, 2)]),
        ("a batch again, five later", &[(0, 0, 1), (0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 1), (0, 0, 1)]),
        ("a batch again, four later", &[(0, 0, 1), (0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 1), (0, 1, 1)]),
        ("the same start, another end", &[(0, 0, 2), (0, 0, 3)]),
        ("an overlap", &[(0, 0, 3), (0, 2, 2)]),
        ("a gap", &[(0, 0, 2), (0, 5, 1)]),
        ("an unknown producer's sequence 7", &[(0, 7, 1), (0, 8, 1)]),
        ("an older epoch", &[(3, 0, 1), (2, 1, 1)]),
        ("an older epoch's batch again", &[(2, 0, 1), (3, 0, 1), (2, 0, 1)]),
        ("a newer epoch from 0", &[(0, 0, 2), (1, 0, 1)]),
        ("a newer epoch not from 0", &[(0, 0, 2), (1, 2, 1)]),
        ("sequences wrap", &[(0, i32::MAX, 1), (0, 0, 1)]),
        ("sequences wrap inside a batch", &[(0, i32::MAX - 1, 4), (0, 2, 1)]),
        ("a first epoch of 9", &[(9, 0, 1), (9, 1, 1)]),
    ];
    for (number, (input, batches)) in rows.into_iter().enumerate() {
        for version in [3, 8, 13] {
            let partition = cases.partition("bad");
            let producer_id = 1000 + number as i64;
            let steps = batches.iter().map(|&(producer_epoch, base_sequence, count)| {
                let by = Stamp { producer_id, producer_epoch, base_sequence };
                let records = keep(build(&vec![b"x".as_slice(); count], Some(b"key"), TIME, by));
                produce("bad", partition, Some(records), -1, version)
            });
            cases.add(API, &format!("sequences: {input}"), version, steps.collect());
        }
    }
}

/// A request for one partition.
pub(crate) fn produce(
    topic: &'static str,
    partition: i32,
    records: Option<&'static [u8]>,
    acks: i16,
    version: i16,
) -> Step {
    Step::with(version, move |side: &Side, _| ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: topic,
            topic_id: side.id(topic),
            partition_data: vec![data(partition, records)],
            ..Default::default()
        }],
        ..Default::default()
    })
}

fn data(index: i32, records: Option<&'static [u8]>) -> PartitionProduceData<'static> {
    PartitionProduceData { index, records: records.map(Records::Bytes), ..Default::default() }
}

/// An id that no topic has.
pub(crate) fn odd_id() -> Uuid {
    "oddidoddidoddidoddidoQ".parse().expect("an id")
}

fn transactional() -> Vec<u8> {
    let by = Stamp { producer_id: 77, producer_epoch: 0, base_sequence: 0 };
    patched(build(&[b"one"], Some(b"key"), TIME, by), 21, &0x10_u16.to_be_bytes())
}

/// One bit flipped.
fn damaged(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

/// Where no checksum covers it.
fn replaced(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}
