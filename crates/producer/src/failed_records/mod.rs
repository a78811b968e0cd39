//! The failed-records file: every accepted record that was not delivered, as one line of JSON, so that it can be sent again (SEND-2).
//!
//! A line has topic, partition, timestamp, key, value and headers (bytes in base64), the error's name and text, the outcome
//! (`not_written`, or `unknown`: sending it again may duplicate it), attempts and age. The bytes come from the batch's own memory,
//! which stays charged to `buffer.memory` until they are written: nothing is kept beside it while a record is on its way.
//!
//! * A thread of its own ([`sink`]) writes whole batches and syncs the file; the outcome is told after that, so whoever hears
//!   that a record failed finds it in the file. Outcomes of the same partition wait behind it (CMPL-3), the sender does not.
//! * The queue to that thread is bounded by `buffer.memory`. A disk that is too slow for it ends in `send` waiting for room, and
//!   failing after `max.block.ms`.
//! * A disk that is full or gone is told in the log and counted ([`Metrics::failed_records_lost`](crate::Metrics)); the outcomes
//!   are then told without the file. The next batch is tried again.
//! * Files are rotated by size ([`file`]) and never deleted.

mod file;
mod line;
mod sink;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::outcome::{DeliveryError, Outcome, SendError};
use crate::record::Record;

#[cfg(test)]
pub(crate) use self::file::SmallDisk;
pub use self::sink::KeepError;
pub(crate) use self::sink::{Kept, Sink};

/// Where records go that were not delivered; see [`ProducerBuilder::failed_records`](crate::ProducerBuilder::failed_records).
///
/// ```
/// # use rohrpost::{FailedRecords, Producer};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("failed.jsonl");
/// let producer = Producer::builder("localhost:9092")
///     .failed_records(FailedRecords::to(&path).rotate_at(16 << 20))
///     .build()?;
/// # drop(producer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `rohrpost produce --retry-file failed.jsonl` sends what is certainly not in the log, with `--include-unknown` the rest too.
#[derive(Debug, Clone)]
#[must_use = "give it to the builder"]
pub struct FailedRecords {
    path: PathBuf,
    rotate_bytes: u64,
    empties: bool,
}

/// Size in bytes at which a file is rotated, unless another one is set.
const ROTATE_BYTES: u64 = 64 << 20;

impl FailedRecords {
    /// Appends to this file; it is made if it does not exist.
    pub fn to(path: impl AsRef<Path>) -> FailedRecords {
        FailedRecords { path: path.as_ref().to_owned(), rotate_bytes: ROTATE_BYTES, empties: false }
    }

    /// When the file has reached this size (default 64 MiB) it is renamed, with the next free number behind its name
    /// (`failed.jsonl.1`, `.2` and so on), and a new one begun. `u64::MAX`: never.
    pub fn rotate_at(mut self, bytes: u64) -> FailedRecords {
        self.rotate_bytes = bytes;
        self
    }

    /// Begins with an empty file, whatever it held.
    pub fn emptied(mut self) -> FailedRecords {
        self.empties = true;
        self
    }

    /// Where.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A record for the failed-records file that was not put there by itself: one that `send` refused, or that never came so far. See
/// [`Producer::keep_failed`](crate::Producer::keep_failed).
#[derive(Clone)]
pub struct FailedRecord {
    record: Record,
    error: String,
    reason: String,
    outcome: Outcome,
    attempts: u32,
    age: Duration,
}

impl FailedRecord {
    /// A record that was certainly not written. `error` is a name in capitals, `reason` a text.
    #[must_use]
    pub fn new(record: Record, error: impl Into<String>, reason: impl Into<String>) -> FailedRecord {
        FailedRecord {
            record,
            error: error.into(),
            reason: reason.into(),
            outcome: Outcome::NotWritten,
            attempts: 0,
            age: Duration::ZERO,
        }
    }

    /// A record with the failure of its delivery, `age` after it was sent. Only for a producer without failed-records file of its own
    /// that shares another's: one that has it keeps these by itself.
    #[must_use]
    pub fn delivery(record: Record, error: &DeliveryError, age: Duration) -> FailedRecord {
        FailedRecord {
            record,
            error: error.name().into(),
            reason: error.message().into(),
            outcome: error.outcome(),
            attempts: error.attempts(),
            age,
        }
    }

    /// The record.
    #[must_use]
    pub fn into_record(self) -> Record {
        self.record
    }
}

/// A record that `send` refused. One sent through a topic's handle may not name its topic: give it the topic, see
/// [`Record::with_topic`].
impl From<SendError> for FailedRecord {
    fn from(error: SendError) -> FailedRecord {
        let (record, refusal) = error.into_parts();
        FailedRecord::new(record, refusal.name(), refusal.to_string())
    }
}

impl fmt::Debug for FailedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedRecord")
            .field("record", &self.record)
            .field("error", &self.error)
            .field("outcome", &self.outcome)
            .finish()
    }
}
