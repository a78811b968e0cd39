//! AlterConfigs (33): replaces the whole configuration of resources. Old clients only: what a request does not name is
//! deleted, so two clients undo each other's changes; IncrementalAlterConfigs (44) took its place.

use crate::{ErrorCode, Message, UnknownTags};

/// The new configurations.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = AlterConfigs, response = AlterConfigsResponse<'r>, versions = "0-2", flexible = "2+")]
pub struct AlterConfigsRequest<'a> {
    /// The resources.
    pub resources: Vec<AlterConfigsResource<'a>>,
    /// Whether to check the request without changing anything.
    pub validate_only: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A resource and its new configuration.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct AlterConfigsResource<'a> {
    /// The type of the resource: 2 topic, 4 broker.
    pub resource_type: i8,
    /// Topic, broker id, or the empty name for all brokers.
    pub resource_name: &'a str,
    /// All that is to be set.
    pub configs: Vec<AlterableConfig<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct AlterableConfig<'a> {
    /// The key.
    pub name: &'a str,
    /// The value.
    pub value: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of each resource.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = AlterConfigs, versions = "0-2", flexible = "2+")]
pub struct AlterConfigsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// One entry per resource.
    pub responses: Vec<AlterConfigsResourceResponse<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct AlterConfigsResourceResponse<'a> {
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The same in words.
    pub error_message: Option<&'a str>,
    /// The type of the resource.
    pub resource_type: i8,
    /// The name of the resource.
    pub resource_name: &'a str,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
