//! Latency of the sampled records: from the call of `send` (with a rate: from when the record was due) to its acknowledgement.
//!
//! The acknowledgement is seen by the record's callback, on the sender's thread, at the moment it happens: not when the
//! application gets round to awaiting it. Records between the samples carry no stamp, so the CPU per record is that of plain sends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::series::Series;

/// Latencies so far; shared with the callbacks.
#[derive(Clone)]
pub(super) struct Latencies(Arc<Mutex<State>>);

struct State {
    micros: Histogram<u64>,
    /// For a plot.
    stamps: Option<(Instant, Series<Stamp>)>,
}

/// One sampled record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When it was acknowledged, in ms since the start.
    pub(super) at_ms: u32,
    /// Its latency.
    pub(super) micros: u32,
}

/// The figures that are printed, in ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
    pub(super) samples: u64,
}

impl Latencies {
    /// `stamps_from` is the start of the time axis, if stamps are wanted.
    pub(super) fn new(stamps_from: Option<Instant>) -> Latencies {
        // up to 10 minutes with 3 significant digits; the bounds are constants that the library accepts
        let micros = Histogram::new_with_bounds(1, 600_000_000, 3).expect("valid bounds");
        let stamps = stamps_from.map(|start| (start, Series::new()));
        Latencies(Arc::new(Mutex::new(State { micros, stamps })))
    }

    /// A record that began at `begin` was acknowledged at `now`.
    pub(super) fn record(&self, begin: Instant, now: Instant) {
        let micros = saturating_micros(now.saturating_duration_since(begin));
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.micros.saturating_record(micros);
        if let Some((start, stamps)) = &mut state.stamps {
            let at_ms = now.saturating_duration_since(*start).as_millis();
            stamps.push(Stamp {
                at_ms: u32::try_from(at_ms).unwrap_or(u32::MAX),
                micros: u32::try_from(micros).unwrap_or(u32::MAX),
            });
        }
    }

    /// `None` if nothing was sampled.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let micros = &state.micros;
        if micros.is_empty() {
            return None;
        }
        let ms = |quantile| micros.value_at_quantile(quantile) as f64 / 1000.0;
        Some(Percentiles {
            p50: ms(0.5),
            p99: ms(0.99),
            p999: ms(0.999),
            max: micros.max() as f64 / 1000.0,
            samples: micros.len(),
        })
    }

    /// The stamps, in the order of the acknowledgements.
    pub(super) fn stamps(&self) -> Vec<Stamp> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.stamps.as_ref().map_or_else(Vec::new, |(_, stamps)| stamps.points().to_vec())
    }
}

fn saturating_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let start = Instant::now();
        let latencies = Latencies::new(Some(start));
        assert_eq!(latencies.percentiles(), None);
        for ms in 1..=1000 {
            latencies.record(start, start + Duration::from_millis(ms));
        }
        let found = latencies.percentiles().unwrap();
        let near = |value: f64, wanted: f64| (value - wanted).abs() <= wanted / 1000.0;
        assert!(near(found.p50, 500.0) && near(found.p99, 990.0), "{found:?}");
        assert!(near(found.p999, 999.0) && near(found.max, 1000.0), "{found:?}");
        assert_eq!(found.samples, 1000);
        assert_eq!(latencies.stamps()[9], Stamp { at_ms: 10, micros: 10_000 });
    }

    #[test]
    fn a_latency_beyond_the_histogram_is_kept_as_its_bound() {
        let start = Instant::now();
        let latencies = Latencies::new(None);
        latencies.record(start, start + Duration::from_secs(100_000));
        assert!(latencies.percentiles().unwrap().max >= 600_000.0);
        assert!(latencies.stamps().is_empty());
    }
}
