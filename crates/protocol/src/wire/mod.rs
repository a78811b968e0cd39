//! The types of the wire: what an integer, a string, an array, a struct look like in either encoding.
//!
//! A struct's derived implementation says only which field is there in which version; everything else is here.
//! [`Wire::put`] is generic over its [`Sink`]: one that keeps the bytes ([`Encoder`]) or one that counts them
//! ([`Length`]). So the length of a message is computed by the code that writes it, and the two always agree.

mod decoder;
mod encoder;
pub mod error;
mod tags;
mod types;

use self::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
pub use self::{
    decoder::Decoder,
    encoder::{Encoder, Gap, Length, Sink},
    tags::{TagReader, TagWriter, UnknownTags, put_tag},
    types::Records,
};

/// The version that is read or written, and its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The version of the whole message.
    pub version: i16,
    /// Whether this version uses compact lengths and tagged fields.
    pub flexible: bool,
}

impl Context {
    /// The same version in the old encoding: for the few fields that never became compact.
    pub fn not_flexible(self) -> Self {
        Self { flexible: false, ..self }
    }
}

/// A value that can stand in a message.
pub trait Wire<'a>: Sized {
    /// The fewest bytes that any value takes. It bounds a declared count of elements before memory is taken.
    fn min_len(cx: Context) -> usize;

    /// Writes the value.
    ///
    /// # Errors
    /// The wire cannot carry it; what was written until then is of no use.
    fn put<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError>;

    /// Reads a value from the front of the input.
    ///
    /// # Errors
    /// The bytes are no such value: what, and where.
    fn take(input: &mut Decoder<'a>, cx: Context) -> Result<Self, DecodeError>;

    /// Reads `count` values in a row. The caller has checked that the input can hold them.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    fn take_many(input: &mut Decoder<'a>, count: usize, cx: Context) -> Result<Vec<Self>, DecodeError> {
        let mut values = input.vec_for(count)?;
        for _ in 0..count {
            values.push(Self::take(input, cx)?);
        }
        Ok(values)
    }
}

/// A value that can be null. The provided methods are those of a struct: one byte before it, -1 for null, else 1.
pub trait Nullable<'a>: Wire<'a> {
    /// The fewest bytes of a value or of null.
    fn min_len_or_null(_: Context) -> usize {
        1
    }

    /// Writes a value that could have been null.
    ///
    /// # Errors
    /// As [`put`](Wire::put).
    fn put_some<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
        out.put(&[1]);
        self.put(out, cx)
    }

    /// Writes null.
    fn put_null<S: Sink>(out: &mut S, _: Context) {
        out.put(&[0xff]);
    }

    /// Reads a value or null.
    ///
    /// # Errors
    /// As [`take`](Wire::take).
    fn take_nullable(input: &mut Decoder<'a>, cx: Context) -> Result<Option<Self>, DecodeError> {
        // Kafka takes any byte that is not negative for "present"
        if i8::take(input, cx)? < 0 { Ok(None) } else { Self::take(input, cx).map(Some) }
    }
}

impl<'a, T: Nullable<'a>> Wire<'a> for Option<T> {
    fn min_len(cx: Context) -> usize {
        T::min_len_or_null(cx)
    }

    fn put<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
        match self {
            Some(value) => value.put_some(out, cx),
            None => {
                T::put_null(out, cx);
                Ok(())
            }
        }
    }

    fn take(input: &mut Decoder<'a>, cx: Context) -> Result<Self, DecodeError> {
        T::take_nullable(input, cx)
    }
}

/// Writes a field that may be null in some versions only.
///
/// # Errors
/// Null in a version that has none, or as [`Wire::put`].
pub fn put_option<'a, T: Nullable<'a>, S: Sink>(
    value: &Option<T>,
    out: &mut S,
    cx: Context,
    nullable: bool,
) -> Result<(), EncodeError> {
    match value {
        _ if nullable => value.put(out, cx),
        Some(value) => value.put(out, cx),
        None => Err(EncodeError::from(EncodeErrorKind::Null { version: cx.version })),
    }
}

/// Reads a field that may be null in some versions only.
///
/// # Errors
/// As [`Wire::take`].
pub fn take_option<'a, T: Nullable<'a>>(
    input: &mut Decoder<'a>,
    cx: Context,
    nullable: bool,
) -> Result<Option<T>, DecodeError> {
    if nullable { T::take_nullable(input, cx) } else { T::take(input, cx).map(Some) }
}

/// Whether a field must be written or refused: it is not what a reader takes for absent.
pub fn differs<T: PartialEq>(value: &T, default: &T) -> bool {
    value != default
}

/// Writes a count or size as an unsigned varint.
///
/// # Errors
/// A count above 32 bits.
pub fn put_count<S: Sink>(out: &mut S, count: usize) -> Result<(), EncodeError> {
    let Ok(count) = u32::try_from(count) else {
        return Err(EncodeError::from(EncodeErrorKind::TooLong { len: count, max: u32::MAX as usize }));
    };
    put_unsigned_varint(out, count);
    Ok(())
}

/// Seven bits a byte, low group first; the high bit says that more follow.
fn put_unsigned_varint<S: Sink>(out: &mut S, mut value: u32) {
    let mut bytes = [0; 5];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    out.put(&bytes[..=len]);
}

/// The length of a string, bytes or an array that is there.
fn put_len<S: Sink>(out: &mut S, len: usize, width: LenWidth, cx: Context) -> Result<(), EncodeError> {
    let max = match width {
        LenWidth::I16 => i16::MAX as usize,
        // one less, so that the compact length, which is one more, fits as well
        LenWidth::I32 => i32::MAX as usize - 1,
    };
    if len > max {
        return Err(EncodeError::from(EncodeErrorKind::TooLong { len, max }));
    }
    match width {
        _ if cx.flexible => put_unsigned_varint(out, len as u32 + 1),
        LenWidth::I16 => out.put(&(len as i16).to_be_bytes()),
        LenWidth::I32 => out.put(&(len as i32).to_be_bytes()),
    }
    Ok(())
}

fn put_null_len<S: Sink>(out: &mut S, width: LenWidth, cx: Context) {
    match width {
        _ if cx.flexible => out.put(&[0]),
        LenWidth::I16 => out.put(&(-1_i16).to_be_bytes()),
        LenWidth::I32 => out.put(&(-1_i32).to_be_bytes()),
    }
}

/// Reads the length of something that may be null (`None`). It is not yet compared with the bytes that are there.
fn take_len(input: &mut Decoder<'_>, width: LenWidth, cx: Context) -> Result<Option<usize>, DecodeError> {
    let declared = match width {
        _ if cx.flexible => i64::from(input.unsigned_varint()?) - 1,
        LenWidth::I16 => i64::from(i16::take(input, cx)?),
        LenWidth::I32 => i64::from(i32::take(input, cx)?),
    };
    match declared {
        -1 => Ok(None),
        // Kafka takes some of these for null; no writer sends them
        ..-1 => Err(input.error(DecodeErrorKind::NegativeLength(declared))),
        // strings keep their limit in the compact encoding, so that they can be written in every version
        len if matches!(width, LenWidth::I16) && len > i64::from(i16::MAX) => {
            Err(input.error(DecodeErrorKind::TooLong { len: len as usize }))
        }
        len => Ok(Some(len as usize)),
    }
}

/// The same for something that may not be null.
fn take_len_not_null(input: &mut Decoder<'_>, width: LenWidth, cx: Context) -> Result<usize, DecodeError> {
    take_len(input, width, cx)?.ok_or_else(|| input.error(DecodeErrorKind::Null))
}

const fn min_len_len(width: LenWidth, cx: Context) -> usize {
    match width {
        _ if cx.flexible => 1,
        LenWidth::I16 => 2,
        LenWidth::I32 => 4,
    }
}

/// The integer that a length has in the old encoding: `I16` before strings, `I32` before bytes, records and arrays.
#[derive(Clone, Copy)]
enum LenWidth {
    I16,
    I32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Context = Context { version: 3, flexible: false };
    const COMPACT: Context = Context { version: 3, flexible: true };

    #[test]
    fn a_field_that_never_became_compact_keeps_its_version() {
        assert_eq!(COMPACT.not_flexible(), OLD);
        assert_eq!(OLD.not_flexible(), OLD);
    }

    #[test]
    fn varints_are_written_as_they_are_read() {
        for (value, bytes) in [
            (0, &[0][..]),
            (0x7f, &[0x7f]),
            (0x80, &[0x80, 1]),
            (300, &[0xac, 2]),
            (16383, &[0xff, 0x7f]),
            (16384, &[0x80, 0x80, 1]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Encoder::new();
            assert_eq!(put_count(&mut out, value as usize), Ok(()));
            assert_eq!(out.bytes(), bytes);
        }
        let max = u32::MAX as usize;
        let error = put_count(&mut Encoder::new(), max + 1).expect_err("a bit too many");
        assert_eq!(error.kind(), &EncodeErrorKind::TooLong { len: max + 1, max });
    }

    #[test]
    fn lengths_have_the_width_of_their_type_and_its_limit() {
        let written = |len, width, cx| {
            let mut out = Encoder::new();
            put_len(&mut out, len, width, cx).map(|()| out.into_parts().0).map_err(|e| e.kind().clone())
        };
        let nulls = |width, cx| {
            let mut out = Encoder::new();
            put_null_len(&mut out, width, cx);
            out.into_parts().0
        };
        for (width, max, limit_old, limit_compact) in [
            (LenWidth::I16, 32_767, &[0x7f, 0xff][..], &[0x80, 0x80, 2][..]),
            (LenWidth::I32, 0x7fff_fffe, &[0x7f, 0xff, 0xff, 0xfe], &[0xff, 0xff, 0xff, 0xff, 7]),
        ] {
            assert_eq!(written(max, width, OLD), Ok(limit_old.to_vec()));
            assert_eq!(written(max, width, COMPACT), Ok(limit_compact.to_vec()));
            for cx in [OLD, COMPACT] {
                assert_eq!(written(max + 1, width, cx), Err(EncodeErrorKind::TooLong { len: max + 1, max }));
                assert_eq!(min_len_len(width, cx), nulls(width, cx).len());
                assert_eq!(take_len(&mut Decoder::new(&nulls(width, cx)), width, cx), Ok(None));
            }
            assert_eq!(take_len(&mut Decoder::new(limit_old), width, OLD), Ok(Some(max)));
            assert_eq!(take_len(&mut Decoder::new(limit_compact), width, COMPACT), Ok(Some(max)));
        }
        assert_eq!(written(0, LenWidth::I16, COMPACT), Ok(vec![1]), "0 is null");
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let taken = |bytes: &[u8], width, cx| {
            take_len_not_null(&mut Decoder::new(bytes), width, cx).map_err(|error| error.kind().clone())
        };
        assert_eq!(taken(&[0, 2], LenWidth::I16, OLD), Ok(2));
        assert_eq!(taken(&[0xff, 0xff], LenWidth::I16, OLD), Err(DecodeErrorKind::Null));
        assert_eq!(taken(&[0xff, 0xfe], LenWidth::I16, OLD), Err(DecodeErrorKind::NegativeLength(-2)));
        assert_eq!(
            taken(&[0x80, 0, 0, 0], LenWidth::I32, OLD),
            Err(DecodeErrorKind::NegativeLength(-1 << 31))
        );
        // a compact string of 32768 bytes; bytes may be as long
        let long = [0x81, 0x80, 2];
        assert_eq!(taken(&long, LenWidth::I16, COMPACT), Err(DecodeErrorKind::TooLong { len: 32_768 }));
        assert_eq!(taken(&long, LenWidth::I32, COMPACT), Ok(32_768));
    }

    #[test]
    fn a_field_is_null_in_some_versions_only() {
        let put = |value: Option<&str>, nullable| {
            let mut out = Encoder::new();
            put_option(&value, &mut out, OLD, nullable).map(|()| out.into_parts().0)
        };
        assert_eq!(put(Some("a"), false), Ok(vec![0, 1, b'a']));
        assert_eq!(put(Some("a"), true), put(Some("a"), false));
        assert_eq!(put(None, true), Ok(vec![0xff, 0xff]));
        assert_eq!(put(None, false), Err(EncodeErrorKind::Null { version: 3 }.into()));
        let take = |bytes: &'static [u8], nullable| {
            take_option::<&str>(&mut Decoder::new(bytes), OLD, nullable).map_err(|e| e.kind().clone())
        };
        for nullable in [true, false] {
            assert_eq!(take(&[0, 1, b'a'], nullable), Ok(Some("a")));
        }
        assert_eq!(take(&[0xff, 0xff], true), Ok(None));
        assert_eq!(take(&[0xff, 0xff], false), Err(DecodeErrorKind::Null));
        assert!(differs(&1, &2) && !differs(&1, &1));
    }

    /// A struct, as the derive macro would make it.
    #[derive(Debug, PartialEq)]
    struct Part(i16);

    impl<'a> Wire<'a> for Part {
        fn min_len(_: Context) -> usize {
            2
        }

        fn put<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
            self.0.put(out, cx)
        }

        fn take(input: &mut Decoder<'a>, cx: Context) -> Result<Self, DecodeError> {
            i16::take(input, cx).map(Self)
        }
    }

    impl Nullable<'_> for Part {}

    #[test]
    fn a_struct_that_may_be_null_has_a_byte_before_it_and_any_but_a_negative_one_says_it_is_there() {
        for (value, bytes) in [(Some(Part(5)), &[1, 0, 5][..]), (None, &[0xff])] {
            let mut out = Encoder::new();
            assert_eq!(value.put(&mut out, OLD), Ok(()));
            assert_eq!(out.bytes(), bytes);
            assert_eq!(Wire::take(&mut Decoder::new(bytes), OLD), Ok(value));
        }
        for (byte, present) in [(0, true), (2, true), (0x7f, true), (0x80, false)] {
            let taken = Part::take_nullable(&mut Decoder::new(&[byte, 0, 5]), OLD);
            assert_eq!(taken, Ok(present.then_some(Part(5))), "{byte}");
        }
        assert_eq!((Part::min_len_or_null(OLD), <Option<Part> as Wire>::min_len(OLD)), (1, 1));
    }
}
