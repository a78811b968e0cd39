//! Nothing is logged while a lock is held: whoever takes the log may use the producer there and then.

use std::sync::atomic::AtomicUsize;

use rohrpost_testing::{in_time, log};
use tracing::Level;

use super::*;

/// What an application's threads do with an accumulator, each lock of it taken.
fn use_it(rig: &Rig) {
    for partition in 0..rig.topic.known() as i32 {
        drop(rig.append(&Record::value(vec![7; 500]).partition(partition).unwrap()));
    }
    rig.accumulator.counts();
    drop(rig.accumulator.begin_flush());
}

/// How many events of this text `run` logs, with an accumulator that is used at each of them.
fn logged(rig: Rig, text: &'static str, run: impl Fn(&Rig) + Send + 'static) -> usize {
    in_time(move || {
        let rig = Arc::new(rig);
        let (used, count) = (rig.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        let listen = move |event: &log::Event| {
            use_it(&used);
            counted.fetch_add(usize::from(event.text.contains(text)), Ordering::Relaxed);
        };
        log::listening(listen, || run(&rig));
        count.load(Ordering::Relaxed)
    })
}

fn lz4() -> Settings {
    let compression = Compression::new(Codec::Lz4, None).unwrap();
    Settings { compression, codec_threads: 1, linger_ms: 0, batch_size: 300, ..settings() }
}

// PAR-4
#[test]
fn a_topic_that_grows_is_logged_once_with_both_counts_whoever_notices() {
    let text = "topic t has grown from 1 to 3 partitions";
    let notice: [fn(&Rig); 3] = [
        |rig| drop(rig.ready()),
        |rig| rig.accumulator.apply(&rig.cluster),
        |rig| rig.accumulator.apply_to(&rig.topic, &rig.cluster.topics["t"], &rig.cluster),
    ];
    for first in notice {
        let mut rig = Rig::new(&[Some(1)], settings());
        drop(rig.send_to(0, "a"));
        let before = std::mem::take(&mut rig.cluster);
        rig.cluster.version = before.version;
        rig.lead(&[Some(1); 3], 0);
        let told = logged(rig, text, move |rig| {
            first(rig);
            // A thread that had looked at the metadata before comes late.
            rig.accumulator.apply_to(&rig.topic, &before.topics["t"], &before);
            notice.iter().for_each(|notice| notice(rig));
            assert_eq!((rig.topic.known(), rig.accumulator.topics_grown()), (3, 1));
        });
        assert_eq!(told, 1);
    }
}

#[test]
fn a_thread_for_compression_that_cannot_be_started_is_logged_without_a_lock() {
    let text = "no thread for compression";
    let mut rig = Rig::new(&[Some(1)], lz4());
    rig.accumulator.codec.refuse_threads();
    // The second record closes the first one's batch.
    let on_append = logged(rig, text, |rig| (0..2).for_each(|_| drop(rig.send_to(0, vec![7; 500]))));
    assert!(on_append >= 1);
    let mut rig = Rig::new(&[Some(1)], lz4());
    rig.accumulator.codec.refuse_threads();
    drop(rig.send_to(0, vec![7; 100]));
    let on_pass = logged(rig, text, |rig| drop(rig.ready()));
    assert!(on_pass >= 1);
}

#[test]
fn failures_that_nobody_saw_are_logged_without_a_lock() {
    let rig = Rig::new(&[Some(1)], settings());
    rig.accumulator.ledger.count_unseen(2);
    let ledger = rig.accumulator.ledger.clone();
    let heard = in_time(move || {
        let again = ledger.clone();
        let listen = move |_: &log::Event| assert_eq!(again.report_unseen(0), 0);
        log::listening(listen, || ledger.report_unseen(0))
    });
    assert_eq!(heard, 2);
    let again = log::events(Level::WARN, || drop(rig.ready()));
    assert!(again.is_empty(), "{again:?}");
}
