//! How a command ends when it does not end well: a message and the exit status that goes with it.

use std::fmt::Display;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not start: wrong usage or configuration, no broker. Status 2.
    Start(String),
    /// It ran, and something failed. Status 1.
    Run(String),
    /// It ran, something failed, and all is said already. Status 1.
    Told,
}

impl Failure {
    pub(crate) fn start(message: impl Display) -> Failure {
        Failure::Start(message.to_string())
    }

    pub(crate) fn run(message: impl Display) -> Failure {
        Failure::Run(message.to_string())
    }

    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Failure::Start(message) | Failure::Run(message) => Some(message),
            Failure::Told => None,
        }
    }

    pub(crate) fn status(&self) -> u8 {
        match self {
            Failure::Start(_) => 2,
            Failure::Run(_) | Failure::Told => 1,
        }
    }
}
