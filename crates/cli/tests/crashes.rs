//! Kill -9, a full disk, Ctrl-C: acknowledged records are there, once, in order, and nothing is corrupt.
#![cfg(unix)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Broker, Ran, consume, rohrpost, run, send_signal};

fn numbers(count: u32) -> String {
    (0..count).map(|n| format!("line {n:07} {}\n", "x".repeat(100))).collect()
}

/// Starts `produce`, feeds it, and gives it back while it runs.
fn start_produce(folder: &Path, arguments: &[&str]) -> std::process::Child {
    rohrpost(folder, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

/// Waits until the partition holds at least so many records.
fn wait_for_records(folder: &Path, address: &str, topic: &str, count: u64) {
    let max = count.to_string();
    run(
        folder,
        &["consume", "-b", address, "-t", topic, "--partition", "0", "--from-beginning", "--max", &max],
    )
    .expect_status(0);
}

#[test]
fn every_acknowledged_record_is_there_once_and_in_order_after_kill_9_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = Broker::start(folder, &["--listen", "127.0.0.1:0"]);
    let address = broker.address.clone();
    run(folder, &["topics", "create", "t", "--partitions", "1", "-b", &address]).expect_status(0);
    let mut produce = start_produce(folder, &["produce", "-b", &address, "-t", "t"]);
    let mut stdin = produce.stdin.take().unwrap();
    let input = numbers(200_000);
    let (first, second) = input.split_at(input.len() / 2);
    stdin.write_all(first.as_bytes()).unwrap();
    wait_for_records(folder, &address, "t", 10_000);
    broker.kill();
    let second = second.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(second.as_bytes()));
    let broker = Broker::start(folder, &["--listen", &address]);
    writer.join().unwrap().unwrap();
    Ran::from(produce.wait_with_output().unwrap())
        .expect_status(0)
        .expect_said("200,000 records")
        .expect_said("failed 0");
    assert!(consume(folder, &address, "t") == input.as_bytes(), "lost, repeated or reordered");
    drop(broker);
}

#[test]
fn what_was_acknowledged_before_kill_9_is_there_when_the_broker_comes_back_too_late() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = Broker::start(folder, &["--listen", "127.0.0.1:0"]);
    let address = broker.address.clone();
    run(folder, &["topics", "create", "t", "--partitions", "1", "-b", &address]).expect_status(0);
    let impatient =
        ["-X", "delivery.timeout.ms=1500", "-X", "request.timeout.ms=1000", "-X", "max.block.ms=1000"];
    let mut arguments = vec!["produce", "-b", &address, "-t", "t", "--error-file", "failed.jsonl"];
    arguments.extend(impatient);
    let mut produce = start_produce(folder, &arguments);
    let mut stdin = produce.stdin.take().unwrap();
    let input = numbers(20_000);
    stdin.write_all(&input.as_bytes()[..input.len() / 2]).unwrap();
    wait_for_records(folder, &address, "t", 5000);
    broker.kill();
    stdin.write_all(&input.as_bytes()[input.len() / 2..]).unwrap();
    drop(stdin);
    Ran::from(produce.wait_with_output().unwrap()).expect_status(1);
    let broker = Broker::start(folder, &["--listen", "127.0.0.1:0"]);
    let stored = String::from_utf8(consume(folder, &broker.address, "t")).unwrap();
    let failed = std::fs::read_to_string(folder.join("failed.jsonl")).unwrap();
    let mut failed_values = std::collections::HashMap::new();
    for line in failed.lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        failed_values.insert(
            json["value_base64"].as_str().unwrap().to_owned(),
            json["outcome"].as_str().unwrap().to_owned(),
        );
    }
    use base64::Engine;
    let encode = |line: &str| base64::engine::general_purpose::STANDARD.encode(line);
    let mut stored_lines = stored.lines().peekable();
    for line in input.lines() {
        let is_stored = stored_lines.next_if_eq(&line).is_some();
        match failed_values.get(&encode(line)).map(String::as_str) {
            None => assert!(is_stored, "acknowledged and lost: {line}"),
            Some("not_written") => assert!(!is_stored, "said to be not written, and written: {line}"),
            Some(_) => {}
        }
    }
    assert_eq!(stored_lines.next(), None, "repeated or out of order");
    assert!(!failed_values.is_empty());
}

#[test]
fn a_full_disk_gives_an_error_and_no_corruption() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // files of at most 11 MiB (bash counts in KiB): an index file's 10 MiB fit, the segment's 13 MiB do not
    let binary = env!("CARGO_BIN_EXE_rohrpost");
    let script = format!("ulimit -f 11264; exec '{binary}' broker --listen 127.0.0.1:0");
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(folder).stdin(Stdio::null());
    let broker = Broker::start_command(command);
    run(folder, &["topics", "create", "t", "--partitions", "1", "-b", &broker.address]).expect_status(0);
    let input = numbers(120_000);
    std::fs::write(folder.join("input.txt"), &input).unwrap();
    let arguments = [
        "produce",
        "-b",
        &broker.address,
        "-t",
        "t",
        "input.txt",
        "-X",
        "delivery.timeout.ms=2000",
        "-X",
        "request.timeout.ms=1000",
        "-X",
        "max.block.ms=1000",
    ];
    run(folder, &arguments).expect_status(1).expect_said("failed");
    // D30: a server whose only directory is offline ends by itself, and says why
    broker.expect_end(1, "nothing can be stored any more");
    // with room again, the log is a prefix of what was sent, and takes more
    let broker = Broker::start(folder, &["--listen", "127.0.0.1:0"]);
    let stored = consume(folder, &broker.address, "t");
    assert!(!stored.is_empty() && input.as_bytes().starts_with(&stored), "not a prefix of what was sent");
    std::fs::write(folder.join("more.txt"), "more\n").unwrap();
    run(folder, &["produce", "-b", &broker.address, "-t", "t", "more.txt"]).expect_status(0);
    assert_eq!(consume(folder, &broker.address, "t"), [&stored[..], b"more\n"].concat());
}

#[test]
fn ctrl_c_stops_reading_sends_what_was_read_and_sums_up() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = Broker::start(folder, &["--listen", "127.0.0.1:0"]);
    run(folder, &["topics", "create", "t", "--partitions", "1", "-b", &broker.address]).expect_status(0);
    let mut produce = start_produce(folder, &["produce", "-b", &broker.address, "-t", "t"]);
    let mut stdin = produce.stdin.take().unwrap();
    let input = numbers(1000);
    stdin.write_all(input.as_bytes()).unwrap();
    wait_for_records(folder, &broker.address, "t", 1000);
    // standard input stays open: only the signal ends the command
    send_signal(&produce, "INT");
    Ran::from(produce.wait_with_output().unwrap())
        .expect_status(0)
        .expect_said("1,000 records")
        .expect_said("failed 0");
    drop(stdin);
    assert!(consume(folder, &broker.address, "t") == input.as_bytes());
}
