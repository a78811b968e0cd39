//! Produce.

use rohrpost_protocol::messages::{PartitionProduceData, ProduceRequest, TopicProduceData};
use rohrpost_protocol::{ErrorCode, Records, Uuid};
use rohrpost_record::Stamp;

use crate::bench::*;
use crate::common::*;

/// One partition of a produce request and what its answer is to be.
pub(crate) struct Batch {
    topic: &'static str,
    partition: i32,
    records: Option<Vec<u8>>,
    error: ErrorCode,
    /// -1 unless the error comes from the log (P12).
    log_start: i64,
    records_at_fault: &'static [i32],
}

pub(crate) fn put(topic: &'static str, partition: i32, records: Option<Vec<u8>>, error: ErrorCode) -> Batch {
    let log_start = if error.is_ok() { 0 } else { -1 };
    Batch { topic, partition, records, error, log_start, records_at_fault: &[] }
}

/// Sends the batches, consecutive ones of a topic together; checks order, names and errors of the answer. Returns base offsets
/// and log append times.
pub(crate) fn produce(bench: &mut Bench, version: i16, acks: i16, batches: &[Batch]) -> Vec<(i64, i64)> {
    let groups: Vec<&[Batch]> = batches.chunk_by(|a, b| a.topic == b.topic).collect();
    let ids: Vec<Uuid> = groups.iter().map(|group| bench.id(group[0].topic)).collect();
    let topic_data = groups.iter().zip(&ids).map(|(group, id)| TopicProduceData {
        name: group[0].topic,
        topic_id: *id,
        partition_data: group
            .iter()
            .map(|batch| PartitionProduceData {
                index: batch.partition,
                records: batch.records.as_deref().map(Records::Bytes),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let request =
        ProduceRequest { acks, timeout_ms: 1000, topic_data: topic_data.collect(), ..Default::default() };
    let response = bench.client.call(&request, version);
    // Q1
    assert_eq!(response.responses.len(), groups.len());
    let mut found = Vec::new();
    for ((topic, group), id) in response.responses.iter().zip(&groups).zip(&ids) {
        assert_eq!((topic.name, topic.topic_id), by_version(version >= 13, group[0].topic, *id));
        assert_eq!(topic.partition_responses.len(), group.len());
        for (answer, batch) in topic.partition_responses.iter().zip(*group) {
            let what = format!("{}-{}", batch.topic, batch.partition);
            assert_eq!((answer.index, answer.error_code), (batch.partition, batch.error), "{what}");
            // P12, and the versions in which the fields are there
            assert_eq!(answer.log_start_offset, if version >= 5 { batch.log_start } else { -1 }, "{what}");
            let at_fault: Vec<i32> = answer.record_errors.iter().map(|r| r.batch_index).collect();
            assert_eq!(at_fault, if version >= 8 { batch.records_at_fault } else { &[] }, "{what}");
            assert!(
                answer.record_errors.iter().all(|r| r.batch_index_error_message.is_some()),
                "{what}: why is a record at fault"
            );
            assert_eq!(
                answer.error_message.is_some() || batch.records_at_fault.is_empty(),
                version >= 8 || batch.records_at_fault.is_empty(),
                "{what}"
            );
            assert_eq!(answer.current_leader.leader_id, -1);
            if batch.error.is_error() {
                assert_eq!((answer.base_offset, answer.log_append_time_ms), (-1, -1), "{what}");
            }
            found.push((answer.base_offset, answer.log_append_time_ms));
        }
    }
    assert!(response.node_endpoints.is_empty());
    found
}

/// What a topic is called in a request or answer: from some version on by id, before by name.
pub(crate) fn by_version(by_id: bool, name: &str, id: Uuid) -> (&str, Uuid) {
    if by_id { ("", id) } else { (name, Uuid::ZERO) }
}

/// Q1, Q2, P2, P3, P4, P11, P12, I2, I3, I4
pub(crate) fn answers(bench: &mut Bench, version: i16) {
    let producer_id = bench.client.producer_id();
    let by = |producer_epoch, base_sequence| Stamp { producer_id, producer_epoch, base_sequence };
    let stamped = |epoch, sequence| Some(rich(NOW, by(epoch, sequence)));
    let good = || Some(rich(NOW, Stamp::NONE));
    for acks in [1, -1] {
        let ends = [("t", 2), ("t", 0), ("stamped", 0), ("keyed", 0), ("t", 1)]
            .map(|(topic, partition)| bench.end(topic, partition));
        let batches = [
            put("t", 2, good(), ErrorCode::NONE),
            put("t", 0, good(), ErrorCode::NONE),
            put("stamped", 0, good(), ErrorCode::NONE),
            put("keyed", 0, good(), ErrorCode::NONE),
            put("t", 1, good(), ErrorCode::NONE),
        ];
        let found = produce(bench, version, acks, &batches);
        assert_eq!(found.iter().map(|(base, _)| *base).collect::<Vec<_>>(), ends);
        for (n, (_, append_time)) in found.iter().enumerate() {
            assert_eq!(*append_time > NOW, n == 2, "only `stamped` has the broker's time");
        }
    }
    // idempotent: a new producer, a retry, the next epoch
    let batches = [
        put("t", 0, stamped(0, 0), ErrorCode::NONE),
        put("t", 0, stamped(0, 0), ErrorCode::NONE),
        put("t", 0, stamped(1, 0), ErrorCode::NONE),
    ];
    let found = produce(bench, version, -1, &batches);
    assert_eq!(found[0].0, found[1].0);
    assert_eq!(found[2].0, found[0].0 + 3);

    // errors, and good ones among them
    let ends = [0, 1, 2].map(|partition| bench.end("t", partition));
    let mut wrong_crc = rich(NOW, Stamp::NONE);
    *wrong_crc.last_mut().unwrap() ^= 1;
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let unknown =
        if version >= 13 { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
    let from_log = |batch: Batch, records_at_fault| Batch { log_start: 0, records_at_fault, ..batch };
    let batches = [
        put("nowhere", 0, good(), unknown),
        put("t", 3, good(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        put("t", -1, good(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        put("t", 0, None, ErrorCode::INVALID_RECORD),
        put("t", 0, Some(Vec::new()), ErrorCode::INVALID_RECORD),
        put("t", 0, Some(wrong_crc), ErrorCode::CORRUPT_MESSAGE),
        put("t", 1, good(), ErrorCode::NONE),
        from_log(
            put("t", 2, Some(rich(now_ms + 7_200_000, Stamp::NONE)), ErrorCode::INVALID_TIMESTAMP),
            &[0, 1, 2],
        ),
        from_log(put("t", 0, stamped(0, 3), ErrorCode::INVALID_PRODUCER_EPOCH), &[]),
        from_log(put("t", 0, stamped(1, 9), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER), &[]),
        put("__consumer_offsets", 0, good(), ErrorCode::INVALID_TOPIC_EXCEPTION),
        from_log(put("keyed", 0, Some(batch(&["no", "key"])), ErrorCode::INVALID_RECORD), &[0, 1]),
        put("t", 2, good(), ErrorCode::NONE),
    ];
    produce(bench, version, -1, &batches);
    assert_eq!(
        [0, 1, 2].map(|partition| bench.end("t", partition)),
        [ends[0], ends[1] + 3, ends[2] + 3],
        "Q2: what is good is written"
    );

    // errors of all items
    let codes = [
        (2, good(), ErrorCode::INVALID_REQUIRED_ACKS),
        (-1, Some(transactional()), ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
    ];
    for (acks, records, code) in codes {
        let batches = [put("t", 0, records, code), put("t", 1, good(), code), put("keyed", 0, good(), code)];
        produce(bench, version, acks, &batches);
    }
    // nothing at all, and no answer at all
    produce(bench, version, -1, &[]);
    let end = bench.end("t", 0);
    let records = good();
    let mut request = produce_request("t", 0, records.as_deref(), 0);
    request.topic_data[0].topic_id = bench.id("t");
    bench.client.send(&request, version);
    bench.advertised();
    assert_eq!(bench.end("t", 0), end + 3);
}

fn transactional() -> Vec<u8> {
    let mut bytes = rich(NOW, Stamp { producer_id: 1, producer_epoch: 0, base_sequence: 0 });
    bytes[22] |= 1 << 4;
    seal(bytes)
}
