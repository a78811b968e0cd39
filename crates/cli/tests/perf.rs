//! `rohrpost perf`, with the real binary against a broker in another process.

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};

use common::{Broker, Ran, rohrpost, run};
use serde_json::Value;

fn broker(folder: &Path) -> Broker {
    Broker::start(folder, &["--listen", "127.0.0.1:0"])
}

fn perf_produce(folder: &Path, broker: &Broker, topic: &str, more: &[&str]) -> Ran {
    let mut arguments = vec!["perf", "produce", "-b", &broker.address, "-t", topic];
    arguments.extend(more);
    run(folder, &arguments)
}

/// Standard output is exactly one JSON object.
#[track_caller]
fn json(ran: &Ran) -> Value {
    let text = ran.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert!(value.is_object(), "{text}");
    value
}

/// How many records a topic has, and their bytes as the reader counts them.
fn read_back(folder: &Path, broker: &Broker, topic: &str) -> u64 {
    let ran = run(folder, &["perf", "consume", "-b", &broker.address, "-t", topic, "--json"]);
    json(&ran.expect_status(0))["records"].as_u64().expect("a count")
}

#[test]
fn the_figures_add_up_and_the_records_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let ran = perf_produce(
        folder.path(),
        &broker,
        "t",
        &["--records", "5003", "--size", "120", "--partitions", "3", "--json", "--latency-every", "100"],
    )
    .expect_status(0);
    let figures = json(&ran);
    let number = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name} in {figures}"));
    assert_eq!((number("records"), number("failed"), number("retries")), (5003.0, 0.0, 0.0));
    assert_eq!((number("size"), number("partitions"), number("threads")), (120.0, 3.0, 1.0));
    assert_eq!(figures["ended_early"], false);
    let rate = number("records") / number("seconds");
    assert!((number("records_per_second") - rate).abs() < rate / 1e6, "{figures}");
    assert!((number("megabytes_per_second") - rate * 120.0 / 1e6).abs() < rate / 1e6, "{figures}");
    assert!(number("batches") >= number("requests") && number("requests") >= 1.0, "{figures}");
    let latency = |name: &str| figures["latency_ms"][name].as_f64().unwrap();
    assert_eq!(latency("samples"), 51.0, "one in 100, the first one included");
    let rising = [0.0, latency("p50"), latency("p99"), latency("p999"), latency("max")];
    assert!(rising.is_sorted() && rising[1] > 0.0, "{figures}");
    assert!(
        latency("max") <= number("seconds") * 1002.0 + 1.0,
        "no record took longer than the run: {figures}"
    );
    if cfg!(target_os = "linux") {
        assert!(number("cpu_user_us_per_record") + number("cpu_system_us_per_record") > 0.0);
        assert!(number("peak_memory_bytes") > 1e6);
    }
    assert_eq!(read_back(folder.path(), &broker, "t"), 5003);
}

#[test]
fn threads_keys_names_codecs_and_text_deliver_as_many_records() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let variants: [&[&str]; 5] = [
        &["--threads", "3"],
        &["--by-name"],
        &["--keys", "10"],
        &["--payload", "text", "-X", "compression.type=lz4"],
        &["--threads", "2", "--by-name", "--keys", "3", "--latency-every", "0"],
    ];
    for (number, variant) in variants.into_iter().enumerate() {
        let topic = format!("t{number}");
        let mut arguments = vec!["--records", "2001", "--partitions", "2", "--json"];
        arguments.extend(variant);
        let figures = json(&perf_produce(folder.path(), &broker, &topic, &arguments).expect_status(0));
        assert_eq!(figures["records"], 2001, "{variant:?}: {figures}");
        assert_eq!(read_back(folder.path(), &broker, &topic), 2001, "{variant:?}");
        let sampled = figures["latency_ms"]["samples"].as_u64().unwrap();
        assert_eq!(sampled == 0, variant.contains(&"0"), "{variant:?}: {figures}");
    }
    // ten keys are ten keys: the reader sees no other
    let consume = ["consume", "-b", &broker.address, "-t", "t2", "--from-beginning", "--until-end"];
    let lines = run(folder.path(), &[&consume[..], &["--format", "jsonl"]].concat()).expect_status(0).text();
    let keys: std::collections::BTreeSet<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(keys.len(), 10, "{keys:?}");
}

#[test]
fn without_json_people_read_the_figures_on_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let ran = perf_produce(folder.path(), &broker, "t", &["--records", "1500"]).expect_status(0);
    let text = ran.text();
    for part in [
        "1,500 records",
        "records/s",
        "MB/s",
        "CPU per record",
        "p99.9",
        "peak memory",
        "failed 0, retries 0",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(ran.stderr, "", "nothing to add where standard error is no terminal");
    let ran = run(folder.path(), &["perf", "consume", "-b", &broker.address, "-t", "t", "--records", "500"])
        .expect_status(0);
    assert!(ran.text().contains("500 records read"), "{}", ran.text());
    let ran = run(folder.path(), &["perf", "consume", "-b", &broker.address, "-t", "t", "--records", "2000"])
        .expect_status(0)
        .expect_said("500 fewer than --records");
    assert!(ran.text().contains("1,500 records read"), "{}", ran.text());
}

#[test]
fn a_rate_sends_no_record_before_it_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    for threads in ["1", "2"] {
        let arguments =
            ["--records", "301", "--rate", "1000", "--threads", threads, "--json", "--latency-every", "10"];
        let figures = json(&perf_produce(folder.path(), &broker, "t", &arguments).expect_status(0));
        assert_eq!(figures["records"], 301);
        // a slow machine takes longer, none takes less: the last record is due 300 ms after the first, or 298 with two threads
        assert!(figures["seconds"].as_f64().unwrap() >= 0.298, "{figures}");
    }
}

#[test]
fn a_plot_is_a_well_formed_picture_with_both_curves() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let arguments = ["--records", "40000", "--latency-every", "50", "--plot", "run.svg", "-q"];
    perf_produce(folder.path(), &broker, "a.b-c", &arguments).expect_status(0);
    let svg = std::fs::read_to_string(folder.path().join("run.svg")).unwrap();
    assert_well_formed(&svg);
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    for part in ["records/s", "latency, ms", "seconds since the start", "p50", "p99", "'a.b-c'"] {
        assert!(svg.contains(part), "{part} in {svg}");
    }
    for class in ["line rate", "line half", "line tail", "area"] {
        assert!(svg.contains(&format!("<path class=\"{class}")), "{class} in {svg}");
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    assert_eq!(
        svg.matches("http").count(),
        1,
        "nothing but the name space: no font, no script from elsewhere"
    );
}

/// Every element that begins ends, in order; attributes are quoted; text has no stray markup.
#[track_caller]
fn assert_well_formed(xml: &str) {
    let mut open = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>') || open.last() == Some(&"style"), "{text}");
        let end = rest[at..].find('>').unwrap_or_else(|| panic!("an element that does not end: {rest}")) + at;
        let tag = &rest[at + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().expect("split has a first"));
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_run_with_the_figures_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    run(folder.path(), &["topics", "create", "t", "-b", &broker.address]).expect_status(0);
    let child = start(
        folder.path(),
        &[
            "perf",
            "produce",
            "-b",
            &broker.address,
            "-t",
            "t",
            "--rate",
            "2000",
            "--records",
            "1000000000",
            "--json",
        ],
    );
    while read_back(folder.path(), &broker, "t") < 100 {}
    common::send_signal(&child, "INT");
    let ran = Ran::from(child.wait_with_output().unwrap()).expect_status(0).expect_said("ended early");
    let figures = json(&ran);
    assert_eq!((&figures["ended_early"], &figures["failed"]), (&true.into(), &0.into()), "{figures}");
    assert_eq!(figures["records"].as_u64().unwrap(), read_back(folder.path(), &broker, "t"), "{figures}");
}

#[test]
fn a_broker_that_dies_is_a_counted_and_named_failure() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    run(folder.path(), &["topics", "create", "t", "-b", &broker.address]).expect_status(0);
    let mut arguments = vec!["perf", "produce", "-b", &broker.address, "-t", "t"];
    arguments.extend(["--records", "1000000000", "--json"]);
    // little memory: once nothing is acknowledged any more, it is soon full, and the next record is refused
    for limit in [
        "buffer.memory=262144",
        "max.block.ms=500",
        "linger.ms=0",
        "request.timeout.ms=1000",
        "delivery.timeout.ms=2000",
    ] {
        arguments.extend(["-X", limit]);
    }
    let child = start(folder.path(), &arguments);
    while read_back(folder.path(), &broker, "t") == 0 {}
    broker.kill();
    let ran = Ran::from(child.wait_with_output().unwrap())
        .expect_status(1)
        .expect_said("failed; the first: ")
        .expect_said("ended early");
    let figures = json(&ran);
    assert!(figures["failed"].as_u64().unwrap() > 0, "{figures}");
    assert!(figures["records"].as_u64().unwrap() > 0, "{figures}");
    assert!(figures["first_error"].is_string(), "{figures}");
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    rohrpost(folder, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

#[test]
fn a_refused_record_ends_the_run_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let ran = perf_produce(folder.path(), &broker, "t", &["--size", "2000000", "--records", "10", "--json"])
        .expect_status(1)
        .expect_said("max.request.size")
        .expect_said("ended early: 1 of 10");
    let figures = json(&ran);
    assert_eq!((&figures["records"], &figures["failed"]), (&0.into(), &1.into()), "{figures}");
    assert!(figures["cpu_user_us_per_record"].is_null(), "no record, no cost of one: {figures}");
}

#[test]
fn wrong_usage_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let address = broker.address.as_str();
    let cases: [(&[&str], &str); 12] = [
        (&["perf"], "produce"),
        (&["perf", "produce", "-t", "t"], "--bootstrap-server"),
        (&["perf", "produce", "-b", address], "--topic"),
        (&["perf", "produce", "-b", address, "-t", "t", "--records", "0"], "--records"),
        (&["perf", "produce", "-b", address, "-t", "t", "--rate", "fast"], "--rate"),
        (&["perf", "produce", "-b", address, "-t", "t", "--payload", "zeros"], "random"),
        (&["perf", "produce", "-b", address, "-t", "t", "-X", "batch.sise=1"], "batch.size"),
        (&["perf", "produce", "-b", address, "-t", "t", "-X", "linger.ms"], "KEY=VALUE"),
        (&["perf", "produce", "-b", address, "-t", "t", "--plot", "no/such/dir.svg"], "no/such/dir.svg"),
        (&["perf", "produce", "-b", "localhost", "-t", "t"], "port"),
        (&["perf", "produce", "-b", address, "-t", "no spaces"], "no spaces"),
        (&["perf", "consume", "-b", address, "-t", "nowhere"], "nowhere"),
    ];
    for (arguments, reason) in cases {
        let ran = run(folder.path(), arguments).expect_status(2).expect_said(reason);
        assert_eq!(ran.text(), "", "{arguments:?}");
    }
    let topics = run(folder.path(), &["topics", "list", "-b", address]).expect_status(0).text();
    assert_eq!(topics, "", "no topic was made");
    run(folder.path(), &["topics", "create", "two", "--partitions", "2", "-b", address]).expect_status(0);
    perf_produce(folder.path(), &broker, "two", &["--partitions", "3"])
        .expect_status(2)
        .expect_said("topic 'two' has 2 partitions, not 3");
}

#[test]
fn a_broker_that_is_not_there_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    // a port that was free a moment ago
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        for command in ["produce", "consume"] {
            let (folder, address) = (folder.path(), &address);
            scope.spawn(move || {
                run(folder, &["perf", command, "-b", address, "-t", "t"])
                    .expect_status(2)
                    .expect_said(address)
                    .expect_said("refused")
            });
        }
    });
}
