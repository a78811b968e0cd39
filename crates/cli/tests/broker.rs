//! `rohrpost broker`: its configuration file, its threads, its listeners, and what it does without file descriptors.
#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{rohrpost, run, run_with_input};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/server.properties");
/// Long enough for a slow machine; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker whose lines on standard error can be looked at; killed when dropped.
struct Watched {
    child: Child,
    /// What it said before it listened.
    first: Vec<String>,
    /// The line that says where it listens.
    listening: String,
    later: Receiver<String>,
}

impl Watched {
    fn start(mut command: Command) -> Watched {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, later) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut first = Vec::new();
        loop {
            match later.recv_timeout(PATIENCE) {
                Ok(line) if line.starts_with("listening on ") => {
                    return Watched { child, first, listening: line, later };
                }
                Ok(line) => first.push(line),
                Err(_) => panic!("it did not listen: {first:#?}"),
            }
        }
    }

    fn addresses(&self) -> Vec<String> {
        let (addresses, _) = self.listening["listening on ".len()..].split_once(", data in ").unwrap();
        addresses.split(", ").map(|one| one.split(' ').next().unwrap().to_owned()).collect()
    }

    /// Waits for a line that contains this.
    fn wait_for(&self, what: &str, seen: &mut Vec<String>) {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.later.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("nothing about {what:?} in {seen:#?}"));
            let found = line.contains(what);
            seen.push(line);
            if found {
                return;
            }
        }
    }

    /// Waits until it has so many threads of the network and of the handlers: a thread gets its name when it first runs.
    #[cfg(target_os = "linux")]
    fn expect_threads(&self, network: usize, handlers: usize) {
        let start = Instant::now();
        loop {
            let found = (self.threads("rohrpost-net"), self.threads("rohrpost-io"));
            if found == (network, handlers) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{found:?} instead of {:?}", (network, handlers));
            std::thread::yield_now();
        }
    }

    #[cfg(target_os = "linux")]
    fn threads(&self, name: &str) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|comm| comm.starts_with(name)).count()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The project's example file, with other ports and no data directory.
fn example(folder: &Path, more: &str) {
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let own = format!(
        "{text}\nlisteners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\nlog.dirs=data\n\
        advertised.listeners=PLAINTEXT://127.0.0.1:0\n{more}\n"
    );
    std::fs::write(folder.join("server.properties"), own).unwrap();
}

#[test]
fn a_file_of_kafkas_is_served_and_every_key_without_effect_is_named_once() {
    // E12
    let folder = tempfile::tempdir().unwrap();
    example(folder.path(), "log.retension.hours=5");
    let broker = Watched::start(rohrpost(
        folder.path(),
        &["broker", "--config", "server.properties", "--set", "num.partitions=5"],
    ));
    let about = |key: &str| broker.first.iter().filter(|line| line.contains(&format!(": {key} "))).count();
    for key in [
        "listeners",
        "controller.quorum.bootstrap.servers",
        "offsets.topic.replication.factor",
        "transaction.state.log.min.isr",
        "share.coordinator.state.topic.min.isr",
        "log.cleaner.threads",
    ] {
        assert_eq!(about(key), 1, "{key} in {:#?}", broker.first);
    }
    for key in ["log.retention.hours", "num.io.threads", "message.max.bytes"] {
        assert_eq!(about(key), 0, "{key} in {:#?}", broker.first);
    }
    let meant = "log.retension.hours is ignored: Kafka has no such key; did you mean log.retention.hours?";
    assert!(broker.first.iter().any(|line| line.contains(meant)), "{:#?}", broker.first);
    assert!(broker.listening.contains("data in data"), "{}", broker.listening);

    let addresses = broker.addresses();
    let [address] = &addresses[..] else { panic!("the controller's listener is not opened: {addresses:?}") };
    run(folder.path(), &["topics", "create", "t", "-b", address]).expect_status(0);
    let described = run(folder.path(), &["topics", "describe", "t", "-b", address]).expect_status(0).text();
    assert!(described.contains('4'), "five partitions by --set: {described}");
    run_with_input(folder.path(), &["produce", "-t", "t", "-b", address], b"one\ntwo\n").expect_status(0);
    assert!(folder.path().join("data/t-4").is_dir());
    // a topic's default from the file: message.max.bytes is 2 MiB
    let large = [b'x'; 1_500_000];
    run_with_input(
        folder.path(),
        &["produce", "-t", "t", "-b", address, "-X", "max.request.size=3000000"],
        &large,
    )
    .expect_status(0);
}

#[test]
fn several_listeners_are_served() {
    // M8, E4
    let folder = tempfile::tempdir().unwrap();
    let file = "listeners=IN://127.0.0.1:0,OUT://127.0.0.1:0\nlistener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT\n\
        num.network.threads=2\nnum.io.threads=5\n";
    std::fs::write(folder.path().join("s.properties"), file).unwrap();
    let broker =
        Watched::start(rohrpost(folder.path(), &["broker", "--config", "s.properties", "--data-dir", "d"]));
    assert_eq!(broker.first, Vec::<String>::new());
    let addresses = broker.addresses();
    assert_eq!(addresses.len(), 2, "{}", broker.listening);
    for address in &addresses {
        run_with_input(folder.path(), &["produce", "-t", "t", "-b", address], b"x\n").expect_status(0);
    }
    #[cfg(target_os = "linux")]
    broker.expect_threads(4, 5); // two for each listener
}

#[cfg(target_os = "linux")]
#[test]
fn the_server_has_kafkas_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Watched::start(rohrpost(folder.path(), &["broker", "--listen", "127.0.0.1:0"]));
    broker.expect_threads(3, 8);
}

#[test]
fn mistakes_of_a_file_are_told_at_once_with_file_line_key_and_range() {
    let folder = tempfile::tempdir().unwrap();
    let file = "# a comment\nnum.network.threads=0\n\nlisteners=SASL_SSL://:9092\nlog.segment.bytes=12\n";
    std::fs::write(folder.path().join("bad.properties"), file).unwrap();
    let ran = run(folder.path(), &["broker", "--config", "bad.properties", "-X", "num.io.threads=none"]);
    ran.expect_status(2)
        .expect_said("4 mistakes")
        .expect_said("bad.properties:2: num.network.threads=0: must be a whole number of 32 bits, at least 1")
        .expect_said("bad.properties:4: listeners=SASL_SSL://:9092: SASL_SSL://:9092 asks for SASL_SSL")
        .expect_said(
            "bad.properties:5: log.segment.bytes=12: must be a whole number of 32 bits, at least 1048576",
        )
        .expect_said("-X: num.io.threads=none: must be a whole number of 32 bits, at least 1");
    run(folder.path(), &["broker", "--config", "none.properties"])
        .expect_status(2)
        .expect_said("none.properties");
    run(folder.path(), &["broker", "--listen", "nowhere"])
        .expect_status(2)
        .expect_said("--listen nowhere: the port is missing");
    assert!(!folder.path().join("rohrpost-data").exists(), "nothing was started");
}

/// ApiVersions version 0, and its answer.
fn is_served(stream: &mut TcpStream) -> bool {
    let request = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let mut size = [0; 4];
    stream.write_all(&request).is_ok() && stream.read_exact(&mut size).is_ok() && {
        let mut body = vec![0; i32::from_be_bytes(size) as usize];
        stream.read_exact(&mut body).is_ok()
    }
}

/// A broker that may have so many descriptors, and a backlog that takes all who come.
#[cfg(unix)]
fn with_descriptors(folder: &Path, count: usize, more: &[&str]) -> Watched {
    let inner = rohrpost(folder, &[]);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {count} && exec \"$@\"")).arg("sh").arg(inner.get_program());
    command.args([
        "broker",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "d",
        "-X",
        "socket.listen.backlog.size=500",
    ]);
    command.args(more).current_dir(folder).env_remove("ROHRPOST_DATA_DIR").env_remove("RUST_LOG");
    Watched::start(command)
}

#[cfg(unix)]
#[test]
fn connections_leave_descriptors_for_the_logs() {
    let folder = tempfile::tempdir().unwrap();
    let broker = with_descriptors(folder.path(), 300, &["-X", "log.segment.bytes=1048576"]);
    let address = broker.addresses().remove(0);
    let mut producer =
        rohrpost(folder.path(), &["produce", "-q", "-b", &address, "-t", "t", "-X", "linger.ms=0"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
    let mut input = producer.stdin.take().unwrap();
    input.write_all(b"first\n").unwrap();
    let log = folder.path().join("d/t-0");
    let start = Instant::now();
    while std::fs::metadata(log.join("00000000000000000000.log")).map_or(0, |file| file.len()) == 0 {
        assert!(start.elapsed() < PATIENCE, "the first record is not there");
        std::thread::yield_now();
    }
    // 225 of these get in; the others would take every descriptor that there is
    let mut crowd: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(&address).unwrap()).collect();
    crowd[200].set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(is_served(&mut crowd[200]));
    let line = [b'x'; 1000];
    for _ in 0..5000 {
        input.write_all(&line).unwrap();
        input.write_all(b"\n").unwrap();
    }
    drop(input);
    assert!(producer.wait().unwrap().success());
    let names =
        std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.filter(|name| name.ends_with(".log")).count() >= 4, "new segments were begun meanwhile");
}

#[cfg(unix)]
#[test]
fn without_file_descriptors_connections_wait_and_it_is_said_once() {
    // N10: what cannot be accepted waits, nobody else notices, and the log does not fill
    let folder = tempfile::tempdir().unwrap();
    let broker = with_descriptors(folder.path(), 64, &["-X", "max.connections=1000"]);
    let address = broker.addresses().remove(0);
    let connect = || {
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let mut first = connect();
    assert!(is_served(&mut first));
    // more than there are descriptors, and fewer than the backlog takes beside those
    let crowd: Vec<TcpStream> = (0..80).map(|_| connect()).collect();
    let mut seen = Vec::new();
    broker.wait_for("cannot accept connections", &mut seen);
    for _ in 0..50 {
        assert!(is_served(&mut first), "who was there before is served");
    }
    let mut late = connect();
    drop(crowd);
    assert!(is_served(&mut late), "who had to wait is served when there is room");
    broker.wait_for("connections are accepted again", &mut seen);
    let said = seen.iter().filter(|line| line.contains("cannot accept connections")).count();
    assert_eq!(said, 1, "{seen:#?}");
}
