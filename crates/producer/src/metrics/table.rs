//! The figures: every metric as a field, with its name, its unit, when it is counted, and what Kafka's is. From one list come the structs
//! of a [snapshot](super::snapshot) and the rows of the [catalogue](super::catalogue).

use std::sync::{Arc, LazyLock};

use super::Metrics;
use super::book::{NodePage, TopicPage};
use super::catalogue::{Get, MetricDescription, MetricGroup, MetricKind, Source};
use super::snapshot::{AvgMax, Meter};

/// All rows, in the order of `docs/metrics.md`.
pub(super) static TABLE: LazyLock<Vec<MetricDescription>> = LazyLock::new(|| {
    let mut rows = described(MetricGroup::Producer, Source::Producer, ProducerMetrics::ROWS);
    rows.extend(described(MetricGroup::Topic, Source::Topic, TopicMetrics::ROWS));
    rows.extend(described(MetricGroup::Node, Source::Node, NodeMetrics::ROWS));
    rows.extend(described(MetricGroup::Own, Source::Counts, Metrics::ROWS));
    let stages = "Durations by stage of a batch's way: room (of calls that waited), filling, queued, writing, answering, telling, total";
    rows.push(stage_latency(MetricGroup::OwnTopic, stages, Source::TopicStages));
    let stages = "Durations by stage of an answered Produce request to one broker: writing, answering";
    rows.push(stage_latency(MetricGroup::OwnNode, stages, Source::NodeStages));
    rows
});

const SAME: &str = "same";
const NONE: &str = "none";

/// The rows of a struct's figures: `kind field: name, unit, what is counted and when, what Kafka's is;`.
///
/// Kinds: `Meter` has a rate and a total, `AvgMax` a mean and a maximum, both under names of their own; `Count` only grows, `Level` and
/// `Real` go up and down, `Mean` is a number that may be missing.
macro_rules! rows {
    ($Struct:ident; $($kind:ident $field:ident: $name:literal, $unit:literal, $meaning:literal, $kafka:expr;)*) => {
        impl $Struct {
            const ROWS: &[Row<$Struct>] = &[$(
                Row { name: $name, unit: $unit, meaning: $meaning, kafka: $kafka, shape: shape!($kind $field) },
            )*];
        }
    };
}

/// [`rows`], and the struct itself with what they say as its documentation.
macro_rules! figures {
    (
        $(#[$about:meta])*
        pub struct $Struct:ident { $($page:ident: $Page:ty)? }
        $($kind:ident $field:ident: $name:literal, $unit:literal, $meaning:literal, $kafka:expr;)*
    ) => {
        $(#[$about])*
        #[non_exhaustive]
        pub struct $Struct {
            $(
                #[doc = concat!($meaning, " (`", $name, "`, in ", $unit, ").")]
                pub $field: of_kind!($kind),
            )*
            $(pub(super) $page: $Page,)?
        }

        rows! { $Struct; $($kind $field: $name, $unit, $meaning, $kafka;)* }
    };
}

macro_rules! of_kind {
    (Meter) => { Meter };
    (AvgMax) => { Option<AvgMax> };
    (Count) => { u64 };
    (Level) => { u64 };
    (Real) => { f64 };
    (Mean) => { Option<f64> };
}

macro_rules! shape {
    (Real $field:ident) => {
        Shape::Mean(|figures| Some(figures.$field))
    };
    ($kind:ident $field:ident) => {
        Shape::$kind(|figures| figures.$field)
    };
}

figures! {
    /// `producer-metrics`: the producer as a whole. Times are in the unit that a name ends with. A [`Meter`] counts since the producer was
    /// built; an [`AvgMax`], a ratio and a mean are of the last windows (`metrics.num.samples` of `metrics.sample.window.ms` each), and `None`
    /// if nothing was measured within them. The metadata's age is `None` before there is any.
    #[derive(Debug, Clone, Copy, Default, PartialEq)]
    pub struct ProducerMetrics {}
    AvgMax batch_size: "batch-size", "bytes",
        "Bytes of a batch in a request, header included, as it travels; of each batch, each time it is sent", SAME;
    Meter batch_split: "batch-split", "batches",
        "Batches that went on in parts because a broker found them, or a smaller one of the topic, too large", SAME;
    Mean compression_rate_avg: "compression-rate-avg", "ratio",
        "Bytes of the batches in requests by their bytes before compression; 1 without compression",
        "mean of the batches' ratios, small ones counting as much as large ones";
    Meter record_send: "record-send", "records",
        "Records in requests that connections have taken, each counted when it is sent for the first time",
        "also counts every retry and every part of a split batch again";
    Meter record_retry: "record-retry", "records", "Records of batches that went back to be sent again, each time", SAME;
    Meter record_error: "record-error", "records",
        "Records that failed after they were accepted: not written or unknown; counted when that is told", SAME;
    AvgMax record_size: "record-size", "bytes",
        "Bytes of a record in its batch before compression; the largest is an upper bound, by up to 20 bytes",
        "mean of the largest record of each batch, estimated with a batch's header";
    Mean records_per_request_avg: "records-per-request-avg", "records",
        "Records per Produce request", "passes of the sender that send nothing count as well";
    AvgMax record_queue_time_ms: "record-queue-time", "ms", "From a batch's first record to its first request", SAME;
    AvgMax request_latency_ms: "request-latency", "ms",
        "From a Produce request's being handed to its connection to its answer", "requests of all kinds";
    Level requests_in_flight: "requests-in-flight", "requests", "Produce requests without an answer, now", "requests of all kinds";
    AvgMax produce_throttle_time_ms: "produce-throttle-time", "ms",
        "For how long a broker asks to be left alone, with each answer to Produce; mostly 0", "answers of all kinds";
    Level buffer_available_bytes: "buffer-available-bytes", "bytes", "Of buffer.memory, what is free now", SAME;
    Level buffer_total_bytes: "buffer-total-bytes", "bytes", "buffer.memory", SAME;
    Meter buffer_exhausted: "buffer-exhausted", "calls", "Calls that found no room within max.block.ms", "records";
    Real bufferpool_wait_ratio: "bufferpool-wait-ratio", "ratio",
        "Time that calls waited for room, of all threads together, by time that passed; counted when a wait ends", SAME;
    Count bufferpool_wait_time_ns_total: "bufferpool-wait-time-ns-total", "ns",
        "Time that calls waited for room, of all threads together; counted when a wait ends", SAME;
    Level waiting_threads: "waiting-threads", "calls", "Calls that wait for room now; futures that wait are calls", "threads";
    Count flush_time_ns_total: "flush-time-ns-total", "ns", "Time that calls of flush took, counted when they end", SAME;
    Count metadata_wait_time_ns_total: "metadata-wait-time-ns-total", "ns",
        "Time that calls of send and reserve waited for their topic's metadata; counted when a wait ends", SAME;
    Mean metadata_age_s: "metadata-age", "seconds", "Since the cluster last described itself", SAME;
    Level connection_count: "connection-count", "connections", "Connections that stand, now", SAME;
    Meter connection_creation: "connection-creation", "connections",
        "Connections that came to stand: the broker's versions are known", "counted once TCP is connected";
    Meter connection_close: "connection-close", "connections", "Of these, those that ended, for whatever reason", SAME;
    Meter network_io: "network-io", "requests and answers", "Requests and answers of all kinds", SAME;
    Meter incoming_byte: "incoming-byte", "bytes", "Bytes read from sockets", SAME;
    Meter outgoing_byte: "outgoing-byte", "bytes", "Bytes written to sockets", SAME;
    Meter request: "request", "requests", "Requests of all kinds, when a connection takes them", SAME;
    AvgMax request_size: "request-size", "bytes",
        "Bytes of a request of any kind, the 4 of its length included", "without the 4 of the length";
    Meter response: "response", "answers", "Answers of all kinds", SAME;
    Meter select: "select", "passes", "Passes of the sender's loop: one look at the sockets each", SAME;
    Real io_ratio: "io-ratio", "ratio",
        "Part of the time that the sender's thread worked", "part spent with sockets alone; Kafka calls it deprecated";
    Mean io_time_ns_avg: "io-time-ns-avg", "ns", "Time that the sender's thread worked, per pass", "time with sockets alone";
    Count io_time_ns_total: "io-time-ns-total", "ns", "Time that the sender's thread worked", "time with sockets alone";
    Real io_wait_ratio: "io-wait-ratio", "ratio", "Part of the time that the sender's thread waited for something to do", SAME;
    Mean io_wait_time_ns_avg: "io-wait-time-ns-avg", "ns", "Time that the sender's thread waited for something to do, per pass", SAME;
    Count io_wait_time_ns_total: "io-wait-time-ns-total", "ns", "Time that the sender's thread waited for something to do", SAME;
}

figures! {
    /// `producer-topic-metrics`: one topic, since it came into the list. What is `None` was not measured within the windows.
    #[derive(Debug, Clone)]
    pub struct TopicMetrics { page: Arc<TopicPage> }
    Meter record_send: "record-send", "records",
        "As record-send of the producer, of one topic", "also counts every retry and every part of a split batch again";
    Meter byte: "byte", "bytes", "Bytes of the topic's batches in requests, as they travel, each time they are sent", SAME;
    Mean compression_rate: "compression-rate", "ratio", "As compression-rate-avg, of one topic", "mean of the batches' ratios";
    Meter record_retry: "record-retry", "records", "As record-retry of the producer, of one topic", SAME;
    Meter record_error: "record-error", "records", "As record-error of the producer, of one topic", SAME;
}

figures! {
    /// `producer-node-metrics`: one broker, since it came into the list. What is `None` was not measured within the windows.
    #[derive(Debug, Clone)]
    pub struct NodeMetrics { page: Arc<NodePage> }
    Meter request: "request", "requests", "Requests of all kinds to one broker, when its connection takes them", SAME;
    AvgMax request_size: "request-size", "bytes", "As request-size of the producer, of one broker", "without the 4 of the length";
    AvgMax request_latency_ms: "request-latency", "ms", "As request-latency of the producer, of one broker", "requests of all kinds";
    Meter response: "response", "answers", "Answers of all kinds from one broker", SAME;
    Meter incoming_byte: "incoming-byte", "bytes", "Bytes read from one broker", SAME;
    Meter outgoing_byte: "outgoing-byte", "bytes", "Bytes written to one broker", SAME;
}

rows! {
    Metrics;
    Count records_accepted: "records-accepted-total", "records",
        "Records accepted: always the sum of the acked, handed over, not written, unknown and pending ones", NONE;
    Count records_acked: "records-acked-total", "records", "Records acknowledged", NONE;
    Count records_handed_over: "records-handed-over-total", "records", "With acks=0: records written to the socket", NONE;
    Count records_not_written: "records-not-written-total", "records", "Records that failed and are certainly not in the log", NONE;
    Count records_unknown: "records-unknown-total", "records", "Records that failed and may be in the log", NONE;
    Level records_pending: "records-pending", "records", "Records without an outcome, now", NONE;
    Count batches_sent: "batches-sent-total", "batches", "Batches in requests, each time", NONE;
    Count batches_retried: "batches-retried-total", "batches", "Batches that went back to be sent again, each time", NONE;
    Count produce_requests: "produce-requests-total", "requests", "Produce requests sent", NONE;
    Count epoch_bumps: "epoch-bumps-total", "bumps", "How often the producer went on in a new epoch", NONE;
    Count topics_recreated: "topics-recreated-total", "topics",
        "How often a topic that was sent to turned out to have been deleted and created anew", NONE;
    Count topics_grown: "topics-grown-total", "topics",
        "How often a topic that was sent to turned out to have more partitions than before", NONE;
    Count failed_records_kept: "failed-records-kept-total", "records", "Records in the failed-records file", NONE;
    Count failed_records_lost: "failed-records-lost-total", "records",
        "Records that should be in the failed-records file and could not be written there", NONE;
}

/// A figure of `S`.
struct Row<S: 'static> {
    name: &'static str,
    unit: &'static str,
    meaning: &'static str,
    kafka: &'static str,
    shape: Shape<S>,
}

enum Shape<S> {
    Meter(fn(&S) -> Meter),
    AvgMax(fn(&S) -> Option<AvgMax>),
    Count(fn(&S) -> u64),
    Level(fn(&S) -> u64),
    Mean(fn(&S) -> Option<f64>),
}

/// A figure is one metric or two.
fn described<S>(
    group: MetricGroup,
    source: fn(Get<S>) -> Source,
    rows: &'static [Row<S>],
) -> Vec<MetricDescription> {
    let mut described = Vec::new();
    for Row { name, unit, meaning, kafka, shape } in rows {
        let mut add = |end: &str, kind: MetricKind, unit: &'static str, get: Get<S>| {
            let name = format!("{name}{end}");
            described.push(MetricDescription {
                group,
                name,
                kind,
                unit,
                meaning,
                kafka,
                source: source(get),
            });
        };
        match *shape {
            Shape::Meter(get) => {
                add("-rate", MetricKind::Gauge, per_second(unit), Get::Rate(get));
                add("-total", MetricKind::Counter, unit, Get::Total(get));
            }
            Shape::AvgMax(get) => {
                add("-avg", MetricKind::Gauge, unit, Get::Avg(get));
                add("-max", MetricKind::Gauge, unit, Get::Max(get));
            }
            Shape::Count(get) => add("", MetricKind::Counter, unit, Get::Whole(get)),
            Shape::Level(get) => add("", MetricKind::Gauge, unit, Get::Whole(get)),
            Shape::Mean(get) => add("", MetricKind::Gauge, unit, Get::Real(get)),
        }
    }
    described
}

fn stage_latency(group: MetricGroup, meaning: &'static str, source: Source) -> MetricDescription {
    let (name, kind) = ("stage-latency-seconds".to_owned(), MetricKind::Histogram);
    MetricDescription { group, name, kind, unit: "seconds", meaning, kafka: NONE, source }
}

/// The unit of a rate.
fn per_second(unit: &'static str) -> &'static str {
    match unit {
        "bytes" => "bytes/s",
        "records" => "records/s",
        "batches" => "batches/s",
        "calls" => "calls/s",
        "connections" => "connections/s",
        "requests" => "requests/s",
        "answers" => "answers/s",
        "passes" => "passes/s",
        _ => "1/s",
    }
}
