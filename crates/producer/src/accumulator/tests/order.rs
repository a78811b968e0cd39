//! Everything at once: threads, and random runs. Nothing is lost, reordered or leaked.

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use rohrpost_record::Stamp;

use super::*;

// THR-2, ACC-1, PAR-8
#[test]
fn threads_append_at_the_same_time_and_each_keeps_its_order() {
    const THREADS: u32 = 4;
    const EACH: u32 = 3000;
    let rig = Rig::new(&[Some(1); 5], Settings { linger_ms: 0, batch_size: 2000, ..settings() });
    let done = AtomicUsize::new(0);
    let mut taken: Vec<(i32, Vec<u8>)> = Vec::new();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (rig, done) = (&rig, &done);
            scope.spawn(move || {
                for i in 0..EACH {
                    let value = [thread.to_be_bytes(), i.to_be_bytes()].concat();
                    let record = match i % 3 {
                        0 => Record::value(value).key(thread.to_be_bytes().to_vec()),
                        _ => Record::value(value),
                    };
                    rig.send(record);
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let mut offset = 0;
        loop {
            let last = done.load(Ordering::SeqCst) == THREADS as usize;
            rig.clock.advance(1);
            rig.ready();
            let batches = rig.drain(1);
            let none = batches.is_empty();
            for batch in batches {
                taken.extend(values(&batch).into_iter().map(|value| (batch.partition().index(), value)));
                offset += i64::from(batch.record_count());
                rig.complete(batch, offset);
            }
            if last && none {
                break;
            }
        }
    });
    assert_eq!(taken.len(), (THREADS * EACH) as usize);
    let mut last = std::collections::HashMap::new();
    for (partition, value) in taken {
        let number = |at: usize| u32::from_be_bytes(value[at..at + 4].try_into().unwrap());
        if let Some(before) = last.insert((partition, number(0)), number(4)) {
            assert!(before < number(4), "thread {} in partition {partition}", number(0));
        }
    }
    assert_eq!(rig.held(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// ACC-1, ACC-19, BUF-1: whatever is appended, drained, retried, expired and completed: every record comes out once, in
    /// order per partition, and all memory comes back.
    #[test]
    fn nothing_is_lost_reordered_or_leaked(
        ops in prop::collection::vec((0..7u8, 0..4i32, 0..3000usize), 1..120),
        batch_size in 1..5000usize,
        memory in 4000..60_000usize,
    ) {
        let rig = Rig::new(&[Some(1), Some(1), Some(2), Some(2)], Settings { batch_size, linger_ms: 0, buffer_memory: memory, ..settings() });
        let mut accepted: [Vec<u32>; 4] = Default::default();
        let mut seen: [Vec<u32>; 4] = Default::default();
        let mut number = 0u32;
        let mut sequence = [0i32; 4];
        let mut out: Vec<Batch> = Vec::new();
        let finish = |batch: Batch, seen: &mut [Vec<u32>; 4]| {
            let numbers = values(&batch).iter().map(|value| u32::from_be_bytes(value[..4].try_into().unwrap())).collect::<Vec<_>>();
            seen[batch.partition().index() as usize].extend(numbers);
            rig.complete(batch, 0);
        };
        let drain = |node, out: &mut Vec<Batch>, sequence: &mut [i32; 4]| {
            rig.ready();
            for mut batch in rig.drain_with(node, 10_000, &AllMay) {
                if batch.stamp().is_none() {
                    let next = &mut sequence[batch.partition().index() as usize];
                    batch.set_stamp(Stamp { producer_id: 1, producer_epoch: 0, base_sequence: *next });
                    *next += batch.record_count() as i32;
                }
                out.push(batch);
            }
        };
        for (op, partition, len) in ops {
            match op {
                0..=3 => {
                    let value = [&number.to_be_bytes()[..], &vec![7; len]].concat();
                    let record = Record::value(value).partition(partition).unwrap();
                    if record.size() <= memory && matches!(rig.append(&record), Append::Done(_)) {
                        accepted[partition as usize].push(number);
                        number += 1;
                    }
                }
                4 => drain(1 + partition % 2, &mut out, &mut sequence),
                5 => {
                    // put all of the partition back, newest first or oldest first
                    let (back, rest): (Vec<_>, Vec<_>) = out.drain(..).partition(|batch| batch.partition().index() == partition);
                    out = rest;
                    let back: Vec<_> = if len % 2 == 0 { back } else { back.into_iter().rev().collect() };
                    back.into_iter().for_each(|batch| rig.reenqueue(batch, 0));
                }
                _ => {
                    let (done, rest): (Vec<_>, Vec<_>) = out.drain(..).partition(|batch| batch.partition().index() == partition);
                    out = rest;
                    done.into_iter().for_each(|batch| finish(batch, &mut seen));
                }
            }
            prop_assert!(rig.held() <= memory);
        }
        // In flight at most once each; what is left goes in order.
        out.sort_by_key(|batch| batch.stamp().map(|stamp| stamp.base_sequence));
        out.into_iter().for_each(|batch| finish(batch, &mut seen));
        let mut rest = Vec::new();
        rig.accumulator.abort_all(&mut rest);
        rest.into_iter().for_each(|batch| finish(batch, &mut seen));
        for (mut seen, accepted) in seen.into_iter().zip(accepted) {
            let in_order = seen.clone();
            seen.sort_unstable();
            prop_assert_eq!(&seen, &accepted);
            prop_assert!(in_order.len() == accepted.len());
        }
        prop_assert_eq!(rig.held(), 0);
        prop_assert_eq!(rig.accumulator.counts().pending, 0);
    }
}
