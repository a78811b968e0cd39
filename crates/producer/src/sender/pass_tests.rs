//! What a pass leaves: when the next one is due, the connections that are wanted early, and what brokers may ask for.

use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::{InitProducerIdResponse, MetadataResponse};

use super::request::{Body, Request};
use super::world::{World, encode};

/// Nothing wakes the sender before a second is over.
fn rests(world: &mut World) -> bool {
    let pass = world.pass();
    !pass.sent && pass.next_ms.is_none_or(|at| at > world.now_ms() + 1000)
}

#[test]
fn with_nothing_to_do_the_sender_rests() {
    // SND-3
    assert!(rests(&mut World::new(&[])), "no broker is known, and nothing is asked for");
    let mut world = World::warm(&[]);
    assert!(rests(&mut world));
    world.prime(0);
    world.run(200_000); // nothing of what was sent is left
    assert!(rests(&mut world));
}

#[test]
fn a_producer_id_that_was_refused_is_asked_for_after_its_back_off_and_not_before_a_broker_can_be_reached() {
    // IDM-1, SND-3
    let mut world = World::new(&[]);
    world.cluster.identity.0 = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
    world.shared.metadata.want(&"t".into());
    world.settle();
    let now_ms = world.now_ms();
    let next_ms = world.pass().next_ms.unwrap();
    assert!((now_ms + 50..=now_ms + 150).contains(&next_ms), "{} ms", next_ms - now_ms);
    world.links.down.extend([1, 2, 3]);
    world.advance(1000);
    let next_ms = world.pass().next_ms.unwrap();
    assert_eq!(next_ms - world.now_ms(), 50, "reconnect.backoff.ms");
}

#[test]
fn what_is_due_at_once_is_done_in_a_pass_of_its_own() {
    // SND-3: the batch is compressed between two passes
    let mut world = World::warm(&[("compression.type", "gzip")]);
    world.send(0, 1);
    let pass = world.pass();
    assert_eq!((pass.sent, pass.next_ms), (false, Some(world.now_ms() + 1)));
    assert!(world.pass().sent);
}

#[test]
fn bootstrap_servers_are_numbered_downwards() {
    // MET-1
    let world = World::new(&[("bootstrap.servers", "one:1,two:2,three:3")]);
    assert_eq!(world.links.nodes.keys().copied().collect::<Vec<_>>(), [-3, -2, -1]);
}

#[test]
fn a_request_remembers_how_many_were_ahead_of_it() {
    // RTY-3
    let mut world = World::warm(&[("enable.idempotence", "false")]);
    for ahead in 0..3 {
        world.send(0, ahead);
        world.settle();
    }
    for ahead in 0..3 {
        let Body::Produce(produce) = world.take(1).body else { panic!("no Produce") };
        assert_eq!(produce.trip.ahead, ahead);
    }
}

/// Answers the two questions with which a producer begins, in these versions.
fn begin(metadata: i16, identity: i16, throttle_time_ms: i32) -> World {
    let mut world = World::new(&[]);
    world.shared.metadata.want(&"t".into());
    world.pass();
    let requests: Vec<Request> = world.links.nodes.get_mut(&-1).unwrap().drain(..).collect();
    assert_eq!(requests.len(), 2);
    for mut request in requests {
        let body = if let Body::Metadata(_) = request.body {
            request.version = metadata;
            encode(&MetadataResponse { throttle_time_ms, ..Default::default() }, metadata)
        } else {
            request.version = identity;
            encode(&InitProducerIdResponse { throttle_time_ms, ..Default::default() }, identity)
        };
        let now_ms = world.now_ms();
        world.core.handle_response(-1, request, &body, &mut world.links, now_ms);
    }
    world
}

#[test]
fn from_these_versions_on_it_is_the_client_that_keeps_still() {
    // SND-7
    for (metadata, identity, is_ours) in [(5, 0, false), (6, 0, true), (5, 1, true)] {
        let world = begin(metadata, identity, 300);
        let until_ms = world.links.throttled.get(&-1).copied();
        assert_eq!(until_ms, is_ours.then_some(world.now_ms() + 300), "Metadata {metadata}, {identity}");
    }
}

/// The core hears of calls of `connect`.
fn hear(world: &mut World) {
    for (number, topics) in world.shared.commands.take().unwrap().warm_ups {
        let now_ms = world.now_ms();
        world.core.warm_up(number, topics, now_ms);
    }
}

#[test]
fn a_call_that_wants_connections_waits_for_those_to_all_leaders_of_its_topics() {
    // CON-8
    let mut world = World::new(&[]);
    let shared = world.shared.clone();
    let connect = |topic: &str| shared.commands.warm_up(&shared.sender, vec![topic.into()]);
    let early = connect("t");
    hear(&mut world);
    world.pass();
    assert!(!early.is_done(), "its topic is not known");
    world.settle();
    world.pass();
    assert!(early.is_done());

    world.links.down.insert(2);
    let (waits, unknown) = (connect("t"), connect("nowhere"));
    hear(&mut world);
    world.run(50);
    assert!(!waits.is_done() && !unknown.is_done(), "a leader is not there, or no topic");
    world.links.down.clear();
    world.pass();
    assert!(waits.is_done() && !unknown.is_done());

    // A connection that is busy stands.
    world.prime(0);
    for value in 0..5 {
        world.send(0, value);
        world.settle();
    }
    assert_eq!(world.waiting(1), 5);
    let busy = connect("t");
    hear(&mut world);
    world.pass();
    assert!(busy.is_done());
}

#[test]
fn connections_that_stand_are_counted() {
    let mut world = World::warm(&[]);
    assert_eq!(world.core.connections(&mut world.links), 3);
    world.links.down.insert(2);
    assert_eq!(world.core.connections(&mut world.links), 2);
}
