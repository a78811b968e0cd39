//! Round robin: one record after the other to one partition after the other (PAR-15).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;

use super::{Choice, Partitioner, TopicView};
use crate::record::Record;

/// Spreads records over the available partitions of their topic in turn, whatever their key (PAR-15). Many small batches come of
/// it: every partition fills one at the same time.
///
/// Each topic has a counter, from 0. It counts records: unlike with Kafka's in older releases, a new batch skips no partition.
#[derive(Default)]
pub struct RoundRobin {
    counters: RwLock<HashMap<Box<str>, AtomicU32>>,
}

impl RoundRobin {
    /// All counters at 0.
    #[must_use]
    pub fn new() -> RoundRobin {
        RoundRobin::default()
    }

    fn next(&self, topic: &str) -> u32 {
        if let Some(counter) = self.counters.read().get(topic) {
            return counter.fetch_add(1, Ordering::Relaxed);
        }
        self.counters.write().entry(topic.into()).or_default().fetch_add(1, Ordering::Relaxed)
    }
}

impl Partitioner for RoundRobin {
    fn partition(&self, _record: &Record, topic: &TopicView<'_>) -> Choice {
        // The sign bit is left out, as Kafka does it.
        let turn = self.next(topic.topic()) & 0x7fff_ffff;
        let available = topic.available();
        let partition = match available.len() as u32 {
            0 if topic.partitions() == 0 => return Choice::Any,
            0 => turn % topic.partitions(),
            n => available[(turn % n) as usize],
        };
        Choice::Partition(partition as i32)
    }
}

impl fmt::Debug for RoundRobin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoundRobin")
    }
}
