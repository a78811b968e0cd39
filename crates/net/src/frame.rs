//! Frames out of a stream of bytes: a 4-byte size, then as many bytes (CON-9).
//!
//! The reader owns one buffer that is filled straight from the socket. A whole frame leaves it as [`Bytes`] that share the
//! buffer: nothing is copied. The buffer grows with the bytes that really came, at most to the size of the frame under way.

use bytes::{Buf as _, Bytes, BytesMut};
use rohrpost_protocol::frame::{FrameError, SIZE_LEN, size_of_frame};

/// Room offered to one read. Produce responses are some 60 bytes; fetches grow the buffer by their frames.
const READ_LEN: usize = 16 * 1024;
/// A read is not worth a system call with less room than this, unless a shorter rest completes the frame under way.
const READ_LEN_MIN: usize = 1024;
/// After a frame longer than this the buffer is given up instead of kept for the next one.
const KEEP_LEN: usize = 256 * 1024;

/// Collects bytes and gives out whole frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    /// All of it is initialized; `filled` bytes at its front came from the peer.
    buffer: BytesMut,
    filled: usize,
    max_frame_len: usize,
    /// The length of the last whole frame: what this peer has shown that it sends.
    last_frame_len: usize,
}

impl FrameReader {
    /// A reader that refuses frames longer than `max_frame_len` bytes.
    pub(crate) fn new(max_frame_len: usize) -> Self {
        Self { buffer: BytesMut::new(), filled: 0, max_frame_len, last_frame_len: 0 }
    }

    /// Room for the next read, never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.buffer.len() - self.filled < self.wanted() {
            self.grow();
        }
        &mut self.buffer[self.filled..]
    }

    /// `n` bytes were read into [`space`](Self::space).
    pub(crate) fn advance(&mut self, n: usize) {
        assert!(n <= self.buffer.len() - self.filled, "a read returned more bytes than it had room for");
        self.filled += n;
    }

    /// The next whole frame without its size, or none if more bytes are needed.
    ///
    /// CON-9: a size below 1 or above the limit is an error.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(size) = self.size()? else { return Ok(None) };
        let total = SIZE_LEN + size;
        if self.filled < total {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(total).freeze();
        frame.advance(SIZE_LEN);
        self.filled -= total;
        self.last_frame_len = total;
        if self.filled == 0 && total > KEEP_LEN {
            self.buffer = BytesMut::new();
        }
        Ok(Some(frame))
    }

    /// The size of the frame under way, once its four bytes are there.
    fn size(&self) -> Result<Option<usize>, FrameError> {
        let bytes = self.buffer[..self.filled].first_chunk::<SIZE_LEN>();
        bytes.map(|bytes| size_of_frame(*bytes, self.max_frame_len)).transpose()
    }

    /// The least room for a read.
    fn wanted(&self) -> usize {
        match self.size() {
            Ok(Some(size)) => (SIZE_LEN + size).saturating_sub(self.filled).clamp(1, READ_LEN_MIN),
            _ => READ_LEN_MIN,
        }
    }

    /// CON-9: at most as much room again as bytes have come, or as the frame before had, so that a size alone takes no memory.
    fn grow(&mut self) {
        let whole = match self.size() {
            Ok(Some(size)) => SIZE_LEN + size,
            _ => 0,
        };
        let len = whole.min(self.last_frame_len.max(2 * self.filled)).max(self.filled + READ_LEN);
        // Cutting first keeps a reallocation from copying bytes that never came.
        self.buffer.truncate(self.filled);
        self.buffer.resize(len, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as i32).to_be_bytes(), body].concat()
    }

    fn feed(reader: &mut FrameReader, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = reader.space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            reader.advance(n);
            bytes = &bytes[n..];
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_before_memory_is_taken() {
        // CON-9
        for size in [-1, i32::MIN, 0, 101, i32::MAX] {
            let mut reader = FrameReader::new(100);
            feed(&mut reader, &size.to_be_bytes());
            assert!(reader.next_frame().is_err(), "{size}");
            assert!(reader.buffer.capacity() <= 2 * READ_LEN);
        }
        let mut reader = FrameReader::new(100);
        feed(&mut reader, &frame(&[7; 100]));
        assert_eq!(reader.next_frame().unwrap().unwrap().len(), 100);
    }

    #[test]
    fn a_size_alone_takes_no_memory() {
        // CON-9
        let mut reader = FrameReader::new(1 << 30);
        feed(&mut reader, &(1_i32 << 30).to_be_bytes());
        for _ in 0..10 {
            let before = reader.filled;
            feed(&mut reader, &[1; 5000]);
            assert_eq!(reader.filled, before + 5000);
            assert!(reader.space().len() <= reader.filled + READ_LEN);
            assert!(reader.buffer.len() <= 2 * reader.filled + READ_LEN);
        }
        assert_eq!(reader.next_frame(), Ok(None));
    }

    #[test]
    fn a_whole_frame_shares_the_buffer_it_was_read_into() {
        let mut reader = FrameReader::new(100);
        let space = reader.space();
        space[..8].copy_from_slice(&[0, 0, 0, 4, 1, 2, 3, 4]);
        let read_to = space[4..].as_ptr();
        reader.advance(8);
        let body = reader.next_frame().unwrap().unwrap();
        assert_eq!(&body[..], [1, 2, 3, 4]);
        assert_eq!(body.as_ptr(), read_to);
    }

    #[test]
    fn the_buffer_of_a_large_frame_is_given_up() {
        let mut reader = FrameReader::new(1 << 20);
        feed(&mut reader, &frame(&vec![1; 1 << 20]));
        assert_eq!(reader.next_frame().unwrap().unwrap().len(), 1 << 20);
        assert!(reader.space().len() <= 2 * READ_LEN);
        assert!(reader.buffer.capacity() <= 2 * READ_LEN);
    }

    /// The buffer's length after each read of as much as there is room for.
    fn lens_while_reading(reader: &mut FrameReader, mut bytes: &[u8]) -> Vec<usize> {
        let mut lens = Vec::new();
        while !bytes.is_empty() {
            let n = reader.space().len().min(bytes.len());
            feed(reader, &bytes[..n]);
            lens.push(reader.buffer.len());
            bytes = &bytes[n..];
        }
        lens
    }

    #[test]
    fn the_buffer_doubles_until_it_holds_the_frame_and_remembers_the_frame_before() {
        // CON-9
        let mut reader = FrameReader::new(1 << 20);
        let bytes = frame(&vec![1; 99_996]);
        assert_eq!(lens_while_reading(&mut reader, &bytes), [16_384, 32_768, 65_536, 100_000]);
        assert_eq!(reader.next_frame().unwrap().unwrap().len(), 99_996);
        assert_eq!(lens_while_reading(&mut reader, &bytes), [16_384, 100_000]);
    }

    #[test]
    fn the_buffer_grows_when_too_little_room_is_left_for_a_read() {
        let room_left = |frame_len: usize, filled: usize| {
            let mut reader = FrameReader::new(1 << 20);
            feed(&mut reader, &frame(&vec![1; frame_len - SIZE_LEN])[..filled]);
            assert_eq!(reader.buffer.len(), READ_LEN);
            reader.space().len()
        };
        // enough for one more read, and a byte less
        assert_eq!(room_left(100_000, READ_LEN - READ_LEN_MIN), READ_LEN_MIN);
        assert!(room_left(100_000, READ_LEN - READ_LEN_MIN + 1) >= READ_LEN - 1);
        // little, and all that the frame still takes; a byte less than that
        assert_eq!(room_left(READ_LEN, READ_LEN - 10), 10);
        assert_eq!(room_left(READ_LEN + 1, READ_LEN - 10), READ_LEN);
    }

    #[test]
    fn the_buffer_of_a_small_frame_is_kept_and_so_is_what_follows_a_large_one() {
        let mut reader = FrameReader::new(1 << 20);
        feed(&mut reader, &frame(&[7; 100]));
        assert!(reader.next_frame().unwrap().is_some());
        assert_eq!(reader.buffer.len(), READ_LEN - 104);
        let large = frame(&vec![1; KEEP_LEN]);
        feed(&mut reader, &[&large[..], &frame(b"next")].concat());
        assert_eq!(reader.next_frame().unwrap().unwrap().len(), KEEP_LEN);
        assert_eq!(&reader.next_frame().unwrap().unwrap()[..], b"next");
        // just as long as is kept, with a buffer beyond it
        let mut reader = FrameReader::new(1 << 20);
        let bytes = frame(&vec![1; KEEP_LEN - SIZE_LEN]);
        let mut from = 0;
        for to in [KEEP_LEN / 2 - 1000, KEEP_LEN - 2500, KEEP_LEN] {
            feed(&mut reader, &bytes[from..to]);
            from = to;
        }
        let beyond = reader.buffer.len() - KEEP_LEN;
        assert!(beyond > 0);
        assert!(reader.next_frame().unwrap().is_some());
        assert_eq!(reader.buffer.len(), beyond);
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_frames(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 4..200), 0..20),
            cuts in prop::collection::vec(1_usize..300, 0..60),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|b| frame(b)).collect();
            let mut reader = FrameReader::new(200);
            let mut frames = Vec::new();
            let mut rest = &stream[..];
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() {
                let n = cuts.next().unwrap_or(usize::MAX).min(rest.len());
                feed(&mut reader, &rest[..n]);
                rest = &rest[n..];
                while let Some(frame) = reader.next_frame().unwrap() {
                    frames.push(frame.to_vec());
                }
            }
            prop_assert_eq!(frames, bodies);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_take_memory_in_proportion(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            // CON-9
            let mut reader = FrameReader::new(1 << 20);
            feed(&mut reader, &bytes);
            while let Ok(Some(_)) = reader.next_frame() {}
            prop_assert!(reader.buffer.capacity() <= 2 * bytes.len() + 2 * READ_LEN);
        }
    }
}
