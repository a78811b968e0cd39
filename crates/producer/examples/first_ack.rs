//! How long a test waits for its cluster: from nothing to the first acknowledged record on the embedded broker.
//!
//! ```text
//! cargo run --release -p rohrpost --example first_ack
//! ```

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use rohrpost::{Producer, Record};
use rohrpost_broker::Cluster;

const ROUNDS: usize = 51;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    measure("in memory", Cluster::builder)?;
    let folder = tempfile::tempdir()?;
    let mut round = 0;
    measure("new data directory", || {
        round += 1;
        Cluster::builder().data_dir(folder.path().join(round.to_string()))
    })
}

fn measure(
    what: &str,
    mut builder: impl FnMut() -> rohrpost_broker::ClusterBuilder,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut starts, mut acks) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let cluster = builder().topic("t", 1, 1).start()?;
        starts.push(begin.elapsed());
        // a single record has nobody to share a batch with
        let producer = Producer::builder(cluster.bootstrap_servers()).linger(Duration::ZERO).build()?;
        producer.send_blocking(Record::to("t").value("first"))?.wait()?;
        acks.push(begin.elapsed());
    }
    println!("{what}: started in {}, first acknowledgement after {}", summary(starts), summary(acks));
    Ok(())
}

fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |at: usize| times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    format!("{:.2} ms (least {:.2}, most {:.2})", ms(times.len() / 2), ms(0), ms(times.len() - 1))
}
