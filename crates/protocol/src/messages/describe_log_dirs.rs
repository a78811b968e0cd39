//! DescribeLogDirs (35): a broker's data directories and the size of each replica in them.

use crate::{ErrorCode, Message, UnknownTags};

/// Which replicas to describe.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = DescribeLogDirs, response = DescribeLogDirsResponse<'r>, versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsRequest<'a> {
    /// The topics; null: all.
    pub topics: Option<Vec<DescribableLogDirTopic<'a>>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's partitions.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribableLogDirTopic<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partitions.
    pub partitions: Box<[i32]>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The data directories.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = DescribeLogDirs, versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong with the whole request, if anything.
    #[kafka(versions = "3+", ignorable)]
    pub error_code: ErrorCode,
    /// One entry per directory.
    pub results: Vec<DescribeLogDirsResult<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A data directory.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribeLogDirsResult<'a> {
    /// What is wrong with the directory, if anything.
    pub error_code: ErrorCode,
    /// Its absolute path.
    pub log_dir: &'a str,
    /// The replicas in it.
    pub topics: Vec<DescribeLogDirsTopic<'a>>,
    /// Size of its volume in bytes; -1 = not known.
    #[kafka(versions = "4+", default = -1, ignorable)]
    pub total_bytes: i64,
    /// How much of that is free, in bytes; -1 = not known.
    #[kafka(versions = "4+", default = -1, ignorable)]
    pub usable_bytes: i64,
    /// Whether it gets no new replicas.
    #[kafka(versions = "5+", ignorable)]
    pub is_cordoned: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One topic's replicas in a directory.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribeLogDirsTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// One entry per replica.
    pub partitions: Vec<DescribeLogDirsPartition>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A replica in a directory.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribeLogDirsPartition {
    /// The partition.
    pub partition_index: i32,
    /// Size of its segments in bytes.
    pub partition_size: i64,
    /// How far its end is behind the high watermark or, of a future replica, behind the current one. Records.
    pub offset_lag: i64,
    /// Whether it is to take the place of the current replica.
    pub is_future_key: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
