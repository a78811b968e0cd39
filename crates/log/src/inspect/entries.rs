//! Files of entries of one size: indexes (D5, D6), the transaction index, producer snapshots (I11).

use std::io;
use std::ops::ControlFlow;

use rohrpost_record::crc::crc32c_append;

use super::source::{PIECE, Source};

/// An entry of fixed size.
pub trait BinaryEntry: Sized {
    /// Bytes in the file.
    const SIZE: usize;
    /// Reads an entry from exactly [`SIZE`](BinaryEntry::SIZE) bytes.
    fn decode(bytes: &[u8]) -> Self;
}

/// `.index`: the last offset of a batch less the segment's base, and where the batch begins (D5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetIndexEntry {
    /// Offset less the segment's base offset.
    pub relative_offset: u32,
    /// Position in the segment.
    pub position: u32,
}

/// `.timeindex`: the largest timestamp so far, and the last offset of the batch that has it, less the base (D6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeIndexEntry {
    /// In ms since 1970.
    pub timestamp: i64,
    /// Offset less the segment's base offset.
    pub relative_offset: u32,
}

/// `.txnindex`: an aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Of the entry: 0.
    pub version: i16,
    /// Whose transaction.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
    /// Its marker.
    pub last_offset: i64,
    /// The last stable offset after the marker.
    pub last_stable_offset: i64,
}

/// `.snapshot`: what is known of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Last sequence of its last batch, or -1.
    pub last_sequence: i32,
    /// Last offset of its last batch, or -1.
    pub last_offset: i64,
    /// Last less first offset of its last batch.
    pub offset_delta: i32,
    /// Time of its last batch, in ms since 1970.
    pub timestamp: i64,
    /// Epoch of the coordinator that ended its last transaction, or -1.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction, or -1.
    pub transaction_first_offset: i64,
}

impl BinaryEntry for OffsetIndexEntry {
    const SIZE: usize = 8;

    fn decode(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        OffsetIndexEntry {
            relative_offset: u32::from_be_bytes(fields.take()),
            position: u32::from_be_bytes(fields.take()),
        }
    }
}

impl BinaryEntry for TimeIndexEntry {
    const SIZE: usize = 12;

    fn decode(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        TimeIndexEntry {
            timestamp: i64::from_be_bytes(fields.take()),
            relative_offset: u32::from_be_bytes(fields.take()),
        }
    }
}

impl BinaryEntry for AbortedTransaction {
    const SIZE: usize = 34;

    fn decode(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        AbortedTransaction {
            version: i16::from_be_bytes(fields.take()),
            producer_id: i64::from_be_bytes(fields.take()),
            first_offset: i64::from_be_bytes(fields.take()),
            last_offset: i64::from_be_bytes(fields.take()),
            last_stable_offset: i64::from_be_bytes(fields.take()),
        }
    }
}

impl BinaryEntry for ProducerEntry {
    const SIZE: usize = 46;

    fn decode(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        ProducerEntry {
            producer_id: i64::from_be_bytes(fields.take()),
            epoch: i16::from_be_bytes(fields.take()),
            last_sequence: i32::from_be_bytes(fields.take()),
            last_offset: i64::from_be_bytes(fields.take()),
            offset_delta: i32::from_be_bytes(fields.take()),
            timestamp: i64::from_be_bytes(fields.take()),
            coordinator_epoch: i32::from_be_bytes(fields.take()),
            transaction_first_offset: i64::from_be_bytes(fields.take()),
        }
    }
}

/// Visits all whole entries from byte `from` on, with their positions; returns the bytes that are left over at the end.
/// Entries at the end that are all zeros are unused and not visited, where `zeros_end` says so (D7).
///
/// # Errors
/// The source's.
pub fn entries<E: BinaryEntry>(
    source: &dyn Source,
    from: u64,
    zeros_end: bool,
    mut visit: impl FnMut(u64, E) -> ControlFlow<()>,
) -> io::Result<u64> {
    // D7
    let len = source.len()?.saturating_sub(from);
    let count = len / E::SIZE as u64;
    let mut buffer = vec![0; PIECE / E::SIZE * E::SIZE];
    let no_entries = vec![0; buffer.len()];
    let zero = &no_entries[..E::SIZE];
    let (mut at, mut zeros) = (0, 0);
    'file: while at < count {
        let wanted = ((count - at) as usize).saturating_mul(E::SIZE).min(buffer.len());
        let read = source.read_at(from + at * E::SIZE as u64, &mut buffer[..wanted])?;
        if read < E::SIZE {
            break;
        }
        let whole = read / E::SIZE * E::SIZE;
        if zeros_end && buffer[..whole] == no_entries[..whole] {
            // most of an index that a broker writes to is this
            zeros += (whole / E::SIZE) as u64;
            at += (whole / E::SIZE) as u64;
            continue;
        }
        for bytes in buffer[..whole].chunks_exact(E::SIZE) {
            if zeros_end && bytes == zero {
                zeros += 1;
                at += 1;
                continue;
            }
            // zeros with something behind them are entries after all
            for n in at - zeros..at {
                if visit(from + n * E::SIZE as u64, E::decode(zero)).is_break() {
                    break 'file;
                }
            }
            zeros = 0;
            if visit(from + at * E::SIZE as u64, E::decode(bytes)).is_break() {
                break 'file;
            }
            at += 1;
        }
    }
    Ok(len % E::SIZE as u64)
}

/// Bytes before the entries of a producer snapshot.
pub const PRODUCER_SNAPSHOT_HEADER: u64 = 10;

/// What a producer snapshot begins with, and what it should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerSnapshotHeader {
    /// 1.
    pub version: i16,
    /// The checksum as it stands there.
    pub crc: u32,
    /// The checksum of everything from byte 6 on.
    pub crc_computed: u32,
    /// Number of entries as it stands there.
    pub count: i32,
    /// Bytes of the file.
    pub len: u64,
}

impl ProducerSnapshotHeader {
    /// How long the file should be.
    pub fn expected_len(&self) -> Option<u64> {
        let count = u64::try_from(self.count).ok()?;
        Some(PRODUCER_SNAPSHOT_HEADER + count * ProducerEntry::SIZE as u64)
    }
}

/// The header of a producer snapshot; `None` if the file is shorter than it.
///
/// # Errors
/// The source's.
pub fn read_producer_snapshot_header(source: &dyn Source) -> io::Result<Option<ProducerSnapshotHeader>> {
    let len = source.len()?;
    let mut header = [0; PRODUCER_SNAPSHOT_HEADER as usize];
    if source.read_at(0, &mut header)? < header.len() {
        return Ok(None);
    }
    let mut fields = Fields(&header);
    let version = i16::from_be_bytes(fields.take());
    let crc = u32::from_be_bytes(fields.take());
    let count = i32::from_be_bytes(fields.take());
    let (mut crc_computed, mut at) = (0, 6);
    let mut buffer = vec![0; PIECE];
    while at < len {
        let read = source.read_at(at, &mut buffer)?;
        if read == 0 {
            break;
        }
        crc_computed = crc32c_append(crc_computed, &buffer[..read]);
        at += read as u64;
    }
    Ok(Some(ProducerSnapshotHeader { version, crc, crc_computed, count, len }))
}

/// Takes big-endian fields off a slice. Callers give slices of the full size; what is missing would read as zeros.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_count_as_entries_only_before_an_entry() {
        // D7
        let mut file = Vec::new();
        for pair in [[1u32, 2], [0, 0], [3, 4], [0, 0], [0, 0]] {
            file.extend(pair.iter().flat_map(|n| n.to_be_bytes()));
        }
        file.push(7);
        let mut seen = Vec::new();
        let left = entries::<OffsetIndexEntry>(&file, 0, true, |at, e| {
            seen.push((at, e.relative_offset, e.position));
            ControlFlow::Continue(())
        });
        assert_eq!(seen, [(0, 1, 2), (8, 0, 0), (16, 3, 4)]);
        assert_eq!(left.unwrap(), 1);
    }

    #[test]
    fn zeros_that_fill_more_than_is_read_at_once_are_counted_too() {
        // D7
        let mut file = vec![0; 2 * PIECE + 8];
        let visited = |file: &Vec<u8>| {
            let mut visited = (0, 0);
            entries::<OffsetIndexEntry>(file, 0, true, |at, _| {
                visited = (visited.0 + 1, at);
                ControlFlow::Continue(())
            })
            .unwrap();
            visited
        };
        assert_eq!(visited(&file), (0, 0));
        file.extend([1; 8]);
        assert_eq!(visited(&file), (2 * PIECE / 8 + 2, 2 * PIECE as u64 + 8));
    }
}
