//! Many seeds: threads, what they covered, and the story of the first that fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::history::Violation;
use crate::plan::Plan;
use crate::world::{Run, run};

/// Failing seeds that are kept with their violations.
const FAILURES_MAX: usize = 100;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// On so many threads.
    pub threads: usize,
    /// Go on after a seed that fails.
    pub keeps_going: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Seeds that were run.
    pub seeds: u64,
    /// Real time.
    pub took: Duration,
    /// Virtual time.
    pub simulated_ms: u64,
    /// In the middle of all seeds: records, brokers, faults, virtual seconds.
    pub medians: [u64; 4],
    /// What happened how often, in all seeds.
    pub counts: BTreeMap<String, u64>,
    /// Of what happened, in how many seeds it did.
    pub seeds_with: BTreeMap<String, u64>,
    /// Seeds that failed, in order, at most 100.
    pub failures: Vec<(u64, Vec<Violation>)>,
}

/// Runs seeds. Which of them fail depends on nothing but their numbers.
pub fn run_seeds(options: &Options) -> Report {
    quiet_panics();
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let collected = Mutex::new(Collected::default());
    let work = || {
        let mut own = Collected::default();
        while !stop.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= options.seeds {
                break;
            }
            let seed = options.from + n;
            let run = run_caught(&Plan::of(seed), false);
            if !run.violations.is_empty() && !options.keeps_going {
                stop.store(true, Ordering::Relaxed);
            }
            own.add(seed, run);
        }
        let mut all = collected.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.merge(own);
    };
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(work);
        }
    });
    let collected = collected.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    collected.report(start.elapsed())
}

/// As [`run`]; the text of a panic is among the violations.
pub fn run_caught(plan: &Plan, keeps_lines: bool) -> Run {
    let mut result = run(plan, keeps_lines);
    let place = LAST_PANIC.take();
    for violation in result.violations.iter_mut().filter(|violation| violation.kind == "panic") {
        if let Some(place) = &place {
            violation.text = format!("{} ({place})", violation.text);
        }
    }
    result
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics inside a world are violations, and told as such; nothing is printed for them.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        LAST_PANIC.set(info.location().map(|at| format!("{}:{}", at.file(), at.line())));
    }));
}

#[derive(Default)]
struct Collected {
    runs: Vec<[u64; 4]>,
    simulated_ms: u64,
    counts: BTreeMap<String, u64>,
    seeds_with: BTreeMap<String, u64>,
    failures: BTreeMap<u64, Vec<Violation>>,
}

impl Collected {
    fn add(&mut self, seed: u64, run: Run) {
        self.runs.push([run.records, run.brokers, run.faults, run.simulated_ms / 1000]);
        self.simulated_ms += run.simulated_ms;
        for (what, times) in run.counts {
            *self.seeds_with.entry(what.clone()).or_default() += 1;
            *self.counts.entry(what).or_default() += times;
        }
        if !run.violations.is_empty() && self.failures.len() < FAILURES_MAX {
            self.failures.insert(seed, run.violations);
        }
    }

    fn merge(&mut self, other: Collected) {
        self.runs.extend(other.runs);
        self.simulated_ms += other.simulated_ms;
        for (what, times) in other.counts {
            *self.counts.entry(what).or_default() += times;
        }
        for (what, seeds) in other.seeds_with {
            *self.seeds_with.entry(what).or_default() += seeds;
        }
        self.failures.extend(other.failures);
    }

    fn report(self, took: Duration) -> Report {
        let median = |at: usize| {
            let mut values: Vec<u64> = self.runs.iter().map(|run| run[at]).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        Report {
            seeds: self.runs.len() as u64,
            took,
            simulated_ms: self.simulated_ms,
            medians: [median(0), median(1), median(2), median(3)],
            counts: self.counts,
            seeds_with: self.seeds_with,
            failures: self.failures.into_iter().collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64().max(1e-9);
        writeln!(
            f,
            "{} seeds in {seconds:.1} s: {:.0} seeds per second, {:.1} simulated hours",
            self.seeds,
            self.seeds as f64 / seconds,
            self.simulated_ms as f64 / 3_600_000.0
        )?;
        let [records, brokers, faults, simulated] = self.medians;
        writeln!(
            f,
            "a seed, in the middle: {records} records, {brokers} brokers, {faults} faults, {simulated} simulated seconds"
        )?;
        writeln!(f, "{:>12} {:>8}", "times", "seeds")?;
        for (what, times) in &self.counts {
            writeln!(f, "{times:>12} {:>8}  {what}", self.seeds_with.get(what).copied().unwrap_or_default())?;
        }
        match self.failures.len() {
            0 => write!(f, "no violation"),
            _ => {
                for (seed, violations) in &self.failures {
                    for violation in violations.iter().take(3) {
                        writeln!(f, "seed {seed}: {violation}")?;
                    }
                }
                write!(f, "{} seeds with violations", self.failures.len())
            }
        }
    }
}
