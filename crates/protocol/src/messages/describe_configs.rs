//! DescribeConfigs (32): the values of configuration keys, and where they come from.

use crate::{ErrorCode, Message, UnknownTags};

/// Whose configuration to describe.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = DescribeConfigs, response = DescribeConfigsResponse<'r>, versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsRequest<'a> {
    /// The resources.
    pub resources: Vec<DescribeConfigsResource<'a>>,
    /// Whether to tell the values that would hold otherwise.
    pub include_synonyms: bool,
    /// Whether to tell what each key means.
    #[kafka(versions = "3+")]
    pub include_documentation: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A topic, broker or other thing that has configuration.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribeConfigsResource<'a> {
    /// What kind of resource: 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
    pub resource_type: i8,
    /// The topic, the broker id, or the name of whatever it is.
    pub resource_name: &'a str,
    /// The configuration keys; null: all of them.
    pub configuration_keys: Option<Vec<&'a str>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The configuration of each resource.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = DescribeConfigs, versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The results.
    pub results: Vec<DescribeConfigsResult<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The configuration of one resource.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribeConfigsResult<'a> {
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// More about the error, for people.
    pub error_message: Option<&'a str>,
    /// What kind of resource: 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
    pub resource_type: i8,
    /// The topic, the broker id, or the name of whatever it is.
    pub resource_name: &'a str,
    /// The configuration.
    pub configs: Vec<DescribeConfigsResourceResult<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// One configuration value.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribeConfigsResourceResult<'a> {
    /// The configuration key.
    pub name: &'a str,
    /// The value; null if there is none, or if it is a secret.
    pub value: Option<&'a str>,
    /// Whether the value cannot be changed while the broker runs.
    pub read_only: bool,
    /// Where the value comes from: 1 the topic, 2 and 3 the broker and all brokers (dynamic), 4 the properties
    /// file, 5 the default, 6 a dynamic logger level.
    #[kafka(default = -1, ignorable)]
    pub config_source: i8,
    /// Whether the value is a secret, and so null here.
    pub is_sensitive: bool,
    /// All values in the order in which they count; the first one holds.
    #[kafka(ignorable)]
    pub synonyms: Vec<DescribeConfigsSynonym<'a>>,
    /// The kind of value: 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password.
    #[kafka(versions = "3+", ignorable)]
    pub config_type: i8,
    /// What the key means.
    #[kafka(versions = "3+", ignorable)]
    pub documentation: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A value that would hold if those before it did not exist.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DescribeConfigsSynonym<'a> {
    /// The configuration key.
    pub name: &'a str,
    /// The value; null if there is none, or if it is a secret.
    pub value: Option<&'a str>,
    /// Where the value comes from, as in `config_source`.
    pub source: i8,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
