//! A few seeds with every run of the tests; many more are run by `.ci/run` in a release build.

use rohrpost_sim::plan::{Plan, PlannedFault};
use rohrpost_sim::runner::{Options, run_caught, run_seeds};

/// How many seeds; `ROHRPOST_SIM_SEEDS` says otherwise.
fn seeds() -> u64 {
    std::env::var("ROHRPOST_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

#[test]
fn nothing_that_was_promised_is_broken_in_the_first_seeds() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let report = run_seeds(&Options { from: 1, seeds: seeds(), threads, keeps_going: true });
    assert!(report.failures.is_empty(), "{report}");
    let [records, brokers, faults, seconds] = report.medians;
    assert!(records >= 1_000 && brokers >= 3 && faults >= 10 && seconds >= 60, "{report}");
    for what in
        ["batches retried", "epoch bumps", "leader moves", "records unknown", "duplicates found by brokers"]
    {
        assert!(report.counts.contains_key(what), "no seed has {what}:\n{report}");
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in [2, 7, 11] {
        let plan = Plan::of(seed);
        let (first, second) = (run_caught(&plan, false), run_caught(&plan, true));
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert_eq!(first.counts, second.counts, "seed {seed}");
        assert!(first.lines.is_empty() && !second.lines.is_empty());
        let mut other = plan.clone();
        other.faults.retain(|PlannedFault { at_ms, .. }| at_ms % 2 == 0);
        assert_ne!(run_caught(&other, false).digest, first.digest, "another plan is another story");
    }
}
