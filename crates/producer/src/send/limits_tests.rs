//! Limits by count, beside those in bytes.

use super::tests::{Rig, now, poll, ready, small, values};
use super::*;

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
