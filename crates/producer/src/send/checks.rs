//! What every way of sending asks before it appends, and what it says when the answer is no.

use std::sync::Arc;

use rohrpost_protocol::{ErrorCode, topic_name};

use crate::accumulator::{Append, Candidate, TopicState};
use crate::delivery::{Callback, run_callback};
use crate::interceptor::{Interceptors, intercepted};
use crate::metadata::Lookup;
use crate::outcome::{DeliveryError, Refusal};
use crate::partitioner::Chosen;
use crate::producer::Shared;
use crate::record::{Record, TopicName};

impl Shared {
    /// Appends if that is possible at once. Looks into the metadata only if the topic, or the partition, is not known.
    #[inline]
    pub(super) fn append_now(
        &self,
        topic: &Arc<TopicState>,
        record: &Record,
        size: usize,
        callback: &mut Option<Callback>,
        chosen: &mut Chosen,
    ) -> Result<Append, Refusal> {
        if let Some(refusal) = self.mock.as_ref().and_then(|mock| mock.refusal()) {
            return Err(refusal);
        }
        let mut looked = false;
        loop {
            let mut candidate =
                Candidate { callback: callback.take(), chosen: *chosen, ..Candidate::new(record, size) };
            let append = self.accumulator.append(topic, &mut candidate, &self.clock);
            *callback = candidate.callback.take();
            *chosen = candidate.chosen;
            match append {
                Append::Closed => return Err(self.closed()),
                Append::NoPartition(problem) => return Err(no_partition(topic, problem)),
                Append::Cold | Append::Beyond(_) if !looked => {
                    looked = true;
                    self.check_open()?;
                    let known = topic.known();
                    self.look_up(topic)?;
                    if topic.known() == known {
                        return Ok(append);
                    }
                }
                Append::Done(delivery) => {
                    self.play();
                    return Ok(Append::Done(delivery));
                }
                append => return Ok(append),
            }
        }
    }

    /// Takes what the current snapshot says of the topic; gives the error that is being waited out.
    pub(super) fn look_up(&self, topic: &TopicState) -> Result<Option<ErrorCode>, Refusal> {
        let cluster = self.metadata.snapshot();
        match cluster.lookup(topic.name()) {
            Lookup::Known(metadata) => {
                self.accumulator.apply_to(topic, &metadata, &cluster);
                Ok(None)
            }
            Lookup::Unknown(cause) => Ok(cause),
            Lookup::Failed(code) => Err(Refusal::TopicRefused { topic: topic.name().to_string(), code }),
        }
    }

    /// The topic that a record names.
    pub(super) fn topic_of(&self, record: &Record) -> Result<Arc<TopicState>, Refusal> {
        let name = record.topic_name().ok_or(Refusal::NoTopic)?;
        match self.accumulator.topic(name) {
            Some(topic) => Ok(topic),
            None => {
                self.check_open()?; // PRE-8
                self.topic_or_new(name)
            }
        }
    }

    pub(super) fn topic_or_new(&self, name: &str) -> Result<Arc<TopicState>, Refusal> {
        if topic_name::check(name).is_err() {
            return Err(Refusal::InvalidTopic(name.to_owned())); // PRE-7
        }
        if let Some(mock) = &self.mock {
            mock.make_known(self, name);
        }
        Ok(self.accumulator.topic_or_new(name))
    }

    /// PRE-5, PRE-6: the estimate against both limits.
    #[inline]
    pub(super) fn check_size(&self, size: usize) -> Result<(), Refusal> {
        let (limit, key) = if size > self.config.max_request_size {
            (self.config.max_request_size, "max.request.size")
        } else if size > self.config.buffer_memory {
            (self.config.buffer_memory, "buffer.memory")
        } else {
            return Ok(());
        };
        Err(Refusal::RecordTooLarge { size, limit, key })
    }

    pub(super) fn check_open(&self) -> Result<(), Refusal> {
        self.lifecycle.check()?;
        if self.accumulator.is_closing() { Err(Refusal::Closed) } else { Ok(()) }
    }

    /// The accumulator takes no more records: why.
    pub(super) fn closed(&self) -> Refusal {
        self.check_open().err().unwrap_or(Refusal::Closed)
    }
}

pub(super) fn check_topic(record: &Record, topic: &TopicState) -> Result<(), Refusal> {
    match record.topic_name() {
        Some(name) if name != &**topic.name() => {
            Err(Refusal::OtherTopic { record: name.to_owned(), expected: topic.name().to_string() })
        }
        _ => Ok(()),
    }
}

pub(super) fn no_partition(topic: &TopicState, problem: String) -> Refusal {
    Refusal::NoPartition { topic: topic.name().to_string(), problem }
}

pub(super) fn unknown_partition(
    topic: &TopicState,
    record: &Record,
    partitions: u32,
    waited_ms: u64,
) -> Refusal {
    Refusal::UnknownPartition {
        topic: topic.name().to_string(),
        partition: record.partition_number().unwrap_or(-1),
        partitions: partitions as i32,
        waited_ms,
    }
}

/// Runs the callback of a record that was not accepted, on this thread (CMPL-5). Gives the record as the caller gave it.
pub(super) fn refuse(
    callback: Option<Callback>,
    record: Record,
    topic: Option<&Arc<TopicState>>,
    refusal: &Refusal,
) -> Record {
    let Some(mut callback) = callback else { return record };
    let topic = record.topic_name().or_else(|| topic.map(|topic| &**topic.name()));
    let error = DeliveryError::refused(topic, record.partition_number(), refusal);
    let original = callback.take_original();
    run_callback(callback, Err(error));
    original.map_or(record, |original| *original)
}

/// Shows a record to the interceptors (INT-1). Gives what is to be sent, and the callback that tells them the outcome. `may_become`
/// says what cannot be sent.
pub(super) fn intercept(
    interceptors: &Arc<Interceptors>,
    mut record: Record,
    topic: Option<&Arc<TopicState>>,
    callback: Option<Callback>,
    may_become: impl Fn(&Record) -> Result<(), String>,
) -> (Record, Callback) {
    let original = record.clone();
    if record.topic.is_none() {
        record.topic = topic.map(|topic| TopicName::new(topic.name()));
    }
    let record = interceptors.on_send(record, may_become);
    let callback = intercepted(interceptors, original, &record, callback);
    (record, callback)
}
