//! What the application may say about records that meet trouble, on the embedded broker: stopped partitions, topics created anew,
//! innocent records.

#![allow(clippy::unwrap_used)] // all of it is test code

use std::time::{Duration, Instant};

use pollster::block_on;
use rohrpost::{ErrorCode, HeldRecords, Outcome, Producer, Reason, Record, TopicRecreation};
use rohrpost_broker::Cluster;

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn values(cluster: &Cluster, topic: &str) -> Vec<String> {
    let records = cluster.log(topic, 0).records().into_iter();
    records.map(|r| String::from_utf8(r.value.unwrap_or_default()).unwrap()).collect()
}

#[test]
fn a_failed_record_stops_its_partition_until_the_application_resumes() {
    // RTY-5
    let cluster = Cluster::builder().topic("t", 1, 1).config("message.max.bytes", "300").start().unwrap();
    let producer = Producer::builder(cluster.bootstrap_servers()).stop_on_failure("t").build().unwrap();
    let send = |value: &str| producer.send_blocking(Record::to("t").value(value.to_owned())).unwrap();
    block_on(send("first")).unwrap();
    let error = block_on(send(&"x".repeat(400))).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MESSAGE_TOO_LARGE));
    assert_eq!(producer.stopped_partitions(), [("t".to_owned(), 0)]);
    let error = block_on(send("behind")).unwrap_err();
    assert_eq!((error.outcome(), error.reason()), (Outcome::NotWritten, Reason::Stopped));
    assert!(error.to_string().contains("Producer::resume"), "{error}");
    producer.resume("t", 0);
    assert_eq!(block_on(send("second")).unwrap().offset(), Some(1));
    assert!(producer.stopped_partitions().is_empty());
    assert_eq!(values(&cluster, "t"), ["first", "second"]);
}

/// A topic that was sent to and is then created anew, and a record that is sent afterwards.
fn created_anew(policy: TopicRecreation) -> (Cluster, Producer, rohrpost::Delivery) {
    let cluster = Cluster::builder().topic("t", 1, 1).start().unwrap();
    let producer = Producer::builder(cluster.bootstrap_servers()).topic_recreation(policy).build().unwrap();
    block_on(producer.send_blocking(Record::to("t").value("old")).unwrap()).unwrap();
    cluster.delete_topic("t").unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let delivery = producer.send_blocking(Record::to("t").value("new")).unwrap();
    (cluster, producer, delivery)
}

#[test]
fn records_follow_a_topic_that_was_created_anew() {
    // MET-9
    let (cluster, producer, delivery) = created_anew(TopicRecreation::Follow);
    assert_eq!(block_on(delivery).unwrap().offset(), Some(0));
    assert_eq!(values(&cluster, "t"), ["new"]);
    assert_eq!(producer.metrics().topics_recreated, 1);
}

#[test]
fn records_for_a_topic_that_was_created_anew_fail_where_that_is_asked_for() {
    // MET-9
    let (cluster, producer, delivery) = created_anew(TopicRecreation::Fail);
    let error = block_on(delivery).unwrap_err();
    assert_eq!((error.outcome(), error.reason()), (Outcome::NotWritten, Reason::TopicRecreated));
    let later = producer.send_blocking(Record::to("t").value("later")).unwrap();
    assert_eq!(block_on(later).unwrap().offset(), Some(0));
    assert_eq!(values(&cluster, "t"), ["later"]);
}

#[test]
fn records_for_a_topic_that_was_created_anew_wait_where_that_is_asked_for() {
    // MET-9
    for (word, expected) in [(HeldRecords::Send, &["new", "later"][..]), (HeldRecords::Fail, &["later"][..])]
    {
        let (cluster, producer, delivery) = created_anew(TopicRecreation::Hold);
        until("the topic is held", || producer.held_topics() == ["t"]);
        producer.release("t", word);
        let later = producer.send_blocking(Record::to("t").value("later")).unwrap();
        assert_eq!(block_on(delivery).is_ok(), word == HeldRecords::Send);
        block_on(later).unwrap();
        assert_eq!(values(&cluster, "t"), expected);
        assert!(producer.held_topics().is_empty());
    }
}

#[test]
fn innocent_records_of_a_refused_batch_arrive_without_the_guilty_ones() {
    // ERR-3: a topic that is compacted takes no record without a key, and the broker names those.
    let cluster =
        Cluster::builder().config("log.cleanup.policy", "compact").topic("t", 1, 1).start().unwrap();
    for (option, written) in [("true", 2), ("false", 0)] {
        let producer = Producer::builder(cluster.bootstrap_servers())
            .linger(Duration::from_secs(60))
            .set("resend.innocent.records", option)
            .unwrap()
            .build()
            .unwrap();
        let send = |record: Record| producer.send_blocking(record).unwrap();
        let sent = [
            send(Record::to("t").key("a").value("1")),
            send(Record::to("t").value("2")),
            send(Record::to("t").key("c").value("3")),
        ];
        let report = producer.flush_blocking().unwrap();
        let [first, guilty, third] = sent.map(block_on);
        let error = guilty.unwrap_err();
        assert_eq!((error.outcome(), error.code()), (Outcome::NotWritten, Some(ErrorCode::INVALID_RECORD)));
        assert_eq!([first, third].iter().filter(|r| r.is_ok()).count(), written, "{report:?}");
    }
    assert_eq!(values(&cluster, "t"), ["1", "3"]);
}
