//! Where a batch's time went, and which setting would help: a pure function from stamps to words.
//!
//! NETWORK_EXCEPTION, REQUEST_TIMED_OUT and an expiry say that something took too long, not what. A batch's age has five parts:
//! in the accumulator until its first request; back there between requests; in a request behind others of its connection; being
//! written, or on the way there and back; at the broker. The largest is named (RTY-3), with what would make it smaller.
//!
//! What a client cannot know is not claimed: once a request is in the socket's buffer, a link that loses everything looks like a
//! broker that is silent, and the words say so.

use std::fmt;

use rohrpost_protocol::ErrorCode;

/// Younger than this, a batch has no story to tell.
const NOTEWORTHY_MS: u64 = 500;

/// Where the time of one batch went, in ms. They add up to its age at the last change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// From its first record to its first request.
    pub(super) queued_ms: u64,
    /// Back in its queue after a request.
    pub(super) again_ms: u64,
    /// In a request that others of the connection were answered before.
    pub(super) behind_ms: u64,
    /// Being written, and one round trip.
    pub(super) link_ms: u64,
    /// Written, and not answered for longer than a round trip.
    pub(super) broker_ms: u64,
}

/// One request's way, as its batches need to know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trip {
    pub(crate) node: i32,
    /// When it was handed to the connection (SND-4).
    pub(crate) sent_ms: u64,
    /// The same to the microsecond (MTR-2).
    pub(crate) sent_us: u64,
    /// When the socket had all of it. `None`: not yet, or not known.
    pub(crate) written_ms: Option<u64>,
    /// The id in its header.
    pub(crate) correlation_id: i32,
    /// Requests that were unanswered on its connection when it was handed over.
    pub(super) ahead: usize,
    /// What a small request took there and back when the connection was made.
    pub(super) round_trip_ms: Option<u64>,
}

/// What is known of the way to the broker that leads the batch's partition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Around {
    /// `None`: the partition has no leader.
    pub(super) node: Option<i32>,
    pub(super) is_connected: bool,
    /// IDM-1: nothing is sent before.
    pub(super) lacks_id: bool,
    /// What the broker asked for with its last answer (SND-7); 0: nothing.
    pub(super) throttle_ms: u64,
    /// All requests that the connection may have are on their way.
    pub(super) is_full: bool,
    /// What an older batch of the partition is being sent again for.
    pub(super) held_by: Option<ErrorCode>,
    /// What the batch's own last request ended with.
    pub(super) last_error: Option<ErrorCode>,
    /// How long answers to Produce took lately.
    pub(super) produce_ms: Option<u64>,
    pub(super) linger_ms: u64,
    pub(super) max_in_flight: usize,
}

/// What the sender knows of the way to one broker.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Way {
    /// When it last answered anything.
    pub(super) last_answer_ms: u64,
    /// How long answers to Produce took lately: each counts a quarter.
    pub(super) produce_ms: Option<u64>,
    /// What it asked for when it last throttled (SND-7), and until when that holds.
    pub(super) throttle_ms: u64,
    pub(super) throttled_until_ms: u64,
    pub(super) lines: Lines,
}

/// The largest part of a batch's age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) age_ms: u64,
    pub(super) part_ms: u64,
    pub(super) cause: Cause,
}

/// What it is, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    // In the accumulator, before the first request.
    NoLeader,
    NoId,
    NoConnection { node: i32 },
    Throttled { node: i32, throttle_ms: u64 },
    Held { by: ErrorCode },
    Full { node: i32, max_in_flight: usize, produce_ms: Option<u64> },
    Linger { linger_ms: u64 },
    Sender,
    // Back in the accumulator.
    Again { error: Option<ErrorCode> },
    // In requests.
    Behind { node: i32, produce_ms: Option<u64> },
    Link { node: i32 },
    Broker { node: i32, produce_ms: Option<u64> },
}

impl Times {
    /// It waited in its queue for so long until it went into a request.
    pub(super) fn left_queue(&mut self, waited_ms: u64, is_first: bool) {
        match is_first {
            true => self.queued_ms += waited_ms,
            false => self.again_ms += waited_ms,
        }
    }

    /// Its request has ended now. `last_answer_ms`: when the connection's last answer before came; until then the broker need not
    /// even have looked at this request (SND-13).
    pub(super) fn left_request(&mut self, trip: &Trip, last_answer_ms: u64, now_ms: u64) {
        let turn_ms = last_answer_ms.clamp(trip.sent_ms, now_ms.max(trip.sent_ms));
        let written_ms = trip.written_ms.unwrap_or(now_ms).clamp(turn_ms, now_ms.max(turn_ms));
        let since_written_ms = now_ms.saturating_sub(written_ms);
        let round_trip_ms = trip.round_trip_ms.unwrap_or(0).min(since_written_ms);
        self.behind_ms += turn_ms - trip.sent_ms;
        self.link_ms += written_ms - turn_ms + round_trip_ms;
        self.broker_ms += since_written_ms - round_trip_ms;
    }
}

impl Trip {
    /// MTR-2: handed over, and when the socket had all of it, to the millisecond; if it is not known, now.
    pub(super) fn sent_and_written_us(&self, now_us: u64) -> (u64, u64) {
        let written_us = match self.written_ms {
            Some(ms) if ms > self.sent_ms => ms * 1000,
            Some(_) => self.sent_us,
            None => now_us,
        };
        (self.sent_us, written_us)
    }
}

impl Way {
    /// A Produce request was answered.
    pub(super) fn produced(&mut self, took_ms: u64) {
        self.produce_ms = Some(self.produce_ms.map_or(took_ms, |lately| (3 * lately + took_ms) / 4));
    }
}

/// The largest part of the age, and what it means. `None` for a batch that is not old.
pub(super) fn verdict(times: &Times, around: &Around) -> Option<Verdict> {
    let Times { queued_ms, again_ms, behind_ms, link_ms, broker_ms } = *times;
    let age_ms = queued_ms + again_ms + behind_ms + link_ms + broker_ms;
    if age_ms < NOTEWORTHY_MS {
        return None;
    }
    let node = around.node.unwrap_or(-1);
    // Of equals the one further down the way counts: the ones before it are its consequences.
    let (part_ms, cause) = [
        (queued_ms, waiting(around, queued_ms)),
        (again_ms, Cause::Again { error: around.last_error }),
        (behind_ms, Cause::Behind { node, produce_ms: around.produce_ms }),
        (link_ms, Cause::Link { node }),
        (broker_ms, Cause::Broker { node, produce_ms: around.produce_ms }),
    ]
    .into_iter()
    .max_by_key(|(part_ms, _)| *part_ms)?;
    Some(Verdict { age_ms, part_ms, cause })
}

/// Why a batch was not sent for so long. What holds one partition comes before what holds a broker's.
fn waiting(around: &Around, queued_ms: u64) -> Cause {
    let Around { node, is_connected, throttle_ms, is_full, held_by, max_in_flight, produce_ms, .. } = *around;
    let Some(node) = node else { return Cause::NoLeader };
    match held_by {
        _ if around.lacks_id => Cause::NoId,
        Some(by) => Cause::Held { by },
        None if throttle_ms > 0 => Cause::Throttled { node, throttle_ms },
        None if !is_connected => Cause::NoConnection { node },
        None if is_full => Cause::Full { node, max_in_flight, produce_ms },
        None if around.linger_ms >= queued_ms / 2 => Cause::Linger { linger_ms: around.linger_ms },
        None => Cause::Sender,
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part_ms, age_ms) = (self.part_ms, self.age_ms);
        let answers = |produce_ms: Option<u64>| match produce_ms {
            Some(ms) => format!("answers take {ms} ms"),
            None => "it has answered no request yet".into(),
        };
        write!(f, "{part_ms} of its {age_ms} ms it ")?;
        match self.cause {
            Cause::NoLeader => write!(
                f,
                "waited in the accumulator for a leader of its partition: look at the brokers that have its replicas"
            ),
            Cause::NoId => {
                write!(
                    f,
                    "waited in the accumulator for a producer id: look at what the brokers say to InitProducerId"
                )
            }
            Cause::NoConnection { node } => write!(
                f,
                "waited in the accumulator for a connection to broker {node}: look at that broker and the way to it"
            ),
            Cause::Throttled { node, throttle_ms } => write!(
                f,
                "waited in the accumulator while broker {node} throttles this client (by {throttle_ms} ms with its last answer): \
                 raise the client's quotas there (producer_byte_rate, request_percentage), or send less"
            ),
            Cause::Held { by } => write!(
                f,
                "waited in the accumulator behind an older batch of its partition that is sent again because of {by}: cure that; \
                 other partitions go on meanwhile"
            ),
            Cause::Full { node, max_in_flight, produce_ms } => write!(
                f,
                "waited in the accumulator because all {max_in_flight} requests to broker {node} were on their way ({}): larger \
                 batch.size and linger.ms or compression.type make fewer and smaller requests, more partitions on more brokers \
                 share them, a smaller buffer.memory makes callers wait instead of batches",
                answers(produce_ms)
            ),
            Cause::Linger { linger_ms } => {
                write!(f, "waited in the accumulator for more records: lower linger.ms ({linger_ms})")
            }
            Cause::Sender => write!(
                f,
                "waited in the accumulator though its broker could be sent to: more is appended than leaves; larger batch.size \
                 or compression.type make fewer requests, a smaller buffer.memory makes callers wait instead of batches, and this \
                 process may lack CPU time"
            ),
            Cause::Again { error } => {
                write!(f, "waited in the accumulator to be sent again")?;
                match error {
                    Some(error) => write!(f, " after {error}: cure that; "),
                    None => write!(f, ": "),
                }?;
                write!(
                    f,
                    "retry.backoff.max.ms bounds each wait, and batches of a partition go one at a time until then"
                )
            }
            Cause::Behind { node, produce_ms } => write!(
                f,
                "was in a request behind others to broker {node} ({}), which takes the next one of a connection when it has answered \
                 the one before: larger batch.size and linger.ms make fewer requests, more partitions on more brokers share them",
                answers(produce_ms)
            ),
            Cause::Link { node } => write!(
                f,
                "was on the link to broker {node}: the network is slower than what is sent; compression.type and a smaller \
                 max.request.size make less of it, a larger request.timeout.ms gives it time, send.buffer.bytes and a nearer broker \
                 make it faster"
            ),
            Cause::Broker { node, produce_ms } => write!(
                f,
                "was written to broker {node} and not answered ({}): look there at replication (followers that lag, with acks=all), \
                 disks and num.io.threads, and at a link that loses what is sent; a larger request.timeout.ms helps if that is its pace",
                answers(produce_ms)
            ),
        }
    }
}

/// Lets a line through once in a while, and counts those that it holds back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lines {
    next_ms: u64,
    held_back: u64,
}

impl Lines {
    /// RTY-3: one line per broker in so long. An outage of many partitions is one story.
    pub(super) const EVERY_MS: u64 = 5000;

    /// The number of lines held back since the last one, if this one may be written.
    pub(super) fn take(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms < self.next_ms {
            self.held_back += 1;
            return None;
        }
        self.next_ms = now_ms + Lines::EVERY_MS;
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Around {
        Around { node: Some(2), is_connected: true, linger_ms: 5, max_in_flight: 5, ..Around::default() }
    }

    fn trip(sent_ms: u64, written_ms: Option<u64>) -> Trip {
        Trip { node: 2, sent_ms, written_ms, round_trip_ms: Some(3), ..Trip::default() }
    }

    fn cause(times: Times, around: Around) -> Cause {
        verdict(&times, &around).expect("it is old enough").cause
    }

    #[test]
    fn the_parts_of_a_request_s_time_add_up_to_it() {
        // RTY-3
        for (last_answer_ms, written_ms, expected) in [
            (0, Some(110), (0, 10 + 3, 887)),
            (0, None, (0, 900, 0)),
            (700, Some(110), (600, 3, 297)),
            (700, Some(800), (600, 100 + 3, 197)),
            (5000, Some(110), (900, 0, 0)),
            (0, Some(999), (0, 899 + 1, 0)),
        ] {
            let mut times = Times::default();
            times.left_request(&trip(100, written_ms), last_answer_ms, 1000);
            assert_eq!((times.behind_ms, times.link_ms, times.broker_ms), expected);
            assert_eq!(times.behind_ms + times.link_ms + times.broker_ms, 900);
        }
        // A clock that goes back a little, or a stamp from later, does no harm.
        let mut times = Times::default();
        times.left_request(&trip(100, Some(400)), 300, 50);
        assert_eq!(times.broker_ms, 0);
    }

    #[test]
    fn the_largest_part_of_the_age_is_named() {
        // RTY-3
        let at = |queued_ms, again_ms, behind_ms, link_ms, broker_ms| Times {
            queued_ms,
            again_ms,
            behind_ms,
            link_ms,
            broker_ms,
        };
        assert_eq!(verdict(&at(100, 100, 100, 100, 99), &around()), None, "it is not old");
        assert_eq!(cause(at(9000, 0, 0, 10, 800), around()), Cause::Sender);
        assert_eq!(cause(at(5, 9000, 0, 10, 800), around()), Cause::Again { error: None });
        assert_eq!(cause(at(5, 0, 9000, 10, 800), around()), Cause::Behind { node: 2, produce_ms: None });
        assert_eq!(cause(at(5, 0, 10, 9000, 800), around()), Cause::Link { node: 2 });
        assert_eq!(cause(at(5, 0, 10, 90, 800), around()), Cause::Broker { node: 2, produce_ms: None });
        let verdict = verdict(&at(400, 0, 10, 90, 800), &around()).unwrap();
        assert_eq!((verdict.age_ms, verdict.part_ms), (1300, 800));
    }

    #[test]
    fn a_wait_in_the_accumulator_is_told_by_what_holds_the_batch() {
        // RTY-3, SND-7, ACC-17
        let queued = Times { queued_ms: 9000, ..Times::default() };
        let by = ErrorCode::NOT_ENOUGH_REPLICAS;
        for (around, expected) in [
            (Around { node: None, ..around() }, Cause::NoLeader),
            (Around { lacks_id: true, ..around() }, Cause::NoId),
            (Around { is_connected: false, ..around() }, Cause::NoConnection { node: 2 }),
            (Around { throttle_ms: 70, ..around() }, Cause::Throttled { node: 2, throttle_ms: 70 }),
            (Around { held_by: Some(by), is_full: true, ..around() }, Cause::Held { by }),
            (
                Around { is_full: true, produce_ms: Some(90), ..around() },
                Cause::Full { node: 2, max_in_flight: 5, produce_ms: Some(90) },
            ),
            (Around { linger_ms: 8000, ..around() }, Cause::Linger { linger_ms: 8000 }),
        ] {
            assert_eq!(cause(queued, around), expected);
        }
    }

    #[test]
    fn every_verdict_names_what_to_turn_or_where_to_look() {
        // RTY-3
        let by = ErrorCode::NOT_ENOUGH_REPLICAS;
        for (cause, word) in [
            (Cause::NoLeader, "replicas"),
            (Cause::NoId, "InitProducerId"),
            (Cause::NoConnection { node: 2 }, "broker 2"),
            (Cause::Throttled { node: 2, throttle_ms: 70 }, "producer_byte_rate"),
            (Cause::Held { by }, "NOT_ENOUGH_REPLICAS"),
            (Cause::Full { node: 2, max_in_flight: 5, produce_ms: Some(90) }, "batch.size"),
            (Cause::Linger { linger_ms: 8000 }, "linger.ms"),
            (Cause::Sender, "buffer.memory"),
            (Cause::Again { error: Some(by) }, "retry.backoff.max.ms"),
            (Cause::Behind { node: 2, produce_ms: Some(90) }, "partitions"),
            (Cause::Link { node: 2 }, "compression.type"),
            (Cause::Broker { node: 2, produce_ms: None }, "num.io.threads"),
        ] {
            let text = Verdict { age_ms: 900, part_ms: 700, cause }.to_string();
            assert!(text.starts_with("700 of its 900 ms it wa") && text.contains(word), "{text}");
        }
    }

    #[test]
    fn lines_held_back_are_counted_into_the_next_one() {
        // RTY-3
        let mut lines = Lines::default();
        assert_eq!(lines.take(10), Some(0));
        assert_eq!((lines.take(11), lines.take(10 + Lines::EVERY_MS - 1)), (None, None));
        assert_eq!(lines.take(10 + Lines::EVERY_MS), Some(2));
        assert_eq!(lines.take(10 + 2 * Lines::EVERY_MS), Some(0));
    }
}
