//! Callbacks: each record's outcome goes to a closure, in order per partition; what failed is kept in a file, one line a
//! record, so that nothing is lost silently.
//!
//! Callbacks run on the sender's thread and should be quick, so they only put a line into a channel; a thread of its own
//! writes the file.
//!
//! ```text
//! cargo run -p rohrpost --example callback_error_file
//! ```

#![allow(clippy::print_stdout, reason = "an example says what it does")]

mod common;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

use rohrpost::{Producer, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = common::Servers::from_arguments()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("failed.jsonl");
    let mut file = BufWriter::new(File::create(&path)?);
    let (failed, lines) = channel::<String>();
    let writer = std::thread::spawn(move || -> std::io::Result<u32> {
        let mut count = 0;
        for line in lines {
            writeln!(file, "{line}")?;
            count += 1;
        }
        file.into_inner()?.sync_all()?;
        Ok(count)
    });

    let producer = Producer::builder(&servers.addresses).build()?;
    pollster::block_on(async {
        for n in 0..100 {
            // one of them is larger than max.request.size and cannot be sent
            let value = if n == 50 { "x".repeat(2 << 20) } else { format!("order {n}") };
            let failed = failed.clone();
            let sent = producer.send_with(Record::to("orders").value(value), move |outcome| {
                if let Err(error) = outcome {
                    let line = format!(
                        "{{\"order\":{n},\"outcome\":\"{:?}\",\"error\":\"{error}\"}}",
                        error.outcome()
                    );
                    // the writer ends only when all senders are gone
                    let _ = failed.send(line);
                }
            });
            // refused before it was accepted: the callback has told it, and the error has the record
            if let Err(refused) = sent.await {
                println!("order {n}: {refused}");
            }
        }
        producer.close(Duration::from_secs(10)).await;
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    drop((failed, producer));

    let count = writer.join().map_err(|_| "the writer panicked")??;
    print!("{}", std::fs::read_to_string(&path)?);
    println!("{count} of 100 failed on {}", servers.name());
    if count == 1 { Ok(()) } else { Err("one record was to fail".into()) }
}
