//! What a run came to, and which promises it broke.

use serde::Serialize;

use super::outcomes::Kind;
use super::promise::Promise;

/// Examples of broken promises that are told in words.
const EXAMPLES_MAX: usize = 20;

/// A way in which records and outcomes do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breach {
    /// Acknowledged, and not in the log.
    Lost,
    /// In the log once more.
    Duplicated,
    /// Behind a record of its partition that was sent later.
    Reordered,
    /// Said to be not written, and in the log.
    FalselyFailed,
    /// Not where its acknowledgement says.
    Misplaced,
    /// In the log, but not as it was sent.
    Damaged,
    /// Given to the producer, which ended without telling what became of it.
    Untold,
    /// Told twice what became of it.
    ToldTwice,
    /// Its outcome was told after that of a later record of its partition (CMPL-3).
    OutOfTurn,
}

impl Breach {
    /// What it is called where it is counted.
    fn name(self) -> &'static str {
        match self {
            Breach::Lost => "lost",
            Breach::Duplicated => "duplicated",
            Breach::Reordered => "reordered",
            Breach::FalselyFailed => "falsely failed",
            Breach::Misplaced => "wrongly placed",
            Breach::Damaged => "damaged",
            Breach::Untold => "without an outcome",
            Breach::ToldTwice => "with two outcomes",
            Breach::OutOfTurn => "told out of turn",
        }
    }

    fn is_promised_not_to_happen(self, promise: Promise) -> bool {
        match self {
            Breach::Lost => promise.kept,
            Breach::Duplicated => promise.once,
            Breach::Reordered => promise.ordered,
            Breach::Misplaced => promise.placed,
            Breach::FalselyFailed
            | Breach::Damaged
            | Breach::Untold
            | Breach::ToldTwice
            | Breach::OutOfTurn => true,
        }
    }
}

/// Counts of records, and the longest time without an acknowledgement.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Verdict {
    #[serde(skip)]
    pub(super) promise: Promise,
    /// The log was read.
    #[serde(rename = "checked")]
    pub(super) is_checked: bool,
    pub(super) acked: u64,
    pub(super) handed_over: u64,
    pub(super) not_written: u64,
    pub(super) unknown: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    pub(super) falsely_failed: u64,
    pub(super) wrongly_placed: u64,
    pub(super) damaged: u64,
    pub(super) untold: u64,
    pub(super) told_twice: u64,
    pub(super) told_out_of_turn: u64,
    pub(super) unknown_present: u64,
    pub(super) handed_over_present: u64,
    /// In the log, without an outcome in a file that has no end.
    pub(super) untold_present: u64,
    /// Acknowledged by a topic that was deleted since.
    pub(super) gone_by_command: u64,
    /// Records of this run in the log, and of others.
    pub(super) found: u64,
    pub(super) foreign: u64,
    pub(super) longest_gap_ms: u64,
    pub(super) longest_gap_began_ms: u64,
    pub(super) longest_partition_gap_ms: u64,
    pub(super) longest_partition_gap_began_ms: u64,
    pub(super) longest_gap_partition: i32,
    /// Which promises were broken.
    pub(super) broken: Vec<&'static str>,
    /// What happened that is not promised not to happen.
    pub(super) not_promised: Vec<&'static str>,
    pub(super) examples: Vec<String>,
}

impl Verdict {
    pub(super) fn new(promise: Promise) -> Verdict {
        Verdict {
            promise,
            is_checked: false,
            acked: 0,
            handed_over: 0,
            not_written: 0,
            unknown: 0,
            refused: 0,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            falsely_failed: 0,
            wrongly_placed: 0,
            damaged: 0,
            untold: 0,
            told_twice: 0,
            told_out_of_turn: 0,
            unknown_present: 0,
            handed_over_present: 0,
            untold_present: 0,
            gone_by_command: 0,
            found: 0,
            foreign: 0,
            longest_gap_ms: 0,
            longest_gap_began_ms: 0,
            longest_partition_gap_ms: 0,
            longest_partition_gap_began_ms: 0,
            longest_gap_partition: 0,
            broken: Vec::new(),
            not_promised: Vec::new(),
            examples: Vec::new(),
        }
    }

    /// Records that have an outcome.
    pub(super) fn records(&self) -> u64 {
        self.acked + self.handed_over + self.not_written + self.unknown + self.refused
    }

    pub(super) fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }

    pub(super) fn count(&mut self, kind: Kind) {
        *match kind {
            Kind::Acked => &mut self.acked,
            Kind::HandedOver => &mut self.handed_over,
            Kind::NotWritten => &mut self.not_written,
            Kind::Unknown => &mut self.unknown,
            Kind::Refused => &mut self.refused,
        } += 1;
    }

    /// `example` says which record.
    pub(super) fn add(&mut self, breach: Breach, example: impl FnOnce() -> String) {
        *match breach {
            Breach::Lost => &mut self.lost,
            Breach::Duplicated => &mut self.duplicated,
            Breach::Reordered => &mut self.reordered,
            Breach::FalselyFailed => &mut self.falsely_failed,
            Breach::Misplaced => &mut self.wrongly_placed,
            Breach::Damaged => &mut self.damaged,
            Breach::Untold => &mut self.untold,
            Breach::ToldTwice => &mut self.told_twice,
            Breach::OutOfTurn => &mut self.told_out_of_turn,
        } += 1;
        let is_broken = breach.is_promised_not_to_happen(self.promise);
        let list = if is_broken { &mut self.broken } else { &mut self.not_promised };
        if !list.contains(&breach.name()) {
            list.push(breach.name());
        }
        if is_broken && self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{}: {}", breach.name(), example()));
        }
    }
}
