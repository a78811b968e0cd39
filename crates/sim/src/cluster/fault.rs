//! What can go wrong at brokers: one variant each. Their texts become the lines of a failing seed's story.

use std::fmt;

use rohrpost_protocol::{ApiKey, ErrorCode, Written};

/// Something that happens to the cluster. Times are in ms, of the simulated clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The broker's process dies (kill -9); its connections are cut.
    Kill {
        /// The broker.
        node: i32,
    },
    /// A dead broker's process starts again; `lose_page_cache`: the machine had lost its power.
    Restart {
        /// The broker.
        node: i32,
        /// What was not synced is gone.
        lose_page_cache: bool,
    },
    /// The broker's process stands still (SIGSTOP): connections stay, nothing moves.
    Pause {
        /// The broker.
        node: i32,
        /// How long.
        ms: u64,
    },
    /// Clients still reach the broker, but neither the controller nor another broker does: it goes on as the leader that it was.
    Isolate {
        /// The broker.
        node: i32,
        /// How long.
        ms: u64,
    },
    /// Another in-sync replica becomes the leader.
    MoveLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The followers of a partition stop fetching, so that its in-sync set shrinks to the leader.
    ShrinkIsr {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How long.
        ms: u64,
    },
    /// Followers on all brokers are this much slower.
    SlowReplication {
        /// Added to each of their fetches.
        delay_ms: u64,
        /// How long.
        ms: u64,
    },
    /// The next answers of an API say this code.
    Error {
        /// The API.
        api: ApiKey,
        /// Only of this topic and partition; else of any.
        partition: Option<(String, i32)>,
        /// The code.
        code: ErrorCode,
        /// A produce request is carried out before. Only with codes that leave it open (`written` in `errors.tsv`).
        after_append: bool,
        /// How many answers.
        times: u32,
    },
    /// The next produce requests for a partition are refused because of some of their records (KIP-467).
    RejectRecords {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How many batches.
        times: u32,
    },
    /// The broker learns nothing new about the cluster.
    StaleMetadata {
        /// The broker.
        node: i32,
        /// How long.
        ms: u64,
    },
    /// The broker answers Metadata without brokers, as one that has just started.
    EmptyMetadata {
        /// The broker.
        node: i32,
        /// How many answers.
        times: u32,
    },
    /// The broker restarts at once under another port.
    MoveAddress {
        /// The broker.
        node: i32,
    },
    /// The topic gets one partition more.
    GrowTopic {
        /// The topic.
        topic: String,
    },
    /// The topic is deleted.
    DeleteTopic {
        /// The topic.
        topic: String,
    },
    /// The topic is created if it is not there.
    CreateTopic {
        /// The topic.
        topic: String,
    },
    /// The topic is deleted and created again under its name, with another id.
    RecreateTopic {
        /// The topic.
        topic: String,
    },
    /// The largest batch that a topic takes.
    LimitBatches {
        /// The topic.
        topic: String,
        /// `max.message.bytes`.
        bytes: u32,
    },
    /// All brokers forget what producers have written, as after `producer.id.expiration.ms`.
    ForgetProducers,
    /// The broker's next answers carry a throttle time, and their connections stay unread so long.
    Throttle {
        /// The broker.
        node: i32,
        /// `ThrottleTimeMs`.
        ms: u32,
        /// How many answers.
        times: u32,
    },
    /// The broker cuts the connection after it has appended a produce request, without an answer.
    CutAfterAppend {
        /// The broker.
        node: i32,
        /// How many requests.
        times: u32,
    },
    /// The broker cuts the connection before it looks at a produce request.
    CutBeforeAppend {
        /// The broker.
        node: i32,
        /// How many requests.
        times: u32,
    },
    /// The broker appends produce requests and never answers, nor reads on.
    LoseAnswer {
        /// The broker.
        node: i32,
        /// How many requests.
        times: u32,
    },
    /// The broker's clock jumps.
    ClockJump {
        /// The broker.
        node: i32,
        /// How far; below 0: back.
        ms: i64,
    },
    /// The broker's disk fails: every log on it is offline until a restart.
    DiskFailure {
        /// The broker.
        node: i32,
    },
    /// The broker is replaced by an older or newer version: it restarts at once.
    Upgrade {
        /// The broker.
        node: i32,
        /// The highest version of Produce that it serves.
        produce_max_version: i16,
    },
    /// The broker's answers are this much slower.
    SlowAnswers {
        /// The broker.
        node: i32,
        /// Added to each.
        delay_ms: u64,
        /// How long.
        ms: u64,
    },
}

impl Fault {
    /// Whether an answer with this code may follow an append (`written` in `errors.tsv`).
    pub fn may_follow_append(code: ErrorCode) -> bool {
        matches!(code.written(), Written::Maybe | Written::Yes)
    }

    /// A name for counts: the same for all faults of a kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Kill { .. } => "kill",
            Fault::Restart { lose_page_cache: false, .. } => "restart",
            Fault::Restart { lose_page_cache: true, .. } => "power loss",
            Fault::Pause { .. } => "pause",
            Fault::Isolate { .. } => "isolate",
            Fault::MoveLeader { .. } => "move leader",
            Fault::ShrinkIsr { .. } => "shrink in-sync set",
            Fault::SlowReplication { .. } => "slow replication",
            Fault::Error { .. } => "error",
            Fault::RejectRecords { .. } => "reject records",
            Fault::StaleMetadata { .. } => "stale metadata",
            Fault::EmptyMetadata { .. } => "empty metadata",
            Fault::MoveAddress { .. } => "move address",
            Fault::GrowTopic { .. } => "grow topic",
            Fault::DeleteTopic { .. } => "delete topic",
            Fault::CreateTopic { .. } => "create topic",
            Fault::RecreateTopic { .. } => "re-create topic",
            Fault::LimitBatches { .. } => "limit batches",
            Fault::ForgetProducers => "forget producers",
            Fault::Throttle { .. } => "throttle",
            Fault::CutAfterAppend { .. } => "cut after append",
            Fault::CutBeforeAppend { .. } => "cut before append",
            Fault::LoseAnswer { .. } => "lose answer",
            Fault::ClockJump { .. } => "clock jump",
            Fault::DiskFailure { .. } => "disk failure",
            Fault::Upgrade { .. } => "other version",
            Fault::SlowAnswers { .. } => "slow answers",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill { node } => write!(f, "broker {node} is killed"),
            Fault::Restart { node, lose_page_cache: false } => write!(f, "broker {node} starts again"),
            Fault::Restart { node, lose_page_cache: true } => {
                write!(f, "broker {node} starts again, without what it had not synced")
            }
            Fault::Pause { node, ms } => write!(f, "broker {node} stands still for {ms} ms"),
            Fault::Isolate { node, ms } => {
                write!(f, "broker {node} is cut off from controller and brokers for {ms} ms")
            }
            Fault::MoveLeader { topic, partition } => write!(f, "{topic}-{partition} gets another leader"),
            Fault::ShrinkIsr { topic, partition, ms } => {
                write!(f, "the followers of {topic}-{partition} stop fetching for {ms} ms")
            }
            Fault::SlowReplication { delay_ms, ms } => {
                write!(f, "followers are {delay_ms} ms slower for {ms} ms")
            }
            Fault::Error { api, partition, code, after_append, times } => {
                write!(f, "the next {times} answers to {api}")?;
                if let Some((topic, partition)) = partition {
                    write!(f, " for {topic}-{partition}")?;
                }
                write!(f, " say {}", code.name())?;
                if *after_append { f.write_str(" after the append") } else { Ok(()) }
            }
            Fault::RejectRecords { topic, partition, times } => {
                write!(
                    f,
                    "the next {times} batches for {topic}-{partition} are refused for some of their records"
                )
            }
            Fault::StaleMetadata { node, ms } => {
                write!(f, "broker {node} learns nothing of the cluster for {ms} ms")
            }
            Fault::EmptyMetadata { node, times } => {
                write!(f, "the next {times} Metadata answers of broker {node} name no brokers")
            }
            Fault::MoveAddress { node } => write!(f, "broker {node} restarts under another port"),
            Fault::GrowTopic { topic } => write!(f, "{topic} gets a partition more"),
            Fault::DeleteTopic { topic } => write!(f, "{topic} is deleted"),
            Fault::CreateTopic { topic } => write!(f, "{topic} is created"),
            Fault::RecreateTopic { topic } => write!(f, "{topic} is deleted and created again"),
            Fault::LimitBatches { topic, bytes } => write!(f, "{topic} takes batches up to {bytes} bytes"),
            Fault::ForgetProducers => f.write_str("all brokers forget the producers"),
            Fault::Throttle { node, ms, times } => {
                write!(f, "the next {times} answers of broker {node} throttle for {ms} ms")
            }
            Fault::CutAfterAppend { node, times } => {
                write!(f, "broker {node} cuts the connection after the append, {times} times")
            }
            Fault::CutBeforeAppend { node, times } => {
                write!(f, "broker {node} cuts the connection before the append, {times} times")
            }
            Fault::LoseAnswer { node, times } => {
                write!(f, "broker {node} appends and never answers, {times} times")
            }
            Fault::ClockJump { node, ms } => write!(f, "the clock of broker {node} jumps by {ms} ms"),
            Fault::DiskFailure { node } => write!(f, "the disk of broker {node} fails"),
            Fault::Upgrade { node, produce_max_version } => {
                write!(
                    f,
                    "broker {node} restarts in a version that serves Produce up to {produce_max_version}"
                )
            }
            Fault::SlowAnswers { node, delay_ms, ms } => {
                write!(f, "the answers of broker {node} are {delay_ms} ms slower for {ms} ms")
            }
        }
    }
}
