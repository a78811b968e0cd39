//! What became of a record: the types a user sees ([`Delivered`], [`DeliveryError`], [`SendError`], [`Refusal`]) and the one
//! that the sender hands to a batch (`BatchResult`).
//!
//! Two borders matter. Before a record is *accepted*, a failure is the `Err` of the call and hands the record back: a
//! [`Refusal`] says why (CMPL-7). After it, the failure is the `Delivery`'s: a [`DeliveryError`] says what is certain.
//!
//! The promise is CMPL-8: `NotWritten` is said only if no attempt can have written the record; when any attempt may
//! have, the outcome is `Unknown`.

use std::fmt;
use std::sync::Arc;

use rohrpost_protocol::ErrorCode;

use crate::delivery::Handle;
use crate::record::Record;

/// How certain it is that a failed record is not in the log (CMPL-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Certainly not in the log: safe to send again.
    NotWritten,
    /// The broker may have written it: sending it again may duplicate it.
    Unknown,
}

/// Where a record ended up (API-5): in the log, or, with acks=0, in the socket.
#[derive(Clone)]
pub struct Delivered {
    pub(crate) completion: Handle,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key_size: i32,
    pub(crate) value_size: i32,
}

impl Delivered {
    /// Whether a broker acknowledged the record. If not, acks=0: it was handed over to the socket, and nothing more is known
    /// (CMPL-8).
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        !self.completion.is_handed_over()
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.completion.partition().topic_name()
    }

    /// The partition's number.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.completion.partition().index()
    }

    /// The record's offset. `None` with acks=0, and for a batch that the broker called a duplicate without saying where it is
    /// (CMPL-8).
    #[must_use]
    pub fn offset(&self) -> Option<i64> {
        (self.offset >= 0).then_some(self.offset)
    }

    /// The record's timestamp in milliseconds since 1970: the broker's if it replaced ours, else ours (API-6).
    #[must_use]
    pub fn timestamp(&self) -> Option<i64> {
        (self.timestamp >= 0).then_some(self.timestamp)
    }

    /// Bytes of the key; `None` if it was absent.
    #[must_use]
    pub fn key_size(&self) -> Option<usize> {
        usize::try_from(self.key_size).ok()
    }

    /// Bytes of the value; `None` if it was absent.
    #[must_use]
    pub fn value_size(&self) -> Option<usize> {
        usize::try_from(self.value_size).ok()
    }
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("timestamp", &self.timestamp())
            .field("key_size", &self.key_size())
            .field("value_size", &self.value_size())
            .finish()
    }
}

/// Why an accepted record was not delivered, and what that means for it.
#[derive(Clone)]
pub struct DeliveryError {
    failure: Arc<BatchFailure>,
    place: Place,
    index: u32,
}

#[derive(Clone)]
enum Place {
    Batch(Handle),
    /// Never accepted: what the record itself names.
    Named {
        topic: Option<Arc<str>>,
        partition: Option<i32>,
    },
}

impl DeliveryError {
    pub(crate) fn new(completion: Handle, failure: Arc<BatchFailure>, index: u32) -> DeliveryError {
        DeliveryError { failure, place: Place::Batch(completion), index }
    }

    /// For the callback of a record that was not accepted (CMPL-5, API-7).
    pub(crate) fn refused(topic: Option<&str>, partition: Option<i32>, refusal: &Refusal) -> DeliveryError {
        DeliveryError::not_accepted(topic.map(Arc::from), partition, refusal.to_string())
    }

    /// For the interceptors of a record whose `send` was dropped while it waited (INT-3).
    pub(crate) fn abandoned(topic: Option<Arc<str>>, partition: Option<i32>) -> DeliveryError {
        DeliveryError::not_accepted(topic, partition, "the send was given up before it was done".into())
    }

    fn not_accepted(topic: Option<Arc<str>>, partition: Option<i32>, message: String) -> DeliveryError {
        let failure = BatchFailure {
            outcome: Outcome::NotWritten,
            reason: Reason::Refused,
            message: Some(message),
            record_errors: Vec::new(),
            attempts: 0,
        };
        DeliveryError { failure: Arc::new(failure), place: Place::Named { topic, partition }, index: 0 }
    }

    /// Whether the record may be in the log (CMPL-8).
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.failure.outcome
    }

    /// Why it failed. If the broker named records of the batch, this record's own reason (ERR-3).
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.failure.reason_of(self.index)
    }

    /// Kafka's error code, if a broker's answer ended the record.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self.reason() {
            Reason::Broker(code) | Reason::Fatal(code) => Some(code),
            _ => None,
        }
    }

    /// The failure's name, in the style of Kafka's: a broker's error, or `DELIVERY_TIMEOUT`, `PRODUCER_CLOSED` and so on.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.reason().name()
    }

    /// What the broker said, or the client where no broker did.
    #[must_use]
    pub fn message(&self) -> &str {
        let errors = &self.failure.record_errors;
        if !errors.is_empty() {
            match errors.iter().find(|(index, _)| *index == self.index) {
                Some((_, Some(message))) => return message,
                Some((_, None)) => {}
                // ERR-3: nothing is wrong with this one
                None => return "part of a batch which had invalid records",
            }
        }
        match &self.failure.message {
            Some(message) => message,
            None => self.reason().text(),
        }
    }

    /// The topic; `None` only for a record that was refused without one.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        match &self.place {
            Place::Batch(completion) => Some(completion.partition().topic_name()),
            Place::Named { topic, .. } => topic.as_deref(),
        }
    }

    /// The partition; `None` if none was chosen (API-7).
    #[must_use]
    pub fn partition(&self) -> Option<i32> {
        match &self.place {
            Place::Batch(completion) => Some(completion.partition().index()),
            Place::Named { partition, .. } => *partition,
        }
    }

    /// How often the record's batch was put into a request.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.failure.attempts
    }
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.topic(), self.partition()) {
            (Some(topic), Some(partition)) => write!(f, "record for {topic}-{partition} ")?,
            (Some(topic), None) => write!(f, "record for {topic} ")?,
            _ => write!(f, "record ")?,
        }
        match self.outcome() {
            Outcome::NotWritten => write!(f, "was not written, it is safe to send it again: ")?,
            Outcome::Unknown => {
                write!(f, "may have been written, look into the log before sending it again: ")?;
            }
        }
        match self.code() {
            Some(code) if self.message() != code.message() => {
                write!(f, "{}: {}", code.name(), self.message())?
            }
            Some(code) => write!(f, "{}: {}", code.name(), code.message())?,
            None => write!(f, "{}", self.message())?,
        }
        match self.attempts() {
            0 => Ok(()),
            1 => write!(f, " (1 attempt)"),
            n => write!(f, " ({n} attempts)"),
        }
    }
}

impl fmt::Debug for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryError")
            .field("outcome", &self.outcome())
            .field("reason", &self.reason())
            .field("message", &self.message())
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("attempts", &self.attempts())
            .finish()
    }
}

impl std::error::Error for DeliveryError {}

/// Why an accepted record was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The broker answered with this error, or the client gave up on it.
    Broker(ErrorCode),
    /// `delivery.timeout.ms` was over (ACC-24).
    Expired,
    /// The producer was closed before the record was acknowledged (FLU-6).
    Closed,
    /// The record was dropped by `purge` (FLU-4).
    Purged,
    /// The batch could not be compressed or encoded.
    Encoding,
    /// Its topic was deleted and created anew, and `topic.recreation` or [`Producer::release`](crate::Producer::release) says that
    /// its records are not for the new one (MET-9).
    TopicRecreated,
    /// An earlier record of its partition failed, and `stop.on.failure` names its topic (RTY-5).
    Stopped,
    /// The producer met an error that ends it: authorization, fencing, an unsupported version.
    Fatal(ErrorCode),
    /// The record was never accepted. Only callbacks and interceptors see this; the call's own error has the details (CMPL-5).
    Refused,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Reason::Broker(code) | Reason::Fatal(code) => code.name(),
            Reason::Expired => "DELIVERY_TIMEOUT",
            Reason::Closed => "PRODUCER_CLOSED",
            Reason::Purged => "PURGED",
            Reason::Encoding => "ENCODING",
            Reason::TopicRecreated => "TOPIC_RECREATED",
            Reason::Stopped => "STOPPED",
            Reason::Refused => "REFUSED",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Reason::Broker(code) | Reason::Fatal(code) => code.message(),
            Reason::Expired => "delivery.timeout.ms was over",
            Reason::Closed => "the producer was closed",
            Reason::Purged => "the record was purged",
            Reason::Encoding => "the batch could not be encoded",
            Reason::TopicRecreated => "the topic was deleted and created anew",
            Reason::Stopped => "an earlier record of the partition failed",
            Reason::Refused => "the record was not accepted",
        }
    }
}

/// What ends a batch. One per batch, shared by the handles of all its records.
#[derive(Debug, Clone)]
pub(crate) enum BatchResult {
    /// Answered without error. `base_offset` and `log_append_time` are -1 if the broker did not say.
    Acked { base_offset: i64, log_append_time: i64 },
    /// acks=0: the request is written to the socket (SND-8).
    HandedOver,
    /// Failed for good.
    Failed(Arc<BatchFailure>),
}

/// Why a batch failed, and what it means for its records.
#[derive(Debug, Clone)]
pub(crate) struct BatchFailure {
    pub(crate) outcome: Outcome,
    pub(crate) reason: Reason,
    /// The broker's words, or ours.
    pub(crate) message: Option<String>,
    /// Records the broker named (ERR-3), by index in the batch, with its words.
    pub(crate) record_errors: Vec<(u32, Option<String>)>,
    pub(crate) attempts: u32,
}

impl BatchFailure {
    /// Why the record at this place failed.
    pub(crate) fn reason_of(&self, index: u32) -> Reason {
        match (&self.record_errors[..], self.reason) {
            // ERR-3: exactly one record named, and it is this one: the partition's error.
            ([(named, _)], reason) if *named == index => reason,
            ([_, ..], Reason::Broker(_)) => Reason::Broker(ErrorCode::INVALID_RECORD),
            (_, reason) => reason,
        }
    }
}

/// Why a call was refused before it accepted a record, or why [`Producer::connect`](crate::Producer::connect) or
/// [`Producer::partitions_for`](crate::Producer::partitions_for) gave up. Nothing was left behind (PRE-8).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The producer is closed or closing (FLU-7).
    Closed,
    /// The producer met an error that ended it.
    Fatal {
        /// The error.
        code: ErrorCode,
        /// Words to go with it.
        message: Arc<str>,
    },
    /// The record names no topic, and the call knows none.
    NoTopic,
    /// The record names another topic than the handle or permit it was given to.
    OtherTopic {
        /// The record's.
        record: String,
        /// The handle's or permit's.
        expected: String,
    },
    /// The name breaks Kafka's rule for topic names (PRE-7).
    InvalidTopic(String),
    /// The cluster refused the topic: the name is invalid, or this user may not write to it (MET-7).
    TopicRefused {
        /// The topic.
        topic: String,
        /// INVALID_TOPIC_EXCEPTION or TOPIC_AUTHORIZATION_FAILED.
        code: ErrorCode,
    },
    /// `connect`: the cluster, or the producer's id, was not there within `max.block.ms` (CON-8).
    NotConnected {
        /// How long the call waited.
        waited_ms: u64,
        /// Which servers were tried, and why they did not help, if none did.
        trouble: Option<Arc<str>>,
    },
    /// The topic did not show up within `max.block.ms` (PRE-2).
    UnknownTopic {
        /// The topic.
        topic: String,
        /// How long the call waited.
        waited_ms: u64,
        /// What the cluster last said of it.
        cause: Option<ErrorCode>,
        /// What keeps the producer from reaching the cluster, if it cannot be reached.
        trouble: Option<Arc<str>>,
    },
    /// The topic has no such partition, and did not get it within `max.block.ms` (PRE-2).
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: i32,
        /// How many partitions the topic has.
        partitions: i32,
        /// How long the call waited.
        waited_ms: u64,
    },
    /// The producer's partitioner gave the record no partition: it refused it, chose one that is not there, or panicked (PAR-1).
    NoPartition {
        /// The topic.
        topic: String,
        /// What the partitioner said or did.
        problem: String,
    },
    /// The record is larger than a limit (PRE-5).
    RecordTooLarge {
        /// The record's size estimate in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
        /// The configuration key that sets the limit.
        key: &'static str,
    },
    /// The record is larger than what the permit reserved (CMPL-7).
    LargerThanReserved {
        /// The record's size estimate in bytes ([`Record::size`](crate::Record::size)).
        size: usize,
        /// What was reserved, in bytes.
        reserved: usize,
    },
    /// No room within `max.block.ms` (BUF-3).
    BufferExhausted {
        /// The bytes asked for.
        bytes: usize,
        /// How long the call waited.
        waited_ms: u64,
    },
    /// `try_send`: there is no room now, or others wait before this record.
    Full,
    /// `try_send`: the topic, or the record's partition, is not known yet.
    NotKnownYet(String),
    /// The call would have to wait, inside a callback of this producer or where the log is taken on a thread of its own, for what only this
    /// thread can bring about (CMPL-6).
    WouldWait,
}

impl Refusal {
    /// A name in the style of Kafka's error names.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Refusal::Closed => "PRODUCER_CLOSED",
            Refusal::Fatal { code, .. } | Refusal::TopicRefused { code, .. } => code.name(),
            Refusal::InvalidTopic(_) => "INVALID_TOPIC_EXCEPTION",
            Refusal::NotConnected { .. } => "NOT_CONNECTED",
            Refusal::UnknownTopic { .. } => "UNKNOWN_TOPIC",
            Refusal::UnknownPartition { .. } => "UNKNOWN_PARTITION",
            Refusal::NoPartition { .. } => "NO_PARTITION",
            Refusal::RecordTooLarge { .. } => "RECORD_TOO_LARGE",
            Refusal::BufferExhausted { .. } => "BUFFER_EXHAUSTED",
            Refusal::NoTopic
            | Refusal::OtherTopic { .. }
            | Refusal::LargerThanReserved { .. }
            | Refusal::Full
            | Refusal::NotKnownYet(_)
            | Refusal::WouldWait => "REFUSED",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Closed => write!(f, "the producer is closed"),
            Refusal::Fatal { code, message } => {
                write!(f, "the producer has ended with {}: {message}; build a new one", code.name())
            }
            Refusal::NoTopic => {
                write!(
                    f,
                    "the record names no topic; use Record::to(topic), or send it through a topic handle"
                )
            }
            Refusal::OtherTopic { record, expected } => {
                write!(
                    f,
                    "the record is for topic {record}, but was given to a handle or permit of topic {expected}"
                )
            }
            Refusal::InvalidTopic(topic) => write!(
                f,
                "topic name {topic:?} is invalid: it needs 1 to 249 characters of a-z, A-Z, 0-9, '.', '_' and '-', and may not be '.' or '..'"
            ),
            Refusal::TopicRefused { topic, code } => {
                write!(f, "the cluster refuses topic {topic}: {}: {}", code.name(), code.message())
            }
            Refusal::NotConnected { waited_ms, trouble } => {
                write!(f, "the cluster was not ready after {waited_ms} ms")?;
                match trouble {
                    Some(trouble) => write!(f, "; {trouble}"),
                    None => Ok(()),
                }
            }
            Refusal::UnknownTopic { topic, waited_ms, cause, trouble } => {
                write!(f, "Topic {topic} not present in metadata after {waited_ms} ms.")?;
                match (trouble, cause) {
                    (Some(trouble), _) => write!(f, " The cluster cannot be reached: {trouble}"),
                    (None, Some(code)) => write!(f, " The cluster says {}: {}", code.name(), code.message()),
                    // CFG-20
                    (None, None) if *waited_ms == 0 => {
                        write!(f, " max.block.ms=0 waits for nothing. It has been asked for: try again")
                    }
                    (None, None) => Ok(()),
                }
            }
            Refusal::UnknownPartition { topic, partition, partitions, waited_ms } => write!(
                f,
                "Partition {partition} of topic {topic} with partition count {partitions} is not present in metadata after {waited_ms} ms."
            ),
            Refusal::NoPartition { topic, problem } => {
                write!(f, "the producer's partitioner gave a record of topic {topic} no partition: {problem}")
            }
            Refusal::RecordTooLarge { size, limit, key } => write!(
                f,
                "The message is {size} bytes when serialized which is larger than {limit}, which is the value of the {key} configuration."
            ),
            Refusal::LargerThanReserved { size, reserved } => {
                write!(
                    f,
                    "the record needs {size} bytes, the permit reserved {reserved}; reserve record.size() bytes"
                )
            }
            Refusal::BufferExhausted { bytes, waited_ms } => write!(
                f,
                "Failed to allocate {bytes} bytes within the configured max blocking time {waited_ms} ms. \
                 All of buffer.memory (or of queue.buffering.max.messages, if it is set) is held by unsent and unanswered \
                 records; raise it, or send more slowly."
            ),
            Refusal::Full => write!(f, "there is no room in the producer's buffer now"),
            Refusal::NotKnownYet(topic) => {
                write!(
                    f,
                    "the metadata of topic {topic} is not known yet; wait for it with send, reserve or topic"
                )
            }
            Refusal::WouldWait => {
                write!(
                    f,
                    "the call would wait, inside a callback or on the producer's own thread, for what only the calling thread can bring about"
                )
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// A record that was not accepted, and why. The record is inside: [`SendError::into_record`].
pub struct SendError(Box<SendErrorInner>);

struct SendErrorInner {
    record: Record,
    reason: Refusal,
}

impl SendError {
    pub(crate) fn new(record: Record, reason: Refusal) -> SendError {
        SendError(Box::new(SendErrorInner { record, reason }))
    }

    /// Why the record was not accepted.
    #[must_use]
    pub fn reason(&self) -> &Refusal {
        &self.0.reason
    }

    /// Whether waiting would have helped: `try_send` found no room or no metadata.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.0.reason, Refusal::Full | Refusal::NotKnownYet(_))
    }

    /// The record, as it was given to the call.
    #[must_use]
    pub fn into_record(self) -> Record {
        self.0.record
    }

    /// The record and the reason.
    #[must_use]
    pub fn into_parts(self) -> (Record, Refusal) {
        (self.0.record, self.0.reason)
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.reason.fmt(f)
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("reason", &self.0.reason).field("record", &self.0.record).finish()
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.reason)
    }
}
