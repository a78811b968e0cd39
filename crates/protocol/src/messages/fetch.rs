//! Fetch (1): consumers and followers read batches.
//!
//! Sessions from version 7 on, epochs and divergence from 12 on, topic ids from 13 on, the follower's state from 15 on.

pub use super::common::{LeaderIdAndEpoch, NodeEndpoint};
use crate::{ErrorCode, Message, Records, UnknownTags, Uuid};

/// What to read, from where, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = Fetch, response = FetchResponse<'r>, versions = "4-18", flexible = "12+")]
pub struct FetchRequest<'a> {
    /// The cluster's id, if the one who asks wants it checked.
    #[kafka(versions = "12+", tag = 0, default = null, ignorable)]
    pub cluster_id: Option<&'a str>,
    /// The follower's broker id; -1 from consumers.
    #[kafka(versions = "4-14", default = -1)]
    pub replica_id: i32,
    /// The follower that asks.
    #[kafka(versions = "15+", tag = 1)]
    pub replica_state: ReplicaState,
    /// How long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// How many bytes must have come together before the answer, unless time is up.
    pub min_bytes: i32,
    /// How many bytes the answer may have; the first batch comes whatever its size.
    #[kafka(default = i32::MAX, ignorable)]
    pub max_bytes: i32,
    /// 0 reads everything up to the high watermark, 1 only what is committed.
    #[kafka(ignorable)]
    pub isolation_level: i8,
    /// The fetch session; 0: none.
    #[kafka(versions = "7+", ignorable)]
    pub session_id: i32,
    /// The place in the session; 0 begins one, -1 ends it or does without.
    #[kafka(versions = "7+", default = -1, ignorable)]
    pub session_epoch: i32,
    /// The topics to read; in a session, those that changed.
    pub topics: Vec<FetchTopic<'a>>,
    /// Partitions to take out of the session.
    #[kafka(versions = "7+")]
    pub forgotten_topics_data: Vec<ForgottenTopic<'a>>,
    /// The rack of the consumer; empty if it has none.
    #[kafka(versions = "11+", ignorable)]
    pub rack_id: &'a str,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The follower that asks.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ReplicaState {
    /// The follower's broker id; -1 from consumers.
    #[kafka(versions = "15+", default = -1)]
    pub replica_id: i32,
    /// The follower's broker epoch; -1 if it is not known.
    #[kafka(versions = "15+", default = -1)]
    pub replica_epoch: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct FetchTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "4-12", ignorable)]
    pub topic: &'a str,
    /// The topic's id.
    #[kafka(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<FetchPartition>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// From where to read one partition.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct FetchPartition {
    /// The partition's number.
    pub partition: i32,
    /// The epoch of the leader as the one who asks knows it, so that an old leader can be told; -1: not
    /// checked.
    #[kafka(versions = "9+", default = -1, ignorable)]
    pub current_leader_epoch: i32,
    /// The first offset to read.
    pub fetch_offset: i64,
    /// The epoch of the follower's last record; -1: none, or not to be checked.
    #[kafka(versions = "12+", default = -1)]
    pub last_fetched_epoch: i32,
    /// The first offset that the follower's log still has; -1 from consumers.
    #[kafka(versions = "5+", default = -1, ignorable)]
    pub log_start_offset: i64,
    /// How many bytes of this partition the answer may have.
    pub partition_max_bytes: i32,
    /// The id of the follower's log directory.
    #[kafka(versions = "17+", tag = 0, ignorable)]
    pub replica_directory_id: Uuid,
    /// The high watermark that the follower knows; the largest number: not to be checked.
    #[kafka(versions = "18+", tag = 1, default = i64::MAX, ignorable)]
    pub high_watermark: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// Partitions that leave the session.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ForgottenTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "7-12", ignorable)]
    pub topic: &'a str,
    /// The topic's id.
    #[kafka(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions' numbers.
    #[kafka(versions = "7+")]
    pub partitions: Vec<i32>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// Batches, and the state of the partitions.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = Fetch, versions = "4-18", flexible = "12+")]
pub struct FetchResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong, if anything.
    #[kafka(versions = "7+", ignorable)]
    pub error_code: ErrorCode,
    /// The fetch session; 0: none.
    #[kafka(versions = "7+")]
    pub session_id: i32,
    /// The topics.
    pub responses: Vec<FetchableTopicResponse<'a>>,
    /// Where to reach the leaders that the response names.
    #[kafka(versions = "16+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct FetchableTopicResponse<'a> {
    /// The topic's name.
    #[kafka(versions = "4-12", ignorable)]
    pub topic: &'a str,
    /// The topic's id.
    #[kafka(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<PartitionData<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One partition's batches and offsets.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct PartitionData<'a> {
    /// The partition's number.
    pub partition_index: i32,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The offset up to which all in-sync replicas have the log.
    pub high_watermark: i64,
    /// The offset before which no transaction is open; -1 if it is not known.
    #[kafka(default = -1, ignorable)]
    pub last_stable_offset: i64,
    /// The first offset that the log still has; -1 if it is not known.
    #[kafka(versions = "5+", default = -1, ignorable)]
    pub log_start_offset: i64,
    /// Where the follower's log and the leader's part.
    #[kafka(versions = "12+", tag = 0)]
    pub diverging_epoch: EpochEndOffset,
    /// The leader, if the broker that was asked is not it any more and knows.
    #[kafka(versions = "12+", tag = 1)]
    pub current_leader: LeaderIdAndEpoch,
    /// A snapshot that the follower has to read, since its offset lies before the log's start.
    #[kafka(versions = "12+", tag = 2)]
    pub snapshot_id: SnapshotId,
    /// Transactions to drop; only with isolation level 1.
    #[kafka(ignorable)]
    pub aborted_transactions: Option<Box<[AbortedTransaction]>>,
    /// The replica to read from instead; -1: none.
    #[kafka(versions = "11+", default = -1)]
    pub preferred_read_replica: i32,
    /// The batches, as they lie in the log.
    pub records: Option<Records<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The end of an epoch in the leader's log. Both -1: the logs do not part.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct EpochEndOffset {
    /// The epoch.
    #[kafka(versions = "12+", default = -1)]
    pub epoch: i32,
    /// The offset after the last one.
    #[kafka(versions = "12+", default = -1)]
    pub end_offset: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A snapshot to read instead. Both -1: none.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct SnapshotId {
    /// The offset after the last one.
    #[kafka(versions = "12+", default = -1)]
    pub end_offset: i64,
    /// The epoch.
    #[kafka(versions = "12+", default = -1)]
    pub epoch: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A transaction whose records a reader of committed data drops.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct AbortedTransaction {
    /// The producer id.
    pub producer_id: i64,
    /// The offset of the transaction's first record.
    pub first_offset: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
