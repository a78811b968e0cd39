//! See `rohrpost_fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rohrpost_fuzz::write_seeds_if_asked(rohrpost_fuzz::frames::seeds),
    |data: &[u8]| rohrpost_fuzz::frames::run(data)
);
