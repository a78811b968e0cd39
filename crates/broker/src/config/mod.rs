//! Configuration by Kafka's own keys: what the broker was told, checked, with defaults.
//!
//! Settings go in, as pairs or as the text of a `server.properties`; a typed [`BrokerConfig`] comes out, or a [`ConfigError`] that
//! names every wrong setting: where it was made, key, value, and what is allowed. Keys that have no effect are listed with the
//! reason in [`BrokerConfig::ignored`], so that a server can say so; what would be dangerous to ignore is refused (E12). Defaults
//! and ranges are those of `docs/reference/broker-configs.tsv`.

pub(crate) mod describe;
mod keys;
mod listener;
mod meaning;
mod read;
mod topic;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rohrpost_net::properties;

use self::read::Reader;

pub use self::listener::{Listener, ListenerLimits};
pub use self::topic::TopicDefaults;

/// A broker's configuration. Made by [`BrokerConfig::from_pairs`] and [`BrokerConfig::from_properties`]; the default is Kafka's.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// `node.id`; 1 if not given.
    pub node_id: i32,
    /// `broker.rack`: where it stands; clients with `client.rack` see it.
    pub broker_rack: Option<String>,
    /// `log.dirs` or `log.dir`. Empty: everything is in memory.
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`: which of them has the metadata log; the first if not given.
    pub metadata_log_dir: Option<PathBuf>,
    /// `listeners`, without those of `controller.listener.names`: the controller is in this process.
    pub listeners: Vec<Listener>,
    /// `advertised.listeners`; empty: the listeners with the ports really bound.
    pub advertised_listeners: Vec<Listener>,
    /// `num.network.threads` (default 3): threads that read and write the sockets of each listener.
    pub num_network_threads: usize,
    /// `num.io.threads` (default 8): threads that handle requests, of all listeners together.
    pub num_io_threads: usize,
    /// `background.threads` (default 10): at most so many threads wait for syncs; there is none before the first sync.
    pub background_threads: usize,
    /// `queued.max.requests` (default 500): size of the request queue.
    pub queued_max_requests: usize,
    /// `queued.max.request.bytes` (default -1): bytes of queued frames; `None` = no limit (-1).
    pub queued_max_request_bytes: Option<u64>,
    /// `socket.send.buffer.bytes` (default 102400); `None` = the system's (-1).
    pub socket_send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes` (default 102400); `None` = the system's (-1).
    pub socket_receive_buffer_bytes: Option<usize>,
    /// `socket.request.max.bytes` (default 104857600): the largest frame in bytes.
    pub socket_request_max_bytes: usize,
    /// `socket.listen.backlog.size` (default 50): connections that the system holds until they are accepted.
    pub socket_listen_backlog_size: i32,
    /// `connections.max.idle.ms` (default 600000); `None` = never closed (negative).
    pub connections_max_idle_ms: Option<u64>,
    /// `max.connections` (default 2147483647): open connections, of all listeners together.
    pub max_connections: usize,
    /// `max.connections.per.ip` (default 2147483647): open connections of one address.
    pub max_connections_per_ip: usize,
    /// `max.connections.per.ip.overrides`: host name or address, and how many. Names are resolved at the start.
    pub max_connections_per_ip_overrides: Vec<(String, usize)>,
    /// `max.connection.creation.rate` (default 2147483647): new connections per second.
    pub max_connection_creation_rate: u32,
    /// What `listener.name.NAME.` keys say, by the listener's name.
    pub listener_limits: BTreeMap<String, ListenerLimits>,
    /// `inter.broker.listener.name`, if it is one of `listeners`; without it PLAINTEXT, if there is one of this name.
    pub inter_broker_listener: Option<String>,
    /// `num.partitions` (default 1): of a topic created without a count.
    pub num_partitions: i32,
    /// `default.replication.factor` (default 1): of a topic created without one.
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable` (default true): create topics on Metadata requests.
    pub auto_create_topics_enable: bool,
    /// `delete.topic.enable` (default true): whether clients may delete topics.
    pub delete_topic_enable: bool,
    /// `max.request.partition.size.limit` (default 2000): partitions in one DescribeTopicPartitions answer.
    pub max_request_partition_size_limit: usize,
    /// `max.incremental.fetch.session.cache.slots` (default 1000): fetch sessions kept.
    pub max_incremental_fetch_session_cache_slots: usize,
    /// `fetch.max.bytes` (default 57671680): the largest answer in bytes to a consumer's Fetch.
    pub fetch_max_bytes: usize,
    /// `producer.id.expiration.ms` (default 86400000): how long in ms a producer is remembered that sends nothing.
    pub producer_id_expiration_ms: i64,
    /// `producer.id.expiration.check.interval.ms` (default 600000): how often in ms that is looked at.
    pub producer_id_expiration_check_interval_ms: u64,
    /// `num.recovery.threads.per.data.dir` (default 2): logs recovered at a time, of each directory.
    pub num_recovery_threads_per_data_dir: usize,
    /// `log.initial.task.delay.ms` (default 30000): how long in ms until the first run of retention, flush and checkpoints.
    pub log_initial_task_delay_ms: u64,
    /// `log.retention.check.interval.ms` (default 300000): how often in ms it is looked for segments to remove.
    pub log_retention_check_interval_ms: u64,
    /// `log.flush.scheduler.interval.ms`, in ms (default: never): the default of a topic's `flush.ms`, and nothing else.
    pub log_flush_scheduler_interval_ms: u64,
    /// `log.flush.offset.checkpoint.interval.ms` (default 60000): how often in ms recovery points are written.
    pub log_flush_offset_checkpoint_interval_ms: u64,
    /// `log.flush.start.offset.checkpoint.interval.ms` (default 60000): how often in ms log starts are written.
    pub log_flush_start_offset_checkpoint_interval_ms: u64,
    /// `replica.high.watermark.checkpoint.interval.ms` (default 5000): how often in ms high watermarks are written.
    pub replica_high_watermark_checkpoint_interval_ms: u64,
    /// `metadata.log.segment.bytes` (default 1073741824): size in bytes at which a segment of the metadata log is closed.
    pub metadata_log_segment_bytes: u32,
    /// `metadata.log.max.record.bytes.between.snapshots` (default 20971520): bytes of the metadata log after which a snapshot is written.
    pub metadata_log_max_record_bytes_between_snapshots: u64,
    /// `metadata.log.max.snapshot.interval.ms` (default 3600000); 0 = snapshots by size only.
    pub metadata_log_max_snapshot_interval_ms: i64,
    /// `metadata.max.retention.bytes` (default 104857600); negative = no limit.
    pub metadata_max_retention_bytes: i64,
    /// `metadata.max.retention.ms` (default 604800000); negative = no limit.
    pub metadata_max_retention_ms: i64,
    /// What a topic gets without settings of its own, and how its settings are checked.
    pub topic_defaults: TopicDefaults,
    /// Keys that were given and have no effect, or only a part of it: those of a file first, in its order.
    pub ignored: Vec<IgnoredKey>,
    /// The settings that were made, as they were written.
    pub given: BTreeMap<String, String>,
}

/// One setting, and where it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Where.
    pub origin: Origin,
}

/// Where a setting was made; messages begin with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// In the program that runs the broker.
    #[default]
    Program,
    /// By this flag of a command.
    Flag(&'static str),
    /// In a file.
    File {
        /// Its name; empty for a text without one.
        name: Arc<str>,
        /// The line in which the setting begins, from 1.
        line: usize,
    },
}

/// A key that has no effect. Its `Display` is one line for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredKey {
    /// The key.
    pub key: String,
    /// Where it was set.
    pub origin: Origin,
    /// Why, as the end of a sentence that begins with the key.
    pub reason: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One entry per wrong key; at least one.
    pub problems: Vec<ConfigProblem>,
}

/// A wrong key or value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where it was set.
    pub origin: Origin,
    /// The key; empty when the text itself cannot be read.
    pub key: String,
    /// The value that was given.
    pub value: String,
    /// What is wrong and what is allowed.
    pub reason: String,
}

/// What an embedded broker starts from, before the keys of its user: a free port of 127.0.0.1, one thread of each kind.
pub const EMBEDDED_DEFAULTS: &[(&str, &str)] =
    &[("listeners", "PLAINTEXT://127.0.0.1:0"), ("num.network.threads", "1"), ("num.io.threads", "1")];

impl Default for BrokerConfig {
    fn default() -> Self {
        // an empty list of pairs has nothing in it that could be wrong
        Reader::new([]).read()
    }
}

impl BrokerConfig {
    /// Reads pairs of key and value; a later pair of the same key wins.
    ///
    /// # Errors
    /// Every wrong value at once.
    pub fn from_pairs<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<BrokerConfig, ConfigError>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let setting = |(key, value): (K, V)| Setting::new(key, value, Origin::Program);
        Self::from_settings(pairs.into_iter().map(setting))
    }

    /// Reads settings; a later one of the same key wins.
    ///
    /// # Errors
    /// Every wrong setting at once.
    pub fn from_settings(settings: impl IntoIterator<Item = Setting>) -> Result<BrokerConfig, ConfigError> {
        let mut reader = Reader::new(settings);
        reader.check();
        let config = reader.read();
        if reader.problems.is_empty() { Ok(config) } else { Err(ConfigError { problems: reader.problems }) }
    }

    /// Reads the text of a `server.properties` file.
    ///
    /// # Errors
    /// Every wrong setting at once, or every line that cannot be read.
    pub fn from_properties(text: &str) -> Result<BrokerConfig, ConfigError> {
        Self::from_settings(Setting::parse(text, "")?)
    }

    /// Whether everything is kept in memory.
    pub fn is_in_memory(&self) -> bool {
        self.log_dirs.is_empty()
    }
}

impl Setting {
    /// One setting.
    pub fn new(key: impl Into<String>, value: impl Into<String>, origin: Origin) -> Setting {
        Setting { key: key.into(), value: value.into(), origin }
    }

    /// The settings of a text in the syntax of Java's properties; `name` is its file's, for messages.
    ///
    /// # Errors
    /// Every line that cannot be read.
    pub fn parse(text: &str, name: &str) -> Result<Vec<Setting>, ConfigError> {
        let name: Arc<str> = name.into();
        let origin = |line| Origin::File { name: Arc::clone(&name), line };
        match properties::parse(text) {
            Ok(properties) => {
                Ok(properties.into_iter().map(|p| Setting::new(p.key, p.value, origin(p.line))).collect())
            }
            Err(errors) => {
                let problem = |error: properties::PropertyError| ConfigProblem {
                    origin: origin(error.line),
                    key: String::new(),
                    value: String::new(),
                    reason: error.problem,
                };
                Err(ConfigError { problems: errors.into_iter().map(problem).collect() })
            }
        }
    }
}

impl fmt::Display for Origin {
    /// With `": "` behind it, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Program => Ok(()),
            Origin::Flag(flag) => write!(f, "{flag}: "),
            Origin::File { name, line } if name.is_empty() => write!(f, "line {line}: "),
            Origin::File { name, line } => write!(f, "{name}:{line}: "),
        }
    }
}

impl fmt::Display for IgnoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} {}", self.origin, self.key, self.reason)
    }
}

impl fmt::Display for ConfigError {
    /// One line, or one for each of several.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = &self.problems[..] {
            return problem.fmt(f);
        }
        write!(f, "{} mistakes", self.problems.len())?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            return write!(f, "{}{}", self.origin, self.reason);
        }
        write!(f, "{}{}={}: {}", self.origin, self.key, self.value, self.reason)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests;
