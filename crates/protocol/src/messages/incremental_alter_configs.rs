//! IncrementalAlterConfigs (44): sets, deletes, extends or shortens single configuration values.

use crate::{ErrorCode, Message, UnknownTags};

/// What to change.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = IncrementalAlterConfigs, response = IncrementalAlterConfigsResponse<'r>, versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsRequest<'a> {
    /// The resources.
    pub resources: Vec<AlterConfigsResource<'a>>,
    /// Only check, and do nothing.
    pub validate_only: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A resource and the changes to it.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct AlterConfigsResource<'a> {
    /// What kind of resource: 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
    pub resource_type: i8,
    /// The topic, the broker id, or the name of whatever it is.
    pub resource_name: &'a str,
    /// The configuration.
    pub configs: Vec<AlterableConfig<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct AlterableConfig<'a> {
    /// The configuration key.
    pub name: &'a str,
    /// What to do: 0 set, 1 delete, 2 append to a list, 3 take from a list.
    pub config_operation: i8,
    /// The value; null when it is deleted.
    pub value: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of each resource.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = IncrementalAlterConfigs, versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub responses: Vec<AlterConfigsResourceResponse<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct AlterConfigsResourceResponse<'a> {
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// More about the error, for people.
    pub error_message: Option<&'a str>,
    /// What kind of resource: 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
    pub resource_type: i8,
    /// The topic, the broker id, or the name of whatever it is.
    pub resource_name: &'a str,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
