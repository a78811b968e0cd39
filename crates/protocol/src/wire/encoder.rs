//! Writing: where the bytes of a message go.

/// Where bytes go: kept, or counted.
pub trait Sink {
    /// The next bytes.
    fn put(&mut self, bytes: &[u8]);

    /// A place where the caller will put `len` bytes that lie elsewhere.
    fn gap(&mut self, len: usize);
}

/// Counts instead of writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// Bytes that an [`Encoder`] would hold.
    pub here: usize,
    /// Bytes in its gaps.
    pub elsewhere: usize,
}

impl Length {
    /// All bytes on the wire.
    pub fn total(self) -> usize {
        self.here.saturating_add(self.elsewhere)
    }
}

impl Sink for Length {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.here = self.here.saturating_add(bytes.len());
    }

    #[inline]
    fn gap(&mut self, len: usize) {
        self.elsewhere = self.elsewhere.saturating_add(len);
    }
}

/// A place in the encoded bytes that belongs to bytes which lie elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where in the encoder's bytes: the other bytes go between `bytes[..at]` and `bytes[at..]`.
    pub at: usize,
    /// How many bytes go there.
    pub len: usize,
}

/// Holds what has been encoded, and the gaps for what lies elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoder {
    bytes: Vec<u8>,
    gaps: Vec<Gap>,
}

impl Encoder {
    /// An empty encoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty encoder with room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), gaps: Vec::new() }
    }

    /// What has been written; whoever sends it has to fill the [gaps](Self::gaps).
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The gaps, by position.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The number of bytes on the wire, gaps included.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.gaps.iter().map(|gap| gap.len).sum::<usize>()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes and the gaps.
    pub fn into_parts(self) -> (Vec<u8>, Vec<Gap>) {
        (self.bytes, self.gaps)
    }
}

impl Sink for Encoder {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    #[inline]
    fn gap(&mut self, len: usize) {
        self.gaps.push(Gap { at: self.bytes.len(), len });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_what_lies_elsewhere() {
        let mut out = Encoder::with_capacity(10);
        assert!(out.is_empty() && out.bytes.capacity() >= 10);
        let mut length = Length::default();
        let put = |sink: &mut dyn FnMut(&[u8], usize)| {
            sink(&[1, 2], 0);
            sink(&[], 5);
            sink(&[3], 7);
        };
        put(&mut |bytes, gap| {
            out.put(bytes);
            length.put(bytes);
            if gap > 0 {
                out.gap(gap);
                length.gap(gap);
            }
        });
        assert_eq!((out.bytes(), out.len(), out.is_empty()), (&[1, 2, 3][..], 15, false));
        assert_eq!(out.gaps(), [Gap { at: 2, len: 5 }, Gap { at: 3, len: 7 }]);
        assert_eq!((length, length.total()), (Length { here: 3, elsewhere: 12 }, 15));
        assert_eq!(out.clone().into_parts(), (vec![1, 2, 3], out.gaps().to_vec()));
        // nothing here, and something elsewhere
        let mut gap = Encoder::new();
        gap.gap(4);
        assert_eq!((gap.len(), gap.is_empty()), (4, false));
    }
}
