//! A Kafka producer: every accepted record gets a true outcome
