//! The blocking client against scripted brokers.

#![allow(clippy::unwrap_used)] // tests may, helpers of tests too

mod common;

use std::net::{Shutdown, SocketAddr};
use std::sync::mpsc;
use std::thread;

use common::{Peer, Request, closed_port, serve};
use rohrpost_net::{Address, Client, ClientConfig, ClientError, Disconnect, NetConfig, Target};
use rohrpost_protocol::messages::{
    ListOffsetsRequest, MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use rohrpost_protocol::{
    ApiKey, Decoder, ErrorCode, Message as _, RequestHeader, VersionRange, encode_response,
};

fn address(of: SocketAddr) -> Address {
    Address::new(of.ip().to_string(), of.port())
}

fn soon() -> ClientConfig {
    ClientConfig { connect_timeout_ms: 250, ..ClientConfig::default() }
}

/// A metadata answer: one topic "t" whose partitions have these leaders.
fn answer(request: &Request, brokers: &[(i32, SocketAddr)], leaders: &[i32], error: ErrorCode) -> Vec<u8> {
    let mut input = Decoder::new(&request.content);
    let (api, header) = RequestHeader::read(&mut input).unwrap();
    assert_eq!(api, ApiKey::Metadata);
    let asked = MetadataRequest::decode(&mut input, header.api_version).unwrap();
    assert!(!asked.allow_auto_topic_creation);
    let hosts: Vec<String> = brokers.iter().map(|(_, address)| address.ip().to_string()).collect();
    let brokers = brokers.iter().zip(&hosts).map(|((node_id, address), host)| MetadataResponseBroker {
        node_id: *node_id,
        host,
        port: i32::from(address.port()),
        ..Default::default()
    });
    let partitions = leaders.iter().enumerate().rev().map(|(partition, &leader_id)| {
        MetadataResponsePartition { partition_index: partition as i32, leader_id, ..Default::default() }
    });
    let topic = MetadataResponseTopic {
        error_code: error,
        name: Some("t"),
        partitions: partitions.collect(),
        ..Default::default()
    };
    let response = MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some("c"),
        controller_id: 1,
        topics: if asked.topics.is_none_or(|topics| !topics.is_empty()) { vec![topic] } else { Vec::new() },
        ..Default::default()
    };
    let frame = encode_response(&response, header.api_version, header.correlation_id).unwrap();
    frame.into_parts().0
}

#[test]
fn a_refused_connection_names_the_address_and_asks_whether_a_broker_runs() {
    let closed = closed_port();
    let address = address(closed.address);
    let error = Client::connect(std::slice::from_ref(&address), soon()).unwrap_err();
    let expected = format!(
        "could not connect to {address} within 250 ms: connection refused; is a broker running there?"
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn each_of_several_addresses_is_named_with_its_reason() {
    let silent = serve(vec![Box::new(|mut peer: Peer| peer.wait_for_end())]);
    let closed = closed_port();
    let (refused, silent_address) = (address(closed.address), address(silent.address));
    let error = Client::connect(&[refused.clone(), silent_address.clone()], soon()).unwrap_err();
    let expected = format!(
        "could not connect to any of 2 addresses within 250 ms:\n  {refused}: connection refused\n  \
         {silent_address}: it accepts connections, but does not answer"
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_empty_list_of_addresses_is_an_error_at_once() {
    let error =
        Client::connect(&[], ClientConfig { connect_timeout_ms: 3_600_000, ..ClientConfig::default() });
    assert!(error.unwrap_err().to_string().contains("no broker address"));
}

#[test]
fn one_live_server_among_dead_ones_is_enough() {
    // MET-1
    let live = serve(vec![Box::new(|mut peer: Peer| {
        peer.shake_hands();
        peer.wait_for_end();
    })]);
    let closed = [closed_port(), closed_port()];
    let addresses = [address(closed[0].address), address(live.address), address(closed[1].address)];
    let mut client = Client::connect(&addresses, ClientConfig::default()).unwrap();
    assert_eq!(client.route(Target::Any).unwrap(), -2);
}

#[test]
fn a_server_of_another_protocol_is_an_error_at_once() {
    let script = |mut peer: Peer| {
        peer.request();
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        peer.wait_for_end();
    };
    let server = serve(vec![Box::new(script)]);
    let config = ClientConfig { connect_timeout_ms: 3_600_000, ..ClientConfig::default() };
    let error = Client::connect(&[address(server.address)], config).unwrap_err();
    assert!(error.to_string().contains("speaks another protocol"), "{error}");
}

#[test]
fn requests_go_to_the_leader_that_metadata_names() {
    let leader = serve(vec![Box::new(|mut peer: Peer| {
        peer.shake_hands();
        let request = peer.request().unwrap();
        let everything = answer(&request, &[], &[], ErrorCode::NONE);
        peer.send(&everything);
    })]);
    let bootstrap_script = move |mut peer: Peer| {
        let own = peer.0.local_addr().unwrap();
        peer.shake_hands();
        while let Some(request) = peer.request() {
            peer.send(&answer(&request, &[(1, own), (2, leader.address)], &[1, 2, -1, 9], ErrorCode::NONE));
        }
    };
    let bootstrap = serve(vec![Box::new(bootstrap_script)]);
    let mut client = Client::connect(&[address(bootstrap.address)], soon()).unwrap();

    let metadata = client.metadata(None).unwrap();
    assert_eq!(metadata.cluster_id.as_deref(), Some("c"));
    assert_eq!(metadata.brokers.iter().map(|broker| broker.id).collect::<Vec<_>>(), [1, 2]);
    let partitions: Vec<_> = metadata.topic("t").unwrap().partitions.iter().map(|p| p.leader_id).collect();
    assert_eq!(partitions, [1, 2, -1, 9]);

    assert_eq!(client.leader("t", 1).unwrap(), 2);
    let request = MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
    let response = client.call(Target::Leader("t", 1), &request).unwrap();
    assert_eq!((response.node, response.version), (2, 13));
    assert_eq!(response.decode::<MetadataRequest<'_>>().unwrap().cluster_id, Some("c"));

    let error = client.leader("t", 2).unwrap_err();
    assert!(matches!(error, ClientError::NoLeader { .. }), "{error}");
    // MET-6: broker 9 is not in the answer.
    let error = client.leader("t", 3).unwrap_err();
    assert!(matches!(error, ClientError::NoLeader { .. }), "{error}");
    let error = client.leader("t", 4).unwrap_err();
    assert_eq!(error.to_string(), "topic 't' has no partition 4; it has 4, counted from 0");
    let error = client.leader("unknown", 0).unwrap_err();
    assert!(error.to_string().starts_with("topic 'unknown': UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
    let error = client.route(Target::Node(9)).unwrap_err();
    assert_eq!(error.to_string(), "the cluster has no broker with id 9");
}

#[test]
fn an_election_under_way_is_waited_out() {
    let script = |mut peer: Peer| {
        let own = peer.0.local_addr().unwrap();
        peer.shake_hands();
        for (leaders, error) in [
            (&[][..], ErrorCode::LEADER_NOT_AVAILABLE),
            (&[-1][..], ErrorCode::NONE),
            (&[5][..], ErrorCode::NONE),
        ] {
            let request = peer.request().unwrap();
            peer.send(&answer(&request, &[(5, own)], leaders, error));
        }
    };
    let server = serve(vec![Box::new(script)]);
    let config = ClientConfig { connect_timeout_ms: 60_000, ..ClientConfig::default() };
    let mut client = Client::connect(&[address(server.address)], config).unwrap();
    assert_eq!(client.leader("t", 0).unwrap(), 5);
}

#[test]
fn metadata_is_asked_for_again_when_the_connection_is_lost() {
    let lost = |mut peer: Peer| {
        peer.shake_hands();
        peer.request();
    };
    let kept = |mut peer: Peer| {
        let own = peer.0.local_addr().unwrap();
        peer.shake_hands();
        let request = peer.request().unwrap();
        peer.send(&answer(&request, &[(5, own)], &[5], ErrorCode::NONE));
    };
    let server = serve(vec![Box::new(lost), Box::new(kept)]);
    let mut client = Client::connect(&[address(server.address)], ClientConfig::default()).unwrap();
    assert_eq!(client.metadata(None).unwrap().brokers.len(), 1);
}

#[test]
fn a_connection_that_ended_between_two_calls_is_made_anew() {
    let once = |mut peer: Peer| {
        let own = peer.0.local_addr().unwrap();
        peer.shake_hands();
        let request = peer.request().unwrap();
        peer.send(&answer(&request, &[(5, own)], &[5], ErrorCode::NONE));
    };
    let (end, ending) = mpsc::channel();
    let (ended, is_ended) = mpsc::channel();
    let first = move |peer: Peer| {
        once(Peer(peer.0.try_clone().unwrap()));
        ending.recv().unwrap();
        peer.0.shutdown(Shutdown::Both).unwrap();
        ended.send(()).unwrap();
    };
    let server = serve(vec![Box::new(first), Box::new(once)]);
    let mut client = Client::connect(&[address(server.address)], ClientConfig::default()).unwrap();
    let request = MetadataRequest { allow_auto_topic_creation: false, ..Default::default() };
    client.call(Target::Any, &request).unwrap();
    end.send(()).unwrap();
    is_ended.recv().unwrap();
    client.call(Target::Any, &request).unwrap();
}

#[test]
fn a_request_without_an_answer_is_not_sent_twice() {
    let script = |mut peer: Peer| {
        peer.shake_hands();
        peer.request();
    };
    let server = serve(vec![Box::new(script)]);
    let mut client = Client::connect(&[address(server.address)], ClientConfig::default()).unwrap();
    let request = MetadataRequest { allow_auto_topic_creation: false, ..Default::default() };
    let error = client.call(Target::Any, &request).unwrap_err();
    assert!(matches!(&error, ClientError::Disconnected { reason: Disconnect::Closed, .. }), "{error}");
    let expected =
        format!("no answer to Metadata from the broker {}: the broker closed the connection", server.address);
    assert_eq!(error.to_string(), expected);
    // The one script is over: a second request would have had to find a second connection.
    server.thread.join().unwrap();
}

#[test]
fn a_broker_that_never_answers_costs_the_request_timeout() {
    let script = |mut peer: Peer| {
        peer.shake_hands();
        peer.wait_for_end();
    };
    let server = serve(vec![Box::new(script)]);
    let net = NetConfig { request_timeout_ms: 50, ..NetConfig::default() };
    let mut client = Client::connect(&[address(server.address)], ClientConfig { net, ..soon() }).unwrap();
    let error = client.call(Target::Any, &MetadataRequest::default()).unwrap_err();
    assert!(matches!(&error, ClientError::Disconnected { reason: Disconnect::Timeout, .. }), "{error}");
}

#[test]
fn an_api_that_the_broker_does_not_serve_is_refused_before_anything_is_sent() {
    // VER-1
    let script = |mut peer: Peer| {
        peer.shake_hands();
        assert_eq!(peer.request(), None);
    };
    let server = serve(vec![Box::new(script)]);
    let mut client = Client::connect(&[address(server.address)], ClientConfig::default()).unwrap();
    let error = client.call(Target::Any, &ListOffsetsRequest::default()).unwrap_err();
    assert!(matches!(error, ClientError::UnsupportedVersion { theirs: VersionRange::NONE, .. }), "{error}");
    assert!(error.to_string().contains("it serves none"), "{error}");
    let cap = VersionRange::new(0, 7);
    assert_eq!(client.version(Target::Any, ApiKey::Metadata, cap).unwrap(), 7);
    drop(client);
    server.thread.join().unwrap();
}

#[test]
fn a_client_can_be_moved_to_another_thread() {
    let live = serve(vec![Box::new(|mut peer: Peer| {
        peer.shake_hands();
        peer.wait_for_end();
    })]);
    let mut client = Client::connect(&[address(live.address)], ClientConfig::default()).unwrap();
    thread::spawn(move || client.route(Target::Any).unwrap()).join().unwrap();
}
