//! FindCoordinator (10): which broker coordinates a group or a transactional id. Several keys at once from version 4 on.

use crate::{ErrorCode, Message, UnknownTags};

/// Whose coordinator to find.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = FindCoordinator, response = FindCoordinatorResponse<'r>, versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorRequest<'a> {
    /// The key: a group id or a transactional id.
    #[kafka(versions = "0-3")]
    pub key: &'a str,
    /// What the key is: 0 a group, 1 a transactional id, 2 a share group.
    #[kafka(versions = "1+")]
    pub key_type: i8,
    /// The keys.
    #[kafka(versions = "4+")]
    pub coordinator_keys: Vec<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The coordinator, or several.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = FindCoordinator, versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong, if anything.
    #[kafka(versions = "0-3")]
    pub error_code: ErrorCode,
    /// More about the error, for people.
    #[kafka(versions = "1-3", ignorable)]
    pub error_message: Option<&'a str>,
    /// The coordinator's broker id.
    #[kafka(versions = "0-3")]
    pub node_id: i32,
    /// The coordinator's host.
    #[kafka(versions = "0-3")]
    pub host: &'a str,
    /// The coordinator's port.
    #[kafka(versions = "0-3")]
    pub port: i32,
    /// The coordinator of each key.
    #[kafka(versions = "4+")]
    pub coordinators: Vec<Coordinator<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The coordinator of one key.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct Coordinator<'a> {
    /// The key: a group id or a transactional id.
    #[kafka(versions = "4+")]
    pub key: &'a str,
    /// The broker's id.
    #[kafka(versions = "4+")]
    pub node_id: i32,
    /// The host name or address.
    #[kafka(versions = "4+")]
    pub host: &'a str,
    /// The port.
    #[kafka(versions = "4+")]
    pub port: i32,
    /// What went wrong, if anything.
    #[kafka(versions = "4+")]
    pub error_code: ErrorCode,
    /// More about the error, for people.
    #[kafka(versions = "4+", ignorable)]
    pub error_message: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
