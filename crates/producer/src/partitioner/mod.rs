//! Which partition a record goes to (PAR-1): its own, else what a user's [`Partitioner`] says, else by its key's hash, else the
//! topic's sticky choice.
//!
//! The hash is a function of the key and the number of partitions. The sticky choice is state: see [`sticky`]. A partitioner that
//! is not the built-in one is asked once for each record, outside every lock, before the append ([`Chosen`]); a record that then waits
//! for room keeps its partition. What it sees of the topic is [`view`]'s.

mod chosen;
mod named;
mod random;
mod round_robin;
mod sticky;
mod uniform_sticky;
mod view;

use crate::interceptor::InterceptorSettings;
use crate::record::Record;

pub(crate) use self::chosen::{Chosen, Custom};
pub use self::named::PartitionerClass;
pub use self::round_robin::RoundRobin;
pub(crate) use self::sticky::{Stay, Sticky};
pub use self::uniform_sticky::UniformSticky;
pub use self::view::TopicView;
pub(crate) use self::view::{Brokers, Layout};

/// The settings of the producer that a partitioner belongs to.
pub type PartitionerSettings<'a> = InterceptorSettings<'a>;

/// Chooses the partition of records that name none (PAR-18); see
/// [`ProducerBuilder::partitioner`](crate::ProducerBuilder::partitioner).
///
/// It runs on the threads that send, once for each record, and has to be quick; it may be called by several at once. It sees the
/// record as it will be sent, after interceptors and serializers. `partitioner.ignore.keys`, `partitioner.rack.aware` and adaptive
/// stickiness are the built-in way's, which it gets with [`Choice::Any`].
///
/// A panic is logged, and the record is refused: any other partition might break the order that the partitioner keeps.
///
/// ```
/// use rohrpost::{Choice, Partitioner, Producer, Record, TopicView};
///
/// /// Orders of the house go to partition 0, all others where they would go without this.
/// struct HouseFirst;
///
/// impl Partitioner for HouseFirst {
///     fn partition(&self, record: &Record, _topic: &TopicView<'_>) -> Choice {
///         match record.key_bytes() {
///             Some(key) if key.as_ref() == b"house" => Choice::Partition(0),
///             _ => Choice::Any,
///         }
///     }
/// }
///
/// let producer = Producer::builder("localhost:9092").partitioner(HouseFirst).build()?;
/// # drop(producer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Partitioner: Send + Sync {
    /// Called once, when the producer is built, with all of its settings.
    ///
    /// # Errors
    /// Why it cannot do its work; the producer is not built then.
    fn configure(&self, settings: &PartitionerSettings<'_>) -> Result<(), String> {
        let _ = settings;
        Ok(())
    }

    /// The partition of a record that names none.
    fn partition(&self, record: &Record, topic: &TopicView<'_>) -> Choice;

    /// The record would begin a new batch in the partition that was chosen for it: this is the moment to leave it for another one.
    /// What is said here holds. At most once for each record.
    fn on_new_batch(&self, record: &Record, topic: &TopicView<'_>, chosen: u32) -> Choice {
        let _ = (record, topic);
        Choice::Partition(chosen as i32)
    }

    /// Called once, when the producer has ended.
    fn close(&self) {}
}

/// What a [`Partitioner`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// This partition. A negative number, or one that the topic does not have, is an error (PAR-1): the record is refused.
    Partition(i32),
    /// Where the record would go without a partitioner: by its key, or sticky.
    Any,
    /// None: the record is refused, for this reason.
    Refuse(String),
}

/// The partition of a key among `partitions`, with leader or without (PAR-2). The sign bit is cleared; an absolute value would put
/// most keys with a negative hash elsewhere than every other client does.
#[inline]
pub(crate) fn for_key(key: &[u8], partitions: u32) -> u32 {
    (rohrpost_record::murmur2(key) as u32 & 0x7fff_ffff) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAR-2, PAR-3
    #[test]
    fn keys_go_where_every_kafka_client_puts_them() {
        let table: [(&str, [u32; 3]); 8] = [
            ("", [0, 1, 11]),
            ("a", [1, 4, 0]),
            ("abc", [0, 7, 16]),
            ("abcd", [2, 0, 7]),
            ("21", [0, 0, 13]),
            ("foobar", [0, 6, 9]),
            ("kafka", [1, 0, 14]),
            ("hello", [0, 9, 3]),
        ];
        for (key, expected) in table {
            assert_eq!([3, 10, 17].map(|n| for_key(key.as_bytes(), n)), expected, "{key:?}");
        }
    }
}
