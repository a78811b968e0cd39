//! ApiVersions (18): what is served here, in which versions (G3 to G6). The first request of every client.

use rohrpost_protocol::messages::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use rohrpost_protocol::{ApiKey, Decoder, ErrorCode, Message, VersionRange};

use super::{Context, Mode, Outcome, SERVED, read, respond};
use crate::metadata::MetadataImage;

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    // G3: a version from the future gets an answer that every client can read, and the connection stays
    if !ApiVersionsRequest::VERSIONS.contains(version) {
        let own = ApiVersion {
            api_key: ApiKey::ApiVersions as i16,
            min_version: 0,
            max_version: ApiVersionsRequest::VERSIONS.max,
            ..Default::default()
        };
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION,
            api_keys: vec![own],
            ..Default::default()
        };
        return respond(&response, 0, correlation_id);
    }
    let request: ApiVersionsRequest<'_> = read(input, version)?;
    let error_code = match mode {
        Mode::Refuse(code) => code,
        Mode::Serve if version >= 3 && !is_valid(&request) => ErrorCode::INVALID_REQUEST, // G4
        Mode::Serve => ErrorCode::NONE,
    };
    if error_code.is_error() {
        return respond(&ApiVersionsResponse { error_code, ..Default::default() }, version, correlation_id);
    }
    let image = broker.metadata().image();
    respond(&served(&image, |_, range| range), version, correlation_id)
}

/// What is served here: [`SERVED`] with the ranges that `limit` makes of it, and the features in force.
pub fn served(
    image: &MetadataImage,
    limit: impl Fn(ApiKey, VersionRange) -> VersionRange,
) -> ApiVersionsResponse<'_> {
    let features =
        || image.features.iter().map(|(name, level)| (name.as_str(), *level)).filter(|(_, level)| *level > 0);
    ApiVersionsResponse {
        api_keys: SERVED.iter().map(|(api, range)| advertised(*api, limit(*api, *range))).collect(),
        // G6: what is implemented is exactly what is in force; nobody can raise or lower a level yet
        supported_features: features()
            .map(|(name, level)| SupportedFeatureKey {
                name,
                min_version: level,
                max_version: level,
                ..Default::default()
            })
            .collect(),
        finalized_features_epoch: image.offset,
        finalized_features: features()
            .map(|(name, level)| FinalizedFeatureKey {
                name,
                max_version_level: level,
                min_version_level: level,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn advertised(api: ApiKey, range: VersionRange) -> ApiVersion {
    // G5: old librdkafka looks at the low end of Produce; versions 0 to 2 close the connection all the same
    let min_version = if api == ApiKey::Produce { 0 } else { range.min };
    ApiVersion { api_key: api as i16, min_version, max_version: range.max, ..Default::default() }
}

/// G4: `[a-zA-Z0-9]([a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
pub fn is_valid(request: &ApiVersionsRequest<'_>) -> bool {
    [request.client_software_name, request.client_software_version].iter().all(|text| {
        let bytes = text.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
        first.is_ascii_alphanumeric()
            && last.is_ascii_alphanumeric()
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_letters_and_digits_with_dots_and_dashes_inside() {
        // G4
        let check = |name, version| {
            is_valid(&ApiVersionsRequest {
                client_software_name: name,
                client_software_version: version,
                ..Default::default()
            })
        };
        assert!(check("rohrpost", "0.1.0"));
        assert!(check("a", "1"));
        assert!(check("apache-kafka-java", "4.3.1"));
        for bad in ["", "-a", "a-", ".", "a b", "ä", "a_b"] {
            assert!(!check(bad, "1"), "{bad:?} as a name");
            assert!(!check("a", bad), "{bad:?} as a version");
        }
    }
}
