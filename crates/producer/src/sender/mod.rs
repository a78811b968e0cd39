//! What leaves the accumulator, and what the answers mean.
//!
//! * [`core`](self::core): one pass after the other: what to ask and send now, what an answer means for each batch. Single
//!   owner, no I/O, no clock, no randomness but a seed: a simulator can drive it.
//! * `cluster`: what it asks of the cluster: metadata, the producer id and its epoch.
//! * `answers`: what comes back: batches end or are sent again.
//! * `partition`: what is known of the batches of one partition between their first request and their end.
//! * `expiry`: batches whose time is over, and the log lines of those that take long.
//! * `silent`: leaders that do not answer, and are left once another one leads.
//! * `idempotence`: producer id, epoch, sequence arithmetic (IDM-0 to IDM-16).
//! * `retry`: an answer's error to a verdict (RTY-2, IDM-8, IDM-11), as a pure function.
//! * `stops`: partitions that stand still, or whose records fail, until the application says how to go on.
//! * `purged`: what a purge drops, for its report.
//! * `split`: batches that a broker found too large are sent again in parts (ACC-22).
//! * `slow`: where a batch's time went, and what would help; a pure function.
//! * `innocents`: records that a broker did not mean are sent again without those that it named (ERR-3).
//! * `request`: requests as the core hands them out, and their frames.
//! * `turn`: one turn of the sender's loop, with what other threads asked for: the driver but for its sockets and clock.
//! * `driver`: the thread that owns the sockets and the clock.
//!
//! # The promise
//!
//! Every batch that came out of the accumulator ends exactly once, with a true outcome (CMPL-8): `NotWritten` only if no
//! attempt can have written it. A batch with an attempt of unknown fate keeps producer id, epoch and sequence for life
//! (IDM-16).

mod answers;
#[cfg(test)]
mod answers_tests;
mod cluster;
#[cfg(test)]
mod cluster_tests;
pub(crate) mod core;
pub(crate) mod driver;
#[cfg(test)]
mod ends_tests;
mod expiry;
mod idempotence;
mod innocents;
#[cfg(test)]
mod innocents_tests;
#[cfg(test)]
mod keeping_tests;
#[cfg(test)]
mod metrics_tests;
#[cfg(test)]
mod odd_tests;
mod partition;
#[cfg(test)]
mod pass_tests;
#[cfg(test)]
mod properties;
mod purged;
#[cfg(test)]
mod reports_tests;
pub(crate) mod request;
mod retry;
#[cfg(test)]
mod sequence_tests;
mod silent;
pub(crate) mod slow;
#[cfg(test)]
mod slow_tests;
mod split;
#[cfg(test)]
mod split_tests;
mod stops;
#[cfg(test)]
mod stops_tests;
#[cfg(test)]
mod tests;
pub(crate) mod turn;
#[cfg(test)]
mod ways_tests;
#[cfg(test)]
pub(crate) mod world;
