//! Where records become batches: a queue of batches per partition, in bounded memory.
//!
//! Many threads append, one sender drains; between them stands one short lock per partition. Nothing here reads a clock (but for
//! the stamp of a new batch), draws randomness it was not handed, does I/O or waits. In a record's journey:
//!
//! * [`append`] puts it into the open batch of its partition, in memory from the [`pool`];
//! * [`line`] is where calls wait that find no room, or a topic that is not known;
//! * [`codec_pool`] compresses closed batches;
//! * [`ready`] tells the sender which brokers have data, and gives it the batches;
//! * [`split`] makes smaller batches of one that a broker found too large;
//! * [`remains`] is what a batch that failed leaves to the failed-records file;
//! * [`batch`] is what travels; [`ledger`] knows what is still open.

mod append;
mod batch;
mod codec_pool;
mod ledger;
mod line;
mod lock;
mod pool;
mod queue;
mod ready;
mod remains;
mod split;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use rohrpost_record::{Codec, Compression};

pub(crate) use self::append::{Append, Candidate};
pub(crate) use self::batch::Batch;
pub use self::ledger::FlushReport;
pub(crate) use self::ledger::{Counts, Ending, FlushWait};
#[cfg(all(loom, test))]
pub(crate) use self::lock::ShortMutex;
pub(crate) use self::pool::{Charge, Chunk, FIRST_CHUNK, Hold, Places, Pool, Turn};
pub(crate) use self::queue::{Growth, Partition, TopicState};
pub(crate) use self::ready::{Gate, HeadInfo, Ready};
pub(crate) use self::remains::Remains;
pub(crate) use self::split::{BatchId, SplitPart};

use self::codec_pool::CodecPool;
pub(crate) use self::ledger::Ledger;
use self::ledger::WakerHold;
use self::queue::Queue;
use self::ready::Desk;
use crate::config::{Config, TopicConfig};
use crate::delivery::{Completion, Outlet};
use crate::metadata::{BrokerNode, Snapshot, TopicMetadata};
use crate::outcome::BatchResult;
use crate::partitioner::{Brokers, Custom};
use crate::rules::{self, Rule};
use crate::sync::{self, AtomicBool, AtomicU32, AtomicU64, Mutex, fence};
use crate::wait::SenderWake;

/// What the accumulator needs of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) batch_size: usize,
    /// Records in a batch, at most (ACC-9). Below `u32::MAX` every record takes the long way.
    pub(crate) batch_records_max: u32,
    /// Records without outcome, at most (CFG-21). Set, every record takes the long way.
    pub(crate) records_max: Option<usize>,
    pub(crate) linger_ms: u64,
    pub(crate) buffer_memory: usize,
    pub(crate) max_request_size: usize,
    pub(crate) delivery_timeout_ms: u64,
    pub(crate) compression: Compression,
    pub(crate) ignore_keys: bool,
    pub(crate) adaptive: bool,
    pub(crate) availability_timeout_ms: u64,
    /// The sticky choice prefers partitions led from this rack (PAR-14).
    pub(crate) rack: Option<String>,
    /// Topics with settings of their own (CFG-17).
    pub(crate) topics: BTreeMap<String, TopicConfig>,
    /// Threads that compress; 0: the sender does, inside `ready`. That is for simulations.
    pub(crate) codec_threads: usize,
    /// Where the sticky choices begin.
    pub(crate) seed: u64,
}

impl Settings {
    pub(crate) fn new(config: &Config, seed: u64) -> Settings {
        Settings {
            batch_size: config.batch_size,
            batch_records_max: config.batch_num_messages.unwrap_or(u32::MAX),
            records_max: config.queue_buffering_max_messages.map(|records| records as usize),
            linger_ms: config.linger_ms,
            buffer_memory: config.buffer_memory,
            max_request_size: config.max_request_size,
            delivery_timeout_ms: config.delivery_timeout_ms,
            compression: config.compression,
            ignore_keys: config.partitioner_ignore_keys,
            adaptive: config.partitioner_adaptive_partitioning_enable,
            availability_timeout_ms: config.partitioner_availability_timeout_ms,
            rack: config.partitioner_rack.clone(),
            topics: config.topics.clone(),
            codec_threads: 1,
            seed,
        }
    }

    /// What a topic's records are sent with (CFG-17).
    pub(crate) fn topic(&self, name: &str) -> TopicConfig {
        let TopicConfig { batch_size, compression, delivery_timeout_ms, linger_ms } =
            self.topics.get(name).copied().unwrap_or(TopicConfig {
                batch_size: self.batch_size,
                compression: self.compression,
                delivery_timeout_ms: self.delivery_timeout_ms,
                linger_ms: self.linger_ms,
            });
        // CFG-11: a batch.size of 0 acts as 1, one record per batch
        TopicConfig { batch_size: batch_size.max(1), compression, delivery_timeout_ms, linger_ms }
    }

    fn batch_size_max(&self) -> usize {
        self.topics.values().map(|topic| topic.batch_size).fold(self.batch_size.max(1), usize::max)
    }

    fn compresses(&self) -> bool {
        let of_topics = self.topics.values().map(|topic| topic.compression);
        of_topics.chain([self.compression]).any(|compression| compression.codec() != Codec::None)
    }
}

/// The queues of all partitions.
pub(crate) struct Accumulator {
    settings: Settings,
    /// The largest size estimate that both limits allow (PRE-6); 0 if no record may take the short way.
    record_limit: usize,
    pool: Pool,
    codec: CodecPool,
    ledger: Arc<Ledger>,
    sender: SenderWake,
    closing: AtomicBool,
    topics: RwLock<HashMap<Arc<str>, Arc<TopicState>>>,
    next_topic: AtomicU32,
    next_key: AtomicU32,
    /// Partitions that got their first batch since the sender last looked.
    incoming: Mutex<Vec<Arc<Partition>>>,
    /// The sender's side. Only the sender locks it.
    desk: Mutex<Desk>,
    /// No queued batch expires before; recomputed by `ready`.
    next_expiry_ms: AtomicU64,
    /// A partitioner other than the built-in one.
    custom: Option<Custom>,
    /// How often a topic turned out to have grown (PAR-4).
    topics_grown: AtomicU64,
}

impl Accumulator {
    pub(crate) fn new(settings: Settings, sender: SenderWake) -> Accumulator {
        Accumulator {
            pool: Pool::counting(
                settings.buffer_memory,
                settings.batch_size_max(),
                settings.records_max,
                sender.clone(),
            ),
            codec: CodecPool::new(settings.compresses(), settings.codec_threads, sender.clone()),
            ledger: Arc::default(),
            sender,
            closing: AtomicBool::new(false),
            topics: RwLock::default(),
            next_topic: AtomicU32::new(0),
            next_key: AtomicU32::new(0),
            incoming: Mutex::default(),
            desk: Mutex::default(),
            next_expiry_ms: AtomicU64::new(u64::MAX),
            // The short way does not count records, so that it costs nothing where they are not limited.
            record_limit: match (settings.records_max, settings.batch_records_max) {
                (None, u32::MAX) => settings.max_request_size.min(settings.buffer_memory),
                _ => 0,
            },
            custom: None,
            topics_grown: AtomicU64::new(0),
            settings,
        }
    }

    /// A topic, if it was sent to before.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<TopicState>> {
        self.topics.read().get(name).cloned()
    }

    /// A topic, made if need be. [`forget`](Accumulator::forget) it if it turns out not to exist.
    pub(crate) fn topic_or_new(&self, name: &str) -> Arc<TopicState> {
        if let Some(topic) = self.topic(name) {
            return topic;
        }
        let mut topics = self.topics.write();
        if let Some(topic) = topics.get(name) {
            return topic.clone();
        }
        let id = self.next_topic.fetch_add(1, Ordering::Relaxed);
        let seed = self.settings.seed ^ u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let name: Arc<str> = name.into();
        let settings = self.settings.topic(&name);
        let topic = Arc::new(TopicState::with(name.clone(), id, seed, settings));
        topics.insert(name, topic.clone());
        topic
    }

    /// Drops the state of a topic that turned out not to exist, unless someone but the caller holds it: names that were never topics
    /// must not pile up.
    pub(crate) fn forget(&self, topic: &Arc<TopicState>) {
        let is_idle = || topic.known() == 0 && topic.is_unused();
        if !is_idle() {
            return;
        }
        let mut topics = self.topics.write();
        // The map's reference and the caller's.
        if Arc::strong_count(topic) <= 2 && is_idle() {
            topics.remove(topic.name());
        }
    }

    /// Tells every topic what the cluster says of it now. Call it before the waiting calls are woken, and without any lock held: it logs.
    pub(crate) fn apply(&self, cluster: &Snapshot) {
        log_growth(&self.take_over(cluster));
    }

    /// [`apply`](Accumulator::apply) without a word: gives what is to be logged once no lock is held.
    pub(crate) fn take_over(&self, cluster: &Snapshot) -> Vec<Growth> {
        let brokers = self.brokers(&cluster.brokers);
        let topics = self.topics.read();
        let grown = |(name, topic): (&Arc<str>, &Arc<TopicState>)| {
            topic.apply(cluster.topics.get(name), brokers, cluster.version)
        };
        let grown: Vec<Growth> = topics.iter().filter_map(grown).collect();
        self.topics_grown.fetch_add(grown.len() as u64, Ordering::Relaxed);
        grown
    }

    /// Tells one topic what the cluster says of it. Call it without any lock held: it logs.
    pub(crate) fn apply_to(&self, topic: &TopicState, metadata: &Arc<TopicMetadata>, cluster: &Snapshot) {
        if let Some(growth) = topic.apply(Some(metadata), self.brokers(&cluster.brokers), cluster.version) {
            self.topics_grown.fetch_add(1, Ordering::Relaxed);
            growth.log();
        }
    }

    /// How often a topic that was sent to turned out to have more partitions than before (PAR-4).
    pub(crate) fn topics_grown(&self) -> u64 {
        self.topics_grown.load(Ordering::Relaxed)
    }

    fn brokers<'a>(&'a self, nodes: &'a BTreeMap<i32, BrokerNode>) -> Brokers<'a> {
        Brokers { nodes, own_rack: self.settings.rack.as_deref() }
    }

    /// Before the producer is used: records that name no partition go where this says. It looks at each of them.
    pub(crate) fn set_partitioner(&mut self, custom: Custom) {
        self.settings.adaptive = false; // PAR-10
        self.custom = Some(custom);
        self.take_long_way();
    }

    pub(crate) fn partitioner(&self) -> Option<&Custom> {
        self.custom.as_ref()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// No more records: appends are refused, and waiters are woken to find out (BUF-6, FLU-7). What is queued is ready without
    /// linger (FLU-5). When this returns, every record that was accepted is counted and listed: appends that were under way have
    /// ended. Call it without any lock held.
    pub(crate) fn set_closing(&self) {
        self.closing.store(true, Ordering::SeqCst);
        // The other half of the fence in `partition_or_new`: a partition that is made now is either seen here, or its maker
        // sees the flag.
        fence(Ordering::SeqCst);
        let topics: Vec<Arc<TopicState>> = self.topics.read().values().cloned().collect();
        topics.iter().for_each(|topic| topic.wait_for_appends());
        if rules::holds(Rule::CloseWakesWaiters) {
            self.pool.wake_all();
        }
        self.sender.wake();
    }

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Begins a flush: everything is ready at once, and what is incomplete now is waited for (FLU-1). What is appended after this goes
    /// to new batches: it is not waited for, and not in the flush's counts.
    pub(crate) fn begin_flush(&self) -> FlushWait {
        let wait = self.ledger.begin_flush();
        {
            let mut desk = self.desk.lock();
            desk.take_in(&self.incoming);
            for partition in desk.partitions() {
                let mut queue = partition.queue.lock();
                if let Some(open) =
                    queue.open_batch().filter(|open| wait.is_for(open.completion().generation()))
                {
                    open.lower_limit(0);
                }
            }
        }
        self.sender.wake();
        wait
    }

    /// The way of outcomes to callbacks.
    pub(crate) fn outlet(&self) -> &Outlet {
        &self.ledger.outlet
    }

    /// Every record takes the long way from now on: something has to be done with each of them.
    pub(crate) fn take_long_way(&mut self) {
        self.record_limit = 0;
    }

    /// Whether a flush runs.
    #[cfg(test)]
    pub(crate) fn is_flushing(&self) -> bool {
        self.ledger.is_flushing()
    }

    /// While the guard lives, outcomes wake nobody; see [`Ledger::hold_wakers`].
    pub(crate) fn hold_wakers(&self) -> WakerHold {
        self.ledger.hold_wakers()
    }

    /// Ends a batch: all its records get their outcome, callbacks included, then its memory goes back. Call it without any lock held.
    pub(crate) fn complete(&self, batch: Batch, result: BatchResult) {
        self.resolve(batch.completion(), result);
        drop(batch);
    }

    /// Gives the records of a batch their outcome while a request still owns its memory (ACC-25). The first outcome wins (ACC-26).
    pub(crate) fn resolve(&self, completion: &sync::Arc<Completion>, result: BatchResult) -> bool {
        completion.resolve(result)
    }

    /// Ends a batch that failed, unless a close has begun: then it gives the result back, for the close's report has to have the records,
    /// and nobody is told yet (FLU-6). Call it without any lock held.
    pub(crate) fn fail_before_close(
        &self,
        completion: &sync::Arc<Completion>,
        batch: Option<&mut Batch>,
        result: BatchResult,
    ) -> Result<(), BatchResult> {
        completion.resolve_before_close(result, || {
            if let Some(batch) = batch {
                batch.release_memory();
            }
        })
    }

    /// A close begins: from here on what ends is in its report (FLU-6).
    pub(crate) fn begin_close(&self) {
        self.ledger.begin_close();
    }

    /// How many records had ended, and how, when the first close began; `None` if none has.
    pub(crate) fn before_close(&self) -> Option<Counts> {
        *self.ledger.before_close()
    }

    /// How many records were accepted and how they ended.
    pub(crate) fn counts(&self) -> Counts {
        let mut desk = self.desk.lock();
        desk.take_in(&self.incoming);
        let queued = desk
            .partitions()
            .map(|partition| {
                let queue = partition.queue.lock();
                queue.batches.iter().map(|batch| u64::from(batch.record_count())).sum::<u64>()
            })
            .sum();
        self.ledger.counts(queued)
    }

    /// The number of the first batch in a partition's queue.
    pub(crate) fn oldest(&self, partition: &Partition) -> Option<u64> {
        partition.queue.lock().batches.front().map(|batch| batch.id().number())
    }

    /// Notes that the partition has batches. Under its lock.
    fn list(&self, partition: &Arc<Partition>, queue: &mut Queue) {
        if !queue.listed {
            queue.listed = true;
            self.incoming.lock().push(partition.clone());
        }
    }
}

/// PAR-4. Call it without any lock held.
pub(crate) fn log_growth(grown: &[Growth]) {
    grown.iter().for_each(Growth::log);
}

/// Queued batches and their partitions hold each other; this lets go. Their records end as `NotWritten`, or as `Unknown` if they
/// were sent before. The sender has normally taken everything by now.
impl Drop for Accumulator {
    fn drop(&mut self) {
        let mut left = Vec::new();
        self.abort_all(&mut left);
    }
}

#[cfg(test)]
pub(crate) mod tests;
