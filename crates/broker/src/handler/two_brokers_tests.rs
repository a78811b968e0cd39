//! Metadata that names other brokers: what the one broker that is there answers for partitions that are elsewhere, led by
//! another, short of replicas, or without a leader, in every version.

use rohrpost_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use rohrpost_protocol::messages::elect_leaders::TopicPartitions;
use rohrpost_protocol::messages::fetch::{FetchPartition, FetchTopic};
use rohrpost_protocol::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use rohrpost_protocol::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use rohrpost_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DescribeClusterRequest, DescribeClusterResponse,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ElectLeadersRequest,
    ElectLeadersResponse, FetchRequest, FetchResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, MetadataRequest, MetadataRequestTopic, MetadataResponse, NodeEndpoint,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, PartitionProduceData, ProduceRequest,
    ProduceResponse, TopicProduceData,
};
use rohrpost_protocol::{ApiKey, ErrorCode, Records, Uuid};

use super::world_tests::{World, batch, versions};
use crate::network::Outcome;

/// Broker 2 serves. `elsewhere`: partition 0 on broker 2 alone, partition 1 here. `followed`: on both, led by 2.
struct Two {
    world: World,
    elsewhere: Uuid,
    followed: Uuid,
}

impl Two {
    fn new() -> Two {
        let world = World::new();
        world.register(2, "PLAINTEXT", true);
        let elsewhere = world.create("elsewhere", &[&[2], &[1]], &[]).id;
        let followed = world.create("followed", &[&[2, 1]], &[]).id;
        Two { world, elsewhere, followed }
    }
}

const NOT_LEADER: ErrorCode = ErrorCode::NOT_LEADER_OR_FOLLOWER;

fn endpoints(found: &[NodeEndpoint<'_>]) -> Vec<(i32, String, i32)> {
    found.iter().map(|node| (node.node_id, node.host.to_owned(), node.port)).collect()
}

#[test]
fn a_producer_is_sent_to_the_leader_in_every_version_that_can_say_it() {
    // P6, P13, M8, Q2
    let Two { world, elsewhere, followed } = Two::new();
    let bytes = batch();
    let topic = |name, topic_id, partitions: &[i32]| TopicProduceData {
        name,
        topic_id,
        partition_data: partitions
            .iter()
            .map(|&index| PartitionProduceData {
                index,
                records: Some(Records::Bytes(&bytes)),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    for (version, round) in versions(ApiKey::Produce).zip(0..) {
        let topic_data = vec![topic("elsewhere", elsewhere, &[0, 1, 2]), topic("followed", followed, &[0])];
        let request = ProduceRequest { acks: 1, topic_data, ..Default::default() };
        let body = world.ask(&request, version, false);
        let response: ProduceResponse<'_> = body.read();
        let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let answers: Vec<_> = partitions
            .map(|p| (p.error_code, p.base_offset, p.current_leader.leader_id, p.current_leader.leader_epoch))
            .collect();
        let moved = if version >= 10 { (NOT_LEADER, -1, 2, 0) } else { (NOT_LEADER, -1, -1, -1) };
        let unknown = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1, -1, -1);
        let here = (ErrorCode::NONE, round, -1, -1);
        assert_eq!(answers, [moved, here, unknown, moved], "Produce {version}");
        // once, though two partitions name it
        let expected = if version >= 10 { vec![(2, "broker-2".to_owned(), 9002)] } else { vec![] };
        assert_eq!(endpoints(&response.node_endpoints), expected, "Produce {version}");
    }
    // N13: without an answer the closed connection is all
    let request =
        ProduceRequest { acks: 0, topic_data: vec![topic("followed", followed, &[0])], ..Default::default() };
    assert!(matches!(world.handle(&request, 9, false), Outcome::Close(_)));
    // the leader goes: this broker takes over, and says nothing of leaders any more
    world.heartbeat(2, true);
    let body = world.ask(&ProduceRequest { acks: -1, ..request }, 12, false);
    let response: ProduceResponse<'_> = body.read();
    // its only other member was in sync, so it leads now
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(
        (answer.error_code, answer.base_offset, answer.current_leader.leader_id),
        (ErrorCode::NONE, 0, -1)
    );
    assert!(response.node_endpoints.is_empty());
}

#[test]
fn a_reader_is_sent_to_the_leader_in_every_version_that_can_say_it() {
    // F8, O5, P6, M8
    let Two { world, elsewhere, followed } = Two::new();
    for version in versions(ApiKey::Fetch) {
        let topic = |topic, topic_id, partitions: &[i32]| FetchTopic {
            topic,
            topic_id,
            partitions: partitions
                .iter()
                .map(|&partition| FetchPartition { partition, ..Default::default() })
                .collect(),
            ..Default::default()
        };
        let topics = vec![topic("elsewhere", elsewhere, &[0, 1]), topic("followed", followed, &[0])];
        let request = FetchRequest { max_wait_ms: i32::MAX, min_bytes: 1, topics, ..Default::default() };
        let body = world.ask(&request, version, false);
        let response: FetchResponse<'_> = body.read();
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        let answers: Vec<_> = partitions
            .map(|p| (p.error_code, p.current_leader.leader_id, p.current_leader.leader_epoch))
            .collect();
        let hinted = version >= 16;
        let moved = if hinted { (NOT_LEADER, 2, 0) } else { (NOT_LEADER, -1, -1) };
        assert_eq!(answers, [moved, (ErrorCode::NONE, -1, -1), moved], "Fetch {version}");
        let expected = if hinted { vec![(2, "broker-2".to_owned(), 9002)] } else { vec![] };
        assert_eq!(endpoints(&response.node_endpoints), expected, "Fetch {version}");
    }
    for version in versions(ApiKey::ListOffsets) {
        let topic = |name, partitions: &[i32]| ListOffsetsTopic {
            name,
            partitions: partitions
                .iter()
                .map(|&partition_index| ListOffsetsPartition {
                    partition_index,
                    timestamp: -1,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let topics = vec![topic("elsewhere", &[0, 1]), topic("followed", &[0])];
        let body =
            world.ask(&ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }, version, false);
        let response: ListOffsetsResponse<'_> = body.read();
        let answers: Vec<_> =
            response.topics.iter().flat_map(|t| &t.partitions).map(|p| (p.error_code, p.offset)).collect();
        assert_eq!(
            answers,
            [(NOT_LEADER, -1), (ErrorCode::NONE, 0), (NOT_LEADER, -1)],
            "ListOffsets {version}"
        );
    }
}

#[test]
fn acks_all_is_refused_while_the_in_sync_set_is_too_small() {
    // P7, R35: in every version, and before anything is written
    let world = World::new();
    world.register(2, "PLAINTEXT", false);
    let short = world.create("short", &[&[1, 2]], &[("min.insync.replicas", "2")]).id;
    // a minimum above the number of replicas counts as that number
    let alone = world.create("alone", &[&[1]], &[("min.insync.replicas", "2")]).id;
    let bytes = batch();
    let mut expected = 0;
    for version in versions(ApiKey::Produce) {
        for (acks, code) in [(-1, ErrorCode::NOT_ENOUGH_REPLICAS), (1, ErrorCode::NONE)] {
            let topic = |name, topic_id| TopicProduceData {
                name,
                topic_id,
                partition_data: vec![PartitionProduceData {
                    records: Some(Records::Bytes(&bytes)),
                    ..Default::default()
                }],
                ..Default::default()
            };
            let topic_data = vec![topic("short", short), topic("alone", alone)];
            let body = world.ask(&ProduceRequest { acks, topic_data, ..Default::default() }, version, false);
            let response: ProduceResponse<'_> = body.read();
            let answers: Vec<_> =
                response.responses.iter().map(|topic| &topic.partition_responses[0]).collect();
            let base_offset = if code.is_ok() { expected } else { -1 };
            assert_eq!((answers[0].error_code, answers[0].base_offset), (code, base_offset), "{version}");
            assert_eq!(answers[1].error_code, ErrorCode::NONE, "Produce {version}");
            expected += i64::from(code.is_ok());
        }
    }
}

#[test]
fn metadata_says_who_can_be_reached_in_every_version() {
    // M7, M8
    let world = World::new();
    world.register(2, "PLAINTEXT", true);
    world.register(3, "OTHER", true); // alive, but not where this client could reach it
    world.register(4, "PLAINTEXT", false);
    world.register(5, "PLAINTEXT", true);
    let replicas: [(&str, &[i32]); 4] =
        [("led", &[2, 1]), ("hidden", &[3]), ("short", &[1, 4]), ("orphan", &[5])];
    for (name, replicas) in replicas {
        world.create(name, &[replicas], &[]);
    }
    world.heartbeat(5, true);
    for version in versions(ApiKey::Metadata) {
        let topics =
            replicas.iter().map(|(name, _)| MetadataRequestTopic { name: Some(name), ..Default::default() });
        let request = MetadataRequest { topics: Some(topics.collect()), ..Default::default() };
        let body = world.ask(&request, version, false);
        let response: MetadataResponse<'_> = body.read();
        let brokers: Vec<_> = response.brokers.iter().map(|b| (b.node_id, b.host, b.port)).collect();
        assert_eq!(brokers, [(1, "127.0.0.1", world.port()), (2, "broker-2", 9002)], "Metadata {version}");
        assert_eq!(response.controller_id, if version >= 1 { 1 } else { -1 });
        let partitions: Vec<_> = response.topics.iter().map(|topic| &topic.partitions[0]).collect();
        let answers: Vec<_> =
            partitions.iter().map(|p| (p.error_code, p.leader_id, p.offline_replicas.to_vec())).collect();
        let none = ErrorCode::LEADER_NOT_AVAILABLE;
        let hidden = if version >= 6 { ErrorCode::LISTENER_NOT_FOUND } else { none };
        let short = if version == 0 { ErrorCode::REPLICA_NOT_AVAILABLE } else { ErrorCode::NONE };
        let offline = |id| if version >= 5 { vec![id] } else { vec![] };
        let expected = [
            (ErrorCode::NONE, 2, vec![]),
            (hidden, -1, vec![]),
            (short, 1, offline(4)),
            (none, -1, offline(5)),
        ];
        assert_eq!(answers, expected, "Metadata {version}");
        for (partition, (name, replicas)) in partitions.iter().zip(replicas) {
            assert_eq!(&partition.replica_nodes[..], replicas, "{name}");
        }
        assert!(response.topics.iter().all(|topic| topic.error_code.is_ok()));
    }
}

#[test]
fn tools_are_told_of_other_brokers_as_far_as_they_can_be_reached() {
    // M7, M8, M11, P6
    let Two { world, .. } = Two::new();
    world.register(3, "OTHER", true);
    world.register(4, "PLAINTEXT", false);
    world.create("hidden", &[&[3]], &[]);
    for version in versions(ApiKey::DescribeCluster) {
        for wanted in [false, true] {
            if wanted && version < 2 {
                continue;
            }
            let request = DescribeClusterRequest { include_fenced_brokers: wanted, ..Default::default() };
            let body = world.ask(&request, version, false);
            let response: DescribeClusterResponse<'_> = body.read();
            let brokers: Vec<_> = response.brokers.iter().map(|b| (b.broker_id, b.is_fenced)).collect();
            let fenced = wanted.then_some((4, true));
            let expected: Vec<_> = [(1, false), (2, false)].into_iter().chain(fenced).collect();
            assert_eq!(brokers, expected, "DescribeCluster {version}");
        }
    }
    let body = world.ask(&DescribeTopicPartitionsRequest::default(), 0, false);
    let response: DescribeTopicPartitionsResponse<'_> = body.read();
    let leaders: Vec<_> = response
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.name.unwrap(), p.error_code, p.leader_id)))
        .collect();
    let ok = ErrorCode::NONE;
    assert_eq!(
        leaders,
        [
            ("elsewhere", ok, 2),
            ("elsewhere", ok, 1),
            ("followed", ok, 2),
            ("hidden", ErrorCode::LISTENER_NOT_FOUND, -1)
        ]
    );
    // what is led elsewhere is not answered for here
    for version in versions(ApiKey::OffsetForLeaderEpoch) {
        let topic = |topic| OffsetForLeaderTopic {
            topic,
            partitions: vec![OffsetForLeaderPartition { leader_epoch: 0, ..Default::default() }],
            ..Default::default()
        };
        let topics = vec![topic("elsewhere"), topic("followed")];
        let request = OffsetForLeaderEpochRequest { topics, ..Default::default() };
        let body = world.ask(&request, version, false);
        let response: OffsetForLeaderEpochResponse<'_> = body.read();
        let codes: Vec<_> = response.topics.iter().map(|t| t.partitions[0].error_code).collect();
        assert_eq!(codes, [NOT_LEADER; 2], "OffsetForLeaderEpoch {version}");
    }
    for version in versions(ApiKey::DeleteRecords) {
        let topic = DeleteRecordsTopic {
            name: "followed",
            partitions: vec![DeleteRecordsPartition::default()],
            ..Default::default()
        };
        let request = DeleteRecordsRequest { topics: vec![topic], ..Default::default() };
        let body = world.ask(&request, version, false);
        let response: DeleteRecordsResponse<'_> = body.read();
        assert_eq!(response.topics[0].partitions[0].error_code, NOT_LEADER, "DeleteRecords {version}");
    }
    // M11: the leader goes and comes back; it is preferred, and not in sync yet
    world.heartbeat(2, true);
    world.heartbeat(2, false);
    for version in versions(ApiKey::ElectLeaders) {
        let topic = TopicPartitions { topic: "followed", partitions: [0].into(), ..Default::default() };
        let request = ElectLeadersRequest { topic_partitions: Some(vec![topic]), ..Default::default() };
        let body = world.ask(&request, version, false);
        let response: ElectLeadersResponse<'_> = body.read();
        let result = &response.replica_election_results[0].partition_result[0];
        assert_eq!(result.error_code, ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE, "ElectLeaders {version}");
    }
}

#[test]
fn the_minimum_of_in_sync_replicas_changes_while_producers_write() {
    // M10, P7: in force when the answer comes
    let world = World::new();
    world.register(2, "PLAINTEXT", false);
    world.create("short", &[&[1, 2]], &[]);
    let bytes = batch();
    let put = || {
        let data = PartitionProduceData { records: Some(Records::Bytes(&bytes)), ..Default::default() };
        let topic = TopicProduceData { name: "short", partition_data: vec![data], ..Default::default() };
        let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
        let body = world.ask(&request, 12, false);
        let response: ProduceResponse<'_> = body.read();
        response.responses[0].partition_responses[0].error_code
    };
    assert_eq!(put(), ErrorCode::NONE);
    let set = |resource_type, resource_name, config_operation| {
        let config = AlterableConfig {
            name: "min.insync.replicas",
            config_operation,
            value: Some("2"),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type,
            resource_name,
            configs: vec![config],
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let body = world.ask(&request, 1, false);
        let response: IncrementalAlterConfigsResponse<'_> = body.read();
        assert_eq!(response.responses[0].error_code, ErrorCode::NONE);
    };
    for (resource_type, name) in [(2, "short"), (4, "")] {
        set(resource_type, name, 0);
        assert_eq!(put(), ErrorCode::NOT_ENOUGH_REPLICAS);
        set(resource_type, name, 1);
        assert_eq!(put(), ErrorCode::NONE);
    }
}
