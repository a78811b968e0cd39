//! A record's way into the accumulator: [`SendFuture`], which waits for what is missing, and `try_send`, which does not.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::checks::{check_topic, intercept, no_partition, refuse};
use super::place::Place;
use crate::accumulator::{Append, Candidate, TopicState};
use crate::delivery::{Callback, Delivery};
use crate::outcome::{Refusal, SendError};
use crate::partitioner::Chosen;
use crate::producer::Shared;
use crate::record::Record;
use crate::wait;

/// A record on its way into the producer; see [`Producer::send`](crate::Producer::send). Runs on any executor.
///
/// # Cancel safety
/// Dropped before it is done, it has sent nothing. Its place in the line is that of its first poll; a `send` that is given up and begun
/// anew goes to the end.
///
/// # Panics
/// If it is polled again after it was done.
#[must_use = "futures do nothing unless polled: an unpolled send has sent nothing"]
pub struct SendFuture<'a>(pub(super) Sending<'a>);

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
pub(super) struct Sending<'a> {
    shared: &'a Arc<Shared>,
    topic: Option<&'a Arc<TopicState>>,
    /// `None` when it is done.
    pub(super) record: Option<Record>,
    callback: Option<Callback>,
    /// Only if it had to wait.
    place: Option<Box<Place>>,
}

impl<'a> Sending<'a> {
    #[inline]
    pub(super) fn new(
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
        if self.shared.interceptors.is_some() {
            self.intercept()?;
        }
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
        if callback.is_none()
            && let Some(delivery) = shared.accumulator.append_short(topic, record, &shared.clock)
        {
            return Ok(Some(Some(delivery)));
        }
        let size = record.size();
        shared.check_size(size)?;
        let mut chosen = Chosen::Open;
        match shared.append_now(topic, record, size, callback, &mut chosen) {
            Ok(Append::Done(delivery)) => return Ok(Some(delivery)),
            Ok(_) if !wait::in_callback() => {
                let mut taken = Box::new(Place::take(shared, topic, record.partition, size, waker));
                taken.chosen = chosen;
                *place = Some(taken);
                return Ok(None);
            }
            refused => {
                shared.accumulator.forget(topic);
                refused?;
            }
        }
        Err(Refusal::WouldWait) // CMPL-6
    }

    /// INT-1: before everything else. A record that an interceptor sends elsewhere leaves the topic's handle.
    #[cold]
    fn intercept(&mut self) -> Result<(), Refusal> {
        let (Some(interceptors), Some(record)) = (&self.shared.interceptors, self.record.take()) else {
            return Ok(());
        };
        let is_here = self.topic.map_or(Ok(()), |topic| check_topic(&record, topic));
        let (record, callback) =
            intercept(interceptors, record, self.topic, self.callback.take(), |_| Ok(()));
        self.topic = self.topic.filter(|topic| check_topic(&record, topic).is_ok());
        (self.record, self.callback) = (Some(record), Some(callback));
        is_here
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
                callback: self.callback.take(),
                place: place.place.take(),
                granted: place.granted.take(),
                goes_first: true,
                chosen: place.chosen,
                ..Candidate::new(record, place.size)
            };
            let append =
                self.shared.accumulator.append(&place.wait.topic, &mut candidate, &self.shared.clock);
            self.callback = candidate.callback.take();
            (place.granted, place.place) = (candidate.granted.take(), candidate.place.take());
            place.chosen = candidate.chosen;
            match append {
                Append::Done(delivery) => return Poll::Ready(Ok(delivery)),
                Append::Closed => return Poll::Ready(Err(self.shared.closed())),
                Append::NoPartition(problem) => {
                    return Poll::Ready(Err(no_partition(&place.wait.topic, problem)));
                }
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
        let record = refuse(self.callback.take(), record, self.topic, &refusal);
        SendError::new(record, refusal)
    }
}

/// An accepted record's handle; none if it has a callback of its caller.
pub(super) type Accepted = Option<Delivery>;

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
                this.shared.play();
                Poll::Ready(Ok(accepted))
            }
            Poll::Ready(Err(refusal)) => Poll::Ready(Err(this.end(refusal))),
        }
    }
}

/// The common case of a send through a topic handle: the record goes into memory that is there, and is not moved on the way.
/// `None`: nothing has happened, and the long way tells what there is to wait for.
#[inline]
pub(super) fn send_short(shared: &Shared, topic: &TopicState, record: &Record) -> Option<Delivery> {
    if record.topic.is_some() {
        check_topic(record, topic).ok()?;
    }
    shared.accumulator.append_short(topic, record, &shared.clock)
}

/// The same for a record that names its topic: one that was sent to before.
#[inline]
pub(super) fn send_short_by_name(shared: &Shared, record: &Record) -> Option<Delivery> {
    let topic = shared.accumulator.topic(record.topic_name()?)?;
    shared.accumulator.append_short(&topic, record, &shared.clock)
}

/// Accepts the record at once, or not at all.
pub(super) fn try_send(
    shared: &Arc<Shared>,
    mut topic: Option<&Arc<TopicState>>,
    mut record: Record,
    mut callback: Option<Callback>,
) -> Result<Accepted, SendError> {
    let mut is_here = Ok(());
    if let Some(interceptors) = &shared.interceptors {
        // As in `Sending::intercept`.
        is_here = topic.map_or(Ok(()), |topic| check_topic(&record, topic));
        let (changed, told) = intercept(interceptors, record, topic, callback, |_| Ok(()));
        topic = topic.filter(|topic| check_topic(&changed, topic).is_ok());
        (record, callback) = (changed, Some(told));
    }
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
        let refusal = match shared.append_now(topic, &record, size, callback, &mut Chosen::Open) {
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
    is_here.and_then(|()| attempt(&mut callback)).map_err(|refusal| {
        let record = refuse(callback.take(), record, topic, &refusal);
        SendError::new(record, refusal)
    })
}

/// The handle of a record without callback.
#[inline]
pub(super) fn handle(accepted: Accepted) -> Result<Delivery, SendError> {
    match accepted {
        Some(delivery) => Ok(delivery),
        None => unreachable!("a record without callback has a handle"),
    }
}
