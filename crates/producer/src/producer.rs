//! The [`Producer`] handle: what is shared between application threads and the sender, and the calls that concern the
//! producer as a whole: connect, flush, purge, close, partitions, metrics. Sending is in `send`.

mod close;
mod mock;
mod report;
mod shared;
mod stops;
mod wait;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::warn;

pub use self::close::{CloseReport, Purge, PurgeReport, Undelivered};
pub(crate) use self::mock::Mock;
pub use self::mock::MockProducer;
pub(crate) use self::shared::{Attached, CloseWish, Shared};
pub use self::stops::HeldRecords;
pub(crate) use self::stops::Release;
use self::wait::{MetadataChange, within};
use crate::accumulator::FlushReport;
use crate::config::{Config, ConfigErrors, ProducerBuilder};
use crate::failed_records::{FailedRecord, KeepError};
use crate::metadata::Lookup;
use crate::metrics::{Metrics, MetricsSnapshot};
use crate::outcome::Refusal;
use crate::sender::driver;
use crate::wait::{block_on, in_callback};

/// A Kafka producer. Clones are handles of the same producer; every operation may be called from any thread (THR-1). One per
/// process is the rule.
///
/// When the last handle is dropped, the producer closes as with `close(Duration::ZERO)` and warns if records were lost; use
/// [`close`](Producer::close) to send what is buffered. Dropping never waits (FLU-8).
///
/// Calls whose names end in `_blocking`, and [`Delivery::wait`](crate::Delivery::wait), are for plain threads: they park the thread. On
/// an executor's thread that holds up every task there; await the call of the same name without `_blocking`. Inside a callback of this
/// producer, a call that would have to wait fails at once, whichever of the two it is (CMPL-6).
///
/// ```
/// use std::time::Duration;
///
/// use rohrpost::{Producer, Record};
///
/// # let cluster = rohrpost_broker::Cluster::builder().topic("orders", 1, 1).start()?;
/// # let servers = cluster.bootstrap_servers();
/// let producer = Producer::builder(servers).build()?;
/// producer.connect_blocking()?; // so that the first record need not wait
/// let first = producer.send_blocking(Record::to("orders").key("42").value("one espresso"))?;
/// producer.send_blocking(Record::to("orders").key("42").value("two coffees"))?; // nobody waits for this one
/// assert_eq!(producer.flush_blocking()?.acked, 2);
/// assert_eq!(first.wait()?.offset(), Some(0));
/// assert!(producer.close_blocking(Duration::from_secs(10)).undelivered.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// All user handles together: dropped with the last of them.
struct Handle {
    shared: Arc<Shared>,
}

/// A partition, as the cluster last described it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionInfo {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it; `None` while there is none, or none that can be reached.
    pub leader: Option<i32>,
    /// Since which epoch; -1 if the brokers do not say.
    pub leader_epoch: i32,
    /// The brokers that have a replica, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those that are in sync.
    pub in_sync: Vec<i32>,
}

impl Producer {
    /// A builder with Kafka's defaults; `bootstrap_servers` as in `bootstrap.servers`.
    pub fn builder(bootstrap_servers: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(bootstrap_servers)
    }

    /// A builder with the settings of a `.properties` file; see [`ProducerBuilder::from_properties`].
    ///
    /// # Errors
    /// The file cannot be read, or a line of it cannot be understood.
    pub fn from_properties(path: impl AsRef<Path>) -> Result<ProducerBuilder, ConfigErrors> {
        ProducerBuilder::from_properties(path)
    }

    /// The producer's settings, as they were resolved.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared().config
    }

    /// Waits until the cluster is known and, with idempotence, the producer has its id: so the first send need not (CON-8). At most
    /// `max.block.ms`. It need not be called: `send` waits for the same.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing behind; what was learned of the cluster meanwhile stays known.
    ///
    /// # Errors
    /// [`Refusal::NotConnected`] when `max.block.ms` is over: which servers were tried, and why they did not help. [`Refusal::Closed`]
    /// and [`Refusal::Fatal`] as soon as the producer is so, [`Refusal::WouldWait`] inside a callback. The producer goes on trying after
    /// a failure, and so may the caller.
    pub async fn connect(&self) -> Result<(), Refusal> {
        self.connect_to(&[]).await
    }

    /// As [`connect`](Self::connect), and waits for these topics and connections to the leaders of their partitions.
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    ///
    /// # Errors
    /// As [`connect`](Self::connect); and [`Refusal::TopicRefused`] as soon as the cluster refuses one of the topics.
    pub async fn connect_to(&self, topics: &[&str]) -> Result<(), Refusal> {
        let shared = self.shared();
        let topics: Vec<Arc<str>> = topics.iter().map(|topic| Arc::from(*topic)).collect();
        self.may_wait()?;
        shared.lifecycle.check()?;
        let warm_up = shared.commands.warm_up(&shared.sender, topics.clone());
        shared.play();
        let is_there = || {
            shared.lifecycle.check()?;
            for topic in &topics {
                if let Lookup::Failed(code) = shared.metadata.lookup(topic) {
                    return Err(Refusal::TopicRefused { topic: topic.to_string(), code });
                }
            }
            let known = !shared.metadata.snapshot().brokers.is_empty()
                && shared.stats.has_identity.load(Ordering::Acquire);
            Ok((known && warm_up.is_done()).then_some(()))
        };
        let max_block_ms = shared.config.max_block_ms;
        let waiting = MetadataChange::until(shared, is_there);
        within(shared, max_block_ms, waiting).await.unwrap_or_else(|| {
            Err(Refusal::NotConnected { waited_ms: max_block_ms, trouble: shared.trouble() })
        })
    }

    /// [`connect`](Self::connect) for plain threads.
    ///
    /// # Blocking
    /// Parks the thread for at most `max.block.ms`.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_blocking(&self) -> Result<(), Refusal> {
        block_on(self.connect())
    }

    /// The topic's partitions, as they are known; waits for metadata up to `max.block.ms` if they are not. A topic that does not exist
    /// may be created by being asked for, if `allow.auto.create.topics` and the brokers allow it.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing behind.
    ///
    /// # Errors
    /// [`Refusal::UnknownTopic`] when `max.block.ms` is over; [`Refusal::TopicRefused`] as soon as the cluster refuses the topic;
    /// [`Refusal::Closed`] and [`Refusal::Fatal`]; [`Refusal::WouldWait`] inside a callback if the partitions are not known.
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>, Refusal> {
        let shared = self.shared();
        let name: Arc<str> = topic.into();
        if let Some(mock) = &shared.mock {
            mock.make_known(shared, topic);
        }
        let look = || {
            shared.lifecycle.check()?;
            Ok(match shared.metadata.lookup(topic) {
                Lookup::Known(known) => Some(known),
                Lookup::Failed(code) => return Err(Refusal::TopicRefused { topic: topic.into(), code }),
                Lookup::Unknown(_) => None,
            })
        };
        let known = match look()? {
            Some(known) => known,
            None => {
                self.may_wait()?;
                shared.metadata.want(&name);
                let max_block_ms = shared.config.max_block_ms;
                match within(shared, max_block_ms, MetadataChange::until(shared, look)).await {
                    Some(result) => result?,
                    None => {
                        let cause = match shared.metadata.lookup(topic) {
                            Lookup::Unknown(cause) => cause,
                            _ => None,
                        };
                        return Err(Refusal::UnknownTopic {
                            topic: topic.into(),
                            waited_ms: max_block_ms,
                            cause,
                            trouble: shared.metadata.trouble(),
                        });
                    }
                }
            }
        };
        let info = known.partitions.iter().zip(0..).map(|(p, partition)| PartitionInfo {
            partition,
            leader: p.leader,
            leader_epoch: p.leader_epoch,
            replicas: p.replicas.clone(),
            in_sync: p.in_sync.clone(),
        });
        Ok(info.collect())
    }

    /// [`partitions_for`](Self::partitions_for) for plain threads.
    ///
    /// # Blocking
    /// Parks the thread for at most `max.block.ms`, and not at all for a topic that is known.
    ///
    /// # Errors
    /// As [`partitions_for`](Self::partitions_for).
    pub fn partitions_for_blocking(&self, topic: &str) -> Result<Vec<PartitionInfo>, Refusal> {
        block_on(self.partitions_for(topic))
    }

    /// Sends everything accepted so far without lingering, and waits until each of those records has its outcome, callbacks
    /// included (FLU-1). Records sent after the call are not waited for. That records fail does not fail the flush: the report
    /// says how many were not delivered. Every record has its outcome at the age of `delivery.timeout.ms`, so that bounds the wait.
    ///
    /// # Cancel safety
    /// Dropping the future ends the hurry for what is sent from then on; what was sent before the call goes out all the same.
    ///
    /// # Errors
    /// [`FlushError::InCallback`] at once inside a callback (CMPL-6). Nothing else.
    pub async fn flush(&self) -> Result<FlushReport, FlushError> {
        self.flush_timeout(Duration::MAX).await
    }

    /// [`flush`](Self::flush), with a limit. After it the records are still on their way. Parts of a millisecond are rounded up;
    /// [`Duration::ZERO`] looks and does not wait, [`Duration::MAX`] is without limit.
    ///
    /// # Cancel safety
    /// As [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`FlushError::TimedOut`] when the time is over, [`FlushError::InCallback`] at once inside a callback.
    pub async fn flush_timeout(&self, timeout: Duration) -> Result<FlushReport, FlushError> {
        // CMPL-6
        if in_callback() {
            return Err(FlushError::InCallback);
        }
        let shared = self.shared();
        shared.clock.refresh();
        let begin_us = shared.clock.last_us();
        let flush = shared.accumulator.begin_flush();
        if let Some(mock) = &shared.mock {
            mock.flush(shared);
        }
        let report = within(shared, millis(timeout), flush).await.ok_or(FlushError::TimedOut);
        shared.clock.refresh();
        let now_us = shared.clock.last_us();
        shared.book.flushed(now_us.saturating_sub(begin_us), now_us);
        report
    }

    /// [`flush`](Self::flush) for plain threads.
    ///
    /// # Blocking
    /// Parks the thread until every record that was sent before has its outcome: at most `delivery.timeout.ms` and the time that
    /// callbacks take.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn flush_blocking(&self) -> Result<FlushReport, FlushError> {
        block_on(self.flush())
    }

    /// [`flush_timeout`](Self::flush_timeout) for plain threads.
    ///
    /// # Blocking
    /// Parks the thread for at most `timeout`.
    ///
    /// # Errors
    /// As [`flush_timeout`](Self::flush_timeout).
    pub fn flush_timeout_blocking(&self, timeout: Duration) -> Result<FlushReport, FlushError> {
        block_on(self.flush_timeout(timeout))
    }

    /// Drops undelivered records (FLU-4): queued ones, and, if asked, those whose request is not answered, which end as
    /// `Unknown`. A queued record that was sent before without a clear answer ends as `Unknown` too.
    ///
    /// Never waits: the sender does it with its next pass, whether or not anybody asks what became of it. Who does awaits what this
    /// gives, or [waits](Purge::wait) for it, and has the counts and the records back. Calls that the sender finds together are one
    /// purge: all of them get its counts, and the first who asks gets the records. After `close` there is nothing to purge.
    ///
    /// Memory of queued records comes back at once, that of records in flight when their request has ended. Outcomes are told
    /// in the order of sending (CMPL-3): one behind a record whose outcome is open is told after that.
    ///
    /// # Cancel safety
    /// The call itself begins the purge. Dropping what it gives changes nothing for that; then nobody gets the records back.
    pub fn purge(&self, queued: bool, in_flight: bool) -> Purge {
        let shared = self.shared();
        let purge = shared.commands.purge(&shared.sender, queued, in_flight);
        if shared.closed.is_there() {
            shared.commands.leave(); // nobody else would
        }
        shared.play();
        purge
    }

    /// Takes no more records, sends everything buffered without lingering, waits for the answers, and ends the producer
    /// (FLU-5). When `timeout` is over, or at once if it is zero, what is not acknowledged fails, and the report gives those
    /// records back (FLU-6). `Duration::MAX` is without limit; then `delivery.timeout.ms` bounds the wait.
    ///
    /// Every handle of the producer is closed with it. Closing twice is fine: both calls wait for the same end, the shorter
    /// time counts, and one of them gets the undelivered records (FLU-7). Inside a callback it acts as `close(0)` and does not wait, so
    /// its report is empty (CMPL-6).
    ///
    /// # Cancel safety
    /// From the first poll on the producer closes, whether the future is dropped or not; dropped, it only gives up the report, and a
    /// further call gets it.
    pub async fn close(&self, timeout: Duration) -> CloseReport {
        let shared = self.shared();
        if in_callback() {
            warn!("close inside a callback or on the producer's own thread acts as close(0)");
            shared.begin_close(Some(0));
            return CloseReport::default();
        }
        shared.begin_close(Some(millis(timeout)).filter(|ms| *ms != u64::MAX));
        shared.closed.wait().await
    }

    /// [`close`](Self::close) for plain threads.
    ///
    /// # Blocking
    /// Parks the thread for at most `timeout`, and, with a [failed-records file](ProducerBuilder::failed_records) on a slow disk, ten
    /// seconds more.
    pub fn close_blocking(&self, timeout: Duration) -> CloseReport {
        block_on(self.close(timeout))
    }

    /// Writes a record into the failed-records file that is not there by itself: one that `send` refused, or that never came so far
    /// (SEND-2). When this returns, the file is synced. What fails after it was accepted is there already.
    ///
    /// ```
    /// # use rohrpost::{FailedRecords, Producer, Record};
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("failed.jsonl");
    /// let producer = Producer::builder("localhost:9092").failed_records(FailedRecords::to(&path)).build()?;
    /// let too_large = Record::to("orders").value(vec![0; 2 << 20]);
    /// # pollster::block_on(async {
    /// if let Err(refused) = producer.send(too_large).await {
    ///     producer.keep_failed(refused).await?;
    /// }
    /// # Ok::<(), rohrpost::KeepError>(())
    /// # })?;
    /// # assert_eq!(std::fs::read_to_string(&path)?.lines().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cancel safety
    /// From the first poll on the record is written, whether the future is dropped or not.
    ///
    /// # Errors
    /// The producer has no such file or is closed: the record is not there. Or the file cannot be written or synced: the record is not
    /// there, or may not outlast a power loss. It is not in the error; keep a clone if it must not be lost.
    pub async fn keep_failed(&self, failed: impl Into<FailedRecord>) -> Result<(), KeepError> {
        let keeping = self.shared().accumulator.outlet().keeping().ok_or(KeepError::NoFile)?;
        keeping.sink.keep_one(failed.into()).wait().await
    }

    /// [`keep_failed`](Self::keep_failed) for plain threads.
    ///
    /// # Blocking
    /// Parks the thread until the disk has the record. No timeout bounds it; only a disk that hangs makes it long.
    ///
    /// # Errors
    /// As [`keep_failed`](Self::keep_failed), and [`KeepError::OwnThread`].
    pub fn keep_failed_blocking(&self, failed: impl Into<FailedRecord>) -> Result<(), KeepError> {
        if self.shared().accumulator.outlet().keeping().is_some_and(|keeping| keeping.sink.is_own_thread()) {
            return Err(KeepError::OwnThread);
        }
        block_on(self.keep_failed(failed))
    }

    /// Counts and levels at this moment. Cheap, but not free: it looks at every partition that has batches queued. Never waits; also
    /// after [`close`](Producer::close).
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::of(self.shared())
    }

    /// Everything that is measured: [`metrics`](Producer::metrics), the metrics under Kafka's names by producer, topic and broker, and
    /// durations by stage of a batch's way. docs/metrics.md lists them.
    ///
    /// What the sender counts is as of its last pass; the counts that add up are of now. Costs some microseconds per topic and broker:
    /// once in a second is nothing. Also after [`close`](Producer::close).
    #[must_use]
    pub fn metrics_snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot::of(self.shared())
    }

    pub(crate) fn start(config: Config, attached: Attached) -> Result<Producer, BuildError> {
        let mut shared = Shared::new(config, fastrand::u64(..));
        shared.attach_or_fail(attached)?;
        let shared = Arc::new(shared);
        driver::spawn(&shared).map_err(BuildError::Io)?;
        Ok(Producer::of(shared))
    }

    /// The first handle.
    fn of(shared: Arc<Shared>) -> Producer {
        Producer { handle: Arc::new(Handle { shared }) }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// CMPL-6: in a callback, a call that would wait fails at once.
    fn may_wait(&self) -> Result<(), Refusal> {
        if in_callback() { Err(Refusal::WouldWait) } else { Ok(()) }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("client_id", &self.config().client_id).finish_non_exhaustive()
    }
}

/// FLU-8: the last handle is gone without `close`.
impl Drop for Handle {
    fn drop(&mut self) {
        if !self.shared.lifecycle.is_closed() {
            let pending = self.shared.accumulator.counts().pending;
            if pending > 0 {
                warn!(
                    "producer {} was dropped without close: {pending} records without an acknowledgement are given up",
                    self.shared.config.client_id
                );
            }
            self.shared.begin_close(Some(0));
        }
    }
}

/// Why a producer could not be built.
#[derive(Debug)]
pub enum BuildError {
    /// All mistakes in the configuration.
    Config(ConfigErrors),
    /// The system gave no thread or no poll.
    Io(std::io::Error),
    /// The failed-records file cannot be written (SEND-2).
    FailedRecords {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Config(errors) => errors.fmt(f),
            BuildError::Io(error) => write!(f, "the producer's sender could not be started: {error}"),
            BuildError::FailedRecords { path, error } => {
                write!(f, "the failed-records file {} cannot be written: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Config(errors) => Some(errors),
            BuildError::Io(error) | BuildError::FailedRecords { error, .. } => Some(error),
        }
    }
}

impl From<ConfigErrors> for BuildError {
    fn from(errors: ConfigErrors) -> BuildError {
        BuildError::Config(errors)
    }
}

/// Why a flush did not wait to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushError {
    /// It was called inside a delivery callback, or where the log is taken on a thread of the producer's own: on the thread that it would
    /// wait for (CMPL-6).
    InCallback,
    /// The time given was over; the records are still on their way.
    TimedOut,
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlushError::InCallback => {
                "flush was called inside a delivery callback or on the producer's own thread, where it would wait for itself"
            }
            FlushError::TimedOut => "the flush did not end in time; its records are still on their way",
        })
    }
}

impl std::error::Error for FlushError {}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(any(test, feature = "measure", feature = "simulate"))]
impl Producer {
    /// A producer without sender: the caller plays it.
    pub(crate) fn without_sender(shared: Shared) -> Producer {
        Producer::of(Arc::new(shared))
    }
}
