//! A log-linear histogram of durations: bounded memory, exact counts, percentiles with a stated error.
//!
//! Durations are whole microseconds. Up to 16 µs each has a bucket of its own; above, every doubling is cut into 16 buckets of equal
//! width, up to 2³⁴ µs (4 h 46 min), which the last bucket takes as well as all that is longer. A bucket holds what is longer than its
//! lower bound and not longer than its upper one, so that a power of two is a bound and a count up to it is exact. Buckets are there up to
//! the longest duration seen: 496 at most, of 8 bytes.

use std::time::Duration;

/// Each doubling has 2 to the power of this many buckets.
const SUB_BITS: u32 = 4;
const SUBS: u64 = 1 << SUB_BITS;
/// Durations above 2 to the power of this many µs share the last bucket.
const TOP_BITS: u32 = 34;
/// All buckets there can be.
const BUCKETS_MAX: usize = (SUBS as usize) * (TOP_BITS - SUB_BITS + 1) as usize;

/// How many durations of which length there were.
///
/// Count, sum, mean and maximum are exact. A percentile is off by at most one part in 32 of its value, and by 1 µs at least
/// ([`Histogram::quantile`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Up to the last that is not 0.
    buckets: Vec<u64>,
    count: u64,
    sum_us: u64,
    max_us: u64,
}

impl Histogram {
    /// How many durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together, to the microsecond.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// The longest, to the microsecond; `None` if there is none.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_micros(self.max_us))
    }

    /// Their mean; `None` if there is none.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        self.sum_us.checked_div(self.count).map(Duration::from_micros)
    }

    /// The duration that a share `q` (0 to 1) of all is not longer than: `quantile(0.99)` is the 99th percentile. `None` if there is none.
    ///
    /// With n durations it stands for the one at place ⌈q·n⌉ in the order of length (the first for 0), and is off from that one by at
    /// most 1/32 of it plus 1 µs; durations above 2³⁴ µs are told as the longest of all.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        let us = match at {
            Some(at) if at + 1 < BUCKETS_MAX => (lower_us(at) + upper_us(at)).div_ceil(2).min(self.max_us),
            _ => self.max_us,
        };
        Some(Duration::from_micros(us))
    }

    /// How many are not longer than 2 to the power of `exponent` µs. Exact for exponents up to 34.
    #[must_use]
    pub fn count_up_to_power(&self, exponent: u32) -> u64 {
        let end = bucket_of(1 << exponent.min(TOP_BITS)) + 1;
        self.buckets.iter().take(end).sum()
    }

    /// Takes in what another one has counted. The order does not matter.
    pub fn merge(&mut self, other: &Histogram) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// What was counted since `earlier`, an older state of the same histogram. Its maximum is exact if it is the longest of all, else off
    /// like a percentile.
    #[must_use]
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let before = earlier.buckets.iter().chain(std::iter::repeat(&0));
        let buckets: Vec<u64> =
            self.buckets.iter().zip(before).map(|(now, before)| now.saturating_sub(*before)).collect();
        let last = buckets.iter().rposition(|count| *count > 0);
        let max_us = match last {
            None => 0,
            Some(_) if self.max_us > earlier.max_us => self.max_us,
            Some(last) => upper_us(last).min(self.max_us),
        };
        Histogram {
            buckets,
            count: self.count.saturating_sub(earlier.count),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
            max_us,
        }
    }

    /// Counts `times` durations of this length.
    pub(super) fn record(&mut self, us: u64, times: u64) {
        let at = bucket_of(us);
        if self.buckets.len() <= at {
            // To the end of the doubling: durations differ, and it should not grow with each of them.
            self.buckets.resize((at / SUBS as usize + 1) * SUBS as usize, 0);
        }
        self.buckets[at] += times;
        self.count += times;
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(times));
        self.max_us = self.max_us.max(us);
    }
}

fn bucket_of(us: u64) -> usize {
    let x = us.saturating_sub(1).min((1 << TOP_BITS) - 1);
    if x < SUBS {
        return x as usize;
    }
    let shift = x.ilog2() - SUB_BITS;
    (u64::from(shift) * SUBS + (x >> shift)) as usize
}

/// What is counted in a bucket is longer than this, but for 0 µs in the first.
fn lower_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    match (bucket / SUBS).checked_sub(1) {
        None | Some(0) => bucket,
        Some(shift) => (SUBS + bucket % SUBS) << shift,
    }
}

/// What is counted in a bucket is not longer than this.
fn upper_us(bucket: usize) -> u64 {
    lower_us(bucket + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|us| histogram.record(*us, 1));
        histogram
    }

    fn quantile_us(histogram: &Histogram, q: f64) -> u64 {
        histogram.quantile(q).expect("it has durations").as_micros() as u64
    }

    /// Of all lengths: as many short as long ones.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        let duration = (0..=TOP_BITS, any::<u64>()).prop_map(|(bits, random)| random % (1 << bits));
        prop::collection::vec(duration, 1..300)
    }

    #[test]
    fn every_duration_is_within_the_bounds_of_its_bucket_and_buckets_leave_no_gap() {
        for bucket in 0..BUCKETS_MAX - 1 {
            let (lower, upper) = (lower_us(bucket), upper_us(bucket));
            assert!(lower < upper);
            assert_eq!((bucket_of(lower + 1), bucket_of(upper)), (bucket, bucket), "bucket {bucket}");
            assert!(upper - lower == 1 || (upper - lower) * SUBS <= lower, "bucket {bucket} is too wide");
        }
        assert_eq!((bucket_of(0), bucket_of(1 << TOP_BITS), bucket_of(u64::MAX)), (0, 495, 495));
        assert_eq!(BUCKETS_MAX, 496);
    }

    #[test]
    fn an_empty_one_says_nothing() {
        let empty = Histogram::default();
        assert_eq!((empty.quantile(0.5), empty.max(), empty.mean(), empty.count()), (None, None, None, 0));
    }

    #[test]
    fn what_is_longer_than_the_last_bound_is_told_as_the_longest() {
        let histogram = of(&[5, 1 << 40, 1 << 41]);
        assert_eq!(quantile_us(&histogram, 0.6), 1 << 41);
        assert_eq!(histogram.max(), Some(Duration::from_micros(1 << 41)));
    }

    proptest! {
        // MTR-2
        #[test]
        fn percentiles_are_off_by_no_more_than_is_said(mut durations in durations(), q in 0.0..=1.0_f64) {
            let histogram = of(&durations);
            durations.sort_unstable();
            for q in [q, 0.0, 0.5, 0.99, 0.999, 1.0] {
                let rank = ((q * durations.len() as f64).ceil() as usize).max(1);
                let exact = durations[rank - 1];
                let told = quantile_us(&histogram, q);
                prop_assert!(told.abs_diff(exact) <= exact / 32 + 1, "{q}: {told} for {exact}");
            }
            prop_assert_eq!(histogram.count(), durations.len() as u64);
            prop_assert_eq!(histogram.sum().as_micros() as u64, durations.iter().sum::<u64>());
            prop_assert_eq!(histogram.max().map(|max| max.as_micros() as u64), durations.last().copied());
        }

        #[test]
        fn counts_up_to_a_power_of_two_are_exact(durations in durations(), exponent in 0..=TOP_BITS) {
            let exact = durations.iter().filter(|us| **us <= 1 << exponent).count() as u64;
            prop_assert_eq!(of(&durations).count_up_to_power(exponent), exact);
        }

        #[test]
        fn merged_ones_are_those_of_all_durations(a in durations(), b in durations()) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let all = of(&[a, b].concat());
            for q in [0.0, 0.1, 0.5, 0.9, 0.99, 1.0] {
                prop_assert_eq!(merged.quantile(q), all.quantile(q));
            }
            prop_assert_eq!((merged.count(), merged.sum(), merged.max()), (all.count(), all.sum(), all.max()));
        }

        #[test]
        fn what_was_counted_since_is_that_and_no_more(a in durations(), b in durations()) {
            let before = of(&a);
            let mut after = before.clone();
            b.iter().for_each(|us| after.record(*us, 1));
            let since = after.since(&before);
            let exact = of(&b);
            prop_assert_eq!((since.count(), since.sum()), (exact.count(), exact.sum()));
            for q in [0.0, 0.5, 0.9] {
                let (told, exact) = (quantile_us(&since, q), quantile_us(&exact, q));
                prop_assert!(told.abs_diff(exact) <= exact / 16 + 1, "{}: {} for {}", q, told, exact);
            }
            let (told, exact) = (since.max().unwrap(), exact.max().unwrap());
            prop_assert!(told >= exact && told <= exact + exact / 16 + Duration::from_micros(1));
            prop_assert_eq!(after.since(&after).max(), None);
        }

        #[test]
        fn a_larger_share_is_never_shorter(durations in durations(), q in 0.0..=1.0_f64, r in 0.0..=1.0_f64) {
            let histogram = of(&durations);
            prop_assert!(histogram.quantile(q.min(r)) <= histogram.quantile(q.max(r)));
        }
    }
}
