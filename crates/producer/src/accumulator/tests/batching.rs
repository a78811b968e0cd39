//! When a batch is full, when a broker is ready, and when the sender is woken.

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;

use rohrpost_record::HEADER_LEN;

use super::*;

// ACC-2, ACC-3, ACC-4, ACC-5
#[test]
fn a_batch_takes_records_up_to_its_write_limit_and_not_one_byte_more() {
    let rig = Rig::new(&[Some(1)], Settings { batch_size: 200, ..settings() });
    // 61 + 15-byte records without key: 1 + 1 + 1 + 1 + 1 + 1 + value + 1
    let record = || Record::value([0; 32].to_vec()); // 39 bytes
    for _ in 0..3 {
        rig.send(record()); // 61 + 3 * 39 = 178
    }
    assert_eq!(rig.queue_len(0), 1);
    rig.send(Record::value([0; 15].to_vec())); // 22 bytes: exactly 200
    assert_eq!(rig.queue_len(0), 1);
    assert_eq!(rig.ready().nodes, [1], "ACC-4, ACC-11: full, though not closed");
    rig.send(Record::value(""));
    assert_eq!(rig.queue_len(0), 2);
    rig.ready();
    let batch = rig.drain(1).remove(0);
    assert_eq!((batch.encoded_len(), batch.record_count()), (200, 4));
    assert_eq!(batch.max_record_size(), 61 + 21 + 1 + 1 + 32 + 1); // ACC-8
}

// CFG-11, ACC-4: an empty batch takes any record
#[test]
fn a_batch_size_of_zero_makes_one_record_per_batch() {
    let rig = Rig::new(&[Some(1)], Settings { batch_size: 0, ..settings() });
    (0..3).for_each(|_| drop(rig.send(Record::value("v"))));
    assert_eq!(rig.queue_len(0), 3);
}

// ACC-11
#[test]
fn a_broker_is_ready_when_its_batch_is_full_lingered_or_not_alone() {
    let rig = Rig::new(&[Some(1), Some(2)], settings());
    rig.send_to(0, "v");
    assert_eq!(rig.ready(), Ready { next_check_ms: Some(2), ..Ready::default() }, "a batch that grew: a nap");
    // ACC-13
    assert_eq!(rig.ready(), Ready { next_check_ms: Some(5), ..Ready::default() });
    rig.clock.advance(4);
    assert!(rig.ready().nodes.is_empty());
    rig.clock.advance(1);
    assert_eq!(rig.ready().nodes, [1], "lingered");
    // more than one batch
    rig.send_to(1, vec![7; 16_000]);
    rig.send_to(1, vec![7; 1000]);
    assert_eq!(rig.queue_len(1), 2);
    assert_eq!(rig.ready().nodes, [1, 2]);
}

// ACC-11, FLU-3, FLU-5
#[test]
fn a_flush_or_close_ends_all_lingering() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 60_000, ..settings() });
    rig.send_to(0, "v");
    assert!(rig.ready().nodes.is_empty());
    let flush = rig.accumulator.begin_flush();
    assert_eq!(rig.ready().nodes, [1]);
    drop(rig.drain(1));
    rig.send_to(0, "later");
    assert_eq!(rig.ready().nodes, [1], "while it runs, what is sent does not linger either");
    drop(flush);
    assert!(rig.ready().nodes.is_empty());
    rig.accumulator.set_closing();
    assert_eq!(rig.ready().nodes, [1]);
    assert!(matches!(rig.append(&Record::value("late")), Append::Closed), "FLU-7");
}

// ACC-11, BUF-5
#[test]
fn someone_who_waits_for_memory_ends_all_lingering() {
    let rig =
        Rig::new(&[Some(1), Some(1)], Settings { linger_ms: 60_000, buffer_memory: 20_000, ..settings() });
    rig.send_to(0, vec![7; 16_000]);
    assert!(rig.ready().nodes.is_empty());
    let record = Record::value(vec![7; 16_000]).partition(1).unwrap();
    assert!(matches!(rig.append(&record), Append::NoRoom), "there is room for one batch only");
    let bytes = rig.accumulator.pool().chunk_size(record.size(), 0);
    let wakes = rig.sender.begin_pass();
    let ticket =
        rig.accumulator.pool().enter(&rig.topic, Some(1), bytes, rig.topic.known(), std::task::Waker::noop());
    assert_ne!(rig.sender.begin_pass(), wakes, "the sender is told");
    assert_eq!(rig.ready().nodes, [1]);
    rig.accumulator.pool().leave(ticket);
    assert!(!rig.accumulator.pool().is_wanted());
}

// ACC-10, ACC-12, ACC-13
#[test]
fn a_batch_that_was_put_back_waits_for_its_back_off_and_then_goes_without_linger() {
    let mut rig = Rig::new(&[Some(1)], Settings { linger_ms: 1000, ..settings() });
    rig.send_to(0, "v");
    rig.clock.advance(1000);
    assert_eq!(rig.ready().nodes, [1]);
    let batch = rig.drain(1).remove(0);
    assert_eq!(batch.attempts(), 0);
    rig.reenqueue(batch, 100);
    assert_eq!(rig.ready(), Ready { next_check_ms: Some(1100), ..Ready::default() });
    assert!(rig.drain(1).is_empty(), "ACC-16: backing off");
    rig.clock.advance(100);
    assert_eq!(rig.ready().nodes, [1]);
    let batch = rig.drain(1).remove(0);
    assert_eq!((batch.attempts(), batch.is_retry()), (1, true));
    rig.reenqueue(batch, 500);
    assert!(rig.ready().nodes.is_empty());
    rig.lead(&[Some(2)], 1);
    assert_eq!(rig.ready().nodes, [2], "ACC-10: a newer leader epoch ends the back-off");
    assert_eq!(rig.drain(2).len(), 1);
}

// PRE-9
#[test]
fn the_sender_is_woken_by_a_new_batch_and_by_a_full_one_and_not_otherwise() {
    let rig = Rig::new(&[Some(1)], settings());
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    rig.sender.set_waker(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let wakes_of = |rig: &Rig, value: usize| {
        assert!(rig.sender.sleep(rig.sender.begin_pass(), 1000));
        let before = woken.load(Ordering::SeqCst);
        rig.send(Record::value(vec![7; value]));
        woken.load(Ordering::SeqCst) - before
    };
    assert_eq!(wakes_of(&rig, 1000), 1, "a new batch");
    assert_eq!(wakes_of(&rig, 1000), 0);
    assert_eq!(wakes_of(&rig, 1000), 0);
    let left = 16_384 - HEADER_LEN - 3 * 1009;
    assert_eq!(wakes_of(&rig, left - 11), 1, "it fills the batch to the last byte");
    assert_eq!(rig.queue_len(0), 1);
    assert_eq!(wakes_of(&rig, 1000), 1, "a new batch");
}

// API-4
#[test]
fn a_records_timestamp_is_its_own_or_the_clocks() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    let deliveries = [rig.send(Record::value("v").timestamp(7).unwrap()), rig.send(Record::value("v")), {
        rig.clock.advance(3);
        rig.send(Record::value("v").key("four"))
    }];
    rig.ready();
    rig.complete(rig.drain(1).remove(0), 100);
    let seen: Vec<_> = deliveries
        .into_iter()
        .map(|mut delivery| {
            let at = delivery.poll_now().unwrap().unwrap();
            // API-5
            (
                at.topic().to_owned(),
                at.partition(),
                at.offset(),
                at.timestamp(),
                at.key_size(),
                at.value_size(),
            )
        })
        .collect();
    let at = |offset, timestamp, key| ("t".to_owned(), 0, Some(offset), Some(timestamp), key, Some(1));
    assert_eq!(seen, [at(100, 7, None), at(101, WALL_MS, None), at(102, WALL_MS + 3, Some(4))]);
}

// ACC-15
#[test]
fn records_that_come_while_a_request_is_under_way_batch_together_without_linger() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    let busy = Held(HashSet::from([0]));
    for _ in 0..50 {
        rig.send(Record::value("v"));
        assert!(rig.accumulator.ready(0, &rig.cluster, &busy).nodes.is_empty());
    }
    rig.send(Record::value("v"));
    rig.ready(); // ready, but the broker's connection is busy
    rig.send(Record::value("v"));
    rig.ready();
    assert_eq!(rig.drain(1)[0].record_count(), 52);
}
