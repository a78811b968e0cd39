//! Followers fetch, leaders answer, in-sync sets shrink and grow (9.2 to 9.6).
//!
//! Each partition has a fetch of its own, so that partitions of one pair of brokers drift apart further than in Kafka, where one
//! request carries them all. A fetch that finds nothing waits at the leader and costs nothing meanwhile.

use bytes::Bytes;
use rohrpost_record::BatchHeader;

use super::replica::FetchState;
use super::{Action, Cluster, Key};

/// How long a follower waits after an error (R27, R28).
const BACKOFF_MS: (u64, u64) = (200, 1_000);
/// How late a follower hears of a high watermark when there is nothing else to hear.
const LAZY_MS: (u64, u64) = (50, 500);
/// The most bytes of one answer.
const FETCH_BYTES: usize = 256 << 10;

/// A leader's answer to a follower's fetch.
#[derive(Debug)]
pub(super) struct FetchAnswer {
    key: Key,
    generation: u64,
    leader_epoch: i32,
    /// What was asked for.
    offset: i64,
    told: Told,
}

#[derive(Debug)]
enum Told {
    Records {
        records: Bytes,
        high_watermark: i64,
    },
    /// R24.
    Diverging {
        epoch: i32,
        end: i64,
    },
    /// R26: the leader's log ends here.
    OutOfRange {
        end: i64,
    },
}

enum Served {
    Answer(Told),
    /// Nothing new.
    Wait,
    /// Only a higher high watermark.
    Later,
    /// Not the leader, another epoch, no log.
    Refused,
}

impl Cluster {
    /// Starts a replica's fetching anew, as a follower.
    pub(super) fn restart_fetching(&mut self, node: i32, key: Key) {
        let delay_ms = self.within(self.config.link_ms);
        self.order_fetch(node, key, delay_ms, FetchState::Moving);
    }

    fn order_fetch(&mut self, node: i32, key: Key, delay_ms: u64, state: FetchState) {
        let at_ms = self.now_ms + delay_ms + self.follower_delay();
        let Some(broker) = self.broker_mut(node) else { return };
        let life = broker.life;
        let Some(replica) = broker.replicas.get_mut(&key) else { return };
        replica.fetching.generation += 1;
        replica.fetching.state = state;
        let generation = replica.fetching.generation;
        self.timers.order(at_ms, Action::Fetch { node, life, key, generation });
    }

    fn follower_delay(&self) -> u64 {
        let (delay_ms, until_ms) = self.slow_followers;
        if self.now_ms < until_ms { delay_ms } else { 0 }
    }

    /// Followers that wait at this leader are told of new records, or (`lazily`) of a higher high watermark.
    pub(super) fn tell_followers(&mut self, leader: i32, key: Key, lazily: bool) {
        let Some(replica) = self.broker(leader).and_then(|broker| broker.replicas.get(&key)) else { return };
        let followers: Vec<i32> = replica.followers.keys().copied().collect();
        for node in followers {
            let state = self.broker(node).and_then(|broker| broker.replicas.get(&key));
            let Some(state) = state.filter(|r| r.leader == leader).map(|r| r.fetching.state) else {
                continue;
            };
            match (state, lazily) {
                (FetchState::Parked, true) => {
                    let delay_ms = self.within(LAZY_MS);
                    self.order_fetch(node, key, delay_ms, FetchState::Lazy);
                }
                (FetchState::Parked | FetchState::Lazy, false) => {
                    let delay_ms = self.within(self.config.link_ms);
                    self.order_fetch(node, key, delay_ms, FetchState::Moving);
                }
                _ => {}
            }
        }
    }

    pub(super) fn fetch(&mut self, node: i32, life: u32, key: Key, generation: u64) {
        let Some(broker) = self.broker(node).filter(|broker| broker.life == life) else { return };
        let Some(replica) = broker.replicas.get(&key) else { return };
        if replica.fetching.generation != generation || replica.is_leader || replica.leader < 0 {
            return;
        }
        let Ok(log) = replica.online() else { return };
        let (leader, leader_epoch) = (replica.leader, replica.leader_epoch);
        let (offset, last_epoch) = (log.log_end_offset(), log.latest_epoch());
        let known = replica.high_watermark;
        let held_ms = self.topics[key.0].held_until_ms(key.1);
        if held_ms > self.now_ms {
            return self.order_fetch(node, key, held_ms - self.now_ms, FetchState::Moving);
        }
        let served = if self.linked(node, leader) {
            self.serve_fetch(leader, key, (node, life), leader_epoch, offset, last_epoch, known)
        } else {
            Served::Refused
        };
        match served {
            Served::Answer(told) => {
                let answer = FetchAnswer { key, generation, leader_epoch, offset, told };
                let at_ms = self.now_ms + self.within(self.config.link_ms);
                self.timers.order(at_ms, Action::FetchAnswer { node, life, answer: Box::new(answer) });
            }
            Served::Wait => {
                if let Some(replica) = self.broker_mut(node).and_then(|b| b.replicas.get_mut(&key)) {
                    replica.fetching.state = FetchState::Parked;
                }
            }
            Served::Later => {
                let delay_ms = self.within(LAZY_MS);
                self.order_fetch(node, key, delay_ms, FetchState::Lazy);
            }
            Served::Refused => {
                let delay_ms = self.within(BACKOFF_MS);
                self.order_fetch(node, key, delay_ms, FetchState::Moving);
            }
        }
    }

    /// The leader's side (R29 to R32).
    #[allow(clippy::too_many_arguments)]
    fn serve_fetch(
        &mut self,
        leader: i32,
        key: Key,
        (follower, life): (i32, u32),
        leader_epoch: i32,
        offset: i64,
        last_epoch: Option<i32>,
        known: i64,
    ) -> Served {
        let now_ms = self.now_ms;
        let Some(broker) = self.broker_mut(leader) else { return Served::Refused };
        let Some(replica) = broker.replicas.get_mut(&key) else { return Served::Refused };
        // R29
        if replica.check_leader().is_err()
            || replica.leader_epoch != leader_epoch
            || !replica.followers.contains_key(&follower)
        {
            return Served::Refused;
        }
        let Ok(log) = replica.online() else { return Served::Refused };
        let end = log.log_end_offset();
        if let Some(last_epoch) = last_epoch {
            match log.end_offset_for_epoch(last_epoch) {
                None => return Served::Answer(Told::OutOfRange { end }), // R30
                Some((epoch, end)) if epoch < last_epoch || end < offset => {
                    return Served::Answer(Told::Diverging { epoch, end }); // R24
                }
                Some(_) => {}
            }
        }
        if offset > end {
            return Served::Answer(Told::OutOfRange { end });
        }
        // R32: as it is before the read, and before this fetch counts
        let high_watermark = replica.high_watermark;
        let records = match log.read(offset, FETCH_BYTES, i64::MAX, true) {
            Ok(read) => read.records,
            Err(_) => return Served::Refused,
        };
        // R31
        replica.note_fetch(follower, life, offset, now_ms);
        self.after_fetch(leader, key, follower);
        if records.is_empty() && high_watermark <= known {
            // what this fetch itself has moved is told later
            let moved = self.broker(leader).and_then(|b| b.replicas.get(&key)).map(|r| r.high_watermark);
            return if moved > Some(known) { Served::Later } else { Served::Wait };
        }
        Served::Answer(Told::Records { records, high_watermark })
    }

    /// R14, R6.
    fn after_fetch(&mut self, leader: i32, key: Key, follower: i32) {
        self.raise(leader, key);
        self.grow(leader, key, follower);
    }

    fn grow(&mut self, leader: i32, key: Key, follower: i32) {
        let Some(broker) = self.broker(leader) else { return };
        let Some(replica) = broker.replicas.get(&key) else { return };
        if let Some(wanted) = replica.wants_to_grow(follower, |node| broker.image.is_alive(node)) {
            self.ask_for_isr(leader, key, wanted);
        }
    }

    /// The same for all followers whose fetches wait here: in Kafka they come again and again.
    pub(super) fn grow_by_waiting(&mut self, leader: i32, key: Key) {
        let Some(replica) = self.broker(leader).and_then(|broker| broker.replicas.get(&key)) else { return };
        if !replica.is_leader || replica.isr.len() == replica.replicas.len() {
            return;
        }
        let followers: Vec<(i32, u32)> = replica.followers.iter().map(|(node, f)| (*node, f.life)).collect();
        for (node, life) in followers {
            let waits =
                self.broker(node).filter(|broker| broker.life == life).and_then(|b| b.replicas.get(&key));
            let waits = waits.is_some_and(|r| {
                r.leader == leader && matches!(r.fetching.state, FetchState::Parked | FetchState::Lazy)
            });
            if waits && self.linked(leader, node) {
                self.grow(leader, key, node);
            }
        }
    }

    /// The high watermark is looked at again: who waits for it is told.
    pub(super) fn raise(&mut self, leader: i32, key: Key) {
        let (now_ms, lag_ms) = (self.now_ms, self.config.replica_lag_ms);
        let Some(broker) = self.broker_mut(leader) else { return };
        let super::Broker { replicas, image, .. } = broker;
        let Some(replica) = replicas.get_mut(&key) else { return };
        if !replica.raise_high_watermark(now_ms, lag_ms, |node| image.is_alive(node)) {
            return;
        }
        let (epoch, high_watermark) = (replica.leader_epoch, replica.high_watermark);
        self.note_committed(key, epoch, high_watermark);
        self.look_at_waiters(leader, key);
        self.tell_followers(leader, key, true);
    }

    pub(super) fn take_fetch_answer(&mut self, node: i32, life: u32, answer: FetchAnswer) {
        let FetchAnswer { key, generation, leader_epoch, offset, told } = answer;
        let wall_ms = self.wall_ms(node);
        let Some(broker) = self.broker_mut(node).filter(|broker| broker.life == life) else { return };
        let Some(replica) = broker.replicas.get_mut(&key) else { return };
        // R21
        let current = replica.fetching.generation == generation
            && replica.leader_epoch == leader_epoch
            && !replica.is_leader
            && replica.end() == offset;
        let Some(log) = replica.log.as_mut().filter(|log| current && !log.health().is_offline()) else {
            return;
        };
        let mut truncated = None;
        let failed = match told {
            Told::Records { records, high_watermark } => {
                // R22
                let begins = BatchHeader::parse(&records).map_or(offset, |header| header.base_offset);
                debug_assert_eq!(begins, offset, "a leader sends what follows its follower's log");
                let failed = log.append_as_follower(&records, leader_epoch, wall_ms).is_err();
                // R15
                replica.high_watermark = high_watermark.min(replica.end());
                failed
            }
            Told::Diverging { epoch, end } => {
                let to = log.truncation_for(epoch, end);
                truncated = Some((offset, to));
                log.truncate_to(to).is_err()
            }
            Told::OutOfRange { end } => {
                // R26
                truncated = Some((offset, end.min(offset)));
                log.truncate_to(end).is_err()
            }
        };
        if let Some((from, to)) = truncated {
            // D27
            replica.high_watermark = replica.high_watermark.min(replica.end());
            self.counts.truncations += u64::from(to < from);
            self.note(|| format!("broker {node} cuts its log of {key:?} from {from} to {to}"));
        }
        if failed {
            return self.note_disk_failure(node);
        }
        let delay_ms = self.within(self.config.link_ms);
        self.order_fetch(node, key, delay_ms, FetchState::Moving);
    }

    /// R7, on all leaders.
    pub(super) fn check_in_sync(&mut self) {
        let lag_ms = self.config.replica_lag_ms;
        self.timers.order(self.now_ms + lag_ms / 2, Action::CheckInSync);
        let (mut wishes, mut leaders) = (Vec::new(), Vec::new());
        for broker in self.brokers.iter().filter(|broker| broker.acts(self.now_ms)) {
            for (key, replica) in &broker.replicas {
                if let Some(wanted) = replica.wants_to_shrink(self.now_ms, lag_ms) {
                    wishes.push((broker.node, *key, wanted));
                } else if replica.is_leader {
                    leaders.push((broker.node, *key));
                }
            }
        }
        for (node, key, wanted) in wishes {
            self.ask_for_isr(node, key, wanted);
        }
        for (node, key) in leaders {
            self.grow_by_waiting(node, key);
        }
    }

    /// R5: asks the controller for another in-sync set. A leader that cannot reach it keeps the one that it has.
    fn ask_for_isr(&mut self, node: i32, key: Key, wanted: Vec<i32>) {
        if !self.reaches_controller(node) {
            return;
        }
        let at_ms = self.now_ms + self.within(self.config.link_ms);
        let Some(broker) = self.broker_mut(node) else { return };
        let life = broker.life;
        let Some(replica) = broker.replicas.get_mut(&key) else { return };
        let isr = wanted.iter().map(|member| {
            let known = replica.followers.get(member).map_or(0, |follower| follower.life);
            (*member, if *member == node { life } else { known })
        });
        let isr = isr.collect();
        let (leader_epoch, partition_epoch) = (replica.leader_epoch, replica.partition_epoch);
        replica.wanted = Some(wanted);
        self.timers.order(at_ms, Action::AlterIsr { node, key, leader_epoch, partition_epoch, isr });
    }

    /// R9: the controller's answer. `None`: it did not like the members; other refusals wait for metadata.
    pub(super) fn isr_altered(
        &mut self,
        node: i32,
        life: u32,
        key: Key,
        leader_epoch: i32,
        partition_epoch: i32,
        isr: Option<Vec<i32>>,
    ) {
        let Some(broker) = self.broker_mut(node).filter(|broker| broker.life == life) else { return };
        let Some(replica) = broker.replicas.get_mut(&key) else { return };
        if !replica.is_leader || replica.leader_epoch != leader_epoch {
            return;
        }
        let accepted = isr.is_some();
        match isr {
            Some(isr) if partition_epoch > replica.partition_epoch => {
                replica.partition_epoch = partition_epoch;
                replica.isr = isr;
                replica.wanted = None;
            }
            Some(_) => {}
            None => replica.wanted = None,
        }
        self.raise(node, key);
        self.look_at_waiters(node, key);
        // who was refused is asked for again with the next fetch, or when metadata has changed
        if accepted {
            self.grow_by_waiting(node, key);
        }
    }
}
