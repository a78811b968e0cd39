//! CreatePartitions, DescribeCluster, DescribeTopicPartitions, FindCoordinator, OffsetForLeaderEpoch, ElectLeaders,
//! DescribeLogDirs, ListPartitionReassignments and DeleteRecords.

use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic};
use rohrpost_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use rohrpost_protocol::messages::describe_log_dirs::DescribableLogDirTopic;
use rohrpost_protocol::messages::describe_topic_partitions::{Cursor, TopicRequest};
use rohrpost_protocol::messages::elect_leaders::TopicPartitions;
use rohrpost_protocol::messages::list_partition_reassignments::ListPartitionReassignmentsTopics;
use rohrpost_protocol::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use rohrpost_protocol::messages::{
    CreatePartitionsRequest, DeleteRecordsRequest, DescribeClusterRequest, DescribeLogDirsRequest,
    DescribeTopicPartitionsRequest, ElectLeadersRequest, FindCoordinatorRequest,
    ListPartitionReassignmentsRequest, OffsetForLeaderEpochRequest,
};
use rohrpost_record::Stamp;

use crate::bench::*;
use crate::common::*;

/// Operations that everybody may do with a topic, and with the cluster.
const TOPIC_OPERATIONS: i32 = 3576;
const CLUSTER_OPERATIONS: i32 = 8096;

pub(crate) fn more<'a>(name: &'a str, count: i32, assigned: Option<&[&[i32]]>) -> CreatePartitionsTopic<'a> {
    let assignment =
        |ids: &&[i32]| CreatePartitionsAssignment { broker_ids: (*ids).into(), ..Default::default() };
    let assignments = assigned.map(|all| all.iter().map(assignment).collect());
    CreatePartitionsTopic { name, count, assignments, ..Default::default() }
}

/// Q1, Q2, M5
pub(crate) fn create_partitions_answers(bench: &mut Bench, version: i16) {
    let node_id = bench.node_id;
    let names = ["a", "b", "c", "d"].map(|name| format!("{name}{version}"));
    for name in &names {
        bench.cluster.create_topic(name, 2, 1).unwrap();
    }
    let [a, b, c, d] = names.each_ref().map(String::as_str);
    for validate_only in [true, false] {
        let topics = vec![more(a, 4, None), more(b, 3, Some(&[&[node_id]]))];
        let request =
            CreatePartitionsRequest { topics, timeout_ms: 1000, validate_only, ..Default::default() };
        let response = bench.client.call(&request, version);
        let answers: Vec<_> =
            response.results.iter().map(|r| (r.name, r.error_code, r.error_message)).collect();
        assert_eq!(answers, [(a, ErrorCode::NONE, None), (b, ErrorCode::NONE, None)]);
        // what is new is there when the answer comes (M3), and what was there has stayed
        let [first, new] = [1, 3].map(|p| bench.client.produce(a, p, Some(&rich(NOW, Stamp::NONE))).error);
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        assert_eq!((first, new), (ErrorCode::NONE, if validate_only { unknown } else { ErrorCode::NONE }));
    }
    // errors, and a good one among them
    let topics = vec![
        (more("nowhere", 9, None), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (more("t", 3, None), ErrorCode::INVALID_PARTITIONS),
        (more(b, 1, None), ErrorCode::INVALID_PARTITIONS),
        (more(c, 5, None), ErrorCode::NONE),
        (more("stamped", 0, None), ErrorCode::INVALID_PARTITIONS),
        (more("keyed", -1, None), ErrorCode::INVALID_PARTITIONS),
        (more(d, 4, Some(&[&[node_id]])), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (more("__consumer_offsets", 2, Some(&[&[node_id + 7]])), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (more(a, 1_000_000, None), ErrorCode::POLICY_VIOLATION),
        (more("twice", 9, None), ErrorCode::INVALID_REQUEST),
        (more("twice", 9, None), ErrorCode::INVALID_REQUEST),
        (more("", 9, None), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ];
    let expected: Vec<_> = topics.iter().map(|(topic, error)| (topic.name, *error)).collect();
    let topics = topics.iter().map(|(topic, _)| topic.clone()).collect();
    let response = bench.client.call(&CreatePartitionsRequest { topics, ..Default::default() }, version);
    let answers: Vec<_> = response.results.iter().map(|r| (r.name, r.error_code)).collect();
    assert_eq!(answers, expected);
    for result in &response.results {
        let has_message = version >= 1 && result.error_code.is_error();
        assert!(!has_message || result.error_message.is_some(), "{}", result.name);
    }
    for (assigned, what) in [
        (&[&[][..]][..], "no replica"),
        (&[&[node_id, node_id]], "a broker twice"),
        (&[&[node_id, node_id + 7]], "more replicas than the topic has"),
    ] {
        let request =
            CreatePartitionsRequest { topics: vec![more(d, 3, Some(assigned))], ..Default::default() };
        let code = bench.client.call(&request, version).results[0].error_code;
        assert_eq!(code, ErrorCode::INVALID_REPLICA_ASSIGNMENT, "{what}");
    }
    assert!(bench.client.call(&CreatePartitionsRequest::default(), version).results.is_empty());
}

/// M7, M8
pub(crate) fn describe_cluster_answers(bench: &mut Bench, version: i16) {
    let (node_id, port) = (bench.node_id, i32::from(bench.cluster.address().port()));
    for wanted in [false, true] {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: wanted,
            include_fenced_brokers: version >= 2,
            ..Default::default()
        };
        let response = bench.client.call(&request, version);
        assert_eq!((response.error_code, response.error_message), (ErrorCode::NONE, None));
        assert_eq!((response.cluster_id.len(), response.controller_id), (22, node_id));
        let operations = if wanted { CLUSTER_OPERATIONS } else { i32::MIN };
        assert_eq!((response.endpoint_type, response.cluster_authorized_operations), (1, operations));
        let brokers: Vec<_> =
            response.brokers.iter().map(|b| (b.broker_id, b.host, b.port, b.rack, b.is_fenced)).collect();
        assert_eq!(brokers, [(node_id, "127.0.0.1", port, None, false)]);
    }
    if version >= 1 {
        for (endpoint_type, code) in
            [(2, ErrorCode::MISMATCHED_ENDPOINT_TYPE), (3, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE)]
        {
            let request = DescribeClusterRequest { endpoint_type, ..Default::default() };
            let response = bench.client.call(&request, version);
            assert_eq!((response.error_code, response.error_message.is_some()), (code, true));
            assert!(response.brokers.is_empty());
        }
    }
}

/// Q2, M7, V4
pub(crate) fn describe_topic_partitions_answers(bench: &mut Bench, version: i16) {
    fn named<'a>(names: &[&'a str]) -> Vec<TopicRequest<'a>> {
        names.iter().map(|name| TopicRequest { name, ..Default::default() }).collect()
    }
    let (epoch, node_id) = (bench.epoch, bench.node_id);
    let id = bench.id("t");
    let mut ask = |topics: &[&str], limit, cursor: Option<(&str, i32)>| {
        let request = DescribeTopicPartitionsRequest {
            topics: named(topics),
            response_partition_limit: limit,
            cursor: cursor.map(|(topic_name, partition_index)| Cursor {
                topic_name,
                partition_index,
                ..Default::default()
            }),
            ..Default::default()
        };
        let response = bench.client.call(&request, version);
        let page: Vec<_> = response
            .topics
            .iter()
            .map(|topic| {
                let known = topic.error_code.is_ok();
                assert_eq!(
                    topic.topic_authorized_operations,
                    if known { TOPIC_OPERATIONS } else { i32::MIN }
                );
                assert_eq!(topic.is_internal, topic.name == Some("__consumer_offsets"));
                assert_eq!(topic.name == Some("t") && known, topic.topic_id == id);
                for p in &topic.partitions {
                    assert_eq!((p.error_code, p.leader_id), (ErrorCode::NONE, node_id));
                    assert_eq!((&p.replica_nodes[..], &p.isr_nodes[..]), (&[node_id][..], &[node_id][..]));
                    assert!(p.offline_replicas.is_empty());
                    assert_eq!(p.eligible_leader_replicas.as_deref(), Some(&[][..]));
                    assert_eq!(p.last_known_elr.as_deref(), Some(&[][..]));
                    assert!(topic.name != Some("t") || p.leader_epoch == epoch);
                }
                let partitions: Vec<_> = topic.partitions.iter().map(|p| p.partition_index).collect();
                (topic.name.unwrap().to_owned(), topic.error_code, partitions)
            })
            .collect();
        let next = response.next_cursor.map(|cursor| (cursor.topic_name.to_owned(), cursor.partition_index));
        (page, next)
    };
    let found = |name: &str, partitions: &[i32]| (name.to_owned(), ErrorCode::NONE, partitions.to_vec());
    let failed = |name: &str, code| (name.to_owned(), code, Vec::new());
    let cursor = |name: &str, partition| Some((name.to_owned(), partition));
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let invalid = ErrorCode::INVALID_REQUEST;
    // in the order of the names, each once
    let expected = vec![
        failed("a/b", ErrorCode::INVALID_TOPIC_EXCEPTION),
        found("keyed", &[0]),
        failed("nowhere", unknown),
        found("t", &[0, 1, 2]),
    ];
    assert_eq!(ask(&["t", "nowhere", "keyed", "a/b", "t"], 2000, None), (expected, None));
    // page by page: within a topic, between two, and at the end
    let all = [("__consumer_offsets", 1), ("keyed", 1), ("stamped", 1), ("t", 3)];
    for limit in [1, 2, 3, 4, 100] {
        let mut pages = Vec::new();
        let mut at: Option<(String, i32)> = None;
        loop {
            let from = at.as_ref().map(|(topic, partition)| (topic.as_str(), *partition));
            let (page, next) = ask(&[], limit, from);
            let count: usize = page.iter().map(|(.., partitions)| partitions.len()).sum();
            assert!(count <= limit as usize, "a page of {count} within {limit}");
            for (topic, code, partitions) in page {
                assert_eq!(code, ErrorCode::NONE);
                pages.extend(partitions.into_iter().map(|p| (topic.clone(), p)));
            }
            let Some(next) = next else { break };
            at = Some(next);
        }
        let expected: Vec<_> =
            all.iter().flat_map(|(topic, count)| (0..*count).map(|p| ((*topic).to_owned(), p))).collect();
        assert_eq!(pages, expected, "{limit} at a time");
    }
    assert_eq!(ask(&["t", "keyed"], 2, None), (vec![found("keyed", &[0]), found("t", &[0])], cursor("t", 1)));
    assert_eq!(ask(&["t", "keyed"], 2, Some(("t", 1))), (vec![found("t", &[1, 2])], None));
    assert_eq!(ask(&["t", "keyed"], 1, None), (vec![found("keyed", &[0])], cursor("t", 0)));
    assert_eq!(ask(&["t"], 2000, Some(("t", 9))), (vec![found("t", &[])], None));
    // a limit that is none counts as one
    assert_eq!(ask(&["t"], -5, None), (vec![found("t", &[0])], cursor("t", 1)));
    // a cursor that cannot be meant
    assert_eq!(ask(&["t"], 9, Some(("keyed", 0))), (vec![failed("t", invalid)], None));
    assert_eq!(ask(&["t"], 9, Some(("t", -1))), (vec![failed("t", invalid)], None));
}

/// Q1: there is none yet, and that is no closed connection
pub(crate) fn find_coordinator_answers(bench: &mut Bench, version: i16) {
    let none = ErrorCode::COORDINATOR_NOT_AVAILABLE;
    let invalid = ErrorCode::INVALID_REQUEST;
    for (key_type, code) in
        [(0, none), (1, none), (2, if version >= 6 { none } else { invalid }), (3, invalid), (-1, invalid)]
    {
        if version == 0 && key_type != 0 {
            continue;
        }
        let batch = version >= 4;
        let request = FindCoordinatorRequest {
            key: if batch { "" } else { "key" },
            key_type,
            coordinator_keys: if batch { vec!["b", "a", "b"] } else { Vec::new() },
            ..Default::default()
        };
        let response = bench.client.call(&request, version);
        let has_message = version >= 1;
        if batch {
            let answers: Vec<_> = response
                .coordinators
                .iter()
                .map(|c| (c.key, c.error_code, c.error_message.is_some(), c.node_id))
                .collect();
            assert_eq!(answers, ["b", "a", "b"].map(|key| (key, code, true, -1)), "key type {key_type}");
        } else {
            let message = response.error_message.is_some_and(|text| !text.is_empty());
            assert_eq!((response.error_code, message), (code, has_message), "key type {key_type}");
            assert_eq!((response.node_id, response.port), (-1, -1));
        }
    }
    if version >= 4 {
        let nothing = FindCoordinatorRequest::default();
        assert!(bench.client.call(&nothing, version).coordinators.is_empty());
    }
}

/// Q1, Q2, O6, R25
pub(crate) fn offset_for_leader_epoch_answers(bench: &mut Bench, version: i16) {
    let epoch = bench.epoch;
    let at = |partition, current_leader_epoch, leader_epoch| OffsetForLeaderPartition {
        partition,
        current_leader_epoch,
        leader_epoch,
        ..Default::default()
    };
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let ok = ErrorCode::NONE;
    // the second batch of a restarted broker has a younger epoch than the first
    let mut t = vec![
        (at(0, epoch, epoch), (ok, epoch, RECORDS)),
        (at(9, -1, epoch), (unknown, -1, -1)),
        (at(1, -1, epoch), (ok, epoch, RECORDS)),
        // O6: above all, and none at all, is no error
        (at(2, -1, epoch + 1), (ok, -1, -1)),
        (at(0, epoch + 1, epoch), (ErrorCode::UNKNOWN_LEADER_EPOCH, -1, -1)),
        (at(0, -1, epoch), (ok, epoch, RECORDS)),
    ];
    if epoch > 0 {
        t.push((at(1, epoch - 1, 0), (ErrorCode::FENCED_LEADER_EPOCH, -1, -1)));
        // R25: an epoch that nobody wrote in ends where the next one begins
        t.push((at(1, epoch, 0), (ok, 0, 3)));
        t.push((at(1, epoch, epoch - 1), (ok, 0, 3)));
    }
    let topics = [
        ("nowhere", vec![(at(0, -1, 0), (unknown, -1, -1))]),
        ("t", t),
        // a topic that nobody has written to knows its leader's epoch all the same
        ("keyed", vec![(at(0, -1, epoch), (ok, epoch, 0)), (at(-1, -1, 0), (unknown, -1, -1))]),
    ];
    for replica_id in [-2, 7] {
        let request = OffsetForLeaderEpochRequest {
            replica_id: if version >= 3 { replica_id } else { -2 },
            topics: topics
                .iter()
                .map(|(topic, partitions)| OffsetForLeaderTopic {
                    topic,
                    partitions: partitions.iter().map(|(asked, _)| asked.clone()).collect(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let response = bench.client.call(&request, version);
        assert_eq!(response.topics.len(), topics.len());
        for (answer, (topic, partitions)) in response.topics.iter().zip(&topics) {
            assert_eq!(answer.topic, *topic);
            let found: Vec<_> = answer
                .partitions
                .iter()
                .map(|p| (p.partition, (p.error_code, p.leader_epoch, p.end_offset)))
                .collect();
            let expected: Vec<_> = partitions.iter().map(|(asked, e)| (asked.partition, *e)).collect();
            assert_eq!(found, expected, "{topic}");
        }
    }
    assert!(bench.client.call(&OffsetForLeaderEpochRequest::default(), version).topics.is_empty());
}

/// Q1, Q2, M11
pub(crate) fn elect_leaders_answers(bench: &mut Bench, version: i16) {
    let not_needed = ErrorCode::ELECTION_NOT_NEEDED;
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let invalid = ErrorCode::INVALID_REQUEST;
    for election_type in [0, 1] {
        if version == 0 && election_type != 0 {
            continue;
        }
        let named = |topic, partitions: &[i32]| TopicPartitions {
            topic,
            partitions: partitions.into(),
            ..Default::default()
        };
        let topics = vec![named("t", &[2, 9, 0, 2]), named("nowhere", &[0]), named("keyed", &[0])];
        let request = ElectLeadersRequest {
            election_type,
            topic_partitions: Some(topics),
            timeout_ms: 1000,
            ..Default::default()
        };
        let response = bench.client.call(&request, version);
        assert_eq!(response.error_code, ErrorCode::NONE);
        let answers: Vec<_> = response
            .replica_election_results
            .iter()
            .flat_map(|t| t.partition_result.iter().map(|p| (t.topic, p.partition_id, p.error_code)))
            .collect();
        let expected = [
            ("t", 2, not_needed),
            ("t", 9, unknown),
            ("t", 0, not_needed),
            ("t", 2, invalid),
            ("nowhere", 0, unknown),
            ("keyed", 0, not_needed),
        ];
        assert_eq!(answers, expected);
        // all: those that need none are left out
        let all = ElectLeadersRequest { election_type, topic_partitions: None, ..Default::default() };
        let response = bench.client.call(&all, version);
        assert_eq!(response.error_code, ErrorCode::NONE);
        assert!(response.replica_election_results.is_empty());
    }
    if version >= 1 {
        let topic_partitions =
            Some(vec![TopicPartitions { topic: "t", partitions: [0].into(), ..Default::default() }]);
        let request = ElectLeadersRequest { election_type: 2, topic_partitions, ..Default::default() };
        let response = bench.client.call(&request, version);
        assert_eq!(response.error_code, invalid);
        assert_eq!(response.replica_election_results[0].partition_result[0].error_code, invalid);
    }
}

pub(crate) fn describe_log_dirs_answers(bench: &mut Bench, version: i16) {
    let named = |topic, partitions: &[i32]| DescribableLogDirTopic {
        topic,
        partitions: partitions.into(),
        ..Default::default()
    };
    let mut ask = |topics| {
        let response = bench.client.call(&DescribeLogDirsRequest { topics, ..Default::default() }, version);
        assert_eq!(response.error_code, ErrorCode::NONE);
        let [dir] = &response.results[..] else { panic!("one directory") };
        assert_eq!(dir.error_code, ErrorCode::NONE);
        assert!(!dir.log_dir.is_empty());
        assert_eq!((dir.total_bytes, dir.usable_bytes, dir.is_cordoned), (-1, -1, false));
        let replicas = dir.topics.iter().flat_map(|t| {
            t.partitions
                .iter()
                .map(|p| (t.name.to_owned(), p.partition_index, p.partition_size > 0, p.offset_lag))
        });
        replicas.collect::<Vec<_>>()
    };
    let replica = |topic: &str, partition, full| (topic.to_owned(), partition, full, 0);
    let all = [
        replica("__consumer_offsets", 0, false),
        replica("keyed", 0, false),
        replica("stamped", 0, true),
        replica("t", 0, true),
        replica("t", 1, true),
        replica("t", 2, true),
    ];
    assert_eq!(ask(None), all);
    let some = vec![named("t", &[2, 9]), named("nowhere", &[0]), named("keyed", &[0])];
    assert_eq!(ask(Some(some)), [replica("keyed", 0, false), replica("t", 2, true)]);
    assert!(ask(Some(Vec::new())).is_empty());
}

pub(crate) fn list_partition_reassignments_answers(bench: &mut Bench, version: i16) {
    let named = ListPartitionReassignmentsTopics {
        name: "t",
        partition_indexes: [0, 9].into(),
        ..Default::default()
    };
    let nowhere = ListPartitionReassignmentsTopics { name: "nowhere", ..named.clone() };
    for topics in [None, Some(Vec::new()), Some(vec![named, nowhere])] {
        let request = ListPartitionReassignmentsRequest { topics, ..Default::default() };
        let response = bench.client.call(&request, version);
        assert_eq!((response.error_code, response.error_message), (ErrorCode::NONE, None));
        assert!(response.topics.is_empty());
    }
}

/// Q1, Q2, D25
pub(crate) fn delete_records_answers(bench: &mut Bench, version: i16) {
    let name = format!("shrinking{version}");
    bench.cluster.create_topic(&name, 3, 1).unwrap();
    let name = name.as_str();
    for partition in [0, 1] {
        bench.client.produce(name, partition, Some(&rich(NOW, Stamp::NONE)));
        bench.client.produce(name, partition, Some(&rich(NOW, Stamp::NONE)));
    }
    let mut ask = |topics: &[(&str, &[(i32, i64)])]| {
        let request = DeleteRecordsRequest {
            topics: topics
                .iter()
                .map(|(name, partitions)| DeleteRecordsTopic {
                    name,
                    partitions: partitions
                        .iter()
                        .map(|&(partition_index, offset)| DeleteRecordsPartition {
                            partition_index,
                            offset,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                })
                .collect(),
            timeout_ms: 1000,
            ..Default::default()
        };
        let response = bench.client.call(&request, version);
        let answers = response.topics.iter().flat_map(|t| {
            t.partitions.iter().map(|p| (t.name.to_owned(), p.partition_index, p.error_code, p.low_watermark))
        });
        answers.collect::<Vec<_>>()
    };
    let ok = |partition, start| (name.to_owned(), partition, ErrorCode::NONE, start);
    let failed = |name: &str, partition, code| (name.to_owned(), partition, code, -1);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let range = ErrorCode::OFFSET_OUT_OF_RANGE;
    let answers = ask(&[
        (name, &[(0, 4), (1, 7), (2, 0), (3, 0), (0, -2)]),
        ("nowhere", &[(0, 1)]),
        ("keyed", &[(0, 0)]),
        ("__consumer_offsets", &[(0, 0)]),
    ]);
    let expected = [
        ok(0, 4),
        failed(name, 1, range),
        ok(2, 0),
        failed(name, 3, unknown),
        failed(name, 0, range),
        failed("nowhere", 0, unknown),
        failed("keyed", 0, ErrorCode::POLICY_VIOLATION),
        failed("__consumer_offsets", 0, ErrorCode::INVALID_TOPIC_EXCEPTION),
    ];
    assert_eq!(answers, expected);
    // the log start never falls; -1 is the high watermark
    assert_eq!(ask(&[(name, &[(0, 2), (1, -1)])]), [ok(0, 4), ok(1, 6)]);
    let mut start = |partition| {
        bench.client.call(&fetch_request(name, partition, 3, 0, 1), 12).responses[0].partitions[0].error_code
    };
    assert_eq!((start(0), start(1)), (range, range));
    let found = bench.client.call(&fetch_request(name, 0, 4, 0, 1), 12);
    let data = &found.responses[0].partitions[0];
    assert_eq!((data.error_code, data.log_start_offset), (ErrorCode::NONE, 4));
}
