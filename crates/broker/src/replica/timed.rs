//! The work that replicas need in time: checkpoints (D13), retention (D22), removal of what was deleted (D23, D26), `flush.ms`,
//! forgetting producers (I9). When is [`Schedule`](super::schedule::Schedule)'s to say; on a data directory one thread does
//! it, in memory a handler thread, with a [`ManualClock`](crate::ManualClock) whoever moves the clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rohrpost_log::LogError;

use super::Partition;
use super::dirs::{DataDir, Removal};
use super::manager::ReplicaManager;
use super::schedule::{Period, Task};
use crate::clock::Timed;
use crate::config::BrokerConfig;

/// Kafka's keys, and what each task waits for at first (D13).
pub(super) fn periods(config: &BrokerConfig) -> Vec<Period> {
    let expire_ms = config.producer_id_expiration_check_interval_ms;
    let delay_ms = config.log_initial_task_delay_ms;
    let on_disk = !config.is_in_memory();
    let period = |task, first_after_ms, interval_ms| Period { task, first_after_ms, interval_ms };
    let checkpoints = [
        period(Task::HighWatermarks, delay_ms, config.replica_high_watermark_checkpoint_interval_ms),
        period(Task::RecoveryPoints, delay_ms, config.log_flush_offset_checkpoint_interval_ms),
        period(Task::LogStarts, delay_ms, config.log_flush_start_offset_checkpoint_interval_ms),
    ];
    let always = [
        period(Task::Retention, delay_ms, config.log_retention_check_interval_ms),
        period(Task::ExpireProducers, expire_ms, expire_ms),
    ];
    checkpoints.into_iter().filter(|_| on_disk).chain(always).collect()
}

impl Timed for ReplicaManager {
    fn run_due(&self) -> u64 {
        let _one = self.working.lock();
        let now_ms = self.clock.monotonic_ms();
        let due = self.schedule.lock().take_due(now_ms);
        for task in due {
            self.run(task);
        }
        for dir in self.dirs.iter() {
            self.guard(dir, dir.remove_due(now_ms));
        }
        let next_flush_ms = self.flusher.run_timers(now_ms);
        self.note_storage_error();
        self.schedule.lock().next_ms().min(next_flush_ms).min(self.dirs.next_removal_ms())
    }
}

impl ReplicaManager {
    /// Does timed work until the broker stops: the one thread for that.
    pub(crate) fn run_timed_work(&self) {
        loop {
            // a failure of one piece of work must not end all others
            let next_ms = catch_unwind(AssertUnwindSafe(|| self.run_due())).unwrap_or_else(|_| {
                tracing::error!("timed work panicked; it is tried again in a second");
                self.clock.monotonic_ms().saturating_add(1000)
            });
            if !self.flusher.bell().sleep(next_ms, self.clock.wake_at(next_ms)) {
                return;
            }
        }
    }

    fn run(&self, task: Task) {
        if task == Task::ExpireProducers {
            let now_ms = self.clock.now_ms();
            let expiration_ms = self.producer_id_expiration_ms.load(Ordering::Relaxed);
            for partition in self.all() {
                // I9
                partition.with_log(|log| log.expire_producers(now_ms, expiration_ms));
            }
            return;
        }
        let all = self.all();
        for (index, dir) in self.dirs.iter().enumerate() {
            if dir.log_dir().health().is_offline() {
                continue; // D30: the others go on
            }
            let mut here = all.iter().filter(|partition| partition.dir() == index);
            let result = match task {
                Task::HighWatermarks => checkpoint_high_watermarks(dir, here),
                Task::RecoveryPoints => checkpoint_recovery_points(dir, here),
                Task::LogStarts => checkpoint_log_starts(dir, here),
                Task::Retention => here.try_for_each(|partition| self.enforce_retention(dir, partition)),
                Task::ExpireProducers => Ok(()),
            };
            self.guard(dir, result);
        }
    }

    /// D22, D23.
    fn enforce_retention(&self, dir: &DataDir, partition: &Arc<Partition>) -> Result<(), LogError> {
        let Some(deletion) = partition.delete_old_segments(self.clock.now_ms())? else { return Ok(()) };
        tracing::info!(
            topic = %partition.topic(),
            partition = partition.index(),
            segments = deletion.segments(),
            bytes = deletion.bytes(),
            log_start = deletion.first_kept(),
            "retention has let old segments go"
        );
        // W7: a fetch that waits below the log start must be told
        partition.notify_waiters();
        if partition.is_in_memory() {
            deletion.remove()?;
            partition.complete_deletion(&deletion);
            return Ok(());
        }
        let delay_ms = deletion.delay_ms();
        let paths = deletion.rename()?;
        partition.complete_deletion(&deletion);
        dir.remove_at(self.clock.monotonic_ms().saturating_add(delay_ms), Removal::Files(paths));
        Ok(())
    }

    /// An error has taken the directory offline and was logged there (D30); nothing of it is tried again (D31).
    fn guard(&self, dir: &DataDir, result: Result<(), LogError>) {
        if let Err(error) = result {
            tracing::debug!(path = dir.log_dir().path(), %error, "timed work failed");
        }
    }
}

/// D13.
fn checkpoint_high_watermarks<'a>(
    dir: &DataDir,
    here: impl Iterator<Item = &'a Arc<Partition>>,
) -> Result<(), LogError> {
    let entries = here.filter_map(|p| p.offsets().map(|(_, hw)| (&**p.topic(), p.index(), hw)));
    dir.high_watermarks.update(entries, |entries| dir.log_dir().write_high_watermarks(entries))
}

/// D13.
fn checkpoint_recovery_points<'a>(
    dir: &DataDir,
    here: impl Iterator<Item = &'a Arc<Partition>>,
) -> Result<(), LogError> {
    let entries =
        here.filter_map(|p| Some((&**p.topic(), p.index(), p.with_log(|log| log.recovery_point())?)));
    dir.recovery_points.update(entries, |entries| dir.log_dir().write_recovery_points(entries))
}

/// D13.
fn checkpoint_log_starts<'a>(
    dir: &DataDir,
    here: impl Iterator<Item = &'a Arc<Partition>>,
) -> Result<(), LogError> {
    let entries =
        here.filter_map(|p| Some((&**p.topic(), p.index(), p.with_log(|log| log.log_start_checkpoint())??)));
    dir.log_starts.update(entries, |entries| dir.log_dir().write_log_starts(entries))
}
