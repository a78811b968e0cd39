//! Topic ids, directory ids, incarnation ids.

use std::{fmt, str::FromStr};

/// Sixteen bytes that name something for good, such as a topic.
///
/// Printed as Kafka prints it: the 22 characters of URL-safe base64 without padding.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// Text that is no printed [`Uuid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseUuidError;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const PRINTED_LEN: usize = 22;

impl Uuid {
    /// All zero: no id. Where a topic's id is not known, the wire carries this.
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is [`Uuid::ZERO`].
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        // 22 groups of six bits: the last one has only two bits of the id, filled up with zeros
        let text: [u8; PRINTED_LEN] = std::array::from_fn(|i| {
            let group = if i < PRINTED_LEN - 1 { bits >> (122 - 6 * i) } else { bits << 4 };
            ALPHABET[(group & 0x3f) as usize]
        });
        f.pad(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        if text.len() != PRINTED_LEN {
            return Err(ParseUuidError);
        }
        let mut bits = 0_u128;
        for (i, byte) in text.bytes().enumerate() {
            let group = ALPHABET.iter().position(|&letter| letter == byte).ok_or(ParseUuidError)? as u128;
            bits |= if i < PRINTED_LEN - 1 {
                group << (122 - 6 * i)
            } else if group & 0x0f == 0 {
                group >> 4
            } else {
                return Err(ParseUuidError);
            };
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

impl fmt::Display for ParseUuidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an id: 22 characters of URL-safe base64 are expected")
    }
}

impl std::error::Error for ParseUuidError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_kafka_prints_them() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
        // the bytes 0..16 in plain base64 are AAECAwQFBgcICQoLDA0ODw==
        assert_eq!(Uuid(std::array::from_fn(|i| i as u8)).to_string(), "AAECAwQFBgcICQoLDA0ODw");
    }

    #[test]
    fn a_printed_id_reads_back_and_other_text_does_not() {
        let id = Uuid([
            0x98, 0x83, 0x58, 0xf3, 0x5b, 0x93, 0x52, 0x70, 0x7f, 0xce, 0xba, 0x08, 0x1a, 0x01, 0xc5, 0xd2,
        ]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in
            ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAAA", "ä"]
        {
            assert_eq!(bad.parse::<Uuid>(), Err(ParseUuidError), "{bad}");
        }
    }
}
