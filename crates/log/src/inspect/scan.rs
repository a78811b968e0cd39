//! Walking the batches of a file, good and bad.
//!
//! A batch with a wrong checksum is told and passed over, since its length leads to the next one. Where no batch can be
//! recognised the walk stops, and goes on only where the caller knows that a batch begins ([`Scan::go_to`]).

use std::io;

use rohrpost_record::crc::crc32c_append;
use rohrpost_record::{BatchError, BatchHeader, HEADER_LEN};

use super::source::{PIECE, Source, Window};

/// The checksum covers a batch from its attributes on (L2).
const CRC_FROM: u64 = 21;

/// A batch as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundBatch {
    /// Where it begins.
    pub position: u64,
    /// Its header, unchecked.
    pub header: BatchHeader,
    /// The checksum of its bytes; the header says what it should be.
    pub crc: u32,
}

impl FoundBatch {
    /// Whether the checksum is right.
    pub fn is_crc_valid(&self) -> bool {
        self.crc == self.header.crc
    }

    /// Where the batch ends.
    pub fn end(&self) -> u64 {
        self.position + self.header.total_len() as u64
    }
}

/// Why no batch can be read at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The file ends within the batch.
    Cut {
        /// Bytes that the batch would take, as far as its header is there.
        needed: u64,
        /// Bytes there.
        have: u64,
    },
    /// From here to the end of the file there are zeros only, enough for a header.
    Zeros {
        /// How many.
        bytes: u64,
    },
    /// What stands here is no header of a batch.
    NoBatch(BatchError),
}

/// What a walk comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanStep {
    /// A whole batch, whose checksum may be wrong.
    Batch(FoundBatch),
    /// No batch can be read here. The next step is the end, unless the caller says where to go on.
    Broken {
        /// Where.
        position: u64,
        /// Why.
        why: Broken,
    },
    /// All is read.
    End,
}

/// The batches of a file, in order. Memory: one piece of the file.
pub struct Scan<'s> {
    source: &'s dyn Source,
    window: Window<'s>,
    len: u64,
    position: u64,
    is_stopped: bool,
}

impl<'s> Scan<'s> {
    /// A walk from the start of `source`, to the end that it has now.
    ///
    /// # Errors
    /// The source's.
    pub fn new(source: &'s dyn Source) -> io::Result<Scan<'s>> {
        let len = source.len()?;
        Ok(Scan { source, window: Window::new(source, len), len, position: 0, is_stopped: false })
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the next step looks.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes on at `position`, also after [`ScanStep::Broken`].
    pub fn go_to(&mut self, position: u64) {
        self.position = position;
        self.is_stopped = false;
    }

    /// The next batch, or why there is none.
    ///
    /// # Errors
    /// The source's.
    pub fn step(&mut self) -> io::Result<ScanStep> {
        let position = self.position;
        if self.is_stopped || position >= self.len {
            return Ok(ScanStep::End);
        }
        let left = self.len - position;
        let parsed = BatchHeader::parse(self.window.at(position, HEADER_LEN)?);
        let header = match parsed {
            Ok(header) if header.total_len() as u64 <= left => header,
            Ok(header) => return self.broken(Broken::Cut { needed: header.total_len() as u64, have: left }),
            Err(_) if left >= HEADER_LEN as u64 && self.is_zero_from(position)? => {
                return self.broken(Broken::Zeros { bytes: left });
            }
            Err(BatchError::Cut { needed, .. }) => {
                return self.broken(Broken::Cut { needed: needed as u64, have: left });
            }
            Err(error) => return self.broken(Broken::NoBatch(error)),
        };
        let total = header.total_len() as u64;
        let (mut crc, mut done) = (0, CRC_FROM);
        while done < total {
            let wanted = (total - done).min(PIECE as u64) as usize;
            let piece = self.window.at(position + done, wanted)?;
            if piece.is_empty() {
                // the file became shorter meanwhile
                return self.broken(Broken::Cut { needed: total, have: done });
            }
            crc = crc32c_append(crc, piece);
            done += piece.len() as u64;
        }
        self.position = position + total;
        Ok(ScanStep::Batch(FoundBatch { position, header, crc }))
    }

    /// The first place from `from` on where a whole batch begins that `accept` takes and whose checksum is right. Gives up
    /// after `budget` bytes were checksummed, so that a crafted file cannot keep it busy. Leaves the walk there or nowhere:
    /// [`Scan::go_to`] is to follow.
    ///
    /// # Errors
    /// The source's.
    pub fn search(
        &mut self,
        from: u64,
        mut budget: u64,
        accept: impl Fn(&BatchHeader) -> bool,
    ) -> io::Result<Option<u64>> {
        for position in from..self.len.saturating_sub(HEADER_LEN as u64 - 1) {
            let Ok(header) = BatchHeader::parse(self.window.at(position, HEADER_LEN)?) else { continue };
            let total = header.total_len() as u64;
            if total > self.len - position || !accept(&header) {
                continue;
            }
            let Some(left) = budget.checked_sub(total) else { return Ok(None) };
            budget = left;
            self.go_to(position);
            if let ScanStep::Batch(found) = self.step()?
                && found.is_crc_valid()
            {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// The bytes of a batch in `out`, whose content is replaced. False if they are more than `limit`, or no longer there.
    ///
    /// # Errors
    /// The source's.
    pub fn read(&self, batch: &FoundBatch, limit: usize, out: &mut Vec<u8>) -> io::Result<bool> {
        out.clear();
        let total = batch.header.total_len();
        // the length was held against the file when the batch was found
        if total > limit {
            return Ok(false);
        }
        out.resize(total, 0);
        Ok(self.source.read_at(batch.position, out)? == total)
    }

    fn broken(&mut self, why: Broken) -> io::Result<ScanStep> {
        self.is_stopped = true;
        Ok(ScanStep::Broken { position: self.position, why })
    }

    fn is_zero_from(&mut self, mut position: u64) -> io::Result<bool> {
        while position < self.len {
            let piece = self.window.at(position, PIECE)?;
            if piece.is_empty() {
                break;
            }
            if piece.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            position += piece.len() as u64;
        }
        Ok(true)
    }
}
