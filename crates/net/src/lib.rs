//! A Kafka connection as a client sees it: frames, correlation, versions, names, reconnects, throttling
