//! Asynchronous: keep the handles, go on sending, and await them later, on any executor. Awaiting in order costs nothing
//! extra, because a batch's records are done together.
//!
//! ```text
//! cargo run -p rohrpost --example asynchronous
//! ```

#![allow(clippy::print_stdout, reason = "an example says what it does")]

mod common;

use std::collections::VecDeque;
use std::time::Duration;

use rohrpost::{Delivery, Outcome, Producer, Record};

/// More records than this need not be on their way at once.
const OUTSTANDING_MAX: usize = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = common::Servers::from_arguments()?;
    let producer = Producer::builder(&servers.addresses).build()?;
    pollster::block_on(async {
        let mut outstanding: VecDeque<Delivery> = VecDeque::new();
        let mut acknowledged = 0;
        for n in 0..2000 {
            let record = Record::to("orders").key(format!("customer {}", n % 10)).value(format!("order {n}"));
            outstanding.push_back(producer.send(record).await?);
            if outstanding.len() == OUTSTANDING_MAX
                && let Some(oldest) = outstanding.pop_front()
            {
                acknowledged += settle(oldest).await;
            }
        }
        for delivery in outstanding {
            acknowledged += settle(delivery).await;
        }
        println!("{acknowledged} acknowledged by {}", servers.name());
        producer.close(Duration::from_secs(10)).await;
        if acknowledged == 2000 { Ok(()) } else { Err("some records have failed".into()) }
    })
}

/// 1 if the record is in the log.
async fn settle(delivery: Delivery) -> u32 {
    match delivery.await {
        Ok(_at) => return 1,
        Err(error) => match error.outcome() {
            Outcome::NotWritten => println!("certainly not in the log, safe to send again: {error}"),
            Outcome::Unknown => println!("may be in the log, look before sending it again: {error}"),
        },
    }
    0
}
