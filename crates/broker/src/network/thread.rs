//! A network thread: the driver of many connections on one `mio` poll. It owns sockets, time and buffers; every decision is
//! the connection's ([`super::connection`]).

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};

use super::acceptor::Acceptor;
use super::channel::{Answer, RequestChannel, Responder, ResponseQueue, expire_guarded, handle_guarded};
use super::connection::{Connection, Serial};
use super::memory::FrameMemory;
use super::quota::{Admission, ConnectionQuota};
use super::response::SLICES_MAX;
use super::{Frame, Outcome, Pending, Request, Route, Service};

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
/// Frames of one connection served in a row before others get their turn.
const FRAMES_PER_TURN: usize = 8;
/// Sockets that may wait to be taken over by a thread (N1).
const HANDOVER_MAX: usize = 20;
/// Used buffers kept for the next frames, and the largest that is kept: an idle broker holds little memory.
const SPARE_BUFFERS_MAX: usize = 4;
const SPARE_BUFFER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Spare buffers are given back after this long without a request.
const SPARE_BUFFERS_IDLE: Duration = Duration::from_secs(5);

/// What sockets are set to, and the limits of a connection.
#[derive(Debug, Clone)]
pub(crate) struct SocketConfig {
    /// `socket.send.buffer.bytes`; `None` leaves the system's default.
    pub(crate) send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`; set on the listening socket.
    pub(crate) receive_buffer_bytes: Option<usize>,
    /// `socket.request.max.bytes`.
    pub(crate) frame_bytes_max: usize,
    /// `socket.listen.backlog.size`.
    pub(crate) backlog: i32,
    /// `connections.max.idle.ms`; `None` = never.
    pub(crate) idle_max: Option<Duration>,
}

impl SocketConfig {
    /// N2, for an accepted socket (which is non-blocking already).
    pub(super) fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new())?;
        socket.set_keepalive(true)?;
        match self.send_buffer_bytes {
            Some(bytes) => socket.set_send_buffer_size(bytes),
            None => Ok(()),
        }
    }
}

/// An accepted socket, its peer, and its place in the quota.
type Accepted = (TcpStream, SocketAddr, Admission);

/// Accepted sockets on their way to a network thread (N1).
pub(crate) struct Handover {
    sockets: Mutex<VecDeque<Accepted>>,
    queue: Arc<ResponseQueue>,
}

impl Handover {
    /// `queue` wakes the thread that takes the sockets over.
    pub(super) fn new(queue: Arc<ResponseQueue>) -> Self {
        Self { sockets: Mutex::default(), queue }
    }

    pub(super) fn has_room(&self) -> bool {
        self.sockets.lock().len() < HANDOVER_MAX
    }

    pub(super) fn push(&self, socket: TcpStream, peer: SocketAddr, admission: Admission) {
        self.sockets.lock().push_back((socket, peer, admission));
        self.queue.wake();
    }

    pub(super) fn take(&self) -> Option<Accepted> {
        self.sockets.lock().pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.sockets.lock().len()
    }
}

/// What the network threads of a broker share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// What is served.
    pub(crate) service: Arc<dyn Service>,
    /// The way to the handler threads.
    pub(crate) channel: Arc<RequestChannel>,
    /// The bound on connections.
    pub(crate) quota: Arc<ConnectionQuota>,
    /// The bound on frames; `None`: there is none (N7).
    pub(crate) memory: Option<Arc<FrameMemory>>,
    /// What sockets are set to.
    pub(crate) config: SocketConfig,
}

/// A listener as its network threads know it.
#[derive(Debug, Clone)]
pub(crate) struct ListenerId {
    /// Its place in the configuration, for the quota.
    pub(crate) index: usize,
    /// Its name, for answers (M8).
    pub(crate) name: Arc<str>,
}

/// One network thread, before and while it runs.
pub(crate) struct NetworkThread {
    poll: Poll,
    /// The listener that its connections come from.
    listener: ListenerId,
    shared: Shared,
    queue: Arc<ResponseQueue>,
    handover: Arc<Handover>,
    acceptor: Option<Acceptor>,

    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    next_serial: Serial,
    now: Instant,
    /// Deadlines of requests that wait in the purgatory; one per connection at most.
    deadlines: BTreeMap<(Instant, Serial), usize>,
    /// Requests for which the channel had no room. While there are any, nothing is read (N6).
    stalled: VecDeque<(usize, Request)>,
    /// Connections whose frame has no memory yet (N7). They are not read.
    starved: Vec<usize>,
    /// Connections that had more to do than their turn allowed. Here and above a connection that has gone may still be listed;
    /// serving whoever has its place by then does no harm.
    again: Vec<usize>,
    spare_buffers: Vec<Vec<u8>>,
    last_request: Instant,
    next_idle_check: Option<Instant>,
    answers: Vec<Answer>,
}

struct Peer {
    socket: TcpStream,
    address: SocketAddr,
    connection: Connection,
    _admission: Admission,
    /// What the last events said (edge-triggered): true until an operation would block.
    readable: bool,
    writable: bool,
    /// The peer will send no more; a read must see its end.
    read_closed: bool,
    last_active: Instant,
    waiting: Option<Pending>,
    listed_again: bool,
    listed_starved: bool,
}

/// Why a connection ends.
enum Close {
    /// The peer closed it between two requests, or it is idle or stopped: nothing to say.
    Quiet,
    /// The peer closed it inside a frame, or while a request was in flight.
    Early,
    /// Something a reader of the log wants to know.
    Because(String),
}

impl NetworkThread {
    /// A thread without an acceptor, for connections of this listener.
    pub(crate) fn new(listener: ListenerId, shared: Shared) -> io::Result<Self> {
        let poll = Poll::new()?;
        let queue = Arc::new(ResponseQueue::new(Waker::new(poll.registry(), WAKER)?));
        shared.quota.register(Arc::clone(&queue));
        let now = Instant::now();
        Ok(Self {
            poll,
            listener,
            handover: Arc::new(Handover::new(Arc::clone(&queue))),
            queue,
            acceptor: None,
            next_idle_check: shared.config.idle_max.map(|idle| now + idle),
            shared,
            peers: Vec::new(),
            free: Vec::new(),
            next_serial: 0,
            now,
            deadlines: BTreeMap::new(),
            stalled: VecDeque::new(),
            starved: Vec::new(),
            again: Vec::new(),
            spare_buffers: Vec::new(),
            last_request: now,
            answers: Vec::new(),
        })
    }

    /// Makes this thread the one that accepts, for itself and for `others`.
    pub(crate) fn accept_from(
        &mut self,
        listener: std::net::TcpListener,
        others: &[Arc<Handover>],
    ) -> io::Result<()> {
        let mut threads = vec![Arc::clone(&self.handover)];
        threads.extend(others.iter().cloned());
        let listener = mio::net::TcpListener::from_std(listener);
        let Shared { quota, config, .. } = &self.shared;
        let index = self.listener.index;
        let mut acceptor = Acceptor::new(listener, index, Arc::clone(quota), config.clone(), threads);
        self.poll.registry().register(acceptor.listener(), LISTENER, Interest::READABLE)?;
        self.acceptor = Some(acceptor);
        Ok(())
    }

    /// Where answers to this thread's connections go, and how it is stopped.
    pub(crate) fn queue(&self) -> Arc<ResponseQueue> {
        Arc::clone(&self.queue)
    }

    /// Where the acceptor puts sockets for this thread.
    pub(crate) fn handover(&self) -> Arc<Handover> {
        Arc::clone(&self.handover)
    }

    /// Runs until stopped.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        while self.pass(&mut events, None) {}
        self.stop();
    }

    /// N3: a pass takes over new sockets, queues finished responses, polls (at most `wait_max`), serves what is ready, and
    /// looks at the clock. What it does for one connection is bounded, so none of them holds up the others. False: the end.
    pub(super) fn pass(&mut self, events: &mut Events, wait_max: Option<Duration>) -> bool {
        self.now = Instant::now();
        if self.queue.is_stopped() {
            return false;
        }
        self.accept();
        self.take_over();
        self.settle_answers();
        self.retry_stalled();
        self.serve_again();
        self.expire();
        self.close_idle();
        self.close_excess();
        let timeout = self.timeout();
        let timeout = wait_max.map_or(timeout, |max| Some(timeout.map_or(max, |timeout| timeout.min(max))));
        if let Err(error) = self.poll.poll(events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "a network thread cannot poll; its connections are closed");
            return false;
        }
        self.queue.begin_pass();
        self.now = Instant::now();
        for event in &*events {
            match event.token() {
                LISTENER => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.set_ready();
                    }
                }
                WAKER => {}
                Token(slot) => {
                    let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) else { continue };
                    peer.readable |= event.is_readable();
                    peer.writable |= event.is_writable();
                    peer.read_closed |= event.is_read_closed();
                    // Nobody reads an answer: a waiting request ends now and not at its deadline. A peer that has only ended
                    // its own sending still gets the answers to what is being worked on, but nobody waits for events on its
                    // behalf: a closed socket looks the same from here.
                    let gone = event.is_error() || event.is_write_closed();
                    if gone || (peer.read_closed && peer.waiting.is_some()) {
                        self.close(slot, Close::Early);
                    } else {
                        self.serve(slot);
                    }
                }
            }
        }
        true
    }

    fn timeout(&mut self) -> Option<Duration> {
        let busy = !self.again.is_empty() && self.stalled.is_empty();
        // last, because from here on others wake the poll
        if busy || !self.queue.may_sleep() || self.handover.len() > 0 {
            return Some(Duration::ZERO);
        }
        let mut due = self.next_idle_check;
        let mut earlier = |at: Option<Instant>| due = due.into_iter().chain(at).min();
        earlier(self.deadlines.first_key_value().map(|((at, _), _)| *at));
        earlier(self.acceptor.as_ref().and_then(|acceptor| acceptor.next_due(self.now)));
        if !self.spare_buffers.is_empty() {
            earlier(Some(self.last_request + SPARE_BUFFERS_IDLE));
        }
        due.map(|at| at.saturating_duration_since(self.now))
    }

    fn accept(&mut self) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.run(self.now);
        }
    }

    fn take_over(&mut self) {
        for _ in 0..HANDOVER_MAX {
            let Some((mut socket, address, admission)) = self.handover.take() else {
                return;
            };
            let slot = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(&mut socket, Token(slot), interest) {
                tracing::warn!(peer = %address, %error, "closed a connection that cannot be polled");
                self.free.push(slot);
                continue;
            }
            self.peers[slot] = Some(Peer {
                socket,
                address,
                connection: Connection::new(self.shared.config.frame_bytes_max),
                _admission: admission,
                readable: true,
                writable: true,
                read_closed: false,
                last_active: self.now,
                waiting: None,
                listed_again: false,
                listed_starved: false,
            });
            self.serve(slot);
        }
    }

    fn settle_answers(&mut self) {
        let mut answers = std::mem::take(&mut self.answers);
        self.queue.drain(&mut answers);
        for Answer { slot, serial, outcome, buffer } in answers.drain(..) {
            self.keep_buffer(buffer);
            self.settle(slot, serial, outcome);
            self.serve(slot);
        }
        self.answers = answers;
    }

    fn retry_stalled(&mut self) {
        while let Some((slot, request)) = self.stalled.pop_front() {
            if let Err(request) = self.shared.channel.offer(request, &self.queue) {
                self.stalled.push_front((slot, request));
                return;
            }
        }
    }

    fn serve_again(&mut self) {
        // each pass, because a thread that was woken does not know why: memory may have come back (N7)
        for slot in std::mem::take(&mut self.starved) {
            if let Some(peer) = self.peers[slot].as_mut() {
                peer.listed_starved = false;
                self.serve(slot);
            }
        }
        if !self.stalled.is_empty() {
            return;
        }
        for slot in std::mem::take(&mut self.again) {
            if let Some(peer) = self.peers[slot].as_mut() {
                peer.listed_again = false;
                self.serve(slot);
            }
        }
    }

    fn expire(&mut self) {
        while let Some(entry) = self.deadlines.first_entry() {
            let ((at, serial), slot) = (*entry.key(), *entry.get());
            if at > self.now {
                return;
            }
            entry.remove();
            let Some(peer) = self.peers[slot].as_mut() else { continue };
            if peer.connection.in_flight() == Some(serial)
                && let Some(Pending { waiter, route, .. }) = peer.waiting.take()
            {
                match route {
                    Route::Inline => expire_guarded(&*waiter),
                    Route::Handler => self.shared.channel.offer_expired(waiter),
                }
            }
        }
    }

    /// N10: closes the connection that was silent longest, if the brokers' own listener has made the broker too full.
    fn close_excess(&mut self) {
        let idle = |peer: &Option<Peer>| peer.as_ref().map(|peer| peer.last_active);
        while self.free.len() < self.peers.len() && self.shared.quota.claim_eviction(self.listener.index) {
            let oldest = (0..self.peers.len())
                .filter_map(|slot| idle(&self.peers[slot]).map(|at| (at, slot)))
                .min()
                .map(|(_, slot)| slot);
            if let Some(slot) = oldest {
                self.close(slot, Close::Because("max.connections is reached".to_owned()));
            }
            self.shared.quota.evicted();
        }
    }

    /// N9. The check costs a pass over all connections, so it is made four times in the idle time, and closes all it finds.
    fn close_idle(&mut self) {
        if self.now >= self.last_request + SPARE_BUFFERS_IDLE {
            self.spare_buffers = Vec::new();
        }
        let (Some(idle_max), Some(check)) = (self.shared.config.idle_max, self.next_idle_check) else {
            return;
        };
        if self.now < check {
            return;
        }
        for slot in 0..self.peers.len() {
            if self.peers[slot].as_ref().is_some_and(|peer| self.now >= peer.last_active + idle_max) {
                self.close(slot, Close::Quiet);
            }
        }
        self.next_idle_check = Some(self.now + (idle_max / 4).max(Duration::from_millis(1)));
    }

    /// Does what one connection can do now: write, read, dispatch; then lets others have their turn.
    fn serve(&mut self, slot: usize) {
        if let Err(close) = self.try_serve(slot) {
            self.close(slot, close);
        }
    }

    fn try_serve(&mut self, slot: usize) -> Result<(), Close> {
        for _ in 0..FRAMES_PER_TURN {
            loop {
                let Some(peer) = self.peers[slot].as_mut() else { return Ok(()) };
                if peer.connection.wants_write() {
                    if !peer.write(self.now)? {
                        return Ok(());
                    }
                    continue;
                }
                if !peer.connection.wants_read() {
                    return Ok(());
                }
                // N7: a frame is not read on, nor handled, before there is memory for it
                if let Some(memory) = &self.shared.memory {
                    let size = peer.connection.reader().uncharged();
                    if let Some(size) = size.map_err(|error| Close::Because(error.to_string()))? {
                        let Some(charge) = memory.charge(size, &self.queue) else {
                            if !peer.listed_starved {
                                peer.listed_starved = true;
                                self.starved.push(slot);
                            }
                            return Ok(());
                        };
                        peer.connection.reader().set_charge(charge);
                    }
                }
                // a pipelined request may be in the buffer already
                let frame = peer.connection.next_request(self.next_serial);
                if let Some(frame) = frame.map_err(|error| Close::Because(error.to_string()))? {
                    self.dispatch(slot, frame);
                    break;
                }
                if !self.stalled.is_empty() {
                    self.list_again(slot); // N6: no reading while the channel is full
                    return Ok(());
                }
                if !peer.readable {
                    if let Some(buffer) = peer.connection.reader().park() {
                        self.keep_buffer(buffer);
                    }
                    return Ok(());
                }
                if peer.connection.reader().needs_buffer()
                    && let Some(buffer) = self.spare_buffers.pop()
                {
                    peer.connection.reader().lend(buffer);
                }
                peer.read(self.now)?;
            }
        }
        self.list_again(slot);
        Ok(())
    }

    fn list_again(&mut self, slot: usize) {
        if let Some(peer) = self.peers[slot].as_mut()
            && !peer.listed_again
        {
            peer.listed_again = true;
            self.again.push(slot);
        }
    }

    fn dispatch(&mut self, slot: usize, frame: Frame) {
        let Some(peer) = self.peers[slot].as_ref() else { return };
        let serial = self.next_serial;
        self.next_serial += 1;
        self.last_request = self.now;
        let responder = Responder { queue: Arc::clone(&self.queue), slot, serial };
        let listener = Arc::clone(&self.listener.name);
        let mut request = Request { frame, peer: peer.address, listener, responder };
        match self.shared.service.route(request.frame.bytes()) {
            Route::Inline => {
                let outcome = handle_guarded(&*self.shared.service, &mut request);
                self.keep_buffer(request.frame.into_buffer());
                self.settle(slot, serial, outcome);
            }
            Route::Handler => {
                if let Err(request) = self.shared.channel.offer(request, &self.queue) {
                    self.stalled.push_back((slot, request));
                }
            }
        }
    }

    /// Applies what became of a request. The caller serves the connection afterwards.
    fn settle(&mut self, slot: usize, serial: Serial, outcome: Outcome) {
        let mine = self.peers[slot].as_mut().filter(|peer| peer.connection.in_flight() == Some(serial));
        let Some(peer) = mine else {
            // answered before, or the connection is gone, perhaps with another in its place: nobody would end its wait
            if let Outcome::Wait(pending) = outcome {
                pending.waiter.cancel();
            }
            return;
        };
        if !matches!(outcome, Outcome::Wait(_))
            && let Some(pending) = peer.waiting.take()
        {
            self.deadlines.remove(&(pending.deadline, serial));
        }
        match outcome {
            Outcome::Respond(response) => {
                peer.connection.respond(serial, response);
            }
            Outcome::NoResponse => {
                peer.connection.no_response(serial);
            }
            Outcome::Close(reason) => self.close(slot, Close::Because(reason)),
            Outcome::Wait(pending) if peer.read_closed => {
                pending.waiter.cancel();
                self.close(slot, Close::Early);
            }
            Outcome::Wait(pending) => {
                self.deadlines.insert((pending.deadline, serial), slot);
                peer.waiting = Some(pending);
            }
        }
    }

    fn keep_buffer(&mut self, buffer: Vec<u8>) {
        let useful = buffer.capacity() > 0 && buffer.capacity() <= SPARE_BUFFER_BYTES_MAX;
        if useful && self.spare_buffers.len() < SPARE_BUFFERS_MAX {
            self.spare_buffers.push(buffer);
        }
    }

    fn close(&mut self, slot: usize, close: Close) {
        let Some(mut peer) = self.peers[slot].take() else { return };
        let address = peer.address;
        match close {
            Close::Quiet => {}
            Close::Early => tracing::debug!(peer = %address, "the peer closed its connection early"),
            Close::Because(reason) => tracing::warn!(peer = %address, "closed a connection: {reason}"),
        }
        if let Some(pending) = peer.waiting.take() {
            if let Some(serial) = peer.connection.in_flight() {
                self.deadlines.remove(&(pending.deadline, serial));
            }
            pending.waiter.cancel();
        }
        self.stalled.retain(|(stalled, _)| *stalled != slot);
        let _ = self.poll.registry().deregister(&mut peer.socket);
        self.free.push(slot);
    }

    /// N15: no more accepting, no more reading; what is being written gets one more chance; all connections close.
    fn stop(&mut self) {
        self.acceptor = None;
        self.settle_answers_without_serving();
        for slot in 0..self.peers.len() {
            if let Some(peer) = self.peers[slot].as_mut()
                && peer.connection.wants_write()
            {
                let _ = peer.write(self.now);
            }
            self.close(slot, Close::Quiet);
        }
        self.handover.sockets.lock().clear();
    }

    fn settle_answers_without_serving(&mut self) {
        let mut answers = std::mem::take(&mut self.answers);
        self.queue.drain(&mut answers);
        for answer in answers {
            self.settle(answer.slot, answer.serial, answer.outcome);
        }
    }
}

impl Peer {
    /// Reads once. An error or the end of the stream closes the connection.
    fn read(&mut self, now: Instant) -> Result<(), Close> {
        let spare = self.connection.reader().spare().map_err(|error| Close::Because(error.to_string()))?;
        let room = spare.len();
        match self.socket.read(spare) {
            Ok(0) => {
                Err(if self.connection.reader().is_inside_frame() { Close::Early } else { Close::Quiet })
            }
            Ok(count) => {
                self.connection.reader().advance(count);
                self.last_active = now;
                // On Linux and the BSDs a short read means that the socket is empty and a new event will come; asking again
                // would cost a system call per request. After the peer's end there is no new event, so it is asked again.
                let told = cfg!(any(target_os = "linux", target_os = "macos", target_os = "freebsd"));
                if told && count < room && !self.read_closed {
                    self.readable = false;
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(_) => Err(Close::Early),
        }
    }

    /// Writes until the response is out (true) or the socket is full (false).
    fn write(&mut self, now: Instant) -> Result<bool, Close> {
        while self.writable
            && let Some(unsent) = self.connection.unsent()
        {
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(SLICES_MAX.min(8));
            unsent.slices(&mut slices);
            match self.socket.write_vectored(&slices) {
                Ok(0) => return Err(Close::Early),
                Ok(count) => {
                    self.connection.wrote(count);
                    self.last_active = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Close::Early),
            }
        }
        Ok(!self.connection.wants_write())
    }
}
