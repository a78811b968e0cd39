//! Listening and accepting: the socket options, the limits on connections, and what to do when accepting fails.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::channel::ResponseQueue;
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

/// Accepts, judges and hands over connections. Runs inside the first network thread.
pub(super) struct Acceptor {
    listener: mio::net::TcpListener,
    quota: Arc<ConnectionQuota>,
    config: SocketConfig,
    /// Network threads, the own one first.
    threads: Vec<Arc<Handover>>,
    next: usize,
    /// The listener may have connections (edge-triggered).
    ready: bool,
    paused_until: Option<Instant>,
}

impl Acceptor {
    pub(super) fn new(
        listener: mio::net::TcpListener,
        quota: Arc<ConnectionQuota>,
        config: SocketConfig,
        threads: Vec<Arc<Handover>>,
    ) -> Self {
        Self { listener, quota, config, threads, next: 0, ready: true, paused_until: None }
    }

    pub(super) fn listener(&mut self) -> &mut mio::net::TcpListener {
        &mut self.listener
    }

    pub(super) fn set_ready(&mut self) {
        self.ready = true;
    }

    /// When it must be called again without an event.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        if !self.ready || self.quota.is_full() {
            return None; // an event, or a connection that closes, wakes the thread
        }
        Some(self.paused_until.unwrap_or(now))
    }

    /// Accepts what is there, at most [`ACCEPT_MAX`].
    pub(super) fn run(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.paused_until = None;
        for _ in 0..ACCEPT_MAX {
            if !self.ready || self.quota.is_full() {
                return; // N10: over max.connections the acceptor waits for a free slot
            }
            let Some(thread) = self.next_thread() else {
                self.paused_until = Some(now + PAUSE_WHEN_FULL);
                return;
            };
            match self.listener.accept() {
                Ok((socket, peer)) => {
                    let Some(admission) = self.quota.admit(peer.ip()) else {
                        tracing::warn!(%peer, "closed a connection: max.connections.per.ip is reached");
                        continue; // N10: dropping the socket closes it
                    };
                    if let Err(error) = self.config.apply(&SockRef::from(&socket)) {
                        tracing::warn!(%peer, %error, "cannot set socket options");
                    }
                    thread.push(socket, peer, admission);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted
                            | io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::ConnectionReset
                    ) => {}
                Err(error) => {
                    // out of file descriptors or memory: the connection stays in the backlog, so trying again at once would
                    // fail at once
                    tracing::error!(%error, "cannot accept connections; trying again in {PAUSE_AFTER_ERROR:?}");
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

/// Counts connections against `max.connections` and `max.connections.per.ip` (N10).
pub(crate) struct ConnectionQuota {
    connections_max: usize,
    per_ip_max: usize,
    counts: Mutex<Counts>,
    /// Woken when a full broker has room again.
    acceptor: Mutex<Option<Arc<ResponseQueue>>>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// One admitted connection; gives its place back when dropped.
pub(super) struct Admission {
    quota: Arc<ConnectionQuota>,
    ip: IpAddr,
}

impl ConnectionQuota {
    pub(crate) fn new(connections_max: usize, per_ip_max: usize) -> Self {
        Self { connections_max, per_ip_max, counts: Mutex::default(), acceptor: Mutex::default() }
    }

    pub(super) fn set_acceptor(&self, queue: Arc<ResponseQueue>) {
        *self.acceptor.lock() = Some(queue);
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.counts.lock().total
    }

    fn is_full(&self) -> bool {
        self.counts.lock().total >= self.connections_max
    }

    fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Admission> {
        let mut counts = self.counts.lock();
        let of_ip = counts.by_ip.entry(ip).or_insert(0);
        if *of_ip >= self.per_ip_max {
            if *of_ip == 0 {
                counts.by_ip.remove(&ip);
            }
            return None;
        }
        *of_ip += 1;
        counts.total += 1;
        Some(Admission { quota: Arc::clone(self), ip })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let was_full = {
            let mut counts = self.quota.counts.lock();
            let was_full = counts.total >= self.quota.connections_max;
            counts.total -= 1;
            if let Some(of_ip) = counts.by_ip.get_mut(&self.ip) {
                *of_ip -= 1;
                if *of_ip == 0 {
                    counts.by_ip.remove(&self.ip);
                }
            }
            was_full
        };
        if was_full && let Some(queue) = &*self.quota.acceptor.lock() {
            queue.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_per_address_and_come_back() {
        // N10
        let quota = Arc::new(ConnectionQuota::new(3, 2));
        let a: IpAddr = [127, 0, 0, 1].into();
        let b: IpAddr = [127, 0, 0, 2].into();
        let first = quota.admit(a).unwrap();
        let _second = quota.admit(a).unwrap();
        assert!(quota.admit(a).is_none());
        assert!(!quota.is_full());
        let _third = quota.admit(b).unwrap();
        assert!(quota.is_full());
        drop(first);
        assert!(!quota.is_full());
        assert!(quota.admit(a).is_some());
        assert_eq!(quota.open(), 2);
    }
}
