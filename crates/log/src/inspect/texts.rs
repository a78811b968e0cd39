//! The small text files of a data directory, line by line, so that what is wrong can be named by its line (D1).

use std::io;

use super::source::Source;

/// No sane text of a data directory is longer; a longer one is not read.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// A line that is not what it should be. Lines count from 1; one after the last stands for a line that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Which.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// A line of an offset checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointLine {
    /// Its line.
    pub line: usize,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// A line of the leader epoch file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochLine {
    /// Its line.
    pub line: usize,
    /// The epoch.
    pub epoch: i32,
    /// Its first offset.
    pub start_offset: i64,
}

/// A whole text. `Err` inside: it is too long, or no UTF-8.
///
/// # Errors
/// The source's.
pub fn read_text(source: &dyn Source) -> io::Result<Result<String, BadLine>> {
    let len = source.len()?;
    if len > TEXT_BYTES_MAX {
        return Ok(Err(bad(1, format!("the file has {len} bytes, more than {TEXT_BYTES_MAX}"))));
    }
    let mut bytes = vec![0; len as usize];
    let read = source.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(String::from_utf8(bytes).map_err(|error| {
        let upto = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..upto].iter().filter(|byte| **byte == b'\n').count();
        bad(line, "these bytes are no UTF-8 text".to_owned())
    }))
}

/// The lines of an offset checkpoint. An empty text is valid (`cleaner-offset-checkpoint` may be).
///
/// # Errors
/// The first line that is wrong: then the whole file counts as absent (D1).
pub fn parse_offsets(text: &str) -> Result<Vec<CheckpointLine>, BadLine> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    checkpoint(text, "<topic> <partition> <offset>", |line, text| {
        let mut fields = text.split(' ');
        let topic = fields.next().filter(|topic| !topic.is_empty())?.to_owned();
        let partition = fields.next()?.parse().ok().filter(|partition| *partition >= 0)?;
        let offset = fields.next()?.parse().ok()?;
        fields.next().is_none().then_some(CheckpointLine { line, topic, partition, offset })
    })
}

/// The lines of a leader epoch file, which rise in both columns.
///
/// # Errors
/// The first line that is wrong.
pub fn parse_epochs(text: &str) -> Result<Vec<EpochLine>, BadLine> {
    let lines = checkpoint(text, "<epoch> <start offset>", |line, text| {
        let (epoch, start) = text.split_once(' ')?;
        let epoch = epoch.parse().ok().filter(|epoch| *epoch >= 0)?;
        let start_offset = start.parse().ok().filter(|offset| *offset >= 0)?;
        Some(EpochLine { line, epoch, start_offset })
    })?;
    for pair in lines.windows(2) {
        if pair[1].epoch <= pair[0].epoch || pair[1].start_offset <= pair[0].start_offset {
            return Err(bad(
                pair[1].line,
                format!(
                    "epoch {} from offset {} follows epoch {} from offset {}: both must rise",
                    pair[1].epoch, pair[1].start_offset, pair[0].epoch, pair[0].start_offset
                ),
            ));
        }
    }
    Ok(lines)
}

/// Version 0, number of entries, one entry a line (D1).
fn checkpoint<T>(
    text: &str,
    form: &str,
    entry: impl Fn(usize, &str) -> Option<T>,
) -> Result<Vec<T>, BadLine> {
    // D1
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    match lines.next() {
        Some((_, "0")) => {}
        Some((line, other)) => return Err(bad(line, format!("the version is {other:?}, not 0"))),
        None => return Err(bad(1, "the file is empty".to_owned())),
    }
    let Some((_, stated)) = lines.next() else {
        return Err(bad(2, "the number of entries is missing".to_owned()));
    };
    let Ok(count) = stated.parse::<usize>() else {
        return Err(bad(2, format!("{stated:?} is no number of entries")));
    };
    let mut entries = Vec::new();
    let mut last = 2;
    for (line, text) in lines {
        entries.push(entry(line, text).ok_or_else(|| bad(line, format!("{text:?} is not `{form}`")))?);
        last = line;
    }
    if entries.len() != count {
        return Err(bad(last + 1, format!("line 2 says {count} entries, {} are there", entries.len())));
    }
    Ok(entries)
}

/// The topic id in `partition.metadata`, 22 characters.
///
/// # Errors
/// The line that is wrong.
pub fn parse_partition_metadata(text: &str) -> Result<String, BadLine> {
    let mut lines = text.lines();
    match lines.next() {
        Some(line) if line.trim() == "version: 0" => {}
        other => {
            return Err(bad(1, format!("{:?} is not `version: 0`", other.unwrap_or_default())));
        }
    }
    let line = lines.next().unwrap_or_default();
    let id = line.strip_prefix("topic_id:").map(str::trim).filter(|id| is_uuid(id));
    id.map(str::to_owned).ok_or_else(|| bad(2, format!("{line:?} is not `topic_id: <22 characters>`")))
}

/// The properties of `meta.properties` with their lines, in order. Java's escapes of `=` and `:` are undone.
///
/// # Errors
/// The first line that is wrong, or that a needed key is missing.
pub fn meta_properties(text: &str) -> Result<Vec<(usize, String, String)>, BadLine> {
    let mut found = Vec::new();
    let mut last = 0;
    for (at, line) in text.lines().enumerate() {
        last = at + 1;
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', '!']) {
            continue;
        }
        let Some((key, value)) = trimmed.split_once(['=', ':']) else {
            return Err(bad(at + 1, format!("{line:?} is not `key=value`")));
        };
        let value = value.trim().replace("\\=", "=").replace("\\:", ":");
        found.push((at + 1, key.trim().to_owned(), value));
    }
    let of =
        |key: &str| found.iter().find(|(_, found, _)| found == key).map(|(line, _, value)| (*line, value));
    match of("version") {
        Some((_, value)) if value == "1" => {}
        Some((line, value)) => return Err(bad(line, format!("version={value} is not known, only 1 is"))),
        None => return Err(bad(last + 1, "version is missing".to_owned())),
    }
    for key in ["cluster.id", "node.id"] {
        if of(key).is_none() {
            return Err(bad(last + 1, format!("{key} is missing")));
        }
    }
    if let Some((line, value)) = of("node.id")
        && value.parse::<i32>().is_err()
    {
        return Err(bad(line, format!("node.id={value} is not a number")));
    }
    match of("directory.id") {
        Some((line, value)) if !is_uuid(value) => {
            Err(bad(line, format!("directory.id={value} is not 22 characters of URL-safe base64")))
        }
        _ => Ok(found),
    }
}

/// The broker epoch in `.kafka_cleanshutdown`; `None` in Kafka's first form of the file, which was empty.
///
/// # Errors
/// If it is something else.
pub fn parse_clean_shutdown(text: &str) -> Result<Option<i64>, BadLine> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let epoch = text.split_once("\"brokerEpoch\":").and_then(|(_, rest)| {
        let rest = rest.trim_start();
        let end = rest.find(|c: char| c != '-' && !c.is_ascii_digit())?;
        rest[..end].parse().ok()
    });
    match epoch {
        Some(epoch) => Ok(Some(epoch)),
        None => Err(bad(1, "there is no `\"brokerEpoch\":<number>`".to_owned())),
    }
}

fn is_uuid(text: &str) -> bool {
    // D4
    text.len() == 22 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn bad(line: usize, what: String) -> BadLine {
    BadLine { line, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_line_is_named() {
        // D1
        let line = |text: &str| parse_offsets(text).unwrap_err().line;
        assert_eq!(line("1\n0\n"), 1);
        assert_eq!(line("0\n"), 2);
        assert_eq!(line("0\nmany\n"), 2);
        assert_eq!(line("0\n2\na 0 1\n"), 4);
        assert_eq!(line("0\n2\na 0 1\nb 0\n"), 4);
        assert_eq!(line("0\n1\na -1 1\n"), 3);
        assert_eq!(parse_offsets("0\n1\na 0 1\n").unwrap().len(), 1);
        assert_eq!(parse_offsets("").unwrap().len(), 0);
        assert_eq!(parse_epochs("0\n2\n1 5\n1 6\n").unwrap_err().line, 4);
        assert_eq!(parse_epochs("0\n2\n1 5\n2 5\n").unwrap_err().line, 4);
        assert_eq!(parse_epochs("0\n2\n1 5\n2 6\n").unwrap().len(), 2);
        assert_eq!(parse_partition_metadata("version: 1\n").unwrap_err().line, 1);
        assert_eq!(parse_partition_metadata("version: 0\ntopic_id: short").unwrap_err().line, 2);
        assert_eq!(meta_properties("version=1\nnode.id=x\ncluster.id=c\n").unwrap_err().line, 2);
        assert_eq!(meta_properties("#c\nversion=1\n").unwrap_err().line, 3);
        assert_eq!(parse_clean_shutdown("{\"version\":0,\"brokerEpoch\":11}").unwrap(), Some(11));
        assert_eq!(parse_clean_shutdown("").unwrap(), None);
        assert_eq!(parse_clean_shutdown("hello").unwrap_err().line, 1);
        let long = vec![0xff, b'\n'];
        assert_eq!(read_text(&long).unwrap().unwrap_err().line, 1);
    }
}
