//! One situation each.

use rohrpost_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse,
};
use rohrpost_protocol::{
    ApiKey, ApiVersionRanges, Decoder, ErrorCode, Message, VersionRange, encode_request,
};
use rohrpost_record::Stamp;

use super::client::{Called, World, batch, by, config, metadata_request, plain, produce_request};
use crate::cluster::{ClusterConfig, Event, Fault, TopicSpec};

fn kill(node: i32) -> Fault {
    Fault::Kill { node }
}

fn restart(node: i32) -> Fault {
    Fault::Restart { node, lose_page_cache: false }
}

fn other_than(node: i32) -> i32 {
    node % 3 + 1
}

fn shrink(ms: u64) -> Fault {
    Fault::ShrinkIsr { topic: "t".to_owned(), partition: 0, ms }
}

fn move_leader() -> Fault {
    Fault::MoveLeader { topic: "t".to_owned(), partition: 0 }
}

/// The leader, once this broker knows one other than `not`.
fn new_leader(world: &mut World, asked: i32, not: i32) -> i32 {
    for _ in 0..100 {
        let leader = world.leader(asked, "t");
        if leader != -1 && leader != not {
            return leader;
        }
        world.pass(500);
    }
    panic!("no leader but {not}");
}

#[test]
fn a_record_is_acknowledged_when_all_in_sync_replicas_have_it() {
    let mut world = World::new(&config(), 1);
    let leader = world.leader(1, "t");
    let answer = world.produce(leader, &plain("a"), -1).unwrap();
    assert_eq!((answer.code, answer.base_offset), (ErrorCode::NONE, 0));
    assert!(world.cluster.check_replicas(false).is_ok());
    let answer = world.produce(leader, &plain("b"), 1).unwrap();
    assert_eq!((answer.code, answer.base_offset), (ErrorCode::NONE, 1));
    world.pass(1_000);
    assert_eq!(world.log(), [(0, "a".to_owned()), (1, "b".to_owned())]);
    world.cluster.check_replicas(true).unwrap();
}

#[test]
fn a_follower_does_not_take_produce_requests_and_names_the_leader() {
    // P6, P13
    let mut world = World::new(&config(), 1);
    let leader = world.leader(1, "t");
    let answer = world.produce(other_than(leader), &plain("a"), -1).unwrap();
    assert_eq!((answer.code, answer.base_offset), (ErrorCode::NOT_LEADER_OR_FOLLOWER, -1));
    assert_eq!(answer.leader, leader);
}

#[test]
fn a_request_waits_behind_the_one_before_it_on_its_connection() {
    // N4
    let mut world = World::new(&config(), 1);
    let leader = world.leader(1, "t");
    world.apply(shrink(2_000));
    let connection = world.connect();
    world.send_batch(leader, connection, &plain("a"), -1, 30_000);
    world.send(leader, connection, &metadata_request("t"), 12);
    assert_eq!(world.wait::<MetadataRequest<'_>>(connection, 12, 1_500), Called::TimedOut);
    let first = world.produced(connection, 5_000).unwrap();
    assert_eq!(first.code, ErrorCode::NONE);
    assert!(matches!(world.wait::<MetadataRequest<'_>>(connection, 12, 10), Called::Answered(_)));
}

#[test]
fn too_few_in_sync_replicas_refuse_before_the_append_and_time_out_after_it() {
    // P7, W5
    let mut world = World::new(&config(), 1);
    let leader = world.leader(1, "t");
    world.apply(shrink(60_000));
    let connection = world.connect();
    world.send_batch(leader, connection, &plain("waits"), -1, 3_000);
    let answer = world.produced(connection, 5_000).unwrap();
    assert_eq!((answer.code, answer.base_offset), (ErrorCode::REQUEST_TIMED_OUT, 0));
    world.pass(20_000); // R7
    assert_eq!(world.produce(leader, &plain("no"), -1).unwrap().code, ErrorCode::NOT_ENOUGH_REPLICAS);
    let answer = world.produce(leader, &plain("one"), 1).unwrap();
    assert_eq!((answer.code, answer.base_offset), (ErrorCode::NONE, 1));
    // R11: nothing is committed meanwhile
    assert!(world.cluster.committed("t", 0).iter().all(|record| !record.committed));
    world.heal();
    world.cluster.check_replicas(true).unwrap();
    assert_eq!(world.log().len(), 2);
}

#[test]
fn a_set_that_shrinks_while_a_request_waits_is_told_or_waited_out() {
    // R4, R11, W5: the old set counts until the controller has said yes, and below the minimum nothing is committed
    let mut world = World::new(&config(), 3);
    let leader = world.leader(1, "t");
    world.apply(shrink(25_000));
    let connection = world.connect();
    world.send_batch(leader, connection, &plain("a"), -1, 60_000);
    assert_eq!(world.produced(connection, 24_000), Called::TimedOut);
    let answer = world.produced(connection, 30_000).unwrap();
    assert_eq!(answer.code, ErrorCode::NONE, "the followers came back, and had it before they were counted");
}

#[test]
fn a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut world = World::new(&config(), 5);
    let first = world.leader(1, "t");
    world.produce(first, &plain("a"), -1).unwrap();
    world.apply(kill(first));
    assert!(!world.cluster.is_up(first));
    let second = new_leader(&mut world, other_than(first), first);
    let answer = world.produce(second, &plain("b"), -1).unwrap();
    assert_eq!((answer.code, answer.base_offset), (ErrorCode::NONE, 1));
    world.apply(restart(first));
    world.heal();
    world.cluster.check_replicas(true).unwrap();
    assert_eq!(world.log(), [(0, "a".to_owned()), (1, "b".to_owned())]);
    assert!(world.cluster.losses().is_empty());
}

#[test]
fn a_leader_that_was_replaced_goes_on_until_it_learns_of_it_and_its_records_are_cut() {
    // R22, R24
    let mut world = World::new(&config(), 7);
    let old = world.leader(1, "t");
    world.produce(old, &plain("a"), -1).unwrap();
    world.apply(Fault::Isolate { node: old, ms: 40_000 });
    world.pass(12_000);
    let new = new_leader(&mut world, other_than(old), old);
    assert_eq!(world.leader(old, "t"), old, "it does not know");
    let lost = world.produce(old, &plain("lost"), 1).unwrap();
    assert_eq!((lost.code, lost.base_offset), (ErrorCode::NONE, 1));
    let connection = world.connect();
    world.send_batch(old, connection, &plain("never"), -1, 60_000);
    world.produce(new, &plain("b"), -1).unwrap();
    // when it learns, who waits is told that it does not lead any more, with the offset (W5)
    let answer = world.produced(connection, 60_000).unwrap();
    assert_eq!((answer.code, answer.base_offset), (ErrorCode::NOT_LEADER_OR_FOLLOWER, 2));
    world.heal();
    world.cluster.check_replicas(true).unwrap();
    assert_eq!(world.log(), [(0, "a".to_owned()), (1, "b".to_owned())]);
    assert!(world.cluster.counts().truncations > 0);
    assert!(world.cluster.counts().deposed_appends >= 2);
}

#[test]
fn a_batch_answered_not_leader_after_the_append_may_be_in_the_log() {
    // W5: the followers had it, and one of them leads
    let found = (0..200).any(|seed| {
        let mut world = World::new(&ClusterConfig { link_ms: (2, 10), ..config() }, seed);
        let old = world.leader(1, "t");
        let connection = world.connect();
        world.send_batch(old, connection, &plain("a"), -1, 60_000);
        world.pass(seed % 16);
        world.apply(move_leader());
        let answer = world.produced(connection, 60_000).unwrap();
        world.heal();
        let is_there = !world.log().is_empty();
        answer.code == ErrorCode::NOT_LEADER_OR_FOLLOWER && answer.base_offset == 0 && is_there
    });
    assert!(found);
}

#[test]
fn a_duplicate_is_found_by_the_next_leader_too() {
    // I2, I10: the follower has built the producer's state from the batches
    let mut world = World::new(&config(), 11);
    let first = world.leader(1, "t");
    let id = world.producer_id(first);
    let sent = batch(&["a", "b"], by(id, 0));
    assert_eq!(world.produce(first, &sent, -1).unwrap().base_offset, 0);
    world.apply(move_leader());
    let second = new_leader(&mut world, first, first);
    world.pass(1_000);
    let again = world.produce(second, &sent, -1).unwrap();
    assert_eq!((again.code, again.base_offset), (ErrorCode::NONE, 0));
    assert_eq!(world.cluster.counts().duplicates, 1);
    let gap = world.produce(second, &batch(&["d"], by(id, 3)), -1).unwrap();
    assert_eq!(gap.code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER); // I3
    assert_eq!(world.log().len(), 2);
}

#[test]
fn what_was_cut_is_forgotten_by_the_producer_state() {
    // D27, I10
    let mut world = World::new(&config(), 13);
    let old = world.leader(1, "t");
    let id = world.producer_id(old);
    world.produce(old, &batch(&["a"], by(id, 0)), -1).unwrap();
    world.apply(Fault::Isolate { node: old, ms: 30_000 });
    // only the old leader has it
    world.produce(old, &batch(&["lost"], by(id, 1)), 1).unwrap();
    let new = new_leader(&mut world, other_than(old), old);
    world.heal();
    // the same sequence is new there, and the old leader learns it from the new one
    let answer = world.produce(new, &batch(&["b"], by(id, 1)), -1).unwrap();
    assert_eq!((answer.code, answer.base_offset), (ErrorCode::NONE, 1));
    world.pass(1_000);
    world.cluster.check_replicas(true).unwrap();
    assert_eq!(world.log(), [(0, "a".to_owned()), (1, "b".to_owned())]);
    while world.leader(new, "t") != old {
        world.apply(move_leader());
        world.pass(2_000);
    }
    let again = world.produce(old, &batch(&["b"], by(id, 1)), -1).unwrap();
    assert_eq!(
        (again.code, again.base_offset),
        (ErrorCode::NONE, 1),
        "it knows the batch that took its place"
    );
}

#[test]
fn a_machine_that_lost_its_page_cache_does_not_lead_and_copies_what_it_lost() {
    // C8, C9, C19: in the eligible replicas is only who did not lose anything
    for seed in 0..30 {
        let mut world = World::new(&ClusterConfig { sync_ms: 3_600_000, ..config() }, seed);
        let leader = world.leader(1, "t");
        world.produce(leader, &plain("a"), -1).unwrap();
        world.apply(kill(leader));
        if seed % 2 == 0 {
            world.pass(seed * 700);
        }
        world.apply(Fault::Restart { node: leader, lose_page_cache: true });
        world.heal();
        world.cluster.check_replicas(true).unwrap();
        assert_eq!(world.log(), [(0, "a".to_owned())], "seed {seed}");
        assert!(world.cluster.losses().is_empty());
    }
}

#[test]
fn when_all_lose_their_page_caches_a_leader_is_elected_and_the_loss_is_told() {
    // C17
    let mut world = World::new(&ClusterConfig { sync_ms: 3_600_000, ..config() }, 1);
    let leader = world.leader(1, "t");
    for i in 0..20 {
        world.produce(leader, &plain(&format!("{i}")), -1).unwrap();
    }
    for node in 1..=3 {
        world.apply(kill(node));
    }
    for node in 1..=3 {
        world.apply(Fault::Restart { node, lose_page_cache: true });
    }
    world.heal();
    world.cluster.check_replicas(true).unwrap();
    let [loss] = world.cluster.losses() else { panic!("{:?}", world.cluster.losses()) };
    assert_eq!((loss.partition, loss.committed), (0, 20));
    assert_eq!(world.log().len() as i64, loss.kept);
    assert_eq!(world.cluster.counts().unclean_elections, 1);
}

#[test]
fn all_brokers_killed_and_started_again_lose_nothing() {
    for seed in 0..20 {
        let mut world = World::new(&config(), seed);
        let leader = world.leader(1, "t");
        world.produce(leader, &plain("a"), -1).unwrap();
        for node in 1..=3 {
            world.apply(kill(node));
            world.pass(seed * 400);
        }
        for node in [2, 3, 1] {
            world.apply(restart(node));
        }
        world.heal();
        world.cluster.check_replicas(true).unwrap();
        assert_eq!(world.log(), [(0, "a".to_owned())]);
        assert!(world.cluster.losses().is_empty());
    }
}

#[test]
fn a_paused_leader_keeps_its_connections_and_serves_them_when_it_goes_on() {
    let mut world = World::new(&config(), 1);
    let leader = world.leader(1, "t");
    world.apply(Fault::Pause { node: leader, ms: 3_000 });
    assert!(world.cluster.is_up(leader), "its system still takes connections");
    let connection = world.connect();
    world.send_batch(leader, connection, &plain("a"), -1, 30_000);
    assert_eq!(world.produced(connection, 2_900), Called::TimedOut);
    assert_eq!(world.produced(connection, 2_000).unwrap().code, ErrorCode::NONE);
}

#[test]
fn a_failed_disk_is_told_and_another_broker_leads() {
    // D30
    let mut world = World::new(&config(), 2);
    let leader = world.leader(1, "t");
    world.produce(leader, &plain("a"), -1).unwrap();
    world.apply(Fault::DiskFailure { node: leader });
    assert_eq!(world.produce(leader, &plain("b"), -1).unwrap().code, ErrorCode::KAFKA_STORAGE_ERROR);
    let next = new_leader(&mut world, other_than(leader), leader);
    assert_eq!(world.produce(next, &plain("c"), -1).unwrap().code, ErrorCode::NONE);
    world.heal();
    world.cluster.check_replicas(true).unwrap();
    assert_eq!(world.log(), [(0, "a".to_owned()), (1, "c".to_owned())]);
}

#[test]
fn a_topic_that_is_created_while_a_disk_is_broken_gets_its_replicas_later() {
    // D30
    let mut world = World::new(&config(), 2);
    let leader = world.leader(1, "t");
    world.apply(Fault::DiskFailure { node: leader });
    assert_eq!(world.produce(leader, &plain("b"), -1).unwrap().code, ErrorCode::KAFKA_STORAGE_ERROR);
    world.apply(Fault::RecreateTopic { topic: "t".to_owned() });
    world.pass(2_000);
    world.heal();
    let leader = world.leader(1, "t");
    assert_eq!(world.produce(leader, &plain("c"), -1).unwrap().code, ErrorCode::NONE);
    world.pass(1_000);
    world.cluster.check_replicas(true).unwrap();
}

#[test]
fn ordered_errors_come_with_or_without_the_append() {
    let mut world = World::new(&config(), 1);
    let leader = world.leader(1, "t");
    let error = |code, after_append, times| Fault::Error {
        api: ApiKey::Produce,
        partition: Some(("t".to_owned(), 0)),
        code,
        after_append,
        times,
    };
    world.apply(error(ErrorCode::CORRUPT_MESSAGE, true, 1)); // which promises that nothing was written
    world.apply(error(ErrorCode::REQUEST_TIMED_OUT, true, 1));
    world.apply(error(ErrorCode::UNKNOWN_SERVER_ERROR, true, 1));
    let codes: Vec<_> = ["no", "yes", "yes too", "fine"]
        .iter()
        .map(|value| world.produce(leader, &plain(value), -1).unwrap().code)
        .collect();
    assert_eq!(
        codes,
        [
            ErrorCode::CORRUPT_MESSAGE,
            ErrorCode::REQUEST_TIMED_OUT,
            ErrorCode::UNKNOWN_SERVER_ERROR,
            ErrorCode::NONE
        ]
    );
    world.pass(1_000);
    let values: Vec<String> = world.log().into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["yes", "yes too", "fine"]);
    world.apply(Fault::RejectRecords { topic: "t".to_owned(), partition: 0, times: 1 });
    let answer = world.produce(leader, &batch(&["x", "y", "z"], Stamp::NONE), -1).unwrap();
    assert_eq!(answer.code, ErrorCode::INVALID_RECORD);
    assert!(!answer.record_errors.is_empty() && answer.record_errors.iter().all(|i| (0..3).contains(i)));
    assert_eq!(world.log().len(), 3);
}

#[test]
fn connections_are_cut_before_or_after_the_append_or_never_answered() {
    let mut world = World::new(&config(), 1);
    let node = world.leader(1, "t");
    world.apply(Fault::CutBeforeAppend { node, times: 1 });
    assert_eq!(world.produce(node, &plain("no"), -1), Called::Cut);
    world.apply(Fault::CutAfterAppend { node, times: 1 });
    assert_eq!(world.produce(node, &plain("yes"), -1), Called::Cut);
    world.apply(Fault::LoseAnswer { node, times: 1 });
    assert_eq!(world.produce(node, &plain("yes too"), -1), Called::TimedOut);
    let values: Vec<String> = world.log().into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["yes", "yes too"]);
}

#[test]
fn acks_0_has_no_answer_and_an_error_closes_the_connection() {
    // N13
    let mut world = World::new(&config(), 1);
    let node = world.leader(1, "t");
    let connection = world.connect();
    world.send_batch(node, connection, &plain("a"), 0, 30_000);
    assert_eq!(world.produced(connection, 1_000), Called::TimedOut);
    assert_eq!(world.log().len(), 1);
    world.send_batch(other_than(node), connection, &plain("b"), 0, 30_000);
    assert_eq!(world.produced(connection, 1_000), Called::Cut);
}

#[test]
fn a_throttled_connection_is_not_read_for_so_long() {
    // N12
    let mut world = World::new(&config(), 1);
    let node = world.leader(1, "t");
    world.apply(Fault::Throttle { node, ms: 700, times: 1 });
    let connection = world.connect();
    world.send_batch(node, connection, &plain("a"), 1, 30_000);
    assert_eq!(world.produced(connection, 100).unwrap().throttle_ms, 700);
    world.send_batch(node, connection, &plain("b"), 1, 30_000);
    assert_eq!(world.produced(connection, 600), Called::TimedOut);
    assert_eq!(world.produced(connection, 200).unwrap().throttle_ms, 0);
}

#[test]
fn a_re_created_topic_has_another_id_and_the_old_log_is_kept_for_the_checker() {
    let mut world = World::new(&config(), 1);
    let leader = world.leader(1, "t");
    world.produce(leader, &plain("old"), -1).unwrap();
    let old = world.topic_id("t");
    world.apply(Fault::RecreateTopic { topic: "t".to_owned() });
    world.pass(1_000);
    let new = world.topic_id("t");
    assert_ne!(new, old);
    assert_eq!(world.cluster.incarnations("t").iter().map(|i| i.deleted).collect::<Vec<_>>(), [true, false]);
    let kept = world.cluster.committed_of(old, 0);
    assert_eq!(kept.iter().map(|r| (r.offset, r.committed)).collect::<Vec<_>>(), [(0, true)]);
    let leader = world.leader(1, "t");
    assert_eq!(world.produce(leader, &plain("new"), -1).unwrap().base_offset, 0);
    assert_eq!(world.log(), [(0, "new".to_owned())]);
    // the old id is gone
    let mut request = produce_request("", 0, None, -1, 1_000);
    request.topic_data[0].topic_id = old;
    let body = world.call(leader, &request, 13).unwrap();
    let answer = ProduceResponse::decode(&mut Decoder::new(&body), 13).unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
}

#[test]
fn a_missing_topic_is_created_when_a_client_allows_it() {
    // M6
    let mut world = World::new(&ClusterConfig { wall_clock_ms: 0, ..ClusterConfig::default() }, 1);
    let ask = |world: &mut World, name: &str, allow: bool| {
        let request = MetadataRequest { allow_auto_topic_creation: allow, ..metadata_request(name) };
        let body = world.call(1, &request, 12).unwrap();
        let answer = MetadataResponse::decode(&mut Decoder::new(&body), 12).unwrap();
        let code = answer.topics[0].error_code;
        world.pass(1_000);
        code
    };
    assert_eq!(ask(&mut world, "x", false), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(ask(&mut world, "x", true), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(ask(&mut world, "x", false), ErrorCode::NONE);
    assert_eq!(ask(&mut world, "x/y", true), ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert_eq!(world.cluster.topic_names(), ["x"]);
}

#[test]
fn metadata_may_be_stale_empty_or_an_error() {
    let mut world = World::new(&config(), 1);
    let ask = |world: &mut World, node: i32| {
        let body = world.call(node, &metadata_request("t"), 13).unwrap();
        let answer = MetadataResponse::decode(&mut Decoder::new(&body), 13).unwrap();
        let topic = &answer.topics[0];
        let leader = topic.partitions.first().map_or(-1, |p| p.leader_id);
        (answer.error_code, answer.brokers.len(), topic.error_code, leader)
    };
    let (.., first) = ask(&mut world, 1);
    let stale = other_than(first);
    world.apply(Fault::StaleMetadata { node: stale, ms: 5_000 });
    world.apply(move_leader());
    world.pass(1_000);
    assert_eq!(ask(&mut world, stale).3, first);
    assert_ne!(ask(&mut world, other_than(stale)).3, first);
    world.pass(5_000);
    assert_ne!(ask(&mut world, stale).3, first);
    world.apply(Fault::EmptyMetadata { node: 1, times: 1 });
    assert_eq!(ask(&mut world, 1).1, 0);
    assert_eq!(ask(&mut world, 1).1, 3);
    let error = |code, partition| Fault::Error {
        api: ApiKey::Metadata,
        partition,
        code,
        after_append: false,
        times: 1,
    };
    world.apply(error(ErrorCode::REBOOTSTRAP_REQUIRED, None));
    assert_eq!(ask(&mut world, 1).0, ErrorCode::REBOOTSTRAP_REQUIRED);
    world.apply(error(ErrorCode::TOPIC_AUTHORIZATION_FAILED, None));
    assert_eq!(ask(&mut world, 1).2, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    world.apply(error(ErrorCode::LEADER_NOT_AVAILABLE, Some(("t".to_owned(), 0))));
    assert_eq!(ask(&mut world, 1).3, -1);
    assert_eq!(ask(&mut world, 1).0, ErrorCode::NONE);
}

#[test]
fn an_old_broker_serves_old_versions_only() {
    let mut world = World::new(&ClusterConfig { produce_max_version: 7, ..config() }, 1);
    let connection = world.connect();
    world.send(1, connection, &ApiVersionsRequest::default(), 4);
    // G3: answered in version 0, and the connection stays
    let body = world.wait::<ApiVersionsRequest<'_>>(connection, 0, 100).unwrap();
    let refusal = ApiVersionsResponse::decode(&mut Decoder::new(&body), 0).unwrap();
    assert_eq!((refusal.error_code, refusal.api_keys[0].max_version), (ErrorCode::UNSUPPORTED_VERSION, 2));
    world.send(1, connection, &ApiVersionsRequest::default(), 2);
    let body = world.wait::<ApiVersionsRequest<'_>>(connection, 2, 100).unwrap();
    let answer = ApiVersionsResponse::decode(&mut Decoder::new(&body), 2).unwrap();
    let ranges = ApiVersionRanges::from_response(&answer);
    assert_eq!(ranges.range(ApiKey::Produce), VersionRange::new(0, 7));
    assert_eq!(ranges.range(ApiKey::Metadata).max, 7);
    assert_eq!(world.call(1, &metadata_request("t"), 12), Called::Cut); // G1
    world.apply(Fault::Upgrade { node: 1, produce_max_version: 13 });
    assert!(!world.cluster.is_up(1));
    assert!(world.pass_until(5_000, |world| world.cluster.is_up(1)));
    assert!(matches!(world.call(1, &metadata_request("t"), 12), Called::Answered(_)));
}

#[test]
fn a_broker_that_moved_is_found_under_its_new_port() {
    let mut world = World::new(&config(), 1);
    let (host, port) = world.cluster.address(1).unwrap();
    assert_eq!(world.cluster.node_at(&host, port), Some(1));
    world.apply(Fault::MoveAddress { node: 1 });
    assert!(world.pass_until(5_000, |world| world.cluster.is_up(1)));
    assert_eq!(world.cluster.node_at(&host, port), None);
    let (host, port) = world.cluster.address(1).unwrap();
    world.pass(500);
    let body = world.call(2, &metadata_request("t"), 12).unwrap();
    let answer = MetadataResponse::decode(&mut Decoder::new(&body), 12).unwrap();
    let told = answer.brokers.iter().find(|broker| broker.node_id == 1).unwrap();
    assert_eq!((told.host, told.port), (host.as_str(), i32::from(port)));
}

#[test]
fn a_topic_grows_and_takes_smaller_batches() {
    let mut world = World::new(&config(), 1);
    let leader = world.leader(1, "t");
    world.apply(Fault::GrowTopic { topic: "t".to_owned() });
    world.apply(Fault::LimitBatches { topic: "t".to_owned(), bytes: 200 });
    world.pass(500);
    assert_eq!(world.cluster.incarnations("t")[0].partitions, 2);
    let large = plain(&"x".repeat(300));
    assert_eq!(world.produce(leader, &large, -1).unwrap().code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(world.produce(leader, &plain("x"), -1).unwrap().code, ErrorCode::NONE);
}

#[test]
fn a_request_that_its_client_gave_up_may_still_be_served() {
    let served = (0..40).filter(|seed| {
        let mut world = World::new(&config(), *seed);
        let node = world.leader(1, "t");
        world.apply(Fault::Pause { node, ms: 1_000 });
        let connection = world.connect();
        world.send_batch(node, connection, &plain("late"), -1, 30_000);
        world.cluster.disconnected(node, connection);
        world.pass(3_000);
        !world.log().is_empty()
    });
    assert!((5..35).contains(&served.count()));
}

#[test]
fn forgotten_producers_may_begin_at_any_sequence() {
    // I6, I9
    let mut world = World::new(&config(), 1);
    let node = world.leader(1, "t");
    world.produce(node, &batch(&["a"], by(7, 0)), -1).unwrap();
    let gap = batch(&["b"], by(7, 5));
    assert_eq!(world.produce(node, &gap, -1).unwrap().code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    world.apply(Fault::ForgetProducers);
    assert_eq!(world.produce(node, &gap, -1).unwrap().code, ErrorCode::NONE);
}

#[test]
fn an_old_broker_refuses_a_producer_that_it_does_not_know_in_the_middle() {
    // IDM-9
    for (produce_max_version, expected) in [(8, ErrorCode::UNKNOWN_PRODUCER_ID), (12, ErrorCode::NONE)] {
        let mut world = World::new(&ClusterConfig { produce_max_version, ..config() }, 1);
        let node = (1..=3).find(|node| world.cluster.is_leader(*node, "t", 0)).unwrap();
        let connection = world.connect();
        let sent = batch(&["a"], by(7, 5));
        world.send(node, connection, &produce_request("t", 0, Some(&sent), -1, 1_000), 8);
        let body = world.wait::<ProduceRequest<'_>>(connection, 8, 2_000).unwrap();
        let answer = ProduceResponse::decode(&mut Decoder::new(&body), 8).unwrap();
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.log_start_offset), (expected, 0));
    }
}

#[test]
fn what_is_no_request_closes_the_connection() {
    // G1, G2, N8
    let mut world = World::new(&config(), 1);
    let request = InitProducerIdRequest { transactional_id: None, producer_epoch: -1, ..Default::default() };
    let whole = encode_request(&request, 4, 1, None).unwrap().bytes().to_vec();
    let mut other_api = whole.clone();
    other_api[5] = 77;
    let mut too_long = whole.clone();
    too_long[3] += 1;
    let mut cut_short = whole[..whole.len() - 4].to_vec();
    cut_short[3] -= 4;
    for bad in [other_api, too_long, cut_short, vec![0; 4], vec![1]] {
        let connection = world.connect();
        world.cluster.receive(1, connection, &bad, world.now_ms);
        let mut out = Vec::new();
        world.cluster.advance(world.now_ms, &mut out);
        assert_eq!(out, [Event::Cut { node: 1, connection }], "{bad:?}");
    }
}

#[test]
fn two_replicas_without_a_minimum_commit_with_the_leader_alone() {
    let topic = TopicSpec { replication_factor: 2, min_insync_replicas: 1, ..TopicSpec::default() };
    let mut world = World::new(&ClusterConfig { topics: vec![topic], ..config() }, 4);
    let leader = world.leader(1, "t");
    world.apply(shrink(40_000));
    world.pass(1_000);
    let connection = world.connect();
    world.send_batch(leader, connection, &plain("a"), -1, 60_000);
    // R7: as soon as the follower is out
    assert_eq!(world.produced(connection, 30_000).unwrap().code, ErrorCode::NONE);
    assert!(world.cluster.counts().isr_shrinks == 1);
    world.heal();
    assert_eq!(world.cluster.counts().isr_grows, 1);
    world.cluster.check_replicas(true).unwrap();
}
