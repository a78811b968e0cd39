//! A Kafka producer: every accepted record gets a true outcome.
//!
//! ```
//! use std::time::Duration;
//!
//! use rohrpost::{Compression, Outcome, Producer, Record};
//!
//! # let cluster = rohrpost_broker::Cluster::builder().topic("orders", 6, 1).start()?;
//! # let servers = cluster.bootstrap_servers();
//! // Kafka's defaults: acks=all, idempotence, linger 5 ms. Nothing is connected yet.
//! let producer = Producer::builder(servers).compression(Compression::LZ4).build()?;
//! # pollster::block_on(async {
//!
//! // `send` waits for room and for a new topic's metadata, never for the broker. The handle may be awaited, or dropped.
//! let delivery = producer.send(Record::to("orders").key("42").value("one espresso")).await?;
//! match delivery.await {
//!     Ok(at) => println!("{}-{} at {:?}", at.topic(), at.partition(), at.offset()),
//!     Err(e) if e.outcome() == Outcome::NotWritten => println!("certainly not in the log: {e}"),
//!     Err(e) => println!("perhaps in the log: {e}"),
//! }
//!
//! // The end says what it leaves behind.
//! let report = producer.close(Duration::from_secs(10)).await;
//! assert!(report.undelivered.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every wait is a future that runs on any executor, and has a twin for plain threads (`send_blocking`, `flush_blocking`,
//! `close_blocking`, [`Delivery::wait`]). `try_send` never waits, and gives the record back when there is no room.
//!
//! # What it promises
//!
//! * An accepted record ends once, as acknowledged, as [`Outcome::NotWritten`] or as [`Outcome::Unknown`]. `NotWritten` is said
//!   only if no attempt can have written it.
//! * With idempotence (the default) retries neither repeat records nor change their order within a partition, with up to five
//!   requests in flight. No error that a new producer epoch repairs ends the producer.
//! * Memory is bounded by `buffer.memory`, and belongs to a request until that request has ended.
//! * An outcome is told on the handle, in a callback, to interceptors ([`Interceptor`]), and in a file of failed records
//!   ([`FailedRecords`]), in send order per partition. SEND-3: what is buffered when the process dies is lost, whichever way is used.
//!   One producer for the process is the rule; a pool gives up order and batching between its members (THR-4).
//! * Configuration keys are Kafka's; a wrong one is refused with the right one beside it. See [`ProducerBuilder`].
//!
//! Not there yet: transactions, TLS and SASL. Their keys are refused by name.
//!
//! # Inside
//!
//! A record's journey through this crate, and the module of each station:
//!
//! ```text
//! application thread                                    sender thread
//! ------------------                                    -------------
//! Producer::send        (producer, send)                sender::driver     owns sockets and clock
//!   └ Record            (record)                          └ metadata::core who leads what
//!   └ partitioner       (partitioner)                     └ sender::core   what to send, what an answer means
//!   └ Accumulator       (accumulator)  ── batches ──►         └ idempotence, retry
//!       └ BufferPool    (accumulator::pool)                  └ rohrpost-net connections
//!   ◄── Delivery        (delivery)     ◄── one completion per batch ──┘
//! ```
//!
//! The accumulator is shared by all threads (`&self`, one short lock per partition); every other state machine has a
//! single owner, the sender thread. None of them does I/O or reads a clock.

#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]
#![cfg_attr(loom, feature(arbitrary_self_types))] // loom's `Arc` as `self`; with RUSTC_BOOTSTRAP, see scripts/interleavings

mod accumulator;
#[cfg(doctest)]
mod book;
mod config;
mod delivery;
mod failed_records;
mod interceptor;
#[cfg(all(loom, test))]
mod interleavings_tests;
#[cfg(feature = "measure")]
#[doc(hidden)]
pub mod measured;
mod metadata;
mod metrics;
mod outcome;
mod partitioner;
mod producer;
mod record;
#[cfg(feature = "simulate")]
#[doc(hidden)]
pub mod rules;
#[cfg(not(feature = "simulate"))]
mod rules;
mod send;
mod sender;
mod serializer;
#[cfg(feature = "simulate")]
#[doc(hidden)]
pub mod simulate;
mod sync;
mod time;
mod typed;
mod wait;

pub use self::accumulator::FlushReport;
pub use self::config::{
    Acks, Address, Compression, Config, ConfigError, ConfigErrors, ConfigKey, KeyStatus, Origin,
    PartitionerClass, ProducerBuilder, StopOnFailure, TopicConfig, TopicRecreation, TopicSettings,
    config_keys,
};
pub use self::delivery::{Delivery, Job, WaitError};
pub use self::failed_records::{FailedRecord, FailedRecords, KeepError};
pub use self::interceptor::{Acknowledgement, Interceptor, InterceptorSettings};
pub use self::metrics::{
    AvgMax, Histogram, Meter, Metric, MetricDescription, MetricGroup, MetricKind, Metrics, MetricsSnapshot,
    NodeMetrics, ProducerMetrics, Stage, TopicMetrics, metric_descriptions, prometheus_text,
};
pub use self::outcome::{Delivered, DeliveryError, Outcome, Reason, Refusal, SendError};
pub use self::partitioner::{Choice, Partitioner, PartitionerSettings, RoundRobin, TopicView, UniformSticky};
pub use self::producer::{
    BuildError, CloseReport, FlushError, HeldRecords, MockProducer, PartitionInfo, Producer, Purge,
    PurgeReport, Undelivered,
};
pub use self::record::{Header, InvalidRecord, Record, RecordTo};
pub use self::send::{Permit, PermitError, SendFuture, Topic};
#[cfg(feature = "json")]
pub use self::serializer::Json;
pub use self::serializer::{
    Nullable, Number, Part, Raw, SerializeError, Serializer, Shared, Target, Text, Unit, Utf8, UuidText,
};
pub use self::typed::{Keyed, TypedSendError, TypedTopic};
pub use rohrpost_protocol::ErrorCode;
