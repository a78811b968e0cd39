//! `cargo run --release -p rohrpost-sim -- --seeds N [--from SEED]`: runs seeds, tells what they covered, and the story of the first
//! that fails. Exit status 1 if one did.
#![allow(clippy::print_stdout, reason = "a program's output")]

use std::process::ExitCode;

use clap::Parser;
use rohrpost_sim::plan::Plan;
use rohrpost_sim::runner::{Options, run_caught, run_seeds};
use rohrpost_sim::shrink::shrink;

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
}

fn main() -> ExitCode {
    let args = Args::parse();
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    if let Some(seed) = args.seed {
        return one(seed, args.trace, !args.no_shrink);
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
