//! What happened, as a digest always, and as lines if somebody wants to read them.

use std::cell::{Cell, RefCell};
use std::fmt;

/// Shared by all parts of one world. Everything that happens is noted here, in order: two runs with the same digest are the same story.
pub struct Trace {
    digest: Cell<u64>,
    now_ms: Cell<u64>,
    lines: Option<RefCell<Vec<String>>>,
}

impl Trace {
    /// `keeps_lines`: for people; costs a text per event.
    pub fn new(keeps_lines: bool) -> Trace {
        Trace {
            digest: Cell::new(0xcbf2_9ce4_8422_2325),
            now_ms: Cell::new(0),
            lines: keeps_lines.then(RefCell::default),
        }
    }

    /// The time of what is noted from now on.
    pub fn set_now(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
    }

    /// Something happened: what kind of thing, and two numbers that tell it from others.
    pub fn note(&self, kind: &str, a: u64, b: u64, text: impl FnOnce() -> String) {
        let mut digest = self.digest.get();
        for part in [self.now_ms.get(), a, b] {
            digest = mix(digest, part);
        }
        for byte in kind.bytes() {
            digest = mix(digest, u64::from(byte));
        }
        self.digest.set(digest);
        self.tell(kind, text);
    }

    /// A line for people that says nothing new to the digest.
    pub fn tell(&self, kind: &str, text: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            lines.borrow_mut().push(format!("{:>8} ms  {kind:<10} {}", self.now_ms.get(), text()));
        }
    }

    /// Whether anybody reads the lines.
    pub fn keeps_lines(&self) -> bool {
        self.lines.is_some()
    }

    /// Of everything noted so far.
    pub fn digest(&self) -> u64 {
        self.digest.get()
    }

    /// Everything noted so far, if lines are kept.
    pub fn take_lines(&self) -> Vec<String> {
        self.lines.as_ref().map(RefCell::take).unwrap_or_default()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("digest", &self.digest.get()).finish_non_exhaustive()
    }
}

/// A number out of bytes; equal bytes give equal numbers.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    chunks.remainder().iter().fold(mix(hash, bytes.len() as u64), |hash, byte| mix(hash, u64::from(*byte)))
}

fn mix(hash: u64, part: u64) -> u64 {
    let product = u128::from(hash ^ part) * 0x9fb2_1c65_1e98_df25_u128;
    (product as u64) ^ ((product >> 64) as u64) ^ part.rotate_left(29)
}
