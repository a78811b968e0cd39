//! The controller: topics, fencing, elections, in-sync sets (chapter 13). One place that is never wrong and never away; what is
//! wrong is what brokers believe, who learn of its decisions late.

use std::sync::Arc;

use rohrpost_broker::metadata::{
    BrokerImage, EndPoint, LeaderRecoveryState, MetadataImage, NO_LEADER, PartitionImage, TopicImage,
};
use rohrpost_protocol::Uuid;

use super::{Action, Cluster, CommittedRecord, Key, LISTENER, Loss, TopicSpec};

/// The topic setting that a fault changes.
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// When somebody whose topic could not be created asks again.
const CREATE_AGAIN_MS: u64 = 1_000;

/// One topic; of a name that was created again, one for each time.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) spec: TopicSpec,
    pub(super) id: Uuid,
    pub(super) deleted: bool,
    pub(super) partitions: Vec<Truth>,
}

/// What the checker wants to know of a partition.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// How far it was ever committed, less what was lost.
    pub(super) committed: i64,
    /// The leader epochs of what is committed, with their start offsets: by them two logs are compared.
    epochs: Vec<(i32, i64)>,
    /// The epoch of a leader that was elected uncleanly and has not taken over yet.
    unclean_epoch: Option<i32>,
    /// Its followers do not fetch before this.
    held_until_ms: u64,
    /// Once the topic is deleted: the log of its last leader, as the latest epoch and the end tell, with these two.
    pub(super) archive: Option<(i32, i64, Vec<CommittedRecord>)>,
}

/// What an election has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Election {
    Kept,
    Clean,
    Unclean,
    Nobody,
}

impl Topic {
    pub(super) fn held_until_ms(&self, partition: i32) -> u64 {
        self.partitions.get(partition as usize).map_or(0, |truth| truth.held_until_ms)
    }

    /// R35.
    pub(super) fn min_in_sync(&self) -> usize {
        self.spec.min_insync_replicas.min(self.spec.replication_factor).max(1) as usize
    }
}

impl Cluster {
    /// The number of the topic that has this name now.
    pub(super) fn topic_named(&self, name: &str) -> Option<usize> {
        self.by_id.get(&self.image.topic(name)?.id).copied()
    }

    fn partition(&self, key: Key) -> Option<&PartitionImage> {
        self.image.topic_by_id(self.topics.get(key.0)?.id)?.partition(key.1)
    }

    /// Changes what the controller knows. Nobody learns of it before [`publish`](Cluster::publish).
    fn change(&mut self) -> &mut MetadataImage {
        Arc::make_mut(&mut self.image)
    }

    fn change_partition<R>(&mut self, key: Key, f: impl FnOnce(&mut PartitionImage) -> R) -> Option<R> {
        let id = self.topics.get(key.0)?.id;
        let mut topic = TopicImage::clone(self.image.topic_by_id(id)?);
        let result = f(topic.partitions.get_mut(usize::try_from(key.1).ok()?)?);
        self.change().put_topic(topic);
        Some(result)
    }

    /// Sends what has changed to all brokers.
    pub(super) fn publish(&mut self) {
        self.change().offset += 1;
        for index in 0..self.brokers.len() {
            let at_ms = self.now_ms + self.within(self.config.metadata_delay_ms);
            let broker = &self.brokers[index];
            let learn =
                Action::Learn { node: broker.node, life: broker.life, image: Arc::clone(&self.image) };
            if broker.is_running() {
                self.timers.order(at_ms, learn);
            }
        }
    }

    /// Creates a topic, unless one of its name is there. Its replicas lie on neighbouring brokers, from a random one on. While all brokers
    /// are fenced nothing is created (C3), and whoever wants the topic asks again.
    pub(super) fn create_topic(&mut self, spec: &TopicSpec) {
        if self.image.topic(&spec.name).is_some() {
            return;
        }
        if (1..=self.config.brokers).all(|node| !self.image.is_alive(node)) {
            let again = Action::Create { spec: Box::new(spec.clone()) };
            self.timers.order(self.now_ms + CREATE_AGAIN_MS, again);
            return;
        }
        let id = Uuid(self.rng.u128(1..).to_be_bytes());
        let spec = TopicSpec {
            replication_factor: spec.replication_factor.clamp(1, self.config.brokers),
            ..spec.clone()
        };
        self.note(|| format!("{} is created with id {id}", spec.name));
        let topic = TopicImage {
            name: spec.name.as_str().into(),
            id,
            partitions: Vec::new(),
            configs: [(MAX_MESSAGE_BYTES.to_owned(), spec.max_message_bytes.to_string())].into(),
        };
        let partitions = spec.partitions;
        self.by_id.insert(id, self.topics.len());
        self.topics.push(Topic { spec, id, deleted: false, partitions: Vec::new() });
        self.change().put_topic(topic);
        self.add_partitions(id, partitions);
    }

    fn add_partitions(&mut self, id: Uuid, count: i32) {
        let Some(topic) = self.image.topic_by_id(id) else { return };
        let mut topic = TopicImage::clone(topic);
        let known = &mut self.topics[self.by_id[&id]];
        let (brokers, factor) = (self.config.brokers, known.spec.replication_factor);
        let first = self.rng.i32(0..brokers);
        for index in 0..count {
            known.partitions.push(Truth::default());
            let mut replicas: Vec<i32> = (0..factor).map(|i| (first + index + i) % brokers + 1).collect();
            // C3: the first replica is on a broker that is not fenced
            if !replicas.iter().any(|node| self.image.is_alive(*node))
                && let Some(alive) = (1..=brokers).find(|node| self.image.is_alive(*node))
            {
                replicas[0] = alive;
            }
            let isr: Vec<i32> = replicas.iter().copied().filter(|node| self.image.is_alive(*node)).collect();
            topic.partitions.push(PartitionImage {
                leader: isr.first().copied().unwrap_or(NO_LEADER),
                directories: vec![Uuid::ZERO; replicas.len()],
                elr: if isr.is_empty() { replicas.clone() } else { Vec::new() },
                replicas,
                isr,
                removing_replicas: Vec::new(),
                adding_replicas: Vec::new(),
                last_known_elr: Vec::new(),
                leader_recovery_state: LeaderRecoveryState::Recovered,
                leader_epoch: 0,
                partition_epoch: 0,
            });
        }
        self.change().put_topic(topic);
        self.publish();
    }

    pub(super) fn grow_topic(&mut self, name: &str) {
        if let Some(id) = self.image.topic(name).map(|topic| topic.id) {
            self.topics[self.by_id[&id]].spec.partitions += 1;
            self.add_partitions(id, 1);
        }
    }

    pub(super) fn delete_topic(&mut self, name: &str) -> Option<TopicSpec> {
        let id = self.image.topic(name)?.id;
        let number = *self.by_id.get(&id)?;
        self.note(|| format!("{name} with id {id} is deleted"));
        self.counts.topics_deleted += 1;
        for partition in 0..self.topics[number].partitions.len() {
            for node in 1..=self.config.brokers {
                self.archive(node, (number, partition as i32));
            }
        }
        self.topics[number].deleted = true;
        self.change().remove_topic(id);
        self.publish();
        Some(self.topics[number].spec.clone())
    }

    pub(super) fn limit_batches(&mut self, name: &str, bytes: u32) {
        let Some(topic) = self.image.topic(name) else { return };
        let mut topic = TopicImage::clone(topic);
        topic.configs.insert(MAX_MESSAGE_BYTES.to_owned(), bytes.to_string());
        self.change().put_topic(topic);
        self.publish();
    }

    pub(super) fn hold_followers(&mut self, name: &str, partition: i32, until_ms: u64) {
        let Some(number) = self.topic_named(name) else { return };
        if let Some(truth) = self.topics[number].partitions.get_mut(partition as usize) {
            truth.held_until_ms = until_ms;
        }
    }

    pub(super) fn release_followers(&mut self) {
        for truth in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            truth.held_until_ms = 0;
        }
    }

    /// All partitions of topics that are there.
    fn all_partitions(&self) -> Vec<Key> {
        let alive = self.topics.iter().enumerate().filter(|(_, topic)| !topic.deleted);
        alive
            .flat_map(|(number, topic)| (0..topic.partitions.len() as i32).map(move |p| (number, p)))
            .collect()
    }

    /// Another in-sync replica becomes the leader, as in a preferred election.
    pub(super) fn move_leader(&mut self, name: &str, partition: i32) {
        let Some(number) = self.topic_named(name) else { return };
        let key = (number, partition);
        let Some(now) = self.partition(key) else { return };
        let others: Vec<i32> =
            now.isr.iter().copied().filter(|node| *node != now.leader && self.may_lead(*node)).collect();
        let Some(leader) = self.rng.choice(others) else { return };
        self.change_partition(key, |partition| {
            partition.leader = leader;
            partition.leader_epoch += 1;
            partition.partition_epoch += 1;
        });
        self.counts.leader_moves += 1;
        self.note(|| format!("broker {leader} is to lead {name}-{partition}"));
        self.publish();
    }

    /// C15: unfenced, its disk in order.
    fn may_lead(&self, node: i32) -> bool {
        self.image.is_alive(node) && self.broker(node).is_some_and(|broker| !broker.disk_is_known_bad)
    }

    /// C12: a broker leaves every in-sync set, and others lead. C8: after an unclean stop it is no eligible replica, either.
    fn leave_all(&mut self, node: i32, unclean: bool) {
        for key in self.all_partitions() {
            let min_in_sync = self.topics[key.0].min_in_sync();
            let Some(partition) = self.partition(key) else { continue };
            let concerned =
                partition.is_in_sync(node) || partition.leader == node || partition.elr.contains(&node);
            if !concerned {
                continue;
            }
            self.change_partition(key, |partition| {
                let before = partition.isr.clone();
                partition.isr.retain(|member| *member != node);
                settle_eligible(partition, &before, min_in_sync, unclean.then_some(node));
                partition.partition_epoch += 1;
            });
            self.elect(key);
        }
    }

    /// C15 to C18.
    fn elect(&mut self, key: Key) {
        let Some(partition) = self.partition(key) else { return };
        let able: Vec<i32> = partition.replicas.iter().copied().filter(|node| self.may_lead(*node)).collect();
        let unclean = self.config.unclean_elections;
        let (before, name) = (partition.leader, self.topics[key.0].spec.name.clone());
        let elected = self.change_partition(key, |partition| {
            let election = choose(partition, &able, unclean);
            (election, partition.leader, partition.leader_epoch)
        });
        let Some((election, leader, epoch)) = elected else { return };
        match election {
            Election::Kept | Election::Nobody => {}
            Election::Clean => self.counts.leader_moves += u64::from(before != NO_LEADER),
            Election::Unclean => {
                self.counts.unclean_elections += 1;
                self.topics[key.0].partitions[key.1 as usize].unclean_epoch = Some(epoch);
            }
        }
        if before != leader {
            self.note(|| {
                format!(
                    "{name}-{}: broker {before} led, {leader} is to in epoch {epoch} ({election:?})",
                    key.1
                )
            });
        }
    }

    fn elect_leaderless(&mut self) {
        for key in self.all_partitions() {
            if self.partition(key).is_some_and(|partition| !partition.has_leader()) {
                self.elect(key);
            }
        }
    }

    /// C11.
    pub(super) fn session_ends(&mut self, node: i32, silence: u64) {
        let silent = self
            .broker(node)
            .is_some_and(|broker| broker.silence == silence && !broker.is_heard(self.now_ms));
        if silent && self.image.is_alive(node) {
            self.fence(node);
            self.publish();
        }
    }

    fn fence(&mut self, node: i32) {
        self.note(|| format!("the controller fences broker {node}"));
        self.set_fenced(node, true);
        self.leave_all(node, false);
    }

    fn set_fenced(&mut self, node: i32, fenced: bool) {
        let Some(broker) = self.broker(node) else { return };
        let registration = BrokerImage {
            id: node,
            epoch: i64::from(broker.life),
            incarnation_id: Uuid::ZERO,
            end_points: vec![EndPoint {
                name: LISTENER.to_owned(),
                host: broker.host(),
                port: broker.port,
                security_protocol: 0,
            }],
            features: std::collections::BTreeMap::new(),
            rack: None,
            fenced,
            in_controlled_shutdown: false,
            log_dirs: Vec::new(),
            cordoned_log_dirs: Vec::new(),
            registration_offset: -1,
        };
        self.change().brokers.insert(node, Arc::new(registration));
    }

    /// C8, C10, C13: a broker is heard of (again).
    pub(super) fn register(&mut self, node: i32, life: u32) {
        let now_ms = self.now_ms;
        let Some(broker) = self.broker_mut(node) else { return };
        if broker.life != life || !broker.is_heard(now_ms) {
            return;
        }
        let is_new = broker.registered_life != Some(life);
        broker.registered_life = Some(life);
        let unclean = is_new && std::mem::take(&mut broker.lost_data);
        if is_new {
            broker.disk_is_known_bad = false;
            // C8: the old incarnation leaves first
            self.set_fenced(node, true);
            self.leave_all(node, unclean);
        }
        self.note(|| format!("the controller unfences broker {node}"));
        self.set_fenced(node, false);
        self.elect_leaderless();
        self.publish();
    }

    /// D30: the controller is told of a failed disk: others lead.
    pub(super) fn disk_failed(&mut self, node: i32, life: u32) {
        let Some(broker) = self.broker_mut(node).filter(|broker| broker.life == life) else { return };
        broker.disk_is_known_bad = true;
        self.leave_all(node, false);
        self.publish();
    }

    /// All brokers registered, all topics created, everything known to everybody.
    pub(super) fn bootstrap(&mut self) {
        for node in 1..=self.config.brokers {
            self.set_fenced(node, false);
        }
        let topics = std::mem::take(&mut self.config.topics);
        for topic in &topics {
            self.create_topic(topic);
        }
        self.config.topics = topics;
    }

    /// 13.4.
    pub(super) fn alter_isr(
        &mut self,
        node: i32,
        key: Key,
        leader_epoch: i32,
        partition_epoch: i32,
        isr: &[(i32, u32)],
    ) {
        let Some(partition) = self.partition(key) else { return };
        if leader_epoch != partition.leader_epoch
            || partition.leader != node
            || partition_epoch != partition.partition_epoch
        {
            return; // R9: metadata will tell the leader
        }
        let eligible = |(member, life): &(i32, u32)| {
            self.may_lead(*member)
                && self.broker(*member).is_some_and(|b| *life == 0 || b.registered_life == Some(*life))
        };
        let members: Vec<i32> = isr.iter().map(|(member, _)| *member).collect();
        let accepted = isr.iter().all(eligible);
        let mut epoch = partition_epoch;
        if accepted {
            let before = partition.isr.clone();
            self.counts.isr_shrinks += u64::from(members.len() < before.len());
            self.counts.isr_grows += u64::from(members.len() > before.len());
            let min_in_sync = self.topics[key.0].min_in_sync();
            self.note(|| format!("in sync for {key:?}: {members:?}, before {before:?}"));
            self.change_partition(key, |partition| {
                partition.isr.clone_from(&members);
                settle_eligible(partition, &before, min_in_sync, None);
                partition.partition_epoch += 1;
                epoch = partition.partition_epoch;
            });
            self.publish();
        }
        let at_ms = self.now_ms + self.within(self.config.link_ms);
        let Some(life) = self.broker(node).map(|broker| broker.life) else { return };
        let isr = accepted.then_some(members);
        let partition_epoch = epoch;
        self.timers.order(at_ms, Action::IsrAltered { node, life, key, leader_epoch, partition_epoch, isr });
    }

    /// A leader has committed up to here. What a deposed one believes does not count.
    pub(super) fn note_committed(&mut self, key: Key, leader_epoch: i32, high_watermark: i64) {
        let Some(partition) = self.partition(key).filter(|p| p.leader_epoch == leader_epoch) else { return };
        let node = partition.leader;
        let truth = &mut self.topics[key.0].partitions[key.1 as usize];
        truth.committed = truth.committed.max(high_watermark);
        // within a leader's time its epochs do not change
        if truth.epochs.last().is_none_or(|(epoch, _)| *epoch != leader_epoch)
            && let Some(log) = self.brokers.iter().find(|broker| broker.node == node)
            && let Some(log) = log.replicas.get(&key).and_then(|replica| replica.log.as_ref())
        {
            truth.epochs = log.epochs().to_vec();
        }
    }

    /// A broker takes over in this epoch, with a log that ends here.
    pub(super) fn note_leader(&mut self, node: i32, key: Key, leader_epoch: i32, log_end: i64) {
        if self.partition(key).is_none_or(|partition| partition.leader_epoch != leader_epoch) {
            return; // it learns too late: somebody else leads already
        }
        let at_ms = self.now_ms;
        let log = self.broker(node).and_then(|broker| broker.replicas.get(&key)?.log.as_ref());
        let epochs = log.map_or_else(Vec::new, |log| log.epochs().to_vec());
        let Topic { spec, id, partitions, .. } = &mut self.topics[key.0];
        let truth = &mut partitions[key.1 as usize];
        // an earlier unclean election whose leader never took over counts, too
        let unclean = truth.unclean_epoch.is_some_and(|epoch| epoch <= leader_epoch);
        if unclean {
            truth.unclean_epoch = None;
            let kept = agreement(&truth.epochs, truth.committed, &epochs, log_end);
            self.losses.push(Loss {
                at_ms,
                topic: spec.name.clone(),
                topic_id: *id,
                partition: key.1,
                kept,
                committed: truth.committed,
            });
            truth.committed = kept;
            truth.epochs = epochs;
        }
        assert!(
            log_end.max(0) >= truth.committed, // -1: its disk has failed, and it has no log
            "invariant: a clean election loses nothing committed; broker {node} leads {}-{} in epoch {leader_epoch} with a log \
             that ends at {log_end}, {} were committed",
            spec.name,
            key.1,
            truth.committed
        );
    }
}

/// Up to where two logs, given by their leader epochs and their ends, are the same: an epoch's records lie in both in the same order.
fn agreement(a: &[(i32, i64)], a_end: i64, b: &[(i32, i64)], b_end: i64) -> i64 {
    let end_of =
        |epochs: &[(i32, i64)], at: usize, end: i64| epochs.get(at + 1).map_or(end, |(_, start)| *start);
    let mut agreed = 0;
    for (at, epoch) in a.iter().enumerate() {
        let Some(other) = b.iter().position(|known| known == epoch) else { break };
        let (a_ends, b_ends) = (end_of(a, at, a_end), end_of(b, other, b_end));
        agreed = a_ends.min(b_ends).max(agreed);
        if a_ends != b_ends {
            break;
        }
    }
    agreed.min(a_end).min(b_end)
}

/// C19, and who led last when nobody is left (C17).
fn settle_eligible(partition: &mut PartitionImage, before: &[i32], min_in_sync: usize, unclean: Option<i32>) {
    if partition.isr.len() >= min_in_sync {
        partition.elr.clear();
        partition.last_known_elr.clear();
        return;
    }
    for member in before {
        if !partition.elr.contains(member) {
            partition.elr.push(*member);
        }
    }
    let PartitionImage { isr, elr, .. } = partition;
    elr.retain(|member| !isr.contains(member) && Some(*member) != unclean);
    if partition.isr.is_empty() && partition.leader != NO_LEADER {
        partition.last_known_elr = vec![partition.leader];
    }
}

/// Who is to lead. `able`: replicas that may, in the order of the assignment.
fn choose(partition: &mut PartitionImage, able: &[i32], unclean_allowed: bool) -> Election {
    let (before, has_members) = (partition.leader, !partition.isr.is_empty());
    let candidate = |node: &i32| {
        if has_members { partition.isr.contains(node) } else { partition.elr.contains(node) }
    };
    // C16
    if has_members && able.contains(&before) && candidate(&before) {
        return Election::Kept;
    }
    let clean = able.iter().copied().find(candidate);
    // C17
    let last_known = match &partition.last_known_elr[..] {
        [only] if !has_members && partition.elr.is_empty() && able.contains(only) => Some(*only),
        _ => None,
    };
    let unclean = last_known.or_else(|| able.first().copied().filter(|_| unclean_allowed));
    let (election, leader) = match (clean, unclean) {
        (Some(leader), _) => (Election::Clean, leader),
        (None, Some(leader)) => (Election::Unclean, leader),
        (None, None) => (Election::Nobody, NO_LEADER),
    };
    if election == Election::Unclean {
        // C18; the recovery state is left out: nothing here depends on it
        partition.isr = vec![leader];
        partition.elr.clear();
        partition.last_known_elr.clear();
    } else if election == Election::Clean && !has_members {
        // C16
        partition.isr = vec![leader];
        partition.elr.retain(|node| *node != leader);
        partition.last_known_elr.clear();
    }
    if leader != before {
        // C1
        partition.leader = leader;
        partition.leader_epoch += 1;
        partition.partition_epoch += 1;
    } else if election == Election::Unclean {
        partition.leader_epoch += 1;
        partition.partition_epoch += 1;
    }
    election
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(isr: &[i32], elr: &[i32], leader: i32) -> PartitionImage {
        PartitionImage {
            replicas: vec![1, 2, 3],
            directories: Vec::new(),
            isr: isr.to_vec(),
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            elr: elr.to_vec(),
            last_known_elr: Vec::new(),
            leader,
            leader_recovery_state: LeaderRecoveryState::Recovered,
            leader_epoch: 4,
            partition_epoch: 9,
        }
    }

    #[test]
    fn the_first_able_member_of_the_set_leads_and_without_one_an_eligible_replica() {
        // C15, C16
        let mut kept = partition(&[2, 3], &[], 3);
        assert_eq!(
            (choose(&mut kept, &[1, 2, 3], false), kept.leader, kept.leader_epoch),
            (Election::Kept, 3, 4)
        );
        let mut moved = partition(&[2, 3], &[], 1);
        assert_eq!(
            (choose(&mut moved, &[1, 2, 3], false), moved.leader, moved.leader_epoch),
            (Election::Clean, 2, 5)
        );
        let mut eligible = partition(&[], &[1, 3], NO_LEADER);
        assert_eq!(choose(&mut eligible, &[2, 3], true), Election::Clean);
        assert_eq!((eligible.leader, &eligible.isr[..], &eligible.elr[..]), (3, &[3][..], &[1][..]));
        let mut nobody = partition(&[2], &[], 2);
        assert_eq!(
            (choose(&mut nobody, &[1, 3], false), nobody.leader, nobody.leader_epoch),
            (Election::Nobody, -1, 5)
        );
        assert_eq!(nobody.isr, [2], "it still is the one that has everything");
    }

    #[test]
    fn uncleanly_leads_the_last_known_leader_or_whoever_is_there_if_that_is_allowed() {
        // C17, C18
        let mut last = partition(&[], &[], NO_LEADER);
        last.last_known_elr = vec![3];
        assert_eq!((choose(&mut last.clone(), &[1, 2], false)), Election::Nobody);
        assert_eq!(
            (choose(&mut last, &[1, 3], false), last.leader, &last.isr[..]),
            (Election::Unclean, 3, &[3][..])
        );
        let mut any = partition(&[2], &[], 2);
        assert_eq!(
            (choose(&mut any, &[1, 3], true), any.leader, &any.isr[..]),
            (Election::Unclean, 1, &[1][..])
        );
    }

    #[test]
    fn who_leaves_a_set_that_gets_too_small_stays_eligible_unless_it_lost_data() {
        // C19
        let mut shrunk = partition(&[1], &[], 1);
        settle_eligible(&mut shrunk, &[1, 2], 2, None);
        assert_eq!(shrunk.elr, [2]);
        shrunk.isr.clear();
        settle_eligible(&mut shrunk, &[1], 2, None);
        assert_eq!((&shrunk.elr[..], &shrunk.last_known_elr[..]), (&[2, 1][..], &[1][..]));
        settle_eligible(&mut shrunk, &[], 2, Some(2));
        assert_eq!(shrunk.elr, [1]);
        shrunk.isr = vec![1, 3];
        settle_eligible(&mut shrunk, &[1], 2, None);
        assert!(shrunk.elr.is_empty());
    }

    #[test]
    fn logs_agree_up_to_where_their_epochs_part() {
        // R25
        let committed = [(0, 0), (2, 10), (3, 15)];
        assert_eq!(agreement(&committed, 20, &[(0, 0), (2, 10), (3, 15), (7, 18)], 18), 18);
        assert_eq!(agreement(&committed, 20, &[(0, 0), (2, 10), (7, 13)], 40), 13);
        assert_eq!(agreement(&committed, 20, &[(0, 0), (1, 10)], 40), 10);
        assert_eq!(
            agreement(&committed, 15, &[(0, 0), (2, 10), (7, 15)], 40),
            15,
            "an epoch without records"
        );
        assert_eq!(agreement(&committed, 20, &[(5, 0)], 40), 0);
        assert_eq!(agreement(&[], 0, &[(5, 0)], 40), 0);
    }
}
