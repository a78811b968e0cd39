//! What the users did and saw: the ground on which the checker judges.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rohrpost::{Delivered, Delivery, DeliveryError, ErrorCode, Outcome, Reason};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What kind: a failing plan is shrunk to one that fails in the same way.
    pub kind: &'static str,
    /// What, in words.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}

/// A record's identity: in its value, and in everything noted of it. Counts from 0.
pub type Id = u32;

/// What became of a record, as its user was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// In the log; the offset is not always known.
    Acked {
        /// Where.
        partition: i32,
        /// At which offset.
        offset: Option<i64>,
    },
    /// acks=0.
    HandedOver {
        /// For which partition.
        partition: i32,
    },
    /// Certainly not in the log.
    NotWritten {
        /// Where it would have gone.
        partition: Option<i32>,
        /// Why.
        reason: Reason,
    },
    /// Perhaps in the log.
    Unknown {
        /// Where it would be.
        partition: Option<i32>,
        /// Why.
        reason: Reason,
    },
}

impl Told {
    /// From what a `Delivery` or a callback gives.
    pub fn of(result: &Result<Delivered, DeliveryError>, acks_none: bool) -> Told {
        match result {
            Ok(at) if acks_none => Told::HandedOver { partition: at.partition() },
            Ok(at) => Told::Acked { partition: at.partition(), offset: at.offset() },
            Err(error) => {
                let (partition, reason) = (error.partition(), error.reason());
                match error.outcome() {
                    Outcome::NotWritten => Told::NotWritten { partition, reason },
                    Outcome::Unknown => Told::Unknown { partition, reason },
                }
            }
        }
    }

    /// The partition that was named.
    pub fn partition(&self) -> Option<i32> {
        match *self {
            Told::Acked { partition, .. } | Told::HandedOver { partition } => Some(partition),
            Told::NotWritten { partition, .. } | Told::Unknown { partition, .. } => partition,
        }
    }

    /// The error, if it was one.
    pub fn reason(&self) -> Option<Reason> {
        match *self {
            Told::NotWritten { reason, .. } | Told::Unknown { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

/// One record's life.
#[derive(Debug)]
pub struct Life {
    /// Its topic, by number in the plan.
    pub topic: usize,
    /// The partition that its user asked for.
    pub partition: Option<i32>,
    /// Its key, if it has one.
    pub key: Option<u16>,
    /// Bytes of its value.
    pub len: usize,
    /// Its number among the accepted ones, and when that was.
    pub accepted: Option<(u32, u64)>,
    /// What its user was told.
    pub told: Option<Told>,
    /// It has a callback, which ran so often.
    pub callbacks: Option<u32>,
}

/// All of it.
#[derive(Default)]
pub struct History {
    /// By id.
    pub lives: Vec<Life>,
    /// How many were accepted.
    pub accepted: u32,
    /// Handles that somebody will still look at, by the record's number among the accepted ones.
    pub kept: BTreeMap<u32, (Id, Delivery)>,
    /// Calls that wait, by topic, in the order of their first poll.
    lines: BTreeMap<usize, BTreeSet<u64>>,
    next_ticket: u64,
    /// When the producer was closed, and the last ticket of a call that had begun by then.
    closed: Option<(u64, u64)>,
    /// The newest record whose callback ran, by topic and partition.
    last_callback: BTreeMap<(usize, i32), u32>,
    /// What must not have happened.
    pub violations: Vec<Violation>,
    /// What happened how often.
    pub counts: BTreeMap<String, u64>,
    /// The longest time between acceptance and outcome that is fine.
    pub outcome_within_ms: u64,
    /// What purges have given back.
    pub purged: Vec<(Id, Outcome)>,
    /// The longest time in which a partition had a record without outcome and told none, and the record that ended it.
    pub longest_silence: (u64, Id),
    /// When a callback of the partition ran last, by topic and partition.
    last_outcome_ms: BTreeMap<(usize, i32), u64>,
}

impl History {
    /// A history in which outcomes may take so long.
    pub fn new(outcome_within_ms: u64) -> History {
        History { outcome_within_ms, ..History::default() }
    }

    /// Something must not have happened.
    pub fn violation(&mut self, kind: &'static str, text: impl Into<String>) {
        if self.violations.len() < 20 {
            self.violations.push(Violation { kind, text: text.into() });
        }
    }

    /// Something happened once more.
    pub fn count(&mut self, what: &str) {
        self.count_by(what, 1);
    }

    /// Something happened so many times more.
    pub fn count_by(&mut self, what: &str, times: u64) {
        if times == 0 {
            return;
        }
        match self.counts.get_mut(what) {
            Some(count) => *count += times,
            None => {
                self.counts.insert(what.to_owned(), times);
            }
        }
    }

    /// A record is about to be sent.
    pub fn record(&mut self, topic: usize, partition: Option<i32>, key: Option<u16>, len: usize) -> Id {
        self.lives.push(Life { topic, partition, key, len, accepted: None, told: None, callbacks: None });
        self.lives.len() as Id - 1
    }

    /// A call is polled for the first time: its place in the topic's line.
    pub fn enter(&mut self, topic: usize) -> u64 {
        self.next_ticket += 1;
        self.lines.entry(topic).or_default().insert(self.next_ticket);
        self.next_ticket
    }

    /// The producer is being closed: who waits now ends now.
    pub fn closes(&mut self, now_ms: u64) {
        self.closed.get_or_insert((now_ms, self.next_ticket));
        let waiting = self.lines.values().map(BTreeSet::len).sum::<usize>();
        self.count_by("calls that waited when the producer was closed", waiting as u64);
    }

    /// The call has ended or was dropped. BUF-4, if it `went_on`: those of its topic that came before have ended. BUF-6: those that
    /// waited when the producer was closed have ended at that moment.
    pub fn leave(&mut self, topic: usize, ticket: u64, went_on: bool, now_ms: u64) {
        if let Some((closed_ms, last)) = self.closed
            && ticket <= last
            && now_ms > closed_ms
        {
            let waited_ms = now_ms - closed_ms;
            let text =
                format!("a call to topic {topic} waited {waited_ms} ms more after the producer was closed");
            self.violation("waits beyond close", text);
        }
        let Some(line) = self.lines.get_mut(&topic) else { return };
        line.remove(&ticket);
        if went_on && line.first().is_some_and(|first| *first < ticket) {
            let before = line.range(..ticket).count();
            self.violation(
                "overtaken in line",
                format!("a call to topic {topic} went on before {before} that were polled earlier"),
            );
        }
    }

    /// Whether calls wait in a topic's line: then one that does not wait must be refused.
    pub fn has_line(&self, topic: usize) -> bool {
        self.lines.get(&topic).is_some_and(|line| !line.is_empty())
    }

    /// The record was accepted at this moment.
    pub fn accepted(&mut self, id: Id, now_ms: u64) -> u32 {
        let number = self.accepted;
        self.accepted += 1;
        if let Some(life) = self.lives.get_mut(id as usize) {
            life.accepted = Some((number, now_ms));
        }
        number
    }

    /// The user of a record was told what became of it.
    pub fn told(&mut self, id: Id, told: Told) {
        let Some(life) = self.lives.get_mut(id as usize) else { return };
        life.told = Some(told);
        let accepted_ms = life.accepted;
        let explicit = life.partition;
        if let (Some(asked), Some(got)) = (explicit, told.partition())
            && asked != got
        {
            self.violation(
                "wrong partition",
                format!("record {id} was sent to partition {asked}, and told of {got}"),
            );
        }
        if accepted_ms.is_none() {
            self.violation("outcome of a refused record", format!("record {id} ended as {told:?}"));
        }
        let name = match told {
            Told::Acked { offset: Some(_), .. } => "told acked".to_owned(),
            Told::Acked { offset: None, .. } => "told acked without offset".to_owned(),
            Told::HandedOver { .. } => "told handed over".to_owned(),
            Told::NotWritten { reason, .. } => format!("told not written: {}", name_of(reason)),
            Told::Unknown { reason, .. } => format!("told unknown: {}", name_of(reason)),
        };
        self.count(&name);
    }

    /// A callback ran. CMPL-3: those of a partition in send order; CMPL-1: once.
    pub fn called_back(&mut self, id: Id, told: Told, now_ms: u64) {
        let Some(life) = self.lives.get_mut(id as usize) else { return };
        let times = life.callbacks.get_or_insert(0);
        *times += 1;
        let (times, topic, accepted) = (*times, life.topic, life.accepted);
        if times > 1 {
            self.violation("callback twice", format!("the callback of record {id} ran {times} times"));
        }
        if told.reason() == Some(Reason::Refused) {
            // CMPL-5: a record that was not accepted; its call's error says why.
            self.count("callbacks of refused records");
            return;
        }
        if let (Some((number, _)), Some(partition)) = (accepted, told.partition()) {
            let last = self.last_callback.entry((topic, partition)).or_insert(number);
            let before = *last;
            *last = number.max(before);
            if before > number {
                self.violation(
                    "outcomes out of order",
                    format!("the callback of record {id}, the {number}. accepted, ran after that of the {before}. in partition {partition}"),
                );
            }
        }
        if let (Some((_, at_ms)), Some(partition)) = (accepted, told.partition()) {
            let before_ms = self.last_outcome_ms.insert((topic, partition), now_ms).unwrap_or_default();
            let silence_ms = now_ms.saturating_sub(at_ms.max(before_ms));
            self.longest_silence = self.longest_silence.max((silence_ms, id));
        }
        // ACC-24: in time, whatever happens.
        let within_ms = self.outcome_within_ms;
        if let Some((_, at_ms)) = accepted.filter(|(_, at_ms)| now_ms.saturating_sub(*at_ms) > within_ms) {
            let took_ms = now_ms - at_ms;
            self.violation(
                "late outcome",
                format!(
                    "record {id} ended as {told:?} {took_ms} ms after it was accepted; {within_ms} ms would be fine"
                ),
            );
        }
        self.told(id, told);
    }
}

/// A reason's name for counts.
pub fn name_of(reason: Reason) -> String {
    match reason {
        Reason::Broker(code) => code_name(code),
        Reason::Fatal(code) => format!("fatal {}", code_name(code)),
        Reason::Expired => "expired".into(),
        Reason::Closed => "closed".into(),
        Reason::Purged => "purged".into(),
        Reason::Encoding => "encoding".into(),
        Reason::Refused => "refused".into(),
        other => format!("{other:?}"),
    }
}

fn code_name(code: ErrorCode) -> String {
    code.name().to_owned()
}
