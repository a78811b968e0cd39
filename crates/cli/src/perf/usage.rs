//! What this process has used of the machine. What a system does not tell is `None`, never a guess.

use std::time::Duration;

/// CPU time of all threads of this process since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) user: Duration,
    pub(super) system: Duration,
}

impl Cpu {
    /// Now.
    #[cfg(unix)]
    pub(super) fn now() -> Option<Cpu> {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::sys::time::TimeVal;

        let time = |value: TimeVal| {
            let micros = u64::try_from(value.tv_usec()).ok()?;
            Some(Duration::from_secs(u64::try_from(value.tv_sec()).ok()?) + Duration::from_micros(micros))
        };
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        Some(Cpu { user: time(usage.user_time())?, system: time(usage.system_time())? })
    }

    #[cfg(not(unix))]
    pub(super) fn now() -> Option<Cpu> {
        None
    }

    /// What was used from `earlier` until `self`.
    pub(super) fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// The most memory that was ever resident, in bytes.
///
/// From the kernel's high-water mark: `ru_maxrss` would begin, on Linux, with that of the process that started this one.
#[cfg(target_os = "linux")]
pub(super) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The most memory that was ever resident, in bytes. macOS counts `ru_maxrss` in bytes.
#[cfg(target_os = "macos")]
pub(super) fn peak_memory_bytes() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub(super) fn peak_memory_bytes() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_cpu_time() {
        let before = Cpu::now().unwrap();
        let mut sum = 0u64;
        // until it shows: the clock of the kernel is as fine as it is
        while Cpu::now().unwrap().since(before).user.is_zero() {
            sum = std::hint::black_box((0..100_000u64).fold(sum, |a, b| a.wrapping_mul(31).wrapping_add(b)));
        }
        let after = Cpu::now().unwrap();
        assert_eq!(after.since(before).user, after.user - before.user);
    }

    #[test]
    fn memory_that_was_touched_is_in_the_peak() {
        let bytes = 64 << 20;
        let before = peak_memory_bytes().unwrap();
        drop(std::hint::black_box(vec![1u8; bytes]));
        let after = peak_memory_bytes().unwrap();
        assert!(after >= before && after >= bytes as u64, "{before} {after}");
    }
}
