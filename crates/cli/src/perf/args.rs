//! `rohrpost perf` as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Measure how fast records go in and out, and what they cost.
#[derive(Debug, Clone, Args)]
pub(crate) struct Perf {
    #[command(subcommand)]
    pub(crate) action: PerfAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PerfAction {
    /// Send made-up records: rate, CPU per record, latency, memory
    Produce(PerfProduce),
    /// Read records as fast as they come: rate, CPU per record
    Consume(PerfConsume),
}

/// Send made-up records to a broker in another process, and say what that cost this process.
///
/// Each thread sends, keeps every delivery and awaits them in order; at most 100,000 are outstanding in all. The figures
/// go to standard output. docs/measuring.md says what each of them means.
///
/// Exit status: 0, every record was acknowledged, or Ctrl-C ended the run and every record sent by then was; 1, some
/// were not; 2, wrong usage or no start. Ctrl-C stops sending, waits for what is outstanding, and sums up; a second one drops it.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost perf produce -b 127.0.0.1:9092 -t perf --partitions 6 --records 5000000
  rohrpost perf produce -b 127.0.0.1:9092 -t perf --size 1024 --rate 50000 --plot perf.svg
  rohrpost perf produce -b kafka1:9092 -t perf --payload text -X compression.type=zstd
  rohrpost perf produce -b 127.0.0.1:9092 -t perf --threads 4 --keys 10000 --json")]
pub(crate) struct PerfProduce {
    /// Kafka brokers to begin with, host:port[,host:port…]
    #[arg(short, long, value_name = "HOST:PORT")]
    pub(crate) bootstrap_server: String,
    /// The topic to write to; created if it does not exist
    #[arg(short, long)]
    pub(crate) topic: String,
    /// How many records to send
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) records: u64,
    /// Bytes of each value
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=67_108_864))]
    pub(crate) size: u32,
    /// The topic must have so many partitions, or is created with them; without it: as it is, or the broker's default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) partitions: Option<u32>,
    /// Application threads that share one producer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) threads: u32,
    /// Records per second of all threads together; without it: as fast as they are taken
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) rate: Option<u64>,
    /// Name the topic in each record instead of sending through a topic handle
    #[arg(long)]
    pub(crate) by_name: bool,
    /// Give each record one of N keys, at random; without it: no key
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) keys: Option<u32>,
    /// What the values are made of
    #[arg(long, value_enum, default_value = "random")]
    pub(crate) payload: Payload,
    /// Take the latency of one record in N; 0: of none
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) latency_every: u64,
    /// One of Kafka's producer settings; may be repeated
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw throughput and latency over time
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) watch: crate::watch::Watch,
    /// No progress bar
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payload {
    /// Random bytes: no codec makes them smaller
    Random,
    /// Lines like those of a web server's log
    Text,
}

/// Read a topic from its beginning, all partitions, without a consumer group, and say what that cost this process.
///
/// Every batch's checksum is verified, every record is decoded, and then dropped. Ends at the end that each partition had at
/// the start, after --records, or at Ctrl-C.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost perf consume -b 127.0.0.1:9092 -t perf
  rohrpost perf consume -b kafka1:9092 -t orders --records 1000000 --json")]
pub(crate) struct PerfConsume {
    /// Kafka brokers to begin with, host:port[,host:port…]
    #[arg(short, long, value_name = "HOST:PORT")]
    pub(crate) bootstrap_server: String,
    /// The topic to read
    #[arg(short, long)]
    pub(crate) topic: String,
    /// Stop after so many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) records: Option<u64>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}
