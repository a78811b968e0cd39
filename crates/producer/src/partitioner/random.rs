//! Numbers that look random, from a seed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Splitmix64: a counter, mixed. Threads that draw at the same time draw different numbers.
pub(super) struct Random(AtomicU64);

impl Random {
    /// Equal seeds draw equal numbers.
    pub(super) fn new(seed: u64) -> Random {
        Random(AtomicU64::new(seed))
    }

    pub(super) fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A number below `n` from 64 random bits; `None` for no numbers.
pub(super) fn below(random: u64, n: u64) -> Option<u64> {
    (n > 0).then(|| ((u128::from(random) * u128::from(n)) >> 64) as u64)
}

/// One of these, by 64 random bits.
pub(super) fn one_of(random: u64, partitions: &[u32]) -> Option<u32> {
    below(random, partitions.len() as u64).map(|at| partitions[at as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        // Its authors add to the state before they mix, this does it afterwards.
        let random = Random::new(1_234_567_u64.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let drawn: Vec<u64> = (0..5).map(|_| random.next()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(drawn, published);
    }
}
