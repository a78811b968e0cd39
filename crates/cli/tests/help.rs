//! Every command explains itself with examples, and the examples are true: they are taken from `--help` and run.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Broker, run, run_with_input};

/// Every command with its `--help`, found by asking, the ones within commands included.
fn commands() -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut open = vec![Vec::<String>::new()];
    while let Some(path) = open.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = run(Path::new("."), &arguments).expect_status(0).text();
        let inner =
            help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        for line in inner {
            // a long description goes on in lines that are indented further
            let Some(name) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) else { continue };
            let name = name.split_whitespace().next().unwrap();
            if name != "help" {
                open.push([path.clone(), vec![name.to_owned()]].concat());
            }
        }
        found.push((path, help));
    }
    found
}

/// The command lines under "Examples:", without the remark behind them.
fn examples(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Examples:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .map(|line| {
            let line = line.trim();
            line.split_once("   ").map_or(line, |(command, _)| command.trim()).to_owned()
        })
        .collect()
}

// MTR-3
#[test]
fn config_says_what_there_is_instead_of_reporters_of_metrics() {
    let text = run(Path::new("."), &["config", "metric.reporters"]).expect_status(0).text();
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    for what in ["Accepted without effect", "Producer::metrics_snapshot", "--metrics ADDRESS"] {
        assert!(text.contains(what), "{what}: {text}");
    }
}

#[test]
fn every_command_has_examples() {
    let all = commands();
    assert!(all.len() > 12, "found only {:?}", all.iter().map(|(path, _)| path).collect::<Vec<_>>());
    for (path, help) in &all {
        // what a command within a command does may be shown one level up
        let outer = path.split_last().and_then(|(_, outer)| all.iter().find(|(path, _)| path == outer));
        let outer = outer.map_or_else(Vec::new, |(_, help)| examples(help));
        let name = format!("rohrpost {}", path.join(" "));
        let has = examples(help).iter().chain(&outer).any(|example| example.contains(name.trim_end()));
        // commands that only hold others, and the one above all, say where to look
        let holds_others = help.lines().any(|line| line == "Commands:");
        assert!(has || holds_others, "`{name} --help` has no example:\n{help}");
        for example in examples(help) {
            assert!(
                example.contains("rohrpost "),
                "`{name} --help`: {example:?} is no command, or too long for a line"
            );
        }
    }
}

#[test]
fn every_example_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    prepare(folder);
    // the brokers that examples name are all this one
    let broker = Broker::start(&folder.join("other"), &["--listen", "127.0.0.1:0"]);
    for topic in ["orders", "app", "access", "perf"] {
        let input: String = (0..2000).map(|n| format!("{{\"value\":\"{n}\",\"partition\":0}}\n")).collect();
        run_with_input(
            folder,
            &["produce", "-b", &broker.address, "-t", topic, "--format", "jsonl", "--partitions", "6", "-q"],
            input.as_bytes(),
        )
        .expect_status(0);
    }
    // one record where an example looks for it
    let record = |offset: i32| format!("{{\"value\":\"{offset}\",\"partition\":2}}\n");
    let input: String = (0..=1000).map(record).collect();
    run_with_input(
        folder,
        &["produce", "-b", &broker.address, "-t", "orders", "--format", "jsonl", "-q"],
        input.as_bytes(),
    )
    .expect_status(0);

    let mut ran = 0;
    let mut all = commands();
    // in the order in which a reader would try them: what is written first can then be read
    let order = ["produce", "consume", "topics", "log", "perf", "verify", "broker", "completions", "man"];
    all.sort_by_key(|(path, _)| {
        let command = path.first().map_or("", String::as_str);
        (order.iter().position(|known| *known == command), path.len(), path.clone())
    });
    for (path, help) in all {
        for example in examples(&help) {
            try_example(folder, &broker.address, &example, &format!("rohrpost {} --help", path.join(" ")));
            ran += 1;
        }
    }
    assert!(ran >= 20, "only {ran} examples ran");
}

/// The files that examples read.
fn prepare(folder: &Path) {
    fs::create_dir(folder.join("other")).unwrap();
    for name in ["access.log", "app.log", "big.txt"] {
        fs::write(folder.join(name), "one\ntwo\nthree\n").unwrap();
    }
    fs::write(folder.join("users.txt"), "42:ada\n43:bob\n").unwrap();
    fs::write(folder.join("orders.jsonl"), "{\"key\":\"42\",\"value\":{\"total\":9.5}}\n").unwrap();
    fs::write(folder.join("producer.properties"), "linger.ms=1\n").unwrap();
    for dir in
        ["home/.local/share/bash-completion/completions", "home/.zfunc", "home/.config/fish/completions"]
    {
        fs::create_dir_all(folder.join(dir)).unwrap();
    }
    // demo is the topic of the README
    run_with_input(folder, &["produce", "-t", "demo", "--partitions", "1", "-q"], b"one\ntwo\n")
        .expect_status(0);
    fs::copy(folder.join("rohrpost-data/demo-0/00000000000000000000.log"), folder.join("saved-copy.bin"))
        .unwrap();
    fs::write(folder.join("server.properties"), SERVER_PROPERTIES).unwrap();
}

const SERVER_PROPERTIES: &str =
    "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:0\nlog.dirs=server-data\n";

/// Runs an example in a shell. Host names lead to `address`, numbers that would take long are made small, what runs until
/// Ctrl-C gets one.
fn try_example(folder: &Path, address: &str, example: &str, place: &str) {
    let mut line = example.to_owned();
    for (from, to) in [
        ("kafka1:9092", address),
        ("-b 127.0.0.1:9092", &format!("-b {address}")),
        ("localhost:9092", address),
        ("tail -f", "cat"),
        ("--records 5000000", "--records 2000"),
        ("--replication-factor 3", "--replication-factor 1"),
        ("0.0.0.0:9092", "127.0.0.1:0"),
        ("/var/lib/rohrpost", "lib"),
    ] {
        line = line.replace(from, to);
    }
    if line.contains("perf produce") && !line.contains("--records") {
        line += " --records 2000";
    }
    let is_broker = line.starts_with("rohrpost broker");
    if is_broker && !line.contains("--listen") && !line.contains("--config") {
        line += " --listen 127.0.0.1:0";
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_rohrpost"));
    let path = std::env::join_paths(
        std::iter::once(binary.parent().unwrap().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut command = Command::new("sh");
    command.args(["-c", &if is_broker { format!("exec {line}") } else { line.clone() }]).current_dir(folder);
    command.env("PATH", path.unwrap()).env("HOME", folder.join("home"));
    command.env_remove("ROHRPOST_DATA_DIR").env_remove("RUST_LOG").stdin(Stdio::null());
    if is_broker {
        let broker = Broker::start_command(command);
        assert_eq!(broker.terminate(), Some(0), "{example}, from `{place}`");
        return;
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // `consume` without a beginning waits for what comes next: it gets it, until it has enough
    let waits =
        line.contains("rohrpost consume") && !line.contains("--from-beginning") && !line.contains("--offset");
    let feeder = waits.then(|| feed(folder, address, child.id()));
    let output = child.wait_with_output().unwrap();
    if let Some(feeder) = feeder {
        feeder.join().unwrap();
    }
    assert_eq!(
        output.status.code(),
        Some(0),
        "{example}, from `{place}`, run as {line}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Sends records to `orders` until the process is gone.
fn feed(folder: &Path, address: &str, process: u32) -> std::thread::JoinHandle<()> {
    let (folder, address) = (folder.to_owned(), address.to_owned());
    std::thread::spawn(move || {
        let is_there = || {
            let mut kill = Command::new("kill");
            kill.args(["-0", &process.to_string()]).stderr(Stdio::null()).status().unwrap().success()
        };
        while is_there() {
            run_with_input(
                &folder,
                &["produce", "-b", &address, "-t", "orders", "-q"],
                &b"next\n".repeat(20),
            )
            .expect_status(0);
        }
    })
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(folder.path(), &["completions", shell]).expect_status(0).text();
        for word in ["produce", "--error-file", "verify", "describe"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell} does not complete {word}");
        }
    }
    run(folder.path(), &["completions", "tcsh"]).expect_status(2).expect_said("bash");
    run(folder.path(), &["man", "pages"]).expect_status(0).expect_said("pages");
    for (path, _) in commands() {
        let name =
            std::iter::once("rohrpost").chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
        let page = fs::read_to_string(folder.path().join(format!("pages/{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{name}");
    }
    // bash itself takes the script
    let script = run(folder.path(), &["completions", "bash"]).stdout;
    let file = folder.path().join("rohrpost.bash");
    fs::write(&file, script).unwrap();
    if let Ok(output) = Command::new("bash").arg("-n").arg(&file).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fs::write(folder.path().join("file"), "").unwrap();
    run(folder.path(), &["man", "file"]).expect_status(2).expect_said("file");
}
