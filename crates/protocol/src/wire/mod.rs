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

    /// Writes the value. Fails if the wire cannot carry it; what was written until then is of no use.
    fn put<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError>;

    /// Reads a value from the front of the input.
    fn take(input: &mut Decoder<'a>, cx: Context) -> Result<Self, DecodeError>;

    /// Reads `count` values in a row. The caller has checked that the input can hold them.
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
    fn put_some<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
        out.put(&[1]);
        self.put(out, cx)
    }

    /// Writes null.
    fn put_null<S: Sink>(out: &mut S, _: Context) {
        out.put(&[0xff]);
    }

    /// Reads a value or null.
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
