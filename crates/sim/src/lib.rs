//! The simulated world: the producer's cores on virtual time, against brokers that use our broker's own validation, producer
//! state and log. One seed decides everything: the same seed is the same story.

pub mod cluster;
pub mod table;
