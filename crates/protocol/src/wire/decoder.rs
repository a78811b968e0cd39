//! Reading: a cursor over the input, and the budget of memory that reading may take.

use super::error::{DecodeError, DecodeErrorKind};

/// What decoding may allocate whatever the input's length.
const FREE_BUDGET: usize = 64 * 1024;
/// What decoding may allocate for each byte of input.
const BUDGET_PER_BYTE: usize = 4;

/// Reads from bytes that came from outside.
///
/// Strings, bytes and records that it gives out borrow from the input. Memory is taken for arrays only (and for unknown
/// tagged fields, if they are kept), and all of it is paid from a budget of four times the input and 64 KiB. A
/// message that would need more is refused; see [`DecodeErrorKind::OverBudget`].
#[derive(Debug)]
pub struct Decoder<'a> {
    /// What is left: of the input, or of the tagged field that is open.
    rest: &'a [u8],
    /// Bytes that lie behind the open tagged field.
    behind: usize,
    total: usize,
    budget: usize,
    keep_unknown_tags: bool,
}

impl<'a> Decoder<'a> {
    /// A decoder of these bytes, with the usual budget, that skips unknown tagged fields.
    pub fn new(input: &'a [u8]) -> Self {
        let budget = input.len().saturating_mul(BUDGET_PER_BYTE).saturating_add(FREE_BUDGET);
        Self { rest: input, behind: 0, total: input.len(), budget, keep_unknown_tags: false }
    }

    /// Whether unknown tagged fields are kept, in each struct's `unknown_tags`, so that they can be written again.
    pub fn keep_unknown_tags(mut self, keep: bool) -> Self {
        self.keep_unknown_tags = keep;
        self
    }

    /// Another budget: a lower one where the caller allocates as well, a higher one where the peer is trusted and the
    /// message may be made of many small parts (a full fetch of tens of thousands of partitions without news).
    pub fn with_budget(mut self, bytes: usize) -> Self {
        self.budget = bytes;
        self
    }

    /// The bytes that have not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The number of bytes that have not been read.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The number of bytes that have been read.
    pub fn position(&self) -> usize {
        self.total - self.behind - self.rest.len()
    }

    /// What may still be allocated, in bytes.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Fails if bytes are left: for those who want to be stricter than Kafka.
    ///
    /// # Errors
    /// Bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.error(DecodeErrorKind::BytesLeft { count: self.rest.len() }))
        }
    }

    /// An error at the present position.
    #[cold]
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(kind, self.position())
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// Fewer bytes are left.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.error(DecodeErrorKind::BytesMissing { wanted: len, left: self.rest.len() })),
        }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// Fewer bytes are left.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.error(DecodeErrorKind::BytesMissing { wanted: N, left: self.rest.len() })),
        }
    }

    /// An unsigned varint of at most 32 bits in at most 5 bytes.
    ///
    /// # Errors
    /// The input ends within the number, or it has more bits than its type.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for (i, &byte) in self.rest.iter().take(5).enumerate() {
            // the fifth byte has room for four bits
            if i == 4 && byte > 0x0f {
                return Err(self.error(DecodeErrorKind::VarintTooLong));
            }
            value |= u32::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(self.error(DecodeErrorKind::BytesMissing { wanted: self.rest.len() + 1, left: self.rest.len() }))
    }

    /// An empty vector with room for exactly `count` values, paid from the budget.
    ///
    /// # Errors
    /// So many elements cannot lie in the bytes that are left, or would take more memory than the decoder allows.
    pub fn vec_for<T>(&mut self, count: usize) -> Result<Vec<T>, DecodeError> {
        self.pay(count.saturating_mul(size_of::<T>()))?;
        Ok(Vec::with_capacity(count))
    }

    #[inline]
    pub(super) fn pay(&mut self, bytes: usize) -> Result<(), DecodeError> {
        match self.budget.checked_sub(bytes) {
            Some(budget) => {
                self.budget = budget;
                Ok(())
            }
            None => Err(self.error(DecodeErrorKind::OverBudget { wanted: bytes, left: self.budget })),
        }
    }

    pub(super) fn keeps_unknown_tags(&self) -> bool {
        self.keep_unknown_tags
    }

    /// Limits reading to the next `len` bytes; gives what lies behind them, for [`close`](Self::close).
    pub(super) fn open(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let inner = self.take(len)?;
        let behind = std::mem::replace(&mut self.rest, inner);
        self.behind += behind.len();
        Ok(behind)
    }

    /// Ends what `open` began. All of its bytes must have been read.
    pub(super) fn close(&mut self, outer: &'a [u8], outer_behind: usize) -> Result<(), DecodeError> {
        self.finish()?;
        self.rest = outer;
        self.behind = outer_behind;
        Ok(())
    }

    pub(super) fn behind(&self) -> usize {
        self.behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_has_32_bits_in_at_most_five_bytes() {
        let read = |bytes: &[u8]| {
            let mut input = Decoder::new(bytes);
            let value = input.unsigned_varint().map_err(|error| (error.kind().clone(), error.offset()));
            value.map(|value| (value, input.position()))
        };
        for (bytes, value, used) in [
            (&[0, 9][..], 0, 1),
            (&[0x7f, 9], 127, 1),
            (&[0x80, 1], 128, 2),
            (&[0xff, 0x7f], 16383, 2),
            (&[0x80, 0x80, 1, 9], 16384, 3),
            (&[0x80, 0x80, 0x80, 0x80, 0x08], 1 << 31, 5),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], u32::MAX, 5),
            // longer than it need be
            (&[0x80, 0], 0, 2),
        ] {
            assert_eq!(read(bytes), Ok((value, used)), "{bytes:x?}");
        }
        for bytes in [[0xff, 0xff, 0xff, 0xff, 0x10, 0], [0x80, 0x80, 0x80, 0x80, 0x80, 0]] {
            assert_eq!(read(&bytes), Err((DecodeErrorKind::VarintTooLong, 0)), "{bytes:x?}");
        }
        for len in 0..5 {
            let missing = DecodeErrorKind::BytesMissing { wanted: len + 1, left: len };
            assert_eq!(read(&[0x80; 4][..len]), Err((missing, 0)));
        }
    }

    #[test]
    fn the_position_counts_from_the_first_byte_within_a_tagged_field_too() {
        let mut input = Decoder::new(&[1, 2, 3, 4, 5, 6]);
        assert_eq!((input.position(), input.remaining(), input.behind()), (0, 6, 0));
        assert_eq!(input.array(), Ok([1]));
        let behind = input.behind();
        let outer = input.open(3).expect("three bytes");
        assert_eq!((input.position(), input.rest(), input.behind()), (1, &[2, 3, 4][..], 2));
        assert_eq!(input.take(2), Ok(&[2, 3][..]));
        assert_eq!((input.position(), input.remaining()), (3, 1));
        let inner_behind = input.behind();
        let inner_outer = input.open(1).expect("one byte");
        assert_eq!((input.position(), input.behind()), (3, 2));
        let left = input.close(inner_outer, inner_behind).expect_err("a byte is left");
        assert_eq!((left.kind(), left.offset()), (&DecodeErrorKind::BytesLeft { count: 1 }, 3));
        assert_eq!(input.take(1), Ok(&[4][..]));
        let beyond = input.take(1).expect_err("the field has ended");
        assert_eq!(beyond.kind(), &DecodeErrorKind::BytesMissing { wanted: 1, left: 0 });
        assert_eq!(beyond.offset(), 4);
        assert_eq!(input.close(inner_outer, inner_behind), Ok(()));
        assert_eq!(input.close(outer, behind), Ok(()));
        assert_eq!((input.position(), input.rest(), input.behind()), (4, &[5, 6][..], 0));
        let missing = input.array::<3>().expect_err("two are left");
        assert_eq!(missing.kind(), &DecodeErrorKind::BytesMissing { wanted: 3, left: 2 });
        assert_eq!(input.array(), Ok([5, 6]));
        assert_eq!(input.finish(), Ok(()));
    }

    #[test]
    fn memory_is_paid_from_four_times_the_input_and_64_kib() {
        // CON-9
        assert_eq!(Decoder::new(&[0; 100]).budget(), 65_936);
        let mut input = Decoder::new(&[]).with_budget(100);
        assert_eq!(input.vec_for::<u64>(10).expect("80 bytes").capacity(), 10);
        assert_eq!(input.budget(), 20);
        let over = input.vec_for::<u64>(3).expect_err("24 bytes");
        assert_eq!(over.kind(), &DecodeErrorKind::OverBudget { wanted: 24, left: 20 });
        assert_eq!(input.pay(20), Ok(()));
        assert_eq!(input.budget(), 0);
        assert!(input.pay(1).is_err());
        assert!(input.vec_for::<u64>(usize::MAX).is_err());
    }
}
