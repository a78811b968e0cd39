//! The four codecs, bounded on both sides (§14).
//!
//! Only the records part of a batch is compressed, as one stream; the attributes name the codec (CMP-1). [`Compressor`] writes what
//! Kafka's producer writes; [`decompress`] reads what Kafka's readers read, and never makes more bytes than the caller allows.
//! Compressed output is not canonical (CMP-5): the same records may give other bytes with another version of a library.

use std::borrow::Cow;
use std::fmt;

mod gzip;
mod lz4;
mod snappy;
mod zstd;

/// How the records of a batch are compressed (bits 0–2 of the attributes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy in the framing of the xerial library.
    Snappy = 2,
    /// The lz4 frame format, independent blocks.
    Lz4 = 3,
    /// RFC 8878. Needs Produce 7 (CMP-4).
    Zstd = 4,
}

impl Codec {
    /// All codecs, by id.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec with an id, if there is one.
    #[inline]
    pub const fn from_id(id: u8) -> Option<Codec> {
        match id {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// The id on the wire.
    #[inline]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// The codec with a name, if there is one.
    pub fn from_name(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The levels that Kafka allows, smallest and largest; `None` if the codec has no levels. gzip's smallest level is 1: −1, its
    /// default, stands apart.
    pub const fn levels(self) -> Option<(i32, i32)> {
        match self {
            Codec::None | Codec::Snappy => None,
            Codec::Gzip => Some((1, 9)),
            Codec::Lz4 => Some((1, 17)),
            Codec::Zstd => Some((-131_072, 22)),
        }
    }

    /// The level that is meant when none is said.
    pub const fn default_level(self) -> Option<i32> {
        match self {
            Codec::None | Codec::Snappy => None,
            Codec::Gzip => Some(-1),
            Codec::Lz4 => Some(9),
            Codec::Zstd => Some(3),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A codec at a level that this build can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Compression {
    codec: Codec,
    level: Option<i32>,
}

impl Compression {
    /// No compression.
    pub const NONE: Compression = Compression { codec: Codec::None, level: None };

    /// `codec` at `level`, or at its default level.
    ///
    /// # Errors
    /// [`CompressionError::Level`] if the codec has no such level, [`CompressionError::Feature`] if this build cannot write it:
    ///
    /// | asked for | needs the feature |
    /// |---|---|
    /// | zstd at its default level | `zstd` or `zstd-rust` |
    /// | zstd at any level that is named | `zstd` |
    /// | lz4 at a level other than 9 | `lz4-hc`: level 9, the default, means the fast compressor, all others the high-compression one (CMP-2) |
    pub fn new(codec: Codec, level: Option<i32>) -> Result<Compression, CompressionError> {
        if let Some(level) = level {
            let known = match codec.levels() {
                Some((min, max)) => (min..=max).contains(&level) || codec.default_level() == Some(level),
                None => false,
            };
            if !known {
                return Err(CompressionError::Level { codec, level });
            }
        }
        let missing = match codec {
            Codec::None | Codec::Gzip | Codec::Snappy => None,
            Codec::Lz4 => lz4::missing_feature(level),
            Codec::Zstd => zstd::missing_feature(level),
        };
        match missing {
            Some(feature) => Err(CompressionError::Feature { codec, level, feature }),
            None => Ok(Compression { codec, level }),
        }
    }

    /// The codec.
    #[inline]
    pub const fn codec(self) -> Codec {
        self.codec
    }

    /// The level in force: the one asked for, or the codec's default; `None` if the codec has none.
    #[inline]
    pub const fn level(self) -> Option<i32> {
        match self.level {
            Some(level) => Some(level),
            None => self.codec.default_level(),
        }
    }
}

/// Compresses records parts, one after the other, after the records were appended as they are (CMP-9). Keeps what the codecs can use again (tables, windows, buffers): at most a few
/// hundred KiB for gzip, snappy and lz4, and for zstd what its level needs.
#[derive(Default)]
pub struct Compressor {
    gzip: Option<gzip::Writer>,
    snappy: Option<snappy::Writer>,
    lz4: Option<lz4::Writer>,
    zstd: Option<zstd::Writer>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// A compressor without state: that of a codec is made when it is first used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses the concatenation of `input` as one stream and appends it to `out`, at most `limit` bytes. `false`: it would have
    /// been more; `out` is then as it was, and the caller stores the batch uncompressed.
    ///
    /// # Errors
    /// [`CompressionError::Failed`] if the codec's library fails (it is out of memory); `out` is then as it was.
    pub fn compress(
        &mut self,
        compression: Compression,
        input: &mut dyn Iterator<Item = &[u8]>,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<bool, CompressionError> {
        let start = out.len();
        let mut sink = Sink { end: start.saturating_add(limit), out };
        let level = compression.level();
        let result = match compression.codec {
            Codec::None => Ok(Iterator::all(&mut &mut *input, |piece| sink.push(piece))),
            Codec::Gzip => self.gzip.get_or_insert_with(gzip::Writer::new).write(level, input, &mut sink),
            Codec::Snappy => Ok(self.snappy.get_or_insert_with(snappy::Writer::new).write(input, &mut sink)),
            Codec::Lz4 => self.lz4.get_or_insert_with(lz4::Writer::new).write(level, input, &mut sink),
            Codec::Zstd => self.zstd.get_or_insert_with(zstd::Writer::new).write(level, input, &mut sink),
        };
        let failed = |message: String| CompressionError::Failed { codec: compression.codec, message };
        match result {
            Ok(true) if out.len() - start <= limit => Ok(true),
            Ok(_) => {
                out.truncate(start);
                Ok(false)
            }
            Err(message) => {
                out.truncate(start);
                Err(failed(message))
            }
        }
    }
}

/// Decompresses a records part into `out`, whose content is replaced. Never keeps more than `limit` bytes, nor reserves more.
///
/// Beside that, a codec's working state is taken: about 48 KiB for gzip; about 160 KiB for zstd by the C library, kept per thread.
///
/// # Errors
/// [`DecompressError`]; `out` is then in no particular state.
pub fn decompress(
    codec: Codec,
    input: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), DecompressError> {
    out.clear();
    let result = match codec {
        Codec::None => {
            if input.len() <= limit {
                out.extend_from_slice(input);
                Ok(())
            } else {
                Err(Fault::TooLarge)
            }
        }
        Codec::Gzip => gzip::read(input, out, limit),
        Codec::Snappy => snappy::read(input, out, limit),
        Codec::Lz4 => lz4::read(input, out, limit),
        Codec::Zstd => zstd::read(input, out, limit),
    };
    match result {
        Ok(()) if out.len() <= limit => Ok(()),
        Ok(()) | Err(Fault::TooLarge) => Err(DecompressError::TooLarge { codec, limit }),
        Err(Fault::Corrupt(what)) => Err(DecompressError::Corrupt { codec, what }),
        Err(Fault::Feature(feature)) => Err(DecompressError::Feature { codec, feature }),
    }
}

/// Why a codec or a level cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompressionError {
    /// The codec has no such level.
    Level {
        /// The codec.
        codec: Codec,
        /// The level asked for.
        level: i32,
    },
    /// This build cannot write it.
    Feature {
        /// The codec.
        codec: Codec,
        /// The level asked for.
        level: Option<i32>,
        /// The Cargo feature that has it.
        feature: &'static str,
    },
    /// The codec's library failed.
    Failed {
        /// The codec.
        codec: Codec,
        /// What the library said.
        message: String,
    },
}

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompressionError::Level { codec, level } => match codec.levels() {
                None => write!(f, "compression {codec} has no levels, {level} was asked for"),
                Some((min, max)) => {
                    let default = codec.default_level().unwrap_or_default();
                    write!(
                        f,
                        "compression {codec} has no level {level}, but {min} to {max} (default {default})"
                    )
                }
            },
            CompressionError::Feature { codec, level: Some(level), feature } => {
                write!(f, "compression {codec} at level {level} needs a build with the feature `{feature}`")
            }
            CompressionError::Feature { codec, level: None, feature } => {
                write!(f, "compression {codec} needs a build with the feature `{feature}`")
            }
            CompressionError::Failed { codec, message } => write!(f, "compression {codec} failed: {message}"),
        }
    }
}

impl std::error::Error for CompressionError {}

/// Why a records part does not decompress.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecompressError {
    /// There is more inside than the caller allows.
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The caller's limit in bytes.
        limit: usize,
    },
    /// The bytes are no stream of this codec.
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What is wrong.
        what: Cow<'static, str>,
    },
    /// This build cannot read the codec.
    Feature {
        /// The codec.
        codec: Codec,
        /// The Cargo feature that has it.
        feature: &'static str,
    },
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecompressError::TooLarge { codec, limit } => {
                write!(f, "{codec}: more than the allowed {limit} bytes come out")
            }
            DecompressError::Corrupt { codec, what } => write!(f, "{codec}: {what}"),
            DecompressError::Feature { codec, feature } => {
                write!(f, "reading {codec} needs a build with the feature `{feature}`")
            }
        }
    }
}

impl std::error::Error for DecompressError {}

/// What a codec's reader reports; [`decompress`] adds the codec's name.
#[derive(Debug)]
#[allow(dead_code, reason = "which variants are made depends on the features")]
enum Fault {
    TooLarge,
    Corrupt(Cow<'static, str>),
    Feature(&'static str),
}

impl Fault {
    const fn corrupt(what: &'static str) -> Fault {
        Fault::Corrupt(Cow::Borrowed(what))
    }
}

/// Where a compressor writes: a vector that may grow up to `end`.
struct Sink<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
}

impl Sink<'_> {
    /// Appends; `false` if that would go beyond the end.
    fn push(&mut self, bytes: &[u8]) -> bool {
        if self.end - self.out.len().min(self.end) < bytes.len() {
            return false;
        }
        grow(self.out, bytes.len(), self.end);
        self.out.extend_from_slice(bytes);
        true
    }

    /// Makes spare capacity if there is none; `false` at the end.
    fn make_room(&mut self) -> bool {
        if self.out.len() < self.out.capacity() {
            return true;
        }
        if self.out.len() >= self.end {
            return false;
        }
        grow(self.out, 1, self.end);
        true
    }
}

/// Makes room for `more` bytes. Doubles, as vectors do, but not beyond `end`, which must leave room for them.
fn grow(out: &mut Vec<u8>, more: usize, end: usize) {
    let needed = out.len() + more;
    if needed > out.capacity() {
        let target = out.capacity().saturating_mul(2).max(4096).min(end).max(needed);
        out.reserve_exact(target - out.len());
    }
}

/// Cuts a stream of slices into blocks of `size` bytes, the last one shorter. Blocks that lie within a slice are not copied.
/// Stops and returns `Ok(false)` as soon as `each` does.
fn for_each_block<E>(
    input: &mut dyn Iterator<Item = &[u8]>,
    buffer: &mut Vec<u8>,
    size: usize,
    mut each: impl FnMut(&[u8]) -> Result<bool, E>,
) -> Result<bool, E> {
    buffer.clear();
    for mut piece in input {
        if !buffer.is_empty() {
            let (head, rest) = piece.split_at(piece.len().min(size - buffer.len()));
            buffer.extend_from_slice(head);
            piece = rest;
            if buffer.len() < size {
                continue;
            }
            if !each(buffer)? {
                return Ok(false);
            }
            buffer.clear();
        }
        let mut blocks = piece.chunks_exact(size);
        for block in &mut blocks {
            if !each(block)? {
                return Ok(false);
            }
        }
        buffer.extend_from_slice(blocks.remainder());
    }
    if buffer.is_empty() { Ok(true) } else { each(buffer) }
}
