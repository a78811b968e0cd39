//! Asks the processor for memory that will be needed in a moment.
//!
//! A batch is written by one thread and read by another, some megabytes later, so both find it in no near cache. The record's
//! writer then waits for each line to become its own, at the latest at the next locked instruction, and the checksum waits for
//! each line to come. Asked for ahead, they come while other work is done. It changes no byte, and where the instruction is not
//! known, nothing happens.
//!
//! Measured with two threads and 32 MiB between them: writing a record of 100 B 27 → 20 ns, of 1 KiB 200 → 150 ns; the checksum of
//! 16 KiB 3.4 → 2.5 µs.

/// Bytes of a cache line, or less than one.
const LINE_LEN: usize = 64;

/// `bytes` will be written. Their present contents do not matter.
#[inline(always)]
pub fn for_write(bytes: &mut [u8]) {
    for line in bytes.chunks_mut(LINE_LEN) {
        line_for_write(line.as_mut_ptr());
    }
}

/// `bytes` will be read.
#[inline(always)]
pub fn for_read(bytes: &[u8]) {
    for line in bytes.chunks(LINE_LEN) {
        line_for_read(line.as_ptr());
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn line_for_write(at: *mut u8) {
    // SAFETY: a hint. It reads and writes nothing that the program can see, and faults at no address.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags));
    }
    // SAFETY: as above.
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) at, options(nostack, preserves_flags));
    }
    let _ = at;
}

#[inline(always)]
#[allow(unsafe_code)]
fn line_for_read(at: *const u8) {
    // SAFETY: a hint. It reads nothing that the program can see, and faults at no address.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe {
        std::arch::asm!("prefetcht0 [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    // SAFETY: as above.
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_changes_whatever_the_range() {
        let mut bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let before = bytes.clone();
        for (from, to) in [(0, 0), (0, 1), (63, 65), (1, 4999), (0, 5000), (5000, 5000)] {
            for_write(&mut bytes[from..to]);
            for_read(&bytes[from..to]);
        }
        for_write(&mut []);
        for_read(&[]);
        assert_eq!(bytes, before);
    }
}
