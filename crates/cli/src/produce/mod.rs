//! `rohrpost produce`: a file's lines into a topic, and what became of each.
//!
//! The main thread takes blocks of lines from the reading thread ([`input`]), sends them, and settles deliveries in
//! order. At most [`OUTSTANDING_MAX`] deliveries are outstanding; the producer bounds the bytes.

mod error_file;
mod input;
pub(crate) mod report;

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rohrpost::{
    Delivered, Delivery, DeliveryError, FlushError, Producer, ProducerBuilder, Record, Refusal, Topic,
    WaitError,
};

use self::error_file::ErrorFile;
use self::input::{Block, Event, Input};
use self::report::{LATENCY_SAMPLE, Latencies, Progress, Totals};
use crate::args::{InputFormat, Produce};
use crate::cluster::{Target, settings};
use crate::failure::Failure;
use crate::jsonl::{self, JsonRecord};
use crate::watch::{Reading, Watching};
use crate::{interrupt, terminal, topics};

/// Deliveries that may be outstanding at once.
const OUTSTANDING_MAX: usize = 100_000;
/// How long the start waits for the topic if max.block.ms waits for nothing: Kafka's default of it.
const START_MAX: Duration = Duration::from_secs(60);
const START_TICK: Duration = Duration::from_millis(10);
/// How often is looked at what is settled, while the rest is waited for.
const SETTLE_EVERY: Duration = Duration::from_millis(100);
/// Failures that are told one by one; the rest is counted.
const FAILURES_TOLD: u64 = 5;

pub(crate) fn run(options: Produce) -> Result<(), Failure> {
    refuse_same_file(&options)?;
    let input = match &options.retry_file {
        Some(file) => Input::open(std::slice::from_ref(file))?,
        None => Input::open(&options.files)?,
    };
    let mut builder = configure(&options)?;
    if let Some(path) = &options.error_file {
        builder = builder.failed_records(error_file::settings(path));
    }

    let target = Target::open(&options.cluster)?;
    if let Some(topic) = &options.topic {
        topics::ensure(&target.bootstrap_servers, topic, options.partitions)?;
    }
    builder = builder.set("bootstrap.servers", &target.bootstrap_servers).map_err(Failure::start)?;
    let producer = builder.build().map_err(error_file::build_failure)?;

    let reading = input.bytes_total.map(|bytes_total| Reading { bytes_read: AtomicU64::new(0), bytes_total });
    let reading = reading.map(Arc::new);
    let watching = Watching::start(&options.watch, &producer, &input.name, reading.clone())?;
    let started = Instant::now();
    let result = Run::new(&options, producer).and_then(|run| run.all(input, reading, started, watching));
    let synced = target.sync();
    let closed = target.close();
    let failed = result?;
    synced?;
    closed?;
    if failed { Err(Failure::Told) } else { Ok(()) }
}

/// Reading the file that is being written would end badly.
fn refuse_same_file(options: &Produce) -> Result<(), Failure> {
    let (Some(errors), inputs) = (&options.error_file, options.files.iter().chain(&options.retry_file))
    else {
        return Ok(());
    };
    let same = |path: &Path| {
        path == errors || path.canonicalize().is_ok_and(|a| errors.canonicalize().is_ok_and(|b| a == b))
    };
    for input in inputs {
        if same(input) {
            return Err(Failure::start(format!(
                "--error-file {} is also read: give it another name",
                errors.display()
            )));
        }
    }
    Ok(())
}

fn configure(options: &Produce) -> Result<ProducerBuilder, Failure> {
    let builder = match &options.config {
        Some(path) => ProducerBuilder::from_properties(path).map_err(Failure::start)?,
        None => ProducerBuilder::new(""),
    };
    let builder = builder.set_all(settings(&options.settings)?);
    // every mistake is told before anything is started; the embedded broker's address is known only then
    let servers = options.cluster.bootstrap_server.as_deref().unwrap_or("127.0.0.1:9092");
    let builder = builder.set("bootstrap.servers", servers).map_err(Failure::start)?;
    builder.check().map_err(Failure::start)?;
    Ok(builder)
}

/// One run: what is sent, what is outstanding, what became of the rest.
struct Run<'a> {
    options: &'a Produce,
    producer: Producer,
    /// The topic of the command line.
    topic: Option<Topic>,
    /// Topics that the lines of a retry file name.
    topics: HashMap<String, Topic>,
    outstanding: VecDeque<Handle>,
    error_file: Option<ErrorFile>,
    latencies: Latencies,
    totals: Totals,
    /// Lines of a retry file that were left out because their outcome is unknown.
    skipped: u64,
}

/// A record that was accepted.
enum Handle {
    Plain(Delivery),
    /// Its callback has the outcome, and says so.
    Sampled {
        done: Arc<AtomicBool>,
        outcome: Receiver<Result<Delivered, DeliveryError>>,
    },
}

impl Handle {
    fn is_done(&self) -> bool {
        match self {
            Handle::Plain(delivery) => delivery.is_done(),
            Handle::Sampled { done, .. } => done.load(Ordering::Acquire),
        }
    }

    fn wait(self) -> Result<Result<Delivered, DeliveryError>, Failure> {
        let nothing = |what: &str| Failure::run(format!("a record's outcome was not told: {what}"));
        match self {
            Handle::Plain(delivery) => match delivery.wait() {
                Ok(delivered) => Ok(Ok(delivered)),
                Err(WaitError::Failed(error)) => Ok(Err(error)),
                Err(other) => Err(nothing(&other.to_string())),
            },
            Handle::Sampled { outcome, .. } => outcome.recv().map_err(|error| nothing(&error.to_string())),
        }
    }
}

impl<'a> Run<'a> {
    fn new(options: &'a Produce, producer: Producer) -> Result<Run<'a>, Failure> {
        let error_file = options.error_file.as_ref().map(|_| ErrorFile::new(&producer));
        let mut run = Run {
            options,
            producer,
            topic: None,
            topics: HashMap::new(),
            outstanding: VecDeque::new(),
            error_file,
            latencies: Latencies::new(),
            totals: Totals::default(),
            skipped: 0,
        };
        if let Some(topic) = &options.topic {
            // a topic that cannot be had is a failed start, not a million failed records
            run.topic = Some(run.await_topic(topic).map_err(Failure::start)?);
        }
        Ok(run)
    }

    /// The topic's handle. With max.block.ms=0 no topic would be known before the first record: at the start there is time (CFG-20).
    fn await_topic(&self, name: &str) -> Result<Topic, Refusal> {
        let begin = Instant::now();
        loop {
            match self.producer.topic_blocking(name) {
                Err(Refusal::UnknownTopic { waited_ms: 0, trouble: None, .. })
                    if begin.elapsed() < START_MAX =>
                {
                    std::thread::sleep(START_TICK);
                }
                other => return other,
            }
        }
    }

    /// Sends everything, waits for every delivery, sums up. True if a record failed or the input was cut short.
    fn all(
        mut self,
        input: Input,
        reading: Option<Arc<Reading>>,
        started: Instant,
        watching: Watching,
    ) -> Result<bool, Failure> {
        // a table has the place of the bar
        let no_bar = self.options.quiet || self.options.watch.stats.is_some() || input.is_typed;
        let progress = Progress::start(&input.name, input.bytes_total, no_bar);
        let (events, signals) =
            input.start().map_err(|error| Failure::start(format!("cannot start a thread: {error}")))?;
        let producer = self.producer.clone();
        interrupt::catch(move |count| {
            if count == 1 {
                terminal::note("stopping: sending what was read; Ctrl-C again drops it");
                let _ = signals.try_send(Event::Interrupted);
            } else {
                drop(producer.close_blocking(Duration::ZERO));
            }
        })?;

        let mut bytes_read = 0;
        let mut cut_short = None;
        while interrupt::count() == 0 {
            match events.recv() {
                Ok(Event::Lines(block)) => {
                    self.send_block(&block)?;
                    bytes_read += block.bytes.len() as u64;
                    progress.advance(bytes_read);
                    if let Some(reading) = &reading {
                        reading.bytes_read.store(bytes_read, Ordering::Relaxed);
                    }
                    if progress.is_shown() {
                        progress.say(self.outstanding.len(), self.totals.failed);
                    }
                }
                Ok(Event::Failed(message)) => {
                    cut_short = Some(message);
                    break;
                }
                Ok(Event::End | Event::Interrupted) | Err(_) => break,
            }
        }
        self.flush(&progress)?;
        progress.finish();
        self.finish(started, watching)?;
        if let Some(message) = &cut_short {
            terminal::note(&format!("rohrpost: {message}"));
        }
        Ok(self.totals.failed > 0 || cut_short.is_some())
    }

    fn send_block(&mut self, block: &Block) -> Result<(), Failure> {
        for (number, line) in block.lines() {
            if interrupt::count() > 0 {
                break;
            }
            match self.read_record(line.clone()) {
                Ok(Some((topic, record))) => self.send(topic, record, &block.source, number)?,
                Ok(None) => self.skipped += 1,
                Err(reason) => {
                    // a line that is no record is kept as the value of one that was not written
                    self.totals.records += 1;
                    self.tell_failure(&format!("{} line {number}: {reason}", block.source));
                    self.write_failed(None, Record::value(line), "INVALID_LINE", &reason)?;
                }
            }
        }
        self.settle_finished()
    }

    /// The record of a line, and its topic if the line names it; `None` for a line of a retry file that is to be left out.
    fn read_record(&self, line: Bytes) -> Result<Option<(Option<String>, Record)>, String> {
        if self.options.retry_file.is_some() {
            let json =
                jsonl::parse(&line).map_err(|error| format!("not a line of an --error-file: {error}"))?;
            match json.outcome.as_deref() {
                Some("not_written") => {}
                Some("unknown") if self.options.include_unknown => {}
                Some("unknown") => return Ok(None),
                other => return Err(format!("outcome is {other:?}: not a line of an --error-file")),
            }
            let topic = json.topic.clone();
            return Ok(Some((topic, record_of(json)?)));
        }
        let record = match (self.options.format, &self.options.key_separator) {
            (InputFormat::Jsonl, _) => record_of(jsonl::parse(&line)?)?,
            (InputFormat::Lines, Some(separator)) => {
                match memchr::memmem::find(&line, separator.as_bytes()) {
                    Some(at) => Record::value(line.slice(at + separator.len()..)).key(line.slice(..at)),
                    None => Record::value(line),
                }
            }
            (InputFormat::Lines, None) => Record::value(line),
        };
        Ok(Some((None, record)))
    }

    fn send(
        &mut self,
        named: Option<String>,
        record: Record,
        source: &str,
        number: u64,
    ) -> Result<(), Failure> {
        self.totals.records += 1;
        let topic = match self.topic_for(named.as_deref()) {
            Ok(topic) => topic,
            Err(reason) => {
                self.tell_failure(&format!("{source} line {number}: {reason}"));
                return self.write_failed(named.as_deref(), record, "UNKNOWN_TOPIC", &reason);
            }
        };
        let sent = if self.totals.records % LATENCY_SAMPLE == 1 {
            self.send_sampled(&topic, record)
        } else {
            topic.send_blocking(record).map(Handle::Plain).map_err(|error| Box::new(error.into_parts()))
        };
        match sent {
            Ok(handle) => self.outstanding.push_back(handle),
            Err(refused) => {
                let (record, refusal) = *refused;
                self.tell_failure(&format!("{source} line {number}: {refusal}"));
                self.write_failed(Some(topic.name()), record, refusal.name(), &refusal.to_string())?;
            }
        }
        if self.outstanding.len() >= OUTSTANDING_MAX {
            self.settle_oldest()?;
        }
        Ok(())
    }

    /// Sends with a callback, which runs at the moment of the acknowledgement and not when somebody looks.
    fn send_sampled(&self, topic: &Topic, record: Record) -> Result<Handle, Box<(Record, Refusal)>> {
        let (latencies, begin) = (self.latencies.clone(), Instant::now());
        let (sender, receiver) = sync_channel(1);
        let done = Arc::new(AtomicBool::new(false));
        let told = done.clone();
        let permit = match topic.reserve_blocking(record.size()) {
            Ok(permit) => permit,
            Err(refusal) => return Err(Box::new((record, refusal))),
        };
        let sent = permit.send_with(record, move |outcome| {
            if outcome.is_ok() {
                latencies.record(begin.elapsed());
            }
            let _ = sender.send(outcome);
            told.store(true, Ordering::Release);
        });
        match sent {
            Ok(()) => Ok(Handle::Sampled { done, outcome: receiver }),
            Err(error) => {
                let (record, _, refusal) = error.into_parts();
                Err(Box::new((record, refusal)))
            }
        }
    }

    /// The handle of the topic on the command line, or else of the one that the line names.
    fn topic_for(&mut self, named: Option<&str>) -> Result<Topic, String> {
        match (&self.topic, named) {
            (Some(topic), _) => Ok(topic.clone()),
            (None, Some(name)) => {
                if let Some(topic) = self.topics.get(name) {
                    return Ok(topic.clone());
                }
                let topic = self.producer.topic_blocking(name).map_err(|error| error.to_string())?;
                self.topics.insert(name.to_owned(), topic.clone());
                Ok(topic)
            }
            (None, None) => Err("the line names no topic: give one with -t".to_owned()),
        }
    }

    /// Settles what is finished at the front, without waiting.
    fn settle_finished(&mut self) -> Result<(), Failure> {
        while self.outstanding.front().is_some_and(Handle::is_done) {
            self.settle_oldest()?;
        }
        Ok(())
    }

    /// Waits for the oldest delivery.
    fn settle_oldest(&mut self) -> Result<(), Failure> {
        let Some(handle) = self.outstanding.pop_front() else { return Ok(()) };
        let error = match handle.wait()? {
            Ok(delivered) => {
                let size = delivered.key_size().unwrap_or(0) + delivered.value_size().unwrap_or(0);
                self.totals.bytes += size as u64;
                return Ok(());
            }
            Err(error) => error,
        };
        self.tell_failure(&error.to_string()); // SEND-2: it is in the error file already
        Ok(())
    }

    /// Sends what lingers, and waits for every delivery: each ends by `delivery.timeout.ms`, or when a second Ctrl-C closes the producer.
    fn flush(&mut self, progress: &Progress) -> Result<(), Failure> {
        loop {
            match self.producer.flush_timeout_blocking(SETTLE_EVERY) {
                Ok(_) => break,
                Err(FlushError::TimedOut) => {}
                Err(other) => return Err(Failure::run(other.to_string())),
            }
            self.settle_finished()?;
            if progress.is_shown() {
                progress.say(self.outstanding.len(), self.totals.failed);
            }
        }
        while !self.outstanding.is_empty() {
            self.settle_oldest()?;
        }
        Ok(())
    }

    fn finish(&mut self, started: Instant, watching: Watching) -> Result<(), Failure> {
        self.totals.retries = self.producer.metrics().records_retried;
        if let Some(file) = &mut self.error_file {
            file.settle()?;
        }
        drop(self.producer.close_blocking(Duration::from_secs(10)));
        watching.finish();
        if let (Some(file), Some(path)) = (&self.error_file, &self.options.error_file) {
            file.finish(path)?;
        }
        if self.totals.failed > FAILURES_TOLD {
            terminal::note(&format!(
                "… and {} more failed",
                report::grouped(self.totals.failed - FAILURES_TOLD)
            ));
        }
        if self.skipped > 0 {
            terminal::note(&format!(
                "{} left out: they may have been written; --include-unknown sends them too",
                report::grouped(self.skipped)
            ));
        }
        if !self.options.quiet {
            terminal::note(&report::summary(self.totals, started, &self.latencies));
        }
        Ok(())
    }

    fn tell_failure(&mut self, message: &str) {
        self.totals.failed += 1;
        if self.totals.failed <= FAILURES_TOLD {
            terminal::note(&format!("rohrpost: {message}"));
        }
    }

    /// Keeps a record that was not accepted. `topic` is the line's; the command line's counts.
    fn write_failed(
        &mut self,
        topic: Option<&str>,
        record: Record,
        error: &str,
        reason: &str,
    ) -> Result<(), Failure> {
        let Some(file) = &mut self.error_file else { return Ok(()) };
        let record = match self.options.topic.as_deref().or(topic) {
            Some(topic) => record.with_topic(topic),
            None => record,
        };
        file.write(record, error, reason)
    }
}

fn record_of(json: JsonRecord) -> Result<Record, String> {
    let mut record = match json.value {
        Some(value) => Record::value(value),
        None => Record::tombstone(),
    };
    if let Some(key) = json.key {
        record = record.key(key);
    }
    for (key, value) in json.headers {
        record = match value {
            Some(value) => record.header(key, value),
            None => record.null_header(key),
        };
    }
    if let Some(partition) = json.partition {
        record = record.partition(partition).map_err(|error| error.to_string())?;
    }
    if let Some(timestamp) = json.timestamp {
        record = record.timestamp(timestamp).map_err(|error| error.to_string())?;
    }
    Ok(record)
}
