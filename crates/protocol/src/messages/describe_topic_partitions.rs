//! DescribeTopicPartitions (75): the partitions of topics, page by page.

use crate::{ErrorCode, Message, UnknownTags, Uuid};

/// Which topics to describe, and from where on.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = DescribeTopicPartitions, response = DescribeTopicPartitionsResponse<'r>, versions = "0", flexible = "all")]
pub struct DescribeTopicPartitionsRequest<'a> {
    /// The topics.
    pub topics: Vec<TopicRequest<'a>>,
    /// How many partitions the answer may have at most.
    #[kafka(default = 2000)]
    pub response_partition_limit: i32,
    /// Where to begin; null: at the beginning.
    #[kafka(default = null)]
    pub cursor: Option<Cursor<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct TopicRequest<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The first partition of a page.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct Cursor<'a> {
    /// The topic's name.
    pub topic_name: &'a str,
    /// The partition's number.
    pub partition_index: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One page of topics and partitions.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = DescribeTopicPartitions, versions = "0", flexible = "all")]
pub struct DescribeTopicPartitionsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>,
    /// Where the next page begins; null: this was the last.
    #[kafka(default = null)]
    pub next_cursor: Option<Cursor<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribeTopicPartitionsResponseTopic<'a> {
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The topic's name.
    pub name: Option<&'a str>,
    /// The topic's id.
    #[kafka(ignorable)]
    pub topic_id: Uuid,
    /// Whether the topic is Kafka's own.
    #[kafka(ignorable)]
    pub is_internal: bool,
    /// The partitions.
    pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    /// What the client may do with the topic, a bit for each operation; the smallest number: was not asked for.
    #[kafka(default = i32::MIN)]
    pub topic_authorized_operations: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A partition, its leader and its replicas.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribeTopicPartitionsResponsePartition {
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The partition's number.
    pub partition_index: i32,
    /// The id of the broker that leads; -1: none.
    pub leader_id: i32,
    /// The epoch of the leader.
    #[kafka(default = -1, ignorable)]
    pub leader_epoch: i32,
    /// The brokers that have a replica, the preferred leader first.
    pub replica_nodes: Box<[i32]>,
    /// The brokers that are in sync.
    pub isr_nodes: Box<[i32]>,
    /// The brokers that may lead without loss although they are not in sync; null: not told.
    #[kafka(default = null)]
    pub eligible_leader_replicas: Option<Box<[i32]>>,
    /// The last known eligible leader replicas; null: not told.
    #[kafka(default = null)]
    pub last_known_elr: Option<Box<[i32]>>,
    /// The brokers whose replica is not there at the moment.
    #[kafka(ignorable)]
    pub offline_replicas: Box<[i32]>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
