//! A topic's settings: which keys there are, what they take, and where the value comes from that is in force.
//!
//! A topic's own setting wins; without one the broker's key of the same meaning gives the value; without that, the default
//! (M9). What comes out is also what the log of a partition is opened with.

use std::collections::BTreeMap;
use std::sync::Arc;

use rohrpost_log::LogConfig;
use rohrpost_protocol::ErrorCode;

use super::describe::{self, Synonym};
use super::value::{Kind, int, long};
use crate::controller::{ApiError, ConfigEntry, ConfigSource};
use crate::metadata::MetadataImage;

/// What a topic gets that has no settings of its own: Kafka's defaults, and the broker's keys on top.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicDefaults {
    /// What the broker's configuration says.
    configured: Arc<BrokerValues>,
    /// What was set while the brokers run, for all of them and for this one ([`TopicDefaults::overlay`]).
    of_all_brokers: BrokerValues,
    of_this_broker: BrokerValues,
}

/// Values of the broker keys that give topics their defaults.
type BrokerValues = BTreeMap<&'static str, String>;

/// A topic key.
#[derive(Debug, Clone, Copy)]
struct TopicKey {
    name: &'static str,
    kind: Kind,
    /// `None`: null.
    default: Option<&'static str>,
    stage: Stage,
    /// Broker keys that give the default, the first that is set wins.
    synonyms: &'static [(&'static str, Unit)],
}

/// Whether this broker does what the key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Served,
    /// Not yet: only the default is accepted (E12).
    Later,
    /// Tiered storage: only the default is accepted.
    Never,
}

/// The unit of a broker key whose topic key is in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Same,
    Minutes,
    Hours,
}

/// Longest value of a setting. No setting needs as much; what a client sends is kept in memory and in the metadata log for
/// good. Bytes.
const VALUE_BYTES_MAX: usize = 1024;

impl TopicDefaults {
    /// From the broker keys that were set.
    pub(super) fn from_broker_keys(set: &BTreeMap<String, String>) -> TopicDefaults {
        TopicDefaults { configured: Arc::new(broker_values(set)), ..TopicDefaults::default() }
    }

    /// The same with what was set while the brokers run, for this one and for all (M9).
    pub fn overlay(&self, image: &MetadataImage, broker: i32) -> TopicDefaults {
        // M9
        let set_for = |name: &str| describe::set_for(image, name).map(broker_values).unwrap_or_default();
        TopicDefaults {
            configured: Arc::clone(&self.configured),
            of_all_brokers: set_for(""),
            of_this_broker: set_for(&broker.to_string()),
        }
    }

    /// The same with these broker keys on top of all others.
    pub(crate) fn with_broker_values(&self, set: &BTreeMap<String, String>) -> TopicDefaults {
        TopicDefaults { of_this_broker: broker_values(set), ..self.clone() }
    }

    /// Checks a topic's settings (M2) without looking at anything else.
    ///
    /// # Errors
    /// INVALID_CONFIG (40) with the key, its value and what is allowed: for an unknown key, for a value that the key does not
    /// take, and for a key of Kafka's that this broker does not implement, unless it is set to its default (E12).
    pub fn validate(&self, configs: &BTreeMap<String, String>) -> Result<(), ApiError> {
        // M2
        for (name, value) in configs {
            let Some(key) = find(name) else {
                return Err(invalid(format!("Unknown topic config name: {name}")));
            };
            check_value(name, key.kind, value)?;
            // E12: what is accepted is done
            if key.stage != Stage::Served && key.default != Some(value.trim()) {
                return Err(invalid(format!(
                    "Invalid value {value} for configuration {name}: this broker does not implement it, only its default {:?} \
                     is possible",
                    key.default.unwrap_or("null")
                )));
            }
        }
        // what the codecs of this build can do is known to the log
        self.log_config(configs).map(drop)
    }

    /// What the log of such a topic's partitions is opened with.
    ///
    /// # Errors
    /// INVALID_CONFIG for a value that the log does not take; not after [`validate`](TopicDefaults::validate) said yes.
    pub fn log_config(&self, configs: &BTreeMap<String, String>) -> Result<LogConfig, ApiError> {
        let mut log = LogConfig::default();
        for entry in TOPIC_KEYS.iter().map(|key| self.entry(configs, key)) {
            let value = match entry {
                // what is not said stays as the log has it: so a build without a codec serves all who do not ask for it
                ConfigEntry { source: ConfigSource::Default, .. } | ConfigEntry { value: None, .. } => {
                    continue;
                }
                ConfigEntry { value: Some(value), .. } => value,
            };
            if !LogConfig::knows(entry.name) {
                continue;
            }
            if let Err(error) = log.set(entry.name, value.trim()) {
                return Err(invalid(format!(
                    "Invalid value {value} for configuration {}: {}",
                    error.key, error.reason
                )));
            }
        }
        Ok(log)
    }

    /// The value in force of one key, and where it comes from. `None`: no such key.
    pub fn get(&self, configs: &BTreeMap<String, String>, name: &str) -> Option<ConfigEntry> {
        find(name).map(|key| self.entry(configs, key))
    }

    /// Every setting in force, in the order of the keys (M2, M9). Internal keys are left out.
    pub fn effective(&self, configs: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
        TOPIC_KEYS.iter().filter(|key| key.default.is_some()).map(|key| self.entry(configs, key)).collect()
    }

    /// The same with the internal keys that are set.
    pub(super) fn effective_with_internal(&self, configs: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
        let listed = |key: &&TopicKey| key.default.is_some() || configs.contains_key(key.name);
        TOPIC_KEYS.iter().filter(listed).map(|key| self.entry(configs, key)).collect()
    }

    /// What gives a key its value, and what would give it if that were not there (M9).
    pub(super) fn synonyms(&self, configs: &BTreeMap<String, String>, name: &str) -> Vec<Synonym> {
        let Some(key) = find(name) else { return Vec::new() };
        let own = configs.get(name).map(|value| Synonym {
            name: key.name,
            value: value.clone(),
            source: ConfigSource::Topic,
        });
        let layers = self.layers().into_iter().flat_map(|(values, source)| {
            let set = key.synonyms.iter().filter_map(|(name, _)| Some((*name, values.get(name)?.clone())));
            set.map(move |(name, value)| Synonym { name, value, source })
        });
        let layers: Vec<Synonym> = layers.collect();
        // as Kafka: where nothing is set, the default is told only if the first of the broker's keys has one
        let first = key.synonyms.first().map(|(name, _)| *name);
        let is_told = |name: &str| !layers.is_empty() || Some(name) == first;
        let defaults = key.synonyms.iter().filter(|(name, _)| is_told(name)).filter_map(|(name, _)| {
            let value = describe::default_of_broker_key(name)?.to_owned();
            Some(Synonym { name, value, source: ConfigSource::Default })
        });
        let defaults: Vec<Synonym> = defaults.collect();
        own.into_iter().chain(layers).chain(defaults).collect()
    }

    /// The effective `min.insync.replicas` of a partition with this many replicas.
    pub fn min_insync_replicas(&self, configs: &BTreeMap<String, String>, replicas: usize) -> usize {
        let set = self.get(configs, "min.insync.replicas").and_then(|entry| entry.value);
        let wanted = set.and_then(|value| value.trim().parse().ok()).unwrap_or(1);
        replicas.min(wanted)
    }

    fn entry(&self, configs: &BTreeMap<String, String>, key: &TopicKey) -> ConfigEntry {
        if let Some(value) = configs.get(key.name) {
            return ConfigEntry { name: key.name, value: Some(value.clone()), source: ConfigSource::Topic };
        }
        let of_broker = key.synonyms.iter().find_map(|(name, unit)| {
            let found = |(values, source): (&BrokerValues, _)| Some((values.get(name)?.clone(), source));
            let (value, source) = self.layers().into_iter().find_map(found)?;
            Some((unit.in_ms(value.trim(), key.kind), source))
        });
        match of_broker {
            Some((value, source)) => ConfigEntry { name: key.name, value: Some(value), source },
            None => ConfigEntry {
                name: key.name,
                value: key.default.map(str::to_owned),
                source: ConfigSource::Default,
            },
        }
    }

    /// Where the broker's values come from, the strongest first (M9).
    fn layers(&self) -> [(&BrokerValues, ConfigSource); 3] {
        [
            (&self.of_this_broker, ConfigSource::DynamicBroker),
            (&self.of_all_brokers, ConfigSource::DynamicDefaultBroker),
            (&self.configured, ConfigSource::StaticBroker),
        ]
    }
}

impl Unit {
    fn in_ms(self, value: &str, kind: Kind) -> String {
        let factor: i64 = match self {
            Unit::Same => 1,
            Unit::Minutes => 60_000,
            Unit::Hours => 3_600_000,
        };
        match (kind, value.parse::<i64>()) {
            // the broker's key takes any negative number for "none", the topic's only -1
            (Kind::Number { min: -1, .. }, Ok(number)) if number < 0 => "-1".to_owned(),
            (Kind::Number { .. }, Ok(number)) => number.saturating_mul(factor).to_string(),
            _ => value.to_owned(),
        }
    }
}

fn find(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.iter().find(|key| key.name == name)
}

/// Whether a broker key gives topics a default.
#[cfg(test)]
pub(super) fn is_synonym(broker_key: &str) -> bool {
    TOPIC_KEYS.iter().any(|key| key.synonyms.iter().any(|(name, _)| *name == broker_key))
}

/// Whether a broker key gives its default to a topic key that this broker honours.
pub(super) fn is_served_synonym(broker_key: &str) -> bool {
    let served = |key: &&TopicKey| key.stage == Stage::Served;
    TOPIC_KEYS.iter().filter(served).any(|key| key.synonyms.iter().any(|(name, _)| *name == broker_key))
}

/// Of the keys that were set, those that give topics their defaults.
fn broker_values(set: &BTreeMap<String, String>) -> BrokerValues {
    let names = TOPIC_KEYS.iter().flat_map(|key| key.synonyms).map(|(name, _)| *name);
    names.filter_map(|name| Some((name, set.get(name)?.trim().to_owned()))).collect()
}

/// Whether a key takes a value.
///
/// # Errors
/// INVALID_CONFIG (40) with the key, the value and what is allowed.
pub(super) fn check_value(name: &str, kind: Kind, value: &str) -> Result<(), ApiError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(invalid(format!(
            "Invalid value of {} bytes for configuration {name}: at most {VALUE_BYTES_MAX} are possible",
            value.len()
        )));
    }
    if !kind.admits(value) {
        return Err(invalid(format!("Invalid value {value} for configuration {name}: must be {kind}")));
    }
    Ok(())
}

pub(super) fn invalid(message: String) -> ApiError {
    ApiError::new(ErrorCode::INVALID_CONFIG, message)
}

const fn topic_key(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    stage: Stage,
    synonyms: &'static [(&'static str, Unit)],
) -> TopicKey {
    TopicKey { name, kind, default, stage, synonyms }
}

/// In the order of their names. Defaults, ranges and synonyms are those of `docs/reference/broker-configs.tsv`; a test compares.
const TOPIC_KEYS: &[TopicKey] = &[
    topic_key(
        "cleanup.policy",
        Kind::ListOf(&["compact", "delete"]),
        Some("delete"),
        Stage::Served,
        &[("log.cleanup.policy", Unit::Same)],
    ),
    topic_key(
        "compression.gzip.level",
        Kind::GzipLevel,
        Some("-1"),
        Stage::Served,
        &[("compression.gzip.level", Unit::Same)],
    ),
    topic_key(
        "compression.lz4.level",
        Kind::Number { min: 1, max: 17 },
        Some("9"),
        Stage::Served,
        &[("compression.lz4.level", Unit::Same)],
    ),
    topic_key(
        "compression.type",
        Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        Some("producer"),
        Stage::Served,
        &[("compression.type", Unit::Same)],
    ),
    topic_key(
        "compression.zstd.level",
        Kind::Number { min: -131_072, max: 22 },
        Some("3"),
        Stage::Served,
        &[("compression.zstd.level", Unit::Same)],
    ),
    topic_key(
        "delete.retention.ms",
        long(0),
        Some("86400000"),
        Stage::Later,
        &[("log.cleaner.delete.retention.ms", Unit::Same)],
    ),
    topic_key(
        "file.delete.delay.ms",
        long(0),
        Some("60000"),
        Stage::Served,
        &[("log.segment.delete.delay.ms", Unit::Same)],
    ),
    topic_key(
        "flush.messages",
        long(1),
        Some("9223372036854775807"),
        Stage::Served,
        &[("log.flush.interval.messages", Unit::Same)],
    ),
    topic_key(
        "flush.ms",
        long(0),
        Some("9223372036854775807"),
        Stage::Served,
        &[("log.flush.interval.ms", Unit::Same), ("log.flush.scheduler.interval.ms", Unit::Same)],
    ),
    topic_key("follower.replication.throttled.replicas", Kind::Text, Some(""), Stage::Later, &[]),
    topic_key(
        "index.interval.bytes",
        int(0),
        Some("4096"),
        Stage::Served,
        &[("log.index.interval.bytes", Unit::Same)],
    ),
    topic_key("internal.segment.bytes", int(i32::MIN as i64), None, Stage::Served, &[]),
    topic_key("leader.replication.throttled.replicas", Kind::Text, Some(""), Stage::Later, &[]),
    topic_key(
        "local.retention.bytes",
        long(-2),
        Some("-2"),
        Stage::Never,
        &[("log.local.retention.bytes", Unit::Same)],
    ),
    topic_key(
        "local.retention.ms",
        long(-2),
        Some("-2"),
        Stage::Never,
        &[("log.local.retention.ms", Unit::Same)],
    ),
    topic_key(
        "max.compaction.lag.ms",
        long(1),
        Some("9223372036854775807"),
        Stage::Later,
        &[("log.cleaner.max.compaction.lag.ms", Unit::Same)],
    ),
    topic_key(
        "max.message.bytes",
        int(0),
        Some("1048588"),
        Stage::Served,
        &[("message.max.bytes", Unit::Same)],
    ),
    topic_key(
        "message.timestamp.after.max.ms",
        long(0),
        Some("3600000"),
        Stage::Served,
        &[("log.message.timestamp.after.max.ms", Unit::Same)],
    ),
    topic_key(
        "message.timestamp.before.max.ms",
        long(0),
        Some("9223372036854775807"),
        Stage::Served,
        &[("log.message.timestamp.before.max.ms", Unit::Same)],
    ),
    topic_key(
        "message.timestamp.type",
        Kind::OneOf(&["CreateTime", "LogAppendTime"]),
        Some("CreateTime"),
        Stage::Served,
        &[("log.message.timestamp.type", Unit::Same)],
    ),
    topic_key(
        "min.cleanable.dirty.ratio",
        Kind::Ratio,
        Some("0.5"),
        Stage::Later,
        &[("log.cleaner.min.cleanable.ratio", Unit::Same)],
    ),
    topic_key(
        "min.compaction.lag.ms",
        long(0),
        Some("0"),
        Stage::Later,
        &[("log.cleaner.min.compaction.lag.ms", Unit::Same)],
    ),
    topic_key(
        "min.insync.replicas",
        int(1),
        Some("1"),
        Stage::Served,
        &[("min.insync.replicas", Unit::Same)],
    ),
    topic_key("preallocate", Kind::Boolean, Some("false"), Stage::Served, &[("log.preallocate", Unit::Same)]),
    topic_key("remote.log.copy.disable", Kind::Boolean, Some("false"), Stage::Never, &[]),
    topic_key("remote.log.delete.on.disable", Kind::Boolean, Some("false"), Stage::Never, &[]),
    topic_key("remote.storage.enable", Kind::Boolean, Some("false"), Stage::Never, &[]),
    topic_key(
        "retention.bytes",
        long(i64::MIN),
        Some("-1"),
        Stage::Served,
        &[("log.retention.bytes", Unit::Same)],
    ),
    topic_key(
        "retention.ms",
        long(-1),
        Some("604800000"),
        Stage::Served,
        &[
            ("log.retention.ms", Unit::Same),
            ("log.retention.minutes", Unit::Minutes),
            ("log.retention.hours", Unit::Hours),
        ],
    ),
    topic_key(
        "segment.bytes",
        int(1_048_576),
        Some("1073741824"),
        Stage::Served,
        &[("log.segment.bytes", Unit::Same)],
    ),
    topic_key(
        "segment.index.bytes",
        int(4),
        Some("10485760"),
        Stage::Served,
        &[("log.index.size.max.bytes", Unit::Same)],
    ),
    topic_key(
        "segment.jitter.ms",
        long(0),
        Some("0"),
        Stage::Served,
        &[("log.roll.jitter.ms", Unit::Same), ("log.roll.jitter.hours", Unit::Hours)],
    ),
    topic_key(
        "segment.ms",
        long(1),
        Some("604800000"),
        Stage::Served,
        &[("log.roll.ms", Unit::Same), ("log.roll.hours", Unit::Hours)],
    ),
    topic_key(
        "unclean.leader.election.enable",
        Kind::Boolean,
        Some("false"),
        Stage::Served,
        &[("unclean.leader.election.enable", Unit::Same)],
    ),
];

/// For the test that compares the table with the reference: name, kind, default, whether it is served, synonyms.
#[cfg(test)]
pub(super) fn for_each_key(
    mut f: impl FnMut(&'static str, Kind, Option<&'static str>, bool, Vec<&'static str>),
) {
    for key in TOPIC_KEYS {
        let synonyms = key.synonyms.iter().map(|(name, _)| *name).collect();
        f(key.name, key.kind, key.default, key.stage == Stage::Served, synonyms);
    }
}

#[cfg(test)]
pub(super) fn key_count() -> usize {
    TOPIC_KEYS.len()
}
