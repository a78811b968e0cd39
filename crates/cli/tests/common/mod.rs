//! The real binary in a folder of its own, and what it says.
// No test program uses all of it; what a broker says belongs to the output of its test.
#![allow(dead_code, clippy::print_stderr)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A command of the real binary that runs in `folder`.
pub(crate) fn rohrpost(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rohrpost"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env_remove("ROHRPOST_DATA_DIR").env_remove("RUST_LOG");
    command
}

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect_status(self, status: i32) -> Ran {
        assert_eq!(self.status, Some(status), "stderr:\n{}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn expect_said(self, what: &str) -> Ran {
        assert!(self.stderr.contains(what), "nothing about {what:?} in:\n{}", self.stderr);
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            status: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs to the end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    rohrpost(folder, arguments).output().expect("the binary runs").into()
}

/// Runs to the end with this on standard input.
pub(crate) fn run_with_input(folder: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = rohrpost(folder, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // the other end may close early
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("a child can be waited for");
    writer.join().expect("the writer does not panic");
    output.into()
}

/// `rohrpost broker` in the background; killed when dropped.
pub(crate) struct Broker {
    child: Child,
    pub(crate) address: String,
    /// What it says once it listens, at its end.
    said: Option<JoinHandle<String>>,
}

impl Broker {
    /// Starts it; returns when it listens. `wrap` may put a shell around the command.
    pub(crate) fn start_command(mut command: Command) -> Broker {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("the broker ended before it listened:\n{said}") };
            if let Some(rest) = line.strip_prefix("listening on ") {
                break rest.split([',', ' ']).next().expect("split has a first").to_owned();
            }
            said.push_str(&line);
        };
        // keep reading, so that the broker never blocks on a full pipe
        let said = std::thread::spawn(move || {
            lines.map_while(Result::ok).fold(String::new(), |said, line| {
                eprintln!("broker: {line}");
                said + &line + "\n"
            })
        });
        Broker { child, address, said: Some(said) }
    }

    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Broker {
        let mut all = vec!["broker"];
        all.extend(arguments);
        Broker::start_command(rohrpost(folder, &all))
    }

    /// Waits until it ends by itself, with this status and after saying this.
    #[track_caller]
    pub(crate) fn expect_end(mut self, status: i32, what: &str) {
        let start = Instant::now();
        let ended = loop {
            match self.child.try_wait().expect("a child can be asked") {
                Some(ended) => break ended,
                // only a test that fails waits so long
                None if start.elapsed() > Duration::from_secs(60) => panic!("the broker goes on"),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let said = self.said.take().map(|said| said.join().expect("it only reads")).unwrap_or_default();
        assert!(said.contains(what), "nothing about {what:?} in:\n{said}");
        assert_eq!(ended.code(), Some(status), "{said}");
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("a child can be waited for");
    }

    /// SIGTERM; returns its status when it has stopped.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        send_signal(&self.child, "TERM");
        self.child.wait().expect("a child can be waited for").code()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name to a child of ours.
pub(crate) fn send_signal(child: &Child, signal: &str) {
    let status =
        Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
}

/// All values of a topic's partition 0, each with a newline, read from the broker at `address`.
pub(crate) fn consume(folder: &Path, address: &str, topic: &str) -> Vec<u8> {
    run(
        folder,
        &["consume", "-b", address, "-t", topic, "--partition", "0", "--from-beginning", "--until-end"],
    )
    .expect_status(0)
    .stdout
}
