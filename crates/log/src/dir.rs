//! A data directory: whose it is, which partitions lie in it, and how it was left (8.1).
//!
//! One process at a time holds a directory, by a lock that the operating system frees when the process dies. A second one
//! is told where the first listens, if the first has said so. `meta.properties` ties the directory to a node and a
//! cluster. The clean-shutdown marker exists only between a clean stop and the next start: it is the last file written
//! and the first removed (D15, D21, U8).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::checkpoint::{self, HIGH_WATERMARKS, LOG_STARTS, Offsets, RECOVERY_POINTS};
use crate::config::LogConfig;
use crate::error::{DirError, DirHealth, LogError, code};
use crate::log::{Log, OpenOptions};
use crate::storage::{self, HeldLock, Storage};

const META: &str = "meta.properties";
const LOCK: &str = ".lock";
const ADDRESS: &str = ".rohrpost-address";
const CLEAN: &str = ".kafka_cleanshutdown";
const PARTITION_META: &str = "partition.metadata";
/// Small files are smaller than this.
const SMALL: u64 = 64 << 10;

/// Who wants to use a directory, and the ids it gets if it is new.
#[derive(Debug, Clone)]
pub struct Identity {
    /// This node.
    pub node_id: i32,
    /// The cluster it must belong to, if that is known: 22 characters.
    pub cluster_id: Option<String>,
    /// Random bytes: cluster id of a new directory, unless `cluster_id` says one.
    pub new_cluster_id: [u8; 16],
    /// Random bytes: id of a new directory. The first 100 values are reserved (D4).
    pub new_directory_id: [u8; 16],
}

/// What `meta.properties` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster, 22 characters.
    pub cluster_id: String,
    /// The node.
    pub node_id: i32,
    /// This directory.
    pub directory_id: [u8; 16],
}

/// A partition found in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDir {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The topic's id from `partition.metadata`; `None` if that file is missing or unreadable.
    pub topic_id: Option<[u8; 16]>,
}

/// An open data directory. All methods may be called from several threads.
#[derive(Debug)]
pub struct LogDir {
    storage: Arc<dyn Storage>,
    path: String,
    meta: MetaProperties,
    /// Broker epoch in the marker of the last clean stop; `None` after an unclean one.
    clean: Option<i64>,
    health: DirHealth,
    state: Mutex<State>,
    /// Freed last.
    _lock: Box<dyn HeldLock>,
}

#[derive(Debug)]
struct State {
    recovery_points: Offsets,
    log_starts: Offsets,
    high_watermarks: Offsets,
    /// Partition directories that were there at the start and were not opened yet: with any left, the stop is not a clean
    /// one (D21).
    unloaded: BTreeSet<String>,
}

impl State {
    fn forget(&mut self, key: &(String, i32)) {
        self.recovery_points.remove(key);
        self.log_starts.remove(key);
        self.high_watermarks.remove(key);
    }
}

impl LogDir {
    /// Takes the directory, creating it on first use so that a power loss leaves it there (U6). The clean-shutdown marker is
    /// read and removed here (D15).
    ///
    /// # Errors
    /// [`DirError::InUse`] if another process has it; [`DirError::Identity`] if it is another node's or cluster's, if its
    /// `meta.properties` is malformed, or if the id for a new one is reserved (D4); [`DirError::UnknownEntry`] if a foreign
    /// directory lies in it (D3); [`DirError::Log`] if the file system fails. After one of the last two the marker may be gone,
    /// and the next start recovers.
    pub fn open(storage: Arc<dyn Storage>, path: &str, identity: &Identity) -> Result<LogDir, DirError> {
        create_for_good(&*storage, path)?;
        let lock_path = storage::join(path, LOCK);
        let lock = storage.lock(&lock_path).map_err(|e| LogError::storage("locking", &lock_path, e))?;
        let address_path = storage::join(path, ADDRESS);
        let Some(lock) = lock else {
            let address = small_text(&*storage, &address_path).unwrap_or_default();
            return Err(DirError::InUse {
                path: path.to_owned(),
                address: address.map(|a| a.trim().to_owned()),
            });
        };
        // A dead process's address must not be taken for ours.
        crate::segment::remove_if_there(&*storage, &address_path)?;
        let meta = identify(&*storage, path, identity)?;
        let clean = take_clean_marker(&*storage, path)?;
        let mut unloaded = BTreeSet::new();
        for entry in storage.list(path).map_err(|e| LogError::storage("listing", path, e))? {
            if !entry.is_dir {
                continue;
            }
            match classify(&entry.name) {
                DirName::Partition(..) => {
                    unloaded.insert(entry.name);
                }
                DirName::Aside => {}
                // D3
                DirName::Unknown => {
                    return Err(DirError::UnknownEntry { path: path.to_owned(), name: entry.name });
                }
            }
        }
        let read = |name| checkpoint::read_offsets(&*storage, &storage::join(path, name));
        let state = State {
            recovery_points: read(RECOVERY_POINTS)?,
            log_starts: read(LOG_STARTS)?,
            high_watermarks: read(HIGH_WATERMARKS)?,
            unloaded,
        };
        Ok(LogDir {
            path: path.to_owned(),
            meta,
            clean,
            health: DirHealth::new(),
            state: Mutex::new(state),
            storage,
            _lock: lock,
        })
    }

    /// Whose directory this is.
    pub fn meta(&self) -> &MetaProperties {
        &self.meta
    }

    /// The path it was opened with.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the last stop was a clean one; then logs are opened without recovery (D15).
    pub fn was_clean(&self) -> bool {
        self.clean.is_some()
    }

    /// The broker epoch that the last clean stop has noted.
    pub fn last_broker_epoch(&self) -> Option<i64> {
        self.clean
    }

    /// Health, shared with all logs opened here (D30).
    pub fn health(&self) -> &DirHealth {
        &self.health
    }

    /// Notes where this broker listens, for a second process that wants the directory.
    ///
    /// # Errors
    /// [`LogError::Storage`] if the file cannot be replaced, which takes the directory offline. The file is then as it was or as
    /// it should be.
    pub fn write_address(&self, address: &str) -> Result<(), LogError> {
        let path = storage::join(&self.path, ADDRESS);
        let result = checkpoint::write_text(&*self.storage, &path, address);
        self.health.note(result)
    }

    /// The partitions that lie here.
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already; [`LogError::Storage`] if it cannot be listed, which takes it
    /// offline, or if a `partition.metadata` cannot be read, which does not.
    pub fn partitions(&self) -> Result<Vec<PartitionDir>, LogError> {
        let mut found = Vec::new();
        for entry in self.entries()? {
            if let DirName::Partition(topic, partition) = classify(&entry) {
                let path = storage::join(&storage::join(&self.path, &entry), PARTITION_META);
                let topic_id = small_text(&*self.storage, &path)?.and_then(|text| parse_topic_id(&text));
                found.push(PartitionDir { topic: topic.to_owned(), partition, topic_id });
            }
        }
        Ok(found)
    }

    /// Opens a partition's log, creating it if it is new. `topic_id` is written to `partition.metadata` before anything else
    /// (L1); an existing file must agree with it.
    ///
    /// # Errors
    /// INCONSISTENT_TOPIC_ID if the directory is an older topic's of the same name, see [`LogDir::set_aside`]; nothing has
    /// changed then. [`LogError::Offline`] and [`LogError::Storage`] as for [`Log::open`].
    pub fn open_log(
        &self,
        topic: &str,
        partition: i32,
        topic_id: [u8; 16],
        config: LogConfig,
        now_ms: i64,
        seed: u64,
    ) -> Result<Log, LogError> {
        self.health.check()?;
        let name = partition_dir_name(topic, partition);
        let dir = storage::join(&self.path, &name);
        let result = self.prepare_partition(&dir, &name, topic_id);
        let is_new = self.health.note(result)?;
        let key = (topic.to_owned(), partition);
        let options = {
            let mut state = self.state.lock();
            if is_new {
                // What the checkpoints say is an older topic's of the same name.
                state.forget(&key);
            }
            OpenOptions {
                clean: self.was_clean(),
                recovery_point: state.recovery_points.get(&key).copied().unwrap_or(0),
                log_start: state.log_starts.get(&key).copied().unwrap_or(0),
                now_ms,
                health: self.health.clone(),
                seed,
            }
        };
        let log = Log::open(Arc::clone(&self.storage), &dir, config, options)?;
        self.state.lock().unloaded.remove(&name);
        Ok(log)
    }

    /// Returns whether the directory is a new one.
    fn prepare_partition(&self, dir: &str, name: &str, topic_id: [u8; 16]) -> Result<bool, LogError> {
        let path = storage::join(dir, PARTITION_META);
        let exists = self.storage.exists(dir).map_err(|e| LogError::storage("reading", dir, e))?;
        if exists {
            let text = small_text(&*self.storage, &path)?;
            match text.as_deref().map(parse_topic_id) {
                Some(Some(found)) if found == topic_id => return Ok(false),
                Some(Some(found)) => {
                    return Err(LogError::Unexpected {
                        code: code::INCONSISTENT_TOPIC_ID,
                        reason: format!(
                            "{name} belongs to topic id {}, not {}",
                            encode_uuid(&found),
                            encode_uuid(&topic_id)
                        ),
                    });
                }
                Some(None) => tracing::warn!(path, "unreadable partition.metadata is written anew"),
                None => {}
            }
        } else {
            self.storage.create_dir(dir).map_err(|e| LogError::storage("creating", dir, e))?;
            // U6
            self.storage.sync_dir(&self.path).map_err(|e| LogError::storage("syncing", &self.path, e))?;
        }
        // L1, U8: before any data.
        let text = format!("version: 0\ntopic_id: {}", encode_uuid(&topic_id));
        checkpoint::write_text(&*self.storage, &path, &text)?;
        Ok(!exists)
    }

    /// The checkpointed high watermark; `None` if unknown (D19).
    pub fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        self.state.lock().high_watermarks.get(&(topic.to_owned(), partition)).copied()
    }

    /// Renames a partition's directory to `<name>.<32 hex>-delete`; returns the new name, which
    /// [`remove_deleted`](LogDir::remove_deleted) takes after `file.delete.delay.ms` (D26). Its log must be dropped first.
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already; nothing was renamed. [`LogError::Storage`] if renaming or
    /// syncing fails, also because there is no such partition. That takes the directory offline, and the partition has its old
    /// name or the new one.
    pub fn delete_log(&self, topic: &str, partition: i32, unique: [u8; 16]) -> Result<String, LogError> {
        // D26
        self.move_aside(topic, partition, unique, "-delete")
    }

    /// Renames a partition's directory to `-stray`: its topic id is unknown to the cluster, so it is not loaded; its data is
    /// not deleted (D20).
    ///
    /// # Errors
    /// As [`delete_log`](LogDir::delete_log).
    pub fn set_aside(&self, topic: &str, partition: i32, unique: [u8; 16]) -> Result<String, LogError> {
        // D20
        self.move_aside(topic, partition, unique, "-stray")
    }

    fn move_aside(
        &self,
        topic: &str,
        partition: i32,
        unique: [u8; 16],
        suffix: &str,
    ) -> Result<String, LogError> {
        self.health.check()?;
        let name = partition_dir_name(topic, partition);
        let target = aside_name(topic, partition, unique, suffix);
        let (from, to) = (storage::join(&self.path, &name), storage::join(&self.path, &target));
        let renamed = self
            .storage
            .rename(&from, &to)
            .and_then(|()| self.storage.sync_dir(&self.path))
            .map_err(|e| LogError::storage("renaming", &from, e));
        self.health.note(renamed)?;
        let key = (topic.to_owned(), partition);
        let mut state = self.state.lock();
        state.unloaded.remove(&name);
        state.forget(&key);
        Ok(target)
    }

    /// Directories that wait for their removal (D26).
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already; [`LogError::Storage`] if it cannot be listed, which takes it
    /// offline.
    pub fn deleted(&self) -> Result<Vec<String>, LogError> {
        let names = self.entries()?;
        Ok(names
            .into_iter()
            .filter(|n| n.ends_with("-delete") && matches!(classify(n), DirName::Aside))
            .collect())
    }

    /// Removes a directory that [`delete_log`](LogDir::delete_log) has renamed. Any other name is left alone.
    ///
    /// # Errors
    /// [`LogError::Storage`] if the directory cannot be removed, also because it is not there; it takes the data directory
    /// offline. Some of its files may be gone; what is left keeps its name.
    pub fn remove_deleted(&self, name: &str) -> Result<(), LogError> {
        if !name.ends_with("-delete") || !matches!(classify(name), DirName::Aside) {
            return Ok(());
        }
        let path = storage::join(&self.path, name);
        let result = self.storage.remove_dir_all(&path).map_err(|e| LogError::storage("removing", &path, e));
        self.health.note(result)
    }

    /// Removes files that [`Deletion::rename`](crate::Deletion::rename) has renamed (D23). One that is not there any more, because
    /// its topic was deleted meanwhile, is fine.
    ///
    /// # Errors
    /// The first failure of the file system; it takes the directory offline.
    pub fn remove_files(&self, paths: &[String]) -> Result<(), LogError> {
        // D23
        let result = paths
            .iter()
            .filter(|path| path.ends_with(crate::segment::DELETED))
            .try_for_each(|path| crate::segment::remove_if_there(&*self.storage, path));
        self.health.note(result)
    }

    /// Writes the recovery points of all partitions (D2, D13).
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already; nothing was written. [`LogError::Storage`] if the file cannot
    /// be replaced, which takes the directory offline: the file is then as it was or as it should be.
    pub fn write_recovery_points<'a>(
        &self,
        points: impl IntoIterator<Item = (&'a str, i32, i64)>,
    ) -> Result<(), LogError> {
        self.write_checkpoint(RECOVERY_POINTS, points)
    }

    /// Writes the log starts: of those partitions for which [`Log::log_start_checkpoint`] has one (D13).
    ///
    /// # Errors
    /// As [`write_recovery_points`](LogDir::write_recovery_points).
    pub fn write_log_starts<'a>(
        &self,
        starts: impl IntoIterator<Item = (&'a str, i32, i64)>,
    ) -> Result<(), LogError> {
        self.write_checkpoint(LOG_STARTS, starts)
    }

    /// Writes the high watermarks of all partitions (D13).
    ///
    /// # Errors
    /// As [`write_recovery_points`](LogDir::write_recovery_points).
    pub fn write_high_watermarks<'a>(
        &self,
        watermarks: impl IntoIterator<Item = (&'a str, i32, i64)>,
    ) -> Result<(), LogError> {
        self.write_checkpoint(HIGH_WATERMARKS, watermarks)
    }

    /// A clean stop, in the order of D21: high watermarks, every log synced and closed, recovery points, log starts, and last
    /// the marker. `logs` are all logs of the directory with their high watermarks.
    ///
    /// # Errors
    /// The first error; there is no marker then, and the next start recovers.
    ///
    /// The directory stays locked until this value is dropped.
    pub fn close(
        &self,
        logs: impl IntoIterator<Item = ((String, i32), Log, i64)>,
        broker_epoch: i64,
    ) -> Result<(), LogError> {
        self.close_with(logs, broker_epoch, 1)
    }

    /// [`close`](LogDir::close) that syncs so many logs at a time (`num.recovery.threads.per.data.dir`).
    ///
    /// # Errors
    /// As `close`.
    pub fn close_with(
        &self,
        logs: impl IntoIterator<Item = ((String, i32), Log, i64)>,
        broker_epoch: i64,
        threads: usize,
    ) -> Result<(), LogError> {
        // D21
        self.health.check()?;
        let logs: Vec<_> = logs.into_iter().collect();
        self.write_high_watermarks(
            logs.iter().map(|((topic, partition), _, hw)| (topic.as_str(), *partition, *hw)),
        )?;
        let starts: Offsets = logs
            .iter()
            .filter_map(|(key, log, _)| Some((key.clone(), log.log_start_checkpoint()?)))
            .collect();
        let points = close_all(logs.into_iter().map(|(key, log, _)| (key, log)).collect(), threads)?;
        self.write_recovery_points(
            points.iter().map(|((topic, partition), at)| (topic.as_str(), *partition, *at)),
        )?;
        self.write_log_starts(
            starts.iter().map(|((topic, partition), at)| (topic.as_str(), *partition, *at)),
        )?;
        crate::segment::remove_if_there(&*self.storage, &storage::join(&self.path, ADDRESS))?;
        self.health.check()?;
        let unloaded = self.state.lock().unloaded.len();
        if unloaded > 0 {
            tracing::warn!(
                path = self.path,
                unloaded,
                "not all partitions were loaded: no clean-shutdown marker"
            );
            return Ok(());
        }
        let marker = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        checkpoint::write_text(&*self.storage, &storage::join(&self.path, CLEAN), &marker)
    }

    fn write_checkpoint<'a>(
        &self,
        name: &str,
        entries: impl IntoIterator<Item = (&'a str, i32, i64)>,
    ) -> Result<(), LogError> {
        self.health.check()?;
        let result = checkpoint::write_offsets(&*self.storage, &storage::join(&self.path, name), entries);
        self.health.note(result)
    }

    fn entries(&self) -> Result<Vec<String>, LogError> {
        self.health.check()?;
        let result = self.storage.list(&self.path).map_err(|e| LogError::storage("listing", &self.path, e));
        Ok(self.health.note(result)?.into_iter().filter(|e| e.is_dir).map(|e| e.name).collect())
    }
}

/// Closes logs, so many at a time; their recovery points.
fn close_all(logs: Vec<((String, i32), Log)>, threads: usize) -> Result<Offsets, LogError> {
    let threads = threads.clamp(1, logs.len().max(1));
    let waiting = Mutex::new(logs.into_iter());
    let closed = Mutex::new(Ok(Offsets::new()));
    let work = || {
        loop {
            let next = waiting.lock().next();
            let Some((key, log)) = next else { return };
            let point = log.close();
            let mut closed = closed.lock();
            match (&mut *closed, point) {
                (Ok(points), Ok(point)) => {
                    points.insert(key, point);
                }
                (Ok(_), Err(error)) => *closed = Err(error),
                (Err(_), _) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        // One of the threads is this one.
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    closed.into_inner()
}

/// `<topic>-<partition>`.
pub fn partition_dir_name(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

/// `<topic>-<partition>.<32 hex><suffix>`, the topic shortened so that the name has at most 255 bytes.
fn aside_name(topic: &str, partition: i32, unique: [u8; 16], suffix: &str) -> String {
    let mut tail = format!("-{partition}.");
    for byte in unique {
        let _ = write!(tail, "{byte:02x}");
    }
    tail.push_str(suffix);
    let mut keep = topic.len().min(255 - tail.len());
    while !topic.is_char_boundary(keep) {
        keep -= 1;
    }
    format!("{}{tail}", &topic[..keep])
}

enum DirName<'a> {
    Partition(&'a str, i32),
    /// Being deleted, moved, or unknown to the cluster.
    Aside,
    Unknown,
}

/// What a subdirectory's name means (D3).
fn classify(name: &str) -> DirName<'_> {
    // D3
    let partition = |name: &str| {
        let (topic, number) = name.rsplit_once('-')?;
        // as it is written: with zeros before it, two directories would be the same partition
        let digits =
            number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
        // The name of a topic goes into the checkpoints as it is: one with a blank or a new line would spoil them for all.
        let is_topic = !topic.is_empty()
            && topic.len() <= 249
            && topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        let number: i32 = number.parse().ok().filter(|_| digits && is_topic)?;
        Some((topic.len(), number))
    };
    let aside = ["-delete", "-future", "-stray"].iter().find_map(|suffix| {
        let (inner, unique) = name.strip_suffix(suffix)?.rsplit_once('.')?;
        (unique.len() == 32 && unique.bytes().all(|b| b.is_ascii_hexdigit())).then_some(inner)
    });
    match (aside, partition(name)) {
        (Some(inner), _) if partition(inner).is_some() || inner.starts_with('-') => DirName::Aside,
        (_, Some((topic, number))) => DirName::Partition(&name[..topic], number),
        _ => DirName::Unknown,
    }
}

/// Makes the directory and the missing ones above it. U6: their names are durable only once the directories above them are
/// synced, and nothing in them is durable before they are.
fn create_for_good(storage: &dyn Storage, path: &str) -> Result<(), LogError> {
    let mut new = Vec::new();
    let mut dir = path;
    while !matches!(dir, "." | "/") && !storage.exists(dir).unwrap_or(true) {
        new.push(dir);
        dir = storage::parent(dir);
    }
    storage.create_dir(path).map_err(|e| LogError::storage("creating", path, e))?;
    for above in new.into_iter().map(storage::parent) {
        storage.sync_dir(above).map_err(|e| LogError::storage("syncing", above, e))?;
    }
    Ok(())
}

/// Checks `meta.properties`, or writes it for a new directory.
fn identify(storage: &dyn Storage, path: &str, identity: &Identity) -> Result<MetaProperties, DirError> {
    let refuse = |reason: String| DirError::Identity { path: path.to_owned(), reason };
    let file = storage::join(path, META);
    let Some(text) = small_text(storage, &file)? else {
        let names = storage.list(path).map_err(|e| LogError::storage("listing", path, e))?;
        if names.iter().any(|e| e.is_dir) {
            tracing::warn!(path, "meta.properties is missing beside data; the directory gets a new identity");
        }
        // D4
        if identity.new_directory_id[..15] == [0; 15] && identity.new_directory_id[15] < 100 {
            return Err(refuse("the new directory id is one of the reserved ones".to_owned()));
        }
        let cluster_id = identity.cluster_id.clone().unwrap_or_else(|| encode_uuid(&identity.new_cluster_id));
        let meta =
            MetaProperties { cluster_id, node_id: identity.node_id, directory_id: identity.new_directory_id };
        let text = format!(
            "version=1\ncluster.id={}\nnode.id={}\ndirectory.id={}\n",
            meta.cluster_id,
            meta.node_id,
            encode_uuid(&meta.directory_id)
        );
        checkpoint::write_text(storage, &file, &text)?;
        return Ok(meta);
    };
    let value = |key: &str| {
        text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!'])).find_map(|line| {
            let (k, v) = line.split_once(['=', ':'])?;
            // Java escapes these two in values.
            (k.trim() == key).then(|| v.trim().replace("\\=", "=").replace("\\:", ":"))
        })
    };
    let missing = |key: &str| refuse(format!("{key} is missing; restore the file or use another directory"));
    if value("version").as_deref() != Some("1") {
        return Err(refuse("only version=1 is known".to_owned()));
    }
    let cluster_id = value("cluster.id").ok_or_else(|| missing("cluster.id"))?;
    let node_id = value("node.id").ok_or_else(|| missing("node.id"))?;
    let node_id: i32 = node_id.parse().map_err(|_| refuse(format!("node.id={node_id} is not a number")))?;
    let directory_id =
        value("directory.id").and_then(|v| decode_uuid(&v)).ok_or_else(|| missing("directory.id"))?;
    if node_id != identity.node_id {
        let reason = format!("the directory belongs to node {node_id}, this is node {}", identity.node_id);
        return Err(refuse(reason));
    }
    if let Some(expected) = identity.cluster_id.as_deref().filter(|id| *id != cluster_id) {
        return Err(refuse(format!("the directory belongs to cluster {cluster_id}, not {expected}")));
    }
    Ok(MetaProperties { cluster_id, node_id, directory_id })
}

/// Reads the marker of a clean stop and removes it before anything else is touched (D15).
fn take_clean_marker(storage: &dyn Storage, path: &str) -> Result<Option<i64>, LogError> {
    // D15
    let marker = storage::join(path, CLEAN);
    let Some(text) = small_text(storage, &marker)? else { return Ok(None) };
    storage
        .remove(&marker)
        .and_then(|()| storage.sync_dir(path))
        .map_err(|e| LogError::storage("removing", &marker, e))?;
    // Kafka's first form of the file was empty; what counts is that it is there.
    let epoch = text.split_once("\"brokerEpoch\":").and_then(|(_, rest)| {
        let rest = rest.trim_start();
        let end = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    });
    Ok(Some(epoch.unwrap_or(-1)))
}

fn parse_topic_id(text: &str) -> Option<[u8; 16]> {
    let mut lines = text.lines();
    if lines.next()?.trim() != "version: 0" {
        return None;
    }
    decode_uuid(lines.next()?.strip_prefix("topic_id:")?.trim())
}

fn small_text(storage: &dyn Storage, path: &str) -> Result<Option<String>, LogError> {
    match storage::read_small(storage, path, SMALL) {
        Ok(bytes) => Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Ok(Some(String::new())),
        Err(e) => Err(LogError::storage("reading", path, e)),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The 22 characters of URL-safe base64 without padding (D4).
pub(crate) fn encode_uuid(id: &[u8; 16]) -> String {
    // D4
    let bits = u128::from_be_bytes(*id);
    let digit = |shift: u32| char::from(ALPHABET[(bits >> shift) as usize & 63]);
    let mut text: String = (0..21).map(|i| digit(122 - 6 * i)).collect();
    text.push(char::from(ALPHABET[(bits << 4) as usize & 63]));
    text
}

fn decode_uuid(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    for (i, byte) in text.bytes().enumerate() {
        let value = ALPHABET.iter().position(|c| *c == byte)? as u128;
        bits = if i < 21 { bits << 6 | value } else { bits << 2 | value >> 4 };
    }
    Some(bits.to_be_bytes())
}
