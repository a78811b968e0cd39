//! Everything that is measured, at one moment, as a plain struct (MTR-3).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::book::{NodePage, Pages, Spans, TopicPage};
use super::windows::View;
use super::{Histogram, Metrics, NodeMetrics, ProducerMetrics, TopicMetrics};
use crate::producer::Shared;

/// All metrics of a producer at one moment; see [`Producer::metrics_snapshot`](crate::Producer::metrics_snapshot).
///
/// Fields have Kafka's names (`record-send-total` is `producer.record_send.total`); docs/metrics.md says what each of them counts.
/// [`MetricsSnapshot::kafka_metrics`] gives the same as a list of names and values, [`MetricsSnapshot::to_prometheus`] as text, and
/// [`MetricsSnapshot::to_otlp_json`] as what an OpenTelemetry collector takes.
///
/// ```
/// # use rohrpost::{Producer, Record, Stage};
/// # let cluster = rohrpost_broker::Cluster::builder().topic("orders", 1, 1).start()?;
/// # let producer = Producer::builder(cluster.bootstrap_servers()).build()?;
/// producer.send_blocking(Record::to("orders").value("one espresso"))?.wait()?;
/// let metrics = producer.metrics_snapshot();
/// assert_eq!(metrics.counts.records_acked, 1);
/// println!("{} records, p99 of their way: {:?}", metrics.producer.record_send.total, metrics.latency(Stage::Total).quantile(0.99));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// `client.id`.
    pub client_id: Arc<str>,
    /// When it was taken, in ms since 1970.
    pub taken_at_ms: i64,
    /// When the producer was built, in ms since 1970 by the clock of this moment.
    pub started_at_ms: i64,
    /// The exact counts, which add up (MTR-1).
    pub counts: Metrics,
    /// `producer-metrics`.
    pub producer: ProducerMetrics,
    /// `producer-topic-metrics`, by topic: those sent to within the last hour (MTR-4), at most 256. What is beyond that is counted
    /// together, under [`MetricsSnapshot::OTHERS`].
    pub topics: BTreeMap<Arc<str>, TopicMetrics>,
    /// `producer-node-metrics`, by broker id; bootstrap servers are -1, -2, … Brokers without traffic for an hour are left out.
    pub nodes: BTreeMap<i32, NodeMetrics>,
}

/// A count since the producer was built, and how fast it grows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Meter {
    /// Since the producer was built, or, of a topic or broker, since it came into the list.
    pub total: u64,
    /// Per second, over the windows.
    pub rate: f64,
}

/// Mean and largest of what was measured within the windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AvgMax {
    /// The mean.
    pub avg: f64,
    /// The largest.
    pub max: f64,
}

/// A stretch of a batch's way, or of a call's before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// A call of `send` waits for its topic's metadata or for room. Calls that need not wait are not counted.
    Room,
    /// In the accumulator: from a batch's first record until it takes no more.
    Filling,
    /// In the accumulator: from then on until its first request; compression is in here.
    Queued,
    /// In flight: from the connection's taking the request until the socket has all of it. To the millisecond.
    Writing,
    /// In flight: from then on until the answer: network and broker.
    Answering,
    /// From the answer until the outcome is told, callbacks included: waiting for older batches of the partition, too (CMPL-3).
    Telling,
    /// From a batch's first record until its outcome is told.
    Total,
}

impl MetricsSnapshot {
    /// The name under which topics beyond the limit are counted. No topic can be named so.
    pub const OTHERS: &'static str = "(others)";
    /// The id under which brokers beyond the limit (256) are counted.
    pub const OTHER_NODES: i32 = i32::MIN;

    pub(crate) fn of(shared: &Shared) -> MetricsSnapshot {
        let counts = Metrics::of(shared);
        shared.clock.refresh();
        let now_us = shared.clock.last_us();
        let taken_at_ms = shared.clock.last_wall_ms();
        let pages = shared.book.copy(now_us);
        let spans = shared.book.spans();
        let metadata_at_ms = shared.book.metadata_at_ms();
        let mut producer = producer_metrics(&pages, spans, now_us / 1000);
        producer.requests_in_flight = counts.requests_in_flight;
        producer.buffer_available_bytes = counts.buffer_available_bytes;
        producer.buffer_total_bytes = counts.buffer_total_bytes;
        producer.connection_count = counts.connections;
        producer.waiting_threads = shared.accumulator.pool().waiting_for_room() as u64;
        producer.metadata_age_s =
            metadata_at_ms.map(|at_ms| (now_us / 1000).saturating_sub(at_ms) as f64 / 1000.0);
        let Pages { topics, nodes, .. } = pages;
        MetricsSnapshot {
            client_id: shared.config.client_id.as_str().into(),
            taken_at_ms,
            started_at_ms: taken_at_ms.saturating_sub((shared.book.age_us(now_us) / 1000) as i64),
            counts,
            producer,
            topics: topics
                .into_iter()
                .map(|(name, page)| (name, TopicMetrics::of(page, spans, now_us / 1000)))
                .collect(),
            nodes: nodes
                .into_iter()
                .map(|(node, page)| (node, NodeMetrics::of(page, spans, now_us / 1000)))
                .collect(),
        }
    }

    /// Durations of a stage, of all topics together.
    #[must_use]
    pub fn latency(&self, stage: Stage) -> Histogram {
        let mut all = Histogram::default();
        self.topics.values().for_each(|topic| all.merge(topic.latency(stage)));
        all
    }
}

impl TopicMetrics {
    /// Durations of a stage, of this topic's batches since it came into the list.
    #[must_use]
    pub fn latency(&self, stage: Stage) -> &Histogram {
        &self.page.stages[stage as usize]
    }

    fn of(page: Arc<TopicPage>, spans: Spans, now_ms: u64) -> TopicMetrics {
        let view = page.windows.view(spans, now_ms);
        TopicMetrics {
            record_send: view.meter(|t| t.records_sent),
            byte: view.meter(|t| t.bytes),
            compression_rate: view.ratio(|t| t.bytes, |t| t.raw_bytes),
            record_retry: view.meter(|t| t.records_retried),
            record_error: view.meter(|t| t.records_failed),
            page,
        }
    }
}

impl NodeMetrics {
    /// Durations of a stage of the requests to this broker: [`Stage::Writing`] and [`Stage::Answering`], one per answered Produce
    /// request; `None` for the others, which have no broker.
    #[must_use]
    pub fn latency(&self, stage: Stage) -> Option<&Histogram> {
        match stage {
            Stage::Writing => Some(&self.page.writing),
            Stage::Answering => Some(&self.page.answering),
            _ => None,
        }
    }

    fn of(page: Arc<NodePage>, spans: Spans, now_ms: u64) -> NodeMetrics {
        let view = page.windows.view(spans, now_ms);
        NodeMetrics {
            request: view.meter(|t| t.requests),
            request_size: view.avg_max(|t| t.request_bytes, |t| t.requests, |max| max.request_bytes, 1.0),
            request_latency_ms: view.avg_max(|t| t.latency_us, |t| t.latencies, |max| max.latency_us, 1e-3),
            response: view.meter(|t| t.responses),
            incoming_byte: view.meter(|t| t.bytes_in),
            outgoing_byte: view.meter(|t| t.bytes_out),
            page,
        }
    }
}

impl Stage {
    /// All of them, in the order of the way.
    pub const ALL: [Stage; 7] = [
        Stage::Room,
        Stage::Filling,
        Stage::Queued,
        Stage::Writing,
        Stage::Answering,
        Stage::Telling,
        Stage::Total,
    ];

    /// Its name in lower case, as in the label `stage`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stage::Room => "room",
            Stage::Filling => "filling",
            Stage::Queued => "queued",
            Stage::Writing => "writing",
            Stage::Answering => "answering",
            Stage::Telling => "telling",
            Stage::Total => "total",
        }
    }
}

fn producer_metrics(pages: &Pages, spans: Spans, now_ms: u64) -> ProducerMetrics {
    let view: View<'_, _, _> = pages.producer.view(spans, now_ms);
    let total = pages.producer.total();
    ProducerMetrics {
        batch_size: view.avg_max(|t| t.flow.bytes, |t| t.batches, |max| max.batch_bytes, 1.0),
        batch_split: view.meter(|t| t.batches_split),
        compression_rate_avg: view.ratio(|t| t.flow.bytes, |t| t.flow.raw_bytes),
        record_send: view.meter(|t| t.flow.records_sent),
        record_retry: view.meter(|t| t.flow.records_retried),
        record_error: view.meter(|t| t.flow.records_failed),
        record_size: view.avg_max(|t| t.record_bytes, |t| t.records, |max| max.record_bytes, 1.0),
        records_per_request_avg: view.ratio(|t| t.records, |t| t.produce_requests),
        record_queue_time_ms: view.avg_max(|t| t.queue_us, |t| t.queue_times, |max| max.queue_us, 1e-3),
        request_latency_ms: view.avg_max(
            |t| t.wire.latency_us,
            |t| t.wire.latencies,
            |max| max.wire.latency_us,
            1e-3,
        ),
        produce_throttle_time_ms: view.avg_max(
            |t| t.throttle_ms,
            |t| t.wire.latencies,
            |max| max.throttle_ms,
            1.0,
        ),
        buffer_exhausted: view.meter(|t| t.exhausted),
        bufferpool_wait_ratio: view.per_second(|t| t.room_wait_us) * 1e-6,
        bufferpool_wait_time_ns_total: total.room_wait_us * 1000,
        flush_time_ns_total: total.flush_us * 1000,
        metadata_wait_time_ns_total: total.metadata_wait_us * 1000,
        connection_creation: view.meter(|t| t.connections_made),
        connection_close: view.meter(|t| t.connections_closed),
        network_io: view.meter(|t| t.wire.requests + t.wire.responses),
        incoming_byte: view.meter(|t| t.wire.bytes_in),
        outgoing_byte: view.meter(|t| t.wire.bytes_out),
        request: view.meter(|t| t.wire.requests),
        request_size: view.avg_max(
            |t| t.wire.request_bytes,
            |t| t.wire.requests,
            |max| max.wire.request_bytes,
            1.0,
        ),
        response: view.meter(|t| t.wire.responses),
        select: view.meter(|t| t.selects),
        io_ratio: view.per_second(|t| t.io_us) * 1e-6,
        io_time_ns_avg: view.ratio(|t| t.io_us * 1000, |t| t.selects),
        io_time_ns_total: total.io_us * 1000,
        io_wait_ratio: view.per_second(|t| t.io_wait_us) * 1e-6,
        io_wait_time_ns_avg: view.ratio(|t| t.io_wait_us * 1000, |t| t.selects),
        io_wait_time_ns_total: total.io_wait_us * 1000,
        ..ProducerMetrics::default()
    }
}
