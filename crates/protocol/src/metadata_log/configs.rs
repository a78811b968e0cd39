//! Configuration, quotas, feature levels, blocks of producer ids.

use crate::{Message, UnknownTags};

/// A configuration value has been set or deleted.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 4, versions = "0", flexible = "all")]
pub struct ConfigRecord<'a> {
    /// What kind of resource: 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
    pub resource_type: i8,
    /// The topic, the broker id, or the name of whatever it is; empty for all brokers.
    pub resource_name: &'a str,
    /// The configuration key.
    pub name: &'a str,
    /// The value; null: deleted.
    pub value: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The level of a feature that is in force from here on.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 12, versions = "0", flexible = "all")]
pub struct FeatureLevelRecord<'a> {
    /// The feature's name.
    pub name: &'a str,
    /// The level; 0: the feature is off.
    pub feature_level: i16,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A quota has been set or removed.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 14, versions = "0", flexible = "all")]
pub struct ClientQuotaRecord<'a> {
    /// What the quota applies to.
    pub entity: Vec<EntityData<'a>>,
    /// The quota's key.
    pub key: &'a str,
    /// The limit.
    pub value: f64,
    /// Whether the quota is removed.
    pub remove: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A part of what a quota applies to.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct EntityData<'a> {
    /// The kind: user, client-id or ip.
    pub entity_type: &'a str,
    /// The name; null: the default of the kind.
    pub entity_name: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A block of producer ids has been given to a broker.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 15, versions = "0", flexible = "all")]
pub struct ProducerIdsRecord {
    /// The broker's id.
    pub broker_id: i32,
    /// The epoch of the registration.
    #[kafka(default = -1)]
    pub broker_epoch: i64,
    /// The first producer id after the block.
    pub next_producer_id: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
