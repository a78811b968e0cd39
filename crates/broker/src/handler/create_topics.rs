//! CreateTopics (19): checks and decisions are the controller's (M1 to M3); here they get their form on the wire.

use rohrpost_protocol::messages::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, Mode, Outcome, read, respond};
use crate::controller::{ApiError, CreateTopics, CreatedTopic, NewTopic, ReplicaAssignment};

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    let request: CreateTopicsRequest<'_> = read(input, version)?;
    let mut results: Vec<Result<CreatedTopic, ApiError>> = match mode {
        Mode::Refuse(code) => {
            request.topics.iter().map(|_| Err(ApiError::new(code, code.message()))).collect()
        }
        Mode::Serve => broker.metadata().create_topics(&CreateTopics {
            topics: request.topics.iter().map(wanted).collect(),
            validate_only: request.validate_only,
        }),
    };
    // Q1: an entry per topic, whatever the controller did
    let missing = || {
        Err(ApiError::new(ErrorCode::UNKNOWN_SERVER_ERROR, "the controller gave no answer for this topic"))
    };
    results.resize_with(request.topics.len(), missing);
    let topics =
        request.topics.iter().zip(&results).map(|(topic, result)| entry(topic.name, result)).collect();
    respond(&CreateTopicsResponse { topics, ..Default::default() }, version, correlation_id)
}

fn wanted(topic: &CreatableTopic<'_>) -> NewTopic {
    NewTopic {
        name: topic.name.to_owned(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|a| ReplicaAssignment { partition: a.partition_index, broker_ids: a.broker_ids.to_vec() })
            .collect(),
        configs: topic.configs.iter().map(|c| (c.name.to_owned(), c.value.map(str::to_owned))).collect(),
    }
}

fn entry<'a>(name: &'a str, result: &'a Result<CreatedTopic, ApiError>) -> CreatableTopicResult<'a> {
    match result {
        Ok(created) => CreatableTopicResult {
            name,
            topic_id: created.id,
            error_message: None,
            num_partitions: created.partitions,
            replication_factor: created.replication_factor,
            configs: Some(
                created
                    .configs
                    .iter()
                    .map(|config| CreatableTopicConfigs {
                        name: config.name,
                        value: config.value.as_deref(),
                        config_source: config.source.id(),
                        ..Default::default()
                    })
                    .collect(),
            ),
            ..Default::default()
        },
        Err(error) => CreatableTopicResult {
            name,
            error_code: error.code,
            error_message: Some(&error.message),
            // an empty list, not null: null means "you may not see them"
            configs: Some(Vec::new()),
            ..Default::default()
        },
    }
}
