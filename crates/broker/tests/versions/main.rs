//! Every advertised API in every advertised version, over a real socket: a request that succeeds with rich content, one whose
//! items fail, and what else a version can say. Each answer has one entry per item, in the order of the request (Q1), with
//! its own error (Q2), and the connection goes on.
//!
//! The versions come from the broker's own answer, so that one more of them is tested without a change here, and an API that
//! is advertised and has no check fails the test. What this catches above all: a field set in a version that does not have it,
//! which makes the answer impossible to write and closes the connection.

#![allow(clippy::unwrap_used)] // all of it is test code

mod admin;
mod bench;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod configs;
mod disk;
mod fetch;
mod list_offsets;
mod metadata;
mod produce;
mod topics;

use rohrpost_protocol::ApiKey;

use bench::{Bench, in_every_version};

/// What an API has to answer in one version.
type Check = fn(&mut Bench, i16);

const CHECKS: &[(ApiKey, Check)] = &[
    (ApiKey::Produce, produce::answers),
    (ApiKey::Fetch, fetch::answers),
    (ApiKey::ListOffsets, list_offsets::answers),
    (ApiKey::Metadata, metadata::answers),
    (ApiKey::ApiVersions, clients::api_versions_answers),
    (ApiKey::CreateTopics, topics::create_answers),
    (ApiKey::DeleteTopics, topics::delete_answers),
    (ApiKey::InitProducerId, clients::init_producer_id_answers),
    (ApiKey::DeleteRecords, admin::delete_records_answers),
    (ApiKey::CreatePartitions, admin::create_partitions_answers),
    (ApiKey::DescribeConfigs, configs::describe_answers),
    (ApiKey::IncrementalAlterConfigs, configs::incremental_answers),
    (ApiKey::AlterConfigs, configs::alter_answers),
    (ApiKey::DescribeCluster, admin::describe_cluster_answers),
    (ApiKey::DescribeTopicPartitions, admin::describe_topic_partitions_answers),
    (ApiKey::DescribeLogDirs, admin::describe_log_dirs_answers),
    (ApiKey::FindCoordinator, admin::find_coordinator_answers),
    (ApiKey::OffsetForLeaderEpoch, admin::offset_for_leader_epoch_answers),
    (ApiKey::ElectLeaders, admin::elect_leaders_answers),
    (ApiKey::ListPartitionReassignments, admin::list_partition_reassignments_answers),
];

#[test]
fn every_advertised_version_is_answered_item_by_item() {
    // G5, E12, Q1, Q2
    for (api, ..) in Bench::fresh().advertised() {
        let check = CHECKS.iter().find(|(key, _)| *key == api);
        let (_, check) =
            check.unwrap_or_else(|| panic!("{} is advertised and has no check here", api.name()));
        in_every_version(api, check);
    }
}
