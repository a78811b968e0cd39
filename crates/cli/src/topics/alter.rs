//! `rohrpost topics alter`: add partitions to a topic, change its settings.
//!
//! Two requests, each of which does all or nothing: first the settings, which are checked as a whole, then the partitions, which
//! can never be taken back.

use rohrpost_net::{Client, Target as Node};
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::create_partitions::CreatePartitionsTopic;
use rohrpost_protocol::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use rohrpost_protocol::messages::{CreatePartitionsRequest, IncrementalAlterConfigsRequest};

use crate::failure::Failure;

/// What to change.
pub(crate) struct Changes<'a> {
    /// The new number of partitions.
    pub(crate) partitions: Option<i32>,
    /// Settings to set: key and value.
    pub(crate) set: &'a [(&'a str, &'a str)],
    /// Settings to delete, so that the broker's default holds again.
    pub(crate) unset: &'a [String],
    /// Check everything, change nothing.
    pub(crate) check: bool,
}

/// How long the cluster may take. Milliseconds.
const TIMEOUT_MS: i32 = 30_000;
const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;

pub(crate) fn alter(client: &mut Client, topic: &str, changes: &Changes<'_>) -> Result<(), Failure> {
    if !changes.set.is_empty() || !changes.unset.is_empty() {
        alter_settings(client, topic, changes)?;
    }
    match changes.partitions {
        Some(count) => add_partitions(client, topic, count, changes.check),
        None => Ok(()),
    }
}

fn alter_settings(client: &mut Client, topic: &str, changes: &Changes<'_>) -> Result<(), Failure> {
    let set = changes.set.iter().map(|&(name, value)| AlterableConfig {
        name,
        config_operation: SET,
        value: Some(value),
        ..Default::default()
    });
    let unset = changes.unset.iter().map(|name| AlterableConfig {
        name,
        config_operation: DELETE,
        value: None,
        ..Default::default()
    });
    let resource = AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: topic,
        configs: set.chain(unset).collect(),
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![resource],
        validate_only: changes.check,
        ..Default::default()
    };
    let response = client.call(Node::Controller, &request).map_err(Failure::run)?;
    let answer = response.decode::<IncrementalAlterConfigsRequest<'_>>().map_err(Failure::run)?;
    let result = answer.responses.first().map(|result| (result.error_code, result.error_message));
    check(topic, result)
}

fn add_partitions(client: &mut Client, topic: &str, count: i32, check_only: bool) -> Result<(), Failure> {
    let more = CreatePartitionsTopic { name: topic, count, assignments: None, ..Default::default() };
    let request = CreatePartitionsRequest {
        topics: vec![more],
        timeout_ms: TIMEOUT_MS,
        validate_only: check_only,
        ..Default::default()
    };
    let response = client.call(Node::Controller, &request).map_err(Failure::run)?;
    let answer = response.decode::<CreatePartitionsRequest<'_>>().map_err(Failure::run)?;
    check(topic, answer.results.first().map(|result| (result.error_code, result.error_message)))
}

fn check(topic: &str, result: Option<(ErrorCode, Option<&str>)>) -> Result<(), Failure> {
    match result {
        Some((ErrorCode::NONE, _)) => Ok(()),
        Some((code, message)) => {
            let message = message.filter(|message| !message.is_empty()).unwrap_or(code.message());
            Err(Failure::run(format!("topic '{topic}': {}: {message}", code.name())))
        }
        None => Err(Failure::run(format!("topic '{topic}': the broker's answer does not name it"))),
    }
}
