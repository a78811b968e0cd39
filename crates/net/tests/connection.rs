//! One connection, driven by scripted bytes and a clock made of a number.

#![allow(clippy::unwrap_used)] // tests may, helpers of tests too

mod common;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;

use common::{APIS, Request, response, versions_response};
use proptest::prelude::*;
use rohrpost_net::connection::{Connection, Context, CorrelationIds, Sending, Step};
use rohrpost_net::{Address, Disconnect, Event, NetConfig, NodeState, Outgoing, ProtocolError};
use rohrpost_protocol::ApiKey;

/// A request in two slices.
#[derive(Debug, Clone, PartialEq)]
struct Frame {
    bytes: Vec<u8>,
    expects_response: bool,
    written_ms: Option<u64>,
}

impl Outgoing for Frame {
    fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
        let (head, tail) = self.bytes.split_at(self.bytes.len() / 2);
        out.extend([IoSlice::new(head), IoSlice::new(tail)]);
    }

    fn expects_response(&self) -> bool {
        self.expects_response
    }

    fn note_written(&mut self, now_ms: u64) {
        self.written_ms = Some(now_ms);
    }
}

struct Rig {
    connection: Connection<Frame>,
    rng: fastrand::Rng,
    correlation_ids: CorrelationIds,
    events: Vec<Event<Frame>>,
    now_ms: u64,
}

impl Rig {
    fn new(config: NetConfig) -> Self {
        Self::to("10.0.0.1", config)
    }

    fn to(host: &str, config: NetConfig) -> Self {
        Self {
            connection: Connection::new(7, Address::new(host, 9092), Arc::new(config)),
            rng: fastrand::Rng::with_seed(1),
            correlation_ids: CorrelationIds::default(),
            events: Vec::new(),
            now_ms: 1_000_000,
        }
    }

    fn ready(config: NetConfig) -> Self {
        let mut rig = Self::new(config);
        rig.become_ready();
        rig
    }

    fn become_ready(&mut self) {
        self.connect_tcp();
        let asked = self.written();
        self.receive(&versions_response(asked.version, asked.correlation_id, 0, &APIS));
        assert!(matches!(self.take_events()[..], [Event::Ready { node: 7 }]));
    }

    fn connect_tcp(&mut self) {
        assert!(matches!(self.with(|c, cx| c.connect(cx)), Step::Connect(_)));
        self.with(|c, cx| c.handle_connected(cx));
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut Connection<Frame>, &mut Context<'_, Frame>) -> R) -> R {
        let Self { connection, rng, correlation_ids, events, now_ms } = self;
        f(connection, &mut Context { now_ms: *now_ms, rng, correlation_ids, events })
    }

    fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.connection.is_open() {
            let space = self.connection.read_space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.with(|c, cx| c.handle_read(n, cx));
            bytes = &bytes[n..];
        }
    }

    fn outgoing(&self) -> Vec<u8> {
        let mut slices = Vec::new();
        let written = self.connection.gather(1024, &mut slices);
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        bytes[written..].to_vec()
    }

    /// Writes all there is to write, which is one request, and returns it.
    fn written(&mut self) -> Request {
        let bytes = self.outgoing();
        self.with(|c, cx| c.handle_written(bytes.len(), cx));
        assert!(self.outgoing().is_empty() || !self.connection.wants_write());
        Request::parse(&bytes[4..])
    }

    fn write(&mut self, n: usize) {
        self.with(|c, cx| c.handle_written(n, cx));
    }

    /// Hands over a Produce request of version 3, whose response has header 0.
    fn send(&mut self, tag: u8) -> Result<i32, Frame> {
        self.send_version(tag, 3, true)
    }

    fn send_version(&mut self, tag: u8, version: i16, expects_response: bool) -> Result<i32, Frame> {
        let correlation_id = self.correlation_ids.take();
        let request = Frame { bytes: vec![tag; 10], expects_response, written_ms: None };
        let sending = Sending { request, frame_len: 10, api: ApiKey::Produce, version, correlation_id };
        self.connection.send(sending, self.now_ms).map(|()| correlation_id)
    }

    fn sleep(&mut self, ms: u64) {
        self.now_ms += ms;
        self.with(|c, cx| c.handle_timer(cx));
    }

    fn take_events(&mut self) -> Vec<Event<Frame>> {
        std::mem::take(&mut self.events)
    }

    /// The one event there is, which must be the end of the connection; with the tags of the requests handed back.
    fn disconnected(&mut self) -> (Disconnect, Vec<u8>) {
        let mut events = self.take_events();
        match (events.pop(), events.len()) {
            (Some(Event::Disconnected { node: 7, reason, requests }), 0) => {
                assert!(!self.connection.is_open());
                assert_eq!(self.connection.in_flight(), 0);
                (reason, requests.iter().map(|request| request.bytes[0]).collect())
            }
            other => panic!("expected one disconnect, got {other:?} after {events:?}"),
        }
    }

    /// The tags and bodies of the responses that came.
    fn responses(&mut self) -> Vec<(u8, Vec<u8>)> {
        let answer = |event| match event {
            Event::Response { request, body, .. } => (Frame::bytes(&request)[0], body.to_vec()),
            other => panic!("expected a response, got {other:?}"),
        };
        self.take_events().into_iter().map(answer).collect()
    }
}

impl Frame {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[test]
fn a_connection_takes_requests_only_when_the_versions_are_known() {
    // CON-6, SND-1
    let mut rig = Rig::new(NetConfig::default());
    assert!(rig.send(1).is_err());
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Connect("10.0.0.1:9092".parse().unwrap()));
    assert_eq!(rig.connection.state(), NodeState::Connecting);
    assert!(rig.send(1).is_err());
    rig.with(|c, cx| c.handle_connected(cx));
    assert_eq!(rig.connection.state(), NodeState::Handshaking);
    assert!(rig.send(1).is_err());
    assert!(rig.connection.versions().is_none());
    let asked = rig.written();
    // VER-2: the highest version first.
    assert_eq!((asked.api_key, asked.version), (18, 4));
    rig.receive(&versions_response(4, asked.correlation_id, 0, &APIS));
    assert_eq!(rig.connection.state(), NodeState::Ready);
    assert!(rig.connection.versions().is_some());
    assert!(rig.send(1).is_ok());
}

#[test]
fn a_request_knows_when_the_socket_had_all_of_it_and_the_connection_its_round_trip() {
    let mut rig = Rig::new(NetConfig::default());
    rig.connect_tcp();
    let asked = rig.written();
    assert_eq!(rig.connection.round_trip_ms(), None);
    rig.now_ms += 40;
    rig.receive(&versions_response(asked.version, asked.correlation_id, 0, &APIS));
    rig.take_events();
    assert_eq!(rig.connection.round_trip_ms(), Some(40));
    let id = rig.send(1).unwrap();
    rig.write(9);
    assert_eq!(rig.connection.unwritten(), 1);
    rig.now_ms += 7;
    let written_ms = rig.now_ms;
    rig.write(1);
    assert_eq!(rig.connection.unwritten(), 0);
    rig.now_ms += 100;
    rig.receive(&response(id, &[]));
    let [Event::Response { request, .. }] = &rig.take_events()[..] else { panic!("an answer came") };
    assert_eq!(request.written_ms, Some(written_ms));
}

#[test]
fn error_35_asks_again_in_the_version_that_the_broker_lists() {
    // VER-2
    let mut rig = Rig::new(NetConfig::default());
    rig.connect_tcp();
    let asked = rig.written();
    rig.receive(&versions_response(0, asked.correlation_id, 35, &[(0, 0, 8), (18, 0, 2)]));
    let again = rig.written();
    assert_eq!((again.api_key, again.version), (18, 2));
    assert_ne!(again.correlation_id, asked.correlation_id);
    rig.receive(&versions_response(2, again.correlation_id, 0, &APIS));
    assert!(matches!(rig.take_events()[..], [Event::Ready { node: 7 }]));
}

#[test]
fn error_35_without_a_readable_list_asks_again_in_version_0() {
    // VER-2
    let unreadable = [&35_i16.to_be_bytes()[..], &[0xff; 3]].concat();
    let empty = [&35_i16.to_be_bytes()[..], &[0; 4]].concat();
    for body in [unreadable, empty, 35_i16.to_be_bytes().to_vec()] {
        let mut rig = Rig::new(NetConfig::default());
        rig.connect_tcp();
        let asked = rig.written();
        rig.receive(&response(asked.correlation_id, &body));
        let again = rig.written();
        assert_eq!(again.version, 0, "after {body:?}");
        rig.receive(&versions_response(0, again.correlation_id, 0, &APIS));
        assert_eq!(rig.connection.state(), NodeState::Ready);
    }
}

#[test]
fn a_broker_that_refuses_every_version_is_given_up() {
    // VER-2
    let mut rig = Rig::new(NetConfig::default());
    rig.connect_tcp();
    for expected in [4, 0] {
        let asked = rig.written();
        assert_eq!(asked.version, expected);
        // It lists a version that it just refused: that must not go on for ever.
        rig.receive(&versions_response(0, asked.correlation_id, 35, &[(18, 0, 4)]));
    }
    assert!(matches!(rig.disconnected().0, Disconnect::UnsupportedVersion));
}

#[test]
fn any_other_error_of_the_handshake_ends_the_connection() {
    // VER-2
    let mut rig = Rig::new(NetConfig::default());
    rig.connect_tcp();
    let asked = rig.written();
    rig.receive(&versions_response(4, asked.correlation_id, 42, &[]));
    assert!(
        matches!(rig.disconnected().0, Disconnect::Protocol(ProtocolError::ApiVersionsRefused(code)) if code.0 == 42)
    );
}

#[test]
fn responses_are_matched_in_order_and_come_without_their_header() {
    // SND-6
    let mut rig = Rig::ready(NetConfig::default());
    let first = rig.send(1).unwrap();
    let second = rig.send_version(2, 9, true).unwrap();
    rig.write(20);
    rig.receive(&response(first, b"one"));
    // Response header 1 with two tagged fields.
    rig.receive(&response(second, &[&[2, 0, 1, 0xaa, 5, 2, 0xbb, 0xcc], &b"two"[..]].concat()));
    assert_eq!(rig.responses(), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    assert_eq!(rig.connection.in_flight(), 0);
}

#[test]
fn a_wrong_correlation_id_ends_the_connection_and_hands_all_requests_back() {
    // SND-6
    let mut rig = Rig::ready(NetConfig::default());
    let first = rig.send(1).unwrap();
    let second = rig.send(2).unwrap();
    rig.write(20);
    rig.receive(&response(second, b"two"));
    let (reason, requests) = rig.disconnected();
    let expected = ProtocolError::CorrelationId { expected: Some(first), found: second };
    assert!(matches!(reason, Disconnect::Protocol(e) if e == expected));
    assert_eq!(requests, [1, 2]);
}

#[test]
fn a_response_that_nobody_asked_for_ends_the_connection() {
    // SND-6
    let mut rig = Rig::ready(NetConfig::default());
    rig.receive(&response(5, b""));
    let expected = ProtocolError::CorrelationId { expected: None, found: 5 };
    assert!(matches!(rig.disconnected().0, Disconnect::Protocol(e) if e == expected));

    // Nor may a request be answered that is not written whole.
    let mut rig = Rig::ready(NetConfig::default());
    let id = rig.send(1).unwrap();
    rig.write(9);
    rig.receive(&response(id, b""));
    assert!(matches!(rig.disconnected().0, Disconnect::Protocol(_)));
}

#[test]
fn impossible_frame_sizes_end_the_connection() {
    // CON-9
    for size in [-1, 0, 1001] {
        let mut rig = Rig::ready(NetConfig { max_response_bytes: 1000, ..NetConfig::default() });
        rig.send(1).unwrap();
        rig.receive(&i32::to_be_bytes(size));
        let (reason, requests) = rig.disconnected();
        assert!(matches!(reason, Disconnect::Protocol(ProtocolError::Frame(_))));
        assert_eq!(requests, [1]);
    }
}

#[test]
fn a_frame_too_short_for_a_correlation_id_ends_the_connection() {
    // CON-9
    let mut rig = Rig::ready(NetConfig::default());
    rig.send(1).unwrap();
    rig.write(10);
    rig.receive(&[0, 0, 0, 3, 0, 0, 0]);
    let (reason, requests) = rig.disconnected();
    assert!(matches!(reason, Disconnect::Protocol(ProtocolError::Header)));
    assert_eq!(requests, [1]);
}

#[test]
fn a_response_header_that_is_cut_short_hands_its_request_back_with_the_others() {
    // CON-9
    let headers: [&[u8]; 4] = [&[], &[1, 0], &[1, 0, 200], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]];
    for header in headers {
        let mut rig = Rig::ready(NetConfig::default());
        let id = rig.send_version(1, 9, true).unwrap();
        rig.send(2).unwrap();
        rig.write(20);
        rig.receive(&response(id, header));
        let (reason, requests) = rig.disconnected();
        assert!(matches!(reason, Disconnect::Protocol(ProtocolError::Header)), "{header:?}");
        assert_eq!(requests, [1, 2]);
    }
}

#[test]
fn partial_writes_go_on_where_they_stopped() {
    let mut rig = Rig::ready(NetConfig::default());
    rig.send(1).unwrap();
    rig.send(2).unwrap();
    let all = [[1; 10], [2; 10]].concat();
    let mut done = 0;
    for n in [3, 2, 6, 8] {
        assert_eq!(rig.outgoing(), all[done..]);
        rig.write(n);
        done += n;
    }
    assert_eq!(rig.outgoing(), all[19..]);
    rig.write(1);
    assert!(!rig.connection.wants_write());
    assert_eq!(rig.connection.in_flight(), 2);
}

#[test]
fn a_full_socket_takes_no_further_request() {
    // SND-1
    let mut rig = Rig::ready(NetConfig::default());
    rig.send(1).unwrap();
    rig.connection.set_write_blocked(true);
    assert!(!rig.connection.can_send(rig.now_ms));
    rig.connection.set_write_blocked(false);
    assert!(rig.connection.can_send(rig.now_ms));
}

#[test]
fn no_more_than_max_in_flight_requests_are_taken() {
    // SND-1: all kinds count, written or not.
    let mut rig = Rig::ready(NetConfig { max_in_flight: 2, ..NetConfig::default() });
    let first = rig.send(1).unwrap();
    rig.write(10);
    rig.send(2).unwrap();
    assert!(!rig.connection.can_send(rig.now_ms));
    assert_eq!(rig.send(3).unwrap_err().bytes, [3; 10]);
    rig.receive(&response(first, b""));
    assert!(rig.send(3).is_ok());
}

#[test]
fn a_request_without_a_response_is_complete_when_it_is_written() {
    // SND-8
    let mut rig = Rig::ready(NetConfig::default());
    let first = rig.send(1).unwrap();
    rig.send_version(2, 3, false).unwrap();
    rig.write(19);
    assert!(rig.take_events().is_empty());
    rig.write(1);
    assert!(matches!(&rig.take_events()[..], [Event::Written { node: 7, request }] if request.bytes[0] == 2));
    rig.receive(&response(first, b"one"));
    assert_eq!(rig.responses(), [(1, b"one".to_vec())]);
}

#[test]
fn one_request_over_time_ends_the_connection_and_all_its_requests() {
    // SND-4
    let mut rig = Rig::ready(NetConfig { request_timeout_ms: 100, ..NetConfig::default() });
    rig.send(1).unwrap();
    rig.write(10);
    rig.sleep(60);
    rig.send(2).unwrap();
    assert_eq!(rig.connection.deadline_ms(), Some(rig.now_ms + 40));
    rig.sleep(39);
    assert!(rig.events.is_empty());
    rig.sleep(1);
    let (reason, requests) = rig.disconnected();
    assert!(matches!(reason, Disconnect::Timeout));
    assert_eq!(requests, [1, 2]);
}

#[test]
fn a_handshake_without_an_answer_ends_with_a_timeout() {
    // SND-4: it is a request too.
    let mut rig = Rig::new(NetConfig { request_timeout_ms: 100, ..NetConfig::default() });
    rig.connect_tcp();
    rig.sleep(99);
    assert!(rig.events.is_empty());
    rig.sleep(1);
    assert!(matches!(rig.disconnected().0, Disconnect::Timeout));
}

#[test]
fn a_throttled_connection_takes_no_request_until_then_and_the_moment_never_moves_back() {
    // SND-7
    let mut rig = Rig::ready(NetConfig::default());
    let start = rig.now_ms;
    rig.connection.throttle(start + 100, start);
    rig.connection.throttle(start + 50, start);
    assert_eq!(rig.connection.deadline_ms(), Some(start + 100));
    rig.sleep(99);
    assert!(rig.send(1).is_err());
    rig.sleep(1);
    assert_ne!(rig.connection.deadline_ms(), Some(rig.now_ms), "it is over, and no timer is needed for it");
    assert!(rig.send(1).is_ok());
}

#[test]
fn throttled_time_does_not_count_for_the_request_timeout() {
    // SND-4
    let mut rig = Rig::ready(NetConfig { request_timeout_ms: 100, ..NetConfig::default() });
    rig.send(1).unwrap();
    rig.connection.throttle(rig.now_ms + 50, rig.now_ms);
    // The part of the second that overlaps the first counts once.
    rig.connection.throttle(rig.now_ms + 70, rig.now_ms);
    rig.sleep(169);
    assert!(rig.events.is_empty());
    rig.sleep(1);
    assert!(matches!(rig.disconnected().0, Disconnect::Timeout));
}

#[test]
fn an_idle_connection_is_closed_and_may_be_opened_again_at_once() {
    // CON-5
    let mut rig = Rig::ready(NetConfig { connections_max_idle_ms: Some(1000), ..NetConfig::default() });
    rig.sleep(900);
    let id = rig.send(1).unwrap();
    rig.write(10);
    // A connection that waits for an answer is not idle.
    rig.sleep(2000);
    rig.receive(&response(id, b""));
    assert_eq!(rig.responses().len(), 1);
    rig.sleep(999);
    assert!(rig.events.is_empty());
    rig.sleep(1);
    assert!(matches!(rig.disconnected().0, Disconnect::Idle));
    assert!(rig.connection.can_connect(rig.now_ms));

    let mut rig = Rig::ready(NetConfig { connections_max_idle_ms: None, ..NetConfig::default() });
    assert_eq!(rig.connection.deadline_ms(), None);
    rig.sleep(u64::from(u32::MAX));
    assert!(rig.events.is_empty());
}

#[test]
fn waits_between_attempts_double_and_start_over_when_ready() {
    // CON-4, RTY-1
    let config =
        NetConfig { reconnect_backoff_ms: 100, reconnect_backoff_max_ms: 1000, ..NetConfig::default() };
    let mut rig = Rig::new(config);
    for range in [80..=119, 160..=239, 320..=479, 640..=959, 800..=1000, 800..=1000] {
        assert!(matches!(rig.with(|c, cx| c.connect(cx)), Step::Connect(_)));
        rig.with(|c, cx| c.handle_connect_failed(io::ErrorKind::ConnectionRefused.into(), cx));
        assert!(matches!(rig.disconnected().0, Disconnect::ConnectFailed(_)));
        assert_eq!(rig.connection.state(), NodeState::BackingOff);
        let wait = rig.connection.deadline_ms().unwrap() - rig.now_ms;
        assert!(range.contains(&wait), "{wait} is not in {range:?}");
        rig.sleep(wait - 1);
        assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::None);
        rig.sleep(1);
        assert_eq!(rig.connection.state(), NodeState::Disconnected);
    }
    rig.become_ready();
    rig.with(|c, cx| c.close(Disconnect::Closed, cx));
    let wait = rig.connection.deadline_ms().unwrap() - rig.now_ms;
    assert!((80..=119).contains(&wait), "{wait}");
}

#[test]
fn the_time_to_connect_grows_with_failed_attempts_and_is_reset_by_a_connection() {
    // CON-3
    let mut rig =
        Rig::new(NetConfig { reconnect_backoff_ms: 0, reconnect_backoff_max_ms: 0, ..NetConfig::default() });
    for range in [8_000..=11_999, 16_000..=23_999, 24_000..=30_000, 24_000..=30_000] {
        assert!(matches!(rig.with(|c, cx| c.connect(cx)), Step::Connect(_)));
        let timeout = rig.connection.deadline_ms().unwrap() - rig.now_ms;
        assert!(range.contains(&timeout), "{timeout} is not in {range:?}");
        rig.sleep(timeout);
        let (reason, _) = rig.disconnected();
        assert!(matches!(reason, Disconnect::ConnectFailed(e) if e.error.kind() == io::ErrorKind::TimedOut));
        rig.sleep(0);
    }
    rig.connect_tcp();
    rig.with(|c, cx| c.close(Disconnect::Closed, cx));
    rig.take_events();
    assert!(matches!(rig.with(|c, cx| c.connect(cx)), Step::Connect(_)));
    let timeout = rig.connection.deadline_ms().unwrap() - rig.now_ms;
    assert!((8_000..=11_999).contains(&timeout), "{timeout}");
}

#[test]
fn the_addresses_of_a_name_are_tried_in_turn_and_an_established_loss_resolves_anew() {
    // CON-2
    let address = |last: u8| SocketAddr::from(([10, 0, 0, last], 9092));
    let mut rig = Rig::to(
        "kafka",
        NetConfig { reconnect_backoff_ms: 0, reconnect_backoff_max_ms: 0, ..NetConfig::default() },
    );
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Resolve);
    assert_eq!(rig.connection.state(), NodeState::Resolving);
    let found = vec![address(1), address(2)];
    assert_eq!(rig.with(|c, cx| c.handle_resolved(Ok(found.clone()), cx)), Step::Connect(address(1)));
    rig.with(|c, cx| c.handle_connect_failed(io::ErrorKind::ConnectionRefused.into(), cx));
    rig.sleep(0);
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Connect(address(2)));
    rig.with(|c, cx| c.handle_connect_failed(io::ErrorKind::ConnectionRefused.into(), cx));
    rig.sleep(0);
    // After the last.
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Resolve);
    assert_eq!(rig.with(|c, cx| c.handle_resolved(Ok(found.clone()), cx)), Step::Connect(address(1)));
    rig.with(|c, cx| c.handle_connected(cx));
    rig.with(|c, cx| c.close(Disconnect::Closed, cx));
    rig.sleep(0);
    // After the loss, and not the one tried last.
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Resolve);
    assert_eq!(rig.with(|c, cx| c.handle_resolved(Ok(found), cx)), Step::Connect(address(2)));
}

#[test]
fn a_resolver_that_hangs_is_waited_for_no_longer_than_a_connect_and_not_asked_twice() {
    // CON-3
    let mut rig = Rig::to("kafka", NetConfig::default());
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Resolve);
    rig.sleep(12_000);
    let (reason, _) = rig.disconnected();
    assert!(reason.to_string().starts_with("cannot resolve the name 'kafka'"), "{reason}");
    rig.sleep(100);
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::None);
    assert_eq!(rig.connection.state(), NodeState::Resolving);
    let found = vec!["10.0.0.1:9092".parse().unwrap()];
    assert!(matches!(rig.with(|c, cx| c.handle_resolved(Ok(found), cx)), Step::Connect(_)));
}

#[test]
fn a_resolver_that_answers_too_late_serves_the_next_attempt() {
    // CON-2
    let mut rig = Rig::to("kafka", NetConfig::default());
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Resolve);
    rig.sleep(12_000);
    rig.disconnected();
    let late = SocketAddr::from(([10, 0, 0, 1], 9092));
    assert_eq!(rig.with(|c, cx| c.handle_resolved(Ok(vec![late]), cx)), Step::None);
    rig.sleep(100);
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Connect(late));
}

#[test]
fn a_name_without_addresses_is_an_error_that_names_it() {
    let mut rig = Rig::to("kafka", NetConfig::default());
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Resolve);
    assert_eq!(rig.with(|c, cx| c.handle_resolved(Ok(Vec::new()), cx)), Step::None);
    let (reason, _) = rig.disconnected();
    assert_eq!(reason.to_string(), "cannot resolve the name 'kafka': it has no addresses");
}

#[test]
fn a_name_that_does_not_resolve_is_an_error_with_the_resolvers_words() {
    // CON-4
    let mut rig = Rig::to("kafka", NetConfig::default());
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Resolve);
    assert_eq!(rig.with(|c, cx| c.handle_resolved(Err("no such host".into()), cx)), Step::None);
    let (reason, _) = rig.disconnected();
    assert_eq!(reason.to_string(), "cannot resolve the name 'kafka': no such host");
    assert_eq!(rig.connection.state(), NodeState::BackingOff);
}

#[test]
fn a_timer_that_comes_early_ends_nothing() {
    // CON-3, SND-4
    let mut rig = Rig::to("kafka", NetConfig::default());
    assert_eq!(rig.with(|c, cx| c.connect(cx)), Step::Resolve);
    rig.sleep(1);
    assert_eq!(rig.connection.state(), NodeState::Resolving);
    let found = vec!["10.0.0.1:9092".parse().unwrap()];
    assert!(matches!(rig.with(|c, cx| c.handle_resolved(Ok(found), cx)), Step::Connect(_)));
    rig.sleep(1);
    assert_eq!(rig.connection.state(), NodeState::Connecting);
    rig.with(|c, cx| c.handle_connected(cx));
    rig.sleep(1);
    assert_eq!(rig.connection.state(), NodeState::Handshaking);
    let asked = rig.written();
    rig.receive(&versions_response(asked.version, asked.correlation_id, 0, &APIS));
    rig.sleep(1);
    assert_eq!(rig.connection.state(), NodeState::Ready);
    assert!(matches!(rig.take_events()[..], [Event::Ready { node: 7 }]));
}

#[test]
fn there_is_something_to_write_until_all_is_written() {
    let mut rig = Rig::new(NetConfig::default());
    assert!(!rig.connection.wants_write());
    rig.connect_tcp();
    let len = rig.outgoing().len();
    assert!(rig.connection.wants_write());
    rig.write(len - 1);
    assert!(rig.connection.wants_write());
    let mut rig = Rig::new(NetConfig::default());
    rig.connect_tcp();
    let asked = rig.written();
    assert!(!rig.connection.wants_write());
    rig.receive(&versions_response(asked.version, asked.correlation_id, 0, &APIS));
    assert!(!rig.connection.wants_write());
    rig.send(1).unwrap();
    assert!(rig.connection.wants_write());
    rig.write(9);
    assert!(rig.connection.wants_write());
    rig.write(1);
    assert!(!rig.connection.wants_write());
}

#[test]
fn traffic_counts_requests_answers_and_bytes_once() {
    let mut rig = Rig::new(NetConfig::default());
    rig.connect_tcp();
    let asked_len = rig.outgoing().len() as u64;
    let asked = rig.written();
    let versions = versions_response(asked.version, asked.correlation_id, 0, &APIS);
    rig.receive(&versions);
    let traffic = rig.connection.take_traffic();
    assert_eq!((traffic.requests, traffic.responses), (1, 1));
    assert_eq!(
        (traffic.request_bytes, traffic.largest_request, traffic.bytes_out),
        (asked_len, asked_len, asked_len)
    );
    assert_eq!(traffic.bytes_in, versions.len() as u64);
    let ids = [rig.send(1).unwrap(), rig.send(2).unwrap()];
    rig.write(13);
    rig.write(7);
    let answers: Vec<u8> = ids.iter().flat_map(|id| response(*id, b"body")).collect();
    rig.receive(&answers[..5]);
    rig.receive(&answers[5..]);
    let traffic = rig.connection.take_traffic();
    assert_eq!((traffic.requests, traffic.responses), (2, 2));
    assert_eq!((traffic.request_bytes, traffic.largest_request, traffic.bytes_out), (20, 10, 20));
    assert_eq!(traffic.bytes_in, answers.len() as u64);
    assert_eq!(rig.connection.take_traffic().bytes_in, 0, "taken");
}

#[test]
fn the_load_puts_ready_connections_before_those_that_connect_and_those_that_may() {
    // MET-10
    let mut rig = Rig::new(NetConfig { max_in_flight: 2, ..NetConfig::default() });
    let load = |rig: &Rig| rig.connection.load(rig.now_ms);
    assert_eq!((load(&rig), rig.connection.last_attempt_ms()), (Some((2, 0)), None));
    let began_ms = rig.now_ms;
    assert!(matches!(rig.with(|c, cx| c.connect(cx)), Step::Connect(_)));
    assert_eq!((load(&rig), rig.connection.last_attempt_ms()), (Some((1, 0)), Some(began_ms)));
    rig.with(|c, cx| c.handle_connected(cx));
    assert_eq!(load(&rig), Some((1, 0)));
    let asked = rig.written();
    rig.receive(&versions_response(asked.version, asked.correlation_id, 0, &APIS));
    assert_eq!(load(&rig), Some((0, 0)));
    rig.send(1).unwrap();
    assert_eq!(load(&rig), Some((0, 1)));
    rig.send(2).unwrap();
    assert_eq!(load(&rig), None, "busy");
    rig.with(|c, cx| c.close(Disconnect::Closed, cx));
    assert_eq!(load(&rig), None, "backing off");
    rig.sleep(1000);
    assert_eq!(load(&rig), Some((2, began_ms + 1)));
}

#[test]
fn correlation_ids_leave_out_those_of_sasl() {
    let mut ids = CorrelationIds::default();
    assert_eq!([ids.take(), ids.take()], [0, 1]);
    let mut last = CorrelationIds::starting_at(2_147_483_638);
    assert_eq!([last.take(), last.take(), last.take()], [2_147_483_638, 2_147_483_639, 0]);
}

proptest! {
    #[test]
    fn any_split_of_the_stream_gives_the_same_responses(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..8),
        cuts in prop::collection::vec(1_usize..60, 0..40),
    ) {
        // SND-6
        let mut rig = Rig::ready(NetConfig { max_in_flight: 8, ..NetConfig::default() });
        let mut stream = Vec::new();
        for (tag, body) in bodies.iter().enumerate() {
            stream.extend(response(rig.send(tag as u8).unwrap(), body));
        }
        rig.write(10 * bodies.len());
        let mut rest = &stream[..];
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            rig.receive(now);
            rest = later;
        }
        rig.receive(rest);
        let expected: Vec<_> = bodies.into_iter().enumerate().map(|(tag, body)| (tag as u8, body)).collect();
        prop_assert_eq!(rig.responses(), expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_lose_a_request(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        // A plausible size and id at the front take the rest of the bytes past the first checks.
        plausible in any::<bool>(),
        shaking_hands in any::<bool>(),
        version in prop::sample::select(&[3_i16, 9][..]),
    ) {
        // CON-9
        let mut rig = if shaking_hands { Rig::new(NetConfig::default()) } else { Rig::ready(NetConfig::default()) };
        let id = match shaking_hands {
            true => { rig.connect_tcp(); rig.written().correlation_id }
            false => { rig.send(1).unwrap(); rig.write(10); rig.send_version(2, version, true).unwrap() - 1 }
        };
        let sent = if shaking_hands { 0 } else { 2 };
        let bytes = if plausible { response(id, &bytes) } else { bytes };
        rig.receive(&bytes);
        rig.with(|c, cx| c.close(Disconnect::Closed, cx));
        let handed_back: usize = rig.take_events().iter().map(|event| match event {
            Event::Response { .. } | Event::Written { .. } => 1,
            Event::Disconnected { requests, .. } => requests.len(),
            Event::Ready { .. } => 0,
        }).sum();
        prop_assert_eq!(handed_back, sent);
    }
}
