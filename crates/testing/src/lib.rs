//! What tests of several crates share. No part of what is published.
//!
//! * [`memory`]: an allocator that counts, for tests that hold a bound of memory.
//! * [`log`]: hears what is logged, and may do something at each event.
//! * [`examples`]: the library's example programs, built.
//! * [`in_time`]: fails where a broken test would hang.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test that called it")]

pub mod examples;
pub mod log;
pub mod memory;

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Runs something that hangs if it is broken, on a thread of its own; then this fails instead, after a minute.
///
/// # Panics
/// If it takes so long, or panics.
pub fn in_time<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || {
        let result = run();
        let _ = tell.send(());
        result
    });
    if told.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
        panic!("it hangs");
    }
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
