//! Texts to values, as Kafka reads them (CFG-1, CFG-2). Each error says what is allowed.

use std::fmt::Display;
use std::str::FromStr;

use super::suggest;

/// A whole number of Kafka's type `int` or `long`, within `min` and `max`.
pub(super) fn number<T>(text: &str, min: T, max: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display + Copy,
{
    let wanted = || format!("not allowed; a whole number from {min} to {max}");
    let value = text.trim().parse::<T>().map_err(|_| wanted())?;
    if value < min || value > max { Err(wanted()) } else { Ok(value) }
}

/// CFG-1: `true` or `false`, in any case.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.trim() {
        t if t.eq_ignore_ascii_case("true") => Ok(true),
        t if t.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("not allowed; true or false".into()),
    }
}

/// CFG-2: one of a few words, exactly spelt.
pub(super) fn word<'a>(text: &str, allowed: &[&'a str]) -> Result<&'a str, String> {
    let text = text.trim();
    allowed.iter().find(|word| **word == text).copied().ok_or_else(|| {
        let wanted = format!("not allowed; one of {}", allowed.join(", "));
        match suggest::near_value(text, allowed) {
            Some(near) if near.eq_ignore_ascii_case(text) => format!("{wanted} (capitals count: {near})"),
            Some(near) => format!("{wanted}; did you mean {near}?"),
            None => wanted,
        }
    })
}

/// CFG-2: one of the few enumerated values for which Kafka ignores case.
pub(super) fn word_ignoring_case<'a>(text: &str, allowed: &[&'a str]) -> Result<&'a str, String> {
    let text = text.trim();
    match allowed.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        Some(word) => Ok(word),
        None => word(text, allowed),
    }
}

/// Checks a value that nothing here goes by, so that a slip is told all the same: by its type and by what is valid, in the words of
/// the catalogue.
pub(super) fn check_type(value_type: &str, valid: &str, text: &str) -> Result<(), String> {
    let bounds = valid.split_once(" to ");
    match value_type {
        "boolean" => boolean(text).map(drop),
        "int" | "long" | "short" => {
            let (least, most) = match value_type {
                "int" => (i32::MIN.into(), i32::MAX.into()),
                "short" => (i16::MIN.into(), i16::MAX.into()),
                _ => (i64::MIN, i64::MAX),
            };
            let least = match (valid.strip_prefix("at least "), bounds) {
                (Some(least), _) | (None, Some((least, _))) => least.parse().unwrap_or(i64::MIN),
                _ => least,
            };
            let most = bounds.and_then(|(_, most)| most.parse().ok()).unwrap_or(most);
            number(text, least, most).map(drop)
        }
        "string" if valid.contains(", ") && valid != "any, never shown" => {
            let words: Vec<&str> = valid.split(", ").collect();
            word(text, &words).map(drop)
        }
        "list" => list(text).map(drop),
        _ => Ok(()),
    }
}

/// A list's elements.
pub(super) struct List {
    pub(super) elements: Vec<String>,
    /// Elements that were given more than once, and dropped.
    pub(super) duplicates: Vec<String>,
}

/// CFG-1: split at commas, elements trimmed, duplicates dropped, an empty element refused, an empty text is the empty list.
pub(super) fn list(text: &str) -> Result<List, String> {
    let mut list = List { elements: Vec::new(), duplicates: Vec::new() };
    if text.trim().is_empty() {
        return Ok(list);
    }
    for element in text.split(',').map(str::trim) {
        if element.is_empty() {
            return Err("not allowed; the list has an empty element (a comma too many?)".into());
        }
        if list.elements.iter().any(|e| e == element) {
            list.duplicates.push(element.into());
        } else {
            list.elements.push(element.into());
        }
    }
    Ok(list)
}
