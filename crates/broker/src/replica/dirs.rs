//! The data directories of a broker (`log.dirs`): where each replica lies, what the checkpoints of each directory hold, and what
//! waits there for its removal.
//!
//! A directory that fails is offline until the next start, with all its replicas; the others go on (D30).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rohrpost_log::{LogDir, LogError};

use crate::metadata::CLUSTER_METADATA_TOPIC;

/// All data directories, in the order of the configuration.
pub(crate) struct DataDirs {
    dirs: Vec<DataDir>,
    /// Where partitions were found at the start that nobody has opened yet.
    found: Mutex<HashMap<(String, i32), usize>>,
}

/// One of them.
pub(crate) struct DataDir {
    dir: Arc<LogDir>,
    /// Replicas placed here.
    replicas: AtomicUsize,
    pub(crate) high_watermarks: Checkpoint,
    pub(crate) recovery_points: Checkpoint,
    pub(crate) log_starts: Checkpoint,
    removals: Mutex<Removals>,
    /// Waiters were told that it is offline.
    offline_told: AtomicBool,
}

/// What was deleted and is removed later.
#[derive(Debug)]
pub(crate) enum Removal {
    /// The directory of a deleted replica (D26).
    Replica(String),
    /// Files of deleted segments (D23).
    Files(Vec<String>),
}

#[derive(Default)]
struct Removals {
    /// By the monotonic time at which they are due.
    by_time: BTreeMap<(u64, u64), Removal>,
    serial: u64,
}

/// What a checkpoint file holds, so that an idle broker writes nothing.
#[derive(Default)]
pub(crate) struct Checkpoint(Mutex<Vec<(String, i32, i64)>>);

impl Checkpoint {
    pub(crate) fn update<'a>(
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

impl DataDirs {
    /// Looks what lies where.
    ///
    /// # Errors
    /// A directory that cannot be listed; a partition that lies in two directories, since nobody knows which is the right one.
    pub(crate) fn new(dirs: Vec<Arc<LogDir>>, now_ms: u64) -> Result<DataDirs, String> {
        let mut found: HashMap<(String, i32), usize> = HashMap::new();
        for (index, dir) in dirs.iter().enumerate() {
            for partition in dir.partitions().map_err(|error| error.to_string())? {
                if partition.topic == CLUSTER_METADATA_TOPIC {
                    continue;
                }
                let key = (partition.topic, partition.partition);
                if let Some(other) = found.get(&key) {
                    return Err(format!(
                        "{}-{} lies in {} and in {}; move one of them elsewhere",
                        key.0,
                        key.1,
                        dirs[*other].path(),
                        dir.path()
                    ));
                }
                found.insert(key, index);
            }
        }
        let dirs = dirs.into_iter().enumerate().map(|(index, dir)| {
            let data_dir = DataDir {
                replicas: AtomicUsize::new(found.values().filter(|at| **at == index).count()),
                high_watermarks: Checkpoint::default(),
                recovery_points: Checkpoint::default(),
                log_starts: Checkpoint::default(),
                removals: Mutex::default(),
                offline_told: AtomicBool::new(false),
                dir,
            };
            // left over from deletions that a stop has cut short: their delay has had its chance
            for name in data_dir.dir.deleted().unwrap_or_default() {
                data_dir.remove_at(now_ms, Removal::Replica(name));
            }
            data_dir
        });
        Ok(DataDirs { dirs: dirs.collect(), found: Mutex::new(found) })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &DataDir> {
        self.dirs.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.dirs.len()
    }

    pub(crate) fn get(&self, index: usize) -> &DataDir {
        &self.dirs[index]
    }

    /// The directory for a replica that is to be opened: where it lies, else where the fewest are, of those that work.
    pub(crate) fn place(&self, topic: &str, partition: i32) -> usize {
        if let Some(index) = self.found.lock().remove(&(topic.to_owned(), partition)) {
            return index; // counted at the start
        }
        let working = |dir: &DataDir| !dir.dir.health().is_offline();
        let counted = self.dirs.iter().enumerate().filter(|(_, dir)| working(dir));
        let fewest = counted.min_by_key(|(_, dir)| dir.replicas.load(Ordering::Relaxed));
        let index = fewest.map_or(0, |(index, _)| index);
        self.dirs[index].replicas.fetch_add(1, Ordering::Relaxed);
        index
    }

    /// When the next removal is due.
    pub(crate) fn next_removal_ms(&self) -> u64 {
        let firsts = self.dirs.iter().filter_map(|dir| dir.removals.lock().by_time.keys().next().copied());
        firsts.map(|(due_ms, _)| due_ms).min().unwrap_or(u64::MAX)
    }
}

impl DataDir {
    pub(crate) fn log_dir(&self) -> &LogDir {
        &self.dir
    }

    /// A replica that was placed here is gone.
    pub(crate) fn forget_replica(&self) {
        self.replicas.fetch_sub(1, Ordering::Relaxed);
    }

    /// Removes something when the monotonic clock shows `due_ms`.
    pub(crate) fn remove_at(&self, due_ms: u64, removal: Removal) {
        let mut removals = self.removals.lock();
        removals.serial += 1;
        let key = (due_ms, removals.serial);
        removals.by_time.insert(key, removal);
    }

    /// D23, D26: removes what has waited long enough.
    ///
    /// # Errors
    /// The first failure; what is left is tried at the next start.
    pub(crate) fn remove_due(&self, now_ms: u64) -> Result<(), LogError> {
        loop {
            let due = {
                let mut removals = self.removals.lock();
                match removals.by_time.first_key_value() {
                    Some(((due_ms, _), _)) if *due_ms <= now_ms => removals.by_time.pop_first(),
                    _ => return Ok(()),
                }
            };
            match due {
                Some((_, Removal::Replica(name))) => self.dir.remove_deleted(&name)?,
                Some((_, Removal::Files(paths))) => self.dir.remove_files(&paths)?,
                None => return Ok(()),
            }
        }
    }

    /// True once, after the directory has gone offline.
    pub(crate) fn must_tell_offline(&self) -> bool {
        self.dir.health().is_offline() && !self.offline_told.swap(true, Ordering::SeqCst)
    }
}
