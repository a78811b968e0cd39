//! The table, the list and the text: each says what the others say.

use std::collections::BTreeSet;

use super::formats_tests::{Sample, parse};
use super::*;
use crate::sender::world::World;

/// A world in which records of two topics are acknowledged.
pub(super) fn snapshot() -> MetricsSnapshot {
    let mut world = World::warm(&[("client.id", "a \"client\" \\ of\nmine")]);
    world.cluster.create("u", 2, &[1]);
    for topic in ["t", "u"] {
        world.shared.metadata.want(&topic.into());
        world.settle();
        drop(world.send_to(topic, 0, 1));
        world.advance(7);
        world.serve_all();
    }
    world.note_ended();
    MetricsSnapshot::of(&world.shared)
}

#[test]
fn names_are_unique_and_counters_are_named_as_such() {
    let mut names = BTreeSet::new();
    for metric in metric_descriptions() {
        assert!(names.insert(metric.prometheus_name()), "{} is there twice", metric.name());
        assert_eq!(
            metric.kind() == MetricKind::Counter,
            metric.name().ends_with("-total"),
            "{}: counters, and only they, end with -total",
            metric.name()
        );
        assert!(!metric.meaning().ends_with('.') && !metric.unit().is_empty(), "{}", metric.name());
        let valid = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(metric.name().chars().all(valid), "{}", metric.name());
    }
}

// MTR-1
#[test]
fn every_metric_of_kafka_s_that_can_be_here_is_here() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/producer.md");
    let text = std::fs::read_to_string(reference).unwrap();
    let chapter = text.split("\n## 17 Metrics").nth(1).unwrap().split("\n## 18").next().unwrap();
    // The lists come before the rules.
    let lists = chapter.split("\n- **MTR-1**").next().unwrap().replace('\n', " ");
    let mut expected = BTreeSet::new();
    let mut group = "producer-metrics";
    for word in lists.split([' ', ',', ';', ':', '(', ')']) {
        let word = word.trim_matches(|c: char| c == '.' || c == '`');
        match word {
            "producer-node-metrics" | "producer-topic-metrics" => group = word,
            "app-info" => break,
            "Network" | "Buffer" | "Calls" => group = "producer-metrics",
            _ => {}
        }
        // "batch-size-avg/max" are two.
        let mut ends = word.split('/');
        let first = ends.next().unwrap_or_default();
        let is_metric = |name: &str| {
            ["-avg", "-max", "-rate", "-total", "-ratio", "-bytes", "-threads", "-age", "-count", "-flight"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        if !is_metric(first) || first.starts_with(['-', 'j']) {
            continue;
        }
        let stem = first.rsplit_once('-').map_or(first, |(stem, _)| stem);
        expected.insert((group.to_owned(), first.to_owned()));
        expected.extend(ends.map(|end| (group.to_owned(), format!("{stem}-{end}"))));
    }
    // Not there yet: transactions, TLS and SASL.
    let cannot_be = |name: &str| name.starts_with("txn-") || name.contains("authentication");
    let here: BTreeSet<(String, String)> = metric_descriptions()
        .iter()
        .map(|metric| (metric.group().name().to_owned(), metric.name().to_owned()))
        .collect();
    let missing: Vec<_> =
        expected.iter().filter(|pair| !cannot_be(&pair.1) && !here.contains(*pair)).collect();
    assert!(expected.len() > 70, "the chapter is read: {}", expected.len());
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_list_has_kafka_s_names_tags_and_values() {
    let snapshot = snapshot();
    let metrics = snapshot.kafka_metrics();
    let value = |group: &str, name: &str, tag: Option<(&'static str, &str)>| {
        let tags = |metric: &Metric| match tag {
            None => metric.tags.len() == 1,
            Some((key, value)) => metric.tags.get(1) == Some(&(key, value.to_owned())),
        };
        let found: Vec<_> =
            metrics.iter().filter(|m| m.group == group && m.name == name && tags(m)).collect();
        assert_eq!(found.len(), 1, "{group} {name}");
        found[0].value
    };
    assert_eq!(value("producer-metrics", "record-send-total", None), 2.0);
    assert_eq!(value("producer-topic-metrics", "record-send-total", Some(("topic", "u"))), 1.0);
    assert_eq!(value("producer-metrics", "request-latency-max", None), 0.0);
    assert_eq!(value("producer-node-metrics", "request-latency-max", Some(("node-id", "node-1"))), 0.0);
    assert!(value("producer-metrics", "batch-size-max", None) > 61.0);
    assert!(value("producer-metrics", "io-time-ns-avg", None).is_nan(), "nobody polled");
    assert_eq!(value("kafka-metrics-count", "count", None), metrics.len() as f64);
}

// MTR-3
#[test]
fn the_text_says_what_the_list_says() {
    let snapshot = snapshot();
    let families = parse(&snapshot.to_prometheus());
    let find = |name: &str, tag: Option<(&str, &str)>| {
        let family = families.iter().find(|family| family.name == name)?;
        let is_it = |sample: &&Sample| tag.is_none_or(|(key, value)| sample.label(key) == Some(value));
        family.samples.iter().find(is_it).map(|sample| sample.value)
    };
    for metric in snapshot.kafka_metrics().iter().filter(|metric| metric.name != "count") {
        let name = format!("kafka_producer_{}_{}", metric.group, metric.name).replace('-', "_");
        let tag = metric.tags.get(1).map(|(key, value)| (key.replace('-', "_"), value));
        let value = find(&name, tag.as_ref().map(|(key, value)| (key.as_str(), value.as_str())));
        let value = value.unwrap_or_else(|| panic!("{name} {tag:?} is not in the text"));
        assert!(value == metric.value || value.is_nan() && metric.value.is_nan(), "{name}");
    }
    assert_eq!(find("rohrpost_producer_records_acked_total", None), Some(2.0));
}

// MTR-3
#[test]
fn what_a_collector_gets_says_what_the_list_says() {
    let snapshot = snapshot();
    let request: serde_json::Value = serde_json::from_str(&snapshot.to_otlp_json()).unwrap();
    let resource = &request["resourceMetrics"][0];
    let service = &resource["resource"]["attributes"][0];
    assert_eq!(service["key"], "service.name");
    assert_eq!(service["value"]["stringValue"], &*snapshot.client_id);
    let metrics = resource["scopeMetrics"][0]["metrics"].as_array().unwrap();
    let find = |name: &str| metrics.iter().find(|metric| metric["name"] == name);
    for metric in snapshot.kafka_metrics().iter().filter(|metric| metric.name != "count") {
        let group = metric.group.trim_end_matches("-metrics").replace('-', ".");
        let name = format!("org.apache.kafka.{group}.{}", metric.name.replace('-', "."));
        let is_counter = metric.name.ends_with("-total");
        let points = find(&name).map(|told| &told[if is_counter { "sum" } else { "gauge" }]["dataPoints"]);
        let point = points.and_then(|points| {
            points.as_array().unwrap().iter().find(|point| {
                let tag = &point["attributes"][0]["value"]["stringValue"];
                metric.tags.get(1).is_none_or(|(_, value)| tag == value.as_str())
            })
        });
        let value = point.map(|point| match &point["asInt"] {
            serde_json::Value::String(whole) => whole.parse::<f64>().unwrap(),
            _ => point["asDouble"].as_f64().unwrap(),
        });
        assert_eq!(value, Some(metric.value).filter(|value| !value.is_nan()), "{name} {:?}", metric.tags);
    }
}

// MTR-2
#[test]
fn a_duration_is_counted_from_its_own_bucket_on() {
    let families = parse(&snapshot().to_prometheus());
    let buckets = families.iter().flat_map(|family| &family.samples);
    let total: Vec<(f64, f64)> = buckets
        .filter(|sample| sample.name == "rohrpost_producer_topic_stage_latency_seconds_bucket")
        .filter(|sample| sample.label("topic") == Some("t") && sample.label("stage") == Some("total"))
        .map(|sample| (sample.label("le").unwrap().parse().unwrap_or(f64::INFINITY), sample.value))
        .collect();
    // Sent after 7 ms, and noted some ms later.
    let up_to = |bound: f64| total.iter().rev().find(|(le, _)| *le <= bound).unwrap().1;
    assert_eq!((up_to(0.005), up_to(0.5), up_to(f64::INFINITY)), (0.0, 1.0, 1.0));
}

// MTR-3
#[test]
fn appending_a_record_writes_nothing_down() {
    let mut world = World::warm(&[("batch.size", "200")]);
    let written =
        |world: &World| format!("{:?}", world.shared.book.copy(world.shared.clock.last_us()).producer);
    let before = written(&world);
    let deliveries: Vec<_> = (0..1000).map(|value| world.send(0, value)).collect();
    assert_eq!(written(&world), before);
    assert!(world.shared.book.copy(0).topics.is_empty());
    world.serve_all();
    world.note_ended();
    assert_ne!(written(&world), before);
    assert_eq!(MetricsSnapshot::of(&world.shared).producer.record_send.total, deliveries.len() as u64);
}
