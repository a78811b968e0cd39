//! What the sender knows of one partition: the batches between their first request and their end, in the order in which
//! they were first sent, and where the partition stands in its sequences.
//!
//! A batch itself lies in a request on its way or back in its queue; here stands an [`Entry`] for it, which remembers what
//! decides its outcome: whether any attempt may have written it (CMPL-8).

use std::collections::VecDeque;
use std::sync::Arc;

use rohrpost_protocol::{ErrorCode, Uuid};
use rohrpost_record::Stamp;

use super::idempotence::{Identity, is_before, sequence_after};
use super::slow::Times;
use crate::accumulator::{Batch, BatchId, HeadInfo, Partition, SplitPart};
use crate::delivery::Completion;
use crate::outcome::{BatchResult, Reason};
use crate::rules::{self, Rule};
use crate::sync;

/// A batch that was sent at least once, or that ended behind one that was.
pub(super) struct Entry {
    pub(super) completion: sync::Arc<Completion>,
    pub(super) id: BatchId,
    /// The topic that its last request went to; zero if it is not known.
    pub(super) topic_id: Uuid,
    pub(super) created_ms: u64,
    /// MTR-2
    created_us: u64,
    ended_us: u64,
    pub(super) stamp: Option<Stamp>,
    pub(super) place: Place,
    /// An attempt was unanswered, or answered with an error after which it may be in the log (CMPL-8, IDM-16).
    pub(super) may_be_written: bool,
    /// Requests that carried it.
    pub(super) attempts: u32,
    /// How often it was refused for its sequence while nothing was before it.
    pub(super) resequenced: u32,
    /// What its last attempt ended with.
    pub(super) last_error: Option<ErrorCode>,
    /// The broker of its last request.
    pub(super) node: i32,
    /// Where its time went until `since_ms`, when it came to where it is now.
    pub(super) times: Times,
    pub(super) since_ms: u64,
}

// A handful per partition, and moved once: a box per batch would cost more than the room it saves.
#[allow(clippy::large_enum_variant)]
pub(super) enum Place {
    /// In a request.
    OnWire,
    /// Back in its queue, to be sent again.
    Queued,
    /// It has an outcome, and is told once all before it have theirs (CMPL-3). Of its batch, if the sender has it back, only
    /// the shell is left: the memory went back to the pool (IDM-14). But one that failed keeps its bytes until it is told, for a close that
    /// comes before that hands its records back (FLU-6).
    Ended(BatchResult, Option<Batch>),
}

/// An outcome that is due to be told.
pub(super) struct Told {
    pub(super) completion: sync::Arc<Completion>,
    pub(super) result: BatchResult,
    /// `None`: a request owns it. One that failed still has its bytes, but for what a purge took from the queue.
    pub(super) batch: Option<Batch>,
    /// MTR-2: when its first record was appended, and when it got its outcome.
    pub(super) created_us: u64,
    pub(super) ended_us: u64,
}

/// What holds for all partitions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) idempotent: bool,
    pub(super) max_in_flight: usize,
    pub(super) identity: Option<Identity>,
}

/// One partition.
#[derive(Default)]
pub(super) struct PartitionState {
    pub(super) partition: Option<Arc<Partition>>,
    /// In the order of their first request.
    entries: VecDeque<Entry>,
    /// Requests on their way that carry a batch of this partition; more than the entries on the wire, when one expired.
    pub(super) on_wire: u32,
    /// The id and epoch in which the partition's sequences count.
    pub(super) identity: Option<Identity>,
    next_sequence: i32,
    last_acked: Option<i32>,
    /// The sequences may have a gap: a batch ended without being acknowledged (IDM-11, IDM-12), or the broker says so (IDM-8).
    pub(super) bump: Bump,
    /// The topic that the sequences belong to (MET-9).
    pub(super) topic_id: Uuid,
    /// RTY-5: batches behind one that failed, up to the application's next word, are not sent (again).
    pub(super) stops: Vec<Stop>,
    /// A batch went out for the first time past one that had come back: tells [`PartitionState::oddity`].
    #[cfg(feature = "simulate")]
    has_overtaken: bool,
}

/// RTY-5: a stretch of a partition's batches that is not sent (again).
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// The batch that failed.
    pub(super) after: BatchId,
    /// The first number that is not meant; `u64::MAX` while the partition is stopped.
    pub(super) below: u64,
}

impl Stop {
    pub(super) fn has(&self, id: BatchId) -> bool {
        self.after < id && id.number() < self.below
    }
}

/// Whether the partition has to go on in a new epoch, once nothing of it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Bump {
    #[default]
    No,
    /// Unless all up to the next sequence turns out to be acknowledged (IDM-12).
    IfUnresolved,
    Yes,
}

impl PartitionState {
    /// Whether the batch at the head of the queue may be sent now (ACC-17, ACC-20, IDM-5). Holds this partition and no other.
    pub(super) fn may_send(&self, head: &HeadInfo, policy: &Policy) -> bool {
        // ACC-20
        if policy.max_in_flight == 1 && self.on_wire > 0 && rules::holds(Rule::MutedWhileInFlight) {
            return false;
        }
        if !policy.idempotent {
            return true;
        }
        if policy.identity.is_none() {
            return false;
        }
        match head.stamped {
            // IDM-5: of those to be sent again only the lowest, and it may go while later ones are on the wire.
            Some(stamp) => match self.lowest() {
                Some(lowest) => {
                    let is_it = matches!(lowest.place, Place::Queued)
                        && lowest.stamp.is_some_and(|s| same(&s, &stamp))
                        || !rules::holds(Rule::LowestFirst);
                    // IDM-16: only a batch of unknown fate stays in an epoch that is to be left; others wait for the new one.
                    is_it && (self.bump == Bump::No || lowest.is_bound_to_epoch())
                }
                None => true,
            },
            // IDM-5, IDM-12: new batches wait behind what is sent again, and behind what is not settled in an older epoch.
            None => {
                let mut unsettled = 0;
                for entry in self.unsettled() {
                    unsettled += 1;
                    let is_retried = entry.attempts > 1 || matches!(entry.place, Place::Queued);
                    if is_retried && rules::holds(Rule::NewBehindRetried) {
                        return false;
                    }
                }
                if unsettled == 0 {
                    return self.bump == Bump::No;
                }
                // THR-3: a broker that does not know the producer takes any sequence as the first (IDM-7). So the first batch of
                // an epoch goes alone until it is acknowledged: were it refused, or on its way to a former leader, the next
                // one would be written before it.
                let is_known = self.last_acked.is_some() || !rules::holds(Rule::FirstAlone);
                // IDM-7: brokers remember five batches; a leader change must not put more than that on the wire.
                self.bump == Bump::No
                    && is_known
                    && (unsettled < policy.max_in_flight || !rules::holds(Rule::FiveInFlight))
                    && (self.identity == policy.identity || !rules::holds(Rule::OthersFinishTheirEpoch))
            }
        }
    }

    /// The stamp for a batch that goes out now (ACC-18): its own as long as that epoch lasts, else the next one. `None` if it
    /// may not be sent any more: its fate is unknown and its epoch has passed (IDM-16).
    pub(super) fn stamp(&mut self, batch: &Batch, identity: Identity) -> Option<Stamp> {
        let count = batch.record_count();
        let known = self.find(batch.completion());
        if let (Some(at), Some(stamp)) = (known, batch.stamp()) {
            // IDM-4
            if self.identity == Some(identity_of(&stamp)) && rules::holds(Rule::SequenceKept) {
                return Some(stamp);
            }
            if self.entries[at].is_bound_to_epoch() && rules::holds(Rule::SequenceKept) {
                return None;
            }
        }
        let others = self.unsettled().any(|e| !sync::Arc::ptr_eq(&e.completion, batch.completion()))
            && rules::holds(Rule::OthersFinishTheirEpoch);
        if self.identity != Some(identity) && (known.is_some() || !others) {
            // IDM-6: a partition takes up the current epoch when nothing of it is in flight in another.
            self.restart(identity);
        }
        if !rules::holds(Rule::SequencePerPartition) {
            self.next_sequence = rules::shared_sequence(count);
        }
        let base_sequence = self.next_sequence;
        let count = if rules::holds(Rule::SequenceByRecord) { count } else { 1 };
        // IDM-2
        self.next_sequence = sequence_after(base_sequence, count);
        let Identity { producer_id, epoch } = self.identity.unwrap_or(identity);
        Some(Stamp { producer_id, producer_epoch: epoch, base_sequence })
    }

    /// A batch goes out: it has an entry from now on. True if it, or what it is a part of, was in no request before.
    pub(super) fn register(&mut self, batch: &Batch, node: i32, now_ms: u64) -> bool {
        self.on_wire += 1;
        let at = self.entry_of(batch);
        #[cfg(feature = "simulate")]
        self.look_for_overtaking(at);
        let entry = &mut self.entries[at];
        entry.times.left_queue(now_ms.saturating_sub(entry.since_ms), entry.attempts == 0);
        (entry.node, entry.since_ms) = (node, now_ms);
        entry.stamp = batch.stamp();
        entry.topic_id = self.topic_id;
        entry.place = Place::OnWire;
        entry.attempts += 1;
        entry.attempts == 1
    }

    /// The place of a batch's entry; a new one at the end if it has none.
    pub(super) fn entry_of(&mut self, batch: &Batch) -> usize {
        self.find(batch.completion()).unwrap_or_else(|| {
            self.entries.push_back(Entry {
                completion: batch.completion().clone(),
                id: batch.id(),
                topic_id: Uuid::default(),
                created_ms: batch.created_ms(),
                created_us: batch.created_us(),
                ended_us: 0,
                stamp: None,
                place: Place::Queued,
                may_be_written: false,
                attempts: 0,
                resequenced: 0,
                last_error: None,
                node: -1,
                times: Times::default(),
                since_ms: batch.created_ms(),
            });
            self.entries.len() - 1
        })
    }

    /// A batch has become parts, which take its place (ACC-22). What its attempts leave open is open for each of them, and they
    /// count as in flight: their sequences are taken.
    pub(super) fn split(&mut self, at: usize, parts: Vec<SplitPart>) {
        let behind = self.entries.split_off(at + 1);
        let Some(whole) = self.entries.pop_back() else { return };
        self.entries.extend(parts.into_iter().map(|part| Entry {
            completion: part.completion,
            id: part.id,
            topic_id: whole.topic_id,
            created_ms: whole.created_ms,
            created_us: whole.created_us,
            ended_us: 0,
            stamp: part.stamp,
            place: Place::Queued,
            may_be_written: whole.may_be_written,
            attempts: whole.attempts,
            resequenced: 0,
            last_error: whole.last_error,
            node: whole.node,
            times: whole.times,
            since_ms: whole.since_ms,
        }));
        self.entries.extend(behind);
    }

    pub(super) fn find(&self, completion: &sync::Arc<Completion>) -> Option<usize> {
        self.entries.iter().position(|e| sync::Arc::ptr_eq(&e.completion, completion))
    }

    /// A batch is back from its request. Gives it on if its outcome is still open; if it was given up on meanwhile (ACC-24, FLU-4)
    /// that outcome stays (ACC-26), told or not, and its memory is free from here on (ACC-25).
    pub(super) fn take_back(&mut self, mut batch: Batch) -> Option<(usize, Batch)> {
        let at = self.find(batch.completion())?;
        match &mut self.entries[at].place {
            Place::Ended(result, shell) => {
                release(&mut batch, result);
                // Dropped before it is told, it would end by itself, before its turn.
                *shell = Some(batch);
                None
            }
            _ => Some((at, batch)),
        }
    }

    pub(super) fn entry(&mut self, at: usize) -> &mut Entry {
        &mut self.entries[at]
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Entries without an outcome.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| !matches!(e.place, Place::Ended(..)))
    }

    pub(super) fn lowest(&self) -> Option<&Entry> {
        self.unsettled().next()
    }

    /// Gives an entry its outcome, and takes out all that are to be told now: from the front on, as far as they have one
    /// (CMPL-3).
    pub(super) fn end(
        &mut self,
        at: usize,
        result: BatchResult,
        mut batch: Option<Batch>,
        now_us: u64,
        told: &mut Vec<Told>,
    ) {
        // IDM-14: whether or not it is told now.
        if let Some(batch) = &mut batch {
            release(batch, &result);
        }
        if !rules::holds(Rule::SendOrder)
            && let Some(entry) = self.entries.remove(at)
        {
            let Entry { completion, created_us, .. } = entry;
            told.push(Told { completion, result, batch, created_us, ended_us: now_us });
            return;
        }
        self.entries[at].place = Place::Ended(result, batch);
        self.entries[at].ended_us = now_us;
        while matches!(self.entries.front(), Some(Entry { place: Place::Ended(..), .. })) {
            let Some(Entry { completion, place: Place::Ended(result, batch), created_us, ended_us, .. }) =
                self.entries.pop_front()
            else {
                break;
            };
            told.push(Told { completion, result, batch, created_us, ended_us });
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new(); // room for four batches: too much for a partition at rest
        }
    }

    /// A batch with this stamp is in the log. IDM-13: what is acknowledged only grows within an epoch.
    pub(super) fn acked(&mut self, stamp: &Stamp, records: u32) {
        if self.identity != Some(identity_of(stamp)) || records == 0 {
            return;
        }
        let last = sequence_after(stamp.base_sequence, records - 1);
        if self.last_acked.is_none_or(|acked| is_before(acked, last)) {
            self.last_acked = Some(last);
        }
    }

    /// Whether the partition can leave its epoch now: nothing of it is on the wire, and what is to be sent again first may
    /// change its stamp.
    pub(super) fn can_leave_epoch(&self) -> bool {
        let is_on_wire = self.unsettled().any(|e| matches!(e.place, Place::OnWire));
        (!is_on_wire || !rules::holds(Rule::EpochWaits))
            && self.lowest().is_none_or(|lowest| !lowest.is_bound_to_epoch())
    }

    /// IDM-12: all that was sent in this epoch is in the log, whatever ended as unknown.
    pub(super) fn is_resolved(&self) -> bool {
        let next = self.last_acked.map_or(0, |last| sequence_after(last, 1));
        self.lowest().is_none() && next == self.next_sequence
    }

    /// The next sequence is 0, in this epoch.
    pub(super) fn restart(&mut self, identity: Identity) {
        if self.identity.is_none() {
            self.next_sequence = rules::first_sequence();
        } else if rules::holds(Rule::EpochRestarts) {
            self.next_sequence = 0;
        }
        self.identity = Some(identity);
        self.last_acked = None;
    }
}

#[cfg(feature = "simulate")]
impl PartitionState {
    /// What must not be, between two turns of the sender; for the simulator, which asks after each.
    pub(super) fn oddity(&self, policy: &Policy) -> Option<String> {
        let Policy { idempotent, max_in_flight, .. } = *policy;
        // ACC-20. What was given up on counts until its request has ended.
        if max_in_flight == 1 && self.on_wire > 1 {
            return Some(format!("{} requests with its batches are open, and one is allowed", self.on_wire));
        }
        // IDM-5; with one request in flight it follows from ACC-20 and ACC-21.
        if self.has_overtaken && (idempotent || max_in_flight == 1) {
            return Some("a new batch went out while one before it, which had come back, was open".into());
        }
        if !idempotent {
            return None;
        }
        let on_wire = self.unsettled().filter(|e| matches!(e.place, Place::OnWire)).count();
        if on_wire > max_in_flight {
            // IDM-7
            return Some(format!("{on_wire} batches are on their way, and brokers remember {max_in_flight}"));
        }
        // IDM-12: nothing is open, and nothing says that there may be a gap. IDM-3, IDM-13
        let is_at_rest = self.entries.is_empty() && self.bump == Bump::No && self.identity.is_some();
        (is_at_rest && !self.is_resolved()).then(|| {
            format!(
                "all is settled, the next sequence is {}, and {:?} was acknowledged",
                self.next_sequence, self.last_acked
            )
        })
    }

    /// The batch of this entry goes out. An attempt that had come back left its error, whatever the place of the batch is now.
    fn look_for_overtaking(&mut self, at: usize) {
        let has_come_back = |e: &Entry| e.last_error.is_some() && !matches!(e.place, Place::Ended(..));
        self.has_overtaken |=
            self.entries[at].attempts == 0 && self.entries.iter().take(at).any(has_come_back);
    }
}

#[cfg(test)]
impl PartitionState {
    /// The next sequence, in an epoch of which nothing was sent.
    pub(super) fn begin_at(&mut self, identity: Identity, sequence: i32) {
        self.restart(identity);
        self.next_sequence = sequence;
    }
}

impl Entry {
    /// IDM-16: it stays in the epoch in which it was sent, for one of its attempts may have written it.
    pub(super) fn is_bound_to_epoch(&self) -> bool {
        self.may_be_written && rules::holds(Rule::UnknownKeepsEpoch)
    }
}

/// A batch has its outcome, and is told later: what it does not need until then goes back.
fn release(batch: &mut Batch, result: &BatchResult) {
    match result {
        // FLU-6. A purge hands them back itself, and is there to make room.
        BatchResult::Failed(failure) if failure.reason != Reason::Purged => batch.release_places(),
        _ => batch.release_memory(),
    }
}

pub(super) fn identity_of(stamp: &Stamp) -> Identity {
    Identity { producer_id: stamp.producer_id, epoch: stamp.producer_epoch }
}

fn same(a: &Stamp, b: &Stamp) -> bool {
    (a.producer_id, a.producer_epoch, a.base_sequence) == (b.producer_id, b.producer_epoch, b.base_sequence)
}

#[cfg(test)]
mod tests {
    use super::super::request::Body;
    use super::super::world::World;
    use super::*;

    const OLD: Identity = Identity { producer_id: 7, epoch: 1 };
    const NEW: Identity = Identity { producer_id: 7, epoch: 2 };

    fn stamp(epoch: i16, base_sequence: i32) -> Stamp {
        Stamp { producer_id: 7, producer_epoch: epoch, base_sequence }
    }

    /// Batches as a request has them.
    fn batches() -> [Batch; 2] {
        let mut world = World::warm(&[]);
        [0, 1].map(|partition| {
            world.send(partition, 1);
            world.settle();
            let Body::Produce(mut produce) = world.take(partition + 1).body else { panic!("no Produce") };
            produce.topics[0].batches.remove(0)
        })
    }

    fn may_send(state: &PartitionState, stamped: Option<Stamp>, identity: Identity) -> bool {
        let policy = Policy { idempotent: true, max_in_flight: 5, identity: Some(identity) };
        state.may_send(&HeadInfo { stamped }, &policy)
    }

    #[test]
    fn what_is_sent_again_is_the_lowest_batch_and_only_once_it_is_back() {
        // IDM-5
        let [mut batch, _] = batches();
        let mut state = PartitionState::default();
        state.begin_at(OLD, 0);
        batch.set_stamp(stamp(1, 0));
        state.register(&batch, 1, 0);
        assert!(!may_send(&state, Some(stamp(1, 0)), OLD), "it is on the wire");
        state.entries[0].place = Place::Queued;
        assert!(may_send(&state, Some(stamp(1, 0)), OLD));
        for other in [stamp(1, 1), stamp(0, 0), Stamp { producer_id: 8, ..stamp(1, 0) }] {
            assert!(!may_send(&state, Some(other), OLD), "{other:?} is not the lowest");
        }
    }

    #[test]
    fn new_batches_wait_until_all_is_settled_in_an_epoch_that_is_left() {
        // IDM-6
        let [batch, other] = batches();
        let mut state = PartitionState::default();
        state.begin_at(OLD, 0);
        state.register(&batch, 1, 0);
        state.last_acked = Some(0);
        assert!(may_send(&state, None, OLD) && !may_send(&state, None, NEW));
        let epoch = |state: &mut PartitionState| state.stamp(&other, NEW).map(|stamp| stamp.producer_epoch);
        assert_eq!(epoch(&mut state), Some(1), "one that went out now would join those");
        let at = state.entry_of(&batch);
        state.end(at, BatchResult::HandedOver, None, 0, &mut Vec::new());
        assert_eq!(epoch(&mut state), Some(2));
    }

    #[test]
    fn a_stop_is_about_the_batches_behind_the_one_that_failed() {
        // RTY-5
        let id = batches()[0].id();
        assert!(!Stop { after: id, below: u64::MAX }.has(id));
    }

    #[test]
    fn what_is_acknowledged_only_grows_within_an_epoch() {
        // IDM-13, IDM-3
        let mut state = PartitionState::default();
        state.begin_at(Identity { producer_id: 7, epoch: 1 }, i32::MAX - 3);
        state.acked(&stamp(1, i32::MAX - 3), 2);
        assert_eq!(state.last_acked, Some(i32::MAX - 2));
        // Across the wrap, and then the answer of a former leader, which comes late.
        state.acked(&stamp(1, 1), 4);
        assert_eq!(state.last_acked, Some(4));
        state.acked(&stamp(1, i32::MAX - 1), 3);
        assert_eq!(state.last_acked, Some(4));
        // Another epoch's sequences are no part of this.
        state.acked(&stamp(0, 90), 9);
        state.acked(&stamp(2, 90), 9);
        state.acked(&stamp(1, 90), 0);
        assert_eq!(state.last_acked, Some(4));
    }
}
