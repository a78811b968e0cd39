//! Name resolution away from the thread that serves the sockets: the system's resolver blocks, for half a minute if it must.
//!
//! Threads start when the first name is to be resolved (an IP address needs none) and end with the [`Network`](crate::Network).
//! There are as many as names under way, at most [`THREADS_MAX`], so that one slow name does not hold up all others. The
//! queue is bounded by the number of connections: each has at most one question open.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use parking_lot::Mutex;

use crate::network::Waker;

/// Resolves names; a test may bring its own.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name, in the system's order. May block: it runs on a thread for this purpose.
    ///
    /// # Errors
    /// The name is not known, or nobody can be asked. The connection then ends with [`Disconnect::Resolve`](crate::Disconnect), and is
    /// tried again by whoever wants it.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

const THREADS_MAX: usize = 4;

/// The asking side.
pub(crate) struct Resolver {
    resolve: Arc<dyn Resolve>,
    waker: Waker,
    queries: Sender<Query>,
    queue: Arc<Mutex<Receiver<Query>>>,
    answers: Receiver<Answer>,
    answer_to: Sender<Answer>,
    threads: usize,
    open: usize,
    next_id: u64,
}

/// A question to the resolver.
struct Query {
    id: u64,
    host: String,
    port: u16,
}

/// Its answer.
pub(crate) struct Answer {
    /// As returned by [`Resolver::ask`].
    pub(crate) id: u64,
    /// The addresses, or the resolver's message.
    pub(crate) found: Result<Vec<SocketAddr>, String>,
}

impl Resolver {
    pub(crate) fn new(resolve: Arc<dyn Resolve>, waker: Waker) -> Self {
        let (queries, queue) = mpsc::channel();
        let (answer_to, answers) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        Self { resolve, waker, queries, queue, answers, answer_to, threads: 0, open: 0, next_id: 0 }
    }

    /// Asks for a name. The waker is called when the answer is there. An error means that no thread could be started.
    pub(crate) fn ask(&mut self, host: &str, port: u16) -> io::Result<u64> {
        if self.threads < THREADS_MAX.min(self.open + 1) {
            match self.start_thread() {
                Ok(()) => self.threads += 1,
                // Those that run will come to it.
                Err(e) if self.threads > 0 => tracing::warn!("cannot start another resolver thread: {e}"),
                Err(e) => return Err(e),
            }
        }
        self.next_id += 1;
        self.open += 1;
        let query = Query { id: self.next_id, host: host.to_owned(), port };
        self.queries.send(query).map_err(|_| io::Error::other("the resolver thread is gone"))?;
        Ok(self.next_id)
    }

    /// An answer, if one is there. Costs nothing while no question is open.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        if self.open == 0 {
            return None;
        }
        let answer = self.answers.try_recv().ok()?;
        self.open -= 1;
        Some(answer)
    }

    fn start_thread(&self) -> io::Result<()> {
        let (resolve, waker) = (Arc::clone(&self.resolve), self.waker.clone());
        let (queue, answer_to) = (Arc::clone(&self.queue), self.answer_to.clone());
        let work = move || {
            loop {
                // Waiting under the lock is meant: whoever holds it is the next to get a query.
                let query = queue.lock().recv();
                let Ok(Query { id, host, port }) = query else { return };
                let found = resolve.resolve(&host, port).map_err(|e| e.to_string());
                if answer_to.send(Answer { id, found }).is_err() {
                    return;
                }
                waker.wake();
            }
        };
        // Not joined: it may hang in the system's resolver, and holds nothing that matters.
        thread::Builder::new().name("rohrpost-names".into()).spawn(work).map(drop)
    }
}
