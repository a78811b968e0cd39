//! Exponential back-off with jitter (RTY-1): one shape for reconnects, connection set-up timeouts, retries and metadata.

/// How long to wait after the n-th failure in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    initial_ms: u64,
    max_ms: u64,
}

impl Backoff {
    /// A back-off that begins at `initial_ms`, doubles, and is never above `max_ms`.
    pub const fn new(initial_ms: u64, max_ms: u64) -> Self {
        Self { initial_ms, max_ms }
    }

    /// RTY-1: `initial · 2^n · U(0.8, 1.2)`, never above the maximum; `n` counts from 0. The exponential part stops at the
    /// maximum before the jitter, so the longest waits vary between 0.8 · max and max. With max ≤ initial it is exactly max.
    ///
    /// `random` is a number from 0 (inclusive) to 1 (exclusive) that the caller draws.
    pub fn delay_ms(&self, n: u32, random: f64) -> u64 {
        if self.max_ms <= self.initial_ms {
            return self.max_ms;
        }
        let doubled = match self.initial_ms.checked_mul(1_u64.checked_shl(n).unwrap_or(u64::MAX)) {
            Some(ms) => ms.min(self.max_ms),
            None => self.max_ms,
        };
        let jittered = doubled as f64 * (0.8 + 0.4 * random.clamp(0.0, 1.0));
        (jittered as u64).min(self.max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALMOST_ONE: f64 = 0.999_999_999;

    #[test]
    fn waits_double_with_a_fifth_of_jitter_up_to_the_maximum() {
        // RTY-1
        let backoff = Backoff::new(100, 1000);
        let range = |n| (backoff.delay_ms(n, 0.0), backoff.delay_ms(n, ALMOST_ONE));
        assert_eq!([0, 1, 2, 3].map(range), [(80, 119), (160, 239), (320, 479), (640, 959)]);
        for n in [4, 5, 31, 63, 64, 65, u32::MAX] {
            assert_eq!(range(n), (800, 1000), "failure {n}");
        }
    }

    #[test]
    fn a_maximum_not_above_the_initial_wait_is_taken_without_jitter() {
        // RTY-1
        for n in [0, 1, 7] {
            assert_eq!(Backoff::new(100, 100).delay_ms(n, 0.3), 100);
            assert_eq!(Backoff::new(100, 40).delay_ms(n, 0.9), 40);
            assert_eq!(Backoff::new(0, 0).delay_ms(n, 0.9), 0);
        }
    }
}
