//! How soon each rule is missed: a simulator that notices nothing proves nothing.
//!
//! Each rule of [`Rule::ALL`] is switched off alone, and seeds are run from 1 on until one of them is noticed: a violation that the
//! checker finds, or an assertion of the producer's own. How many seeds that took is the measure of what a run of 20,000 seeds is
//! worth; a rule that nothing notices fails the run.
//!
//! `rohrpost-sim --seed S --without SWITCH` tells the story of a row.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rohrpost::ErrorCode;
use rohrpost::rules::{Rule, break_rule};

use crate::bounds::is_idempotent;
use crate::cluster::Fault;
use crate::plan::{Plan, WorldFault};
use crate::runner::{quiet_panics, run_caught};

/// Where a page has the table.
const BEGIN: &str = "<!-- rohrpost-sim --table: begin -->";
const END: &str = "<!-- rohrpost-sim --table: end -->";

/// A rule, switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The rule.
    pub rule: Rule,
    /// How it was noticed; `None`: in none of the seeds.
    pub noticed: Option<Noticed>,
}

/// How it showed that a rule was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noticed {
    /// After so many seeds, the last one included; it has this number, for seeds begin at 1. A seed that fails with all rules kept
    /// notices nothing.
    pub seeds: u64,
    /// What was noticed, in one line.
    pub violation: String,
}

/// Switches each of `rules` off alone and runs seeds, 1 to `seeds_max`, until it is noticed. `run` gives the violation of a seed, for
/// the rule's sake; it is called with the rule switched off on its thread, and must do everything on that thread. Rules are shared out among
/// `threads`; `tell` hears of each as it is done. The rows have the order of `rules`.
pub fn make(
    rules: &[Rule],
    seeds_max: u64,
    threads: usize,
    run: &(dyn Fn(Rule, u64) -> Option<String> + Sync),
    tell: &(dyn Fn(&Row, Duration) + Sync),
) -> Vec<Row> {
    quiet_panics();
    let next = Mutex::new(rules.iter().copied().enumerate());
    let rows = Mutex::new(Vec::new());
    let fails_anyway = |rule: Rule, seed: u64| {
        let _kept = break_rule(None);
        run(rule, seed).is_some()
    };
    let work = || {
        loop {
            let Some((at, rule)) = lock(&next).next() else { return };
            let start = Instant::now();
            let noticed = (1..=seeds_max).find_map(|seed| {
                let violation = {
                    let _broken = break_rule(Some(rule));
                    run(rule, seed)
                };
                let violation = violation.filter(|_| !fails_anyway(rule, seed))?;
                Some(Noticed { seeds: seed, violation: one_line(&violation) })
            });
            let row = Row { rule, noticed };
            tell(&row, start.elapsed());
            lock(&rows).push((at, row));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Whether a plan has what a rule is about; if not, the seed is counted and not run.
fn can_show(rule: Rule, plan: &Plan) -> bool {
    let has = |is_one: &dyn Fn(&Fault) -> bool| {
        plan.faults.iter().any(|fault| matches!(&fault.what, WorldFault::Cluster(fault) if is_one(fault)))
    };
    let has_error =
        |wanted: ErrorCode| has(&|fault| matches!(fault, Fault::Error { code, .. } if *code == wanted));
    let splits = || {
        let batch_size = plan.number("batch.size", 16_384);
        has_error(ErrorCode::MESSAGE_TOO_LARGE)
            || has(&|fault| matches!(fault, Fault::LimitBatches { .. }))
            || plan.cluster.topics.iter().any(|topic| u64::from(topic.max_message_bytes) < batch_size)
    };
    let is_idempotent = is_idempotent(plan);
    match rule {
        Rule::MutedWhileInFlight => {
            !is_idempotent && plan.setting("max.in.flight.requests.per.connection") == Some("1")
        }
        Rule::SplitOrder | Rule::SplitSequences | Rule::FlushParts | Rule::LearnedLimit => splits(),
        Rule::SequenceWraps => plan.first_sequence > 0,
        Rule::RecreatedTopic => {
            has(&|fault| matches!(fault, Fault::RecreateTopic { .. } | Fault::DeleteTopic { .. }))
        }
        Rule::DuplicateIsSuccess => has_error(ErrorCode::DUPLICATE_SEQUENCE_NUMBER),
        _ => true,
    }
}

/// Runs a seed; its first violation.
#[must_use]
pub fn violation_of(rule: Rule, seed: u64) -> Option<String> {
    let plan = Plan::of(seed);
    if !can_show(rule, &plan) {
        return None;
    }
    run_caught(&plan, false).violations.first().map(ToString::to_string)
}

/// The table as Markdown.
#[must_use]
pub fn markdown(rows: &[Row], seeds_max: u64) -> String {
    let mut text = String::from("| rule | switched off | seeds | noticed as |\n|---|---|---:|---|\n");
    for Row { rule, noticed } in rows {
        let (seeds, violation) = match noticed {
            Some(noticed) => (noticed.seeds.to_string(), noticed.violation.replace('|', "\\|")),
            None => (format!("> {seeds_max}"), "**not noticed**".into()),
        };
        let _ = writeln!(text, "| {} | {} | {seeds} | {violation} |", rule.name(), rule.broken());
    }
    text
}

/// Puts the table into a page, between its marks.
///
/// # Errors
/// The page cannot be read or written, or has no marks.
pub fn write_into(page: &Path, table: &str) -> io::Result<()> {
    let text = std::fs::read_to_string(page)?;
    let marked = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = marked else {
        let text = format!("{} has no place for the table: {BEGIN} and {END} are missing", page.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    };
    std::fs::write(page, format!("{before}{BEGIN}\n{table}{END}{after}"))
}

/// The first line of a violation, without what differs from seed to seed in length.
fn one_line(text: &str) -> String {
    const MAX: usize = 160;
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("a violation without text").trim();
    match line.char_indices().nth(MAX) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line.to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &[Rule] = &[Rule::SendOrder, Rule::FirstAlone, Rule::SplitOrder];

    #[test]
    fn rows_stand_in_the_order_of_the_rules_and_name_the_first_seed_that_noticed() {
        // Seed 5 fails with all rules kept, too.
        let is_broken = || {
            let before = break_rule(None);
            before.rule().is_some()
        };
        let run = |_: Rule, seed: u64| {
            (seed == 5 || seed == 7 && is_broken()).then(|| "\n  lost: orders-3\nmore".to_owned())
        };
        let rows = make(RULES, 10, 2, &run, &|_, _| {});
        assert_eq!(rows.iter().map(|row| row.rule).collect::<Vec<_>>(), RULES);
        let noticed = Some(Noticed { seeds: 7, violation: "lost: orders-3".into() });
        assert!(rows.iter().all(|row| row.noticed == noticed));
        let unnoticed = make(RULES, 6, 1, &run, &|_, _| {});
        assert!(unnoticed.iter().all(|row| row.noticed.is_none()));
        let table = markdown(&unnoticed, 6);
        assert_eq!(table.lines().count(), 2 + RULES.len());
        assert!(table.lines().skip(2).all(|line| line.ends_with("| > 6 | **not noticed** |")), "{table}");
    }

    #[test]
    fn the_table_stands_between_its_marks_and_nothing_else_of_the_page_changes() {
        let page = std::env::temp_dir().join(format!("rohrpost-sim-table-{}.md", std::process::id()));
        std::fs::write(&page, format!("above\n{BEGIN}\nold\n{END}\nbelow\n")).unwrap();
        write_into(&page, "new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&page).unwrap(), format!("above\n{BEGIN}\nnew\n{END}\nbelow\n"));
        std::fs::write(&page, "no marks").unwrap();
        assert!(write_into(&page, "new\n").is_err());
        std::fs::remove_file(&page).unwrap();
    }
}
