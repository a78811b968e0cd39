//! Kafka record batches, format 2: append, close, stamp, patch, validate, iterate. Pure functions over bytes: no I/O, no clock.
//!
//! A record's journey through this crate:
//!
//! 1. **Append** ([`build`]): the accumulator measures a record and lets it be encoded straight into its own buffer.
//! 2. **Close**: the header is written; the records part may have been compressed before ([`codec`]).
//! 3. **Stamp** ([`stamp()`]): the sender writes producer id, epoch and sequence, and the CRC-32C over all of it.
//! 4. **Validate** ([`validate()`]): a leader walks the batch and answers with Kafka's own errors.
//! 5. **Patch** ([`patch`]): the leader writes base offset and leader epoch, which no checksum covers, and stores the bytes.
//! 6. **Iterate** ([`read`]): consumers, followers and tools split bytes into batches and batches into records without copying.
//!
//! Everything that reads treats its input as hostile: lengths are checked against the bytes that are there before anything is
//! allocated, decompression is bounded by the caller, nothing panics (REC-7).

#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod build;
pub mod codec;
pub mod control;
pub mod crc;
pub mod header;
pub mod murmur2;
pub mod prefetch;
pub mod read;
pub mod reencode;
pub mod validate;
pub mod varint;

pub use build::{BatchBuilder, Header, HeaderRef, NO_HEADERS, PayloadLen, RECORD_OVERHEAD_MAX, RecordSize};
pub use codec::{Codec, Compression, CompressionError, Compressor, DecompressError, decompress};
pub use header::{
    Attributes, BatchError, BatchHeader, HEADER_LEN, LOG_OVERHEAD, MAGIC, NO_TIMESTAMP, Stamp, TimestampType,
    increment_sequence, patch, set_max_timestamp_and_type, stamp,
};
pub use murmur2::murmur2;
pub use read::{Batch, Batches, Headers, Part, Record, RecordError, Records};
pub use reencode::{ReencodeError, reencode};
pub use validate::{Answer, InvalidBatch, RejectedRecord, ValidateRules, Validated, single_batch, validate};
