//! CreateTopics and DeleteTopics.

use rohrpost_broker::Cluster;
use rohrpost_protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use rohrpost_protocol::messages::{CreateTopicsRequest, DeleteTopicState, DeleteTopicsRequest};
use rohrpost_protocol::{ApiKey, ErrorCode, Uuid};
use rohrpost_record::Stamp;

use crate::bench::*;
use crate::common::*;

pub(crate) fn new_topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic<'_> {
    CreatableTopic { name, num_partitions, replication_factor, ..Default::default() }
}

pub(crate) fn topic_config<'a>(name: &'a str, value: Option<&'a str>) -> CreatableTopicConfig<'a> {
    CreatableTopicConfig { name, value, ..Default::default() }
}

fn assigned<'a>(name: &'a str, num_partitions: i32, partitions: &[&[i32]]) -> CreatableTopic<'a> {
    let assignments = partitions.iter().zip(0..).map(|(broker_ids, partition_index)| {
        CreatableReplicaAssignment { partition_index, broker_ids: (*broker_ids).into(), ..Default::default() }
    });
    CreatableTopic { assignments: assignments.collect(), ..new_topic(name, num_partitions, -1) }
}

/// Q1, Q2, M1, M2, M3
pub(crate) fn create_answers(bench: &mut Bench, version: i16) {
    let node_id = bench.node_id;
    let names = ["a", "b", "c", "d"].map(|name| format!("{name}{version}"));
    let [a, b, c, d] = names.each_ref().map(String::as_str);
    let compacted = CreatableTopic {
        configs: vec![
            topic_config("cleanup.policy", Some("compact")),
            topic_config("retention.ms", Some("5")),
        ],
        ..new_topic(a, 3, 1)
    };
    let topics = vec![compacted, new_topic(b, -1, -1), assigned(c, -1, &[&[node_id], &[node_id]])];
    for validate_only in [true, false] {
        let request = CreateTopicsRequest { topics: topics.clone(), validate_only, ..Default::default() };
        let response = bench.client.call(&request, version);
        let answers: Vec<_> =
            response.topics.iter().map(|t| (t.name, t.error_code, t.error_message)).collect();
        assert_eq!(answers, [a, b, c].map(|name| (name, ErrorCode::NONE, None)));
        let counts: Vec<_> =
            response.topics.iter().map(|t| (t.num_partitions, t.replication_factor)).collect();
        assert_eq!(counts, if version >= 5 { [(3, 1), (1, 1), (2, 1)] } else { [(-1, -1); 3] });
        let configs: Vec<_> = response.topics[0].configs.iter().flatten().collect();
        let policy = configs.iter().find(|config| config.name == "cleanup.policy");
        let policy = policy.map(|config| (config.value, config.config_source));
        assert_eq!(policy, (version >= 5).then_some((Some("compact"), 1)));
        let ids: Vec<_> = response.topics.iter().map(|t| t.topic_id).collect();
        assert_eq!(ids.contains(&Uuid::ZERO), validate_only || version < 7);
        let partitions = [a, b, c].map(|name| match bench.client.topic_id(name) {
            Uuid::ZERO => -1,
            id if version >= 7 && !ids.contains(&id) => panic!("another id than the answer's"),
            _ => bench.client.produce(name, 0, Some(&rich(NOW, Stamp::NONE))).base_offset,
        });
        assert_eq!(partitions, if validate_only { [-1; 3] } else { [0; 3] });
    }

    // errors, and a good one among them
    let with = |config| CreatableTopic { configs: vec![config], ..new_topic("x", 1, 1) };
    let rename = |name, topic| CreatableTopic { name, ..topic };
    let topics = vec![
        (new_topic("t", 1, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (new_topic("x1", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (new_topic("x2", -2, 1), ErrorCode::INVALID_PARTITIONS),
        (new_topic("x3", 1, 2), ErrorCode::INVALID_REPLICATION_FACTOR),
        (new_topic("x4", 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (assigned("x5", -1, &[&[node_id + 7]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned("x6", -1, &[&[node_id, node_id]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned("x7", 1, &[&[node_id]]), ErrorCode::INVALID_REQUEST),
        (rename("x8", with(topic_config("no.such.key", Some("1")))), ErrorCode::INVALID_CONFIG),
        (rename("x9", with(topic_config("retention.ms", Some("soon")))), ErrorCode::INVALID_CONFIG),
        (rename("x10", with(topic_config("retention.ms", None))), ErrorCode::INVALID_CONFIG),
        (new_topic(d, 1, 1), ErrorCode::NONE),
        (new_topic("", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (new_topic("a/b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (new_topic("__consumer.offsets", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (new_topic("twice", 1, 1), ErrorCode::INVALID_REQUEST),
        (new_topic("twice", 2, 1), ErrorCode::INVALID_REQUEST),
    ];
    let expected: Vec<_> = topics.iter().map(|(topic, error)| (topic.name, *error)).collect();
    let topics = topics.iter().map(|(topic, _)| topic.clone()).collect();
    let response = bench.client.call(&CreateTopicsRequest { topics, ..Default::default() }, version);
    let answers: Vec<_> = response.topics.iter().map(|t| (t.name, t.error_code)).collect();
    assert_eq!(answers, expected);
    for topic in &response.topics {
        assert_eq!(topic.error_message.is_some(), topic.error_code.is_error(), "{}", topic.name);
    }
    let nothing = CreateTopicsRequest::default();
    assert!(bench.client.call(&nothing, version).topics.is_empty());
}

/// The topics by name or, from version 6 on, by name or id.
pub(crate) fn delete<'a>(topics: &[(Option<&'a str>, Uuid)], version: i16) -> DeleteTopicsRequest<'a> {
    if version < 6 {
        let topic_names = topics.iter().map(|(name, _)| name.unwrap()).collect();
        return DeleteTopicsRequest { topic_names, timeout_ms: 1000, ..Default::default() };
    }
    let state = |&(name, topic_id): &_| DeleteTopicState { name, topic_id, ..Default::default() };
    DeleteTopicsRequest { topics: topics.iter().map(state).collect(), timeout_ms: 1000, ..Default::default() }
}

/// Q1, Q2, M4
pub(crate) fn delete_answers(bench: &mut Bench, version: i16) {
    let by_name = |name| (Some(name), Uuid::ZERO);
    let names = ["a", "b", "c", "d"].map(|name| format!("{name}{version}"));
    let [a, b, c, d] = names.each_ref().map(String::as_str);
    let [id_a, id_b, id_c, id_d] = [a, b, c, d].map(|name| {
        bench.cluster.create_topic(name, 2, 1).unwrap();
        bench.client.produce(name, 1, Some(&rich(NOW, Stamp::NONE)));
        bench.client.topic_id(name)
    });
    let mut topics =
        vec![by_name(a), by_name("nowhere"), by_name(b), by_name("t"), by_name("t"), by_name("a/b")];
    let ok = |name, id| (Some(name), id, ErrorCode::NONE);
    let unknown = |name| (Some(name), Uuid::ZERO, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let invalid = |name, id| (name, id, ErrorCode::INVALID_REQUEST);
    let twice = invalid(Some("t"), Uuid::ZERO);
    let mut expected = vec![ok(a, id_a), unknown("nowhere"), ok(b, id_b), twice, twice, unknown("a/b")];
    if version >= 6 {
        topics.extend([(None, id_c), (None, UNKNOWN_ID), (None, Uuid::ZERO), (Some(d), id_d)]);
        expected.extend([
            ok(c, id_c),
            (None, UNKNOWN_ID, ErrorCode::UNKNOWN_TOPIC_ID),
            invalid(None, Uuid::ZERO),
            invalid(Some(d), id_d),
        ]);
    } else {
        expected.iter_mut().for_each(|(_, id, _)| *id = Uuid::ZERO);
    }
    let response = bench.client.call(&delete(&topics, version), version);
    let answers: Vec<_> = response.responses.iter().map(|t| (t.name, t.topic_id, t.error_code)).collect();
    assert_eq!(answers, expected);
    for topic in &response.responses {
        assert_eq!(topic.error_message.is_some(), version >= 5 && topic.error_code.is_error());
    }
    let left = [a, b, c, d].map(|name| !bench.client.topic_id(name).is_zero());
    assert_eq!(left, [false, false, version < 6, true]);
    assert!(bench.client.call(&delete(&[], version), version).responses.is_empty());
}

#[test]
fn a_deletion_that_is_forbidden_is_answered_in_every_version() {
    // M4
    let cluster = Cluster::builder().topic("t", 1, 1).config("delete.topic.enable", "false").start().unwrap();
    let mut bench = Bench::on(cluster);
    let (_, min, max) = *bench.advertised().iter().find(|(api, ..)| *api == ApiKey::DeleteTopics).unwrap();
    for version in min..=max {
        let request = delete(&[(Some("t"), Uuid::ZERO), (Some("nowhere"), Uuid::ZERO)], version);
        let response = bench.client.call(&request, version);
        let answers: Vec<_> = response.responses.iter().map(|t| (t.name.unwrap(), t.error_code)).collect();
        let forbidden = ErrorCode::TOPIC_DELETION_DISABLED;
        assert_eq!(answers, [("t", forbidden), ("nowhere", forbidden)], "version {version}");
    }
}
