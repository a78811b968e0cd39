//! Which partition a record gets: its own, its key's, or the one that the topic sticks to.

use std::collections::HashSet;

use super::*;

// PAR-6, PAR-7, PAR-8, PAR-13
#[test]
fn keyless_records_stay_for_two_full_batches_when_nothing_is_drained() {
    for (value, per_batch, batch_len) in [(1000, 16, 16_205), (100, 148, 16_277), (10, 910, 16_377)] {
        let rig = Rig::new(&[Some(1), Some(1), Some(1)], Settings { adaptive: false, ..settings() });
        let stay = 2 * per_batch;
        let chosen: Vec<i32> =
            (0..20 * stay).map(|_| rig.send(Record::value(vec![7; value])).partition_for_test()).collect();
        for (at, run) in chosen.chunks(stay).enumerate() {
            assert!(run.iter().all(|partition| *partition == run[0]), "value {value}, stay {at}");
        }
        assert!(HashSet::<_>::from_iter(&chosen).len() == 3, "20 random choices among 3");
        rig.clock.advance(5);
        rig.ready();
        for batch in rig.drain(1) {
            assert_eq!((batch.record_count(), batch.encoded_len()), (per_batch as u32, batch_len));
        }
    }
}

// PAR-13, ACC-3, ACC-4
#[test]
fn a_record_larger_than_a_batch_is_one_batch_and_one_stay() {
    let rig = Rig::new(&[Some(1); 64], settings());
    let chosen: HashSet<i32> =
        (0..32).map(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test()).collect();
    assert!(chosen.len() > 16, "32 choices among 64 partitions, {} different", chosen.len());
    rig.ready();
    for batch in rig.drain_with(1, usize::MAX, &AllMay) {
        assert_eq!(batch.record_count(), 1);
    }
}

// PAR-8
#[test]
fn a_postponed_switch_happens_when_the_last_batch_is_drained() {
    let rig = Rig::new(&[Some(1); 64], Settings { linger_ms: 0, adaptive: false, ..settings() });
    let first = rig.send(Record::value(vec![7; 1000])).partition_for_test();
    // 17 records: over batch.size, but the second batch is not full.
    for _ in 0..16 {
        assert_eq!(rig.send(Record::value(vec![7; 1000])).partition_for_test(), first);
    }
    rig.ready();
    rig.drain(1).into_iter().for_each(|batch| rig.complete(batch, 0));
    rig.ready();
    rig.drain(1).into_iter().for_each(|batch| rig.complete(batch, 0));
    let others: HashSet<i32> =
        (0..3).map(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test()).collect();
    assert!(others.len() > 1 || !others.contains(&first), "the topic has moved on");
}

// PAR-1
#[test]
fn the_records_own_partition_wins_over_its_key_and_the_key_over_stickiness() {
    let rig = Rig::new(&[Some(1); 3], settings());
    assert_eq!(rig.send(Record::value("v").key("a").partition(2).unwrap()).partition_for_test(), 2);
    assert_eq!(rig.send(Record::value("v").key("a")).partition_for_test(), 1);
    let ignoring = Rig::new(&[Some(1); 3], Settings { ignore_keys: true, ..settings() });
    let chosen: HashSet<i32> = ["a", "abc", "kafka"]
        .map(|key| ignoring.send(Record::value("v").key(key)).partition_for_test())
        .into();
    assert_eq!(chosen.len(), 1, "with ignored keys all stick to one partition");
}

// PAR-2: all partitions count, with leader or without
#[test]
fn a_key_goes_to_a_partition_without_leader_too() {
    let rig = Rig::new(&[Some(1), None, Some(1)], settings());
    assert_eq!(rig.send(Record::value("v").key("a")).partition_for_test(), 1);
    // ACC-14
    assert_eq!(
        rig.ready(),
        Ready { leaderless: vec!["t".into()], next_check_ms: Some(2), ..Ready::default() }
    );
}

// PAR-4
#[test]
fn when_a_topic_grows_its_keys_move_with_the_number_of_partitions() {
    let mut rig = Rig::new(&[Some(1); 3], settings());
    assert_eq!(rig.send(Record::value("v").key("kafka")).partition_for_test(), 1);
    rig.lead(&[Some(1); 10], 0);
    assert_eq!(rig.send(Record::value("v").key("kafka")).partition_for_test(), 1, "not noticed yet");
    rig.ready();
    assert_eq!(rig.send(Record::value("v").key("kafka")).partition_for_test(), 0);
    assert_eq!(rig.accumulator.topics_grown(), 1);
    rig.lead(&[Some(1); 10], 1);
    rig.ready();
    assert_eq!(rig.accumulator.topics_grown(), 1, "it leads elsewhere, and has not grown");
}

// PAR-9, PAR-10: a partition whose queue grows draws fewer records
#[test]
fn adaptive_stickiness_avoids_long_queues() {
    let rig = Rig::new(&[Some(1), Some(2)], settings());
    for _ in 0..40 {
        rig.send_to(0, vec![7; 20_000]);
    }
    rig.send_to(1, "v");
    rig.ready(); // publishes: lengths 40 and 1
    let to_long =
        (0..200).filter(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test() == 0).count();
    assert!(to_long < 30, "1 in 41 expected, {to_long} of 200 came");
}

// PAR-10: no statistics before every partition has a queue
#[test]
fn without_a_queue_for_every_partition_the_choice_is_uniform() {
    let rig = Rig::new(&[Some(1), Some(1)], settings());
    for _ in 0..40 {
        rig.send_to(0, vec![7; 20_000]);
    }
    rig.ready();
    let first: Vec<i32> =
        (0..12).map(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test()).collect();
    assert!(first.iter().filter(|partition| **partition == 0).count() > 1, "{first:?}");
}

// PAR-9, PAR-10
#[test]
fn each_topic_has_statistics_of_its_own() {
    let mut rig = Rig::new(&[Some(1), Some(2)], settings());
    let leaders = [Some(1), Some(2)];
    rig.cluster = cluster(2, ["t", "u"].map(|name| topic_metadata(name, &leaders, 0)));
    let u = rig.accumulator.topic_or_new("u");
    rig.accumulator.apply(&rig.cluster);
    let t = std::mem::replace(&mut rig.topic, u);
    for topic in [t, rig.topic.clone()] {
        let u = std::mem::replace(&mut rig.topic, topic);
        (0..2).for_each(|partition| drop(rig.send_to(partition, "v")));
        rig.topic = u;
    }
    for _ in 0..40 {
        rig.send_to(0, vec![7; 20_000]);
    }
    rig.ready();
    let to_long =
        (0..200).filter(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test() == 0).count();
    assert!(to_long < 30, "1 in 41 expected, {to_long} of 200 came");
}

// PAR-12
#[test]
fn a_broker_is_left_out_after_its_time_and_never_if_that_is_zero() {
    for (waited_ms, timeout_ms, is_left_out) in [(100, 100, false), (101, 100, true), (500, 0, false)] {
        let rig =
            Rig::new(&[Some(1), Some(2)], Settings { availability_timeout_ms: timeout_ms, ..settings() });
        (0..60).for_each(|_| drop(rig.send_to(1, vec![7; 20_000])));
        rig.send_to(0, vec![7; 20_000]);
        rig.clock.advance(waited_ms);
        rig.ready();
        rig.drain(2).into_iter().for_each(|batch| rig.complete(batch, 0)); // broker 1 is not drained
        rig.ready();
        let mut chosen = (0..30).map(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test());
        let _ = chosen.next(); // the first stay was chosen before
        assert_eq!(!chosen.any(|partition| partition == 0), is_left_out, "{waited_ms} of {timeout_ms} ms");
    }
}

// PAR-12
#[test]
fn a_broker_that_takes_no_data_is_left_out() {
    let rig = Rig::new(&[Some(1), Some(2)], Settings { availability_timeout_ms: 100, ..settings() });
    for _ in 0..60 {
        rig.send_to(1, vec![7; 20_000]);
    }
    rig.send_to(0, vec![7; 20_000]);
    for _ in 0..3 {
        rig.clock.advance(60);
        rig.ready();
        rig.drain(2).into_iter().for_each(|batch| rig.complete(batch, 0)); // broker 1 cannot be sent to
    }
    rig.ready();
    let chosen: HashSet<i32> = (0..30)
        .map(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test())
        .skip(1) // the first stay was chosen before
        .collect();
    assert_eq!(chosen, HashSet::from([1]), "partition 0 has the shorter queue, but its broker is stuck");
}

// PAR-9, PAR-10
#[test]
fn adaptive_stickiness_looks_at_the_queues_of_each_topic_by_itself() {
    let mut rig = Rig::new(&[Some(1), Some(2)], settings());
    let names = ["t", "u", "v"];
    let topics = names.map(|name| {
        rig.topic = rig.accumulator.topic_or_new(name);
        rig.topic.clone()
    });
    rig.cluster = cluster(2, names.map(|name| topic_metadata(name, &[Some(1), Some(2)], 0)));
    rig.accumulator.apply(&rig.cluster);
    for (topic, long) in topics.iter().zip([0, 1, 0]) {
        rig.topic = topic.clone();
        (0..40).for_each(|_| drop(rig.send_to(long, vec![7; 20_000])));
        rig.send_to(1 - long, "v");
    }
    rig.ready();
    for (topic, long) in topics.iter().zip([0, 1, 0]) {
        rig.topic = topic.clone();
        let to_long = (0..200)
            .filter(|_| rig.send(Record::value(vec![7; 20_000])).partition_for_test() == long)
            .count();
        assert!(to_long < 30, "{}: 1 in 41 expected, {to_long} of 200 came", topic.name());
    }
}

// PAR-6: where the topic stays must be a partition that it has
#[test]
fn a_topic_that_comes_back_with_fewer_partitions_is_not_kept_to_one_that_is_gone() {
    let mut rig = Rig::new(&[Some(1); 3], settings());
    rig.topic.sticky.begin(None, 2);
    assert_eq!(rig.send(Record::value("v")).partition_for_test(), 2);
    rig.lead(&[Some(1); 2], 1);
    rig.accumulator.apply(&rig.cluster);
    for _ in 0..8 {
        assert!(rig.send(Record::value("v")).partition_for_test() < 2);
    }
}
