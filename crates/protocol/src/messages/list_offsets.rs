//! ListOffsets (2): finds an offset by time, and the ends of a log by negative times (-1 latest, -2 earliest, -3 largest
//! time, -4 earliest local, -5 latest tiered, -6 earliest pending upload).

use crate::{ErrorCode, Message, UnknownTags};

/// Which times to look up.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = ListOffsets, response = ListOffsetsResponse<'r>, versions = "1-11", flexible = "6+")]
pub struct ListOffsetsRequest<'a> {
    /// The follower's broker id; -1 from consumers.
    pub replica_id: i32,
    /// 0 reads everything up to the high watermark, 1 only what is committed.
    #[kafka(versions = "2+")]
    pub isolation_level: i8,
    /// The topics.
    pub topics: Vec<ListOffsetsTopic<'a>>,
    /// How long the broker may take, in milliseconds.
    #[kafka(versions = "10+", ignorable)]
    pub timeout_ms: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ListOffsetsTopic<'a> {
    /// The name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<ListOffsetsPartition>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The time to look up in one partition.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ListOffsetsPartition {
    /// The partition's number.
    pub partition_index: i32,
    /// The epoch of the leader as the one who asks knows it, so that an old leader can be told; -1: not
    /// checked.
    #[kafka(versions = "4+", default = -1, ignorable)]
    pub current_leader_epoch: i32,
    /// The time, in milliseconds; negative ones have meanings of their own.
    pub timestamp: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The offsets found.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = ListOffsets, versions = "1-11", flexible = "6+")]
pub struct ListOffsetsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<ListOffsetsTopicResponse<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ListOffsetsTopicResponse<'a> {
    /// The name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<ListOffsetsPartitionResponse>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The offset found in one partition.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ListOffsetsPartitionResponse {
    /// The partition's number.
    pub partition_index: i32,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The time of the record found, in milliseconds; -1 if there is none.
    #[kafka(default = -1)]
    pub timestamp: i64,
    /// The offset found; -1 if there is none.
    #[kafka(default = -1)]
    pub offset: i64,
    /// The leader epoch of the record found; -1 if it is not known.
    #[kafka(versions = "4+", default = -1)]
    pub leader_epoch: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
