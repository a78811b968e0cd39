//! A subscriber of the log that uses the producer, there and then, on whatever thread something is logged. Alone in its program, since the
//! subscriber is the whole process's.

#![allow(clippy::unwrap_used)] // all of it is test code

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rohrpost::{
    Delivery, FailedRecord, FailedRecords, FlushError, KeepError, Producer, Record, Refusal, WaitError,
};
use rohrpost_broker::Cluster;
use rohrpost_testing::{in_time, log};

static PRODUCER: OnceLock<Producer> = OnceLock::new();
/// Threads of the producer's own on which something was logged, and what.
static HEARD: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// Ships the log with the producer that it is of, as an application might. On the producer's own threads, everything that would wait is
/// tried as well.
fn ship(event: &log::Event) {
    let Some(producer) = PRODUCER.get() else { return };
    if !event.target.starts_with("rohrpost::") && !event.target.starts_with("rohrpost_net") {
        return; // the broker runs in this process, too
    }
    let line = || Record::to("log").value(event.text.clone());
    let sent = producer.try_send(line());
    assert!(producer.metrics_snapshot().counts.records_accepted >= u64::from(sent.is_ok()));
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    if !name.starts_with("rohrpost-") {
        return;
    }
    // CMPL-6
    assert_eq!(producer.flush_blocking(), Err(FlushError::InCallback));
    assert_eq!(producer.flush_timeout_blocking(Duration::from_secs(600)), Err(FlushError::InCallback));
    let refused = |refusal: Refusal| matches!(refusal, Refusal::WouldWait | Refusal::Closed);
    assert!(refused(producer.connect_blocking().unwrap_err()));
    assert!(refused(producer.partitions_for_blocking("cold").unwrap_err()));
    assert!(refused(producer.topic_blocking("cold").map(drop).unwrap_err()));
    assert!(refused(producer.send_blocking(Record::to("cold").value("v")).unwrap_err().reason().clone()));
    let wait = |delivery: Delivery| match delivery.wait() {
        Ok(_) | Err(WaitError::Failed(_) | WaitError::InCallback(_)) => {}
        Err(other) => panic!("{other:?}"),
    };
    sent.into_iter().for_each(wait);
    if name == "rohrpost-failed" {
        let kept = producer.keep_failed_blocking(FailedRecord::new(line(), "TEST", "as a test"));
        assert_eq!(kept, Err(KeepError::OwnThread));
    }
    HEARD.lock().unwrap().insert((name, event.text.clone()));
}

/// Whether this was logged on a thread of this name, and everything that was tried there came back as it should.
fn heard(thread: &str, text: &str) -> bool {
    HEARD.lock().unwrap().iter().any(|(name, event)| name == thread && event.contains(text))
}

fn until(thread: &str, text: &str) {
    while !heard(thread, text) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_listener_to_the_log_uses_the_producer_and_never_waits_for_itself() {
    log::listen_everywhere(ship);
    in_time(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("of its own").join("failed.jsonl");
        fs::create_dir(file.parent().unwrap()).unwrap();
        let cluster = Cluster::builder().topic("t", 1, 1).topic("log", 1, 1).start().unwrap();
        let producer = Producer::builder(cluster.bootstrap_servers())
            .set("metadata.max.age.ms", "50")
            .unwrap()
            .linger(Duration::ZERO)
            .failed_records(FailedRecords::to(&file).rotate_at(1))
            .build()
            .unwrap();
        let producer = PRODUCER.get_or_init(|| producer);
        pollster::block_on(producer.connect_to(&["t", "log"])).unwrap();
        let record = |value: &'static str| Record::to("t").value(value);
        producer.send_blocking(record("first")).unwrap().wait().unwrap();
        pollster::block_on(producer.send_with(record("second"), |_| panic!("as a test"))).unwrap();
        until("rohrpost-sender", "a delivery callback panicked");
        cluster.delete_topic("t").unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        until("rohrpost-sender", "was deleted and created anew");
        // The file cannot be put aside.
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
        let _ = producer.keep_failed_blocking(FailedRecord::new(record("kept"), "TEST", "as a test"));
        until("rohrpost-failed", "cannot be rotated");
        drop(cluster);
        until("rohrpost-sender", "is lost");
        drop(producer.close_blocking(Duration::ZERO));
        // What was tried on a thread of the producer's own did not end it: a panic would have.
        assert!(!heard("rohrpost-sender", "panicked: a bug"));
    });
}
