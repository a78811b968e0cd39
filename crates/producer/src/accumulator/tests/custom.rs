//! Partitioners other than the built-in one, and topics with settings of their own.

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::config::TopicConfig;
use crate::metadata::BrokerNode;
use crate::partitioner::{
    Choice, Chosen, Custom, Partitioner, PartitionerClass, RoundRobin, TopicView, UniformSticky,
};

impl Rig {
    fn with_partitioner(leaders: &[Option<i32>], partitioner: Arc<dyn Partitioner>) -> Rig {
        let mut rig = Rig::new(&[], Settings { linger_ms: 0, ..settings() });
        let mut accumulator = Accumulator::new(Settings { linger_ms: 0, ..settings() }, rig.sender.clone());
        accumulator.set_partitioner(Custom::new(partitioner));
        rig.topic = accumulator.topic_or_new("t");
        rig.accumulator = accumulator;
        rig.lead(leaders, 0);
        rig.accumulator.apply(&rig.cluster);
        rig
    }

    fn partition_of(&self, record: Record) -> i32 {
        self.send(record).partition_for_test()
    }

    /// Brokers by number, each with its rack.
    fn racks(&mut self, racks: &[&str]) {
        let broker = |(id, rack): (i32, &&str)| {
            let rack = (!rack.is_empty()).then(|| Arc::from(*rack));
            (id, BrokerNode { host: "b".into(), port: 9092, rack })
        };
        self.cluster.brokers = (1..).zip(racks).map(broker).collect();
        self.accumulator.apply(&self.cluster);
    }
}

/// Answers with what the test says, and counts.
struct Scripted {
    says: fn(&Record, &TopicView<'_>) -> Choice,
    on_new_batch: fn(u32) -> Choice,
    asked: AtomicUsize,
    told: AtomicUsize,
}

impl Scripted {
    fn new(says: fn(&Record, &TopicView<'_>) -> Choice) -> Arc<Scripted> {
        let on_new_batch = |chosen| Choice::Partition(chosen as i32);
        Arc::new(Scripted { says, on_new_batch, asked: AtomicUsize::new(0), told: AtomicUsize::new(0) })
    }

    fn counts(&self) -> (usize, usize) {
        (self.asked.load(Ordering::Relaxed), self.told.load(Ordering::Relaxed))
    }
}

impl Partitioner for Scripted {
    fn partition(&self, record: &Record, topic: &TopicView<'_>) -> Choice {
        self.asked.fetch_add(1, Ordering::Relaxed);
        (self.says)(record, topic)
    }

    fn on_new_batch(&self, _: &Record, _: &TopicView<'_>, chosen: u32) -> Choice {
        self.told.fetch_add(1, Ordering::Relaxed);
        (self.on_new_batch)(chosen)
    }
}

// PAR-15
#[test]
fn round_robin_takes_available_partitions_in_turn_by_number_whatever_the_key() {
    let rig = Rig::with_partitioner(&[Some(2), None, Some(1), Some(1)], Arc::new(RoundRobin::new()));
    let chosen: Vec<i32> = (0..7).map(|_| rig.partition_of(Record::value("v").key("same"))).collect();
    assert_eq!(chosen, [0, 2, 3, 0, 2, 3, 0], "a record that begins a batch skips no partition");
    let rig = Rig::with_partitioner(&[None, None], Arc::new(RoundRobin::new()));
    let chosen: Vec<i32> = (0..3).map(|_| rig.partition_of(Record::value("v"))).collect();
    assert_eq!(chosen, [0, 1, 0], "all of them while none is available");
}

// PAR-15: a counter per topic
#[test]
fn round_robin_counts_for_each_topic() {
    let mut rig = Rig::with_partitioner(&[Some(1); 2], Arc::new(RoundRobin::new()));
    rig.partition_of(Record::value("v"));
    rig.topic = rig.accumulator.topic_or_new("u");
    rig.accumulator.apply(&cluster(7, [topic_metadata("u", &[Some(1); 2], 0)]));
    assert_eq!(rig.partition_of(Record::value("v")), 0);
}

// PAR-16
#[test]
fn uniform_sticky_stays_until_a_batch_would_begin_and_goes_elsewhere_then() {
    let rig = Rig::with_partitioner(&[Some(1), None, Some(1), Some(1)], Arc::new(UniformSticky::seeded(7)));
    let mut stays: Vec<(i32, usize)> = Vec::new();
    for _ in 0..16 * 40 {
        let partition = rig.partition_of(Record::value(vec![7; 1000]).key("same"));
        match stays.last_mut() {
            Some((last, records)) if *last == partition => *records += 1,
            _ => stays.push((partition, 1)),
        }
    }
    // A batch that was left half full goes on where a later stay comes back to it.
    assert!(stays.len() > 30, "{stays:?}");
    let seen: HashSet<i32> = stays.iter().map(|(partition, _)| *partition).collect();
    assert_eq!(seen, HashSet::from([0, 2, 3]), "available ones only");
    for (_, records) in &stays[..stays.len() - 1] {
        assert_eq!(records % 16, 0, "whole batches: {stays:?}");
    }
    let alone = Rig::with_partitioner(&[None, Some(1)], Arc::new(UniformSticky::seeded(7)));
    let chosen: HashSet<i32> = (0..40).map(|_| alone.partition_of(Record::value(vec![7; 9000]))).collect();
    assert_eq!(chosen, HashSet::from([1]), "the only one there is");
    let none = Rig::with_partitioner(&[None, None], Arc::new(UniformSticky::seeded(7)));
    let chosen: HashSet<i32> = (0..40).map(|_| none.partition_of(Record::value(vec![7; 9000]))).collect();
    assert_eq!(chosen, HashSet::from([0, 1]), "any, while none is available");
}

// PAR-15, PAR-16, PAR-17
#[test]
fn a_partitioner_that_is_named_is_the_one_that_chooses() {
    let chosen = |class: PartitionerClass| -> Vec<i32> {
        let rig = Rig::with_partitioner(&[Some(1); 3], class.make(7).expect("not the built-in one"));
        (0..4).map(|_| rig.partition_of(Record::value("v").key("same"))).collect()
    };
    assert_eq!(chosen(PartitionerClass::RoundRobin), [0, 1, 2, 0]);
    let sticky = chosen(PartitionerClass::UniformSticky);
    assert!(sticky[1..].iter().all(|partition| *partition == sticky[1]), "{sticky:?}");
    assert!(PartitionerClass::BuiltIn.make(7).is_none());
}

// PAR-16
#[test]
fn uniform_sticky_leaves_a_partition_that_the_topic_has_no_more() {
    let (sticky, record) = (UniformSticky::seeded(7), Record::value("v"));
    let (three, two) = (TopicState::new("t".into(), 0, 0), TopicState::new("t".into(), 0, 0));
    let (three, two) = (TopicView::new(&three, 3), TopicView::new(&two, 2));
    let stay = |topic: &TopicView<'_>| match sticky.partition(&record, topic) {
        Choice::Partition(index) => index as u32,
        other => panic!("{other:?}"),
    };
    (0..100)
        .take_while(|_| stay(&three) != 2)
        .for_each(|_| drop(sticky.on_new_batch(&record, &three, stay(&three))));
    assert_eq!(stay(&three), 2, "sooner or later");
    assert!(stay(&two) < 2);
}

// PAR-15
#[test]
fn round_robin_leaves_a_topic_without_partitions_to_the_built_in_way() {
    let topic = TopicState::new("t".into(), 0, 0);
    assert_eq!(RoundRobin::new().partition(&Record::value("v"), &TopicView::new(&topic, 0)), Choice::Any);
}

#[test]
fn partitioners_and_what_they_see_can_be_shown() {
    let rig = Rig::new(&[Some(1), None, Some(1)], settings());
    let view = format!("{:?}", TopicView::new(&rig.topic, 3));
    assert_eq!(view, r#"TopicView { topic: "t", partitions: 3, available: [0, 2] }"#);
    let shown = format!("{:?} {:?}", RoundRobin::new(), UniformSticky::new());
    assert_eq!(shown, "RoundRobin UniformSticky");
}

// PAR-18
#[test]
fn a_partitioner_is_asked_again_for_a_record_whose_partition_is_gone() {
    let partitioner = Scripted::new(|_, topic| Choice::Partition(topic.partitions() as i32 - 1));
    let custom = Custom::new(partitioner.clone());
    let (topic, record, mut chosen) = (TopicState::new("t".into(), 0, 0), Record::value("v"), Chosen::Open);
    let mut choose = |known| custom.choose(&record, &topic, known, &mut chosen);
    assert_eq!((choose(3), partitioner.counts().0), (Ok(Some(2)), 1));
    assert_eq!((choose(3), partitioner.counts().0), (Ok(Some(2)), 1), "kept");
    assert_eq!((choose(2), partitioner.counts().0), (Ok(Some(1)), 2), "there is no 2 any more");
}

#[test]
fn a_partitioner_is_closed_once_even_if_it_panics_then() {
    struct Closes(AtomicUsize);
    impl Partitioner for Closes {
        fn partition(&self, _: &Record, _: &TopicView<'_>) -> Choice {
            Choice::Any
        }
        fn close(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("a bug of the application");
        }
    }
    let closes = Arc::new(Closes(AtomicUsize::new(0)));
    let custom = Custom::new(closes.clone());
    for _ in 0..2 {
        custom.close();
        assert_eq!(closes.0.load(Ordering::Relaxed), 1);
    }
}

// PAR-1, PAR-18
#[test]
fn a_records_own_partition_comes_before_the_partitioner_and_any_is_the_built_in_way() {
    let partitioner = Scripted::new(|record, _| match record.value_bytes() {
        Some(value) if value.as_ref() == b"2" => Choice::Partition(2),
        _ => Choice::Any,
    });
    let rig = Rig::with_partitioner(&[Some(1); 3], partitioner.clone());
    assert_eq!(rig.partition_of(Record::value("2").key("a").partition(0).unwrap()), 0);
    assert_eq!(partitioner.counts(), (0, 0));
    assert_eq!(rig.partition_of(Record::value("2").key("a")), 2);
    assert_eq!(rig.partition_of(Record::value("v").key("a")), 1, "by its key");
    let sticky: HashSet<i32> = (0..5).map(|_| rig.partition_of(Record::value("v"))).collect();
    assert_eq!(sticky.len(), 1);
}

// PAR-1: a negative answer is an error
#[test]
fn an_answer_that_is_no_partition_refuses_the_record_and_leaves_nothing() {
    let refused = |says: fn(&Record, &TopicView<'_>) -> Choice| {
        let rig = Rig::with_partitioner(&[Some(1); 3], Scripted::new(says));
        let refused = rig.append(&Record::value("v"));
        assert_eq!((rig.held(), rig.accumulator.counts().pending), (0, 0));
        match refused {
            Append::NoPartition(why) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|_, _| Choice::Partition(-1)), "it chose -1, and there are 3 partitions, from 0");
    assert_eq!(refused(|_, _| Choice::Partition(3)), "it chose 3, and there are 3 partitions, from 0");
    assert_eq!(refused(|_, _| Choice::Refuse("no till".into())), "no till");
    assert_eq!(refused(|_, _| panic!("a bug of the application")), "it panicked");
}

// PAR-18
#[test]
fn a_partitioner_sees_leaders_racks_queue_lengths_and_the_record() {
    let partitioner = Scripted::new(|record, topic| {
        assert_eq!((topic.topic(), topic.partitions(), topic.available()), ("t", 4, &[0, 2, 3][..]));
        let led: Vec<_> = (0..5).map(|index| topic.leader(index)).collect();
        assert_eq!(led, [Some(1), None, Some(2), Some(3), None]);
        let racks: Vec<_> = (0..5).map(|index| topic.leader_rack(index)).collect();
        assert_eq!(racks, [Some("east"), None, Some("west"), None, None]);
        assert_eq!((record.key_bytes().unwrap().as_ref(), record.headers()[0].key()), (&b"k"[..], "h"));
        let shortest = topic.available().iter().min_by_key(|index| topic.queued_batches(**index));
        Choice::Partition(*shortest.unwrap() as i32)
    });
    let mut rig = Rig::with_partitioner(&[Some(1), None, Some(2), Some(3)], partitioner);
    rig.lead(&[Some(1), None, Some(2), Some(3)], 1);
    rig.racks(&["east", "west", ""]);
    let chosen: Vec<i32> =
        (0..6).map(|_| rig.partition_of(Record::value(vec![7; 20_000]).key("k").header("h", "1"))).collect();
    assert_eq!(chosen, [0, 2, 3, 0, 2, 3]);
}

// PAR-18: it is told of new batches, once for a record, and asked once
#[test]
fn a_partitioner_is_asked_once_for_a_record_and_told_when_a_batch_would_begin() {
    let partitioner = Scripted::new(|_, _| Choice::Partition(1));
    let rig = Rig::with_partitioner(&[Some(1); 3], partitioner.clone());
    rig.partition_of(Record::value("v"));
    assert_eq!(partitioner.counts(), (1, 1), "the first record begins a batch");
    rig.partition_of(Record::value("v"));
    assert_eq!(partitioner.counts(), (2, 1));
    // This one needs another chunk as well: the append starts over, and asks nobody again.
    rig.partition_of(Record::value(vec![7; 16_000]));
    rig.partition_of(Record::value(vec![7; 16_000]));
    assert_eq!(partitioner.counts(), (4, 2));
    assert_eq!(rig.queue_len(1), 2);
    let mover = Arc::new(Scripted {
        says: |_, _| Choice::Partition(0),
        on_new_batch: |chosen| {
            assert_eq!(chosen, 0);
            Choice::Partition(2)
        },
        asked: AtomicUsize::new(0),
        told: AtomicUsize::new(0),
    });
    let rig = Rig::with_partitioner(&[Some(1); 3], mover.clone());
    assert_eq!(rig.partition_of(Record::value("v")), 2);
    assert_eq!((mover.counts(), rig.queue_len(0)), ((1, 1), 0));
}

// PAR-18: what waits keeps its partition
#[test]
fn a_record_that_found_no_room_keeps_its_partition() {
    let partitioner = Scripted::new(|_, _| Choice::Partition(1));
    let mut rig = Rig::with_partitioner(&[Some(1); 3], partitioner.clone());
    let mut accumulator =
        Accumulator::new(Settings { buffer_memory: 20_000, ..settings() }, rig.sender.clone());
    accumulator.set_partitioner(Custom::new(partitioner.clone()));
    (rig.topic, rig.accumulator) = (accumulator.topic_or_new("t"), accumulator);
    rig.accumulator.apply(&rig.cluster);
    let first = rig.send(Record::value(vec![7; 16_000]));
    let record = Record::value(vec![7; 16_000]);
    let mut candidate = Candidate::of(&record);
    for _ in 0..3 {
        let append = rig.accumulator.append(&rig.topic, &mut candidate, &rig.clock);
        assert!(matches!(append, Append::NoRoom), "{append:?}");
    }
    assert_eq!(partitioner.counts(), (2, 2), "each record once");
    drop(first);
}

// PAR-10: no statistics with a partitioner of one's own
#[test]
fn with_a_partitioner_of_ones_own_the_sticky_choice_is_not_adaptive() {
    let rig = Rig::with_partitioner(&[Some(1), Some(2)], Scripted::new(|_, _| Choice::Any));
    for _ in 0..40 {
        rig.send_to(0, vec![7; 20_000]);
    }
    rig.send_to(1, "v");
    rig.ready();
    let to_long =
        (0..200).filter(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test() == 0).count();
    assert!((60..140).contains(&to_long), "1 in 2 expected, {to_long} of 200 came");
}

// PAR-14
#[test]
fn rack_aware_stickiness_takes_partitions_led_from_the_clients_rack_while_there_are_any() {
    let east = Settings { rack: Some("east".into()), ..settings() };
    let mut rig = Rig::new(&[Some(1), Some(2), Some(3), Some(2)], east);
    rig.lead(&[Some(1), Some(2), Some(3), Some(2)], 1);
    rig.racks(&["west", "east", ""]);
    let chosen = |rig: &Rig| -> HashSet<i32> {
        (0..60).map(|_| rig.partition_of(Record::value(vec![7; 20_000]))).skip(1).collect()
    };
    assert_eq!(chosen(&rig), HashSet::from([1, 3]));
    // With statistics, too: the queues of 1 and 3 are long, those of 0 and 2 short.
    (0..4).for_each(|partition| drop(rig.send_to(partition, "v")));
    rig.ready();
    assert_eq!(chosen(&rig), HashSet::from([1, 3]));
    // Broker 2 leads nothing any more.
    rig.lead(&[Some(1), None, Some(3), None], 2);
    rig.racks(&["west", "east", ""]);
    rig.ready();
    assert_eq!(chosen(&rig), HashSet::from([0, 2]));
}

/// Topics "slow" and "fast" with settings of their own, and "plain".
fn three_topics(plain: Settings, slow: TopicConfig, fast: TopicConfig) -> Rig {
    let topics = [("slow".to_owned(), slow), ("fast".to_owned(), fast)].into();
    let mut rig = Rig::new(&[Some(1)], Settings { topics, ..plain });
    let topics = ["slow", "fast", "plain"].map(|name| topic_metadata(name, &[Some(1)], 0));
    topics.iter().for_each(|topic| drop(rig.accumulator.topic_or_new(&topic.name)));
    rig.cluster = cluster(2, topics);
    rig.accumulator.apply(&rig.cluster);
    rig
}

impl Rig {
    fn send_named(&mut self, topic: &str, value: impl Into<Bytes>) -> Delivery {
        self.topic = self.accumulator.topic_or_new(topic);
        self.send(Record::value(value))
    }

    fn drained_topics(&self) -> Vec<String> {
        let mut topics: Vec<String> =
            self.drain(1).iter().map(|batch| batch.partition().topic_name().to_string()).collect();
        topics.sort();
        topics
    }
}

// CFG-17
#[test]
fn each_topic_lingers_for_its_own_time() {
    let own = settings().topic("");
    let (slow, fast) = (TopicConfig { linger_ms: 100, ..own }, TopicConfig { linger_ms: 0, ..own });
    let mut rig = three_topics(settings(), slow, fast);
    ["slow", "fast", "plain"].iter().for_each(|topic| drop(rig.send_named(topic, "v")));
    assert_eq!(rig.ready().next_check_ms, Some(2));
    assert_eq!(
        rig.drained_topics(),
        ["fast", "plain", "slow"],
        "what goes to a broker takes the others along"
    );
    let mut nodes = Vec::new();
    for (topic, ms) in [("fast", 0), ("plain", 5), ("slow", 100)] {
        rig.send_named(topic, "v");
        rig.clock.advance(ms.max(1) - 1);
        nodes.push((topic, rig.ready().nodes.len()));
        rig.clock.advance(1);
        nodes.push((topic, rig.ready().nodes.len()));
        drop(rig.drain(1));
    }
    assert_eq!(nodes, [("fast", 1), ("fast", 1), ("plain", 0), ("plain", 1), ("slow", 0), ("slow", 1)]);
}

// CFG-17
#[test]
fn each_topic_has_batches_of_its_own_size() {
    let own = settings().topic("");
    let (slow, fast) = (TopicConfig { batch_size: 100_000, ..own }, TopicConfig { batch_size: 1, ..own });
    let mut rig = three_topics(settings(), slow, fast);
    for (topic, records) in [("slow", 98), ("plain", 16), ("fast", 1)] {
        (0..records).for_each(|_| drop(rig.send_named(topic, vec![7; 1000])));
        assert_eq!(rig.queue_len(0), 1, "{topic}");
        (0..2).for_each(|_| drop(rig.send_named(topic, vec![7; 1000])));
        assert!(rig.queue_len(0) > 1, "{topic}");
    }
}

// CFG-17
#[test]
fn each_topic_is_compressed_by_its_own_codec() {
    let own = settings().topic("");
    let gzip = Compression::new(Codec::Gzip, None).unwrap();
    let snappy = Compression::new(Codec::Snappy, None).unwrap();
    for codec_threads in [0, 1] {
        let plain = Settings { linger_ms: 0, codec_threads, ..settings() };
        let slow = TopicConfig { compression: gzip, linger_ms: 0, ..own };
        let fast = TopicConfig { compression: snappy, linger_ms: 0, ..own };
        let mut rig = three_topics(plain, slow, fast);
        ["slow", "fast", "plain"].iter().for_each(|topic| drop(rig.send_named(topic, vec![7; 1000])));
        let mut drained = Vec::new();
        while drained.len() < 3 {
            rig.ready();
            drained.extend(rig.drain(1));
            std::thread::yield_now();
        }
        drained.sort_by_key(|batch| batch.partition().topic_name().to_string());
        let codecs: Vec<Codec> = drained.iter().map(Batch::codec).collect();
        assert_eq!(codecs, [Codec::Snappy, Codec::None, Codec::Gzip]);
        assert!(drained.iter().all(|batch| values(batch) == [vec![7; 1000]]));
        drained.into_iter().for_each(|batch| rig.complete(batch, 0));
    }
}

// CFG-17, ACC-24
#[test]
fn each_topics_batches_expire_at_their_own_time() {
    let own = settings().topic("");
    let slow = TopicConfig { delivery_timeout_ms: 500_000, ..own };
    let fast = TopicConfig { delivery_timeout_ms: 1000, ..own };
    let mut rig = three_topics(settings(), slow, fast);
    ["slow", "fast", "plain"].iter().for_each(|topic| drop(rig.send_named(topic, "v")));
    let mut expired = Vec::new();
    for (ms, topic) in [(1000, "fast"), (119_000, "plain"), (380_000, "slow")] {
        rig.ready();
        rig.clock.advance(ms - 1);
        rig.accumulator.expire(rig.clock.last_ms(), &mut expired);
        assert!(expired.is_empty(), "{topic}");
        rig.clock.advance(1);
        assert_eq!(rig.accumulator.next_expiry_ms(), Some(rig.clock.last_ms()));
        rig.accumulator.expire(rig.clock.last_ms(), &mut expired);
        assert_eq!(expired.pop().unwrap().partition().topic_name().as_ref(), topic);
    }
}
