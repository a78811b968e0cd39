//! A record as the application makes it: the first station of its journey.
//!
//! Key, value and header values are reference-counted bytes, so a record that comes back from a failed call costs no copy.
//! Absent and empty differ, for key and value alike (API-2).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rohrpost_record::{HeaderRef, PayloadLen};

/// One message: a value (or a tombstone), with optional topic, partition, key, timestamp and headers.
///
/// ```
/// # use rohrpost::Record;
/// let record = Record::to("orders").key("42").value("two coffees").header("trace", "af07");   // for the producer
/// let record = Record::value("two coffees").key("42");                                         // for a topic handle
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    pub(crate) topic: Option<TopicName>,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<Header>,
}

/// A record that has a topic and still needs its value: [`RecordTo::value`] or [`RecordTo::tombstone`].
#[derive(Debug, Clone)]
#[must_use = "give it a value or make it a tombstone, then send it"]
pub struct RecordTo(Record);

/// A named piece of data beside a record's value. Names are UTF-8, may repeat and may be empty; a value may be empty or null
/// (API-3).
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    key: String,
    value: Option<Bytes>,
}

/// Refused while a record was made: a negative partition or timestamp (API-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidRecord {
    what: &'static str,
    value: i64,
}

impl Record {
    /// Starts a record for a topic, to be sent through the producer.
    pub fn to(topic: impl AsRef<str>) -> RecordTo {
        RecordTo(Record { topic: Some(TopicName::new(topic.as_ref())), ..Record::tombstone() })
    }

    /// A record without topic, to be sent through a topic handle or a permit.
    #[must_use]
    pub fn value(value: impl Into<Bytes>) -> Record {
        Record { value: Some(value.into()), ..Record::tombstone() }
    }

    /// A record without topic and without value: on a compacted topic it deletes its key (API-2).
    #[must_use]
    pub fn tombstone() -> Record {
        Record { topic: None, partition: None, timestamp: None, key: None, value: None, headers: Vec::new() }
    }
}

/// The setters that a record has from beginning to end.
macro_rules! setters {
    ($record:ident => $inner:expr) => {
        /// Sets the key. An empty key is a key (API-2).
        #[must_use = "it is the record that is to be sent"]
        pub fn key(mut self, key: impl Into<Bytes>) -> Self {
            let $record = &mut self;
            $inner.key = Some(key.into());
            self
        }

        /// Appends a header. Headers keep their order and may repeat (API-3).
        #[must_use = "it is the record that is to be sent"]
        pub fn header(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
            let $record = &mut self;
            $inner.headers.push(Header { key: key.into(), value: Some(value.into()) });
            self
        }

        /// Appends a header whose value is null, which differs from empty (API-3).
        #[must_use = "it is the record that is to be sent"]
        pub fn null_header(mut self, key: impl Into<String>) -> Self {
            let $record = &mut self;
            $inner.headers.push(Header { key: key.into(), value: None });
            self
        }

        /// Chooses the partition; without it the key or the producer decides (PAR-1).
        ///
        /// # Errors
        /// A negative number (API-1).
        pub fn partition(mut self, partition: i32) -> Result<Self, InvalidRecord> {
            if partition < 0 {
                return Err(InvalidRecord { what: "partition", value: partition.into() });
            }
            let $record = &mut self;
            $inner.partition = Some(partition);
            Ok(self)
        }

        /// Sets the timestamp, in milliseconds since 1970; without it the record gets the time at which it is accepted (API-4).
        ///
        /// # Errors
        /// A negative number (API-1).
        pub fn timestamp(mut self, timestamp_ms: i64) -> Result<Self, InvalidRecord> {
            if timestamp_ms < 0 {
                return Err(InvalidRecord { what: "timestamp", value: timestamp_ms });
            }
            let $record = &mut self;
            $inner.timestamp = Some(timestamp_ms);
            Ok(self)
        }
    };
}

impl RecordTo {
    /// Sets the value. An empty value is a value; for none at all see [`RecordTo::tombstone`] (API-2).
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Record {
        self.0.value = Some(value.into());
        self.0
    }

    /// A record without value: on a compacted topic it deletes its key (API-2).
    #[must_use]
    pub fn tombstone(self) -> Record {
        self.0
    }

    setters!(this => this.0);
}

impl Record {
    setters!(this => this);

    /// The topic, if the record names one.
    #[must_use]
    pub fn topic_name(&self) -> Option<&str> {
        self.topic.as_ref().map(TopicName::as_str)
    }

    /// The partition, if the record names one.
    #[must_use]
    pub fn partition_number(&self) -> Option<i32> {
        self.partition
    }

    /// The timestamp, if the record has one, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp
    }

    /// The key; `None` is absent.
    #[must_use]
    pub fn key_bytes(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// The value; `None` is absent: a tombstone.
    #[must_use]
    pub fn value_bytes(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    /// The headers, in order.
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The same record for another topic.
    #[must_use]
    pub fn with_topic(mut self, topic: impl AsRef<str>) -> Record {
        self.topic = Some(TopicName::new(topic.as_ref()));
        self
    }

    /// An upper bound, in bytes, of a batch that holds this record alone, before compression (PRE-5). It is what
    /// `max.request.size` is compared with, and what to ask [`reserve`](crate::Producer::reserve) for.
    #[must_use]
    #[inline]
    pub fn size(&self) -> usize {
        self.payload_len().upper_bound()
    }

    #[inline]
    pub(crate) fn payload_len(&self) -> PayloadLen {
        self.parts_len()
    }
}

/// What the short way of an append needs of a record. Made for each kind of its own, so that one that lies in the caller's memory
/// (SER-2) costs the others nothing.
pub(crate) trait Parts {
    fn own_partition(&self) -> Option<i32>;
    fn own_timestamp(&self) -> Option<i64>;
    fn key_part(&self) -> Option<&[u8]>;
    fn value_part(&self) -> Option<&[u8]>;
    fn header_part(&self) -> &[Header];

    #[inline]
    fn parts_len(&self) -> PayloadLen {
        PayloadLen::of(self.key_part(), self.value_part(), self.header_part())
    }
}

impl Parts for Record {
    #[inline]
    fn own_partition(&self) -> Option<i32> {
        self.partition
    }
    #[inline]
    fn own_timestamp(&self) -> Option<i64> {
        self.timestamp
    }
    #[inline]
    fn key_part(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
    #[inline]
    fn value_part(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
    #[inline]
    fn header_part(&self) -> &[Header] {
        &self.headers
    }
}

/// A record whose key and value lie elsewhere, for a moment (SER-2).
pub(crate) struct Lent<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header],
}

impl Parts for Lent<'_> {
    fn own_partition(&self) -> Option<i32> {
        None
    }
    fn own_timestamp(&self) -> Option<i64> {
        None
    }
    fn key_part(&self) -> Option<&[u8]> {
        self.key
    }
    fn value_part(&self) -> Option<&[u8]> {
        self.value
    }
    fn header_part(&self) -> &[Header] {
        self.headers
    }
}

impl Header {
    /// A header; `None` is a null value.
    pub fn new(key: impl Into<String>, value: Option<Bytes>) -> Header {
        Header { key: key.into(), value }
    }

    /// The name.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value; `None` is null, which differs from empty.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }
}

impl HeaderRef for Header {
    #[inline]
    fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }
    #[inline]
    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
}

/// Bodies may be large and secret: `Debug` shows sizes.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("topic", &self.topic_name())
            .field("partition", &self.partition)
            .field("timestamp", &self.timestamp)
            .field("key_bytes", &self.key.as_ref().map(Bytes::len))
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("headers", &self.headers)
            .finish()
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} bytes", self.key, self.value.as_ref().map(Bytes::len))
    }
}

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a record's {} cannot be negative, and {} is; leave it out to let the producer choose",
            self.what, self.value
        )
    }
}

impl std::error::Error for InvalidRecord {}

/// A topic's name inside a record. Short names need no allocation.
#[derive(Clone)]
pub(crate) enum TopicName {
    Short { len: u8, bytes: [u8; SHORT_MAX] },
    Long(Arc<str>),
}

const SHORT_MAX: usize = 22;

impl TopicName {
    pub(crate) fn new(name: &str) -> TopicName {
        if name.len() <= SHORT_MAX {
            let mut bytes = [0; SHORT_MAX];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            TopicName::Short { len: name.len() as u8, bytes }
        } else {
            TopicName::Long(name.into())
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            // The bytes were copied whole from a `str`.
            TopicName::Short { len, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default()
            }
            TopicName::Long(name) => name,
        }
    }
}

impl PartialEq for TopicName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for TopicName {}

#[cfg(test)]
mod tests {
    use super::*;

    // API-1
    #[test]
    fn a_negative_partition_or_timestamp_is_refused_when_the_record_is_made() {
        assert!(Record::value("v").partition(-1).is_err());
        assert!(Record::to("t").timestamp(-1).is_err());
        assert_eq!(
            Record::value("v").timestamp(i64::MIN).unwrap_err().to_string(),
            "a record's timestamp cannot be negative, and -9223372036854775808 is; leave it out to let the producer choose"
        );
        let record = Record::value("v").partition(0).unwrap().timestamp(0).unwrap();
        assert_eq!((record.partition_number(), record.timestamp_ms()), (Some(0), Some(0)));
    }

    // API-2
    #[test]
    fn absent_and_empty_differ() {
        let absent = Record::to("t").tombstone();
        let empty = Record::to("t").key("").value("");
        assert_eq!((absent.key_bytes(), absent.value_bytes()), (None, None));
        assert_eq!(empty.key_bytes().map(Bytes::len), Some(0));
        assert_ne!(absent, empty);
        assert_eq!(absent.size(), empty.size()); // both lengths take one byte
    }

    // API-3
    #[test]
    fn headers_keep_their_order_and_may_repeat_be_empty_or_null() {
        let record =
            Record::to("t").header("b", "1").value("v").header("", "").header("b", "2").null_header("n");
        let seen: Vec<_> =
            record.headers().iter().map(|h| (h.key(), h.value().map(|v| v.to_vec()))).collect();
        assert_eq!(
            seen,
            [("b", Some(b"1".to_vec())), ("", Some(vec![])), ("b", Some(b"2".to_vec())), ("n", None)]
        );
    }

    // PRE-5, PRE-6
    #[test]
    fn the_size_estimate_has_the_reference_values() {
        assert_eq!(Record::tombstone().size(), 85);
        assert_eq!(Record::value("value").key("key").size(), 93);
        assert_eq!(Record::value(vec![0; 1_048_489]).size(), 1_048_576);
        assert_eq!(Record::value(vec![0; 1_048_490]).size(), 1_048_577);
        // PRE-7: headers are covered
        assert_eq!(Record::tombstone().header("ab", "cde").size(), 85 + 3 + 4);
        assert_eq!(Record::tombstone().null_header("ab").size(), 85 + 3 + 1);
    }

    #[test]
    fn topic_names_of_any_length_come_back_whole() {
        for len in [0, 1, SHORT_MAX, SHORT_MAX + 1, 249] {
            let name = "n".repeat(len);
            assert_eq!(TopicName::new(&name).as_str(), name);
        }
        assert_eq!(Record::to("ö".repeat(11)).tombstone().topic_name(), Some("ö".repeat(11).as_str()));
    }
}
