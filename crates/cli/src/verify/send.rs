//! The sending half: records with identities, one partition after the other, and what became of each.
//!
//! The main thread sends. Callbacks, which run on the sender's thread, put each outcome into a bounded channel; a thread of its own
//! takes it out, tells the [`Ledger`], and writes the line. A third thread watches who leads the partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use rohrpost::{
    Acks, Config, Delivered, DeliveryError, Producer, ProducerBuilder, Reason, Record, Refusal, Topic,
};

use super::args::Verify;
use super::check;
use super::identity::Identity;
use super::ledger::Ledger;
use super::outcomes::{Head, Kind, Outcome, Troubles, Writer};
use super::promise::Promise;
use crate::failure::Failure;
use crate::perf::pace::Pace;
use crate::{interrupt, terminal};

/// Records, if neither `--records` nor `--seconds` says otherwise.
const RECORDS: u64 = 1_000_000;
/// Outcomes that may wait for the thread that keeps them.
const OUTCOMES_WAITING_MAX: usize = 65_536;
/// How often it is looked who leads.
const WATCH_TICK: Duration = Duration::from_millis(20);
/// After a refusal that may pass.
const REFUSAL_BACKOFF: Duration = Duration::from_millis(100);
/// So often the bar moves.
const BAR_EVERY: u64 = 1024;

/// A producer that is ready, and the topic as it is before the first record.
pub(super) struct Run<'a> {
    options: &'a Verify,
    producer: Producer,
    topic: Topic,
    head: Head,
    hands_over: bool,
}

/// What sending came to, beside the outcomes.
pub(super) struct Sent {
    pub(super) troubles: Troubles,
    pub(super) ended_early: Option<EndedEarly>,
}

/// Why not all records were sent that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EndedEarly {
    /// Ctrl-C.
    Interrupted,
    /// The producer takes no more.
    Refused(String),
}

impl<'a> Run<'a> {
    pub(super) fn open(
        options: &'a Verify,
        builder: ProducerBuilder,
        config: &Config,
        servers: &str,
        topic: &str,
    ) -> Result<Run<'a>, Failure> {
        let (topic_id, start_offsets) = check::ends(servers, topic)?;
        let producer = builder
            .set("bootstrap.servers", servers)
            .map_err(Failure::start)?
            .build()
            .map_err(Failure::start)?;
        producer.connect_blocking().map_err(Failure::start)?;
        let handle = producer.topic_blocking(topic).map_err(Failure::start)?;
        let head = Head {
            run: fastrand::u64(..),
            topic: topic.to_owned(),
            topic_id,
            promise: Promise::of(config),
            begin_ms: now_ms(),
            start_offsets,
        };
        Ok(Run { options, producer, topic: handle, head, hands_over: config.acks == Acks::None })
    }

    /// Sends everything and waits until each record has its outcome.
    pub(super) fn all(self, mut writer: Option<Writer>) -> Result<(Head, Ledger, Sent), Failure> {
        if let Some(writer) = &mut writer {
            writer.head(&self.head)?;
        }
        let producer = self.producer.clone();
        interrupt::catch(move |count| match count {
            1 => terminal::note("stopping: waiting for what is outstanding; Ctrl-C again drops it"),
            2 => drop(producer.close_blocking(Duration::ZERO)),
            _ => {}
        })?;
        let before = self.producer.metrics();
        let (sender, outcomes) = sync_channel(OUTCOMES_WAITING_MAX);
        let broken = Arc::new(AtomicBool::new(false));
        let keeper = keep(Ledger::new(&self.head, &[]), writer, outcomes, broken.clone())?;
        let watch = Watch::start(&self.producer, &self.head.topic)?;
        let (sent, ended_early) = self.send(sender, &broken);
        // every delivery ends by delivery.timeout.ms, or when a second Ctrl-C closes the producer
        let _ = self.producer.flush_blocking();
        let after = self.producer.metrics();
        let leader_moves = watch.stop();
        drop(self.producer.close_blocking(Duration::from_secs(10)));
        let (mut ledger, writer) =
            keeper.join().map_err(|_| Failure::run("the thread that keeps outcomes has panicked"))??;
        ledger.end_of_outcomes(Some(&sent));
        let troubles = Troubles {
            retries: after.records_retried - before.records_retried,
            epoch_bumps: after.epoch_bumps - before.epoch_bumps,
            leader_moves,
        };
        if let Some(mut writer) = writer {
            writer.end(troubles)?;
        }
        Ok((self.head, ledger, Sent { troubles, ended_early }))
    }

    /// How many records of each partition were given to the producer, and why that is not all.
    fn send(&self, sender: SyncSender<Outcome>, broken: &AtomicBool) -> (Vec<u64>, Option<EndedEarly>) {
        let options = self.options;
        let partitions = self.head.start_offsets.len() as u64;
        let limit = options.seconds.map_or(options.records.unwrap_or(RECORDS), |_| u64::MAX);
        let until = options.seconds.map(Duration::from_secs);
        let pace = options.rate.map(|rate| Pace::new(rate as f64));
        let bar = Bar::start(options, &self.head.topic);
        let mut sent = vec![0_u64; partitions as usize];
        let mut ended_early = None;
        let (start, mut total) = (Instant::now(), 0);
        while total < limit {
            let elapsed = start.elapsed();
            if interrupt::count() > 0 {
                ended_early = Some(EndedEarly::Interrupted);
                break;
            }
            if until.is_some_and(|until| elapsed >= until) || broken.load(Ordering::Relaxed) {
                break;
            }
            if let Some(pace) = pace
                && pace.due(elapsed) <= total
            {
                std::thread::sleep(pace.due_at(total).saturating_sub(start.elapsed()).min(REFUSAL_BACKOFF));
                continue;
            }
            let partition = (total % partitions) as i32;
            let next = &mut sent[partition as usize];
            let identity = Identity { run: self.head.run, partition, sequence: *next };
            *next += 1;
            total += 1;
            if let Err(refusal) = self.send_one(identity, &sender) {
                if !may_pass(&refusal) {
                    ended_early = Some(EndedEarly::Refused(refusal.to_string()));
                    break;
                }
                std::thread::sleep(REFUSAL_BACKOFF);
            }
            if total % BAR_EVERY == 0 {
                bar.at(total, elapsed);
            }
        }
        bar.finish();
        (sent, ended_early)
    }

    fn send_one(&self, identity: Identity, sender: &SyncSender<Outcome>) -> Result<(), Refusal> {
        let (sender, hands_over) = (sender.clone(), self.hands_over);
        let record = Record::value(identity.value(self.options.size as usize));
        let record = record.partition(identity.partition).expect("partitions are counted from 0");
        let callback = move |result: Result<Delivered, DeliveryError>| {
            // the other end goes only when the file cannot be written, which ends the run
            let _ = sender.send(outcome(identity, &result, hands_over));
        };
        pollster::block_on(self.topic.send_with(record, callback)).map_err(|error| error.into_parts().1)
    }
}

/// `hands_over`: acks=0, so that success is no acknowledgement.
fn outcome(identity: Identity, result: &Result<Delivered, DeliveryError>, hands_over: bool) -> Outcome {
    let (kind, placed, offset, reason) = match result {
        Ok(delivered) => {
            let kind = if hands_over { Kind::HandedOver } else { Kind::Acked };
            (kind, Some(delivered.partition()), delivered.offset(), None)
        }
        Err(error) => {
            let kind = match (error.reason(), error.outcome()) {
                (Reason::Refused, _) => Kind::Refused,
                (_, rohrpost::Outcome::NotWritten) => Kind::NotWritten,
                (_, rohrpost::Outcome::Unknown) => Kind::Unknown,
            };
            // the message is the same for many records, and in the log
            let reason = match error.code() {
                Some(code) => format!("{} attempts={}", code.name(), error.attempts()),
                None => format!("{:?} attempts={}", error.reason(), error.attempts()),
            };
            (kind, error.partition(), None, Some(reason))
        }
    };
    let Identity { partition, sequence, .. } = identity;
    Outcome { partition, sequence, kind, placed, offset, time_ms: now_ms(), reason }
}

/// The next record may be accepted, if this one was not.
fn may_pass(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::BufferExhausted { .. }
            | Refusal::NotConnected { .. }
            | Refusal::UnknownTopic { .. }
            | Refusal::UnknownPartition { .. }
            | Refusal::TopicRefused { .. }
    )
}

type Kept = Result<(Ledger, Option<Writer>), Failure>;

/// Starts the thread that keeps outcomes; it ends when no callback is left that could tell one.
fn keep(
    mut ledger: Ledger,
    mut writer: Option<Writer>,
    outcomes: Receiver<Outcome>,
    broken: Arc<AtomicBool>,
) -> Result<JoinHandle<Kept>, Failure> {
    let keeper = move || {
        let result = take_all(&mut ledger, writer.as_mut(), &outcomes);
        if result.is_err() {
            broken.store(true, Ordering::Relaxed);
        }
        result.map(|()| (ledger, writer))
    };
    std::thread::Builder::new().name("rohrpost-verify".to_owned()).spawn(keeper).map_err(no_thread)
}

/// Takes outcomes until nobody is left who could tell one. The file is up to date whenever there is nothing to do.
fn take_all(
    ledger: &mut Ledger,
    mut writer: Option<&mut Writer>,
    outcomes: &Receiver<Outcome>,
) -> Result<(), Failure> {
    loop {
        let outcome = match outcomes.try_recv() {
            Err(TryRecvError::Empty) => {
                if let Some(writer) = writer.as_deref_mut() {
                    writer.flush()?;
                }
                outcomes.recv().ok()
            }
            waiting => waiting.ok(),
        };
        let Some(outcome) = outcome else { return Ok(()) };
        if let Some(writer) = writer.as_deref_mut() {
            writer.write(&outcome)?;
        }
        ledger.outcome(&outcome).map_err(Failure::run)?;
    }
}

/// Counts how often a partition's leader changes, as the producer sees it.
struct Watch {
    stop: Arc<AtomicBool>,
    moves: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn start(producer: &Producer, topic: &str) -> Result<Watch, Failure> {
        let (stop, moves) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (producer, topic) = (producer.clone(), topic.to_owned());
        let (told_to_stop, count) = (stop.clone(), moves.clone());
        let watch = move || {
            let mut known = BTreeMap::new();
            while !told_to_stop.load(Ordering::Relaxed) {
                if let Ok(now) = producer.partitions_for_blocking(&topic) {
                    let now = now.iter().map(|info| (info.partition, info.leader, info.leader_epoch));
                    count.fetch_add(moved(&mut known, now), Ordering::Relaxed);
                }
                std::thread::park_timeout(WATCH_TICK);
            }
        };
        let thread =
            std::thread::Builder::new().name("rohrpost-verify".to_owned()).spawn(watch).map_err(no_thread)?;
        Ok(Watch { stop, moves, thread })
    }

    /// The thread may wait for metadata of a topic that is gone; it ends with the producer at the latest.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.moves.load(Ordering::Relaxed)
    }
}

/// How many partitions have another leader than they had, or the same one in another epoch. To have none for a while is no move.
/// `now`: partition, leader, epoch.
fn moved(known: &mut BTreeMap<i32, (i32, i32)>, now: impl Iterator<Item = (i32, Option<i32>, i32)>) -> u64 {
    let mut moves = 0;
    for (partition, leader, epoch) in now {
        let Some(leader) = leader else { continue };
        let before = known.insert(partition, (leader, epoch));
        moves += u64::from(before.is_some_and(|before| before != (leader, epoch)));
    }
    moves
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::start(format!("cannot start a thread: {error}"))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The progress bar, where there is a terminal.
struct Bar {
    bar: ProgressBar,
    by_time: bool,
}

impl Bar {
    fn start(options: &Verify, topic: &str) -> Bar {
        let by_time = options.seconds.is_some();
        if options.quiet || !terminal::is_terminal() {
            return Bar { bar: ProgressBar::hidden(), by_time };
        }
        let bar = ProgressBar::new(options.seconds.unwrap_or(options.records.unwrap_or(RECORDS)));
        bar.set_draw_target(terminal::bar_target());
        let color = if terminal::wants_color() { ".cyan/dim" } else { "" };
        let unit = if by_time { "s" } else { "records" };
        let template =
            format!("{{prefix}}  {{bar:24{color}}}  {{percent}}%  {{human_pos}} {unit}  eta {{eta}}");
        // the template is made of constants
        bar.set_style(ProgressStyle::with_template(&template).expect("valid template").progress_chars("━╸─"));
        bar.set_prefix(topic.to_owned());
        terminal::show_bar(Some(bar.clone()));
        Bar { bar, by_time }
    }

    fn at(&self, records: u64, elapsed: Duration) {
        self.bar.set_position(if self.by_time { elapsed.as_secs() } else { records });
    }

    fn finish(self) {
        terminal::show_bar(None);
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_comes_back_in_a_new_epoch_has_moved() {
        let mut known = BTreeMap::new();
        let mut see = |partitions: &[(i32, Option<i32>, i32)]| moved(&mut known, partitions.iter().copied());
        assert_eq!(see(&[(0, Some(1), 0), (1, None, 0), (2, Some(3), 5)]), 0, "the first look");
        assert_eq!(see(&[(0, Some(1), 0), (1, Some(2), 1), (2, None, 5)]), 0, "none is no leader");
        assert_eq!(see(&[(0, Some(2), 1), (1, Some(2), 1), (2, Some(3), 5)]), 1);
        assert_eq!(see(&[(0, Some(2), 1), (1, Some(2), 2), (2, Some(1), 6)]), 2);
    }

    #[test]
    fn only_refusals_that_a_broker_can_heal_let_the_run_go_on() {
        assert!(may_pass(&Refusal::BufferExhausted { bytes: 1, waited_ms: 1 }));
        assert!(!may_pass(&Refusal::Closed));
        assert!(!may_pass(&Refusal::RecordTooLarge { size: 2, limit: 1, key: "max.request.size" }));
    }
}
