//! What goes wrong with a broker as a whole: at its start, at its stop, and with topics asked for by its owner.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a broker did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A configuration key or value is wrong, or names something that is not implemented.
    Config(String),
    /// The listener could not be bound.
    Bind {
        /// The address that was asked for.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another broker holds the data directory. A caller may connect to that one instead.
    DirectoryInUse {
        /// The directory.
        directory: PathBuf,
        /// `host:port` of the broker that holds it, if it has written it down.
        address: Option<String>,
    },
    /// The data directory or a log in it could not be opened.
    Storage(String),
    /// Metadata could not be read or a first topic could not be created.
    Metadata(String),
    /// A thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(message) => write!(f, "broker configuration: {message}"),
            Self::Bind { address, source } => {
                write!(f, "cannot listen on {address}: {source}; choose another port, or 0 for any free one")
            }
            Self::DirectoryInUse { directory, address: Some(address) } => {
                write!(f, "data directory {} is in use by the broker at {address}", directory.display())
            }
            Self::DirectoryInUse { directory, address: None } => write!(
                f,
                "data directory {} is in use by another process; stop it or choose another directory",
                directory.display()
            ),
            Self::Storage(message) => write!(f, "storage: {message}"),
            Self::Metadata(message) => write!(f, "metadata: {message}"),
            Self::Thread(source) => write!(f, "cannot start a thread: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::Thread(source) => Some(source),
            _ => None,
        }
    }
}

/// What went wrong while a broker stopped or synced: data that the log accepted may not be on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopError {
    /// One line per failed log or file.
    pub failures: Vec<String>,
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.failures.len(), self.failures.join("; "))
    }
}

impl std::error::Error for StopError {}

/// Why a topic was not created or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicError {
    /// Kafka's error code, for example 36 for TOPIC_ALREADY_EXISTS.
    pub code: i16,
    /// What is wrong, in words.
    pub message: String,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {})", self.message, self.code)
    }
}

impl std::error::Error for TopicError {}

impl StartError {
    pub(crate) fn metadata(error: impl fmt::Display) -> Self {
        Self::Metadata(error.to_string())
    }
}
