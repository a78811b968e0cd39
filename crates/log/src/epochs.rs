//! Which leader wrote from which offset on: the file `leader-epoch-checkpoint`.
//!
//! Followers use it to find where their log parts from the leader's (R24, R25), so an epoch must be on disk before the
//! first batch of that epoch is (U8).

use std::sync::Arc;

use crate::checkpoint;
use crate::error::LogError;
use crate::storage::Storage;

/// Name of the file in a partition's directory.
pub(crate) const FILE: &str = "leader-epoch-checkpoint";

/// The epochs of one log: (epoch, start offset), rising strictly in both.
#[derive(Debug)]
pub(crate) struct LeaderEpochs {
    storage: Arc<dyn Storage>,
    path: String,
    entries: Vec<(i32, i64)>,
    /// The file says more than `entries` does.
    changed: bool,
}

impl LeaderEpochs {
    /// Reads the file. A missing or malformed one gives no epochs: recovery finds them again in the batches.
    pub(crate) fn open(storage: Arc<dyn Storage>, path: String) -> Result<LeaderEpochs, LogError> {
        let mut entries: Vec<(i32, i64)> = Vec::new();
        if let Some(text) = checkpoint::read_text(&*storage, &path)? {
            let parsed = checkpoint::parse(&text, |line| {
                let (epoch, start) = line.split_once(' ')?;
                Some((epoch.parse::<i32>().ok()?, start.parse::<i64>().ok()?))
            });
            match parsed {
                Some(read) if rises(&read) => entries = read,
                _ => tracing::warn!(path, "malformed leader epoch file counts as absent"),
            }
        }
        Ok(LeaderEpochs { storage, path, entries, changed: false })
    }

    pub(crate) fn entries(&self) -> &[(i32, i64)] {
        &self.entries
    }

    pub(crate) fn latest(&self) -> Option<(i32, i64)> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` begins at `start` unless it is the latest already; on disk when this returns (D14, U8).
    /// Entries that contradict it (from an earlier life of the log) go.
    pub(crate) fn assign(&mut self, epoch: i32, start: i64) -> Result<(), LogError> {
        // D14
        if self.note(epoch, start) {
            self.write()?;
        }
        Ok(())
    }

    fn note(&mut self, epoch: i32, start: i64) -> bool {
        if epoch < 0 || self.latest().is_some_and(|(e, s)| e == epoch && s <= start) {
            return false;
        }
        self.entries.retain(|(e, s)| *e < epoch && *s < start);
        self.entries.push((epoch, start));
        debug_assert!(rises(&self.entries), "invariant 2: epochs and start offsets strictly rise");
        true
    }

    /// After recovery: what began at or above `from` is replaced by what was `seen` in the batches, and all is bounded by the
    /// log's start and end (D16, D18).
    pub(crate) fn restore(
        &mut self,
        from: i64,
        seen: &[(i32, i64)],
        log_start: i64,
        log_end: i64,
    ) -> Result<(), LogError> {
        // D16, D18
        let before = self.entries.clone();
        self.entries.retain(|(_, start)| *start < from);
        for (epoch, start) in seen {
            if self.latest().is_none_or(|(latest, _)| *epoch > latest) {
                self.note(*epoch, *start);
            }
        }
        self.entries.retain(|(_, start)| *start < log_end);
        self.drop_before(log_start);
        if self.entries != before { self.write() } else { Ok(()) }
    }

    /// Drops epochs that begin at or above `end` (D27, D28).
    pub(crate) fn truncate_from_end(&mut self, end: i64) -> Result<(), LogError> {
        let before = self.entries.len();
        self.entries.retain(|(_, start)| *start < end);
        if self.entries.len() != before { self.write() } else { Ok(()) }
    }

    /// Makes `start` the first offset: epochs that end before it go, the one that holds it begins there. The file follows with the
    /// next new epoch, or when the log is closed (D14); until then a start finds the same by itself (D18).
    pub(crate) fn forget_before(&mut self, start: i64) {
        self.changed |= self.drop_before(start);
    }

    /// Writes what [`forget_before`](LeaderEpochs::forget_before) has left out so far.
    pub(crate) fn write_if_changed(&mut self) -> Result<(), LogError> {
        if self.changed { self.write() } else { Ok(()) }
    }

    fn drop_before(&mut self, start: i64) -> bool {
        let holding = self.entries.iter().rposition(|(_, s)| *s <= start);
        let Some(holding) = holding.filter(|i| *i > 0 || self.entries[*i].1 < start) else { return false };
        self.entries.drain(..holding);
        self.entries[0].1 = start;
        true
    }

    pub(crate) fn clear(&mut self) -> Result<(), LogError> {
        self.entries.clear();
        self.write()
    }

    /// The epoch that wrote the record at `offset`.
    pub(crate) fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.entries.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
    }

    /// Largest known epoch ≤ `epoch`, and where it ends; `None` if undefined (R25).
    pub(crate) fn end_offset_for(&self, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        // R25; -1 is no epoch
        let (latest, _) = self.latest()?;
        if epoch == -1 {
            return None;
        }
        if epoch == latest {
            return Some((latest, log_end));
        }
        let next = self.entries.partition_point(|(e, _)| *e <= epoch);
        let (_, end) = *self.entries.get(next)?;
        match next {
            0 => Some((epoch, end)),
            _ => Some((self.entries[next - 1].0, end)),
        }
    }

    fn write(&mut self) -> Result<(), LogError> {
        let lines = self.entries.iter().map(|(epoch, start)| format!("{epoch} {start}"));
        checkpoint::write_text(&*self.storage, &self.path, &checkpoint::format_lines(lines))?;
        self.changed = false;
        Ok(())
    }
}

fn rises(entries: &[(i32, i64)]) -> bool {
    entries.first().is_none_or(|(e, s)| *e >= 0 && *s >= 0)
        && entries.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Fault, MemoryStorage};

    fn epochs(entries: &[(i32, i64)]) -> (MemoryStorage, LeaderEpochs) {
        let storage = MemoryStorage::new();
        let mut epochs = LeaderEpochs::open(Arc::new(storage.clone()), FILE.to_owned()).unwrap();
        for (epoch, start) in entries {
            epochs.assign(*epoch, *start).unwrap();
        }
        (storage, epochs)
    }

    #[test]
    fn an_epoch_is_on_disk_when_assign_returns() {
        // D14, U8
        let (storage, _) = epochs(&[(0, 0), (2, 10), (2, 20), (5, 30)]);
        storage.power_loss();
        let read = LeaderEpochs::open(Arc::new(storage.clone()), FILE.to_owned()).unwrap();
        assert_eq!(read.entries(), [(0, 0), (2, 10), (5, 30)]);
        let text = checkpoint::read_text(&storage, FILE).unwrap().unwrap();
        assert_eq!(text, "0\n3\n0 0\n2 10\n5 30\n");
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        // R25
        let (_, epochs) = epochs(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(epochs.end_offset_for(7, 35), Some((7, 35)));
        assert_eq!(epochs.end_offset_for(4, 35), Some((4, 30)));
        assert_eq!(epochs.end_offset_for(6, 35), Some((4, 30)));
        assert_eq!(epochs.end_offset_for(1, 35), Some((1, 10)));
        assert_eq!(epochs.end_offset_for(8, 35), None);
        // no epoch has no end, while one before the first ends where that begins
        assert_eq!(epochs.end_offset_for(-1, 35), None);
        assert_eq!(epochs.end_offset_for(-2, 35), Some((-2, 10)));
        let (_, none) = self::epochs(&[]);
        assert_eq!(none.end_offset_for(0, 0), None);
    }

    fn on_disk(storage: &MemoryStorage) -> Vec<(i32, i64)> {
        let read = LeaderEpochs::open(Arc::new(storage.clone()), FILE.to_owned()).unwrap();
        read.entries().to_vec()
    }

    #[test]
    fn truncation_keeps_the_epochs_that_still_have_offsets() {
        // D27, D28
        let (storage, mut epochs) = epochs(&[(2, 10), (4, 20), (7, 30)]);
        storage.inject(Fault::FailWrite(1));
        epochs.truncate_from_end(31).unwrap();
        storage.clear_faults();
        epochs.truncate_from_end(30).unwrap();
        assert_eq!(epochs.entries(), [(2, 10), (4, 20)]);
        assert_eq!(on_disk(&storage), [(2, 10), (4, 20)]);
        epochs.forget_before(15);
        assert_eq!(epochs.entries(), [(2, 15), (4, 20)]);
        epochs.forget_before(25);
        assert_eq!(epochs.entries(), [(4, 25)]);
        epochs.forget_before(25);
        assert_eq!(epochs.entries(), [(4, 25)]);
        assert_eq!(epochs.epoch_at(24), None);
        assert_eq!(epochs.epoch_at(25), Some(4));
    }

    #[test]
    fn what_ends_before_the_logs_start_is_forgotten_and_written_with_the_next_change() {
        // D14
        let (storage, mut epochs) = epochs(&[(2, 10), (4, 20), (7, 30)]);
        storage.inject(Fault::FailWrite(1));
        epochs.forget_before(9);
        epochs.forget_before(10);
        epochs.write_if_changed().unwrap();
        storage.clear_faults();
        epochs.forget_before(20);
        assert_eq!(epochs.entries(), [(4, 20), (7, 30)]);
        assert_eq!(on_disk(&storage), [(2, 10), (4, 20), (7, 30)]);
        // what changes nothing more does not make it forgotten
        epochs.forget_before(20);
        epochs.write_if_changed().unwrap();
        assert_eq!(on_disk(&storage), [(4, 20), (7, 30)]);
    }

    #[test]
    fn after_recovery_the_batches_are_right_from_where_they_were_read() {
        // D16, D18
        let restored = |from, seen: &[(i32, i64)], log_start, log_end| {
            let (storage, mut epochs) = self::epochs(&[(1, 0), (2, 10), (9, 20)]);
            epochs.restore(from, seen, log_start, log_end).unwrap();
            assert_eq!(on_disk(&storage), epochs.entries());
            epochs.entries().to_vec()
        };
        assert_eq!(restored(20, &[(3, 20), (5, 25)], 0, 30), [(1, 0), (2, 10), (3, 20), (5, 25)]);
        // the epoch goes on, or is none, or an old one
        assert_eq!(restored(20, &[(2, 20), (-1, 25), (1, 28)], 0, 30), [(1, 0), (2, 10)]);
        assert_eq!(restored(30, &[], 5, 20), [(1, 5), (2, 10)]);
        assert_eq!(restored(0, &[(-1, 0), (4, 10), (6, 20)], 0, 20), [(4, 10)]);
    }

    #[test]
    fn an_epoch_that_contradicts_replaces_what_it_contradicts() {
        for (assigned, expected) in [
            ((5, 20), &[(2, 10), (5, 20)][..]),
            ((2, 15), &[(2, 15)]),
            ((4, 25), &[(2, 10), (4, 25)]),
            ((7, 30), &[(2, 10), (4, 20), (7, 30)]),
            ((7, 29), &[(2, 10), (4, 20), (7, 29)]),
            ((-1, 40), &[(2, 10), (4, 20), (7, 30)]),
        ] {
            let (_, mut epochs) = epochs(&[(2, 10), (4, 20), (7, 30)]);
            epochs.assign(assigned.0, assigned.1).unwrap();
            assert_eq!(epochs.entries(), expected, "{assigned:?}");
        }
    }

    #[test]
    fn a_damaged_epoch_file_counts_as_absent() {
        // D16
        for text in [
            "0\n1\n",
            "0\n2\n3 5\n2 9\n",
            "0\n2\n3 5\n3 9\n",
            "0\n2\n3 5\n4 5\n",
            "0\n1\n-1 5\n",
            "0\n1\n5 -1\n",
            "0\n1\nx 1\n",
            "\u{0}\u{0}",
        ] {
            let storage = MemoryStorage::new();
            checkpoint::write_text(&storage, FILE, text).unwrap();
            let epochs = LeaderEpochs::open(Arc::new(storage), FILE.to_owned()).unwrap();
            assert!(epochs.entries().is_empty(), "{text:?}");
        }
    }
}
