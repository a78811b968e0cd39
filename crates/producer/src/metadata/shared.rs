//! The door between application threads and the sender: the current snapshot, topics asked for, calls that wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::{Mutex, RwLock};
use rohrpost_protocol::ErrorCode;

use super::{Snapshot, TopicMetadata};
use crate::wait::SenderWake;

/// Shared by all threads. The sender publishes; everybody else reads, asks for topics, and waits for the next snapshot.
pub(crate) struct MetadataShared {
    current: RwLock<Arc<Snapshot>>,
    /// Something lies in `wanted`: spares the sender the lock on most passes.
    is_wanted: AtomicBool,
    is_refresh_wanted: AtomicBool,
    inner: Mutex<Inner>,
    sender: SenderWake,
}

#[derive(Default)]
struct Inner {
    /// Topics asked for since the sender last looked. Bounded: one name per topic, and each name is one that a caller waits
    /// for.
    wanted: BTreeSet<Arc<str>>,
    /// Futures that wait for the next snapshot: one entry each, taken out when it is cancelled or woken.
    waiters: BTreeMap<u64, Waker>,
    next_id: u64,
    trouble: Option<Arc<str>>,
}

/// Names a waiting future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitKey(u64);

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
    pub(crate) fn new(sender: SenderWake) -> MetadataShared {
        MetadataShared {
            current: RwLock::default(),
            is_wanted: AtomicBool::new(false),
            is_refresh_wanted: AtomicBool::new(false),
            inner: Mutex::default(),
            sender,
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.read().clone()
    }

    pub(crate) fn lookup(&self, topic: &str) -> Lookup {
        self.current.read().lookup(topic)
    }

    /// Asks the sender for this topic, and renews its place in the metadata set (MET-2).
    pub(crate) fn want(&self, topic: &Arc<str>) {
        let is_new = self.inner.lock().wanted.insert(topic.clone());
        if is_new {
            self.is_wanted.store(true, Ordering::Release);
            self.sender.wake();
        }
    }

    /// Asks the sender for a refresh of all topics: a record names a partition beyond those known (PRE-2).
    pub(crate) fn want_refresh(&self) {
        if !self.is_refresh_wanted.swap(true, Ordering::AcqRel) {
            self.sender.wake();
        }
    }

    /// Whether a refresh was asked for since the last call; for the sender.
    pub(crate) fn take_refresh_wanted(&self) -> bool {
        self.is_refresh_wanted.swap(false, Ordering::AcqRel)
    }

    /// What was asked for since the last call; for the sender.
    pub(crate) fn take_wanted(&self) -> BTreeSet<Arc<str>> {
        if !self.is_wanted.swap(false, Ordering::Acquire) {
            return BTreeSet::new();
        }
        std::mem::take(&mut self.inner.lock().wanted)
    }

    /// Wakes `waker` at the next published snapshot. Register first and look afterwards, or a snapshot that comes between is
    /// missed.
    pub(crate) fn wait(&self, waker: &Waker) -> WaitKey {
        let mut inner = self.inner.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        inner.waiters.insert(id, waker.clone());
        WaitKey(id)
    }

    /// The future does not wait any more. Fine for one that was woken.
    pub(crate) fn cancel(&self, key: WaitKey) {
        let removed = self.inner.lock().waiters.remove(&key.0);
        drop(removed); // outside the lock: dropping a waker may run foreign code
    }

    /// A new snapshot, for all; wakes whoever waits.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) {
        self.replace(snapshot);
        self.wake_all();
    }

    /// [`publish`](MetadataShared::publish) for callers that hold a lock: [`wake_all`](MetadataShared::wake_all) is to follow without it.
    pub(crate) fn replace(&self, snapshot: Arc<Snapshot>) {
        *self.current.write() = snapshot;
    }

    /// Wakes whoever waits to look again: after `publish`, and when the producer closes or fails.
    pub(crate) fn wake_all(&self) {
        let waiters = std::mem::take(&mut self.inner.lock().waiters);
        waiters.into_values().for_each(Waker::wake);
    }

    /// What keeps the producer from reaching the cluster, in words: servers tried, and the system's error. None while a
    /// broker answers.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.inner.lock().trouble.clone()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<Arc<str>>) {
        self.inner.lock().trouble = trouble;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::Count;

    #[test]
    fn a_published_snapshot_wakes_all_that_wait_once() {
        let shared = MetadataShared::new(SenderWake::new());
        let (waiting, gone) = (Arc::new(Count::default()), Arc::new(Count::default()));
        shared.wait(&Waker::from(waiting.clone()));
        let key = shared.wait(&Waker::from(gone.clone()));
        shared.cancel(key);
        shared.publish(Arc::default());
        shared.publish(Arc::default());
        assert_eq!((waiting.get(), gone.get()), (1, 0));
    }

    #[test]
    fn a_topic_asked_for_twice_is_one_question() {
        let shared = MetadataShared::new(SenderWake::new());
        shared.want(&"t".into());
        shared.want(&"t".into());
        assert_eq!(shared.take_wanted().len(), 1);
        assert!(shared.take_wanted().is_empty());
    }
}
