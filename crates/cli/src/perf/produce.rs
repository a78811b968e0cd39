//! `rohrpost perf produce`: threads that send, a clock around them, and what it came to.
//!
//! The main thread sends nothing. It waits for the [`Worker`]s, and meanwhile draws the progress bar and notes points for a plot, if
//! there is either.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use rohrpost::{Producer, ProducerBuilder};

use super::args::PerfProduce;
use super::figures::{Figures, LatencyMs, Produced, json};
use super::latency::Latencies;
use super::pace::Pace;
use super::payload::{self, Values};
use super::plot::{self, Count};
use super::series::Series;
use super::usage::Cpu;
use super::worker::{Common, OUTSTANDING_MAX, Route, Tally, Worker};
use crate::cluster::settings;
use crate::failure::Failure;
use crate::produce::report::{grouped, rate};
use crate::watch::Watching;
use crate::{interrupt, terminal, topics};

/// How often a point is noted for a plot, and how often a progress bar moves.
const PLOT_TICK: Duration = Duration::from_millis(20);
const BAR_TICK: Duration = Duration::from_millis(125);
/// Bytes of a key: see [`payload::keys`].
const KEY_BYTES: u64 = 12;

pub(super) fn run(options: &PerfProduce) -> Result<(), Failure> {
    let builder = configure(options)?;
    if let Some(path) = &options.plot {
        // told now, and not after minutes of work
        std::fs::write(path, "").map_err(|error| cannot_write(path, &error))?;
    }
    topics::ensure_exactly(&options.bootstrap_server, &options.topic, options.partitions)?;
    let producer = builder.build().map_err(Failure::start)?;
    producer.connect_blocking().map_err(Failure::start)?;
    let topic = producer.topic_blocking(&options.topic).map_err(Failure::start)?;
    let partitions = producer.partitions_for_blocking(&options.topic).map_err(Failure::start)?.len();

    let watching = Watching::start(&options.watch, &producer, &options.topic, None)?;
    let mut job = Job::prepare(options, &producer, &topic);
    let before = producer.metrics();
    let (tally, seconds, cpu) = job.measure(&producer)?;
    let common = &job.common;
    let sampled = common.sampled.load(Ordering::Relaxed);
    let records = tally.acked + sampled;
    let key_bytes = if options.keys.is_some() { KEY_BYTES } else { 0 };
    let payload_bytes = records * (u64::from(options.size) + key_bytes);
    let metrics = producer.metrics();
    let failed = tally.failed + common.sampled_failed.load(Ordering::Relaxed);
    let produced = Produced {
        figures: Figures {
            topic: options.topic.clone(),
            partitions,
            ..Figures::new(records, payload_bytes, seconds, cpu)
        },
        latency_ms: LatencyMs::from(common.latencies.percentiles()),
        failed,
        retries: metrics.records_retried - before.records_retried,
        ended_early: tally.sent < options.records,
        first_error: common.first_error.get().cloned(),
        size: options.size,
        threads: options.threads,
        by_name: options.by_name,
        batches: metrics.batches_sent - before.batches_sent,
        requests: metrics.produce_requests - before.produce_requests,
    };
    drop(producer.close_blocking(Duration::from_secs(10)));
    watching.finish();
    if let Some(path) = &options.plot {
        let svg = plot::draw(&produced, job.counts.points(), &common.latencies.stamps());
        std::fs::write(path, svg).map_err(|error| cannot_write(path, &error))?;
    }
    tell(&produced, options, tally)
}

/// The figures to standard output, what went wrong to standard error.
fn tell(produced: &Produced, options: &PerfProduce, tally: Tally) -> Result<(), Failure> {
    topics::print(&if options.json { json(produced)? } else { produced.text() })?;
    if let Some(error) = &produced.first_error {
        terminal::note(&format!(
            "rohrpost: {} record{} failed; the first: {error}",
            grouped(produced.failed),
            if produced.failed == 1 { "" } else { "s" }
        ));
    }
    if produced.ended_early {
        terminal::note(&format!(
            "ended early: {} of {} records were sent",
            grouped(tally.sent),
            grouped(options.records)
        ));
    }
    if produced.failed > 0 { Err(Failure::Told) } else { Ok(()) }
}

/// Settings are checked before anything is connected.
fn configure(options: &PerfProduce) -> Result<ProducerBuilder, Failure> {
    let builder = ProducerBuilder::new("").set_all(settings(&options.settings)?);
    let builder = builder.set("bootstrap.servers", &options.bootstrap_server).map_err(Failure::start)?;
    builder.check().map_err(Failure::start)?;
    Ok(builder)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::start(format!("cannot write --plot {}: {error}", path.display()))
}

/// Everything made that need not be made while the clock runs.
struct Job<'a> {
    options: &'a PerfProduce,
    common: Arc<Common>,
    workers: Vec<Worker>,
    start: Instant,
    counts: Series<Count>,
}

impl<'a> Job<'a> {
    fn prepare(options: &'a PerfProduce, producer: &Producer, topic: &rohrpost::Topic) -> Job<'a> {
        let values = Values::make(options.payload, options.size as usize);
        let keys = options.keys.map(payload::keys);
        let threads = options.threads as usize;
        // where a plot's axis begins: the workers below are made in no time
        let start = Instant::now();
        let common = Arc::new(Common::new(Latencies::new(options.plot.is_some().then_some(start))));
        let worker = |thread: usize| Worker {
            common: common.clone(),
            route: if options.by_name {
                Route::Name(producer.clone(), options.topic.clone())
            } else {
                Route::Handle(topic.clone())
            },
            values: values.cursor(thread),
            keys: keys.map(|keys| (keys, fastrand::Rng::with_seed(thread as u64))),
            records: share(options.records, threads, thread),
            pace: options.rate.map(|rate| Pace::new(rate as f64 / threads as f64)),
            latency_every: options.latency_every,
            outstanding_max: (OUTSTANDING_MAX / threads).max(1),
        };
        let workers = (0..threads).map(worker).collect();
        Job { options, common, workers, start, counts: Series::new() }
    }

    /// Runs the workers; what they came to, the seconds, and the CPU time of all threads meanwhile.
    fn measure(&mut self, producer: &Producer) -> Result<(Tally, f64, Option<Cpu>), Failure> {
        let (common, handle) = (self.common.clone(), producer.clone());
        interrupt::catch(move |count| {
            if count == 1 {
                terminal::note("stopping: waiting for what is outstanding; Ctrl-C again drops it");
                common.stop.store(true, Ordering::Relaxed);
            } else {
                drop(handle.close_blocking(Duration::ZERO));
            }
        })?;
        let bar = self.bar();
        let (sender, tallies) = channel();
        let workers = std::mem::take(&mut self.workers);
        let count = workers.len();
        let cpu_before = Cpu::now();
        let start = Instant::now();
        for worker in workers {
            let sender = sender.clone();
            std::thread::Builder::new()
                .name("rohrpost-perf".to_owned())
                .spawn(move || {
                    // an error means that the receiver is gone, which it never is
                    let _ = sender.send(worker.run(start));
                })
                .map_err(|error| Failure::start(format!("cannot start a thread: {error}")))?;
        }
        drop(sender);
        let tally = self.wait(&tallies, count, producer, bar.as_ref())?;
        // callbacks of sampled records may still have to run; if the producer was closed, they have
        let _ = producer.flush_blocking();
        let seconds = start.elapsed().as_secs_f64();
        let cpu = Cpu::now().zip(cpu_before).map(|(now, before)| now.since(before));
        self.note_count(producer);
        if let Some(bar) = bar {
            terminal::show_bar(None);
            bar.finish_and_clear();
        }
        Ok((tally, seconds, cpu))
    }

    fn wait(
        &mut self,
        tallies: &Receiver<Tally>,
        mut running: usize,
        producer: &Producer,
        bar: Option<&ProgressBar>,
    ) -> Result<Tally, Failure> {
        let tick = match (&self.options.plot, bar) {
            (Some(_), _) => PLOT_TICK,
            (None, Some(_)) => BAR_TICK,
            // nothing to do before the end
            (None, None) => Duration::from_secs(3600),
        };
        let mut sum = Tally::default();
        while running > 0 {
            match tallies.recv_timeout(tick) {
                Ok(tally) => {
                    running -= 1;
                    sum.sent += tally.sent;
                    sum.acked += tally.acked;
                    sum.failed += tally.failed;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::run("an application thread ended without its figures"));
                }
            }
            if self.options.plot.is_some() {
                self.note_count(producer);
            }
            if let Some(bar) = bar {
                bar.set_position(self.common.settled.load(Ordering::Relaxed));
            }
        }
        Ok(sum)
    }

    /// How many records are acknowledged by now.
    fn note_count(&mut self, producer: &Producer) {
        let metrics = producer.metrics();
        let seconds = self.start.elapsed().as_secs_f64();
        self.counts.push(Count { seconds, records: metrics.records_acked + metrics.records_handed_over });
    }

    fn bar(&self) -> Option<ProgressBar> {
        // a table has the place of the bar
        if self.options.quiet || self.options.watch.stats.is_some() || !terminal::is_terminal() {
            return None;
        }
        let bar = ProgressBar::new(self.options.records);
        bar.set_draw_target(terminal::bar_target());
        let template = if terminal::wants_color() {
            "{prefix}  {bar:24.cyan/dim}  {percent}%  {human_pos} records  {rate}  eta {eta}"
        } else {
            "{prefix}  {bar:24}  {percent}%  {human_pos} records  {rate}  eta {eta}"
        };
        // the templates are constants
        let style = ProgressStyle::with_template(template).expect("valid template").progress_chars("━╸─");
        bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{} records/s", rate(state.per_sec()));
        }));
        bar.set_prefix(self.options.topic.clone());
        terminal::show_bar(Some(bar.clone()));
        Some(bar)
    }
}

/// Thread `thread`'s part of `records`: the first ones take what is left over.
fn share(records: u64, threads: usize, thread: usize) -> u64 {
    records / threads as u64 + u64::from((thread as u64) < records % threads as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_shares_add_up() {
        for (records, threads) in [(1, 1), (10, 3), (2, 5), (1_000_003, 7)] {
            let shares: Vec<u64> = (0..threads).map(|thread| share(records, threads, thread)).collect();
            assert_eq!(shares.iter().sum::<u64>(), records);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
    }
}
