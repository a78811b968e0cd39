//! A topic handle: the topic is looked up once, and records need not name it. With `reserve` the waiting comes first and
//! the send is one synchronous step, so that dropping a future can never reorder or lose anything.
//!
//! ```text
//! cargo run -p rohrpost --example topic_handle
//! ```

#![allow(clippy::print_stdout, reason = "an example says what it does")]

mod common;

use std::time::Duration;

use rohrpost::{Producer, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = common::Servers::from_arguments()?;
    let producer = Producer::builder(&servers.addresses).build()?;
    pollster::block_on(async {
        let orders = producer.topic("orders").await?;
        let mut deliveries = Vec::new();
        for n in 0..100 {
            deliveries.push(orders.send(Record::value(format!("order {n}"))).await?);
        }
        let record = Record::value("the last order").key("42");
        // waits for room; cancelled here, nothing has happened
        let permit = orders.reserve(record.size()).await?;
        // never waits, never fails for want of room
        deliveries.push(permit.send(record)?);
        for delivery in deliveries {
            delivery.await?;
        }
        println!("101 records in '{}' on {}", orders.name(), servers.name());
        producer.close(Duration::from_secs(10)).await;
        Ok(())
    })
}
