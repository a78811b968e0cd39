//! DeleteRecords (21): raises the log start, so that older records can no longer be read.

use crate::{ErrorCode, Message, UnknownTags};

/// Up to where to delete.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = DeleteRecords, response = DeleteRecordsResponse<'r>, versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsRequest<'a> {
    /// The topics.
    pub topics: Vec<DeleteRecordsTopic<'a>>,
    /// How long to wait for the replicas, in milliseconds.
    pub timeout_ms: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DeleteRecordsTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// Its partitions.
    pub partitions: Vec<DeleteRecordsPartition>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// Up to where to delete in one partition.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DeleteRecordsPartition {
    /// The partition.
    pub partition_index: i32,
    /// The first offset to keep; -1: the high watermark.
    pub offset: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// Where the logs begin now.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = DeleteRecords, versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// One entry per topic.
    pub topics: Vec<DeleteRecordsTopicResult<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DeleteRecordsTopicResult<'a> {
    /// The topic.
    pub name: &'a str,
    /// One entry per partition.
    pub partitions: Vec<DeleteRecordsPartitionResult>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// Where one partition's log begins now.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DeleteRecordsPartitionResult {
    /// The partition.
    pub partition_index: i32,
    /// The smallest log start of all its replicas; -1 with an error.
    pub low_watermark: i64,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
