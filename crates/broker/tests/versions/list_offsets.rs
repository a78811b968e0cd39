//! ListOffsets.

use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};

use crate::bench::*;
use crate::common::*;

/// Partition, current leader epoch, timestamp.
pub(crate) type Question = (&'static str, i32, i32, i64);
/// Error, offset, timestamp, and whether there is a leader epoch.
pub(crate) type Found = (ErrorCode, i64, i64, bool);

pub(crate) fn list_offsets(
    bench: &mut Bench,
    version: i16,
    isolation_level: i8,
    questions: &[Question],
) -> Vec<Found> {
    let groups: Vec<&[Question]> = questions.chunk_by(|a, b| a.0 == b.0).collect();
    let topics = groups.iter().map(|group| ListOffsetsTopic {
        name: group[0].0,
        partitions: group
            .iter()
            .map(|&(_, partition_index, current_leader_epoch, timestamp)| ListOffsetsPartition {
                partition_index,
                current_leader_epoch,
                timestamp,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: if version >= 2 { isolation_level } else { 0 },
        topics: topics.collect(),
        timeout_ms: 1000,
        ..Default::default()
    };
    let response = bench.client.call(&request, version);
    // Q1
    let asked: Vec<_> = questions.iter().map(|(topic, partition, ..)| (*topic, *partition)).collect();
    let answers = response.topics.iter();
    let answered: Vec<_> =
        answers.flat_map(|t| t.partitions.iter().map(|p| (t.name, p.partition_index))).collect();
    assert_eq!(answered, asked);
    assert_eq!(response.topics.len(), groups.len());
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|p| (p.error_code, p.offset, p.timestamp, p.leader_epoch >= 0)).collect()
}

/// Q1, Q2, O1, O2, O3, O5: the leader epoch is there from version 4 on
pub(crate) fn answers(bench: &mut Bench, version: i16) {
    let ok = |offset, timestamp| (ErrorCode::NONE, offset, timestamp, version >= 4 && offset >= 0);
    let error = |code| (code, -1, -1, false);
    let epoch = if version >= 4 { bench.epoch } else { -1 };
    for isolation_level in [0, 1] {
        let questions = [
            ("t", 2, epoch, -1),
            ("t", 0, epoch, -2),
            ("t", 1, -1, SECOND_BATCH_MS + 1),
            ("keyed", 0, -1, -1),
            ("stamped", 0, -1, i64::MAX),
        ];
        let found = list_offsets(bench, version, isolation_level, &questions);
        let expected = [ok(RECORDS, -1), ok(0, -1), ok(4, SECOND_BATCH_MS + 1), ok(0, -1), ok(-1, -1)];
        assert_eq!(found, expected);
    }
    assert!(list_offsets(bench, version, 0, &[]).is_empty());
    // O1: special times, and the versions that have them
    for (special, since, found) in [
        (-3, 7, ok(5, SECOND_BATCH_MS + 2)),
        (-4, 8, ok(0, -1)),
        (-5, 9, ok(-1, -1)),
        (-6, 11, ok(-1, -1)),
        (-7, i16::MAX, error(ErrorCode::UNSUPPORTED_VERSION)),
        (i64::MIN, i16::MAX, error(ErrorCode::UNSUPPORTED_VERSION)),
    ] {
        let expected = if version >= since { found } else { error(ErrorCode::UNSUPPORTED_VERSION) };
        let answers = list_offsets(bench, version, 0, &[("t", 0, -1, special), ("t", 1, -1, -1)]);
        assert_eq!(answers, [expected, ok(RECORDS, -1)], "time {special}");
    }
    // errors, and good ones among them
    let mut questions = vec![
        ("nowhere", 0, -1, -1),
        ("t", 3, -1, -1),
        ("t", 0, -1, -1),
        ("t", 0, -1, -2),
        ("t", 1, -1, NOW),
        ("keyed", -1, -1, -1),
    ];
    let mut expected = vec![
        error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        error(ErrorCode::INVALID_REQUEST),
        error(ErrorCode::INVALID_REQUEST),
        ok(0, NOW),
        error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ];
    if version >= 4 {
        questions.push(("t", 2, epoch + 1, NOW));
        expected.push(error(ErrorCode::UNKNOWN_LEADER_EPOCH));
    }
    if version >= 4 && epoch > 0 {
        questions.push(("stamped", 0, epoch - 1, -1));
        expected.push(error(ErrorCode::FENCED_LEADER_EPOCH));
    }
    assert_eq!(list_offsets(bench, version, 0, &questions), expected);
}
