//! The sender's loop without its thread: what to do in one turn, and when it is over.
//!
//! A driver calls [`Turns::turn`] and does what it says: write what was handed over, wait for the network, or end. What the network
//! brings goes to [`Turns::handle`]. Commands of other threads, the way a close takes, and who is woken when are decided here, so that
//! the thread with its sockets ([`driver`](super::driver)) and a simulator on virtual time run the same producer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rohrpost_net::{Disconnect, Event};
use tracing::{debug, info, warn};

use super::core::{Links, SenderCore};
use super::request::Request;
use crate::accumulator::Hold;
use crate::producer::{CloseReport, CloseWish, Shared};

/// Polls that may pass until the requests of ended connections have come back. One is enough; the rest is caution.
const DRAIN_POLLS_MAX: u32 = 16;

/// For so long at most is memory that came back kept from those who wait for room, so that they go on with more than one batch's
/// worth. They have waited for all that is buffered before them.
const HAND_ON_MS: u64 = 1;

/// Requests written one after the other before the sockets are asked what came. More than may be in flight to one broker; the
/// bound is for acks=0, where nothing is in flight.
const SENDS_PER_POLL_MAX: u32 = 8;

/// The sender but for its sockets and its clock. Single owner.
pub(crate) struct Turns {
    shared: Arc<Shared>,
    core: SenderCore,
    closing: Option<Closing>,
    /// Memory that came back is kept from those who wait for it, since this moment.
    hold: Option<(Hold, u64)>,
    /// Passes that sent something since the last poll.
    unpolled: u32,
    /// Brokers whose connections stand.
    connected: BTreeSet<i32>,
}

/// What the driver does next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Write what was handed to the network and take the next turn at once, unless that brought events: then poll without waiting.
    Write,
    /// Poll the network, for at most so long (`None`: without limit), and hand on what it brings.
    Poll { wait_ms: Option<u64> },
    /// The producer is closed.
    Ended(CloseReport),
}

/// A close under way.
struct Closing {
    /// `None`: no limit.
    deadline_ms: Option<u64>,
    force: Force,
}

/// FLU-6: what happens when the time of a close is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Force {
    /// It is not.
    No,
    /// What has arrived already still counts.
    TakesIn,
    /// The rest fails; requests come back from connections that were ended. Polls left.
    Drains(u32),
}

impl Turns {
    pub(crate) fn new(shared: Arc<Shared>, seed: u64) -> Turns {
        let core = SenderCore::new(shared.clone(), seed);
        Turns { shared, core, closing: None, hold: None, unpolled: 0, connected: BTreeSet::new() }
    }

    /// Once, before the first turn.
    pub(crate) fn start(&mut self, links: &mut dyn Links) {
        self.core.start(links);
    }

    /// What must not be, between two turns; for the simulator.
    #[cfg(feature = "simulate")]
    pub(crate) fn oddity(&self) -> Option<String> {
        self.core.oddity()
    }

    /// Does what is due at this moment.
    pub(crate) fn turn(&mut self, links: &mut dyn Links, now_ms: u64) -> Turn {
        self.core.note_ended();
        if self.closing.as_ref().is_some_and(|closing| closing.force != Force::No) {
            return self.go_on_by_force(links, now_ms);
        }
        let shared = self.shared.clone();
        shared.timers.fire(now_ms);
        self.take_commands(links, now_ms);
        let pass = self.core.pass(links, now_ms);
        let mut keeps_until_ms = None;
        if let Some(keeping) = shared.accumulator.outlet().keeping() {
            self.core.look_into_requests(links);
            keeps_until_ms = keeping.release(now_ms);
        }
        if let Some(closing) = &mut self.closing {
            // SND-11: callbacks that run elsewhere are waited for, too.
            if shared.accumulator.counts().pending == 0 && shared.accumulator.outlet().open() == 0 {
                // FLU-6: the report has copies of what was given up on; requests that still own it end now.
                if !self.core.awaits_given_up() {
                    return Turn::Ended(self.report());
                }
                closing.force = Force::TakesIn;
                return Turn::Poll { wait_ms: Some(0) };
            }
            if closing.deadline_ms.is_some_and(|at| at <= now_ms) {
                closing.force = Force::TakesIn;
                return Turn::Poll { wait_ms: Some(0) };
            }
        }
        // SND-3: look again at once. Answers can wait until there is nothing to send, or a broker has all it may have.
        if pass.sent && self.unpolled < SENDS_PER_POLL_MAX {
            self.unpolled += 1;
            return Turn::Write;
        }
        if pass.sent {
            return Turn::Poll { wait_ms: Some(0) };
        }
        let closing_ms = self.closing.as_ref().and_then(|c| c.deadline_ms);
        let hand_on_ms = self.hold.as_ref().map(|(_, since_ms)| since_ms + HAND_ON_MS);
        let times = [pass.next_ms, shared.timers.next(), closing_ms, hand_on_ms, keeps_until_ms];
        let next_ms = times.into_iter().flatten().min();
        Turn::Poll { wait_ms: next_ms.map(|at| at.saturating_sub(now_ms)) }
    }

    /// The network was polled: hands what it brought to the core. `request` opens what the network carries.
    pub(crate) fn handle<F>(
        &mut self,
        events: impl ExactSizeIterator<Item = Event<F>>,
        request: impl Fn(F) -> Request,
        links: &mut dyn Links,
        now_ms: u64,
    ) {
        self.unpolled = 0;
        let shared = self.shared.clone();
        let mut connections_changed = false;
        let (mut made, mut closed) = (0, 0);
        // One wake-up per waiting call for all that is answered here, not one per batch.
        let pool = shared.accumulator.pool();
        if events.len() > 0 {
            self.hold.get_or_insert_with(|| (pool.hold(), now_ms));
        }
        let wakers = shared.accumulator.hold_wakers();
        for event in events {
            match event {
                Event::Ready { node } => {
                    connections_changed = true;
                    made += u64::from(self.connected.insert(node));
                    debug!("connected to broker {node}");
                }
                Event::Response { node, request: framed, body, .. } => {
                    self.core.handle_response(node, request(framed), &body, links, now_ms);
                }
                Event::Written { request: framed, .. } => self.core.handle_written(request(framed)),
                Event::Disconnected { node, reason, requests } => {
                    connections_changed = true;
                    if self.connected.remove(&node) {
                        closed += 1;
                        match reason {
                            Disconnect::Idle | Disconnect::Local => debug!("broker {node}: {reason}"),
                            _ => info!("the connection to broker {node} is lost: {reason}"),
                        }
                    }
                    let timed_out = matches!(reason, Disconnect::Timeout);
                    let trouble = match reason {
                        Disconnect::Idle | Disconnect::Local => None,
                        reason => Some(reason.to_string()),
                    };
                    let requests = requests.into_iter().map(&request).collect();
                    self.core.handle_disconnect(node, requests, timed_out, trouble, now_ms);
                }
            }
        }
        drop(wakers);
        // What is on its way brings more; with nothing on its way nobody would end the wait but the clock.
        let is_idle = shared.stats.requests_in_flight.load(Ordering::Relaxed) == 0;
        self.hold = self.hold.take().filter(|(_, since_ms)| {
            !is_idle && now_ms < since_ms + HAND_ON_MS && !pool.is_worth_handing_on()
        });
        if made + closed > 0 {
            shared.book.connections(made, closed, shared.clock.last_us());
        }
        if connections_changed {
            shared.stats.connections.store(self.core.connections(links), Ordering::Relaxed);
        }
    }

    fn take_commands(&mut self, links: &dyn Links, now_ms: u64) {
        let Some(commands) = self.shared.commands.take() else { return };
        if let Some(wish) = commands.purge {
            let report = self.core.purge(wish.queued, wish.in_flight, wish.is_asked_for(), links);
            wish.finish(report);
        }
        for (number, topics) in commands.warm_ups {
            self.core.warm_up(number, topics, now_ms);
        }
        if let Some(CloseWish { deadline_ms }) = commands.close {
            self.core.collect_undelivered();
            let closing = self.closing.get_or_insert(Closing { deadline_ms, force: Force::No });
            // FLU-7: the shortest of several closes counts.
            closing.deadline_ms = [closing.deadline_ms, deadline_ms].into_iter().flatten().min();
        }
    }

    /// FLU-6: time is over. What has arrived already still counted; the rest fails.
    fn go_on_by_force(&mut self, links: &mut dyn Links, now_ms: u64) -> Turn {
        let Some(closing) = &mut self.closing else { unreachable!("force belongs to a close") };
        let polls_left = match closing.force {
            Force::No | Force::TakesIn => None,
            Force::Drains(left) => Some(left),
        };
        closing.force = Force::Drains(polls_left.map_or(DRAIN_POLLS_MAX, |left| left.saturating_sub(1)));
        self.core.force_close();
        if let Some(keeping) = self.shared.accumulator.outlet().keeping()
            && (polls_left == Some(0) || polls_left.is_some() && !keeping.lacks_bytes())
        {
            // SEND-2: the file is the last thing a close waits for, and not for ever.
            keeping.finish();
        }
        if polls_left.is_none() {
            self.core.disconnect_all(links, now_ms);
        } else if self.shared.accumulator.counts().pending == 0 && !self.core.awaits_given_up() {
            return Turn::Ended(self.report());
        } else if polls_left == Some(0) {
            warn!("some records could not be given an outcome while the producer was closed by force");
            return Turn::Ended(self.report());
        }
        Turn::Poll { wait_ms: Some(0) }
    }

    fn report(&mut self) -> CloseReport {
        self.shared.clock.refresh();
        self.core.note_ended();
        let now = self.shared.accumulator.counts();
        let before = self.shared.accumulator.before_close().unwrap_or(now);
        CloseReport {
            acked: now.acked - before.acked,
            handed_over: now.handed_over - before.handed_over,
            not_written: now.not_written - before.not_written,
            unknown: now.unknown - before.unknown,
            undelivered: self.core.take_undelivered(),
        }
    }
}

/// The sender has ended, by closing or by a bug. Its network must be gone by now, for requests own batches: those that are still
/// somewhere resolve their handles when they are dropped.
pub(crate) fn end(turns: Option<Turns>, shared: &Shared, report: CloseReport) {
    drop(turns);
    let mut left = Vec::new();
    shared.accumulator.abort_all(&mut left);
    drop(left);
    if let Some(keeping) = shared.accumulator.outlet().keeping() {
        keeping.end();
    }
    shared.accumulator.outlet().end();
    // INT-4, FLU-7
    if let Some(interceptors) = &shared.interceptors {
        interceptors.close();
    }
    if let Some(partitioner) = shared.accumulator.partitioner() {
        partitioner.close();
    }
    shared.closed.finish(report);
    // A purge that comes later sees that, and ends itself.
    shared.commands.leave();
    shared.metadata.wake_all();
}

#[cfg(test)]
impl Turns {
    pub(super) fn core(&mut self) -> &mut SenderCore {
        &mut self.core
    }
}
