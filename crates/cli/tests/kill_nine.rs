//! Kill -9 at random moments under load, of a real `rohrpost broker` on a real disk (chapter 22 of the reference, first two
//! rows; U1, U3, U4).
//!
//! Producers keep sending numbered records through all of it; topics come and go beside them; segments are small, so that
//! rolls and retention happen all the time. After each kill the broker starts on what is left. What must hold:
//!
//! * a record that was acknowledged is there, at the offset that was said, with its content;
//! * records of a partition come in the order in which they were sent, none twice, none that was said to be not written;
//! * a topic whose creation was answered is there, one whose deletion was answered is gone;
//! * nothing that a kill leaves behind makes a start fail.
//!
//! `ROHRPOST_KILLS` says how many kills there are in each mode (default 5), `ROHRPOST_SEED` repeats a run's choices; how the
//! processes are scheduled is not repeated. The time from the start of the process to its first answer is reported.
#![cfg(unix)]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test, whose figures are to be seen")]

mod common;
mod kill_nine_world;

use kill_nine_world::{Dice, Mode, World, setting};

#[test]
fn what_was_acknowledged_survives_kill_9_in_kafka_mode() {
    // U4: page cache
    survive(Mode::Kafka);
}

#[test]
fn what_was_acknowledged_survives_kill_9_in_synced_mode() {
    // U3: flush.messages=1
    survive(Mode::Synced);
}

fn survive(mode: Mode) {
    let kills = setting("ROHRPOST_KILLS").unwrap_or(5);
    let seed = setting("ROHRPOST_SEED").unwrap_or_else(kill_nine_world::fresh_seed);
    println!("{mode:?} mode: {kills} kills, ROHRPOST_SEED={seed}");
    let mut dice = Dice(seed ^ mode as u64);
    let mut world = World::begin(mode, &mut dice);
    for kill in 0..kills {
        world.let_it_run(&mut dice);
        world.kill();
        // One in four dies again while it starts, perhaps more than once.
        while dice.below(4) == 0 {
            world.start_and_kill(&mut dice);
        }
        world.start();
        world.check_since_last_time();
        if dice.below(8) == 0 {
            world.another_producer();
        }
        if (kill + 1) % 50 == 0 {
            println!("{} kills: {}", kill + 1, world.summary());
        }
    }
    world.finish();
    println!("{mode:?} mode, {kills} kills: {}", world.summary());
}
