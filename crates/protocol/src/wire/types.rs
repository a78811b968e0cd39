//! The wire's own types: integers, strings, bytes, records, arrays.

use super::{
    Context, Decoder, LenWidth, Nullable, Sink, Wire,
    error::{DecodeError, DecodeErrorKind, EncodeError},
    min_len_len, put_len, put_null_len, take_len, take_len_not_null,
};
use crate::{ErrorCode, Uuid};

/// The record batches of one partition, opaque to the codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records<'a> {
    /// The bytes themselves. What a decoder gives.
    Bytes(&'a [u8]),
    /// Bytes that the caller sends itself, at a [`Gap`](super::Gap) of the encoded message: so a request or
    /// response goes out with one gathering write, and nobody copies a batch.
    Elsewhere {
        /// How many bytes the caller will put there.
        len: usize,
    },
}

impl<'a> Records<'a> {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Elsewhere { len } => *len,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they are here.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Elsewhere { .. } => None,
        }
    }
}

impl Default for Records<'_> {
    fn default() -> Self {
        Self::Bytes(&[])
    }
}

impl<'a> From<&'a [u8]> for Records<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

macro_rules! big_endian {
    ($($type:ty)*) => {$(
        impl<'a> Wire<'a> for $type {
            fn min_len(_: Context) -> usize {
                size_of::<Self>()
            }

            fn put<S: Sink>(&self, out: &mut S, _: Context) -> Result<(), EncodeError> {
                out.put(&self.to_be_bytes());
                Ok(())
            }

            fn take(input: &mut Decoder<'a>, _: Context) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(input.array()?))
            }

            fn take_many(input: &mut Decoder<'a>, count: usize, _: Context) -> Result<Vec<Self>, DecodeError> {
                let mut values = input.vec_for(count)?;
                let (chunks, _) = input.take(count.saturating_mul(size_of::<Self>()))?.as_chunks();
                values.extend(chunks.iter().map(|bytes| Self::from_be_bytes(*bytes)));
                Ok(values)
            }
        }
    )*};
}

big_endian!(i8 i16 i32 i64 u16 f64);

impl<'a> Wire<'a> for bool {
    fn min_len(_: Context) -> usize {
        1
    }

    fn put<S: Sink>(&self, out: &mut S, _: Context) -> Result<(), EncodeError> {
        out.put(&[u8::from(*self)]);
        Ok(())
    }

    fn take(input: &mut Decoder<'a>, _: Context) -> Result<Self, DecodeError> {
        let [byte] = input.array()?;
        Ok(byte != 0)
    }
}

impl<'a> Wire<'a> for Uuid {
    fn min_len(_: Context) -> usize {
        16
    }

    fn put<S: Sink>(&self, out: &mut S, _: Context) -> Result<(), EncodeError> {
        out.put(&self.0);
        Ok(())
    }

    fn take(input: &mut Decoder<'a>, _: Context) -> Result<Self, DecodeError> {
        input.array().map(Self)
    }
}

impl<'a> Wire<'a> for ErrorCode {
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

impl<'a> Wire<'a> for &'a str {
    fn min_len(cx: Context) -> usize {
        min_len_len(LenWidth::I16, cx)
    }

    fn put<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
        put_len(out, self.len(), LenWidth::I16, cx)?;
        out.put(self.as_bytes());
        Ok(())
    }

    fn take(input: &mut Decoder<'a>, cx: Context) -> Result<Self, DecodeError> {
        let len = take_len_not_null(input, LenWidth::I16, cx)?;
        take_text(input, len)
    }
}

impl<'a> Nullable<'a> for &'a str {
    fn min_len_or_null(cx: Context) -> usize {
        Self::min_len(cx)
    }

    fn put_some<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
        self.put(out, cx)
    }

    fn put_null<S: Sink>(out: &mut S, cx: Context) {
        put_null_len(out, LenWidth::I16, cx);
    }

    fn take_nullable(input: &mut Decoder<'a>, cx: Context) -> Result<Option<Self>, DecodeError> {
        take_len(input, LenWidth::I16, cx)?.map(|len| take_text(input, len)).transpose()
    }
}

fn take_text<'a>(input: &mut Decoder<'a>, len: usize) -> Result<&'a str, DecodeError> {
    let error = input.error(DecodeErrorKind::NotUtf8);
    str::from_utf8(input.take(len)?).map_err(|_| error)
}

impl<'a> Wire<'a> for &'a [u8] {
    fn min_len(cx: Context) -> usize {
        min_len_len(LenWidth::I32, cx)
    }

    fn put<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
        put_len(out, self.len(), LenWidth::I32, cx)?;
        out.put(self);
        Ok(())
    }

    fn take(input: &mut Decoder<'a>, cx: Context) -> Result<Self, DecodeError> {
        let len = take_len_not_null(input, LenWidth::I32, cx)?;
        input.take(len)
    }
}

impl<'a> Nullable<'a> for &'a [u8] {
    fn min_len_or_null(cx: Context) -> usize {
        Self::min_len(cx)
    }

    fn put_some<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
        self.put(out, cx)
    }

    fn put_null<S: Sink>(out: &mut S, cx: Context) {
        put_null_len(out, LenWidth::I32, cx);
    }

    fn take_nullable(input: &mut Decoder<'a>, cx: Context) -> Result<Option<Self>, DecodeError> {
        take_len(input, LenWidth::I32, cx)?.map(|len| input.take(len)).transpose()
    }
}

impl<'a> Wire<'a> for Records<'a> {
    fn min_len(cx: Context) -> usize {
        min_len_len(LenWidth::I32, cx)
    }

    fn put<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
        put_len(out, self.len(), LenWidth::I32, cx)?;
        match self {
            Self::Bytes(bytes) => out.put(bytes),
            Self::Elsewhere { len } => out.gap(*len),
        }
        Ok(())
    }

    fn take(input: &mut Decoder<'a>, cx: Context) -> Result<Self, DecodeError> {
        <&[u8]>::take(input, cx).map(Self::Bytes)
    }
}

impl<'a> Nullable<'a> for Records<'a> {
    fn min_len_or_null(cx: Context) -> usize {
        Self::min_len(cx)
    }

    fn put_some<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
        self.put(out, cx)
    }

    fn put_null<S: Sink>(out: &mut S, cx: Context) {
        put_null_len(out, LenWidth::I32, cx);
    }

    fn take_nullable(input: &mut Decoder<'a>, cx: Context) -> Result<Option<Self>, DecodeError> {
        Ok(<&[u8]>::take_nullable(input, cx)?.map(Self::Bytes))
    }
}

fn put_array<'a, T: Wire<'a>, S: Sink>(values: &[T], out: &mut S, cx: Context) -> Result<(), EncodeError> {
    put_len(out, values.len(), LenWidth::I32, cx)?;
    values.iter().try_for_each(|value| value.put(out, cx))
}

/// The elements of an array whose count has been read: first the count is held against the bytes that are left
/// (CON-9), then the budget pays for the memory, then it is taken.
fn take_elements<'a, T: Wire<'a>>(
    input: &mut Decoder<'a>,
    count: usize,
    cx: Context,
) -> Result<Vec<T>, DecodeError> {
    if count.saturating_mul(T::min_len(cx).max(1)) > input.remaining() {
        return Err(input.error(DecodeErrorKind::CountBeyondInput { count }));
    }
    T::take_many(input, count, cx)
}

macro_rules! array {
    ($type:ident => $array:ty, $from:expr) => {
        impl<'a, $type: Wire<'a>> Wire<'a> for $array {
            fn min_len(cx: Context) -> usize {
                min_len_len(LenWidth::I32, cx)
            }

            fn put<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
                put_array(self, out, cx)
            }

            fn take(input: &mut Decoder<'a>, cx: Context) -> Result<Self, DecodeError> {
                let count = take_len_not_null(input, LenWidth::I32, cx)?;
                take_elements(input, count, cx).map($from)
            }
        }

        impl<'a, $type: Wire<'a>> Nullable<'a> for $array {
            fn min_len_or_null(cx: Context) -> usize {
                min_len_len(LenWidth::I32, cx)
            }

            fn put_some<S: Sink>(&self, out: &mut S, cx: Context) -> Result<(), EncodeError> {
                put_array(self, out, cx)
            }

            fn put_null<S: Sink>(out: &mut S, cx: Context) {
                put_null_len(out, LenWidth::I32, cx);
            }

            fn take_nullable(input: &mut Decoder<'a>, cx: Context) -> Result<Option<Self>, DecodeError> {
                take_len(input, LenWidth::I32, cx)?
                    .map(|count| take_elements(input, count, cx).map($from))
                    .transpose()
            }
        }
    };
}

array!(T => Vec<T>, |values| values);
// two words instead of three: for arrays that stand in large numbers in one message
array!(T => Box<[T]>, Vec::into_boxed_slice);
