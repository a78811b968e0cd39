//! What a value may be, and what to say when it is something else.

use std::fmt;

/// The values that a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number.
    Number {
        min: i64,
        max: i64,
    },
    /// 1 to 9, or -1.
    GzipLevel,
    /// A number from 0 to 1.
    Ratio,
    /// Any number.
    Decimal,
    Boolean,
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, in capitals or not.
    OneOfAnyCase(&'static [&'static str]),
    /// Any of these words, separated by commas; none is fine too.
    ListOf(&'static [&'static str]),
}

/// A 16-bit number from `min` on.
pub(super) const fn short(min: i64) -> Kind {
    Kind::Number { min, max: i16::MAX as i64 }
}

/// A 32-bit number from `min` on.
pub(super) const fn int(min: i64) -> Kind {
    Kind::Number { min, max: i32::MAX as i64 }
}

/// A 64-bit number from `min` on.
pub(super) const fn long(min: i64) -> Kind {
    Kind::Number { min, max: i64::MAX }
}

impl Kind {
    /// Whether the value is one of these. Kafka trims, so do we.
    pub(super) fn admits(self, value: &str) -> bool {
        let value = value.trim();
        match self {
            Kind::Number { min, max } => value.parse().is_ok_and(|n: i64| (min..=max).contains(&n)),
            Kind::GzipLevel => value.parse().is_ok_and(|n: i64| n == -1 || (1..=9).contains(&n)),
            Kind::Ratio => value.parse().is_ok_and(|n: f64| (0.0..=1.0).contains(&n)),
            Kind::Decimal => value.parse().is_ok_and(|n: f64| !n.is_nan()),
            Kind::Boolean => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Kind::Text => true,
            Kind::OneOf(words) => words.contains(&value),
            Kind::OneOfAnyCase(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            Kind::ListOf(words) => list(value).all(|word| words.contains(&word)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Number { min, max } => {
                f.write_str("a whole number")?;
                let unbounded_below = matches!(*min, i64::MIN) || *min == i64::from(i32::MIN);
                let unbounded_above = matches!(*max, i64::MAX) || *max == i64::from(i32::MAX);
                match (unbounded_below, unbounded_above) {
                    (true, true) if *max == i64::MAX => Ok(()),
                    (true, true) => f.write_str(" of 32 bits"),
                    (false, true) if *max == i64::MAX => write!(f, ", at least {min}"),
                    (false, true) => write!(f, " of 32 bits, at least {min}"),
                    _ => write!(f, " from {min} to {max}"),
                }
            }
            Kind::GzipLevel => f.write_str("a whole number from 1 to 9, or -1"),
            Kind::Ratio => f.write_str("a number from 0 to 1"),
            Kind::Decimal => f.write_str("a number"),
            Kind::Boolean => f.write_str("true or false"),
            Kind::Text => f.write_str("text"),
            Kind::OneOf(words) | Kind::OneOfAnyCase(words) => write!(f, "one of {}", words.join(", ")),
            Kind::ListOf(words) => write!(f, "a list of {}", words.join(", ")),
        }
    }
}

/// The parts of a comma-separated list.
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}
