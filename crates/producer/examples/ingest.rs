//! Each record matters, repeats are harmless: a file's lines go into a topic, and the position in the file is kept beside it. The position
//! moves only behind acknowledged lines, so a program that dies in any moment begins again with a line that it had not finished. Each
//! record's key is its position in the source: whoever stores the records can tell a repeat.
//!
//! ```text
//! cargo run -p rohrpost --example ingest
//! cargo run -p rohrpost --example ingest -- -b localhost:9092 access.log access.position
//! ```

#![allow(clippy::print_stdout, reason = "an example says what it does")]

mod common;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rohrpost::{Delivery, Producer, Record, Topic};

/// Lines on their way, at most.
const OUTSTANDING_MAX: usize = 5_000;
/// The position is written down after so many lines. After a crash at most so many are repeated, and those on their way.
const COMMIT_EVERY: usize = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (servers, words) = common::Servers::with_words("FILE POSITION-FILE")?;
    let folder = tempfile::tempdir()?;
    let (source, position) = match &words[..] {
        [source, position] => (PathBuf::from(source), PathBuf::from(position)),
        _ => {
            let source = folder.path().join("lines");
            fs::write(&source, (0..10_000).map(|n| format!("line {n}\n")).collect::<String>())?;
            (source, folder.path().join("position"))
        }
    };
    let producer = Producer::builder(&servers.addresses)
        // an outage is waited for; giving up would only mean to read the same lines again
        .delivery_timeout(Duration::from_millis(i32::MAX as u64))
        .max_block(Duration::from_secs(3600))
        .build()?;
    let mut ingest = Ingest::open(producer.topic_blocking("orders")?, &source, &position)?;
    let lines = ingest.run()?;
    producer.close_blocking(Duration::from_secs(30));
    println!("{lines} lines from {} to {} in {}", ingest.began, ingest.committed, servers.name());
    Ok(())
}

struct Ingest {
    topic: Topic,
    source: BufReader<File>,
    position_file: PathBuf,
    /// Lines without an outcome, oldest first, and where the next one begins.
    outstanding: VecDeque<(Delivery, u64)>,
    began: u64,
    /// All before it is in the log.
    acknowledged: u64,
    committed: u64,
    uncommitted_lines: usize,
}

impl Ingest {
    fn open(topic: Topic, source: &Path, position_file: &Path) -> io::Result<Ingest> {
        let began = match fs::read_to_string(position_file) {
            Ok(text) => text.trim().parse().map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let mut source = BufReader::new(File::open(source)?);
        source.seek(SeekFrom::Start(began))?;
        Ok(Ingest {
            topic,
            source,
            position_file: position_file.to_owned(),
            outstanding: VecDeque::new(),
            began,
            acknowledged: began,
            committed: began,
            uncommitted_lines: 0,
        })
    }

    /// To the source's end. On an error the position stays where all before it is in the log: start again.
    fn run(&mut self) -> Result<usize, Box<dyn std::error::Error>> {
        let (mut position, mut lines) = (self.began, 0);
        loop {
            let mut line = Vec::new();
            let read = self.source.read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            let record = Record::value(line).key(position.to_string());
            position += read as u64;
            self.outstanding.push_back((self.topic.send_blocking(record)?, position));
            lines += 1;
            while self.outstanding.len() > OUTSTANDING_MAX
                || self.outstanding.front().is_some_and(|(oldest, _)| oldest.is_done())
            {
                self.settle_oldest()?;
            }
        }
        while !self.outstanding.is_empty() {
            self.settle_oldest()?;
        }
        self.commit()?;
        Ok(lines)
    }

    /// In order: the position must not pass a line that is not in the log.
    fn settle_oldest(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        if let Some((oldest, end)) = self.outstanding.pop_front() {
            oldest.wait()?;
            self.acknowledged = end;
            self.uncommitted_lines += 1;
        }
        if self.uncommitted_lines >= COMMIT_EVERY { Ok(self.commit()?) } else { Ok(()) }
    }

    /// A file is there as a whole or as it was: written beside, synced, renamed.
    fn commit(&mut self) -> io::Result<()> {
        let beside = self.position_file.with_extension("new");
        let mut file = File::create(&beside)?;
        writeln!(file, "{}", self.acknowledged)?;
        file.sync_all()?;
        fs::rename(&beside, &self.position_file)?;
        (self.committed, self.uncommitted_lines) = (self.acknowledged, 0);
        Ok(())
    }
}
