//! A Kafka producer: every accepted record gets a true outcome.
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

mod accumulator;
mod config;
mod delivery;
mod metadata;
mod outcome;
mod partitioner;
mod producer;
mod record;
mod send;
mod sender;
mod time;
mod wait;

pub use self::config::{Acks, Address, Compression, Config, ConfigError, ConfigErrors, ProducerBuilder};
pub use self::delivery::{Delivery, WaitError};
pub use self::outcome::{Delivered, DeliveryError, Outcome, Reason, Refusal, SendError};
pub use self::producer::{
    BuildError, CloseReport, ConnectError, FlushError, Metrics, PartitionInfo, Producer, Undelivered,
};
pub use self::record::{Header, InvalidRecord, Record, RecordTo};
pub use self::send::{Permit, PermitError, SendFuture, Topic};
pub use rohrpost_protocol::ErrorCode;
