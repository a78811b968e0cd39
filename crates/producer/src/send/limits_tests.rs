//! Limits by count, beside those in bytes.

use super::tests::{Rig, big, now, poll, ready, small, values};
use super::*;
use crate::producer::Attached;

// CFG-21, ACC-9
#[test]
fn a_batch_takes_so_many_records_and_no_more() {
    for (limit, expected) in [("1", vec![1; 10]), ("3", vec![3, 3, 3, 1]), ("100", vec![10])] {
        let rig = Rig::new(&[("batch.num.messages", limit), ("linger.ms", "0")]);
        (0..10).for_each(|_| drop(now(rig.producer.send(small('a'))).unwrap()));
        let mut counts = Vec::new();
        loop {
            let batches = rig.drain();
            if batches.is_empty() {
                break;
            }
            counts.extend(batches.iter().map(|batch| batch.record_count()));
            rig.complete(batches);
        }
        assert_eq!(counts, expected);
        rig.assert_clean();
    }
}

// CFG-21, BUF-4: with memory in plenty
#[test]
fn records_without_an_outcome_are_limited_by_count_and_who_waits_goes_on_in_order() {
    let rig = Rig::new(&[("queue.buffering.max.messages", "2"), ("linger.ms", "0")]);
    let topic = rig.producer.topic_blocking("t").unwrap();
    let mut order = Vec::new();
    drop(now(rig.producer.send(small('a'))).unwrap());
    let permit = topic.reserve_blocking(200).unwrap();
    assert!(rig.producer.try_send(small('x')).unwrap_err().is_full(), "a permit has a place");
    let mut third = Box::pin(rig.producer.send(small('c')));
    let mut fourth = Box::pin(topic.reserve(200));
    let mut given_up = Box::pin(rig.producer.send(small('y')));
    let mut fifth = Box::pin(rig.producer.send(small('e')));
    assert!(poll(third.as_mut()).is_pending() && poll(fourth.as_mut()).is_pending());
    assert!(poll(given_up.as_mut()).is_pending() && poll(fifth.as_mut()).is_pending());
    drop(permit.send(small('b')).unwrap());
    drop(given_up);
    let batches = rig.drain(); // both of them
    order.extend(values(&batches));
    assert!(poll(third.as_mut()).is_pending(), "on its way is not done");
    rig.complete(batches);
    drop(ready(poll(third.as_mut())).unwrap());
    drop(third);
    let permit = ready(poll(fourth.as_mut())).unwrap();
    drop(fourth);
    assert!(poll(fifth.as_mut()).is_pending());
    let error = permit.send(Record::value("v").partition(7).unwrap()).unwrap_err();
    assert!(poll(fifth.as_mut()).is_pending(), "a permit that comes back has its place still");
    drop(error);
    drop(ready(poll(fifth.as_mut())).unwrap());
    drop(fifth);
    loop {
        let batches = rig.drain();
        if batches.is_empty() {
            break;
        }
        order.extend(values(&batches));
        rig.complete(batches);
    }
    assert_eq!(order, ["a", "b", "c", "e"]);
    for letter in ['f', 'g'] {
        drop(rig.producer.try_send(small(letter)).unwrap());
    }
    assert!(rig.producer.try_send(small('h')).is_err(), "neither more nor fewer places than before");
    rig.complete(rig.drain());
    rig.assert_clean();
}

// CFG-20, CFG-21, BUF-3
#[test]
fn without_a_place_within_max_block_ms_the_record_comes_back() {
    let old = [("queue.buffering.max.messages", "1"), ("queue.enqueue.timeout.ms", "0"), ("linger.ms", "0")];
    let rig = Rig::new(&old);
    drop(now(rig.producer.send(small('a'))).unwrap());
    let error = now(rig.producer.send(small('b'))).unwrap_err();
    assert!(matches!(error.reason(), Refusal::BufferExhausted { .. }), "{error}");
    assert!(error.to_string().contains("queue.buffering.max.messages"), "{error}");
    rig.complete(rig.drain());
    rig.assert_clean();
}

// PRE-1, PRE-3, BUF-3: one deadline for the whole call
#[test]
fn the_wait_for_metadata_takes_from_the_time_for_room() {
    let settings =
        [("buffer.memory", "2048"), ("batch.size", "1024"), ("linger.ms", "0"), ("max.block.ms", "1000")];
    let late = || Record::to("late").value(vec![b'l'; 800]);
    // Metadata comes after so long, and after that there is no room for the rest of the time.
    for metadata_ms in [1, 600, 999] {
        let rig = Rig::with(&settings, Attached::default());
        rig.publish(&[("t", 2)]);
        let full: Vec<_> = ['a', 'b'].map(|letter| now(rig.producer.send(big(letter))).unwrap()).into();
        let mut send = Box::pin(rig.producer.send(late()));
        let mut topic = Box::pin(rig.producer.topic("late"));
        assert!(poll(send.as_mut()).is_pending() && poll(topic.as_mut()).is_pending());
        rig.advance(metadata_ms);
        assert!(poll(send.as_mut()).is_pending());
        rig.publish(&[("t", 2), ("late", 1)]);
        assert!(poll(send.as_mut()).is_pending());
        rig.advance(999 - metadata_ms);
        assert!(poll(send.as_mut()).is_pending(), "{metadata_ms} ms");
        rig.advance(1);
        let error = ready(poll(send.as_mut())).unwrap_err();
        assert!(matches!(error.reason(), Refusal::BufferExhausted { waited_ms: 1000, .. }), "{error}");
        assert_eq!(error.into_record().topic_name(), Some("late"));
        // Another call has a time of its own.
        let handle = ready(poll(topic.as_mut())).unwrap();
        let mut reserve = Box::pin(handle.reserve(800));
        assert!(poll(reserve.as_mut()).is_pending());
        rig.advance(999);
        assert!(poll(reserve.as_mut()).is_pending());
        drop((send, reserve, full));
        rig.complete(rig.drain());
        rig.complete(rig.drain());
        drop((topic, handle));
        rig.assert_clean();
    }
    // The other way round: room comes back in the last moment.
    let rig = Rig::with(&settings, Attached::default());
    rig.publish(&[("t", 2)]);
    let full: Vec<_> = ['a', 'b'].map(|letter| now(rig.producer.send(big(letter))).unwrap()).into();
    let mut send = Box::pin(rig.producer.send(late()));
    assert!(poll(send.as_mut()).is_pending());
    rig.advance(998);
    rig.publish(&[("t", 2), ("late", 1)]);
    assert!(poll(send.as_mut()).is_pending());
    rig.advance(1);
    rig.complete(rig.drain());
    drop(ready(poll(send.as_mut())).unwrap());
    drop((send, full));
    rig.complete(rig.drain());
    rig.complete(rig.drain());
    rig.assert_clean();
}

// FLU-1
#[test]
fn a_flush_counts_what_was_sent_before_it_and_nothing_else() {
    let rig = Rig::new(&[("linger.ms", "1000")]);
    let before: Vec<_> = (0..2).map(|_| now(rig.producer.send(small('a'))).unwrap()).collect();
    let mut flush = Box::pin(rig.producer.flush());
    assert!(poll(flush.as_mut()).is_pending());
    let after: Vec<_> = (0..3).map(|_| now(rig.producer.send(small('b'))).unwrap()).collect();
    let batches = rig.drain();
    assert_eq!(values(&batches), ["a", "a"], "what comes later goes to another batch");
    rig.complete(batches);
    let report = ready(poll(flush.as_mut())).unwrap();
    assert_eq!((report.acked, report.undelivered()), (2, 0));
    let mut second = Box::pin(rig.producer.flush());
    assert!(poll(second.as_mut()).is_pending());
    rig.complete(rig.drain());
    assert_eq!(ready(poll(second.as_mut())).unwrap().acked, 3);
    drop((before, after, flush, second));
    rig.assert_clean();
}
