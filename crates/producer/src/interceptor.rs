//! Interceptors: code that sees every record on its way in and every outcome on its way out (KIP-42).
//!
//! A record passes the chain before anything else happens to it, on the caller's thread; its outcome passes the chain just
//! before the caller's own callback. A producer without interceptors pays one branch for them.
//!
//! Each record that was shown to `on_send` is shown to `on_acknowledgement` once, whatever becomes of it: delivered, failed,
//! refused before it was accepted, or given up by a caller who drops the `send` while it waits. What is kept until then (the
//! headers) is copied, and charged to `buffer.memory` as callbacks are.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::config::Config;
use crate::delivery::{Callback, Notify};
use crate::outcome::{Delivered, DeliveryError};
use crate::record::{Header, Record, TopicName};
use crate::wait;

/// Sees every record and every outcome of a producer; see [`ProducerBuilder::interceptor`](crate::ProducerBuilder::interceptor).
///
/// Methods take `&self`: `on_send` runs on whatever threads send, `on_acknowledgement` on the sender's thread (or on the
/// executor of [`callbacks_on`](crate::ProducerBuilder::callbacks_on)), or, for a record that was not accepted, on the thread
/// that tried to send it. All have to be quick. A panic is logged and changes nothing for the record (INT-1, INT-2).
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use rohrpost::{Acknowledgement, Interceptor, Record};
///
/// /// Marks what is sent, and counts what failed.
/// struct Audit {
///     failed: AtomicU64,
/// }
///
/// impl Interceptor for Audit {
///     fn on_send(&self, record: Record) -> Record {
///         record.header("sent-by", "billing")
///     }
///     fn on_acknowledgement(&self, acknowledgement: &Acknowledgement<'_>) {
///         if acknowledgement.error().is_some() {
///             self.failed.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
pub trait Interceptor: Send + Sync {
    /// Called once, when the producer is built, with all of its settings (INT-4).
    ///
    /// # Errors
    /// Why it cannot do its work; the producer is not built then.
    fn configure(&self, settings: &InterceptorSettings<'_>) -> Result<(), String> {
        let _ = settings;
        Ok(())
    }

    /// Called with each record, on the thread that sends it, before the partition is chosen; what it returns is sent instead
    /// (INT-1). The record has its topic. A record returned without one keeps the topic; one for another topic goes there,
    /// except through a permit, which has room in its own topic only.
    fn on_send(&self, record: Record) -> Record {
        record
    }

    /// Called once for each record, just before its callback (INT-2), also if it was never accepted (INT-3).
    fn on_acknowledgement(&self, acknowledgement: &Acknowledgement<'_>) {
        let _ = acknowledgement;
    }

    /// Called once, when the producer has ended (INT-4). A `send` after that still passes the interceptors (INT-3).
    fn close(&self) {}
}

/// The settings of the producer that an interceptor belongs to (INT-4).
pub struct InterceptorSettings<'a> {
    pub(crate) config: &'a Config,
    pub(crate) given: &'a [(String, String)],
}

impl InterceptorSettings<'_> {
    /// All settings, resolved.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.config
    }

    /// `client.id`, also where it was left to the producer.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.config.client_id
    }

    /// The text given for a key, Kafka's or the interceptor's own (CFG-4). The last one counts.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        match key {
            "client.id" => Some(self.client_id()),
            _ => self.given.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str()),
        }
    }
}

/// The names alone: values may be secret (CFG-5).
impl fmt::Debug for InterceptorSettings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.given.iter().map(|(name, _)| name)).finish()
    }
}

/// A record's outcome, as interceptors see it.
#[derive(Debug)]
pub struct Acknowledgement<'a> {
    outcome: Result<&'a Delivered, &'a DeliveryError>,
    topic: Option<&'a str>,
    headers: &'a [Header],
}

impl<'a> Acknowledgement<'a> {
    /// The outcome, as the caller gets it.
    ///
    /// # Errors
    /// The record's failure.
    pub fn outcome(&self) -> Result<&'a Delivered, &'a DeliveryError> {
        self.outcome
    }

    /// Why the record failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&'a DeliveryError> {
        self.outcome.err()
    }

    /// The topic; `None` only for a record that was refused because it names none.
    #[must_use]
    pub fn topic(&self) -> Option<&'a str> {
        match self.outcome {
            Ok(delivered) => Some(delivered.topic()),
            Err(error) => error.topic().or(self.topic),
        }
    }

    /// The partition; `None` (-1 in Kafka) if none was chosen (INT-3).
    #[must_use]
    pub fn partition(&self) -> Option<i32> {
        match self.outcome {
            Ok(delivered) => Some(delivered.partition()),
            Err(error) => error.partition(),
        }
    }

    /// The offset, if the record was acknowledged with one.
    #[must_use]
    pub fn offset(&self) -> Option<i64> {
        self.outcome.ok().and_then(Delivered::offset)
    }

    /// The record's headers, as they were sent.
    #[must_use]
    pub fn headers(&self) -> &'a [Header] {
        self.headers
    }
}

/// A producer's chain, in the order of configuration (INT-1).
pub(crate) struct Interceptors {
    chain: Vec<Arc<dyn Interceptor>>,
    is_closed: AtomicBool,
}

impl Interceptors {
    /// `None` for an empty chain: nothing is spent on it.
    pub(crate) fn new(chain: Vec<Arc<dyn Interceptor>>) -> Option<Arc<Interceptors>> {
        let is_closed = AtomicBool::new(false);
        (!chain.is_empty()).then(|| Arc::new(Interceptors { chain, is_closed }))
    }

    /// What is to be sent instead of a record that names its topic. `may_become` says no to what cannot be sent; then, and when an
    /// interceptor panics, the next one gets the last good record (INT-1).
    pub(crate) fn on_send(
        &self,
        mut record: Record,
        may_become: impl Fn(&Record) -> Result<(), String>,
    ) -> Record {
        for interceptor in &self.chain {
            let topic = record.topic.clone();
            let changed = catch_unwind(AssertUnwindSafe(|| {
                // INT-5: its own record, which nobody else has
                let mut changed = interceptor.on_send(record.clone());
                changed.topic = changed.topic.or(topic);
                changed
            }));
            match changed.map(|changed| may_become(&changed).map(|()| changed)) {
                Ok(Ok(changed)) => record = changed,
                Ok(Err(problem)) => {
                    tracing::warn!("what an interceptor made of a record is not sent: {problem}")
                }
                Err(_) => tracing::error!("an interceptor's on_send panicked; the record goes on as it was"),
            }
        }
        record
    }

    fn on_acknowledgement(&self, acknowledgement: &Acknowledgement<'_>) {
        for interceptor in &self.chain {
            let told = || wait::as_callback(|| interceptor.on_acknowledgement(acknowledgement));
            if catch_unwind(AssertUnwindSafe(told)).is_err() {
                tracing::error!("an interceptor's on_acknowledgement panicked; the outcome is not affected");
            }
        }
    }

    /// INT-4
    pub(crate) fn close(&self) {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        for interceptor in &self.chain {
            if catch_unwind(AssertUnwindSafe(|| wait::as_callback(|| interceptor.close()))).is_err() {
                tracing::error!("an interceptor's close panicked");
            }
        }
    }
}

/// A record on its way, as far as its interceptors and its caller want to hear of it. It tells the interceptors once, whatever
/// happens to the record: dropped, it says that the send was given up.
struct Intercepted {
    interceptors: Arc<Interceptors>,
    topic: Option<TopicName>,
    partition: Option<i32>,
    headers: Vec<Header>,
    /// See [`Notify::take_original`].
    original: Option<Box<Record>>,
    callback: Option<Callback>,
    is_told: bool,
}

/// Stands in for the caller's callback, if there is one, and tells the interceptors first. `original` is the record as the caller
/// gave it, `record` what is sent.
pub(crate) fn intercepted(
    interceptors: &Arc<Interceptors>,
    original: Record,
    record: &Record,
    callback: Option<Callback>,
) -> Callback {
    // Copied: bytes that are shared could keep much more alive than they are charged for.
    let copy = |header: &Header| Header::new(header.key(), header.value().map(|v| Bytes::copy_from_slice(v)));
    Box::new(Intercepted {
        interceptors: interceptors.clone(),
        topic: record.topic.clone(),
        partition: record.partition,
        headers: record.headers.iter().map(copy).collect(),
        original: Some(Box::new(original)),
        callback,
        is_told: false,
    })
}

impl Intercepted {
    fn tell_interceptors(&mut self, outcome: Result<&Delivered, &DeliveryError>) {
        self.is_told = true;
        let topic = self.topic.as_ref().map(TopicName::as_str);
        let acknowledgement = Acknowledgement { outcome, topic, headers: &self.headers };
        self.interceptors.on_acknowledgement(&acknowledgement);
    }
}

impl Notify for Intercepted {
    /// CMPL-5, INT-2: interceptors first, always.
    fn tell(mut self: Box<Self>, outcome: Result<Delivered, DeliveryError>) {
        self.tell_interceptors(outcome.as_ref());
        if let Some(callback) = self.callback.take() {
            callback.tell(outcome);
        }
    }

    fn is_callers(&self) -> bool {
        self.callback.is_some()
    }

    fn kept_bytes(&self) -> usize {
        let header = |header: &Header| {
            size_of::<Header>() + header.key().len() + header.value().map_or(0, |value| value.len())
        };
        let callback = |callback: &Callback| size_of_val(&**callback) + callback.kept_bytes();
        self.headers.iter().map(header).sum::<usize>() + self.callback.as_ref().map_or(0, callback)
    }

    fn take_original(&mut self) -> Option<Box<Record>> {
        self.original.take()
    }
}

impl Drop for Intercepted {
    fn drop(&mut self) {
        if !self.is_told {
            let topic = self.topic.as_ref().map(|topic| Arc::from(topic.as_str()));
            let error = DeliveryError::abandoned(topic, self.partition);
            self.tell_interceptors(Err(&error));
        }
    }
}
