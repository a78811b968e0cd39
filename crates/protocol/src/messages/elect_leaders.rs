//! ElectLeaders (43): asks for an election, to bring leadership back to the preferred replicas or to give up data for a leader.

use crate::{ErrorCode, Message, UnknownTags};

/// For which partitions to elect.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = ElectLeaders, response = ElectLeadersResponse<'r>, versions = "0-2", flexible = "2+")]
pub struct ElectLeadersRequest<'a> {
    /// 0: the preferred replica. 1: any live replica, even if it lacks data.
    #[kafka(versions = "1+")]
    pub election_type: i8,
    /// The partitions; null: all.
    pub topic_partitions: Option<Vec<TopicPartitions<'a>>>,
    /// How long the election may take, in milliseconds.
    #[kafka(default = 60000)]
    pub timeout_ms: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct TopicPartitions<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partitions.
    pub partitions: Box<[i32]>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// How the elections ended.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = ElectLeaders, versions = "0-2", flexible = "2+")]
pub struct ElectLeadersResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong with all of them, if anything.
    #[kafka(versions = "1+")]
    pub error_code: ErrorCode,
    /// One entry per topic.
    pub replica_election_results: Vec<ReplicaElectionResult<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ReplicaElectionResult<'a> {
    /// The topic.
    pub topic: &'a str,
    /// One entry per partition.
    pub partition_result: Vec<PartitionResult<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// How the election of one partition ended.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct PartitionResult<'a> {
    /// The partition.
    pub partition_id: i32,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The same in words.
    pub error_message: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
