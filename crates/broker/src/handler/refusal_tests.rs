//! G8: when a handler fails, its request is answered all the same, in every version, with the error in every place that has
//! one, and one entry per item (Q1).

use rohrpost_protocol::messages::fetch::{FetchPartition, FetchTopic};
use rohrpost_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse, FetchRequest, FetchResponse,
    InitProducerIdRequest, InitProducerIdResponse, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsResponse, ListOffsetsTopic, MetadataRequest, MetadataRequestTopic, MetadataResponse,
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
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
