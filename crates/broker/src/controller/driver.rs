//! [`LocalController`]: the thin part that owns the metadata log, the clock and the listeners.
//!
//! A proposal takes this way: decide ([`Controller`]) → apply to a copy of the image → append and sync (C21) → the copy becomes
//! the image → listeners apply it, in order, without the controller's lock → the caller gets its answer (M3).

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use parking_lot::{Mutex, RwLock};
use rohrpost_log::Log;
use rohrpost_protocol::ErrorCode;

use super::local::{Controller, ControllerSettings};
use super::log::{MetadataLog, MetadataLogError};
use super::records::Proposal;
use super::source::{
    AlterConfigs, ApiError, BrokerHeartbeat, BrokerRegistration, CreatePartitions, CreateTopics,
    CreatedTopic, DeletedTopic, ElectLeaders, Election, HeartbeatAnswer, MetadataListener, MetadataSource,
    ProducerIdBlock, TopicRef,
};
use crate::metadata::{MetadataDelta, MetadataImage, Replay};

/// The clock: ms since 1970.
pub type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

/// The controller of a stand-alone broker or an embedded cluster. `Send + Sync`; share it in an `Arc`.
pub struct LocalController {
    /// Decisions are made and written one at a time.
    state: Mutex<State>,
    clock: Clock,
    /// What all listeners have seen.
    published: RwLock<Arc<MetadataImage>>,
    /// Committed changes that are still to be delivered. Filled under the lock of `state`, so that the order is the log's; each
    /// proposal adds at most one and does not return before it is gone, so it is as short as there are callers.
    undelivered: Mutex<VecDeque<(Arc<MetadataImage>, MetadataDelta)>>,
    /// Held while changes are delivered: one at a time, in order.
    listeners: Mutex<Vec<MetadataListener>>,
    /// The thread that holds `listeners`, so that a listener's own proposal does not wait for itself.
    delivering: Mutex<Option<ThreadId>>,
}

struct State {
    controller: Controller,
    /// `None` once closed or failed.
    log: Option<MetadataLog>,
    /// Why there is no log.
    stopped: String,
}

/// What a [`LocalController`] starts from.
pub struct StartOptions {
    /// The cluster's id, from `meta.properties`.
    pub cluster_id: String,
    /// What it decides by.
    pub settings: ControllerSettings,
    /// The metadata log.
    pub log: MetadataLog,
    /// Decides topic ids and where placement starts (C22). A server draws it; a simulation chooses it.
    pub seed: u64,
    /// The clock, for the timestamps of batches.
    pub clock: Clock,
}

/// A controller that could not start.
#[derive(Debug)]
pub enum ControllerError {
    /// The metadata log could not be read or written, or holds what this version does not understand.
    Log(MetadataLogError),
    /// The first records of the epoch could not be made.
    Refused(ApiError),
}

impl LocalController {
    /// Reads the log, begins a controller epoch, bootstraps an empty log, and fences what an earlier process has left unfenced.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub fn start(options: StartOptions) -> Result<LocalController, ControllerError> {
        let StartOptions { cluster_id, settings, mut log, seed, clock } = options;
        let mut replay = Replay::new(&cluster_id);
        log.replay(&mut replay)?;
        let offset = log.begin_epoch(settings.node_id, clock())?;
        replay.passed(offset, log.epoch());
        replay.publish();
        // the same seed on the same directory must not draw the same topic ids again
        let seed = seed ^ (log.epoch() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut state = State {
            controller: Controller::new(settings, replay, seed),
            log: Some(log),
            stopped: String::new(),
        };
        if let Some(abort) = state.controller.abort_left_over()? {
            state.commit(abort, clock())?;
        }
        let begin = state.controller.begin_epoch()?;
        state.commit(begin, clock())?;
        while let Some(proposal) = state.controller.fence_one_left_over()? {
            state.commit(proposal, clock())?;
        }
        let published = RwLock::new(state.controller.image().clone());
        Ok(LocalController {
            state: Mutex::new(state),
            clock,
            published,
            undelivered: Mutex::new(VecDeque::new()),
            listeners: Mutex::new(Vec::new()),
            delivering: Mutex::new(None),
        })
    }

    /// Fences a broker of this process that is stopped without saying goodbye.
    ///
    /// # Errors
    /// BROKER_ID_NOT_REGISTERED, KAFKA_STORAGE_ERROR.
    pub fn fence_broker(&self, broker_id: i32) -> Result<(), ApiError> {
        self.propose(|controller, _| controller.fence_broker(broker_id))
    }

    /// The controller's epoch: one more at each start.
    pub fn epoch(&self) -> i32 {
        self.image().epoch
    }

    /// Ends the controller and gives the log back, to be closed with the others of its directory (D21). Later proposals are
    /// answered KAFKA_STORAGE_ERROR; the image stays. `None` if the log has failed or was given back before.
    pub fn stop(&self) -> Option<Log> {
        let mut state = self.state.lock();
        state.stopped = "the controller has stopped".to_owned();
        state.log.take().map(MetadataLog::into_log)
    }

    fn propose<A>(
        &self,
        decide: impl FnOnce(&mut Controller, i64) -> Result<Proposal<A>, ApiError>,
    ) -> Result<A, ApiError> {
        let committed = {
            let mut state = self.state.lock();
            let next_offset = state.log()?.next_offset();
            let proposal = decide(&mut state.controller, next_offset)?;
            let (answer, change) = state.commit(proposal, (self.clock)())?;
            // while the lock is held: the order of delivery is that of the log
            self.undelivered.lock().extend(change);
            answer
        };
        self.deliver();
        Ok(committed)
    }

    /// Delivers what is committed. On return every listener has seen every change that was committed before the call, unless the
    /// caller is a listener itself.
    fn deliver(&self) {
        let this_thread = thread::current().id();
        if *self.delivering.lock() == Some(this_thread) {
            return;
        }
        // M3: whoever comes second waits here until the first has delivered both
        let listeners = self.listeners.lock();
        *self.delivering.lock() = Some(this_thread);
        let _end = OnDrop(|| *self.delivering.lock() = None);
        loop {
            let next = self.undelivered.lock().pop_front();
            let Some((image, delta)) = next else { return };
            for listener in listeners.iter() {
                listener(&image, &delta);
            }
            // after the listeners: who reads of a topic finds a broker that serves it
            *self.published.write() = image;
        }
    }
}

impl State {
    fn log(&self) -> Result<&MetadataLog, ApiError> {
        self.log.as_ref().ok_or_else(|| ApiError::new(ErrorCode::KAFKA_STORAGE_ERROR, self.stopped.clone()))
    }

    /// Writes a proposal, and makes it the controller's state.
    #[allow(clippy::type_complexity)]
    fn commit<A>(
        &mut self,
        proposal: Proposal<A>,
        now_ms: i64,
    ) -> Result<(A, Option<(Arc<MetadataImage>, MetadataDelta)>), ApiError> {
        if proposal.records.is_empty() {
            return Ok((proposal.answer, None));
        }
        let log = self.log()?;
        let refused = |e: MetadataLogError| ApiError::new(ErrorCode::UNKNOWN_SERVER_ERROR, e.to_string());
        let (first, values) = log.prepare(proposal.records, proposal.atomic).map_err(refused)?;
        // Before anything is written: a record that cannot be applied would make every later start fail.
        let mut replay = self.controller.replay().clone();
        for (offset, value) in (first..).zip(&values) {
            replay.apply(offset, log.epoch(), value).map_err(|e| refused(e.into()))?;
        }
        self.append(&values, now_ms)?;
        let change = replay.publish();
        self.controller.committed(replay);
        self.snapshot_if_due(now_ms);
        Ok((proposal.answer, change))
    }

    /// A snapshot that cannot be written costs nothing but the length of the log.
    fn snapshot_if_due(&mut self, now_ms: i64) {
        let Some(log) = &mut self.log else { return };
        let replay = self.controller.replay();
        // a snapshot has no place for half of a metadata transaction, nor for what the image does not keep
        if !log.snapshot_due(now_ms) || replay.open_transaction().is_some() || !replay.keeps_everything() {
            return;
        }
        if let Err(error) = log.write_snapshot(replay.image(), now_ms) {
            tracing::error!(%error, "cannot write a snapshot; the metadata log grows on");
        }
    }

    fn append(&mut self, values: &[Vec<u8>], now_ms: i64) -> Result<(), ApiError> {
        let Some(log) = &mut self.log else { return self.log().map(drop) };
        if let Err(error) = log.append(values, now_ms) {
            // D31: what the disk holds is unknown now; no change may be built on it
            tracing::error!(%error, "the metadata log has failed; no topic can be created or changed until a restart");
            self.stopped = format!("the metadata log has failed: {error}");
            self.log = None;
            return Err(ApiError::new(ErrorCode::KAFKA_STORAGE_ERROR, self.stopped.clone()));
        }
        Ok(())
    }
}

impl MetadataSource for LocalController {
    fn image(&self) -> Arc<MetadataImage> {
        self.published.read().clone()
    }

    fn subscribe(&self, listener: MetadataListener) {
        let mut listeners = self.listeners.lock();
        let image = self.published.read().clone();
        listener(&image, &MetadataDelta::from_nothing(&image));
        listeners.push(listener);
    }

    fn create_topics(&self, request: &CreateTopics) -> Vec<Result<CreatedTopic, ApiError>> {
        self.propose(|controller, _| Ok(controller.create_topics(request)))
            .unwrap_or_else(|error| vec![Err(error); request.topics.len()])
    }

    fn delete_topics(&self, topics: &[TopicRef]) -> Vec<Result<DeletedTopic, ApiError>> {
        self.propose(|controller, _| Ok(controller.delete_topics(topics)))
            .unwrap_or_else(|error| vec![Err(error); topics.len()])
    }

    fn create_partitions(&self, request: &CreatePartitions) -> Vec<Result<(), ApiError>> {
        self.propose(|controller, _| Ok(controller.create_partitions(request)))
            .unwrap_or_else(|error| vec![Err(error); request.topics.len()])
    }

    fn alter_configs(&self, request: &AlterConfigs) -> Vec<Result<(), ApiError>> {
        self.propose(|controller, _| Ok(controller.alter_configs(request)))
            .unwrap_or_else(|error| vec![Err(error); request.resources.len()])
    }

    fn elect_leaders(&self, request: &ElectLeaders) -> Result<Vec<Election>, ApiError> {
        self.propose(|controller, _| controller.elect_leaders(request))
    }

    fn allocate_producer_ids(&self, broker_id: i32, broker_epoch: i64) -> Result<ProducerIdBlock, ApiError> {
        self.propose(|controller, _| controller.allocate_producer_ids(broker_id, broker_epoch))
    }

    fn register_broker(&self, registration: &BrokerRegistration) -> Result<i64, ApiError> {
        self.propose(|controller, next_offset| controller.register_broker(registration, next_offset))
    }

    fn broker_heartbeat(&self, heartbeat: &BrokerHeartbeat) -> Result<HeartbeatAnswer, ApiError> {
        self.propose(|controller, _| controller.broker_heartbeat(heartbeat))
    }
}

impl fmt::Debug for LocalController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalController").field("offset", &self.image().offset).finish_non_exhaustive()
    }
}

impl fmt::Debug for StartOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartOptions").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

impl fmt::Display for ControllerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControllerError::Log(error) => error.fmt(f),
            ControllerError::Refused(error) => write!(f, "controller: {error}"),
        }
    }
}

impl std::error::Error for ControllerError {}

impl From<MetadataLogError> for ControllerError {
    fn from(error: MetadataLogError) -> Self {
        ControllerError::Log(error)
    }
}

impl From<ApiError> for ControllerError {
    fn from(error: ApiError) -> Self {
        ControllerError::Refused(error)
    }
}

/// Does something at the end of a scope, also when a listener panics.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
