//! Whatever brokers and connections do, every record ends once, with the truth.

use proptest::prelude::*;
use rohrpost_protocol::ErrorCode;

use super::request::Request;
use super::world::{Answer, WireBatch, World, batches};
use crate::delivery::Delivery;
use crate::outcome::Outcome;
use crate::producer::HeldRecords;

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    Send {
        partition: i32,
        count: u8,
    },
    Pass,
    Wait {
        ms: u16,
    },
    /// The oldest request at a broker is carried out and answered.
    Serve {
        node: i32,
    },
    /// It is carried out, and then answered with an error.
    ServeAndRefuse {
        node: i32,
        code: i16,
    },
    /// It is answered with an error and not carried out.
    Refuse {
        node: i32,
        code: i16,
    },
    /// The connection ends: so many of its requests were carried out, one more may be carried out later.
    Cut {
        node: i32,
        served: u8,
        later: bool,
        timed_out: bool,
    },
    /// A request of a connection that has ended reaches its broker after all.
    Late,
    MoveLeader {
        partition: usize,
        to: i32,
    },
    /// MET-9: the topic is deleted and created anew.
    Recreate,
    Release {
        sends: bool,
    },
    Purge {
        queued: bool,
        in_flight: bool,
    },
    /// RTY-5
    Resume {
        partition: i32,
    },
    /// The broker's connection refuses requests, or takes them again.
    Refuses {
        node: i32,
    },
}

/// Answers after which the batch is certainly not written.
const REFUSALS: [ErrorCode; 9] = [
    ErrorCode::NOT_ENOUGH_REPLICAS,
    ErrorCode::NOT_LEADER_OR_FOLLOWER,
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::CORRUPT_MESSAGE,
    ErrorCode::MESSAGE_TOO_LARGE,
    ErrorCode::INVALID_RECORD,
    ErrorCode::POLICY_VIOLATION,
    ErrorCode::FENCED_LEADER_EPOCH,
    ErrorCode::UNKNOWN_TOPIC_ID,
];

/// Answers after which it may be.
const DOUBTS: [ErrorCode; 4] = [
    ErrorCode::REQUEST_TIMED_OUT,
    ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode::KAFKA_STORAGE_ERROR,
    ErrorCode::UNKNOWN_SERVER_ERROR,
];

fn step() -> impl Strategy<Value = Step> {
    let node = 1..=3_i32;
    let refusal = (0..REFUSALS.len()).prop_map(|i| REFUSALS[i].0);
    let doubt = (0..DOUBTS.len()).prop_map(|i| DOUBTS[i].0);
    prop_oneof![
        6 => (0..3_i32, 1..4_u8).prop_map(|(partition, count)| Step::Send { partition, count }),
        6 => Just(Step::Pass),
        3 => (1..1500_u16).prop_map(|ms| Step::Wait { ms }),
        4 => node.clone().prop_map(|node| Step::Serve { node }),
        2 => (node.clone(), doubt).prop_map(|(node, code)| Step::ServeAndRefuse { node, code }),
        3 => (node.clone(), refusal).prop_map(|(node, code)| Step::Refuse { node, code }),
        2 => (node.clone(), 0..4_u8, any::<bool>(), any::<bool>())
            .prop_map(|(node, served, later, timed_out)| Step::Cut { node, served, later, timed_out }),
        1 => Just(Step::Late),
        1 => (0..3_usize, node).prop_map(|(partition, to)| Step::MoveLeader { partition, to }),
    ]
}

/// What the application and the owners of topics do beside.
fn rarer_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => step(),
        1 => Just(Step::Recreate),
        1 => any::<bool>().prop_map(|sends| Step::Release { sends }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(queued, in_flight)| Step::Purge { queued, in_flight }),
        1 => (0..3_i32).prop_map(|partition| Step::Resume { partition }),
        1 => (1..=3_i32).prop_map(|node| Step::Refuses { node }),
    ]
}

/// What makes batches too large for a broker (ACC-22); one record never is.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    message_max_bytes: Option<usize>,
    compresses: bool,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    (prop::option::of(90..250_usize), any::<bool>())
        .prop_map(|(message_max_bytes, compresses)| Sizes { message_max_bytes, compresses })
}

struct Run {
    world: World,
    /// Value, partition, handle; values grow in append order.
    sent: Vec<(u64, usize, Delivery)>,
    /// Requests that are still on their way though their connection has ended.
    late: Vec<(i32, Vec<WireBatch>)>,
    /// The logs of topics that are gone, by partition.
    graves: Vec<Vec<Vec<u64>>>,
    /// Records beside those in `sent`.
    primed: u64,
}

impl Run {
    fn new(settings: &[(&str, &str)], sizes: Sizes) -> Run {
        let mut settings = settings.to_vec();
        settings.push(("compression.type", if sizes.compresses { "lz4" } else { "none" }));
        let mut world = World::warm(&settings);
        world.cluster.message_max_bytes = sizes.message_max_bytes;
        Run { world, sent: Vec::new(), late: Vec::new(), graves: Vec::new(), primed: 0 }
    }

    fn step(&mut self, step: &Step) {
        let world = &mut self.world;
        match *step {
            Step::Send { partition, count } => {
                for _ in 0..count {
                    let value = self.sent.len() as u64;
                    self.sent.push((value, partition as usize, world.send(partition, value)));
                }
            }
            Step::Pass => world.settle(),
            Step::Wait { ms } => {
                world.advance(u64::from(ms));
                world.settle();
            }
            Step::Serve { node } if world.waiting(node) > 0 => world.serve(node),
            Step::ServeAndRefuse { node, code } if world.waiting(node) > 0 => {
                let request = world.take(node);
                let done: Vec<_> = batches(&request).iter().map(|b| world.cluster.append(node, b)).collect();
                let mut done = done.into_iter();
                // A broker that refuses says so; one that has written may say that it is in doubt.
                world.answer_request(node, request, |_| match done.next() {
                    Some(answer) if answer.code.is_error() => answer,
                    _ => Answer::error(ErrorCode(code)),
                });
            }
            Step::Refuse { node, code } if world.waiting(node) > 0 => {
                world.answer(node, Answer::error(ErrorCode(code)))
            }
            Step::Cut { node, served, later, timed_out } => {
                let requests: Vec<Vec<WireBatch>> = world
                    .links
                    .nodes
                    .get(&node)
                    .map(|r| r.iter().filter(|r| is_produce(r)).map(batches).collect())
                    .unwrap_or_default();
                for (at, carried) in requests.into_iter().enumerate() {
                    if at < usize::from(served) {
                        carried.iter().for_each(|b| drop(world.cluster.append(node, b)));
                    } else if later {
                        self.late.push((node, carried));
                    }
                }
                world.cut(node, timed_out);
            }
            Step::Late if !self.late.is_empty() => {
                let (node, carried) = self.late.remove(0);
                carried.iter().for_each(|b| drop(world.cluster.append(node, b)));
            }
            Step::MoveLeader { partition, to } => world.move_leader("t", partition, to),
            Step::Recreate if self.graves.len() < 9 => self.graves.push(world.cluster.create_anew("t")),
            Step::Release { sends } => {
                let records = if sends { HeldRecords::Send } else { HeldRecords::Fail };
                world.shared.release("t", records);
            }
            Step::Purge { queued, in_flight } => drop(world.purge(queued, in_flight)),
            Step::Resume { partition } => world.shared.resume("t", partition),
            Step::Refuses { node } => {
                let refused = world.links.refusing.remove(&node);
                world.links.refusing.extend((!refused).then_some(node));
            }
            _ => {}
        }
    }

    /// All is well from here on. Gives what was acknowledged, by partition.
    fn finish(&mut self) -> [Vec<u64>; 3] {
        self.world.links.refusing.clear();
        // Whatever is held is released, also what is found to be held only now.
        for _ in 0..200 {
            self.world.settle();
            self.world.shared.release("t", HeldRecords::Send);
            (1..=3).for_each(|node| {
                while self.world.waiting(node) > 0 {
                    self.world.serve(node);
                }
            });
            self.world.advance(20);
        }
        self.world.serve_all();
        while !self.late.is_empty() {
            self.step(&Step::Late);
        }
        let mut acked: [Vec<u64>; 3] = Default::default();
        for (value, partition, delivery) in &mut self.sent {
            let logs = self.graves.iter().map(|logs| &logs[*partition]);
            let logs = logs.chain([&self.world.cluster.topics["t"].partitions[*partition].log]);
            let copies = logs.flatten().filter(|v| *v == value).count();
            match delivery.poll_now().expect("every record has an outcome") {
                Ok(_) => {
                    assert!(copies >= 1, "record {value} was acknowledged and is not in the log");
                    acked[*partition].push(*value);
                }
                Err(error) if error.outcome() == Outcome::NotWritten => {
                    assert_eq!(copies, 0, "record {value} is in the log: {error}");
                }
                Err(_) => {}
            }
        }
        let counts = self.world.shared.accumulator.counts();
        assert_eq!(counts.accepted, self.sent.len() as u64 + self.primed);
        assert_eq!(
            (counts.pending, counts.accepted),
            (0, counts.acked + counts.not_written + counts.unknown)
        );
        let pool = self.world.shared.accumulator.pool();
        assert_eq!(pool.available(), pool.total(), "memory is missing");
        acked
    }
}

fn is_produce(request: &Request) -> bool {
    matches!(request.body, super::request::Body::Produce(_))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn with_idempotence_records_end_truly_once_and_in_order(steps in prop::collection::vec(step(), 1..120), sizes in sizes()) {
        // CMPL-8, IDM-4, IDM-5, IDM-6, IDM-11, IDM-12, IDM-16, THR-3, ACC-22, ACC-25
        let mut run = Run::new(&[("delivery.timeout.ms", "6000"), ("request.timeout.ms", "2000")], sizes);
        steps.iter().for_each(|step| run.step(step));
        let acked = run.finish();
        for (partition, acked) in acked.iter().enumerate() {
            let log = run.world.log(partition);
            let mut seen = std::collections::HashSet::new();
            prop_assert!(log.iter().all(|value| seen.insert(*value)), "a record is there twice: {log:?}");
            let in_log: Vec<u64> = log.iter().copied().filter(|value| acked.contains(value)).collect();
            prop_assert_eq!(&in_log, acked, "acknowledged records are out of order: {:?}", log);
        }
    }

    #[test]
    fn without_idempotence_records_end_truly(steps in prop::collection::vec(step(), 1..80), sizes in sizes()) {
        // CMPL-8, THR-3: they may be repeated and out of order, but no outcome is false.
        let mut run = Run::new(&[
            ("enable.idempotence", "false"),
            ("acks", "1"),
            ("delivery.timeout.ms", "6000"),
            ("request.timeout.ms", "2000"),
        ], sizes);
        steps.iter().for_each(|step| run.step(step));
        run.finish();
    }

    #[test]
    fn with_one_request_in_flight_records_keep_their_order_without_idempotence(
        steps in prop::collection::vec(step(), 1..80),
        sizes in sizes()
    ) {
        // THR-3, ACC-20. Late requests are left out: without sequences a broker cannot tell them from new ones.
        let mut run = Run::new(&[
            ("enable.idempotence", "false"),
            ("max.in.flight.requests.per.connection", "1"),
            ("delivery.timeout.ms", "6000"),
            ("request.timeout.ms", "2000"),
        ], sizes);
        for step in &steps {
            match step {
                Step::Cut { node, served, timed_out, .. } => {
                    run.step(&Step::Cut { node: *node, served: *served, later: false, timed_out: *timed_out });
                }
                other => run.step(other),
            }
        }
        let acked = run.finish();
        for (partition, acked) in acked.iter().enumerate() {
            // The last copy of a record is the acknowledged one.
            let log = run.world.log(partition);
            let places: Vec<_> = acked.iter().map(|value| log.iter().rposition(|v| v == value)).collect();
            prop_assert!(places.is_sorted(), "out of order: {:?}", log);
        }
    }

    #[test]
    fn whatever_the_application_and_the_topics_owners_do_records_end_truly_once_and_in_order(
        steps in prop::collection::vec(rarer_step(), 1..120),
        sizes in sizes(),
        (policy, stops, epoch, sequence) in (
            prop::sample::select(vec!["follow", "fail", "hold"]),
            any::<bool>(),
            prop::sample::select(vec![0, 32766_i16]),
            prop::sample::select(vec![0, i32::MAX, i32::MAX - 3]),
        )
    ) {
        // MET-9, RTY-5, FLU-4, IDM-2, IDM-3, IDM-6, IDM-16, CMPL-8, THR-3
        let mut run = Run::new(&[
            ("delivery.timeout.ms", "6000"),
            ("request.timeout.ms", "2000"),
            ("topic.recreation", policy),
            ("stop.on.failure", if stops { "t" } else { "" }),
        ], sizes);
        // The last epoch but one, and sequences that wrap.
        run.world.begin_at(epoch, sequence);
        run.primed = 3;
        steps.iter().for_each(|step| run.step(step));
        let acked = run.finish();
        let now = (0..3).map(|partition| run.world.log(partition).to_vec()).collect();
        for logs in run.graves.iter().chain([&now]) {
            for (log, acked) in logs.iter().zip(&acked) {
                let mut seen = std::collections::HashSet::new();
                prop_assert!(log.iter().all(|value| seen.insert(*value)), "a record is there twice: {log:?}");
                let of_acked: Vec<u64> = log.iter().copied().filter(|value| acked.contains(value)).collect();
                prop_assert!(of_acked.is_sorted(), "acknowledged records are out of order: {:?}", log);
            }
        }
        prop_assert!(run.world.shared.lifecycle.check().is_ok());
        prop_assert!(run.world.shared.stops.held.lock().is_empty());
    }

    #[test]
    fn brokers_that_forget_the_producer_never_end_or_stop_it(
        steps in prop::collection::vec((step(), 0..30_u8), 1..80),
        sizes in sizes()
    ) {
        // IDM-15: as after an unclean election. Records may be repeated then; no outcome is false, and nothing hangs.
        let mut run = Run::new(&[("delivery.timeout.ms", "6000"), ("request.timeout.ms", "2000")], sizes);
        for (step, forget) in &steps {
            if *forget < 3 {
                run.world.cluster.forget_producers(usize::from(*forget));
            }
            run.step(step);
        }
        run.finish();
        prop_assert!(run.world.shared.lifecycle.check().is_ok());
    }
}
