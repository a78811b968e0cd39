//! Outcomes, one line each, as `--outcomes` keeps them and `--check` reads them.
//!
//! ```text
//! # rohrpost-verify 1
//! # topic check
//! …
//! 3-1041 acked 3 1041 1750000000123
//! 3-1042 unknown 3 - 1750000120456 NETWORK_EXCEPTION
//! # end 2100 retries, 1 epoch bumps, 6 leader moves
//! ```
//!
//! The id is the record's partition and its sequence number in it; lines stand in the order in which the outcomes were told. Lines
//! that begin with `#` say what the checker must know: the head before the first outcome, `# end` after the last one. A file
//! without its end is that of a run that was killed: records without a line are then nobody's fault.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use rohrpost_protocol::Uuid;
use serde::Serialize;

use super::promise::Promise;
use crate::failure::Failure;

const FIRST_LINE: &str = "# rohrpost-verify 1";
/// Of an outcome's line, after its id. The last line of the head.
const COLUMNS: &str = "outcome partition offset time-ms reason";

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Acknowledged.
    Acked,
    /// acks=0: in the socket.
    HandedOver,
    /// Failed, and said to be certainly not in the log.
    NotWritten,
    /// Failed, and perhaps in the log.
    Unknown,
    /// Never accepted by the producer: certainly not in the log.
    Refused,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Acked, "acked"),
    (Kind::HandedOver, "handed_over"),
    (Kind::NotWritten, "not_written"),
    (Kind::Unknown, "unknown"),
    (Kind::Refused, "refused"),
];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// One record's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Where the record was sent to, and its sequence number there.
    pub(super) partition: i32,
    pub(super) sequence: u64,
    pub(super) kind: Kind,
    /// Where the producer says that it is.
    pub(super) placed: Option<i32>,
    pub(super) offset: Option<i64>,
    /// When it was told, in milliseconds since 1970.
    pub(super) time_ms: u64,
    /// Of a record that failed.
    pub(super) reason: Option<String>,
}

impl Outcome {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{}-{} {} ", self.partition, self.sequence, self.kind.name())?;
        match self.placed {
            Some(partition) => write!(out, "{partition} ")?,
            None => write!(out, "- ")?,
        }
        match self.offset {
            Some(offset) => write!(out, "{offset} {}", self.time_ms)?,
            None => write!(out, "- {}", self.time_ms)?,
        }
        if let Some(reason) = &self.reason {
            write!(out, " {reason}")?;
        }
        out.write_all(b"\n")
    }

    fn parse(line: &str) -> Option<Outcome> {
        let mut fields = line.splitn(6, ' ');
        let (partition, sequence) = fields.next()?.split_once('-')?;
        let name = fields.next()?;
        Some(Outcome {
            partition: partition.parse().ok()?,
            sequence: sequence.parse().ok()?,
            kind: KINDS.iter().find(|(_, known)| *known == name)?.0,
            placed: optional(fields.next()?)?,
            offset: optional(fields.next()?)?,
            time_ms: fields.next()?.parse().ok()?,
            reason: fields.next().map(str::to_owned),
        })
    }
}

fn optional<T: std::str::FromStr>(field: &str) -> Option<Option<T>> {
    if field == "-" { Some(None) } else { field.parse().ok().map(Some) }
}

/// What a run was, as far as the checker must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) run: u64,
    pub(super) topic: String,
    pub(super) topic_id: Uuid,
    pub(super) promise: Promise,
    /// When it began to send, in milliseconds since 1970.
    pub(super) begin_ms: u64,
    /// Where each partition ended before the first record of the run.
    pub(super) start_offsets: Vec<i64>,
}

/// What a producer went through, as it says itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Troubles {
    /// Records put back to be sent again, counted each time.
    pub(super) retries: u64,
    pub(super) epoch_bumps: u64,
    /// A partition had another leader, or the same one in a new epoch.
    pub(super) leader_moves: u64,
}

impl Troubles {
    fn line(self) -> String {
        let Troubles { retries, epoch_bumps, leader_moves } = self;
        format!("# end {retries} retries, {epoch_bumps} epoch bumps, {leader_moves} leader moves\n")
    }

    fn parse(line: &str) -> Option<Troubles> {
        let line = line.strip_prefix("# end ")?;
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [retries, epoch_bumps, leader_moves] = numbers[..] else { return None };
        let troubles = Troubles { retries, epoch_bumps, leader_moves };
        (troubles.line() == format!("# end {line}\n")).then_some(troubles)
    }
}

impl Head {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{FIRST_LINE}")?;
        writeln!(out, "# run {:016x}", self.run)?;
        writeln!(out, "# topic {}", self.topic)?;
        writeln!(out, "# topic-id {}", self.topic_id)?;
        writeln!(out, "# promise {}", self.promise.names())?;
        writeln!(out, "# begin {}", self.begin_ms)?;
        for (partition, offset) in self.start_offsets.iter().enumerate() {
            writeln!(out, "# start {partition} {offset}")?;
        }
        writeln!(out, "# id {COLUMNS}")
    }
}

/// Keeps outcomes in a file.
pub(super) struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Writer {
    /// Makes the file, so that it is told now and not after minutes of work if that cannot be.
    pub(super) fn create(path: &Path) -> Result<Writer, Failure> {
        let file = File::create(path)
            .map_err(|error| Failure::start(format!("cannot make --outcomes {}: {error}", path.display())))?;
        Ok(Writer { path: path.to_owned(), out: BufWriter::with_capacity(64 * 1024, file) })
    }

    pub(super) fn head(&mut self, head: &Head) -> Result<(), Failure> {
        let result = head.write(&mut self.out).and_then(|()| self.out.flush());
        self.told(result)
    }

    pub(super) fn write(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        let result = outcome.write(&mut self.out);
        self.told(result)
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let result = self.out.flush();
        self.told(result)
    }

    /// All outcomes are written.
    pub(super) fn end(&mut self, troubles: Troubles) -> Result<(), Failure> {
        let result = self.out.write_all(troubles.line().as_bytes()).and_then(|()| self.out.flush());
        self.told(result)
    }

    fn told(&self, result: io::Result<()>) -> Result<(), Failure> {
        result.map_err(|error| {
            Failure::run(format!("cannot write --outcomes {}: {error}", self.path.display()))
        })
    }
}

/// Reads a file of outcomes: its head, then each outcome through `take`, and its end if it has one. `take` is told the head
/// each time; it may be called not at all.
pub(super) fn read(
    path: &Path,
    mut take: impl FnMut(&Head, Outcome) -> Result<(), String>,
) -> Result<(Head, Option<Troubles>), Failure> {
    let wrong = |what: &dyn std::fmt::Display| {
        Failure::start(format!("cannot read --check {}: {what}", path.display()))
    };
    let mut lines = BufReader::new(File::open(path).map_err(|error| wrong(&error))?).lines();
    let mut next = || lines.next().transpose().map_err(|error| wrong(&error));
    if next()?.as_deref() != Some(FIRST_LINE) {
        return Err(wrong(&format!("it does not begin with '{FIRST_LINE}': not a file of --outcomes")));
    }
    let mut run = None;
    let mut topic = None;
    let mut topic_id = None;
    let mut promise = None;
    let mut begin_ms = None;
    let mut start_offsets = Vec::new();
    let mut head: Option<Head> = None;
    let mut number = 1_u64;
    while let Some(line) = next()? {
        number += 1;
        let bad = || wrong(&format!("line {number} is damaged: {line}"));
        if let Some(troubles) = Troubles::parse(&line) {
            let head = head.ok_or_else(|| wrong(&"it ends before its head does"))?;
            return Ok((head, Some(troubles)));
        }
        let Some(said) = line.strip_prefix("# ") else {
            let Some(head) = &head else { return Err(bad()) };
            match Outcome::parse(&line) {
                Some(outcome)
                    if usize::try_from(outcome.partition).is_ok_and(|p| p < head.start_offsets.len()) =>
                {
                    take(head, outcome).map_err(|what| wrong(&format!("line {number}: {what}")))?;
                }
                // the last line of a run that was killed may be cut
                _ if next()?.is_none() => break,
                _ => return Err(bad()),
            }
            continue;
        };
        let Some((key, value)) = said.split_once(' ').filter(|(key, _)| *key != "end") else {
            if next()?.is_none() && head.is_some() {
                break;
            }
            return Err(bad());
        };
        match key {
            "run" => run = Some(u64::from_str_radix(value, 16).map_err(|_| bad())?),
            "topic" => topic = Some(value.to_owned()),
            "topic-id" => topic_id = Some(value.parse().map_err(|_| bad())?),
            "promise" => promise = Some(Promise::parse(value).ok_or_else(bad)?),
            "begin" => begin_ms = Some(value.parse().map_err(|_| bad())?),
            "start" => {
                let (partition, offset) = value.split_once(' ').ok_or_else(bad)?;
                // in order, so that a wrong number cannot ask for memory
                if partition.parse() != Ok(start_offsets.len()) {
                    return Err(bad());
                }
                start_offsets.push(offset.parse().map_err(|_| bad())?);
            }
            "id" if value == COLUMNS => {
                let missing = || wrong(&"its head is not complete");
                head = Some(Head {
                    run: run.ok_or_else(missing)?,
                    topic: topic.clone().ok_or_else(missing)?,
                    topic_id: topic_id.ok_or_else(missing)?,
                    promise: promise.ok_or_else(missing)?,
                    begin_ms: begin_ms.ok_or_else(missing)?,
                    start_offsets: start_offsets.clone(),
                });
            }
            _ => return Err(bad()),
        }
    }
    let head = head.ok_or_else(|| wrong(&"it ends before its head does"))?;
    Ok((head, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TROUBLES: Troubles = Troubles { retries: 2100, epoch_bumps: 1, leader_moves: 6 };

    fn head() -> Head {
        Head {
            run: 0x0123_4567_89ab_cdef,
            topic: "a topic".to_owned(),
            topic_id: Uuid::default(),
            promise: Promise::ALL,
            begin_ms: 1_750_000_000_000,
            start_offsets: vec![0, 17, 4],
        }
    }

    fn outcome(sequence: u64, kind: Kind, offset: Option<i64>, reason: Option<&str>) -> Outcome {
        let reason = reason.map(str::to_owned);
        Outcome { partition: 1, sequence, kind, placed: Some(1), offset, time_ms: 1_750_000_000_123, reason }
    }

    fn outcomes() -> Vec<Outcome> {
        let mut all = vec![
            outcome(0, Kind::Acked, Some(17), None),
            outcome(1, Kind::Acked, None, None),
            outcome(2, Kind::NotWritten, None, Some("EXPIRED after 120000 ms")),
            outcome(3, Kind::Unknown, None, Some("NETWORK_EXCEPTION")),
            outcome(4, Kind::HandedOver, None, None),
            outcome(5, Kind::Refused, None, Some("no room")),
        ];
        all[5].placed = None;
        all
    }

    fn read_text(text: &str) -> Result<(Head, Option<Troubles>, Vec<Outcome>), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outcomes");
        std::fs::write(&path, text).unwrap();
        let mut found = Vec::new();
        let (head, end) = read(&path, |_, outcome| {
            found.push(outcome);
            Ok(())
        })?;
        Ok((head, end, found))
    }

    fn text() -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outcomes");
        let mut writer = Writer::create(&path).unwrap();
        writer.head(&head()).unwrap();
        for outcome in outcomes() {
            writer.write(&outcome).unwrap();
        }
        writer.end(TROUBLES).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let (found_head, end, found) = read_text(&text()).unwrap();
        assert_eq!((found_head, end, found), (head(), Some(TROUBLES), outcomes()));
    }

    #[test]
    fn a_file_may_be_cut_after_its_head_and_nowhere_before() {
        let text = text();
        let body = text.find("1-0 acked").unwrap();
        for at in 0..text.len() {
            match read_text(&text[..at]) {
                Ok((found, end, some)) => {
                    assert!(at + 1 >= body && (end.is_none() || at + 1 == text.len()), "{at}");
                    assert_eq!(found, head());
                    // a cut line may still look whole: its last field is shorter then
                    assert!(some.len() <= outcomes().len());
                }
                Err(_) => assert!(at <= body, "cut at {at}"),
            }
        }
    }

    #[test]
    fn damaged_lines_are_named() {
        for (from, to) in [
            ("1-0 acked", "1-0 akked"),
            ("1-1 acked", "9-1 acked"),
            ("# start 1 17", "# start 2000000000 17"),
            ("# run 0", "# run z"),
            ("# promise ", "# promise x"),
        ] {
            let error = read_text(&text().replace(from, to)).unwrap_err();
            assert!(error.message().unwrap().contains("is damaged"), "{error:?}");
        }
        assert!(read_text("hello\n").unwrap_err().message().unwrap().contains("not a file of --outcomes"));
    }
}
