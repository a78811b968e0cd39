//! Sending against the embedded broker: what many application threads at once, little memory and dropped futures do to order
//! and completeness.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rohrpost::{Compression, Delivery, Producer, Record};
use rohrpost_broker::Cluster;

const PARTITIONS: i32 = 6;

fn cluster() -> Cluster {
    Cluster::builder().topic("t", PARTITIONS, 1).start().unwrap()
}

/// Values of all records, by partition, in log order.
fn logs(cluster: &Cluster) -> Vec<Vec<Vec<u8>>> {
    (0..PARTITIONS)
        .map(|partition| {
            let records = cluster.log("t", partition).records();
            records.into_iter().map(|record| record.value.unwrap()).collect()
        })
        .collect()
}

fn value(thread: u32, number: u32, len: usize) -> Vec<u8> {
    [&thread.to_be_bytes()[..], &number.to_be_bytes()[..], &vec![7; len]].concat()
}

/// Every record once, and each thread's in its order within a partition. THR-2
fn check(logs: &[Vec<Vec<u8>>], threads: u32, each: u32) {
    let number = |value: &[u8], at: usize| u32::from_be_bytes(value[at..at + 4].try_into().unwrap());
    let mut count = 0;
    for log in logs {
        let mut last: HashMap<u32, u32> = HashMap::new();
        for value in log {
            let (thread, number) = (number(value, 0), number(value, 4));
            let before = last.insert(thread, number);
            assert!(
                before.is_none_or(|before| before < number),
                "thread {thread}: {number} after {before:?}"
            );
            count += 1;
        }
    }
    assert_eq!(count, threads * each);
}

// BUF-1, BUF-4, THR-1, THR-2
#[test]
fn threads_that_share_little_memory_lose_nothing_and_keep_their_order() {
    const THREADS: u32 = 4;
    const EACH: u32 = 2000;
    for compression in [Compression::None, Compression::LZ4] {
        let cluster = cluster();
        let producer = Producer::builder(cluster.bootstrap_servers())
            .buffer_memory(40_000)
            .batch_size(4096)
            .compression(compression)
            .build()
            .unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let producer = &producer;
                scope.spawn(move || {
                    let topic = producer.topic_blocking("t").unwrap();
                    let deliveries: Vec<Delivery> = (0..EACH)
                        .map(|number| {
                            let record = Record::value(value(thread, number, (number % 300) as usize));
                            match number % 4 {
                                0 => topic.send_blocking(record.key(thread.to_be_bytes().to_vec())).unwrap(),
                                1 => topic.reserve_blocking(record.size()).unwrap().send(record).unwrap(),
                                _ => topic.send_blocking(record).unwrap(),
                            }
                        })
                        .collect();
                    for delivery in deliveries {
                        assert!(delivery.wait().unwrap().offset().is_some());
                    }
                });
            }
        });
        drop(producer);
        check(&logs(&cluster), THREADS, EACH);
    }
}

// CMPL-3: a callback per record, in order per partition; THR-2
#[test]
fn callbacks_come_in_log_order() {
    const EACH: u32 = 5000;
    let cluster = cluster();
    let producer = Producer::builder(cluster.bootstrap_servers()).build().unwrap();
    let topic = producer.topic_blocking("t").unwrap();
    let (sender, outcomes) = std::sync::mpsc::channel();
    let refused = AtomicU32::new(0);
    for number in 0..EACH {
        let sender = sender.clone();
        let callback = move |outcome: Result<rohrpost::Delivered, rohrpost::DeliveryError>| {
            let at = outcome.unwrap();
            sender.send((at.partition(), at.offset().unwrap(), number)).unwrap();
        };
        if pollster::block_on(topic.send_with(Record::value(value(0, number, 20)), callback)).is_err() {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
    drop(sender);
    let mut next: HashMap<i32, (i64, u32)> = HashMap::new();
    for (partition, offset, number) in outcomes.iter().take(EACH as usize) {
        let (next_offset, last) = next.entry(partition).or_insert((0, 0));
        assert_eq!(offset, *next_offset, "partition {partition}");
        assert!(number >= *last);
        (*next_offset, *last) = (offset + 1, number);
    }
    assert_eq!(next.values().map(|(count, _)| *count).sum::<i64>(), i64::from(EACH));
    assert_eq!(refused.into_inner(), 0);
    check(&logs(&cluster), 1, EACH);
}

// PRE-1, PRE-2: no server, and a topic that is not there
#[test]
fn a_send_that_cannot_reach_the_cluster_fails_in_time_and_says_why() {
    let producer = Producer::builder("127.0.0.1:1").max_block(Duration::from_millis(300)).build().unwrap();
    let error = producer.send_blocking(Record::to("t").value("v")).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("Topic t not present in metadata after 300 ms."), "{text}");
    assert!(text.contains("127.0.0.1:1"), "{text}");
    assert_eq!(error.into_record(), Record::to("t").value("v"));
}
