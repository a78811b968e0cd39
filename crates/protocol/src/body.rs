//! Bodies by API key and version: for tools and tests that meet a message without knowing its type.

use std::fmt;

use crate::{ApiKey, DecodeError, Decoder, EncodeError, Encoder, Message, messages::Api};

/// Which of the two messages of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What the client sends.
    Request,
    /// What the broker answers.
    Response,
}

/// Why a body could not be decoded and encoded again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// This crate does not have the messages of this API.
    UnknownApi(i16),
    /// The bytes are no such message.
    Decode(DecodeError),
    /// What was decoded cannot be written.
    Encode(EncodeError),
}

/// Decodes a body and encodes it again. The result is what a writer would have sent: the same bytes, unless the input
/// used long varints, an odd byte for `true`, or wrote tagged fields that have their default.
///
/// Unknown tagged fields are kept. Bytes after a valid body are ignored, as Kafka ignores them. All memory that is taken,
/// the result included, stays within four times the input and 64 KiB.
///
/// # Errors
/// The API or the version is not known, or the bytes are no such body.
pub fn reencode_body(api_key: i16, version: i16, kind: Kind, body: &[u8]) -> Result<Vec<u8>, CodecError> {
    let api = find(api_key)?;
    match kind {
        Kind::Request => (api.reencode_request)(body, version),
        Kind::Response => (api.reencode_response)(body, version),
    }
}

/// Decodes a body and writes it out for people, one field a line.
///
/// # Errors
/// The API or the version is not known, or the bytes are no such body.
pub fn describe_body(api_key: i16, version: i16, kind: Kind, body: &[u8]) -> Result<String, CodecError> {
    let api = find(api_key)?;
    match kind {
        Kind::Request => (api.describe_request)(body, version),
        Kind::Response => (api.describe_response)(body, version),
    }
}

fn find(api_key: i16) -> Result<&'static Api, CodecError> {
    ApiKey::from_i16(api_key).and_then(ApiKey::api).ok_or(CodecError::UnknownApi(api_key))
}

pub(crate) fn reencode<'a, M: Message<'a>>(body: &'a [u8], version: i16) -> Result<Vec<u8>, CodecError> {
    // what is encoded is not longer than what was decoded: lengths are the shortest possible and nothing is added
    let mut input = Decoder::new(body).keep_unknown_tags(true);
    let budget = input.budget() - body.len();
    input = input.with_budget(budget);
    let message = M::decode(&mut input, version).map_err(CodecError::Decode)?;
    let mut out = Encoder::with_capacity(message.encoded_len(version).map_err(CodecError::Encode)?);
    message.encode(&mut out, version).map_err(CodecError::Encode)?;
    let (bytes, _no_gaps) = out.into_parts();
    Ok(bytes)
}

pub(crate) fn describe<'a, M: Message<'a> + fmt::Debug>(
    body: &'a [u8],
    version: i16,
) -> Result<String, CodecError> {
    let message = M::decode(&mut Decoder::new(body), version).map_err(CodecError::Decode)?;
    Ok(format!("{message:#?}"))
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownApi(key) => write!(f, "no messages are known for API key {key}"),
            Self::Decode(error) => error.fmt(f),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::UnknownApi(_) => None,
            Self::Decode(error) => Some(error),
            Self::Encode(error) => Some(error),
        }
    }
}
