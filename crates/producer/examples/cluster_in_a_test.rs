//! A cluster in a test: a broker inside the process, in memory, on a free port, gone when dropped. The test talks to it as
//! to any Kafka, and looks into its log without a consumer.
//!
//! ```text
//! cargo run -p rohrpost --example cluster_in_a_test
//! ```

#![allow(clippy::print_stdout, reason = "an example says what it does")]

use rohrpost::{Outcome, Producer, Record};
use rohrpost_broker::Cluster;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    orders_of_one_customer_stay_in_order()?;
    a_record_that_the_topic_refuses_is_not_written()?;
    println!("2 tests passed");
    Ok(())
}

fn orders_of_one_customer_stay_in_order() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::builder().topic("orders", 1, 1).start()?;
    let producer = Producer::builder(cluster.bootstrap_servers()).build()?;
    for n in 0..10 {
        producer.send_blocking(Record::to("orders").key("42").value(format!("order {n}")))?;
    }
    producer.flush_blocking()?;
    let values: Vec<_> = cluster.log("orders", 0).records().into_iter().map(|record| record.value).collect();
    let expected: Vec<_> = (0..10).map(|n| Some(format!("order {n}").into_bytes())).collect();
    assert_eq!(values, expected);
    Ok(())
}

fn a_record_that_the_topic_refuses_is_not_written() -> Result<(), Box<dyn std::error::Error>> {
    // any of Kafka's broker settings
    let cluster = Cluster::builder().topic("orders", 1, 1).config("message.max.bytes", "1000").start()?;
    let producer = Producer::builder(cluster.bootstrap_servers()).build()?;
    let error = producer.send_blocking(Record::to("orders").value("x".repeat(2000)))?.wait().err();
    let Some(rohrpost::WaitError::Failed(error)) = error else { return Err("it was to fail".into()) };
    assert_eq!(error.outcome(), Outcome::NotWritten, "{error}");
    assert!(cluster.log("orders", 0).records().is_empty());
    Ok(())
}
