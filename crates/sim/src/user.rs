//! Users of the producer: tasks that send in every way there is, wait or do not, change their minds, flush, purge, ask and close.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use rohrpost::{
    CloseReport, Delivery, ErrorCode, Outcome, Producer, PurgeReport, Reason, Record, Refusal, SendError,
    Topic,
};

use crate::cluster::Fault;
use crate::history::{History, Id, Told};
use crate::plan::{Ending, Partition, Plan, Style, UserPlan, WorldFault};
use crate::tasks::Clock;
use crate::trace::Trace;
use crate::world::RECOVERY_MS;

/// What all users share.
pub struct Stage {
    /// Their time.
    pub clock: Rc<Clock>,
    /// What they did and saw.
    pub history: RefCell<History>,
    /// What happened.
    pub trace: Rc<Trace>,
    /// `None` once it was closed or dropped.
    pub producer: RefCell<Option<Producer>>,
    /// Callbacks run on the sender's side; taken in after each of its steps.
    pub callbacks: Arc<Mutex<Vec<(Id, Told)>>>,
    /// Names of the plan's topics.
    pub topics: Vec<String>,
    /// acks=0: an outcome says no more than that it was handed over.
    pub acks_none: bool,
    /// What close said.
    pub closed: RefCell<Option<CloseReport>>,
    /// Users that still send.
    pub sending: Cell<usize>,
    /// No user begins to send a record after this moment.
    pub stop_ms: u64,
}

impl Stage {
    /// Takes in what callbacks told since the last call.
    pub fn take_callbacks(&self) {
        let told = std::mem::take(&mut *self.callbacks.lock().unwrap_or_else(PoisonError::into_inner));
        for (id, told) in told {
            self.trace.note("callback", u64::from(id), 0, || format!("record {id}: {told:?}"));
            self.history.borrow_mut().called_back(id, told, self.clock.now_ms());
        }
    }

    fn producer(&self) -> Option<Producer> {
        self.producer.borrow().clone()
    }

    fn accepted(&self, id: Id) -> u32 {
        self.trace.note("accepted", u64::from(id), 0, || format!("record {id}"));
        self.history.borrow_mut().accepted(id, self.clock.now_ms())
    }

    fn told(&self, id: Id, told: Told) {
        self.trace.note("told", u64::from(id), 0, || format!("record {id}: {told:?}"));
        self.history.borrow_mut().told(id, told);
    }

    fn violation(&self, kind: &'static str, text: String) {
        self.history.borrow_mut().violation(kind, text);
    }

    fn callback(
        &self,
        id: Id,
    ) -> impl FnOnce(Result<rohrpost::Delivered, rohrpost::DeliveryError>) + Send + 'static {
        let (callbacks, acks_none) = (self.callbacks.clone(), self.acks_none);
        move |result| {
            let told = Told::of(&result, acks_none);
            callbacks.lock().unwrap_or_else(PoisonError::into_inner).push((id, told));
        }
    }
}

/// A record's value: its id, and bytes that follow from it.
pub fn value(id: Id, len: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(len.max(4));
    value.extend_from_slice(&id.to_be_bytes());
    let mut word = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while value.len() < len {
        // Half of it repeats itself, so that there is something to compress.
        word = if value.len() & 64 == 0 {
            word.rotate_left(8)
        } else {
            word.wrapping_mul(0x5851_f42d_4c95_7f2d)
        };
        value.extend_from_slice(&word.to_be_bytes()[..8.min(len - value.len())]);
    }
    value
}

/// The id in a value.
pub fn id_of(value: &[u8]) -> Option<Id> {
    value.first_chunk().map(|bytes| Id::from_be_bytes(*bytes))
}

/// A user's life.
pub async fn run(stage: Rc<Stage>, plan: UserPlan) {
    let mut user =
        User { rng: fastrand::Rng::with_seed(plan.seed), stage, plan, handles: Vec::new(), mine: Vec::new() };
    user.run().await;
    user.stage.sending.set(user.stage.sending.get() - 1);
    if user.plan.waits_at_the_end {
        while let Some(number) = user.mine.pop() {
            user.wait_for(number).await;
        }
    }
}

struct User {
    stage: Rc<Stage>,
    plan: UserPlan,
    rng: fastrand::Rng,
    handles: Vec<(usize, Topic)>,
    /// Numbers of the records whose handles it kept.
    mine: Vec<u32>,
}

impl User {
    async fn run(&mut self) {
        self.sleep(self.plan.start_ms).await;
        for n in 1..=self.plan.records {
            if n % self.plan.burst == 0 {
                let pause_ms = self.plan.pause_ms;
                let ms = self.rng.u64(pause_ms / 2..=pause_ms + pause_ms / 2);
                self.sleep(ms).await;
            }
            if self.stage.clock.now_ms() > self.stage.stop_ms {
                return;
            }
            let Some(producer) = self.stage.producer() else { return };
            if !self.send_one(&producer).await {
                return;
            }
            if self.mine.len() > self.plan.window {
                let number = self.mine.remove(0);
                self.wait_for(number).await;
            }
            let every = |often: u32| often > 0 && n % often == 0;
            if every(self.plan.flush_every) {
                self.flush(&producer).await;
            }
            if every(self.plan.purge_every) {
                let (queued, in_flight) = (self.rng.bool(), self.rng.bool());
                self.stage.trace.note("purge", u64::from(queued), u64::from(in_flight), String::new);
                self.stage.history.borrow_mut().count("purges");
                let report = producer.purge(queued, in_flight);
                if let Some(report) = self.may_cancel(report).await {
                    self.purged(&report);
                }
            }
            if every(self.plan.ask_every) {
                let topic = self.topic();
                let _ = self.may_cancel(producer.partitions_for(&self.stage.topics[topic].clone())).await;
            }
        }
    }

    /// FLU-4: what a purge hands back is what it has dropped.
    fn purged(&self, report: &PurgeReport) {
        let (dropped, back) = (report.not_written + report.unknown, report.undelivered.len() as u64);
        if back > dropped {
            self.stage.violation("purge counts", format!("{back} records are given back, {report:?}"));
        }
        for undelivered in &report.undelivered {
            let Some(id) = undelivered.record().value_bytes().and_then(|value| id_of(value)) else {
                continue;
            };
            self.stage.history.borrow_mut().purged.push((id, undelivered.outcome()));
        }
    }

    async fn sleep(&self, ms: u64) {
        self.stage.clock.sleep(ms).await;
    }

    fn topic(&mut self) -> usize {
        self.plan.topics[self.rng.usize(0..self.plan.topics.len())]
    }

    /// Sends a record. False if there is no use in going on.
    async fn send_one(&mut self, producer: &Producer) -> bool {
        let topic = self.topic();
        let name = self.stage.topics[topic].clone();
        let (mut partition, mut key) = (None, None);
        match self.plan.partition {
            Partition::Sticky => {}
            Partition::Keyed(keys) => key = Some(self.rng.u16(0..keys)),
            Partition::Explicit(partitions) => partition = Some(self.rng.i32(0..partitions)),
        }
        let (least, most) = self.plan.sizes;
        let is_large = self.rng.u32(0..1000) < self.plan.large_permille;
        let len =
            if is_large { self.rng.usize(most..=self.plan.large) } else { self.rng.usize(least..=most) };
        let style = self.plan.styles[self.rng.usize(0..self.plan.styles.len())];
        let id = self.stage.history.borrow_mut().record(topic, partition, key, len);
        let mut record = Record::to(&name).value(value(id, len));
        if let Some(key) = key {
            record = record.key(key.to_be_bytes().to_vec());
        }
        if let Some(number) = partition {
            record = match record.partition(number) {
                Ok(record) => record,
                Err(error) => {
                    self.stage.violation("refused", format!("partition {number}: {error}"));
                    return true;
                }
            };
        }
        self.stage.trace.note("send", u64::from(id), topic as u64, || {
            format!("record {id} of {len} bytes to {name}, {partition:?}, {style:?}")
        });
        // A wait for a partition that is not there has its own line (PRE-2).
        let queues = partition.is_none();
        let sent = match style {
            Style::Name => {
                let line = Line::of(&self.stage, topic, queues);
                self.may_cancel(line.then(producer.send(record))).await.map(|result| result.map(Some).into())
            }
            Style::Handle => {
                let Some(handle) = self.handle(producer, topic).await else { return true };
                let line = Line::of(&self.stage, topic, queues);
                self.may_cancel(line.then(handle.send(record))).await.map(|result| result.map(Some).into())
            }
            Style::Callback => {
                self.stage.history.borrow_mut().lives[id as usize].callbacks = Some(0);
                let callback = self.stage.callback(id);
                let line = Line::of(&self.stage, topic, queues);
                let result = self.may_cancel(line.then(producer.send_with(record, callback))).await;
                result.map(|result| result.map(|()| None).into())
            }
            Style::Try => Some(producer.try_send(record).map(Some).into()),
            Style::Permit => self.send_with_permit(producer, topic, record).await,
        };
        match sent {
            None => {
                self.stage.trace.note("cancelled", u64::from(id), 0, || format!("record {id}"));
                self.stage.history.borrow_mut().count("cancelled");
                true
            }
            Some(Sent::Accepted(delivery)) => {
                let number = self.stage.accepted(id);
                if let Some(delivery) = delivery {
                    self.keep(id, number, delivery);
                }
                true
            }
            Some(Sent::Refused { record, why }) => {
                // CMPL-7: the record comes back.
                let back = record.as_ref().map(|record| record.value_bytes().and_then(|value| id_of(value)));
                if back.is_some_and(|back| back != Some(id)) {
                    self.stage.violation("another record came back", format!("{back:?} for {id}"));
                }
                self.refused(id, &why).await
            }
        }
    }

    async fn send_with_permit(&mut self, producer: &Producer, topic: usize, record: Record) -> Option<Sent> {
        let name = self.stage.topics[topic].clone();
        let line = Line::of(&self.stage, topic, true);
        let permit = match self.may_cancel(line.then(producer.reserve(&name, record.size()))).await? {
            Ok(permit) => permit,
            Err(why) => return Some(Sent::Refused { record: None, why: Box::new(why) }),
        };
        let ms = self.rng.u64(0..20);
        if ms > 15 {
            self.sleep(ms).await;
        }
        if self.rng.u32(0..20) == 0 {
            return None;
        }
        Some(match permit.send(record) {
            Ok(delivery) => Sent::Accepted(Some(delivery)),
            Err(error) => {
                let (record, _permit, why) = error.into_parts();
                Sent::Refused { record: Some(Box::new(record)), why: Box::new(why) }
            }
        })
    }

    async fn refused(&mut self, id: Id, refusal: &Refusal) -> bool {
        let name = match refusal {
            Refusal::Closed => "closed",
            Refusal::Fatal { .. } => "fatal",
            Refusal::UnknownTopic { .. } => "unknown topic",
            Refusal::TopicRefused { .. } => "topic refused",
            Refusal::UnknownPartition { .. } => "unknown partition",
            Refusal::RecordTooLarge { .. } => "record too large",
            Refusal::BufferExhausted { .. } => "no room",
            Refusal::Full => "full",
            Refusal::NotKnownYet(_) => "not known yet",
            other => {
                self.stage.violation("wrong refusal", format!("record {id}: {other:?}"));
                "wrong"
            }
        };
        self.stage.trace.note("refused", u64::from(id), 0, || format!("record {id}: {refusal:?}"));
        self.stage.history.borrow_mut().count(&format!("refused: {name}"));
        match name {
            "closed" | "fatal" => return false,
            "full" | "not known yet" | "no room" => {
                let ms = self.rng.u64(5..200);
                self.sleep(ms).await;
            }
            _ => {}
        }
        true
    }

    async fn handle(&mut self, producer: &Producer, topic: usize) -> Option<Topic> {
        if let Some((_, handle)) = self.handles.iter().find(|(number, _)| *number == topic) {
            return Some(handle.clone());
        }
        let name = self.stage.topics[topic].clone();
        let handle = self.may_cancel(producer.topic(&name)).await?.ok()?;
        self.handles.push((topic, handle.clone()));
        Some(handle)
    }

    fn keep(&mut self, id: Id, number: u32, delivery: Delivery) {
        if self.rng.u32(0..100) < self.plan.drops_percent {
            drop(delivery);
            return;
        }
        self.stage.history.borrow_mut().kept.insert(number, (id, delivery));
        self.mine.push(number);
    }

    /// Waits for the outcome of a record whose handle was kept.
    async fn wait_for(&mut self, number: u32) {
        let Some((id, mut delivery)) = self.stage.history.borrow_mut().kept.remove(&number) else { return };
        let told = match self.may_cancel(&mut delivery).await {
            Some(result) => result,
            None if self.rng.bool() => return,
            // CMPL-2: a poll that was dropped loses nothing.
            None => delivery.await,
        };
        self.stage.told(id, Told::of(&told, self.stage.acks_none));
    }

    async fn flush(&mut self, producer: &Producer) {
        let pending = producer.metrics().records_pending;
        let before = self.stage.history.borrow().accepted;
        self.stage.trace.note("flush", pending, 0, || format!("{pending} records are pending"));
        let Some(result) = self.may_cancel(producer.flush()).await else { return };
        let Ok(report) = result else {
            self.stage.violation("flush failed", format!("{result:?}"));
            return;
        };
        self.stage.history.borrow_mut().count("flushes");
        self.stage.take_callbacks();
        let reported = report.acked + report.handed_over + report.not_written + report.unknown;
        if reported != pending {
            self.stage.violation("flush counts", format!("{pending} records were pending, {report:?}"));
        }
        // FLU-1
        let history = self.stage.history.borrow();
        let open = history.kept.range(..before).find(|(_, (_, delivery))| !delivery.is_done());
        let open = open.map(|(_, (id, _))| *id);
        let silent = history.lives.iter().position(|life| {
            life.callbacks == Some(0) && life.accepted.is_some_and(|(number, _)| number < before)
        });
        drop(history);
        if let Some(id) = open.or(silent.map(|id| id as Id)) {
            self.stage.violation(
                "flush ended early",
                format!("record {id} was accepted before it and has no outcome"),
            );
        }
    }

    /// The future's output; or `None`, because the user changed its mind: after some polls, or after some time.
    async fn may_cancel<F: Future>(&mut self, future: F) -> Option<F::Output> {
        if self.rng.u32(0..100) >= self.plan.cancel_percent {
            return Some(future.await);
        }
        let polls_max = self.rng.u32(0..4);
        let ms = self.rng.u64(0..400);
        let mut sleep = pin!(self.stage.clock.sleep(ms));
        let mut future = pin!(future);
        let mut polls = 0;
        poll_fn(|cx| {
            if polls == polls_max {
                return Poll::Ready(None);
            }
            polls += 1;
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            sleep.as_mut().poll(cx).map(|()| None)
        })
        .await
    }
}

/// What came of a call.
enum Sent {
    /// With a handle, if there is no callback.
    Accepted(Option<Delivery>),
    Refused {
        record: Option<Box<Record>>,
        why: Box<Refusal>,
    },
}

impl From<Result<Option<Delivery>, SendError>> for Sent {
    fn from(result: Result<Option<Delivery>, SendError>) -> Sent {
        match result {
            Ok(delivery) => Sent::Accepted(delivery),
            Err(error) => {
                let (record, why) = error.into_parts();
                Sent::Refused { record: Some(Box::new(record)), why: Box::new(why) }
            }
        }
    }
}

/// A call's place among those of its topic, from its first poll to its end (BUF-4).
struct Line {
    stage: Rc<Stage>,
    topic: usize,
    queues: bool,
    ticket: Option<u64>,
}

impl Line {
    fn of(stage: &Rc<Stage>, topic: usize, queues: bool) -> Line {
        Line { stage: stage.clone(), topic, queues, ticket: None }
    }

    async fn then<T, E, F: Future<Output = Result<T, E>>>(mut self, future: F) -> Result<T, E> {
        if self.queues {
            self.ticket = Some(self.stage.history.borrow_mut().enter(self.topic));
        }
        let result = future.await;
        if let Some(ticket) = self.ticket.take() {
            let now_ms = self.stage.clock.now_ms();
            self.stage.history.borrow_mut().leave(self.topic, ticket, result.is_ok(), now_ms);
        }
        result
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let now_ms = self.stage.clock.now_ms();
            self.stage.history.borrow_mut().leave(self.topic, ticket, false, now_ms);
        }
    }
}

/// When all has been well for long enough, one more record goes to every partition: no partition is stuck.
async fn probe(stage: &Rc<Stage>, plan: &Plan, producer: &Producer) {
    let deleted = |topic: &str| {
        plan.faults.iter().any(|fault| {
            matches!(&fault.what, WorldFault::Cluster(Fault::DeleteTopic { topic: name }) if name == topic)
        })
    };
    let begin_ms = plan.heal_ms + RECOVERY_MS;
    stage.clock.sleep(begin_ms.saturating_sub(stage.clock.now_ms())).await;
    // What stands before them goes first: with tiny batches, one record in each request. A record that joined a batch of it would have its
    // age, and could expire with it.
    let begin_ms = stage.clock.now_ms();
    // A connection may have died unnoticed.
    let soon_ms = PROBE_MS + plan.number("request.timeout.ms", 30_000);
    let pending = producer.metrics().records_pending;
    let _ = producer.flush().await;
    let took_ms = stage.clock.now_ms() - begin_ms;
    if took_ms > soon_ms + pending * ROUND_MS {
        let text = format!(
            "long after all is well {pending} records are pending, and it takes {took_ms} ms until they are not"
        );
        stage.violation("stuck", text);
    }
    let mut sent = Vec::new();
    for (number, topic) in plan.cluster.topics.iter().enumerate().filter(|(_, topic)| !deleted(&topic.name)) {
        for partition in 0..topic.partitions {
            let name = format!("{}-{partition}", topic.name);
            let id = stage.history.borrow_mut().record(number, Some(partition), None, PROBE_LEN);
            // A topic that nobody has sent to has to be asked for first, and max.block.ms may be short.
            for tries_left in (0..PROBE_TRIES).rev() {
                let record = Record::to(topic.name.as_str()).value(value(id, PROBE_LEN)).partition(partition);
                let Ok(record) = record else { return };
                match producer.send(record).await {
                    Ok(delivery) => {
                        stage.accepted(id);
                        sent.push((name, id, delivery));
                        break;
                    }
                    // What ended the producer is told by the other records.
                    Err(error) if matches!(error.reason(), Refusal::Closed | Refusal::Fatal { .. }) => return,
                    Err(error) if tries_left == 0 => {
                        stage.violation("stuck", format!("{name}, long after all is well: {error}"));
                        break;
                    }
                    Err(_) => stage.clock.sleep(PROBE_MS / u64::from(PROBE_TRIES)).await,
                }
            }
        }
    }
    let begin_ms = stage.clock.now_ms();
    let soon_ms = soon_ms + sent.len() as u64 * ROUND_MS;
    for (name, id, delivery) in sent {
        let told = Told::of(&delivery.await, stage.acks_none);
        stage.told(id, told);
        let took_ms = stage.clock.now_ms() - begin_ms;
        let is_told_why = told.reason() == Some(Reason::Broker(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE));
        let goes_on = matches!(told, Told::Acked { .. } | Told::HandedOver { .. }) || is_told_why;
        if !goes_on || took_ms > soon_ms {
            stage.violation("stuck", format!("{name}, long after all is well: {told:?} after {took_ms} ms"));
        }
    }
}

/// Bytes of a record that asks whether a partition goes on.
const PROBE_LEN: usize = 20;
/// What such a record may take: linger, connections that are to be made again, metadata.
pub const PROBE_MS: u64 = 5_000;
/// What a request may take when all is well: followers ask when they please.
const ROUND_MS: u64 = 500;
/// How often it is tried to send one.
const PROBE_TRIES: u32 = 10;

/// Ends the producer, as the plan says.
pub async fn end(stage: Rc<Stage>, plan: Rc<Plan>) {
    if let Ending::CloseAt { at_ms, .. } = plan.ending {
        stage.clock.sleep(at_ms).await;
    } else {
        while stage.sending.get() > 0 {
            stage.clock.sleep(100).await;
        }
    }
    let timeout = match plan.ending {
        Ending::Drop => {
            stage.trace.note("drop", 0, 0, String::new);
            stage.producer.borrow_mut().take();
            return;
        }
        Ending::Close { timeout_ms } | Ending::CloseAt { timeout_ms, .. } => timeout_ms,
    };
    let Some(producer) = stage.producer() else { return };
    if timeout.is_none() && !matches!(plan.ending, Ending::CloseAt { .. }) {
        probe(&stage, &plan, &producer).await;
    }
    let pending = producer.metrics().records_pending;
    let timeout = timeout.map_or(Duration::MAX, Duration::from_millis);
    stage.trace.note("close", pending, 0, || format!("{pending} records are pending, {timeout:?}"));
    stage.history.borrow_mut().closes(stage.clock.now_ms());
    let report = producer.close(timeout).await;
    drop(producer);
    stage.producer.borrow_mut().take();
    stage.take_callbacks();
    // FLU-6
    let reported = report.acked + report.handed_over + report.not_written + report.unknown;
    if reported != pending {
        stage.violation("close counts", format!("{pending} records were pending, {report:?}"));
    }
    // What was purged before the close and is told after it, in its order (CMPL-3), is in the purge's report: only counted.
    let lost = report.undelivered.len() as u64;
    let failed = report.not_written + report.unknown;
    let has_purged = stage.history.borrow().counts.contains_key("purges");
    if lost > failed || lost < failed && !has_purged {
        stage.violation(
            "undelivered records",
            format!("{lost} are given back, {} not written, {} unknown", report.not_written, report.unknown),
        );
    }
    for undelivered in &report.undelivered {
        let id = undelivered.record().value_bytes().and_then(|value| id_of(value));
        let history = stage.history.borrow();
        let told = id.and_then(|id| history.lives.get(id as usize)).and_then(|life| life.told);
        let agrees = match (told, undelivered.outcome()) {
            (None, _) => true,
            (Some(Told::NotWritten { .. }), outcome) => outcome == Outcome::NotWritten,
            (Some(Told::Unknown { .. }), outcome) => outcome == Outcome::Unknown,
            (Some(_), _) => false,
        };
        drop(history);
        if !agrees || id.is_none() {
            stage.violation(
                "undelivered records",
                format!("record {id:?} was told {told:?}, {undelivered:?}"),
            );
        }
    }
    *stage.closed.borrow_mut() = Some(report);
}
