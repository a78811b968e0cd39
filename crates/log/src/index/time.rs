//! The time index: up to which offset the largest timestamp so far has been seen.

use super::{IndexEntry, IndexFile};
use crate::error::LogError;

/// Twelve bytes: a timestamp, and the last offset of the batch that holds it less the segment's base (D6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: i64,
    pub(crate) relative_offset: u32,
}

pub(crate) type TimeIndex = IndexFile<TimeEntry>;

impl IndexEntry for TimeEntry {
    const SIZE: usize = 12;

    fn key(&self) -> i64 {
        self.timestamp
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> TimeEntry {
        let [t0, t1, t2, t3, t4, t5, t6, t7, a, b, c, d] = *bytes else { return TimeEntry::default() };
        TimeEntry {
            timestamp: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            relative_offset: u32::from_be_bytes([a, b, c, d]),
        }
    }
}

impl TimeIndex {
    /// All entries but one used: the last place is for the final entry at roll (D8).
    pub(crate) fn is_full(&self) -> bool {
        // D8
        self.len() + 1 >= self.capacity().max(2)
    }

    /// Adds an entry if its timestamp is above the last one's (D6).
    pub(crate) fn maybe_push(&mut self, timestamp: i64, relative_offset: u32) -> Result<(), LogError> {
        // D6
        let last = self.last().unwrap_or(TimeEntry { timestamp: -1, relative_offset: 0 });
        if timestamp > last.timestamp {
            self.push(TimeEntry { timestamp, relative_offset })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn only_a_larger_timestamp_makes_an_entry() {
        // D6
        let mut index = TimeIndex::create(&MemoryStorage::new(), "t".to_owned(), 100).unwrap();
        for (timestamp, offset) in [(-1, 0), (10, 1), (10, 2), (9, 3), (12, 4)] {
            index.maybe_push(timestamp, offset).unwrap();
        }
        assert_eq!(index.len(), 2);
        assert_eq!(index.floor(11).unwrap(), Some(TimeEntry { timestamp: 10, relative_offset: 1 }));
        assert_eq!(index.floor(9).unwrap(), None);
    }

    #[test]
    fn one_entry_stays_free_for_the_roll() {
        // D8
        let mut index = TimeIndex::create(&MemoryStorage::new(), "t".to_owned(), 36).unwrap();
        index.maybe_push(1, 1).unwrap();
        assert!(!index.is_full());
        index.maybe_push(2, 2).unwrap();
        assert!(index.is_full());
    }
}
