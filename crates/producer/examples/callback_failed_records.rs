//! Asynchronous with callbacks, and a file of what failed: each record's outcome goes to a closure, in order per partition; every record
//! that is not delivered is a line in the file before anyone hears of it, and can be sent again.
//!
//! Two of a hundred records fail here: one is larger than the topic allows, so the broker refuses it; one is larger than a request
//! may be, so `send` refuses it, and it is kept because the program asks for that.
//!
//! ```text
//! cargo run -p rohrpost --example callback_failed_records
//! cargo run -p rohrpost --example callback_failed_records -- -b localhost:9092 failed.jsonl
//! rohrpost topics alter orders -b localhost:9092 -X max.message.bytes=8388608
//! rohrpost produce -b localhost:9092 --retry-file failed.jsonl -X max.request.size=8388608
//! ```

#![allow(clippy::print_stdout, reason = "an example says what it does")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rohrpost::{FailedRecords, Outcome, Producer, Record};

/// How many records ended how; callbacks run on the sender's thread and should be as quick as this.
#[derive(Default)]
struct Counts {
    acknowledged: AtomicU32,
    not_written: AtomicU32,
    unknown: AtomicU32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (servers, words) = common::Servers::with_words("FILE")?;
    let folder = tempfile::tempdir()?;
    let path = words.first().map_or_else(|| folder.path().join("failed.jsonl"), Into::into);
    let producer = Producer::builder(&servers.addresses)
        .max_request_size(4 << 20)
        .failed_records(FailedRecords::to(&path).rotate_at(16 << 20))
        .build()?;
    let counts = Arc::new(Counts::default());
    let mut refused = 0;

    pollster::block_on(async {
        for n in 0..100 {
            let value = match n {
                40 => "x".repeat(1_500_000), // larger than the topic's max.message.bytes
                60 => "x".repeat(5_000_000), // larger than max.request.size
                _ => format!("order {n}"),
            };
            let counts = counts.clone();
            let sent =
                producer.send_with(Record::to("orders").key(n.to_string()).value(value), move |outcome| {
                    let count = match outcome {
                        Ok(_at) => &counts.acknowledged,
                        Err(error) if error.outcome() == Outcome::NotWritten => &counts.not_written,
                        Err(_) => &counts.unknown,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                });
            // never accepted: the callback has told it, and it goes into the file because it is put there
            if let Err(error) = sent.await {
                refused += 1;
                producer.keep_failed(error).await?;
            }
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    // every callback has run, and the file is synced, when `close` returns
    producer.close_blocking(Duration::from_secs(30));

    let told = |count: &AtomicU32| count.load(Ordering::Relaxed);
    let (acknowledged, unknown) = (told(&counts.acknowledged), told(&counts.unknown));
    println!(
        "{acknowledged} acknowledged, {} certainly not written, {unknown} unknown",
        told(&counts.not_written)
    );
    let lines = std::fs::read_to_string(&path)?.lines().count();
    println!("{lines} lines in {}, {refused} of them refused by send", path.display());
    println!("send them again: rohrpost produce -b {} --retry-file {}", servers.addresses, path.display());
    if (acknowledged, lines, unknown) == (98, 2, 0) { Ok(()) } else { Err("two records were to fail".into()) }
}
