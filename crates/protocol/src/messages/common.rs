//! Structs that produce and fetch responses share: where the new leader is (KIP-951).

use crate::{Message, UnknownTags};

/// A leader and since which epoch. Both -1: not known.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct LeaderIdAndEpoch {
    /// The id of the broker that leads.
    #[kafka(default = -1)]
    pub leader_id: i32,
    /// The epoch of the leader.
    #[kafka(default = -1)]
    pub leader_epoch: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// Where to reach a broker.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct NodeEndpoint<'a> {
    /// The broker's id.
    pub node_id: i32,
    /// The host name or address.
    pub host: &'a str,
    /// The port.
    pub port: i32,
    /// The rack or availability zone; null if it has none.
    #[kafka(default = null)]
    pub rack: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
