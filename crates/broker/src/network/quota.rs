//! Limits on connections (N10): how many there may be, of whom, and how fast they may come. No socket, no clock.
//!
//! Acceptors ask before they accept. A full broker keeps nobody's connection half open: what cannot be accepted stays in the
//! listener's backlog, and the acceptor is woken when there is room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::channel::ResponseQueue;

/// What connections are limited to.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionLimits {
    /// `max.connections`: of the whole broker.
    pub(crate) broker_max: usize,
    /// `max.connections.per.ip`.
    pub(crate) per_ip_max: usize,
    /// `max.connections.per.ip.overrides`, resolved.
    pub(crate) per_ip_overrides: HashMap<IpAddr, usize>,
    /// `max.connection.creation.rate`: new connections per second.
    pub(crate) rate_max: u32,
    /// The listeners, in the configuration's order.
    pub(crate) listeners: Vec<ListenerLimits>,
}

/// What the connections of one listener are limited to.
#[derive(Debug, Clone)]
pub(crate) struct ListenerLimits {
    /// `listener.name.NAME.max.connections`.
    pub(crate) connections_max: usize,
    /// `listener.name.NAME.max.connection.creation.rate`.
    pub(crate) rate_max: u32,
    /// Brokers reach each other through it, and there are others: it is accepted on beyond `max.connections`.
    pub(crate) protected: bool,
}

/// Counts connections against their limits.
pub(crate) struct ConnectionQuota {
    limits: ConnectionLimits,
    counts: Mutex<Counts>,
    /// Network threads, woken when a full broker has room again, or must close a connection.
    threads: Mutex<Vec<Arc<ResponseQueue>>>,
}

struct Counts {
    total: usize,
    by_listener: Vec<usize>,
    by_ip: HashMap<IpAddr, usize>,
    /// Connections that a thread has promised to close.
    evicting: usize,
    rate: Rate,
    listener_rates: Vec<Rate>,
}

/// One admitted connection; gives its place back when dropped.
pub(super) struct Admission {
    quota: Arc<ConnectionQuota>,
    listener: usize,
    ip: IpAddr,
}

/// Whether a listener may accept a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Now.
    Now,
    /// Not before this moment: too many came too fast.
    At(Instant),
    /// When a connection has closed; the acceptor's thread is woken then.
    WhenOneCloses,
}

impl ConnectionLimits {
    /// No limits, for so many listeners.
    #[cfg(test)]
    pub(crate) fn none(listeners: usize) -> Self {
        let listener = ListenerLimits { connections_max: usize::MAX, rate_max: u32::MAX, protected: false };
        Self {
            broker_max: usize::MAX,
            per_ip_max: usize::MAX,
            per_ip_overrides: HashMap::new(),
            rate_max: u32::MAX,
            listeners: vec![listener; listeners],
        }
    }
}

impl ConnectionQuota {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        let counts = Counts {
            total: 0,
            by_listener: vec![0; limits.listeners.len()],
            by_ip: HashMap::new(),
            evicting: 0,
            rate: Rate::new(limits.rate_max),
            listener_rates: limits.listeners.iter().map(|listener| Rate::new(listener.rate_max)).collect(),
        };
        Self { limits, counts: Mutex::new(counts), threads: Mutex::default() }
    }

    /// A network thread to wake when the counts change at a limit.
    pub(super) fn register(&self, queue: Arc<ResponseQueue>) {
        self.threads.lock().push(queue);
    }

    /// How many listeners there are.
    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        self.limits.listeners.len()
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.counts.lock().total
    }

    /// Whether `listener` may accept a connection.
    pub(super) fn room(&self, listener: usize, now: Instant) -> Room {
        let limits = &self.limits.listeners[listener];
        let counts = self.counts.lock();
        let listener_full = counts.by_listener[listener] >= limits.connections_max;
        let broker_full = counts.total >= self.limits.broker_max && !limits.protected;
        if listener_full || broker_full {
            return Room::WhenOneCloses;
        }
        let at =
            [&counts.rate, &counts.listener_rates[listener]].into_iter().filter_map(|rate| rate.ready_at());
        match at.max() {
            Some(at) if at > now => Room::At(at),
            _ => Room::Now,
        }
    }

    /// Counts a connection that was accepted. `None`: its address has as many as it may have, and it must be closed.
    pub(super) fn admit(self: &Arc<Self>, listener: usize, ip: IpAddr, now: Instant) -> Option<Admission> {
        let ip = ip.to_canonical();
        let per_ip_max = self.limits.per_ip_overrides.get(&ip).copied().unwrap_or(self.limits.per_ip_max);
        let must_evict = {
            let mut counts = self.counts.lock();
            counts.rate.count(now);
            counts.listener_rates[listener].count(now);
            let of_ip = counts.by_ip.get(&ip).copied().unwrap_or(0);
            if of_ip >= per_ip_max {
                return None;
            }
            counts.by_ip.insert(ip, of_ip + 1);
            counts.total += 1;
            counts.by_listener[listener] += 1;
            counts.total > self.limits.broker_max
        };
        if must_evict {
            self.wake_all();
        }
        Some(Admission { quota: Arc::clone(self), listener, ip })
    }

    /// True if the caller must close one connection of `listener`, and say so with [`ConnectionQuota::evicted`]: the brokers'
    /// own listener has accepted one too many.
    pub(super) fn claim_eviction(&self, listener: usize) -> bool {
        if self.limits.listeners[listener].protected {
            return false;
        }
        let mut counts = self.counts.lock();
        let over = counts.total.saturating_sub(self.limits.broker_max) > counts.evicting;
        counts.evicting += usize::from(over);
        over
    }

    pub(super) fn evicted(&self) {
        let mut counts = self.counts.lock();
        counts.evicting = counts.evicting.saturating_sub(1);
    }

    fn wake_all(&self) {
        for queue in &*self.threads.lock() {
            queue.wake();
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Self { quota, listener, ip } = self;
        let was_full = {
            let mut counts = quota.counts.lock();
            let was_full = counts.total >= quota.limits.broker_max
                || counts.by_listener[*listener] >= quota.limits.listeners[*listener].connections_max;
            counts.total -= 1;
            counts.by_listener[*listener] -= 1;
            if let Some(of_ip) = counts.by_ip.get_mut(ip) {
                *of_ip -= 1;
                if *of_ip == 0 {
                    counts.by_ip.remove(ip);
                }
            }
            was_full
        };
        if was_full {
            quota.wake_all();
        }
    }
}

/// So many a second, with one second's worth at once: each one that is counted moves `booked_until` on by its share of a
/// second, and a lead of more than a second must be waited out.
#[derive(Debug)]
struct Rate {
    /// `None`: no limit worth counting.
    share: Option<Duration>,
    booked_until: Option<Instant>,
}

impl Rate {
    /// A limit of 0 acts as 1: so does Kafka's, whose acceptor waits at most a second for each connection.
    fn new(per_second: u32) -> Self {
        let unlimited = per_second >= i32::MAX as u32;
        Self { share: (!unlimited).then(|| Duration::from_secs(1) / per_second.max(1)), booked_until: None }
    }

    /// From when on one more may come.
    fn ready_at(&self) -> Option<Instant> {
        let (share, booked) = (self.share?, self.booked_until?);
        booked.checked_sub(Duration::from_secs(1).saturating_sub(share))
    }

    fn count(&mut self, now: Instant) {
        if let Some(share) = self.share {
            let from = self.booked_until.map_or(now, |booked| booked.max(now));
            self.booked_until = Some(from + share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    fn quota(limits: ConnectionLimits) -> Arc<ConnectionQuota> {
        Arc::new(ConnectionQuota::new(limits))
    }

    #[test]
    fn places_are_counted_per_address_and_come_back() {
        // N10
        let now = Instant::now();
        let overrides = HashMap::from([(B, 3)]);
        let quota = quota(ConnectionLimits {
            broker_max: 4,
            per_ip_max: 2,
            per_ip_overrides: overrides,
            ..ConnectionLimits::none(1)
        });
        let first = quota.admit(0, A, now).unwrap();
        let _second = quota.admit(0, A, now).unwrap();
        assert!(quota.admit(0, A, now).is_none());
        let mapped = "::ffff:127.0.0.1".parse().unwrap();
        assert!(quota.admit(0, mapped, now).is_none(), "the same address on an IPv6 listener");
        assert_eq!(quota.room(0, now), Room::Now);
        let _third = quota.admit(0, B, now).unwrap();
        let _fourth = quota.admit(0, B, now).unwrap();
        assert_eq!(quota.room(0, now), Room::WhenOneCloses);
        drop(first);
        assert_eq!(quota.room(0, now), Room::Now);
        assert!(quota.admit(0, B, now).is_some(), "the override");
        assert!(quota.admit(0, A, now).is_some(), "the place that came back");
        assert_eq!(quota.open(), 3);
    }

    #[test]
    fn a_listener_has_a_limit_of_its_own() {
        // N10
        let now = Instant::now();
        let mut limits = ConnectionLimits::none(2);
        limits.listeners[1].connections_max = 1;
        let quota = quota(limits);
        let held = quota.admit(1, A, now).unwrap();
        assert_eq!(quota.room(1, now), Room::WhenOneCloses);
        assert_eq!(quota.room(0, now), Room::Now);
        drop(held);
        assert_eq!(quota.room(1, now), Room::Now);
    }

    #[test]
    fn the_brokers_own_listener_is_accepted_beyond_the_limit_and_another_connection_goes() {
        // N10
        let now = Instant::now();
        let mut limits = ConnectionLimits { broker_max: 1, ..ConnectionLimits::none(2) };
        limits.listeners[1].protected = true;
        let quota = quota(limits);
        let client = quota.admit(0, A, now).unwrap();
        assert_eq!(quota.room(0, now), Room::WhenOneCloses);
        assert!(!quota.claim_eviction(0), "at the limit is not over it");
        assert_eq!(quota.room(1, now), Room::Now);
        let _broker = quota.admit(1, B, now).unwrap();
        assert!(!quota.claim_eviction(1), "never one of its own");
        assert!(quota.claim_eviction(0));
        assert!(!quota.claim_eviction(0), "one is enough");
        drop(client);
        quota.evicted();
        assert!(!quota.claim_eviction(0));
        assert_eq!(quota.open(), 1);
    }

    #[test]
    fn connections_come_no_faster_than_the_rate() {
        // N10
        let start = Instant::now();
        let quota = quota(ConnectionLimits { rate_max: 4, ..ConnectionLimits::none(1) });
        let mut accepted = Vec::new();
        let mut now = start;
        while accepted.len() < 12 {
            match quota.room(0, now) {
                Room::Now => {
                    quota.admit(0, A, now).unwrap();
                    accepted.push((now - start).as_millis());
                }
                Room::At(at) => {
                    assert!(at > now);
                    now = at;
                }
                Room::WhenOneCloses => unreachable!("none of them is kept"),
            }
        }
        assert_eq!(accepted, [0, 0, 0, 0, 250, 500, 750, 1000, 1250, 1500, 1750, 2000]);
        // after a pause there is one second's worth again, and no more
        now += Duration::from_secs(60);
        for _ in 0..4 {
            assert_eq!(quota.room(0, now), Room::Now);
            quota.admit(0, A, now).unwrap();
        }
        assert!(matches!(quota.room(0, now), Room::At(_)));
    }

    #[test]
    fn a_rate_of_a_listener_holds_up_no_other() {
        // N10
        let now = Instant::now();
        let mut limits = ConnectionLimits::none(2);
        limits.listeners[0].rate_max = 0; // acts as 1
        let quota = quota(limits);
        assert_eq!(quota.room(0, now), Room::Now);
        quota.admit(0, A, now).unwrap();
        assert_eq!(quota.room(0, now), Room::At(now + Duration::from_secs(1)));
        assert_eq!(quota.room(1, now), Room::Now);
    }
}
