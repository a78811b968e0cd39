//! The table, the list and the text: each says what the others say.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::sender::world::World;

/// A world in which records of two topics are acknowledged.
fn snapshot() -> MetricsSnapshot {
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

/// A text's samples: names with labels, to values. Everything that is no sample must be a header, and every sample have one.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut kinds = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("# TYPE ") {
            let (name, kind) = header.split_once(' ').unwrap();
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "two headers of {name}");
            assert!(helped.contains(name), "HELP comes first: {name}");
            continue;
        }
        if let Some(header) = line.strip_prefix("# HELP ") {
            helped.insert(header.split_once(' ').unwrap().0.to_owned());
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let base = name.split('{').next().unwrap();
        let is_histogram = |end: &str| {
            base.strip_suffix(end).is_some_and(|base| kinds.get(base).is_some_and(|kind| kind == "histogram"))
        };
        assert!(
            kinds.contains_key(base) || ["_bucket", "_sum", "_count"].into_iter().any(is_histogram),
            "no header for {line}"
        );
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "there twice: {name}");
    }
    samples
}

// MTR-3
#[test]
fn the_text_says_what_the_list_says_and_escapes_what_must_be() {
    let snapshot = snapshot();
    let text = snapshot.to_prometheus();
    let samples = samples(&text);
    let client = r#"client_id="a \"client\" \\ of\nmine""#;
    assert!(samples.keys().all(|name| name.contains(client)), "{text}");
    for metric in snapshot.kafka_metrics().iter().filter(|metric| metric.name != "count") {
        let prefix = metric.group.replace('-', "_");
        let name = metric.name.replace('-', "_");
        let tag = metric.tags.get(1).map(|(key, value)| format!(",{}=\"{value}\"", key.replace('-', "_")));
        let name = format!("kafka_producer_{prefix}_{name}{{{client}{}}}", tag.unwrap_or_default());
        let value = samples.get(&name).unwrap_or_else(|| panic!("{name} is not in the text"));
        assert!(*value == metric.value || value.is_nan() && metric.value.is_nan(), "{name}");
    }
    assert_eq!(samples[&format!("rohrpost_producer_records_acked_total{{{client}}}")], 2.0);
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
        if is_counter {
            assert_eq!(find(&name).unwrap()["sum"]["isMonotonic"], true);
        }
    }
    let stages = find("rohrpost.producer.topic.stage.latency.seconds").unwrap();
    let point = &stages["histogram"]["dataPoints"][0];
    let counts: Vec<u64> = point["bucketCounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|count| count.as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(counts.len(), point["explicitBounds"].as_array().unwrap().len() + 1);
    assert_eq!(counts.iter().sum::<u64>().to_string(), point["count"].as_str().unwrap());
    let nanos = |of: &str| point[of].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos("startTimeUnixNano") < nanos("timeUnixNano"));
}

// MTR-2, MTR-3
#[test]
fn a_histogram_s_buckets_grow_up_to_its_count() {
    let text = snapshot().to_prometheus();
    let of = "rohrpost_producer_topic_stage_latency_seconds_bucket{";
    let total: Vec<(f64, f64)> = text
        .lines()
        .filter(|line| {
            line.starts_with(of) && line.contains("topic=\"t\"") && line.contains("stage=\"total\"")
        })
        .map(|line| {
            let (labels, count) = line.rsplit_once(' ').unwrap();
            let bound = labels.split("le=\"").nth(1).unwrap().trim_end_matches("\"}");
            (bound.replace("+Inf", "inf").parse().unwrap(), count.parse().unwrap())
        })
        .collect();
    assert!(total.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{total:?}");
    assert_eq!(total.last(), Some(&(f64::INFINITY, 1.0)));
    // Sent after 7 ms, and noted some ms later.
    let up_to = |bound: f64| total.iter().rev().find(|(le, _)| *le <= bound).unwrap().1;
    assert_eq!((up_to(0.005), up_to(0.5)), (0.0, 1.0));
}

#[test]
fn several_producers_share_a_text_without_a_second_header() {
    let (mut one, mut two) = (snapshot(), snapshot());
    (one.client_id, two.client_id) = ("one".into(), "two".into());
    let both = samples(&prometheus_text(&[one.clone(), two]));
    assert_eq!(both.len(), 2 * samples(&one.to_prometheus()).len());
    assert_eq!(both["kafka_producer_producer_metrics_record_send_total{client_id=\"two\"}"], 2.0);
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
