//! Reads a job from standard input, writes woven files to standard output, both as JSON. `scripts/mutants` calls it.

use std::io::{self, Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutation: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut job = String::new();
    io::stdin().read_to_string(&mut job).map_err(|error| format!("standard input: {error}"))?;
    let job = serde_json::from_str(&job).map_err(|error| format!("the job on standard input: {error}"))?;
    let woven = rohrpost_mutation::weave(&job)?;
    let woven = serde_json::to_vec(&woven).map_err(|error| format!("what is woven: {error}"))?;
    io::stdout().write_all(&woven).map_err(|error| format!("standard output: {error}"))
}
