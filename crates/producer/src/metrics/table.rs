//! The rows of the [catalogue](super::catalogue): every metric with its unit, when it is counted, and what Kafka's is.

use std::sync::LazyLock;

use super::catalogue::{Get, MetricDescription, MetricGroup, MetricKind, Source};
use super::snapshot::{AvgMax, Meter};

pub(super) static TABLE: LazyLock<Vec<MetricDescription>> = LazyLock::new(|| {
    let mut table = Table { rows: Vec::new(), group: MetricGroup::Producer };
    table.producer();
    table.topics();
    table.nodes();
    table.own();
    table.rows
});

struct Table {
    rows: Vec<MetricDescription>,
    group: MetricGroup,
}

const SAME: &str = "same";
const NONE: &str = "none";

impl Table {
    fn producer(&mut self) {
        use Source::Producer as P;
        self.group = MetricGroup::Producer;
        self.avg_max(P, "batch-size", "bytes",
            "Bytes of a batch in a request, header included, as it travels; of each batch, each time it is sent",
            SAME, |m| m.batch_size);
        self.meter(P, "batch-split", "batches",
            "Batches that went on in parts because a broker found them, or a smaller one of the topic, too large",
            SAME, |m| m.batch_split);
        self.real(
            P,
            "compression-rate-avg",
            "ratio",
            "Bytes of the batches in requests by their bytes before compression; 1 without compression",
            "mean of the batches' ratios, small ones counting as much as large ones",
            |m| m.compression_rate_avg,
        );
        self.meter(P, "record-send", "records",
            "Records in requests that connections have taken, each counted when it is sent for the first time",
            "also counts every retry and every part of a split batch again", |m| m.record_send);
        self.meter(
            P,
            "record-retry",
            "records",
            "Records of batches that went back to be sent again, each time",
            SAME,
            |m| m.record_retry,
        );
        self.meter(
            P,
            "record-error",
            "records",
            "Records that failed after they were accepted: not written or unknown; counted when that is told",
            SAME,
            |m| m.record_error,
        );
        self.avg_max(P, "record-size", "bytes",
            "Bytes of a record in its batch before compression; the largest is an upper bound, by up to 20 bytes",
            "mean of the largest record of each batch, estimated with a batch's header", |m| m.record_size);
        self.real(
            P,
            "records-per-request-avg",
            "records",
            "Records per Produce request",
            "passes of the sender that send nothing count as well",
            |m| m.records_per_request_avg,
        );
        self.avg_max(
            P,
            "record-queue-time",
            "ms",
            "From a batch's first record to its first request",
            SAME,
            |m| m.record_queue_time_ms,
        );
        self.avg_max(
            P,
            "request-latency",
            "ms",
            "From a Produce request's being handed to its connection to its answer",
            "requests of all kinds",
            |m| m.request_latency_ms,
        );
        self.whole(
            P,
            MetricKind::Gauge,
            "requests-in-flight",
            "requests",
            "Produce requests without an answer, now",
            "requests of all kinds",
            |m| m.requests_in_flight,
        );
        self.avg_max(
            P,
            "produce-throttle-time",
            "ms",
            "For how long a broker asks to be left alone, with each answer to Produce; mostly 0",
            "answers of all kinds",
            |m| m.produce_throttle_time_ms,
        );
        self.whole(
            P,
            MetricKind::Gauge,
            "buffer-available-bytes",
            "bytes",
            "Of buffer.memory, what is free now",
            SAME,
            |m| m.buffer_available_bytes,
        );
        self.whole(P, MetricKind::Gauge, "buffer-total-bytes", "bytes", "buffer.memory", SAME, |m| {
            m.buffer_total_bytes
        });
        self.meter(
            P,
            "buffer-exhausted",
            "calls",
            "Calls that found no room within max.block.ms",
            "records",
            |m| m.buffer_exhausted,
        );
        self.real(P, "bufferpool-wait-ratio", "ratio",
            "Time that calls waited for room, of all threads together, by time that passed; counted when a wait ends",
            SAME, |m| Some(m.bufferpool_wait_ratio));
        self.whole(
            P,
            MetricKind::Counter,
            "bufferpool-wait-time-ns-total",
            "ns",
            "Time that calls waited for room, of all threads together; counted when a wait ends",
            SAME,
            |m| m.bufferpool_wait_time_ns_total,
        );
        self.whole(
            P,
            MetricKind::Gauge,
            "waiting-threads",
            "calls",
            "Calls that wait for room now; futures that wait are calls",
            "threads",
            |m| m.waiting_threads,
        );
        self.whole(
            P,
            MetricKind::Counter,
            "flush-time-ns-total",
            "ns",
            "Time that calls of flush took, counted when they end",
            SAME,
            |m| m.flush_time_ns_total,
        );
        self.whole(
            P,
            MetricKind::Counter,
            "metadata-wait-time-ns-total",
            "ns",
            "Time that calls of send and reserve waited for their topic's metadata; counted when a wait ends",
            SAME,
            |m| m.metadata_wait_time_ns_total,
        );
        self.real(P, "metadata-age", "seconds", "Since the cluster last described itself", SAME, |m| {
            m.metadata_age_s
        });
        self.network();
    }

    fn network(&mut self) {
        use Source::Producer as P;
        self.whole(
            P,
            MetricKind::Gauge,
            "connection-count",
            "connections",
            "Connections that stand, now",
            SAME,
            |m| m.connection_count,
        );
        self.meter(
            P,
            "connection-creation",
            "connections",
            "Connections that came to stand: the broker's versions are known",
            "counted once TCP is connected",
            |m| m.connection_creation,
        );
        self.meter(
            P,
            "connection-close",
            "connections",
            "Of these, those that ended, for whatever reason",
            SAME,
            |m| m.connection_close,
        );
        self.meter(P, "network-io", "requests and answers", "Requests and answers of all kinds", SAME, |m| {
            m.network_io
        });
        self.meter(P, "incoming-byte", "bytes", "Bytes read from sockets", SAME, |m| m.incoming_byte);
        self.meter(P, "outgoing-byte", "bytes", "Bytes written to sockets", SAME, |m| m.outgoing_byte);
        self.meter(
            P,
            "request",
            "requests",
            "Requests of all kinds, when a connection takes them",
            SAME,
            |m| m.request,
        );
        self.avg_max(
            P,
            "request-size",
            "bytes",
            "Bytes of a request of any kind, the 4 of its length included",
            "without the 4 of the length",
            |m| m.request_size,
        );
        self.meter(P, "response", "answers", "Answers of all kinds", SAME, |m| m.response);
        self.meter(
            P,
            "select",
            "passes",
            "Passes of the sender's loop: one look at the sockets each",
            SAME,
            |m| m.select,
        );
        self.real(
            P,
            "io-ratio",
            "ratio",
            "Part of the time that the sender's thread worked",
            "part spent with sockets alone; Kafka calls it deprecated",
            |m| Some(m.io_ratio),
        );
        self.real(
            P,
            "io-time-ns-avg",
            "ns",
            "Time that the sender's thread worked, per pass",
            "time with sockets alone",
            |m| m.io_time_ns_avg,
        );
        self.whole(
            P,
            MetricKind::Counter,
            "io-time-ns-total",
            "ns",
            "Time that the sender's thread worked",
            "time with sockets alone",
            |m| m.io_time_ns_total,
        );
        self.real(
            P,
            "io-wait-ratio",
            "ratio",
            "Part of the time that the sender's thread waited for something to do",
            SAME,
            |m| Some(m.io_wait_ratio),
        );
        self.real(
            P,
            "io-wait-time-ns-avg",
            "ns",
            "Time that the sender's thread waited for something to do, per pass",
            SAME,
            |m| m.io_wait_time_ns_avg,
        );
        self.whole(
            P,
            MetricKind::Counter,
            "io-wait-time-ns-total",
            "ns",
            "Time that the sender's thread waited for something to do",
            SAME,
            |m| m.io_wait_time_ns_total,
        );
    }

    fn topics(&mut self) {
        use Source::Topic as T;
        self.group = MetricGroup::Topic;
        self.meter(
            T,
            "record-send",
            "records",
            "As record-send of the producer, of one topic",
            "also counts every retry and every part of a split batch again",
            |m| m.record_send,
        );
        self.meter(
            T,
            "byte",
            "bytes",
            "Bytes of the topic's batches in requests, as they travel, each time they are sent",
            SAME,
            |m| m.byte,
        );
        self.real(
            T,
            "compression-rate",
            "ratio",
            "As compression-rate-avg, of one topic",
            "mean of the batches' ratios",
            |m| m.compression_rate,
        );
        self.meter(
            T,
            "record-retry",
            "records",
            "As record-retry of the producer, of one topic",
            SAME,
            |m| m.record_retry,
        );
        self.meter(
            T,
            "record-error",
            "records",
            "As record-error of the producer, of one topic",
            SAME,
            |m| m.record_error,
        );
    }

    fn nodes(&mut self) {
        use Source::Node as N;
        self.group = MetricGroup::Node;
        self.meter(
            N,
            "request",
            "requests",
            "Requests of all kinds to one broker, when its connection takes them",
            SAME,
            |m| m.request,
        );
        self.avg_max(
            N,
            "request-size",
            "bytes",
            "As request-size of the producer, of one broker",
            "without the 4 of the length",
            |m| m.request_size,
        );
        self.avg_max(
            N,
            "request-latency",
            "ms",
            "As request-latency of the producer, of one broker",
            "requests of all kinds",
            |m| m.request_latency_ms,
        );
        self.meter(N, "response", "answers", "Answers of all kinds from one broker", SAME, |m| m.response);
        self.meter(N, "incoming-byte", "bytes", "Bytes read from one broker", SAME, |m| m.incoming_byte);
        self.meter(N, "outgoing-byte", "bytes", "Bytes written to one broker", SAME, |m| m.outgoing_byte);
    }

    fn own(&mut self) {
        use MetricKind::{Counter, Gauge};
        use Source::Counts as C;
        self.group = MetricGroup::Own;
        let accepted = "Records accepted: always the sum of the acked, handed over, not written, unknown and pending ones";
        self.whole(C, Counter, "records-accepted-total", "records", accepted, NONE, |m| m.records_accepted);
        self.whole(C, Counter, "records-acked-total", "records", "Records acknowledged", NONE, |m| {
            m.records_acked
        });
        self.whole(
            C,
            Counter,
            "records-handed-over-total",
            "records",
            "With acks=0: records written to the socket",
            NONE,
            |m| m.records_handed_over,
        );
        self.whole(
            C,
            Counter,
            "records-not-written-total",
            "records",
            "Records that failed and are certainly not in the log",
            NONE,
            |m| m.records_not_written,
        );
        self.whole(
            C,
            Counter,
            "records-unknown-total",
            "records",
            "Records that failed and may be in the log",
            NONE,
            |m| m.records_unknown,
        );
        self.whole(C, Gauge, "records-pending", "records", "Records without an outcome, now", NONE, |m| {
            m.records_pending
        });
        self.whole(
            C,
            Counter,
            "batches-sent-total",
            "batches",
            "Batches in requests, each time",
            NONE,
            |m| m.batches_sent,
        );
        self.whole(
            C,
            Counter,
            "batches-retried-total",
            "batches",
            "Batches that went back to be sent again, each time",
            NONE,
            |m| m.batches_retried,
        );
        self.whole(C, Counter, "produce-requests-total", "requests", "Produce requests sent", NONE, |m| {
            m.produce_requests
        });
        self.whole(
            C,
            Counter,
            "epoch-bumps-total",
            "bumps",
            "How often the producer went on in a new epoch",
            NONE,
            |m| m.epoch_bumps,
        );
        self.whole(
            C,
            Counter,
            "topics-recreated-total",
            "topics",
            "How often a topic that was sent to turned out to have been deleted and created anew",
            NONE,
            |m| m.topics_recreated,
        );
        self.whole(
            C,
            Counter,
            "topics-grown-total",
            "topics",
            "How often a topic that was sent to turned out to have more partitions than before",
            NONE,
            |m| m.topics_grown,
        );
        self.whole(
            C,
            Counter,
            "failed-records-kept-total",
            "records",
            "Records in the failed-records file",
            NONE,
            |m| m.failed_records_kept,
        );
        self.whole(
            C,
            Counter,
            "failed-records-lost-total",
            "records",
            "Records that should be in the failed-records file and could not be written there",
            NONE,
            |m| m.failed_records_lost,
        );
        let stage = "Durations by stage of a batch's way: room (of calls that waited), filling, queued, writing, answering, telling, total";
        self.group = MetricGroup::OwnTopic;
        self.row(
            "stage-latency-seconds".into(),
            MetricKind::Histogram,
            "seconds",
            stage,
            NONE,
            Source::TopicStages,
        );
        let stage = "Durations by stage of an answered Produce request to one broker: writing, answering";
        self.group = MetricGroup::OwnNode;
        self.row(
            "stage-latency-seconds".into(),
            MetricKind::Histogram,
            "seconds",
            stage,
            NONE,
            Source::NodeStages,
        );
    }
}

/// Rows.
#[allow(clippy::too_many_arguments)] // they are a table's columns
impl Table {
    fn meter<S>(
        &mut self,
        source: fn(Get<S>) -> Source,
        name: &str,
        unit: &'static str,
        meaning: &'static str,
        kafka: &'static str,
        get: fn(&S) -> Meter,
    ) {
        let rate = source(Get::Rate(get));
        self.row(format!("{name}-rate"), MetricKind::Gauge, per_second(unit), meaning, kafka, rate);
        let total = source(Get::Total(get));
        self.row(format!("{name}-total"), MetricKind::Counter, unit, meaning, kafka, total);
    }

    fn avg_max<S>(
        &mut self,
        source: fn(Get<S>) -> Source,
        name: &str,
        unit: &'static str,
        meaning: &'static str,
        kafka: &'static str,
        get: fn(&S) -> Option<AvgMax>,
    ) {
        let avg = source(Get::Avg(get));
        self.row(format!("{name}-avg"), MetricKind::Gauge, unit, meaning, kafka, avg);
        let max = source(Get::Max(get));
        self.row(format!("{name}-max"), MetricKind::Gauge, unit, meaning, kafka, max);
    }

    fn real<S>(
        &mut self,
        source: fn(Get<S>) -> Source,
        name: &str,
        unit: &'static str,
        meaning: &'static str,
        kafka: &'static str,
        get: fn(&S) -> Option<f64>,
    ) {
        self.row(name.to_owned(), MetricKind::Gauge, unit, meaning, kafka, source(Get::Real(get)));
    }

    fn whole<S>(
        &mut self,
        source: fn(Get<S>) -> Source,
        kind: MetricKind,
        name: &str,
        unit: &'static str,
        meaning: &'static str,
        kafka: &'static str,
        get: fn(&S) -> u64,
    ) {
        self.row(name.to_owned(), kind, unit, meaning, kafka, source(Get::Whole(get)));
    }

    fn row(
        &mut self,
        name: String,
        kind: MetricKind,
        unit: &'static str,
        meaning: &'static str,
        kafka: &'static str,
        source: Source,
    ) {
        self.rows.push(MetricDescription::new(self.group, name, kind, unit, meaning, kafka, source));
    }
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
