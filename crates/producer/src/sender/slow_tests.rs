//! The log lines of retries and of batches that take long: what is simulated is what is named.

use rohrpost_protocol::ErrorCode;
use rohrpost_testing::log;
use tracing::Level;

use super::slow::Lines;
use super::tests::failed;
use super::world::{Answer, World};
use crate::outcome::Reason;

/// The texts of warnings while `run` runs.
pub(super) fn warnings(run: impl FnOnce()) -> Vec<String> {
    texts(Level::WARN, run)
}

/// The texts of all events while `run` runs.
pub(super) fn events(run: impl FnOnce()) -> Vec<String> {
    texts(Level::TRACE, run)
}

fn texts(level: Level, run: impl FnOnce()) -> Vec<String> {
    log::events(level, run).into_iter().map(|event| event.text).collect()
}

/// A world in which broker 1 has answered quickly so far.
fn primed(settings: &[(&str, &str)]) -> World {
    let mut world = World::warm(settings);
    world.prime(0);
    world.run(50);
    world
}

/// The one line about a retry.
fn retry_line(run: impl FnOnce()) -> String {
    let lines: Vec<String> = warnings(run).into_iter().filter(|line| line.starts_with("Got error")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.into_iter().next().unwrap()
}

#[test]
fn a_retry_is_logged_with_kafka_s_words() {
    // RTY-3
    let mut world = World::warm(&[("retries", "7")]);
    world.send(0, 1);
    world.settle();
    let message = Some("not enough friends".to_owned());
    let line =
        retry_line(|| world.answer(1, Answer { message, ..Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS) }));
    assert_eq!(
        line,
        "Got error produce response with correlation id 1 on topic-partition t-0, retrying (6 attempts left). Error: \
         NOT_ENOUGH_REPLICAS. Error Message: not enough friends"
    );
}

#[test]
fn a_broker_that_refuses_all_writes_one_line_and_counts_the_others() {
    // RTY-3
    let mut world = World::new(&[]);
    world.cluster.create("t", 1, &[1, 1, 1]);
    world.shared.metadata.want(&"t".into());
    world.settle();
    (0..3).for_each(|partition| drop(world.send(partition, 1)));
    world.settle();
    let refused = Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS);
    let first = retry_line(|| world.answer(1, refused.clone()));
    assert!(!first.contains("held back"), "{first}");
    world.run(Lines::EVERY_MS);
    let second = retry_line(|| world.answer(1, refused));
    assert!(second.ends_with("(2 such lines about broker 1 were held back before)"), "{second}");
}

#[test]
fn a_slow_broker_is_named_as_such() {
    // RTY-3, SND-4
    let mut world = primed(&[]);
    world.send(0, 1);
    world.settle();
    world.run(3000);
    let line = retry_line(|| world.cut(1, true));
    assert!(line.contains("Error: REQUEST_TIMED_OUT"), "{line}");
    assert!(
        line.contains(
            "; 3000 of its 3000 ms it was written to broker 1 and not answered (answers take 0 ms)"
        ),
        "{line}"
    );
    assert!(line.contains("num.io.threads") && line.contains("request.timeout.ms"), "{line}");
}

#[test]
fn a_slow_link_is_named_as_such() {
    // RTY-3
    let mut world = primed(&[]);
    world.links.stuck.insert(1);
    world.send(0, 1);
    world.settle();
    world.run(3000);
    let line = retry_line(|| world.cut(1, true));
    assert!(line.contains("; 3000 of its 3000 ms it was on the link to broker 1"), "{line}");
    assert!(line.contains("compression.type"), "{line}");
    // A far one: written at once, and the way there and back takes most of the time.
    let mut world = primed(&[]);
    world.links.round_trip_ms = Some(1900);
    world.send(0, 1);
    world.settle();
    world.run(2000);
    let line = retry_line(|| world.cut(1, false));
    assert!(line.contains("Error: NETWORK_EXCEPTION"), "{line}");
    assert!(line.contains("; 1900 of its 2000 ms it was on the link to broker 1"), "{line}");
}

#[test]
fn requests_behind_others_are_told_from_a_slow_broker() {
    // RTY-3, SND-13
    let mut world = primed(&[]);
    world.send(0, 1);
    world.settle();
    world.send(0, 2);
    world.settle();
    world.run(4000);
    world.serve(1);
    world.run(100);
    let line = retry_line(|| world.cut(1, false));
    assert!(
        line.contains(
            "; 4000 of its 4100 ms it was in a request behind others to broker 1 (answers take 1000 ms)"
        ),
        "{line}"
    );
}

#[test]
fn a_throttled_client_is_told_that_its_batches_waited_for_that() {
    // RTY-3, SND-7
    let mut world = World::warm(&[]);
    world.send(0, 0);
    world.settle();
    world.cluster.throttle_ms = 4000;
    world.serve(1);
    world.send(0, 1);
    world.run(4000);
    assert_eq!(world.waiting(1), 1);
    world.run(200);
    let line = retry_line(|| world.cut(1, false));
    assert!(
        line.contains("; 4000 of its 4200 ms it waited in the accumulator while broker 1 throttles"),
        "{line}"
    );
    assert!(line.contains("producer_byte_rate"), "{line}");
}

#[test]
fn a_batch_that_expires_in_its_queue_tells_what_held_it() {
    // RTY-3, ACC-24, ACC-17
    let settings = [("delivery.timeout.ms", "3000"), ("request.timeout.ms", "2000")];
    // Behind a batch of its partition that is refused again and again.
    let mut world = primed(&settings);
    let mut first = world.send(0, 1);
    world.settle();
    let mut held = world.send(1, 2);
    let mut behind = world.send(0, 2);
    world.links.down.insert(2);
    let lines = warnings(|| {
        for _ in 0..300 {
            if world.waiting(1) > 0 {
                world.answer(1, Answer::error(ErrorCode::NOT_ENOUGH_REPLICAS));
            }
            world.run(10);
        }
    });
    let text = |delivery: &mut crate::delivery::Delivery| {
        assert_eq!(failed(delivery).1, Reason::Expired);
        delivery.poll_now().unwrap().unwrap_err().message().to_owned()
    };
    let first = text(&mut first);
    assert!(first.contains("to be sent again after NOT_ENOUGH_REPLICAS"), "{first}");
    let behind = text(&mut behind);
    assert!(behind.contains("behind an older batch of its partition"), "{behind}");
    let held = text(&mut held);
    assert!(held.contains("waited in the accumulator for a connection to broker 2"), "{held}");
    assert!(
        lines.iter().any(|line| line.starts_with("Expiring 1 record(s) for t-1") && line.ends_with("to it")),
        "{lines:?}"
    );
    // All requests are on their way.
    let mut world = primed(&settings);
    (0..5).for_each(|value| {
        world.send(0, value);
        world.settle();
    });
    world.links.stuck.insert(1);
    let mut waits = world.send(0, 9);
    world.run(3000);
    let waits = text(&mut waits);
    assert!(waits.contains("because all 5 requests to broker 1 were on their way"), "{waits}");
}

#[test]
fn a_batch_that_expires_on_the_wire_tells_where_it_is() {
    // RTY-3, ACC-24
    let settings = [("delivery.timeout.ms", "3000"), ("request.timeout.ms", "2000")];
    for (is_stuck, words) in [(true, "was on the link to broker 1"), (false, "was written to broker 1")] {
        let mut world = primed(&settings);
        world.links.stuck.extend(is_stuck.then_some(1));
        let mut delivery = world.send(0, 1);
        world.settle();
        let lines = warnings(|| world.run(3000));
        let text = delivery.poll_now().unwrap().unwrap_err().message().to_owned();
        assert!(text.contains(words), "{text}");
        assert!(
            lines.iter().any(|line| line.starts_with("Expiring records for t-0") && line.contains(words)),
            "{lines:?}"
        );
    }
}

#[test]
fn the_last_error_of_a_batch_without_retries_tells_where_its_time_went() {
    // RTY-3
    let mut world = World::warm(&[("retries", "0")]);
    let mut delivery = world.send(0, 1);
    world.settle();
    world.run(2000);
    world.cut(1, true);
    let text = delivery.poll_now().unwrap().unwrap_err().message().to_owned();
    assert!(text.contains("no retry is left; 2000 of its 2000 ms it was written to broker 1"), "{text}");
}
