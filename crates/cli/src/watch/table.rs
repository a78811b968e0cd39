//! What a snapshot looks like on a screen: rates since the last look, levels now, and where the time goes.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rohrpost::{Histogram, MetricsSnapshot, Stage};

use super::Reading;
use crate::produce::report::{bytes, grouped, rate};

/// Brokers that are shown; with more, the busiest.
const BROKERS_MAX: usize = 8;
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("max", 1.0)];

/// What was there before, to say what has come since.
pub(super) struct Report {
    name: String,
    input: Option<Arc<Reading>>,
    first: (MetricsSnapshot, Instant),
    last: (MetricsSnapshot, Instant),
}

impl Report {
    pub(super) fn new(
        name: &str,
        snapshot: MetricsSnapshot,
        now: Instant,
        input: Option<Arc<Reading>>,
    ) -> Report {
        Report { name: name.to_owned(), input, first: (snapshot.clone(), now), last: (snapshot, now) }
    }

    /// What has come since the last time, or since the start.
    pub(super) fn next(&mut self, snapshot: MetricsSnapshot, now: Instant, since_start: bool) -> State {
        let (before, at) = if since_start { &self.first } else { &self.last };
        let input = self.input.as_ref().map(|input| (input.bytes_read.load(Relaxed), input.bytes_total));
        let state = State::of(&self.name, input, before, &snapshot, now.duration_since(*at));
        self.last = (snapshot, now);
        state
    }
}

/// The figures of a table.
pub(super) struct State {
    name: String,
    /// Bytes read, and bytes there are.
    input: Option<(u64, u64)>,
    acked: u64,
    acked_per_second: f64,
    sent_bytes_per_second: f64,
    outstanding: u64,
    in_flight: u64,
    retries: u64,
    failed: u64,
    buffer_used: u64,
    buffer_total: u64,
    waiting: u64,
    stages: Vec<(&'static str, Histogram)>,
    /// The busiest first.
    brokers: Vec<Broker>,
    brokers_left_out: usize,
}

struct Broker {
    name: String,
    requests_per_second: f64,
    out_per_second: f64,
    in_per_second: f64,
    answering: Histogram,
}

impl State {
    fn of(
        name: &str,
        input: Option<(u64, u64)>,
        before: &MetricsSnapshot,
        now: &MetricsSnapshot,
        passed: Duration,
    ) -> State {
        let seconds = passed.as_secs_f64().max(1e-3);
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let delivered = |of: &MetricsSnapshot| of.counts.records_acked + of.counts.records_handed_over;
        let stages = Stage::ALL.map(|stage| (stage.name(), now.latency(stage).since(&before.latency(stage))));
        let mut brokers: Vec<Broker> = now
            .nodes
            .iter()
            .map(|(node, metrics)| {
                let old = before.nodes.get(node);
                let since =
                    |of: fn(&rohrpost::NodeMetrics) -> u64| per_second(of(metrics), old.map_or(0, of));
                let answering = metrics.latency(Stage::Answering).cloned().unwrap_or_default();
                let answered_before = old.and_then(|old| old.latency(Stage::Answering));
                Broker {
                    name: broker_name(*node),
                    requests_per_second: since(|m| m.request.total),
                    out_per_second: since(|m| m.outgoing_byte.total),
                    in_per_second: since(|m| m.incoming_byte.total),
                    answering: answering.since(answered_before.unwrap_or(&Histogram::default())),
                }
            })
            .filter(|broker| broker.requests_per_second > 0.0 || broker.answering.count() > 0)
            .collect();
        brokers.sort_by(|a, b| b.out_per_second.total_cmp(&a.out_per_second));
        let brokers_left_out = brokers.len().saturating_sub(BROKERS_MAX);
        brokers.truncate(BROKERS_MAX);
        let (producer, counts) = (&now.producer, &now.counts);
        State {
            name: name.to_owned(),
            input,
            acked: delivered(now),
            acked_per_second: per_second(delivered(now), delivered(before)),
            sent_bytes_per_second: per_second(
                producer.outgoing_byte.total,
                before.producer.outgoing_byte.total,
            ),
            outstanding: counts.records_pending,
            in_flight: producer.requests_in_flight,
            retries: counts.records_retried,
            failed: counts.records_failed(),
            buffer_used: producer.buffer_total_bytes.saturating_sub(producer.buffer_available_bytes),
            buffer_total: producer.buffer_total_bytes,
            waiting: producer.waiting_threads,
            stages: stages.into(),
            brokers,
            brokers_left_out,
        }
    }

    fn buffer_percent(&self) -> u64 {
        (self.buffer_used * 100).checked_div(self.buffer_total).unwrap_or(0)
    }

    /// For a terminal: several lines of at most so many columns, no newline at the end.
    pub(super) fn table(&self, columns: usize) -> String {
        let mut lines = vec![
            format!("{}  {} records acknowledged", self.name, grouped(self.acked)),
            format!(
                "rate         {} rec/s  {}/s",
                rate(self.acked_per_second),
                bytes(self.sent_bytes_per_second)
            ),
            format!(
                "outstanding  {} records  in flight {} requests  retries {}  failed {}",
                grouped(self.outstanding),
                self.in_flight,
                grouped(self.retries),
                grouped(self.failed)
            ),
            format!(
                "buffer       {} % of {}  calls waiting {}",
                self.buffer_percent(),
                bytes(self.buffer_total as f64),
                self.waiting
            ),
        ];
        if let Some((read, total)) = self.input {
            lines.insert(1, format!("input        {} of {}", bar(read, total), bytes(total as f64)));
        }
        let width = |name: &str| 9.max(name.len() + 1);
        let mut head = "latency ".to_owned();
        self.stages.iter().for_each(|(name, _)| {
            let _ = write!(head, "{name:>0$}", width(name));
        });
        lines.push(head);
        for (label, q) in QUANTILES {
            let mut line = format!("  {label:<6}");
            self.stages.iter().for_each(|(name, histogram)| {
                let _ = write!(line, "{:>1$}", quantile(histogram, q), width(name));
            });
            lines.push(line);
        }
        lines.push("broker        requests/s       out/s        in/s  answer p50  answer p99".to_owned());
        for broker in &self.brokers {
            lines.push(format!(
                "  {:<9} {:>12} {:>11} {:>11} {:>11} {:>11}",
                broker.name,
                rate(broker.requests_per_second),
                bytes(broker.out_per_second),
                bytes(broker.in_per_second),
                quantile(&broker.answering, 0.5),
                quantile(&broker.answering, 0.99)
            ));
        }
        if self.brokers_left_out > 0 {
            lines.push(format!("  … and {} more", self.brokers_left_out));
        }
        let cut = |line: &String| line.chars().take(columns.max(1)).collect::<String>();
        lines.iter().map(cut).collect::<Vec<_>>().join("\n")
    }

    /// For a file: a line for the producer, and one for each broker.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut line = format!(
            "stats: {} acknowledged, {} rec/s, {}/s; outstanding {}; in flight {}; buffer {} %, {} waiting; retries {}; failed {}",
            grouped(self.acked),
            rate(self.acked_per_second),
            bytes(self.sent_bytes_per_second),
            grouped(self.outstanding),
            self.in_flight,
            self.buffer_percent(),
            self.waiting,
            grouped(self.retries),
            grouped(self.failed),
        );
        for (name, histogram) in self.stages.iter().filter(|(_, histogram)| histogram.count() > 0) {
            let _ =
                write!(line, "; {name} p50 {} p99 {}", quantile(histogram, 0.5), quantile(histogram, 0.99));
        }
        let broker = |broker: &Broker| {
            format!(
                "stats: broker {}: {} requests/s, {}/s out, {}/s in; answer p50 {} p99 {}",
                broker.name,
                rate(broker.requests_per_second),
                bytes(broker.out_per_second),
                bytes(broker.in_per_second),
                quantile(&broker.answering, 0.5),
                quantile(&broker.answering, 0.99)
            )
        };
        let mut lines = vec![line];
        lines.extend(self.brokers.iter().map(broker));
        if self.brokers_left_out > 0 {
            lines.push(format!("stats: and {} more brokers", self.brokers_left_out));
        }
        lines
    }
}

fn broker_name(node: i32) -> String {
    match node {
        MetricsSnapshot::OTHER_NODES => MetricsSnapshot::OTHERS.to_owned(),
        // bootstrap servers
        node if node < 0 => format!("boot {}", node.unsigned_abs()),
        node => node.to_string(),
    }
}

/// How much of it is done, to the eye and in percent: a file that grows meanwhile is not done before its end.
fn bar(done: u64, total: u64) -> String {
    const CELLS: u64 = 30;
    let part = |of: u64| (u128::from(done) * u128::from(of)).checked_div(total.into()).unwrap_or(of.into());
    let (cells, percent) = (part(CELLS).min(CELLS.into()) as usize, part(100).min(100));
    format!("[{}{}] {percent:>3} %", "=".repeat(cells), " ".repeat(CELLS as usize - cells))
}

fn quantile(histogram: &Histogram, q: f64) -> String {
    histogram.quantile(q).map_or_else(|| "-".to_owned(), short)
}

/// Three digits or so.
fn short(duration: Duration) -> String {
    let us = duration.as_micros();
    match us {
        0..1000 => format!("{us} µs"),
        1000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..10_000_000 => format!("{} ms", us / 1000),
        _ => format!("{:.0} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_and_say_their_unit() {
        let us = |us| short(Duration::from_micros(us));
        assert_eq!(
            [us(7), us(1500), us(99_949), us(250_000), us(12_400_000)],
            ["7 µs", "1.5 ms", "99.9 ms", "250 ms", "12 s"]
        );
    }

    fn state() -> State {
        let broker = |name: &str| Broker {
            name: name.to_owned(),
            requests_per_second: 120.0,
            out_per_second: 2_000_000.0,
            in_per_second: 5000.0,
            answering: Histogram::default(),
        };
        State {
            name: "orders.txt".into(),
            input: Some((15 << 20, 60 << 20)),
            acked: 1_234_567,
            acked_per_second: 98_765.0,
            sent_bytes_per_second: 10_000_000.0,
            outstanding: 4321,
            in_flight: 5,
            retries: 7,
            failed: 1,
            buffer_used: 24 << 20,
            buffer_total: 32 << 20,
            waiting: 2,
            stages: Stage::ALL.map(|stage| (stage.name(), Histogram::default())).into(),
            brokers: vec![broker("1"), broker("boot 1")],
            brokers_left_out: 3,
        }
    }

    #[test]
    fn a_table_has_every_figure_and_is_no_wider_than_the_terminal() {
        let table = state().table(200);
        for what in
            ["1,234,567", "99 k rec/s", "9.5 MiB/s", "4,321", "retries 7", "failed 1", "75 %", "waiting 2"]
        {
            assert!(table.contains(what), "{what} is not in\n{table}");
        }
        for stage in Stage::ALL {
            assert!(table.contains(stage.name()));
        }
        assert!(table.contains("boot 1") && table.contains("and 3 more"), "{table}");
        assert!(state().table(40).lines().all(|line| line.chars().count() <= 40));
    }

    #[test]
    fn an_input_of_known_size_has_a_bar_and_any_other_has_none() {
        let row =
            |state: State| state.table(200).lines().find(|line| line.starts_with("input")).map(str::to_owned);
        let shown = row(state()).unwrap();
        assert_eq!(shown, "input        [=======                       ]  25 % of 60.0 MiB");
        assert_eq!(row(State { input: None, ..state() }), None);
        assert!(bar(0, 10).contains("]   0 %") && bar(0, 0).contains("=] 100 %"));
        assert_eq!(bar(11, 10), format!("[{}] 100 %", "=".repeat(30)), "the file has grown");
        assert!(bar(u64::MAX - 1, u64::MAX).contains(" ]  99 %"));
    }

    #[test]
    fn lines_have_the_same_figures() {
        let lines = state().lines();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.starts_with("stats: ")));
        assert!(lines[0].contains("outstanding 4,321") && lines[0].contains("buffer 75 %"), "{}", lines[0]);
        assert!(lines[1].contains("broker 1: 120 requests/s"), "{}", lines[1]);
    }
}
