//! `rohrpost log` on what Apache Kafka has written: every codec, rolled segments, a compacted topic; while its broker runs, after
//! a SIGKILL and after a clean stop. And batch by batch against Kafka's own dump tool.
#![allow(clippy::unwrap_used)] // all of it is test code

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rohrpost_interop::{CODECS, Kafka, have, kafka_tool, rohrpost, run, run_for_status, text};
use serde_json::Value;

const KAFKA: &str = "4.3.1";

#[test]
fn verify_finds_nothing_in_kafkas_directory_and_dump_agrees_with_kafkas_tool() {
    if !have(&["java", "mvn"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    std::fs::write(&file, text().repeat(8)).unwrap();
    let keyed = folder.path().join("keyed.txt");
    let lines: String = (0..60_000).map(|n| format!("key{} the value of record {n}\n", n % 500)).collect();
    std::fs::write(&keyed, lines).unwrap();
    // 1 MiB is the smallest segment that Kafka allows
    let kafka =
        Kafka::start_with(KAFKA, "log-tools", &["log.segment.bytes=1048576", "log.cleaner.backoff.ms=200"]);
    let produce = |topic: &str, setting: &str, separator: Option<&str>| {
        let mut command = rohrpost();
        command.args([
            "produce",
            "-q",
            "-b",
            kafka.bootstrap(),
            "-t",
            topic,
            "--partitions",
            "1",
            "-X",
            setting,
        ]);
        match separator {
            Some(separator) => run(command.args(["--key-separator", separator]).arg(&keyed)),
            None => run(command.arg(&file)),
        };
    };
    for codec in CODECS {
        produce(&format!("dump-{codec}"), &format!("compression.type={codec}"), None);
    }
    let compacted = ["topics", "create", "compacted", "--partitions", "1", "-X", "cleanup.policy=compact"];
    run(rohrpost().args(compacted).args(["-X", "min.cleanable.dirty.ratio=0.01", "-b", kafka.bootstrap()]));
    produce("compacted", "linger.ms=5", Some(" "));

    let data = kafka.data_dir();
    assert_eq!(problems(&data), Vec::<Value>::new(), "while the broker runs");
    kafka.kill();
    let after_kill = problems(&data);
    assert!(after_kill.iter().all(|problem| problem["severity"] != "damage"), "{after_kill:?}");
    kafka.start_again();
    kafka.stop();
    let after_stop = verify(&data);
    let serious: Vec<_> =
        of_type(&after_stop, "problem").into_iter().filter(|p| p["severity"] != "note").collect();
    assert_eq!(serious, Vec::<&Value>::new(), "after a clean stop");
    assert_eq!(after_stop.last().unwrap()["clean_shutdown"], true);

    let rolled = segments(&data.join("dump-none-0"));
    assert!(rolled.len() > 1, "the segments were rolled");
    let mut all = rolled;
    for codec in &CODECS[1..] {
        all.push(segments(&data.join(format!("dump-{codec}-0"))).remove(0));
    }
    all.extend(segments(&data.join("compacted-0")));
    all.extend(segments(&data.join("__cluster_metadata-0")));
    for (file, theirs) in kafkas_batches(&all) {
        let ours = our_batches(&file);
        assert!(!theirs.is_empty() || ours.is_empty(), "{}: Kafka's tool shows nothing", file.display());
        assert_eq!(ours, theirs, "{}", file.display());
    }
}

/// What both tools say of a batch.
#[derive(Debug, PartialEq)]
struct Batch {
    position: i64,
    base_offset: i64,
    last_offset: i64,
    count: i64,
    leader_epoch: i64,
    producer_id: i64,
    base_sequence: i64,
    last_sequence: i64,
    bytes: i64,
    crc: u32,
    codec: String,
    is_control: bool,
    is_valid: bool,
}

fn our_batches(file: &Path) -> Vec<Batch> {
    let out = run(rohrpost().args(["log", "dump", "--json"]).arg(file));
    of_type(&lines(&out), "batch")
        .into_iter()
        .map(|batch| {
            let number = |name: &str| batch[name].as_i64().unwrap_or_else(|| panic!("no {name} in {batch}"));
            Batch {
                position: number("position"),
                base_offset: number("base_offset"),
                last_offset: number("last_offset"),
                count: number("records"),
                leader_epoch: number("leader_epoch"),
                producer_id: number("producer_id"),
                base_sequence: number("base_sequence"),
                last_sequence: number("last_sequence"),
                bytes: number("bytes"),
                crc: u32::from_str_radix(batch["crc"].as_str().unwrap(), 16).unwrap(),
                codec: batch["codec"].as_str().unwrap().to_owned(),
                is_control: batch["control"] == true,
                is_valid: batch["crc_valid"] == true,
            }
        })
        .collect()
}

/// One run of Kafka's tool for all files, since its start takes longest.
fn kafkas_batches(files: &[PathBuf]) -> BTreeMap<PathBuf, Vec<Batch>> {
    let names: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let out =
        String::from_utf8(run(&mut kafka_tool(KAFKA, "dump-log", ["--files", &names.join(",")]))).unwrap();
    let mut found = BTreeMap::new();
    let mut current = None;
    for line in out.lines() {
        if let Some(name) = line.strip_prefix("Dumping ") {
            current = Some(PathBuf::from(name.trim()));
            found.insert(PathBuf::from(name.trim()), Vec::new());
        }
        if !line.starts_with("baseOffset: ") {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |name: &str| {
            let at = words.iter().position(|word| *word == format!("{name}:"));
            at.map(|at| words[at + 1]).unwrap_or_else(|| panic!("no {name} in {line}"))
        };
        let number = |name: &str| word(name).parse::<i64>().unwrap_or_else(|_| panic!("{name} in {line}"));
        let batch = Batch {
            position: number("position"),
            base_offset: number("baseOffset"),
            last_offset: number("lastOffset"),
            count: number("count"),
            leader_epoch: number("partitionLeaderEpoch"),
            producer_id: number("producerId"),
            base_sequence: number("baseSequence"),
            last_sequence: number("lastSequence"),
            bytes: number("size"),
            crc: number("crc") as u32,
            codec: word("compresscodec").to_lowercase(),
            is_control: word("isControl") == "true",
            is_valid: word("isvalid") == "true",
        };
        found.get_mut(current.as_ref().expect("a file comes first")).expect("just put there").push(batch);
    }
    assert_eq!(found.len(), files.len());
    found
}

fn verify(data: &Path) -> Vec<Value> {
    lines(&run_for_status(rohrpost().args(["log", "verify", "--json"]).arg(data), 0).stdout)
}

fn problems(data: &Path) -> Vec<Value> {
    let found = verify(data);
    // files that compaction or deletion takes away in a minute
    of_type(&found, "problem").into_iter().filter(|problem| problem["kind"] != "leftover").cloned().collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "log"))
        .collect();
    found.sort();
    found
}

fn lines(json: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(json)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn of_type<'a>(lines: &'a [Value], what: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == what).collect()
}
