//! Bytes in, frames out: the reading half of a connection, without the socket.
//!
//! A frame is an int32 size and as many bytes. The size is judged before anything is allocated for it (N8), and the buffer
//! grows only as bytes really arrive, so a peer that declares 100 MiB and sends ten bytes costs ten bytes' worth.

use rohrpost_protocol::frame::{FrameError, SIZE_LEN, size_of_frame};

use super::memory::Charge;

/// The smallest buffer, and the most that is read before a frame's size is known.
const FIRST_READ: usize = 16 * 1024;
/// A buffer is grown to twice what has arrived, but at least to this, and never beyond the frame.
const GROW_AT_LEAST: usize = 64 * 1024;
/// A smaller buffer is kept while a connection is silent: it is not worth the copy.
const PARK_AT_LEAST: usize = 1024;

/// One whole frame in the buffer it was read into. A handler may change the bytes in place: that is how a batch gets its
/// offsets without a copy (L14).
#[derive(Debug, Default)]
pub(crate) struct Frame {
    buffer: Vec<u8>,
    len: usize,
    /// Its memory, if that is bounded (N7).
    _charge: Option<Charge>,
}

impl Frame {
    /// What follows the size field.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[SIZE_LEN..SIZE_LEN + self.len]
    }

    /// The same, to be changed in place.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[SIZE_LEN..SIZE_LEN + self.len]
    }

    /// A frame with this content.
    #[cfg(test)]
    pub(crate) fn of(body: &[u8]) -> Self {
        let buffer = [&[0; SIZE_LEN], body].concat();
        Self { buffer, len: body.len(), _charge: None }
    }

    /// Gives the buffer back for the next frame.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

/// Collects bytes into frames. Holds no buffer while no byte of a frame has arrived, and a small one while little has.
#[derive(Debug)]
pub(crate) struct FrameReader {
    /// Initialised bytes; the first `filled` came from the peer.
    buffer: Vec<u8>,
    filled: usize,
    max: usize,
    /// The memory of the frame that is being read (N7).
    charge: Option<Charge>,
}

impl FrameReader {
    /// `max` is `socket.request.max.bytes`.
    pub(crate) fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), filled: 0, max, charge: None }
    }

    /// True if bytes of an unfinished frame have arrived.
    pub(crate) fn is_inside_frame(&self) -> bool {
        self.filled > 0
    }

    /// The size of the frame that is being read, if it is known and not charged yet (N7).
    ///
    /// # Errors
    /// The size field is out of bounds.
    pub(super) fn uncharged(&self) -> Result<Option<usize>, FrameError> {
        if self.charge.is_some() { Ok(None) } else { self.size() }
    }

    /// Says whose memory the frame takes.
    pub(super) fn set_charge(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }

    /// True if it has no room to read into.
    pub(crate) fn needs_buffer(&self) -> bool {
        self.buffer.len() == self.filled
    }

    /// Lends it a used buffer, so that nothing is allocated or zeroed again.
    pub(crate) fn lend(&mut self, mut buffer: Vec<u8>) {
        if self.needs_buffer() && buffer.len() > self.filled {
            buffer[..self.filled].copy_from_slice(&self.buffer);
            self.buffer = buffer;
        }
    }

    /// Called when nothing more is there to be read: gives the buffer back, if hardly anything lies in it. So a peer that
    /// sends a byte now and then costs bytes, not buffers, however many such peers there are.
    pub(crate) fn park(&mut self) -> Option<Vec<u8>> {
        if self.buffer.len() < PARK_AT_LEAST || self.buffer.len() / 4 < self.filled {
            return None;
        }
        let small = self.buffer[..self.filled].to_vec();
        Some(std::mem::replace(&mut self.buffer, small))
    }

    /// Where the next bytes go; never empty, and hardly more than what the frame still lacks, so that little of the
    /// following frame has to be moved.
    ///
    /// # Errors
    /// The size field is out of bounds.
    pub(crate) fn spare(&mut self) -> Result<&mut [u8], FrameError> {
        let end = match self.size()? {
            None => FIRST_READ,
            Some(len) => {
                // N8: not what the peer declares, but what it has sent, decides how much is allocated.
                let room = self.buffer.len().max((2 * self.filled).max(GROW_AT_LEAST));
                (SIZE_LEN + len).min(room).max(self.filled + 1)
            }
        };
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        Ok(&mut self.buffer[self.filled..end])
    }

    /// Says that `count` bytes were read into [`FrameReader::spare`].
    pub(crate) fn advance(&mut self, count: usize) {
        self.filled += count;
        assert!(self.filled <= self.buffer.len(), "more bytes read than there was room for");
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// The size field is out of bounds.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(len) = self.size()? else { return Ok(None) };
        let end = SIZE_LEN + len;
        if self.filled < end {
            return Ok(None);
        }
        let rest = self.buffer[end..self.filled].to_vec();
        let buffer = std::mem::replace(&mut self.buffer, rest);
        self.filled = self.buffer.len();
        Ok(Some(Frame { buffer, len, _charge: self.charge.take() }))
    }

    fn size(&self) -> Result<Option<usize>, FrameError> {
        // N8: judged before anything is allocated for it
        self.buffer[..self.filled].first_chunk().map(|size| size_of_frame(*size, self.max)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(
        reader: &mut FrameReader,
        mut bytes: &[u8],
        most: usize,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            let spare = reader.spare()?;
            let count = spare.len().min(bytes.len()).min(most.max(1));
            spare[..count].copy_from_slice(&bytes[..count]);
            reader.advance(count);
            bytes = &bytes[count..];
            while let Some(frame) = reader.next_frame()? {
                out.push(frame.bytes().to_vec());
            }
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_come_out_whole_however_the_bytes_are_split(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..5000), 1..20),
            splits in prop::collection::vec(1usize..9000, 1..40),
        ) {
            let mut wire = Vec::new();
            for body in &bodies {
                wire.extend_from_slice(&(body.len() as i32).to_be_bytes());
                wire.extend_from_slice(body);
            }
            let mut reader = FrameReader::new(100_000);
            let mut frames = Vec::new();
            let mut rest = &wire[..];
            for split in splits.iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at((*split).min(rest.len()));
                feed(&mut reader, now, *split, &mut frames).unwrap();
                rest = later;
            }
            prop_assert_eq!(frames, bodies);
            prop_assert!(!reader.is_inside_frame());
        }

        // N8: memory follows what arrived, not what was declared
        #[test]
        fn arbitrary_bytes_never_panic_nor_allocate_what_they_declare(
            bytes in prop::collection::vec(any::<u8>(), 0..3000), most in 1usize..500,
        ) {
            let mut reader = FrameReader::new(100 * 1024 * 1024);
            let mut frames = Vec::new();
            let _ = feed(&mut reader, &bytes, most, &mut frames);
            prop_assert!(reader.buffer.len() <= GROW_AT_LEAST.max(2 * bytes.len()));
        }
    }

    #[test]
    fn sizes_out_of_bounds_are_refused_before_anything_is_allocated() {
        // N8
        for (size, expected) in [
            (-1, FrameError::Negative(-1)),
            (0, FrameError::Empty),
            (1001, FrameError::TooLarge { size: 1001, max: 1000 }),
            (i32::MAX, FrameError::TooLarge { size: i32::MAX as usize, max: 1000 }),
        ] {
            let mut reader = FrameReader::new(1000);
            let spare = reader.spare().unwrap();
            spare[..4].copy_from_slice(&size.to_be_bytes());
            reader.advance(4);
            assert_eq!(reader.next_frame().unwrap_err(), expected);
            assert_eq!(reader.spare().unwrap_err(), expected);
            assert_eq!(reader.buffer.len(), FIRST_READ);
        }
    }

    #[test]
    fn a_lent_buffer_is_used_and_can_be_taken_back() {
        let mut reader = FrameReader::new(1 << 20);
        reader.lend(vec![7; 200_000]);
        assert_eq!(reader.spare().unwrap().len(), FIRST_READ);
        let spare = reader.spare().unwrap();
        spare[..4].copy_from_slice(&150_000i32.to_be_bytes());
        reader.advance(4);
        assert_eq!(reader.spare().unwrap().len(), 150_000);
        reader.advance(149_999);
        assert_eq!(reader.park(), None, "it is nearly full");
        reader.advance(1);
        let frame = reader.next_frame().unwrap().unwrap();
        assert_eq!(frame.bytes().len(), 150_000);
        assert_eq!(frame.into_buffer().len(), 200_000);
        assert!(reader.needs_buffer());
    }

    #[test]
    fn a_peer_that_sends_little_holds_little_between_its_bytes() {
        let wire: Vec<u8> = [&5000i32.to_be_bytes()[..], &[7; 5000]].concat();
        let mut reader = FrameReader::new(1 << 20);
        let mut shared = Some(vec![0xee; 64 * 1024]);
        for (n, byte) in wire.iter().enumerate() {
            if reader.needs_buffer()
                && let Some(buffer) = shared.take()
            {
                reader.lend(buffer);
            }
            reader.spare().unwrap()[0] = *byte;
            reader.advance(1);
            shared = reader.park().or(shared);
            let held = reader.buffer.capacity();
            assert!(held <= PARK_AT_LEAST.max(4 * (n + 1)), "{held} bytes for {} that were sent", n + 1);
            assert!(shared.is_some());
        }
        let frame = reader.next_frame().unwrap().unwrap();
        assert_eq!(frame.bytes(), &wire[4..]);
        assert_eq!(reader.buffer.capacity(), 0);
    }
}
