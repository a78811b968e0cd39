//! The main job on the embedded broker, with the real binary.

mod common;

use std::time::{Duration, Instant};

use common::{run, run_with_input};

const READ_ALL: [&str; 4] = ["consume", "--from-beginning", "--until-end", "-t"];

fn read_all(folder: &std::path::Path, topic: &str, more: &[&str]) -> Vec<u8> {
    let mut arguments = READ_ALL.to_vec();
    arguments.push(topic);
    arguments.extend(more);
    run(folder, &arguments).expect_status(0).stdout
}

#[test]
fn a_files_lines_survive_in_the_log_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let text = include_bytes!("../../../docs/reference/producer.md");
    std::fs::write(folder.path().join("text.txt"), text).unwrap();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let ran = run(
            folder.path(),
            &["produce", "-t", codec, "text.txt", "-X", &format!("compression.type={codec}")],
        )
        .expect_status(0)
        .expect_said("records, ")
        .expect_said("failed 0");
        assert!(ran.stdout.is_empty(), "data goes to standard output, nothing else does");
        assert!(!ran.stderr.contains('\u{1b}'), "no escape sequences where standard error is no terminal");
        assert!(read_all(folder.path(), codec, &[]) == text, "{codec}");
    }
}

#[test]
fn standard_input_is_read_to_its_end_and_a_last_line_needs_no_newline() {
    let folder = tempfile::tempdir().unwrap();
    run_with_input(folder.path(), &["produce", "-t", "t"], b"one\n\nthree")
        .expect_status(0)
        .expect_said("3 records");
    run_with_input(folder.path(), &["produce", "-t", "t", "-"], b"four\n")
        .expect_status(0)
        .expect_said("1 record,");
    run_with_input(folder.path(), &["produce", "-t", "t"], b"").expect_status(0).expect_said("0 records");
    assert_eq!(read_all(folder.path(), "t", &[]), b"one\n\nthree\nfour\n");
}

#[test]
fn the_end_of_the_input_sends_what_lingers() {
    let folder = tempfile::tempdir().unwrap();
    let linger = Duration::from_secs(60);
    let begin = Instant::now();
    let setting = format!("linger.ms={}", linger.as_millis());
    run_with_input(folder.path(), &["produce", "-t", "t", "-X", &setting], b"a\nb\nc\n")
        .expect_status(0)
        .expect_said("3 records");
    assert!(begin.elapsed() < linger, "linger.ms was waited out");
}

// CFG-20
#[test]
fn a_producer_that_never_waits_for_room_waits_for_its_topic_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    run_with_input(folder.path(), &["produce", "-t", "t", "-X", "queue.enqueue.timeout.ms=0"], b"a\nb\n")
        .expect_status(0)
        .expect_said("2 records");
}

#[test]
fn a_key_separator_splits_at_its_first_occurrence() {
    let folder = tempfile::tempdir().unwrap();
    run_with_input(
        folder.path(),
        &["produce", "-t", "t", "--key-separator", "::"],
        b"a::b::c\nno key\n::empty key\n",
    )
    .expect_status(0);
    let lines = String::from_utf8(read_all(folder.path(), "t", &["--format", "jsonl"])).unwrap();
    let fields: Vec<(serde_json::Value, serde_json::Value)> = lines
        .lines()
        .map(|line| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            (json["key"].clone(), json["value"].clone())
        })
        .collect();
    assert_eq!(
        fields,
        [
            ("a".into(), "b::c".into()),
            (serde_json::Value::Null, "no key".into()),
            ("".into(), "empty key".into())
        ]
    );
}

#[test]
fn what_consume_prints_as_json_can_be_produced_again() {
    let folder = tempfile::tempdir().unwrap();
    let input = concat!(
        r#"{"key":"k","value":"v","headers":[{"key":"h","value":"1"},{"key":"h","value":null}],"timestamp":1750000000000}"#,
        "\n",
        r#"{"key_base64":"/w==","value":null,"timestamp":1750000000001}"#,
        "\n",
        r#"{"value":{"nested":[1,2]},"timestamp":1750000000002}"#,
        "\n"
    );
    run_with_input(folder.path(), &["produce", "-t", "a", "--format", "jsonl"], input.as_bytes())
        .expect_status(0);
    let first = read_all(folder.path(), "a", &["--format", "jsonl"]);
    run_with_input(folder.path(), &["produce", "-t", "b", "--format", "jsonl"], &first).expect_status(0);
    let second = read_all(folder.path(), "b", &["--format", "jsonl"]);
    let renamed = String::from_utf8(first).unwrap().replace(r#""topic":"a""#, r#""topic":"b""#);
    assert_eq!(String::from_utf8(second).unwrap(), renamed);
    assert!(renamed.contains(r#""value":"{\"nested\":[1,2]}""#), "{renamed}");
}

#[test]
fn partitions_of_a_topic_made_on_the_fly_and_reading_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let input: String = (0..100).map(|n| format!("key{n}:value{n}\n")).collect();
    let produce = ["produce", "-t", "t", "--partitions", "4", "--key-separator", ":"];
    run_with_input(folder.path(), &produce, input.as_bytes()).expect_status(0);
    let all = String::from_utf8(read_all(folder.path(), "t", &[])).unwrap();
    let mut by_partition = Vec::new();
    for partition in ["0", "1", "2", "3"] {
        let one = String::from_utf8(read_all(folder.path(), "t", &["--partition", partition])).unwrap();
        assert!(!one.is_empty(), "100 keys spread over 4 partitions");
        by_partition.extend(one.lines().map(str::to_owned));
    }
    let mut all: Vec<String> = all.lines().map(str::to_owned).collect();
    all.sort();
    by_partition.sort();
    assert_eq!(all, by_partition);
    assert_eq!(all.len(), 100);
}

#[test]
fn failed_records_go_to_the_error_file_and_from_there_back_into_the_topic() {
    let folder = tempfile::tempdir().unwrap();
    let large = "x".repeat(2000);
    let input = format!("small\n{large}\nlast\n");
    run_with_input(
        folder.path(),
        &["produce", "-t", "t", "--error-file", "failed.jsonl", "-X", "max.request.size=1000"],
        input.as_bytes(),
    )
    .expect_status(1)
    .expect_said("standard input line 2")
    .expect_said("max.request.size")
    .expect_said("failed 1");
    let failed = std::fs::read_to_string(folder.path().join("failed.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&failed).unwrap();
    assert_eq!((&line["topic"], &line["outcome"]), (&"t".into(), &"not_written".into()), "{failed}");
    assert_eq!(line["error"], "RECORD_TOO_LARGE", "{failed}");
    run(folder.path(), &["produce", "--retry-file", "failed.jsonl"])
        .expect_status(0)
        .expect_said("1 record,");
    assert_eq!(read_all(folder.path(), "t", &[]), format!("small\nlast\n{large}\n").as_bytes());
}

#[test]
fn a_retry_sends_unknown_outcomes_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let line = |value: &str, outcome: &str| {
        format!(
            r#"{{"topic":"t","value_base64":"{value}","error":"E","reason":"r","outcome":"{outcome}","attempts":1,"age_ms":5}}"#
        )
    };
    // a, b
    let failed = format!("{}\n{}\n", line("YQ==", "not_written"), line("Yg==", "unknown"));
    std::fs::write(folder.path().join("failed.jsonl"), failed).unwrap();
    run(folder.path(), &["produce", "--retry-file", "failed.jsonl"])
        .expect_status(0)
        .expect_said("1 record,")
        .expect_said("1 left out");
    assert_eq!(read_all(folder.path(), "t", &[]), b"a\n");
    run(folder.path(), &["produce", "--retry-file", "failed.jsonl", "--include-unknown"]).expect_status(0);
    assert_eq!(read_all(folder.path(), "t", &[]), b"a\na\nb\n");
}

#[test]
fn lines_that_are_no_json_records_fail_alone() {
    let folder = tempfile::tempdir().unwrap();
    let input = "{\"value\":\"good\"}\nnonsense\n{\"value\":\"fine\"}\n";
    run_with_input(folder.path(), &["produce", "-t", "t", "--format", "jsonl"], input.as_bytes())
        .expect_status(1)
        .expect_said("standard input line 2")
        .expect_said("failed 1");
    assert_eq!(read_all(folder.path(), "t", &[]), b"good\nfine\n");
}
