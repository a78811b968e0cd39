//! A data directory: owner, identity, partitions, checkpoints, clean and unclean stops.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{NOW, append, batch, batches, content};
use rohrpost_log::{
    DirError, Fault, FileStorage, Identity, Log, LogConfig, LogDir, MemoryStorage, OpenMode, Storage, code,
    partition_dir_name,
};

const ID: [u8; 16] = [7; 16];

fn identity() -> Identity {
    Identity { node_id: 1, cluster_id: None, new_cluster_id: [0xab; 16], new_directory_id: [0xcd; 16] }
}

fn open(storage: &MemoryStorage) -> LogDir {
    LogDir::open(Arc::new(storage.clone()), "data", &identity()).unwrap()
}

fn log(dir: &LogDir, topic: &str, partition: i32) -> Log {
    dir.open_log(topic, partition, ID, LogConfig::default(), NOW, 1).unwrap()
}

fn text(storage: &dyn Storage, path: &str) -> String {
    let file = storage.open(path, OpenMode::Existing).unwrap();
    let bytes = file.read_bytes(0, file.len().unwrap() as usize).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn put(storage: &dyn Storage, path: &str, content: &str) {
    let file = storage.open(path, OpenMode::Truncate).unwrap();
    file.write_at(0, content.as_bytes()).unwrap();
}

#[test]
fn a_new_directory_gets_an_identity_and_keeps_it() {
    // D4
    let storage = MemoryStorage::new();
    let first = open(&storage).meta().clone();
    assert_eq!(first.cluster_id, "q6urq6urq6urq6urq6urqw");
    let written = text(&storage, "data/meta.properties");
    assert_eq!(
        written,
        "version=1\ncluster.id=q6urq6urq6urq6urq6urqw\nnode.id=1\ndirectory.id=zc3Nzc3Nzc3Nzc3Nzc3NzQ\n"
    );
    let other = Identity { new_cluster_id: [1; 16], new_directory_id: [2; 16], ..identity() };
    let again = LogDir::open(Arc::new(storage.clone()), "data", &other).unwrap();
    assert_eq!(again.meta(), &first);
}

#[test]
fn a_new_directory_is_still_there_after_a_power_loss() {
    // U6: with all the directories above it that were new, too
    for path in ["data", "srv/rohrpost/data", "/srv/data"] {
        let storage = MemoryStorage::new();
        let dir = LogDir::open(Arc::new(storage.clone()), path, &identity()).unwrap();
        let meta = dir.meta().clone();
        log(&dir, "orders", 3);
        storage.power_loss();
        assert!(storage.exists(&format!("{path}/orders-3/partition.metadata")).unwrap(), "{path}");
        let other = Identity { new_cluster_id: [1; 16], ..identity() };
        let again = LogDir::open(Arc::new(storage.clone()), path, &other).unwrap();
        assert_eq!(again.meta(), &meta, "{path}");
    }
}

#[test]
fn a_reserved_directory_id_is_refused() {
    // D4
    let mut reserved = [0; 16];
    reserved[15] = 99;
    let identity = Identity { new_directory_id: reserved, ..identity() };
    let error = LogDir::open(Arc::new(MemoryStorage::new()), "data", &identity).unwrap_err();
    assert!(matches!(error, DirError::Identity { .. }));
}

#[test]
fn kafkas_own_meta_properties_are_understood() {
    let storage = MemoryStorage::new();
    storage.create_dir("data").unwrap();
    let java = "#\n#Wed Jan 01 00:00:00 UTC 2025\ncluster.id=q6urq6urq6urq6urq6urqw\n\
                directory.id=zc3Nzc3Nzc3Nzc3Nzc3NzQ\nnode.id=1\nversion=1\n";
    put(&storage, "data/meta.properties", java);
    assert_eq!(open(&storage).meta().directory_id, [0xcd; 16]);
}

#[test]
fn another_nodes_or_clusters_directory_is_refused() {
    let storage = MemoryStorage::new();
    open(&storage);
    for wrong in [
        Identity { node_id: 2, ..identity() },
        Identity { cluster_id: Some("AAAAAAAAAAAAAAAAAAAAAA".to_owned()), ..identity() },
    ] {
        let error = LogDir::open(Arc::new(storage.clone()), "data", &wrong).unwrap_err();
        assert!(matches!(error, DirError::Identity { .. }), "{error}");
    }
    for damaged in ["", "version=2\nnode.id=1\n", "version=1\nnode.id=x\ncluster.id=y\n", "version=1\n"] {
        put(&storage, "data/meta.properties", damaged);
        let error = LogDir::open(Arc::new(storage.clone()), "data", &identity()).unwrap_err();
        assert!(matches!(error, DirError::Identity { .. }), "{error}");
    }
}

#[test]
fn a_second_opener_learns_the_address_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let path = path.to_str().unwrap();
    let open = || LogDir::open(Arc::new(FileStorage::new()), path, &identity());
    let first = open().unwrap();
    match open().unwrap_err() {
        DirError::InUse { address: None, .. } => {}
        other => panic!("{other}"),
    }
    first.write_address("127.0.0.1:9092").unwrap();
    match open().unwrap_err() {
        DirError::InUse { address: Some(address), .. } => assert_eq!(address, "127.0.0.1:9092"),
        other => panic!("{other}"),
    }
    drop(first);
    let next = open().unwrap();
    match open().unwrap_err() {
        DirError::InUse { address: None, .. } => drop(next),
        other => panic!("a dead process's address: {other}"),
    }
}

#[test]
fn an_unknown_subdirectory_is_refused_and_an_unknown_file_is_not() {
    // D3
    let storage = MemoryStorage::new();
    storage.create_dir("data").unwrap();
    put(&storage, "data/notes.txt", "x");
    put(&storage, "data/bootstrap.checkpoint", "x");
    for fine in [
        "orders-0",
        "a-b.c_d-12",
        "__cluster_metadata-0",
        "t-1.0123456789abcdef0123456789abcdef-delete",
        "t-1.0123456789abcdef0123456789abcdef-future",
        "t-1.0123456789abcdef0123456789abcdef-stray",
    ] {
        storage.create_dir(&format!("data/{fine}")).unwrap();
    }
    let found = open(&storage).partitions().unwrap();
    let names: Vec<_> = found.iter().map(|p| partition_dir_name(&p.topic, p.partition)).collect();
    assert_eq!(names, ["__cluster_metadata-0", "a-b.c_d-12", "orders-0"]);
    for foreign in [
        "lost+found",
        "orders",
        "orders-",
        "-1",
        "orders-x",
        "t-1.0123-delete",
        "orders-99999999999",
        // no topic is called so, and a checkpoint with such a line could not be read
        "my backup-2",
        "a\nb-0",
        "ä-0",
        // the same partition as another one
        "orders-00",
    ] {
        let path = format!("data/{foreign}");
        storage.create_dir(&path).unwrap();
        let error = LogDir::open(Arc::new(storage.clone()), "data", &identity()).unwrap_err();
        assert!(matches!(&error, DirError::UnknownEntry { name, .. } if name == foreign), "{error}");
        storage.remove_dir_all(&path).unwrap();
    }
}

#[test]
fn the_topic_id_is_on_disk_before_the_first_append() {
    // L1, U8, D14
    let storage = MemoryStorage::new();
    storage.create_dir("data").unwrap();
    storage.sync_dir("").unwrap();
    let dir = open(&storage);
    log(&dir, "orders", 3);
    storage.power_loss();
    assert_eq!(
        text(&storage, "data/orders-3/partition.metadata"),
        "version: 0\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw"
    );
    let dir = open(&storage);
    let found = dir.partitions().unwrap();
    assert_eq!((found[0].topic.as_str(), found[0].partition, found[0].topic_id), ("orders", 3, Some(ID)));
    let error = dir.open_log("orders", 3, [8; 16], LogConfig::default(), NOW, 1).unwrap_err();
    assert_eq!(error.code(), code::INCONSISTENT_TOPIC_ID);
    assert!(!dir.health().is_offline());
}

#[test]
fn a_clean_stop_leaves_a_marker_that_the_next_start_removes() {
    // D15, D21
    let storage = MemoryStorage::new();
    storage.create_dir("data").unwrap();
    storage.sync_dir("").unwrap();
    let dir = open(&storage);
    assert!(!dir.was_clean());
    let mut orders = log(&dir, "orders", 0);
    append(&mut orders, batch(5)).unwrap();
    orders.advance_log_start(2).unwrap();
    dir.write_address("here").unwrap();
    dir.close([(("orders".to_owned(), 0), orders, 4)], 11).unwrap();
    storage.power_loss();
    assert_eq!(text(&storage, "data/.kafka_cleanshutdown"), "{\"version\":0,\"brokerEpoch\":11}");
    assert_eq!(text(&storage, "data/recovery-point-offset-checkpoint"), "0\n1\norders 0 5\n");
    assert_eq!(text(&storage, "data/replication-offset-checkpoint"), "0\n1\norders 0 4\n");
    assert_eq!(text(&storage, "data/log-start-offset-checkpoint"), "0\n1\norders 0 2\n");
    let dir = open(&storage);
    assert_eq!((dir.was_clean(), dir.last_broker_epoch()), (true, Some(11)));
    storage.power_loss();
    assert!(!storage.exists("data/.kafka_cleanshutdown").unwrap(), "removed before anything is loaded");
    let dir = open(&storage);
    assert!(!dir.was_clean());
    let orders = log(&dir, "orders", 0);
    assert_eq!((orders.log_start_offset(), orders.log_end_offset(), orders.recovery_point()), (2, 5, 5));
    assert_eq!(dir.high_watermark("orders", 0), Some(4));
    assert_eq!(dir.high_watermark("orders", 1), None);
}

#[test]
fn a_stop_that_fails_anywhere_leaves_no_marker() {
    // D21, U8
    for sync in [true, false] {
        for nth in 1.. {
            let storage = MemoryStorage::new();
            storage.create_dir("data").unwrap();
            storage.sync_dir("").unwrap();
            let dir = open(&storage);
            let mut orders = log(&dir, "orders", 0);
            append(&mut orders, batch(5)).unwrap();
            orders.flush().unwrap();
            storage.inject(if sync { Fault::FailSync(nth) } else { Fault::FailWrite(nth) });
            let closed = dir.close([(("orders".to_owned(), 0), orders, 5)], 1);
            storage.clear_faults();
            storage.power_loss();
            let dir = open(&storage);
            assert_eq!(dir.was_clean(), closed.is_ok(), "{nth}");
            assert_eq!(batches(&content(&log(&dir, "orders", 0))), [(0, 5)]);
            if closed.is_ok() {
                assert!(nth > 3);
                break;
            }
        }
    }
}

#[test]
fn a_directory_that_was_not_fully_loaded_gets_no_marker() {
    // D21
    let storage = MemoryStorage::new();
    let dir = open(&storage);
    let logs = [0, 1].map(|p| (("orders".to_owned(), p), log(&dir, "orders", p), 0));
    dir.close(logs, 1).unwrap();
    drop(dir);
    let dir = open(&storage);
    assert!(dir.was_clean());
    let only = log(&dir, "orders", 0);
    dir.close([(("orders".to_owned(), 0), only, 0)], 1).unwrap();
    drop(dir);
    assert!(!open(&storage).was_clean());
}

#[test]
fn an_error_in_one_log_takes_all_logs_of_the_directory_offline() {
    // D30
    let storage = MemoryStorage::new();
    let dir = open(&storage);
    let (mut a, mut b) = (log(&dir, "a", 0), log(&dir, "b", 0));
    append(&mut a, batch(1)).unwrap();
    append(&mut b, batch(1)).unwrap();
    storage.inject(Fault::FailWrite(1));
    assert_eq!(append(&mut a, batch(1)).unwrap_err().code, code::KAFKA_STORAGE_ERROR);
    assert_eq!(append(&mut b, batch(1)).unwrap_err().code, code::KAFKA_STORAGE_ERROR);
    assert!(dir.health().is_offline());
    assert!(dir.health().reason().unwrap().contains("injected write error"));
    assert!(dir.write_high_watermarks([("a", 0, 1)]).unwrap_err().is_storage_error());
    let logs = [(("a".to_owned(), 0), a, 1), (("b".to_owned(), 0), b, 1)];
    assert!(dir.close(logs, 1).is_err());
    drop(dir);
    assert!(!open(&storage).was_clean());
}

#[test]
fn a_deleted_partition_is_renamed_first_and_removed_later() {
    // D26
    let storage = MemoryStorage::new();
    let dir = open(&storage);
    let long = "x".repeat(249);
    for topic in ["orders", &long] {
        drop(log(&dir, topic, 0));
        let renamed = dir.delete_log(topic, 0, [0xfe; 16]).unwrap();
        assert!(renamed.len() <= 255 && renamed.ends_with(".fefefefefefefefefefefefefefefefe-delete"));
        assert!(dir.partitions().unwrap().is_empty());
        assert_eq!(dir.deleted().unwrap(), std::slice::from_ref(&renamed));
        let fresh = log(&dir, topic, 0);
        assert_eq!(fresh.log_end_offset(), 0, "the name is free again");
        drop(fresh);
        dir.remove_deleted("orders-0").unwrap();
        assert_eq!(dir.partitions().unwrap().len(), 1, "only deleted ones are removed");
        dir.remove_deleted(&renamed).unwrap();
        assert!(dir.deleted().unwrap().is_empty());
        let rest = dir.delete_log(topic, 0, [1; 16]).unwrap();
        dir.remove_deleted(&rest).unwrap();
    }
}

#[test]
fn a_topic_made_anew_does_not_begin_where_the_old_one_was_checkpointed() {
    // D26, D18: the checkpoints still name the old one
    let storage = MemoryStorage::new();
    let dir = open(&storage);
    let mut orders = log(&dir, "orders", 0);
    append(&mut orders, batch(9)).unwrap();
    orders.advance_log_start(4).unwrap();
    dir.close([(("orders".to_owned(), 0), orders, 9)], 1).unwrap();
    drop(dir);
    storage.remove_dir_all("data/orders-0").unwrap();
    let dir = open(&storage);
    let orders = log(&dir, "orders", 0);
    assert_eq!((orders.log_start_offset(), orders.log_end_offset()), (0, 0));
    assert_eq!(dir.high_watermark("orders", 0), None);
}

#[test]
fn a_stray_partition_is_set_aside_with_its_data() {
    // D20
    let storage = MemoryStorage::new();
    let dir = open(&storage);
    let mut orders = log(&dir, "orders", 0);
    append(&mut orders, batch(5)).unwrap();
    drop(orders);
    let renamed = dir.set_aside("orders", 0, [2; 16]).unwrap();
    assert!(renamed.ends_with("-stray"));
    assert!(storage.exists(&format!("data/{renamed}/00000000000000000000.log")).unwrap());
    assert!(dir.partitions().unwrap().is_empty() && dir.deleted().unwrap().is_empty());
    dir.remove_deleted(&renamed).unwrap();
    assert!(storage.exists(&format!("data/{renamed}")).unwrap());
    drop(dir);
    assert!(open(&storage).partitions().unwrap().is_empty());
}

#[test]
fn damaged_checkpoints_never_make_a_start_fail() {
    // D1, D16
    let storage = MemoryStorage::new();
    let dir = open(&storage);
    let mut orders = log(&dir, "orders", 0);
    append(&mut orders, batch(5)).unwrap();
    dir.close([(("orders".to_owned(), 0), orders, 5)], 1).unwrap();
    drop(dir);
    for name in [
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
        "log-start-offset-checkpoint",
        ".kafka_cleanshutdown",
        "orders-0/partition.metadata",
        "orders-0/leader-epoch-checkpoint",
    ] {
        put(&storage, &format!("data/{name}"), "\u{1}garbage\n\n0 0 0");
    }
    let dir = open(&storage);
    assert_eq!(dir.high_watermark("orders", 0), None);
    let orders = log(&dir, "orders", 0);
    assert_eq!(batches(&content(&orders)), [(0, 5)]);
    assert_eq!(orders.epochs(), [(1, 0)]);
}
