//! The door for `rohrpost-sim`: a producer without thread, sockets and clock. Only with the feature `simulate`; no part of the
//! library's interface.
//!
//! The caller owns the time ([`Sender::set_time`]), the network ([`Network`]) and the order in which tasks run. All randomness comes
//! from one seed, compression is done inside the sender's turn: the same calls give the same story. What runs is what runs in the
//! real producer: its handles, its accumulator, the sender's turns (`sender::turn`) and core.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rohrpost_net::{Event, NetConfig, NodeState, Outgoing};
use rohrpost_protocol::{ApiKey, ApiVersionRanges, VersionRange};

use crate::config::{ConfigErrors, ProducerBuilder};
use crate::metadata::{Snapshot, TopicMetadata};
use crate::metrics::Metrics;
use crate::outcome::Refusal;
use crate::producer::{CloseReport, Producer, Shared};
use crate::sender::core::Links;
use crate::sender::driver::net_config;
use crate::sender::request::{Framed, Request};
use crate::sender::turn::{self, Turn, Turns};

/// What the simulator puts in the place of [`rohrpost_net::Network`], with the same meaning.
pub trait Network {
    /// SND-1, SND-2
    fn ready(&mut self, node: i32, now_ms: u64) -> bool;
    /// Where a connection stands.
    fn state(&self, node: i32) -> NodeState;
    /// What the broker serves, while its connection is ready.
    fn versions(&self, node: i32) -> Option<&ApiVersionRanges>;
    /// MET-10
    fn least_loaded(&mut self, now_ms: u64) -> Option<i32>;
    /// Unanswered requests.
    fn in_flight(&self, node: i32) -> usize;
    /// The id for the next request's header.
    fn next_correlation_id(&mut self) -> i32;
    /// Takes a request, or gives it back if it cannot be written now.
    fn send(&mut self, node: i32, to_send: ToSend, now_ms: u64) -> Result<(), Frame>;
    /// Says where a broker listens.
    fn set_node(&mut self, node: i32, host: &str, port: u16);
    /// Forgets a broker; its requests come back.
    fn remove_node(&mut self, node: i32);
    /// Ends a connection; its requests come back.
    fn disconnect(&mut self, node: i32, now_ms: u64);
    /// SND-7
    fn throttle(&mut self, node: i32, until_ms: u64, now_ms: u64);
}

/// A request for the network, and what it must know of it.
pub struct ToSend {
    /// The request.
    pub frame: Frame,
    /// Its API.
    pub api: ApiKey,
    /// Its version.
    pub version: i16,
    /// As in its header.
    pub correlation_id: i32,
}

/// A request with its frame. It owns its batches' memory (ACC-25), so it has to come back.
pub struct Frame(Framed);

impl Outgoing for Frame {
    fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
        self.0.slices(out);
    }

    fn expects_response(&self) -> bool {
        self.0.expects_response()
    }

    fn note_written(&mut self, now_ms: u64) {
        self.0.note_written(now_ms);
    }
}

/// The sender, played by the caller.
pub struct Sender {
    shared: Arc<Shared>,
    turns: Option<Turns>,
    woken: Arc<AtomicBool>,
    report: Option<CloseReport>,
    known: Arc<Snapshot>,
}

/// What a step leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Let the network write, and step again; if that brought events, [`Sender::handle`] them before.
    Write,
    /// Let the network write, [`Sender::handle`] what it has at this moment, and step again.
    Again,
    /// Let the network write. The sender sleeps until it is woken, the network brings something, or this moment comes.
    Sleep {
        /// On the producer's clock; `None`: no timer runs.
        until_ms: Option<u64>,
    },
    /// The producer is closed. The network must be cleared of its requests, and then [`Sender::end`] called.
    Ended,
}

/// A producer and its sender. The clock stands at 0.
///
/// # Errors
/// Every mistake in the configuration.
pub fn producer(builder: &ProducerBuilder, seed: u64) -> Result<(Producer, Sender), ConfigErrors> {
    let mut shared = Shared::seeded(builder.check()?, seed);
    if shared.attach(builder.attached()).is_err() {
        unreachable!("a simulated producer has no failed-records file");
    }
    let woken = Arc::new(AtomicBool::new(false));
    let flag = woken.clone();
    shared.sender.set_waker(move || flag.store(true, Ordering::Relaxed));
    let producer = Producer::without_sender(shared);
    let shared = producer.shared().clone();
    let turns = Turns::new(shared.clone(), seed.rotate_left(17) ^ 0x9e37_79b9_7f4a_7c15);
    let known = Arc::default();
    Ok((producer, Sender { shared, turns: Some(turns), woken, report: None, known }))
}

impl Sender {
    /// Sets the producer's clocks: monotonic, and milliseconds since 1970.
    pub fn set_time(&self, now_ms: u64, wall_ms: i64) {
        self.shared.clock.set(now_ms, wall_ms);
    }

    /// What a network needs of the configuration.
    #[must_use]
    pub fn net_config(&self) -> NetConfig {
        net_config(&self.shared.config)
    }

    /// Once, before the first step.
    pub fn start(&mut self, network: &mut impl Network) {
        if let Some(turns) = &mut self.turns {
            turns.start(&mut SimLinks { network, client_id: &self.shared.config.client_id });
        }
    }

    /// One turn of the sender's loop.
    pub fn step(&mut self, network: &mut impl Network, now_ms: u64) -> Step {
        let Some(turns) = &mut self.turns else { return Step::Ended };
        self.shared.sender.awake();
        self.woken.store(false, Ordering::Relaxed);
        let token = self.shared.sender.begin_pass();
        let mut links = SimLinks { network, client_id: &self.shared.config.client_id };
        match turns.turn(&mut links, now_ms) {
            Turn::Write => Step::Write,
            Turn::Poll { wait_ms } => {
                let sleeps =
                    wait_ms != Some(0) && self.shared.sender.sleep(token, wait_ms.unwrap_or(u64::MAX));
                if sleeps {
                    Step::Sleep { until_ms: wait_ms.map(|ms| now_ms.saturating_add(ms)) }
                } else {
                    Step::Again
                }
            }
            Turn::Ended(report) => {
                self.report = Some(report);
                Step::Ended
            }
        }
    }

    /// The network was polled and brought this.
    pub fn handle(&mut self, events: &mut Vec<Event<Frame>>, network: &mut impl Network, now_ms: u64) {
        let Some(turns) = &mut self.turns else { return };
        self.shared.sender.awake();
        let mut links = SimLinks { network, client_id: &self.shared.config.client_id };
        turns.handle(events.drain(..), |frame| frame.0.request, &mut links, now_ms);
    }

    /// As [`Producer::metrics`], also when no handle of the producer is left.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::of(&self.shared)
    }

    /// MET-5, ERR-2: a partition whose leader epoch is lower than what surely was its topic's at the last call. To be asked after each step.
    pub fn went_back(&mut self) -> Option<String> {
        let now = self.shared.metadata.snapshot();
        if Arc::ptr_eq(&now, &self.known) {
            return None;
        }
        let before = std::mem::replace(&mut self.known, now);
        let same = |topic: &&Arc<TopicMetadata>| {
            before.topics.get(&topic.name).filter(|old| old.id == topic.id).cloned()
        };
        let found = self.known.topics.values().filter_map(|topic| {
            let old = same(&topic)?;
            let pairs = old.partitions.iter().zip(&topic.partitions);
            let mut epochs = pairs.map(|(old, new)| (old.sure_epoch, new.leader_epoch));
            Some((&topic.name, epochs.position(|(old, new)| new >= 0 && new < old)?))
        });
        // The first by name, for a seed tells the same each time, and topics have no order.
        found.min().map(|(name, at)| format!("the leader epoch of {name}-{at} went back"))
    }

    /// What must not be inside the sender, between two steps: more batches in flight than brokers remember (IDM-7) or than one where one
    /// is allowed (ACC-20), a new batch that went out past one that is to be sent again (IDM-5), or sequences that have a gap which nobody
    /// has noted (IDM-12).
    #[must_use]
    pub fn oddity(&self) -> Option<String> {
        self.turns.as_ref()?.oddity()
    }

    /// Whether the producer has an error that ended it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.shared.lifecycle.check(), Err(Refusal::Fatal { .. }))
    }

    /// Somebody left work while the sender slept (PRE-9).
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }

    /// After [`Step::Ended`]: tells those who wait for the end.
    pub fn end(&mut self) {
        let report = self.report.take().unwrap_or_default();
        if let Some(turns) = self.turns.take() {
            turn::end(Some(turns), &self.shared, report);
        }
    }
}

/// The simulator's network as the core sees it.
struct SimLinks<'a, N> {
    network: &'a mut N,
    client_id: &'a str,
}

impl<N: Network> Links for SimLinks<'_, N> {
    fn ready(&mut self, node: i32, now_ms: u64) -> bool {
        self.network.ready(node, now_ms)
    }

    fn is_connected(&self, node: i32) -> bool {
        self.network.state(node) == NodeState::Ready
    }

    fn is_backing_off(&self, node: i32) -> bool {
        self.network.state(node) == NodeState::BackingOff
    }

    fn negotiate(&self, node: i32, api: ApiKey, ours: VersionRange) -> Option<i16> {
        self.network.versions(node)?.negotiate(api, ours)
    }

    fn least_loaded(&mut self, now_ms: u64) -> Option<i32> {
        self.network.least_loaded(now_ms)
    }

    fn in_flight(&self, node: i32) -> usize {
        self.network.in_flight(node)
    }

    fn unwritten(&self, _node: i32) -> usize {
        0
    }

    fn round_trip_ms(&self, _node: i32) -> Option<u64> {
        None
    }

    fn look_into_requests(&self, _look: &mut dyn FnMut(&Request)) {}

    fn send(&mut self, node: i32, request: Request, now_ms: u64) -> Result<(), Request> {
        let correlation_id = self.network.next_correlation_id();
        let (api, version) = (request.api(), request.version);
        let framed = request.frame(correlation_id, self.client_id).map_err(|refused| refused.0)?;
        let to_send = ToSend { frame: Frame(framed), api, version, correlation_id };
        self.network.send(node, to_send, now_ms).map_err(|frame| frame.0.request)
    }

    fn set_node(&mut self, node: i32, host: &str, port: u16) {
        self.network.set_node(node, host, port);
    }

    fn remove_node(&mut self, node: i32) {
        self.network.remove_node(node);
    }

    fn disconnect(&mut self, node: i32, now_ms: u64) {
        self.network.disconnect(node, now_ms);
    }

    fn throttle(&mut self, node: i32, until_ms: u64, now_ms: u64) {
        self.network.throttle(node, until_ms, now_ms);
    }
}
