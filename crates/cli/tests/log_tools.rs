//! `rohrpost log` on directories that `rohrpost produce` has written: the real binary, sound files and damaged ones.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Broker, Ran, run, run_with_input};
use serde_json::Value;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// A data directory with a topic per codec, 200 records each.
fn written() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for codec in CODECS {
        let lines: String = (0..200).map(|n| format!("key{n}:the value of record {n}\n")).collect();
        let setting = format!("compression.type={codec}");
        run_with_input(
            folder.path(),
            &[
                "produce",
                "-t",
                codec,
                "--partitions",
                "1",
                "--key-separator",
                ":",
                "-X",
                &setting,
                "-X",
                // a batch of one record would grow, and go as it is (ACC-7)
                "linger.ms=200",
            ],
            lines.as_bytes(),
        )
        .expect_status(0);
    }
    folder
}

fn segment(folder: &Path, topic: &str) -> PathBuf {
    folder.join(format!("rohrpost-data/{topic}-0/00000000000000000000.log"))
}

fn log(folder: &Path, arguments: &[&str]) -> Ran {
    let mut all = vec!["log"];
    all.extend(arguments);
    run(folder, &all)
}

fn json_lines(ran: &Ran) -> Vec<Value> {
    ran.text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

fn of_type<'a>(lines: &'a [Value], what: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == what).collect()
}

#[test]
fn dump_shows_batches_and_records_of_every_codec() {
    let folder = written();
    for codec in CODECS {
        let file = segment(folder.path(), codec);
        let file = file.to_str().unwrap();
        let lines = json_lines(&log(folder.path(), &["dump", "--records", "--json", file]).expect_status(0));
        assert_eq!(lines[0]["kind"], "segment");
        let batches = of_type(&lines, "batch");
        assert!(batches.iter().all(|batch| batch["codec"] == codec && batch["crc_valid"] == true), "{codec}");
        let records = of_type(&lines, "record");
        assert_eq!(records.len(), 200, "{codec}");
        for (n, record) in records.iter().enumerate() {
            assert_eq!(record["offset"], n);
            assert_eq!(record["key"], format!("key{n}"));
            assert_eq!(record["value"], format!("the value of record {n}"));
        }
        let text = log(folder.path(), &["dump", "--records", file]).expect_status(0).text();
        assert!(text.contains("key \"key199\"  value \"the value of record 199\""), "{text}");
        assert!(text.contains(&format!(", {codec}, epoch ")), "{text}");
    }
}

#[test]
fn dump_knows_every_file_of_a_data_directory() {
    let folder = written();
    let data = folder.path().join("rohrpost-data");
    let mut kinds = std::collections::BTreeSet::new();
    for dir in [data.clone(), data.join("none-0"), data.join("__cluster_metadata-0")] {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() || name == ".lock" {
                continue;
            }
            let lines = json_lines(
                &log(folder.path(), &["dump", "--records", "--json", path.to_str().unwrap()])
                    .expect_status(0),
            );
            assert!(of_type(&lines, "damage").is_empty());
            kinds.insert(lines[0]["kind"].as_str().unwrap().to_owned());
            log(folder.path(), &["dump", "--records", path.to_str().unwrap()]).expect_status(0);
        }
    }
    for kind in [
        "segment",
        "metadata",
        "index",
        "timeindex",
        "snapshot",
        "offsets",
        "epochs",
        "partition-metadata",
        "meta-properties",
        "clean-shutdown",
    ] {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
}

#[test]
fn the_metadata_log_is_shown_by_name_and_field() {
    // C26
    let folder = written();
    let file = "rohrpost-data/__cluster_metadata-0/00000000000000000000.log";
    let lines = json_lines(&log(folder.path(), &["dump", "--records", "--json", file]).expect_status(0));
    let named = |name: &str| lines.iter().filter(|line| line["name"] == name).collect::<Vec<_>>();
    let topic = named("TopicRecord").into_iter().find(|line| line["fields"]["name"] == "zstd").unwrap();
    assert_eq!(topic["fields"]["topicId"].as_str().unwrap().len(), 22);
    assert!(
        named("PartitionRecord").iter().any(|line| line["fields"]["topicId"] == topic["fields"]["topicId"])
    );
    assert_eq!(named("RegisterBrokerRecord")[0]["fields"]["brokerId"], 1);
    assert!(!named("LeaderChange").is_empty());
    let text = log(folder.path(), &["dump", "--records", file]).expect_status(0).text();
    assert!(text.contains("TopicRecord v0  name=\"zstd\"  topicId="), "{text}");
}

#[test]
fn verify_finds_nothing_in_what_was_written() {
    let folder = written();
    let ran = log(folder.path(), &["verify", "rohrpost-data"]).expect_status(0);
    let text = ran.text();
    assert!(text.ends_with("stopped cleanly; sound\n"), "{text}");
    for codec in CODECS {
        assert!(
            text.lines().any(|line| line.starts_with(&format!("{codec}-0 ")) && line.ends_with("sound")),
            "{text}"
        );
    }
    let lines = json_lines(&log(folder.path(), &["verify", "--json", "rohrpost-data"]).expect_status(0));
    assert_eq!(of_type(&lines, "partition").len(), 6);
    assert_eq!(of_type(&lines, "problem").len(), 0);
    assert_eq!(lines.last().unwrap()["type"], "total");
}

#[test]
fn damage_is_named_with_file_and_position_and_status_1() {
    let folder = written();
    let file = segment(folder.path(), "lz4");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() - 1;
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let lines = json_lines(&log(folder.path(), &["verify", "--json", "rohrpost-data"]).expect_status(1));
    let problems = of_type(&lines, "problem");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0]["path"], "lz4-0/00000000000000000000.log");
    assert_eq!((&problems[0]["kind"], &problems[0]["severity"]), (&"checksum".into(), &"damage".into()));
    let position = problems[0]["position"].as_u64().unwrap();
    let text = log(folder.path(), &["verify", "rohrpost-data"]).expect_status(1).text();
    assert!(
        text.contains(&format!("damage: lz4-0/00000000000000000000.log, byte {position}: the checksum")),
        "{text}"
    );
    assert!(text.contains("    to do: "), "{text}");
    let dump = log(folder.path(), &["dump", "--json", file.to_str().unwrap()]).expect_status(1);
    let lines = json_lines(&dump);
    assert_eq!(of_type(&lines, "damage")[0]["position"], position);
    // from another name, with --as
    let copy = folder.path().join("copy.bin");
    fs::copy(&file, &copy).unwrap();
    log(folder.path(), &["dump", "copy.bin"]).expect_status(2).expect_said("--as");
    log(folder.path(), &["dump", "--as", "segment", "copy.bin"]).expect_status(1).expect_said("damaged");
}

#[test]
fn what_kill_9_leaves_is_not_damage() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &["--listen", "127.0.0.1:0"]);
    run_with_input(folder.path(), &["produce", "-t", "t", "-b", &broker.address], b"one\ntwo\n")
        .expect_status(0);
    if cfg!(target_os = "linux") {
        log(folder.path(), &["verify", "rohrpost-data"]).expect_status(0).expect_said("a broker holds");
    }
    broker.kill();
    // and a batch of which only the beginning was written
    let file = segment(folder.path(), "t");
    let mut bytes = fs::read(&file).unwrap();
    let torn = bytes[..70].to_vec();
    bytes.extend_from_slice(&torn);
    fs::write(&file, &bytes).unwrap();
    let ran = log(folder.path(), &["verify", "rohrpost-data"]).expect_status(0);
    assert!(ran.text().contains("[torn-tail]"), "{}", ran.text());
    assert!(ran.text().contains("not stopped cleanly"), "{}", ran.text());
    // nothing was repaired by looking: the next start does that
    assert_eq!(fs::read(&file).unwrap(), bytes);
    run(folder.path(), &["topics", "list"]).expect_status(0);
    assert!(log(folder.path(), &["verify", "rohrpost-data"]).expect_status(0).text().ends_with("sound\n"));
}

#[test]
fn wrong_usage_is_told_with_what_to_do() {
    let folder = written();
    let folder = folder.path();
    log(folder, &["dump", "missing.log"]).expect_status(2).expect_said("missing.log");
    log(folder, &["dump", "rohrpost-data"]).expect_status(2).expect_said("rohrpost log verify");
    log(folder, &["dump", "--as", "picture", "x"]).expect_status(2).expect_said("timeindex");
    log(folder, &["verify", "missing"]).expect_status(2).expect_said("missing");
    log(folder, &["verify", "rohrpost-data/meta.properties"])
        .expect_status(2)
        .expect_said("rohrpost log dump");
    fs::create_dir(folder.join("empty")).unwrap();
    let empty = log(folder, &["verify", "empty"]).expect_status(2).expect_said("no data directory");
    assert_eq!(empty.text(), "", "no complaints about what is none");
    log(folder, &["verify", "rohrpost-data/none-0"]).expect_status(2).expect_said("the directory above");
    // one file that is there and one that is not: the first is shown all the same
    let both =
        log(folder, &["dump", "rohrpost-data/meta.properties", "rohrpost-data/gone.log"]).expect_status(2);
    assert!(both.text().contains("cluster.id="), "{}", both.text());
}
