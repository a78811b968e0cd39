//! CreateTopics (19).

use crate::{ErrorCode, Message, UnknownTags, Uuid};

/// The topics to create.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = CreateTopics, response = CreateTopicsResponse<'r>, versions = "2-7", flexible = "5+")]
pub struct CreateTopicsRequest<'a> {
    /// The topics.
    pub topics: Vec<CreatableTopic<'a>>,
    /// How long the broker may take, in milliseconds.
    #[kafka(default = 60_000)]
    pub timeout_ms: i32,
    /// Only check, and do nothing.
    pub validate_only: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct CreatableTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The number of partitions; -1: the default, or from `assignments`.
    pub num_partitions: i32,
    /// The number of replicas of each partition; -1: the default, or from `assignments`.
    pub replication_factor: i16,
    /// Which brokers get the replicas; empty: the cluster decides.
    pub assignments: Vec<CreatableReplicaAssignment>,
    /// The configuration.
    pub configs: Vec<CreatableTopicConfig<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The replicas of one partition.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct CreatableReplicaAssignment {
    /// The partition's number.
    pub partition_index: i32,
    /// The brokers, the preferred leader first.
    pub broker_ids: Box<[i32]>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A configuration value of the topic.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct CreatableTopicConfig<'a> {
    /// The configuration key.
    pub name: &'a str,
    /// The value; null: the default.
    pub value: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of each topic.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = CreateTopics, versions = "2-7", flexible = "5+")]
pub struct CreateTopicsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<CreatableTopicResult<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct CreatableTopicResult<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The topic's id.
    #[kafka(versions = "7+", ignorable)]
    pub topic_id: Uuid,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// More about the error, for people.
    #[kafka(ignorable)]
    pub error_message: Option<&'a str>,
    /// Why the configuration is not told, if it is not.
    #[kafka(versions = "5+", tag = 0, ignorable)]
    pub topic_config_error_code: ErrorCode,
    /// The number of partitions; -1 if it is not told.
    #[kafka(versions = "5+", default = -1, ignorable)]
    pub num_partitions: i32,
    /// The number of replicas of each partition; -1 if it is not told.
    #[kafka(versions = "5+", default = -1, ignorable)]
    pub replication_factor: i16,
    /// The configuration that the topic has; null if it is not told.
    #[kafka(versions = "5+", ignorable)]
    pub configs: Option<Vec<CreatableTopicConfigs<'a>>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A configuration value that the topic has.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct CreatableTopicConfigs<'a> {
    /// The configuration key.
    #[kafka(versions = "5+")]
    pub name: &'a str,
    /// The value.
    #[kafka(versions = "5+")]
    pub value: Option<&'a str>,
    /// Whether the value cannot be changed while the broker runs.
    #[kafka(versions = "5+")]
    pub read_only: bool,
    /// Where the value comes from: 1 the topic, 2 and 3 the broker and all brokers (dynamic), 4 the properties
    /// file, 5 the default, 6 a dynamic logger level.
    #[kafka(versions = "5+", default = -1, ignorable)]
    pub config_source: i8,
    /// Whether the value is a secret, and so null here.
    #[kafka(versions = "5+")]
    pub is_sensitive: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
