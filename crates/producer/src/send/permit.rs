//! Permits: room for a record, taken before the record is there.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use super::checks::{check_topic, intercept, no_partition, refuse, unknown_partition};
use super::place::Place;
use crate::accumulator::{Append, Candidate, Chunk, Places, TopicState};
use crate::delivery::{Callback, Delivery};
use crate::outcome::{Delivered, DeliveryError, Refusal};
use crate::producer::Shared;
use crate::record::Record;
use crate::wait;

/// Room for one record of one topic. Sending it is one synchronous step that cannot fail for want of room or metadata; dropping
/// the permit gives the room back. A permit counts against `buffer.memory` while it is held: hold it shortly. `close` revokes it.
///
/// ```
/// # use rohrpost::{Producer, Record};
/// # let cluster = rohrpost_broker::Cluster::builder().topic("orders", 1, 1).start()?;
/// # let servers = cluster.bootstrap_servers();
/// let producer = Producer::builder(servers).build()?;
/// # pollster::block_on(async {
/// let record = Record::value("one espresso").key("42");
/// let permit = producer.reserve("orders", record.size()).await?; // cancelled here, nothing has happened
/// let delivery = permit.send(record)?; // fixes the place; cannot wait
/// assert_eq!(delivery.await?.offset(), Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a permit that is not used gives its room back"]
pub struct Permit {
    shared: Arc<Shared>,
    topic: Arc<TopicState>,
    chunk: Option<Chunk>,
    /// If records are counted (CFG-21).
    place: Option<Places>,
    reserved: usize,
    /// The partitions the topic had.
    known: u32,
}

impl Permit {
    /// Accepts the record. Its place among the records of its partition is that of this call. Never waits, also inside a callback.
    ///
    /// # Errors
    /// The record is for another topic, larger than reserved, or for a partition that does not exist; the producer's partitioner
    /// gives it none; or the producer is closed. Nothing was sent; record, permit and reason come back (CMPL-7), and the permit can be
    /// used for another record.
    pub fn send(self, record: Record) -> Result<Delivery, PermitError> {
        match self.commit(record, None) {
            Ok(Some(delivery)) => Ok(delivery),
            Ok(None) => unreachable!("a record without callback has a handle"),
            Err(error) => Err(error),
        }
    }

    /// [`send`](Permit::send) with a callback, as in [`Producer::send_with`](crate::Producer::send_with).
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

    fn commit(
        mut self,
        mut record: Record,
        mut callback: Option<Callback>,
    ) -> Result<Option<Delivery>, PermitError> {
        if let Some(interceptors) = self.shared.interceptors.clone() {
            // What has no room in this permit is not sent by it, and INT-1: an interceptor makes no send fail.
            let is_given = record.clone();
            let may_become = |changed: &Record| match check_topic(changed, &self.topic) {
                Ok(()) if changed.size() > self.reserved.max(is_given.size()) => {
                    let (size, reserved) = (changed.size(), self.reserved);
                    Err(Refusal::LargerThanReserved { size, reserved }.to_string())
                }
                Ok(()) => Ok(()),
                Err(refusal) if check_topic(&is_given, &self.topic).is_ok() => Err(refusal.to_string()),
                Err(_) => Ok(()),
            };
            let (changed, told) = intercept(&interceptors, record, Some(&self.topic), callback, may_become);
            (record, callback) = (changed, Some(told));
        }
        let size = record.size();
        let mut candidate = Candidate {
            callback,
            goes_first: true,
            known_at_least: self.known,
            ..Candidate::new(&record, size)
        };
        let reason = if let Err(refusal) = self.shared.check_open() {
            refusal
        } else if let Err(refusal) = check_topic(&record, &self.topic) {
            refusal
        } else if size > self.reserved {
            Refusal::LargerThanReserved { size, reserved: self.reserved }
        } else {
            candidate.granted = self.chunk.take();
            candidate.place = self.place.take();
            match self.shared.accumulator.append(&self.topic, &mut candidate, &self.shared.clock) {
                Append::Done(delivery) => {
                    self.shared.play();
                    return Ok(delivery);
                }
                Append::Beyond(partitions) => unknown_partition(&self.topic, &record, partitions, 0),
                Append::Closed => self.shared.closed(),
                Append::NoPartition(problem) => no_partition(&self.topic, problem),
                Append::Cold | Append::Behind | Append::NoRoom => {
                    unreachable!("a permit has room, metadata, and nobody before it")
                }
            }
        };
        let callback = candidate.callback.take();
        if let Some(chunk) = candidate.granted.take() {
            self.chunk = Some(chunk);
        }
        self.place = self.place.or(candidate.place.take());
        let record = refuse(callback, record, Some(&self.topic), &reason);
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

/// A permit of `bytes`: at once if there is room and nobody waits for it, otherwise by a place in the line.
pub(super) async fn reserve(
    shared: &Arc<Shared>,
    topic: Arc<TopicState>,
    bytes: usize,
) -> Result<Permit, Refusal> {
    let permit = |chunk: Option<Chunk>, place: Option<Places>| Permit {
        shared: shared.clone(),
        // It was known a moment ago.
        known: topic.known().max(1),
        topic: topic.clone(),
        chunk,
        place,
        reserved: bytes,
    };
    if topic.known() == 0 {
        shared.look_up(&topic)?;
    }
    if topic.known() > 0 && !topic.has_waiters() {
        let pool = shared.accumulator.pool();
        if let Some(chunk) = pool.try_take(pool.chunk_size(bytes, 0)) {
            let place = pool.counts_records().then(|| pool.try_place());
            if place.as_ref().is_none_or(Option::is_some) {
                return Ok(permit(Some(chunk), place.flatten()));
            }
        }
    }
    if wait::in_callback() {
        return Err(Refusal::WouldWait); // CMPL-6
    }
    let mut place = None;
    poll_fn(|cx| {
        let place = place.get_or_insert_with(|| Place::take(shared, &topic, None, bytes, cx.waker()));
        place.poll(cx.waker()).map(|result| result.map(|()| permit(place.granted.take(), place.place.take())))
    })
    .await
}
