//! Headers: what stands before each request and response.

use std::fmt;

use crate::{ApiKey, DecodeError, Decoder, Message, UnknownTags};

/// What stands before a request.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-2", flexible = "2+")]
pub struct RequestHeader<'a> {
    /// What is asked for: an [`ApiKey`], if it is one.
    pub api_key: i16,
    /// The version of the request, and of the response to it.
    pub api_version: i16,
    /// Chosen by the client; stands in the response.
    pub correlation_id: i32,
    /// What the client calls itself; see [`client_name`](Self::client_name).
    #[kafka(flexible = "none")]
    pub client_id: Option<&'a str>,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What stands before a response.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1", flexible = "1+")]
pub struct ResponseHeader {
    /// That of the request which is answered.
    pub correlation_id: i32,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// Why a request's header cannot be read. The connection is to be closed without a response (G1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The bytes are no header.
    Malformed(DecodeError),
    /// No such API, or none whose messages this crate has.
    UnknownApi {
        /// The API key.
        api_key: i16,
        /// The version that was asked for.
        version: i16,
    },
    /// The API does not have this version.
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The version that was asked for.
        version: i16,
    },
}

impl<'a> RequestHeader<'a> {
    /// What the client calls itself. Null counts as empty (G7).
    pub fn client_name(&self) -> &'a str {
        self.client_id.unwrap_or_default()
    }

    /// Reads the header of a request, in the version that its API key and API version imply. The decoder stands before
    /// the body then. Only [stable versions](ApiKey::versions) of APIs that this crate has pass; which of them a
    /// listener serves is for the caller to check.
    ///
    /// ApiVersions in a version that does not exist is no error (G3): the header is read, the body is not to be
    /// looked at, and the answer is [`unsupported`](crate::messages::ApiVersionsResponse::unsupported) in version 0.
    ///
    /// # Errors
    /// The API or its version is not known, or the bytes are no header.
    pub fn read(input: &mut Decoder<'a>) -> Result<(ApiKey, Self), HeaderError> {
        let mut ahead = Decoder::new(input.rest());
        let [k0, k1, v0, v1] =
            ahead.array().map_err(|e| HeaderError::Malformed(e.within("RequestHeader", "api_key")))?;
        let (api_key, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
        // G1; versions that are not in force count as unknown
        let known = ApiKey::from_i16(api_key).filter(|api| !api.versions().is_empty());
        let Some(api) = known else {
            return Err(HeaderError::UnknownApi { api_key, version });
        };
        if api != ApiKey::ApiVersions && !api.versions().contains(version) {
            return Err(HeaderError::UnsupportedVersion { api, version });
        }
        let header =
            Self::decode(input, api.request_header_version(version)).map_err(HeaderError::Malformed)?;
        Ok((api, header))
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "not a request: {error}"),
            Self::UnknownApi { api_key, version } => {
                write!(f, "unknown API key {api_key} (version {version})")
            }
            Self::UnsupportedVersion { api, version } => {
                write!(f, "{api} has no version {version}; versions {} are known", api.versions())
            }
        }
    }
}

impl std::error::Error for HeaderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            _ => None,
        }
    }
}
