//! Creating and deleting topics: the checks of M1, M2 and M4, in Kafka's order and with Kafka's codes.

use std::collections::{BTreeMap, BTreeSet};

use rohrpost_protocol::metadata_log::{ConfigRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};
use rohrpost_protocol::{ErrorCode, Uuid, topic_name};

use super::local::{Controller, random_uuid};
use super::placement;
use super::records::{Changes, Proposal};
use super::source::{
    ApiError, CreateTopics, CreatedTopic, DeletedTopic, NewTopic, ReplicaAssignment, TopicRef,
};
use crate::metadata::{CLUSTER_METADATA_TOPIC, ConfigResource, MetadataImage, NO_LEADER};

/// Most partitions that one request may create, as in Kafka.
pub(super) const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
/// The directory id of a replica whose broker has several directories: the broker will say which.
const DIRECTORY_UNASSIGNED: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Answers in the order of a request.
pub(super) type Answers<T> = Vec<Result<T, ApiError>>;

/// What a topic will consist of.
struct Plan {
    name: String,
    partitions: Vec<Vec<i32>>,
    replication_factor: i16,
    configs: BTreeMap<String, String>,
}

impl Controller {
    /// Creates topics, all in one change; those with an error are left out of it.
    pub fn create_topics(&mut self, request: &CreateTopics) -> Proposal<Answers<CreatedTopic>> {
        let twice = named_twice(request.topics.iter().map(|topic| topic.name.as_str()));
        let mut changes = Changes::default();
        let mut names = CollidingNames::default();
        let mut partitions_left = PARTITIONS_PER_REQUEST_MAX;
        let mut answers = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            // M2
            let answer = if twice.contains(topic.name.as_str()) {
                Err(ApiError::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name."))
            } else {
                self.plan(topic, &mut names, partitions_left).and_then(|plan| {
                    partitions_left -= plan.partitions.len();
                    self.write(plan, &mut changes, request.validate_only)
                })
            };
            if answer.is_ok() {
                names.add(&topic.name);
            }
            answers.push(answer);
        }
        if request.validate_only {
            return Proposal::nothing(answers);
        }
        changes.atomic(answers)
    }

    /// Deletes topics, all in one change; those with an error are left out of it (M4).
    pub fn delete_topics(&mut self, topics: &[TopicRef]) -> Proposal<Answers<DeletedTopic>> {
        let mut changes = Changes::default();
        // name and id may speak of the same topic
        let found: Vec<Result<DeletedTopic, ApiError>> =
            topics.iter().map(|topic| self.find(topic)).collect();
        let ids = found.iter().filter_map(|answer| answer.as_ref().ok()).map(|topic| topic.id);
        let twice = named_twice(ids);
        let answers = found
            .into_iter()
            .map(|answer| {
                let topic = answer?;
                if twice.contains(&topic.id) {
                    return Err(ApiError::new(
                        ErrorCode::INVALID_REQUEST,
                        "Duplicate topic name or topic id.",
                    ));
                }
                changes.push(RemoveTopicRecord { topic_id: topic.id, ..Default::default() })?;
                Ok(topic)
            })
            .collect();
        changes.atomic(answers)
    }

    fn find(&self, topic: &TopicRef) -> Result<DeletedTopic, ApiError> {
        // M4
        if !self.settings.delete_topic_enable {
            return Err(ApiError::new(ErrorCode::TOPIC_DELETION_DISABLED, "Topic deletion is disabled."));
        }
        let found = match topic {
            TopicRef::Name(name) => self.image().topic(name),
            TopicRef::Id(id) => self.image().topic_by_id(*id),
        };
        match (found, topic) {
            (Some(found), _) => Ok(DeletedTopic { name: found.name.to_string(), id: found.id }),
            (None, TopicRef::Name(_)) => Err(ApiError::new(
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                "This server does not host this topic-partition.",
            )),
            (None, TopicRef::Id(_)) => {
                Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID."))
            }
        }
    }

    /// Checks a topic and decides what it will look like. Writes nothing.
    fn plan(
        &mut self,
        topic: &NewTopic,
        names: &mut CollidingNames,
        partitions_left: usize,
    ) -> Result<Plan, ApiError> {
        // M1
        check_name(&topic.name)?;
        if topic.name == CLUSTER_METADATA_TOPIC {
            return Err(ApiError::new(
                ErrorCode::INVALID_REQUEST,
                format!("Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited."),
            ));
        }
        // M2
        if self.image().topic(&topic.name).is_some() {
            let message = format!("Topic '{}' already exists.", topic.name);
            return Err(ApiError::new(ErrorCode::TOPIC_ALREADY_EXISTS, message));
        }
        // M1
        if let Some(other) = names.find(self.image(), &topic.name) {
            return Err(ApiError::new(
                ErrorCode::INVALID_TOPIC_EXCEPTION,
                format!("Topic '{}' collides with existing topic: {other}", topic.name),
            ));
        }
        let configs = configs_of(topic)?;
        self.topic_defaults().validate(&configs)?;
        let partitions = if topic.assignments.is_empty() {
            self.place(topic, partitions_left)?
        } else {
            assigned(self.image(), topic, partitions_left)?
        };
        let replication_factor = partitions.first().map_or(0, Vec::len) as i16;
        Ok(Plan { name: topic.name.clone(), partitions, replication_factor, configs })
    }

    fn place(&mut self, topic: &NewTopic, partitions_left: usize) -> Result<Vec<Vec<i32>>, ApiError> {
        // M2
        let factor = match topic.replication_factor {
            -1 => self.settings.default_replication_factor,
            factor if factor < 1 => {
                return Err(ApiError::new(
                    ErrorCode::INVALID_REPLICATION_FACTOR,
                    "Replication factor must be larger than 0, or -1 to use the default value.",
                ));
            }
            factor => factor,
        };
        let count = match topic.partitions {
            -1 => self.settings.num_partitions,
            count if count < 1 => {
                return Err(ApiError::new(
                    ErrorCode::INVALID_PARTITIONS,
                    "Number of partitions was set to an invalid non-positive value.",
                ));
            }
            count => count,
        };
        let count = usize::try_from(count).unwrap_or(0);
        check_count(count, partitions_left)?;
        placement::place(self.replay.image(), count, factor as usize, &mut self.rng)
    }

    fn write(
        &mut self,
        plan: Plan,
        changes: &mut Changes,
        validate_only: bool,
    ) -> Result<CreatedTopic, ApiError> {
        let mut id = random_uuid(&mut self.rng);
        while self.image().topic_by_id(id).is_some() {
            id = random_uuid(&mut self.rng);
        }
        let before = changes.len();
        if let Err(error) = self.push(&plan, id, changes) {
            changes.truncate(before);
            return Err(error);
        }
        Ok(CreatedTopic {
            id: if validate_only { Uuid::ZERO } else { id },
            partitions: plan.partitions.len() as i32,
            replication_factor: plan.replication_factor,
            configs: self.topic_defaults().effective(&plan.configs),
        })
    }

    fn push(&self, plan: &Plan, topic_id: Uuid, changes: &mut Changes) -> Result<(), ApiError> {
        // C3: the topic, its settings, its partitions
        changes.push(TopicRecord { name: &plan.name, topic_id, ..Default::default() })?;
        for (name, value) in &plan.configs {
            changes.push(ConfigRecord {
                resource_type: ConfigResource::TOPIC,
                resource_name: &plan.name,
                name,
                value: Some(value),
                ..Default::default()
            })?;
        }
        for (partition_id, replicas) in plan.partitions.iter().enumerate() {
            changes.push(new_partition(self.image(), topic_id, partition_id as i32, replicas))?;
        }
        Ok(())
    }
}

/// C3: both epochs 0; in sync are the assigned brokers that are alive, and the first of them leads.
pub(super) fn new_partition(
    image: &MetadataImage,
    topic_id: Uuid,
    partition_id: i32,
    replicas: &[i32],
) -> PartitionRecord {
    // C3
    let isr: Vec<i32> = replicas.iter().copied().filter(|&id| placement::is_active(image, id)).collect();
    PartitionRecord {
        partition_id,
        topic_id,
        replicas: replicas.to_vec(),
        leader: isr.first().copied().unwrap_or(NO_LEADER),
        isr,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: replicas.iter().map(|&id| directory(image, id)).collect(),
        ..Default::default()
    }
}

/// Where a broker's replica will lie: its directory, if it has only one.
fn directory(image: &MetadataImage, broker: i32) -> Uuid {
    match image.broker(broker).map(|broker| broker.log_dirs.as_slice()) {
        Some([only]) => *only,
        _ => DIRECTORY_UNASSIGNED,
    }
}

/// M1: what a topic may be called.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    // M1
    topic_name::check(name).map_err(|problem| {
        ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, format!("Topic name is invalid: {problem}"))
    })
}

/// M1: `a.b` and `a_b` are one name to metric systems. The names that have a dot or an underscore, by what they are then called:
/// those of the image and those that the same request creates. Collected once per request, and only if one needs it: a
/// request may name many topics.
#[derive(Default)]
struct CollidingNames(Option<BTreeMap<String, String>>);

impl CollidingNames {
    /// The topic that a new one would collide with.
    fn find(&mut self, image: &MetadataImage, name: &str) -> Option<&str> {
        // M1
        let unified = unify(name)?;
        let of_image =
            || image.topics().filter_map(|t| Some((unify(&t.name)?, t.name.to_string()))).collect();
        self.0.get_or_insert_with(of_image).get(&unified).map(String::as_str)
    }

    /// Takes note of a topic that is about to be created.
    fn add(&mut self, name: &str) {
        if let (Some(names), Some(unified)) = (&mut self.0, unify(name)) {
            names.insert(unified, name.to_owned());
        }
    }
}

/// The name as metric systems see it; `None` if nothing else can look the same.
fn unify(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

fn configs_of(topic: &NewTopic) -> Result<BTreeMap<String, String>, ApiError> {
    let mut configs = BTreeMap::new();
    for (name, value) in &topic.configs {
        let Some(value) = value else {
            let message = format!("Null value not supported for topic configs: {name}");
            return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
        };
        configs.insert(name.clone(), value.clone());
    }
    Ok(configs)
}

/// M2: the client's own placement. Every partition from 0 on, registered brokers, none twice, equally many, one alive.
fn assigned(
    image: &MetadataImage,
    topic: &NewTopic,
    partitions_left: usize,
) -> Result<Vec<Vec<i32>>, ApiError> {
    // M2
    let contradiction = |what: &str| {
        ApiError::new(
            ErrorCode::INVALID_REQUEST,
            format!("A manual partition assignment was specified, but {what} was not set to -1."),
        )
    };
    if topic.replication_factor != -1 {
        return Err(contradiction("replication factor"));
    }
    if topic.partitions != -1 {
        return Err(contradiction("numPartitions"));
    }
    check_count(topic.assignments.len(), partitions_left)?;
    let mut partitions: BTreeMap<i32, &ReplicaAssignment> = BTreeMap::new();
    for assignment in &topic.assignments {
        if partitions.insert(assignment.partition, assignment).is_some() {
            return Err(bad_assignment(format!(
                "Found multiple manual partition assignments for partition {}",
                assignment.partition
            )));
        }
    }
    if partitions.keys().enumerate().any(|(index, &number)| index as i32 != number) {
        return Err(bad_assignment("partitions should be a consecutive 0-based integer sequence".to_owned()));
    }
    let factor = partitions.values().next().map_or(0, |first| first.broker_ids.len());
    for assignment in partitions.values() {
        check_assignment(image, assignment, factor)?;
    }
    Ok(partitions.values().map(|assignment| assignment.broker_ids.clone()).collect())
}

pub(super) fn check_assignment(
    image: &MetadataImage,
    assignment: &ReplicaAssignment,
    factor: usize,
) -> Result<(), ApiError> {
    let ids = &assignment.broker_ids;
    if ids.is_empty() {
        return Err(bad_assignment(
            "The manual partition assignment includes an empty replica list.".to_owned(),
        ));
    }
    if let Some(id) = named_twice(ids.iter().copied()).first() {
        return Err(bad_assignment(format!(
            "The manual partition assignment includes the broker {id} more than once."
        )));
    }
    if let Some(id) = ids.iter().find(|&&id| image.broker(id).is_none()) {
        return Err(bad_assignment(format!(
            "The manual partition assignment includes broker {id}, but no such broker is registered."
        )));
    }
    if ids.len() != factor {
        return Err(bad_assignment(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous \
             partitions, which have {factor} replica(s).",
            ids.len()
        )));
    }
    if !ids.iter().any(|&id| placement::is_active(image, id)) {
        return Err(bad_assignment(format!(
            "All brokers specified in the manual partition assignment for partition {} are fenced or in controlled shutdown.",
            assignment.partition
        )));
    }
    Ok(())
}

pub(super) fn bad_assignment(message: String) -> ApiError {
    ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message)
}

pub(super) fn check_count(count: usize, partitions_left: usize) -> Result<(), ApiError> {
    if count > partitions_left {
        return Err(ApiError::new(
            ErrorCode::POLICY_VIOLATION,
            format!(
                "Excessively large number of partitions per request: at most {PARTITIONS_PER_REQUEST_MAX}."
            ),
        ));
    }
    Ok(())
}

/// What occurs more than once.
pub(super) fn named_twice<T: Ord + Clone>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for item in items {
        if !seen.insert(item.clone()) {
            twice.insert(item);
        }
    }
    twice
}
