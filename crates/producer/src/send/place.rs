//! Waiting: a place in the line for memory, and the wait for a topic's metadata, both under one deadline (PRE-3).

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use rohrpost_protocol::ErrorCode;

use crate::accumulator::{Chunk, Places, TopicState, Turn};
use crate::metadata::WaitKey;
use crate::outcome::Refusal;
use crate::partitioner::Chosen;
use crate::producer::Shared;
use crate::wait::{self, TimerKey};

/// Waits until the topic has metadata.
pub(super) async fn known_topic(shared: &Arc<Shared>, topic: &Arc<TopicState>) -> Result<(), Refusal> {
    if topic.known() > 0 {
        return Ok(());
    }
    shared.look_up(topic)?;
    if topic.known() > 0 {
        return Ok(());
    }
    if wait::in_callback() {
        return Err(Refusal::WouldWait);
    }
    let mut wait = Wait::new(shared, topic);
    let result = poll_fn(|cx| {
        // Watch first: the producer may close, and its sender end, between the two.
        if let Err(refusal) = wait.look(cx.waker()).and_then(|()| shared.check_open()) {
            return Poll::Ready(Err(refusal));
        }
        if topic.known() > 0 {
            return Poll::Ready(Ok(()));
        }
        if !wait.is_over(cx.waker()) {
            return Poll::Pending;
        }
        Poll::Ready(Err(wait.unknown_topic()))
    })
    .await;
    wait.note(None);
    result
}

/// A send's place in the line. Gives everything back when dropped.
pub(super) struct Place {
    pub(super) wait: Wait,
    ticket: u64,
    partition: Option<i32>,
    pub(super) size: usize,
    pub(super) granted: Option<Chunk>,
    /// Came with what was granted, if records are counted (CFG-21).
    pub(super) place: Option<Places>,
    /// When its topic, with its partition, was known.
    known_us: Option<u64>,
    /// What the producer's own partitioner has said: a record that waits keeps its partition (PAR-18).
    pub(super) chosen: Chosen,
}

impl Place {
    pub(super) fn take(
        shared: &Arc<Shared>,
        topic: &Arc<TopicState>,
        partition: Option<i32>,
        size: usize,
        waker: &Waker,
    ) -> Place {
        let pool = shared.accumulator.pool();
        let ticket = pool.enter(topic, partition, pool.room_for(size), topic.known(), waker);
        let wait = Wait::new(shared, topic);
        Place {
            wait,
            ticket,
            partition,
            size,
            granted: None,
            place: None,
            known_us: None,
            chosen: Chosen::Open,
        }
    }

    /// Ready when it is this one's turn, and it has metadata and room (`granted`).
    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<Result<(), Refusal>> {
        let is_known =
            |known: u32| known > 0 && self.partition.is_none_or(|partition| (partition as u32) < known);
        if !is_known(self.wait.topic.known()) {
            self.wait.look(waker)?;
        }
        let known = self.wait.topic.known();
        if is_known(known) && self.known_us.is_none() {
            self.known_us = Some(self.wait.shared.clock.last_us());
        }
        let pool = self.wait.shared.accumulator.pool();
        let turn = pool.poll(self.ticket, &self.wait.topic, known, waker);
        // After the waker is in place: who closes wakes it, and after that nobody might.
        self.wait.shared.check_open()?;
        if is_known(known) && turn == Turn::Go {
            if let Some(chunk) = pool.take_grant(self.ticket) {
                (self.granted, self.place) = (Some(chunk), pool.granted_place());
            }
            return Poll::Ready(Ok(()));
        }
        if !self.wait.is_over(waker) {
            return Poll::Pending;
        }
        let (topic, waited_ms) = (self.wait.topic.name().to_string(), self.wait.shared.config.max_block_ms);
        Poll::Ready(Err(match self.partition {
            _ if known == 0 => self.wait.unknown_topic(),
            Some(partition) if !is_known(known) => {
                Refusal::UnknownPartition { topic, partition, partitions: known as i32, waited_ms }
            }
            _ => {
                let pool = self.wait.shared.accumulator.pool();
                pool.count_exhausted();
                self.wait.shared.book.exhausted(self.wait.shared.clock.last_us());
                Refusal::BufferExhausted { bytes: pool.room_for(self.size), waited_ms } // BUF-3
            }
        }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop((self.granted.take(), self.place.take()));
        self.wait.shared.accumulator.pool().leave(self.ticket);
        self.wait.note(self.known_us);
    }
}

/// A wait for a topic's metadata, with the deadline of the whole call (PRE-3).
pub(super) struct Wait {
    shared: Arc<Shared>,
    pub(super) topic: Arc<TopicState>,
    deadline_ms: u64,
    since_us: u64,
    timer: Option<TimerKey>,
    watch: Option<WaitKey>,
    /// What the cluster last said of the topic.
    cause: Option<ErrorCode>,
}

impl Wait {
    fn new(shared: &Arc<Shared>, topic: &Arc<TopicState>) -> Wait {
        Wait {
            deadline_ms: shared.clock.refresh().saturating_add(shared.config.max_block_ms),
            since_us: shared.clock.last_us(),
            shared: shared.clone(),
            topic: topic.clone(),
            timer: None,
            watch: None,
            cause: None,
        }
    }

    /// Asks for the topic's metadata, and to be woken by the next.
    fn look(&mut self, waker: &Waker) -> Result<(), Refusal> {
        let metadata = &self.shared.metadata;
        // Watch first: a snapshot that comes after the look wakes.
        if let Some(old) = self.watch.replace(metadata.wait(waker)) {
            metadata.cancel(old);
        }
        let before = self.topic.known();
        self.cause = self.shared.look_up(&self.topic)?;
        metadata.want(self.topic.name()); // PRE-1
        if before > 0 && self.topic.known() == before {
            metadata.want_refresh(); // PRE-2: known, but not with this partition
        }
        Ok(())
    }

    /// Whether the deadline has come; if not, the timer is set to wake.
    fn is_over(&mut self, waker: &Waker) -> bool {
        if self.shared.clock.refresh() >= self.deadline_ms {
            return true;
        }
        let is_set = self.timer.is_some_and(|timer| self.shared.timers.rearm(timer, waker));
        if !is_set && self.deadline_ms != u64::MAX {
            self.timer = Some(self.shared.timers.register(self.deadline_ms, waker));
        }
        false
    }

    /// The wait is over: for metadata until `known_us`, for room from then on. It is the call that waited which writes that down, and no
    /// other (MTR-3).
    fn note(&self, known_us: Option<u64>) {
        let Wait { shared, topic, since_us, .. } = self;
        shared.clock.refresh();
        let now_us = shared.clock.last_us().max(*since_us);
        let known_us = known_us.unwrap_or(now_us).clamp(*since_us, now_us);
        let name = (topic.known() > 0).then(|| topic.name());
        shared.book.waited(name, known_us - since_us, now_us - known_us, now_us);
    }

    /// PRE-2
    fn unknown_topic(&self) -> Refusal {
        Refusal::UnknownTopic {
            topic: self.topic.name().to_string(),
            waited_ms: self.shared.config.max_block_ms,
            cause: self.cause,
            trouble: self.shared.metadata.trouble(),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.shared.timers.cancel(timer);
        }
        if let Some(watch) = self.watch {
            self.shared.metadata.cancel(watch);
        }
        self.shared.accumulator.forget(&self.topic);
    }
}
