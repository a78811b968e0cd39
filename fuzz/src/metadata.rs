//! Target: the metadata log, as records that a controller may have written and as bytes that nobody did.
//!
//! Input: values of records, each with its length; a length of 0 publishes.
//!
//! Promises: a record is applied or refused; images and deltas agree with each other, whatever was applied.

use rohrpost_broker::metadata::{MetadataImage, Replay};
use rohrpost_protocol::metadata_log::MetadataRecord;

use crate::input::{Input, put_counted};
use crate::vectors::{bytes, cases};

/// See the module.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut replay = Replay::new("AAECAwQFBgcICQoLDA0ODw");
    let mut offset = 0;
    while !input.is_empty() {
        let value = input.counted();
        if value.is_empty() {
            if let Some((image, delta)) = replay.publish() {
                let _ = (format!("{delta:?}"), delta.is_empty());
                agrees_with_itself(&image);
            }
            continue;
        }
        match replay.apply(offset, 1, value) {
            Ok(()) => assert!(MetadataRecord::decode_value(value).is_ok(), "applied and not readable"),
            Err(error) => {
                // a broker stops here
                let _ = error.to_string();
                return;
            }
        }
        offset += 1;
    }
}

/// See the module.
pub fn seeds() -> Vec<Vec<u8>> {
    let values: Vec<Vec<u8>> =
        cases("metadata_records.jsonl").iter().map(|case| bytes(case, "value")).collect();
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let joined = |values: &[Vec<u8>]| {
        let mut seed = Vec::new();
        for value in values {
            put_counted(&mut seed, value);
        }
        put_counted(&mut seed, &[]);
        seed
    };
    seeds.extend(values.iter().map(|value| joined(std::slice::from_ref(value))));
    seeds.extend(history().windows(4).map(joined));
    seeds.push(joined(&history()));
    seeds
}

/// Records that fit together.
fn history() -> Vec<Vec<u8>> {
    use rohrpost_protocol::Uuid;
    use rohrpost_protocol::metadata_log::*;
    let topic_id = Uuid([7; 16]);
    let records: Vec<MetadataRecord<'_>> = vec![
        RegisterBrokerRecord { broker_id: 1, ..Default::default() }.into(),
        UnfenceBrokerRecord { id: 1, ..Default::default() }.into(),
        BeginTransactionRecord::default().into(),
        TopicRecord { name: "t", topic_id, ..Default::default() }.into(),
        PartitionRecord { topic_id, replicas: vec![1], isr: vec![1], leader: 1, ..Default::default() }.into(),
        EndTransactionRecord::default().into(),
        ConfigRecord {
            resource_type: 2,
            resource_name: "t",
            name: "k",
            value: Some("v"),
            ..Default::default()
        }
        .into(),
        PartitionChangeRecord { topic_id, leader: 1, isr: Some(vec![1]), ..Default::default() }.into(),
        RemoveTopicRecord { topic_id, ..Default::default() }.into(),
        FenceBrokerRecord { id: 1, ..Default::default() }.into(),
    ];
    records
        .iter()
        .map(|record| {
            let newest = *record.versions().iter().collect::<Vec<_>>().last().expect("it has a version");
            record.encode_value(newest).expect("the newest version carries all")
        })
        .collect()
}

/// Names and ids lead to the same topics.
fn agrees_with_itself(image: &MetadataImage) {
    assert_eq!(image.topics().count(), image.topic_count());
    for topic in image.topics() {
        let by_id = image.topic_by_id(topic.id).expect("a topic has its id");
        assert_eq!(by_id.name, topic.name);
        assert!(image.topic(&topic.name).is_some());
        for (index, partition) in topic.partitions.iter().enumerate() {
            let _ = image.offline_replicas(partition);
            assert!(image.partition(&topic.name, index as i32).is_some());
        }
    }
}
