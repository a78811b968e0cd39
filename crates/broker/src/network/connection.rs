//! One connection as a state machine: bytes in, one request at a time out, its response in, bytes out. No socket, no clock.
//!
//! **One request in flight** (N4): after a whole frame nothing more is read until its response has been written or declared
//! unnecessary. So responses leave in the order of the requests, a pipelining peer fills only its socket's buffer, and what
//! waits in any queue is bounded by the number of connections.
//!
//! N5: so a connection has one produce request that waits for followers, and the next is not read before. Appending request k+1
//! meanwhile would be allowed, and would help a producer at acks=all over a slow replica link. Kafka's rule stands until there are
//! followers to measure it with: with one replica nothing waits (P10), and every bound on memory here rests on it.

use rohrpost_protocol::frame::FrameError;

use super::frame::{Frame, FrameReader};
use super::response::{Response, Unsent};

/// Numbers a request within its network thread; never used twice.
pub(crate) type Serial = u64;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: FrameReader,
    turn: Turn,
}

#[derive(Debug)]
enum Turn {
    /// Nothing in flight: the next frame may be read.
    Reading,
    /// A request is with a handler, in a queue, or waits in the purgatory.
    InFlight(Serial),
    /// Its response is being written.
    Writing(Unsent),
}

impl Connection {
    /// `frame_bytes_max` is `socket.request.max.bytes`.
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self { reader: FrameReader::new(frame_bytes_max), turn: Turn::Reading }
    }

    /// True if bytes are to be read now (N4).
    pub(crate) fn wants_read(&self) -> bool {
        matches!(self.turn, Turn::Reading)
    }

    /// True if a response waits to be written.
    pub(crate) fn wants_write(&self) -> bool {
        matches!(self.turn, Turn::Writing(_))
    }

    /// The request that is in flight.
    pub(crate) fn in_flight(&self) -> Option<Serial> {
        match self.turn {
            Turn::InFlight(serial) => Some(serial),
            Turn::Reading | Turn::Writing(_) => None,
        }
    }

    /// The reading half, for its buffers.
    pub(crate) fn reader(&mut self) -> &mut FrameReader {
        &mut self.reader
    }

    /// Takes the next request, if one is whole and none is in flight; it is in flight from now on, as `serial`.
    ///
    /// # Errors
    /// The bytes are no frame; the connection must be closed.
    pub(crate) fn next_request(&mut self, serial: Serial) -> Result<Option<Frame>, FrameError> {
        if !self.wants_read() {
            return Ok(None);
        }
        let frame = self.reader.next_frame()?;
        if frame.is_some() {
            self.turn = Turn::InFlight(serial);
        }
        Ok(frame)
    }

    /// Ends the request in flight with this response. False, and the response is dropped, if `serial` is not in flight: it was
    /// answered before, or belongs to a connection that had this place earlier.
    pub(crate) fn respond(&mut self, serial: Serial, response: Response) -> bool {
        if self.in_flight() != Some(serial) {
            return false;
        }
        let unsent = Unsent::new(response);
        self.turn = if unsent.is_done() { Turn::Reading } else { Turn::Writing(unsent) };
        true
    }

    /// Ends the request in flight without a response (acks=0). False as in [`Connection::respond`].
    pub(crate) fn no_response(&mut self, serial: Serial) -> bool {
        let mine = self.in_flight() == Some(serial);
        if mine {
            self.turn = Turn::Reading;
        }
        mine
    }

    /// What is to be written next.
    pub(crate) fn unsent(&self) -> Option<&Unsent> {
        match &self.turn {
            Turn::Writing(unsent) => Some(unsent),
            Turn::Reading | Turn::InFlight(_) => None,
        }
    }

    /// Says that `count` bytes of the response were written. After the last one the next request may be read.
    pub(crate) fn wrote(&mut self, count: usize) {
        if let Turn::Writing(unsent) = &mut self.turn {
            unsent.advance(count);
            if unsent.is_done() {
                self.turn = Turn::Reading;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // N4, N8: whatever arrives, in whatever pieces, with whatever answers
        #[test]
        fn requests_are_taken_one_by_one_and_arbitrary_bytes_do_no_harm(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..12),
            noise in prop::collection::vec(any::<u8>(), 0..20),
            steps in prop::collection::vec((1usize..40, 1usize..9, any::<bool>()), 1..60),
        ) {
            let mut wire: Vec<u8> = Vec::new();
            for frame in &frames {
                wire.extend_from_slice(&(frame.len() as i32).to_be_bytes());
                wire.extend_from_slice(frame);
            }
            wire.extend_from_slice(&noise);
            let mut connection = Connection::new(100);
            let (mut rest, mut taken, mut serial) = (&wire[..], Vec::new(), 0);
            'wire: for (arrive, write, answer) in steps.iter().cycle().take(3000) {
                if connection.wants_read() {
                    match connection.next_request(serial) {
                        Err(_) => break 'wire,
                        Ok(Some(frame)) => {
                            taken.push(frame.bytes().to_vec());
                            prop_assert_eq!(connection.in_flight(), Some(serial));
                            continue;
                        }
                        Ok(None) => {}
                    }
                    if rest.is_empty() { break }
                    let Ok(spare) = connection.reader().spare() else { break };
                    let count = rest.len().min(*arrive).min(spare.len());
                    spare[..count].copy_from_slice(&rest[..count]);
                    connection.reader().advance(count);
                    rest = &rest[count..];
                } else if connection.wants_write() {
                    let mut slices = Vec::new();
                    connection.unsent().unwrap().slices(&mut slices);
                    let there: usize = slices.iter().map(|slice| slice.len()).sum();
                    drop(slices);
                    connection.wrote(there.min(*write));
                } else {
                    prop_assert!(connection.next_request(serial + 1).unwrap().is_none(), "one in flight");
                    let done = if *answer {
                        connection.respond(serial, Response::new(vec![1; 5], Vec::new()))
                    } else {
                        connection.no_response(serial)
                    };
                    prop_assert!(done);
                    serial += 1;
                }
            }
            // everything before the noise comes out whole and in order; the noise may be a short frame itself
            prop_assert!(taken.len() >= frames.len());
            prop_assert_eq!(&taken[..frames.len()], &frames[..]);
        }
    }

    fn put(connection: &mut Connection, bytes: &[u8]) {
        let spare = connection.reader().spare().unwrap();
        spare[..bytes.len()].copy_from_slice(bytes);
        connection.reader().advance(bytes.len());
    }

    #[test]
    fn the_second_of_two_pipelined_requests_waits_for_the_first_response() {
        // N4
        let mut connection = Connection::new(1000);
        put(&mut connection, &[0, 0, 0, 1, 65, 0, 0, 0, 1, 66]);
        assert_eq!(connection.next_request(1).unwrap().unwrap().bytes(), b"A");
        assert!(connection.next_request(2).unwrap().is_none());
        assert!(!connection.wants_read());
        assert!(connection.respond(1, Response::new(b"answer".to_vec(), Vec::new())));
        assert!(connection.next_request(2).unwrap().is_none());
        connection.wrote(5);
        assert!(connection.next_request(2).unwrap().is_none());
        connection.wrote(1);
        assert_eq!(connection.next_request(2).unwrap().unwrap().bytes(), b"B");
        assert!(connection.no_response(2));
        assert!(connection.wants_read());
    }

    #[test]
    fn an_answer_to_another_request_is_dropped() {
        let mut connection = Connection::new(1000);
        put(&mut connection, &[0, 0, 0, 1, 65]);
        connection.next_request(8).unwrap().unwrap();
        assert!(!connection.respond(7, Response::new(b"late".to_vec(), Vec::new())));
        assert!(!connection.no_response(7));
        assert_eq!(connection.in_flight(), Some(8));
        assert!(connection.respond(8, Response::new(b"right".to_vec(), Vec::new())));
        assert!(!connection.respond(8, Response::new(b"twice".to_vec(), Vec::new())));
    }
}
