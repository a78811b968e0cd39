//! When to ask for metadata, and what an answer changes (MET-1 to MET-12).

/// The state machine behind the snapshots. Owned by the sender.
pub(crate) struct MetadataCore;
