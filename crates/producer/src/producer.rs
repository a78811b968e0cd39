//! The [`Producer`] handle: what is shared between application threads and the sender, and the calls that concern the
//! producer as a whole. Sending is in `send`.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use rohrpost_protocol::ErrorCode;

use crate::accumulator::Accumulator;
use crate::config::{Config, ConfigErrors, ProducerBuilder};
use crate::metadata::MetadataShared;
use crate::time::Clock;
use crate::wait::{SenderWake, Timers};

/// A Kafka producer. Clones are handles of the same producer; every operation may be called from any thread (THR-1). One per
/// process is the rule.
///
/// When the last handle is dropped, the producer closes as with `close(Duration::ZERO)` and warns if records were lost; use
/// [`close`](Producer::close) to send what is buffered.
#[derive(Clone)]
pub struct Producer {
    pub(crate) handle: Arc<Handle>,
}

/// Why a producer could not be built.
#[derive(Debug)]
pub enum BuildError {
    /// All mistakes in the configuration.
    Config(ConfigErrors),
    /// The system gave no thread or no poll.
    Io(std::io::Error),
}

/// What all handles and the sender share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) metadata: MetadataShared,
    pub(crate) accumulator: Accumulator,
    pub(crate) sender: SenderWake,
    pub(crate) timers: Timers,
    pub(crate) lifecycle: Lifecycle,
}

/// All user handles together: dropped with the last of them.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Producer {
    /// A builder with Kafka's defaults; `bootstrap_servers` as in `bootstrap.servers`.
    pub fn builder(bootstrap_servers: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(bootstrap_servers)
    }

    /// A builder with the settings of a `.properties` file; see [`ProducerBuilder::from_properties`].
    pub fn from_properties(path: impl AsRef<Path>) -> Result<ProducerBuilder, ConfigErrors> {
        ProducerBuilder::from_properties(path)
    }

    pub(crate) fn start(config: Config) -> Result<Producer, BuildError> {
        Err(BuildError::Io(std::io::Error::other(format!(
            "{}: the sender is not there yet",
            config.client_id
        ))))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Config(errors) => errors.fmt(f),
            BuildError::Io(error) => write!(f, "the producer's sender could not be started: {error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Config(errors) => Some(errors),
            BuildError::Io(error) => Some(error),
        }
    }
}

impl From<ConfigErrors> for BuildError {
    fn from(errors: ConfigErrors) -> BuildError {
        BuildError::Config(errors)
    }
}

/// Where the producer stands between open and closed.
#[derive(Default)]
pub(crate) struct Lifecycle {
    state: AtomicU8,
    fatal: OnceLock<(ErrorCode, Arc<str>)>,
}

/// Why the producer takes no more records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Closing or closed (FLU-7).
    Closed,
    /// It met an error that ends it: the error, and words to go with it.
    Fatal(ErrorCode, Arc<str>),
}

impl Lifecycle {
    const OPEN: u8 = 0;
    const CLOSED: u8 = 1;
    const FATAL: u8 = 2;

    /// One load while the producer is open.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        match self.state.load(Ordering::Acquire) {
            Self::OPEN => Ok(()),
            Self::FATAL => Err(match self.fatal.get() {
                Some((code, text)) => Refusal::Fatal(*code, text.clone()),
                None => Refusal::Closed,
            }),
            _ => Err(Refusal::Closed),
        }
    }

    /// No more records; true for the first who says so.
    pub(crate) fn close(&self) -> bool {
        self.state.swap(Self::CLOSED, Ordering::AcqRel) != Self::CLOSED
    }

    /// The producer met an error that ends it. A closed one stays closed.
    pub(crate) fn fail(&self, code: ErrorCode, text: Arc<str>) {
        let _ = self.fatal.set((code, text));
        let _ = self.state.compare_exchange(Self::OPEN, Self::FATAL, Ordering::AcqRel, Ordering::Acquire);
    }
}
