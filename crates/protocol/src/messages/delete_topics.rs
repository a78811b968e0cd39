//! DeleteTopics (20). By name up to version 5, by name or id from 6 on.

use crate::{ErrorCode, Message, UnknownTags, Uuid};

/// The topics to delete.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = DeleteTopics, response = DeleteTopicsResponse<'r>, versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsRequest<'a> {
    /// The topics.
    #[kafka(versions = "6+")]
    pub topics: Vec<DeleteTopicState<'a>>,
    /// The names of the topics.
    #[kafka(versions = "1-5", ignorable)]
    pub topic_names: Vec<&'a str>,
    /// How long the broker may take, in milliseconds.
    pub timeout_ms: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// A topic by name or by id.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DeleteTopicState<'a> {
    /// The name; null if the topic is named by id.
    #[kafka(versions = "6+", default = null)]
    pub name: Option<&'a str>,
    /// The id; zero if the topic is named by name.
    #[kafka(versions = "6+")]
    pub topic_id: Uuid,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of each topic.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = DeleteTopics, versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsResponse<'a> {
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// The topics.
    pub responses: Vec<DeletableTopicResult<'a>>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct DeletableTopicResult<'a> {
    /// The topic's name; null if it was named by id and may not be seen.
    #[kafka(nullable = "6+")]
    pub name: Option<&'a str>,
    /// The topic's id.
    #[kafka(versions = "6+", ignorable)]
    pub topic_id: Uuid,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// More about the error, for people.
    #[kafka(versions = "5+", default = null, ignorable)]
    pub error_message: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
