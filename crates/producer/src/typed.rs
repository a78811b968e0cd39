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

use std::fmt;

use crate::delivery::Delivery;
use crate::outcome::{Delivered, DeliveryError, SendError};
use crate::record::Record;
use crate::send::Topic;
use crate::serializer::{Part, SerializeError, Serializer, Target, Unit};

impl Topic {
    /// Begins a handle that takes keys of a type; [`Keyed::value`] ends it.
    pub fn key<K>(self, key: K) -> Keyed<K> {
        Keyed { topic: self, key }
    }

    /// A handle that takes values of a type, and `()` as key: absent.
    pub fn value<T: ?Sized, V: Serializer<T>>(self, value: V) -> TypedTopic<Unit, V> {
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
        let mut record = Record::tombstone();
        // SER-1: key first; a header that it adds is there for the value's
        let mut target = Target::new(self.topic.name(), Part::Key, &mut record.headers);
        self.key.serialize(key, &mut target).map_err(|error| error.of(Part::Key))?;
        record.key = target.into_bytes();
        let mut target = Target::new(self.topic.name(), Part::Value, &mut record.headers);
        self.value.serialize(value, &mut target).map_err(|error| error.of(Part::Value))?;
        record.value = target.into_bytes();
        Ok(record)
    }

    /// As [`Topic::send`]. Cancel safe.
    ///
    /// # Errors
    /// A serializer's, before anything is waited for; else as `Topic::send`.
    pub async fn send<A: ?Sized, B: ?Sized>(&self, key: &A, value: &B) -> Result<Delivery, TypedSendError>
    where
        K: Serializer<A>,
        V: Serializer<B>,
    {
        Ok(self.topic.send(self.record(key, value)?).await?)
    }

    /// As [`Topic::send_with`].
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
        Ok(self.topic.try_send(self.record(key, value)?)?)
    }

    /// As [`Topic::send_blocking`].
    ///
    /// # Errors
    /// A serializer's, else as `Topic::send_blocking`.
    pub fn send_blocking<A: ?Sized, B: ?Sized>(&self, key: &A, value: &B) -> Result<Delivery, TypedSendError>
    where
        K: Serializer<A>,
        V: Serializer<B>,
    {
        Ok(self.topic.send_blocking(self.record(key, value)?)?)
    }
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
    use crate::record::Header;

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
