//! Values and keys. They are made before the clock starts and lie in memory that is never freed, so that a record costs the
//! application a pointer and a length: what is measured is the producer.
//!
//! The same seed in every run: two runs send the same bytes.

use bytes::Bytes;

use super::args::Payload;

/// At least so many bytes to take values from. More than one batch, so that a codec does not see the same value twice.
const BYTES_MIN: usize = 1 << 20;
const SEED: u64 = 0x526f_6872_706f_7374;

/// All values of a run: slices of one area, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Values {
    area: &'static [u8],
    size: usize,
}

/// One thread's place in the area.
pub(super) struct Cursor {
    values: Values,
    at: usize,
}

impl Values {
    /// Values of `size` bytes.
    pub(super) fn make(payload: Payload, size: usize) -> Values {
        let len = BYTES_MIN.max(2 * size);
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut area = vec![0; len];
        match payload {
            Payload::Random => random.fill(&mut area),
            Payload::Text => fill_with_text(&mut area, &mut random),
        }
        Values { area: area.leak(), size }
    }

    /// A cursor that begins elsewhere for each thread.
    pub(super) fn cursor(self, thread: usize) -> Cursor {
        Cursor { values: self, at: thread.wrapping_mul(7919 * 64) % (self.area.len() - self.size) }
    }
}

impl Cursor {
    #[inline]
    pub(super) fn next(&mut self) -> Bytes {
        let Values { area, size } = self.values;
        if self.at + size > area.len() {
            // another phase with each round, so that values differ
            self.at = (self.at + 1) % size;
        }
        let value = &area[self.at..self.at + size];
        self.at += size;
        Bytes::from_static(value)
    }
}

/// `count` different keys of the same length.
pub(super) fn keys(count: u32) -> &'static [Bytes] {
    let all: String = (0..count).map(|number| format!("key-{number:08}")).collect();
    let all: &'static [u8] = all.leak().as_bytes();
    let keys: Vec<Bytes> = all.chunks_exact(12).map(Bytes::from_static).collect();
    keys.leak()
}

fn fill_with_text(area: &mut [u8], random: &mut fastrand::Rng) {
    const METHODS: [&str; 4] = ["GET", "GET", "POST", "PUT"];
    const PATHS: [&str; 8] =
        ["/", "/orders", "/orders/new", "/users", "/static/app.js", "/health", "/search?q=rail", "/login"];
    const STATUS: [u16; 6] = [200, 200, 200, 304, 404, 500];
    let mut at = 0;
    let mut second = 1_750_000_000u64;
    while at < area.len() {
        second += random.u64(0..2);
        let line = format!(
            "{}.{}.{}.{} {second} \"{} {} HTTP/1.1\" {} {}\n",
            random.u8(..),
            random.u8(..),
            random.u8(..),
            random.u8(..),
            METHODS[random.usize(..METHODS.len())],
            PATHS[random.usize(..PATHS.len())],
            STATUS[random.usize(..STATUS.len())],
            random.u32(200..50_000),
        );
        let len = line.len().min(area.len() - at);
        area[at..at + len].copy_from_slice(&line.as_bytes()[..len]);
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn values_have_their_size_and_differ_for_longer_than_a_batch() {
        for payload in [Payload::Random, Payload::Text] {
            for size in [1, 100, 1024, 600_000] {
                let mut cursor = Values::make(payload, size).cursor(3);
                let mut seen = HashSet::new();
                for _ in 0..20 {
                    let value = cursor.next();
                    assert_eq!(value.len(), size);
                    seen.insert(value);
                }
                assert!(size == 1 || seen.len() == 20, "{payload:?} {size}: {}", seen.len());
            }
        }
    }

    #[test]
    fn a_round_through_the_area_ends_within_it() {
        let mut cursor = Values::make(Payload::Random, 1000).cursor(0);
        for _ in 0..5000 {
            assert_eq!(cursor.next().len(), 1000);
        }
    }

    #[test]
    fn text_can_be_compressed_and_random_bytes_cannot() {
        let distinct = |payload| {
            let mut cursor = Values::make(payload, 16_384).cursor(0);
            cursor.next().iter().collect::<HashSet<_>>().len()
        };
        assert_eq!(distinct(Payload::Random), 256);
        assert!(distinct(Payload::Text) < 64);
    }

    #[test]
    fn keys_are_as_many_as_asked_for() {
        let keys: HashSet<_> = keys(1000).iter().collect();
        assert_eq!(keys.len(), 1000);
        assert!(keys.contains(&Bytes::from_static(b"key-00000999")));
    }
}
