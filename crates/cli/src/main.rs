//! The `rohrpost` command: produce, consume, topics, broker, perf, verify, log, config.
//!
//! Data goes to standard output, everything else to standard error. Exit status: 0, all went well (for `produce`: every
//! record is acknowledged and, on the embedded broker, synced to disk); 1, the command ran and something failed;
//! 2, it could not start: wrong usage, wrong configuration, no broker.

mod args;
mod broker;
mod cluster;
mod config;
mod consume;
mod failure;
mod interrupt;
mod jsonl;
mod log;
mod manual;
mod perf;
mod produce;
mod terminal;
mod topics;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue};

use crate::args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(mut usage) => {
            // its own advice, to put `--` before the flag, helps nobody here
            if let Some(ContextValue::String(flag)) = usage.get(ContextKind::InvalidArg)
                && let Some(advice) = config::meant_by_flag(flag)
            {
                usage.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
            }
            // clap's own status: 0 for --help and --version, 2 for wrong usage
            let _ = usage.print();
            return ExitCode::from(usage.exit_code() as u8);
        }
    };
    terminal::start_logging();
    interrupt::survive_file_size_limits();
    let result = match arguments.command {
        Command::Produce(options) => produce::run(options),
        Command::Consume(options) => consume::run(&options),
        Command::Topics(options) => topics::run(&options),
        Command::Broker(options) => broker::run(&options),
        Command::Perf(options) => perf::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Log(options) => log::run(&options),
        Command::Config(options) => config::run(&options),
        Command::Completions(options) => manual::completions(&options),
        Command::Man(options) => manual::pages(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                terminal::note(&format!("rohrpost: {message}"));
            }
            ExitCode::from(failure.status())
        }
    }
}
