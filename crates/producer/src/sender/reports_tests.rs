//! What `flush`, `close` and `purge` report: every outcome counted where it belongs, and the records that were not delivered.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use rohrpost_protocol::ErrorCode;

use super::keeping_tests;
use super::tests::{acked_at, failed, is_clean, pool_left};
use super::turn::{Turn, Turns};
use super::world::{Answer, World};
use crate::accumulator::FlushReport;
use crate::delivery::Delivery;
use crate::outcome::{Outcome, Reason};
use crate::producer::{CloseReport, Shared, Undelivered};

/// A world with the sender's turns around its core.
struct Rig {
    world: World,
    turns: Turns,
}

impl Rig {
    fn new(settings: &[(&str, &str)]) -> Rig {
        Rig::around(World::warm(settings))
    }

    fn around(world: World) -> Rig {
        let turns = Turns::new(world.shared.clone(), 7);
        Rig { world, turns }
    }

    fn turn(&mut self) -> Turn {
        let now_ms = self.world.now_ms();
        std::mem::swap(&mut self.world.core, self.turns.core());
        let turn = self.turns.turn(&mut self.world.links, now_ms);
        std::mem::swap(&mut self.world.core, self.turns.core());
        turn
    }

    /// Turns until the producer has ended. Connections that it ends give their requests back.
    fn end(&mut self) -> CloseReport {
        for _ in 0..20 {
            if let Turn::Ended(report) = self.turn() {
                return report;
            }
            for node in std::mem::take(&mut self.world.links.disconnects) {
                self.world.cut(node, false);
            }
        }
        panic!("the producer does not end");
    }
}

fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn values(undelivered: &[Undelivered]) -> Vec<u64> {
    let value =
        |u: &Undelivered| u64::from_be_bytes(u.record().value_bytes().unwrap()[..].try_into().unwrap());
    undelivered.iter().map(value).collect()
}

/// Three records on the wire: 1 is acknowledged by the first broker, 2 refused by the second, and what becomes of 3 is open.
fn three(world: &mut World) -> [Delivery; 3] {
    (0..3).for_each(|partition| world.prime(partition)); // outcomes from before are not counted
    let deliveries = [1, 2, 3].map(|value| world.send(value as i32 - 1, value));
    world.settle();
    deliveries
}

// FLU-1, CMPL-8
#[test]
fn a_flush_counts_every_outcome_where_it_belongs() {
    let mut world = World::warm(&[]);
    let _deliveries = three(&mut world);
    let mut flush = pin!(world.shared.accumulator.begin_flush());
    world.serve(1);
    world.answer(2, Answer::error(ErrorCode::INVALID_RECORD));
    assert!(now(flush.as_mut()).is_none(), "one is open");
    world.purge(false, true);
    assert_eq!(
        now(flush.as_mut()),
        Some(FlushReport { acked: 1, handed_over: 0, not_written: 1, unknown: 1 })
    );

    let mut world = World::warm(&[("acks", "0")]);
    let _delivery = world.send(0, 1);
    world.settle();
    let mut flush = pin!(world.shared.accumulator.begin_flush());
    let request = world.take(1);
    world.core.handle_written(request);
    assert_eq!(now(flush.as_mut()), Some(FlushReport { handed_over: 1, ..FlushReport::default() }));
}

// FLU-6, CMPL-8
#[test]
fn a_close_counts_every_outcome_where_it_belongs_and_hands_back_what_failed() {
    let mut rig = Rig::new(&[]);
    let mut deliveries = three(&mut rig.world);
    rig.world.shared.begin_close(Some(1000));
    assert!(matches!(rig.turn(), Turn::Poll { .. }));
    rig.world.serve(1);
    rig.world.answer(2, Answer::error(ErrorCode::INVALID_RECORD));
    rig.world.advance(1000);
    let report = rig.end();
    assert_eq!((report.acked, report.handed_over, report.not_written, report.unknown), (1, 0, 1, 1));
    assert_eq!(values(&report.undelivered), [2, 3]);
    assert!(acked_at(&mut deliveries[0]).is_some());
    for (delivery, undelivered) in deliveries[1..].iter_mut().zip(&report.undelivered) {
        assert_eq!(failed(delivery), (undelivered.outcome(), undelivered.reason()));
    }
    assert!(is_clean(&rig.world));

    let mut rig = Rig::new(&[("acks", "0")]);
    let _delivery = rig.world.send(0, 1);
    rig.world.settle();
    rig.world.shared.begin_close(None);
    rig.turn();
    let request = rig.world.take(1);
    rig.world.core.handle_written(request);
    let report = rig.end();
    assert_eq!((report.acked, report.handed_over, report.not_written, report.unknown), (0, 1, 0, 0));
    assert!(report.undelivered.is_empty());
}

// FLU-4, CMPL-8
#[test]
fn a_purge_counts_what_it_dropped_and_hands_it_back_in_the_order_of_sending() {
    let mut rig = Rig::new(&[("enable.idempotence", "false")]);
    let deliveries = three(&mut rig.world);
    rig.world.serve(1);
    rig.world.answer(2, Answer::error(ErrorCode::INVALID_RECORD));
    // 4 is on the wire behind 3, which is queued again after an attempt of which nothing is known; 5 and 6 were never sent.
    let mut later = vec![rig.world.send(2, 4)];
    rig.world.settle();
    let first = rig.world.take(3);
    let now_ms = rig.world.now_ms();
    rig.world.core.handle_disconnect(3, vec![first], false, None, now_ms);
    rig.world.links.down.insert(1);
    later.extend([rig.world.send(2, 5), rig.world.send(0, 6)]);
    let held = pool_left(&rig.world);
    let mut purge = rig.world.shared.commands.purge(&rig.world.shared.sender, true, true);
    let mut second = rig.world.shared.commands.purge(&rig.world.shared.sender, false, false);
    assert!(now(&mut purge).is_none());
    rig.turn();
    let report = now(purge).unwrap();
    assert_eq!((report.not_written, report.unknown), (2, 2), "{report:?}");
    let at = |value: u64| values(&report.undelivered).iter().position(|v| *v == value).unwrap();
    assert!(at(3) < at(4) && at(4) < at(5) && at(6) < 4, "{:?}", values(&report.undelivered));
    let outcome = |value: u64| report.undelivered[at(value)].outcome();
    assert_eq!([3, 4, 5, 6].map(outcome), {
        use Outcome::{NotWritten, Unknown};
        [Unknown, Unknown, NotWritten, NotWritten]
    });
    let again = now(&mut second).unwrap();
    assert_eq!((again.not_written, again.unknown, again.undelivered.len()), (2, 2, 0), "they are one purge");
    let [mut acked, mut refused, mut on_wire] = deliveries;
    assert!(acked_at(&mut acked).is_some(), "what had its outcome keeps it");
    assert_eq!(failed(&mut refused).1, Reason::Broker(ErrorCode::INVALID_RECORD));
    assert_eq!(failed(&mut on_wire), (Outcome::Unknown, Reason::Purged));
    assert!(pool_left(&rig.world) < held, "what was queued gives its memory back at once");
    rig.world.answer(3, Answer::ok(7));
    assert!(later.iter_mut().all(|delivery| failed(delivery).1 == Reason::Purged));
    assert!(is_clean(&rig.world));
}

// FLU-4
#[test]
fn a_purge_that_nobody_asks_about_copies_nothing_and_one_after_the_end_is_empty() {
    let mut rig = Rig::new(&[]);
    let mut delivery = rig.world.send(0, 1);
    drop(rig.world.shared.commands.purge(&rig.world.shared.sender, true, true));
    assert!(!rig.world.shared.commands.take().unwrap().purge.unwrap().is_asked_for());
    let asked = rig.world.shared.commands.purge(&rig.world.shared.sender, true, true);
    rig.world.shared.begin_close(Some(0));
    let report = rig.end();
    assert_eq!(failed(&mut delivery).1, Reason::Purged);
    assert_eq!(values(&now(asked).unwrap().undelivered), [1]);
    assert_eq!(report.not_written, 1);
    let shared = rig.world.shared.clone();
    let late = shared.commands.purge(&shared.sender, true, true);
    super::turn::end(None, &shared, report);
    assert_eq!(now(late).unwrap().not_written, 0);
}

// FLU-6, CMPL-3
#[test]
fn what_failed_before_a_close_and_is_told_during_it_is_handed_back() {
    let mut rig = Rig::new(&[("enable.idempotence", "false")]);
    let mut first = rig.world.send(0, 1);
    rig.world.settle();
    let mut second = rig.world.send(0, 2);
    rig.world.settle();
    rig.world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
    rig.world.answer(1, Answer::error(ErrorCode::INVALID_RECORD));
    assert!(second.poll_now().is_none(), "the one before it has no outcome yet");
    rig.world.shared.begin_close(None);
    rig.turn();
    rig.world.run(500);
    rig.world.serve(1);
    assert!(acked_at(&mut first).is_some());
    assert_eq!(failed(&mut second).0, Outcome::NotWritten);
    assert!(is_clean(&rig.world), "told, it holds nothing any more");
    let report = rig.end();
    assert_eq!((report.acked, report.not_written, report.unknown), (1, 1, 0));
    assert_eq!(values(&report.undelivered), [2]);
}

// FLU-4, FLU-6
#[test]
fn what_a_purge_took_from_the_queue_gives_its_memory_back_at_once_and_only_its_own_report_has_it() {
    let mut rig =
        Rig::new(&[("enable.idempotence", "false"), ("max.in.flight.requests.per.connection", "1")]);
    let mut first = rig.world.send(0, 1);
    rig.world.settle();
    let one = pool_left(&rig.world);
    let mut second = rig.world.send(0, 2);
    let report = rig.world.purge(true, false);
    assert_eq!((report.not_written, values(&report.undelivered)), (1, vec![2]));
    assert!(second.poll_now().is_none(), "the one before it has no outcome yet");
    assert_eq!(pool_left(&rig.world), one, "but there is room again");
    rig.world.shared.begin_close(None);
    rig.turn();
    rig.world.serve(1);
    let report = rig.end();
    assert!(acked_at(&mut first).is_some());
    assert_eq!(failed(&mut second), (Outcome::NotWritten, Reason::Purged));
    assert_eq!((report.acked, report.not_written, report.undelivered.len()), (1, 1, 0));
}

// FLU-4
#[test]
fn what_was_compressed_is_handed_back_whole() {
    let mut rig = Rig::new(&[("compression.type", "gzip"), ("linger.ms", "5")]);
    let deliveries: Vec<Delivery> = (0..100).map(|_| rig.world.send(0, 7)).collect();
    rig.world.run(20);
    assert_eq!(rig.world.waiting(1), 1);
    assert!(rig.world.peek(1)[0].len < 100 * 8, "it was compressed");
    let report = rig.world.purge(false, true);
    assert_eq!(values(&report.undelivered), [7; 100]);
    drop(deliveries);
}

/// Another thread closes the producer when it hears of a record.
struct Closes(Arc<Shared>);

impl Wake for Closes {
    fn wake(self: Arc<Self>) {
        std::thread::spawn(move || self.0.begin_close(None)).join().unwrap();
    }
}

fn close_when_told(rig: &Rig, delivery: &mut Delivery) {
    let waker = Waker::from(Arc::new(Closes(rig.world.shared.clone())));
    assert!(Pin::new(delivery).poll(&mut Context::from_waker(&waker)).is_pending());
}

/// A world in which broker 1 leads two partitions of `u`, and each request has both.
fn pairs(settings: &[(&str, &str)]) -> Rig {
    let mut world = World::warm(settings);
    world.cluster.create("u", 2, &[1, 1]);
    world.shared.metadata.want(&"u".into());
    world.run(200);
    Rig::around(world)
}

// FLU-6
#[test]
fn what_fails_while_the_sender_goes_through_an_answer_in_which_another_thread_closes_is_handed_back() {
    for first_answer in [Answer::ok(0), Answer::error(ErrorCode::INVALID_RECORD)] {
        let mut rig = pairs(&[]);
        let mut deliveries = [1, 2].map(|value| rig.world.send_to("u", value as i32 - 1, value));
        rig.world.settle();
        let request = rig.world.take(1);
        let [first, second] = &super::world::batches(&request)[..] else { panic!("one request for both") };
        let [first, second] = [first.partition, second.partition];
        close_when_told(&rig, &mut deliveries[first as usize]);
        rig.world.answer_request(1, request, |batch| match batch.partition == first {
            true => first_answer.clone(),
            false => Answer::error(ErrorCode::INVALID_RECORD),
        });
        assert!(deliveries[first as usize].is_done());
        assert_eq!(failed(&mut deliveries[second as usize]).0, Outcome::NotWritten);
        let report = rig.end();
        assert_eq!((report.acked, report.not_written, report.unknown), (0, 1, 0));
        let handed_back = values(&report.undelivered);
        assert_eq!(handed_back, [second as u64 + 1], "and not what had its outcome before");
        assert!(is_clean(&rig.world));
    }
}

// FLU-6, ACC-24
#[test]
fn what_expires_in_the_pass_in_which_another_thread_closes_is_handed_back() {
    let times = [("delivery.timeout.ms", "1000"), ("request.timeout.ms", "900")];
    let mut rig = pairs(&times);
    rig.world.links.down.extend([1, 2, 3]);
    let mut deliveries = [1, 2].map(|value| rig.world.send_to("u", value as i32 - 1, value));
    deliveries.iter_mut().for_each(|delivery| close_when_told(&rig, delivery));
    rig.world.settle();
    rig.world.advance(1000);
    rig.world.settle();
    let outcomes = deliveries.map(|mut delivery| failed(&mut delivery));
    assert_eq!(outcomes, [(Outcome::NotWritten, Reason::Expired); 2]);
    let report = rig.end();
    assert_eq!((report.not_written, report.undelivered.len()), (1, 1), "the second of them");

    // Both on the wire, in one partition: given up on together, and told one after the other.
    let mut rig = Rig::new(&[times[0], times[1], ("enable.idempotence", "false")]);
    let mut deliveries = [1, 2].map(|value| {
        let delivery = rig.world.send(0, value);
        rig.world.settle();
        delivery
    });
    close_when_told(&rig, &mut deliveries[0]);
    rig.world.advance(1000);
    rig.world.settle();
    let outcomes = deliveries.map(|mut delivery| failed(&mut delivery));
    assert_eq!(outcomes, [(Outcome::Unknown, Reason::Expired); 2]);
    let report = rig.end();
    assert_eq!((report.unknown, values(&report.undelivered)), (1, vec![2]));
    assert!(is_clean(&rig.world));
}

// SEND-2, FLU-6
#[test]
fn with_a_failed_records_file_what_fails_once_a_close_has_begun_is_in_the_file_and_handed_back() {
    let (world, disk) = keeping_tests::world(&[], 1 << 20);
    let mut rig = Rig::around(world);
    let mut bad = rig.world.send(0, 1);
    rig.world.settle();
    rig.world.shared.begin_close(None); // and the sender hears of it after the answer
    rig.world.answer(1, Answer::error(ErrorCode::INVALID_RECORD));
    keeping_tests::release(&rig.world, 1);
    assert_eq!(failed(&mut bad).0, Outcome::NotWritten);
    let report = rig.end();
    assert_eq!((report.not_written, values(&report.undelivered)), (1, vec![1]));
    assert_eq!(keeping_tests::lines(&disk).len(), 1);
}

// SEND-2
#[test]
fn the_sender_looks_again_when_an_outcome_has_waited_long_enough_for_a_disk_that_hangs() {
    let (world, disk) = keeping_tests::world(&[], 1 << 20);
    let mut rig = Rig::around(world);
    let mut bad = rig.world.send(0, 1);
    rig.world.settle();
    let hangs = disk.0.lock();
    rig.world.answer(1, Answer::error(ErrorCode::INVALID_RECORD));
    let mut waited_ms = 0;
    while bad.poll_now().is_none() {
        let Turn::Poll { wait_ms: Some(wait_ms) } = rig.turn() else { continue };
        if bad.poll_now().is_none() {
            assert!(wait_ms > 0, "it spins");
            waited_ms += wait_ms;
            rig.world.advance(wait_ms);
            rig.world.answer_small();
        }
        assert!(waited_ms <= 10_000, "{waited_ms} ms");
    }
    assert_eq!(waited_ms, 10_000);
    drop(hangs);
}
