//! Partitioners that are known by the names of Kafka's classes (PAR-17).

use std::sync::Arc;

use super::{Partitioner, RoundRobin, UniformSticky};

/// `partitioner.class`: a partitioner that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PartitionerClass {
    /// By key, else sticky (KIP-794).
    #[default]
    BuiltIn,
    /// [`RoundRobin`].
    RoundRobin,
    /// [`UniformSticky`].
    UniformSticky,
}

/// Where Kafka's partitioners are, and were.
const PACKAGES: [&str; 2] =
    ["org.apache.kafka.clients.producer.", "org.apache.kafka.clients.producer.internals."];

impl PartitionerClass {
    /// By the class's name, with Kafka's package or without, and with or without `Partitioner` at its end. For a class that Kafka
    /// has removed there is a note, in words.
    pub(crate) fn named(name: &str) -> Result<(PartitionerClass, Option<&'static str>), String> {
        let package = PACKAGES.iter().rev().find(|package| name.starts_with(**package));
        let class = &name[package.map_or(0, |package| package.len())..];
        Ok(match class.strip_suffix("Partitioner").unwrap_or(class) {
            "" | "null" if package.is_none() && class != "Partitioner" => (PartitionerClass::BuiltIn, None),
            "RoundRobin" => (PartitionerClass::RoundRobin, None),
            // PAR-17
            "Default" => (
                PartitionerClass::BuiltIn,
                Some(
                    "Kafka has removed this class; the built-in partitioner does its work, and is the default",
                ),
            ),
            "UniformSticky" => (
                PartitionerClass::UniformSticky,
                Some(
                    "Kafka has removed this class, because it gives slow brokers more records; the default with \
                     partitioner.ignore.keys=true does not",
                ),
            ),
            _ => {
                return Err("not a partitioner that is known by name; RoundRobinPartitioner, \
                            UniformStickyPartitioner and DefaultPartitioner are, and one of your own is given to \
                            ProducerBuilder::partitioner"
                    .into());
            }
        })
    }

    /// Such a partitioner; `None`: none beside the built-in one.
    pub(crate) fn make(self, seed: u64) -> Option<Arc<dyn Partitioner>> {
        match self {
            PartitionerClass::BuiltIn => None,
            PartitionerClass::RoundRobin => Some(Arc::new(RoundRobin::new())),
            PartitionerClass::UniformSticky => Some(Arc::new(UniformSticky::seeded(seed))),
        }
    }
}
