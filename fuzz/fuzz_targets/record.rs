//! See `rohrpost_fuzz::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rohrpost_fuzz::write_seeds_if_asked(rohrpost_fuzz::record::seeds),
    |data: &[u8]| rohrpost_fuzz::record::run(data)
);
