//! A data directory: what survives a stop, a kill, a loss of power, and what a failing disk is answered with.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::path::Path;
use std::sync::Arc;

use common::*;
use rohrpost_broker::{Cluster, ClusterBuilder, StartError};
use rohrpost_log::{Fault, MemoryStorage};
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::FetchRequest;
use rohrpost_record::Stamp;

fn on(path: &Path) -> ClusterBuilder {
    Cluster::builder().topic("t", 2, 1).data_dir(path)
}

fn on_memory(storage: &MemoryStorage) -> ClusterBuilder {
    Cluster::builder().topic("t", 2, 1).data_dir("/data").storage(Arc::new(storage.clone()))
}

#[test]
fn topics_records_offsets_and_producers_survive_a_restart() {
    // E3, D15, D21, I11
    let dir = tempfile::tempdir().unwrap();
    let cluster = on(dir.path()).start().unwrap();
    let mut client = Client::of(&cluster);
    let id = client.topic_id("t");
    let producer_id = client.producer_id();
    let by = |base_sequence| Stamp { producer_id, producer_epoch: 0, base_sequence };
    let last = stamped(&["c"], by(2));
    assert_eq!(client.produce("t", 1, Some(&stamped(&["a", "b"], by(0)))).error, ErrorCode::NONE);
    assert_eq!(client.produce("t", 1, Some(&last)).base_offset, 2);
    cluster.create_topic("later", 1, 1).unwrap();
    cluster.stop().unwrap();
    assert!(dir.path().join(".kafka_cleanshutdown").exists());

    let cluster = on(dir.path()).start().unwrap();
    assert!(!dir.path().join(".kafka_cleanshutdown").exists());
    let mut client = Client::of(&cluster);
    assert_eq!(client.topic_id("t"), id);
    assert_eq!(log_values(&cluster, "t", 1), ["a", "b", "c"]);
    // I11: the last batch is known from the snapshot
    assert_eq!(client.produce("t", 1, Some(&last)).base_offset, 2);
    assert_eq!(client.produce("t", 1, Some(&stamped(&["d"], by(3)))).base_offset, 3);
    assert!(client.producer_id() > producer_id);
    assert!(cluster.log("later", 0).records().is_empty());
    assert_eq!(client.fetch("t", 1, 0), ["a", "b", "c", "d"]);
}

#[test]
fn a_killed_broker_keeps_what_it_acknowledged() {
    // U4, D16
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..3 {
        let cluster = on(dir.path()).start().unwrap();
        assert_eq!(log_values(&cluster, "t", 0), expected);
        let mut client = Client::of(&cluster);
        for n in 0..3 {
            let value = format!("{round}-{n}");
            let answer = client.produce("t", 0, Some(&batch(&[&value])));
            assert_eq!((answer.error, answer.base_offset), (ErrorCode::NONE, expected.len() as i64));
            expected.push(value);
        }
        cluster.abandon();
        assert!(!dir.path().join(".kafka_cleanshutdown").exists());
        // a torn tail: a batch that was being written when the process died
        let log = dir.path().join("t-0/00000000000000000000.log");
        let mut bytes = std::fs::read(&log).unwrap();
        bytes.extend_from_slice(&batch(&["torn"])[..50]);
        std::fs::write(&log, bytes).unwrap();
    }
    let cluster = on(dir.path()).start().unwrap();
    assert_eq!(log_values(&cluster, "t", 0), expected);
}

#[test]
fn what_was_synced_survives_a_loss_of_power() {
    // U3, U4
    let storage = MemoryStorage::new();
    let cluster = on_memory(&storage).start().unwrap();
    let mut client = Client::of(&cluster);
    client.produce("t", 0, Some(&batch(&["synced"])));
    client.produce("t", 1, Some(&batch(&["synced too"])));
    cluster.sync().unwrap();
    client.produce("t", 0, Some(&batch(&["only written"])));
    cluster.abandon();
    storage.power_loss();
    let cluster = on_memory(&storage).start().unwrap();
    assert_eq!(log_values(&cluster, "t", 0), ["synced"]);
    assert_eq!(log_values(&cluster, "t", 1), ["synced too"]);
}

#[test]
fn a_synced_topic_acknowledges_only_what_is_on_disk() {
    // U3: flush.messages=1
    let storage = MemoryStorage::new();
    let builder = || on_memory(&storage).config("log.flush.interval.messages", "1");
    let cluster = builder().start().unwrap();
    let mut client = Client::of(&cluster);
    assert_eq!(client.produce("t", 0, Some(&batch(&["acknowledged"]))).error, ErrorCode::NONE);
    cluster.abandon();
    storage.power_loss();
    let cluster = builder().start().unwrap();
    assert_eq!(log_values(&cluster, "t", 0), ["acknowledged"]);
}

#[test]
fn a_directory_in_use_names_the_live_brokers_address() {
    let dir = tempfile::tempdir().unwrap();
    let first = on(dir.path()).start().unwrap();
    let error = on(dir.path()).start().unwrap_err();
    let text = error.to_string();
    let StartError::DirectoryInUse { directory, address } = error else { panic!("{text}") };
    assert_eq!(directory, dir.path());
    assert_eq!(address, Some(first.bootstrap_servers()));
    assert!(text.contains(&first.bootstrap_servers()), "{text}");
    // and it is not disturbed
    assert_eq!(Client::of(&first).produce("t", 0, Some(&batch(&["x"]))).error, ErrorCode::NONE);
    first.stop().unwrap();
    let second = on(dir.path()).start().unwrap();
    assert_eq!(log_values(&second, "t", 0), ["x"]);
}

#[test]
fn a_start_that_fails_leaves_the_directory_free() {
    let dir = tempfile::tempdir().unwrap();
    let other = Cluster::builder().start().unwrap();
    let taken = other.address().to_string();
    assert!(matches!(on(dir.path()).listen(taken).start(), Err(StartError::Bind { .. })));
    on(dir.path()).start().unwrap().stop().unwrap();
}

#[test]
fn a_long_poll_on_a_data_directory_is_completed_by_the_append() {
    // W4: appends and answers run in handler threads here
    let dir = tempfile::tempdir().unwrap();
    let cluster =
        on(dir.path()).config("num.io.threads", "2").config("num.network.threads", "2").start().unwrap();
    let mut consumer = Client::of(&cluster);
    let mut producer = Client::of(&cluster);
    for n in 0..20 {
        consumer.send(&fetch_request("t", 1, n, i32::MAX, 1), 12);
        if n % 2 == 0 {
            eventually("the fetch waits", || cluster.log("t", 1).waiting_fetches() == 1);
        }
        let value = n.to_string();
        producer.produce("t", 1, Some(&batch(&[&value])));
        let response = consumer.receive::<FetchRequest<'_>>(12, 0);
        let records = response.responses[0].partitions[0].records.as_ref().unwrap().bytes().unwrap();
        assert_eq!(values(records), [value]);
    }
    let ended = consumer.call(&fetch_request("t", 1, 20, 20, 1), 12);
    assert_eq!(ended.responses[0].partitions[0].error_code, ErrorCode::NONE);
}

#[test]
fn a_failed_write_takes_the_directory_offline_and_nothing_is_acknowledged() {
    // L13, D30, W7
    for fault in [Fault::FailWrite(1), Fault::TearWrite { nth: 1, keep: 30 }, Fault::DiskFull(40)] {
        let storage = MemoryStorage::new();
        let cluster = on_memory(&storage).start().unwrap();
        let mut client = Client::of(&cluster);
        let mut waiting = Client::of(&cluster);
        assert_eq!(client.produce("t", 0, Some(&batch(&["before"]))).error, ErrorCode::NONE);
        waiting.send(&fetch_request("t", 1, 0, i32::MAX, 1), 12);
        eventually("the fetch waits", || cluster.log("t", 1).waiting_fetches() == 1);
        storage.inject(fault);
        let answer = client.produce("t", 0, Some(&batch(&["never"])));
        assert_eq!((answer.error, answer.base_offset), (ErrorCode::KAFKA_STORAGE_ERROR, -1), "{fault:?}");
        storage.clear_faults();
        // whoever waits is told
        let response = waiting.receive::<FetchRequest<'_>>(12, 0);
        assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::KAFKA_STORAGE_ERROR);
        // it stays so until a restart, for every partition, and the process goes on answering
        let answer = client.produce("t", 1, Some(&batch(&["never"])));
        assert_eq!(answer.error, ErrorCode::KAFKA_STORAGE_ERROR);
        assert!(cluster.storage_failure().is_some());
        // F12: old versions of Fetch do not know the code
        for (version, code) in [(5, ErrorCode::NOT_LEADER_OR_FOLLOWER), (6, ErrorCode::KAFKA_STORAGE_ERROR)] {
            let response = client.call(&fetch_request("t", 0, 0, 0, 1), version);
            assert_eq!(response.responses[0].partitions[0].error_code, code);
        }
        assert!(cluster.stop().is_err());

        let cluster = on_memory(&storage).start().unwrap();
        assert_eq!(log_values(&cluster, "t", 0), ["before"], "{fault:?}");
        assert!(cluster.storage_failure().is_none());
    }
}

#[test]
fn a_failed_sync_is_reported_and_not_tried_again() {
    // D31, U5
    let storage = MemoryStorage::new();
    let cluster = on_memory(&storage).start().unwrap();
    let mut client = Client::of(&cluster);
    client.produce("t", 0, Some(&batch(&["x"])));
    storage.inject(Fault::FailSync(1));
    assert!(cluster.sync().is_err());
    storage.clear_faults();
    assert!(cluster.sync().is_err());
    assert_eq!(client.produce("t", 0, Some(&batch(&["y"]))).error, ErrorCode::KAFKA_STORAGE_ERROR);
}

#[test]
fn a_deleted_topic_leaves_and_its_name_can_be_used_again() {
    // D26, M4
    let dir = tempfile::tempdir().unwrap();
    let cluster = on(dir.path()).config("log.segment.delete.delay.ms", "0").start().unwrap();
    let mut client = Client::of(&cluster);
    client.produce("t", 0, Some(&batch(&["old"])));
    let old_id = client.topic_id("t");
    cluster.delete_topic("t").unwrap();
    assert!(!dir.path().join("t-0").exists());
    cluster.create_topic("t", 1, 1).unwrap();
    assert_ne!(client.topic_id("t"), old_id);
    assert!(log_values(&cluster, "t", 0).is_empty());
    assert_eq!(client.produce("t", 0, Some(&batch(&["new"]))).base_offset, 0);
    let aside = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        entries.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with("-delete")).count()
    };
    eventually("the old directories are removed", || aside() == 0);
    cluster.stop().unwrap();
    let cluster = on(dir.path()).start().unwrap();
    assert_eq!(log_values(&cluster, "t", 0), ["new"]);
}

#[test]
fn a_partition_that_the_cluster_does_not_know_is_set_aside() {
    // D20
    let dir = tempfile::tempdir().unwrap();
    on(dir.path()).start().unwrap().stop().unwrap();
    std::fs::create_dir(dir.path().join("stranger-0")).unwrap();
    let cluster = on(dir.path()).start().unwrap();
    assert!(!dir.path().join("stranger-0").exists());
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("stranger-0.") && name.ends_with("-stray"))
        .collect();
    assert_eq!(names.len(), 1);
    cluster.stop().unwrap();
}

#[test]
fn checkpoints_are_written_in_time_and_closed_segments_synced() {
    // D11, D13
    let dir = tempfile::tempdir().unwrap();
    let mut builder = on(dir.path());
    for (key, value) in [
        ("log.initial.task.delay.ms", "0"),
        ("replica.high.watermark.checkpoint.interval.ms", "10"),
        ("log.flush.offset.checkpoint.interval.ms", "10"),
        ("log.segment.bytes", "1048576"),
    ] {
        builder = builder.config(key, value);
    }
    let cluster = builder.start().unwrap();
    let mut client = Client::of(&cluster);
    let half = "x".repeat(600_000);
    for _ in 0..2 {
        assert_eq!(client.produce("t", 1, Some(&batch(&[&half]))).error, ErrorCode::NONE);
    }
    let holds = |file: &str, line: &str| {
        std::fs::read_to_string(dir.path().join(file))
            .is_ok_and(|text| text.lines().any(|found| found == line))
    };
    eventually("the high watermark is written", || holds("replication-offset-checkpoint", "t 1 2"));
    eventually("the closed segment is synced", || {
        holds("recovery-point-offset-checkpoint", "t 1 1")
            || holds("recovery-point-offset-checkpoint", "t 1 2")
    });
    cluster.abandon();
}

#[test]
fn many_readers_and_writers_neither_lose_a_wake_up_nor_block_each_other() {
    // W2, W3: each fetch waits for both partitions, each append ends fetches that read both
    const RECORDS: i64 = 150;
    let dir = tempfile::tempdir().unwrap();
    let cluster =
        on(dir.path()).config("num.io.threads", "4").config("num.network.threads", "2").start().unwrap();
    let address = cluster.address();
    std::thread::scope(|scope| {
        for partition in 0..2 {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..RECORDS {
                    assert_eq!(
                        client.produce("t", partition, Some(&batch(&[&n.to_string()]))).base_offset,
                        n
                    );
                }
            });
        }
        for _ in 0..3 {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let mut offsets = [0i64; 2];
                while offsets != [RECORDS; 2] {
                    // no deadline: only an append can end the wait
                    let mut request = fetch_request("t", 0, offsets[0], i32::MAX, 1);
                    let mut second = request.topics[0].partitions[0].clone();
                    (second.partition, second.fetch_offset) = (1, offsets[1]);
                    request.topics[0].partitions.push(second);
                    let response = client.call(&request, 12);
                    for (data, offset) in response.responses[0].partitions.iter().zip(&mut offsets) {
                        for value in values(data.records.as_ref().unwrap().bytes().unwrap()) {
                            assert_eq!(value, offset.to_string());
                            *offset += 1;
                        }
                    }
                }
            });
        }
    });
    assert_eq!((cluster.log("t", 0).waiting_fetches(), cluster.log("t", 1).waiting_fetches()), (0, 0));
}
