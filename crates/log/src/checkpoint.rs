//! Checkpoint files: small texts that say how far something is known to have come (D1, D2).
//!
//! A data directory has three of them (recovery points, high watermarks, log starts); each partition has one for its
//! leader epochs. All are replaced as a whole, and a damaged one counts as absent: what it held is rebuilt.

use std::collections::BTreeMap;

use crate::error::LogError;
use crate::storage::{self, Storage};

/// Name of the file with recovery points: offsets up to which a partition is known to be synced.
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// Name of the file with high watermarks.
pub(crate) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// Name of the file with log start offsets that lie above the base of the first segment.
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";

/// No sane checkpoint is larger: a million partitions with the longest names.
const LIMIT: u64 = 512 << 20;

/// Offsets by (topic, partition).
pub type Offsets = BTreeMap<(String, i32), i64>;

/// Reads a checkpoint of a data directory. A missing file is empty; a malformed one too, after a warning (D1).
pub(crate) fn read_offsets(storage: &dyn Storage, path: &str) -> Result<Offsets, LogError> {
    let Some(text) = read_text(storage, path)? else { return Ok(Offsets::new()) };
    let parsed = parse(&text, |line| {
        let mut fields = line.split(' ');
        let topic = fields.next().filter(|t| !t.is_empty())?;
        let partition = fields.next()?.parse().ok().filter(|p| *p >= 0)?;
        let offset = fields.next()?.parse().ok()?;
        fields.next().is_none().then(|| ((topic.to_owned(), partition), offset))
    });
    match parsed {
        Some(entries) => Ok(entries.into_iter().collect()),
        None => {
            tracing::warn!(path, "malformed checkpoint file counts as absent");
            Ok(Offsets::new())
        }
    }
}

/// Writes a checkpoint of a data directory, durably (D2).
pub(crate) fn write_offsets<'a>(
    storage: &dyn Storage,
    path: &str,
    entries: impl IntoIterator<Item = (&'a str, i32, i64)>,
) -> Result<(), LogError> {
    let lines = entries.into_iter().map(|(topic, partition, offset)| format!("{topic} {partition} {offset}"));
    write_text(storage, path, &format_lines(lines))
}

/// The text of a checkpoint: version 0, number of entries, one entry a line (D1).
pub(crate) fn format_lines(lines: impl Iterator<Item = String>) -> String {
    // D1
    let mut body = String::new();
    let mut count = 0;
    for line in lines {
        body.push_str(&line);
        body.push('\n');
        count += 1;
    }
    format!("0\n{count}\n{body}")
}

/// The entries of a checkpoint. `None`: version, count or a line is wrong, so nothing in it can be trusted (D1).
pub(crate) fn parse<T>(text: &str, mut entry: impl FnMut(&str) -> Option<T>) -> Option<Vec<T>> {
    // D1
    let mut lines = text.lines();
    if lines.next()? != "0" {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let mut entries = Vec::new();
    for line in lines {
        entries.push(entry(line)?);
    }
    (entries.len() == count).then_some(entries)
}

/// A whole text file; `None` if missing. Bytes that are not UTF-8 give a text that no parser accepts.
pub(crate) fn read_text(storage: &dyn Storage, path: &str) -> Result<Option<String>, LogError> {
    match storage::read_small(storage, path, LIMIT) {
        Ok(bytes) => Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Ok(Some(String::new())),
        Err(e) => Err(LogError::storage("reading", path, e)),
    }
}

pub(crate) fn write_text(storage: &dyn Storage, path: &str, text: &str) -> Result<(), LogError> {
    storage::replace_small(storage, path, text.as_bytes()).map_err(|e| LogError::storage("writing", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Fault, MemoryStorage, OpenMode};

    fn put(storage: &MemoryStorage, text: &str) {
        let file = storage.open("c", OpenMode::Truncate).unwrap();
        file.write_at(0, text.as_bytes()).unwrap();
    }

    #[test]
    fn offsets_come_back_as_they_were_written() {
        // D1
        let storage = MemoryStorage::new();
        write_offsets(&storage, "c", [("orders", 3, 17), ("a.b-c", 0, 1 << 40)]).unwrap();
        let text = read_text(&storage, "c").unwrap().unwrap();
        assert_eq!(text, "0\n2\norders 3 17\na.b-c 0 1099511627776\n");
        let read = read_offsets(&storage, "c").unwrap();
        assert_eq!(read[&("orders".to_owned(), 3)], 17);
        assert_eq!(read[&("a.b-c".to_owned(), 0)], 1 << 40);
    }

    #[test]
    fn a_malformed_checkpoint_counts_as_absent() {
        // D1
        let storage = MemoryStorage::new();
        assert!(read_offsets(&storage, "c").unwrap().is_empty());
        for text in
            ["", "0\n", "1\n1\na 0 1\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na 0 1 2\n", "0\n1\na -1 1\n"]
        {
            put(&storage, text);
            assert!(read_offsets(&storage, "c").unwrap().is_empty(), "{text:?}");
        }
        put(&storage, "0\n1\na 0 1\n");
        assert_eq!(read_offsets(&storage, "c").unwrap().len(), 1);
    }

    #[test]
    fn a_crash_leaves_the_old_or_the_new_checkpoint() {
        // D2
        for nth in 1..=2 {
            let storage = MemoryStorage::new();
            write_offsets(&storage, "c", [("a", 0, 1)]).unwrap();
            storage.inject(Fault::FailSync(nth));
            assert!(write_offsets(&storage, "c", [("a", 0, 2)]).is_err());
            storage.power_loss();
            assert_eq!(read_offsets(&storage, "c").unwrap()[&("a".to_owned(), 0)], 1);
        }
        let storage = MemoryStorage::new();
        write_offsets(&storage, "c", [("a", 0, 1)]).unwrap();
        write_offsets(&storage, "c", [("a", 0, 2)]).unwrap();
        storage.power_loss();
        assert_eq!(read_offsets(&storage, "c").unwrap()[&("a".to_owned(), 0)], 2);
    }
}
