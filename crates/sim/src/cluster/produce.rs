//! Produce: chapter 5, with the real broker's checks and answers, and a log that is really appended to. What waits for followers
//! is a [`Waiting`] (W5).

use std::ops::Range;

use rohrpost_broker::metadata::MetadataImage;
use rohrpost_broker::model::{self, AppendFailure, Appended, Committed};
use rohrpost_log::{LeaderChecks, Log};
use rohrpost_protocol::messages::produce::{LeaderIdAndEpoch, NodeEndpoint};
use rohrpost_protocol::messages::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use rohrpost_protocol::{ApiKey, Decoder, ErrorCode, Message, Uuid};
use rohrpost_record::{BatchHeader, single_batch};

use super::replica::Replica;
use super::requests::{Head, Outcome};
use super::{Cluster, Key, LISTENER};

/// From this version on topics go by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// From this version on an answer may name the new leader (P13).
const LEADER_HINT_SINCE: i16 = 10;
/// Brokers that serve no higher version refuse a producer that they do not know and that does not begin at 0 (IDM-9).
const UNKNOWN_PRODUCERS_UNTIL: i16 = 8;
const ACKS_ALL: i16 = -1;

/// A produce request on its way to its answer.
#[derive(Debug)]
pub(super) struct Waiting {
    head: Head,
    acks: i16,
    timeout_ms: i32,
    topics: Vec<Topic>,
}

#[derive(Debug)]
struct Topic {
    name: String,
    id: Uuid,
    partitions: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    index: i32,
    step: Step,
}

/// How far one partition's batch has come.
#[derive(Debug, Clone)]
enum Step {
    /// It lies here in the frame, for this partition.
    Append(Range<usize>, Key),
    /// It is in the log. The status is `None` while it waits.
    Appended {
        appended: Appended,
        key: Key,
        status: Option<ErrorCode>,
        /// Once it is committed, the answer says that it had been there before (IDM-10).
        is_repeated: bool,
    },
    Failed(AppendFailure),
}

impl Cluster {
    pub(super) fn produce(&mut self, node: i32, head: Head, mut frame: Vec<u8>) -> Outcome {
        if self.take_order(node, |orders| &mut orders.cut_before_append) {
            return Outcome::Close;
        }
        let Some(mut waiting) = self.plan(node, head, &frame) else { return Outcome::Close }; // G2
        let (acks, version) = (waiting.acks, head.version);
        let mut touched = Vec::new();
        // P8
        for Topic { name, partitions, .. } in &mut waiting.topics {
            for item in partitions {
                let Step::Append(range, key) = item.step.clone() else { continue };
                let name = self.name_of(key).unwrap_or_else(|| name.clone());
                item.step =
                    self.append_or_spoil(node, (&name, item.index), key, &mut frame[range], acks, version);
                if matches!(item.step, Step::Appended { .. }) {
                    touched.push(key);
                }
            }
        }
        for key in touched {
            self.tell_followers(node, key, false);
            self.raise(node, key);
            waiting.observe(key, Waiting::look(self.broker(node).and_then(|b| b.replicas.get(&key))));
        }
        if self.take_order(node, |orders| &mut orders.cut_after_append) {
            return Outcome::Close;
        }
        if self.take_order(node, |orders| &mut orders.lose_answer) {
            return Outcome::Silence;
        }
        // P9, P10, W8
        if waiting.is_settled() || waiting.timeout_ms <= 0 {
            self.answer_produce(node, waiting)
        } else {
            Outcome::Wait(Box::new(waiting))
        }
    }

    fn take_order(&mut self, node: i32, which: impl FnOnce(&mut super::brokers::Orders) -> &mut u32) -> bool {
        let Some(broker) = self.broker_mut(node) else { return false };
        let left = which(&mut broker.orders);
        let taken = *left > 0;
        *left = left.saturating_sub(1);
        taken
    }

    fn name_of(&self, key: Key) -> Option<String> {
        self.topics.get(key.0).map(|topic| topic.spec.name.clone())
    }

    /// P1 to P6 as far as they need no log. `None`: no request.
    fn plan(&self, node: i32, head: Head, frame: &[u8]) -> Option<Waiting> {
        let request = ProduceRequest::decode(&mut Decoder::new(&frame[head.body..]), head.version).ok()?;
        let image = &self.broker(node)?.image;
        // P1
        let refused = model::has_transactional_batch(&request)
            .then_some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| {
                let step = match refused {
                    Some(code) => Step::Failed(code.into()),
                    None => {
                        self.judge(node, head, image, request.acks, (topic.name, topic.topic_id), data, frame)
                    }
                };
                Item { index: data.index, step }
            });
            Topic { name: topic.name.to_owned(), id: topic.topic_id, partitions: partitions.collect() }
        });
        Some(Waiting { head, acks: request.acks, timeout_ms: request.timeout_ms, topics: topics.collect() })
    }

    /// One partition, in the order of P2 to P6.
    #[allow(clippy::too_many_arguments)]
    fn judge(
        &self,
        node: i32,
        head: Head,
        image: &MetadataImage,
        acks: i16,
        (name, id): (&str, Uuid),
        data: &PartitionProduceData<'_>,
        frame: &[u8],
    ) -> Step {
        let by_id = head.version >= TOPIC_IDS_SINCE;
        let topic = if by_id { image.topic_by_id(id) } else { image.topic(name) };
        // P2
        let Some(topic) = topic else {
            let code =
                if by_id { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
            return Step::Failed(code.into());
        };
        if topic.partition(data.index).is_none() {
            return Step::Failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into());
        }
        let records = data.records.as_ref().and_then(|records| records.bytes());
        let batch = match single_batch(records) {
            Ok(batch) => range_in(frame, batch.bytes()),
            Err(error) => return Step::Failed(model::bad_shape(&error)), // P3
        };
        if !(-1..=1).contains(&acks) {
            return Step::Failed(ErrorCode::INVALID_REQUIRED_ACKS.into()); // P4
        }
        if model::INTERNAL_TOPICS.contains(&&*topic.name) && !head.is_admin {
            return Step::Failed(ErrorCode::INVALID_TOPIC_EXCEPTION.into()); // P5
        }
        let key = self.by_id.get(&topic.id).map(|number| (*number, data.index));
        let hosted = self.broker(node).zip(key).filter(|(broker, key)| broker.replicas.contains_key(key));
        match hosted {
            Some((_, key)) => Step::Append(batch, key),
            None => Step::Failed(ErrorCode::NOT_LEADER_OR_FOLLOWER.into()), // P6
        }
    }

    /// Appends a batch, unless a fault says otherwise; or says something else than what has happened.
    fn append_or_spoil(
        &mut self,
        node: i32,
        asked: (&str, i32),
        key: Key,
        batch: &mut [u8],
        acks: i16,
        version: i16,
    ) -> Step {
        if let Some(failure) = self.take_rejection(asked, batch) {
            return Step::Failed(failure);
        }
        let ordered = self.take_error(ApiKey::Produce, Some(asked));
        if let Some((code, false)) = ordered {
            return Step::Failed(code.into());
        }
        let mut step = self.append(node, key, batch, acks, version);
        if let (Some((code, true)), Step::Appended { status, is_repeated, .. }) = (ordered, &mut step) {
            match code {
                // whoever says that a batch was there before has committed it: this is acks=all
                ErrorCode::DUPLICATE_SEQUENCE_NUMBER => *is_repeated = true,
                // these keep the offset (W5, R33)
                ErrorCode::REQUEST_TIMED_OUT | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND => {
                    *status = Some(code)
                }
                _ => {
                    self.tell_followers(node, key, false);
                    self.raise(node, key);
                    step = Step::Failed(code.into());
                }
            }
        }
        step
    }

    /// P6 to P8, chapter 6.
    fn append(&mut self, node: i32, key: Key, batch: &mut [u8], acks: i16, version: i16) -> Step {
        let wall_ms = self.wall_ms(node);
        let led_by =
            self.image.topic_by_id(self.topics[key.0].id).and_then(|t| t.partition(key.1)).map(|p| p.leader);
        let Some(broker) = self.broker_mut(node) else {
            return Step::Failed(ErrorCode::NOT_LEADER_OR_FOLLOWER.into());
        };
        let produce_max_version = broker.orders.produce_max_version;
        let Some(replica) = broker.replicas.get_mut(&key) else {
            return Step::Failed(ErrorCode::NOT_LEADER_OR_FOLLOWER.into());
        };
        if let Err(code) = replica.check_leader() {
            return Step::Failed(code.into()); // P6
        }
        if acks == ACKS_ALL && replica.isr.len() < replica.min_in_sync {
            return Step::Failed(ErrorCode::NOT_ENOUGH_REPLICAS.into()); // P7
        }
        let leader_epoch = replica.leader_epoch;
        let Some(log) = replica.log.as_mut() else {
            return Step::Failed(ErrorCode::KAFKA_STORAGE_ERROR.into());
        };
        if produce_max_version <= UNKNOWN_PRODUCERS_UNTIL && begins_in_the_middle(log, batch) {
            let log_start_offset = log.log_start_offset();
            return Step::Failed(AppendFailure { log_start_offset, ..ErrorCode::UNKNOWN_PRODUCER_ID.into() });
        }
        let checks = LeaderChecks { produce_version: version, ..LeaderChecks::default() };
        match log.append_as_leader(batch, leader_epoch, wall_ms, checks) {
            Ok(info) => {
                self.counts.batches += u64::from(!info.duplicate);
                self.counts.duplicates += u64::from(info.duplicate);
                self.counts.deposed_appends += u64::from(led_by != Some(node));
                let unknown = Committed::UpTo { high_watermark: -1, status: ErrorCode::NONE };
                let appended = Appended {
                    base_offset: info.first_offset,
                    required_offset: info.last_offset + 1,
                    committed: unknown,
                    own: unknown,
                    log_append_time_ms: info.log_append_time,
                    log_start_offset: info.log_start_offset,
                };
                let status = (acks != ACKS_ALL).then_some(ErrorCode::NONE);
                Step::Appended { appended, key, status, is_repeated: false }
            }
            Err(error) => {
                let log_start = log.log_start_offset();
                if error.code == ErrorCode::KAFKA_STORAGE_ERROR.0 {
                    self.note_disk_failure(node);
                }
                Step::Failed(AppendFailure::of(error, log_start))
            }
        }
    }

    /// KIP-467: some records of a batch are at fault.
    fn take_rejection(&mut self, (name, index): (&str, i32), batch: &[u8]) -> Option<AppendFailure> {
        let at = self.rejections.iter().position(|(topic, partition, times)| {
            (topic.as_str(), *partition) == (name, index) && *times > 0
        })?;
        let count = BatchHeader::parse(batch).ok()?.records_count;
        self.rejections[at].2 -= 1;
        let (first, second) = (self.rng.i32(0..count.max(1)), self.rng.i32(0..count.max(1)));
        let mut at_fault = vec![first.min(second), first.max(second)];
        at_fault.dedup();
        Some(AppendFailure {
            code: ErrorCode::INVALID_RECORD,
            message: Some("some records are refused by order of the simulation".to_owned()),
            records: at_fault.into_iter().map(|index| (index, "refused by order".to_owned())).collect(),
            log_start_offset: 0,
        })
    }

    /// The answer to a request of which nothing waits any more, or which may not wait longer.
    pub(super) fn answer_produce(&mut self, node: i32, waiting: Waiting) -> Outcome {
        for item in waiting.items() {
            self.count(ApiKey::Produce, item.code());
        }
        self.note_errors(node, &waiting);
        let Waiting { head, acks, topics, .. } = &waiting;
        if *acks == 0 {
            // N13
            let failed = waiting.items().any(|item| matches!(item.step, Step::Failed(_)));
            return if failed { Outcome::Close } else { Outcome::Nothing };
        }
        let throttle_ms = self.take_throttle(node);
        let Some(image) = self.broker(node).map(|broker| &broker.image) else { return Outcome::Close };
        let mut node_endpoints: Vec<NodeEndpoint<'_>> = Vec::new();
        let responses = topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|item| {
                let mut response = item.response();
                if head.version >= LEADER_HINT_SINCE && item.code() == ErrorCode::NOT_LEADER_OR_FOLLOWER {
                    // P13
                    let by_id = head.version >= TOPIC_IDS_SINCE;
                    let topic = if by_id { image.topic_by_id(topic.id) } else { image.topic(&topic.name) };
                    if let Some(partition) = topic.and_then(|topic| topic.partition(item.index)) {
                        response.current_leader = LeaderIdAndEpoch {
                            leader_id: partition.leader,
                            leader_epoch: partition.leader_epoch,
                            ..Default::default()
                        };
                        model::add_endpoint(&mut node_endpoints, image, partition.leader, LISTENER);
                    }
                }
                response
            });
            TopicProduceResponse {
                name: &topic.name,
                topic_id: topic.id,
                partition_responses: partitions.collect(),
                ..Default::default()
            }
        });
        let responses = responses.collect();
        let response = ProduceResponse {
            responses,
            throttle_time_ms: throttle_ms as i32,
            node_endpoints,
            ..Default::default()
        };
        Cluster::respond(*head, head.version, &response, throttle_ms)
    }
}

impl Cluster {
    fn note_errors(&mut self, node: i32, waiting: &Waiting) {
        if self.story.is_none() {
            return;
        }
        for topic in &waiting.topics {
            let name = match self.by_id.get(&topic.id) {
                Some(number) => self.topics[*number].spec.name.clone(),
                None if topic.name.is_empty() => topic.id.to_string(),
                None => topic.name.clone(),
            };
            for item in topic.partitions.iter().filter(|item| item.code().is_error()) {
                self.note(|| format!("broker {node} refuses {name}-{}: {}", item.index, item.code().name()));
            }
        }
    }
}

impl Waiting {
    fn items(&self) -> impl Iterator<Item = &Item> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    pub(super) fn timeout_ms(&self) -> u64 {
        u64::try_from(self.timeout_ms).unwrap_or(0)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.items().all(|item| !matches!(item.step, Step::Appended { status: None, .. }))
    }

    /// How far a broker's replica is committed, if it is there.
    pub(super) fn look(replica: Option<&Replica>) -> Committed {
        replica.map_or(Committed::Never(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), Replica::committed)
    }

    /// Tells what a partition says now; what is settled stays so (W5). Returns how many batches lost their leader by it.
    pub(super) fn observe(&mut self, of: Key, committed: Committed) -> u64 {
        let mut deposed = 0;
        for item in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if let Step::Appended { appended, key, status: status @ None, .. } = &mut item.step
                && *key == of
            {
                *status = committed.status_of(appended.required_offset);
                deposed += u64::from(*status == Some(ErrorCode::NOT_LEADER_OR_FOLLOWER));
            }
        }
        deposed
    }
}

impl Item {
    fn code(&self) -> ErrorCode {
        match &self.step {
            Step::Appended { status: Some(ErrorCode::NONE), is_repeated: true, .. } => {
                ErrorCode::DUPLICATE_SEQUENCE_NUMBER
            }
            // W5: what still waits has timed out
            Step::Appended { status, .. } => status.unwrap_or(ErrorCode::REQUEST_TIMED_OUT),
            Step::Failed(failure) => failure.code,
            Step::Append(..) => unreachable!("every batch was appended or has failed"),
        }
    }

    fn response(&self) -> PartitionProduceResponse<'_> {
        match &self.step {
            Step::Appended { appended, is_repeated: true, status: Some(ErrorCode::NONE), .. } => {
                let response = model::appended_response(self.index, appended, self.code());
                PartitionProduceResponse { base_offset: -1, ..response }
            }
            Step::Appended { appended, .. } => model::appended_response(self.index, appended, self.code()),
            Step::Failed(failure) => model::failed_response(self.index, failure),
            Step::Append(..) => unreachable!("every batch was appended or has failed"),
        }
    }
}

/// A batch of a producer that the log does not know, and not its first.
fn begins_in_the_middle(log: &Log, batch: &[u8]) -> bool {
    BatchHeader::parse(batch).is_ok_and(|header| {
        header.has_producer_id() && header.base_sequence > 0 && log.producer(header.producer_id).is_none()
    })
}

/// Where `inner`, a part of `outer`, lies in it.
fn range_in(outer: &[u8], inner: &[u8]) -> Range<usize> {
    let start = (inner.as_ptr() as usize).wrapping_sub(outer.as_ptr() as usize);
    let range = start..start.wrapping_add(inner.len());
    assert!(range.end <= outer.len(), "a decoded batch lies in the frame that it came from");
    range
}
