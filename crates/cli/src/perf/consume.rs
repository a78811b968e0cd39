//! `rohrpost perf consume`: the reader of `rohrpost consume` with a sink that only counts.

use std::path::PathBuf;
use std::time::Instant;

use rohrpost_record::Record;

use super::args::PerfConsume;
use super::figures::{Figures, json};
use super::usage::Cpu;
use crate::args::{Consume, OutputFormat, Where};
use crate::consume::{Reader, Sink};
use crate::failure::Failure;
use crate::topics::{connect, print};
use crate::{interrupt, terminal};

pub(super) fn run(options: &PerfConsume) -> Result<(), Failure> {
    interrupt::catch(|count| {
        if count > 1 {
            std::process::exit(1);
        }
    })?;
    let reading = Consume {
        topic: options.topic.clone(),
        cluster: Where {
            bootstrap_server: Some(options.bootstrap_server.clone()),
            data_dir: PathBuf::new(), // not used with a server
        },
        from_beginning: true,
        partition: None,
        offset: None,
        max: options.records,
        until_end: true,
        format: OutputFormat::Text,
    };
    let counter = Counter { records: 0, bytes: 0, left: options.records.unwrap_or(u64::MAX) };
    let mut reader = Reader::open(connect(&options.bootstrap_server)?, &reading, counter)?;
    let partitions = reader.partitions();
    let (start, cpu) = (Instant::now(), Cpu::now());
    reader.read()?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = Cpu::now().zip(cpu).map(|(now, before)| now.since(before));
    let (_, Counter { records, bytes, left }) = reader.into_parts();
    let figures =
        Figures { topic: options.topic.clone(), partitions, ..Figures::new(records, bytes, seconds, cpu) };
    let text = if options.json {
        json(&figures)?
    } else {
        format!("{}{}", figures.text("records read"), figures.memory_text())
    };
    print(&text)?;
    if options.records.is_some() && left > 0 && interrupt::count() == 0 {
        terminal::note(&format!("'{}' has no more: {left} fewer than --records", options.topic));
    }
    Ok(())
}

/// Counts records and drops them.
struct Counter {
    records: u64,
    bytes: u64,
    left: u64,
}

impl Sink for Counter {
    fn is_done(&self) -> bool {
        self.left == 0
    }

    fn write(&mut self, _topic: &str, _partition: i32, record: &Record<'_>) -> Result<(), Failure> {
        self.records += 1;
        self.left -= 1;
        self.bytes += (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
