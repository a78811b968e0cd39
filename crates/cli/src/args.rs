//! The command line as typed: flags, their help, and nothing else. `produce`, `consume`, … make ready objects of them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Kafka's producer, and a broker that needs no installation.
#[derive(Debug, Parser)]
#[command(name = "rohrpost", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Without -b a command uses the embedded broker on --data-dir. `rohrpost COMMAND --help` has examples."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the lines of files, or of standard input, to a topic
    Produce(Produce),
    /// Read records of a topic to standard output
    Consume(Consume),
    /// Create, alter, list, describe and delete topics
    Topics(Topics),
    /// Run a broker until Ctrl-C
    Broker(Broker),
    /// Measure how fast records go in and out, and what they cost
    Perf(crate::perf::args::Perf),
    /// Send records that carry their identity, read them back, and hold each outcome against the log
    Verify(crate::verify::args::Verify),
    /// Look at a broker's files: print them, check them
    Log(crate::log::args::Log),
    /// Explain the producer's settings: all keys, or some
    Config(Config),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Write the manual pages into a directory
    Man(Man),
}

/// Which cluster a command talks to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Where {
    /// Kafka brokers to begin with, host:port[,host:port…]; without it: the embedded broker
    #[arg(short, long, value_name = "HOST:PORT")]
    pub(crate) bootstrap_server: Option<String>,
    /// The embedded broker's data directory, created on first use; if another rohrpost holds it, that one is used
    #[arg(
        long,
        value_name = "DIR",
        env = "ROHRPOST_DATA_DIR",
        default_value = "rohrpost-data",
        conflicts_with = "bootstrap_server"
    )]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// Each line is a value; its bytes are sent as they are, without the newline
    Lines,
    /// Each line is a JSON object: value, key, headers, partition, timestamp
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// The value and a newline
    Text,
    /// One JSON object per record, as `produce --format jsonl` reads it
    Jsonl,
}

/// Write the lines of files, or of standard input, to a topic.
///
/// Exit status: 0, every record read is acknowledged and, on the embedded broker, synced to disk; 1, some are not;
/// 2, wrong usage or no start. Ctrl-C stops reading, sends what was read, and sums up; a second one drops the rest.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost produce -t access access.log                      into ./rohrpost-data
  tail -f app.log | rohrpost produce -b kafka1:9092 -t app   from a pipe to a Kafka cluster
  rohrpost produce -t users --key-separator : users.txt      'id:rest' is key 'id', value 'rest'
  rohrpost produce -b kafka1:9092 -t orders --format jsonl --error-file failed.jsonl orders.jsonl
  rohrpost produce -b kafka1:9092 --retry-file failed.jsonl   again what was certainly not written
  rohrpost produce -t t -X compression.type=zstd -X linger.ms=20 big.txt
  tail -f app.log | rohrpost produce -b kafka1:9092 -t app --stats --metrics 9404

JSON lines have these fields, all optional but value:
  {\"key\":\"k\",\"value\":\"v\",\"headers\":[{\"key\":\"h\",\"value\":\"x\"}],\"partition\":0,\"timestamp\":1750000000000}
A value that is not a string is sent as its JSON text; null is absent. Bytes: key_base64, value_base64.")]
pub(crate) struct Produce {
    /// Files to read; none, or '-', is standard input
    #[arg(value_name = "FILE", conflicts_with = "retry_file")]
    pub(crate) files: Vec<PathBuf>,
    /// The topic to write to; created if it does not exist and the broker allows it
    #[arg(short, long, required_unless_present = "retry_file")]
    pub(crate) topic: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: Where,
    /// What the input is made of
    #[arg(long, value_enum, default_value = "lines", conflicts_with = "retry_file")]
    pub(crate) format: InputFormat,
    /// With lines: the text before the first SEP is the record's key; a line without SEP has none
    #[arg(long, value_name = "SEP", conflicts_with = "retry_file")]
    pub(crate) key_separator: Option<String>,
    /// One of Kafka's producer settings; may be repeated, and goes before --config
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// A file of Kafka's producer settings
    #[arg(long, value_name = "FILE.properties")]
    pub(crate) config: Option<PathBuf>,
    /// Create the topic with so many partitions, if it does not exist
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) partitions: Option<u32>,
    /// Write each record that failed to FILE, one JSON object a line, with reason and outcome
    #[arg(long, value_name = "FILE")]
    pub(crate) error_file: Option<PathBuf>,
    /// Send the records of an --error-file again: those that were certainly not written
    #[arg(long, value_name = "FILE")]
    pub(crate) retry_file: Option<PathBuf>,
    /// With --retry-file: also the records that may have been written; they may then be there twice
    #[arg(long, requires = "retry_file")]
    pub(crate) include_unknown: bool,
    #[command(flatten)]
    pub(crate) watch: crate::watch::Watch,
    /// No progress bar and no summary
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Read records of a topic to standard output, by partition, without a consumer group.
///
/// Starts at the end of the topic and waits for new records, until Ctrl-C, --max or --until-end.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost consume -t access --from-beginning --until-end    all there is in the embedded broker
  rohrpost consume -b kafka1:9092 -t orders --max 10         the next ten
  rohrpost consume -b kafka1:9092 -t orders --partition 2 --offset 1000 --max 1 --format jsonl")]
pub(crate) struct Consume {
    /// The topic to read
    #[arg(short, long)]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) cluster: Where,
    /// Start at the first record instead of the end
    #[arg(long, conflicts_with = "offset")]
    pub(crate) from_beginning: bool,
    /// Read this partition only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Option<i32>,
    /// Start at this offset; needs --partition
    #[arg(long, value_name = "N", requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) offset: Option<i64>,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<u64>,
    /// Stop at the end that each partition had at the start
    #[arg(long)]
    pub(crate) until_end: bool,
    /// How records are written
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: OutputFormat,
}

/// Create, list, describe and delete topics.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost topics create orders --partitions 6
  rohrpost topics create audit --replication-factor 3 -b kafka1:9092 -X retention.ms=86400000
  rohrpost topics alter orders --partitions 12 -X retention.ms=3600000
  rohrpost topics list
  rohrpost topics describe orders
  rohrpost topics describe --json
  rohrpost topics delete orders")]
pub(crate) struct Topics {
    #[command(subcommand)]
    pub(crate) action: TopicsAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TopicsAction {
    /// Create a topic
    Create {
        /// Its name: 1 to 249 of the characters a-z A-Z 0-9 . _ -
        name: String,
        /// How many partitions; without it: the broker's default
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100_000))]
        partitions: Option<i32>,
        /// How many replicas of each; without it: the broker's default
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// One of Kafka's topic settings; may be repeated
        #[arg(short = 'X', value_name = "KEY=VALUE")]
        settings: Vec<String>,
        #[command(flatten)]
        cluster: Where,
    },
    /// Add partitions to a topic, change its settings
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["partitions", "settings", "unset"])))]
    Alter {
        /// The topic
        name: String,
        /// How many partitions it is to have: more than now. Records with keys may go elsewhere from then on
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100_000))]
        partitions: Option<i32>,
        /// One of Kafka's topic settings, to be set; may be repeated
        #[arg(short = 'X', value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// A setting to be deleted, so that the broker's default holds; may be repeated
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
        /// Only check whether it could be done
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        cluster: Where,
    },
    /// List the names of all topics, one a line
    List {
        #[command(flatten)]
        cluster: Where,
    },
    /// Show settings, partitions, leaders, replicas, offsets and sizes; without names: of all topics
    Describe {
        /// Topics to describe
        names: Vec<String>,
        /// One JSON object a line and topic
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        cluster: Where,
    },
    /// Delete topics with all their records
    Delete {
        /// Topics to delete
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        cluster: Where,
    },
}

/// Run a broker until Ctrl-C. It stores topics in Kafka's own on-disk format.
///
/// Threads, limits and all else are Kafka's defaults. Keys that have no effect are named at the start, each with the reason; keys
/// that would be dangerous to ignore, such as a listener with a login, are refused.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost broker                                            127.0.0.1:9092, ./rohrpost-data
  rohrpost broker --listen 0.0.0.0:9092 -X advertised.listeners=PLAINTEXT://box1:9092
  rohrpost broker --listen 127.0.0.1:0 -X num.partitions=6   any free port; the address is printed
  rohrpost broker --config server.properties                 as Apache Kafka would be started
  rohrpost broker --config server.properties --set num.io.threads=2")]
pub(crate) struct Broker {
    /// A server.properties such as Apache Kafka reads
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where topics are stored; created on first use [default: log.dirs of the file, $ROHRPOST_DATA_DIR, or rohrpost-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The address to listen on; port 0 is any free one [default: listeners of the file, or 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// One of Kafka's broker settings; may be repeated, and goes before the file
    #[arg(short = 'X', long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
}

/// Print a completion script for a shell to standard output.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost completions bash > ~/.local/share/bash-completion/completions/rohrpost
  rohrpost completions zsh > ~/.zfunc/_rohrpost                    with ~/.zfunc in $fpath
  rohrpost completions fish > ~/.config/fish/completions/rohrpost.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Explain the settings that -X takes and that producer files hold: type, default, meaning, and what becomes of each.
///
/// Exit status: 0; 1, no key is named so.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost config                    all keys
  rohrpost config acks linger.ms     these two
  rohrpost config retry              all whose name contains it")]
pub(crate) struct Config {
    /// A key, or a part of one
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// One JSON object per key
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// The table of docs/configuration.md
    #[arg(long)]
    pub(crate) markdown: bool,
}

/// Write the manual pages, one for each command, into a directory.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost man ~/.local/share/man/man1      then: man rohrpost-produce")]
pub(crate) struct Man {
    /// Created if it is not there
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Splits `KEY=VALUE`.
pub(crate) fn key_value(setting: &str) -> Result<(&str, &str), String> {
    match setting.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim(), value)),
        _ => Err(format!("-X {setting}: expected KEY=VALUE, for example -X linger.ms=20")),
    }
}
