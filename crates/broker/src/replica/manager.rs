//! Which partitions this broker hosts. Follows the metadata image: opens logs, closes them, deletes them. What is done in
//! time (checkpoints, retention) is in `timed.rs`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};
use rohrpost_log::{Log, LogConfig, LogDir, LogError};
use rohrpost_protocol::{ErrorCode, Uuid};

use super::dirs::{DataDirs, Removal};
use super::flusher::Flusher;
use super::partition::{InSync, Partition, Role};
use super::schedule::Schedule;
use super::timed;
use super::upkeep::Upkeep;
use crate::clock::Clock;
use crate::config::{BrokerConfig, TopicDefaults, describe};
use crate::metadata::{CLUSTER_METADATA_TOPIC, MetadataDelta, MetadataImage, PartitionImage, TopicImage};

/// The replicas of one broker.
pub(crate) struct ReplicaManager {
    node_id: i32,
    pub(super) dirs: DataDirs,
    in_memory: bool,
    config: BrokerConfig,
    /// What a topic's settings fall back on: the broker's configuration, and on top what was set while it runs (M9).
    defaults: RwLock<TopicDefaults>,
    pub(super) clock: Arc<dyn Clock>,
    topics: RwLock<Topics>,
    pub(super) flusher: Arc<Flusher>,
    pub(super) schedule: Mutex<Schedule>,
    /// Held while timed work runs: who moves a clock by hand waits until what became due is done.
    pub(super) working: Mutex<()>,
    /// `producer.id.expiration.ms` as it is now (I9).
    pub(super) producer_id_expiration_ms: AtomicI64,
}

#[derive(Default)]
struct Topics {
    by_name: HashMap<Arc<str>, Arc<Hosted>>,
    by_id: HashMap<Uuid, Arc<Hosted>>,
}

/// A topic as this broker sees it.
struct Hosted {
    id: Uuid,
    /// By number; `None` where the partition exists but has no replica here.
    partitions: Vec<Option<Arc<Partition>>>,
}

impl ReplicaManager {
    /// The replicas in these directories; `dirs` in the order of the configuration, at least one.
    ///
    /// # Errors
    /// What is wrong with the directories.
    pub(crate) fn new(
        config: &BrokerConfig,
        dirs: Vec<Arc<LogDir>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let now_ms = clock.monotonic_ms();
        Ok(Self {
            node_id: config.node_id,
            dirs: DataDirs::new(dirs, now_ms)?,
            in_memory: config.is_in_memory(),
            defaults: RwLock::new(config.topic_defaults.clone()),
            flusher: Arc::new(Flusher::new(config.background_threads, Arc::clone(&clock))),
            schedule: Mutex::new(Schedule::new(timed::periods(config), now_ms)),
            working: Mutex::new(()),
            clock,
            topics: RwLock::default(),
            producer_id_expiration_ms: AtomicI64::new(config.producer_id_expiration_ms),
            config: config.clone(),
        })
    }

    /// The data directories, in the order of the configuration. [`Partition::dir`] is a place in it.
    pub(crate) fn log_dirs(&self) -> impl Iterator<Item = &LogDir> {
        self.dirs.iter().map(|dir| dir.log_dir())
    }

    /// A partition by topic name.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION (P2); NOT_LEADER_OR_FOLLOWER if it exists elsewhere (P6).
    pub(crate) fn by_name(&self, topic: &str, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let topics = self.topics.read();
        hosted(topics.by_name.get(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?, partition)
    }

    /// A partition by topic id.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_ID; UNKNOWN_TOPIC_OR_PARTITION for a number too high; NOT_LEADER_OR_FOLLOWER if it exists elsewhere.
    pub(crate) fn by_id(&self, id: Uuid, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let topics = self.topics.read();
        hosted(topics.by_id.get(&id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?, partition)
    }

    /// Every hosted partition, in the order of name and number.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        let topics = self.topics.read();
        let mut all: Vec<_> =
            topics.by_id.values().flat_map(|topic| topic.partitions.iter().flatten().cloned()).collect();
        drop(topics);
        all.sort_by(|a, b| (a.topic(), a.index()).cmp(&(b.topic(), b.index())));
        all
    }

    /// Follows one committed change of metadata. Blocks while logs are opened; when it returns the change is in force here (M3).
    pub(crate) fn apply(&self, image: &MetadataImage, delta: &MetadataDelta) {
        let defaults_changed = !delta.resources_changed.is_empty() && self.take_defaults(image);
        // deletions first: a recreated topic has the same name and another id (M4)
        for deletion in &delta.topics_deleted {
            self.delete(&deletion.topic);
        }
        let mut opened = self.open_all(delta);
        for topic in &delta.topics_created {
            self.host(topic, None, &mut opened);
        }
        // topic by topic: a topic may gain thousands of partitions at once
        for changes in delta.partitions_changed.chunk_by(|a, b| a.topic.id == b.topic.id) {
            let only = changes.iter().map(|change| change.partition).collect();
            self.host(&changes[0].topic, Some(&only), &mut opened);
        }
        for topic in &delta.configs_changed {
            self.reconfigure(topic);
        }
        if defaults_changed {
            image.topics().for_each(|topic| self.reconfigure(topic));
        }
    }

    /// M9: what was set for brokers counts from now on. False if that concerns no topic here.
    fn take_defaults(&self, image: &MetadataImage) -> bool {
        let expiration_ms = describe::producer_id_expiration_ms(&self.config, image);
        self.producer_id_expiration_ms.store(expiration_ms, Ordering::Relaxed);
        let defaults = self.config.topic_defaults.overlay(image, self.node_id);
        let mut current = self.defaults.write();
        let changed = *current != defaults;
        *current = defaults;
        changed
    }

    /// Opens the logs of all new replicas in a change, `num.recovery.threads.per.data.dir` at a time in each directory (D15).
    fn open_all(&self, delta: &MetadataDelta) -> Opened {
        let mut by_dir: Vec<Vec<(Arc<TopicImage>, i32)>> = vec![Vec::new(); self.dirs.len()];
        let mut count = 0;
        for topic in &delta.topics_created {
            for (index, image) in topic.partitions.iter().enumerate() {
                if image.has_replica(self.node_id) {
                    let dir = self.dirs.place(&topic.name, index as i32);
                    by_dir[dir].push((Arc::clone(topic), index as i32));
                    count += 1;
                }
            }
        }
        let opened = Mutex::new(Opened::with_capacity(count));
        let open = |dir: usize, (topic, index): (Arc<TopicImage>, i32)| {
            if let Some(image) = topic.partitions.get(index as usize) {
                let partition = Arc::new(self.open(&topic, index, image, dir));
                opened.lock().insert((topic.id, index), partition);
            }
        };
        if count <= 1 || self.in_memory {
            for (dir, jobs) in by_dir.into_iter().enumerate() {
                jobs.into_iter().for_each(|job| open(dir, job));
            }
            return opened.into_inner();
        }
        std::thread::scope(|scope| {
            for (dir, jobs) in by_dir.into_iter().enumerate() {
                let threads = self.config.num_recovery_threads_per_data_dir.min(jobs.len());
                let jobs = Arc::new(Mutex::new(jobs.into_iter()));
                for _ in 0..threads {
                    let (jobs, open) = (Arc::clone(&jobs), &open);
                    scope.spawn(move || {
                        loop {
                            let job = jobs.lock().next();
                            let Some(job) = job else { return };
                            open(dir, job);
                        }
                    });
                }
            }
        });
        opened.into_inner()
    }

    /// Adds the replicas that this broker has of a topic, or updates them; with `only` just these partitions changed.
    fn host(&self, topic: &Arc<TopicImage>, only: Option<&HashSet<i32>>, opened: &mut Opened) {
        let before = self.topics.read().by_id.get(&topic.id).cloned();
        let partitions = topic.partitions.iter().enumerate().map(|(index, image)| {
            let known = before.as_ref().and_then(|hosted| hosted.partitions.get(index)).cloned().flatten();
            let here = image.has_replica(self.node_id);
            match known {
                Some(partition) => {
                    if only.is_none_or(|only| only.contains(&(index as i32))) {
                        self.change_role(&partition, topic, image);
                    }
                    here.then_some(partition)
                }
                None => here.then(|| {
                    opened.remove(&(topic.id, index as i32)).unwrap_or_else(|| {
                        let dir = self.dirs.place(&topic.name, index as i32);
                        Arc::new(self.open(topic, index as i32, image, dir))
                    })
                }),
            }
        });
        let hosted = Arc::new(Hosted { id: topic.id, partitions: partitions.collect() });
        let mut topics = self.topics.write();
        topics.by_name.insert(Arc::clone(&topic.name), Arc::clone(&hosted));
        topics.by_id.insert(topic.id, hosted);
    }

    fn open(&self, topic: &TopicImage, index: i32, image: &PartitionImage, dir: usize) -> Partition {
        let log_dir = self.dirs.get(dir).log_dir();
        let open = || {
            let config = self.log_config(topic);
            let synced = config.flush_messages == 1 && !self.in_memory;
            let now_ms = self.clock.now_ms();
            // L1: partition.metadata is on disk before the first append
            let mut log =
                log_dir.open_log(&topic.name, index, topic.id.0, config, now_ms, fastrand::u64(..))?;
            // U3: what an unclean stop has left counts as soon as it is on disk
            if synced && log.recovery_point() < log.log_end_offset() {
                log.flush()?;
            }
            Ok(log)
        };
        let log = match open() {
            Err(error) if LogError::code(&error) == rohrpost_log::code::INCONSISTENT_TOPIC_ID => {
                // D20: an older topic of this name, whose deletion a crash has cut short
                tracing::warn!(topic = %topic.name, partition = index, %error, "set aside");
                log_dir.set_aside(&topic.name, index, random_id()).and_then(|_| open())
            }
            result => result,
        };
        let log = log.map_err(|error| {
            // D30: the process goes on and answers KAFKA_STORAGE_ERROR for this partition
            tracing::error!(topic = %topic.name, partition = index, %error, "cannot open the log");
        });
        let role = self.role(topic, image);
        let high_watermark = log_dir.high_watermark(&topic.name, index);
        let upkeep = Upkeep::by(&self.flusher, dir, self.in_memory);
        Partition::open(Arc::clone(&topic.name), index, log.ok(), role, high_watermark, upkeep)
    }

    /// W7: whoever waits there learns of it, also of the last one, that it is no longer here.
    fn change_role(&self, partition: &Partition, topic: &TopicImage, image: &PartitionImage) {
        partition.set_role(self.role(topic, image));
        partition.notify_waiters();
    }

    fn role(&self, topic: &TopicImage, image: &PartitionImage) -> Role {
        Role {
            replica_id: self.node_id,
            is_leader: image.leader == self.node_id,
            leader_epoch: image.leader_epoch,
            in_sync: InSync::committed(image.isr.clone()),
            min_in_sync: self.defaults.read().min_insync_replicas(&topic.configs, image.replicas.len()),
        }
    }

    /// The topic's effective settings as far as they concern its logs. The controller has checked the values (M2).
    fn log_config(&self, topic: &TopicImage) -> LogConfig {
        let mut config = LogConfig::default();
        let own = topic.configs.iter().map(|(key, value)| (key.as_str(), value.clone()));
        let effective = self.defaults.read().effective(&topic.configs);
        let effective = effective.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
        for (key, value) in effective.chain(own) {
            if LogConfig::knows(key)
                && let Err(error) = config.set(key, &value)
            {
                tracing::warn!(topic = %topic.name, %error, "a setting is not used");
            }
        }
        if self.in_memory {
            bound_memory(&mut config);
        }
        config
    }

    fn reconfigure(&self, topic: &Arc<TopicImage>) {
        let Some(hosted) = self.topics.read().by_id.get(&topic.id).cloned() else { return };
        for (partition, image) in hosted.partitions.iter().zip(&topic.partitions) {
            if let Some(partition) = partition {
                partition.set_config(self.log_config(topic));
                self.change_role(partition, topic, image);
            }
        }
    }

    /// D26: answers waiters, renames the directories to `-delete`, removes them later.
    fn delete(&self, topic: &TopicImage) {
        let hosted = {
            let mut topics = self.topics.write();
            if topics.by_name.get(&topic.name).is_some_and(|hosted| hosted.id == topic.id) {
                topics.by_name.remove(&topic.name);
            }
            topics.by_id.remove(&topic.id)
        };
        let Some(hosted) = hosted else { return };
        for partition in hosted.partitions.iter().flatten() {
            let delay_ms = partition.with_log(|log| log.config().file_delete_delay_ms).unwrap_or(0);
            drop(partition.take_log(true));
            partition.notify_waiters(); // W7
            let dir = self.dirs.get(partition.dir());
            dir.forget_replica();
            let renamed = dir.log_dir().delete_log(partition.topic(), partition.index(), random_id());
            // in memory nobody reads the files any more, and what stays costs memory
            let delay_ms = if self.in_memory { 0 } else { delay_ms };
            match renamed {
                Ok(name) => {
                    let due_ms = self.clock.monotonic_ms().saturating_add(delay_ms);
                    dir.remove_at(due_ms, Removal::Replica(name));
                    if self.in_memory
                        && let Err(error) = dir.remove_due(due_ms)
                    {
                        tracing::error!(%error, "cannot remove a deleted log");
                    }
                    self.flusher.bell().ring();
                }
                Err(error) => {
                    tracing::error!(topic = %topic.name, partition = partition.index(), %error, "cannot delete the log");
                }
            }
        }
    }

    /// D20: partitions in the directories that the cluster does not know are renamed, not loaded, and not deleted.
    pub(crate) fn set_aside_strays(&self, image: &MetadataImage) {
        for dir in self.dirs.iter() {
            let partitions = match dir.log_dir().partitions() {
                Ok(partitions) => partitions,
                Err(error) => {
                    tracing::error!(%error, "cannot look for stray partitions");
                    continue;
                }
            };
            for found in partitions {
                if found.topic == CLUSTER_METADATA_TOPIC
                    || image.partition(&found.topic, found.partition).is_some()
                {
                    continue;
                }
                dir.forget_replica();
                let (topic, partition) = (&found.topic, found.partition);
                match dir.log_dir().set_aside(topic, partition, random_id()) {
                    Ok(name) => {
                        tracing::warn!(%topic, partition, %name, "a partition that the cluster does not know was set aside")
                    }
                    Err(error) => {
                        tracing::error!(%topic, partition, %error, "cannot set a stray partition aside")
                    }
                }
            }
        }
    }

    /// Called when a disk has failed: every replica of its directory is offline now (D30), so whoever waits is told.
    pub(crate) fn note_storage_error(&self) {
        for (index, dir) in self.dirs.iter().enumerate() {
            if !dir.must_tell_offline() {
                continue;
            }
            for partition in self.all().iter().filter(|partition| partition.dir() == index) {
                partition.notify_waiters(); // W7
            }
        }
    }

    /// Takes every log, with its high watermark, for [`LogDir::close`] of each directory (D21). Nothing is served afterwards.
    pub(crate) fn take_logs(&self) -> Vec<Vec<TakenLog>> {
        let mut by_dir: Vec<Vec<TakenLog>> = self.dirs.iter().map(|_| Vec::new()).collect();
        for partition in self.all() {
            let high_watermark = partition.offsets().map_or(0, |(_, hw)| hw);
            if let Some(log) = partition.take_log(false) {
                let key = (partition.topic().to_string(), partition.index());
                by_dir[partition.dir()].push((key, *log, high_watermark));
            }
        }
        by_dir
    }

    /// Ends the threads that sync. Before the logs are taken.
    pub(crate) fn stop(&self) {
        self.flusher.stop();
    }

    /// Syncs everything that was appended before the call. Appends and reads go on meanwhile (D12).
    ///
    /// # Errors
    /// One line per log that could not be synced.
    pub(crate) fn sync(&self) -> Result<(), Vec<String>> {
        let mut failures = Vec::new();
        for partition in self.all() {
            if let Err(error) = partition.flush() {
                failures.push(format!("{}-{}: {error}", partition.topic(), partition.index()));
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }
}

/// Replicas that were opened and are not hosted yet.
type Opened = HashMap<(Uuid, i32), Arc<Partition>>;

/// A log whose broker stops: topic and partition, the log, its high watermark.
pub(crate) type TakenLog = ((String, i32), Log, i64);

/// In memory a segment that is not closed cannot go, so `retention.bytes` bounds the memory of a partition only if its segments
/// are small beside it. They are invisible to clients.
fn bound_memory(config: &mut LogConfig) {
    let Ok(keep) = u32::try_from(config.retention_bytes.min(i64::from(u32::MAX))) else { return };
    if config.delete {
        let floor = config.max_message_bytes.max(1 << 20);
        config.segment_bytes = config.segment_bytes.min((keep / 8).max(floor));
    }
}

fn random_id() -> [u8; 16] {
    fastrand::u128(..).to_be_bytes()
}

fn hosted(topic: &Hosted, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
    let partition = usize::try_from(partition).ok().and_then(|index| topic.partitions.get(index));
    match partition {
        None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        Some(None) => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Some(Some(partition)) => Ok(Arc::clone(partition)),
    }
}
