//! CPU per record of the simplest loop that leaves nothing unseen: send, keep the handle, await every handle in order,
//! at most 100,000 outstanding.
//!
//! ```text
//! rohrpost broker --listen 127.0.0.1:9092 &
//! rohrpost topics create t --partitions 6 -b 127.0.0.1:9092
//! cargo run --release -p rohrpost --example cpu_per_record -- 127.0.0.1:9092 t 5000000 100
//! ```
//!
//! The broker must be another process: only this one's CPU time is counted (from /proc, so Linux only).

#![allow(clippy::print_stdout)]

use std::collections::VecDeque;
use std::time::Instant;

use rohrpost::{Delivery, Producer, Record};

const OUTSTANDING_MAX: usize = 100_000;

#[allow(clippy::print_stdout, reason = "the figures are the program's output")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, records, size, settings @ ..] = arguments.as_slice() else {
        return Err("usage: cpu_per_record BOOTSTRAP TOPIC RECORDS SIZE [key=value …]".into());
    };
    let (records, size): (usize, usize) = (records.parse()?, size.parse()?);
    let mut builder = Producer::builder(bootstrap.as_str());
    for setting in settings {
        let (key, value) = setting.split_once('=').ok_or("a setting is key=value")?;
        builder = builder.set(key, value)?;
    }
    let producer = builder.build()?;
    let topic = producer.topic_blocking(topic)?;
    let body = bytes::Bytes::from(vec![b'x'; size]);
    // warm: metadata, connection, producer id
    topic.send_blocking(Record::value(body.clone()))?.wait()?;

    let (begin, (user_before, system_before)) = (Instant::now(), cpu_seconds()?);
    let mut outstanding: VecDeque<Delivery> = VecDeque::with_capacity(OUTSTANDING_MAX);
    for _ in 0..records {
        if outstanding.len() == OUTSTANDING_MAX
            && let Some(oldest) = outstanding.pop_front()
        {
            oldest.wait()?;
        }
        outstanding.push_back(topic.send_blocking(Record::value(body.clone()))?);
    }
    for delivery in outstanding {
        delivery.wait()?;
    }
    let (seconds, (user, system)) = (begin.elapsed().as_secs_f64(), cpu_seconds()?);
    let per_record = |cpu: f64| cpu * 1e6 / records as f64;
    println!(
        "{records} records of {size} B in {seconds:.2} s ({:.0} k/s); CPU per record {:.3} us ({:.3} user, {:.3} system)",
        records as f64 / seconds / 1e3,
        per_record(user - user_before + system - system_before),
        per_record(user - user_before),
        per_record(system - system_before)
    );
    Ok(())
}

/// User and system CPU time of this process, in seconds.
fn cpu_seconds() -> Result<(f64, f64), Box<dyn std::error::Error>> {
    // fields 14 and 15 of /proc/self/stat, in ticks of 1/100 s; the name before them may hold spaces
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let mut ticks = || fields.next().unwrap_or_default().parse::<f64>();
    Ok((ticks()? / 100.0, ticks()? / 100.0))
}
