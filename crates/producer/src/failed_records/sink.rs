//! The thread that writes the failed-records file, and the way to it.
//!
//! It takes whole batches, writes what has come together, syncs once, and says so; the sender then tells their outcomes. What waits
//! for it is charged to `buffer.memory`, which bounds the queue.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::file::FailedFile;
use super::line::Line;
use super::{FailedRecord, FailedRecords};
use crate::accumulator::Remains;
use crate::delivery::Completion;
use crate::outcome::{BatchFailure, DeliveryError};
use crate::sync;
use crate::wait::{self, SenderWake};

/// Bytes of lines that are written at a time, at least: between them the file is synced.
const SYNC_BYTES: usize = 1 << 20;

/// A failed batch on its way into the file.
pub(crate) struct Kept {
    pub(crate) completion: sync::Arc<Completion>,
    pub(crate) remains: Remains,
    pub(crate) failure: Arc<BatchFailure>,
    pub(crate) age_ms: u64,
}

enum Job {
    Batch(Box<Kept>),
    /// A record that the caller asks to keep.
    One(Box<FailedRecord>, Arc<Waiting>),
}

/// The sender's end.
pub(crate) struct Sink {
    jobs: Mutex<Option<Sender<Job>>>,
    state: Arc<State>,
    writer: ThreadId,
}

/// Records in the file, and records that are not there although they should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SinkCounts {
    pub(crate) kept: u64,
    pub(crate) lost: u64,
}

struct State {
    kept: AtomicU64,
    lost: AtomicU64,
    /// Batches that were dealt with.
    done: Mutex<Vec<sync::Arc<Completion>>>,
    some_done: Condvar,
    sender: SenderWake,
}

impl Sink {
    /// Opens the file and starts the thread. It ends when the sink is [closed](Sink::close) or dropped.
    pub(crate) fn start(settings: FailedRecords, sender: SenderWake) -> io::Result<Sink> {
        Sink::with(FailedFile::open(settings)?, sender)
    }

    fn with(file: FailedFile, sender: SenderWake) -> io::Result<Sink> {
        let state = State {
            kept: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            done: Mutex::default(),
            some_done: Condvar::new(),
            sender,
        };
        let state = Arc::new(state);
        let (jobs, queue) = channel();
        let mut writer = Writer { file, state: state.clone(), lines: String::new(), ended: Vec::new() };
        let thread =
            std::thread::Builder::new().name("rohrpost-failed".into()).spawn(move || writer.run(&queue))?;
        Ok(Sink { jobs: Mutex::new(Some(jobs)), state, writer: thread.thread().id() })
    }

    #[cfg(test)]
    pub(crate) fn on_disk(disk: super::SmallDisk, sender: SenderWake) -> Sink {
        let file = FailedFile::with(FailedRecords::to("unused"), Box::new(disk));
        Sink::with(file, sender).unwrap()
    }

    /// Hands a batch over. It comes back if the sink is closed.
    pub(crate) fn keep(&self, kept: Box<Kept>) -> Result<(), Box<Kept>> {
        match &*self.jobs.lock() {
            Some(jobs) => jobs.send(Job::Batch(kept)).map_err(|unsent| match unsent.0 {
                Job::Batch(kept) => kept,
                Job::One(..) => unreachable!("what comes back is what was sent"),
            }),
            None => Err(kept),
        }
    }

    /// Hands a record over; gives what to wait for.
    pub(crate) fn keep_one(&self, failed: FailedRecord) -> Arc<Waiting> {
        let waiting = Arc::new(Waiting::default());
        let sent = match &*self.jobs.lock() {
            Some(jobs) => jobs.send(Job::One(Box::new(failed), waiting.clone())).is_ok(),
            None => false,
        };
        if !sent {
            waiting.end(Err(KeepError::Closed));
        }
        waiting
    }

    /// Whether this is the thread that writes the file: what waits here for a record to be kept waits for itself.
    pub(crate) fn is_own_thread(&self) -> bool {
        std::thread::current().id() == self.writer
    }

    /// Batches that are in the file now, or cannot be.
    pub(crate) fn take_done(&self) -> Vec<sync::Arc<Completion>> {
        std::mem::take(&mut *self.state.done.lock())
    }

    /// Waits until [`take_done`](Sink::take_done) gives something, or until then.
    pub(crate) fn wait_done(&self, deadline: Instant) {
        let mut done = self.state.done.lock();
        if done.is_empty() {
            self.state.some_done.wait_until(&mut done, deadline);
        }
    }

    /// A batch that came back.
    pub(crate) fn is_done(&self, batch: sync::Arc<Completion>) {
        self.state.done.lock().push(batch);
    }

    /// Records that are told without being in the file. They may get there later, if the disk hung.
    pub(crate) fn count_lost(&self, records: u64) {
        self.state.lost.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> SinkCounts {
        SinkCounts {
            kept: self.state.kept.load(Ordering::Relaxed),
            lost: self.state.lost.load(Ordering::Relaxed),
        }
    }

    /// Takes nothing more; the thread ends when it has written what it has.
    pub(crate) fn close(&self) {
        *self.jobs.lock() = None;
    }
}

/// The thread's own.
struct Writer {
    file: FailedFile,
    state: Arc<State>,
    lines: String,
    /// What is appended and not synced yet.
    ended: Vec<Ended>,
}

enum Ended {
    Batch { batch: sync::Arc<Completion>, records: u64, error: Option<io::Error> },
    One(Arc<Waiting>, Option<io::Error>),
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Job>) {
        wait::mark_own_thread();
        while let Ok(first) = queue.recv() {
            let mut bytes = self.take(first);
            while bytes < SYNC_BYTES
                && let Ok(next) = queue.try_recv()
            {
                bytes += self.take(next);
            }
            let synced = self.file.sync();
            self.tell(synced.as_ref().err());
        }
    }

    /// Writes what a job brings, and gives its memory back. Gives the bytes written.
    fn take(&mut self, job: Job) -> usize {
        self.lines.clear();
        match job {
            Job::Batch(kept) => {
                let batch = kept.completion.clone();
                let (records, readable) = kept.write(&mut self.lines);
                let written = self.file.append(self.lines.as_bytes());
                let written = if readable {
                    written
                } else {
                    Err(io::Error::new(io::ErrorKind::InvalidData, "a batch cannot be read: a bug"))
                };
                self.ended.push(Ended::Batch { batch, records, error: written.err() });
            }
            Job::One(failed, waiting) => {
                failed.write(&mut self.lines);
                let written = self.file.append(self.lines.as_bytes());
                self.ended.push(Ended::One(waiting, written.err()));
            }
        }
        let bytes = self.lines.len();
        self.lines.shrink_to(SYNC_BYTES);
        bytes
    }

    /// Says what became of everything since the last sync.
    fn tell(&mut self, not_synced: Option<&io::Error>) {
        let path = self.file.path().to_owned();
        let mut done = Vec::new();
        for ended in self.ended.drain(..) {
            match ended {
                Ended::Batch { batch, records, error } => {
                    match error.as_ref().or(not_synced) {
                        None => drop(self.state.kept.fetch_add(records, Ordering::Relaxed)),
                        Some(error) => {
                            self.state.lost.fetch_add(records, Ordering::Relaxed);
                            tracing::error!(
                                "{records} failed records are not in the failed-records file {}: {error}; only their deliveries \
                                 and callbacks tell of them",
                                path.display()
                            );
                        }
                    }
                    // Else it was told without the file, and nobody asks any more.
                    if !batch.is_done() {
                        done.push(batch);
                    }
                }
                Ended::One(waiting, error) => {
                    let result = match error.as_ref().or(not_synced) {
                        None => Ok(()),
                        Some(error) => Err(KeepError::Io { path: path.clone(), problem: error.to_string() }),
                    };
                    let counter = if result.is_ok() { &self.state.kept } else { &self.state.lost };
                    counter.fetch_add(1, Ordering::Relaxed);
                    waiting.end(result);
                }
            }
        }
        if !done.is_empty() {
            self.state.done.lock().append(&mut done);
            self.state.some_done.notify_all();
            self.state.sender.wake();
        }
    }
}

impl Kept {
    /// Appends a line for each record. Gives their number, and whether all of them could be read.
    fn write(&self, out: &mut String) -> (u64, bool) {
        let partition = self.completion.partition();
        let mut index = 0;
        let readable = self.remains.for_each(|record| {
            // What its caller is told, word for word (ERR-3).
            let error = DeliveryError::new(self.completion.handle(), self.failure.clone(), index);
            index += 1;
            Line {
                topic: Some(partition.topic_name()),
                partition: Some(partition.index()),
                timestamp: Some(record.timestamp),
                key: record.key,
                value: record.value,
                headers: record.headers().map(|header| (header.key, header.value)),
                error: error.name(),
                reason: error.message(),
                outcome: error.outcome(),
                attempts: error.attempts(),
                age_ms: self.age_ms,
            }
            .write(out);
        });
        (u64::from(self.remains.record_count()), readable && index == self.remains.record_count())
    }
}

/// Why a record is not in the failed-records file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepError {
    /// The producer was built without one.
    NoFile,
    /// The producer is closed.
    Closed,
    /// `keep_failed_blocking` was called where the log is taken on the thread that writes the file: it would wait for itself.
    OwnThread,
    /// It could not be written.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
}

impl fmt::Display for KeepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeepError::NoFile => {
                write!(
                    f,
                    "the producer has no failed-records file; give it one with ProducerBuilder::failed_records"
                )
            }
            KeepError::Closed => write!(f, "the producer is closed, and its failed-records file with it"),
            KeepError::OwnThread => write!(
                f,
                "keep_failed_blocking was called on the thread that writes the failed-records file, where it would wait for itself; call \
                 it on another one"
            ),
            KeepError::Io { path, problem } => {
                write!(f, "the failed-records file {} cannot be written: {problem}", path.display())
            }
        }
    }
}

impl std::error::Error for KeepError {}

/// What a caller waits for who asked to keep a record.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<WaitingInner>);

#[derive(Default)]
struct WaitingInner {
    result: Option<Result<(), KeepError>>,
    waker: Option<Waker>,
}

impl Waiting {
    fn end(&self, result: Result<(), KeepError>) {
        let mut inner = self.0.lock();
        inner.result = Some(result);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Waiting {
    /// Ready when the record is in the file and the file is synced, or when that cannot be. Cancel safe: dropped, it changes nothing.
    pub(crate) async fn wait(&self) -> Result<(), KeepError> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), KeepError>> {
        let mut inner = self.0.lock();
        if let Some(result) = inner.result.clone() {
            return Poll::Ready(result);
        }
        let old = inner.waker.replace(cx.waker().clone());
        drop(inner);
        drop(old); // outside the lock: dropping a waker may run foreign code
        Poll::Pending
    }
}
