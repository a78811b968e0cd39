//! OffsetForLeaderEpoch (23): where a leader epoch ended, so that a reader can find out whether its log and the leader's are
//! one (O6, R25).

use rohrpost_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use rohrpost_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, Mode, Outcome, read, respond};
use crate::replica::EpochCheck;

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { version, correlation_id, .. } = context;
    let request: OffsetForLeaderEpochRequest<'_> = read(input, version)?;
    let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: topic.topic,
        partitions: topic
            .partitions
            .iter()
            .map(|asked| {
                let found = match mode {
                    Mode::Refuse(code) => Err(code),
                    Mode::Serve => find(&context, topic.topic, asked),
                };
                entry(asked.partition, found)
            })
            .collect(),
        ..Default::default()
    });
    let response = OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() };
    respond(&response, version, correlation_id)
}

/// `None`: undefined, which is no error.
fn find(
    context: &Context<'_>,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, ErrorCode> {
    // O6
    let partition = context.broker.replicas().by_name(topic, asked.partition)?;
    partition.end_of_epoch(asked.leader_epoch, EpochCheck(asked.current_leader_epoch))
}

fn entry(partition: i32, found: Result<Option<(i32, i64)>, ErrorCode>) -> EpochEndOffset {
    let (error_code, found) = match found {
        Ok(found) => (ErrorCode::NONE, found),
        Err(code) => (code, None),
    };
    let (leader_epoch, end_offset) = found.unwrap_or((-1, -1)); // O6
    EpochEndOffset { error_code, partition, leader_epoch, end_offset, ..Default::default() }
}
