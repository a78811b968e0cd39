//! CRC-32C (Castagnoli), the checksum of record batches (REC-3). Uses the processor's instruction where there is one.

/// The checksum of `data`.
#[inline]
pub fn crc32c(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
}

/// The checksum of what `crc` is the checksum of, followed by `data`. Begin with 0.
#[inline]
pub fn crc32c_append(crc: u32, data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, data)
}

/// [`crc32c_append`] for data that another thread wrote, a while ago: it comes from far, so it is asked for ahead.
pub fn crc32c_append_cold(mut crc: u32, data: &[u8]) -> u32 {
    let mut rest = data;
    crate::prefetch::for_read(&rest[..rest.len().min(COLD_STEP)]);
    while let Some((step, behind)) = rest.split_at_checked(COLD_STEP) {
        crate::prefetch::for_read(&behind[..behind.len().min(COLD_STEP)]);
        crc = crc32c_append(crc, step);
        rest = behind;
    }
    crc32c_append(crc, rest)
}

/// Asked for at a time, in bytes. A multiple of the 768 that the checksum takes in three lanes.
const COLD_STEP: usize = 3 * 768;

#[cfg(test)]
mod tests {
    use super::*;

    /// REC-3
    #[test]
    fn check_value_of_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_append(crc32c(b"1234"), b"56789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn cold_data_has_the_same_checksum() {
        let data: Vec<u8> = (0..3 * COLD_STEP + 100).map(|n| ((n * n) >> 3) as u8).collect();
        for len in [0, 1, COLD_STEP - 1, COLD_STEP, COLD_STEP + 1, 3 * COLD_STEP, data.len()] {
            assert_eq!(crc32c_append_cold(7, &data[..len]), crc32c_append(7, &data[..len]), "{len}");
        }
    }
}
