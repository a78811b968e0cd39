//! [`MockProducer`]: a real [`Producer`] whose cluster is played by the test.
//!
//! Everything in front of the sender is what it is in a program: interceptors, serializers, partitioners, memory, permits, handles,
//! callbacks and their order. Only the sender is missing. Its part is played here, on the thread that calls: after each append, and
//! whenever the producer asks for something, [`Mock::play`] takes what there is and says what becomes of it. So nothing happens by
//! itself, no thread runs, and time stands still unless [`MockProducer::advance`] moves it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rohrpost_protocol::{ErrorCode, Written};

use super::{BuildError, CloseReport, CloseWish, Producer, PurgeReport, Shared, Undelivered};
use crate::accumulator::{Batch, log_growth};
use crate::config::{Acks, ProducerBuilder};
use crate::metadata::{BrokerNode, PartitionMetadata, Snapshot, TopicMetadata};
use crate::outcome::{BatchFailure, BatchResult, Outcome, Reason, Refusal};
use crate::record::Record;
use crate::sender::turn;
use crate::time::Clock;

/// The broker that leads everything, until a test says otherwise.
const NODE: i32 = 1;
/// The sticky choices of every mock begin here: two runs of a test are alike.
const SEED: u64 = 7;

/// What a test holds of a [`Producer`] that has no cluster: it decides what becomes of records, and sees what was sent.
///
/// The application under test is given the `Producer`. It is the real type, so nothing in the application has to be generic, and
/// `send`, `try_send`, permits, callbacks, interceptors, typed topics, `flush` and `close` behave as they do on a cluster.
///
/// Every topic exists, with one partition unless [`set_partitions`](Self::set_partitions) says otherwise. Records are acknowledged
/// as soon as they are sent, or, after [`set_auto_complete`](Self::set_auto_complete)`(false)`, when the test says so; each is a batch of
/// its own, offsets count from 0 in each partition. `linger.ms` and compression have no effect; `buffer.memory` and the limits
/// by count have.
///
/// ```
/// use rohrpost::{ErrorCode, MockProducer, Outcome, Producer, Record, SendError};
///
/// // What is tested: it takes a producer, and knows of no mock.
/// async fn order(producer: &Producer, what: &str) -> Result<bool, SendError> {
///     let delivery = producer.send(Record::to("orders").key("42").value(what.to_owned())).await?;
///     Ok(delivery.await.is_ok())
/// }
///
/// let (producer, mock) = MockProducer::new();
/// # pollster::block_on(async {
/// assert!(order(&producer, "one espresso").await?);
/// mock.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS);
/// assert!(!order(&producer, "two coffees").await?);
/// assert_eq!(mock.history()[1].value_bytes().unwrap(), "two coffees");
///
/// // An outcome that the test lets wait:
/// mock.set_auto_complete(false);
/// let mut delivery = producer.send(Record::to("orders").value("tea")).await?;
/// assert!(delivery.poll_now().is_none());
/// mock.complete_next();
/// assert_eq!(delivery.await.unwrap().offset(), Some(1));
/// # Ok::<(), SendError>(())
/// # })?;
/// # Ok::<(), SendError>(())
/// ```
#[derive(Clone)]
pub struct MockProducer {
    shared: Arc<Shared>,
    mock: Arc<Mock>,
}

impl MockProducer {
    /// A producer with Kafka's defaults, and its mock.
    ///
    /// # Panics
    /// If the defaults are no valid configuration: a broken invariant.
    #[must_use]
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> (Producer, MockProducer) {
        match MockProducer::with(Producer::builder("mock:9092")) {
            Ok(both) => both,
            Err(error) => panic!("Kafka's defaults are refused: {error}"),
        }
    }

    /// A producer with these settings, interceptors, partitioner and so on, and its mock. Nothing connects to its servers.
    ///
    /// # Errors
    /// As [`ProducerBuilder::build`].
    pub fn with(builder: ProducerBuilder) -> Result<(Producer, MockProducer), BuildError> {
        let (config, attached) = builder.prepare()?;
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
        let mut shared = Shared::for_mock(config, SEED, Clock::by_hand(wall_ms));
        shared.attach_or_fail(attached)?;
        shared.accumulator.take_long_way(); // each record passes by the mock
        let mock = Arc::new(Mock::default());
        shared.mock = Some(mock.clone());
        shared.stats.has_identity.store(true, Ordering::Release);
        let shared = Arc::new(shared);
        mock.publish(&shared, |_| {});
        Ok((Producer::of(shared.clone()), MockProducer { shared, mock }))
    }

    /// Whether records are acknowledged as soon as they are sent; so it is at first. Those that wait already go on waiting.
    pub fn set_auto_complete(&self, auto: bool) {
        self.mock.state.lock().is_manual = !auto;
    }

    /// Acknowledges the record that has waited longest. `false`: none waits.
    pub fn complete_next(&self) -> bool {
        self.decide_next(Verdict::Ack)
    }

    /// Acknowledges all records that wait. How many.
    pub fn complete_all(&self) -> usize {
        let decided = self.mock.state.lock().decide_all(&Verdict::Ack);
        self.mock.resolve(&self.shared);
        decided
    }

    /// Fails the record that has waited longest, or, if none waits, the next one to be sent, with an error that the broker might give.
    /// The outcome is that of the error: [`Outcome::Unknown`] if a broker that answers it may have written the record (CMPL-8). It is not
    /// tried again.
    pub fn fail_next(&self, code: ErrorCode) {
        let outcome = match code.written() {
            Written::No => Outcome::NotWritten,
            Written::Maybe | Written::Yes | Written::NotProduce => Outcome::Unknown,
        };
        self.fail_next_with(outcome, Reason::Broker(code));
    }

    /// [`fail_next`](Self::fail_next) with any outcome and reason, as [`Reason::Expired`].
    pub fn fail_next_with(&self, outcome: Outcome, reason: Reason) {
        let verdict = Verdict::Fail(outcome, reason);
        if !self.decide_next(verdict.clone()) {
            self.mock.state.lock().planned.push_back(verdict);
        }
    }

    /// The next `send` or `try_send` is refused for this reason, and gives its record back.
    pub fn refuse_next(&self, refusal: Refusal) {
        self.mock.state.lock().refusals.push_back(refusal);
    }

    /// Gives a topic so many partitions: more than it had, or its first (PAR-4). At least one.
    pub fn set_partitions(&self, topic: &str, partitions: u32) {
        self.mock.publish(&self.shared, |topics| grow(topics, topic, partitions));
    }

    /// Topics that nobody has named yet get so many partitions. At least one; one at first.
    pub fn set_default_partitions(&self, partitions: u32) {
        self.mock.state.lock().default_partitions = Some(partitions);
    }

    /// Says which broker leads a partition, counted from 0, or that none does; the topic gets the partition if it has not. Records for
    /// it are accepted and have their outcome all the same; partitioners see it.
    pub fn set_leader(&self, topic: &str, partition: u32, leader: Option<i32>) {
        self.mock.publish(&self.shared, |topics| {
            grow(topics, topic, partition + 1);
            if let Some(known) = topics.topics.get_mut(topic) {
                Arc::make_mut(known).partitions[partition as usize].leader = leader;
            }
        });
    }

    /// The cluster refuses a topic that nobody has sent to: with [`ErrorCode::TOPIC_AUTHORIZATION_FAILED`] or
    /// [`ErrorCode::INVALID_TOPIC_EXCEPTION`] at once, with others until `max.block.ms` has passed by [`advance`](Self::advance).
    pub fn refuse_topic(&self, topic: &str, code: ErrorCode) {
        self.mock.publish(&self.shared, |topics| {
            topics.topics.remove(topic);
            topics.errors.insert(topic.into(), code);
        });
    }

    /// Lets time pass: calls that wait give up after `max.block.ms`, records without an outcome after `delivery.timeout.ms`, as
    /// [`Outcome::NotWritten`].
    pub fn advance(&self, time: Duration) {
        let now_ms = self.shared.clock.advance(u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4096));
        let mut state = self.mock.state.lock();
        let State { pending, due, .. } = &mut *state;
        let (expired, waiting) = pending.drain(..).partition(|batch| batch.expiry_ms() <= now_ms);
        *pending = waiting;
        let expired: VecDeque<Batch> = expired;
        let verdict = Verdict::Fail(Outcome::NotWritten, Reason::Expired);
        due.extend(expired.into_iter().map(|batch| (batch, verdict.clone())));
        drop(state);
        self.mock.resolve(&self.shared);
        self.shared.timers.fire(now_ms);
    }

    /// Copies of all records that were accepted, in that order, as they were sent: after interceptors and serializers, with
    /// partition and timestamp. It grows until [`clear`](Self::clear).
    #[must_use]
    pub fn history(&self) -> Vec<Record> {
        self.mock.state.lock().history.clone()
    }

    /// Records without an outcome.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.mock.state.lock().pending.len()
    }

    /// Whether every record has its outcome, as after a flush.
    #[must_use]
    pub fn flushed(&self) -> bool {
        self.shared.accumulator.counts().pending == 0
    }

    /// Whether the producer was closed, or all its handles are gone.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.shared.lifecycle.is_closed()
    }

    /// Begins anew: the history is empty, nothing is planned, and records without an outcome are purged. Topics and offsets stay.
    pub fn clear(&self) {
        let mut state = self.mock.state.lock();
        state.history.clear();
        state.planned.clear();
        state.refusals.clear();
        state.decide_all(&Verdict::Fail(Outcome::NotWritten, Reason::Purged));
        drop(state);
        self.mock.resolve(&self.shared);
    }

    fn decide_next(&self, verdict: Verdict) -> bool {
        let is_there = {
            let mut state = self.mock.state.lock();
            let next = state.pending.pop_front();
            let is_there = next.is_some();
            state.due.extend(next.map(|batch| (batch, verdict)));
            is_there
        };
        self.mock.resolve(&self.shared);
        is_there
    }
}

impl std::fmt::Debug for MockProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MockProducer")
            .field("pending", &self.pending())
            .field("closed", &self.closed())
            .finish()
    }
}

/// What plays the sender.
#[derive(Default)]
pub(crate) struct Mock {
    state: Mutex<State>,
    /// Held while a snapshot is made.
    topics: Mutex<()>,
}

#[derive(Default)]
struct State {
    is_manual: bool,
    default_partitions: Option<u32>,
    /// Accepted, and without a verdict; oldest first. Bounded by `buffer.memory`.
    pending: VecDeque<Batch>,
    /// Have a verdict that is not told yet.
    due: VecDeque<(Batch, Verdict)>,
    /// A thread tells what is due: the only one, so that outcomes are told in order.
    is_resolving: bool,
    /// For records to come.
    planned: VecDeque<Verdict>,
    refusals: VecDeque<Refusal>,
    history: Vec<Record>,
    next_offsets: BTreeMap<(Arc<str>, i32), i64>,
    /// While the producer closes.
    report: Option<CloseReport>,
    has_ended: bool,
}

#[derive(Debug, Clone)]
enum Verdict {
    Ack,
    Fail(Outcome, Reason),
}

impl State {
    fn decide_all(&mut self, verdict: &Verdict) -> usize {
        let decided = self.pending.len();
        self.due.extend(self.pending.drain(..).map(|batch| (batch, verdict.clone())));
        decided
    }

    fn result(&mut self, batch: &Batch, verdict: Verdict, acks: Acks) -> BatchResult {
        match verdict {
            Verdict::Ack if acks == Acks::None => BatchResult::HandedOver,
            Verdict::Ack => {
                let partition = batch.partition();
                let next =
                    self.next_offsets.entry((partition.topic_name().clone(), partition.index())).or_default();
                let base_offset = *next;
                *next += i64::from(batch.record_count());
                BatchResult::Acked { base_offset, log_append_time: -1 }
            }
            Verdict::Fail(outcome, reason) => BatchResult::Failed(Arc::new(BatchFailure {
                outcome,
                reason,
                message: None,
                record_errors: Vec::new(),
                attempts: u32::from(matches!(reason, Reason::Broker(_))),
            })),
        }
    }
}

impl Mock {
    /// A turn of the sender: takes what was sent, and does what was asked for. Call it without any lock held.
    pub(crate) fn play(&self, shared: &Shared) {
        let mut taken = Vec::new();
        {
            let mut state = self.state.lock();
            shared.accumulator.abort_all(&mut taken);
            for batch in taken {
                state.history.extend(batch.records(bytes_max(shared)));
                match state.planned.pop_front() {
                    Some(verdict) => state.due.push_back((batch, verdict)),
                    None if state.is_manual => state.pending.push_back(batch),
                    None => state.due.push_back((batch, Verdict::Ack)),
                }
            }
        }
        if let Some(wishes) = shared.commands.take() {
            wishes.warm_ups.iter().for_each(|(number, _)| shared.commands.end_warm_up(*number));
            if let Some(wish) = wishes.purge {
                let report = self.purge(wish.queued, shared);
                wish.finish(report);
            }
            if let Some(CloseWish { deadline_ms }) = wishes.close {
                let mut state = self.state.lock();
                let is_over = deadline_ms.is_some_and(|at| at <= shared.clock.last_ms());
                let verdict = match is_over {
                    true => Verdict::Fail(Outcome::NotWritten, Reason::Closed),
                    false => Verdict::Ack, // as a cluster does that is well
                };
                state.report.get_or_insert_default();
                state.decide_all(&verdict);
            }
        }
        self.resolve(shared);
    }

    /// A flush acknowledges what waits.
    pub(crate) fn flush(&self, shared: &Shared) {
        self.state.lock().decide_all(&Verdict::Ack);
        self.play(shared);
    }

    /// A call that is to be refused.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.state.lock().refusals.pop_front()
    }

    /// Every topic exists.
    pub(crate) fn make_known(&self, shared: &Shared, topic: &str) {
        let snapshot = shared.metadata.snapshot();
        if !snapshot.topics.contains_key(topic) && !snapshot.errors.contains_key(topic) {
            let partitions = self.state.lock().default_partitions.unwrap_or(1);
            self.publish(shared, |topics| grow(topics, topic, partitions));
        }
    }

    /// A new picture of the cluster.
    fn publish(&self, shared: &Shared, change: impl FnOnce(&mut Snapshot)) {
        let one_at_a_time = self.topics.lock();
        let old = shared.metadata.snapshot();
        let broker = || BrokerNode { host: "mock".into(), port: 9092, rack: None };
        let mut snapshot = Snapshot {
            version: old.version + 1,
            cluster_id: Some("mock".into()),
            brokers: BTreeMap::new(),
            topics: old.topics.clone(),
            errors: old.errors.clone(),
        };
        change(&mut snapshot);
        let leaders = snapshot.topics.values().flat_map(|topic| topic.partitions.iter());
        snapshot.brokers =
            leaders.filter_map(|led| led.leader).chain([NODE]).map(|id| (id, broker())).collect();
        let grown = shared.accumulator.take_over(&snapshot);
        shared.metadata.replace(Arc::new(snapshot));
        drop(one_at_a_time);
        // Both run code of others, which may name another topic.
        log_growth(&grown);
        shared.metadata.wake_all();
    }

    fn purge(&self, queued: bool, shared: &Shared) -> PurgeReport {
        let mut report = PurgeReport::default();
        if !queued {
            return report; // nothing is ever in flight
        }
        let mut state = self.state.lock();
        let verdict = Verdict::Fail(Outcome::NotWritten, Reason::Purged);
        for batch in std::mem::take(&mut state.pending) {
            report.not_written += u64::from(batch.record_count());
            if let BatchResult::Failed(failure) = state.result(&batch, verdict.clone(), Acks::All) {
                report.undelivered.extend(Undelivered::of(&batch, &failure, bytes_max(shared)));
            }
            state.due.push_back((batch, verdict.clone()));
        }
        report
    }

    /// Tells what is due, in order. If another thread does, or this one further up, it is left to that.
    fn resolve(&self, shared: &Shared) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_resolving, true) {
            return;
        }
        while let Some((batch, verdict)) = state.due.pop_front() {
            let result = state.result(&batch, verdict, shared.config.acks);
            if let Some(report) = &mut state.report {
                let records = u64::from(batch.record_count());
                match &result {
                    BatchResult::Acked { .. } => report.acked += records,
                    BatchResult::HandedOver => report.handed_over += records,
                    BatchResult::Failed(failure) => {
                        match failure.outcome {
                            Outcome::NotWritten => report.not_written += records,
                            Outcome::Unknown => report.unknown += records,
                        }
                        report.undelivered.extend(Undelivered::of(&batch, failure, bytes_max(shared)));
                    }
                }
            }
            drop(state);
            shared.accumulator.complete(batch, result);
            state = self.state.lock();
        }
        state.is_resolving = false;
        let report = if state.has_ended { None } else { state.report.take() };
        state.has_ended |= report.is_some();
        drop(state);
        if let Some(report) = report {
            turn::end(None, shared, report);
        }
    }
}

/// Gives a topic at least so many partitions.
fn grow(cluster: &mut Snapshot, topic: &str, partitions: u32) {
    cluster.errors.remove(topic);
    let name: Arc<str> = topic.into();
    let new =
        || Arc::new(TopicMetadata { name: name.clone(), id: Default::default(), partitions: Vec::new() });
    let known = Arc::make_mut(cluster.topics.entry(name.clone()).or_insert_with(new));
    let led = PartitionMetadata {
        leader: Some(NODE),
        leader_epoch: 0,
        sure_epoch: 0,
        replicas: vec![NODE],
        in_sync: vec![NODE],
    };
    let partitions = known.partitions.len().max(partitions.max(1) as usize);
    known.partitions.resize(partitions, led);
}

/// What a record may grow to when it is read.
fn bytes_max(shared: &Shared) -> usize {
    shared.config.max_request_size.max(shared.config.batch_size_max())
}
