//! Frames: the unit that a connection carries.
//!
//! A frame is a size of four bytes, which does not count itself, then a header, then a body. The size is the first
//! thing that a stranger can lie about, so it is judged here, before anyone takes memory for what follows.

use std::fmt;

/// The bytes of the size before each frame.
pub const SIZE_LEN: usize = 4;

/// The largest frame that a broker takes by default (`socket.request.max.bytes`).
pub const DEFAULT_MAX_SIZE: usize = 104_857_600;

/// How far the bytes that came in go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The frame is not complete: at least this many bytes must follow. The size itself has been judged as soon as
    /// it is known, so memory for that many may be taken.
    NeedMore(usize),
    /// The frame is complete. Header and body are this long, and lie behind the [size](SIZE_LEN).
    Complete(usize),
}

/// A size that no frame can have. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A size below zero.
    Negative(i32),
    /// A frame without a header.
    Empty,
    /// More than the receiver takes.
    TooLarge {
        /// The frame's size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
}

/// Judges the beginning of a frame. `max` is the largest size that is taken, in bytes.
///
/// # Errors
/// The size is negative, 0, or above `max`.
pub fn check(bytes: &[u8], max: usize) -> Result<Progress, FrameError> {
    let Some(size) = bytes.first_chunk() else {
        return Ok(Progress::NeedMore(SIZE_LEN - bytes.len()));
    };
    let size = size_of_frame(*size, max)?;
    let there = bytes.len() - SIZE_LEN;
    Ok(if there < size { Progress::NeedMore(size - there) } else { Progress::Complete(size) })
}

/// What the four bytes before a frame say, if they may say it (N8 for a broker, CON-9 for a client).
///
/// # Errors
/// The size is negative, 0, or above `max`.
pub fn size_of_frame(bytes: [u8; SIZE_LEN], max: usize) -> Result<usize, FrameError> {
    let size = i32::from_be_bytes(bytes);
    match usize::try_from(size) {
        Err(_) => Err(FrameError::Negative(size)),
        Ok(0) => Err(FrameError::Empty),
        Ok(size) if size > max => Err(FrameError::TooLarge { size, max }),
        Ok(size) => Ok(size),
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative(size) => {
                write!(f, "a frame of {size} bytes: the peer does not speak Kafka's protocol")
            }
            Self::Empty => f.write_str("a frame of 0 bytes, which has no room for a header"),
            Self::TooLarge { size, max } => write!(
                f,
                "a frame of {size} bytes; the limit is {max}. Either the limit is too low, or the peer speaks another \
                 protocol (TLS or HTTP on a plain port looks like this)"
            ),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_grows_until_it_is_complete() {
        let bytes = [0, 0, 0, 3, 7, 8, 9, 0, 0];
        let expected = [4, 3, 2, 1, 3, 2, 1].map(Progress::NeedMore);
        for (len, expected) in expected.into_iter().enumerate() {
            assert_eq!(check(&bytes[..len], 3), Ok(expected), "{len} bytes");
        }
        assert_eq!(check(&bytes[..7], 3), Ok(Progress::Complete(3)));
        assert_eq!(check(&bytes, 3), Ok(Progress::Complete(3)), "the next frame has begun");
    }

    #[test]
    fn impossible_sizes_are_refused_before_anything_follows() {
        // N8, CON-9
        assert_eq!(check(&(-1_i32).to_be_bytes(), 100), Err(FrameError::Negative(-1)));
        assert_eq!(check(&i32::MIN.to_be_bytes(), 100), Err(FrameError::Negative(i32::MIN)));
        assert_eq!(check(&[0; 4], 100), Err(FrameError::Empty));
        assert_eq!(check(&[0, 0, 0, 101], 100), Err(FrameError::TooLarge { size: 101, max: 100 }));
        assert_eq!(check(&[0, 0, 0, 100], 100), Ok(Progress::NeedMore(100)));
        assert!(check(b"HTTP/1.1 400 Bad Request", DEFAULT_MAX_SIZE).is_err());
        assert!(check(&[0x16, 3, 1, 2], DEFAULT_MAX_SIZE).is_err(), "the first bytes of TLS");
    }
}
