//! The sender's thread: sockets and the clock around the [core](super::core).
//!
//! One loop: begin a pass → timers → commands → the core's pass → poll until the next deadline → what the network brought.
//! It sleeps in the poll only, and only if nobody left work since the pass began (PRE-9).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rohrpost_net::{Disconnect, Event, NetConfig, Network, NodeState};
use rohrpost_protocol::{ApiKey, ErrorCode, VersionRange};
use tracing::{error, warn};

use super::core::{Links, SenderCore};
use super::request::{Framed, Request};
use crate::accumulator::{Counts, Hold};
use crate::config::Config;
use crate::producer::{CloseReport, Shared};

/// Polls that may pass until the requests of ended connections have come back. One is enough; the rest is caution.
const DRAIN_POLLS_MAX: usize = 16;

/// For so long at most is memory that came back kept from those who wait for room, so that they go on with more than one batch's
/// worth. They have waited for all that is buffered before them.
const HAND_ON_MS: u64 = 1;

/// Requests written one after the other before the sockets are asked what came. More than may be in flight to one broker; the
/// bound is for acks=0, where nothing is in flight.
const SENDS_PER_POLL_MAX: u32 = 8;

/// Starts the thread. It lives until the producer is closed or its last handle is dropped.
pub(crate) fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
    let network = Network::new(net_config(&shared.config))?;
    let waker = network.waker();
    shared.sender.set_waker(move || waker.wake());
    let core = SenderCore::new(shared.clone(), fastrand::u64(..));
    let mut driver = Driver {
        shared: shared.clone(),
        core,
        network,
        events: Vec::new(),
        closing: None,
        hold: None,
        unpolled: 0,
    };
    let shared = shared.clone();
    std::thread::Builder::new().name("rohrpost-sender".into()).spawn(move || {
        let ended = catch_unwind(AssertUnwindSafe(|| driver.run()));
        let report = ended.unwrap_or_else(|_| {
            error!("the producer's sender panicked: a bug; records without an answer end as unknown");
            shared.lifecycle.fail(ErrorCode::UNKNOWN_SERVER_ERROR, "the sender thread panicked".into());
            shared.accumulator.set_closing();
            CloseReport::default()
        });
        // Batches that are still somewhere resolve their handles when they are dropped.
        drop(driver);
        let mut left = Vec::new();
        shared.accumulator.abort_all(&mut left);
        drop(left);
        shared.closed.finish(report);
        shared.metadata.wake_all();
    })?;
    Ok(())
}

struct Driver {
    shared: Arc<Shared>,
    core: SenderCore,
    network: Network<Framed>,
    events: Vec<Event<Framed>>,
    closing: Option<Closing>,
    /// Memory that came back is kept from those who wait for it, since this moment.
    hold: Option<(Hold, u64)>,
    /// Passes that sent something since the last poll.
    unpolled: u32,
}

/// A close under way.
struct Closing {
    /// Counts when `close` was called.
    before: Counts,
    /// `None`: no limit.
    deadline_ms: Option<u64>,
}

impl Driver {
    fn run(&mut self) -> CloseReport {
        let shared = self.shared.clone();
        self.core.start(&mut links(&mut self.network, &shared.config));
        loop {
            let token = shared.sender.begin_pass();
            let now_ms = shared.clock.refresh();
            shared.timers.fire(now_ms);
            self.take_commands(now_ms);
            let pass = self.core.pass(&mut links(&mut self.network, &shared.config), now_ms);
            if let Some(closing) = &self.closing {
                if shared.accumulator.counts().pending == 0 {
                    // FLU-6: the report has copies of what was given up on; requests that still own it end now.
                    if self.core.awaits_given_up() {
                        self.end_by_force(now_ms);
                    }
                    return self.report();
                }
                if closing.deadline_ms.is_some_and(|at| at <= now_ms) {
                    self.end_by_force(now_ms);
                    return self.report();
                }
            }
            // SND-3: look again at once. Answers can wait until there is nothing to send, or a broker has all it may have.
            if pass.sent && self.unpolled < SENDS_PER_POLL_MAX {
                self.unpolled += 1;
                self.network.flush(now_ms, &mut self.events);
                if self.events.is_empty() {
                    continue;
                }
            }
            let closing_ms = self.closing.as_ref().and_then(|c| c.deadline_ms);
            let hand_on_ms = self.hold.as_ref().map(|(_, since_ms)| since_ms + HAND_ON_MS);
            let times = [pass.next_ms, shared.timers.next(), closing_ms, hand_on_ms];
            let next_ms = times.into_iter().flatten().min();
            // SND-3
            let wait_ms = if pass.sent { Some(0) } else { next_ms.map(|at| at.saturating_sub(now_ms)) };
            let may_sleep = wait_ms != Some(0) && shared.sender.sleep(token, wait_ms.unwrap_or(u64::MAX));
            let timeout = if may_sleep { wait_ms.map(Duration::from_millis) } else { Some(Duration::ZERO) };
            self.poll(timeout);
        }
    }

    /// Waits for the network, and hands what it brings to the core.
    fn poll(&mut self, timeout: Option<Duration>) {
        let shared = self.shared.clone();
        self.unpolled = 0;
        let mut events = std::mem::take(&mut self.events);
        let result = self.network.poll(timeout, || shared.clock.refresh(), &mut events);
        shared.sender.awake();
        if let Err(error) = result {
            // SND-10: an error of one pass ends nothing. Without sockets there is nothing better to do than to try again.
            error!("polling the sockets failed: {error}");
            std::thread::sleep(Duration::from_millis(shared.config.reconnect_backoff_ms.clamp(1, 1000)));
        }
        let now_ms = shared.clock.refresh();
        let mut connections_changed = false;
        // One wake-up per waiting call for all that is answered here, not one per batch.
        let pool = shared.accumulator.pool();
        if !events.is_empty() {
            self.hold.get_or_insert_with(|| (pool.hold(), now_ms));
        }
        let wakers = shared.accumulator.hold_wakers();
        for event in events.drain(..) {
            let links = &mut links(&mut self.network, &shared.config);
            match event {
                Event::Ready { .. } => connections_changed = true,
                Event::Response { node, request, body, .. } => {
                    self.core.handle_response(node, request.request, &body, links, now_ms);
                }
                Event::Written { request, .. } => self.core.handle_written(request.request),
                Event::Disconnected { node, reason, requests } => {
                    connections_changed = true;
                    let timed_out = matches!(reason, Disconnect::Timeout);
                    let trouble = match reason {
                        Disconnect::Idle | Disconnect::Local => None,
                        reason => Some(reason.to_string()),
                    };
                    let requests = requests.into_iter().map(|framed| framed.request).collect();
                    self.core.handle_disconnect(node, requests, timed_out, trouble, now_ms);
                }
            }
        }
        self.events = events;
        drop(wakers);
        // What is on its way brings more; with nothing on its way nobody would end the wait but the clock.
        let is_idle = shared.stats.requests_in_flight.load(Ordering::Relaxed) == 0;
        self.hold = self.hold.take().filter(|(_, since_ms)| {
            !is_idle && now_ms < since_ms + HAND_ON_MS && !pool.is_worth_handing_on()
        });
        if connections_changed {
            let count = self.network.nodes().filter(|n| self.network.state(*n) == NodeState::Ready).count();
            shared.stats.connections.store(count as u64, Ordering::Relaxed);
        }
    }

    fn take_commands(&mut self, now_ms: u64) {
        let Some(commands) = self.shared.commands.take() else { return };
        if let Some((queued, in_flight)) = commands.purge {
            self.core.purge(queued, in_flight);
        }
        for (number, topics) in commands.warm_ups {
            self.core.warm_up(number, topics, now_ms);
        }
        if let Some((before, deadline_ms)) = commands.close {
            self.core.collect_undelivered();
            let closing = self.closing.get_or_insert(Closing { before, deadline_ms });
            // The shortest of several closes counts.
            closing.deadline_ms = [closing.deadline_ms, deadline_ms].into_iter().flatten().min();
        }
    }

    /// FLU-6: time is over. What has arrived already still counts; the rest fails.
    fn end_by_force(&mut self, now_ms: u64) {
        self.poll(Some(Duration::ZERO));
        self.core.force_close();
        let nodes: Vec<i32> = self.network.nodes().collect();
        for node in nodes {
            self.network.disconnect(node, now_ms);
        }
        for _ in 0..DRAIN_POLLS_MAX {
            self.poll(Some(Duration::ZERO));
            self.core.force_close();
            if self.shared.accumulator.counts().pending == 0 && !self.core.awaits_given_up() {
                return;
            }
        }
        warn!("some records could not be given an outcome while the producer was closed by force");
    }

    fn report(&mut self) -> CloseReport {
        let now = self.shared.accumulator.counts();
        let before = self.closing.as_ref().map_or(now, |c| c.before);
        CloseReport {
            acked: now.acked - before.acked,
            handed_over: now.handed_over - before.handed_over,
            not_written: now.not_written - before.not_written,
            unknown: now.unknown - before.unknown,
            undelivered: self.core.take_undelivered(),
        }
    }
}

fn net_config(config: &Config) -> NetConfig {
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

    fn send(&mut self, node: i32, request: Request, now_ms: u64) -> Result<(), Request> {
        let correlation_id = self.network.next_correlation_id(node);
        let (api, version) = (request.api(), request.version);
        let framed = request.frame(correlation_id, self.client_id).map_err(|(request, error)| {
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
}
