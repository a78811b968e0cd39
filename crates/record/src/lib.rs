//! Kafka record batches, format 2: append, seal, stamp, patch, validate, iterate
