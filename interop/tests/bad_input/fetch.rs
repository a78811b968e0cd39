//! Fetch with its sessions, ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use rohrpost_interop::duel::{Side, Step};
use rohrpost_protocol::Uuid;
use rohrpost_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use rohrpost_protocol::messages::fetch::{FetchPartition, FetchTopic, ReplicaState};
use rohrpost_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use rohrpost_protocol::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use rohrpost_protocol::messages::{
    DeleteRecordsRequest, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
};

use crate::cases::{Cases, batch, keep};
use crate::produce::{odd_id, produce};

/// Those in which the answer, or what is asked, has another form than in the one before.
const VERSIONS: [i16; 8] = [4, 5, 7, 9, 11, 12, 13, 18];

pub(crate) fn add(cases: &mut Cases) {
    fetch(cases);
    sessions(cases);
    list_offsets(cases);
    offset_for_leader_epoch(cases);
    delete_records(cases);
}

/// Changes to a request that asks for a partition of ten records from its start.
type Change = fn(&mut FetchRequest<'static>);

fn fetch(cases: &mut Cases) {
    let rows: [(&str, i16, Change); 27] = [
        ("nothing wrong", 0, |_| {}),
        ("at the end", 0, |request| first(request).fetch_offset = 10),
        ("offset beyond the end", 0, |request| first(request).fetch_offset = 11),
        ("offset -1", 0, |request| first(request).fetch_offset = -1),
        ("offset 9223372036854775807", 0, |request| first(request).fetch_offset = i64::MAX),
        ("unknown partition", 0, |request| first(request).partition = 1_000_000),
        ("partition -1", 0, |request| first(request).partition = -1),
        ("unknown topic", 0, |request| {
            request.topics[0].topic = "unknown";
            request.topics[0].topic_id = odd_id();
        }),
        ("a bad topic name", 0, |request| request.topics[0].topic = "a/b"),
        ("a topic id of zeros", 13, |request| request.topics[0].topic_id = Uuid::default()),
        ("leader epoch too new", 9, |request| first(request).current_leader_epoch = 1000),
        ("leader epoch -2", 9, |request| first(request).current_leader_epoch = -2),
        ("unknown last epoch", 12, |request| first(request).last_fetched_epoch = 1000),
        ("last epoch 0", 12, |request| first(request).last_fetched_epoch = 0),
        ("isolation level 7", 0, |request| request.isolation_level = 7),
        ("read_committed", 0, |request| request.isolation_level = 1),
        ("no bytes", 0, |request| request.max_bytes = 0),
        ("-1 bytes", 0, |request| request.max_bytes = -1),
        ("no bytes per partition", 0, |request| first(request).partition_max_bytes = 0),
        ("-1 bytes per partition", 0, |request| first(request).partition_max_bytes = -1),
        ("at least -1 bytes", 0, |request| request.min_bytes = -1),
        ("a wait of -1", 0, |request| {
            request.max_wait_ms = -1;
            first(request).fetch_offset = 10;
        }),
        ("no topics", 0, |request| request.topics.clear()),
        ("no partitions", 0, |request| request.topics[0].partitions.clear()),
        ("a partition twice", 0, |request| {
            let again = request.topics[0].partitions[0].clone();
            request.topics[0].partitions.push(again);
        }),
        ("a follower that is not assigned", 0, |request| {
            request.replica_id = 77;
            request.replica_state = ReplicaState { replica_id: 77, ..Default::default() };
        }),
        ("a follower that is not assigned, with an epoch", 12, |request| {
            request.replica_id = 77;
            request.replica_state = ReplicaState { replica_id: 77, replica_epoch: 5, ..Default::default() };
            first(request).current_leader_epoch = 0;
        }),
    ];
    for (input, since, change) in rows {
        for version in VERSIONS.into_iter().filter(|&version| version >= since) {
            cases.add("Fetch", input, version, vec![asking("ten", 0, version, change)]);
        }
    }
    // below the log's start
    for version in VERSIONS {
        let partition = cases.partition("bad");
        let steps = vec![
            ten_records("bad", partition),
            delete_before("bad", partition, 5),
            asking("bad", partition, version, |_| {}),
        ];
        cases.add("Fetch", "offset before the log's start", version, steps);
    }
    // Q2
    for version in VERSIONS {
        let mixed = asking("ten", 0, version, |request| {
            let mut unknown = first(request).clone();
            unknown.partition = 1_000_000;
            request.topics[0].partitions.insert(0, unknown);
        });
        cases.add("Fetch", "good and bad partitions", version, vec![mixed]);
    }
}

/// F13 to F16.
fn sessions(cases: &mut Cases) {
    for version in [7, 11, 12, 13, 18] {
        let mut case = |input: &str, steps: &[(i32, i32, Change)]| {
            let steps = steps.iter().map(|&(id, epoch, change)| in_session(version, id, epoch, change));
            cases.add("Fetch", &format!("sessions: {input}"), version, steps.collect());
        };
        // an id of 0 stands for the session that was opened last
        case("unknown id", &[(123_456, 1, |_| {})]);
        case("unknown id, to be closed", &[(123_456, -1, |_| {})]);
        case("opened, nothing new", &[(0, 0, |_| {}), (0, 1, no_topics), (0, 2, no_topics)]);
        case("epoch skipped", &[(0, 0, |_| {}), (0, 2, no_topics)]);
        case("epoch used again", &[(0, 0, |_| {}), (0, 1, no_topics), (0, 1, no_topics)]);
        case("epoch -2", &[(0, 0, |_| {}), (0, -2, no_topics)]);
        case("closed, then used", &[(0, 0, |_| {}), (0, -1, |_| {}), (0, 1, no_topics)]);
        case(
            "an unknown partition",
            &[(0, 0, |request| first(request).partition = 1_000_000), (0, 1, no_topics)],
        );
        case(
            "an unknown partition is added",
            &[(0, 0, |_| {}), (0, 1, |request| first(request).partition = 1_000_000)],
        );
    }
    let names_then_ids = vec![in_session(12, 0, 0, |_| {}), in_session(13, 0, 1, |_| {})];
    cases.add("Fetch", "sessions: names, then ids", 13, names_then_ids);
    let ids_then_names = vec![in_session(13, 0, 0, |_| {}), in_session(12, 0, 1, |_| {})];
    cases.add("Fetch", "sessions: ids, then names", 12, ids_then_names);
}

fn list_offsets(cases: &mut Cases) {
    // what is asked with -3 and below came with versions 7 to 11
    for version in [1, 2, 4, 5, 6, 7, 8, 9, 10, 11] {
        let mut case = |input: &str, change: fn(&mut ListOffsetsRequest<'static>)| {
            let step = Step::of(version, move || {
                let mut request = ListOffsetsRequest {
                    replica_id: -1,
                    topics: vec![ListOffsetsTopic {
                        name: "ten",
                        partitions: vec![ListOffsetsPartition { timestamp: -1, ..Default::default() }],
                        ..Default::default()
                    }],
                    timeout_ms: 5000,
                    ..Default::default()
                };
                change(&mut request);
                request
            });
            cases.add("ListOffsets", input, version, vec![step]);
        };
        case("latest", |_| {});
        case("time -2", |request| asked(request).timestamp = -2);
        case("time -3", |request| asked(request).timestamp = -3);
        case("time -4", |request| asked(request).timestamp = -4);
        case("time -5", |request| asked(request).timestamp = -5);
        case("time -6", |request| asked(request).timestamp = -6);
        case("time -7", |request| asked(request).timestamp = -7);
        case("time -9223372036854775808", |request| asked(request).timestamp = i64::MIN);
        if ![1, 5, 11].contains(&version) {
            continue;
        }
        case("time 0", |request| asked(request).timestamp = 0);
        case("time in the future", |request| asked(request).timestamp = i64::MAX);
        case("unknown partition", |request| asked(request).partition_index = 1_000_000);
        case("partition -1", |request| asked(request).partition_index = -1);
        case("unknown topic", |request| request.topics[0].name = "unknown");
        case("a bad topic name", |request| request.topics[0].name = "a/b");
        case("a partition twice", |request| {
            let again = request.topics[0].partitions[0].clone();
            request.topics[0].partitions.push(again);
        });
        case("replica 77", |request| request.replica_id = 77);
        case("replica -2", |request| request.replica_id = -2);
        if version >= 2 {
            case("isolation level 7", |request| request.isolation_level = 7);
        }
        if version >= 4 {
            case("leader epoch too new", |request| asked(request).current_leader_epoch = 1000);
            case("leader epoch -2", |request| asked(request).current_leader_epoch = -2);
        }
    }
}

/// O6, R25.
fn offset_for_leader_epoch(cases: &mut Cases) {
    for version in 2..=4 {
        // (partition or none for the case's own, epoch known to the asker, epoch asked for)
        let rows = [
            ("epoch 0", None, -1, 0),
            ("unknown epoch", None, -1, 1000),
            ("epoch -1", None, -1, -1),
            ("epoch -2", None, -1, -2),
            ("leader epoch too new", None, 1000, 0),
            ("leader epoch -2", None, -2, 0),
            ("unknown partition", Some(1_000_000), -1, 0),
        ];
        for (input, elsewhere, current_leader_epoch, leader_epoch) in rows {
            let partition = OffsetForLeaderPartition {
                partition: elsewhere.unwrap_or(0),
                current_leader_epoch,
                leader_epoch,
                ..Default::default()
            };
            let asking = epoch_request("ten", vec![partition], version);
            cases.add("OffsetForLeaderEpoch", input, version, vec![asking]);
        }
        let partition = || OffsetForLeaderPartition { leader_epoch: 0, ..Default::default() };
        let unknown = epoch_request("unknown", vec![partition()], version);
        cases.add("OffsetForLeaderEpoch", "unknown topic", version, vec![unknown]);
        let twice = epoch_request("append-time", vec![partition(), partition()], version);
        cases.add("OffsetForLeaderEpoch", "a partition twice", version, vec![twice]);
    }
}

fn delete_records(cases: &mut Cases) {
    for version in 0..=2 {
        let rows = [
            ("at the high watermark", 10),
            ("above the high watermark", 11),
            ("offset -1: all", -1),
            ("offset -2", -2),
            ("offset 0", 0),
            ("offset 3", 3),
        ];
        for (input, offset) in rows {
            let partition = cases.partition("bad");
            let steps = vec![ten_records("bad", partition), delete(&[("bad", partition, offset)], version)];
            cases.add("DeleteRecords", input, version, steps);
        }
        let partition = cases.partition("bad");
        let backwards = vec![
            ten_records("bad", partition),
            delete(&[("bad", partition, 5)], version),
            delete(&[("bad", partition, 2)], version),
        ];
        cases.add("DeleteRecords", "below the log's start", version, backwards);
        let partition = cases.partition("compacted");
        let steps =
            vec![ten_records("compacted", partition), delete(&[("compacted", partition, 3)], version)];
        cases.add("DeleteRecords", "compacted topic", version, steps);
        cases.add(
            "DeleteRecords",
            "unknown partition",
            version,
            vec![delete(&[("bad", 1_000_000, 0)], version)],
        );
        cases.add("DeleteRecords", "unknown topic", version, vec![delete(&[("unknown", 0, 0)], version)]);
        cases.add("DeleteRecords", "no topics", version, vec![delete(&[], version)]);
    }
}

fn asking(topic: &'static str, partition: i32, version: i16, change: Change) -> Step {
    Step::with(version, move |side: &Side, _| {
        let mut request = fetch_request(side, topic, partition);
        // no session
        request.session_epoch = -1;
        change(&mut request);
        // a follower's name moved
        if version >= 15 {
            request.replica_id = -1;
        } else {
            request.replica_state = ReplicaState::default();
        }
        request
    })
}

fn in_session(version: i16, id: i32, epoch: i32, change: Change) -> Step {
    Step::with(version, move |side: &Side, memory| {
        let mut request = fetch_request(side, "ten", 0);
        request.session_id = if id == 0 && epoch != 0 { memory.session_id } else { id };
        request.session_epoch = epoch;
        change(&mut request);
        request
    })
}

fn fetch_request(side: &Side, topic: &'static str, partition: i32) -> FetchRequest<'static> {
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic,
            topic_id: side.id(topic),
            partitions: vec![FetchPartition {
                partition,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn no_topics(request: &mut FetchRequest<'static>) {
    request.topics.clear();
}

fn first<'r>(request: &'r mut FetchRequest<'static>) -> &'r mut FetchPartition {
    &mut request.topics[0].partitions[0]
}

fn asked<'r>(request: &'r mut ListOffsetsRequest<'static>) -> &'r mut ListOffsetsPartition {
    &mut request.topics[0].partitions[0]
}

fn epoch_request(topic: &'static str, partitions: Vec<OffsetForLeaderPartition>, version: i16) -> Step {
    Step::of(version, move || OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderTopic { topic, partitions: partitions.clone(), ..Default::default() }],
        ..Default::default()
    })
}

fn ten_records(topic: &'static str, partition: i32) -> Step {
    let records = keep(batch(&[b"value".as_slice(); 10]));
    produce(topic, partition, Some(records), -1, 9)
}

fn delete_before(topic: &'static str, partition: i32, offset: i64) -> Step {
    delete(&[(topic, partition, offset)], 2)
}

fn delete(places: &[(&'static str, i32, i64)], version: i16) -> Step {
    let places = places.to_vec();
    Step::of(version, move || DeleteRecordsRequest {
        topics: places
            .iter()
            .map(|&(name, partition_index, offset)| DeleteRecordsTopic {
                name,
                partitions: vec![DeleteRecordsPartition { partition_index, offset, ..Default::default() }],
                ..Default::default()
            })
            .collect(),
        timeout_ms: 5000,
        ..Default::default()
    })
}
