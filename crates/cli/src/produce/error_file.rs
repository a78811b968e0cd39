//! `--error-file`: the producer's failed-records file, and what it does not get by itself: lines that are no record, and records that
//! the producer refused. `--retry-file` sends them again.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Waker};

use rohrpost::{BuildError, FailedRecord, FailedRecords, KeepError, Producer, Record};

use crate::failure::Failure;

/// Records that may wait for the file at once; they are synced together.
const WAITING_MAX: usize = 1000;

/// A record on its way into the file.
type Keeping = Pin<Box<dyn Future<Output = Result<(), KeepError>>>>;

/// What goes into the file beside what the producer puts there.
pub(super) struct ErrorFile {
    producer: Producer,
    /// Asked for, and not known to be in the file.
    waiting: Vec<Keeping>,
}

/// The file as the producer is to have it: one, and empty, even if nothing fails.
pub(super) fn settings(path: &Path) -> FailedRecords {
    FailedRecords::to(path).emptied().rotate_at(u64::MAX)
}

/// The command line's words for it.
pub(super) fn build_failure(error: BuildError) -> Failure {
    match error {
        BuildError::FailedRecords { path, error } => {
            Failure::start(format!("cannot write --error-file {}: {error}", path.display()))
        }
        other => Failure::start(other),
    }
}

impl ErrorFile {
    pub(super) fn new(producer: &Producer) -> ErrorFile {
        ErrorFile { producer: producer.clone(), waiting: Vec::new() }
    }

    /// One line: a record that was not sent, and why.
    pub(super) fn write(&mut self, record: Record, error: &str, reason: &str) -> Result<(), Failure> {
        let (producer, failed) = (self.producer.clone(), FailedRecord::new(record, error, reason));
        let mut kept: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(async move { producer.keep_failed(failed).await });
        // Asked once, it is on its way; what matters is the answer.
        if kept.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.waiting.push(kept);
        }
        if self.waiting.len() >= WAITING_MAX { self.settle() } else { Ok(()) }
    }

    /// Waits until all of them are kept.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        for kept in std::mem::take(&mut self.waiting) {
            pollster::block_on(kept).map_err(Failure::run)?;
        }
        Ok(())
    }

    /// The producer is closed: whether everything that failed is in the file.
    pub(super) fn finish(&self, path: &Path) -> Result<(), Failure> {
        match self.producer.metrics().failed_records_lost {
            0 => Ok(()),
            lost => Err(Failure::run(format!(
                "{lost} failed records are not in --error-file {}: it could not be written",
                path.display()
            ))),
        }
    }
}
