//! Fetch sessions (KIP-227, F13 to F16): a reader of many partitions names them once, and from then on sends and gets only
//! what has changed.
//!
//! A machine without I/O and clock: the time is handed in, the randomness of session ids at the beginning. The fetch handler
//! asks it twice per request: [`SessionCache::start`] says what to read, [`Turn::tell`] what of it to tell (F15). What is kept
//! is bounded: sessions by `max.incremental.fetch.session.cache.slots`, their partitions by [`PARTITIONS_MAX`]. Who gets no
//! session is answered with session 0 and goes on with full fetches (F16).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;
use rohrpost_protocol::{ErrorCode, Uuid, topic_name};

/// A session that was not used for so long gives way to any other; one that is older gives way to a larger one (F16). Ms.
const EVICTION_MS: u64 = 120_000;
/// Partitions of all sessions together, a thousand sessions of 250. At some 300 bytes each that is 75 MB at the most; Kafka has
/// no bound here.
const PARTITIONS_MAX: usize = 250_000;

/// The epoch of a request that wants a new session (F13).
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants none, or the end of the one that it names (F13).
const FINAL_EPOCH: i32 = -1;

/// A partition as a request names it: by topic name or by topic id, the other one being empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) topic: Arc<str>,
    pub(super) id: Uuid,
    pub(super) index: i32,
}

/// What a reader wants of a partition. Stays in force until the reader says something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) offset: i64,
    pub(super) current_leader_epoch: i32,
    pub(super) last_fetched_epoch: i32,
    pub(super) bytes_max: usize,
}

/// What a read has found of a partition, as far as it decides whether it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) has_records: bool,
    /// An error or a divergence.
    pub(super) is_trouble: bool,
    pub(super) high_watermark: i64,
    pub(super) log_start: i64,
}

/// What a request says about its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: i32,
    pub(super) epoch: i32,
    /// Topics go by id, not by name.
    pub(super) uses_ids: bool,
}

/// How a request goes on.
#[derive(Debug)]
pub(super) enum Start {
    /// Read what the request names; no session.
    Full,
    /// Read what the request names, then [open](SessionCache::open) a session for it.
    Open,
    /// The session held nothing any more and has ended: there is nothing to read.
    Ended,
    /// Read what the session holds, then [tell](Turn::tell) what has changed.
    Continue(Turn),
    /// Answer this at top level (F14).
    Refuse(ErrorCode),
}

/// One request of a session.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) id: i32,
    /// What to read, in this order (F15).
    pub(super) wanted: Vec<(Key, Ask)>,
    session: Arc<Mutex<Session>>,
    /// The session's epoch after this request. Another one at the end of the request: somebody else uses the session, too.
    next_epoch: i32,
}

/// All sessions of a broker.
#[derive(Debug)]
pub(super) struct SessionCache {
    slots: usize,
    rng: Rng,
    sessions: HashMap<i32, Slot>,
    /// By the time of their last use, oldest first.
    by_use: BTreeSet<(u64, i32)>,
    /// The least worth first: consumers before followers, small before large (F16).
    by_worth: BTreeSet<(bool, usize, i32)>,
    /// In all sessions.
    partitions: usize,
}

#[derive(Debug)]
struct Slot {
    session: Arc<Mutex<Session>>,
    created_ms: u64,
    used_ms: u64,
    /// Of a follower.
    privileged: bool,
    /// Partitions.
    size: usize,
}

#[derive(Debug)]
struct Session {
    /// The epoch that the next request must have.
    epoch: i32,
    uses_ids: bool,
    places: HashMap<Key, u64>,
    /// In the order in which they are read.
    partitions: BTreeMap<u64, Cached>,
    next_place: u64,
}

#[derive(Debug)]
struct Cached {
    key: Key,
    ask: Ask,
    /// High watermark and log start as the reader knows them. A high watermark of -1 is none: the partition is told as soon as it
    /// is well.
    told: (i64, i64),
}

impl SessionCache {
    /// Without sessions. `seed` decides their ids.
    pub(super) fn new(slots: usize, seed: u64) -> SessionCache {
        SessionCache {
            slots,
            rng: Rng::with_seed(seed),
            sessions: HashMap::new(),
            by_use: BTreeSet::new(),
            by_worth: BTreeSet::new(),
            partitions: 0,
        }
    }

    /// Takes a request: what it names, and what it no longer wants. For a full fetch nothing of that is kept yet.
    pub(super) fn start(
        &mut self,
        header: Header,
        named: impl IntoIterator<Item = (Key, Ask)>,
        forgotten: impl IntoIterator<Item = Key>,
        now_ms: u64,
    ) -> Start {
        // F13
        if matches!(header.epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            self.remove(header.id);
            return if header.epoch == FINAL_EPOCH { Start::Full } else { Start::Open };
        }
        // F14
        let Some(slot) = self.sessions.get(&header.id) else {
            return Start::Refuse(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        };
        let shared = Arc::clone(&slot.session);
        let mut session = shared.lock();
        if session.epoch != header.epoch {
            return Start::Refuse(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.uses_ids != header.uses_ids {
            return Start::Refuse(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        let others = self.partitions - slot.size;
        for (key, ask) in named {
            if !is_kept(&key) || others + session.partitions.len() >= PARTITIONS_MAX {
                // the reader begins anew, and is told then that there is no room for it
                self.remove(header.id);
                return Start::Refuse(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
            }
            session.ask(key, ask);
        }
        for key in forgotten {
            session.forget(&key);
        }
        if session.partitions.is_empty() {
            self.remove(header.id);
            return Start::Ended;
        }
        session.epoch = next_epoch(header.epoch);
        let turn = Turn {
            id: header.id,
            wanted: session.partitions.values().map(|cached| (cached.key.clone(), cached.ask)).collect(),
            next_epoch: session.epoch,
            session: Arc::clone(&shared),
        };
        self.touch(header.id, turn.wanted.len(), now_ms);
        Start::Continue(turn)
    }

    /// Opens a session with what a full fetch has read, if there is room (F16). The answer is its id, or 0.
    pub(super) fn open(
        &mut self,
        uses_ids: bool,
        privileged: bool,
        read: impl IntoIterator<Item = (Key, Ask, Found)>,
        now_ms: u64,
    ) -> i32 {
        let mut session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            uses_ids,
            places: HashMap::new(),
            partitions: BTreeMap::new(),
            next_place: 0,
        };
        for (key, ask, found) in read {
            if !is_kept(&key) || session.partitions.len() >= PARTITIONS_MAX {
                return 0;
            }
            let place = session.ask(key, ask);
            if let Some(cached) = session.partitions.get_mut(&place) {
                cached.learn(found);
            }
        }
        let size = session.partitions.len();
        if size == 0 || !self.has_room(privileged, size, now_ms) {
            return 0;
        }
        // F14: a random id above 0
        let id = loop {
            let id = self.rng.i32(1..);
            if !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let session = Arc::new(Mutex::new(session));
        self.sessions.insert(id, Slot { session, created_ms: now_ms, used_ms: now_ms, privileged, size });
        self.by_use.insert((now_ms, id));
        self.by_worth.insert((privileged, size, id));
        self.partitions += size;
        id
    }

    /// How many sessions there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.by_use.len(), self.sessions.len());
        assert_eq!(self.by_worth.len(), self.sessions.len());
        assert_eq!(self.partitions, self.sessions.values().map(|slot| slot.size).sum::<usize>());
        self.sessions.len()
    }

    /// Makes room for a session, at the expense of at most one other (F16).
    fn has_room(&mut self, privileged: bool, size: usize, now_ms: u64) -> bool {
        // F16
        if self.slots == 0 {
            return false;
        }
        let victim =
            if self.sessions.len() < self.slots { None } else { self.victim(privileged, size, now_ms) };
        if self.sessions.len() >= self.slots && victim.is_none() {
            return false;
        }
        let freed = victim.and_then(|id| self.sessions.get(&id)).map_or(0, |slot| slot.size);
        if self.partitions - freed + size > PARTITIONS_MAX {
            return false;
        }
        if let Some(id) = victim {
            self.remove(id);
        }
        true
    }

    /// The session that a new one takes the place of.
    fn victim(&self, privileged: bool, size: usize, now_ms: u64) -> Option<i32> {
        // F16
        let (used_ms, oldest) = *self.by_use.first()?;
        if now_ms.saturating_sub(used_ms) > EVICTION_MS {
            return Some(oldest);
        }
        let worth_less = self.by_worth.range(..(privileged, size, 0));
        let gives_way = |&&(_, _, id): &&(bool, usize, i32)| {
            self.sessions.get(&id).is_some_and(|slot| {
                (privileged && !slot.privileged) || now_ms.saturating_sub(slot.created_ms) > EVICTION_MS
            })
        };
        worth_less.into_iter().find(gives_way).map(|(_, _, id)| *id)
    }

    fn touch(&mut self, id: i32, size: usize, now_ms: u64) {
        let Some(slot) = self.sessions.get_mut(&id) else { return };
        self.by_use.remove(&(slot.used_ms, id));
        self.by_worth.remove(&(slot.privileged, slot.size, id));
        self.partitions = self.partitions - slot.size + size;
        (slot.used_ms, slot.size) = (now_ms, size);
        self.by_use.insert((now_ms, id));
        self.by_worth.insert((slot.privileged, size, id));
    }

    fn remove(&mut self, id: i32) {
        let Some(slot) = self.sessions.remove(&id) else { return };
        self.by_use.remove(&(slot.used_ms, id));
        self.by_worth.remove(&(slot.privileged, slot.size, id));
        self.partitions -= slot.size;
    }
}

impl Turn {
    /// Says of each partition whether the answer has it (F15), and notes what the reader knows then.
    ///
    /// # Errors
    /// INVALID_FETCH_SESSION_EPOCH: the session has gone on meanwhile.
    pub(super) fn tell<'k>(
        &self,
        read: impl IntoIterator<Item = (&'k Key, Found)>,
    ) -> Result<Vec<bool>, ErrorCode> {
        let mut session = self.session.lock();
        if session.epoch != self.next_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH); // F14
        }
        Ok(read.into_iter().map(|(key, found)| session.tell(key, found)).collect())
    }
}

impl Session {
    /// Notes what the reader wants of a partition; one that is new is read last. The answer is its place.
    fn ask(&mut self, key: Key, ask: Ask) -> u64 {
        if let Some(&place) = self.places.get(&key)
            && let Some(cached) = self.partitions.get_mut(&place)
        {
            cached.ask = ask;
            return place;
        }
        self.push(Cached { key, ask, told: (-1, -1) })
    }

    fn push(&mut self, cached: Cached) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(cached.key.clone(), place);
        self.partitions.insert(place, cached);
        place
    }

    fn forget(&mut self, key: &Key) -> Option<Cached> {
        self.partitions.remove(&self.places.remove(key)?)
    }

    fn tell(&mut self, key: &Key, found: Found) -> bool {
        // F15
        let Some(cached) = self.places.get(key).and_then(|place| self.partitions.get_mut(place)) else {
            return true;
        };
        let changed = cached.told != (found.high_watermark, found.log_start);
        let told = found.has_records || found.is_trouble || changed;
        cached.learn(found);
        // F15: who got something goes to the end, so that small budgets serve all in turn
        if found.has_records
            && let Some(cached) = self.forget(key)
        {
            self.push(cached);
        }
        told
    }
}

impl Cached {
    fn learn(&mut self, found: Found) {
        // F15: after trouble the reader is to hear of the partition again
        self.told = if found.is_trouble { (-1, -1) } else { (found.high_watermark, found.log_start) };
    }
}

/// A topic of an impossible name is answered, not kept: it would take memory for nothing.
fn is_kept(key: &Key) -> bool {
    key.topic.is_empty() || topic_name::check(&key.topic).is_ok()
}

/// F14: 1, 2, … and after the last number 1 again.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
#[path = "fetch_session_tests.rs"]
mod tests;
