//! Requests that wait: a fetch for bytes that are not there yet, a produce with acks=all for its followers.
//!
//! An operation ends exactly once (W1), whoever comes first: an event of one of its partitions, the deadline (the network thread
//! that owns the connection keeps the time, and expires it as a [`Waiter`](crate::network::Waiter)), or the end of the
//! connection. No thread waits with it, and it does not hold the request's bytes (W11). Since a connection has one request in
//! flight (N4), there are never more operations than connections.
//!
//! What waits for a partition hangs on the partition: a list of fetches, and a queue of produce requests ordered by the offset
//! that they need (W10). Whoever has changed a partition calls
//! [`Partition::notify_waiters`](crate::replica::Partition::notify_waiters), which looks at both (W7). The way in is the same
//! for both kinds: try, watch, try again (W2); so is the way out: the answer leaves through the request's
//! [`Responder`].

mod delayed_fetch;
mod delayed_produce;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::network::{Outcome, Responder};

pub(crate) use delayed_fetch::{DelayedFetch, FetchWaiters, FetchWork, Progress};
pub use delayed_produce::Committed;
pub(crate) use delayed_produce::{Awaited, DelayedProduce, ProduceWaiters, Watched};

/// Sends the answer of an operation that has ended. A panic in it must not take down the thread whose event ended it, nor leave
/// the request unanswered (G8).
fn send_guarded(responder: &Responder, answer: impl FnOnce() -> Outcome) {
    let answer = catch_unwind(AssertUnwindSafe(answer))
        .unwrap_or_else(|_| Outcome::Close("answering its waiting request failed".to_owned()));
    responder.send(answer, Vec::new());
}
