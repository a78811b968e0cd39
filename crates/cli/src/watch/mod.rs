//! Looking at a producer while it works: `--metrics` serves its metrics to Prometheus, `--stats` shows them on the screen.
//!
//! Both take snapshots, on threads of their own, of what the producer counts anyway; records do not pass here.

mod http;
mod table;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rohrpost::Producer;

use self::http::Server;
use self::table::Report;
use crate::failure::Failure;
use crate::terminal;

/// How a command's producer is looked at.
#[derive(Debug, Clone, Args)]
pub(crate) struct Watch {
    /// Serve the producer's metrics to Prometheus at http://ADDR/metrics; ADDR is a port or host:port, without host this
    /// machine alone can read them; port 0 takes a free one, and the address is printed
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<String>,
    /// Show a table every so many seconds (1 if not said): rates, buffer, latency by stage, brokers; lines where standard error is no terminal
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) stats: Option<u32>,
}

/// How far an input of known size is read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_total: u64,
}

/// A producer that is looked at.
pub(crate) struct Watching {
    /// It serves until the process ends.
    _server: Option<Server>,
    stats: Option<Stats>,
}

impl Watching {
    /// Begins; what cannot be had is told now. `input`: what is read meanwhile, if its size is known.
    pub(crate) fn start(
        watch: &Watch,
        producer: &Producer,
        name: &str,
        input: Option<Arc<Reading>>,
    ) -> Result<Watching, Failure> {
        let server = match &watch.metrics {
            None => None,
            Some(address) => {
                let producer = producer.clone();
                let server = Server::start(address, move || producer.metrics_snapshot().to_prometheus())?;
                terminal::note(&format!("metrics on http://{}/metrics", server.address()));
                if !server.address().ip().is_loopback() {
                    terminal::note("that address is open to others, who can read the metrics without asking");
                }
                Some(server)
            }
        };
        let stats = match watch.stats {
            None => None,
            Some(seconds) => {
                let report = Report::new(name, producer.metrics_snapshot(), Instant::now(), input);
                Some(Stats::start(producer, report, Duration::from_secs(seconds.into()))?)
            }
        };
        Ok(Watching { _server: server, stats })
    }

    /// The producer has done its work: shows what it came to.
    pub(crate) fn finish(self) {
        drop(self.stats);
    }
}

/// The thread that shows a table; ended, with a last look, when this is dropped.
struct Stats {
    /// Only to be dropped.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stats {
    fn start(producer: &Producer, report: Report, every: Duration) -> Result<Stats, Failure> {
        let (stop, stopped) = sync_channel(0);
        let producer = producer.clone();
        let thread = std::thread::Builder::new()
            .name("rohrpost-stats".to_owned())
            .spawn(move || show(&producer, report, every, &stopped))
            .map_err(|error| Failure::start(format!("cannot start a thread: {error}")))?;
        Ok(Stats { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // a panic there has been told already
            let _ = thread.join();
        }
    }
}

fn show(producer: &Producer, mut report: Report, every: Duration, stopped: &Receiver<()>) {
    let screen = terminal::is_terminal().then(Screen::open);
    let columns = || usize::from(terminal::bar_columns());
    let mut told = false;
    loop {
        let is_over = stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout);
        // the last look of a terminal, and of a run that is over before the first one, is at the whole
        let since_start = is_over && (screen.is_some() || !told);
        let state = report.next(producer.metrics_snapshot(), Instant::now(), since_start);
        match (&screen, is_over) {
            (Some(screen), false) => screen.show(&state.table(columns())),
            (Some(screen), true) => {
                screen.close();
                terminal::note(&state.table(columns()));
            }
            (None, _) => state.lines().iter().for_each(|line| terminal::note(line)),
        }
        told = true;
        if is_over {
            return;
        }
    }
}

/// The place on the terminal where the table stands; notes and log lines go above it.
struct Screen(ProgressBar);

impl Screen {
    fn open() -> Screen {
        let bar = ProgressBar::no_length();
        bar.set_draw_target(terminal::bar_target());
        // the template is a constant
        bar.set_style(ProgressStyle::with_template("{msg}").expect("valid template"));
        terminal::show_bar(Some(bar.clone()));
        Screen(bar)
    }

    fn show(&self, table: &str) {
        self.0.set_message(table.to_owned());
        self.0.tick();
    }

    fn close(&self) {
        terminal::show_bar(None);
        self.0.finish_and_clear();
    }
}
