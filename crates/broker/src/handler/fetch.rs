//! Fetch (1): reads for consumers, waits for bytes when there are too few (chapter 11.1).
//!
//! A fetch is taken apart into [`Work`], which owns all it needs: it may outlive the request's frame by `MaxWaitMs`. Read once at
//! arrival; if that is not enough, it waits in the purgatory of its partitions and is read again when it ends (W6).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use rohrpost_protocol::messages::fetch::{EpochEndOffset, LeaderIdAndEpoch, NodeEndpoint};
use rohrpost_protocol::messages::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use rohrpost_protocol::{Decoder, ErrorCode, Records, Uuid};

use super::fetch_session::{Ask, Found, Header, Key, SessionCache, Start, Turn};
use super::{Broker, Context, Mode, Outcome, produce, read, respond, respond_with, wait};
use crate::purgatory::{DelayedFetch, FetchWork, Progress};
use crate::replica::{EpochCheck, Partition, ReadOutcome, ReadRequest, Reader};

/// From this version on topics go by id (F7).
const TOPIC_IDS_SINCE: i16 = 13;
/// From this version on errors about the leader name it (F8).
const LEADER_HINT_SINCE: i16 = 16;
/// KAFKA_STORAGE_ERROR is known from this version on (F12).
const STORAGE_ERROR_SINCE: i16 = 6;

/// The fetch sessions of a broker, and their clock.
pub(crate) struct FetchSessions {
    cache: Mutex<SessionCache>,
    started: Instant,
}

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
    session: Session,
    /// In the order of the request, or of its session.
    items: Vec<Item>,
}

/// What becomes of a session with the answer.
enum Session {
    None,
    Open,
    Continue(Turn),
}

struct Item {
    key: Key,
    ask: Ask,
    found: Result<Arc<Partition>, ErrorCode>,
    /// What the last pass found: bytes that it returned, and the partition's count of bytes at that moment.
    found_bytes: AtomicU64,
    found_at: AtomicU64,
}

/// One pass over all partitions.
struct Pass {
    /// One entry per partition, in the order of the items.
    results: Vec<Result<ReadOutcome, ErrorCode>>,
    bytes: usize,
    /// An error or a divergence: it must be told now (F6).
    must_tell: bool,
}

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    let request: FetchRequest<'_> = read(input, version)?;
    let named = named(&request, version);
    let start = match mode {
        Mode::Refuse(_) => Start::Full,
        Mode::Serve => broker.fetch_sessions().start(&request, &named, version),
    };
    let (session, wanted) = match start {
        Start::Full => (Session::None, named),
        Start::Open => (Session::Open, named),
        Start::Ended => (Session::None, Vec::new()),
        Start::Continue(mut turn) => {
            let wanted = std::mem::take(&mut turn.wanted);
            (Session::Continue(turn), wanted)
        }
        // F14
        Start::Refuse(error_code) => {
            return respond(&FetchResponse { error_code, ..Default::default() }, version, correlation_id);
        }
    };
    let work = Work::new(&context, &request, session, wanted, mode);
    let pass = work.read();
    // F6, W8
    let now =
        request.max_wait_ms <= 0 || work.items.is_empty() || pass.must_tell || pass.bytes >= work.bytes_min;
    if now {
        return work.answer_with(pass);
    }
    let partitions = work.items.iter().filter_map(|item| item.found.clone().ok()).collect();
    let waiter = DelayedFetch::start(Box::new(work), partitions, context.responder.clone());
    Ok(wait(context.broker, waiter, request.max_wait_ms))
}

/// The partitions that a request names, in its order.
fn named(request: &FetchRequest<'_>, version: i16) -> Vec<(Key, Ask)> {
    let by_id = version >= TOPIC_IDS_SINCE;
    let topics = request.topics.iter().flat_map(|topic| {
        let (name, id) = if by_id { ("", topic.topic_id) } else { (topic.topic, Uuid::ZERO) };
        let name: Arc<str> = name.into();
        topic.partitions.iter().map(move |partition| {
            let key = Key { topic: Arc::clone(&name), id, index: partition.partition };
            let ask = Ask {
                offset: partition.fetch_offset,
                // F8; here Kafka takes any negative epoch for none
                current_leader_epoch: partition.current_leader_epoch.max(-1),
                last_fetched_epoch: partition.last_fetched_epoch,
                bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            };
            (key, ask)
        })
    });
    topics.collect()
}

impl FetchSessions {
    /// With room for so many sessions (F16).
    pub(crate) fn new(slots: usize) -> FetchSessions {
        let cache = Mutex::new(SessionCache::new(slots, fastrand::u64(..)));
        FetchSessions { cache, started: Instant::now() }
    }

    fn start(&self, request: &FetchRequest<'_>, named: &[(Key, Ask)], version: i16) -> Start {
        let uses_ids = version >= TOPIC_IDS_SINCE;
        let header = Header { id: request.session_id, epoch: request.session_epoch, uses_ids };
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
            let (name, id) = if uses_ids { ("", topic.topic_id) } else { (topic.topic, Uuid::ZERO) };
            let name: Arc<str> = name.into();
            topic.partitions.iter().map(move |index| Key { topic: Arc::clone(&name), id, index: *index })
        });
        self.cache.lock().start(header, named.iter().cloned(), forgotten, self.now_ms())
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

impl Work {
    fn new(
        context: &Context<'_>,
        request: &FetchRequest<'_>,
        session: Session,
        wanted: Vec<(Key, Ask)>,
        mode: Mode,
    ) -> Self {
        let Context { broker, version, correlation_id, listener, .. } = *context;
        let replica_id = if version >= 15 { request.replica_state.replica_id } else { request.replica_id };
        // F1: another isolation level does not exist
        let refuse_all = match mode {
            Mode::Refuse(code) => Some(code),
            Mode::Serve if !(0..=1).contains(&request.isolation_level) => Some(ErrorCode::INVALID_REQUEST),
            Mode::Serve => None,
        };
        let find = |key: &Key| match refuse_all {
            Some(code) => Err(code),
            None if version >= TOPIC_IDS_SINCE => broker.replicas().by_id(key.id, key.index), // F7
            None => broker.replicas().by_name(&key.topic, key.index),
        };
        let items = wanted.into_iter().map(|(key, ask)| Item {
            found: find(&key),
            key,
            ask,
            found_bytes: AtomicU64::new(0),
            found_at: AtomicU64::new(0),
        });
        let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(broker.fetch_bytes_max()); // F4
        // while others do not read their answers, this one is short; the first batch always goes out
        let bytes_max = bytes_max.min(broker.unsent().room());
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
            session,
            items: items.collect(),
        }
    }

    /// Reads all partitions in their order, within the budget. The first partition with data gives at least its first batch,
    /// whatever the limits (F4).
    fn read(&self) -> Pass {
        let mut pass = Pass { results: Vec::new(), bytes: 0, must_tell: false };
        for item in &self.items {
            let result = item.found.clone().and_then(|partition| {
                partition
                    .read(ReadRequest {
                        reader: self.reader,
                        epoch: EpochCheck(item.ask.current_leader_epoch),
                        offset: item.ask.offset,
                        last_fetched_epoch: item.ask.last_fetched_epoch,
                        bytes_max: item.ask.bytes_max.min(self.bytes_max.saturating_sub(pass.bytes)),
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
        let found = pass.results.iter().map(found);
        // F15, F16
        let (session_id, told) = match &self.session {
            Session::None => (0, None),
            Session::Open => {
                let read =
                    self.items.iter().zip(found).map(|(item, found)| (item.key.clone(), item.ask, found));
                let sessions = self.broker.fetch_sessions();
                let uses_ids = self.version >= TOPIC_IDS_SINCE;
                let is_follower = matches!(self.reader, Reader::Replica(_));
                (sessions.cache.lock().open(uses_ids, is_follower, read, sessions.now_ms()), None)
            }
            Session::Continue(turn) => {
                let keys = self.items.iter().map(|item| &item.key);
                match turn.tell(keys.zip(found)) {
                    Ok(told) => (turn.id, Some(told)),
                    Err(error_code) => {
                        let response = FetchResponse { error_code, ..Default::default() };
                        return respond(&response, self.version, self.correlation_id);
                    }
                }
            }
        };
        let image = self.broker.metadata().image();
        let mut endpoints: Vec<NodeEndpoint<'_>> = Vec::new();
        let mut records: Vec<Bytes> = Vec::new();
        let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
        let is_told = |n: usize| told.as_ref().is_none_or(|told| told.get(n) == Some(&true));
        let told = self.items.iter().zip(pass.results).enumerate().filter(|(n, _)| is_told(*n));
        for (_, (Item { key, .. }, result)) in told {
            let mut data = partition_data(key.index, result, &mut records);
            data.aborted_transactions = self.read_committed.then(Box::default); // F10: null unless asked for
            let about_leader = [ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::FENCED_LEADER_EPOCH];
            if self.version >= LEADER_HINT_SINCE
                && about_leader.contains(&data.error_code)
                && let Some(partition) = image.topic_by_id(key.id).and_then(|t| t.partition(key.index))
            {
                // F8
                data.current_leader = LeaderIdAndEpoch {
                    leader_id: partition.leader,
                    leader_epoch: partition.leader_epoch,
                    ..Default::default()
                };
                produce::add_endpoint(&mut endpoints, &image, partition.leader, &self.listener);
            }
            match responses.last_mut() {
                Some(last) if *last.topic == *key.topic && last.topic_id == key.id => {
                    last.partitions.push(data);
                }
                _ => responses.push(FetchableTopicResponse {
                    topic: &key.topic,
                    topic_id: key.id,
                    partitions: vec![data],
                    ..Default::default()
                }),
            }
        }
        let response = FetchResponse {
            error_code: self.refused,
            session_id,
            responses,
            node_endpoints: endpoints,
            ..Default::default()
        };
        let mut outcome = respond_with(&response, self.version, self.correlation_id, records)?;
        if let Outcome::Respond(response) = &mut outcome {
            response.count_in(self.broker.unsent());
        }
        Ok(outcome)
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
        for item in &self.items {
            let Ok(partition) = &item.found else { return Progress::Ready };
            // an error must be told
            let Ok(now) =
                partition.appended_bytes(item.ask.offset, EpochCheck(item.ask.current_leader_epoch))
            else {
                return Progress::Ready;
            };
            let since = now.saturating_sub(item.found_at.load(Ordering::Relaxed));
            let limit = item.ask.bytes_max.max(1) as u64;
            bytes += item.found_bytes.load(Ordering::Relaxed).saturating_add(since).min(limit);
        }
        if bytes >= self.bytes_min as u64 { Progress::Ready } else { Progress::Waiting }
    }

    fn answer(&self) -> Outcome {
        // W6: read again
        self.answer_with(self.read()).unwrap_or_else(Outcome::Close)
    }
}

/// What decides whether a session tells of a partition (F15).
fn found(result: &Result<ReadOutcome, ErrorCode>) -> Found {
    match result {
        Ok(outcome) => Found {
            has_records: !outcome.records.is_empty(),
            is_trouble: outcome.diverging.is_some(),
            high_watermark: outcome.high_watermark,
            log_start: outcome.log_start_offset,
        },
        Err(_) => Found { has_records: false, is_trouble: true, high_watermark: -1, log_start: -1 },
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
