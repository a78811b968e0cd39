//! `--error-file`: each record that failed, as one JSON object a line, so that `--retry-file` can send it again.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rohrpost::{DeliveryError, Outcome, Reason, Record, Refusal};

use crate::failure::Failure;
use crate::jsonl::{self, FailedHeader, FailedLine};

/// The file, open for writing. It exists, empty, even if nothing fails.
pub(super) struct ErrorFile {
    path: PathBuf,
    out: BufWriter<File>,
}

impl ErrorFile {
    /// Creates it, or empties it.
    pub(super) fn create(path: &Path) -> Result<ErrorFile, Failure> {
        let file = File::create(path).map_err(|error| {
            Failure::start(format!("cannot write --error-file {}: {error}", path.display()))
        })?;
        Ok(ErrorFile { path: path.to_owned(), out: BufWriter::new(file) })
    }

    /// One line: the record as it was to be sent, and why it was not. `topic` is the command line's, if it names one.
    pub(super) fn write(
        &mut self,
        topic: Option<&str>,
        record: &Record,
        failed: &Failed,
    ) -> Result<(), Failure> {
        let headers = record.headers().iter().map(|header| FailedHeader {
            key: header.key(),
            value_base64: header.value().map(|value| jsonl::base64(value)),
        });
        let line = FailedLine {
            topic: topic.or(failed.topic.as_deref()).unwrap_or_default(),
            partition: record.partition_number(),
            timestamp: record.timestamp_ms(),
            key_base64: record.key_bytes().map(|key| jsonl::base64(key)),
            value_base64: record.value_bytes().map(|value| jsonl::base64(value)),
            headers: headers.collect(),
            error: failed.error,
            reason: &failed.reason,
            outcome: match failed.outcome {
                Outcome::NotWritten => "not_written",
                Outcome::Unknown => "unknown",
            },
            attempts: failed.attempts,
            age_ms: u64::try_from(failed.age.as_millis()).unwrap_or(u64::MAX),
        };
        serde_json::to_writer(&mut self.out, &line)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(|error| self.failure(&error))
    }

    /// Writes what is buffered, and syncs the file: after this the records are kept.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.out.flush().and_then(|()| self.out.get_ref().sync_all()).map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::run(format!("cannot write --error-file {}: {error}", self.path.display()))
    }
}

/// Why a record failed, for the error file.
pub(super) struct Failed {
    topic: Option<String>,
    error: &'static str,
    reason: String,
    outcome: Outcome,
    attempts: u32,
    age: Duration,
}

impl Failed {
    /// It was never accepted by the producer.
    pub(super) fn unsent(topic: Option<&str>, error: &'static str, reason: String) -> Failed {
        let topic = topic.map(str::to_owned);
        Failed { topic, error, reason, outcome: Outcome::NotWritten, attempts: 0, age: Duration::ZERO }
    }

    pub(super) fn delivery(error: &DeliveryError, age: Duration) -> Failed {
        Failed {
            topic: error.topic().map(str::to_owned),
            error: reason_name(error.reason()),
            reason: error.message().to_owned(),
            outcome: error.outcome(),
            attempts: error.attempts(),
            age,
        }
    }
}

/// An error's name in the style of Kafka's.
pub(super) fn refusal_name(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Closed => "PRODUCER_CLOSED",
        Refusal::Fatal { code, .. } | Refusal::TopicRefused { code, .. } => code.name(),
        Refusal::InvalidTopic(_) => "INVALID_TOPIC_EXCEPTION",
        Refusal::UnknownTopic { .. } => "UNKNOWN_TOPIC",
        Refusal::UnknownPartition { .. } => "UNKNOWN_PARTITION",
        Refusal::RecordTooLarge { .. } => "RECORD_TOO_LARGE",
        Refusal::BufferExhausted { .. } => "BUFFER_EXHAUSTED",
        _ => "REFUSED",
    }
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Broker(code) | Reason::Fatal(code) => code.name(),
        Reason::Expired => "DELIVERY_TIMEOUT",
        Reason::Closed => "PRODUCER_CLOSED",
        Reason::Purged => "PURGED",
        Reason::Encoding => "ENCODING",
        Reason::TopicRecreated => "TOPIC_RECREATED",
        Reason::Stopped => "STOPPED_ON_FAILURE",
        _ => "FAILED",
    }
}
