//! Registration, heartbeats, fencing, elections, producer ids.

use rohrpost_broker::controller::{
    BrokerHeartbeat, BrokerRegistration, Controller, NewTopic, PRODUCER_ID_BLOCK_LEN, ReplicaAssignment,
};
use rohrpost_broker::metadata::{FeatureRange, LeaderRecoveryState, NO_LEADER};
use rohrpost_protocol::{ErrorCode, Uuid};

use crate::support::*;

fn assigned(name: &str, ids: &[i32]) -> NewTopic {
    NewTopic {
        assignments: vec![ReplicaAssignment { partition: 0, broker_ids: ids.to_vec() }],
        ..topic(name)
    }
}

#[test]
fn a_new_incarnation_starts_fenced_with_the_offset_of_its_record_as_epoch() {
    // C8
    let mut bench = Bench::new(&[]);
    let at = bench.next_offset;
    let epoch = bench.register(&registration(1, 5000, None)).unwrap();
    assert_eq!(epoch, at);
    let broker = bench.image().broker(1).unwrap();
    assert_eq!((broker.epoch, broker.registration_offset, broker.fenced), (at, at, true));
}

#[test]
fn the_same_incarnation_keeps_its_epoch_and_its_fencing() {
    // C8
    let mut bench = Bench::new(&[]);
    let epoch = bench.register(&registration(1, 5000, None)).unwrap();
    bench.heartbeat(1, epoch);
    let at = bench.next_offset;
    let again = bench.register(&registration(1, 5000, Some("r"))).unwrap();
    let broker = bench.image().broker(1).unwrap();
    assert_eq!((again, broker.fenced, broker.registration_offset), (epoch, false, at));
    assert_eq!(broker.rack.as_deref(), Some("r"));
}

#[test]
fn a_restarted_broker_leaves_the_in_sync_sets_before_it_comes_back() {
    // C8
    let mut bench = Bench::with_brokers(2, &[]);
    bench.create_one(assigned("t", &[1, 2])).unwrap();
    // a controller that has not seen the old process: it takes the new one at its word
    bench.controller = Controller::new(settings(&[]), bench.controller.replay().clone(), 8);
    bench.register(&registration(1, 77_000, None)).unwrap();
    assert!(!bench.image().is_alive(1));
    let partition = bench.partition("t", 0);
    assert_eq!((partition.leader, partition.isr), (2, vec![2]));
}

#[test]
fn a_live_broker_cannot_be_replaced_by_another_process() {
    let mut bench = Bench::with_brokers(1, &[]);
    let other = bench.register(&registration(1, 99_000, None));
    assert_eq!(code(&other), ErrorCode::DUPLICATE_BROKER_REGISTRATION);
    bench.fence(1);
    bench.register(&registration(1, 99_000, None)).unwrap();
}

#[test]
fn registrations_that_would_pollute_the_cluster_are_refused() {
    let mut bench = Bench::with_brokers(1, &[]);
    let good = registration(2, 5000, None);
    let change = |edit: &dyn Fn(&mut BrokerRegistration)| {
        let mut registration = good.clone();
        edit(&mut registration);
        registration
    };
    let invalid = ErrorCode::INVALID_REGISTRATION;
    let cases = [
        (change(&|r| r.cluster_id = "other".into()), ErrorCode::INCONSISTENT_CLUSTER_ID),
        (change(&|r| r.broker_id = -1), invalid),
        (change(&|r| r.incarnation_id = Uuid::ZERO), invalid),
        (change(&|r| r.end_points.clear()), invalid),
        (change(&|r| r.end_points.push(r.end_points[0].clone())), invalid),
        (change(&|r| r.end_points[0].port = 0), invalid),
        (change(&|r| r.log_dirs.clear()), invalid),
        (change(&|r| r.log_dirs = vec![uuid(5)]), invalid),
        (change(&|r| r.log_dirs = vec![dir_of(1)]), invalid),
        (change(&|r| r.features.clear()), invalid),
        (change(&|r| r.features[0].1 = FeatureRange { min: 7, max: 29 }), ErrorCode::UNSUPPORTED_VERSION),
    ];
    for (registration, expected) in cases {
        assert_eq!(code(&bench.register(&registration)), expected, "{registration:?}");
    }
    bench.register(&good).unwrap();
}

#[test]
fn a_broker_is_unfenced_once_it_has_seen_its_own_registration() {
    // C10
    let mut bench = Bench::new(&[]);
    let epoch = bench.register(&registration(1, 5000, None)).unwrap();
    let early = bench.controller.broker_heartbeat(&heartbeat(1, epoch, epoch - 1)).unwrap();
    assert!(early.records.is_empty());
    assert!(!early.answer.is_caught_up && early.answer.is_fenced);
    let waiting = BrokerHeartbeat { want_fence: true, ..heartbeat(1, epoch, epoch) };
    let waiting = bench.controller.broker_heartbeat(&waiting).unwrap();
    assert!(waiting.records.is_empty() && waiting.answer.is_caught_up && waiting.answer.is_fenced);
    let ready = bench.controller.broker_heartbeat(&heartbeat(1, epoch, epoch)).unwrap();
    assert!(!bench.commit(ready).is_fenced);
    assert!(bench.image().is_alive(1));
    let stale = bench.controller.broker_heartbeat(&heartbeat(1, epoch + 1, epoch));
    assert_eq!(code(&stale), ErrorCode::STALE_BROKER_EPOCH);
}

#[test]
fn fencing_moves_leaders_and_keeps_the_last_member_of_the_isr() {
    // C12, C16, C1
    let mut bench = Bench::with_brokers(3, &[]);
    bench.create_one(assigned("t", &[1, 2, 3])).unwrap();
    bench.fence(1);
    let after = bench.partition("t", 0);
    assert_eq!((after.leader, &after.isr[..]), (2, &[2, 3][..]));
    assert_eq!((after.leader_epoch, after.partition_epoch), (1, 1));
    bench.fence(3);
    let after = bench.partition("t", 0);
    assert_eq!((after.leader, &after.isr[..]), (2, &[2][..]));
    assert_eq!((after.leader_epoch, after.partition_epoch), (1, 2), "the leader stayed: no new leader epoch");
    bench.fence(2);
    let after = bench.partition("t", 0);
    assert_eq!((after.leader, &after.isr[..]), (NO_LEADER, &[2][..]));
    assert_eq!((after.leader_epoch, after.partition_epoch), (2, 3));
}

#[test]
fn an_unfenced_broker_is_tried_for_partitions_without_leader() {
    // C13, C15
    let mut bench = Bench::with_brokers(2, &[]);
    bench.create_one(assigned("t", &[1, 2])).unwrap();
    bench.fence(1);
    bench.fence(2);
    bench.start_broker(1, None);
    assert_eq!(bench.partition("t", 0).leader, NO_LEADER, "broker 1 is not in the in-sync set");
    bench.start_broker(2, None);
    let after = bench.partition("t", 0);
    assert_eq!((after.leader, &after.isr[..], after.leader_epoch), (2, &[2][..], 3));
    assert_eq!(after.leader_recovery_state, LeaderRecoveryState::Recovered);
}

#[test]
fn an_unclean_election_is_made_only_where_it_is_allowed_and_is_marked() {
    // C17, C18
    let mut bench = Bench::with_brokers(2, &[]);
    bench.create_one(assigned("safe", &[1, 2])).unwrap();
    let unclean = NewTopic {
        configs: vec![("unclean.leader.election.enable".into(), Some("true".into()))],
        ..assigned("unclean", &[1, 2])
    };
    bench.create_one(unclean).unwrap();
    bench.fence(1);
    bench.fence(2);
    bench.start_broker(1, None);
    assert_eq!(bench.partition("safe", 0).leader, NO_LEADER);
    let partition = bench.partition("unclean", 0);
    assert_eq!((partition.leader, &partition.isr[..]), (1, &[1][..]));
    assert_eq!(partition.leader_recovery_state, LeaderRecoveryState::Recovering);
}

#[test]
fn a_broker_that_wants_to_stop_hands_over_and_may_go() {
    // C14
    let mut bench = Bench::with_brokers(2, &[]);
    bench.create_one(assigned("t", &[1, 2])).unwrap();
    let epoch = bench.image().broker(1).unwrap().epoch;
    let beat = BrokerHeartbeat { want_shut_down: true, ..heartbeat(1, epoch, bench.next_offset) };
    let proposal = bench.controller.broker_heartbeat(&beat).unwrap();
    assert!(bench.commit(proposal).should_shut_down);
    let partition = bench.partition("t", 0);
    assert_eq!((partition.leader, &partition.isr[..]), (2, &[2][..]));
    let broker = bench.image().broker(1).unwrap();
    assert!(broker.fenced && broker.in_controlled_shutdown);
}

#[test]
fn producer_id_blocks_follow_each_other_without_gap_or_overlap() {
    // I12
    let mut bench = Bench::with_brokers(1, &[]);
    let epoch = bench.image().broker(1).unwrap().epoch;
    for n in 0..3 {
        let proposal = bench.controller.allocate_producer_ids(1, epoch).unwrap();
        let block = bench.commit(proposal);
        assert_eq!((block.first, block.len), (n * i64::from(PRODUCER_ID_BLOCK_LEN), PRODUCER_ID_BLOCK_LEN));
    }
    assert_eq!(bench.image().next_producer_id, 3000);
    assert_eq!(code(&bench.controller.allocate_producer_ids(1, epoch + 1)), ErrorCode::STALE_BROKER_EPOCH);
    assert_eq!(code(&bench.controller.allocate_producer_ids(2, epoch)), ErrorCode::STALE_BROKER_EPOCH);
}
