//! Uniform sticky: stay with a partition until a new batch begins (KIP-480, PAR-16).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;

use super::random::{Random, below, one_of};
use super::{Choice, Partitioner, TopicView};
use crate::record::Record;

/// Keeps to one partition of a topic, whatever the records' keys, until a record would begin a new batch there; then it goes to a random
/// available one other than that (PAR-16). Kafka 2.4 to 3.2 sent keyless records so.
///
/// Its flaw is why Kafka has left it: a slow broker's batches stay open longer, and so draw more records. The built-in way with
/// `partitioner.ignore.keys=true` does not have it.
pub struct UniformSticky {
    current: RwLock<HashMap<Box<str>, AtomicU32>>,
    random: Random,
}

impl UniformSticky {
    /// With random choices.
    #[must_use]
    pub fn new() -> UniformSticky {
        UniformSticky::seeded(fastrand::u64(..))
    }

    /// With choices that the seed decides.
    #[must_use]
    pub fn seeded(seed: u64) -> UniformSticky {
        UniformSticky { current: RwLock::default(), random: Random::new(seed) }
    }

    /// A random available partition other than `left`: the only one if there is one, any if none is available.
    fn draw(&self, topic: &TopicView<'_>, left: Option<u32>) -> u32 {
        let random = self.random.next();
        match topic.available() {
            [] => below(random, topic.partitions().into()).unwrap_or(0) as u32,
            [only] => *only,
            available => match left.and_then(|left| available.binary_search(&left).ok()) {
                // One fewer to choose from: those behind the one that is left move up.
                Some(at) => {
                    let drawn = below(random, available.len() as u64 - 1).unwrap_or(0) as usize;
                    available[drawn + usize::from(drawn >= at)]
                }
                None => one_of(random, available).unwrap_or(0),
            },
        }
    }

    fn stay(&self, topic: &TopicView<'_>) -> u32 {
        let known = |current: u32| current < topic.partitions();
        if let Some(current) = self.current.read().get(topic.topic()) {
            let current = current.load(Ordering::Relaxed);
            if known(current) {
                return current;
            }
        }
        let mut all = self.current.write();
        let current = all.entry(topic.topic().into()).or_insert(AtomicU32::new(u32::MAX)).get_mut();
        if !known(*current) {
            *current = self.draw(topic, None);
        }
        *current
    }
}

impl Partitioner for UniformSticky {
    fn partition(&self, _record: &Record, topic: &TopicView<'_>) -> Choice {
        Choice::Partition(self.stay(topic) as i32)
    }

    fn on_new_batch(&self, _record: &Record, topic: &TopicView<'_>, chosen: u32) -> Choice {
        let next = self.draw(topic, Some(chosen));
        if let Some(current) = self.current.read().get(topic.topic()) {
            // Another thread may have moved on already.
            let _ = current.compare_exchange(chosen, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        Choice::Partition(self.stay(topic) as i32)
    }
}

impl Default for UniformSticky {
    fn default() -> UniformSticky {
        UniformSticky::new()
    }
}

impl fmt::Debug for UniformSticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UniformSticky")
    }
}
