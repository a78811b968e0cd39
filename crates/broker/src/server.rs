//! The broker as a server: what `Cluster` embeds and `rohrpost broker` runs. Starts the parts in order and stops them in order.
//!
//! Start: take the data directory, bind the listener (so that the port is known, N14), open the metadata log, open every
//! partition's log, be unfenced, then accept. Stop: stop accepting and answering, then D21: high watermarks, logs, recovery
//! points, log starts, and last the marker that the stop was a clean one.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rohrpost_log::{DirError, FileStorage, Identity, LogDir, MemoryStorage, Storage};
use rohrpost_protocol::Uuid;

use crate::clock::{Clock, SystemClock, Timed};
use crate::config::{BrokerConfig, TopicDefaults};
use crate::controller::{
    BrokerHeartbeat, BrokerRegistration, ControllerSettings, CreateTopics, CreatedTopic, LocalController,
    MetadataLog, MetadataSource, NewTopic, StartOptions, TopicRef,
};
use crate::endpoints::{Bound, bind_all, connection_limits, host_for_url};
use crate::error::{StartError, StopError, TopicError};
use crate::handler::{FetchSessions, Handlers, ProducerIds};
use crate::metadata::{
    CLUSTER_METADATA_TOPIC, CLUSTER_METADATA_TOPIC_ID, EndPoint, FeatureRange, METADATA_VERSION,
    MetadataImage,
};
use crate::network::{
    ConnectionQuota, FrameMemory, ListenerId, NetworkThread, RequestChannel, ResponseQueue, Service, Shared,
    SocketConfig, UnsentBytes, run_handler,
};
use crate::replica::{Partition, ReplicaManager};

/// Enough for a handler, whose buffers are on the heap; a thread that never gets deep costs only what it touches.
const THREAD_STACK_BYTES: usize = 1 << 20;

/// What all handlers share.
pub(crate) struct Broker {
    config: BrokerConfig,
    broker_epoch: i64,
    metadata: Arc<dyn MetadataSource>,
    replicas: Arc<ReplicaManager>,
    producer_ids: ProducerIds,
    fetch_sessions: FetchSessions,
    unsent: Arc<UnsentBytes>,
    in_memory: bool,
    clock: Arc<dyn Clock>,
}

/// One listener of a running broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerAddress<'a> {
    /// Its name.
    pub name: &'a str,
    /// The address that is bound.
    pub bound: SocketAddr,
    /// `host:port` that clients are told.
    pub advertised: String,
}

/// A running broker. Dropping it stops it like [`BrokerServer::stop`], waits as that does, and logs errors. `Send + Sync`.
///
/// ```
/// use rohrpost_broker::BrokerServer;
/// use rohrpost_broker::config::BrokerConfig;
///
/// # let directory = tempfile::tempdir()?;
/// # let data = directory.path().display().to_string();
/// let config = BrokerConfig::from_properties(&format!("node.id=1\nlog.dirs={data}\nlisteners=PLAINTEXT://127.0.0.1:0\n"))?;
/// let server = BrokerServer::start(config)?;
/// server.create_topic("orders", 6, 1)?;
/// println!("clients connect to {}", server.bootstrap_servers());
/// server.stop()?; // else the next start takes it for killed, and recovers
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BrokerServer {
    /// There until the broker is stopped; the next two likewise.
    broker: Option<Arc<Broker>>,
    controller: Option<Arc<LocalController>>,
    /// The data directories, in the order of the configuration.
    dirs: Vec<Arc<LogDir>>,
    /// Which of them has the metadata log.
    metadata_dir: usize,
    /// Address and what clients are told, of each listener, in the configuration's order.
    listeners: Vec<(SocketAddr, EndPoint)>,
    quota: Arc<ConnectionQuota>,
    queues: Vec<Arc<ResponseQueue>>,
    channels: Vec<Arc<RequestChannel>>,
    threads: Vec<JoinHandle<()>>,
}

impl BrokerServer {
    /// Starts a broker; it accepts connections when this returns.
    ///
    /// # Blocking
    /// As long as the recovery of the logs takes: after a clean stop none is read, after a kill what was not synced.
    ///
    /// # Errors
    /// Says what is wrong. Nothing is left running, and the directory is free again.
    pub fn start(config: BrokerConfig) -> Result<BrokerServer, StartError> {
        let storage = Self::storage_for(&config);
        Self::start_on(config, storage, Arc::new(SystemClock::new()))
    }

    pub(crate) fn storage_for(config: &BrokerConfig) -> Arc<dyn Storage> {
        if config.is_in_memory() { Arc::new(MemoryStorage::new()) } else { Arc::new(FileStorage::new()) }
    }

    /// Starts a broker on files of the caller's, for tests with disks that fail, and by the caller's clock.
    #[doc(hidden)]
    pub fn start_on(
        config: BrokerConfig,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
    ) -> Result<BrokerServer, StartError> {
        for ignored in &config.ignored {
            tracing::warn!("{ignored}");
        }
        let (dirs, metadata_dir) = open_dirs(&config, &storage)?;
        let sockets = SocketConfig::from(&config);
        let limits = connection_limits(&config)?;
        let bound = bind_all(&config, &sockets)?;
        let listeners: Vec<(SocketAddr, EndPoint)> =
            bound.iter().map(|bound| (bound.address, bound.advertised.clone())).collect();
        let (_, first) = &listeners[0]; // bind_all gives at least one
        for dir in &dirs {
            dir.write_address(&format!("{}:{}", host_for_url(&first.host), first.port))
                .map_err(|error| StartError::Storage(error.to_string()))?;
        }

        let controller = Arc::new(start_controller(&config, &dirs[metadata_dir], &clock)?);
        let metadata: Arc<dyn MetadataSource> = controller.clone();
        let replicas = ReplicaManager::new(&config, dirs.clone(), Arc::clone(&clock));
        let replicas = Arc::new(replicas.map_err(StartError::Storage)?);
        warn_of_missing_dirs(&config, &*metadata, &dirs);
        // a weak reference: the controller must not keep the replicas alive, nor they it
        let listener_of_changes = Arc::downgrade(&replicas);
        metadata.subscribe(Box::new(move |image, delta| {
            if let Some(replicas) = listener_of_changes.upgrade() {
                replicas.apply(image, delta);
            }
        }));
        let broker_epoch = register(&config, &*metadata, &dirs, metadata_dir, &listeners)?;
        // I12: the first block of producer ids is there before the first client
        let first_ids =
            metadata.allocate_producer_ids(config.node_id, broker_epoch).map_err(StartError::metadata)?;
        replicas.set_aside_strays(&metadata.image());

        let broker = Arc::new(Broker {
            broker_epoch,
            metadata,
            replicas,
            producer_ids: ProducerIds::new(first_ids),
            fetch_sessions: FetchSessions::new(config.max_incremental_fetch_session_cache_slots),
            unsent: Arc::default(),
            in_memory: config.is_in_memory(),
            clock,
            config,
        });
        let quota = Arc::new(ConnectionQuota::new(limits));
        let mut server = BrokerServer {
            broker: Some(broker),
            controller: Some(controller),
            dirs,
            metadata_dir,
            listeners,
            quota,
            queues: Vec::new(),
            channels: Vec::new(),
            threads: Vec::new(),
        };
        server.start_threads(bound, &sockets).map_err(StartError::Thread)?;
        Ok(server)
    }

    fn start_threads(&mut self, bound: Vec<Bound>, sockets: &SocketConfig) -> io::Result<()> {
        let broker = Arc::clone(self.broker());
        let config = &broker.config;
        let service: Arc<dyn Service> = Arc::new(Handlers::new(Arc::clone(&broker)));
        let channel = Arc::new(RequestChannel::new(config.queued_max_requests));
        self.channels.push(Arc::clone(&channel));
        // In memory timed work never blocks and rides on a handler thread. On disk it waits for syncs, which no request may wait
        // for (D12), so it has one thread of its own.
        let background = (!broker.in_memory).then(|| Arc::clone(&broker.replicas));

        let shared = Shared {
            service: Arc::clone(&service),
            channel: Arc::clone(&channel),
            quota: Arc::clone(&self.quota),
            memory: config.queued_max_request_bytes.map(|max| Arc::new(FrameMemory::new(max as usize))),
            config: sockets.clone(),
        };
        // each listener has network threads of its own; the first of them accepts
        let mut network: Vec<NetworkThread> = Vec::new();
        for (index, Bound { name, socket, .. }) in bound.into_iter().enumerate() {
            let listener = ListenerId { index, name };
            let mut threads: Vec<NetworkThread> = (0..config.num_network_threads)
                .map(|_| NetworkThread::new(listener.clone(), shared.clone()))
                .collect::<io::Result<_>>()?;
            let others: Vec<_> = threads.iter().skip(1).map(NetworkThread::handover).collect();
            threads[0].accept_from(socket, &others)?;
            network.append(&mut threads);
        }
        self.queues = network.iter().map(NetworkThread::queue).collect();

        let io_threads = config.num_io_threads;
        for n in 0..io_threads {
            let (service, channel) = (Arc::clone(&service), Arc::clone(&channel));
            let timed = n == 0 && background.is_none();
            self.spawn(format!("rohrpost-io-{n}"), move || run_handler(&*service, &channel, timed))?;
        }
        if let Some(replicas) = background {
            self.spawn("rohrpost-background".to_owned(), move || replicas.run_timed_work())?;
        }
        for (n, thread) in network.into_iter().enumerate() {
            self.spawn(format!("rohrpost-net-{n}"), move || thread.run())?;
        }
        Ok(())
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name).stack_size(THREAD_STACK_BYTES).spawn(run)?);
        Ok(())
    }

    /// `host:port` that clients are to use.
    pub fn bootstrap_servers(&self) -> String {
        let (_, end_point) = &self.listeners[0]; // bind_all gives at least one
        format!("{}:{}", host_for_url(&end_point.host), end_point.port)
    }

    /// The address that is bound; of several listeners, that of the first.
    pub fn address(&self) -> SocketAddr {
        self.listeners[0].0
    }

    /// Every listener, in the configuration's order.
    pub fn listeners(&self) -> impl Iterator<Item = ListenerAddress<'_>> {
        self.listeners.iter().map(|(address, end_point)| ListenerAddress {
            name: &end_point.name,
            bound: *address,
            advertised: format!("{}:{}", host_for_url(&end_point.host), end_point.port),
        })
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.quota.open()
    }

    /// Creates a topic; -1 for the broker's defaults. Returns when the broker serves it and the metadata log is synced.
    ///
    /// # Errors
    /// Kafka's error code and a message, for example when the topic exists. Nothing was created then.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
    ) -> Result<CreatedTopic, TopicError> {
        let topics = vec![NewTopic::new(name, partitions, replication_factor)];
        let results = self.broker().metadata.create_topics(&CreateTopics { topics, validate_only: false });
        first(results)
    }

    /// Deletes a topic. Returns when the broker no longer serves it.
    ///
    /// # Errors
    /// Kafka's error code and a message, for example when there is no such topic.
    pub fn delete_topic(&self, name: &str) -> Result<(), TopicError> {
        first(self.broker().metadata.delete_topics(&[TopicRef::Name(name.to_owned())])).map(|_| ())
    }

    pub(crate) fn has_topic(&self, name: &str) -> bool {
        self.broker().metadata.image().topic(name).is_some()
    }

    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Result<Arc<Partition>, TopicError> {
        self.broker().replicas.by_name(topic, partition).map_err(|code| TopicError {
            code: code.0,
            message: format!("{topic}-{partition}: {}", code.message()),
        })
    }

    /// Returns when everything acknowledged so far is on disk (fdatasync).
    ///
    /// # Blocking
    /// As long as the disk takes; no timeout bounds it.
    ///
    /// # Errors
    /// Names each log that could not be synced; its records may be lost with the machine.
    pub fn sync(&self) -> Result<(), StopError> {
        if self.broker().in_memory {
            return Ok(());
        }
        self.broker().replicas.sync().map_err(|failures| StopError { failures })
    }

    /// Why a data directory is offline, if one is (D30). The broker goes on, and answers KAFKA_STORAGE_ERROR for what lies there.
    pub fn storage_failure(&self) -> Option<String> {
        let health = self.dirs.iter().map(|dir| dir.health()).find(|health| health.is_offline())?;
        Some(health.reason().unwrap_or_else(|| "a disk error".to_owned()))
    }

    /// Why this broker serves nothing any more, if so: the directory of the metadata log is offline, or every directory is (D30). A
    /// server ends then; an embedded broker goes on answering KAFKA_STORAGE_ERROR.
    pub fn fatal_storage_failure(&self) -> Option<String> {
        let is_fatal = self.dirs.get(self.metadata_dir).is_some_and(|dir| dir.health().is_offline())
            || self.dirs.iter().all(|dir| dir.health().is_offline());
        is_fatal.then(|| self.storage_failure()).flatten()
    }

    /// What a clock that is moved by hand moves.
    pub(crate) fn timed(&self) -> Weak<dyn Timed> {
        let replicas: Arc<dyn Timed> = self.broker().replicas.clone();
        Arc::downgrade(&replicas)
    }

    /// Stops accepting, closes the connections, syncs and closes every log, and marks the directory as cleanly stopped. Requests that
    /// are not answered yet never are.
    ///
    /// # Blocking
    /// Waits for the broker's threads to end and for the disk.
    ///
    /// # Errors
    /// Names what could not be closed; the next start recovers it. The broker is stopped all the same.
    pub fn stop(mut self) -> Result<(), StopError> {
        self.shut_down()
    }

    /// Stops without closing anything properly, as a killed process would. For tests of recovery.
    #[doc(hidden)]
    pub fn abandon(mut self) {
        self.stop_threads();
        self.broker = None;
        self.controller = None;
        self.dirs.clear();
    }

    fn shut_down(&mut self) -> Result<(), StopError> {
        self.stop_threads(); // N15
        let (Some(broker), Some(controller)) = (self.broker.take(), self.controller.take()) else {
            return Ok(());
        };
        let mut logs = broker.replicas.take_logs();
        let epoch = broker.broker_epoch;
        let threads = broker.config.num_recovery_threads_per_data_dir;
        drop(broker);
        let mut failures = Vec::new();
        // it has no high watermark of its own: what is in it is committed
        match controller.stop() {
            Some(log) => {
                let end = log.log_end_offset();
                logs[self.metadata_dir].push(((CLUSTER_METADATA_TOPIC.to_owned(), 0), log, end));
            }
            None => failures.push("the metadata log had failed; the next start recovers".to_owned()),
        }
        let metadata_failed = !failures.is_empty();
        drop(controller);
        let dirs = std::mem::take(&mut self.dirs);
        for (index, (dir, logs)) in dirs.into_iter().zip(logs).enumerate() {
            // D21. Threads, waiters and the controller are gone, so this is the last reference; the lock goes with it
            let Some(dir) = Arc::into_inner(dir) else {
                failures.push("a data directory is still in use".to_owned());
                continue;
            };
            if metadata_failed && index == self.metadata_dir {
                continue; // no marker: it has lost a log
            }
            // D30: one that has failed does not keep the others from a clean stop
            if let Err(error) = dir.close_with(logs, epoch, threads) {
                failures.push(error.to_string());
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(StopError { failures }) }
    }

    pub(crate) fn broker(&self) -> &Arc<Broker> {
        match &self.broker {
            Some(broker) => broker,
            None => unreachable!("a stopped server is not reachable: stop() and abandon() take it"),
        }
    }

    /// N15: waiting requests end with a closed connection.
    fn stop_threads(&mut self) {
        for queue in &self.queues {
            queue.stop();
        }
        for channel in &self.channels {
            channel.stop();
        }
        let join = |thread: JoinHandle<()>| {
            if thread.join().is_err() {
                tracing::error!("a thread of the broker had panicked");
            }
        };
        if let Some(broker) = &self.broker {
            broker.replicas.stop();
        }
        self.threads.drain(..).for_each(join);
        // what was on its way between the threads when they ended: a wait that is not cancelled keeps its partitions
        for channel in &self.channels {
            channel.stop();
        }
        for queue in &self.queues {
            queue.cancel_waits();
        }
    }
}

impl Drop for BrokerServer {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::error!(%error, "the broker did not stop cleanly; the next start recovers");
        }
    }
}

impl std::fmt::Debug for BrokerServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerServer").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Broker {
    pub(crate) fn metadata(&self) -> &dyn MetadataSource {
        &*self.metadata
    }

    pub(crate) fn replicas(&self) -> &ReplicaManager {
        &self.replicas
    }

    pub(crate) fn producer_ids(&self) -> &ProducerIds {
        &self.producer_ids
    }

    pub(crate) fn fetch_sessions(&self) -> &FetchSessions {
        &self.fetch_sessions
    }

    pub(crate) fn node_id(&self) -> i32 {
        self.config.node_id
    }

    pub(crate) fn epoch(&self) -> i64 {
        self.broker_epoch
    }

    /// True if a request may wait for a disk, and so must not run in a network thread.
    pub(crate) fn storage_may_block(&self) -> bool {
        !self.in_memory
    }

    /// What the broker was told when it started.
    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// What a topic gets without settings of its own, as it is now (M9).
    pub(crate) fn topic_defaults(&self, image: &MetadataImage) -> TopicDefaults {
        self.config.topic_defaults.overlay(image, self.config.node_id)
    }

    pub(crate) fn request_partition_limit(&self) -> usize {
        self.config.max_request_partition_size_limit
    }

    /// Records in answers that are not sent yet.
    pub(crate) fn unsent(&self) -> &Arc<UnsentBytes> {
        &self.unsent
    }

    pub(crate) fn fetch_bytes_max(&self) -> usize {
        self.config.fetch_max_bytes
    }

    pub(crate) fn auto_create_topics(&self) -> bool {
        self.config.auto_create_topics_enable
    }

    /// The wall clock, ms since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Timed work, in memory: on a data directory a thread of its own does it. Returns when to be called again.
    pub(crate) fn tick(&self, now: Instant) -> Instant {
        let next_ms = self.replicas.run_due();
        // a clock that is moved by hand does the work itself
        self.clock.wake_at(next_ms).unwrap_or(now + NOT_BY_TIME)
    }
}

const NOT_BY_TIME: Duration = Duration::from_secs(24 * 3600);

/// Takes all data directories, and says which has the metadata log: `metadata.log.dir`, or the first.
fn open_dirs(
    config: &BrokerConfig,
    storage: &Arc<dyn Storage>,
) -> Result<(Vec<Arc<LogDir>>, usize), StartError> {
    let memory = [PathBuf::from("memory")];
    let paths = if config.is_in_memory() { &memory[..] } else { &config.log_dirs[..] };
    let metadata = config.metadata_log_dir.as_ref().and_then(|dir| paths.iter().position(|path| path == dir));
    let metadata = metadata.unwrap_or(0);
    let mut dirs: Vec<Option<Arc<LogDir>>> = vec![None; paths.len()];
    // the metadata directory says which cluster all belong to
    let mut cluster_id = None;
    for index in std::iter::once(metadata).chain((0..paths.len()).filter(|index| *index != metadata)) {
        let dir = open_dir(config, Arc::clone(storage), &paths[index], cluster_id.clone())?;
        cluster_id = Some(dir.meta().cluster_id.clone());
        dirs[index] = Some(Arc::new(dir));
    }
    let dirs: Vec<Arc<LogDir>> = dirs.into_iter().flatten().collect();
    // a new metadata log beside an old one would make strangers of all partitions
    let has_metadata = |dir: &Arc<LogDir>| {
        let partitions = dir.partitions().map_err(|error| StartError::Storage(error.to_string()))?;
        Ok(partitions.iter().any(|found| found.topic == CLUSTER_METADATA_TOPIC))
    };
    if !has_metadata(&dirs[metadata])? {
        for dir in &dirs {
            if has_metadata(dir)? {
                return Err(StartError::Config(format!(
                    "the metadata log lies in {}; name that directory first in log.dirs, or in metadata.log.dir",
                    dir.path()
                )));
            }
        }
    }
    Ok((dirs, metadata))
}

fn open_dir(
    config: &BrokerConfig,
    storage: Arc<dyn Storage>,
    path: &Path,
    cluster_id: Option<String>,
) -> Result<LogDir, StartError> {
    let path = path.to_str().ok_or_else(|| {
        StartError::Config(format!("the path of the data directory {} is not UTF-8", path.display()))
    })?;
    let identity = Identity {
        node_id: config.node_id,
        cluster_id,
        new_cluster_id: random_id(),
        new_directory_id: random_id(),
    };
    LogDir::open(storage, path, &identity).map_err(|error| match error {
        DirError::InUse { path, address } => StartError::DirectoryInUse { directory: path.into(), address },
        error => StartError::Storage(error.to_string()),
    })
}

/// A directory that this broker had at its last start and has no more: its partitions begin anew, empty, elsewhere.
fn warn_of_missing_dirs(config: &BrokerConfig, metadata: &dyn MetadataSource, dirs: &[Arc<LogDir>]) {
    let image = metadata.image();
    let Some(before) = image.broker(config.node_id).filter(|_| !config.is_in_memory()) else { return };
    let missing = before.log_dirs.iter().filter(|id| dirs.iter().all(|dir| dir.meta().directory_id != id.0));
    for id in missing {
        tracing::error!(
            directory_id = %id,
            "a data directory of the last start is not named in log.dirs; partitions that lie there begin anew, empty, in              another one. Stop, and name it again, if that is not meant"
        );
    }
}

/// Opens the metadata log and starts the controller of this process on it.
fn start_controller(
    config: &BrokerConfig,
    dir: &LogDir,
    clock: &Arc<dyn Clock>,
) -> Result<LocalController, StartError> {
    let log_config = MetadataLog::config(config.metadata_log_segment_bytes);
    let topic_id = CLUSTER_METADATA_TOPIC_ID.0;
    let log = dir
        .open_log(CLUSTER_METADATA_TOPIC, 0, topic_id, log_config, clock.now_ms(), fastrand::u64(..))
        .map_err(|error| StartError::Storage(error.to_string()))?;
    LocalController::start(StartOptions {
        cluster_id: dir.meta().cluster_id.clone(),
        settings: ControllerSettings::from(config),
        log: MetadataLog::with_policy(log, config.into()),
        seed: fastrand::u64(..),
        clock: Box::new({
            let clock = Arc::clone(clock);
            move || clock.now_ms()
        }),
    })
    .map_err(StartError::metadata)
}

/// Registers and is unfenced at once: stand-alone there is nobody to wait for.
fn register(
    config: &BrokerConfig,
    metadata: &dyn MetadataSource,
    dirs: &[Arc<LogDir>],
    metadata_dir: usize,
    listeners: &[(SocketAddr, EndPoint)],
) -> Result<i64, StartError> {
    let registration = BrokerRegistration {
        broker_id: config.node_id,
        cluster_id: metadata.image().cluster_id.to_string(),
        incarnation_id: Uuid(random_id()),
        end_points: listeners.iter().map(|(_, end_point)| end_point.clone()).collect(),
        features: vec![(
            "metadata.version".to_owned(),
            FeatureRange { min: METADATA_VERSION, max: METADATA_VERSION },
        )],
        rack: config.broker_rack.clone(),
        log_dirs: dirs.iter().map(|dir| Uuid(dir.meta().directory_id)).collect(),
        previous_broker_epoch: dirs[metadata_dir].last_broker_epoch().unwrap_or(-1),
    };
    let broker_epoch = metadata.register_broker(&registration).map_err(StartError::metadata)?;
    let heartbeat = BrokerHeartbeat {
        broker_id: config.node_id,
        broker_epoch,
        current_metadata_offset: metadata.image().offset,
        want_fence: false,
        want_shut_down: false,
    };
    metadata.broker_heartbeat(&heartbeat).map_err(StartError::metadata)?;
    Ok(broker_epoch)
}

fn first<T>(results: Vec<Result<T, crate::controller::ApiError>>) -> Result<T, TopicError> {
    match results.into_iter().next() {
        Some(result) => result.map_err(|error| TopicError { code: error.code.0, message: error.message }),
        None => Err(TopicError { code: -1, message: "the controller gave no answer".to_owned() }),
    }
}

/// Sixteen random bytes, none of the reserved ids (D4).
fn random_id() -> [u8; 16] {
    fastrand::u128(1 << 64..).to_be_bytes()
}
