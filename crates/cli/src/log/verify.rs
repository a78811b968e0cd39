//! `rohrpost log verify`: a data directory checked, as a list of problems and a table of partitions.

use std::collections::HashSet;
use std::path::Path;

use rohrpost_log::inspect::{
    Finding, Kind, PartitionSummary, Place, Problem, Severity, Totals, VerifyOptions, holder,
    partition_of_dir, verify,
};

use super::args::Verify;
use super::metadata::compacted_topics;
use super::output::{Lines, Object};
use crate::failure::Failure;
use crate::terminal;
use crate::topics::table;

pub(crate) fn run(options: &Verify) -> Result<(), Failure> {
    let dir = &options.dir;
    let shown = dir.display();
    if dir.is_file() {
        return Err(Failure::start(format!(
            "{shown} is a file: give the data directory, or `rohrpost log dump` the file"
        )));
    }
    if dir.is_dir() && !is_data_dir(dir) {
        let is_partition =
            dir.join("leader-epoch-checkpoint").exists() || dir.join("partition.metadata").exists();
        let hint = if is_partition { "; it is one partition's: give the directory above it" } else { "" };
        return Err(Failure::start(format!(
            "{shown} is no data directory: it has neither meta.properties nor partitions{hint}"
        )));
    }
    if holder(dir) == Some(true) {
        terminal::note(&format!(
            "a broker holds {shown}: what it is just writing is not taken for damage; stop it for a full check"
        ));
    }
    let mut report = Report {
        lines: Lines::new(),
        json: options.json,
        explained: HashSet::new(),
        rows: Vec::new(),
        failed: None,
    };
    let settings = VerifyOptions { compacted: compacted_topics(dir) };
    let totals = verify(dir, &settings, &mut |finding| report.take(finding))
        .map_err(|error| Failure::start(format!("cannot read {shown}: {error}")))?;
    if let Some(failure) = report.failed.take() {
        return Err(failure);
    }
    report.end(&shown.to_string(), &totals)?;
    match (totals.damaged, totals.unreadable) {
        (0, 0) => Ok(()),
        (0, unreadable) => Err(Failure::start(format!("{} could not be read", counted(unreadable, "file")))),
        _ => Err(Failure::Told),
    }
}

/// Whether there is anything to check: a list of complaints about somebody's home directory helps nobody.
fn is_data_dir(dir: &Path) -> bool {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    dir.join("meta.properties").exists()
        || names
            .filter(|entry| entry.path().is_dir())
            .any(|entry| entry.file_name().to_str().is_some_and(|name| partition_of_dir(name).is_some()))
}

struct Report {
    lines: Lines,
    json: bool,
    /// Kinds of problems whose meaning was told.
    explained: HashSet<Kind>,
    rows: Vec<Vec<String>>,
    failed: Option<Failure>,
}

impl Report {
    fn take(&mut self, finding: Finding) {
        if self.failed.is_some() {
            return;
        }
        let told = match finding {
            Finding::Problem(problem) => self.problem(&problem),
            Finding::Partition(partition) => self.partition(&partition),
        };
        self.failed = told.err();
    }

    fn problem(&mut self, problem: &Problem) -> Result<(), Failure> {
        if self.json {
            let object = Object::of("problem").field("path", &problem.path);
            let object = match problem.place {
                Place::Byte(position) => object.field("position", position),
                Place::Line(line) => object.field("line", line),
                Place::Whole => object,
            };
            let object = object
                .field("kind", problem.kind.name())
                .field("severity", severity(problem.severity))
                .field("what", &problem.what)
                .field("meaning", problem.kind.meaning())
                .field("advice", problem.kind.advice());
            return self.lines.json(object);
        }
        let place = match problem.place {
            Place::Whole => String::new(),
            place => format!(", {place}"),
        };
        self.lines.text(&format!(
            "{}: {}{place}: {} [{}]",
            problem.severity.name(),
            problem.path,
            problem.what,
            problem.kind.name()
        ))?;
        // a thousand problems of one kind need one explanation
        if problem.severity > Severity::Note && self.explained.insert(problem.kind) {
            self.lines.text(&format!("    meaning: {}", problem.kind.meaning()))?;
            self.lines.text(&format!("    to do: {}", problem.kind.advice()))?;
        }
        Ok(())
    }

    fn partition(&mut self, partition: &PartitionSummary) -> Result<(), Failure> {
        if self.json {
            return self.lines.json(
                Object::of("partition")
                    .field("topic", &partition.topic)
                    .field("partition", partition.partition)
                    .field("start_offset", partition.start_offset)
                    .field("end_offset", partition.end_offset)
                    .field("segments", partition.segments)
                    .field("bytes", partition.bytes)
                    .field("batches", partition.batches)
                    .field("records", partition.records)
                    .field("problems", partition.problems),
            );
        }
        let state = match (partition.problems, partition.worst) {
            (0, _) | (_, None) => "sound".to_owned(),
            (problems, Some(worst)) => format!("{problems} ({})", worst.name()),
        };
        self.rows.push(vec![
            partition.path.clone(),
            partition.start_offset.to_string(),
            partition.end_offset.to_string(),
            partition.segments.to_string(),
            partition.bytes.to_string(),
            partition.batches.to_string(),
            partition.records.to_string(),
            state,
        ]);
        Ok(())
    }

    fn end(&mut self, dir: &str, totals: &Totals) -> Result<(), Failure> {
        if self.json {
            let object = Object::of("total")
                .field("dir", dir)
                .field("partitions", totals.partitions)
                .field("segments", totals.segments)
                .field("bytes", totals.bytes)
                .field("batches", totals.batches)
                .field("records", totals.records)
                .field("damaged", totals.damaged)
                .field("repaired", totals.repaired)
                .field("notes", totals.notes)
                .field("unreadable", totals.unreadable)
                .field("clean_shutdown", totals.is_clean)
                .field("held_by_a_broker", totals.is_held);
            self.lines.json(object)?;
            return self.lines.flush();
        }
        if !self.rows.is_empty() {
            let header = ["PARTITION", "START", "END", "SEGMENTS", "BYTES", "BATCHES", "RECORDS", "PROBLEMS"];
            self.rows.insert(0, header.map(str::to_owned).to_vec());
            self.lines.text(table(&self.rows).trim_end())?;
        }
        let stop = match (totals.is_held, totals.is_clean) {
            (Some(true), _) => "a broker is at work",
            (_, true) => "stopped cleanly",
            (_, false) => "not stopped cleanly: the next start recovers it",
        };
        let mut verdict = Vec::new();
        for (count, word) in [
            (totals.damaged, "damage"),
            (totals.unreadable, "unreadable"),
            (totals.repaired, "repaired at the next start"),
            (totals.notes, "noted"),
        ] {
            if count > 0 {
                verdict.push(format!("{count} {word}"));
            }
        }
        let verdict = if verdict.is_empty() { "sound".to_owned() } else { verdict.join(", ") };
        self.lines.text(&format!(
            "{dir}: {}, {}, {}; {stop}; {verdict}",
            counted(totals.partitions, "partition"),
            counted(totals.segments, "segment"),
            counted(totals.records, "record")
        ))?;
        self.lines.flush()
    }
}

/// One word for programs.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Repaired => "repaired",
        Severity::Damage => "damage",
        Severity::Unreadable => "unreadable",
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
