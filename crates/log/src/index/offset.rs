//! The offset index: where in the segment file a batch starts.

use super::{IndexEntry, IndexFile};

/// Eight bytes: last offset of a batch less the segment's base, and the file position where the batch starts (D5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) relative_offset: u32,
    pub(crate) position: u32,
}

pub(crate) type OffsetIndex = IndexFile<OffsetEntry>;

impl IndexEntry for OffsetEntry {
    const SIZE: usize = 8;

    fn key(&self) -> i64 {
        i64::from(self.relative_offset)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> OffsetEntry {
        let [a, b, c, d, e, f, g, h] = *bytes else { return OffsetEntry::default() };
        OffsetEntry {
            relative_offset: u32::from_be_bytes([a, b, c, d]),
            position: u32::from_be_bytes([e, f, g, h]),
        }
    }
}

impl OffsetIndex {
    /// All entries used (D8).
    pub(crate) fn is_full(&self) -> bool {
        // D8
        self.len() >= self.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{FileStorage, MemoryStorage, Storage};

    fn entry(n: u32) -> OffsetEntry {
        OffsetEntry { relative_offset: n * 10 + 9, position: n * 4096 + 1 }
    }

    fn check(storage: &dyn Storage, dir: &str) {
        let path = format!("{dir}/0.index");
        let mut index = OffsetIndex::create(storage, path.clone(), 10_485_763).unwrap();
        assert_eq!(index.capacity(), 1_310_720);
        assert_eq!(index.floor(100).unwrap(), None);
        for n in 1..=1200 {
            index.push(entry(n)).unwrap();
        }
        // D9: written, pending, before the first, after the last.
        for n in [1, 2, 511, 512, 513, 1024, 1025, 1199] {
            assert_eq!(index.floor(i64::from(n * 10 + 9)).unwrap(), Some(entry(n)));
            assert_eq!(index.floor(i64::from(n * 10 + 18)).unwrap(), Some(entry(n)));
        }
        assert_eq!(index.floor(18).unwrap(), None);
        assert_eq!(index.floor(1 << 31).unwrap(), Some(entry(1200)));
        index.truncate(|e| e.relative_offset < 700 * 10).unwrap();
        assert_eq!(index.last(), Some(entry(699)));
        index.push(entry(700)).unwrap();
        index.write_pending().unwrap();
        if storage.preallocates() {
            assert_eq!(index.file().len().unwrap(), 10_485_760, "D7: preallocated, rounded down");
        }
        // D7: trailing zeros are unused.
        let reopened = OffsetIndex::open(storage, path.clone()).unwrap().unwrap();
        assert_eq!((reopened.len(), reopened.last()), (700, Some(entry(700))));
        index.trim().unwrap();
        assert_eq!(index.file().len().unwrap(), 5600, "D7: trimmed");
        index.file().set_len(5601).unwrap();
        assert!(OffsetIndex::open(storage, path).unwrap().is_none(), "not whole entries");
    }

    #[test]
    fn entries_are_found_in_memory() {
        check(&MemoryStorage::new(), "");
    }

    #[test]
    fn entries_are_found_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        check(&FileStorage::new(), dir.path().to_str().unwrap());
    }

    #[test]
    fn the_index_is_full_when_all_entries_are_used() {
        // D8
        let mut index = OffsetIndex::create(&MemoryStorage::new(), "i".to_owned(), 17).unwrap();
        index.push(entry(1)).unwrap();
        assert!(!index.is_full());
        index.push(entry(2)).unwrap();
        assert!(index.is_full());
    }
}
