//! ListPartitionReassignments (46): partitions on their way to other brokers. `kafka-topics --describe` asks for it. There is no
//! way yet to begin one here, so the list is that of a metadata log which another controller has written.

use std::collections::BTreeSet;

use rohrpost_protocol::messages::list_partition_reassignments::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use rohrpost_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, Mode, Outcome, read, respond};
use crate::metadata::{PartitionImage, TopicImage};

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    let request: ListPartitionReassignmentsRequest<'_> = read(input, version)?;
    let error_code = match mode {
        Mode::Refuse(code) => code,
        Mode::Serve => ErrorCode::NONE,
    };
    let image = broker.metadata().image();
    let topics = match &request.topics {
        _ if error_code.is_error() => Vec::new(),
        None => image.topics().filter_map(|topic| moving(topic, |_| true)).collect(),
        Some(topics) => topics
            .iter()
            .filter_map(|asked| {
                let wanted: BTreeSet<i32> = asked.partition_indexes.iter().copied().collect();
                moving(image.topic(asked.name)?, |index| wanted.contains(&index))
            })
            .collect(),
    };
    let error_message = error_code.is_error().then(|| error_code.message());
    let response =
        ListPartitionReassignmentsResponse { error_code, error_message, topics, ..Default::default() };
    respond(&response, version, correlation_id)
}

/// A topic's partitions that are moving; `None` if none is.
fn moving(topic: &TopicImage, wanted: impl Fn(i32) -> bool) -> Option<OngoingTopicReassignment<'_>> {
    let is_moving = |p: &PartitionImage| !p.adding_replicas.is_empty() || !p.removing_replicas.is_empty();
    let partitions = topic.partitions.iter().zip(0..);
    let partitions = partitions.filter(|(partition, index)| is_moving(partition) && wanted(*index));
    let partitions: Vec<_> = partitions
        .map(|(partition, partition_index)| OngoingPartitionReassignment {
            partition_index,
            replicas: partition.replicas.clone().into(),
            adding_replicas: partition.adding_replicas.clone().into(),
            removing_replicas: partition.removing_replicas.clone().into(),
            ..Default::default()
        })
        .collect();
    (!partitions.is_empty()).then_some(OngoingTopicReassignment {
        name: &topic.name,
        partitions,
        ..Default::default()
    })
}
