//! Sending with a clock set by hand, metadata published by the test, and a sender played by the test.

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use rohrpost_protocol::ErrorCode;

use proptest::prelude::*;

use super::*;
use crate::accumulator::Batch;
use crate::accumulator::tests::{AllMay, cluster, topic_metadata};
use crate::metadata::TopicMetadata;
use crate::outcome::{BatchFailure, BatchResult, Outcome, Reason};
use crate::producer::{Attached, Shared};
use crate::time::Clock;
use crate::wait::Count;

pub(super) struct Rig {
    pub(super) producer: Producer,
    version: AtomicUsize,
}

impl Rig {
    /// Settings beside Kafka's defaults. One topic "t" of two partitions, led by broker 1.
    pub(super) fn new(pairs: &[(&str, &str)]) -> Rig {
        let rig = Rig::cold(pairs);
        rig.publish(&[("t", 2)]);
        rig
    }

    fn cold(pairs: &[(&str, &str)]) -> Rig {
        Rig::with(pairs, Attached::default())
    }

    /// With the user's own code, and without metadata.
    pub(super) fn with(pairs: &[(&str, &str)], attached: Attached) -> Rig {
        let mut builder = Producer::builder("localhost:9092");
        for (key, value) in pairs {
            builder = builder.set(*key, *value).unwrap();
        }
        let config = builder.check().unwrap();
        let mut shared = Shared::new(config, 7);
        shared.clock = Clock::by_hand(1_750_000_000_000);
        shared.attach(attached).unwrap();
        Rig { producer: Producer::without_sender(shared), version: AtomicUsize::new(0) }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.producer.shared()
    }

    pub(super) fn publish(&self, topics: &[(&str, usize)]) {
        let version = self.version.fetch_add(1, Ordering::SeqCst) as u64 + 1;
        let topics =
            topics.iter().map(|(name, partitions)| topic_metadata(name, &vec![Some(1); *partitions], 0));
        self.shared().metadata.publish(Arc::new(cluster(version, topics)));
    }

    fn refuse_topic(&self, topic: &str, code: ErrorCode) {
        let mut snapshot = cluster(99, Vec::<Arc<TopicMetadata>>::new());
        snapshot.errors.insert(topic.into(), code);
        self.shared().metadata.publish(Arc::new(snapshot));
    }

    /// Plays one pass of the sender: takes everything that is ready.
    pub(super) fn drain(&self) -> Vec<Batch> {
        let shared = self.shared();
        let snapshot = shared.metadata.snapshot();
        let now_ms = shared.clock.last_ms();
        shared.timers.fire(now_ms);
        shared.accumulator.ready(now_ms, &snapshot, &AllMay);
        let ready = shared.accumulator.ready(now_ms, &snapshot, &AllMay);
        let mut batches = Vec::new();
        if ready.nodes.contains(&1) {
            shared.accumulator.drain(now_ms, &snapshot, 1, usize::MAX, &AllMay, &mut batches);
        }
        batches
    }

    pub(super) fn complete(&self, batches: Vec<Batch>) {
        for batch in batches {
            self.shared()
                .accumulator
                .complete(batch, BatchResult::Acked { base_offset: 0, log_append_time: -1 });
        }
    }

    pub(super) fn advance(&self, ms: u64) {
        let now_ms = self.shared().clock.advance(ms);
        self.shared().timers.fire(now_ms);
    }

    pub(super) fn held(&self) -> usize {
        self.shared().accumulator.pool().held()
    }

    /// Nothing waits, nothing is held, nothing is registered.
    pub(super) fn assert_clean(&self) {
        let shared = self.shared();
        assert_eq!(self.held(), 0, "memory");
        assert_eq!(shared.accumulator.pool().waiting(), 0, "places");
        assert_eq!(shared.timers.len(), 0, "timers");
    }
}

pub(super) fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

pub(super) fn ready<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("still waiting"),
    }
}

pub(super) fn now<F: Future>(future: F) -> F::Output {
    ready(poll(std::pin::pin!(future)))
}

pub(super) fn values(batches: &[Batch]) -> Vec<String> {
    batches
        .iter()
        .flat_map(|batch| batch.records(1 << 24))
        .map(|record| String::from_utf8_lossy(&record.value_bytes().unwrap()[..1]).into_owned())
        .collect()
}

/// A value that begins with a letter and fills most of a 1 KiB chunk.
pub(super) fn big(letter: char) -> Record {
    Record::to("t").value([letter.to_string().into_bytes(), vec![b'.'; 800]].concat()).partition(0).unwrap()
}

pub(super) fn small(letter: char) -> Record {
    Record::to("t").value(letter.to_string()).partition(0).unwrap()
}

const TIGHT: &[(&str, &str)] =
    &[("buffer.memory", "2048"), ("batch.size", "1024"), ("linger.ms", "0"), ("max.block.ms", "1000")];

// PRE-1, ACC-1
#[test]
fn a_send_on_a_warm_topic_is_done_at_its_first_poll() {
    let rig = Rig::new(&[]);
    let orders = now(rig.producer.topic("t")).unwrap();
    let mut delivery = now(orders.send(Record::value("v").key("a"))).unwrap();
    now(rig.producer.send(Record::to("t").value("w").key("a"))).unwrap();
    assert_eq!(rig.shared().timers.len(), 0, "no timer for a call that did not wait");
    rig.advance(5);
    rig.complete(rig.drain());
    let at = delivery.poll_now().unwrap().unwrap();
    assert_eq!((at.topic(), at.partition(), at.offset()), ("t", 0, Some(0)), "murmur2(a) mod 2 is 0");
    rig.assert_clean();
}

// PRE-1, PRE-2, PRE-3, PRE-4, API-7
#[test]
fn a_send_to_a_cold_topic_waits_for_metadata_and_at_most_max_block_ms() {
    let rig = Rig::cold(&[("max.block.ms", "1500")]);
    let mut first = Box::pin(rig.producer.send(small('a')));
    assert!(poll(first.as_mut()).is_pending());
    assert_eq!(rig.shared().metadata.take_wanted().len(), 1, "it is asked for");
    assert_eq!(rig.held(), 0, "a cold topic pins no room");
    rig.publish(&[("t", 2)]);
    let delivery = ready(poll(first.as_mut())).unwrap();
    drop((first, delivery));
    let mut unknown = Box::pin(rig.producer.send(Record::to("x").value("v")));
    assert!(poll(unknown.as_mut()).is_pending());
    rig.advance(1499);
    assert!(poll(unknown.as_mut()).is_pending());
    rig.advance(1);
    let error = ready(poll(unknown.as_mut())).unwrap_err();
    assert_eq!(error.to_string(), "Topic x not present in metadata after 1500 ms.");
    assert_eq!(error.into_record().topic_name(), Some("x"), "CMPL-7: the record comes back");
    drop(unknown);
    assert!(rig.shared().accumulator.topic("x").is_none(), "names that were no topics do not pile up");
    assert!(rig.shared().accumulator.topic("t").is_some());
    rig.advance(10);
    rig.complete(rig.drain());
    rig.assert_clean();
}

// PRE-2
#[test]
fn a_partition_beyond_the_known_ones_is_waited_for() {
    let rig = Rig::new(&[("max.block.ms", "1500"), ("linger.ms", "0")]);
    rig.publish(&[("t", 6)]);
    let beyond = |value: &str| Record::to("t").value(value.to_owned()).partition(99).unwrap();
    let mut first = Box::pin(rig.producer.send(beyond("1")));
    let mut second = Box::pin(rig.producer.send(beyond("2")));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    // others of the topic go on meanwhile
    let mut behind = Box::pin(rig.producer.send(small('a')));
    assert!(ready(poll(behind.as_mut())).is_ok());
    rig.publish(&[("t", 100)]);
    assert!(poll(second.as_mut()).is_pending(), "in the order of their first poll");
    assert!(ready(poll(first.as_mut())).is_ok());
    assert!(ready(poll(second.as_mut())).is_ok());
    let mut never = Box::pin(rig.producer.send(Record::to("t").value("v").partition(100).unwrap()));
    assert!(poll(never.as_mut()).is_pending());
    rig.advance(1500);
    assert_eq!(
        ready(poll(never.as_mut())).unwrap_err().to_string(),
        "Partition 100 of topic t with partition count 100 is not present in metadata after 1500 ms."
    );
    let batches = rig.drain();
    assert_eq!(values(&batches), ["a", "1", "2"]);
    rig.complete(batches);
    drop((first, second, behind, never));
    rig.assert_clean();
}

// MET-7, PRE-2
#[test]
fn a_topic_that_the_cluster_refuses_fails_at_once() {
    let rig = Rig::cold(&[]);
    let mut waiting = Box::pin(rig.producer.send(Record::to("secret").value("v")));
    assert!(poll(waiting.as_mut()).is_pending());
    rig.refuse_topic("secret", ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let error = ready(poll(waiting.as_mut())).unwrap_err();
    assert!(matches!(
        error.reason(),
        Refusal::TopicRefused { code: ErrorCode::TOPIC_AUTHORIZATION_FAILED, .. }
    ));
    assert!(now(rig.producer.topic("secret")).is_err());
    drop(waiting);
    rig.assert_clean();
}

// PRE-5, PRE-6, PRE-7, API-1, CMPL-7
#[test]
fn what_cannot_be_sent_is_refused_at_once_with_the_record() {
    let rig = Rig::new(&[]);
    let refusal = |record: Record| {
        let copy = record.clone();
        let error = now(rig.producer.send(record)).unwrap_err();
        assert!(!error.is_full());
        let (record, reason) = error.into_parts();
        assert_eq!(record, copy);
        reason
    };
    assert_eq!(refusal(Record::value("v")), Refusal::NoTopic);
    assert_eq!(refusal(Record::to("a b").value("v")), Refusal::InvalidTopic("a b".into()));
    let large = refusal(Record::to("t").value(vec![0; 1_048_490]));
    assert_eq!(
        large.to_string(),
        "The message is 1048577 bytes when serialized which is larger than 1048576, which is the value of the max.request.size configuration."
    );
    now(rig.producer.send(Record::to("t").value(vec![0; 1_048_489]))).unwrap(); // PRE-6
    let tight = Rig::new(&[("buffer.memory", "500")]);
    let error = tight.producer.try_send(Record::to("t").value(vec![0; 500])).unwrap_err();
    assert!(matches!(error.reason(), Refusal::RecordTooLarge { key: "buffer.memory", limit: 500, .. }));
    let topic = now(rig.producer.topic("t")).unwrap();
    let error = topic.try_send(Record::to("u").value("v")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the record is for topic u, but was given to a handle or permit of topic t"
    );
    topic.try_send(Record::to("t").value("v")).unwrap();
}

// PRE-8
#[test]
fn a_call_that_failed_leaves_nothing_behind() {
    let rig = Rig::new(TIGHT);
    let topic = now(rig.producer.topic("t")).unwrap();
    assert!(now(rig.producer.send(Record::to("..").value("v"))).is_err());
    assert!(now(topic.send(Record::to("u").value("v"))).is_err());
    assert!(topic.try_send(Record::value("v").partition(7).unwrap()).unwrap_err().is_full());
    assert!(rig.producer.try_send(Record::to("cold").value("v")).unwrap_err().is_full());
    assert!(topic.try_send(Record::value(vec![0; 5000])).is_err());
    assert!(now(topic.reserve(5000)).is_err());
    rig.shared().lifecycle.fail(ErrorCode::CLUSTER_AUTHORIZATION_FAILED, "not allowed".into());
    rig.shared().accumulator.set_closing();
    let error = now(topic.send(Record::value("v"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the producer has ended with CLUSTER_AUTHORIZATION_FAILED: not allowed; build a new one"
    );
    assert_eq!(rig.shared().accumulator.counts(), Default::default());
    assert!(rig.drain().is_empty());
    rig.assert_clean();
}

// BUF-1
#[test]
fn a_buffer_smaller_than_a_chunk_still_takes_a_record_that_fits() {
    let rig = Rig::new(&[("buffer.memory", "500"), ("linger.ms", "0")]);
    for _ in 0..3 {
        now(rig.producer.send(Record::to("t").value(vec![7; 300]))).unwrap();
        assert_eq!(rig.held(), 500);
        rig.complete(rig.drain());
        rig.assert_clean();
    }
}

// FLU-7, BUF-6
#[test]
fn close_refuses_new_records_revokes_permits_and_wakes_all_waiters() {
    let rig = Rig::new(TIGHT);
    let permit = now(rig.producer.reserve("t", 1000)).unwrap();
    now(rig.producer.send(big('a'))).unwrap();
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    let mut for_room = Box::pin(rig.producer.send(big('b')));
    let mut for_metadata = Box::pin(rig.producer.send(Record::to("cold").value("v")));
    assert!(for_room.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(for_metadata.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    rig.shared().lifecycle.close();
    rig.shared().accumulator.set_closing();
    assert_eq!(woken.get(), 2);
    for waiting in [&mut for_room, &mut for_metadata] {
        assert_eq!(*ready(poll(waiting.as_mut())).unwrap_err().reason(), Refusal::Closed);
    }
    assert_eq!(*rig.producer.try_send(small('c')).unwrap_err().reason(), Refusal::Closed);
    assert!(matches!(now(rig.producer.reserve("t", 100)), Err(Refusal::Closed)));
    let (record, permit, reason) = permit.send(small('d')).unwrap_err().into_parts();
    assert_eq!((record, reason), (small('d'), Refusal::Closed));
    drop((permit, for_room, for_metadata));
    rig.complete(rig.drain());
    rig.assert_clean();
}

// BUF-2, BUF-3, BUF-8
#[test]
fn without_room_a_send_waits_and_fails_when_its_time_is_over() {
    let rig = Rig::new(TIGHT);
    now(rig.producer.send(big('a'))).unwrap();
    now(rig.producer.send(big('b'))).unwrap();
    let mut waiting = Box::pin(rig.producer.send(big('c')));
    assert!(poll(waiting.as_mut()).is_pending());
    rig.advance(1000);
    assert!(
        ready(poll(waiting.as_mut()))
            .unwrap_err()
            .to_string()
            .starts_with("Failed to allocate 1024 bytes within the configured max blocking time 1000 ms.")
    );
    assert_eq!(rig.shared().accumulator.pool().exhausted(), 1);
    let woken = Arc::new(Count::default());
    let mut waiting = Box::pin(rig.producer.send(big('d')));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&Waker::from(woken.clone()))).is_pending());
    let batches = rig.drain();
    assert_eq!(woken.get(), 0, "drained is not enough: the request owns the memory");
    rig.complete(batches);
    assert_eq!(woken.get(), 1);
    assert!(ready(poll(waiting.as_mut())).is_ok());
    rig.complete(rig.drain());
    rig.complete(rig.drain());
    rig.assert_clean();
}

// BUF-4
#[test]
fn whoever_comes_while_someone_waits_goes_behind() {
    let rig = Rig::new(&[("buffer.memory", "4096"), ("batch.size", "4096"), ("linger.ms", "0")]);
    rig.publish(&[("t", 2), ("u", 1)]);
    now(rig.producer.send(small('a'))).unwrap(); // holds 1 KiB, 3 KiB are free
    let mut large = Box::pin(rig.producer.send(Record::to("u").value(vec![b'L'; 3900])));
    assert!(poll(large.as_mut()).is_pending());
    // A newcomer that 3 KiB would do for does not get them …
    let other = Record::to("t").value("b").partition(1).unwrap();
    assert!(rig.producer.try_send(other.clone()).unwrap_err().is_full());
    let mut behind = Box::pin(rig.producer.send(other));
    assert!(poll(behind.as_mut()).is_pending());
    // … and one whose topic waits does not even get what is open already.
    assert_eq!(*rig.producer.try_send(small('c')).unwrap_err().reason(), Refusal::Full);
    rig.complete(rig.drain());
    assert!(poll(behind.as_mut()).is_pending());
    assert!(ready(poll(large.as_mut())).is_ok());
    rig.complete(rig.drain());
    assert!(ready(poll(behind.as_mut())).is_ok());
    assert!(rig.producer.try_send(small('c')).is_ok());
    rig.complete(rig.drain());
    drop((large, behind));
    rig.assert_clean();
}

// THR-2, BUF-4: order is that of the first poll, whatever the size and whoever is polled first later
#[test]
fn senders_of_a_topic_keep_the_order_of_their_first_poll() {
    let rig = Rig::new(TIGHT);
    now(rig.producer.send(big('a'))).unwrap();
    now(rig.producer.send(big('b'))).unwrap();
    let mut c = Box::pin(rig.producer.send(big('c')));
    let mut d = Box::pin(rig.producer.send(small('d')));
    let mut e = Box::pin(rig.producer.send(big('e')));
    let mut order = Vec::new();
    assert!(poll(c.as_mut()).is_pending());
    assert!(poll(d.as_mut()).is_pending());
    assert!(poll(e.as_mut()).is_pending());
    for _ in 0..6 {
        let batches = rig.drain();
        order.extend(values(&batches));
        rig.complete(batches);
        // the wrong way round
        let _ = poll_if_waiting(&mut e);
        let _ = poll_if_waiting(&mut d);
        let _ = poll_if_waiting(&mut c);
    }
    assert_eq!(order, ["a", "b", "c", "d", "e"]);
    drop((c, d, e));
    rig.assert_clean();
}

fn poll_if_waiting(future: &mut Pin<Box<SendFuture<'_>>>) -> Option<Result<Delivery, SendError>> {
    future.0.record.as_ref()?;
    match poll(future.as_mut()) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

// CMPL-7, BUF-7
#[test]
fn a_permit_never_fails_for_room_or_metadata() {
    let rig = Rig::new(TIGHT);
    let permit = now(rig.producer.reserve("t", big('a').size())).unwrap();
    now(rig.producer.send(big('b'))).unwrap();
    assert!(rig.producer.try_send(big('c')).unwrap_err().is_full());
    let mut waiting = Box::pin(rig.producer.send(big('w')));
    assert!(poll(waiting.as_mut()).is_pending());
    rig.publish(&[]); // the topic is gone from the metadata
    rig.shared().accumulator.apply(&rig.shared().metadata.snapshot());
    permit.send(big('a')).unwrap();
    rig.publish(&[("t", 2)]);
    rig.complete(rig.drain());
    rig.complete(rig.drain());
    assert!(ready(poll(waiting.as_mut())).is_ok());
    rig.complete(rig.drain());
    drop(waiting);
    rig.assert_clean();
}

// CMPL-7
#[test]
fn a_permit_gives_record_and_itself_back_with_the_reason() {
    let rig = Rig::new(&[]);
    let permit = now(rig.producer.reserve("t", 100)).unwrap();
    assert_eq!(rig.held(), 2048, "a chunk, and what a batch takes beside it");
    let too_large = Record::value(vec![0; 100]);
    let (record, permit, reason) = permit.send(too_large.clone()).unwrap_err().into_parts();
    assert_eq!(
        (record, reason),
        (too_large.clone(), Refusal::LargerThanReserved { size: too_large.size(), reserved: 100 })
    );
    let (_, permit, reason) = permit.send(Record::to("u").value("")).unwrap_err().into_parts();
    assert!(matches!(reason, Refusal::OtherTopic { .. }));
    let (_, permit, reason) = permit.send(Record::value("").partition(2).unwrap()).unwrap_err().into_parts();
    assert!(matches!(reason, Refusal::UnknownPartition { partition: 2, partitions: 2, .. }));
    assert_eq!(rig.held(), 2048, "the permit still has its room");
    let delivery = permit.send(Record::value("v")).unwrap();
    assert!(!delivery.is_done());
    rig.advance(5);
    rig.complete(rig.drain());
    rig.assert_clean();
    drop(now(rig.producer.reserve("t", 100)).unwrap());
    rig.assert_clean();
    assert!(matches!(now(rig.producer.reserve("t", 2 << 20)), Err(Refusal::RecordTooLarge { .. })));
}

// CMPL-7, BUF-2, BUF-8: reservations queue and can be cancelled
#[test]
fn reservations_are_served_in_order_and_a_dropped_one_makes_way() {
    let rig = Rig::new(TIGHT);
    let (first, second) =
        (now(rig.producer.reserve("t", 100)).unwrap(), now(rig.producer.reserve("t", 100)).unwrap());
    let mut third = Box::pin(rig.producer.reserve("t", 100));
    let mut fourth = Box::pin(rig.producer.reserve("t", 100));
    assert!(poll(third.as_mut()).is_pending());
    assert!(poll(fourth.as_mut()).is_pending());
    drop(first);
    assert!(poll(fourth.as_mut()).is_pending());
    drop(third); // granted, never polled again
    let permit = ready(poll(fourth.as_mut())).unwrap();
    drop((second, permit, fourth));
    rig.assert_clean();
}

// CMPL-6
#[test]
fn inside_a_callback_a_call_that_would_wait_fails_at_once() {
    let rig = Rig::new(&[("buffer.memory", "3072"), ("batch.size", "1024"), ("linger.ms", "0")]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (producer, results) = (rig.producer.clone(), seen.clone());
    now(rig.producer.send_with(big('a'), move |outcome| {
        let mut results = results.lock().unwrap();
        results.push(outcome.is_ok());
        // Its batch's memory and its own are still held here: there is room for one more, and no more.
        let delivery = producer.send_blocking(small('b'));
        results.push(delivery.is_ok());
        results.push(matches!(delivery.unwrap().wait(), Err(crate::WaitError::InCallback(_))));
        let error =
            producer.send_blocking(Record::to("t").value(vec![7; 900]).partition(1).unwrap()).unwrap_err();
        results.push(*error.reason() == Refusal::WouldWait);
        results.push(producer.topic_blocking("cold").unwrap_err() == Refusal::WouldWait);
        results.push(producer.reserve_blocking("t", 900).unwrap_err() == Refusal::WouldWait);
    }))
    .unwrap();
    rig.complete(rig.drain());
    assert_eq!(*seen.lock().unwrap(), [true; 6]);
    rig.complete(rig.drain());
    rig.assert_clean();
}

// CMPL-1, CMPL-3, CMPL-4
#[test]
fn callbacks_run_in_append_order_and_a_panic_stops_none_of_them() {
    let rig = Rig::new(&[("linger.ms", "0")]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut handle = now(rig.producer.send(small('h'))).unwrap();
    for i in 0..10 {
        let seen = seen.clone();
        now(rig.producer.send_with(small('x'), move |outcome| {
            seen.lock().unwrap().push((i, outcome.unwrap().offset().unwrap()));
            assert!(i != 3, "a callback that panics");
        }))
        .unwrap();
    }
    assert!(rig.held() > 1024, "callbacks are charged");
    rig.complete(rig.drain());
    assert_eq!(*seen.lock().unwrap(), (0..10).map(|i| (i, i + 1)).collect::<Vec<_>>());
    assert!(handle.poll_now().is_some());
    rig.assert_clean();
}

// CMPL-5, API-7
#[test]
fn the_callback_of_a_refused_record_runs_before_the_call_returns() {
    let rig = Rig::new(&[]);
    let seen = Arc::new(Mutex::new(None));
    let write = seen.clone();
    let error = now(rig.producer.send_with(Record::to("t").value(vec![0; 2 << 20]), move |outcome| {
        *write.lock().unwrap() = Some((std::thread::current().id(), outcome.unwrap_err()));
    }))
    .unwrap_err();
    let (thread, outcome) = seen.lock().unwrap().take().unwrap();
    assert_eq!(thread, std::thread::current().id());
    assert_eq!((outcome.outcome(), outcome.reason()), (Outcome::NotWritten, Reason::Refused));
    assert_eq!((outcome.topic(), outcome.partition()), (Some("t"), None), "none was chosen");
    assert_eq!(outcome.message(), error.to_string());
}

// CMPL-2: dropping a send at any await point leaves nothing behind
#[test]
fn a_send_can_be_dropped_after_any_number_of_polls() {
    for polls in 0..5 {
        let rig = Rig::cold(TIGHT);
        let blocker = |letter| Record::to("u").value([vec![letter], vec![b'.'; 800]].concat());
        rig.publish(&[("u", 1)]);
        now(rig.producer.send(blocker(b'a'))).unwrap();
        now(rig.producer.send(blocker(b'b'))).unwrap();
        let mut dropped = Box::pin(rig.producer.send(big('x')));
        let mut stays = Box::pin(rig.producer.send(big('y')));
        let (mut accepted, mut order) = (false, Vec::new());
        for step in 0..5 {
            if step < polls && !accepted {
                accepted = poll(dropped.as_mut()).is_ready();
            }
            if step == 0 {
                assert!(poll(stays.as_mut()).is_pending());
            }
            match step {
                1 => rig.publish(&[("u", 1), ("t", 2)]),
                2 => rig.complete(rig.drain()),
                3 => {
                    let batches = rig.drain();
                    order.extend(values(&batches));
                    rig.complete(batches);
                }
                _ => {}
            }
        }
        drop(dropped);
        assert!(ready(poll(stays.as_mut())).is_ok(), "after {polls} polls of the other");
        drop(stays);
        let batches = rig.drain();
        order.extend(values(&batches));
        assert_eq!(order, if accepted { vec!["b", "x", "y"] } else { vec!["b", "y"] });
        assert_eq!(accepted, polls >= 4);
        rig.complete(batches);
        rig.complete(rig.drain());
        rig.assert_clean();
    }
}

// CMPL-8, and chapter 2.4: failures nobody looks at are counted
#[test]
fn failures_whose_handle_was_dropped_are_counted() {
    let rig = Rig::new(&[("linger.ms", "0")]);
    let mut kept: Vec<Delivery> = (0..4).map(|_| now(rig.producer.send(small('a'))).unwrap()).collect();
    drop(kept.pop());
    let failure = BatchFailure {
        outcome: Outcome::Unknown,
        reason: Reason::Expired,
        message: None,
        record_errors: Vec::new(),
        attempts: 1,
    };
    let failure = BatchResult::Failed(Arc::new(failure));
    for batch in rig.drain() {
        let sender = batch.completion().clone(); // the sender's own reference is nobody's handle
        rig.shared().accumulator.complete(batch, failure.clone());
        drop(sender);
    }
    let unseen = || rig.shared().accumulator.counts().unseen;
    assert_eq!(unseen(), 1);
    assert!(kept.pop().unwrap().poll_now().is_some());
    assert!(now(kept.pop().unwrap()).is_err());
    assert_eq!(unseen(), 1, "two were looked at");
    drop(kept);
    assert_eq!(unseen(), 2, "the last one was not");
}

// A plain thread waits for room while the sender makes some.
#[test]
fn a_blocked_thread_goes_on_when_there_is_room() {
    let rig = Rig::new(&[("buffer.memory", "4096"), ("batch.size", "1024"), ("linger.ms", "0")]);
    let order = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for i in 0..200u32 {
                let record = Record::to("t")
                    .value([i.to_be_bytes().to_vec(), vec![7; 500]].concat())
                    .partition(0)
                    .unwrap();
                drop(rig.producer.send_blocking(record).unwrap());
            }
        });
        loop {
            let last = sending.is_finished();
            let batches = rig.drain();
            if last && batches.is_empty() {
                break;
            }
            for batch in &batches {
                let numbers = batch
                    .records(1 << 20)
                    .into_iter()
                    .map(|record| u32::from_be_bytes(record.value_bytes().unwrap()[..4].try_into().unwrap()));
                order.lock().unwrap().extend(numbers);
            }
            rig.complete(batches);
        }
    });
    assert_eq!(*order.lock().unwrap(), (0..200).collect::<Vec<_>>());
    rig.assert_clean();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// BUF-2, BUF-4, BUF-8, THR-2: sends, reservations, permits, drops and metadata in any order: per partition the accepted
    /// records stand in the order of their first poll (or permit.send), nobody waits for ever, and everything comes back.
    #[test]
    fn order_and_memory_survive_any_interleaving(
        ops in prop::collection::vec((0..8u8, 0..3usize, 0..1500usize, any::<u8>()), 1..100),
    ) {
        let rig = Rig::cold(&[("buffer.memory", "6000"), ("batch.size", "2048"), ("linger.ms", "0"), ("max.block.ms", "1000000")]);
        let topics = ["t", "u", "v"];
        let producer = rig.producer.clone();
        let mut waiting: Vec<(u32, Pin<Box<SendFuture<'_>>>)> = Vec::new();
        let mut permits: Vec<Permit> = Vec::new();
        let started = Rc::new(RefCell::new(0u32));
        let mut accepted = HashSet::new();
        let mut by_permit = HashSet::new();
        let mut delivered: Vec<(String, u32)> = Vec::new();
        let mut collect = |batches: Vec<Batch>| {
            for batch in &batches {
                for record in batch.records(1 << 20) {
                    delivered.push((batch.partition().topic_name().to_string(), u32::from_be_bytes(record.value_bytes().unwrap()[..4].try_into().unwrap())));
                }
            }
            rig.complete(batches);
        };
        let number = || { *started.borrow_mut() += 1; *started.borrow() };
        let record = |topic: usize, number: u32, len: usize| Record::to(topics[topic]).value([number.to_be_bytes().to_vec(), vec![7; len]].concat()).partition(0).unwrap();
        rig.publish(&[("t", 1)]);
        for (op, topic, len, any) in ops {
            match op {
                0..=2 => {
                    let number = number();
                    let mut send = Box::pin(producer.send(record(topic, number, len)));
                    match poll(send.as_mut()) {
                        Poll::Ready(result) => { prop_assert!(result.is_ok()); accepted.insert(number); }
                        Poll::Pending => waiting.push((number, send)),
                    }
                }
                3 => {
                    // poll all, newest first
                    let mut still = Vec::new();
                    for (number, mut send) in waiting.drain(..).rev() {
                        match poll(send.as_mut()) {
                            Poll::Ready(result) => { prop_assert!(result.is_ok()); accepted.insert(number); }
                            Poll::Pending => still.push((number, send)),
                        }
                    }
                    still.reverse();
                    waiting = still;
                }
                4 => if !waiting.is_empty() {
                    drop(waiting.remove(any as usize % waiting.len()));
                },
                5 => collect(rig.drain()),
                6 => {
                    if let Poll::Ready(permit) = poll(std::pin::pin!(producer.reserve(topics[topic], 600))) {
                        permits.push(permit.unwrap());
                    }
                }
                _ => {
                    if let Some(permit) = permits.pop() {
                        let number = number();
                        let topic = topics.iter().position(|topic| *topic == permit.topic()).unwrap();
                        prop_assert!(permit.send(record(topic, number, len.min(400))).is_ok());
                        accepted.insert(number);
                        by_permit.insert(number);
                    }
                    if any % 4 == 0 {
                        rig.publish(&[("t", 1), ("u", 1), ("v", 1)]);
                    }
                }
            }
            prop_assert!(rig.held() <= 6000);
        }
        drop(permits);
        rig.publish(&[("t", 1), ("u", 1), ("v", 1)]);
        for _ in 0..500 {
            if waiting.is_empty() {
                break;
            }
            collect(rig.drain());
            let mut still = Vec::new();
            for (number, mut send) in waiting.drain(..).rev() {
                match poll(send.as_mut()) {
                    Poll::Ready(result) => { prop_assert!(result.is_ok()); accepted.insert(number); }
                    Poll::Pending => still.push((number, send)),
                }
            }
            still.reverse();
            waiting = still;
        }
        prop_assert!(waiting.is_empty(), "{} wait for ever", waiting.len());
        for _ in 0..500 {
            let batches = rig.drain();
            if batches.is_empty() {
                break;
            }
            collect(batches);
        }
        for topic in topics {
            // A permit goes ahead of those that wait; all others keep their order.
            let numbers: Vec<u32> = delivered.iter().filter(|(name, number)| name == topic && !by_permit.contains(number)).map(|(_, number)| *number).collect();
            prop_assert!(numbers.is_sorted(), "{topic}: {numbers:?}");
        }
        let all: HashSet<u32> = delivered.iter().map(|(_, number)| *number).collect();
        prop_assert_eq!(all.len(), delivered.len());
        prop_assert_eq!(all, accepted);
        rig.assert_clean();
    }
}
