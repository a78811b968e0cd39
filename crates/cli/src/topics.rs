//! `rohrpost topics`: create, alter, list, describe and delete topics.

mod alter;
mod describe;

use std::io::Write;

use rohrpost_net::{Client, ClientConfig, ClientError, Metadata, Target as Node, parse_bootstrap_servers};
use rohrpost_protocol::messages::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, DeleteTopicState, DeleteTopicsRequest,
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use rohrpost_protocol::{ApiKey, ErrorCode};

use self::alter::{Changes, alter};
use crate::args::{Topics, TopicsAction};
use crate::cluster::{Target, settings};
use crate::failure::Failure;
use crate::terminal;

/// ListOffsets: the offset after the last record, and that of the first.
pub(crate) const LATEST: i64 = -1;
pub(crate) const EARLIEST: i64 = -2;

/// How long the cluster may take to carry out a change.
const CHANGE_TIMEOUT_MS: i32 = 30_000;

pub(crate) fn run(options: &Topics) -> Result<(), Failure> {
    match &options.action {
        TopicsAction::Create { name, partitions, replication_factor, settings: configs, cluster } => {
            let configs = settings(configs)?;
            with_client(cluster, |client| {
                create(client, name, *partitions, *replication_factor, &configs)?.map_err(Failure::run)
            })
        }
        TopicsAction::Alter { name, partitions, settings: configs, unset, check, cluster } => {
            let set = settings(configs)?;
            let changes = Changes { partitions: *partitions, set: &set, unset, check: *check };
            with_client(cluster, |client| alter(client, name, &changes))
        }
        TopicsAction::List { cluster } => with_client(cluster, list),
        TopicsAction::Describe { names, json, cluster } => {
            with_client(cluster, |client| describe::describe(client, names, *json))
        }
        TopicsAction::Delete { names, cluster } => with_client(cluster, |client| delete(client, names)),
    }
}

/// A client of the cluster at these addresses.
pub(crate) fn connect(bootstrap_servers: &str) -> Result<Client, Failure> {
    let addresses =
        parse_bootstrap_servers(bootstrap_servers).map_err(|error| Failure::start(format!("-b {error}")))?;
    Client::connect(&addresses, ClientConfig::default()).map_err(Failure::start)
}

/// For `produce`: checks that the cluster can be reached, and makes the topic if its partition count is given.
pub(crate) fn ensure(bootstrap_servers: &str, topic: &str, partitions: Option<u32>) -> Result<(), Failure> {
    let mut client = connect(bootstrap_servers)?;
    let Some(partitions) = partitions else { return Ok(()) };
    let wanted = i32::try_from(partitions).unwrap_or(i32::MAX);
    match create(&mut client, topic, Some(wanted), None, &[])? {
        Ok(()) => Ok(()),
        Err(refusal) if refusal.code == ErrorCode::TOPIC_ALREADY_EXISTS => {
            let metadata = client.metadata(Some(&[topic])).map_err(Failure::start)?;
            match metadata.topic(topic) {
                Some(found)
                    if found.error == ErrorCode::NONE && found.partitions.len() != partitions as usize =>
                {
                    terminal::note(&format!(
                        "topic '{topic}' exists with {} partitions; --partitions {partitions} does not change that",
                        found.partitions.len()
                    ));
                    Ok(())
                }
                _ => Ok(()),
            }
        }
        Err(refusal) => Err(Failure::start(refusal)),
    }
}

/// For `perf`: makes the topic if it does not exist; if it does, it must have as many partitions as were asked for.
pub(crate) fn ensure_exactly(
    bootstrap_servers: &str,
    topic: &str,
    partitions: Option<u32>,
) -> Result<(), Failure> {
    let mut client = connect(bootstrap_servers)?;
    // asked first: who may write to a topic need not be allowed to create one
    let mut metadata = client.metadata(Some(&[topic])).map_err(Failure::start)?;
    if metadata.topic(topic).is_some_and(|found| found.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
        let wanted = partitions.map(|partitions| i32::try_from(partitions).unwrap_or(i32::MAX));
        match create(&mut client, topic, wanted, None, &[])? {
            Ok(()) => return Ok(()),
            // somebody else was faster
            Err(refusal) if refusal.code == ErrorCode::TOPIC_ALREADY_EXISTS => {
                metadata = client.metadata(Some(&[topic])).map_err(Failure::start)?;
            }
            Err(refusal) => return Err(Failure::start(refusal)),
        }
    }
    let found = partitions_of(&metadata, topic)?.len();
    match partitions {
        Some(partitions) if partitions as usize != found => Err(Failure::start(format!(
            "topic '{topic}' has {found} partitions, not {partitions}: take another topic, or leave out --partitions"
        ))),
        _ => Ok(()),
    }
}

/// The cluster's refusal of one topic.
pub(crate) struct Refusal {
    topic: String,
    code: ErrorCode,
    message: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "topic '{}': {}", self.topic, self.code.name())?;
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => write!(f, ": {}", self.code.message()),
        }
    }
}

fn with_client(
    place: &crate::args::Where,
    job: impl FnOnce(&mut Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let target = Target::open(place)?;
    let result = connect(&target.bootstrap_servers).and_then(|mut client| job(&mut client));
    let closed = target.close();
    result.and(closed)
}

fn create(
    client: &mut Client,
    name: &str,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    configs: &[(&str, &str)],
) -> Result<Result<(), Refusal>, Failure> {
    let configs = configs.iter().map(|&(name, value)| CreatableTopicConfig {
        name,
        value: Some(value),
        ..Default::default()
    });
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name,
            num_partitions: partitions.unwrap_or(-1),
            replication_factor: replication_factor.unwrap_or(-1),
            configs: configs.collect(),
            ..Default::default()
        }],
        timeout_ms: CHANGE_TIMEOUT_MS,
        ..Default::default()
    };
    let response = client.call(Node::Controller, &request).map_err(Failure::run)?;
    let answer = response.decode::<CreateTopicsRequest<'_>>().map_err(Failure::run)?;
    Ok(match answer.topics.first() {
        Some(topic) if topic.error_code == ErrorCode::NONE => Ok(()),
        Some(topic) => Err(Refusal {
            topic: name.to_owned(),
            code: topic.error_code,
            message: topic.error_message.map(str::to_owned),
        }),
        None => Err(Refusal {
            topic: name.to_owned(),
            code: ErrorCode::UNKNOWN_SERVER_ERROR,
            message: Some("the broker's answer does not name it".to_owned()),
        }),
    })
}

fn list(client: &mut Client) -> Result<(), Failure> {
    let metadata = client.metadata(None).map_err(Failure::run)?;
    let mut names: Vec<&str> =
        metadata.topics.iter().filter(|topic| !topic.is_internal).map(|topic| topic.name.as_str()).collect();
    names.sort_unstable();
    print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())
}

fn delete(client: &mut Client, names: &[String]) -> Result<(), Failure> {
    let version = client
        .version(Node::Controller, ApiKey::DeleteTopics, ApiKey::DeleteTopics.versions())
        .map_err(Failure::run)?;
    // by name in a list of its own before version 6
    let topics = names.iter().map(|name| DeleteTopicState { name: Some(name), ..Default::default() });
    let request = DeleteTopicsRequest {
        topics: if version >= 6 { topics.collect() } else { Vec::new() },
        topic_names: if version < 6 { names.iter().map(String::as_str).collect() } else { Vec::new() },
        timeout_ms: CHANGE_TIMEOUT_MS,
        ..Default::default()
    };
    let response = client.call(Node::Controller, &request).map_err(Failure::run)?;
    let answer = response.decode::<DeleteTopicsRequest<'_>>().map_err(Failure::run)?;
    let refused: Vec<String> = answer
        .responses
        .iter()
        .filter(|topic| topic.error_code != ErrorCode::NONE)
        .map(|topic| {
            let name = topic.name.unwrap_or_default();
            if topic.error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                return refused(name, topic.error_code);
            }
            let message = topic.error_message.map(str::to_owned);
            Refusal { topic: name.to_owned(), code: topic.error_code, message }.to_string()
        })
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    let deleted = answer.responses.iter().filter(|topic| topic.error_code == ErrorCode::NONE);
    let deleted: Vec<&str> = deleted.filter_map(|topic| topic.name).collect();
    if !deleted.is_empty() {
        terminal::note(&format!("deleted: {}", deleted.join(", ")));
    }
    Err(Failure::run(refused.join("\n")))
}

/// The offset that the leader has for a time, or for one of the special times [`EARLIEST`] and [`LATEST`].
pub(crate) fn offset_at(
    client: &mut Client,
    topic: &str,
    partition: i32,
    time: i64,
) -> Result<i64, ClientError> {
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic,
            partitions: vec![ListOffsetsPartition {
                partition_index: partition,
                timestamp: time,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(Node::Leader(topic, partition), &request)?;
    let answer = response.decode::<ListOffsetsRequest<'_>>()?;
    let found = answer.topics.first().and_then(|topic| topic.partitions.first());
    let error = found.map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |found| found.error_code);
    match found {
        Some(found) if error == ErrorCode::NONE => Ok(found.offset),
        _ => {
            client.forget_leaders(topic);
            Err(ClientError::Metadata { topic: Some(topic.to_owned()), error })
        }
    }
}

/// The partitions of a topic that exists.
pub(crate) fn partitions_of(metadata: &Metadata, topic: &str) -> Result<Vec<i32>, Failure> {
    match metadata.topic(topic) {
        Some(found) if found.error == ErrorCode::NONE => {
            Ok(found.partitions.iter().map(|partition| partition.partition).collect())
        }
        found => {
            let error = found.map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, |found| found.error);
            Err(Failure::start(refused(topic, error)))
        }
    }
}

/// Why there is nothing to be had of a topic, and what to do.
fn refused(topic: &str, error: ErrorCode) -> String {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            format!(
                "topic '{topic}' does not exist ({}); `rohrpost topics list` shows those that do",
                error.name()
            )
        }
        ErrorCode::INVALID_TOPIC_EXCEPTION => format!(
            "'{topic}' cannot be a topic's name ({}): 1 to 249 of the characters a-z A-Z 0-9 . _ - are allowed",
            error.name()
        ),
        error => format!("topic '{topic}': {}: {}", error.name(), error.message()),
    }
}

/// Columns as wide as their widest entry, two spaces apart.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// To standard output; a reader that has gone is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::run(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
