//! What orders the log itself: transactions of records, no-ops.

use crate::{Message, UnknownTags};

/// Nothing: keeps the high watermark of the log moving.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 20, versions = "0", flexible = "all")]
pub struct NoOpRecord {
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// How far the migration from ZooKeeper has come.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 21, versions = "0", flexible = "all")]
pub struct ZkMigrationStateRecord {
    /// The state of the migration.
    pub zk_migration_state: i8,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The records up to the next EndTransactionRecord take effect together.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 23, versions = "0", flexible = "all")]
pub struct BeginTransactionRecord<'a> {
    /// A name for people; null: none.
    #[kafka(tag = 0, default = null)]
    pub name: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The records since the last BeginTransactionRecord take effect.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 24, versions = "0", flexible = "all")]
pub struct EndTransactionRecord {
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The records since the last BeginTransactionRecord never take effect.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 25, versions = "0", flexible = "all")]
pub struct AbortTransactionRecord<'a> {
    /// Why, for people; null: not told.
    #[kafka(tag = 0, default = null)]
    pub reason: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
