//! What can go wrong with a blocking call, in words for the person at the terminal.

use std::fmt;
use std::io;

use rohrpost_protocol::{ApiKey, DecodeError, EncodeError, ErrorCode, VersionRange};

use crate::{Address, Disconnect, NodeId};

/// Why a call has no answer.
#[derive(Debug)]
pub enum ClientError {
    /// None of the addresses could be connected in time. Nothing was sent.
    Connect {
        /// Each address and why.
        tried: Vec<FailedAddress>,
        /// `connect_timeout_ms`.
        within_ms: u64,
    },
    /// The broker and this client have no version of the API in common (VER-1). Nothing was sent.
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The broker.
        address: Option<Address>,
        /// What this client could use.
        ours: VersionRange,
        /// What the broker serves.
        theirs: VersionRange,
    },
    /// The request was handed over, and the connection ended before the answer: the broker may have carried it out.
    Disconnected {
        /// The API.
        api: ApiKey,
        /// The broker.
        address: Option<Address>,
        /// Why the connection ended.
        reason: Disconnect,
    },
    /// The request cannot be said in this version. Nothing was sent.
    Encode {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What cannot be said.
        error: EncodeError,
    },
    /// The request leaves record bytes to its caller, which only `Network` can send. Nothing was sent.
    RecordsElsewhere,
    /// The answer cannot be read.
    Decode {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// Where and why.
        error: DecodeError,
    },
    /// The cluster has no broker with this id.
    UnknownNode(NodeId),
    /// The cluster refuses to describe the topic, or itself if there is no topic.
    Metadata {
        /// The topic, if it is about one.
        topic: Option<String>,
        /// The broker's error.
        error: ErrorCode,
    },
    /// The topic has no such partition.
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: i32,
        /// How many the topic has.
        partitions: usize,
    },
    /// The partition has no leader at the moment.
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The system's poll failed.
    Io(io::Error),
}

/// An address that could not be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAddress {
    /// As it was given, not resolved.
    pub address: Address,
    /// Why, or how far it got.
    pub reason: String,
}

impl ClientError {
    /// True if the same question may have another answer in a moment: a topic just made, an election under way.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoLeader { .. } => true,
            Self::Metadata { error, .. } => *error == ErrorCode::LEADER_NOT_AVAILABLE,
            _ => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { tried, within_ms } => connect(tried, *within_ms, f),
            Self::UnsupportedVersion { api, address, ours, theirs } => write!(
                f,
                "{} and this client have no version of {} in common: it serves {theirs}, wanted is {ours}",
                Broker(address),
                api.name()
            ),
            Self::Disconnected { api, address, reason } => {
                write!(f, "no answer to {} from {}: {reason}", api.name(), Broker(address))
            }
            Self::Encode { api, version, error } => {
                write!(f, "cannot write the request {} in version {version}: {error}", api.name())
            }
            Self::RecordsElsewhere => {
                f.write_str("a request with record bytes elsewhere cannot be sent by a blocking client")
            }
            Self::Decode { api, version, error } => {
                write!(f, "cannot read the answer to {} in version {version}: {error}", api.name())
            }
            Self::UnknownNode(node) => write!(f, "the cluster has no broker with id {node}"),
            Self::Metadata { topic: Some(topic), error } => write!(f, "topic '{topic}': {}", Code(*error)),
            Self::Metadata { topic: None, error } => {
                write!(f, "the cluster does not describe itself: {}", Code(*error))
            }
            Self::UnknownPartition { topic, partition, partitions } => {
                write!(f, "topic '{topic}' has no partition {partition}; it has {partitions}, counted from 0")
            }
            Self::NoLeader { topic, partition } => write!(
                f,
                "partition {partition} of topic '{topic}' has no leader; are the brokers that hold it running?"
            ),
            Self::Io(e) => write!(f, "the system refuses to wait for sockets: {e}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disconnected { reason, .. } => Some(reason),
            Self::Encode { error, .. } => Some(error),
            Self::Decode { error, .. } => Some(error),
            Self::Io(e) => Some(e),
            _ => None,
        }
    }
}

fn connect(tried: &[FailedAddress], within_ms: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let within = match within_ms % 1000 {
        0 => format!("{} s", within_ms / 1000),
        _ => format!("{within_ms} ms"),
    };
    match tried {
        [] => write!(f, "no broker address is known; give at least one host:port"),
        [FailedAddress { address, reason }] => {
            let reason = without_address(address, reason);
            write!(f, "could not connect to {address} within {within}: {reason}")?;
            hint(reason, f)
        }
        several => {
            write!(f, "could not connect to any of {} addresses within {within}:", several.len())?;
            for FailedAddress { address, reason } in several {
                write!(f, "\n  {address}: {}", without_address(address, reason))?;
            }
            Ok(())
        }
    }
}

/// A reason begins with the resolved address; where that is the address as given, once is enough.
fn without_address<'a>(address: &Address, reason: &'a str) -> &'a str {
    reason.strip_prefix(&format!("{address}: ")).unwrap_or(reason)
}

fn hint(reason: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match reason.ends_with("connection refused") {
        true => f.write_str("; is a broker running there?"),
        false => Ok(()),
    }
}

struct Broker<'a>(&'a Option<Address>);

impl fmt::Display for Broker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "the broker {address}"),
            None => f.write_str("the broker"),
        }
    }
}

struct Code(ErrorCode);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.name(), self.0.message())
    }
}
