//! Frames by hand, and a broker that does what a test tells it.
#![allow(dead_code)] // Each test binary uses a part.
#![allow(clippy::unwrap_used)] // Tests may, and this is a part of them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use socket2::{Domain, Socket, Type};

/// A frame: size and content.
pub(crate) fn frame(content: &[u8]) -> Vec<u8> {
    [&(content.len() as i32).to_be_bytes(), content].concat()
}

/// A response frame with header 0.
pub(crate) fn response(correlation_id: i32, body: &[u8]) -> Vec<u8> {
    frame(&[&correlation_id.to_be_bytes(), body].concat())
}

/// An ApiVersions response of any version from 0 to 4; entries are (api key, min, max).
pub(crate) fn versions_response(
    version: i16,
    correlation_id: i32,
    error: i16,
    apis: &[(i16, i16, i16)],
) -> Vec<u8> {
    let mut body = error.to_be_bytes().to_vec();
    match version >= 3 {
        true => body.push(apis.len() as u8 + 1),
        false => body.extend((apis.len() as i32).to_be_bytes()),
    }
    for (key, min, max) in apis {
        for number in [key, min, max] {
            body.extend(number.to_be_bytes());
        }
        if version >= 3 {
            body.push(0);
        }
    }
    if version >= 1 {
        body.extend(0_i32.to_be_bytes());
    }
    if version >= 3 {
        body.push(0);
    }
    response(correlation_id, &body)
}

/// The APIs of the broker in these tests.
pub(crate) const APIS: [(i16, i16, i16); 3] = [(0, 0, 13), (3, 0, 13), (18, 0, 4)];

/// A request as a server sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) api_key: i16,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) content: Vec<u8>,
}

impl Request {
    /// From a frame without its size.
    pub(crate) fn parse(content: &[u8]) -> Self {
        let number = |at| i16::from_be_bytes([content[at], content[at + 1]]);
        let correlation_id = i32::from_be_bytes(content[4..8].try_into().unwrap());
        Self { api_key: number(0), version: number(2), correlation_id, content: content.to_vec() }
    }
}

/// One accepted connection, on the server's side.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    /// The next request; none at the end of the stream.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let mut size = [0; 4];
        self.0.read_exact(&mut size).ok()?;
        let mut content = vec![0; i32::from_be_bytes(size) as usize];
        self.0.read_exact(&mut content).ok()?;
        Some(Request::parse(&content))
    }

    /// Answers ApiVersions.
    pub(crate) fn shake_hands(&mut self) -> Option<()> {
        let request = self.request()?;
        assert_eq!(request.api_key, 18);
        self.send(&versions_response(request.version, request.correlation_id, 0, &APIS));
        Some(())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // The client may be gone already; its side of the story is what is tested.
        let _ = self.0.write_all(bytes);
    }

    /// Waits until the client closes the connection.
    pub(crate) fn wait_for_end(&mut self) {
        let mut buffer = [0; 4096];
        while self.0.read(&mut buffer).is_ok_and(|n| n > 0) {}
    }
}

/// A broker that handles one connection after the other as the script says, each on a thread.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) thread: JoinHandle<()>,
}

/// Serves as many connections as there are scripts, each with its script, one after the other.
pub(crate) fn serve(scripts: Vec<Box<dyn FnOnce(Peer) + Send>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        for script in scripts {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            script(Peer(stream));
        }
    });
    Server { address, thread }
}

/// A port of loopback on which nobody listens, taken so that nobody will.
pub(crate) struct ClosedPort {
    pub(crate) address: SocketAddr,
    _socket: Socket,
}

pub(crate) fn closed_port() -> ClosedPort {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    ClosedPort { address, _socket: socket }
}
