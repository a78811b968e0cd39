//! ElectLeaders (43): elections on request (M11). Decided by the controller; the answer goes out when the new leaders lead.

use rohrpost_protocol::messages::elect_leaders::{PartitionResult, ReplicaElectionResult};
use rohrpost_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, Mode, Outcome, read, respond};
use crate::controller::{ApiError, ElectLeaders, Election};

/// The election types.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    let request: ElectLeadersRequest<'_> = read(input, version)?;
    let asked = request.topic_partitions.as_ref().map(|topics| {
        let partitions = topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.topic.to_owned(), *p)));
        partitions.collect::<Vec<_>>()
    });
    let outcome = match (mode, request.election_type) {
        (Mode::Refuse(code), _) => Err(ApiError::new(code, code.message())),
        (Mode::Serve, PREFERRED | UNCLEAN) => broker.metadata().elect_leaders(&ElectLeaders {
            unclean: request.election_type == UNCLEAN,
            partitions: asked.clone(),
        }),
        (Mode::Serve, other) => Err(ApiError::new(
            ErrorCode::INVALID_REQUEST,
            format!("There is no election type {other}: 0 is preferred, 1 is unclean."),
        )),
    };
    // a failure of all of them is told at top level, and in each partition that was named (version 0 has only these)
    let (error_code, elections) = match outcome {
        Ok(elections) => (ErrorCode::NONE, elections),
        Err(error) => {
            let failed = |(topic, partition)| Election { topic, partition, result: Err(error.clone()) };
            (error.code, asked.unwrap_or_default().into_iter().map(failed).collect())
        }
    };
    let groups = elections.chunk_by(|a, b| a.topic == b.topic);
    let replica_election_results = groups.map(|group| ReplicaElectionResult {
        topic: &group[0].topic,
        partition_result: group.iter().map(entry).collect(),
        ..Default::default()
    });
    let response = ElectLeadersResponse {
        error_code: if version >= 1 { error_code } else { ErrorCode::NONE },
        replica_election_results: replica_election_results.collect(),
        ..Default::default()
    };
    respond(&response, version, correlation_id)
}

fn entry(election: &Election) -> PartitionResult<'_> {
    let error = election.result.as_ref().err();
    PartitionResult {
        partition_id: election.partition,
        error_code: error.map_or(ErrorCode::NONE, |error| error.code),
        error_message: error.map(|error| error.message.as_str()),
        ..Default::default()
    }
}
