//! Fetch (1): reads for consumers, waits for bytes when there are too few (chapter 11.1).
//!
//! A fetch is taken apart into [`Work`], which owns all it needs: it may outlive the request's frame by `MaxWaitMs`. Read once at
//! arrival; if that is not enough, it waits in the purgatory of its partitions and is read again when it ends (W6).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rohrpost_protocol::messages::fetch::{EpochEndOffset, LeaderIdAndEpoch, NodeEndpoint};
use rohrpost_protocol::messages::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use rohrpost_protocol::{Decoder, ErrorCode, Records, Uuid};

use super::{Broker, Context, Mode, Outcome, produce, read, respond, respond_with, wait};
use crate::purgatory::{DelayedFetch, FetchWork, Progress};
use crate::replica::{EpochCheck, Partition, ReadOutcome, ReadRequest, Reader};

/// From this version on topics go by id (F7).
const TOPIC_IDS_SINCE: i16 = 13;
/// From this version on errors about the leader name it (F8).
const LEADER_HINT_SINCE: i16 = 16;
/// KAFKA_STORAGE_ERROR is known from this version on (F12).
const STORAGE_ERROR_SINCE: i16 = 6;

/// A fetch that is ready to be read, any number of times.
struct Work {
    broker: Arc<Broker>,
    version: i16,
    correlation_id: i32,
    /// Name of the listener that the request came in on (M8).
    listener: Arc<str>,
    /// F4: the whole answer's budget.
    bytes_max: usize,
    /// F6: never more than the budget, or the fetch would always wait for its deadline.
    bytes_min: usize,
    reader: Reader,
    /// Isolation level 1: aborted transactions are listed (F10); there are none.
    read_committed: bool,
    /// G8: told at top level too; NONE otherwise.
    refused: ErrorCode,
    topics: Vec<Topic>,
}

struct Topic {
    name: String,
    id: Uuid,
    partitions: Vec<Item>,
}

struct Item {
    index: i32,
    found: Result<Arc<Partition>, ErrorCode>,
    epoch: EpochCheck,
    offset: i64,
    last_fetched_epoch: i32,
    bytes_max: usize,
    /// What the last pass found: bytes that it returned, and the partition's count of bytes at that moment.
    found_bytes: AtomicU64,
    found_at: AtomicU64,
}

/// One pass over all partitions.
struct Pass {
    /// One entry per partition, in the order of the request.
    results: Vec<Result<ReadOutcome, ErrorCode>>,
    bytes: usize,
    /// An error or a divergence: it must be told now (F6).
    must_tell: bool,
}

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { version, correlation_id, .. } = context;
    let request: FetchRequest<'_> = read(input, version)?;
    // F14, F16: there are no sessions, so one that a client names is unknown. A full fetch needs none.
    if request.session_id != 0 && request.session_epoch > 0 {
        let error_code = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
        return respond(&FetchResponse { error_code, ..Default::default() }, version, correlation_id);
    }
    let work = Work::new(&context, &request, mode);
    let pass = work.read();
    // F6, W8
    let now =
        request.max_wait_ms <= 0 || work.topics.is_empty() || pass.must_tell || pass.bytes >= work.bytes_min;
    if now {
        return work.answer_with(pass);
    }
    let partitions = work.items().filter_map(|item| item.found.clone().ok()).collect();
    let waiter = DelayedFetch::start(Box::new(work), partitions, context.responder.clone());
    Ok(wait(context.broker, waiter, request.max_wait_ms))
}

impl Work {
    fn new(context: &Context<'_>, request: &FetchRequest<'_>, mode: Mode) -> Self {
        let Context { broker, version, correlation_id, listener, .. } = *context;
        let replica_id = if version >= 15 { request.replica_state.replica_id } else { request.replica_id };
        // F1: another isolation level does not exist
        let refuse_all = match mode {
            Mode::Refuse(code) => Some(code),
            Mode::Serve if !(0..=1).contains(&request.isolation_level) => Some(ErrorCode::INVALID_REQUEST),
            Mode::Serve => None,
        };
        let find = |topic: &str, id: Uuid, index: i32| match refuse_all {
            Some(code) => Err(code),
            None if version >= TOPIC_IDS_SINCE => broker.replicas().by_id(id, index), // F7
            None => broker.replicas().by_name(topic, index),
        };
        let topics = request.topics.iter().map(|topic| Topic {
            name: topic.topic.to_owned(),
            id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| Item {
                    index: partition.partition,
                    found: find(topic.topic, topic.topic_id, partition.partition),
                    epoch: EpochCheck(partition.current_leader_epoch),
                    offset: partition.fetch_offset,
                    last_fetched_epoch: partition.last_fetched_epoch,
                    bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
                    found_bytes: AtomicU64::new(0),
                    found_at: AtomicU64::new(0),
                })
                .collect(),
        });
        let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(broker.fetch_bytes_max()); // F4
        Self {
            broker: Arc::clone(broker),
            version,
            correlation_id,
            listener: Arc::clone(listener),
            bytes_max,
            bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max), // F6
            reader: if replica_id >= 0 { Reader::Replica(replica_id) } else { Reader::Consumer },
            read_committed: request.isolation_level == 1,
            refused: match mode {
                Mode::Refuse(code) => code,
                Mode::Serve => ErrorCode::NONE,
            },
            topics: topics.collect(),
        }
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    /// Reads all partitions in the order of the request, within the budget. The first partition with data gives at least
    /// its first batch, whatever the limits (F4).
    fn read(&self) -> Pass {
        let mut pass = Pass { results: Vec::new(), bytes: 0, must_tell: false };
        for item in self.items() {
            let result = item.found.clone().and_then(|partition| {
                partition
                    .read(ReadRequest {
                        reader: self.reader,
                        epoch: item.epoch,
                        offset: item.offset,
                        last_fetched_epoch: item.last_fetched_epoch,
                        bytes_max: item.bytes_max.min(self.bytes_max.saturating_sub(pass.bytes)),
                        at_least_one: pass.bytes == 0,
                    })
                    .map_err(|code| self.in_words_of_version(code))
            });
            match &result {
                Ok(outcome) => {
                    pass.bytes += outcome.records.len();
                    item.found_bytes.store(outcome.records.len() as u64, Ordering::Relaxed);
                    item.found_at.store(outcome.appended_bytes, Ordering::Relaxed);
                    pass.must_tell |= outcome.diverging.is_some();
                }
                Err(_) => pass.must_tell = true,
            }
            pass.results.push(result);
        }
        pass
    }

    fn answer_with(&self, pass: Pass) -> Result<Outcome, String> {
        let image = self.broker.metadata().image();
        let mut endpoints: Vec<NodeEndpoint<'_>> = Vec::new();
        let mut records: Vec<Bytes> = Vec::new();
        let mut results = pass.results.into_iter();
        let responses: Vec<_> = self
            .topics
            .iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|item| {
                    let result = results.next().unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR));
                    let mut data = partition_data(item.index, result, &mut records);
                    data.aborted_transactions = self.read_committed.then(Box::default); // F10: null unless asked for
                    if self.version >= LEADER_HINT_SINCE
                        && matches!(
                            data.error_code,
                            ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH
                        )
                        && let Some(partition) =
                            image.topic_by_id(topic.id).and_then(|t| t.partition(item.index))
                    {
                        // F8
                        data.current_leader = LeaderIdAndEpoch {
                            leader_id: partition.leader,
                            leader_epoch: partition.leader_epoch,
                            ..Default::default()
                        };
                        produce::add_endpoint(&mut endpoints, &image, partition.leader, &self.listener);
                    }
                    data
                });
                FetchableTopicResponse {
                    topic: &topic.name,
                    topic_id: topic.id,
                    partitions: partitions.collect(),
                    ..Default::default()
                }
            })
            .collect();
        // F16: a broker without sessions always answers session 0
        let response = FetchResponse {
            error_code: self.refused,
            session_id: 0,
            responses,
            node_endpoints: endpoints,
            ..Default::default()
        };
        respond_with(&response, self.version, self.correlation_id, records)
    }

    /// A partition's error as the request's version calls it.
    fn in_words_of_version(&self, code: ErrorCode) -> ErrorCode {
        match code {
            // F12
            ErrorCode::KAFKA_STORAGE_ERROR if self.version < STORAGE_ERROR_SINCE => {
                ErrorCode::NOT_LEADER_OR_FOLLOWER
            }
            // F7: deleted while the fetch waited; it was asked for by id
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION if self.version >= TOPIC_IDS_SINCE => {
                ErrorCode::UNKNOWN_TOPIC_ID
            }
            code => code,
        }
    }
}

impl FetchWork for Work {
    fn progress(&self) -> Progress {
        // W6: what the first pass found and what was appended since, each partition up to its own limit
        let mut bytes = 0u64;
        for item in self.items() {
            let Ok(partition) = &item.found else { return Progress::Ready };
            // an error must be told
            let Ok(now) = partition.appended_bytes(item.offset, item.epoch) else { return Progress::Ready };
            let since = now.saturating_sub(item.found_at.load(Ordering::Relaxed));
            let limit = item.bytes_max.max(1) as u64;
            bytes += item.found_bytes.load(Ordering::Relaxed).saturating_add(since).min(limit);
        }
        if bytes >= self.bytes_min as u64 { Progress::Ready } else { Progress::Waiting }
    }

    fn answer(&self) -> Outcome {
        // W6: read again
        self.answer_with(self.read()).unwrap_or_else(Outcome::Close)
    }
}

fn partition_data(
    partition_index: i32,
    result: Result<ReadOutcome, ErrorCode>,
    records: &mut Vec<Bytes>,
) -> PartitionData<'static> {
    match result {
        Err(error_code) => PartitionData {
            partition_index,
            error_code,
            // F2
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            records: Some(Records::Bytes(&[])),
            ..Default::default()
        },
        Ok(outcome) => {
            let mut data = PartitionData {
                partition_index,
                high_watermark: outcome.high_watermark,
                // without transactions everything below the high watermark is stable; there are no aborted ones (F10)
                last_stable_offset: outcome.high_watermark,
                log_start_offset: outcome.log_start_offset,
                records: Some(Records::Bytes(&[])),
                ..Default::default()
            };
            if let Some((epoch, end_offset)) = outcome.diverging {
                data.diverging_epoch = EpochEndOffset { epoch, end_offset, ..Default::default() };
            }
            if !outcome.records.is_empty() {
                data.records = Some(Records::Elsewhere { len: outcome.records.len() });
                records.push(outcome.records);
            }
            data
        }
    }
}
