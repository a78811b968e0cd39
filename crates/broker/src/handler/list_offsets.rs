//! ListOffsets (2): the ends of a log, and the first record from a time on (chapter 11.4).

use std::collections::HashMap;

use rohrpost_protocol::messages::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, Mode, Outcome, read, respond};
use crate::replica::{EpochCheck, FoundOffset, Reader};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { version, correlation_id, .. } = context;
    let request: ListOffsetsRequest<'_> = read(input, version)?;
    let reader = if request.replica_id >= 0 { Reader::Replica(request.replica_id) } else { Reader::Consumer };

    let mut named: HashMap<(&str, i32), u32> = HashMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *named.entry((topic.name, partition.partition_index)).or_default() += 1;
        }
    }
    let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| {
                let twice =
                    named.get(&(topic.name, partition.partition_index)).is_some_and(|count| *count > 1);
                let found = match mode {
                    Mode::Refuse(code) => Err(code),
                    Mode::Serve if twice => Err(ErrorCode::INVALID_REQUEST), // O5
                    // as for Fetch (F1): another isolation level does not exist
                    Mode::Serve if !(0..=1).contains(&request.isolation_level) => {
                        Err(ErrorCode::INVALID_REQUEST)
                    }
                    Mode::Serve => find(&context, topic.name, partition, reader),
                };
                answer(partition.partition_index, found, version)
            })
            .collect(),
        ..Default::default()
    });
    let response = ListOffsetsResponse { topics: topics.collect(), ..Default::default() };
    respond(&response, version, correlation_id)
}

fn find(
    context: &Context<'_>,
    topic: &str,
    asked: &ListOffsetsPartition,
    reader: Reader,
) -> Result<FoundOffset, ErrorCode> {
    let Some(oldest_version) = special_since(asked.timestamp) else {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    };
    if context.version < oldest_version {
        return Err(ErrorCode::UNSUPPORTED_VERSION); // O1
    }
    let partition = context.broker.replicas().by_name(topic, asked.partition_index)?;
    let epoch = EpochCheck(asked.current_leader_epoch);
    match asked.timestamp {
        LATEST => partition.latest(reader, epoch), // O2
        // O1: nothing is tiered, so what is local is all there is
        EARLIEST | EARLIEST_LOCAL => partition.earliest(epoch),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => partition.earliest(epoch).map(|_| FoundOffset::NOTHING),
        MAX_TIMESTAMP => partition.largest_timestamp(epoch),
        timestamp => partition.by_timestamp(timestamp, epoch), // O3
    }
}

/// O1: the version that brought a special time; `None` for one that does not exist.
fn special_since(timestamp: i64) -> Option<i16> {
    match timestamp {
        EARLIEST_PENDING_UPLOAD => Some(11),
        LATEST_TIERED => Some(9),
        EARLIEST_LOCAL => Some(8),
        MAX_TIMESTAMP => Some(7),
        LATEST | EARLIEST | 0.. => Some(1),
        _ => None,
    }
}

/// From this version on there is a code for a leader that cannot answer yet (O4).
const NOT_AVAILABLE_SINCE: i16 = 5;
/// From this version on an answer has the leader epoch of the offset (O2).
const LEADER_EPOCH_SINCE: i16 = 4;

fn answer(
    partition_index: i32,
    found: Result<FoundOffset, ErrorCode>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    match found {
        Ok(FoundOffset { offset, timestamp, leader_epoch }) => ListOffsetsPartitionResponse {
            partition_index,
            offset,
            timestamp,
            leader_epoch: if version >= LEADER_EPOCH_SINCE { leader_epoch } else { -1 },
            ..Default::default()
        },
        Err(error_code) => {
            // O4
            let is_unknown = error_code == ErrorCode::OFFSET_NOT_AVAILABLE && version < NOT_AVAILABLE_SINCE;
            let error_code = if is_unknown { ErrorCode::LEADER_NOT_AVAILABLE } else { error_code };
            ListOffsetsPartitionResponse { partition_index, error_code, ..Default::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_cannot_answer_yet_says_so_in_the_words_of_the_version() {
        // O4
        for version in 1..=11 {
            let told = answer(3, Err(ErrorCode::OFFSET_NOT_AVAILABLE), version).error_code;
            let expected =
                if version >= 5 { ErrorCode::OFFSET_NOT_AVAILABLE } else { ErrorCode::LEADER_NOT_AVAILABLE };
            assert_eq!(told, expected, "ListOffsets {version}");
        }
    }
}
