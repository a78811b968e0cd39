//! Why bytes are no message, and why a message cannot be written.

use std::fmt;

/// Why bytes could not be decoded: what, in which field, how far into the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    kind: DecodeErrorKind,
    offset: usize,
    place: Place,
}

/// What is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The input ends before the value does.
    BytesMissing {
        /// Bytes that the value takes.
        wanted: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// More elements or tagged fields are announced than the rest of the input could hold.
    CountBeyondInput {
        /// The announced number.
        count: usize,
    },
    /// A length below -1.
    NegativeLength(i64),
    /// A string longer than 32767 bytes.
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Null where none may be.
    Null,
    /// A string is not UTF-8.
    NotUtf8,
    /// An unsigned varint has more than 32 bits.
    VarintTooLong,
    /// Tagged fields repeat or are out of order.
    TagNotRising {
        /// The tag that is not above the one before it.
        tag: u32,
    },
    /// Bytes are left where the value should have ended.
    BytesLeft {
        /// How many.
        count: usize,
    },
    /// The message would take more memory than its length justifies: four times the input and 64 KiB.
    OverBudget {
        /// Bytes that the next array takes.
        wanted: usize,
        /// Bytes that the budget still has.
        left: usize,
    },
    /// The codec does not know this version of the message.
    UnsupportedVersion(i16),
    /// The metadata log knows no such frame version or record type.
    UnknownRecord {
        /// The frame version; 1 is the only one there is.
        frame: u32,
        /// The record type.
        record_type: u32,
    },
}

/// Why a message could not be encoded: what, in which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    kind: EncodeErrorKind,
    place: Place,
}

/// What is wrong with the message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// The codec does not know this version of the message.
    UnsupportedVersion {
        /// The version that was asked for.
        version: i16,
    },
    /// The field has a value that would be lost: the version does not have the field.
    NotInVersion {
        /// The version that was asked for.
        version: i16,
    },
    /// The field is null, and may not be in this version.
    Null {
        /// The version that was asked for.
        version: i16,
    },
    /// A string, array or frame is too long for its length field.
    TooLong {
        /// Its length.
        len: usize,
        /// The longest that the wire can carry.
        max: usize,
    },
    /// A kept unknown tagged field has a tag that this version knows.
    TagIsKnown {
        /// The tag.
        tag: u32,
    },
}

/// Where in a message; empty until the struct that has the field adds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    message: &'static str,
    field: &'static str,
}

impl DecodeError {
    pub(crate) fn new(kind: DecodeErrorKind, offset: usize) -> Self {
        Self { kind, offset, place: Place::default() }
    }

    /// What is wrong.
    pub fn kind(&self) -> &DecodeErrorKind {
        &self.kind
    }

    /// How many bytes of the input had been read.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Says in which field it happened, unless an inner struct has said so already.
    #[cold]
    pub fn within(mut self, message: &'static str, field: &'static str) -> Self {
        self.place.set(message, field);
        self
    }
}

impl EncodeError {
    /// The value of a field that the version does not have.
    #[cold]
    pub fn not_in_version(message: &'static str, field: &'static str, version: i16) -> Self {
        Self { kind: EncodeErrorKind::NotInVersion { version }, place: Place { message, field } }
    }

    /// What is wrong.
    pub fn kind(&self) -> &EncodeErrorKind {
        &self.kind
    }

    /// Says in which field it happened, unless an inner struct has said so already.
    #[cold]
    pub fn within(mut self, message: &'static str, field: &'static str) -> Self {
        self.place.set(message, field);
        self
    }
}

impl From<EncodeErrorKind> for EncodeError {
    #[cold]
    fn from(kind: EncodeErrorKind) -> Self {
        Self { kind, place: Place::default() }
    }
}

impl Place {
    fn set(&mut self, message: &'static str, field: &'static str) {
        if self.message.is_empty() {
            *self = Self { message, field };
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message, self.field) {
            ("", _) => f.write_str("message"),
            (message, "") => f.write_str(message),
            (message, field) => write!(f, "{message}.{field}"),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (after {} bytes)", self.place, self.kind, self.offset)
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BytesMissing { wanted, left } => write!(f, "needs {wanted} bytes, {left} are left"),
            Self::CountBeyondInput { count } => {
                write!(f, "announces {count} elements, more than the rest can hold")
            }
            Self::NegativeLength(len) => write!(f, "has the length {len}"),
            Self::TooLong { len } => write!(f, "is a string of {len} bytes; 32767 is the limit"),
            Self::Null => f.write_str("is null, which it may not be in this version"),
            Self::NotUtf8 => f.write_str("is not UTF-8"),
            Self::VarintTooLong => f.write_str("has a varint of more than 32 bits"),
            Self::TagNotRising { tag } => write!(f, "has tag {tag} after the same or a higher tag"),
            Self::BytesLeft { count } => write!(f, "leaves {count} bytes unread"),
            Self::OverBudget { wanted, left } => {
                write!(f, "would take {wanted} bytes of memory; for input of this length {left} are left")
            }
            Self::UnsupportedVersion(version) => write!(f, "has no version {version}"),
            Self::UnknownRecord { frame, record_type } => {
                write!(f, "is unknown: frame version {frame}, record type {record_type}")
            }
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.kind)
    }
}

impl fmt::Display for EncodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedVersion { version } => write!(f, "has no version {version}"),
            Self::NotInVersion { version } => {
                write!(
                    f,
                    "has a value, and version {version} does not have the field: leave it at its default"
                )
            }
            Self::Null { version } => write!(f, "is null, which it may not be in version {version}"),
            Self::TooLong { len, max } => write!(f, "has length {len}; the wire can carry {max}"),
            Self::TagIsKnown { tag } => {
                write!(f, "holds tag {tag}, which this version knows; it was read in another version")
            }
        }
    }
}

impl std::error::Error for DecodeError {}
impl std::error::Error for EncodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_innermost_field() {
        let error = DecodeError::new(DecodeErrorKind::Null, 7);
        assert_eq!(
            error.to_string(),
            "message: is null, which it may not be in this version (after 7 bytes)"
        );
        let error = error.within("Inner", "name").within("Outer", "parts");
        assert_eq!(
            error.to_string(),
            "Inner.name: is null, which it may not be in this version (after 7 bytes)"
        );
        assert_eq!((error.kind(), error.offset()), (&DecodeErrorKind::Null, 7));
        let error =
            EncodeError::from(EncodeErrorKind::Null { version: 2 }).within("Inner", "").within("O", "p");
        assert_eq!(error.to_string(), "Inner: is null, which it may not be in version 2");
        assert_eq!(error.kind(), &EncodeErrorKind::Null { version: 2 });
        let error = EncodeError::not_in_version("Inner", "name", 3).within("Outer", "parts");
        assert!(error.to_string().starts_with("Inner.name: has a value, and version 3 "), "{error}");
    }

    #[test]
    fn every_reason_says_what_was_found() {
        use DecodeErrorKind as D;
        use EncodeErrorKind as E;
        let decoding = [
            (D::BytesMissing { wanted: 4, left: 3 }, "needs 4 bytes, 3 are left"),
            (D::CountBeyondInput { count: 9 }, "announces 9 elements, more than the rest can hold"),
            (D::NegativeLength(-2), "has the length -2"),
            (D::TooLong { len: 40_000 }, "is a string of 40000 bytes; 32767 is the limit"),
            (D::Null, "is null, which it may not be in this version"),
            (D::NotUtf8, "is not UTF-8"),
            (D::VarintTooLong, "has a varint of more than 32 bits"),
            (D::TagNotRising { tag: 5 }, "has tag 5 after the same or a higher tag"),
            (D::BytesLeft { count: 2 }, "leaves 2 bytes unread"),
            (
                D::OverBudget { wanted: 10, left: 8 },
                "would take 10 bytes of memory; for input of this length 8 are left",
            ),
            (D::UnsupportedVersion(-1), "has no version -1"),
            (D::UnknownRecord { frame: 1, record_type: 99 }, "is unknown: frame version 1, record type 99"),
        ];
        for (kind, text) in decoding {
            assert_eq!(kind.to_string(), text);
        }
        let encoding = [
            (E::UnsupportedVersion { version: 9 }, "has no version 9"),
            (
                E::NotInVersion { version: 1 },
                "has a value, and version 1 does not have the field: leave it at its default",
            ),
            (E::Null { version: 0 }, "is null, which it may not be in version 0"),
            (E::TooLong { len: 40_000, max: 32_767 }, "has length 40000; the wire can carry 32767"),
            (
                E::TagIsKnown { tag: 1 },
                "holds tag 1, which this version knows; it was read in another version",
            ),
        ];
        for (kind, text) in encoding {
            assert_eq!(kind.to_string(), text);
        }
    }
}
