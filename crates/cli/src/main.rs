//! The rohrpost command: produce, consume, topics, broker.

fn main() {}
