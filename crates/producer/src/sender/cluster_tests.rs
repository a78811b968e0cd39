//! The core and the cluster: leaders, topics, metadata; purge and close.

use rohrpost_protocol::ErrorCode;

use super::tests::{acked_at, failed, is_clean, pool_left};
use super::world::{Answer, World};
use crate::metadata::Lookup;
use crate::outcome::{Outcome, Reason};

// ---------------------------------------------------------------------------------------------- leaders and topics

#[test]
fn a_named_new_leader_is_used_at_once() {
    // ERR-2
    let mut world = World::warm(&[]);
    let mut delivery = world.send(0, 1);
    world.settle();
    world.move_leader("t", 0, 3);
    let answer = Answer { hint: Some((3, 1)), ..Answer::error(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
    world.answer(1, answer);
    // No time passes, and the metadata that is asked for is not answered.
    world.pass();
    world.pass();
    assert_eq!(world.waiting(3), 1);
    world.serve(3);
    assert_eq!(acked_at(&mut delivery), Some(0));
}

#[test]
fn an_old_hint_changes_nothing() {
    // ERR-2
    let mut world = World::warm(&[]);
    world.send(0, 1);
    world.settle();
    for hint in [(3, 0), (-1, 9), (3, -1), (99, -1)] {
        let answer = Answer { hint: Some(hint), ..Answer::error(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
        world.answer(1, answer);
        world.run(1500);
        assert_eq!(world.waiting(1), 1, "{hint:?}");
    }
}

#[test]
fn a_hint_that_the_named_leader_denies_does_not_outweigh_metadata() {
    // ERR-2, MET-5: below Produce 13 a broker that lags names the leader of a former topic, in an epoch that this one has not reached.
    let mut world = World::warm(&[]);
    world.links.produce_max = 12;
    let mut delivery = world.send(0, 1);
    world.settle();
    world.answer(1, Answer { hint: Some((3, 9)), ..Answer::error(ErrorCode::NOT_LEADER_OR_FOLLOWER) });
    world.run(200);
    assert_eq!(world.waiting(3), 1, "metadata with a lower epoch is older, as far as anybody knows");
    world.answer(3, Answer::error(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    world.run(1500);
    assert_eq!(world.waiting(1), 1);
    world.serve(1);
    assert_eq!(acked_at(&mut delivery), Some(0));
}

#[test]
fn a_hint_about_a_topic_that_is_gone_is_none_about_the_one_of_its_name() {
    // ERR-2, MET-9
    let mut world = World::warm(&[("metadata.max.age.ms", "1000")]);
    let mut delivery = world.send(0, 1);
    world.settle();
    world.cluster.create("t", 9, &[2, 2, 2]);
    world.run(1100);
    world.answer(1, Answer { hint: Some((3, 9)), ..Answer::error(ErrorCode::NOT_LEADER_OR_FOLLOWER) });
    world.run(200);
    assert_eq!((world.waiting(2), world.waiting(3)), (1, 0));
    world.serve(2);
    assert_eq!(acked_at(&mut delivery), Some(0));
}

#[test]
fn a_refusal_by_a_former_leader_asks_for_metadata_and_goes_to_the_new_one() {
    // ERR-1, RTY-2
    let mut world = World::warm(&[]);
    let mut delivery = world.send(0, 1);
    world.settle();
    world.move_leader("t", 0, 2);
    let asked = world.cluster.questions.len();
    world.serve(1);
    world.settle();
    assert_eq!(world.cluster.questions.len(), asked + 1);
    assert_eq!(world.waiting(2), 1, "a newer leader epoch ends the back-off");
    world.serve(2);
    assert_eq!(acked_at(&mut delivery), Some(0));
}

#[test]
fn a_leader_that_is_not_in_the_answer_is_unknown_and_its_records_wait() {
    // MET-6, ACC-14, MET-4
    let mut world = World::warm(&[]);
    world.cluster.brokers.remove(&1);
    world.links.down.insert(1);
    world.cut(1, false);
    let mut delivery = world.send(0, 1);
    let asked = world.cluster.questions.len();
    world.run(3000);
    let refreshes = world.cluster.questions.len() - asked;
    // ▸ the waits double twice: 100, 200, 400, 400, … ms
    assert!((7..=12).contains(&refreshes), "asked {refreshes} times in 3 s: back-off, but no end");
    world.cluster.brokers.insert(1);
    world.links.down.clear();
    world.run(1500);
    world.serve_all();
    assert!(acked_at(&mut delivery).is_some());
}

#[test]
fn new_topics_are_asked_for_alone_and_at_once() {
    // MET-3, MET-2
    let mut world = World::warm(&[]);
    world.cluster.create("u", 2, &[1]);
    world.shared.metadata.want(&"u".into());
    world.settle();
    assert_eq!(world.cluster.questions.last(), Some(&(vec!["u".to_owned()], true)));
    assert!(matches!(world.shared.metadata.lookup("u"), Lookup::Known(_)));
    assert!(matches!(world.shared.metadata.lookup("t"), Lookup::Known(_)), "the other topic stays known");
}

#[test]
fn metadata_is_refreshed_when_it_is_old() {
    // MET-3
    let mut world = World::warm(&[("metadata.max.age.ms", "1000")]);
    world.run(990);
    assert_eq!(world.cluster.questions.len(), 1);
    world.run(20);
    assert_eq!(world.cluster.questions.last(), Some(&(vec!["t".to_owned()], false)));
}

#[test]
fn an_idle_topic_leaves_the_metadata_set() {
    // MET-2
    let mut world = World::warm(&[("metadata.max.age.ms", "1000"), ("metadata.max.idle.ms", "5000")]);
    for _ in 0..6 {
        world.send(0, 1);
        world.serve_all();
        world.run(1000);
    }
    assert!(matches!(world.shared.metadata.lookup("t"), Lookup::Known(_)), "each send renews its life");
    world.run(7000);
    assert_eq!(world.cluster.questions.last(), Some(&(vec![], false)));
    assert!(matches!(world.shared.metadata.lookup("t"), Lookup::Unknown(_)));
}

#[test]
fn a_topic_that_vanished_is_never_brought_back() {
    // MET-8
    let mut world = World::warm(&[]);
    world.send(0, 1);
    world.serve_all();
    world.cluster.topics.remove("t");
    let mut delivery = world.send(0, 2);
    world.settle();
    world.serve(1);
    let asked = world.cluster.questions.len();
    world.run(3000);
    let later = &world.cluster.questions[asked..];
    assert!(!later.is_empty() && later.iter().all(|(_, may_create)| !may_create), "{later:?}");
    world.cluster.create("new", 3, &[1]);
    world.shared.metadata.want(&"new".into());
    world.run(1000);
    let (topics, may_create) =
        world.cluster.questions.iter().find(|(t, _)| t.contains(&"new".to_owned())).unwrap();
    assert!(*may_create && !topics.contains(&"t".to_owned()));
    assert!(delivery.poll_now().is_none());
}

#[test]
fn auto_creation_can_be_switched_off() {
    // MET-8
    let mut world = World::warm(&[("allow.auto.create.topics", "false")]);
    world.shared.metadata.want(&"new".into());
    world.run(500);
    assert!(world.cluster.questions.iter().all(|(_, may_create)| !may_create));
}

#[test]
fn records_follow_a_topic_that_was_created_anew() {
    // MET-9
    let mut world = World::warm(&[]);
    world.send(0, 1);
    world.serve_all();
    world.cluster.create("t", 9, &[1, 2, 3]);
    let mut delivery = world.send(0, 2);
    world.settle();
    world.answer(1, Answer::error(ErrorCode::UNKNOWN_TOPIC_ID));
    world.run(1500);
    let batch = &world.peek(1)[0];
    assert_eq!((batch.epoch, batch.sequence), (1, 0), "from sequence 0 in a new epoch");
    world.serve(1);
    assert_eq!(acked_at(&mut delivery), Some(0));
    assert_eq!(world.log(0), [2]);
}

#[test]
fn an_answer_finds_its_batches_though_the_topic_has_another_id_by_then() {
    // SND-9
    let mut world = World::warm(&[]);
    let mut delivery = world.send(0, 1);
    world.settle();
    let request = world.take(1);
    assert_eq!(request.version, 13);
    world.cluster.create("t", 9, &[1, 2, 3]);
    world.cut(3, false);
    world.run(200);
    world.answer_request(1, request, |_| Answer::ok(5));
    assert_eq!(acked_at(&mut delivery), Some(5));
}

#[test]
fn a_refused_topic_fails_who_waits_and_is_asked_for_again_later() {
    // MET-7
    for code in [ErrorCode::INVALID_TOPIC_EXCEPTION, ErrorCode::TOPIC_AUTHORIZATION_FAILED] {
        let mut world = World::warm(&[]);
        world.cluster.refused.insert("secret".into(), code);
        world.shared.metadata.want(&"secret".into());
        world.settle();
        assert!(matches!(world.shared.metadata.lookup("secret"), Lookup::Failed(c) if c == code));
        let asked = world.cluster.questions.len();
        world.run(500);
        assert_eq!(world.cluster.questions.len(), asked, "a refusal is final for those who wait");
        world.run(1000);
        assert!(matches!(world.shared.metadata.lookup("secret"), Lookup::Unknown(_)));
        // Permission was granted meanwhile.
        world.cluster.create("secret", 5, &[1]);
        world.shared.metadata.want(&"secret".into());
        world.settle();
        assert!(matches!(world.shared.metadata.lookup("secret"), Lookup::Known(_)));
    }
}

#[test]
fn records_of_a_partition_that_is_gone_fail_at_once() {
    // MET-9
    let mut world = World::warm(&[]);
    world.links.down.insert(3);
    let mut delivery = world.send(2, 1);
    world.settle();
    world.cluster.create("t", 9, &[1]);
    world.cut(2, false);
    world.run(200);
    let (outcome, reason) = failed(&mut delivery);
    assert_eq!(
        (outcome, reason),
        (Outcome::NotWritten, Reason::Broker(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
    );
}

#[test]
fn an_answer_with_fewer_partitions_of_the_same_topic_is_old_and_fails_no_record() {
    // MET-9: partitions go only with their topic. The broker that answers has not heard yet that the topic has grown.
    let mut world = World::warm(&[]);
    world.links.down.insert(3);
    let mut delivery = world.send(2, 1);
    world.settle();
    world.cluster.create("t", 1, &[1, 2]);
    world.cut(2, false);
    world.run(200);
    assert!(delivery.poll_now().is_none());
    world.cluster.create("t", 1, &[1, 2, 3]);
    world.links.down.clear();
    world.serve_all();
    assert_eq!(acked_at(&mut delivery), Some(0));
}

#[test]
fn a_refresh_that_waits_for_a_slot_does_not_spin() {
    // MET-3, SND-3: the answer that frees a slot wakes the loop.
    let mut world = World::warm(&[("max.in.flight.requests.per.connection", "1")]);
    (0..3).for_each(|partition| drop(world.send(partition, 1)));
    world.settle();
    world.shared.metadata.want_refresh();
    world.advance(2000);
    let pass = world.pass();
    assert!(!pass.sent, "every broker is busy");
    let wait_ms = pass.next_ms.expect("the requests have a deadline") - world.now_ms();
    assert!(wait_ms >= 10, "looks again after {wait_ms} ms");
    world.serve(1);
    let asked = world.cluster.questions.len();
    world.settle();
    assert_eq!(world.cluster.questions.len(), asked + 1);
}

#[test]
fn an_error_of_a_topic_is_forgotten_with_the_topic() {
    // MET-2: names that callers tried once do not pile up.
    let mut world = World::warm(&[("metadata.max.age.ms", "1000"), ("metadata.max.idle.ms", "5000")]);
    for n in 0..50 {
        world.shared.metadata.want(&format!("missing-{n}").into());
    }
    world.run(1000);
    assert_eq!(world.shared.metadata.snapshot().errors.len(), 50);
    world.run(7000);
    assert_eq!(world.shared.metadata.snapshot().errors.len(), 0);
}

#[test]
fn an_answer_with_an_older_leader_epoch_is_ignored_unless_the_topic_is_another() {
    // MET-5
    let mut world = World::warm(&[("metadata.max.age.ms", "1000")]);
    world.move_leader("t", 0, 3);
    world.run(1100);
    let leader = |world: &World| world.shared.metadata.snapshot().leader("t", 0);
    assert_eq!(leader(&world), Some(3));
    let partition = &mut world.cluster.topics.get_mut("t").unwrap().partitions[0];
    (partition.leader, partition.epoch) = (2, 0);
    world.run(1100);
    assert_eq!(leader(&world), Some(3), "an answer of a broker that lags behind");
    world.cluster.create("t", 9, &[2, 2, 2]);
    world.run(1100);
    assert_eq!(leader(&world), Some(2));
}

#[test]
fn an_answer_without_brokers_is_a_failed_update() {
    // MET-11
    let mut world = World::new(&[]);
    world.shared.metadata.want(&"t".into());
    world.cluster.brokers.clear();
    world.run(500);
    assert!(world.shared.metadata.snapshot().brokers.is_empty());
    assert!(world.cluster.questions.len() >= 2);
    world.cluster.brokers.extend([1, 2, 3]);
    world.run(1500);
    assert!(matches!(world.shared.metadata.lookup("t"), Lookup::Known(_)));
}

#[test]
fn without_a_reachable_broker_the_producer_starts_again_from_its_bootstrap_servers() {
    // MET-12
    let mut world = World::warm(&[]);
    let mut delivery = world.send(0, 1);
    world.settle();
    for node in 1..=3 {
        world.links.down.insert(node);
        world.cut(node, false);
    }
    world.pass();
    assert_eq!(world.links.nodes.keys().copied().collect::<Vec<_>>(), [-1]);
    assert!(matches!(world.shared.metadata.lookup("t"), Lookup::Known(_)), "calls go on");
    // The cluster is somewhere else now.
    world.links.down.clear();
    world.serve_all();
    assert!(acked_at(&mut delivery).is_some());
}

#[test]
fn with_recovery_strategy_none_the_known_brokers_are_tried_for_ever() {
    // MET-12
    let mut world = World::warm(&[("metadata.recovery.strategy", "none")]);
    world.links.down.insert(-1);
    for node in 1..=3 {
        world.links.down.insert(node);
        world.cut(node, false);
    }
    world.run(500);
    assert_eq!(world.links.nodes.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn without_answers_for_long_enough_the_producer_starts_again_though_its_connections_stand() {
    // MET-12
    let mut world = World::warm(&[("metadata.recovery.rebootstrap.trigger.ms", "5000")]);
    let nodes = |world: &World| world.links.nodes.keys().copied().collect::<Vec<_>>();
    world.links.throttled.extend((1..=3).map(|node| (node, u64::MAX))); // they take nothing
    world.links.mute.insert(-1);
    world.shared.metadata.want(&"new".into());
    world.run(4900);
    assert_eq!(nodes(&world), [1, 2, 3]);
    world.run(200);
    assert_eq!(nodes(&world), [-1]);
}

#[test]
fn there_is_nothing_to_start_again_from_before_any_broker_is_known() {
    // MET-12
    let mut world = World::new(&[]);
    world.links.down.insert(-1);
    world.shared.metadata.want(&"t".into());
    world.pass();
    let version = world.shared.metadata.snapshot().version;
    world.run(500);
    assert_eq!(world.shared.metadata.snapshot().version, version);
}

#[test]
fn a_question_for_metadata_that_ends_with_its_connection_is_asked_again() {
    // MET-4
    let mut world = World::warm(&[]);
    world.cluster.create("u", 2, &[1]);
    world.links.mute.extend([1, 2, 3]);
    world.shared.metadata.want(&"u".into());
    world.pass();
    world.links.mute.clear();
    for node in 1..=3 {
        let now_ms = world.now_ms();
        let requests = world.links.nodes.get_mut(&node).unwrap().drain(..).collect();
        world.core.handle_disconnect(node, requests, false, None, now_ms);
    }
    world.run(1000);
    assert!(matches!(world.shared.metadata.lookup("u"), Lookup::Known(_)));
}

#[test]
fn an_answer_that_cannot_be_read_is_told_to_whoever_waits() {
    let mut world = World::new(&[]);
    world.shared.metadata.want(&"t".into());
    world.pass();
    let request = world.links.nodes.get_mut(&-1).and_then(|requests| requests.pop_front()).unwrap();
    let now_ms = world.now_ms();
    world.core.handle_response(-1, request, &[0xff; 3], &mut world.links, now_ms);
    let trouble = world.shared.metadata.trouble().unwrap();
    assert!(trouble.starts_with("tried toy:1 (its answer cannot be read"), "{trouble}");
}

#[test]
fn a_refusal_of_the_producer_id_that_lasts_ends_the_producer() {
    // IDM-15
    for code in [ErrorCode::UNSUPPORTED_VERSION, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED] {
        let mut world = World::new(&[]);
        world.cluster.identity.0 = code;
        world.shared.metadata.want(&"t".into());
        world.settle();
        assert!(world.shared.lifecycle.check().is_err(), "{code}");
    }
}

#[test]
fn the_last_errors_of_all_servers_are_kept_for_whoever_waits() {
    let mut world = World::new(&[]);
    world.shared.metadata.want(&"t".into());
    world.links.down.insert(-1);
    world.pass();
    let now_ms = world.now_ms();
    world.core.handle_disconnect(
        -1,
        Vec::new(),
        false,
        Some("127.0.0.1:1: connection refused".into()),
        now_ms,
    );
    let trouble = world.shared.metadata.trouble().unwrap();
    assert_eq!(&*trouble, "tried toy:1 (127.0.0.1:1: connection refused)");
    world.links.down.clear();
    world.settle();
    assert_eq!(world.shared.metadata.trouble(), None, "forgotten once a broker answers");
}

#[test]
fn a_named_leader_stays_one_until_it_says_that_it_is_none() {
    // ERR-2
    for (code, leader) in [(ErrorCode::NOT_ENOUGH_REPLICAS, 3), (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 1)] {
        let mut world = World::warm(&[]);
        world.links.produce_max = 12;
        world.send(0, 1);
        world.settle();
        world.answer(1, Answer { hint: Some((3, 9)), ..Answer::error(ErrorCode::NOT_LEADER_OR_FOLLOWER) });
        world.run(200);
        world.answer(3, Answer::error(code));
        world.run(1500);
        assert_eq!((1..=3).find(|node| world.waiting(*node) > 0), Some(leader), "{code}");
    }
}

// ---------------------------------------------------------------------------------------------- purge and close

#[test]
fn purge_ends_queued_records_as_not_written_and_those_in_flight_as_unknown() {
    // FLU-4, ACC-25
    let mut world = World::warm(&[]);
    let mut in_flight = world.send(0, 1);
    world.settle();
    world.links.down.insert(2);
    let mut queued = world.send(1, 2);
    world.settle();
    world.purge(true, false);
    assert_eq!(failed(&mut queued), (Outcome::NotWritten, Reason::Purged));
    assert!(in_flight.poll_now().is_none());
    world.purge(true, true);
    assert_eq!(failed(&mut in_flight), (Outcome::Unknown, Reason::Purged));
    assert!(pool_left(&world) > 0);
    world.serve(1);
    assert_eq!(pool_left(&world), 0);
    // The partition goes on, with what the late answer told (IDM-12).
    let mut next = world.send(0, 3);
    world.serve_all();
    assert!(acked_at(&mut next).is_some());
}

#[test]
fn a_forced_close_gives_back_what_was_not_delivered() {
    // FLU-6
    let mut world = World::warm(&[]);
    let mut in_flight = world.send(0, 1);
    world.settle();
    world.links.down.insert(2);
    let mut queued = world.send(1, 2);
    world.core.collect_undelivered();
    world.core.force_close();
    world.cut(1, false);
    assert_eq!(failed(&mut queued), (Outcome::NotWritten, Reason::Closed));
    assert_eq!(failed(&mut in_flight), (Outcome::Unknown, Reason::Closed));
    let mut undelivered = world.core.take_undelivered();
    undelivered.sort_by_key(|u| u.record().partition_number());
    let told: Vec<_> = undelivered.iter().map(|u| (u.record().partition_number(), u.outcome())).collect();
    assert_eq!(told, [(Some(0), Outcome::Unknown), (Some(1), Outcome::NotWritten)]);
    assert_eq!(undelivered[0].record().value_bytes().unwrap()[..], 1_u64.to_be_bytes());
    assert!(is_clean(&world));
}
