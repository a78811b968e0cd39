//! Crashes at random moments of a log's life: appends, rolls, syncs that run beside appends, deletions by retention, checkpoints.
//! Whatever is lost, the next start finds whole batches without a gap, and everything that was synced and not deleted.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
use rohrpost_log::{Deletion, Flush, Log, LogConfig, MemoryStorage, OpenOptions};
use rohrpost_record::{Batches, Stamp};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many records, this much later than the last.
    Append(u32, i64),
    /// Prepares a sync; it runs and ends at later steps.
    BeginFlush,
    RunFlush,
    EndFlush,
    /// Takes old segments out; the files follow at a later step.
    Retain,
    RenameDeleted,
    RemoveDeleted,
    Checkpoint,
    AdvanceStart(i64),
    /// The process dies.
    Kill,
    /// The machine dies; of what only grew, this part of the unsynced bytes survives.
    PowerLoss(u64),
    CloseCleanly,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1u32..4, 0i64..400).prop_map(|(count, later)| Step::Append(count, later)),
        2 => Just(Step::BeginFlush),
        2 => Just(Step::RunFlush),
        2 => Just(Step::EndFlush),
        2 => Just(Step::Retain),
        1 => Just(Step::RenameDeleted),
        1 => Just(Step::RemoveDeleted),
        1 => Just(Step::Checkpoint),
        1 => (0i64..20).prop_map(Step::AdvanceStart),
        1 => Just(Step::Kill),
        1 => (0u64..200).prop_map(Step::PowerLoss),
        1 => Just(Step::CloseCleanly),
    ]
}

/// What the test knows, and what the checkpoint files would say.
struct World {
    storage: MemoryStorage,
    log: Option<Log>,
    flush: Option<(Flush, bool)>,
    deletion: Option<Deletion>,
    renamed: Vec<String>,
    now: i64,
    /// Bytes of every record's batch, by offset, as they were appended.
    written: Vec<(i64, Vec<u8>)>,
    /// Everything below survives any crash.
    synced: i64,
    recovery_point: i64,
    log_start: i64,
}

impl World {
    fn config() -> LogConfig {
        LogConfig {
            segment_bytes: 400,
            index_interval_bytes: 100,
            retention_ms: 2000,
            retention_bytes: 1500,
            ..LogConfig::default()
        }
    }

    fn new() -> World {
        let storage = MemoryStorage::new();
        let log = Some(open_with(&storage, World::config(), options()));
        World {
            storage,
            log,
            flush: None,
            deletion: None,
            renamed: Vec::new(),
            now: NOW,
            written: Vec::new(),
            synced: 0,
            recovery_point: 0,
            log_start: 0,
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Append(count, later) => {
                self.now += later;
                let now = self.now;
                let mut bytes = batch_with(count, 20, now, Stamp::NONE);
                let info = self.log().append_as_leader(&mut bytes, 1, now, Default::default()).unwrap();
                self.written.push((info.first_offset, bytes));
            }
            Step::BeginFlush => self.flush = Some((self.log().prepare_flush().unwrap(), false)),
            Step::RunFlush => {
                if let Some((flush, ran)) = &mut self.flush {
                    flush.run().unwrap();
                    self.synced = self.synced.max(flush.upto());
                    *ran = true;
                }
            }
            Step::EndFlush => {
                if let Some((flush, true)) = self.flush.take() {
                    self.log().complete_flush(flush);
                }
            }
            Step::Retain => {
                let (now, end) = (self.now, self.log().log_end_offset());
                self.rename();
                self.deletion = self.log().delete_old_segments(now, end).unwrap();
            }
            Step::RenameDeleted => self.rename(),
            Step::RemoveDeleted => {
                for path in std::mem::take(&mut self.renamed) {
                    rohrpost_log::Storage::remove(&self.storage, &path).unwrap();
                }
            }
            Step::Checkpoint => {
                self.recovery_point = self.log().recovery_point();
                self.log_start = self.log().log_start_checkpoint().unwrap_or(0);
            }
            Step::AdvanceStart(by) => {
                let to = (self.log().log_start_offset() + by).min(self.log().log_end_offset());
                self.log().advance_log_start(to).unwrap();
            }
            Step::Kill => {
                self.log = None;
                self.storage.kill();
                let end = self.end();
                self.reopen(end, false);
            }
            Step::PowerLoss(keep) => {
                self.log = None;
                self.storage.power_loss_keeping(|_, _| keep);
                self.reopen(self.synced, false);
            }
            Step::CloseCleanly => {
                self.rename();
                let log = self.log.take().unwrap();
                self.log_start = log.log_start_checkpoint().unwrap_or(0);
                self.recovery_point = log.close().unwrap();
                self.synced = self.recovery_point;
                self.storage.power_loss();
                self.reopen(self.synced, true);
            }
        }
    }

    fn rename(&mut self) {
        if let Some(deletion) = self.deletion.take() {
            self.renamed.extend(deletion.rename().unwrap());
            self.log().complete_deletion(&deletion);
        }
    }

    fn end(&self) -> i64 {
        self.written.last().map_or(0, |(_, bytes)| next_offset(bytes))
    }

    /// `kept`: everything below must be there, as far as it was not deleted.
    fn reopen(&mut self, kept: i64, clean: bool) {
        (self.flush, self.deletion) = (None, None);
        self.renamed.clear();
        let options = OpenOptions {
            clean,
            recovery_point: self.recovery_point,
            log_start: self.log_start,
            ..options()
        };
        let log = open_with(&self.storage, World::config(), options);
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        assert!(end >= kept, "ends at {end}, {kept} was synced");
        assert!(start >= self.log_start, "starts at {start}, the checkpoint says {}", self.log_start);
        assert!(files(&self.storage).iter().all(|name| !name.ends_with(".deleted")));
        // what is there is what was written, without a gap
        self.written.retain(|(_, bytes)| next_offset(bytes) <= end);
        let read = content(&log);
        let mut expected = self.written.iter().filter(|(_, bytes)| next_offset(bytes) > start);
        for batch in Batches::new(&read) {
            let (_, bytes) = expected.next().unwrap();
            assert_eq!(batch.unwrap().bytes(), &bytes[..]);
        }
        assert!(expected.next().is_none(), "from {start} to {end}");
        self.synced = kept.min(self.synced);
        self.log = Some(log);
    }
}

fn next_offset(bytes: &[u8]) -> i64 {
    rohrpost_record::BatchHeader::parse(bytes).unwrap().next_offset()
}

/// A run has many steps, so there are fewer of them than usual.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(192)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// D12, D16, D17, D18, D19, D22, D23, D31, U3, U6, U8
    #[test]
    fn every_crash_leaves_whole_batches_without_a_gap_and_all_that_was_synced(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        world.run(Step::Kill);
        world.run(Step::PowerLoss(0));
    }
}
