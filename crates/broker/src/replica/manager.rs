//! Which partitions this broker hosts. Follows the metadata image: opens logs, closes them, deletes them; and keeps the
//! checkpoints.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rohrpost_log::{Log, LogConfig, LogDir, LogError};
use rohrpost_protocol::{ErrorCode, Uuid};

use super::partition::{InSync, Partition, Role};
use crate::config::{BrokerConfig, TopicDefaults};
use crate::metadata::{CLUSTER_METADATA_TOPIC, MetadataDelta, MetadataImage, PartitionImage, TopicImage};

/// The replicas of one broker.
pub(crate) struct ReplicaManager {
    node_id: i32,
    dir: Arc<LogDir>,
    /// What a topic's settings fall back on: the broker's configuration, and on top what was set while it runs (M9).
    configured: TopicDefaults,
    defaults: RwLock<TopicDefaults>,
    now_ms: fn() -> i64,
    topics: RwLock<Topics>,
    written: Checkpoints,
    /// Waiters were told that the directory is offline.
    offline_told: AtomicBool,
    /// Directories of deleted partitions, and when each is removed (D26).
    deleted: Mutex<VecDeque<(Instant, String)>>,
}

/// What the checkpoint files hold, so that an idle broker writes nothing.
#[derive(Default)]
struct Checkpoints {
    high_watermarks: Checkpoint,
    recovery_points: Checkpoint,
    log_starts: Checkpoint,
}

#[derive(Default)]
struct Checkpoint(Mutex<Vec<(String, i32, i64)>>);

impl Checkpoint {
    fn update<'a>(
        &self,
        entries: impl Iterator<Item = (&'a str, i32, i64)>,
        write: impl FnOnce(Vec<(&str, i32, i64)>) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let entries: Vec<(String, i32, i64)> =
            entries.map(|(topic, partition, at)| (topic.to_owned(), partition, at)).collect();
        let mut written = self.0.lock();
        if *written != entries {
            write(entries.iter().map(|(topic, partition, at)| (topic.as_str(), *partition, *at)).collect())?;
            *written = entries;
        }
        Ok(())
    }
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
    pub(crate) fn new(config: &BrokerConfig, dir: Arc<LogDir>, now_ms: fn() -> i64) -> Self {
        // left over from deletions that a stop has cut short: their delay has had its chance
        let deleted = dir.deleted().unwrap_or_default().into_iter().map(|name| (Instant::now(), name));
        Self {
            node_id: config.node_id,
            deleted: Mutex::new(deleted.collect()),
            dir,
            configured: config.topic_defaults.clone(),
            defaults: RwLock::new(config.topic_defaults.clone()),
            now_ms,
            topics: RwLock::default(),
            written: Checkpoints::default(),
            offline_told: AtomicBool::new(false),
        }
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> &LogDir {
        &self.dir
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
        for topic in &delta.topics_created {
            self.host(topic, None);
        }
        for change in &delta.partitions_changed {
            self.host(&change.topic, Some(change.partition));
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
        let defaults = self.configured.overlay(image, self.node_id);
        let mut current = self.defaults.write();
        let changed = *current != defaults;
        *current = defaults;
        changed
    }

    /// Opens or updates the replicas that this broker has of a topic; with `only` just that partition changed.
    fn host(&self, topic: &Arc<TopicImage>, only: Option<i32>) {
        let before = self.topics.read().by_id.get(&topic.id).cloned();
        let partitions = topic.partitions.iter().enumerate().map(|(index, image)| {
            let known = before.as_ref().and_then(|hosted| hosted.partitions.get(index)).cloned().flatten();
            let here = image.has_replica(self.node_id);
            match known {
                Some(partition) => {
                    if only.is_none_or(|only| only == index as i32) {
                        self.change_role(&partition, topic, image);
                    }
                    here.then_some(partition)
                }
                None => here.then(|| Arc::new(self.open(topic, index as i32, image))),
            }
        });
        let hosted = Arc::new(Hosted { id: topic.id, partitions: partitions.collect() });
        let mut topics = self.topics.write();
        topics.by_name.insert(Arc::clone(&topic.name), Arc::clone(&hosted));
        topics.by_id.insert(topic.id, hosted);
    }

    fn open(&self, topic: &TopicImage, index: i32, image: &PartitionImage) -> Partition {
        let open = || {
            let config = self.log_config(topic);
            // L1: partition.metadata is on disk before the first append
            self.dir.open_log(&topic.name, index, topic.id.0, config, (self.now_ms)(), fastrand::u64(..))
        };
        let log = match open() {
            Err(error) if error.code() == rohrpost_log::code::INCONSISTENT_TOPIC_ID => {
                // D20: an older topic of this name, whose deletion a crash has cut short
                tracing::warn!(topic = %topic.name, partition = index, %error, "set aside");
                self.dir.set_aside(&topic.name, index, random_id()).and_then(|_| open())
            }
            result => result,
        };
        let log = log.map_err(|error| {
            // D30: the process goes on and answers KAFKA_STORAGE_ERROR for this partition
            tracing::error!(topic = %topic.name, partition = index, %error, "cannot open the log");
        });
        Partition::new(Arc::clone(&topic.name), index, log.ok(), self.role(topic, image))
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
        config
    }

    fn reconfigure(&self, topic: &Arc<TopicImage>) {
        let Some(hosted) = self.topics.read().by_id.get(&topic.id).cloned() else { return };
        for (partition, image) in hosted.partitions.iter().zip(&topic.partitions) {
            if let Some(partition) = partition {
                partition.with_log(|log| log.set_config(self.log_config(topic)));
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
            match self.dir.delete_log(partition.topic(), partition.index(), random_id()) {
                Ok(name) => {
                    let at = Instant::now() + Duration::from_millis(delay_ms.min(DELETE_DELAY_MAX_MS));
                    self.deleted.lock().push_back((at, name));
                }
                Err(error) => {
                    tracing::error!(topic = %topic.name, partition = partition.index(), %error, "cannot delete the log");
                }
            }
        }
    }

    /// D26: removes what has waited long enough.
    pub(crate) fn remove_deleted(&self, now: Instant) -> Result<(), LogError> {
        let due: Vec<String> = {
            let mut deleted = self.deleted.lock();
            let (due, rest) = std::mem::take(&mut *deleted).into_iter().partition(|(at, _)| *at <= now);
            *deleted = rest;
            let due: VecDeque<(Instant, String)> = due;
            due.into_iter().map(|(_, name)| name).collect()
        };
        due.iter().try_for_each(|name| self.dir.remove_deleted(name))
    }

    /// D20: partitions in the directory that the cluster does not know are renamed, not loaded, and not deleted.
    pub(crate) fn set_aside_strays(&self, image: &MetadataImage) {
        let partitions = match self.dir.partitions() {
            Ok(partitions) => partitions,
            Err(error) => {
                tracing::error!(%error, "cannot look for stray partitions");
                return;
            }
        };
        for found in partitions {
            if found.topic == CLUSTER_METADATA_TOPIC
                || image.partition(&found.topic, found.partition).is_some()
            {
                continue;
            }
            let (topic, partition) = (&found.topic, found.partition);
            match self.dir.set_aside(topic, partition, random_id()) {
                Ok(name) => {
                    tracing::warn!(%topic, partition, %name, "a partition that the cluster does not know was set aside")
                }
                Err(error) => {
                    tracing::error!(%topic, partition, %error, "cannot set a stray partition aside")
                }
            }
        }
    }

    /// Called when an append answered KAFKA_STORAGE_ERROR: every replica of the directory is offline now (D30), so whoever
    /// waits is told.
    pub(crate) fn note_storage_error(&self) {
        if !self.dir.health().is_offline() || self.offline_told.swap(true, Ordering::SeqCst) {
            return;
        }
        for partition in self.all() {
            partition.notify_waiters(); // W7
        }
    }

    /// I9.
    pub(crate) fn expire_producers(&self, now_ms: i64, expiration_ms: i64) {
        for partition in self.all() {
            partition.with_log(|log| log.expire_producers(now_ms, expiration_ms));
        }
    }

    /// D11, D12: syncs logs that have closed a segment, and those older than `flush.ms`.
    pub(crate) fn flush_what_is_due(&self) -> Result<(), LogError> {
        let now_ms = (self.now_ms)();
        for partition in self.all() {
            if partition.flush_due(now_ms) {
                partition.flush()?;
            }
        }
        Ok(())
    }

    /// D13.
    pub(crate) fn checkpoint_high_watermarks(&self) -> Result<(), LogError> {
        let all = self.all();
        let entries = all.iter().filter_map(|p| p.offsets().map(|(_, hw)| (&**p.topic(), p.index(), hw)));
        self.written.high_watermarks.update(entries, |entries| self.dir.write_high_watermarks(entries))
    }

    /// D13.
    pub(crate) fn checkpoint_recovery_points(&self) -> Result<(), LogError> {
        let all = self.all();
        let entries = all
            .iter()
            .filter_map(|p| Some((&**p.topic(), p.index(), p.with_log(|log| log.recovery_point())?)));
        self.written.recovery_points.update(entries, |entries| self.dir.write_recovery_points(entries))
    }

    /// D13.
    pub(crate) fn checkpoint_log_starts(&self) -> Result<(), LogError> {
        let all = self.all();
        let entries = all
            .iter()
            .filter_map(|p| Some((&**p.topic(), p.index(), p.with_log(|log| log.log_start_checkpoint())??)));
        self.written.log_starts.update(entries, |entries| self.dir.write_log_starts(entries))
    }

    /// Takes every log, with its high watermark, for [`LogDir::close`] (D21). Nothing is served afterwards.
    pub(crate) fn take_logs(&self) -> Vec<((String, i32), Log, i64)> {
        let take = |partition: Arc<Partition>| {
            let high_watermark = partition.offsets().map_or(0, |(_, hw)| hw);
            let log = partition.take_log(false)?;
            Some(((partition.topic().to_string(), partition.index()), *log, high_watermark))
        };
        self.all().into_iter().filter_map(take).collect()
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

/// Longer than any sane `file.delete.delay.ms`, and short enough for the clock.
const DELETE_DELAY_MAX_MS: u64 = 365 * 24 * 3_600_000;

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
