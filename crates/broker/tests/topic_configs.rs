//! Settings that change while the broker runs are in force when the answer comes, and after a restart (M9, M10).

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::sync::Arc;

use common::*;
use rohrpost_broker::{Cluster, ClusterBuilder};
use rohrpost_log::MemoryStorage;
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use rohrpost_protocol::messages::{FetchRequest, IncrementalAlterConfigsRequest};
use rohrpost_record::{Batches, Codec, Stamp};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Sets a value, or deletes it.
fn alter(client: &mut Client, resource: (i8, &str), key: &str, value: Option<&str>) -> ErrorCode {
    let config = AlterableConfig {
        name: key,
        config_operation: if value.is_some() { 0 } else { 1 },
        value,
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: resource.0,
        resource_name: resource.1,
        configs: vec![config],
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    client.call(&request, 1).responses[0].error_code
}

fn set(client: &mut Client, resource: (i8, &str), key: &str, value: &str) {
    assert_eq!(alter(client, resource, key, Some(value)), ErrorCode::NONE, "{key}={value}");
}

const T: (i8, &str) = (TOPIC, "t");

fn in_memory() -> (Cluster, Client) {
    let cluster = Cluster::builder().topic("t", 1, 1).start().unwrap();
    let client = Client::of(&cluster);
    (cluster, client)
}

/// The codec of the last batch in the log.
fn stored_codec(client: &mut Client, offset: i64) -> Codec {
    let response = client.call(&fetch_request("t", 0, offset, 0, 1), 12);
    let records = response.responses[0].partitions[0].records.as_ref().unwrap().bytes().unwrap();
    let batch = Batches::new(records).last().unwrap().unwrap();
    batch.header().attributes.codec().unwrap()
}

#[test]
fn what_a_topic_takes_and_how_it_stores_it_changes_at_once() {
    // M10, L7, L8
    let (_cluster, mut client) = in_memory();
    let client = &mut client;
    let put = |client: &mut Client| client.produce("t", 0, Some(&batch(&[&"x".repeat(200)])));
    assert_eq!(put(client).error, ErrorCode::NONE);
    let rows = [
        ("max.message.bytes", "100", ErrorCode::MESSAGE_TOO_LARGE),
        // the batches of these tests are years old
        ("message.timestamp.before.max.ms", "1000", ErrorCode::INVALID_TIMESTAMP),
        // they have no keys
        ("cleanup.policy", "compact", ErrorCode::INVALID_RECORD),
        ("internal.segment.bytes", "50", ErrorCode::RECORD_LIST_TOO_LARGE),
    ];
    for (key, value, code) in rows {
        set(client, T, key, value);
        assert_eq!(put(client).error, code, "{key}={value}");
        assert_eq!(alter(client, T, key, None), ErrorCode::NONE);
        assert_eq!(put(client).error, ErrorCode::NONE, "{key} deleted");
    }
    set(client, T, "message.timestamp.type", "LogAppendTime");
    assert!(put(client).log_append_time_ms > NOW);
    assert_eq!(alter(client, T, "message.timestamp.type", None), ErrorCode::NONE);
    assert_eq!(put(client).log_append_time_ms, -1);
    for (value, codec) in [("gzip", Codec::Gzip), ("lz4", Codec::Lz4), ("producer", Codec::None)] {
        set(client, T, "compression.type", value);
        let offset = put(client).base_offset;
        assert_eq!(stored_codec(client, offset), codec, "{value}");
    }
    let far = build(&["x"], Stamp::NONE, 1 << 45);
    assert_eq!(client.produce("t", 0, Some(&far)).error, ErrorCode::INVALID_TIMESTAMP);
    set(client, T, "message.timestamp.after.max.ms", &i64::MAX.to_string());
    assert_eq!(client.produce("t", 0, Some(&far)).error, ErrorCode::NONE);
}

#[test]
fn a_brokers_default_reaches_topics_without_a_setting_of_their_own() {
    // M9: the topic's own, then this broker's, then all brokers', then the configuration's
    let cluster = Cluster::builder().topic("t", 1, 1).topic("own", 1, 1).config("message.max.bytes", "300");
    let cluster = cluster.config("node.id", "1").start().unwrap();
    let client = &mut Client::of(&cluster);
    let batch = batch(&[&"x".repeat(100)]);
    assert!((150..300).contains(&batch.len()));
    let takes = |client: &mut Client| {
        ["t", "own"].map(|topic| match client.produce(topic, 0, Some(&batch)).error {
            ErrorCode::NONE => true,
            ErrorCode::MESSAGE_TOO_LARGE => false,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(takes(client), [true, true]);
    set(client, (TOPIC, "own"), "max.message.bytes", "500");
    set(client, (BROKER, ""), "message.max.bytes", "100");
    assert_eq!(takes(client), [false, true]);
    set(client, (BROKER, "1"), "message.max.bytes", "400");
    assert_eq!(takes(client), [true, true]);
    assert_eq!(alter(client, (BROKER, "1"), "message.max.bytes", None), ErrorCode::NONE);
    assert_eq!(takes(client), [false, true]);
    // a topic that comes later has them too
    cluster.create_topic("later", 1, 1).unwrap();
    assert_eq!(client.produce("later", 0, Some(&batch)).error, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(alter(client, (BROKER, ""), "message.max.bytes", None), ErrorCode::NONE);
    assert_eq!(takes(client), [true, true]);
}

#[test]
fn settings_survive_a_restart() {
    // M10, C21
    let storage = MemoryStorage::new();
    let builder = || -> ClusterBuilder {
        Cluster::builder().data_dir("/data").storage(Arc::new(storage.clone())).config("node.id", "1")
    };
    let cluster = builder().topic("t", 1, 1).topic("u", 1, 1).start().unwrap();
    let client = &mut Client::of(&cluster);
    let batch = batch(&[&"x".repeat(100)]);
    set(client, T, "max.message.bytes", "50");
    set(client, (BROKER, ""), "message.max.bytes", "60");
    // killed, not stopped: what was answered is on disk
    cluster.abandon();
    let cluster = builder().start().unwrap();
    let client = &mut Client::of(&cluster);
    for topic in ["t", "u"] {
        assert_eq!(client.produce(topic, 0, Some(&batch)).error, ErrorCode::MESSAGE_TOO_LARGE, "{topic}");
    }
    for (resource, key) in [(T, "max.message.bytes"), ((BROKER, ""), "message.max.bytes")] {
        assert_eq!(alter(client, resource, key, None), ErrorCode::NONE);
    }
    cluster.stop().unwrap();
    let cluster = builder().start().unwrap();
    assert_eq!(Client::of(&cluster).produce("t", 0, Some(&batch)).error, ErrorCode::NONE);
}

#[test]
fn retention_follows_the_setting() {
    // M10: nothing of these old records expires until the topic says so
    let cluster = Cluster::builder()
        .config("log.initial.task.delay.ms", "0")
        .config("log.retention.check.interval.ms", "1")
        .config("log.retention.ms", "-1")
        .topic("t", 1, 1)
        .start()
        .unwrap();
    let client = &mut Client::of(&cluster);
    client.produce("t", 0, Some(&batch(&["old"])));
    assert_eq!(cluster.log("t", 0).start_offset(), 0);
    set(client, T, "retention.ms", "1000");
    eventually("the old record has expired", || cluster.log("t", 0).start_offset() == 1);
}

#[test]
fn producers_are_forgotten_when_the_broker_is_told_to() {
    // M10, I9
    let cluster = Cluster::builder().topic("t", 1, 1).config("producer.id.expiration.check.interval.ms", "1");
    let cluster = cluster.start().unwrap();
    let client = &mut Client::of(&cluster);
    let by = |base_sequence| Stamp { producer_id: 5, producer_epoch: 0, base_sequence };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let recent = |sequence| build(&["x"], by(sequence), now);
    assert_eq!(client.produce("t", 0, Some(&recent(0))).error, ErrorCode::NONE);
    let gap = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
    assert_eq!(client.produce("t", 0, Some(&recent(7))).error, gap);
    set(client, (BROKER, ""), "producer.id.expiration.ms", "1");
    // I6: who is not known may begin anywhere
    eventually("the producer is forgotten", || {
        client.produce("t", 0, Some(&recent(7))).error == ErrorCode::NONE
    });
}

#[test]
fn a_waiting_fetch_is_not_disturbed_by_a_setting() {
    // M10, W6
    let (cluster, mut client) = in_memory();
    client.send(&fetch_request("t", 0, 0, i32::MAX, 1), 12);
    eventually("the fetch waits", || cluster.log("t", 0).waiting_fetches() == 1);
    let other = &mut Client::of(&cluster);
    set(other, T, "retention.ms", "5");
    assert_eq!(cluster.log("t", 0).waiting_fetches(), 1);
    assert_eq!(other.produce("t", 0, Some(&batch(&["x"]))).error, ErrorCode::NONE);
    let response = client.receive::<FetchRequest<'_>>(12, 0);
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
}
