//! A broker inside a process: start, look inside, stop. No runtime, no files unless asked for, gone when dropped.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::server::{StartError, StopError, TopicError};

/// A running cluster of one broker. `Send + Sync`; share it in an `Arc`. Dropping it stops it like [`Cluster::stop`] and
/// logs what went wrong.
#[derive(Debug)]
pub struct Cluster {
    address: SocketAddr,
}

/// What a cluster is to look like; made by [`Cluster::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until start()"]
pub struct ClusterBuilder {
    brokers: usize,
    topics: Vec<(String, i32, i16)>,
    data_dir: Option<PathBuf>,
    listen: Option<String>,
    configs: Vec<(String, String)>,
}

/// The log of one partition, for looking at. Reads what is committed; disturbs nothing.
#[derive(Debug)]
pub struct PartitionLog<'a> {
    #[allow(dead_code)]
    cluster: &'a Cluster,
    #[allow(dead_code)]
    topic: String,
    #[allow(dead_code)]
    partition: i32,
}

/// One record as it lies in a log, decoded and decompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The value, if it has one.
    pub value: Option<Vec<u8>>,
    /// Names and values in order; names may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Producer id of its batch, or -1.
    pub producer_id: i64,
    /// Producer epoch of its batch, or -1.
    pub producer_epoch: i16,
    /// Its own sequence number, or -1.
    pub sequence: i32,
}

impl Cluster {
    /// One broker, in memory, on a free port of 127.0.0.1, with Kafka's defaults, unless told otherwise.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder { brokers: 1, topics: Vec::new(), data_dir: None, listen: None, configs: Vec::new() }
    }

    /// `host:port`, for a client's `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        self.address.to_string()
    }

    /// The address that the broker listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The log of one partition.
    pub fn log(&self, topic: &str, partition: i32) -> PartitionLog<'_> {
        PartitionLog { cluster: self, topic: topic.to_owned(), partition }
    }

    /// Creates a topic and returns when the broker serves it.
    ///
    /// # Errors
    /// Kafka's error code and a message, for example when the topic exists.
    pub fn create_topic(
        &self,
        _name: &str,
        _partitions: i32,
        _replication_factor: i16,
    ) -> Result<(), TopicError> {
        Err(TopicError { code: -1, message: "not served yet".into() })
    }

    /// Deletes a topic and returns when the broker no longer serves it.
    ///
    /// # Errors
    /// Kafka's error code and a message, for example when there is no such topic.
    pub fn delete_topic(&self, _name: &str) -> Result<(), TopicError> {
        Err(TopicError { code: -1, message: "not served yet".into() })
    }

    /// Returns when everything acknowledged so far is on disk (fdatasync). In memory there is nothing to do.
    ///
    /// # Errors
    /// Names each log that could not be synced; its records may be lost with the machine.
    pub fn sync(&self) -> Result<(), StopError> {
        Ok(())
    }

    /// Stops accepting, closes the connections, syncs and closes every log, and marks the directory as cleanly stopped.
    ///
    /// # Errors
    /// Names each log that could not be closed; the next start recovers it.
    pub fn stop(self) -> Result<(), StopError> {
        Ok(())
    }
}

impl ClusterBuilder {
    /// How many brokers. Only 1 is possible for now; [`ClusterBuilder::start`] refuses more.
    pub fn brokers(mut self, count: usize) -> Self {
        self.brokers = count;
        self
    }

    /// A topic that is there when `start` returns. One that a data directory already holds is left as it is.
    pub fn topic(mut self, name: impl Into<String>, partitions: i32, replication_factor: i16) -> Self {
        self.topics.push((name.into(), partitions, replication_factor));
        self
    }

    /// Keeps the data in this directory, in Kafka's format; created on first use. Without it everything is in memory.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Listens here instead of on a free port of 127.0.0.1, for example `0.0.0.0:9092`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Sets one of Kafka's broker keys, for example `num.partitions`. Mistakes are reported by [`ClusterBuilder::start`].
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((key.into(), value.into()));
        self
    }

    /// Starts the cluster; its port is bound and its topics exist when this returns.
    ///
    /// # Errors
    /// Says what is wrong: configuration, address, directory. Nothing is left running.
    pub fn start(self) -> Result<Cluster, StartError> {
        if self.brokers != 1 {
            return Err(StartError::Config(format!(
                "brokers({}) is not possible yet: a cluster has one broker for now",
                self.brokers
            )));
        }
        Err(StartError::Config(
            "this version of the crate has only the signatures; the broker follows".into(),
        ))
    }
}

impl PartitionLog<'_> {
    /// Every committed record, in order of offset.
    ///
    /// # Panics
    /// If the cluster has no such partition or the log cannot be read: this is for tests. [`PartitionLog::try_records`]
    /// returns the error.
    pub fn records(&self) -> Vec<LogRecord> {
        Vec::new()
    }

    /// Every committed record, in order of offset.
    ///
    /// # Errors
    /// No such partition, or its log cannot be read.
    pub fn try_records(&self) -> Result<Vec<LogRecord>, TopicError> {
        Err(TopicError { code: -1, message: "not served yet".into() })
    }

    /// Offset of the first record kept.
    pub fn start_offset(&self) -> i64 {
        0
    }

    /// The high watermark: offset after the last committed record.
    pub fn end_offset(&self) -> i64 {
        0
    }
}
