//! Sums that only grow, looked at through windows: rates, means and maxima over the recent past, as Kafka's `SampledStat`.
//!
//! Kafka keeps sums per window and metric. Here all sums of a kind are one struct that only grows, and a window is a copy of it from
//! when the window began: what was added since is a difference, and counting something costs one addition whatever is made of it later.
//! Only maxima are kept per window.

use std::collections::VecDeque;

use super::{AvgMax, Meter};

/// How long windows are, and how many are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spans {
    /// `metrics.sample.window.ms`
    window_ms: u64,
    /// `metrics.num.samples`
    samples: usize,
}

/// So many windows are kept at most, whatever `metrics.num.samples` says: each is a copy of all sums.
const SAMPLES_MAX: u32 = 100;
/// A rate is not taken over less than this: two records within the first millisecond are not 2000 a second.
const SHORTEST_MS: u64 = 1000;

impl Spans {
    pub(crate) fn new(samples: u32, window_ms: u64) -> Spans {
        Spans { window_ms: window_ms.max(1), samples: samples.clamp(1, SAMPLES_MAX) as usize }
    }

    /// What began so long ago is not looked at any more.
    fn reach_ms(self) -> u64 {
        self.window_ms.saturating_mul(self.samples as u64)
    }
}

/// Sums `T` with their windows, and the largest of each window, `M`.
#[derive(Debug, Clone)]
pub(crate) struct Windows<T, M> {
    total: T,
    /// Oldest first; never empty.
    samples: VecDeque<Sample<T, M>>,
}

#[derive(Debug, Clone, Copy)]
struct Sample<T, M> {
    start_ms: u64,
    at_start: T,
    max: M,
}

/// Maxima of several windows become one.
pub(crate) trait Maxima: Copy + Default {
    fn join(&mut self, other: &Self);
}

impl<T: Copy + Default, M: Maxima> Windows<T, M> {
    pub(crate) fn new(now_ms: u64) -> Windows<T, M> {
        let first = Sample { start_ms: now_ms, at_start: T::default(), max: M::default() };
        Windows { total: T::default(), samples: [first].into() }
    }

    pub(crate) fn total(&self) -> &T {
        &self.total
    }

    /// Sums and maxima, to be added to. Begins a new window if it is time.
    pub(crate) fn add(&mut self, spans: Spans, now_ms: u64) -> (&mut T, &mut M) {
        let start_ms = self.samples.back().map_or(0, |last| last.start_ms);
        if start_ms.saturating_add(spans.window_ms) <= now_ms || self.samples.is_empty() {
            if self.samples.len() >= spans.samples {
                self.samples.pop_front();
            }
            self.samples.push_back(Sample { start_ms: now_ms, at_start: self.total, max: M::default() });
        }
        let Some(last) = self.samples.back_mut() else { unreachable!("a window was just begun") };
        (&mut self.total, &mut last.max)
    }

    pub(crate) fn view(&self, spans: Spans, now_ms: u64) -> View<'_, T, M> {
        let recent = |sample: &&Sample<T, M>| sample.start_ms.saturating_add(spans.reach_ms()) > now_ms;
        let mut max = M::default();
        self.samples.iter().filter(recent).for_each(|sample| max.join(&sample.max));
        let oldest = self.samples.iter().find(recent);
        View {
            total: &self.total,
            since: oldest.map_or(self.total, |oldest| oldest.at_start),
            max,
            seconds: oldest
                .map_or(SHORTEST_MS, |oldest| now_ms.saturating_sub(oldest.start_ms).max(SHORTEST_MS))
                as f64
                / 1000.0,
        }
    }
}

/// The windows at one moment.
pub(crate) struct View<'a, T, M> {
    total: &'a T,
    since: T,
    max: M,
    seconds: f64,
}

impl<T, M> View<'_, T, M> {
    pub(super) fn meter(&self, of: impl Fn(&T) -> u64) -> Meter {
        Meter { total: of(self.total), rate: self.per_second(of) }
    }

    pub(super) fn per_second(&self, of: impl Fn(&T) -> u64) -> f64 {
        self.added(of) as f64 / self.seconds
    }

    /// What was added to one sum by what was added to another.
    pub(super) fn ratio(&self, of: impl Fn(&T) -> u64, by: impl Fn(&T) -> u64) -> Option<f64> {
        let by = self.added(by);
        (by > 0).then(|| self.added(of) as f64 / by as f64)
    }

    /// Mean and largest of what was counted, times `unit`.
    pub(super) fn avg_max(
        &self,
        of: impl Fn(&T) -> u64,
        by: impl Fn(&T) -> u64,
        max: impl Fn(&M) -> u64,
        unit: f64,
    ) -> Option<AvgMax> {
        let avg = self.ratio(of, by)?;
        Some(AvgMax { avg: avg * unit, max: max(&self.max) as f64 * unit })
    }

    fn added(&self, of: impl Fn(&T) -> u64) -> u64 {
        of(self.total) - of(&self.since)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Maxima for u64 {
        fn join(&mut self, other: &u64) {
            *self = (*self).max(*other);
        }
    }

    const SPANS: Spans = Spans { window_ms: 30_000, samples: 2 };

    fn add(windows: &mut Windows<u64, u64>, now_ms: u64, count: u64) {
        let (total, max) = windows.add(SPANS, now_ms);
        *total += count;
        *max = (*max).max(count);
    }

    fn of(total: &u64) -> u64 {
        *total
    }

    // MTR-1
    #[test]
    fn a_rate_is_what_was_added_in_the_windows_by_the_time_they_cover() {
        let mut windows = Windows::new(0);
        for second in 0..40 {
            add(&mut windows, second * 1000, 100);
        }
        let meter = windows.view(SPANS, 40_000).meter(of);
        assert_eq!((meter.total, meter.rate), (4000, 100.0), "two windows, 40 seconds of them");
        for second in 40..70 {
            add(&mut windows, second * 1000, 10);
        }
        // The first window has gone, and with it 30 seconds of 100.
        let meter = windows.view(SPANS, 70_000).meter(of);
        assert_eq!((meter.total, meter.rate), (4300, (10.0 * 100.0 + 30.0 * 10.0) / 40.0));
    }

    #[test]
    fn a_rate_is_true_from_the_first_second_on_and_0_after_a_long_silence() {
        let mut windows = Windows::new(5000);
        assert_eq!(windows.view(SPANS, 5000).per_second(of), 0.0);
        add(&mut windows, 5000, 500);
        assert_eq!(windows.view(SPANS, 5001).per_second(of), 500.0, "over a second at least");
        assert_eq!(windows.view(SPANS, 7000).per_second(of), 250.0);
        assert_eq!(windows.view(SPANS, 64_999).max, 500);
        let view = windows.view(SPANS, 65_000);
        assert_eq!((view.per_second(of), view.max, *view.total), (0.0, 0, 500));
        assert_eq!(view.avg_max(of, of, of, 1.0), None, "nothing was measured");
    }

    #[test]
    fn the_number_of_windows_is_bounded_whatever_is_asked_for() {
        let spans = Spans::new(u32::MAX, 1);
        let mut windows: Windows<u64, u64> = Windows::new(0);
        (0..1000).for_each(|now_ms| *windows.add(spans, now_ms).0 += 1);
        assert_eq!(windows.samples.len(), SAMPLES_MAX as usize);
        assert_eq!(Spans::new(0, 0), Spans { window_ms: 1, samples: 1 });
    }

    proptest! {
        #[test]
        fn totals_only_grow_and_a_maximum_is_of_the_windows(
            steps in prop::collection::vec((0..20_000_u64, 0..1000_u64), 1..60),
        ) {
            let mut windows = Windows::new(0);
            let (mut now_ms, mut sum) = (0, 0);
            let mut all = Vec::new();
            for (after_ms, count) in steps {
                now_ms += after_ms;
                sum += count;
                all.push((now_ms, count));
                add(&mut windows, now_ms, count);
                let view = windows.view(SPANS, now_ms);
                prop_assert_eq!(*view.total, sum);
                // What is in the windows began less than two of them ago, and the last one is always among them.
                let largest = |since_ms: u64| all.iter().filter(|(at, _)| *at >= since_ms).map(|(_, n)| *n).max().unwrap();
                prop_assert!(view.max <= largest(now_ms.saturating_sub(60_000)));
                prop_assert!(view.max >= count);
            }
        }
    }
}
