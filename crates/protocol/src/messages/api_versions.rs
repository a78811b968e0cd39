//! ApiVersions (18): the first request on a connection. The answer says which versions the broker serves.

use crate::{ApiKey, DecodeError, Decoder, ErrorCode, Message, UnknownTags, VersionRange};

/// Asks for what the broker serves, and says who asks.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(request = ApiVersions, response = ApiVersionsResponse<'r>, versions = "0-4", flexible = "3+")]
pub struct ApiVersionsRequest<'a> {
    /// The name of the client library.
    #[kafka(versions = "3+", ignorable)]
    pub client_software_name: &'a str,
    /// The version of the client library.
    #[kafka(versions = "3+", ignorable)]
    pub client_software_version: &'a str,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What the broker serves.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(response_to = ApiVersions, versions = "0-4", flexible = "3+")]
pub struct ApiVersionsResponse<'a> {
    /// What went wrong, if anything.
    pub error_code: ErrorCode,
    /// The APIs that the broker serves.
    pub api_keys: Vec<ApiVersion>,
    /// How long the client is to keep still because of a quota, in milliseconds.
    #[kafka(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// What the broker could do.
    #[kafka(versions = "3+", tag = 0, ignorable)]
    pub supported_features: Vec<SupportedFeatureKey<'a>>,
    /// When the levels were set, as an offset in the metadata log; -1 if it is not known.
    #[kafka(versions = "3+", tag = 1, default = -1, ignorable)]
    pub finalized_features_epoch: i64,
    /// What is in force in the cluster.
    #[kafka(versions = "3+", tag = 2, ignorable)]
    pub finalized_features: Vec<FinalizedFeatureKey<'a>>,
    /// Left from the migration from ZooKeeper.
    #[kafka(versions = "3+", tag = 3, ignorable)]
    pub zk_migration_ready: bool,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The versions of one API.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct ApiVersion {
    /// The API key.
    pub api_key: i16,
    /// The oldest version.
    pub min_version: i16,
    /// The newest version.
    pub max_version: i16,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The levels of a feature that the broker can work at.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct SupportedFeatureKey<'a> {
    /// The feature's name.
    #[kafka(versions = "3+")]
    pub name: &'a str,
    /// The lowest level.
    #[kafka(versions = "3+")]
    pub min_version: i16,
    /// The highest level.
    #[kafka(versions = "3+")]
    pub max_version: i16,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// The level of a feature that is in force in the cluster.
#[derive(Debug, Clone, PartialEq, Message)]
pub struct FinalizedFeatureKey<'a> {
    /// The feature's name.
    #[kafka(versions = "3+")]
    pub name: &'a str,
    /// The level in force.
    #[kafka(versions = "3+")]
    pub max_version_level: i16,
    /// The lowest level; today always the level in force.
    #[kafka(versions = "3+")]
    pub min_version_level: i16,
    /// Tagged fields that this version does not know.
    pub unknown_tags: UnknownTags,
}

/// What an ApiVersions response tells a client to do.
#[derive(Debug, Clone, PartialEq)]
pub enum ApiVersionsAnswer<'a> {
    /// The broker knows the version that was asked for. The response may hold another error, which ends the
    /// connection.
    Versions(ApiVersionsResponse<'a>),
    /// The broker does not know the version that was asked for: ask again with this one.
    AskAgain {
        /// The version to ask with, always lower than the one before.
        version: i16,
    },
}

impl<'a> ApiVersionsResponse<'a> {
    /// The answer to a version that the broker does not know. It is to be encoded in version 0, whatever the
    /// version
    /// that was asked for, and the connection stays open (G3).
    pub fn unsupported() -> Self {
        let VersionRange { min, max } = ApiKey::ApiVersions.versions();
        let own = ApiVersion {
            api_key: ApiKey::ApiVersions as i16,
            min_version: min,
            max_version: max,
            ..ApiVersion::default()
        };
        // G3
        Self { error_code: ErrorCode::UNSUPPORTED_VERSION, api_keys: vec![own], ..Self::default() }
    }

    /// Reads the answer to a request in version `asked`. A broker that does not know that version answers in
    /// version 0, with error 35.
    ///
    /// # Errors
    /// The bytes are no answer, in either version.
    pub fn decode_answer(body: &'a [u8], asked: i16) -> Result<ApiVersionsAnswer<'a>, DecodeError> {
        let unsupported = body.first_chunk() == Some(&ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes());
        if !unsupported || asked <= 0 {
            return Self::decode(&mut Decoder::new(body), asked).map(ApiVersionsAnswer::Versions);
        }
        // VER-2: the highest version listed for ApiVersions itself, or 0 if there is no such list or it cannot be read.
        // A list that names the version just refused would lead in a circle.
        let listed = Self::decode(&mut Decoder::new(body), 0).ok().and_then(|response| {
            response
                .api_keys
                .iter()
                .find(|api| api.api_key == ApiKey::ApiVersions as i16)
                .map(|api| api.max_version)
        });
        let version = listed.filter(|version| (0..asked).contains(version)).unwrap_or(0);
        Ok(ApiVersionsAnswer::AskAgain { version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoder;

    fn refusal(api_keys: Vec<ApiVersion>) -> Vec<u8> {
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION,
            api_keys,
            ..Default::default()
        };
        let mut out = Encoder::new();
        response.encode(&mut out, 0).expect("version 0 can carry it");
        out.into_parts().0
    }

    fn own(max_version: i16) -> ApiVersion {
        ApiVersion { api_key: 18, min_version: 0, max_version, ..Default::default() }
    }

    #[test]
    fn the_answer_to_an_unknown_version_has_one_entry_in_version_0() {
        // G3
        let mut out = Encoder::new();
        ApiVersionsResponse::unsupported().encode(&mut out, 0).expect("version 0 can carry it");
        assert_eq!(out.bytes(), [0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    }

    #[test]
    fn a_refused_version_leads_to_the_highest_that_the_broker_lists() {
        // VER-2
        let other = ApiVersion { api_key: 0, max_version: 9, ..Default::default() };
        let cases = [
            (refusal(vec![other.clone(), own(3)]), 3),
            (refusal(vec![]), 0),
            (refusal(vec![other]), 0),
            (vec![0, 35], 0),
            (vec![0, 35, 0xff, 0xff], 0),
            (refusal(vec![own(4)]), 0),
            (refusal(vec![own(-7)]), 0),
        ];
        for (body, version) in cases {
            assert_eq!(
                ApiVersionsResponse::decode_answer(&body, 4),
                Ok(ApiVersionsAnswer::AskAgain { version })
            );
        }
    }

    #[test]
    fn a_broker_that_refuses_version_0_is_not_asked_again() {
        // VER-2
        let answer = refusal(vec![]);
        let answer = ApiVersionsResponse::decode_answer(&answer, 0).expect("a whole response");
        assert!(matches!(answer, ApiVersionsAnswer::Versions(response) if response.error_code.is_error()));
    }
}
