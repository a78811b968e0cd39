//! The core against brokers that answer what no broker should: nothing panics, and no record gets a false outcome.

use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::{
    BatchIndexAndErrorMessage, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};

use super::request::{Body, Request};
use super::tests::{acked_at, failed, is_clean};
use super::world::{Answer, World, encode};
use crate::outcome::{Outcome, Reason};

fn partition(index: i32, code: ErrorCode, base_offset: i64) -> PartitionProduceResponse<'static> {
    PartitionProduceResponse {
        index,
        error_code: code,
        base_offset,
        log_append_time_ms: -1,
        ..Default::default()
    }
}

/// Answers the oldest Produce request of broker 1 with these partitions of its topic.
fn answer(world: &mut World, partitions: Vec<PartitionProduceResponse<'_>>) {
    let request = world.take(1);
    let id = match &request.body {
        Body::Produce(produce) => produce.topics[0].id,
        _ => unreachable!("`take` gives Produce requests"),
    };
    let topic = TopicProduceResponse {
        name: "t",
        topic_id: id,
        partition_responses: partitions,
        ..Default::default()
    };
    respond(world, request, ProduceResponse { responses: vec![topic], ..Default::default() });
}

fn respond(world: &mut World, request: Request, answer: ProduceResponse<'_>) {
    let body = encode(&answer, request.version);
    let now_ms = world.now_ms();
    world.core.handle_response(1, request, &body, &mut world.links, now_ms);
}

#[test]
fn a_partition_that_the_answer_leaves_out_may_have_been_written() {
    // CMPL-8
    let mut world = World::warm(&[("retries", "0"), ("enable.idempotence", "false")]);
    for elsewhere in [Vec::new(), vec![partition(7, ErrorCode::NONE, 0), partition(-1, ErrorCode::NONE, 0)]] {
        let mut delivery = world.send(0, 1);
        world.settle();
        answer(&mut world, elsewhere);
        assert_eq!(failed(&mut delivery).0, Outcome::Unknown);
    }
    let mut delivery = world.send(0, 1);
    world.settle();
    let request = world.take(1);
    respond(&mut world, request, ProduceResponse::default());
    assert_eq!(failed(&mut delivery).0, Outcome::Unknown, "no topic at all");
    assert!(is_clean(&world));
}

#[test]
fn an_error_that_names_an_offset_may_have_been_written() {
    // CMPL-8: a deposed leader's answer to what it had appended and its followers may have.
    for (base_offset, outcome) in [(-1, Outcome::NotWritten), (7, Outcome::Unknown)] {
        let mut world = World::warm(&[]);
        let mut delivery = world.send(0, 1);
        world.settle();
        answer(&mut world, vec![partition(0, ErrorCode::NOT_LEADER_OR_FOLLOWER, base_offset)]);
        world.purge(true, false);
        assert_eq!(failed(&mut delivery), (outcome, Reason::Purged), "base offset {base_offset}");
    }
}

#[test]
fn a_partition_that_is_left_out_is_sent_again_with_its_sequence() {
    // CMPL-8, IDM-16
    let mut world = World::warm(&[]);
    let mut delivery = world.send(0, 1);
    world.settle();
    let first = world.peek(1)[0].clone();
    answer(&mut world, Vec::new());
    world.run(1500);
    let second = world.peek(1)[0].clone();
    assert_eq!(
        (first.producer_id, first.epoch, first.sequence),
        (second.producer_id, second.epoch, second.sequence)
    );
    world.serve(1);
    assert_eq!(acked_at(&mut delivery), Some(0));
    assert!(is_clean(&world));
}

#[test]
fn an_answer_with_partitions_that_were_not_sent_changes_nothing_for_them() {
    let mut world = World::warm(&[]);
    world.links.down.insert(2);
    let mut here = world.send(0, 1);
    let mut elsewhere = world.send(1, 2);
    world.settle();
    let numbers = [1, 2, i32::MAX, i32::MIN];
    let mut partitions: Vec<_> = numbers.iter().map(|n| partition(*n, ErrorCode::NONE, 9)).collect();
    partitions.push(partition(0, ErrorCode::NONE, 5));
    answer(&mut world, partitions);
    assert_eq!(acked_at(&mut here), Some(5));
    assert!(elsewhere.poll_now().is_none());
}

#[test]
fn offsets_and_record_numbers_out_of_range_do_no_harm() {
    // API-5, ERR-3
    let mut world = World::warm(&[]);
    for offset in [-1, -5, i64::MIN, i64::MAX] {
        let (mut first, mut second) = (world.send(0, 1), world.send(0, 2));
        world.settle();
        answer(&mut world, vec![partition(0, ErrorCode::NONE, offset)]);
        let offsets = [&mut first, &mut second].map(|d| d.poll_now().unwrap().unwrap().offset());
        assert_eq!(offsets[1], None, "{offset}");
    }
    let mut delivery = world.send(0, 3);
    world.settle();
    let named = |batch_index| BatchIndexAndErrorMessage { batch_index, ..Default::default() };
    let record_errors = [-1, 1, i32::MAX, i32::MIN].map(named).into();
    let refused = partition(0, ErrorCode::INVALID_RECORD, -1);
    answer(&mut world, vec![PartitionProduceResponse { record_errors, ..refused }]);
    assert_eq!(failed(&mut delivery), (Outcome::NotWritten, Reason::Broker(ErrorCode::INVALID_RECORD)));
}

#[test]
fn an_answer_that_cannot_be_read_is_none() {
    // CMPL-8
    let mut world = World::warm(&[]);
    let mut delivery = world.send(0, 1);
    world.settle();
    let request = world.take(1);
    let now_ms = world.now_ms();
    world.core.handle_response(1, request, &[0xff; 7], &mut world.links, now_ms);
    assert_eq!(world.links.disconnects, [1]);
    world.run(1500);
    world.answer(1, Answer::error(ErrorCode::INVALID_RECORD));
    assert_eq!(failed(&mut delivery).0, Outcome::Unknown, "the first attempt may have written it");
}

#[test]
fn metadata_with_gaps_and_impossible_numbers_is_taken_for_what_it_is_worth() {
    // MET-6
    let mut world = World::new(&[]);
    world.shared.metadata.want(&"t".into());
    world.pass();
    let request = world.links.nodes.get_mut(&-1).and_then(|requests| requests.pop_front()).unwrap();
    let broker = |node_id, port| MetadataResponseBroker { node_id, host: "toy", port, ..Default::default() };
    let led = |partition_index, leader_id| MetadataResponsePartition {
        partition_index,
        leader_id,
        ..Default::default()
    };
    let numbers = [(1, 1), (-1, 1), (i32::MIN, 1), (i32::MAX, 1), (3, 9), (4, -1), (1, 1), (1 << 20, 1)];
    let topic = MetadataResponseTopic {
        name: Some("t"),
        partitions: numbers.map(|(index, leader)| led(index, leader)).to_vec(),
        ..Default::default()
    };
    let nameless = MetadataResponseTopic { name: None, ..topic.clone() };
    let answer = MetadataResponse {
        brokers: vec![broker(1, 9001), broker(2, 0), broker(3, 70_000), broker(4, -1)],
        topics: vec![topic.clone(), nameless, topic],
        ..Default::default()
    };
    let body = encode(&answer, request.version);
    let now_ms = world.now_ms();
    world.core.handle_response(-1, request, &body, &mut world.links, now_ms);
    let snapshot = world.shared.metadata.snapshot();
    assert_eq!(snapshot.brokers.keys().copied().collect::<Vec<_>>(), [1]);
    let leaders: Vec<_> = snapshot.topics["t"].partitions.iter().map(|p| p.leader).collect();
    assert_eq!(leaders, [None, Some(1), None, None, None]);
}
