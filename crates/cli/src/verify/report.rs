//! What a run came to, as one JSON object and as text for people.

use std::fmt::Write;

use serde::Serialize;

use super::check::Checked;
use super::outcomes::{Head, Troubles};
use super::send::EndedEarly;
use super::verdict::Verdict;
use crate::failure::Failure;
use crate::produce::report::grouped;
use crate::{terminal, topics};

/// Everything there is to tell.
#[derive(Serialize)]
pub(super) struct Report {
    topic: String,
    run: String,
    partitions: usize,
    records: u64,
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(flatten)]
    troubles: Troubles,
    ended_early: Option<String>,
    #[serde(skip)]
    failure: Option<Failure>,
}

impl Report {
    pub(super) fn new(head: &Head, checked: Checked, troubles: Troubles) -> Report {
        Report {
            topic: head.topic.clone(),
            run: format!("{:016x}", head.run),
            partitions: head.start_offsets.len(),
            records: checked.verdict.records(),
            verdict: checked.verdict,
            troubles,
            ended_early: None,
            failure: checked.failure,
        }
    }

    /// Why not all records were sent. That the producer takes no more is a failure, that Ctrl-C was pressed is none.
    pub(super) fn ended_early(mut self, why: Option<EndedEarly>) -> Report {
        self.ended_early = why.map(|why| match why {
            EndedEarly::Interrupted => "interrupted".to_owned(),
            EndedEarly::Refused(refusal) => {
                self.failure.get_or_insert(Failure::Told);
                refusal
            }
        });
        self
    }

    /// The figures to standard output, what went wrong to standard error.
    pub(super) fn tell(self, as_json: bool) -> Result<(), Failure> {
        let text =
            if as_json { serde_json::to_string(&self).map_err(Failure::run)? + "\n" } else { self.text() };
        topics::print(&text)?;
        if let Some(why) = &self.ended_early {
            terminal::note(&format!("ended early: {why}"));
        }
        for example in &self.verdict.examples {
            terminal::note(&format!("rohrpost: {example}"));
        }
        if !self.verdict.is_clean() {
            terminal::note(&format!("rohrpost: broken promises: {}", self.verdict.broken.join(", ")));
        }
        match self.failure {
            Some(failure) => Err(failure),
            None if self.verdict.is_clean() => Ok(()),
            None => Err(Failure::Told),
        }
    }

    fn text(&self) -> String {
        let v = &self.verdict;
        let mut text = format!(
            "{} records to '{}' ({} partition{}), run {}\n",
            grouped(self.records),
            self.topic,
            self.partitions,
            if self.partitions == 1 { "" } else { "s" },
            self.run
        );
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<17}{value}");
        };
        let mut outcomes = vec![format!("{} acknowledged", grouped(v.acked))];
        for (count, name) in [
            (v.handed_over, "handed over"),
            (v.not_written, "not written"),
            (v.unknown, "unknown"),
            (v.refused, "refused"),
        ] {
            if count > 0 {
                outcomes.push(format!("{} {name}", grouped(count)));
            }
        }
        line("outcomes", outcomes.join(", "));
        if v.is_checked {
            line("in the log", in_the_log(v));
        }
        let checks = [
            ("lost", v.lost),
            ("duplicated", v.duplicated),
            ("reordered", v.reordered),
            ("falsely failed", v.falsely_failed),
            ("wrongly placed", v.wrongly_placed),
        ];
        for (name, count) in checks.into_iter().filter(|_| v.is_checked) {
            let remark = if count > 0 && v.not_promised.contains(&name) {
                "  (not promised with these settings)"
            } else {
                ""
            };
            line(name, format!("{}{remark}", grouped(count)));
        }
        for (name, count) in [
            ("damaged", v.damaged),
            ("without an outcome", v.untold),
            ("with two outcomes", v.told_twice),
            ("told out of turn", v.told_out_of_turn),
        ] {
            if count > 0 {
                line(name, format!(" {}", grouped(count)));
            }
        }
        line("longest stall", stall(v));
        let Troubles { retries, epoch_bumps, leader_moves } = self.troubles;
        line(
            "on the way",
            format!(
                "{} retries, {} epoch bumps, {} leader moves",
                grouped(retries),
                grouped(epoch_bumps),
                grouped(leader_moves)
            ),
        );
        line("promised", v.promise.words());
        line("verdict", self.verdict_line());
        text
    }

    fn verdict_line(&self) -> String {
        let v = &self.verdict;
        if !v.is_clean() {
            return format!("BROKEN: {}", v.broken.join(", "));
        }
        let word = if v.is_checked { "every promise was kept" } else { "not checked" };
        match v.not_promised.is_empty() {
            true => word.to_owned(),
            false => format!("{word}; {} is not promised", v.not_promised.join(", ")),
        }
    }
}

fn in_the_log(v: &Verdict) -> String {
    let mut parts = vec![grouped(v.found)];
    for (count, of, name) in
        [(v.unknown_present, v.unknown, "unknown"), (v.handed_over_present, v.handed_over, "handed over")]
    {
        if of > 0 {
            parts.push(format!("{} of {} {name} ones", grouped(count), grouped(of)));
        }
    }
    for (count, name) in [
        (v.untold_present, "whose outcome was not kept"),
        (v.gone_by_command, "acknowledged by a topic that was deleted"),
        (v.foreign, "of others"),
    ] {
        if count > 0 {
            parts.push(format!("{} {name}", grouped(count)));
        }
    }
    parts.join("; ")
}

fn stall(v: &Verdict) -> String {
    format!(
        "{} ms, from {} on; of one partition: {} ms (partition {}, from {} on)",
        grouped(v.longest_gap_ms),
        v.longest_gap_began_ms,
        grouped(v.longest_partition_gap_ms),
        v.longest_gap_partition,
        v.longest_partition_gap_began_ms,
    )
}
