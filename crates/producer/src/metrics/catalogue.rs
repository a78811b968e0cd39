//! The table of all metrics: what `docs/metrics.md`, the list of names and values, and the Prometheus text are made of.

use std::fmt;

use super::snapshot::{AvgMax, Meter, MetricsSnapshot, Stage};
use super::table::{NodeMetrics, ProducerMetrics, TABLE, TopicMetrics};
use super::{Histogram, Metrics};

/// Every metric that this library knows, by group, in the order of `docs/metrics.md`.
#[must_use]
pub fn metric_descriptions() -> &'static [MetricDescription] {
    &TABLE
}

/// One metric: what it is, not what it has come to.
#[derive(Debug, Clone)]
pub struct MetricDescription {
    pub(super) group: MetricGroup,
    pub(super) name: String,
    pub(super) kind: MetricKind,
    pub(super) unit: &'static str,
    pub(super) meaning: &'static str,
    pub(super) kafka: &'static str,
    pub(super) source: Source,
}

/// Which metrics belong together, and by what they are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MetricGroup {
    /// Kafka's `producer-metrics`; tag `client-id`.
    Producer,
    /// Kafka's `producer-topic-metrics`; tags `client-id` and `topic`.
    Topic,
    /// Kafka's `producer-node-metrics`; tags `client-id` and `node-id`.
    Node,
    /// Without counterpart in Kafka; tag `client-id`.
    Own,
    /// Without counterpart in Kafka; tags `client-id`, `topic` and `stage`.
    OwnTopic,
    /// Without counterpart in Kafka; tags `client-id`, `node-id` and `stage`.
    OwnNode,
}

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations, by length.
    Histogram,
}

/// A metric's value at one moment, under Kafka's name; see [`MetricsSnapshot::kafka_metrics`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// As `record-send-total`.
    pub name: &'static str,
    /// As `producer-metrics`.
    pub group: &'static str,
    /// As `("topic", "orders")`; `client-id` comes first.
    pub tags: Vec<(&'static str, String)>,
    /// NaN if nothing was measured within the windows, as with Kafka.
    pub value: f64,
}

impl MetricsSnapshot {
    /// The metrics that Kafka has, too, as a list of names and values: what `KafkaProducer.metrics()` gives. And `count` of the group
    /// `kafka-metrics-count`, which is how many there are.
    #[must_use]
    pub fn kafka_metrics(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for description in metric_descriptions() {
            let (name, group) = (description.name.as_str(), description.group.name());
            description.visit(self, |tag, value| {
                let mut tags = vec![("client-id", self.client_id.to_string())];
                tags.extend(tag.map(|(key, value)| (key, value.to_owned())));
                metrics.push(Metric { name, group, tags, value: value.as_f64() });
            });
        }
        metrics.retain(|metric| metric.group.starts_with("producer-"));
        let count = metrics.len() as f64 + 1.0;
        let tags = vec![("client-id", self.client_id.to_string())];
        metrics.push(Metric { name: "count", group: "kafka-metrics-count", tags, value: count });
        metrics
    }
}

impl MetricDescription {
    /// Where it belongs.
    #[must_use]
    pub fn group(&self) -> MetricGroup {
        self.group
    }

    /// Its name: Kafka's, where Kafka has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name in Prometheus text. Kafka's metrics have the names that the JMX exporter gives them by default.
    #[must_use]
    pub fn prometheus_name(&self) -> String {
        format!("{}{}", self.group.prometheus_prefix(), self.name.replace('-', "_"))
    }

    /// How it moves.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        self.kind
    }

    /// What it is counted in.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        self.unit
    }

    /// What is counted, and when; one sentence or two, without a period at the end.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// What Kafka's metric of this name is: `same`, how it differs, or `none`.
    #[must_use]
    pub fn kafka(&self) -> &'static str {
        self.kafka
    }

    /// Its values, each with the tag beside `client-id`, if there is one. None of histograms.
    pub(super) fn visit(
        &self,
        snapshot: &MetricsSnapshot,
        mut tell: impl FnMut(Option<(&'static str, &str)>, Value),
    ) {
        match &self.source {
            Source::Producer(get) => tell(None, get.of(&snapshot.producer)),
            Source::Counts(get) => tell(None, get.of(&snapshot.counts)),
            Source::Topic(get) => {
                snapshot.topics.iter().for_each(|(name, topic)| tell(Some(("topic", name)), get.of(topic)));
            }
            Source::Node(get) => snapshot.nodes.iter().for_each(|(node, metrics)| {
                tell(Some(("node-id", &node_tag(*node))), get.of(metrics));
            }),
            Source::TopicStages | Source::NodeStages => {}
        }
    }

    /// Its durations by stage, each with the tag beside `client-id` and `stage`. Only of histograms.
    pub(super) fn visit_stages(
        &self,
        snapshot: &MetricsSnapshot,
        mut tell: impl FnMut((&'static str, &str), Stage, &Histogram),
    ) {
        for stage in Stage::ALL {
            match &self.source {
                Source::TopicStages => snapshot.topics.iter().for_each(|(name, topic)| {
                    tell(("topic", name), stage, topic.latency(stage));
                }),
                Source::NodeStages => snapshot.nodes.iter().for_each(|(node, metrics)| {
                    if let Some(histogram) = metrics.latency(stage) {
                        tell(("node-id", &node_tag(*node)), stage, histogram);
                    }
                }),
                _ => {}
            }
        }
    }
}

impl MetricGroup {
    /// Kafka's name of the group, or ours.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MetricGroup::Producer => "producer-metrics",
            MetricGroup::Topic => "producer-topic-metrics",
            MetricGroup::Node => "producer-node-metrics",
            MetricGroup::Own => "rohrpost",
            MetricGroup::OwnTopic => "rohrpost-topic",
            MetricGroup::OwnNode => "rohrpost-node",
        }
    }

    fn prometheus_prefix(self) -> &'static str {
        match self {
            MetricGroup::Producer => "kafka_producer_producer_metrics_",
            MetricGroup::Topic => "kafka_producer_producer_topic_metrics_",
            MetricGroup::Node => "kafka_producer_producer_node_metrics_",
            MetricGroup::Own => "rohrpost_producer_",
            MetricGroup::OwnTopic => "rohrpost_producer_topic_",
            MetricGroup::OwnNode => "rohrpost_producer_node_",
        }
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        })
    }
}

/// Kafka's tag of a broker; bootstrap servers are `node--1`, `node--2`, …
fn node_tag(node: i32) -> String {
    match node {
        MetricsSnapshot::OTHER_NODES => MetricsSnapshot::OTHERS.to_owned(),
        node => format!("node-{node}"),
    }
}

/// A number as it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl Value {
    fn as_f64(self) -> f64 {
        match self {
            Value::Whole(value) => value as f64,
            Value::Real(value) => value,
        }
    }
}

/// Where the values are.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Producer(Get<ProducerMetrics>),
    Topic(Get<TopicMetrics>),
    Node(Get<NodeMetrics>),
    Counts(Get<Metrics>),
    TopicStages,
    NodeStages,
}

/// One figure of a struct.
#[derive(Debug)]
pub(super) enum Get<S> {
    Total(fn(&S) -> Meter),
    Rate(fn(&S) -> Meter),
    Avg(fn(&S) -> Option<AvgMax>),
    Max(fn(&S) -> Option<AvgMax>),
    Whole(fn(&S) -> u64),
    Real(fn(&S) -> Option<f64>),
}

impl<S> Clone for Get<S> {
    fn clone(&self) -> Get<S> {
        *self
    }
}

impl<S> Copy for Get<S> {}

impl<S> Get<S> {
    fn of(&self, subject: &S) -> Value {
        match self {
            Get::Total(get) => Value::Whole(get(subject).total),
            Get::Rate(get) => Value::Real(get(subject).rate),
            Get::Avg(get) => Value::Real(get(subject).map_or(f64::NAN, |both| both.avg)),
            Get::Max(get) => Value::Real(get(subject).map_or(f64::NAN, |both| both.max)),
            Get::Whole(get) => Value::Whole(get(subject)),
            Get::Real(get) => Value::Real(get(subject).unwrap_or(f64::NAN)),
        }
    }
}
