//! A broker inside a process: start, look inside, stop. No runtime, no files unless asked for, gone when dropped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rohrpost_log::Storage;
use rohrpost_record::Batches;

use crate::clock::{ManualClock, SystemClock};
use crate::config::{BrokerConfig, EMBEDDED_DEFAULTS};
use crate::error::{StartError, StopError, TopicError};
use crate::replica::{EpochCheck, Partition, ReadRequest, Reader};
use crate::server::BrokerServer;

/// A running cluster of one broker. `Send + Sync`; share it in an `Arc`. Dropping it stops it like [`Cluster::stop`], waits as that
/// does, and logs what went wrong.
///
/// It has threads of its own and needs no runtime. Its calls are blocking ones: in asynchronous code start and stop it where a
/// millisecond (in memory) or a few syncs of the disk (with a data directory) do no harm.
///
/// ```
/// use rohrpost_broker::Cluster;
///
/// let cluster = Cluster::builder().topic("orders", 6, 1).config("message.max.bytes", "2000").start()?;
/// let servers = cluster.bootstrap_servers(); // for any Kafka client
/// assert!(servers.starts_with("127.0.0.1:"));
/// cluster.create_topic("payments", 1, 1)?;
/// assert_eq!(cluster.log("payments", 0).end_offset(), 0);
/// cluster.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cluster {
    server: BrokerServer,
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
    storage: Option<Arc<dyn Storage>>,
    clock: Option<ManualClock>,
}

/// The log of one partition, for looking at. Reads what is committed; disturbs nothing.
#[derive(Debug)]
pub struct PartitionLog<'a> {
    cluster: &'a Cluster,
    topic: String,
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
        ClusterBuilder {
            brokers: 1,
            topics: Vec::new(),
            data_dir: None,
            listen: None,
            configs: Vec::new(),
            storage: None,
            clock: None,
        }
    }

    /// `host:port`, for a client's `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        self.server.bootstrap_servers()
    }

    /// The address that the broker listens on; the port is the real one, also where any free one was asked for.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The broker itself.
    pub fn server(&self) -> &BrokerServer {
        &self.server
    }

    /// The log of one partition.
    pub fn log(&self, topic: &str, partition: i32) -> PartitionLog<'_> {
        PartitionLog { cluster: self, topic: topic.to_owned(), partition }
    }

    /// Creates a topic and returns when the broker serves it. -1 means the broker's default (`num.partitions`,
    /// `default.replication.factor`). With a data directory the metadata log is synced before it returns.
    ///
    /// # Errors
    /// Kafka's error code and a message, for example when the topic exists.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
    ) -> Result<(), TopicError> {
        self.server.create_topic(name, partitions, replication_factor).map(|_| ())
    }

    /// Deletes a topic and returns when the broker no longer serves it.
    ///
    /// # Errors
    /// Kafka's error code and a message, for example when there is no such topic.
    pub fn delete_topic(&self, name: &str) -> Result<(), TopicError> {
        self.server.delete_topic(name)
    }

    /// Returns when everything acknowledged so far is on disk (fdatasync). In memory there is nothing to do.
    ///
    /// # Blocking
    /// As long as the disk takes; no timeout bounds it.
    ///
    /// # Errors
    /// Names each log that could not be synced; its records may be lost with the machine.
    pub fn sync(&self) -> Result<(), StopError> {
        self.server.sync()
    }

    /// Why the data directory is offline, if it is: after a disk error everything is answered with KAFKA_STORAGE_ERROR.
    pub fn storage_failure(&self) -> Option<String> {
        self.server.storage_failure()
    }

    /// Stops accepting, closes the connections, syncs and closes every log, and marks the directory as cleanly stopped. Requests that
    /// are not answered yet never are: their clients see a closed connection.
    ///
    /// # Blocking
    /// Waits for the broker's threads to end and for the disk; about a millisecond in memory.
    ///
    /// # Errors
    /// Names each log that could not be closed; the next start recovers it. The cluster is stopped all the same.
    pub fn stop(self) -> Result<(), StopError> {
        self.server.stop()
    }

    /// Stops without closing anything properly, as a killed process would. For tests of recovery.
    #[doc(hidden)]
    pub fn abandon(self) {
        self.server.abandon();
    }
}

impl ClusterBuilder {
    /// How many brokers. Only 1 is possible for now; [`ClusterBuilder::start`] refuses more.
    pub fn brokers(mut self, count: usize) -> Self {
        self.brokers = count;
        self
    }

    /// A topic that is there when `start` returns; -1 means the broker's default. One that a data directory already holds is left as it
    /// is.
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

    /// Keeps the data directory on files of the caller's, for tests with disks that fail.
    #[doc(hidden)]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Runs by this clock instead of the machine's: the times in records and answers, retention, and when checkpoints, syncs by
    /// `flush.ms` and the like are due. Deadlines of requests stay in real time.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Starts the cluster; its port is bound and its topics exist when this returns.
    ///
    /// # Blocking
    /// A millisecond in memory. With a data directory as long as the recovery of its logs takes: only what a killed broker has left
    /// since the last sync is read.
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
        let mut pairs: Vec<(String, String)> =
            EMBEDDED_DEFAULTS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        if let Some(address) = self.listen {
            pairs.push(("listeners".to_owned(), format!("PLAINTEXT://{address}")));
        }
        pairs.extend(self.configs);
        let mut config =
            BrokerConfig::from_pairs(pairs).map_err(|error| StartError::Config(error.to_string()))?;
        if let Some(path) = self.data_dir {
            config.log_dirs = vec![path];
        }
        let storage = match self.storage {
            Some(storage) => storage,
            None => BrokerServer::storage_for(&config),
        };
        let server = match &self.clock {
            Some(clock) => BrokerServer::start_on(config, storage, Arc::new(clock.clone()))?,
            None => BrokerServer::start_on(config, storage, Arc::new(SystemClock::new()))?,
        };
        if let Some(clock) = &self.clock {
            clock.follow(server.timed());
        }
        for (name, partitions, replication_factor) in self.topics {
            if !server.has_topic(&name) {
                server
                    .create_topic(&name, partitions, replication_factor)
                    .map_err(|error| StartError::Metadata(format!("topic {name}: {error}")))?;
            }
        }
        Ok(Cluster { server })
    }
}

/// Bytes read from a log at a time, and the most that a compressed batch may unfold to.
const READ_BYTES: usize = 1 << 20;
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

impl PartitionLog<'_> {
    /// Every committed record, in order of offset, in memory at once. Control records are left out.
    ///
    /// # Panics
    /// If the cluster has no such partition or the log cannot be read: this is for tests. [`PartitionLog::try_records`]
    /// returns the error.
    pub fn records(&self) -> Vec<LogRecord> {
        match self.try_records() {
            Ok(records) => records,
            Err(error) => panic!("{error}"),
        }
    }

    /// Every committed record, in order of offset. Control records are left out.
    ///
    /// # Errors
    /// No such partition, or its log cannot be read.
    pub fn try_records(&self) -> Result<Vec<LogRecord>, TopicError> {
        let partition = self.partition()?;
        let mut records = Vec::new();
        let mut scratch = Vec::new();
        let (mut offset, end) = self.offsets(&partition)?;
        while offset < end {
            let read = partition
                .read(ReadRequest {
                    reader: Reader::Consumer,
                    epoch: EpochCheck(-1),
                    offset,
                    last_fetched_epoch: -1,
                    bytes_max: READ_BYTES,
                    at_least_one: true,
                })
                .map_err(|code| self.error(code.0, code.message()))?;
            if read.records.is_empty() {
                break;
            }
            for batch in Batches::new(&read.records) {
                let batch = batch.map_err(|error| self.error(2, &error.to_string()))?;
                let header = *batch.header();
                offset = header.next_offset();
                if header.attributes.is_control() {
                    continue;
                }
                let decoded = batch.records(&mut scratch, DECOMPRESSED_BYTES_MAX);
                for record in decoded.map_err(|error| self.error(2, &error.to_string()))? {
                    let record = record.map_err(|error| self.error(2, &error.to_string()))?;
                    let headers = record.headers().map(|header| {
                        (String::from_utf8_lossy(header.key).into_owned(), header.value.map(<[u8]>::to_vec))
                    });
                    records.push(LogRecord {
                        offset: record.offset,
                        timestamp: record.timestamp,
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                        headers: headers.collect(),
                        producer_id: header.producer_id,
                        producer_epoch: header.producer_epoch,
                        sequence: record.sequence,
                    });
                }
            }
        }
        Ok(records)
    }

    /// Offset of the first record kept; 0 if there is no such partition.
    pub fn start_offset(&self) -> i64 {
        self.partition().and_then(|partition| self.offsets(&partition)).map_or(0, |(start, _)| start)
    }

    /// The high watermark: offset after the last committed record; 0 if there is no such partition.
    pub fn end_offset(&self) -> i64 {
        self.partition().and_then(|partition| self.offsets(&partition)).map_or(0, |(_, end)| end)
    }

    /// Offset up to which the log is known to be on disk; 0 if there is no such partition. In memory nothing is.
    pub fn synced_offset(&self) -> i64 {
        let synced = |partition: Arc<Partition>| partition.with_log(|log| log.recovery_point());
        self.partition().ok().and_then(synced).unwrap_or(0)
    }

    /// Fetches that wait for new records here.
    pub fn waiting_fetches(&self) -> usize {
        self.partition().map_or(0, |partition| partition.fetch_waiters().len())
    }

    fn partition(&self) -> Result<Arc<Partition>, TopicError> {
        self.cluster.server.partition(&self.topic, self.partition)
    }

    fn offsets(&self, partition: &Partition) -> Result<(i64, i64), TopicError> {
        partition.offsets().ok_or_else(|| self.error(56, "its log is offline"))
    }

    fn error(&self, code: i16, what: &str) -> TopicError {
        TopicError { code, message: format!("{}-{}: {what}", self.topic, self.partition) }
    }
}
