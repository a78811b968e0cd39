//! zstd (RFC 8878), by the C library (feature `zstd`) or in Rust alone (feature `zstd-rust`); with both, the C library is used.
//!
//! Writes one frame without content size, as Kafka does. Before a frame is read its headers are walked: the window must be one that
//! Kafka's reader takes, and the blocks bound what can come out, so that room for the output is taken once and never in vain.

#[cfg(not(any(feature = "zstd", feature = "zstd-rust")))]
pub(super) use absent::{Writer, read};
#[cfg(all(feature = "zstd-rust", not(feature = "zstd")))]
pub(super) use in_rust::{Writer, read};
#[cfg(feature = "zstd")]
pub(super) use with_c::{Writer, read};

/// The Cargo feature that writing at `level` needs and this build lacks.
pub(super) fn missing_feature(level: Option<i32>) -> Option<&'static str> {
    if cfg!(feature = "zstd") || (cfg!(feature = "zstd-rust") && level.is_none()) {
        None
    } else {
        Some("zstd")
    }
}

#[cfg(feature = "zstd")]
mod with_c {
    use std::cell::RefCell;

    use zstd::bulk::Decompressor;
    use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

    use super::super::{Fault, Sink};
    use super::frames;

    pub(in super::super) struct Writer {
        encoder: Option<(i32, Encoder<'static>)>,
    }

    impl Writer {
        pub(in super::super) const fn new() -> Self {
            Writer { encoder: None }
        }

        pub(in super::super) fn write(
            &mut self,
            level: Option<i32>,
            input: &mut dyn Iterator<Item = &[u8]>,
            sink: &mut Sink<'_>,
        ) -> Result<bool, String> {
            let written = self.try_write(level.unwrap_or(3), input, sink);
            if !matches!(written, Ok(true)) {
                // an encoder that stopped within a frame is not worth repairing
                self.encoder = None;
            }
            written.map_err(|error| error.to_string())
        }

        fn try_write(
            &mut self,
            level: i32,
            input: &mut dyn Iterator<Item = &[u8]>,
            sink: &mut Sink<'_>,
        ) -> std::io::Result<bool> {
            let encoder = match &mut self.encoder {
                Some((of, encoder)) => {
                    encoder.reinit()?;
                    if *of != level {
                        encoder.set_parameter(CParameter::CompressionLevel(level))?;
                        *of = level;
                    }
                    encoder
                }
                slot => {
                    let mut encoder = Encoder::new(level)?;
                    encoder.set_parameter(CParameter::ContentSizeFlag(false))?;
                    &mut slot.insert((level, encoder)).1
                }
            };
            // the size stays out of the frame, but the library fits its tables to it: a batch of 16 KiB needs none for 2 MiB
            let pieces: Vec<&[u8]> = input.collect();
            encoder.set_pledged_src_size(Some(pieces.iter().map(|piece| piece.len() as u64).sum()))?;
            for piece in pieces {
                let mut plain = InBuffer::around(piece);
                while plain.pos() < piece.len() {
                    if !sink.make_room() {
                        return Ok(false);
                    }
                    let at = sink.out.len();
                    encoder.run(&mut plain, &mut OutBuffer::around_pos(sink.out, at))?;
                }
            }
            loop {
                if !sink.make_room() {
                    return Ok(false);
                }
                let at = sink.out.len();
                if encoder.finish(&mut OutBuffer::around_pos(sink.out, at), true)? == 0 {
                    return Ok(true);
                }
            }
        }
    }

    thread_local! {
        /// A context takes about 160 KiB, too much to make one per batch.
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }

    pub(in super::super) fn read(input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
        let bound = frames::bound(input, limit)?;
        let room = bound.min(limit);
        out.reserve_exact(room);
        let offered = out.capacity();
        let kept = DECOMPRESSOR.try_with(|slot| match &mut *slot.borrow_mut() {
            Some(decompressor) => decompressor.decompress_to_buffer(input, out),
            slot => slot.insert(Decompressor::new()?).decompress_to_buffer(input, out),
        });
        // a thread that is ending keeps nothing any more
        let result = kept.unwrap_or_else(|_| Decompressor::new()?.decompress_to_buffer(input, out));
        match result {
            Ok(_) => Ok(()),
            Err(error) if offered < bound && error.to_string().contains("buffer is too small") => {
                Err(Fault::TooLarge)
            }
            Err(error) => Err(Fault::Corrupt(error.to_string().into())),
        }
    }
}

#[cfg(all(feature = "zstd-rust", not(feature = "zstd")))]
mod in_rust {
    use std::io::{self, Read, Write};

    use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
    use ruzstd::encoding::{CompressionLevel, FrameCompressor};

    use super::super::{Fault, Sink, grow};
    use super::frames;

    /// The library has one level; its state is made anew for each frame.
    pub(in super::super) struct Writer;

    impl Writer {
        pub(in super::super) const fn new() -> Self {
            Writer
        }

        pub(in super::super) fn write(
            &mut self,
            _level: Option<i32>,
            input: &mut dyn Iterator<Item = &[u8]>,
            sink: &mut Sink<'_>,
        ) -> Result<bool, String> {
            let mut full = false;
            let mut compressor = FrameCompressor::new(CompressionLevel::Fastest);
            compressor.set_source(Pieces { input, piece: &[] });
            compressor.set_drain(Drain { sink, full: &mut full });
            compressor.compress();
            drop(compressor);
            Ok(!full)
        }
    }

    struct Pieces<'i, 'a> {
        input: &'i mut dyn Iterator<Item = &'a [u8]>,
        piece: &'a [u8],
    }

    impl Read for Pieces<'_, '_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            while self.piece.is_empty() {
                match self.input.next() {
                    Some(piece) => self.piece = piece,
                    None => return Ok(0),
                }
            }
            self.piece.read(into)
        }
    }

    /// Takes everything, keeps what fits: the library panics when a drain refuses.
    struct Drain<'d, 's> {
        sink: &'d mut Sink<'s>,
        full: &'d mut bool,
    }

    impl Write for Drain<'_, '_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            *self.full |= !self.sink.push(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(in super::super) fn read(input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
        frames::bound(input, limit)?;
        let mut rest = input;
        // one decoder for all frames: making one costs more than reading a small frame
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(frames::WINDOW_MAX);
        while !rest.is_empty() {
            // what a frame with a large window decodes stays in the decoder; but nothing that is allowed out refers further back than
            // the limit, so a window of that size does
            let (head, tail) = frames::with_smaller_window(rest, limit);
            let mut source = head.as_slice().chain(tail);
            match decoder.init(&mut source) {
                Ok(()) => rest = source.into_inner().1,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    rest = source
                        .into_inner()
                        .1
                        .get(length as usize..)
                        .ok_or(Fault::corrupt("a frame is cut short"))?;
                    continue;
                }
                Err(error) => return Err(corrupt(&error)),
            }
            while !decoder.is_finished() {
                decoder
                    .decode_blocks(&mut rest, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|error| corrupt(&error))?;
                let ready = decoder.can_collect();
                if ready > limit - out.len() {
                    return Err(Fault::TooLarge);
                }
                let start = out.len();
                grow(out, ready, limit);
                out.resize(start + ready, 0);
                decoder.read_exact(&mut out[start..]).map_err(|error| corrupt(&error))?;
            }
            if decoder
                .get_checksum_from_data()
                .is_some_and(|stated| Some(stated) != decoder.get_calculated_checksum())
            {
                return Err(Fault::corrupt("the content's checksum is wrong"));
            }
        }
        Ok(())
    }

    fn corrupt(error: &dyn std::error::Error) -> Fault {
        Fault::Corrupt(error.to_string().into())
    }
}

#[cfg(not(any(feature = "zstd", feature = "zstd-rust")))]
mod absent {
    use super::super::{Fault, Sink};

    /// [`Compression::new`](crate::Compression::new) refuses zstd in this build, so none is ever made.
    pub(in super::super) struct Writer;

    impl Writer {
        pub(in super::super) const fn new() -> Self {
            Writer
        }

        pub(in super::super) fn write(
            &mut self,
            _level: Option<i32>,
            _input: &mut dyn Iterator<Item = &[u8]>,
            _sink: &mut Sink<'_>,
        ) -> Result<bool, String> {
            Err("this build has neither the feature `zstd` nor `zstd-rust`".to_owned())
        }
    }

    pub(in super::super) fn read(_input: &[u8], _out: &mut Vec<u8>, _limit: usize) -> Result<(), Fault> {
        Err(Fault::Feature("zstd"))
    }
}

#[cfg(any(feature = "zstd", feature = "zstd-rust"))]
mod frames {
    use super::super::Fault;

    const MAGIC: u32 = 0xfd2f_b528;
    const SKIPPABLE: u32 = 0x184d_2a50;
    const SKIPPABLE_MASK: u32 = 0xffff_fff0;
    /// Kafka's reader takes no larger window (128 MiB).
    pub(super) const WINDOW_MAX: u64 = 1 << 27;
    const BLOCK_LEN_MAX: u64 = 128 * 1024;
    const CUT: Fault = Fault::corrupt("a frame is cut short");

    /// The most bytes that can come out of `input`, by the headers of its frames and blocks.
    ///
    /// [`Fault::TooLarge`] if it is certain to be more than `limit`.
    pub(super) fn bound(input: &[u8], limit: usize) -> Result<usize, Fault> {
        let (mut bound, mut certain) = (0u64, 0u64);
        let mut rest = input;
        while !rest.is_empty() {
            let magic = u32::from_le_bytes(take(&mut rest)?);
            if magic & SKIPPABLE_MASK == SKIPPABLE {
                let len = u32::from_le_bytes(take(&mut rest)?);
                rest = rest.get(len as usize..).ok_or(CUT)?;
            } else if magic == MAGIC {
                let frame = walk(&mut rest)?;
                bound = bound.saturating_add(frame.bound);
                certain = certain.saturating_add(frame.certain);
            } else {
                return Err(Fault::corrupt("no frame begins here"));
            }
            if certain > limit as u64 {
                return Err(Fault::TooLarge);
            }
        }
        Ok(usize::try_from(bound).unwrap_or(usize::MAX))
    }

    struct Walked {
        bound: u64,
        certain: u64,
    }

    /// One frame, after its magic number.
    fn walk(rest: &mut &[u8]) -> Result<Walked, Fault> {
        let [descriptor] = take(rest)?;
        let single_segment = descriptor & 0x20 != 0;
        if descriptor & 0x08 != 0 {
            return Err(Fault::corrupt("a reserved bit is set"));
        }
        let mut window = 0;
        if !single_segment {
            let [byte] = take(rest)?;
            let base = 1u64 << (10 + (byte >> 3));
            window = base + base / 8 * u64::from(byte & 7);
        }
        let dictionary = match descriptor & 3 {
            0 => 0,
            1 => u32::from(take::<1>(rest)?[0]),
            2 => u32::from(u16::from_le_bytes(take(rest)?)),
            _ => u32::from_le_bytes(take(rest)?),
        };
        if dictionary != 0 {
            return Err(Fault::corrupt("the frame needs a dictionary"));
        }
        let content_size = match (descriptor >> 6, single_segment) {
            (0, false) => None,
            (0, true) => Some(u64::from(take::<1>(rest)?[0])),
            (1, _) => Some(u64::from(u16::from_le_bytes(take(rest)?)) + 256),
            (2, _) => Some(u64::from(u32::from_le_bytes(take(rest)?))),
            _ => Some(u64::from_le_bytes(take(rest)?)),
        };
        if single_segment {
            window = content_size.unwrap_or(0);
        }
        if window > WINDOW_MAX {
            return Err(Fault::corrupt("the frame needs a window of more than 128 MiB"));
        }
        let block_len_max = window.min(BLOCK_LEN_MAX);
        let (mut bound, mut certain) = (0u64, 0u64);
        loop {
            let [a, b, c] = take(rest)?;
            let header = u32::from_le_bytes([a, b, c, 0]);
            let size = header >> 3;
            if u64::from(size) > block_len_max {
                return Err(Fault::corrupt("a block is larger than the frame allows"));
            }
            let stored = match header >> 1 & 3 {
                // stored, repeated, compressed
                0 => {
                    certain += u64::from(size);
                    bound += u64::from(size);
                    size as usize
                }
                1 => {
                    certain += u64::from(size);
                    bound += u64::from(size);
                    1
                }
                2 => {
                    bound += block_len_max;
                    size as usize
                }
                _ => return Err(Fault::corrupt("a block has a reserved type")),
            };
            *rest = rest.get(stored..).ok_or(CUT)?;
            if header & 1 != 0 {
                break;
            }
        }
        if descriptor & 0x04 != 0 {
            take::<4>(rest)?;
        }
        match content_size {
            Some(size) if size > bound => {
                Err(Fault::corrupt("the frame states more bytes than its blocks hold"))
            }
            // what the frame states is what the libraries hold it to
            Some(size) => Ok(Walked { bound: size, certain: size }),
            None => Ok(Walked { bound, certain }),
        }
    }

    /// The header of the frame at the start of `input` with a window of about `limit` bytes, if it states a larger one, and what follows.
    #[cfg(not(feature = "zstd"))]
    pub(super) fn with_smaller_window(input: &[u8], limit: usize) -> (Vec<u8>, &[u8]) {
        // magic, descriptor, window
        let (head, tail) = input.split_at(input.len().min(6));
        let mut head = head.to_vec();
        let is_frame = head.len() == 6 && head[..4] == MAGIC.to_le_bytes();
        if is_frame && head[4] & 0x20 == 0 {
            let enough = (limit as u64).clamp(BLOCK_LEN_MAX, WINDOW_MAX).next_power_of_two();
            let exponent = (enough.trailing_zeros() - 10) as u8;
            if head[5] > exponent << 3 {
                head[5] = exponent << 3;
            }
        }
        (head, tail)
    }

    fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Fault> {
        let (bytes, after) = rest.split_first_chunk::<N>().ok_or(CUT)?;
        *rest = after;
        Ok(*bytes)
    }
}
