//! Settings as tools are told of them (M9): value, source, what else could have given the value, type, meaning. And which of the
//! broker's keys may change while it runs.
//!
//! Listed is what this version acts on. A broker key that was given and has no effect is not here: the broker says so when it
//! starts. A key that needs a restart is read-only.

use std::collections::{BTreeMap, BTreeSet};

use rohrpost_protocol::ErrorCode;

use super::meaning::{self, Meaning, Update, ValueType};
use super::topic::invalid;
use super::{BrokerConfig, TopicDefaults, keys, topic};
use crate::controller::{ApiError, ConfigSource};
use crate::metadata::{ConfigResource, MetadataImage};

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) meaning: &'static Meaning,
    pub(crate) value: Option<String>,
    pub(crate) source: ConfigSource,
    pub(crate) read_only: bool,
    /// What gives the value, and what would give it if that were not there.
    pub(crate) synonyms: Vec<Synonym>,
}

/// A value that stands behind another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synonym {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) source: ConfigSource,
}

/// Keys that are honoured while the broker runs, beside those that give topics their defaults.
const LIVE: &[&str] = &[PRODUCER_ID_EXPIRATION_MS];
const PRODUCER_ID_EXPIRATION_MS: &str = "producer.id.expiration.ms";

/// A topic's settings in force, in the order of their keys. Internal keys only where they are set.
pub(crate) fn of_topic(defaults: &TopicDefaults, configs: &BTreeMap<String, String>) -> Vec<Described> {
    // M9
    let entries = defaults.effective_with_internal(configs);
    let described = entries.into_iter().filter_map(|entry| {
        let synonyms = defaults.synonyms(configs, entry.name);
        Some(Described {
            meaning: meaning::of_topic_key(entry.name)?,
            value: entry.value,
            source: entry.source,
            read_only: false,
            synonyms,
        })
    });
    described.collect()
}

/// The settings that a broker runs with, in the order of their keys.
pub(crate) fn of_broker(config: &BrokerConfig, image: &MetadataImage) -> Vec<Described> {
    // M9
    let node_id = config.node_id.to_string();
    let of_this = set_for(image, &node_id);
    let of_all = set_for(image, "");
    let is_used = |key: &&Meaning| keys::has_effect(key.name);
    let describe = |key: &'static Meaning| {
        let mut synonyms = Vec::new();
        let mut add = |value: Option<&str>, source| {
            synonyms.extend(value.map(|value| Synonym { name: key.name, value: value.to_owned(), source }));
        };
        if is_dynamic(key.name) {
            add(value_in(of_this, key.name), ConfigSource::DynamicBroker);
            add(value_in(of_all, key.name), ConfigSource::DynamicDefaultBroker);
        }
        add(config.given.get(key.name).map(|value| value.trim()), ConfigSource::StaticBroker);
        add(default_of(key), ConfigSource::Default);
        let first = synonyms.first().cloned();
        Described {
            meaning: key,
            source: first.as_ref().map_or(ConfigSource::Default, |first| first.source),
            value: first.map(|first| first.value),
            read_only: !is_dynamic(key.name),
            synonyms,
        }
    };
    meaning::broker_keys().filter(is_used).map(describe).collect()
}

/// What was set for all brokers while they run, in the order of the keys.
pub(crate) fn of_all_brokers(image: &MetadataImage) -> Vec<Described> {
    let Some(set) = set_for(image, "") else { return Vec::new() };
    let describe = |(name, value): (&String, &String)| {
        let meaning = meaning::of_broker_key(name)?;
        let source = ConfigSource::DynamicDefaultBroker;
        Some(Described {
            meaning,
            value: Some(value.clone()),
            source,
            read_only: false,
            synonyms: vec![Synonym { name: meaning.name, value: value.clone(), source }],
        })
    };
    set.iter().filter_map(describe).collect()
}

/// Whether a broker key is honoured while the broker runs.
pub(crate) fn is_dynamic(name: &str) -> bool {
    meaning::of_broker_key(name).is_some_and(|key| key.update == Update::Cluster)
        && (topic::is_served_synonym(name) || LIVE.contains(&name))
}

/// Checks what is to be set for a broker, or for all, while they run (M10).
///
/// # Errors
/// INVALID_CONFIG for an unknown key and for a value that the key does not take; INVALID_REQUEST, as in Kafka, for keys that
/// need a restart.
pub(crate) fn check_dynamic(configs: &BTreeMap<String, String>) -> Result<(), ApiError> {
    // M10, E12
    let fixed: BTreeSet<&str> = configs
        .keys()
        .map(String::as_str)
        .filter(|name| keys::find(name).is_some() && !is_dynamic(name))
        .collect();
    if !fixed.is_empty() {
        let names: Vec<&str> = fixed.into_iter().collect();
        let message = format!(
            "Cannot update these configs dynamically: {}. This broker takes them from its configuration when it starts.",
            names.join(", ")
        );
        return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
    }
    for (name, value) in configs {
        let Some(key) = keys::find(name) else {
            return Err(invalid(format!("Unknown broker config name: {name}")));
        };
        topic::check_value(name, key.kind, value)?;
    }
    Ok(())
}

/// How a broker key whose value is a list is changed item by item; `None`: its value is no list.
pub(crate) fn is_list(resource_type: i8, name: &str) -> bool {
    let key = match resource_type {
        ConfigResource::TOPIC => meaning::of_topic_key(name),
        _ => meaning::of_broker_key(name),
    };
    key.is_some_and(|key| key.value_type == ValueType::List)
}

/// The default of a broker key.
pub(crate) fn default_of_broker_key(name: &str) -> Option<&'static str> {
    meaning::of_broker_key(name).and_then(default_of)
}

/// `producer.id.expiration.ms` as it is now.
pub(crate) fn producer_id_expiration_ms(config: &BrokerConfig, image: &MetadataImage) -> i64 {
    let node_id = config.node_id.to_string();
    let set = [set_for(image, &node_id), set_for(image, "")];
    let value = set.into_iter().find_map(|set| value_in(set, PRODUCER_ID_EXPIRATION_MS));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(config.producer_id_expiration_ms)
}

/// What was set while the brokers run: for one of them, or under the empty name for all.
pub(super) fn set_for<'a>(image: &'a MetadataImage, broker: &str) -> Option<&'a BTreeMap<String, String>> {
    image.configs.get(&ConfigResource { resource_type: ConfigResource::BROKER, name: broker.to_owned() })
}

fn value_in<'a>(set: Option<&'a BTreeMap<String, String>>, name: &str) -> Option<&'a str> {
    set?.get(name).map(|value| value.trim())
}

/// The default that this broker has where nothing is given; Kafka demands some of these keys.
fn default_of(key: &Meaning) -> Option<&'static str> {
    match key.name {
        "process.roles" => Some("broker,controller"),
        "node.id" => Some("1"),
        // without a directory everything is kept in memory
        "log.dir" => None,
        _ => key.default,
    }
}
