//! `--rate`: when each record is due. No clock here: the time since the start is handed in.

use std::time::Duration;

/// An even pace: record `n` is due `n / rate` after the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    per_second: f64,
}

impl Pace {
    /// So many records per second.
    pub(super) fn new(per_second: f64) -> Pace {
        Pace { per_second }
    }

    /// How many records are due by `elapsed`: the first one at once.
    pub(super) fn due(self, elapsed: Duration) -> u64 {
        (elapsed.as_secs_f64() * self.per_second) as u64 + 1
    }

    /// When record `number`, counted from 0, is due.
    pub(super) fn due_at(self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_due_one_by_one_and_never_early() {
        let pace = Pace::new(1000.0);
        assert_eq!(pace.due(Duration::ZERO), 1);
        assert_eq!(pace.due(Duration::from_micros(999)), 1);
        assert_eq!(pace.due(Duration::from_secs(2)), 2001);
        for rate in [1.0, 7.0, 333.3, 1e6] {
            let pace = Pace::new(rate);
            for number in [0, 1, 2, 1000, 123_456] {
                let at = pace.due_at(number);
                assert!(pace.due(at + Duration::from_micros(1)) > number, "{rate} {number}");
                if let Some(before) = at.checked_sub(Duration::from_micros(1)) {
                    assert!(pace.due(before) <= number + 1, "{rate} {number}");
                }
            }
        }
    }

    #[test]
    fn who_falls_behind_may_catch_up_at_once() {
        let pace = Pace::new(100.0);
        assert_eq!(pace.due(Duration::from_secs(1)) - pace.due(Duration::ZERO), 100);
    }
}
