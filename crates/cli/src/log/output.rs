//! Standard output in lines, for people or as JSON; and bytes made safe for a terminal.

use std::fmt::Write as _;
use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::failure::Failure;
use crate::jsonl::base64;

/// Standard output. A reader that has gone, as `head` does, ends the run without an error.
pub(super) struct Lines {
    out: BufWriter<StdoutLock<'static>>,
    is_closed: bool,
}

impl Lines {
    pub(super) fn new() -> Lines {
        Lines { out: BufWriter::with_capacity(64 * 1024, io::stdout().lock()), is_closed: false }
    }

    /// Nobody reads on.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(super) fn text(&mut self, line: &str) -> Result<(), Failure> {
        let result = self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"));
        self.check(result)
    }

    pub(super) fn json(&mut self, object: Object) -> Result<(), Failure> {
        self.text(&object.end())
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let result = self.out.flush();
        self.check(result)
    }

    fn check(&mut self, result: io::Result<()>) -> Result<(), Failure> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.is_closed = true,
            Err(error) => return Err(Failure::run(format!("cannot write to standard output: {error}"))),
            Ok(()) => {}
        }
        Ok(())
    }
}

/// A JSON object whose fields stay in order.
pub(super) struct Object(String);

impl Object {
    /// The first field says what the object is.
    pub(super) fn of(what: &str) -> Object {
        Object("{".to_owned()).field("type", what)
    }

    #[must_use]
    pub(super) fn field(mut self, name: &str, value: impl Serialize) -> Object {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{name}\":");
        // numbers, texts and lists of them always have a JSON form
        self.0.push_str(&serde_json::to_string(&value).unwrap_or_else(|_| "null".to_owned()));
        self
    }

    /// A field whose JSON is made already.
    #[must_use]
    pub(super) fn raw(mut self, name: &str, json: &str) -> Object {
        let _ = write!(self.0, ",\"{name}\":{json}");
        self
    }

    /// `name`, or `name_base64` where it is no text; null where there is nothing.
    #[must_use]
    pub(super) fn bytes(self, name: &str, bytes: Option<&[u8]>) -> Object {
        match bytes.map(std::str::from_utf8) {
            None => self.field(name, ()),
            Some(Ok(text)) => self.field(name, text),
            Some(Err(_)) => self.field(&format!("{name}_base64"), base64(bytes.unwrap_or_default())),
        }
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Bytes as one word for a terminal: text in quotes with everything escaped that is not printable, or base64.
pub(super) fn printable(bytes: Option<&[u8]>) -> String {
    match bytes.map(std::str::from_utf8) {
        None => "null".to_owned(),
        Some(Ok(text)) => format!("{text:?}"),
        Some(Err(_)) => format!("base64:{}", base64(bytes.unwrap_or_default())),
    }
}

/// `2026-11-21T15:45:33.123Z`; `none` without a timestamp. What no calendar has is printed as the number it is.
pub(super) fn time(ms: i64) -> String {
    if ms == -1 {
        return "none".to_owned();
    }
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // years 0 to 9999
    if !(-719_528..2_932_897).contains(&days) {
        return format!("{ms} ms");
    }
    // civil from days: eras of 400 years that begin in March
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (seconds, ms) = (of_day / 1000, of_day % 1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_400_001), "2000-02-29T00:00:00.001Z");
        assert_eq!(time(1_750_000_060_000), "2025-06-15T15:07:40.000Z");
        assert_eq!(time(-86_400_000), "1969-12-31T00:00:00.000Z");
        assert_eq!(time(-1), "none");
        assert_eq!(time(i64::MAX), "9223372036854775807 ms");
        assert_eq!(time(i64::MIN), "-9223372036854775808 ms");
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(printable(Some(b"a\x1b[31m\n\"b\"")), r#""a\u{1b}[31m\n\"b\"""#);
        assert_eq!(printable(Some("caf\u{e9} \u{202e}".as_bytes())), "\"caf\u{e9} \\u{202e}\"");
        assert_eq!(printable(Some(b"\xff")), "base64:/w==");
        assert_eq!(printable(None), "null");
        assert_eq!(printable(Some(b"")), "\"\"");
    }

    #[test]
    fn an_object_keeps_its_order() {
        let object =
            Object::of("x").field("b", 1).field("a", "q\"").bytes("k", Some(b"\xff")).bytes("v", None);
        assert_eq!(object.end(), r#"{"type":"x","b":1,"a":"q\"","k_base64":"/w==","v":null}"#);
    }
}
