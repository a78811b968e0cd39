//! The seeds of all targets, without libFuzzer: each seed, and each seed cut in half, keeps its target's promises.

use rohrpost_fuzz::{broker, data_dir, frames, log_recovery, metadata, protocol, record};

fn run_all(seeds: Vec<Vec<u8>>, run: fn(&[u8])) {
    assert!(!seeds.is_empty());
    for seed in seeds {
        run(&seed);
        run(&seed[..seed.len() / 2]);
    }
}

#[test]
fn record() {
    run_all(record::seeds(), record::run);
}

#[test]
fn protocol() {
    run_all(protocol::seeds(), protocol::run);
}

#[test]
fn frames() {
    run_all(frames::seeds(), frames::run);
}

#[test]
fn log_recovery() {
    run_all(log_recovery::seeds(), log_recovery::run);
}

#[test]
fn data_dir() {
    run_all(data_dir::seeds(), data_dir::run);
}

#[test]
fn metadata() {
    run_all(metadata::seeds(), metadata::run);
}

#[test]
fn broker() {
    run_all(broker::seeds(), broker::run);
}
