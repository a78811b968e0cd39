//! Memory and counts: what is held, for how long, and that every record gets an outcome.

use std::collections::HashSet;

use super::*;
use crate::accumulator::pool::BATCH_BYTES;

// ACC-25
#[test]
fn memory_is_held_until_the_batch_is_gone_whatever_its_outcome() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    let mut delivery = rig.send(Record::value("v"));
    rig.ready();
    let batch = rig.drain(1).remove(0);
    assert_eq!(rig.held(), 1024 + BATCH_BYTES);
    assert!(rig.accumulator.resolve(batch.completion(), failure(Outcome::Unknown)));
    assert!(delivery.poll_now().is_some());
    assert_eq!(rig.held(), 1024 + BATCH_BYTES, "the request still has it");
    rig.complete(batch, 0);
    assert_eq!(rig.held(), 0);
}

// ACC-26
#[test]
fn the_first_outcome_of_a_batch_wins() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    let mut delivery = rig.send(Record::value("v"));
    rig.ready();
    let batch = rig.drain(1).remove(0);
    assert!(rig.accumulator.resolve(batch.completion(), failure(Outcome::Unknown)));
    assert!(!rig.accumulator.resolve(batch.completion(), BatchResult::HandedOver));
    rig.complete(batch, 5);
    assert_eq!(delivery.poll_now().unwrap().unwrap_err().outcome(), Outcome::Unknown);
    let counts = rig.accumulator.counts();
    assert_eq!((counts.accepted, counts.unknown, counts.acked, counts.pending), (1, 1, 0, 0));
}

// BUF-7
#[test]
fn a_thousand_partitions_with_a_small_record_each_hold_two_mib() {
    let rig = Rig::new(&[Some(1); 1000], settings());
    (0..1000).for_each(|partition| drop(rig.send_to(partition, vec![7; 100])));
    assert_eq!(rig.held(), 1000 * (1024 + BATCH_BYTES));
    let room = |partition| rig.topic.partition(partition).unwrap().queue.lock().batches.capacity();
    assert!(
        (0..1000).all(|partition| room(partition) == 1),
        "a queue has no room for more than its first batch"
    );
}

// BUF-7
#[test]
fn a_busy_partitions_next_batch_takes_its_memory_in_one_piece() {
    let rig = Rig::new(&[Some(1)], settings());
    let pieces = |rig: &Rig| -> Vec<usize> {
        rig.topic.partition(0).unwrap().queue.lock().batches.iter().map(|batch| batch.pieces.len()).collect()
    };
    (0..16).for_each(|_| drop(rig.send_to(0, vec![7; 1000])));
    assert_eq!(pieces(&rig), [4], "2 + 4 + 8 + 4 KiB: the last no larger than the batch can use");
    rig.send_to(0, vec![7; 1000]);
    assert_eq!(pieces(&rig), [4, 1]);
    assert_eq!(rig.held(), 16384 + 18 * 1024 + 2 * BATCH_BYTES);
    (0..15).for_each(|_| drop(rig.send_to(0, vec![7; 1000])));
    assert_eq!(pieces(&rig), [4, 1]);
}

#[test]
fn counts_are_exact_when_nothing_moves() {
    let rig = Rig::new(&[Some(1), Some(1)], Settings { linger_ms: 0, ..settings() });
    (0..10).for_each(|i| drop(rig.send_to(i % 2, "v")));
    let counts = rig.accumulator.counts();
    assert_eq!((counts.accepted, counts.pending), (10, 10));
    rig.ready();
    let mut batches = rig.drain(1);
    assert_eq!(rig.accumulator.counts().pending, 10);
    rig.complete(batches.remove(0), 0);
    rig.reenqueue(batches.remove(0), 0);
    let counts = rig.accumulator.counts();
    assert_eq!((counts.accepted, counts.acked, counts.pending), (10, 5, 5));
    let mut rest = Vec::new();
    rig.accumulator.abort_all(&mut rest);
    assert_eq!(rig.queue_len(0) + rig.queue_len(1), 0);
    rest.into_iter().for_each(|batch| rig.accumulator.complete(batch, failure(Outcome::NotWritten)));
    let counts = rig.accumulator.counts();
    assert_eq!((counts.accepted, counts.not_written, counts.pending, counts.unseen), (10, 5, 0, 5));
    assert_eq!(rig.held(), 0);
}

// CMPL-8: even records of a producer that is simply dropped get an outcome
#[test]
fn a_dropped_accumulator_leaves_no_handle_without_an_outcome() {
    let rig = Rig::new(&[Some(1), Some(1)], Settings { linger_ms: 0, ..settings() });
    let (mut queued, mut drained) = (rig.send_to(0, "v"), rig.send_to(1, "v"));
    rig.ready();
    let batches = rig.drain_with(1, 10, &Held(HashSet::from([0])));
    let ledger = rig.accumulator.ledger.clone();
    drop((rig, batches));
    let seen = |delivery: &mut Delivery| {
        let error = delivery.poll_now().unwrap().unwrap_err();
        (error.outcome(), error.attempts())
    };
    assert_eq!(seen(&mut queued), (Outcome::NotWritten, 0));
    assert_eq!(seen(&mut drained), (Outcome::Unknown, 1));
    let counts = ledger.counts(0);
    assert_eq!((counts.accepted, counts.not_written, counts.unknown, counts.pending), (2, 1, 1, 0));
}

// CMPL-5, BUF-3
#[test]
fn a_callback_without_room_is_told_so_at_once() {
    let rig = Rig::new(&[Some(1)], Settings { buffer_memory: 9700, ..settings() });
    let append = |number: u8| {
        let record = Record::value("v");
        let captured = [number; 3000];
        let mut candidate = Candidate {
            callback: Some(Box::new(move |_: Result<_, _>| assert_eq!(captured[0], number))),
            ..Candidate::of(&record)
        };
        let append = rig.accumulator.append(&rig.topic, &mut candidate, &rig.clock);
        (matches!(append, Append::NoRoom), candidate.callback.is_some())
    };
    // There is still room for two chunks when there is none for the third callback.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| tell.send([append(1), append(2), append(3)]).unwrap());
        let appends = told.recv_timeout(std::time::Duration::from_secs(20));
        let Ok(appends) = appends else { std::process::abort() };
        assert_eq!(appends, [(false, false), (false, false), (true, true)]);
    });
    assert!(rig.accumulator.pool().available() >= 2048);
}

// BUF-7
#[test]
fn a_record_that_fits_into_the_memory_at_hand_to_the_last_byte_takes_no_more() {
    let filled = |len: usize| {
        let rig = Rig::new(&[Some(1)], settings());
        rig.append_long(&Record::value(vec![7; 400]));
        rig.append_long(&Record::value(vec![7; len]));
        let queue = rig.topic.partition(0).unwrap().queue.lock();
        (queue.batches[0].uncompressed_len(), queue.batches[0].pieces.len())
    };
    let (lens, pieces): (Vec<_>, Vec<_>) =
        (500..600).map(filled).filter(|(len, _)| (1023..=1025).contains(len)).unzip();
    assert_eq!((lens, pieces), (vec![1023, 1024, 1025], vec![1, 1, 2]));
}

// BUF-7
#[test]
fn a_quiet_partitions_next_batch_begins_small_again() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    for _ in 0..2 {
        rig.send(Record::value(vec![7; 100]));
        assert_eq!(rig.held(), 1024 + BATCH_BYTES);
        rig.ready();
        rig.drain(1).into_iter().for_each(|batch| rig.complete(batch, 0));
    }
}

// CFG-21, ACC-25
#[test]
fn a_record_with_outcome_frees_its_place_while_its_batch_keeps_its_memory() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, records_max: Some(1), ..settings() });
    rig.send(Record::value("v"));
    rig.ready();
    let mut batch = rig.drain(1).remove(0);
    assert!(matches!(rig.append(&Record::value("v")), Append::NoRoom));
    batch.release_places();
    assert!(matches!(rig.append(&Record::value("v")), Append::Done(_)));
    assert_eq!(rig.held(), 2 * (1024 + BATCH_BYTES), "of both");
}

// SEND-2
#[test]
fn a_batch_leaves_its_bytes_behind_once_and_only_if_they_can_be_read() {
    let rig = Rig::new(&[Some(1)], Settings { linger_ms: 0, ..settings() });
    rig.send(Record::value("v"));
    let pool = rig.accumulator.pool();
    {
        let open = &mut rig.topic.partition(0).unwrap().queue.lock().batches[0];
        assert!(open.copy_remains(pool).is_none() && open.take_remains().is_none(), "it has no header");
    }
    rig.ready();
    let mut batch = rig.drain(1).remove(0);
    let remains = batch.take_remains().expect("it was drained");
    assert!(remains.for_each(|record| assert_eq!(record.value, Some(&b"v"[..]))));
    assert!(batch.copy_remains(pool).is_none() && batch.take_remains().is_none(), "they are taken");
}

#[test]
fn a_name_that_is_no_topic_is_forgotten_unless_it_is_used_or_waited_for() {
    let rig = Rig::new(&[Some(1)], settings());
    let accumulator = &rig.accumulator;
    let is_kept = |topic: &Arc<TopicState>| {
        accumulator.forget(topic);
        accumulator.topic(topic.name()).is_some()
    };
    assert!(is_kept(&rig.topic), "it is known");
    let other = accumulator.topic_or_new("other");
    other.add_waiter();
    assert!(is_kept(&other), "someone waits");
    other.remove_waiter();
    let holder = other.clone();
    assert!(is_kept(&other), "someone holds it");
    drop(holder);
    assert!(!is_kept(&other));
    let gone = accumulator.topic_or_new("gone");
    gone.partition_or_new(0, &accumulator.ledger, &accumulator.next_key);
    assert!(is_kept(&gone), "it was sent to");
}
