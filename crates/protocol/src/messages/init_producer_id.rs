//! InitProducerId (22): gives an idempotent or transactional producer its id and epoch.
//!
//! Version 6 (two-phase commit) is known to the codec and not in force.

use crate::{ErrorCode, Message, UnknownTags};

/// Asks for a producer id, or for a new epoch of one.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = InitProducerId, response = InitProducerIdResponse, versions = "0-6", flexible = "2+", unstable = "6")]
pub struct InitProducerIdRequest<'a> {
    /// The transactional id; null if the producer has none.
    pub transactional_id: Option<&'a str>,
    /// How long a transaction may stay open, in milliseconds; without a transactional id of no use.
    pub transaction_timeout_ms: i32,
    /// The producer id that gets a new epoch; -1: a new producer.
    #[kafka(versions = "3+", default = -1)]
    pub producer_id: i64,
    /// The epoch that the producer has; -1: a new producer.
    #[kafka(versions = "3+", default = -1)]
    pub producer_epoch: i16,
    /// Whether the transaction may stay prepared for an outside coordinator.
    #[kafka(versions = "6+")]
    pub enable_2pc: bool,
    /// Whether a prepared transaction stays open.
    #[kafka(versions = "6+")]
    pub keep_prepared_txn: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The producer id and its epoch.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = InitProducerId, versions = "0-6", flexible = "2+")]
pub struct InitProducerIdResponse {
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The producer id.
    #[kafka(default = -1)]
    pub producer_id: i64,
    /// The epoch of the producer id.
    pub producer_epoch: i16,
    /// The producer id of the prepared transaction; -1: none.
    #[kafka(versions = "6+", default = -1)]
    pub ongoing_txn_producer_id: i64,
    /// The epoch of the prepared transaction; -1: none.
    #[kafka(versions = "6+", default = -1)]
    pub ongoing_txn_producer_epoch: i16,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}
