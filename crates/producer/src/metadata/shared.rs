//! The door between application threads and the sender: the current snapshot, topics asked for, calls that wait.

use std::sync::Arc;

use parking_lot::RwLock;
use rohrpost_protocol::ErrorCode;

use super::{Snapshot, TopicMetadata};

/// Shared by all threads.
pub(crate) struct MetadataShared {
    current: RwLock<Arc<Snapshot>>,
}

/// What is known of a topic.
#[derive(Debug, Clone)]
pub(crate) enum Lookup {
    /// Known, with partitions.
    Known(Arc<TopicMetadata>),
    /// Not known (yet); worth waiting. The last error that is waited out, if there was one.
    Unknown(Option<ErrorCode>),
    /// Refused for good: INVALID_TOPIC_EXCEPTION, TOPIC_AUTHORIZATION_FAILED (MET-7).
    Failed(ErrorCode),
}

impl MetadataShared {
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.read().clone()
    }
}
