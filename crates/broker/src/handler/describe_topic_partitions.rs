//! DescribeTopicPartitions (75): the partitions of topics page by page (KIP-966). Java's admin client asks this first, and falls
//! back to Metadata where it is missing (V4).
//!
//! Topics come in the order of their names, not of the request, because a cursor says "from this topic and partition on". A
//! topic that is named twice is answered once.

use std::collections::BTreeSet;

use rohrpost_protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use rohrpost_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use rohrpost_protocol::{Decoder, ErrorCode, topic_name};

use super::{Context, INTERNAL_TOPICS, Mode, Outcome, TOPIC_OPERATIONS, metadata, read, respond};
use crate::metadata::{MetadataImage, PartitionImage};

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, listener, .. } = context;
    let request: DescribeTopicPartitionsRequest<'_> = read(input, version)?;
    let cursor = request.cursor.as_ref();
    let (from_topic, from_partition) = cursor.map_or(("", 0), |c| (c.topic_name, c.partition_index));

    // there is no error for the request as a whole: each topic that it names says what is wrong
    let has_cursor_topic = |cursor: &Cursor<'_>| request.topics.iter().any(|t| t.name == cursor.topic_name);
    let refusal = match mode {
        Mode::Refuse(code) => Some(code),
        Mode::Serve => cursor
            .is_some_and(|c| c.partition_index < 0 || !request.topics.is_empty() && !has_cursor_topic(c))
            .then_some(ErrorCode::INVALID_REQUEST),
    };
    if let Some(code) = refusal {
        let topics = request.topics.iter().map(|topic| refused(topic.name, code)).collect();
        let response = DescribeTopicPartitionsResponse { topics, ..Default::default() };
        return respond(&response, version, correlation_id);
    }

    let image = broker.metadata().image();
    let all = request.topics.is_empty();
    let names: BTreeSet<&str> = if all {
        image.topics().map(|topic| &*topic.name).filter(|name| *name >= from_topic).collect()
    } else {
        request.topics.iter().map(|topic| topic.name).filter(|name| *name >= from_topic).collect()
    };
    let mut left = usize::try_from(request.response_partition_limit)
        .unwrap_or(0)
        .clamp(1, broker.request_partition_limit());
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for name in names {
        // a page that is full ends before the next topic, also before one that does not exist
        if left == 0 {
            next_cursor = Some(Cursor { topic_name: name, partition_index: 0, ..Default::default() });
            break;
        }
        let Some(topic) = image.topic(name) else {
            // M1
            let legal = topic_name::check(name).is_ok();
            topics.push(refused(
                name,
                if legal {
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                } else {
                    ErrorCode::INVALID_TOPIC_EXCEPTION
                },
            ));
            continue;
        };
        let first = if name == from_topic { usize::try_from(from_partition).unwrap_or(0) } else { 0 };
        let page = topic.partitions.iter().enumerate().skip(first).take(left);
        let page: Vec<_> = page.map(|(index, p)| entry(index as i32, p, &image, listener)).collect();
        left -= page.len();
        let next = first + page.len();
        topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(&topic.name),
            topic_id: topic.id,
            is_internal: INTERNAL_TOPICS.contains(&&*topic.name),
            partitions: page,
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..Default::default()
        });
        if next < topic.partitions.len() {
            let partition_index = next as i32;
            next_cursor = Some(Cursor { topic_name: name, partition_index, ..Default::default() });
            break;
        }
    }
    let response = DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() };
    respond(&response, version, correlation_id)
}

fn refused(name: &str, error_code: ErrorCode) -> DescribeTopicPartitionsResponseTopic<'_> {
    DescribeTopicPartitionsResponseTopic { error_code, name: Some(name), ..Default::default() }
}

/// M7, and the eligible leader replicas, of which there are none while the feature is off.
fn entry(
    partition_index: i32,
    partition: &PartitionImage,
    image: &MetadataImage,
    listener: &str,
) -> DescribeTopicPartitionsResponsePartition {
    let (leader_id, error_code) = metadata::leader_for(partition, image, listener);
    DescribeTopicPartitionsResponsePartition {
        error_code,
        partition_index,
        leader_id,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone().into(),
        isr_nodes: partition.isr.clone().into(),
        eligible_leader_replicas: Some(partition.elr.clone().into()),
        last_known_elr: Some(partition.last_known_elr.clone().into()),
        offline_replicas: image.offline_replicas(partition).into(),
        ..Default::default()
    }
}
