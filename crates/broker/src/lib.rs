//! A Kafka broker to embed, to test against, and to run on one machine.
//!
//! ```no_run
//! use rohrpost_broker::Cluster;
//!
//! let cluster = Cluster::builder().topic("orders", 6, 1).start()?;   // milliseconds; gone when dropped
//! let servers = cluster.bootstrap_servers();                            // "127.0.0.1:PORT", for any Kafka client
//! # let _ = servers;
//! assert!(cluster.log("orders", 0).records().is_empty());
//! cluster.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! One record's way through this crate, and where to find it:
//!
//! ```text
//! socket ─► network (acceptor, network threads, frames) ─► handler (one file per API) ─► replica (manager, partition)
//!                   ▲                                                                        │  rohrpost-log
//!                   └── responses ◄── handler ◄── purgatory (what must wait) ◄── log or HW moved ┘
//! topics, leaders: controller (the local one, or later a KRaft cluster's) ─► metadata image ─► replica, handler
//! ```
//!
//! What it promises: every request of an API that it advertises gets an answer or a closed connection, never silence;
//! every queue is bounded; a batch is stored as the client sent it, except base offset and leader epoch; an
//! acknowledgement means what `docs/durability.md` says of it (U7). It answers only what it really does.

#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod clock;
mod cluster;
pub mod config;
pub mod controller;
mod endpoints;
mod error;
mod handler;
pub mod metadata;
#[doc(hidden)]
pub mod model;
mod network;
mod purgatory;
mod replica;
mod server;

pub use clock::{Clock, ManualClock, SystemClock};
pub use cluster::{Cluster, ClusterBuilder, LogRecord, PartitionLog};
pub use error::{StartError, StopError, TopicError};
pub use server::{BrokerServer, ListenerAddress};
