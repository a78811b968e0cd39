//! Requests of Apache Kafka's own making, for every API and version that is served, as they are and tampered with: an answer or a
//! closed connection, never a panic, and the broker goes on.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::io::{Read, Write};

use common::*;
use rohrpost_broker::Cluster;
use rohrpost_protocol::messages::ApiVersionsRequest;

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// What each request is called, and its frame without the length. Only what the broker says that it serves.
fn requests(client: &mut Client) -> Vec<(String, Vec<u8>)> {
    let response = client.call(&ApiVersionsRequest::default(), 0);
    let served: Vec<(i64, i64, i64)> = response
        .api_keys
        .iter()
        .map(|api| (api.api_key.into(), api.min_version.into(), api.max_version.into()))
        .collect();
    let mut requests = Vec::new();
    for file in ["messages.jsonl", "messages_other.jsonl"] {
        let path = format!("{}/../../vectors/{file}", env!("CARGO_MANIFEST_DIR"));
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let number = |key: &str| row[key].as_i64().unwrap_or(-1);
            let (key, version) = (number("apiKey"), number("version"));
            let is_served = served.iter().any(|(k, min, max)| *k == key && (min..=max).contains(&&version));
            if row["type"] != "request" || !is_served {
                continue;
            }
            let mut frame = Vec::new();
            frame.extend_from_slice(&(key as i16).to_be_bytes());
            frame.extend_from_slice(&(version as i16).to_be_bytes());
            frame.extend_from_slice(&[0, 0, 0, 7, 0, 1, b'x']);
            if number("headerVersion") >= 2 {
                frame.push(0);
            }
            frame.extend(from_hex(row["hex"].as_str().unwrap()));
            requests.push((row["id"].as_str().unwrap().to_owned(), frame));
        }
    }
    requests
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

#[test]
fn golden_requests_whole_and_tampered_get_an_answer_or_a_closed_connection() {
    // G2, G8
    count_panics();
    let cluster = Cluster::builder().topic("t", 1, 1).config("auto.create.topics.enable", "false");
    let cluster = cluster.start().unwrap();
    let requests = requests(&mut Client::of(&cluster));
    let mut apis: Vec<&[u8]> = requests.iter().map(|(_, frame)| &frame[..2]).collect();
    apis.dedup();
    assert!(apis.len() > 10, "there are golden requests of {} APIs", apis.len());
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = |below: usize| {
        // xorshift: the same tampering at each run
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for (name, frame) in &requests {
        for how in 0..5 {
            let mut frame = frame.clone();
            let at = 4 + draw(frame.len() - 4);
            match how {
                0 => {}
                1 => frame[at] = draw(256) as u8,
                2 => frame.truncate(at),
                3 => frame[at] = frame[at].wrapping_add(1),
                _ => frame.insert(at, draw(256) as u8),
            }
            let mut client = Client::of(&cluster);
            client.stream.write_all(&(frame.len() as i32).to_be_bytes()).unwrap();
            client.stream.write_all(&frame).unwrap();
            // a request without an answer (acks=0), or a long wait, would look like silence: closing our half ends them
            client.stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(is_answered_or_closed(&mut client), "no answer to {name}: {frame:02x?}");
        }
        assert_eq!(panics(), 0, "a handler panicked at {name}");
    }
    assert!(cluster.storage_failure().is_none());
    assert_eq!(Client::of(&cluster).produce("t", 0, Some(&batch(&["x"]))).base_offset, 0);
}
