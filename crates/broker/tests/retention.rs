//! Retention, rolling and timed work as a client and an operator see them, by a clock that the test moves.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use rohrpost_broker::{Cluster, ClusterBuilder, ManualClock};
use rohrpost_log::{MemoryStorage, Storage};
use rohrpost_protocol::ErrorCode;
use rohrpost_record::Stamp;

const SECOND: Duration = Duration::from_secs(1);
/// Two of these fill a segment of a mebibyte.
const HALF: usize = 600_000;

fn by(clock: &ManualClock, configs: &[(&str, &str)]) -> ClusterBuilder {
    let builder = Cluster::builder().topic("t", 1, 1).clock(clock).config("log.segment.bytes", "1048576");
    configs.iter().fold(builder, |builder, (key, value)| builder.config(*key, *value))
}

fn on_memory(storage: &MemoryStorage, clock: &ManualClock, configs: &[(&str, &str)]) -> ClusterBuilder {
    by(clock, configs).data_dir("/data").storage(Arc::new(storage.clone()))
}

fn produce_half(client: &mut Client, timestamp: i64) {
    let value = "x".repeat(HALF);
    let answer = client.produce("t", 0, Some(&build(&[&value], Stamp::NONE, timestamp)));
    assert_eq!(answer.error, ErrorCode::NONE);
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn ending(dir: &Path, suffix: &str) -> usize {
    names(dir).iter().filter(|name| name.ends_with(suffix)).count()
}

#[test]
fn old_segments_go_at_the_check_and_their_files_after_the_delay() {
    // D22, D23, D13
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW);
    let cluster = by(&clock, &[("log.retention.ms", "600000")]).data_dir(dir.path()).start().unwrap();
    let mut client = Client::of(&cluster);
    for n in 0..5 {
        produce_half(&mut client, NOW + n * 1000);
    }
    let t0 = dir.path().join("t-0");
    assert_eq!(ending(&t0, ".log"), 5);
    clock.advance(29 * SECOND);
    assert_eq!(cluster.log("t", 0).start_offset(), 0);
    // the first check comes after log.initial.task.delay.ms, and at 330, 630 s: the records are 0 to 4 s younger than the start
    clock.advance(600 * SECOND);
    assert_eq!(cluster.log("t", 0).start_offset(), 0, "629 s: not checked yet");
    clock.advance(SECOND);
    assert_eq!(cluster.log("t", 0).start_offset(), 5, "also the active one, behind a new one");
    assert_eq!((ending(&t0, ".log"), ending(&t0, ".log.deleted")), (1, 5));
    clock.advance(59 * SECOND);
    assert_eq!(ending(&t0, ".log.deleted"), 5);
    clock.advance(SECOND);
    assert_eq!(ending(&t0, ".deleted"), 0);
    // what is below the start is out of range; the log goes on
    let response = client.call(&fetch_request("t", 0, 4, 0, 1), 12);
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.produce("t", 0, Some(&batch(&["next"]))).base_offset, 5);
    assert_eq!(client.produce("t", 0, Some(&batch(&["next"]))).log_start_offset, 5);
    cluster.stop().unwrap();
    let cluster = by(&clock, &[]).data_dir(dir.path()).start().unwrap();
    assert_eq!((cluster.log("t", 0).start_offset(), cluster.log("t", 0).end_offset()), (5, 7));
}

#[test]
fn a_fetch_that_waits_below_the_new_log_start_is_told() {
    // D23, W7
    let clock = ManualClock::new(NOW);
    let cluster = by(&clock, &[("log.retention.ms", "1000")]).start().unwrap();
    let mut client = Client::of(&cluster);
    let mut waiting = Client::of(&cluster);
    produce_half(&mut client, NOW);
    // more bytes than there are: it waits with data below the end
    waiting.send(&fetch_request("t", 0, 0, i32::MAX, 1 << 20), 12);
    eventually("the fetch waits", || cluster.log("t", 0).waiting_fetches() == 1);
    clock.advance(31 * SECOND);
    let response = waiting.receive::<rohrpost_protocol::messages::FetchRequest<'_>>(12, 0);
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
}

#[test]
fn a_log_start_at_the_base_of_a_segment_needs_no_checkpoint() {
    // D18, D22
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW);
    let configs = [("log.retention.bytes", "1000000")];
    let cluster = by(&clock, &configs).data_dir(dir.path()).start().unwrap();
    let mut client = Client::of(&cluster);
    for n in 0..4 {
        produce_half(&mut client, NOW + n);
    }
    clock.advance(31 * SECOND);
    assert_eq!(cluster.log("t", 0).start_offset(), 2, "two segments of one record are more than a megabyte");
    let text = || std::fs::read_to_string(dir.path().join("log-start-offset-checkpoint")).unwrap_or_default();
    clock.advance(60 * SECOND);
    // it lies at the base of a segment, so the file need not say it
    assert!(["", "0\n0\n"].contains(&&*text()), "{}", text());
    cluster.stop().unwrap();
    let cluster = by(&clock, &configs).data_dir(dir.path()).start().unwrap();
    assert_eq!(cluster.log("t", 0).start_offset(), 2);
}

#[test]
fn a_log_start_within_a_segment_is_checkpointed_at_its_interval_and_at_stop() {
    // D13, D18, D21, D25
    use rohrpost_protocol::messages::DeleteRecordsRequest;
    use rohrpost_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW);
    let start = || by(&clock, &[]).data_dir(dir.path()).start().unwrap();
    let delete_to = |client: &mut Client, offset| {
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() }];
        let topics = vec![DeleteRecordsTopic { name: "t", partitions, ..Default::default() }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 1000, ..Default::default() };
        let response = client.call(&request, 2);
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::NONE);
    };
    let text = || std::fs::read_to_string(dir.path().join("log-start-offset-checkpoint")).unwrap_or_default();
    let cluster = start();
    let mut client = Client::of(&cluster);
    for _ in 0..6 {
        client.produce("t", 0, Some(&batch(&["x"])));
    }
    clock.advance(30 * SECOND);
    delete_to(&mut client, 3);
    clock.advance(59 * SECOND);
    assert_ne!(text(), "0\n1\nt 0 3\n");
    clock.advance(SECOND);
    assert_eq!(text(), "0\n1\nt 0 3\n");
    cluster.abandon();
    let cluster = start();
    assert_eq!(cluster.log("t", 0).start_offset(), 3, "also after an unclean stop");
    delete_to(&mut Client::of(&cluster), 5);
    cluster.stop().unwrap();
    assert_eq!(text(), "0\n1\nt 0 5\n");
    assert_eq!(start().log("t", 0).start_offset(), 5);
}

#[test]
fn segments_below_the_log_start_go_at_the_check_even_if_nothing_else_does() {
    // D22, D24
    let clock = ManualClock::new(NOW);
    let dir = tempfile::tempdir().unwrap();
    let configs = [("log.retention.ms", "-1"), ("log.retention.bytes", "-1")];
    let cluster = by(&clock, &configs).data_dir(dir.path()).start().unwrap();
    let mut client = Client::of(&cluster);
    for _ in 0..4 {
        produce_half(&mut client, NOW - 86_400_000_000);
    }
    clock.advance(30 * SECOND);
    assert_eq!(ending(&dir.path().join("t-0"), ".log"), 4);
    use rohrpost_protocol::messages::DeleteRecordsRequest;
    use rohrpost_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 3, ..Default::default() }];
    let topics = vec![DeleteRecordsTopic { name: "t", partitions, ..Default::default() }];
    client.call(&DeleteRecordsRequest { topics, ..Default::default() }, 2);
    assert_eq!(ending(&dir.path().join("t-0"), ".log"), 4);
    clock.advance(300 * SECOND);
    assert_eq!(ending(&dir.path().join("t-0"), ".log"), 1);
}

#[test]
fn memory_is_bounded_by_retention_bytes() {
    // D22: in memory a closed segment goes at once, without waiting for a check
    let clock = ManualClock::new(NOW);
    let storage = MemoryStorage::new();
    // in memory by configuration, on a storage that the test can look into
    let builder = Cluster::builder().topic("t", 1, 1).clock(&clock).storage(Arc::new(storage.clone()));
    let cluster = builder.config("log.retention.bytes", "3000000").start().unwrap();
    let mut client = Client::of(&cluster);
    let used = || -> u64 {
        let dir = "memory/t-0";
        let files = storage.list(dir).unwrap();
        let open = |name: &str| storage.open(&format!("{dir}/{name}"), rohrpost_log::OpenMode::Existing);
        files.iter().map(|entry| open(&entry.name).unwrap().len().unwrap()).sum()
    };
    for _ in 0..30 {
        produce_half(&mut client, NOW);
        assert!(used() < 3_000_000 + 2 * (1 << 20), "{} bytes", used());
    }
    assert!(cluster.log("t", 0).start_offset() > 20);
    assert!(used() > 2_400_000, "retention.bytes are kept");
    // a deleted topic's memory goes at once
    cluster.delete_topic("t").unwrap();
    let left: Vec<_> = storage.list("memory").unwrap().into_iter().map(|e| e.name).collect();
    assert!(!left.iter().any(|name| name.starts_with("t-0")), "{left:?}");
}

#[test]
fn a_changed_clock_rolls_and_deletes_but_moves_no_timer() {
    // chapter 22: timers run on a monotonic clock; D10 by the wall clock only without timestamps
    let clock = ManualClock::new(NOW);
    let cluster = by(&clock, &[("log.retention.ms", "600000")]).start().unwrap();
    let mut client = Client::of(&cluster);
    produce_half(&mut client, NOW);
    clock.set_wall_ms(NOW + 86_400_000);
    clock.advance(Duration::from_millis(10));
    assert_eq!(cluster.log("t", 0).start_offset(), 0, "the check is not due by this");
    clock.advance(30 * SECOND);
    assert_eq!(cluster.log("t", 0).start_offset(), 1);
}

#[test]
fn silent_producers_are_forgotten_at_the_check() {
    // I9
    let clock = ManualClock::new(NOW);
    let cluster = by(&clock, &[("producer.id.expiration.ms", "1000")]).start().unwrap();
    let mut client = Client::of(&cluster);
    let id = client.producer_id();
    let at = |sequence| {
        let by = Stamp { producer_id: id, producer_epoch: 0, base_sequence: sequence };
        build(&["x"], by, NOW)
    };
    assert_eq!(client.produce("t", 0, Some(&at(0))).error, ErrorCode::NONE);
    clock.advance(599 * SECOND);
    assert_eq!(client.produce("t", 0, Some(&at(7))).error, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    clock.advance(SECOND);
    // I6: an unknown producer may begin anywhere
    assert_eq!(client.produce("t", 0, Some(&at(7))).error, ErrorCode::NONE);
}

#[test]
fn checkpoints_are_written_at_their_intervals() {
    // D13
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(NOW);
    let cluster = by(&clock, &[]).data_dir(dir.path()).start().unwrap();
    let mut client = Client::of(&cluster);
    let holds = |file: &str, line: &str| {
        std::fs::read_to_string(dir.path().join(file)).is_ok_and(|t| t.lines().any(|found| found == line))
    };
    let high_watermark = |n: i64| holds("replication-offset-checkpoint", &format!("t 0 {n}"));
    client.produce("t", 0, Some(&batch(&["a"])));
    clock.advance(29 * SECOND);
    assert!(!high_watermark(1));
    clock.advance(SECOND);
    assert!(high_watermark(1));
    assert!(holds("recovery-point-offset-checkpoint", "t 0 0"), "nothing was synced");
    client.produce("t", 0, Some(&batch(&["b"])));
    cluster.sync().unwrap();
    clock.advance(4 * SECOND);
    assert!(!high_watermark(2));
    clock.advance(SECOND);
    assert!(high_watermark(2));
    clock.advance(54 * SECOND);
    assert!(!holds("recovery-point-offset-checkpoint", "t 0 2"));
    clock.advance(SECOND);
    assert!(holds("recovery-point-offset-checkpoint", "t 0 2"));
    cluster.abandon();
}

#[test]
fn flush_ms_syncs_at_its_time_and_not_before() {
    // D13: by the earliest log that is due
    let storage = MemoryStorage::new();
    let clock = ManualClock::new(NOW);
    let cluster = on_memory(&storage, &clock, &[("log.flush.interval.ms", "250")]).start().unwrap();
    let mut client = Client::of(&cluster);
    let log = cluster.log("t", 0);
    let syncs = || storage.sync_count("t-0/00000000000000000000.log");
    client.produce("t", 0, Some(&batch(&["a"])));
    clock.advance(Duration::from_millis(100));
    client.produce("t", 0, Some(&batch(&["b"])));
    clock.advance(Duration::from_millis(149));
    assert_eq!(syncs(), 0);
    clock.advance(Duration::from_millis(1));
    eventually("the log is synced", || log.synced_offset() == 2);
    clock.advance(10 * SECOND);
    assert_eq!(syncs(), 1, "nothing has come since");
    client.produce("t", 0, Some(&batch(&["c"])));
    clock.advance(Duration::from_millis(249));
    assert_eq!(syncs(), 1);
    clock.advance(Duration::from_millis(1));
    eventually("the log is synced again", || log.synced_offset() == 3);
    assert_eq!(syncs(), 2);
    cluster.abandon();
    storage.power_loss();
    let cluster = on_memory(&storage, &clock, &[]).start().unwrap();
    assert_eq!(log_values(&cluster, "t", 0), ["a", "b", "c"]);
}

#[test]
fn flush_ms_needs_no_clock_moved_by_hand() {
    // D13: the thread of timed work is woken by the first unsynced record
    let storage = MemoryStorage::new();
    let builder = Cluster::builder().topic("t", 1, 1).data_dir("/data").storage(Arc::new(storage.clone()));
    let cluster = builder.config("log.flush.interval.ms", "5").start().unwrap();
    let mut client = Client::of(&cluster);
    for n in 1..=3 {
        client.produce("t", 0, Some(&batch(&["a"])));
        eventually("the log is synced", || storage.sync_count("t-0/00000000000000000000.log") == n);
    }
}

#[test]
fn flush_messages_syncs_when_so_many_are_unsynced() {
    // L10, D13
    let storage = MemoryStorage::new();
    let clock = ManualClock::new(NOW);
    let cluster = on_memory(&storage, &clock, &[("log.flush.interval.messages", "3")]).start().unwrap();
    let mut client = Client::of(&cluster);
    let syncs = || storage.sync_count("t-0/00000000000000000000.log");
    client.produce("t", 0, Some(&batch(&["a", "b"])));
    assert_eq!(syncs(), 0);
    client.produce("t", 0, Some(&batch(&["c"])));
    eventually("the log is synced", || syncs() == 1);
    cluster.abandon();
}
