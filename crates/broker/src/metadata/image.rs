//! The image: a value that answers every question about the cluster at one offset of the metadata log.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rohrpost_protocol::Uuid;

/// The leader of a partition that has none.
pub const NO_LEADER: i32 = -1;

/// The cluster at one offset of the metadata log. Cheap to clone: topics and brokers are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataImage {
    /// Offset of the last record contained; -1 when there is none.
    pub offset: i64,
    /// Controller epoch of that record; -1 when there is none.
    pub epoch: i32,
    /// The cluster's id, 22 characters. It stands in `meta.properties`, not in the log.
    pub cluster_id: Arc<str>,
    /// Finalised feature levels by name. A feature at level 0 is absent.
    pub features: BTreeMap<String, i16>,
    /// Registered brokers by id, fenced ones included.
    pub brokers: BTreeMap<i32, Arc<BrokerImage>>,
    /// Registered controllers by id.
    pub controllers: BTreeMap<i32, ControllerImage>,
    /// Settings of everything that is not a topic: brokers, and the cluster-wide defaults (broker with an empty name).
    /// A topic's settings are in its [`TopicImage`].
    pub configs: BTreeMap<ConfigResource, BTreeMap<String, String>>,
    /// The first producer id that was never handed to a broker (I12).
    pub next_producer_id: i64,
    pub(super) topics: Topics,
}

/// Topics by id and by name. Both maps share the same values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Topics {
    pub(super) by_id: HashMap<Uuid, Arc<TopicImage>>,
    pub(super) by_name: BTreeMap<Arc<str>, Uuid>,
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerImage {
    /// The broker's id, `node.id`.
    pub id: i32,
    /// Epoch of the registration: the offset of its record when the registration was new (C8).
    pub epoch: i64,
    /// The id of the broker's process, new at each start.
    pub incarnation_id: Uuid,
    /// Where it listens.
    pub end_points: Vec<EndPoint>,
    /// The feature levels that it can work at, by name.
    pub features: BTreeMap<String, FeatureRange>,
    /// Its rack.
    pub rack: Option<String>,
    /// Whether it is fenced: registered, but neither leader nor in any in-sync set, and not shown to clients.
    pub fenced: bool,
    /// Whether it is handing over its leaderships before it stops.
    pub in_controlled_shutdown: bool,
    /// The ids of its data directories.
    pub log_dirs: Vec<Uuid>,
    /// Those that get no new replicas.
    pub cordoned_log_dirs: Vec<Uuid>,
    /// Offset of the newest registration record of this broker (C10).
    pub registration_offset: i64,
}

/// A listener of a broker or controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndPoint {
    /// The listener's name, such as `PLAINTEXT`.
    pub name: String,
    /// Host name or address that clients use.
    pub host: String,
    /// Port that clients use.
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// Levels of a feature that a node can work at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureRange {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

/// A registered controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerImage {
    /// Its node id.
    pub id: i32,
    /// The id of its process.
    pub incarnation_id: Uuid,
    /// Where it listens; empty for the controller inside this process.
    pub end_points: Vec<EndPoint>,
    /// The feature levels that it can work at, by name.
    pub features: BTreeMap<String, FeatureRange>,
}

/// What a setting belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    /// 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Topic, broker id, or the empty name for all brokers.
    pub name: String,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    /// Its name.
    pub name: Arc<str>,
    /// Its id. A topic that is deleted and created again has another one (M4).
    pub id: Uuid,
    /// Its partitions; the index is the partition's number.
    pub partitions: Vec<PartitionImage>,
    /// The settings made for this topic, by Kafka's keys. What is not here has the broker's default.
    pub configs: BTreeMap<String, String>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionImage {
    /// Brokers that have a replica, the preferred leader first.
    pub replicas: Vec<i32>,
    /// The data directory of each replica, in the order of `replicas`; the zero id where unknown.
    pub directories: Vec<Uuid>,
    /// The in-sync set.
    pub isr: Vec<i32>,
    /// Replicas that a reassignment takes away.
    pub removing_replicas: Vec<i32>,
    /// Replicas that a reassignment adds.
    pub adding_replicas: Vec<i32>,
    /// Eligible leader replicas.
    pub elr: Vec<i32>,
    /// Last known eligible leader replicas.
    pub last_known_elr: Vec<i32>,
    /// The leader, or [`NO_LEADER`].
    pub leader: i32,
    /// Whether the leader was elected uncleanly and has yet to recover.
    pub leader_recovery_state: LeaderRecoveryState,
    /// Grows with every change of leadership.
    pub leader_epoch: i32,
    /// Grows with every change of the partition.
    pub partition_epoch: i32,
}

/// Whether a leader has all committed data (C18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaderRecoveryState {
    /// It has.
    #[default]
    Recovered,
    /// It was elected uncleanly.
    Recovering,
}

impl MetadataImage {
    /// The image before the first record.
    pub fn empty(cluster_id: &str) -> MetadataImage {
        MetadataImage {
            offset: -1,
            epoch: -1,
            cluster_id: cluster_id.into(),
            features: BTreeMap::new(),
            brokers: BTreeMap::new(),
            controllers: BTreeMap::new(),
            configs: BTreeMap::new(),
            next_producer_id: 0,
            topics: Topics::default(),
        }
    }

    /// A topic by name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.by_id.get(self.topics.by_name.get(name)?)
    }

    /// A topic by id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.topics.by_id.get(&id)
    }

    /// All topics, in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.by_name.values().filter_map(|id| self.topics.by_id.get(id))
    }

    /// Takes in a topic, or its new state. For the simulator, which has no log of records.
    #[doc(hidden)]
    pub fn put_topic(&mut self, topic: TopicImage) {
        self.topics.by_name.insert(Arc::clone(&topic.name), topic.id);
        self.topics.by_id.insert(topic.id, Arc::new(topic));
    }

    /// Forgets a topic. For the simulator.
    #[doc(hidden)]
    pub fn remove_topic(&mut self, id: Uuid) {
        if let Some(topic) = self.topics.by_id.remove(&id) {
            self.topics.by_name.remove(&topic.name);
        }
    }

    /// The number of topics.
    pub fn topic_count(&self) -> usize {
        self.topics.by_id.len()
    }

    /// A partition by topic name and number.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionImage> {
        self.topic(topic)?.partition(partition)
    }

    /// A registered broker.
    pub fn broker(&self, id: i32) -> Option<&Arc<BrokerImage>> {
        self.brokers.get(&id)
    }

    /// The brokers that clients are told of: registered and not fenced (M7), in the order of their ids.
    pub fn alive_brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        // M7
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// Whether a replica on this broker can be read and written: its broker is registered and not fenced.
    pub fn is_alive(&self, broker: i32) -> bool {
        self.brokers.get(&broker).is_some_and(|broker| !broker.fenced)
    }

    /// The replicas of a partition that are offline: on fenced or unknown brokers (M7).
    pub fn offline_replicas(&self, partition: &PartitionImage) -> Vec<i32> {
        // M7
        partition.replicas.iter().copied().filter(|&id| !self.is_alive(id)).collect()
    }

    /// A cluster-wide default of a broker key (M9), if one was set.
    pub fn cluster_default(&self, key: &str) -> Option<&str> {
        let resource = ConfigResource { resource_type: ConfigResource::BROKER, name: String::new() };
        self.configs.get(&resource)?.get(key).map(String::as_str)
    }
}

impl TopicImage {
    /// A partition by number.
    pub fn partition(&self, partition: i32) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }
}

impl PartitionImage {
    /// Whether a broker has a replica.
    pub fn has_replica(&self, broker: i32) -> bool {
        self.replicas.contains(&broker)
    }

    /// Whether a broker is in the in-sync set.
    pub fn is_in_sync(&self, broker: i32) -> bool {
        self.isr.contains(&broker)
    }

    /// Whether there is a leader.
    pub fn has_leader(&self) -> bool {
        self.leader != NO_LEADER
    }
}

impl BrokerImage {
    /// Where the broker listens under this listener's name (M8).
    pub fn end_point(&self, listener: &str) -> Option<&EndPoint> {
        self.end_points.iter().find(|end_point| end_point.name == listener)
    }
}

impl ConfigResource {
    /// The type of a topic's settings.
    pub const TOPIC: i8 = 2;
    /// The type of a broker's settings.
    pub const BROKER: i8 = 4;
}
