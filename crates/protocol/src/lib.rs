//! The Kafka protocol: frames, headers, API versions, error codes, messages, metadata-log records.
//!
//! Everything that crosses a socket between a client and a broker passes through here, in both directions: the
//! producer encodes a produce request around batches that it does not copy, the broker decodes it and finds the
//! same bytes as slices of what it read. The crate does no I/O and knows no clock.
//!
//! # A message
//!
//! ```
//! use rohrpost_protocol::{Decoder, Message, encode_request, messages::MetadataRequest, messages::MetadataRequestTopic};
//!
//! let request = MetadataRequest {
//!     topics: Some(vec![MetadataRequestTopic { name: Some("orders"), ..Default::default() }]),
//!     ..Default::default()
//! };
//! let frame = encode_request(&request, 12, 1, Some("docs"))?;
//!
//! let body = &frame.bytes()[4 + 8 + 6 + 1..];     // after the size, the header's ids, its client id and its tags
//! assert_eq!(MetadataRequest::decode(&mut Decoder::new(body), 12)?, request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each message is a plain struct whose attributes say which version has which field; `#[derive(Message)]` writes
//! length, encoding and decoding. `docs/adding-an-api.md` says how a new one is added.
//!
//! # What it promises
//!
//! * **Hostile input is normal.** Decoding never panics, and never allocates more than four times the input and
//!   64 KiB: every length is checked against the bytes that are there, then against a budget, and only then is memory
//!   taken. Input cannot cause recursion.
//! * **Strict.** Null where none may be, lengths below -1, repeated or falling tags, tagged fields of another size
//!   than they say, text that is not UTF-8: errors. Bytes after a valid body are left in the decoder, as Kafka does.
//! * **Nothing is lost silently.** A value that the chosen version cannot carry is an [`EncodeError`], except in
//!   fields that Kafka calls ignorable.
//! * **Record bytes are borrowed** when decoded, and may lie elsewhere when encoded ([`Records::Elsewhere`]).

#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

// the derive macro names this crate by its name, also from inside
extern crate self as rohrpost_protocol;

mod api_key;
mod body;
mod error_code;
pub mod frame;
mod header;
mod message;
pub mod messages;
pub mod metadata_log;
pub mod topic_name;
mod uuid;
mod versions;
pub mod wire;

pub use rohrpost_protocol_derive::Message;

pub use self::{
    api_key::ApiKey,
    body::{CodecError, Kind, describe_body, reencode_body},
    error_code::{ErrorClass, ErrorCode, Written},
    header::{HeaderError, RequestHeader, ResponseHeader},
    message::{Message, Request, Response, encode_request, encode_response},
    uuid::Uuid,
    versions::{ApiVersionRanges, VersionRange},
    wire::{
        Decoder, Encoder, Gap, Records, UnknownTags,
        error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind},
    },
};
