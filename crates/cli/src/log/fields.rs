//! A metadata record as JSON, with Kafka's names for its fields.
//!
//! The records are plain structs, and the text of a derived `Debug` is a small language of structs, lists, options,
//! strings and numbers. Reading that text needs no list of the records; a text that is none of it stays a string.

use std::fmt;

use serde_json::Number;

/// JSON whose fields stay in the order of the struct. Displayed, it is JSON text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    /// A number, a string, true, false or null, as JSON text.
    Plain(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn text(text: &str) -> Json {
        // every string has a JSON form
        Json::Plain(serde_json::to_string(text).unwrap_or_default())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Plain(text) => f.write_str(text),
            Json::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "[" } else { "," })?;
                }
                f.write_str(if items.is_empty() { "[]" } else { "]" })
            }
            Json::Object(fields) => {
                for (at, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{}:{value}", if at == 0 { "{" } else { "," }, Json::text(name))?;
                }
                f.write_str(if fields.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

/// The JSON of a `{:?}` text.
pub(super) fn json_of(debug: &str) -> Json {
    let mut parser = Parser { rest: debug };
    match parser.value() {
        Some(value) if parser.rest.trim().is_empty() => value,
        _ => Json::text(debug),
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn value(&mut self) -> Option<Json> {
        self.rest = self.rest.trim_start();
        if self.eat('"') {
            return self.text().map(|text| Json::text(&text));
        }
        if self.eat('[') {
            let mut items = Vec::new();
            while !self.eat(']') {
                items.push(self.value()?);
                self.eat(',');
            }
            return Some(Json::List(items));
        }
        let end = self.rest.find([',', '(', '{', '}', ')', ']']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let word = word.trim();
        self.rest = rest;
        if self.eat('(') {
            // Some, and wrappers: only what is inside matters
            let inner = self.value()?;
            self.eat(',');
            return self.eat(')').then_some(inner);
        }
        if self.eat('{') {
            let mut fields = Vec::new();
            while !self.eat('}') {
                let (name, rest) = self.rest.split_once(':')?;
                let name = camel_case(name.trim());
                self.rest = rest;
                let value = self.value()?;
                self.eat(',');
                // what nobody knows is shown only where there is some
                let is_empty = matches!(&value, Json::Object(tags) if tags.is_empty());
                if name != "unknownTags" || !is_empty {
                    fields.push((name, value));
                }
            }
            return Some(Json::Object(fields));
        }
        Some(match word {
            "None" => Json::Plain("null".to_owned()),
            "true" | "false" => Json::Plain(word.to_owned()),
            "" => return None,
            word => number(word).map_or_else(|| Json::text(word), |number| Json::Plain(number.to_string())),
        })
    }

    /// Up to the closing quote, escapes undone.
    fn text(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, letter)) = chars.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => text.push(match chars.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '0' => '\0',
                    'u' => {
                        let hex: String =
                            chars.by_ref().map(|(_, c)| c).skip(1).take_while(|c| *c != '}').collect();
                        char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?
                    }
                    plain => plain,
                }),
                plain => text.push(plain),
            }
        }
        None
    }

    fn eat(&mut self, token: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

fn number(word: &str) -> Option<Number> {
    if let Ok(number) = word.parse::<i64>() {
        return Some(number.into());
    }
    if let Ok(number) = word.parse::<u64>() {
        return Some(number.into());
    }
    let looks_like_one = word.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'e' | b'+'));
    word.parse().ok().filter(|_| looks_like_one).and_then(Number::from_f64)
}

/// `topic_id` → `topicId`, as Kafka's message definitions have it.
fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut is_next_upper = false;
    for letter in name.chars() {
        match letter {
            '_' => is_next_upper = true,
            letter if std::mem::take(&mut is_next_upper) => out.extend(letter.to_uppercase()),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rohrpost_protocol::Uuid;
    use rohrpost_protocol::metadata_log::{ConfigRecord, PartitionRecord};
    use serde_json::{Value, json};

    use super::*;

    fn parsed(debug: &str) -> Value {
        serde_json::from_str(&json_of(debug).to_string()).unwrap()
    }

    #[test]
    fn records_are_read_from_their_debug_text() {
        let record = PartitionRecord {
            partition_id: 3,
            topic_id: Uuid([1; 16]),
            replicas: vec![1, 2],
            directories: vec![Uuid([2; 16])],
            last_known_elr: Some(vec![-1]),
            ..Default::default()
        };
        let value = parsed(&format!("{record:?}"));
        assert_eq!(value["partitionId"], json!(3));
        assert_eq!(value["topicId"], json!(Uuid([1; 16]).to_string()));
        assert_eq!(value["replicas"], json!([1, 2]));
        assert_eq!(value["directories"], json!([Uuid([2; 16]).to_string()]));
        assert_eq!(value["lastKnownElr"], json!([-1]));
        assert_eq!(value["eligibleLeaderReplicas"], Value::Null);
        assert_eq!(value.get("unknownTags"), None);
    }

    #[test]
    fn texts_come_back_as_they_are() {
        let text = "a\"b\\c\n\u{1b}[0m, {x: 1} \u{fc}";
        let record = ConfigRecord { name: text, value: Some(text), ..Default::default() };
        let value = parsed(&format!("{record:?}"));
        assert_eq!(value["name"], json!(text));
        assert_eq!(value["value"], json!(text));
    }

    #[test]
    fn what_is_no_debug_text_stays_a_text() {
        for text in ["", "[1", "A { b 3 }", "\"open"] {
            assert_eq!(parsed(text), Value::String(text.to_owned()));
        }
    }
}
