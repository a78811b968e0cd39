//! Appending: the leader's way (chapter 6) and the follower's (R22).

use rohrpost_record::{
    Batch, BatchBuilder, BatchHeader, Batches, Codec, Compression, Compressor, HEADER_LEN, InvalidBatch,
    Stamp, TimestampType, ValidateRules, patch, set_max_timestamp_and_type, single_batch, stamp, validate,
};

use super::Log;
use crate::error::{AppendError, LogError, RecordError, code};

/// Who made a batch that a leader appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppendOrigin {
    /// A client, by a produce request: everything is checked.
    #[default]
    Client,
    /// The broker itself (metadata log, coordinators): control batches are fine, sequences and records are not checked.
    Broker,
}

/// What the leader should know of the request that brought the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderChecks {
    /// Version of the produce request: zstd came with 7.
    pub produce_version: i16,
    /// Who made the batch.
    pub origin: AppendOrigin,
}

impl Default for LeaderChecks {
    /// A client with a current produce version.
    fn default() -> LeaderChecks {
        LeaderChecks { produce_version: i16::MAX, origin: AppendOrigin::Client }
    }
}

/// A batch that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendInfo {
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Largest timestamp.
    pub max_timestamp: i64,
    /// `LogAppendTimeMs` of the answer: the clock for LogAppendTime topics, -1 else; for a duplicate the old batch's
    /// largest timestamp (P11, I2).
    pub log_append_time: i64,
    /// First offset of the log.
    pub log_start_offset: i64,
    /// It was there before; nothing was written (I2).
    pub duplicate: bool,
    /// Bytes written.
    pub bytes: usize,
    /// A segment was closed: a background flush is due (D11).
    pub rolled: bool,
}

/// What a follower has appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerAppend {
    /// First offset, -1 if nothing was appended.
    pub first_offset: i64,
    /// Last offset, -1 if nothing was appended.
    pub last_offset: i64,
    /// Largest timestamp, -1 if nothing was appended.
    pub max_timestamp: i64,
    /// Bytes written.
    pub bytes: usize,
    /// A segment was closed: a background flush is due (D11).
    pub rolled: bool,
}

impl FollowerAppend {
    const NOTHING: FollowerAppend =
        FollowerAppend { first_offset: -1, last_offset: -1, max_timestamp: -1, bytes: 0, rolled: false };
}

impl Log {
    /// Appends the one batch in `records`, the record bytes of one partition of a produce request (P3). Base offset and leader
    /// epoch (and with LogAppendTime the time) are patched in place, then the same bytes are written (L4 to L6, L14).
    ///
    /// With `flush.messages` reached, the batch is synced when this returns, unless
    /// [the owner has taken that over](Log::leave_flushes_to_owner).
    ///
    /// # Errors
    /// [`AppendError`] with Kafka's code; nothing of the batch is in the log then. KAFKA_STORAGE_ERROR means that the data
    /// directory is offline, and whether the batch will be there after a restart is open.
    pub fn append_as_leader(
        &mut self,
        records: &mut [u8],
        leader_epoch: i32,
        now_ms: i64,
        checks: LeaderChecks,
    ) -> Result<AppendInfo, AppendError> {
        self.health.check()?;
        // P3
        let batch = single_batch(Some(records)).map_err(shape_error)?;
        let len = batch.bytes().len();
        let fix = match checks.origin {
            AppendOrigin::Client => self.validate(&batch, now_ms, checks)?,
            AppendOrigin::Broker => self.check_own(&batch, now_ms)?,
        };
        // L8
        let recoded = match self.config.compression_type {
            Some(codec)
                if Ok(codec) != batch.header().attributes.codec()
                    && !batch.header().attributes.is_control() =>
            {
                Some(self.recode(&batch)?)
            }
            _ => None,
        };
        let batch = match &recoded {
            Some(bytes) => Batch::parse(bytes)
                .map_err(|e| AppendError::late(code::UNKNOWN_SERVER_ERROR, e.to_string()))?,
            None => batch,
        };
        let size = batch.bytes().len();
        if size as u64 > u64::from(self.config.segment_bytes) {
            return Err(AppendError::early(
                code::RECORD_LIST_TOO_LARGE,
                format!(
                    "a batch of {size} bytes is larger than segment.bytes = {}",
                    self.config.segment_bytes
                ),
            ));
        }
        let header = *batch.header();
        match recoded {
            Some(mut bytes) => self.place(&mut bytes, header, fix, leader_epoch, now_ms, checks.origin),
            None => self.place(&mut records[..len], header, fix, leader_epoch, now_ms, checks.origin),
        }
    }

    /// L10: the order of effects.
    fn place(
        &mut self,
        bytes: &mut [u8],
        mut header: BatchHeader,
        fix: Fix,
        leader_epoch: i32,
        now_ms: i64,
        origin: AppendOrigin,
    ) -> Result<AppendInfo, AppendError> {
        // L10: the epoch first (U8), then roll, then the producer's state.
        let base_offset = self.log_end;
        let Some(last_offset) =
            base_offset.checked_add(i64::from(header.last_offset_delta)).filter(|o| *o < i64::MAX)
        else {
            return Err(AppendError::late(code::UNKNOWN_SERVER_ERROR, "the log has no more offsets"));
        };
        let assigned = self.epochs.assign(leader_epoch, base_offset);
        self.health.note(assigned)?;
        let mut rolled = false;
        if self.active().must_roll(bytes.len(), last_offset, fix.max_timestamp, &self.config, now_ms) {
            let result = self.roll(base_offset, now_ms);
            self.health.note(result)?;
            rolled = true;
        }
        if origin == AppendOrigin::Client && header.has_producer_id() {
            // I2
            if let Some(seen) = self.producers.check(&header, base_offset)? {
                return Ok(AppendInfo {
                    first_offset: seen.first_offset(),
                    last_offset: seen.last_offset,
                    max_timestamp: seen.timestamp,
                    log_append_time: seen.timestamp,
                    log_start_offset: self.log_start,
                    duplicate: true,
                    bytes: 0,
                    rolled,
                });
            }
        }
        // L4, L5, L6
        let rewrite = fix.max_timestamp != header.max_timestamp
            || fix.timestamp_type != header.attributes.timestamp_type();
        if rewrite {
            set_max_timestamp_and_type(bytes, fix.max_timestamp, fix.timestamp_type);
            header.attributes = header.attributes.with_timestamp_type(fix.timestamp_type);
            header.max_timestamp = fix.max_timestamp;
        }
        patch(bytes, base_offset, leader_epoch);
        header.base_offset = base_offset;
        header.partition_leader_epoch = leader_epoch;
        debug_assert!(
            Batch::parse(bytes).is_ok_and(|b| b.is_crc_valid() && b.header().last_offset() == last_offset),
            "invariant 3: a stored batch is whole and its checksum valid"
        );
        let written = self.write(bytes, &[header], now_ms);
        self.health.note(written)?;
        self.take_note(&header, bytes);
        if !self.owner_flushes && self.flush_due() {
            self.flush()?;
        }
        self.assert_invariants();
        Ok(AppendInfo {
            first_offset: base_offset,
            last_offset,
            max_timestamp: header.max_timestamp,
            log_append_time: if self.config.log_append_time { now_ms } else { -1 },
            log_start_offset: self.log_start,
            duplicate: false,
            bytes: bytes.len(),
            rolled,
        })
    }

    /// Appends what a leader has sent, byte for byte (R22). A last batch that is cut short is left out; batches of a leader
    /// epoch above `leader_epoch`, and all after them, are left out too.
    ///
    /// # Errors
    /// [`LogError::Unexpected`] for bytes that are no valid batches, or whose offsets do not follow the log's, and
    /// [`LogError::Offline`] if the directory is offline already: nothing was appended then. [`LogError::Storage`] if the file
    /// system fails, which takes it offline: whether the batches, or some of them, will be there after a restart is open.
    pub fn append_as_follower(
        &mut self,
        records: &[u8],
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<FollowerAppend, LogError> {
        self.health.check()?;
        let headers = self.check_replicated(records, leader_epoch)?;
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return Ok(FollowerAppend::NOTHING);
        };
        let mut info = FollowerAppend {
            first_offset: first.base_offset,
            last_offset: last.last_offset(),
            ..FollowerAppend::NOTHING
        };
        if first.base_offset < self.log_end {
            // R22: an empty log may begin anew at the batch that holds its end.
            let empty = self.log_start == self.log_end && first.last_offset() >= self.log_end;
            if !empty {
                return Err(LogError::Unexpected {
                    code: code::UNKNOWN_SERVER_ERROR,
                    reason: format!(
                        "replicated records begin at {}, below the log's end {}",
                        first.base_offset, self.log_end
                    ),
                });
            }
            self.truncate_fully_and_start_at(first.base_offset)?;
        }
        let result = self.append_replicated(records, &headers, now_ms, &mut info);
        self.health.note(result)?;
        if !self.owner_flushes && self.flush_due() {
            self.flush()?;
        }
        self.assert_invariants();
        Ok(info)
    }

    fn append_replicated(
        &mut self,
        records: &[u8],
        headers: &[BatchHeader],
        now_ms: i64,
        info: &mut FollowerAppend,
    ) -> Result<(), LogError> {
        // Runs of batches that go into one segment are one write.
        let (mut at, mut first) = (0, 0);
        while first < headers.len() {
            self.epochs.assign(headers[first].partition_leader_epoch, headers[first].base_offset)?;
            let (mut end, mut next) = (at, first);
            while let Some(header) = headers.get(next) {
                let len = end - at + header.total_len();
                let (last_offset, max_timestamp) = (header.last_offset(), header.max_timestamp);
                let roll = self.active().must_roll(len, last_offset, max_timestamp, &self.config, now_ms);
                let new_epoch = header.partition_leader_epoch >= 0
                    && Some(header.partition_leader_epoch) != self.latest_epoch();
                // The first batch of a segment goes alone: before it is there, nothing would ever be too large or too old.
                if next > first && (roll || new_epoch || self.active().size == 0) {
                    break;
                }
                if roll {
                    self.roll(header.base_offset, now_ms)?;
                    info.rolled = true;
                }
                end += header.total_len();
                next += 1;
            }
            self.write(&records[at..end], &headers[first..next], now_ms)?;
            let mut batch_at = at;
            for header in &headers[first..next] {
                let batch_end = batch_at + header.total_len();
                self.take_note(header, &records[batch_at..batch_end]);
                info.max_timestamp = info.max_timestamp.max(header.max_timestamp);
                batch_at = batch_end;
            }
            info.bytes += end - at;
            (at, first) = (end, next);
        }
        Ok(())
    }

    /// The headers of the batches to be appended.
    fn check_replicated(&mut self, records: &[u8], leader_epoch: i32) -> Result<Vec<BatchHeader>, LogError> {
        let unexpected = |code: i16, reason: String| LogError::Unexpected { code, reason };
        let mut headers: Vec<BatchHeader> = Vec::new();
        let mut next_offset = 0;
        for batch in Batches::new(records) {
            let batch = batch.map_err(|e| unexpected(code::CORRUPT_MESSAGE, e.to_string()))?;
            let header = *batch.header();
            // R22: a slow answer must not bring a later leader's data.
            if header.partition_leader_epoch > leader_epoch {
                break;
            }
            if !batch.is_crc_valid() {
                return Err(unexpected(
                    code::CORRUPT_MESSAGE,
                    format!("the batch at offset {} has a wrong checksum", header.base_offset),
                ));
            }
            // The second: a delta below 0, or offsets beyond the last that there is.
            if header.base_offset < next_offset || header.next_offset() <= header.base_offset {
                return Err(unexpected(
                    code::UNKNOWN_SERVER_ERROR,
                    format!(
                        "offsets {} to {} do not follow {next_offset}",
                        header.base_offset,
                        header.last_offset()
                    ),
                ));
            }
            if let Err(id) = header.attributes.codec() {
                return Err(unexpected(
                    code::UNSUPPORTED_COMPRESSION_TYPE,
                    format!("codec {id} does not exist"),
                ));
            }
            if header.attributes.is_control() {
                marker_of(&batch).map_err(|reason| unexpected(code::INVALID_RECORD, reason.to_owned()))?;
            }
            next_offset = header.next_offset();
            headers.push(header);
        }
        Ok(headers)
    }

    fn write(&mut self, bytes: &[u8], headers: &[BatchHeader], now_ms: i64) -> Result<(), LogError> {
        let interval = self.config.index_interval_bytes;
        self.active_mut().append(bytes, headers, interval, now_ms)
    }

    /// Log end and producer state follow the bytes.
    fn take_note(&mut self, header: &BatchHeader, bytes: &[u8]) {
        debug_assert!(
            header.partition_leader_epoch >= self.appended_epoch,
            "invariant 3: leader epochs never fall"
        );
        self.appended_epoch = header.partition_leader_epoch;
        self.log_end = header.next_offset();
        self.appended_bytes += bytes.len() as u64;
        note_producer(&mut self.producers, header, || Batch::parse(bytes).ok());
        self.producers.assert_valid(header.producer_id, self.log_end);
    }

    /// L2, L3, L7 and the table of bad input in chapter 5.
    fn validate(&mut self, batch: &Batch<'_>, now_ms: i64, checks: LeaderChecks) -> Result<Fix, AppendError> {
        let rules = ValidateRules {
            now_ms,
            timestamp_type: self.timestamp_type(),
            before_max_ms: self.config.timestamp_before_max_ms,
            after_max_ms: self.config.timestamp_after_max_ms,
            compacted: self.config.compact,
            zstd_allowed: checks.produce_version >= 7,
            max_message_bytes: self.config.max_message_bytes as usize,
            max_decompressed_bytes: self.config.decompressed_bytes_max,
        };
        let validated = validate(batch, &rules, &mut self.scratch);
        self.shrink_scratch();
        let validated = validated.map_err(invalid)?;
        Ok(Fix { max_timestamp: validated.max_timestamp, timestamp_type: rules.timestamp_type })
    }

    /// A batch that this broker has made itself: shape, size and checksum.
    fn check_own(&self, batch: &Batch<'_>, now_ms: i64) -> Result<Fix, AppendError> {
        let header = batch.header();
        if header.base_offset != 0
            || header.records_count <= 0
            || i64::from(header.last_offset_delta) + 1 != i64::from(header.records_count)
        {
            return Err(AppendError::late(
                code::INVALID_RECORD,
                "offsets and count of the batch do not agree",
            ));
        }
        if !batch.is_crc_valid() {
            return Err(AppendError::early(code::CORRUPT_MESSAGE, "wrong checksum"));
        }
        let timestamp_type = self.timestamp_type();
        let max_timestamp = if self.config.log_append_time { now_ms } else { header.max_timestamp };
        Ok(Fix { max_timestamp, timestamp_type })
    }

    /// All records of a batch in the topic's codec (L8).
    fn recode(&mut self, batch: &Batch<'_>) -> Result<Vec<u8>, AppendError> {
        // L8
        let compression = self.config.compression();
        let compression = compression
            .map_err(|e| AppendError::late(code::UNKNOWN_SERVER_ERROR, e.to_string()))?
            .unwrap_or(Compression::NONE);
        let compressor = self.compressor.get_or_insert_with(Compressor::new);
        let result =
            recode(batch, compression, compressor, &mut self.scratch, self.config.decompressed_bytes_max);
        self.shrink_scratch();
        let bytes = result?;
        if bytes.len() > self.config.max_message_bytes as usize {
            return Err(AppendError::early(
                code::MESSAGE_TOO_LARGE,
                format!(
                    "after compressing anew the batch has {} bytes, more than max.message.bytes = {}",
                    bytes.len(),
                    self.config.max_message_bytes
                ),
            ));
        }
        Ok(bytes)
    }

    fn timestamp_type(&self) -> TimestampType {
        if self.config.log_append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }

    /// A bomb must not leave its size behind in every partition.
    fn shrink_scratch(&mut self) {
        const KEEP: usize = 2 << 20;
        if self.scratch.capacity() > KEEP {
            self.scratch = Vec::new();
        }
    }
}

/// What a batch's header must say (L6).
#[derive(Debug, Clone, Copy)]
struct Fix {
    max_timestamp: i64,
    timestamp_type: TimestampType,
}

/// Checks the shape of a partition's records in a produce request (P3): exactly one batch of format 2, and the length in
/// bytes of that batch; up to a cut batch may follow and is dropped.
///
/// # Errors
/// INVALID_RECORD or CORRUPT_MESSAGE.
pub fn check_produce_shape(records: Option<&[u8]>) -> Result<usize, AppendError> {
    // P3
    single_batch(records).map(|batch| batch.bytes().len()).map_err(shape_error)
}

fn shape_error(error: InvalidBatch) -> AppendError {
    // P12: found before the log.
    AppendError::early(error.answer().code(), error.to_string()).telling()
}

fn invalid(error: InvalidBatch) -> AppendError {
    let code = error.answer().code();
    match &error {
        // P12: size and checksum without a log start.
        InvalidBatch::TooLarge { .. } | InvalidBatch::Crc => AppendError::early(code, error.to_string()),
        InvalidBatch::Rejected { records } => {
            let record_errors = records
                .iter()
                .map(|r| RecordError { batch_index: r.index, message: r.to_string() })
                .collect();
            AppendError { record_errors, ..AppendError::late(code, error.to_string()).telling() }
        }
        _ => AppendError::late(code, error.to_string()),
    }
}

fn recode(
    batch: &Batch<'_>,
    compression: Compression,
    compressor: &mut Compressor,
    scratch: &mut Vec<u8>,
    limit: usize,
) -> Result<Vec<u8>, AppendError> {
    let failed = |message: String| AppendError::late(code::INVALID_RECORD, message);
    let header = batch.header();
    let records = batch.records(scratch, limit).map_err(|e| failed(e.to_string()))?;
    let mut builder = BatchBuilder::new();
    let mut out = vec![0; HEADER_LEN];
    for record in records {
        let record = record.map_err(|e| failed(e.to_string()))?;
        let headers: Vec<_> = record.headers().collect();
        let start = out.len();
        let size = builder.measure(record.timestamp, record.key, record.value, &headers);
        out.resize(start + size.total(), 0);
        builder.append_measured(
            &mut out[start..],
            size,
            record.timestamp,
            record.key,
            record.value,
            &headers,
        );
    }
    if compression.codec() != Codec::None {
        let plain = out.split_off(HEADER_LEN);
        // The size is checked afterwards, so the only limit here is that of a length field.
        let fits = compressor
            .compress(compression, &mut std::iter::once(&plain[..]), &mut out, i32::MAX as usize - HEADER_LEN)
            .map_err(|e| AppendError::late(code::UNKNOWN_SERVER_ERROR, e.to_string()))?;
        if !fits {
            return Err(AppendError::early(
                code::MESSAGE_TOO_LARGE,
                "the batch does not fit after compressing anew",
            ));
        }
    }
    let payload_len = out.len() - HEADER_LEN;
    let Some(head) = out.first_chunk_mut::<HEADER_LEN>() else {
        unreachable!("the buffer began with room for the header")
    };
    builder.write_header(head, compression.codec(), payload_len, header.attributes.is_transactional());
    let kept = Stamp {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    };
    stamp(&mut out, [], kept);
    Ok(out)
}

/// Producer state follows one stored batch; `batch` gives its bytes, needed only for markers.
pub(crate) fn note_producer<'a>(
    producers: &mut crate::producer_state::ProducerStates,
    header: &BatchHeader,
    batch: impl FnOnce() -> Option<Batch<'a>>,
) {
    if !header.has_producer_id() {
        return;
    }
    if header.attributes.is_control() {
        if let Some(Ok(Some(coordinator_epoch))) = batch().as_ref().map(marker_of) {
            producers.end_transaction(header, coordinator_epoch);
        }
    } else {
        producers.update(header);
    }
}

/// The coordinator epoch of an end-of-transaction marker; `None` for other control batches (leader changes, snapshots).
fn marker_of(batch: &Batch<'_>) -> Result<Option<i32>, &'static str> {
    let mut unused = Vec::new();
    let record = batch.records(&mut unused, 0).ok().and_then(|mut r| r.next()).and_then(Result::ok);
    let record = record.ok_or("a control batch has no readable record")?;
    let key = record.key.and_then(|k| k.first_chunk::<4>()).ok_or("a control record has no type")?;
    match i16::from_be_bytes([key[2], key[3]]) {
        // Abort, commit: version, then the coordinator's epoch.
        0 | 1 => match record.value.and_then(|v| v.first_chunk::<6>()) {
            Some(v) => Ok(Some(i32::from_be_bytes([v[2], v[3], v[4], v[5]]))),
            None => Err("a marker without the coordinator's epoch"),
        },
        // Leader change, snapshot header and footer, KRaft version and voters.
        2..=6 => Ok(None),
        _ => Err("a control record of an unknown type"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::LogConfig;
    use crate::log::OpenOptions;
    use crate::storage::{MemoryStorage, Storage};

    #[test]
    fn a_buffer_that_a_large_batch_has_left_is_given_up() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        storage.create_dir("t-0").unwrap();
        let mut log = Log::open(storage, "t-0", LogConfig::default(), OpenOptions::default()).unwrap();
        for (capacity, kept) in [(2 << 20, 2 << 20), ((2 << 20) + 1, 0)] {
            log.scratch = Vec::with_capacity(capacity);
            log.shrink_scratch();
            assert_eq!(log.scratch.capacity(), kept);
        }
    }
}
