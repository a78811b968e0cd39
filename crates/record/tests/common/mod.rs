//! Reads the golden vectors.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;

use serde_json::Value;

/// The cases of one file in `vectors/`.
pub(crate) fn cases(file: &str) -> Vec<Value> {
    let path = format!("{}/../../vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.lines().map(|line| serde_json::from_str(line).expect("a vector is one JSON object")).collect()
}

/// The case with an id.
pub(crate) fn case(file: &str, id: &str) -> Value {
    cases(file).into_iter().find(|case| case["id"] == id).unwrap_or_else(|| panic!("{file} has no {id}"))
}

/// Bytes of a hex string.
pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
        .collect()
}

/// Bytes of a field: hex, a repeated unit, or null.
pub(crate) fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(hex) => Some(unhex(hex)),
        repeated => {
            let unit = unhex(repeated["repeat"].as_str().expect("repeat is hex"));
            Some(unit.repeat(repeated["times"].as_u64().expect("times is a number") as usize))
        }
    }
}

/// The bytes of `hex`.
pub(crate) fn hex_of(case: &Value) -> Vec<u8> {
    unhex(case["hex"].as_str().expect("hex is a string"))
}

/// The case's id.
pub(crate) fn id(case: &Value) -> &str {
    case["id"].as_str().expect("id is a string")
}

/// A signed number.
pub(crate) fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What Java made of a case at a station: `None` if it did not get there.
pub(crate) fn java<'v>(case: &'v Value, station: &str) -> Option<Result<&'v Value, &'v str>> {
    let outcome = case["java"].get(station)?;
    Some(match outcome.get("ok") {
        Some(ok) => Ok(ok),
        None => Err(outcome["error"].as_str().unwrap_or("an error that Kafka has no name for")),
    })
}

/// Whether this build reads zstd; the tests of a build without it leave those cases out.
pub(crate) const READS_ZSTD: bool = cfg!(any(feature = "zstd", feature = "zstd-rust"));

/// Whether this build reads a case of `batches.jsonl`.
pub(crate) fn is_readable(case: &Value) -> bool {
    READS_ZSTD || case["compression"] != "zstd"
}
