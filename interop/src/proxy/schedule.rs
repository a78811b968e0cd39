//! What happens to which Produce request. Pure: the same seed gives the same schedule.

/// What happens to a Produce request or to its answer. The numbers are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before the broker sees the request.
    CutBeforeRequest,
    /// The broker sees half of the request.
    CutInRequest,
    /// The broker gets the request and carries it out, the client's connection ends at once.
    CutAfterRequest,
    /// The client gets half of the answer.
    CutInAnswer,
    /// The answer, and all behind it, comes late.
    DelayAnswer(u64),
    /// The request, and all behind it, is held back; answers pass.
    StallRequests(u64),
}

/// One of each kind.
pub const FAULTS: [Fault; 6] = [
    Fault::CutBeforeRequest,
    Fault::CutInRequest,
    Fault::CutAfterRequest,
    Fault::CutInAnswer,
    Fault::DelayAnswer(0),
    Fault::StallRequests(0),
];

impl Fault {
    /// The same kind, however long.
    pub fn is_like(self, other: Fault) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// In words, for a table.
    pub fn name(self) -> &'static str {
        match self {
            Fault::CutBeforeRequest => "cut before a request",
            Fault::CutInRequest => "cut in a request",
            Fault::CutAfterRequest => "cut after a request",
            Fault::CutInAnswer => "cut in an answer",
            Fault::DelayAnswer(_) => "answer delayed",
            Fault::StallRequests(_) => "requests stalled",
        }
    }
}

/// Rounds of all kinds in random order, with a random number of requests that pass between two faults.
#[derive(Debug, Clone)]
pub struct Schedule {
    random: fastrand::Rng,
    /// Requests that pass between two faults: from 1 to this many.
    passes_max: u32,
    /// The longest delay and stall.
    delay_max_ms: u64,
    round: Vec<Fault>,
    passes: u32,
}

impl Schedule {
    /// Between two faults 1 to `passes_max` Produce requests pass; delays and stalls last up to `delay_max_ms`.
    pub fn new(seed: u64, passes_max: u32, delay_max_ms: u64) -> Schedule {
        let mut schedule = Schedule {
            random: fastrand::Rng::with_seed(seed),
            passes_max: passes_max.max(1),
            delay_max_ms: delay_max_ms.max(2),
            round: Vec::new(),
            passes: 0,
        };
        schedule.passes = schedule.random.u32(1..=schedule.passes_max);
        schedule
    }

    /// What happens to the next Produce request.
    pub fn draw(&mut self) -> Option<Fault> {
        if self.passes > 0 {
            self.passes -= 1;
            return None;
        }
        self.passes = self.random.u32(1..=self.passes_max);
        if self.round.is_empty() {
            self.round = FAULTS.to_vec();
            self.random.shuffle(&mut self.round);
        }
        let long = self.random.u64(self.delay_max_ms / 10..=self.delay_max_ms);
        self.round.pop().map(|fault| match fault {
            Fault::DelayAnswer(_) => Fault::DelayAnswer(long),
            Fault::StallRequests(_) => Fault::StallRequests(long),
            fault => fault,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, count: usize) -> Vec<Option<Fault>> {
        let mut schedule = Schedule::new(seed, 5, 1000);
        (0..count).map(|_| schedule.draw()).collect()
    }

    #[test]
    fn a_seed_is_a_schedule() {
        assert_eq!(first(1, 1000), first(1, 1000));
        assert_ne!(first(1, 1000), first(2, 1000));
    }

    #[test]
    fn every_kind_happens_once_in_a_round_and_requests_pass_in_between() {
        let all = first(3, 10_000);
        let faults: Vec<Fault> = all.iter().flatten().copied().collect();
        for round in faults.chunks_exact(FAULTS.len()) {
            for kind in FAULTS {
                assert_eq!(round.iter().filter(|fault| fault.is_like(kind)).count(), 1, "{round:?}");
            }
        }
        assert!(all.windows(2).all(|pair| pair[0].is_none() || pair[1].is_none()), "two faults in a row");
        assert!(faults.len() > 10_000 / 7, "{}", faults.len());
        for fault in faults {
            if let Fault::DelayAnswer(ms) | Fault::StallRequests(ms) = fault {
                assert!((100..=1000).contains(&ms));
            }
        }
    }
}
