//! A topic's handle that takes the application's own types: serializers in front of a [`Topic`].
//!
//! ```
//! use rohrpost::{Number, Producer, Utf8};
//!
//! # let cluster = rohrpost_broker::Cluster::builder().topic("orders", 6, 1).start()?;
//! # let servers = cluster.bootstrap_servers();
//! let producer = Producer::builder(servers).build()?;
//! # pollster::block_on(async {
//! let orders = producer.topic("orders").await?.key(Utf8).value(Number);
//! let delivery = orders.send("espresso", &250_i64).await?;
//! assert_eq!(delivery.await?.value_size(), Some(8));
//!
//! // What else a record has goes on by way of the record itself.
//! let record = orders.record("espresso", &280_i64)?.header("till", "3");
//! orders.topic().send(record).await?.await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cell::Cell;
use std::fmt;

use crate::delivery::Delivery;
use crate::outcome::{Delivered, DeliveryError, SendError};
use crate::record::{Header, Lent, Record};
use crate::send::Topic;
use crate::serializer::{Content, Part, SerializeError, Serializer, Unit};

impl Topic {
    /// Begins a handle that takes keys of a type; [`Keyed::value`] ends it.
    pub fn key<K>(self, key: K) -> Keyed<K> {
        Keyed { topic: self, key }
    }

    /// A handle that takes values of a type, and `()` as key: absent.
    pub fn value<V>(self, value: V) -> TypedTopic<Unit, V> {
        self.key(Unit).value(value)
    }
}

/// A topic's handle that knows its keys; see [`Topic::key`].
#[derive(Debug, Clone)]
pub struct Keyed<K> {
    topic: Topic,
    key: K,
}

impl<K> Keyed<K> {
    /// The handle that takes keys and values.
    pub fn value<V>(self, value: V) -> TypedTopic<K, V> {
        TypedTopic { topic: self.topic, key: self.key, value }
    }
}

/// A topic's handle that takes keys and values of the application's own types. Its calls are those of [`Topic`].
///
/// ```
/// # use rohrpost::{Nullable, Producer, Utf8, UuidText};
/// # let cluster = rohrpost_broker::Cluster::builder().topic("baristas", 1, 1).start()?;
/// # let producer = Producer::builder(cluster.bootstrap_servers()).build()?;
/// let baristas = producer.topic_blocking("baristas")?.key(UuidText).value(Nullable(Utf8));
/// baristas.send_blocking(&7_u128, &Some("Ada"))?;
/// baristas.send_blocking(&7_u128, &None::<&str>)?; // a tombstone
/// # producer.flush_blocking()?;
/// # assert_eq!(cluster.log("baristas", 0).records()[1].value, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TypedTopic<K, V> {
    topic: Topic,
    key: K,
    value: V,
}

impl<K, V> TypedTopic<K, V> {
    /// The topic without serializers.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The record of a key and a value, to add headers, a partition or a time to it, and to send it by way of
    /// [`topic`](TypedTopic::topic).
    ///
    /// # Errors
    /// A serializer's.
    pub fn record<A: ?Sized, B: ?Sized>(&self, key: &A, value: &B) -> Result<Record, SerializeError>
    where
        K: Serializer<A>,
        V: Serializer<B>,
    {
        let mut scratch = Scratch::default();
        let (key, value) = self.serialize(key, value, &mut scratch)?;
        Ok(owned(key, value, scratch.headers))
    }

    /// SER-1: key first; a header that it adds is there for the value's.
    fn serialize<'d, A: ?Sized, B: ?Sized>(
        &self,
        key: &'d A,
        value: &'d B,
        scratch: &mut Scratch,
    ) -> Result<(Content<'d>, Content<'d>), SerializeError>
    where
        K: Serializer<A>,
        V: Serializer<B>,
    {
        let (topic, headers) = (self.topic.name(), &mut scratch.headers);
        let key = Content::of(&self.key, key, (topic, Part::Key), headers, &mut scratch.key)?;
        let value = Content::of(&self.value, value, (topic, Part::Value), headers, &mut scratch.value)?;
        Ok((key, value))
    }

    /// SER-2: sends from where the bytes lie, into memory that is there. If that cannot be: the record, to be sent the long way.
    fn send_short<A: ?Sized, B: ?Sized>(
        &self,
        key: &A,
        value: &B,
    ) -> Result<Result<Delivery, Record>, SerializeError>
    where
        K: Serializer<A>,
        V: Serializer<B>,
    {
        // A serializer that sends, too, finds none here, and makes one.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        let (key, value) = self.serialize(key, value, &mut scratch)?;
        let record = Lent { key: key.bytes(), value: value.bytes(), headers: &scratch.headers };
        let Some(delivery) = self.topic.send_lent(&record) else {
            return Ok(Err(owned(key, value, scratch.headers)));
        };
        scratch.headers.clear();
        key.give_back(&mut scratch.key);
        value.give_back(&mut scratch.value);
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
        Ok(Ok(delivery))
    }

    /// As [`Topic::send`].
    ///
    /// # Cancel safety
    /// Dropped before it is done, it has sent nothing.
    ///
    /// # Errors
    /// A serializer's, before anything is waited for; else as `Topic::send`. Nothing was sent.
    pub async fn send<A: ?Sized, B: ?Sized>(&self, key: &A, value: &B) -> Result<Delivery, TypedSendError>
    where
        K: Serializer<A>,
        V: Serializer<B>,
    {
        match self.send_short(key, value)? {
            Ok(delivery) => Ok(delivery),
            Err(record) => Ok(self.topic.send(record).await?),
        }
    }

    /// As [`Topic::send_with`].
    ///
    /// # Cancel safety
    /// Dropped before it is done, it has sent nothing, and the callback never runs.
    ///
    /// # Errors
    /// A serializer's, and then the callback does not run; else as `Topic::send_with`.
    pub async fn send_with<A: ?Sized, B: ?Sized>(
        &self,
        key: &A,
        value: &B,
        callback: impl FnOnce(Result<Delivered, DeliveryError>) + Send + 'static,
    ) -> Result<(), TypedSendError>
    where
        K: Serializer<A>,
        V: Serializer<B>,
    {
        Ok(self.topic.send_with(self.record(key, value)?, callback).await?)
    }

    /// As [`Topic::try_send`].
    ///
    /// # Errors
    /// A serializer's, else as `Topic::try_send`.
    pub fn try_send<A: ?Sized, B: ?Sized>(&self, key: &A, value: &B) -> Result<Delivery, TypedSendError>
    where
        K: Serializer<A>,
        V: Serializer<B>,
    {
        match self.send_short(key, value)? {
            Ok(delivery) => Ok(delivery),
            Err(record) => Ok(self.topic.try_send(record)?),
        }
    }

    /// As [`Topic::send_blocking`].
    ///
    /// # Blocking
    /// Not at all with room; else it parks the thread for at most `max.block.ms`.
    ///
    /// # Errors
    /// A serializer's, else as `Topic::send_blocking`.
    pub fn send_blocking<A: ?Sized, B: ?Sized>(&self, key: &A, value: &B) -> Result<Delivery, TypedSendError>
    where
        K: Serializer<A>,
        V: Serializer<B>,
    {
        match self.send_short(key, value)? {
            Ok(delivery) => Ok(delivery),
            Err(record) => Ok(self.topic.send_blocking(record)?),
        }
    }
}

thread_local! {
    /// Of the last record that this thread has sent.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch { key: Vec::new(), value: Vec::new(), headers: Vec::new() }) };
}

/// Buffers that serializers write to.
#[derive(Default)]
struct Scratch {
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<Header>,
}

fn owned(key: Content<'_>, value: Content<'_>, headers: Vec<Header>) -> Record {
    let mut record = Record::tombstone();
    (record.key, record.value, record.headers) = (key.into_bytes(), value.into_bytes(), headers);
    record
}

/// Why a typed record was not accepted. Nothing of it was sent.
#[derive(Debug)]
pub enum TypedSendError {
    /// A serializer failed.
    Serialize(SerializeError),
    /// The record, serialized, was not accepted; it is inside.
    Send(SendError),
}

impl From<SerializeError> for TypedSendError {
    fn from(error: SerializeError) -> TypedSendError {
        TypedSendError::Serialize(error)
    }
}

impl From<SendError> for TypedSendError {
    fn from(error: SendError) -> TypedSendError {
        TypedSendError::Send(error)
    }
}

impl fmt::Display for TypedSendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypedSendError::Serialize(error) => error.fmt(f),
            TypedSendError::Send(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TypedSendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TypedSendError::Serialize(error) => error.source(),
            TypedSendError::Send(error) => error.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::{Producer, Shared};
    use crate::serializer::Target;

    struct Refuses;

    impl Serializer<str> for Refuses {
        fn serialize(&self, _: &str, target: &mut Target<'_>) -> Result<(), SerializeError> {
            target.write(b"half");
            Err(SerializeError::new("it will not"))
        }
    }

    struct TagsKey;

    impl Serializer<str> for TagsKey {
        fn serialize(&self, data: &str, target: &mut Target<'_>) -> Result<(), SerializeError> {
            target.add_header(Header::new("by", Some(format!("{:?}", target.part()).into())));
            target.write(data.as_bytes());
            Ok(())
        }
    }

    fn topic() -> Topic {
        let config = Producer::builder("localhost:9092").check().unwrap();
        let producer = Producer::without_sender(Shared::by_hand(config));
        Topic::unknown(&producer, "t")
    }

    // SER-1
    #[test]
    fn the_key_is_serialized_first_and_the_value_sees_its_headers() {
        let record = topic().key(TagsKey).value(TagsKey).record("k", "v").unwrap();
        let by: Vec<_> = record.headers().iter().map(|header| header.value().unwrap().as_ref()).collect();
        assert_eq!(by, [b"Key".as_ref(), b"Value".as_ref()]);
        assert_eq!(
            (record.key_bytes().unwrap().as_ref(), record.value_bytes().unwrap().as_ref()),
            (&b"k"[..], &b"v"[..])
        );
    }

    // SER-2
    #[test]
    fn a_record_goes_from_its_own_memory_into_the_batch() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        use crate::accumulator::tests::{cluster, topic_metadata};

        /// Counts how often it is asked, and sends something itself.
        struct Nests<'a>(&'a AtomicUsize, Topic);
        impl Serializer<str> for Nests<'_> {
            fn serialize(&self, data: &str, target: &mut Target<'_>) -> Result<(), SerializeError> {
                self.0.fetch_add(1, Ordering::Relaxed);
                drop(self.1.clone().key(crate::Utf8).value(TagsKey).try_send("inner", "inner").unwrap());
                target.add_header(Header::new("h", None));
                target.write(data.as_bytes());
                Ok(())
            }
        }
        let topic = topic();
        let shared = topic.producer().shared().clone();
        shared.accumulator.apply(&cluster(1, [topic_metadata("t", &[Some(1)], 0)]));
        let asked = AtomicUsize::new(0);
        let typed = topic.clone().key(crate::Utf8).value(Nests(&asked, topic.clone()));
        for (n, value) in ["first", "second", "third"].into_iter().enumerate() {
            let short = typed.send_short("key", value).unwrap();
            match (n, short) {
                // The inner one has opened the batch.
                (_, Ok(delivery)) => drop(delivery),
                (_, Err(record)) => panic!("{record:?} took the long way"),
            }
            let kept = SCRATCH.take();
            assert!(
                kept.value.capacity() >= value.len() && kept.key.capacity() == 0 && kept.headers.is_empty()
            );
            SCRATCH.set(kept);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        let mut batches = Vec::new();
        shared.accumulator.abort_all(&mut batches);
        let sent: Vec<Record> = batches.iter().flat_map(|batch| batch.records(1 << 20)).collect();
        let texts: Vec<_> = sent
            .iter()
            .map(|record| (record.key_bytes().unwrap().as_ref(), record.value_bytes().unwrap().as_ref()))
            .collect();
        let inner = (&b"inner"[..], &b"inner"[..]);
        let own = |value: &'static [u8]| (&b"key"[..], value);
        assert_eq!(texts, [inner, own(b"first"), inner, own(b"second"), inner, own(b"third")]);
        assert!(sent.iter().all(|record| record.headers().len() == 1));
        let absent = topic.clone().value(crate::Nullable(crate::Utf8));
        assert!(absent.send_short(&(), &None::<String>).unwrap().is_err(), "a batch is to be opened");
        drop(absent.try_send(&(), &Some("v".to_owned())).unwrap());
        assert!(absent.send_short(&(), &None::<String>).unwrap().is_ok());
        assert!(absent.record(&(), &None::<String>).unwrap().value_bytes().is_none());
    }

    // SER-1
    #[test]
    fn a_serializers_error_fails_the_call_before_anything_is_taken() {
        let typed = topic().key(crate::Utf8).value(Refuses);
        let producer = typed.topic().producer().clone();
        let before = producer.shared().accumulator.pool().available();
        let error = typed.try_send("k", "v").unwrap_err();
        assert_eq!(error.to_string(), "the value cannot be serialized: it will not");
        assert!(matches!(error, TypedSendError::Serialize(error) if error.part() == Some(Part::Value)));
        assert_eq!(producer.shared().accumulator.pool().available(), before);
        assert_eq!(producer.shared().accumulator.counts().pending, 0);
    }
}
