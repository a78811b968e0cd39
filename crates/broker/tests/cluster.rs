//! A cluster in memory: it starts, serves, waits, and is gone.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use common::*;
use rohrpost_broker::{Cluster, StartError};
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::{
    CreatableTopic, CreateTopicsRequest, DeleteTopicState, DeleteTopicsRequest, FetchRequest,
    InitProducerIdRequest, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, MetadataRequest,
    MetadataRequestTopic,
};
use rohrpost_record::Stamp;

fn assert_send_sync<T: Send + Sync>() {}

#[test]
fn a_cluster_starts_serves_and_is_gone_when_dropped() {
    // E2
    assert_send_sync::<Cluster>();
    let cluster = Cluster::builder().topic("orders", 6, 1).start().unwrap();
    let address = cluster.address();
    assert_eq!(cluster.bootstrap_servers(), format!("127.0.0.1:{}", address.port()));
    let mut client = Client::of(&cluster);
    let produced = client.produce("orders", 3, Some(&batch(&["a", "b"])));
    assert_eq!((produced.error, produced.base_offset), (ErrorCode::NONE, 0));
    assert_eq!(client.produce("orders", 3, Some(&batch(&["c"]))).base_offset, 2);
    assert_eq!(client.fetch("orders", 3, 1), ["a", "b", "c"]); // F3: whole batches
    assert_eq!(log_values(&cluster, "orders", 3), ["a", "b", "c"]);
    assert_eq!(cluster.log("orders", 3).end_offset(), 3);
    assert!(cluster.log("orders", 0).records().is_empty());
    cluster.sync().unwrap();
    drop(cluster);
    client.assert_closed("the cluster is gone"); // N15
    // the port is free at once
    let again = Cluster::builder().listen(address.to_string()).start().unwrap();
    assert_eq!(again.address(), address);
    again.stop().unwrap();
}

#[test]
fn what_cannot_be_started_says_why() {
    let error = Cluster::builder().brokers(3).start().unwrap_err();
    assert!(error.to_string().contains("brokers(3)"), "{error}");
    let error = Cluster::builder().config("num.partitions", "many").start().unwrap_err();
    assert!(error.to_string().contains("num.partitions=many"), "{error}");
    let error = Cluster::builder().topic("a b", 1, 1).start().unwrap_err();
    assert!(error.to_string().contains("a b"), "{error}");
    let error = Cluster::builder().topic("t", 1, 3).start().unwrap_err();
    assert!(error.to_string().contains("38"), "{error}"); // INVALID_REPLICATION_FACTOR
    let other = Cluster::builder().start().unwrap();
    let error = Cluster::builder().listen(other.address().to_string()).start().unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }), "{error}");
    assert!(error.to_string().contains(&other.bootstrap_servers()), "{error}");
}

#[test]
fn a_long_poll_is_completed_by_the_append() {
    // W1, W2, W7, P10
    let cluster = Cluster::builder().topic("t", 2, 1).start().unwrap();
    let mut consumer = Client::of(&cluster);
    let mut producer = Client::of(&cluster);
    consumer.send(&fetch_request("t", 1, 0, i32::MAX, 1), 12);
    eventually("the fetch waits", || cluster.log("t", 1).waiting_fetches() == 1);
    producer.produce("t", 0, Some(&batch(&["elsewhere"])));
    assert_eq!(cluster.log("t", 1).waiting_fetches(), 1);
    producer.produce("t", 1, Some(&batch(&["x"])));
    let response = consumer.receive::<FetchRequest<'_>>(12, 0);
    let data = &response.responses[0].partitions[0];
    assert_eq!(values(data.records.as_ref().unwrap().bytes().unwrap()), ["x"]);
    assert_eq!((data.error_code, data.high_watermark), (ErrorCode::NONE, 1));
    assert_eq!(cluster.log("t", 1).waiting_fetches(), 0);
}

#[test]
fn a_long_poll_waits_until_there_are_enough_bytes() {
    // F6, W6
    let cluster = Cluster::builder().topic("t", 2, 1).start().unwrap();
    let mut consumer = Client::of(&cluster);
    let mut producer = Client::of(&cluster);
    let one = batch(&["12345"]);
    let mut request = fetch_request("t", 0, 0, i32::MAX, 2 * one.len() as i32);
    let mut second = request.topics[0].partitions[0].clone();
    second.partition = 1;
    request.topics[0].partitions = vec![request.topics[0].partitions[0].clone(), second];
    consumer.send(&request, 12);
    eventually("the fetch waits", || cluster.log("t", 1).waiting_fetches() == 1);
    producer.produce("t", 0, Some(&one));
    assert_eq!(cluster.log("t", 0).waiting_fetches(), 1);
    producer.produce("t", 1, Some(&one));
    let response = consumer.receive::<FetchRequest<'_>>(12, 0);
    let bytes: usize =
        response.responses[0].partitions.iter().map(|p| p.records.as_ref().unwrap().len()).sum();
    assert_eq!(bytes, 2 * one.len());
}

#[test]
fn a_long_poll_ends_at_its_deadline_or_with_its_topic() {
    // W6, W7, W8
    let cluster = Cluster::builder().topic("t", 1, 1).start().unwrap();
    let mut consumer = Client::of(&cluster);
    let response = consumer.call(&fetch_request("t", 0, 0, 30, 1), 12);
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.error_code, data.records.as_ref().unwrap().len()), (ErrorCode::NONE, 0));
    assert_eq!(cluster.log("t", 0).waiting_fetches(), 0);

    consumer.send(&fetch_request("t", 0, 0, i32::MAX, 1), 12);
    eventually("the fetch waits", || cluster.log("t", 0).waiting_fetches() == 1);
    cluster.delete_topic("t").unwrap();
    let response = consumer.receive::<FetchRequest<'_>>(12, 0);
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn a_waiting_fetch_is_forgotten_with_its_connection() {
    // W11: nothing is left behind
    let cluster = Cluster::builder().topic("t", 1, 1).start().unwrap();
    let mut consumer = Client::of(&cluster);
    consumer.send(&fetch_request("t", 0, 0, i32::MAX, 1), 12);
    eventually("the fetch waits", || cluster.log("t", 0).waiting_fetches() == 1);
    socket2::SockRef::from(&consumer.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(consumer);
    eventually("the fetch is forgotten", || cluster.log("t", 0).waiting_fetches() == 0);
    drop(cluster);
}

#[test]
fn a_topic_is_created_by_asking_for_its_metadata() {
    // M6
    let cluster = Cluster::builder().config("num.partitions", "3").start().unwrap();
    let mut client = Client::of(&cluster);
    let asked = |name| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(name), ..Default::default() }]),
        ..Default::default()
    };
    let response = client.call(&asked("fresh"), 12);
    assert_eq!(response.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let response = client.call(&asked("fresh"), 12);
    let topic = &response.topics[0];
    assert_eq!((topic.error_code, topic.partitions.len()), (ErrorCode::NONE, 3));
    assert!(topic.partitions.iter().all(|p| p.leader_id == response.brokers[0].node_id));
    assert_eq!(response.brokers[0].port, i32::from(cluster.address().port())); // M8

    let response = client.call(&asked("not/legal"), 12);
    assert_eq!(response.topics[0].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    let only_look = MetadataRequest { allow_auto_topic_creation: false, ..asked("other") };
    for _ in 0..2 {
        let response = client.call(&only_look, 12);
        assert_eq!(response.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    // null asks for all, an empty list for none, and in version 0 for all
    let all = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(client.call(&all, 9).topics.len(), 1);
    let none = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    assert!(client.call(&none, 9).topics.is_empty());
    assert_eq!(client.call(&none, 0).topics.len(), 1);
}

#[test]
fn topics_are_created_and_deleted_by_request_one_answer_each() {
    // Q1, Q2, M2, M4
    let cluster = Cluster::builder().topic("there", 1, 1).start().unwrap();
    let mut client = Client::of(&cluster);
    let topic = |name, num_partitions| CreatableTopic {
        name,
        num_partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest {
        topics: vec![topic("a", 2), topic("there", 1), topic("b", 0), topic("c", -1)],
        timeout_ms: 1000,
        ..Default::default()
    };
    let response = client.call(&create, 7);
    let answers: Vec<_> = response.topics.iter().map(|t| (t.name, t.error_code, t.num_partitions)).collect();
    assert_eq!(
        answers,
        [
            ("a", ErrorCode::NONE, 2),
            ("there", ErrorCode::TOPIC_ALREADY_EXISTS, -1),
            ("b", ErrorCode::INVALID_PARTITIONS, -1),
            ("c", ErrorCode::NONE, 1)
        ]
    );
    let id = response.topics[0].topic_id;
    // M3: it is served the moment the answer is there
    assert_eq!(client.produce("a", 1, Some(&batch(&["x"]))).error, ErrorCode::NONE);
    assert_eq!(client.topic_id("a"), id);

    let delete = DeleteTopicsRequest {
        topics: vec![
            DeleteTopicState { name: None, topic_id: id, ..Default::default() },
            DeleteTopicState { name: Some("nowhere"), ..Default::default() },
            DeleteTopicState { name: Some("c"), topic_id: id, ..Default::default() },
            DeleteTopicState { name: Some("there"), ..Default::default() },
        ],
        ..Default::default()
    };
    let response = client.call(&delete, 6);
    let answers: Vec<_> = response.responses.iter().map(|t| (t.name, t.error_code)).collect();
    assert_eq!(
        answers,
        [
            (Some("a"), ErrorCode::NONE),
            (Some("nowhere"), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            (Some("c"), ErrorCode::INVALID_REQUEST),
            (Some("there"), ErrorCode::NONE)
        ]
    );
    let gone = client.produce("a", 1, Some(&batch(&["x"])));
    assert_eq!(gone.error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn producer_ids_are_new_every_time() {
    let cluster = Cluster::builder().start().unwrap();
    let mut client = Client::of(&cluster);
    let mut ids: Vec<i64> = (0..1500).map(|_| client.producer_id()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1500);
    let half = InitProducerIdRequest {
        transactional_id: None,
        producer_id: 5,
        producer_epoch: -1,
        ..Default::default()
    };
    assert_eq!(client.call(&half, 4).error_code, ErrorCode::INVALID_REQUEST);
    let transactional =
        InitProducerIdRequest { transactional_id: Some("tx"), producer_epoch: -1, ..Default::default() };
    assert_eq!(client.call(&transactional, 4).error_code, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
}

#[test]
fn offsets_are_listed_by_name_and_by_time() {
    // O1, O2, O3, O5
    let cluster = Cluster::builder().topic("t", 1, 1).start().unwrap();
    let mut client = Client::of(&cluster);
    for (n, timestamp) in [NOW, NOW + 10, NOW + 5].into_iter().enumerate() {
        let bytes = build(&[&format!("{n}")], Stamp::NONE, timestamp);
        assert_eq!(client.produce("t", 0, Some(&bytes)).error, ErrorCode::NONE);
    }
    let mut ask = |timestamps: &[i64], version| {
        let partitions: Vec<_> = timestamps
            .iter()
            .map(|timestamp| ListOffsetsPartition { timestamp: *timestamp, ..Default::default() })
            .collect();
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic { name: "t", partitions, ..Default::default() }],
            ..Default::default()
        };
        let response = client.call(&request, version);
        let partitions = &response.topics[0].partitions;
        partitions.iter().map(|p| (p.error_code, p.offset, p.timestamp)).collect::<Vec<_>>()
    };
    assert_eq!(ask(&[-1], 7), [(ErrorCode::NONE, 3, -1)]);
    assert_eq!(ask(&[-2], 7), [(ErrorCode::NONE, 0, -1)]);
    assert_eq!(ask(&[-3], 7), [(ErrorCode::NONE, 1, NOW + 10)]);
    assert_eq!(ask(&[-3], 6), [(ErrorCode::UNSUPPORTED_VERSION, -1, -1)]);
    assert_eq!(ask(&[-4], 8), [(ErrorCode::NONE, 0, -1)]);
    assert_eq!(ask(&[-5], 9), [(ErrorCode::NONE, -1, -1)]);
    assert_eq!(ask(&[-7], 11), [(ErrorCode::UNSUPPORTED_VERSION, -1, -1)]);
    assert_eq!(ask(&[NOW + 1], 7), [(ErrorCode::NONE, 1, NOW + 10)]);
    assert_eq!(ask(&[NOW + 11], 7), [(ErrorCode::NONE, -1, -1)]);
    let twice = ask(&[-1, -2], 7);
    assert!(twice.iter().all(|(error, ..)| *error == ErrorCode::INVALID_REQUEST));
}

#[test]
fn the_advertised_address_is_one_that_clients_can_reach() {
    // N14, E4
    let told = |pairs: &[(&str, &str)], listen: &str| {
        let mut builder = Cluster::builder().listen(listen);
        for (key, value) in pairs {
            builder = builder.config(*key, *value);
        }
        let cluster = builder.start().unwrap();
        let mut client = Client::connect(([127, 0, 0, 1], cluster.address().port()).into());
        let response = client.call(&MetadataRequest { topics: Some(Vec::new()), ..Default::default() }, 9);
        let broker = &response.brokers[0];
        assert_eq!(cluster.bootstrap_servers(), format!("{}:{}", broker.host, broker.port));
        (broker.host.to_owned(), broker.port == i32::from(cluster.address().port()))
    };
    assert_eq!(told(&[], "127.0.0.1:0"), ("127.0.0.1".to_owned(), true));
    let localhost = [("advertised.listeners", "PLAINTEXT://localhost:0")];
    assert_eq!(told(&localhost, "0.0.0.0:0"), ("localhost".to_owned(), true));
    let (name, _) = told(&[], "0.0.0.0:0");
    assert!(!name.is_empty() && name != "0.0.0.0");
}

#[test]
fn a_client_is_told_the_end_points_of_the_listener_it_came_in_on() {
    // M8, E4
    let cluster = Cluster::builder()
        .config("listeners", "INSIDE://127.0.0.1:0,OUTSIDE://127.0.0.1:0")
        .config("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT")
        .config("advertised.listeners", "INSIDE://inside.example:0,OUTSIDE://outside.example:19092")
        .topic("t", 1, 1)
        .start()
        .unwrap();
    let listeners: Vec<_> =
        cluster.server().listeners().map(|one| (one.name.to_owned(), one.bound)).collect();
    assert_eq!(listeners.len(), 2);
    for (name, address) in listeners {
        let mut client = Client::connect(address);
        let response = client.call(&MetadataRequest::default(), 9);
        let broker = &response.brokers[0];
        let expected = match name.as_str() {
            "INSIDE" => ("inside.example", i32::from(address.port())),
            _ => ("outside.example", 19092),
        };
        assert_eq!((broker.host, broker.port), expected, "through {name}");
        assert_eq!(client.produce("t", 0, Some(&batch(&["x"]))).error, ErrorCode::NONE);
    }
    assert_eq!(log_values(&cluster, "t", 0).len(), 2);
}

#[test]
fn silent_producers_are_forgotten() {
    // I9, I6
    let cluster = Cluster::builder()
        .topic("t", 1, 1)
        .config("producer.id.expiration.ms", "1")
        .config("producer.id.expiration.check.interval.ms", "1")
        .start()
        .unwrap();
    let mut client = Client::of(&cluster);
    let by = |base_sequence| Stamp { producer_id: 5, producer_epoch: 0, base_sequence };
    assert_eq!(client.produce("t", 0, Some(&stamped(&["x"], by(0)))).error, ErrorCode::NONE);
    // a gap is accepted from a producer that nobody knows
    let later = stamped(&["y"], by(70));
    eventually("the producer is forgotten", || client.produce("t", 0, Some(&later)).error == ErrorCode::NONE);
}
