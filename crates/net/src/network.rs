//! The driver of a set of connections: sockets, the poll, the waker, names. One thread owns it: the producer's sender
//! thread, a fetcher, or whoever makes a blocking call.
//!
//! A pass looks like this: `ready` (which begins connections where needed), `send` for those that are, then `poll`, which
//! writes everything handed over with one `writev` per connection, waits, reads, and reports. For a request that fits the
//! socket's buffer that makes three system calls: `writev`, the wait, and a `read`, shared by all requests and responses that
//! came together. Nothing is allocated per request but its place in a queue that keeps its memory.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Registry, Token};
use rohrpost_protocol::{ApiKey, ApiVersionRanges};

use crate::connection::{Connection, Context, CorrelationIds, Sending, Step};
use crate::resolve::{Resolve, Resolver, SystemResolver};
use crate::stream::{SHORT_MEANS_DONE, Stream};
use crate::{Address, Disconnect, Event, NetConfig, NodeId, NodeState, Outgoing, Traffic};

const WAKER: Token = Token(usize::MAX);
/// Sockets reported by one wait; the others come with the next.
const EVENTS_PER_WAIT: usize = 256;
/// IOV_MAX of Linux, macOS and the BSDs.
const SLICES_MAX: usize = 1024;
/// Reads from one connection before the others get their turn.
const READS_PER_PASS: usize = 8;
/// Removed nodes of which the traffic is kept until somebody takes it.
const REMOVED_MAX: usize = 256;

/// A set of connections, at most one per broker (CON-1).
///
/// Calls about a node that was never set are harmless: `ready` says no, `send` gives the request back.
pub struct Network<O: Outgoing> {
    poll: Poll,
    sockets: Events,
    waker: Waker,
    /// A node's place here is its socket's token.
    nodes: Vec<Option<Node<O>>>,
    slots: HashMap<NodeId, usize>,
    tools: Tools,
    /// Events of calls outside of `poll`.
    early: Vec<Event<O>>,
    /// Traffic of nodes that were removed, until it is taken.
    removed: Vec<(NodeId, Traffic)>,
    /// Nodes with something to write that was not tried yet.
    unwritten: Vec<usize>,
    /// Nodes whose sockets may have more to read, without a further edge to say so.
    unread: Vec<usize>,
}

/// What every node's I/O needs.
struct Tools {
    config: Arc<NetConfig>,
    registry: Registry,
    rng: fastrand::Rng,
    correlation_ids: CorrelationIds,
    resolver: Resolver,
    /// Always empty between uses; only its memory is kept.
    slices: Vec<IoSlice<'static>>,
}

struct Node<O> {
    id: NodeId,
    slot: usize,
    connection: Connection<O>,
    stream: Option<Stream>,
    /// The question to the resolver that this node waits for.
    resolution: u64,
    /// The poll reported the end of the stream: a short read is not the end then.
    read_closed: bool,
    in_unwritten: bool,
    in_unread: bool,
}

impl<O: Outgoing> Network<O> {
    /// A network without nodes.
    ///
    /// # Errors
    /// The system's: no more file descriptors.
    pub fn new(config: NetConfig) -> io::Result<Self> {
        Self::with_resolver(config, Arc::new(SystemResolver))
    }

    /// As [`new`](Self::new), with another way to resolve names.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_resolver(config: NetConfig, resolve: Arc<dyn Resolve>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(mio::Waker::new(&registry, WAKER)?);
        let tools = Tools {
            config: Arc::new(config),
            registry,
            rng: fastrand::Rng::new(),
            correlation_ids: CorrelationIds::default(),
            resolver: Resolver::new(resolve, waker.clone()),
            slices: Vec::new(),
        };
        Ok(Self {
            poll,
            sockets: Events::with_capacity(EVENTS_PER_WAIT),
            waker,
            nodes: Vec::new(),
            slots: HashMap::new(),
            tools,
            early: Vec::new(),
            removed: Vec::new(),
            unwritten: Vec::new(),
            unread: Vec::new(),
        })
    }

    /// A handle with which any thread ends a `poll` early.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Names a broker. Nothing is connected yet. If the node has another address so far, its connection ends
    /// ([`Disconnect::Local`]) and its back-off is forgotten; with the same address this does nothing.
    ///
    /// An IPv6 address stands without brackets.
    pub fn set_node(&mut self, node: NodeId, host: &str, port: u16) {
        if let Some(known) = self.node(node) {
            let address = known.connection.address();
            if address.host == host && address.port == port {
                return;
            }
            self.remove_node(node);
        }
        let slot = self.nodes.iter().position(Option::is_none).unwrap_or(self.nodes.len());
        let connection = Connection::new(node, Address::new(host, port), Arc::clone(&self.tools.config));
        let entry = Some(Node {
            id: node,
            slot,
            connection,
            stream: None,
            resolution: 0,
            read_closed: false,
            in_unwritten: false,
            in_unread: false,
        });
        match self.nodes.get_mut(slot) {
            Some(free) => *free = entry,
            None => self.nodes.push(entry),
        }
        self.slots.insert(node, slot);
    }

    /// Forgets a broker and ends its connection ([`Disconnect::Local`] at the next `poll`, with its requests).
    pub fn remove_node(&mut self, node: NodeId) {
        // The time counts for the back-off only, which goes with the node.
        self.disconnect(node, 0);
        if let Some(slot) = self.slots.remove(&node) {
            let traffic = self.nodes[slot].take().map(|mut gone| gone.connection.take_traffic());
            if self.removed.len() < REMOVED_MAX {
                self.removed.extend(traffic.map(|traffic| (node, traffic)));
            }
            self.unwritten.retain(|&s| s != slot);
            self.unread.retain(|&s| s != slot);
        }
    }

    /// The nodes that are set, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.slots.keys().copied()
    }

    /// The address given to `set_node`.
    pub fn address(&self, node: NodeId) -> Option<&Address> {
        self.node(node).map(|node| node.connection.address())
    }

    /// SND-1: true if a request can be handed over now. SND-2: begins a connection if there is none and the node is not
    /// backing off.
    pub fn ready(&mut self, node: NodeId, now_ms: u64) -> bool {
        let Self { nodes, slots, tools, early, .. } = self;
        let Some(node) = slots.get(&node).and_then(|&slot| nodes[slot].as_mut()) else { return false };
        if node.connection.can_connect(now_ms) {
            node.connect(tools, now_ms, early);
        }
        node.connection.can_send(now_ms)
    }

    /// What the broker serves, known while its connection is ready.
    pub fn versions(&self, node: NodeId) -> Option<&ApiVersionRanges> {
        self.node(node)?.connection.versions()
    }

    /// Every request that is not answered, written or not. Its buffers are the connection's until it comes back.
    pub fn requests(&self) -> impl Iterator<Item = &O> {
        self.nodes.iter().flatten().flat_map(|node| node.connection.requests())
    }

    /// Requests handed over and not yet handed back.
    pub fn in_flight(&self, node: NodeId) -> usize {
        self.node(node).map_or(0, |node| node.connection.in_flight())
    }

    /// Of those, the ones of which the socket does not have all yet.
    pub fn unwritten(&self, node: NodeId) -> usize {
        self.node(node).map_or(0, |node| node.connection.unwritten())
    }

    /// What a small request took there and back when the node's connection was last made.
    pub fn round_trip_ms(&self, node: NodeId) -> Option<u64> {
        self.node(node)?.connection.round_trip_ms()
    }

    /// Tells what went over the wire since the last call, of each node with anything to tell.
    pub fn take_traffic(&mut self, mut tell: impl FnMut(NodeId, Traffic)) {
        let standing = self.nodes.iter_mut().flatten().map(|node| (node.id, node.connection.take_traffic()));
        for (node, traffic) in self.removed.drain(..).chain(standing) {
            if traffic != Traffic::default() {
                tell(node, traffic);
            }
        }
    }

    /// Where a node's connection stands as of the last `poll`.
    pub fn state(&self, node: NodeId) -> NodeState {
        self.node(node).map_or(NodeState::Unknown, |node| node.connection.state())
    }

    /// MET-10: beginning at a random node, one that is ready with nothing in flight; else the ready one with the least in
    /// flight; else one that is connecting; else the one whose last attempt is oldest among those not backing off. `None`:
    /// all are backing off, throttled or busy.
    pub fn least_loaded(&mut self, now_ms: u64) -> Option<NodeId> {
        let start = self.tools.rng.usize(0..self.nodes.len().max(1));
        let (tail, head) = self.nodes.split_at(start);
        let ranked = head
            .iter()
            .chain(tail)
            .flatten()
            .filter_map(|node| Some((node.connection.load(now_ms)?, node.id)));
        // Of equals, the first is taken.
        ranked.min_by_key(|&(rank, _)| rank).map(|(_, id)| id)
    }

    /// The id for the header of the next request to `node`.
    pub fn next_correlation_id(&mut self, _node: NodeId) -> i32 {
        self.tools.correlation_ids.take()
    }

    /// Hands a request over; it is written by the next `poll` or `flush`.
    ///
    /// # Errors
    /// If `ready` is false, the request is given back: nothing of it was sent.
    ///
    /// # Panics
    /// If the request has no bytes.
    pub fn send(
        &mut self,
        node: NodeId,
        correlation_id: i32,
        api: ApiKey,
        version: i16,
        request: O,
        now_ms: u64,
    ) -> Result<(), O> {
        let Self { nodes, slots, tools, unwritten, .. } = self;
        let Some(node) = slots.get(&node).and_then(|&slot| nodes[slot].as_mut()) else { return Err(request) };
        let frame_len = tools.frame_len(&request);
        assert!(frame_len > 0, "a request to be sent has no bytes");
        node.connection.send(Sending { request, frame_len, api, version, correlation_id }, now_ms)?;
        if !node.in_unwritten {
            node.in_unwritten = true;
            unwritten.push(node.slot);
        }
        Ok(())
    }

    /// Ends a node's connection; [`Disconnect::Local`] with its requests comes with the next `poll`.
    pub fn disconnect(&mut self, node: NodeId, now_ms: u64) {
        let Self { nodes, slots, tools, early, .. } = self;
        if let Some(node) = slots.get(&node).and_then(|&slot| nodes[slot].as_mut()) {
            node.connection.close(Disconnect::Local, &mut tools.context(now_ms, early));
            node.drop_closed(tools);
        }
    }

    /// SND-7: no requests to `node` before `until_ms`. The moment never moves back.
    pub fn throttle(&mut self, node: NodeId, until_ms: u64, now_ms: u64) {
        let Self { nodes, slots, .. } = self;
        if let Some(node) = slots.get(&node).and_then(|&slot| nodes[slot].as_mut()) {
            node.connection.throttle(until_ms, now_ms);
        }
    }

    /// Writes what was handed over, without waiting or reading. For a caller with more to do before it polls.
    pub fn flush(&mut self, now_ms: u64, events: &mut Vec<Event<O>>) {
        let Self { nodes, tools, unwritten, .. } = self;
        for slot in unwritten.drain(..) {
            if let Some(node) = &mut nodes[slot] {
                node.in_unwritten = false;
                node.write(tools, now_ms, events);
            }
        }
    }

    /// Writes what was handed over, waits at most `timeout` (`None`: without end) for sockets, names, deadlines or the
    /// waker, and reports what happened. Does not wait if there is something to report already. May return without an event:
    /// a connection can have become able to take a request. The only call here that blocks.
    ///
    /// # Errors
    /// The poll's own, never that of a connection.
    pub fn poll(
        &mut self,
        timeout: Option<Duration>,
        now_ms: impl Fn() -> u64,
        events: &mut Vec<Event<O>>,
    ) -> io::Result<()> {
        let before = events.len();
        events.append(&mut self.early);
        let now = now_ms();
        self.flush(now, events);
        let expired = self.handle_timers(now, events);
        let at_once = events.len() > before || expired || !self.unread.is_empty();
        let wait = match at_once {
            true => Some(Duration::ZERO),
            false => {
                let deadline = self.next_deadline().map(|at| Duration::from_millis(at.saturating_sub(now)));
                deadline.into_iter().chain(timeout).min()
            }
        };
        let now = match self.wait(wait)? {
            true => now_ms(),
            // Nothing slept: the clock is as good as it was.
            false => now,
        };
        self.handle_sockets(now, events);
        self.handle_names(now, events);
        self.handle_timers(now, events);
        Ok(())
    }

    /// The next moment at which `poll` has something to do by itself: a timeout, the end of a back-off or of a throttle. A
    /// `poll` wakes up for it without being told.
    pub fn next_deadline(&self) -> Option<u64> {
        self.nodes.iter().flatten().filter_map(|node| node.connection.deadline_ms()).min()
    }

    fn node(&self, node: NodeId) -> Option<&Node<O>> {
        self.nodes[*self.slots.get(&node)?].as_ref()
    }

    /// Waits for sockets. True if time may have passed.
    fn wait(&mut self, wait: Option<Duration>) -> io::Result<bool> {
        let sleeps = wait != Some(Duration::ZERO) && self.waker.fall_asleep();
        let wait = if sleeps { wait } else { Some(Duration::ZERO) };
        let result = self.poll.poll(&mut self.sockets, wait);
        self.waker.awake();
        match result {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.sockets.clear(),
            other => other?,
        }
        Ok(sleeps)
    }

    fn handle_sockets(&mut self, now_ms: u64, events: &mut Vec<Event<O>>) {
        let Self { nodes, tools, sockets, unread, .. } = self;
        // Those left over from the last pass first; a node can put itself on the list again.
        for slot in std::mem::take(unread) {
            if let Some(node) = &mut nodes[slot] {
                node.in_unread = false;
                node.read(tools, now_ms, events, unread);
            }
        }
        for socket in sockets.iter() {
            let node = nodes.get_mut(socket.token().0).and_then(Option::as_mut);
            let Some(node) = node.filter(|node| node.stream.is_some()) else { continue };
            node.read_closed |= socket.is_read_closed() || socket.is_error();
            if socket.is_writable() || socket.is_error() {
                node.handle_writable(tools, now_ms, events);
            }
            if socket.is_readable() || socket.is_read_closed() || socket.is_error() {
                node.read(tools, now_ms, events, unread);
            }
        }
    }

    fn handle_names(&mut self, now_ms: u64, events: &mut Vec<Event<O>>) {
        let Self { nodes, tools, .. } = self;
        while let Some(answer) = tools.resolver.answer() {
            // A node that was set anew meanwhile waits for another answer.
            if let Some(node) = nodes.iter_mut().flatten().find(|node| node.resolution == answer.id) {
                let step = node.connection.handle_resolved(answer.found, &mut tools.context(now_ms, events));
                node.take(step, tools, now_ms, events);
            }
        }
    }

    /// True if a deadline had passed.
    fn handle_timers(&mut self, now_ms: u64, events: &mut Vec<Event<O>>) -> bool {
        let mut any = false;
        for node in self.nodes.iter_mut().flatten() {
            if node.connection.deadline_ms().is_some_and(|at| at <= now_ms) {
                any = true;
                node.connection.handle_timer(&mut self.tools.context(now_ms, events));
                node.drop_closed(&self.tools);
            }
        }
        any
    }
}

impl<O: Outgoing> fmt::Debug for Network<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("nodes", &self.slots.len()).finish_non_exhaustive()
    }
}

impl Tools {
    fn context<'a, O>(&'a mut self, now_ms: u64, events: &'a mut Vec<Event<O>>) -> Context<'a, O> {
        Context { now_ms, rng: &mut self.rng, correlation_ids: &mut self.correlation_ids, events }
    }

    fn frame_len(&mut self, request: &impl Outgoing) -> usize {
        let mut slices = emptied(std::mem::take(&mut self.slices));
        request.slices(&mut slices);
        let len = slices.iter().map(|slice| slice.len()).sum();
        self.slices = emptied(slices);
        len
    }
}

impl<O: Outgoing> Node<O> {
    fn connect(&mut self, tools: &mut Tools, now_ms: u64, events: &mut Vec<Event<O>>) {
        let step = self.connection.connect(&mut tools.context(now_ms, events));
        self.take(step, tools, now_ms, events);
    }

    fn take(&mut self, step: Step, tools: &mut Tools, now_ms: u64, events: &mut Vec<Event<O>>) {
        match step {
            Step::None => {}
            Step::Resolve => {
                let address = self.connection.address();
                match tools.resolver.ask(&address.host, address.port) {
                    Ok(id) => self.resolution = id,
                    Err(e) => {
                        let found = Err(e.to_string());
                        let step = self.connection.handle_resolved(found, &mut tools.context(now_ms, events));
                        debug_assert_eq!(step, Step::None);
                    }
                }
            }
            Step::Connect(to) => {
                match Stream::connect(to, &tools.config, &tools.registry, Token(self.slot)) {
                    Ok(stream) => {
                        self.read_closed = false;
                        self.stream = Some(stream);
                    }
                    Err(e) => self.connection.handle_connect_failed(e, &mut tools.context(now_ms, events)),
                }
            }
        }
    }

    fn handle_writable(&mut self, tools: &mut Tools, now_ms: u64, events: &mut Vec<Event<O>>) {
        self.connection.set_write_blocked(false);
        if self.connection.state() == NodeState::Connecting {
            let Some(stream) = &self.stream else { return };
            match stream.is_connected() {
                Ok(true) => self.connection.handle_connected(&mut tools.context(now_ms, events)),
                Ok(false) => {}
                Err(e) => self.connection.handle_connect_failed(e, &mut tools.context(now_ms, events)),
            }
        }
        self.write(tools, now_ms, events);
    }

    /// Writes until there is nothing left or the socket is full.
    fn write(&mut self, tools: &mut Tools, now_ms: u64, events: &mut Vec<Event<O>>) {
        while self.connection.wants_write() {
            let Some(stream) = &mut self.stream else { break };
            let mut slices = emptied(std::mem::take(&mut tools.slices));
            let written = self.connection.gather(SLICES_MAX, &mut slices);
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, written);
            let rest = &rest[..rest.len().min(SLICES_MAX)];
            let offered: usize = rest.iter().map(|slice| slice.len()).sum();
            let result = stream.write(rest);
            tools.slices = emptied(slices);
            match result {
                Ok(n) if n > 0 => {
                    self.connection.handle_written(n, &mut tools.context(now_ms, events));
                    if n < offered && SHORT_MEANS_DONE {
                        self.connection.set_write_blocked(true);
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.connection.set_write_blocked(true);
                    break;
                }
                broken => {
                    tracing::debug!(node = self.id, ?broken, "cannot write");
                    // The broker may have answered earlier requests before it closed.
                    self.read_closed = true;
                    self.read(tools, now_ms, events, &mut Vec::new());
                    self.connection.close(Disconnect::Closed, &mut tools.context(now_ms, events));
                    break;
                }
            }
        }
        self.drop_closed(tools);
    }

    /// Reads until the socket is empty or others should get their turn; then the node puts itself on `unread`.
    fn read(&mut self, tools: &mut Tools, now_ms: u64, events: &mut Vec<Event<O>>, unread: &mut Vec<usize>) {
        let mut more = true;
        for _ in 0..READS_PER_PASS {
            // Before the connection stands there is nothing to read; its failure is reported as writable.
            if !self.connection.is_open() || self.connection.state() == NodeState::Connecting {
                more = false;
                break;
            }
            let Some(stream) = &mut self.stream else { break };
            let space = self.connection.read_space();
            let room = space.len();
            match stream.read(space) {
                Ok(0) => {
                    self.connection.close(Disconnect::Closed, &mut tools.context(now_ms, events));
                }
                Ok(n) => {
                    self.connection.handle_read(n, &mut tools.context(now_ms, events));
                    if n < room && SHORT_MEANS_DONE && !self.read_closed {
                        more = false;
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    more = false;
                    break;
                }
                Err(e) => {
                    tracing::debug!(node = self.id, error = %e, "cannot read");
                    self.connection.close(Disconnect::Closed, &mut tools.context(now_ms, events));
                }
            }
        }
        if more && self.connection.is_open() && !self.in_unread {
            self.in_unread = true;
            unread.push(self.slot);
        }
        // An answer to ApiVersions can ask for another question (VER-2).
        if self.connection.state() == NodeState::Handshaking && self.connection.wants_write() {
            self.write(tools, now_ms, events);
        }
        self.drop_closed(tools);
    }

    /// Drops the socket of a connection that ended.
    fn drop_closed(&mut self, tools: &Tools) {
        if !self.connection.is_open()
            && let Some(stream) = self.stream.take()
        {
            stream.close(&tools.registry);
        }
    }
}

/// Ends a `poll` from any thread.
#[derive(Clone)]
pub struct Waker {
    shared: Arc<WakerState>,
}

struct WakerState {
    poll: mio::Waker,
    state: AtomicU8,
}

/// The polling thread runs, and nobody has called.
const AWAKE: u8 = 0;
/// It runs, and will not sleep in its next `poll`.
const CALLED: u8 = 1;
/// It sleeps, or is about to.
const ASLEEP: u8 = 2;

impl Waker {
    fn new(poll: mio::Waker) -> Self {
        Self { shared: Arc::new(WakerState { poll, state: AtomicU8::new(AWAKE) }) }
    }

    /// Ends the `poll` under way, or makes the next one return at once. Costs a system call only if the polling thread sleeps
    /// and nobody has woken it yet.
    pub fn wake(&self) {
        if self.shared.state.swap(CALLED, Ordering::SeqCst) == ASLEEP
            && let Err(e) = self.shared.poll.wake()
        {
            tracing::error!("cannot wake the network thread: {e}");
        }
    }

    /// False if somebody called since the last `poll`.
    fn fall_asleep(&self) -> bool {
        self.shared.state.compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn awake(&self) {
        // A swap, so that what a caller wrote before its `wake` is seen by whoever runs next here.
        self.shared.state.swap(AWAKE, Ordering::SeqCst);
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

/// The vector without its slices, so that its memory can serve slices of another lifetime. (Collecting from a vector's own
/// iterator keeps the allocation.)
fn emptied<'a>(mut slices: Vec<IoSlice<'_>>) -> Vec<IoSlice<'a>> {
    slices.clear();
    slices.into_iter().map(|_| IoSlice::new(&[])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_slices_is_used_again() {
        let bytes = [1, 2, 3];
        let mut slices = Vec::with_capacity(100);
        slices.push(IoSlice::new(&bytes));
        let (memory, capacity) = (slices.as_ptr() as usize, slices.capacity());
        let emptied: Vec<IoSlice<'static>> = emptied(slices);
        assert!(emptied.is_empty());
        assert_eq!((emptied.as_ptr() as usize, emptied.capacity()), (memory, capacity));
    }
}
