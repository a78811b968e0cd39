//! Requests as the core hands them out, and their frames.
//!
//! A Produce request owns its batches: as long as the network has the request, nobody else can touch their memory (ACC-25).
//! The frame is encoded around them: the head and what lies between the batches is one buffer, the batches are gaps in it.

use std::io::IoSlice;
use std::sync::Arc;

use rohrpost_protocol::messages::{
    InitProducerIdRequest, MetadataRequest, MetadataRequestTopic, PartitionProduceData, ProduceRequest,
    TopicProduceData,
};
use rohrpost_protocol::{ApiKey, EncodeError, Gap, Records, Uuid, encode_request};

use super::slow::Trip;
use crate::accumulator::Batch;
use crate::metadata::Question;

/// A request without frame: what the core decides. Comes back with the answer or the end of the connection.
pub(crate) struct Request {
    pub(crate) version: i16,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Produce(Produce),
    Metadata(Question),
    InitProducerId,
}

/// Batches for one broker, at most one per partition.
pub(crate) struct Produce {
    pub(crate) acks: i16,
    pub(crate) timeout_ms: i32,
    /// Boxed: what carries a request on stays small.
    pub(crate) trip: Box<Trip>,
    pub(crate) topics: Vec<ProduceTopic>,
}

/// SND-9: name and id belong together as they did when the request was made; the topic may be created anew before the
/// answer.
pub(crate) struct ProduceTopic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    pub(crate) batches: Vec<Batch>,
}

/// A request with its frame, as the network has it.
pub(crate) struct Framed {
    pub(crate) request: Request,
    head: Vec<u8>,
    gaps: Vec<Gap>,
}

impl Request {
    pub(crate) fn api(&self) -> ApiKey {
        match self.body {
            Body::Produce(_) => ApiKey::Produce,
            Body::Metadata(_) => ApiKey::Metadata,
            Body::InitProducerId => ApiKey::InitProducerId,
        }
    }

    /// Writes the frame; the batches stay where they are.
    pub(crate) fn frame(
        mut self,
        correlation_id: i32,
        client_id: &str,
    ) -> Result<Framed, Box<(Request, EncodeError)>> {
        let version = self.version;
        let client_id = Some(client_id);
        if let Body::Produce(produce) = &mut self.body {
            produce.trip.correlation_id = correlation_id;
        }
        let encoded = match &self.body {
            Body::Produce(produce) => encode_request(&produce.message(), version, correlation_id, client_id),
            Body::Metadata(question) => {
                encode_request(&metadata_message(question, version), version, correlation_id, client_id)
            }
            // IDM-1
            Body::InitProducerId => {
                let message = InitProducerIdRequest {
                    transactional_id: None,
                    transaction_timeout_ms: i32::MAX,
                    ..Default::default()
                };
                encode_request(&message, version, correlation_id, client_id)
            }
        };
        match encoded {
            Ok(encoder) => {
                let (head, gaps) = encoder.into_parts();
                Ok(Framed { request: self, head, gaps })
            }
            Err(error) => Err(Box::new((self, error))),
        }
    }
}

impl Produce {
    fn message(&self) -> ProduceRequest<'_> {
        let topics = self.topics.iter().map(|topic| TopicProduceData {
            name: &topic.name,
            topic_id: topic.id,
            partition_data: topic
                .batches
                .iter()
                .map(|batch| PartitionProduceData {
                    index: batch.partition().index(),
                    records: Some(Records::Elsewhere { len: batch.encoded_len() }),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        // SND-5
        ProduceRequest {
            transactional_id: None,
            acks: self.acks,
            timeout_ms: self.timeout_ms,
            topic_data: topics.collect(),
            ..Default::default()
        }
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.topics.iter().flat_map(|topic| &topic.batches)
    }
}

fn metadata_message(question: &Question, version: i16) -> MetadataRequest<'_> {
    let topics =
        question.topics.iter().map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() });
    MetadataRequest {
        topics: Some(topics.collect()),
        // Below 4 there is no such field: the broker creates as it likes, and the message says what it means.
        allow_auto_topic_creation: version < 4 || question.may_create,
        ..Default::default()
    }
}

impl rohrpost_net::Outgoing for Framed {
    fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
        let mut at = 0;
        if let Body::Produce(produce) = &self.request.body {
            for (gap, batch) in self.gaps.iter().zip(produce.batches()) {
                out.push(IoSlice::new(&self.head[at..gap.at]));
                batch.slices(out);
                at = gap.at;
            }
        }
        if at < self.head.len() {
            out.push(IoSlice::new(&self.head[at..]));
        }
    }

    fn note_written(&mut self, now_ms: u64) {
        if let Body::Produce(produce) = &mut self.request.body {
            produce.trip.written_ms = Some(now_ms);
        }
    }

    fn expects_response(&self) -> bool {
        // SND-8
        !matches!(&self.request.body, Body::Produce(produce) if produce.acks == 0)
    }
}
