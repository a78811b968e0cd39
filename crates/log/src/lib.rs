//! A partition's log in Kafka's on-disk format: segments, indexes, epochs, producer state, recovery
