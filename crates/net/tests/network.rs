//! The network on real sockets of loopback, against a broker that does what a test tells it.

#![allow(clippy::unwrap_used)] // tests may, helpers of tests too

mod common;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{Peer, closed_port, response, serve};
use rohrpost_net::{Disconnect, Event, NetConfig, Network, NodeState, Outgoing, Resolve};
use rohrpost_protocol::ApiKey;

type Net = Network<Vec<u8>>;

/// No test waits longer than this for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    net: Net,
    start: Instant,
    events: Vec<Event<Vec<u8>>>,
}

impl Rig {
    fn new(config: NetConfig) -> Self {
        Self { net: Net::new(config).unwrap(), start: Instant::now(), events: Vec::new() }
    }

    /// A rig whose node 1 is at `address` and ready.
    fn ready(config: NetConfig, address: SocketAddr) -> Self {
        let mut rig = Self::new(config);
        rig.net.set_node(1, &address.ip().to_string(), address.port());
        rig.become_ready(1);
        rig
    }

    fn become_ready(&mut self, node: i32) {
        assert!(!self.net.ready(node, self.now()));
        assert!(matches!(self.next_event(), Event::Ready { node: n } if n == node));
        assert!(self.net.ready(node, self.now()));
    }

    fn now(&self) -> u64 {
        1 + self.start.elapsed().as_millis() as u64
    }

    fn poll(&mut self) {
        let start = self.start;
        assert!(start.elapsed() < PATIENCE, "nothing happens: {:?}", self.events);
        let now = || 1 + start.elapsed().as_millis() as u64;
        self.net.poll(Some(Duration::from_secs(1)), now, &mut self.events).unwrap();
    }

    fn next_event(&mut self) -> Event<Vec<u8>> {
        while self.events.is_empty() {
            self.poll();
        }
        self.events.remove(0)
    }

    /// Hands over a Produce request of version 3 with this body.
    fn send(&mut self, node: i32, body: &[u8]) -> i32 {
        let id = self.net.next_correlation_id(node);
        let header = [&0_i16.to_be_bytes()[..], &3_i16.to_be_bytes(), &id.to_be_bytes(), body].concat();
        let now = self.now();
        self.net.send(node, id, ApiKey::Produce, 3, common::frame(&header), now).unwrap();
        id
    }

    fn next_disconnect(&mut self) -> (Disconnect, Vec<Vec<u8>>) {
        match self.next_event() {
            Event::Disconnected { reason, requests, .. } => (reason, requests),
            other => panic!("expected a disconnect, got {other:?}"),
        }
    }

    fn next_response(&mut self) -> Vec<u8> {
        match self.next_event() {
            Event::Response { body, .. } => body.to_vec(),
            other => panic!("expected a response, got {other:?}"),
        }
    }
}

/// Answers every request with its own content behind the header.
fn echo(mut peer: Peer) {
    peer.shake_hands();
    while let Some(request) = peer.request() {
        peer.send(&response(request.correlation_id, &request.content[8..]));
    }
}

#[test]
fn requests_are_answered_in_order_over_one_connection() {
    let server = serve(vec![Box::new(echo)]);
    let mut rig = Rig::ready(NetConfig::default(), server.address);
    assert_eq!(rig.net.state(1), NodeState::Ready);
    assert_eq!(rig.net.versions(1).unwrap().range(ApiKey::Produce).max, 13);
    for round in 0..50_u8 {
        for n in 0..5 {
            rig.send(1, &[round, n]);
        }
        assert!(!rig.net.ready(1, rig.now()));
        for n in 0..5 {
            assert_eq!(rig.next_response(), [round, n]);
        }
    }
    assert_eq!(rig.net.in_flight(1), 0);
    drop(rig);
    server.thread.join().unwrap();
}

#[test]
fn requests_and_responses_beyond_every_buffer_get_through() {
    let server = serve(vec![Box::new(echo)]);
    let config = NetConfig { send_buffer_bytes: 4096, receive_buffer_bytes: 65536, ..NetConfig::default() };
    let mut rig = Rig::ready(config, server.address);
    let bodies: Vec<Vec<u8>> =
        (1..=3_u8).map(|n| (0..1_000_000_u32).map(|i| (i as u8).wrapping_mul(n)).collect()).collect();
    for body in &bodies {
        rig.send(1, body);
    }
    for body in &bodies {
        assert!(&rig.next_response() == body);
    }
}

#[test]
fn a_full_socket_makes_the_node_not_ready_until_it_drains() {
    // SND-1
    let (go, wait) = mpsc::channel::<()>();
    let script = move |mut peer: Peer| {
        peer.shake_hands();
        wait.recv().unwrap();
        echo_requests(peer);
    };
    let server = serve(vec![Box::new(script)]);
    let mut rig = Rig::ready(NetConfig::default(), server.address);
    rig.send(1, &vec![7; 8_000_000]);
    assert!(rig.net.ready(1, rig.now()), "nothing is written yet");
    rig.net.flush(rig.now(), &mut rig.events);
    assert!(!rig.net.ready(1, rig.now()));
    assert_eq!(rig.net.in_flight(1), 1);
    go.send(()).unwrap();
    while !rig.net.ready(1, rig.now()) {
        rig.poll();
    }
    assert_eq!(rig.next_response().len(), 8_000_000);
}

fn echo_requests(mut peer: Peer) {
    while let Some(request) = peer.request() {
        peer.send(&response(request.correlation_id, &request.content[8..]));
    }
}

#[test]
fn a_refused_connection_is_reported_with_its_address_and_backs_off() {
    // CON-4
    let closed = closed_port();
    let address = closed.address;
    let mut rig = Rig::new(NetConfig {
        reconnect_backoff_ms: 300_000,
        reconnect_backoff_max_ms: 600_000,
        ..NetConfig::default()
    });
    rig.net.set_node(-1, "127.0.0.1", address.port());
    assert!(!rig.net.ready(-1, rig.now()));
    let (reason, requests) = rig.next_disconnect();
    assert_eq!(reason.to_string(), format!("127.0.0.1:{}: connection refused", address.port()));
    assert!(requests.is_empty());
    assert_eq!(rig.net.state(-1), NodeState::BackingOff);
    assert!(!rig.net.ready(-1, rig.now()));
    assert_eq!(rig.net.least_loaded(rig.now()), None);
    assert!(rig.net.next_deadline().unwrap() > rig.now() + 200_000);
    // The time is the caller's: at the deadline the node may be tried again.
    let later = rig.net.next_deadline().unwrap();
    assert_eq!(rig.net.least_loaded(later), Some(-1));
}

#[test]
fn a_server_that_closes_after_a_request_hands_the_request_back() {
    // SND-4
    let script = |mut peer: Peer| {
        peer.shake_hands();
        let request = peer.request().unwrap();
        peer.send(&response(request.correlation_id, b"first"));
        peer.request().unwrap();
    };
    let server = serve(vec![Box::new(script), Box::new(echo)]);
    let mut rig = Rig::ready(
        NetConfig { reconnect_backoff_ms: 1, reconnect_backoff_max_ms: 1, ..NetConfig::default() },
        server.address,
    );
    rig.send(1, b"one");
    rig.send(1, b"two");
    // What was answered before the end is answered.
    assert_eq!(rig.next_response(), b"first");
    let (reason, requests) = rig.next_disconnect();
    assert!(matches!(reason, Disconnect::Closed), "{reason:?}");
    assert_eq!(requests.len(), 1);
    assert!(requests[0].ends_with(b"two"));
    assert_eq!(rig.net.in_flight(1), 0);
    // SND-2: and a new connection is begun after the back-off.
    while !rig.net.ready(1, rig.now()) {
        rig.poll();
    }
    rig.send(1, b"three");
    rig.events.clear();
    assert_eq!(rig.next_response(), b"three");
}

// Elsewhere a reset may discard what was received before it.
#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_came_before_a_write_failed_is_not_lost() {
    let script = |mut peer: Peer| {
        peer.shake_hands();
        let request = peer.request().unwrap();
        peer.send(&response(request.correlation_id, b"answered"));
    };
    let server = serve(vec![Box::new(script)]);
    let mut rig = Rig::ready(NetConfig { max_in_flight: 1_000_000, ..NetConfig::default() }, server.address);
    rig.send(1, b"one");
    rig.net.flush(rig.now(), &mut rig.events);
    server.thread.join().unwrap();
    // The first write is answered with a reset, one after that fails. Nothing was read meanwhile.
    while rig.events.is_empty() {
        assert!(rig.start.elapsed() < PATIENCE);
        rig.send(1, b"too late");
        rig.net.flush(rig.now(), &mut rig.events);
    }
    assert_eq!(rig.next_response(), b"answered");
    let (reason, requests) = rig.next_disconnect();
    assert!(matches!(reason, Disconnect::Closed));
    assert!(requests.iter().all(|request| request.ends_with(b"too late")));
}

#[test]
fn a_server_that_never_answers_costs_all_requests_a_timeout() {
    // SND-4
    let script = |mut peer: Peer| {
        peer.shake_hands();
        peer.wait_for_end();
    };
    let server = serve(vec![Box::new(script)]);
    let mut rig = Rig::ready(NetConfig { request_timeout_ms: 50, ..NetConfig::default() }, server.address);
    rig.send(1, b"one");
    rig.send(1, b"two");
    let (reason, requests) = rig.next_disconnect();
    assert!(matches!(reason, Disconnect::Timeout));
    assert_eq!(requests.len(), 2);
    // The socket is closed, or the server would wait for ever.
    server.thread.join().unwrap();
}

#[test]
fn a_server_that_accepts_and_says_nothing_does_not_hold_the_handshake_for_ever() {
    // SND-4
    let server = serve(vec![Box::new(|mut peer: Peer| peer.wait_for_end())]);
    let mut rig = Rig::new(NetConfig { request_timeout_ms: 50, ..NetConfig::default() });
    rig.net.set_node(1, "127.0.0.1", server.address.port());
    assert!(!rig.net.ready(1, rig.now()));
    assert!(matches!(rig.next_disconnect().0, Disconnect::Timeout));
}

#[test]
fn a_server_of_another_protocol_is_noticed() {
    // CON-9
    let script = |mut peer: Peer| {
        peer.request();
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        peer.wait_for_end();
    };
    let server = serve(vec![Box::new(script)]);
    let mut rig = Rig::new(NetConfig::default());
    rig.net.set_node(1, "127.0.0.1", server.address.port());
    assert!(!rig.net.ready(1, rig.now()));
    let reason = rig.next_disconnect().0;
    assert!(reason.to_string().contains("speaks another protocol"), "{reason}");
}

#[test]
fn requests_without_a_response_are_handed_back_when_written() {
    // SND-8
    struct OneWay(Vec<u8>);
    impl Outgoing for OneWay {
        fn slices<'a>(&'a self, out: &mut Vec<io::IoSlice<'a>>) {
            out.push(io::IoSlice::new(&self.0));
        }
        fn expects_response(&self) -> bool {
            false
        }
    }
    let (seen, see) = mpsc::channel();
    let script = move |mut peer: Peer| {
        peer.shake_hands();
        seen.send(peer.request().unwrap().content).unwrap();
        peer.wait_for_end();
    };
    let server = serve(vec![Box::new(script)]);
    let mut net = Network::<OneWay>::new(NetConfig::default()).unwrap();
    net.set_node(1, "127.0.0.1", server.address.port());
    let mut events = Vec::new();
    while !net.ready(1, 0) {
        net.poll(Some(PATIENCE), || 0, &mut events).unwrap();
    }
    events.clear();
    let content = b"\0\0\0\x03\0\0\0\x09one way";
    assert!(net.send(1, 9, ApiKey::Produce, 3, OneWay(common::frame(content)), 0).is_ok());
    net.flush(0, &mut events);
    assert!(matches!(&events[..], [Event::Written { node: 1, .. }]));
    assert_eq!(net.in_flight(1), 0);
    assert_eq!(see.recv_timeout(PATIENCE).unwrap(), content);
}

#[test]
fn a_waker_ends_a_poll_from_another_thread_and_before_it_begins() {
    let mut rig = Rig::new(NetConfig::default());
    let waker = rig.net.waker();
    waker.wake();
    waker.wake();
    // Without a deadline a poll that missed this would never return.
    rig.net.poll(None, || 0, &mut rig.events).unwrap();
    let other = thread::spawn(move || waker.wake());
    rig.net.poll(None, || 0, &mut rig.events).unwrap();
    other.join().unwrap();
    assert!(rig.events.is_empty());
}

#[test]
fn wakes_from_many_threads_are_never_lost() {
    let mut rig = Rig::new(NetConfig::default());
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (waker, sender) = (rig.net.waker(), sender.clone());
            thread::spawn(move || {
                for n in 0..500 {
                    sender.send(n).unwrap();
                    waker.wake();
                }
            })
        })
        .collect();
    let mut seen = 0;
    while seen < 2000 {
        seen += receiver.try_iter().count();
        if seen < 2000 {
            rig.net.poll(None, || 0, &mut rig.events).unwrap();
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Resolves every name to what the test says.
struct Names(io::Result<Vec<SocketAddr>>);

impl Resolve for Names {
    fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        match &self.0 {
            Ok(addresses) => Ok(addresses.clone()),
            Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
        }
    }
}

#[test]
fn a_name_with_a_dead_and_a_live_address_is_connected_through_the_second() {
    // CON-2
    let server = serve(vec![Box::new(echo)]);
    let closed = closed_port();
    let names = Names(Ok(vec![closed.address, server.address]));
    let config = NetConfig { reconnect_backoff_ms: 1, reconnect_backoff_max_ms: 1, ..NetConfig::default() };
    let mut rig = Rig::new(config.clone());
    rig.net = Net::with_resolver(config, Arc::new(names)).unwrap();
    rig.net.set_node(1, "kafka.example", 9092);
    assert!(!rig.net.ready(1, rig.now()));
    assert_eq!(rig.net.state(1), NodeState::Resolving);
    assert!(matches!(rig.next_disconnect().0, Disconnect::ConnectFailed(_)));
    while !rig.net.ready(1, rig.now()) {
        rig.poll();
    }
}

#[test]
fn a_name_that_hangs_does_not_hold_up_another() {
    struct OneHangs(SocketAddr, Mutex<mpsc::Receiver<()>>);
    impl Resolve for OneHangs {
        fn resolve(&self, host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
            if host == "hangs" {
                // Until the test is over.
                let _ = self.1.lock().unwrap().recv();
            }
            Ok(vec![self.0])
        }
    }
    let server = serve(vec![Box::new(echo)]);
    let (_release, hang) = mpsc::channel();
    let mut rig = Rig::new(NetConfig::default());
    let names = OneHangs(server.address, Mutex::new(hang));
    rig.net = Net::with_resolver(NetConfig::default(), Arc::new(names)).unwrap();
    rig.net.set_node(1, "hangs", 9092);
    rig.net.set_node(2, "answers", 9092);
    assert!(!rig.net.ready(1, rig.now()));
    rig.become_ready(2);
    assert_eq!(rig.net.state(1), NodeState::Resolving);
}

#[test]
fn a_name_that_does_not_resolve_is_reported_with_the_resolvers_message() {
    let mut rig = Rig::new(NetConfig::default());
    let names = Names(Err(io::Error::other("no such host")));
    rig.net = Net::with_resolver(NetConfig::default(), Arc::new(names)).unwrap();
    rig.net.set_node(1, "kafka.example", 9092);
    assert!(!rig.net.ready(1, rig.now()));
    assert_eq!(rig.next_disconnect().0.to_string(), "cannot resolve the name 'kafka.example': no such host");
}

#[test]
fn localhost_is_resolved_on_the_helper_thread_to_the_address_brokers_listen_on() {
    // CON-2
    let server = serve(vec![Box::new(echo)]);
    let mut rig = Rig::new(NetConfig::default());
    rig.net.set_node(1, "localhost", server.address.port());
    rig.become_ready(1);
}

#[test]
fn a_node_set_to_another_address_loses_its_connection_and_gets_a_new_one() {
    let first = serve(vec![Box::new(|mut peer: Peer| {
        peer.shake_hands();
        peer.wait_for_end();
    })]);
    let second = serve(vec![Box::new(echo)]);
    let mut rig = Rig::ready(NetConfig::default(), first.address);
    rig.net.set_node(1, "127.0.0.1", first.address.port());
    assert_eq!(rig.net.state(1), NodeState::Ready);
    rig.send(1, b"lost");
    rig.net.set_node(1, "127.0.0.1", second.address.port());
    let (reason, requests) = rig.next_disconnect();
    assert!(matches!(reason, Disconnect::Local));
    assert_eq!(requests.len(), 1);
    first.thread.join().unwrap();
    rig.become_ready(1);
    rig.send(1, b"kept");
    assert_eq!(rig.next_response(), b"kept");
}

#[test]
fn a_removed_or_unknown_node_is_refused_without_a_panic() {
    let server = serve(vec![Box::new(echo)]);
    let mut rig = Rig::ready(NetConfig::default(), server.address);
    rig.send(1, b"x");
    rig.net.remove_node(1);
    assert!(matches!(rig.next_disconnect(), (Disconnect::Local, requests) if requests.len() == 1));
    for node in [1, 99] {
        assert!(!rig.net.ready(node, 0));
        assert_eq!(rig.net.state(node), NodeState::Unknown);
        assert!(rig.net.versions(node).is_none());
        assert_eq!(rig.net.in_flight(node), 0);
        assert!(rig.net.send(node, 1, ApiKey::Produce, 3, vec![0; 12], 0).is_err());
        rig.net.throttle(node, 10, 0);
        rig.net.disconnect(node, 0);
        rig.net.remove_node(node);
    }
    assert_eq!(rig.net.least_loaded(0), None);
}

#[test]
fn the_least_loaded_node_is_the_one_with_the_least_in_flight() {
    // MET-10
    let servers: Vec<_> = (0..3).map(|_| serve(vec![Box::new(echo)])).collect();
    let mut rig = Rig::new(NetConfig { max_in_flight: 2, ..NetConfig::default() });
    rig.net.set_node(0, "127.0.0.1", servers[0].address.port());
    rig.net.set_node(1, "127.0.0.1", servers[1].address.port());
    rig.net.set_node(2, "127.0.0.1", servers[2].address.port());
    // None was tried: any; one that is being connected comes before those.
    assert!(rig.net.least_loaded(rig.now()).is_some());
    assert!(!rig.net.ready(2, rig.now()));
    assert_eq!(rig.net.least_loaded(rig.now()), Some(2));
    rig.next_event();
    // A ready one comes before one that is being connected.
    assert!(!rig.net.ready(1, rig.now()));
    assert_eq!(rig.net.least_loaded(rig.now()), Some(2));
    rig.next_event();
    rig.become_ready(0);
    rig.send(0, b"x");
    rig.send(0, b"x");
    rig.send(1, b"x");
    assert_eq!(rig.net.least_loaded(rig.now()), Some(2));
    rig.send(2, b"x");
    rig.send(2, b"x");
    assert_eq!(rig.net.least_loaded(rig.now()), Some(1));
    rig.send(1, b"x");
    assert_eq!(rig.net.least_loaded(rig.now()), None);
}

#[test]
fn the_node_whose_last_attempt_is_oldest_is_tried_first() {
    // MET-10
    let mut rig =
        Rig::new(NetConfig { reconnect_backoff_ms: 0, reconnect_backoff_max_ms: 0, ..NetConfig::default() });
    let closed = closed_port();
    for (node, at) in [(1, 300), (2, 100), (3, 200)] {
        rig.net.set_node(node, "127.0.0.1", closed.address.port());
        assert!(!rig.net.ready(node, at));
        rig.net.disconnect(node, at);
    }
    for _ in 0..20 {
        assert_eq!(rig.net.least_loaded(1000), Some(2));
    }
}

#[test]
fn one_connection_with_endless_responses_does_not_starve_the_others() {
    // A server whose responses come faster than anybody reads: the other node must get its turn all the same.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut peer = Peer(stream);
        peer.shake_hands();
        while let Some(request) = peer.request() {
            // A frame that never ends within this test.
            peer.send(
                &[&1_000_000_000_i32.to_be_bytes()[..], &request.correlation_id.to_be_bytes()].concat(),
            );
            let chunk = vec![0; 1 << 20];
            while io::Write::write_all(&mut peer.0, &chunk).is_ok() {}
        }
    });
    let quiet = serve(vec![Box::new(echo)]);
    let mut rig =
        Rig::ready(NetConfig { max_response_bytes: 1_000_000_000, ..NetConfig::default() }, address);
    rig.net.set_node(2, "127.0.0.1", quiet.address.port());
    rig.become_ready(2);
    rig.send(1, b"flood");
    for n in 0..20_u8 {
        rig.send(2, &[n]);
        assert_eq!(rig.next_response(), [n]);
    }
}

#[test]
fn dropping_a_network_closes_its_sockets() {
    let server = serve(vec![Box::new(|mut peer: Peer| {
        peer.shake_hands();
        peer.wait_for_end();
    })]);
    drop(Rig::ready(NetConfig::default(), server.address));
    server.thread.join().unwrap();
    assert!(TcpStream::connect(server.address).is_err());
}
