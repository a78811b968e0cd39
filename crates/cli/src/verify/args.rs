//! `rohrpost verify` as typed.

use std::path::PathBuf;

use clap::Args;

use crate::args::Where;

/// Send records that carry their own identity, read them back, and hold each outcome against the log.
///
/// Reported are records that were lost (acknowledged, and not there), duplicated, reordered, falsely failed (said to be not written,
/// and there) and wrongly placed, the longest time without an acknowledgement, retries and leader moves. Weaker settings promise
/// less: what acks=0, acks=1 or enable.idempotence=false do not promise is reported, and breaks nothing.
///
/// Exit status: 0, every promise was kept; 1, one was broken, or it could not be checked; 2, wrong usage or no start. Ctrl-C stops
/// sending and still checks; a second one drops what is outstanding, a third one ends the check. docs/verify.md says more.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost verify -t check --records 100000                  the embedded broker
  rohrpost verify -b kafka1:9092 -t check --partitions 6 --seconds 2 --rate 5000
  rohrpost verify -b kafka1:9092 -t check --records 10000 --outcomes outcomes.txt --no-check
  rohrpost verify -b kafka1:9092 --check outcomes.txt --json
  rohrpost verify -b kafka1:9092 -t check --records 10000 -X acks=1 -X linger.ms=0")]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) cluster: Where,
    /// The topic to write to; created if it does not exist
    #[arg(short, long, required_unless_present = "check")]
    pub(crate) topic: Option<String>,
    /// How many records to send [default: 1000000, without --seconds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) records: Option<u64>,
    /// Send for so long
    #[arg(long, value_name = "N", conflicts_with = "records", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) seconds: Option<u64>,
    /// Records per second; without it: as fast as they are taken
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) rate: Option<u64>,
    /// The topic must have so many partitions, or is created with them; without it: as it is, or the broker's default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) partitions: Option<u32>,
    /// Bytes of each value
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(80..=67_108_864))]
    pub(crate) size: u32,
    /// One of Kafka's producer settings; may be repeated
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Keep the outcomes, a line for each record: id, outcome, partition, offset, time in ms, reason
    #[arg(long, value_name = "FILE")]
    pub(crate) outcomes: Option<PathBuf>,
    /// Do not read back
    #[arg(long, requires = "outcomes")]
    pub(crate) no_check: bool,
    /// Send nothing: check the outcomes that an earlier run has kept
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["topic", "records", "seconds", "rate", "partitions", "settings", "outcomes", "no_check"]
    )]
    pub(crate) check: Option<PathBuf>,
    /// With --check: somebody deleted the topic at this time (ms since 1970) and created it again; may be repeated
    #[arg(long, value_name = "MS", requires = "check")]
    pub(crate) deleted_at: Vec<u64>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
