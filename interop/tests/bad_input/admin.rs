//! Metadata, topics, settings, producer ids, and what else is asked about a cluster.

use rohrpost_interop::duel::{Side, Step};
use rohrpost_protocol::messages::create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic};
use rohrpost_protocol::messages::create_topics::{CreatableReplicaAssignment, CreatableTopicConfig};
use rohrpost_protocol::messages::delete_topics::DeleteTopicState;
use rohrpost_protocol::messages::describe_configs::DescribeConfigsResource;
use rohrpost_protocol::messages::describe_topic_partitions::{Cursor, TopicRequest};
use rohrpost_protocol::messages::elect_leaders::TopicPartitions;
use rohrpost_protocol::messages::{
    AlterConfigsRequest, CreatableTopic, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeTopicPartitionsRequest, ElectLeadersRequest,
    FindCoordinatorRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, MetadataRequest,
    MetadataRequestTopic, alter_configs, incremental_alter_configs,
};

use crate::cases::Cases;
use crate::produce::odd_id;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// 250 characters.
const LONG_NAME: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234\
567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901\
234567890123456789012345678901234567890123456789";

pub(crate) fn add(cases: &mut Cases) {
    metadata(cases);
    create_topics(cases);
    delete_topics(cases);
    create_partitions(cases);
    describe_configs(cases);
    alter_configs(cases);
    producer_ids(cases);
    others(cases);
}

/// M6, M7.
fn metadata(cases: &mut Cases) {
    for version in [0, 1, 4, 5, 7, 8, 9, 10, 12, 13] {
        let mut named = |input: &str, names: &'static [&'static str]| {
            let step = Step::of(version, move || MetadataRequest {
                topics: Some(names.iter().map(|name| by_name(name)).collect()),
                allow_auto_topic_creation: version < 4,
                ..Default::default()
            });
            cases.add("Metadata", input, version, vec![step]);
        };
        named("a bad name", &["a/b"]);
        named("an empty name", &[""]);
        named("name '..'", &[".."]);
        named("good and bad names", &["append-time", "a/b", "append-time"]);
        if version >= 1 {
            named("no topics", &[]);
        }
        if version >= 4 {
            named("an unknown topic", &["unknown"]);
        }
        if version >= 10 {
            let unknown = Step::of(version, || by_id(odd_id()));
            cases.add("Metadata", "an unknown id", version, vec![unknown]);
            let known = Step::with(version, |side: &Side, _| by_id(side.id("append-time")));
            cases.add("Metadata", "a known id", version, vec![known]);
            let neither = Step::of(version, || by_id(Default::default()));
            cases.add("Metadata", "neither name nor id", version, vec![neither]);
            let both = Step::with(version, |side: &Side, _| {
                let mut request = by_id(side.id("append-time"));
                if let Some(topics) = &mut request.topics {
                    topics[0].name = Some("bad");
                }
                request
            });
            cases.add("Metadata", "a name and another topic's id", version, vec![both]);
        }
    }
}

/// M1, M2.
fn create_topics(cases: &mut Cases) {
    // what a success answers is told by the topics that the other cases use; here nothing is made
    for version in [2, 4, 5, 7] {
        let mut case = |input: &str, topics: fn() -> Vec<CreatableTopic<'static>>, validate_only: bool| {
            let step = Step::of(version, move || CreateTopicsRequest {
                topics: topics(),
                timeout_ms: 10_000,
                validate_only,
                ..Default::default()
            });
            cases.add("CreateTopics", input, version, vec![step]);
        };
        case("exists", || vec![topic("bad")], false);
        case("exists, validate only", || vec![topic("bad")], true);
        case("a bad name", || vec![topic("a/b")], false);
        case("an empty name", || vec![topic("")], false);
        case("name '.'", || vec![topic(".")], false);
        case("a name of 250 characters", || vec![topic(LONG_NAME)], false);
        case("a name that collides", || vec![topic("_.consumer_offsets")], true);
        case("names that collide with each other", || vec![topic("new.topic"), topic("new_topic")], true);
        case("0 partitions", || vec![CreatableTopic { num_partitions: 0, ..topic("new") }], false);
        case("-2 partitions", || vec![CreatableTopic { num_partitions: -2, ..topic("new") }], false);
        case("factor 0", || vec![CreatableTopic { replication_factor: 0, ..topic("new") }], false);
        case("factor -2", || vec![CreatableTopic { replication_factor: -2, ..topic("new") }], false);
        case(
            "factor above the number of brokers",
            || vec![CreatableTopic { replication_factor: 5, ..topic("new") }],
            false,
        );
        case("assigned to an unknown broker", || vec![assigned("new", &[(0, &[99])])], false);
        case("assigned with a gap", || vec![assigned("new", &[(0, &[1]), (2, &[1])])], false);
        case("assigned to a broker twice", || vec![assigned("new", &[(0, &[1, 1])])], false);
        case("assigned to nobody", || vec![assigned("new", &[(0, &[])])], false);
        case("assigned unevenly", || vec![assigned("new", &[(0, &[1]), (1, &[1, 2])])], false);
        case("a partition assigned twice", || vec![assigned("new", &[(0, &[1]), (0, &[1])])], false);
        case(
            "a count and an assignment",
            || vec![CreatableTopic { num_partitions: 1, ..assigned("new", &[(0, &[1])]) }],
            false,
        );
        case(
            "a factor and an assignment",
            || vec![CreatableTopic { replication_factor: 1, ..assigned("new", &[(0, &[1])]) }],
            false,
        );
        case("an unknown setting", || vec![with("new", "no.such.setting", Some("1"))], false);
        case("a bad value", || vec![with("new", "retention.ms", Some("soon"))], false);
        case("a value out of range", || vec![with("new", "segment.bytes", Some("1"))], false);
        case("a setting without a value", || vec![with("new", "retention.ms", None)], false);
        case("an empty policy, validate only", || vec![with("new", "cleanup.policy", Some(""))], true);
        case("an unknown policy", || vec![with("new", "cleanup.policy", Some("burn"))], false);
        case("an unknown codec", || vec![with("new", "compression.type", Some("rar"))], false);
        case("named twice", || vec![topic("new"), topic("new")], false);
        case("good and bad", || vec![topic("a/b"), topic("bad")], false);
        case("the metadata topic", || vec![topic("__cluster_metadata")], false);
        case("no topics", Vec::new, false);
    }
}

/// M4.
fn delete_topics(cases: &mut Cases) {
    for version in [1, 4, 5, 6] {
        let mut named = |input: &str, names: &'static [&'static str]| {
            let step = Step::of(version, move || {
                let state = |name: &&'static str| DeleteTopicState { name: Some(name), ..Default::default() };
                DeleteTopicsRequest {
                    topics: if version >= 6 { names.iter().map(state).collect() } else { Vec::new() },
                    topic_names: if version >= 6 { Vec::new() } else { names.to_vec() },
                    timeout_ms: 10_000,
                    ..Default::default()
                }
            });
            cases.add("DeleteTopics", input, version, vec![step]);
        };
        named("an unknown topic", &["unknown"]);
        named("an unknown topic twice", &["unknown", "unknown"]);
        named("a bad name", &["a/b"]);
        named("no topics", &[]);
    }
    let mut states = |input: &str, make: fn(&Side) -> DeleteTopicState<'static>| {
        let step = Step::with(6, move |side: &Side, _| DeleteTopicsRequest {
            topics: vec![make(side)],
            timeout_ms: 10_000,
            ..Default::default()
        });
        cases.add("DeleteTopics", input, 6, vec![step]);
    };
    states("an unknown id", |_| DeleteTopicState { topic_id: odd_id(), ..Default::default() });
    states("neither name nor id", |_| DeleteTopicState::default());
    states("name and id", |side| DeleteTopicState {
        name: Some("bad"),
        topic_id: side.id("bad"),
        ..Default::default()
    });
}

/// M5.
fn create_partitions(cases: &mut Cases) {
    for version in [0, 2, 3] {
        let mut case =
            |input: &str, name: &'static str, count: i32, assigned: Option<&'static [&'static [i32]]>| {
                let step = Step::of(version, move || CreatePartitionsRequest {
                    topics: vec![CreatePartitionsTopic {
                        name,
                        count,
                        assignments: assigned.map(|assigned| {
                            let one = |brokers: &&[i32]| CreatePartitionsAssignment {
                                broker_ids: (*brokers).into(),
                                ..Default::default()
                            };
                            assigned.iter().map(one).collect()
                        }),
                        ..Default::default()
                    }],
                    timeout_ms: 10_000,
                    ..Default::default()
                });
                cases.add("CreatePartitions", input, version, vec![step]);
            };
        case("as many as there are", "small-limits", 1, None);
        case("fewer than there are", "bad", 1, None);
        case("0", "bad", 0, None);
        case("-1", "bad", -1, None);
        case("of an unknown topic", "unknown", 5, None);
        case("assigned to an unknown broker", "__consumer_offsets", 1000, Some(&[&[99]]));
        case("too few assigned", "small-messages", 1000, Some(&[&[1]]));
        case("none assigned", "small-messages", 1000, Some(&[]));
    }
    let twice = Step::of(3, || CreatePartitionsRequest {
        topics: vec![
            CreatePartitionsTopic { name: "bad", count: 2000, assignments: None, ..Default::default() },
            CreatePartitionsTopic { name: "bad", count: 2001, assignments: None, ..Default::default() },
        ],
        timeout_ms: 10_000,
        ..Default::default()
    });
    cases.add("CreatePartitions", "a topic twice", 3, vec![twice]);
}

/// M9.
fn describe_configs(cases: &mut Cases) {
    for version in 1..=4 {
        let mut case =
            |input: &str, resource_type: i8, resource_name: &'static str, keys: &'static [&'static str]| {
                let step = Step::of(version, move || DescribeConfigsRequest {
                    resources: vec![DescribeConfigsResource {
                        resource_type,
                        resource_name,
                        configuration_keys: Some(keys.to_vec()),
                        ..Default::default()
                    }],
                    include_synonyms: true,
                    ..Default::default()
                });
                cases.add("DescribeConfigs", input, version, vec![step]);
            };
        case("a setting of a topic", TOPIC, "small-messages", &["max.message.bytes"]);
        case("a default of a topic", TOPIC, "small-messages", &["segment.ms"]);
        case("a default of a topic without others", TOPIC, "small-messages", &["max.compaction.lag.ms"]);
        case("an unknown setting", TOPIC, "small-messages", &["no.such.setting"]);
        case("an unknown topic", TOPIC, "unknown", &["retention.ms"]);
        case("a bad topic name", TOPIC, "a/b", &["retention.ms"]);
        case("an empty topic name", TOPIC, "", &["retention.ms"]);
        case("a setting of a broker", BROKER, "1", &["log.retention.hours"]);
        case("an unknown broker", BROKER, "99", &["log.retention.hours"]);
        case("a broker that is no number", BROKER, "one", &["log.retention.hours"]);
        case("resource type 0", 0, "x", &[]);
        case("resource type 99", 99, "x", &[]);
        case("resource type -1", -1, "x", &[]);
    }
}

/// M10. Nothing here changes anything on either side.
fn alter_configs(cases: &mut Cases) {
    for version in 0..=1 {
        let mut case = |input: &str,
                        kind: i8,
                        name: &'static str,
                        set: &'static [(&'static str, i8, Option<&'static str>)]| {
            let step = Step::of(version, move || IncrementalAlterConfigsRequest {
                resources: vec![incremental_alter_configs::AlterConfigsResource {
                    resource_type: kind,
                    resource_name: name,
                    configs: set
                        .iter()
                        .map(|&(name, config_operation, value)| incremental_alter_configs::AlterableConfig {
                            name,
                            config_operation,
                            value,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                }],
                validate_only: false,
                ..Default::default()
            });
            cases.add("IncrementalAlterConfigs", input, version, vec![step]);
        };
        case("an unknown setting", TOPIC, "no-past", &[("no.such.setting", 0, Some("1"))]);
        case("a bad value", TOPIC, "no-past", &[("retention.ms", 0, Some("soon"))]);
        case("a value out of range", TOPIC, "no-past", &[("segment.bytes", 0, Some("1"))]);
        case(
            "a good and a bad value",
            TOPIC,
            "no-past",
            &[("retention.ms", 0, Some("1000")), ("segment.bytes", 0, Some("x"))],
        );
        case("append to what is no list", TOPIC, "no-past", &[("retention.ms", 2, Some("1"))]);
        case("set to null", TOPIC, "no-past", &[("retention.ms", 0, None)]);
        case("operation 9", TOPIC, "no-past", &[("retention.ms", 9, Some("1"))]);
        case(
            "a setting twice",
            TOPIC,
            "no-past",
            &[("retention.ms", 0, Some("1")), ("retention.ms", 0, Some("2"))],
        );
        case("an unknown topic", TOPIC, "unknown", &[("retention.ms", 0, Some("1"))]);
        case("an empty topic name", TOPIC, "", &[("retention.ms", 0, Some("1"))]);
        case("an unknown broker", BROKER, "99", &[("log.retention.ms", 0, Some("1"))]);
        case("a broker that is no number", BROKER, "one", &[("log.retention.ms", 0, Some("1"))]);
        case("a setting that needs a restart", BROKER, "1", &[("log.dirs", 0, Some("/x"))]);
        case("resource type 0", 0, "x", &[("retention.ms", 0, Some("1"))]);
        case("resource type 99", 99, "x", &[("retention.ms", 0, Some("1"))]);
    }
    let twice = Step::of(1, || {
        let resource = |value| incremental_alter_configs::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "no-past",
            configs: vec![incremental_alter_configs::AlterableConfig {
                name: "retention.ms",
                value: Some(value),
                ..Default::default()
            }],
            ..Default::default()
        };
        let resources = vec![resource("1"), resource("2")];
        IncrementalAlterConfigsRequest { resources, validate_only: false, ..Default::default() }
    });
    cases.add("IncrementalAlterConfigs", "a topic twice", 1, vec![twice]);
    for version in [0, 2] {
        let mut case =
            |input: &str, kind: i8, name: &'static str, set: (&'static str, Option<&'static str>)| {
                let step = Step::of(version, move || AlterConfigsRequest {
                    resources: vec![alter_configs::AlterConfigsResource {
                        resource_type: kind,
                        resource_name: name,
                        configs: vec![alter_configs::AlterableConfig {
                            name: set.0,
                            value: set.1,
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    validate_only: false,
                    ..Default::default()
                });
                cases.add("AlterConfigs", input, version, vec![step]);
            };
        case("an unknown setting", TOPIC, "no-past", ("no.such.setting", Some("1")));
        case("a bad value", TOPIC, "no-past", ("retention.ms", Some("soon")));
        case("set to null", TOPIC, "no-past", ("retention.ms", None));
        case("an unknown topic", TOPIC, "unknown", ("retention.ms", Some("1")));
        case("resource type 99", 99, "x", ("retention.ms", Some("1")));
    }
}

fn producer_ids(cases: &mut Cases) {
    for version in 0..=5 {
        let mut case =
            |input: &str, transactional_id: Option<&'static str>, timeout: i32, id: i64, epoch: i16| {
                let step = Step::of(version, move || InitProducerIdRequest {
                    transactional_id,
                    transaction_timeout_ms: timeout,
                    producer_id: id,
                    producer_epoch: epoch,
                    ..Default::default()
                });
                cases.add("InitProducerId", input, version, vec![step]);
            };
        case("no transactional id", None, 60_000, -1, -1);
        case("no transactional id, time-out 0", None, 0, -1, -1);
        case("an empty transactional id", Some(""), 60_000, -1, -1);
        if version >= 3 {
            case("an id without an epoch", None, 60_000, 5, -1);
            case("an epoch without an id", None, 60_000, -1, 5);
            case("an id and an epoch, no transactional id", None, 60_000, 5, 5);
        }
    }
}

fn others(cases: &mut Cases) {
    for version in [1, 3, 4, 5, 6] {
        let mut coordinator = |input: &str, key_type: i8, keys: &'static [&'static str]| {
            let step = Step::of(version, move || FindCoordinatorRequest {
                key: if version < 4 { keys[0] } else { "" },
                key_type,
                coordinator_keys: if version < 4 { Vec::new() } else { keys.to_vec() },
                ..Default::default()
            });
            cases.add("FindCoordinator", input, version, vec![step]);
        };
        coordinator("key type 9", 9, &["x"]);
        coordinator("key type -1", -1, &["x"]);
        coordinator("key type 2", 2, &["x"]);
        if version >= 4 {
            coordinator("no keys", 0, &[]);
        }
    }
    for version in 1..=2 {
        for endpoint_type in [0, 2, 3] {
            let step =
                Step::of(version, move || DescribeClusterRequest { endpoint_type, ..Default::default() });
            cases.add("DescribeCluster", &format!("endpoint type {endpoint_type}"), version, vec![step]);
        }
    }
    let mut partitions =
        |input: &str, topics: &'static [&'static str], limit: i32, from: Option<(&'static str, i32)>| {
            let step = Step::of(0, move || DescribeTopicPartitionsRequest {
                topics: topics.iter().map(|name| TopicRequest { name, ..Default::default() }).collect(),
                response_partition_limit: limit,
                cursor: from.map(|(topic_name, partition_index)| Cursor {
                    topic_name,
                    partition_index,
                    ..Default::default()
                }),
                ..Default::default()
            });
            cases.add("DescribeTopicPartitions", input, 0, vec![step]);
        };
    partitions("an unknown topic", &["unknown"], 100, None);
    partitions("a bad name", &["a/b"], 100, None);
    partitions("a topic twice", &["append-time", "append-time"], 2, None);
    partitions("limit 1", &["bad"], 1, None);
    partitions("limit 0", &["append-time"], 0, None);
    partitions("limit -1", &["append-time"], -1, None);
    partitions("a cursor after all topics", &["append-time"], 10, Some(("zzz", 0)));
    partitions("a cursor at partition -1", &["append-time"], 10, Some(("append-time", -1)));
    partitions("a cursor behind the last partition", &["append-time"], 10, Some(("append-time", 1000)));
    partitions("a cursor at an unknown topic", &["append-time", "unknown"], 10, Some(("unknown", 0)));
    for version in 0..=2 {
        let mut elect = |input: &str, election_type: i8, topic: &'static str, partition: i32| {
            let step = Step::of(version, move || ElectLeadersRequest {
                election_type,
                topic_partitions: Some(vec![TopicPartitions {
                    topic,
                    partitions: Box::new([partition]),
                    ..Default::default()
                }]),
                timeout_ms: 10_000,
                ..Default::default()
            });
            cases.add("ElectLeaders", input, version, vec![step]);
        };
        elect("nothing to elect", 0, "append-time", 0);
        elect("unknown partition", 0, "append-time", 1_000_000);
        elect("unknown topic", 0, "unknown", 0);
        if version >= 1 {
            elect("unclean, nothing to elect", 1, "append-time", 0);
            elect("type 7", 7, "append-time", 0);
        }
    }
}

fn by_name(name: &'static str) -> MetadataRequestTopic<'static> {
    MetadataRequestTopic { name: Some(name), ..Default::default() }
}

fn by_id(topic_id: rohrpost_protocol::Uuid) -> MetadataRequest<'static> {
    MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id, name: None, ..Default::default() }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    }
}

fn topic(name: &'static str) -> CreatableTopic<'static> {
    CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..Default::default() }
}

fn with(name: &'static str, setting: &'static str, value: Option<&'static str>) -> CreatableTopic<'static> {
    CreatableTopic {
        configs: vec![CreatableTopicConfig { name: setting, value, ..Default::default() }],
        ..topic(name)
    }
}

fn assigned(name: &'static str, partitions: &[(i32, &[i32])]) -> CreatableTopic<'static> {
    let assignments = partitions.iter().map(|&(partition_index, brokers)| CreatableReplicaAssignment {
        partition_index,
        broker_ids: brokers.into(),
        ..Default::default()
    });
    CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        assignments: assignments.collect(),
        ..topic(name)
    }
}
