//! What happens to a partition's log beside appends and reads: syncs (D11 to D13, U3), retention (D22), new settings.
//!
//! Decisions are made under the partition's lock; the disk is waited for without it (D12).

use std::sync::Arc;

use rohrpost_log::{Deletion, LogConfig, LogError};

use super::flusher::Flusher;
use super::partition::{Hold, Partition, State};

/// Who looks after a partition's log.
pub(crate) struct Upkeep {
    flusher: Option<Arc<Flusher>>,
    /// Number of its data directory.
    dir: usize,
    in_memory: bool,
}

/// What is left to do after an append, without the lock.
#[must_use]
pub(super) struct Then {
    sync: bool,
    /// In memory: what retention has let go.
    deletion: Option<Deletion>,
}

impl Upkeep {
    pub(super) fn by(flusher: &Arc<Flusher>, dir: usize, in_memory: bool) -> Upkeep {
        Upkeep { flusher: Some(Arc::clone(flusher)), dir, in_memory }
    }

    /// The log leaves its syncs to the flusher, or nobody needs them.
    pub(super) fn owns_flushes(&self) -> bool {
        self.flusher.is_some()
    }

    /// Syncs mean something: in memory nothing outlives the process.
    pub(super) fn syncs(&self) -> bool {
        !self.in_memory
    }
}

impl Partition {
    /// Number of the data directory that the replica lies in.
    pub(crate) fn dir(&self) -> usize {
        self.upkeep.dir
    }

    pub(super) fn is_in_memory(&self) -> bool {
        self.upkeep.in_memory
    }

    /// Called under the lock after an append: what it has made due.
    pub(super) fn after_append(self: &Arc<Self>, state: &mut State, rolled: bool, now_ms: i64) -> Then {
        let high_watermark = state.high_watermark;
        let deletion = match &mut state.log {
            // In memory a closed segment is memory, so retention does not wait for its interval.
            Hold::Online(log) if rolled && self.upkeep.in_memory => {
                log.delete_old_segments(now_ms, high_watermark).unwrap_or_else(|error| {
                    tracing::error!(topic = %self.topic(), partition = self.index(), %error, "retention failed");
                    None
                })
            }
            _ => None,
        };
        Then { sync: self.wants_sync(state), deletion }
    }

    pub(super) fn follow_up(self: &Arc<Self>, then: Then) {
        if let Some(flusher) = self.upkeep.flusher.as_ref().filter(|_| then.sync) {
            flusher.push(Arc::clone(self));
        }
        if let Some(deletion) = then.deletion {
            match deletion.remove() {
                Ok(()) => self.complete_deletion(&deletion),
                Err(error) => {
                    tracing::error!(topic = %self.topic(), partition = self.index(), %error, "cannot remove old segments");
                }
            }
        }
    }

    /// Whether the caller is to queue the log for a sync: it needs one now, and is not queued yet. Else `flush.ms` may begin to
    /// count.
    fn wants_sync(self: &Arc<Self>, state: &mut State) -> bool {
        let Some(flusher) = self.upkeep.flusher.as_ref().filter(|_| state.syncs) else { return false };
        let State { log: Hold::Online(log), flushing, flush_at_ms, timer_ms, .. } = state else {
            return false;
        };
        if *flushing || log.unflushed_messages() == 0 {
            return false; // whoever syncs looks again afterwards
        }
        // L10, U3, D11
        if log.flush_due() || log.needs_flush_after_roll() {
            *flushing = true;
            return true;
        }
        let flush_ms = log.config().flush_ms;
        if flush_at_ms.is_none() && flush_ms < NEVER_MS {
            let due_ms = flusher.monotonic_ms().saturating_add(flush_ms);
            *flush_at_ms = Some(due_ms);
            if timer_ms.is_none_or(|timer_ms| timer_ms > due_ms) {
                *timer_ms = Some(due_ms);
                flusher.look_at(due_ms, Arc::downgrade(self));
            }
        }
        false
    }

    /// The flusher's timer of `timer_ms` has run down: if `flush.ms` is over, the log is queued for a sync.
    pub(super) fn flush_timer(self: &Arc<Self>, timer_ms: u64, now_ms: u64) {
        let Some(flusher) = &self.upkeep.flusher else { return };
        let mut state = self.state.write();
        if state.timer_ms == Some(timer_ms) {
            state.timer_ms = None;
        }
        match state.flush_at_ms {
            Some(due_ms) if due_ms <= now_ms => {
                state.flush_at_ms = None;
                if !std::mem::replace(&mut state.flushing, true) {
                    drop(state);
                    flusher.push(Arc::clone(self));
                }
            }
            Some(due_ms) if state.timer_ms.is_none() => {
                state.timer_ms = Some(due_ms);
                flusher.look_at(due_ms, Arc::downgrade(self));
            }
            _ => {}
        }
    }

    /// One sync, for a log that was queued. True if it needs another one: batches have come while it ran, and are all served by
    /// that one (U3).
    pub(super) fn flush_queued(self: &Arc<Self>) -> Result<bool, LogError> {
        let mut again = false;
        let result = self.sync_now(|state| {
            state.flushing = false;
            again = self.wants_sync(state);
        });
        if result.is_err() {
            self.state.write().flushing = false;
        }
        // W3, W7: what is synced is committed, or never will be
        self.notify_waiters();
        result.map(|()| again)
    }

    /// A sync did not come to its end: what the disk holds is unknown, as after a failed one (D31).
    pub(super) fn flush_panicked(&self) {
        self.with_log(|log| log.health().fail("a sync panicked"));
        self.notify_waiters();
    }

    /// Syncs everything appended so far; waits for the disk without the partition's lock (D12). A deleted partition has nothing
    /// to sync.
    ///
    /// # Errors
    /// Its log is offline or goes offline by this.
    pub(crate) fn flush(&self) -> Result<(), LogError> {
        let result = self.sync_now(|_| ());
        self.notify_waiters();
        result
    }

    /// `then` sees the state right after a good sync.
    fn sync_now(&self, then: impl FnOnce(&mut State)) -> Result<(), LogError> {
        let prepared = {
            let mut state = self.state.write();
            state.flush_at_ms = None; // what is unsynced after this is younger
            match &mut state.log {
                Hold::Online(log) => log.prepare_flush(),
                Hold::Offline => Err(LogError::Offline("its log could not be opened".to_owned())),
                Hold::Deleted => {
                    then(&mut state);
                    return Ok(());
                }
            }
        };
        let flush = prepared?;
        flush.run()?; // D12: no lock is held here
        let mut state = self.state.write();
        if let Hold::Online(log) = &mut state.log {
            log.complete_flush(flush);
        }
        // U3
        state.raise_high_watermark();
        then(&mut state);
        Ok(())
    }

    /// New settings; they hold from the next append on. The caller notifies the waiters.
    pub(crate) fn set_config(self: &Arc<Self>, config: LogConfig) {
        let sync = {
            let mut state = self.state.write();
            let Hold::Online(log) = &mut state.log else { return };
            log.set_config(config);
            state.flush_at_ms = None; // flush.ms counts anew
            let sync = self.wants_sync(&mut state);
            state.raise_high_watermark();
            sync
        };
        self.follow_up(Then { sync, deletion: None });
    }

    /// Decides what retention does not keep (D22), and moves the log start. The caller renames the files, without a lock, and
    /// then calls [`Partition::complete_deletion`].
    ///
    /// # Errors
    /// Its directory is offline, or goes offline by this.
    pub(crate) fn delete_old_segments(&self, now_ms: i64) -> Result<Option<Deletion>, LogError> {
        let mut state = self.state.write();
        let high_watermark = state.high_watermark;
        match &mut state.log {
            Hold::Online(log) if !log.health().is_offline() => {
                log.delete_old_segments(now_ms, high_watermark)
            }
            _ => Ok(None),
        }
    }

    /// Takes out of the log what has gone.
    pub(crate) fn complete_deletion(&self, deletion: &Deletion) {
        self.with_log(|log| log.complete_deletion(deletion));
    }
}

/// `flush.ms` from here on means never.
const NEVER_MS: u64 = i64::MAX as u64;

#[cfg(test)]
impl Upkeep {
    pub(super) fn none() -> Upkeep {
        Upkeep { flusher: None, dir: 0, in_memory: false }
    }
}
