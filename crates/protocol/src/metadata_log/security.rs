//! Access control, SCRAM credentials, delegation tokens.

use crate::{Message, UnknownTags, Uuid};

/// A delegation token has been created or changed.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 10, versions = "0", flexible = "all")]
pub struct DelegationTokenRecord<'a> {
    /// Who the token stands for.
    pub owner: &'a str,
    /// Who asked for the token.
    pub requester: &'a str,
    /// Who may renew the token.
    pub renewers: Vec<&'a str>,
    /// When it was issued, in milliseconds.
    pub issue_timestamp: i64,
    /// Until when it may be renewed, in milliseconds.
    pub max_timestamp: i64,
    /// When it expires, in milliseconds.
    pub expiration_timestamp: i64,
    /// The id of the token.
    pub token_id: &'a str,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A user's SCRAM credential has been set.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 11, versions = "0", flexible = "all")]
pub struct UserScramCredentialRecord<'a> {
    /// The user.
    pub name: &'a str,
    /// 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
    pub mechanism: i8,
    /// The salt.
    pub salt: &'a [u8],
    /// The stored key.
    pub stored_key: &'a [u8],
    /// The server key.
    pub server_key: &'a [u8],
    /// The number of iterations.
    pub iterations: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// An access control entry has been created.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 18, versions = "0", flexible = "all")]
pub struct AccessControlEntryRecord<'a> {
    /// The id of the entry.
    pub id: Uuid,
    /// What the entry is about: 2 a topic, 3 a group, 4 the cluster, 5 a transactional id, 6 a delegation
    /// token, 7 a user.
    pub resource_type: i8,
    /// The name of what the entry is about.
    pub resource_name: &'a str,
    /// How names are compared: 3 literally, 4 as a prefix.
    pub pattern_type: i8,
    /// Who it is about.
    pub principal: &'a str,
    /// From where; * for everywhere.
    pub host: &'a str,
    /// What it is about: 3 read, 4 write, and so on.
    pub operation: i8,
    /// 2 denied, 3 allowed.
    pub permission_type: i8,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// An access control entry has been deleted.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 19, versions = "0", flexible = "all")]
pub struct RemoveAccessControlEntryRecord {
    /// The id of the entry.
    pub id: Uuid,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A user's SCRAM credential has been removed.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 22, versions = "0", flexible = "all")]
pub struct RemoveUserScramCredentialRecord<'a> {
    /// The user.
    pub name: &'a str,
    /// 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
    pub mechanism: i8,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A delegation token has been removed.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(log_record = 26, versions = "0", flexible = "all")]
pub struct RemoveDelegationTokenRecord<'a> {
    /// The id of the token.
    pub token_id: &'a str,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
