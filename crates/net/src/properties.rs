//! The syntax of Java's `.properties` files, in which clients and brokers are configured: `key=value`, `key: value` or
//! `key value`, comments with `#` or `!`, a backslash at the end to go on in the next line, and escapes (`\n`, `\t`, `\r`,
//! `\f`, `\uXXXX`, `\` before anything else). What the keys mean is their reader's business.

use std::fmt;

/// One setting of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The line in which it begins, from 1.
    pub line: usize,
    /// The key, never with an escape left in it.
    pub key: String,
    /// The value; empty if there is none.
    pub value: String,
}

/// A line that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for PropertyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for PropertyError {}

/// All settings of a text, in its order; a key may come twice.
///
/// # Errors
/// All lines that cannot be understood.
pub fn parse(text: &str) -> Result<Vec<Property>, Vec<PropertyError>> {
    let mut properties = Vec::new();
    let mut errors = Vec::new();
    for (line, logical) in logical_lines(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let (key, value) = split(&logical);
        match unescape(key).and_then(|key| Ok((key, unescape(value)?))) {
            Ok((key, value)) => properties.push(Property { line, key, value }),
            Err(problem) => errors.push(PropertyError { line, problem }),
        }
    }
    if errors.is_empty() { Ok(properties) } else { Err(errors) }
}

/// Lines that say something, continuation lines joined, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut logical: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, natural) in text.lines().enumerate() {
        let content = natural.trim_start_matches([' ', '\t', '\u{c}']);
        if !goes_on && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = content.len() - content.trim_end_matches('\\').len();
        let continued = backslashes % 2 == 1;
        let content = if continued { &content[..content.len() - 1] } else { content };
        match logical.last_mut() {
            Some((_, before)) if goes_on => before.push_str(content),
            _ => logical.push((index + 1, content.into())),
        }
        goes_on = continued;
    }
    logical
}

/// Key and value, escapes untouched: the key ends at the first `=`, `:` or blank that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\u{c}');
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && (blank(*c) || matches!(c, '=' | ':'));
        escaped = !escaped && *c == '\\';
        ends
    });
    let Some((end, _)) = end else { return (line, "") };
    let rest = line[end..].trim_start_matches(blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(blank))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let unit = code_unit(&mut chars)?;
                let code = match unit {
                    // Characters outside the basic plane are two units, as Java writes them.
                    0xd800..=0xdbff => {
                        let low = match (chars.next(), chars.next()) {
                            (Some('\\'), Some('u')) => code_unit(&mut chars)?,
                            _ => 0,
                        };
                        match low {
                            0xdc00..=0xdfff => 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00),
                            _ => unit,
                        }
                    }
                    _ => unit,
                };
                plain.push(char::from_u32(code).ok_or("half a surrogate pair after \\u")?);
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

fn code_unit(chars: &mut std::str::Chars<'_>) -> Result<u32, String> {
    let digits: String = chars.take(4).collect();
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("four hexadecimal digits must follow \\u".into());
    }
    u32::from_str_radix(&digits, 16).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|property| (property.key, property.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.into(), value.into())
    }

    #[test]
    fn keys_end_at_an_equals_sign_a_colon_or_a_blank() {
        assert_eq!(
            pairs("acks=all\nlinger.ms: 7\n  retries   3\nclient.id"),
            [pair("acks", "all"), pair("linger.ms", "7"), pair("retries", "3"), pair("client.id", "")]
        );
        assert_eq!(pairs("a = = b"), [pair("a", "= b")]);
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        assert_eq!(pairs("# one\n\n   ! two\nacks=1 # not a comment\n"), [pair("acks", "1 # not a comment")]);
    }

    #[test]
    fn a_backslash_at_the_end_goes_on_in_the_next_line() {
        assert_eq!(
            pairs("bootstrap.servers=a:1,\\\n    b:2,\\\r\n\tc:3\nacks=0"),
            [pair("bootstrap.servers", "a:1,b:2,c:3"), pair("acks", "0")]
        );
        // An even number of backslashes is text.
        assert_eq!(pairs("a=x\\\\\nb=y"), [pair("a", "x\\"), pair("b", "y")]);
    }

    #[test]
    fn escapes_stand_for_other_characters() {
        assert_eq!(pairs(r"a\=b\:c\ d=\t\u00e4\ud83d\ude00\q"), [pair("a=b:c d", "\tä😀q")]);
    }

    #[test]
    fn lines_that_cannot_be_understood_are_all_named() {
        let errors = parse("a=1\nb=\\u12\nc=2\nd=\\ud800x").unwrap_err();
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].starts_with("line 2: four hexadecimal digits"), "{texts:?}");
        assert!(texts[1].starts_with("line 4: "), "{texts:?}");
    }

    #[test]
    fn a_setting_knows_the_first_line_of_its_text() {
        let lines: Vec<_> =
            parse("# c\na=1,\\\n2\nb=3").unwrap().iter().map(|property| property.line).collect();
        assert_eq!(lines, [2, 4]);
    }

    #[test]
    fn a_servers_file_is_split_as_java_splits_it() {
        let text = "# comment\n! another\n\nnode.id=7\n  num.partitions : 3\nlog.dirs /var/a\nempty=\nlone\n";
        let expected =
            [("node.id", "7"), ("num.partitions", "3"), ("log.dirs", "/var/a"), ("empty", ""), ("lone", "")];
        assert_eq!(pairs(text), expected.map(|(key, value)| pair(key, value)));
        let text = "a\\=b=one,\\\n    two\npath=C\\:\\\\x\\u0041\\t.\n";
        assert_eq!(pairs(text), [pair("a=b", "one,two"), pair("path", "C:\\xA\t.")]);
    }
}
