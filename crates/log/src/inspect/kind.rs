//! Which file is what, by its name (8.1, 8.2).

use std::path::Path;

/// What a file of a data directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `<20 digits>.log`: batches.
    Segment,
    /// A segment of `__cluster_metadata-0`: its records are a controller's decisions.
    MetadataSegment,
    /// `<offset>-<epoch>.checkpoint`: a snapshot of the cluster's metadata, as batches (C6).
    MetadataSnapshot,
    /// `<20 digits>.index`.
    OffsetIndex,
    /// `<20 digits>.timeindex`.
    TimeIndex,
    /// `<20 digits>.txnindex`.
    TransactionIndex,
    /// `<20 digits>.snapshot`: producer state.
    ProducerSnapshot,
    /// `recovery-point-offset-checkpoint` and the other three.
    OffsetCheckpoint,
    /// `leader-epoch-checkpoint`.
    EpochCheckpoint,
    /// `partition.metadata`.
    PartitionMetadata,
    /// `meta.properties`.
    MetaProperties,
    /// `.kafka_cleanshutdown`.
    CleanShutdown,
}

impl FileKind {
    /// All kinds, in the order in which help names them.
    pub const ALL: [FileKind; 12] = [
        FileKind::Segment,
        FileKind::MetadataSegment,
        FileKind::MetadataSnapshot,
        FileKind::OffsetIndex,
        FileKind::TimeIndex,
        FileKind::TransactionIndex,
        FileKind::ProducerSnapshot,
        FileKind::OffsetCheckpoint,
        FileKind::EpochCheckpoint,
        FileKind::PartitionMetadata,
        FileKind::MetaProperties,
        FileKind::CleanShutdown,
    ];

    /// The kind of a file, by its name and that of its directory; `None` if no file of a data directory is called so.
    /// A suffix of a file in transition (`.deleted`, `.cleaned`, `.swap`, `.tmp`) changes nothing.
    pub fn of(path: &Path) -> Option<FileKind> {
        let name = path.file_name()?.to_str()?;
        let name = [".deleted", ".cleaned", ".swap", ".tmp"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        let is_metadata = || {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let dir = absolute.parent().and_then(Path::file_name).and_then(|dir| dir.to_str());
            dir.is_some_and(|dir| dir.starts_with("__cluster_metadata-"))
        };
        Some(match name {
            "leader-epoch-checkpoint" => FileKind::EpochCheckpoint,
            "partition.metadata" => FileKind::PartitionMetadata,
            "meta.properties" => FileKind::MetaProperties,
            ".kafka_cleanshutdown" => FileKind::CleanShutdown,
            _ if name.ends_with("-offset-checkpoint") => FileKind::OffsetCheckpoint,
            _ => match name.rsplit_once('.')?.1 {
                "log" if is_metadata() => FileKind::MetadataSegment,
                "log" => FileKind::Segment,
                "checkpoint" => FileKind::MetadataSnapshot,
                "index" => FileKind::OffsetIndex,
                "timeindex" => FileKind::TimeIndex,
                "txnindex" => FileKind::TransactionIndex,
                "snapshot" => FileKind::ProducerSnapshot,
                _ => return None,
            },
        })
    }

    /// What a person calls it; also the word for `--as`.
    pub const fn name(self) -> &'static str {
        match self {
            FileKind::Segment => "segment",
            FileKind::MetadataSegment => "metadata",
            FileKind::MetadataSnapshot => "metadata-snapshot",
            FileKind::OffsetIndex => "index",
            FileKind::TimeIndex => "timeindex",
            FileKind::TransactionIndex => "txnindex",
            FileKind::ProducerSnapshot => "snapshot",
            FileKind::OffsetCheckpoint => "offsets",
            FileKind::EpochCheckpoint => "epochs",
            FileKind::PartitionMetadata => "partition-metadata",
            FileKind::MetaProperties => "meta-properties",
            FileKind::CleanShutdown => "clean-shutdown",
        }
    }
}

/// The offset in a name of 20 digits and `suffix` (with its dot).
pub fn base_offset_of(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Topic and partition of a directory called `<topic>-<partition>` (D3).
pub fn partition_of_dir(name: &str) -> Option<(&str, i32)> {
    // D3
    let (topic, number) = name.rsplit_once('-')?;
    let is_number = number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
    let is_topic = !topic.is_empty()
        && topic.len() <= 249
        && topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let number = number.parse().ok().filter(|_| is_number && is_topic)?;
    Some((topic, number))
}

/// Whether a directory's name is that of a replica being deleted, moved, or unknown to the cluster (8.1).
pub(super) fn aside_suffix(name: &str) -> Option<&'static str> {
    ["-delete", "-future", "-stray"].into_iter().find(|suffix| {
        name.strip_suffix(suffix)
            .and_then(|rest| rest.rsplit_once('.'))
            .is_some_and(|(_, unique)| unique.len() == 32 && unique.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_name() {
        let kind = |path: &str| FileKind::of(Path::new(path));
        assert_eq!(kind("orders-0/00000000000000000000.log"), Some(FileKind::Segment));
        assert_eq!(kind("/d/__cluster_metadata-0/00000000000000000000.log"), Some(FileKind::MetadataSegment));
        assert_eq!(kind("00000000000000000007.timeindex.deleted"), Some(FileKind::TimeIndex));
        assert_eq!(kind("00000000000000000100-0000000003.checkpoint"), Some(FileKind::MetadataSnapshot));
        assert_eq!(kind("bootstrap.checkpoint"), Some(FileKind::MetadataSnapshot));
        assert_eq!(kind("leader-epoch-checkpoint"), Some(FileKind::EpochCheckpoint));
        assert_eq!(kind("cleaner-offset-checkpoint"), Some(FileKind::OffsetCheckpoint));
        assert_eq!(kind(".lock"), None);
        assert_eq!(kind("README.md"), None);
        assert_eq!(base_offset_of("00000000000000000042.log", ".log"), Some(42));
        assert_eq!(base_offset_of("99999999999999999999.log", ".log"), None);
        assert_eq!(base_offset_of("42.log", ".log"), None);
        assert_eq!(partition_of_dir("a-b-12"), Some(("a-b", 12)));
        for no_partition in ["a-+1", "a-", "-1", "a-01", "a b-0", "caf\u{e9}-0", "a-2147483648"] {
            assert_eq!(partition_of_dir(no_partition), None, "{no_partition}");
        }
        assert_eq!(aside_suffix("a-0.0123456789abcdef0123456789abcdef-stray"), Some("-stray"));
        assert_eq!(aside_suffix("a-stray"), None);
    }
}
