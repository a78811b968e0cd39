//! Responses out: the writing half of a connection, without the socket.
//!
//! A response is one buffer with gaps; the gaps are filled by record bytes that stay where the log has them. They leave in
//! one `writev`, without a copy.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Slices handed to one `writev`; well below any system's limit.
pub(crate) const SLICES_MAX: usize = 64;

/// Bytes of large answers that wait to be sent above which further ones are kept small.
const UNSENT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// A whole response frame, size field included.
#[derive(Debug, Default)]
pub(crate) struct Response {
    head: Vec<u8>,
    /// Position in `head` before which the bytes go, in order.
    records: Vec<(usize, Bytes)>,
    held: Option<Held>,
}

/// The records in all answers of a broker that are not sent yet.
///
/// One answer per connection waits (N4), but a peer that asks for 50 MB and never reads keeps them, and there may be thousands
/// of such peers. Kafka lets the system send from the file; here records are in memory until they are out. So whoever makes a
/// large answer asks for its [`room`](UnsentBytes::room) first.
#[derive(Debug, Default)]
pub(crate) struct UnsentBytes(AtomicUsize);

/// A part of [`UnsentBytes`]; ends with its answer.
#[derive(Debug)]
struct Held {
    bytes: usize,
    all: Arc<UnsentBytes>,
}

impl UnsentBytes {
    /// How many bytes one more answer may have; one batch always fits.
    pub(crate) fn room(&self) -> usize {
        UNSENT_BYTES_MAX.saturating_sub(self.0.load(Ordering::Relaxed))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Response {
    /// `head` is the frame without the records; each of `records` goes before the given position of it.
    pub(crate) fn new(head: Vec<u8>, records: Vec<(usize, Bytes)>) -> Self {
        debug_assert!(records.windows(2).all(|pair| pair[0].0 <= pair[1].0), "gaps are in order");
        debug_assert!(records.last().is_none_or(|(at, _)| *at <= head.len()), "gaps lie inside the frame");
        Self { head, records, held: None }
    }

    /// Counts its records until it is sent, or dropped with its connection.
    pub(crate) fn count_in(&mut self, all: &Arc<UnsentBytes>) {
        let bytes = self.records.iter().map(|(_, records)| records.len()).sum();
        all.0.fetch_add(bytes, Ordering::Relaxed);
        self.held = Some(Held { bytes, all: Arc::clone(all) });
    }

    /// What goes on the wire.
    #[cfg(test)]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        (0..).map_while(|index| self.piece(index)).flatten().copied().collect()
    }

    /// Head and records alternate: even pieces are of the head, odd ones are records.
    fn piece(&self, index: usize) -> Option<&[u8]> {
        let gap = index / 2;
        if index % 2 == 1 {
            return self.records.get(gap).map(|(_, bytes)| &bytes[..]);
        }
        let start = if gap == 0 { 0 } else { self.records.get(gap - 1)?.0 };
        let end = self.records.get(gap).map_or(self.head.len(), |(at, _)| *at);
        Some(&self.head[start..end])
    }
}

/// A response on its way out.
#[derive(Debug)]
pub(crate) struct Unsent {
    response: Response,
    piece: usize,
    written: usize,
}

impl Unsent {
    pub(crate) fn new(response: Response) -> Self {
        let mut unsent = Self { response, piece: 0, written: 0 };
        unsent.skip_finished();
        unsent
    }

    /// True if every byte has been written.
    pub(crate) fn is_done(&self) -> bool {
        self.response.piece(self.piece).is_none()
    }

    /// The next bytes to write, at most [`SLICES_MAX`] pieces.
    pub(crate) fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
        let mut skip = self.written;
        let mut index = self.piece;
        while let Some(piece) = self.response.piece(index)
            && out.len() < SLICES_MAX
        {
            if piece.len() > skip {
                out.push(IoSlice::new(&piece[skip..]));
            }
            skip = 0;
            index += 1;
        }
    }

    /// Says that `count` bytes were written.
    pub(crate) fn advance(&mut self, count: usize) {
        self.written += count;
        self.skip_finished();
    }

    fn skip_finished(&mut self) {
        while let Some(piece) = self.response.piece(self.piece)
            && self.written >= piece.len()
        {
            self.written -= piece.len();
            self.piece += 1;
        }
        debug_assert!(!self.is_done() || self.written == 0, "more bytes written than there were");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_counted_until_their_answer_is_gone() {
        let all = Arc::new(UnsentBytes::default());
        let answer = |bytes: usize| {
            let mut response = Response::new(vec![1; 9], vec![(4, Bytes::from(vec![0; bytes]))]);
            response.count_in(&all);
            response
        };
        let first = answer(1000);
        assert_eq!(all.room(), UNSENT_BYTES_MAX - 1000);
        let second = answer(UNSENT_BYTES_MAX);
        assert_eq!(all.room(), 0);
        drop(Unsent::new(first));
        assert_eq!(all.room(), 0);
        drop(second);
        assert_eq!(all.room(), UNSENT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn every_byte_leaves_once_and_in_order_however_short_the_writes(
            head in prop::collection::vec(any::<u8>(), 0..200),
            gaps in prop::collection::vec((0usize..200, prop::collection::vec(any::<u8>(), 0..50)), 0..80),
            writes in prop::collection::vec(1usize..70, 1..20),
        ) {
            let mut gaps: Vec<(usize, Bytes)> =
                gaps.into_iter().map(|(at, bytes)| (at.min(head.len()), Bytes::from(bytes))).collect();
            gaps.sort_by_key(|(at, _)| *at);
            let mut expected = Vec::new();
            let mut from = 0;
            for (at, bytes) in &gaps {
                expected.extend_from_slice(&head[from..*at]);
                expected.extend_from_slice(bytes);
                from = *at;
            }
            expected.extend_from_slice(&head[from..]);

            let response = Response::new(head, gaps);
            prop_assert_eq!(&response.to_bytes(), &expected);
            let mut unsent = Unsent::new(response);
            let mut written = Vec::new();
            for most in writes.iter().cycle() {
                if unsent.is_done() { break }
                let mut slices = Vec::new();
                unsent.slices(&mut slices);
                prop_assert!(!slices.is_empty() && slices.len() <= SLICES_MAX);
                let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                let count = bytes.len().min(*most);
                written.extend_from_slice(&bytes[..count]);
                unsent.advance(count);
            }
            prop_assert_eq!(written, expected);
        }
    }
}
