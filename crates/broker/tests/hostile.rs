//! Requests that were tampered with: an answer or a closed connection, never a panic, and the broker goes on.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::io::{Read, Write};

use common::*;
use proptest::prelude::*;
use rohrpost_broker::Cluster;
use rohrpost_protocol::messages::{
    ApiVersionsRequest, CreatableTopic, CreateTopicsRequest, DeleteTopicsRequest, InitProducerIdRequest,
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, MetadataRequest, MetadataRequestTopic,
};
use rohrpost_protocol::{Encoder, encode_request};

/// Bodies of valid requests, header included.
fn valid() -> Vec<Vec<u8>> {
    let bytes = batch(&["a", "b"]);
    let produce = produce_request("t", 0, Some(&bytes), -1);
    let mut fetch = fetch_request("t", 0, 0, 1, 1);
    fetch.session_id = 0;
    let list = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: "t",
            partitions: vec![ListOffsetsPartition { timestamp: -1, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let metadata = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some("t"), ..Default::default() }]),
        ..Default::default()
    };
    let create = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "u",
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        validate_only: true,
        ..Default::default()
    };
    let encoded: [Encoder; 11] = [
        encode_request(&produce, 3, 1, Some("x")).unwrap(),
        encode_request(&produce, 12, 1, Some("x")).unwrap(),
        encode_request(&fetch, 4, 1, Some("x")).unwrap(),
        encode_request(&fetch, 12, 1, Some("x")).unwrap(),
        encode_request(&list, 1, 1, Some("x")).unwrap(),
        encode_request(&list, 11, 1, Some("x")).unwrap(),
        encode_request(&metadata, 12, 1, Some("x")).unwrap(),
        encode_request(&create, 7, 1, Some("x")).unwrap(),
        encode_request(&DeleteTopicsRequest { topic_names: vec!["u"], ..Default::default() }, 5, 1, None)
            .unwrap(),
        encode_request(&InitProducerIdRequest::default(), 4, 1, None).unwrap(),
        encode_request(&ApiVersionsRequest::default(), 3, 1, None).unwrap(),
    ];
    encoded.iter().map(|encoder| encoder.bytes()[4..].to_vec()).collect()
}

/// True if the connection is closed or there is a whole answer.
fn is_answered_or_closed(client: &mut Client) -> bool {
    let mut size = [0; 4];
    match client.stream.read_exact(&mut size) {
        Ok(()) => {
            let mut body = vec![0; i32::from_be_bytes(size) as usize];
            client.stream.read_exact(&mut body).is_ok()
        }
        Err(error) => {
            error.kind() != std::io::ErrorKind::WouldBlock && error.kind() != std::io::ErrorKind::TimedOut
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    // G2, G8, N8
    #[test]
    fn tampered_requests_get_an_answer_or_a_closed_connection(
        tampering in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0usize..4), 60),
    ) {
        count_panics();
        let cluster = Cluster::builder().topic("t", 1, 1).config("auto.create.topics.enable", "false").start().unwrap();
        let valid = valid();
        let mut client = Client::of(&cluster);
        for (which, at, byte, how) in tampering {
            let mut body = which.get(&valid).clone();
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.truncate(at.max(1)),
                2 => body[at] = body[at].wrapping_add(1),
                _ => { body.insert(at, byte); }
            }
            // a request without an answer (acks=0), or a long wait, would look like silence: end them by closing our half
            client.stream.write_all(&(body.len() as i32).to_be_bytes()).unwrap();
            client.stream.write_all(&body).unwrap();
            client.stream.shutdown(std::net::Shutdown::Write).unwrap();
            prop_assert!(is_answered_or_closed(&mut client), "no answer to {:?}", body);
            client = Client::of(&cluster);
        }
        prop_assert_eq!(panics(), 0, "a handler panicked");
        prop_assert!(cluster.storage_failure().is_none());
        cluster.log("t", 0).try_records().unwrap();
    }
}
