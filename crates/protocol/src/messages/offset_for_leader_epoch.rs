//! OffsetForLeaderEpoch (23): where a leader epoch ended, so that a follower or consumer can find where its log and the
//! leader's part.

use crate::{ErrorCode, Message, UnknownTags};

/// Which epochs to look up.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = OffsetForLeaderEpoch, response = OffsetForLeaderEpochResponse<'r>, versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochRequest<'a> {
    /// The follower's broker id; -1 from consumers, -2 from debuggers.
    #[kafka(versions = "3+", default = -2, ignorable)]
    pub replica_id: i32,
    /// The topics.
    pub topics: Vec<OffsetForLeaderTopic<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct OffsetForLeaderTopic<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<OffsetForLeaderPartition>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The epoch to look up in one partition.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct OffsetForLeaderPartition {
    /// The partition's number.
    pub partition: i32,
    /// The epoch of the leader as the one who asks knows it, so that an old leader can be told; -1: not
    /// checked.
    #[kafka(default = -1, ignorable)]
    pub current_leader_epoch: i32,
    /// The epoch to look up.
    pub leader_epoch: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// Where the epochs ended.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = OffsetForLeaderEpoch, versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<OffsetForLeaderTopicResult<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct OffsetForLeaderTopicResult<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<EpochEndOffset>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// Where an epoch ended in one partition.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct EpochEndOffset {
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The partition's number.
    pub partition: i32,
    /// The largest epoch of the log that is not above the one looked up; -1: none.
    #[kafka(default = -1, ignorable)]
    pub leader_epoch: i32,
    /// Where that epoch ended; -1: not known.
    #[kafka(default = -1)]
    pub end_offset: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
