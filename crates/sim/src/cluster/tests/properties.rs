//! Promises under random faults: a client that sends one batch after the other, and sends each again until it is acknowledged.

use fastrand::Rng;

use super::client::{Called, World, batch, by, config};
use crate::cluster::{ClusterConfig, Fault, TopicSpec};

/// A random fault that takes nothing away that was acknowledged at acks=all.
fn harmless(rng: &mut Rng) -> Fault {
    let node = rng.i32(1..=3);
    let ms = rng.u64(100..15_000);
    match rng.u32(0..15) {
        0 | 1 => Fault::Kill { node },
        2..=4 => Fault::Restart { node, lose_page_cache: false },
        5 => Fault::Pause { node, ms },
        6 => Fault::Isolate { node, ms },
        7 | 8 => Fault::MoveLeader { topic: "t".to_owned(), partition: 0 },
        9 => Fault::ShrinkIsr { topic: "t".to_owned(), partition: 0, ms },
        10 => Fault::SlowReplication { delay_ms: rng.u64(1..500), ms },
        11 => Fault::StaleMetadata { node, ms },
        12 => Fault::CutAfterAppend { node, times: 1 },
        13 => Fault::LoseAnswer { node, times: 1 },
        _ => Fault::DiskFailure { node },
    }
}

/// Sends `count` batches, each until it is acknowledged, with a fault now and then. Gives the acknowledged offsets.
fn send_all(
    world: &mut World,
    rng: &mut Rng,
    count: i32,
    mut fault: impl FnMut(&mut Rng) -> Fault,
) -> Vec<i64> {
    let mut acked = Vec::new();
    let mut asked = 1;
    let mut leader = -1;
    let mut began_ms = world.now_ms;
    // after a loss the client's next batch fits nothing
    while (acked.len() as i32) < count && world.cluster.losses().is_empty() {
        let sequence = acked.len() as i32 * 2;
        let sent = batch(&[&sequence.to_string(), &(sequence + 1).to_string()], by(1, sequence));
        if rng.u32(0..4) == 0 {
            let fault = fault(rng);
            world.apply(fault);
        }
        if world.now_ms - began_ms > 120_000 {
            world.heal();
            assert!(world.now_ms - began_ms < 600_000, "batch {sequence} gets nowhere\n{}", told(world));
        }
        if leader < 1 || !world.cluster.is_up(leader) {
            asked = asked % 3 + 1;
            leader = if world.cluster.is_up(asked) { world.leader(asked, "t") } else { -1 };
            world.pass(50);
            continue;
        }
        let connection = world.connect();
        world.send_batch(leader, connection, &sent, -1, rng.i32(500..5_000));
        let result = world.produced(connection, 6_000);
        if !matches!(result, Called::Answered(_)) {
            world.cluster.disconnected(leader, connection);
        }
        match result {
            Called::Answered(answer) if answer.code.is_ok() => {
                acked.push(answer.base_offset);
                began_ms = world.now_ms;
                continue;
            }
            // also OUT_OF_ORDER_SEQUENCE_NUMBER: a leader that was replaced lacks what its successor has acknowledged
            Called::Answered(_) | Called::Cut | Called::TimedOut => {}
        }
        leader = -1;
        world.pass(rng.u64(0..300));
    }
    acked
}

fn told(world: &mut World) -> String {
    let story = world.cluster.take_story();
    story.into_iter().map(|(at_ms, line)| format!("{at_ms:>8} {line}\n")).collect()
}

/// What was acknowledged is in the log once, at its offset; nothing else is there.
fn check(world: &mut World, acked: &[i64], seed: u64) {
    if let Err(error) = world.cluster.check_replicas(true) {
        panic!("seed {seed}: {error}\n{}", told(world));
    }
    let log = world.log();
    assert_eq!(log.len(), acked.len() * 2, "seed {seed}: {log:?}, acknowledged {acked:?}");
    for (index, offset) in acked.iter().enumerate() {
        for part in 0..2 {
            let expected = (offset + part, (index as i64 * 2 + part).to_string());
            assert!(log.contains(&expected), "seed {seed}: {expected:?} is not in {log:?}");
        }
    }
}

#[test]
fn with_clean_elections_what_acks_all_acknowledged_is_there_once() {
    let mut faults = 0;
    let mut counts = (0, 0, 0, 0, 0);
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let (usual, small) = (config(), ClusterConfig { segment_bytes: 400, ..config() });
        let mut world = World::new(if seed % 3 == 0 { &small } else { &usual }, seed);
        world.cluster.tell_story();
        let acked = send_all(&mut world, &mut rng, 20, harmless);
        world.heal();
        check(&mut world, &acked, seed);
        assert!(world.cluster.losses().is_empty(), "seed {seed}");
        let told = world.cluster.counts();
        faults += told.faults.values().sum::<u64>();
        counts.0 += told.duplicates;
        counts.1 += told.leader_moves;
        counts.2 += told.truncations;
        counts.3 += told.isr_shrinks;
        counts.4 += told.deposed_waits;
    }
    // the test is worth its name
    assert!(faults > 700, "{faults} faults");
    assert!(counts.0 > 20 && counts.1 > 100 && counts.2 > 20 && counts.3 > 5 && counts.4 > 5, "{counts:?}");
}

#[test]
fn one_machine_at_a_time_may_lose_its_page_cache() {
    let mut power_losses = 0;
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new(&config(), seed);
        world.cluster.tell_story();
        let acked = send_all(&mut world, &mut rng, 12, |rng| {
            let node = rng.i32(1..=3);
            match rng.u32(0..4) {
                0 => Fault::Kill { node },
                1 | 2 => Fault::Restart { node, lose_page_cache: true },
                _ => harmless(rng),
            }
        });
        world.heal();
        power_losses += world.cluster.counts().faults.get("power loss").copied().unwrap_or(0);
        // where all eligible replicas have lost theirs, the cluster says so
        if world.cluster.losses().is_empty() {
            check(&mut world, &acked, seed);
        }
    }
    assert!(power_losses > 50, "{power_losses}");
}

#[test]
fn the_same_seed_is_the_same_story() {
    let mut lines = 0;
    for seed in 0..10 {
        let run = || {
            let mut rng = Rng::with_seed(seed);
            let topics = vec![
                TopicSpec::default(),
                TopicSpec { name: "u".to_owned(), partitions: 4, ..TopicSpec::default() },
            ];
            let mut world = World::new(&ClusterConfig { topics, ..config() }, seed);
            world.cluster.tell_story();
            world.cluster.tell_story();
            let acked = send_all(&mut world, &mut rng, 10, harmless);
            world.heal();
            (acked, world.cluster.take_story(), world.cluster.counts().clone(), world.now_ms)
        };
        let (first, second) = (run(), run());
        lines += first.1.len();
        assert_eq!(first, second);
    }
    assert!(lines > 50, "{lines}");
}

#[test]
fn with_unclean_elections_losses_are_told() {
    let mut losses = 0;
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let topic = TopicSpec { min_insync_replicas: 1, replication_factor: 2, ..TopicSpec::default() };
        let config = ClusterConfig { topics: vec![topic], unclean_elections: true, ..config() };
        let mut world = World::new(&config, seed);
        // gaps are possible here, so each batch is a producer's first
        for value in 0..12 {
            if rng.bool() {
                let fault = harmless(&mut rng);
                world.apply(fault);
            }
            world.pass(rng.u64(0..4_000));
            let node = rng.i32(1..=3);
            let leader = if world.cluster.is_up(node) { world.leader(node, "t") } else { -1 };
            if leader > 0 && world.cluster.is_up(leader) {
                let connection = world.connect();
                world.send_batch(leader, connection, &batch(&[&value.to_string()], by(value, 0)), -1, 1_000);
                let _ = world.produced(connection, 2_000);
            }
        }
        world.heal();
        world.cluster.check_replicas(true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        losses += world.cluster.losses().len();
    }
    assert!(losses > 3, "{losses}");
}
