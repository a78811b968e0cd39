//! `rohrpost topics describe`: what a cluster says about topics, as a table for people or as JSON.

use std::collections::{BTreeMap, BTreeSet};

use rohrpost_net::{Client, NodeId, PartitionMetadata, Target as Node, TopicMetadata};
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::{
    DescribableLogDirTopic, DescribeConfigsRequest, DescribeConfigsResource, DescribeLogDirsRequest,
};
use serde_json::json;

use super::{EARLIEST, LATEST, offset_at, print, refused, table};
use crate::failure::Failure;

/// DescribeConfigs: a topic, and a value that was set for it rather than inherited.
const TOPIC: i8 = 2;
const SET_FOR_TOPIC: i8 = 1;

pub(super) fn describe(client: &mut Client, names: &[String], as_json: bool) -> Result<(), Failure> {
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut metadata = client.metadata((!wanted.is_empty()).then_some(&wanted)).map_err(Failure::run)?;
    metadata.topics.sort_by(|a, b| a.name.cmp(&b.name));
    metadata.topics.dedup_by(|a, b| a.name == b.name);
    let (found, missing): (Vec<_>, Vec<_>) =
        metadata.topics.iter().partition(|topic| topic.error == ErrorCode::NONE);
    let configs = configs(client, &found);
    let sizes = sizes(client, &found);
    let mut text = String::new();
    for (at, topic) in found.iter().enumerate() {
        let described = Described {
            topic,
            offsets: topic.partitions.iter().map(|partition| offsets(client, topic, partition)).collect(),
            configs: configs.get(&topic.name),
            sizes: &sizes,
        };
        if as_json {
            text += &format!("{}\n", described.json());
        } else {
            if at > 0 {
                text.push('\n');
            }
            text += &described.text();
        }
    }
    print(&text)?;
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.iter().map(|topic| refused(&topic.name, topic.error));
    Err(Failure::run(missing.collect::<Vec<_>>().join("\n")))
}

/// A topic and all that is known of it.
struct Described<'a> {
    topic: &'a TopicMetadata,
    /// First and end offset of each partition; `None` where nobody answers.
    offsets: Vec<(Option<i64>, Option<i64>)>,
    /// What was set for the topic; `None` if the cluster does not say.
    configs: Option<&'a BTreeMap<String, Option<String>>>,
    /// Bytes of each leader's replica, as far as told.
    sizes: &'a BTreeMap<(String, i32), i64>,
}

impl Described<'_> {
    fn text(&self) -> String {
        let topic = self.topic;
        let replicas: BTreeSet<usize> =
            topic.partitions.iter().map(|partition| partition.replicas.len()).collect();
        let replicas: Vec<String> = replicas.iter().map(usize::to_string).collect();
        let mut head = format!("topic {}", topic.name);
        if topic.id != Default::default() {
            head += &format!("  id {}", topic.id);
        }
        head +=
            &format!("  partitions {}  replication factor {}", topic.partitions.len(), replicas.join(" or "));
        if topic.is_internal {
            head += "  internal";
        }
        let configs = match self.configs {
            None => "settings: the cluster does not say".to_owned(),
            Some(configs) if configs.is_empty() => "settings: all defaults".to_owned(),
            Some(configs) => {
                let set = configs
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("(hidden)")));
                format!("settings: {}", set.collect::<Vec<_>>().join("  "))
            }
        };
        let header = ["PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "START", "END", "BYTES"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for (partition, (start, end)) in topic.partitions.iter().zip(&self.offsets) {
            let known = |number: Option<i64>| number.map_or("?".to_owned(), |number| number.to_string());
            rows.push(vec![
                partition.partition.to_string(),
                if partition.leader_id < 0 { "none".to_owned() } else { partition.leader_id.to_string() },
                partition.leader_epoch.to_string(),
                numbers(&partition.replicas),
                numbers(&partition.in_sync),
                known(*start),
                known(*end),
                known(self.size(partition)),
            ]);
        }
        let rows: String = table(&rows).lines().map(|line| format!("  {line}\n")).collect();
        format!("{head}\n  {configs}\n{rows}")
    }

    fn json(&self) -> serde_json::Value {
        let partitions = self.topic.partitions.iter().zip(&self.offsets).map(|(partition, (start, end))| {
            json!({
                "partition": partition.partition,
                "leader": (partition.leader_id >= 0).then_some(partition.leader_id),
                "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas,
                "in_sync": partition.in_sync,
                "offline": partition.offline,
                "start_offset": start,
                "end_offset": end,
                "bytes": self.size(partition),
            })
        });
        json!({
            "topic": self.topic.name,
            "id": self.topic.id.to_string(),
            "internal": self.topic.is_internal,
            "settings": self.configs,
            "partitions": partitions.collect::<Vec<_>>(),
        })
    }

    fn size(&self, partition: &PartitionMetadata) -> Option<i64> {
        self.sizes.get(&(self.topic.name.clone(), partition.partition)).copied()
    }
}

fn offsets(
    client: &mut Client,
    topic: &TopicMetadata,
    partition: &PartitionMetadata,
) -> (Option<i64>, Option<i64>) {
    // without a leader nobody knows, and asking would only wait
    if partition.leader_id < 0 {
        return (None, None);
    }
    let mut ask = |time| offset_at(client, &topic.name, partition.partition, time).ok();
    (ask(EARLIEST), ask(LATEST))
}

/// What was set for each topic. A cluster that does not serve the request, or refuses it, says nothing.
fn configs(
    client: &mut Client,
    topics: &[&TopicMetadata],
) -> BTreeMap<String, BTreeMap<String, Option<String>>> {
    let mut found = BTreeMap::new();
    if topics.is_empty() {
        return found;
    }
    let resources = topics.iter().map(|topic| DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: &topic.name,
        ..Default::default()
    });
    let request = DescribeConfigsRequest { resources: resources.collect(), ..Default::default() };
    let Ok(response) = client.call(Node::Any, &request) else { return found };
    let Ok(answer) = response.decode::<DescribeConfigsRequest<'_>>() else { return found };
    for result in answer.results.iter().filter(|result| result.error_code == ErrorCode::NONE) {
        let set = result.configs.iter().filter(|config| config.config_source == SET_FOR_TOPIC);
        found.insert(
            result.resource_name.to_owned(),
            set.map(|config| (config.name.to_owned(), config.value.map(str::to_owned))).collect(),
        );
    }
    found
}

/// Bytes of the leaders' replicas, from each leader that tells.
fn sizes(client: &mut Client, topics: &[&TopicMetadata]) -> BTreeMap<(String, i32), i64> {
    let mut by_leader = BTreeMap::<NodeId, BTreeMap<&str, Vec<i32>>>::new();
    for topic in topics {
        for partition in topic.partitions.iter().filter(|partition| partition.leader_id >= 0) {
            let of_leader = by_leader.entry(partition.leader_id).or_default();
            of_leader.entry(&topic.name).or_default().push(partition.partition);
        }
    }
    let mut sizes = BTreeMap::new();
    for (leader, led) in by_leader {
        let topics = led.iter().map(|(topic, partitions)| DescribableLogDirTopic {
            topic,
            partitions: partitions.clone().into(),
            ..Default::default()
        });
        let request = DescribeLogDirsRequest { topics: Some(topics.collect()), ..Default::default() };
        let Ok(response) = client.call(Node::Node(leader), &request) else { continue };
        let Ok(answer) = response.decode::<DescribeLogDirsRequest<'_>>() else { continue };
        for topic in answer.results.iter().flat_map(|directory| &directory.topics) {
            for partition in topic.partitions.iter().filter(|partition| !partition.is_future_key) {
                sizes.insert((topic.name.to_owned(), partition.partition_index), partition.partition_size);
            }
        }
    }
    sizes
}

fn numbers(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}
