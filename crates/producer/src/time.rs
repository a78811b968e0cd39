//! Time as the state machines see it: numbers handed in, never a clock read inside them.
//!
//! Two clocks meet here. *Monotonic* milliseconds since the producer was built drive every timer. *Wall-clock*
//! milliseconds stamp records (API-4): one cell that the sender refreshes on each pass, so that no clock is read per
//! record.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The producer's clock: read by the sender on each pass, its last reading visible to every thread.
pub(crate) struct Clock {
    /// `None`: a clock set by hand.
    start: Option<Instant>,
    monotonic_us: AtomicU64,
    wall_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        let clock = Clock {
            start: Some(Instant::now()),
            monotonic_us: AtomicU64::new(0),
            wall_ms: AtomicI64::new(0),
        };
        clock.refresh();
        clock
    }

    /// Reads both clocks, publishes them, and gives the monotonic one.
    pub(crate) fn refresh(&self) -> u64 {
        let Some(start) = self.start else { return self.last_ms() };
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
        let now_us = start.elapsed().as_micros() as u64;
        self.monotonic_us.store(now_us, Ordering::Relaxed);
        now_us / 1000
    }

    /// The last monotonic reading; at most as old as the sender's last pass.
    pub(crate) fn last_ms(&self) -> u64 {
        self.last_us() / 1000
    }

    /// The same in microseconds: for durations that are measured (MTR-2), while timers go by milliseconds.
    pub(crate) fn last_us(&self) -> u64 {
        self.monotonic_us.load(Ordering::Relaxed)
    }

    /// The last wall-clock reading, in ms since 1970.
    pub(crate) fn last_wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::Relaxed)
    }
}

impl Clock {
    /// A clock that stands still until it is set, for mocks, tests and simulations.
    pub(crate) fn by_hand(wall_ms: i64) -> Clock {
        Clock { start: None, monotonic_us: AtomicU64::new(0), wall_ms: AtomicI64::new(wall_ms) }
    }

    /// Sets a clock that stands still otherwise.
    #[cfg(feature = "simulate")]
    pub(crate) fn set(&self, now_ms: u64, wall_ms: i64) {
        self.monotonic_us.store(now_ms * 1000, Ordering::Relaxed);
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
    }

    /// Lets time pass on a clock set by hand.
    pub(crate) fn advance(&self, ms: u64) -> u64 {
        self.wall_ms.fetch_add(ms as i64, Ordering::Relaxed);
        self.monotonic_us.fetch_add(ms * 1000, Ordering::Relaxed) / 1000 + ms
    }
}
