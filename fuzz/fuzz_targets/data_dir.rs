//! See `rohrpost_fuzz::data_dir`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rohrpost_fuzz::write_seeds_if_asked(rohrpost_fuzz::data_dir::seeds),
    |data: &[u8]| rohrpost_fuzz::data_dir::run(data)
);
