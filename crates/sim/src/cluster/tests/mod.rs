//! The cluster by itself: what a naive client sees of it, and what the model promises.

mod client;
mod properties;
mod scenarios;
