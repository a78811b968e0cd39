//! What the command says when it is used wrongly, or when the world is not as it should be: what, where, what to do.

mod common;

use std::net::TcpListener;

use common::{Broker, run, run_with_input};

#[test]
fn wrong_usage_ends_with_status_2_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 11] = [
        (
            &["broker", "-X", "num.partitons=3"],
            "-X num.partitons: Kafka has no such key; did you mean num.partitions?",
        ),
        (&["produce"], "--topic"),
        (&["produce", "-t", "t", "--linger", "5"], "'-X linger.ms=VALUE'"),
        (&["produce", "-t", "t", "missing.txt"], "missing.txt"),
        (&["produce", "-t", "t", "."], "directory"),
        (&["produce", "-t", "t", "-X", "max.blocks.ms=5"], "max.block.ms"),
        (&["produce", "-t", "t", "-X", "linger.ms=soon"], "linger.ms"),
        (&["produce", "-t", "t", "-X", "linger.ms"], "KEY=VALUE"),
        (&["produce", "-t", "t", "--config", "missing.properties"], "missing.properties"),
        (&["consume", "-t", "t", "--offset", "5"], "--partition"),
        (&["produce", "-t", "t", "-b", "localhost"], "port"),
    ];
    for (arguments, reason) in cases {
        run(folder.path(), arguments).expect_status(2).expect_said(reason);
    }
    assert!(!folder.path().join("rohrpost-data").exists(), "nothing was started");
}

#[test]
fn all_mistakes_of_the_settings_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["-X", "lingr.ms=3", "-X", "acks=7", "-X", "topic.t.compresion.type=lz4"];
    for command in [
        &["produce", "-t", "t"][..],
        &["verify", "-t", "t"],
        &["perf", "produce", "-b", "127.0.0.1:1", "-t", "t"],
    ] {
        let arguments: Vec<&str> = command.iter().copied().chain(settings).collect();
        run(folder.path(), &arguments)
            .expect_status(2)
            .expect_said("3 mistakes")
            .expect_said("lingr.ms=3: unknown key; did you mean linger.ms?")
            .expect_said("acks=7: not allowed")
            .expect_said("did you mean topic.t.compression.type?");
    }
}

#[test]
fn a_name_that_is_no_topic_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["produce", "-t", "no spaces", "Cargo.toml"]).expect_status(2);
    run_with_input(folder.path(), &["produce", "-t", "no spaces"], b"x\n")
        .expect_status(2)
        .expect_said("no spaces");
    run(folder.path(), &["topics", "create", "a/b"]).expect_status(1).expect_said("a/b");
}

#[test]
fn a_broker_that_is_not_there_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    // a port that was free a moment ago
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let commands = [
        &["produce", "-t", "t", "-b", &address][..],
        &["consume", "-t", "t", "-b", &address],
        &["topics", "list", "-b", &address],
    ];
    // all at once, since each of them tries for some seconds
    std::thread::scope(|scope| {
        for arguments in commands {
            let (folder, address) = (folder.path(), &address);
            scope.spawn(move || {
                run_with_input(folder, arguments, b"x\n")
                    .expect_status(2)
                    .expect_said(address)
                    .expect_said("refused")
            });
        }
    });
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["consume", "-t", "nowhere", "--until-end"]).expect_status(2).expect_said("nowhere");
    run(folder.path(), &["topics", "describe", "nowhere"]).expect_status(1).expect_said("nowhere");
    run(folder.path(), &["topics", "delete", "nowhere"]).expect_status(1).expect_said("nowhere");
}

#[test]
fn what_is_wrong_is_named_with_what_is_there_instead() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_with_input(folder, &["produce", "-t", "t", "--partitions", "1"], b"one\ntwo\n").expect_status(0);
    run(folder, &["consume", "-t", "t", "--partition", "0", "--offset", "99", "--max", "1"])
        .expect_status(2)
        .expect_said("has no offset 99; it has 0 to 1");
    run(folder, &["consume", "-t", "t", "--partition", "7"])
        .expect_status(2)
        .expect_said("has no partition 7");
    run(folder, &["consume", "-t", "no spaces"]).expect_status(2).expect_said("cannot be a topic's name");
    run(folder, &["topics", "describe", "t", "x"]).expect_status(1).expect_said("topic 'x' does not exist");
    run(folder, &["topics", "delete", "x"]).expect_status(1).expect_said("rohrpost topics list");
    run_with_input(folder, &["produce", "-t", "t", "--format", "jsonl"], b"{\"value\":1,}\n")
        .expect_status(1)
        .expect_said("standard input line 1: no JSON at column 12: trailing comma\n");
    std::fs::write(folder.join("file"), "text\n").unwrap();
    run(folder, &["produce", "-t", "t", "--retry-file", "file"])
        .expect_status(1)
        .expect_said("file line 1: not a line of an --error-file");
    run(folder, &["produce", "-t", "t", "--data-dir", "file", "file"])
        .expect_status(2)
        .expect_said("--data-dir file is a file");
}

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(folder, &["topics", "create", "orders", "--partitions", "3", "-X", "retention.ms=1000"])
        .expect_status(0);
    run(folder, &["topics", "create", "orders"]).expect_status(1).expect_said("exists");
    run(folder, &["topics", "create", "bad", "-X", "retention.mss=1"])
        .expect_status(1)
        .expect_said("retention.mss");
    run(folder, &["topics", "create", "clicks"]).expect_status(0);
    assert_eq!(run(folder, &["topics", "list"]).expect_status(0).text(), "clicks\norders\n");
    let described = run(folder, &["topics", "describe", "orders"]).expect_status(0).text();
    assert!(described.starts_with("topic orders  id "), "{described}");
    assert!(described.contains("settings: retention.ms=1000"), "{described}");
    let rows: Vec<&str> =
        described.lines().skip(3).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(rows, ["0", "1", "2"], "{described}");
    let json = run(folder, &["topics", "describe", "--json", "orders"]).expect_status(0).text();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["topic"], &json["settings"]["retention.ms"]), (&"orders".into(), &"1000".into()));
    assert_eq!(json["partitions"][2]["end_offset"], 0);
    assert_eq!(json["partitions"][2]["bytes"], 0);
    run(folder, &["topics", "delete", "orders", "nowhere"])
        .expect_status(1)
        .expect_said("deleted: orders")
        .expect_said("nowhere");
    run(folder, &["topics", "delete", "clicks"]).expect_status(0);
    assert_eq!(run(folder, &["topics", "list"]).expect_status(0).text(), "");
}

#[test]
fn a_data_directory_in_use_leads_to_the_broker_that_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &["--listen", "127.0.0.1:0"]);
    run_with_input(folder.path(), &["produce", "-t", "t"], b"one\n")
        .expect_status(0)
        .expect_said(&broker.address);
    assert_eq!(common::consume(folder.path(), &broker.address, "t"), b"one\n");
    // a second broker must not take the directory
    run(folder.path(), &["broker", "--listen", "127.0.0.1:0"]).expect_status(2).expect_said(&broker.address);
    assert_eq!(broker.terminate(), Some(0), "SIGTERM stops it cleanly");
}
