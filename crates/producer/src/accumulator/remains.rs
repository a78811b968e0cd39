//! What is left of a batch that failed: its bytes, for the failed-records file (SEND-2).

use rohrpost_record::Record;

use super::batch::{Batch, Piece};
use super::pool::{Charge, Pool};

/// The bytes of a batch that failed. They stay charged to `buffer.memory`.
pub(crate) struct Remains {
    bytes: Bytes,
    /// Bytes of the records before compression: nothing grows beyond it.
    records_len: usize,
    record_count: u32,
}

enum Bytes {
    /// The batch's own memory.
    Pieces(Vec<Piece>),
    /// A copy: a request owns the batch's memory still (ACC-25).
    Copy { bytes: Vec<u8>, _charge: Option<Charge> },
}

impl Batch {
    /// Takes the bytes out. `None` if it has none any more, or never had a header: it was never closed.
    pub(crate) fn take_remains(&mut self) -> Option<Remains> {
        let pieces = self.has_bytes().then(|| std::mem::take(&mut self.pieces))?;
        Some(self.remains(Bytes::Pieces(pieces)))
    }

    /// A copy of the bytes. It is charged whether there is room or not: it makes the pool give nothing to appends until it is gone.
    pub(crate) fn copy_remains(&self, pool: &Pool) -> Option<Remains> {
        let bytes = self.has_bytes().then(|| self.copy())?;
        let charge = pool.charge(bytes.len(), true);
        Some(self.remains(Bytes::Copy { bytes, _charge: charge }))
    }

    fn remains(&self, bytes: Bytes) -> Remains {
        Remains { bytes, records_len: self.builder.records_len(), record_count: self.record_count() }
    }
}

impl Remains {
    pub(crate) fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Shows every record, in order. `false` if the bytes cannot be read, which would be a bug.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Record<'_>)) -> bool {
        let joined;
        let bytes = match &self.bytes {
            Bytes::Copy { bytes, .. } => &bytes[..],
            Bytes::Pieces(pieces) => {
                joined = pieces
                    .iter()
                    .map(|piece| &piece.chunk.bytes()[..piece.used])
                    .collect::<Vec<_>>()
                    .concat();
                &joined[..]
            }
        };
        let mut scratch = Vec::new();
        let Ok(batch) = rohrpost_record::Batch::parse(bytes) else { return false };
        let Ok(records) = batch.records(&mut scratch, self.records_len) else { return false };
        for record in records {
            match record {
                Ok(record) => visit(record),
                Err(_) => return false,
            }
        }
        true
    }
}
