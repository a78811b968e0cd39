//! A topic and its partitions as the producer sees them, and a partition's queue of batches (ACC-1).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use super::batch::Batch;
use super::codec_pool::Ratio;
use super::ledger::Ledger;
use super::lock::ShortMutex;
use super::split::SizeLimit;
use crate::config::TopicConfig;
use crate::metadata::TopicMetadata;
use crate::partitioner::{Brokers, Layout, Sticky};
use crate::rules::{self, Rule};
use crate::sync::{AtomicU32, OnceLock, fence, is_broken};

/// A topic that was sent to. Shared by the accumulator and topic handles.
pub(crate) struct TopicState {
    common: Arc<TopicCommon>,
    /// Partitions the topic is known to have; 0: not known (any more).
    known: AtomicU32,
    /// `batch.size` of this topic (CFG-17), at hand for each record.
    pub(super) batch_size: usize,
    /// Senders of this topic that wait; whoever comes later goes behind them.
    waiters: AtomicU32,
    /// Partitions in `partitions`.
    used: AtomicU32,
    layout: RwLock<Described>,
    partitions: Partitions,
    pub(crate) sticky: Sticky,
}

/// A topic as the cluster last described it.
#[derive(Default)]
struct Described {
    /// The snapshot from which it is.
    version: u64,
    layout: Option<Arc<Layout>>,
}

/// A topic has more partitions than before. To be told once no lock is held: whoever takes the log may send it with this producer.
#[must_use = "somebody has to log it"]
pub(crate) struct Growth {
    topic: Arc<TopicCommon>,
    before: u32,
    now: u32,
}

/// What a topic's partitions share.
pub(crate) struct TopicCommon {
    name: Arc<str>,
    id: u32,
    pub(crate) ratio: Ratio,
    pub(super) size_limit: SizeLimit,
    settings: TopicConfig,
}

/// A partition that was sent to.
pub(crate) struct Partition {
    topic: Arc<TopicCommon>,
    index: i32,
    key: u32,
    ledger: Arc<Ledger>,
    pub(crate) queue: ShortMutex<Queue>,
}

/// The batches of one partition, oldest first. All but the last are closed.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) batches: VecDeque<Batch>,
    /// The partition stands in the accumulator's list of partitions with batches.
    pub(crate) listed: bool,
    /// Bytes of the partition's last closed batch: how large the next one's first chunk should be.
    pub(crate) last_len: usize,
    /// Numbers batches within the partition.
    pub(crate) next_id: u64,
}

impl TopicState {
    /// `settings` are those of this topic (CFG-17).
    pub(crate) fn with(name: Arc<str>, id: u32, seed: u64, settings: TopicConfig) -> TopicState {
        TopicState {
            common: Arc::new(TopicCommon {
                name,
                id,
                ratio: Ratio::default(),
                size_limit: SizeLimit::default(),
                settings,
            }),
            known: AtomicU32::new(0),
            batch_size: settings.batch_size,
            waiters: AtomicU32::new(0),
            used: AtomicU32::new(0),
            layout: RwLock::default(),
            partitions: Partitions::default(),
            sticky: Sticky::new(seed),
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.common.name
    }

    #[inline]
    pub(crate) fn id(&self) -> u32 {
        self.common.id
    }

    /// Partitions the topic is known to have; 0: not known.
    #[inline]
    pub(crate) fn known(&self) -> u32 {
        self.known.load(Ordering::Acquire)
    }

    /// Whether senders of this topic wait.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::Acquire) > 0
    }

    pub(crate) fn add_waiter(&self) {
        self.waiters.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn remove_waiter(&self) {
        self.waiters.fetch_sub(1, Ordering::AcqRel);
    }

    /// What the cluster says of the topic now, in the snapshot of this version; `None`: it is not known (any more). Says whether the topic
    /// has grown. An older snapshot changes nothing: a thread may have looked just before the sender came with a newer one.
    pub(super) fn apply(
        &self,
        metadata: Option<&Arc<TopicMetadata>>,
        brokers: Brokers<'_>,
        version: u64,
    ) -> Option<Growth> {
        let mut current = self.layout.write();
        if version < current.version {
            return None;
        }
        current.version = version;
        if let (Some(old), Some(new)) = (&current.layout, metadata)
            && Arc::ptr_eq(&old.metadata, new)
        {
            return None;
        }
        // PAR-4: one partition count for each answer of the cluster
        let now = metadata.map_or(0, |metadata| metadata.partitions.len() as u32);
        let before = self.known.swap(now, Ordering::AcqRel);
        current.layout = metadata.map(|metadata| Arc::new(Layout::new(metadata, brokers)));
        (before != 0 && now > before).then(|| Growth { topic: self.common.clone(), before, now })
    }

    /// The next partition for keyless records (PAR-9), of `known` ones if the metadata is gone.
    pub(crate) fn draw(&self, known: u32) -> u32 {
        match self.layout() {
            Some(layout) if layout.partitions() > 0 => self.sticky.draw(&layout),
            _ => self.sticky.draw_any(known),
        }
    }

    /// Its partitions, as the cluster last described them.
    pub(crate) fn layout(&self) -> Option<Arc<Layout>> {
        self.layout.read().layout.clone()
    }

    /// A partition, if it was used before.
    #[inline]
    pub(crate) fn partition(&self, index: u32) -> Option<&Arc<Partition>> {
        self.partitions.get(index)
    }

    /// A partition, made if this is its first use.
    pub(crate) fn partition_or_new(
        &self,
        index: u32,
        ledger: &Arc<Ledger>,
        keys: &AtomicU32,
    ) -> &Arc<Partition> {
        let partition = self.partitions.get_or_init(index, || {
            self.used.fetch_add(1, Ordering::AcqRel);
            Arc::new(Partition {
                topic: self.common.clone(),
                index: index as i32,
                key: keys.fetch_add(1, Ordering::Relaxed),
                ledger: ledger.clone(),
                queue: ShortMutex::default(),
            })
        });
        if !is_broken("close: fence") {
            fence(Ordering::SeqCst); // see `Accumulator::set_closing`
        }
        partition
    }

    /// Returns when appends that are under way have listed their batches (FLU-5).
    pub(super) fn wait_for_appends(&self) {
        self.partitions.iter().for_each(|partition| drop(partition.queue.lock()));
    }

    /// Whether every known partition has a queue (PAR-10).
    pub(crate) fn is_every_partition_used(&self) -> bool {
        self.used.load(Ordering::Acquire) >= self.known()
    }

    /// From here on appends go to new batches. Gives the keys of partitions, of one or of all that were used, each with the number
    /// below which its batches are older than this call.
    pub(crate) fn cut(&self, partition: Option<u32>) -> Vec<(u32, u64)> {
        let chosen =
            self.partitions.iter().filter(|known| partition.is_none_or(|index| known.index as u32 == index));
        let cut = |partition: &Arc<Partition>| {
            let mut queue = partition.queue.lock();
            if let Some(open) = queue.open_batch() {
                open.lower_limit(0);
            }
            (partition.key, queue.next_id)
        };
        chosen.map(cut).collect()
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.used.load(Ordering::Acquire) == 0 && !self.has_waiters()
    }
}

impl Growth {
    /// PAR-4: the one line about it. Call it without any lock held.
    pub(super) fn log(&self) {
        let Growth { topic, before, now } = self;
        tracing::info!(
            "topic {} has grown from {before} to {now} partitions: most keys go to another one from now on",
            topic.name
        );
    }
}

impl Partition {
    pub(crate) fn topic_name(&self) -> &Arc<str> {
        &self.topic.name
    }

    pub(crate) fn topic_id(&self) -> u32 {
        self.topic.id
    }

    /// The partition's number in its topic.
    pub(crate) fn index(&self) -> i32 {
        self.index
    }

    /// A dense number over all topics, for state kept in a `Vec`.
    pub(crate) fn key(&self) -> u32 {
        self.key
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Its topic's settings (CFG-17).
    pub(crate) fn settings(&self) -> &TopicConfig {
        &self.topic.settings
    }

    pub(crate) fn ratio(&self) -> &Ratio {
        &self.topic.ratio
    }

    /// What the topic's brokers have refused as too large (ACC-23).
    pub(super) fn size_limit(&self) -> &SizeLimit {
        &self.topic.size_limit
    }
}

impl Queue {
    /// The last batch, if it takes records.
    #[inline]
    pub(crate) fn open_batch(&mut self) -> Option<&mut Batch> {
        self.batches.back_mut().filter(|batch| batch.is_open())
    }

    /// Where a batch goes that comes back: to its place by number (ACC-21).
    pub(super) fn place_of(&self, batch: &Batch) -> usize {
        if !rules::holds(Rule::PlaceInQueue) {
            return 0;
        }
        // The number grows with each batch of the partition: sequences are given in that order, and unlike them it holds across a
        // wrap (IDM-3), across epochs, when one batch has its new stamp and a later one not yet (IDM-6), and without sequences,
        // so that the oldest stands in front, where its age is looked at (ACC-24).
        // A handful at most: older batches were in flight, or are parts of one that was.
        self.batches.iter().take_while(|other| other.id < batch.id).count()
    }

    /// Whether every batch is full; so is an empty queue (PAR-7). Only the last one can be not full.
    #[inline]
    pub(crate) fn is_all_full(&self) -> bool {
        self.batches.back().is_none_or(Batch::is_full)
    }
}

/// A list that can be read without a lock, grows, and never shrinks: segments of doubling length.
#[derive(Default)]
struct Partitions {
    segments: [OnceLock<Segment>; SEGMENTS],
}

type Segment = Box<[OnceLock<Arc<Partition>>]>;

/// The first segment's length.
const FIRST_SEGMENT: u32 = 8;
/// 8 · (2^28 − 1) partitions: more than a 31-bit partition number reaches.
const SEGMENTS: usize = 29;

impl Partitions {
    #[inline]
    fn place(index: u32) -> (usize, usize) {
        let shifted = u64::from(index) + u64::from(FIRST_SEGMENT);
        let segment = shifted.ilog2() - FIRST_SEGMENT.ilog2();
        (segment as usize, (shifted - (u64::from(FIRST_SEGMENT) << segment)) as usize)
    }

    #[inline]
    fn get(&self, index: u32) -> Option<&Arc<Partition>> {
        let (segment, at) = Self::place(index);
        self.segments[segment].get()?[at].get()
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.segments.iter().filter_map(OnceLock::get).flatten().filter_map(OnceLock::get)
    }

    fn get_or_init(&self, index: u32, make: impl FnOnce() -> Arc<Partition>) -> &Arc<Partition> {
        let (segment, at) = Self::place(index);
        let len = (FIRST_SEGMENT as usize) << segment;
        let segment = self.segments[segment].get_or_init(|| {
            std::iter::repeat_with(OnceLock::new).take(len).collect::<Vec<_>>().into_boxed_slice()
        });
        segment[at].get_or_init(make)
    }
}

#[cfg(test)]
impl TopicState {
    /// With Kafka's defaults.
    pub(crate) fn new(name: Arc<str>, id: u32, seed: u64) -> TopicState {
        TopicState::with(name, id, seed, crate::accumulator::tests::settings().topic(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_a_place_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for index in 0..10_000 {
            let (segment, at) = Partitions::place(index);
            assert!(at < (FIRST_SEGMENT as usize) << segment);
            assert!(seen.insert((segment, at)));
        }
        let (segment, at) = Partitions::place(i32::MAX as u32);
        assert!(segment < SEGMENTS && at < (FIRST_SEGMENT as usize) << segment);
    }

    #[test]
    fn a_partition_is_made_once() {
        let topic = TopicState::new("t".into(), 0, 0);
        let (ledger, keys) = (Arc::default(), AtomicU32::new(0));
        assert!(topic.partition(9).is_none());
        let first = topic.partition_or_new(9, &ledger, &keys).clone();
        assert!(Arc::ptr_eq(&first, topic.partition_or_new(9, &ledger, &keys)));
        assert_eq!((first.index(), first.key(), &**first.topic_name()), (9, 0, "t"));
    }

    // PAR-4
    #[test]
    fn what_an_older_snapshot_says_of_a_topic_changes_nothing() {
        use crate::accumulator::tests::topic_metadata;

        let topic = TopicState::new("t".into(), 0, 0);
        let brokers = Brokers { nodes: &Default::default(), own_rack: None };
        let (one, two) = (topic_metadata("t", &[Some(1)], 0), topic_metadata("t", &[Some(1), Some(2)], 0));
        assert!(topic.apply(Some(&one), brokers, 1).is_none(), "it was not known before");
        assert!(
            topic.apply(Some(&two), brokers, 2).is_some_and(|growth| (growth.before, growth.now) == (1, 2))
        );
        assert!(topic.apply(Some(&one), brokers, 1).is_none());
        assert!(topic.apply(None, brokers, 1).is_none());
        assert_eq!(topic.known(), 2);
        assert!(topic.apply(Some(&two), brokers, 3).is_none(), "it has grown once");
        assert!(topic.apply(None, brokers, 4).is_none());
        assert_eq!(topic.known(), 0);
    }

    // PAR-4
    #[test]
    fn what_the_cluster_says_is_worked_out_once_for_each_answer() {
        use crate::accumulator::tests::topic_metadata;

        let topic = TopicState::new("t".into(), 0, 0);
        let brokers = Brokers { nodes: &Default::default(), own_rack: None };
        let answer = topic_metadata("t", &[Some(1)], 0);
        assert!(topic.apply(Some(&answer), brokers, 1).is_none());
        let layout = topic.layout().unwrap();
        assert!(topic.apply(Some(&answer), brokers, 1).is_none());
        assert!(Arc::ptr_eq(&layout, &topic.layout().unwrap()), "the same answer");
        assert!(topic.apply(Some(&topic_metadata("t", &[Some(1)], 0)), brokers, 1).is_none());
        assert!(!Arc::ptr_eq(&layout, &topic.layout().unwrap()), "another one");
        assert!(topic.apply(None, brokers, 1).is_none());
        assert!(topic.layout().is_none() && topic.known() == 0);
    }

    // PAR-9
    #[test]
    fn without_metadata_any_of_the_partitions_that_were_known_is_drawn() {
        use crate::accumulator::tests::topic_metadata;

        let topic = TopicState::new("t".into(), 0, 0);
        let drawn = |known| (0..200).map(|_| topic.draw(known)).collect::<std::collections::BTreeSet<u32>>();
        assert_eq!(drawn(3), [0, 1, 2].into(), "gone");
        let brokers = Brokers { nodes: &Default::default(), own_rack: None };
        assert!(topic.apply(Some(&topic_metadata("t", &[], 0)), brokers, 1).is_none());
        assert_eq!(drawn(3), [0, 1, 2].into(), "an answer without partitions");
        assert!(topic.apply(Some(&topic_metadata("t", &[Some(1)], 0)), brokers, 1).is_none());
        assert_eq!(drawn(3), [0].into());
    }
}
