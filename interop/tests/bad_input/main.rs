//! Bad input of every kind, to our broker and to Apache Kafka 4.3.1: the tables of chapters 5 and 18 of the broker's reference, the
//! gate of chapter 3, and the golden vectors. Answers are compared field by field; `docs/compatibility.md` lists every difference with its reason.
//! A difference that is not listed there fails, and a listed one that no longer happens does too.

mod admin;
mod cases;
mod fetch;
mod gate;
mod produce;

use std::time::Duration;

use rohrpost_interop::duel::{Side, compare, run_all};
use rohrpost_interop::{BrokerProcess, Kafka, have, table};

use crate::cases::Cases;

const DOCUMENT: &str = "docs/compatibility.md";

/// P1, P2, P3, P4, P5, P8, P11, P12, G1, G2, G3, G4, I2, I3, I4, F2, F8, O1, O5, M1, M2, M4, M5, M6, M9, M10, Q1, Q2
#[test]
fn bad_input_is_answered_as_apache_kafka_answers_it_except_where_the_table_says_otherwise() {
    if !have(&["java", "mvn"]) {
        return;
    }
    let mut cases = Cases::default();
    produce::add(&mut cases);
    gate::add(&mut cases);
    fetch::add(&mut cases);
    admin::add(&mut cases);
    let topics = cases.topics();

    let data = tempfile::tempdir().expect("a temporary folder");
    let broker = BrokerProcess::start(data.path(), &[]);
    // it always answers, though a build without optimisation takes its time for a batch of 64 MiB; Kafka has cases of silence
    let ours = Side::prepare(broker.address(), Duration::from_secs(240), &topics);
    let ours = run_all(&ours, &cases.list);
    let kafka = Kafka::start("4.3.1", "bad-input");
    let theirs = Side::prepare(kafka.bootstrap(), Duration::from_secs(20), &topics);
    let theirs = run_all(&theirs, &cases.list);
    table::check_differences(DOCUMENT, &compare(&cases.list, &theirs, &ours));
}
