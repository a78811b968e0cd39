//! The controller, the metadata image and the metadata log, from outside.

#![allow(clippy::unwrap_used)]

mod admin;
mod brokers;
mod image;
mod log;
mod snapshots;
mod support;
mod topics;
