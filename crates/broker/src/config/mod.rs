//! Configuration by Kafka's own keys: what the broker was told, checked, with defaults.
//!
//! Pairs or a `server.properties` text go in; a typed [`BrokerConfig`] comes out, or a [`ConfigError`] that names every wrong key,
//! its value and what is allowed. Keys that this version does not know or does not use are listed in
//! [`BrokerConfig::ignored`], so that a server can say so (E12). Defaults and ranges are those of
//! `docs/reference/broker-configs.tsv`.

pub(crate) mod describe;
mod keys;
mod meaning;
mod topic;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use rohrpost_net::properties::{self, PropertyError};

pub use self::topic::TopicDefaults;

/// A broker's configuration. Made by [`BrokerConfig::from_pairs`] and [`BrokerConfig::from_properties`]; the default is Kafka's.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// `node.id`; 1 if not given.
    pub node_id: i32,
    /// `broker.rack`.
    pub broker_rack: Option<String>,
    /// `log.dirs` or `log.dir`: at most one directory for now. Empty: everything is in memory.
    pub log_dirs: Vec<PathBuf>,
    /// `listeners`, without those of `controller.listener.names`: the controller is in this process.
    pub listeners: Vec<Listener>,
    /// `advertised.listeners`; empty: the listeners with the ports really bound.
    pub advertised_listeners: Vec<Listener>,
    /// `num.network.threads`.
    pub num_network_threads: usize,
    /// `num.io.threads`.
    pub num_io_threads: usize,
    /// `queued.max.requests`: size of the request queue.
    pub queued_max_requests: usize,
    /// `queued.max.request.bytes`: memory of queued frames; `None` = no limit (-1).
    pub queued_max_request_bytes: Option<u64>,
    /// `socket.send.buffer.bytes`; `None` = the system's (-1).
    pub socket_send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` = the system's (-1).
    pub socket_receive_buffer_bytes: Option<usize>,
    /// `socket.request.max.bytes`: largest frame.
    pub socket_request_max_bytes: usize,
    /// `socket.listen.backlog.size`.
    pub socket_listen_backlog_size: i32,
    /// `connections.max.idle.ms`; `None` = never closed (negative).
    pub connections_max_idle_ms: Option<u64>,
    /// `max.connections`.
    pub max_connections: usize,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: usize,
    /// `num.partitions`: of a topic created without a count.
    pub num_partitions: i32,
    /// `default.replication.factor`: of a topic created without one.
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`: create topics on Metadata requests.
    pub auto_create_topics_enable: bool,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// `max.request.partition.size.limit`: partitions in one DescribeTopicPartitions answer.
    pub max_request_partition_size_limit: usize,
    /// `max.incremental.fetch.session.cache.slots`: fetch sessions kept.
    pub max_incremental_fetch_session_cache_slots: usize,
    /// `fetch.max.bytes`: largest consumer fetch answer.
    pub fetch_max_bytes: usize,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_id_expiration_check_interval_ms: u64,
    /// `num.recovery.threads.per.data.dir`.
    pub num_recovery_threads_per_data_dir: usize,
    /// `log.initial.task.delay.ms`: wait before the first run of retention, flush and checkpoints.
    pub log_initial_task_delay_ms: u64,
    /// `log.retention.check.interval.ms`.
    pub log_retention_check_interval_ms: u64,
    /// `log.flush.scheduler.interval.ms`: how often the age check of `flush.ms` runs.
    pub log_flush_scheduler_interval_ms: u64,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub log_flush_offset_checkpoint_interval_ms: u64,
    /// `log.flush.start.offset.checkpoint.interval.ms`.
    pub log_flush_start_offset_checkpoint_interval_ms: u64,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub replica_high_watermark_checkpoint_interval_ms: u64,
    /// `metadata.log.segment.bytes`.
    pub metadata_log_segment_bytes: u32,
    /// What a topic gets without settings of its own, and how its settings are checked.
    pub topic_defaults: TopicDefaults,
    /// Keys that were given and have no effect, in the order of their names.
    pub ignored: Vec<IgnoredKey>,
    /// All keys as they were given.
    pub(crate) given: BTreeMap<String, String>,
}

/// `NAME://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name. Its protocol is PLAINTEXT: others are refused for now.
    pub name: String,
    /// Host name or address, IPv6 without brackets. Empty: all interfaces to bind, or the host's own name to advertise.
    pub host: String,
    /// The port; 0 = any free one.
    pub port: u16,
}

/// A key that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredKey {
    /// The key.
    pub key: String,
    /// Why, as the end of a sentence that begins with the key.
    pub reason: &'static str,
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
        Reader::default().read()
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
        let set = pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let mut reader = Reader { set, problems: Vec::new() };
        reader.check();
        let config = reader.read();
        if reader.problems.is_empty() { Ok(config) } else { Err(ConfigError { problems: reader.problems }) }
    }

    /// Reads the text of a `server.properties` file.
    ///
    /// # Errors
    /// Every wrong value at once, or every line that cannot be read.
    pub fn from_properties(text: &str) -> Result<BrokerConfig, ConfigError> {
        match properties::parse(text) {
            Ok(properties) => Self::from_pairs(properties.into_iter().map(|p| (p.key, p.value))),
            Err(errors) => {
                let problem = |error: PropertyError| ConfigProblem {
                    key: String::new(),
                    value: String::new(),
                    reason: error.to_string(),
                };
                Err(ConfigError { problems: errors.into_iter().map(problem).collect() })
            }
        }
    }

    /// Whether everything is kept in memory.
    pub fn is_in_memory(&self) -> bool {
        self.log_dirs.is_empty()
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}={}: {}", self.key, self.value, self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// Turns pairs into a configuration and collects what is wrong. A wrong value reads as the default.
#[derive(Default)]
struct Reader {
    set: BTreeMap<String, String>,
    problems: Vec<ConfigProblem>,
}

impl Reader {
    fn check(&mut self) {
        let mut problems = Vec::new();
        for (name, value) in &self.set {
            if let Some(key) = keys::find(name)
                && !key.kind.admits(value)
            {
                let reason = format!("must be {}", key.kind);
                problems.push(ConfigProblem { key: name.clone(), value: value.clone(), reason });
            }
        }
        for problem in &problems {
            self.set.remove(&problem.key);
        }
        self.problems = problems;
        // An operator who asks for protection must not get a broker without it.
        for (key, open) in [("authorizer.class.name", ""), ("ssl.client.auth", "none")] {
            if self.set.get(key).is_some_and(|value| value.trim() != open) {
                self.problem(key, "is not implemented; this broker lets everyone in");
            }
        }
        let protocol = self.set.get("security.inter.broker.protocol");
        if protocol.is_some_and(|value| value.trim() != "PLAINTEXT") {
            self.problem("security.inter.broker.protocol", "only PLAINTEXT is implemented");
        }
        if self.set.get("default.replication.factor").is_some_and(|value| {
            !value.trim().parse::<i64>().is_ok_and(|n| (1..=i64::from(i16::MAX)).contains(&n))
        }) {
            self.problem("default.replication.factor", "must be a whole number from 1 to 32767");
        }
    }

    fn read(&mut self) -> BrokerConfig {
        let (listeners, advertised_listeners) = self.listeners();
        let topic_defaults = TopicDefaults::from_broker_keys(&self.set);
        if let Err(error) = topic_defaults.validate(&BTreeMap::new()) {
            self.problems.push(ConfigProblem {
                key: String::new(),
                value: String::new(),
                reason: error.message,
            });
        }
        BrokerConfig {
            node_id: self.number("node.id", 1) as i32,
            broker_rack: self.text("broker.rack"),
            log_dirs: self.log_dirs(),
            listeners,
            advertised_listeners,
            num_network_threads: self.number("num.network.threads", 3) as usize,
            num_io_threads: self.number("num.io.threads", 8) as usize,
            queued_max_requests: self.number("queued.max.requests", 500) as usize,
            queued_max_request_bytes: self.limit("queued.max.request.bytes", -1),
            socket_send_buffer_bytes: self.limit("socket.send.buffer.bytes", 102_400).map(|n| n as usize),
            socket_receive_buffer_bytes: self
                .limit("socket.receive.buffer.bytes", 102_400)
                .map(|n| n as usize),
            socket_request_max_bytes: self.number("socket.request.max.bytes", 104_857_600) as usize,
            socket_listen_backlog_size: self.number("socket.listen.backlog.size", 50) as i32,
            connections_max_idle_ms: self.limit("connections.max.idle.ms", 600_000),
            max_connections: self.number("max.connections", i64::from(i32::MAX)) as usize,
            max_connections_per_ip: self.number("max.connections.per.ip", i64::from(i32::MAX)) as usize,
            num_partitions: self.number("num.partitions", 1) as i32,
            default_replication_factor: self.number("default.replication.factor", 1) as i16,
            auto_create_topics_enable: self.flag("auto.create.topics.enable", true),
            delete_topic_enable: self.flag("delete.topic.enable", true),
            max_request_partition_size_limit: self.number("max.request.partition.size.limit", 2_000) as usize,
            max_incremental_fetch_session_cache_slots: self
                .number("max.incremental.fetch.session.cache.slots", 1_000)
                as usize,
            fetch_max_bytes: self.number("fetch.max.bytes", 57_671_680) as usize,
            producer_id_expiration_ms: self.number("producer.id.expiration.ms", 86_400_000),
            producer_id_expiration_check_interval_ms: self
                .interval("producer.id.expiration.check.interval.ms", 600_000),
            num_recovery_threads_per_data_dir: self.number("num.recovery.threads.per.data.dir", 2) as usize,
            log_initial_task_delay_ms: self.interval("log.initial.task.delay.ms", 30_000),
            log_retention_check_interval_ms: self.interval("log.retention.check.interval.ms", 300_000),
            log_flush_scheduler_interval_ms: self.interval("log.flush.scheduler.interval.ms", i64::MAX),
            log_flush_offset_checkpoint_interval_ms: self
                .interval("log.flush.offset.checkpoint.interval.ms", 60_000),
            log_flush_start_offset_checkpoint_interval_ms: self
                .interval("log.flush.start.offset.checkpoint.interval.ms", 60_000),
            replica_high_watermark_checkpoint_interval_ms: self
                .interval("replica.high.watermark.checkpoint.interval.ms", 5_000),
            metadata_log_segment_bytes: self.number("metadata.log.segment.bytes", 1 << 30) as u32,
            topic_defaults,
            ignored: self.ignored(),
            given: self.set.clone(),
        }
    }

    fn number(&self, key: &str, default: i64) -> i64 {
        self.set.get(key).and_then(|value| value.trim().parse().ok()).unwrap_or(default)
    }

    fn interval(&self, key: &str, default: i64) -> u64 {
        self.number(key, default).max(0) as u64
    }

    /// A number where anything negative means none.
    fn limit(&self, key: &str, default: i64) -> Option<u64> {
        u64::try_from(self.number(key, default)).ok()
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.set.get(key).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
    }

    fn text(&self, key: &str) -> Option<String> {
        self.set.get(key).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn problem(&mut self, key: &str, reason: impl Into<String>) {
        let value = self.set.get(key).cloned().unwrap_or_default();
        self.problems.push(ConfigProblem { key: key.to_owned(), value, reason: reason.into() });
    }

    fn log_dirs(&mut self) -> Vec<PathBuf> {
        let key = if self.set.contains_key("log.dirs") { "log.dirs" } else { "log.dir" };
        let dirs: Vec<PathBuf> =
            value::list(self.set.get(key).map_or("", String::as_str)).map(PathBuf::from).collect();
        if dirs.len() > 1 {
            self.problem(key, "several data directories are not implemented; name one");
        }
        let elsewhere = self.set.get("metadata.log.dir").map(|dir| PathBuf::from(dir.trim()));
        if elsewhere.is_some_and(|dir| !dirs.contains(&dir)) {
            self.problem("metadata.log.dir", "must be the data directory; another one is not implemented");
        }
        dirs
    }

    fn listeners(&mut self) -> (Vec<Listener>, Vec<Listener>) {
        let controller = self.text("controller.listener.names").unwrap_or_default();
        let of_broker = |listener: &Listener| !value::list(&controller).any(|name| name == listener.name);
        let bound = self.listener_list("listeners").unwrap_or_else(|| {
            vec![Listener { name: "PLAINTEXT".to_owned(), host: String::new(), port: 9092 }]
        });
        let advertised = self.listener_list("advertised.listeners").unwrap_or_default();
        let bound: Vec<Listener> = bound.into_iter().filter(of_broker).collect();
        let advertised: Vec<Listener> = advertised.into_iter().filter(of_broker).collect();
        self.check_protocols(&bound);
        if bound.is_empty() {
            self.problem("listeners", "must name at least one listener that is not the controller's");
        }
        for listener in &advertised {
            if !bound.iter().any(|b| b.name == listener.name) {
                self.problem("advertised.listeners", format!("{} is not one of listeners", listener.name));
            }
            if matches!(listener.host.as_str(), "0.0.0.0" | "::") {
                self.problem(
                    "advertised.listeners",
                    format!("{listener} is no address that a client can reach"),
                );
            }
        }
        (bound, advertised)
    }

    /// `None` if the key is not set.
    fn listener_list(&mut self, key: &str) -> Option<Vec<Listener>> {
        let text = self.text(key)?;
        let mut listeners: Vec<Listener> = Vec::new();
        for part in value::list(&text) {
            match parse_listener(part) {
                Some(listener) if listeners.iter().any(|other| other.name == listener.name) => {
                    self.problem(key, format!("names {} twice", listener.name));
                }
                Some(listener) => listeners.push(listener),
                None => self.problem(key, format!("{part:?} is not of the form NAME://host:port")),
            }
        }
        Some(listeners)
    }

    fn check_protocols(&mut self, listeners: &[Listener]) {
        let map = self.text("listener.security.protocol.map");
        for listener in listeners {
            let mapped = map.as_deref().and_then(|map| {
                value::list(map)
                    .find_map(|entry| entry.strip_prefix(listener.name.as_str())?.strip_prefix(':'))
            });
            match mapped.or(map.is_none().then_some(listener.name.as_str())) {
                Some("PLAINTEXT") => {}
                Some("SSL" | "SASL_PLAINTEXT" | "SASL_SSL") => {
                    self.problem("listeners", format!("{listener}: only PLAINTEXT is implemented"));
                }
                _ => self.problem(
                    "listeners",
                    format!(
                        "{} has no protocol; add {0}:PLAINTEXT to listener.security.protocol.map",
                        listener.name
                    ),
                ),
            }
        }
    }

    fn ignored(&self) -> Vec<IgnoredKey> {
        let unused = |key: &&String| !USED.contains(&key.as_str()) && !topic::is_synonym(key);
        let ignore = |key: &String| IgnoredKey {
            key: key.clone(),
            reason: if keys::find(key).is_some() {
                "is a key of Kafka's that this version does not use yet"
            } else {
                "is not a key that this version knows"
            },
        };
        self.set.keys().filter(unused).map(ignore).collect()
    }
}

fn parse_listener(text: &str) -> Option<Listener> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    let port = port.parse().ok()?;
    is_name(name).then(|| Listener { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
}

/// Broker keys that have a field or a check above. The keys that give topics their defaults are used too.
const USED: &[&str] = &[
    "process.roles",
    "node.id",
    "broker.rack",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "security.inter.broker.protocol",
    "controller.listener.names",
    "num.network.threads",
    "num.io.threads",
    "queued.max.requests",
    "queued.max.request.bytes",
    "socket.send.buffer.bytes",
    "socket.receive.buffer.bytes",
    "socket.request.max.bytes",
    "socket.listen.backlog.size",
    "connections.max.idle.ms",
    "max.connections",
    "max.connections.per.ip",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "num.partitions",
    "default.replication.factor",
    "auto.create.topics.enable",
    "delete.topic.enable",
    "max.request.partition.size.limit",
    "max.incremental.fetch.session.cache.slots",
    "fetch.max.bytes",
    "producer.id.expiration.ms",
    "producer.id.expiration.check.interval.ms",
    "num.recovery.threads.per.data.dir",
    "log.initial.task.delay.ms",
    "log.retention.check.interval.ms",
    "log.flush.scheduler.interval.ms",
    "log.flush.offset.checkpoint.interval.ms",
    "log.flush.start.offset.checkpoint.interval.ms",
    "replica.high.watermark.checkpoint.interval.ms",
    "metadata.log.segment.bytes",
];

#[cfg(test)]
mod tests;
