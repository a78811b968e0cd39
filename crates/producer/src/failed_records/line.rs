//! One failed record as a line of JSON, the form that `rohrpost produce --retry-file` reads.

use std::fmt::Write;

use super::FailedRecord;
use crate::outcome::Outcome;
use crate::record::Record;

/// What a line says.
pub(super) struct Line<'a, H> {
    pub(super) topic: Option<&'a str>,
    pub(super) partition: Option<i32>,
    pub(super) timestamp: Option<i64>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: H,
    pub(super) error: &'a str,
    pub(super) reason: &'a str,
    pub(super) outcome: Outcome,
    pub(super) attempts: u32,
    pub(super) age_ms: u64,
}

impl<'a, H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)>> Line<'a, H> {
    /// Appends the line, its newline included.
    pub(super) fn write(self, out: &mut String) {
        out.push_str("{\"topic\":");
        match self.topic {
            Some(topic) => text(out, topic),
            None => out.push_str("null"),
        }
        // Writing to a string cannot fail.
        let _ = match self.partition {
            Some(partition) => write!(out, ",\"partition\":{partition}"),
            None => write!(out, ",\"partition\":null"),
        };
        let _ = match self.timestamp {
            Some(timestamp) => write!(out, ",\"timestamp\":{timestamp}"),
            None => write!(out, ",\"timestamp\":null"),
        };
        out.push_str(",\"key_base64\":");
        base64(out, self.key);
        out.push_str(",\"value_base64\":");
        base64(out, self.value);
        let mut opens = ",\"headers\":[";
        for (key, value) in self.headers {
            out.push_str(opens);
            opens = ",";
            out.push_str("{\"key\":");
            text(out, &String::from_utf8_lossy(key));
            out.push_str(",\"value_base64\":");
            base64(out, value);
            out.push('}');
        }
        if opens == "," {
            out.push(']');
        }
        out.push_str(",\"error\":");
        text(out, self.error);
        out.push_str(",\"reason\":");
        text(out, self.reason);
        let outcome = match self.outcome {
            Outcome::NotWritten => "not_written",
            Outcome::Unknown => "unknown",
        };
        let (attempts, age_ms) = (self.attempts, self.age_ms);
        let _ = write!(out, ",\"outcome\":\"{outcome}\",\"attempts\":{attempts},\"age_ms\":{age_ms}}}");
        out.push('\n');
    }
}

impl FailedRecord {
    pub(super) fn write(&self, out: &mut String) {
        let record: &Record = &self.record;
        Line {
            topic: record.topic_name(),
            partition: record.partition_number(),
            timestamp: record.timestamp_ms(),
            key: record.key_bytes().map(|key| &key[..]),
            value: record.value_bytes().map(|value| &value[..]),
            headers: record
                .headers()
                .iter()
                .map(|header| (header.key().as_bytes(), header.value().map(|value| &value[..]))),
            error: &self.error,
            reason: &self.reason,
            outcome: self.outcome,
            attempts: self.attempts,
            age_ms: u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX),
        }
        .write(out);
    }
}

/// A JSON string.
fn text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0'..='\x1f' => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding, as a JSON string; `null` if there is nothing, which differs from empty (API-2).
fn base64(out: &mut String, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else { return out.push_str("null") };
    out.reserve(bytes.len().div_ceil(3) * 4 + 2);
    out.push('"');
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            // One byte makes two letters, two make three.
            if at <= group.len() {
                out.push(char::from(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line_of(failed: &FailedRecord) -> String {
        let mut line = String::new();
        failed.write(&mut line);
        line
    }

    // SEND-2
    #[test]
    fn a_line_has_all_that_is_needed_to_send_the_record_again_and_why_it_failed() {
        let record = Record::to("orders")
            .key("")
            .value(vec![0, 255, 7])
            .header("a\"\\\u{1}ö", "x")
            .null_header("a")
            .partition(3)
            .unwrap()
            .timestamp(17)
            .unwrap();
        let failed = FailedRecord {
            outcome: Outcome::Unknown,
            attempts: 2,
            age: Duration::from_millis(1500),
            ..FailedRecord::new(record, "REQUEST_TIMED_OUT", "no answer\nat all")
        };
        assert_eq!(
            line_of(&failed),
            concat!(
                r#"{"topic":"orders","partition":3,"timestamp":17,"key_base64":"","value_base64":"AP8H","#,
                r#""headers":[{"key":"a\"\\\u0001ö","value_base64":"eA=="},{"key":"a","value_base64":null}],"#,
                r#""error":"REQUEST_TIMED_OUT","reason":"no answer\u000aat all","outcome":"unknown","#,
                r#""attempts":2,"age_ms":1500}"#,
                "\n"
            )
        );
        let failed = FailedRecord::new(Record::tombstone(), "RECORD_TOO_LARGE", "too large");
        assert_eq!(
            line_of(&failed),
            concat!(
                r#"{"topic":null,"partition":null,"timestamp":null,"key_base64":null,"value_base64":null,"#,
                r#""error":"RECORD_TOO_LARGE","reason":"too large","outcome":"not_written","attempts":0,"age_ms":0}"#,
                "\n"
            )
        );
    }

    #[test]
    fn base64_is_what_everybody_else_calls_it() {
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = String::new();
            base64(&mut out, Some(bytes.as_bytes()));
            assert_eq!(out, format!("\"{expected}\""));
        }
    }
}
