//! The network with an echo behind it, over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::*;

/// Answers a frame with its bytes. The first byte says how: `e` at once, `h` in a handler thread, `n` not at all, `p` by a
/// panic, `b` after [`Echo::release`], `d` by a wait that begins then, `w` by waiting for [`Echo::release`] in the purgatory's way, `t` by waiting for a deadline
/// that has passed, `c` by closing.
struct Echo {
    released: Mutex<bool>,
    release: Condvar,
    waiting: Mutex<Vec<Arc<EchoWaiter>>>,
    waiters: mpsc::Sender<Arc<EchoWaiter>>,
    handled: AtomicUsize,
}

struct EchoWaiter {
    responder: Responder,
    body: Vec<u8>,
    cancelled: AtomicBool,
}

fn response(body: &[u8]) -> Outcome {
    let mut head = (body.len() as i32).to_be_bytes().to_vec();
    head.extend_from_slice(body);
    Outcome::Respond(Response::new(head, Vec::new()))
}

impl Waiter for EchoWaiter {
    fn expire(&self) {
        self.responder.send(response(&self.body), Vec::new());
    }
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }
}

impl Echo {
    fn wait_for_release(&self) {
        let mut released = self.released.lock();
        while !*released {
            self.release.wait(&mut released);
        }
    }

    fn release(&self) {
        *self.released.lock() = true;
        self.release.notify_all();
        for waiter in self.waiting.lock().drain(..) {
            waiter.expire();
        }
    }
}

impl Service for Echo {
    fn route(&self, frame: &[u8]) -> Route {
        if matches!(frame[0], b'h' | b'b' | b'd') { Route::Handler } else { Route::Inline }
    }

    fn handle(&self, request: &mut Request) -> Outcome {
        self.handled.fetch_add(1, Ordering::SeqCst);
        let body = request.frame.bytes().to_vec();
        match body[0] {
            b'n' => Outcome::NoResponse,
            b'p' => panic!("on purpose"),
            b'c' => Outcome::Close("on purpose".to_owned()),
            b'b' => {
                self.wait_for_release();
                response(&body)
            }
            kind @ (b'w' | b't' | b'd') => {
                if kind == b'd' {
                    self.wait_for_release();
                }
                let responder = request.responder.clone();
                let waiter = Arc::new(EchoWaiter { responder, body, cancelled: AtomicBool::new(false) });
                let far = Duration::from_secs(if kind == b't' { 0 } else { 3600 });
                self.waiting.lock().push(Arc::clone(&waiter));
                self.waiters.send(Arc::clone(&waiter)).unwrap();
                Outcome::Wait(Pending { waiter, deadline: Instant::now() + far, route: Route::Handler })
            }
            _ => response(&body),
        }
    }

    fn handle_panicked(&self, _request: &mut Request) -> Outcome {
        response(b"panicked")
    }

    fn tick(&self, now: Instant) -> Instant {
        now + Duration::from_secs(3600)
    }
}

struct Server {
    addresses: Vec<SocketAddr>,
    echo: Arc<Echo>,
    waiters: mpsc::Receiver<Arc<EchoWaiter>>,
    quota: Arc<ConnectionQuota>,
    channel: Arc<RequestChannel>,
    queues: Vec<Arc<ResponseQueue>>,
    threads: Vec<JoinHandle<()>>,
}

struct Options {
    network_threads: usize,
    requests_max: usize,
    bytes_max: Option<usize>,
    limits: ConnectionLimits,
    idle_max: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            network_threads: 1,
            requests_max: 500,
            bytes_max: None,
            limits: ConnectionLimits::none(1),
            idle_max: None,
        }
    }
}

impl Server {
    fn start(options: Options) -> Self {
        let (waiters_tx, waiters) = mpsc::channel();
        let echo = Arc::new(Echo {
            released: Mutex::new(false),
            release: Condvar::new(),
            waiting: Mutex::default(),
            waiters: waiters_tx,
            handled: AtomicUsize::new(0),
        });
        let service: Arc<dyn Service> = echo.clone();
        let config = SocketConfig {
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            frame_bytes_max: 1 << 20,
            backlog: 200,
            idle_max: options.idle_max,
        };
        let quota = Arc::new(ConnectionQuota::new(options.limits));
        let channel = Arc::new(RequestChannel::new(options.requests_max));
        let shared = Shared {
            service: Arc::clone(&service),
            channel: Arc::clone(&channel),
            quota: Arc::clone(&quota),
            memory: options.bytes_max.map(|bytes| Arc::new(FrameMemory::new(bytes))),
            config: config.clone(),
        };
        let (mut network, mut addresses) = (Vec::new(), Vec::new());
        for index in 0..quota.listeners() {
            let listener = bind("127.0.0.1:0".parse().unwrap(), &config).unwrap();
            addresses.push(listener.local_addr().unwrap());
            let id = ListenerId { index, name: "TEST".into() };
            let mut threads: Vec<NetworkThread> = (0..options.network_threads)
                .map(|_| NetworkThread::new(id.clone(), shared.clone()).unwrap())
                .collect();
            let others: Vec<_> = threads[1..].iter().map(NetworkThread::handover).collect();
            threads[0].accept_from(listener, &others).unwrap();
            network.append(&mut threads);
        }
        let queues = network.iter().map(NetworkThread::queue).collect();
        let mut threads: Vec<_> =
            network.into_iter().map(|thread| std::thread::spawn(move || thread.run())).collect();
        let handler = Arc::clone(&channel);
        threads.push(std::thread::spawn(move || run_handler(&*service, &handler, true)));
        Self { addresses, echo, waiters, quota, channel, queues, threads }
    }

    fn connect(&self) -> TcpStream {
        self.connect_to(0)
    }

    fn connect_to(&self, listener: usize) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[listener]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.echo.release();
        for queue in &self.queues {
            queue.stop();
        }
        self.channel.stop();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn send(stream: &mut TcpStream, body: &[u8]) {
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    stream.write_all(&frame).unwrap();
}

fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut body = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut body).unwrap();
    body
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_wherever_they_run() {
    // N4
    let server = Server::start(Options { network_threads: 2, ..Options::default() });
    let mut stream = server.connect();
    let bodies: Vec<String> = (0..50).map(|n| format!("{}{n}", if n % 3 == 0 { 'h' } else { 'e' })).collect();
    for body in &bodies {
        send(&mut stream, body.as_bytes());
    }
    for body in &bodies {
        assert_eq!(receive(&mut stream), body.as_bytes());
    }
}

#[test]
fn a_large_frame_and_its_answer_pass_through_small_socket_buffers() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    let body = vec![b'e'; 1 << 20];
    let mut writer = stream.try_clone().unwrap();
    let sent = body.clone();
    let writing = std::thread::spawn(move || {
        send(&mut writer, &sent);
        send(&mut writer, b"e after");
    });
    assert!(receive(&mut stream) == body);
    assert_eq!(receive(&mut stream), b"e after");
    writing.join().unwrap();
}

#[test]
fn a_frame_out_of_bounds_closes_only_its_own_connection() {
    // N8
    let server = Server::start(Options::default());
    let mut good = server.connect();
    for size in [-1i32, 0, (1 << 20) + 1, i32::MAX] {
        let mut bad = server.connect();
        bad.write_all(&size.to_be_bytes()).unwrap();
        assert!(is_closed(&mut bad), "a frame of {size} bytes");
    }
    send(&mut good, b"e");
    assert_eq!(receive(&mut good), b"e");
}

#[test]
fn a_panicking_handler_answers_and_the_connection_stays() {
    // G8
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    send(&mut stream, b"p");
    send(&mut stream, b"e");
    assert_eq!(receive(&mut stream), b"panicked");
    assert_eq!(receive(&mut stream), b"e");
}

#[test]
fn a_request_without_a_response_lets_the_next_one_pass_and_a_refused_one_closes() {
    // N13
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    send(&mut stream, b"n");
    send(&mut stream, b"e");
    assert_eq!(receive(&mut stream), b"e");
    send(&mut stream, b"c");
    assert!(is_closed(&mut stream));
}

#[test]
fn a_full_queue_stops_reading_and_not_writing() {
    // N6
    let server = Server::start(Options { requests_max: 1, ..Options::default() });
    let mut blocked: Vec<_> = (0..4).map(|_| server.connect()).collect();
    let mut other = server.connect();
    send(&mut other, b"w");
    let waiter = server.waiters.recv().unwrap();
    for stream in &mut blocked {
        send(stream, b"b"); // the first occupies the handler, the second the queue, the others wait for room
    }
    let mut late = server.connect();
    send(&mut late, b"e");
    // an answer gets out although nothing is read
    waiter.expire();
    assert_eq!(receive(&mut other), b"w");
    server.echo.release();
    for stream in &mut blocked {
        assert_eq!(receive(stream), b"b");
    }
    assert_eq!(receive(&mut late), b"e");
}

#[test]
fn a_waiting_request_ends_by_its_event_its_deadline_or_its_connection() {
    // W1
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    send(&mut stream, b"t");
    assert_eq!(receive(&mut stream), b"t");
    send(&mut stream, b"w");
    server.waiters.recv().unwrap();
    let waiter = server.waiters.recv().unwrap();
    waiter.expire();
    waiter.expire(); // the second answer is dropped
    assert_eq!(receive(&mut stream), b"w");
    send(&mut stream, b"e");
    assert_eq!(receive(&mut stream), b"e");

    send(&mut stream, b"w");
    let waiter = server.waiters.recv().unwrap();
    drop(stream);
    while !waiter.cancelled.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }

    let mut stream = server.connect();
    send(&mut stream, b"w");
    let waiter = server.waiters.recv().unwrap();
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(); // close by a reset
    drop(stream);
    while !waiter.cancelled.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
}

#[test]
fn a_wait_that_begins_when_its_connection_has_gone_is_cancelled() {
    // W1
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    send(&mut stream, b"d");
    while server.echo.handled.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(); // close by a reset
    drop(stream);
    while server.quota.open() > 0 {
        std::thread::yield_now();
    }
    server.echo.release();
    let waiter = server.waiters.recv().unwrap();
    while !waiter.cancelled.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
}

#[test]
fn a_peer_that_has_sent_all_still_gets_its_answers() {
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    send(&mut stream, b"h1");
    send(&mut stream, b"e2");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(receive(&mut stream), b"h1");
    assert_eq!(receive(&mut stream), b"e2");
    assert!(is_closed(&mut stream));
}

#[test]
fn connections_over_the_limit_wait_for_a_free_place() {
    // N10
    let server = Server::start(Options {
        limits: ConnectionLimits { broker_max: 2, ..ConnectionLimits::none(1) },
        ..Options::default()
    });
    let mut first = server.connect();
    let mut second = server.connect();
    for stream in [&mut first, &mut second] {
        send(stream, b"e");
        assert_eq!(receive(stream), b"e");
    }
    let mut third = server.connect();
    send(&mut third, b"e3");
    assert_eq!(server.quota.open(), 2);
    drop(first);
    assert_eq!(receive(&mut third), b"e3");
}

#[test]
fn two_hundred_connections_come_and_go() {
    let server = Server::start(Options { network_threads: 2, ..Options::default() });
    for _ in 0..2 {
        let mut streams: Vec<_> = (0..100).map(|_| server.connect()).collect();
        for (n, stream) in streams.iter_mut().enumerate() {
            match n % 3 {
                0 => send(stream, b"e"),
                1 => stream.write_all(&[0, 0, 0, 9, b'e']).unwrap(), // half a frame
                _ => {}
            }
        }
        for stream in streams.iter_mut().step_by(3) {
            assert_eq!(receive(stream), b"e");
        }
    }
    while server.quota.open() > 0 {
        std::thread::yield_now();
    }
    let mut stream = server.connect();
    send(&mut stream, b"e");
    assert_eq!(receive(&mut stream), b"e");
}

#[test]
fn a_silent_connection_is_closed() {
    // N9
    let server = Server::start(Options { idle_max: Some(Duration::from_millis(20)), ..Options::default() });
    let mut stream = server.connect();
    assert!(is_closed(&mut stream));
}

#[test]
fn a_request_is_read_only_when_the_one_before_it_has_ended() {
    // N5
    let server = Server::start(Options::default());
    let mut stream = server.connect();
    send(&mut stream, b"w");
    send(&mut stream, b"e");
    let waiter = server.waiters.recv().unwrap();
    let mut other = server.connect();
    for _ in 0..3 {
        send(&mut other, b"e");
        assert_eq!(receive(&mut other), b"e");
    }
    assert_eq!(server.echo.handled.load(Ordering::SeqCst), 4, "the request behind the waiting one");
    waiter.expire();
    assert_eq!(receive(&mut stream), b"w");
    assert_eq!(receive(&mut stream), b"e");
}

#[test]
fn at_the_bound_of_memory_nothing_is_read_and_what_is_done_is_written() {
    // N7
    let server = Server::start(Options { bytes_max: Some(1000), ..Options::default() });
    let mut waiting = server.connect();
    send(&mut waiting, b"w");
    let waiter = server.waiters.recv().unwrap();
    let mut blocking = server.connect();
    let body = vec![b'b'; 1500];
    send(&mut blocking, &body);
    while server.echo.handled.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    let mut late: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut late {
        send(stream, b"e");
    }
    // an answer gets out although nothing is read; when it is there, the others have had their chance
    waiter.expire();
    assert_eq!(receive(&mut waiting), b"w");
    assert_eq!(server.echo.handled.load(Ordering::SeqCst), 2, "no memory, no request");
    server.echo.release();
    assert_eq!(receive(&mut blocking), body);
    for stream in &mut late {
        assert_eq!(receive(stream), b"e");
    }
}

#[test]
fn memory_comes_back_with_a_connection_that_breaks_inside_a_frame() {
    // N7
    let server = Server::start(Options { bytes_max: Some(1000), ..Options::default() });
    let mut broken = server.connect();
    broken.write_all(&[0, 0, 0x10, 0, b'e']).unwrap(); // 5 of 4100 bytes
    while server.quota.open() == 0 {
        std::thread::yield_now();
    }
    let mut late = server.connect();
    send(&mut late, b"e");
    drop(broken);
    assert_eq!(receive(&mut late), b"e");
}

#[test]
fn the_longest_silent_client_goes_when_brokers_need_its_place() {
    // N10
    let mut limits = ConnectionLimits { broker_max: 2, ..ConnectionLimits::none(2) };
    limits.listeners[1].protected = true;
    let server = Server::start(Options { limits, ..Options::default() });
    let (mut silent, mut busy) = (server.connect(), server.connect());
    for stream in [&mut silent, &mut busy] {
        send(stream, b"e");
        assert_eq!(receive(stream), b"e");
    }
    let mut broker = server.connect_to(1);
    send(&mut broker, b"e");
    assert_eq!(receive(&mut broker), b"e");
    assert!(is_closed(&mut silent));
    send(&mut busy, b"e");
    assert_eq!(receive(&mut busy), b"e");
    assert_eq!(server.quota.open(), 2);
}

#[test]
fn a_flood_on_one_connection_leaves_every_pass_time_for_the_others() {
    // N3: passes are made by hand, so that what happens in one can be counted
    let (waiters, _receiver) = mpsc::channel();
    let echo = Arc::new(Echo {
        released: Mutex::new(true),
        release: Condvar::new(),
        waiting: Mutex::default(),
        waiters,
        handled: AtomicUsize::new(0),
    });
    let config = SocketConfig {
        send_buffer_bytes: None,
        receive_buffer_bytes: None,
        frame_bytes_max: 1 << 20,
        backlog: 200,
        idle_max: None,
    };
    let listener = bind("127.0.0.1:0".parse().unwrap(), &config).unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Shared {
        service: echo.clone(),
        channel: Arc::new(RequestChannel::new(500)),
        quota: Arc::new(ConnectionQuota::new(ConnectionLimits::none(1))),
        memory: None,
        config,
    };
    let mut thread = NetworkThread::new(ListenerId { index: 0, name: "TEST".into() }, shared).unwrap();
    thread.accept_from(listener, &[]).unwrap();
    let mut events = mio::Events::with_capacity(256);
    let mut flood = TcpStream::connect(address).unwrap();
    let mut other = TcpStream::connect(address).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for _ in 0..400 {
        send(&mut flood, b"e");
    }
    send(&mut other, b"e");
    let mut passes = 0;
    let mut before = 0;
    while before < 401 {
        assert!(thread.pass(&mut events, Some(Duration::from_millis(10))));
        passes += 1;
        let now = echo.handled.load(Ordering::SeqCst);
        // a turn is 8 requests: when it is taken over, when it is listed again, and for an event
        assert!(now - before <= 3 * 8 + 1, "{} requests of two connections in one pass", now - before);
        before = now;
        if passes == 3 {
            assert_eq!(receive(&mut other), b"e", "served beside the flood");
        }
        assert!(passes < 4000);
    }
}
