//! The sender's thread: sockets and the clock around its [turns](super::turn).
//!
//! One loop: begin a pass → a turn (timers, commands, the core's pass) → poll until the next deadline → what the network brought.
//! It sleeps in the poll only, and only if nobody left work since the pass began (PRE-9).

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rohrpost_net::{Event, NetConfig, Network, NodeState};
use rohrpost_protocol::{ApiKey, ErrorCode, VersionRange};
use tracing::error;

use super::core::Links;
use super::request::{Framed, Request};
use super::turn::{self, Turn, Turns};
use crate::config::Config;
use crate::producer::{CloseReport, Shared};
use crate::wait;

/// Starts the thread. It lives until the producer is closed or its last handle is dropped.
pub(crate) fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
    let network = Network::new(net_config(&shared.config))?;
    let waker = network.waker();
    shared.sender.set_waker(move || waker.wake());
    let turns = Turns::new(shared.clone(), fastrand::u64(..));
    let busy_since_us = shared.clock.last_us();
    let mut driver = Driver { shared: shared.clone(), turns, network, events: Vec::new(), busy_since_us };
    let shared = shared.clone();
    std::thread::Builder::new().name("rohrpost-sender".into()).spawn(move || {
        wait::mark_own_thread();
        let ended = catch_unwind(AssertUnwindSafe(|| driver.run()));
        let report = ended.unwrap_or_else(|_| {
            error!("the producer's sender panicked: a bug; records without an answer end as unknown");
            shared.lifecycle.fail(ErrorCode::UNKNOWN_SERVER_ERROR, "the sender thread panicked".into());
            shared.accumulator.set_closing();
            CloseReport::default()
        });
        let Driver { turns, network, .. } = driver;
        drop(network);
        turn::end(Some(turns), &shared, report);
    })?;
    Ok(())
}

struct Driver {
    shared: Arc<Shared>,
    turns: Turns,
    network: Network<Framed>,
    events: Vec<Event<Framed>>,
    /// The end of the last poll.
    busy_since_us: u64,
}

impl Driver {
    fn run(&mut self) -> CloseReport {
        let shared = self.shared.clone();
        self.turns.start(&mut links(&mut self.network, &shared.config));
        loop {
            let token = shared.sender.begin_pass();
            let now_ms = shared.clock.refresh();
            let wait_ms = match self.turns.turn(&mut links(&mut self.network, &shared.config), now_ms) {
                Turn::Write => {
                    self.network.flush(now_ms, &mut self.events);
                    if self.events.is_empty() {
                        continue;
                    }
                    Some(0)
                }
                Turn::Poll { wait_ms } => wait_ms,
                Turn::Ended(report) => {
                    self.note_pass(0);
                    return report;
                }
            };
            let may_sleep = wait_ms != Some(0) && shared.sender.sleep(token, wait_ms.unwrap_or(u64::MAX));
            let timeout = if may_sleep { wait_ms.map(Duration::from_millis) } else { Some(Duration::ZERO) };
            self.poll(timeout);
        }
    }

    /// Waits for the network, and hands on what it brings.
    fn poll(&mut self, timeout: Option<Duration>) {
        let shared = &self.shared;
        // The first look at the clock comes before the wait, the last one after it.
        let looks: Cell<Option<(u64, u64)>> = Cell::new(None);
        let look = || {
            let now_ms = shared.clock.refresh();
            let now_us = shared.clock.last_us();
            looks.set(Some((looks.get().map_or(now_us, |(first, _)| first), now_us)));
            now_ms
        };
        let result = self.network.poll(timeout, look, &mut self.events);
        shared.sender.awake();
        if let Err(error) = result {
            // SND-10: an error of one pass ends nothing. Without sockets there is nothing better to do than to try again.
            error!("polling the sockets failed: {error}");
            std::thread::sleep(Duration::from_millis(shared.config.reconnect_backoff_ms.clamp(1, 1000)));
        }
        let now_ms = shared.clock.refresh();
        self.note_pass(looks.get().map_or(0, |(first, last)| last.saturating_sub(first)));
        let links = &mut links(&mut self.network, &self.shared.config);
        self.turns.handle(self.events.drain(..), |framed| framed.request, links, now_ms);
    }

    /// A pass is over, of which so much was waiting: tells the metrics, and what the sockets carried.
    fn note_pass(&mut self, wait_us: u64) {
        let now_us = self.shared.clock.last_us();
        let worked_us = now_us.saturating_sub(self.busy_since_us).saturating_sub(wait_us);
        self.busy_since_us = now_us;
        let network = &mut self.network;
        self.shared.book.polled(worked_us, wait_us, now_us, |tell| network.take_traffic(tell));
    }
}

pub(crate) fn net_config(config: &Config) -> NetConfig {
    NetConfig {
        client_id: Some(config.client_id.clone()),
        request_timeout_ms: config.request_timeout_ms,
        max_in_flight: config.max_in_flight,
        connections_max_idle_ms: config.connections_max_idle_ms,
        reconnect_backoff_ms: config.reconnect_backoff_ms,
        reconnect_backoff_max_ms: config.reconnect_backoff_max_ms,
        socket_connection_setup_timeout_ms: config.socket_connection_setup_timeout_ms,
        socket_connection_setup_timeout_max_ms: config.socket_connection_setup_timeout_max_ms,
        send_buffer_bytes: config.send_buffer_bytes,
        receive_buffer_bytes: config.receive_buffer_bytes,
        ..NetConfig::default()
    }
}

fn links<'a>(network: &'a mut Network<Framed>, config: &'a Config) -> NetLinks<'a> {
    NetLinks { network, client_id: &config.client_id }
}

/// The network as the core sees it.
struct NetLinks<'a> {
    network: &'a mut Network<Framed>,
    client_id: &'a str,
}

impl Links for NetLinks<'_> {
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

    fn unwritten(&self, node: i32) -> usize {
        self.network.unwritten(node)
    }

    fn round_trip_ms(&self, node: i32) -> Option<u64> {
        self.network.round_trip_ms(node)
    }

    fn send(&mut self, node: i32, request: Request, now_ms: u64) -> Result<(), Request> {
        let correlation_id = self.network.next_correlation_id(node);
        let (api, version) = (request.api(), request.version);
        let framed = request.frame(correlation_id, self.client_id).map_err(|refused| {
            let (request, error) = *refused;
            error!("a {} request cannot be encoded: {error}", api.name());
            request
        })?;
        self.network.send(node, correlation_id, api, version, framed, now_ms).map_err(|framed| framed.request)
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

    fn look_into_requests(&self, look: &mut dyn FnMut(&Request)) {
        self.network.requests().for_each(|framed| look(&framed.request));
    }
}
