//! The Kafka protocol: frames, headers, API versions, error codes, messages, metadata-log records
