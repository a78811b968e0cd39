//! Tables in the documentation that a run makes: each row is held against what the run found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::clients::{Cell, ForeignClient, Partitioner, Round};
use crate::duel::Difference;
use crate::{CODECS, root};

/// Set: rows are written instead of compared.
const WRITE: &str = "ROHRPOST_WRITE_COMPATIBILITY";

/// What a client is asked beside writing and reading, in the order of the table.
const QUESTIONS: [&str; 6] = ["partitions", "ends", "time", "config", "cluster", "delete"];

/// The row of a client's round.
pub fn row(client: &ForeignClient, round: &Round) -> String {
    let cell = |name: &str| match round.cells.get(name) {
        Some(Cell::Yes) => "yes",
        Some(Cell::No(_)) => "no",
        Some(Cell::Absent) | None => "\u{2013}",
    };
    let mut cells = vec![client.name.to_owned(), round.version.clone(), client.runtime.to_owned()];
    cells.push(cell("create").to_owned());
    cells.extend(CODECS.iter().map(|codec| cell(codec).to_owned()));
    cells.push(cell("idempotent").to_owned());
    let keys = match client.partitioner {
        Partitioner::Murmur2 => "murmur2",
        Partitioner::Crc32 => "CRC-32",
        Partitioner::Caller => "the caller",
    };
    cells.push(keys.to_owned());
    cells.push(cell("reads back").to_owned());
    cells.push(cell("reads ours").to_owned());
    let answered: Vec<&str> = QUESTIONS.into_iter().filter(|name| cell(name) == "yes").collect();
    let refused: Vec<&str> = QUESTIONS.into_iter().filter(|name| cell(name) == "no").collect();
    let all = answered.len() == QUESTIONS.len();
    cells.push(if all { "all".to_owned() } else { answered.join(", ") });
    let mut notes: Vec<String> = Vec::new();
    notes.extend((!client.notes.is_empty()).then(|| client.notes.to_owned()));
    notes.extend((!refused.is_empty()).then(|| format!("not answered: {}", refused.join(", "))));
    let left_out: Vec<&str> = round.left_out.iter().map(String::as_str).collect();
    notes.extend((!left_out.is_empty()).then(|| format!("left out: {}", left_out.join("; "))));
    cells.push(notes.join(". "));
    format!("| {} |", cells.join(" | "))
}

/// Holds a row against the one in a committed document that begins with the same cell, or writes it there if so asked.
///
/// # Panics
/// If there is none, or it says something else.
pub fn check_row(document: &str, row: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let (path, text) = read(document);
    let start = first_cell(row);
    let line = text.lines().find(|line| first_cell(line) == start);
    if std::env::var_os(WRITE).is_some() {
        let line =
            line.unwrap_or_else(|| panic!("{document} has no row for {start}: add an empty one first"));
        std::fs::write(&path, text.replace(line, row)).expect("the document can be written");
        return;
    }
    assert_eq!(
        line,
        Some(row),
        "{document} says something else than this run; if the run is right: {WRITE}=1 cargo test -p rohrpost-interop"
    );
}

/// The first cells of the table under a heading of a document.
pub fn names(document: &str, heading: &str) -> Vec<String> {
    let (_, text) = read(document);
    rows_under(&text, heading).map(|row| first_cell(row).to_owned()).collect()
}

/// Holds the differences that a run found against the document's table of them, whose last column says why each is as it is; or
/// writes them there if so asked, with the reasons that are there already.
///
/// # Panics
/// If one is not listed, is listed and did not happen, or has no reason.
pub fn check_differences(document: &str, found: &BTreeMap<Difference, BTreeMap<String, Vec<i16>>>) {
    let heading = "## Bad input";
    let (path, text) = read(document);
    let reasons: BTreeMap<String, String> = rows_under(&text, heading)
        .filter_map(|row| {
            let (rest, why) = row.strip_suffix(" |")?.rsplit_once(" | ")?;
            Some((rest.to_owned(), why.to_owned()))
        })
        .collect();
    let mut rows: BTreeMap<String, String> = BTreeMap::new();
    for (difference, inputs) in found {
        let inputs: Vec<String> =
            inputs.iter().map(|(input, versions)| with_versions(input, versions)).collect();
        let Difference { api, kafka, ours } = difference;
        let row = format!("| {api} | {} | {kafka} | {ours}", inputs.join("; "));
        // a reason goes with the difference, whatever inputs show it
        let same = format!(" | {kafka} | {ours}");
        let known =
            reasons.iter().find(|(row, _)| row.starts_with(&format!("| {api} | ")) && row.ends_with(&same));
        rows.insert(row, known.map_or_else(String::new, |(_, why)| why.trim().to_owned()));
    }
    if std::env::var_os(WRITE).is_some() {
        let lines: Vec<String> = rows.iter().map(|(row, why)| format!("{row} | {why} |")).collect();
        let old: Vec<&str> = rows_under(&text, heading).collect();
        let text = match (old.first(), old.last()) {
            (Some(first), Some(last)) => {
                let start = text.find(first).expect("it is there");
                let end = text.rfind(last).expect("it is there") + last.len();
                format!("{}{}{}", &text[..start], lines.join("\n"), &text[end..])
            }
            _ => panic!("{document} has no row under {heading}: add an empty one first"),
        };
        std::fs::write(&path, text).expect("the document can be written");
        return;
    }
    let new: Vec<&String> = rows.keys().filter(|row| !reasons.contains_key(*row)).collect();
    let gone: Vec<&String> = reasons.keys().filter(|row| !rows.contains_key(*row)).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "{document}: {WRITE}=1 writes the table anew.\nnot listed:\n{new:#?}\nlisted, but did not happen:\n{gone:#?}"
    );
    for (row, why) in &rows {
        assert!(!why.is_empty(), "{document} does not say why: {row}");
    }
}

/// An input and, where it has any, the versions in which it was sent.
fn with_versions(input: &str, versions: &[i16]) -> String {
    let versions: Vec<String> =
        versions.iter().filter(|&&version| version != -1).map(i16::to_string).collect();
    if versions.is_empty() { input.to_owned() } else { format!("{input} ({})", versions.join(", ")) }
}

fn rows_under<'t>(text: &'t str, heading: &str) -> impl Iterator<Item = &'t str> {
    let section = text.split_once(heading).map_or("", |(_, section)| section);
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    section
        .lines()
        .skip_while(|line| !line.starts_with("|--"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
}

fn read(document: &str) -> (PathBuf, String) {
    let path = root().join(document);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
    (path, text)
}

fn first_cell(row: &str) -> &str {
    row.strip_prefix('|').and_then(|row| row.split('|').next()).unwrap_or_default().trim()
}
