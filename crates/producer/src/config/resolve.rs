//! Settings to a [`Config`]: every key looked up, every value checked, the rules across keys applied, and all mistakes
//! reported together (CFG-6). What topics have of their own is read by `topics`, rules of security and transactions by `cross`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use rohrpost_net::Address;
use rohrpost_protocol::topic_name;
use tracing::warn;

use super::builder::Setting;
use super::error::{ConfigError, ConfigErrors, Origin};
use super::keys::{self, Convert, Fate};
use super::topics::{self, Codecs, TopicKey};
use super::{Acks, Config, StopOnFailure, TopicRecreation, catalogue, parse, suggest};
use crate::partitioner::PartitionerClass;
use crate::serializer;

pub(super) const INT_MAX: u64 = i32::MAX as u64;
const LONG_MAX: u64 = i64::MAX as u64;

/// ▸ RTY-1, MET-4: a wait of a second that begins just before a partition takes writes again is a second more without them. Two
/// doublings make 320–479 ms of 100.
const RETRY_BACKOFF_STEP_MAX: u32 = 2;
/// Kafka's default.
const RETRY_BACKOFF_MAX_MS: u64 = 1000;

/// Checks all settings; warnings go to the log.
pub(super) fn resolve_and_warn(settings: &[Setting]) -> Result<Config, ConfigErrors> {
    let (result, warnings) = resolve(settings);
    for warning in warnings {
        warn!("configuration: {warning}");
    }
    result
}

/// Checks all settings; gives the warnings as texts.
pub(super) fn resolve(settings: &[Setting]) -> (Result<Config, ConfigErrors>, Vec<String>) {
    let mut resolver = Resolver::default();
    for setting in last_of_each(settings) {
        resolver.place(setting);
    }
    resolver.place_legacy();
    let config = resolver.config();
    if let Some(config) = &config {
        resolver.check_security();
        resolver.check_transactions(config.enable_idempotence);
    }
    let Resolver { errors, warnings, .. } = resolver;
    match config {
        Some(config) if errors.is_empty() => (Ok(config), warnings),
        _ => (Err(ConfigErrors::new(errors)), warnings),
    }
}

/// The last setting of each key, in the order in which the keys first came.
fn last_of_each(settings: &[Setting]) -> Vec<&Setting> {
    let mut order: Vec<&Setting> = Vec::new();
    for setting in settings {
        match order.iter_mut().find(|s| s.key == setting.key) {
            Some(earlier) => *earlier = setting,
            None => order.push(setting),
        }
    }
    order
}

#[derive(Default)]
pub(super) struct Resolver<'a> {
    /// Honoured keys that were set, by their modern name.
    pub(super) set: Set<'a>,
    /// The same of single topics (CFG-17).
    pub(super) topics: BTreeMap<String, Set<'a>>,
    /// Keys of what is not there yet.
    pub(super) others: BTreeMap<&'static str, &'a Setting>,
    legacy: Vec<(&'static str, Convert, &'a Setting)>,
    errors: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
}

pub(super) type Set<'a> = BTreeMap<&'static str, Given<'a>>;

/// What a key's number counts, in brackets: who has written `5s` or `16k` sees why that is wrong.
fn unit(key: &str) -> &'static str {
    match key {
        _ if key.ends_with(".ms") => " (milliseconds)",
        "batch.size" | "buffer.memory" | "max.request.size" => " (bytes)",
        _ if key.ends_with(".bytes") => " (bytes)",
        _ => "",
    }
}

/// A setting under its modern name.
pub(super) struct Given<'a> {
    value: String,
    setting: &'a Setting,
}

impl<'a> Resolver<'a> {
    /// Looks the key up and does what its entry says.
    fn place(&mut self, setting: &'a Setting) {
        let Some(key) = keys::find(&setting.key) else { return self.place_unknown(setting) };
        match &key.fate {
            Fate::Honoured => {
                self.set.insert(key.name, Given { value: setting.value.clone(), setting });
            }
            Fate::OfTopic => match topics::read(&setting.key) {
                TopicKey::Of(topic, key) => {
                    let given = Given { value: setting.value.clone(), setting };
                    self.place_for_topic(topic, key, given);
                }
                TopicKey::Wrong(problem) => self.refuse(setting, problem),
                TopicKey::Unknown => self.place_unknown(setting),
            },
            Fate::NotYet { what, default } => {
                self.others.insert(key.name, setting);
                let value = setting.value.trim();
                let as_default =
                    value.eq_ignore_ascii_case(default) || (default.is_empty() && value == "null");
                if !as_default {
                    self.refuse(setting, format!("{what} not supported yet"));
                }
            }
            Fate::Ignored(why) => match catalogue::check(key.name, &setting.value) {
                Ok(()) => self.warnings.push(format!("{} has no effect: {why}", setting.key)),
                Err(problem) => self.refuse(setting, problem),
            },
            Fate::Serializer(part) => {
                let hint = serializer::instead_of(setting.value.trim(), part);
                self.warnings.push(format!("{} has no effect: {hint}", setting.key)); // CFG-3
            }
            Fate::Legacy { modern, convert } => self.legacy.push((modern, *convert, setting)),
            Fate::Misspelt(right) => self.refuse(setting, format!("unknown key; did you mean {right}?")),
            Fate::NotOurs(hint) => self.refuse(setting, format!("not a producer's key: {hint}")),
        }
    }

    /// CFG-4: near misses are refused, and what was set one by one; others may be meant for somebody else.
    fn place_unknown(&mut self, setting: &Setting) {
        let key = &setting.key;
        if setting.origin == Origin::Code || suggest::near_miss(key).is_some() {
            self.refuse(setting, suggest::with_hint("unknown key", key));
        } else {
            let warning = format!("{key} is not a key of a producer and has no effect");
            self.warnings.push(suggest::with_hint(&warning, key));
        }
    }

    /// CFG-19: legacy keys stand in for modern ones, with a warning; both together must say the same.
    fn place_legacy(&mut self) {
        for (modern, convert, setting) in std::mem::take(&mut self.legacy) {
            let value = match converted(convert, &setting.value) {
                Ok(Some(value)) => value,
                Ok(None) => {
                    self.warnings.push(format!("{} has no effect; {modern} is today's key", setting.key));
                    continue;
                }
                Err(problem) => {
                    self.refuse(setting, problem);
                    continue;
                }
            };
            self.warnings
                .push(format!("{} is an old key; {modern}={value} says the same today", setting.key));
            match self.set.get(modern) {
                Some(other) if other.value.trim() != value.trim() => {
                    let problem = format!("contradicts {}={}", other.setting.key, other.setting.value);
                    self.refuse(setting, problem);
                }
                Some(_) => {}
                None => {
                    self.set.insert(modern, Given { value, setting });
                }
            }
        }
    }

    fn config(&mut self) -> Option<Config> {
        let acks = self.acks();
        let retries = self.number("retries", INT_MAX, 0, INT_MAX) as u32;
        let max_in_flight = self.number("max.in.flight.requests.per.connection", 5, 1, INT_MAX) as usize;
        let enable_idempotence = self.idempotence(acks, retries, max_in_flight);
        let linger_ms = self.linger_ms(5);
        let request_timeout_ms = self.number("request.timeout.ms", 30_000, 0, INT_MAX);
        let delivery_timeout_ms = self.delivery_timeout(linger_ms, request_timeout_ms);
        let reconnect_backoff_ms = self.number("reconnect.backoff.ms", 50, 0, LONG_MAX);
        // CFG-10: only the first one set means no growth.
        let reconnect_max_default =
            if self.is_set("reconnect.backoff.ms") { reconnect_backoff_ms } else { 1000 };
        let reconnect_backoff_max_ms =
            self.number("reconnect.backoff.max.ms", reconnect_max_default, 0, LONG_MAX);
        let retry_backoff_ms = self.number("retry.backoff.ms", 100, 0, LONG_MAX);
        let retry_backoff_max_ms = self.number("retry.backoff.max.ms", RETRY_BACKOFF_MAX_MS, 0, LONG_MAX);
        let has_defaults = retry_backoff_max_ms == RETRY_BACKOFF_MAX_MS && u64::from(retries) == INT_MAX;
        let retry_backoff_step_max = if has_defaults { RETRY_BACKOFF_STEP_MAX } else { u32::MAX };
        if retry_backoff_max_ms < retry_backoff_ms {
            self.warnings.push(format!(
                "retry.backoff.max.ms={retry_backoff_max_ms} is below retry.backoff.ms={retry_backoff_ms}: \
                 every wait will be {retry_backoff_max_ms} ms"
            ));
        }
        let idle = self.signed("connections.max.idle.ms", 540_000, i64::MIN, i64::MAX);
        let strategy = self.text("metadata.recovery.strategy", "rebootstrap", |t| {
            parse::word_ignoring_case(t, &["none", "rebootstrap"]).map(str::to_owned)
        });
        self.text("client.dns.lookup", "use_all_dns_ips", |t| {
            let all = ["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"];
            match parse::word(t, &all)? {
                "use_all_dns_ips" => Ok(String::new()),
                _ => Err("canonical host names are not supported yet; use_all_dns_ips is".into()),
            }
        });
        let (codecs, compression) = self.compression(&Codecs::default());
        let mut config = Config {
            bootstrap_servers: self.bootstrap_servers(),
            client_id: self.client_id(),
            acks,
            enable_idempotence,
            max_in_flight,
            retries,
            delivery_timeout_ms,
            request_timeout_ms,
            max_block_ms: match self.number("max.block.ms", 60_000, 0, LONG_MAX) {
                LONG_MAX => u64::MAX,
                ms => ms,
            },
            linger_ms,
            batch_size: self.batch_size(16_384),
            // CFG-21: no limit unless it is set
            queue_buffering_max_messages: match self.number("queue.buffering.max.messages", 0, 0, INT_MAX) {
                0 => None,
                records => Some(records as u32),
            },
            batch_num_messages: match self.number("batch.num.messages", 0, 0, INT_MAX) {
                0 => None,
                records => Some(records as u32),
            },
            buffer_memory: usize::try_from(self.number("buffer.memory", 33_554_432, 0, LONG_MAX))
                .unwrap_or(usize::MAX),
            max_request_size: self.number("max.request.size", 1_048_576, 0, INT_MAX) as usize,
            compression,
            topics: BTreeMap::new(),
            partitioner: self.partitioner(),
            partitioner_ignore_keys: self.boolean("partitioner.ignore.keys", false),
            partitioner_adaptive_partitioning_enable: self
                .boolean("partitioner.adaptive.partitioning.enable", true),
            partitioner_availability_timeout_ms: self.number(
                "partitioner.availability.timeout.ms",
                0,
                0,
                LONG_MAX,
            ),
            partitioner_rack: self.partitioner_rack(),
            retry_backoff_ms,
            retry_backoff_max_ms,
            retry_backoff_step_max,
            reconnect_backoff_ms,
            reconnect_backoff_max_ms,
            socket_connection_setup_timeout_ms: self.number(
                "socket.connection.setup.timeout.ms",
                10_000,
                0,
                LONG_MAX,
            ),
            socket_connection_setup_timeout_max_ms: self.number(
                "socket.connection.setup.timeout.max.ms",
                30_000,
                0,
                LONG_MAX,
            ),
            // With 0 each connection would be closed before its first request, for ever.
            connections_max_idle_ms: u64::try_from(idle).ok().map(|ms| ms.max(1)),
            send_buffer_bytes: self.signed("send.buffer.bytes", 131_072, -1, i64::from(i32::MAX)) as i32,
            receive_buffer_bytes: self.signed("receive.buffer.bytes", 32_768, -1, i64::from(i32::MAX)) as i32,
            metadata_max_age_ms: match self.number("metadata.max.age.ms", 300_000, 0, LONG_MAX) {
                LONG_MAX => u64::MAX,
                ms => ms,
            },
            metadata_max_idle_ms: self.number("metadata.max.idle.ms", 300_000, 5000, LONG_MAX),
            metadata_rebootstrap: strategy != "none",
            metadata_rebootstrap_trigger_ms: self.number(
                "metadata.recovery.rebootstrap.trigger.ms",
                300_000,
                0,
                LONG_MAX,
            ),
            allow_auto_create_topics: self.boolean("allow.auto.create.topics", true),
            metrics_num_samples: self.number("metrics.num.samples", 2, 1, INT_MAX) as u32,
            metrics_sample_window_ms: self.number("metrics.sample.window.ms", 30_000, 0, LONG_MAX),
            topic_recreation: self.topic_recreation(),
            stop_on_failure: self.stop_on_failure(),
            resend_innocent_records: self.boolean("resend.innocent.records", false),
        };
        config.topics = self.topic_configs(&mut config, &codecs);
        Some(config)
    }

    /// CFG-11: 0 acts as 1.
    pub(super) fn batch_size(&mut self, default: usize) -> usize {
        self.number("batch.size", default as u64, 0, INT_MAX).max(1) as usize
    }

    /// CFG-11: cut to the largest int.
    pub(super) fn linger_ms(&mut self, default: u64) -> u64 {
        self.number("linger.ms", default, 0, LONG_MAX).min(INT_MAX)
    }

    /// PAR-17
    fn partitioner(&mut self) -> PartitionerClass {
        let Some(given) = self.set.get("partitioner.class") else { return PartitionerClass::BuiltIn };
        let setting = given.setting;
        match PartitionerClass::named(given.value.trim()) {
            Ok((class, note)) => {
                self.warnings.extend(note.map(|note| format!("partitioner.class={}: {note}", setting.value)));
                class
            }
            Err(problem) => {
                self.refuse(setting, problem);
                PartitionerClass::BuiltIn
            }
        }
    }

    /// CFG-18: where the client stands, if that decides anything.
    fn partitioner_rack(&mut self) -> Option<String> {
        let rack = self.text("client.rack", "", |text| Ok(text.trim().to_owned()));
        if !self.boolean("partitioner.rack.aware", false) {
            return None;
        }
        if rack.is_empty() {
            let setting = self.setting("partitioner.rack.aware");
            self.refuse_if(setting, "needs client.rack, which is not set or blank");
        }
        Some(rack).filter(|rack| !rack.is_empty())
    }

    fn topic_recreation(&mut self) -> TopicRecreation {
        let words = &["follow", "fail", "hold"];
        match self.text("topic.recreation", "follow", |t| parse::word(t, words).map(str::to_owned)).as_str() {
            "fail" => TopicRecreation::Fail,
            "hold" => TopicRecreation::Hold,
            _ => TopicRecreation::Follow,
        }
    }

    fn stop_on_failure(&mut self) -> StopOnFailure {
        let topics = self.text("stop.on.failure", "", |t| {
            for name in parse::list(t)?.elements.iter().filter(|name| *name != "*") {
                topic_name::check(name)
                    .map_err(|_| format!("{name:?} is no topic name; a list of topics, or *"))?;
            }
            Ok(t.to_owned())
        });
        match parse::list(&topics) {
            Ok(list) if list.elements.iter().any(|name| name == "*") => StopOnFailure::AllTopics,
            Ok(list) if !list.elements.is_empty() => StopOnFailure::Topics(list.elements),
            _ => StopOnFailure::Never,
        }
    }

    /// CFG-16
    fn bootstrap_servers(&mut self) -> Vec<Address> {
        let Some(given) = self.set.get("bootstrap.servers") else {
            self.errors.push(ConfigError {
                key: Some("bootstrap.servers".into()),
                value: None,
                origin: Origin::Code,
                problem: "required; a list like kafka1:9092,kafka2:9092".into(),
            });
            return Vec::new();
        };
        let (setting, list) = (given.setting, parse::list(&given.value));
        let list = match list {
            Ok(list) if list.elements.is_empty() => {
                self.refuse(setting, "empty; a list like kafka1:9092,kafka2:9092".into());
                return Vec::new();
            }
            Ok(list) => list,
            Err(problem) => {
                self.refuse(setting, problem);
                return Vec::new();
            }
        };
        for again in &list.duplicates {
            self.warnings.push(format!("{again} stands more than once in bootstrap.servers"));
        }
        let mut servers = Vec::new();
        for element in &list.elements {
            match element.parse::<Address>() {
                Ok(address) => servers.push(address),
                Err(problem) => self.refuse(setting, problem.to_string()),
            }
        }
        servers
    }

    /// CFG-15
    fn client_id(&mut self) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        match self.set.get("client.id") {
            // The wire has two bytes for its length.
            Some(given) if given.value.len() > i16::MAX as usize => {
                let setting = given.setting;
                self.refuse(setting, "too long; at most 32767 bytes".into());
                String::new()
            }
            Some(given) => given.value.trim().into(),
            None => format!("producer-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn acks(&mut self) -> Acks {
        // CFG-2: exact.
        match self
            .text("acks", "all", |t| parse::word(t, &["all", "-1", "0", "1"]).map(str::to_owned))
            .as_str()
        {
            "0" => Acks::None,
            "1" => Acks::Leader,
            _ => Acks::All,
        }
    }

    /// CFG-7: what asks for less than idempotence needs switches it off, unless the user asked for it; too many in flight
    /// is always refused.
    fn idempotence(&mut self, acks: Acks, retries: u32, max_in_flight: usize) -> bool {
        let asked = self.is_set("enable.idempotence");
        if !self.boolean("enable.idempotence", true) {
            return false;
        }
        let mut on = true;
        if max_in_flight > 5 {
            let setting = self.setting("max.in.flight.requests.per.connection");
            self.refuse_if(
                setting,
                "at most 5 with idempotence, because brokers remember the last 5 batches of a producer; \
                 set enable.idempotence=false for more",
            );
        }
        let weaker = [
            (retries == 0, "retries", "must be above 0 with enable.idempotence=true"),
            (acks != Acks::All, "acks", "must be all with enable.idempotence=true"),
        ];
        for (is_weaker, key, problem) in weaker {
            if is_weaker && asked {
                let setting = self.setting(key);
                self.refuse_if(setting, problem);
            } else if is_weaker {
                on = false;
            }
        }
        on
    }

    /// CFG-9
    fn delivery_timeout(&mut self, linger_ms: u64, request_timeout_ms: u64) -> u64 {
        let least = linger_ms.saturating_add(request_timeout_ms).min(INT_MAX);
        let ms = self.number("delivery.timeout.ms", 120_000, 0, INT_MAX);
        if ms >= least {
            return ms;
        }
        if let Some(setting) = self.setting("delivery.timeout.ms") {
            self.refuse(
                setting,
                format!(
                    "below linger.ms + request.timeout.ms = {linger_ms} + {request_timeout_ms}; at least {least}"
                ),
            );
        } else {
            self.warnings.push(format!(
                "delivery.timeout.ms is raised from {ms} to {least}, the sum of linger.ms and request.timeout.ms"
            ));
        }
        least
    }

    pub(super) fn number(&mut self, key: &'static str, default: u64, min: u64, max: u64) -> u64 {
        self.value(key, default, |text| {
            // A negative number is out of range, not malformed: both say what is allowed.
            parse::number(text, min, max).map_err(|problem| problem + unit(key))
        })
    }

    pub(super) fn signed(&mut self, key: &'static str, default: i64, min: i64, max: i64) -> i64 {
        self.value(key, default, |text| parse::number(text, min, max).map_err(|problem| problem + unit(key)))
    }

    pub(super) fn signed_where(
        &mut self,
        key: &'static str,
        default: i64,
        wanted: &str,
        allowed: fn(i64) -> bool,
    ) -> i64 {
        self.value(key, default, |text| match i64::from_str(text.trim()) {
            Ok(value) if allowed(value) => Ok(value),
            _ => Err(format!("not allowed; {wanted}")),
        })
    }

    fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.value(key, default, parse::boolean)
    }

    pub(super) fn text(
        &mut self,
        key: &'static str,
        default: &str,
        read: impl Fn(&str) -> Result<String, String>,
    ) -> String {
        self.value(key, default.to_owned(), read)
    }

    fn value<T: Display>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        debug_assert_eq!(keys::find(key).map(|k| &k.fate), Some(&Fate::Honoured), "{key}");
        let Some(given) = self.set.get(key) else { return default };
        match read(&given.value) {
            Ok(value) => value,
            Err(problem) => {
                let setting = given.setting;
                self.refuse(setting, problem);
                default
            }
        }
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.set.contains_key(key)
    }

    pub(super) fn setting(&self, key: &str) -> Option<&'a Setting> {
        self.set.get(key).map(|given| given.setting)
    }

    pub(super) fn refuse_if(&mut self, setting: Option<&'a Setting>, problem: &str) {
        if let Some(setting) = setting {
            self.refuse(setting, problem.into());
        }
    }

    pub(super) fn refuse(&mut self, setting: &Setting, problem: String) {
        self.errors.push(ConfigError {
            key: Some(setting.key.clone()),
            value: Some(keys::shown(&setting.key, &setting.value)),
            origin: setting.origin.clone(),
            problem,
        });
    }
}

/// A legacy key's value as the modern key's; `None` if it says nothing.
fn converted(convert: Convert, value: &str) -> Result<Option<String>, String> {
    let without_limit = || i64::MAX.to_string();
    let number = || parse::number(value, i64::MIN, i64::MAX);
    Ok(match convert {
        Convert::Same => Some(value.into()),
        Convert::Kilobytes => {
            Some(parse::number(value, 1, i64::MAX / 1024)?.saturating_mul(1024).to_string())
        }
        Convert::RefreshInterval => Some(match number()? {
            0 => "1000".into(),
            ms if ms < 0 => without_limit(),
            ms => ms.to_string(),
        }),
        // CFG-20
        Convert::Wait => Some(match number()? {
            ms if ms < 0 => without_limit(),
            ms => ms.to_string(),
        }),
        Convert::BlockOnFull => parse::boolean(value)?.then(without_limit),
        Convert::ZeroIsNoLimit => Some(match number()? {
            0 => i32::MAX.to_string(),
            ms => ms.to_string(),
        }),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
