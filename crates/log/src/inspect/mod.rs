//! Looking at a data directory without touching it: what `rohrpost log dump` and `rohrpost log verify` see.
//!
//! Everything here opens files for reading only, takes no lock and repairs nothing. It believes nothing either: each length is
//! checked against the file before memory is taken for it, files are read in pieces, and arbitrary bytes give a
//! [`Problem`] with file and position, never a panic.
//!
//! * [`Scan`] walks the batches of a segment or of a metadata snapshot; [`entries`] reads index files and producer snapshots;
//!   [`parse_offsets`], [`parse_epochs`], … read the small texts. [`FileKind::of`] says which of them a file needs.
//! * [`verify`] holds all files of a directory against each other (chapter 8 of the reference).
//!
//! It shares no code with recovery on purpose: two readings of the same rules find each other's mistakes.

mod entries;
mod kind;
mod partition;
mod problem;
mod scan;
mod segment;
mod source;
mod texts;
mod verify;

pub use self::entries::{
    AbortedTransaction, BinaryEntry, OffsetIndexEntry, PRODUCER_SNAPSHOT_HEADER, ProducerEntry,
    ProducerSnapshotHeader, TimeIndexEntry, entries, read_producer_snapshot_header,
};
pub use self::kind::{FileKind, base_offset_of, partition_of_dir};
pub use self::partition::PartitionSummary;
pub use self::problem::{Kind, Place, Problem, Severity};
pub use self::scan::{Broken, FoundBatch, Scan, ScanStep};
pub use self::source::{Source, open};
pub use self::texts::{
    BadLine, CheckpointLine, EpochLine, meta_properties, parse_clean_shutdown, parse_epochs, parse_offsets,
    parse_partition_metadata, read_text,
};
pub use self::verify::{Finding, Totals, VerifyOptions, holder, verify};

/// Batches larger than this, and records that decompress to more, are checked by their checksum alone.
pub const RECORD_BYTES_MAX: usize = 128 << 20;
