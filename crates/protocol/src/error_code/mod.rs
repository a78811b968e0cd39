//! Error codes, and what a producer does about each.

mod table;

use std::fmt;

use self::table::INFOS;

/// An error code as it stands in a response. Zero is success.
///
/// Every code from the wire can be held; one that this crate does not know counts as
/// [`UNKNOWN_SERVER_ERROR`](Self::UNKNOWN_SERVER_ERROR) in all that is asked of it, but keeps its number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i16);

/// What a producer does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Success.
    Ok,
    /// The batch is in the log already; its offset is not known.
    OkDuplicate,
    /// Back off and send again.
    Retry,
    /// The same, and ask for new metadata.
    RetryMetadata,
    /// Find the coordinator, then send again.
    RetryCoordinator,
    /// Split the batch and send the parts.
    Split,
    /// The sequence does not fit: sort it out and send again.
    Resequence,
    /// The producer epoch is old: get a new one; in a transaction, abort.
    Epoch,
    /// Only the named records are at fault.
    FailRecord,
    /// The batch fails; in a transaction, abort.
    Fail,
    /// The transaction must be aborted.
    Abort,
    /// The producer cannot go on.
    Fatal,
    /// Another producer has taken over the transactional id.
    Fenced,
    /// The connection fails, with back-off.
    Connection,
    /// Start again from the bootstrap servers.
    Rebootstrap,
    /// About client telemetry only.
    Telemetry,
    /// Not seen by producers.
    OtherApi,
}

/// Whether a batch that was answered with an error may be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It may be.
    Maybe,
    /// The code is no answer to a produce request.
    NotProduce,
}

struct Info {
    name: &'static str,
    retriable: bool,
    invalidates_metadata: bool,
    class: ErrorClass,
    written: Written,
    message: &'static str,
}

impl ErrorCode {
    /// Whether this is success.
    pub fn is_ok(self) -> bool {
        self == Self::NONE
    }

    /// Whether this is an error.
    pub fn is_error(self) -> bool {
        !self.is_ok()
    }

    /// Whether this crate knows the code. Whoever meets an unknown one should log a warning (ERR-5).
    pub fn is_known(self) -> bool {
        self.known().is_some()
    }

    /// Success as `Ok`, everything else as `Err`.
    ///
    /// # Errors
    /// Every code but NONE.
    pub fn ok(self) -> Result<(), Self> {
        if self.is_ok() { Ok(()) } else { Err(self) }
    }

    /// Kafka's name, such as `NOT_LEADER_OR_FOLLOWER`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// What it means, for people.
    pub fn message(self) -> &'static str {
        self.info().message
    }

    /// Whether the same request may succeed later.
    pub fn is_retriable(self) -> bool {
        self.info().retriable
    }

    /// Whether the sender's picture of the cluster is out of date.
    pub fn invalidates_metadata(self) -> bool {
        self.info().invalidates_metadata
    }

    /// What a producer does about it.
    pub fn class(self) -> ErrorClass {
        self.info().class
    }

    /// Whether a batch that was answered so may be in the log.
    pub fn written(self) -> Written {
        self.info().written
    }

    fn info(self) -> &'static Info {
        // ERR-5: an unknown code is UNKNOWN_SERVER_ERROR, the first in the table
        self.known().unwrap_or(&INFOS[0])
    }

    fn known(self) -> Option<&'static Info> {
        // the table has no holes and begins at -1, which the tests check
        INFOS.get(usize::try_from(i32::from(self.0) + 1).ok()?)
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_known() {
            f.pad(self.name())
        } else {
            write!(f, "{} (unknown code {})", self.name(), self.0)
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_what_the_reference_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/errors.tsv");
        let reference = std::fs::read_to_string(path).expect("the reference is part of the repository");
        let mut count = 0;
        for line in reference.lines().skip(1) {
            let columns: Vec<_> = line.split('\t').collect();
            let [code, name, retriable, invalidates, class, written, _seen_in, meaning] = columns[..] else {
                panic!("not eight columns: {line}");
            };
            let code = ErrorCode(code.parse().expect("a number"));
            assert!(code.is_known(), "{line}");
            assert_eq!(code.name(), name);
            assert_eq!(code.is_retriable(), retriable == "yes", "{line}");
            assert_eq!(code.invalidates_metadata(), invalidates == "yes", "{line}");
            assert_eq!(kebab_case(code.class()), class, "{line}");
            let written = match written {
                "yes" => Written::Yes,
                "no" => Written::No,
                "maybe" => Written::Maybe,
                _ => Written::NotProduce,
            };
            assert_eq!(code.written(), written, "{line}");
            assert_eq!(code.message(), meaning);
            count += 1;
        }
        assert_eq!(count, INFOS.len(), "a code stands here that the reference does not have");
        assert_eq!(count, 135);
    }

    #[test]
    fn a_code_is_found_under_its_number() {
        for (i, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(usize::try_from(code.0 + 1), Ok(i), "{code}");
        }
        assert_eq!(ErrorCode::NOT_LEADER_OR_FOLLOWER.0, 6);
        assert_eq!(ErrorCode::ALL.len(), INFOS.len());
    }

    #[test]
    fn an_unknown_code_counts_as_unknown_server_error() {
        // ERR-5
        for code in [134, 999, i16::MAX, -2, i16::MIN].map(ErrorCode) {
            assert!(!code.is_known());
            assert!(!code.is_ok());
            assert_eq!(code.name(), "UNKNOWN_SERVER_ERROR");
            assert_eq!(code.class(), ErrorClass::Fail);
            assert_eq!(code.written(), Written::Maybe);
            assert!(!code.is_retriable());
            assert_eq!(code.to_string(), format!("UNKNOWN_SERVER_ERROR (unknown code {})", code.0));
        }
    }

    fn kebab_case(class: ErrorClass) -> String {
        let mut text = String::new();
        for letter in format!("{class:?}").chars() {
            if letter.is_uppercase() && !text.is_empty() {
                text.push('-');
            }
            text.push(letter.to_ascii_lowercase());
        }
        text
    }
}
