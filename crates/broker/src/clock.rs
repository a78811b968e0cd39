//! Time, as the broker gets it: handed in, so that a test can move it.
//!
//! Two clocks in one: the wall clock goes into records and retention and may jump; the monotonic one says when timed work is due
//! (chapter 22 of the reference: a clock jump moves no timer). Deadlines of requests are the network's and run on real time.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// What time it is.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock: ms since 1970.
    fn now_ms(&self) -> i64;

    /// Milliseconds that never go back, from any start.
    fn monotonic_ms(&self) -> u64;

    /// The moment at which a thread that waits for `due_ms` on the monotonic clock is to wake; `None` if this clock only moves when
    /// it is told to, and then wakes by itself.
    fn wake_at(&self, due_ms: u64) -> Option<Instant>;
}

/// The machine's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

/// A clock that stands still until it is moved. Clones share their time.
///
/// ```
/// use std::time::Duration;
///
/// use rohrpost_broker::{Clock, Cluster, ManualClock};
///
/// let clock = ManualClock::new(1_700_000_000_000);
/// let cluster = Cluster::builder().topic("orders", 1, 1).clock(&clock).start()?;
/// clock.advance(Duration::from_secs(7 * 24 * 3600)); // a week, with all checkpoints and retention in it, at once
/// assert_eq!(clock.now_ms(), 1_700_604_800_000);
/// # drop(cluster);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ManualClock {
    shared: Arc<Shared>,
}

/// Someone whose timed work follows a [`ManualClock`].
pub(crate) trait Timed: Send + Sync {
    /// Does what is due now; returns when the next is.
    fn run_due(&self) -> u64;
}

struct Shared {
    time: Mutex<Time>,
    followers: Mutex<Vec<Weak<dyn Timed>>>,
    /// One move at a time.
    moving: Mutex<()>,
}

#[derive(Clone, Copy)]
struct Time {
    wall_ms: i64,
    monotonic_ms: u64,
}

impl SystemClock {
    /// The machine's time; the monotonic clock begins at 0.
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    fn monotonic_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn wake_at(&self, due_ms: u64) -> Option<Instant> {
        // a minute early is no harm, an overflow is
        let far = Instant::now() + FAR;
        Some(self.start.checked_add(Duration::from_millis(due_ms)).unwrap_or(far).min(far))
    }
}

/// Nobody sleeps longer than this without a look at the clock.
const FAR: Duration = Duration::from_secs(24 * 3600);

impl ManualClock {
    /// A clock that shows `wall_ms` (ms since 1970).
    pub fn new(wall_ms: i64) -> ManualClock {
        let shared = Shared {
            time: Mutex::new(Time { wall_ms, monotonic_ms: 0 }),
            followers: Mutex::default(),
            moving: Mutex::new(()),
        };
        ManualClock { shared: Arc::new(shared) }
    }

    /// Moves both clocks forward, from one due piece of timed work to the next, each done at its time in this thread: it blocks for as
    /// long as that work takes. Syncs that it orders run in threads of their own. Parts of a millisecond are dropped.
    pub fn advance(&self, by: Duration) {
        let _one = self.shared.moving.lock();
        let target = self.time().monotonic_ms.saturating_add(by.as_millis() as u64);
        loop {
            let followers: Vec<_> = {
                let mut followers = self.shared.followers.lock();
                followers.retain(|follower| follower.strong_count() > 0);
                followers.iter().filter_map(Weak::upgrade).collect()
            };
            let next = followers.iter().map(|follower| follower.run_due()).min().unwrap_or(u64::MAX);
            let mut time = self.shared.time.lock();
            if time.monotonic_ms >= target {
                return;
            }
            // work that stays due must not hold the clock
            let to = next.clamp(time.monotonic_ms + 1, target);
            time.wall_ms = time.wall_ms.saturating_add((to - time.monotonic_ms) as i64);
            time.monotonic_ms = to;
        }
    }

    /// Sets the wall clock alone, as an operator or a time server does. Nothing runs by this.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.shared.time.lock().wall_ms = wall_ms;
    }

    fn time(&self) -> Time {
        *self.shared.time.lock()
    }

    pub(crate) fn follow(&self, follower: Weak<dyn Timed>) {
        self.shared.followers.lock().push(follower);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.time().wall_ms
    }

    fn monotonic_ms(&self) -> u64 {
        self.time().monotonic_ms
    }

    fn wake_at(&self, _: u64) -> Option<Instant> {
        None
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("wall_ms", &self.time().wall_ms).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work every ten milliseconds; notes when it ran.
    struct Every10 {
        clock: ManualClock,
        ran: Mutex<Vec<(u64, i64)>>,
    }

    impl Timed for Every10 {
        fn run_due(&self) -> u64 {
            let now = self.clock.monotonic_ms();
            let mut ran = self.ran.lock();
            if now.is_multiple_of(10) && ran.last().is_none_or(|(at, _)| *at < now) {
                ran.push((now, self.clock.now_ms()));
            }
            now / 10 * 10 + 10
        }
    }

    #[test]
    fn each_piece_of_work_runs_at_its_own_time() {
        let clock = ManualClock::new(1_000_000);
        let work = Arc::new(Every10 { clock: clock.clone(), ran: Mutex::default() });
        let follower: Weak<dyn Timed> = Arc::downgrade(&(Arc::clone(&work) as Arc<dyn Timed>));
        clock.follow(follower);
        clock.advance(Duration::from_millis(25));
        assert_eq!(*work.ran.lock(), [(0, 1_000_000), (10, 1_000_010), (20, 1_000_020)]);
        clock.set_wall_ms(5);
        clock.advance(Duration::from_millis(5));
        assert_eq!(work.ran.lock().last(), Some(&(30, 10)), "a jump of the wall clock moves no timer");
    }
}
