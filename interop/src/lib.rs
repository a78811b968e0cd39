//! Rohrpost beside Apache Kafka and foreign clients: the harness of this package's tests.
//!
//! The tests need Java, Maven, kcat, and the clients that `interop/install` installs. Where one is missing a test says so and
//! passes over itself, except where `ROHRPOST_REQUIRE_FOREIGN=1` is set (the project's own checks): there a missing one is a failure.
//!
//! ```text
//! interop/install
//! cargo test -p rohrpost-interop
//! ```

// a harness of tests: what it prints is their output
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

pub mod chaos;
pub mod clients;
pub mod duel;
pub mod proxy;
pub mod records;
pub mod table;

/// The newest Apache Kafka that is tested, and the one before KRaft-only 4.0.
pub const KAFKA_VERSIONS: [&str; 2] = ["4.3.1", "3.9.1"];

/// All codecs, as `compression.type` names them.
pub const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// True if all programs are there. Else the test is to return: it has said why, or failed where nothing may be missing.
#[allow(clippy::print_stdout, reason = "a test that was skipped says so in its output")]
pub fn have(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !is_on_path(program)).collect();
    if missing.is_empty() {
        return true;
    }
    skipped(&missing.join(", "));
    false
}

/// Says that a test is passed over because something is missing; fails where nothing may be missing.
///
/// # Panics
/// If `ROHRPOST_REQUIRE_FOREIGN` is set.
#[allow(clippy::print_stdout, reason = "a test that was skipped says so in its output")]
pub fn skipped(missing: &str) {
    assert!(
        std::env::var_os("ROHRPOST_REQUIRE_FOREIGN").is_none(),
        "not found: {missing}; ROHRPOST_REQUIRE_FOREIGN is set, so this test must not be skipped"
    );
    println!("skipped: no {missing}");
}

fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// The `rohrpost` command, built once per test run; or that of `ROHRPOST_BINARY`, for a long run beside which one goes on building.
pub fn rohrpost() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        if let Some(binary) = std::env::var_os("ROHRPOST_BINARY") {
            return PathBuf::from(binary);
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "-p", "rohrpost-cli", "--message-format=json"])
            .current_dir(root())
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "the rohrpost command does not build");
        String::from_utf8_lossy(&built.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find_map(|message| {
                let is_binary = message["target"]["name"] == "rohrpost" && message["executable"].is_string();
                is_binary.then(|| PathBuf::from(message["executable"].as_str().unwrap_or_default()))
            })
            .expect("cargo names the binary")
    });
    Command::new(binary)
}

/// Runs to the end; panics with both outputs unless the status is `status`.
pub fn run_for_status(command: &mut Command, status: i32) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert_eq!(
        output.status.code(),
        Some(status),
        "{command:?}\nstdout:\n{}\nstderr:\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs to the end and gives its standard output; panics unless it succeeds.
pub fn run(command: &mut Command) -> Vec<u8> {
    run_for_status(command, 0).stdout
}

/// Like [`run`], with this on its standard input.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("a child can be waited for");
    let _ = writer.join();
    assert!(
        output.status.success(),
        "{command:?}: {}\nstdout:\n{}\nstderr:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A real Apache Kafka cluster on loopback; its processes end and its files go when this is dropped, also on a panic.
pub struct Kafka {
    version: &'static str,
    name: String,
    bootstrap: String,
}

impl Kafka {
    /// Starts one node of this version.
    pub fn start(version: &'static str, purpose: &str) -> Kafka {
        Kafka::start_with(version, purpose, &[])
    }

    /// The same with some server properties, each `key=value`.
    pub fn start_with(version: &'static str, purpose: &str, settings: &[&str]) -> Kafka {
        let name = format!("{purpose}-{}-{}", version.replace('.', "-"), std::process::id());
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let out = run(script(version).args(["up", "--name", &name]).args(settings));
        let bootstrap = String::from_utf8(out).expect("an address").trim().to_owned();
        Kafka { version, name, bootstrap }
    }

    /// Which Apache Kafka this is.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// For a client's `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// SIGKILL to node 1; its files stay.
    pub fn kill(&self) {
        run(script(self.version).args(["kill", &self.name, "1"]));
    }

    /// Stops node 1 cleanly; its files stay.
    pub fn stop(&self) {
        run(script(self.version).args(["stop-node", &self.name, "1"]));
    }

    /// Starts node 1 again; returns when it answers.
    pub fn start_again(&self) {
        run(script(self.version).args(["start-node", &self.name, "1"]));
    }

    /// The data directory of node 1.
    pub fn data_dir(&self) -> PathBuf {
        let env = String::from_utf8(run(script(self.version).args(["env", &self.name]))).expect("text");
        let dir = env
            .lines()
            .find_map(|line| line.strip_prefix("DIR="))
            .unwrap_or_else(|| panic!("`scripts/kafka env` names no DIR:\n{env}"));
        Path::new(dir).join("node-1/data")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = script(self.version).args(["down", &self.name]).status();
    }
}

fn script(version: &str) -> Command {
    let mut command = Command::new(root().join("scripts/kafka"));
    command.env("ROHRPOST_KAFKA_VERSION", version);
    command
}

/// One of Apache Kafka's own tools: `console-consumer`, `dump-log`, …
pub fn kafka_tool<S: AsRef<OsStr>>(
    version: &str,
    tool: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = script(version);
    command.args(["tool", tool]).args(arguments);
    command
}

/// `rohrpost broker` as a process of its own, killed when dropped.
pub struct BrokerProcess {
    child: Child,
    address: String,
}

impl BrokerProcess {
    /// Starts it on any free port; returns when it listens.
    #[allow(clippy::print_stderr, reason = "what the broker says belongs to the test's output")]
    pub fn start(data_dir: &Path, settings: &[&str]) -> BrokerProcess {
        use std::io::{BufRead, BufReader};
        let mut command = rohrpost();
        command.args(["broker", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
        for setting in settings {
            command.args(["-X", setting]);
        }
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the rohrpost command starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("rohrpost broker ended before it listened: {said:?}");
            };
            if let Some(rest) = line.strip_prefix("listening on ") {
                break rest.split([',', ' ']).next().unwrap_or_default().to_owned();
            }
            said.push(line);
        };
        // keep reading, so that the broker never blocks on a full pipe; what it says belongs to the test's output
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("broker: {line}")));
        BrokerProcess { child, address }
    }

    /// For a client's `bootstrap.servers`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("a child can be waited for");
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// A real text, some thousand lines of it: UTF-8 beyond ASCII, long lines, empty lines, repeated lines.
pub fn text() -> Vec<u8> {
    ["docs/reference/producer.md", "LICENSE-APACHE", "docs/reference/broker.md", "docs/reference/errors.tsv"]
        .iter()
        .flat_map(|name| std::fs::read(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
        .collect()
}

/// The lines of a text without their newlines.
pub fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.strip_suffix(b"\n").unwrap_or(text).split(|&byte| byte == b'\n').collect()
}
