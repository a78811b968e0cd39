//! `rohrpost log` as typed.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use rohrpost_log::inspect::FileKind;

/// Look at a broker's files, read only: Kafka's as well as ours.
#[derive(Debug, Clone, Args)]
pub(crate) struct Log {
    #[command(subcommand)]
    pub(crate) action: LogAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LogAction {
    /// Print what stands in segments, indexes, snapshots, checkpoints and the metadata log
    Dump(Dump),
    /// Check a whole data directory, read only, and say what is wrong, where, and what to do
    Verify(Verify),
}

/// Print what stands in the files of a broker's data directory.
///
/// What a file holds is known by its name. Damage is told with its position; what follows it is read on where that is
/// possible. Exit status: 0, all was read; 1, a file is damaged; 2, wrong usage, or a file cannot be read.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost log dump rohrpost-data/demo-0/*.log                 the batches
  rohrpost log dump --records rohrpost-data/demo-0/*.log       and their records
  rohrpost log dump rohrpost-data/demo-0/*.index rohrpost-data/demo-0/leader-epoch-checkpoint
  rohrpost log dump --records --json rohrpost-data/__cluster_metadata-0/*.log
  rohrpost log dump --as segment saved-copy.bin

docs/log-tools.md describes the JSON lines.")]
pub(crate) struct Dump {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Also print each record: key, value, headers; what a metadata or control record says
    #[arg(long)]
    pub(crate) records: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Take the files for this, whatever they are called
    #[arg(long = "as", value_name = "TYPE", value_parser = kind_parser())]
    pub(crate) kind: Option<FileKind>,
}

/// Check a whole data directory: every batch, index, snapshot and checkpoint, and each against the others.
///
/// Opens files for reading only and takes no lock. A broker may be at work in the directory; then what it is just writing
/// is not taken for damage. Exit status: 0, sound, or nothing that the next start of a broker does not repair by itself;
/// 1, damage; 2, something cannot be read.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rohrpost log verify rohrpost-data
  rohrpost log verify --json rohrpost-data

docs/log-tools.md describes the JSON lines, and what each problem means.")]
pub(crate) struct Verify {
    /// The data directory: the one with meta.properties in it
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

fn kind_parser() -> impl TypedValueParser<Value = FileKind> {
    PossibleValuesParser::new(FileKind::ALL.map(FileKind::name)).map(|name| {
        match FileKind::ALL.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => kind,
            None => unreachable!("the parser only lets these names through"),
        }
    })
}
