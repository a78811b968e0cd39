//! Sockets, frames and the way of a request to its handler and back. Knows nothing of what a frame means.
//!
//! ```text
//! listener ─► acceptor ─► network thread: connection (bytes ─► frame) ─┬─► inline: what never blocks
//!                             ▲                                        └─► request channel (bounded) ─► handler threads
//!                             └── response queue ◄── handler threads, and events that end a wait ───────────┘
//! ```
//!
//! Promises: one request in flight per connection, so responses leave in request order (N4); no queue grows beyond its bound
//! (N6, N7) and a full one stops reading, never writing; a frame that is none closes its own connection with one log line
//! (N8, G1, G2); a handler that panics still leaves an answer or a closed connection (G8); no thread waits with a request that waits.

mod acceptor;
mod channel;
mod connection;
mod frame;
mod memory;
mod quota;
mod response;
mod thread;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use acceptor::bind;
pub(crate) use channel::{RequestChannel, Responder, ResponseQueue, run_handler};
pub(crate) use frame::Frame;
pub(crate) use memory::FrameMemory;
pub(crate) use quota::{ConnectionLimits, ConnectionQuota, ListenerLimits};
pub(crate) use response::{Response, UnsentBytes};
pub(crate) use thread::{ListenerId, NetworkThread, Shared, SocketConfig};

/// What the network serves: the broker's handlers, or an echo in a test.
pub(crate) trait Service: Send + Sync + 'static {
    /// Where this request is to run. Looks at the frame only as far as it must.
    fn route(&self, frame: &[u8]) -> Route;

    /// Does what the request asks. Called once per request.
    fn handle(&self, request: &mut Request) -> Outcome;

    /// What to answer when [`Service::handle`] panicked (G8).
    fn handle_panicked(&self, request: &mut Request) -> Outcome;

    /// Timed work (checkpoints); called by one handler thread. Returns when it wants to be called again.
    fn tick(&self, now: Instant) -> Instant;
}

/// Where a request runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// In the network thread: it never blocks.
    Inline,
    /// In a handler thread: it may wait for a disk.
    Handler,
}

/// A request on its way to a handler.
#[derive(Debug)]
pub(crate) struct Request {
    /// The frame; handlers change batches in place.
    pub(crate) frame: Frame,
    /// Who sent it.
    pub(crate) peer: SocketAddr,
    /// Name of the listener that it came in on: answers name the end points of the same (M8).
    pub(crate) listener: Arc<str>,
    /// Where an answer goes that is not there when the handler returns.
    pub(crate) responder: Responder,
}

/// What became of a request.
pub(crate) enum Outcome {
    /// Send this.
    Respond(Response),
    /// Nothing to send (acks=0); the connection goes on.
    NoResponse,
    /// Close the connection and log why. N13, G1, G2.
    Close(String),
    /// It will be answered through its [`Responder`]: by an event, or by the waiter's own end at the deadline.
    Wait(Pending),
}

/// A request that waits in the purgatory.
pub(crate) struct Pending {
    /// What waits.
    pub(crate) waiter: Arc<dyn Waiter>,
    /// When it must end.
    pub(crate) deadline: Instant,
    /// Where its end at the deadline runs.
    pub(crate) route: Route,
}

/// The network's side of an operation in the purgatory: it owns the time and knows when the peer is gone.
pub(crate) trait Waiter: Send + Sync {
    /// The deadline has passed: answer through the responder, unless that was done before (W1).
    fn expire(&self);
    /// The connection is gone: forget everything.
    fn cancel(&self);
}

#[cfg(test)]
mod tests;
