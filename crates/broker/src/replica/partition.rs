//! One hosted partition: the leader's log and its high watermark.
//!
//! All that can change sits behind one lock: appends hold it alone, reads share it. Whoever has changed a partition calls
//! [`Partition::notify_waiters`] afterwards, without the lock (W3). What happens to the log beside appends and reads (syncs,
//! retention, new settings) is in `upkeep.rs`.
//!
//! In synced mode (`flush.messages=1`, U3) an append counts only once it is on disk: for the acknowledgement, for consumers, and
//! for the leader's own part of the high watermark.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use rohrpost_log::{AppendError, AppendInfo, LeaderChecks, Log, LogError};
use rohrpost_protocol::ErrorCode;

use super::backlog::Backlog;
use super::upkeep::Upkeep;
use crate::purgatory::{Committed, FetchWaiters, ProduceWaiters, Watched};

/// A partition of which this broker has a replica.
pub(crate) struct Partition {
    topic: Arc<str>,
    index: i32,
    pub(super) state: RwLock<State>,
    fetch_waiters: FetchWaiters,
    produce_waiters: ProduceWaiters,
    /// Those who wait for this broker's own disk (acks=1 in synced mode).
    sync_waiters: ProduceWaiters,
    pub(super) upkeep: Upkeep,
}

/// What acks=1 waits for: this broker's own log and no other.
pub(crate) struct OwnLog(pub(crate) Arc<Partition>);

pub(super) struct State {
    pub(super) log: Hold,
    leader_epoch: i32,
    /// This broker's id in `in_sync`.
    replica_id: i32,
    is_leader: bool,
    in_sync: InSync,
    /// Effective: never above the number of replicas (P7, R35).
    min_in_sync: usize,
    pub(super) high_watermark: i64,
    /// Where followers' logs end, as far as this leader knows.
    follower_ends: Vec<(i32, i64)>,
    backlog: Backlog,
    /// The log is queued for a sync, or one runs.
    pub(super) flushing: bool,
    /// When `flush.ms` of the oldest unsynced record is over, on the monotonic clock.
    pub(super) flush_at_ms: Option<u64>,
    /// When the flusher looks at it, at the latest.
    pub(super) timer_ms: Option<u64>,
    /// Syncs mean something here: not in memory.
    pub(super) syncs: bool,
    /// True while an append runs. Found true by the next one, the last append has panicked: what the log holds in memory may
    /// not be what it holds on disk, and only a restart knows.
    appending: bool,
}

pub(super) enum Hold {
    Online(Box<Log>),
    /// Its log could not be opened, or its directory failed (D30).
    Offline,
    /// The topic was deleted.
    Deleted,
}

/// The in-sync set of a leader.
///
/// With several replicas a leader that has asked the controller for a change does not know whether the change holds: then the
/// *maximal* set is the union of both, and only what all of it has is committed (R-rules, chapter 9). With one replica there is
/// nothing to ask for, and the maximal set is the committed one.
#[derive(Debug, Clone, Default)]
pub(crate) struct InSync {
    committed: Vec<i32>,
}

impl InSync {
    pub(crate) fn committed(ids: Vec<i32>) -> Self {
        Self { committed: ids }
    }

    /// What P7 counts.
    fn committed_len(&self) -> usize {
        self.committed.len()
    }

    /// What the high watermark is computed over.
    fn maximal(&self) -> &[i32] {
        &self.committed
    }
}

/// What metadata says of this replica.
#[derive(Debug, Clone, Default)]
pub(crate) struct Role {
    /// This broker's id.
    pub(crate) replica_id: i32,
    pub(crate) is_leader: bool,
    pub(crate) leader_epoch: i32,
    pub(crate) in_sync: InSync,
    /// Effective: never above the number of replicas.
    pub(crate) min_in_sync: usize,
}

/// A batch that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// What the high watermark must reach before acks=all is answered: last offset + 1.
    pub required_offset: i64,
    /// How far the partition was committed right after the append: the first look of acks=all (P10).
    pub committed: Committed,
    /// How far this broker's own log counted right after the append: the first look of acks=1 (U3).
    pub own: Committed,
    /// -1 unless the topic is LogAppendTime or the batch was a duplicate (P11, I2).
    pub log_append_time_ms: i64,
    /// First offset of the log.
    pub log_start_offset: i64,
}

/// A batch that is not in the log, and what the answer says of it (P12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendFailure {
    /// The answer's code.
    pub code: ErrorCode,
    /// More about it, where that adds something.
    pub message: Option<String>,
    /// Index of the record in its batch, and what is wrong with it.
    pub records: Vec<(i32, String)>,
    /// -1 for errors found before the log.
    pub log_start_offset: i64,
}

impl AppendFailure {
    /// What the answer says of a batch that the log refused. `log_start`: of that log.
    pub fn of(error: AppendError, log_start: i64) -> AppendFailure {
        AppendFailure {
            code: ErrorCode(error.code),
            message: error.error_message().map(str::to_owned),
            // P12
            log_start_offset: if error.log_start_known { log_start } else { -1 },
            records: error.record_errors.into_iter().map(|r| (r.batch_index, r.message)).collect(),
        }
    }
}

impl From<ErrorCode> for AppendFailure {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new(), log_start_offset: -1 }
    }
}

/// The leader epoch that a client believes in; -1 = it does not say (F8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EpochCheck(pub(crate) i32);

/// Who reads, which decides how far (F1, O2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A consumer, to the high watermark. Without transactions the last stable offset is the same.
    Consumer,
    /// A follower, to the end of the log.
    Replica(i32),
}

/// One partition of a fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadRequest {
    pub(crate) reader: Reader,
    pub(crate) epoch: EpochCheck,
    pub(crate) offset: i64,
    /// The epoch of the last batch that the reader has; -1 = it does not say (F9).
    pub(crate) last_fetched_epoch: i32,
    pub(crate) bytes_max: usize,
    /// Return the first batch whole even if it is larger than `bytes_max` (F4).
    pub(crate) at_least_one: bool,
}

/// What a read found. The offsets are those taken before the read (R32).
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadOutcome {
    pub(crate) records: Bytes,
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
    /// Bytes committed since the log was opened, counted at the same moment.
    pub(crate) appended_bytes: u64,
    /// The reader's log is no prefix of this one: the epoch and offset where they part (R24).
    pub(crate) diverging: Option<(i32, i64)>,
}

/// An offset found by time, or an end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoundOffset {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: i32,
}

impl FoundOffset {
    /// O3: no error, just nothing.
    pub(crate) const NOTHING: Self = Self { offset: -1, timestamp: -1, leader_epoch: -1 };
}

impl Partition {
    /// A partition whose log is open, or (`None`) could not be opened. `high_watermark`: the checkpointed one (D19).
    pub(super) fn open(
        topic: Arc<str>,
        index: i32,
        mut log: Option<Log>,
        role: Role,
        high_watermark: Option<i64>,
        upkeep: Upkeep,
    ) -> Self {
        // D19: bounded by log start and LEO, or 0 if unknown
        let high_watermark = log
            .as_ref()
            .map_or(0, |log| high_watermark.unwrap_or(0).clamp(log.log_start_offset(), log.log_end_offset()));
        if let Some(log) = log.as_mut().filter(|_| upkeep.owns_flushes()) {
            log.leave_flushes_to_owner();
        }
        let mut state = State {
            log: log.map_or(Hold::Offline, |log| Hold::Online(Box::new(log))),
            leader_epoch: role.leader_epoch,
            replica_id: role.replica_id,
            is_leader: role.is_leader,
            in_sync: role.in_sync,
            min_in_sync: role.min_in_sync,
            high_watermark,
            follower_ends: Vec::new(),
            backlog: Backlog::default(),
            flushing: false,
            flush_at_ms: None,
            timer_ms: None,
            syncs: upkeep.syncs(),
            appending: false,
        };
        state.begin_epoch();
        state.raise_high_watermark();
        Self {
            topic,
            index,
            state: RwLock::new(state),
            fetch_waiters: FetchWaiters::default(),
            produce_waiters: ProduceWaiters::default(),
            sync_waiters: ProduceWaiters::default(),
            upkeep,
        }
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(crate) fn index(&self) -> i32 {
        self.index
    }

    /// The fetches that wait here.
    pub(crate) fn fetch_waiters(&self) -> &FetchWaiters {
        &self.fetch_waiters
    }

    /// Tells whoever waits here that the partition has changed: its log grew, its high watermark rose, its role changed, or it
    /// is gone (W7). Called **with no partition or log lock held** (W3): ending a request looks at other partitions.
    pub(crate) fn notify_waiters(&self) {
        self.produce_waiters.notify(|| self.committed());
        self.sync_waiters.notify(|| self.own_committed());
        self.fetch_waiters.notify();
    }

    /// Follows a change of metadata. The caller notifies the waiters.
    pub(crate) fn set_role(&self, role: Role) {
        let mut state = self.state.write();
        if !state.is_leader {
            state.follower_ends.clear(); // what is known is of an earlier time as leader, if at all
        }
        state.replica_id = role.replica_id;
        state.leader_epoch = role.leader_epoch;
        state.is_leader = role.is_leader;
        state.in_sync = role.in_sync;
        state.min_in_sync = role.min_in_sync;
        state.begin_epoch();
        state.raise_high_watermark();
    }

    /// Appends one batch as the leader (P6 to P8, chapter 6). `batch` is changed in place: base offset and leader epoch are
    /// written into the bytes that came from the socket, and these go to the file (L14).
    ///
    /// # Errors
    /// What to answer. Nothing of the batch is in the log then.
    pub(crate) fn append(
        self: &Arc<Self>,
        batch: &mut [u8],
        acks: i16,
        checks: LeaderChecks,
        now_ms: i64,
    ) -> Result<Appended, AppendFailure> {
        let mut state = self.state.write();
        state.check_leader(EpochCheck(-1))?; // P6
        if acks == -1 && state.in_sync.committed_len() < state.min_in_sync {
            return Err(ErrorCode::NOT_ENOUGH_REPLICAS.into()); // P7: before anything is written
        }
        let leader_epoch = state.leader_epoch;
        if std::mem::replace(&mut state.appending, true) {
            tracing::error!(topic = %self.topic, partition = self.index, "an append failed before; offline until a restart");
            state.log = Hold::Offline;
            return Err(ErrorCode::KAFKA_STORAGE_ERROR.into());
        }
        let Hold::Online(log) = &mut state.log else { return Err(ErrorCode::KAFKA_STORAGE_ERROR.into()) };
        let result = log.append_as_leader(batch, leader_epoch, now_ms, checks);
        let log_start = log.log_start_offset();
        state.appending = false;
        match result {
            Ok(AppendInfo {
                first_offset,
                last_offset,
                log_append_time,
                log_start_offset,
                bytes,
                rolled,
                ..
            }) => {
                state.backlog.append(last_offset + 1, bytes as u64);
                state.raise_high_watermark(); // L11
                let appended = Appended {
                    base_offset: first_offset,
                    required_offset: last_offset + 1,
                    committed: state.committed(),
                    own: state.own_committed(),
                    log_append_time_ms: log_append_time,
                    log_start_offset,
                };
                let then = self.after_append(&mut state, rolled, now_ms);
                drop(state);
                self.follow_up(then);
                Ok(appended)
            }
            Err(error) => Err(AppendFailure::of(error, log_start)),
        }
    }

    /// Reads whole batches from the one that contains the offset (F3, F5).
    ///
    /// # Errors
    /// F2, F8, R29, R30, and a storage error.
    pub(crate) fn read(&self, request: ReadRequest) -> Result<ReadOutcome, ErrorCode> {
        let state = self.state.read();
        state.check_leader(request.epoch)?;
        if let Reader::Replica(_) = request.reader {
            // R29, F11: no replica but this one is in the assignment. With an epoch, a new replica tries again.
            return Err(if request.epoch == EpochCheck(-1) {
                ErrorCode::NOT_LEADER_OR_FOLLOWER
            } else {
                ErrorCode::UNKNOWN_LEADER_EPOCH
            });
        }
        let log = state.online()?;
        let (log_start_offset, end) = (log.log_start_offset(), log.log_end_offset());
        let high_watermark = state.high_watermark;
        let appended_bytes = state.backlog.committed();
        let mut outcome =
            ReadOutcome { high_watermark, log_start_offset, appended_bytes, ..ReadOutcome::default() };
        // R30: below the log start it is out of range even if epochs diverge
        if request.offset < log_start_offset {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if request.last_fetched_epoch >= 0 {
            match log.end_offset_for_epoch(request.last_fetched_epoch) {
                None => return Err(ErrorCode::OFFSET_OUT_OF_RANGE), // R30: above all known epochs
                Some((epoch, end)) if epoch < request.last_fetched_epoch || end < request.offset => {
                    outcome.diverging = Some((epoch, end)); // R24, F9
                    return Ok(outcome);
                }
                Some(_) => {}
            }
        }
        if request.offset > end {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE); // F2
        }
        // nothing would fit: a request of many partitions need not look into each log
        let room = request.bytes_max > 0 || request.at_least_one;
        if request.offset < high_watermark && room {
            let read = log.read(request.offset, request.bytes_max, high_watermark, request.at_least_one);
            outcome.records = read.map_err(|error| self.code_of(&error))?.records;
        }
        Ok(outcome)
    }

    /// Whether a fetch that found nothing to tell still has nothing to tell but more bytes: the count of
    /// [`ReadOutcome::appended_bytes`] as it is now (W6). Looks at no file.
    ///
    /// # Errors
    /// As [`Partition::read`]: the reader must be told.
    pub(crate) fn appended_bytes(&self, offset: i64, epoch: EpochCheck) -> Result<u64, ErrorCode> {
        let state = self.state.read();
        state.check_leader(epoch)?;
        let log = state.online()?;
        if offset < log.log_start_offset() || offset > log.log_end_offset() {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        Ok(state.backlog.committed())
    }

    /// The log start and the high watermark, for tests, inspection and checkpoints. `None` if the log is not there.
    pub(crate) fn offsets(&self) -> Option<(i64, i64)> {
        let state = self.state.read();
        Some((state.online().ok()?.log_start_offset(), state.high_watermark))
    }

    /// Latest offset (O2).
    ///
    /// # Errors
    /// F8, O4 and a storage error.
    pub(crate) fn latest(&self, reader: Reader, epoch: EpochCheck) -> Result<FoundOffset, ErrorCode> {
        let state = self.state.read();
        state.check_leader(epoch)?;
        let log = state.online()?;
        let offset = match reader {
            Reader::Consumer if state.is_behind_its_epoch() => return Err(ErrorCode::OFFSET_NOT_AVAILABLE),
            Reader::Consumer => state.high_watermark,
            Reader::Replica(_) => log.log_end_offset(),
        };
        Ok(FoundOffset { offset, timestamp: -1, leader_epoch: state.leader_epoch })
    }

    /// Earliest offset (O1, O2).
    ///
    /// # Errors
    /// F8 and a storage error.
    pub(crate) fn earliest(&self, epoch: EpochCheck) -> Result<FoundOffset, ErrorCode> {
        let state = self.state.read();
        state.check_leader(epoch)?;
        let log = state.online()?;
        let offset = log.log_start_offset();
        Ok(FoundOffset { offset, timestamp: -1, leader_epoch: log.epoch_at(offset).unwrap_or(-1) })
    }

    /// Where a leader epoch ended: the largest known epoch up to it and the offset after its last record. `None`: undefined
    /// (O6, R25).
    ///
    /// # Errors
    /// F8 and a storage error.
    pub(crate) fn end_of_epoch(
        &self,
        leader_epoch: i32,
        epoch: EpochCheck,
    ) -> Result<Option<(i32, i64)>, ErrorCode> {
        // O6, R25
        let state = self.state.read();
        state.check_leader(epoch)?;
        Ok(state.online()?.end_offset_for_epoch(leader_epoch))
    }

    /// Raises the log start to `offset`, -1 for the high watermark (D25). The answer is the log start as it is then. The
    /// caller notifies the waiters.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE above the high watermark, POLICY_VIOLATION where records are not deleted, P6, a storage error.
    pub(crate) fn delete_records(&self, offset: i64) -> Result<i64, ErrorCode> {
        // D25
        let mut state = self.state.write();
        state.check_leader(EpochCheck(-1))?;
        let high_watermark = state.high_watermark;
        let Hold::Online(log) = &mut state.log else { return Err(ErrorCode::KAFKA_STORAGE_ERROR) };
        if !log.config().delete {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let offset = if offset == -1 { high_watermark } else { offset };
        if !(0..=high_watermark).contains(&offset) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        match log.advance_log_start(offset) {
            Ok(_) => Ok(log.log_start_offset()),
            Err(error) => Err(self.code_of(&error)),
        }
    }

    /// Bytes of the log, and how far its end is behind the high watermark. `None` if the log is not there.
    pub(crate) fn size(&self) -> Option<(u64, i64)> {
        let state = self.state.read();
        let log = state.online().ok()?;
        Some((log.size_bytes(), (state.high_watermark - log.log_end_offset()).max(0)))
    }

    /// The first record at or after a time (O3).
    ///
    /// # Errors
    /// F8 and a storage error.
    pub(crate) fn by_timestamp(&self, timestamp: i64, epoch: EpochCheck) -> Result<FoundOffset, ErrorCode> {
        self.find(epoch, |log| log.offset_for_timestamp(timestamp))
    }

    /// The record with the largest time (O1, -3).
    ///
    /// # Errors
    /// F8 and a storage error.
    pub(crate) fn largest_timestamp(&self, epoch: EpochCheck) -> Result<FoundOffset, ErrorCode> {
        self.find(epoch, Log::offset_of_max_timestamp)
    }

    fn find(
        &self,
        epoch: EpochCheck,
        search: impl FnOnce(&Log) -> Result<Option<rohrpost_log::TimestampOffset>, LogError>,
    ) -> Result<FoundOffset, ErrorCode> {
        let state = self.state.read();
        state.check_leader(epoch)?;
        let log = state.online()?;
        let found = search(log).map_err(|error| self.code_of(&error))?;
        Ok(match found {
            Some(found) if found.offset < state.high_watermark => FoundOffset {
                offset: found.offset,
                timestamp: found.timestamp,
                leader_epoch: log.epoch_at(found.offset).unwrap_or(-1),
            },
            // O4: it is there, and may be taken back
            Some(_) if state.is_behind_its_epoch() => return Err(ErrorCode::OFFSET_NOT_AVAILABLE),
            _ => FoundOffset::NOTHING,
        })
    }

    /// Runs something on the log, for checkpoints and syncs. `None` if the log is not there.
    pub(crate) fn with_log<R>(&self, f: impl FnOnce(&mut Log) -> R) -> Option<R> {
        match &mut self.state.write().log {
            Hold::Online(log) => Some(f(log)),
            Hold::Offline | Hold::Deleted => None,
        }
    }

    /// Takes the log away: the partition is deleted, or the broker stops. Waiters are not told; the caller notifies.
    pub(crate) fn take_log(&self, deleted: bool) -> Option<Box<Log>> {
        let hold = std::mem::replace(
            &mut self.state.write().log,
            if deleted { Hold::Deleted } else { Hold::Offline },
        );
        match hold {
            Hold::Online(log) => Some(log),
            Hold::Offline | Hold::Deleted => None,
        }
    }

    fn waiting_for_disk(&self) -> &ProduceWaiters {
        &self.sync_waiters
    }

    /// How far this broker's own log counts (U3), for those who wait for nothing else.
    fn own_committed(&self) -> Committed {
        let state = self.state.read();
        state.check_leader(EpochCheck(-1)).map_or_else(Committed::Never, |()| state.own_committed())
    }

    fn code_of(&self, error: &LogError) -> ErrorCode {
        let code = ErrorCode(error.code());
        if code != ErrorCode::OFFSET_OUT_OF_RANGE {
            tracing::error!(topic = %self.topic, partition = self.index, %error, "cannot read");
        }
        code
    }
}

impl State {
    /// P6, F8.
    fn check_leader(&self, EpochCheck(epoch): EpochCheck) -> Result<(), ErrorCode> {
        match &self.log {
            Hold::Deleted => return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Hold::Offline => return Err(ErrorCode::KAFKA_STORAGE_ERROR),
            // D30: an error of any log has taken the whole directory offline
            Hold::Online(log) if log.health().is_offline() => return Err(ErrorCode::KAFKA_STORAGE_ERROR),
            Hold::Online(_) => {}
        }
        // F8: only -1 asks for no check
        if epoch != -1 && epoch < self.leader_epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        if epoch > self.leader_epoch {
            return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
        }
        if !self.is_leader {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        Ok(())
    }

    fn online(&self) -> Result<&Log, ErrorCode> {
        match &self.log {
            Hold::Online(log) => Ok(log),
            Hold::Offline => Err(ErrorCode::KAFKA_STORAGE_ERROR),
            Hold::Deleted => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        }
    }

    /// R16: a leader notes where its epoch begins before it appends anything, also when nothing is appended for long: clients
    /// name this epoch in their next request.
    fn begin_epoch(&mut self) {
        if let Hold::Online(log) = &mut self.log
            && self.is_leader
            && log.latest_epoch().is_none_or(|latest| latest < self.leader_epoch)
            && let Err(error) = log.assign_epoch(self.leader_epoch)
        {
            tracing::error!(%error, "cannot note the leader epoch");
        }
    }

    /// O4, R12: the high watermark of a new leader may lie below that of the old one until its followers have fetched. What the
    /// old one has answered, it cannot answer before its own lies where its epoch begins.
    fn is_behind_its_epoch(&self) -> bool {
        let Hold::Online(log) = &self.log else { return false };
        log.epochs()
            .last()
            .is_some_and(|(epoch, start)| *epoch == self.leader_epoch && self.high_watermark < *start)
    }

    /// How far a leader's log is committed, and what that is worth to acks=all.
    fn committed(&self) -> Committed {
        // R33: P7 was before the append; the set may have shrunk since
        let enough = self.in_sync.maximal().len() >= self.min_in_sync;
        let status = if enough { ErrorCode::NONE } else { ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND };
        Committed::UpTo { high_watermark: self.high_watermark, status }
    }

    /// Where the leader's own log ends as far as it counts. U3: in synced mode what is not on disk does not.
    fn own_end(&self, log: &Log) -> i64 {
        // U3; U1, U4: else what the page cache has is enough
        if self.is_synced(log) { log.recovery_point() } else { log.log_end_offset() }
    }

    pub(super) fn is_synced(&self, log: &Log) -> bool {
        self.syncs && log.config().flush_messages == 1
    }

    fn own_committed(&self) -> Committed {
        let high_watermark = self.online().map_or(0, |log| self.own_end(log));
        Committed::UpTo { high_watermark, status: ErrorCode::NONE }
    }

    /// L11: the high watermark is the smallest end of the maximal in-sync set's logs. A member whose end is not known yet holds
    /// it where it is. It never falls.
    pub(super) fn raise_high_watermark(&mut self) {
        let Hold::Online(log) = &self.log else { return };
        if !self.is_leader {
            return;
        }
        let mut lowest = self.own_end(log);
        for member in self.in_sync.maximal().iter().filter(|member| **member != self.replica_id) {
            let Some((_, end)) = self.follower_ends.iter().find(|(id, _)| id == member) else { return };
            lowest = lowest.min(*end);
        }
        self.high_watermark = self.high_watermark.max(lowest);
        self.backlog.commit(self.high_watermark);
    }
}

impl Watched for Partition {
    fn committed(&self) -> Committed {
        let state = self.state.read();
        // W5: no longer the leader, gone, or offline
        state.check_leader(EpochCheck(-1)).map_or_else(Committed::Never, |()| state.committed())
    }

    fn produce_waiters(&self) -> &ProduceWaiters {
        &self.produce_waiters
    }
}

impl Watched for OwnLog {
    fn committed(&self) -> Committed {
        self.0.own_committed()
    }

    fn produce_waiters(&self) -> &ProduceWaiters {
        self.0.waiting_for_disk()
    }
}

#[cfg(test)]
impl Partition {
    /// A partition that nobody looks after: its log syncs itself.
    pub(crate) fn new(topic: Arc<str>, index: i32, log: Option<Log>, role: Role) -> Self {
        Partition::open(topic, index, log, role, None, Upkeep::none())
    }

    /// Notes where a follower's log ends, as its fetch has told; the high watermark follows. The fetches of followers are not
    /// served yet.
    pub(crate) fn set_follower_end(&self, replica_id: i32, end: i64) {
        let mut state = self.state.write();
        state.follower_ends.retain(|(id, _)| *id != replica_id);
        state.follower_ends.push((replica_id, end));
        state.raise_high_watermark();
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
