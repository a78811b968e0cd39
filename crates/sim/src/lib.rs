//! The simulated world: the producer on virtual time, against brokers that use our broker's own validation, producer state and log.
//! One seed decides everything: the same seed is the same story.
//!
//! ```text
//!  users ──────── Producer, Delivery, Permit, flush, close ────────┐          one clock, one thread, one seed
//!  (user)         the public face, as in an application            │
//!                                                                  ▼
//!  plan ──► world ──► sender's turns (rohrpost::simulate) ──► network ──► cluster: brokers, replication, controller
//!           │  who runs next, and when                        bytes that are late, lost, cut
//!           ▼
//!  history ──► checker ──► violations ──► shrink ──► a short story
//! ```
//!
//! * [`plan`]: what a seed means: settings, users, faults and their times;
//! * [`world`]: runs a plan; [`tasks`] are the users' executor, [`trace`] the digest of what happened;
//! * [`user`], [`network`], [`cluster`]: who takes part;
//! * [`history`], [`promises`] and [`checker`]: what users saw, what was promised, and whether it was kept;
//!   [`bounds`]: what it may cost;
//! * [`runner`]: many seeds; [`shrink`]: less of one; [`table`]: how soon a broken rule is noticed.

pub mod bounds;
pub mod checker;
pub mod cluster;
pub mod history;
pub mod network;
pub mod plan;
pub mod promises;
pub mod runner;
pub mod shrink;
pub mod table;
pub mod tasks;
pub mod trace;
pub mod user;
pub mod world;
