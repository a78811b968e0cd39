//! The question that opens every connection: which versions of which APIs does this broker serve (CON-6, VER-2)?

use rohrpost_protocol::messages::{ApiVersionsAnswer, ApiVersionsRequest, ApiVersionsResponse};
use rohrpost_protocol::{ApiKey, ApiVersionRanges, EncodeError, ErrorCode, encode_request};

use crate::{Disconnect, NetConfig, ProtocolError};

/// VER-2: the first attempt is made with the highest version this client has.
pub(crate) fn first_version() -> i16 {
    ApiKey::ApiVersions.versions().max
}

/// The frame that asks in `version`.
pub(crate) fn request(config: &NetConfig, version: i16, correlation_id: i32) -> Result<Vec<u8>, EncodeError> {
    let body = ApiVersionsRequest {
        client_software_name: &config.client_software_name,
        client_software_version: &config.client_software_version,
        ..Default::default()
    };
    let frame = encode_request(&body, version, correlation_id, config.client_id.as_deref())?;
    let (bytes, gaps) = frame.into_parts();
    debug_assert!(gaps.is_empty(), "ApiVersions carries no record bytes");
    Ok(bytes)
}

/// What an answer means.
pub(crate) enum Answer {
    /// The broker's versions.
    Versions(ApiVersionRanges),
    /// Ask again in this version, which is lower than the one before.
    AskAgain(i16),
    /// The connection is of no use.
    Fail(Disconnect),
}

/// Reads the body of an answer to a question asked in version `asked`.
pub(crate) fn answer(body: &[u8], asked: i16) -> Answer {
    match ApiVersionsResponse::decode_answer(body, asked) {
        Ok(ApiVersionsAnswer::AskAgain { version }) => Answer::AskAgain(version),
        // VER-2: any other error ends the connection.
        Ok(ApiVersionsAnswer::Versions(response)) => match response.error_code {
            ErrorCode::NONE => Answer::Versions(ApiVersionRanges::from_response(&response)),
            ErrorCode::UNSUPPORTED_VERSION => Answer::Fail(Disconnect::UnsupportedVersion),
            other => Answer::Fail(Disconnect::Protocol(ProtocolError::ApiVersionsRefused(other))),
        },
        Err(e) => Answer::Fail(Disconnect::Protocol(ProtocolError::ApiVersions(e.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frame of a vector that Kafka's own classes wrote.
    fn vector(id: &str) -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/frames.jsonl");
        let vectors = std::fs::read_to_string(path).unwrap();
        let line = vectors.lines().find(|line| line.contains(&format!("\"id\":\"{id}\""))).unwrap();
        let (_, hex) = line.split_once("\"hex\":\"").unwrap();
        hex.split_once('"').unwrap().0.to_owned()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_question_is_written_as_kafka_writes_it() {
        let config = NetConfig {
            client_id: Some("rohrpost".into()),
            client_software_name: "clientsoftwarename-5e".into(),
            client_software_version: "clientsoftwareversion-7218".into(),
            ..NetConfig::default()
        };
        assert_eq!(hex(&request(&config, 0, 1001).unwrap()), vector("ApiVersionsRequest v0 frame"));
        assert_eq!(hex(&request(&config, 4, 1003).unwrap()), vector("ApiVersionsRequest v4 frame"));
    }
}
