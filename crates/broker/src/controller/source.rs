//! [`MetadataSource`]: how a broker reaches its controller, wherever that is.
//!
//! Three doors. The *stream*: [`image`](MetadataSource::image) and [`subscribe`](MetadataSource::subscribe). *Proposals*: the
//! typed calls below; each answers after the change is committed. *Forwarding* of a client's raw request to the controller
//! (principal and bytes in, bytes out) is what a member of a real cluster needs beside them; the local controller serves every
//! request of its broker as a proposal, so the door is not cut yet: it will be one more method here.

use std::fmt;
use std::sync::Arc;

use rohrpost_protocol::{ErrorCode, Uuid};

use crate::metadata::{ConfigResource, EndPoint, FeatureRange, MetadataDelta, MetadataImage};

/// Called after each committed change, in the order of the log, with the new image and what changed.
pub type MetadataListener = Box<dyn Fn(&Arc<MetadataImage>, &MetadataDelta) + Send + Sync>;

/// Where metadata comes from and where wishes about it go (C25).
pub trait MetadataSource: Send + Sync {
    /// The newest image that every listener has seen. Cheap: one reference count.
    fn image(&self) -> Arc<MetadataImage>;

    /// Adds a listener. Before this returns it is called once with the present image as a step from nothing
    /// ([`MetadataDelta::from_nothing`]), so that no change falls between looking and listening.
    ///
    /// Listeners run one after the other on the thread that made the proposal, without the controller's lock. A listener may
    /// block for a while, and delays the answers of proposals by it. It should not make proposals itself: they are committed, but
    /// return before their change was delivered. It must not subscribe.
    fn subscribe(&self, listener: MetadataListener);

    /// Creates topics: one answer per topic, in order. Returns when the change is committed and every listener has applied it
    /// (M3).
    fn create_topics(&self, request: &CreateTopics) -> Vec<Result<CreatedTopic, ApiError>>;

    /// Deletes topics: one answer per topic, in order. Returns when the change is committed and every listener has applied it.
    fn delete_topics(&self, topics: &[TopicRef]) -> Vec<Result<DeletedTopic, ApiError>>;

    /// Adds partitions to topics: one answer per topic, in order (M5). Returns when the change is committed and every listener
    /// has applied it.
    fn create_partitions(&self, request: &CreatePartitions) -> Vec<Result<(), ApiError>>;

    /// Changes the settings of topics and brokers: one answer per resource, in order (M10). Nothing of a resource changes that
    /// is answered with an error. Returns when the change is committed and every listener has applied it.
    fn alter_configs(&self, request: &AlterConfigs) -> Vec<Result<(), ApiError>>;

    /// Elects leaders: one answer per partition (M11). Returns when the change is committed and every listener has applied it.
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR: nothing was done.
    fn elect_leaders(&self, request: &ElectLeaders) -> Result<Vec<Election>, ApiError>;

    /// Hands out producer ids that were never handed out before and never will be again (I12).
    ///
    /// # Errors
    /// STALE_BROKER_EPOCH when the broker is not registered with this epoch; KAFKA_STORAGE_ERROR.
    fn allocate_producer_ids(&self, broker_id: i32, broker_epoch: i64) -> Result<ProducerIdBlock, ApiError>;

    /// Registers a broker, fenced; the answer is the broker epoch (C8).
    ///
    /// # Errors
    /// INVALID_REGISTRATION and others, with what is wrong in words.
    fn register_broker(&self, registration: &BrokerRegistration) -> Result<i64, ApiError>;

    /// A broker's sign of life and wishes: to be unfenced, to stop (C10).
    ///
    /// # Errors
    /// STALE_BROKER_EPOCH when the broker is not registered with this epoch.
    fn broker_heartbeat(&self, heartbeat: &BrokerHeartbeat) -> Result<HeartbeatAnswer, ApiError>;
}

/// An answer that is not the one wished for: Kafka's code and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Kafka's error code.
    pub code: ErrorCode,
    /// What is wrong.
    pub message: String,
}

/// Topics to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateTopics {
    /// The topics.
    pub topics: Vec<NewTopic>,
    /// Check everything, write nothing (M2).
    pub validate_only: bool,
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; -1: `num.partitions`, or what `assignments` says.
    pub partitions: i32,
    /// Replicas of each partition; -1: `default.replication.factor`, or what `assignments` says.
    pub replication_factor: i16,
    /// Which brokers have which partition; empty: the controller chooses.
    pub assignments: Vec<ReplicaAssignment>,
    /// Settings by Kafka's topic keys. A null value is refused with INVALID_CONFIG.
    pub configs: Vec<(String, Option<String>)>,
}

/// The brokers of one partition, chosen by the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaAssignment {
    /// The partition's number.
    pub partition: i32,
    /// Brokers, the preferred leader first.
    pub broker_ids: Vec<i32>,
}

/// A topic that was created, or would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; the zero id when it was only validated.
    pub id: Uuid,
    /// Its number of partitions.
    pub partitions: i32,
    /// Its number of replicas.
    pub replication_factor: i16,
    /// All effective settings, in the order of their keys (M2, v5+).
    pub configs: Vec<ConfigEntry>,
}

/// A setting that is in force, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: &'static str,
    /// The value; `None` is null.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
}

/// Where a setting comes from; the numbers are the protocol's (M9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set for the topic.
    Topic = 1,
    /// Set for the broker while it runs.
    DynamicBroker = 2,
    /// Set for all brokers while they run.
    DynamicDefaultBroker = 3,
    /// From the broker's configuration.
    StaticBroker = 4,
    /// Built in.
    Default = 5,
}

/// Longest message of an [`ApiError`]. Bytes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// A topic by name or by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(Uuid),
}

/// A topic that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTopic {
    /// The name that it had.
    pub name: String,
    /// Its id.
    pub id: Uuid,
}

/// Partitions to add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreatePartitions {
    /// The topics.
    pub topics: Vec<MorePartitions>,
    /// Check everything, write nothing.
    pub validate_only: bool,
}

/// How many partitions a topic is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MorePartitions {
    /// The topic.
    pub topic: String,
    /// The new number of its partitions.
    pub count: i32,
    /// The brokers of each partition that is added, the preferred leader first; `None`: the controller chooses.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// Settings to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlterConfigs {
    /// What to change, resource by resource.
    pub resources: Vec<ConfigChange>,
    /// Check everything, write nothing.
    pub validate_only: bool,
}

/// What to change of one topic or broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// Whose settings. A broker by its id, all brokers by the empty name.
    pub resource: ConfigResource,
    /// The changes.
    pub ops: ConfigOps,
}

/// How settings change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOps {
    /// One by one; what is not named stays (IncrementalAlterConfigs).
    Incremental(Vec<ConfigOp>),
    /// These are all that there are; what is not named is deleted (AlterConfigs). Keys and values.
    Replace(Vec<(String, Option<String>)>),
}

/// One change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigOp {
    /// The key.
    pub name: String,
    /// The protocol's number: 0 set, 1 delete, 2 append to a list, 3 subtract from a list. Another one is refused.
    pub operation: i8,
    /// The value; not needed to delete.
    pub value: Option<String>,
}

/// Leaders to elect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElectLeaders {
    /// Any live replica may lead if no other can, even one that lacks data; else the preferred replica only.
    pub unclean: bool,
    /// Topics and partitions; `None`: all, and the answer leaves out those that need no election.
    pub partitions: Option<Vec<(String, i32)>>,
}

/// How the election of one partition ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Elected, or why not.
    pub result: Result<(), ApiError>,
}

/// How many producer ids a broker is given at a time.
pub const PRODUCER_ID_BLOCK_LEN: i32 = 1000;

/// Producer ids for a broker to hand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first.
    pub first: i64,
    /// How many: [`PRODUCER_ID_BLOCK_LEN`].
    pub len: i32,
}

/// A broker that wants to be part of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerRegistration {
    /// `node.id`.
    pub broker_id: i32,
    /// The cluster it believes to be part of.
    pub cluster_id: String,
    /// The id of the process, random per start.
    pub incarnation_id: Uuid,
    /// Where clients reach it: at least one, each name once.
    pub end_points: Vec<EndPoint>,
    /// Feature levels that it can work at; must name metadata.version.
    pub features: Vec<(String, FeatureRange)>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The ids of its data directories: at least one, none reserved.
    pub log_dirs: Vec<Uuid>,
    /// The broker epoch found in the clean-shutdown file, or -1. Without ELR nothing depends on it yet.
    pub previous_broker_epoch: i64,
}

/// A broker's sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerHeartbeat {
    /// The broker.
    pub broker_id: i32,
    /// The epoch that its registration was answered with.
    pub broker_epoch: i64,
    /// The highest metadata offset that it has applied.
    pub current_metadata_offset: i64,
    /// It does not want to serve yet, or any more.
    pub want_fence: bool,
    /// It wants to stop, after its leaderships have moved.
    pub want_shut_down: bool,
}

/// What the controller makes of a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// The broker has applied its own newest registration.
    pub is_caught_up: bool,
    /// The broker is fenced.
    pub is_fenced: bool,
    /// The broker may stop now.
    pub should_shut_down: bool,
}

impl ApiError {
    /// An error with a message of its own. Long ones are cut: they quote what clients sent, and old versions of the protocol
    /// carry no more than 32767 bytes.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
            message.truncate(end);
            message.push('…');
        }
        ApiError { code, message }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for ApiError {}

impl NewTopic {
    /// A topic with the broker's defaults, except the counts given; -1 for the default.
    pub fn new(name: impl Into<String>, partitions: i32, replication_factor: i16) -> NewTopic {
        NewTopic {
            name: name.into(),
            partitions,
            replication_factor,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    }
}

impl ConfigSource {
    /// The protocol's number.
    pub fn id(self) -> i8 {
        self as i8
    }
}
