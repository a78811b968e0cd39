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

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::wire::Encoder;

    const OLD: Context = Context { version: 0, flexible: false };
    const COMPACT: Context = Context { version: 9, flexible: true };

    fn written<'a, T: Wire<'a>>(value: &T, cx: Context) -> Vec<u8> {
        let mut out = Encoder::new();
        value.put(&mut out, cx).unwrap_or_else(|error| panic!("{error}"));
        out.into_parts().0
    }

    #[test]
    fn records_are_here_or_elsewhere() {
        let (here, elsewhere) = (Records::from(&b"abc"[..]), Records::Elsewhere { len: 5 });
        assert_eq!((here.len(), here.is_empty(), here.bytes()), (3, false, Some(&b"abc"[..])));
        assert_eq!((elsewhere.len(), elsewhere.is_empty(), elsewhere.bytes()), (5, false, None));
        assert!(Records::default().is_empty() && Records::Elsewhere { len: 0 }.is_empty());
        assert_eq!(written(&here, OLD), [0, 0, 0, 3, b'a', b'b', b'c']);
        assert_eq!(written(&elsewhere, COMPACT), [6], "its bytes are the caller's");
    }

    /// A value, its bytes, and those of null: in the old and in the compact encoding.
    fn assert_wire<T>(value: T, bytes: [&'static [u8]; 2], null: [&'static [u8]; 2])
    where
        T: Nullable<'static> + PartialEq + Debug,
    {
        let value = Some(value);
        for (cx, bytes, null) in [(OLD, bytes[0], null[0]), (COMPACT, bytes[1], null[1])] {
            let least = [T::min_len(cx), T::min_len_or_null(cx), <Option<T> as Wire>::min_len(cx)];
            assert_eq!(least, [null.len(); 3]);
            assert_eq!(written(&value, cx), bytes);
            assert_eq!(written(&None::<T>, cx), null);
            assert_eq!(Wire::take(&mut Decoder::new(bytes), cx).as_ref(), Ok(&value));
            assert_eq!(T::take(&mut Decoder::new(bytes), cx).ok(), value);
            assert_eq!(T::take_nullable(&mut Decoder::new(null), cx), Ok(None));
            let error = T::take(&mut Decoder::new(null), cx).expect_err("no null here");
            assert_eq!(error.kind(), &DecodeErrorKind::Null);
        }
    }

    #[test]
    fn null_is_neither_empty_nor_a_value_in_both_encodings() {
        let long_null: [&[u8]; 2] = [&[0xff; 4], &[0]];
        assert_wire("ab", [&[0, 2, b'a', b'b'], &[3, b'a', b'b']], [&[0xff; 2], &[0]]);
        assert_wire("", [&[0, 0], &[1]], [&[0xff; 2], &[0]]);
        assert_wire(&[7_u8][..], [&[0, 0, 0, 1, 7], &[2, 7]], long_null);
        assert_wire(&[][..], [&[0; 4], &[1]], long_null);
        assert_wire(Records::Bytes(&[7]), [&[0, 0, 0, 1, 7], &[2, 7]], long_null);
        assert_wire(vec![5_i16, -1], [&[0, 0, 0, 2, 0, 5, 0xff, 0xff], &[3, 0, 5, 0xff, 0xff]], long_null);
        assert_wire(Vec::<i16>::new(), [&[0; 4], &[1]], long_null);
        assert_wire(Box::from([true, false]), [&[0, 0, 0, 2, 1, 0], &[3, 1, 0]], long_null);
        let uuids = vec![Uuid([3; 16])];
        assert_wire(
            uuids,
            [
                &[0, 0, 0, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3],
                &[2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3],
            ],
            long_null,
        );
        assert_wire(vec![ErrorCode(35)], [&[0, 0, 0, 1, 0, 35], &[2, 0, 35]], long_null);
    }

    #[test]
    fn a_count_is_held_against_the_bytes_that_its_elements_take_at_least() {
        // CON-9: the first of each fits exactly, the second is a byte short
        fn check<T: Wire<'static> + Debug>(element: usize) {
            assert_eq!((T::min_len(OLD), T::min_len(COMPACT)), (element, element));
            let bytes: &'static [u8] = &[0; 40];
            let mut input = Decoder::new(&bytes[..2 * element]);
            assert_eq!(take_elements::<T>(&mut input, 2, OLD).map(|v| v.len()), Ok(2));
            assert_eq!(input.remaining(), 0);
            let mut short = Decoder::new(&bytes[..2 * element - 1]);
            let error = take_elements::<T>(&mut short, 2, OLD).expect_err("a byte is missing");
            assert_eq!(error.kind(), &DecodeErrorKind::CountBeyondInput { count: 2 });
        }
        check::<i8>(1);
        check::<i16>(2);
        check::<u16>(2);
        check::<i32>(4);
        check::<i64>(8);
        check::<f64>(8);
        check::<bool>(1);
        check::<Uuid>(16);
        check::<ErrorCode>(2);
    }

    #[test]
    fn a_string_that_is_not_utf_8_is_refused_where_it_begins() {
        let error = <&str>::take(&mut Decoder::new(&[0, 2, 0xc3, 0x28]), OLD).expect_err("no UTF-8");
        assert_eq!((error.kind(), error.offset()), (&DecodeErrorKind::NotUtf8, 2));
    }
}
