//! Variable-length integers: seven bits a byte, low group first, the high bit says that more follow.
//!
//! Records use the *zig-zag* forms ([`put_varint`], [`put_varlong`]), in which small negative numbers stay short (REC-1).
//! Flexible messages and the bodies of some control records use the *unsigned* forms.
//!
//! All functions work on slices: `size_*` says how many bytes a value takes, `put_*` writes it at the start of a slice that is
//! long enough and returns the bytes written, `read_*` returns the value and the bytes read.

use std::fmt;

/// The most bytes that a 32-bit value takes.
pub const MAX_VARINT_LEN: usize = 5;
/// The most bytes that a 64-bit value takes.
pub const MAX_VARLONG_LEN: usize = 10;

/// Why bytes are no variable-length integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VarintError {
    /// The bytes end before the number does.
    Cut,
    /// The number goes on after 5 (10) bytes, or has more than 32 (64) bits.
    TooLong,
}

impl fmt::Display for VarintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VarintError::Cut => "the bytes end within a variable-length integer",
            VarintError::TooLong => "a variable-length integer is too long for its type",
        })
    }
}

impl std::error::Error for VarintError {}

/// Bytes of a zig-zag `i32`.
#[inline]
pub const fn size_varint(value: i32) -> usize {
    size_unsigned_varint(zigzag32(value))
}

/// Bytes of a zig-zag `i64`.
#[inline]
pub const fn size_varlong(value: i64) -> usize {
    size_unsigned_varlong(zigzag64(value))
}

/// Bytes of an unsigned `u32`.
#[inline]
pub const fn size_unsigned_varint(value: u32) -> usize {
    // the significant bits (at least one), in groups of seven, rounded up: (bits * 9 + 64) / 64 without a division
    let bits = 32 - (value | 1).leading_zeros() as usize;
    (bits * 9 + 64) >> 6
}

/// Bytes of an unsigned `u64`.
#[inline]
pub const fn size_unsigned_varlong(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    (bits * 9 + 64) >> 6
}

/// Writes a zig-zag `i32`.
///
/// # Panics
/// If `out` is shorter than [`size_varint`].
#[inline]
pub fn put_varint(out: &mut [u8], value: i32) -> usize {
    put_unsigned_varint(out, zigzag32(value))
}

/// Writes a zig-zag `i64`.
///
/// # Panics
/// If `out` is shorter than [`size_varlong`].
#[inline]
pub fn put_varlong(out: &mut [u8], value: i64) -> usize {
    put_unsigned_varlong(out, zigzag64(value))
}

/// Writes an unsigned `u32`.
///
/// # Panics
/// If `out` is shorter than [`size_unsigned_varint`].
#[inline]
pub fn put_unsigned_varint(out: &mut [u8], value: u32) -> usize {
    put_unsigned_varlong(out, u64::from(value))
}

/// Writes an unsigned `u64`.
///
/// # Panics
/// If `out` is shorter than [`size_unsigned_varlong`].
#[inline]
pub fn put_unsigned_varlong(out: &mut [u8], value: u64) -> usize {
    // nearly all lengths and deltas take one byte or two
    if value < 1 << 7 {
        out[0] = value as u8;
        1
    } else if value < 1 << 14 {
        out[..2].copy_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]);
        2
    } else {
        put_long(out, value)
    }
}

#[inline(never)]
fn put_long(out: &mut [u8], mut value: u64) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

/// Reads a zig-zag `i32`.
///
/// # Errors
/// [`VarintError`]: the input ends within the number, or it has more bits than its type.
#[inline]
pub fn read_varint(input: &[u8]) -> Result<(i32, usize), VarintError> {
    let (raw, used) = read_unsigned_varint(input)?;
    Ok((((raw >> 1) as i32) ^ -((raw & 1) as i32), used))
}

/// Reads a zig-zag `i64`.
///
/// # Errors
/// [`VarintError`]: the input ends within the number, or it has more bits than its type.
#[inline]
pub fn read_varlong(input: &[u8]) -> Result<(i64, usize), VarintError> {
    let (raw, used) = read_unsigned_varlong(input)?;
    Ok((((raw >> 1) as i64) ^ -((raw & 1) as i64), used))
}

/// Reads an unsigned `u32`. Padded numbers (`80 00`) are taken, as Kafka takes them; bits beyond the 32nd are refused.
///
/// # Errors
/// [`VarintError`]: the input ends within the number, or it has more bits than its type.
#[inline]
pub fn read_unsigned_varint(input: &[u8]) -> Result<(u32, usize), VarintError> {
    match input.first() {
        Some(&byte) if byte < 0x80 => Ok((u32::from(byte), 1)),
        _ => {
            let (value, used) = read_long(input, MAX_VARINT_LEN)?;
            u32::try_from(value).map(|value| (value, used)).map_err(|_| VarintError::TooLong)
        }
    }
}

/// Reads an unsigned `u64`. Padded numbers are taken; bits beyond the 64th are refused.
///
/// # Errors
/// [`VarintError`]: the input ends within the number, or it has more bits than its type.
#[inline]
pub fn read_unsigned_varlong(input: &[u8]) -> Result<(u64, usize), VarintError> {
    match input.first() {
        Some(&byte) if byte < 0x80 => Ok((u64::from(byte), 1)),
        _ => read_long(input, MAX_VARLONG_LEN),
    }
}

#[inline]
pub(crate) const fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

#[inline]
pub(crate) const fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn read_long(input: &[u8], len_max: usize) -> Result<(u64, usize), VarintError> {
    let mut value = 0u64;
    for (i, &byte) in input.iter().take(len_max).enumerate() {
        let group = u64::from(byte & 0x7f);
        // the tenth byte holds one bit only
        if i == 9 && group > 1 {
            return Err(VarintError::TooLong);
        }
        value |= group << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(if input.len() < len_max { VarintError::Cut } else { VarintError::TooLong })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// REC-1
    #[test]
    fn sizes_change_at_powers_of_128() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1u64 << bits) - 1, (1u64 << bits) + 1] {
                let mut out = [0; MAX_VARLONG_LEN];
                let used = put_unsigned_varlong(&mut out, value);
                assert_eq!(used, size_unsigned_varlong(value), "{value}");
                assert_eq!(read_unsigned_varlong(&out), Ok((value, used)));
                if let Ok(short) = u32::try_from(value) {
                    assert_eq!(used, size_unsigned_varint(short));
                }
            }
        }
        // one byte up to 63, two up to 8191, three up to 1,048,575
        for (value, size) in
            [(63, 1), (64, 2), (8191, 2), (8192, 3), (1_048_575, 3), (1_048_576, 4), (-64, 1), (-65, 2)]
        {
            assert_eq!(size_varint(value), size, "{value}");
            assert_eq!(size_varlong(i64::from(value)), size, "{value}");
        }
    }

    #[test]
    fn bits_that_do_not_fit_are_refused() {
        assert_eq!(read_unsigned_varint(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(VarintError::TooLong));
        assert_eq!(
            read_unsigned_varlong(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
            Err(VarintError::TooLong)
        );
        for (len, error) in [(4, VarintError::Cut), (5, VarintError::TooLong), (6, VarintError::TooLong)] {
            assert_eq!(read_varint(&[0xff; 6][..len]), Err(error), "{len}");
        }
        for (len, error) in [(9, VarintError::Cut), (10, VarintError::TooLong), (11, VarintError::TooLong)] {
            assert_eq!(read_varlong(&[0x80; 11][..len]), Err(error), "{len}");
        }
        assert_eq!(VarintError::Cut.to_string(), "the bytes end within a variable-length integer");
        assert_eq!(VarintError::TooLong.to_string(), "a variable-length integer is too long for its type");
    }
}
