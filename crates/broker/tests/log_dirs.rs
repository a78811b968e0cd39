//! Several data directories: where partitions go, that they stay there, and that one that fails does not take the others along.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::path::Path;
use std::sync::Arc;

use common::*;
use rohrpost_broker::{Cluster, ClusterBuilder, StartError};
use rohrpost_log::{Fault, MemoryStorage, Storage};
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::FetchRequest;

fn on(root: &Path, names: &[&str]) -> ClusterBuilder {
    let dirs: Vec<_> = names.iter().map(|name| root.join(name).to_str().unwrap().to_owned()).collect();
    Cluster::builder().config("log.dirs", dirs.join(","))
}

fn on_memory(storage: &MemoryStorage) -> ClusterBuilder {
    let builder = Cluster::builder().config("log.dirs", "/a,/b").config("metadata.log.dir", "/b");
    builder.storage(Arc::new(storage.clone()))
}

fn partitions(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let dirs = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<_> = dirs.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "__cluster_metadata-0");
    names.sort();
    names
}

#[test]
fn partitions_go_where_the_fewest_are_and_stay_there() {
    // E3, D15
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let cluster = on(root.path(), &["a", "b"]).topic("t", 4, 1).start().unwrap();
    assert_eq!((partitions(&a), partitions(&b)), (names(&["t-0", "t-2"]), names(&["t-1", "t-3"])));
    let mut client = Client::of(&cluster);
    for n in 0..4 {
        assert_eq!(client.produce("t", n, Some(&batch(&[&n.to_string()]))).error, ErrorCode::NONE);
    }
    cluster.stop().unwrap();
    for dir in [&a, &b] {
        assert!(dir.join(".kafka_cleanshutdown").exists(), "D21: each has its own");
    }
    // in another order, and one more
    let error = on(root.path(), &["b", "a", "c"]).start().unwrap_err().to_string();
    assert!(error.contains("the metadata log lies in") && error.contains("/a;"), "{error}");
    let cluster = on(root.path(), &["b", "a", "c"]).config("metadata.log.dir", a.to_str().unwrap()).start();
    let cluster = cluster.unwrap();
    for n in 0..4 {
        assert_eq!(log_values(&cluster, "t", n), [n.to_string()]);
    }
    cluster.create_topic("u", 2, 1).unwrap();
    assert_eq!(partitions(&root.path().join("c")), ["u-0", "u-1"]);
    cluster.stop().unwrap();
    let text = |dir: &Path, file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
    assert_eq!(text(&b, "recovery-point-offset-checkpoint"), "0\n2\nt 1 1\nt 3 1\n");
    assert_eq!(text(&b, "replication-offset-checkpoint"), "0\n2\nt 1 1\nt 3 1\n");
    let cluster_id = |dir: &Path| {
        let text = text(dir, "meta.properties");
        text.lines().find(|line| line.starts_with("cluster.id=")).unwrap().to_owned()
    };
    assert_eq!(cluster_id(&a), cluster_id(&b));
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_directory_that_fails_goes_offline_alone() {
    // D30, L13, W7, F12
    let storage = MemoryStorage::new();
    let cluster = on_memory(&storage).topic("t", 4, 1).start().unwrap();
    let mut client = Client::of(&cluster);
    let mut waiting = Client::of(&cluster);
    for n in 0..4 {
        assert_eq!(client.produce("t", n, Some(&batch(&["before"]))).error, ErrorCode::NONE);
    }
    waiting.send(&fetch_request("t", 2, 1, i32::MAX, 1), 12);
    eventually("the fetch waits", || cluster.log("t", 2).waiting_fetches() == 1);
    storage.inject_in("/a/", Fault::FailWrite(1));
    assert_eq!(client.produce("t", 0, Some(&batch(&["lost"]))).error, ErrorCode::KAFKA_STORAGE_ERROR);
    // whoever waits for another partition of that directory is told
    let response = waiting.receive::<FetchRequest<'_>>(12, 0);
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    for n in [0, 2] {
        assert_eq!(client.produce("t", n, Some(&batch(&["lost"]))).error, ErrorCode::KAFKA_STORAGE_ERROR);
    }
    // the other goes on, and takes the new partitions
    for n in [1, 3] {
        assert_eq!(client.produce("t", n, Some(&batch(&["after"]))).error, ErrorCode::NONE);
    }
    cluster.create_topic("u", 3, 1).unwrap();
    for n in 0..3 {
        assert_eq!(client.produce("u", n, Some(&batch(&["new"]))).error, ErrorCode::NONE);
    }
    assert!(cluster.storage_failure().unwrap().contains("/a/"));
    let error = cluster.stop().unwrap_err();
    assert_eq!(error.failures.len(), 1, "{error}");
    assert!(storage.exists("/b/.kafka_cleanshutdown").unwrap());
    assert!(!storage.exists("/a/.kafka_cleanshutdown").unwrap());

    let cluster = on_memory(&storage).start().unwrap();
    assert_eq!(log_values(&cluster, "t", 1), ["before", "after"]);
    assert_eq!(log_values(&cluster, "t", 2), ["before"]);
    assert!(cluster.storage_failure().is_none());
}

#[test]
fn a_partition_in_two_directories_stops_the_start() {
    let root = tempfile::tempdir().unwrap();
    on(root.path(), &["a", "b"]).topic("t", 1, 1).start().unwrap().stop().unwrap();
    std::fs::create_dir(root.path().join("b/t-0")).unwrap();
    let error = on(root.path(), &["a", "b"]).start().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StartError::Storage(_)));
    assert!(text.contains("t-0 lies in ") && text.contains("/a ") && text.contains("/b;"), "{text}");
}

#[test]
fn a_directory_of_another_cluster_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        on(root.path(), &[name]).start().unwrap().stop().unwrap();
    }
    let error = on(root.path(), &["a", "b"]).start().unwrap_err().to_string();
    assert!(error.contains("b/meta.properties") && error.contains("cluster"), "{error}");
}

#[test]
fn many_logs_are_recovered_by_several_threads() {
    // D15: num.recovery.threads.per.data.dir
    const PARTITIONS: i32 = 24;
    let root = tempfile::tempdir().unwrap();
    let start = |threads: &str| {
        let builder = on(root.path(), &["a", "b"]).config("num.recovery.threads.per.data.dir", threads);
        builder.topic("t", PARTITIONS, 1).start().unwrap()
    };
    let cluster = start("3");
    let mut client = Client::of(&cluster);
    for n in 0..PARTITIONS {
        client.produce("t", n, Some(&batch(&[&n.to_string()])));
    }
    cluster.abandon();
    for threads in ["1", "5", "100"] {
        let cluster = start(threads);
        for n in 0..PARTITIONS {
            assert_eq!(log_values(&cluster, "t", n), [n.to_string()]);
        }
        // and closed by several
        if threads == "5" { cluster.stop().unwrap() } else { cluster.abandon() }
    }
}
