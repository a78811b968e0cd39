//! What the producer knows of the cluster: who leads which partition.
//!
//! [`Snapshot`] is immutable and shared: application threads choose partitions by it, the sender finds leaders in it.
//! `core` decides when to ask and what an answer changes (MET-1 to MET-12); it has a single owner, the sender.
//! `shared` is the door between the two sides: current snapshot, wanted topics, waiting senders.

mod core;
#[cfg(test)]
mod core_tests;
mod shared;
mod snapshot;

pub(crate) use self::core::{Change, MetadataCore, Question};
pub(crate) use self::shared::{Lookup, MetadataShared, WaitKey};
pub(crate) use self::snapshot::{BrokerNode, PartitionMetadata, Snapshot, TopicMetadata};
