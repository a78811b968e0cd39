//! Producer id, epoch and sequence arithmetic (IDM-1 to IDM-6).
//!
//! What makes a batch known to brokers is (producer id, epoch, first sequence) of its partition. This module owns the
//! first two for the whole producer; sequences belong to partitions (`partition`).

use rohrpost_net::Backoff;

use crate::rules::{self, Rule};

/// A producer id and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
}

/// Where the producer stands with its id. IDM-1: nothing is drained without one; appending does not wait for it.
#[derive(Debug)]
pub(super) struct Idempotence {
    current: Option<Identity>,
    is_asking: bool,
    failures: u32,
    not_before_ms: u64,
    backoff: Backoff,
}

impl Idempotence {
    pub(super) fn new(backoff: Backoff) -> Idempotence {
        Idempotence { current: None, is_asking: false, failures: 0, not_before_ms: 0, backoff }
    }

    pub(super) fn current(&self) -> Option<Identity> {
        self.current
    }

    /// An InitProducerId request is due.
    pub(super) fn wants_id(&self, now_ms: u64) -> bool {
        self.current.is_none() && !self.is_asking && now_ms >= self.not_before_ms
    }

    /// When the next one is due, if time alone decides.
    pub(super) fn next_ms(&self) -> Option<u64> {
        (self.current.is_none() && !self.is_asking).then_some(self.not_before_ms)
    }

    pub(super) fn asked(&mut self) {
        self.is_asking = true;
    }

    pub(super) fn got(&mut self, identity: Identity) {
        *self = Idempotence { current: Some(identity), ..Idempotence::new(self.backoff) };
    }

    /// The request failed in a way that may pass.
    pub(super) fn failed(&mut self, now_ms: u64, random: f64) {
        self.is_asking = false;
        self.not_before_ms = now_ms + self.backoff.delay_ms(self.failures, random);
        self.failures = self.failures.saturating_add(1);
    }

    /// IDM-6: the epoch after `used`, without asking. If another partition has bumped already, that epoch will do. At the
    /// last epoch the id is dropped, and a new one asked for.
    pub(super) fn bump(&mut self, used: Identity) {
        if self.current == Some(used) {
            self.current = used.epoch.checked_add(1).map(|epoch| Identity { epoch, ..used });
        }
    }
}

/// IDM-2: the sequence `count` records after `sequence`; after 2147483647 comes 0.
pub(super) fn sequence_after(sequence: i32, count: u32) -> i32 {
    let mask = if rules::holds(Rule::SequenceWraps) { 0x7fff_ffff } else { u32::MAX };
    ((sequence as u32).wrapping_add(count) & mask) as i32
}

/// IDM-3: whether `a` comes before `b`, by distance modulo 2^31.
pub(super) fn is_before(a: i32, b: i32) -> bool {
    if !rules::holds(Rule::SequenceDistance) {
        return a < b;
    }
    let distance = (b as u32).wrapping_sub(a as u32) & 0x7fff_ffff;
    distance != 0 && distance < 0x4000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_from_the_largest_number_to_zero() {
        // IDM-2
        assert_eq!(sequence_after(2_147_483_647, 1), 0);
        assert_eq!(sequence_after(2_147_483_645, 5), 2);
        assert_eq!(sequence_after(2_147_483_647, 3), 2);
        assert_eq!(sequence_after(0, 7), 7);
    }

    #[test]
    fn sequences_are_compared_by_distance_across_the_wrap() {
        // IDM-3
        assert!(is_before(5, 6) && !is_before(6, 5) && !is_before(6, 6));
        assert!(is_before(2_147_483_640, 3) && !is_before(3, 2_147_483_640));
        // Half way round neither comes before the other, so that two are never each before the other.
        assert!(is_before(0, 0x3fff_ffff) && !is_before(0, 0x4000_0000) && !is_before(0x4000_0000, 0));
    }

    #[test]
    fn an_epoch_is_bumped_once_and_the_last_one_drops_the_id() {
        // IDM-6
        let mut ids = Idempotence::new(Backoff::new(100, 1000));
        let first = Identity { producer_id: 7, epoch: 0 };
        ids.got(first);
        ids.bump(first);
        ids.bump(first);
        assert_eq!(ids.current(), Some(Identity { producer_id: 7, epoch: 1 }));
        let last = Identity { producer_id: 7, epoch: i16::MAX };
        ids.got(last);
        ids.bump(last);
        assert_eq!(ids.current(), None);
        assert!(ids.wants_id(0));
    }

    #[test]
    fn a_failed_request_for_an_id_is_repeated_after_a_back_off() {
        // IDM-1, RTY-1
        let mut ids = Idempotence::new(Backoff::new(100, 1000));
        assert!(ids.wants_id(0));
        ids.asked();
        assert!(!ids.wants_id(0) && ids.next_ms().is_none());
        ids.failed(1000, 0.5);
        assert!(!ids.wants_id(1099) && ids.wants_id(1100));
        ids.asked();
        ids.failed(2000, 0.5);
        assert_eq!(ids.next_ms(), Some(2200));
    }
}
