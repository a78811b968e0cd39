//! Which mutant is on: the one crate that woven code calls.
//!
//! `ROHRPOST_MUTANT=17` turns mutant 17 on for the whole process; without it, or with 0, the code does what it did before it was
//! woven. With `ROHRPOST_MUTANTS_REACHED=FILE` none is on, and the number of each mutant whose place is come to is added to FILE,
//! one a line, as soon as that happens: what a process has reached is told even if it ends by a signal.
//!
//! `scripts/mutants` makes this file a crate of its own, beside a copy of the tree. Where the compiler lets it (a feature that is not
//! stable), with the feature `const`: then `on` can stand in a `const fn`. When the compiler calls that one, no mutant is on.

#![cfg_attr(feature = "const", feature(core_intrinsics, const_eval_select), allow(internal_features))]

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static ACTIVE: AtomicU32 = AtomicU32::new(UNREAD);
/// The environment was not asked yet.
const UNREAD: u32 = u32::MAX;
/// None is on; what is reached is written down.
const RECORDING: u32 = u32::MAX - 1;

const MUTANTS_MAX: usize = 1 << 16;
static REACHED: [AtomicU32; MUTANTS_MAX / 32] = [const { AtomicU32::new(0) }; MUTANTS_MAX / 32];
static RECORD: OnceLock<File> = OnceLock::new();

/// Whether the mutant of this number takes the place of the code.
#[cfg(feature = "const")]
#[inline]
pub const fn on(number: u32) -> bool {
    const fn never(_: u32) -> bool {
        false
    }
    std::intrinsics::const_eval_select((number,), never, is_on)
}

#[cfg(not(feature = "const"))]
pub use is_on as on;

/// Whether the mutant of this number takes the place of the code. Code that is woven calls `on`.
#[inline]
pub fn is_on(number: u32) -> bool {
    let active = ACTIVE.load(Relaxed);
    if active >= RECORDING { seldom(number) } else { active == number }
}

#[cold]
fn seldom(number: u32) -> bool {
    if ACTIVE.load(Relaxed) == UNREAD {
        ask_environment();
    }
    let active = ACTIVE.load(Relaxed);
    if active == RECORDING {
        write_down(number);
    }
    active == number
}

/// Two threads may do this at the same time: they read the same.
fn ask_environment() {
    let active = match std::env::var_os("ROHRPOST_MUTANTS_REACHED") {
        Some(path) => {
            RECORD.get_or_init(|| {
                File::options().append(true).create(true).open(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
            });
            RECORDING
        }
        None => match std::env::var("ROHRPOST_MUTANT") {
            Ok(number) => number.parse().unwrap_or_else(|_| panic!("ROHRPOST_MUTANT={number} is no number")),
            Err(_) => 0,
        },
    };
    ACTIVE.store(active, Relaxed);
}

fn write_down(number: u32) {
    let (word, bit) = (number as usize / 32, 1 << (number % 32));
    assert!(word < REACHED.len(), "mutant {number}: there is room for {MUTANTS_MAX}");
    if REACHED[word].fetch_or(bit, Relaxed) & bit == 0 {
        // In one piece, since threads and child processes write to the same file; and without memory, which some tests count.
        let mut line = [0; 12];
        let mut rest = &mut line[..];
        writeln!(rest, "{number}").expect("a number of 32 bits has at most ten digits");
        let unused = rest.len();
        let mut record = RECORD.get().expect("the file is open before anything is recorded");
        record.write_all(&line[..line.len() - unused]).expect("the file of what is reached can be written");
    }
}
