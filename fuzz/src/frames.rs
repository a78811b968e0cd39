//! Target: frames out of a stream, as a client reads them; a client's connection; `.properties` texts.
//!
//! Input: what (frames, connection, properties), then what that one says at its function.

use std::io::IoSlice;
use std::sync::Arc;

use rohrpost_net::connection::{Connection, Context, CorrelationIds, Sending, Step};
use rohrpost_net::{Address, Event, NetConfig, NodeState, parse_bootstrap_servers, properties};
use rohrpost_protocol::ApiKey;
use rohrpost_protocol::frame::{Progress, SIZE_LEN, check};

use crate::input::Input;
use crate::memory::within;
use crate::vectors::{bytes, cases};

// The reader is private to its crate, and is to stay so. The broker's is reached through a socket, by the target `broker`.
#[path = "../../crates/net/src/frame.rs"]
#[allow(dead_code, missing_docs, reason = "the file is another crate's")]
mod client_side;

const FRAMES: u8 = 0;
const CONNECTION: u8 = 1;
const PROPERTIES: u8 = 2;

/// The longest frame that the readers here take.
const MAX: usize = 1 << 20;

/// See the module.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        FRAMES => frames(input),
        CONNECTION => connection(input),
        _ => texts(input.rest()),
    }
}

/// See the module.
pub fn seeds() -> Vec<Vec<u8>> {
    let frames: Vec<Vec<u8>> = cases("frames.jsonl").iter().map(|case| bytes(case, "hex")).collect();
    let mut seeds: Vec<Vec<u8>> =
        frames.windows(3).map(|three| [&[FRAMES, 13, 0][..], &three.concat()].concat()).collect();
    seeds.push([&[FRAMES, 200, 1][..], &70_000_i32.to_be_bytes(), &[7; 70_000]].concat());
    for frame in cases("frames.jsonl").iter().filter(|case| case["type"] == "response") {
        // the ids of the connection begin at 0
        let mut frame = bytes(frame, "hex");
        frame[4..8].fill(0);
        seeds.push(
            [&[CONNECTION, 50, 0][..], &frame, &[0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 2]].concat(),
        );
    }
    for text in [
        "a=b\n# c\n! d\nkey\\ 1 : v\\u00e4l\\\n   ue\n\\=\n",
        "localhost:9092,[::1]:9093,b",
        "log.dirs=/a\\\\b,\\:\n",
    ] {
        seeds.push([&[PROPERTIES][..], text.as_bytes()].concat());
    }
    seeds
}

/// Input: how many bytes a read gives at most, a stream. The reader finds the same frames as one look at the whole.
fn frames(mut input: Input<'_>) {
    let step = usize::from(input.byte()).max(1) * if input.byte() & 1 == 0 { 1 } else { 400 };
    let stream = input.rest();
    let mut expected = Vec::new();
    let mut at = 0;
    let ends_well = loop {
        match check(&stream[at..], MAX) {
            Ok(Progress::Complete(len)) => {
                expected.push(&stream[at + SIZE_LEN..at + SIZE_LEN + len]);
                at += SIZE_LEN + len;
            }
            Ok(Progress::NeedMore(_)) => break true,
            Err(error) => {
                let _ = error.to_string();
                break false;
            }
        }
    };
    // Twice what has come, the frame that is given out beside the one that begins, and a first read.
    let bound = 4 * stream.len() + (160 << 10);
    let (found, well) = within(bound, || client(stream, step));
    assert_eq!((found, well), (expected, ends_well));
}

/// The frames, as positions in the stream would be too easy: compared by content, and dropped at once.
fn client(stream: &[u8], step: usize) -> (Vec<&[u8]>, bool) {
    let mut reader = client_side::FrameReader::new(MAX);
    let (mut found, mut rest, mut at) = (Vec::new(), stream, 0);
    while !rest.is_empty() {
        let space = reader.space();
        let count = space.len().min(step).min(rest.len());
        assert!(count > 0, "room for a read is never empty");
        space[..count].copy_from_slice(&rest[..count]);
        reader.advance(count);
        rest = &rest[count..];
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => found.push(same(stream, &mut at, &frame)),
                Ok(None) => break,
                Err(_) => return (found, false),
            }
        }
    }
    (found, true)
}

/// The same bytes in the stream itself.
fn same<'a>(stream: &'a [u8], at: &mut usize, frame: &[u8]) -> &'a [u8] {
    let begin = *at + SIZE_LEN;
    *at = begin + frame.len();
    assert!(&stream[begin..*at] == frame, "a frame has other bytes than the stream");
    &stream[begin..*at]
}

/// Input: bytes per read, milliseconds between reads, what the broker sends. Every request comes back exactly once.
fn connection(mut input: Input<'_>) {
    let (step, pause_ms) = (usize::from(input.byte()).max(1), u64::from(input.byte()) * 50);
    let bytes = input.rest();
    let config = NetConfig { max_response_bytes: MAX, ..NetConfig::default() };
    let mut connection: Connection<Vec<u8>> =
        Connection::new(1, Address::new("10.0.0.1", 9092), Arc::new(config));
    let (mut rng, mut correlation_ids) = (fastrand::Rng::with_seed(1), CorrelationIds::default());
    let mut events = Vec::new();
    let mut now_ms = 1000;
    let mut given = 0;
    macro_rules! cx {
        () => {
            &mut Context { now_ms, rng: &mut rng, correlation_ids: &mut correlation_ids, events: &mut events }
        };
    }
    if let Step::Connect(_) = connection.connect(cx!()) {}
    let _ = connection.handle_resolved(Ok(vec!["10.0.0.1:9092".parse().expect("an address")]), cx!());
    connection.handle_connected(cx!());
    for chunk in bytes.chunks(step) {
        while connection.wants_write() {
            let mut slices: Vec<IoSlice<'_>> = Vec::new();
            let written = connection.gather(4, &mut slices);
            let len = slices.iter().map(|slice| slice.len()).sum::<usize>() - written;
            drop(slices);
            connection.handle_written(len, cx!());
        }
        if !connection.is_open() {
            break;
        }
        let mut rest = chunk;
        while !rest.is_empty() && connection.is_open() {
            let space = connection.read_space();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            connection.handle_read(count, cx!());
            rest = &rest[count..];
        }
        now_ms += pause_ms;
        connection.handle_timer(cx!());
        if connection.state() == NodeState::Ready && connection.can_send(now_ms) {
            let correlation_id = correlation_ids.take();
            let request = vec![0; 20];
            let frame_len = request.len();
            let sending = Sending { request, frame_len, api: ApiKey::Metadata, version: 12, correlation_id };
            if connection.send(sending, now_ms).is_ok() {
                given += 1;
            }
        }
    }
    connection.close(rohrpost_net::Disconnect::Local, cx!());
    let back: usize = events
        .iter()
        .map(|event| match event {
            Event::Response { .. } | Event::Written { .. } => 1,
            Event::Disconnected { requests, .. } => requests.len(),
            Event::Ready { .. } => 0,
        })
        .sum();
    assert_eq!(back, given, "requests that came back");
    let _ = format!("{events:?}");
}

/// Texts that people write.
fn texts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match properties::parse(&text) {
        Ok(all) => drop(format!("{all:?}")),
        Err(errors) => {
            assert!(!errors.is_empty());
            errors.iter().for_each(|error| drop(error.to_string()));
        }
    }
    if let Err(error) = parse_bootstrap_servers(&text) {
        let _ = error.to_string();
    }
}
