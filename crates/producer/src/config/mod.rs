//! The producer's settings: from Kafka's keys or typed setters to one checked, typed [`Config`].
//!
//! Whatever way a setting comes in (a typed setter, `set`, pairs, a `.properties` file), it is kept as Kafka's key and a
//! text until [`ProducerBuilder::build`]. So there is one set of rules, in `resolve`, and one report that names all
//! mistakes at once (CFG-6).
//!
//! * `keys`: every key by name, and what is done with it.
//! * `catalogue`: every key with type, default and meaning, for people.
//! * `builder`: the typed setters.
//! * `parse`: texts to values (CFG-1, CFG-2).
//! * `suggest`: "did you mean" (CFG-4).
//! * `resolve`: all settings to a `Config`, with the rules across keys (CFG-7 to CFG-16).
//! * `topics`: what a topic may have of its own (CFG-17).
//! * `cross`: rules of what is not there yet (CFG-8, CFG-12 to CFG-14).

mod builder;
mod catalogue;
mod cross;
mod error;
mod keys;
mod parse;
mod resolve;
mod suggest;
mod topics;

use std::collections::BTreeMap;
use std::fmt;

pub use rohrpost_net::Address;

pub use self::builder::ProducerBuilder;
pub use self::catalogue::{ConfigKey, KeyStatus, Origin, config_keys};
pub use self::error::{ConfigError, ConfigErrors};
pub use self::topics::{TopicConfig, TopicSettings};
pub use crate::partitioner::PartitionerClass;

/// All settings of a producer, checked and typed. Fields bear Kafka's names; each says its key, unit and default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// `bootstrap.servers`: where to learn the cluster from. Not resolved; any one reachable server is enough (MET-1).
    pub bootstrap_servers: Vec<Address>,
    /// `client.id` (default `producer-N`, N counting from 1 in this process; CFG-15).
    pub client_id: String,
    /// `acks` (default all).
    pub acks: Acks,
    /// `enable.idempotence` (default true): retries neither repeat nor reorder records (CFG-7).
    pub enable_idempotence: bool,
    /// `max.in.flight.requests.per.connection` (default 5).
    pub max_in_flight: usize,
    /// `retries` (default 2147483647): how often a batch is sent again. `delivery_timeout_ms` is the better bound (RTY-4).
    pub retries: u32,
    /// `delivery.timeout.ms` (default 120000): the age at which a batch fails (ACC-24).
    pub delivery_timeout_ms: u64,
    /// `request.timeout.ms` (default 30000; 0 acts as 1): how long an answer may take (SND-4); also told to the broker (SND-5).
    pub request_timeout_ms: u64,
    /// `max.block.ms` (default 60000): how long `send` waits for metadata and room. 0 = not at all, `u64::MAX` = without limit.
    pub max_block_ms: u64,
    /// `linger.ms` (default 5): how long a batch waits for more records. 0 = not at all; at most `i32::MAX`.
    pub linger_ms: u64,
    /// `batch.size` in bytes (default 16384), at least 1 (CFG-11).
    pub batch_size: usize,
    /// `buffer.memory` in bytes (default 33554432): bounds all that the producer holds of records without an outcome.
    pub buffer_memory: usize,
    /// `queue.buffering.max.messages` (an old key; no limit unless set): records without an outcome at most, beside
    /// `buffer_memory` (CFG-21).
    pub queue_buffering_max_messages: Option<u32>,
    /// `batch.num.messages` (an old key; no limit unless set): records in a batch at most, beside `batch_size` (CFG-21, ACC-9).
    pub batch_num_messages: Option<u32>,
    /// `max.request.size` in bytes (default 1048576): bounds a record before compression, and a request.
    pub max_request_size: usize,
    /// `compression.type` with its level (default none). With `compressed.topics`, that of the topics not named there: none.
    pub compression: rohrpost_record::Compression,
    /// Topics that have settings of their own (CFG-17); see [`Config::topic`].
    pub topics: BTreeMap<String, TopicConfig>,
    /// `partitioner.class` (default: built in). One that was given to the builder comes before it.
    pub partitioner: PartitionerClass,
    /// `partitioner.ignore.keys` (default false).
    pub partitioner_ignore_keys: bool,
    /// `partitioner.adaptive.partitioning.enable` (default true).
    pub partitioner_adaptive_partitioning_enable: bool,
    /// `partitioner.availability.timeout.ms` (default 0 = off).
    pub partitioner_availability_timeout_ms: u64,
    /// `client.rack`, if `partitioner.rack.aware` is true (default: it is not).
    pub partitioner_rack: Option<String>,
    /// `retry.backoff.ms` (default 100).
    pub retry_backoff_ms: u64,
    /// `retry.backoff.max.ms` (default 1000). With this default and that of `retries` waits double twice only.
    pub retry_backoff_max_ms: u64,
    /// ▸ RTY-1: how often the wait before a retry doubles at most: twice, unless `retry.backoff.max.ms` or `retries` is not at its default.
    pub(crate) retry_backoff_step_max: u32,
    /// `reconnect.backoff.ms` (default 50).
    pub reconnect_backoff_ms: u64,
    /// `reconnect.backoff.max.ms` (default 1000).
    pub reconnect_backoff_max_ms: u64,
    /// `socket.connection.setup.timeout.ms` (default 10000).
    pub socket_connection_setup_timeout_ms: u64,
    /// `socket.connection.setup.timeout.max.ms` (default 30000).
    pub socket_connection_setup_timeout_max_ms: u64,
    /// `connections.max.idle.ms` (default 540000). `None` = never closed; 0 acts as 1.
    pub connections_max_idle_ms: Option<u64>,
    /// `send.buffer.bytes` (default 131072); -1 = the system's default.
    pub send_buffer_bytes: i32,
    /// `receive.buffer.bytes` (default 32768); -1 = the system's default.
    pub receive_buffer_bytes: i32,
    /// `metadata.max.age.ms` (default 300000): the longest time between two refreshes. `u64::MAX` = only when needed.
    pub metadata_max_age_ms: u64,
    /// `metadata.max.idle.ms` (default 300000): a topic not sent to for so long leaves the metadata set (MET-2).
    pub metadata_max_idle_ms: u64,
    /// `metadata.recovery.strategy` is `rebootstrap` (default), not `none` (MET-12).
    pub metadata_rebootstrap: bool,
    /// `metadata.recovery.rebootstrap.trigger.ms` (default 300000).
    pub metadata_rebootstrap_trigger_ms: u64,
    /// `allow.auto.create.topics` (default true; not a key of Kafka's producer): may an unknown topic be created by being
    /// asked for? A topic once seen is never brought back by this producer (MET-8).
    pub allow_auto_create_topics: bool,
    /// `metrics.num.samples` (default 2): windows that rates, means and maxima are taken over; at most 100 are kept.
    pub metrics_num_samples: u32,
    /// `metrics.sample.window.ms` (default 30000): how long each of them is.
    pub metrics_sample_window_ms: u64,
    /// `topic.recreation` (default follow; a key of ours): what becomes of buffered records when their topic was deleted and created
    /// anew (MET-9).
    pub topic_recreation: TopicRecreation,
    /// `stop.on.failure` (default none; a key of ours): in these topics, the records of a partition behind one that failed fail, too,
    /// until [`Producer::resume`](crate::Producer::resume) (RTY-5).
    pub stop_on_failure: StopOnFailure,
    /// `resend.innocent.records` (default false; a key of ours): when a broker refuses a batch and names the records that it means,
    /// the others are sent again without them (ERR-3).
    pub resend_innocent_records: bool,
}

/// What becomes of the records that are buffered for a topic when it turns out that it was deleted and created anew (MET-9).
///
/// That is noticed by the topic's id. With brokers that have no topic ids in Produce requests (older than Kafka 4.1), only a
/// refresh of the metadata can notice it: a batch that is sent between the re-creation and that refresh goes to the new topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopicRecreation {
    /// They go to the new topic. Those for partitions that it does not have fail.
    #[default]
    Follow,
    /// They fail as `NotWritten`, those with an attempt that may have been written to the old topic as `Unknown`. What is sent
    /// afterwards goes to the new topic.
    Fail,
    /// They wait, and so does what is sent afterwards, until [`Producer::release`](crate::Producer::release) says what to do, or
    /// their `delivery.timeout.ms` is over.
    Hold,
}

/// Topics in which a failure stops its partition (RTY-5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StopOnFailure {
    /// In none.
    #[default]
    Never,
    /// In all (`*`).
    AllTopics,
    /// In these.
    Topics(Vec<String>),
}

impl StopOnFailure {
    pub(crate) fn has(&self, topic: &str) -> bool {
        match self {
            StopOnFailure::Never => false,
            StopOnFailure::AllTopics => true,
            StopOnFailure::Topics(topics) => topics.iter().any(|name| name == topic),
        }
    }
}

/// Which acknowledgement a batch waits for (`acks`, SND-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// `0`: none. A record is [handed over](crate::Delivered) once its request is written to the socket.
    None,
    /// `1`: the leader has written it.
    Leader,
    /// `all` or `-1`: every in-sync replica has it.
    #[default]
    All,
}

impl Acks {
    /// As the wire has it: 0, 1 or -1.
    pub fn id(self) -> i16 {
        // ERR-6: nothing else ever goes out
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Acks::None => "0",
            Acks::Leader => "1",
            Acks::All => "all",
        })
    }
}

/// How batches are compressed: `compression.type` with the codec's level.
///
/// A level or codec that the build does not have is refused by name when the producer is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip: -1 (the codec's choice) or 1 to 9.
    Gzip(i32),
    /// Snappy; it has no levels.
    Snappy,
    /// LZ4: 1 to 17; 9, Kafka's default, means the fast compressor (CMP-2).
    Lz4(i32),
    /// Zstandard: -131072 to 22.
    Zstd(i32),
}

impl Compression {
    /// gzip at Kafka's default level.
    pub const GZIP: Compression = Compression::Gzip(-1);
    /// LZ4 at Kafka's default level.
    pub const LZ4: Compression = Compression::Lz4(9);
    /// Zstandard at Kafka's default level.
    pub const ZSTD: Compression = Compression::Zstd(3);
}
