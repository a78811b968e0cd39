//! Fetch: at once, waiting, and what ends it otherwise.

use rohrpost_protocol::messages::FetchRequest;
use rohrpost_protocol::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use rohrpost_protocol::{ApiKey, ErrorCode, Uuid};
use rohrpost_record::{Batches, Stamp};

use crate::bench::*;
use crate::common::*;
use crate::produce::by_version;

/// One partition of a fetch and what its answer is to be: an error, or this many records from offset 0 on.
struct Read {
    topic: &'static str,
    partition: FetchPartition,
    expected: Result<i64, ErrorCode>,
}

fn get(topic: &'static str, partition: i32, fetch_offset: i64, expected: Result<i64, ErrorCode>) -> Read {
    let partition =
        FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() };
    Read { topic, partition, expected }
}

fn fetch(bench: &mut Bench, version: i16, request: FetchRequest<'_>, reads: &[Read]) {
    let groups: Vec<&[Read]> = reads.chunk_by(|a, b| a.topic == b.topic).collect();
    let ids: Vec<Uuid> = groups.iter().map(|group| bench.id(group[0].topic)).collect();
    let topics = groups.iter().zip(&ids).map(|(group, id)| FetchTopic {
        topic: group[0].topic,
        topic_id: *id,
        partitions: group.iter().map(|read| read.partition.clone()).collect(),
        ..Default::default()
    });
    let request = FetchRequest { topics: topics.collect(), ..request };
    let (epoch, node_id) = (bench.epoch, bench.node_id);
    let response = bench.client.call(&request, version);
    assert_eq!(response.error_code, ErrorCode::NONE);
    // F13
    let opens = request.session_epoch == 0 && !reads.is_empty();
    assert_eq!(response.session_id > 0, opens);
    // Q1
    assert_eq!(response.responses.len(), groups.len());
    let mut has_hint = false;
    for ((topic, group), id) in response.responses.iter().zip(&groups).zip(&ids) {
        assert_eq!((topic.topic, topic.topic_id), by_version(version >= 13, group[0].topic, *id));
        assert_eq!(topic.partitions.len(), group.len());
        for (data, read) in topic.partitions.iter().zip(*group) {
            let what =
                format!("{}-{} from {}", read.topic, data.partition_index, read.partition.fetch_offset);
            assert_eq!(data.partition_index, read.partition.partition);
            assert_eq!(data.error_code, read.expected.err().unwrap_or(ErrorCode::NONE), "{what}");
            let records = data.records.as_ref().unwrap().bytes().unwrap();
            let count = count_rich(records);
            assert_eq!(count, read.expected.unwrap_or(0), "{what}");
            if read.expected.is_ok() {
                assert_eq!((data.high_watermark, data.last_stable_offset), (RECORDS, RECORDS), "{what}");
                assert_eq!(data.log_start_offset, if version >= 5 { 0 } else { -1 }, "{what}");
            } else {
                // F2
                let offsets = (data.high_watermark, data.last_stable_offset, data.log_start_offset);
                assert_eq!(offsets, (-1, -1, -1), "{what}");
            }
            // F10
            assert_eq!(data.aborted_transactions.is_some(), request.isolation_level == 1, "{what}");
            assert_eq!(data.preferred_read_replica, -1);
            // F8
            let about_leader = [ErrorCode::FENCED_LEADER_EPOCH, ErrorCode::NOT_LEADER_OR_FOLLOWER];
            let hint = version >= 16 && about_leader.contains(&data.error_code);
            has_hint |= hint;
            let leader = (data.current_leader.leader_id, data.current_leader.leader_epoch);
            assert_eq!(leader, if hint { (node_id, epoch) } else { (-1, -1) }, "{what}");
        }
    }
    assert_eq!(
        response.node_endpoints.iter().map(|e| e.node_id).collect::<Vec<_>>(),
        if has_hint { vec![node_id] } else { vec![] }
    );
}

/// Counts the records of [`rich`] batches; they are whole.
fn count_rich(records: &[u8]) -> i64 {
    let mut count = 0;
    for batch in Batches::new(records) {
        let mut scratch = Vec::new();
        for (n, record) in batch.unwrap().records(&mut scratch, 1 << 20).unwrap().enumerate() {
            let record = record.unwrap();
            assert_eq!(record.key, Some(format!("key {n}").as_bytes()));
            assert_eq!(record.value, Some(format!("value {n}").as_bytes()));
            assert_eq!(record.headers().count(), 2);
            count += 1;
        }
    }
    count
}

/// Q1, Q2, F1, F2, F7, F8, F9, F10, F11
pub(crate) fn answers(bench: &mut Bench, version: i16) {
    // all that a version can say, and read committed
    let rack_id = if version >= 11 { "rack" } else { "" };
    let full = |isolation_level| FetchRequest {
        min_bytes: 1,
        max_bytes: 50 << 20,
        isolation_level,
        session_epoch: if version >= 7 { 0 } else { -1 },
        rack_id,
        ..Default::default()
    };
    let epoch = bench.epoch;
    let known = |mut read: Read| {
        read.partition.current_leader_epoch = if version >= 9 { epoch } else { -1 };
        read.partition.last_fetched_epoch = if version >= 12 { epoch } else { -1 };
        read
    };
    for isolation_level in [0, 1] {
        let reads = [
            get("t", 2, 0, Ok(RECORDS)),
            get("t", 0, 1, Ok(RECORDS)),
            get("stamped", 0, 4, Ok(3)),
            known(get("t", 1, 5, Ok(3))),
            known(get("t", 2, RECORDS, Ok(0))),
        ];
        fetch(bench, version, full(isolation_level), &reads);
    }
    fetch(bench, version, full(0), &[]);

    // errors, and good ones among them
    let unknown =
        if version >= 13 { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
    let mut reads = vec![
        get("t", 0, RECORDS + 1, Err(ErrorCode::OFFSET_OUT_OF_RANGE)),
        get("t", 3, 0, Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
        get("t", 0, -1, Err(ErrorCode::OFFSET_OUT_OF_RANGE)),
        get("nowhere", 0, 0, Err(unknown)),
        get("nowhere", 1, 0, Err(unknown)),
        get("t", 1, 0, Ok(RECORDS)),
    ];
    if version >= 9 {
        let mut above = get("t", 2, 0, Err(ErrorCode::UNKNOWN_LEADER_EPOCH));
        above.partition.current_leader_epoch = epoch + 1;
        reads.push(above);
        if epoch > 0 {
            let mut below = get("t", 2, 0, Err(ErrorCode::FENCED_LEADER_EPOCH));
            below.partition.current_leader_epoch = epoch - 1;
            reads.push(below);
        }
    }
    if version >= 12 {
        let mut above = get("t", 2, 0, Err(ErrorCode::OFFSET_OUT_OF_RANGE));
        above.partition.last_fetched_epoch = epoch + 1;
        reads.push(above);
    }
    reads.push(get("stamped", 0, 0, Ok(RECORDS)));
    fetch(bench, version, full(0), &reads);

    // errors of all items
    let invalid = Err(ErrorCode::INVALID_REQUEST);
    fetch(bench, version, full(2), &[get("t", 0, 0, invalid), get("stamped", 0, 0, invalid)]);
    let mut follower = full(0);
    if version >= 15 {
        follower.replica_state = ReplicaState { replica_id: 77, ..Default::default() };
    } else {
        follower.replica_id = 77;
    }
    let refused = Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    fetch(bench, version, follower, &[get("t", 1, 0, refused), get("t", 0, 0, refused)]);
}

#[test]
fn fetches_that_part_from_the_log_or_name_a_session_are_answered_in_every_version() {
    // F9, F13, F14, F15, R24
    in_every_version(ApiKey::Fetch, |bench, version| {
        let topic_id = bench.id("t");
        if version >= 12 && bench.epoch > 0 {
            // the reader says that it has all six records of the older epoch, which had three
            let mut request = fetch_request("t", 1, RECORDS, i32::MAX, 1);
            request.topics[0].topic_id = topic_id;
            request.topics[0].partitions[0].last_fetched_epoch = bench.epoch - 1;
            let response = bench.client.call(&request, version);
            let data = &response.responses[0].partitions[0];
            assert_eq!((data.error_code, data.diverging_epoch.end_offset), (ErrorCode::NONE, 3));
            assert!((0..bench.epoch).contains(&data.diverging_epoch.epoch));
        }
        if version >= 7 {
            sessions(bench, version, topic_id);
        }
    });
}

/// F13, F14, F15: a session from its opening to its end
fn sessions(bench: &mut Bench, version: i16, topic_id: Uuid) {
    let mut ask = |id, epoch, named: &[(i32, i64)], forgotten: &[i32]| {
        let mut request = fetch_request("t", 0, 0, 0, 1);
        let asked = request.topics[0].partitions[0].clone();
        request.topics[0].topic_id = topic_id;
        request.topics[0].partitions = named
            .iter()
            .map(|&(partition, fetch_offset)| FetchPartition { partition, fetch_offset, ..asked.clone() })
            .collect();
        request.topics.retain(|topic| !topic.partitions.is_empty());
        (request.session_id, request.session_epoch) = (id, epoch);
        if !forgotten.is_empty() {
            request.forgotten_topics_data = vec![ForgottenTopic {
                topic: "t",
                topic_id,
                partitions: forgotten.to_vec(),
                ..Default::default()
            }];
        }
        let response = bench.client.call(&request, version);
        let told: Vec<_> = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|p| {
                (p.partition_index, p.error_code, count_rich(p.records.as_ref().unwrap().bytes().unwrap()))
            })
            .collect();
        (response.error_code, response.session_id, told)
    };
    let ok = ErrorCode::NONE;
    assert_eq!(ask(5, 1, &[(0, 0)], &[]), (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0, Vec::new()));
    let (error, id, told) = ask(0, 0, &[(0, 0), (1, RECORDS), (9, 0)], &[]);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!((error, told), (ok, vec![(0, ok, RECORDS), (1, ok, 0), (9, unknown, 0)]));
    assert!(id > 0);
    // only what has changed: nothing of partition 1
    assert_eq!(ask(id, 1, &[(0, RECORDS)], &[]), (ok, id, vec![(9, unknown, 0)]));
    assert_eq!(ask(id, 2, &[(1, 0)], &[9]), (ok, id, vec![(1, ok, RECORDS)]));
    assert_eq!(ask(id, 3, &[(1, RECORDS)], &[]), (ok, id, Vec::new()));
    assert_eq!(ask(id, 3, &[], &[]), (ErrorCode::INVALID_FETCH_SESSION_EPOCH, 0, Vec::new()));
    // closed
    assert_eq!(ask(id, -1, &[(0, RECORDS)], &[]), (ok, 0, vec![(0, ok, 0)]));
    assert_eq!(ask(id, 4, &[], &[]), (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0, Vec::new()));
    // a session without partitions ends
    let (_, id, _) = ask(0, 0, &[(0, RECORDS)], &[]);
    assert_eq!(ask(id, 1, &[], &[0]), (ok, 0, Vec::new()));
    assert_eq!(ask(id, 2, &[], &[]), (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0, Vec::new()));
}

#[test]
fn a_fetch_that_waits_is_answered_in_every_version() {
    // W6, W7: by an append, at the deadline, and by the end of its topic
    in_every_version(ApiKey::Fetch, |bench, version| {
        let topic_id = bench.id("t");
        let ask = |max_wait_ms, offset| {
            let mut request = fetch_request("t", 1, offset, max_wait_ms, 1);
            request.topics[0].topic_id = topic_id;
            request
        };
        let end = bench.end("t", 1);
        bench.client.send(&ask(i32::MAX, end), version);
        eventually("the fetch waits", || bench.cluster.log("t", 1).waiting_fetches() == 1);
        let mut producer = Client::of(&bench.cluster);
        producer.produce("t", 1, Some(&rich(NOW, Stamp::NONE)));
        let response = bench.client.receive::<FetchRequest<'_>>(version, 0);
        let data = &response.responses[0].partitions[0];
        assert_eq!((data.error_code, data.high_watermark), (ErrorCode::NONE, end + 3));
        assert_eq!(count_rich(data.records.as_ref().unwrap().bytes().unwrap()), 3);
        let response = bench.client.call(&ask(1, end + 3), version);
        let data = &response.responses[0].partitions[0];
        assert_eq!((data.error_code, data.high_watermark), (ErrorCode::NONE, end + 3));

        bench.cluster.create_topic("short-lived", 1, 1).unwrap();
        let mut request = fetch_request("short-lived", 0, 0, i32::MAX, 1);
        request.topics[0].topic_id = bench.id("short-lived");
        bench.client.send(&request, version);
        eventually("the fetch waits", || bench.cluster.log("short-lived", 0).waiting_fetches() == 1);
        bench.cluster.delete_topic("short-lived").unwrap();
        let response = bench.client.receive::<FetchRequest<'_>>(version, 0);
        let unknown =
            if version >= 13 { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
        assert_eq!(response.responses[0].partitions[0].error_code, unknown);
    });
}
