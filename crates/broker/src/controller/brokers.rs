//! Brokers that come and go, and who leads after it: registration, heartbeats, fencing, elections (13.2, 13.3).

use std::collections::BTreeSet;

use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::metadata_log::{
    BrokerRegistrationChangeRecord, PartitionChangeRecord, RegisterBrokerRecord,
};

use super::local::{Controller, METADATA_VERSION_FEATURE, is_reserved};
use super::placement;
use super::records::{Changes, Proposal, broker_end_points, broker_features};
use super::source::{ApiError, BrokerHeartbeat, BrokerRegistration, HeartbeatAnswer};
use crate::config::TopicDefaults;
use crate::metadata::{BrokerImage, NO_LEADER, PartitionImage, TopicImage};

const FENCE: i8 = 1;
const UNFENCE: i8 = -1;
/// The leader field that leaves the leader as it is (C1).
pub(super) const NO_LEADER_CHANGE: i32 = -2;

impl Controller {
    /// Registers a broker (C8). `next_offset` is the offset that the first record will get: the broker epoch of a new
    /// incarnation.
    ///
    /// # Errors
    /// What is wrong with the registration: another cluster's id, no listener, no data directory, features that do not fit.
    pub fn register_broker(
        &mut self,
        registration: &BrokerRegistration,
        next_offset: i64,
    ) -> Result<Proposal<i64>, ApiError> {
        self.check_registration(registration)?;
        let id = registration.broker_id;
        let known = self.image().broker(id).cloned();
        let same = known.as_ref().filter(|broker| broker.incarnation_id == registration.incarnation_id);
        // C8: the same incarnation keeps its epoch and stays fenced or not
        let broker_epoch = same.map_or(next_offset, |broker| broker.epoch);
        let mut changes = Changes::default();
        changes.push(RegisterBrokerRecord {
            broker_id: id,
            incarnation_id: registration.incarnation_id,
            broker_epoch,
            end_points: broker_end_points(&registration.end_points),
            features: broker_features(registration.features.iter().map(|(name, range)| (name, range))),
            rack: registration.rack.as_deref(),
            fenced: same.is_none_or(|broker| broker.fenced),
            in_controlled_shutdown: same.is_some_and(|broker| broker.in_controlled_shutdown),
            log_dirs: registration.log_dirs.clone(),
            ..Default::default()
        })?;
        if same.is_none() && known.is_some() {
            // C8: nobody may take the new process for the old one's place in the in-sync sets
            self.remove_from_isrs(id, &mut changes)?;
        }
        self.sessions.insert(id, registration.incarnation_id);
        // After a crash in the middle the broker is registered and fenced; its next registration does the rest.
        Ok(changes.one_by_one(broker_epoch))
    }

    /// A sign of life (C10, C13, C14).
    ///
    /// # Errors
    /// STALE_BROKER_EPOCH for a broker that is not registered with this epoch.
    pub fn broker_heartbeat(
        &mut self,
        heartbeat: &BrokerHeartbeat,
    ) -> Result<Proposal<HeartbeatAnswer>, ApiError> {
        let id = heartbeat.broker_id;
        self.check_epoch(id, heartbeat.broker_epoch)?;
        let Some(broker) = self.image().broker(id).cloned() else {
            unreachable!("check_epoch has found the broker");
        };
        // C10: it must have seen its own newest registration
        let is_caught_up = heartbeat.current_metadata_offset >= broker.registration_offset;
        let answer =
            |is_fenced, should_shut_down| HeartbeatAnswer { is_caught_up, is_fenced, should_shut_down };
        let mut changes = Changes::default();
        if heartbeat.want_shut_down {
            // C14: every live broker of the process applies the change before this is answered, so it may go at once
            if !broker.fenced {
                self.fence(&broker, true, &mut changes)?;
            }
            return Ok(changes.atomic(answer(true, true)));
        }
        if broker.fenced && !heartbeat.want_fence && is_caught_up {
            self.unfence(&broker, &mut changes)?;
            return Ok(changes.atomic(answer(false, false)));
        }
        if !broker.fenced && heartbeat.want_fence {
            self.fence(&broker, false, &mut changes)?;
            return Ok(changes.atomic(answer(true, false)));
        }
        Ok(Proposal::nothing(answer(broker.fenced, false)))
    }

    /// Fences one broker that is gone: one that an earlier process has left unfenced in the log. One at a time; `None`
    /// when there is none left. A broker within this process cannot die alone, but for a command of the cluster's owner
    /// ([`Controller::fence_broker`]).
    ///
    /// # Errors
    /// A record of the change cannot be encoded.
    pub fn fence_one_left_over(&mut self) -> Result<Option<Proposal<i32>>, ApiError> {
        let left_over = |broker: &&std::sync::Arc<BrokerImage>| !self.sessions.contains_key(&broker.id);
        let Some(broker) = self.image().alive_brokers().find(left_over).cloned() else { return Ok(None) };
        let mut changes = Changes::default();
        self.fence(&broker, false, &mut changes)?;
        Ok(Some(changes.atomic(broker.id)))
    }

    /// Fences a broker whose session has ended (C12).
    ///
    /// # Errors
    /// BROKER_ID_NOT_REGISTERED.
    pub fn fence_broker(&mut self, id: i32) -> Result<Proposal<()>, ApiError> {
        let Some(broker) = self.image().broker(id).cloned() else {
            return Err(ApiError::new(
                ErrorCode::BROKER_ID_NOT_REGISTERED,
                format!("broker {id} is not registered"),
            ));
        };
        self.sessions.remove(&id);
        let mut changes = Changes::default();
        if !broker.fenced {
            self.fence(&broker, false, &mut changes)?;
        }
        Ok(changes.atomic(()))
    }

    fn fence(&self, broker: &BrokerImage, shutdown: bool, changes: &mut Changes) -> Result<(), ApiError> {
        // C12: out of every in-sync set first, then the change record
        self.remove_from_isrs(broker.id, changes)?;
        changes.push(BrokerRegistrationChangeRecord {
            broker_id: broker.id,
            broker_epoch: broker.epoch,
            fenced: FENCE,
            in_controlled_shutdown: i8::from(shutdown),
            ..Default::default()
        })
    }

    fn unfence(&self, broker: &BrokerImage, changes: &mut Changes) -> Result<(), ApiError> {
        changes.push(BrokerRegistrationChangeRecord {
            broker_id: broker.id,
            broker_epoch: broker.epoch,
            fenced: UNFENCE,
            ..Default::default()
        })?;
        // C13
        let image = self.image().clone();
        let is_active = |id| id == broker.id || placement::is_active(&image, id);
        let defaults = self.topic_defaults();
        for topic in image.topics() {
            for (number, partition) in topic.partitions.iter().enumerate().filter(|(_, p)| !p.has_leader()) {
                let unclean = allows_unclean_election(&defaults, topic);
                if let Some(change) =
                    elect(topic, number, partition, partition.isr.clone(), &is_active, unclean)
                {
                    changes.push(change)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a broker out of every in-sync set and leadership. The last member stays, without leading (C12; ELR is off).
    fn remove_from_isrs(&self, leaving: i32, changes: &mut Changes) -> Result<(), ApiError> {
        let image = self.image().clone();
        let is_active = |id| id != leaving && placement::is_active(&image, id);
        let defaults = self.topic_defaults();
        for topic in image.topics() {
            for (number, partition) in topic.partitions.iter().enumerate() {
                if partition.leader != leaving && !partition.is_in_sync(leaving) {
                    continue;
                }
                // C12
                let mut target = partition.isr.clone();
                if target.len() > 1 {
                    target.retain(|&id| id != leaving);
                }
                let unclean = allows_unclean_election(&defaults, topic);
                if let Some(change) = elect(topic, number, partition, target, &is_active, unclean) {
                    changes.push(change)?;
                }
            }
        }
        Ok(())
    }

    /// Stricter than Kafka's controller, which takes registrations that pollute a cluster.
    fn check_registration(&self, registration: &BrokerRegistration) -> Result<(), ApiError> {
        let image = self.image();
        let invalid = |why: &str| Err(ApiError::new(ErrorCode::INVALID_REGISTRATION, why));
        let id = registration.broker_id;
        if registration.cluster_id != *image.cluster_id {
            return Err(ApiError::new(
                ErrorCode::INCONSISTENT_CLUSTER_ID,
                format!(
                    "Expected cluster ID {}, but got cluster ID {}",
                    image.cluster_id, registration.cluster_id
                ),
            ));
        }
        if id < 0 {
            return invalid("the broker id is negative");
        }
        if is_reserved(registration.incarnation_id) {
            return invalid("the incarnation id is a reserved one");
        }
        let names: BTreeSet<&str> = registration.end_points.iter().map(|e| e.name.as_str()).collect();
        if names.is_empty() || names.len() != registration.end_points.len() {
            return invalid("there must be at least one listener, and each name once");
        }
        if registration.end_points.iter().any(|e| e.name.is_empty() || e.host.is_empty() || e.port == 0) {
            return invalid("every listener needs a name, and a host and port that clients can reach");
        }
        let dirs: BTreeSet<_> = registration.log_dirs.iter().collect();
        if dirs.is_empty()
            || dirs.len() != registration.log_dirs.len()
            || dirs.iter().any(|dir| is_reserved(**dir))
        {
            return invalid(
                "there must be at least one directory id, none twice, and none of the reserved ones",
            );
        }
        for other in image.brokers.values().filter(|other| other.id != id) {
            if other.log_dirs.iter().any(|dir| dirs.contains(dir)) {
                return invalid(&format!("broker {} has registered the same directory", other.id));
            }
        }
        if let (Some(session), Some(broker)) = (self.sessions.get(&id), image.broker(id))
            && *session != registration.incarnation_id
            && !broker.fenced
        {
            return Err(ApiError::new(
                ErrorCode::DUPLICATE_BROKER_REGISTRATION,
                format!("Another broker is registered with that broker id: {id}"),
            ));
        }
        self.check_features(registration)
    }

    fn check_features(&self, registration: &BrokerRegistration) -> Result<(), ApiError> {
        let range_of =
            |name: &str| registration.features.iter().find(|(n, _)| n == name).map(|(_, range)| *range);
        if range_of(METADATA_VERSION_FEATURE).is_none() {
            return Err(ApiError::new(
                ErrorCode::INVALID_REGISTRATION,
                "metadata.version is not among the features",
            ));
        }
        for (name, &level) in &self.image().features {
            if !range_of(name).is_some_and(|range| (range.min..=range.max).contains(&level)) {
                return Err(ApiError::new(
                    ErrorCode::UNSUPPORTED_VERSION,
                    format!("the broker cannot work at the finalized level {level} of {name}"),
                ));
            }
        }
        Ok(())
    }
}

fn allows_unclean_election(defaults: &TopicDefaults, topic: &TopicImage) -> bool {
    let entry = defaults.get(&topic.configs, "unclean.leader.election.enable");
    entry.and_then(|entry| entry.value).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// Who leads a partition with this in-sync set (C15 to C18, without ELR). `None` when nothing changes.
pub(super) fn elect(
    topic: &TopicImage,
    number: usize,
    partition: &PartitionImage,
    target_isr: Vec<i32>,
    is_active: &dyn Fn(i32) -> bool,
    unclean: bool,
) -> Option<PartitionChangeRecord> {
    // C15
    let is_candidate = |id: &i32| target_isr.contains(id) && is_active(*id);
    let mut change = PartitionChangeRecord {
        partition_id: number as i32,
        topic_id: topic.id,
        leader: NO_LEADER_CHANGE,
        ..Default::default()
    };
    let (leader, isr) = if partition.has_leader() && is_candidate(&partition.leader) {
        // C16
        (partition.leader, target_isr)
    } else if let Some(&first) = partition.replicas.iter().find(|id| is_candidate(id)) {
        // C16
        (first, target_isr)
    } else if let Some(&first) = partition.replicas.iter().find(|id| unclean && is_active(**id)) {
        // C17, C18
        change.leader_recovery_state = 1;
        (first, vec![first])
    } else {
        (NO_LEADER, target_isr)
    };
    let changed = leader != partition.leader || isr != partition.isr;
    // C1: a leader that is named begins a leader epoch, so it is named only when it changes
    if leader != partition.leader {
        change.leader = leader;
    }
    if isr != partition.isr {
        change.isr = Some(isr);
    }
    changed.then_some(change)
}
