//! Target: request and response bodies of every API in every version, headers, tagged fields, metadata-log records.
//!
//! Input: what (request body, response body, request with its header, response header, metadata record, answer to
//! ApiVersions), API key, version, bytes.

use rohrpost_protocol::metadata_log::MetadataRecord;
use rohrpost_protocol::{
    Decoder, Encoder, Kind, Message, RequestHeader, ResponseHeader, describe_body,
    messages::ApiVersionsResponse, reencode_body,
};

use crate::input::Input;
use crate::memory::{usual, within};
use crate::vectors::{SEED_BYTES_MAX, bytes, cases};

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const WHOLE_REQUEST: u8 = 2;
const RESPONSE_HEADER: u8 = 3;
const METADATA_RECORD: u8 = 4;
const API_VERSIONS_ANSWER: u8 = 5;

/// See the module.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let what = input.byte() % 6;
    let (api, version) = (i16::from(input.byte()), i16::from(input.byte()));
    let bytes = input.rest();
    match what {
        REQUEST => body(api, version, Kind::Request, bytes),
        RESPONSE => body(api, version, Kind::Response, bytes),
        WHOLE_REQUEST => whole_request(bytes),
        RESPONSE_HEADER => response_header(version & 1, bytes),
        METADATA_RECORD => metadata_record(bytes),
        _ => {
            let answer = within(usual(bytes.len()), || ApiVersionsResponse::decode_answer(bytes, version));
            if let Err(error) = answer {
                let _ = error.to_string();
            }
        }
    }
}

/// See the module.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let kind = |case: &serde_json::Value| if case["type"] == "response" { RESPONSE } else { REQUEST };
    let number = |case: &serde_json::Value, field: &str| case[field].as_i64().unwrap_or(0) as u8;
    for file in ["messages.jsonl", "invalid_messages.jsonl"] {
        for case in cases(file) {
            let head = [kind(&case), number(&case, "apiKey"), number(&case, "version")];
            seeds.push([&head[..], &bytes(&case, "hex")].concat());
            if case["api"] == "ApiVersions" && case["type"] == "response" {
                seeds.push([&[API_VERSIONS_ANSWER, 18, head[2]][..], &bytes(&case, "hex")].concat());
            }
        }
    }
    for case in cases("frames.jsonl").iter().filter(|case| case["type"] == "request") {
        seeds.push([&[WHOLE_REQUEST, 0, 0][..], &bytes(case, "hex")[4..]].concat());
    }
    for case in cases("headers.jsonl") {
        let what = if case["type"] == "response" { RESPONSE_HEADER } else { WHOLE_REQUEST };
        seeds.push([&[what, 0, number(&case, "headerVersion")][..], &bytes(&case, "hex")].concat());
    }
    for case in cases("metadata_records.jsonl") {
        seeds.push([&[METADATA_RECORD, 0, 0][..], &bytes(&case, "value")].concat());
    }
    seeds.retain(|seed| seed.len() <= SEED_BYTES_MAX);
    seeds
}

/// What is accepted can be written; that is not longer, and is written in the same way again.
fn body(api: i16, version: i16, kind: Kind, bytes: &[u8]) {
    match within(usual(bytes.len()), || reencode_body(api, version, kind, bytes)) {
        Err(error) => drop(error.to_string()),
        Ok(again) => {
            assert!(again.len() <= bytes.len(), "a message grew");
            assert_eq!(reencode_body(api, version, kind, &again).as_ref(), Ok(&again));
            let text = describe_body(api, version, kind, bytes).expect("what can be written can be shown");
            assert_eq!(describe_body(api, version, kind, &again), Ok(text));
        }
    }
}

fn whole_request(bytes: &[u8]) {
    let mut input = Decoder::new(bytes);
    match within(usual(bytes.len()), || RequestHeader::read(&mut input)) {
        Err(error) => drop(error.to_string()),
        Ok((api, header)) => {
            let version = api.request_header_version(header.api_version);
            assert!(header.client_name().len() <= bytes.len());
            let mut out = Encoder::new();
            header.encode(&mut out, version).expect("what was read can be written");
            let (again, _) = out.into_parts();
            // client_id is nullable in every version that is read; unknown tags are skipped unless they are kept
            let read = RequestHeader::decode(&mut Decoder::new(&again), version).expect("and read again");
            assert_eq!(read, header);
            body(api as i16, header.api_version, Kind::Request, input.rest());
        }
    }
}

fn response_header(version: i16, bytes: &[u8]) {
    let mut input = Decoder::new(bytes).keep_unknown_tags(true);
    if let Ok(header) = within(usual(bytes.len()), || ResponseHeader::decode(&mut input, version)) {
        let mut out = Encoder::new();
        header.encode(&mut out, version).expect("what was read can be written");
        let (again, _) = out.into_parts();
        assert!(again.len() <= input.position());
        let mut input = Decoder::new(&again).keep_unknown_tags(true);
        assert_eq!(ResponseHeader::decode(&mut input, version), Ok(header));
    }
}

fn metadata_record(bytes: &[u8]) {
    match within(usual(bytes.len()), || MetadataRecord::decode_value(bytes)) {
        Err(error) => drop(error.to_string()),
        Ok((record, version)) => {
            let again = record.encode_value(version).expect("what was read can be written");
            assert_eq!(MetadataRecord::decode_value(&again), Ok((record, version)));
        }
    }
}
