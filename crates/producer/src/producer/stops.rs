//! Partitions that stand still until the application says how to go on: topics that were created anew (MET-9), and partitions in
//! which a record failed (RTY-5).
//!
//! A wish is about what was sent before the call: each partition's queue is cut there, so that what is sent afterwards is not
//! meant. The sender carries it out with its next pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{Producer, Shared};

/// What becomes of records that are held since their topic was created anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldRecords {
    /// They go to the new topic.
    Send,
    /// Those sent before the call fail with [`Reason::TopicRecreated`](crate::Reason::TopicRecreated): as `NotWritten`, or as
    /// `Unknown` if an attempt may have been written to the old topic.
    Fail,
}

impl Producer {
    /// Topics that were deleted and created anew, and whose records wait for [`release`](Self::release)
    /// (`topic.recreation=hold`). The log warns of each, once.
    #[must_use]
    pub fn held_topics(&self) -> Vec<String> {
        self.shared().stops.held.lock().iter().map(ToString::to_string).collect()
    }

    /// Says what becomes of the records that wait since their topic was created anew (MET-9); what is sent afterwards goes to the
    /// new topic. Never waits, also inside a callback. Nothing happens to a topic that is not held.
    pub fn release(&self, topic: &str, records: HeldRecords) {
        self.shared().release(topic, records);
    }

    /// Partitions in which a record failed, and whose later records fail with [`Reason::Stopped`](crate::Reason::Stopped) until
    /// [`resume`](Self::resume) (`stop.on.failure`).
    #[must_use]
    pub fn stopped_partitions(&self) -> Vec<(String, i32)> {
        self.shared().stops.stopped.lock().iter().map(|(topic, index)| (topic.to_string(), *index)).collect()
    }

    /// The application has seen the failure: records sent to the partition after this call are sent again (RTY-5). Those sent
    /// before it fail as `NotWritten`, if they were not on their way already, so nothing of before comes behind what is sent anew.
    /// Never waits, also inside a callback. Nothing happens to a partition that is not stopped.
    pub fn resume(&self, topic: &str, partition: i32) {
        self.shared().resume(topic, partition);
    }
}

impl Shared {
    pub(crate) fn release(&self, topic: &str, records: HeldRecords) {
        let Some(state) = self.accumulator.topic(topic) else { return };
        let older = match records {
            HeldRecords::Send => BTreeMap::new(),
            HeldRecords::Fail => state.cut(None).into_iter().collect(),
        };
        self.stops.announce(|wishes| {
            wishes.releases.insert(state.name().clone(), Release { records, older });
        });
        self.sender.wake();
    }

    pub(crate) fn resume(&self, topic: &str, partition: i32) {
        let Some(state) = self.accumulator.topic(topic) else { return };
        let Ok(index) = u32::try_from(partition) else { return };
        let cut = state.cut(Some(index));
        self.stops.announce(|wishes| wishes.resumes.extend(cut));
        self.sender.wake();
    }
}

/// Between application threads and the sender.
#[derive(Default)]
pub(crate) struct Stops {
    is_waiting: AtomicBool,
    wishes: Mutex<StopWishes>,
    /// What there is to release and to resume; the sender writes.
    pub(crate) held: Mutex<BTreeSet<Arc<str>>>,
    pub(crate) stopped: Mutex<BTreeSet<(Arc<str>, i32)>>,
}

/// What was asked since the sender last looked. Bounded: one for each topic and partition.
#[derive(Default)]
pub(crate) struct StopWishes {
    pub(crate) releases: BTreeMap<Arc<str>, Release>,
    /// By partition key: the number below which batches are older than the call.
    pub(crate) resumes: BTreeMap<u32, u64>,
}

/// What becomes of a held topic.
pub(crate) struct Release {
    pub(crate) records: HeldRecords,
    /// By partition key: the number below which batches are older than the call.
    pub(crate) older: BTreeMap<u32, u64>,
}

impl Stops {
    pub(crate) fn take(&self) -> Option<StopWishes> {
        self.is_waiting.swap(false, Ordering::AcqRel).then(|| std::mem::take(&mut *self.wishes.lock()))
    }

    fn announce(&self, wish: impl FnOnce(&mut StopWishes)) {
        wish(&mut self.wishes.lock());
        self.is_waiting.store(true, Ordering::Release);
    }
}
