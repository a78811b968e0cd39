//! Fetch against the running broker: chapter 11 of the reference.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use common::*;
use rohrpost_broker::Cluster;
use rohrpost_protocol::messages::fetch::ReplicaState;
use rohrpost_protocol::messages::{FetchRequest, FetchResponse};
use rohrpost_protocol::{ErrorCode, Uuid};

/// Two partitions; the first has the batches "a" to "c".
fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::builder().topic("t", 2, 1).start().unwrap();
    let mut client = Client::of(&cluster);
    for value in ["a", "b", "c"] {
        client.produce("t", 0, Some(&batch(&[value])));
    }
    (cluster, client)
}

/// Error and values of each partition.
fn read(response: &FetchResponse<'_>) -> Vec<(ErrorCode, Vec<String>)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|p| (p.error_code, values(p.records.as_ref().unwrap().bytes().unwrap()))).collect()
}

/// Error of a fetch of one partition.
fn error(client: &mut Client, request: &FetchRequest<'_>, version: i16) -> ErrorCode {
    read(&client.call(request, version))[0].0
}

#[test]
fn offsets_outside_the_log_are_out_of_range() {
    // F2
    let (_cluster, mut client) = cluster();
    for offset in [-1, 4] {
        let response = client.call(&fetch_request("t", 0, offset, i32::MAX, 1), 12);
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
        assert_eq!((data.high_watermark, data.last_stable_offset, data.log_start_offset), (-1, -1, -1));
    }
    let response = client.call(&fetch_request("t", 0, 3, 0, 1), 12);
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.error_code, data.high_watermark, data.last_stable_offset), (ErrorCode::NONE, 3, 3));
}

#[test]
fn the_first_partition_with_data_gives_a_whole_batch_and_later_ones_only_what_fits() {
    // F4, F5
    let (_cluster, mut client) = cluster();
    client.produce("t", 1, Some(&batch(&["d"])));
    let one = batch(&["a"]).len() as i32;
    let two_partitions = |max_bytes, partition_max_bytes| {
        let mut request = fetch_request("t", 0, 0, 0, 1);
        request.max_bytes = max_bytes;
        let mut first = request.topics[0].partitions[0].clone();
        first.partition_max_bytes = partition_max_bytes;
        let mut second = first.clone();
        second.partition = 1;
        request.topics[0].partitions = vec![first, second];
        request
    };
    let ok = |values: &[&str]| (ErrorCode::NONE, values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
    for (max_bytes, partition_max_bytes, expected) in [
        (0, 0, [ok(&["a"]), ok(&[])]),
        (1, 1 << 20, [ok(&["a"]), ok(&[])]),
        (1 << 20, 0, [ok(&["a"]), ok(&[])]),
        (1 << 20, one, [ok(&["a"]), ok(&["d"])]),
        (1 << 20, 2 * one + 5, [ok(&["a", "b"]), ok(&["d"])]), // no stump of the third
        (3 * one + 5, 1 << 20, [ok(&["a", "b", "c"]), ok(&[])]),
        (1 << 20, 1 << 20, [ok(&["a", "b", "c"]), ok(&["d"])]),
    ] {
        let response = client.call(&two_partitions(max_bytes, partition_max_bytes), 12);
        assert_eq!(read(&response), expected, "{max_bytes} {partition_max_bytes}");
    }
}

#[test]
fn an_error_in_one_partition_answers_at_once_and_spoils_no_other() {
    // F6, Q1, Q2
    let (_cluster, mut client) = cluster();
    let mut request = fetch_request("t", 9, 0, i32::MAX, i32::MAX);
    let mut good = request.topics[0].partitions[0].clone();
    good.partition = 0;
    request.topics[0].partitions.push(good);
    let mut nowhere = request.topics[0].clone();
    nowhere.topic = "nowhere";
    request.topics.push(nowhere);
    let answers = read(&client.call(&request, 12));
    let unknown = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Vec::new());
    assert_eq!(answers[0], unknown);
    assert_eq!(answers[1].1, ["a", "b", "c"]);
    assert_eq!(answers[2..], [unknown.clone(), unknown]);
}

#[test]
fn topics_go_by_id_from_version_13_on() {
    // F7
    let (_cluster, mut client) = cluster();
    let id = client.topic_id("t");
    for (topic_id, expected) in [
        (id, ErrorCode::NONE),
        (Uuid([9; 16]), ErrorCode::UNKNOWN_TOPIC_ID),
        (Uuid::ZERO, ErrorCode::UNKNOWN_TOPIC_ID),
    ] {
        let mut request = fetch_request("", 0, 0, 0, 1);
        request.topics[0].topic_id = topic_id;
        for version in [13, 18] {
            assert_eq!(error(&mut client, &request, version), expected);
        }
    }
}

#[test]
fn a_leader_epoch_that_is_not_ours_is_refused() {
    // F8
    let (_cluster, mut client) = cluster();
    let mut request = fetch_request("t", 0, 0, 0, 1);
    request.topics[0].partitions[0].current_leader_epoch = 1000;
    assert_eq!(error(&mut client, &request, 12), ErrorCode::UNKNOWN_LEADER_EPOCH);
    // a version that cannot say it is not checked
    assert_eq!(error(&mut client, &fetch_request("t", 0, 0, 0, 1), 8), ErrorCode::NONE);
}

#[test]
fn a_reader_of_another_history_is_told_where_it_parts() {
    // F9, R24, R30
    let storage = rohrpost_log::MemoryStorage::new();
    let builder =
        || Cluster::builder().topic("t", 1, 1).data_dir("/d").storage(std::sync::Arc::new(storage.clone()));
    let cluster = builder().start().unwrap();
    Client::of(&cluster).produce("t", 0, Some(&batch(&["a"])));
    cluster.stop().unwrap();
    let cluster = builder().start().unwrap(); // a new leader epoch
    let mut client = Client::of(&cluster);
    client.produce("t", 0, Some(&batch(&["b"])));
    let request = MetadataEpoch::of(&mut client);
    let (now, before) = (request.0, request.0 - 1);
    let fetch = |offset, last_fetched_epoch| {
        let mut request = fetch_request("t", 0, offset, 0, 1);
        request.topics[0].partitions[0].last_fetched_epoch = last_fetched_epoch;
        request
    };
    // epochs as the log knows them: one below `now` ended at offset 1
    assert_eq!(error(&mut client, &fetch(1, before), 12), ErrorCode::NONE);
    assert_eq!(error(&mut client, &fetch(2, now), 12), ErrorCode::NONE);
    let response = client.call(&fetch(2, before), 12);
    let data = &response.responses[0].partitions[0];
    assert_eq!(data.error_code, ErrorCode::NONE);
    assert_eq!(data.diverging_epoch.end_offset, 1);
    assert!(data.diverging_epoch.epoch >= 0 && data.diverging_epoch.epoch <= before);
    assert!(data.records.as_ref().unwrap().is_empty());
    assert_eq!(error(&mut client, &fetch(1, now + 1), 12), ErrorCode::OFFSET_OUT_OF_RANGE);
}

struct MetadataEpoch(i32);

impl MetadataEpoch {
    fn of(client: &mut Client) -> MetadataEpoch {
        use rohrpost_protocol::messages::{MetadataRequest, MetadataRequestTopic};
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name: Some("t"), ..Default::default() }]),
            ..Default::default()
        };
        MetadataEpoch(client.call(&request, 12).topics[0].partitions[0].leader_epoch)
    }
}

#[test]
fn a_broker_without_slots_keeps_no_sessions_and_followers_are_not_known() {
    // F13, F14, F16, F11, F1
    let cluster = Cluster::builder().topic("t", 1, 1);
    let cluster = cluster.config("max.incremental.fetch.session.cache.slots", "0").start().unwrap();
    let mut client = Client::of(&cluster);
    let mut request = fetch_request("t", 0, 0, 0, 1);
    request.session_epoch = 0;
    let response = client.call(&request, 12);
    assert_eq!((response.error_code, response.session_id), (ErrorCode::NONE, 0));
    (request.session_id, request.session_epoch) = (5, -1);
    assert_eq!(error(&mut client, &request, 12), ErrorCode::NONE);
    (request.session_id, request.session_epoch) = (5, 1);
    let response = client.call(&request, 12);
    assert_eq!(response.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    assert!(response.responses.is_empty());

    let mut follower = fetch_request("t", 0, 0, 0, 1);
    follower.replica_id = 2;
    assert_eq!(error(&mut client, &follower, 12), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let mut follower = fetch_request("t", 0, 0, 0, 1);
    follower.topics[0].topic_id = client.topic_id("t");
    follower.replica_state = ReplicaState { replica_id: 2, replica_epoch: 1, ..Default::default() };
    assert_eq!(error(&mut client, &follower, 15), ErrorCode::NOT_LEADER_OR_FOLLOWER);

    let mut isolation = fetch_request("t", 0, 0, 0, 1);
    isolation.isolation_level = 1;
    let response = client.call(&isolation, 12);
    assert_eq!(response.responses[0].partitions[0].aborted_transactions.as_deref(), Some(&[][..])); // F10
    isolation.isolation_level = 2;
    assert_eq!(error(&mut client, &isolation, 12), ErrorCode::INVALID_REQUEST);
}

#[test]
fn a_session_tells_what_has_changed_and_serves_all_in_turn() {
    // F13, F15
    let (_cluster, mut client) = cluster();
    client.produce("t", 1, Some(&batch(&["d"])));
    let topic_id = client.topic_id("t");
    let one = batch(&["a"]).len() as i32;
    let mut request = fetch_request("", 0, 0, 0, 1);
    request.topics[0].topic_id = topic_id;
    let mut second = request.topics[0].partitions[0].clone();
    second.partition = 1;
    request.topics[0].partitions.push(second);
    request.max_bytes = one; // room for one batch
    request.session_epoch = 0;
    let response = client.call(&request, 18);
    assert_eq!(read(&response), [(ErrorCode::NONE, vec!["a".to_owned()]), (ErrorCode::NONE, vec![])]);
    let id = response.session_id;
    // a consumer that has room for one batch, and asks for more where it got something
    request.session_id = id;
    let mut ask = |epoch, partition, fetch_offset| {
        let mut request = request.clone();
        request.session_epoch = epoch;
        request.topics[0].partitions.retain(|asked| asked.partition == partition);
        request.topics[0].partitions[0].fetch_offset = fetch_offset;
        let response = client.call(&request, 18);
        assert_eq!((response.error_code, response.session_id), (ErrorCode::NONE, id));
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        let told: Vec<_> = partitions
            .map(|p| (p.partition_index, values(p.records.as_ref().unwrap().bytes().unwrap())))
            .collect();
        told
    };
    // partition 0 got its share when the session was opened, as the first of the request
    let told = |partition, value: &str| vec![(partition, vec![value.to_owned()])];
    assert_eq!(ask(1, 0, 1), told(0, "b"));
    assert_eq!(ask(2, 0, 2), told(1, "d"), "the other one's turn");
    assert_eq!(ask(3, 1, 1), told(0, "c"));
    assert_eq!(ask(4, 0, 3), []);
}

#[test]
fn a_session_that_waits_is_answered_with_what_came() {
    // F15, W6
    let (cluster, mut client) = cluster();
    let mut request = fetch_request("t", 0, 3, 0, 1);
    let mut second = request.topics[0].partitions[0].clone();
    (second.partition, second.fetch_offset) = (1, 0);
    request.topics[0].partitions.push(second);
    request.session_epoch = 0;
    let id = client.call(&request, 12).session_id;
    let wait = FetchRequest { session_id: id, session_epoch: 1, max_wait_ms: i32::MAX, ..request.clone() };
    let wait = FetchRequest { topics: Vec::new(), ..wait };
    client.send(&wait, 12);
    eventually("the fetch waits", || cluster.log("t", 1).waiting_fetches() == 1);
    Client::of(&cluster).produce("t", 1, Some(&batch(&["e"])));
    let response = client.receive::<FetchRequest<'_>>(12, 0);
    assert_eq!(response.session_id, id);
    assert_eq!(read(&response), [(ErrorCode::NONE, vec!["e".to_owned()])]);
    assert_eq!(response.responses[0].partitions[0].partition_index, 1);
    // names and ids are not mixed
    let by_id = FetchRequest { session_epoch: 2, ..wait };
    let response = client.call(&by_id, 13);
    assert_eq!(response.error_code, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
}
