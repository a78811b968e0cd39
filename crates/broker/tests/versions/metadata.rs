//! Metadata.

use rohrpost_broker::Cluster;
use rohrpost_protocol::messages::{MetadataRequest, MetadataRequestTopic};
use rohrpost_protocol::{ApiKey, ErrorCode, Uuid};

use crate::bench::*;

pub(crate) fn metadata<'a>(
    topics: Option<Vec<MetadataRequestTopic<'a>>>,
    version: i16,
) -> MetadataRequest<'a> {
    MetadataRequest {
        topics,
        include_cluster_authorized_operations: (8..=10).contains(&version),
        include_topic_authorized_operations: version >= 8,
        ..Default::default()
    }
}

pub(crate) fn named(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic { name: Some(name), ..Default::default() }
}

/// Q1, Q2, M6, M7, M8
pub(crate) fn answers(bench: &mut Bench, version: i16) {
    let (epoch, node_id) = (bench.epoch, bench.node_id);
    let ids: Vec<_> = TOPICS.iter().map(|(name, ..)| bench.client.topic_id(name)).collect();
    let port = i32::from(bench.cluster.address().port());
    let all = || Some(TOPICS.iter().map(|(name, ..)| named(name)).collect());
    let response = bench.client.call(&metadata(all(), version), version);
    let [broker] = &response.brokers[..] else { panic!("one broker") };
    assert_eq!((broker.node_id, broker.host, broker.port), (node_id, "127.0.0.1", port));
    assert_eq!(response.cluster_id.is_some(), version >= 2);
    assert_eq!(response.controller_id, if version >= 1 { node_id } else { -1 });
    assert_eq!(response.error_code, ErrorCode::NONE);
    assert_eq!(response.topics.len(), TOPICS.len());
    for ((topic, (name, count, _)), id) in response.topics.iter().zip(TOPICS).zip(&ids) {
        assert_eq!((topic.name, topic.error_code), (Some(name), ErrorCode::NONE));
        assert_eq!(topic.topic_id, if version >= 10 { *id } else { Uuid::ZERO });
        assert_eq!(topic.is_internal, version >= 1 && name == "__consumer_offsets");
        assert_eq!(topic.partitions.len(), count as usize);
        for (partition, index) in topic.partitions.iter().zip(0..) {
            assert_eq!((partition.partition_index, partition.error_code), (index, ErrorCode::NONE));
            assert_eq!((partition.leader_id, &partition.isr_nodes[..]), (node_id, &[node_id][..]));
            assert_eq!((&partition.replica_nodes[..], partition.offline_replicas.len()), (&[node_id][..], 0));
            assert_eq!(partition.leader_epoch, if version >= 7 { epoch } else { -1 });
        }
    }
    // null and empty
    if version >= 1 {
        let response = bench.client.call(&metadata(None, version), version);
        assert_eq!(response.topics.len(), TOPICS.len());
    }
    let response = bench.client.call(&metadata(Some(Vec::new()), version), version);
    assert_eq!(response.topics.len(), if version == 0 { TOPICS.len() } else { 0 });
    assert_eq!(response.brokers.len(), 1);

    // errors, and good ones among them
    let mut topics = vec![named("nowhere"), named("t"), named("a/b"), named(""), named("t"), named("..")];
    let mut expected = vec![
        (Some("nowhere"), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 0),
        (Some("t"), ErrorCode::NONE, 3),
        (Some("a/b"), ErrorCode::INVALID_TOPIC_EXCEPTION, 0),
        (Some(""), ErrorCode::INVALID_TOPIC_EXCEPTION, 0),
        (Some("t"), ErrorCode::NONE, 3),
        (Some(".."), ErrorCode::INVALID_TOPIC_EXCEPTION, 0),
    ];
    if version >= 10 {
        // names may be null, ids be there; before 12 they are not served, and names in answers are not null
        let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None, ..Default::default() };
        let both = MetadataRequestTopic { topic_id: ids[0], ..named("t") };
        topics.extend([by_id(ids[0]), by_id(UNKNOWN_ID), by_id(Uuid::ZERO), both, named("keyed")]);
        let refused = |name| (name, ErrorCode::INVALID_REQUEST, 0);
        let unknown = (None, ErrorCode::UNKNOWN_TOPIC_ID, 0);
        let found = (Some("t"), ErrorCode::NONE, 3);
        expected.extend(if version < 12 {
            [refused(Some("")), refused(Some("")), refused(Some("")), refused(Some("t"))]
        } else {
            [found, unknown, unknown, found]
        });
        expected.push((Some("keyed"), ErrorCode::NONE, 1));
    }
    let response = bench.client.call(&metadata(Some(topics), version), version);
    let answers: Vec<_> =
        response.topics.iter().map(|t| (t.name, t.error_code, t.partitions.len())).collect();
    assert_eq!(answers, expected);
}

#[test]
fn a_missing_topic_is_created_in_every_version_that_may() {
    // M6: up to version 3 there is no way to say that it must not
    let mut bench = Bench::on(Cluster::builder().start().unwrap());
    let (_, min, max) = *bench.advertised().iter().find(|(api, ..)| *api == ApiKey::Metadata).unwrap();
    for version in min..=max {
        for allowed in [true, false] {
            if version < 4 && !allowed {
                continue;
            }
            let name = format!("new-{version}-{allowed}");
            let request = MetadataRequest {
                allow_auto_topic_creation: allowed,
                ..metadata(Some(vec![named(&name), named("a/b"), named(&name)]), version)
            };
            let mut ask = || {
                let response = bench.client.call(&request, version);
                response.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>()
            };
            let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            let invalid = ErrorCode::INVALID_TOPIC_EXCEPTION;
            assert_eq!(ask(), [unknown, invalid, unknown], "version {version}");
            let then = if allowed { ErrorCode::NONE } else { unknown };
            assert_eq!(ask(), [then, invalid, then], "version {version}, allowed: {allowed}");
        }
    }
}
