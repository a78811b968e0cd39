//! ListPartitionReassignments (46): partitions that are on their way to other brokers.

use crate::{ErrorCode, Message, UnknownTags};

/// Which partitions to list.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = ListPartitionReassignments, response = ListPartitionReassignmentsResponse<'r>, versions = "0", flexible = "all")]
pub struct ListPartitionReassignmentsRequest<'a> {
    /// How long the answer may take, in milliseconds.
    #[kafka(default = 60000)]
    pub timeout_ms: i32,
    /// The topics; null: all.
    #[kafka(default = null)]
    pub topics: Option<Vec<ListPartitionReassignmentsTopics<'a>>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ListPartitionReassignmentsTopics<'a> {
    /// The topic.
    pub name: &'a str,
    /// Its partitions.
    pub partition_indexes: Box<[i32]>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The partitions that are on their way.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = ListPartitionReassignments, versions = "0", flexible = "all")]
pub struct ListPartitionReassignmentsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The same in words.
    pub error_message: Option<&'a str>,
    /// One entry per topic.
    pub topics: Vec<OngoingTopicReassignment<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct OngoingTopicReassignment<'a> {
    /// The topic.
    pub name: &'a str,
    /// One entry per partition.
    pub partitions: Vec<OngoingPartitionReassignment>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A partition that is on its way.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct OngoingPartitionReassignment {
    /// The partition.
    pub partition_index: i32,
    /// All its replicas.
    pub replicas: Box<[i32]>,
    /// Those that are being added.
    pub adding_replicas: Box<[i32]>,
    /// Those that are being taken away.
    pub removing_replicas: Box<[i32]>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
