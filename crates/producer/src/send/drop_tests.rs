//! Dropping any future at any await point is safe (BUF-8, CMPL-2).
//!
//! A program is a set of calls that wait for each other's leavings: for room, for metadata, for a turn, for outcomes, for the end.
//! It is run once as it is, which shows how often each future is polled; and then again for every future and every number of polls,
//! with that future dropped after so many; and for random pairs. The others must go on, and a future is polled only when it was
//! woken: a wake-up that is lost with a dropped future stops the program.
//!
//! At the end: what was accepted, and only that, was delivered, once and in order; no memory, place, timer or watch is left.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::tests::Rig;
use crate::accumulator::Batch;
use crate::accumulator::tests::AllMay;
use crate::metadata::{BrokerNode, Snapshot};
use crate::outcome::BatchResult;
use crate::producer::{CloseReport, Producer};
use crate::record::Record;
use crate::wait::Count;

/// A call under way. It says what went wrong, if anything did.
type Call<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// What the calls of a program have done.
#[derive(Default)]
struct Done {
    /// Letters of accepted records, in the order in which they were accepted.
    accepted: RefCell<String>,
    /// Of those, the ones whose handle said so.
    acked: RefCell<String>,
}

/// Room for three chunks.
const TIGHT: &[(&str, &str)] =
    &[("buffer.memory", "3072"), ("batch.size", "1024"), ("linger.ms", "0"), ("max.block.ms", "100000")];

/// Rounds after which a program must have ended; it takes about twenty.
const ROUNDS_MAX: usize = 200;

type Program = for<'a> fn(&'a Producer, &'a Done) -> Vec<Call<'a>>;

/// Ten calls that wait for room, for cold topics, for turns and for outcomes.
fn waiting<'a>(producer: &'a Producer, done: &'a Done) -> Vec<Call<'a>> {
    vec![
        send(producer, done, "t", 'a', 800),
        send(producer, done, "t", 'b', 800),
        send(producer, done, "t", 'c', 800),
        send(producer, done, "t", 'd', 800),
        Box::pin(async move {
            let permit = producer.reserve("u", 900).await.map_err(text)?;
            done.accepted.borrow_mut().push('P');
            let delivery = permit.send(record('P', 700)).map_err(text)?;
            acked(done, 'P', delivery.await)
        }),
        send(producer, done, "u", 'e', 10),
        send(producer, done, "t", 'f', 10),
        Box::pin(async move { producer.flush().await.map(drop).map_err(text) }),
        Box::pin(async move {
            let topic = producer.topic("u").await.map_err(text)?;
            topic.send_with(record('g', 800), |_| {}).await.map_err(text)?;
            done.accepted.borrow_mut().push('g');
            Ok(())
        }),
        Box::pin(async move { producer.partitions_for("v").await.map(drop).map_err(text) }),
        Box::pin(async move { producer.connect_to(&["v"]).await.map_err(text) }),
        send(producer, done, "u", 'h', 800),
        Box::pin(
            async move { producer.flush_timeout(Duration::from_secs(3600)).await.map(drop).map_err(text) },
        ),
    ]
}

/// The producer closes while others wait; twice.
fn closing<'a>(producer: &'a Producer, done: &'a Done) -> Vec<Call<'a>> {
    let close = || -> Call<'a> {
        Box::pin(async move {
            producer.close(Duration::from_secs(3600)).await;
            Ok(())
        })
    };
    let may_fail = |call: Call<'a>| -> Call<'a> {
        Box::pin(async move {
            let _ = call.await;
            Ok(())
        })
    };
    vec![
        may_fail(send(producer, done, "t", 'a', 800)),
        may_fail(send(producer, done, "t", 'b', 800)),
        may_fail(send(producer, done, "t", 'c', 800)),
        may_fail(send(producer, done, "t", 'd', 800)),
        may_fail(send(producer, done, "u", 'e', 10)),
        Box::pin(async move { producer.flush().await.map(drop).map_err(text) }),
        close(),
        close(),
    ]
}

/// Sends, and waits for the outcome.
fn send<'a>(
    producer: &'a Producer,
    done: &'a Done,
    topic: &'static str,
    letter: char,
    len: usize,
) -> Call<'a> {
    Box::pin(async move {
        let named = Record::to(topic).value("");
        let record = Record { topic: named.topic, ..record(letter, len) };
        let delivery = producer.send(record).await.map_err(text)?;
        done.accepted.borrow_mut().push(letter);
        acked(done, letter, delivery.await)
    })
}

fn acked<T, E: std::fmt::Display>(done: &Done, letter: char, outcome: Result<T, E>) -> Result<(), String> {
    outcome.map_err(text)?;
    done.acked.borrow_mut().push(letter);
    Ok(())
}

/// A record that begins with its letter.
fn record(letter: char, len: usize) -> Record {
    Record::value([letter.to_string().into_bytes(), vec![b'.'; len]].concat())
        .partition(0)
        .expect("a partition")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The part of the sender, the cluster and the clock, in small steps.
struct Others<'a> {
    rig: &'a Rig,
    on_wire: VecDeque<Batch>,
    delivered: Vec<(String, char)>,
    warm_ups: Vec<u64>,
    is_closing: bool,
}

impl Others<'_> {
    /// One step; whether there was anything to do.
    fn step(&mut self, round: usize) -> bool {
        let shared = self.rig.shared();
        match round {
            3 => self.rig.publish(&[("t", 1), ("u", 1)]),
            6 => self.rig.publish(&[("t", 1), ("u", 1), ("v", 1)]),
            8 => {
                let broker = BrokerNode { host: "one".into(), port: 1, rack: None };
                let (now, brokers) = (shared.metadata.snapshot(), [(1, broker)].into());
                let known =
                    Snapshot { version: 9, brokers, topics: now.topics.clone(), ..Snapshot::default() };
                shared.metadata.publish(Arc::new(known));
                shared.stats.has_identity.store(true, Ordering::Release);
                self.warm_ups.drain(..).for_each(|number| shared.commands.end_warm_up(number));
                shared.metadata.wake_all();
            }
            _ => {}
        }
        if let Some(wishes) = shared.commands.take() {
            self.warm_ups.extend(wishes.warm_ups.into_iter().map(|(number, _)| number));
            self.is_closing |= wishes.close.is_some();
        }
        let snapshot = shared.metadata.snapshot();
        let ready = shared.accumulator.ready(shared.clock.last_ms(), &snapshot, &AllMay);
        if ready.nodes.contains(&1) {
            let mut batches = Vec::new();
            shared.accumulator.drain(shared.clock.last_ms(), &snapshot, 1, usize::MAX, &AllMay, &mut batches);
            self.on_wire.extend(batches);
        }
        // One answer in two rounds: the outcomes come while others still wait.
        let mut is_busy = round < 10 || !self.on_wire.is_empty();
        if round % 2 == 1
            && let Some(batch) = self.on_wire.pop_front()
        {
            let topic = batch.partition().topic_name().to_string();
            for record in batch.records(1 << 20) {
                let value = record.value_bytes().expect("a value");
                self.delivered.push((topic.clone(), char::from(value[0])));
            }
            shared.accumulator.complete(batch, BatchResult::Acked { base_offset: 0, log_append_time: -1 });
            is_busy = true;
        }
        if self.is_closing && shared.accumulator.counts().pending == 0 {
            self.is_closing = false;
            shared.closed.finish(CloseReport::default());
            is_busy = true;
        }
        is_busy
    }
}

/// Runs a program in which some calls are dropped, each after so many polls. How often each call was polled.
fn run(program: Program, drops: &[(usize, usize)]) -> Result<Vec<usize>, TestCaseError> {
    let rig = Rig::new(TIGHT);
    rig.publish(&[("t", 1)]);
    let done = Done::default();
    let mut calls: Vec<Option<Call<'_>>> = program(&rig.producer, &done).into_iter().map(Some).collect();
    let wakers: Vec<Arc<Count>> = calls.iter().map(|_| Arc::new(Count::default())).collect();
    let mut polls = vec![0; calls.len()];
    let mut seen: Vec<Option<usize>> = vec![None; calls.len()];
    let mut others = Others {
        rig: &rig,
        on_wire: VecDeque::new(),
        delivered: Vec::new(),
        warm_ups: Vec::new(),
        is_closing: false,
    };
    let mut round = 0;
    loop {
        let mut is_moving = false;
        for at in 0..calls.len() {
            if drops.contains(&(at, polls[at])) {
                calls[at] = None;
            }
            let Some(call) = &mut calls[at] else { continue };
            let woken = wakers[at].get();
            if seen[at] == Some(woken) {
                continue; // nobody woke it
            }
            seen[at] = Some(woken);
            polls[at] += 1;
            is_moving = true;
            match call.as_mut().poll(&mut Context::from_waker(&Waker::from(wakers[at].clone()))) {
                Poll::Ready(result) => {
                    prop_assert_eq!(result, Ok(()), "call {}", at);
                    calls[at] = None;
                }
                Poll::Pending => {}
            }
        }
        is_moving |= others.step(round);
        round += 1;
        if !is_moving || round == ROUNDS_MAX {
            break;
        }
    }
    // Dropped after polls that never came: it had ended before, or waits for ever with the others.
    let stuck: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].is_some()).collect();
    prop_assert!(stuck.is_empty(), "calls {:?} were never woken", stuck);

    let (accepted, acked) = (done.accepted.take(), done.acked.take());
    for topic in ["t", "u"] {
        let letters = others.delivered.iter().filter(|(name, _)| name == topic).map(|(_, letter)| *letter);
        let letters: String = letters.collect();
        let in_order: String = accepted.chars().filter(|letter| letters.contains(*letter)).collect();
        prop_assert_eq!(&letters, &in_order, "order, {}", topic);
        // Of one topic's sends, none overtakes another; a permit has its own turn.
        let sends: Vec<char> =
            letters.chars().filter(|letter| letter.is_lowercase() && *letter != 'g').collect();
        prop_assert!(sends.is_sorted(), "{}: {:?}", topic, sends);
    }
    prop_assert_eq!(
        others.delivered.len(),
        accepted.len(),
        "accepted {}, and {:?}",
        accepted,
        others.delivered
    );
    prop_assert!(acked.chars().all(|letter| accepted.contains(letter)));
    let shared = rig.shared();
    let counts = shared.accumulator.counts();
    let records = accepted.len() as u64;
    prop_assert_eq!((counts.accepted, counts.acked, counts.pending), (records, records, 0));
    prop_assert_eq!(shared.accumulator.pool().held(), 0, "memory");
    prop_assert_eq!(shared.accumulator.pool().waiting(), 0, "places");
    prop_assert_eq!(shared.timers.len(), 0, "timers");
    prop_assert!(!shared.accumulator.is_flushing(), "a flush's hurry");
    prop_assert!(!shared.commands.is_warm_up_open(0), "a wish to connect");
    for (at, waker) in wakers.iter().enumerate() {
        prop_assert_eq!(Arc::strong_count(waker), 1, "the waker of call {} is still held", at);
    }
    Ok(polls)
}

/// Every call dropped before each of its polls, and after the last.
fn at_every_point(program: Program) {
    let polls = run(program, &[]).expect("it ends as it is");
    assert!(polls.iter().sum::<usize>() >= 2 * polls.len(), "most of them wait: {polls:?}");
    for (call, polls) in polls.iter().enumerate() {
        for after in 0..*polls {
            if let Err(error) = run(program, &[(call, after)]) {
                panic!("call {call} dropped after {after} polls: {error}");
            }
        }
    }
}

// BUF-8, CMPL-2, API-7
#[test]
fn a_call_dropped_at_any_point_leaves_no_trace_and_holds_up_nobody() {
    at_every_point(waiting);
}

// BUF-8, FLU-7
#[test]
fn a_call_dropped_at_any_point_while_the_producer_closes_leaves_no_trace() {
    at_every_point(closing);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    // BUF-8, CMPL-2
    #[test]
    fn calls_dropped_together_at_random_points_leave_no_trace(
        drops in prop::collection::vec((0..13_usize, 0..6_usize), 2..8),
        closes in any::<bool>(),
    ) {
        run(if closes { closing } else { waiting }, &drops)?;
    }
}
