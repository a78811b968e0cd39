//! What goes into a network and what comes out of it: requests, events, and the reasons for which connections end.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use bytes::Bytes;
use rohrpost_protocol::frame::FrameError;
use rohrpost_protocol::{ApiKey, ErrorCode};

/// A broker's id; bootstrap servers are -1, -2, … (MET-1).
pub type NodeId = i32;

/// A request on its way. The network owns it, and so its buffers, until its response or the end of its connection, and then
/// hands it back in an [`Event`] (ACC-25).
pub trait Outgoing: Send {
    /// Appends the whole frame, its 4-byte size included, as slices. Called again after a partial write, so it must give the
    /// same bytes each time.
    fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>);

    /// False if no response will come (Produce with acks=0, SND-8): the request is complete when it is written.
    fn expects_response(&self) -> bool {
        true
    }

    /// The socket has all of it since this moment. For whoever wants to know where a request's time goes.
    fn note_written(&mut self, now_ms: u64) {
        let _ = now_ms;
    }
}

/// A frame in one piece.
impl Outgoing for Vec<u8> {
    fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
        out.push(IoSlice::new(self));
    }
}

/// What went over a node's connections since it was last taken ([`Network::take_traffic`](crate::Network::take_traffic)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests that a connection took, the version handshake's included.
    pub requests: u64,
    /// Their bytes, each with the 4 of its length.
    pub request_bytes: u64,
    /// The largest of them.
    pub largest_request: u64,
    /// Answers.
    pub responses: u64,
    /// Bytes that sockets took.
    pub bytes_out: u64,
    /// Bytes that sockets gave.
    pub bytes_in: u64,
}

impl Traffic {
    pub(crate) fn note_request(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.requests += 1;
        self.request_bytes += bytes;
        self.largest_request = self.largest_request.max(bytes);
    }
}

/// What happened to a connection or a request.
#[derive(Debug)]
pub enum Event<O> {
    /// The connection stands and the broker's API versions are known.
    Ready {
        /// Whose connection.
        node: NodeId,
    },
    /// The answer to a request.
    Response {
        /// Who answered.
        node: NodeId,
        /// The request, handed back.
        request: O,
        /// As given to `send`.
        api: ApiKey,
        /// As given to `send`.
        version: i16,
        /// As given to `send`.
        correlation_id: i32,
        /// What follows the response header, in the response format of `version`.
        body: Bytes,
    },
    /// A request that expects no response was written whole to the socket (SND-8). Nothing says that the broker got it.
    Written {
        /// To whom.
        node: NodeId,
        /// The request, handed back.
        request: O,
    },
    /// The connection, or the attempt to make one, ended.
    Disconnected {
        /// Whose connection.
        node: NodeId,
        /// Why.
        reason: Disconnect,
        /// All its unanswered requests in the order in which they were handed over (SND-4). Those that were written, in
        /// whole or in part, may have been carried out.
        requests: Vec<O>,
    },
}

/// Where a node's connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// The node was never set, or was removed.
    Unknown,
    /// No connection; one may be begun now.
    Disconnected,
    /// No connection, and none may be begun for a while after a failure (CON-4).
    BackingOff,
    /// The name is being resolved.
    Resolving,
    /// A TCP connection is being made.
    Connecting,
    /// Connected; the broker's API versions are being asked for (CON-6).
    Handshaking,
    /// Connected, versions known.
    Ready,
}

impl NodeState {
    /// A connection is on its way but not ready.
    pub fn is_connecting(self) -> bool {
        matches!(self, Self::Resolving | Self::Connecting | Self::Handshaking)
    }
}

/// Why a connection ended. `Timeout` is Kafka's REQUEST_TIMED_OUT for the requests that were on it; every other reason is
/// NETWORK_EXCEPTION (SND-4).
#[derive(Debug)]
pub enum Disconnect {
    /// The broker closed the connection, or it broke. Without SSL a broker also closes what it cannot read, and any request
    /// on a listener that speaks another protocol.
    Closed,
    /// The connection could not be made.
    ConnectFailed(ConnectError),
    /// A request (or the version handshake) was not answered within `request.timeout.ms` (SND-4).
    Timeout,
    /// The broker understands no version of ApiVersions that this client has (VER-2).
    UnsupportedVersion,
    /// The broker sent what cannot be.
    Protocol(ProtocolError),
    /// No traffic for `connections.max.idle.ms` (CON-5). There were no requests.
    Idle,
    /// This side closed it: `disconnect`, `remove_node`, or `set_node` with another address.
    Local,
    /// The name could not be resolved.
    Resolve(ResolveError),
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the broker closed the connection"),
            Self::ConnectFailed(e) => e.fmt(f),
            Self::Timeout => f.write_str("no answer within request.timeout.ms"),
            Self::UnsupportedVersion => {
                f.write_str("the broker supports no ApiVersions version of this client")
            }
            // That error says it already.
            Self::Protocol(ProtocolError::Frame(e)) => e.fmt(f),
            Self::Protocol(e) => write!(f, "{e}; is this the port of a Kafka broker, without TLS?"),
            Self::Idle => f.write_str("closed after connections.max.idle.ms without traffic"),
            Self::Local => f.write_str("closed by this client"),
            Self::Resolve(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Disconnect {}

/// A connection that could not be made.
#[derive(Debug)]
pub struct ConnectError {
    /// The address tried.
    pub address: SocketAddr,
    /// What the system said; `TimedOut` if the set-up timeout ended (CON-3).
    pub error: io::Error,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        match error.kind() {
            io::ErrorKind::ConnectionRefused => write!(f, "{address}: connection refused"),
            io::ErrorKind::TimedOut => write!(f, "{address}: no connection within the set-up timeout"),
            _ => write!(f, "{address}: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// A name that could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveError {
    /// The name.
    pub host: String,
    /// What the resolver said.
    pub message: String,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot resolve the name '{}': {}", self.host, self.message)
    }
}

impl std::error::Error for ResolveError {}

/// What a broker can do against the protocol. Each ends the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProtocolError {
    /// A frame's size cannot be (CON-9).
    Frame(FrameError),
    /// A response carries another correlation id than the oldest unanswered request (SND-6).
    CorrelationId {
        /// The id of the oldest unanswered request; none if no request was unanswered.
        expected: Option<i32>,
        /// The id in the response.
        found: i32,
    },
    /// A response ends within its header.
    Header,
    /// The ApiVersions response cannot be read.
    ApiVersions(String),
    /// The broker answered ApiVersions with an error other than UNSUPPORTED_VERSION (VER-2).
    ApiVersionsRefused(ErrorCode),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(e) => e.fmt(f),
            Self::CorrelationId { expected: Some(expected), found } => {
                write!(f, "a response has correlation id {found} where {expected} was due")
            }
            Self::CorrelationId { expected: None, found } => {
                write!(f, "a response (correlation id {found}) came where none was due")
            }
            Self::Header => f.write_str("a response ends within its header"),
            Self::ApiVersions(e) => write!(f, "the ApiVersions response cannot be read: {e}"),
            Self::ApiVersionsRefused(code) => write!(f, "the broker refused ApiVersions: {code:?}"),
        }
    }
}

impl std::error::Error for ProtocolError {}
