//! Giving a batch another codec: what a broker does whose topic asks for one (CMP-4, L8).
//!
//! The records of a valid batch already have the offset deltas 0, 1, 2, …, so they stay as they are, byte for byte; only their
//! compression and the header change. The batch keeps producer id, epoch, base sequence, timestamps and flags.

use std::fmt;

use crate::codec::{Compression, CompressionError, Compressor};
use crate::header::{HEADER_LEN, LOG_OVERHEAD, Stamp, stamp};
use crate::read::{Batch, RecordError};

/// Appends `batch` to `out` as one new batch that is compressed by `compression`, with a new checksum. The records of a compressed
/// batch pass through `scratch`, where they may take `limit` bytes. Base offset and leader epoch are kept.
///
/// The caller has validated the batch, and looks at the new size afterwards. On an error `out` is as it was.
///
/// # Errors
/// [`ReencodeError`].
pub fn reencode(
    batch: &Batch<'_>,
    compression: Compression,
    compressor: &mut Compressor,
    scratch: &mut Vec<u8>,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), ReencodeError> {
    let plain = batch.plain_records(scratch, limit).map_err(ReencodeError::Read)?;
    let start = out.len();
    out.resize(start + HEADER_LEN, 0);
    let payload_max = i32::MAX as usize - HEADER_LEN;
    match compressor.compress(compression, &mut std::iter::once(plain), out, payload_max) {
        Ok(true) => {}
        Ok(false) => {
            out.truncate(start);
            return Err(ReencodeError::TooLarge);
        }
        Err(error) => {
            out.truncate(start);
            return Err(ReencodeError::Compress(error));
        }
    }
    let mut header = *batch.header();
    header.attributes = header.attributes.with_codec(compression.codec());
    let bytes = &mut out[start..];
    header.batch_length = (bytes.len() - LOG_OVERHEAD) as i32;
    if let Some(first) = bytes.first_chunk_mut() {
        header.write(first);
    }
    let by = Stamp {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    };
    stamp(bytes, [], by);
    Ok(())
}

/// Why a batch cannot be given another codec.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReencodeError {
    /// Its records cannot be had.
    Read(RecordError),
    /// The codec failed.
    Compress(CompressionError),
    /// It would have 2 GiB or more.
    TooLarge,
}

impl fmt::Display for ReencodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReencodeError::Read(error) => error.fmt(f),
            ReencodeError::Compress(error) => error.fmt(f),
            ReencodeError::TooLarge => f.write_str("the batch would have 2 GiB or more"),
        }
    }
}

impl std::error::Error for ReencodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReencodeError::Read(error) => Some(error),
            ReencodeError::Compress(error) => Some(error),
            ReencodeError::TooLarge => None,
        }
    }
}
