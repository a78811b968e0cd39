//! What all handles and the sender share.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rohrpost_protocol::ErrorCode;

use super::close::Closed;
use crate::accumulator::{Accumulator, Counts, Settings};
use crate::config::Config;
use crate::metadata::MetadataShared;
use crate::outcome::Refusal;
use crate::sender::core::SenderStats;
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
    pub(crate) closed: Closed,
    pub(crate) stats: SenderStats,
}

impl Shared {
    pub(crate) fn new(config: Config, seed: u64) -> Shared {
        let settings = Settings::new(&config, seed);
        Shared::with(config, settings, Clock::new())
    }

    /// For tests: a clock that stands still until it is set, and no thread that compresses.
    #[cfg(test)]
    pub(crate) fn by_hand(config: Config) -> Shared {
        let settings = Settings { codec_threads: 0, ..Settings::new(&config, 7) };
        Shared::with(config, settings, Clock::by_hand(1_700_000_000_000))
    }

    fn with(config: Config, settings: Settings, clock: Clock) -> Shared {
        let sender = SenderWake::new();
        Shared {
            clock,
            metadata: MetadataShared::new(sender.clone()),
            accumulator: Accumulator::new(settings, sender.clone()),
            timers: Timers::new(sender.clone()),
            lifecycle: Lifecycle::default(),
            commands: Commands::default(),
            closed: Closed::default(),
            stats: SenderStats::default(),
            sender,
            config,
        }
    }

    /// Why records do not get through, in words, if that is known.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.metadata.trouble().or_else(|| self.stats.identity_trouble.lock().clone())
    }

    /// No more records; the sender ends when what there is has its outcome, or after `within_ms`.
    pub(crate) fn begin_close(&self, within_ms: Option<u64>) {
        let before = self.accumulator.counts();
        let deadline_ms = within_ms.map(|ms| self.clock.refresh().saturating_add(ms));
        self.lifecycle.close();
        self.commands.close(before, deadline_ms);
        // BUF-6, FLU-7: whoever waits wakes with an error.
        self.accumulator.set_closing();
        self.metadata.wake_all();
        self.sender.wake();
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
}

/// What was asked since the sender last looked.
#[derive(Default)]
pub(crate) struct Wishes {
    /// Queued, in flight.
    pub(crate) purge: Option<(bool, bool)>,
    /// Topics, and the number of the last call.
    pub(crate) warm_up: Option<(Vec<Arc<str>>, u64)>,
    /// Counts when the first close was called, and the earliest deadline.
    pub(crate) close: Option<(Counts, Option<u64>)>,
}

impl Commands {
    pub(crate) fn take(&self) -> Option<Wishes> {
        self.is_waiting.swap(false, Ordering::AcqRel).then(|| std::mem::take(&mut *self.waiting.lock()))
    }

    pub(crate) fn purge(&self, sender: &SenderWake, queued: bool, in_flight: bool) {
        let mut waiting = self.waiting.lock();
        let (was_queued, was_in_flight) = waiting.purge.unwrap_or_default();
        waiting.purge = Some((was_queued | queued, was_in_flight | in_flight));
        drop(waiting);
        self.announce(sender);
    }

    /// Gives the number of this call: it is done when `SenderStats::warm_ups_done` has reached it.
    pub(crate) fn warm_up(&self, sender: &SenderWake, mut topics: Vec<Arc<str>>) -> u64 {
        let mut waiting = self.waiting.lock();
        let number = self.warm_ups.fetch_add(1, Ordering::Relaxed) + 1;
        let (wanted, last) = waiting.warm_up.get_or_insert_default();
        wanted.append(&mut topics);
        wanted.sort_unstable();
        wanted.dedup();
        *last = number;
        drop(waiting);
        self.announce(sender);
        number
    }

    fn close(&self, before: Counts, deadline_ms: Option<u64>) {
        let mut waiting = self.waiting.lock();
        let (_, earliest) = waiting.close.get_or_insert((before, deadline_ms));
        *earliest = [*earliest, deadline_ms].into_iter().flatten().min();
        drop(waiting);
        self.is_waiting.store(true, Ordering::Release);
    }

    fn announce(&self, sender: &SenderWake) {
        self.is_waiting.store(true, Ordering::Release);
        sender.wake();
    }
}

#[cfg(test)]
impl Shared {
    pub(crate) fn metrics_epoch_bumps(&self) -> u64 {
        self.stats.epoch_bumps.load(Ordering::Relaxed)
    }
}
