//! Settings that a topic may have of its own (CFG-17): `topic.NAME.KEY`.
//!
//! acks is none of them: a request carries one value for all its topics. Topic names may contain dots; that is no matter, because
//! the key is one of a few.

use std::collections::BTreeMap;
use std::time::Duration;

use rohrpost_protocol::topic_name;
use rohrpost_record::Codec;

use super::builder::{compression_settings, millis};
use super::resolve::{Given, Resolver};
use super::{Compression, Config, keys, parse, suggest};

/// What every topic's key begins with.
const PREFIX: &str = "topic.";

/// The keys that a topic may have of its own.
const OWN: &[&str] = &[
    "batch.size",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delivery.timeout.ms",
    "linger.ms",
];

/// The settings that one topic's records are sent with (CFG-17): its own where it has some, else the producer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicConfig {
    /// `batch.size` in bytes, at least 1.
    pub batch_size: usize,
    /// `compression.type` with its level.
    pub compression: rohrpost_record::Compression,
    /// `delivery.timeout.ms`: the age in ms at which its batches fail.
    pub delivery_timeout_ms: u64,
    /// `linger.ms`: how long in ms its batches wait for more records; 0: not at all.
    pub linger_ms: u64,
}

impl TopicConfig {
    /// The settings of a producer's other topics.
    pub(crate) fn of(config: &Config) -> TopicConfig {
        TopicConfig {
            batch_size: config.batch_size,
            compression: config.compression,
            delivery_timeout_ms: config.delivery_timeout_ms,
            linger_ms: config.linger_ms,
        }
    }
}

impl Config {
    /// What records of a topic are sent with (CFG-17).
    #[must_use]
    pub fn topic(&self, name: &str) -> TopicConfig {
        self.topics.get(name).copied().unwrap_or_else(|| TopicConfig::of(self))
    }

    /// The largest `batch.size` of any topic.
    pub(crate) fn batch_size_max(&self) -> usize {
        self.topics.values().map(|topic| topic.batch_size).fold(self.batch_size, usize::max)
    }
}

/// Settings of one topic; see [`ProducerBuilder::topic`](crate::ProducerBuilder::topic).
#[derive(Debug, Default)]
#[must_use = "it is given back to the builder"]
pub struct TopicSettings {
    pub(super) settings: Vec<(&'static str, String)>,
}

impl TopicSettings {
    /// `linger.ms` of this topic. Parts of a millisecond are rounded up; zero does not wait.
    pub fn linger(self, linger: Duration) -> TopicSettings {
        self.with("linger.ms", millis(linger))
    }

    /// `batch.size` of this topic, in bytes; 0 acts as 1.
    pub fn batch_size(self, bytes: usize) -> TopicSettings {
        self.with("batch.size", bytes.to_string())
    }

    /// `delivery.timeout.ms` of this topic. At least its `linger.ms` and the producer's `request.timeout.ms` together (CFG-9).
    pub fn delivery_timeout(self, timeout: Duration) -> TopicSettings {
        self.with("delivery.timeout.ms", millis(timeout))
    }

    /// `compression.type` of this topic and the codec's level.
    pub fn compression(mut self, compression: Compression) -> TopicSettings {
        self.settings.extend(compression_settings(compression));
        self
    }

    fn with(mut self, key: &'static str, value: String) -> TopicSettings {
        self.settings.push((key, value));
        self
    }
}

/// The full key.
pub(super) fn key_of(topic: &str, key: &str) -> String {
    format!("{PREFIX}{topic}.{key}")
}

/// What a key that begins with `topic.` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TopicKey<'a> {
    /// A setting of this topic.
    Of(&'a str, &'static str),
    /// A mistake, in words.
    Wrong(String),
    /// Nothing that is known here.
    Unknown,
}

/// Takes such a key apart.
pub(super) fn read(key: &str) -> TopicKey<'_> {
    let Some(rest) = key.strip_prefix(PREFIX) else { return TopicKey::Unknown };
    for own in OWN {
        let Some(topic) = rest.strip_suffix(own) else { continue };
        if topic.is_empty() {
            return TopicKey::Wrong(format!("names no topic; topic.NAME.{own}"));
        }
        let Some(topic) = topic.strip_suffix('.') else { continue };
        if topic_name::check(topic).is_err() {
            return TopicKey::Wrong(format!("{topic:?} is no topic name"));
        }
        return TopicKey::Of(topic, own);
    }
    wrong(rest)
}

/// Not one of a topic's own keys: one that only the producer has, or a slip of the pen.
fn wrong(rest: &str) -> TopicKey<'_> {
    // Longer texts than any topic with any key are not compared: the work is bounded.
    if rest.len() > 400 {
        return TopicKey::Unknown;
    }
    let tails = || rest.match_indices('.').map(|(dot, _)| (&rest[..dot], &rest[dot + 1..]));
    if let Some((_, tail)) = tails().find(|(_, tail)| keys::find_exact(tail).is_some()) {
        let why =
            if tail == "acks" { ", because a request carries one value for all its topics" } else { "" };
        return TopicKey::Wrong(format!(
            "{tail} is one for the whole producer{why}; a topic may have of its own: {}",
            OWN.join(", ")
        ));
    }
    let meant = tails().find_map(|(topic, tail)| Some((topic, suggest::near_miss_among(tail, OWN)?)));
    match meant {
        Some((topic, own)) => TopicKey::Wrong(format!("unknown key; did you mean {}?", key_of(topic, own))),
        None => TopicKey::Unknown,
    }
}

/// Names of codecs and their levels, as they are set.
#[derive(Debug, Clone)]
pub(super) struct Codecs {
    name: String,
    gzip: i64,
    lz4: i64,
    zstd: i64,
}

impl Default for Codecs {
    fn default() -> Codecs {
        Codecs { name: "none".into(), gzip: -1, lz4: 9, zstd: 3 }
    }
}

impl<'a> Resolver<'a> {
    /// Codec and levels, of the producer or of one topic, in whose settings they are looked up. What is not set there is as in `base`.
    pub(super) fn compression(&mut self, base: &Codecs) -> (Codecs, rohrpost_record::Compression) {
        const CODECS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];
        let name = self.text("compression.type", &base.name, |t| parse::word(t, CODECS).map(str::to_owned));
        // All three levels are checked, whichever codec is chosen, as Kafka does.
        let gzip = self.signed_where("compression.gzip.level", base.gzip, "-1 or 1 to 9", |l| {
            l == -1 || (1..=9).contains(&l)
        });
        let lz4 = self.signed("compression.lz4.level", base.lz4, 1, 17);
        let zstd = self.signed("compression.zstd.level", base.zstd, -131_072, 22);
        let (codec, key, level) = match name.as_str() {
            "gzip" => (Codec::Gzip, "compression.gzip.level", Some(gzip)),
            "snappy" => (Codec::Snappy, "compression.type", None),
            "lz4" => (Codec::Lz4, "compression.lz4.level", Some(lz4)),
            "zstd" => (Codec::Zstd, "compression.zstd.level", Some(zstd)),
            _ => (Codec::None, "compression.type", None),
        };
        let compression = match codec {
            Codec::None => rohrpost_record::Compression::NONE,
            codec => {
                rohrpost_record::Compression::new(codec, level.map(|l| l as i32)).unwrap_or_else(|problem| {
                    let setting = self.setting(key).or(self.setting("compression.type"));
                    self.refuse_if(setting, &problem.to_string());
                    rohrpost_record::Compression::NONE
                })
            }
        };
        (Codecs { name, gzip, lz4, zstd }, compression)
    }

    /// The settings of topics that have some of their own (CFG-17), or that the old key `compressed.topics` names; then the
    /// producer's other topics are not compressed.
    pub(super) fn topic_configs(
        &mut self,
        config: &mut Config,
        codecs: &Codecs,
    ) -> BTreeMap<String, TopicConfig> {
        let mut topics: BTreeMap<String, TopicConfig> = BTreeMap::new();
        let compressed = self.text("compressed.topics", "", |text| {
            for name in parse::list(text)?.elements {
                topic_name::check(&name).map_err(|_| format!("{name:?} is no topic name"))?;
            }
            Ok(text.to_owned())
        });
        let compressed = parse::list(&compressed).map(|list| list.elements).unwrap_or_default();
        let mut others = codecs.clone();
        if !compressed.is_empty() {
            self.warnings.push(
                "compressed.topics is an old key; topic.NAME.compression.type says the same today".into(),
            );
            for name in &compressed {
                topics.insert(name.clone(), TopicConfig::of(config));
            }
            others.name = "none".into();
            config.compression = rohrpost_record::Compression::NONE;
        }
        let is_timeout_set = self.is_set("delivery.timeout.ms");
        for (name, mut own) in std::mem::take(&mut self.topics) {
            let is_listed = compressed.contains(&name);
            // What follows looks settings up as always, and finds the topic's.
            std::mem::swap(&mut self.set, &mut own);
            let mut topic = topics.get(&name).copied().unwrap_or_else(|| TopicConfig::of(config));
            topic.batch_size = self.batch_size(topic.batch_size);
            topic.linger_ms = self.linger_ms(topic.linger_ms);
            topic.compression = self.compression(if is_listed { codecs } else { &others }).1;
            topic.delivery_timeout_ms = self.topic_timeout(&name, &topic, config, is_timeout_set);
            std::mem::swap(&mut self.set, &mut own);
            topics.insert(name, topic);
        }
        topics
    }

    /// CFG-9, for one topic.
    fn topic_timeout(
        &mut self,
        name: &str,
        topic: &TopicConfig,
        config: &Config,
        is_producers_set: bool,
    ) -> u64 {
        let (linger_ms, request_ms) = (topic.linger_ms, config.request_timeout_ms);
        let least = linger_ms.saturating_add(request_ms).min(super::resolve::INT_MAX);
        let ms = self.number("delivery.timeout.ms", topic.delivery_timeout_ms, 0, super::resolve::INT_MAX);
        if ms >= least {
            return ms;
        }
        let sum = format!("linger.ms + request.timeout.ms = {linger_ms} + {request_ms}");
        if let Some(setting) = self.setting("delivery.timeout.ms") {
            self.refuse(setting, format!("below the topic's {sum}; at least {least}"));
        } else if let Some(setting) = self.setting("linger.ms").filter(|_| is_producers_set) {
            let own = key_of(name, "delivery.timeout.ms");
            self.refuse(setting, format!("{sum} is above delivery.timeout.ms={ms}; set {own} to {least}"));
        } else {
            self.warnings.push(format!(
                "delivery.timeout.ms of topic {name} is raised from {ms} to {least}, the sum of its linger.ms and request.timeout.ms"
            ));
        }
        least
    }

    /// Keeps a topic's own setting.
    pub(super) fn place_for_topic(&mut self, topic: &str, key: &'static str, given: Given<'a>) {
        self.topics.entry(topic.to_owned()).or_default().insert(key, given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(topic: &'a str, key: &'static str) -> TopicKey<'a> {
        TopicKey::Of(topic, key)
    }

    fn problem(key: &str) -> String {
        match read(key) {
            TopicKey::Wrong(problem) => problem,
            other => panic!("{key}: {other:?}"),
        }
    }

    // CFG-17
    #[test]
    fn a_topics_key_is_told_from_its_name_whatever_dots_that_has() {
        assert_eq!(read("topic.orders.linger.ms"), of("orders", "linger.ms"));
        assert_eq!(read("topic.a.linger.ms.linger.ms"), of("a.linger.ms", "linger.ms"));
        assert_eq!(read("topic.a_b-c.d.compression.zstd.level"), of("a_b-c.d", "compression.zstd.level"));
        assert_eq!(read("topic.acks.batch.size"), of("acks", "batch.size"));
        assert_eq!(read("topic.name"), TopicKey::Unknown);
        assert_eq!(read("topic.of.the.day"), TopicKey::Unknown);
        assert!(problem("topic.linger.ms").contains("names no topic; topic.NAME.linger.ms"));
        assert!(problem("topic.or ders.linger.ms").contains("\"or ders\" is no topic name"));
    }

    // CFG-17: acks stays one per producer; CFG-4: near misses
    #[test]
    fn what_a_topic_cannot_have_and_what_was_meant_is_said() {
        let acks = problem("topic.orders.acks");
        assert!(
            acks.starts_with("acks is one for the whole producer, because a request carries one"),
            "{acks}"
        );
        assert!(acks.ends_with("delivery.timeout.ms, linger.ms"), "{acks}");
        assert!(problem("topic.a.b.max.block.ms").starts_with("max.block.ms is one for the whole producer;"));
        for (typo, meant) in [
            ("topic.orders.linger.m", "topic.orders.linger.ms"),
            ("topic.orders.v1.lingre.ms", "topic.orders.v1.linger.ms"),
            ("topic.orders.Batch_size", "topic.orders.batch.size"),
            ("topic.orders.compresion.type", "topic.orders.compression.type"),
        ] {
            assert!(problem(typo).contains(&format!("did you mean {meant}?")), "{typo}: {}", problem(typo));
        }
    }
}
