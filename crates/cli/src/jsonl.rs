//! Records as JSON, one object a line: read by `produce --format jsonl` and `--retry-file`, written by
//! `consume --format jsonl` and, in the same form, by the producer's failed-records file (`--error-file`, SEND-2).
//!
//! Text fields (`key`, `value`) hold UTF-8; their twins `key_base64`, `value_base64` hold any bytes. A `value` that is
//! no string is its own JSON text, so `{"value":{"id":1}}` sends `{"id":1}`. `null` is an absent key or value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A record as a line holds it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct JsonRecord {
    pub(crate) topic: Option<String>,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    /// Only in an error file: `not_written` or `unknown`.
    pub(crate) outcome: Option<String>,
}

/// Reads one line. The error says what is wrong with it.
pub(crate) fn parse(line: &[u8]) -> Result<JsonRecord, String> {
    let raw: RawLine<'_> = serde_json::from_slice(line).map_err(|error| in_words(&error))?;
    let key = one_of("key", raw.key, raw.key_base64)?.flatten();
    let Some(value) = one_of("value", raw.value, raw.value_base64)? else {
        return Err("no value: write \"value\":null for a record without one".to_owned());
    };
    let headers = raw
        .headers
        .into_iter()
        .map(|header| {
            let value = one_of("header value", header.value, header.value_base64)?;
            Ok((header.key, value.flatten()))
        })
        .collect::<Result<_, String>>()?;
    if raw.partition.is_some_and(|partition| partition < 0) {
        return Err("partition is negative".to_owned());
    }
    if raw.timestamp.is_some_and(|timestamp| timestamp < 0) {
        return Err("timestamp is negative".to_owned());
    }
    Ok(JsonRecord {
        topic: raw.topic,
        key,
        value,
        headers,
        partition: raw.partition,
        timestamp: raw.timestamp,
        outcome: raw.outcome,
    })
}

/// What serde says, without its line: the line of the file is told by the caller.
fn in_words(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let what = told.rsplit_once(" at line ").map_or(told.as_str(), |(what, _)| what);
    match (error.is_data(), error.column()) {
        (true, _) | (false, 0) => what.to_owned(),
        (false, column) => format!("no JSON at column {column}: {what}"),
    }
}

/// A record that was read, as `consume` prints it: text where it is text.
#[derive(Debug, Serialize)]
pub(crate) struct ConsumedLine<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    #[serde(flatten)]
    pub(crate) key: KeyField<'a>,
    #[serde(flatten)]
    pub(crate) value: ValueField<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<HeaderLine<'a>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct HeaderLine<'a> {
    pub(crate) key: &'a str,
    #[serde(flatten)]
    pub(crate) value: ValueField<'a>,
}

#[derive(Debug, Serialize)]
pub(crate) enum KeyField<'a> {
    #[serde(rename = "key")]
    Text(Option<&'a str>),
    #[serde(rename = "key_base64")]
    Bytes(String),
}

#[derive(Debug, Serialize)]
pub(crate) enum ValueField<'a> {
    #[serde(rename = "value")]
    Text(Option<&'a str>),
    #[serde(rename = "value_base64")]
    Bytes(String),
}

impl<'a> KeyField<'a> {
    pub(crate) fn of(key: Option<&'a [u8]>) -> KeyField<'a> {
        match key.map(std::str::from_utf8) {
            None => KeyField::Text(None),
            Some(Ok(text)) => KeyField::Text(Some(text)),
            Some(Err(_)) => KeyField::Bytes(base64(key.unwrap_or_default())),
        }
    }
}

impl<'a> ValueField<'a> {
    pub(crate) fn of(value: Option<&'a [u8]>) -> ValueField<'a> {
        match value.map(std::str::from_utf8) {
            None => ValueField::Text(None),
            Some(Ok(text)) => ValueField::Text(Some(text)),
            Some(Err(_)) => ValueField::Bytes(base64(value.unwrap_or_default())),
        }
    }
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A line as serde sees it. Fields that only describe what became of a record are read and put aside.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLine<'a> {
    topic: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    key: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present_text")]
    key_base64: Option<Option<String>>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present_text")]
    value_base64: Option<Option<String>>,
    #[serde(borrow, default)]
    headers: Vec<RawHeader<'a>>,
    partition: Option<i32>,
    timestamp: Option<i64>,
    outcome: Option<String>,
    #[serde(default, rename = "offset")]
    _offset: Option<i64>,
    #[serde(default, rename = "error")]
    _error: Option<String>,
    #[serde(default, rename = "reason")]
    _reason: Option<String>,
    #[serde(default, rename = "attempts")]
    _attempts: Option<u64>,
    #[serde(default, rename = "age_ms")]
    _age_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader<'a> {
    key: String,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present_text")]
    value_base64: Option<Option<String>>,
}

/// Tells `null` (present, absent value) from a missing field.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn present_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// The bytes of a field or of its base64 twin: `None` if neither is there, `Some(None)` for null.
fn one_of(
    name: &str,
    text: Option<&RawValue>,
    encoded: Option<Option<String>>,
) -> Result<Option<Option<Bytes>>, String> {
    match (text, encoded) {
        (Some(_), Some(_)) => Err(format!("both {name} and its base64 form are given")),
        (None, None) => Ok(None),
        (Some(raw), None) => match raw.get() {
            "null" => Ok(Some(None)),
            json if json.starts_with('"') => {
                let text: String = serde_json::from_str(json).map_err(|error| error.to_string())?;
                Ok(Some(Some(Bytes::from(text))))
            }
            json => Ok(Some(Some(Bytes::copy_from_slice(json.as_bytes())))),
        },
        (None, Some(None)) => Ok(Some(None)),
        (None, Some(Some(encoded))) => STANDARD
            .decode(encoded)
            .map(|bytes| Some(Some(Bytes::from(bytes))))
            .map_err(|error| format!("{name}_base64: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(line: &str) -> Option<Bytes> {
        parse(line.as_bytes()).unwrap().value
    }

    #[test]
    fn a_string_is_its_text_and_anything_else_its_json() {
        assert_eq!(value_of(r#"{"value":"a\n\"b"}"#), Some(Bytes::from("a\n\"b")));
        assert_eq!(value_of(r#"{"value":{"b":1, "a":2}}"#), Some(Bytes::from(r#"{"b":1, "a":2}"#)));
        assert_eq!(value_of(r#"{"value":1.50}"#), Some(Bytes::from("1.50")));
        assert_eq!(value_of(r#"{"value":""}"#), Some(Bytes::new()));
        assert_eq!(value_of(r#"{"value":null}"#), None);
        assert_eq!(value_of(r#"{"value_base64":"/wA="}"#), Some(Bytes::from_static(b"\xff\0")));
        assert_eq!(value_of(r#"{"value_base64":null}"#), None);
    }

    #[test]
    fn a_line_that_cannot_be_meant_is_refused_with_the_reason() {
        for (line, reason) in [
            (r#"{"key":"a"}"#, "no value"),
            (r#"{"value":"a","value_base64":"YQ=="}"#, "both value"),
            (r#"{"value":"a","vaule":"b"}"#, "unknown field `vaule`"),
            (r#"{"value":"a","partition":-1}"#, "partition is negative"),
            (r#"{"value":"a","timestamp":-5}"#, "timestamp is negative"),
            (r#"{"value_base64":"?"}"#, "value_base64"),
            ("nonsense", "expected"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn what_consume_prints_produce_reads() {
        let line = ConsumedLine {
            topic: "t",
            partition: 3,
            offset: 9,
            timestamp: 1_750_000_000_000,
            key: KeyField::of(Some(b"\xff")),
            value: ValueField::of(Some("v\u{e9}".as_bytes())),
            headers: vec![
                HeaderLine { key: "h", value: ValueField::of(Some(b"x")) },
                HeaderLine { key: "h", value: ValueField::of(None) },
            ],
        };
        let record = parse(&serde_json::to_vec(&line).unwrap()).unwrap();
        assert_eq!(record.key, Some(Bytes::from_static(b"\xff")));
        assert_eq!(record.value, Some(Bytes::from("v\u{e9}")));
        assert_eq!(record.headers, vec![("h".to_owned(), Some(Bytes::from("x"))), ("h".to_owned(), None)]);
        assert_eq!((record.partition, record.timestamp), (Some(3), Some(1_750_000_000_000)));
    }
}
