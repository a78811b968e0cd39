//! What a broker knows of its cluster: brokers, topics, partitions, leaders, settings.
//!
//! All of it comes out of one log of records (chapter 13 of `docs/reference/broker.md`), whether the local controller wrote
//! them or a real cluster's. A [`Replay`] applies record after record; what it has reached is a [`MetadataImage`], an
//! immutable value that handlers read without locks; the step from one image to the next is a [`MetadataDelta`], which tells
//! the replica manager what to open and what to close.
//!
//! What it promises: equal offset means equal image, on every node and after every restart (invariant 12). Records of an open
//! metadata transaction are not seen (C5). A record that this version does not understand stops the replay with an error that
//! names it (C4).
//!
//! In a record's journey this is where produce and fetch learn who leads a partition.

mod apply;
mod delta;
mod image;

pub use self::apply::{ApplyError, ApplyErrorKind, Replay};
pub use self::delta::{MetadataDelta, PartitionChange, TopicDeletion};
pub use self::image::{
    BrokerImage, ConfigResource, ControllerImage, EndPoint, FeatureRange, LeaderRecoveryState, MetadataImage,
    NO_LEADER, PartitionImage, TopicImage,
};

/// The name of the topic that the metadata log counts as. Nobody may create it.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// Its id, `AAAAAAAAAAAAAAAAAAAAAQ`: low word 1.
pub const CLUSTER_METADATA_TOPIC_ID: rohrpost_protocol::Uuid =
    rohrpost_protocol::Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// The level of metadata.version whose records this crate writes and reads in full: 30, Kafka 4.3.
pub const METADATA_VERSION: i16 = 30;
