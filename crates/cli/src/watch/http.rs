//! As much of HTTP/1.1 as Prometheus needs: one request per connection, `GET /metrics`, an answer, the end.
//!
//! Bounded in everything that a stranger could make grow: connections at once, bytes and time of a request, time of an answer. It serves
//! from threads of its own, so that a slow reader holds up nobody.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// Connections that are served at once; others are told to come again.
const CONNECTIONS_MAX: usize = 8;
/// Bytes of a request's head. There is no body.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// From accepting a connection until the end of the answer.
const TIME_MAX: Duration = Duration::from_secs(10);
/// What a client sent beyond its request is read and dropped, up to this much, so that it gets the answer before the end.
const REST_BYTES_MAX: usize = 64 * 1024;

/// It serves until the process ends.
pub(super) struct Server {
    address: SocketAddr,
}

impl Server {
    /// Binds now and serves from then on. `text` makes the answer, at each request.
    pub(super) fn start(
        address: &str,
        text: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Server, Failure> {
        let cannot = |error: io::Error| Failure::start(format!("cannot serve --metrics {address}: {error}"));
        let listener = bind(address).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        std::thread::Builder::new()
            .name("rohrpost-metrics".to_owned())
            .spawn(move || serve(&listener, &Arc::new(text)))
            .map_err(cannot)?;
        Ok(Server { address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// `9404`, `:9404`, `host:9404`. Without host: nobody but this machine.
fn bind(address: &str) -> io::Result<TcpListener> {
    if let Ok(port) = address.strip_prefix(':').unwrap_or(address).parse::<u16>() {
        return TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    }
    let addresses: Vec<SocketAddr> = address
        .to_socket_addrs()
        .map_err(|error| io::Error::new(error.kind(), format!("{error}: give a port or host:port")))?
        .collect();
    TcpListener::bind(addresses.as_slice())
}

fn serve<F: Fn() -> String + Send + Sync + 'static>(listener: &TcpListener, text: &Arc<F>) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // no file descriptors, most likely: they come back
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if open.load(Ordering::Acquire) >= CONNECTIONS_MAX {
            let _ = stream.set_write_timeout(Some(Duration::from_millis(10)));
            let _ = (&stream).write_all(&answer(503, "text/plain", "too many connections\n", true));
            continue;
        }
        let place = Place::take(&open);
        let text = text.clone();
        // without a thread the connection ends here
        let _ = std::thread::Builder::new().name("rohrpost-metrics".to_owned()).spawn(move || {
            let _ = handle(&stream, &*text);
            drop(place);
        });
    }
}

/// One of the connections at once.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Place {
        open.fetch_add(1, Ordering::AcqRel);
        Place(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn handle(stream: &TcpStream, text: &dyn Fn() -> String) -> io::Result<()> {
    let deadline = Instant::now() + TIME_MAX;
    let reply = match read_head(stream, deadline)? {
        Head::TooLong => answer(431, "text/plain", "the request's head is too long\n", true),
        Head::TooSlow => answer(408, "text/plain", "the request did not come in time\n", true),
        Head::Whole(head) => reply(&head, text),
    };
    write_all(stream, &reply, deadline)?;
    stream.shutdown(Shutdown::Write)?;
    // Closing with bytes unread would reset the connection, and might take the answer back.
    let mut rest = 0;
    let mut buffer = [0; 1024];
    while rest < REST_BYTES_MAX {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match (&mut &*stream).read(&mut buffer)? {
            0 => break,
            read => rest += read,
        }
    }
    Ok(())
}

enum Head {
    Whole(Vec<u8>),
    TooLong,
    TooSlow,
}

fn read_head(mut stream: &TcpStream, deadline: Instant) -> io::Result<Head> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let Ok(time) = left(deadline) else { return Ok(Head::TooSlow) };
        stream.set_read_timeout(Some(time))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => head.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // which of the two it is depends on the system
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(Head::TooSlow);
            }
            Err(error) => return Err(error),
        }
        let end = [&b"\r\n\r\n"[..], b"\n\n"].iter().filter_map(|end| memchr::memmem::find(&head, end)).min();
        match end {
            Some(end) if end <= HEAD_BYTES_MAX => {
                head.truncate(end);
                return Ok(Head::Whole(head));
            }
            _ if head.len() > HEAD_BYTES_MAX => return Ok(Head::TooLong),
            _ => {}
        }
    }
}

fn reply(head: &[u8], text: &dyn Fn() -> String) -> Vec<u8> {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default().trim_end_matches('\r');
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else {
        return answer(400, "text/plain", "that is no HTTP request\n", true);
    };
    if !version.starts_with("HTTP/1.") {
        return answer(400, "text/plain", "HTTP/1.1 is spoken here\n", true);
    }
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        ("GET" | "HEAD", "/metrics") => {
            answer(200, "text/plain; version=0.0.4; charset=utf-8", &text(), method == "GET")
        }
        ("GET" | "HEAD", _) => {
            answer(404, "text/plain", "there is /metrics, and nothing else\n", method == "GET")
        }
        _ => answer(405, "text/plain", "GET, and nothing else\n", true),
    }
}

fn answer(status: u16, kind: &str, body: &str, with_body: bool) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let mut out = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    if with_body {
        out.push_str(body);
    }
    out.into_bytes()
}

fn write_all(mut stream: &TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is left of the time; never nothing, which would mean without end.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        // the server may answer before it has all of it
        let _ = stream.write_all(request);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn only_what_it_is_for_is_served() {
        let server = Server::start("0", || "up 1\n".to_owned()).unwrap();
        let address = server.address();
        assert!(address.ip().is_loopback());
        let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Content-Length: 5\r\n"), "{head}");
        assert!(head.contains("version=0.0.4") && head.contains("Connection: close"), "{head}");
        assert_eq!(body, "up 1\n");
        for (request, status) in [
            ("GET /metrics?name=x HTTP/1.0\n\n", "200"),
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metrics\r\n\r\n", "400"),
            ("GET /metrics HTTP/2\r\n\r\n", "400"),
            ("\u{16}\u{3}\u{1}\n\n", "400"),
        ] {
            let answer = ask(address, request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        }
        assert!(ask(address, b"HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_head_without_end_and_too_many_connections_are_sent_away() {
        let server = Server::start("127.0.0.1:0", String::new).unwrap();
        let address = server.address();
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert!(ask(address, long.as_bytes()).starts_with("HTTP/1.1 431 "));
        // As many as may be, and none of them says anything. Those of before may still be on their way out.
        let idle: Vec<TcpStream> =
            (0..2 * CONNECTIONS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        // The end of the connection may overtake the answer: it is closed with the request unread.
        let answer = ask(address, b"GET /metrics HTTP/1.1\r\n\r\n");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
        drop(idle);
        // They go, and somebody else gets in.
        while !ask(address, b"GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 ") {
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_address_that_cannot_be_had_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        for address in [address.as_str(), "nonsense", "127.0.0.1:99999"] {
            let failure = Server::start(address, String::new).err().expect("it fails");
            assert!(failure.message().is_some_and(|message| message.contains(address)), "{address}");
        }
    }
}
