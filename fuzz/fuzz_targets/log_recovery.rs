//! See `rohrpost_fuzz::log_recovery`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rohrpost_fuzz::write_seeds_if_asked(rohrpost_fuzz::log_recovery::seeds),
    |data: &[u8]| rohrpost_fuzz::log_recovery::run(data)
);
