//! What is known of each record: its outcome, and how often and where it was found. 8 bytes a record, 8 MB per million.
//!
//! Outcomes come first, in the order in which they were told, then what lies in the log, partition by partition in offset order.
//! [`Ledger::judge`] holds one against the other. No I/O.
//!
//! When somebody deletes the topic and creates it again, the records that the former topic had acknowledged are gone by command.
//! Which those are is seen in the offsets: within one life of a topic acknowledged offsets only grow, so where they go back a new
//! life begins. Each such step needs a deletion before it, or it is a broken promise. What was acknowledged before the last
//! deletion, or before the last step after it, belongs to a former life: it need not be there, and may not.

use super::identity::{Found, Identity};
use super::outcomes::{Head, Kind, Outcome};
use super::verdict::{Breach, Verdict};

/// Records of a partition that may lie between the newest one with an outcome and one that gets its outcome now. Far above what
/// any producer has outstanding: it only keeps a damaged file from asking for memory.
const AHEAD_MAX: u64 = 1 << 24;

/// The whole run.
pub(super) struct Ledger {
    run: u64,
    deleted_at: Vec<u64>,
    partitions: Vec<Partition>,
    verdict: Verdict,
    gap: Gap,
}

#[derive(Default)]
struct Partition {
    entries: Entries,
    told: u64,
    /// The newest record with an outcome of the producer (CMPL-3).
    newest_told: Option<u64>,
    newest_offset: Option<i64>,
    /// How often acknowledged offsets went back.
    lives: usize,
    /// How often without a deletion before, and where first. A run that is under way does not know of deletions: it is judged later.
    unexplained: u64,
    first_unexplained: Option<String>,
    /// The first record that was acknowledged in the topic's present life.
    present_life: Option<u64>,
    gap: Gap,
    /// The newest record that was found.
    newest_found: Option<u64>,
}

/// The longest time between two acknowledgements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Gap {
    last_ack_ms: u64,
    longest_ms: u64,
    began_ms: u64,
}

impl Ledger {
    /// `deleted_at`: when somebody deleted the topic, in milliseconds since 1970.
    pub(super) fn new(head: &Head, deleted_at: &[u64]) -> Ledger {
        let mut deleted_at = deleted_at.to_vec();
        deleted_at.sort_unstable();
        let gap = Gap { last_ack_ms: head.begin_ms, ..Gap::default() };
        let partition = || Partition { gap, ..Partition::default() };
        Ledger {
            run: head.run,
            deleted_at,
            partitions: head.start_offsets.iter().map(|_| partition()).collect(),
            verdict: Verdict::new(head.promise),
            gap,
        }
    }

    /// A record has its outcome. An error is for a file that makes no sense.
    pub(super) fn outcome(&mut self, outcome: &Outcome) -> Result<(), String> {
        let index = usize::try_from(outcome.partition).unwrap_or(usize::MAX);
        let verdict = &mut self.verdict;
        let Some(partition) = self.partitions.get_mut(index) else {
            return Err(format!("the topic had no partition {}", outcome.partition));
        };
        if outcome.sequence > partition.entries.len + AHEAD_MAX {
            return Err(format!("sequence number {} comes too early", outcome.sequence));
        }
        let id = || format!("{}-{}", outcome.partition, outcome.sequence);
        let mut entry = partition.entries.get(outcome.sequence);
        if entry.kind().is_some() {
            verdict.add(Breach::ToldTwice, || format!("{} has a second outcome", id()));
            return Ok(());
        }
        entry.set_outcome(outcome.kind, outcome.offset);
        partition.entries.set(outcome.sequence, entry);
        partition.told += 1;
        verdict.count(outcome.kind);
        // CMPL-3; a record that was never accepted has no turn (CMPL-5)
        if outcome.kind != Kind::Refused {
            if partition.newest_told.is_some_and(|newest| newest > outcome.sequence) {
                verdict.add(Breach::OutOfTurn, || format!("{} was told behind a later one", id()));
            }
            partition.newest_told = partition.newest_told.max(Some(outcome.sequence));
        }
        self.gap.outcome(outcome);
        partition.gap.outcome(outcome);
        if outcome.kind == Kind::Acked {
            if outcome.placed != Some(outcome.partition) {
                verdict.add(Breach::Misplaced, || {
                    format!("{} was acknowledged in partition {:?}", id(), outcome.placed)
                });
            }
            partition.acked(outcome, &self.deleted_at);
        }
        Ok(())
    }

    /// A record lies in the log.
    pub(super) fn found(&mut self, at_partition: i32, offset: i64, value: Option<&[u8]>) {
        let verdict = &mut self.verdict;
        let place = || format!("partition {at_partition} offset {offset}");
        let identity = match value.map_or(Found::Foreign, Identity::read) {
            Found::Ours(identity) if identity.run == self.run => identity,
            Found::Ours(_) | Found::Foreign => {
                verdict.foreign += 1;
                return;
            }
            Found::Damaged => {
                verdict.add(Breach::Damaged, || format!("the record at {}", place()));
                return;
            }
        };
        verdict.found += 1;
        let Identity { partition: number, sequence, .. } = identity;
        let id = || format!("{number}-{sequence}");
        let Some(partition) = usize::try_from(number).ok().and_then(|n| self.partitions.get_mut(n)) else {
            verdict.add(Breach::Damaged, || format!("{} at {}: no such partition", id(), place()));
            return;
        };
        if number != at_partition {
            verdict.add(Breach::Misplaced, || format!("{} lies at {}", id(), place()));
        }
        // an intact record of this run may not have an outcome yet, but it cannot be far ahead
        if sequence > partition.entries.len + AHEAD_MAX {
            verdict.add(Breach::Damaged, || format!("{} at {}: never sent", id(), place()));
            return;
        }
        let mut entry = partition.entries.get(sequence);
        if entry.times_found() > 0 {
            verdict.add(Breach::Duplicated, || format!("{} again, at {}", id(), place()));
        } else if number == at_partition {
            if partition.newest_found.is_some_and(|newest| newest > sequence) {
                verdict.add(Breach::Reordered, || format!("{} at {} lies behind a later one", id(), place()));
            }
            partition.newest_found = partition.newest_found.max(Some(sequence));
        }
        entry.set_found(number == at_partition && entry.offset() == Some(offset));
        partition.entries.set(sequence, entry);
    }

    /// All outcomes are in. `sent`: how many records of each partition were given to the producer, if that is known.
    pub(super) fn end_of_outcomes(&mut self, sent: Option<&[u64]>) {
        let verdict = &mut self.verdict;
        verdict.longest_gap_ms = self.gap.longest_ms;
        verdict.longest_gap_began_ms = self.gap.began_ms;
        for (number, partition) in self.partitions.iter().enumerate() {
            if partition.gap.longest_ms > verdict.longest_partition_gap_ms {
                verdict.longest_partition_gap_ms = partition.gap.longest_ms;
                verdict.longest_partition_gap_began_ms = partition.gap.began_ms;
                verdict.longest_gap_partition = number as i32;
            }
            let Some(sent) = sent.and_then(|sent| sent.get(number)) else { continue };
            for _ in partition.told..*sent {
                verdict.add(Breach::Untold, || format!("a record of partition {number}"));
            }
        }
    }

    /// Only what the outcomes alone say: nothing was read.
    pub(super) fn unread(self) -> Verdict {
        self.verdict
    }

    /// All of the log was read.
    pub(super) fn judge(self) -> Verdict {
        let Ledger { mut verdict, partitions, deleted_at, .. } = self;
        verdict.is_checked = true;
        for (number, partition) in partitions.iter().enumerate() {
            for _ in 0..partition.unexplained {
                verdict.add(Breach::Misplaced, || partition.first_unexplained.clone().unwrap_or_default());
            }
            let first_present = if deleted_at.is_empty() { Some(0) } else { partition.present_life };
            for sequence in 0..partition.entries.len {
                let entry = partition.entries.get(sequence);
                let is_there = entry.times_found() > 0;
                let id = || format!("{number}-{sequence}");
                match entry.kind() {
                    Some(Kind::Acked) if first_present.is_none_or(|first| sequence < first) => {
                        verdict.gone_by_command += 1;
                        if is_there {
                            let what =
                                || format!("{}: in the new topic, and acknowledged in the former one", id());
                            verdict.add(Breach::Duplicated, what);
                        }
                    }
                    Some(Kind::Acked) if !is_there => {
                        verdict.add(Breach::Lost, || match entry.offset() {
                            Some(offset) => format!("{}, acknowledged at offset {offset}", id()),
                            None => format!("{}, acknowledged without an offset", id()),
                        });
                    }
                    Some(Kind::Acked) if !entry.is_in_place() && entry.offset().is_some() => {
                        let offset = entry.offset().unwrap_or(-1);
                        verdict.add(Breach::Misplaced, || format!("{} is not at offset {offset}", id()));
                    }
                    Some(Kind::NotWritten | Kind::Refused) if is_there => {
                        verdict.add(Breach::FalselyFailed, || format!("{} is there", id()));
                    }
                    Some(Kind::Unknown) if is_there => verdict.unknown_present += 1,
                    Some(Kind::HandedOver) if is_there => verdict.handed_over_present += 1,
                    None if is_there => verdict.untold_present += 1,
                    _ => {}
                }
            }
        }
        verdict
    }
}

impl Partition {
    /// An acknowledgement: does it belong to the same life of the topic as the one before?
    fn acked(&mut self, outcome: &Outcome, deleted_at: &[u64]) {
        let is_after_last = deleted_at.last().is_none_or(|&deleted| outcome.time_ms > deleted);
        if let Some(offset) = outcome.offset {
            if self.newest_offset.is_some_and(|newest| newest >= offset) {
                self.lives += 1;
                let deletions = deleted_at.iter().filter(|&&deleted| deleted < outcome.time_ms).count();
                if self.lives > deletions {
                    self.unexplained += 1;
                    self.first_unexplained.get_or_insert_with(|| {
                        format!(
                            "{}-{} at offset {offset}, which is not above that of the record before it",
                            outcome.partition, outcome.sequence
                        )
                    });
                } else if is_after_last {
                    self.present_life = Some(outcome.sequence);
                }
            }
            self.newest_offset = Some(offset);
        }
        if is_after_last && self.present_life.is_none() {
            self.present_life = Some(outcome.sequence);
        }
    }
}

impl Gap {
    fn outcome(&mut self, outcome: &Outcome) {
        let elapsed = outcome.time_ms.saturating_sub(self.last_ack_ms);
        if outcome.kind != Kind::Refused && elapsed > self.longest_ms {
            self.longest_ms = elapsed;
            self.began_ms = self.last_ack_ms;
        }
        if matches!(outcome.kind, Kind::Acked | Kind::HandedOver) {
            self.last_ack_ms = self.last_ack_ms.max(outcome.time_ms);
        }
    }
}

/// What is known of one record, in 8 bytes: 3 bits of outcome, 2 bits of how often it was found, 1 bit of whether it was where it
/// should be, and the acknowledged offset plus one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Entry(u64);

const KINDS: [Kind; 5] = [Kind::Acked, Kind::HandedOver, Kind::NotWritten, Kind::Unknown, Kind::Refused];
const FOUND_SHIFT: u32 = 3;
const IN_PLACE: u64 = 1 << 5;
const OFFSET_SHIFT: u32 = 6;

impl Entry {
    fn kind(self) -> Option<Kind> {
        KINDS.get(((self.0 & 7) as usize).checked_sub(1)?).copied()
    }

    fn set_outcome(&mut self, kind: Kind, offset: Option<i64>) {
        let kind = KINDS.iter().position(|known| *known == kind).unwrap_or(0) as u64 + 1;
        let offset = offset.and_then(|offset| u64::try_from(offset).ok()).map_or(0, |offset| offset + 1);
        self.0 = (self.0 & 0b11_1000) | kind | (offset << OFFSET_SHIFT);
    }

    fn offset(self) -> Option<i64> {
        i64::try_from(self.0 >> OFFSET_SHIFT).ok().and_then(|offset| (offset > 0).then(|| offset - 1))
    }

    /// 0 to 3; 3 is three or more.
    fn times_found(self) -> u64 {
        (self.0 >> FOUND_SHIFT) & 3
    }

    fn set_found(&mut self, in_place: bool) {
        if self.times_found() < 3 {
            self.0 += 1 << FOUND_SHIFT;
        }
        if in_place {
            self.0 |= IN_PLACE;
        }
    }

    fn is_in_place(self) -> bool {
        self.0 & IN_PLACE != 0
    }
}

/// Entries by sequence number, in pieces: growing copies nothing.
#[derive(Default)]
struct Entries {
    pieces: Vec<Option<Box<[Entry]>>>,
    /// One more than the highest that was set.
    len: u64,
}

const PIECE: usize = 1 << 14;

impl Entries {
    fn get(&self, sequence: u64) -> Entry {
        let (piece, at) = Entries::place(sequence);
        self.pieces.get(piece).and_then(Option::as_ref).map_or_else(Entry::default, |entries| entries[at])
    }

    fn set(&mut self, sequence: u64, entry: Entry) {
        let (piece, at) = Entries::place(sequence);
        if piece >= self.pieces.len() {
            self.pieces.resize_with(piece + 1, || None);
        }
        let entries =
            self.pieces[piece].get_or_insert_with(|| vec![Entry::default(); PIECE].into_boxed_slice());
        entries[at] = entry;
        self.len = self.len.max(sequence + 1);
    }

    fn place(sequence: u64) -> (usize, usize) {
        ((sequence / PIECE as u64) as usize, (sequence % PIECE as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use rohrpost_protocol::Uuid;

    use super::*;
    use crate::verify::promise::Promise;

    const RUN: u64 = 7;

    /// One partition, all promised, begun at 1000 ms.
    fn ledger(deleted_at: &[u64]) -> Ledger {
        let head = Head {
            run: RUN,
            topic: "t".to_owned(),
            topic_id: Uuid::default(),
            promise: Promise::ALL,
            begin_ms: 1000,
            start_offsets: vec![0],
        };
        Ledger::new(&head, deleted_at)
    }

    fn tell(ledger: &mut Ledger, sequence: u64, kind: Kind, offset: Option<i64>, time_ms: u64) {
        let placed = (kind == Kind::Acked).then_some(0);
        let outcome = Outcome { partition: 0, sequence, kind, placed, offset, time_ms, reason: None };
        ledger.outcome(&outcome).unwrap();
    }

    fn acked(ledger: &mut Ledger, sequence: u64, offset: i64, time_ms: u64) {
        tell(ledger, sequence, Kind::Acked, Some(offset), time_ms);
    }

    fn find(ledger: &mut Ledger, sequence: u64, offset: i64) {
        let value = Identity { run: RUN, partition: 0, sequence }.value(100);
        ledger.found(0, offset, Some(&value));
    }

    fn judge(mut ledger: Ledger) -> Verdict {
        ledger.end_of_outcomes(None);
        ledger.judge()
    }

    #[test]
    fn a_life_of_a_topic_begins_where_offsets_go_back() {
        let mut ledger = ledger(&[2000]);
        acked(&mut ledger, 0, 0, 1900);
        acked(&mut ledger, 1, 1, 1990);
        // the former leader may still answer after the deletion was asked for
        acked(&mut ledger, 2, 2, 2010);
        acked(&mut ledger, 3, 0, 2500);
        acked(&mut ledger, 4, 1, 2501);
        find(&mut ledger, 3, 0);
        find(&mut ledger, 4, 1);
        let verdict = judge(ledger);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.gone_by_command, verdict.lost), (3, 0));
    }

    #[test]
    fn each_life_needs_a_deletion_before_it() {
        for (deleted_at, misplaced) in
            [(vec![], 2), (vec![1500], 1), (vec![1500, 1700], 0), (vec![1500, 2500], 1)]
        {
            let mut ledger = ledger(&deleted_at);
            for (sequence, offset) in [(0, 5), (1, 0), (2, 0)] {
                acked(&mut ledger, sequence, offset, 1000 + 500 * (sequence + 1));
            }
            let verdict = judge(ledger);
            assert_eq!(verdict.wrongly_placed, misplaced, "{deleted_at:?}: {verdict:?}");
        }
    }

    #[test]
    fn what_a_former_topic_acknowledged_may_not_come_back() {
        let mut ledger = ledger(&[2000]);
        acked(&mut ledger, 0, 0, 1900);
        acked(&mut ledger, 1, 0, 2500);
        find(&mut ledger, 1, 0);
        find(&mut ledger, 0, 1);
        let verdict = judge(ledger);
        assert_eq!((verdict.duplicated, verdict.reordered), (1, 1), "{verdict:?}");
    }

    #[test]
    fn the_present_topic_owes_every_record_even_if_it_was_never_acknowledged_again() {
        let mut gone = ledger(&[2000]);
        acked(&mut gone, 0, 0, 1900);
        assert!(judge(gone).is_clean());
        let mut lost = ledger(&[2000]);
        acked(&mut lost, 0, 0, 1900);
        acked(&mut lost, 1, 0, 2500);
        assert_eq!(judge(lost).lost, 1);
    }

    #[test]
    fn the_longest_time_without_an_acknowledgement_counts_failures_and_the_beginning() {
        let gap = |outcomes: &[(Kind, u64)]| {
            let mut ledger = ledger(&[]);
            for (sequence, &(kind, time_ms)) in outcomes.iter().enumerate() {
                let offset = (kind == Kind::Acked).then_some(sequence as i64);
                tell(&mut ledger, sequence as u64, kind, offset, time_ms);
            }
            ledger.end_of_outcomes(None);
            let verdict = ledger.unread();
            assert_eq!(verdict.longest_gap_ms, verdict.longest_partition_gap_ms, "there is only one");
            (verdict.longest_gap_ms, verdict.longest_gap_began_ms)
        };
        assert_eq!(gap(&[(Kind::Acked, 1300), (Kind::Acked, 1400)]), (300, 1000));
        assert_eq!(gap(&[(Kind::Acked, 1100), (Kind::Unknown, 1300), (Kind::Acked, 1600)]), (500, 1100));
        assert_eq!(gap(&[(Kind::Acked, 1100), (Kind::NotWritten, 1900)]), (800, 1100));
        assert_eq!(gap(&[(Kind::Acked, 1100), (Kind::Refused, 1900)]), (100, 1000), "it was never sent");
    }

    #[test]
    fn an_acknowledgement_without_an_offset_is_held_to_being_there() {
        let mut ledger = ledger(&[]);
        for sequence in 0..2 {
            tell(&mut ledger, sequence, Kind::Acked, None, 1100);
        }
        find(&mut ledger, 0, 0);
        let verdict = judge(ledger);
        assert_eq!((verdict.lost, verdict.wrongly_placed), (1, 0), "{verdict:?}");
    }

    #[test]
    fn records_without_an_outcome_are_counted_against_what_was_sent() {
        let mut ledger = ledger(&[]);
        acked(&mut ledger, 0, 0, 1100);
        find(&mut ledger, 0, 0);
        find(&mut ledger, 2, 1);
        ledger.end_of_outcomes(Some(&[3]));
        let verdict = ledger.judge();
        assert_eq!((verdict.untold, verdict.untold_present), (2, 1), "{verdict:?}");
    }

    #[test]
    fn numbers_that_make_no_sense_take_no_memory() {
        let mut ledger = ledger(&[]);
        let mut outcome = Outcome {
            partition: 0,
            sequence: u64::MAX - 1,
            kind: Kind::Acked,
            placed: Some(0),
            offset: Some(0),
            time_ms: 0,
            reason: None,
        };
        assert!(ledger.outcome(&outcome).is_err());
        (outcome.partition, outcome.sequence) = (1, 0);
        assert!(ledger.outcome(&outcome).is_err());
        find(&mut ledger, u64::MAX - 1, 0);
        assert_eq!(judge(ledger).damaged, 1);
    }

    #[test]
    fn an_entry_keeps_outcome_offset_and_finds_apart() {
        for kind in KINDS {
            for offset in [None, Some(0), Some(1), Some((1 << 57) - 2)] {
                let mut entry = Entry::default();
                entry.set_found(false);
                entry.set_outcome(kind, offset);
                assert_eq!((entry.kind(), entry.offset(), entry.times_found()), (Some(kind), offset, 1));
                assert!(!entry.is_in_place());
                for times in [2, 3, 3] {
                    entry.set_found(true);
                    assert_eq!(
                        (entry.kind(), entry.offset(), entry.times_found()),
                        (Some(kind), offset, times)
                    );
                }
                assert!(entry.is_in_place());
            }
        }
    }
}
