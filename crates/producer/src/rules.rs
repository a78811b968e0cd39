//! Switches that break one rule each, so that the simulator can show that it would notice.
//!
//! A checker that accepts everything passes every seed. `rohrpost-sim --table` therefore switches the rules of order, outcome,
//! idempotence and memory off, one at a time, and counts the seeds until something is noticed. The code that keeps a rule asks
//! `rules::holds(Rule::X)` at the one place where it can be broken.
//!
//! Nothing of this is in the library that people use: without the feature `simulate`, `holds` is a constant. With it, what is
//! broken is broken on the thread that says so, so that simulations and tests beside it are not touched.

#[cfg(not(feature = "simulate"))]
pub(crate) use self::kept::{every, first_sequence, holds, shared_sequence};
#[cfg(feature = "simulate")]
pub use self::switched::{Broken, break_rule, start_sequences_at};
#[cfg(feature = "simulate")]
pub(crate) use self::switched::{every, first_sequence, holds, shared_sequence};

macro_rules! rules {
    ($($variant:ident $name:literal $broken:literal,)*) => {
        /// A rule that can be switched off. The text says what happens then.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(not(feature = "simulate"), allow(unreachable_pub))]
        pub enum Rule {
            $(#[doc = concat!($name, " switched off: ", $broken)] $variant,)*
        }

        #[cfg(feature = "simulate")]
        impl Rule {
            /// All of them, in the table's order.
            pub const ALL: &[Rule] = &[$(Rule::$variant,)*];

            /// Its name in the reference.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)* }
            }

            /// What the producer does while it is switched off.
            #[must_use]
            pub fn broken(self) -> &'static str {
                match self { $(Rule::$variant => $broken,)* }
            }
        }
    };
}

rules! {
    // order
    MutedWhileInFlight "ACC-20" "with one request in flight allowed, a partition sends while its last request is open",
    NewBehindRetried "IDM-5" "new batches do not wait behind one that is sent again",
    LowestFirst "IDM-5" "of the batches to be sent again any may go, not only the lowest",
    PlaceInQueue "ACC-21" "a batch that comes back goes to the front of its queue, whatever its sequence",
    FirstAlone "THR-3" "the first batch of an epoch does not go alone",
    SplitOrder "ACC-22" "the parts of a split batch are queued the wrong way round",
    SendOrder "CMPL-3" "outcomes are told as answers come, not in send order",
    StrictLine "BUF-4" "newcomers take room and place while others wait for it",
    // idempotence
    SequencePerPartition "IDM-2" "all partitions share one sequence",
    SequenceByRecord "IDM-2" "a batch takes up one sequence number, however many records it has",
    SequenceWraps "IDM-2" "after the largest sequence number comes a negative one",
    SequenceDistance "IDM-3" "sequences are compared as plain numbers",
    SequenceKept "IDM-4" "a batch that is sent again gets the next sequence",
    SplitSequences "ACC-22" "every part of a split batch has the batch's first sequence",
    OthersFinishTheirEpoch "IDM-6" "a partition takes up a new epoch while batches of the old one are in flight",
    EpochWaits "IDM-6" "a partition leaves its epoch while batches of it are on their way",
    EpochRestarts "IDM-6" "a partition goes on with the sequence that it has in a new epoch",
    FiveInFlight "IDM-7" "a partition has more batches in flight than brokers remember",
    UnresolvedMarked "IDM-12" "a gap left by a batch that ended unacknowledged is not noted",
    UnknownKeepsEpoch "IDM-16" "a batch of unknown fate is sent again in a new epoch",
    RecreatedTopic "MET-9" "sequences go on as they were in a topic that was created anew",
    // outcome
    DuplicateIsSuccess "IDM-10" "DUPLICATE_SEQUENCE_NUMBER is reported as not written",
    EveryAttempt "CMPL-8" "the last attempt alone decides whether a batch may have been written",
    UnansweredIsUnknown "CMPL-8" "an attempt without answer counts as not written",
    GivenUpIsUnknown "CMPL-8" "a batch that is given up in flight is reported as not written",
    EveryCallback "CMPL-1" "one callback in fifty is not run",
    EveryWaiter "CMPL-1" "one batch in twenty wakes nobody who awaits its records",
    AllRequestsEnd "SND-4" "a connection that ends gives back its first request only",
    ExpiryInQueue "ACC-24" "queued batches do not expire",
    ExpiryInFlight "ACC-24" "batches in flight do not expire",
    FlushSnapshot "FLU-1" "flush does not wait for the newest batches",
    FlushParts "FLU-2" "flush waits for one part of a split batch only",
    UndeliveredListed "FLU-6" "close does not list what was not delivered",
    // memory
    MemoryReleased "BUF-1" "one chunk in sixteen is not given back",
    CancelGivesBack "BUF-2" "a waiter that gives up keeps what it was granted",
    SplitMemory "ACC-22" "a batch that was split keeps its memory",
    ExpiredKeepsMemory "ACC-25" "memory of a batch given up in flight is given back before its request has ended, and once more then",
    // going on
    WakeAfterAppend "PRE-9" "a new batch does not wake the sender",
    CloseWakesWaiters "BUF-6" "close does not wake those who wait for room",
    LearnedLimit "ACC-23" "a size that was refused is not learned",
    SilentLeft "RTY-4" "a leader that does not answer is waited for, whoever leads by then",
    SilentNotAsked "RTY-4" "a question that went to a broker which does not answer is not asked elsewhere",
    RefreshOnError "ERR-1" "errors that mean a moved leader ask for no metadata",
    LeaderlessAsks "ACC-14" "a partition without leader asks for no metadata",
    HintIsNews "ERR-2" "a leader hint is followed whatever its epoch",
    OlderEpochIgnored "MET-5" "metadata with an older leader epoch replaces what is known",
}

/// What it is without the feature `simulate`: every rule holds, and the compiler knows.
#[cfg(not(feature = "simulate"))]
mod kept {
    use super::Rule;

    #[inline(always)]
    pub(crate) const fn holds(_: Rule) -> bool {
        true
    }

    #[inline(always)]
    pub(crate) const fn every(_: Rule, _: u32) -> bool {
        true
    }

    #[inline(always)]
    pub(crate) const fn first_sequence() -> i32 {
        0
    }

    #[inline(always)]
    pub(crate) const fn shared_sequence(_: u32) -> i32 {
        0
    }
}

#[cfg(feature = "simulate")]
mod switched {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
        static ASKED: Cell<u32> = const { Cell::new(0) };
        static SHARED: Cell<i32> = const { Cell::new(0) };
        static FIRST: Cell<i32> = const { Cell::new(0) };
    }

    /// Breaks a rule on this thread until the guard is dropped; `None` breaks none. What it counts begins anew, so that a run with
    /// the same seed does the same.
    #[must_use = "the rule holds again when this is dropped"]
    pub fn break_rule(rule: Option<Rule>) -> Broken {
        ASKED.set(0);
        SHARED.set(0);
        Broken { before: BROKEN.replace(rule) }
    }

    /// See [`break_rule`].
    pub struct Broken {
        before: Option<Rule>,
    }

    impl Broken {
        /// What was switched off before.
        #[must_use]
        pub fn rule(&self) -> Option<Rule> {
            self.before
        }
    }

    impl Drop for Broken {
        fn drop(&mut self) {
            BROKEN.set(self.before);
        }
    }

    /// The sequence with which partitions of this thread's producers begin in their first epoch: brokers take any (IDM-7). So
    /// that a run need not send 2^31 records to see the wrap (IDM-2, IDM-3).
    pub fn start_sequences_at(sequence: i32) {
        FIRST.set(sequence.max(0));
    }

    /// Whether the rule is to be kept.
    #[inline]
    pub(crate) fn holds(rule: Rule) -> bool {
        BROKEN.get() != Some(rule)
    }

    /// The same for rules that are broken once in so many times.
    pub(crate) fn every(rule: Rule, nth: u32) -> bool {
        if holds(rule) {
            return true;
        }
        let asked = ASKED.get().wrapping_add(1);
        ASKED.set(asked);
        !asked.is_multiple_of(nth)
    }

    pub(crate) fn first_sequence() -> i32 {
        FIRST.get()
    }

    /// For [`Rule::SequencePerPartition`]: one counter for all partitions.
    pub(crate) fn shared_sequence(count: u32) -> i32 {
        let sequence = SHARED.get();
        SHARED.set(((sequence as u32).wrapping_add(count) & 0x7fff_ffff) as i32);
        sequence
    }
}

#[cfg(all(test, feature = "simulate"))]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_broken_on_one_thread_until_the_guard_is_gone() {
        assert!(Rule::ALL.iter().all(|rule| holds(*rule)));
        let guard = break_rule(Some(Rule::SendOrder));
        assert!(!holds(Rule::SendOrder) && holds(Rule::FirstAlone));
        std::thread::spawn(|| assert!(holds(Rule::SendOrder))).join().unwrap();
        let kept = (0..6).map(|_| every(Rule::SendOrder, 3)).collect::<Vec<_>>();
        assert_eq!(kept, [true, true, false, true, true, false]);
        drop(guard);
        assert!(holds(Rule::SendOrder));
    }
}
