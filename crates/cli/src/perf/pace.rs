//! `--rate`: when each record is due. No clock here: the time since the start is handed in.
//!
//! Up to [`EXACT_MAX`] records per second each record has a moment of its own. Above, they are due in groups, one group per
//! millisecond: a thread that slept before each record would spend more on waking up than the producer on the record.

use std::time::Duration;

/// Records per second of one thread.
const EXACT_MAX: f64 = 1000.0;
const TICKS_PER_SECOND: f64 = 1000.0;
/// Against what is lost in the last digit of a fraction.
const NEARLY: f64 = 1e-6;

/// An even pace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    per_second: f64,
}

impl Pace {
    /// So many records per second.
    pub(crate) fn new(per_second: f64) -> Pace {
        Pace { per_second }
    }

    /// How many records are due by `elapsed`: the first one at once.
    pub(crate) fn due(self, elapsed: Duration) -> u64 {
        let seconds = elapsed.as_secs_f64();
        let seconds = if self.is_grouped() {
            (seconds * TICKS_PER_SECOND + NEARLY).floor() / TICKS_PER_SECOND
        } else {
            seconds
        };
        (seconds * self.per_second + NEARLY) as u64 + 1
    }

    /// When record `number`, counted from 0, is due.
    pub(crate) fn due_at(self, number: u64) -> Duration {
        let seconds = number as f64 / self.per_second;
        Duration::from_secs_f64(if self.is_grouped() {
            (seconds * TICKS_PER_SECOND - NEARLY).ceil().max(0.0) / TICKS_PER_SECOND
        } else {
            seconds
        })
    }

    fn is_grouped(self) -> bool {
        self.per_second > EXACT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [f64; 8] = [0.5, 1.0, 7.0, 333.3, 1000.0, 1500.0, 123_456.7, 1e7];

    #[test]
    fn a_record_is_due_at_its_moment_and_not_before() {
        for rate in RATES {
            let pace = Pace::new(rate);
            for number in [0, 1, 2, 3, 1000, 123_456] {
                let at = pace.due_at(number);
                assert!(pace.due(at + Duration::from_nanos(10)) > number, "{rate} {number}");
                if let Some(before) = at.checked_sub(Duration::from_micros(3)) {
                    assert!(pace.due(before) <= number, "{rate} {number} is due before {at:?}");
                }
            }
        }
    }

    #[test]
    fn the_rate_is_kept_over_time() {
        for rate in RATES {
            let due = Pace::new(rate).due(Duration::from_secs(100)) as f64 - 1.0;
            assert!((due - rate * 100.0).abs() <= 1.0, "{rate}: {due}");
        }
    }

    #[test]
    fn high_rates_come_in_one_group_per_millisecond() {
        let pace = Pace::new(50_000.0);
        assert_eq!(pace.due(Duration::from_micros(1990)), 51);
        assert_eq!(pace.due(Duration::from_millis(2)), 101);
        assert!((51..=100).all(|number| pace.due_at(number) == Duration::from_millis(2)));
        assert_eq!(Pace::new(1000.0).due(Duration::from_micros(1999)), 2, "and low ones do not");
    }

    #[test]
    fn who_falls_behind_may_catch_up_at_once() {
        let pace = Pace::new(100.0);
        assert_eq!(pace.due(Duration::from_secs(1)) - pace.due(Duration::ZERO), 100);
    }
}
