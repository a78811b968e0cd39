//! The sender's side: which brokers have data, the batches to send, and those that come back or run out of time.
//!
//! Only partitions with batches are looked at. All time is handed in; what may be sent beyond that is the [`Gate`]'s to say: it knows
//! what is in flight.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rohrpost_record::{Codec, Stamp};

use super::batch::{Batch, State};
use super::queue::{Partition, Queue, TopicState};
use super::split::BatchId;
use super::{Accumulator, log_growth};
use crate::metadata::Snapshot;
use crate::rules::{self, Rule};
use crate::sync;
use crate::wait::NAP_MS;

/// What the sender is to do next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Brokers with something that can be drained.
    pub(crate) nodes: Vec<i32>,
    /// Monotonic ms at which to look again, if nothing happens before (ACC-13).
    pub(crate) next_check_ms: Option<u64>,
    /// Topics with data for a partition without known leader (ACC-14).
    pub(crate) leaderless: Vec<Arc<str>>,
}

/// The head of a partition's queue, as a gate needs to know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadInfo {
    /// Set if the batch was sent before with idempotence.
    pub(crate) stamped: Option<Stamp>,
}

/// Holds partitions back: muted ones (ACC-20), those that idempotence makes wait (ACC-17). A gate holds its own partition and no
/// other.
pub(crate) trait Gate {
    fn may_send(&self, partition: &Partition, head: HeadInfo) -> bool;
}

/// What the sender remembers between passes.
#[derive(Default)]
pub(crate) struct Desk {
    /// Partitions with batches, by key.
    listed: BTreeMap<u32, Listed>,
    nodes: BTreeMap<i32, Node>,
    version: Option<u64>,
    /// Topics with queued batches, by id.
    loads: HashMap<u32, Load>,
}

struct Listed {
    partition: Arc<Partition>,
    /// The snapshot from which the leader is.
    version: Option<u64>,
    leader: Option<i32>,
    leader_epoch: i32,
    /// Batches in the queue when `ready` last looked.
    len: usize,
}

#[derive(Default)]
struct Node {
    /// Keys of the listed partitions that it leads.
    partitions: Vec<u32>,
    /// Where the next walk starts (ACC-16).
    next: u32,
    /// Last time it had data ready, and last time it also could be sent to (PAR-12).
    ready_ms: u64,
    drained_ms: u64,
}

impl Accumulator {
    /// Which brokers have data to take now (ACC-10 to ACC-15). Also renews the load statistics of adaptive stickiness (PAR-10).
    pub(crate) fn ready(&self, now_ms: u64, cluster: &Snapshot, gate: &dyn Gate) -> Ready {
        self.codec.run_inline();
        self.ledger.report_unseen(now_ms);
        let mut guard = self.desk.lock();
        let desk = &mut *guard;
        let mut grown = Vec::new();
        if desk.version != Some(cluster.version) {
            desk.version = Some(cluster.version);
            grown = self.take_over(cluster);
        }
        desk.take_in(&self.incoming);
        desk.nodes.values_mut().for_each(|node| node.partitions.clear());

        // ACC-11: with any of these, no partition lingers (BUF-5, FLU-3, FLU-5)
        let hurry = self.pool.is_wanted() || self.ledger.is_flushing() || self.is_closing();
        let mut ready = Ready::default();
        let mut next_check_ms = u64::MAX;
        let mut next_expiry_ms = u64::MAX;
        let mut jobs = Vec::new();
        desk.listed.retain(|key, listed| {
            listed.find_leader(cluster);
            let mut queue = listed.partition.queue.lock();
            listed.len = queue.batches.len();
            if queue.batches.is_empty() {
                queue.listed = false;
                queue.batches = VecDeque::new(); // a partition at rest keeps no room for batches
                return false;
            }
            if let Some(open) = queue.open_batch() {
                // API-4: while a batch grows, the clock's cells must not grow stale
                if std::mem::replace(&mut open.seen_len, open.builder.records_len()) != open.seen_len {
                    next_check_ms = next_check_ms.min(now_ms + NAP_MS);
                }
            }
            let Some(head) = queue.batches.front_mut() else { return true };
            next_expiry_ms = next_expiry_ms.min(head.expiry_ms());
            let Some(leader) = listed.leader else {
                let topic = listed.partition.topic_name();
                if !ready.leaderless.iter().any(|name| name == topic) {
                    ready.leaderless.push(topic.clone()); // ACC-14
                }
                return true;
            };
            desk.nodes.entry(leader).or_default().partitions.push(*key);
            if !gate.may_send(&listed.partition, head.info()) {
                return true; // whatever opens the gate brings the next pass
            }
            if head.is_backing_off(now_ms, listed.leader_epoch) {
                next_check_ms = next_check_ms.min(head.not_before_ms); // ACC-13
                return true;
            }
            let settings = listed.partition.settings(); // CFG-17
            let has_codec = settings.compression.codec() != Codec::None;
            let lingered_ms = head.since_ms.saturating_add(settings.linger_ms); // ACC-12
            // ACC-11: a batch with another one behind it is closed, and so counts as full.
            if !(hurry || head.is_full() || lingered_ms <= now_ms) {
                next_check_ms = next_check_ms.min(lingered_ms);
                return true;
            }
            if head.is_open() && has_codec {
                jobs.extend(self.close_last(&mut queue, now_ms * 1000)); // the head is the last
            } else if head.state != State::Compressing && !ready.nodes.contains(&leader) {
                ready.nodes.push(leader); // a plain batch stays open until it is drained (ACC-15)
            }
            true
        });
        for node in &ready.nodes {
            desk.nodes.entry(*node).or_default().ready_ms = now_ms;
        }
        self.next_expiry_ms.store(next_expiry_ms, Ordering::Relaxed);
        if !jobs.is_empty() && self.settings.codec_threads == 0 {
            next_check_ms = now_ms; // they are compressed by the next call
        }
        ready.next_check_ms = (next_check_ms != u64::MAX).then_some(next_check_ms);
        self.publish_load(desk);
        drop(guard);
        // Both may log, and whoever takes the log may use this producer.
        jobs.into_iter().for_each(|job| self.codec.submit(job));
        log_growth(&grown);
        ready
    }

    /// Takes what goes into one request to `node` (ACC-16): at most one batch per partition, up to `max_bytes`, a larger one alone.
    /// Works on what the last [`ready`](Accumulator::ready) found.
    pub(crate) fn drain(
        &self,
        now_ms: u64,
        cluster: &Snapshot,
        node: i32,
        max_bytes: usize,
        gate: &dyn Gate,
        out: &mut Vec<Batch>,
    ) {
        debug_assert!(out.is_empty(), "one call makes one request");
        let mut desk = self.desk.lock();
        let Desk { listed, nodes, version, .. } = &mut *desk;
        let Some(node) = nodes.get_mut(&node) else { return };
        node.drained_ms = now_ms;
        if *version != Some(cluster.version) {
            return; // leaders may have moved since `ready`: the next pass knows
        }
        let count = node.partitions.len();
        let start = node.partitions.partition_point(|key| *key < node.next);
        let (mut bytes, mut records) = (0, 0);
        for step in 0..count {
            let key = node.partitions[(start + step) % count];
            let Some(listed) = listed.get(&key) else { continue };
            let mut queue = listed.partition.queue.lock();
            let Some(head) = queue.batches.front() else { continue };
            if !gate.may_send(&listed.partition, head.info())
                || head.is_backing_off(now_ms, listed.leader_epoch)
            {
                continue; // ACC-17: it holds back its own partition only
            }
            // A codec's work is not waited for: what is open would have to be closed first, and its time has not come.
            let has_codec = listed.partition.settings().compression.codec() != Codec::None;
            if head.state == State::Compressing || (head.is_open() && has_codec) {
                continue;
            }
            let len = head.encoded_len();
            if bytes + len > max_bytes && !out.is_empty() {
                node.next = key;
                break;
            }
            if head.is_open() {
                self.close_last(&mut queue, 0);
            }
            // ACC-19: from the front, under the partition's lock, and in this order into the request
            let Some(mut batch) = queue.batches.pop_front() else { continue };
            drop(queue);
            bytes += len;
            records += u64::from(batch.record_count());
            batch.leader_epoch = listed.leader_epoch;
            batch.was_drained = true;
            batch.leave_queue();
            out.push(batch);
        }
        self.ledger.taken_out(records);
        drop(desk);
        out.iter_mut().for_each(Batch::finish); // ACC-18: outside every lock
    }

    /// Puts a batch back to be sent again, not before `not_before_ms` (ACC-21). It goes to its place, before
    /// every younger one.
    pub(crate) fn reenqueue(&self, mut batch: Batch, now_ms: u64, not_before_ms: u64) {
        batch.attempts += 1;
        batch.is_retry = true;
        self.put_back(batch, now_ms, not_before_ms);
    }

    /// Puts back a batch whose request never left: as [`reenqueue`](Accumulator::reenqueue), and it was no attempt.
    pub(crate) fn put_back(&self, mut batch: Batch, now_ms: u64, not_before_ms: u64) {
        batch.is_out = false;
        batch.since_ms = now_ms;
        batch.not_before_ms = not_before_ms;
        let expiry_ms = batch.expiry_ms();
        self.next_expiry_ms.fetch_min(expiry_ms, Ordering::Relaxed);
        self.ledger.put_back(batch.record_count().into());
        let partition = batch.partition.clone();
        let mut queue = partition.queue.lock();
        let at = queue.place_of(&batch);
        queue.batches.insert(at, batch);
        self.list(&partition, &mut queue);
    }

    /// Takes queued batches whose age has reached `delivery.timeout.ms`, from the heads on (ACC-24).
    pub(crate) fn expire(&self, now_ms: u64, out: &mut Vec<Batch>) {
        // Not all passes come to `ready`, and what is not compressed yet does not expire.
        self.codec.run_inline();
        if now_ms < self.next_expiry_ms.load(Ordering::Relaxed) || !rules::holds(Rule::ExpiryInQueue) {
            return;
        }
        self.take(out, |_, queue| {
            let expired = queue
                .batches
                .front()
                .is_some_and(|head| head.state != State::Compressing && head.expiry_ms() <= now_ms);
            expired.then(|| queue.batches.pop_front()).flatten()
        });
    }

    /// The earliest moment at which a queued batch may expire, as of the last `ready`.
    pub(crate) fn next_expiry_ms(&self) -> Option<u64> {
        let at = self.next_expiry_ms.load(Ordering::Relaxed);
        (at != u64::MAX).then_some(at)
    }

    /// Takes every queued batch: `close(0)`, purge.
    pub(crate) fn abort_all(&self, out: &mut Vec<Batch>) {
        self.abort_where(&|_, _| true, out);
    }

    /// Takes queued batches, of each partition from the head on.
    pub(crate) fn abort_where(&self, which: &dyn Fn(&Partition, BatchId) -> bool, out: &mut Vec<Batch>) {
        loop {
            let mut compressing = false;
            self.take(out, |partition, queue| match queue.batches.front() {
                Some(head) if !which(partition, head.id()) => None,
                Some(head) if head.state == State::Compressing => {
                    compressing = true;
                    None
                }
                _ => queue.batches.pop_front(),
            });
            if !compressing {
                return;
            }
            self.codec.settle(); // their bytes are needed for the report
        }
    }

    fn take(&self, out: &mut Vec<Batch>, mut next: impl FnMut(&Partition, &mut Queue) -> Option<Batch>) {
        let from = out.len();
        let mut records = 0;
        let mut desk = self.desk.lock();
        desk.take_in(&self.incoming);
        for partition in desk.partitions() {
            let mut queue = partition.queue.lock();
            while let Some(mut batch) = next(partition, &mut queue) {
                if batch.is_open() {
                    batch.close_plain();
                }
                records += u64::from(batch.record_count());
                batch.leave_queue();
                out.push(batch);
            }
        }
        self.ledger.taken_out(records);
        drop(desk);
        out[from..].iter_mut().for_each(Batch::finish);
    }

    /// PAR-10 to PAR-12: one table per topic that has queued batches, taken back when it has none.
    fn publish_load(&self, desk: &mut Desk) {
        if !self.settings.adaptive {
            return;
        }
        let timeout_ms = self.settings.availability_timeout_ms;
        let Desk { listed, nodes, loads, .. } = desk;
        loads.values_mut().for_each(|load| load.is_listed = false);
        // Partitions of a topic mostly stand together: it is looked up once for all of them.
        let mut current: Option<(u32, &mut Load)> = None;
        for listed in listed.values() {
            let partition = &listed.partition;
            let id = partition.topic_id();
            if current.as_ref().is_none_or(|(current, _)| *current != id) {
                current = None; // ends the borrow
                let load = match loads.entry(id) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => match self.topic(partition.topic_name()) {
                        Some(topic) => new.insert(Load::new(topic)),
                        None => continue,
                    },
                };
                if !load.is_listed {
                    load.begin();
                }
                current = Some((id, load));
            }
            let Some((_, load)) = &mut current else { continue };
            let is_slow = timeout_ms > 0
                && listed
                    .leader
                    .and_then(|leader| nodes.get(&leader))
                    .is_some_and(|node| node.ready_ms.saturating_sub(node.drained_ms) > timeout_ms);
            if let Some(place) = load.lengths.get_mut(partition.index() as usize) {
                *place = place.filter(|_| !is_slow).map(|_| listed.len); // PAR-12
            }
        }
        loads.retain(|_, load| {
            load.topic.sticky.publish(if load.is_listed { &load.lengths } else { &[] }); // PAR-11: all lengths are 0
            load.is_listed
        });
    }
}

/// The queue lengths of a topic that has a load table out.
struct Load {
    topic: Arc<TopicState>,
    /// By partition; `None` leaves it out. Empty: there are no statistics.
    lengths: Vec<Option<usize>>,
    /// It has queued batches in this pass.
    is_listed: bool,
}

impl Load {
    fn new(topic: Arc<TopicState>) -> Load {
        Load { topic, lengths: Vec::new(), is_listed: false }
    }

    fn begin(&mut self) {
        self.is_listed = true;
        self.lengths.clear();
        // Not every partition has a queue yet, or the topic has grown, or it is not known: no statistics.
        if let Some(layout) = self.topic.layout()
            && self.topic.is_every_partition_used()
        {
            // Partitions without leader are left out, and those led from another rack while there are some of this one (PAR-14).
            self.lengths.resize(layout.partitions() as usize, None);
            layout.candidates().iter().for_each(|index| self.lengths[*index as usize] = Some(0));
        }
    }
}

impl Desk {
    /// Takes in the partitions that got batches.
    pub(super) fn take_in(&mut self, incoming: &sync::Mutex<Vec<Arc<Partition>>>) {
        for partition in std::mem::take(&mut *incoming.lock()) {
            let listed = Listed { version: None, leader: None, leader_epoch: 0, len: 0, partition };
            self.listed.insert(listed.partition.key(), listed);
        }
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.listed.values().map(|listed| &listed.partition)
    }
}

impl Listed {
    /// Looks the leader up once per snapshot.
    fn find_leader(&mut self, cluster: &Snapshot) {
        if self.version == Some(cluster.version) {
            return;
        }
        self.version = Some(cluster.version);
        let found = cluster.partition(self.partition.topic_name(), self.partition.index());
        self.leader = found.and_then(|found| found.leader);
        self.leader_epoch = found.map(|found| found.leader_epoch).unwrap_or_default(); // looked at only with a leader
    }
}

impl Batch {
    fn info(&self) -> HeadInfo {
        HeadInfo { stamped: self.stamp() }
    }

    /// ACC-10: put back and its time has not come, unless the partition has a newer leader since.
    fn is_backing_off(&self, now_ms: u64, leader_epoch: i32) -> bool {
        now_ms < self.not_before_ms && leader_epoch <= self.leader_epoch
    }

    pub(super) fn leave_queue(&mut self) {
        assert!(self.state == State::Ready, "a batch leaves its queue with its bytes");
        self.is_out = true;
        self.seal();
    }
}
