//! Frames that are too short, too long, or none: for every request of every API and version that is advertised.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use rohrpost_protocol::messages::ApiVersionsRequest;

use super::*;

/// A valid request as Kafka's own code writes it, header included, without the size field.
struct Valid {
    name: String,
    frame: Vec<u8>,
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// One or more of every API and version that the broker advertises.
fn valid_requests(cluster: &Cluster) -> Vec<Valid> {
    let request =
        ApiVersionsRequest { client_software_name: "t", client_software_version: "1", ..Default::default() };
    let mut client = Client::of(cluster);
    let response = client.call(&request, 4);
    let mut missing: BTreeSet<(i16, i16)> = BTreeSet::new();
    for api in &response.api_keys {
        // Produce is listed from 0 although 0 to 2 do not exist (G5)
        let min = if api.api_key == 0 { 3 } else { api.min_version };
        missing.extend((min..=api.max_version).map(|version| (api.api_key, version)));
    }
    let advertised = missing.clone();
    let mut requests = Vec::new();
    for file in ["messages", "messages_other"] {
        let path = format!("{}/../../vectors/{file}.jsonl", env!("CARGO_MANIFEST_DIR"));
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let vector: serde_json::Value = serde_json::from_str(line).unwrap();
            let number = |key: &str| vector[key].as_i64().unwrap() as i16;
            let (api, version) = (number("apiKey"), number("version"));
            if vector["type"] != "request" || !advertised.contains(&(api, version)) {
                continue;
            }
            missing.remove(&(api, version));
            let mut frame = [api.to_be_bytes(), version.to_be_bytes()].concat();
            frame.extend_from_slice(&7i32.to_be_bytes());
            frame.extend_from_slice(&[0, 1, b'x']);
            if number("headerVersion") >= 2 {
                frame.push(0); // no tagged fields
            }
            frame.extend(hex(vector["hex"].as_str().unwrap()));
            requests.push(Valid { name: vector["id"].as_str().unwrap().to_owned(), frame });
        }
    }
    assert!(missing.is_empty(), "advertised, and no example of it: {missing:?}");
    requests
}

/// Sends these bytes and nothing more; what comes back until the broker closes the connection, which it must.
fn answers_to(cluster: &Cluster, bytes: &[u8], what: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(cluster.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    // a broker that has closed already may reset the connection
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{what}: {error}");
    }
    answer
}

fn framed(size: i32, body: &[u8]) -> Vec<u8> {
    [&size.to_be_bytes()[..], body].concat()
}

#[test]
fn every_prefix_of_every_request_ends_its_own_connection_only() {
    // G1, G2: a frame of the right size whose content is cut short
    let _turn = my_turn();
    let cluster = Cluster::builder().topic("good", 1, 1).start().unwrap();
    let mut good = Good::of(&cluster);
    let growth = Growth::begin();
    let mut sent = 0;
    for Valid { name, frame } in valid_requests(&cluster) {
        for len in 1..frame.len() {
            let what = format!("the first {len} of {} bytes of {name}", frame.len());
            let answer = answers_to(&cluster, &framed(len as i32, &frame[..len]), &what);
            assert!(answer.is_empty(), "{what} got an answer: {answer:?}");
            sent += 1;
        }
        good.is_served();
    }
    assert!(sent > 5000, "{sent}");
    assert!(growth.peak() < 20 << 20, "{} bytes more", growth.peak());
    eventually("the connections are gone", || cluster.server().connections() == 1);
    assert!(cluster.storage_failure().is_none());
}

#[test]
fn every_wrong_size_of_every_request_ends_its_own_connection_only() {
    // N8
    let _turn = my_turn();
    let cluster = Cluster::builder().topic("good", 1, 1).start().unwrap();
    let mut good = Good::of(&cluster);
    let growth = Growth::begin();
    for Valid { name, frame } in valid_requests(&cluster) {
        let len = frame.len() as i32;
        for size in
            [0, -1, i32::MIN, i32::MAX, 100 * 1024 * 1024 + 1, 100 * 1024 * 1024, len - 1, len + 1, len + 4]
        {
            let what = format!("{name}: {size} instead of {len}");
            let answer = answers_to(&cluster, &framed(size, &frame), &what);
            assert!(answer.is_empty(), "{what} got an answer: {answer:?}");
        }
        good.is_served();
    }
    assert!(growth.peak() < 20 << 20, "{} bytes more", growth.peak());
    eventually("the connections are gone", || cluster.server().connections() == 1);
}
