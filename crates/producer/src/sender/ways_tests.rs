//! The ways of sending (chapter 2.4): what each costs.

use std::sync::atomic::Ordering;

use super::tests::{acked_at, is_clean};
use super::world::World;

// SEND-1
#[test]
fn a_hundred_records_sent_without_waiting_share_a_request_and_waited_for_one_by_one_each_takes_its_own() {
    let mut world = World::warm(&[("linger.ms", "5")]);
    world.prime(0);
    let requests = |world: &World| world.shared.stats.produce_requests.load(Ordering::Relaxed);
    let before = requests(&world);
    let mut together: Vec<_> = (0..100).map(|n| world.send(0, n)).collect();
    world.run(6);
    world.serve(1);
    assert!(together.iter_mut().all(|delivery| acked_at(delivery).is_some()));
    assert_eq!(requests(&world) - before, 1);
    let began_ms = world.now_ms();
    for n in 0..20 {
        let mut one = world.send(0, n);
        world.run(6);
        world.serve(1);
        assert!(acked_at(&mut one).is_some());
    }
    assert_eq!(requests(&world) - before, 1 + 20);
    assert!(world.now_ms() - began_ms >= 20 * 5, "each of them has lingered");
    assert!(is_clean(&world));
}
