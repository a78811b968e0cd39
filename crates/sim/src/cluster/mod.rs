//! Brokers, replication and a controller, as a state machine on virtual time.
