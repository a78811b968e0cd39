//! See `rohrpost_fuzz::protocol`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rohrpost_fuzz::write_seeds_if_asked(rohrpost_fuzz::protocol::seeds),
    |data: &[u8]| rohrpost_fuzz::protocol::run(data)
);
