//! Adding partitions to topics (M5): Kafka's checks, in its order and with its codes.

use rohrpost_protocol::ErrorCode;

use super::local::Controller;
use super::placement;
use super::records::{Changes, Proposal};
use super::source::{ApiError, CreatePartitions, MorePartitions, ReplicaAssignment};
use super::topics::{
    Answers, PARTITIONS_PER_REQUEST_MAX, bad_assignment, check_assignment, check_count, named_twice,
    new_partition,
};
use crate::metadata::TopicImage;

impl Controller {
    /// Adds partitions, all in one change; topics with an error are left out of it.
    pub fn create_partitions(&mut self, request: &CreatePartitions) -> Proposal<Answers<()>> {
        let twice = named_twice(request.topics.iter().map(|more| more.topic.as_str()));
        let mut changes = Changes::default();
        let mut partitions_left = PARTITIONS_PER_REQUEST_MAX;
        let mut answers = Vec::with_capacity(request.topics.len());
        for more in &request.topics {
            let answer = if twice.contains(more.topic.as_str()) {
                Err(ApiError::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name."))
            } else {
                self.extend(more, partitions_left, &mut changes)
            };
            answers.push(answer.map(|added| partitions_left -= added));
        }
        if request.validate_only {
            return Proposal::nothing(answers);
        }
        changes.atomic(answers)
    }

    /// Decides about one topic. How many partitions it gets beside those that it has.
    fn extend(
        &mut self,
        more: &MorePartitions,
        partitions_left: usize,
        changes: &mut Changes,
    ) -> Result<usize, ApiError> {
        let Some(topic) = self.image().topic(&more.topic).cloned() else {
            let message = "This server does not host this topic-partition.";
            return Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
        };
        // M5
        let has = topic.partitions.len();
        let added = usize::try_from(more.count).ok().and_then(|count| count.checked_sub(has));
        let added = added.filter(|added| *added > 0).ok_or_else(|| {
            let message = if usize::try_from(more.count) == Ok(has) {
                format!("Topic already has {has} partition(s).")
            } else {
                format!(
                    "The topic {} currently has {has} partition(s); {} would not be an increase.",
                    topic.name, more.count
                )
            };
            ApiError::new(ErrorCode::INVALID_PARTITIONS, message)
        })?;
        check_count(added, partitions_left)?;
        let factor = topic.partitions.first().map_or(1, |first| first.replicas.len());
        let replicas = match &more.assignments {
            None => placement::place(self.replay.image(), added, factor, &mut self.rng)?,
            Some(assignments) => self.assigned(&topic, assignments, added, factor)?,
        };
        let before = changes.len();
        for (number, replicas) in (has..).zip(&replicas) {
            let pushed = changes.push(new_partition(self.image(), topic.id, number as i32, replicas));
            if let Err(error) = pushed {
                changes.truncate(before);
                return Err(error);
            }
        }
        Ok(added)
    }

    /// The client's own placement of the new partitions: as many as are added, as replicated as the topic.
    fn assigned(
        &self,
        topic: &TopicImage,
        assignments: &[Vec<i32>],
        added: usize,
        factor: usize,
    ) -> Result<Vec<Vec<i32>>, ApiError> {
        // M5
        if assignments.len() != added {
            return Err(bad_assignment(format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            )));
        }
        for (partition, broker_ids) in (topic.partitions.len() as i32..).zip(assignments) {
            let assignment = ReplicaAssignment { partition, broker_ids: broker_ids.clone() };
            check_assignment(self.image(), &assignment, factor)?;
        }
        Ok(assignments.to_vec())
    }
}
