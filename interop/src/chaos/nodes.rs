//! A cluster of Apache Kafka whose nodes are killed, paused and started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use rohrpost_net::{Address, Client, ClientConfig, NetConfig, TopicMetadata};

use super::script;
use crate::run;

/// Until a cluster has healed; a machine with other work takes its time.
const PATIENCE: Duration = Duration::from_secs(180);
const TICK: Duration = Duration::from_millis(100);

/// Nodes on loopback. All processes end and all files go when this is dropped, also on a panic.
pub struct Nodes {
    name: String,
    bootstrap: String,
}

impl Nodes {
    /// Three nodes, or what `layout` says in the words of `scripts/kafka up`. min.insync.replicas is 2.
    pub fn start(purpose: &str, layout: &[&str]) -> Nodes {
        let name = format!("{purpose}-{}", std::process::id());
        // made first: what did not start is taken away, too
        let mut nodes = Nodes { name: name.clone(), bootstrap: String::new() };
        let out = run(script()
            .args(["up", "--name", &name, "--wait", "180", "--set", "min.insync.replicas=2"])
            .args(layout));
        nodes.bootstrap = String::from_utf8(out).expect("addresses").trim().to_owned();
        nodes
    }

    /// For a client's `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The brokers' ids and addresses.
    pub fn brokers(&self) -> BTreeMap<i32, SocketAddr> {
        let address = |text: &str| text.parse().unwrap_or_else(|_| panic!("an address, not {text}"));
        (1..).zip(self.bootstrap.split(',').map(address)).collect()
    }

    /// SIGKILL.
    pub fn kill(&self, node: i32) {
        self.act("kill", node);
    }

    /// SIGSTOP.
    pub fn pause(&self, node: i32) {
        self.act("pause", node);
    }

    /// SIGCONT.
    pub fn resume(&self, node: i32) {
        self.act("resume", node);
    }

    /// Starts these again; returns when each of them answers.
    pub fn start_again(&self, nodes: &[i32]) {
        std::thread::scope(|scope| {
            for &node in nodes {
                scope.spawn(move || self.act("start-node", node));
            }
        });
    }

    /// What any broker says of a topic at this moment; `None` if none says anything.
    pub fn topic(&self, topic: &str) -> Option<TopicMetadata> {
        let mut client = connect(&self.brokers().into_values().collect::<Vec<_>>(), 1_000)?;
        client.metadata(Some(&[topic])).ok()?.topic(topic).cloned()
    }

    /// Who leads a partition; waits until somebody does.
    pub fn leader(&self, topic: &str, partition: usize) -> i32 {
        await_some(&format!("a leader of {topic}-{partition}"), || {
            let found = self.topic(topic)?;
            found.partitions.get(partition).map(|found| found.leader_id).filter(|&leader| leader > 0)
        })
    }

    /// Until another node than this one leads a partition.
    pub fn await_leader_but(&self, node: i32, topic: &str, partition: usize) {
        await_some(&format!("a leader of {topic}-{partition} other than node {node}"), || {
            (self.leader(topic, partition) != node).then_some(())
        });
    }

    /// Until all replicas of all partitions are in sync.
    pub fn await_in_sync(&self, topic: &str, partitions: usize) {
        await_some(&format!("all replicas of {topic} in sync"), || {
            let found = self.topic(topic)?;
            let is_whole = found.partitions.len() == partitions
                && found.partitions.iter().all(|p| p.leader_id > 0 && p.in_sync.len() == p.replicas.len());
            is_whole.then_some(())
        });
    }

    fn act(&self, action: &str, node: i32) {
        run(script().args([action, &self.name, &node.to_string()]));
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _ = script().args(["down", &self.name]).status();
    }
}

/// Waits until there is one.
pub(super) fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited for {what} for {PATIENCE:?}");
        std::thread::sleep(TICK);
    }
}

/// A client that does not wait long.
pub(super) fn connect(brokers: &[SocketAddr], within_ms: u64) -> Option<Client> {
    let addresses: Vec<Address> =
        brokers.iter().map(|at| Address { host: at.ip().to_string(), port: at.port() }).collect();
    let net = NetConfig {
        request_timeout_ms: within_ms,
        reconnect_backoff_ms: 20,
        reconnect_backoff_max_ms: 50,
        ..NetConfig::default()
    };
    Client::connect(&addresses, ClientConfig { net, connect_timeout_ms: within_ms }).ok()
}

/// Of our own command.
pub(super) fn topics(bootstrap: &str, arguments: &[&str]) -> Command {
    let mut command = crate::rohrpost();
    command.arg("topics").args(arguments).args(["-b", bootstrap]);
    command
}
