//! G8: when a handler fails, its request is answered all the same, in every version, with the error in every place that has
//! one, and one entry per item (Q1).

use rohrpost_protocol::messages::create_partitions::CreatePartitionsTopic;
use rohrpost_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use rohrpost_protocol::messages::describe_configs::DescribeConfigsResource;
use rohrpost_protocol::messages::describe_topic_partitions::TopicRequest;
use rohrpost_protocol::messages::elect_leaders::TopicPartitions;
use rohrpost_protocol::messages::fetch::{FetchPartition, FetchTopic};
use rohrpost_protocol::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use rohrpost_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ApiVersionsRequest, ApiVersionsResponse, CreatableTopic,
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, ElectLeadersRequest, ElectLeadersResponse, FetchRequest, FetchResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, InitProducerIdRequest, InitProducerIdResponse, ListOffsetsPartition,
    ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, MetadataRequest, MetadataRequestTopic, MetadataResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, PartitionProduceData, ProduceRequest,
    ProduceResponse, TopicProduceData, alter_configs, incremental_alter_configs,
};
use rohrpost_protocol::{ApiKey, ErrorCode, Records, Uuid};

use super::world_tests::{World, batch, config, versions};
use crate::network::Outcome;

const CODE: ErrorCode = ErrorCode::UNKNOWN_SERVER_ERROR;
const ID: Uuid = Uuid([9; 16]);

#[test]
fn failed_writes_and_reads_are_answered_partition_by_partition() {
    // G8, Q1, N13
    let world = World::new();
    world.create("t", &[&[1], &[1]], &[]);
    let bytes = batch();
    let data =
        |index| PartitionProduceData { index, records: Some(Records::Bytes(&bytes)), ..Default::default() };
    for version in versions(ApiKey::Produce) {
        let topic = |name| TopicProduceData {
            name,
            topic_id: ID,
            partition_data: vec![data(1), data(0)],
            ..Default::default()
        };
        let request =
            ProduceRequest { acks: -1, topic_data: vec![topic("t"), topic("u")], ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: ProduceResponse<'_> = body.read();
        let answers = response.responses.iter().flat_map(|t| &t.partition_responses);
        let answers: Vec<_> = answers.map(|p| (p.index, p.error_code, p.base_offset)).collect();
        assert_eq!(
            answers,
            [(1, CODE, -1), (0, CODE, -1), (1, CODE, -1), (0, CODE, -1)],
            "Produce {version}"
        );
        let silent = ProduceRequest { acks: 0, ..request };
        assert!(matches!(world.handle(&silent, version, true), Outcome::Close(_)), "Produce {version}");
    }
    for version in versions(ApiKey::Fetch) {
        let at = |partition| FetchPartition { partition, ..Default::default() };
        let topic =
            FetchTopic { topic: "t", topic_id: ID, partitions: vec![at(1), at(0)], ..Default::default() };
        let request = FetchRequest { max_wait_ms: i32::MAX, topics: vec![topic], ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: FetchResponse<'_> = body.read();
        assert_eq!(response.error_code, if version >= 7 { CODE } else { ErrorCode::NONE });
        let answers: Vec<_> =
            response.responses[0].partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
        assert_eq!(answers, [(1, CODE), (0, CODE)], "Fetch {version}");
    }
    for version in versions(ApiKey::ListOffsets) {
        let at =
            |partition_index| ListOffsetsPartition { partition_index, timestamp: -1, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t", partitions: vec![at(1), at(0)], ..Default::default() };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: ListOffsetsResponse<'_> = body.read();
        let answers: Vec<_> =
            response.topics[0].partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
        assert_eq!(answers, [(1, CODE), (0, CODE)], "ListOffsets {version}");
    }
}

#[test]
fn failed_questions_about_topics_are_answered_topic_by_topic() {
    // G8, Q1
    let world = World::new();
    world.create("t", &[&[1]], &[]);
    for version in versions(ApiKey::Metadata) {
        let mut topics = vec![MetadataRequestTopic { name: Some("t"), ..Default::default() }];
        let mut expected = vec![(Some("t"), CODE)];
        if version >= 10 {
            topics.push(MetadataRequestTopic { topic_id: ID, name: None, ..Default::default() });
            // M6: a name in an answer is not null before version 12
            expected.push((if version >= 12 { None } else { Some("") }, CODE));
        }
        let request = MetadataRequest { topics: Some(topics), ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: MetadataResponse<'_> = body.read();
        let answers: Vec<_> = response.topics.iter().map(|t| (t.name, t.error_code)).collect();
        assert_eq!(answers, expected, "Metadata {version}");
        assert_eq!(response.error_code, if version >= 13 { CODE } else { ErrorCode::NONE });
    }
    for version in versions(ApiKey::CreateTopics) {
        let topic = |name| CreatableTopic {
            name,
            num_partitions: 1,
            replication_factor: 1,
            configs: vec![config("retention.ms", "5")],
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic("b"), topic("a")], ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: CreateTopicsResponse<'_> = body.read();
        let answers: Vec<_> = response.topics.iter().map(|t| (t.name, t.error_code)).collect();
        assert_eq!(answers, [("b", CODE), ("a", CODE)], "CreateTopics {version}");
    }
    for version in versions(ApiKey::DeleteTopics) {
        let state = |name, topic_id| DeleteTopicState { name, topic_id, ..Default::default() };
        let (request, expected) = if version >= 6 {
            let topics = vec![state(Some("t"), Uuid::ZERO), state(None, ID), state(None, Uuid::ZERO)];
            let request = DeleteTopicsRequest { topics, ..Default::default() };
            (request, vec![(Some("t"), Uuid::ZERO, CODE), (None, ID, CODE), (None, Uuid::ZERO, CODE)])
        } else {
            let request = DeleteTopicsRequest { topic_names: vec!["t", "u"], ..Default::default() };
            (request, vec![(Some("t"), Uuid::ZERO, CODE), (Some("u"), Uuid::ZERO, CODE)])
        };
        let body = world.ask(&request, version, true);
        let response: DeleteTopicsResponse<'_> = body.read();
        let answers: Vec<_> = response.responses.iter().map(|t| (t.name, t.topic_id, t.error_code)).collect();
        assert_eq!(answers, expected, "DeleteTopics {version}");
    }
    assert!(world.broker().metadata().image().topic("t").is_some(), "nothing was done");
}

#[test]
fn failed_first_requests_of_a_client_are_answered() {
    // G8
    let world = World::new();
    for version in versions(ApiKey::InitProducerId) {
        let request =
            InitProducerIdRequest { transactional_id: None, producer_epoch: -1, ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: InitProducerIdResponse = body.read();
        assert_eq!((response.error_code, response.producer_id, response.producer_epoch), (CODE, -1, -1));
    }
    for version in versions(ApiKey::ApiVersions) {
        let request = ApiVersionsRequest {
            client_software_name: "test",
            client_software_version: "1",
            ..Default::default()
        };
        let body = world.ask(&request, version, true);
        let response: ApiVersionsResponse<'_> = body.read();
        assert_eq!((response.error_code, response.api_keys.len()), (CODE, 0), "ApiVersions {version}");
    }
}

#[test]
fn failed_questions_of_tools_are_answered_item_by_item() {
    // G8, Q1
    let world = World::new();
    world.create("t", &[&[1], &[1]], &[]);
    for version in versions(ApiKey::DescribeConfigs) {
        let resource = |resource_name| DescribeConfigsResource {
            resource_type: 2,
            resource_name,
            configuration_keys: None,
            ..Default::default()
        };
        let resources = vec![resource("t"), resource("u"), resource("t")];
        let body = world.ask(&DescribeConfigsRequest { resources, ..Default::default() }, version, true);
        let response: DescribeConfigsResponse<'_> = body.read();
        let answers: Vec<_> = response.results.iter().map(|r| (r.resource_name, r.error_code)).collect();
        assert_eq!(answers, [("t", CODE), ("u", CODE), ("t", CODE)], "DescribeConfigs {version}");
    }
    for version in versions(ApiKey::IncrementalAlterConfigs) {
        let resource = |resource_type, resource_name| incremental_alter_configs::AlterConfigsResource {
            resource_type,
            resource_name,
            ..Default::default()
        };
        let resources = vec![resource(2, "t"), resource(4, "x")];
        let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: IncrementalAlterConfigsResponse<'_> = body.read();
        let answers: Vec<_> = response.responses.iter().map(|r| (r.resource_name, r.error_code)).collect();
        assert_eq!(answers, [("t", CODE), ("x", CODE)], "IncrementalAlterConfigs {version}");
    }
    for version in versions(ApiKey::AlterConfigs) {
        let resource = alter_configs::AlterConfigsResource {
            resource_type: 2,
            resource_name: "t",
            ..Default::default()
        };
        let request = AlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: AlterConfigsResponse<'_> = body.read();
        let answers: Vec<_> = response.responses.iter().map(|r| (r.resource_name, r.error_code)).collect();
        assert_eq!(answers, [("t", CODE)], "AlterConfigs {version}");
    }
    for version in versions(ApiKey::CreatePartitions) {
        let topic = |name| CreatePartitionsTopic { name, count: 5, assignments: None, ..Default::default() };
        let request = CreatePartitionsRequest { topics: vec![topic("t"), topic("u")], ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: CreatePartitionsResponse<'_> = body.read();
        let answers: Vec<_> = response.results.iter().map(|r| (r.name, r.error_code)).collect();
        assert_eq!(answers, [("t", CODE), ("u", CODE)], "CreatePartitions {version}");
    }
    for version in versions(ApiKey::ElectLeaders) {
        let topic = TopicPartitions { topic: "t", partitions: [1, 0].into(), ..Default::default() };
        let request = ElectLeadersRequest { topic_partitions: Some(vec![topic]), ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: ElectLeadersResponse<'_> = body.read();
        assert_eq!(response.error_code, if version >= 1 { CODE } else { ErrorCode::NONE });
        let results = &response.replica_election_results[0].partition_result;
        let answers: Vec<_> = results.iter().map(|p| (p.partition_id, p.error_code)).collect();
        assert_eq!(answers, [(1, CODE), (0, CODE)], "ElectLeaders {version}");
    }
    for version in versions(ApiKey::DescribeTopicPartitions) {
        let topic = |name| TopicRequest { name, ..Default::default() };
        let request =
            DescribeTopicPartitionsRequest { topics: vec![topic("t"), topic("a")], ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: DescribeTopicPartitionsResponse<'_> = body.read();
        let answers: Vec<_> = response.topics.iter().map(|t| (t.name, t.error_code)).collect();
        assert_eq!(answers, [(Some("t"), CODE), (Some("a"), CODE)]);
    }
    let topic = world.broker().metadata().image().topic("t").cloned().unwrap();
    assert_eq!((topic.partitions.len(), topic.configs.len()), (2, 0), "nothing was done");
}

#[test]
fn failed_questions_about_logs_and_the_cluster_are_answered() {
    // G8, Q1
    let world = World::new();
    world.create("t", &[&[1], &[1]], &[]);
    for version in versions(ApiKey::OffsetForLeaderEpoch) {
        let at = |partition| OffsetForLeaderPartition { partition, ..Default::default() };
        let topic = OffsetForLeaderTopic { topic: "t", partitions: vec![at(1), at(0)], ..Default::default() };
        let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: OffsetForLeaderEpochResponse<'_> = body.read();
        let answers: Vec<_> = response.topics[0]
            .partitions
            .iter()
            .map(|p| (p.partition, p.error_code, p.leader_epoch, p.end_offset))
            .collect();
        assert_eq!(answers, [(1, CODE, -1, -1), (0, CODE, -1, -1)], "OffsetForLeaderEpoch {version}");
    }
    for version in versions(ApiKey::DeleteRecords) {
        let at = |partition_index| DeleteRecordsPartition { partition_index, ..Default::default() };
        let topic = DeleteRecordsTopic { name: "t", partitions: vec![at(1), at(0)], ..Default::default() };
        let request = DeleteRecordsRequest { topics: vec![topic], ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: DeleteRecordsResponse<'_> = body.read();
        let answers: Vec<_> = response.topics[0]
            .partitions
            .iter()
            .map(|p| (p.partition_index, p.error_code, p.low_watermark))
            .collect();
        assert_eq!(answers, [(1, CODE, -1), (0, CODE, -1)], "DeleteRecords {version}");
    }
    for version in versions(ApiKey::FindCoordinator) {
        let batch = version >= 4;
        let request = FindCoordinatorRequest {
            key: if batch { "" } else { "g" },
            coordinator_keys: if batch { vec!["g", "h"] } else { Vec::new() },
            ..Default::default()
        };
        let body = world.ask(&request, version, true);
        let response: FindCoordinatorResponse<'_> = body.read();
        let codes: Vec<_> = response.coordinators.iter().map(|c| c.error_code).collect();
        assert_eq!(codes, if batch { vec![CODE, CODE] } else { vec![] });
        assert_eq!(response.error_code, if batch { ErrorCode::NONE } else { CODE });
    }
    for version in versions(ApiKey::DescribeCluster) {
        let body = world.ask(&DescribeClusterRequest::default(), version, true);
        let response: DescribeClusterResponse<'_> = body.read();
        assert_eq!((response.error_code, response.brokers.len()), (CODE, 0), "DescribeCluster {version}");
    }
    for version in versions(ApiKey::DescribeLogDirs) {
        let request = DescribeLogDirsRequest { topics: None, ..Default::default() };
        let body = world.ask(&request, version, true);
        let response: DescribeLogDirsResponse<'_> = body.read();
        assert_eq!(response.error_code, if version >= 3 { CODE } else { ErrorCode::NONE });
        assert!(response.results.is_empty());
    }
    for version in versions(ApiKey::ListPartitionReassignments) {
        let body = world.ask(&ListPartitionReassignmentsRequest::default(), version, true);
        let response: ListPartitionReassignmentsResponse<'_> = body.read();
        assert_eq!((response.error_code, response.topics.len()), (CODE, 0));
    }
}
