//! What each idempotent producer wrote last: how a log tells a retry from a new batch (I1 to I11).
//!
//! The state is part of the log: leader and followers build the same state from the same bytes (I10). It is kept in
//! memory, and in `.snapshot` files so that a start need not read the whole log.

use std::collections::{BTreeMap, HashMap};

use rohrpost_record::BatchHeader;
use rohrpost_record::crc::crc32c;

use crate::error::{AppendError, code};

/// How many batches per producer are remembered (I1).
const REMEMBERED: usize = 5;
const SNAPSHOT_HEADER: usize = 10;
const SNAPSHOT_ENTRY: usize = 46;

/// A remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenBatch {
    /// Last sequence number.
    pub last_sequence: i32,
    /// Last offset.
    pub last_offset: i64,
    /// Last offset less the first.
    pub offset_delta: i32,
    /// Largest timestamp.
    pub timestamp: i64,
}

impl SeenBatch {
    const NONE: SeenBatch = SeenBatch { last_sequence: -1, last_offset: -1, offset_delta: 0, timestamp: -1 };

    /// First sequence number; sequences go from 2147483647 to 0 (I7).
    pub fn first_sequence(&self) -> i32 {
        // I7
        (self.last_sequence.wrapping_sub(self.offset_delta)) & i32::MAX
    }

    /// First offset.
    pub fn first_offset(&self) -> i64 {
        self.last_offset.wrapping_sub(i64::from(self.offset_delta))
    }
}

/// What is known of one producer id (I1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Latest epoch.
    pub epoch: i16,
    /// Epoch of the coordinator that wrote the last marker; -1 = none.
    pub coordinator_epoch: i32,
    /// Time of the last batch or marker.
    pub last_timestamp: i64,
    /// First offset of the open transaction.
    pub transaction_first_offset: Option<i64>,
    seen: [SeenBatch; REMEMBERED],
    seen_len: u8,
}

impl Producer {
    fn new(epoch: i16) -> Producer {
        Producer {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_first_offset: None,
            seen: [SeenBatch::NONE; REMEMBERED],
            seen_len: 0,
        }
    }

    /// The remembered batches, oldest first: at most five (I1).
    pub fn batches(&self) -> &[SeenBatch] {
        &self.seen[..usize::from(self.seen_len)]
    }

    fn remember(&mut self, batch: SeenBatch) {
        // I1
        if usize::from(self.seen_len) == REMEMBERED {
            self.seen.rotate_left(1);
            self.seen[REMEMBERED - 1] = batch;
        } else {
            self.seen[usize::from(self.seen_len)] = batch;
            self.seen_len += 1;
        }
    }

    /// A new epoch forgets the batches of the old one (I5).
    fn enter_epoch(&mut self, epoch: i16) {
        // I5
        if self.epoch != epoch {
            self.epoch = epoch;
            // In whole: two producers with the same batches are equal, whatever they have forgotten.
            self.seen = [SeenBatch::NONE; REMEMBERED];
            self.seen_len = 0;
        }
    }
}

/// The producers of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProducerStates {
    by_id: HashMap<i64, Producer>,
    /// First offset of each open transaction, and whose it is.
    open: BTreeMap<i64, i64>,
}

impl ProducerStates {
    pub(crate) fn get(&self, producer_id: i64) -> Option<&Producer> {
        self.by_id.get(&producer_id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(id, p)| (*id, p))
    }

    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
        self.open.clear();
    }

    /// Judges a client's batch before it gets its place in the log (I2 to I8). `Ok(Some)`: it is there already.
    ///
    /// `offset` is where it would go, for the message.
    pub(crate) fn check(&self, batch: &BatchHeader, offset: i64) -> Result<Option<SeenBatch>, AppendError> {
        // I6
        let Some(producer) = self.by_id.get(&batch.producer_id) else { return Ok(None) };
        let first = batch.base_sequence;
        if producer.epoch == batch.producer_epoch {
            // I2: both ends must be equal, or a batch split anew by its producer would be taken for the old one.
            let known = producer
                .batches()
                .iter()
                .find(|seen| seen.first_sequence() == first && seen.last_sequence == batch.last_sequence());
            if let Some(seen) = known {
                return Ok(Some(*seen));
            }
        }
        if batch.producer_epoch < producer.epoch {
            // I4
            return Err(AppendError::late(
                code::INVALID_PRODUCER_EPOCH,
                format!(
                    "producer {} at offset {offset} has epoch {}, below the last seen {}",
                    batch.producer_id, batch.producer_epoch, producer.epoch
                ),
            ));
        }
        if batch.producer_epoch > producer.epoch {
            // I5; an epoch of -1 was none, so nothing has to begin anew.
            if first != 0 && producer.epoch >= 0 {
                return Err(AppendError::late(
                    code::OUT_OF_ORDER_SEQUENCE_NUMBER,
                    format!(
                        "producer {} at offset {offset} begins epoch {} (after {}) with sequence {first}, not 0",
                        batch.producer_id, batch.producer_epoch, producer.epoch
                    ),
                ));
            }
            return Ok(None);
        }
        // I3, I7. After a marker of a new epoch no batch is known: then 0 must come.
        let last = producer.batches().last().map_or(-1, |seen| seen.last_sequence);
        let expected = last.wrapping_add(1) & i32::MAX;
        if first != expected && producer.epoch >= 0 {
            return Err(AppendError::late(
                code::OUT_OF_ORDER_SEQUENCE_NUMBER,
                format!(
                    "producer {} at offset {offset} sends sequence {first} after {last}",
                    batch.producer_id
                ),
            ));
        }
        Ok(None)
    }

    /// Takes in a producer's batch of records that is in the log. Nothing is checked: what is stored is the truth (I8).
    pub(crate) fn update(&mut self, batch: &BatchHeader) {
        // I8, I10
        debug_assert!(batch.has_producer_id() && !batch.attributes.is_control(), "no producer's records");
        let producer =
            self.by_id.entry(batch.producer_id).or_insert_with(|| Producer::new(batch.producer_epoch));
        producer.enter_epoch(batch.producer_epoch);
        producer.last_timestamp = batch.max_timestamp;
        producer.remember(SeenBatch {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
        if batch.attributes.is_transactional() && producer.transaction_first_offset.is_none() {
            producer.transaction_first_offset = Some(batch.base_offset);
            self.open.insert(batch.base_offset, batch.producer_id);
        }
    }

    /// Takes in a marker that ends a transaction.
    pub(crate) fn end_transaction(&mut self, batch: &BatchHeader, coordinator_epoch: i32) {
        let producer =
            self.by_id.entry(batch.producer_id).or_insert_with(|| Producer::new(batch.producer_epoch));
        producer.enter_epoch(batch.producer_epoch);
        producer.coordinator_epoch = coordinator_epoch;
        producer.last_timestamp = batch.max_timestamp;
        if let Some(first) = producer.transaction_first_offset.take() {
            self.open.remove(&first);
        }
    }

    /// First offset of the earliest open transaction.
    pub(crate) fn first_open_offset(&self) -> Option<i64> {
        self.open.first_key_value().map(|(offset, _)| *offset)
    }

    /// Forgets producers that have been silent for `expiration_ms` and have no open transaction (I9).
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        // I9
        self.by_id.retain(|_, p| {
            p.transaction_first_offset.is_some() || now_ms.saturating_sub(p.last_timestamp) < expiration_ms
        });
    }

    /// After a start from a snapshot, which has one batch per producer, gives back the others that `replayed` has seen
    /// in the log's tail (I11).
    pub(crate) fn refill(&mut self, replayed: &ProducerStates) {
        // I11
        for (id, producer) in &mut self.by_id {
            let Some(seen) = replayed.by_id.get(id) else { continue };
            let same_end = seen.batches().last().map(|b| (b.last_sequence, b.last_offset))
                == producer.batches().last().map(|b| (b.last_sequence, b.last_offset));
            if seen.epoch == producer.epoch && same_end {
                producer.seen = seen.seen;
                producer.seen_len = seen.seen_len;
            }
        }
    }

    /// The content of a `.snapshot` file: the last batch of each producer (I11).
    pub(crate) fn to_snapshot(&self) -> Vec<u8> {
        // I11
        let mut ids: Vec<i64> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        let mut out = Vec::with_capacity(SNAPSHOT_HEADER + ids.len() * SNAPSHOT_ENTRY);
        out.extend_from_slice(&1i16.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(ids.len() as i32).to_be_bytes());
        for id in ids {
            let p = &self.by_id[&id];
            let last = p.batches().last();
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&p.epoch.to_be_bytes());
            out.extend_from_slice(&last.map_or(-1, |b| b.last_sequence).to_be_bytes());
            out.extend_from_slice(&last.map_or(-1, |b| b.last_offset).to_be_bytes());
            out.extend_from_slice(&last.map_or(0, |b| b.offset_delta).to_be_bytes());
            out.extend_from_slice(&p.last_timestamp.to_be_bytes());
            out.extend_from_slice(&p.coordinator_epoch.to_be_bytes());
            out.extend_from_slice(&p.transaction_first_offset.unwrap_or(-1).to_be_bytes());
        }
        let crc = crc32c(&out[6..]);
        out[2..6].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads a `.snapshot` file; `None` if it is not a whole and intact one.
    pub(crate) fn from_snapshot(bytes: &[u8]) -> Option<ProducerStates> {
        let mut fields = Fields(bytes);
        if i16::from_be_bytes(fields.take()?) != 1
            || u32::from_be_bytes(fields.take()?) != crc32c(&bytes[6..])
        {
            return None;
        }
        let count = usize::try_from(i32::from_be_bytes(fields.take()?)).ok()?;
        if fields.0.len() != count.checked_mul(SNAPSHOT_ENTRY)? {
            return None;
        }
        let mut states = ProducerStates::default();
        for _ in 0..count {
            let id = i64::from_be_bytes(fields.take()?);
            let mut producer = Producer::new(i16::from_be_bytes(fields.take()?));
            let last_sequence = i32::from_be_bytes(fields.take()?);
            let last_offset = i64::from_be_bytes(fields.take()?);
            let offset_delta = i32::from_be_bytes(fields.take()?);
            producer.last_timestamp = i64::from_be_bytes(fields.take()?);
            producer.coordinator_epoch = i32::from_be_bytes(fields.take()?);
            let first = i64::from_be_bytes(fields.take()?);
            producer.transaction_first_offset = (first >= 0).then_some(first);
            if last_offset >= 0 {
                let timestamp = producer.last_timestamp;
                producer.remember(SeenBatch { last_sequence, last_offset, offset_delta, timestamp });
            }
            if first >= 0 {
                states.open.insert(first, id);
            }
            states.by_id.insert(id, producer);
        }
        Some(states)
    }

    /// Invariant 8 of the reference: batches lie below the end of the log, at most five, sequences without a gap.
    pub(crate) fn assert_valid(&self, producer_id: i64, log_end: i64) {
        let Some(producer) = self.by_id.get(&producer_id) else { return };
        debug_assert!(producer.batches().len() <= REMEMBERED, "invariant 8: at most five batches");
        debug_assert!(
            producer.batches().last().is_none_or(|b| b.last_offset < log_end),
            "invariant 8: a producer's last offset lies below the log end"
        );
    }
}

/// Takes big-endian fields off a slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rohrpost_record::{Attributes, Codec};

    fn header(epoch: i16, sequence: i32, base_offset: i64, count: i32, transactional: bool) -> BatchHeader {
        BatchHeader {
            base_offset,
            batch_length: 100,
            partition_leader_epoch: 1,
            magic: 2,
            crc: 0,
            attributes: Attributes::new(Codec::None, transactional),
            last_offset_delta: count - 1,
            base_timestamp: 500,
            max_timestamp: 1000 + base_offset,
            producer_id: 42,
            producer_epoch: epoch,
            base_sequence: sequence,
            records_count: count,
        }
    }

    fn marker(epoch: i16, base_offset: i64) -> BatchHeader {
        BatchHeader { attributes: Attributes::control(true), ..header(epoch, -1, base_offset, 1, true) }
    }

    #[test]
    fn every_producer_is_shown_once_and_none_is_left_when_all_are_cleared() {
        let mut states = ProducerStates::default();
        for producer_id in [42, 7] {
            states.update(&BatchHeader { producer_id, ..header(3, 0, producer_id, 1, true) });
        }
        let mut shown: Vec<_> = states.iter().map(|(id, producer)| (id, producer.epoch)).collect();
        shown.sort_unstable();
        assert_eq!(shown, [(7, 3), (42, 3)]);
        states.clear();
        assert_eq!(states, ProducerStates::default(), "open transactions included");
    }

    #[test]
    fn a_snapshot_has_kafkas_bytes() {
        // I11
        assert_eq!(ProducerStates::default().to_snapshot().len(), 10);
        let mut states = ProducerStates::default();
        states.update(&header(3, 5, 100, 4, true));
        states.update(&header(3, 9, 104, 2, true));
        let bytes = states.to_snapshot();
        let mut expected = Vec::new();
        expected.extend_from_slice(&1i16.to_be_bytes());
        expected.extend_from_slice(&crc32c(&bytes[6..]).to_be_bytes());
        expected.extend_from_slice(&1i32.to_be_bytes());
        expected.extend_from_slice(&42i64.to_be_bytes());
        expected.extend_from_slice(&3i16.to_be_bytes());
        expected.extend_from_slice(&10i32.to_be_bytes());
        expected.extend_from_slice(&105i64.to_be_bytes());
        expected.extend_from_slice(&1i32.to_be_bytes());
        expected.extend_from_slice(&1104i64.to_be_bytes());
        expected.extend_from_slice(&(-1i32).to_be_bytes());
        expected.extend_from_slice(&100i64.to_be_bytes());
        assert_eq!(bytes, expected);
        let back = ProducerStates::from_snapshot(&bytes).unwrap();
        assert_eq!(back.get(42).unwrap().batches(), &states.get(42).unwrap().batches()[1..]);
        assert_eq!(back.first_open_offset(), Some(100));
    }

    #[test]
    fn a_producer_whose_batches_are_forgotten_has_none_in_the_snapshot_either() {
        // I5, I11
        let mut states = ProducerStates::default();
        states.update(&header(3, 0, 100, 4, true));
        states.end_transaction(&marker(4, 104), 7);
        let bytes = states.to_snapshot();
        let mut last = Vec::new();
        last.extend_from_slice(&(-1i32).to_be_bytes());
        last.extend_from_slice(&(-1i64).to_be_bytes());
        last.extend_from_slice(&0i32.to_be_bytes());
        assert_eq!(bytes[20..36], last, "no sequence, no offset");
        assert_eq!(ProducerStates::from_snapshot(&bytes), Some(states));
    }

    #[test]
    fn a_snapshot_that_is_not_whole_is_refused() {
        let mut states = ProducerStates::default();
        states.update(&header(3, 5, 100, 4, false));
        let bytes = states.to_snapshot();
        for len in 0..bytes.len() {
            assert!(ProducerStates::from_snapshot(&bytes[..len]).is_none(), "{len}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(ProducerStates::from_snapshot(&bad).is_none(), "{at}");
        }
    }

    #[test]
    fn a_marker_ends_the_transaction_and_a_new_epoch_begins_at_zero() {
        // I1, I5
        let mut states = ProducerStates::default();
        states.update(&header(3, 0, 100, 4, true));
        states.update(&header(3, 4, 104, 1, true));
        assert_eq!(states.first_open_offset(), Some(100));
        states.end_transaction(&marker(4, 105), 7);
        assert_eq!(states.first_open_offset(), None);
        let producer = states.get(42).unwrap();
        assert_eq!((producer.epoch, producer.coordinator_epoch, producer.batches().len()), (4, 7, 0));
        assert_eq!(
            states.check(&header(4, 5, 0, 1, true), 106).unwrap_err().code,
            code::OUT_OF_ORDER_SEQUENCE_NUMBER
        );
        assert_eq!(states.check(&header(4, 0, 0, 1, true), 106), Ok(None));
    }

    #[test]
    fn a_producer_with_an_open_transaction_does_not_expire() {
        // I9
        let mut states = ProducerStates::default();
        states.update(&header(3, 0, 100, 4, true));
        states.expire(i64::MAX, 1);
        assert!(states.get(42).is_some());
        states.end_transaction(&marker(3, 104), 7);
        states.expire(i64::MAX, 1);
        assert!(states.get(42).is_none());
    }

    #[test]
    fn a_producer_expires_when_it_was_silent_for_the_whole_time() {
        // I9
        let mut states = ProducerStates::default();
        states.update(&header(3, 0, 100, 4, false));
        let last_timestamp = states.get(42).unwrap().last_timestamp;
        states.expire(last_timestamp + 999, 1000);
        assert!(states.get(42).is_some());
        states.expire(last_timestamp + 1000, 1000);
        assert!(states.get(42).is_none());
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "invariant 8")]
    fn a_producer_that_is_ahead_of_the_log_is_noticed() {
        let mut states = ProducerStates::default();
        states.update(&header(3, 0, 100, 4, false));
        states.assert_valid(42, 103);
    }

    #[test]
    fn only_a_tail_that_ends_like_the_snapshot_refills_it() {
        // I11
        let mut all = ProducerStates::default();
        for i in 0..4 {
            all.update(&header(3, i * 2, 100 + i64::from(i) * 2, 2, false));
        }
        let mut restored = ProducerStates::from_snapshot(&all.to_snapshot()).unwrap();
        restored.refill(&all);
        assert_eq!(restored, all);
        let mut other = all.clone();
        other.update(&header(3, 8, 108, 2, false));
        let mut restored = ProducerStates::from_snapshot(&all.to_snapshot()).unwrap();
        restored.refill(&other);
        assert_eq!(restored.get(42).unwrap().batches().len(), 1);
    }
}
