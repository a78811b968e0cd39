//! Listening and accepting: the socket options, and what to do when there is no room or accepting fails.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::quota::{ConnectionQuota, Room};
use super::thread::{Handover, SocketConfig};

/// Pause after accepting failed (no file descriptors, no memory): without it the loop would spin.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// Pause when every network thread's hand-over queue is full (N1).
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(5);
/// Sockets accepted in one pass of the network thread, so that its connections are served too (N3).
const ACCEPT_MAX: usize = 20;

/// Binds a listening socket. It queues connections from now on; they are accepted once the network threads run (N14).
pub(crate) fn bind(address: SocketAddr, config: &SocketConfig) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // a broker that was just stopped leaves connections in TIME_WAIT; its port must be free at once. On Windows the option
    // would let two processes share a port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if let Some(bytes) = config.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?; // N2: before bind
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(config.backlog)?;
    Ok(socket.into())
}

/// Accepts, judges and hands over connections of one listener. Runs inside the listener's first network thread.
pub(super) struct Acceptor {
    listener: mio::net::TcpListener,
    /// Which listener it is, for the quota.
    index: usize,
    quota: Arc<ConnectionQuota>,
    config: SocketConfig,
    /// Network threads, the own one first.
    threads: Vec<Arc<Handover>>,
    next: usize,
    /// The listener may have connections (edge-triggered).
    ready: bool,
    paused_until: Option<Instant>,
    /// Accepting has failed, and connections have been waiting ever since. It is logged once.
    failing: bool,
}

impl Acceptor {
    pub(super) fn new(
        listener: mio::net::TcpListener,
        index: usize,
        quota: Arc<ConnectionQuota>,
        config: SocketConfig,
        threads: Vec<Arc<Handover>>,
    ) -> Self {
        let (next, ready, paused_until, failing) = (0, true, None, false);
        Self { listener, index, quota, config, threads, next, ready, paused_until, failing }
    }

    pub(super) fn listener(&mut self) -> &mut mio::net::TcpListener {
        &mut self.listener
    }

    pub(super) fn set_ready(&mut self) {
        self.ready = true;
    }

    /// When it must be called again without an event.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        if !self.ready {
            return None; // an event wakes the thread
        }
        match self.quota.room(self.index, now) {
            Room::WhenOneCloses => None, // a connection that closes wakes the thread
            Room::At(at) => Some(self.paused_until.map_or(at, |until| until.max(at))),
            Room::Now => Some(self.paused_until.unwrap_or(now)),
        }
    }

    /// Accepts what is there, at most [`ACCEPT_MAX`].
    pub(super) fn run(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.paused_until = None;
        for _ in 0..ACCEPT_MAX {
            // N10: over a limit or a rate the acceptor waits, and the connection in the backlog
            if !self.ready || self.quota.room(self.index, now) != Room::Now {
                return;
            }
            let Some(thread) = self.next_thread() else {
                self.paused_until = Some(now + PAUSE_WHEN_FULL);
                return;
            };
            match self.listener.accept() {
                Ok((socket, peer)) => {
                    let Some(admission) = self.quota.admit(self.index, peer.ip(), now) else {
                        tracing::warn!(%peer, "closed a connection: max.connections.per.ip is reached");
                        continue; // N10: dropping the socket closes it
                    };
                    if let Err(error) = self.config.apply(&SockRef::from(&socket)) {
                        tracing::warn!(%peer, %error, "cannot set socket options");
                    }
                    thread.push(socket, peer, admission);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    if self.failing {
                        self.failing = false;
                        tracing::warn!("connections are accepted again; none is waiting");
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted
                            | io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::ConnectionReset
                    ) => {}
                Err(error) => {
                    // out of file descriptors or memory: the connection stays in the backlog, so trying again at once would
                    // fail at once. One line, not ten a second: the log has its own disk to fill.
                    if !self.failing {
                        self.failing = true;
                        tracing::error!(
                            %error,
                            "cannot accept connections; they wait, and it is tried again every {PAUSE_AFTER_ERROR:?}"
                        );
                    }
                    self.paused_until = Some(now + PAUSE_AFTER_ERROR);
                    return;
                }
            }
        }
    }

    /// N1: round robin over the threads that have room.
    fn next_thread(&mut self) -> Option<Arc<Handover>> {
        for _ in 0..self.threads.len() {
            let thread = &self.threads[self.next];
            self.next = (self.next + 1) % self.threads.len();
            if thread.has_room() {
                return Some(Arc::clone(thread));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::super::channel::ResponseQueue;
    use super::super::quota::ConnectionLimits;
    use super::*;

    fn config() -> SocketConfig {
        SocketConfig {
            send_buffer_bytes: Some(20_000),
            receive_buffer_bytes: Some(30_000),
            frame_bytes_max: 1 << 20,
            backlog: 100,
            idle_max: None,
        }
    }

    fn acceptor(threads: usize) -> (Acceptor, SocketAddr, Vec<Arc<Handover>>) {
        let listener = bind("127.0.0.1:0".parse().unwrap(), &config()).unwrap();
        let address = listener.local_addr().unwrap();
        let handover = || {
            let poll = mio::Poll::new().unwrap();
            let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
            Arc::new(Handover::new(Arc::new(ResponseQueue::new(waker))))
        };
        let threads: Vec<_> = (0..threads).map(|_| handover()).collect();
        let quota = Arc::new(ConnectionQuota::new(ConnectionLimits::none(1)));
        let listener = mio::net::TcpListener::from_std(listener);
        (Acceptor::new(listener, 0, quota, config(), threads.clone()), address, threads)
    }

    #[test]
    fn sockets_go_round_robin_and_at_most_twenty_wait_for_a_thread() {
        // N1
        let (mut acceptor, address, threads) = acceptor(2);
        let _clients: Vec<_> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut now = Instant::now();
        acceptor.run(now);
        assert_eq!(
            threads.iter().map(|thread| thread.len()).collect::<Vec<_>>(),
            [10, 10],
            "one pass, in turn"
        );
        acceptor.run(now);
        acceptor.run(now);
        assert_eq!(
            threads.iter().map(|thread| thread.len()).collect::<Vec<_>>(),
            [20, 20],
            "no more than 20"
        );
        assert_eq!(acceptor.next_due(now), Some(now + PAUSE_WHEN_FULL));
        drop(threads[1].take());
        acceptor.run(now);
        assert_eq!(threads[1].len(), 19, "the acceptor waits a little");
        now += PAUSE_WHEN_FULL;
        acceptor.run(now);
        assert_eq!(
            threads.iter().map(|thread| thread.len()).collect::<Vec<_>>(),
            [20, 20],
            "the one with room"
        );
    }

    #[test]
    fn sockets_have_the_options_that_were_asked_for() {
        // N2. The system may round sizes: what it makes of them is asked of a socket of its own.
        let plain = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        plain.set_send_buffer_size(20_000).unwrap();
        plain.set_recv_buffer_size(30_000).unwrap();
        let (mut acceptor, address, threads) = acceptor(1);
        assert_eq!(
            SockRef::from(&*acceptor.listener()).recv_buffer_size().unwrap(),
            plain.recv_buffer_size().unwrap()
        );
        let _client = TcpStream::connect(address).unwrap();
        acceptor.run(Instant::now());
        let (socket, ..) = threads[0].take().unwrap();
        let socket = SockRef::from(&socket);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.send_buffer_size().unwrap(), plain.send_buffer_size().unwrap());
        assert_eq!(socket.recv_buffer_size().unwrap(), plain.recv_buffer_size().unwrap(), "inherited");
        #[cfg(unix)]
        assert!(socket.nonblocking().unwrap());
    }

    /// Only Linux keeps the backlog to the number: one more than it says is let in.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_backlog_is_what_was_asked_for() {
        // N2
        let listener: TcpListener =
            bind("127.0.0.1:0".parse().unwrap(), &SocketConfig { backlog: 2, ..config() }).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
        let _clients: Vec<_> = (0..3).map(|_| connect().unwrap()).collect();
        assert!(connect().is_err(), "a fourth connection beside a backlog of two");
    }
}
