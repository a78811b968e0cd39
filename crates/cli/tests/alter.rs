//! `rohrpost topics alter` on a broker of its own.

mod common;

use common::{Broker, rohrpost, run};

#[test]
fn partitions_are_added_and_settings_changed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start_command(rohrpost(folder.path(), &["broker", "--listen", "127.0.0.1:0"]));
    let topics =
        |arguments: &[&str]| run(folder.path(), &[&["topics"], arguments, &["-b", &broker.address]].concat());
    topics(&["create", "t", "--partitions", "1"]).expect_status(0);
    topics(&["alter", "t", "--partitions", "3", "-X", "max.message.bytes=100", "--check"]).expect_status(0);
    let partitions = || {
        let described = topics(&["describe", "t", "--json"]).expect_status(0).text();
        let described: serde_json::Value = serde_json::from_str(&described).expect("one JSON object");
        described["partitions"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(partitions(), 1, "only checked");
    topics(&["alter", "t", "--partitions", "3", "-X", "max.message.bytes=100"]).expect_status(0);
    assert_eq!(partitions(), 3);
    let text = "x".repeat(200);
    std::fs::write(folder.path().join("text"), &text).unwrap();
    let produce = || run(folder.path(), &["produce", "-t", "t", "-b", &broker.address, "text"]);
    produce().expect_status(1).expect_said("max.message.bytes");
    topics(&["alter", "t", "--unset", "max.message.bytes"]).expect_status(0);
    produce().expect_status(0);
    // what is wrong is named
    topics(&["alter", "t", "--partitions", "2"]).expect_status(1).expect_said("INVALID_PARTITIONS");
    topics(&["alter", "t", "-X", "retention.ms=soon"]).expect_status(1).expect_said("retention.ms");
    topics(&["alter", "nowhere", "--partitions", "2"]).expect_status(1).expect_said("'nowhere'");
    topics(&["alter", "t"]).expect_status(2).expect_said("--partitions");
}
