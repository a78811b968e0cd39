//! The accumulator with a clock set by hand and a sender played by the test.

mod batching;
mod compression;
mod custom;
mod drain;
mod log;
mod memory;
mod order;
mod partitioning;
mod short;
mod splits;

use std::collections::HashSet;

use bytes::Bytes;

use super::*;
use crate::delivery::Delivery;
use crate::metadata::{PartitionMetadata, TopicMetadata};
use crate::outcome::{BatchFailure, Outcome, Reason};
use crate::record::Record;
use crate::time::Clock;

pub(crate) fn settings() -> Settings {
    Settings {
        batch_records_max: u32::MAX,
        records_max: None,
        batch_size: 16384,
        linger_ms: 5,
        buffer_memory: 32 << 20,
        max_request_size: 1 << 20,
        delivery_timeout_ms: 120_000,
        compression: Compression::NONE,
        ignore_keys: false,
        adaptive: true,
        availability_timeout_ms: 0,
        rack: None,
        topics: Default::default(),
        codec_threads: 0,
        seed: 42,
    }
}

/// A topic whose partitions have these leaders, all in this epoch.
pub(crate) fn topic_metadata(name: &str, leaders: &[Option<i32>], leader_epoch: i32) -> Arc<TopicMetadata> {
    let partition = |leader: &Option<i32>| PartitionMetadata {
        leader: *leader,
        leader_epoch,
        sure_epoch: leader_epoch,
        replicas: Vec::new(),
        in_sync: Vec::new(),
    };
    let partitions = leaders.iter().map(partition).collect();
    Arc::new(TopicMetadata { name: name.into(), id: Default::default(), partitions })
}

pub(crate) fn cluster(version: u64, topics: impl IntoIterator<Item = Arc<TopicMetadata>>) -> Snapshot {
    let topics = topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
    Snapshot { version, topics, ..Snapshot::default() }
}

pub(crate) struct AllMay;
impl Gate for AllMay {
    fn may_send(&self, _: &Partition, _: HeadInfo) -> bool {
        true
    }
}

/// Holds back the partitions of these numbers.
struct Held(HashSet<i32>);
impl Gate for Held {
    fn may_send(&self, partition: &Partition, _: HeadInfo) -> bool {
        !self.0.contains(&partition.index())
    }
}

struct Rig {
    accumulator: Accumulator,
    clock: Clock,
    sender: SenderWake,
    cluster: Snapshot,
    topic: Arc<TopicState>,
}

const WALL_MS: i64 = 1_750_000_000_000;

impl Rig {
    /// Topic "t" with partitions led by these brokers.
    fn new(leaders: &[Option<i32>], settings: Settings) -> Rig {
        let sender = SenderWake::new();
        let accumulator = Accumulator::new(settings, sender.clone());
        let cluster = cluster(1, [topic_metadata("t", leaders, 0)]);
        let topic = accumulator.topic_or_new("t");
        accumulator.apply(&cluster);
        Rig { accumulator, clock: Clock::by_hand(WALL_MS), sender, cluster, topic }
    }

    fn lead(&mut self, leaders: &[Option<i32>], epoch: i32) {
        self.cluster = cluster(self.cluster.version + 1, [topic_metadata("t", leaders, epoch)]);
    }

    fn append(&self, record: &Record) -> Append {
        match self.accumulator.append_short(&self.topic, record, &self.clock) {
            Some(delivery) => Append::Done(Some(delivery)),
            None => self.append_long(record),
        }
    }

    fn append_long(&self, record: &Record) -> Append {
        let mut candidate = Candidate::of(record);
        self.accumulator.append(&self.topic, &mut candidate, &self.clock)
    }

    fn send(&self, record: Record) -> Delivery {
        match self.append(&record) {
            Append::Done(Some(delivery)) => delivery,
            other => panic!("{record:?} was not accepted: {other:?}"),
        }
    }

    fn send_to(&self, partition: i32, value: impl Into<Bytes>) -> Delivery {
        self.send(Record::value(value).partition(partition).unwrap())
    }

    fn ready(&self) -> Ready {
        self.accumulator.ready(self.clock.last_ms(), &self.cluster, &AllMay)
    }

    fn drain(&self, node: i32) -> Vec<Batch> {
        self.drain_with(node, 1 << 20, &AllMay)
    }

    fn drain_with(&self, node: i32, max_bytes: usize, gate: &dyn Gate) -> Vec<Batch> {
        let mut batches = Vec::new();
        self.accumulator.drain(self.clock.last_ms(), &self.cluster, node, max_bytes, gate, &mut batches);
        batches
    }

    fn complete(&self, batch: Batch, base_offset: i64) {
        self.accumulator.complete(batch, BatchResult::Acked { base_offset, log_append_time: -1 });
    }

    fn reenqueue(&self, batch: Batch, backoff_ms: u64) {
        let now_ms = self.clock.last_ms();
        self.accumulator.reenqueue(batch, now_ms, now_ms + backoff_ms);
    }

    fn queue_len(&self, partition: u32) -> usize {
        self.topic.partition(partition).map_or(0, |partition| partition.queue.lock().batches.len())
    }

    fn held(&self) -> usize {
        self.accumulator.pool().held()
    }
}

fn failure(outcome: Outcome) -> BatchResult {
    BatchResult::Failed(Arc::new(BatchFailure {
        outcome,
        reason: Reason::Expired,
        message: None,
        record_errors: Vec::new(),
        attempts: 1,
    }))
}

fn values(batch: &Batch) -> Vec<Vec<u8>> {
    batch.records(1 << 24).iter().map(|record| record.value_bytes().unwrap().to_vec()).collect()
}

fn partitions(batches: &[Batch]) -> Vec<i32> {
    batches.iter().map(|batch| batch.partition().index()).collect()
}
