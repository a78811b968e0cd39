//! Reading: by offset, by time, whole batches only (F3 to F5, O1 to O3).

use bytes::Bytes;
use rohrpost_record::{Batch, BatchHeader};

use super::Log;
use crate::error::LogError;
use crate::segment::{Located, Segment};

/// Batches read from a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// Whole batches, as they are stored. The first one holds the offset asked for, which may lie within it (F3).
    pub records: Bytes,
    /// Offset after the last batch in `records`; the offset asked for if there is none.
    pub next_offset: i64,
    /// There was data for this offset, but its first batch did not fit into the limit (F4).
    pub first_too_large: bool,
}

/// A record's offset and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its timestamp.
    pub timestamp: i64,
    /// Its offset.
    pub offset: i64,
    /// The leader epoch that wrote it; -1 if unknown.
    pub leader_epoch: i32,
}

impl Log {
    /// Reads whole batches from the one that holds `offset` on, those that end before `end` and have together at most
    /// `max_bytes`. With `at_least_one` the first batch comes even if it alone is larger (F4).
    ///
    /// `end` is the first offset that the reader may not see: high watermark, last stable offset, or log end.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE if `offset` is below the log's start or above its end (F2). Between `end` and the log's end the answer
    /// is empty. Below `end`: [`LogError::Offline`] if the directory is offline already; [`LogError::Storage`] if the files cannot be
    /// read, which takes it offline; [`LogError::Damaged`] if bytes on the way are no batch.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        end: i64,
        at_least_one: bool,
    ) -> Result<Read, LogError> {
        // F2
        if offset < self.log_start || offset > self.log_end {
            return Err(LogError::OffsetOutOfRange {
                offset,
                log_start: self.log_start,
                log_end: self.log_end,
            });
        }
        let mut read = Read { next_offset: offset, ..Read::default() };
        let end = end.min(self.log_end);
        if offset >= end {
            return Ok(read);
        }
        self.health.check()?;
        let result = self.read_from(offset, max_bytes, end, at_least_one, &mut read);
        self.health.note(result)?;
        Ok(read)
    }

    fn read_from(
        &self,
        offset: i64,
        max_bytes: usize,
        end: i64,
        at_least_one: bool,
        read: &mut Read,
    ) -> Result<(), LogError> {
        let Some((segment, first)) = self.locate(offset)? else { return Ok(()) };
        if first.header.last_offset() >= end {
            return Ok(());
        }
        let first_len = first.header.total_len();
        if first_len > max_bytes && !at_least_one {
            // F4
            read.first_too_large = true;
            return Ok(());
        }
        let rest = segment.size - first.position;
        let want = (max_bytes.max(first_len) as u64).min(rest) as usize;
        let mut bytes = segment
            .file
            .read_bytes(first.position, want)
            .map_err(|e| LogError::storage("reading", &segment.path, e))?;
        // F5: cut at the end of the last batch that is whole and ends before `end`.
        let mut whole = 0;
        while let Ok(header) = BatchHeader::parse(&bytes[whole..]) {
            if header.total_len() > bytes.len() - whole || header.last_offset() >= end {
                break;
            }
            read.next_offset = header.next_offset();
            whole += header.total_len();
        }
        if whole == 0 {
            return Err(LogError::Damaged {
                path: segment.path.clone(),
                position: first.position,
                reason: "the batch has changed while it was read".to_owned(),
            });
        }
        bytes.truncate(whole);
        read.records = bytes;
        Ok(())
    }

    /// The first batch whose last offset is ≥ `offset`, in whichever segment (D9).
    fn locate(&self, offset: i64) -> Result<Option<(&Segment, Located)>, LogError> {
        let first = self.segments.partition_point(|s| s.base_offset <= offset).saturating_sub(1);
        for segment in &self.segments[first..] {
            if let Some(found) = segment.find(offset)? {
                return Ok(Some((segment, found)));
            }
        }
        Ok(None)
    }

    /// The first record whose time is ≥ `timestamp`; `None` if there is none (O3).
    ///
    /// # Errors
    /// [`LogError::Offline`] if the directory is offline already; [`LogError::Storage`] if the files cannot be read, which takes
    /// it offline; [`LogError::Damaged`] if bytes on the way are no batch, or if the records of one cannot be decoded or
    /// decompress to more than [`LogConfig::decompressed_bytes_max`](crate::LogConfig::decompressed_bytes_max).
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampOffset>, LogError> {
        self.health.check()?;
        let result = self.find_timestamp(timestamp);
        self.health.note(result)
    }

    /// The first record with the largest time of the log; `None` if no record has a time (O1, -3).
    ///
    /// # Errors
    /// As [`offset_for_timestamp`](Log::offset_for_timestamp).
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimestampOffset>, LogError> {
        // O1
        let below_start =
            self.segments.partition_point(|s| s.base_offset <= self.log_start).saturating_sub(1);
        let largest = self.segments[below_start..].iter().map(|s| s.largest.0).max().unwrap_or(-1);
        if largest < 0 { Ok(None) } else { self.offset_for_timestamp(largest) }
    }

    fn find_timestamp(&self, timestamp: i64) -> Result<Option<TimestampOffset>, LogError> {
        // O3
        let mut scratch = Vec::new();
        for segment in self.segments.iter().filter(|s| s.largest.0 >= timestamp) {
            let mut scan = segment.scan(segment.start_for_timestamp(timestamp)?);
            while let Some(found) = scan.next()? {
                if found.header.max_timestamp < timestamp || found.header.last_offset() < self.log_start {
                    continue;
                }
                if let Some(hit) = self.first_in_batch(segment, &found, timestamp, &mut scratch)? {
                    return Ok(Some(hit));
                }
            }
        }
        Ok(None)
    }

    fn first_in_batch(
        &self,
        segment: &Segment,
        found: &Located,
        timestamp: i64,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<TimestampOffset>, LogError> {
        let bytes = segment
            .file
            .read_bytes(found.position, found.header.total_len())
            .map_err(|e| LogError::storage("reading", &segment.path, e))?;
        let damaged = |reason: String| LogError::Damaged {
            path: segment.path.clone(),
            position: found.position,
            reason,
        };
        let batch = Batch::parse(&bytes).map_err(|e| damaged(e.to_string()))?;
        let records =
            batch.records(scratch, self.config.decompressed_bytes_max).map_err(|e| damaged(e.to_string()))?;
        for record in records {
            let record = record.map_err(|e| damaged(e.to_string()))?;
            if record.timestamp >= timestamp && record.offset >= self.log_start {
                return Ok(Some(TimestampOffset {
                    timestamp: record.timestamp,
                    offset: record.offset,
                    leader_epoch: self.epochs.epoch_at(record.offset).unwrap_or(-1),
                }));
            }
        }
        Ok(None)
    }
}
