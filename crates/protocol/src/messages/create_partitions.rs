//! CreatePartitions (37): adds partitions to topics.

use crate::{ErrorCode, Message, UnknownTags};

/// Which topics to extend.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = CreatePartitions, response = CreatePartitionsResponse<'r>, versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsRequest<'a> {
    /// The topics.
    pub topics: Vec<CreatePartitionsTopic<'a>>,
    /// How long the broker may take, in milliseconds.
    pub timeout_ms: i32,
    /// Only check, and do nothing.
    pub validate_only: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A topic to extend.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct CreatePartitionsTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The number of partitions that the topic shall have.
    pub count: i32,
    /// Which brokers get the replicas of the new partitions; null: the cluster decides.
    pub assignments: Option<Vec<CreatePartitionsAssignment>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The replicas of one new partition.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct CreatePartitionsAssignment {
    /// The brokers, the preferred leader first.
    pub broker_ids: Box<[i32]>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of each topic.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = CreatePartitions, versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The results.
    pub results: Vec<CreatePartitionsTopicResult<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct CreatePartitionsTopicResult<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// More about the error, for people.
    #[kafka(default = null)]
    pub error_message: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
