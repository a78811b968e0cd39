//! Brokers, replication and a controller, as a state machine on virtual time.
//!
//! What a client sees of a cluster is real: requests are frames, decoded with `rohrpost-protocol`; answers are made by the
//! functions that the real broker makes them with (`rohrpost_broker::model`); every replica is a [`rohrpost_log::Log`] in
//! memory, with its validation, its producer state, its truncation and its recovery. What lies between is modelled here by the
//! rules of `docs/reference/broker.md`: followers fetch (chapter 9), the in-sync set shrinks and grows, the high watermark
//! follows the maximal set, a controller elects leaders (chapter 13), brokers learn of it late.
//!
//! ```text
//! receive ─► requests (one at a time per connection, N4) ─► produce ─► replica: log, in-sync set, high watermark
//!                 │                                             ▲               │ replication: followers fetch
//!                 └─► answers: versions, metadata, ids          └── waiters ◄───┘
//! apply ─► brokers (killed, paused, cut off, …) ─► controller: elections, topics ─► metadata, learned late
//! advance ◄─ events: answers, cut connections
//! ```
//!
//! What it promises: the same configuration, seed and calls give the same events. With page caches kept (or never lost by all
//! eligible replicas), `min.insync.replicas` of two and clean elections, a record acknowledged at acks=all is never lost, and
//! what was once below the high watermark never changes; [`Cluster::losses`] tells where a leader had to be elected that may
//! lack some of it.

mod answers;
mod brokers;
mod committed;
mod controller;
mod fault;
mod produce;
mod replica;
mod replication;
mod requests;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::BTreeMap;
use std::sync::Arc;

use rohrpost_broker::metadata::MetadataImage;
use rohrpost_protocol::{ApiKey, ErrorCode, Uuid};

pub use self::committed::{CommittedRecord, Incarnation};
pub use self::fault::Fault;

use self::brokers::Broker;
use self::controller::Topic;
use self::replication::FetchAnswer;
use self::timers::Timers;

/// The listener that all clients come in on.
const LISTENER: &str = "PLAINTEXT";

/// What a cluster is made of. `Default`: three brokers of the current version, and no topic.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Brokers; their ids are 1, 2, ….
    pub brokers: i32,
    /// Topics that are there from the start.
    pub topics: Vec<TopicSpec>,
    /// The highest version of Produce that brokers serve; of 12 and below, other APIs are those of that time, too.
    pub produce_max_version: i16,
    /// `unclean.leader.election.enable`.
    pub unclean_elections: bool,
    /// `auto.create.topics.enable`; such topics are like [`TopicSpec::default`].
    pub auto_create_topics: bool,
    /// What the brokers' clocks show at the simulated time 0, ms since 1970.
    pub wall_clock_ms: i64,
    /// `broker.session.timeout.ms`.
    pub session_timeout_ms: u64,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_ms: u64,
    /// How long one way between two brokers takes, at least and at most.
    pub link_ms: (u64, u64),
    /// How late brokers learn of changes, at least and at most.
    pub metadata_delay_ms: (u64, u64),
    /// How often the brokers' systems write their page caches to disk, one broker at a time.
    pub sync_ms: u64,
    /// `segment.bytes` of all logs. Small ones make producer snapshots and recovery over several segments happen.
    pub segment_bytes: u32,
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Replicas of each; never more than there are brokers.
    pub replication_factor: i32,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `max.message.bytes`.
    pub max_message_bytes: u32,
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
}

impl Default for ClusterConfig {
    fn default() -> ClusterConfig {
        ClusterConfig {
            brokers: 3,
            topics: Vec::new(),
            produce_max_version: 13,
            unclean_elections: false,
            auto_create_topics: true,
            wall_clock_ms: 0,
            session_timeout_ms: 9_000,
            replica_lag_ms: 10_000,
            link_ms: (0, 4),
            metadata_delay_ms: (1, 40),
            sync_ms: 5_000,
            segment_bytes: 64 << 10,
        }
    }
}

impl Default for TopicSpec {
    fn default() -> TopicSpec {
        TopicSpec {
            name: "t".to_owned(),
            partitions: 1,
            replication_factor: 3,
            min_insync_replicas: 2,
            max_message_bytes: 1_048_588,
            log_append_time: false,
        }
    }
}

/// What the cluster does to its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A broker answers: a whole frame, its size included.
    Answer {
        /// The broker.
        node: i32,
        /// The connection, as [`Cluster::receive`] named it.
        to: u64,
        /// Size, header, body.
        frame: Vec<u8>,
    },
    /// A broker closes a connection; what was not answered yet never will be.
    Cut {
        /// The broker.
        node: i32,
        /// The connection.
        connection: u64,
    },
}

/// A leader was elected that may lack committed records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// When, on the simulated clock.
    pub at_ms: u64,
    /// The topic's name.
    pub topic: String,
    /// Which of that name.
    pub topic_id: Uuid,
    /// The partition.
    pub partition: i32,
    /// Up to this offset the new leader has what was committed.
    pub kept: i64,
    /// How far it had been committed: what lies between is gone.
    pub committed: i64,
}

/// How often what happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers by API and code: each partition of Produce, each topic of Metadata, else the answer as a whole.
    pub answers: BTreeMap<(i16, i16), u64>,
    /// Faults by [`Fault::kind`].
    pub faults: BTreeMap<&'static str, u64>,
    /// Batches that leaders appended.
    pub batches: u64,
    /// Batches that leaders found in their logs already (I2).
    pub duplicates: u64,
    /// Batches that a leader appended which the controller had replaced already.
    pub deposed_appends: u64,
    /// Waiting produce requests whose leader was replaced before the high watermark passed.
    pub deposed_waits: u64,
    /// Changes from one leader to another.
    pub leader_moves: u64,
    /// Leaders from outside the in-sync set and the eligible replicas.
    pub unclean_elections: u64,
    /// Times that an in-sync set lost members, and gained one.
    pub isr_shrinks: u64,
    /// Members gained.
    pub isr_grows: u64,
    /// Times that a follower cut its log.
    pub truncations: u64,
    /// Topics deleted.
    pub topics_deleted: u64,
    /// Connections that brokers closed.
    pub cuts: u64,
    /// Answers that throttled.
    pub throttles: u64,
}

/// The cluster. See the module.
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    rng: fastrand::Rng,
    now_ms: u64,
    timers: Timers<Action>,
    /// What the controller knows: the truth about leaders and in-sync sets.
    image: Arc<MetadataImage>,
    /// All topics that there ever were, deleted ones included; the index is a topic's number.
    topics: Vec<Topic>,
    by_id: BTreeMap<Uuid, usize>,
    /// Broker `n` is at `n - 1`.
    brokers: Vec<Broker>,
    next_producer_id: i64,
    slow_followers: (u64, u64),
    errors: Vec<OrderedError>,
    rejections: Vec<(String, i32, u32)>,
    out: Vec<Event>,
    counts: Counts,
    losses: Vec<Loss>,
    story: Option<Vec<(u64, String)>>,
}

/// A [`Fault::Error`] that is under way.
#[derive(Debug)]
struct OrderedError {
    api: ApiKey,
    partition: Option<(String, i32)>,
    code: ErrorCode,
    after_append: bool,
    times: u32,
}

/// A partition: the number of its topic, and its own.
type Key = (usize, i32);

/// What happens later. `life`: of the broker's process; a new process is not concerned.
#[derive(Debug)]
enum Action {
    /// A follower fetches.
    Fetch { node: i32, life: u32, key: Key, generation: u64 },
    /// The leader's answer arrives.
    FetchAnswer { node: i32, life: u32, answer: Box<FetchAnswer> },
    /// Leaders look for followers that lag (R7).
    CheckInSync,
    /// A leader's wish arrives at the controller (R5).
    AlterIsr { node: i32, key: Key, leader_epoch: i32, partition_epoch: i32, isr: Vec<(i32, u32)> },
    /// What the controller said.
    IsrAltered {
        node: i32,
        life: u32,
        key: Key,
        leader_epoch: i32,
        partition_epoch: i32,
        isr: Option<Vec<i32>>,
    },
    /// Metadata arrives at a broker.
    Learn { node: i32, life: u32, image: Arc<MetadataImage> },
    /// A broker has been silent for its session's time, unless it was heard of since (C11).
    SessionEnds { node: i32, silence: u64 },
    /// A broker that was fenced is heard of again, or a new process registers (C8, C10).
    Register { node: i32, life: u32 },
    /// A broker's failed disk is told to the controller (D30).
    DiskFailed { node: i32, life: u32 },
    /// The time of a waiting produce request is over (W5).
    Deadline { node: i32, connection: u64, request: u64 },
    /// A connection may go on: a slow answer leaves, or a throttle time has passed.
    Unblock { node: i32, connection: u64, request: u64 },
    /// A pause, an isolation, a restart ends.
    Wake { node: i32 },
    /// A dead broker's process is started.
    Start { node: i32 },
    /// A topic is created that a client asked for, or that could not be created before.
    Create { spec: Box<TopicSpec> },
    /// Page caches are written.
    Sync,
}

impl Cluster {
    /// A cluster whose brokers are up and know everything. `now_ms`: the simulated clock.
    pub fn new(config: &ClusterConfig, seed: u64, now_ms: u64) -> Cluster {
        let mut rng = fastrand::Rng::with_seed(seed);
        let cluster_id = Uuid(rng.u128(..).to_be_bytes()).to_string();
        let image = Arc::new(MetadataImage::empty(&cluster_id));
        let mut cluster = Cluster {
            config: config.clone(),
            rng,
            now_ms,
            timers: Timers::default(),
            brokers: (1..=config.brokers)
                .map(|node| Broker::new(node, Arc::clone(&image), config.produce_max_version))
                .collect(),
            image,
            topics: Vec::new(),
            by_id: BTreeMap::new(),
            next_producer_id: 0,
            slow_followers: (0, 0),
            errors: Vec::new(),
            rejections: Vec::new(),
            out: Vec::new(),
            counts: Counts::default(),
            losses: Vec::new(),
            story: None,
        };
        cluster.start_all();
        cluster
    }

    /// A whole request frame, its size included, arrives at a broker. `from` names the connection; names are never used again.
    /// Answers come out of [`advance`](Cluster::advance), in order per connection. A broker that is down takes no notice.
    pub fn receive(&mut self, node: i32, from: u64, frame: &[u8], now_ms: u64) {
        self.run(now_ms);
        self.take_frame(node, from, frame);
    }

    /// The client has closed the connection: answers to it go nowhere. Requests that have arrived and were not read yet may be
    /// read all the same (they lie in the broker's socket), or not.
    pub fn disconnected(&mut self, node: i32, from: u64) {
        self.forget_connection(node, from);
    }

    /// Does what is due by now, and hands out what came of it.
    pub fn advance(&mut self, now_ms: u64, out: &mut Vec<Event>) {
        self.run(now_ms);
        out.append(&mut self.out);
    }

    /// When [`advance`](Cluster::advance) has something to do.
    pub fn next_ms(&self) -> Option<u64> {
        if self.out.is_empty() { self.timers.next_ms() } else { Some(self.now_ms) }
    }

    /// Whether a broker takes connections. One that stands still does; one that is dead or still starting refuses them.
    pub fn is_up(&self, node: i32) -> bool {
        self.broker(node).is_some_and(Broker::is_up)
    }

    /// Where a broker listens.
    pub fn address(&self, node: i32) -> Option<(String, u16)> {
        self.broker(node).map(|broker| (broker.host(), broker.port))
    }

    /// Who listens there: a broker that is up.
    pub fn node_at(&self, host: &str, port: u16) -> Option<i32> {
        self.brokers
            .iter()
            .find(|broker| broker.is_up() && broker.port == port && broker.host() == host)
            .map(|broker| broker.node)
    }

    /// Whether the controller has this broker lead a partition.
    pub fn is_leader(&self, node: i32, topic: &str, partition: i32) -> bool {
        self.image.partition(topic, partition).is_some_and(|partition| partition.leader == node)
    }

    /// What happened so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Where committed records may have been lost: only if page caches were, or with unclean elections.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Whether this offset had been committed in a topic that was deleted, and nobody had it any more by then: the brokers lost their page
    /// caches, and the topic was gone before one of them led again.
    pub fn died_with_its_topic(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.topics.iter().filter(|known| known.deleted && known.spec.name == topic).any(|known| {
            let Some(truth) = known.partitions.get(partition as usize) else { return false };
            let kept = truth.archive.as_ref().map_or(0, |(_, end, _)| *end);
            (kept..truth.committed).contains(&offset)
        })
    }

    /// From now on [`take_story`](Cluster::take_story) tells what happens inside.
    pub fn tell_story(&mut self) {
        self.story.get_or_insert_default();
    }

    /// What has happened inside since the last call, with the time.
    pub fn take_story(&mut self) -> Vec<(u64, String)> {
        self.story.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push((self.now_ms, text()));
        }
    }

    fn run(&mut self, now_ms: u64) {
        while let Some((at_ms, action)) = self.timers.pop(now_ms) {
            self.now_ms = self.now_ms.max(at_ms);
            self.act(action);
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    fn act(&mut self, action: Action) {
        // a process that stands still does nothing; what comes for it waits
        if let Some((node, resumes_ms)) = self.stands_still(&action) {
            debug_assert!(resumes_ms > self.now_ms, "broker {node} has been woken");
            self.timers.order(resumes_ms, action);
            return;
        }
        match action {
            Action::Fetch { node, life, key, generation } => self.fetch(node, life, key, generation),
            Action::FetchAnswer { node, life, answer } => self.take_fetch_answer(node, life, *answer),
            Action::CheckInSync => self.check_in_sync(),
            Action::AlterIsr { node, key, leader_epoch, partition_epoch, isr } => {
                self.alter_isr(node, key, leader_epoch, partition_epoch, &isr);
            }
            Action::IsrAltered { node, life, key, leader_epoch, partition_epoch, isr } => {
                self.isr_altered(node, life, key, leader_epoch, partition_epoch, isr);
            }
            Action::Learn { node, life, image } => self.learn(node, life, image),
            Action::SessionEnds { node, silence } => self.session_ends(node, silence),
            Action::Register { node, life } => self.register(node, life),
            Action::DiskFailed { node, life } => self.disk_failed(node, life),
            Action::Deadline { node, connection, request } => self.deadline(node, connection, request),
            Action::Unblock { node, connection, request } => self.unblock(node, connection, request),
            Action::Wake { node } => self.wake(node),
            Action::Start { node } => self.start(node, false),
            Action::Create { spec } => self.create_topic(&spec),
            Action::Sync => self.sync(),
        }
    }

    fn broker(&self, node: i32) -> Option<&Broker> {
        self.brokers.get(usize::try_from(node.checked_sub(1)?).ok()?)
    }

    fn broker_mut(&mut self, node: i32) -> Option<&mut Broker> {
        self.brokers.get_mut(usize::try_from(node.checked_sub(1)?).ok()?)
    }

    /// Some time of this range.
    fn within(&mut self, (least, most): (u64, u64)) -> u64 {
        if most <= least { least } else { self.rng.u64(least..=most) }
    }
}
