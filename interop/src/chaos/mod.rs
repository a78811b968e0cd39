//! `rohrpost verify` against Apache Kafka while brokers fail: what is done, and what it comes to. `scripts/chaos` runs all of it and writes
//! docs/chaos.md, where each fault is described; `tests/chaos.rs` runs a short part.
//!
//! * [`nodes`] is the cluster whose nodes fail, [`writer`] the command under test, [`probe`] the measure of when the cluster itself takes
//!   writes, [`stalls`] the comparison, [`table`] the results.

pub mod nodes;
pub mod probe;
pub mod stalls;
pub mod table;
pub mod writer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use self::nodes::{Nodes, await_some, topics};
use self::probe::Probe;
use self::stalls::{Stalls, outages};
use self::table::Row;
use self::writer::{Writer, acknowledged_at, check};
use crate::proxy::{Event, Proxy, Schedule};
use crate::{now_ms, root, run};

/// Of Apache Kafka.
pub const VERSION: &str = "4.3.1";
/// Partitions of each topic.
pub const PARTITIONS: usize = 4;

/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The leader of a partition gets SIGKILL, every 20 s, and is started again after 10 s.
    LeaderKilled,
    /// The leader of a partition gets SIGSTOP for 12 s, and until another node leads, every 25 s.
    LeaderPaused,
    /// All nodes get SIGKILL at once and are started again.
    AllKilled,
    /// The topic is deleted and created again.
    TopicRecreated,
    /// Two of three brokers stand still for longer than delivery.timeout.ms.
    BelowMinimum,
    /// Connections break and answers come late ([`crate::proxy`]).
    Proxy,
    /// The same with a request timeout that is shorter than the delays.
    ProxyTimeouts,
}

/// All faults, in the table's order.
pub const FAULTS: [Fault; 7] = [
    Fault::LeaderKilled,
    Fault::LeaderPaused,
    Fault::AllKilled,
    Fault::TopicRecreated,
    Fault::BelowMinimum,
    Fault::Proxy,
    Fault::ProxyTimeouts,
];

impl Fault {
    /// On the command line, and in a topic's name.
    pub fn name(self) -> &'static str {
        match self {
            Fault::LeaderKilled => "leader-killed",
            Fault::LeaderPaused => "leader-paused",
            Fault::AllKilled => "all-killed",
            Fault::TopicRecreated => "topic-recreated",
            Fault::BelowMinimum => "below-minimum",
            Fault::Proxy => "proxy",
            Fault::ProxyTimeouts => "proxy-timeouts",
        }
    }

    /// What is set differently from the defaults.
    pub fn settings(self) -> &'static [&'static str] {
        match self {
            Fault::BelowMinimum => &["delivery.timeout.ms=6000", "request.timeout.ms=3000"],
            Fault::ProxyTimeouts => &["request.timeout.ms=1000"],
            _ => &[],
        }
    }

    /// How the cluster is laid out: with two nodes standing still a quorum of three has no majority, so the controller is a node of
    /// its own there.
    pub fn layout(self) -> &'static [&'static str] {
        match self {
            Fault::BelowMinimum => &["--brokers", "3", "--controllers", "1"],
            _ => &["--nodes", "3"],
        }
    }

    /// Leaders move, or the run has tested nothing.
    pub fn moves_leaders(self) -> bool {
        !matches!(self, Fault::Proxy | Fault::ProxyTimeouts)
    }

    /// Each of its records must end as acknowledged.
    pub fn all_acknowledged(self) -> bool {
        matches!(self, Fault::LeaderKilled | Fault::LeaderPaused | Fault::AllKilled | Fault::Proxy)
    }

    /// Records must fail, or the run has tested nothing.
    pub fn fails_records(self) -> bool {
        self == Fault::BelowMinimum
    }
}

/// How much is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Faults of a kind.
    pub faults: u64,
    /// Records a second.
    pub rate: u64,
    /// For what is drawn: the proxy's schedule.
    pub seed: u64,
    /// Where outcomes and logs go.
    pub folder: PathBuf,
}

/// Does a fault as often as planned while records are written, and checks. The cluster is laid out as the fault needs it, and whole.
pub fn inflict(fault: Fault, nodes: &Nodes, plan: &Plan) -> Row {
    let topic = format!("chaos-{}", fault.name());
    create(nodes, &topic);
    nodes.await_in_sync(&topic, PARTITIONS);
    let proxy = match fault {
        Fault::Proxy => Some(Schedule::new(plan.seed, 60, 1_500)),
        Fault::ProxyTimeouts => Some(Schedule::new(plan.seed, 60, 3_000)),
        _ => None,
    };
    let brokers = nodes.brokers();
    let proxy = proxy.map(|schedule| {
        Proxy::start(&brokers.values().copied().collect::<Vec<_>>(), schedule)
            .expect("free ports on loopback")
    });
    let bootstrap = proxy.as_ref().map_or(nodes.bootstrap().to_owned(), Proxy::bootstrap);
    let probe = Probe::start(brokers.values().copied(), &topic, PARTITIONS);
    let mut writer = Writer::start(&bootstrap, &topic, plan.rate, fault.settings(), &plan.folder);
    await_some("the first acknowledgement", || writer.has_begun().then_some(()));

    let begin = Instant::now();
    let mut scene = Scene {
        nodes,
        topic: &topic,
        probe: &probe,
        writer: &writer,
        rate: plan.rate,
        deleted_at: Vec::new(),
    };
    let faults = match &proxy {
        // they come by themselves, and fast
        Some(proxy) => break_connections(proxy, plan.faults * 5),
        None => {
            for number in 0..plan.faults as usize {
                scene.inflict_once(fault, number);
            }
            plan.faults
        }
    };
    nodes.await_in_sync(&topic, PARTITIONS);
    let healed = now_ms();
    await_some("writes to all partitions", || probe.is_whole_since(healed).then_some(()));
    let seconds = begin.elapsed().as_secs();
    let deleted_at = scene.deleted_at;
    let counts = proxy.as_ref().map(|proxy| proxy.counts()).unwrap_or_default();
    let outcomes = writer.stop();
    let accepted = probe.stop();
    let events = proxy.as_ref().map(Proxy::events);
    drop(proxy);

    let mut row = Row::new(fault, faults, seconds, counts);
    match outcomes.and_then(|outcomes| Ok((check(nodes.bootstrap(), &outcomes, &deleted_at)?, outcomes))) {
        Ok((found, outcomes)) => {
            let acks = acknowledged_at(&outcomes, PARTITIONS);
            let out = match &events {
                Some(events) => broken_connections(nodes, &topic, &brokers, events),
                None => accepted.iter().map(|accepted| outages(accepted)).collect(),
            };
            let out_ms = out.iter().flatten().map(|(from, to)| to - from).max().unwrap_or(0);
            // behind a proxy each connection is broken for itself
            let others = out.concat();
            let kept = plan.folder.join(format!("chaos-{}.outages", fault.name()));
            if let Err(error) = std::fs::write(&kept, format!("from and to, by partition: {out:?}\n")) {
                row.failed(format!("cannot write {}: {error}", kept.display()));
            }
            let stalls = acks.iter().zip(&out).map(|(acks, outages)| match events {
                Some(_) => Stalls::of(acks, outages, outages),
                None => Stalls::of(acks, outages, &others),
            });
            row.judge(&found, stalls.fold(Stalls::default(), Stalls::or_worse), out_ms);
        }
        Err(said) => row.failed(said),
    }
    row
}

/// What a fault needs while it is done.
struct Scene<'a> {
    nodes: &'a Nodes,
    topic: &'a str,
    probe: &'a Probe,
    writer: &'a Writer,
    rate: u64,
    deleted_at: Vec<u64>,
}

impl Scene<'_> {
    fn inflict_once(&mut self, fault: Fault, number: usize) {
        let begin = Instant::now();
        let (nodes, topic) = (self.nodes, self.topic);
        match fault {
            Fault::LeaderKilled => {
                let leader = nodes.leader(topic, number % PARTITIONS);
                nodes.kill(leader);
                wait_until(begin, 10);
                nodes.start_again(&[leader]);
                nodes.await_in_sync(topic, PARTITIONS);
                wait_until(begin, 20);
            }
            Fault::LeaderPaused => {
                let leader = nodes.leader(topic, number % PARTITIONS);
                nodes.pause(leader);
                wait_until(begin, 12);
                // 12 s are longer than a broker's session (9 s). If the controller stands still as well, its successor gives all
                // brokers a new session.
                nodes.await_leader_but(leader, topic, number % PARTITIONS);
                nodes.resume(leader);
                nodes.await_in_sync(topic, PARTITIONS);
                wait_until(begin, 25);
            }
            Fault::AllKilled => {
                let all: Vec<i32> = nodes.brokers().into_keys().collect();
                for &node in &all {
                    nodes.kill(node);
                }
                nodes.start_again(&all);
                nodes.await_in_sync(topic, PARTITIONS);
                let healed = now_ms();
                await_some("writes to all partitions", || self.probe.is_whole_since(healed).then_some(()));
                // or outages without end would pile up until records expire truly
                self.writer.await_pace(self.rate);
            }
            Fault::TopicRecreated => {
                self.deleted_at.push(now_ms());
                run(&mut topics(nodes.bootstrap(), &["delete", topic]));
                // now at once, now after a while
                std::thread::sleep(Duration::from_secs(number as u64 % 3));
                create(nodes, topic);
                nodes.await_in_sync(topic, PARTITIONS);
                let made = now_ms();
                await_some("writes to all partitions", || self.probe.is_whole_since(made).then_some(()));
                std::thread::sleep(Duration::from_secs(8));
            }
            Fault::BelowMinimum => {
                let stays = nodes.leader(topic, number % PARTITIONS);
                let others: Vec<i32> = nodes.brokers().into_keys().filter(|&node| node != stays).collect();
                for &node in &others {
                    nodes.pause(node);
                }
                wait_until(begin, 20);
                for &node in &others {
                    nodes.resume(node);
                }
                nodes.await_in_sync(topic, PARTITIONS);
                wait_until(begin, 26);
            }
            Fault::Proxy | Fault::ProxyTimeouts => {}
        }
    }
}

/// Lets the proxy do its work until each of its faults has happened so often; how many that were.
fn break_connections(proxy: &Proxy, each: u64) -> u64 {
    await_some("faults of every kind", || (proxy.fewest() >= each).then_some(()));
    proxy.set_active(false);
    proxy.counts().iter().map(|(_, count)| count).sum()
}

/// By partition: from when to when the proxy kept its leader from answering.
fn broken_connections(
    nodes: &Nodes,
    topic: &str,
    brokers: &BTreeMap<i32, SocketAddr>,
    events: &[Event],
) -> Vec<Vec<(u64, u64)>> {
    let leaders = (0..PARTITIONS).map(|partition| nodes.leader(topic, partition));
    let of = |leader: i32| {
        let address = brokers.get(&leader);
        let events = events.iter().filter(|event| Some(&event.broker) == address);
        events.map(|event| (event.from_ms, event.to_ms)).collect()
    };
    leaders.map(of).collect()
}

/// Makes the topic, again and again if it is just being deleted.
fn create(nodes: &Nodes, topic: &str) {
    let partitions = PARTITIONS.to_string();
    let arguments = ["create", topic, "--partitions", &partitions, "--replication-factor", "3"];
    await_some(&format!("topic {topic}"), || {
        topics(nodes.bootstrap(), &arguments).output().is_ok_and(|made| made.status.success()).then_some(())
    });
}

/// Until so many seconds are over since `begin`.
fn wait_until(begin: Instant, seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds).saturating_sub(begin.elapsed()));
}

fn script() -> Command {
    let mut command = Command::new(root().join("scripts/kafka"));
    command.env("ROHRPOST_KAFKA_VERSION", VERSION);
    command
}
