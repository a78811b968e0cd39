//! The replicas that this broker hosts: writes producers' batches into leaders' logs, reads for consumers, and follows the
//! metadata image when partitions come and go.
//!
//! Place for what comes later: `isr.rs` (who is in sync, proposals to the controller) and `fetcher.rs` (copying from a
//! leader). A partition has its in-sync set as a type of its own already ([`partition::InSync`]), because the high watermark is
//! computed over the *maximal* set, never over the committed one.

mod manager;
mod partition;

pub(crate) use manager::ReplicaManager;
#[cfg(test)]
pub(crate) use partition::Role;
pub(crate) use partition::{
    AppendFailure, Appended, EpochCheck, FoundOffset, Partition, ReadOutcome, ReadRequest, Reader,
};
