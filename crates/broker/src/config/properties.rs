//! The text format of `server.properties`, as Java reads it.

/// The keys and values of a `.properties` text, in order. Comments start with `#` or `!`; a key ends at `=`, `:` or white space; a
/// line that ends with a backslash goes on in the next one; `\t \n \r \f \uXXXX` and `\` before anything else are escapes.
///
/// # Errors
/// A `\u` escape that is none, with its line.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while ends_with_open_escape(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        let in_line = |problem: String| format!("line {}: {problem}", number + 1);
        pairs.push((unescape(key).map_err(in_line)?, unescape(value).map_err(in_line)?));
    }
    Ok(pairs)
}

fn ends_with_open_escape(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '=' || c == ':' || c.is_ascii_whitespace() {
            let rest = line[at..].trim_start();
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start());
        }
    }
    (line, "")
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                match code.and_then(char::from_u32) {
                    Some(c) => out.push(c),
                    None => return Err(format!("\\u{digits} is no character")),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    #[test]
    fn keys_and_values_are_split_as_java_splits_them() {
        let text = "# comment\n! another\n\nnode.id=7\n  num.partitions : 3\nlog.dirs /var/a\nempty=\nlone\n";
        let expected =
            [("node.id", "7"), ("num.partitions", "3"), ("log.dirs", "/var/a"), ("empty", ""), ("lone", "")];
        assert_eq!(pairs(text), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn lines_go_on_after_a_backslash_and_escapes_are_read() {
        let text = "a\\=b=one,\\\n    two\npath=C\\:\\\\x\\u0041\\t.\n";
        assert_eq!(
            pairs(text),
            [("a=b".to_owned(), "one,two".to_owned()), ("path".to_owned(), "C:\\xA\t.".to_owned())]
        );
        assert!(parse("x=1\ny=\\u12").unwrap_err().starts_with("line 2"));
    }
}
