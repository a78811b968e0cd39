//! The reading half: all partitions, from where they ended before the run to where they end now.
//!
//! The cluster may just have come out of a fault: a partition without a leader, or a broker that does not answer, is asked again
//! until [`PATIENCE`] is over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rohrpost_net::{Client, ClientError};
use rohrpost_protocol::{ErrorCode, Uuid};
use rohrpost_record::Record;

use super::ledger::Ledger;
use super::outcomes::Head;
use super::verdict::Verdict;
use crate::consume::{Position, Reader, Sink};
use crate::failure::Failure;
use crate::interrupt;
use crate::topics::{EARLIEST, LATEST, connect, offset_at, partitions_of};

/// How long the cluster may give no answer that helps.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY_BACKOFF: Duration = Duration::from_millis(200);
/// A record of unknown fate may still be written while the log is read: it is read on until nothing comes any more, at most so often.
const ROUNDS_MAX: usize = 100;
/// One Ctrl-C ends sending, a second one drops what is outstanding, and this one ends the check.
const INTERRUPTS_MAX: usize = 3;

/// A verdict, and why the log was not read if it was not.
pub(super) struct Checked {
    pub(super) verdict: Verdict,
    pub(super) failure: Option<Failure>,
}

impl Checked {
    /// Nothing was to be read.
    pub(super) fn unread(ledger: Ledger) -> Checked {
        Checked { verdict: ledger.unread(), failure: None }
    }
}

/// The topic's id, and where each of its partitions ends.
pub(super) fn ends(servers: &str, topic: &str) -> Result<(Uuid, Vec<i64>), Failure> {
    let mut client = connect(servers)?;
    let (id, partitions) = describe(&mut client, topic)?;
    let offsets = offsets(&mut client, topic, &partitions, LATEST)?;
    Ok((id, offsets.into_values().collect()))
}

/// Reads the topic and judges. `is_new`: the topic was deleted since the run began, and created again.
pub(super) fn check(servers: &str, head: &Head, mut ledger: Ledger, is_new: bool) -> Checked {
    match read(servers, head, &mut ledger, is_new) {
        Ok(()) => Checked { verdict: ledger.judge(), failure: None },
        Err(failure) => {
            let what = failure.message().unwrap_or("interrupted");
            let failure = Failure::run(format!("not checked: {what}"));
            Checked { verdict: ledger.unread(), failure: Some(failure) }
        }
    }
}

fn read(servers: &str, head: &Head, ledger: &mut Ledger, is_new: bool) -> Result<(), Failure> {
    let topic = head.topic.as_str();
    let mut client = connect(servers)?;
    let (id, partitions) = describe(&mut client, topic)?;
    if id != head.topic_id && !is_new {
        return Err(Failure::run(format!(
            "topic '{topic}' was deleted and created again since the run began; keep the --outcomes, and say --check FILE \
             --deleted-at MS"
        )));
    }
    // a record in a partition that was added meanwhile is misplaced: all of them are read
    let earliest = offsets(&mut client, topic, &partitions, EARLIEST)?;
    let mut next = earliest.clone();
    if !is_new {
        for (partition, &start) in (0..).zip(&head.start_offsets) {
            let first = earliest.get(&partition).copied().unwrap_or(start);
            if first > start {
                return Err(Failure::run(format!(
                    "partition {partition} of topic '{topic}' begins at offset {first} now, and the run at {start}: records \
                     were removed meanwhile (retention)"
                )));
            }
            next.insert(partition, start);
        }
    }
    let mut sink = Found(ledger);
    for _ in 0..ROUNDS_MAX {
        let ends = offsets(&mut client, topic, &partitions, LATEST)?;
        let positions: BTreeMap<i32, Position> = next
            .iter()
            .filter_map(|(&partition, &next_offset)| {
                let end = ends.get(&partition).copied().filter(|&end| end > next_offset)?;
                Some((partition, Position { next_offset, end_offset: Some(end) }))
            })
            .collect();
        if positions.is_empty() {
            return Ok(());
        }
        let mut reader = Reader::at(client, topic, id, positions, sink);
        patiently(|| reader.read(), |reason| matches!(reason, Failure::Run(_)))?;
        (client, sink) = reader.into_parts();
        if sink.is_interrupted() {
            return Err(Failure::run("interrupted"));
        }
        next.extend(ends);
    }
    Err(Failure::run(format!("others write to topic '{topic}' faster than it can be read")))
}

fn describe(client: &mut Client, topic: &str) -> Result<(Uuid, Vec<i32>), Failure> {
    let metadata = client.metadata(Some(&[topic])).map_err(Failure::start)?;
    let mut partitions = partitions_of(&metadata, topic)?;
    partitions.sort_unstable();
    let id = metadata.topic(topic).map(|topic| topic.id).unwrap_or_default();
    Ok((id, partitions))
}

fn offsets(
    client: &mut Client,
    topic: &str,
    partitions: &[i32],
    time: i64,
) -> Result<BTreeMap<i32, i64>, Failure> {
    let mut found = BTreeMap::new();
    for &partition in partitions {
        let offset = patiently(
            || offset_at(client, topic, partition, time).inspect_err(|_| client.forget_leaders(topic)),
            passes,
        );
        found.insert(partition, offset.map_err(Failure::run)?);
    }
    Ok(found)
}

/// A fault that the cluster heals by itself.
fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Metadata { error, .. } => {
            error.is_retriable() || *error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        }
        ClientError::Connect { .. } | ClientError::Disconnected { .. } | ClientError::NoLeader { .. } => true,
        _ => false,
    }
}

/// Tries until it works, or fails for good, or [`PATIENCE`] is over.
fn patiently<T, E>(mut attempt: impl FnMut() -> Result<T, E>, may_pass: impl Fn(&E) -> bool) -> Result<T, E> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error)
                if may_pass(&error) && start.elapsed() < PATIENCE && interrupt::count() < INTERRUPTS_MAX =>
            {
                std::thread::sleep(RETRY_BACKOFF);
            }
            result => return result,
        }
    }
}

/// Tells the ledger what lies in the log.
struct Found<'a>(&'a mut Ledger);

impl Sink for Found<'_> {
    fn is_done(&self) -> bool {
        false
    }

    fn write(&mut self, _topic: &str, partition: i32, record: &Record<'_>) -> Result<(), Failure> {
        self.0.found(partition, record.offset, record.value);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn is_interrupted(&self) -> bool {
        interrupt::count() >= INTERRUPTS_MAX
    }
}
