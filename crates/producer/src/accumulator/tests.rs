//! The accumulator with a clock set by hand and a sender played by the test.

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use proptest::prelude::*;
use rohrpost_record::{Codec, HEADER_LEN, Stamp};

use super::*;
use crate::delivery::Delivery;
use crate::metadata::{PartitionMetadata, TopicMetadata};
use crate::outcome::{BatchFailure, Outcome, Reason};
use crate::record::Record;
use crate::time::Clock;

pub(crate) fn settings() -> Settings {
    Settings {
        batch_size: 16384,
        linger_ms: 5,
        buffer_memory: 32 << 20,
        max_request_size: 1 << 20,
        delivery_timeout_ms: 120_000,
        compression: Compression::NONE,
        ignore_keys: false,
        adaptive: true,
        availability_timeout_ms: 0,
        codec_threads: 0,
        seed: 42,
    }
}

/// A topic whose partitions have these leaders, all in this epoch.
pub(crate) fn topic_metadata(name: &str, leaders: &[Option<i32>], leader_epoch: i32) -> Arc<TopicMetadata> {
    let partition = |leader: &Option<i32>| PartitionMetadata {
        leader: *leader,
        leader_epoch,
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
        let mut candidate = Candidate {
            record,
            size: record.size(),
            callback: None,
            granted: None,
            goes_first: false,
            known_at_least: 0,
        };
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

// PAR-6, PAR-7, PAR-8, PAR-13
#[test]
fn keyless_records_stay_for_two_full_batches_when_nothing_is_drained() {
    for (value, per_batch, batch_len) in [(1000, 16, 16_205), (100, 148, 16_277), (10, 910, 16_377)] {
        let rig = Rig::new(&[Some(1), Some(1), Some(1)], Settings { adaptive: false, ..settings() });
        let stay = 2 * per_batch;
        let chosen: Vec<i32> =
            (0..20 * stay).map(|_| rig.send(Record::value(vec![7; value])).partition_for_test()).collect();
        for (at, run) in chosen.chunks(stay).enumerate() {
            assert!(run.iter().all(|partition| *partition == run[0]), "value {value}, stay {at}");
        }
        assert!(HashSet::<_>::from_iter(&chosen).len() == 3, "20 random choices among 3");
        rig.clock.advance(5);
        rig.ready();
        for batch in rig.drain(1) {
            assert_eq!((batch.record_count(), batch.encoded_len()), (per_batch as u32, batch_len));
        }
    }
}

// PAR-13, ACC-3, ACC-4
#[test]
fn a_record_larger_than_a_batch_is_one_batch_and_one_stay() {
    let rig = Rig::new(&[Some(1); 64], settings());
    let chosen: HashSet<i32> =
        (0..32).map(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test()).collect();
    assert!(chosen.len() > 16, "32 choices among 64 partitions, {} different", chosen.len());
    rig.ready();
    for batch in rig.drain_with(1, usize::MAX, &AllMay) {
        assert_eq!(batch.record_count(), 1);
    }
}

// PAR-8
#[test]
fn a_postponed_switch_happens_when_the_last_batch_is_drained() {
    let rig = Rig::new(&[Some(1); 64], Settings { linger_ms: 0, adaptive: false, ..settings() });
    let first = rig.send(Record::value(vec![7; 1000])).partition_for_test();
    // 17 records: over batch.size, but the second batch is not full.
    for _ in 0..16 {
        assert_eq!(rig.send(Record::value(vec![7; 1000])).partition_for_test(), first);
    }
    rig.ready();
    rig.drain(1).into_iter().for_each(|batch| rig.complete(batch, 0));
    rig.ready();
    rig.drain(1).into_iter().for_each(|batch| rig.complete(batch, 0));
    let others: HashSet<i32> =
        (0..3).map(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test()).collect();
    assert!(others.len() > 1 || !others.contains(&first), "the topic has moved on");
}

// PAR-1
#[test]
fn the_records_own_partition_wins_over_its_key_and_the_key_over_stickiness() {
    let rig = Rig::new(&[Some(1); 3], settings());
    assert_eq!(rig.send(Record::value("v").key("a").partition(2).unwrap()).partition_for_test(), 2);
    assert_eq!(rig.send(Record::value("v").key("a")).partition_for_test(), 1);
    let ignoring = Rig::new(&[Some(1); 3], Settings { ignore_keys: true, ..settings() });
    let chosen: HashSet<i32> = ["a", "abc", "kafka"]
        .map(|key| ignoring.send(Record::value("v").key(key)).partition_for_test())
        .into();
    assert_eq!(chosen.len(), 1, "with ignored keys all stick to one partition");
}

// PAR-2: all partitions count, with leader or without
#[test]
fn a_key_goes_to_a_partition_without_leader_too() {
    let rig = Rig::new(&[Some(1), None, Some(1)], settings());
    assert_eq!(rig.send(Record::value("v").key("a")).partition_for_test(), 1);
    // ACC-14
    assert_eq!(
        rig.ready(),
        Ready { leaderless: vec!["t".into()], next_check_ms: Some(2), ..Ready::default() }
    );
}

// PAR-4
#[test]
fn when_a_topic_grows_its_keys_move_with_the_number_of_partitions() {
    let mut rig = Rig::new(&[Some(1); 3], settings());
    assert_eq!(rig.send(Record::value("v").key("kafka")).partition_for_test(), 1);
    rig.lead(&[Some(1); 10], 0);
    assert_eq!(rig.send(Record::value("v").key("kafka")).partition_for_test(), 1, "not noticed yet");
    rig.ready();
    assert_eq!(rig.send(Record::value("v").key("kafka")).partition_for_test(), 0);
}

// PAR-9, PAR-10: a partition whose queue grows draws fewer records
#[test]
fn adaptive_stickiness_avoids_long_queues() {
    let rig = Rig::new(&[Some(1), Some(2)], settings());
    for _ in 0..40 {
        rig.send_to(0, vec![7; 20_000]);
    }
    rig.send_to(1, "v");
    rig.ready(); // publishes: lengths 40 and 1
    let to_long =
        (0..200).filter(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test() == 0).count();
    assert!(to_long < 30, "1 in 41 expected, {to_long} of 200 came");
}

// PAR-10: no statistics before every partition has a queue
#[test]
fn without_a_queue_for_every_partition_the_choice_is_uniform() {
    let rig = Rig::new(&[Some(1), Some(1)], settings());
    for _ in 0..40 {
        rig.send_to(0, vec![7; 20_000]);
    }
    rig.ready();
    let first: Vec<i32> =
        (0..12).map(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test()).collect();
    assert!(first.iter().filter(|partition| **partition == 0).count() > 1, "{first:?}");
}

// PAR-12
#[test]
fn a_broker_that_takes_no_data_is_left_out() {
    let rig = Rig::new(&[Some(1), Some(2)], Settings { availability_timeout_ms: 100, ..settings() });
    for _ in 0..60 {
        rig.send_to(1, vec![7; 20_000]);
    }
    rig.send_to(0, vec![7; 20_000]);
    for _ in 0..3 {
        rig.clock.advance(60);
        rig.ready();
        rig.drain(2).into_iter().for_each(|batch| rig.complete(batch, 0)); // broker 1 cannot be sent to
    }
    rig.ready();
    let chosen: HashSet<i32> = (0..30)
        .map(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test())
        .skip(1) // the first stay was chosen before
        .collect();
    assert_eq!(chosen, HashSet::from([1]), "partition 0 has the shorter queue, but its broker is stuck");
}

// ACC-2, ACC-3, ACC-4, ACC-5
#[test]
fn a_batch_takes_records_up_to_its_write_limit_and_not_one_byte_more() {
    let rig = Rig::new(&[Some(1)], Settings { batch_size: 200, ..settings() });
    // 61 + 15-byte records without key: 1 + 1 + 1 + 1 + 1 + 1 + value + 1
    let record = || Record::value([0; 32].to_vec()); // 39 bytes
    for _ in 0..3 {
        rig.send(record()); // 61 + 3 * 39 = 178
    }
    assert_eq!(rig.queue_len(0), 1);
    rig.send(Record::value([0; 15].to_vec())); // 22 bytes: exactly 200
    assert_eq!(rig.queue_len(0), 1);
    assert_eq!(rig.ready().nodes, [1], "ACC-4, ACC-11: full, though not closed");
    rig.send(Record::value(""));
    assert_eq!(rig.queue_len(0), 2);
    rig.ready();
    let batch = rig.drain(1).remove(0);
    assert_eq!((batch.encoded_len(), batch.record_count()), (200, 4));
    assert_eq!(batch.max_record_size(), 61 + 21 + 1 + 1 + 32 + 1); // ACC-8
}

// CFG-11, ACC-4: an empty batch takes any record
#[test]
fn a_batch_size_of_zero_makes_one_record_per_batch() {
    let rig = Rig::new(&[Some(1)], Settings { batch_size: 0, ..settings() });
    (0..3).for_each(|_| drop(rig.send(Record::value("v"))));
    assert_eq!(rig.queue_len(0), 3);
}

// ACC-11
#[test]
fn a_broker_is_ready_when_its_batch_is_full_lingered_or_not_alone() {
    let rig = Rig::new(&[Some(1), Some(2)], settings());
    rig.send_to(0, "v");
    assert_eq!(rig.ready(), Ready { next_check_ms: Some(2), ..Ready::default() }, "a batch that grew: a nap");
    // ACC-13
    assert_eq!(rig.ready(), Ready { next_check_ms: Some(5), ..Ready::default() });
    rig.clock.advance(4);
    assert_eq!(rig.ready().nodes, []);
    rig.clock.advance(1);
    assert_eq!(rig.ready().nodes, [1], "lingered");
    // more than one batch
    rig.send_to(1, vec![7; 16_000]);
    rig.send_to(1, vec![7; 1000]);
    assert_eq!(rig.queue_len(1), 2);
    assert_eq!(rig.ready().nodes, [1, 2]);
}

// ACC-11, FLU-3, FLU-5
#[test]
fn a_flush_or_close_ends_all_lingering() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 60_000, ..settings() });
    rig.send_to(0, "v");
    assert_eq!(rig.ready().nodes, []);
    let flush = rig.accumulator.begin_flush();
    assert_eq!(rig.ready().nodes, [1]);
    drop(flush);
    assert_eq!(rig.ready().nodes, []);
    rig.accumulator.set_closing();
    assert_eq!(rig.ready().nodes, [1]);
    assert!(matches!(rig.append(&Record::value("late")), Append::Closed), "FLU-7");
}

// ACC-11, BUF-5
#[test]
fn someone_who_waits_for_memory_ends_all_lingering() {
    let rig =
        Rig::new(&[Some(1), Some(1)], Settings { linger_ms: 60_000, buffer_memory: 20_000, ..settings() });
    rig.send_to(0, vec![7; 16_000]);
    assert_eq!(rig.ready().nodes, []);
    let record = Record::value(vec![7; 16_000]).partition(1).unwrap();
    assert!(matches!(rig.append(&record), Append::NoRoom), "there is room for one batch only");
    let bytes = rig.accumulator.pool().chunk_size(record.size(), 0);
    let wakes = rig.sender.begin_pass();
    let ticket =
        rig.accumulator.pool().enter(&rig.topic, Some(1), bytes, rig.topic.known(), std::task::Waker::noop());
    assert_ne!(rig.sender.begin_pass(), wakes, "the sender is told");
    assert_eq!(rig.ready().nodes, [1]);
    rig.accumulator.pool().leave(ticket);
    assert!(!rig.accumulator.pool().is_wanted());
}

// ACC-10, ACC-12, ACC-13
#[test]
fn a_batch_that_was_put_back_waits_for_its_back_off_and_then_goes_without_linger() {
    let mut rig = Rig::new(&[Some(1)], Settings { linger_ms: 1000, ..settings() });
    rig.send_to(0, "v");
    rig.clock.advance(1000);
    assert_eq!(rig.ready().nodes, [1]);
    let batch = rig.drain(1).remove(0);
    assert_eq!(batch.attempts(), 0);
    rig.reenqueue(batch, 100);
    assert_eq!(rig.ready(), Ready { next_check_ms: Some(1100), ..Ready::default() });
    assert!(rig.drain(1).is_empty(), "ACC-16: backing off");
    rig.clock.advance(100);
    assert_eq!(rig.ready().nodes, [1]);
    let batch = rig.drain(1).remove(0);
    assert_eq!((batch.attempts(), batch.is_retry()), (1, true));
    rig.reenqueue(batch, 500);
    assert_eq!(rig.ready().nodes, []);
    rig.lead(&[Some(2)], 1);
    assert_eq!(rig.ready().nodes, [2], "ACC-10: a newer leader epoch ends the back-off");
    assert_eq!(rig.drain(2).len(), 1);
}

// ACC-16
#[test]
fn a_request_takes_one_batch_per_partition_up_to_its_size_and_goes_on_where_it_stopped() {
    let rig = Rig::new(&[Some(1), Some(1), Some(1), Some(2)], Settings { linger_ms: 0, ..settings() });
    for partition in [0, 1, 2, 3] {
        rig.send_to(partition, vec![7; 16_000]);
        rig.send_to(partition, vec![7; 16_000]);
    }
    assert_eq!(rig.ready().nodes, [1, 2]);
    assert_eq!(partitions(&rig.drain_with(1, 40_000, &AllMay)), [0, 1], "a third would be too much");
    rig.ready();
    assert_eq!(partitions(&rig.drain_with(1, 40_000, &AllMay)), [2, 0]);
    rig.ready();
    assert_eq!(partitions(&rig.drain_with(1, 100, &AllMay)), [1], "larger than the request: alone");
    rig.ready();
    assert_eq!(partitions(&rig.drain_with(1, 1 << 20, &AllMay)), [2]);
    assert_eq!(partitions(&rig.drain(2)), [3], "other brokers' partitions are not touched");
}

// ACC-16: a request that goes anyway takes along what still lingers
#[test]
fn lingering_partitions_travel_with_a_ready_one() {
    let rig = Rig::new(&[Some(1), Some(1)], settings());
    rig.send_to(0, "lingers");
    (0..2).for_each(|_| drop(rig.send_to(1, vec![7; 16_000])));
    assert_eq!(rig.ready().nodes, [1]);
    assert_eq!(partitions(&rig.drain(1)), [0, 1]);
}

// ACC-17, ACC-20, ACC-11
#[test]
fn a_gate_holds_back_its_own_partition_and_no_other() {
    let rig = Rig::new(&[Some(1), Some(1), Some(2)], Settings { linger_ms: 0, ..settings() });
    (0..3).for_each(|partition| drop(rig.send_to(partition, "v")));
    let gate = Held(HashSet::from([0, 2]));
    let ready = rig.accumulator.ready(0, &rig.cluster, &gate);
    assert_eq!(ready.nodes, [1], "broker 2 leads a held partition only");
    assert_eq!(ready.next_check_ms, Some(NAP), "a held partition asks for no pass of its own");
    assert_eq!(partitions(&rig.drain_with(1, 1 << 20, &gate)), [1]);
    rig.ready();
    assert_eq!(partitions(&rig.drain(1)), [0]);
}
const NAP: u64 = crate::wait::NAP_MS;

// ACC-18, IDM-0
#[test]
fn a_drained_batch_is_stamped_and_readable() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    for i in 0..100 {
        // more than one chunk
        rig.send(
            Record::value(vec![i; 70]).key(vec![i]).header("h", "x").timestamp(1000 + i64::from(i)).unwrap(),
        );
    }
    rig.ready();
    let mut batch = rig.drain(1).remove(0);
    assert_eq!(batch.stamp(), None);
    let stamp = Stamp { producer_id: 7, producer_epoch: 3, base_sequence: 40 };
    batch.set_stamp(stamp);
    assert_eq!(batch.stamp(), Some(stamp));
    let mut slices = Vec::new();
    batch.slices(&mut slices);
    assert!(slices.len() > 1);
    let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
    assert_eq!(bytes.len(), batch.encoded_len());
    let parsed = rohrpost_record::Batch::parse(&bytes).unwrap();
    assert!(parsed.is_crc_valid());
    let header = parsed.header();
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 3, 40));
    assert_eq!((header.base_timestamp, header.max_timestamp, header.records_count), (1000, 1099, 100));
    let records = batch.records(1 << 20);
    assert_eq!(records.len(), 100);
    assert_eq!(
        records[42],
        Record::to("t")
            .key([42].to_vec())
            .value(vec![42; 70])
            .header("h", "x")
            .partition(0)
            .unwrap()
            .timestamp(1042)
            .unwrap()
    );
    // put back and drained again, it keeps all three
    rig.reenqueue(batch, 0);
    rig.ready();
    let again = rig.drain(1).remove(0);
    let mut slices = Vec::new();
    again.slices(&mut slices);
    assert_eq!(slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>(), bytes);
}

// ACC-19, ACC-21
#[test]
fn retried_batches_go_back_to_their_place() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, batch_size: 1, ..settings() });
    let stamp = |sequence| Stamp { producer_id: 1, producer_epoch: 0, base_sequence: sequence };
    for value in ["a", "b", "c", "d"] {
        rig.send(Record::value(value));
    }
    let take = || {
        rig.ready();
        rig.drain(1).remove(0)
    };
    // sequences around the wrap: 2147483646, 2147483647, 0
    let mut batches: Vec<Batch> = (0..3).map(|_| take()).collect();
    for (batch, sequence) in batches.iter_mut().zip([i32::MAX - 1, i32::MAX, 0]) {
        batch.set_stamp(stamp(sequence));
    }
    let mut batches: Vec<Option<Batch>> = batches.into_iter().map(Some).collect();
    for at in [1, 2, 0] {
        rig.reenqueue(batches[at].take().unwrap(), 0);
    }
    let order: Vec<Vec<u8>> = (0..4).flat_map(|_| values(&take())).collect();
    assert_eq!(order, [b"a", b"b", b"c", b"d"]);
}

// ACC-21: without idempotence to the front
#[test]
fn a_retried_batch_without_sequence_goes_to_the_front() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, batch_size: 1, ..settings() });
    for value in ["a", "b"] {
        rig.send(Record::value(value));
    }
    rig.ready();
    let first = rig.drain(1).remove(0);
    rig.reenqueue(first, 0);
    rig.ready();
    assert_eq!(values(&rig.drain(1)[0]), [b"a"]);
}

// ACC-24
#[test]
fn batches_expire_from_the_head_on_when_their_age_is_the_delivery_timeout() {
    let rig = Rig::new(&[None], Settings { delivery_timeout_ms: 1000, batch_size: 1, ..settings() });
    let mut first = rig.send(Record::value("a"));
    rig.clock.advance(300);
    let second = rig.send(Record::value("b"));
    rig.ready();
    assert_eq!(rig.accumulator.next_expiry_ms(), Some(1000));
    let mut expired = Vec::new();
    rig.accumulator.expire(rig.clock.advance(699), &mut expired);
    assert!(expired.is_empty());
    rig.accumulator.expire(rig.clock.advance(1), &mut expired);
    assert_eq!(expired.len(), 1);
    assert_eq!(values(&expired[0]), [b"a"], "its records can still be read");
    rig.accumulator.complete(expired.remove(0), failure(Outcome::NotWritten));
    assert_eq!(first.poll_now().unwrap().unwrap_err().outcome(), Outcome::NotWritten);
    assert!(!second.is_done());
    rig.ready();
    assert_eq!(rig.accumulator.next_expiry_ms(), Some(1300));
}

// ACC-25
#[test]
fn memory_is_held_until_the_batch_is_gone_whatever_its_outcome() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    let mut delivery = rig.send(Record::value("v"));
    rig.ready();
    let batch = rig.drain(1).remove(0);
    assert_eq!(rig.held(), 1024);
    assert!(rig.accumulator.resolve(batch.completion(), failure(Outcome::Unknown)));
    assert!(delivery.poll_now().is_some());
    assert_eq!(rig.held(), 1024, "the request still has it");
    rig.complete(batch, 0);
    assert_eq!(rig.held(), 0);
}

// ACC-26
#[test]
fn the_first_outcome_of_a_batch_wins() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    let mut delivery = rig.send(Record::value("v"));
    rig.ready();
    let batch = rig.drain(1).remove(0);
    assert!(rig.accumulator.resolve(batch.completion(), failure(Outcome::Unknown)));
    assert!(!rig.accumulator.resolve(batch.completion(), BatchResult::HandedOver));
    rig.complete(batch, 5);
    assert_eq!(delivery.poll_now().unwrap().unwrap_err().outcome(), Outcome::Unknown);
    let counts = rig.accumulator.counts();
    assert_eq!((counts.accepted, counts.unknown, counts.acked, counts.pending), (1, 1, 0, 0));
}

// BUF-7
#[test]
fn a_thousand_partitions_with_a_small_record_each_hold_under_one_mib() {
    let rig = Rig::new(&[Some(1); 1000], settings());
    (0..1000).for_each(|partition| drop(rig.send_to(partition, vec![7; 100])));
    assert!(rig.held() <= 1 << 20, "{} bytes held", rig.held());
}

// BUF-7
#[test]
fn a_busy_partitions_next_batch_takes_its_memory_in_one_piece() {
    let rig = Rig::new(&[Some(1)], settings());
    let pieces = |rig: &Rig| -> Vec<usize> {
        rig.topic.partition(0).unwrap().queue.lock().batches.iter().map(|batch| batch.pieces.len()).collect()
    };
    (0..16).for_each(|_| drop(rig.send_to(0, vec![7; 1000])));
    assert_eq!(pieces(&rig), [4], "2 + 4 + 8 + 4 KiB: the last no larger than the batch can use");
    rig.send_to(0, vec![7; 1000]);
    assert_eq!(pieces(&rig), [4, 1]);
    assert_eq!(rig.held(), 16384 + 18 * 1024);
    (0..15).for_each(|_| drop(rig.send_to(0, vec![7; 1000])));
    assert_eq!(pieces(&rig), [4, 1]);
}

// PRE-9
#[test]
fn the_sender_is_woken_by_a_new_batch_and_by_a_full_one_and_not_otherwise() {
    let rig = Rig::new(&[Some(1)], settings());
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    rig.sender.set_waker(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let wakes_of = |rig: &Rig, value: usize| {
        assert!(rig.sender.sleep(rig.sender.begin_pass(), 1000));
        let before = woken.load(Ordering::SeqCst);
        rig.send(Record::value(vec![7; value]));
        woken.load(Ordering::SeqCst) - before
    };
    assert_eq!(wakes_of(&rig, 1000), 1, "a new batch");
    assert_eq!(wakes_of(&rig, 1000), 0);
    assert_eq!(wakes_of(&rig, 1000), 0);
    let left = 16_384 - HEADER_LEN - 3 * 1009;
    assert_eq!(wakes_of(&rig, left - 11), 1, "it fills the batch to the last byte");
    assert_eq!(rig.queue_len(0), 1);
    assert_eq!(wakes_of(&rig, 1000), 1, "a new batch");
}

// API-4
#[test]
fn a_records_timestamp_is_its_own_or_the_clocks() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    let deliveries = [rig.send(Record::value("v").timestamp(7).unwrap()), rig.send(Record::value("v")), {
        rig.clock.advance(3);
        rig.send(Record::value("v").key("four"))
    }];
    rig.ready();
    rig.complete(rig.drain(1).remove(0), 100);
    let seen: Vec<_> = deliveries
        .into_iter()
        .map(|mut delivery| {
            let at = delivery.poll_now().unwrap().unwrap();
            // API-5
            (
                at.topic().to_owned(),
                at.partition(),
                at.offset(),
                at.timestamp(),
                at.key_size(),
                at.value_size(),
            )
        })
        .collect();
    let at = |offset, timestamp, key| ("t".to_owned(), 0, Some(offset), Some(timestamp), key, Some(1));
    assert_eq!(seen, [at(100, 7, None), at(101, WALL_MS, None), at(102, WALL_MS + 3, Some(4))]);
}

#[test]
fn counts_are_exact_when_nothing_moves() {
    let rig = Rig::new(&[Some(1), Some(1)], Settings { linger_ms: 0, ..settings() });
    (0..10).for_each(|i| drop(rig.send_to(i % 2, "v")));
    let counts = rig.accumulator.counts();
    assert_eq!((counts.accepted, counts.pending), (10, 10));
    rig.ready();
    let mut batches = rig.drain(1);
    assert_eq!(rig.accumulator.counts().pending, 10);
    rig.complete(batches.remove(0), 0);
    rig.reenqueue(batches.remove(0), 0);
    let counts = rig.accumulator.counts();
    assert_eq!((counts.accepted, counts.acked, counts.pending), (10, 5, 5));
    let mut rest = Vec::new();
    rig.accumulator.abort_all(&mut rest);
    assert_eq!(rig.queue_len(0) + rig.queue_len(1), 0);
    rest.into_iter().for_each(|batch| rig.accumulator.complete(batch, failure(Outcome::NotWritten)));
    let counts = rig.accumulator.counts();
    assert_eq!((counts.accepted, counts.not_written, counts.pending, counts.unseen), (10, 5, 0, 5));
    assert_eq!(rig.held(), 0);
}

// CMPL-8: even records of a producer that is simply dropped get an outcome
#[test]
fn a_dropped_accumulator_leaves_no_handle_without_an_outcome() {
    let rig = Rig::new(&[Some(1), Some(1)], Settings { linger_ms: 0, ..settings() });
    let (mut queued, mut drained) = (rig.send_to(0, "v"), rig.send_to(1, "v"));
    rig.ready();
    let batches = rig.drain_with(1, 10, &Held(HashSet::from([0])));
    drop((rig, batches));
    assert_eq!(queued.poll_now().unwrap().unwrap_err().outcome(), Outcome::NotWritten);
    assert_eq!(drained.poll_now().unwrap().unwrap_err().outcome(), Outcome::Unknown);
}

#[test]
fn every_codec_comes_through_the_pool_and_is_readable() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let Ok(compression) = Compression::new(codec, None) else { continue };
        for codec_threads in [0, 1] {
            let rig =
                Rig::new(&[Some(1)], Settings { compression, codec_threads, linger_ms: 0, ..settings() });
            let value = |i: usize| format!("record {i} of many that look alike, {}", i * 7919).into_bytes();
            (0..100).for_each(|i| drop(rig.send(Record::value(value(i)))));
            let raw = rig.held();
            // The first look closes the batch, a later one finds it compressed.
            assert_eq!(rig.ready().nodes, [], "{codec:?}: not ready before it is compressed");
            if codec_threads == 0 {
                assert!(rig.drain(1).is_empty(), "{codec:?}: nor does it travel with others");
            }
            rig.accumulator.codec.settle();
            assert_eq!(rig.ready().nodes, [1]);
            let mut batch = rig.drain(1).remove(0);
            assert_eq!(batch.codec(), codec);
            assert!(rig.held() < raw, "surplus chunks went back: {} of {raw}", rig.held());
            batch.set_stamp(Stamp::NONE);
            let mut slices = Vec::new();
            batch.slices(&mut slices);
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            assert_eq!(bytes.len(), batch.encoded_len());
            assert!(rohrpost_record::Batch::parse(&bytes).unwrap().is_crc_valid());
            assert_eq!(values(&batch), (0..100).map(value).collect::<Vec<_>>());
            rig.complete(batch, 0);
            assert_eq!(rig.held(), 0);
        }
    }
}

// ACC-5, ACC-6
#[test]
fn with_compression_a_batch_takes_as_much_as_it_is_expected_to_shrink() {
    let compression = Compression::new(Codec::Gzip, None).unwrap();
    let rig = Rig::new(&[Some(1)], Settings { compression, ..settings() });
    rig.topic.partition_or_new(0, &rig.accumulator.ledger, &rig.accumulator.next_key).ratio().observe(0.0);
    (0..150).for_each(|_| drop(rig.send(Record::value(vec![7; 100]))));
    rig.accumulator.codec.settle();
    let first = rig.topic.partition(0).unwrap().queue.lock().batches[0].record_count();
    // 61 + records · 0.995 · 1.05 ≤ 16384, with 109 and 110 bytes per record
    assert_eq!(first, 142);
    assert_eq!(rig.queue_len(0), 2);
}

// ACC-7: however well a topic was compressed before
#[test]
fn a_batch_that_does_not_shrink_after_all_still_goes_into_a_request() {
    let compression = Compression::new(Codec::Gzip, None).unwrap();
    let rig = Rig::new(&[Some(1)], Settings { compression, max_request_size: 50_000, ..settings() });
    let ratio = rig.topic.partition_or_new(0, &rig.accumulator.ledger, &rig.accumulator.next_key).ratio();
    (0..198).for_each(|_| ratio.observe(0.01));
    (0..600).for_each(|_| drop(rig.send(Record::value(vec![7; 100]))));
    let batches = &rig.topic.partition(0).unwrap().queue.lock().batches;
    let raw: Vec<usize> = batches.iter().map(|batch| HEADER_LEN + batch.builder.records_len()).collect();
    assert!(raw[0] > 49_000 && raw[0] <= 50_000, "{raw:?}");
}

// ACC-15
#[test]
fn records_that_come_while_a_request_is_under_way_batch_together_without_linger() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    let busy = Held(HashSet::from([0]));
    for _ in 0..50 {
        rig.send(Record::value("v"));
        assert_eq!(rig.accumulator.ready(0, &rig.cluster, &busy).nodes, []);
    }
    rig.send(Record::value("v"));
    rig.ready(); // ready, but the broker's connection is busy
    rig.send(Record::value("v"));
    rig.ready();
    assert_eq!(rig.drain(1)[0].record_count(), 52);
}

#[test]
fn records_that_do_not_shrink_stay_plain() {
    let compression = Compression::new(Codec::Gzip, None).unwrap();
    let rig = Rig::new(&[Some(1)], Settings { compression, linger_ms: 0, ..settings() });
    rig.send(Record::value("x"));
    rig.ready();
    rig.ready();
    let batch = rig.drain(1).remove(0);
    assert_eq!((batch.codec(), values(&batch)), (Codec::None, vec![b"x".to_vec()]));
}

#[test]
fn batches_taken_by_force_keep_their_records_even_from_the_codec() {
    let compression = Compression::new(Codec::Lz4, None).unwrap();
    let rig = Rig::new(&[Some(1)], Settings { compression, codec_threads: 1, batch_size: 500, ..settings() });
    (0..100).for_each(|i: u8| drop(rig.send(Record::value(vec![i; 100]))));
    let mut batches = Vec::new();
    rig.accumulator.abort_all(&mut batches);
    let all: Vec<_> = batches.iter().flat_map(values).collect();
    assert_eq!(all, (0..100).map(|i: u8| vec![i; 100]).collect::<Vec<_>>());
    batches.into_iter().for_each(|batch| rig.accumulator.complete(batch, failure(Outcome::NotWritten)));
    assert_eq!(rig.held(), 0);
}

// THR-2, ACC-1, PAR-8
#[test]
fn threads_append_at_the_same_time_and_each_keeps_its_order() {
    const THREADS: u32 = 4;
    const EACH: u32 = 3000;
    let rig = Rig::new(&[Some(1); 5], Settings { linger_ms: 0, batch_size: 2000, ..settings() });
    let done = AtomicUsize::new(0);
    let mut taken: Vec<(i32, Vec<u8>)> = Vec::new();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (rig, done) = (&rig, &done);
            scope.spawn(move || {
                for i in 0..EACH {
                    let value = [thread.to_be_bytes(), i.to_be_bytes()].concat();
                    let record = match i % 3 {
                        0 => Record::value(value).key(thread.to_be_bytes().to_vec()),
                        _ => Record::value(value),
                    };
                    rig.send(record);
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let mut offset = 0;
        loop {
            let last = done.load(Ordering::SeqCst) == THREADS as usize;
            rig.clock.advance(1);
            rig.ready();
            let batches = rig.drain(1);
            let none = batches.is_empty();
            for batch in batches {
                taken.extend(values(&batch).into_iter().map(|value| (batch.partition().index(), value)));
                offset += i64::from(batch.record_count());
                rig.complete(batch, offset);
            }
            if last && none {
                break;
            }
        }
    });
    assert_eq!(taken.len(), (THREADS * EACH) as usize);
    let mut last = std::collections::HashMap::new();
    for (partition, value) in taken {
        let number = |at: usize| u32::from_be_bytes(value[at..at + 4].try_into().unwrap());
        if let Some(before) = last.insert((partition, number(0)), number(4)) {
            assert!(before < number(4), "thread {} in partition {partition}", number(0));
        }
    }
    assert_eq!(rig.held(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// ACC-1, ACC-19, BUF-1: whatever is appended, drained, retried, expired and completed: every record comes out once, in
    /// order per partition, and all memory comes back.
    #[test]
    fn nothing_is_lost_reordered_or_leaked(
        ops in prop::collection::vec((0..7u8, 0..4i32, 0..3000usize), 1..120),
        batch_size in 1..5000usize,
        memory in 4000..60_000usize,
    ) {
        let rig = Rig::new(&[Some(1), Some(1), Some(2), Some(2)], Settings { batch_size, linger_ms: 0, buffer_memory: memory, ..settings() });
        let mut accepted: [Vec<u32>; 4] = Default::default();
        let mut seen: [Vec<u32>; 4] = Default::default();
        let mut number = 0u32;
        let mut sequence = [0i32; 4];
        let mut out: Vec<Batch> = Vec::new();
        let finish = |batch: Batch, seen: &mut [Vec<u32>; 4]| {
            let numbers = values(&batch).iter().map(|value| u32::from_be_bytes(value[..4].try_into().unwrap())).collect::<Vec<_>>();
            seen[batch.partition().index() as usize].extend(numbers);
            rig.complete(batch, 0);
        };
        let drain = |node, out: &mut Vec<Batch>, sequence: &mut [i32; 4]| {
            rig.ready();
            for mut batch in rig.drain_with(node, 10_000, &AllMay) {
                if batch.stamp().is_none() {
                    let next = &mut sequence[batch.partition().index() as usize];
                    batch.set_stamp(Stamp { producer_id: 1, producer_epoch: 0, base_sequence: *next });
                    *next += batch.record_count() as i32;
                }
                out.push(batch);
            }
        };
        for (op, partition, len) in ops {
            match op {
                0..=3 => {
                    let value = [&number.to_be_bytes()[..], &vec![7; len]].concat();
                    let record = Record::value(value).partition(partition).unwrap();
                    if record.size() <= memory && matches!(rig.append(&record), Append::Done(_)) {
                        accepted[partition as usize].push(number);
                        number += 1;
                    }
                }
                4 => drain(1 + partition % 2, &mut out, &mut sequence),
                5 => {
                    // put all of the partition back, newest first or oldest first
                    let (back, rest): (Vec<_>, Vec<_>) = out.drain(..).partition(|batch| batch.partition().index() == partition);
                    out = rest;
                    let back: Vec<_> = if len % 2 == 0 { back } else { back.into_iter().rev().collect() };
                    back.into_iter().for_each(|batch| rig.reenqueue(batch, 0));
                }
                _ => {
                    let (done, rest): (Vec<_>, Vec<_>) = out.drain(..).partition(|batch| batch.partition().index() == partition);
                    out = rest;
                    done.into_iter().for_each(|batch| finish(batch, &mut seen));
                }
            }
            prop_assert!(rig.held() <= memory);
        }
        // In flight at most once each; what is left goes in order.
        out.sort_by_key(|batch| batch.stamp().map(|stamp| stamp.base_sequence));
        out.into_iter().for_each(|batch| finish(batch, &mut seen));
        let mut rest = Vec::new();
        rig.accumulator.abort_all(&mut rest);
        rest.into_iter().for_each(|batch| finish(batch, &mut seen));
        for (mut seen, accepted) in seen.into_iter().zip(accepted) {
            let in_order = seen.clone();
            seen.sort_unstable();
            prop_assert_eq!(&seen, &accepted);
            prop_assert!(in_order.len() == accepted.len());
        }
        prop_assert_eq!(rig.held(), 0);
        prop_assert_eq!(rig.accumulator.counts().pending, 0);
    }
}
