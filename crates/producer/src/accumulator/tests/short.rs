//! The short way of an append beside the long one.

use proptest::prelude::*;
use rohrpost_record::Codec;

use super::*;
use crate::record::Parts;

fn record() -> impl Strategy<Value = Record> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..400));
    (bytes(), bytes(), proptest::option::of(0..6_i32), proptest::option::of(0..9_i64), 0..3_usize).prop_map(
        |(key, value, partition, timestamp, headers)| {
            let mut record = Record::tombstone();
            record.key = key.map(Bytes::from);
            record.value = value.map(Bytes::from);
            record.partition = partition;
            record.timestamp = timestamp;
            (0..headers).fold(record, |record, n| record.header(n.to_string(), "value"))
        },
    )
}

/// What of a delivery and an append can be seen.
fn shown(append: &Append) -> String {
    match append {
        Append::Done(Some(delivery)) => format!("{delivery:?} {:?}", delivery.place_for_test()),
        other => format!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // ACC-2, ACC-4, PAR-1, PAR-7, PRE-6
    #[test]
    fn both_ways_of_an_append_make_the_same_batches(
        records in proptest::collection::vec(record(), 0..200),
        batch_size in 1..3000_usize,
        max_request_size in 100..2000_usize,
        ignore_keys in any::<bool>(),
        compressed in any::<bool>(),
    ) {
        let compression = if compressed { Compression::new(Codec::Lz4, None).unwrap() } else { Compression::NONE };
        let settings =
            Settings { batch_size, max_request_size, ignore_keys, compression, linger_ms: 0, ..settings() };
        let (short, long) = (Rig::new(&[Some(1); 4], settings.clone()), Rig::new(&[Some(1); 4], settings));
        for record in &records {
            if record.size() <= max_request_size { // else the caller refuses it before
                prop_assert_eq!(shown(&short.append(record)), shown(&long.append_long(record)));
            } else {
                let append = short.accumulator.append_short(&short.topic, record, &short.clock);
                prop_assert!(append.is_none());
            }
        }
        loop {
            let batches = [&short, &long].map(|rig| {
                rig.ready();
                rig.drain(1).iter().map(Batch::copy).collect::<Vec<_>>()
            });
            prop_assert_eq!(&batches[0], &batches[1]);
            if batches[0].is_empty() {
                break;
            }
        }
    }
}

// FLU-7, BUF-4
#[test]
fn the_short_way_is_closed_to_everyone_while_someone_waits_and_after_the_end() {
    let rig = Rig::new(&[Some(1)], settings());
    let record = Record::value("v");
    let is_open = || rig.accumulator.append_short(&rig.topic, &record, &rig.clock).is_some();
    assert!(!is_open(), "there is no batch");
    rig.send(record.clone());
    assert!(is_open());
    rig.topic.add_waiter();
    assert!(!is_open(), "a sender of the topic waits");
    rig.topic.remove_waiter();
    assert!(is_open());
    rig.accumulator.set_closing();
    assert!(!is_open());
}

#[test]
fn the_short_way_goes_on_as_long_as_there_is_memory_at_hand() {
    let rig = Rig::new(&[Some(1)], settings());
    let record = Record::value("v");
    rig.append_long(&record);
    let short = (0..).take_while(|_| rig.accumulator.append_short(&rig.topic, &record, &rig.clock).is_some());
    assert!(short.count() > 80, "records of 9 bytes in 1024, less a header");
}

// PRE-4: a hash over no partitions would divide by 0
#[test]
fn a_record_with_a_key_for_an_unknown_topic_waits() {
    let mut rig = Rig::new(&[Some(1)], settings());
    rig.topic = rig.accumulator.topic_or_new("unknown");
    let record = Record::value("v").key("k");
    assert!(rig.accumulator.append_short(&rig.topic, &record, &rig.clock).is_none());
    assert!(matches!(rig.append(&record), Append::Cold));
}

// ACC-4, ACC-5
#[test]
fn the_short_way_ends_before_the_limit_of_a_batch_that_is_expected_to_grow() {
    let rig = Rig::new(&[Some(1)], settings());
    let partition = rig.topic.partition_or_new(0, &rig.accumulator.ledger, &rig.accumulator.next_key).clone();
    let chunk = rig.accumulator.pool().try_take(16384).unwrap();
    let twice = 2 << 16;
    let mut batch = Batch::open(partition, BatchId::new(0), chunk, 4000, usize::MAX, twice, 0);
    let record = Record::value(vec![7; 100]);
    let size = batch.builder.measure(0, None, record.value.as_deref(), &record.headers);
    batch.append(&record, size, 0);
    while batch.append_short(&record, record.parts_len(), 0).is_some() {
        assert!(!batch.is_full(), "{} of 4000 bytes", batch.estimated_len());
    }
    assert!(
        batch.record_count() > 16,
        "61 + 2 · 108 bytes for each of them, 18 at most: {}",
        batch.record_count()
    );
}
