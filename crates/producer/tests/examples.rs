//! Every example of the library runs, on a broker of its own and on one that it is given.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use rohrpost_broker::Cluster;

/// Each example that talks to a topic, and how many records it leaves in `orders`; without a number it depends on timing.
const EXAMPLES: [(&str, Option<usize>); 6] = [
    ("fire_and_forget", Some(1000)),
    ("asynchronous", Some(2000)),
    ("synchronous", Some(3)),
    ("callback_error_file", Some(99)),
    ("topic_handle", Some(101)),
    ("hot_loop", None),
];

#[test]
fn every_example_runs_on_a_broker_of_its_own_and_on_one_that_it_is_given() {
    let binaries = build();
    run(&binaries["cluster_in_a_test"], &[]);
    for (name, records) in EXAMPLES {
        run(&binaries[name], &[]);
        let cluster = Cluster::builder().topic("orders", 3, 1).start().unwrap();
        run(&binaries[name], &["-b", &cluster.bootstrap_servers()]);
        let found: usize = (0..3).map(|partition| cluster.log("orders", partition).records().len()).sum();
        match records {
            Some(records) => assert_eq!(found, records, "{name}"),
            None => assert!(found > 0, "{name}"),
        }
    }
}

#[test]
fn an_example_says_how_it_is_called() {
    let output = Command::new(&build()["synchronous"]).arg("--nonsense").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage"));
}

fn run(binary: &PathBuf, arguments: &[&str]) {
    let output = Command::new(binary).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{binary:?} {arguments:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The examples by name. Cargo has built them with this test, unless the test was asked for alone.
fn build() -> BTreeMap<String, PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "-p", "rohrpost", "--examples", "--message-format=json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(message["executable"].as_str()?)))
        })
        .collect()
}
