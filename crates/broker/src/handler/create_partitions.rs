//! CreatePartitions (37): topics grow (M5). Checks and decisions are the controller's; the answer goes out when the new
//! partitions are served (M3), so there is nothing that `TimeoutMs` could end.

use rohrpost_protocol::messages::create_partitions::CreatePartitionsTopicResult;
use rohrpost_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, Mode, Outcome, read, respond};
use crate::controller::{ApiError, CreatePartitions, MorePartitions};

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    let request: CreatePartitionsRequest<'_> = read(input, version)?;
    let mut results: Vec<Result<(), ApiError>> = match mode {
        Mode::Refuse(code) => {
            request.topics.iter().map(|_| Err(ApiError::new(code, code.message()))).collect()
        }
        Mode::Serve => broker.metadata().create_partitions(&CreatePartitions {
            topics: request
                .topics
                .iter()
                .map(|topic| MorePartitions {
                    topic: topic.name.to_owned(),
                    count: topic.count,
                    assignments: topic
                        .assignments
                        .as_ref()
                        .map(|all| all.iter().map(|one| one.broker_ids.to_vec()).collect()),
                })
                .collect(),
            validate_only: request.validate_only,
        }),
    };
    // Q1: an entry per topic, whatever the controller did
    let missing = || {
        Err(ApiError::new(ErrorCode::UNKNOWN_SERVER_ERROR, "the controller gave no answer for this topic"))
    };
    results.resize_with(request.topics.len(), missing);
    let results = request.topics.iter().zip(&results).map(|(topic, result)| CreatePartitionsTopicResult {
        name: topic.name,
        error_code: result.as_ref().err().map_or(ErrorCode::NONE, |error| error.code),
        error_message: result.as_ref().err().map(|error| error.message.as_str()),
        ..Default::default()
    });
    let response = CreatePartitionsResponse { results: results.collect(), ..Default::default() };
    respond(&response, version, correlation_id)
}
