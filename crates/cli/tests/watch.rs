//! `--metrics` and `--stats`, with the real binary: over HTTP, on a terminal, and in a file.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use common::{Broker, rohrpost, run, run_with_input};

/// `rohrpost produce` with its standard input open; killed when dropped.
struct Produce {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Produce {
    fn start(folder: &Path, arguments: &[&str]) -> Produce {
        let mut all = vec!["produce", "-t", "t"];
        all.extend(arguments);
        let mut child = rohrpost(folder, &all)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let said = BufReader::new(child.stderr.take().expect("piped"));
        Produce { child, said }
    }

    /// The first line that begins so, without that beginning.
    #[track_caller]
    fn line(&mut self, begin: &str) -> String {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            if self.said.read_line(&mut line).expect("it says text") == 0 {
                panic!("it ended without {begin:?}:\n{before}");
            }
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.trim_end().to_owned();
            }
            before.push_str(&line);
        }
    }

    fn write(&mut self, lines: &str) {
        self.child.stdin.as_mut().expect("it is open").write_all(lines.as_bytes()).expect("it reads");
    }

    /// Ends the input; what it says until its end.
    #[track_caller]
    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("it says text");
        assert_eq!(self.child.wait().expect("a child can be waited for").code(), Some(0), "{rest}");
        rest
    }
}

impl Drop for Produce {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Head and body of an answer.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/plain\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head has an end");
    (head.to_owned(), body.to_owned())
}

fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with('{'))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn prometheus_reads_the_metrics_of_a_run_that_goes_on() {
    // MTR-3
    let folder = tempfile::tempdir().unwrap();
    let mut produce = Produce::start(folder.path(), &["--metrics", "0"]);
    let url = produce.line("metrics on http://");
    let (address, path) = url.split_once('/').unwrap();
    assert!(address.starts_with("127.0.0.1:") && path == "metrics", "{url}");
    let mut acked = 0;
    for lines in ["one\ntwo\n", "three\n"] {
        produce.write(lines);
        acked += lines.lines().count();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let (head, body) = get(address, "/metrics");
            assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("version=0.0.4"), "{head}");
            if sample(&body, "rohrpost_producer_records_acked_total") == Some(acked as f64) {
                assert!(body.contains("kafka_producer_producer_topic_metrics_record_send_total{"), "{body}");
                assert!(body.contains("topic=\"t\""), "{body}");
                break;
            }
            assert!(Instant::now() < deadline, "{body}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(get(address, "/").0.starts_with("HTTP/1.1 404 "));
    // One that says nothing holds up nobody, and not the end either.
    let _silent = TcpStream::connect(address).unwrap();
    assert!(get(address, "/metrics").0.starts_with("HTTP/1.1 200 "));
    assert!(produce.end().contains("3 records"));
}

#[test]
fn an_address_that_cannot_be_had_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    run_with_input(folder.path(), &["produce", "-t", "t", "--metrics", "nowhere"], b"")
        .expect_status(2)
        .expect_said("cannot serve --metrics nowhere");
}

#[test]
fn stats_are_plain_lines_where_standard_error_is_no_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let mut produce = Produce::start(folder.path(), &["--stats=1"]);
    produce.write("one\ntwo\nthree\n");
    while !produce.line("stats: ").starts_with("3 acknowledged") {}
    let rest = produce.end();
    assert!(rest.contains("stats: 3 acknowledged") && rest.contains("3 records"), "{rest}");
    assert!(!rest.contains('\u{1b}'), "no escape sequences: {rest}");
    // A run that is over before the first line still says what it was.
    let ran = run_with_input(folder.path(), &["produce", "-t", "t", "--stats=3600"], b"four\nfive\n")
        .expect_status(0)
        .expect_said("stats: 2 acknowledged");
    let line = ran.stderr.lines().find(|line| line.starts_with("stats: 2")).unwrap_or_default();
    for figure in
        ["rec/s", "outstanding 0", "buffer 0 %", "retries 0", "failed 0", "total p50", "answering p50"]
    {
        assert!(line.contains(figure), "no {figure} in {line}");
    }
    ran.expect_said("stats: broker ");
}

#[cfg(unix)]
#[test]
fn stats_are_a_table_on_a_terminal() {
    use std::fs::File;
    use std::sync::mpsc::channel;

    let folder = tempfile::tempdir().unwrap();
    let size = nix::pty::Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = nix::pty::openpty(Some(&size), None).expect("the system has terminals");
    let mut child = rohrpost(folder.path(), &["produce", "-t", "t", "--stats"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stderr(Stdio::from(terminal.slave))
        .spawn()
        .expect("the binary runs");
    let mut screen = File::from(terminal.master);
    let (sender, shown) = channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // a terminal whose other side is gone gives an error, and not an end
        while let Ok(read @ 1..) = screen.read(&mut buffer) {
            let _ = sender.send(buffer[..read].to_vec());
        }
    });
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"one\ntwo\n").expect("it reads");
    let mut text = String::new();
    let mut until = |what: &str| {
        loop {
            if let Some(at) = text.find(what) {
                return text.drain(..at + what.len()).collect::<String>();
            }
            let more = shown.recv_timeout(Duration::from_secs(60));
            let more = more.unwrap_or_else(|_| panic!("no {what:?} in\n{text}"));
            text.push_str(&String::from_utf8_lossy(&more));
        }
    };
    // Drawn, each row on a line of its own, and drawn again in its place.
    until("2 records acknowledged");
    let table = until("answer p99");
    for row in ["rate ", "outstanding ", "buffer ", "latency ", "  p50", "broker "] {
        assert!(table.contains(&format!("\n{row}")), "no line {row:?} in\n{table}");
    }
    until("2 records acknowledged");
    drop(stdin);
    until("2 records, ");
    assert_eq!(child.wait().expect("a child can be waited for").code(), Some(0));
    reader.join().expect("the reader does not panic");
}

#[test]
fn perf_produce_can_be_looked_at_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &["--listen", "127.0.0.1:0"]);
    let perf = [
        "perf",
        "produce",
        "-b",
        &broker.address,
        "-t",
        "p",
        "--records",
        "20000",
        "--json",
        "--stats=3600",
        "--metrics",
        "0",
    ];
    let ran = run(folder.path(), &perf)
        .expect_status(0)
        .expect_said("metrics on http://127.0.0.1:")
        .expect_said("stats: 20,000 acknowledged");
    let figures: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(figures["records"], 20_000, "standard output is as it was");
}
