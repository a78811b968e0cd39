//! What a cluster says about itself, owned, for tools.

use rohrpost_protocol::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
};
use rohrpost_protocol::{ErrorCode, Uuid};

use super::{ClientError, Response};
use crate::{Address, NodeId};

/// A cluster: its brokers, and the topics that were asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// None with brokers before 0.10.1.
    pub cluster_id: Option<String>,
    /// The broker to ask for changes; -1 if there is none.
    pub controller_id: NodeId,
    /// All brokers that are up.
    pub brokers: Vec<Broker>,
    /// The topics asked for, in the broker's order.
    pub topics: Vec<TopicMetadata>,
}

/// A broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    /// `node.id`.
    pub id: NodeId,
    /// Where clients reach it.
    pub address: Address,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicMetadata {
    /// NONE, or why the rest is empty.
    pub error: ErrorCode,
    /// Its name.
    pub name: String,
    /// Its id; zero with brokers before 2.8.
    pub id: Uuid,
    /// True for Kafka's own topics.
    pub is_internal: bool,
    /// By number, ascending.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionMetadata {
    /// NONE, or LEADER_NOT_AVAILABLE and its like.
    pub error: ErrorCode,
    /// Its number.
    pub partition: i32,
    /// Its leader; -1 if there is none.
    pub leader_id: NodeId,
    /// -1 if unknown.
    pub leader_epoch: i32,
    /// Brokers that hold it.
    pub replicas: Vec<NodeId>,
    /// Those of them in sync.
    pub in_sync: Vec<NodeId>,
    /// Those of them that are down.
    pub offline: Vec<NodeId>,
}

/// A question about these topics, or about all.
pub(super) fn request<'a>(topics: Option<&[&'a str]>, version: i16) -> MetadataRequest<'a> {
    let named = |&name: &&'a str| MetadataRequestTopic { name: Some(name), ..Default::default() };
    let topics = topics.map(|topics| topics.iter().map(named).collect());
    MetadataRequest {
        // In version 0 an empty list means all.
        topics: if version == 0 { Some(topics.unwrap_or_default()) } else { topics },
        // Before version 4 there is no such choice.
        allow_auto_topic_creation: version < 4,
        ..Default::default()
    }
}

impl Metadata {
    pub(super) fn read(response: &Response) -> Result<Self, ClientError> {
        let response: MetadataResponse<'_> = response.decode::<MetadataRequest<'_>>()?;
        if response.error_code != ErrorCode::NONE {
            return Err(ClientError::Metadata { topic: None, error: response.error_code });
        }
        let brokers = response.brokers.iter().filter_map(|broker| {
            // A port that is none cannot be connected.
            let address = Address::new(broker.host, u16::try_from(broker.port).ok()?);
            Some(Broker { id: broker.node_id, address, rack: broker.rack.map(str::to_owned) })
        });
        Ok(Self {
            cluster_id: response.cluster_id.map(str::to_owned),
            controller_id: response.controller_id,
            brokers: brokers.collect(),
            topics: response.topics.iter().map(TopicMetadata::read).collect(),
        })
    }

    /// A topic by name.
    pub fn topic(&self, name: &str) -> Option<&TopicMetadata> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// A partition's leader, or why there is none. A leader that is not among the brokers is none (MET-6).
    ///
    /// # Errors
    /// [`ClientError::Metadata`] for a topic that was not asked for or is not there, [`ClientError::UnknownPartition`],
    /// [`ClientError::NoLeader`].
    pub fn leader(&self, topic: &str, partition: i32) -> Result<NodeId, ClientError> {
        let error = |error| ClientError::Metadata { topic: Some(topic.to_owned()), error };
        let found = self.topic(topic).ok_or_else(|| error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))?;
        if found.error != ErrorCode::NONE {
            return Err(error(found.error));
        }
        match found.partitions.iter().find(|p| p.partition == partition) {
            Some(found) if self.is_broker(found.leader_id) => Ok(found.leader_id),
            Some(_) => Err(ClientError::NoLeader { topic: topic.to_owned(), partition }),
            None => Err(ClientError::UnknownPartition {
                topic: topic.to_owned(),
                partition,
                partitions: found.partitions.len(),
            }),
        }
    }
}

impl Metadata {
    pub(super) fn is_broker(&self, id: NodeId) -> bool {
        self.brokers.iter().any(|broker| broker.id == id)
    }
}

impl TopicMetadata {
    fn read(topic: &MetadataResponseTopic<'_>) -> Self {
        let mut partitions: Vec<_> = topic.partitions.iter().map(PartitionMetadata::read).collect();
        partitions.sort_by_key(|p| p.partition);
        Self {
            error: topic.error_code,
            name: topic.name.unwrap_or_default().to_owned(),
            id: topic.topic_id,
            is_internal: topic.is_internal,
            partitions,
        }
    }
}

impl PartitionMetadata {
    fn read(partition: &MetadataResponsePartition) -> Self {
        Self {
            error: partition.error_code,
            partition: partition.partition_index,
            leader_id: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.to_vec(),
            in_sync: partition.isr_nodes.to_vec(),
            offline: partition.offline_replicas.to_vec(),
        }
    }
}
