//! Reads the golden vectors.

#![allow(dead_code)] // each test file uses a part

pub(crate) mod debug_text;

use rohrpost_protocol::{ApiKey, Kind};
use serde_json::Value;

/// One line of a vector file.
pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) api: ApiKey,
    pub(crate) kind: Kind,
    pub(crate) version: i16,
    pub(crate) json: Value,
}

impl Vector {
    pub(crate) fn hex(&self, key: &str) -> Vec<u8> {
        let text = self.json[key].as_str().unwrap_or_else(|| panic!("{}: no bytes under {key}", self.id));
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
            .collect()
    }

    pub(crate) fn number<T: TryFrom<i64>>(&self, key: &str) -> T {
        let number = self.json[key].as_i64().unwrap_or_else(|| panic!("{}: no number under {key}", self.id));
        T::try_from(number).unwrap_or_else(|_| panic!("{}: {key} is out of range", self.id))
    }

    /// Only if this crate has the API's messages.
    pub(crate) fn of_known_api(self) -> Option<Self> {
        (!self.api.all_versions().is_empty()).then_some(self)
    }
}

/// All lines of a file.
pub(crate) fn vectors(file: &str) -> Vec<Vector> {
    let path = format!("{}/../../vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let json: Value = serde_json::from_str(line).expect("a JSON object");
            let key = |name: &str| json[name].as_i64().and_then(|n| i16::try_from(n).ok());
            let api = key("apiKey").and_then(ApiKey::from_i16).unwrap_or(ApiKey::ApiVersions);
            let kind = if json["type"] == "response" { Kind::Response } else { Kind::Request };
            let id = format!("{file}: {}", json["id"].as_str().expect("an id"));
            Vector { id, api, kind, version: key("version").unwrap_or(0), json }
        })
        .collect()
}

/// The bodies of all APIs that this crate has.
pub(crate) fn body_vectors() -> impl Iterator<Item = Vector> {
    ["messages.jsonl", "messages_other.jsonl"].into_iter().flat_map(vectors).filter_map(Vector::of_known_api)
}
