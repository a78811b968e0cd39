//! The hash that places records with a key (PAR-3). Every Kafka client must compute the same, or the records of one key end up in
//! several partitions.

const M: u32 = 0x5bd1_e995;
const SEED: u32 = 0x9747_b28c;

/// 32-bit murmur2 of `data`, signed as in Kafka.
///
/// The default partition of a key is `(murmur2(key) & 0x7fff_ffff) % partitions` (PAR-2): the sign bit is cleared, the number is
/// not made absolute.
#[inline]
pub fn murmur2(data: &[u8]) -> i32 {
    // PAR-3
    let mut h = SEED ^ data.len() as u32;
    let mut groups = data.chunks_exact(4);
    for group in &mut groups {
        let mut k = u32::from_le_bytes([group[0], group[1], group[2], group[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M);
        h ^= k;
    }
    let rest = groups.remainder();
    if !rest.is_empty() {
        for (i, &byte) in rest.iter().enumerate() {
            h ^= u32::from(byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h as i32
}
