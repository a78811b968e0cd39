//! One connection to one broker as a state machine without I/O.
//!
//! ```text
//! Disconnected ── connect ──► Resolving ──► Connecting ──► Handshaking ──► Ready
//!      ▲                          │             │               │            │
//!      └──────── back-off ────────┴─────────────┴───────────────┴────────────┘  any failure, timeout, idle
//! ```
//!
//! Its methods come in four kinds. *Getters* take `&self`. *Commands* (`connect`, `send`, `throttle`, `close`) are the
//! caller's wishes. *Events in* (`handle_*`) tell what names, sockets and the clock did. What comes out are [`Step`]s that
//! the driver must take, slices to write ([`gather`](Connection::gather)), and [`Event`]s for the caller. After every
//! command and every event in, a driver that sees [`is_open`](Connection::is_open) false drops its socket.
//!
//! Times are milliseconds from any fixed moment; they never run backwards. TLS would sit between the socket and
//! `read_space`/`gather`; SASL would be a state between `Connecting` and `Handshaking` whose frames take the same way
//! (CON-6).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use rohrpost_protocol::{ApiKey, ApiVersionRanges, Decoder, Message as _, ResponseHeader};

use crate::endpoint::Addresses;
use crate::frame::FrameReader;
use crate::handshake::{self, Answer};
use crate::{
    Address, ConnectError, Disconnect, Event, NetConfig, NodeId, NodeState, Outgoing, ProtocolError,
    ResolveError, Traffic,
};

/// What the driver lends a connection for one call.
#[derive(Debug)]
pub struct Context<'a, O> {
    /// The time.
    pub now_ms: u64,
    /// Source of jitter.
    pub rng: &'a mut fastrand::Rng,
    /// Source of correlation ids.
    pub correlation_ids: &'a mut CorrelationIds,
    /// Where events go.
    pub events: &'a mut Vec<Event<O>>,
}

/// What the driver must do next for a connection that is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Nothing.
    None,
    /// Resolve the name, then call `handle_resolved`.
    Resolve,
    /// Connect to the address, then call `handle_connected` or `handle_connect_failed`.
    Connect(SocketAddr),
}

/// Counts requests. The ids from 2147483640 on belong to SASL, so they are left out.
#[derive(Debug, Default)]
pub struct CorrelationIds {
    next: i32,
}

const SASL_CORRELATION_IDS: i32 = 2_147_483_640;

impl CorrelationIds {
    /// Ids from `next` on, which must be below those of SASL.
    ///
    /// # Panics
    /// If the id is negative, or one that SASL's requests have.
    pub fn starting_at(next: i32) -> Self {
        assert!((0..SASL_CORRELATION_IDS).contains(&next), "correlation id {next} belongs to SASL");
        Self { next }
    }

    /// The next id.
    pub fn take(&mut self) -> i32 {
        let id = self.next;
        self.next = if id + 1 >= SASL_CORRELATION_IDS { 0 } else { id + 1 };
        id
    }
}

/// A request that is given to a connection.
#[derive(Debug)]
pub struct Sending<O> {
    /// The request.
    pub request: O,
    /// The length of its whole frame.
    pub frame_len: usize,
    /// Its API.
    pub api: ApiKey,
    /// The version in which it is encoded.
    pub version: i16,
    /// The correlation id in its header.
    pub correlation_id: i32,
}

/// The state machine.
#[derive(Debug)]
pub struct Connection<O> {
    node: NodeId,
    address: Address,
    config: Arc<NetConfig>,
    state: State,
    addresses: Addresses,
    /// The resolver works for this connection. It may go on after the connection gave up; nobody asks twice then.
    resolution_pending: bool,
    /// Failures in a row, reset when ready (CON-4).
    failures: u32,
    /// Failed connects in a row, reset when connected (CON-3).
    setup_failures: u32,
    /// CON-4: while disconnected, no attempt before this.
    retry_at_ms: Option<u64>,
    last_attempt_ms: Option<u64>,
    reader: FrameReader,
    versions: Option<ApiVersionRanges>,
    /// SND-7. Outlives the connection: the broker throttles the client, not the socket.
    throttled_until_ms: Option<u64>,
    last_active_ms: u64,
    /// When the versions were last asked for.
    asked_ms: u64,
    /// How long that took: a small request that the broker answers from memory.
    round_trip_ms: Option<u64>,
    /// Not yet written whole, in order; bounded together with `sent` by `max_in_flight`.
    queued: VecDeque<Pending<O>>,
    /// Written, waiting for their responses, in order.
    sent: VecDeque<Pending<O>>,
    /// Bytes of the first queued frame that are written.
    written: usize,
    /// The socket took less than it was offered.
    write_blocked: bool,
    traffic: Traffic,
}

#[derive(Debug)]
enum State {
    Disconnected,
    Resolving { deadline_ms: u64 },
    Connecting { to: SocketAddr, deadline_ms: u64 },
    Handshaking { frame: Vec<u8>, version: i16, correlation_id: i32, deadline_ms: u64 },
    Ready,
}

#[derive(Debug)]
struct Pending<O> {
    sending: Sending<O>,
    deadline_ms: u64,
}

/// Getters.
impl<O> Connection<O> {
    /// A connection that is not yet begun.
    pub fn new(node: NodeId, address: Address, config: Arc<NetConfig>) -> Self {
        let reader = FrameReader::new(config.max_response_bytes);
        Self {
            node,
            address,
            config,
            state: State::Disconnected,
            addresses: Addresses::default(),
            resolution_pending: false,
            failures: 0,
            setup_failures: 0,
            retry_at_ms: None,
            last_attempt_ms: None,
            reader,
            versions: None,
            throttled_until_ms: None,
            last_active_ms: 0,
            asked_ms: 0,
            round_trip_ms: None,
            queued: VecDeque::new(),
            sent: VecDeque::new(),
            written: 0,
            write_blocked: false,
            traffic: Traffic::default(),
        }
    }

    /// Where the broker is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where the connection stands. The end of a back-off shows after `handle_timer`.
    pub fn state(&self) -> NodeState {
        match self.state {
            State::Disconnected if self.retry_at_ms.is_some() => NodeState::BackingOff,
            State::Disconnected => NodeState::Disconnected,
            State::Resolving { .. } => NodeState::Resolving,
            State::Connecting { .. } => NodeState::Connecting,
            State::Handshaking { .. } => NodeState::Handshaking,
            State::Ready => NodeState::Ready,
        }
    }

    /// What went over the wire since it was last taken.
    pub fn take_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }

    /// What a small request took there and back when the connection was last made.
    pub fn round_trip_ms(&self) -> Option<u64> {
        self.round_trip_ms
    }

    /// Requests of which the socket does not have all yet.
    pub fn unwritten(&self) -> usize {
        self.queued.len()
    }

    /// True while the driver should hold a socket for this connection.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Connecting { .. } | State::Handshaking { .. } | State::Ready)
    }

    /// SND-1: connected, versions known, not throttled, the socket took all it was offered, fewer than `max_in_flight`
    /// unanswered.
    ///
    /// Requests handed over since the last write count as written together with the next one: a burst goes out in one
    /// system call. Once the socket is full no more are taken, so that they wait where they can still grow.
    pub fn can_send(&self, now_ms: u64) -> bool {
        matches!(self.state, State::Ready)
            && self.throttled_until_ms.is_none_or(|until| now_ms >= until)
            && !self.write_blocked
            && self.in_flight() < self.config.max_in_flight.max(1)
    }

    /// CON-4: disconnected, and not waiting after a failure.
    pub fn can_connect(&self, now_ms: u64) -> bool {
        matches!(self.state, State::Disconnected) && self.retry_at_ms.is_none_or(|at| now_ms >= at)
    }

    /// Every request that is not answered, in order.
    pub fn requests(&self) -> impl Iterator<Item = &O> {
        self.sent.iter().chain(&self.queued).map(|pending| &pending.sending.request)
    }

    /// Requests handed over and not answered.
    pub fn in_flight(&self) -> usize {
        self.queued.len() + self.sent.len()
    }

    /// MET-10: how little suited this connection is for a request that any broker can answer; the least is taken. First those that
    /// can take it, by what is unanswered; then those that connect; then those that may, the oldest attempt first. `None`: backing
    /// off, throttled or busy.
    pub fn load(&self, now_ms: u64) -> Option<(u8, u64)> {
        match self.state() {
            NodeState::Ready if self.can_send(now_ms) => Some((0, self.in_flight() as u64)),
            state if state.is_connecting() => Some((1, 0)),
            _ if self.can_connect(now_ms) => {
                Some((2, self.last_attempt_ms().map_or(0, |ms| ms.saturating_add(1))))
            }
            _ => None,
        }
    }

    /// What the broker serves; known while ready.
    pub fn versions(&self) -> Option<&ApiVersionRanges> {
        self.versions.as_ref()
    }

    /// When the last attempt to connect began.
    pub fn last_attempt_ms(&self) -> Option<u64> {
        self.last_attempt_ms
    }

    /// When `handle_timer` has something to do, if nothing happens before.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            State::Disconnected => self.retry_at_ms,
            State::Resolving { deadline_ms }
            | State::Connecting { deadline_ms, .. }
            | State::Handshaking { deadline_ms, .. } => Some(deadline_ms),
            State::Ready => {
                let first = self.request_deadline_ms().or_else(|| self.idle_deadline_ms());
                first.into_iter().chain(self.throttled_until_ms).min()
            }
        }
    }

    /// All requests have the same timeout and none is taken while throttled, so the oldest is due first.
    fn request_deadline_ms(&self) -> Option<u64> {
        self.sent.front().or(self.queued.front()).map(|pending| pending.deadline_ms)
    }

    fn idle_deadline_ms(&self) -> Option<u64> {
        Some(self.last_active_ms.saturating_add(self.config.connections_max_idle_ms?))
    }
}

/// Commands.
impl<O> Connection<O> {
    /// SND-2: begins a connection if it may be begun now.
    pub fn connect(&mut self, cx: &mut Context<'_, O>) -> Step {
        if !self.can_connect(cx.now_ms) {
            return Step::None;
        }
        self.retry_at_ms = None;
        self.last_attempt_ms = Some(cx.now_ms);
        if let Some(to) = self.addresses.take_next() {
            return self.connect_to(to, cx);
        }
        if let Ok(ip) = self.address.host.parse::<IpAddr>() {
            return self.connect_to(SocketAddr::new(ip, self.address.port), cx);
        }
        self.state = State::Resolving { deadline_ms: self.setup_deadline_ms(cx) };
        match std::mem::replace(&mut self.resolution_pending, true) {
            true => Step::None,
            false => Step::Resolve,
        }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// If [`can_send`](Self::can_send) is false, the request is given back.
    pub fn send(&mut self, sending: Sending<O>, now_ms: u64) -> Result<(), O> {
        if !self.can_send(now_ms) {
            return Err(sending.request);
        }
        self.last_active_ms = now_ms;
        self.traffic.note_request(sending.frame_len);
        // SND-4: the time runs from here, not from the write.
        let deadline_ms = now_ms.saturating_add(self.request_timeout_ms());
        self.queued.push_back(Pending { sending, deadline_ms });
        Ok(())
    }

    /// SND-7: takes no requests until then. The moment never moves back. Requests in flight get the time on top of theirs
    /// (SND-4).
    pub fn throttle(&mut self, until_ms: u64, now_ms: u64) {
        let from = self.throttled_until_ms.unwrap_or(0).max(now_ms);
        if until_ms <= from {
            return;
        }
        self.throttled_until_ms = Some(until_ms);
        for pending in self.sent.iter_mut().chain(&mut self.queued) {
            pending.deadline_ms = pending.deadline_ms.saturating_add(until_ms - from);
        }
    }

    /// Ends the connection or the attempt to make one; nothing if there is neither. All requests go back in one event
    /// (SND-4).
    pub fn close(&mut self, reason: Disconnect, cx: &mut Context<'_, O>) {
        match std::mem::replace(&mut self.state, State::Disconnected) {
            State::Disconnected => return,
            State::Resolving { .. } => {}
            // CON-3: the next attempt gets more time.
            State::Connecting { .. } => self.setup_failures = self.setup_failures.saturating_add(1),
            // CON-2: after the loss of an established connection the name is resolved anew.
            State::Handshaking { .. } | State::Ready => self.addresses.forget(),
        }
        // CON-4; a connection that nobody used is no failure.
        if !matches!(reason, Disconnect::Idle) {
            let wait_ms = self.config.reconnect_backoff().delay_ms(self.failures, cx.rng.f64());
            self.failures = self.failures.saturating_add(1);
            self.retry_at_ms = Some(cx.now_ms.saturating_add(wait_ms));
        }
        self.reader = FrameReader::new(self.config.max_response_bytes);
        self.versions = None;
        self.written = 0;
        self.write_blocked = false;
        let requests = self.sent.drain(..).chain(self.queued.drain(..)).map(|p| p.sending.request).collect();
        tracing::debug!(node = self.node, address = %self.address, %reason, "disconnected");
        cx.events.push(Event::Disconnected { node: self.node, reason, requests });
    }

    fn connect_to(&mut self, to: SocketAddr, cx: &mut Context<'_, O>) -> Step {
        self.state = State::Connecting { to, deadline_ms: self.setup_deadline_ms(cx) };
        Step::Connect(to)
    }

    /// CON-3.
    fn setup_deadline_ms(&self, cx: &mut Context<'_, O>) -> u64 {
        let timeout_ms = self.config.setup_timeout().delay_ms(self.setup_failures, cx.rng.f64());
        cx.now_ms.saturating_add(timeout_ms)
    }

    /// A timeout of 0 is taken as 1 ms: an answer must have a chance.
    fn request_timeout_ms(&self) -> u64 {
        self.config.request_timeout_ms.max(1)
    }
}

/// Events in.
impl<O> Connection<O> {
    /// The resolver's answer to [`Step::Resolve`].
    pub fn handle_resolved(
        &mut self,
        found: Result<Vec<SocketAddr>, String>,
        cx: &mut Context<'_, O>,
    ) -> Step {
        self.resolution_pending = false;
        match (&self.state, found) {
            (State::Resolving { .. }, Ok(found)) => {
                self.addresses.resolved(&found);
                match self.addresses.take_next() {
                    Some(to) => return self.connect_to(to, cx),
                    None => self.close(self.resolve_error("it has no addresses".into()), cx),
                }
            }
            (State::Resolving { .. }, Err(message)) => self.close(self.resolve_error(message), cx),
            // It came after the connection gave up, and serves the next attempt: a resolver that is always slow helps too.
            (State::Disconnected, Ok(found)) => self.addresses.resolved(&found),
            _ => {}
        }
        Step::None
    }

    /// The TCP connection stands: asks for the broker's versions (CON-6).
    pub fn handle_connected(&mut self, cx: &mut Context<'_, O>) {
        if matches!(self.state, State::Connecting { .. }) {
            self.setup_failures = 0;
            self.ask_versions(handshake::first_version(), cx);
        }
    }

    /// The attempt to connect failed.
    pub fn handle_connect_failed(&mut self, error: io::Error, cx: &mut Context<'_, O>) {
        if let State::Connecting { to, .. } = self.state {
            self.close(Disconnect::ConnectFailed(ConnectError { address: to, error }), cx);
        }
    }

    /// Room for the next read, never empty.
    pub fn read_space(&mut self) -> &mut [u8] {
        self.reader.space()
    }

    /// `n` bytes were read into [`read_space`](Self::read_space).
    pub fn handle_read(&mut self, n: usize, cx: &mut Context<'_, O>) {
        self.traffic.bytes_in += n as u64;
        self.reader.advance(n);
        while matches!(self.state, State::Handshaking { .. } | State::Ready) {
            let result = match self.reader.next_frame() {
                Ok(Some(frame)) => self.handle_frame(frame, cx),
                Ok(None) => return,
                Err(e) => Err(ProtocolError::Frame(e)),
            };
            if let Err(e) = result {
                self.close(Disconnect::Protocol(e), cx);
            }
        }
    }

    /// `n` bytes of what [`gather`](Self::gather) gave were written.
    pub fn handle_written(&mut self, n: usize, cx: &mut Context<'_, O>)
    where
        O: Outgoing,
    {
        self.traffic.bytes_out += n as u64;
        self.written += n;
        if matches!(self.state, State::Handshaking { .. }) {
            return;
        }
        while let Some(first) = self.queued.front() {
            if self.written < first.sending.frame_len {
                return;
            }
            self.written -= first.sending.frame_len;
            let Some(mut pending) = self.queued.pop_front() else { return };
            pending.sending.request.note_written(cx.now_ms);
            match pending.sending.request.expects_response() {
                true => self.sent.push_back(pending),
                // SND-8
                false => cx.events.push(Event::Written { node: self.node, request: pending.sending.request }),
            }
        }
    }

    /// The socket took less than it was offered (true), or can take more again (false).
    pub fn set_write_blocked(&mut self, blocked: bool) {
        self.write_blocked = blocked;
    }

    /// The time has come that [`deadline_ms`](Self::deadline_ms) named, or any other.
    pub fn handle_timer(&mut self, cx: &mut Context<'_, O>) {
        let now_ms = cx.now_ms;
        self.throttled_until_ms = self.throttled_until_ms.filter(|&until| now_ms < until);
        match self.state {
            State::Disconnected => self.retry_at_ms = self.retry_at_ms.filter(|&at| now_ms < at),
            State::Resolving { deadline_ms } if now_ms >= deadline_ms => {
                self.close(self.resolve_error("no answer within the set-up timeout".into()), cx);
            }
            State::Connecting { deadline_ms, .. } if now_ms >= deadline_ms => {
                self.handle_connect_failed(io::ErrorKind::TimedOut.into(), cx);
            }
            State::Handshaking { deadline_ms, .. } if now_ms >= deadline_ms => {
                self.close(Disconnect::Timeout, cx);
            }
            // SND-4: one request over time ends the connection, and with it all.
            State::Ready => match self.request_deadline_ms() {
                Some(deadline_ms) if now_ms >= deadline_ms => self.close(Disconnect::Timeout, cx),
                Some(_) => {}
                // CON-5
                None if self.idle_deadline_ms().is_some_and(|idle| now_ms >= idle) => {
                    self.close(Disconnect::Idle, cx);
                }
                None => {}
            },
            _ => {}
        }
    }

    fn ask_versions(&mut self, version: i16, cx: &mut Context<'_, O>) {
        let correlation_id = cx.correlation_ids.take();
        match handshake::request(&self.config, version, correlation_id) {
            Ok(frame) => {
                self.written = 0;
                self.traffic.note_request(frame.len());
                self.asked_ms = cx.now_ms;
                let deadline_ms = cx.now_ms.saturating_add(self.request_timeout_ms());
                self.state = State::Handshaking { frame, version, correlation_id, deadline_ms };
            }
            // A client id or software name longer than a string may be.
            Err(e) => self.close(Disconnect::Protocol(ProtocolError::ApiVersions(e.to_string())), cx),
        }
    }

    fn handle_frame(&mut self, frame: Bytes, cx: &mut Context<'_, O>) -> Result<(), ProtocolError> {
        if let State::Handshaking { version, correlation_id, .. } = self.state {
            // ApiVersions answers always have header 0.
            let (found, body) = split_header(frame, 0)?;
            check_correlation_id(Some(correlation_id), found)?;
            self.traffic.responses += 1;
            self.handle_versions(&body, version, cx);
            return Ok(());
        }
        // SND-6: only the oldest request may be answered, and only once it is written whole.
        let oldest = self.sent.front().map(|pending| &pending.sending);
        let header_version = oldest.map_or(0, |oldest| oldest.api.response_header_version(oldest.version));
        let expected = oldest.map(|oldest| oldest.correlation_id);
        let (found, body) = split_header(frame, header_version)?;
        check_correlation_id(expected, found)?;
        self.last_active_ms = cx.now_ms;
        self.traffic.responses += 1;
        if let Some(Pending { sending: Sending { request, api, version, correlation_id, .. }, .. }) =
            self.sent.pop_front()
        {
            cx.events.push(Event::Response { node: self.node, request, api, version, correlation_id, body });
        }
        Ok(())
    }

    fn handle_versions(&mut self, body: &[u8], asked: i16, cx: &mut Context<'_, O>) {
        match handshake::answer(body, asked) {
            Answer::Versions(versions) => {
                self.versions = Some(versions);
                self.state = State::Ready;
                self.failures = 0;
                self.written = 0;
                self.last_active_ms = cx.now_ms;
                self.round_trip_ms = Some(cx.now_ms.saturating_sub(self.asked_ms));
                cx.events.push(Event::Ready { node: self.node });
            }
            Answer::AskAgain(version) => self.ask_versions(version, cx),
            Answer::Fail(reason) => self.close(reason, cx),
        }
    }

    fn resolve_error(&self, message: String) -> Disconnect {
        Disconnect::Resolve(ResolveError { host: self.address.host.clone(), message })
    }
}

/// Bytes out.
impl<O: Outgoing> Connection<O> {
    /// Appends the slices that are to be written, whole requests until there are at least `max_slices`, and returns how many
    /// bytes at their front are already written.
    pub fn gather<'a>(&'a self, max_slices: usize, out: &mut Vec<IoSlice<'a>>) -> usize {
        match &self.state {
            State::Handshaking { frame, .. } => out.push(IoSlice::new(frame)),
            State::Ready => {
                for pending in &self.queued {
                    pending.sending.request.slices(out);
                    if out.len() >= max_slices {
                        break;
                    }
                }
            }
            _ => {}
        }
        self.written
    }

    /// True if [`gather`](Self::gather) has something to give.
    pub fn wants_write(&self) -> bool {
        match &self.state {
            State::Handshaking { frame, .. } => self.written < frame.len(),
            State::Ready => !self.queued.is_empty(),
            _ => false,
        }
    }
}

fn check_correlation_id(expected: Option<i32>, found: i32) -> Result<(), ProtocolError> {
    match expected == Some(found) {
        true => Ok(()),
        false => Err(ProtocolError::CorrelationId { expected, found }),
    }
}

/// The correlation id of a response in this header version, and what follows the header. A header 1 may carry tagged
/// fields; none of them has a meaning yet.
fn split_header(frame: Bytes, header_version: i16) -> Result<(i32, Bytes), ProtocolError> {
    let mut input = Decoder::new(&frame);
    let header = ResponseHeader::decode(&mut input, header_version).map_err(|_| ProtocolError::Header)?;
    let len = frame.len() - input.remaining();
    Ok((header.correlation_id, frame.slice(len..)))
}
