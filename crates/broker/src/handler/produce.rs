//! Produce (0): chapter 5, step by step.
//!
//! The batches are not copied on their way (L14): the request is decoded in the frame's buffer, each batch is remembered by where it
//! lies, and then handed to the log as `&mut` part of that buffer, which writes base offset and leader epoch into it and the
//! bytes into the file. With acks=all the answer waits for the followers as a [`DelayedProduce`], if there are any to wait for; in
//! synced mode with acks=1, too, for the disk (U3).

use std::ops::Range;
use std::sync::Arc;

use rohrpost_log::LeaderChecks;
use rohrpost_protocol::messages::produce::{LeaderIdAndEpoch, NodeEndpoint};
use rohrpost_protocol::messages::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use rohrpost_protocol::{Decoder, ErrorCode, Uuid};
use rohrpost_record::{InvalidBatch, single_batch};

use super::{Broker, Frame, INTERNAL_TOPICS, Mode, Outcome, range_in, read, respond, wait};
use crate::metadata::MetadataImage;
use crate::network::Responder;
use crate::purgatory::{Awaited, DelayedProduce, Watched};
use crate::replica::{AppendFailure, Appended, OwnLog, Partition};

/// From this version on topics go by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// The acks of a producer that waits for all in-sync replicas.
const ACKS_ALL: i16 = -1;
/// The acks of a producer that waits for nothing.
const ACKS_NONE: i16 = 0;
/// From this version on an answer may name the new leader (P13).
const LEADER_HINT_SINCE: i16 = 10;

/// [`super::Context`] without what borrows the frame.
pub(super) struct ProduceContext<'a> {
    pub(super) broker: &'a Arc<Broker>,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) is_admin: bool,
    /// Name of the listener that the request came in on (M8).
    pub(super) listener: &'a Arc<str>,
    pub(super) responder: &'a Responder,
}

/// A request, taken apart without holding on to the frame.
struct Plan {
    acks: i16,
    timeout_ms: i32,
    topics: Vec<Topic>,
}

struct Topic {
    /// Where the name lies: in the frame, or in [`Plan::keep_names`]' copy.
    name: Range<usize>,
    id: Uuid,
    partitions: Vec<Item>,
}

struct Item {
    index: i32,
    step: Step,
}

/// How far one partition's batch has come.
enum Step {
    /// It lies here in the frame and goes to this partition.
    Append(Range<usize>, Arc<Partition>),
    /// With what the answer says of it: for acks=all REQUEST_TIMED_OUT until it is settled (W5).
    Appended(Appended, ErrorCode),
    Failed(AppendFailure),
}

pub(super) fn handle(
    context: ProduceContext<'_>,
    frame: &mut Frame,
    body: usize,
    mode: Mode,
) -> Result<Outcome, String> {
    let mut plan = plan(&context, frame.bytes(), body, mode)?;
    // the partition of each batch that was appended, in the order of the request
    let mut touched: Vec<Arc<Partition>> = Vec::new();
    let mut is_open = false;
    let now_ms = context.broker.now_ms();
    // P8: one after the other; a failure of one does not undo another
    for item in plan.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        let Step::Append(range, partition) = &item.step else { continue };
        let checks = LeaderChecks { produce_version: context.version, ..LeaderChecks::default() };
        let batch = &mut frame.bytes_mut()[range.clone()];
        match partition.append(batch, plan.acks, checks, now_ms) {
            Ok(appended) => {
                touched.push(Arc::clone(partition));
                let settled = match plan.acks {
                    ACKS_ALL => appended.committed.status_of(appended.required_offset),
                    ACKS_NONE => Some(ErrorCode::NONE),
                    // U3: in synced mode this broker's own disk is waited for
                    _ => appended.own.status_of(appended.required_offset),
                };
                is_open |= settled.is_none();
                item.step = Step::Appended(appended, settled.unwrap_or(ErrorCode::REQUEST_TIMED_OUT));
            }
            Err(failure) => {
                if failure.code == ErrorCode::KAFKA_STORAGE_ERROR {
                    partition.notify_waiters(); // W7
                    context.broker.replicas().note_storage_error(); // L13, D30
                }
                item.step = Step::Failed(failure);
            }
        }
    }
    // P10: with one replica the high watermark has moved with the append, so nothing is open and the answer leaves now. W8
    let outcome = if is_open && plan.timeout_ms > 0 {
        Ok(wait_for_commit(&context, plan, frame.bytes(), &touched))
    } else {
        answer(
            context.broker,
            context.version,
            context.correlation_id,
            context.listener,
            &plan,
            frame.bytes(),
        )
    };
    // W3, W4: waiters are looked at after the appends, without a partition's lock. L12: whether the high watermark rose is what
    // those look at who wait for it
    for partition in touched {
        partition.notify_waiters();
    }
    outcome
}

/// P9: acks=all, and at least one batch that was appended is not committed yet; or acks=1, and one is not on this broker's disk
/// yet (U3).
fn wait_for_commit(
    context: &ProduceContext<'_>,
    mut plan: Plan,
    frame: &[u8],
    touched: &[Arc<Partition>],
) -> Outcome {
    let appended = plan.items().filter_map(|item| match &item.step {
        Step::Appended(appended, _) => Some(appended),
        Step::Append(..) | Step::Failed(_) => None,
    });
    let acks_all = plan.acks == ACKS_ALL;
    let awaited = appended.zip(touched).map(|(appended, partition)| {
        let partition: Arc<dyn Watched> = if acks_all {
            Arc::clone(partition) as Arc<dyn Watched>
        } else {
            Arc::new(OwnLog(Arc::clone(partition)))
        };
        let first_look = if acks_all { appended.committed } else { appended.own };
        Awaited { partition, required_offset: appended.required_offset, first_look }
    });
    let awaited = awaited.collect();
    let timeout_ms = plan.timeout_ms;
    // W11: of the frame only the topics' names are kept
    let names = plan.keep_names(frame);
    let (broker, version, correlation_id) =
        (Arc::clone(context.broker), context.version, context.correlation_id);
    let listener = Arc::clone(context.listener);
    let answer = move |statuses: &[ErrorCode]| {
        plan.set_statuses(statuses);
        answer(&broker, version, correlation_id, &listener, &plan, &names).unwrap_or_else(Outcome::Close)
    };
    let waiter = DelayedProduce::start(awaited, Box::new(answer), context.responder.clone());
    wait(context.broker, waiter, timeout_ms)
}

impl Plan {
    fn items(&self) -> impl Iterator<Item = &Item> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    /// Copies the topics' names out of the frame, so that the plan may outlive it.
    fn keep_names(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut names = Vec::new();
        for topic in &mut self.topics {
            let start = names.len();
            names.extend_from_slice(&frame[topic.name.clone()]);
            topic.name = start..names.len();
        }
        names
    }

    /// What became of each batch that was appended, in the order of the request.
    fn set_statuses(&mut self, statuses: &[ErrorCode]) {
        let appended =
            self.topics.iter_mut().flat_map(|topic| &mut topic.partitions).filter_map(|item| match &mut item
                .step
            {
                Step::Appended(_, status) => Some(status),
                Step::Append(..) | Step::Failed(_) => None,
            });
        for (status, settled) in appended.zip(statuses) {
            *status = *settled;
        }
    }
}

/// P1 to P6 as far as they need no log: takes the request apart and judges each partition alone (P2).
fn plan(context: &ProduceContext<'_>, frame: &[u8], body: usize, mode: Mode) -> Result<Plan, String> {
    let mut input = Decoder::new(&frame[body..]);
    let request: ProduceRequest<'_> = read(&mut input, context.version)?;
    let refuse_all = match mode {
        Mode::Refuse(code) => Some(code),
        // P1: no transactional id is authorised here, since there are no transactions yet
        Mode::Serve if has_transactional_batch(&request) => {
            Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        }
        Mode::Serve => None,
    };
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|data| {
            let step = match refuse_all {
                Some(code) => Step::Failed(code.into()),
                None => judge(context, &request, (topic.name, topic.topic_id), data, frame),
            };
            Item { index: data.index, step }
        });
        Topic {
            name: range_in(frame, topic.name.as_bytes()),
            id: topic.topic_id,
            partitions: partitions.collect(),
        }
    });
    Ok(Plan { acks: request.acks, timeout_ms: request.timeout_ms, topics: topics.collect() })
}

/// One partition, in the order of P2 to P6.
fn judge(
    context: &ProduceContext<'_>,
    request: &ProduceRequest<'_>,
    (name, id): (&str, Uuid),
    data: &rohrpost_protocol::messages::PartitionProduceData<'_>,
    frame: &[u8],
) -> Step {
    let replicas = context.broker.replicas();
    let found = if context.version >= TOPIC_IDS_SINCE {
        replicas.by_id(id, data.index)
    } else {
        replicas.by_name(name, data.index)
    };
    // P2: unknown topics first; that the partition lives elsewhere (P6) is said after shape, acks and internal topics
    let partition = match found {
        Err(code @ (ErrorCode::UNKNOWN_TOPIC_ID | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)) => {
            return Step::Failed(code.into());
        }
        other => other,
    };
    let records = data.records.as_ref().and_then(|records| records.bytes());
    let batch = match single_batch(records) {
        Ok(batch) => range_in(frame, batch.bytes()),
        Err(error) => return Step::Failed(bad_shape(&error)), // P3
    };
    if !(-1..=1).contains(&request.acks) {
        return Step::Failed(ErrorCode::INVALID_REQUIRED_ACKS.into()); // P4
    }
    match partition {
        Ok(partition) if INTERNAL_TOPICS.contains(&&**partition.topic()) && !context.is_admin => {
            Step::Failed(ErrorCode::INVALID_TOPIC_EXCEPTION.into()) // P5
        }
        Ok(partition) => Step::Append(batch, partition),
        Err(code) => Step::Failed(code.into()), // P6
    }
}

/// P3 and its line of P12: the shape is worth a message.
pub fn bad_shape(error: &InvalidBatch) -> AppendFailure {
    AppendFailure {
        message: Some(error.to_string()),
        ..AppendFailure::from(ErrorCode(error.answer().code()))
    }
}

/// Whether the attributes of any batch, as far as there are any, say "transactional". Older formats have something else there.
pub fn has_transactional_batch(request: &ProduceRequest<'_>) -> bool {
    const MAGIC: usize = 16;
    const ATTRIBUTES: Range<usize> = 21..23;
    const TRANSACTIONAL: u8 = 1 << 4;
    let mut records =
        request.topic_data.iter().flat_map(|topic| &topic.partition_data).filter_map(|p| p.records);
    records.any(|records| {
        let bytes = records.bytes().filter(|bytes| bytes.get(MAGIC) == Some(&2));
        let attributes = bytes.and_then(|bytes| bytes.get(ATTRIBUTES));
        attributes.is_some_and(|attributes| attributes[1] & TRANSACTIONAL != 0)
    })
}

/// Builds the answer. `names`: what the topics' name ranges lie in.
fn answer(
    broker: &Broker,
    version: i16,
    correlation_id: i32,
    listener: &str,
    plan: &Plan,
    names: &[u8],
) -> Result<Outcome, String> {
    if plan.acks == 0 {
        // N13: a closed connection is the only sign that such a producer gets
        let failed = plan.items().find_map(|item| match &item.step {
            Step::Failed(failure) => Some((item.index, failure)),
            Step::Append(..) | Step::Appended(..) => None,
        });
        return Ok(match failed {
            None => Outcome::NoResponse,
            Some((index, failure)) => Outcome::Close(format!(
                "a produce request with acks=0 failed for partition {index}: {} {}",
                failure.code.name(),
                failure.message.as_deref().unwrap_or_default()
            )),
        });
    }
    // P13: looked up only when it is due
    let hint = |item: &Item| {
        let code = match &item.step {
            Step::Appended(_, status) => *status,
            Step::Failed(failure) => failure.code,
            Step::Append(..) => return false,
        };
        version >= LEADER_HINT_SINCE && code == ErrorCode::NOT_LEADER_OR_FOLLOWER
    };
    let image = plan.items().any(hint).then(|| broker.metadata().image());
    let mut endpoints: Vec<NodeEndpoint<'_>> = Vec::new();
    let responses = plan.topics.iter().map(|topic| {
        let name = std::str::from_utf8(&names[topic.name.clone()]).unwrap_or_default();
        let partitions = topic.partitions.iter().map(|item| {
            let mut response = match &item.step {
                Step::Appended(appended, status) => appended_response(item.index, appended, *status),
                Step::Failed(failure) => failed_response(item.index, failure),
                Step::Append(..) => unreachable!("every batch was appended or has failed"),
            };
            if let Some(image) = image.as_deref().filter(|_| hint(item)) {
                let by_id = version >= TOPIC_IDS_SINCE;
                let topic = if by_id { image.topic_by_id(topic.id) } else { image.topic(name) };
                if let Some(partition) = topic.and_then(|topic| topic.partition(item.index)) {
                    response.current_leader = LeaderIdAndEpoch {
                        leader_id: partition.leader,
                        leader_epoch: partition.leader_epoch,
                        ..Default::default()
                    };
                    add_endpoint(&mut endpoints, image, partition.leader, listener);
                }
            }
            response
        });
        TopicProduceResponse {
            name,
            topic_id: topic.id,
            partition_responses: partitions.collect(),
            ..Default::default()
        }
    });
    let responses = responses.collect();
    let response = ProduceResponse { responses, node_endpoints: endpoints, ..Default::default() };
    respond(&response, version, correlation_id)
}

/// P11: a batch that is in the log. One that was not committed in time keeps its offset (W5).
pub fn appended_response(
    index: i32,
    appended: &Appended,
    status: ErrorCode,
) -> PartitionProduceResponse<'static> {
    PartitionProduceResponse {
        index,
        error_code: status,
        base_offset: appended.base_offset,
        log_append_time_ms: appended.log_append_time_ms,
        log_start_offset: appended.log_start_offset,
        ..Default::default()
    }
}

/// P12: a batch that is not in the log.
pub fn failed_response(index: i32, failure: &AppendFailure) -> PartitionProduceResponse<'_> {
    PartitionProduceResponse {
        index,
        error_code: failure.code,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: failure.log_start_offset,
        record_errors: failure
            .records
            .iter()
            .map(|(batch_index, message)| BatchIndexAndErrorMessage {
                batch_index: *batch_index,
                batch_index_error_message: Some(message),
                ..Default::default()
            })
            .collect(),
        error_message: failure.message.as_deref(),
        ..Default::default()
    }
}

/// Adds the leader's endpoint on the listener of the request (M8), once.
pub fn add_endpoint<'i>(
    endpoints: &mut Vec<NodeEndpoint<'i>>,
    image: &'i MetadataImage,
    leader: i32,
    listener: &str,
) {
    let Some(broker) = image.broker(leader) else { return };
    if endpoints.iter().any(|endpoint| endpoint.node_id == leader) {
        return;
    }
    if let Some(endpoint) = broker.end_point(listener) {
        endpoints.push(NodeEndpoint {
            node_id: leader,
            host: &endpoint.host,
            port: i32::from(endpoint.port),
            rack: broker.rack.as_deref(),
            ..Default::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_request_that_waits_only_the_topics_names_are_kept() {
        // W11
        let frame = b"..first..a large batch..second..another..";
        let topic = |name| Topic { name, id: Uuid::ZERO, partitions: Vec::new() };
        let mut plan =
            Plan { acks: -1, timeout_ms: 1, topics: vec![topic(2..7), topic(0..0), topic(24..30)] };
        let names = plan.keep_names(frame);
        assert_eq!(names, b"firstsecond");
        let found: Vec<&[u8]> = plan.topics.iter().map(|topic| &names[topic.name.clone()]).collect();
        assert_eq!(found, [&b"first"[..], b"", b"second"]);
    }
}
