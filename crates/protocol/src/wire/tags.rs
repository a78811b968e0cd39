//! Tagged fields (KIP-482): the section at the end of each struct in a flexible version.

use std::fmt;

use super::{
    Decoder, Length, Sink,
    error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind},
    put_count, put_unsigned_varint,
};

/// Tagged fields that the version at hand does not know, kept so that they can be written again.
///
/// Empty, and one word long, unless the decoder was told to
/// [keep them](Decoder::keep_unknown_tags).
#[derive(Clone, Default, PartialEq, Eq)]
#[allow(clippy::box_collection)] // every struct of every message has one: one word instead of three
pub struct UnknownTags(Option<Box<Vec<UnknownTag>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct UnknownTag {
    number: u32,
    bytes: Box<[u8]>,
}

impl UnknownTags {
    /// No unknown tagged fields.
    pub const NONE: Self = Self(None);

    /// The kept fields in rising order: tag and bytes.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.as_slice().iter().map(|tag| (tag.number, &*tag.bytes))
    }

    /// How many were kept.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether none were kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Writes them between the known ones.
    pub fn writer(&self) -> TagWriter<'_> {
        TagWriter { rest: self.as_slice() }
    }

    /// A version without tagged fields cannot carry them.
    ///
    /// # Errors
    /// There are some.
    pub fn refuse_if_any(&self, message: &'static str, version: i16) -> Result<(), EncodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(EncodeError::not_in_version(message, "unknown_tags", version))
        }
    }

    fn as_slice(&self) -> &[UnknownTag] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl fmt::Debug for UnknownTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Writes unknown tagged fields in their places between the known ones.
pub struct TagWriter<'t> {
    rest: &'t [UnknownTag],
}

impl TagWriter<'_> {
    /// How many are left to write.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether all have been written.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Writes those below a known tag.
    ///
    /// # Errors
    /// The version knows one of them: its bytes were read in another one.
    pub fn put_below<S: Sink>(
        &mut self,
        known: u32,
        out: &mut S,
        message: &'static str,
    ) -> Result<(), EncodeError> {
        while let Some((first, rest)) = self.rest.split_first().filter(|(first, _)| first.number <= known) {
            if first.number == known {
                return Err(EncodeError::from(EncodeErrorKind::TagIsKnown { tag: known })
                    .within(message, "unknown_tags"));
            }
            first.put(out);
            self.rest = rest;
        }
        Ok(())
    }

    /// Writes those above all known tags.
    pub fn put_rest<S: Sink>(self, out: &mut S) {
        self.rest.iter().for_each(|tag| tag.put(out));
    }
}

impl UnknownTag {
    fn put<S: Sink>(&self, out: &mut S) {
        put_unsigned_varint(out, self.number);
        // the bytes came from a size of 32 bits
        put_unsigned_varint(out, self.bytes.len() as u32);
        out.put(&self.bytes);
    }
}

/// Writes the tag and the size before a tagged field's value.
///
/// # Errors
/// A value above 4 GiB.
pub fn put_tag<S: Sink>(out: &mut S, number: u32, value: Length) -> Result<(), EncodeError> {
    put_unsigned_varint(out, number);
    put_count(out, value.total())
}

/// Reads a tagged section, one field after the other: `open`, then the value, then `close`.
pub struct TagReader<'a> {
    left: u32,
    last: Option<u32>,
    /// What lies behind the open field, and behind that.
    outer: (&'a [u8], usize),
}

impl<'a> TagReader<'a> {
    /// Reads the number of fields.
    ///
    /// # Errors
    /// No number, or one of more fields than can lie in the bytes that are left.
    pub fn start(input: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let left = input.unsigned_varint()?;
        // each has a tag and a size
        if (left as usize).saturating_mul(2) > input.remaining() {
            return Err(input.error(DecodeErrorKind::CountBeyondInput { count: left as usize }));
        }
        Ok(Self { left, last: None, outer: (&[], 0) })
    }

    /// The next field's tag; its value is all that the decoder sees until `close`.
    ///
    /// # Errors
    /// The bytes end, or the tag is not above the last one.
    pub fn open(&mut self, input: &mut Decoder<'a>) -> Result<Option<u32>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let tag = input.unsigned_varint()?;
        if self.last.is_some_and(|last| tag <= last) {
            return Err(input.error(DecodeErrorKind::TagNotRising { tag }));
        }
        self.last = Some(tag);
        let size = input.unsigned_varint()? as usize;
        let behind = input.behind();
        self.outer = (input.open(size)?, behind);
        Ok(Some(tag))
    }

    /// Ends the field. Its value must have had the size that it said.
    ///
    /// # Errors
    /// The value was shorter than that.
    pub fn close(&mut self, input: &mut Decoder<'a>) -> Result<(), DecodeError> {
        let (outer, behind) = self.outer;
        input.close(outer, behind)
    }

    /// Passes over the open field.
    pub fn skip(&self, input: &mut Decoder<'a>) {
        // what is left is always there to be taken
        let _ = input.take(input.remaining());
    }

    /// Passes over the open field, and keeps it if the decoder was told to.
    ///
    /// # Errors
    /// What is kept would take more memory than the decoder allows.
    pub fn keep(&self, input: &mut Decoder<'a>, kept: &mut UnknownTags) -> Result<(), DecodeError> {
        if !input.keeps_unknown_tags() {
            self.skip(input);
            return Ok(());
        }
        let Some(number) = self.last else { unreachable!("a tagged field is open: it has a number") };
        if kept.0.is_none() {
            input.pay(size_of::<Vec<UnknownTag>>())?;
            // room for this field and all that follow, so that the vector never grows beyond what was paid
            let tags = input.vec_for(self.left as usize + 1)?;
            kept.0 = Some(Box::new(tags));
        }
        let bytes = input.take(input.remaining())?;
        input.pay(bytes.len())?;
        if let Some(tags) = &mut kept.0 {
            tags.push(UnknownTag { number, bytes: bytes.into() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoder;

    fn kept(numbers: &[u32]) -> UnknownTags {
        let tags = numbers.iter().map(|&number| UnknownTag { number, bytes: [number as u8].into() });
        UnknownTags(Some(Box::new(tags.collect())))
    }

    #[test]
    fn kept_fields_are_counted_and_shown() {
        assert_eq!((UnknownTags::NONE.len(), UnknownTags::NONE.is_empty()), (0, true));
        assert!(UnknownTags::NONE.writer().is_empty());
        assert_eq!(UnknownTags::NONE.refuse_if_any("M", 0), Ok(()));
        let tags = kept(&[3, 8]);
        assert_eq!((tags.len(), tags.is_empty()), (2, false));
        assert_eq!(tags.iter().collect::<Vec<_>>(), [(3, &[3][..]), (8, &[8])]);
        assert_eq!(format!("{tags:?}"), "{3: [3], 8: [8]}");
        let refused = tags.refuse_if_any("M", 0).expect_err("version 0 cannot carry them");
        assert_eq!(refused, EncodeError::not_in_version("M", "unknown_tags", 0));
    }

    #[test]
    fn kept_fields_go_below_and_above_the_known_ones() {
        let tags = kept(&[3, 8, 300]);
        let (mut out, mut writer) = (Encoder::new(), tags.writer());
        assert_eq!((writer.len(), writer.is_empty()), (3, false));
        assert_eq!(writer.put_below(0, &mut out, "M"), Ok(()));
        assert_eq!((writer.len(), out.len()), (3, 0));
        assert_eq!(writer.put_below(7, &mut out, "M"), Ok(()));
        assert_eq!((writer.len(), out.bytes()), (2, &[3, 1, 3][..]));
        let error = writer.put_below(8, &mut out, "M").expect_err("8 is known");
        assert_eq!(error.kind(), &EncodeErrorKind::TagIsKnown { tag: 8 });
        writer.put_rest(&mut out);
        assert_eq!(out.bytes(), [3, 1, 3, 8, 1, 8, 0xac, 2, 1, 44]);
    }

    #[test]
    fn a_field_that_nobody_knows_is_passed_over() {
        let bytes = [3, 0, 2, 9, 9, 1, 0, 5, 1, 7, 0xaa];
        let mut input = Decoder::new(&bytes);
        let mut section = TagReader::start(&mut input).expect("three fields");
        let mut tags = UnknownTags::NONE;
        assert_eq!(section.open(&mut input), Ok(Some(0)));
        section.skip(&mut input);
        assert_eq!((input.remaining(), input.position()), (0, 5));
        assert_eq!(section.close(&mut input), Ok(()));
        assert_eq!(section.open(&mut input), Ok(Some(1)));
        assert_eq!(section.keep(&mut input, &mut tags), Ok(()));
        assert_eq!(section.close(&mut input), Ok(()));
        assert_eq!(section.open(&mut input), Ok(Some(5)));
        assert_eq!(section.keep(&mut input, &mut tags), Ok(()));
        assert_eq!(section.close(&mut input), Ok(()));
        assert_eq!(section.open(&mut input), Ok(None));
        assert_eq!((input.rest(), tags), (&[0xaa][..], UnknownTags::NONE));
    }

    #[test]
    fn a_section_announces_no_more_fields_than_the_input_can_hold() {
        // CON-9: each takes two bytes
        assert!(TagReader::start(&mut Decoder::new(&[2, 0, 0, 1, 0])).is_ok());
        let error =
            TagReader::start(&mut Decoder::new(&[2, 0, 0, 1])).err().expect("three bytes for two fields");
        assert_eq!(error.kind(), &DecodeErrorKind::CountBeyondInput { count: 2 });
    }

    #[test]
    fn kept_fields_are_paid_for_with_all_that_they_take() {
        // CON-9
        let bytes = [2, 0, 2, 9, 9, 1, 3, 7, 7, 7];
        let needed = size_of::<Vec<UnknownTag>>() + 2 * size_of::<UnknownTag>() + 5;
        for (budget, enough) in [(needed, true), (needed - 1, false)] {
            let mut input = Decoder::new(&bytes).keep_unknown_tags(true).with_budget(budget);
            let mut section = TagReader::start(&mut input).expect("two fields");
            let mut tags = UnknownTags::NONE;
            let mut read = || {
                while section.open(&mut input)?.is_some() {
                    section.keep(&mut input, &mut tags)?;
                    section.close(&mut input)?;
                }
                Ok::<_, DecodeError>(input.budget())
            };
            assert_eq!(read().ok(), enough.then_some(0));
            assert_eq!(tags.len(), if enough { 2 } else { 1 });
        }
    }
}
