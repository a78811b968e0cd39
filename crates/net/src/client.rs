//! Blocking request and response, for tools and tests: one request at a time, in the thread of the caller.
//!
//! A client knows a list of bootstrap servers, and from the first metadata answer on the brokers of the cluster. A request
//! goes to any broker, to a certain one, to the controller, or to the leader of a partition. Making a connection is tried
//! again until a deadline, since nothing was sent yet; a request that was handed over is never sent twice by itself, since
//! nobody knows whether the broker carried it out.

mod error;
mod metadata;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rohrpost_protocol::{ApiKey, Decoder, Message as _, Request, VersionRange, encode_request};

pub use self::error::{ClientError, FailedAddress};
pub use self::metadata::{Broker, Metadata, PartitionMetadata, TopicMetadata};
use crate::{Address, Disconnect, Event, NetConfig, Network, NodeId, NodeState};

/// Settings of a [`Client`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Settings of the connections; an answer is waited for up to `request_timeout_ms`.
    pub net: NetConfig,
    /// How long a connection, and the election of a leader, is waited for (default 5000).
    pub connect_timeout_ms: u64,
}

impl Default for ClientConfig {
    fn default() -> Self {
        // Tools want an answer soon, and nobody shares the broker's attention with them.
        let net = NetConfig { reconnect_backoff_max_ms: 250, ..NetConfig::default() };
        Self { net, connect_timeout_ms: 5_000 }
    }
}

/// Who is to answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// Any broker; one that is connected already if there is one.
    Any,
    /// The controller, as metadata names it. In a KRaft cluster that is any broker: it forwards.
    Controller,
    /// The broker with this id.
    Node(NodeId),
    /// The leader of a topic's partition. Remembered until [`Client::forget_leaders`].
    Leader(&'a str, i32),
}

/// An answer, not yet decoded.
#[derive(Debug, Clone)]
pub struct Response {
    /// Who answered.
    pub node: NodeId,
    /// The API that was asked.
    pub api: ApiKey,
    /// The version of question and answer.
    pub version: i16,
    /// What follows the response header.
    pub body: Bytes,
}

impl Response {
    /// Reads the answer to a request of type `R`; strings and record bytes borrow from this response.
    ///
    /// # Errors
    /// [`ClientError::Decode`]: the broker's answer is not what the version says, or `R` is not what was asked.
    pub fn decode<'r, 'q, R: Request<'q>>(&'r self) -> Result<R::Response<'r>, ClientError> {
        <R::Response<'r>>::decode(&mut Decoder::new(&self.body), self.version)
            .map_err(|error| ClientError::Decode { api: self.api, version: self.version, error })
    }
}

/// A blocking client. Not for several threads at once.
///
/// Each call parks its thread for at most the time in which a connection comes about (`connect_timeout_ms`) and then the time of an
/// answer (`request_timeout_ms`); one that has to learn of the cluster first waits for two answers. For callers that must not be
/// blocked there is [`Network`].
///
/// ```no_run
/// use rohrpost_net::{Client, ClientConfig, parse_bootstrap_servers};
///
/// let mut client = Client::connect(&parse_bootstrap_servers("localhost:9092")?, ClientConfig::default())?;
/// for topic in client.metadata(None)?.topics {
///     println!("{} has {} partitions", topic.name, topic.partitions.len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client {
    network: Network<Vec<u8>>,
    config: ClientConfig,
    bootstrap: Vec<NodeId>,
    /// Brokers of the cluster, from metadata.
    brokers: Vec<NodeId>,
    controller: Option<NodeId>,
    leaders: HashMap<String, BTreeMap<i32, NodeId>>,
    /// Why a node's connection ended last.
    failures: HashMap<NodeId, Failure>,
    events: Vec<Event<Vec<u8>>>,
    start: Instant,
}

struct Failure {
    reason: String,
    /// Trying again cannot help.
    hopeless: bool,
}

impl Client {
    /// Connects to one of the bootstrap servers: to all at once, and the first that is ready will do (MET-1). An attempt that
    /// fails is repeated until `connect_timeout_ms` is over.
    ///
    /// # Errors
    /// [`ClientError::Connect`] names every address and why; at once if none of them speaks Kafka's protocol. [`ClientError::Io`] if
    /// the system gives no poll.
    pub fn connect(bootstrap: &[Address], config: ClientConfig) -> Result<Self, ClientError> {
        let mut network = Network::new(config.net.clone()).map_err(ClientError::Io)?;
        let bootstrap: Vec<NodeId> = (1..)
            .zip(bootstrap)
            .map(|(n, address)| {
                network.set_node(-n, &address.host, address.port);
                -n
            })
            .collect();
        let mut client = Self {
            network,
            config,
            bootstrap: bootstrap.clone(),
            brokers: Vec::new(),
            controller: None,
            leaders: HashMap::new(),
            failures: HashMap::new(),
            events: Vec::new(),
            start: Instant::now(),
        };
        client.connect_to(&bootstrap)?;
        Ok(client)
    }

    /// Asks and waits for the answer, in the highest version that both sides have.
    ///
    /// The answer may still carry error codes: those are the caller's to look at. After NOT_LEADER_OR_FOLLOWER and its like
    /// call [`forget_leaders`](Self::forget_leaders) before trying again.
    ///
    /// # Errors
    /// After [`ClientError::Disconnected`] and [`ClientError::Io`] the broker may have carried the request out, and nobody has sent it
    /// again; after every other error nothing was sent.
    pub fn call<'q, R: Request<'q>>(&mut self, to: Target<'_>, request: &R) -> Result<Response, ClientError> {
        self.call_within(to, R::API_KEY.versions(), request)
    }

    /// As [`call`](Self::call), in the highest common version within `versions`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_within<'q, R: Request<'q>>(
        &mut self,
        to: Target<'_>,
        versions: VersionRange,
        request: &R,
    ) -> Result<Response, ClientError> {
        let node = self.route(to)?;
        let version = self.negotiate(node, R::API_KEY, versions)?;
        self.exchange(node, version, request)
    }

    /// The version in which [`call_within`](Self::call_within) would ask, for requests whose content depends on it.
    ///
    /// # Errors
    /// As [`route`](Self::route), or [`ClientError::UnsupportedVersion`].
    pub fn version(
        &mut self,
        to: Target<'_>,
        api: ApiKey,
        versions: VersionRange,
    ) -> Result<i16, ClientError> {
        let node = self.route(to)?;
        self.negotiate(node, api, versions)
    }

    /// The id of the broker that `to` means, connected.
    ///
    /// # Errors
    /// There is none ([`ClientError::UnknownNode`], [`ClientError::NoLeader`], [`ClientError::Metadata`],
    /// [`ClientError::UnknownPartition`]), or it cannot be connected.
    pub fn route(&mut self, to: Target<'_>) -> Result<NodeId, ClientError> {
        match to {
            Target::Any => self.connect_to_any(),
            Target::Controller => {
                if self.controller.is_none() {
                    self.metadata(Some(&[]))?;
                }
                match self.controller {
                    Some(node) => self.connect_to(&[node]),
                    None => self.connect_to_any(),
                }
            }
            Target::Node(node) => {
                if !self.bootstrap.contains(&node) && !self.brokers.contains(&node) {
                    self.metadata(Some(&[]))?;
                }
                self.connect_to(&[node])
            }
            Target::Leader(topic, partition) => {
                let node = self.leader(topic, partition)?;
                self.connect_to(&[node])
            }
        }
    }

    /// Brokers and topics of the cluster; of all topics with `None`. No topic is created by asking (with brokers before
    /// 0.11, which have no way to say so, it may be).
    ///
    /// # Errors
    /// No broker can be connected or answers. What is wrong with a single topic is in its [`TopicMetadata`].
    pub fn metadata(&mut self, topics: Option<&[&str]>) -> Result<Metadata, ClientError> {
        let deadline = self.deadline();
        loop {
            let node = self.connect_to_any()?;
            let version = self.negotiate(node, ApiKey::Metadata, ApiKey::Metadata.versions())?;
            let response = match self.exchange(node, version, &metadata::request(topics, version)) {
                // Asking for metadata changes nothing, so it may be asked again.
                Err(ClientError::Disconnected { .. }) if Instant::now() < deadline => continue,
                other => other?,
            };
            let metadata = Metadata::read(&response)?;
            self.learn(&metadata);
            return Ok(metadata);
        }
    }

    /// The leader of a partition. A partition without a leader is asked for again until `connect_timeout_ms` is over.
    ///
    /// # Errors
    /// There is no such topic or partition, or no leader in time; or no broker answers.
    pub fn leader(&mut self, topic: &str, partition: i32) -> Result<NodeId, ClientError> {
        if let Some(leader) = self.leaders.get(topic).and_then(|partitions| partitions.get(&partition)) {
            return Ok(*leader);
        }
        let deadline = self.deadline();
        loop {
            let error = match self.metadata(Some(&[topic]))?.leader(topic, partition) {
                Ok(leader) => return Ok(leader),
                Err(e) => e,
            };
            if !error.may_pass() || Instant::now() >= deadline {
                return Err(error);
            }
            self.pause(Duration::from_millis(100))?;
        }
    }

    /// Forgets who leads the partitions of a topic: the next request to one of them asks for metadata first.
    pub fn forget_leaders(&mut self, topic: &str) {
        self.leaders.remove(topic);
    }

    fn learn(&mut self, metadata: &Metadata) {
        let known: Vec<NodeId> = metadata.brokers.iter().map(|broker| broker.id).collect();
        for gone in self.brokers.iter().filter(|node| !known.contains(node)) {
            self.network.remove_node(*gone);
        }
        for broker in &metadata.brokers {
            self.network.set_node(broker.id, &broker.address.host, broker.address.port);
        }
        self.controller = Some(metadata.controller_id).filter(|id| known.contains(id));
        self.brokers = known;
        for topic in &metadata.topics {
            let leaders = topic
                .partitions
                .iter()
                .filter(|p| metadata.is_broker(p.leader_id))
                .map(|p| (p.partition, p.leader_id));
            self.leaders.insert(topic.name.clone(), leaders.collect());
        }
    }

    /// A connected node, or else any that can be connected: the cluster's brokers and the bootstrap servers are all tried.
    fn connect_to_any(&mut self) -> Result<NodeId, ClientError> {
        let all: Vec<NodeId> = self.brokers.iter().chain(&self.bootstrap).copied().collect();
        match all.iter().find(|&&node| self.network.state(node) == NodeState::Ready) {
            Some(&node) => self.connect_to(&[node]).or_else(|_| self.connect_to(&all)),
            None => self.connect_to(&all),
        }
    }

    /// Waits until one of the nodes is ready.
    fn connect_to(&mut self, nodes: &[NodeId]) -> Result<NodeId, ClientError> {
        if let Some(&unknown) = nodes.iter().find(|&&node| self.network.state(node) == NodeState::Unknown) {
            return Err(ClientError::UnknownNode(unknown));
        }
        self.failures.retain(|node, _| !nodes.contains(node));
        // A connection that ended since the last call shows only now; a request over it would be of unknown fate.
        self.poll(Duration::ZERO)?;
        self.take_failures();
        let deadline = self.deadline();
        loop {
            let now_ms = self.now_ms();
            // All of them, so that one that answers late does not keep the others from being tried.
            let ready = nodes.iter().fold(None, |ready, &node| {
                let is_ready = self.network.ready(node, now_ms);
                ready.or(is_ready.then_some(node))
            });
            if let Some(node) = ready {
                return Ok(node);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let hopeless =
                nodes.iter().all(|node| self.failures.get(node).is_some_and(|failure| failure.hopeless));
            if left.is_zero() || hopeless {
                return Err(self.connect_error(nodes));
            }
            self.poll(left)?;
            self.take_failures();
        }
    }

    fn connect_error(&self, nodes: &[NodeId]) -> ClientError {
        let tried = nodes.iter().filter_map(|&node| {
            let address = self.network.address(node)?.clone();
            let reason = match (self.failures.get(&node), self.network.state(node)) {
                (Some(failure), _) => failure.reason.clone(),
                (None, NodeState::Resolving) => "its name is not resolved yet".into(),
                (None, NodeState::Connecting) => "no answer".into(),
                (None, NodeState::Handshaking) => "it accepts connections, but does not answer".into(),
                (None, _) => "not connected".into(),
            };
            Some(FailedAddress { address, reason })
        });
        ClientError::Connect { tried: tried.collect(), within_ms: self.config.connect_timeout_ms }
    }

    fn negotiate(&self, node: NodeId, api: ApiKey, ours: VersionRange) -> Result<i16, ClientError> {
        let served = self.network.versions(node);
        // VER-1
        served.and_then(|served| served.negotiate(api, ours)).ok_or_else(|| ClientError::UnsupportedVersion {
            api,
            address: self.network.address(node).cloned(),
            ours,
            theirs: served.map_or(VersionRange::NONE, |served| served.range(api)),
        })
    }

    /// Sends to a node that is ready, and waits for the answer.
    fn exchange<'q, R: Request<'q>>(
        &mut self,
        node: NodeId,
        version: i16,
        request: &R,
    ) -> Result<Response, ClientError> {
        let api = R::API_KEY;
        let correlation_id = self.network.next_correlation_id(node);
        let frame = encode_request(request, version, correlation_id, self.config.net.client_id.as_deref());
        let (frame, gaps) = frame.map_err(|error| ClientError::Encode { api, version, error })?.into_parts();
        if !gaps.is_empty() {
            return Err(ClientError::RecordsElsewhere);
        }
        let now_ms = self.now_ms();
        let disconnected = |client: &Self, reason| ClientError::Disconnected {
            api,
            address: client.network.address(node).cloned(),
            reason,
        };
        if self.network.send(node, correlation_id, api, version, frame, now_ms).is_err() {
            return Err(disconnected(self, Disconnect::Closed));
        }
        loop {
            // The network's own deadline ends this.
            self.poll(Duration::from_secs(60))?;
            let mut result = None;
            for event in std::mem::take(&mut self.events) {
                match event {
                    Event::Response { correlation_id: id, body, .. } if id == correlation_id => {
                        result = Some(Ok(Response { node, api, version, body }));
                    }
                    Event::Disconnected { node: n, reason, .. } if n == node && result.is_none() => {
                        result = Some(Err(disconnected(self, reason)));
                    }
                    other => self.note(other),
                }
            }
            if let Some(result) = result {
                return result;
            }
        }
    }

    fn pause(&mut self, time: Duration) -> Result<(), ClientError> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.poll(left)?;
            self.take_failures();
        }
        Ok(())
    }

    fn take_failures(&mut self) {
        for event in std::mem::take(&mut self.events) {
            self.note(event);
        }
    }

    fn note(&mut self, event: Event<Vec<u8>>) {
        if let Event::Disconnected { node, reason, .. } = event {
            let hopeless = matches!(reason, Disconnect::UnsupportedVersion | Disconnect::Protocol(_));
            self.failures.insert(node, Failure { reason: reason.to_string(), hopeless });
        }
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let start = self.start;
        let now = || start.elapsed().as_millis() as u64;
        self.network.poll(Some(timeout), now, &mut self.events).map_err(ClientError::Io)
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.config.connect_timeout_ms)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("network", &self.network).finish_non_exhaustive()
    }
}
