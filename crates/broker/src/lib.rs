//! A Kafka broker to embed, to test against, and to run on one machine
