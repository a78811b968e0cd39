//! The step between two images: what a broker must open, change and close.

use std::collections::BTreeSet;
use std::sync::Arc;

use rohrpost_protocol::Uuid;

use super::image::{ConfigResource, MetadataImage, PartitionImage, TopicImage};

/// What changed from one published image to the next. Lists what differs, not what was written: a change that was undone
/// within the step is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataDelta {
    /// Offset of the image before the step; -1 when there was none.
    pub from_offset: i64,
    /// Offset of the image after it.
    pub to_offset: i64,
    /// Topics that are new, whole. A topic that was deleted and created again is in both lists, with two ids.
    pub topics_created: Vec<Arc<TopicImage>>,
    /// Topics that are gone, as they were.
    pub topics_deleted: Vec<TopicDeletion>,
    /// Partitions of topics that are in both images: new or different.
    pub partitions_changed: Vec<PartitionChange>,
    /// Topics in both images whose settings differ, as they are now.
    pub configs_changed: Vec<Arc<TopicImage>>,
    /// Brokers whose registration is new, different or gone.
    pub brokers_changed: Vec<i32>,
    /// Everything that is not a topic and whose settings differ: brokers, and the empty name for all of them.
    pub resources_changed: Vec<ConfigResource>,
}

/// A topic that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDeletion {
    /// The topic as it was.
    pub topic: Arc<TopicImage>,
}

/// A partition that is new in a topic, or different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionChange {
    /// The topic as it is now.
    pub topic: Arc<TopicImage>,
    /// The partition's number: index into `topic.partitions`.
    pub partition: i32,
    /// The partition as it was; `None` if it is new.
    pub before: Option<PartitionImage>,
}

/// What records have touched since the last published image: where to look for differences.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    pub(super) topics: BTreeSet<Uuid>,
    pub(super) brokers: BTreeSet<i32>,
    pub(super) resources: BTreeSet<ConfigResource>,
}

impl MetadataDelta {
    /// Whether nothing changed that a broker would act on. Feature levels and producer ids are not listed.
    pub fn is_empty(&self) -> bool {
        self.topics_created.is_empty()
            && self.topics_deleted.is_empty()
            && self.partitions_changed.is_empty()
            && self.configs_changed.is_empty()
            && self.brokers_changed.is_empty()
            && self.resources_changed.is_empty()
    }

    /// Everything that is in `image`, as a step from nothing: for a broker that starts or was given a snapshot.
    pub fn from_nothing(image: &MetadataImage) -> MetadataDelta {
        MetadataDelta {
            from_offset: -1,
            to_offset: image.offset,
            topics_created: image.topics().cloned().collect(),
            brokers_changed: image.brokers.keys().copied().collect(),
            resources_changed: image.configs.keys().cloned().collect(),
            ..MetadataDelta::default()
        }
    }

    pub(super) fn between(before: &MetadataImage, after: &MetadataImage, touched: &Touched) -> MetadataDelta {
        let mut delta =
            MetadataDelta { from_offset: before.offset, to_offset: after.offset, ..MetadataDelta::default() };
        for id in &touched.topics {
            match (before.topic_by_id(*id), after.topic_by_id(*id)) {
                (None, None) => {}
                (None, Some(topic)) => delta.topics_created.push(topic.clone()),
                (Some(topic), None) => delta.topics_deleted.push(TopicDeletion { topic: topic.clone() }),
                (Some(old), Some(new)) => delta.compare(old, new),
            }
        }
        let changed = |id: &&i32| before.brokers.get(id) != after.brokers.get(id);
        delta.brokers_changed = touched.brokers.iter().filter(changed).copied().collect();
        let changed =
            |resource: &&ConfigResource| before.configs.get(resource) != after.configs.get(resource);
        delta.resources_changed = touched.resources.iter().filter(changed).cloned().collect();
        delta
    }

    fn compare(&mut self, old: &TopicImage, new: &Arc<TopicImage>) {
        for (number, partition) in new.partitions.iter().enumerate() {
            let before = old.partitions.get(number);
            if before != Some(partition) {
                self.partitions_changed.push(PartitionChange {
                    topic: new.clone(),
                    partition: number as i32,
                    before: before.cloned(),
                });
            }
        }
        if old.configs != new.configs {
            self.configs_changed.push(new.clone());
        }
    }
}
