//! Kafka's own admin tools on our broker and on Apache Kafka: the same commands, and what they print compared line by line.

use rohrpost_interop::{BrokerProcess, Kafka, have, kafka_tool, rohrpost, run};

const KAFKA: &str = "4.3.1";

/// A tool and its arguments; `--bootstrap-server` comes first.
type Command = (&'static str, &'static [&'static str]);

/// In this order: what is changed is looked at afterwards.
const COMMANDS: &[Command] = &[
    ("topics", &["--create", "--topic", "t", "--partitions", "2", "--config", "retention.ms=5000"]),
    ("topics", &["--alter", "--topic", "t", "--partitions", "4"]),
    ("topics", &["--describe", "--topic", "t"]),
    (
        "configs",
        &[
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            "t",
            "--add-config",
            "max.message.bytes=2000,cleanup.policy=[compact,delete],compression.type=lz4",
        ],
    ),
    ("configs", &["--describe", "--entity-type", "topics", "--entity-name", "t"]),
    (
        "configs",
        &[
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            "t",
            "--delete-config",
            "retention.ms,cleanup.policy",
        ],
    ),
    ("configs", &["--describe", "--entity-type", "topics", "--entity-name", "t"]),
    (
        "configs",
        &["--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "log.retention.ms=7000"],
    ),
    (
        "configs",
        &[
            "--alter",
            "--entity-type",
            "brokers",
            "--entity-name",
            "1",
            "--add-config",
            "message.max.bytes=3000",
        ],
    ),
    ("configs", &["--describe", "--entity-type", "brokers", "--entity-default"]),
    ("configs", &["--describe", "--entity-type", "brokers", "--entity-name", "1"]),
    (
        "configs",
        &[
            "--alter",
            "--entity-type",
            "brokers",
            "--entity-name",
            "1",
            "--delete-config",
            "message.max.bytes",
        ],
    ),
    ("configs", &["--describe", "--entity-type", "brokers", "--entity-name", "1"]),
    ("topics", &["--describe", "--topic", "t"]),
    ("leader-election", &["--election-type", "preferred", "--topic", "t", "--partition", "1"]),
];

#[test]
fn kafkas_admin_tools_print_the_same_on_our_broker_as_on_kafka() {
    // M5, M9, M10, M11, V4
    if !have(&["java", "mvn"]) {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let ours = BrokerProcess::start(data.path(), &["node.id=1"]);
    let theirs = Kafka::start(KAFKA, "admin");
    let mut differences = Vec::new();
    for (tool, arguments) in COMMANDS {
        let print = |bootstrap: &str| {
            let mut command = kafka_tool(KAFKA, tool, ["--bootstrap-server", bootstrap]);
            told(&run(command.args(*arguments)))
        };
        let (ours, theirs) = (print(ours.address()), print(theirs.bootstrap()));
        if ours != theirs {
            differences.push(format!("{tool} {arguments:?}\n  ours: {ours:#?}\n  theirs: {theirs:#?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn kafkas_tools_for_logs_and_the_cluster_work_on_our_broker() {
    // D25, M7
    if !have(&["java", "mvn"]) {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(data.path(), &["node.id=1"]);
    let tool = |tool: &str, arguments: &[&str]| {
        let mut command = kafka_tool(KAFKA, tool, ["--bootstrap-server", broker.address()]);
        String::from_utf8(run(command.args(arguments))).expect("text")
    };
    tool("topics", &["--create", "--topic", "t", "--partitions", "1"]);
    let mut producer = kafka_tool(KAFKA, "console-producer", ["--bootstrap-server", broker.address()]);
    producer.args(["--topic", "t"]);
    rohrpost_interop::run_with_input(&mut producer, b"a\nb\nc\n");
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("delete.json");
    std::fs::write(&json, r#"{"partitions":[{"topic":"t","partition":0,"offset":2}],"version":1}"#).unwrap();
    let printed = tool("delete-records", &["--offset-json-file", json.to_str().expect("UTF-8")]);
    assert!(printed.contains("low_watermark: 2"), "{printed}");
    let printed = tool("get-offsets", &["--topic", "t", "--time", "earliest"]);
    assert!(printed.contains("t:0:2"), "{printed}");
    let printed = tool("log-dirs", &["--describe"]);
    assert!(printed.contains(r#""partition":"t-0""#), "{printed}");
    let mut cluster = kafka_tool(KAFKA, "cluster", ["cluster-id", "--bootstrap-server", broker.address()]);
    let printed = String::from_utf8(run(&mut cluster)).expect("text");
    assert!(printed.contains("Cluster ID: "), "{printed}");
    let printed = tool("configs", &["--describe", "--all", "--entity-type", "brokers", "--entity-name", "1"]);
    assert!(printed.contains("log.retention.hours=168 sensitive=false"), "{printed}");
}

/// What a tool has printed, without ids, which differ from cluster to cluster; and without the setting that Kafka makes by
/// itself where eligible leader replicas are on (M9), which they are not here.
fn told(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8(output.to_vec()).expect("text").replace("min.insync.replicas=1,", "");
    let line = |line: &str| {
        let words = line.split('\t').filter(|word| !word.starts_with("TopicId: "));
        words.collect::<Vec<_>>().join("\t")
    };
    let made_by_itself = |line: &&str| !line.trim_start().starts_with("min.insync.replicas=1 ");
    text.lines().filter(made_by_itself).map(line).collect()
}

/// C6, C26: a snapshot of our metadata log.
#[test]
fn kafkas_dump_tool_reads_our_snapshots() {
    if !have(&["java", "mvn"]) {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let setting = "metadata.log.max.record.bytes.between.snapshots=1";
    let broker = BrokerProcess::start(data.path(), &["node.id=1", setting]);
    run(rohrpost().args(["topics", "create", "dumped", "--partitions", "3", "-b", broker.address()]));
    broker.kill();
    let folder = data.path().join("__cluster_metadata-0");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let newest = names.filter(|name| name.extension().is_some_and(|e| e == "checkpoint")).max().unwrap();
    let mut dump = kafka_tool(KAFKA, "dump-log", ["--cluster-metadata-decoder", "--files"]);
    let dump = String::from_utf8(run(dump.arg(newest))).expect("text");
    for expected in [
        "SnapshotHeader",
        "FEATURE_LEVEL_RECORD",
        "REGISTER_BROKER_RECORD",
        "\"name\":\"dumped\"",
        "SnapshotFooter",
    ] {
        assert!(dump.contains(expected), "no {expected} in:\n{dump}");
    }
    assert_eq!(dump.matches("PARTITION_RECORD").count(), 3, "{dump}");
}
