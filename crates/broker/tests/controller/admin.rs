//! What tools ask of the controller: more partitions, other settings, elections.

use rohrpost_broker::controller::{
    AlterConfigs, ApiError, ConfigChange, ConfigOp, ConfigOps, CreatePartitions, ElectLeaders, Election,
    MorePartitions, NewTopic, ReplicaAssignment,
};
use rohrpost_broker::metadata::{ConfigResource, LeaderRecoveryState};
use rohrpost_protocol::ErrorCode;

use crate::support::*;

impl Bench {
    fn grow(&mut self, topic: &str, count: i32, assignments: Option<Vec<Vec<i32>>>) -> Result<(), ApiError> {
        let topics = vec![MorePartitions { topic: topic.to_owned(), count, assignments }];
        let proposal = self.controller.create_partitions(&CreatePartitions { topics, validate_only: false });
        self.commit(proposal).remove(0)
    }

    fn alter(&mut self, resource: (i8, &str), ops: ConfigOps) -> Result<(), ApiError> {
        let resource = ConfigResource { resource_type: resource.0, name: resource.1.to_owned() };
        let resources = vec![ConfigChange { resource, ops }];
        let proposal = self.controller.alter_configs(&AlterConfigs { resources, validate_only: false });
        self.commit(proposal).remove(0)
    }

    fn elect(&mut self, unclean: bool, partitions: Option<&[(&str, i32)]>) -> Vec<(String, i32, ErrorCode)> {
        let partitions = partitions.map(|all| all.iter().map(|(t, p)| ((*t).to_owned(), *p)).collect());
        let request = ElectLeaders { unclean, partitions };
        let proposal = self.controller.elect_leaders(&request).unwrap();
        let elections = self.commit(proposal).into_iter();
        let told = elections.map(|Election { topic, partition, result }| {
            (topic, partition, result.err().map_or(ErrorCode::NONE, |error| error.code))
        });
        told.collect()
    }

    fn leader(&self, topic: &str, partition: i32) -> (i32, i32, Vec<i32>) {
        let partition = self.partition(topic, partition);
        (partition.leader, partition.leader_epoch, partition.isr)
    }
}

fn assigned(name: &str, replicas: &[&[i32]]) -> NewTopic {
    let assignments = (0..).zip(replicas);
    NewTopic {
        assignments: assignments
            .map(|(partition, ids)| ReplicaAssignment { partition, broker_ids: ids.to_vec() })
            .collect(),
        ..topic(name)
    }
}

fn op(name: &str, operation: i8, value: &str) -> ConfigOps {
    ConfigOps::Incremental(vec![ConfigOp { name: name.to_owned(), operation, value: Some(value.to_owned()) }])
}

#[test]
fn new_partitions_are_as_replicated_as_the_old_ones() {
    // M5
    let mut bench = Bench::with_brokers(3, &[]);
    bench.create_one(assigned("t", &[&[1, 2], &[2, 3]])).unwrap();
    bench.grow("t", 5, None).unwrap();
    let before = bench.image().topic("t").unwrap().partitions.clone();
    assert_eq!(before.len(), 5);
    for partition in &before {
        assert_eq!((partition.replicas.len(), &partition.isr), (2, &partition.replicas));
        assert_eq!((partition.leader, partition.leader_epoch), (partition.replicas[0], 0));
    }
    bench.grow("t", 7, Some(vec![vec![3, 1], vec![1, 3]])).unwrap();
    assert_eq!(bench.partition("t", 5).replicas, [3, 1]);
    assert_eq!(bench.partition("t", 6).replicas, [1, 3]);
    // what was there is untouched
    assert_eq!(bench.image().topic("t").unwrap().partitions[..5], before);
}

#[test]
fn each_mistake_of_a_request_for_partitions_has_its_own_code() {
    // M5
    let mut bench = Bench::with_brokers(3, &[]);
    bench.create_one(assigned("t", &[&[1, 2]])).unwrap();
    bench.fence(3);
    let bad = ErrorCode::INVALID_REPLICA_ASSIGNMENT;
    for (topic, count, assignments, expected) in [
        ("nowhere", 2, None, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ("t", 1, None, ErrorCode::INVALID_PARTITIONS),
        ("t", 0, None, ErrorCode::INVALID_PARTITIONS),
        ("t", i32::MIN, None, ErrorCode::INVALID_PARTITIONS),
        ("t", 10_002, None, ErrorCode::POLICY_VIOLATION),
        ("t", 3, Some(vec![vec![1, 2]]), bad),
        ("t", 2, Some(vec![]), bad),
        ("t", 2, Some(vec![vec![]]), bad),
        ("t", 2, Some(vec![vec![1]]), bad),
        ("t", 2, Some(vec![vec![1, 1]]), bad),
        ("t", 2, Some(vec![vec![1, 9]]), bad),
        ("t", 2, Some(vec![vec![1, 2, 3]]), bad),
    ] {
        let what = format!("{topic} {count} {assignments:?}");
        assert_eq!(code(&bench.grow(topic, count, assignments)), expected, "{what}");
        assert_eq!(bench.image().topic("t").unwrap().partitions.len(), 1, "{what}");
    }
    // brokers that are all fenced
    bench.create_one(assigned("one", &[&[1]])).unwrap();
    assert_eq!(code(&bench.grow("one", 2, Some(vec![vec![3]]))), bad);
}

#[test]
fn one_bad_value_and_nothing_of_that_resource_changes() {
    // M10
    let mut bench = Bench::with_brokers(1, &[]);
    bench.create_one(with_configs("t", &[("retention.ms", "5")])).unwrap();
    bench.create_one(topic("u")).unwrap();
    let set = |name: &str, value: &str| ConfigOp {
        name: name.to_owned(),
        operation: 0,
        value: Some(value.to_owned()),
    };
    let change = |name: &str, ops| ConfigChange {
        resource: ConfigResource { resource_type: ConfigResource::TOPIC, name: name.to_owned() },
        ops: ConfigOps::Incremental(ops),
    };
    let resources = vec![
        change("t", vec![set("retention.ms", "6"), set("segment.ms", "soon")]),
        change("u", vec![set("retention.ms", "7")]),
    ];
    let proposal = bench.controller.alter_configs(&AlterConfigs { resources, validate_only: false });
    assert_eq!(proposal.records.len(), 1, "only what is good is written");
    let answers = bench.commit(proposal);
    assert_eq!(code(&answers[0]), ErrorCode::INVALID_CONFIG);
    assert!(answers[0].as_ref().unwrap_err().message.contains("segment.ms"));
    assert!(answers[1].is_ok());
    let value = |topic: &str| bench.image().topic(topic).unwrap().configs.get("retention.ms").cloned();
    assert_eq!((value("t").as_deref(), value("u").as_deref()), (Some("5"), Some("7")));
}

#[test]
fn a_change_that_changes_nothing_writes_nothing() {
    // M10
    let mut bench = Bench::with_brokers(1, &[]);
    bench.create_one(with_configs("t", &[("retention.ms", "5")])).unwrap();
    let at = bench.next_offset;
    bench.alter((2, "t"), op("retention.ms", 0, "5")).unwrap();
    bench.alter((2, "t"), op("segment.ms", 1, "")).unwrap();
    bench.alter((2, "t"), ConfigOps::Replace(vec![("retention.ms".into(), Some("5".into()))])).unwrap();
    assert_eq!(bench.next_offset, at);
    bench.alter((2, "t"), ConfigOps::Replace(Vec::new())).unwrap();
    assert!(bench.image().topic("t").unwrap().configs.is_empty());
}

#[test]
fn a_list_grows_from_the_value_in_force() {
    // M10
    let mut bench = Bench::with_brokers(1, &[("log.cleanup.policy", "compact")]);
    bench.create_one(topic("t")).unwrap();
    let policy = |bench: &Bench| bench.image().topic("t").unwrap().configs.get("cleanup.policy").cloned();
    bench.alter((2, "t"), op("cleanup.policy", 2, "delete")).unwrap();
    assert_eq!(policy(&bench).as_deref(), Some("compact,delete"));
    bench.alter((2, "t"), op("cleanup.policy", 3, "compact")).unwrap();
    assert_eq!(policy(&bench).as_deref(), Some("delete"));
    assert_eq!(code(&bench.alter((2, "t"), op("cleanup.policy", 2, "shred"))), ErrorCode::INVALID_CONFIG);
    assert_eq!(code(&bench.alter((2, "t"), op("retention.ms", 2, "5"))), ErrorCode::INVALID_CONFIG);
    assert_eq!(code(&bench.alter((2, "t"), op("no.such.key", 2, "5"))), ErrorCode::INVALID_CONFIG);
}

#[test]
fn a_brokers_settings_decide_elections_too() {
    // M9, C17
    let mut bench = Bench::with_brokers(2, &[]);
    bench.create_one(assigned("t", &[&[1, 2]])).unwrap();
    bench.fence(2);
    assert_eq!(bench.leader("t", 0).2, [1]);
    bench.alter((4, ""), op("unclean.leader.election.enable", 0, "true")).unwrap();
    let epoch = bench.image().broker(2).unwrap().epoch;
    bench.fence(1);
    assert_eq!(bench.leader("t", 0).0, -1, "nobody is alive");
    bench.heartbeat(2, epoch);
    assert_eq!(bench.leader("t", 0).0, 2);
}

#[test]
fn settings_of_brokers_that_need_a_restart_are_refused_by_name() {
    // M10, E12
    let mut bench = Bench::with_brokers(1, &[]);
    let refused = bench.alter((4, ""), op("num.io.threads", 0, "5")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::INVALID_REQUEST);
    assert!(refused.message.starts_with("Cannot update these configs dynamically: num.io.threads"));
    for (resource, name, expected) in [
        ((4, "1"), "no.such.key", ErrorCode::INVALID_CONFIG),
        ((4, "7"), "log.retention.ms", ErrorCode::INVALID_REQUEST),
        ((4, "01"), "log.retention.ms", ErrorCode::INVALID_REQUEST),
        ((4, "one"), "log.retention.ms", ErrorCode::INVALID_REQUEST),
        ((8, "1"), "log.retention.ms", ErrorCode::INVALID_REQUEST),
    ] {
        assert_eq!(code(&bench.alter(resource, op(name, 0, "5"))), expected, "{resource:?} {name}");
    }
    assert!(bench.image().configs.is_empty());
    bench.alter((4, "1"), op("log.retention.ms", 0, "5")).unwrap();
    assert_eq!(bench.image().configs.len(), 1);
}

#[test]
fn leadership_goes_back_to_the_preferred_replica_on_request() {
    // M11, C16
    let mut bench = Bench::with_brokers(2, &[]);
    bench.create_one(assigned("t", &[&[1, 2], &[2, 1]])).unwrap();
    let epoch = bench.image().broker(1).unwrap().epoch;
    bench.fence(1);
    assert_eq!(bench.leader("t", 0), (2, 1, vec![2]));
    bench.heartbeat(1, epoch);
    // alive, and not in sync
    let unavailable = ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE;
    assert_eq!(bench.elect(false, Some(&[("t", 0)])), [("t".into(), 0, unavailable)]);
    assert_eq!(bench.elect(false, None), [("t".into(), 0, unavailable)]);
    let not_needed = ErrorCode::ELECTION_NOT_NEEDED;
    assert_eq!(bench.elect(false, Some(&[("t", 1)])), [("t".into(), 1, not_needed)]);

    // in sync again
    bench.create_one(assigned("u", &[&[1, 2]])).unwrap();
    bench.set_leader("u", 0, 2);
    assert_eq!(bench.leader("u", 0), (2, 1, vec![1, 2]));
    assert_eq!(bench.elect(false, Some(&[("u", 0)])), [("u".into(), 0, ErrorCode::NONE)]);
    assert_eq!(bench.leader("u", 0), (1, 2, vec![1, 2]));
}

#[test]
fn an_unclean_election_takes_any_live_replica_and_says_so() {
    // M11, C18
    let mut bench = Bench::with_brokers(2, &[]);
    bench.create_one(assigned("t", &[&[1, 2]])).unwrap();
    let unclean = |bench: &mut Bench| bench.elect(true, Some(&[("t", 0)])).remove(0).2;
    assert_eq!(unclean(&mut bench), ErrorCode::ELECTION_NOT_NEEDED);
    let epoch = bench.image().broker(2).unwrap().epoch;
    bench.fence(2);
    bench.fence(1);
    assert_eq!(unclean(&mut bench), ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE);
    bench.heartbeat(2, epoch);
    assert_eq!(bench.leader("t", 0).0, -1, "it lacks data, and nobody has allowed that");
    assert_eq!(unclean(&mut bench), ErrorCode::NONE);
    let partition = bench.partition("t", 0);
    assert_eq!((partition.leader, &partition.isr[..]), (2, &[2][..]));
    assert_eq!(partition.leader_recovery_state, LeaderRecoveryState::Recovering);
}
