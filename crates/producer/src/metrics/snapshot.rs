//! Everything that is measured, at one moment, as a plain struct (MTR-3).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::book::{NodePage, Pages, Spans, TopicPage};
use super::windows::View;
use super::{Histogram, Metrics};
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

/// `producer-metrics`: the producer as a whole. Times are in the unit that a name ends with. A [`Meter`] counts since the producer was
/// built; an [`AvgMax`], a ratio and a mean are of the last windows (`metrics.num.samples` of `metrics.sample.window.ms` each), and `None`
/// if nothing was measured within them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct ProducerMetrics {
    /// Bytes of a batch in a request, header included, as it travels; of each batch, each time it is sent.
    pub batch_size: Option<AvgMax>,
    /// Batches that went on in parts because a broker found them, or a smaller one of the topic, too large.
    pub batch_split: Meter,
    /// Bytes of the batches in requests by their bytes before compression; 1 without compression.
    pub compression_rate_avg: Option<f64>,
    /// Records in requests that connections have taken, each counted when it is sent for the first time.
    pub record_send: Meter,
    /// Records of batches that went back to be sent again, each time.
    pub record_retry: Meter,
    /// Records that failed after they were accepted: not written or unknown.
    pub record_error: Meter,
    /// Bytes of a record in its batch before compression; the largest is an upper bound, by up to 20 bytes.
    pub record_size: Option<AvgMax>,
    /// Records per Produce request.
    pub records_per_request_avg: Option<f64>,
    /// Milliseconds from a batch's first record to its first request.
    pub record_queue_time_ms: Option<AvgMax>,
    /// Milliseconds from a Produce request's being handed to its connection to its answer.
    pub request_latency_ms: Option<AvgMax>,
    /// Produce requests without an answer, now.
    pub requests_in_flight: u64,
    /// Milliseconds for which a broker asks to be left alone, with each answer to Produce; mostly 0.
    pub produce_throttle_time_ms: Option<AvgMax>,
    /// Bytes of `buffer.memory` that are free now.
    pub buffer_available_bytes: u64,
    /// `buffer.memory`, in bytes.
    pub buffer_total_bytes: u64,
    /// Calls that found no room within `max.block.ms`.
    pub buffer_exhausted: Meter,
    /// Time that calls waited for room, of all threads together, by time that passed: above 1 where several wait.
    pub bufferpool_wait_ratio: f64,
    /// Nanoseconds that calls waited for room, of all threads together; counted when a wait ends.
    pub bufferpool_wait_time_ns_total: u64,
    /// Calls that wait for room now; futures that wait are calls.
    pub waiting_threads: u64,
    /// Nanoseconds that calls of `flush` took; counted when they end.
    pub flush_time_ns_total: u64,
    /// Nanoseconds that calls of `send` and `reserve` waited for their topic's metadata; counted when a wait ends.
    pub metadata_wait_time_ns_total: u64,
    /// Seconds since the cluster last described itself; `None` before the first time.
    pub metadata_age_s: Option<f64>,
    /// Connections that stand, now.
    pub connection_count: u64,
    /// Connections that came to stand: the broker's versions are known.
    pub connection_creation: Meter,
    /// Of these, those that ended, for whatever reason.
    pub connection_close: Meter,
    /// Requests and answers of all kinds.
    pub network_io: Meter,
    /// Bytes read from sockets.
    pub incoming_byte: Meter,
    /// Bytes written to sockets.
    pub outgoing_byte: Meter,
    /// Requests of all kinds, when a connection takes them.
    pub request: Meter,
    /// Bytes of a request of any kind, the 4 of its length included.
    pub request_size: Option<AvgMax>,
    /// Answers of all kinds.
    pub response: Meter,
    /// Passes of the sender's loop: one look at the sockets each.
    pub select: Meter,
    /// Part of the time that the sender's thread worked, 0 to 1.
    pub io_ratio: f64,
    /// Nanoseconds that the sender's thread worked, per pass.
    pub io_time_ns_avg: Option<f64>,
    /// Nanoseconds that the sender's thread worked.
    pub io_time_ns_total: u64,
    /// Part of the time that the sender's thread waited for something to do, 0 to 1.
    pub io_wait_ratio: f64,
    /// Nanoseconds that the sender's thread waited for something to do, per pass.
    pub io_wait_time_ns_avg: Option<f64>,
    /// Nanoseconds that the sender's thread waited for something to do.
    pub io_wait_time_ns_total: u64,
}

/// `producer-topic-metrics`: one topic, since it came into the list. What is `None` was not measured within the windows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TopicMetrics {
    /// Records in requests that connections have taken, each counted when it is sent for the first time.
    pub record_send: Meter,
    /// Bytes of the topic's batches in requests, as they travel, each time they are sent.
    pub byte: Meter,
    /// Bytes of the batches in requests by their bytes before compression; 1 without compression.
    pub compression_rate: Option<f64>,
    /// Records of batches that went back to be sent again, each time.
    pub record_retry: Meter,
    /// Records that failed after they were accepted: not written or unknown.
    pub record_error: Meter,
    page: Arc<TopicPage>,
}

/// `producer-node-metrics`: one broker, since it came into the list. What is `None` was not measured within the windows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeMetrics {
    /// Requests of all kinds to this broker, when its connection takes them.
    pub request: Meter,
    /// Bytes of such a request, the 4 of its length included.
    pub request_size: Option<AvgMax>,
    /// Milliseconds from a Produce request's being handed to the connection to its answer.
    pub request_latency_ms: Option<AvgMax>,
    /// Answers of all kinds from this broker.
    pub response: Meter,
    /// Bytes read from this broker.
    pub incoming_byte: Meter,
    /// Bytes written to this broker.
    pub outgoing_byte: Meter,
    page: Arc<NodePage>,
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
        batch_size: view.avg_max(|t| t.batch_bytes, |t| t.batches, |max| max.batch_bytes, 1.0),
        batch_split: view.meter(|t| t.batches_split),
        compression_rate_avg: view.ratio(|t| t.batch_bytes, |t| t.raw_bytes),
        record_send: view.meter(|t| t.records_sent),
        record_retry: view.meter(|t| t.records_retried),
        record_error: view.meter(|t| t.records_failed),
        record_size: view.avg_max(|t| t.record_bytes, |t| t.records, |max| max.record_bytes, 1.0),
        records_per_request_avg: view.ratio(|t| t.records, |t| t.produce_requests),
        record_queue_time_ms: view.avg_max(|t| t.queue_us, |t| t.queue_times, |max| max.queue_us, 1e-3),
        request_latency_ms: view.avg_max(|t| t.latency_us, |t| t.latencies, |max| max.latency_us, 1e-3),
        produce_throttle_time_ms: view.avg_max(
            |t| t.throttle_ms,
            |t| t.latencies,
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
        network_io: view.meter(|t| t.requests + t.responses),
        incoming_byte: view.meter(|t| t.bytes_in),
        outgoing_byte: view.meter(|t| t.bytes_out),
        request: view.meter(|t| t.requests),
        request_size: view.avg_max(|t| t.request_bytes, |t| t.requests, |max| max.request_bytes, 1.0),
        response: view.meter(|t| t.responses),
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
