//! See `rohrpost_fuzz::broker`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rohrpost_fuzz::write_seeds_if_asked(rohrpost_fuzz::broker::seeds),
    |data: &[u8]| rohrpost_fuzz::broker::run(data)
);
