//! The golden vectors: bytes as Apache Kafka 4.3.1 writes them.

mod common;

use common::{Vector, body_vectors, vectors};
use rohrpost_protocol::{
    ApiKey, Decoder, Encoder, HeaderError, Kind, Message, Request, RequestHeader, ResponseHeader,
    describe_body, for_each_api, frame,
    messages::{self, *},
    metadata_log::MetadataRecord,
    reencode_body,
};
use serde_json::Value;

#[test]
fn every_message_decodes_and_encodes_to_the_same_bytes() {
    let mut seen = std::collections::BTreeSet::new();
    for vector in body_vectors() {
        let bytes = vector.hex("hex");
        let again = reencode_body(vector.api as i16, vector.version, vector.kind, &bytes);
        assert_eq!(again.as_deref(), Ok(&bytes[..]), "{}", vector.id);
        seen.insert((vector.api, vector.kind as u8, vector.version));
    }
    // no version of any API was left out
    for api in ApiKey::ALL {
        for version in api.all_versions().iter() {
            for kind in [Kind::Request, Kind::Response] {
                assert!(seen.contains(&(*api, kind as u8, version)), "{api} {kind:?} {version}: no vector");
            }
        }
    }
}

#[test]
fn every_field_gets_the_value_that_kafka_wrote() {
    for vector in body_vectors() {
        let text = describe_body(vector.api as i16, vector.version, vector.kind, &vector.hex("hex"))
            .expect(&vector.id);
        let ours = common::debug_text::parse(&text);
        common::debug_text::assert_contains(&ours, &vector.json["fields"], &vector.id);
    }
}

#[test]
fn every_strict_prefix_of_a_message_is_an_error() {
    for vector in body_vectors() {
        let bytes = vector.hex("hex");
        for len in 0..bytes.len() {
            let prefix = reencode_body(vector.api as i16, vector.version, vector.kind, &bytes[..len]);
            assert!(prefix.is_err(), "{}: the first {len} of {} bytes", vector.id, bytes.len());
        }
    }
}

#[test]
fn a_message_of_defaults_is_what_kafka_makes_of_one() {
    let mut count = 0;
    for vector in body_vectors().filter(|v| v.id.ends_with("default")) {
        let bytes = encode_default(vector.api, vector.kind, vector.version);
        assert_eq!(bytes, vector.hex("hex"), "{}", vector.id);
        count += 1;
    }
    assert!(count > 20, "only {count} vectors of defaults");
}

#[test]
fn every_header_decodes_and_encodes_to_the_same_bytes() {
    for vector in vectors("headers.jsonl") {
        let (bytes, version) = (vector.hex("hex"), vector.number("headerVersion"));
        let mut input = Decoder::new(&bytes);
        let mut out = Encoder::new();
        let correlation_id = if vector.json["type"] == "request" {
            let header = RequestHeader::decode(&mut input, version).expect(&vector.id);
            assert_eq!(i64::from(header.api_key), vector.json["apiKey"], "{}", vector.id);
            assert_eq!(i64::from(header.api_version), vector.json["apiVersion"], "{}", vector.id);
            assert_eq!(header.client_id, vector.json["clientId"].as_str(), "{}", vector.id);
            header.encode(&mut out, version).expect(&vector.id);
            // the version of the header follows from what is asked for
            let (_, read) = RequestHeader::read(&mut Decoder::new(&bytes)).expect(&vector.id);
            assert_eq!(read, header, "{}", vector.id);
            header.correlation_id
        } else {
            let header = ResponseHeader::decode(&mut input, version).expect(&vector.id);
            header.encode(&mut out, version).expect(&vector.id);
            header.correlation_id
        };
        assert_eq!(i64::from(correlation_id), vector.json["correlationId"], "{}", vector.id);
        assert_eq!(input.finish(), Ok(()), "{}", vector.id);
        assert_eq!(out.bytes(), bytes, "{}", vector.id);
        for len in 0..bytes.len() {
            let mut prefix = Decoder::new(&bytes[..len]);
            let error = if vector.json["type"] == "request" {
                RequestHeader::decode(&mut prefix, version).is_err()
            } else {
                ResponseHeader::decode(&mut prefix, version).is_err()
            };
            assert!(error, "{}: the first {len} bytes", vector.id);
        }
    }
}

#[test]
fn every_frame_of_a_known_api_is_taken_apart_and_put_together_again() {
    let mut count = 0;
    for vector in vectors("frames.jsonl") {
        let Some(vector) = vector.of_known_api() else { continue };
        let bytes = vector.hex("hex");
        let size = bytes.len() - frame::SIZE_LEN;
        assert_eq!(frame::check(&bytes, size), Ok(frame::Progress::Complete(size)), "{}", vector.id);
        let mut input = Decoder::new(&bytes[frame::SIZE_LEN..]);
        let header_version: i16 = vector.number("headerVersion");
        let mut out = Encoder::new();
        match vector.kind {
            Kind::Request => {
                assert_eq!(
                    vector.api.request_header_version(vector.version),
                    header_version,
                    "{}",
                    vector.id
                );
                let header = if vector.api.versions().contains(vector.version) {
                    let (api, header) = RequestHeader::read(&mut input).expect(&vector.id);
                    assert_eq!(api, vector.api, "{}", vector.id);
                    header
                } else {
                    // not in force: a broker does not even look at it
                    let refused = RequestHeader::read(&mut Decoder::new(input.rest()));
                    assert!(matches!(refused, Err(HeaderError::UnsupportedVersion { .. })), "{}", vector.id);
                    RequestHeader::decode(&mut input, header_version).expect(&vector.id)
                };
                assert_eq!(header.api_version, vector.version, "{}", vector.id);
                assert_eq!(header.client_id, vector.json["clientId"].as_str(), "{}", vector.id);
                header.encode(&mut out, header_version).expect(&vector.id);
            }
            Kind::Response => {
                assert_eq!(
                    vector.api.response_header_version(vector.version),
                    header_version,
                    "{}",
                    vector.id
                );
                let header = ResponseHeader::decode(&mut input, header_version).expect(&vector.id);
                assert_eq!(i64::from(header.correlation_id), vector.json["correlationId"], "{}", vector.id);
                header.encode(&mut out, header_version).expect(&vector.id);
            }
        }
        let body =
            reencode_body(vector.api as i16, vector.version, vector.kind, input.rest()).expect(&vector.id);
        assert_eq!([out.bytes(), &body].concat(), bytes[frame::SIZE_LEN..], "{}", vector.id);
        count += 1;
    }
    assert!(count >= 15, "only {count} frames");
}

#[test]
fn a_whole_frame_is_encoded_in_one_go() {
    let mut checked = 0;
    for vector in vectors("frames.jsonl").into_iter().filter_map(Vector::of_known_api) {
        let bytes = vector.hex("hex");
        let correlation_id = vector.number("correlationId");
        let mut input = Decoder::new(&bytes[4..]);
        let frame = match (vector.api, vector.kind) {
            (ApiKey::Produce, Kind::Request) => {
                RequestHeader::read(&mut input).expect(&vector.id);
                let body = ProduceRequest::decode(&mut input, vector.version).expect(&vector.id);
                let client_id = vector.json["clientId"].as_str();
                rohrpost_protocol::encode_request(&body, vector.version, correlation_id, client_id)
            }
            (ApiKey::Fetch, Kind::Response) => {
                ResponseHeader::decode(&mut input, 1).expect(&vector.id);
                let body = FetchResponse::decode(&mut input, vector.version).expect(&vector.id);
                rohrpost_protocol::encode_response(&body, vector.version, correlation_id)
            }
            (ApiKey::ApiVersions, Kind::Response) => {
                ResponseHeader::decode(&mut input, 0).expect(&vector.id);
                let body = ApiVersionsResponse::decode(&mut input, vector.version).expect(&vector.id);
                rohrpost_protocol::encode_response(&body, vector.version, correlation_id)
            }
            _ => continue,
        };
        assert_eq!(frame.expect(&vector.id).bytes(), bytes, "{}", vector.id);
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} frames");
}

#[test]
fn every_metadata_record_decodes_and_encodes_to_the_same_bytes() {
    let mut types = std::collections::BTreeSet::new();
    for vector in vectors("metadata_records.jsonl") {
        let value = vector.hex("value");
        let (record, version) = MetadataRecord::decode_value(&value).expect(&vector.id);
        assert_eq!(record.name(), vector.json["record"].as_str().expect("a name"), "{}", vector.id);
        assert_eq!(i64::from(record.record_type()), vector.json["apiKey"], "{}", vector.id);
        assert_eq!(i64::from(version), vector.json["version"], "{}", vector.id);
        assert_eq!(record.encode_value(version).as_deref(), Ok(&value[..]), "{}", vector.id);
        let ours = common::debug_text::parse(&format!("{record:#?}"));
        common::debug_text::assert_contains(&ours, &vector.json["fields"], &vector.id);
        for len in 0..value.len() {
            assert!(
                MetadataRecord::decode_value(&value[..len]).is_err(),
                "{}: the first {len} bytes",
                vector.id
            );
        }
        types.insert(record.record_type());
    }
    assert_eq!(types.len(), 26);
    assert!(types.iter().all(|number| MetadataRecord::of_type(*number).is_some()));
}

#[test]
fn what_is_no_message_is_refused() {
    let mut refused = 0;
    for vector in vectors("invalid_messages.jsonl") {
        let vector = vector.of_known_api().expect("all of these are known");
        let result = reencode_body(vector.api as i16, vector.version, vector.kind, &vector.hex("hex"));
        if vector.id.ends_with("plain") {
            assert!(result.is_ok(), "{}: {result:?}", vector.id);
        } else {
            // a length of -2 passes for null in Kafka; no client sends it
            assert!(result.is_err(), "{}: {}", vector.id, vector.json["reason"]);
            refused += 1;
        }
    }
    assert_eq!(refused, 49);
}

/// A message as it comes from `Default`.
#[allow(elided_lifetimes_in_paths)] // whether a message borrows makes no difference here
fn encode_default(api: ApiKey, kind: Kind, version: i16) -> Vec<u8> {
    fn default_of<'a, M: Message<'a> + Default>(version: i16) -> Vec<u8> {
        let mut out = Encoder::new();
        M::default().encode(&mut out, version).expect("defaults stand in every version");
        out.into_parts().0
    }
    macro_rules! by_api {
        ($($module:ident: $request:ident,)*) => {
            match kind {
                $(Kind::Request if api == messages::$request::API_KEY => default_of::<messages::$request>(version),
                Kind::Response if api == messages::$request::API_KEY =>
                    default_of::<<messages::$request as Request>::Response<'static>>(version),)*
                _ => panic!("{api} is not in the list"),
            }
        };
    }
    for_each_api!(by_api)
}

/// Anything else than an object would be a mistake in the vectors.
#[test]
fn the_vectors_are_there() {
    assert!(body_vectors().all(|v| matches!(v.json["fields"], Value::Object(_))));
    assert!(body_vectors().count() > 200);
}
