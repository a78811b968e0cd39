//! When to ask for metadata, and what an answer changes (MET-1 to MET-12).
//!
//! The sender asks [`MetadataCore::question`] on each pass, sends what it gives to the least loaded broker, and hands back
//! the answer or the failure. What comes of it is a new [`Snapshot`]. No I/O, no clock: the time is an argument.
//!
//! Two kinds of questions, each with its own pace (MET-4): about topics never seen before, at once, and with leave to
//! create them; and about all topics in use, when an error, a missing leader or age asks for it, and never with leave to
//! create, so that a deleted topic is not brought back (MET-8).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rohrpost_net::Backoff;
use rohrpost_protocol::messages::{MetadataResponse, MetadataResponseTopic, NodeEndpoint};
use rohrpost_protocol::{ErrorClass, ErrorCode, Uuid};
use tracing::{debug, warn};

use super::{BrokerNode, PartitionMetadata, Snapshot, TopicMetadata};
use crate::config::Config;
use crate::rules::{self, Rule};

/// How long the refusal of a topic is told to whoever asks, before a new call asks the cluster again.
const REFUSAL_KEPT_MS: u64 = 1000;
/// Metadata 9 and later: leader epochs are reliable (MET-5).
const EPOCHS_RELIABLE: i16 = 9;
/// A topic has fewer partitions than this, whatever an answer says: bounds what one answer can make us hold.
const PARTITIONS_MAX: usize = 1 << 20;

/// The state machine behind the snapshots. Owned by the sender.
pub(crate) struct MetadataCore {
    settings: Settings,
    topics: HashMap<Arc<str>, Entry>,
    /// Topics that were there once: never asked for with leave to create (MET-8).
    ever_seen: HashSet<Arc<str>>,
    snapshot: Arc<Snapshot>,
    refresh_wanted: bool,
    in_flight: Option<Question>,
    /// Questions that were sent, and the newest of those whose answers were taken over.
    asked: u64,
    answered: u64,
    last_refresh_ms: Option<u64>,
    full: Pace,
    partial: Pace,
    /// When the first of the tries that all failed was made (MET-12).
    trying_since_ms: Option<u64>,
}

struct Settings {
    backoff: Backoff,
    /// ▸ How often the wait between full refreshes doubles while answers bring nothing new (MET-4).
    backoff_step_max: u32,
    max_age_ms: u64,
    max_idle_ms: u64,
    may_create: bool,
    rebootstrap_trigger_ms: Option<u64>,
}

/// A topic in the metadata set.
struct Entry {
    last_used_ms: u64,
    /// Not in the snapshot: it was never asked for, or the last answer did not know it.
    is_missing: bool,
    /// Asked for since it came into the set.
    was_asked: bool,
    refused_at_ms: Option<u64>,
}

/// MET-4: the wait before the next question of a kind.
#[derive(Default)]
struct Pace {
    failures: u32,
    no_progress: u32,
    not_before_ms: u64,
}

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) topics: Vec<Arc<str>>,
    pub(crate) may_create: bool,
    is_partial: bool,
    /// Grows with each question that is sent.
    number: u64,
}

/// What an answer changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// There is a new snapshot.
    Snapshot,
    /// Nothing: the answer counts as a failure.
    Nothing,
    /// Start again from the bootstrap servers (MET-12).
    Rebootstrap,
}

impl MetadataCore {
    pub(crate) fn new(config: &Config) -> MetadataCore {
        MetadataCore {
            settings: Settings {
                backoff: Backoff::new(config.retry_backoff_ms, config.retry_backoff_max_ms),
                backoff_step_max: config.retry_backoff_step_max,
                max_age_ms: config.metadata_max_age_ms,
                max_idle_ms: config.metadata_max_idle_ms,
                may_create: config.allow_auto_create_topics,
                rebootstrap_trigger_ms: config
                    .metadata_rebootstrap
                    .then_some(config.metadata_rebootstrap_trigger_ms),
            },
            topics: HashMap::new(),
            ever_seen: HashSet::new(),
            snapshot: Arc::default(),
            refresh_wanted: false,
            in_flight: None,
            asked: 0,
            answered: 0,
            last_refresh_ms: None,
            full: Pace::default(),
            partial: Pace::default(),
            trying_since_ms: None,
        }
    }

    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Whether the topic is in the metadata set.
    pub(crate) fn has(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// A call or a queued batch needs this topic: adds it to the set, or renews its life (MET-2).
    pub(crate) fn want(&mut self, topic: &Arc<str>, now_ms: u64) {
        let is_missing = !self.snapshot.topics.contains_key(topic);
        if let Some(entry) = self.topics.get_mut(topic) {
            entry.last_used_ms = now_ms;
            return;
        }
        self.topics.insert(
            topic.clone(),
            Entry { last_used_ms: now_ms, is_missing, was_asked: false, refused_at_ms: None },
        );
        if is_missing {
            // MET-4: new topics reset the no-progress back-off. MET-3: they are asked for at once.
            self.partial.no_progress = 0;
            self.partial.not_before_ms = match self.partial.failures {
                0 => now_ms,
                _ => self.partial.not_before_ms,
            };
        }
    }

    /// An error or a missing leader asks for a refresh (ERR-1, ACC-14).
    pub(crate) fn request_refresh(&mut self) {
        self.refresh_wanted = true;
    }

    /// What to ask now, if anything is due and nothing is on its way. The caller says [`sent`](Self::sent) once a broker
    /// could take it.
    pub(crate) fn question(&mut self, now_ms: u64) -> Option<Question> {
        if self.in_flight.is_some() {
            return None;
        }
        if now_ms >= self.partial.not_before_ms {
            let mut topics: Vec<_> = self.unknown(now_ms).cloned().collect();
            if !topics.is_empty() {
                topics.sort();
                // MET-8: leave to create is for topics never seen; what vanished is asked for with the next question.
                let (seen, new): (Vec<_>, Vec<_>) =
                    topics.into_iter().partition(|t| self.ever_seen.contains(t));
                let (topics, may_create) =
                    if new.is_empty() { (seen, false) } else { (new, self.settings.may_create) };
                return Some(Question { topics, may_create, is_partial: true, number: self.asked + 1 });
            }
        }
        if now_ms < self.full_due_ms()? {
            return None;
        }
        self.forget_idle(now_ms);
        let mut topics: Vec<_> =
            self.topics.iter().filter(|(_, e)| !e.is_missing).map(|(topic, _)| topic.clone()).collect();
        topics.sort();
        Some(Question { topics, may_create: false, is_partial: false, number: self.asked + 1 })
    }

    /// The question is on its way.
    pub(crate) fn sent(&mut self, question: Question, now_ms: u64) {
        debug_assert!(self.in_flight.is_none(), "two metadata requests on their way");
        self.trying_since_ms.get_or_insert(now_ms);
        if !question.is_partial {
            self.refresh_wanted = false;
        }
        self.asked = question.number;
        self.in_flight = Some(question);
    }

    /// ▸ RTY-4: whoever was asked does not answer: the question may go to somebody else. If the answer comes after all, and before a newer
    /// one, it counts.
    pub(crate) fn ask_another(&mut self) {
        if let Some(question) = self.in_flight.take() {
            self.refresh_wanted |= !question.is_partial;
        }
    }

    /// The question has ended, answered or not. False if nobody waits for it any more.
    fn take_back(&mut self, question: &Question) -> bool {
        let is_waited_for = self.in_flight.as_ref().is_some_and(|asked| asked.number == question.number);
        if is_waited_for {
            self.in_flight = None;
        }
        is_waited_for
    }

    /// A refresh is due but no broker could take it.
    pub(crate) fn not_sent(&mut self, now_ms: u64) {
        self.trying_since_ms.get_or_insert(now_ms);
    }

    /// MET-12: no refresh has succeeded for too long.
    pub(crate) fn gives_up(&self, now_ms: u64) -> bool {
        match (self.settings.rebootstrap_trigger_ms, self.trying_since_ms) {
            (Some(trigger_ms), Some(since_ms)) => now_ms.saturating_sub(since_ms) >= trigger_ms,
            _ => false,
        }
    }

    pub(crate) fn may_rebootstrap(&self) -> bool {
        self.settings.rebootstrap_trigger_ms.is_some()
    }

    /// MET-12: what was learnt of brokers and leaders is of no use; partition counts stay, so that calls go on.
    pub(crate) fn rebootstrap(&mut self, now_ms: u64) {
        let topics = self.snapshot.topics.iter().map(|(name, topic)| {
            let partitions = topic.partitions.iter().map(|p| PartitionMetadata {
                leader: None,
                leader_epoch: -1,
                sure_epoch: -1,
                ..p.clone()
            });
            let forgotten = TopicMetadata { partitions: partitions.collect(), ..topic.as_ref().clone() };
            (name.clone(), Arc::new(forgotten))
        });
        self.snapshot = Arc::new(Snapshot {
            version: self.snapshot.version + 1,
            cluster_id: None,
            brokers: BTreeMap::new(),
            topics: topics.collect(),
            errors: HashMap::new(),
        });
        self.in_flight = None;
        self.refresh_wanted = true;
        self.trying_since_ms = Some(now_ms);
        self.full = Pace { not_before_ms: now_ms, ..Pace::default() };
        self.partial = Pace { not_before_ms: now_ms, ..Pace::default() };
    }

    /// The request ended without an answer.
    pub(crate) fn handle_failure(&mut self, question: &Question, now_ms: u64, random: f64) {
        if !self.take_back(question) {
            return;
        }
        if !question.is_partial {
            self.refresh_wanted = true;
        }
        self.pace_after_failure(question.is_partial, now_ms, random);
    }

    /// The answer to a question that was sent, in this version.
    pub(crate) fn handle_answer(
        &mut self,
        question: &Question,
        answer: &MetadataResponse<'_>,
        version: i16,
        now_ms: u64,
        random: f64,
    ) -> Change {
        let is_waited_for = self.take_back(question);
        if !is_waited_for && (question.number <= self.answered || answer.error_code.is_error()) {
            return Change::Nothing;
        }
        if answer.error_code.class() == ErrorClass::Rebootstrap && self.may_rebootstrap() {
            warn!("the cluster asks to start again from bootstrap.servers");
            return Change::Rebootstrap;
        }
        // MET-11: a broker that is starting knows no brokers.
        if answer.error_code.is_error() || answer.brokers.is_empty() {
            self.refresh_wanted |= !question.is_partial;
            self.pace_after_failure(question.is_partial, now_ms, random);
            return Change::Nothing;
        }
        self.trying_since_ms = None;
        self.answered = self.answered.max(question.number);
        let progress = self.apply(answer, version, now_ms);
        if !question.is_partial || self.last_refresh_ms.is_none() {
            self.last_refresh_ms = Some(now_ms);
        }
        for topic in &question.topics {
            if let Some(entry) = self.topics.get_mut(topic) {
                entry.was_asked = true;
            }
        }
        let backoff = self.settings.backoff;
        let pace = if question.is_partial { &mut self.partial } else { &mut self.full };
        pace.failures = 0;
        if progress {
            *pace = Pace { not_before_ms: now_ms, ..Pace::default() };
        } else {
            // ▸ MET-4: an election is over when it is over, and a second between two questions would be a second more without writes
            let step = if question.is_partial {
                pace.no_progress
            } else {
                pace.no_progress.min(self.settings.backoff_step_max)
            };
            pace.not_before_ms = now_ms + backoff.delay_ms(step, random);
            pace.no_progress = pace.no_progress.saturating_add(1);
        }
        Change::Snapshot
    }

    /// ERR-2 (KIP-951): a broker that refused a batch names the new leader. True if that is news and is now in the snapshot. `id`: of the
    /// topic that was asked for, if the request went by id; a hint about another one than the snapshot's is no news.
    pub(crate) fn hint(
        &mut self,
        topic: &str,
        id: Option<Uuid>,
        partition: i32,
        (leader, leader_epoch): (i32, i32),
        endpoints: &[NodeEndpoint<'_>],
    ) -> bool {
        if leader < 0 || leader_epoch < 0 {
            return false;
        }
        let Some(known) = self.snapshot.partition(topic, partition) else { return false };
        if id.is_some_and(|id| self.snapshot.topics.get(topic).is_some_and(|known| known.id != id)) {
            return false;
        }
        if leader_epoch <= known.leader_epoch && rules::holds(Rule::HintIsNews) {
            return false;
        }
        let endpoint =
            endpoints.iter().find(|e| e.node_id == leader).and_then(|e| node(e.host, e.port, e.rack));
        if endpoint.is_none() && !self.snapshot.brokers.contains_key(&leader) {
            return false;
        }
        let mut snapshot = self.copy();
        if let Some(node) = endpoint {
            snapshot.brokers.insert(leader, node);
        }
        let Some((name, old)) = snapshot.topics.get_key_value(topic).map(|(k, v)| (k.clone(), v.clone()))
        else {
            return false;
        };
        let mut changed = old.as_ref().clone();
        let at = &mut changed.partitions[partition as usize];
        at.leader = Some(leader);
        at.leader_epoch = leader_epoch;
        if id.is_some() {
            at.sure_epoch = leader_epoch;
        }
        snapshot.topics.insert(name, Arc::new(changed));
        self.snapshot = Arc::new(snapshot);
        true
    }

    /// ▸ ERR-2: the leader that a hint named says that it is none. Then the epoch may be a former topic's, and metadata must not be
    /// measured by it any more (MET-5), or a partition that was created anew would have no leader until its epochs are as high. True if the
    /// snapshot has changed.
    pub(crate) fn deny(&mut self, topic: &str, partition: i32, node: i32) -> bool {
        let Some(known) = self.snapshot.partition(topic, partition) else { return false };
        if known.leader != Some(node) || known.sure_epoch >= known.leader_epoch {
            return false;
        }
        let mut snapshot = self.copy();
        if let Some(changed) = snapshot.topics.get_mut(topic) {
            let at = &mut Arc::make_mut(changed).partitions[partition as usize];
            at.leader_epoch = at.sure_epoch;
        }
        self.snapshot = Arc::new(snapshot);
        true
    }

    /// Refusals that were told long enough are forgotten: the next call asks again. True if the snapshot changed.
    pub(crate) fn forget_refusals(&mut self, now_ms: u64) -> bool {
        let stale: Vec<Arc<str>> = self
            .topics
            .iter()
            .filter(|(_, e)| e.refused_at_ms.is_some_and(|at| now_ms.saturating_sub(at) >= REFUSAL_KEPT_MS))
            .map(|(topic, _)| topic.clone())
            .collect();
        if stale.is_empty() {
            return false;
        }
        let mut snapshot = self.copy();
        for topic in stale {
            snapshot.errors.remove(&topic);
            self.topics.remove(&topic);
        }
        self.snapshot = Arc::new(snapshot);
        true
    }

    /// When the next question may be due, or a refusal is forgotten.
    pub(crate) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        let refusal =
            self.topics.values().filter_map(|e| e.refused_at_ms).min().map(|at| at + REFUSAL_KEPT_MS);
        if self.in_flight.is_some() {
            return refusal;
        }
        let partial = self.unknown(now_ms).next().map(|_| self.partial.not_before_ms);
        [refusal, partial, self.full_due_ms()].into_iter().flatten().min()
    }

    pub(crate) fn is_asking(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Topics to ask for alone: those that the snapshot lacks and that were not refused. Those that nobody has used for long
    /// are left out (MET-2).
    fn unknown(&self, now_ms: u64) -> impl Iterator<Item = &Arc<str>> {
        let max_idle_ms = self.settings.max_idle_ms;
        self.topics
            .iter()
            .filter(move |(_, e)| {
                e.is_missing
                    && e.refused_at_ms.is_none()
                    && (!e.was_asked || now_ms.saturating_sub(e.last_used_ms) < max_idle_ms)
            })
            .map(|(topic, _)| topic)
    }

    /// MET-3
    fn full_due_ms(&self) -> Option<u64> {
        let aged = self.last_refresh_ms.map(|at| at.saturating_add(self.settings.max_age_ms));
        let wanted = self.refresh_wanted.then_some(0);
        Some([aged, wanted].into_iter().flatten().min()?.max(self.full.not_before_ms))
    }

    /// MET-2: an update drops topics that nobody has used for long, unless they were never asked for.
    fn forget_idle(&mut self, now_ms: u64) {
        let max_idle_ms = self.settings.max_idle_ms;
        self.topics.retain(|_, e| !e.was_asked || now_ms.saturating_sub(e.last_used_ms) < max_idle_ms);
    }

    fn pace_after_failure(&mut self, is_partial: bool, now_ms: u64, random: f64) {
        let backoff = self.settings.backoff;
        let pace = if is_partial { &mut self.partial } else { &mut self.full };
        pace.not_before_ms = now_ms + backoff.delay_ms(pace.failures, random);
        pace.failures = pace.failures.saturating_add(1);
        pace.no_progress = 0;
    }

    /// Takes an answer over. True if it brought something newer than what was known.
    fn apply(&mut self, answer: &MetadataResponse<'_>, version: i16, now_ms: u64) -> bool {
        let mut snapshot = self.copy();
        snapshot.cluster_id = answer.cluster_id.map(Arc::from);
        snapshot.brokers =
            answer.brokers.iter().filter_map(|b| Some((b.node_id, node(b.host, b.port, b.rack)?))).collect();
        // Dropped topics leave the snapshot with the next answer.
        snapshot.topics.retain(|topic, _| self.topics.contains_key(topic));
        snapshot.errors.retain(|topic, _| self.topics.contains_key(topic));
        let mut progress = false;
        for topic in &answer.topics {
            let Some(name) = topic.name else { continue };
            let Some((name, _)) = self.topics.get_key_value(name) else { continue };
            progress |= self.apply_topic(&name.clone(), topic, version, now_ms, &mut snapshot);
        }
        // MET-6: whoever is not in the answer leads nothing.
        let Snapshot { brokers, topics, .. } = &mut snapshot;
        for topic in topics.values_mut() {
            let gone = |p: &PartitionMetadata| p.leader.is_some_and(|leader| !brokers.contains_key(&leader));
            if topic.partitions.iter().any(gone) {
                let topic = Arc::make_mut(topic);
                topic.partitions.iter_mut().filter(|p| gone(p)).for_each(|p| p.leader = None);
            }
        }
        self.snapshot = Arc::new(snapshot);
        progress
    }

    fn apply_topic(
        &mut self,
        name: &Arc<str>,
        topic: &MetadataResponseTopic<'_>,
        version: i16,
        now_ms: u64,
        snapshot: &mut Snapshot,
    ) -> bool {
        let Some(entry) = self.topics.get_mut(name) else { return false };
        snapshot.errors.remove(name);
        entry.refused_at_ms = None;
        if topic.partitions.is_empty()
            || topic.error_code.is_error() && topic.error_code != ErrorCode::LEADER_NOT_AVAILABLE
        {
            let code = if topic.error_code.is_ok() {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            } else {
                topic.error_code
            };
            if snapshot.topics.remove(name).is_some() {
                warn!("topic {name} is not there any more: {code}");
            }
            entry.is_missing = true;
            snapshot.errors.insert(name.clone(), code);
            // MET-7
            if matches!(code, ErrorCode::INVALID_TOPIC_EXCEPTION | ErrorCode::TOPIC_AUTHORIZATION_FAILED) {
                entry.refused_at_ms = Some(now_ms);
                return true;
            }
            return false;
        }
        let old = snapshot.topics.get(name);
        let same_topic = old.is_some_and(|old| old.id == topic.topic_id);
        if let Some(old) = old.filter(|_| !same_topic) {
            // What that means for records is the sender's to say, with MET-9.
            debug!("topic {name} has another id: {} instead of {}", topic.topic_id, old.id);
        }
        let mut progress = !same_topic;
        let mut partitions: Vec<PartitionMetadata> = Vec::new();
        for p in &topic.partitions {
            let Ok(index) = usize::try_from(p.partition_index) else { continue };
            if index >= PARTITIONS_MAX.min(partitions.len() + topic.partitions.len()) {
                continue; // the answer names a partition beyond its own count
            }
            if partitions.len() <= index {
                partitions.resize_with(index + 1, PartitionMetadata::unknown);
            }
            let leader_epoch = if version >= EPOCHS_RELIABLE { p.leader_epoch } else { -1 };
            let new = PartitionMetadata {
                // MET-6
                leader: Some(p.leader_id).filter(|leader| snapshot.brokers.contains_key(leader)),
                leader_epoch,
                sure_epoch: leader_epoch,
                replicas: p.replica_nodes.to_vec(),
                in_sync: p.isr_nodes.to_vec(),
            };
            let known = old.filter(|_| same_topic).and_then(|old| old.partitions.get(index));
            partitions[index] = match known {
                // MET-5: an older answer, from a broker that lags behind.
                Some(known)
                    if version >= EPOCHS_RELIABLE
                        && new.leader_epoch < known.leader_epoch
                        && rules::holds(Rule::OlderEpochIgnored) =>
                {
                    known.clone()
                }
                Some(known) => {
                    if let (Some(before), Some(now)) = (known.leader, new.leader)
                        && before != now
                    {
                        debug!(
                            "{name}-{index}: the leader moved from {before} to {now}, epoch {}",
                            new.leader_epoch
                        );
                    }
                    progress |= new.leader_epoch > known.leader_epoch
                        || new.leader != known.leader && new.leader.is_some();
                    new
                }
                None => {
                    progress = true;
                    new
                }
            };
        }
        // MET-9: a topic does not lose partitions. An answer that has fewer is old, like one with an older epoch (MET-5).
        if let Some(old) = old.filter(|old| same_topic && !old.id.is_zero()) {
            partitions.extend(old.partitions.iter().skip(partitions.len()).cloned());
        }
        entry.is_missing = false;
        self.ever_seen.insert(name.clone());
        let topic = TopicMetadata { name: name.clone(), id: topic.topic_id, partitions };
        snapshot.topics.insert(name.clone(), Arc::new(topic));
        progress
    }

    /// A new snapshot to change, with the next number.
    fn copy(&self) -> Snapshot {
        let old = &self.snapshot;
        Snapshot {
            version: old.version + 1,
            cluster_id: old.cluster_id.clone(),
            brokers: old.brokers.clone(),
            topics: old.topics.clone(),
            errors: old.errors.clone(),
        }
    }
}

impl PartitionMetadata {
    /// A partition that the answer left out.
    fn unknown() -> PartitionMetadata {
        PartitionMetadata {
            leader: None,
            leader_epoch: -1,
            sure_epoch: -1,
            replicas: Vec::new(),
            in_sync: Vec::new(),
        }
    }
}

fn node(host: &str, port: i32, rack: Option<&str>) -> Option<BrokerNode> {
    let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    Some(BrokerNode { host: host.into(), port, rack: rack.map(Arc::from) })
}
