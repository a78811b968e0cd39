//! Metadata (3): which brokers there are, and who leads which partition.
//!
//! In version 0 an empty list of topics asks for all, from 1 on null does. Topics can be named by id from 10 on.

use crate::{ErrorCode, Message, UnknownTags, Uuid};

/// Which topics to describe.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = Metadata, response = MetadataResponse<'r>, versions = "0-13", flexible = "9+")]
pub struct MetadataRequest<'a> {
    /// The topics; null: all of them. In version 0 an empty list stands for all.
    #[kafka(nullable = "1+")]
    pub topics: Option<Vec<MetadataRequestTopic<'a>>>,
    /// Whether a topic that does not exist may be created.
    #[kafka(versions = "4+", default = true)]
    pub allow_auto_topic_creation: bool,
    /// Whether to say what the client may do with the cluster.
    #[kafka(versions = "8-10")]
    pub include_cluster_authorized_operations: bool,
    /// Whether to say what the client may do with each topic.
    #[kafka(versions = "8+")]
    pub include_topic_authorized_operations: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A topic by id or by name.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct MetadataRequestTopic<'a> {
    /// The topic's id; zero if it is asked for by name.
    #[kafka(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    /// The topic's name; null if it is asked for by id.
    #[kafka(nullable = "10+")]
    pub name: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The brokers and the topics of a cluster, as one broker sees them.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = Metadata, versions = "0-13", flexible = "9+")]
pub struct MetadataResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    /// The brokers.
    pub brokers: Vec<MetadataResponseBroker<'a>>,
    /// The cluster's id; null if the broker does not say.
    #[kafka(versions = "2+", default = null, ignorable)]
    pub cluster_id: Option<&'a str>,
    /// The broker to send admin requests to; -1: none known.
    #[kafka(versions = "1+", default = -1, ignorable)]
    pub controller_id: i32,
    /// The topics.
    pub topics: Vec<MetadataResponseTopic<'a>>,
    /// What the client may do with the cluster, a bit for each operation; the smallest number: was not asked
    /// for.
    #[kafka(versions = "8-10", default = i32::MIN)]
    pub cluster_authorized_operations: i32,
    /// What went wrong, if anything.
    #[kafka(versions = "13+", ignorable)]
    pub error_code: ErrorCode,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A broker and where to reach it.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct MetadataResponseBroker<'a> {
    /// The broker's id.
    pub node_id: i32,
    /// The host name or address.
    pub host: &'a str,
    /// The port.
    pub port: i32,
    /// The rack or availability zone; null if it has none.
    #[kafka(versions = "1+", default = null, ignorable)]
    pub rack: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct MetadataResponseTopic<'a> {
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The topic's name; null if it was asked for by an id that nobody knows.
    #[kafka(nullable = "12+")]
    pub name: Option<&'a str>,
    /// The topic's id.
    #[kafka(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    /// Whether the topic is Kafka's own.
    #[kafka(versions = "1+", ignorable)]
    pub is_internal: bool,
    /// The partitions.
    pub partitions: Vec<MetadataResponsePartition>,
    /// What the client may do with the topic, a bit for each operation; the smallest number: was not asked for.
    #[kafka(versions = "8+", default = i32::MIN)]
    pub topic_authorized_operations: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A partition, its leader and its replicas.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct MetadataResponsePartition {
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The partition's number.
    pub partition_index: i32,
    /// The id of the broker that leads; -1: none.
    pub leader_id: i32,
    /// The epoch of the leader; -1 if it is not known.
    #[kafka(versions = "7+", default = -1, ignorable)]
    pub leader_epoch: i32,
    /// The brokers that have a replica, the preferred leader first.
    pub replica_nodes: Box<[i32]>,
    /// The brokers that are in sync.
    pub isr_nodes: Box<[i32]>,
    /// The brokers whose replica is not there at the moment.
    #[kafka(versions = "5+", ignorable)]
    pub offline_replicas: Box<[i32]>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
