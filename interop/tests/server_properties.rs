//! One configuration file, two brokers: Apache Kafka and Rohrpost both start on it, and give topics the same settings.

// a test says what it waits for
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rohrpost_interop::{have, kafka_tool, rohrpost, root, run, run_with_input};

const KAFKA: &str = "4.3.1";
/// A cold virtual machine on a busy one takes its time.
const PATIENCE: Duration = Duration::from_secs(180);

/// A server in a process of its own; killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts it, and returns when it takes connections.
    fn start(mut command: Command, port: u16) -> Server {
        let mut server = Server(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.0.try_wait().unwrap() {
                panic!("{command:?} ended with {status}");
            }
            assert!(start.elapsed() < PATIENCE, "{command:?} does not listen on {port}");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

/// Ports that were free a moment ago.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// What a broker does with a topic that a client's request creates: its settings, and how many partitions it has.
fn use_and_describe(address: &str) -> (BTreeMap<String, String>, usize) {
    let produce = ["produce", "-b", address, "-t", "made-by-a-client", "-X", "max.request.size=3000000"];
    // larger than Kafka's default allows, smaller than the file does
    let mut input = vec![b'x'; 1_500_000];
    input.push(b'\n');
    run_with_input(rohrpost().args(produce), &input);
    let consume = ["consume", "-b", address, "-t", "made-by-a-client", "--from-beginning", "--until-end"];
    assert!(run(rohrpost().args(consume)) == input, "what was written is read");
    let arguments = ["--bootstrap-server", address, "--describe", "--topic", "made-by-a-client"];
    let described = String::from_utf8(run(&mut kafka_tool(KAFKA, "topics", arguments))).unwrap();
    let partitions = described.lines().filter(|line| line.contains("Leader: 1")).count();
    let arguments = [
        "--bootstrap-server",
        address,
        "--describe",
        "--all",
        "--entity-type",
        "topics",
        "--entity-name",
        "made-by-a-client",
    ];
    let described = String::from_utf8(run(&mut kafka_tool(KAFKA, "configs", arguments))).unwrap();
    let settings = described.lines().filter_map(|line| {
        let (setting, _) = line.trim().split_once(" sensitive=")?;
        let (key, value) = setting.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    });
    (settings.collect(), partitions)
}

#[test]
fn apache_kafka_and_rohrpost_start_on_the_same_file_and_give_topics_the_same_settings() {
    // M9
    if !have(&["java", "mvn"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [port, controller] = free_ports();
    let example = std::fs::read_to_string(root().join("docs/examples/server.properties")).unwrap();
    // the same file for both, on ports and in directories of this test; in a file the last one wins
    let text = format!(
        "{example}\nlisteners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\nlog.dirs={}\n",
        path("kafka")
    );
    let file = path("server.properties");
    std::fs::write(&file, text).unwrap();
    let address = format!("127.0.0.1:{port}");

    let id = "AAAAAAAAQACAAAAAAAAAAQ";
    run(&mut kafka_tool(KAFKA, "storage", ["format", "--standalone", "-t", id, "-c", &file]));
    let kafka = Server::start(kafka_tool(KAFKA, "kafka.Kafka", [&file]), port);
    let (of_kafka, partitions) = use_and_describe(&address);
    assert_eq!(partitions, 3, "num.partitions of the file");
    drop(kafka);

    let mut command = rohrpost();
    command.args(["broker", "--config", &file, "--set", &format!("log.dirs={}", path("rohrpost"))]);
    let broker = Server::start(command, port);
    let (ours, partitions) = use_and_describe(&address);
    assert_eq!(partitions, 3);
    drop(broker);
    assert!(Path::new(&path("rohrpost")).join("made-by-a-client-2").is_dir());

    assert_eq!(of_kafka["max.message.bytes"], "2097152", "the file was read");
    assert_eq!(of_kafka["retention.ms"], (72 * 3_600_000).to_string());
    assert!(ours.len() > 20, "{ours:?}");
    for (key, value) in &ours {
        assert_eq!(of_kafka.get(key), Some(value), "{key}");
    }
}
