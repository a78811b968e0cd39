//! Bytes to look at: a file opened for reading, or a slice.

use std::fs;
use std::io;
use std::path::Path;

/// Something with a length that can be read from any position.
pub trait Source {
    /// Bytes there are. A file that a broker writes may grow; a reader looks at what was there when it asked.
    ///
    /// # Errors
    /// The operating system's for a file; none for a slice.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are no bytes.
    ///
    /// # Errors
    /// As [`len`](Source::len).
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads until `out` is full or the bytes end; returns how many were read.
    ///
    /// # Errors
    /// The operating system's for a file; `out` may be filled in part then. None for a slice. A position behind the end is no
    /// error.
    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<usize>;
}

/// Opens a file for reading only.
///
/// # Errors
/// The operating system's, and one for a directory.
pub fn open(path: &Path) -> io::Result<fs::File> {
    let file = fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    Ok(file)
}

impl Source for fs::File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, mut position: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut total = 0;
        while total < out.len() {
            match read_once(self, position, &mut out[total..]) {
                Ok(0) => break,
                Ok(read) => {
                    total += read;
                    position += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }
}

impl Source for [u8] {
    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(<[u8]>::len(self));
        let read = out.len().min(<[u8]>::len(self) - from);
        out[..read].copy_from_slice(&self[from..from + read]);
        Ok(read)
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> io::Result<u64> {
        Source::len(self.as_slice())
    }

    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(position, out)
    }
}

#[cfg(unix)]
fn read_once(file: &fs::File, position: u64, out: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, position)
}

#[cfg(windows)]
fn read_once(file: &fs::File, position: u64, out: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, position)
}

/// A piece of a source, moved along as it is read.
pub(super) struct Window<'s> {
    source: &'s dyn Source,
    buffer: Vec<u8>,
    start: u64,
    len: usize,
}

/// How much is read at once.
pub(super) const PIECE: usize = 256 << 10;

impl<'s> Window<'s> {
    pub(super) fn new(source: &'s dyn Source, source_len: u64) -> Window<'s> {
        let size = usize::try_from(source_len).unwrap_or(PIECE).min(PIECE);
        Window { source, buffer: vec![0; size], start: 0, len: 0 }
    }

    /// Up to `wanted` bytes (at most [`PIECE`]) at `position`; fewer at the end.
    pub(super) fn at(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let wanted = wanted.min(self.buffer.len());
        let inside = position >= self.start && position + wanted as u64 <= self.start + self.len as u64;
        if !inside {
            self.len = self.source.read_at(position, &mut self.buffer)?;
            self.start = position;
        }
        let from = (position - self.start) as usize;
        Ok(&self.buffer[from..self.len.min(from + wanted)])
    }
}
