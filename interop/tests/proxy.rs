//! The fault proxy between our producer and our broker: every fault happens, and no promise is broken.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rohrpost::{Producer, Record};
use rohrpost_broker::Cluster;
use rohrpost_interop::proxy::{Proxy, Schedule};
use rohrpost_interop::rohrpost;
use rohrpost_net::{Address, Client, ClientConfig};
use serde_json::Value;

fn addresses(bootstrap: &str) -> Vec<SocketAddr> {
    bootstrap.split(',').map(|address| address.parse().unwrap()).collect()
}

fn connect(bootstrap: &str) -> Client {
    let addresses: Vec<Address> = addresses(bootstrap)
        .iter()
        .map(|address| Address { host: address.ip().to_string(), port: address.port() })
        .collect();
    Client::connect(&addresses, ClientConfig::default()).unwrap()
}

#[test]
fn a_client_of_the_proxy_meets_no_broker_directly() {
    let cluster = Cluster::builder().topic("t", 3, 1).start().unwrap();
    let proxy = Proxy::start(&addresses(&cluster.bootstrap_servers()), Schedule::new(1, 10, 100)).unwrap();
    assert_ne!(proxy.bootstrap(), cluster.bootstrap_servers());
    let metadata = connect(&proxy.bootstrap()).metadata(Some(&["t"])).unwrap();
    let named: Vec<String> =
        metadata.brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.address.port)).collect();
    assert_eq!(named.join(","), proxy.bootstrap());
    assert_eq!(metadata.topic("t").unwrap().partitions.len(), 3);
}

#[test]
fn a_slow_link_costs_a_request_its_round_trip() {
    let cluster = Cluster::builder().topic("t", 1, 1).start().unwrap();
    let round_trip = Duration::from_millis(200);
    let proxy = Proxy::start_slow(&addresses(&cluster.bootstrap_servers()), round_trip).unwrap();
    let producer = Producer::builder(proxy.bootstrap()).linger(Duration::ZERO).build().unwrap();
    for _ in 0..3 {
        let begin = Instant::now();
        producer.send_blocking(Record::to("t").value("v")).unwrap().wait().unwrap();
        assert!(begin.elapsed() >= round_trip, "{:?}", begin.elapsed());
    }
    assert_eq!(cluster.log("t", 0).records().len(), 3);
}

/// Ends with the test, however that ends.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Connections that end before, in and after requests, and answers that come late or by half.
#[test]
fn no_promise_breaks_when_connections_do() {
    let cluster = Cluster::builder().topic("t", 4, 1).start().unwrap();
    let proxy = Proxy::start(&addresses(&cluster.bootstrap_servers()), Schedule::new(7, 8, 60)).unwrap();
    let mut command = rohrpost();
    command.args([
        "verify",
        "-b",
        &proxy.bootstrap(),
        "-t",
        "t",
        "--seconds",
        "600",
        "--rate",
        "4000",
        "--json",
    ]);
    // some answers come too late, and are answers to nobody then
    command.args(["-X", "request.timeout.ms=50", "-X", "linger.ms=0"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let mut running = Running(Some(child));
    while proxy.fewest() < 5 {
        std::thread::sleep(Duration::from_millis(20));
    }
    proxy.set_active(false);
    std::process::Command::new("kill").args(["-s", "INT", &id]).status().unwrap();
    let output = running.0.take().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert!(output.status.success(), "{found}\n{said}");
    assert_eq!(found["not_written"].as_u64().unwrap() + found["unknown"].as_u64().unwrap(), 0, "{found}");
    assert!(found["retries"].as_u64().unwrap() > 0, "{found}");
    assert_eq!((&found["acked"], &found["checked"]), (&found["found"], &true.into()), "{found}");
}
