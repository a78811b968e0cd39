//! What the runs came to: one row for each kind of fault, and whether it passed.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Fault;
use super::stalls::Stalls;
use crate::proxy;

/// How long a producer may stand still after the cluster takes writes again.
pub const EXCESS_MAX_MS: u64 = 1_000;

/// A cluster that is out for longer than this leaves too little of delivery.timeout.ms (120 s): nodes start slowly on a busy machine.
const TIME_ENOUGH_MS: u64 = 100_000;

/// One kind of fault.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which.
    pub fault: Fault,
    faults: u64,
    seconds: u64,
    counts: Vec<(proxy::Fault, u64)>,
    found: Value,
    stalls: Stalls,
    /// What is wrong with it.
    pub wrong: Vec<String>,
}

impl Row {
    pub(super) fn new(fault: Fault, faults: u64, seconds: u64, counts: Vec<(proxy::Fault, u64)>) -> Row {
        let (found, stalls, wrong) = (Value::Null, Stalls::default(), Vec::new());
        Row { fault, faults, seconds, counts, found, stalls, wrong }
    }

    /// To be kept.
    pub fn to_json(&self) -> Value {
        let counts: Vec<Value> =
            self.counts.iter().map(|(fault, count)| json!([fault.name(), count])).collect();
        let Stalls { count, longest_ms, beyond_partition_ms, excess_ms, excess_began_ms } = self.stalls;
        json!({
            "fault": self.fault.name(),
            "faults": self.faults,
            "seconds": self.seconds,
            "counts": counts,
            "found": self.found,
            "stalls": [count, longest_ms, excess_ms, excess_began_ms, beyond_partition_ms],
            "wrong": self.wrong,
        })
    }

    /// As it was kept.
    pub fn from_json(kept: &Value) -> Option<Row> {
        let number = |value: &Value| value.as_u64();
        let count = |pair: &Value| {
            let fault = proxy::FAULTS.into_iter().find(|fault| pair[0] == fault.name())?;
            Some((fault, number(&pair[1])?))
        };
        let stalls = &kept["stalls"];
        Some(Row {
            fault: super::FAULTS.into_iter().find(|fault| kept["fault"] == fault.name())?,
            faults: number(&kept["faults"])?,
            seconds: number(&kept["seconds"])?,
            counts: kept["counts"].as_array()?.iter().map(count).collect::<Option<_>>()?,
            found: kept["found"].clone(),
            stalls: Stalls {
                count: usize::try_from(number(&stalls[0])?).ok()?,
                longest_ms: number(&stalls[1])?,
                excess_ms: number(&stalls[2])?,
                excess_began_ms: number(&stalls[3])?,
                beyond_partition_ms: number(&stalls[4])?,
            },
            wrong: kept["wrong"]
                .as_array()?
                .iter()
                .map(|wrong| wrong.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
        })
    }

    /// There is nothing to judge.
    pub(super) fn failed(&mut self, said: String) {
        self.wrong.push(said);
    }

    /// Takes what `rohrpost verify` has found. `out_ms`: the longest time that the cluster itself took no writes of a partition.
    pub(super) fn judge(&mut self, found: &Value, stalls: Stalls, out_ms: u64) {
        self.found = found.clone();
        self.stalls = stalls;
        if self.found["checked"] != true {
            self.wrong.push("the topic could not be read".to_owned());
        }
        if let Some(broken) = self.found["broken"].as_array().filter(|broken| !broken.is_empty()) {
            let examples = self.found["examples"].as_array().cloned().unwrap_or_default();
            self.wrong.push(format!("broken promises: {broken:?}, for example {examples:?}"));
        }
        if self.count("retries") == 0 {
            self.wrong.push("no retry happened: nothing was tested".to_owned());
        }
        if self.fault.moves_leaders() && self.count("leader_moves") == 0 {
            self.wrong.push("no leader moved: nothing was tested".to_owned());
        }
        let failed = self.count("not_written") + self.count("unknown") + self.count("refused");
        if self.fault.all_acknowledged() && failed > 0 && out_ms < TIME_ENOUGH_MS {
            self.wrong.push(format!("{failed} records failed, and had time enough"));
        }
        if self.fault.fails_records() && failed == 0 {
            self.wrong.push("no record failed: nothing was tested".to_owned());
        }
    }

    /// How long the producer stood still after the cluster took writes again, if that is too long.
    pub fn too_slow(&self) -> Option<String> {
        let Stalls { excess_ms, excess_began_ms, .. } = self.stalls;
        (excess_ms > EXCESS_MAX_MS).then(|| {
            format!("stood still {excess_ms} ms longer than the cluster, in the stall that began at {excess_began_ms}")
        })
    }

    /// Records that have an outcome.
    pub fn records(&self) -> u64 {
        self.count("records")
    }

    fn count(&self, name: &str) -> u64 {
        self.found[name].as_u64().unwrap_or(0)
    }

    /// In a line.
    pub fn summary(&self) -> String {
        let mut text = format!("{}: {} faults in {} s", self.fault.name(), self.faults, self.seconds);
        for name in [
            "records",
            "acked",
            "not_written",
            "unknown",
            "unknown_present",
            "gone_by_command",
            "retries",
            "epoch_bumps",
            "leader_moves",
            "lost",
            "duplicated",
            "reordered",
            "falsely_failed",
            "wrongly_placed",
        ] {
            let _ = write!(text, ", {name} {}", self.count(name));
        }
        let Stalls { count, longest_ms, beyond_partition_ms, excess_ms, .. } = self.stalls;
        let _ = write!(
            text,
            "; {count} stalls, longest {longest_ms} ms, {beyond_partition_ms} ms longer than its partition's, {excess_ms} ms longer than the cluster's"
        );
        for (fault, count) in &self.counts {
            let _ = write!(text, "; {} {count}", fault.name());
        }
        for wrong in self.wrong.iter().cloned().chain(self.too_slow()) {
            let _ = write!(text, "\n  WRONG: {wrong}");
        }
        text
    }
}

/// The rows as tables in Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | times | records | retries | epoch bumps | leader moves | longest stall, ms | beyond its partition's own, ms | beyond the cluster's own, ms \
         | not written | unknown (of these in the log) |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} ({}) |",
            row.fault.name(),
            row.faults,
            row.count("records"),
            row.count("retries"),
            row.count("epoch_bumps"),
            row.count("leader_moves"),
            row.stalls.longest_ms,
            row.stalls.beyond_partition_ms,
            row.stalls.excess_ms,
            row.count("not_written") + row.count("refused"),
            row.count("unknown"),
            row.count("unknown_present"),
        );
    }
    text.push_str(
        "\n| fault | lost | duplicated | reordered | falsely failed | wrongly placed | without an outcome, told twice or out of turn |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.fault.name(),
            row.count("lost"),
            row.count("duplicated"),
            row.count("reordered"),
            row.count("falsely_failed"),
            row.count("wrongly_placed"),
            row.count("untold") + row.count("told_twice") + row.count("told_out_of_turn"),
        );
    }
    let records: u64 = rows.iter().map(Row::records).sum();
    let _ = writeln!(text, "\n{records} records in all.");
    for row in rows.iter().filter(|row| !row.counts.is_empty()) {
        let counts: Vec<String> =
            row.counts.iter().map(|(fault, count)| format!("{} {count}", fault.name())).collect();
        let _ = writeln!(text, "\nIn `{}`: {}.", row.fault.name(), counts.join(", "));
    }
    for row in rows {
        for wrong in row.wrong.iter().cloned().chain(row.too_slow()) {
            let _ = writeln!(text, "\n**{}: {wrong}**", row.fault.name());
        }
    }
    text
}
