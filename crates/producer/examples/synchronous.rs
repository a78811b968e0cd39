//! Synchronous: a plain thread sends a record and waits for its acknowledgement, with a timeout of its own.
//!
//! ```text
//! cargo run -p rohrpost --example synchronous
//! ```

#![allow(clippy::print_stdout, reason = "an example says what it does")]

mod common;

use std::time::Duration;

use rohrpost::{Producer, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = common::Servers::from_arguments()?;
    // one record at a time has nobody to share a batch with, so there is nothing to linger for
    let producer = Producer::builder(&servers.addresses).linger(Duration::ZERO).build()?;
    for n in 0..3 {
        let record = Record::to("orders").key("42").value(format!("order {n}")).header("trace", "a1b2");
        let at = producer.send_blocking(record)?.wait_timeout(Duration::from_secs(30))?;
        println!("{}-{} offset {:?} on {}", at.topic(), at.partition(), at.offset(), servers.name());
    }
    producer.close_blocking(Duration::from_secs(10));
    Ok(())
}
