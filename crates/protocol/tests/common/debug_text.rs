//! Compares what was decoded with a vector's `fields`, field by field.
//!
//! Our structs are read through their `Debug` text, so that a test needs no list of them: the text of derived `Debug` is
//! a small language of structs, lists, options, strings and numbers.

use rohrpost_protocol::{ErrorCode, Uuid};
use serde_json::Value;

/// What stands in a `Debug` text.
#[derive(Debug)]
pub(crate) enum Node {
    Struct(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
    Word(String),
}

pub(crate) fn parse(text: &str) -> Node {
    let mut parser = Parser { rest: text };
    let node = parser.node();
    parser.space();
    assert!(parser.rest.is_empty(), "left over: {}", parser.rest);
    node
}

/// Asserts that each field of the vector has its value here.
pub(crate) fn assert_contains(ours: &Node, theirs: &Value, place: &str) {
    match (ours, theirs) {
        (Node::Struct(fields), Value::Object(object)) => {
            for (name, value) in object {
                let ours = fields.iter().find(|(ours, _)| same_name(ours, name));
                let (_, ours) = ours.unwrap_or_else(|| panic!("{place}: no field {name}"));
                assert_contains(ours, value, &format!("{place}.{name}"));
            }
        }
        (Node::List(items), Value::Array(values)) => {
            assert_eq!(items.len(), values.len(), "{place}");
            for (i, (item, value)) in items.iter().zip(values).enumerate() {
                assert_contains(item, value, &format!("{place}[{i}]"));
            }
        }
        // bytes
        (Node::List(items), Value::String(hex)) => {
            let bytes: String = items
                .iter()
                .map(|item| format!("{:02x}", item.word().parse::<u8>().expect("a byte")))
                .collect();
            assert_eq!(&bytes, hex, "{place}");
        }
        (Node::Text(text), Value::String(value)) => assert_eq!(text, value, "{place}"),
        (Node::Word(word), Value::Null) => assert_eq!(word, "None", "{place}"),
        (Node::Word(word), Value::Bool(value)) => assert_eq!(word, &value.to_string(), "{place}"),
        (Node::Word(word), Value::Number(number)) => {
            let same = word == &number.to_string()
                || word.parse::<f64>().ok().is_some_and(|ours| Some(ours) == number.as_f64())
                || is_error_code(word, number.as_i64());
            assert!(same, "{place}: {word} instead of {number}");
        }
        (Node::Word(word), Value::String(hex)) => {
            let id: Uuid = word.parse().unwrap_or_else(|_| panic!("{place}: {word} instead of {hex}"));
            let bytes: String = id.0.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(&bytes, hex, "{place}");
        }
        _ => panic!("{place}: {ours:?} instead of {theirs}"),
    }
}

fn same_name(ours: &str, theirs: &str) -> bool {
    ours.replace('_', "").eq_ignore_ascii_case(theirs)
}

fn is_error_code(word: &str, number: Option<i64>) -> bool {
    number.and_then(|n| i16::try_from(n).ok()).is_some_and(|code| ErrorCode(code).to_string() == word)
}

impl Node {
    fn word(&self) -> &str {
        match self {
            Self::Word(word) => word,
            other => panic!("a single word was expected: {other:?}"),
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn node(&mut self) -> Node {
        self.space();
        if self.eat("\"") {
            return Node::Text(self.text());
        }
        if self.eat("[") {
            let mut items = Vec::new();
            while !self.eat_after_space("]") {
                items.push(self.node());
                self.eat_after_space(",");
            }
            return Node::List(items);
        }
        let end = self.rest.find([',', '(', '{', '}', ')', ']', '\n']).unwrap_or(self.rest.len());
        // an unknown error code has a second part in parentheses, which belongs to it
        if let Some(code) = self.rest.strip_prefix("UNKNOWN_SERVER_ERROR (") {
            let end = self.rest.len() - code.len() + code.find(')').expect("a closing parenthesis") + 1;
            return Node::Word(self.advance(end));
        }
        let word = self.advance(end);
        if self.eat("(") {
            // Some, Bytes, and the variants of an enum of records: only the inner value matters
            let inner = self.node();
            self.eat_after_space(",");
            assert!(self.eat_after_space(")"), "no closing parenthesis: {}", self.rest);
            return inner;
        }
        if self.eat("{") {
            let mut fields = Vec::new();
            while !self.eat_after_space("}") {
                self.space();
                let colon = self.rest.find(':').expect("a colon after a field's name");
                let name = self.advance(colon);
                self.eat(":");
                fields.push((name, self.node()));
                self.eat_after_space(",");
            }
            return Node::Struct(fields);
        }
        Node::Word(word.trim().to_owned())
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, letter)) = chars.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return text;
                }
                '\\' => text.push(match chars.next().expect("an escaped letter").1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '0' => '\0',
                    'u' => {
                        let hex: String =
                            chars.by_ref().map(|(_, c)| c).skip(1).take_while(|c| *c != '}').collect();
                        char::from_u32(u32::from_str_radix(&hex, 16).expect("hex")).expect("a character")
                    }
                    plain => plain,
                }),
                plain => text.push(plain),
            }
        }
        panic!("no end of the string");
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn eat_after_space(&mut self, token: &str) -> bool {
        self.space();
        self.eat(token)
    }

    fn advance(&mut self, len: usize) -> String {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken.trim().to_owned()
    }
}
