//! Which partition a record goes to (PAR-1): its own, else by its key's hash, else the topic's sticky choice.
//!
//! The first two are functions of the record and the number of partitions. The third is state: see [`sticky`].

mod sticky;

pub(crate) use self::sticky::{Stay, Sticky};

/// The partition of a key among `partitions`, with leader or without (PAR-2). The sign bit is cleared; an absolute value would put
/// most keys with a negative hash elsewhere than every other client does.
#[inline]
pub(crate) fn for_key(key: &[u8], partitions: u32) -> u32 {
    (rohrpost_record::murmur2(key) as u32 & 0x7fff_ffff) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAR-2, PAR-3
    #[test]
    fn keys_go_where_every_kafka_client_puts_them() {
        let table: [(&str, [u32; 3]); 8] = [
            ("", [0, 1, 11]),
            ("a", [1, 4, 0]),
            ("abc", [0, 7, 16]),
            ("abcd", [2, 0, 7]),
            ("21", [0, 0, 13]),
            ("foobar", [0, 6, 9]),
            ("kafka", [1, 0, 14]),
            ("hello", [0, 9, 3]),
        ];
        for (key, expected) in table {
            assert_eq!([3, 10, 17].map(|n| for_key(key.as_bytes(), n)), expected, "{key:?}");
        }
    }
}
