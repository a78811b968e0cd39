//! Tables in the documentation that a run makes: each row is held against what the run found.

use std::path::PathBuf;
use std::sync::Mutex;

use crate::clients::{Cell, ForeignClient, Partitioner, Round};
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

/// The first cells of a document's tables, without headings.
pub fn names(document: &str) -> Vec<String> {
    let (_, text) = read(document);
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    let names = rows.windows(2).filter(|rows| !rows[0].starts_with("|--") && !rows[1].starts_with("|--"));
    let mut names: Vec<String> = names.map(|rows| first_cell(rows[0]).to_owned()).collect();
    names.extend(rows.last().map(|row| first_cell(row).to_owned()));
    names
}

fn read(document: &str) -> (PathBuf, String) {
    let path = root().join(document);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
    (path, text)
}

fn first_cell(row: &str) -> &str {
    row.strip_prefix('|').and_then(|row| row.split('|').next()).unwrap_or_default().trim()
}
