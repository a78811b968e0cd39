//! A record's identity, and the value that carries it: run, partition, sequence number, and a checksum over all of the value.
//!
//! The value is text, so that any other tool can look at it:
//!
//! ```text
//! rohrpost-verify 0123456789abcdef 3 1041 5f2ac09e xxxxxxxx…
//!                 run              |  |   checksum padding up to --size
//!                          partition  sequence number, from 0 in each partition and run
//! ```

use bytes::Bytes;
use rohrpost_record::crc::{crc32c, crc32c_append};

const MAGIC: &str = "rohrpost-verify ";

/// Which record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Drawn anew for each run: records of other runs in the same topic are not ours.
    pub(super) run: u64,
    pub(super) partition: i32,
    pub(super) sequence: u64,
}

/// What a value turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A record of some run, as it was sent.
    Ours(Identity),
    /// It says that it is a record of this command, but it is not as it was sent.
    Damaged,
    /// Somebody else's.
    Foreign,
}

impl Identity {
    /// The record's value, `size` bytes long if that is enough for the identity.
    pub(super) fn value(self, size: usize) -> Bytes {
        let Identity { run, partition, sequence } = self;
        let head = format!("{MAGIC}{run:016x} {partition} {sequence} ");
        let mut value = Vec::with_capacity(size.max(head.len() + 9));
        value.extend_from_slice(head.as_bytes());
        value.extend_from_slice(b"00000000 ");
        // compressible, but not the same in all records
        let filler = b'a' + (sequence % 26) as u8;
        value.resize(size.max(value.len()), filler);
        let sum = crc32c_append(crc32c(head.as_bytes()), &value[head.len() + 9..]);
        value[head.len()..head.len() + 8].copy_from_slice(format!("{sum:08x}").as_bytes());
        value.into()
    }

    /// Reads a value. Without a checksum that fits nothing of it is believed.
    pub(super) fn read(value: &[u8]) -> Found {
        let Some(rest) = value.strip_prefix(MAGIC.as_bytes()) else { return Found::Foreign };
        parse(value, rest).map_or(Found::Damaged, Found::Ours)
    }
}

fn parse(value: &[u8], rest: &[u8]) -> Option<Identity> {
    let mut fields = rest.splitn(5, |&byte| byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (run, partition, sequence, sum) = (text()?, text()?, text()?, text()?);
    let head = MAGIC.len() + run.len() + partition.len() + sequence.len() + 3;
    let expected = crc32c_append(crc32c(&value[..head]), value.get(head + 9..)?);
    let identity = Identity {
        run: u64::from_str_radix(run, 16).ok()?,
        partition: partition.parse().ok()?,
        sequence: sequence.parse().ok()?,
    };
    (sum.len() == 8 && u32::from_str_radix(sum, 16).ok()? == expected).then_some(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_as_long_as_asked_for_and_says_who_it_is() {
        for (run, partition, sequence) in [(0, 0, 0), (u64::MAX, i32::MAX, u64::MAX), (42, 3, 1041)] {
            let identity = Identity { run, partition, sequence };
            for size in [100, 101, 5000] {
                let value = identity.value(size);
                assert_eq!(value.len(), size);
                assert_eq!(Identity::read(&value), Found::Ours(identity));
            }
            assert_eq!(Identity::read(&identity.value(0)), Found::Ours(identity), "never cut");
        }
    }

    #[test]
    fn any_changed_or_missing_byte_is_damage() {
        let value = Identity { run: 7, partition: 1, sequence: 99 }.value(100);
        for at in MAGIC.len()..value.len() {
            let mut changed = value.to_vec();
            changed[at] ^= 1;
            assert_eq!(Identity::read(&changed), Found::Damaged, "byte {at}");
            assert_eq!(Identity::read(&value[..at]), Found::Damaged, "cut at {at}");
        }
        assert_eq!(Identity::read(b"hello"), Found::Foreign);
        assert_eq!(Identity::read(b""), Found::Foreign);
    }
}
