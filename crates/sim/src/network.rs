//! The virtual network: the client's real connections, [`rohrpost_net::connection`], on sockets that are queues of virtual time.
//!
//! Bytes of a connection and a direction arrive in order. A request is handed to the cluster as a whole frame; one that was cut off
//! in the middle never is. What a connection had on its way when it ended is lost, or arrives in spite of it, perhaps long after the
//! client has sent the same batch over a new one: connections are not ordered against each other.
//!
//! SND-1, SND-4, SND-7, CON-3 to CON-6 are those of the real client, for the state machine is the same. Here are only latencies and
//! what can happen to bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rohrpost::simulate::{Frame, Network, ToSend};
use rohrpost_net::connection::{Connection, Context, CorrelationIds, Sending, Step};
use rohrpost_net::{Address, Disconnect, Event, NetConfig, NodeState, Outgoing};
use rohrpost_protocol::ApiVersionRanges;

use crate::cluster::Cluster;
use crate::trace::{Trace, hash};

/// How far apart client and brokers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// From the client to a broker, at least.
    pub up_ms: u64,
    /// From a broker to the client, at least.
    pub down_ms: u64,
    /// Up to so much more, drawn anew for each message.
    pub jitter_ms: u64,
    /// A socket takes at most so many bytes at once; the rest goes a little later.
    pub write_max: usize,
}

/// What can happen between client and brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkFault {
    /// All connections to a broker break. What was on its way to the broker is lost, or arrives so much later.
    Reset {
        /// The broker.
        node: i32,
        /// `None`: it is lost.
        arrives_after_ms: Option<u64>,
    },
    /// Nothing passes for a while; connections stay. Afterwards everything arrives.
    Hole {
        /// The broker.
        node: i32,
        /// Requests are held up.
        up: bool,
        /// Answers are held up.
        down: bool,
        /// How long.
        ms: u64,
    },
    /// The next answer breaks off in the middle, and the connection with it.
    BreakAnswer {
        /// The broker.
        node: i32,
    },
    /// The next answer comes as a whole frame whose last bytes are missing.
    SpoilAnswer {
        /// The broker.
        node: i32,
        /// So many bytes.
        bytes: usize,
    },
    /// Nothing listens at the broker's port as far as the client sees, for a while.
    Refuse {
        /// The broker.
        node: i32,
        /// How long.
        ms: u64,
    },
    /// No name can be resolved for a while.
    NoNames {
        /// How long.
        ms: u64,
    },
}

impl LinkFault {
    /// A name for counts.
    pub fn kind(&self) -> &'static str {
        match self {
            LinkFault::Reset { arrives_after_ms: None, .. } => "reset",
            LinkFault::Reset { arrives_after_ms: Some(_), .. } => "reset, requests arrive late",
            LinkFault::Hole { .. } => "hole in the network",
            LinkFault::BreakAnswer { .. } => "answer broken off",
            LinkFault::SpoilAnswer { .. } => "answer spoilt",
            LinkFault::Refuse { .. } => "connections refused",
            LinkFault::NoNames { .. } => "no names",
        }
    }
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkFault::Reset { node, arrives_after_ms: None } => {
                write!(f, "the connections to broker {node} break; what was on its way is lost")
            }
            LinkFault::Reset { node, arrives_after_ms: Some(ms) } => {
                write!(f, "the connections to broker {node} break; what was on its way arrives {ms} ms later")
            }
            LinkFault::Hole { node, up, down, ms } => {
                let what = match (up, down) {
                    (true, true) => "nothing",
                    (true, false) => "no request",
                    _ => "no answer",
                };
                write!(f, "{what} passes between the client and broker {node} for {ms} ms")
            }
            LinkFault::BreakAnswer { node } => {
                write!(f, "the next answer of broker {node} breaks off in the middle")
            }
            LinkFault::SpoilAnswer { node, bytes } => {
                write!(f, "the next answer of broker {node} lacks its last {bytes} bytes")
            }
            LinkFault::Refuse { node, ms } => write!(f, "broker {node} refuses connections for {ms} ms"),
            LinkFault::NoNames { ms } => write!(f, "no name can be resolved for {ms} ms"),
        }
    }
}

/// All connections of one producer.
pub struct VirtualNetwork {
    config: Arc<NetConfig>,
    latency: Latency,
    trace: Rc<Trace>,
    rng: fastrand::Rng,
    correlation_ids: CorrelationIds,
    nodes: BTreeMap<i32, Node>,
    links: BTreeMap<i32, Link>,
    sockets: BTreeMap<u64, Socket>,
    next_socket: u64,
    /// By time and, of the same time, in the order in which they were sent.
    wire: BTreeMap<(u64, u64), Message>,
    next_message: u64,
    no_names_until_ms: u64,
    events: Vec<Event<Frame>>,
    /// A connection changed without an event: the client's poll returns.
    is_touched: bool,
    now_ms: u64,
    /// Requests that reached a broker after their connection had ended at the client.
    pub late_requests: u64,
    /// Connections that were begun.
    pub connects: u64,
    /// How often the bootstrap servers were named.
    pub bootstraps: u64,
}

struct Node {
    connection: Connection<Frame>,
    /// The newest socket, while the connection is open.
    socket: Option<u64>,
    /// The resolver works for this node: the number of the question.
    question: u64,
}

/// What lies between the client and a broker.
#[derive(Default)]
struct Link {
    no_requests_until_ms: u64,
    no_answers_until_ms: u64,
    refuses_until_ms: u64,
    spoil: Vec<Spoil>,
}

enum Spoil {
    Break,
    Shorten(usize),
}

struct Socket {
    /// As the client calls it.
    node: i32,
    broker: i32,
    port: u16,
    /// Written by the client, and not a whole frame yet.
    partial: Vec<u8>,
    /// When the last message of a direction arrives: none overtakes it.
    up_at_ms: u64,
    down_at_ms: u64,
    client_closed: bool,
    broker_closed: bool,
}

enum Message {
    Resolved {
        node: i32,
        question: u64,
        found: Result<Vec<SocketAddr>, String>,
    },
    /// The client wants to connect.
    Knock(u64),
    /// The broker's answer to that.
    Connected(u64),
    Refused(u64),
    /// A whole request.
    Request(u64, Vec<u8>),
    Bytes(u64, Vec<u8>),
    /// The broker has closed.
    BrokerClosed(u64),
    /// The client has closed.
    ClientClosed(u64),
    Writable(u64),
}

impl VirtualNetwork {
    /// A network without nodes.
    pub fn new(config: NetConfig, latency: Latency, seed: u64, trace: Rc<Trace>) -> VirtualNetwork {
        VirtualNetwork {
            config: Arc::new(config),
            latency,
            trace,
            rng: fastrand::Rng::with_seed(seed),
            correlation_ids: CorrelationIds::default(),
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            sockets: BTreeMap::new(),
            next_socket: 0,
            wire: BTreeMap::new(),
            next_message: 0,
            no_names_until_ms: 0,
            events: Vec::new(),
            is_touched: false,
            now_ms: 0,
            late_requests: 0,
            connects: 0,
            bootstraps: 0,
        }
    }

    /// When something arrives or a timer of a connection ends.
    pub fn next_ms(&self) -> Option<u64> {
        let deadlines = self.nodes.values().filter_map(|node| node.connection.deadline_ms());
        deadlines.chain(self.next_arrival_ms()).min()
    }

    /// When the next message arrives.
    pub fn next_arrival_ms(&self) -> Option<u64> {
        self.wire.first_key_value().map(|((at, _), _)| *at)
    }

    /// Whether requests are on their way to brokers.
    pub fn has_requests(&self) -> bool {
        self.wire.values().any(|message| matches!(message, Message::Request(..)))
    }

    /// Moves what has arrived by now, to the cluster and to the client.
    pub fn advance(&mut self, cluster: &mut Cluster, now_ms: u64) {
        self.now_ms = now_ms;
        while let Some(entry) = self.wire.first_entry()
            && entry.key().0 <= now_ms
        {
            let message = entry.remove();
            self.arrive(message, cluster);
        }
        let due = |node: &Node| node.connection.deadline_ms().is_some_and(|at| at <= now_ms);
        let due: Vec<i32> = self.nodes.iter().filter(|(_, node)| due(node)).map(|(id, _)| *id).collect();
        for id in due {
            self.is_touched = true;
            self.with(id, |connection, cx| connection.handle_timer(cx));
        }
    }

    /// A broker's answer.
    pub fn answer(&mut self, connection: u64, frame: Vec<u8>, now_ms: u64) {
        self.now_ms = now_ms;
        let Some(broker) = self.sockets.get(&connection).map(|socket| socket.broker) else { return };
        self.trace.note("answer", connection, hash(&frame), || {
            format!("broker {broker} answers {} bytes on connection {connection}", frame.len())
        });
        let spoil = self.links.entry(broker).or_default().spoil.pop();
        match spoil {
            None => self.down(connection, Message::Bytes(connection, frame)),
            Some(Spoil::Break) => {
                let half = frame[..frame.len() / 2].to_vec();
                self.down(connection, Message::Bytes(connection, half));
                self.cut(connection, now_ms);
            }
            Some(Spoil::Shorten(bytes)) => {
                // The size in front stays true, so that it is the message that cannot be read.
                let keep = frame.len().saturating_sub(bytes).max(9.min(frame.len()));
                let mut short = frame[..keep].to_vec();
                let size = (short.len() as u32).saturating_sub(4).to_be_bytes();
                short[..4].copy_from_slice(&size);
                self.down(connection, Message::Bytes(connection, short));
            }
        }
    }

    /// A broker closes a connection.
    pub fn cut(&mut self, connection: u64, now_ms: u64) {
        self.now_ms = now_ms;
        if let Some(socket) = self.sockets.get_mut(&connection) {
            socket.broker_closed = true;
            self.down(connection, Message::BrokerClosed(connection));
        }
    }

    /// Something happens to the network.
    pub fn apply(&mut self, fault: &LinkFault, now_ms: u64) {
        self.now_ms = now_ms;
        match *fault {
            LinkFault::Reset { node, arrives_after_ms } => self.reset(node, arrives_after_ms),
            LinkFault::Hole { node, up, down, ms } => {
                let link = self.links.entry(node).or_default();
                if up {
                    link.no_requests_until_ms = link.no_requests_until_ms.max(now_ms + ms);
                }
                if down {
                    link.no_answers_until_ms = link.no_answers_until_ms.max(now_ms + ms);
                }
            }
            LinkFault::BreakAnswer { node } => self.links.entry(node).or_default().spoil.push(Spoil::Break),
            LinkFault::SpoilAnswer { node, bytes } => {
                self.links.entry(node).or_default().spoil.push(Spoil::Shorten(bytes));
            }
            LinkFault::Refuse { node, ms } => {
                let link = self.links.entry(node).or_default();
                link.refuses_until_ms = link.refuses_until_ms.max(now_ms + ms);
            }
            LinkFault::NoNames { ms } => self.no_names_until_ms = self.no_names_until_ms.max(now_ms + ms),
        }
    }

    /// Nothing more happens to the network.
    pub fn heal(&mut self) {
        self.no_names_until_ms = 0;
        self.links.clear();
    }

    /// What the client's poll would bring now, and whether it would return at all.
    pub fn poll(&mut self, events: &mut Vec<Event<Frame>>, now_ms: u64) -> bool {
        self.now_ms = now_ms;
        self.flush(now_ms);
        events.append(&mut self.events);
        std::mem::take(&mut self.is_touched) || !events.is_empty()
    }

    /// Whether [`poll`](Self::poll) would return without waiting.
    pub fn has_events(&self) -> bool {
        self.is_touched || !self.events.is_empty()
    }

    /// Writes what was handed over.
    pub fn flush(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        let waiting: Vec<i32> =
            self.nodes.iter().filter(|(_, node)| node.connection.wants_write()).map(|(id, _)| *id).collect();
        for node in waiting {
            self.write(node);
        }
    }

    /// Drops all connections with their requests: the client has ended.
    pub fn clear(&mut self) {
        let nodes: Vec<i32> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.remove_node(node);
        }
        self.events.clear();
    }

    // ------------------------------------------------------------------------------------------------ messages

    fn arrive(&mut self, message: Message, cluster: &mut Cluster) {
        match message {
            Message::Resolved { node, question, found } => {
                if self.nodes.get(&node).is_some_and(|node| node.question == question) {
                    self.is_touched = true;
                    let mut next = Step::None;
                    self.with(node, |connection, cx| next = connection.handle_resolved(found, cx));
                    self.take(node, next);
                }
            }
            Message::Knock(id) => {
                let Some(socket) = self.sockets.get(&id) else { return };
                let (broker, port) = (socket.broker, socket.port);
                let refuses = self.links.get(&broker).is_some_and(|link| link.refuses_until_ms > self.now_ms);
                let is_there = !refuses
                    && cluster.is_up(broker)
                    && cluster.address(broker).is_some_and(|(_, listens)| listens == port);
                self.down(id, if is_there { Message::Connected(id) } else { Message::Refused(id) });
            }
            Message::Connected(id) => {
                let Some(node) = self.node_of(id) else { return };
                self.trace.note("connected", id, 0, || format!("connection {id} stands"));
                self.with(node, |connection, cx| connection.handle_connected(cx));
                self.write(node);
            }
            Message::Refused(id) => {
                let Some(node) = self.node_of(id) else { return };
                self.sockets.remove(&id);
                self.with(node, |connection, cx| {
                    connection.handle_connect_failed(io::ErrorKind::ConnectionRefused.into(), cx);
                });
            }
            Message::Request(id, frame) => {
                let Some(socket) = self.sockets.get(&id).filter(|socket| !socket.broker_closed) else {
                    return;
                };
                self.late_requests += u64::from(socket.client_closed);
                cluster.receive(socket.broker, id, &frame, self.now_ms);
            }
            Message::Bytes(id, bytes) => {
                let Some(node) = self.node_of(id) else { return };
                self.is_touched = true;
                self.with(node, |connection, cx| {
                    let mut rest = bytes.as_slice();
                    while !rest.is_empty() && connection.is_open() {
                        let space = connection.read_space();
                        let n = space.len().min(rest.len());
                        space[..n].copy_from_slice(&rest[..n]);
                        rest = &rest[n..];
                        connection.handle_read(n, cx);
                    }
                });
                self.write(node);
            }
            Message::BrokerClosed(id) => {
                let node = self.node_of(id);
                self.sockets.remove(&id);
                if let Some(node) = node {
                    self.with(node, |connection, cx| connection.close(Disconnect::Closed, cx));
                }
            }
            Message::ClientClosed(id) => {
                if let Some(socket) = self.sockets.remove(&id) {
                    cluster.disconnected(socket.broker, id);
                }
            }
            Message::Writable(id) => {
                if let Some(node) = self.node_of(id) {
                    self.is_touched = true;
                    if let Some(node) = self.nodes.get_mut(&node) {
                        node.connection.set_write_blocked(false);
                    }
                    self.write(node);
                }
            }
        }
    }

    /// The client's node that still uses this socket.
    fn node_of(&self, socket: u64) -> Option<i32> {
        let node = self.sockets.get(&socket)?.node;
        self.nodes.get(&node).filter(|entry| entry.socket == Some(socket)).map(|_| node)
    }

    fn put(&mut self, at_ms: u64, message: Message) {
        let key = (at_ms, self.next_message);
        self.next_message += 1;
        self.wire.insert(key, message);
    }

    fn delay(&mut self, base_ms: u64) -> u64 {
        base_ms + if self.latency.jitter_ms == 0 { 0 } else { self.rng.u64(0..=self.latency.jitter_ms) }
    }

    fn up(&mut self, id: u64, message: Message) {
        let delay_ms = self.delay(self.latency.up_ms);
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let held_until_ms = self.links.get(&socket.broker).map_or(0, |link| link.no_requests_until_ms);
        let at_ms = (self.now_ms + delay_ms).max(socket.up_at_ms).max(held_until_ms);
        socket.up_at_ms = at_ms;
        self.put(at_ms, message);
    }

    fn down(&mut self, id: u64, message: Message) {
        let delay_ms = self.delay(self.latency.down_ms);
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let held_until_ms = self.links.get(&socket.broker).map_or(0, |link| link.no_answers_until_ms);
        let at_ms = (self.now_ms + delay_ms).max(socket.down_at_ms).max(held_until_ms);
        socket.down_at_ms = at_ms;
        self.put(at_ms, message);
    }

    fn reset(&mut self, broker: i32, arrives_after_ms: Option<u64>) {
        let sockets: BTreeSet<u64> = self
            .sockets
            .iter()
            .filter(|(_, socket)| socket.broker == broker && !socket.client_closed && !socket.broker_closed)
            .map(|(id, _)| *id)
            .collect();
        let is_on_its_way = |message: &Message| match message {
            Message::Request(id, _) => sockets.contains(id),
            _ => false,
        };
        let keys: Vec<(u64, u64)> =
            self.wire.iter().filter(|(_, message)| is_on_its_way(message)).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(message) = self.wire.remove(&key) else { continue };
            if let (Some(ms), Message::Request(id, _)) = (arrives_after_ms, &message) {
                let at_ms = key.0.max(self.now_ms + ms);
                if let Some(socket) = self.sockets.get_mut(id) {
                    socket.up_at_ms = socket.up_at_ms.max(at_ms);
                }
                self.put(at_ms, message);
            }
        }
        for id in sockets {
            if let Some(node) = self.node_of(id) {
                self.with(node, |connection, cx| connection.close(Disconnect::Closed, cx));
            }
        }
    }

    // ------------------------------------------------------------------------------------------------ connections

    /// Calls a connection, and drops its socket if it has ended.
    fn with(&mut self, node: i32, call: impl FnOnce(&mut Connection<Frame>, &mut Context<'_, Frame>)) {
        let Self { nodes, rng, correlation_ids, events, now_ms, .. } = self;
        let Some(entry) = nodes.get_mut(&node) else { return };
        let mut cx = Context { now_ms: *now_ms, rng, correlation_ids, events };
        call(&mut entry.connection, &mut cx);
        self.is_touched = true;
        self.drop_closed(node);
    }

    fn drop_closed(&mut self, node: i32) {
        let Some(entry) = self.nodes.get_mut(&node).filter(|entry| !entry.connection.is_open()) else {
            return;
        };
        let Some(id) = entry.socket.take() else { return };
        self.trace.note("closed", id, 0, || format!("connection {id} has ended at the client"));
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.client_closed = true;
            self.up(id, Message::ClientClosed(id));
        }
    }

    fn take(&mut self, node: i32, step: Step) {
        match step {
            Step::None => {}
            Step::Resolve => {
                let Some(entry) = self.nodes.get_mut(&node) else { return };
                self.next_socket += 1;
                entry.question = self.next_socket;
                let question = entry.question;
                let address = entry.connection.address();
                let found = match broker_of(&address.host) {
                    _ if self.no_names_until_ms > self.now_ms => {
                        Err("the name server does not answer".to_owned())
                    }
                    Some(broker) => Ok(vec![SocketAddr::from(([10, 0, 0, broker], address.port))]),
                    None => Err("there is no such name".to_owned()),
                };
                let at_ms = self.now_ms + self.delay(0);
                self.put(at_ms, Message::Resolved { node, question, found });
            }
            Step::Connect(to) => {
                let broker = match to.ip() {
                    std::net::IpAddr::V4(ip) => i32::from(ip.octets()[3]),
                    std::net::IpAddr::V6(_) => 0,
                };
                self.next_socket += 1;
                self.connects += 1;
                let id = self.next_socket;
                self.trace
                    .note("connect", id, broker as u64, || format!("connection {id} to broker {broker}"));
                let socket = Socket {
                    node,
                    broker,
                    port: to.port(),
                    partial: Vec::new(),
                    up_at_ms: 0,
                    down_at_ms: 0,
                    client_closed: false,
                    broker_closed: false,
                };
                self.sockets.insert(id, socket);
                if let Some(entry) = self.nodes.get_mut(&node) {
                    entry.socket = Some(id);
                }
                self.up(id, Message::Knock(id));
            }
        }
    }

    /// Writes what a connection has, as far as its socket takes it.
    fn write(&mut self, node: i32) {
        let write_max = self.latency.write_max;
        let Some(entry) = self.nodes.get_mut(&node) else { return };
        let Some(id) = entry.socket.filter(|_| entry.connection.wants_write()) else { return };
        let mut bytes = Vec::new();
        {
            let mut slices = Vec::new();
            let mut skip = entry.connection.gather(1024, &mut slices);
            for slice in &slices {
                let from = skip.min(slice.len());
                skip -= from;
                bytes.extend_from_slice(&slice[from..]);
            }
        }
        if bytes.is_empty() {
            return;
        }
        if bytes.len() > write_max {
            bytes.truncate(write_max);
            entry.connection.set_write_blocked(true);
            let at_ms = self.now_ms + self.rng.u64(1..=4);
            self.put(at_ms, Message::Writable(id));
        }
        let mut frames = Vec::new();
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.partial.extend_from_slice(&bytes);
            let mut at = 0;
            while let Some(size) = socket.partial[at..].first_chunk::<4>() {
                let end = at + 4 + u32::from_be_bytes(*size) as usize;
                let Some(frame) = socket.partial.get(at..end) else { break };
                frames.push(frame.to_vec());
                at = end;
            }
            socket.partial.drain(..at);
        }
        for frame in frames {
            self.trace.note("request", id, hash(&frame), || {
                format!("{} bytes to node {node} on connection {id}", frame.len())
            });
            self.up(id, Message::Request(id, frame));
        }
        self.with(node, |connection, cx| connection.handle_written(bytes.len(), cx));
    }
}

/// `b3` is broker 3.
fn broker_of(host: &str) -> Option<u8> {
    host.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

impl Network for VirtualNetwork {
    fn ready(&mut self, node: i32, now_ms: u64) -> bool {
        self.now_ms = now_ms;
        let Some(entry) = self.nodes.get(&node) else { return false };
        if entry.connection.can_connect(now_ms) {
            let was_touched = self.is_touched;
            let mut next = Step::None;
            self.with(node, |connection, cx| next = connection.connect(cx));
            self.take(node, next);
            self.is_touched = was_touched;
        }
        self.nodes.get(&node).is_some_and(|entry| entry.connection.can_send(now_ms))
    }

    fn state(&self, node: i32) -> NodeState {
        self.nodes.get(&node).map_or(NodeState::Unknown, |entry| entry.connection.state())
    }

    fn versions(&self, node: i32) -> Option<&ApiVersionRanges> {
        self.nodes.get(&node)?.connection.versions()
    }

    fn least_loaded(&mut self, now_ms: u64) -> Option<i32> {
        let start = self.rng.usize(0..self.nodes.len().max(1));
        let loads: Vec<_> =
            self.nodes.iter().map(|(id, entry)| (entry.connection.load(now_ms), *id)).collect();
        let (tail, head) = loads.split_at(start);
        let ranked = head.iter().chain(tail).filter_map(|(load, id)| Some(((*load)?, *id)));
        ranked.min_by_key(|(load, _)| *load).map(|(_, id)| id)
    }

    fn in_flight(&self, node: i32) -> usize {
        self.nodes.get(&node).map_or(0, |entry| entry.connection.in_flight())
    }

    fn next_correlation_id(&mut self) -> i32 {
        self.correlation_ids.take()
    }

    fn send(&mut self, node: i32, to_send: ToSend, now_ms: u64) -> Result<(), Frame> {
        let ToSend { frame, api, version, correlation_id } = to_send;
        let Some(entry) = self.nodes.get_mut(&node) else { return Err(frame) };
        let frame_len = {
            let mut slices = Vec::new();
            frame.slices(&mut slices);
            slices.iter().map(|slice| slice.len()).sum()
        };
        entry.connection.send(Sending { request: frame, frame_len, api, version, correlation_id }, now_ms)
    }

    fn set_node(&mut self, node: i32, host: &str, port: u16) {
        self.bootstraps += u64::from(node == -1);
        if let Some(known) = self.nodes.get(&node) {
            let address = known.connection.address();
            if address.host == host && address.port == port {
                return;
            }
            self.remove_node(node);
        }
        let connection = Connection::new(node, Address::new(host, port), Arc::clone(&self.config));
        self.nodes.insert(node, Node { connection, socket: None, question: 0 });
    }

    fn remove_node(&mut self, node: i32) {
        self.with(node, |connection, cx| connection.close(Disconnect::Local, cx));
        self.nodes.remove(&node);
    }

    fn disconnect(&mut self, node: i32, now_ms: u64) {
        self.now_ms = now_ms;
        self.with(node, |connection, cx| connection.close(Disconnect::Local, cx));
    }

    fn throttle(&mut self, node: i32, until_ms: u64, now_ms: u64) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.connection.throttle(until_ms, now_ms);
        }
    }
}

impl fmt::Debug for VirtualNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualNetwork").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}
