//! What a request takes, what comes back from it, and what becomes too old.

use std::collections::HashSet;

use rohrpost_record::Stamp;

use super::*;
use crate::wait::NAP_MS;

// ACC-16
#[test]
fn a_request_takes_one_batch_per_partition_up_to_its_size_and_goes_on_where_it_stopped() {
    let rig = Rig::new(&[Some(1), Some(1), Some(1), Some(2)], Settings { linger_ms: 0, ..settings() });
    for partition in [0, 1, 2, 3] {
        rig.send_to(partition, vec![7; 16_000]);
        rig.send_to(partition, vec![7; 16_000]);
    }
    assert_eq!(rig.ready().nodes, [1, 2]);
    assert_eq!(partitions(&rig.drain_with(1, 40_000, &AllMay)), [0, 1], "a third would be too much");
    rig.ready();
    assert_eq!(partitions(&rig.drain_with(1, 40_000, &AllMay)), [2, 0]);
    rig.ready();
    assert_eq!(partitions(&rig.drain_with(1, 100, &AllMay)), [1], "larger than the request: alone");
    rig.ready();
    assert_eq!(partitions(&rig.drain_with(1, 1 << 20, &AllMay)), [2]);
    assert_eq!(partitions(&rig.drain(2)), [3], "other brokers' partitions are not touched");
}

// ACC-16: a request that goes anyway takes along what still lingers
#[test]
fn lingering_partitions_travel_with_a_ready_one() {
    let rig = Rig::new(&[Some(1), Some(1)], settings());
    rig.send_to(0, "lingers");
    (0..2).for_each(|_| drop(rig.send_to(1, vec![7; 16_000])));
    assert_eq!(rig.ready().nodes, [1]);
    assert_eq!(partitions(&rig.drain(1)), [0, 1]);
}

// ACC-17, ACC-20, ACC-11
#[test]
fn a_gate_holds_back_its_own_partition_and_no_other() {
    let rig = Rig::new(&[Some(1), Some(1), Some(2)], Settings { linger_ms: 0, ..settings() });
    (0..3).for_each(|partition| drop(rig.send_to(partition, "v")));
    let gate = Held(HashSet::from([0, 2]));
    let ready = rig.accumulator.ready(0, &rig.cluster, &gate);
    assert_eq!(ready.nodes, [1], "broker 2 leads a held partition only");
    assert_eq!(ready.next_check_ms, Some(NAP_MS), "a held partition asks for no pass of its own");
    assert_eq!(partitions(&rig.drain_with(1, 1 << 20, &gate)), [1]);
    rig.ready();
    assert_eq!(partitions(&rig.drain(1)), [0]);
}

// ACC-18, IDM-0
#[test]
fn a_drained_batch_is_stamped_and_readable() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    for i in 0..100 {
        // more than one chunk
        rig.send(
            Record::value(vec![i; 70]).key(vec![i]).header("h", "x").timestamp(1000 + i64::from(i)).unwrap(),
        );
    }
    rig.ready();
    let mut batch = rig.drain(1).remove(0);
    assert_eq!(batch.stamp(), None);
    let stamp = Stamp { producer_id: 7, producer_epoch: 3, base_sequence: 40 };
    batch.set_stamp(stamp);
    assert_eq!(batch.stamp(), Some(stamp));
    let mut slices = Vec::new();
    batch.slices(&mut slices);
    assert!(slices.len() > 1);
    let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
    assert_eq!(bytes.len(), batch.encoded_len());
    let parsed = rohrpost_record::Batch::parse(&bytes).unwrap();
    assert!(parsed.is_crc_valid());
    let header = parsed.header();
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 3, 40));
    assert_eq!((header.base_timestamp, header.max_timestamp, header.records_count), (1000, 1099, 100));
    let records = batch.records(1 << 20);
    assert_eq!(records.len(), 100);
    assert_eq!(
        records[42],
        Record::to("t")
            .key([42].to_vec())
            .value(vec![42; 70])
            .header("h", "x")
            .partition(0)
            .unwrap()
            .timestamp(1042)
            .unwrap()
    );
    // put back and drained again, it keeps all three
    rig.reenqueue(batch, 0);
    rig.ready();
    let again = rig.drain(1).remove(0);
    let mut slices = Vec::new();
    again.slices(&mut slices);
    assert_eq!(slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>(), bytes);
}

// ACC-19, ACC-21
#[test]
fn retried_batches_go_back_to_their_place() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, batch_size: 1, ..settings() });
    let stamp = |sequence| Stamp { producer_id: 1, producer_epoch: 0, base_sequence: sequence };
    for value in ["a", "b", "c", "d"] {
        rig.send(Record::value(value));
    }
    let take = || {
        rig.ready();
        rig.drain(1).remove(0)
    };
    // sequences around the wrap: 2147483646, 2147483647, 0
    let mut batches: Vec<Batch> = (0..3).map(|_| take()).collect();
    for (batch, sequence) in batches.iter_mut().zip([i32::MAX - 1, i32::MAX, 0]) {
        batch.set_stamp(stamp(sequence));
    }
    let mut batches: Vec<Option<Batch>> = batches.into_iter().map(Some).collect();
    for at in [1, 2, 0] {
        rig.reenqueue(batches[at].take().unwrap(), 0);
    }
    let order: Vec<Vec<u8>> = (0..4).flat_map(|_| values(&take())).collect();
    assert_eq!(order, [b"a", b"b", b"c", b"d"]);
}

// ACC-21: without idempotence to the front
#[test]
fn a_retried_batch_without_sequence_goes_to_the_front() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, batch_size: 1, ..settings() });
    for value in ["a", "b"] {
        rig.send(Record::value(value));
    }
    rig.ready();
    let first = rig.drain(1).remove(0);
    rig.reenqueue(first, 0);
    rig.ready();
    assert_eq!(values(&rig.drain(1)[0]), [b"a"]);
}

// ACC-21, ACC-24
#[test]
fn batches_without_sequence_that_come_back_stand_and_expire_oldest_first() {
    let rig = Rig::new(
        &[Some(1)],
        Settings { linger_ms: 0, batch_size: 1, delivery_timeout_ms: 1000, ..settings() },
    );
    rig.send(Record::value("a"));
    rig.clock.advance(300);
    rig.send(Record::value("b"));
    let take = || {
        rig.ready();
        rig.drain(1).remove(0)
    };
    let (first, second) = (take(), take());
    rig.reenqueue(first, 0);
    rig.reenqueue(second, 0);
    let mut expired = Vec::new();
    rig.accumulator.expire(rig.clock.advance(700), &mut expired);
    assert_eq!(expired.iter().flat_map(values).collect::<Vec<_>>(), [b"a"]);
    rig.accumulator.complete(expired.remove(0), failure(Outcome::NotWritten));
    assert_eq!(values(&take()), [b"b"]);
}

// ACC-24
#[test]
fn batches_expire_from_the_head_on_when_their_age_is_the_delivery_timeout() {
    let rig = Rig::new(&[None], Settings { delivery_timeout_ms: 1000, batch_size: 1, ..settings() });
    let mut first = rig.send(Record::value("a"));
    rig.clock.advance(300);
    let second = rig.send(Record::value("b"));
    rig.ready();
    assert_eq!(rig.accumulator.next_expiry_ms(), Some(1000));
    let mut expired = Vec::new();
    rig.accumulator.expire(rig.clock.advance(699), &mut expired);
    assert!(expired.is_empty());
    rig.accumulator.expire(rig.clock.advance(1), &mut expired);
    assert_eq!(expired.len(), 1);
    assert_eq!(values(&expired[0]), [b"a"], "its records can still be read");
    rig.accumulator.complete(expired.remove(0), failure(Outcome::NotWritten));
    assert_eq!(first.poll_now().unwrap().unwrap_err().outcome(), Outcome::NotWritten);
    assert!(!second.is_done());
    rig.ready();
    assert_eq!(rig.accumulator.next_expiry_ms(), Some(1300));
    rig.accumulator.expire(rig.clock.advance(10_000), &mut expired);
    assert_eq!(expired.iter().flat_map(values).collect::<Vec<_>>(), [b"b"], "late is not too late");
}

// ACC-16
#[test]
fn a_request_takes_what_fits_to_the_byte() {
    let rig = Rig::new(&[Some(1), Some(1)], Settings { linger_ms: 0, ..settings() });
    rig.send_to(0, "v");
    rig.ready();
    let len = rig.drain(1).remove(0).encoded_len();
    for (bytes_max, expected) in [(2 * len, vec![0, 1]), (2 * len - 1, vec![0])] {
        (0..2).for_each(|partition| drop(rig.send_to(partition, "v")));
        rig.ready();
        let mut taken = rig.drain_with(1, bytes_max, &AllMay);
        taken.sort_by_key(|batch| batch.partition().index());
        assert_eq!(partitions(&taken), expected, "{bytes_max} bytes");
    }
}

// ACC-14
#[test]
fn a_topic_without_leaders_is_named_once() {
    let rig = Rig::new(&[None, None, Some(1)], settings());
    (0..3).for_each(|partition| drop(rig.send_to(partition, "v")));
    assert_eq!(rig.ready().leaderless, ["t".into()]);
}
