//! Hostile and heavy, over real sockets: what a broker must bear without harm to anyone else. Memory is counted by an allocator,
//! file descriptors by the system, and a well-behaved client is served while each attack goes on.
//!
//! The tests take turns: they share the process, its memory and its descriptors.

#![allow(clippy::unwrap_used)] // all of it is test code

#[path = "../common/mod.rs"]
mod common;
mod connections;
mod frames;
mod slow;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::*;
use rohrpost_broker::Cluster;
use rohrpost_testing::memory::{Counting, Growth};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time. A test that failed leaves nothing behind that would harm the next.
fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client that does nothing wrong: writes a record and reads it back.
struct Good {
    client: Client,
    written: i64,
}

impl Good {
    /// `good` must be a topic of the cluster.
    fn of(cluster: &Cluster) -> Good {
        Good { client: Client::of(cluster), written: 0 }
    }

    #[track_caller]
    fn is_served(&mut self) {
        let value = format!("{}", self.written);
        let produced = self.client.produce("good", 0, Some(&batch(&[&value])));
        assert_eq!(produced.base_offset, self.written);
        assert_eq!(self.client.fetch("good", 0, self.written), [value]);
        self.written += 1;
    }
}
