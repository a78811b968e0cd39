//! A topic as those see it who choose among its partitions: who leads them, from which rack, how much is queued.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::accumulator::TopicState;
use crate::metadata::{BrokerNode, TopicMetadata};

/// What the partitions of a topic are, worked out once for each answer of the cluster.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) metadata: Arc<TopicMetadata>,
    /// By partition: where its leader stands.
    racks: Vec<Option<Arc<str>>>,
    /// Partitions with a leader (PAR-5), by number.
    available: Vec<u32>,
    /// Of these, the ones led from the client's rack (PAR-14). Empty: racks do not count, or no such partition is available.
    near: Vec<u32>,
}

/// The cluster's brokers, and the client's rack if the sticky choice is to go by it.
#[derive(Clone, Copy)]
pub(crate) struct Brokers<'a> {
    pub(crate) nodes: &'a BTreeMap<i32, BrokerNode>,
    pub(crate) own_rack: Option<&'a str>,
}

impl Layout {
    pub(crate) fn new(metadata: &Arc<TopicMetadata>, brokers: Brokers<'_>) -> Layout {
        let rack_of = |leader: Option<i32>| brokers.nodes.get(&leader?)?.rack.clone();
        let racks: Vec<_> = metadata.partitions.iter().map(|partition| rack_of(partition.leader)).collect();
        let led = metadata.partitions.iter().zip(0..).filter(|(partition, _)| partition.leader.is_some());
        let available: Vec<u32> = led.map(|(_, index)| index).collect();
        let is_near =
            |index: &u32| brokers.own_rack.is_some_and(|own| racks[*index as usize].as_deref() == Some(own));
        let near = available.iter().copied().filter(is_near).collect();
        Layout { metadata: metadata.clone(), racks, available, near }
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.metadata.partitions.len() as u32
    }

    /// Among which the sticky choice is made: those led from the client's rack, else those with a leader (PAR-9, PAR-14). Empty:
    /// among all.
    pub(crate) fn candidates(&self) -> &[u32] {
        if self.near.is_empty() { &self.available } else { &self.near }
    }
}

/// A topic as a [`Partitioner`](super::Partitioner) sees it (PAR-18): of one answer of the cluster, so that all it says fits together.
pub struct TopicView<'a> {
    state: &'a TopicState,
    layout: Option<Arc<Layout>>,
    partitions: u32,
}

impl<'a> TopicView<'a> {
    /// `known`: its partitions, if the metadata has gone meanwhile.
    pub(crate) fn new(state: &'a TopicState, known: u32) -> TopicView<'a> {
        let layout = state.layout();
        let partitions = layout.as_ref().map_or(known, |layout| layout.partitions());
        TopicView { state, layout, partitions }
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.state.name()
    }

    /// How many partitions it has, with leader or without, numbered from 0.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The partitions that have a leader (PAR-5), by number.
    #[must_use]
    pub fn available(&self) -> &[u32] {
        self.layout.as_ref().map_or(&[], |layout| &layout.available)
    }

    /// The broker that leads a partition; `None` while there is none, or none that can be reached.
    #[must_use]
    pub fn leader(&self, partition: u32) -> Option<i32> {
        self.layout.as_ref()?.metadata.partitions.get(partition as usize)?.leader
    }

    /// The rack of the broker that leads a partition, if it says one.
    #[must_use]
    pub fn leader_rack(&self, partition: u32) -> Option<&str> {
        self.layout.as_ref()?.racks.get(partition as usize)?.as_deref()
    }

    /// Batches that wait in this producer for a partition, the one that is being filled included. Takes the partition's lock for a
    /// moment: ask for those that matter, not for all with each record.
    #[must_use]
    pub fn queued_batches(&self, partition: u32) -> usize {
        self.state.partition(partition).map_or(0, |partition| partition.queue.lock().batches.len())
    }
}

impl fmt::Debug for TopicView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicView")
            .field("topic", &self.topic())
            .field("partitions", &self.partitions)
            .field("available", &self.available())
            .finish()
    }
}
