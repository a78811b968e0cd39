//! A proxy between a Kafka client and a cluster that breaks connections at the worst moments, by a schedule.
//!
//! One listener for each broker. Addresses in Metadata, FindCoordinator, DescribeCluster, Produce and Fetch answers become those of the
//! proxy, so that a client that knows one of them meets no broker directly; everything else passes as it is. Two threads for each
//! connection, one for each direction; only whole frames are looked at.
//!
//! What is done to which Produce request says the [`Schedule`], from a seed. What can happen is a [`Fault`]; how often it happened is
//! counted.

mod addresses;
mod delay;
mod schedule;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rohrpost_protocol::ApiKey;
use rohrpost_protocol::frame::{DEFAULT_MAX_SIZE, SIZE_LEN, size_of_frame};

use crate::now_ms;

use self::delay::Way;

pub use self::addresses::with_addresses;
pub use self::schedule::{FAULTS, Fault, Schedule};

/// How long a broker may take to answer a request whose client was cut off.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// A running proxy. Dropping it closes all connections and ends its threads.
pub struct Proxy {
    shared: Arc<Shared>,
    acceptors: Vec<JoinHandle<()>>,
}

/// A fault that happened, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The broker whose connection it was.
    pub broker: SocketAddr,
    /// When it began.
    pub from_ms: u64,
    /// When the connection was of use again, or another one could be made.
    pub to_ms: u64,
}

struct Shared {
    /// By the broker's own port: where the proxy listens for it. All are on loopback.
    ports: HashMap<u16, u16>,
    /// How long each direction takes, faults aside.
    one_way: Duration,
    schedule: Mutex<Schedule>,
    /// Faults happen only while it is on.
    active: AtomicBool,
    stopping: AtomicBool,
    counts: [AtomicU64; FAULTS.len()],
    /// What happened, and when.
    events: Mutex<Vec<Event>>,
    /// Sockets of connections that stand, to be closed at the end.
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens for each of these brokers, all on loopback; `schedule` begins at once.
    pub fn start(brokers: &[SocketAddr], schedule: Schedule) -> io::Result<Proxy> {
        Proxy::start_with(brokers, schedule, true, Duration::ZERO)
    }

    /// The same without faults, on links whose round trip takes so long.
    pub fn start_slow(brokers: &[SocketAddr], round_trip: Duration) -> io::Result<Proxy> {
        Proxy::start_with(brokers, Schedule::new(0, 1, 0), false, round_trip / 2)
    }

    fn start_with(
        brokers: &[SocketAddr],
        schedule: Schedule,
        active: bool,
        one_way: Duration,
    ) -> io::Result<Proxy> {
        let mut listeners = Vec::new();
        let mut ports = HashMap::new();
        for broker in brokers {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            ports.insert(broker.port(), listener.local_addr()?.port());
            listeners.push((listener, *broker));
        }
        let shared = Arc::new(Shared {
            ports,
            one_way,
            schedule: Mutex::new(schedule),
            active: AtomicBool::new(active),
            stopping: AtomicBool::new(false),
            counts: Default::default(),
            events: Mutex::new(Vec::new()),
            open: Mutex::new(Vec::new()),
        });
        let mut proxy = Proxy { shared, acceptors: Vec::new() };
        for (listener, broker) in listeners {
            let shared = proxy.shared.clone();
            proxy.acceptors.push(spawn(move || accept(&listener, broker, &shared))?);
        }
        Ok(proxy)
    }

    /// For a client's `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        let mut ports: Vec<_> = self.shared.ports.values().collect();
        ports.sort_unstable();
        ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// Whether the schedule goes on. While it does not, everything passes.
    pub fn set_active(&self, active: bool) {
        self.shared.active.store(active, Ordering::SeqCst);
    }

    /// How often each fault happened.
    pub fn counts(&self) -> Vec<(Fault, u64)> {
        let count = |(at, &fault): (usize, &Fault)| (fault, self.shared.counts[at].load(Ordering::SeqCst));
        FAULTS.iter().enumerate().map(count).collect()
    }

    /// What happened so far.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.shared.events).clone()
    }

    /// The fewest times that any fault happened.
    pub fn fewest(&self) -> u64 {
        self.counts().into_iter().map(|(_, count)| count).min().unwrap_or(0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for &port in self.shared.ports.values() {
            // wakes the acceptor
            let _ = TcpStream::connect(("127.0.0.1", port));
        }
        for acceptor in self.acceptors.drain(..) {
            let _ = acceptor.join();
        }
        for socket in lock(&self.shared.open).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// One client connection and the one to the broker behind it.
struct Connection {
    client: TcpStream,
    broker: TcpStream,
    to_client: Way,
    to_broker: Way,
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Requests without an answer, by correlation id.
    unanswered: Mutex<HashMap<i32, Asked>>,
    /// The client is gone, and this is the request whose answer ends the connection to the broker.
    last: Mutex<Option<i32>>,
}

/// A request on its way, and what is to happen to its answer.
struct Asked {
    api: ApiKey,
    version: i16,
    fault: Option<Fault>,
}

fn accept(listener: &TcpListener, broker: SocketAddr, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        // a broker that is down refuses: the client sees its connection close, as it would see a refusal a moment later
        if let Ok(connection) = Connection::open(client, broker, shared) {
            let connection = Arc::new(connection);
            let other = connection.clone();
            let _ = spawn(move || other.pass_requests());
            let _ = spawn(move || connection.pass_answers());
        }
    }
}

impl Connection {
    fn open(client: TcpStream, address: SocketAddr, shared: &Arc<Shared>) -> io::Result<Connection> {
        let broker = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let mut open = lock(&shared.open);
        // those of connections that have ended are of no use any more
        open.retain(|socket| socket.peer_addr().is_ok());
        open.push(client.try_clone()?);
        open.push(broker.try_clone()?);
        drop(open);
        Ok(Connection {
            to_client: Way::new(client.try_clone()?, shared.one_way)?,
            to_broker: Way::new(broker.try_clone()?, shared.one_way)?,
            client,
            broker,
            address,
            shared: shared.clone(),
            unanswered: Mutex::default(),
            last: Mutex::default(),
        })
    }

    /// From the client to the broker, until either is gone or the schedule says so.
    fn pass_requests(&self) {
        if self.try_pass_requests().is_err() || lock(&self.last).is_none() {
            self.cut();
        }
    }

    fn try_pass_requests(&self) -> io::Result<()> {
        loop {
            let frame = read_frame(&mut &self.client)?;
            let (api, version, correlation_id) = request_of(&frame)?;
            let is_produce = api == Some(ApiKey::Produce);
            let fault = if is_produce { self.shared.draw() } else { None };
            if let Some(api) = api {
                lock(&self.unanswered).insert(correlation_id, Asked { api, version, fault });
            }
            match fault {
                Some(Fault::CutBeforeRequest) => return Err(self.count(Fault::CutBeforeRequest)),
                Some(Fault::CutInRequest) => {
                    (&self.broker).write_all(&frame[..frame.len() / 2])?;
                    return Err(self.count(Fault::CutInRequest));
                }
                Some(Fault::CutAfterRequest) => {
                    // appended and not answered: the client is cut off now, the connection to the broker stays until it has answered, or
                    // it might throw away what it has not read yet
                    *lock(&self.last) = Some(correlation_id);
                    (&self.broker).write_all(&frame)?;
                    self.happened(Fault::CutAfterRequest);
                    let _ = self.broker.set_read_timeout(Some(LAST_ANSWER_WITHIN));
                    let _ = self.client.shutdown(Shutdown::Both);
                    return Ok(());
                }
                Some(Fault::StallRequests(ms)) => {
                    self.happened(Fault::StallRequests(ms));
                    std::thread::sleep(Duration::from_millis(ms));
                }
                Some(Fault::DelayAnswer(_) | Fault::CutInAnswer) | None => {}
            }
            self.to_broker.pass(frame)?;
        }
    }

    /// From the broker to the client, likewise.
    fn pass_answers(&self) {
        let _ = self.try_pass_answers();
        self.cut();
    }

    fn try_pass_answers(&self) -> io::Result<()> {
        loop {
            let frame = read_frame(&mut &self.broker)?;
            let correlation_id =
                frame.get(SIZE_LEN..SIZE_LEN + 4).map(|id| i32::from_be_bytes([id[0], id[1], id[2], id[3]]));
            let Some(correlation_id) = correlation_id else { return Err(io::ErrorKind::InvalidData.into()) };
            let asked = lock(&self.unanswered).remove(&correlation_id);
            if let Some(last) = *lock(&self.last) {
                if last == correlation_id {
                    return Ok(());
                }
                continue;
            }
            let Some(Asked { api, version, fault }) = asked else {
                // an API that we do not know: nothing in it is ours to change
                self.to_client.pass(frame)?;
                continue;
            };
            let port = |port: u16| self.shared.ports.get(&port).copied();
            let frame = with_addresses(api, version, correlation_id, frame, port)?;
            match fault {
                Some(Fault::CutInAnswer) => {
                    (&self.client).write_all(&frame[..frame.len() / 2])?;
                    return Err(self.count(Fault::CutInAnswer));
                }
                Some(Fault::DelayAnswer(ms)) => {
                    self.happened(Fault::DelayAnswer(ms));
                    std::thread::sleep(Duration::from_millis(ms));
                }
                _ => {}
            }
            self.to_client.pass(frame)?;
        }
    }

    /// Counts a fault, and is the reason to end.
    fn count(&self, fault: Fault) -> io::Error {
        self.happened(fault);
        io::ErrorKind::ConnectionAborted.into()
    }

    fn happened(&self, fault: Fault) {
        self.shared.count(fault, self.address);
    }

    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn draw(&self) -> Option<Fault> {
        self.active.load(Ordering::SeqCst).then(|| lock(&self.schedule).draw()).flatten()
    }

    fn count(&self, fault: Fault, broker: SocketAddr) {
        if let Some(at) = FAULTS.iter().position(|known| known.is_like(fault)) {
            self.counts[at].fetch_add(1, Ordering::SeqCst);
        }
        let from_ms = now_ms();
        let lasts_ms = match fault {
            Fault::DelayAnswer(ms) | Fault::StallRequests(ms) => ms,
            _ => 0,
        };
        lock(&self.events).push(Event { broker, from_ms, to_ms: from_ms + lasts_ms });
    }
}

/// A whole frame with its size.
fn read_frame(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut size = [0; SIZE_LEN];
    from.read_exact(&mut size)?;
    let len = size_of_frame(size, DEFAULT_MAX_SIZE)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut frame = size.to_vec();
    // grows with what comes, whatever the size says
    let read = from.take(len as u64).read_to_end(&mut frame)?;
    if read == len { Ok(frame) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A request's API, version and correlation id. `None` for an API that we do not know.
fn request_of(frame: &[u8]) -> io::Result<(Option<ApiKey>, i16, i32)> {
    let head = frame.get(SIZE_LEN..SIZE_LEN + 8).ok_or(io::ErrorKind::InvalidData)?;
    let number = |at: usize| i16::from_be_bytes([head[at], head[at + 1]]);
    let correlation_id = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    Ok((ApiKey::from_i16(number(0)), number(2), correlation_id))
}

fn spawn(job: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("rohrpost-proxy".to_owned()).stack_size(256 * 1024).spawn(job)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
