//! Brokers and controllers: who they are, and whether they may lead.

use crate::{Message, UnknownTags, Uuid};

/// A broker has registered; it replaces an older registration of the same id.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 0, versions = "0-4", flexible = "all")]
pub struct RegisterBrokerRecord<'a> {
    /// The broker's id.
    pub broker_id: i32,
    /// Left from the migration from ZooKeeper.
    #[kafka(versions = "2+")]
    pub is_migrating_zk_broker: bool,
    /// The id of the process, new at each start.
    pub incarnation_id: Uuid,
    /// The epoch of the registration.
    pub broker_epoch: i64,
    /// The listeners.
    pub end_points: Vec<BrokerEndpoint<'a>>,
    /// What it can do.
    pub features: Vec<BrokerFeature<'a>>,
    /// The rack or availability zone; null if it has none.
    pub rack: Option<&'a str>,
    /// Whether the broker may not lead.
    #[kafka(default = true)]
    pub fenced: bool,
    /// Whether the broker is about to stop.
    #[kafka(versions = "1+")]
    pub in_controlled_shutdown: bool,
    /// The ids of its log directories.
    #[kafka(versions = "3+", tag = 0)]
    pub log_dirs: Vec<Uuid>,
    /// The log directories that get no new replicas; null: none.
    #[kafka(versions = "4+", tag = 1, default = null)]
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A listener of a broker.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct BrokerEndpoint<'a> {
    /// The listener's name.
    pub name: &'a str,
    /// The host name or address.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The levels of a feature that a broker can work at.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct BrokerFeature<'a> {
    /// The feature's name.
    pub name: &'a str,
    /// The lowest level.
    pub min_supported_version: i16,
    /// The highest level.
    pub max_supported_version: i16,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A broker has been removed from the cluster.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 1, versions = "0", flexible = "all")]
pub struct UnregisterBrokerRecord {
    /// The broker's id.
    pub broker_id: i32,
    /// The epoch of the registration.
    pub broker_epoch: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A broker may not lead. Old: BrokerRegistrationChangeRecord says it today.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 7, versions = "0", flexible = "all")]
pub struct FenceBrokerRecord {
    /// The broker's id.
    pub id: i32,
    /// The epoch of the registration.
    pub epoch: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A broker may lead again. Old: BrokerRegistrationChangeRecord says it today.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 8, versions = "0", flexible = "all")]
pub struct UnfenceBrokerRecord {
    /// The broker's id.
    pub id: i32,
    /// The epoch of the registration.
    pub epoch: i64,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A registered broker has changed. Fields with their default say: as before.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 17, versions = "0-3", flexible = "all")]
pub struct BrokerRegistrationChangeRecord {
    /// The broker's id.
    pub broker_id: i32,
    /// The epoch of the registration.
    pub broker_epoch: i64,
    /// -1 unfenced, 1 fenced, 0 as before.
    #[kafka(tag = 0)]
    pub fenced: i8,
    /// 1 is about to stop, 0 as before.
    #[kafka(versions = "1+", tag = 1)]
    pub in_controlled_shutdown: i8,
    /// The ids of its log directories; empty: as before.
    #[kafka(versions = "2+", tag = 2)]
    pub log_dirs: Vec<Uuid>,
    /// The log directories that get no new replicas; null: as before.
    #[kafka(versions = "3+", tag = 3, default = null)]
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A controller has registered.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 27, versions = "0", flexible = "all")]
pub struct RegisterControllerRecord<'a> {
    /// The controller's id.
    pub controller_id: i32,
    /// The id of the process, new at each start.
    pub incarnation_id: Uuid,
    /// Left from the migration from ZooKeeper.
    pub zk_migration_ready: bool,
    /// The listeners.
    pub end_points: Vec<ControllerEndpoint<'a>>,
    /// What it can do.
    pub features: Vec<ControllerFeature<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A listener of a controller.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ControllerEndpoint<'a> {
    /// The listener's name.
    pub name: &'a str,
    /// The host name or address.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The levels of a feature that a controller can work at.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ControllerFeature<'a> {
    /// The feature's name.
    pub name: &'a str,
    /// The lowest level.
    pub min_supported_version: i16,
    /// The highest level.
    pub max_supported_version: i16,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
