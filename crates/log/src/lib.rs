//! A partition's log in Kafka's on-disk format: segments, indexes, epochs, producer state, recovery.
//!
//! This is where a record's journey ends. The broker hands a [`Log`] the batch that came off the socket; the log validates
//! it, gives it its offset, and writes the same bytes (chapter 6 of the reference). What lies on disk afterwards can be
//! read by Apache Kafka's own tools, and the other way round (chapter 8).
//!
//! * [`Log`] is one partition: append, read, truncate, flush. It does file I/O through a [`Storage`], reads no clock and
//!   starts no thread.
//! * [`LogDir`] is a data directory: who owns it, which partitions it has, checkpoints, the clean-shutdown marker.
//! * [`inspect`] reads a data directory without touching it, and finds what is wrong there.
//! * [`FileStorage`] and [`MemoryStorage`] are the two places where files live; the second can lose power on demand.
//!
//! What is promised: whatever a crash leaves behind, a log comes up as a prefix of whole batches, with everything in it
//! that was synced; nothing that was refused is ever in it; an I/O error takes the whole directory offline and is never
//! papered over.

#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod checkpoint;
mod config;
mod dir;
mod epochs;
mod error;
mod index;
pub mod inspect;
mod log;
mod producer_state;
mod recovery;
mod segment;
mod storage;

pub use self::checkpoint::Offsets;
pub use self::config::{ConfigError, LogConfig};
pub use self::dir::{Identity, LogDir, MetaProperties, PartitionDir, partition_dir_name};
pub use self::error::{AppendError, DirError, DirHealth, LogError, RecordError, code};
pub use self::log::{
    AppendInfo, AppendOrigin, Deletion, Flush, FollowerAppend, LeaderChecks, Log, OpenOptions, Read,
    TimestampOffset, check_produce_shape,
};
pub use self::producer_state::{Producer, SeenBatch};
pub use self::storage::{Entry, Fault, File, FileStorage, HeldLock, MemoryStorage, OpenMode, Storage};
