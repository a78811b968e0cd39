//! The producer's metrics, read by those who collect metrics.

use rohrpost::{MetricKind, Producer, Record, metric_descriptions, prometheus_text};
use rohrpost_broker::Cluster;
use rohrpost_interop::{clients, run_with_input, skipped};
use serde_json::Value;

/// MTR-3
#[test]
fn prometheus_own_reader_finds_every_metric_with_its_kind_its_labels_and_its_value() {
    let Some(mut reader) = clients::python_program("prometheus.py") else {
        return skipped("prometheus-client in Python (interop/install)");
    };
    let cluster = Cluster::builder().topic("t", 1, 1).topic("u", 1, 1).start().unwrap();
    let odd = "a \"client\" \\ of\nmine";
    let producers = [odd, "two"].map(|name| {
        let builder = Producer::builder(cluster.bootstrap_servers());
        let producer = builder.set("client.id", name).unwrap().build().unwrap();
        for topic in ["t", "u", "u"] {
            producer.send_blocking(Record::to(topic).value("v")).unwrap().wait().unwrap();
        }
        producer
    });
    let snapshots = producers.each_ref().map(Producer::metrics_snapshot);
    let text = prometheus_text(&snapshots);
    let families: Vec<Value> = serde_json::from_slice(&run_with_input(&mut reader, text.as_bytes())).unwrap();
    assert_eq!(families.len(), metric_descriptions().len());
    for metric in metric_descriptions() {
        // The reader takes the end of a counter's name for what it is.
        let name = metric.prometheus_name();
        let name = name.strip_suffix("_total").unwrap_or(&name);
        let family = families.iter().find(|family| family["name"] == name);
        let family = family.unwrap_or_else(|| panic!("{name} was not found"));
        let kind = match metric.kind() {
            MetricKind::Counter => "counter",
            MetricKind::Histogram => "histogram",
            _ => "gauge",
        };
        assert_eq!(family["kind"], kind, "{name}");
        assert!(family["help"].as_str().unwrap().starts_with(metric.meaning()), "{family}");
        assert!(!family["samples"].as_array().unwrap().is_empty(), "{name}");
    }
    let value = |name: &str, client: &str, topic: Option<&str>| {
        let samples = families.iter().flat_map(|family| family["samples"].as_array().unwrap());
        let found: Vec<&Value> = samples
            .filter(|sample| sample[0] == name && sample[1]["client_id"] == client)
            .filter(|sample| topic.is_none_or(|topic| sample[1]["topic"] == topic))
            .map(|sample| &sample[2])
            .collect();
        assert_eq!(found.len(), 1, "{name} of {client}");
        found[0].as_str().unwrap().parse::<f64>().unwrap()
    };
    for client in [odd, "two"] {
        assert_eq!(value("rohrpost_producer_records_acked_total", client, None), 3.0);
        let of_topics = "kafka_producer_producer_topic_metrics_record_send_total";
        assert_eq!(["t", "u"].map(|topic| value(of_topics, client, Some(topic))), [1.0, 2.0]);
    }
    drop(producers);
}
