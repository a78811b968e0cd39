//! What the producer does, in figures: under Kafka's names, exact where Kafka's mislead, and by stage of a batch's way.
//!
//! Beside a record's journey, not on it: the sender counts per batch or per request ([`book`]), and whoever asks for a snapshot does
//! the arithmetic on its own thread. A record costs nothing here (MTR-3); only a call that has to wait for room or metadata is counted
//! as it stops waiting.
//!
//! * [`counts`]: the exact counts that add up (MTR-1): [`Metrics`].
//! * [`snapshot`]: the whole as a plain struct: [`MetricsSnapshot`].
//! * [`histogram`]: durations with percentiles; one per [`Stage`] and topic or broker (MTR-2).
//! * [`windows`]: rates, means and maxima over `metrics.num.samples` windows of `metrics.sample.window.ms`.
//! * [`book`]: what the sender writes; bounded, and idle topics leave it (MTR-4).
//! * [`table`]: the figures, each with its name, its unit and when it is counted, in one list. It makes the structs of a snapshot and the rows
//!   of the [`catalogue`], to which `docs/metrics.md` is held.
//! * [`prometheus`]: the text that Prometheus reads; [`otlp`]: the request that an OpenTelemetry collector takes.

pub(crate) mod book;
mod catalogue;
mod counts;
#[cfg(test)]
mod formats_tests;
mod histogram;
mod otlp;
mod prometheus;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod windows;

pub use self::catalogue::{Metric, MetricDescription, MetricGroup, MetricKind, metric_descriptions};
pub use self::counts::Metrics;
pub use self::histogram::Histogram;
pub use self::prometheus::prometheus_text;
pub use self::snapshot::{AvgMax, Meter, MetricsSnapshot, Stage};
pub use self::table::{NodeMetrics, ProducerMetrics, TopicMetrics};
