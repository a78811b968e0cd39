//! Sending: everything between the application's call and the append.
//!
//! A call resolves the topic, checks the record, and appends it; on a warm topic with room that is all, and the future is done
//! at its first poll, without an allocation. Otherwise it takes a place in the line and waits, first for metadata and then for room,
//! with one deadline for both (PRE-3). A future can be dropped at any moment: then nothing has happened, and its place, its
//! memory and its timers are given back (BUF-8).
//!
//! Order: records of one topic are appended in the order in which their `send` was first polled, or their `try_send` or
//! `permit.send` was called. A permit has its room already, so `permit.send` does not queue behind senders that wait for theirs.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rohrpost_protocol::ErrorCode;

use crate::accumulator::{Append, Candidate, Chunk, TopicState, Turn};
use crate::delivery::{Callback, Delivery, run_callback};
use crate::metadata::{Lookup, WaitKey};
use crate::outcome::{Delivered, DeliveryError, Refusal, SendError};
use crate::producer::{Producer, Shared};
use crate::record::{Record, is_valid_topic_name};
use crate::wait::{self, TimerKey};

impl Producer {
    /// Accepts a record: waits for the topic's metadata and for room, at most `max.block.ms`, and never for the broker.
    ///
    /// Cancel safe: dropped before it is done, it has sent nothing. Its place among the senders of its topic is that of its first
    /// poll.
    ///
    /// # Errors
    /// Whatever keeps the record from being accepted, with the record (CMPL-7). What happens later is the `Delivery`'s.
    pub fn send(&self, record: Record) -> SendFuture<'_> {
        SendFuture(Sending::new(self.shared(), None, record, None))
    }

    /// [`send`](Producer::send) with a callback instead of a handle.
    ///
    /// The callback runs once: with the record's outcome, on the sender's thread, in order per partition (CMPL-3), or, if the record
    /// is not accepted, on this thread before the call returns its error (CMPL-5). It should be quick; a call inside it that would have
    /// to wait fails (CMPL-6). If the future is dropped before it is done, the callback never runs. Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Producer::send).
    pub async fn send_with(
        &self,
        record: Record,
        callback: impl FnOnce(Result<Delivered, DeliveryError>) + Send + 'static,
    ) -> Result<(), SendError> {
        Sending::new(self.shared(), None, record, Some(Box::new(callback))).await.map(drop)
    }

    /// Accepts a record if that is possible at once. It never waits, and never overtakes a `send` of its topic that does.
    ///
    /// # Errors
    /// [`Refusal::Full`] without room, [`Refusal::NotKnownYet`] without metadata (which is asked for), or as
    /// [`send`](Producer::send); always with the record.
    pub fn try_send(&self, record: Record) -> Result<Delivery, SendError> {
        try_send(self.shared(), None, record, None).and_then(handle)
    }

    /// [`try_send`](Producer::try_send) with a callback, as in [`send_with`](Producer::send_with).
    ///
    /// # Errors
    /// As [`try_send`](Producer::try_send); the callback has then run.
    pub fn try_send_with(
        &self,
        record: Record,
        callback: impl FnOnce(Result<Delivered, DeliveryError>) + Send + 'static,
    ) -> Result<(), SendError> {
        try_send(self.shared(), None, record, Some(Box::new(callback))).map(drop)
    }

    /// [`send`](Producer::send) for plain threads. Do not call it on an executor's thread.
    ///
    /// # Errors
    /// As [`send`](Producer::send).
    pub fn send_blocking(&self, record: Record) -> Result<Delivery, SendError> {
        wait::block_on(self.send(record))
    }

    /// Reserves room for one record of at most `bytes` ([`Record::size`]): waits for the topic's metadata, then for room, first
    /// come, first served. The permit then sends in one synchronous step.
    ///
    /// Cancel safe: dropped, it gives its place and its room back. It waits at most `max.block.ms`.
    ///
    /// # Errors
    /// Whatever keeps a record of that size from being accepted.
    pub async fn reserve(&self, topic: impl AsRef<str>, bytes: usize) -> Result<Permit, Refusal> {
        let shared = self.shared();
        shared.check_open()?;
        shared.check_size(bytes)?;
        let name = topic.as_ref();
        let topic = shared.topic_or_new(name)?;
        reserve(shared, topic, bytes).await
    }

    /// [`reserve`](Producer::reserve) for plain threads.
    ///
    /// # Errors
    /// As [`reserve`](Producer::reserve).
    pub fn reserve_blocking(&self, topic: impl AsRef<str>, bytes: usize) -> Result<Permit, Refusal> {
        wait::block_on(self.reserve(topic, bytes))
    }

    /// A handle of a topic: its metadata waited for, at most `max.block.ms`, and the topic looked up once instead of with each
    /// record. Cancel safe.
    ///
    /// # Errors
    /// The topic does not exist, its name is invalid, or this user may not write to it.
    pub async fn topic(&self, name: impl AsRef<str>) -> Result<Topic, Refusal> {
        let shared = self.shared();
        shared.check_open()?;
        let state = shared.topic_or_new(name.as_ref())?;
        let known = known_topic(shared, &state).await;
        match known {
            Ok(()) => Ok(Topic { producer: self.clone(), state }),
            Err(refusal) => {
                shared.accumulator.forget(&state);
                Err(refusal)
            }
        }
    }

    /// [`topic`](Producer::topic) for plain threads.
    ///
    /// # Errors
    /// As [`topic`](Producer::topic).
    pub fn topic_blocking(&self, name: impl AsRef<str>) -> Result<Topic, Refusal> {
        wait::block_on(self.topic(name))
    }
}

/// A topic looked up once: the way to send many records to one topic. Its calls are those of [`Producer`]; records need no topic.
///
/// Clones are cheap. A handle keeps its producer alive as a [`Producer`] does.
#[derive(Clone)]
pub struct Topic {
    producer: Producer,
    state: Arc<TopicState>,
}

impl Topic {
    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.name()
    }

    /// The producer.
    #[must_use]
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// As [`Producer::send`]. The record may name this topic, or none.
    #[inline]
    pub fn send(&self, record: Record) -> SendFuture<'_> {
        SendFuture(Sending::new(self.producer.shared(), Some(&self.state), record, None))
    }

    /// As [`Producer::send_with`].
    ///
    /// # Errors
    /// As [`Producer::send_with`].
    pub async fn send_with(
        &self,
        record: Record,
        callback: impl FnOnce(Result<Delivered, DeliveryError>) + Send + 'static,
    ) -> Result<(), SendError> {
        Sending::new(self.producer.shared(), Some(&self.state), record, Some(Box::new(callback)))
            .await
            .map(drop)
    }

    /// As [`Producer::try_send`].
    ///
    /// # Errors
    /// As [`Producer::try_send`].
    #[inline]
    pub fn try_send(&self, record: Record) -> Result<Delivery, SendError> {
        try_send(self.producer.shared(), Some(&self.state), record, None).and_then(handle)
    }

    /// As [`Producer::try_send_with`].
    ///
    /// # Errors
    /// As [`Producer::try_send_with`].
    pub fn try_send_with(
        &self,
        record: Record,
        callback: impl FnOnce(Result<Delivered, DeliveryError>) + Send + 'static,
    ) -> Result<(), SendError> {
        try_send(self.producer.shared(), Some(&self.state), record, Some(Box::new(callback))).map(drop)
    }

    /// As [`Producer::send_blocking`].
    ///
    /// # Errors
    /// As [`Producer::send_blocking`].
    pub fn send_blocking(&self, record: Record) -> Result<Delivery, SendError> {
        wait::block_on(self.send(record))
    }

    /// As [`Producer::reserve`].
    ///
    /// # Errors
    /// As [`Producer::reserve`].
    pub async fn reserve(&self, bytes: usize) -> Result<Permit, Refusal> {
        let shared = self.producer.shared();
        shared.check_open()?;
        shared.check_size(bytes)?;
        reserve(shared, self.state.clone(), bytes).await
    }

    /// As [`Producer::reserve_blocking`].
    ///
    /// # Errors
    /// As [`Producer::reserve_blocking`].
    pub fn reserve_blocking(&self, bytes: usize) -> Result<Permit, Refusal> {
        wait::block_on(self.reserve(bytes))
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name()).finish()
    }
}

/// Room for one record of one topic. Sending it is one synchronous step that cannot fail for want of room or metadata; dropping
/// the permit gives the room back. A permit counts against `buffer.memory` while it is held. `close` revokes it.
#[must_use = "a permit that is not used gives its room back"]
pub struct Permit {
    shared: Arc<Shared>,
    topic: Arc<TopicState>,
    chunk: Option<Chunk>,
    reserved: usize,
    /// The partitions the topic had.
    known: u32,
}

impl Permit {
    /// Accepts the record. Its place among the records of its partition is that of this call.
    ///
    /// # Errors
    /// The record is for another topic, larger than reserved, or for a partition that does not exist; or the producer is closed.
    /// Record, permit and reason come back (CMPL-7).
    pub fn send(self, record: Record) -> Result<Delivery, PermitError> {
        match self.commit(record, None) {
            Ok(Some(delivery)) => Ok(delivery),
            Ok(None) => unreachable!("a record without callback has a handle"),
            Err(error) => Err(error),
        }
    }

    /// [`send`](Permit::send) with a callback, as in [`Producer::send_with`].
    ///
    /// # Errors
    /// As [`send`](Permit::send); the callback has then run.
    pub fn send_with(
        self,
        record: Record,
        callback: impl FnOnce(Result<Delivered, DeliveryError>) + Send + 'static,
    ) -> Result<(), PermitError> {
        self.commit(record, Some(Box::new(callback))).map(drop)
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.topic.name()
    }

    /// The bytes reserved, as asked for.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    fn commit(mut self, record: Record, callback: Option<Callback>) -> Result<Option<Delivery>, PermitError> {
        let size = record.size();
        let mut candidate = Candidate {
            record: &record,
            size,
            callback,
            granted: None,
            goes_first: true,
            known_at_least: self.known,
        };
        let reason = if let Err(refusal) = self.shared.check_open() {
            refusal
        } else if let Err(refusal) = check_topic(&record, &self.topic) {
            refusal
        } else if size > self.reserved {
            Refusal::LargerThanReserved { size, reserved: self.reserved }
        } else {
            candidate.granted = self.chunk.take();
            match self.shared.accumulator.append(&self.topic, &mut candidate, &self.shared.clock) {
                Append::Done(delivery) => return Ok(delivery),
                Append::Beyond(partitions) => unknown_partition(&self.topic, &record, partitions, 0),
                Append::Closed => self.shared.closed(),
                Append::Cold | Append::Behind | Append::NoRoom => {
                    unreachable!("a permit has room, metadata, and nobody before it")
                }
            }
        };
        let callback = candidate.callback.take();
        if let Some(chunk) = candidate.granted.take() {
            self.chunk = Some(chunk);
        }
        refuse(callback, &record, Some(&self.topic), &reason);
        Err(PermitError(Box::new((record, self, reason))))
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("topic", &self.topic()).field("reserved", &self.reserved).finish()
    }
}

/// A record that a permit could not send, with the permit and the reason.
pub struct PermitError(Box<(Record, Permit, Refusal)>);

impl PermitError {
    /// Why the record was not accepted.
    #[must_use]
    pub fn reason(&self) -> &Refusal {
        &self.0.2
    }

    /// The record; the permit is given up.
    #[must_use]
    pub fn into_record(self) -> Record {
        self.0.0
    }

    /// Record, permit and reason.
    #[must_use = "the record and the permit can be used again"]
    pub fn into_parts(self) -> (Record, Permit, Refusal) {
        *self.0
    }
}

impl fmt::Display for PermitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

impl fmt::Debug for PermitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PermitError").field("reason", self.reason()).field("record", &self.0.0).finish()
    }
}

impl std::error::Error for PermitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.reason())
    }
}

/// A record on its way into the producer; see [`Producer::send`]. Cancel safe.
#[must_use = "futures do nothing unless polled: an unpolled send has sent nothing"]
pub struct SendFuture<'a>(Sending<'a>);

impl Future for SendFuture<'_> {
    type Output = Result<Delivery, SendError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.and_then(handle))
    }
}

impl fmt::Debug for SendFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").field("record", &self.0.record).finish()
    }
}

/// The future behind all forms of `send`.
struct Sending<'a> {
    shared: &'a Arc<Shared>,
    topic: Option<&'a Arc<TopicState>>,
    /// `None` when it is done.
    record: Option<Record>,
    callback: Option<Callback>,
    /// Only if it had to wait.
    place: Option<Box<Place>>,
}

impl<'a> Sending<'a> {
    #[inline]
    fn new(
        shared: &'a Arc<Shared>,
        topic: Option<&'a Arc<TopicState>>,
        record: Record,
        callback: Option<Callback>,
    ) -> Sending<'a> {
        Sending { shared, topic, record: Some(record), callback, place: None }
    }

    /// The first poll: appends the record, or takes a place in the line.
    #[inline]
    fn start(&mut self, waker: &Waker) -> Result<Option<Accepted>, Refusal> {
        let Sending { shared, topic, record, callback, place } = self;
        let Some(record) = record else { panic!("a send was polled after it had ended") };
        let found;
        let topic = match topic {
            Some(topic) => {
                check_topic(record, topic)?;
                *topic
            }
            None => {
                found = shared.topic_of(record)?;
                &found
            }
        };
        let size = record.size();
        shared.check_size(size)?;
        match shared.append_now(topic, record, size, callback) {
            Ok(Append::Done(delivery)) => return Ok(Some(delivery)),
            Ok(_) if !wait::in_callback() => {
                *place = Some(Box::new(Place::take(shared, topic, record.partition, size, waker)));
                return Ok(None);
            }
            refused => {
                shared.accumulator.forget(topic);
                refused?;
            }
        }
        Err(Refusal::WouldWait) // CMPL-6
    }

    /// Waits for the turn and appends.
    fn go_on(&mut self, waker: &Waker) -> Poll<Result<Accepted, Refusal>> {
        let (Some(place), Some(record)) = (&mut self.place, &self.record) else {
            unreachable!("a send that waits has a place and a record")
        };
        loop {
            match place.poll(waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(refusal)) => return Poll::Ready(Err(refusal)),
                Poll::Ready(Ok(())) => {}
            }
            let mut candidate = Candidate {
                record,
                size: place.size,
                callback: self.callback.take(),
                granted: place.granted.take(),
                goes_first: true,
                known_at_least: 0,
            };
            let append =
                self.shared.accumulator.append(&place.wait.topic, &mut candidate, &self.shared.clock);
            self.callback = candidate.callback.take();
            place.granted = candidate.granted.take();
            match append {
                Append::Done(delivery) => return Poll::Ready(Ok(delivery)),
                Append::Closed => return Poll::Ready(Err(self.shared.closed())),
                // The topic has vanished, or shrunk: wait for it again.
                Append::Cold | Append::Beyond(_) => {}
                Append::Behind | Append::NoRoom => unreachable!("it has its turn and its room"),
            }
        }
    }

    /// Ends without having accepted the record.
    #[cold]
    fn end(&mut self, refusal: Refusal) -> SendError {
        self.place = None;
        let Some(record) = self.record.take() else { unreachable!("the record was not accepted") };
        refuse(self.callback.take(), &record, self.topic, &refusal);
        SendError::new(record, refusal)
    }
}

/// An accepted record's handle; none if it has a callback.
type Accepted = Option<Delivery>;

impl Future for Sending<'_> {
    type Output = Result<Accepted, SendError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.place.is_none() {
            match this.start(cx.waker()) {
                Ok(Some(accepted)) => {
                    this.record = None;
                    return Poll::Ready(Ok(accepted));
                }
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(Err(this.end(refusal))),
            }
        }
        match this.go_on(cx.waker()) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(accepted)) => {
                this.record = None;
                this.place = None; // only now may the next in line go on
                Poll::Ready(Ok(accepted))
            }
            Poll::Ready(Err(refusal)) => Poll::Ready(Err(this.end(refusal))),
        }
    }
}

/// A send's place in the line. Gives everything back when dropped.
struct Place {
    wait: Wait,
    ticket: u64,
    partition: Option<i32>,
    size: usize,
    granted: Option<Chunk>,
}

impl Place {
    fn take(
        shared: &Arc<Shared>,
        topic: &Arc<TopicState>,
        partition: Option<i32>,
        size: usize,
        waker: &Waker,
    ) -> Place {
        let pool = shared.accumulator.pool();
        let ticket = pool.enter(topic, partition, pool.chunk_size(size, 0), topic.known(), waker);
        Place { wait: Wait::new(shared, topic), ticket, partition, size, granted: None }
    }

    /// Ready when it is this one's turn, and it has metadata and room (`granted`).
    fn poll(&mut self, waker: &Waker) -> Poll<Result<(), Refusal>> {
        let is_known =
            |known: u32| known > 0 && self.partition.is_none_or(|partition| (partition as u32) < known);
        if !is_known(self.wait.topic.known()) {
            self.wait.look(waker)?;
        }
        self.wait.shared.check_open()?;
        let known = self.wait.topic.known();
        let pool = self.wait.shared.accumulator.pool();
        let turn = pool.poll(self.ticket, &self.wait.topic, known, waker);
        if is_known(known) && turn == Turn::Go {
            self.granted = self.granted.take().or_else(|| pool.take_grant(self.ticket));
            return Poll::Ready(Ok(()));
        }
        if !self.wait.is_over(waker) {
            return Poll::Pending;
        }
        let (topic, waited_ms) = (self.wait.topic.name().to_string(), self.wait.shared.config.max_block_ms);
        Poll::Ready(Err(match self.partition {
            _ if known == 0 => self.wait.unknown_topic(),
            Some(partition) if !is_known(known) => {
                Refusal::UnknownPartition { topic, partition, partitions: known as i32, waited_ms }
            }
            _ => {
                let pool = self.wait.shared.accumulator.pool();
                pool.count_exhausted();
                Refusal::BufferExhausted { bytes: pool.chunk_size(self.size, 0), waited_ms } // BUF-3
            }
        }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.granted.take());
        self.wait.shared.accumulator.pool().leave(self.ticket);
    }
}

/// A wait for a topic's metadata, with the deadline of the whole call (PRE-3).
struct Wait {
    shared: Arc<Shared>,
    topic: Arc<TopicState>,
    deadline_ms: u64,
    timer: Option<TimerKey>,
    watch: Option<WaitKey>,
    /// What the cluster last said of the topic.
    cause: Option<ErrorCode>,
}

impl Wait {
    fn new(shared: &Arc<Shared>, topic: &Arc<TopicState>) -> Wait {
        Wait {
            deadline_ms: shared.clock.refresh().saturating_add(shared.config.max_block_ms),
            shared: shared.clone(),
            topic: topic.clone(),
            timer: None,
            watch: None,
            cause: None,
        }
    }

    /// Asks for the topic's metadata, and to be woken by the next.
    fn look(&mut self, waker: &Waker) -> Result<(), Refusal> {
        let metadata = &self.shared.metadata;
        // Watch first: a snapshot that comes after the look wakes.
        if let Some(old) = self.watch.replace(metadata.wait(waker)) {
            metadata.cancel(old);
        }
        let before = self.topic.known();
        self.cause = self.shared.look_up(&self.topic)?;
        metadata.want(self.topic.name()); // PRE-1
        if before > 0 && self.topic.known() == before {
            metadata.want_refresh(); // PRE-2: known, but not with this partition
        }
        Ok(())
    }

    /// Whether the deadline has come; if not, the timer is set to wake.
    fn is_over(&mut self, waker: &Waker) -> bool {
        if self.shared.clock.refresh() >= self.deadline_ms {
            return true;
        }
        let is_set = self.timer.is_some_and(|timer| self.shared.timers.rearm(timer, waker));
        if !is_set && self.deadline_ms != u64::MAX {
            self.timer = Some(self.shared.timers.register(self.deadline_ms, waker));
        }
        false
    }

    /// PRE-2
    fn unknown_topic(&self) -> Refusal {
        Refusal::UnknownTopic {
            topic: self.topic.name().to_string(),
            waited_ms: self.shared.config.max_block_ms,
            cause: self.cause,
            trouble: self.shared.metadata.trouble(),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.shared.timers.cancel(timer);
        }
        if let Some(watch) = self.watch {
            self.shared.metadata.cancel(watch);
        }
        self.shared.accumulator.forget(&self.topic);
    }
}

async fn known_topic(shared: &Arc<Shared>, topic: &Arc<TopicState>) -> Result<(), Refusal> {
    if topic.known() > 0 {
        return Ok(());
    }
    shared.look_up(topic)?;
    if topic.known() > 0 {
        return Ok(());
    }
    if wait::in_callback() {
        return Err(Refusal::WouldWait);
    }
    let mut wait = Wait::new(shared, topic);
    poll_fn(|cx| {
        if let Err(refusal) = shared.check_open().and_then(|()| wait.look(cx.waker())) {
            return Poll::Ready(Err(refusal));
        }
        if topic.known() > 0 {
            return Poll::Ready(Ok(()));
        }
        if !wait.is_over(cx.waker()) {
            return Poll::Pending;
        }
        Poll::Ready(Err(wait.unknown_topic()))
    })
    .await
}

async fn reserve(shared: &Arc<Shared>, topic: Arc<TopicState>, bytes: usize) -> Result<Permit, Refusal> {
    let permit = |chunk: Option<Chunk>| Permit {
        shared: shared.clone(),
        known: topic.known(),
        topic: topic.clone(),
        chunk,
        reserved: bytes,
    };
    if topic.known() == 0 {
        shared.look_up(&topic)?;
    }
    if topic.known() > 0 && !topic.has_waiters() {
        let pool = shared.accumulator.pool();
        if let Some(chunk) = pool.try_take(pool.chunk_size(bytes, 0)) {
            return Ok(permit(Some(chunk)));
        }
    }
    if wait::in_callback() {
        return Err(Refusal::WouldWait); // CMPL-6
    }
    let mut place = None;
    poll_fn(|cx| {
        let place = place.get_or_insert_with(|| Place::take(shared, &topic, None, bytes, cx.waker()));
        place.poll(cx.waker()).map(|result| result.map(|()| permit(place.granted.take())))
    })
    .await
}

fn try_send(
    shared: &Arc<Shared>,
    topic: Option<&Arc<TopicState>>,
    record: Record,
    mut callback: Option<Callback>,
) -> Result<Accepted, SendError> {
    let attempt = |callback: &mut Option<Callback>| {
        let found;
        let topic = match topic {
            Some(topic) => {
                check_topic(&record, topic)?;
                topic
            }
            None => {
                found = shared.topic_of(&record)?;
                &found
            }
        };
        let size = record.size();
        shared.check_size(size)?;
        let refusal = match shared.append_now(topic, &record, size, callback) {
            Ok(Append::Done(delivery)) => return Ok(delivery),
            Ok(Append::Behind | Append::NoRoom) => Refusal::Full,
            Ok(append) => {
                shared.metadata.want(topic.name());
                if matches!(append, Append::Beyond(_)) {
                    shared.metadata.want_refresh();
                }
                Refusal::NotKnownYet(topic.name().to_string())
            }
            Err(refusal) => refusal,
        };
        shared.accumulator.forget(topic);
        Err(refusal)
    };
    attempt(&mut callback).map_err(|refusal| {
        refuse(callback.take(), &record, topic, &refusal);
        SendError::new(record, refusal)
    })
}

impl Shared {
    /// Appends if that is possible at once. Looks into the metadata only if the topic, or the partition, is not known.
    #[inline]
    fn append_now(
        &self,
        topic: &Arc<TopicState>,
        record: &Record,
        size: usize,
        callback: &mut Option<Callback>,
    ) -> Result<Append, Refusal> {
        let mut looked = false;
        loop {
            let mut candidate = Candidate {
                record,
                size,
                callback: callback.take(),
                granted: None,
                goes_first: false,
                known_at_least: 0,
            };
            let append = self.accumulator.append(topic, &mut candidate, &self.clock);
            *callback = candidate.callback.take();
            match append {
                Append::Closed => return Err(self.closed()),
                Append::Cold | Append::Beyond(_) if !looked => {
                    looked = true;
                    self.check_open()?;
                    let known = topic.known();
                    self.look_up(topic)?;
                    if topic.known() == known {
                        return Ok(append);
                    }
                }
                append => return Ok(append),
            }
        }
    }

    /// Takes what the current snapshot says of the topic; gives the error that is being waited out.
    fn look_up(&self, topic: &TopicState) -> Result<Option<ErrorCode>, Refusal> {
        match self.metadata.lookup(topic.name()) {
            Lookup::Known(metadata) => {
                topic.apply(Some(&metadata));
                Ok(None)
            }
            Lookup::Unknown(cause) => Ok(cause),
            Lookup::Failed(code) => Err(Refusal::TopicRefused { topic: topic.name().to_string(), code }),
        }
    }

    /// The topic that a record names.
    fn topic_of(&self, record: &Record) -> Result<Arc<TopicState>, Refusal> {
        let name = record.topic_name().ok_or(Refusal::NoTopic)?;
        match self.accumulator.topic(name) {
            Some(topic) => Ok(topic),
            None => {
                self.check_open()?; // PRE-8
                self.topic_or_new(name)
            }
        }
    }

    fn topic_or_new(&self, name: &str) -> Result<Arc<TopicState>, Refusal> {
        if !is_valid_topic_name(name) {
            return Err(Refusal::InvalidTopic(name.to_owned())); // PRE-7
        }
        Ok(self.accumulator.topic_or_new(name))
    }

    /// PRE-5, PRE-6: the estimate against both limits.
    #[inline]
    fn check_size(&self, size: usize) -> Result<(), Refusal> {
        let (limit, key) = if size > self.config.max_request_size {
            (self.config.max_request_size, "max.request.size")
        } else if size > self.config.buffer_memory {
            (self.config.buffer_memory, "buffer.memory")
        } else {
            return Ok(());
        };
        Err(Refusal::RecordTooLarge { size, limit, key })
    }

    fn check_open(&self) -> Result<(), Refusal> {
        self.lifecycle.check()?;
        if self.accumulator.is_closing() { Err(Refusal::Closed) } else { Ok(()) }
    }

    /// The accumulator takes no more records: why.
    fn closed(&self) -> Refusal {
        self.check_open().err().unwrap_or(Refusal::Closed)
    }
}

fn check_topic(record: &Record, topic: &TopicState) -> Result<(), Refusal> {
    match record.topic_name() {
        Some(name) if name != &**topic.name() => {
            Err(Refusal::OtherTopic { record: name.to_owned(), expected: topic.name().to_string() })
        }
        _ => Ok(()),
    }
}

fn unknown_partition(topic: &TopicState, record: &Record, partitions: u32, waited_ms: u64) -> Refusal {
    Refusal::UnknownPartition {
        topic: topic.name().to_string(),
        partition: record.partition_number().unwrap_or(-1),
        partitions: partitions as i32,
        waited_ms,
    }
}

/// Runs the callback of a record that was not accepted, on this thread (CMPL-5).
fn refuse(callback: Option<Callback>, record: &Record, topic: Option<&Arc<TopicState>>, refusal: &Refusal) {
    if let Some(callback) = callback {
        let topic = record.topic_name().or_else(|| topic.map(|topic| &**topic.name()));
        run_callback(callback, Err(DeliveryError::refused(topic, refusal)));
    }
}

#[inline]
fn handle(accepted: Accepted) -> Result<Delivery, SendError> {
    match accepted {
        Some(delivery) => Ok(delivery),
        None => unreachable!("a record without callback has a handle"),
    }
}

#[cfg(test)]
mod tests;
