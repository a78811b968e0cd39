//! The cluster at one moment, as the last Metadata answer told it (MET-6).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rohrpost_protocol::{ErrorCode, Uuid};

use super::Lookup;

/// The cluster at one moment. Immutable; a new one replaces it.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Grows with every update.
    pub(crate) version: u64,
    pub(crate) cluster_id: Option<Arc<str>>,
    pub(crate) brokers: BTreeMap<i32, BrokerNode>,
    pub(crate) topics: HashMap<Arc<str>, Arc<TopicMetadata>>,
    /// Topics the last answer refused, with its error (MET-7).
    pub(crate) errors: HashMap<Arc<str>, ErrorCode>,
}

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerNode {
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) rack: Option<Arc<str>>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicMetadata {
    pub(crate) name: Arc<str>,
    /// Zero if the broker is too old to say (Metadata below 10).
    pub(crate) id: Uuid,
    /// By partition number, without gaps.
    pub(crate) partitions: Vec<PartitionMetadata>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionMetadata {
    /// `None`: no leader, or its broker is not in the answer (MET-6). A partition is *available* if this is known (PAR-5).
    pub(crate) leader: Option<i32>,
    /// -1 if unknown.
    pub(crate) leader_epoch: i32,
    /// The same, or lower: the highest epoch that surely is of this topic. Below Produce 13 a hint names no topic id, and a broker that
    /// lags may tell of a former topic of the name, whose epochs were higher (ERR-2).
    pub(crate) sure_epoch: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) in_sync: Vec<i32>,
}

impl Snapshot {
    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionMetadata> {
        self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    #[cfg(test)]
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.partition(topic, partition)?.leader
    }
    pub(crate) fn lookup(&self, topic: &str) -> Lookup {
        if let Some(known) = self.topics.get(topic) {
            return Lookup::Known(known.clone());
        }
        match self.errors.get(topic).copied() {
            // MET-7
            Some(code @ (ErrorCode::INVALID_TOPIC_EXCEPTION | ErrorCode::TOPIC_AUTHORIZATION_FAILED)) => {
                Lookup::Failed(code)
            }
            other => Lookup::Unknown(other),
        }
    }
}
