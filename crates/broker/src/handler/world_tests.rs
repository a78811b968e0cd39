//! A broker whose handlers are called directly, for what its clients cannot bring about alone: a handler that fails, and
//! metadata with other brokers in it.

use std::sync::Arc;

use rohrpost_protocol::messages::create_topics::CreatableTopicConfig;
use rohrpost_protocol::{
    ApiKey, Decoder, Message, Request as ProtocolRequest, ResponseHeader, VersionRange, encode_request,
};
use rohrpost_record::{BatchBuilder, Codec, HEADER_LEN, NO_HEADERS, Stamp, stamp};

use super::{Handlers, SERVED};
use crate::config::BrokerConfig;
use crate::controller::{
    BrokerHeartbeat, BrokerRegistration, CreateTopics, CreatedTopic, NewTopic, ReplicaAssignment,
};
use crate::metadata::{EndPoint, FeatureRange, METADATA_VERSION};
use crate::network::{Frame, Outcome, Request, Responder, ResponseQueue, Service};
use crate::replica::Partition;
use crate::server::{Broker, BrokerServer};

/// A broker in memory, id 1.
pub(super) struct World {
    server: BrokerServer,
    queue: Arc<ResponseQueue>,
    _poll: mio::Poll,
}

impl World {
    pub(super) fn new() -> World {
        let config = BrokerConfig::from_pairs([
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("auto.create.topics.enable", "false"),
            ("node.id", "1"),
        ]);
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        World {
            server: BrokerServer::start(config.unwrap()).unwrap(),
            queue: Arc::new(ResponseQueue::new(waker)),
            _poll: poll,
        }
    }

    pub(super) fn broker(&self) -> &Broker {
        self.server.broker()
    }

    pub(super) fn port(&self) -> i32 {
        i32::from(self.server.address().port())
    }

    /// Registers another broker, with one listener of this name, and lets it serve or not. It exists in metadata only.
    pub(super) fn register(&self, id: i32, listener: &str, serves: bool) {
        let end_point = EndPoint {
            name: listener.to_owned(),
            host: format!("broker-{id}"),
            port: 9000 + id as u16,
            security_protocol: 0,
        };
        let metadata = self.broker().metadata();
        let registration = BrokerRegistration {
            broker_id: id,
            cluster_id: metadata.image().cluster_id.to_string(),
            incarnation_id: rohrpost_protocol::Uuid([100 + id as u8; 16]),
            end_points: vec![end_point],
            features: vec![(
                "metadata.version".to_owned(),
                FeatureRange { min: METADATA_VERSION, max: METADATA_VERSION },
            )],
            rack: None,
            log_dirs: vec![rohrpost_protocol::Uuid([200 + id as u8; 16])],
            previous_broker_epoch: -1,
        };
        metadata.register_broker(&registration).unwrap();
        self.heartbeat(id, !serves);
    }

    /// Fences a broker or lets it serve.
    pub(super) fn heartbeat(&self, broker_id: i32, want_fence: bool) {
        let metadata = self.broker().metadata();
        let image = metadata.image();
        let heartbeat = BrokerHeartbeat {
            broker_id,
            broker_epoch: image.broker(broker_id).unwrap().epoch,
            current_metadata_offset: image.offset,
            want_fence,
            want_shut_down: false,
        };
        assert_eq!(metadata.broker_heartbeat(&heartbeat).unwrap().is_fenced, want_fence);
    }

    /// Creates a topic with these replicas for each partition.
    pub(super) fn create(&self, name: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) -> CreatedTopic {
        let assignments = replicas.iter().zip(0..);
        let topic = NewTopic {
            assignments: assignments
                .map(|(ids, partition)| ReplicaAssignment { partition, broker_ids: ids.to_vec() })
                .collect(),
            configs: configs.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect(),
            ..NewTopic::new(name, -1, -1)
        };
        let request = CreateTopics { topics: vec![topic], validate_only: false };
        self.broker().metadata().create_topics(&request).remove(0).unwrap()
    }

    /// Serves a request, or fails it as if its handler had panicked (G8).
    pub(super) fn handle<'a, R: ProtocolRequest<'a>>(
        &self,
        request: &R,
        version: i16,
        fails: bool,
    ) -> Outcome {
        let encoded = encode_request(request, version, 7, Some("test")).unwrap();
        let mut request = Request {
            frame: Frame::of(&encoded.bytes()[4..]),
            peer: ([127, 0, 0, 1], 1).into(),
            listener: "PLAINTEXT".into(),
            responder: Responder { queue: Arc::clone(&self.queue), slot: 0, serial: 0 },
        };
        let handlers = Handlers::new(Arc::clone(self.server.broker()));
        if fails { handlers.handle_panicked(&mut request) } else { handlers.handle(&mut request) }
    }

    /// The same, for a request that is answered at once: the body of its answer.
    pub(super) fn ask<'a, R: ProtocolRequest<'a>>(&self, request: &R, version: i16, fails: bool) -> Body {
        self.body::<R>(self.handle(request, version, fails), version)
    }

    /// The body of an answer to a request of this kind.
    pub(super) fn body<'a, R: ProtocolRequest<'a>>(&self, outcome: Outcome, version: i16) -> Body {
        let frame = match outcome {
            Outcome::Respond(response) => response.to_bytes(),
            Outcome::NoResponse => panic!("{} {version} has no answer", R::API_KEY.name()),
            Outcome::Close(why) => panic!("{} {version} closes: {why}", R::API_KEY.name()),
            Outcome::Wait(_) => panic!("{} {version} waits", R::API_KEY.name()),
        };
        let mut input = Decoder::new(&frame[4..]);
        let header = ResponseHeader::decode(&mut input, R::API_KEY.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, 7);
        let start = 4 + input.position();
        Body { bytes: frame[start..].to_vec(), version }
    }

    /// What has come through the responder since the last call.
    pub(super) fn late_answers(&self) -> Vec<Outcome> {
        let mut answers = Vec::new();
        self.queue.drain(&mut answers);
        answers.into_iter().map(|answer| answer.outcome).collect()
    }

    pub(super) fn partition(&self, topic: &str, index: i32) -> Arc<Partition> {
        self.server.partition(topic, index).unwrap()
    }
}

/// The body of an answer.
pub(super) struct Body {
    bytes: Vec<u8>,
    version: i16,
}

impl Body {
    pub(super) fn read<'a, M: Message<'a>>(&'a self) -> M {
        let mut input = Decoder::new(&self.bytes);
        let message = M::decode(&mut input, self.version).unwrap();
        input.finish().unwrap();
        message
    }
}

/// The versions of an API that are served.
pub(super) fn versions(api: ApiKey) -> impl Iterator<Item = i16> {
    let VersionRange { min, max } = SERVED.iter().find(|(key, _)| *key == api).unwrap().1;
    min..=max
}

/// A batch of one record.
pub(super) fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut bytes = vec![0; HEADER_LEN + 100];
    let len = builder.append(&mut bytes[HEADER_LEN..], 5, Some(b"key"), Some(b"value"), NO_HEADERS);
    bytes.truncate(HEADER_LEN + len);
    builder.write_header(bytes.first_chunk_mut().unwrap(), Codec::None, len, false);
    stamp(&mut bytes, [], Stamp::NONE);
    bytes
}

/// A setting of a topic in a request.
pub(super) fn config<'a>(name: &'a str, value: &'a str) -> CreatableTopicConfig<'a> {
    CreatableTopicConfig { name, value: Some(value), ..Default::default() }
}
