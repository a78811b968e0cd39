//! A link that takes its time: what goes in comes out in order, each frame the same time later.
//!
//! Only the way is longer, not narrower: any number of frames are on it at once, up to [`FRAMES_MAX`]. So a client with several
//! requests in flight gains by it here as it does on a real network.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::spawn;

/// Frames on one way at once; beyond that the sender of the next one waits.
const FRAMES_MAX: usize = 1024;

/// One direction of a connection.
pub(super) enum Way {
    /// At once.
    Direct(TcpStream),
    /// Later, by a thread of its own.
    Late { after: Duration, line: SyncSender<(Instant, Vec<u8>)> },
}

impl Way {
    /// To this socket, each frame `after` it was given.
    pub(super) fn new(socket: TcpStream, after: Duration) -> io::Result<Way> {
        if after.is_zero() {
            return Ok(Way::Direct(socket));
        }
        let (line, frames) = sync_channel::<(Instant, Vec<u8>)>(FRAMES_MAX);
        spawn(move || {
            for (due, frame) in frames {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if (&socket).write_all(&frame).is_err() {
                    // whoever reads from this socket ends the connection
                    let _ = socket.shutdown(Shutdown::Both);
                    return;
                }
            }
        })?;
        Ok(Way::Late { after, line })
    }

    /// Passes a whole frame.
    pub(super) fn pass(&self, frame: Vec<u8>) -> io::Result<()> {
        match self {
            Way::Direct(socket) => (&mut &*socket).write_all(&frame),
            Way::Late { after, line } => {
                line.send((Instant::now() + *after, frame)).map_err(|_| io::ErrorKind::BrokenPipe.into())
            }
        }
    }
}
