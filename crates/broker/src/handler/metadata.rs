//! Metadata (3): brokers, topics, leaders (M6 to M8), and the creation of topics that are named and missing.

use rohrpost_protocol::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use rohrpost_protocol::{Decoder, ErrorCode, topic_name};

use super::{CLUSTER_OPERATIONS, Context, INTERNAL_TOPICS, Mode, Outcome, TOPIC_OPERATIONS, read, respond};
use crate::controller::{CreateTopics, NewTopic};
use crate::metadata::{MetadataImage, PartitionImage, TopicImage};

/// From this version on a topic may be asked for by id.
const TOPIC_IDS_SINCE: i16 = 12;
/// Until this version topics are created without being asked (M6).
const AUTO_CREATION_ALWAYS_UNTIL: i16 = 3;
/// From this version on offline replicas have their own field.
const OFFLINE_REPLICAS_SINCE: i16 = 5;
/// From this version on a leader that does not have the request's listener has a code of its own.
const LISTENER_NOT_FOUND_SINCE: i16 = 6;

/// What an answer is made from.
#[derive(Clone, Copy)]
struct View<'a> {
    image: &'a MetadataImage,
    /// The listener that the request came in on: what cannot be reached through it is not there for this client (M8).
    listener: &'a str,
    version: i16,
    /// Whether each topic is to say what the client may do with it.
    operations: bool,
}

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    let request: MetadataRequest<'_> = read(input, version)?;
    let image = broker.metadata().image();
    if mode == Mode::Serve {
        create_missing(&context, &request, &image);
    }
    let refused = match mode {
        Mode::Refuse(code) => Some(code),
        Mode::Serve => None,
    };
    let response = response(&request, version, &image, context.listener, broker.node_id(), refused);
    respond(&response, version, correlation_id)
}

/// The answer of the broker `node_id`, which knows this image, to a client on this listener; `refuse`: every topic has this error.
pub fn response<'a>(
    request: &MetadataRequest<'a>,
    version: i16,
    image: &'a MetadataImage,
    listener: &'a str,
    node_id: i32,
    refuse: Option<ErrorCode>,
) -> MetadataResponse<'a> {
    let operations = request.include_topic_authorized_operations;
    let view = View { image, listener, version, operations };
    let topics = match (refuse, asked(request, version)) {
        (Some(code), asked) => {
            asked.unwrap_or_default().iter().map(|topic| refused(topic, code, version)).collect()
        }
        (None, None) => image.topics().map(|topic| found(topic, view)).collect(),
        (None, Some(asked)) => asked.iter().map(|topic| look_up(topic, view)).collect(),
    };
    let brokers = image.alive_brokers().filter_map(|b| {
        // M8
        b.end_point(view.listener).map(|endpoint| MetadataResponseBroker {
            node_id: b.id,
            host: &endpoint.host,
            port: i32::from(endpoint.port),
            rack: b.rack.as_deref(),
            ..Default::default()
        })
    });
    MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(&image.cluster_id),
        controller_id: node_id, // M7: some live broker
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        topics,
        error_code: refuse.unwrap_or(ErrorCode::NONE),
        ..Default::default()
    }
}

/// The topics asked for; `None`: all of them.
fn asked<'r, 'a>(request: &'r MetadataRequest<'a>, version: i16) -> Option<&'r [MetadataRequestTopic<'a>]> {
    match &request.topics {
        // M6: version 0 asks for all with an empty list, later ones with null
        Some(topics) if version == 0 && topics.is_empty() => None,
        topics => topics.as_deref(),
    }
}

/// M6: creates what is named, missing and allowed. The answer to this request says UNKNOWN_TOPIC_OR_PARTITION all the same; the
/// client's next one finds the topic.
fn create_missing(context: &Context<'_>, request: &MetadataRequest<'_>, image: &MetadataImage) {
    if !context.broker.auto_create_topics() {
        return;
    }
    let missing = missing_topics(request, context.version, image);
    if missing.is_empty() {
        return;
    }
    let missing: Vec<NewTopic> = missing.into_iter().map(|name| NewTopic::new(name, -1, -1)).collect();
    let names: Vec<String> = missing.iter().map(|topic| topic.name.clone()).collect();
    let results =
        context.broker.metadata().create_topics(&CreateTopics { topics: missing, validate_only: false });
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(_) => {
                tracing::info!(topic = %name, peer = %context.peer, client_id = %context.client_id, "created")
            }
            Err(error) => {
                tracing::warn!(topic = %name, %error, "cannot create a topic that a client asked for")
            }
        }
    }
}

/// M6: the topics that this request wants to have created.
pub fn missing_topics<'a>(
    request: &MetadataRequest<'a>,
    version: i16,
    image: &MetadataImage,
) -> Vec<&'a str> {
    let mut missing: Vec<&str> = Vec::new();
    if version > AUTO_CREATION_ALWAYS_UNTIL && !request.allow_auto_topic_creation {
        return missing;
    }
    for topic in asked(request, version).unwrap_or_default() {
        let Some(name) = topic.name else { continue };
        let wanted = topic.topic_id.is_zero()
            && image.topic(name).is_none()
            && topic_name::check(name).is_ok() // M1
            && !INTERNAL_TOPICS.contains(&name)
            && !missing.contains(&name);
        if wanted {
            missing.push(name);
        }
    }
    missing
}

fn look_up<'a>(asked: &MetadataRequestTopic<'a>, view: View<'a>) -> MetadataResponseTopic<'a> {
    let View { image, version, .. } = view;
    let by_id = !asked.topic_id.is_zero();
    // M6: ids, and topics without a name, exist from version 12 on
    if version < TOPIC_IDS_SINCE && (by_id || asked.name.is_none()) {
        return refused(asked, ErrorCode::INVALID_REQUEST, version);
    }
    if by_id {
        return match image.topic_by_id(asked.topic_id) {
            Some(topic) => found(topic, view),
            None => refused(asked, ErrorCode::UNKNOWN_TOPIC_ID, version),
        };
    }
    match asked.name {
        None => refused(asked, ErrorCode::UNKNOWN_TOPIC_ID, version),
        Some(name) => match image.topic(name) {
            Some(topic) => found(topic, view),
            None if topic_name::check(name).is_err() => {
                refused(asked, ErrorCode::INVALID_TOPIC_EXCEPTION, version)
            } // M1
            None => refused(asked, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, version),
        },
    }
}

/// An entry without partitions. The name is not null before version 12.
fn refused<'a>(
    asked: &MetadataRequestTopic<'a>,
    error_code: ErrorCode,
    version: i16,
) -> MetadataResponseTopic<'a> {
    MetadataResponseTopic {
        error_code,
        name: asked.name.or((version < TOPIC_IDS_SINCE).then_some("")),
        topic_id: asked.topic_id,
        ..Default::default()
    }
}

fn found<'a>(topic: &'a TopicImage, view: View<'_>) -> MetadataResponseTopic<'a> {
    let partitions = topic.partitions.iter().enumerate();
    MetadataResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(&topic.name),
        topic_id: topic.id,
        is_internal: INTERNAL_TOPICS.contains(&&*topic.name),
        topic_authorized_operations: if view.operations { TOPIC_OPERATIONS } else { i32::MIN },
        partitions: partitions.map(|(index, partition)| entry(index as i32, partition, view)).collect(),
        ..Default::default()
    }
}

/// M7.
fn entry(partition_index: i32, partition: &PartitionImage, view: View<'_>) -> MetadataResponsePartition {
    let View { image, listener, version, .. } = view;
    let offline = image.offline_replicas(partition);
    let (leader_id, error_code) = match leader_for(partition, image, listener) {
        (_, ErrorCode::LISTENER_NOT_FOUND) if version < LISTENER_NOT_FOUND_SINCE => {
            (-1, ErrorCode::LEADER_NOT_AVAILABLE)
        }
        (leader, ErrorCode::NONE) if version == 0 && !offline.is_empty() => {
            (leader, ErrorCode::REPLICA_NOT_AVAILABLE)
        }
        leader => leader,
    };
    MetadataResponsePartition {
        error_code,
        partition_index,
        leader_id,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone().into(),
        isr_nodes: partition.isr.clone().into(),
        offline_replicas: if version >= OFFLINE_REPLICAS_SINCE { offline.into() } else { Box::default() },
        ..Default::default()
    }
}

/// M7: the leader as a client of this listener sees it, or -1 and why there is none.
pub(super) fn leader_for(
    partition: &PartitionImage,
    image: &MetadataImage,
    listener: &str,
) -> (i32, ErrorCode) {
    // M7
    match image.broker(partition.leader).filter(|broker| !broker.fenced) {
        None => (-1, ErrorCode::LEADER_NOT_AVAILABLE),
        Some(leader) if leader.end_point(listener).is_none() => (-1, ErrorCode::LISTENER_NOT_FOUND),
        Some(leader) => (leader.id, ErrorCode::NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{LeaderRecoveryState, NO_LEADER};

    #[test]
    fn a_partition_without_a_live_leader_says_so() {
        // M7
        let image = MetadataImage::empty("cluster");
        let view = |version| View { image: &image, listener: "PLAINTEXT", version, operations: false };
        let partition = |leader| PartitionImage {
            replicas: vec![1],
            directories: Vec::new(),
            isr: vec![1],
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            leader,
            leader_recovery_state: LeaderRecoveryState::Recovered,
            leader_epoch: 4,
            partition_epoch: 0,
        };
        for leader in [NO_LEADER, 1] {
            // broker 1 is not registered, so its replica is offline
            let entry = entry(0, &partition(leader), view(5));
            assert_eq!((entry.leader_id, entry.error_code), (-1, ErrorCode::LEADER_NOT_AVAILABLE));
            assert_eq!((entry.leader_epoch, &entry.offline_replicas[..]), (4, &[1][..]));
        }
        assert!(super::entry(0, &partition(1), view(4)).offline_replicas.is_empty());
    }
}
