//! Produce (0): a producer hands over batches, the leader says where they ended up.
//!
//! From version 9 on flexible, from 10 on the answer names the new leader (KIP-951), from 13 on topics go by id.

pub use super::common::{LeaderIdAndEpoch, NodeEndpoint};
use crate::{ErrorCode, Message, Records, UnknownTags, Uuid};

/// Batches for partitions that the broker leads: one batch per partition.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = Produce, response = ProduceResponse<'r>, versions = "3-13", flexible = "9+")]
pub struct ProduceRequest<'a> {
    /// The transactional id; null if the producer has none.
    #[kafka(default = null)]
    pub transactional_id: Option<&'a str>,
    /// Who must have the batches before the broker answers: 0 nobody (there is no answer), 1 the leader, -1 all
    /// in-sync replicas.
    pub acks: i16,
    /// How long the broker waits for the in-sync replicas, in milliseconds.
    pub timeout_ms: i32,
    /// The topics.
    pub topic_data: Vec<TopicProduceData<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's batches.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct TopicProduceData<'a> {
    /// The topic's name.
    #[kafka(versions = "3-12", ignorable)]
    pub name: &'a str,
    /// The topic's id.
    #[kafka(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    pub partition_data: Vec<PartitionProduceData<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One partition's batch.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct PartitionProduceData<'a> {
    /// The partition's number.
    pub index: i32,
    /// The batch.
    pub records: Option<Records<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of each batch.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = Produce, versions = "3-13", flexible = "9+")]
pub struct ProduceResponse<'a> {
    /// The topics.
    pub responses: Vec<TopicProduceResponse<'a>>,
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// Where to reach the leaders that the response names.
    #[kafka(versions = "10+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct TopicProduceResponse<'a> {
    /// The topic's name.
    #[kafka(versions = "3-12", ignorable)]
    pub name: &'a str,
    /// The topic's id.
    #[kafka(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    pub partition_responses: Vec<PartitionProduceResponse<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of one partition's batch.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct PartitionProduceResponse<'a> {
    /// The partition's number.
    pub index: i32,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The offset of the first record; -1 if it is not known.
    pub base_offset: i64,
    /// When the broker appended the batch, in milliseconds; -1 if records keep the time that their producer
    /// set.
    #[kafka(default = -1, ignorable)]
    pub log_append_time_ms: i64,
    /// The first offset that the log still has; -1 if it is not known.
    #[kafka(versions = "5+", default = -1, ignorable)]
    pub log_start_offset: i64,
    /// The records that made the broker refuse the batch.
    #[kafka(versions = "8+", ignorable)]
    pub record_errors: Box<[BatchIndexAndErrorMessage<'a>]>,
    /// More about the error, for people.
    #[kafka(versions = "8+", default = null, ignorable)]
    pub error_message: Option<&'a str>,
    /// The leader, if the broker that was asked is not it any more and knows.
    #[kafka(versions = "10+", tag = 0)]
    pub current_leader: LeaderIdAndEpoch,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A record that made the broker refuse its batch (KIP-467).
#[derive(Debug, Clone, PartialEq, Message)]
pub struct BatchIndexAndErrorMessage<'a> {
    /// The record's place in the batch, from 0 on.
    #[kafka(versions = "8+")]
    pub batch_index: i32,
    /// Why this record.
    #[kafka(versions = "8+", default = null)]
    pub batch_index_error_message: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
