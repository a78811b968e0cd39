//! Who waits, and in which order they go on: the queue of senders that need metadata or room.
//!
//! A place in the line is taken at the first poll of a `send` or `reserve` that cannot go on at once, and kept until it is
//! done or dropped. Two orders hold at the same time:
//!
//! * **room** is given strictly by arrival, over all topics (BUF-2, BUF-4): the first in line collects what becomes free;
//! * **a topic's senders** go on in the order in which they came, whatever they wait for, so that a small record never
//!   overtakes a large one of its topic.
//!
//! A topic whose metadata is unknown pins no room and holds up no other topic; its records stay with the calls that wait, so
//! there is no side queue to bound (PRE-4). When it becomes known all its waiters are admitted at
//! once, in order: were each admitted when its own task happens to run, a later one could take the room that an earlier one,
//! which it has to wait for, still needs. A sender that waits for a partition that does not exist yet (PRE-2) keeps its place
//! only among senders to that partition.
//!
//! This is a state machine without locks; the pool holds it under its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::task::Waker;

use super::queue::TopicState;

/// The line of waiting senders.
#[derive(Default)]
pub(crate) struct Line {
    waiters: BTreeMap<u64, Waiter>,
    /// Those that wait for room and have not got it.
    room: BTreeSet<u64>,
    topics: HashMap<u32, TopicLine>,
    next_ticket: u64,
}

struct Waiter {
    topic: Arc<TopicState>,
    partition: Option<i32>,
    /// Room needed, in bytes of a whole chunk.
    bytes: usize,
    stage: Stage,
    waker: Waker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The topic is not known.
    Cold,
    /// The topic has no such partition.
    Growing,
    /// Waits for room.
    Room,
    /// Has room, and waits for its turn or to be polled.
    Granted,
}

#[derive(Default)]
struct TopicLine {
    /// Goes on in this order.
    ordinary: BTreeSet<u64>,
    /// Came while their partition did not exist, with the partition.
    growing: BTreeMap<u64, i32>,
    /// `Cold` or `Growing`.
    unadmitted: BTreeSet<u64>,
}

impl Line {
    /// Takes a place. `known` is the number of partitions the topic is known to have, 0 if it is not known.
    pub(crate) fn enter(
        &mut self,
        topic: &Arc<TopicState>,
        partition: Option<i32>,
        bytes: usize,
        known: u32,
        waker: Waker,
    ) -> u64 {
        self.admit(topic.id(), known);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let line = self.topics.entry(topic.id()).or_default();
        let stage = match partition {
            _ if known == 0 => Stage::Cold,
            Some(partition) if partition as u32 >= known => Stage::Growing,
            _ => Stage::Room,
        };
        match (stage, partition) {
            (Stage::Growing, Some(partition)) => {
                line.growing.insert(ticket, partition);
                line.unadmitted.insert(ticket);
            }
            (Stage::Cold, _) => {
                line.ordinary.insert(ticket);
                line.unadmitted.insert(ticket);
            }
            _ => {
                line.ordinary.insert(ticket);
                self.room.insert(ticket);
            }
        }
        topic.add_waiter();
        self.waiters.insert(ticket, Waiter { topic: topic.clone(), partition, bytes, stage, waker });
        ticket
    }

    /// Tells the line how many partitions a topic has: whoever waited for that now waits for room.
    pub(crate) fn admit(&mut self, topic: u32, known: u32) {
        let Some(line) = self.topics.get_mut(&topic) else { return };
        if known == 0 || line.unadmitted.is_empty() {
            return;
        }
        for ticket in std::mem::take(&mut line.unadmitted) {
            let Some(waiter) = self.waiters.get_mut(&ticket) else { continue };
            match waiter.partition {
                Some(partition) if partition as u32 >= known => {
                    waiter.stage = Stage::Growing;
                    line.ordinary.remove(&ticket);
                    line.growing.insert(ticket, partition);
                    line.unadmitted.insert(ticket);
                }
                _ => {
                    waiter.stage = Stage::Room;
                    self.room.insert(ticket);
                }
            }
        }
    }

    /// Renews a waiter's waker and tells where it stands. The old waker is handed out to be dropped outside the lock.
    pub(crate) fn poll(&mut self, ticket: u64, waker: &Waker) -> (Stage, bool, Option<Waker>) {
        let is_turn = self.is_turn(ticket);
        match self.waiters.get_mut(&ticket) {
            Some(waiter) => {
                let old = (!waiter.waker.will_wake(waker))
                    .then(|| std::mem::replace(&mut waiter.waker, waker.clone()));
                (waiter.stage, is_turn, old)
            }
            None => (Stage::Cold, false, None),
        }
    }

    /// Whether everyone of its topic who came before has gone on.
    fn is_turn(&self, ticket: u64) -> bool {
        let Some(waiter) = self.waiters.get(&ticket) else { return false };
        let Some(line) = self.topics.get(&waiter.topic.id()) else { return false };
        let is_grown = line.growing.contains_key(&ticket);
        let same_partition_first = waiter
            .partition
            .is_some_and(|partition| line.growing.range(..ticket).any(|(_, other)| *other == partition));
        (is_grown || line.ordinary.first() == Some(&ticket)) && !same_partition_first
    }

    /// The first that waits for room, and what it needs.
    pub(crate) fn first_for_room(&self) -> Option<(u64, usize)> {
        let ticket = self.room.first()?;
        self.waiters.get(ticket).map(|waiter| (*ticket, waiter.bytes))
    }

    /// The waiter has room now. Gives its waker if it can go on.
    pub(crate) fn grant(&mut self, ticket: u64) -> Option<Waker> {
        self.room.remove(&ticket);
        self.waiters.get_mut(&ticket)?.stage = Stage::Granted;
        self.is_turn(ticket).then(|| self.waiters[&ticket].waker.clone())
    }

    /// Gives up a place: the bytes it had been granted, its waker (to be dropped outside the lock), and whom to wake.
    pub(crate) fn leave(&mut self, ticket: u64) -> (usize, Option<Waker>, Vec<Waker>) {
        let Some(waiter) = self.waiters.remove(&ticket) else { return (0, None, Vec::new()) };
        self.room.remove(&ticket);
        let topic = waiter.topic.id();
        if let Some(line) = self.topics.get_mut(&topic) {
            line.ordinary.remove(&ticket);
            line.growing.remove(&ticket);
            line.unadmitted.remove(&ticket);
            if line.ordinary.is_empty() && line.growing.is_empty() {
                self.topics.remove(&topic);
            }
        }
        let next = self.who_can_go_on(topic);
        // Last: a newcomer that sees no waiters goes on without a look at the line.
        waiter.topic.remove_waiter();
        let granted = if waiter.stage == Stage::Granted { waiter.bytes } else { 0 };
        (granted, Some(waiter.waker), next)
    }

    /// The place is kept, what was granted is taken.
    pub(crate) fn take_grant(&mut self, ticket: u64) -> usize {
        self.waiters.get_mut(&ticket).map_or(0, |waiter| std::mem::take(&mut waiter.bytes))
    }

    fn who_can_go_on(&self, topic: u32) -> Vec<Waker> {
        let Some(line) = self.topics.get(&topic) else { return Vec::new() };
        line.ordinary
            .first()
            .into_iter()
            .chain(line.growing.keys())
            .filter(|ticket| self.is_turn(**ticket))
            .filter_map(|ticket| self.waiters.get(ticket))
            .filter(|waiter| waiter.stage == Stage::Granted)
            .map(|waiter| waiter.waker.clone())
            .collect()
    }

    /// Everybody's waker: the producer closes.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        self.waiters.values().map(|waiter| waiter.waker.clone()).collect()
    }

    /// How many wait for room.
    pub(crate) fn waiting_for_room(&self) -> usize {
        self.room.len()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::Count;

    fn topic(id: u32) -> Arc<TopicState> {
        Arc::new(TopicState::new("t".into(), id, 0))
    }

    fn count() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    impl Line {
        fn come(&mut self, topic: &Arc<TopicState>, partition: Option<i32>, known: u32) -> u64 {
            self.enter(topic, partition, 100, known, Waker::noop().clone())
        }

        fn stage(&mut self, ticket: u64) -> Stage {
            self.poll(ticket, Waker::noop()).0
        }

        fn first(&self) -> Option<u64> {
            self.first_for_room().map(|(ticket, _)| ticket)
        }
    }

    // PRE-4
    #[test]
    fn a_topic_that_is_not_known_pins_no_room_and_holds_up_no_other() {
        let (mut line, cold, warm) = (Line::default(), topic(7), topic(8));
        let waits = line.come(&cold, None, 0);
        assert_eq!((line.stage(waits), line.first()), (Stage::Cold, None));
        line.admit(cold.id(), 0);
        assert_eq!((line.stage(waits), line.first()), (Stage::Cold, None), "nothing is news");
        let other = line.come(&warm, None, 3);
        assert_eq!(line.first(), Some(other));
        assert!(line.grant(other).is_some(), "its own topic's first");
        line.admit(cold.id(), 3);
        assert_eq!((line.stage(waits), line.first()), (Stage::Room, Some(waits)));
    }

    // PRE-2, PRE-4
    #[test]
    fn a_partition_that_is_to_come_holds_up_its_own_senders_and_no_others() {
        let (mut line, topic) = (Line::default(), topic(7));
        let first = line.come(&topic, Some(5), 0);
        let second = line.come(&topic, Some(1), 0);
        line.admit(topic.id(), 3);
        assert_eq!((line.stage(first), line.stage(second)), (Stage::Growing, Stage::Room));
        assert!(line.grant(second).is_some(), "the one before it is not in its way");
        let third = line.come(&topic, Some(5), 6);
        assert_eq!(line.stage(first), Stage::Room, "it has grown");
        assert!(line.grant(third).is_none(), "another one to that partition came before");
        assert!(line.grant(first).is_some());
    }

    // BUF-4
    #[test]
    fn who_has_room_before_its_turn_is_woken_when_those_before_it_have_gone() {
        let (mut line, topic) = (Line::default(), topic(7));
        let (first, second) = (line.come(&topic, None, 1), line.come(&topic, None, 1));
        let (woken, waker) = count();
        let third = line.enter(&topic, None, 100, 1, waker);
        assert!(line.grant(second).is_none() && line.grant(third).is_none(), "the first has no room yet");
        let (_, _, next) = line.leave(second);
        assert!(next.is_empty(), "the first is before them");
        let (_, _, next) = line.leave(first);
        next.into_iter().for_each(Waker::wake);
        assert_eq!(woken.get(), 1);
        let fourth = line.come(&topic, None, 1);
        let (granted, _, next) = line.leave(third);
        assert_eq!((granted, next.len()), (100, 0), "the next has no room yet");
        assert_eq!(line.first(), Some(fourth));
    }

    // BUF-8
    #[test]
    fn it_is_the_last_waker_that_is_woken() {
        let (mut line, topic) = (Line::default(), topic(7));
        let ((old, old_waker), (new, new_waker)) = (count(), count());
        let ticket = line.enter(&topic, None, 100, 1, old_waker);
        assert!(line.poll(ticket, &new_waker).2.is_some(), "the old one, to be dropped elsewhere");
        assert!(line.poll(ticket, &new_waker).2.is_none(), "the same again");
        line.grant(ticket).expect("its turn").wake();
        assert_eq!((old.get(), new.get()), (0, 1));
    }
}
