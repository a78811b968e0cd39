//! What became of a record: the types a user sees (`Delivered`, `DeliveryError`, `SendError`) and the one that the
//! sender hands to a batch (`BatchResult`).
//!
//! The promise is CMPL-8: `NotWritten` is said only if no attempt can have written the record; when any attempt may
//! have, the outcome is `Unknown`.

use std::sync::Arc;

use rohrpost_protocol::ErrorCode;

/// How certain it is that a failed record is not in the log (CMPL-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Certainly not in the log: safe to send again.
    NotWritten,
    /// The broker may have written it: sending it again may duplicate it.
    Unknown,
}

/// What ends a batch. One per batch, shared by the handles of all its records.
#[derive(Debug, Clone)]
pub(crate) enum BatchResult {
    /// Answered without error. `base_offset` and `log_append_time` are -1 if the broker did not say.
    Acked { base_offset: i64, log_append_time: i64 },
    /// acks=0: the request is written to the socket (SND-8).
    HandedOver,
    /// Failed for good.
    Failed(Arc<BatchFailure>),
}

/// Why a batch failed, and what it means for its records.
#[derive(Debug, Clone)]
pub(crate) struct BatchFailure {
    pub(crate) outcome: Outcome,
    pub(crate) reason: Reason,
    /// The broker's words, or ours.
    pub(crate) message: Option<String>,
    /// Records the broker named (ERR-3), by index in the batch, with its words.
    pub(crate) record_errors: Vec<(u32, Option<String>)>,
    pub(crate) attempts: u32,
}

/// Why a record was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The broker answered with this error, or the client gave up on it.
    Broker(ErrorCode),
    /// `delivery.timeout.ms` was over (ACC-24).
    Expired,
    /// The producer was closed before the record was acknowledged (FLU-6).
    Closed,
    /// The record was dropped by `purge` (FLU-4).
    Purged,
    /// The batch could not be compressed or encoded.
    Encoding,
    /// The producer met an error that ends it: authorization, fencing, an unsupported version.
    Fatal(ErrorCode),
}
