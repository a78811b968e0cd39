//! The two queues between network threads and handler threads, and the loop of a handler thread.
//!
//! Requests go through one bounded channel for all threads (N6). What continues a request that waited goes ahead of them (N11): it
//! is bounded by the number of connections, and holds memory until it ends. What a request sets off for others that wait (W3) it
//! does itself, at its own end. Answers come back through one queue per network thread; each
//! connection has at most one request in flight (N4), so that queue is bounded by the number of connections.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use mio::Waker;
use parking_lot::{Condvar, Mutex};

use super::connection::Serial;
use super::{Outcome, Request, Service, Waiter};

/// Answers on their way to one network thread.
#[derive(Debug)]
pub(crate) struct ResponseQueue {
    answers: Mutex<Vec<Answer>>,
    waker: Waker,
    /// True while the network thread sleeps in its poll, or is about to: only then does it cost a system call to wake it.
    asleep: AtomicBool,
    /// True if someone called since the thread last began a pass.
    called: AtomicBool,
    stopped: AtomicBool,
}

/// One answer.
pub(crate) struct Answer {
    pub(crate) slot: usize,
    pub(crate) serial: Serial,
    pub(crate) outcome: Outcome,
    /// The request's buffer, for the next one.
    pub(crate) buffer: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("slot", &self.slot)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// Where the answer to one request goes.
#[derive(Debug, Clone)]
pub(crate) struct Responder {
    pub(crate) queue: Arc<ResponseQueue>,
    pub(crate) slot: usize,
    pub(crate) serial: Serial,
}

impl Responder {
    /// Answers the request. A second answer, or one after the connection has gone, is dropped.
    pub(crate) fn send(&self, outcome: Outcome, buffer: Vec<u8>) {
        self.queue.push(Answer { slot: self.slot, serial: self.serial, outcome, buffer });
    }
}

impl ResponseQueue {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            answers: Mutex::default(),
            waker,
            asleep: AtomicBool::new(false),
            called: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }

    fn push(&self, answer: Answer) {
        self.answers.lock().push(answer);
        self.wake();
    }

    /// Makes the network thread begin another pass; ends its poll, if it sleeps.
    pub(crate) fn wake(&self) {
        self.called.store(true, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "cannot wake a network thread; it goes on at its next timer");
        }
    }

    /// Takes all answers, in the order in which they came.
    pub(crate) fn drain(&self, into: &mut Vec<Answer>) {
        into.append(&mut self.answers.lock());
    }

    /// Ends the waits that have come after the network thread had gone.
    pub(crate) fn cancel_waits(&self) {
        let answers = std::mem::take(&mut *self.answers.lock());
        for answer in answers {
            if let Outcome::Wait(pending) = answer.outcome {
                pending.waiter.cancel();
            }
        }
    }

    /// Called before the poll: false if someone called meanwhile. The order here (say "asleep", then look) and in
    /// [`ResponseQueue::wake`] (call, then look) makes sure that a call is either seen here or ends the poll.
    pub(crate) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let quiet = !self.called.load(Ordering::SeqCst);
        if !quiet {
            self.asleep.store(false, Ordering::SeqCst);
        }
        quiet
    }

    /// Called after the poll, before a pass looks at answers, hand-overs and stalled requests.
    pub(crate) fn begin_pass(&self) {
        self.asleep.store(false, Ordering::SeqCst);
        self.called.store(false, Ordering::SeqCst);
    }

    /// Tells the network thread to close its connections and end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// What a handler thread takes from the channel.
pub(crate) enum Work {
    /// A request to handle.
    Request(Request),
    /// A wait that has reached its deadline and may have to read from a disk. At most one per connection.
    Expired(Arc<dyn Waiter>),
}

/// The bounded queue of requests (N6).
pub(crate) struct RequestChannel {
    state: Mutex<State>,
    arrived: Condvar,
    requests_max: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Request>,
    /// Waits that have reached their deadline; at most one per connection.
    continuations: VecDeque<Arc<dyn Waiter>>,
    /// Handler threads that sleep.
    idle: usize,
    stopped: bool,
    /// Network threads that hold a request for which there was no room.
    starved: Vec<Arc<ResponseQueue>>,
}

impl RequestChannel {
    /// `queued.max.requests`.
    pub(crate) fn new(requests_max: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), requests_max: requests_max.max(1) }
    }

    /// Queues a request. When there is no room it comes back, and the network thread is woken once there is (N6): it stops
    /// reading meanwhile and goes on writing.
    pub(crate) fn offer(&self, request: Request, from: &Arc<ResponseQueue>) -> Result<(), Request> {
        let mut state = self.state.lock();
        if state.queue.len() >= self.requests_max {
            if !state.starved.iter().any(|queue| Arc::ptr_eq(queue, from)) {
                state.starved.push(Arc::clone(from));
            }
            return Err(request);
        }
        state.queue.push_back(request);
        self.notify(state);
        Ok(())
    }

    /// Queues the end of a wait; bounded by the number of connections, so it needs no room.
    pub(crate) fn offer_expired(&self, waiter: Arc<dyn Waiter>) {
        let mut state = self.state.lock();
        state.continuations.push_back(waiter);
        self.notify(state);
    }

    fn notify(&self, state: parking_lot::MutexGuard<'_, State>) {
        let sleeper = state.idle > 0;
        drop(state);
        if sleeper {
            self.arrived.notify_one();
        }
    }

    /// The next piece of work; waits for one until `until`. `None` when the time has come or the channel is stopped.
    pub(crate) fn take(&self, until: Option<Instant>) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            // N11: what was begun is finished first
            if let Some(waiter) = state.continuations.pop_front() {
                return Some(Work::Expired(waiter));
            }
            if let Some(request) = state.queue.pop_front() {
                let starved = std::mem::take(&mut state.starved);
                drop(state);
                for queue in starved {
                    queue.wake();
                }
                return Some(Work::Request(request));
            }
            state.idle += 1;
            let timed_out = match until {
                Some(until) => self.arrived.wait_until(&mut state, until).timed_out(),
                None => {
                    self.arrived.wait(&mut state);
                    false
                }
            };
            state.idle -= 1;
            if timed_out && state.queue.is_empty() && state.continuations.is_empty() {
                return None;
            }
        }
    }

    /// Drops what is queued, cancels its waits, and ends the handler threads (N15).
    pub(crate) fn stop(&self) {
        let (requests, continuations) = {
            let mut state = self.state.lock();
            state.stopped = true;
            (std::mem::take(&mut state.queue), std::mem::take(&mut state.continuations))
        };
        drop(requests);
        self.arrived.notify_all();
        for waiter in continuations {
            waiter.cancel();
        }
    }

    fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }
}

/// A handler thread: takes work until the channel stops. The one with `timed` also does the timed work (no thread of its own
/// for that: an embedded broker is to be small).
pub(crate) fn run_handler(service: &dyn Service, channel: &RequestChannel, timed: bool) {
    let mut next_tick = timed.then(|| service.tick(Instant::now()));
    loop {
        match channel.take(next_tick) {
            Some(Work::Request(mut request)) => {
                let outcome = handle_guarded(service, &mut request);
                let Request { frame, responder, .. } = request;
                responder.send(outcome, frame.into_buffer());
            }
            Some(Work::Expired(waiter)) => expire_guarded(&*waiter),
            None if channel.is_stopped() => return,
            None => {}
        }
        if let Some(due) = next_tick {
            let now = Instant::now();
            if now >= due {
                next_tick = Some(catch_unwind(AssertUnwindSafe(|| service.tick(now))).unwrap_or_else(|_| {
                    tracing::error!("timed work panicked; it is tried again in a second");
                    now + std::time::Duration::from_secs(1)
                }));
            }
        }
    }
}

/// Handles a request; whatever happens, there is an outcome (G8).
pub(crate) fn handle_guarded(service: &dyn Service, request: &mut Request) -> Outcome {
    if let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| service.handle(request))) {
        return outcome;
    }
    catch_unwind(AssertUnwindSafe(|| service.handle_panicked(request)))
        .unwrap_or_else(|_| Outcome::Close("the handler of its request failed".to_owned()))
}

/// Ends a wait; a panic in it closes nothing else.
pub(crate) fn expire_guarded(waiter: &dyn Waiter) {
    if catch_unwind(AssertUnwindSafe(|| waiter.expire())).is_err() {
        tracing::error!("the end of a waiting request panicked");
        waiter.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::super::frame::FrameReader;
    use super::*;

    fn frame(len: usize) -> Frame {
        let mut reader = FrameReader::new(1000);
        let mut bytes = (len as i32).to_be_bytes().to_vec();
        bytes.resize(4 + len, 0);
        reader.spare().unwrap()[..bytes.len()].copy_from_slice(&bytes);
        reader.advance(bytes.len());
        reader.next_frame().unwrap().unwrap()
    }

    struct NoWaiter;

    impl Waiter for NoWaiter {
        fn expire(&self) {}
        fn cancel(&self) {}
    }

    fn queue() -> Arc<ResponseQueue> {
        let poll = mio::Poll::new().unwrap();
        Arc::new(ResponseQueue::new(Waker::new(poll.registry(), mio::Token(0)).unwrap()))
    }

    fn request(len: usize, queue: &Arc<ResponseQueue>) -> Request {
        Request {
            frame: frame(len),
            peer: ([127, 0, 0, 1], 1).into(),
            listener: "TEST".into(),
            responder: Responder { queue: Arc::clone(queue), slot: 0, serial: 0 },
        }
    }

    #[test]
    fn the_queue_is_bounded_in_requests() {
        // N6
        let queue = queue();
        let channel = RequestChannel::new(2);
        assert!(channel.offer(request(50, &queue), &queue).is_ok());
        assert!(channel.offer(request(50, &queue), &queue).is_ok());
        let refused = channel.offer(request(1, &queue), &queue);
        assert!(
            refused.is_err_and(|request| request.frame.bytes().len() == 1),
            "no more requests, and none is lost"
        );
        queue.begin_pass();
        assert!(channel.take(None).is_some());
        assert!(!queue.may_sleep(), "the thread is told that there is room");
        channel.stop();
        assert!(channel.take(None).is_none());
    }

    #[test]
    fn what_continues_a_waiting_request_goes_ahead_of_new_requests_and_needs_no_room() {
        // N11
        let queue = queue();
        let channel = RequestChannel::new(1);
        assert!(channel.offer(request(50, &queue), &queue).is_ok());
        channel.offer_expired(Arc::new(NoWaiter));
        assert!(matches!(channel.take(None), Some(Work::Expired(_))));
        assert!(matches!(channel.take(None), Some(Work::Request(_))));
    }
}
