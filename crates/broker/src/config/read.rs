//! From settings to a [`BrokerConfig`]: what is wrong is collected, what has no effect is listed, the rest is read. A wrong value
//! reads as the default, so that one mistake does not hide the next.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::keys::{self, Effect};
use super::listener::{ListenerLimits, Listeners};
use super::{BrokerConfig, ConfigProblem, IgnoredKey, Origin, Setting, TopicDefaults, value};

/// Keys that would protect the broker, with the value that asks for nothing. An operator who asks for protection must not get a
/// broker without it.
const PROTECTIONS: &[(&str, &str, &str)] = &[
    ("authorizer.class.name", "", "is not implemented; this broker lets everyone in"),
    ("ssl.client.auth", "none", "is not implemented; this broker lets everyone in"),
    ("security.inter.broker.protocol", "PLAINTEXT", "only PLAINTEXT is implemented"),
    ("create.topic.policy.class.name", "", "Java classes cannot be loaded, so this policy would not be kept"),
    ("alter.config.policy.class.name", "", "Java classes cannot be loaded, so this policy would not be kept"),
    (
        "config.providers",
        "",
        "Java classes cannot be loaded, so values like ${file:…} would be taken as they are written",
    ),
    ("remote.log.storage.system.enable", "false", "tiered storage is not implemented"),
];

/// How keys of one listener begin: `listener.name.NAME.KEY`.
const LISTENER_PREFIX: &str = "listener.name.";

#[derive(Default)]
pub(super) struct Reader {
    set: BTreeMap<String, String>,
    origins: BTreeMap<String, Origin>,
    pub(super) problems: Vec<ConfigProblem>,
}

impl Reader {
    pub(super) fn new(settings: impl IntoIterator<Item = Setting>) -> Self {
        let mut reader = Self::default();
        for Setting { key, value, origin } in settings {
            reader.origins.insert(key.clone(), origin);
            reader.set.insert(key, value);
        }
        reader
    }

    /// What can be said of single values, and what this broker must refuse.
    pub(super) fn check(&mut self) {
        let mut wrong: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.set {
            // a key of a list or text that is set to nothing is unset; a number that is nothing is a mistake
            if let Some(key) = keys::find(name)
                && !key.kind.admits(value)
            {
                wrong.push((name.clone(), format!("must be {}", key.kind)));
            }
        }
        for (name, reason) in wrong {
            self.problem(&name, reason);
            self.set.remove(&name);
        }
        for (key, open, reason) in PROTECTIONS {
            if self.set.get(*key).is_some_and(|value| !value.trim().eq_ignore_ascii_case(open)) {
                self.problem(key, *reason);
            }
        }
        if self.set.get("default.replication.factor").is_some_and(|value| {
            !value.trim().parse::<i64>().is_ok_and(|n| (1..=i64::from(i16::MAX)).contains(&n))
        }) {
            self.problem("default.replication.factor", "must be a whole number from 1 to 32767");
        }
        let frame_max = self.number("socket.request.max.bytes", 104_857_600);
        if (1..frame_max).contains(&self.number("queued.max.request.bytes", -1)) {
            self.problem(
                "queued.max.request.bytes",
                format!("must be at least socket.request.max.bytes ({frame_max}), or -1 for no limit"),
            );
        }
        self.check_roles();
    }

    /// This process is broker and controller, and the only one. A broker that was meant to be one of several must not start
    /// as a cluster of its own.
    fn check_roles(&mut self) {
        if let Some(roles) = self.text("process.roles") {
            let has = |role| value::list(&roles).any(|r| r == role);
            if !has("broker") || !has("controller") {
                self.problem(
                    "process.roles",
                    "must be broker,controller: joining a cluster whose controllers are other processes is not implemented",
                );
            }
        }
        if let (Some(broker), Some(node)) = (self.text("broker.id"), self.text("node.id"))
            && broker != node
        {
            self.problem("broker.id", format!("must be the same as node.id ({node}), or left out"));
        }
        if let Some(voters) = self.text("controller.quorum.voters") {
            let node_id = self.node_id().to_string();
            let own = |voter: &str| voter.split_once('@').is_some_and(|(id, _)| id == node_id);
            if value::list(&voters).count() != 1 || !value::list(&voters).all(own) {
                self.problem(
                    "controller.quorum.voters",
                    format!("must name this node ({node_id}@host:port) and no other: a quorum of several is not implemented"),
                );
            }
        }
        if self
            .text("controller.quorum.bootstrap.servers")
            .is_some_and(|servers| value::list(&servers).count() > 1)
        {
            self.problem(
                "controller.quorum.bootstrap.servers",
                "must name this node and no other: a quorum of several is not implemented",
            );
        }
    }

    pub(super) fn read(&mut self) -> BrokerConfig {
        let Listeners { bound, advertised, of_controller, inter_broker } = Listeners::read(self);
        // what has no effect must not look as if it had: a topic's default is shown to clients
        let has_effect =
            |key: &str| !matches!(keys::find(key).map(|key| key.effect), Some(Effect::Ignored(_)));
        let in_effect = self.set.iter().filter(|(key, _)| has_effect(key));
        let in_effect = in_effect.map(|(key, value)| (key.clone(), value.clone())).collect();
        let topic_defaults = TopicDefaults::from_broker_keys(&in_effect);
        if let Err(error) = topic_defaults.validate(&BTreeMap::new()) {
            self.problems.push(ConfigProblem {
                origin: Origin::Program,
                key: String::new(),
                value: String::new(),
                reason: error.message,
            });
        }
        let overrides = self.connection_overrides();
        let listener_limits = self.listener_limits();
        let mut ignored =
            self.ignored(|name| bound.iter().any(|listener| listener.name.eq_ignore_ascii_case(name)));
        for listener in of_controller {
            let reason = format!("names {listener}, which is not opened: the controller is in this process");
            ignored.push(self.ignore("listeners", reason));
        }
        // as they stand in the file
        ignored.sort_by_key(|ignored| match ignored.origin {
            Origin::File { line, .. } => line,
            Origin::Program | Origin::Flag(_) => usize::MAX,
        });
        BrokerConfig {
            node_id: self.node_id(),
            broker_rack: self.text("broker.rack"),
            log_dirs: self.log_dirs(),
            metadata_log_dir: self.text("metadata.log.dir").map(PathBuf::from),
            listeners: bound,
            advertised_listeners: advertised,
            inter_broker_listener: inter_broker,
            num_network_threads: self.number("num.network.threads", 3) as usize,
            num_io_threads: self.number("num.io.threads", 8) as usize,
            background_threads: self.number("background.threads", 10) as usize,
            queued_max_requests: self.number("queued.max.requests", 500) as usize,
            queued_max_request_bytes: self.limit("queued.max.request.bytes", -1).filter(|bytes| *bytes > 0),
            socket_send_buffer_bytes: self.limit("socket.send.buffer.bytes", 102_400).map(|n| n as usize),
            socket_receive_buffer_bytes: self
                .limit("socket.receive.buffer.bytes", 102_400)
                .map(|n| n as usize),
            socket_request_max_bytes: self.number("socket.request.max.bytes", 104_857_600) as usize,
            socket_listen_backlog_size: self.number("socket.listen.backlog.size", 50) as i32,
            connections_max_idle_ms: self.limit("connections.max.idle.ms", 600_000),
            max_connections: self.number("max.connections", i64::from(i32::MAX)) as usize,
            max_connections_per_ip: self.number("max.connections.per.ip", i64::from(i32::MAX)) as usize,
            max_connections_per_ip_overrides: overrides,
            max_connection_creation_rate: self.number("max.connection.creation.rate", i64::from(i32::MAX))
                as u32,
            listener_limits,
            num_partitions: self.number("num.partitions", 1) as i32,
            default_replication_factor: self.number("default.replication.factor", 1) as i16,
            auto_create_topics_enable: self.flag("auto.create.topics.enable", true),
            delete_topic_enable: self.flag("delete.topic.enable", true),
            fetch_max_bytes: self.number("fetch.max.bytes", 57_671_680) as usize,
            max_incremental_fetch_session_cache_slots: self
                .number("max.incremental.fetch.session.cache.slots", 1000)
                as usize,
            max_request_partition_size_limit: self.number("max.request.partition.size.limit", 2000) as usize,
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
            metadata_log_max_record_bytes_between_snapshots: self
                .interval("metadata.log.max.record.bytes.between.snapshots", 20_971_520),
            metadata_log_max_snapshot_interval_ms: self
                .number("metadata.log.max.snapshot.interval.ms", 3_600_000),
            metadata_max_retention_bytes: self.number("metadata.max.retention.bytes", 104_857_600),
            metadata_max_retention_ms: self.number("metadata.max.retention.ms", 604_800_000),
            topic_defaults,
            ignored,
            given: self.set.clone(),
        }
    }

    /// The value without blanks around it; `None` if there is none.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.set.get(key).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    pub(super) fn problem(&mut self, key: &str, reason: impl Into<String>) {
        let value = self.set.get(key).cloned().unwrap_or_default();
        self.problems.push(ConfigProblem {
            origin: self.origin(key),
            key: key.to_owned(),
            value,
            reason: reason.into(),
        });
    }

    pub(super) fn has_problem(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_default()
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

    fn node_id(&self) -> i32 {
        self.number("node.id", self.number("broker.id", 1)) as i32
    }

    fn log_dirs(&mut self) -> Vec<PathBuf> {
        let key = if self.set.contains_key("log.dirs") { "log.dirs" } else { "log.dir" };
        let dirs: Vec<PathBuf> =
            value::list(self.set.get(key).map_or("", String::as_str)).map(PathBuf::from).collect();
        if dirs.iter().enumerate().any(|(n, dir)| dirs[..n].contains(dir)) {
            self.problem(key, "names a directory twice");
        }
        let elsewhere = self.text("metadata.log.dir").map(PathBuf::from);
        if elsewhere.is_some_and(|dir| !dirs.contains(&dir)) {
            self.problem("metadata.log.dir", "must be one of log.dirs; another directory is not implemented");
        }
        dirs
    }

    /// `max.connections.per.ip.overrides`: `host:count`, comma separated.
    fn connection_overrides(&mut self) -> Vec<(String, usize)> {
        let key = "max.connections.per.ip.overrides";
        let text = self.text(key).unwrap_or_default();
        let mut overrides = Vec::new();
        for part in value::list(&text) {
            let host_and_count = part.rsplit_once(':').and_then(|(host, count)| {
                let host = host.trim();
                let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                let count = count.trim().parse().ok().filter(|count| *count <= i32::MAX as usize)?;
                (!host.is_empty()).then(|| (host.to_owned(), count))
            });
            match host_and_count {
                Some(entry) => overrides.push(entry),
                None => self.problem(key, format!("{part:?} is not of the form host:count")),
            }
        }
        overrides
    }

    /// `listener.name.NAME.max.connections` and its like.
    fn listener_limits(&mut self) -> BTreeMap<String, ListenerLimits> {
        let mut limits: BTreeMap<String, ListenerLimits> = BTreeMap::new();
        let mut wrong = Vec::new();
        for (key, value) in &self.set {
            let Some((name, inner)) = split_listener_key(key) else { continue };
            let limit = limits.entry(name.to_ascii_uppercase());
            let number: Option<u32> = value.trim().parse().ok().filter(|n| *n <= i32::MAX as u32);
            match (inner, number) {
                ("max.connections", Some(n)) => limit.or_default().max_connections = Some(n as usize),
                ("max.connection.creation.rate", Some(n)) => {
                    limit.or_default().max_connection_creation_rate = Some(n);
                }
                ("max.connections" | "max.connection.creation.rate", None) => wrong.push(key.clone()),
                _ => {}
            }
        }
        for key in wrong {
            self.problem(&key, "must be a whole number from 0 to 2147483647");
        }
        limits
    }

    /// Every key that was set and has no effect, with the reason.
    fn ignored(&self, is_listener: impl Fn(&str) -> bool) -> Vec<IgnoredKey> {
        let why = |key: &str| -> Option<String> {
            if let Some((listener, inner)) = split_listener_key(key) {
                return match inner {
                    _ if !is_listener(listener) => {
                        Some(format!("is ignored: no listener has the name {listener:?}"))
                    }
                    "max.connections" | "max.connection.creation.rate" => None,
                    _ if is_security(inner) => Some(format!("is ignored: {}", keys::SECURITY)),
                    _ => Some("is ignored: what it says cannot be said of one listener alone yet".to_owned()),
                };
            }
            match keys::find(key).map(|key| key.effect) {
                Some(Effect::Honoured | Effect::Topics) => None,
                Some(Effect::Ignored(reason)) => Some(format!("is ignored: {reason}")),
                None if key == "broker.id" => None,
                None => Some(match (keys::reason_of_other(key), keys::similar_to(key)) {
                    (Some(reason), _) => format!("is ignored: {reason}"),
                    (None, Some(similar)) => {
                        format!("is ignored: Kafka has no such key; did you mean {similar}?")
                    }
                    (None, None) => "is ignored: Kafka has no such key".to_owned(),
                }),
            }
        };
        self.set.keys().filter_map(|key| Some(self.ignore(key, why(key)?))).collect()
    }

    fn ignore(&self, key: &str, reason: String) -> IgnoredKey {
        IgnoredKey { key: key.to_owned(), origin: self.origin(key), reason }
    }
}

/// Name and inner key of `listener.name.NAME.KEY`.
fn split_listener_key(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(LISTENER_PREFIX)?.split_once('.')
}

fn is_security(key: &str) -> bool {
    // mechanisms stand before some keys: scram-sha-256.sasl.jaas.config
    ["ssl.", "sasl."].iter().any(|part| key.starts_with(part) || key.contains(&format!(".{part}")))
        || matches!(key, "principal.builder.class" | "connections.max.reauth.ms")
}
