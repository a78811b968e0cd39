//! The stations of the record path one by one, without sockets and threads, so that their instructions can be counted
//! (`scripts/instructions`). Only with the feature `measure`; no part of the library's interface.
//!
//! The rig is a producer whose sender is played by the caller, with a clock that stands still: every run executes the same instructions.

use std::io::IoSlice;
use std::sync::Arc;

use rohrpost_net::Outgoing;
use rohrpost_record::Stamp;

use crate::accumulator::{Batch, Gate, HeadInfo, Partition};
use crate::metadata::{PartitionMetadata, Snapshot, TopicMetadata};
use crate::outcome::BatchResult;
use crate::partitioner::Partitioner;
use crate::producer::{Attached, Producer, Shared};
use crate::send::Topic;
use crate::sender::request::{Body, Framed, Produce, ProduceTopic, Request};

const TOPIC: &str = "measured";
const NODE: i32 = 1;
/// The Produce version of a current broker: topics by id.
const PRODUCE_VERSION: i16 = 13;

/// A producer without sender, and what it would have in its hands.
pub struct Rig {
    producer: Producer,
    topic: Topic,
    batches: Vec<Batch>,
    framed: Option<Framed>,
    sequence: i32,
}

impl Rig {
    /// Kafka's default settings, and a topic with so many partitions, led by one broker.
    ///
    /// # Panics
    /// If the defaults are no valid configuration, or the topic is not known: broken invariants.
    #[must_use]
    pub fn new(partitions: usize) -> Rig {
        Rig::with(partitions, None)
    }

    /// The same with a partitioner of the caller's own.
    ///
    /// # Panics
    /// As [`new`](Rig::new).
    #[must_use]
    pub fn with_partitioner(partitions: usize, partitioner: impl Partitioner + 'static) -> Rig {
        Rig::with(partitions, Some(Arc::new(partitioner)))
    }

    fn with(partitions: usize, partitioner: Option<Arc<dyn Partitioner>>) -> Rig {
        let config = Producer::builder("localhost:9092").check().expect("the defaults are valid");
        let mut shared = Shared::by_hand(config);
        shared.attach(Attached { partitioner, ..Attached::default() }).expect("nothing is opened");
        let producer = Producer::without_sender(shared);
        let partition = PartitionMetadata {
            leader: Some(NODE),
            leader_epoch: 0,
            sure_epoch: 0,
            replicas: Vec::new(),
            in_sync: Vec::new(),
        };
        let topic = TopicMetadata {
            name: TOPIC.into(),
            id: Default::default(),
            partitions: vec![partition; partitions],
        };
        let snapshot = Snapshot {
            version: 1,
            topics: [(topic.name.clone(), Arc::new(topic))].into(),
            ..Snapshot::default()
        };
        producer.shared().metadata.publish(Arc::new(snapshot));
        let topic = producer.topic_blocking(TOPIC).expect("the topic is known");
        Rig { producer, topic, batches: Vec::new(), framed: None, sequence: 0 }
    }

    /// The topic's handle: to append to.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The producer, to append by name to [`Rig::topic_name`].
    #[must_use]
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// The topic's name.
    #[must_use]
    pub fn topic_name(&self) -> &'static str {
        TOPIC
    }

    /// What the sender does to have batches for one request: it looks who has data, and takes one batch per partition. How many
    /// there were.
    pub fn close(&mut self) -> usize {
        let shared = self.producer.shared();
        let snapshot = shared.metadata.snapshot();
        let now_ms = shared.clock.last_ms();
        let ready = shared.accumulator.ready(now_ms, &snapshot, &Open);
        if ready.nodes.contains(&NODE) {
            let limit = shared.config.max_request_size;
            shared.accumulator.drain(now_ms, &snapshot, NODE, limit, &Open, &mut self.batches);
        }
        self.batches.len()
    }

    /// Producer id, epoch, sequence and checksum of each batch.
    pub fn stamp(&mut self) {
        for batch in &mut self.batches {
            batch.set_stamp(Stamp { producer_id: 7, producer_epoch: 0, base_sequence: self.sequence });
            self.sequence = rohrpost_record::increment_sequence(self.sequence, batch.record_count() as i32);
        }
    }

    /// The request with all batches, and the list of what is to be written. How many pieces that are.
    ///
    /// # Panics
    /// If the request cannot be encoded: a broken invariant.
    pub fn encode(&mut self) -> usize {
        let shared = self.producer.shared();
        let topic = ProduceTopic {
            name: TOPIC.into(),
            id: Default::default(),
            batches: std::mem::take(&mut self.batches),
        };
        let produce = Produce {
            acks: -1,
            timeout_ms: shared.config.request_timeout_ms as i32,
            trip: Box::default(),
            topics: vec![topic],
        };
        let request = Request { version: PRODUCE_VERSION, body: Body::Produce(produce) };
        let framed = request.frame(1, &shared.config.client_id).ok().expect("a request of plain batches");
        let mut slices: Vec<IoSlice<'_>> = Vec::new();
        framed.slices(&mut slices);
        let count = slices.len();
        drop(slices);
        self.framed = Some(framed);
        count
    }

    /// The bytes of the request's batches, as a broker gets them.
    #[must_use]
    pub fn written(&self) -> Vec<Vec<u8>> {
        let batches = self.framed.iter().flat_map(|framed| match &framed.request.body {
            Body::Produce(produce) => produce.topics.as_slice(),
            _ => &[],
        });
        let bytes = |batch: &Batch| {
            let mut slices = Vec::new();
            batch.slices(&mut slices);
            slices.iter().flat_map(|slice| slice.iter().copied()).collect()
        };
        batches.flat_map(|topic| &topic.batches).map(bytes).collect()
    }

    /// Takes the batches out of the request: the answer has come.
    pub fn take_back(&mut self) {
        if let Some(Body::Produce(produce)) = self.framed.take().map(|framed| framed.request.body) {
            self.batches.extend(produce.topics.into_iter().flat_map(|topic| topic.batches));
        }
    }

    /// Every batch goes back into its queue to be sent again, as after an answer that says so.
    pub fn put_back(&mut self) {
        let shared = self.producer.shared();
        let now_ms = shared.clock.last_ms();
        for batch in self.batches.drain(..) {
            shared.accumulator.reenqueue(batch, now_ms, now_ms);
        }
    }

    /// Every batch is acknowledged: its records get their outcome, its memory goes back.
    pub fn complete(&mut self) {
        let accumulator = &self.producer.shared().accumulator;
        for batch in self.batches.drain(..) {
            accumulator.complete(batch, BatchResult::Acked { base_offset: 0, log_append_time: -1 });
        }
    }

    /// Everything that was appended goes the whole way, full batches or not.
    pub fn deliver_all(&mut self) {
        let flush = self.producer.shared().accumulator.begin_flush();
        while self.close() > 0 {
            self.complete();
        }
        drop(flush);
    }
}

/// Holds nothing back.
struct Open;

impl Gate for Open {
    fn may_send(&self, _: &Partition, _: HeadInfo) -> bool {
        true
    }
}
