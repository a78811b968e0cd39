//! The replicas that this broker hosts: writes producers' batches into leaders' logs, reads for consumers, and follows the
//! metadata image when partitions come and go.
//!
//! Place for what comes later: `isr.rs` (who is in sync, proposals to the controller) and `fetcher.rs` (copying from a
//! leader). A partition has its in-sync set as a type of its own already ([`partition::InSync`]), because the high watermark is
//! computed over the *maximal* set, never over the committed one; and a leader keeps the ends of its followers' logs, which only
//! their fetches can tell it. Until these are served, a partition whose in-sync set has a second member commits nothing, and
//! acks=all waits there for its deadline.

mod backlog;
mod dirs;
mod flusher;
mod manager;
mod partition;
mod schedule;
mod timed;
mod upkeep;

pub(crate) use manager::ReplicaManager;
pub use partition::{AppendFailure, Appended};
pub(crate) use partition::{EpochCheck, FoundOffset, OwnLog, Partition, ReadOutcome, ReadRequest, Reader};
#[cfg(test)]
pub(crate) use partition::{InSync, Role};
