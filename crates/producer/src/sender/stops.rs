//! What stands still until the application says how to go on: topics that were deleted and created anew (MET-9), and partitions in
//! which a record failed (RTY-5). See [`super::core`]; the application's side is `producer::stops`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rohrpost_protocol::{ErrorCode, Uuid};
use tracing::{info, warn};

use super::core::SenderCore;
use super::partition::{Bump, Stop};
use crate::accumulator::{Batch, BatchId, Partition};
use crate::config::TopicRecreation;
use crate::outcome::Reason;
use crate::producer::{HeldRecords, Release};
use crate::rules::{self, Rule};

/// From this version on a Produce request says by its id which topic it is for.
const PRODUCE_WITH_IDS: i16 = 13;

/// What the sender remembers of it.
#[derive(Default)]
pub(super) struct Halts {
    /// The id that a topic of the metadata set had when it was last there.
    ids: HashMap<Arc<str>, Uuid>,
    /// MET-9, `hold`: these topics' records wait.
    pub(super) held: BTreeSet<Arc<str>>,
    /// Records that went to an earlier topic of this name, and come back, fail.
    failed: HashSet<Arc<str>>,
    /// Partitions that are stopped, by key.
    stopped: BTreeSet<u32>,
    /// There are batches, or may be, that are not sent (again) because one before them failed.
    is_stopping: bool,
    /// It was said that the brokers cannot tell a topic from one of the same name.
    said_no_ids: bool,
}

impl SenderCore {
    /// MET-9: a topic with a new id is another topic. Its partitions go on from sequence 0 in a new epoch, once what is on the wire
    /// has come back. Gives the topics for which that is so since the last answer.
    pub(super) fn note_recreated(&mut self) -> Vec<Arc<str>> {
        let now = self.metadata.snapshot().clone();
        for (key, state) in self.partitions.iter_mut().enumerate() {
            let Some(partition) = state.partition.as_ref() else { continue };
            let Some(topic) = now.topics.get(partition.topic_name()) else { continue };
            if topic.id.is_zero() || state.topic_id == topic.id {
                continue;
            }
            let was_known = !state.topic_id.is_zero();
            state.topic_id = topic.id;
            if was_known && state.identity.is_some() && rules::holds(Rule::RecreatedTopic) {
                state.bump = Bump::Yes;
                self.bumping.insert(key as u32);
            }
        }
        let mut anew = Vec::new();
        for topic in now.topics.values().filter(|topic| !topic.id.is_zero()) {
            let old = self.halts.ids.insert(topic.name.clone(), topic.id);
            if old.is_some_and(|old| old != topic.id) {
                anew.push(topic.name.clone());
            }
        }
        // What the metadata set has dropped is forgotten here, too: nothing is queued for it.
        let metadata = &self.metadata;
        self.halts.ids.retain(|topic, _| metadata.has(topic));
        self.halts.failed.retain(|topic| metadata.has(topic));
        anew
    }

    /// MET-9: what becomes of the records of topics that were created anew.
    pub(super) fn treat_recreated(&mut self, anew: &[Arc<str>]) {
        for topic in anew {
            self.shared.stats.topics_recreated.fetch_add(1, Ordering::Relaxed);
            match self.shared.config.topic_recreation {
                TopicRecreation::Follow => {
                    info!("topic {topic} was deleted and created anew; its records go to the new one");
                }
                TopicRecreation::Fail => {
                    warn!("topic {topic} was deleted and created anew; what is buffered for it fails");
                    self.halts.failed.insert(topic.clone());
                    self.fail_older(topic, &|_| u64::MAX);
                }
                TopicRecreation::Hold => {
                    warn!(
                        "topic {topic} was deleted and created anew; its records wait for Producer::release"
                    );
                    self.halts.failed.remove(topic);
                    self.halts.held.insert(topic.clone());
                    self.shared.stops.held.lock().insert(topic.clone());
                }
            }
        }
    }

    /// MET-9: records of partitions that the topic does not have any more fail at once, unless they are held.
    pub(super) fn fail_vanished_partitions(&mut self) {
        let snapshot = self.metadata.snapshot().clone();
        let mut batches = Vec::new();
        let held = &self.halts.held;
        let vanished = |topic: &Arc<str>, index: i32| {
            let gone = |count: usize| usize::try_from(index).is_ok_and(|index| index >= count);
            snapshot.topics.get(topic).is_some_and(|known| gone(known.partitions.len()))
                && !held.contains(topic)
        };
        self.shared
            .accumulator
            .abort_where(&|partition, _| vanished(partition.topic_name(), partition.index()), &mut batches);
        for batch in batches {
            let partition = batch.partition().clone();
            let message =
                format!("topic {} has no partition {} any more", partition.topic_name(), partition.index());
            self.fail_batch(batch, Reason::Broker(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), Some(message));
        }
    }

    /// MET-9: said once, where it matters.
    pub(super) fn note_produce_version(&mut self, version: i16) {
        let policy = self.shared.config.topic_recreation;
        if version >= PRODUCE_WITH_IDS || policy == TopicRecreation::Follow || self.halts.said_no_ids {
            return;
        }
        self.halts.said_no_ids = true;
        warn!(
            "topic.recreation={}: these brokers do not take topic ids in Produce requests (version {version}), so only a refresh of \
             the metadata notices that a topic was created anew; a batch that is sent before it goes to the new topic",
            if policy == TopicRecreation::Hold { "hold" } else { "fail" },
        );
    }

    /// What the application has said since the last pass, and what follows for new records of partitions that are stopped.
    pub(super) fn carry_out_stops(&mut self) {
        if let Some(wishes) = self.shared.stops.take() {
            for (topic, release) in wishes.releases {
                self.release(&topic, &release);
            }
            for (key, number) in wishes.resumes {
                self.resume(key, number);
            }
        }
        if self.halts.is_stopping {
            self.fail_stopped();
            // What was sent before the last word may still come back, or wait behind what is older than the failure.
            for state in &mut self.partitions {
                let (accumulator, partition) = (&self.shared.accumulator, state.partition.as_ref());
                let oldest = partition.and_then(|partition| accumulator.oldest(partition));
                let oldest = state.entries().map(|entry| entry.id.number()).chain(oldest).min();
                state.stops.retain(|stop| {
                    stop.below == u64::MAX || oldest.is_some_and(|oldest| oldest < stop.below)
                });
            }
            self.halts.is_stopping = self.partitions.iter().any(|state| !state.stops.is_empty());
        }
    }

    /// A record of the partition failed: later ones fail, too, until the application has seen it (RTY-5). What it ended itself it
    /// has seen, and what failed because of this needs no stop of its own.
    pub(super) fn stop_on_failure(&mut self, partition: &Arc<Partition>, id: BatchId, reason: Reason) {
        let by_itself = matches!(reason, Reason::Stopped | Reason::Closed | Reason::Purged);
        if by_itself || !self.shared.config.stop_on_failure.has(partition.topic_name()) {
            return;
        }
        let state = self.state(partition);
        if let Some(last) = state.stops.last_mut() {
            // It was sent before the last `resume`, which was about it as well; or the partition is stopped already.
            if id.number() < last.below {
                last.after = last.after.min(id);
                return;
            }
        }
        state.stops.push(Stop { after: id, below: u64::MAX });
        let (topic, index) = (partition.topic_name().clone(), partition.index());
        warn!("{topic}-{index}: a record failed; those behind it fail as well until Producer::resume");
        self.halts.is_stopping = true;
        self.halts.stopped.insert(partition.key());
        self.shared.stops.stopped.lock().insert((topic, index));
        // With the next pass, which must not wait for anybody.
        self.shared.sender.wake();
    }

    /// Why a batch that came back is not sent again, if so.
    pub(super) fn barred(&mut self, batch: &Batch) -> Option<(Reason, String)> {
        let partition = batch.partition().clone();
        let state = self.state(&partition);
        let topic_id = state.topic_id;
        if state.stops.iter().any(|stop| stop.has(batch.id())) {
            return Some((Reason::Stopped, stopped_text(&partition)));
        }
        if !self.halts.failed.contains(partition.topic_name()) {
            return None;
        }
        let state = self.state(&partition);
        let at = state.find(batch.completion())?;
        let sent_to = state.entry(at).topic_id;
        let is_old = !sent_to.is_zero() && sent_to != topic_id;
        is_old.then(|| (Reason::TopicRecreated, recreated_text(partition.topic_name())))
    }

    fn release(&mut self, topic: &Arc<str>, release: &Release) {
        if !self.halts.held.remove(topic) {
            return;
        }
        self.shared.stops.held.lock().remove(topic);
        match release.records {
            HeldRecords::Send => info!("topic {topic}: its records go to the new topic"),
            HeldRecords::Fail => {
                self.halts.failed.insert(topic.clone());
                self.fail_older(topic, &|key| release.older.get(&key).copied().unwrap_or(0));
            }
        }
        self.fail_vanished_partitions();
    }

    /// Fails the queued batches of a topic that were meant for an earlier one of its name.
    fn fail_older(&mut self, topic: &Arc<str>, below: &dyn Fn(u32) -> u64) {
        let mut batches = Vec::new();
        let is_older = |partition: &Partition, id: BatchId| {
            partition.topic_name() == topic && id.number() < below(partition.key())
        };
        self.shared.accumulator.abort_where(&is_older, &mut batches);
        for batch in batches {
            self.fail_batch(batch, Reason::TopicRecreated, Some(recreated_text(topic)));
        }
    }

    fn resume(&mut self, key: u32, number: u64) {
        if !self.halts.stopped.remove(&key) {
            return;
        }
        let state = &mut self.partitions[key as usize];
        if let Some(last) = state.stops.last_mut() {
            last.below = number;
        }
        let Some(partition) = state.partition.clone() else { return };
        self.shared.stops.stopped.lock().remove(&(partition.topic_name().clone(), partition.index()));
    }

    /// Fails what is queued behind a failure, as far as nothing older is in its way: that goes first.
    fn fail_stopped(&mut self) {
        let mut batches = Vec::new();
        let partitions = &self.partitions;
        let is_stopped = |partition: &Partition, id: BatchId| {
            partitions
                .get(partition.key() as usize)
                .is_some_and(|state| state.stops.iter().any(|stop| stop.has(id)))
        };
        self.shared.accumulator.abort_where(&is_stopped, &mut batches);
        for batch in batches {
            let text = stopped_text(batch.partition());
            self.fail_batch(batch, Reason::Stopped, Some(text));
        }
    }
}

fn recreated_text(topic: &str) -> String {
    format!("topic {topic} was deleted and created anew, and this record was meant for the old one")
}

fn stopped_text(partition: &Partition) -> String {
    format!(
        "an earlier record of {}-{} failed, and stop.on.failure ends those behind it until Producer::resume",
        partition.topic_name(),
        partition.index()
    )
}
