//! `cargo run --release -p rohrpost-sim -- --seeds N [--from SEED]`

fn main() {}
