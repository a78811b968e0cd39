//! What a topic may be called: one rule for the producer, which refuses a wrong name before it asks anybody (PRE-7), and for
//! the broker, which creates no such topic and knows none (M1).

use std::fmt;

/// Longest name of a topic, in characters.
pub const LEN_MAX: usize = 249;

/// PRE-7, M1: 1 to [`LEN_MAX`] characters of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check(name: &str) -> Result<(), TopicNameError<'_>> {
    if name.is_empty() {
        Err(TopicNameError::Empty)
    } else if name == "." || name == ".." {
        Err(TopicNameError::Dots(name))
    } else if name.chars().count() > LEN_MAX {
        Err(TopicNameError::TooLong(name))
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        Err(TopicNameError::Character(name))
    } else {
        Ok(())
    }
}

/// Why a topic may not be called so. The text is Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicNameError<'a> {
    /// The empty string.
    Empty,
    /// `.` or `..`, which would be directories of their own kind.
    Dots(&'a str),
    /// More than [`LEN_MAX`] characters.
    TooLong(&'a str),
    /// Others than the allowed characters.
    Character(&'a str),
}

impl fmt::Display for TopicNameError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicNameError::Empty => f.write_str("the empty string is not allowed"),
            TopicNameError::Dots(name) => write!(f, "'{name}' is not allowed"),
            TopicNameError::TooLong(name) => {
                write!(f, "the length of '{name}' is longer than the max allowed length {LEN_MAX}")
            }
            TopicNameError::Character(name) => write!(
                f,
                "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
            ),
        }
    }
}

impl std::error::Error for TopicNameError<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    // PRE-7, M1
    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "A.b_c-9", "a.b_c-D9", "...", &"x".repeat(249)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_says_which_rule_is_broken() {
        let long = "ä".repeat(250);
        assert_eq!(check(""), Err(TopicNameError::Empty));
        assert_eq!(check(".."), Err(TopicNameError::Dots("..")));
        assert_eq!(check(&long), Err(TopicNameError::TooLong(&long)));
        assert_eq!(check("a/b"), Err(TopicNameError::Character("a/b")));
    }
}
