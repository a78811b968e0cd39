//! What the broker answers: one file per API. Here is the gate that every request passes, and what all answers share.
//!
//! Promises: a request that the gate refuses closes its connection with one log line (G1, G2); every other one gets exactly one
//! entry per requested item, in the request's order, and an error of one item never spoils another (Q1, Q2); a handler that fails
//! answers UNKNOWN_SERVER_ERROR in every place that has an error field (G8).

mod alter_configs;
pub(crate) mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod fetch_session;
mod find_coordinator;
pub(crate) mod init_producer_id;
mod list_offsets;
mod list_partition_reassignments;
pub(crate) mod metadata;
mod offset_for_leader_epoch;
pub(crate) mod produce;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rohrpost_protocol as protocol;
use rohrpost_protocol::{ApiKey, Decoder, ErrorCode, Message, RequestHeader, VersionRange, encode_response};

use crate::controller::ApiError;
use crate::network::{Frame, Outcome, Pending, Request, Responder, Response, Route, Service, Waiter};
use crate::server::Broker;

pub(crate) use fetch::FetchSessions;
pub(crate) use init_producer_id::ProducerIds;

/// The APIs that are served, in the versions that are accepted. Exactly these are advertised (E12, G5), except that Produce is
/// listed from 0: old librdkafka looks at the low end. Low ends stay for clients that do not know newer versions (V1, V2, V3).
pub const SERVED: &[(ApiKey, VersionRange)] = &[
    (ApiKey::Produce, VersionRange::new(3, 13)),
    (ApiKey::Fetch, VersionRange::new(4, 18)),
    (ApiKey::ListOffsets, VersionRange::new(1, 11)),
    (ApiKey::Metadata, VersionRange::new(0, 13)),
    (ApiKey::FindCoordinator, VersionRange::new(0, 6)),
    (ApiKey::ApiVersions, VersionRange::new(0, 4)),
    (ApiKey::CreateTopics, VersionRange::new(2, 7)),
    (ApiKey::DeleteTopics, VersionRange::new(1, 6)),
    (ApiKey::DeleteRecords, VersionRange::new(0, 2)),
    (ApiKey::InitProducerId, VersionRange::new(0, 5)),
    (ApiKey::OffsetForLeaderEpoch, VersionRange::new(2, 4)),
    (ApiKey::DescribeConfigs, VersionRange::new(1, 4)),
    (ApiKey::AlterConfigs, VersionRange::new(0, 2)),
    (ApiKey::DescribeLogDirs, VersionRange::new(1, 5)),
    (ApiKey::CreatePartitions, VersionRange::new(0, 3)),
    (ApiKey::ElectLeaders, VersionRange::new(0, 2)),
    (ApiKey::IncrementalAlterConfigs, VersionRange::new(0, 1)),
    (ApiKey::ListPartitionReassignments, VersionRange::new(0, 0)),
    (ApiKey::DescribeCluster, VersionRange::new(0, 2)),
    (ApiKey::DescribeTopicPartitions, VersionRange::new(0, 0)),
];

/// Internal topics: clients may not write to them (P5), metadata marks them.
pub const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// What everybody may do here, as bits by the number of the operation: with topics, and with the cluster. There is no access
/// control yet (A2: the default is to allow all).
const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// The broker's side of the network.
pub(crate) struct Handlers {
    broker: Arc<Broker>,
}

/// What a handler knows of the request beside its body.
#[derive(Clone, Copy)]
struct Context<'a> {
    broker: &'a Arc<Broker>,
    version: i16,
    correlation_id: i32,
    /// Null counts as empty (G7).
    client_id: &'a str,
    /// Name of the listener that the request came in on (M8).
    listener: &'a Arc<str>,
    peer: SocketAddr,
    responder: &'a Responder,
}

/// How a request that passed the gate is to be answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// By doing it.
    Serve,
    /// With this error everywhere (G8).
    Refuse(ErrorCode),
}

impl Handlers {
    pub(crate) fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }

    fn dispatch(&self, request: &mut Request, mode: Mode) -> Outcome {
        match self.gate(request, mode) {
            Ok(outcome) => outcome,
            Err(reason) => Outcome::Close(reason),
        }
    }

    /// Chapter 3: reads the header, and the body in the handler's file.
    fn gate(&self, request: &mut Request, mode: Mode) -> Result<Outcome, String> {
        let Request { frame, peer, listener, responder } = request;
        let mut input = Decoder::new(frame.bytes());
        let (api, header) = RequestHeader::read(&mut input).map_err(|error| error.to_string())?; // G1
        let version = header.api_version;
        let client_id = header.client_id.unwrap_or(""); // G7
        let served =
            SERVED.iter().find(|(key, _)| *key == api).map_or(VersionRange::NONE, |(_, range)| *range);
        // G1; ApiVersions answers a version that it does not know (G3)
        if api != ApiKey::ApiVersions && !served.contains(version) {
            return Err(format!("{} version {version} is not served (client id {client_id:?})", api.name()));
        }
        let context = Context {
            broker: &self.broker,
            version,
            correlation_id: header.correlation_id,
            client_id,
            listener,
            peer: *peer,
            responder,
        };
        match api {
            ApiKey::ApiVersions => api_versions::handle(context, &mut input, mode),
            ApiKey::Metadata => metadata::handle(context, &mut input, mode),
            ApiKey::Fetch => fetch::handle(context, &mut input, mode),
            ApiKey::ListOffsets => list_offsets::handle(context, &mut input, mode),
            ApiKey::InitProducerId => init_producer_id::handle(context, &mut input, mode),
            ApiKey::CreateTopics => create_topics::handle(context, &mut input, mode),
            ApiKey::DeleteTopics => delete_topics::handle(context, &mut input, mode),
            ApiKey::DeleteRecords => delete_records::handle(context, &mut input, mode),
            ApiKey::CreatePartitions => create_partitions::handle(context, &mut input, mode),
            ApiKey::DescribeConfigs => describe_configs::handle(context, &mut input, mode),
            ApiKey::AlterConfigs => alter_configs::handle_all(context, &mut input, mode),
            ApiKey::IncrementalAlterConfigs => alter_configs::handle_incremental(context, &mut input, mode),
            ApiKey::DescribeCluster => describe_cluster::handle(context, &mut input, mode),
            ApiKey::DescribeTopicPartitions => describe_topic_partitions::handle(context, &mut input, mode),
            ApiKey::DescribeLogDirs => describe_log_dirs::handle(context, &mut input, mode),
            ApiKey::FindCoordinator => find_coordinator::handle(context, &mut input, mode),
            ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::handle(context, &mut input, mode),
            ApiKey::ElectLeaders => elect_leaders::handle(context, &mut input, mode),
            ApiKey::ListPartitionReassignments => {
                list_partition_reassignments::handle(context, &mut input, mode)
            }
            ApiKey::Produce => {
                // batches are changed in place, so the frame is borrowed anew
                let is_admin = client_id == "__admin_client";
                let body = input.position();
                let context = produce::ProduceContext {
                    broker: &self.broker,
                    version,
                    correlation_id: header.correlation_id,
                    is_admin,
                    listener,
                    responder,
                };
                produce::handle(context, frame, body, mode)
            }
            _ => Err(format!("{} has no handler", api.name())),
        }
    }
}

impl Service for Handlers {
    fn route(&self, frame: &[u8]) -> Route {
        let api = frame.first_chunk().and_then(|key| ApiKey::from_i16(i16::from_be_bytes(*key)));
        match api {
            Some(
                ApiKey::CreateTopics
                | ApiKey::DeleteTopics
                | ApiKey::CreatePartitions
                | ApiKey::AlterConfigs
                | ApiKey::IncrementalAlterConfigs
                | ApiKey::ElectLeaders,
            ) => Route::Handler,
            Some(ApiKey::ApiVersions) | None => Route::Inline,
            // in memory nothing blocks, so the way over a handler thread would only cost time
            Some(_) if self.broker.storage_may_block() => Route::Handler,
            Some(_) => Route::Inline,
        }
    }

    fn handle(&self, request: &mut Request) -> Outcome {
        self.dispatch(request, Mode::Serve)
    }

    fn handle_panicked(&self, request: &mut Request) -> Outcome {
        tracing::error!(peer = %request.peer, "a request handler panicked; the client gets UNKNOWN_SERVER_ERROR");
        self.dispatch(request, Mode::Refuse(ErrorCode::UNKNOWN_SERVER_ERROR)) // G8
    }

    fn tick(&self, now: Instant) -> Instant {
        self.broker.tick(now)
    }
}

/// Whether a resource of settings is this broker.
///
/// # Errors
/// INVALID_REQUEST for another broker, which only that broker knows the settings of, and for what is no broker id.
fn check_broker_name(broker: &Broker, name: &str) -> Result<(), ApiError> {
    let node_id = broker.node_id();
    let message = match name.parse::<i32>() {
        Ok(id) if id == node_id => return Ok(()),
        Ok(id) => format!("Unexpected broker id, expected {node_id} or empty string, but received {id}"),
        Err(_) => format!("Broker id must be an integer, but it is: {name}"),
    };
    Err(ApiError::new(ErrorCode::INVALID_REQUEST, message))
}

/// Reads a body. Bytes after it are ignored (G2), and so are tagged fields that the version does not know (V5).
fn read<'a, M: Message<'a>>(input: &mut Decoder<'a>, version: i16) -> Result<M, String> {
    M::decode(input, version).map_err(|error| error.to_string())
}

/// An answer without records.
fn respond<'a, R: protocol::Response<'a>>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Result<Outcome, String> {
    respond_with(response, version, correlation_id, Vec::new())
}

/// An answer whose gaps are filled with `records`, in order. There are no quotas: ThrottleTimeMs is 0 in every answer, and the
/// network keeps no connection unread after one (N12).
fn respond_with<'a, R: protocol::Response<'a>>(
    response: &R,
    version: i16,
    correlation_id: i32,
    records: Vec<Bytes>,
) -> Result<Outcome, String> {
    let (head, gaps) = encode_response(response, version, correlation_id)
        .map_err(|error| format!("its answer cannot be written: {error}"))?
        .into_parts();
    assert_eq!(gaps.len(), records.len(), "each gap of a response has its records");
    let records = gaps.iter().map(|gap| gap.at).zip(records).collect();
    Ok(Outcome::Respond(Response::new(head, records)))
}

/// A request that is answered by an event or after `wait_ms`, whatever comes first (W1).
fn wait(broker: &Broker, waiter: Arc<dyn Waiter>, wait_ms: i32) -> Outcome {
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
    // its end takes a partition's lock, and may read from its log
    let route = if broker.storage_may_block() { Route::Handler } else { Route::Inline };
    Outcome::Wait(Pending { waiter, deadline, route })
}

/// Where `inner`, a part of `outer`, lies in it.
fn range_in(outer: &[u8], inner: &[u8]) -> std::ops::Range<usize> {
    if inner.is_empty() {
        return 0..0; // an empty slice may point anywhere
    }
    let start = (inner.as_ptr() as usize).wrapping_sub(outer.as_ptr() as usize);
    let range = start..start.wrapping_add(inner.len());
    assert!(
        start < outer.len() && range.end <= outer.len(),
        "a decoded slice lies in the frame that it came from"
    );
    range
}

#[cfg(test)]
mod produce_wait_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod two_brokers_tests;
#[cfg(test)]
mod world_tests;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a request to a broker that was told that it does not lead "t", and gives the frame of its answer.
    fn ask_a_follower(request: &[u8]) -> (Vec<u8>, i32) {
        use std::io::{Read, Write};
        let config = crate::config::BrokerConfig::from_pairs([
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("num.network.threads", "1"),
        ])
        .unwrap();
        let server = crate::server::BrokerServer::start(config).unwrap();
        server.create_topic("t", 1, 1).unwrap();
        server
            .partition("t", 0)
            .unwrap()
            .set_role(crate::replica::Role { min_in_sync: 1, ..Default::default() });
        let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
        stream.write_all(request).unwrap();
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut frame = vec![0; i32::from_be_bytes(size) as usize];
        stream.read_exact(&mut frame).unwrap();
        (frame, i32::from(server.address().port()))
    }

    #[test]
    fn who_does_not_lead_names_the_leader() {
        // P13, M8
        use protocol::messages::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
        let mut batch = vec![0; 61];
        batch[8..12].copy_from_slice(&49i32.to_be_bytes());
        batch[16] = 2;
        let data =
            PartitionProduceData { records: Some(protocol::Records::Bytes(&batch)), ..Default::default() };
        let request = ProduceRequest {
            transactional_id: None,
            acks: 1,
            topic_data: vec![TopicProduceData {
                name: "t",
                partition_data: vec![data],
                ..Default::default()
            }],
            ..Default::default()
        };
        for version in [9, 10, 12] {
            let encoded = protocol::encode_request(&request, version, 7, None).unwrap();
            let (frame, port) = ask_a_follower(encoded.bytes());
            let response = ProduceResponse::decode(&mut Decoder::new(&frame[5..]), version).unwrap();
            let answer = &response.responses[0].partition_responses[0];
            assert_eq!(answer.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
            let hinted = version >= 10;
            assert_eq!(answer.current_leader.leader_id, if hinted { 1 } else { -1 });
            let ports: Vec<i32> = response.node_endpoints.iter().map(|node| node.port).collect();
            assert_eq!(ports, if hinted { vec![port] } else { Vec::new() });
        }
    }

    #[test]
    fn a_part_is_found_in_its_whole() {
        let whole = [1u8, 2, 3, 4];
        assert_eq!(range_in(&whole, &whole[1..3]), 1..3);
        assert_eq!(range_in(&whole, &whole), 0..4);
        assert_eq!(range_in(&whole, &[]), 0..0);
    }
}
