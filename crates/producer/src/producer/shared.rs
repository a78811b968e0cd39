//! What all handles and the sender share.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use rohrpost_protocol::ErrorCode;
use rohrpost_record::Compression;

use super::close::{CloseReport, Purge, PurgeReport};
use super::report::Coming;
use super::stops::Stops;
use super::{BuildError, Mock};
use crate::accumulator::{Accumulator, Settings};
use crate::config::Config;
use crate::delivery::{Executor, Keeping};
use crate::failed_records::{FailedRecords, Sink};
use crate::interceptor::{Interceptor, Interceptors};
use crate::metadata::MetadataShared;
use crate::metrics::book::{Book, Spans};
use crate::outcome::Refusal;
use crate::partitioner::{Custom, Partitioner};
use crate::sender::core::SenderStats;
use crate::sync::OnceLock;
use crate::time::Clock;
use crate::wait::{SenderWake, Timers};

/// One per producer.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) metadata: MetadataShared,
    pub(crate) accumulator: Accumulator,
    pub(crate) sender: SenderWake,
    pub(crate) timers: Timers,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) commands: Commands,
    /// The end of the producer.
    pub(crate) closed: Coming<CloseReport>,
    pub(crate) stops: Stops,
    pub(crate) stats: SenderStats,
    pub(crate) book: Book,
    pub(crate) interceptors: Option<Arc<Interceptors>>,
    /// What is drawn at random begins here.
    seed: u64,
    /// What plays the sender, in an application's tests.
    pub(crate) mock: Option<Arc<Mock>>,
}

/// What of a user's own code a producer is built with.
#[derive(Clone, Default)]
pub(crate) struct Attached {
    pub(crate) interceptors: Vec<Arc<dyn Interceptor>>,
    pub(crate) callbacks_on: Option<Executor>,
    pub(crate) failed_records: Option<FailedRecords>,
    pub(crate) partitioner: Option<Arc<dyn Partitioner>>,
}

impl Shared {
    pub(crate) fn new(config: Config, seed: u64) -> Shared {
        let settings = Settings::new(&config, seed);
        Shared::with(config, settings, Clock::new())
    }

    /// For tests: a clock that stands still until it is set, and no thread that compresses.
    #[cfg(any(test, feature = "measure"))]
    pub(crate) fn by_hand(config: Config) -> Shared {
        Shared::seeded(config, 7)
    }

    /// A clock that stands still until it is set, and no thread that compresses: the seed decides everything.
    #[cfg(any(test, feature = "measure", feature = "simulate"))]
    pub(crate) fn seeded(config: Config, seed: u64) -> Shared {
        let settings = Settings { codec_threads: 0, ..Settings::new(&config, seed) };
        Shared::with(config, settings, Clock::by_hand(1_700_000_000_000))
    }

    /// Each record a batch of its own, as it is: outcomes are told one by one.
    pub(super) fn for_mock(config: Config, seed: u64, clock: Clock) -> Shared {
        let mut settings = Settings {
            codec_threads: 0,
            batch_records_max: 1,
            compression: Compression::NONE,
            ..Settings::new(&config, seed)
        };
        settings.topics.values_mut().for_each(|topic| topic.compression = Compression::NONE);
        Shared::with(config, settings, clock)
    }

    fn with(config: Config, settings: Settings, clock: Clock) -> Shared {
        let sender = SenderWake::new();
        Shared {
            seed: settings.seed,
            mock: None,
            metadata: MetadataShared::new(sender.clone()),
            accumulator: Accumulator::new(settings, sender.clone()),
            timers: Timers::new(sender.clone()),
            lifecycle: Lifecycle::default(),
            commands: Commands::default(),
            closed: Coming::default(),
            stops: Stops::default(),
            stats: SenderStats::default(),
            book: Book::new(
                Spans::new(config.metrics_num_samples, config.metrics_sample_window_ms),
                clock.last_us(),
            ),
            clock,
            interceptors: None,
            sender,
            config,
        }
    }

    /// Before the producer is used: with the user's own code.
    ///
    /// # Errors
    /// The failed-records file cannot be opened, or its thread not be started.
    pub(crate) fn attach(&mut self, attached: Attached) -> io::Result<()> {
        self.interceptors = Interceptors::new(attached.interceptors);
        if self.interceptors.is_some() {
            self.accumulator.take_long_way();
        }
        let named = || self.config.partitioner.make(self.seed);
        if let Some(partitioner) = attached.partitioner.or_else(named) {
            self.accumulator.set_partitioner(Custom::new(partitioner));
        }
        if let Some(executor) = attached.callbacks_on {
            self.accumulator.outlet().set_executor(executor, self.sender.clone());
        }
        if let Some(settings) = attached.failed_records {
            let sink = Sink::start(settings, self.sender.clone())?;
            self.accumulator.outlet().set_keeping(Keeping::new(sink, self.accumulator.pool().clone()));
        }
        Ok(())
    }

    /// [`attach`](Shared::attach), with the error as a builder tells it.
    pub(super) fn attach_or_fail(&mut self, attached: Attached) -> Result<(), BuildError> {
        let path = attached.failed_records.as_ref().map(|file| file.path().to_owned());
        self.attach(attached)
            .map_err(|error| BuildError::FailedRecords { path: path.unwrap_or_default(), error })
    }

    /// Something is there for the sender: a mock does it at once. Call it without any lock held.
    #[inline]
    pub(crate) fn play(&self) {
        if let Some(mock) = &self.mock {
            mock.play(self);
        }
    }

    /// Why records do not get through, in words, if that is known.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.metadata.trouble().or_else(|| self.stats.identity_trouble.lock().clone())
    }

    /// No more records; the sender ends when what there is has its outcome, or after `within_ms`.
    pub(crate) fn begin_close(&self, within_ms: Option<u64>) {
        self.accumulator.begin_close();
        let deadline_ms = within_ms.map(|ms| self.clock.refresh().saturating_add(ms));
        self.lifecycle.close();
        // BUF-6, FLU-7: whoever waits wakes with an error. And first of all: were the sender told before, it could find nothing
        // to send and end, and a record accepted at that moment would never get an outcome.
        self.accumulator.set_closing();
        self.commands.close(deadline_ms);
        self.metadata.wake_all();
        self.sender.wake();
        self.play();
    }
}

/// Where the producer stands between open and closed.
#[derive(Default)]
pub(crate) struct Lifecycle {
    state: AtomicU8,
    fatal: OnceLock<(ErrorCode, Arc<str>)>,
}

impl Lifecycle {
    const OPEN: u8 = 0;
    const CLOSED: u8 = 1;
    const FATAL: u8 = 2;

    /// One load while the producer is open.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        match self.state.load(Ordering::Acquire) {
            Self::OPEN => Ok(()),
            Self::FATAL => Err(match self.fatal.get() {
                Some((code, text)) => Refusal::Fatal { code: *code, message: text.clone() },
                None => Refusal::Closed,
            }),
            _ => Err(Refusal::Closed),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) == Self::CLOSED
    }

    /// No more records; true for the first who says so.
    pub(crate) fn close(&self) -> bool {
        self.state.swap(Self::CLOSED, Ordering::AcqRel) != Self::CLOSED
    }

    /// The producer met an error that ends it. A closed one stays closed.
    pub(crate) fn fail(&self, code: ErrorCode, text: Arc<str>) {
        let _ = self.fatal.set((code, text));
        let _ = self.state.compare_exchange(Self::OPEN, Self::FATAL, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// What application threads ask of the sender. Bounded: wishes of a kind are one.
#[derive(Default)]
pub(crate) struct Commands {
    is_waiting: AtomicBool,
    waiting: Mutex<Wishes>,
    warm_ups: AtomicU64,
    /// Calls of `connect` that wait, by number.
    open_warm_ups: Mutex<BTreeSet<u64>>,
}

/// What was asked since the sender last looked.
#[derive(Default)]
pub(crate) struct Wishes {
    pub(crate) purge: Option<PurgeWish>,
    /// Calls of `connect`, each with a number and its topics.
    pub(crate) warm_ups: Vec<(u64, Vec<Arc<str>>)>,
    pub(crate) close: Option<CloseWish>,
}

/// The producer is to end.
pub(crate) struct CloseWish {
    /// The earliest of all closes; `None`: no limit.
    pub(crate) deadline_ms: Option<u64>,
}

/// What is to be dropped, and who is told what was.
pub(crate) struct PurgeWish {
    pub(crate) queued: bool,
    pub(crate) in_flight: bool,
    coming: Arc<Coming<PurgeReport>>,
}

impl PurgeWish {
    /// Whether somebody may ask for the records.
    pub(crate) fn is_asked_for(&self) -> bool {
        Arc::strong_count(&self.coming) > 1
    }

    pub(crate) fn finish(self, report: PurgeReport) {
        self.coming.finish(report);
    }
}

impl Commands {
    pub(crate) fn take(&self) -> Option<Wishes> {
        self.is_waiting.swap(false, Ordering::AcqRel).then(|| std::mem::take(&mut *self.waiting.lock()))
    }

    pub(crate) fn purge(&self, sender: &SenderWake, queued: bool, in_flight: bool) -> Purge {
        let mut waiting = self.waiting.lock();
        let new = || PurgeWish { queued: false, in_flight: false, coming: Arc::default() };
        let wish = waiting.purge.get_or_insert_with(new);
        wish.queued |= queued;
        wish.in_flight |= in_flight;
        let purge = Purge::new(wish.coming.clone());
        drop(waiting);
        self.announce(sender);
        purge
    }

    /// The sender has ended: what is still asked of it comes to nothing.
    pub(crate) fn leave(&self) {
        if let Some(wish) = self.take().and_then(|wishes| wishes.purge) {
            wish.finish(PurgeReport::default());
        }
    }

    /// Asks for connections to the leaders of these topics. The wish lasts as long as what this gives (CON-8).
    pub(crate) fn warm_up(&self, sender: &SenderWake, topics: Vec<Arc<str>>) -> WarmUp<'_> {
        let number = self.warm_ups.fetch_add(1, Ordering::Relaxed);
        self.open_warm_ups.lock().insert(number);
        self.waiting.lock().warm_ups.push((number, topics));
        self.announce(sender);
        WarmUp { commands: self, number }
    }

    /// Whether a call still waits; for the sender.
    pub(crate) fn is_warm_up_open(&self, number: u64) -> bool {
        self.open_warm_ups.lock().contains(&number)
    }

    /// The connections of a call stand, or it has given up.
    pub(crate) fn end_warm_up(&self, number: u64) {
        self.open_warm_ups.lock().remove(&number);
    }

    fn close(&self, deadline_ms: Option<u64>) {
        let mut waiting = self.waiting.lock();
        let wish = waiting.close.get_or_insert(CloseWish { deadline_ms });
        wish.deadline_ms = [wish.deadline_ms, deadline_ms].into_iter().flatten().min();
        drop(waiting);
        self.is_waiting.store(true, Ordering::Release);
    }

    fn announce(&self, sender: &SenderWake) {
        self.is_waiting.store(true, Ordering::Release);
        sender.wake();
    }
}

/// A call of `connect` that waits.
pub(crate) struct WarmUp<'a> {
    commands: &'a Commands,
    number: u64,
}

impl WarmUp<'_> {
    pub(crate) fn is_done(&self) -> bool {
        !self.commands.is_warm_up_open(self.number)
    }
}

impl Drop for WarmUp<'_> {
    fn drop(&mut self) {
        self.commands.end_warm_up(self.number);
    }
}

#[cfg(test)]
impl Shared {
    pub(crate) fn metrics_epoch_bumps(&self) -> u64 {
        self.stats.epoch_bumps.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, channel};
    use std::time::Duration;

    use super::*;
    use crate::accumulator::tests::{cluster, topic_metadata};

    #[test]
    fn the_sender_hears_of_a_close_once_no_append_is_under_way() {
        // FLU-5, PRE-8: an append that began before the close still counts; the sender must not look before it is listed.
        let config = crate::ProducerBuilder::from_pairs([("bootstrap.servers", "toy:1")]).check().unwrap();
        let shared = Shared::by_hand(config);
        let topic = shared.accumulator.topic_or_new("t");
        shared.accumulator.apply(&cluster(1, [topic_metadata("t", &[Some(1)], 0)]));
        let partition = topic.partition_or_new(0, &Arc::default(), &Default::default());
        std::thread::scope(|scope| {
            let append = partition.queue.lock();
            let (tell, told) = channel();
            let shared = &shared;
            scope.spawn(move || {
                shared.begin_close(None);
                tell.send(()).unwrap();
            });
            while !shared.accumulator.is_closing() {
                std::thread::yield_now();
            }
            let _ = told.recv_timeout(Duration::from_millis(50));
            assert_eq!(told.try_recv(), Err(TryRecvError::Empty), "the close waits for the append");
            assert!(shared.commands.take().is_none());
            drop(append);
            told.recv().unwrap();
            assert!(shared.commands.take().is_some_and(|wishes| wishes.close.is_some()));
        });
    }
}
