//! What a seed means: settings, users and faults with their times. A plan is data: it is made from a seed, run, told, and made
//! smaller until only what is needed for a failure is left.

use std::fmt;

use rohrpost_protocol::{ApiKey, ErrorCode};

use crate::cluster::{ClusterConfig, Fault, TopicSpec};
use crate::network::{Latency, LinkFault};

/// One world.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where it came from, and what decides all that the plan leaves open: latencies, the order of tasks, elections.
    pub seed: u64,
    /// Of the producer, Kafka's keys.
    pub settings: Vec<(&'static str, String)>,
    /// The brokers and their topics.
    pub cluster: ClusterConfig,
    /// Names that users send to; the first are those of the cluster's topics.
    pub topics: Vec<String>,
    /// Between client and brokers.
    pub latency: Latency,
    /// Who sends what.
    pub users: Vec<UserPlan>,
    /// What goes wrong, by time.
    pub faults: Vec<PlannedFault>,
    /// From then on nothing goes wrong any more.
    pub heal_ms: u64,
    /// How the producer ends.
    pub ending: Ending,
    /// Where partitions begin to count; near 2147483647 on some seeds, for the wrap-around (IDM-2).
    pub first_sequence: i32,
}

/// What a user does.
#[derive(Debug, Clone)]
pub struct UserPlan {
    /// Of its own decisions.
    pub seed: u64,
    /// How many records it sends.
    pub records: u32,
    /// Its topics, by number.
    pub topics: Vec<usize>,
    /// When it begins.
    pub start_ms: u64,
    /// Records between pauses.
    pub burst: u32,
    /// How long a pause is, more or less.
    pub pause_ms: u64,
    /// Ways to send, one of them for each record.
    pub styles: Vec<Style>,
    /// Which partition.
    pub partition: Partition,
    /// Bytes of an ordinary value, at least and at most.
    pub sizes: (usize, usize),
    /// Bytes of a large value, at most.
    pub large: usize,
    /// How many values are large, of a thousand.
    pub large_permille: u32,
    /// How many calls are dropped before they end, of a hundred.
    pub cancel_percent: u32,
    /// How many handles are dropped at once, of a hundred.
    pub drops_percent: u32,
    /// Handles kept before the oldest is waited for.
    pub window: usize,
    /// A flush after so many records; 0: never.
    pub flush_every: u32,
    /// A purge after so many records; 0: never.
    pub purge_every: u32,
    /// `partitions_for` after so many records; 0: never.
    pub ask_every: u32,
    /// It waits for all that it kept when it has sent everything; or it drops that.
    pub waits_at_the_end: bool,
}

/// A way to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `Producer::send`
    Name,
    /// `Topic::send`
    Handle,
    /// `Producer::send_with`
    Callback,
    /// `Producer::try_send`
    Try,
    /// `Producer::reserve`, then `Permit::send`
    Permit,
}

/// How a partition is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// By the producer.
    Sticky,
    /// By one of so many keys.
    Keyed(u16),
    /// By the user: one of so many.
    Explicit(i32),
}

/// How the producer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Closed when all users have sent everything.
    Close {
        /// `None`: without limit.
        timeout_ms: Option<u64>,
    },
    /// Closed in the middle.
    CloseAt {
        /// When.
        at_ms: u64,
        /// `None`: without limit.
        timeout_ms: Option<u64>,
    },
    /// All handles are dropped when all users have sent everything.
    Drop,
}

/// A fault and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFault {
    /// When.
    pub at_ms: u64,
    /// What.
    pub what: WorldFault,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorldFault {
    /// At the brokers.
    Cluster(Fault),
    /// Between them and the client.
    Link(LinkFault),
    /// The client's process stands still.
    ClientPause {
        /// How long.
        ms: u64,
    },
    /// The client's wall clock jumps.
    ClientClock {
        /// How far; below 0: back.
        ms: i64,
    },
}

impl WorldFault {
    /// A name for counts.
    pub fn kind(&self) -> &'static str {
        match self {
            WorldFault::Cluster(fault) => fault.kind(),
            WorldFault::Link(fault) => fault.kind(),
            WorldFault::ClientPause { .. } => "client stands still",
            WorldFault::ClientClock { .. } => "client's clock jumps",
        }
    }
}

impl fmt::Display for WorldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorldFault::Cluster(fault) => fault.fmt(f),
            WorldFault::Link(fault) => fault.fmt(f),
            WorldFault::ClientPause { ms } => write!(f, "the client's process stands still for {ms} ms"),
            WorldFault::ClientClock { ms } => write!(f, "the client's wall clock jumps by {ms} ms"),
        }
    }
}

impl Plan {
    /// The world of a seed.
    pub fn of(seed: u64) -> Plan {
        Maker { rng: fastrand::Rng::with_seed(seed ^ 0x5eed_0fa1_1ab1_e5ed) }.plan(seed)
    }

    /// A setting, if the plan has it.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
    }

    /// A number among the settings.
    pub fn number(&self, key: &str, default: u64) -> u64 {
        self.setting(key).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// Nothing goes wrong, and every topic is there from the start.
    pub fn is_quiet(&self) -> bool {
        self.faults.is_empty() && self.topics.len() == self.cluster.topics.len()
    }

    /// Brokers die and come back with all they had, and nothing else goes wrong.
    pub fn has_only_kills(&self) -> bool {
        let is_kill = |fault: &PlannedFault| {
            matches!(
                fault.what,
                WorldFault::Cluster(Fault::Kill { .. } | Fault::Restart { lose_page_cache: false, .. })
            )
        };
        !self.cluster.unclean_elections && self.faults.iter().all(is_kill)
    }

    /// Brokers stand still, one at a time, and nothing else goes wrong.
    pub fn has_only_standstills(&self) -> bool {
        let end_ms = |fault: &PlannedFault| match fault.what {
            WorldFault::Cluster(Fault::Pause { ms, .. }) => Some(fault.at_ms + ms),
            _ => None,
        };
        let is_alone = |pair: &[PlannedFault]| end_ms(&pair[0]).is_some_and(|end_ms| end_ms < pair[1].at_ms);
        let is_known = self.topics.len() == self.cluster.topics.len();
        is_known && self.faults.last().and_then(end_ms).is_some() && self.faults.windows(2).all(is_alone)
    }

    /// For so long the client's process stands still, all in all.
    pub fn pauses_ms(&self) -> u64 {
        let pause = |fault: &PlannedFault| match fault.what {
            WorldFault::ClientPause { ms } => ms,
            _ => 0,
        };
        self.faults.iter().map(pause).sum()
    }

    /// Records that users will send, if nobody stops them.
    pub fn records(&self) -> u64 {
        self.users.iter().map(|user| u64::from(user.records)).sum()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} brokers, Produce up to {}", self.cluster.brokers, self.cluster.produce_max_version)?;
        for topic in &self.cluster.topics {
            writeln!(
                f,
                "topic {}: {} partitions, {} replicas, min.insync.replicas {}, max.message.bytes {}{}",
                topic.name,
                topic.partitions,
                topic.replication_factor,
                topic.min_insync_replicas,
                topic.max_message_bytes,
                if topic.log_append_time { ", LogAppendTime" } else { "" }
            )?;
        }
        let settings: Vec<String> =
            self.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        writeln!(f, "producer: {}", settings.join(" "))?;
        for (number, user) in self.users.iter().enumerate() {
            writeln!(
                f,
                "user {number}: {} records to {:?}, {:?}, {:?}, {} bytes to {}",
                user.records, user.topics, user.partition, user.styles, user.sizes.0, user.large
            )?;
        }
        for PlannedFault { at_ms, what } in &self.faults {
            writeln!(f, "{at_ms:>8} ms  {what}")?;
        }
        write!(f, "{:>8} ms  everything is well from here on; the end: {:?}", self.heal_ms, self.ending)
    }
}

struct Maker {
    rng: fastrand::Rng,
}

impl Maker {
    fn plan(&mut self, seed: u64) -> Plan {
        let heal_ms = self.rng.u64(60_000..=75_000);
        let brokers = if self.one_in(8) { self.rng.i32(4..=5) } else { 3 };
        let mut cluster = self.cluster(brokers);
        let mut topics: Vec<String> = cluster.topics.iter().map(|topic| topic.name.clone()).collect();
        let kind = Kind::of(seed);
        let (is_quiet, only_kills) = (matches!(kind, Kind::Quiet | Kind::Narrow), kind == Kind::Kills);
        if !is_quiet && self.one_in(3) {
            topics.push("made".into());
        }
        let latency = Latency {
            up_ms: self.pick(&[0, 0, 1, 2, 5, 40]),
            down_ms: self.pick(&[0, 0, 1, 2, 5, 40]),
            jitter_ms: self.pick(&[0, 1, 3, 10]),
            write_max: if self.one_in(6) { self.rng.usize(700..6000) } else { 1 << 20 },
        };
        let mut settings = self.settings();
        let mut users = self.users(&cluster, topics.len(), heal_ms);
        let mut faults = self.faults(&cluster, heal_ms);
        if is_quiet {
            faults.clear();
        }
        if only_kills {
            (cluster.unclean_elections, settings) = (false, one_in_flight(settings));
            faults = self.kills(&cluster, heal_ms);
        }
        if kind == Kind::Narrow {
            settings = patient();
            topics.truncate(1);
            cluster.topics.truncate(1);
            (cluster.topics[0].partitions, cluster.topics[0].max_message_bytes) = (1, 2_500);
            for user in &mut users {
                (user.topics, user.partition) = (vec![0], Partition::Sticky);
                (user.burst, user.sizes, user.large_permille) = (400.min(user.records), (4, 400), 0);
                (user.window, user.flush_every) = (1_000, 0);
            }
        }
        if kind == Kind::Standstill {
            (cluster.unclean_elections, settings) = (false, patient());
            for topic in &mut cluster.topics {
                (topic.replication_factor, topic.min_insync_replicas, topic.max_message_bytes) =
                    (3, 2, 1_048_588);
            }
            faults = self.standstills(&cluster, heal_ms);
            topics.truncate(cluster.topics.len());
            for user in &mut users {
                user.topics.retain(|topic| *topic < topics.len());
                if user.topics.is_empty() {
                    user.topics.push(0);
                }
                user.purge_every = 0;
                user.styles = vec![Style::Callback];
            }
        }
        let mut ending = match self.rng.u32(0..10) {
            0 => Ending::Drop,
            1 => Ending::CloseAt { at_ms: self.rng.u64(20_000..heal_ms), timeout_ms: None },
            2 => {
                let (at_ms, timeout_ms) = (self.rng.u64(20_000..heal_ms), self.rng.u64(0..4000));
                Ending::CloseAt { at_ms, timeout_ms: Some(timeout_ms) }
            }
            3 => Ending::Close { timeout_ms: Some(self.rng.u64(0..3000)) },
            _ => Ending::Close { timeout_ms: None },
        };
        if kind == Kind::Closing {
            settings = patient();
            settings.extend([("batch.size", "4096".into()), ("buffer.memory", "20000".into())]);
            cluster.unclean_elections = false;
            let at_ms = self.rng.u64(10_000..heal_ms - 25_000);
            let pause = |node| Fault::Pause { node, ms: 20_000 };
            let pauses = (1..=cluster.brokers).map(pause);
            faults = pauses.map(|fault| PlannedFault { at_ms, what: WorldFault::Cluster(fault) }).collect();
            ending = Ending::CloseAt { at_ms: at_ms + self.rng.u64(8_000..15_000), timeout_ms: None };
            for user in &mut users {
                (user.burst, user.window, user.flush_every, user.purge_every) = (20, 1_000, 0, 0);
                user.pause_ms = (heal_ms - user.start_ms) / u64::from(user.records / user.burst + 1);
                user.styles = vec![Style::Name, Style::Handle, Style::Callback, Style::Permit];
            }
        }
        let first_sequence = if self.one_in(6) { i32::MAX - self.rng.i32(0..200) } else { 0 };
        Plan { seed, settings, cluster, topics, latency, users, faults, heal_ms, ending, first_sequence }
    }

    fn cluster(&mut self, brokers: i32) -> ClusterConfig {
        let count = self.rng.usize(1..=3);
        let topics = (0..count)
            .map(|number| {
                let replication_factor = self.pick(&[3, 3, 3, 3, 2]);
                TopicSpec {
                    name: format!("t{number}"),
                    partitions: self.rng.i32(1..=4),
                    replication_factor,
                    min_insync_replicas: if replication_factor == 3 { 2 } else { self.pick(&[1, 2]) },
                    max_message_bytes: self.pick(&[1_048_588, 1_048_588, 1_048_588, 6_000, 2_500]),
                    log_append_time: self.one_in(6),
                }
            })
            .collect();
        ClusterConfig {
            brokers,
            topics,
            produce_max_version: self.pick(&[13, 13, 13, 13, 13, 13, 12, 9, 7, 3]),
            unclean_elections: self.one_in(12),
            wall_clock_ms: WALL_MS,
            ..ClusterConfig::default()
        }
    }

    fn settings(&mut self) -> Vec<(&'static str, String)> {
        let mut settings: Vec<(&'static str, String)> = Vec::new();
        let mut set = |key, value: String| settings.push((key, value));
        let linger_ms = self.pick(&[0, 0, 5, 5, 5, 50, 300]);
        set("linger.ms", linger_ms.to_string());
        let batch_size = self.pick(&[16_384, 16_384, 4_096, 1_000, 300, 65_536]);
        set("batch.size", batch_size.to_string());
        let request_ms = self.pick(&[1_000, 2_000, 4_000, 10_000, 30_000]);
        set("request.timeout.ms", request_ms.to_string());
        let more_ms = self.pick(&[0, 1_000, 5_000, 20_000, 90_000]);
        set("delivery.timeout.ms", (linger_ms + request_ms + more_ms).to_string());
        set("max.block.ms", self.pick(&[100, 1_000, 10_000, 60_000]).to_string());
        if self.one_in(2) {
            let memory = self.pick(&[20_000, 70_000, 200_000]);
            set("buffer.memory", memory.max(batch_size).to_string());
        }
        if self.one_in(4) {
            set("compression.type", self.pick(&["lz4", "snappy", "gzip", "zstd"]).to_string());
        }
        if self.one_in(4) {
            set("max.request.size", self.pick(&[3_000, 20_000]).to_string());
        }
        set("retry.backoff.ms", self.pick(&[10, 100, 100, 100]).to_string());
        if self.one_in(3) {
            set("metadata.max.age.ms", self.pick(&[1_000, 5_000, 20_000]).to_string());
        }
        if self.one_in(4) {
            set("connections.max.idle.ms", self.pick(&[500, 5_000]).to_string());
        }
        if self.one_in(5) {
            set("metadata.recovery.rebootstrap.trigger.ms", self.pick(&[1_000, 5_000, 20_000]).to_string());
        }
        let mut in_flight = self.pick(&[0, 0, 0, 0, 1, 2, 3]);
        match self.rng.u32(0..20) {
            0 => set("acks", "0".into()),
            1 => set("acks", "1".into()),
            2 => {
                set("enable.idempotence", "false".into());
                in_flight = self.pick(&[1, 5]);
            }
            3 => set("retries", self.pick(&[1, 3]).to_string()),
            _ => {}
        }
        if in_flight > 0 {
            set("max.in.flight.requests.per.connection", in_flight.to_string());
        }
        settings
    }

    fn users(&mut self, cluster: &ClusterConfig, topics: usize, heal_ms: u64) -> Vec<UserPlan> {
        let count = self.rng.u32(3..=6);
        let total = self.rng.u32(1_100..=2_600);
        (0..count)
            .map(|_| {
                let records = total / count;
                let burst = self.pick(&[1, 5, 20, 60, 150]).min(records);
                let start_ms = self.rng.u64(0..3_000);
                // The last burst comes about when all is well again.
                let pause_ms = (heal_ms - start_ms) / u64::from(records / burst + 1);
                let mut all: Vec<usize> = (0..topics).collect();
                self.rng.shuffle(&mut all);
                all.truncate(self.rng.usize(1..=topics));
                let partitions = all
                    .iter()
                    .map(|topic| cluster.topics.get(*topic).map_or(1, |topic| topic.partitions))
                    .min()
                    .unwrap_or(1);
                let partition = match self.rng.u32(0..3) {
                    0 => Partition::Keyed(self.rng.u16(1..40)),
                    1 => Partition::Explicit(partitions + i32::from(self.one_in(8))),
                    _ => Partition::Sticky,
                };
                let all_styles =
                    [Style::Name, Style::Handle, Style::Callback, Style::Try, Style::Permit, Style::Callback];
                let styles: Vec<Style> = (0..self.rng.usize(1..=4)).map(|_| self.pick(&all_styles)).collect();
                let most = self.pick(&[40, 100, 200, 400]);
                UserPlan {
                    seed: self.rng.u64(..),
                    records,
                    topics: all,
                    start_ms,
                    burst,
                    pause_ms,
                    styles,
                    partition,
                    sizes: (4, most),
                    large: self.pick(&[600, 2_000, 5_000]),
                    large_permille: self.pick(&[0, 10, 50]),
                    cancel_percent: self.pick(&[0, 0, 5, 30]),
                    drops_percent: self.pick(&[0, 20, 100]),
                    window: self.pick(&[0, 10, 100, 1_000]),
                    flush_every: self.pick(&[0, 0, 50, 200]),
                    purge_every: self.pick(&[0, 0, 0, 0, 100]),
                    ask_every: self.pick(&[0, 0, 30]),
                    waits_at_the_end: !self.one_in(5),
                }
            })
            .collect()
    }

    fn faults(&mut self, cluster: &ClusterConfig, heal_ms: u64) -> Vec<PlannedFault> {
        let mut faults = Vec::new();
        // On most seeds one kind of trouble prevails, so that several of a kind meet.
        let liked = self.rng.u32(0..KINDS);
        for _ in 0..self.rng.u32(10..=22) {
            let at_ms = self.rng.u64(1_000..heal_ms - 2_000);
            let kind = if self.one_in(3) { liked } else { self.rng.u32(0..KINDS) };
            self.fault(kind, at_ms, cluster, heal_ms, &mut faults);
        }
        faults.sort_by_key(|fault| fault.at_ms);
        faults
    }

    /// Brokers that die and come back with what they had in their page caches.
    fn kills(&mut self, cluster: &ClusterConfig, heal_ms: u64) -> Vec<PlannedFault> {
        let mut faults = Vec::new();
        for _ in 0..self.rng.u32(6..=12) {
            let at_ms = self.rng.u64(1_000..heal_ms - 2_000);
            self.fault(0, at_ms, cluster, heal_ms, &mut faults);
        }
        for fault in &mut faults {
            if let WorldFault::Cluster(Fault::Restart { lose_page_cache, .. }) = &mut fault.what {
                *lose_page_cache = false;
            }
        }
        faults.sort_by_key(|fault| fault.at_ms);
        faults
    }

    /// One broker after the other stands still, each for longer than anybody should wait for it.
    fn standstills(&mut self, cluster: &ClusterConfig, heal_ms: u64) -> Vec<PlannedFault> {
        let mut at_ms = self.rng.u64(2_000..5_000);
        let mut faults = Vec::new();
        while at_ms + STANDSTILL_MS.1 < heal_ms {
            let (node, ms) =
                (self.rng.i32(1..=cluster.brokers), self.rng.u64(STANDSTILL_MS.0..STANDSTILL_MS.1));
            faults.push(PlannedFault { at_ms, what: WorldFault::Cluster(Fault::Pause { node, ms }) });
            // the in-sync sets are whole again before the next
            at_ms += ms + self.rng.u64(6_000..9_000);
        }
        faults
    }

    fn fault(
        &mut self,
        kind: u32,
        at_ms: u64,
        cluster: &ClusterConfig,
        heal_ms: u64,
        faults: &mut Vec<PlannedFault>,
    ) {
        let node = self.rng.i32(1..=cluster.brokers);
        let spec = &cluster.topics[self.rng.usize(0..cluster.topics.len())];
        let (topic, partition) = (spec.name.clone(), self.rng.i32(0..spec.partitions));
        let mut add = |at_ms: u64, what| faults.push(PlannedFault { at_ms: at_ms.min(heal_ms - 1), what });
        let times = self.rng.u32(1..=3);
        let fault = match kind {
            0..=2 => {
                let down_ms = self.pick(&[200, 2_000, 8_000, 15_000]);
                let lose_page_cache = self.one_in(4);
                add(at_ms + down_ms, WorldFault::Cluster(Fault::Restart { node, lose_page_cache }));
                if self.one_in(12) {
                    // All at once; the machines lose their power, or only the processes die.
                    for other in (1..=cluster.brokers).filter(|other| *other != node) {
                        let back_ms = at_ms + down_ms + self.rng.u64(0..2_000);
                        add(at_ms, WorldFault::Cluster(Fault::Kill { node: other }));
                        add(back_ms, WorldFault::Cluster(Fault::Restart { node: other, lose_page_cache }));
                    }
                }
                Fault::Kill { node }
            }
            3 => Fault::Pause { node, ms: self.rng.u64(100..15_000) },
            4 => Fault::Isolate { node, ms: self.rng.u64(1_000..20_000) },
            5 | 6 => Fault::MoveLeader { topic, partition },
            7 => Fault::ShrinkIsr { topic, partition, ms: self.rng.u64(1_000..20_000) },
            8 => {
                Fault::SlowReplication { delay_ms: self.rng.u64(20..1_500), ms: self.rng.u64(1_000..20_000) }
            }
            9..=12 => {
                let code = self.pick(PRODUCE_ERRORS);
                // A broker that says it has a batch has it.
                let is_there = code == ErrorCode::DUPLICATE_SEQUENCE_NUMBER;
                let after_append = is_there || Fault::may_follow_append(code) && self.rng.bool();
                let partition = self.rng.bool().then_some((topic, partition));
                Fault::Error { api: ApiKey::Produce, partition, code, after_append, times }
            }
            13 => {
                let code = self.pick(METADATA_ERRORS);
                Fault::Error { api: ApiKey::Metadata, partition: None, code, after_append: false, times }
            }
            14 => {
                let code = self.pick(IDENTITY_ERRORS);
                Fault::Error {
                    api: ApiKey::InitProducerId,
                    partition: None,
                    code,
                    after_append: false,
                    times,
                }
            }
            15 => Fault::RejectRecords { topic, partition, times },
            16 => Fault::StaleMetadata { node, ms: self.rng.u64(1_000..20_000) },
            17 => Fault::EmptyMetadata { node, times },
            // The first stays where bootstrap.servers says, or nobody could ever be found again.
            18 => Fault::MoveAddress { node: node.max(2) },
            19 => Fault::GrowTopic { topic },
            20 => {
                let away_ms = self.pick(&[500, 3_000, 10_000]);
                add(at_ms + away_ms, WorldFault::Cluster(Fault::CreateTopic { topic: topic.clone() }));
                Fault::DeleteTopic { topic }
            }
            21 | 22 => Fault::RecreateTopic { topic },
            23 => Fault::LimitBatches { topic, bytes: self.pick(&[1_500, 4_000, 1_048_588]) },
            24 if self.one_in(4) => Fault::ForgetProducers,
            24 | 25 => Fault::Throttle { node, ms: self.rng.u32(50..3_000), times },
            26 | 27 => Fault::CutAfterAppend { node, times },
            28 => Fault::CutBeforeAppend { node, times },
            29 => Fault::LoseAnswer { node, times: 1 },
            30 => Fault::ClockJump { node, ms: self.rng.i64(-100_000..100_000) },
            31 => {
                add(at_ms + 5_000, WorldFault::Cluster(Fault::Kill { node }));
                add(at_ms + 7_000, WorldFault::Cluster(Fault::Restart { node, lose_page_cache: false }));
                Fault::DiskFailure { node }
            }
            32 => Fault::Upgrade { node, produce_max_version: self.pick(&[13, 12, 9, 7]) },
            33 => Fault::SlowAnswers {
                node,
                delay_ms: self.rng.u64(50..4_000),
                ms: self.rng.u64(1_000..15_000),
            },
            34 | 35 => {
                let arrives_after_ms = if self.rng.bool() { Some(self.rng.u64(1..4_000)) } else { None };
                add(at_ms, WorldFault::Link(LinkFault::Reset { node, arrives_after_ms }));
                return;
            }
            36 | 37 => {
                let (up, down) = self.pick(&[(true, true), (true, false), (false, true)]);
                add(
                    at_ms,
                    WorldFault::Link(LinkFault::Hole { node, up, down, ms: self.rng.u64(200..20_000) }),
                );
                return;
            }
            38 => {
                add(at_ms, WorldFault::Link(LinkFault::BreakAnswer { node }));
                return;
            }
            39 => {
                add(at_ms, WorldFault::Link(LinkFault::SpoilAnswer { node, bytes: self.rng.usize(1..30) }));
                return;
            }
            40 => {
                add(at_ms, WorldFault::Link(LinkFault::Refuse { node, ms: self.rng.u64(500..10_000) }));
                return;
            }
            41 => {
                add(at_ms, WorldFault::Link(LinkFault::NoNames { ms: self.rng.u64(500..10_000) }));
                return;
            }
            42 => {
                add(at_ms, WorldFault::ClientPause { ms: self.pick(&[20, 500, 5_000, 40_000]) });
                return;
            }
            _ => {
                add(at_ms, WorldFault::ClientClock { ms: self.rng.i64(-100_000..100_000) });
                return;
            }
        };
        add(at_ms, WorldFault::Cluster(fault));
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(0..n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())]
    }
}

/// What kind of world a seed means. The simple ones show what a producer does beyond what it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Anything may go wrong.
    Any,
    /// Nothing goes wrong.
    Quiet,
    /// The same, and batches are larger than their topics allow, but no record is (ACC-23).
    Narrow,
    /// Brokers' processes die and come back, and nothing else happens.
    Kills,
    /// The producer is closed while all brokers stand still and calls wait for room (BUF-6).
    Closing,
    /// Brokers stand still for long, one after the other, and nothing else happens (RTY-4).
    Standstill,
}

impl Kind {
    fn of(seed: u64) -> Kind {
        match seed % 64 {
            16 => Kind::Narrow,
            0 | 32 | 48 => Kind::Quiet,
            8 | 24 | 40 | 56 => Kind::Kills,
            12 | 44 => Kind::Standstill,
            20 | 52 => Kind::Closing,
            _ => Kind::Any,
        }
    }
}

/// How long a broker stands still where nothing else happens, at least and at most.
const STANDSTILL_MS: (u64, u64) = (21_000, 26_000);

/// Kinds of faults that `Maker::fault` knows.
const KINDS: u32 = 44;

/// Settings that keep order by sending one request after the other, with idempotence.
fn one_in_flight(mut settings: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let replaced = ["acks", "enable.idempotence", "max.in.flight.requests.per.connection"];
    settings.retain(|(key, _)| !replaced.contains(key));
    settings.push(("max.in.flight.requests.per.connection", "1".into()));
    settings
}

/// The defaults, and an open ear.
fn patient() -> Vec<(&'static str, String)> {
    vec![("metadata.max.age.ms", "20000".into())]
}

/// What all wall clocks show when a world begins.
pub const WALL_MS: i64 = 1_700_000_000_000;

const PRODUCE_ERRORS: &[ErrorCode] = &[
    ErrorCode::NOT_LEADER_OR_FOLLOWER,
    ErrorCode::LEADER_NOT_AVAILABLE,
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::UNKNOWN_TOPIC_ID,
    ErrorCode::FENCED_LEADER_EPOCH,
    ErrorCode::NOT_ENOUGH_REPLICAS,
    ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode::REQUEST_TIMED_OUT,
    ErrorCode::NETWORK_EXCEPTION,
    ErrorCode::KAFKA_STORAGE_ERROR,
    ErrorCode::CORRUPT_MESSAGE,
    ErrorCode::MESSAGE_TOO_LARGE,
    ErrorCode::RECORD_LIST_TOO_LARGE,
    ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
    ErrorCode::UNKNOWN_PRODUCER_ID,
    ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
    ErrorCode::INVALID_PRODUCER_EPOCH,
    ErrorCode::INVALID_RECORD,
    ErrorCode::INVALID_TIMESTAMP,
    ErrorCode::UNKNOWN_SERVER_ERROR,
    ErrorCode::TOPIC_AUTHORIZATION_FAILED,
    ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
    ErrorCode::POLICY_VIOLATION,
    ErrorCode::THROTTLING_QUOTA_EXCEEDED,
    ErrorCode::BROKER_NOT_AVAILABLE,
];

const METADATA_ERRORS: &[ErrorCode] = &[
    ErrorCode::LEADER_NOT_AVAILABLE,
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::UNKNOWN_SERVER_ERROR,
    ErrorCode::REBOOTSTRAP_REQUIRED,
];

const IDENTITY_ERRORS: &[ErrorCode] = &[
    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ErrorCode::NOT_COORDINATOR,
    ErrorCode::CONCURRENT_TRANSACTIONS,
    ErrorCode::UNKNOWN_SERVER_ERROR,
];
