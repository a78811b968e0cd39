//! Derives size, encode and bounded decode of a Kafka message for every version
