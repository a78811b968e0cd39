//! Batches that the embedded broker finds too large: everything arrives once, in order, and the size is learned.

use std::sync::mpsc;
use std::time::Duration;

use pollster::block_on;
use rohrpost::{
    Compression, Delivered, Delivery, ErrorCode, Outcome, Producer, ProducerBuilder, Record, WaitError,
};
use rohrpost_broker::Cluster;

/// A cluster whose topic `t` takes batches of at most 2000 bytes.
fn cluster() -> Cluster {
    Cluster::builder()
        .topic("t", 1, 1)
        .config("message.max.bytes", "2000")
        .start()
        .expect("the broker starts")
}

/// Batches are full or flushed, not timed.
fn producer(cluster: &Cluster) -> ProducerBuilder {
    Producer::builder(cluster.bootstrap_servers()).linger(Duration::from_secs(60))
}

/// 300 bytes that begin with the number and that no codec makes much smaller.
fn body(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let noise = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    number.to_be_bytes().into_iter().chain(noise).take(300).collect()
}

fn send(producer: &Producer, numbers: std::ops::Range<u64>) -> Vec<Delivery> {
    let send = |number| producer.send_blocking(Record::to("t").value(body(number))).expect("accepted");
    numbers.map(send).collect()
}

fn offsets(deliveries: Vec<Delivery>) -> Vec<Option<i64>> {
    deliveries.into_iter().map(|delivery| delivery.wait().expect("acknowledged").offset()).collect()
}

fn assert_log(cluster: &Cluster, count: u64, what: &str) {
    let log = cluster.log("t", 0).records();
    let numbers: Vec<(i64, u64)> = log
        .iter()
        .map(|record| {
            let value = record.value.as_deref().expect("a value");
            let number = u64::from_be_bytes(value[..8].try_into().expect("eight bytes"));
            assert_eq!(value, body(number), "{what}");
            (record.offset, number)
        })
        .collect();
    let expected: Vec<(i64, u64)> = (0..count).map(|number| (number as i64, number)).collect();
    assert_eq!(numbers, expected, "{what}");
}

#[test]
fn forty_records_of_300_bytes_arrive_in_order_against_a_limit_of_2000_with_every_codec() {
    // ACC-22, ACC-23, CMP-8. Kafka's client takes 8 splits for these 40 records, uncompressed.
    let codecs = [
        Compression::None,
        Compression::GZIP,
        Compression::Snappy,
        Compression::LZ4,
        #[cfg(feature = "zstd")]
        Compression::ZSTD,
    ];
    for codec in codecs {
        let cluster = cluster();
        let producer = producer(&cluster).compression(codec).build().unwrap();
        let deliveries = send(&producer, 0..40);
        producer.flush_blocking().unwrap();
        assert!(deliveries.iter().all(Delivery::is_done), "{codec:?}: a flush waits for all parts"); // FLU-2
        assert_eq!(offsets(deliveries), (0..40).map(Some).collect::<Vec<_>>(), "{codec:?}");
        assert_log(&cluster, 40, &format!("{codec:?}"));
        let first = producer.metrics();
        assert!((1..=8).contains(&first.batches_split), "{codec:?}: {first:?}");
        if codec == Compression::None {
            // 13 parts are written; of the five batches that are split, three were refused.
            assert_eq!((first.batches_split, first.batches_sent), (5, 13 + 3));
        }
        assert_eq!(first.epoch_bumps, 0, "{codec:?}");

        // ACC-23: the second round, and the third, are not refused again.
        for round in 1..=2 {
            send(&producer, round * 40..round * 40 + 40);
            producer.flush_blocking().unwrap();
        }
        assert_log(&cluster, 120, &format!("{codec:?}"));
        let metrics = producer.metrics();
        assert_eq!(metrics.batches_split, first.batches_split, "{codec:?}");
        assert_eq!((metrics.records_acked, metrics.records_pending), (120, 0), "{codec:?}");
        assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes, "{codec:?}");
    }
}

#[test]
fn batches_in_flight_behind_one_that_is_split_arrive_behind_it() {
    // ACC-22, IDM-5, THR-3
    let cluster = cluster();
    let producer = producer(&cluster).batch_size(8000).build().unwrap();
    // The broker knows the producer, so five batches go out at once.
    send(&producer, 0..1);
    producer.flush_blocking().unwrap();
    let deliveries = send(&producer, 1..601);
    producer.flush_blocking().unwrap();
    assert_eq!(offsets(deliveries), (1..601).map(Some).collect::<Vec<_>>());
    assert_log(&cluster, 601, "five in flight");
    let metrics = producer.metrics();
    assert!(metrics.batches_split > 0);
    assert_eq!((metrics.epoch_bumps, metrics.records_failed()), (0, 0));
}

#[test]
fn callbacks_of_split_batches_run_in_order_and_before_flush_returns() {
    // ACC-22, CMPL-3, FLU-2
    let cluster = cluster();
    let producer = producer(&cluster).build().unwrap();
    let (tell, told) = mpsc::channel();
    for number in 0..100_u64 {
        let tell = tell.clone();
        let callback = move |outcome: Result<Delivered, _>| {
            tell.send((number as i64, outcome.expect("acknowledged").offset())).unwrap();
        };
        block_on(producer.send_with(Record::to("t").value(body(number)), callback)).unwrap();
    }
    producer.flush_blocking().unwrap();
    let all: Vec<(i64, Option<i64>)> = told.try_iter().collect();
    assert_eq!(all, (0..100).map(|n| (n, Some(n))).collect::<Vec<_>>());
    assert!(producer.metrics().batches_split > 0);
}

#[test]
fn a_record_that_is_too_large_alone_fails_and_the_records_beside_it_arrive() {
    // ACC-22, CMPL-8
    let cluster = cluster();
    let producer = producer(&cluster).build().unwrap();
    let mut deliveries = send(&producer, 0..5);
    let large = producer.send_blocking(Record::to("t").value(vec![7; 3000])).unwrap();
    deliveries.extend(send(&producer, 5..10));
    producer.flush_blocking().unwrap();
    let Err(WaitError::Failed(error)) = large.wait() else { panic!("it was delivered") };
    assert_eq!((error.outcome(), error.code()), (Outcome::NotWritten, Some(ErrorCode::MESSAGE_TOO_LARGE)));
    assert_eq!(offsets(deliveries), (0..10).map(Some).collect::<Vec<_>>());
    assert_log(&cluster, 10, "the others");
}

#[test]
fn without_idempotence_and_with_one_request_in_flight_parts_keep_their_order() {
    // ACC-22, THR-3
    let cluster = cluster();
    let producer = producer(&cluster).idempotence(false).max_in_flight(1).build().unwrap();
    send(&producer, 0..200);
    let report = producer.close_blocking(Duration::MAX);
    assert!(report.undelivered.is_empty(), "{report:?}");
    assert_log(&cluster, 200, "one in flight");
}

#[test]
fn with_little_memory_and_many_threads_nothing_hangs_and_nothing_is_lost() {
    // ACC-22, BUF-2, THR-1
    for codec in [Compression::None, Compression::LZ4] {
        let cluster = cluster();
        let producer = producer(&cluster).compression(codec).buffer_memory(40_000).build().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let producer = producer.clone();
                scope.spawn(move || {
                    for number in 0..300 {
                        // Every second one can be compressed well, so batches that are too large hold many.
                        let mut value = body(thread << 32 | number);
                        if number % 100 < 50 {
                            value[8..].fill(0);
                        }
                        drop(producer.send_blocking(Record::to("t").value(value)).expect("accepted"));
                    }
                });
            }
        });
        let report = producer.close_blocking(Duration::MAX);
        assert!(report.undelivered.is_empty(), "{codec:?}: {report:?}");
        let mut next = [0; 4];
        for record in cluster.log("t", 0).records() {
            let value = record.value.unwrap();
            let name = u64::from_be_bytes(value[..8].try_into().unwrap());
            let thread = (name >> 32) as usize;
            assert_eq!(name & 0xffff_ffff, next[thread], "{codec:?}: thread {thread}");
            next[thread] += 1;
        }
        assert_eq!(next, [300; 4], "{codec:?}");
        assert!(producer.metrics().batches_split > 0, "{codec:?}");
    }
}
