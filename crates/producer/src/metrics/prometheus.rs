//! The text that Prometheus reads, version 0.0.4 of its exposition format (MTR-3).
//!
//! Kafka's metrics have the names and labels that the JMX exporter gives them by default, so that dashboards made for the Java client
//! show this producer as well. Histograms have the powers of two from 128 µs to 67 s as bounds, which are exact.

use std::fmt::Write;

use super::catalogue::{MetricDescription, MetricKind, Value, metric_descriptions};
use super::otlp::bound_s;
use super::{Histogram, MetricsSnapshot};

/// Bounds of histogram buckets: 2 to the power of these many µs.
pub(super) const BOUNDS: std::ops::RangeInclusive<u32> = 7..=26;

impl MetricsSnapshot {
    /// This snapshot as Prometheus text; serve it as `text/plain; version=0.0.4`.
    ///
    /// Of several producers in one process use [`prometheus_text`]: a metric's header may stand in a text only once.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        prometheus_text(std::slice::from_ref(self))
    }
}

/// Snapshots of several producers as one Prometheus text; their client ids should differ.
#[must_use]
pub fn prometheus_text(snapshots: &[MetricsSnapshot]) -> String {
    let mut out = String::new();
    for description in metric_descriptions() {
        let name = description.prometheus_name();
        header(&mut out, &name, description);
        for snapshot in snapshots {
            description.visit(snapshot, |tag, value| {
                out.push_str(&name);
                labels(&mut out, snapshot, tag.as_slice());
                number(&mut out, value);
            });
            description.visit_stages(snapshot, |tag, stage, histogram| {
                let tags = [tag, ("stage", stage.name())];
                buckets(&mut out, &name, snapshot, &tags, histogram);
            });
        }
    }
    out
}

fn header(out: &mut String, name: &str, description: &MetricDescription) {
    let _ = write!(out, "# HELP {name} ");
    for c in description.meaning().chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    let _ = writeln!(out, " ({}).\n# TYPE {name} {}", description.unit(), description.kind());
    debug_assert!(
        description.kind() != MetricKind::Counter || name.ends_with("_total"),
        "counters end with _total: {name}"
    );
}

fn labels(out: &mut String, snapshot: &MetricsSnapshot, tags: &[(&str, &str)]) {
    let client = ("client-id", &*snapshot.client_id);
    for (at, (key, value)) in std::iter::once(&client).chain(tags).enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        out.push_str(&key.replace('-', "_"));
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out.push_str("} ");
}

fn number(out: &mut String, value: Value) {
    let _ = match value {
        Value::Whole(value) => writeln!(out, "{value}"),
        Value::Real(value) => writeln!(out, "{value}"),
    };
}

fn buckets(
    out: &mut String,
    name: &str,
    snapshot: &MetricsSnapshot,
    tags: &[(&str, &str)],
    histogram: &Histogram,
) {
    let bounds = BOUNDS.map(|power| (bound_s(power).to_string(), histogram.count_up_to_power(power)));
    for (bound, count) in bounds.chain([("+Inf".to_owned(), histogram.count())]) {
        let tags: Vec<(&str, &str)> = tags.iter().copied().chain([("le", bound.as_str())]).collect();
        let _ = write!(out, "{name}_bucket");
        labels(out, snapshot, &tags);
        let _ = writeln!(out, "{count}");
    }
    let _ = write!(out, "{name}_sum");
    labels(out, snapshot, tags);
    let _ = writeln!(out, "{}", histogram.sum().as_secs_f64());
    let _ = write!(out, "{name}_count");
    labels(out, snapshot, tags);
    let _ = writeln!(out, "{}", histogram.count());
}
