//! One replica of a partition: its log, what its broker believes of the partition, and as the leader what it knows of its
//! followers. Chapter 9 of the reference, without the messages; those are in `replication`.

use std::collections::BTreeMap;

use rohrpost_broker::metadata::PartitionImage;
use rohrpost_broker::model::Committed;
use rohrpost_log::Log;
use rohrpost_protocol::ErrorCode;

/// A replica on one broker.
#[derive(Debug)]
pub(super) struct Replica {
    /// Where its log is; the log itself is `None` while the broker's process is dead, and if its disk had failed before.
    pub(super) dir: String,
    pub(super) log: Option<Log>,
    pub(super) deleted: bool,
    pub(super) leader: i32,
    pub(super) is_leader: bool,
    pub(super) leader_epoch: i32,
    pub(super) partition_epoch: i32,
    pub(super) replicas: Vec<i32>,
    /// The committed in-sync set, as far as this broker knows.
    pub(super) isr: Vec<i32>,
    /// The one that the leader has asked the controller for (R4).
    pub(super) wanted: Option<Vec<i32>>,
    /// Effective: never above the number of replicas (R35).
    pub(super) min_in_sync: usize,
    pub(super) followers: BTreeMap<i32, Follower>,
    pub(super) high_watermark: i64,
    /// What a new process finds (D19).
    pub(super) checkpointed: i64,
    /// Where the log ended when this leader's epoch began (R16).
    pub(super) epoch_start: i64,
    pub(super) fetching: Fetching,
}

/// What a leader knows of a follower (R1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Follower {
    /// Its log's end; -1 = unknown.
    pub(super) end: i64,
    /// When its end was last that of the leader; `None`: not while this one led.
    caught_up_ms: Option<u64>,
    fetched_ms: u64,
    leader_end_then: i64,
    /// The process that fetched last (its broker epoch).
    pub(super) life: u32,
}

/// Where a follower's fetching stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fetching {
    /// Fetches and answers of earlier generations are void.
    pub(super) generation: u64,
    pub(super) state: FetchState,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum FetchState {
    /// Nothing is under way.
    #[default]
    Off,
    /// A fetch waits at the leader for data.
    Parked,
    /// The leader has nothing to tell but a higher high watermark; that has time.
    Lazy,
    /// On its way.
    Moving,
}

impl Replica {
    pub(super) fn new(dir: String, log: Option<Log>) -> Replica {
        Replica {
            dir,
            log,
            deleted: false,
            leader: -1,
            is_leader: false,
            leader_epoch: -1,
            partition_epoch: -1,
            replicas: Vec::new(),
            isr: Vec::new(),
            wanted: None,
            min_in_sync: 1,
            followers: BTreeMap::new(),
            high_watermark: 0,
            checkpointed: 0,
            epoch_start: 0,
            fetching: Fetching::default(),
        }
    }

    /// The log, if there is one that works.
    pub(super) fn online(&self) -> Result<&Log, ErrorCode> {
        match &self.log {
            _ if self.deleted => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Some(log) if !log.health().is_offline() => Ok(log),
            _ => Err(ErrorCode::KAFKA_STORAGE_ERROR),
        }
    }

    /// The log's end; -1 if there is none.
    pub(super) fn end(&self) -> i64 {
        self.log.as_ref().map_or(-1, Log::log_end_offset)
    }

    /// P6, W5: whether this is a leader that can be written to.
    pub(super) fn check_leader(&self) -> Result<(), ErrorCode> {
        self.online()?;
        if self.is_leader { Ok(()) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
    }

    /// Takes in what metadata says. Returns whether this broker leads in a new epoch now.
    pub(super) fn follow(
        &mut self,
        me: i32,
        partition: &PartitionImage,
        min_in_sync: usize,
        now_ms: u64,
    ) -> bool {
        let new_epoch = partition.leader_epoch > self.leader_epoch;
        let was_leader = self.is_leader;
        self.min_in_sync = min_in_sync;
        // R3
        self.partition_epoch = partition.partition_epoch;
        self.replicas.clone_from(&partition.replicas);
        self.isr.clone_from(&partition.isr);
        self.wanted = None;
        self.leader = partition.leader;
        self.leader_epoch = partition.leader_epoch;
        self.is_leader = partition.leader == me;
        if !self.is_leader {
            self.followers.clear();
            return false;
        }
        if new_epoch || !was_leader {
            // R16
            self.epoch_start = self.end();
            for &node in self.replicas.iter().filter(|node| **node != me) {
                let known = self.followers.get(&node).copied().filter(|_| was_leader);
                let caught_up_ms = self.isr.contains(&node).then_some(now_ms);
                let unknown = Follower { end: -1, caught_up_ms, fetched_ms: 0, leader_end_then: -1, life: 0 };
                self.followers.insert(node, Follower { caught_up_ms, ..known.unwrap_or(unknown) });
            }
        }
        new_epoch
    }

    /// A follower asks for what comes after `offset` (R8, R31).
    pub(super) fn note_fetch(&mut self, node: i32, life: u32, offset: i64, now_ms: u64) {
        let leader_end = self.end();
        let Some(follower) = self.followers.get_mut(&node) else { return };
        // R8
        if offset >= leader_end {
            follower.caught_up_ms = Some(now_ms);
        } else if offset >= follower.leader_end_then && follower.leader_end_then >= 0 {
            follower.caught_up_ms = follower.caught_up_ms.max(Some(follower.fetched_ms));
        }
        (follower.end, follower.life) = (offset, life);
        (follower.fetched_ms, follower.leader_end_then) = (now_ms, leader_end);
    }

    /// Raises the high watermark as far as it goes. True if it moved.
    pub(super) fn raise_high_watermark(
        &mut self,
        now_ms: u64,
        lag_ms: u64,
        alive: impl Fn(i32) -> bool,
    ) -> bool {
        // R11
        if !self.is_leader || self.isr.len() < self.min_in_sync || self.online().is_err() {
            return false;
        }
        let end = self.end();
        let mut lowest = end;
        // R10
        for (node, follower) in &self.followers {
            let counts = self.isr.contains(node)
                || self.wanted.as_ref().is_some_and(|wanted| wanted.contains(node))
                || (alive(*node) && !lags(follower, end, now_ms, lag_ms));
            if counts {
                lowest = lowest.min(follower.end);
            }
        }
        // R12
        let moved = lowest > self.high_watermark;
        self.high_watermark = self.high_watermark.max(lowest);
        moved
    }

    /// R6: the in-sync set that the leader wants because this follower has caught up.
    pub(super) fn wants_to_grow(&self, node: i32, alive: impl Fn(i32) -> bool) -> Option<Vec<i32>> {
        let follower = self.followers.get(&node)?;
        let grows = self.is_leader
            && self.wanted.is_none()
            && !self.isr.contains(&node)
            && follower.end >= self.high_watermark
            && follower.end >= self.epoch_start
            && alive(node);
        grows.then(|| self.isr.iter().copied().chain([node]).collect())
    }

    /// R7: the in-sync set that the leader wants because followers lag.
    pub(super) fn wants_to_shrink(&self, now_ms: u64, lag_ms: u64) -> Option<Vec<i32>> {
        if !self.is_leader || self.wanted.is_some() || self.online().is_err() {
            return None;
        }
        let end = self.end();
        let stays = |node: &i32| self.followers.get(node).is_none_or(|f| !lags(f, end, now_ms, lag_ms));
        let left: Vec<i32> = self.isr.iter().copied().filter(stays).collect();
        (left.len() < self.isr.len()).then_some(left)
    }

    /// How far the leader's log is committed, and what that is worth to acks=all.
    pub(super) fn committed(&self) -> Committed {
        if let Err(code) = self.check_leader() {
            return Committed::Never(code); // W5
        }
        // R33: over the maximal set (R4)
        let joining = self.wanted.iter().flatten().filter(|node| !self.isr.contains(node)).count();
        let enough = self.isr.len() + joining >= self.min_in_sync;
        let status = if enough { ErrorCode::NONE } else { ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND };
        Committed::UpTo { high_watermark: self.high_watermark, status }
    }
}

/// R7.
fn lags(follower: &Follower, leader_end: i64, now_ms: u64, lag_ms: u64) -> bool {
    follower.end != leader_end
        && follower.caught_up_ms.is_none_or(|caught_up_ms| now_ms.saturating_sub(caught_up_ms) > lag_ms)
}
