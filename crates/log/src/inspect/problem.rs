//! What can be wrong with a data directory, what that means, and what to do about it.

use std::fmt;

/// Something found where it should not be, or not found where it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or directory, relative to the data directory.
    pub path: String,
    /// Where in it.
    pub place: Place,
    /// What sort of problem.
    pub kind: Kind,
    /// How bad it is, here.
    pub severity: Severity,
    /// What was found, in words and numbers.
    pub what: String,
}

/// Where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At this byte, from 0.
    Byte(u64),
    /// In this line, from 1.
    Line(usize),
    /// The whole of it.
    Whole,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Byte(position) => write!(f, "byte {position}"),
            Place::Line(line) => write!(f, "line {line}"),
            Place::Whole => f.write_str("whole"),
        }
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Unusual and harmless.
    Note,
    /// The next start of a broker repairs it, and nothing that was synced is lost: what a crash leaves behind.
    Repaired,
    /// Something that was written is lost or cannot be trusted.
    Damage,
    /// The operating system would not let it be read: nothing is known.
    Unreadable,
}

impl Severity {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Repaired => "repaired at next start",
            Severity::Damage => "damage",
            Severity::Unreadable => "unreadable",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal, $meaning:literal, $advice:literal;)*) => {
        /// The sorts of problems. Names are stable; more may come.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];

            /// A name for programs, such as `checksum`.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Kind::$kind => $meaning,)* }
            }

            /// What to do.
            pub const fn advice(self) -> &'static str {
                match self { $(Kind::$kind => $advice,)* }
            }
        }
    };
}

kinds! {
    /// The last batch of a log is not whole, or not intact, and was never known to be synced (D16).
    TornTail "torn-tail",
        "the end of the log was being written when the process or the machine stopped; it was never known to be synced",
        "nothing: the next start of the broker cuts the log here";
    /// The file ends within a batch.
    CutBatch "cut-batch",
        "the end of this file is missing",
        "copy the directory first; with other replicas, remove this partition's directory and let it be fetched again; without, a start keeps what lies before this place";
    /// Zeros instead of batches.
    Zeros "zeros",
        "a part of the file was never written, or lost by the disk",
        "copy the directory first; with other replicas, remove this partition's directory and let it be fetched again; without, a start keeps what lies before this place";
    /// Bytes that are no batch.
    NoBatch "no-batch",
        "the batch here was overwritten, or a length before it is wrong",
        "copy the directory first; with other replicas, remove this partition's directory and let it be fetched again; without, a start keeps what lies before this place";
    /// The checksum is wrong (L2).
    Checksum "checksum",
        "bytes of this batch have changed since it was written",
        "check the disk; copy the directory first; with other replicas, remove this partition's directory and let it be fetched again; without, a start that recovers keeps what lies before this place";
    /// A field of a batch's header is impossible.
    HeaderField "header-field",
        "the batch was written wrongly, or bytes outside the checksum have changed",
        "as for a wrong checksum: fetch the partition again from another replica, or keep what lies before";
    /// An offset lies below the end of the batch before it.
    OffsetFalls "offset-falls",
        "offsets only rise: this batch's base offset, which lies outside the checksum, or the order of batches is wrong",
        "fetch the partition again from another replica; a start that recovers keeps what lies before this place";
    /// Offsets are missing in a log that is not compacted.
    OffsetGap "offset-gap",
        "batches are missing here, or the base offset, which lies outside the checksum, has changed; only compaction leaves gaps",
        "if the topic is, or was, compacted: nothing; else fetch the partition again from another replica";
    /// A leader epoch is lower than the one before it.
    EpochFalls "epoch-falls",
        "leader epochs never fall: the batch's epoch, which lies outside the checksum, has changed",
        "fetch the partition again from another replica";
    /// A batch's leader epoch is not that of the epoch file.
    EpochUnlike "epoch-unlike",
        "followers find by epochs where logs part; either the batch's epoch, which lies outside the checksum, or leader-epoch-checkpoint is wrong",
        "fetch the partition again from another replica; if only leader-epoch-checkpoint is wrong, remove it: a start that recovers writes it anew";
    /// The records of a batch with a good checksum cannot be read.
    Records "records",
        "the batch is as it was written, but no consumer can read it",
        "consumers must be told to go on behind this batch; find out which producer wrote it";
    /// The number of records is not that of the offsets.
    RecordCount "record-count",
        "the header's number of records, its last offset and the records do not agree; only compaction takes records out of a batch",
        "if the topic is, or was, compacted: nothing; else find out which producer wrote it";
    /// The header's largest timestamp is not that of the records.
    Timestamp "timestamp",
        "lookups by time and retention go by the header, and so come out wrong for this batch",
        "nothing that a tool could do; find out which producer wrote it";
    /// Too large to look into.
    TooLarge "too-large",
        "its checksum was checked, its records were not: they take more memory than this tool allows itself",
        "nothing";
    /// An index is missing.
    IndexMissing "index-missing",
        "lookups need it; it can be made anew from the segment",
        "nothing: the next start of the broker makes it anew";
    /// An index does not consist of whole entries.
    IndexSize "index-size",
        "the index was cut, or is another file",
        "nothing: the next start of the broker makes it anew";
    /// An entry that does not lead to its batch (D5, D6).
    IndexEntry "index-entry",
        "readers that come by this entry miss records or start in the wrong place",
        "stop the broker, remove this index file, start it again: a missing index is made anew";
    /// Entries do not rise.
    IndexOrder "index-order",
        "lookups halve the index, so entries out of order hide others",
        "stop the broker, remove this index file, start it again: a missing index is made anew";
    /// An entry as brokers before Apache Kafka 4 wrote it.
    IndexOld "index-old",
        "the entry leads to its batch, if by another offset than brokers write today: older versions wrote so, and readers find what they look for",
        "nothing";
    /// The last entry of a closed segment's time index is missing (D6).
    TimeIndexShort "time-index-short",
        "the largest timestamp of the segment is not in its time index: retention by time takes the segment for older than it is",
        "stop the broker, remove this index file, start it again: a missing index is made anew";
    /// An aborted transaction that cannot be.
    TransactionEntry "transaction-entry",
        "readers of committed records go by this index to leave aborted ones out",
        "stop the broker, remove the segment's .index file, start it again: the segment's indexes are made anew";
    /// A producer snapshot is not intact (I11).
    ProducerSnapshot "producer-snapshot",
        "the producers' sequences as of this offset cannot be had from here",
        "nothing: a start passes over it, and reads the batches from the snapshot before it";
    /// A metadata snapshot is not whole (C6).
    MetadataSnapshot "metadata-snapshot",
        "the state of the cluster cannot be rebuilt from this file",
        "stop this node, move the file away; a controller's node fetches a snapshot from the others";
    /// A text file is malformed (D1).
    BadText "bad-text",
        "the file as a whole counts as absent",
        "for checkpoints nothing: a start goes on without, reads more of the log, and writes them anew; meta.properties must be restored by hand from another directory of this node";
    /// The log ends before an offset that was known to be there.
    LogShort "log-short",
        "records that were acknowledged, or known to be on disk, are missing at the end of the log",
        "with other replicas, a follower fetches them again; without, they are lost: restore this directory from a copy";
    /// A checkpoint names an offset that the next start corrects.
    CheckpointBeyond "checkpoint-beyond",
        "the log ends before this offset: data that was not yet synced was lost with the machine",
        "nothing: the next start of the broker corrects it";
    /// A checkpoint names a partition that is not here.
    CheckpointStray "checkpoint-stray",
        "the partition was deleted or moved; the line is dropped when the file is written next",
        "nothing";
    /// A file on its way in or out (D17).
    Leftover "leftover",
        "what a crash or a deletion under way leaves behind",
        "nothing: the next start of the broker removes or completes it";
    /// An index without its segment (D17).
    IndexAlone "index-alone",
        "the segment of this index is gone",
        "nothing if the segment was deleted: the next start of the broker removes it; else restore the segment";
    /// A file that no Kafka broker writes.
    UnknownFile "unknown-file",
        "no broker knows a file of this name",
        "nothing; remove it if it is not yours";
    /// A directory that may not be here (D3).
    UnknownDirectory "unknown-directory",
        "brokers refuse to start on a data directory with a directory of such a name in it",
        "move it out of the data directory";
    /// A replica being deleted, moved, or unknown to the cluster (8.1).
    Aside "aside",
        "a replica that is being deleted or moved, or that the cluster does not know; not looked into",
        "-delete: nothing, it is removed in time; -stray: remove it by hand if its topic is really gone";
    /// A file that should be there.
    Missing "missing",
        "a broker expects this file here",
        "nothing if the directory is new; else restore it from a copy";
    /// It cannot be read.
    Unreadable "unreadable",
        "the operating system refuses to read it: nothing is known about its content",
        "check permissions and the disk";
}
