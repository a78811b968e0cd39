//! What each key is about, for tools that ask (M9): its type, its default, when it may change, and a sentence.
//!
//! The text lies in `meaning.tsv` beside this file, one line per key; a test compares it with the reference.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A key of a topic or of the broker, as tools are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) name: &'static str,
    pub(crate) value_type: ValueType,
    /// Kafka's default; `None`: null, or there is none and the key must be given.
    pub(crate) default: Option<&'static str>,
    pub(super) update: Update,
    pub(crate) text: &'static str,
}

/// What kind of value a key has; the numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum ValueType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// When Kafka takes a new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Update {
    /// At the next start.
    Restart,
    /// Any time, for one broker.
    Broker,
    /// Any time, for one broker or for all.
    Cluster,
    /// Any time, for a topic.
    Topic,
}

/// What is known of a broker key of stage S1.
pub(super) fn of_broker_key(name: &str) -> Option<&'static Meaning> {
    TABLE.0.get(name)
}

/// What is known of a topic key.
pub(super) fn of_topic_key(name: &str) -> Option<&'static Meaning> {
    TABLE.1.get(name)
}

/// The broker keys in the order of their names.
pub(super) fn broker_keys() -> impl Iterator<Item = &'static Meaning> {
    TABLE.0.values()
}

type ByName = BTreeMap<&'static str, Meaning>;

/// Broker keys and topic keys.
static TABLE: LazyLock<(ByName, ByName)> = LazyLock::new(|| {
    let mut table = (ByName::new(), ByName::new());
    for line in include_str!("meaning.tsv").lines() {
        let cells: Vec<&'static str> = line.split('\t').collect();
        let &[scope, name, value_type, default, update, text] = &cells[..] else {
            unreachable!("meaning.tsv has six columns: {line}");
        };
        let meaning = Meaning {
            name,
            value_type: value_type_of(value_type),
            default: match default {
                "null" | "<required>" => None,
                "\"\"" => Some(""),
                default => Some(default),
            },
            update: match update {
                "ro" => Update::Restart,
                "broker" => Update::Broker,
                "cluster" => Update::Cluster,
                _ => Update::Topic,
            },
            text,
        };
        let side = if scope == "topic" { &mut table.1 } else { &mut table.0 };
        side.insert(name, meaning);
    }
    table
});

fn value_type_of(word: &str) -> ValueType {
    match word {
        "boolean" => ValueType::Boolean,
        "int" => ValueType::Int,
        "short" => ValueType::Short,
        "long" => ValueType::Long,
        "double" => ValueType::Double,
        "list" => ValueType::List,
        "class" => ValueType::Class,
        "password" => ValueType::Password,
        _ => ValueType::String,
    }
}
