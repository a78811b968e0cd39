//! Foreign clients on our broker (`rohrpost broker`, on disk): each creates topics, writes with every codec that it has, with and
//! without idempotence, reads back what it wrote and what we wrote, and asks its questions. `docs/compatibility.md` has what came of it.

use rohrpost_interop::clients::{Cell, all, go_round};
use rohrpost_interop::{skipped, table};

const DOCUMENT: &str = "docs/compatibility.md";

#[test]
fn the_java_client_of_kafka_4_3() {
    round_of("kafka-clients 4.3");
}

#[test]
fn the_java_client_of_kafka_3_9() {
    round_of("kafka-clients 3.9");
}

/// V2: librdkafka chooses what it does by the version ranges that it is told.
#[test]
fn kcat() {
    round_of("kcat");
}

/// V2
#[test]
fn confluent_kafka_in_python() {
    round_of("confluent-kafka");
}

#[test]
fn kafka_python() {
    round_of("kafka-python");
}

/// V3: aiokafka speaks versions that are not flexible.
#[test]
fn aiokafka() {
    round_of("aiokafka");
}

#[test]
fn franz_go() {
    round_of("franz-go");
}

#[test]
fn kafkajs() {
    round_of("kafkajs");
}

/// V2
#[test]
fn rdkafka_in_rust() {
    round_of("rdkafka");
}

#[test]
fn rskafka() {
    round_of("rskafka");
}

#[test]
fn the_table_has_exactly_the_clients_that_are_tested() {
    let tested: Vec<String> = all().iter().map(|client| client.name.to_owned()).collect();
    assert_eq!(table::names(DOCUMENT, "## Clients"), tested);
}

#[allow(clippy::print_stderr, reason = "why a cell says no belongs to the test's output")]
fn round_of(name: &str) {
    let client = all().into_iter().find(|client| client.name == name).expect("a client of the list");
    if client.program().is_none() {
        skipped(&format!("{name} (interop/install)"));
        return;
    }
    // kcat's program is ours, and needs the real one
    if client.part.is_none() && !rohrpost_interop::have(&["kcat", "python3"]) {
        return;
    }
    let round = go_round(&client);
    for (column, cell) in &round.cells {
        if let Cell::No(why) = cell {
            eprintln!("{name}: {column}: {why}");
        }
    }
    table::check_row(DOCUMENT, &table::row(&client, &round));
}
