//! The socket under a connection. TLS, once there, is a second kind of stream with the same face.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::NetConfig;

/// On these systems a read or write that moved fewer bytes than asked for has emptied or filled the socket's buffer, and the
/// next edge will be reported: the call that would only say `WouldBlock` can be saved (epoll(7), question 9; kqueue's
/// EV_CLEAR is alike). Elsewhere the poll is re-armed only by `WouldBlock`.
pub(crate) const SHORT_MEANS_DONE: bool = cfg!(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
));

/// A non-blocking TCP socket, registered once for reading and writing with edge-triggered readiness: no system call is ever
/// spent on changing the registration.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
}

impl Stream {
    /// Begins to connect.
    pub(crate) fn connect(
        to: SocketAddr,
        config: &NetConfig,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut tcp = TcpStream::connect(to)?;
        set_options(&tcp, config);
        registry.register(&mut tcp, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { tcp })
    }

    /// Whether the connection stands by now, or why it failed.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.tcp.take_error()? {
            return Err(error);
        }
        match self.tcp.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.tcp.read(space)
    }

    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.tcp.write_vectored(slices)
    }

    /// Closes the socket.
    pub(crate) fn close(mut self, registry: &Registry) {
        if let Err(e) = registry.deregister(&mut self.tcp) {
            tracing::debug!("cannot deregister a socket: {e}");
        }
    }
}

/// CON-1. An option that cannot be set (the connection may be broken already) is no reason to fail.
fn set_options(tcp: &TcpStream, config: &NetConfig) {
    let socket = SockRef::from(tcp);
    let mut results =
        vec![("TCP_NODELAY", socket.set_tcp_nodelay(true)), ("SO_KEEPALIVE", socket.set_keepalive(true))];
    if let Some(bytes) = positive(config.send_buffer_bytes) {
        results.push(("send.buffer.bytes", socket.set_send_buffer_size(bytes)));
    }
    if let Some(bytes) = positive(config.receive_buffer_bytes) {
        results.push(("receive.buffer.bytes", socket.set_recv_buffer_size(bytes)));
    }
    for (option, result) in results {
        if let Err(e) = result {
            tracing::debug!("cannot set {option}: {e}");
        }
    }
}

/// -1 (and 0, which no system takes) leaves the system's default.
fn positive(bytes: i32) -> Option<usize> {
    usize::try_from(bytes).ok().filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn connected(config: &NetConfig) -> (Stream, TcpListener) {
        let poll = mio::Poll::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream =
            Stream::connect(listener.local_addr().unwrap(), config, poll.registry(), Token(0)).unwrap();
        (stream, listener)
    }

    #[test]
    fn sockets_have_nodelay_keepalive_and_the_configured_buffers() {
        // CON-1
        let config =
            NetConfig { send_buffer_bytes: 50_000, receive_buffer_bytes: 60_000, ..NetConfig::default() };
        let (stream, _listener) = connected(&config);
        let socket = SockRef::from(&stream.tcp);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        // Linux reports twice what was asked for.
        assert!([50_000, 100_000].contains(&socket.send_buffer_size().unwrap()));
        assert!([60_000, 120_000].contains(&socket.recv_buffer_size().unwrap()));
    }

    #[test]
    fn minus_one_leaves_the_systems_buffers() {
        // CON-1
        let config = NetConfig { send_buffer_bytes: -1, receive_buffer_bytes: -1, ..NetConfig::default() };
        let (stream, listener) = connected(&config);
        let plain = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, plain) = (SockRef::from(&stream.tcp), SockRef::from(&plain));
        assert_eq!(ours.send_buffer_size().unwrap(), plain.send_buffer_size().unwrap());
        assert_eq!(ours.recv_buffer_size().unwrap(), plain.recv_buffer_size().unwrap());
    }
}
