//! Connections: frames come in, one at a time is served (N4), answers leave in order.

use std::collections::VecDeque;

use rohrpost_broker::model::SERVED;
use rohrpost_protocol::frame::{self, Progress, SIZE_LEN};
use rohrpost_protocol::{ApiKey, Decoder, RequestHeader, Response, VersionRange, encode_response};

use super::produce::Waiting;
use super::{Action, Cluster, Event};

/// A client's connection, as the broker sees it.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Requests that were not read yet. A client bounds what it sends before it is answered.
    queue: VecDeque<Vec<u8>>,
    blocked: Blocked,
    /// Counts requests, so that a timer finds its own.
    request: u64,
    /// The client is gone; what it has sent may still be read.
    gone: bool,
}

/// Why the next request is not read yet.
#[derive(Debug, Default)]
enum Blocked {
    #[default]
    No,
    /// A produce request waits for followers.
    Waiting(Box<Waiting>),
    /// A slow answer is on its way; the connection is quiet so long after it.
    Answering { frame: Vec<u8>, throttle_ms: u32 },
    /// N12.
    Throttled,
    /// The request was never answered.
    Lost,
}

/// What becomes of a request.
pub(super) enum Outcome {
    Answer {
        frame: Vec<u8>,
        throttle_ms: u32,
    },
    /// acks=0.
    Nothing,
    Close,
    Wait(Box<Waiting>),
    /// Neither an answer nor a closed connection.
    Silence,
}

/// A request's header, and where its body begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) is_admin: bool,
    pub(super) body: usize,
}

impl Cluster {
    pub(super) fn take_frame(&mut self, node: i32, from: u64, frame: &[u8]) {
        let Some(broker) = self.broker_mut(node).filter(|broker| broker.is_up()) else { return };
        broker.connections.entry(from).or_default().queue.push_back(frame.to_vec());
        self.pump(node, from);
    }

    pub(super) fn forget_connection(&mut self, node: i32, from: u64) {
        // a close that leaves what was sent readable, or one that does not
        let keeps = self.rng.bool();
        let Some(broker) = self.broker_mut(node) else { return };
        let Some(connection) = broker.connections.get_mut(&from) else { return };
        connection.gone = true;
        if !keeps || matches!(connection.blocked, Blocked::Lost) {
            broker.connections.remove(&from);
        }
    }

    /// Serves what waits on a connection, as far as that goes.
    pub(super) fn pump(&mut self, node: i32, from: u64) {
        let now_ms = self.now_ms;
        loop {
            let Some(broker) = self.broker_mut(node).filter(|b| b.is_up() && b.acts(now_ms)) else { return };
            let Some(connection) = broker.connections.get_mut(&from) else { return };
            if !matches!(connection.blocked, Blocked::No) {
                return;
            }
            let Some(frame) = connection.queue.pop_front() else {
                if connection.gone {
                    broker.connections.remove(&from);
                }
                return;
            };
            connection.request += 1;
            let outcome = self.serve(node, frame);
            self.finish(node, from, outcome);
        }
    }

    fn finish(&mut self, node: i32, from: u64, outcome: Outcome) {
        let now_ms = self.now_ms;
        let Some(broker) = self.broker_mut(node) else { return };
        let (delay_ms, until_ms) = broker.orders.slow_answers;
        let Some(connection) = broker.connections.get_mut(&from) else { return };
        let request = connection.request;
        match outcome {
            Outcome::Answer { frame, throttle_ms } if delay_ms > 0 && now_ms < until_ms => {
                connection.blocked = Blocked::Answering { frame, throttle_ms };
                let action = Action::Unblock { node, connection: from, request };
                self.timers.order(now_ms + delay_ms, action);
            }
            Outcome::Answer { frame, throttle_ms } => self.send(node, from, frame, throttle_ms),
            Outcome::Nothing => connection.blocked = Blocked::No,
            Outcome::Close => {
                let gone = connection.gone;
                broker.connections.remove(&from);
                if !gone {
                    self.cut(node, from);
                }
            }
            Outcome::Wait(waiting) => {
                let at_ms = now_ms + waiting.timeout_ms();
                connection.blocked = Blocked::Waiting(waiting);
                self.timers.order(at_ms, Action::Deadline { node, connection: from, request });
            }
            Outcome::Silence => connection.blocked = Blocked::Lost,
        }
    }

    fn send(&mut self, node: i32, from: u64, frame: Vec<u8>, throttle_ms: u32) {
        let at_ms = self.now_ms + u64::from(throttle_ms);
        let Some(connection) = self.broker_mut(node).and_then(|b| b.connections.get_mut(&from)) else {
            return;
        };
        let (gone, request) = (connection.gone, connection.request);
        connection.blocked = if throttle_ms > 0 { Blocked::Throttled } else { Blocked::No };
        if throttle_ms > 0 {
            self.timers.order(at_ms, Action::Unblock { node, connection: from, request });
        }
        if !gone {
            self.out.push(Event::Answer { node, to: from, frame });
        }
    }

    pub(super) fn unblock(&mut self, node: i32, from: u64, request: u64) {
        let Some(connection) = self.broker_mut(node).and_then(|b| b.connections.get_mut(&from)) else {
            return;
        };
        if connection.request != request {
            return;
        }
        match std::mem::take(&mut connection.blocked) {
            Blocked::Answering { frame, throttle_ms } => self.send(node, from, frame, throttle_ms),
            Blocked::Throttled => {}
            other => connection.blocked = other,
        }
        self.pump(node, from);
    }

    /// W5.
    pub(super) fn deadline(&mut self, node: i32, from: u64, request: u64) {
        let Some(connection) = self.broker_mut(node).and_then(|b| b.connections.get_mut(&from)) else {
            return;
        };
        if connection.request == request && matches!(connection.blocked, Blocked::Waiting(_)) {
            self.end_wait(node, from);
        }
    }

    fn end_wait(&mut self, node: i32, from: u64) {
        let Some(connection) = self.broker_mut(node).and_then(|b| b.connections.get_mut(&from)) else {
            return;
        };
        let Blocked::Waiting(waiting) = std::mem::take(&mut connection.blocked) else { return };
        let outcome = self.answer_produce(node, *waiting);
        self.finish(node, from, outcome);
        self.pump(node, from);
    }

    /// A partition has changed on this broker: who waits for it looks at it (W7).
    pub(super) fn look_at_waiters(&mut self, node: i32, key: super::Key) {
        let Some(broker) = self.broker_mut(node) else { return };
        let super::Broker { connections, replicas, .. } = broker;
        let committed = Waiting::look(replicas.get(&key));
        let mut ended = Vec::new();
        let mut deposed = 0;
        for (from, connection) in connections {
            if let Blocked::Waiting(waiting) = &mut connection.blocked {
                deposed += waiting.observe(key, committed);
                if waiting.is_settled() {
                    ended.push(*from);
                }
            }
        }
        self.counts.deposed_waits += deposed;
        for from in ended {
            self.end_wait(node, from);
        }
    }

    /// The gate (chapter 3), then the API's own file.
    fn serve(&mut self, node: i32, frame: Vec<u8>) -> Outcome {
        let whole = frame::check(&frame, frame::DEFAULT_MAX_SIZE);
        if whole != Ok(Progress::Complete(frame.len().saturating_sub(SIZE_LEN))) {
            return Outcome::Close; // N8
        }
        let Ok(head) = read_head(&frame) else { return Outcome::Close }; // G1
        if head.api != ApiKey::ApiVersions && !self.served(node, head.api).contains(head.version) {
            return Outcome::Close; // G1
        }
        match head.api {
            ApiKey::ApiVersions => self.api_versions(node, head, &frame),
            ApiKey::Metadata => self.metadata(node, head, &frame),
            ApiKey::InitProducerId => self.init_producer_id(node, head, &frame),
            ApiKey::Produce => self.produce(node, head, frame),
            _ => Outcome::Close,
        }
    }

    /// The versions of an API that this broker serves.
    pub(super) fn served(&self, node: i32, api: ApiKey) -> VersionRange {
        let Some((_, range)) = SERVED.iter().find(|(served, _)| *served == api) else {
            return VersionRange::NONE;
        };
        let produce = self.broker(node).map_or(0, |broker| broker.orders.produce_max_version);
        range.at_most(version_limit(api, produce))
    }

    /// The throttle time of the next answer (N12).
    pub(super) fn take_throttle(&mut self, node: i32) -> u32 {
        let Some(broker) = self.broker_mut(node) else { return 0 };
        let (ms, times) = broker.orders.throttle;
        if times == 0 {
            return 0;
        }
        broker.orders.throttle.1 -= 1;
        self.counts.throttles += 1;
        ms
    }

    /// Encodes an answer. One that its version cannot carry closes the connection, as the broker does.
    pub(super) fn respond<'r, R: Response<'r>>(
        head: Head,
        version: i16,
        response: &R,
        throttle_ms: u32,
    ) -> Outcome {
        match encode_response(response, version, head.correlation_id) {
            Ok(encoded) => Outcome::Answer { frame: encoded.into_parts().0, throttle_ms },
            Err(_) => Outcome::Close,
        }
    }
}

fn read_head(frame: &[u8]) -> Result<Head, ()> {
    let mut input = Decoder::new(&frame[SIZE_LEN..]);
    let (api, header) = RequestHeader::read(&mut input).map_err(|_| ())?;
    Ok(Head {
        api,
        version: header.api_version,
        correlation_id: header.correlation_id,
        is_admin: header.client_name() == "__admin_client",
        body: SIZE_LEN + input.position(),
    })
}

/// What Kafka served beside this highest version of Produce, roughly: 12 is 4.0, 11 is 3.9, 10 is 3.7, 9 is 2.8, 8 is 2.4, 7 is
/// 2.1, and less is older.
fn version_limit(api: ApiKey, produce: i16) -> i16 {
    let by_produce = |limits: [i16; 7]| match produce {
        13.. => i16::MAX,
        12 => limits[0],
        11 => limits[1],
        10 => limits[2],
        9 => limits[3],
        8 => limits[4],
        7 => limits[5],
        _ => limits[6],
    };
    match api {
        ApiKey::Produce => produce,
        ApiKey::Metadata => by_produce([13, 12, 12, 11, 9, 7, 5]),
        ApiKey::ApiVersions => by_produce([4, 4, 3, 3, 3, 2, 1]),
        ApiKey::InitProducerId => by_produce([5, 5, 4, 4, 2, 1, 0]),
        _ => i16::MAX,
    }
}
