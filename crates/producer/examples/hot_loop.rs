//! A hot loop that must never wait: `try_send` takes the record or gives it back at once. What to do when there is no room
//! (here: count it and let it go, as a meter would) is the caller's choice.
//!
//! ```text
//! cargo run -p rohrpost --example hot_loop
//! ```

#![allow(clippy::print_stdout, reason = "an example says what it does")]

mod common;

use std::time::Duration;

use rohrpost::{Producer, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = common::Servers::from_arguments()?;
    // little memory, so that the loop finds it full now and then
    let producer = Producer::builder(&servers.addresses).set("buffer.memory", "262144")?.build()?;
    // the topic's metadata is fetched here, so that the first try_send has it
    let readings = producer.topic_blocking("orders")?;
    let (mut sent, mut shed) = (0u64, 0u64);
    for n in 0..20_000u32 {
        match readings.try_send(Record::value(n.to_be_bytes().to_vec())) {
            // the handle may be dropped: the record goes out all the same
            Ok(_delivery) => sent += 1,
            Err(error) if error.is_full() => {
                let _the_record_again = error.into_record();
                shed += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let report = producer.close_blocking(Duration::from_secs(10));
    println!("{sent} sent, {shed} shed for want of room, on {}", servers.name());
    if report.not_written + report.unknown == 0 { Ok(()) } else { Err("some records have failed".into()) }
}
