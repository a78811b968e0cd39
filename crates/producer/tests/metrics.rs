//! The metrics of a real producer beside an embedded broker: what they count is what happened.

#![allow(clippy::unwrap_used)] // all of it is test code

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rohrpost::{MetricsSnapshot, Producer, Record, Stage, metric_descriptions};
use rohrpost_broker::Cluster;

fn cluster() -> Cluster {
    Cluster::builder().topic("t", 3, 1).topic("u", 1, 1).start().expect("the broker starts")
}

/// What the sender counts is as of its last pass: looks again until it is so.
#[track_caller]
fn until(producer: &Producer, what: &str, is_so: impl Fn(&MetricsSnapshot) -> bool) -> MetricsSnapshot {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let snapshot = producer.metrics_snapshot();
        if is_so(&snapshot) {
            return snapshot;
        }
        assert!(Instant::now() < deadline, "{what}: {snapshot:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_figures_of_a_run_belong_together() {
    // MTR-1, MTR-2, MTR-3
    let cluster = cluster();
    let producer = Producer::builder(cluster.bootstrap_servers()).batch_size(1000).build().unwrap();
    for number in 0..3000_u32 {
        let topic = if number % 3 == 0 { "u" } else { "t" };
        drop(producer.send_blocking(Record::to(topic).value(number.to_be_bytes().to_vec())).unwrap());
    }
    producer.flush_blocking().unwrap();
    let batches = producer.metrics().batches_sent;
    let done = |snapshot: &MetricsSnapshot| snapshot.latency(Stage::Total).count() == batches;
    let snapshot = until(&producer, "every batch's time is known", done);
    let metrics = &snapshot.producer;
    assert_eq!((metrics.record_send.total, snapshot.counts.records_acked), (3000, 3000));
    assert_eq!((metrics.record_error.total, metrics.requests_in_flight), (0, 0));
    let by_topic = |topic: &str| snapshot.topics[topic].record_send.total;
    assert_eq!((by_topic("t"), by_topic("u"), snapshot.topics.len()), (2000, 1000, 2));
    for stage in [Stage::Filling, Stage::Queued, Stage::Writing, Stage::Answering, Stage::Telling] {
        assert_eq!(snapshot.latency(stage).count(), batches, "{}", stage.name());
        assert!(snapshot.latency(stage).max() <= snapshot.latency(Stage::Total).max());
    }
    // Each batch's stages add up to its time, to the microsecond of each stamp.
    let stages = [Stage::Filling, Stage::Queued, Stage::Writing, Stage::Answering, Stage::Telling];
    let parts: Duration = stages.iter().map(|stage| snapshot.latency(*stage).sum()).sum();
    assert_eq!(parts, snapshot.latency(Stage::Total).sum());
    let size = metrics.batch_size.unwrap();
    assert!(size.avg <= size.max && size.max <= 1000.0, "{size:?}");
    assert!(metrics.flush_time_ns_total > 0 && metrics.metadata_wait_time_ns_total > 0);
    assert!(metrics.metadata_age_s.unwrap() < 60.0);
    assert!(snapshot.latency(Stage::Room).count() >= 2, "the first send to each topic waits for metadata");
}

#[test]
fn what_went_over_the_wire_is_counted_by_broker_and_adds_up() {
    let cluster = cluster();
    let producer = Producer::builder(cluster.bootstrap_servers()).build().unwrap();
    let value = vec![7; 10_000];
    for _ in 0..50 {
        producer.send_blocking(Record::to("t").value(value.clone())).unwrap().wait().unwrap();
    }
    drop(producer.close_blocking(Duration::MAX));
    let snapshot = producer.metrics_snapshot();
    let metrics = &snapshot.producer;
    let (sent, answered) = (metrics.request.total, metrics.response.total);
    // ApiVersions and Metadata by the bootstrap server, ApiVersions and Produce by the broker, InitProducerId by either.
    assert!(sent >= 50 + 4 && answered <= sent, "{sent} {answered}");
    assert_eq!(metrics.network_io.total, sent + answered);
    assert!(metrics.outgoing_byte.total > 500_000 && metrics.incoming_byte.total > 50 * 20);
    assert!(metrics.request_size.unwrap().max > 10_000.0);
    assert!(metrics.connection_creation.total >= 2 && metrics.select.total > 50);
    assert!(metrics.io_time_ns_total > 0 && metrics.io_wait_time_ns_total > 0);
    assert!(metrics.io_ratio + metrics.io_wait_ratio <= 1.1, "{metrics:?}");
    let nodes = |of: fn(&rohrpost::NodeMetrics) -> u64| snapshot.nodes.values().map(of).sum::<u64>();
    assert_eq!(nodes(|node| node.request.total), sent);
    assert_eq!(nodes(|node| node.response.total), answered);
    assert_eq!(nodes(|node| node.outgoing_byte.total), metrics.outgoing_byte.total);
    assert_eq!(nodes(|node| node.incoming_byte.total), metrics.incoming_byte.total);
    assert!(
        snapshot.nodes.keys().any(|node| *node < 0),
        "bootstrap servers are counted: {:?}",
        snapshot.nodes
    );
    let answering =
        |node: &rohrpost::NodeMetrics| node.latency(Stage::Answering).map_or(0, |all| all.count());
    assert_eq!(snapshot.nodes.values().map(answering).sum::<u64>(), 50);
}

#[test]
fn calls_that_wait_for_room_are_counted_and_so_is_the_time() {
    // MTR-2, BUF-3
    let cluster = cluster();
    let producer = Producer::builder(cluster.bootstrap_servers())
        .buffer_memory(100_000)
        .batch_size(1000)
        .set("max.block.ms", "50")
        .unwrap()
        .build()
        .unwrap();
    // 50 ms are short for a busy machine.
    let topic = loop {
        if let (Ok(topic), Ok(())) = (producer.topic_blocking("u"), producer.connect_blocking()) {
            break topic;
        }
    };
    // Nobody answers from now on: what is sent stays in the buffer.
    drop(cluster);
    let mut refused = 0;
    while refused == 0 {
        refused += u64::from(topic.send_blocking(Record::value(vec![1; 900])).is_err());
    }
    let metrics = producer.metrics_snapshot();
    assert_eq!(metrics.producer.buffer_exhausted.total, refused);
    assert!(metrics.producer.bufferpool_wait_time_ns_total >= 45_000_000, "{metrics:?}");
    assert!(metrics.topics["u"].latency(Stage::Room).max().unwrap() >= Duration::from_millis(45));
    assert!(metrics.producer.bufferpool_wait_ratio > 0.0);
    assert_eq!(metrics.producer.waiting_threads, 0);
}

/// Counters of a Prometheus text.
fn counters(text: &str) -> BTreeMap<String, f64> {
    let mut kind = "";
    let mut counters = BTreeMap::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("# TYPE ") {
            kind = header.rsplit_once(' ').unwrap().1;
        } else if !line.starts_with('#') && kind != "gauge" {
            let (name, value) = line.rsplit_once(' ').unwrap();
            counters.insert(name.to_owned(), value.parse().unwrap());
        }
    }
    counters
}

#[test]
fn counters_never_go_back_while_records_are_sent() {
    // MTR-3
    let cluster = cluster();
    let producer = Producer::builder(cluster.bootstrap_servers()).build().unwrap();
    let mut before = BTreeMap::new();
    for _ in 0..30 {
        for _ in 0..200 {
            drop(producer.send_blocking(Record::to("t").value("x")).unwrap());
        }
        let now = counters(&producer.metrics_snapshot().to_prometheus());
        for (name, value) in &before {
            let now = now.get(name).unwrap_or_else(|| panic!("{name} is gone"));
            assert!(now >= value, "{name} went from {value} to {now}");
        }
        before = now;
    }
    producer.flush_blocking().unwrap();
    assert!(before.len() > 100, "{}", before.len());
}

/// docs/metrics.md is made of the catalogue: its tables, between two marks.
#[test]
fn the_page_lists_every_metric_as_the_catalogue_has_it() {
    const BEGIN: &str = "<!-- tables: begin -->\n";
    const END: &str = "<!-- tables: end -->";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (head, rest) = page.split_once(BEGIN).expect("the mark of the tables' begin");
    let (old, tail) = rest.split_once(END).expect("the mark of their end");
    let mut tables = String::new();
    let mut group = None;
    for metric in metric_descriptions() {
        if group.replace(metric.group()) != Some(metric.group()) {
            tables.push_str(&format!(
                "\n### {}\n\n| metric | kind | unit | what is counted, and when | Kafka's |\n|---|---|---|---|---|\n",
                metric.group().name()
            ));
        }
        tables.push_str(&format!(
            "| `{}` | {} | {} | {} | {} |\n",
            metric.name(),
            metric.kind(),
            metric.unit(),
            metric.meaning(),
            metric.kafka()
        ));
    }
    tables.push('\n');
    if old != tables && std::env::var_os("ROHRPOST_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{head}{BEGIN}{tables}{END}{tail}")).unwrap();
        return;
    }
    assert!(
        old == tables,
        "docs/metrics.md is old: ROHRPOST_WRITE_DOCS=1 cargo test -p rohrpost --test metrics writes it"
    );
}
