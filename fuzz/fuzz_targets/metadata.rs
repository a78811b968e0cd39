//! See `rohrpost_fuzz::metadata`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rohrpost_fuzz::write_seeds_if_asked(rohrpost_fuzz::metadata::seeds),
    |data: &[u8]| rohrpost_fuzz::metadata::run(data)
);
