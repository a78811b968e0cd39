//! What a crash of the application's process loses, and what keeps it from losing anything that matters (SEND-3).

#![allow(clippy::unwrap_used)] // all of it is test code

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rohrpost::{Producer, Record};
use rohrpost_broker::Cluster;

/// Tells the crashing test below that it is the child, and where the broker is.
const BROKER: &str = "ROHRPOST_TEST_CRASH_BROKER";

/// SEND-3: whichever way is used.
#[test]
fn what_is_buffered_when_the_process_dies_is_lost() {
    let cluster = Cluster::builder().topic("orders", 1, 1).start().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_dies_with_records_in_its_buffer", "--ignored"])
        .env(BROKER, cluster.bootstrap_servers())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!child.success());
    let records = cluster.log("orders", 0).records();
    let values: Vec<_> = records.into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(values, [b"acknowledged"]);
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn a_process_that_dies_with_records_in_its_buffer() {
    let Ok(broker) = std::env::var(BROKER) else { return };
    let producer = Producer::builder(broker).linger(Duration::from_secs(60)).build().unwrap();
    let record = |value: &'static str| Record::to("orders").value(value);
    let first = producer.send_blocking(record("acknowledged")).unwrap();
    producer.flush_blocking().unwrap();
    first.wait().unwrap();
    // the three ways of sending
    drop(producer.send_blocking(record("forgotten")).unwrap());
    pollster::block_on(producer.send_with(record("with a callback"), |_| {})).unwrap();
    let _kept = producer.send_blocking(record("with a handle")).unwrap();
    std::process::abort();
}

const LINES: usize = 12_000;

/// SEND-3: a source position that moves only behind acknowledged records loses none of them, however often the process dies.
#[test]
fn an_ingest_that_is_killed_again_and_again_loses_no_line() {
    let example = &rohrpost_testing::examples::built()["ingest"];
    let cluster = Cluster::builder().topic("orders", 3, 1).start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (source, position) = (folder.path().join("lines"), folder.path().join("position"));
    let line = |n: usize| format!("line {n:05} {}\n", "x".repeat(88));
    std::fs::write(&source, (0..LINES).map(line).collect::<String>()).unwrap();
    let line_len = line(0).len();
    let mut kills = 0;
    loop {
        let mut child = Killed(
            Command::new(example)
                .args([
                    "-b".as_ref(),
                    cluster.bootstrap_servers().as_ref(),
                    source.as_os_str(),
                    position.as_os_str(),
                ])
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        // each life gets a little further than the one before
        let enough = written(&cluster) + 1_500;
        let status = loop {
            if let Some(status) = child.0.try_wait().unwrap() {
                break Some(status);
            }
            if written(&cluster) >= enough && kills < 4 {
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let done = status.is_some_and(|status| status.success());
        assert!(status.is_none() || done, "{status:?}");
        drop(child);
        // what the position says is done is in the log, whatever the moment was
        let committed = committed(&position);
        assert_eq!(committed % line_len, 0);
        let found = found(&cluster);
        assert!(
            (0..committed / line_len).all(|n| found.contains(&line(n).into_bytes())),
            "position {committed}"
        );
        if done {
            assert_eq!(committed, LINES * line_len);
            break;
        }
        kills += 1;
    }
    assert!(kills > 0);
    assert_eq!(found(&cluster).len(), LINES);
}

/// Killed and waited for when dropped: then nothing of it is on the way any more but what the broker has already read.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn written(cluster: &Cluster) -> i64 {
    (0..3).map(|partition| cluster.log("orders", partition).end_offset()).sum()
}

/// The lines in the topic, without repeats.
fn found(cluster: &Cluster) -> BTreeSet<Vec<u8>> {
    let records = (0..3).flat_map(|partition| cluster.log("orders", partition).records());
    records.map(|record| record.value.unwrap()).collect()
}

fn committed(position: &Path) -> usize {
    std::fs::read_to_string(position).map_or(0, |text| text.trim().parse().unwrap())
}
