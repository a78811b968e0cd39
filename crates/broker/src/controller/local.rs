//! The controller's decisions: a deterministic machine with a single owner (C22).
//!
//! A proposal goes in; records and an answer come out. The machine does no I/O, reads no clock and draws its randomness from the
//! seed that it was handed. Nothing changes by deciding, except the draws and the sessions: the driver writes the records and then gives back the image that they
//! lead to ([`Controller::committed`]). So a decision is always made from committed metadata alone.
//!
//! Missing here, and needed once a cluster has several brokers: sessions that end by silence (the process itself fences its
//! brokers today), AlterPartition (13.4), reassignment, preferred elections, ELR (the feature stays off: it is not
//! finalised).

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use rohrpost_protocol::metadata_log::{
    AbortTransactionRecord, BeginTransactionRecord, ControllerFeature, EndTransactionRecord,
    FeatureLevelRecord, ProducerIdsRecord, RegisterControllerRecord,
};
use rohrpost_protocol::{ErrorCode, Uuid};

use super::records::{Changes, Proposal};
use super::source::{ApiError, PRODUCER_ID_BLOCK_LEN, ProducerIdBlock};
use crate::config::{BrokerConfig, TopicDefaults};
use crate::metadata::{METADATA_VERSION, MetadataImage, Replay};

/// The name of the feature that says which records the log may hold.
pub(super) const METADATA_VERSION_FEATURE: &str = "metadata.version";

/// What the controller decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerSettings {
    /// The controller's node id.
    pub node_id: i32,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// What a topic gets without settings of its own, before what was set while brokers run.
    pub topic_defaults: TopicDefaults,
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Controller {
    pub(super) settings: ControllerSettings,
    pub(super) rng: Rng,
    pub(super) replay: Replay,
    /// Brokers that have registered with this controller, by incarnation. Those of an earlier run are not in it: they were
    /// in the process that is gone.
    pub(super) sessions: BTreeMap<i32, Uuid>,
}

impl Controller {
    /// A controller that has read its log. `seed` decides topic ids and where placement starts.
    pub fn new(settings: ControllerSettings, replay: Replay, seed: u64) -> Controller {
        Controller { settings, rng: Rng::with_seed(seed), replay, sessions: BTreeMap::new() }
    }

    /// The committed image.
    pub fn image(&self) -> &Arc<MetadataImage> {
        self.replay.image()
    }

    /// What a topic gets without settings of its own, as it is now (M9).
    pub(super) fn topic_defaults(&self) -> TopicDefaults {
        self.settings.topic_defaults.overlay(self.image(), self.settings.node_id)
    }

    /// The state that the next records are applied to. The driver applies them to a copy before it writes them: a record that
    /// cannot be applied must never reach the log.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Takes over the state after records that are committed now.
    pub fn committed(&mut self, replay: Replay) {
        self.replay = replay;
    }

    /// Drops what an earlier controller left of an unfinished metadata transaction (C5). `None` if there is nothing. Comes
    /// before anything else of a new epoch: until then the image is not the one before that transaction.
    ///
    /// # Errors
    /// The record cannot be encoded: a broken invariant, told instead of panicked about.
    pub fn abort_left_over(&mut self) -> Result<Option<Proposal<()>>, ApiError> {
        // C5
        if self.replay.open_transaction().is_none() {
            return Ok(None);
        }
        let mut changes = Changes::default();
        let reason = Some("the controller that began it has stopped");
        changes.push(AbortTransactionRecord { reason, ..Default::default() })?;
        Ok(Some(changes.atomic(())))
    }

    /// The first records of a new controller epoch: an empty log is bootstrapped in one metadata transaction (C23), the
    /// controller registers.
    ///
    /// # Errors
    /// UNSUPPORTED_VERSION when the log was written at a metadata.version that this version does not know.
    pub fn begin_epoch(&mut self) -> Result<Proposal<()>, ApiError> {
        let mut changes = Changes::default();
        match self.image().features.get(METADATA_VERSION_FEATURE) {
            None => self.bootstrap(&mut changes)?,
            Some(&level) if level <= METADATA_VERSION => {}
            Some(level) => {
                return Err(ApiError::new(
                    ErrorCode::UNSUPPORTED_VERSION,
                    format!(
                        "the metadata log is at metadata.version {level}, this version knows {METADATA_VERSION} and below; \
                         use the version that wrote it"
                    ),
                ));
            }
        }
        changes.push(RegisterControllerRecord {
            controller_id: self.settings.node_id,
            incarnation_id: random_uuid(&mut self.rng),
            features: vec![ControllerFeature {
                name: METADATA_VERSION_FEATURE,
                min_supported_version: METADATA_VERSION,
                max_supported_version: METADATA_VERSION,
                ..Default::default()
            }],
            ..Default::default()
        })?;
        Ok(changes.atomic(()))
    }

    fn bootstrap(&self, changes: &mut Changes) -> Result<(), ApiError> {
        // C23: metadata.version first; the only feature that is honoured
        changes.push(BeginTransactionRecord { name: Some("Bootstrap records"), ..Default::default() })?;
        changes.push(FeatureLevelRecord {
            name: METADATA_VERSION_FEATURE,
            feature_level: METADATA_VERSION,
            ..Default::default()
        })?;
        changes.push(EndTransactionRecord::default())
    }

    /// A block of producer ids (I12).
    ///
    /// # Errors
    /// STALE_BROKER_EPOCH for a broker that is not registered with this epoch; UNKNOWN_SERVER_ERROR when
    /// all ids are used up.
    pub fn allocate_producer_ids(
        &mut self,
        broker_id: i32,
        broker_epoch: i64,
    ) -> Result<Proposal<ProducerIdBlock>, ApiError> {
        self.check_epoch(broker_id, broker_epoch)?;
        let first = self.image().next_producer_id;
        // I12: the record holds the first id after the block, so that no restart hands one out twice
        let Some(next_producer_id) = first.checked_add(i64::from(PRODUCER_ID_BLOCK_LEN)) else {
            return Err(ApiError::new(
                ErrorCode::UNKNOWN_SERVER_ERROR,
                "Exhausted all producerIds as the next block's end \
                 producerId has exceeded the int64 type limit",
            ));
        };
        let mut changes = Changes::default();
        changes.push(ProducerIdsRecord {
            broker_id,
            broker_epoch,
            next_producer_id,
            ..Default::default()
        })?;
        Ok(changes.atomic(ProducerIdBlock { first, len: PRODUCER_ID_BLOCK_LEN }))
    }

    pub(super) fn check_epoch(&self, broker_id: i32, broker_epoch: i64) -> Result<(), ApiError> {
        match self.image().broker(broker_id) {
            Some(broker) if broker.epoch == broker_epoch => Ok(()),
            Some(broker) => Err(ApiError::new(
                ErrorCode::STALE_BROKER_EPOCH,
                format!(
                    "Expected broker epoch {broker_epoch} of broker {broker_id}, but got {}",
                    broker.epoch
                ),
            )),
            None => Err(ApiError::new(
                ErrorCode::STALE_BROKER_EPOCH,
                format!("No broker registration found for broker id {broker_id}"),
            )),
        }
    }
}

impl From<&BrokerConfig> for ControllerSettings {
    fn from(config: &BrokerConfig) -> ControllerSettings {
        ControllerSettings {
            node_id: config.node_id,
            num_partitions: config.num_partitions,
            default_replication_factor: config.default_replication_factor,
            delete_topic_enable: config.delete_topic_enable,
            topic_defaults: config.topic_defaults.clone(),
        }
    }
}

/// A random id: never one of the reserved first 100 (D4), and never one that prints with a leading dash, which tools would take
/// for an option.
pub(super) fn random_uuid(rng: &mut Rng) -> Uuid {
    loop {
        let id = Uuid(rng.u128(..).to_be_bytes());
        if !is_reserved(id) && !id.to_string().starts_with('-') {
            return id;
        }
    }
}

/// Whether an id is one of the 100 that have a meaning of their own (D4).
pub(super) fn is_reserved(id: Uuid) -> bool {
    // D4
    u128::from_be_bytes(id.0) < 100
}
