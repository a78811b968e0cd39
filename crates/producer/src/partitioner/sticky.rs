//! The built-in choice for records without key: stay with one partition for about a batch, then move on (KIP-794, PAR-6 to
//! PAR-13).
//!
//! Per topic one cell holds partition and bytes. It is changed only under the lock of the partition that it names, so that it
//! needs no lock of its own: who reads it takes that partition's lock and looks again; if it names another partition by then, the
//! append starts over (PAR-8). The load table is published by the sender; choosing the next partition happens without any lock.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::Layout;
use super::random::{Random, below, one_of};

/// The cell names no partition yet.
const NONE: u64 = u64::MAX;

/// A topic's sticky state. On a cache line of its own: it is written with every keyless record.
#[repr(align(64))]
pub(crate) struct Sticky {
    cell: AtomicU64,
    random: Random,
    load: Apart<RwLock<LoadTable>>,
}

/// What the sender writes does not share a cache line with what is written with every record.
#[derive(Default)]
#[repr(align(64))]
struct Apart<T>(T);

/// The cell's content: where the topic stays, and the bytes it has put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stay {
    pub(crate) partition: u32,
    pub(crate) bytes: u32,
}

impl Stay {
    fn pack(self) -> u64 {
        u64::from(self.partition) << 32 | u64::from(self.bytes)
    }

    fn unpack(packed: u64) -> Option<Stay> {
        (packed != NONE).then_some(Stay { partition: (packed >> 32) as u32, bytes: packed as u32 })
    }

    /// Whether the partition is left (PAR-7). `all_full`: every batch in its queue is full.
    #[inline]
    pub(crate) fn is_over(self, batch_size: usize, all_full: impl FnOnce() -> bool) -> bool {
        let bytes = self.bytes as usize;
        bytes >= batch_size && (bytes >= batch_size.saturating_mul(2) || all_full())
    }
}

impl Sticky {
    /// `seed` makes the choices; equal seeds make equal choices.
    pub(crate) fn new(seed: u64) -> Sticky {
        Sticky { cell: AtomicU64::new(NONE), random: Random::new(seed), load: Apart::default() }
    }

    /// Where the topic stays, as it was a moment ago.
    #[inline]
    pub(crate) fn stay(&self) -> Option<Stay> {
        Stay::unpack(self.cell.load(Ordering::Acquire))
    }

    /// Adds the bytes of an append. Under the lock of the partition that the cell names.
    #[inline]
    pub(crate) fn add(&self, stay: Stay, bytes: usize) {
        let bytes = stay.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.cell.store(Stay { bytes, ..stay }.pack(), Ordering::Release);
    }

    /// Moves on to `next`. Under the lock of the partition that the cell names; after it, the cell is another lock's.
    pub(crate) fn leave_for(&self, next: u32) {
        self.cell.store(Stay { partition: next, bytes: 0 }.pack(), Ordering::Release);
    }

    /// The first stay, or another one if the topic has shrunk and `seen` does not exist any more. Without lock: whoever is first
    /// wins.
    pub(crate) fn begin(&self, seen: Option<Stay>, next: u32) {
        let seen = seen.map_or(NONE, Stay::pack);
        let next = Stay { partition: next, bytes: 0 }.pack();
        let _ = self.cell.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The next partition (PAR-9): by load if there are statistics, else uniformly among available partitions (PAR-5), those of the
    /// client's rack first (PAR-14), else among all.
    pub(crate) fn draw(&self, topic: &Layout) -> u32 {
        let random = self.random.next();
        if let Some(partition) = self.load.0.read().choose(random)
            && partition < topic.partitions()
        {
            return partition;
        }
        one_of(random, topic.candidates())
            .unwrap_or_else(|| below(random, topic.partitions().into()).unwrap_or(0) as u32)
    }

    /// Any of `partitions`.
    pub(crate) fn draw_any(&self, partitions: u32) -> u32 {
        below(self.random.next(), partitions.into()).unwrap_or(0) as u32
    }

    /// New statistics, from the queue length of each partition; see [`LoadTable::fill`].
    pub(crate) fn publish(&self, lengths: &[Option<usize>]) {
        if !says_something(lengths) && self.load.0.read().cumulative.is_empty() {
            return; // none, as before: whoever draws is not disturbed
        }
        self.load.0.write().fill(lengths);
    }
}

/// Which partitions take how much of a topic, by the length of their queues.
#[derive(Debug, Default, PartialEq, Eq)]
struct LoadTable {
    /// Partition and running sum of weights. Empty: no statistics.
    cumulative: Vec<(u32, u64)>,
}

impl LoadTable {
    /// The table for queue lengths by partition; `None` in the list leaves a partition out: no leader, or a broker that does not
    /// take data (PAR-10, PAR-12).
    fn fill(&mut self, lengths: &[Option<usize>]) {
        self.cumulative.clear();
        if !says_something(lengths) {
            return;
        }
        let longest = lengths.iter().flatten().max().copied().unwrap_or(0);
        let mut sum = 0;
        let kept = lengths.iter().enumerate().filter_map(|(partition, length)| Some((partition, (*length)?)));
        self.cumulative.extend(kept.map(|(partition, length)| {
            sum += (longest + 1 - length) as u64;
            (partition as u32, sum)
        }));
    }

    /// A random number below the last entry; the first entry strictly greater is chosen (PAR-9).
    fn choose(&self, random: u64) -> Option<u32> {
        let (_, total) = self.cumulative.last()?;
        let number = below(random, *total)?;
        let at = self.cumulative.partition_point(|(_, sum)| *sum <= number);
        self.cumulative.get(at).map(|(partition, _)| *partition)
    }
}

/// PAR-11: one is left at least, and they differ, or one is left out. Of a topic with one partition nothing of this can be.
fn says_something(lengths: &[Option<usize>]) -> bool {
    let mut kept = lengths.iter().flatten();
    let Some(first) = kept.next() else { return false };
    kept.any(|length| length != first) || !lengths.iter().all(Option::is_some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{PartitionMetadata, TopicMetadata};
    use crate::partitioner::Brokers;

    fn weights(lengths: &[Option<usize>]) -> Option<LoadTable> {
        let mut table = LoadTable::default();
        table.fill(lengths);
        (!table.cumulative.is_empty()).then_some(table)
    }

    fn topic(leaders: &[Option<i32>]) -> Layout {
        let partitions = leaders
            .iter()
            .map(|leader| PartitionMetadata {
                leader: *leader,
                leader_epoch: 0,
                sure_epoch: 0,
                replicas: Vec::new(),
                in_sync: Vec::new(),
            })
            .collect();
        let metadata = TopicMetadata { name: "t".into(), id: Default::default(), partitions };
        Layout::new(&metadata.into(), Brokers { nodes: &Default::default(), own_rack: None })
    }

    // PAR-7
    #[test]
    fn a_partition_is_left_after_a_batch_if_its_batches_are_full_and_after_two_in_any_case() {
        let stay = |bytes| Stay { partition: 3, bytes };
        assert!(!stay(99).is_over(100, || true));
        assert!(stay(100).is_over(100, || true));
        assert!(!stay(199).is_over(100, || false));
        assert!(stay(200).is_over(100, || false));
    }

    // PAR-9, PAR-10
    #[test]
    fn queue_lengths_become_weights() {
        let table = weights(&[Some(0), Some(3), Some(1)]).unwrap();
        assert_eq!(table.cumulative, [(0, 4), (1, 5), (2, 8)]);
        let pick = |number: u64| table.choose((u64::MAX / 8) * number + u64::MAX / 16);
        let picked: Vec<_> = (0..8).map(|number| pick(number).unwrap()).collect();
        assert_eq!(picked, [0, 0, 0, 0, 1, 2, 2, 2]);
    }

    // PAR-10, PAR-11
    #[test]
    fn there_are_no_statistics_where_they_would_say_nothing() {
        assert_eq!(weights(&[Some(5)]), None, "one partition");
        assert_eq!(weights(&[Some(2), Some(2)]), None, "equal queues");
        assert_eq!(weights(&[None, None]), None, "nothing left");
        let without_leader = weights(&[Some(2), None, Some(2)]).unwrap();
        assert_eq!(without_leader.cumulative, [(0, 1), (2, 2)], "equal, but one is left out");
    }

    // PAR-5, PAR-9
    #[test]
    fn the_choice_is_uniform_among_available_partitions_or_among_all() {
        let sticky = Sticky::new(7);
        let mut counts = [0; 4];
        let some = topic(&[Some(1), None, Some(2), None]);
        for _ in 0..2000 {
            counts[sticky.draw(&some) as usize] += 1;
        }
        assert_eq!((counts[1], counts[3]), (0, 0));
        assert!(counts[0].min(counts[2]) > 800, "{counts:?}");
        let none = topic(&[None, None]);
        let mut counts = [0; 2];
        for _ in 0..2000 {
            counts[sticky.draw(&none) as usize] += 1;
        }
        assert!(counts[0].min(counts[1]) > 800, "{counts:?}");
    }

    // PAR-9
    #[test]
    fn statistics_from_before_a_topic_lost_partitions_choose_none_that_is_gone() {
        let sticky = Sticky::new(7);
        sticky.publish(&[Some(9), Some(9), Some(0)]);
        let topic = topic(&[Some(1), Some(1)]);
        assert!((0..200).all(|_| sticky.draw(&topic) < 2));
    }

    // PAR-9
    #[test]
    fn a_loaded_partition_draws_fewer_records() {
        let sticky = Sticky::new(7);
        sticky.publish(&[Some(9), Some(0)]);
        let topic = topic(&[Some(1), Some(1)]);
        let to_loaded = (0..1100).filter(|_| sticky.draw(&topic) == 0).count();
        assert!((50..160).contains(&to_loaded), "1 in 11 expected, {to_loaded} of 1100 came");
    }
}
