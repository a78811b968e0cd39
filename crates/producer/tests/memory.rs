//! `buffer.memory` bounds what the producer owns, under any load: counted by an allocator.
//!
//! The bound, in bytes: `buffer.memory`, and [`FIXED`] for the producer itself with its threads' scratch memory, and [`PER_PARTITION`]
//! for each partition that it knows (metadata) or has sent to. Handles are the caller's: each costs its own size, and keeps a few
//! hundred bytes of its batch ([`PER_BATCH_OF_HANDLES`]), none of them `buffer.memory`.
//!
//! All codecs are bounded so. But what zstd's C library has for itself, for the one thread that compresses, comes from C's allocator and
//! is not seen here.
//!
//! The broker runs in a process of its own (this program again, as [`peer`]), so that what is counted here is the producer's and this
//! test's; and so that it can be stopped like a machine that hangs: what is sent to it then stays with the producer.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(clippy::print_stdout, reason = "the figures, and the line by which the broker is found")]

use std::future::Future;
use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rohrpost::{Compression, Delivery, Producer, ProducerBuilder, Record, Topic};
use rohrpost_broker::Cluster;
use rohrpost_testing::memory::{Counting, Growth};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The producer itself: sockets' buffers, the sender's lists, the codec's scratch, what a request and an answer take besides batches.
const FIXED: usize = 512 << 10;
/// A partition: its metadata in two snapshots, its queue, its place in the sender's state, in requests and answers.
const PER_PARTITION: usize = 2 << 10;
/// A batch's completion, kept by the handles of its records.
const PER_BATCH_OF_HANDLES: usize = 512;

/// The count is the process's: one test at a time.
fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const PEER: &str = "ROHRPOST_MEMORY_PEER";

/// The broker's process; in the ordinary run nothing.
#[test]
fn peer() {
    let Ok(job) = std::env::var(PEER) else { return };
    let mut broker = Cluster::builder().config("auto.create.topics.enable", "false");
    for setting in job.split(' ') {
        let (key, value) = setting.split_once('=').expect("key=value");
        broker = match key.strip_prefix("topic:") {
            Some(topic) => broker.topic(topic, value.parse().expect("partitions"), 1),
            None => broker.config(key, value),
        };
    }
    let cluster = broker.start().expect("the broker starts");
    println!("\n@{}", cluster.bootstrap_servers());
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest); // until the other process ends
}

struct Peer {
    process: Child,
    address: String,
    /// Open as long as it lives: it may have more to say.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(job: &str) -> Peer {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "peer", "--nocapture"])
            .env(PEER, job)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix('@').map(str::to_owned))
            .expect("the broker says where it is");
        Peer { process, address, _lines: lines }
    }

    fn producer(&self, buffer_memory: usize) -> ProducerBuilder {
        Producer::builder(&self.address).buffer_memory(buffer_memory).max_block(Duration::from_millis(300))
    }

    fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// It takes nothing more off its sockets, and answers nothing.
    fn stop(&self) {
        self.signal("STOP");
    }

    fn go_on(&self) {
        self.signal("CONT");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The topic's handle. `max.block.ms` is short here, and a busy machine may need longer.
fn topic(producer: &Producer) -> Topic {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match producer.topic_blocking("t") {
            Ok(topic) => return topic,
            Err(refusal) => assert!(Instant::now() < deadline, "{refusal}"),
        }
    }
}

/// What may be had at once beyond what there was before.
fn bound(buffer_memory: usize, partitions: usize) -> usize {
    buffer_memory + FIXED + partitions * PER_PARTITION
}

fn assert_within(what: &str, growth: &Growth, bound: usize) {
    let peak = growth.peak();
    println!("{what}: at most {peak} bytes of {bound}");
    assert!(peak <= bound as isize, "{what}: {peak} bytes, and the bound is {bound}");
}

/// The producer is gone, and what it had with it.
fn assert_gone(what: &str, growth: &Growth) {
    // Its threads let go of the last when they end.
    let left = settled(64 << 10, || growth.now());
    println!("{what}: {left} bytes are left");
    assert!(left <= 64 << 10, "{what}: {left} bytes are left");
}

/// What it is once it is at most `limit`, or after ten seconds.
fn settled(limit: isize, look: impl Fn() -> isize) -> isize {
    let deadline = Instant::now() + Duration::from_secs(10);
    while look() > limit && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    look()
}

/// Bytes that no codec makes smaller, held from before anything is counted.
fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(byte).take(len).collect::<Vec<u8>>().into()
}

/// Sends on four threads until nothing has room any more, each with its own lengths; keeps every `keep`th handle.
fn fill(
    topic: &Topic,
    partitions: usize,
    lens: &[usize],
    body: &Bytes,
    kept: &mut Vec<Delivery>,
    keep: usize,
) -> usize {
    let sent = AtomicUsize::new(0);
    let handles = Mutex::new(kept);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (sent, handles) = (&sent, &handles);
            scope.spawn(move || {
                for number in thread.. {
                    let len = lens[number % lens.len()];
                    let partition = (number * 7 % partitions) as i32;
                    let from = number * 97 % (body.len() - len + 1); // no two alike
                    let record = Record::value(body.slice(from..from + len)).partition(partition).unwrap();
                    let Ok(delivery) = topic.send_blocking(record) else { return };
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    let mut handles = handles.lock().unwrap();
                    if number % keep == 0 && handles.len() < handles.capacity() {
                        handles.push(delivery);
                    }
                }
            });
        }
    });
    sent.into_inner()
}

// BUF-1, BUF-7
#[test]
fn a_stalled_broker_many_partitions_several_codecs_and_records_of_all_sizes() {
    let _turn = my_turn();
    const PARTITIONS: usize = 300;
    const TOTAL: usize = 4 << 20;
    let peer = Peer::start(&format!("topic:t={PARTITIONS}"));
    let body = noise(700 << 10);
    let zeros = Bytes::from(vec![0; 700 << 10]);
    let codecs =
        [Compression::None, Compression::GZIP, Compression::Snappy, Compression::LZ4, Compression::ZSTD];
    for compression in codecs {
        for (what, body, lens) in [
            ("tiny", &body, &[0, 1, 7, 40][..]),
            ("huge", &body, &[700 << 10, 100, 300 << 10][..]),
            ("mixed", &body, &[10, 1000, 20_000, 3, 200_000, 100][..]),
            ("zeros", &zeros, &[10, 1000, 20_000, 3, 200_000, 100][..]),
        ] {
            let what = format!("{what}, {compression:?}");
            let mut kept = Vec::with_capacity(1000);
            let growth = Growth::begin();
            let producer = peer.producer(TOTAL).compression(compression).build().unwrap();
            let topic = topic(&producer);
            peer.stop();
            let stalled = fill(&topic, PARTITIONS, lens, body, &mut kept, 10);
            assert_within(&what, &growth, bound(TOTAL, PARTITIONS) + kept.capacity() * PER_BATCH_OF_HANDLES);
            peer.go_on();
            let report = producer.flush_blocking().unwrap();
            assert!(report.undelivered() == 0 && stalled > 0, "{what}: {stalled} {report:?}");
            drop((topic, kept));
            producer.close_blocking(Duration::from_secs(20));
            drop(producer);
            assert_gone(&what, &growth);
        }
    }
}

// BUF-7
#[test]
fn a_batch_of_its_own_for_each_record() {
    let _turn = my_turn();
    const TOTAL: usize = 4 << 20;
    let peer = Peer::start("topic:t=10");
    let body = noise(100);
    for batch_size in [0, 200] {
        let mut kept = Vec::new();
        let growth = Growth::begin();
        let producer = peer.producer(TOTAL).batch_size(batch_size).build().unwrap();
        let topic = topic(&producer);
        peer.stop();
        let sent = fill(&topic, 10, &[1, 100], &body, &mut kept, 1);
        assert!(sent > 1000, "{sent}");
        assert_within(&format!("batch.size={batch_size}"), &growth, bound(TOTAL, 10));
        peer.go_on();
        producer.flush_blocking().unwrap();
        drop(topic);
        producer.close_blocking(Duration::from_secs(20));
        drop(producer);
        assert_gone("batches of one record", &growth);
    }
}

// BUF-7, CMPL-7
#[test]
fn permits_and_callbacks() {
    let _turn = my_turn();
    const TOTAL: usize = 4 << 20;
    let peer = Peer::start("topic:t=100");
    let growth = Growth::begin();
    let producer = peer.producer(TOTAL).build().unwrap();
    let topic = topic(&producer);
    let mut permits = Vec::new();
    for bytes in [5000, 100] {
        while let Ok(permit) = topic.reserve_blocking(bytes) {
            permits.push(permit);
            if permits.len() == 200 {
                break;
            }
        }
    }
    assert!(permits.len() > 1000, "{}", permits.len());
    assert!(topic.try_send(Record::value("v")).is_err(), "there is no room beside permits");
    assert_within("permits", &growth, bound(TOTAL, 100));
    // Each into a partition of its own, as far as they go.
    for (number, permit) in permits.into_iter().enumerate() {
        permit.send(Record::value("v").partition(number as i32 % 100).unwrap()).unwrap();
    }
    assert_within("permits in use", &growth, bound(TOTAL, 100));
    producer.flush_blocking().unwrap();

    let called = Arc::new(AtomicUsize::new(0));
    peer.stop();
    let mut sent = 0;
    loop {
        let (count, captured) = (called.clone(), [7_u8; 300]);
        let callback = move |_| {
            count.fetch_add(usize::from(captured[0] == 7), Ordering::Relaxed);
        };
        let record = Record::value("v").partition(sent as i32 % 100).unwrap();
        if topic.try_send_with(record, callback).is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent > 1000, "{sent}");
    assert_within("callbacks", &growth, bound(TOTAL, 100));
    peer.go_on();
    producer.flush_blocking().unwrap();
    assert_eq!(called.load(Ordering::Relaxed), sent + 1, "each once, and the one that was refused");
    drop(topic);
    producer.close_blocking(Duration::from_secs(20));
    drop((producer, called));
    assert_gone("permits and callbacks", &growth);
}

// PRE-4, PRE-3
#[test]
fn a_thousand_cold_topics_pin_nothing_and_hold_up_nobody() {
    let _turn = my_turn();
    const TOTAL: usize = 1 << 20;
    let peer = Peer::start("topic:t=1");
    let body = noise(900_000);
    let growth = Growth::begin();
    let producer = peer.producer(TOTAL).max_block(Duration::from_secs(60)).build().unwrap();
    let warm = topic(&producer);
    // Each record is the caller's while it waits: they share their bytes.
    let record = |number: usize| Record::to(format!("cold-{number}")).value(body.clone());
    let mut cold: Vec<_> = (0..1000).map(|number| Box::pin(producer.send(record(number)))).collect();
    let poll = |future: &mut std::pin::Pin<Box<rohrpost::SendFuture<'_>>>| {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    };
    assert!(cold.iter_mut().all(poll));
    let waiting = growth.now();
    assert!(waiting < 4 << 20, "{waiting} bytes for a thousand calls that wait");
    // All of `buffer.memory` is there for others: a record of nearly all of it goes through, again and again.
    for _ in 0..3 {
        let sent = warm.send_blocking(Record::value(body.clone())).expect("there is room");
        sent.wait().expect("delivered");
    }
    assert!(cold.iter_mut().all(poll));
    assert_within("cold topics", &growth, TOTAL + FIXED + 1000 * 6 * 1024);
    drop(cold);
    drop(warm);
    producer.close_blocking(Duration::from_secs(20));
    drop(producer);
    assert_gone("cold topics", &growth);
}

// BUF-7
#[test]
fn a_thousand_partitions_with_a_small_record_each() {
    let _turn = my_turn();
    const PARTITIONS: usize = 1000;
    let peer = Peer::start(&format!("topic:t={PARTITIONS}"));
    let body = noise(100);
    // They wait in the accumulator: what requests take depends on how many records come before the sender's next pass.
    let producer = peer.producer(32 << 20).linger(Duration::from_secs(3600)).build().unwrap();
    let topic = topic(&producer);
    let growth = Growth::begin();
    for partition in 0..PARTITIONS {
        drop(topic.send_blocking(Record::value(body.clone()).partition(partition as i32).unwrap()).unwrap());
    }
    let metrics = producer.metrics();
    let charged = metrics.buffer_total_bytes - metrics.buffer_available_bytes;
    println!("charged: {charged} bytes");
    assert!(charged <= 2 << 20, "{charged} bytes are charged");
    // What is charged, and for each partition its queue and its places in lists.
    assert_within("a thousand partitions", &growth, 9 << 18);
    assert_eq!(producer.flush_blocking().unwrap().undelivered(), 0);
}

// BUF-7
#[test]
fn partitions_at_rest_cost_little() {
    let _turn = my_turn();
    const PARTITIONS: usize = 5000;
    let peer = Peer::start(&format!("topic:t={PARTITIONS}"));
    let producer = peer.producer(32 << 20).build().unwrap();
    let topic = topic(&producer);
    topic.send_blocking(Record::value("v").partition(0).unwrap()).unwrap().wait().unwrap();
    let growth = Growth::begin();
    for partition in 0..PARTITIONS {
        drop(topic.send_blocking(Record::value("v").partition(partition as i32).unwrap()).unwrap());
    }
    producer.flush_blocking().unwrap();
    // The free chunks are kept, and count as `buffer.memory`: 1 KiB each.
    let chunks = PARTITIONS * 1024;
    // A pass after the last answer lets go of what the queues had.
    let each = settled(700, || (growth.now() - chunks as isize) / PARTITIONS as isize);
    println!("{each} bytes for a partition at rest");
    assert!(each <= 700, "{each} bytes for a partition at rest");
}

// ACC-22, BUF-7
#[test]
fn batches_that_are_split() {
    let _turn = my_turn();
    const TOTAL: usize = 4 << 20;
    let body = noise(100 << 10);
    // Half of each byte is noise: a codec finds something, and not too much.
    let words: Bytes = body.iter().map(|byte| byte & 15).collect::<Vec<u8>>().into();
    for (what, compression, body) in [("plain", Compression::None, &body), ("lz4", Compression::LZ4, &words)]
    {
        let peer = Peer::start("topic:t=20 message.max.bytes=2000");
        let mut kept = Vec::new();
        let growth = Growth::begin();
        let producer = peer.producer(TOTAL).compression(compression).batch_size(16 << 10).build().unwrap();
        let topic = topic(&producer);
        peer.stop();
        fill(&topic, 20, &[300], body, &mut kept, 1);
        peer.go_on();
        let report = producer.flush_blocking().unwrap();
        assert_eq!(report.undelivered(), 0, "{what}: {report:?}");
        // While a batch is split it is there three times, and uncompressed at that: its parts are charged, the copies are not.
        assert_within(&format!("split, {what}"), &growth, bound(TOTAL, 20) + (1 << 20));
        assert!(producer.metrics().batches_split > 0, "{what}: nothing was split");
        drop(topic);
        producer.close_blocking(Duration::from_secs(20));
        drop(producer);
        assert_gone(what, &growth);
    }
}
