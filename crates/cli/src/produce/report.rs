//! What a person sees of a run: the progress bar while it goes on, one line when it is over.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal;

/// One record in so many has its latency taken, from `send` to its acknowledgement.
pub(super) const LATENCY_SAMPLE: u64 = 1000;

/// Latencies of the sampled records, in microseconds; shared with the callbacks on the sender thread.
#[derive(Clone)]
pub(super) struct Latencies(Arc<Mutex<Histogram<u64>>>);

impl Latencies {
    pub(super) fn new() -> Latencies {
        // up to 10 minutes with 3 significant digits; the bounds are constants that the library accepts
        let histogram = Histogram::new_with_bounds(1, 600_000_000, 3).expect("valid bounds");
        Latencies(Arc::new(Mutex::new(histogram)))
    }

    pub(super) fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }

    /// `ack p50 3.1 ms p99 9.8 ms max 12.0 ms`, or nothing if nothing was acknowledged.
    fn describe(&self) -> Option<String> {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if histogram.is_empty() {
            return None;
        }
        let ms = |micros: u64| milliseconds(micros as f64 / 1000.0);
        Some(format!(
            "ack p50 {} p99 {} max {}",
            ms(histogram.value_at_quantile(0.5)),
            ms(histogram.value_at_quantile(0.99)),
            ms(histogram.max())
        ))
    }
}

/// What a run has come to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    /// Records handed to the producer, and those that could not be.
    pub(super) records: u64,
    /// Bytes of keys and values of acknowledged records.
    pub(super) bytes: u64,
    pub(super) failed: u64,
    pub(super) retries: u64,
}

/// The progress bar; draws nothing where standard error is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn start(name: &str, bytes_total: Option<u64>, quiet: bool) -> Progress {
        if quiet || !terminal::is_terminal() {
            return Progress { bar: ProgressBar::hidden() };
        }
        let bar = match bytes_total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        bar.set_draw_target(terminal::bar_target());
        // all figures beside it take up to 75 columns
        let width = terminal::bar_columns().saturating_sub(75).clamp(6, 24);
        let color = terminal::wants_color();
        let template = match (bytes_total, color) {
            (Some(_), _) => format!(
                "{{prefix}}  {{bar:{width}{}}}  {{percent}}%  {{bytes}}  {{bytes_per_sec}}  eta {{eta}}  {{msg}}",
                if color { ".cyan/dim" } else { "" }
            ),
            (None, true) => {
                "{prefix}  {spinner:.cyan}  {bytes}  {bytes_per_sec}  {elapsed}  {msg}".to_owned()
            }
            (None, false) => "{prefix}  {spinner}  {bytes}  {bytes_per_sec}  {elapsed}  {msg}".to_owned(),
        };
        // the templates are constants but for a number
        bar.set_style(ProgressStyle::with_template(&template).expect("valid template").progress_chars("━╸─"));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        terminal::show_bar(Some(bar.clone()));
        Progress { bar }
    }

    pub(super) fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    pub(super) fn advance(&self, bytes_read: u64) {
        self.bar.set_position(bytes_read);
    }

    pub(super) fn say(&self, in_flight: usize, failed: u64) {
        self.bar.set_message(format!("in flight {in_flight}  failed {failed}"));
    }

    pub(super) fn finish(self) {
        terminal::show_bar(None);
        self.bar.finish_and_clear();
    }
}

/// The one line at the end.
pub(super) fn summary(totals: Totals, started: Instant, latencies: &Latencies) -> String {
    let seconds = started.elapsed().as_secs_f64().max(1e-6);
    let mut line = format!(
        "{} record{}, {} in {} ({} rec/s, {}/s)",
        grouped(totals.records),
        if totals.records == 1 { "" } else { "s" },
        bytes(totals.bytes as f64),
        duration(seconds),
        rate(totals.records as f64 / seconds),
        bytes(totals.bytes as f64 / seconds),
    );
    if let Some(latency) = latencies.describe() {
        let _ = write!(line, "; {latency}");
    }
    let _ = write!(line, "; retries {}; failed {}", grouped(totals.retries), grouped(totals.failed));
    line
}

/// 9112530 → 9,112,530
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(crate) fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{value:.0} B"),
        (_, 100.0..) => format!("{value:.0} {}", UNITS[unit]),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        1e6.. => format!("{:.2} M", per_second / 1e6),
        1e4.. => format!("{:.0} k", per_second / 1e3),
        _ => grouped(per_second.round() as u64),
    }
}

pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        60.0.. => format!("{} min {:.0} s", (seconds / 60.0) as u64, seconds % 60.0),
        1.0.. => format!("{seconds:.1} s"),
        _ => milliseconds(seconds * 1000.0),
    }
}

fn milliseconds(ms: f64) -> String {
    if ms >= 100.0 { format!("{ms:.0} ms") } else { format!("{ms:.1} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_people_read_them() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(9_112_530), "9,112,530");
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(bytes(414.0 * 1024.0 * 1024.0), "414 MiB");
        assert_eq!(rate(969_400.0), "969 k");
        assert_eq!(rate(1_250_000.0), "1.25 M");
        assert_eq!(duration(0.0123), "12.3 ms");
        assert_eq!(duration(75.0), "1 min 15 s");
    }
}
