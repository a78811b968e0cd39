//! From records to images: the one place that knows what each record of the metadata log does.

use std::fmt;
use std::sync::Arc;

use rohrpost_protocol::metadata_log::{
    BrokerRegistrationChangeRecord, ConfigRecord, MetadataRecord, PartitionChangeRecord, PartitionRecord,
    RegisterBrokerRecord, RegisterControllerRecord, TopicRecord,
};
use rohrpost_protocol::{DecodeError, Uuid};

use super::delta::{MetadataDelta, Touched};
use super::image::{
    BrokerImage, ConfigResource, ControllerImage, EndPoint, FeatureRange, LeaderRecoveryState, MetadataImage,
    NO_LEADER, PartitionImage, TopicImage,
};

/// The leader field of a PartitionChange that leaves the leader as it is.
const NO_LEADER_CHANGE: i32 = -2;

/// Applies records in the order of the log and publishes images.
///
/// Between [`apply`](Replay::apply) and [`publish`](Replay::publish) nothing is visible; within a metadata transaction
/// `publish` does nothing (C5). Memory: one image, and a second one while a transaction is open.
#[derive(Debug, Clone)]
pub struct Replay {
    published: Arc<MetadataImage>,
    next: MetadataImage,
    touched: Touched,
    transaction: Option<Transaction>,
    /// A record was applied that leaves nothing in the image.
    has_dropped: bool,
}

/// What an AbortTransaction goes back to.
#[derive(Debug, Clone)]
struct Transaction {
    begin_offset: i64,
    before: MetadataImage,
    touched_before: Touched,
}

/// A record that cannot be applied. The replay is of no use afterwards: a broker stops with this message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyError {
    /// Where in the metadata log.
    pub offset: i64,
    /// What is wrong.
    pub kind: ApplyErrorKind,
}

/// Why a record cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyErrorKind {
    /// A type or version that this version of the broker does not know, or bytes that are no record (C4).
    Unreadable(DecodeError),
    /// The record contradicts what the log said before.
    Inconsistent(String),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metadata record at offset {}: ", self.offset)?;
        match &self.kind {
            ApplyErrorKind::Unreadable(error) => write!(
                f,
                "{error}; it was written by a newer version or is damaged, and a broker that skipped it would disagree with \
                 the cluster: use the version that wrote it"
            ),
            ApplyErrorKind::Inconsistent(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ApplyError {}

impl Replay {
    /// Before the first record of a log.
    pub fn new(cluster_id: &str) -> Replay {
        let next = MetadataImage::empty(cluster_id);
        Replay {
            published: Arc::new(next.clone()),
            next,
            touched: Touched::default(),
            transaction: None,
            has_dropped: false,
        }
    }

    /// The newest published image.
    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.published
    }

    /// Offset at which the open metadata transaction began, if there is one.
    pub fn open_transaction(&self) -> Option<i64> {
        self.transaction.as_ref().map(|transaction| transaction.begin_offset)
    }

    /// Whether the image holds all that the records have said. Else a snapshot of it would lose what only the log has: quotas,
    /// access control, credentials and tokens of another controller.
    pub fn keeps_everything(&self) -> bool {
        !self.has_dropped
    }

    /// Applies the value of one record.
    ///
    /// # Errors
    /// An unknown type or version, bytes that are no record, or a record that contradicts the image. See [`ApplyError`].
    pub fn apply(&mut self, offset: i64, epoch: i32, value: &[u8]) -> Result<(), ApplyError> {
        let fail = |kind| ApplyError { offset, kind };
        // C4
        let (record, _) =
            MetadataRecord::decode_value(value).map_err(|e| fail(ApplyErrorKind::Unreadable(e)))?;
        self.apply_record(offset, record).map_err(|reason| fail(ApplyErrorKind::Inconsistent(reason)))?;
        self.passed(offset, epoch);
        Ok(())
    }

    /// Notes an offset that holds nothing for the image: a control record (C7).
    pub fn passed(&mut self, offset: i64, epoch: i32) {
        self.next.offset = offset;
        self.next.epoch = epoch;
    }

    /// Makes everything applied so far visible, and says what changed. `None` while a metadata transaction is open (C5) and
    /// when no record was applied since the last time.
    pub fn publish(&mut self) -> Option<(Arc<MetadataImage>, MetadataDelta)> {
        // C5
        if self.transaction.is_some() || self.next.offset == self.published.offset {
            return None;
        }
        let touched = std::mem::take(&mut self.touched);
        let image = Arc::new(self.next.clone());
        let delta = MetadataDelta::between(&self.published, &image, &touched);
        self.published = image.clone();
        Some((image, delta))
    }

    fn apply_record(&mut self, offset: i64, record: MetadataRecord<'_>) -> Result<(), String> {
        match record {
            // C24: first and cheapest; a real cluster writes two a second
            MetadataRecord::NoOp(_) => Ok(()),
            MetadataRecord::Topic(record) => self.topic(&record),
            MetadataRecord::Partition(record) => self.partition(record),
            MetadataRecord::PartitionChange(record) => self.partition_change(record),
            MetadataRecord::RemoveTopic(record) => self.remove_topic(record.topic_id),
            MetadataRecord::Config(record) => self.config(&record),
            MetadataRecord::RegisterBroker(record) => {
                self.register_broker(offset, record);
                Ok(())
            }
            MetadataRecord::UnregisterBroker(record) => {
                self.broker(record.broker_id, record.broker_epoch)?;
                self.next.brokers.remove(&record.broker_id);
                Ok(())
            }
            MetadataRecord::BrokerRegistrationChange(record) => self.broker_registration_change(record),
            MetadataRecord::FenceBroker(record) => {
                self.broker(record.id, record.epoch)?.fenced = true;
                Ok(())
            }
            MetadataRecord::UnfenceBroker(record) => {
                self.broker(record.id, record.epoch)?.fenced = false;
                Ok(())
            }
            MetadataRecord::RegisterController(record) => {
                self.register_controller(&record);
                Ok(())
            }
            MetadataRecord::FeatureLevel(record) => {
                if record.feature_level == 0 {
                    self.next.features.remove(record.name);
                } else {
                    self.next.features.insert(record.name.to_owned(), record.feature_level);
                }
                Ok(())
            }
            MetadataRecord::ProducerIds(record) => {
                self.next.next_producer_id = record.next_producer_id;
                Ok(())
            }
            MetadataRecord::ClearElr(record) => self.clear_elr(record.topic_name),
            MetadataRecord::BeginTransaction(_) => self.begin(offset),
            MetadataRecord::EndTransaction(_) => match self.transaction.take() {
                Some(_) => Ok(()),
                None => Err("EndTransaction without BeginTransaction".to_owned()),
            },
            MetadataRecord::AbortTransaction(_) => self.abort(),
            // Understood, and of no consequence for what is served today: quotas, access control, credentials and tokens. A
            // broker that enforces them must keep them here.
            MetadataRecord::ClientQuota(_)
            | MetadataRecord::AccessControlEntry(_)
            | MetadataRecord::RemoveAccessControlEntry(_)
            | MetadataRecord::UserScramCredential(_)
            | MetadataRecord::RemoveUserScramCredential(_)
            | MetadataRecord::DelegationToken(_)
            | MetadataRecord::RemoveDelegationToken(_)
            | MetadataRecord::ZkMigrationState(_) => {
                self.has_dropped = true;
                Ok(())
            }
        }
    }

    // ---- transactions

    fn begin(&mut self, offset: i64) -> Result<(), String> {
        if let Some(open) = &self.transaction {
            return Err(format!(
                "BeginTransaction within the transaction that began at {}",
                open.begin_offset
            ));
        }
        self.transaction = Some(Transaction {
            begin_offset: offset,
            before: self.next.clone(),
            touched_before: self.touched.clone(),
        });
        Ok(())
    }

    fn abort(&mut self) -> Result<(), String> {
        // C5
        let Some(transaction) = self.transaction.take() else {
            return Err("AbortTransaction without BeginTransaction".to_owned());
        };
        self.next = transaction.before;
        self.touched = transaction.touched_before;
        Ok(())
    }

    // ---- topics

    fn topic(&mut self, record: &TopicRecord<'_>) -> Result<(), String> {
        if let Some(other) = self.next.topics.by_name.get(record.name) {
            return Err(format!("topic {} exists with id {other}", record.name));
        }
        if let Some(other) = self.next.topics.by_id.get(&record.topic_id) {
            return Err(format!("topic id {} belongs to {}", record.topic_id, other.name));
        }
        let name: Arc<str> = record.name.into();
        let topic = TopicImage {
            name: name.clone(),
            id: record.topic_id,
            partitions: Vec::new(),
            configs: Default::default(),
        };
        self.touched.topics.insert(record.topic_id);
        self.next.topics.by_name.insert(name, record.topic_id);
        self.next.topics.by_id.insert(record.topic_id, Arc::new(topic));
        Ok(())
    }

    fn remove_topic(&mut self, id: Uuid) -> Result<(), String> {
        let topic = self.next.topics.by_id.remove(&id).ok_or_else(|| unknown_topic(id))?;
        self.next.topics.by_name.remove(&topic.name);
        self.touched.topics.insert(id);
        Ok(())
    }

    fn partition(&mut self, record: PartitionRecord) -> Result<(), String> {
        let number = record.partition_id;
        let topic = self.topic_mut(record.topic_id)?;
        // A partition's record comes once, and in order, but a newer one may replace it whole. The numbers have no gaps:
        // that also bounds what a hostile log can make us allocate.
        let index = usize::try_from(number).ok().filter(|&index| index <= topic.partitions.len());
        let Some(index) = index else {
            return Err(format!("partition {number} of {} without the ones before it", topic.name));
        };
        let mut directories = record.directories;
        directories.resize(record.replicas.len(), Uuid::ZERO);
        let partition = PartitionImage {
            replicas: record.replicas,
            directories,
            isr: record.isr,
            removing_replicas: record.removing_replicas,
            adding_replicas: record.adding_replicas,
            elr: record.eligible_leader_replicas.unwrap_or_default(),
            last_known_elr: record.last_known_elr.unwrap_or_default(),
            leader: record.leader,
            leader_recovery_state: recovery_state(record.leader_recovery_state)?,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        };
        if index == topic.partitions.len() {
            topic.partitions.push(partition);
        } else {
            topic.partitions[index] = partition;
        }
        Ok(())
    }

    fn partition_change(&mut self, record: PartitionChangeRecord) -> Result<(), String> {
        let number = record.partition_id;
        let topic = self.topic_mut(record.topic_id)?;
        let name = topic.name.clone();
        let partition = usize::try_from(number).ok().and_then(|index| topic.partitions.get_mut(index));
        let Some(partition) = partition else {
            return Err(format!("change of partition {number} of {name}, which does not exist"));
        };
        // C1: what is absent stays
        if let Some(isr) = record.isr {
            partition.isr = isr;
        }
        if let Some(replicas) = record.replicas {
            partition.directories.resize(replicas.len(), Uuid::ZERO);
            partition.replicas = replicas;
        }
        if let Some(mut directories) = record.directories {
            directories.resize(partition.replicas.len(), Uuid::ZERO);
            partition.directories = directories;
        }
        if let Some(removing) = record.removing_replicas {
            partition.removing_replicas = removing;
        }
        if let Some(adding) = record.adding_replicas {
            partition.adding_replicas = adding;
        }
        if let Some(elr) = record.eligible_leader_replicas {
            partition.elr = elr;
        }
        if let Some(last_known) = record.last_known_elr {
            partition.last_known_elr = last_known;
        }
        if record.leader_recovery_state != -1 {
            partition.leader_recovery_state = recovery_state(record.leader_recovery_state)?;
        }
        // C1: a leader that is named, even the same one, even none, begins a leader epoch
        if record.leader != NO_LEADER_CHANGE {
            partition.leader = record.leader.max(NO_LEADER);
            partition.leader_epoch = partition.leader_epoch.wrapping_add(1);
        }
        // C1
        partition.partition_epoch = partition.partition_epoch.wrapping_add(1);
        Ok(())
    }

    fn clear_elr(&mut self, name: &str) -> Result<(), String> {
        let ids: Vec<Uuid> = if name.is_empty() {
            self.next.topics.by_name.values().copied().collect()
        } else {
            vec![
                *self
                    .next
                    .topics
                    .by_name
                    .get(name)
                    .ok_or_else(|| format!("ClearElr of {name}, which does not exist"))?,
            ]
        };
        for id in ids {
            let has_elr = |p: &PartitionImage| !p.elr.is_empty() || !p.last_known_elr.is_empty();
            if !self.next.topics.by_id.get(&id).is_some_and(|topic| topic.partitions.iter().any(has_elr)) {
                continue;
            }
            for partition in self.topic_mut(id)?.partitions.iter_mut().filter(|p| has_elr(p)) {
                partition.elr.clear();
                partition.last_known_elr.clear();
                partition.partition_epoch = partition.partition_epoch.wrapping_add(1);
            }
        }
        Ok(())
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut TopicImage, String> {
        let topic = self.next.topics.by_id.get_mut(&id).ok_or_else(|| unknown_topic(id))?;
        self.touched.topics.insert(id);
        Ok(Arc::make_mut(topic))
    }

    // ---- settings

    fn config(&mut self, record: &ConfigRecord<'_>) -> Result<(), String> {
        let configs = if record.resource_type == ConfigResource::TOPIC {
            let id = self.next.topics.by_name.get(record.resource_name).copied();
            let id =
                id.ok_or_else(|| format!("setting of topic {}, which does not exist", record.resource_name))?;
            &mut self.topic_mut(id)?.configs
        } else {
            let name = record.resource_name.to_owned();
            let resource = ConfigResource { resource_type: record.resource_type, name };
            self.touched.resources.insert(resource.clone());
            self.next.configs.entry(resource).or_default()
        };
        match record.value {
            Some(value) => {
                configs.insert(record.name.to_owned(), value.to_owned());
            }
            None => {
                configs.remove(record.name);
            }
        }
        self.next.configs.retain(|_, configs| !configs.is_empty());
        Ok(())
    }

    // ---- nodes

    fn register_broker(&mut self, offset: i64, record: RegisterBrokerRecord<'_>) {
        let id = record.broker_id;
        let broker = BrokerImage {
            id,
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            end_points: record
                .end_points
                .iter()
                .map(|e| EndPoint {
                    name: e.name.to_owned(),
                    host: e.host.to_owned(),
                    port: e.port,
                    security_protocol: e.security_protocol,
                })
                .collect(),
            features: record
                .features
                .iter()
                .map(|f| {
                    (
                        f.name.to_owned(),
                        FeatureRange { min: f.min_supported_version, max: f.max_supported_version },
                    )
                })
                .collect(),
            rack: record.rack.map(str::to_owned),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: record.log_dirs,
            cordoned_log_dirs: record.cordoned_log_dirs.unwrap_or_default(),
            registration_offset: offset,
        };
        self.touched.brokers.insert(id);
        self.next.brokers.insert(id, Arc::new(broker));
    }

    fn broker_registration_change(&mut self, record: BrokerRegistrationChangeRecord) -> Result<(), String> {
        let broker = self.broker(record.broker_id, record.broker_epoch)?;
        // C2
        match record.fenced {
            0 => {}
            1 => broker.fenced = true,
            -1 => broker.fenced = false,
            other => {
                return Err(format!("fenced of broker {} is {other}; -1, 0 or 1 is meant", record.broker_id));
            }
        }
        match record.in_controlled_shutdown {
            0 => {}
            1 => broker.in_controlled_shutdown = true,
            other => {
                return Err(format!(
                    "controlled shutdown of broker {} is {other}; 0 or 1 is meant",
                    record.broker_id
                ));
            }
        }
        if !record.log_dirs.is_empty() {
            broker.log_dirs = record.log_dirs;
        }
        if let Some(cordoned) = record.cordoned_log_dirs {
            broker.cordoned_log_dirs = cordoned;
        }
        Ok(())
    }

    fn broker(&mut self, id: i32, epoch: i64) -> Result<&mut BrokerImage, String> {
        let broker =
            self.next.brokers.get_mut(&id).ok_or_else(|| format!("broker {id} is not registered"))?;
        if broker.epoch != epoch {
            return Err(format!("broker {id} has epoch {}, the record speaks of {epoch}", broker.epoch));
        }
        self.touched.brokers.insert(id);
        Ok(Arc::make_mut(broker))
    }

    fn register_controller(&mut self, record: &RegisterControllerRecord<'_>) {
        let id = record.controller_id;
        let end_points = record.end_points.iter().map(|e| EndPoint {
            name: e.name.to_owned(),
            host: e.host.to_owned(),
            port: e.port,
            security_protocol: e.security_protocol,
        });
        let features = record.features.iter().map(|f| {
            (f.name.to_owned(), FeatureRange { min: f.min_supported_version, max: f.max_supported_version })
        });
        let controller = ControllerImage {
            id,
            incarnation_id: record.incarnation_id,
            end_points: end_points.collect(),
            features: features.collect(),
        };
        self.next.controllers.insert(id, controller);
    }
}

fn recovery_state(state: i8) -> Result<LeaderRecoveryState, String> {
    match state {
        0 => Ok(LeaderRecoveryState::Recovered),
        1 => Ok(LeaderRecoveryState::Recovering),
        other => Err(format!("leader recovery state {other} is neither 0 nor 1")),
    }
}

fn unknown_topic(id: Uuid) -> String {
    format!("topic id {id} does not exist")
}
