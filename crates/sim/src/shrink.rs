//! A failing plan made smaller: faults, users and records are taken away as long as it still fails in the same way.

use crate::plan::{Ending, Plan};
use crate::world::run;

/// Runs at most; a story that is still long then is told as it is.
const RUNS_MAX: u32 = 2_000;

/// What is left of a plan that fails with a violation of this kind.
pub fn shrink(plan: &Plan, kind: &str, before_each: &dyn Fn()) -> Plan {
    let mut shrinker = Shrinker { best: plan.clone(), kind, runs: 0, before_each };
    loop {
        let before = shrinker.size();
        shrinker.faults();
        shrinker.users();
        shrinker.records();
        shrinker.details();
        if shrinker.size() == before || shrinker.runs >= RUNS_MAX {
            return shrinker.best;
        }
    }
}

struct Shrinker<'a> {
    best: Plan,
    kind: &'a str,
    runs: u32,
    before_each: &'a dyn Fn(),
}

impl Shrinker<'_> {
    fn size(&self) -> (usize, usize, u64, usize) {
        let plan = &self.best;
        (plan.faults.len(), plan.users.len(), plan.records(), plan.settings.len())
    }

    /// Takes the candidate if it still fails in the same way.
    fn try_out(&mut self, candidate: Plan) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        (self.before_each)();
        let fails = run(&candidate, false).violations.iter().any(|violation| violation.kind == self.kind);
        if fails {
            self.best = candidate;
        }
        fails
    }

    /// Half of them, a quarter, … one.
    fn faults(&mut self) {
        let mut len = self.best.faults.len().div_ceil(2);
        while len > 0 {
            let mut at = 0;
            while at < self.best.faults.len() {
                let mut candidate = self.best.clone();
                candidate.faults.drain(at..(at + len).min(candidate.faults.len()));
                if !self.try_out(candidate) {
                    at += len;
                }
            }
            len /= 2;
        }
    }

    fn users(&mut self) {
        let mut at = 0;
        while at < self.best.users.len() {
            let mut candidate = self.best.clone();
            candidate.users.remove(at);
            if !self.try_out(candidate) {
                at += 1;
            }
        }
    }

    fn records(&mut self) {
        for user in 0..self.best.users.len() {
            let mut less = self.best.users[user].records / 2;
            while less > 0 {
                let mut candidate = self.best.clone();
                candidate.users[user].records -= less.min(candidate.users[user].records - 1);
                if !self.try_out(candidate) {
                    less /= 2;
                } else {
                    less = less.min(self.best.users[user].records / 2);
                }
            }
        }
    }

    /// What users do beside sending, and settings that change nothing.
    fn details(&mut self) {
        let simpler: [fn(&mut crate::plan::UserPlan); 6] = [
            |user| user.cancel_percent = 0,
            |user| user.flush_every = 0,
            |user| user.purge_every = 0,
            |user| user.ask_every = 0,
            |user| user.large_permille = 0,
            |user| user.styles.truncate(1),
        ];
        for user in 0..self.best.users.len() {
            for simplify in simpler {
                let mut candidate = self.best.clone();
                simplify(&mut candidate.users[user]);
                self.try_out(candidate);
            }
        }
        let mut at = 0;
        while at < self.best.settings.len() {
            let mut candidate = self.best.clone();
            candidate.settings.remove(at);
            if !self.try_out(candidate) {
                at += 1;
            }
        }
        let mut candidate = self.best.clone();
        candidate.ending = Ending::Close { timeout_ms: None };
        self.try_out(candidate);
    }
}
