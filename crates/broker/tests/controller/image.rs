//! What records do to the image.

use proptest::prelude::*;
use rohrpost_broker::controller::TopicRef;
use rohrpost_broker::metadata::{ApplyErrorKind, MetadataImage, Replay};
use rohrpost_protocol::metadata_log::*;

use crate::support::*;

fn value<'a>(record: impl Into<MetadataRecord<'a>>, version: i16) -> Vec<u8> {
    record.into().encode_value(version).unwrap()
}

/// A replay with topic `t` of one partition, and broker 1.
fn with_topic() -> Replay {
    let mut replay = Replay::new(CLUSTER_ID);
    let partition = PartitionRecord {
        partition_id: 0,
        topic_id: uuid(500),
        replicas: vec![1, 2, 3],
        isr: vec![1, 2, 3],
        leader: 1,
        leader_epoch: 4,
        partition_epoch: 7,
        directories: vec![uuid(101), uuid(102), uuid(103)],
        ..Default::default()
    };
    let broker = RegisterBrokerRecord {
        broker_id: 1,
        broker_epoch: 11,
        log_dirs: vec![uuid(101)],
        ..Default::default()
    };
    let records = [
        value(TopicRecord { name: "t", topic_id: uuid(500), ..Default::default() }, 0),
        value(partition, 2),
        value(broker, 4),
    ];
    apply_all(&mut replay, &records);
    replay
}

fn moved_to(offset: i64, image: &MetadataImage) -> MetadataImage {
    let mut image = image.clone();
    image.offset = offset;
    image
}

fn apply_all(replay: &mut Replay, records: &[Vec<u8>]) {
    let first = replay.image().offset + 1;
    for (offset, record) in (first..).zip(records) {
        replay.apply(offset, 1, record).unwrap();
    }
    replay.publish();
}

fn change(edit: impl FnOnce(&mut PartitionChangeRecord)) -> Vec<u8> {
    let mut record = PartitionChangeRecord { partition_id: 0, topic_id: uuid(500), ..Default::default() };
    edit(&mut record);
    value(record, 2)
}

#[test]
fn absent_fields_of_a_partition_change_leave_what_is_there() {
    // C1
    let mut replay = with_topic();
    let before = replay.image().partition("t", 0).unwrap().clone();
    apply_all(&mut replay, &[change(|_| {})]);
    let after = replay.image().partition("t", 0).unwrap();
    assert_eq!(after.partition_epoch, before.partition_epoch + 1);
    assert_eq!(*after, rohrpost_broker::metadata::PartitionImage { partition_epoch: 8, ..before });
}

#[test]
fn a_leader_that_is_named_begins_a_leader_epoch_even_if_it_is_the_same_or_none() {
    // C1
    let mut replay = with_topic();
    for (n, leader) in [1, -1, 2].into_iter().enumerate() {
        apply_all(&mut replay, &[change(|c| c.leader = leader)]);
        let partition = replay.image().partition("t", 0).unwrap();
        assert_eq!((partition.leader, partition.leader_epoch), (leader, 5 + n as i32));
    }
    apply_all(&mut replay, &[change(|c| c.isr = Some(vec![2]))]);
    let partition = replay.image().partition("t", 0).unwrap();
    assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch), (2, 7, 11));
    assert_eq!(partition.isr, [2]);
}

#[test]
fn a_registration_change_fences_unfences_and_leaves_alone() {
    // C2
    let mut replay = with_topic();
    let mut fenced_after = |fenced: i8, shutdown: i8| {
        let record = BrokerRegistrationChangeRecord {
            broker_id: 1,
            broker_epoch: 11,
            fenced,
            in_controlled_shutdown: shutdown,
            ..Default::default()
        };
        apply_all(&mut replay, &[value(record, 1)]);
        let broker = replay.image().broker(1).unwrap();
        (broker.fenced, broker.in_controlled_shutdown)
    };
    assert_eq!(fenced_after(-1, 0), (false, false));
    assert_eq!(fenced_after(0, 0), (false, false));
    assert_eq!(fenced_after(1, 1), (true, true));
    assert_eq!(fenced_after(0, 0), (true, true));
}

#[test]
fn an_unknown_type_or_version_stops_with_an_error_that_names_it() {
    // C4
    let mut replay = with_topic();
    let cases = [(vec![1, 99, 0, 0], "99"), (vec![1, 2, 9, 0], "TopicRecord"), (vec![2, 2, 0], "frame")];
    for (bytes, expected) in cases {
        let error = replay.clone().apply(10, 1, &bytes).unwrap_err();
        assert!(matches!(error.kind, ApplyErrorKind::Unreadable(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("offset 10"), "{text}");
    }
    // the replay refuses before anything has changed
    assert!(replay.apply(10, 1, &[1, 99, 0, 0]).is_err());
    assert_eq!(replay.publish(), None);
}

#[test]
fn records_that_contradict_the_image_are_refused() {
    let unknown_topic = value(RemoveTopicRecord { topic_id: uuid(501), ..Default::default() }, 0);
    let taken_name = value(TopicRecord { name: "t", topic_id: uuid(501), ..Default::default() }, 0);
    let gap = value(PartitionRecord { partition_id: 2, topic_id: uuid(500), ..Default::default() }, 2);
    let stale = value(UnregisterBrokerRecord { broker_id: 1, broker_epoch: 10, ..Default::default() }, 0);
    let end = value(EndTransactionRecord::default(), 0);
    for record in [unknown_topic, taken_name, gap, stale, end] {
        let error = with_topic().apply(3, 1, &record).unwrap_err();
        assert!(matches!(error.kind, ApplyErrorKind::Inconsistent(_)), "{error}");
    }
}

#[test]
fn a_transaction_is_seen_as_one_step_or_not_at_all() {
    // C5
    let begin = value(BeginTransactionRecord::default(), 0);
    let add = |name: &str, id| value(TopicRecord { name, topic_id: uuid(id), ..Default::default() }, 0);
    let mut replay = with_topic();
    let before = replay.image().clone();
    for (offset, record) in [(3, &begin), (4, &add("a", 600)), (5, &add("b", 601))] {
        replay.apply(offset, 1, record).unwrap();
        assert_eq!(replay.publish(), None);
    }
    assert_eq!(replay.open_transaction(), Some(3));
    assert_eq!(*replay.image(), before);

    let mut ended = replay.clone();
    ended.apply(6, 1, &value(EndTransactionRecord::default(), 0)).unwrap();
    let (image, delta) = ended.publish().unwrap();
    assert_eq!(topic_names(&image), ["a", "b", "t"]);
    assert_eq!(delta.topics_created.len(), 2);

    replay.apply(6, 1, &value(AbortTransactionRecord::default(), 0)).unwrap();
    let (image, delta) = replay.publish().unwrap();
    assert_eq!(topic_names(&image), ["t"]);
    assert!(delta.is_empty());
    assert_eq!(*image, moved_to(6, &before));
}

#[test]
fn a_no_op_moves_the_offset_and_nothing_else() {
    // C24
    let mut replay = with_topic();
    let before = replay.image().clone();
    replay.apply(3, 1, &value(NoOpRecord::default(), 0)).unwrap();
    let (image, delta) = replay.publish().unwrap();
    assert!(delta.is_empty());
    assert_eq!(*image, moved_to(3, &before));
}

#[test]
fn every_golden_record_is_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/metadata_records.jsonl");
    let vectors = std::fs::read_to_string(path).unwrap();
    let mut seen = 0;
    for line in vectors.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let hex = case["value"].as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        if let Err(error) = Replay::new(CLUSTER_ID).apply(0, 0, &bytes) {
            // applied to an empty image most of them contradict it; none is unreadable
            assert!(matches!(error.kind, ApplyErrorKind::Inconsistent(_)), "{}: {error}", case["id"]);
        }
        seen += 1;
    }
    assert!(seen > 50);
}

/// Something that an operator or a broker does.
#[derive(Debug, Clone)]
enum Step {
    Create { name: u8, partitions: i32, config: bool },
    Delete { name: u8 },
    Start { broker: i32 },
    Fence { broker: i32 },
    Ids { broker: i32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..6_u8, 1..4, any::<bool>()).prop_map(|(name, partitions, config)| Step::Create { name, partitions, config }),
        2 => (0..6_u8).prop_map(|name| Step::Delete { name }),
        2 => (1..4).prop_map(|broker| Step::Start { broker }),
        1 => (1..4).prop_map(|broker| Step::Fence { broker }),
        1 => (1..4).prop_map(|broker| Step::Ids { broker }),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_are_an_error_and_never_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), record_type in 0..30_u8, version in 0..5_u8) {
        // C4
        let mut replay = with_topic();
        let _ = replay.apply(3, 1, &bytes);
        bytes.splice(0..0, [1, record_type, version]);
        let _ = replay.apply(3, 1, &bytes);
    }

    // Invariant 12, C22
    #[test]
    fn replaying_the_log_gives_the_live_image_at_every_offset_and_deltas_give_the_same(steps in steps(), seed: u64) {
        let mut bench = Bench::with_seed(&[], seed);
        let mut live = vec![bench.image().clone()];
        for step in steps {
            run(&mut bench, step);
            live.push(bench.image().clone());
            check_invariants(bench.image());
        }
        let mut replay = Replay::new(CLUSTER_ID);
        let mut follower = Follower::default();
        let mut live = live.into_iter();
        let mut expected = live.next();
        for (offset, record) in &bench.records {
            replay.apply(*offset, 1, record).unwrap();
            // publish only where the live controller did: its steps are whole changes
            while expected.as_ref().is_some_and(|image| image.offset < *offset) {
                expected = live.next();
            }
            if expected.as_ref().is_some_and(|image| image.offset == *offset) {
                let (image, delta) = replay.publish().unwrap();
                prop_assert_eq!(&*image, expected.as_ref().unwrap());
                follower.apply(&delta);
                prop_assert_eq!(&follower, &Follower::of(&image));
            }
        }
        prop_assert_eq!(&**replay.image(), bench.image());
    }
}

fn run(bench: &mut Bench, step: Step) {
    let name = |n: u8| format!("topic-{n}");
    match step {
        Step::Create { name: n, partitions, config } => {
            let configs: &[(&str, &str)] =
                if config { &[("retention.ms", "1000"), ("segment.ms", "5")] } else { &[] };
            let alive = bench.image().alive_brokers().count() as i16;
            let mut topic = with_configs(&name(n), configs);
            topic.partitions = partitions;
            topic.replication_factor = alive.max(1);
            let _ = bench.create_one(topic);
        }
        Step::Delete { name: n } => {
            let proposal = bench.controller.delete_topics(&[TopicRef::Name(name(n))]);
            let _ = bench.commit(proposal);
        }
        Step::Start { broker } if !bench.image().is_alive(broker) => {
            bench.start_broker(broker, None);
        }
        Step::Start { broker } => {
            let incarnation = bench.next_offset as u128 + 9000;
            let _ = bench.register(&registration(broker, incarnation, None));
        }
        Step::Fence { broker } => {
            if let Ok(proposal) = bench.controller.fence_broker(broker) {
                bench.commit(proposal);
            }
        }
        Step::Ids { broker } => {
            let epoch = bench.image().broker(broker).map_or(-1, |b| b.epoch);
            if let Ok(proposal) = bench.controller.allocate_producer_ids(broker, epoch) {
                bench.commit(proposal);
            }
        }
    }
}

/// Leaders are in sync and alive; a fenced broker is in no in-sync set, unless it is the last member.
fn check_invariants(image: &MetadataImage) {
    for partition in image.topics().flat_map(|topic| &topic.partitions) {
        assert!(!partition.isr.is_empty());
        if partition.has_leader() {
            assert!(partition.is_in_sync(partition.leader) && image.is_alive(partition.leader));
            assert!(partition.isr.iter().all(|&id| image.is_alive(id)), "invariant 5");
        }
        assert!(partition.isr.iter().all(|id| partition.replicas.contains(id)));
    }
}
