//! What can go wrong, grouped by who is at fault: the batch ([`AppendError`]), the disk or the caller ([`LogError`]), the
//! data directory as a whole ([`DirError`]).

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Kafka's error codes as far as a log answers them. Plain numbers, because this crate knows no protocol.
pub mod code {
    /// Something that has no better name.
    pub const UNKNOWN_SERVER_ERROR: i16 = -1;
    /// An offset outside the log.
    pub const OFFSET_OUT_OF_RANGE: i16 = 1;
    /// Checksum, size or format is wrong.
    pub const CORRUPT_MESSAGE: i16 = 2;
    /// Larger than `max.message.bytes`.
    pub const MESSAGE_TOO_LARGE: i16 = 10;
    /// Larger than `segment.bytes`.
    pub const RECORD_LIST_TOO_LARGE: i16 = 18;
    /// A record's time is out of range.
    pub const INVALID_TIMESTAMP: i16 = 32;
    /// A gap or overlap in a producer's sequence.
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    /// A newer epoch of this producer has written.
    pub const INVALID_PRODUCER_EPOCH: i16 = 47;
    /// The data directory has failed.
    pub const KAFKA_STORAGE_ERROR: i16 = 56;
    /// A codec that is unknown, or too new for the request.
    pub const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
    /// A batch or record that breaks the format.
    pub const INVALID_RECORD: i16 = 87;
    /// The partition's directory belongs to another topic of the same name.
    pub const INCONSISTENT_TOPIC_ID: i16 = 103;
}

/// A batch that was not appended. Nothing of it is in the log (after a storage error: nothing that is acknowledged).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendError {
    /// Kafka's error code, see [`code`].
    pub code: i16,
    /// What is wrong, for people.
    pub message: String,
    /// Records at fault, by their index in the batch (P12). Empty if the batch as a whole is.
    pub record_errors: Vec<RecordError>,
    /// Whether the answer carries the real log start offset (P12: record validation and producer state), else -1.
    pub log_start_known: bool,
    /// Whether `message` belongs into the answer (P12: record errors and undecodable shape).
    pub tell_client: bool,
}

/// One record at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Index of the record in its batch, from 0.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: String,
}

impl AppendError {
    /// An error found before the log, or about size, checksum and storage: no log start in the answer (P12).
    pub(crate) fn early(code: i16, message: impl Into<String>) -> AppendError {
        // P12
        AppendError {
            code,
            message: message.into(),
            record_errors: Vec::new(),
            log_start_known: false,
            tell_client: false,
        }
    }

    /// An error of record validation or producer state: the answer has the log start (P12).
    pub(crate) fn late(code: i16, message: impl Into<String>) -> AppendError {
        // P12
        AppendError { log_start_known: true, ..AppendError::early(code, message) }
    }

    pub(crate) fn telling(self) -> AppendError {
        AppendError { tell_client: true, ..self }
    }

    /// The `ErrorMessage` of the answer: only where it adds something (P12).
    pub fn error_message(&self) -> Option<&str> {
        // P12
        self.tell_client.then_some(self.message.as_str())
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error code {})", self.message, self.code)
    }
}

impl std::error::Error for AppendError {}

impl From<LogError> for AppendError {
    fn from(error: LogError) -> AppendError {
        AppendError::early(error.code(), error.to_string())
    }
}

/// An operation of a log that did not succeed.
#[derive(Debug)]
pub enum LogError {
    /// The disk failed. The whole data directory is offline from here on (D30, D31).
    Storage {
        /// What was being done.
        doing: &'static str,
        /// The file or directory.
        path: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The data directory went offline earlier, for the reason given.
    Offline(String),
    /// A read outside the log (F2).
    OffsetOutOfRange {
        /// Offset asked for.
        offset: i64,
        /// First offset of the log.
        log_start: i64,
        /// One past the last offset of the log.
        log_end: i64,
    },
    /// Bytes within the log are no batch: the file was damaged while it was in use.
    Damaged {
        /// The file.
        path: String,
        /// Position in the file.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Replicated bytes that cannot be appended here: below the end of the log, out of order, or corrupt.
    Unexpected {
        /// Kafka's error code.
        code: i16,
        /// What is wrong.
        reason: String,
    },
}

impl LogError {
    pub(crate) fn storage(doing: &'static str, path: &str, source: io::Error) -> LogError {
        LogError::Storage { doing, path: path.to_owned(), source }
    }

    /// Kafka's error code.
    pub fn code(&self) -> i16 {
        match self {
            LogError::Storage { .. } | LogError::Offline(_) => code::KAFKA_STORAGE_ERROR,
            LogError::OffsetOutOfRange { .. } => code::OFFSET_OUT_OF_RANGE,
            LogError::Damaged { .. } => code::CORRUPT_MESSAGE,
            LogError::Unexpected { code, .. } => *code,
        }
    }

    /// Whether the data directory is offline (D30): its replicas must stop.
    pub fn is_storage_error(&self) -> bool {
        // D30
        matches!(self, LogError::Storage { .. } | LogError::Offline(_))
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Storage { doing, path, source } => write!(f, "{doing} {path}: {source}"),
            LogError::Offline(reason) => {
                write!(f, "the data directory is offline since an earlier error: {reason}")
            }
            LogError::OffsetOutOfRange { offset, log_start, log_end } => {
                write!(f, "offset {offset} is outside the log, which has {log_start} to {log_end}")
            }
            LogError::Damaged { path, position, reason } => {
                write!(f, "{path} is damaged at position {position}: {reason}")
            }
            LogError::Unexpected { reason, .. } => f.write_str(reason),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LogError::Storage { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A data directory that cannot be used.
#[derive(Debug)]
pub enum DirError {
    /// Another process holds it.
    InUse {
        /// The directory.
        path: String,
        /// Where that process listens, if it has said so.
        address: Option<String>,
    },
    /// `meta.properties` belongs to another node or cluster, or cannot be read.
    Identity {
        /// The directory.
        path: String,
        /// What does not fit, and what to do.
        reason: String,
    },
    /// A subdirectory that is no partition (D3).
    UnknownEntry {
        /// The directory.
        path: String,
        /// The name that does not belong there.
        name: String,
    },
    /// A log or file in it failed.
    Log(LogError),
}

impl fmt::Display for DirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirError::InUse { path, address: Some(address) } => {
                write!(f, "{path} is in use by a broker at {address}")
            }
            DirError::InUse { path, address: None } => write!(f, "{path} is in use by another process"),
            DirError::Identity { path, reason } => write!(f, "{path}/meta.properties: {reason}"),
            DirError::UnknownEntry { path, name } => write!(
                f,
                "{path} holds a directory {name:?} that is not of the form <topic>-<partition>; move it elsewhere"
            ),
            DirError::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DirError::Log(error) => Some(error),
            _ => None,
        }
    }
}

impl From<LogError> for DirError {
    fn from(error: LogError) -> DirError {
        DirError::Log(error)
    }
}

/// Whether a data directory still works; shared by all logs in it. One failed write or sync takes all of them offline
/// (D30): after it nobody knows what the disk holds.
#[derive(Debug, Clone, Default)]
pub struct DirHealth(Arc<Health>);

#[derive(Debug, Default)]
struct Health {
    failed: AtomicBool,
    reason: Mutex<Option<String>>,
}

impl DirHealth {
    /// A directory that works.
    pub fn new() -> DirHealth {
        DirHealth::default()
    }

    /// Whether an error has taken the directory offline.
    pub fn is_offline(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// The first error, if any.
    pub fn reason(&self) -> Option<String> {
        self.0.reason.lock().clone()
    }

    /// Takes the directory offline. The first reason stays.
    pub fn fail(&self, reason: &str) {
        // D30
        self.0.reason.lock().get_or_insert_with(|| reason.to_owned());
        self.0.failed.store(true, Ordering::Release);
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        if !self.is_offline() {
            return Ok(());
        }
        Err(LogError::Offline(self.reason().unwrap_or_default()))
    }

    /// Passes a result on, and takes the directory offline if it is an I/O error (D30, D31).
    pub(crate) fn note<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(error @ LogError::Storage { .. }) = &result {
            tracing::error!(%error, "data directory goes offline");
            self.fail(&error.to_string());
        }
        result
    }
}
