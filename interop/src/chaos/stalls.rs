//! How much longer than the cluster a producer stood still. Pure.

/// A cluster that takes nothing for longer than this is out; shorter pauses are the probe's own.
const OUTAGE_MS: u64 = 500;
/// Pauses between acknowledgements that are looked at.
const STALL_MS: u64 = 1_000;

/// A partition's stalls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stalls {
    /// How many there were.
    pub count: usize,
    /// The longest one.
    pub longest_ms: u64,
    /// The most that one went on after its partition took writes again.
    pub beyond_partition_ms: u64,
    /// The most that one went on after the cluster took writes again, in all partitions, and when it began.
    pub excess_ms: u64,
    /// When that one began, in milliseconds since 1970.
    pub excess_began_ms: u64,
}

impl Stalls {
    /// `acks`: when records of the partition were acknowledged; `outages`: from when to when the partition took no writes, and `others`
    /// the same of all partitions of the cluster; all in milliseconds since 1970 and in order.
    pub fn of(acks: &[u64], outages: &[(u64, u64)], others: &[(u64, u64)]) -> Stalls {
        let mut stalls = Stalls::default();
        for pair in acks.windows(2) {
            let [from, to] = [pair[0], pair[1]];
            if to - from <= STALL_MS {
                continue;
            }
            let beyond_partition_ms = beyond(from, to, outages);
            let excess_ms = beyond_partition_ms.min(beyond(from, to, others));
            stalls.count += 1;
            stalls.longest_ms = stalls.longest_ms.max(to - from);
            stalls.beyond_partition_ms = stalls.beyond_partition_ms.max(beyond_partition_ms);
            if excess_ms > stalls.excess_ms {
                stalls.excess_ms = excess_ms;
                stalls.excess_began_ms = from;
            }
        }
        stalls
    }

    /// The worse of both.
    pub fn or_worse(self, other: Stalls) -> Stalls {
        let worse = if other.excess_ms > self.excess_ms { other } else { self };
        Stalls {
            count: self.count + other.count,
            longest_ms: self.longest_ms.max(other.longest_ms),
            beyond_partition_ms: self.beyond_partition_ms.max(other.beyond_partition_ms),
            excess_ms: worse.excess_ms,
            excess_began_ms: worse.excess_began_ms,
        }
    }
}

/// How long a stall went on after the outages in it.
fn beyond(from: u64, to: u64, outages: &[(u64, u64)]) -> u64 {
    let during = || outages.iter().filter(|(began, ended)| *ended > from && *began < to);
    // who goes on before the probe sees that it is possible has nothing to answer for; else the end of the last outage counts, since
    // there may be several; without any the cluster was there all the time
    if during().any(|&(_, ended)| ended > to) {
        0
    } else {
        to - during().map(|&(_, ended)| ended).max().unwrap_or(from)
    }
}

/// From when to when the cluster took no writes. `accepted`: when it took one, in order.
pub fn outages(accepted: &[u64]) -> Vec<(u64, u64)> {
    let pause = |pair: &[u64]| (pair[1] - pair[0] > OUTAGE_MS).then_some((pair[0], pair[1]));
    accepted.windows(2).filter_map(pause).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_longer_than_the_clusters_own_outage_counts() {
        let accepted = [0, 50, 100, 9_000, 9_050, 9_100, 20_000];
        let outages = outages(&accepted);
        assert_eq!(outages, [(100, 9_000), (9_100, 20_000)]);
        let of = |acks: &[u64]| {
            let stalls = Stalls::of(acks, &outages, &outages);
            (stalls.count, stalls.longest_ms, stalls.excess_ms)
        };
        assert_eq!(of(&[100, 500, 1_400]), (0, 0, 0));
        assert_eq!(of(&[90, 9_090]), (1, 9_000, 90));
        assert_eq!(of(&[90, 9_300]), (1, 9_210, 0), "before the probe sees the end of the second one");
        assert_eq!(of(&[90, 8_990]), (1, 8_900, 0), "before the probe");
        assert_eq!(of(&[90, 9_050, 22_500]), (2, 13_450, 2_500));
        assert_eq!(of(&[90, 22_500]), (1, 22_410, 2_500), "out twice");
        assert_eq!(of(&[30_000, 32_000]), (1, 2_000, 2_000), "never out");
    }

    #[test]
    fn a_partition_waits_for_those_that_its_requests_carry_too() {
        let own = [(100, 9_000)];
        let of = |others: &[(u64, u64)]| {
            let stalls = Stalls::of(&[90, 11_100], &own, others);
            (stalls.beyond_partition_ms, stalls.excess_ms, stalls.excess_began_ms)
        };
        assert_eq!(of(&own), (2_100, 2_100, 90));
        assert_eq!(of(&[(100, 9_000), (120, 11_000)]), (2_100, 100, 90), "another one was out for longer");
        assert_eq!(of(&[(100, 9_000), (120, 30_000)]), (2_100, 0, 0), "and still is");
    }
}
