//! Every example of the library runs, on a broker of its own and on one that it is given.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;

use rohrpost_broker::Cluster;
use rohrpost_testing::examples::built;

/// An example that talks to a topic, how many records it leaves in `orders` (without a number it depends on timing), and what it says.
const EXAMPLES: [(&str, Option<usize>, &[&str]); 7] = [
    ("fire_and_forget", Some(1000), &["1000 acknowledged, 0 failed"]),
    ("synchronous", Some(3), &["offset Some(0)", "offset Some(1)", "offset Some(2)"]),
    ("asynchronous", Some(2000), &["2000 acknowledged"]),
    // SEND-2; the file goes back into the topic in the command's tests
    (
        "callback_failed_records",
        Some(98),
        &["98 acknowledged, 2 certainly not written, 0 unknown", "2 lines in", "1 of them refused by send"],
    ),
    ("ingest", Some(10_000), &["10000 lines from 0 to "]),
    ("topic_handle", Some(101), &["101 records in 'orders'"]),
    ("hot_loop", None, &[" shed for want of room"]),
];

#[test]
fn every_example_runs_on_a_broker_of_its_own_and_on_one_that_it_is_given() {
    let binaries = built();
    run(&binaries["cluster_in_a_test"], &[], &["2 tests passed"]);
    for (name, records, says) in EXAMPLES {
        run(&binaries[name], &[], says);
        let cluster = Cluster::builder().topic("orders", 3, 1).start().unwrap();
        run(&binaries[name], &["-b", &cluster.bootstrap_servers()], says);
        let found: usize = (0..3).map(|partition| cluster.log("orders", partition).records().len()).sum();
        match records {
            Some(records) => assert_eq!(found, records, "{name}"),
            None => assert!(found > 0, "{name}"),
        }
    }
}

#[test]
fn an_example_says_how_it_is_called() {
    for arguments in [&["--nonsense"][..], &["word"], &["-b"], &["-b", "localhost:1", "word"]] {
        let output = Command::new(&built()["synchronous"]).args(arguments).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage"), "{arguments:?}");
    }
}

fn run(binary: &PathBuf, arguments: &[&str], says: &[&str]) {
    let output = Command::new(binary).args(arguments).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    for text in says {
        assert!(stdout.contains(text), "{binary:?} {arguments:?}: no {text:?} in\n{stdout}");
    }
    assert!(
        output.status.success(),
        "{binary:?} {arguments:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
