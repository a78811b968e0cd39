//! The golden vectors, for seeds.

use serde_json::Value;

/// The cases of one file in `vectors/`.
pub(crate) fn cases(file: &str) -> Vec<Value> {
    let path = format!("{}/../vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.lines().map(|line| serde_json::from_str(line).expect("a vector is one JSON object")).collect()
}

/// The bytes of a field that holds hex digits.
pub(crate) fn bytes(case: &Value, field: &str) -> Vec<u8> {
    let hex = case[field].as_str().unwrap_or_default();
    let digit = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex digits");
    (0..hex.len() / 2).map(|i| digit(2 * i)).collect()
}

/// Seeds larger than this slow the search down more than they help it.
pub(crate) const SEED_BYTES_MAX: usize = 4096;
