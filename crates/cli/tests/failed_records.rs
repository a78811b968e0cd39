//! A program's failed-records file goes back into the topic by the command (SEND-2).

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::{Broker, run};
use rohrpost_testing::examples::built;

/// The library's example writes the file; then the limit that failed its records is raised, and the command sends them.
#[test]
fn what_failed_goes_again_from_the_file_and_then_everything_is_there_once() {
    // SEND-2
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &["--listen", "127.0.0.1:0"]);
    let address = broker.address.as_str();
    run(folder.path(), &["topics", "create", "orders", "--partitions", "3", "-b", address]).expect_status(0);
    let written = Command::new(&built()["callback_failed_records"])
        .args(["-b", address, "failed.jsonl"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));

    let lines = std::fs::read_to_string(folder.path().join("failed.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let errors: BTreeSet<&str> = lines.iter().map(|line| line["error"].as_str().unwrap()).collect();
    assert_eq!(errors, BTreeSet::from(["MESSAGE_TOO_LARGE", "RECORD_TOO_LARGE"]));
    assert!(lines.iter().all(|line| line["outcome"] == "not_written"));

    let raised = ["topics", "alter", "orders", "-b", address, "-X", "max.message.bytes=8388608"];
    run(folder.path(), &raised).expect_status(0);
    let again = ["produce", "-b", address, "--retry-file", "failed.jsonl", "-X", "max.request.size=8388608"];
    run(folder.path(), &again).expect_status(0).expect_said("2 records");
    let read =
        ["consume", "-t", "orders", "-b", address, "--from-beginning", "--until-end", "--format", "jsonl"];
    let keys: Vec<u32> = run(folder.path(), &read)
        .expect_status(0)
        .text()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].as_str().unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(keys.len(), 100);
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), (0..100).collect());
}
