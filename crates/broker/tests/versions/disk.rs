//! What is answered when the disk has failed.

use rohrpost_log::{Fault, MemoryStorage};
use rohrpost_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use rohrpost_protocol::messages::elect_leaders::TopicPartitions;
use rohrpost_protocol::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use rohrpost_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DescribeLogDirsRequest,
    ElectLeadersRequest, OffsetForLeaderEpochRequest,
};
use rohrpost_protocol::{ApiKey, ErrorCode, Uuid};
use rohrpost_record::Stamp;

use crate::admin::more;
use crate::bench::*;
use crate::common::*;
use crate::configs::{BROKER, Op, SET, TOPIC, all, describe, incremental};
use crate::list_offsets::list_offsets;
use crate::metadata::{metadata, named};
use crate::produce::{produce, put};
use crate::topics::{delete, new_topic};

#[test]
fn a_broken_disk_is_told_in_every_version() {
    // D30, F12, P12
    let storage = MemoryStorage::new();
    let mut bench = Bench::restarted(&storage);
    storage.inject(Fault::DiskFull(0));
    let code = ErrorCode::KAFKA_STORAGE_ERROR;
    let id = bench.id("t");
    for (api, min, max) in bench.advertised() {
        let min = if api == ApiKey::Produce { 3 } else { min };
        for version in min..=max {
            let _during = During(format!("{} {version}", api.name()));
            match api {
                ApiKey::Produce => {
                    let records = || Some(rich(NOW, Stamp::NONE));
                    produce(
                        &mut bench,
                        version,
                        -1,
                        &[put("t", 1, records(), code), put("t", 0, records(), code)],
                    );
                }
                ApiKey::Fetch => {
                    let mut request = fetch_request("t", 0, 0, i32::MAX, 1);
                    request.topics[0].topic_id = id;
                    let response = bench.client.call(&request, version);
                    let error = response.responses[0].partitions[0].error_code;
                    assert_eq!(error, if version >= 6 { code } else { ErrorCode::NOT_LEADER_OR_FOLLOWER }); // F12
                }
                ApiKey::ListOffsets => {
                    let questions = [("t", 1, -1, -1), ("t", 0, -1, NOW), ("keyed", 0, -1, -2)];
                    let found = list_offsets(&mut bench, version, 0, &questions);
                    assert_eq!(found, [(code, -1, -1, false); 3]);
                }
                ApiKey::CreateTopics => {
                    let topics = vec![new_topic("new", 1, 1), new_topic("t", 1, 1)];
                    let request = CreateTopicsRequest { topics, ..Default::default() };
                    let response = bench.client.call(&request, version);
                    let answers: Vec<_> = response.topics.iter().map(|t| (t.name, t.error_code)).collect();
                    assert_eq!(answers, [("new", code), ("t", code)]);
                }
                ApiKey::DeleteTopics => {
                    let request = delete(&[(Some("t"), Uuid::ZERO), (Some("nowhere"), Uuid::ZERO)], version);
                    let response = bench.client.call(&request, version);
                    let answers: Vec<_> = response.responses.iter().map(|t| (t.name, t.error_code)).collect();
                    assert_eq!(answers, [(Some("t"), code), (Some("nowhere"), code)]);
                }
                ApiKey::CreatePartitions => {
                    let topics = vec![more("t", 9, None), more("nowhere", 9, None)];
                    let request = CreatePartitionsRequest { topics, ..Default::default() };
                    let response = bench.client.call(&request, version);
                    let answers: Vec<_> = response.results.iter().map(|t| (t.name, t.error_code)).collect();
                    assert_eq!(answers, [("t", code), ("nowhere", code)]);
                }
                ApiKey::IncrementalAlterConfigs => {
                    let ops: &[Op<'_>] = &[("retention.ms", SET, Some("5"))];
                    let request = incremental(&[(TOPIC, "t", ops), (BROKER, "x", &[])], false);
                    let response = bench.client.call(&request, version);
                    let answers: Vec<_> = response.responses.iter().map(|r| r.error_code).collect();
                    assert_eq!(answers, [code, ErrorCode::INVALID_REQUEST]);
                }
                ApiKey::AlterConfigs => {
                    let request = all(&[(TOPIC, "t", &[])], false);
                    assert_eq!(bench.client.call(&request, version).responses[0].error_code, code);
                }
                ApiKey::DeleteRecords => {
                    let partitions = vec![DeleteRecordsPartition { offset: -1, ..Default::default() }];
                    let topics = vec![DeleteRecordsTopic { name: "t", partitions, ..Default::default() }];
                    let request = DeleteRecordsRequest { topics, ..Default::default() };
                    let response = bench.client.call(&request, version);
                    assert_eq!(response.topics[0].partitions[0].error_code, code);
                }
                ApiKey::OffsetForLeaderEpoch => {
                    let partitions = vec![OffsetForLeaderPartition::default()];
                    let topics = vec![OffsetForLeaderTopic { topic: "t", partitions, ..Default::default() }];
                    let request = OffsetForLeaderEpochRequest { topics, ..Default::default() };
                    let response = bench.client.call(&request, version);
                    assert_eq!(response.topics[0].partitions[0].error_code, code);
                }
                ApiKey::ElectLeaders => {
                    let partitions =
                        TopicPartitions { topic: "t", partitions: [0].into(), ..Default::default() };
                    let topic_partitions = Some(vec![partitions]);
                    let request = ElectLeadersRequest { topic_partitions, ..Default::default() };
                    let response = bench.client.call(&request, version);
                    assert_eq!(response.error_code, if version >= 1 { code } else { ErrorCode::NONE });
                    let result = &response.replica_election_results[0].partition_result[0];
                    assert_eq!(result.error_code, code);
                }
                ApiKey::DescribeLogDirs => {
                    let request = DescribeLogDirsRequest { topics: None, ..Default::default() };
                    let response = bench.client.call(&request, version);
                    assert_eq!((response.error_code, response.results.len()), (ErrorCode::NONE, 1));
                    assert_eq!((response.results[0].error_code, response.results[0].topics.len()), (code, 0));
                }
                // what is in memory is still told
                ApiKey::DescribeConfigs => {
                    let response = bench.client.call(&describe(&[(TOPIC, "t", None)]), version);
                    assert_eq!(response.results[0].error_code, ErrorCode::NONE);
                }
                ApiKey::Metadata => {
                    let request = metadata(Some(vec![named("t"), named("nowhere")]), version);
                    assert_eq!(bench.client.call(&request, version).topics.len(), 2);
                }
                _ => {}
            }
            assert!(!bench.advertised().is_empty());
        }
    }
}
