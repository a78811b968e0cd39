//! Leaders that do not answer. A broker may stand still with requests of ours (a stopped process, a lost network), while the cluster
//! has long chosen another leader. Until `request.timeout.ms` (30 s) nothing tells: the connection stands, and no error asks for
//! metadata. Kafka's client waits that long; here (▸ RTY-4) a broker that owes an answer for long makes the sender ask who leads now, and
//! if that is another one, the connection to the silent one ends: its requests come back unanswered, and their batches go to the new
//! leader as they are (IDM-4, IDM-16).
//!
//! Asking costs a small request now and then, paced as every refresh (MET-4); a connection is given up only if somebody else leads. The
//! question does not go to a silent broker, where it would be silent, too: while a leader stands still the others often are silent
//! themselves, since with acks=all they wait for it to leave the in-sync set. The first that answers is asked. And a question that has gone
//! to a broker which turns out to be silent, or to a bootstrap server that is, does not wait there: it goes to another one. A leader that a
//! connection cannot be made to for as long counts as silent, too: a process that stands still takes connections and says nothing.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use tracing::info;

use super::cluster::Asked;
use super::core::{Links, SenderCore};
use super::partition::{PartitionState, Place};
use crate::rules::{self, Rule};

/// So often in the time after which a broker counts as silent it is looked.
const LOOKS: u64 = 4;

/// A partition with a batch at a silent broker.
struct Owing {
    key: usize,
    node: i32,
}

impl SenderCore {
    /// Asks who leads now, if a broker has owed an answer for longer than `retry.backoff.max.ms`: had it refused, it would have been
    /// asked again within that.
    pub(super) fn look_for_silent(&mut self, now_ms: u64) {
        if self.next_look_ms.is_some_and(|at| now_ms < at) {
            return;
        }
        self.next_look_ms = None;
        self.silent.clear();
        let is_asking = self.metadata.is_asking();
        if self.shared.stats.requests_in_flight.load(Ordering::Relaxed) == 0
            && !is_asking
            && self.unready.is_empty()
        {
            return;
        }
        self.look_later(now_ms);
        // with one broker there is nobody else to ask, or to go to
        if self.metadata.snapshot().brokers.len() > 1 {
            self.silent = self.owing(now_ms).into_iter().map(|owing| owing.node).collect();
            let unready = self.unready.iter().filter(|(node, since)| self.is_silent(**node, **since, now_ms));
            let unready: Vec<i32> = unready.map(|(node, _)| *node).collect();
            self.silent.extend(unready);
        }
        if !self.silent.is_empty() {
            self.metadata.request_refresh();
        }
        let unanswered =
            self.questions.iter().filter(|(node, asked_ms)| self.is_silent(**node, **asked_ms, now_ms));
        let unanswered: Vec<i32> = unanswered.map(|(node, _)| *node).collect();
        self.silent.extend(unanswered);
        let asked_in_vain = self.asked.is_some_and(|node| is_asking && self.silent.contains(&node));
        if asked_in_vain && !self.nodes.is_subset(&self.silent) && rules::holds(Rule::SilentNotAsked) {
            self.metadata.ask_another();
        }
    }

    /// There is something to look for.
    pub(super) fn look_later(&mut self, now_ms: u64) {
        let at_ms = now_ms + (self.silent_after_ms() / LOOKS).max(10);
        self.next_look_ms.get_or_insert(at_ms);
    }

    /// MET-10, but for silent brokers. An error says what to do while there is none.
    pub(super) fn node_to_ask(&mut self, links: &mut dyn Links, now_ms: u64) -> Result<i32, Asked> {
        let is_any_connected =
            |links: &dyn Links, nodes: &BTreeSet<i32>| nodes.iter().any(|node| links.is_connected(*node));
        let Some(node) = links.least_loaded(now_ms) else {
            let waits = is_any_connected(links, &self.nodes);
            return Err(if waits { Asked::WaitsForSlot } else { Asked::Blocked });
        };
        if !self.silent.contains(&node) {
            return Ok(node);
        }
        let others: BTreeSet<i32> = self.nodes.difference(&self.silent).copied().collect();
        // to ask for it begins to connect
        let ready: Vec<i32> = others.iter().copied().filter(|other| links.ready(*other, now_ms)).collect();
        let least_loaded = ready.into_iter().min_by_key(|other| links.in_flight(*other));
        // one that lives will have a slot soon; else the next answer of anybody comes first
        least_loaded.ok_or(if is_any_connected(links, &others) {
            Asked::WaitsForSlot
        } else {
            Asked::Blocked
        })
    }

    /// Ends connections to silent brokers that do not lead any more what they were sent.
    pub(super) fn leave_silent(&mut self, links: &mut dyn Links, now_ms: u64) {
        let snapshot = self.metadata.snapshot().clone();
        let mut left = Vec::new();
        if !rules::holds(Rule::SilentLeft) {
            return;
        }
        for Owing { key, node } in self.owing(now_ms) {
            let Some(partition) = &self.partitions[key].partition else { continue };
            let leader = snapshot.partition(partition.topic_name(), partition.index()).and_then(|p| p.leader);
            if leader.is_some_and(|leader| leader != node) && !left.contains(&node) {
                left.push(node);
            }
        }
        for node in left {
            info!("broker {node} owes an answer and leads no more: its requests go to the new leader");
            links.disconnect(node, now_ms);
        }
    }

    /// Partitions with a batch at a broker that has been silent since.
    fn owing(&self, now_ms: u64) -> Vec<Owing> {
        let oldest = |(key, state): (usize, &PartitionState)| {
            let on_wire = state.entries().find(|entry| matches!(entry.place, Place::OnWire))?;
            let is_silent = self.is_silent(on_wire.node, on_wire.since_ms, now_ms);
            is_silent.then_some(Owing { key, node: on_wire.node })
        };
        self.partitions.iter().enumerate().filter_map(oldest).collect()
    }

    /// It has owed an answer since then, and has given none at all for too long.
    fn is_silent(&self, node: i32, since_ms: u64, now_ms: u64) -> bool {
        let answered_ms = self.ways.get(&node).map_or(0, |way| way.last_answer_ms);
        now_ms.saturating_sub(since_ms.max(answered_ms)) >= self.silent_after_ms()
    }

    fn silent_after_ms(&self) -> u64 {
        self.shared.config.retry_backoff_max_ms.max(100)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::acked_at;
    use super::super::world::World;

    /// ▸ RTY-4: long before request.timeout.ms.
    #[test]
    fn a_leader_that_stands_still_is_left_for_the_new_one() {
        let mut world = World::warm(&[]);
        world.prime(0);
        let mut delivery = world.send(0, 1);
        world.settle();
        assert_eq!(world.waiting(1), 1);
        world.run(900);
        let asked = world.cluster.questions.len();
        world.run(3000);
        let refreshes = world.cluster.questions.len() - asked;
        assert!((3..=15).contains(&refreshes), "asked {refreshes} times in 3 s");
        assert!(world.links.disconnects.is_empty(), "it still leads");

        world.move_leader("t", 0, 2);
        let waits = (0..60).find(|_| {
            world.run(10);
            !world.links.disconnects.is_empty()
        });
        assert_eq!((waits.is_some(), world.links.disconnects.as_slice()), (true, &[1][..]));
        // what the silent one still has comes back unanswered
        world.cut(1, false);
        world.settle();
        assert_eq!(world.waiting(2), 1, "a newer leader epoch ends the back-off");
        // IDM-4: as it was
        let batch = &world.peek(2)[0];
        assert_eq!((batch.sequence, batch.epoch), (1, 0));
        world.links.down.insert(1);
        world.serve_all();
        assert_eq!(acked_at(&mut delivery), Some(1));
    }

    /// With acks=all all brokers wait for the one that stands still, and each looks as silent as it.
    #[test]
    fn the_question_waits_for_a_broker_that_lives() {
        let mut world = World::warm(&[]);
        for partition in 0..3 {
            world.prime(partition);
        }
        let mut deliveries: Vec<_> = (0..3).map(|partition| world.send(partition, 1)).collect();
        world.settle();
        let asked = world.cluster.questions.len();
        world.run(5000);
        assert_eq!(world.cluster.questions.len(), asked, "nobody to ask");
        // 1 is out: 2 and 3 answer, and 2 leads what 1 led
        world.move_leader("t", 0, 2);
        world.serve(3);
        assert!(acked_at(&mut deliveries[2]).is_some());
        let waits = (0..60).find(|_| {
            world.run(10);
            !world.links.disconnects.is_empty()
        });
        assert_eq!((waits.is_some(), world.links.disconnects.as_slice()), (true, &[1][..]));
    }

    /// ▸ RTY-4: or nobody would hear of the new leader until request.timeout.ms.
    #[test]
    fn a_question_that_a_silent_broker_has_goes_to_another_one() {
        let mut world = World::warm(&[]);
        world.links.mute.insert(1);
        world.core.metadata.request_refresh();
        world.run(200);
        assert_eq!(world.links.nodes[&1].len(), 1, "the first of those that have nothing to do is asked");
        world.move_leader("t", 0, 2);
        let asked = world.cluster.questions.len();
        world.run(700);
        assert_eq!(world.cluster.questions.len(), asked);
        world.run(500);
        let known = world.shared.metadata.snapshot();
        assert_eq!((world.cluster.questions.len(), known.leader("t", 0)), (asked + 1, Some(2)));
        // its answer comes after a newer one, and is none any more
        world.links.mute.clear();
        world.settle();
        assert_eq!(world.shared.metadata.snapshot().version, known.version);
    }

    /// ▸ RTY-4: nothing of it is on its way, so nothing ends that would ask for metadata.
    #[test]
    fn a_leader_to_which_no_connection_comes_about_is_not_waited_for() {
        let mut world = World::warm(&[]);
        world.links.down.insert(1);
        let mut delivery = world.send(0, 1);
        world.settle();
        world.move_leader("t", 0, 2);
        let next_ms = world.pass().next_ms;
        assert!(next_ms.is_some_and(|at| at <= world.now_ms() + 250), "{next_ms:?}");
        world.run(900);
        assert_eq!(world.waiting(2), 0);
        world.run(700);
        assert_eq!(world.waiting(2), 1);
        world.serve(2);
        assert_eq!(acked_at(&mut delivery), Some(0));
    }

    #[test]
    fn a_former_leader_that_answers_is_not_left() {
        let mut world = World::warm(&[]);
        world.prime(0);
        // two partitions of one broker: the other one's answers show that it lives
        world.cluster.create("u", 2, &[1]);
        world.shared.metadata.want(&"u".into());
        world.settle();
        world.send(0, 1);
        world.settle();
        world.move_leader("t", 0, 2);
        for _ in 0..10 {
            world.run(500);
            let mut other = world.send_to("u", 0, 2);
            world.settle();
            let old = world.take(1);
            if world.waiting(1) == 1 {
                world.serve(1);
                assert!(acked_at(&mut other).is_some());
            }
            world.links.nodes.get_mut(&1).unwrap().push_front(old);
        }
        assert!(world.links.disconnects.is_empty());
    }

    #[test]
    fn nothing_is_asked_while_answers_come() {
        let mut world = World::warm(&[]);
        let asked = world.cluster.questions.len();
        for value in 0..30 {
            world.send(0, value);
            world.settle();
            world.run(500);
            world.serve(1);
        }
        assert_eq!(world.cluster.questions.len(), asked);
    }
}
