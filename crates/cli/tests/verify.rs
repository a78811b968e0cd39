//! `rohrpost verify`, with the real binary: it finds nothing where nothing is wrong, and every kind of wrong where one is made.

mod common;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::{Broker, Ran, rohrpost, run, run_with_input, send_signal};
use serde_json::Value;

fn broker(folder: &Path) -> Broker {
    Broker::start(folder, &["--listen", "127.0.0.1:0"])
}

fn verify(folder: &Path, broker: &Broker, more: &[&str]) -> Ran {
    let mut arguments = vec!["verify", "-b", &broker.address, "--json"];
    arguments.extend(more);
    run(folder, &arguments)
}

/// Standard output is exactly one JSON object.
#[track_caller]
fn json(ran: &Ran) -> Value {
    let text = ran.text();
    assert_eq!(text.lines().count(), 1, "{text}{}", ran.stderr);
    serde_json::from_str(&text).expect("JSON")
}

const BREACHES: [&str; 9] = [
    "lost",
    "duplicated",
    "reordered",
    "falsely_failed",
    "wrongly_placed",
    "damaged",
    "untold",
    "told_twice",
    "told_out_of_turn",
];

#[track_caller]
fn assert_clean(found: &Value) {
    for name in BREACHES {
        assert_eq!(found[name], 0, "{name}: {found}");
    }
    assert_eq!(found["broken"], Value::Array(vec![]), "{found}");
}

#[test]
fn a_run_on_the_embedded_broker_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(folder.path(), &["verify", "-t", "t", "--records", "20000", "--partitions", "3"]);
    let text = ran.expect_status(0).text();
    for line in
        ["20,000 acknowledged", "in the log       20,000\n", "lost             0\n", "every promise was kept"]
    {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
}

#[test]
fn settings_of_every_strength_are_checked_by_what_they_promise() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    for (settings, outcome, promised) in [
        (vec![], "acked", "at the offset that was said"),
        (vec!["-X", "acks=1"], "acked", "promised         'not written' is true"),
        (vec!["-X", "acks=0"], "handed_over", "promised         'not written' is true"),
        (
            vec!["-X", "enable.idempotence=false", "-X", "max.in.flight.requests.per.connection=1"],
            "acked",
            "nothing is lost",
        ),
        (vec!["-X", "compression.type=lz4", "--size", "1000"], "acked", "in order"),
    ] {
        let mut arguments = vec!["-t", "t", "--partitions", "2", "--records", "5000"];
        arguments.extend(&settings);
        let found = json(&verify(folder.path(), &broker, &arguments).expect_status(0));
        assert_clean(&found);
        assert_eq!(
            (&found["records"], &found[outcome], &found["found"]),
            (&5000.into(), &5000.into(), &5000.into())
        );
        arguments.splice(..0, ["verify", "-b", &broker.address]);
        let text = run(folder.path(), &arguments).expect_status(0).text();
        assert!(text.contains(promised), "{promised}: {text}");
    }
}

/// The outcomes of a clean run of 300 records in 3 partitions, checked once.
fn outcomes(folder: &Path, broker: &Broker) -> String {
    let arguments = ["-t", "t", "--partitions", "3", "--records", "300", "--outcomes", "o", "--no-check"];
    let found = json(&verify(folder, broker, &arguments).expect_status(0));
    assert_eq!(found["checked"], false);
    let found = json(&verify(folder, broker, &["--check", "o"]).expect_status(0));
    assert_clean(&found);
    assert_eq!((&found["checked"], &found["found"]), (&true.into(), &300.into()), "{found}");
    std::fs::read_to_string(folder.join("o")).expect("the outcomes are there")
}

/// Checks these outcomes; exactly these counts are not 0.
#[track_caller]
fn assert_finds(folder: &Path, broker: &Broker, outcomes: &str, expected: &[(&str, u64)]) {
    std::fs::write(folder.join("changed"), outcomes).expect("a temporary file");
    let ran = verify(folder, broker, &["--check", "changed"]).expect_status(1).expect_said("broken promises");
    let found = json(&ran);
    for name in BREACHES {
        let count = expected.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count);
        assert_eq!(found[name], count, "{name}: {found}");
    }
}

#[test]
fn an_outcome_that_is_not_true_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = broker(folder);
    let told = outcomes(folder, &broker);
    let line = told.lines().find(|line| line.starts_with("1-50 ")).unwrap();
    let time = line.rsplit(' ').next().unwrap();
    let change = |to: &str| told.replace(line, to);
    let not_written = format!("1-50 not_written 1 - {time} TEST");
    assert_finds(folder, &broker, &change(&not_written), &[("falsely_failed", 1)]);
    // its offset is that of the next record now, which then does not go on from there either
    let misplaced = change(&format!("1-50 acked 1 51 {time}"));
    assert_finds(folder, &broker, &misplaced, &[("wrongly_placed", 2)]);
    assert_finds(folder, &broker, &change(&format!("1-50 acked 2 50 {time}")), &[("wrongly_placed", 1)]);
    // acknowledged, and never sent
    let lost = told.replace("# end", &format!("1-100 acked 1 100 {time}\n# end"));
    assert_finds(folder, &broker, &lost, &[("lost", 1)]);
    assert_finds(folder, &broker, &change(&format!("{line}\n{line}")), &[("told_twice", 1)]);
    let late = change("").replace("\n\n", "\n").replace("# end", &format!("{line}\n# end"));
    // behind the others its offset goes back, too
    assert_finds(folder, &broker, &late, &[("told_out_of_turn", 1), ("wrongly_placed", 1)]);
    // of unknown fate is no lie, whether it is there or not
    std::fs::write(folder.join("changed"), change(&format!("1-50 unknown 1 - {time} TEST"))).unwrap();
    let found = json(&verify(folder, &broker, &["--check", "changed"]).expect_status(0));
    assert_eq!((&found["unknown"], &found["unknown_present"]), (&1.into(), &1.into()), "{found}");
}

#[test]
fn records_that_others_write_again_or_damage_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = broker(folder);
    let told = outcomes(folder, &broker);
    let of_partition = |n| {
        ["consume", "-b", &broker.address, "-t", "t", "--partition", n, "--from-beginning", "--until-end"]
    };
    let values = run(folder, &of_partition("0")).expect_status(0).text();
    let (first, last) = (values.lines().next().unwrap(), values.lines().last().unwrap());
    let write = |value: &str, partition: i32| {
        let line = serde_json::json!({"value": value, "partition": partition});
        let arguments = ["produce", "-b", &broker.address, "-t", "t", "--format", "jsonl", "-q"];
        run_with_input(folder, &arguments, line.to_string().as_bytes()).expect_status(0);
    };
    write("somebody else's", 0);
    std::fs::write(folder.join("changed"), &told).unwrap();
    let found = json(&verify(folder, &broker, &["--check", "changed"]).expect_status(0));
    assert_eq!(found["foreign"], 1, "{found}");

    write(last, 0);
    assert_finds(folder, &broker, &told, &[("duplicated", 1)]);
    // the same record in another partition is a second one, and in the wrong place
    write(first, 1);
    assert_finds(folder, &broker, &told, &[("duplicated", 2), ("wrongly_placed", 1)]);
    write(&first.replace("rohrpost-verify ", "rohrpost-verify x"), 2);
    assert_finds(folder, &broker, &told, &[("duplicated", 2), ("wrongly_placed", 1), ("damaged", 1)]);
}

#[test]
fn records_behind_later_ones_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = broker(folder);
    let arguments = ["-t", "t", "--partitions", "1", "--records", "100", "--outcomes", "o", "--no-check"];
    verify(folder, &broker, &arguments).expect_status(0);
    let told = std::fs::read_to_string(folder.join("o")).unwrap();
    let reading = ["consume", "-b", &broker.address, "-t", "t", "--from-beginning", "--until-end"];
    let values = run(folder, &reading).expect_status(0).text();
    // the same records in a new topic, the tenth behind the twentieth
    let mut lines: Vec<&str> = values.lines().collect();
    let tenth = lines.remove(10);
    lines.insert(20, tenth);
    run(folder, &["topics", "create", "other", "--partitions", "1", "-b", &broker.address]).expect_status(0);
    let writing = ["produce", "-b", &broker.address, "-t", "other", "-q"];
    run_with_input(folder, &writing, (lines.join("\n") + "\n").as_bytes()).expect_status(0);
    let described = run(folder, &["topics", "describe", "other", "--json", "-b", &broker.address]).text();
    let described: Value = serde_json::from_str(described.lines().next().unwrap()).unwrap();
    let id = described["id"].as_str().unwrap_or_else(|| panic!("{described}"));
    let line = told.lines().find(|line| line.starts_with("# topic-id")).unwrap();
    let told = told.replace("# topic t", "# topic other").replace(line, &format!("# topic-id {id}"));
    // the moved record and those that moved up for it are not where they were acknowledged
    assert_finds(folder, &broker, &told, &[("reordered", 1), ("wrongly_placed", 11)]);
}

#[test]
fn a_topic_that_was_deleted_and_made_again_needs_to_be_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = broker(folder);
    let told = outcomes(folder, &broker);
    let last = told.lines().rfind(|line| !line.starts_with('#')).unwrap();
    let last_ms: u64 = last.split(' ').nth(4).unwrap().parse().unwrap();
    run(folder, &["topics", "delete", "t", "-b", &broker.address]).expect_status(0);
    run(folder, &["topics", "create", "t", "--partitions", "3", "-b", &broker.address]).expect_status(0);
    verify(folder, &broker, &["--check", "o"]).expect_status(1).expect_said("was deleted and created again");
    let at = |ms: u64| ["--check".to_owned(), "o".to_owned(), "--deleted-at".to_owned(), ms.to_string()];
    let check = |ms: u64| {
        let arguments = at(ms);
        verify(folder, &broker, &arguments.each_ref().map(String::as_str))
    };
    let found = json(&check(last_ms + 1).expect_status(0));
    assert_clean(&found);
    assert_eq!(found["gone_by_command"], 300, "{found}");
    // what was acknowledged after the deletion is to be there
    let found = json(&check(1).expect_status(1));
    assert_eq!(found["lost"], 300, "{found}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_sending_and_still_checks() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let arguments = [
        "verify",
        "-b",
        &broker.address,
        "-t",
        "t",
        "--seconds",
        "600",
        "--rate",
        "2000",
        "--json",
        "--outcomes",
        "o",
    ];
    let child = start(folder.path(), &arguments);
    await_outcome(folder.path(), " acked ");
    send_signal(&child, "INT");
    let ran =
        Ran::from(child.wait_with_output().unwrap()).expect_status(0).expect_said("ended early: interrupted");
    let found = json(&ran);
    assert_clean(&found);
    assert_eq!(found["checked"], true);
    assert!(found["acked"].as_u64().unwrap() > 0 && found["acked"] == found["found"], "{found}");
}

/// CMPL-8: what failed on a broker that came back is told as it is.
#[cfg(unix)]
#[test]
fn records_that_end_while_the_broker_is_gone_have_true_outcomes() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let address = broker.address.clone();
    let arguments = [
        "verify",
        "-b",
        &address,
        "-t",
        "t",
        "--records",
        "20000",
        "--rate",
        "10000",
        "--json",
        "--outcomes",
        "o",
        "-X",
        "linger.ms=0",
        "-X",
        "request.timeout.ms=500",
        "-X",
        "delivery.timeout.ms=500",
    ];
    let child = start(folder.path(), &arguments);
    await_outcome(folder.path(), " acked ");
    broker.kill();
    await_outcome(folder.path(), " unknown ");
    // it is there again for the check
    let _again = Broker::start(folder.path(), &["--listen", &address]);
    let found = json(&Ran::from(child.wait_with_output().unwrap()).expect_status(0));
    assert_clean(&found);
    let failed = found["not_written"].as_u64().unwrap() + found["unknown"].as_u64().unwrap();
    assert!(failed > 0 && found["acked"].as_u64().unwrap() > 0, "{found}");
    assert!(found["longest_gap_ms"].as_u64().unwrap() >= 500, "{found}");
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    rohrpost(folder, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

/// Until the file of outcomes has one of this kind.
fn await_outcome(folder: &Path, kind: &str) {
    while !std::fs::read_to_string(folder.join("o")).is_ok_and(|told| told.contains(kind)) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_producer_that_takes_no_more_fails_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let arguments = ["-t", "t", "--records", "10", "--size", "2000000"];
    let ran = verify(folder.path(), &broker, &arguments).expect_status(1).expect_said("ended early: ");
    let found = json(&ran.expect_said("max.request.size"));
    assert_clean(&found);
    assert_eq!((&found["refused"], &found["checked"]), (&1.into(), &true.into()), "{found}");
}

#[test]
fn wrong_usage_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    std::fs::write(folder.path().join("text"), "hello\n").unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["--records", "1"], "--topic"),
        (&["-t", "t", "--records", "1", "--seconds", "1"], "--seconds"),
        (&["-t", "t", "--size", "10"], "--size"),
        (&["-t", "t", "--no-check"], "--outcomes"),
        (&["-t", "t", "--check", "text"], "--check"),
        (&["-t", "t", "-X", "batch.sise=1"], "batch.size"),
        (&["-t", "t", "--outcomes", "no/such/file"], "no/such/file"),
        (&["--check", "text"], "not a file of --outcomes"),
        (&["-t", "no spaces"], "no spaces"),
    ];
    for (arguments, reason) in cases {
        let ran = verify(folder.path(), &broker, arguments).expect_status(2).expect_said(reason);
        assert_eq!(ran.text(), "", "{arguments:?}");
    }
    let topics = run(folder.path(), &["topics", "list", "-b", &broker.address]).expect_status(0).text();
    assert_eq!(topics, "", "no topic was made");
}
