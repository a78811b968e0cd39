//! `cargo run --release -p rohrpost-sim -- --seeds N [--from SEED]`: runs seeds, tells what they covered, and the story of the first
//! that fails. Exit status 1 if one did.
#![allow(clippy::print_stdout, reason = "a program's output")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rohrpost::rules::{Rule, break_rule};
use rohrpost_sim::plan::Plan;
use rohrpost_sim::runner::{Options, run_caught, run_seeds};
use rohrpost_sim::shrink::shrink;
use rohrpost_sim::table::{self, Noticed, Row};

/// The producer in simulated worlds: virtual time, failing brokers and networks, and a checker that accepts no wrong outcome.
#[derive(Debug, Parser)]
#[command(name = "rohrpost-sim", version)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Threads; one per core if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Runs this seed alone and tells its plan.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: tells everything that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// With --seed: does not look for a shorter story of a failure.
    #[arg(long)]
    no_shrink: bool,
    /// Runs all seeds, even if some fail.
    #[arg(long)]
    keep_going: bool,
    /// Switches each rule off alone and tells how many of the seeds 1 to N it takes until that is noticed. Fails if one is not.
    #[arg(long, conflicts_with_all = ["seed", "from", "keep_going"])]
    table: bool,
    /// With --table: only rules whose name or switch begins so (ACC-22, SplitOrder).
    #[arg(long, requires = "table", value_name = "RULE")]
    only: Vec<String>,
    /// With --table: writes it into this page, between its marks.
    #[arg(long, requires = "table", value_name = "PAGE")]
    write: Option<PathBuf>,
    /// With --seed: switches this rule off (its switch, as --table tells it).
    #[arg(long, requires = "seed", value_name = "SWITCH")]
    without: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    if let Some(seed) = args.seed {
        let Some(without) = args.without.as_deref() else { return one(seed, args.trace, !args.no_shrink) };
        let Some(rule) = Rule::ALL.iter().copied().find(|rule| format!("{rule:?}") == without) else {
            println!("there is no switch {without}");
            return ExitCode::from(2);
        };
        let _broken = break_rule(Some(rule));
        return one(seed, args.trace, !args.no_shrink);
    }
    if args.table {
        return tabulate(&args, threads);
    }
    let options = Options { from: args.from, seeds: args.seeds, threads, keeps_going: args.keep_going };
    let report = run_seeds(&options);
    println!("{report}");
    match report.failures.first() {
        None => ExitCode::SUCCESS,
        Some((seed, _)) => {
            println!();
            if args.no_shrink { ExitCode::FAILURE } else { one(*seed, false, true) }
        }
    }
}

/// How soon each rule is missed.
fn tabulate(args: &Args, threads: usize) -> ExitCode {
    let is_chosen = |rule: &Rule| {
        let switch = format!("{rule:?}");
        args.only.is_empty()
            || args.only.iter().any(|only| rule.name().starts_with(only) || switch.starts_with(only))
    };
    let rules: Vec<Rule> = Rule::ALL.iter().copied().filter(is_chosen).collect();
    let tell = |row: &Row, took: Duration| {
        let took_s = took.as_secs_f64();
        match &row.noticed {
            Some(Noticed { seeds, violation }) => {
                println!(
                    "{:8} {:24} {seeds:>6} seeds {took_s:>6.1} s  {violation}",
                    row.rule.name(),
                    format!("{:?}", row.rule)
                );
            }
            None => println!(
                "{:8} {:24} not noticed in {} seeds",
                row.rule.name(),
                format!("{:?}", row.rule),
                args.seeds
            ),
        }
    };
    let rows = table::make(&rules, args.seeds, threads, &table::violation_of, &tell);
    let unnoticed = rows.iter().filter(|row| row.noticed.is_none()).count();
    println!("{} of {} rules are missed when they are switched off", rows.len() - unnoticed, rows.len());
    if let Some(page) = &args.write
        && let Err(error) = table::write_into(page, &table::markdown(&rows, args.seeds))
    {
        println!("the table cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    if unnoticed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One seed: its plan, what happened, and what is left of it if it fails.
fn one(seed: u64, trace: bool, shrinks: bool) -> ExitCode {
    let plan = Plan::of(seed);
    let run = run_caught(&plan, trace);
    for line in &run.lines {
        println!("{line}");
    }
    println!("seed {seed}, digest {:016x}: {} records accepted", run.digest, run.records);
    println!("{plan}");
    let Some(first) = run.violations.first() else {
        println!("no violation");
        return ExitCode::SUCCESS;
    };
    for violation in &run.violations {
        println!("{violation}");
    }
    if shrinks {
        let less = shrink(&plan, first.kind, &|| {});
        let run = run_caught(&less, true);
        println!("\nThe same in short:\n{less}\n");
        const TOLD: usize = 120;
        let skipped = run.lines.len().saturating_sub(TOLD);
        if skipped > 0 {
            println!("  ({skipped} lines before)");
        }
        for line in run.lines.iter().skip(skipped) {
            println!("{line}");
        }
        for violation in &run.violations {
            println!("{violation}");
        }
    }
    println!("\nagain: cargo run --release -p rohrpost-sim -- --seed {seed}");
    ExitCode::FAILURE
}
