//! A real text file with every codec to Apache Kafka, read back with Kafka's own console consumer by partition, byte for
//! byte, with keys, headers and timestamps.

use rohrpost_interop::{CODECS, KAFKA_VERSIONS, Kafka, have, kafka_tool, lines, rohrpost, run, text};
use rohrpost_record::murmur2::murmur2;

const PARTITIONS: usize = 3;

#[test]
fn a_text_file_arrives_in_apache_kafka_byte_for_byte_with_every_codec() {
    if !have(&["java", "mvn"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    std::fs::write(&file, text()).unwrap();
    for version in KAFKA_VERSIONS {
        let kafka = Kafka::start(version, "text");
        for codec in CODECS {
            let topic = format!("text-{codec}");
            run(rohrpost()
                .args(["produce", "-b", kafka.bootstrap(), "-t", &topic, "--partitions", "1"])
                .args(["-X", &format!("compression.type={codec}")])
                .arg(&file));
            let read = console_consumer(&kafka, &topic, 0, lines(&text()).len(), &[]);
            assert!(read == text(), "{version} {codec}: what Kafka's consumer printed differs from the file");
            let dump = dump_log(&kafka, &topic, 0);
            assert!(dump.contains(&format!("compresscodec: {codec}")), "{version} {codec}:\n{dump}");
            assert!(!dump.contains("producerId: -1"), "{version} {codec}: not idempotent");
        }
    }
}

/// PAR-2: the partitions are those that Kafka's own producer would have chosen.
#[test]
fn keys_headers_and_timestamps_arrive_in_the_partition_that_the_key_names() {
    if !have(&["java", "mvn"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.jsonl");
    let (input, expected) = keyed_records();
    std::fs::write(&file, input).unwrap();
    for version in KAFKA_VERSIONS {
        let kafka = Kafka::start(version, "keys");
        for codec in ["none", "zstd"] {
            let topic = format!("keys-{codec}");
            run(rohrpost()
                .args(["produce", "-b", kafka.bootstrap(), "-t", &topic, "--partitions", "3"])
                .args(["--format", "jsonl", "-X", &format!("compression.type={codec}")])
                .arg(&file));
            let shown = ["timestamp", "partition", "offset", "headers", "key"];
            for (partition, expected) in expected.iter().enumerate() {
                let read = console_consumer(&kafka, &topic, partition, expected.lines().count(), &shown);
                assert_eq!(
                    String::from_utf8(read).unwrap(),
                    *expected,
                    "{version} {codec} partition {partition}"
                );
            }
        }
    }
}

/// A thousand records as JSON lines, and what Kafka's console consumer is to print of each partition.
fn keyed_records() -> (String, [String; PARTITIONS]) {
    let mut input = String::new();
    let mut expected = [const { String::new() }; PARTITIONS];
    for (number, line) in lines(&text()).into_iter().take(1000).enumerate() {
        let value = String::from_utf8_lossy(line);
        let key = format!("key-{}-\u{e9}", number % 97);
        let timestamp = 1_750_000_000_000_i64 + number as i64 * 17;
        let (headers, shown) = if number % 2 == 0 {
            let headers = serde_json::json!([
                {"key": "h", "value": "one"},
                {"key": "h", "value": "two"},
                {"key": "empty", "value": ""},
                {"key": "absent", "value": null},
            ]);
            (headers, "h:one,h:two,empty:,absent:null")
        } else {
            (serde_json::json!([]), "NO_HEADERS")
        };
        let record =
            serde_json::json!({"key": key, "value": value, "timestamp": timestamp, "headers": headers});
        input.push_str(&format!("{record}\n"));
        let partition = (murmur2(key.as_bytes()) & 0x7fff_ffff) as usize % PARTITIONS;
        let expected = &mut expected[partition];
        let offset = expected.lines().count();
        let place = format!("CreateTime:{timestamp}\tPartition:{partition}\tOffset:{offset}");
        expected.push_str(&format!("{place}\t{shown}\t{key}\t{value}\n"));
    }
    (input, expected)
}

/// What Kafka's console consumer prints of one partition.
fn console_consumer(kafka: &Kafka, topic: &str, partition: usize, count: usize, shown: &[&str]) -> Vec<u8> {
    let mut command =
        kafka_tool(kafka.version(), "console-consumer", ["--bootstrap-server", kafka.bootstrap()]);
    command.args(["--topic", topic, "--partition", &partition.to_string(), "--offset", "earliest"]);
    command.args(["--max-messages", &count.to_string(), "--timeout-ms", "30000"]);
    // the option's old name prints a warning between the records
    let option = if kafka.version().starts_with("3.") { "--property" } else { "--formatter-property" };
    for what in shown {
        command.args([option, &format!("print.{what}=true")]);
    }
    run(&mut command)
}

fn dump_log(kafka: &Kafka, topic: &str, partition: usize) -> String {
    let segment = kafka.data_dir().join(format!("{topic}-{partition}/00000000000000000000.log"));
    String::from_utf8(run(kafka_tool(kafka.version(), "dump-log", ["--files"]).arg(segment))).expect("text")
}
