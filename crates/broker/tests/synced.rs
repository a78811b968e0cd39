//! Waiting for the disk: rolls in the background (D12), synced mode with group commit (U3), disks that fail (D30, D31).

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::sync::Arc;

use common::*;
use rohrpost_broker::{Cluster, ClusterBuilder};
use rohrpost_log::{Fault, MemoryStorage};
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::{FetchRequest, ProduceRequest};
use rohrpost_record::Stamp;

const LOG: &str = "t-0/00000000000000000000.log";

fn on(storage: &MemoryStorage) -> ClusterBuilder {
    Cluster::builder()
        .topic("t", 2, 1)
        .data_dir("/data")
        .storage(Arc::new(storage.clone()))
        // one handler: a request that held it would hold up all others
        .config("num.io.threads", "1")
}

fn synced(storage: &MemoryStorage) -> ClusterBuilder {
    on(storage).config("log.flush.interval.messages", "1")
}

/// Holds syncs until they are released, or until the test fails: a broker that stops waits for them.
fn hold<'a>(storage: &'a MemoryStorage, part: &str) -> impl Drop + use<'a> {
    struct Held<'a>(&'a MemoryStorage);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.release_syncs();
        }
    }
    storage.hold_syncs(part);
    Held(storage)
}

fn error_of(client: &mut Client) -> (ErrorCode, i64) {
    let response = client.receive::<ProduceRequest<'_>>(12, 0);
    let answer = &response.responses[0].partition_responses[0];
    (answer.error_code, answer.base_offset)
}

#[test]
fn neither_appends_nor_reads_wait_for_the_sync_of_a_closed_segment() {
    // D12, D11
    let storage = MemoryStorage::new();
    let cluster = on(&storage).config("log.segment.bytes", "1048576").start().unwrap();
    let mut client = Client::of(&cluster);
    let half = "x".repeat(600_000);
    let _held = hold(&storage, "/t-0/");
    assert_eq!(client.produce("t", 0, Some(&batch(&[&half]))).error, ErrorCode::NONE);
    assert_eq!(client.produce("t", 0, Some(&batch(&[&half]))).error, ErrorCode::NONE);
    eventually("the closed segment is being synced", || storage.syncs_held() == 1);
    // the disk does not come to its end, and everything goes on
    for n in 2..5 {
        assert_eq!(client.produce("t", 0, Some(&batch(&["next"]))).base_offset, n);
        assert_eq!(client.fetch("t", 0, n), ["next"]);
    }
    assert_eq!(client.produce("t", 1, Some(&batch(&["other"]))).error, ErrorCode::NONE);
    assert_eq!(storage.syncs_held(), 1);
    storage.release_syncs();
    // I11, D11: the segment, its indexes and the snapshot
    let last = "t-0/00000000000000000001";
    eventually("all of it is synced", || storage.sync_count(&format!("{last}.snapshot")) == 1);
    eventually("and the log goes on", || storage.syncs_held() == 0);
    cluster.abandon();
    storage.power_loss();
    let cluster = on(&storage).start().unwrap();
    assert!(cluster.log("t", 0).end_offset() >= 1, "the closed segment is there");
}

#[test]
fn one_sync_serves_all_that_came_while_the_last_one_ran() {
    // U3: group commit, for acks=all and acks=1
    const PRODUCERS: usize = 20;
    let storage = MemoryStorage::new();
    let cluster = synced(&storage).start().unwrap();
    let mut first = Client::of(&cluster);
    let mut others: Vec<Client> = (0..PRODUCERS).map(|_| Client::of(&cluster)).collect();
    assert_eq!(storage.sync_count(LOG), 0);
    let _held = hold(&storage, LOG);
    let records = batch(&["first"]);
    first.send(&produce_request("t", 0, Some(&records), -1), 12);
    eventually("the first is being synced", || storage.syncs_held() == 1);
    let batches: Vec<Vec<u8>> = (0..PRODUCERS).map(|n| batch(&[&n.to_string()])).collect();
    for (n, client) in others.iter_mut().enumerate() {
        let acks = if n % 2 == 0 { -1 } else { 1 };
        client.send(&produce_request("t", 0, Some(&batches[n]), acks), 12);
    }
    eventually("all are in the log", || appended(&storage) == PRODUCERS as u64 + 1);
    assert_eq!(storage.sync_count(LOG), 1);
    storage.release_syncs();
    assert_eq!(error_of(&mut first), (ErrorCode::NONE, 0));
    for client in &mut others {
        assert_eq!(error_of(client).0, ErrorCode::NONE);
    }
    assert_eq!(storage.sync_count(LOG), 2, "one more for all of them");
    cluster.abandon();
    storage.power_loss();
    let cluster = synced(&storage).start().unwrap();
    assert_eq!(cluster.log("t", 0).records().len(), PRODUCERS + 1);
}

/// Batches in the file of the first segment, whether synced or not.
fn appended(storage: &MemoryStorage) -> u64 {
    use rohrpost_log::{OpenMode, Storage};
    let file = storage.open(&format!("/data/{LOG}"), OpenMode::Existing).unwrap();
    let bytes = file.read_bytes(0, file.len().unwrap() as usize).unwrap();
    rohrpost_record::Batches::new(&bytes).filter(|batch| batch.is_ok()).count() as u64
}

#[test]
fn what_is_not_on_disk_is_neither_acknowledged_nor_visible() {
    // U3: acknowledgement, own end in the high watermark, consumers
    let storage = MemoryStorage::new();
    let cluster = synced(&storage).start().unwrap();
    let mut consumer = Client::of(&cluster);
    let mut waiting = Client::of(&cluster);
    let _held = hold(&storage, LOG);
    let records = batch(&["x"]);
    let mut producers: Vec<Client> = (0..3).map(|_| Client::of(&cluster)).collect();
    for (client, acks) in producers.iter_mut().zip([-1, 1, 0]) {
        client.send(&produce_request("t", 0, Some(&records), acks), 12);
    }
    eventually("all are in the log", || appended(&storage) == 3);
    eventually("and being synced", || storage.syncs_held() == 1);
    waiting.send(&fetch_request("t", 0, 0, i32::MAX, 1), 12);
    eventually("a fetch waits for bytes", || cluster.log("t", 0).waiting_fetches() == 1);
    assert_eq!(consumer.fetch("t", 0, 0), [""; 0]);
    assert_eq!(cluster.log("t", 0).end_offset(), 0);
    for client in &mut producers {
        client.stream.set_nonblocking(true).unwrap();
        let mut byte = [0];
        let error = std::io::Read::read(&mut client.stream, &mut byte).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "no answer yet");
        client.stream.set_nonblocking(false).unwrap();
    }
    storage.release_syncs();
    for client in &mut producers[..2] {
        assert_eq!(error_of(client).0, ErrorCode::NONE);
    }
    let response = waiting.receive::<FetchRequest<'_>>(12, 0);
    let records = response.responses[0].partitions[0].records.as_ref().unwrap().bytes().unwrap();
    assert!(!values(records).is_empty());
    eventually("all of it is visible", || cluster.log("t", 0).end_offset() == 3);
}

#[test]
fn a_retry_of_what_is_not_on_disk_yet_waits_with_it() {
    // U3, I2
    let storage = MemoryStorage::new();
    let cluster = synced(&storage).start().unwrap();
    let mut first = Client::of(&cluster);
    let mut again = Client::of(&cluster);
    let id = first.producer_id();
    let by = Stamp { producer_id: id, producer_epoch: 0, base_sequence: 0 };
    let records = stamped(&["once"], by);
    let _held = hold(&storage, LOG);
    first.send(&produce_request("t", 0, Some(&records), -1), 12);
    eventually("it is being synced", || storage.syncs_held() == 1);
    let mut request = produce_request("t", 0, Some(&records), -1);
    request.timeout_ms = 20;
    again.send(&request, 12);
    // it cannot be told success before the disk has it
    assert_eq!(error_of(&mut again), (ErrorCode::REQUEST_TIMED_OUT, 0));
    storage.release_syncs();
    assert_eq!(error_of(&mut first), (ErrorCode::NONE, 0));
    assert_eq!(log_values(&cluster, "t", 0), ["once"]);
}

#[test]
fn a_sync_that_fails_is_told_to_all_who_wait_and_never_tried_again() {
    // U5, D31, W5, W7
    let storage = MemoryStorage::new();
    let cluster = synced(&storage).start().unwrap();
    let records = batch(&["x"]);
    let mut producers: Vec<Client> = (0..4).map(|_| Client::of(&cluster)).collect();
    let _held = hold(&storage, LOG);
    for (n, client) in producers.iter_mut().enumerate() {
        client.send(&produce_request("t", 0, Some(&records), if n == 3 { 1 } else { -1 }), 12);
    }
    eventually("all are in the log", || appended(&storage) == 4);
    eventually("and being synced", || storage.syncs_held() == 1);
    storage.inject_in(LOG, Fault::FailSync(1));
    storage.release_syncs();
    for client in &mut producers {
        let (error, base_offset) = error_of(client);
        assert_eq!(error, ErrorCode::KAFKA_STORAGE_ERROR);
        assert!(base_offset >= 0, "it may be there after a restart");
    }
    assert_eq!(storage.sync_count(LOG), 1, "not tried again");
    let mut client = Client::of(&cluster);
    assert_eq!(client.produce("t", 1, Some(&records)).error, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(cluster.storage_failure().is_some());
    assert!(cluster.stop().is_err());
    assert_eq!(storage.sync_count(LOG), 1);
}

#[test]
fn without_synced_mode_an_acknowledgement_means_the_page_cache() {
    // U1, U4: nothing is synced for an acknowledgement; it survives the process and not the machine
    let storage = MemoryStorage::new();
    let cluster = on(&storage).start().unwrap();
    let mut client = Client::of(&cluster);
    let _held = hold(&storage, "/t-0/");
    assert_eq!(client.produce("t", 0, Some(&batch(&["x"]))).error, ErrorCode::NONE);
    assert_eq!(storage.sync_count(LOG), 0);
    storage.release_syncs();
    cluster.abandon();
    storage.kill();
    let cluster = on(&storage).start().unwrap();
    assert_eq!(log_values(&cluster, "t", 0), ["x"]);
    cluster.abandon();
    storage.power_loss();
    let cluster = on(&storage).start().unwrap();
    assert_eq!(log_values(&cluster, "t", 0), [""; 0]);
}

#[test]
fn the_manual_says_what_each_mode_and_each_level_is_worth() {
    // U7
    let manual = include_str!("../../../docs/durability.md").replace('\n', " ");
    for said in [
        "in the page cache of every member of the in-sync set, not on disk",
        "for what a follower reports by its fetch offset, only after fdatasync",
        "one sync serves all appends that came before it began",
        "the mode is one of the whole replica set",
        "**acks=1**",
        "**Unclean election**",
        "`min.insync.replicas=1` (the default)",
        "everything is lost",
    ] {
        assert!(manual.contains(said), "{said}");
    }
}

#[test]
fn after_an_unclean_stop_a_synced_log_counts_only_what_it_has_synced_anew() {
    // U3: the recovered tail may lie in the page cache alone
    let storage = MemoryStorage::new();
    let cluster = on(&storage).start().unwrap();
    Client::of(&cluster).produce("t", 0, Some(&batch(&["only written"])));
    cluster.abandon();
    storage.kill();
    let before = storage.sync_count(LOG);
    let cluster = synced(&storage).start().unwrap();
    assert!(storage.sync_count(LOG) > before, "synced at the start");
    assert_eq!(log_values(&cluster, "t", 0), ["only written"]);
    cluster.abandon();
    storage.power_loss();
    let cluster = synced(&storage).start().unwrap();
    assert_eq!(log_values(&cluster, "t", 0), ["only written"]);
}

#[test]
fn many_producers_on_many_partitions_lose_nothing_acknowledged_when_the_power_goes() {
    // U3
    let storage = MemoryStorage::new();
    let cluster = synced(&storage).config("num.io.threads", "2").start().unwrap();
    let address = cluster.address();
    std::thread::scope(|scope| {
        for n in 0..6 {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for i in 0..40 {
                    let answer = client.produce("t", n % 2, Some(&batch(&[&format!("{n} {i}")])));
                    assert_eq!(answer.error, ErrorCode::NONE);
                }
            });
        }
    });
    let syncs = storage.sync_count(LOG) + storage.sync_count("t-1/00000000000000000000.log");
    cluster.abandon();
    storage.power_loss();
    let cluster = synced(&storage).start().unwrap();
    for partition in 0..2 {
        let found = log_values(&cluster, "t", partition);
        assert_eq!(found.len(), 120);
        for n in (0..6).filter(|n| n % 2 == partition) {
            let own = found.iter().filter(|value| value.starts_with(&format!("{n} ")));
            assert!(own.eq(&(0..40).map(|i| format!("{n} {i}")).collect::<Vec<_>>()), "in order, each once");
        }
    }
    assert!(syncs <= 240, "never more syncs than appends: {syncs}");
}

#[test]
fn deleting_a_topic_while_its_log_is_synced_is_no_disk_error() {
    // D26, W7
    let storage = MemoryStorage::new();
    let cluster = synced(&storage).start().unwrap();
    let mut client = Client::of(&cluster);
    let _held = hold(&storage, LOG);
    let records = batch(&["x"]);
    client.send(&produce_request("t", 0, Some(&records), -1), 12);
    eventually("it is being synced", || storage.syncs_held() == 1);
    cluster.delete_topic("t").unwrap();
    assert_eq!(error_of(&mut client).0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    storage.release_syncs();
    eventually("the sync has ended", || storage.syncs_held() == 0);
    cluster.create_topic("t", 1, 1).unwrap();
    assert_eq!(client.produce("t", 0, Some(&records)).base_offset, 0);
    assert!(cluster.storage_failure().is_none());
}

/// Sets a topic's key, or takes its setting away.
fn alter(client: &mut Client, name: &str, value: Option<&str>) {
    use rohrpost_protocol::messages::{IncrementalAlterConfigsRequest, incremental_alter_configs};
    const TOPIC: i8 = 2;
    let config = incremental_alter_configs::AlterableConfig {
        name,
        config_operation: i8::from(value.is_none()),
        value,
        ..Default::default()
    };
    let resource = incremental_alter_configs::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "t",
        configs: vec![config],
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    assert_eq!(client.call(&request, 1).responses[0].error_code, ErrorCode::NONE);
}

#[test]
fn a_topic_goes_into_synced_mode_and_out_of_it_while_it_runs() {
    // U3
    let storage = MemoryStorage::new();
    let cluster = on(&storage).start().unwrap();
    let mut admin = Client::of(&cluster);
    let mut producer = Client::of(&cluster);
    assert_eq!(producer.produce("t", 0, Some(&batch(&["before"]))).error, ErrorCode::NONE);
    assert_eq!((storage.sync_count(LOG), cluster.log("t", 0).synced_offset()), (0, 0));
    // what was acknowledged before is synced at once
    alter(&mut admin, "flush.messages", Some("1"));
    eventually("it is synced", || cluster.log("t", 0).synced_offset() == 1);
    assert_eq!(cluster.log("t", 0).end_offset(), 1, "what was visible stays so");
    let _held = hold(&storage, LOG);
    let records = batch(&["x"]);
    producer.send(&produce_request("t", 0, Some(&records), -1), 12);
    eventually("it is being synced", || storage.syncs_held() == 1);
    assert_eq!(cluster.log("t", 0).end_offset(), 1);
    // who waits is answered when nothing asks for the disk any more
    alter(&mut admin, "flush.messages", None);
    assert_eq!(error_of(&mut producer), (ErrorCode::NONE, 1));
    assert_eq!(cluster.log("t", 0).end_offset(), 2);
    assert_eq!(storage.syncs_held(), 1);
}
