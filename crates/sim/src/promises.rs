//! What a world may expect: a table of settings and troubles, and what each of them takes away.
//!
//! Beside it some things hold in every world: a record that is `NotWritten`, or was never accepted, is in no log; every outcome is
//! told once and in time; callbacks run in send order; counts add up; all memory is free in the end; everything ends.

use std::fmt::Write as _;

use crate::cluster::{Cluster, Fault};
use crate::plan::{Plan, WorldFault};

/// How strict the checker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises {
    /// An acknowledged record is in the log, at its offset.
    pub kept: bool,
    /// A record is at most once in a log.
    pub once: bool,
    /// Records of a partition stand in the log in send order.
    pub ordered: bool,
}

/// A line of the table.
pub struct Row {
    /// Where it applies, in words.
    pub when: &'static str,
    applies: fn(&Plan) -> bool,
    /// What is left.
    pub promises: Promises,
}

const ALL: Promises = Promises { kept: true, once: true, ordered: true };

/// What is promised: that which all rows that apply leave.
pub const TABLE: &[Row] = &[
    Row { when: "the defaults: acks=all, idempotence", applies: |_| true, promises: ALL },
    Row {
        when: "enable.idempotence=false",
        applies: |plan| plan.setting("enable.idempotence") == Some("false"),
        promises: Promises { once: false, ordered: false, ..ALL },
    },
    Row {
        when: "acks=1",
        applies: |plan| plan.setting("acks") == Some("1"),
        promises: Promises { kept: false, once: false, ordered: false },
    },
    Row {
        when: "acks=0: what was written whole is never sent again",
        applies: |plan| plan.setting("acks") == Some("0"),
        promises: Promises { kept: false, once: true, ordered: false },
    },
    Row {
        when: "all brokers forget what producers have written",
        applies: |plan| has(plan, |fault| matches!(fault, Fault::ForgetProducers)),
        promises: Promises { once: false, ordered: false, ..ALL },
    },
    Row {
        when: "a topic is made anew while Produce names topics, not ids (below 13): what was sent to the former one goes to the new one",
        applies: |plan| names_topics(plan) && has(plan, makes_anew),
        promises: Promises { ordered: false, ..ALL },
    },
];

/// Some broker serves no Produce 13 at some time.
fn names_topics(plan: &Plan) -> bool {
    plan.cluster.produce_max_version < 13
        || has(plan, |fault| matches!(fault, Fault::Upgrade { produce_max_version: ..13, .. }))
}

fn makes_anew(fault: &Fault) -> bool {
    matches!(fault, Fault::RecreateTopic { .. } | Fault::DeleteTopic { .. })
}

/// What is promised in this world.
pub fn of(plan: &Plan) -> Promises {
    let rows = TABLE.iter().filter(|row| (row.applies)(plan));
    rows.fold(ALL, |left, Row { promises, .. }| Promises {
        kept: left.kept && promises.kept,
        once: left.once && promises.once,
        ordered: left.ordered && promises.ordered,
    })
}

/// The cluster itself has lost what it had committed there: all replicas lost their page caches, or an election was unclean.
pub fn may_be_lost(cluster: &Cluster, topic: &str, partition: i32, offset: Option<i64>) -> bool {
    cluster.losses().iter().any(|loss| {
        loss.topic == topic
            && loss.partition == partition
            && offset.is_none_or(|at| (loss.kept..loss.committed).contains(&at))
    }) || offset.is_some_and(|at| cluster.died_with_its_topic(topic, partition, at))
}

/// The table as Markdown.
pub fn markdown() -> String {
    let mut text = String::from(
        "| where | acknowledged records are in the log | each at most once | in send order |\n|---|---|---|---|\n",
    );
    let word = |kept: bool| if kept { "yes" } else { "no" };
    for Row { when, promises: Promises { kept, once, ordered }, .. } in TABLE {
        let _ = writeln!(text, "| {when} | {} | {} | {} |", word(*kept), word(*once), word(*ordered));
    }
    text
}

fn has(plan: &Plan, which: impl Fn(&Fault) -> bool) -> bool {
    plan.faults.iter().any(|fault| matches!(&fault.what, WorldFault::Cluster(fault) if which(fault)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_the_table_that_the_checker_uses() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/simulation.md");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(&markdown()), "docs/simulation.md should have:\n{}", markdown());
    }

    #[test]
    fn a_row_takes_away_and_gives_nothing_back() {
        let mut plan = Plan::of(1);
        plan.settings = vec![("acks", "0".into())];
        plan.faults.clear();
        assert_eq!(of(&plan), Promises { kept: false, once: true, ordered: false });
        let forget = WorldFault::Cluster(Fault::ForgetProducers);
        plan.faults.push(crate::plan::PlannedFault { at_ms: 1, what: forget });
        assert_eq!(of(&plan), Promises { kept: false, once: false, ordered: false });
        plan.settings.clear();
        plan.faults.clear();
        assert_eq!(of(&plan), ALL);
    }
}
