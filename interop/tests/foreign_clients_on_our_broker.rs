//! Kafka's console producer and kcat write to our broker and read from it by partition; Kafka's dump tool reads the
//! files that it leaves.

use std::path::Path;
use std::process::Command;

use rohrpost_interop::{BrokerProcess, CODECS, have, kafka_tool, lines, rohrpost, run, run_with_input, text};

const KAFKA: &str = "4.3.1";

#[test]
fn kafkas_console_producer_and_consumer_work_on_our_broker() {
    if !have(&["java", "mvn"]) {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(data.path(), &[]);
    let count = lines(&text()).len().to_string();
    for codec in CODECS {
        let topic = format!("java-{codec}");
        create(&broker, &topic);
        let mut producer = kafka_tool(KAFKA, "console-producer", ["--bootstrap-server", broker.address()]);
        producer.args(["--topic", &topic, "--compression-codec", codec]);
        run_with_input(&mut producer, &text());
        let mut consumer = kafka_tool(KAFKA, "console-consumer", ["--bootstrap-server", broker.address()]);
        consumer.args(["--topic", &topic, "--partition", "0", "--offset", "earliest"]);
        consumer.args(["--max-messages", &count, "--timeout-ms", "30000"]);
        assert!(run(&mut consumer) == text(), "{codec}: Kafka's consumer printed something else");
        assert!(consume(&broker, &topic) == text(), "{codec}: rohrpost consume printed something else");
    }
}

#[test]
fn kcat_works_on_our_broker() {
    if !have(&["kcat"]) {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(data.path(), &[]);
    // kcat leaves empty lines out, so it is not given any
    let mut text: Vec<u8> =
        lines(&text()).into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(&b'\n');
    text.push(b'\n');
    for codec in CODECS {
        let topic = format!("kcat-{codec}");
        create(&broker, &topic);
        let at = ["-b", broker.address(), "-t", &topic, "-p", "0"];
        run_with_input(Command::new("kcat").arg("-P").args(at).args(["-z", codec]), &text);
        let read = run(Command::new("kcat").args(["-C", "-q"]).args(at).args(["-o", "beginning", "-e"]));
        assert!(read == text, "{codec}: kcat read something else than it wrote");
        assert!(consume(&broker, &topic) == text, "{codec}: rohrpost read something else than kcat wrote");
    }
}

/// D5, D6, C26: Kafka's tool reads segments and indexes of ours, and our metadata log.
#[test]
fn kafkas_dump_tool_reads_our_files() {
    if !have(&["java", "mvn"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    std::fs::write(&file, text()).unwrap();
    let data = folder.path().join("data");
    for codec in CODECS {
        let topic = format!("dump-{codec}");
        run(rohrpost()
            .args(["produce", "-t", &topic, "--partitions", "1", "-X", &format!("compression.type={codec}")])
            .arg("--data-dir")
            .arg(&data)
            .arg(&file));
        let segment = data.join(format!("{topic}-0/00000000000000000000"));
        let log = dump(&segment.with_extension("log"), &["--deep-iteration", "--print-data-log"]);
        let records = log.lines().filter(|line| line.trim_start().starts_with("| offset:")).count();
        assert_eq!(records, lines(&text()).len(), "{codec}");
        assert!(log.contains(&format!("compresscodec: {codec}")), "{codec}");
        for index in ["index", "timeindex"] {
            let dump = dump(&segment.with_extension(index), &[]);
            assert!(!dump.contains("ismatch") && !dump.contains("Found"), "{codec} {index}:\n{dump}");
        }
    }
    let metadata = data.join("__cluster_metadata-0/00000000000000000000.log");
    let dump = dump(&metadata, &["--cluster-metadata-decoder"]);
    for expected in ["TOPIC_RECORD", "\"name\":\"dump-zstd\"", "PARTITION_RECORD", "REGISTER_BROKER_RECORD"] {
        assert!(dump.contains(expected), "no {expected} in:\n{dump}");
    }
}

fn create(broker: &BrokerProcess, topic: &str) {
    run(rohrpost().args(["topics", "create", topic, "--partitions", "1", "-b", broker.address()]));
}

fn consume(broker: &BrokerProcess, topic: &str) -> Vec<u8> {
    run(rohrpost()
        .args(["consume", "-b", broker.address(), "-t", topic, "--partition", "0"])
        .args(["--from-beginning", "--until-end"]))
}

fn dump(file: &Path, arguments: &[&str]) -> String {
    String::from_utf8(run(kafka_tool(KAFKA, "dump-log", ["--files"]).arg(file).args(arguments)))
        .expect("text")
}
