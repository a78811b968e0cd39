//! Fire and forget: `send` waits for room, never for the broker. What became of the records is asked once, at the end.
//!
//! ```text
//! cargo run -p rohrpost --example fire_and_forget
//! ```

#![allow(clippy::print_stdout, reason = "an example says what it does")]

mod common;

use std::time::Duration;

use rohrpost::{Producer, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = common::Servers::from_arguments()?;
    let producer = Producer::builder(&servers.addresses).build()?;
    pollster::block_on(async {
        for n in 0..1000 {
            // the handle that comes back is dropped: the record goes out all the same
            producer.send(Record::to("orders").value(format!("order {n}"))).await?;
        }
        // sends what is buffered, and waits until every record has an outcome
        producer.close(Duration::from_secs(10)).await;
        let counts = producer.metrics();
        println!(
            "{} acknowledged, {} failed on {}",
            counts.records_acked,
            counts.records_failed(),
            servers.name()
        );
        if counts.records_failed() == 0 { Ok(()) } else { Err("some records have failed".into()) }
    })
}
