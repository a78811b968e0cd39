//! The gate: frames, headers and bodies that are none; versions; connections by the hundred.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::io::Write;

use common::*;
use rohrpost_broker::Cluster;
use rohrpost_protocol::messages::{
    ApiVersionsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest,
};
use rohrpost_protocol::{ErrorCode, encode_request};

/// Header of version 1: key, version, correlation id, client id "x".
fn header(api_key: i16, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&api_key.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&9i32.to_be_bytes());
    bytes.extend_from_slice(&[0, 1, b'x']);
    bytes
}

#[test]
fn what_is_served_is_advertised_and_nothing_else() {
    // G5, E12
    let cluster = Cluster::builder().start().unwrap();
    let mut client = Client::of(&cluster);
    let request = ApiVersionsRequest {
        client_software_name: "test",
        client_software_version: "1",
        ..Default::default()
    };
    for version in 0..=4 {
        let response = client.call(&request, version);
        assert_eq!(response.error_code, ErrorCode::NONE);
        let ranges: Vec<_> =
            response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        assert_eq!(
            ranges,
            [
                (0, 0, 13),
                (1, 4, 18),
                (2, 1, 11),
                (3, 0, 13),
                (10, 0, 6),
                (18, 0, 4),
                (19, 2, 7),
                (20, 1, 6),
                (21, 0, 2),
                (22, 0, 5),
                (23, 2, 4),
                (32, 1, 4),
                (33, 0, 2),
                (35, 1, 5),
                (37, 0, 3),
                (43, 0, 2),
                (44, 0, 1),
                (46, 0, 0),
                (60, 0, 2),
                (75, 0, 0),
            ]
        );
    }
    // G6: what is in force is what is supported
    for version in [3, 4] {
        let response = client.call(&request, version);
        let finalized: Vec<_> = response
            .finalized_features
            .iter()
            .map(|f| (f.name, f.min_version_level, f.max_version_level))
            .collect();
        assert_eq!(finalized, [("metadata.version", 30, 30)]);
        assert_eq!(response.supported_features.len(), 1);
        assert!(response.finalized_features_epoch > 0);
    }
    // every advertised version answers; Produce 0 to 2 do not exist any more and close the connection
    for version in 4..=18 {
        assert!(client.call(&FetchRequest::default(), version).responses.is_empty());
    }
    for version in 1..=11 {
        assert!(client.call(&ListOffsetsRequest::default(), version).topics.is_empty());
    }
    for version in 0..=13 {
        client.call(&MetadataRequest::default(), version);
    }
    for version in 3..=13 {
        let request = ProduceRequest { acks: 1, transactional_id: None, ..Default::default() };
        assert!(client.call(&request, version).responses.is_empty());
    }
    client.send_raw(&header(0, 2));
    client.assert_closed("Produce 2");
}

#[test]
fn an_api_versions_request_from_the_future_is_answered_in_version_0() {
    // G3
    let cluster = Cluster::builder().start().unwrap();
    let mut client = Client::of(&cluster);
    // correlation id 0; header version 2 with its tags; whatever body
    client.send_raw(&[0, 18, 0, 99, 0, 0, 0, 0, 0, 1, b'x', 0, 1, 2, 3]);
    let response = client.receive::<ApiVersionsRequest<'_>>(0, 0);
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION);
    let [own] = &response.api_keys[..] else { panic!("only itself") };
    assert_eq!((own.api_key, own.min_version, own.max_version), (18, 0, 4));
    // the connection stays usable
    assert_eq!(client.call(&ApiVersionsRequest::default(), 2).error_code, ErrorCode::NONE);
}

#[test]
fn a_client_name_of_strange_characters_is_an_invalid_request() {
    // G4
    let cluster = Cluster::builder().start().unwrap();
    let mut client = Client::of(&cluster);
    let request = ApiVersionsRequest {
        client_software_name: "a b",
        client_software_version: "1",
        ..Default::default()
    };
    let response = client.call(&request, 3);
    assert_eq!(response.error_code, ErrorCode::INVALID_REQUEST);
    assert!(response.api_keys.is_empty());
}

#[test]
fn malformed_requests_close_their_own_connection_and_no_other() {
    // G1, G2, N8
    let cluster = Cluster::builder().topic("t", 1, 1).start().unwrap();
    let mut good = Client::of(&cluster);
    good.produce("t", 0, Some(&batch(&["x"])));
    let produce = encode_request(&produce_request("t", 0, Some(&batch(&["x"])), 1), 9, 1, None).unwrap();
    let cut = &produce.bytes()[4..produce.len() - 40];
    let mut lengths = header(3, 1);
    lengths.extend_from_slice(&i32::MAX.to_be_bytes());
    let mut sizes_from_nowhere = header(1, 4);
    sizes_from_nowhere.extend_from_slice(&[0xff; 30]);
    let rows: &[(&str, &[u8])] = &[
        ("one byte", &[7]),
        ("an unknown key", &header(999, 0)),
        ("a negative key", &header(-1, 0)),
        ("an API of Kafka's that is not served", &header(11, 4)),
        ("a removed API", &header(4, 0)),
        ("a version too high", &header(3, 14)),
        ("a negative version", &header(3, -1)),
        ("no body", &header(2, 1)),
        ("a body cut short", cut),
        ("a length beyond the frame", &lengths),
        ("nonsense", &sizes_from_nowhere),
    ];
    for (what, body) in rows {
        let mut bad = Client::of(&cluster);
        bad.send_raw(body);
        bad.assert_closed(what);
        assert_eq!(good.fetch("t", 0, 0), ["x"], "after {what}");
    }
    let mut bad = Client::of(&cluster);
    bad.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    bad.assert_closed("another protocol");
    let mut bad = Client::of(&cluster);
    bad.stream.write_all(&(100 * 1024 * 1024 + 1i32).to_be_bytes()).unwrap();
    bad.assert_closed("an oversize frame");
    // bytes after a valid body are ignored (G2), and a null client id is an empty one (G7)
    let encoder = encode_request(&MetadataRequest::default(), 1, 0, None).unwrap();
    let mut longer = encoder.bytes()[4..].to_vec();
    longer.extend_from_slice(&[1, 2, 3]);
    let mut odd = Client::of(&cluster);
    odd.send_raw(&longer);
    assert_eq!(odd.receive::<MetadataRequest<'_>>(1, 0).brokers.len(), 1);
    odd.call(&MetadataRequest::default(), 1);
}

#[test]
fn connections_come_and_go_by_the_hundred() {
    let builder = Cluster::builder().topic("t", 1, 1).config("socket.listen.backlog.size", "200");
    let cluster = builder.start().unwrap();
    let frame = encode_request(&produce_request("t", 0, Some(&batch(&["never"])), -1), 9, 1, None).unwrap();
    for round in 0..2 {
        let mut clients: Vec<_> = (0..100).map(|_| Client::of(&cluster)).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            // nothing, half a size, half a frame, a whole request and gone before the answer
            match n % 4 {
                0 => {}
                1 => client.stream.write_all(&frame.bytes()[..2]).unwrap(),
                2 => client.stream.write_all(&frame.bytes()[..frame.len() - 1]).unwrap(),
                _ => client.send(&fetch_request("t", 0, round, i32::MAX, 1), 12),
            }
        }
        drop(clients);
    }
    eventually("all connections are gone", || cluster.server().connections() == 0);
    eventually("all fetches are forgotten", || cluster.log("t", 0).waiting_fetches() == 0);
    let mut client = Client::of(&cluster);
    assert_eq!(client.produce("t", 0, Some(&batch(&["x"]))).base_offset, 0);
}

#[test]
fn no_answer_says_that_a_client_is_throttled() {
    // N12: without quotas
    let cluster = Cluster::builder().topic("t", 1, 1).start().unwrap();
    let mut client = Client::of(&cluster);
    let request = ApiVersionsRequest {
        client_software_name: "test",
        client_software_version: "1",
        ..Default::default()
    };
    assert_eq!(client.call(&request, 4).throttle_time_ms, 0);
    assert_eq!(client.call(&MetadataRequest::default(), 12).throttle_time_ms, 0);
    assert_eq!(client.call(&ListOffsetsRequest::default(), 9).throttle_time_ms, 0);
    let bytes = batch(&["x"]);
    for _ in 0..50 {
        let request = produce_request("t", 0, Some(&bytes), 1);
        assert_eq!(client.call(&request, 9).throttle_time_ms, 0);
        assert_eq!(client.call(&fetch_request("t", 0, 0, 0, 1), 12).throttle_time_ms, 0);
    }
}

#[test]
fn five_pipelined_produce_requests_are_answered_in_order() {
    // N4
    let cluster = Cluster::builder().topic("t", 1, 1).start().unwrap();
    let mut client = Client::of(&cluster);
    for n in 0..5 {
        client.send(&produce_request("t", 0, Some(&batch(&[&format!("{n}")])), -1), 9);
    }
    for n in 0..5 {
        let response = client.receive::<ProduceRequest<'_>>(9, 4 - n);
        assert_eq!(response.responses[0].partition_responses[0].base_offset, i64::from(n));
    }
    assert_eq!(log_values(&cluster, "t", 0), ["0", "1", "2", "3", "4"]);
}
