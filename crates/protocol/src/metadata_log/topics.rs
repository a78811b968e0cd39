//! Topics and partitions: replicas, leaders, in-sync sets.

use crate::{Message, UnknownTags, Uuid};

/// A topic has been created.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 2, versions = "0", flexible = "all")]
pub struct TopicRecord<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The topic's id.
    pub topic_id: Uuid,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A partition has been created, or stands in a snapshot: its whole state.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 3, versions = "0-2", flexible = "all")]
pub struct PartitionRecord {
    /// The partition's number.
    #[kafka(default = -1)]
    pub partition_id: i32,
    /// The topic's id.
    pub topic_id: Uuid,
    /// The brokers that have a replica, the preferred leader first.
    pub replicas: Vec<i32>,
    /// The brokers that are in sync.
    pub isr: Vec<i32>,
    /// The brokers that a reassignment takes the replica from.
    pub removing_replicas: Vec<i32>,
    /// The brokers that a reassignment gives a replica to.
    pub adding_replicas: Vec<i32>,
    /// The id of the broker that leads; -1: none.
    #[kafka(default = -1)]
    pub leader: i32,
    /// 0 the leader has all that was committed, 1 it was elected uncleanly and has yet to recover.
    #[kafka(tag = 0)]
    pub leader_recovery_state: i8,
    /// The epoch of the leader.
    #[kafka(default = -1)]
    pub leader_epoch: i32,
    /// Grows with every change of the partition.
    #[kafka(default = -1)]
    pub partition_epoch: i32,
    /// The log directory of each replica, in the order of `replicas`.
    #[kafka(versions = "1+")]
    pub directories: Vec<Uuid>,
    /// The brokers that may lead without loss although they are not in sync; null: none.
    #[kafka(versions = "2+", tag = 1, default = null)]
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// The last known eligible leader replicas; null: none.
    #[kafka(versions = "2+", tag = 2, default = null)]
    pub last_known_elr: Option<Vec<i32>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A partition has changed. Fields with their default say: as before.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 5, versions = "0-2", flexible = "all")]
pub struct PartitionChangeRecord {
    /// The partition's number.
    #[kafka(default = -1)]
    pub partition_id: i32,
    /// The topic's id.
    pub topic_id: Uuid,
    /// The brokers that are in sync; null: as before.
    #[kafka(tag = 0, default = null)]
    pub isr: Option<Vec<i32>>,
    /// The id of the broker that leads; -1: none, -2: as before.
    #[kafka(tag = 1, default = -2)]
    pub leader: i32,
    /// The brokers that have a replica; null: as before.
    #[kafka(tag = 2, default = null)]
    pub replicas: Option<Vec<i32>>,
    /// The brokers that a reassignment takes the replica from; null: as before.
    #[kafka(tag = 3, default = null)]
    pub removing_replicas: Option<Vec<i32>>,
    /// The brokers that a reassignment gives a replica to; null: as before.
    #[kafka(tag = 4, default = null)]
    pub adding_replicas: Option<Vec<i32>>,
    /// The recovery state; -1: as before.
    #[kafka(tag = 5, default = -1)]
    pub leader_recovery_state: i8,
    /// The log directory of each replica; null: as before.
    #[kafka(versions = "1+", tag = 8, default = null)]
    pub directories: Option<Vec<Uuid>>,
    /// The eligible leader replicas; null: as before.
    #[kafka(versions = "2+", tag = 6, default = null)]
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// The last known eligible leader replicas; null: as before.
    #[kafka(versions = "2+", tag = 7, default = null)]
    pub last_known_elr: Option<Vec<i32>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A topic and its partitions have been deleted.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 9, versions = "0", flexible = "all")]
pub struct RemoveTopicRecord {
    /// The topic's id.
    pub topic_id: Uuid,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The eligible leader replicas of a topic, or of all topics, no longer hold.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 28, versions = "0", flexible = "all")]
pub struct ClearElrRecord<'a> {
    /// The topic; empty for all topics.
    pub topic_name: &'a str,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
