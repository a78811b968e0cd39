//! Elections that somebody asks for (M11): leadership back to the preferred replica, or a leader at the price of data.

use std::collections::BTreeSet;

use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::metadata_log::PartitionChangeRecord;

use super::brokers::{NO_LEADER_CHANGE, elect};
use super::local::Controller;
use super::placement;
use super::records::{Changes, Proposal};
use super::source::{ApiError, ElectLeaders, Election};
use crate::metadata::{PartitionImage, TopicImage};

impl Controller {
    /// Elects leaders, all in one change; partitions with an error are left out of it.
    ///
    /// # Errors
    /// A record of the change cannot be encoded. What keeps one partition from being elected is in its own [`Election`].
    pub fn elect_leaders(&mut self, request: &ElectLeaders) -> Result<Proposal<Vec<Election>>, ApiError> {
        let mut changes = Changes::default();
        let mut elections = Vec::new();
        match &request.partitions {
            Some(partitions) => {
                // a second election for a partition would be decided from the same image as the first
                let mut done = BTreeSet::new();
                for (topic, partition) in partitions {
                    let result = if done.insert((topic.as_str(), *partition)) {
                        self.elect_leader(topic, *partition, request.unclean, &mut changes)
                    } else {
                        Err(ApiError::new(ErrorCode::INVALID_REQUEST, "Duplicate topic-partition."))
                    };
                    elections.push(Election { topic: topic.clone(), partition: *partition, result });
                }
            }
            None => {
                let image = self.image().clone();
                for topic in image.topics() {
                    for partition in 0..topic.partitions.len() as i32 {
                        let result = self.elect_leader(&topic.name, partition, request.unclean, &mut changes);
                        // who asks for all is not told of those that need none
                        let needed =
                            !result.as_ref().is_err_and(|error| error.code == ErrorCode::ELECTION_NOT_NEEDED);
                        if needed {
                            elections.push(Election { topic: topic.name.to_string(), partition, result });
                        }
                    }
                }
            }
        }
        Ok(changes.atomic(elections))
    }

    fn elect_leader(
        &self,
        topic: &str,
        number: i32,
        unclean: bool,
        changes: &mut Changes,
    ) -> Result<(), ApiError> {
        let unknown = |message: String| ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message);
        let topic = self.image().topic(topic).ok_or_else(|| unknown(format!("No such topic as {topic}")))?;
        let partition = topic
            .partition(number)
            .ok_or_else(|| unknown(format!("No such partition as {}-{number}", topic.name)))?;
        let change = if unclean {
            self.unclean_leader(topic, number, partition)?
        } else {
            self.preferred_leader(topic, number, partition)?
        };
        changes.push(change)
    }

    fn preferred_leader(
        &self,
        topic: &TopicImage,
        number: i32,
        partition: &PartitionImage,
    ) -> Result<PartitionChangeRecord, ApiError> {
        // M11
        let preferred = partition.replicas.first().copied();
        if preferred.is_some_and(|preferred| preferred == partition.leader) {
            return Err(not_needed());
        }
        // C15, C16: it must be able to lead like any other
        let able =
            preferred.filter(|id| partition.is_in_sync(*id) && placement::is_active(self.image(), *id));
        let Some(leader) = able else {
            return Err(ApiError::new(
                ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE,
                "The preferred leader was not available.",
            ));
        };
        Ok(PartitionChangeRecord { partition_id: number, topic_id: topic.id, leader, ..Default::default() })
    }

    fn unclean_leader(
        &self,
        topic: &TopicImage,
        number: i32,
        partition: &PartitionImage,
    ) -> Result<PartitionChangeRecord, ApiError> {
        // M11
        if partition.has_leader() {
            return Err(not_needed());
        }
        let image = self.image();
        let is_active = |id| placement::is_active(image, id);
        let isr = partition.isr.clone();
        // a replica that has all data goes first, as ever; then whoever is alive (C17, C18)
        elect(topic, number as usize, partition, isr, &is_active, true)
            .filter(|change| change.leader != NO_LEADER_CHANGE)
            .ok_or_else(|| {
                ApiError::new(
                    ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE,
                    "No eligible leaders are available: no replica of the partition is alive.",
                )
            })
    }
}

fn not_needed() -> ApiError {
    ApiError::new(ErrorCode::ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")
}
