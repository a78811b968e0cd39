//! Sending: everything between the application's call and the append.
//!
//! A call resolves the topic, checks the record, and appends it; on a warm topic with room that is all, and the future is done
//! at its first poll, without an allocation. Otherwise it takes a place in the line and waits, first for metadata and then for room,
//! with one deadline for both (PRE-3). A future can be dropped at any moment: then nothing has happened, and its place, its
//! memory and its timers are given back (BUF-8).
//!
//! Order: records of one topic are appended in the order in which their `send` was first polled, or their `try_send` or
//! `permit.send` was called. A permit has its room already, so `permit.send` does not queue behind senders that wait for theirs.
//!
//! * this file: the calls of [`Producer`] and [`Topic`]
//! * `permit`: room taken in advance
//! * `future`: the two ways of a record into the accumulator, at once or with waiting
//! * `place`: a place in the line, and the wait for metadata
//! * `checks`: what every way asks first

mod checks;
#[cfg(test)]
mod drop_tests;
mod future;
#[cfg(test)]
mod interceptor_tests;
#[cfg(test)]
mod limits_tests;
mod permit;
mod place;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use self::future::{Sending, handle, send_short, send_short_by_name, try_send};
use self::permit::reserve;
use self::place::known_topic;
use crate::accumulator::TopicState;
use crate::delivery::Delivery;
use crate::outcome::{Delivered, DeliveryError, Refusal, SendError};
use crate::producer::Producer;
use crate::record::{Lent, Record};
use crate::wait;

pub use self::future::SendFuture;
pub use self::permit::{Permit, PermitError};

impl Producer {
    /// Accepts a record: waits for the topic's metadata and for room, at most `max.block.ms`, and never for the broker.
    ///
    /// On a topic that is known and with room it is done at its first poll. Its place among the senders of its topic is that of its
    /// first poll.
    ///
    /// # Cancel safety
    /// Dropped before it is done, it has sent nothing, and gives its place and its memory back (BUF-8).
    ///
    /// # Errors
    /// Whatever keeps the record from being accepted, with the record (CMPL-7): nothing of it was sent, and sending it again repeats
    /// nothing. What happens later is the `Delivery`'s.
    ///
    /// | reason | when |
    /// |---|---|
    /// | [`Refusal::UnknownTopic`], [`Refusal::UnknownPartition`] | not there within `max.block.ms` |
    /// | [`Refusal::BufferExhausted`] | no room within the same `max.block.ms` |
    /// | [`Refusal::RecordTooLarge`], [`Refusal::InvalidTopic`], [`Refusal::NoTopic`], [`Refusal::OtherTopic`], [`Refusal::NoPartition`], [`Refusal::TopicRefused`] | at once: waiting would not help |
    /// | [`Refusal::Closed`], [`Refusal::Fatal`] | at once, and for who waits as soon as the producer is so |
    /// | [`Refusal::WouldWait`] | inside a callback, instead of waiting (CMPL-6) |
    pub fn send(&self, record: Record) -> SendFuture<'_> {
        SendFuture(Sending::new(self.shared(), None, record, None))
    }

    /// [`send`](Producer::send) with a callback instead of a handle.
    ///
    /// The callback runs once: with the record's outcome, on the sender's thread, in order per partition (CMPL-3), or, if the record
    /// is not accepted, on this thread before the call returns its error (CMPL-5). It should be quick: all partitions' answers wait for
    /// it, unless [`callbacks_on`](crate::ProducerBuilder::callbacks_on) has it run elsewhere. A call inside it that would have to wait
    /// fails (CMPL-6). Its panic is logged and changes nothing (CMPL-4).
    ///
    /// # Cancel safety
    /// Dropped before it is done, it has sent nothing, and the callback never runs.
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
        match send_short_by_name(self.shared(), &record) {
            Some(delivery) => Ok(delivery),
            None => try_send(self.shared(), None, record, None).and_then(handle),
        }
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
    /// # Blocking
    /// Not at all on a topic that is known and with room; else it parks the thread for at most `max.block.ms`.
    ///
    /// # Errors
    /// As [`send`](Producer::send).
    pub fn send_blocking(&self, record: Record) -> Result<Delivery, SendError> {
        match send_short_by_name(self.shared(), &record) {
            Some(delivery) => Ok(delivery),
            None => wait::block_on(self.send(record)),
        }
    }

    /// Reserves room for one record of at most `bytes` ([`Record::size`]): waits for the topic's metadata, then for room, first
    /// come, first served, for both together at most `max.block.ms`. The permit then sends in one synchronous step.
    ///
    /// # Cancel safety
    /// Dropped, it gives its place and its room back. Who may be cancelled between waiting and sending uses this instead of
    /// [`send`](Producer::send): before the permit nothing has happened, and `permit.send` cannot be cancelled.
    ///
    /// # Errors
    /// Whatever keeps a record of that size from being accepted; the reasons are those of [`send`](Producer::send).
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
    /// # Blocking
    /// Parks the thread for at most `max.block.ms`, and not at all on a topic that is known and with room.
    ///
    /// # Errors
    /// As [`reserve`](Producer::reserve).
    pub fn reserve_blocking(&self, topic: impl AsRef<str>, bytes: usize) -> Result<Permit, Refusal> {
        wait::block_on(self.reserve(topic, bytes))
    }

    /// A handle of a topic: its metadata waited for, at most `max.block.ms`, and the topic looked up once instead of with each
    /// record.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing behind.
    ///
    /// # Errors
    /// The topic does not exist ([`Refusal::UnknownTopic`], after `max.block.ms`), its name is invalid ([`Refusal::InvalidTopic`]), or
    /// this user may not write to it ([`Refusal::TopicRefused`]); the producer is closed or has ended; or [`Refusal::WouldWait`] inside
    /// a callback.
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
    /// # Blocking
    /// Parks the thread for at most `max.block.ms`, and not at all for a topic that is known.
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
///
/// ```
/// # use rohrpost::{Producer, Record};
/// # let cluster = rohrpost_broker::Cluster::builder().topic("orders", 1, 1).start()?;
/// # let servers = cluster.bootstrap_servers();
/// let producer = Producer::builder(servers).build()?;
/// let orders = producer.topic_blocking("orders")?; // the metadata is there now: `try_send` works from the first record on
/// let delivery = orders.try_send(Record::value("one espresso").key("42"))?;
/// assert_eq!(delivery.wait()?.offset(), Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Topic {
    producer: Producer,
    state: Arc<TopicState>,
}

impl Topic {
    #[cfg(test)]
    pub(crate) fn unknown(producer: &Producer, name: &str) -> Topic {
        Topic { producer: producer.clone(), state: producer.shared().topic_or_new(name).unwrap() }
    }

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
    ///
    /// # Cancel safety
    /// As [`Producer::send`]: dropped before it is done, it has sent nothing.
    ///
    /// # Errors
    /// As [`Producer::send`]; [`Refusal::OtherTopic`] for a record of another topic.
    #[inline]
    pub fn send(&self, record: Record) -> SendFuture<'_> {
        SendFuture(Sending::new(self.producer.shared(), Some(&self.state), record, None))
    }

    /// As [`Producer::send_with`].
    ///
    /// # Cancel safety
    /// As [`Producer::send_with`]: dropped before it is done, it has sent nothing, and the callback never runs.
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
        match send_short(self.producer.shared(), &self.state, &record) {
            Some(delivery) => Ok(delivery),
            None => try_send(self.producer.shared(), Some(&self.state), record, None).and_then(handle),
        }
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
    /// # Blocking
    /// Not at all with room; else it parks the thread for at most `max.block.ms`.
    ///
    /// # Errors
    /// As [`Producer::send_blocking`].
    #[inline]
    pub fn send_blocking(&self, record: Record) -> Result<Delivery, SendError> {
        match send_short(self.producer.shared(), &self.state, &record) {
            Some(delivery) => Ok(delivery),
            None => self.send_or_park(record),
        }
    }

    /// SER-2: a record whose bytes lie elsewhere, if it can be taken at once and without anything else to do.
    pub(crate) fn send_lent(&self, record: &Lent<'_>) -> Option<Delivery> {
        let shared = self.producer.shared();
        shared.accumulator.append_short(&self.state, record, &shared.clock)
    }

    #[cold]
    fn send_or_park(&self, record: Record) -> Result<Delivery, SendError> {
        wait::block_on(self.send(record))
    }

    /// As [`Producer::reserve`].
    ///
    /// # Cancel safety
    /// As [`Producer::reserve`]: dropped, it gives its place and its room back.
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
    /// # Blocking
    /// Parks the thread for at most `max.block.ms`, and not at all with room.
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
