//! A longer way to a broker: `scripts/tuning` measures through it what a round trip costs.
//!
//! Prints one line, `listening on HOST:PORT`, and ends when its standard input does, so that it never outlives who started it.

// a program's output
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use rohrpost_interop::proxy::Proxy;

const USAGE: &str =
    "usage: delay-proxy HOST:PORT[,HOST:PORT…] ROUND_TRIP_MS    the brokers are numbers, on 127.0.0.1";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((brokers, round_trip)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let proxy = match Proxy::start_slow(&brokers, round_trip) {
        Ok(proxy) => proxy,
        Err(error) => {
            eprintln!("delay-proxy: cannot listen: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("listening on {}", proxy.bootstrap());
    let _ = std::io::stdout().flush();
    let mut nothing = [0; 64];
    while std::io::stdin().read(&mut nothing).is_ok_and(|read| read > 0) {}
    ExitCode::SUCCESS
}

fn parse(arguments: &[String]) -> Option<(Vec<SocketAddr>, Duration)> {
    let [brokers, ms] = arguments else { return None };
    let brokers = brokers.split(',').map(|address| address.parse().ok()).collect::<Option<Vec<_>>>()?;
    // a day is more than any link takes
    let ms: f64 = ms.parse().ok().filter(|ms| (0.0..=86_400_000.0).contains(ms))?;
    Some((brokers, Duration::from_secs_f64(ms / 1000.0)))
}
