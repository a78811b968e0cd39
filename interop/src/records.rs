//! Records as the foreign clients' tests see them: the sample that every client writes, and what was read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What a record says, without its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// `None` is Kafka's null.
    pub key: Option<Vec<u8>>,
    /// `None` is Kafka's null.
    pub value: Option<Vec<u8>>,
    /// In order; names may repeat, values may be null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// In milliseconds since 1970.
    pub timestamp: i64,
}

/// A record to write.
#[derive(Debug, Clone)]
pub struct ToWrite {
    /// What it says.
    pub content: Content,
    /// The caller's wish; without one the client chooses.
    pub partition: Option<i32>,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Where.
    pub partition: i32,
    /// Where in it.
    pub offset: i64,
    /// What.
    pub content: Content,
}

/// How much of a record's headers a client's own form of them can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderForm {
    /// All.
    List,
    /// A name and its values: the order among names is lost.
    Grouped,
    /// A name and one value, sorted by name; no nulls.
    Map,
    /// A text in which null and empty look alike.
    Text,
}

/// Records that a client may stumble over: keys of all kinds and none, null and empty values, all byte values, text beyond ASCII,
/// headers, a large value. Pairs of key and value are unique; times rise.
pub fn sample() -> Vec<ToWrite> {
    let mut records = Vec::new();
    for number in 0..32 {
        let headers: &[(&str, Option<&str>)] = match number % 8 {
            1 => &[("h", Some("one")), ("h", Some("two")), ("trace", Some("17"))],
            3 => &[("gr\u{f6}\u{df}e", Some("4 \u{b5}m"))],
            5 => &[("absent", None)],
            7 => &[("empty", Some(""))],
            _ => &[],
        };
        let key = format!("key-{}-\u{e9}", number % 13);
        add(&mut records, Some(key.as_bytes()), Some(format!("value {number}").as_bytes()), headers, None);
    }
    for partition in 0..3 {
        let value = format!("without a key, to partition {partition}");
        add(&mut records, None, Some(value.as_bytes()), &[], Some(partition));
    }
    for number in 0..3 {
        let value = format!("without a key, number {number}");
        add(&mut records, None, Some(value.as_bytes()), &[], None);
    }
    let all_bytes: Vec<u8> = (0..=255).collect();
    let large =
        (0..).map(|line| format!("line {line}: {}\n", line * 7919 % 1000)).take(100_000).collect::<String>();
    add(&mut records, Some(b"tombstone"), None, &[], None);
    add(&mut records, Some(b"empty value"), Some(b""), &[], None);
    add(&mut records, Some(b""), Some(b"under an empty key"), &[], None);
    add(&mut records, Some(b"\xff\xfe\x01 no text"), Some(&all_bytes), &[("bytes", Some("256"))], Some(1));
    add(
        &mut records,
        Some("\u{43c}\u{438}\u{440}".as_bytes()),
        Some("\u{4e16}\u{754c} \u{1f680}".as_bytes()),
        &[],
        None,
    );
    add(&mut records, Some(b"large"), Some(&large.as_bytes()[..900_000]), &[], None);
    add(&mut records, Some(b"last"), Some(b"after the large one"), &[], None);
    records
}

fn add(
    records: &mut Vec<ToWrite>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&str, Option<&str>)],
    partition: Option<i32>,
) {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.map(|value| value.as_bytes().to_vec())));
    let content = Content {
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: headers.collect(),
        timestamp: 1_750_000_000_000 + records.len() as i64 * 17,
    };
    records.push(ToWrite { content, partition });
}

impl Content {
    /// What is left of it when its headers went through such a form.
    #[must_use]
    pub fn through(mut self, form: HeaderForm) -> Content {
        match form {
            HeaderForm::List => {}
            HeaderForm::Grouped => self.headers.sort_by(|one, other| one.0.cmp(&other.0)),
            HeaderForm::Map => {
                let mut map = std::collections::BTreeMap::new();
                for (name, value) in self.headers.drain(..) {
                    map.insert(name, value);
                }
                self.headers =
                    map.into_iter().map(|(name, value)| (name, Some(value.unwrap_or_default()))).collect();
            }
            HeaderForm::Text => {
                for (_, value) in &mut self.headers {
                    *value = Some(value.take().unwrap_or_default());
                }
            }
        }
        self
    }

    /// Short enough to be printed.
    pub fn shown(&self) -> String {
        let cut = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().map(|bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned())
        };
        format!("{:?}: {:?} {:?} @{}", cut(&self.key), cut(&self.value), self.headers, self.timestamp)
    }
}

impl ToWrite {
    /// For a plan.
    pub fn to_plan(&self) -> Value {
        json!({
            "key": encode(self.content.key.as_deref()),
            "value": encode(self.content.value.as_deref()),
            "headers": self.content.headers.iter().map(|(name, value)| json!([name, encode(value.as_deref())])).collect::<Vec<_>>(),
            "timestamp": self.content.timestamp,
            "partition": self.partition,
        })
    }

    /// For `rohrpost produce --format jsonl`.
    pub fn to_line(&self) -> Value {
        let headers = self.content.headers.iter();
        let headers =
            headers.map(|(name, value)| json!({"key": name, "value_base64": encode(value.as_deref())}));
        json!({
            "key_base64": encode(self.content.key.as_deref()),
            "value_base64": encode(self.content.value.as_deref()),
            "headers": headers.collect::<Vec<_>>(),
            "timestamp": self.content.timestamp,
            "partition": self.partition,
        })
    }
}

impl Read {
    /// From a program's answer.
    pub fn from_answer(line: &Value) -> Read {
        let headers = line["headers"].as_array().expect("headers are an array").iter();
        Read {
            partition: line["partition"].as_i64().expect("a partition") as i32,
            offset: line["offset"].as_i64().expect("an offset"),
            content: Content {
                key: decode(&line["key"]),
                value: decode(&line["value"]),
                headers: headers.map(|header| (text(&header[0]), decode(&header[1]))).collect(),
                timestamp: line["timestamp"].as_i64().expect("a timestamp"),
            },
        }
    }

    /// From a line of `rohrpost consume --format jsonl`.
    pub fn from_line(line: &Value) -> Read {
        let bytes = |of: &Value, name: &str| match of.get(name) {
            Some(field) => field.as_str().map(|text| text.as_bytes().to_vec()),
            None => decode(&of[&format!("{name}_base64")]),
        };
        let headers = line["headers"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
        Read {
            partition: line["partition"].as_i64().expect("a partition") as i32,
            offset: line["offset"].as_i64().expect("an offset"),
            content: Content {
                key: bytes(line, "key"),
                value: bytes(line, "value"),
                headers: headers.map(|header| (text(&header["key"]), bytes(header, "value"))).collect(),
                timestamp: line["timestamp"].as_i64().expect("a timestamp"),
            },
        }
    }
}

fn encode(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| STANDARD.encode(bytes))
}

fn decode(text: &Value) -> Option<Vec<u8>> {
    text.as_str().map(|text| STANDARD.decode(text).expect("base64"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
