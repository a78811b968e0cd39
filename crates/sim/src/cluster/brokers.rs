//! The brokers' processes and machines: started, killed, stopped, cut off, with disks and clocks that fail; and what each
//! believes of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use rohrpost_broker::metadata::{MetadataImage, TopicImage};
use rohrpost_log::{DirHealth, Fault as DiskFault, Log, LogConfig, MemoryStorage, OpenOptions, Storage};

use super::controller::Topic;
use super::replica::{FetchState, Replica};
use super::requests::Connection;
use super::{Action, Cluster, Event, Fault, Key, OrderedError, TopicSpec};

/// The data directory on each broker's disk.
const DATA: &str = "data";
/// The first broker's port is the next one.
const PORTS: u16 = 9_000;
/// How long a process takes to start, and to register.
const START_MS: (u64, u64) = (20, 400);
/// How long a broker takes to be heard of again.
const HEARD_MS: (u64, u64) = (5, 200);
/// How long the controller takes to hear of a failed disk.
const DISK_FAILED_MS: (u64, u64) = (5, 300);

/// One broker.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) node: i32,
    pub(super) port: u16,
    state: State,
    /// Counts processes: what was ordered for an earlier one is void.
    pub(super) life: u32,
    /// The process that the controller knows.
    pub(super) registered_life: Option<u32>,
    /// The machine has lost what was not synced, and the controller does not know yet (C9).
    pub(super) lost_data: bool,
    disk_failed: bool,
    pub(super) disk_is_known_bad: bool,
    storage: MemoryStorage,
    health: DirHealth,
    pub(super) image: Arc<MetadataImage>,
    pub(super) replicas: BTreeMap<Key, Replica>,
    pub(super) connections: BTreeMap<u64, Connection>,
    paused_until_ms: u64,
    isolated_until_ms: u64,
    stale_until_ms: u64,
    /// Counts the times that it fell silent, or was heard of again.
    pub(super) silence: u64,
    /// How wrong its clock is.
    clock_error_ms: i64,
    pub(super) orders: Orders,
}

/// What faults have ordered for the next requests.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) produce_max_version: i16,
    pub(super) cut_after_append: u32,
    pub(super) cut_before_append: u32,
    pub(super) lose_answer: u32,
    pub(super) empty_metadata: u32,
    /// Throttle time, and how many answers.
    pub(super) throttle: (u32, u32),
    /// Delay, and until when.
    pub(super) slow_answers: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Dead,
    /// The process runs, and takes no connections yet (N14).
    Starting,
    Up,
}

impl Broker {
    pub(super) fn new(node: i32, image: Arc<MetadataImage>, produce_max_version: i16) -> Broker {
        let storage = MemoryStorage::new();
        // a new storage has no faults yet, so these do not fail
        let _ = storage.create_dir(DATA).and_then(|()| storage.sync_dir(""));
        Broker {
            node,
            port: PORTS + node as u16,
            state: State::Dead,
            life: 0,
            registered_life: None,
            lost_data: false,
            disk_failed: false,
            disk_is_known_bad: false,
            storage,
            health: DirHealth::new(),
            image,
            replicas: BTreeMap::new(),
            connections: BTreeMap::new(),
            paused_until_ms: 0,
            isolated_until_ms: 0,
            stale_until_ms: 0,
            silence: 0,
            clock_error_ms: 0,
            orders: Orders { produce_max_version, ..Orders::default() },
        }
    }

    pub(super) fn host(&self) -> String {
        format!("broker-{}", self.node)
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(super) fn is_running(&self) -> bool {
        self.state != State::Dead
    }

    /// Its process runs and does not stand still.
    pub(super) fn acts(&self, now_ms: u64) -> bool {
        self.is_running() && self.paused_until_ms <= now_ms
    }

    /// Its heartbeats reach the controller.
    pub(super) fn is_heard(&self, now_ms: u64) -> bool {
        self.acts(now_ms) && self.isolated_until_ms <= now_ms
    }
}

impl Cluster {
    pub(super) fn start_all(&mut self) {
        for broker in &mut self.brokers {
            broker.state = State::Up;
            broker.life = 1;
            broker.registered_life = Some(1);
        }
        self.bootstrap();
        for node in 1..=self.config.brokers {
            let image = Arc::clone(&self.image);
            self.learn(node, 1, image);
        }
        self.timers.order(self.now_ms + self.config.replica_lag_ms / 2, Action::CheckInSync);
        self.timers.order(self.now_ms + self.config.sync_ms.max(1), Action::Sync);
    }

    /// What a broker's clock shows, ms since 1970.
    pub(super) fn wall_ms(&self, node: i32) -> i64 {
        let error_ms = self.broker(node).map_or(0, |broker| broker.clock_error_ms);
        self.config.wall_clock_ms + self.now_ms as i64 + error_ms
    }

    /// Two brokers can talk to each other.
    pub(super) fn linked(&self, a: i32, b: i32) -> bool {
        [a, b].iter().all(|node| self.broker(*node).is_some_and(|broker| broker.is_heard(self.now_ms)))
    }

    pub(super) fn reaches_controller(&self, node: i32) -> bool {
        self.broker(node).is_some_and(|broker| broker.is_heard(self.now_ms))
    }

    /// The broker of an action that its process does, and when that process goes on, if it stands still.
    pub(super) fn stands_still(&self, action: &Action) -> Option<(i32, u64)> {
        let node = match action {
            Action::Fetch { node, .. }
            | Action::FetchAnswer { node, .. }
            | Action::IsrAltered { node, .. }
            | Action::Learn { node, .. }
            | Action::Deadline { node, .. }
            | Action::Unblock { node, .. } => *node,
            _ => return None,
        };
        let broker = self.broker(node)?;
        // what comes from the controller does not arrive while it is cut off
        let until_ms = match action {
            Action::Learn { .. } => {
                broker.paused_until_ms.max(broker.isolated_until_ms).max(broker.stale_until_ms)
            }
            Action::IsrAltered { .. } => broker.paused_until_ms.max(broker.isolated_until_ms),
            _ => broker.paused_until_ms,
        };
        (until_ms > self.now_ms).then_some((node, until_ms))
    }

    /// A fault happens.
    pub fn apply(&mut self, fault: &Fault, now_ms: u64) {
        self.run(now_ms);
        self.note(|| fault.to_string());
        *self.counts.faults.entry(fault.kind()).or_default() += 1;
        let until = |ms: &u64| now_ms + ms;
        match fault {
            Fault::Kill { node } => self.kill(*node),
            Fault::Restart { node, lose_page_cache } => self.start(*node, *lose_page_cache),
            Fault::Pause { node, ms } => self.interrupt(*node, until(ms), |b| &mut b.paused_until_ms),
            Fault::Isolate { node, ms } => self.interrupt(*node, until(ms), |b| &mut b.isolated_until_ms),
            Fault::StaleMetadata { node, ms } => {
                if let Some(broker) = self.broker_mut(*node) {
                    broker.stale_until_ms = until(ms);
                }
            }
            Fault::MoveLeader { topic, partition } => self.move_leader(topic, *partition),
            Fault::ShrinkIsr { topic, partition, ms } => self.hold_followers(topic, *partition, until(ms)),
            Fault::SlowReplication { delay_ms, ms } => self.slow_followers = (*delay_ms, until(ms)),
            Fault::Error { api, partition, code, after_append, times } => self.errors.push(OrderedError {
                api: *api,
                partition: partition.clone(),
                code: *code,
                after_append: *after_append && Fault::may_follow_append(*code),
                times: *times,
            }),
            Fault::RejectRecords { topic, partition, times } => {
                self.rejections.push((topic.clone(), *partition, *times));
            }
            Fault::EmptyMetadata { node, times } => {
                self.order(*node, |orders| orders.empty_metadata = *times)
            }
            Fault::MoveAddress { node } => {
                if let Some(broker) = self.broker_mut(*node) {
                    broker.port += 100;
                }
                self.restart_soon(*node);
            }
            Fault::Upgrade { node, produce_max_version } => {
                self.order(*node, |orders| orders.produce_max_version = *produce_max_version);
                self.restart_soon(*node);
            }
            Fault::GrowTopic { topic } => self.grow_topic(topic),
            Fault::DeleteTopic { topic } => {
                self.delete_topic(topic);
            }
            Fault::CreateTopic { topic } => self.create_again(topic),
            Fault::RecreateTopic { topic } => {
                self.delete_topic(topic);
                self.create_again(topic);
            }
            Fault::LimitBatches { topic, bytes } => self.limit_batches(topic, *bytes),
            Fault::ForgetProducers => {
                let replicas = self.brokers.iter_mut().flat_map(|broker| broker.replicas.values_mut());
                for log in replicas.filter_map(|replica| replica.log.as_mut()) {
                    log.expire_producers(i64::MAX, 0);
                }
            }
            Fault::Throttle { node, ms, times } => {
                self.order(*node, |orders| orders.throttle = (*ms, *times))
            }
            Fault::CutAfterAppend { node, times } => {
                self.order(*node, |orders| orders.cut_after_append = *times);
            }
            Fault::CutBeforeAppend { node, times } => {
                self.order(*node, |orders| orders.cut_before_append = *times);
            }
            Fault::LoseAnswer { node, times } => self.order(*node, |orders| orders.lose_answer = *times),
            Fault::ClockJump { node, ms } => {
                if let Some(broker) = self.broker_mut(*node) {
                    broker.clock_error_ms += ms;
                }
            }
            Fault::DiskFailure { node } => {
                if let Some(broker) = self.broker_mut(*node) {
                    broker.storage.inject(DiskFault::FailWrite(1));
                }
            }
            Fault::SlowAnswers { node, delay_ms, ms } => {
                self.order(*node, |orders| orders.slow_answers = (*delay_ms, until(ms)));
            }
        }
    }

    /// Everything is well again: all brokers run, hear each other and have their time, no order is left. Topics that were deleted
    /// stay so. In-sync sets are full some time later.
    pub fn heal(&mut self, now_ms: u64) {
        self.run(now_ms);
        self.note(|| "all is well again".to_owned());
        self.slow_followers = (0, 0);
        self.errors.clear();
        self.rejections.clear();
        self.release_followers();
        for node in 1..=self.config.brokers {
            let Some(broker) = self.broker_mut(node) else { continue };
            let produce_max_version = broker.orders.produce_max_version;
            broker.orders = Orders { produce_max_version, ..Orders::default() };
            broker.clock_error_ms = 0;
            broker.storage.clear_faults();
            broker.stale_until_ms = 0;
            (broker.paused_until_ms, broker.isolated_until_ms) = (0, 0);
            if broker.disk_failed {
                self.kill(node);
            }
            self.start(node, false);
            self.wake(node);
        }
        // what was put off until an interruption would have ended comes at once
        for node in 1..=self.config.brokers {
            let Some(life) = self.broker(node).map(|broker| broker.life) else { continue };
            self.timers.order(now_ms, Action::Learn { node, life, image: Arc::clone(&self.image) });
            let keys: Vec<Key> =
                self.broker(node).map_or_else(Vec::new, |b| b.replicas.keys().copied().collect());
            for key in keys {
                let follows = self
                    .broker(node)
                    .and_then(|b| b.replicas.get(&key))
                    .is_some_and(|r| !r.is_leader && r.fetching.state != FetchState::Off);
                if follows {
                    self.restart_fetching(node, key);
                }
            }
        }
    }

    fn order(&mut self, node: i32, f: impl FnOnce(&mut Orders)) {
        if let Some(broker) = self.broker_mut(node) {
            f(&mut broker.orders);
        }
    }

    fn create_again(&mut self, name: &str) {
        let spec = self.topics.iter().rev().map(|topic| &topic.spec).find(|spec| spec.name == name).cloned();
        let like_default = || TopicSpec { name: name.to_owned(), ..TopicSpec::default() };
        self.create_topic(&spec.unwrap_or_else(like_default));
    }

    fn interrupt(&mut self, node: i32, until_ms: u64, what: impl FnOnce(&mut Broker) -> &mut u64) {
        let Some(broker) = self.broker_mut(node).filter(|broker| broker.is_running()) else { return };
        let ends_ms = what(broker);
        *ends_ms = until_ms.max(*ends_ms);
        self.timers.order(until_ms, Action::Wake { node });
        self.fall_silent(node);
    }

    /// From now on the controller hears nothing of this broker.
    fn fall_silent(&mut self, node: i32) {
        let timeout_ms = self.config.session_timeout_ms;
        // the last heartbeat was some time ago
        let at_ms = self.now_ms + self.within((timeout_ms - timeout_ms / 4, timeout_ms));
        let Some(broker) = self.broker_mut(node) else { return };
        broker.silence += 1;
        let silence = broker.silence;
        self.timers.order(at_ms, Action::SessionEnds { node, silence });
    }

    /// A pause or isolation may have ended.
    pub(super) fn wake(&mut self, node: i32) {
        let now_ms = self.now_ms;
        let Some(broker) = self.broker_mut(node) else { return };
        if !broker.acts(now_ms) {
            return;
        }
        let life = broker.life;
        if broker.is_heard(now_ms) {
            broker.silence += 1;
            // C8: a process that stood still when it was to register does so now, though the controller may take its predecessor for alive
            let is_new = broker.registered_life != Some(life);
            let at_ms = now_ms + self.within(HEARD_MS);
            if is_new || !self.image.is_alive(node) {
                self.timers.order(at_ms, Action::Register { node, life });
            }
        }
        let connections: Vec<u64> =
            self.broker(node).map_or_else(Vec::new, |b| b.connections.keys().copied().collect());
        for connection in connections {
            self.pump(node, connection);
        }
    }

    /// The process is gone from one moment to the next.
    fn kill(&mut self, node: i32) {
        let Some(broker) = self.broker_mut(node).filter(|broker| broker.is_running()) else { return };
        broker.state = State::Dead;
        broker.life += 1;
        broker.storage.kill();
        (broker.paused_until_ms, broker.isolated_until_ms) = (0, 0);
        for replica in broker.replicas.values_mut() {
            replica.log = None;
            replica.is_leader = false;
            replica.fetching.state = FetchState::Off;
        }
        let connections = std::mem::take(&mut broker.connections);
        for connection in connections.into_keys() {
            self.cut(node, connection);
        }
        self.fall_silent(node);
    }

    /// The client's side learns that a connection is closed.
    pub(super) fn cut(&mut self, node: i32, connection: u64) {
        self.counts.cuts += 1;
        self.out.push(Event::Cut { node, connection });
    }

    fn restart_soon(&mut self, node: i32) {
        self.kill(node);
        let at_ms = self.now_ms + self.within(START_MS);
        self.timers.order(at_ms, Action::Start { node });
    }

    /// A process starts on what the last one has left (D15 to D19).
    pub(super) fn start(&mut self, node: i32, lose_page_cache: bool) {
        let at_ms = self.now_ms + self.within(START_MS);
        let seed = self.rng.u64(..);
        let mut tails = fastrand::Rng::with_seed(seed);
        let segment_bytes = self.config.segment_bytes;
        let wall_ms = self.wall_ms(node);
        let Cluster { brokers, topics, .. } = self;
        let Some(broker) = brokers.iter_mut().find(|b| b.node == node && b.state == State::Dead) else {
            return;
        };
        if lose_page_cache {
            // of what was not synced, some may have been written all the same
            broker.storage.power_loss_keeping(
                |_, unsynced| {
                    if tails.bool() { 0 } else { tails.u64(0..=unsynced) }
                },
            );
            broker.lost_data = true;
        }
        broker.storage.clear_faults();
        broker.state = State::Starting;
        broker.health = DirHealth::new();
        broker.disk_failed = false;
        for (key, replica) in &mut broker.replicas {
            let config = log_config(&topics[key.0], segment_bytes);
            let log = open_log(&broker.storage, &broker.health, &replica.dir, config, wall_ms, seed);
            let end = log.as_ref().map_or(0, Log::log_end_offset);
            replica.high_watermark = replica.checkpointed.min(end); // D19
            // roles come with metadata, in an epoch that was not known yet
            (replica.leader, replica.leader_epoch, replica.partition_epoch) = (-1, -1, -1);
            replica.followers.clear();
            replica.wanted = None;
            replica.log = log;
        }
        let life = broker.life;
        broker.image = Arc::new(MetadataImage::empty(&broker.image.cluster_id));
        self.timers.order(at_ms, Action::Register { node, life });
    }

    /// A write has failed: the directory is offline (D30).
    pub(super) fn note_disk_failure(&mut self, node: i32) {
        let at_ms = self.now_ms + self.within(DISK_FAILED_MS);
        let Some(broker) = self.broker_mut(node) else { return };
        if !broker.health.is_offline() || std::mem::replace(&mut broker.disk_failed, true) {
            return;
        }
        let life = broker.life;
        self.note(|| format!("the disk of broker {node} has failed"));
        self.timers.order(at_ms, Action::DiskFailed { node, life });
        let keys: Vec<Key> =
            self.broker(node).map_or_else(Vec::new, |b| b.replicas.keys().copied().collect());
        for key in keys {
            self.look_at_waiters(node, key); // W7
        }
    }

    /// Page caches reach the disk, one broker at a time; high watermarks are checkpointed.
    pub(super) fn sync(&mut self) {
        self.timers.order(self.now_ms + self.config.sync_ms.max(1), Action::Sync);
        let node = self.rng.i32(1..=self.config.brokers);
        let now_ms = self.now_ms;
        let Some(broker) = self.broker_mut(node).filter(|broker| broker.acts(now_ms)) else { return };
        for replica in broker.replicas.values_mut() {
            replica.checkpointed = replica.high_watermark;
            if let Some(log) = replica.log.as_mut() {
                // of a failed disk nothing more is synced
                let _ = log.flush();
            }
        }
    }

    /// Metadata arrives at a broker. What is older than what it knows is ignored.
    pub(super) fn learn(&mut self, node: i32, life: u32, image: Arc<MetadataImage>) {
        let Some(broker) = self.broker_mut(node).filter(|broker| broker.life == life) else { return };
        if image.offset <= broker.image.offset {
            return;
        }
        // C10: a new process does nothing before it knows of its own registration, and serves once it is not fenced
        let Some(registration) = image.broker(node).filter(|own| own.epoch == i64::from(life)) else {
            return;
        };
        let before = std::mem::replace(&mut broker.image, Arc::clone(&image));
        if broker.state == State::Starting && !registration.fenced {
            broker.state = State::Up;
        }
        for topic in image.topics() {
            let known = before.topic_by_id(topic.id);
            if known.is_none_or(|known| !Arc::ptr_eq(known, topic)) {
                self.follow_topic(node, topic);
            }
        }
        self.drop_deleted(node);
        if before.brokers == image.brokers {
            return;
        }
        // brokers that are fenced, or not any more, change whom the high watermark waits for (R10)
        let leads: Vec<Key> = self.broker(node).map_or_else(Vec::new, |broker| {
            broker.replicas.iter().filter(|(_, r)| r.is_leader).map(|(key, _)| *key).collect()
        });
        for key in leads {
            self.raise(node, key);
            self.grow_by_waiting(node, key);
        }
    }

    fn follow_topic(&mut self, node: i32, image: &TopicImage) {
        let Some(&number) = self.by_id.get(&image.id) else { return };
        for (index, partition) in image.partitions.iter().enumerate() {
            let key = (number, index as i32);
            if !partition.has_replica(node) {
                continue;
            }
            self.open_if_new(node, key);
            let (now_ms, min_in_sync) = (self.now_ms, self.topics[number].min_in_sync());
            let mut config = log_config(&self.topics[number], self.config.segment_bytes);
            for (name, value) in &image.configs {
                // only what the model itself has set is there
                let _ = config.set(name, value);
            }
            let Some(replica) = self.broker_mut(node).and_then(|b| b.replicas.get_mut(&key)) else {
                continue;
            };
            let (epoch, was_leader, before) = (replica.leader_epoch, replica.is_leader, replica.leader);
            if let Some(log) = replica.log.as_mut() {
                log.set_config(config);
            }
            if partition.partition_epoch <= replica.partition_epoch && partition.leader_epoch <= epoch {
                continue; // R3; the leader may know it already
            }
            let leads = replica.follow(node, partition, min_in_sync, now_ms);
            if leads {
                let end = replica.end();
                let assigned = replica.log.as_mut().map(|log| log.assign_epoch(partition.leader_epoch));
                if matches!(assigned, Some(Err(_))) {
                    self.note_disk_failure(node);
                }
                self.note_leader(node, key, partition.leader_epoch, end);
            }
            let now = self.broker(node).and_then(|b| b.replicas.get(&key));
            let Some((is_leader, leader)) = now.map(|r| (r.is_leader, r.leader)) else { continue };
            if is_leader {
                self.raise(node, key);
                self.grow_by_waiting(node, key);
            } else if partition.leader_epoch > epoch || was_leader || leader != before {
                self.restart_fetching(node, key); // R17
            }
            self.look_at_waiters(node, key);
        }
    }

    fn open_if_new(&mut self, node: i32, key: Key) {
        let segment_bytes = self.config.segment_bytes;
        let (seed, wall_ms) = (self.rng.u64(..), self.wall_ms(node));
        let topic = &self.topics[key.0];
        let config = log_config(topic, segment_bytes);
        let dir = format!("{DATA}/{}.{}-{}", topic.spec.name, key.0, key.1);
        let Some(broker) = self.broker_mut(node) else { return };
        if broker.replicas.contains_key(&key) {
            return;
        }
        let mut log = open_log(&broker.storage, &broker.health, &dir, config, wall_ms, seed);
        // the directory and its first file stay when the power goes
        let _ = broker.storage.sync_dir(DATA);
        if let Some(log) = &mut log {
            let _ = log.flush();
        }
        broker.replicas.insert(key, Replica::new(dir, log));
        self.note_disk_failure(node);
    }

    /// D26, W7.
    fn drop_deleted(&mut self, node: i32) {
        let Some(broker) = self.broker(node) else { return };
        let gone = |key: &Key| broker.image.topic_by_id(self.topics[key.0].id).is_none();
        let keys: Vec<Key> =
            broker.replicas.iter().filter(|(key, r)| !r.deleted && gone(key)).map(|(key, _)| *key).collect();
        for key in keys {
            self.archive(node, key);
            if let Some(replica) = self.broker_mut(node).and_then(|b| b.replicas.get_mut(&key)) {
                replica.deleted = true;
                replica.is_leader = false;
                replica.fetching.generation += 1;
                replica.fetching.state = FetchState::Off;
            }
            self.look_at_waiters(node, key);
            if let Some(broker) = self.broker_mut(node) {
                broker.replicas.remove(&key);
            }
        }
    }
}

fn log_config(topic: &Topic, segment_bytes: u32) -> LogConfig {
    LogConfig {
        segment_bytes,
        max_message_bytes: topic.spec.max_message_bytes,
        log_append_time: topic.spec.log_append_time,
        index_interval_bytes: 1_024,
        ..LogConfig::default()
    }
}

/// Opens a log. `None`: the disk has failed.
fn open_log(
    storage: &MemoryStorage,
    health: &DirHealth,
    dir: &str,
    config: LogConfig,
    now_ms: i64,
    seed: u64,
) -> Option<Log> {
    let options = OpenOptions { now_ms, health: health.clone(), seed, ..OpenOptions::default() };
    let log = Log::open(Arc::new(storage.clone()), dir, config, options);
    assert!(log.is_ok() || health.is_offline(), "a log in memory opens unless the disk has failed: {log:?}");
    log.ok()
}
