//! Fuzz targets for everything that reads bytes from outside: what each does with an input, and the seeds it begins with.
//!
//! `scripts/fuzz` runs them. Each target is a module with two functions: `run(input)`, which panics when a promise is broken,
//! and `seeds()`, inputs made from the golden vectors. The first bytes of an input choose what is tried, the rest is what
//! the code under test gets; a target's module says which is which. `cargo test` in this folder runs all seeds through
//! their targets, without libFuzzer.
//!
//! Promises that hold for every decoder, and are asserted here: it ends, it does not panic, its memory stays within a bound
//! that the input's length gives, and what it accepts it can write and read again.

pub mod broker;
pub mod data_dir;
pub mod frames;
mod input;
pub mod log_recovery;
pub mod memory;
pub mod metadata;
pub mod protocol;
pub mod record;
mod vectors;

/// If `ROHRPOST_FUZZ_SEEDS` names a folder, the target writes its seeds there and ends, instead of fuzzing.
pub fn write_seeds_if_asked(seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    let Some(folder) = std::env::var_os("ROHRPOST_FUZZ_SEEDS").map(std::path::PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).expect("the folder for seeds can be made");
    for (i, seed) in seeds().into_iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{i:04}")), seed).expect("a seed can be written");
    }
    std::process::exit(0);
}
