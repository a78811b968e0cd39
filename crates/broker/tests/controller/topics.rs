//! Creating and deleting topics, and where their replicas go.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rohrpost_broker::controller::{ConfigSource, CreateTopics, NewTopic, ReplicaAssignment, TopicRef};
use rohrpost_protocol::{ErrorCode, Uuid};

use crate::support::*;

#[test]
fn illegal_topic_names_are_refused() {
    // M1
    let mut bench = Bench::with_brokers(1, &[]);
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "a/b", "ä", "a:b", long.as_str()] {
        assert_eq!(code(&bench.create_one(topic(name))), ErrorCode::INVALID_TOPIC_EXCEPTION, "{name:?}");
    }
    for name in ["...", "a.b-c_D9", &"x".repeat(249)] {
        bench.create_one(topic(name)).unwrap();
    }
}

#[test]
fn names_that_differ_only_in_dots_and_underscores_collide() {
    // M1
    let mut bench = Bench::with_brokers(1, &[]);
    bench.create_one(topic("a.b")).unwrap();
    let refused = bench.create_one(topic("a_b"));
    assert_eq!(code(&refused), ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert!(refused.unwrap_err().message.contains("a.b"));
    bench.create_one(topic("a-b")).unwrap();
    bench.create_one(topic("a_b_")).unwrap();

    let both = bench.create(vec![topic("x_y"), topic("x.y")]);
    assert!(both[0].is_ok());
    assert_eq!(code(&both[1]), ErrorCode::INVALID_TOPIC_EXCEPTION);
}

#[test]
fn an_error_message_stays_short_whatever_it_quotes() {
    let mut bench = Bench::with_brokers(1, &[]);
    for new in [topic(&"ä".repeat(100_000)), with_configs("t", &[(&"k".repeat(100_000), "1")])] {
        assert!(bench.create_one(new).unwrap_err().message.len() < 1100);
    }
}

#[test]
fn the_metadata_log_is_no_topic_that_can_be_created() {
    let mut bench = Bench::with_brokers(1, &[]);
    assert_eq!(code(&bench.create_one(topic("__cluster_metadata"))), ErrorCode::INVALID_REQUEST);
}

#[test]
fn each_mistake_of_a_create_request_has_its_own_code() {
    // M2
    let mut bench = Bench::with_brokers(2, &[]);
    bench.create_one(topic("there")).unwrap();
    let cases = [
        (topic("there"), ErrorCode::TOPIC_ALREADY_EXISTS),
        (NewTopic::new("t", 0, -1), ErrorCode::INVALID_PARTITIONS),
        (NewTopic::new("t", -2, -1), ErrorCode::INVALID_PARTITIONS),
        (NewTopic::new("t", 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (NewTopic::new("t", 1, -2), ErrorCode::INVALID_REPLICATION_FACTOR),
        (NewTopic::new("t", 1, 3), ErrorCode::INVALID_REPLICATION_FACTOR),
        (NewTopic::new("t", 10_001, 1), ErrorCode::POLICY_VIOLATION),
        (with_configs("t", &[("no.such.key", "1")]), ErrorCode::INVALID_CONFIG),
        (with_configs("t", &[("retention.ms", "soon")]), ErrorCode::INVALID_CONFIG),
        (NewTopic { configs: vec![("retention.ms".into(), None)], ..topic("t") }, ErrorCode::INVALID_CONFIG),
    ];
    for (new, expected) in cases {
        let text = format!("{new:?}");
        assert_eq!(code(&bench.create_one(new)), expected, "{text}");
    }
    assert_eq!(bench.image().topic_count(), 1);
}

#[test]
fn a_name_given_twice_spoils_both_and_leaves_the_others_alone() {
    // M2
    let mut bench = Bench::with_brokers(1, &[]);
    let answers = bench.create(vec![topic("twice"), topic("once"), topic("twice")]);
    assert_eq!(code(&answers[0]), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(&answers[2]), ErrorCode::INVALID_REQUEST);
    assert!(answers[1].is_ok());
    assert_eq!(topic_names(bench.image()), ["once"]);
}

#[test]
fn a_bad_assignment_is_refused() {
    // M2
    let mut bench = Bench::with_brokers(3, &[]);
    let assigned = |lists: &[(i32, &[i32])]| NewTopic {
        assignments: lists
            .iter()
            .map(|(partition, ids)| ReplicaAssignment { partition: *partition, broker_ids: ids.to_vec() })
            .collect(),
        ..topic("t")
    };
    let bad: [&[(i32, &[i32])]; 6] = [
        &[(0, &[1]), (2, &[2])],
        &[(0, &[1]), (0, &[2])],
        &[(0, &[9])],
        &[(0, &[1, 1])],
        &[(0, &[1, 2]), (1, &[3])],
        &[(0, &[])],
    ];
    for lists in bad {
        let answer = bench.create_one(assigned(lists));
        assert_eq!(code(&answer), ErrorCode::INVALID_REPLICA_ASSIGNMENT, "{lists:?}");
    }
    for (partitions, factor) in [(1, -1), (-1, 1)] {
        let both = NewTopic { partitions, replication_factor: factor, ..assigned(&[(0, &[1])]) };
        assert_eq!(code(&bench.create_one(both)), ErrorCode::INVALID_REQUEST);
    }
    let created = bench.create_one(assigned(&[(1, &[3, 1]), (0, &[2, 3])])).unwrap();
    assert_eq!((created.partitions, created.replication_factor), (2, 2));
    assert_eq!(bench.partition("t", 0).replicas, [2, 3]);
    assert_eq!(bench.partition("t", 1).replicas, [3, 1]);
}

#[test]
fn minus_one_means_the_brokers_default() {
    // M2
    let mut bench = Bench::with_brokers(3, &[("num.partitions", "4"), ("default.replication.factor", "2")]);
    let created = bench.create_one(topic("t")).unwrap();
    assert_eq!((created.partitions, created.replication_factor), (4, 2));
}

#[test]
fn the_answer_has_every_setting_and_where_it_comes_from() {
    // M2
    let mut bench = Bench::with_brokers(1, &[("log.retention.hours", "1"), ("message.max.bytes", "2000000")]);
    let created = bench.create_one(with_configs("t", &[("segment.ms", "5000")])).unwrap();
    let of = |name: &str| {
        let entry = created.configs.iter().find(|entry| entry.name == name).unwrap();
        (entry.value.clone().unwrap(), entry.source)
    };
    assert_eq!(of("segment.ms"), ("5000".to_owned(), ConfigSource::Topic));
    assert_eq!(of("retention.ms"), ("3600000".to_owned(), ConfigSource::StaticBroker));
    assert_eq!(of("max.message.bytes"), ("2000000".to_owned(), ConfigSource::StaticBroker));
    assert_eq!(of("cleanup.policy"), ("delete".to_owned(), ConfigSource::Default));
    assert!(created.configs.is_sorted_by_key(|entry| entry.name));
}

#[test]
fn validate_only_checks_everything_and_writes_nothing() {
    // M2
    let mut bench = Bench::with_brokers(1, &[]);
    let request = CreateTopics { topics: vec![topic("t"), NewTopic::new("u", 1, 2)], validate_only: true };
    let proposal = bench.controller.create_topics(&request);
    assert!(proposal.records.is_empty());
    let answers = bench.commit(proposal);
    assert_eq!(answers[0].as_ref().unwrap().partitions, 1);
    assert_eq!(code(&answers[1]), ErrorCode::INVALID_REPLICATION_FACTOR);
    assert_eq!(bench.image().topic_count(), 0);
}

#[test]
fn a_new_partition_starts_at_epoch_0_with_its_live_replicas_in_sync() {
    // C3
    let mut bench = Bench::with_brokers(3, &[]);
    bench.fence(2);
    let assignments = vec![ReplicaAssignment { partition: 0, broker_ids: vec![2, 3, 1] }];
    bench.create_one(NewTopic { assignments, ..topic("t") }).unwrap();
    let partition = bench.partition("t", 0);
    assert_eq!(partition.isr, [3, 1]);
    assert_eq!(partition.leader, 3);
    assert_eq!((partition.leader_epoch, partition.partition_epoch), (0, 0));
    assert_eq!(partition.directories, [dir_of(2), dir_of(3), dir_of(1)]);
    assert_eq!(bench.image().offline_replicas(&partition), [2]);
}

#[test]
fn topics_without_a_live_broker_are_refused() {
    // M2
    let mut bench = Bench::with_brokers(1, &[]);
    bench.fence(1);
    assert_eq!(code(&bench.create_one(topic("t"))), ErrorCode::INVALID_REPLICATION_FACTOR);
    let assignments = vec![ReplicaAssignment { partition: 0, broker_ids: vec![1] }];
    let assigned = NewTopic { assignments, ..topic("t") };
    assert_eq!(code(&bench.create_one(assigned)), ErrorCode::INVALID_REPLICA_ASSIGNMENT);
}

#[test]
fn a_topic_that_is_created_again_has_another_id() {
    // M4
    let mut bench = Bench::with_brokers(1, &[]);
    let first = bench.create_one(topic("t")).unwrap().id;
    let deletion = bench.controller.delete_topics(&[TopicRef::Name("t".into())]);
    let answers = bench.commit(deletion);
    assert_eq!(answers[0].as_ref().unwrap().id, first);
    assert_eq!(bench.image().topic_count(), 0);
    let second = bench.create_one(topic("t")).unwrap().id;
    assert_ne!(first, second);
    let gone = bench.controller.delete_topics(&[TopicRef::Id(first)]);
    assert_eq!(code(&bench.commit(gone)[0]), ErrorCode::UNKNOWN_TOPIC_ID);
    assert!(bench.image().topic_by_id(second).is_some());
}

#[test]
fn deleting_tells_unknown_names_and_ids_apart_and_refuses_a_topic_named_twice() {
    // M4
    let mut bench = Bench::with_brokers(1, &[]);
    let id = bench.create_one(topic("t")).unwrap().id;
    let name = |name: &str| TopicRef::Name(name.into());
    let proposal =
        bench.controller.delete_topics(&[name("no"), TopicRef::Id(Uuid::ZERO), name("t"), TopicRef::Id(id)]);
    let answers = bench.commit(proposal);
    let codes: Vec<ErrorCode> = answers.iter().map(code).collect();
    let expected = [
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::INVALID_REQUEST,
        ErrorCode::INVALID_REQUEST,
    ];
    assert_eq!(codes, expected);
    assert_eq!(bench.image().topic_count(), 1);
}

#[test]
fn deletion_can_be_forbidden() {
    // M4
    let mut bench = Bench::with_brokers(1, &[("delete.topic.enable", "false")]);
    bench.create_one(topic("t")).unwrap();
    let proposal = bench.controller.delete_topics(&[TopicRef::Name("t".into())]);
    assert_eq!(code(&bench.commit(proposal)[0]), ErrorCode::TOPIC_DELETION_DISABLED);
}

#[test]
fn the_same_seed_gives_the_same_records() {
    // C22
    let run = |seed| {
        let mut bench = Bench::with_seed(&[], seed);
        bench.start_brokers(5);
        bench.create_one(NewTopic::new("t", 12, 3)).unwrap();
        bench.records
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn replicas_spread_over_racks_and_live_brokers_come_first() {
    // C22
    let mut bench = Bench::new(&[]);
    for (id, rack) in [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")] {
        bench.start_broker(id, Some(rack));
    }
    bench.create_one(NewTopic::new("t", 18, 3)).unwrap();
    let rack = |id: i32| (id - 1) / 2;
    for partition in &bench.image().topic("t").unwrap().partitions {
        let racks: BTreeSet<i32> = partition.replicas.iter().map(|&id| rack(id)).collect();
        assert_eq!(racks.len(), 3, "{:?}", partition.replicas);
    }
    bench.fence(1);
    bench.create_one(NewTopic::new("u", 12, 5)).unwrap();
    assert!(bench.image().topic("u").unwrap().partitions.iter().all(|p| !p.replicas.contains(&1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn placement_is_even_and_never_names_a_broker_twice(brokers in 1..9_i32, partitions in 1..40_i32, factor in 1..9_i16, seed: u64) {
        // C22
        let mut bench = Bench::with_seed(&[], seed);
        bench.start_brokers(brokers);
        let answer = bench.create_one(NewTopic::new("t", partitions, factor));
        if i32::from(factor) > brokers {
            prop_assert_eq!(code(&answer), ErrorCode::INVALID_REPLICATION_FACTOR);
            return Ok(());
        }
        prop_assert!(answer.is_ok());
        let mut leads = vec![0; brokers as usize + 1];
        for partition in &bench.image().topic("t").unwrap().partitions {
            let distinct: BTreeSet<i32> = partition.replicas.iter().copied().collect();
            prop_assert_eq!(distinct.len(), factor as usize);
            leads[partition.leader as usize] += 1;
        }
        let (most, least) = (leads[1..].iter().max().unwrap(), leads[1..].iter().min().unwrap());
        prop_assert!(most - least <= 1, "{:?}", leads);
    }
}
