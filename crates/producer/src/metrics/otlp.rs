//! The same figures for OpenTelemetry: a request of its protocol (OTLP) in JSON, to be posted to a collector's `/v1/metrics` (MTR-3).
//!
//! Kafka's metrics have the names that Kafka's own telemetry gives them (KIP-714): `record-send-total` of `producer-topic-metrics` is
//! `org.apache.kafka.producer.topic.record.send.total`. Who sends the request, and how often, is the application's to say: a client for
//! HTTP is more than a producer should bring along.

use std::fmt::Write;

use super::catalogue::{MetricDescription, MetricGroup, MetricKind, Value, metric_descriptions};
use super::prometheus::BOUNDS;
use super::{Histogram, MetricsSnapshot};

/// AGGREGATION_TEMPORALITY_CUMULATIVE
const CUMULATIVE: u32 = 2;

impl MetricsSnapshot {
    /// This snapshot as an `ExportMetricsServiceRequest` of OpenTelemetry's protocol, in its JSON form: the body of a POST to a
    /// collector's `/v1/metrics` with `Content-Type: application/json`. What was not measured within the windows is left out.
    ///
    /// The resource is named `service.name` after the client id; the names of metrics are those of Kafka's own telemetry.
    #[must_use]
    pub fn to_otlp_json(&self) -> String {
        let mut out = String::from("{\"resourceMetrics\":[{\"resource\":{\"attributes\":[");
        attribute(&mut out, "service.name", &self.client_id);
        out.push_str("]},\"scopeMetrics\":[{\"scope\":{\"name\":\"rohrpost\",\"version\":\"");
        out.push_str(env!("CARGO_PKG_VERSION"));
        out.push_str("\"},\"metrics\":[");
        let mut is_first = true;
        for description in metric_descriptions() {
            let points = points(self, description);
            if points.is_empty() {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(',');
            }
            let _ = write!(
                out,
                "{{\"name\":{},\"description\":{},\"unit\":{},",
                text(&name(description)),
                text(description.meaning()),
                text(unit(description))
            );
            let _ = match description.kind() {
                MetricKind::Counter => {
                    write!(out, "\"sum\":{{\"aggregationTemporality\":{CUMULATIVE},\"isMonotonic\":true,")
                }
                MetricKind::Gauge => write!(out, "\"gauge\":{{"),
                MetricKind::Histogram => {
                    write!(out, "\"histogram\":{{\"aggregationTemporality\":{CUMULATIVE},")
                }
            };
            let _ = write!(out, "\"dataPoints\":[{points}]}}}}");
        }
        out.push_str("]}]}]}");
        out
    }
}

/// The data points of a metric, with commas between them.
fn points(snapshot: &MetricsSnapshot, description: &MetricDescription) -> String {
    let mut out = String::new();
    let begin = |out: &mut String, tags: &[(&str, &str)]| {
        out.push_str(if out.is_empty() { "{\"attributes\":[" } else { ",{\"attributes\":[" });
        for (at, (key, value)) in tags.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            attribute(out, key, value);
        }
        let nanos = |ms: i64| i128::from(ms.max(0)) * 1_000_000;
        let _ = write!(
            out,
            "],\"startTimeUnixNano\":\"{}\",\"timeUnixNano\":\"{}\",",
            nanos(snapshot.started_at_ms),
            nanos(snapshot.taken_at_ms)
        );
    };
    description.visit(snapshot, |tag, value| {
        let value = match value {
            // 64 bits are text in the JSON of protocol buffers.
            Value::Whole(value) => format!("\"asInt\":\"{value}\"}}"),
            Value::Real(value) if value.is_finite() => format!("\"asDouble\":{value}}}"),
            Value::Real(_) => return,
        };
        begin(&mut out, tag.as_slice());
        out.push_str(&value);
    });
    description.visit_stages(snapshot, |tag, stage, histogram| {
        if histogram.count() > 0 {
            begin(&mut out, &[tag, ("stage", stage.name())]);
            buckets(&mut out, histogram);
        }
    });
    out
}

fn buckets(out: &mut String, histogram: &Histogram) {
    let seconds = |duration: std::time::Duration| duration.as_secs_f64();
    let mut below = 0;
    let (mut counts, mut bounds) = (String::new(), String::new());
    for power in BOUNDS {
        let up_to = histogram.count_up_to_power(power);
        let _ = write!(counts, "\"{}\",", up_to - below);
        let _ = write!(bounds, "{}{}", if bounds.is_empty() { "" } else { "," }, bound_s(power));
        below = up_to;
    }
    let _ = write!(
        out,
        "\"count\":\"{}\",\"sum\":{},\"max\":{},\"bucketCounts\":[{counts}\"{}\"],\"explicitBounds\":[{bounds}]}}",
        histogram.count(),
        seconds(histogram.sum()),
        seconds(histogram.max().unwrap_or_default()),
        histogram.count() - below
    );
}

/// 2 to the power of this many µs, in seconds.
pub(super) fn bound_s(power: u32) -> f64 {
    (1_u64 << power) as f64 / 1e6
}

fn name(description: &MetricDescription) -> String {
    let prefix = match description.group() {
        MetricGroup::Producer => "org.apache.kafka.producer",
        MetricGroup::Topic => "org.apache.kafka.producer.topic",
        MetricGroup::Node => "org.apache.kafka.producer.node",
        MetricGroup::Own => "rohrpost.producer",
        MetricGroup::OwnTopic => "rohrpost.producer.topic",
        MetricGroup::OwnNode => "rohrpost.producer.node",
    };
    format!("{prefix}.{}", description.name().replace('-', "."))
}

/// In the letters of UCUM, as OpenTelemetry asks.
fn unit(description: &MetricDescription) -> &str {
    match description.unit() {
        "bytes" => "By",
        "bytes/s" => "By/s",
        "seconds" => "s",
        "ratio" => "1",
        unit @ ("ms" | "ns") => unit,
        unit if unit.ends_with("/s") => "1/s",
        _ => "1",
    }
}

fn attribute(out: &mut String, key: &str, value: &str) {
    let _ = write!(out, "{{\"key\":{},\"value\":{{\"stringValue\":{}}}}}", text(key), text(value));
}

/// A JSON string.
fn text(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
