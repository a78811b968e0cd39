//! A Kafka connection as a client sees it: frames, correlation, versions, names, reconnects, throttling.
//!
//! In a record's journey this is the stretch between the sender thread, which has built a Produce request from drained
//! batches, and the broker's socket; and the way back of the answer. The same connections carry the fetches of followers and
//! observers, and the reading and admin calls of the command line.
//!
//! Three layers, each usable without the one above it:
//!
//! * [`connection`]: one connection as a state machine. It does no I/O, reads no clock and draws no randomness of its own:
//!   bytes, addresses and the time go in; events, slices to write and deadlines come out.
//! * [`Network`]: the driver. It owns sockets, the poll, the waker and the thread that resolves names. One thread uses it.
//! * [`Client`]: blocking request and response for tools and tests, with a bootstrap list and routing to leaders.
//!
//! What it promises:
//!
//! * A request handed over comes back exactly once: with its response, as written (when it expects none), or with the
//!   reason for which its connection ended. The caller owns the buffers again then, and not before (ACC-25).
//! * Responses come in the order of the requests (SND-6); a connection that breaks that is closed.
//! * No length from the wire is believed: memory grows with the bytes that arrived, and never above
//!   [`NetConfig::max_response_bytes`] (CON-9).
//! * Nothing waits without a deadline: names, connects, handshakes and requests all have one.
//!
//! Beside them stands what the texts of a configuration have in common on both sides: addresses ([`Address`]) and the syntax of
//! `.properties` files ([`properties`]).
//!
//! TLS and SASL will stand between a connection's socket and its frames (CON-6): the socket in `stream`, the
//! exchange before the version handshake in [`connection`].

#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod address;
mod backoff;
mod client;
mod config;
pub mod connection;
mod endpoint;
mod event;
mod frame;
mod handshake;
mod network;
pub mod properties;
mod resolve;
mod stream;

pub use address::{Address, AddressError, parse_bootstrap_servers};
pub use backoff::Backoff;
pub use client::{
    Broker, Client, ClientConfig, ClientError, FailedAddress, Metadata, PartitionMetadata, Response, Target,
    TopicMetadata,
};
pub use config::NetConfig;
pub use event::{
    ConnectError, Disconnect, Event, NodeId, NodeState, Outgoing, ProtocolError, ResolveError, Traffic,
};
pub use network::{Network, Waker};
pub use resolve::{Resolve, SystemResolver};
