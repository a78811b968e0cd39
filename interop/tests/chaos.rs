//! A short part of `scripts/chaos`: three nodes of Apache Kafka that fail while records are written. docs/chaos.md says what is done.

use rohrpost_interop::chaos::nodes::Nodes;
use rohrpost_interop::chaos::{Fault, Plan, inflict};
use rohrpost_interop::have;

/// No promise breaks, every record is acknowledged, and something was tested: records were sent again, leaders moved.
#[test]
#[allow(clippy::print_stdout, reason = "what it came to belongs to the test's output")]
fn no_promise_breaks_while_leaders_and_connections_fail() {
    if !have(&["java", "mvn"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let nodes = Nodes::start("chaos-test", Fault::LeaderKilled.layout());
    let mut wrong = Vec::new();
    for (fault, faults) in
        [(Fault::LeaderKilled, 1), (Fault::LeaderPaused, 1), (Fault::Proxy, 2), (Fault::AllKilled, 1)]
    {
        let plan = Plan { faults, rate: 1_000, seed: 1, folder: folder.path().to_owned() };
        let row = inflict(fault, &nodes, &plan);
        println!("{}", row.summary());
        wrong.extend(row.wrong.iter().map(|what| format!("{}: {what}", fault.name())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
