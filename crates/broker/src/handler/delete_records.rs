//! DeleteRecords (21): the log start moves up, and what lies below can no longer be read (D25). With one replica that is done
//! when it is done here, so there is nothing that `TimeoutMs` could end.

use rohrpost_protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use rohrpost_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, INTERNAL_TOPICS, Mode, Outcome, read, respond};

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { version, correlation_id, .. } = context;
    let request: DeleteRecordsRequest<'_> = read(input, version)?;
    let topics = request.topics.iter().map(|topic| DeleteRecordsTopicResult {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .map(|asked| {
                let result = match mode {
                    Mode::Refuse(code) => Err(code),
                    Mode::Serve => delete(&context, topic.name, asked),
                };
                entry(asked.partition_index, result)
            })
            .collect(),
        ..Default::default()
    });
    let response = DeleteRecordsResponse { topics: topics.collect(), ..Default::default() };
    respond(&response, version, correlation_id)
}

fn delete(context: &Context<'_>, topic: &str, asked: &DeleteRecordsPartition) -> Result<i64, ErrorCode> {
    // D25
    if INTERNAL_TOPICS.contains(&topic) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    let partition = context.broker.replicas().by_name(topic, asked.partition_index)?;
    let log_start = partition.delete_records(asked.offset)?;
    partition.notify_waiters(); // a fetch that waits below the new start learns of it
    Ok(log_start)
}

fn entry(partition_index: i32, result: Result<i64, ErrorCode>) -> DeleteRecordsPartitionResult {
    let (error_code, low_watermark) = match result {
        Ok(low_watermark) => (ErrorCode::NONE, low_watermark),
        Err(code) => (code, -1),
    };
    DeleteRecordsPartitionResult { partition_index, low_watermark, error_code, ..Default::default() }
}
