//! `rohrpost log`: looks at a broker's files, read only. What is read and checked lies in `rohrpost_log::inspect`; here it
//! is put into words, tables and JSON lines.

pub(crate) mod args;
mod dump;
mod fields;
mod metadata;
mod output;
mod verify;

use self::args::{Log, LogAction};
use crate::failure::Failure;

pub(crate) fn run(options: &Log) -> Result<(), Failure> {
    match &options.action {
        LogAction::Dump(options) => dump::run(options),
        LogAction::Verify(options) => verify::run(options),
    }
}
