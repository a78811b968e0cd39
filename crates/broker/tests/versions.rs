//! Every request in every version that is advertised, with something to say in each answer.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use common::*;
use rohrpost_broker::Cluster;
use rohrpost_protocol::messages::{
    CreatableTopic, CreateTopicsRequest, DeleteTopicState, DeleteTopicsRequest, InitProducerIdRequest,
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, MetadataRequest, MetadataRequestTopic,
};
use rohrpost_protocol::{ErrorCode, Uuid};

fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::builder().topic("t", 1, 1).start().unwrap();
    let client = Client::of(&cluster);
    (cluster, client)
}

#[test]
fn produce_and_fetch_answer_in_every_version() {
    // G5
    let (_cluster, mut client) = cluster();
    let id = client.topic_id("t");
    let good = batch(&["x"]);
    for version in 3..=13 {
        for (records, code) in [(&good[..], ErrorCode::NONE), (&good[..5], ErrorCode::INVALID_RECORD)] {
            let mut request = produce_request(if version < 13 { "t" } else { "" }, 0, Some(records), -1);
            if version >= 13 {
                request.topic_data[0].topic_id = id;
            }
            let response = client.call(&request, version);
            let answer = &response.responses[0].partition_responses[0];
            assert_eq!(answer.error_code, code, "version {version}");
            assert_eq!(answer.base_offset, if code.is_ok() { i64::from(version) - 3 } else { -1 });
        }
    }
    for version in 4..=18 {
        for (offset, code) in [(0, ErrorCode::NONE), (99, ErrorCode::OFFSET_OUT_OF_RANGE)] {
            let mut request = fetch_request(if version < 13 { "t" } else { "" }, 0, offset, 0, 1);
            if version >= 13 {
                request.topics[0].topic_id = id;
            }
            let response = client.call(&request, version);
            let data = &response.responses[0].partitions[0];
            assert_eq!(data.error_code, code, "version {version}");
            let records = values(data.records.as_ref().unwrap().bytes().unwrap());
            assert_eq!(records.len(), if code.is_ok() { 11 } else { 0 }, "version {version}");
        }
    }
}

#[test]
fn list_offsets_answers_in_every_version() {
    // G5, O2: the leader epoch exists from version 4 on
    let (_cluster, mut client) = cluster();
    client.produce("t", 0, Some(&batch(&["x"])));
    for version in 1..=11 {
        for (timestamp, offset) in [(-1, 1), (-2, 0), (NOW, 0), (NOW + 1, -1)] {
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: vec![ListOffsetsTopic {
                    name: "t",
                    partitions: vec![ListOffsetsPartition { timestamp, ..Default::default() }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let response = client.call(&request, version);
            let answer = &response.topics[0].partitions[0];
            assert_eq!((answer.error_code, answer.offset), (ErrorCode::NONE, offset), "version {version}");
            assert_eq!(answer.leader_epoch >= 0, version >= 4 && offset >= 0, "version {version}");
        }
    }
}

#[test]
fn metadata_answers_in_every_version() {
    // G5, M6
    let (_cluster, mut client) = cluster();
    let id = client.topic_id("t");
    for version in 0..=13 {
        let named = |name| MetadataRequestTopic { name: Some(name), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![named("t"), named("a/b"), named("t")]),
            ..Default::default()
        };
        let response = client.call(&request, version);
        let topics: Vec<_> = response.topics.iter().map(|t| (t.name.unwrap(), t.error_code)).collect();
        let found = ("t", ErrorCode::NONE);
        assert_eq!(topics, [found, ("a/b", ErrorCode::INVALID_TOPIC_EXCEPTION), found], "version {version}");
        assert_eq!(response.brokers.len(), 1);
    }
    // by id, or by nothing
    for version in 10..=13 {
        let ask = |topic_id| MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name: None, topic_id, ..Default::default() }]),
            ..Default::default()
        };
        for (topic_id, code) in [
            (id, ErrorCode::NONE),
            (Uuid([5; 16]), ErrorCode::UNKNOWN_TOPIC_ID),
            (Uuid::ZERO, ErrorCode::UNKNOWN_TOPIC_ID),
        ] {
            let expected = if version < 12 { ErrorCode::INVALID_REQUEST } else { code };
            let response = client.call(&ask(topic_id), version);
            assert_eq!(response.topics[0].error_code, expected, "version {version}, id {topic_id}");
        }
    }
}

#[test]
fn topics_and_producer_ids_answer_in_every_version() {
    // G5
    let (_cluster, mut client) = cluster();
    for version in 2..=7 {
        let name = format!("v{version}");
        let topic = |name, num_partitions| CreatableTopic {
            name,
            num_partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request =
            CreateTopicsRequest { topics: vec![topic(&name, 1), topic("t", 1)], ..Default::default() };
        let response = client.call(&request, version);
        assert_eq!(response.topics[0].error_code, ErrorCode::NONE);
        assert_eq!(response.topics[0].error_message, None);
        assert_eq!(response.topics[1].error_code, ErrorCode::TOPIC_ALREADY_EXISTS);
        assert!(response.topics[1].error_message.is_some());
    }
    for version in 1..=6 {
        let name = format!("v{}", version + 1);
        let request = if version < 6 {
            DeleteTopicsRequest { topic_names: vec![&name, "nowhere"], ..Default::default() }
        } else {
            let state = |name| DeleteTopicState { name: Some(name), ..Default::default() };
            DeleteTopicsRequest { topics: vec![state(&name), state("nowhere")], ..Default::default() }
        };
        let response = client.call(&request, version);
        let answers: Vec<_> = response.responses.iter().map(|t| (t.name.unwrap(), t.error_code)).collect();
        assert_eq!(
            answers,
            [(name.as_str(), ErrorCode::NONE), ("nowhere", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]
        );
    }
    for version in 0..=5 {
        for (transactional_id, code) in
            [(None, ErrorCode::NONE), (Some("x"), ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)]
        {
            let request =
                InitProducerIdRequest { transactional_id, producer_epoch: -1, ..Default::default() };
            assert_eq!(client.call(&request, version).error_code, code, "version {version}");
        }
    }
}
