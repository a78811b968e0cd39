//! Models of the places where threads meet, run by `loom` in every order of their steps, and with every value that the memory
//! model lets a read see. Started by `scripts/interleavings`; they are no part of the ordinary tests.
//!
//! Each model is run twice: as the code stands, and with the promise broken that it is there for. The second run must fail, or the
//! model shows nothing. The broken promises are named in the code, beside the lines that keep them (`is_broken`, which is `false`
//! outside of these models).
//!
//! Bounds: two or three threads, one to three records, and at most two times (`PREEMPTIONS`) a thread is interrupted where it need not
//! be. Nearly all known races need one or two. Not seen by the models: `parking_lot`, which stands for itself; the metadata's lock and
//! the codec pool, which are a mutex each; and the order in which the clock's cells become visible, on which nothing depends.

use std::process::Command;
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use loom::future::block_on;
use loom::sync::Notify;
use loom::thread;

use crate::accumulator::tests::{AllMay, cluster, settings, topic_metadata};
use crate::accumulator::{
    Accumulator, Append, Batch, Candidate, Pool, Settings, ShortMutex, TopicState, Turn,
};
use crate::delivery::{Completion, Delivery, PlaceInBatch};
use crate::metadata::Snapshot;
use crate::outcome::{BatchFailure, BatchResult, Outcome, Reason};
use crate::record::Record;
use crate::sync::model::break_promise;
use crate::sync::{Arc, Mutex};
use crate::time::Clock;
use crate::wait::SenderWake;

const PREEMPTIONS: usize = 2;

/// The promise that a run of this program breaks: set for the runs that must fail.
const BROKEN: &str = "ROHRPOST_BROKEN_PROMISE";

/// Tries a model in every order, as the code stands; and once more with each of the promises broken, in a process of its own, because
/// a model that fails leaves nothing whole behind.
fn check(promises: &[&'static str], model: impl Fn() + Sync + Send + 'static) {
    let broken = std::env::var(BROKEN).ok();
    let broken = promises.iter().find(|promise| broken.as_deref() == Some(promise));
    broken.into_iter().for_each(|promise| break_promise(promise));
    let orders = StdArc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.max_branches = 20_000;
    let count = orders.clone();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    if broken.is_some() {
        return;
    }
    println!("{} orders", orders.load(Ordering::Relaxed));
    let test = std::thread::current().name().expect("the name of the test").to_owned();
    for promise in promises {
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &test, "--nocapture"])
            .env(BROKEN, promise)
            .output()
            .unwrap();
        assert!(!run.status.success(), "\"{promise}\" is broken, and the model does not notice");
        let said = String::from_utf8_lossy(&run.stderr);
        let why = said.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or_default();
        println!("broken \"{promise}\": {why}");
    }
}

// THR-2
#[test]
fn a_partitions_lock_is_held_by_one_and_shows_what_the_one_before_did() {
    check(&["lock: release"], || {
        let shared = StdArc::new(ShortMutex::new((0, 0)));
        let add = |both: &ShortMutex<(u32, u32)>| {
            let mut both = both.lock();
            both.0 += 1;
            both.1 += 1;
            assert_eq!(both.0, both.1);
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || add(&shared))
        };
        add(&shared);
        other.join().unwrap();
        assert_eq!(*shared.lock(), (2, 2));
    });
}

// PRE-9
#[test]
fn work_left_for_the_sender_is_never_slept_through() {
    check(&["wake: look last"], || {
        let wake = SenderWake::new();
        // The poll: it ends when someone wakes it, before or while it sleeps.
        let poll = StdArc::new(Notify::new());
        let waker = poll.clone();
        wake.set_waker(move || waker.notify());
        let desk = StdArc::new(Mutex::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (wake, desk) = (wake.clone(), desk.clone());
                thread::spawn(move || {
                    *desk.lock() += 1;
                    wake.wake();
                })
            })
            .collect();
        let mut done = 0;
        while done < 2 {
            let token = wake.begin_pass();
            done += std::mem::take(&mut *desk.lock());
            if done < 2 && wake.sleep(token, u64::MAX) {
                poll.wait(); // for ever, if nobody wakes it: then the model ends in a deadlock
                wake.awake();
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

fn failed() -> BatchResult {
    let failure = BatchFailure {
        outcome: Outcome::NotWritten,
        reason: Reason::Closed,
        message: None,
        record_errors: Vec::new(),
        attempts: 0,
    };
    BatchResult::Failed(StdArc::new(failure))
}

fn partition() -> StdArc<crate::accumulator::Partition> {
    let topic = TopicState::new("t".into(), 0, 0);
    topic.partition_or_new(0, &Default::default(), &Default::default()).clone()
}

fn acked() -> BatchResult {
    BatchResult::Acked { base_offset: 0, log_append_time: -1 }
}

// CMPL-1
#[test]
fn the_last_handle_ends_the_completion_and_comes_after_all_who_looked_at_it() {
    check(&["handle: release", "handle: acquire"], || {
        let completion = Completion::open(partition());
        completion.set_records(2);
        completion.resolve(acked());
        let threads: Vec<_> = (0..2)
            .map(|index| {
                let delivery = handle(&completion, index);
                thread::spawn(move || {
                    assert!(delivery.is_done());
                    drop(delivery);
                })
            })
            .collect();
        drop(completion);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // A completion that is left over is found by the model's end.
    });
}

// CMPL-1
#[test]
fn handles_dropped_while_the_outcome_comes_are_told_once() {
    check(&[], || {
        let completion = Completion::open(partition());
        let mut stock = completion.stock();
        let (first, second) = (stock.take(), stock.take());
        drop(stock);
        completion.set_records(2);
        let thread = thread::spawn(move || {
            drop(first.clone()); // noted by the thread if the outcome is there, else told at once
            drop(first);
        });
        completion.resolve(acked());
        drop(completion);
        drop(second);
        thread.join().unwrap();
    });
}

fn handle(completion: &Arc<Completion>, index: u32) -> Delivery {
    let place = PlaceInBatch { index, timestamp: 0, key_size: -1, value_size: 0 };
    Delivery::new(completion.handle(), place)
}

// CMPL-1
#[test]
fn who_awaits_a_record_is_woken_by_its_outcome() {
    check(&["delivery: look again"], || {
        let completion = Completion::open(partition());
        completion.set_records(1);
        let delivery = handle(&completion, 0);
        let thread = thread::spawn(move || block_on(delivery).map(|at| at.offset()));
        completion.resolve(acked());
        drop(completion);
        assert_eq!(thread.join().unwrap().unwrap(), Some(0));
    });
}

// ACC-22
#[test]
fn who_awaits_a_record_of_a_batch_that_is_split_is_woken_by_its_parts_outcome() {
    check(&["delivery: look again"], || {
        let completion = Completion::open(partition());
        completion.set_records(2);
        let delivery = handle(&completion, 1);
        let thread = thread::spawn(move || block_on(delivery).map(|at| at.offset()));
        let parts = completion.split(&[1, 1]);
        for part in &parts {
            part.resolve(acked());
        }
        drop((completion, parts));
        assert_eq!(thread.join().unwrap().unwrap(), Some(0));
    });
}

/// Waits for its turn in the pool's line, as a `send` does.
struct Waiting {
    pool: Pool,
    topic: StdArc<TopicState>,
    ticket: u64,
}

impl Waiting {
    fn enter(pool: &Pool, id: u32, bytes: usize, waker: &Waker) -> Waiting {
        let topic = StdArc::new(TopicState::new("t".into(), id, 0));
        let ticket = pool.enter(&topic, None, bytes, 1, waker);
        Waiting { pool: pool.clone(), topic, ticket }
    }

    fn poll(&self, waker: &Waker) -> bool {
        self.pool.poll(self.ticket, &self.topic, 1, waker) == Turn::Go
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pool.leave(self.ticket);
    }
}

async fn take_in_turn(pool: Pool, id: u32, bytes: usize) {
    let mut waiting = None;
    std::future::poll_fn(|cx| {
        let waiting = waiting.get_or_insert_with(|| Waiting::enter(&pool, id, bytes, cx.waker()));
        if waiting.poll(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let Some(waiting) = waiting else { unreachable!("it was polled") };
    let chunk = pool.take_grant(waiting.ticket);
    assert!(chunk.is_some());
    drop(waiting);
    drop(chunk);
}

// BUF-2, BUF-8
#[test]
fn memory_that_comes_back_reaches_who_waits_though_others_give_up() {
    check(&["pool: leave gives back"], || {
        let pool = Pool::new(2048, 1024, SenderWake::new());
        let held = pool.try_take(2048).unwrap();
        // It may be granted what comes back, and never fetch it.
        let gives_up = Waiting::enter(&pool, 0, 2048, Waker::noop());
        let waits = {
            let pool = pool.clone();
            thread::spawn(move || block_on(take_in_turn(pool, 1, 1024)))
        };
        let gives_up = thread::spawn(move || drop(gives_up));
        drop(held);
        waits.join().unwrap();
        gives_up.join().unwrap();
        assert_eq!((pool.held(), pool.waiting()), (0, 0), "it leaves no trace");
    });
}

// BUF-4
#[test]
fn nobody_gets_room_before_who_waited_for_it() {
    check(&["pool: in turn"], || {
        let pool = Pool::new(2048, 1024, SenderWake::new());
        let held = pool.try_take(1024).unwrap();
        let first = Waiting::enter(&pool, 0, 2048, Waker::noop());
        let newcomer = {
            let pool = pool.clone();
            thread::spawn(move || assert!(pool.try_take(1024).is_none(), "it came before who waited"))
        };
        drop(held);
        assert!(first.poll(Waker::noop()), "everything is there for the first");
        newcomer.join().unwrap();
        drop(first);
        assert_eq!(pool.held(), 0);
    });
}

/// One topic with one partition, and a sender that is played.
#[derive(Clone)]
struct Rig {
    accumulator: StdArc<Accumulator>,
    topic: StdArc<TopicState>,
    clock: StdArc<Clock>,
    cluster: StdArc<Snapshot>,
}

impl Rig {
    fn new() -> Rig {
        let settings = Settings { batch_size: 1024, linger_ms: 0, buffer_memory: 1 << 16, ..settings() };
        let accumulator = Accumulator::new(settings, SenderWake::new());
        let cluster = cluster(1, [topic_metadata("t", &[Some(1)], 0)]);
        let topic = accumulator.topic_or_new("t");
        accumulator.apply(&cluster);
        let clock = StdArc::new(Clock::by_hand(0));
        Rig { accumulator: StdArc::new(accumulator), topic, clock, cluster: StdArc::new(cluster) }
    }

    /// A record, if the producer takes any more.
    fn send(&self, value: &'static str) -> Option<Delivery> {
        let record = Record::value(value).partition(0).unwrap();
        if let Some(delivery) = self.accumulator.append_short(&self.topic, &record, &self.clock) {
            return Some(delivery);
        }
        let mut candidate = Candidate::of(&record);
        match self.accumulator.append(&self.topic, &mut candidate, &self.clock) {
            Append::Done(delivery) => delivery,
            Append::Closed => None,
            other => panic!("{other:?}"),
        }
    }

    /// One pass of the sender: what it took.
    fn drain(&self) -> Vec<Batch> {
        let mut batches = Vec::new();
        if !self.accumulator.ready(0, &self.cluster, &AllMay).nodes.is_empty() {
            self.accumulator.drain(0, &self.cluster, 1, 1 << 20, &AllMay, &mut batches);
        }
        batches
    }

    fn complete(&self, batches: Vec<Batch>) {
        batches.into_iter().for_each(|batch| self.accumulator.complete(batch, acked()));
    }

    fn finish(&self, accepted: u64) {
        let counts = self.accumulator.counts();
        assert_eq!((counts.accepted, counts.acked, counts.pending), (accepted, accepted, 0));
        assert_eq!(self.accumulator.pool().held(), 0);
    }
}

fn values(batches: &[Batch]) -> Vec<Vec<u8>> {
    let records = batches.iter().flat_map(|batch| batch.records(1 << 16));
    records.map(|record| record.value_bytes().unwrap().to_vec()).collect()
}

// THR-2, ACC-19
#[test]
fn what_a_thread_appends_while_the_sender_drains_arrives_once_and_in_order() {
    check(&["lock: release"], || {
        let rig = Rig::new();
        let appends = {
            let rig = rig.clone();
            thread::spawn(move || ["a", "b"].map(|value| rig.send(value).unwrap()))
        };
        let mut batches = rig.drain();
        let mut seen = values(&batches);
        rig.complete(std::mem::take(&mut batches));
        let deliveries = appends.join().unwrap();
        let rest = rig.drain();
        seen.extend(values(&rest));
        rig.complete(rest);
        assert_eq!(seen, [b"a", b"b"]);
        for mut delivery in deliveries {
            assert!(delivery.poll_now().unwrap().is_ok());
        }
        rig.finish(2);
    });
}

// THR-2, ACC-2
#[test]
fn two_threads_that_open_a_batch_at_once_open_one() {
    check(&["lock: release"], || {
        let rig = Rig::new();
        let other = {
            let rig = rig.clone();
            thread::spawn(move || drop(rig.send("a")))
        };
        drop(rig.send("b"));
        other.join().unwrap();
        let batches = rig.drain();
        assert_eq!((batches.len(), batches[0].record_count()), (1, 2));
        rig.complete(batches);
        assert!(rig.drain().is_empty());
        rig.finish(2);
    });
}

// FLU-5, PRE-8
#[test]
fn a_record_is_refused_by_the_close_or_seen_by_it() {
    check(&["close: look under the lock", "close: fence"], || {
        let rig = Rig::new();
        let append = {
            let rig = rig.clone();
            thread::spawn(move || rig.send("a").is_some())
        };
        rig.accumulator.set_closing();
        let batches = rig.drain();
        let seen = batches.len();
        rig.complete(batches);
        let accepted = append.join().unwrap();
        assert_eq!(seen, usize::from(accepted), "accepted: {accepted}");
        rig.finish(u64::from(accepted));
    });
}

// FLU-1
#[test]
fn a_flush_ends_when_the_last_of_its_records_does() {
    check(&["flush: one look and place"], || {
        let rig = Rig::new();
        drop(rig.send("a"));
        let flush = rig.accumulator.begin_flush();
        let batches = rig.drain();
        let waits = thread::spawn(move || block_on(flush));
        rig.complete(batches);
        let report = waits.join().unwrap();
        assert_eq!((report.acked, report.undelivered()), (1, 0));
        rig.finish(1);
    });
}

// FLU-6, FLU-7
#[test]
fn a_failure_comes_to_light_before_a_close_or_is_handed_back_by_it() {
    check(&["close: one look and outcome"], || {
        let rig = Rig::new();
        let delivery = rig.send("a").unwrap();
        let mut batch = rig.drain().remove(0);
        let closes = {
            let rig = rig.clone();
            thread::spawn(move || {
                let before = delivery.is_done();
                rig.accumulator.begin_close();
                (before, delivery.is_done())
            })
        };
        let completion = batch.completion().clone();
        let told = rig.accumulator.fail_before_close(&completion, Some(&mut batch), failed());
        let is_handed_back = told.is_err();
        if let Err(result) = told {
            rig.accumulator.resolve(&completion, result);
        }
        drop((completion, batch));
        let (was_told, is_told) = closes.join().unwrap();
        let (before, now) = (rig.accumulator.before_close().unwrap(), rig.accumulator.counts());
        assert_eq!(
            now.not_written - before.not_written,
            u64::from(is_handed_back),
            "counted and handed back"
        );
        assert!(!(was_told && is_handed_back), "it was seen before the close");
        assert!(is_told || is_handed_back, "it was not seen when the close had begun");
    });
}
