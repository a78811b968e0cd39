//! What the sender writes down: sums, maxima and durations, by the producer, by topic and by broker.
//!
//! One short lock, taken once per request, answer or poll, and once by a call that had to wait. Whoever takes a snapshot holds it for
//! as long as it takes to copy one pointer per topic and broker: pages are shared with the snapshot and copied by the sender when it
//! writes on one again.
//!
//! Bounded: [`TOPICS_MAX`] topics and [`NODES_MAX`] brokers have a page, all others share one; a page on which nothing was written for
//! an hour is torn out (MTR-4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rohrpost_net::Traffic;

use super::windows::{Maxima, Windows};
use super::{Histogram, MetricsSnapshot, Stage};

pub(crate) use super::windows::Spans;

/// Topics with figures of their own.
const TOPICS_MAX: usize = 256;
/// Brokers with figures of their own.
const NODES_MAX: usize = 256;
/// MTR-4: a topic that was not used for so long is left out.
const IDLE_MS: u64 = 3_600_000;
/// How often it is looked for idle pages.
const SWEEP_EVERY_MS: u64 = 60_000;
/// [`Book::metadata_at_ms`] before there is any.
const NEVER: u64 = u64::MAX;

/// One per producer.
pub(crate) struct Book {
    spans: Spans,
    pages: Mutex<Pages>,
    metadata_at_ms: AtomicU64,
    begun_us: u64,
}

/// What is written.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(super) producer: Windows<Totals, Largest>,
    pub(super) topics: BTreeMap<Arc<str>, Arc<TopicPage>>,
    pub(super) nodes: BTreeMap<i32, Arc<NodePage>>,
    next_sweep_ms: u64,
    spans: Spans,
}

/// Sums of the producer as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(super) flow: Flow,
    pub(super) wire: Wire,
    /// Batches and records in requests, each time they are sent.
    pub(super) batches: u64,
    pub(super) records: u64,
    /// Of records alone, before compression.
    pub(super) record_bytes: u64,
    pub(super) produce_requests: u64,
    pub(super) batches_split: u64,
    pub(super) queue_us: u64,
    pub(super) queue_times: u64,
    pub(super) throttle_ms: u64,
    pub(super) connections_made: u64,
    pub(super) connections_closed: u64,
    pub(super) selects: u64,
    pub(super) io_us: u64,
    pub(super) io_wait_us: u64,
    pub(super) room_wait_us: u64,
    pub(super) metadata_wait_us: u64,
    pub(super) flush_us: u64,
    pub(super) exhausted: u64,
}

/// Maxima of the producer as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Largest {
    pub(super) batch_bytes: u64,
    pub(super) record_bytes: u64,
    pub(super) queue_us: u64,
    pub(super) throttle_ms: u64,
    pub(super) wire: WireLargest,
}

/// Sums of records: of the producer, and of each topic.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flow {
    /// MTR-1: sent for the first time, splits excluded.
    pub(super) records_sent: u64,
    /// Of batches in requests, each time they are sent.
    pub(super) bytes: u64,
    /// The same before compression.
    pub(super) raw_bytes: u64,
    pub(super) records_retried: u64,
    pub(super) records_failed: u64,
}

/// Sums of what connections carry: of the producer, and of each broker.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wire {
    pub(super) requests: u64,
    pub(super) request_bytes: u64,
    pub(super) responses: u64,
    pub(super) bytes_out: u64,
    pub(super) bytes_in: u64,
    /// Of answered Produce requests.
    pub(super) latency_us: u64,
    pub(super) latencies: u64,
}

/// Maxima of the same.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WireLargest {
    pub(super) request_bytes: u64,
    pub(super) latency_us: u64,
}

/// One topic.
#[derive(Debug, Clone)]
pub(crate) struct TopicPage {
    pub(super) windows: Windows<Flow, ()>,
    pub(super) stages: [Histogram; Stage::ALL.len()],
    last_used_ms: u64,
}

/// One broker.
#[derive(Debug, Clone)]
pub(crate) struct NodePage {
    pub(super) windows: Windows<Wire, WireLargest>,
    pub(super) writing: Histogram,
    pub(super) answering: Histogram,
    last_used_ms: u64,
}

/// A request that is being made: what to write down once the connection has taken it.
#[derive(Default)]
pub(crate) struct Draft {
    sums: Totals,
    largest: Largest,
    topics: Vec<TopicDraft>,
    /// Of each batch that is sent for the first time: its topic's place, and how long it was filling and queued.
    times: Vec<(usize, u64, u64)>,
}

struct TopicDraft {
    name: Arc<str>,
    flow: Flow,
}

/// A batch that goes into a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) records: u64,
    /// As it travels.
    pub(crate) bytes: u64,
    /// The same before compression.
    pub(crate) raw_bytes: u64,
    /// Of these, its records alone.
    pub(crate) record_bytes: u64,
    /// Its largest record, as estimated.
    pub(crate) largest_record: u64,
    /// Set if it was in no request before: how long it was filling and queued.
    pub(crate) first: Option<(u64, u64)>,
}

/// A batch that has its outcome.
pub(crate) struct Told {
    pub(crate) topic: Arc<str>,
    pub(crate) records: u64,
    pub(crate) failed: bool,
    pub(crate) created_us: u64,
    /// When it was known.
    pub(crate) ended_us: u64,
}

impl Book {
    pub(crate) fn new(spans: Spans, now_us: u64) -> Book {
        let pages = Pages {
            producer: Windows::new(now_us / 1000),
            topics: BTreeMap::new(),
            nodes: BTreeMap::new(),
            next_sweep_ms: 0,
            spans,
        };
        Book { spans, pages: Mutex::new(pages), metadata_at_ms: AtomicU64::new(NEVER), begun_us: now_us }
    }

    pub(crate) fn spans(&self) -> Spans {
        self.spans
    }

    /// For how long it has been written.
    pub(crate) fn age_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.begun_us)
    }

    /// What is written by now; for snapshots.
    pub(crate) fn copy(&self, now_us: u64) -> Pages {
        self.open(now_us / 1000).clone()
    }

    /// A connection has taken a request. Empties the draft.
    pub(crate) fn sent(&self, draft: &mut Draft, now_us: u64) {
        let now_ms = now_us / 1000;
        let mut pages = self.open(now_ms);
        let (sums, largest) = pages.producer.add(self.spans, now_ms);
        sums.add_sent(&draft.sums);
        largest.join(&draft.largest);
        let mut times = draft.times.as_slice();
        for (at, topic) in draft.topics.iter().enumerate() {
            let page = pages.topic(&topic.name, now_ms);
            page.windows.add(self.spans, now_ms).0.add(&topic.flow);
            // Batches of a topic stand together in the request; those of one that does not are found below.
            let own = times.iter().take_while(|(of, ..)| *of == at).count();
            let (own, rest) = times.split_at(own);
            own.iter().for_each(|(_, filling_us, queued_us)| page.note_first(*filling_us, *queued_us));
            times = rest;
        }
        for (at, filling_us, queued_us) in times {
            if let Some(topic) = draft.topics.get(*at) {
                pages.topic(&topic.name, now_ms).note_first(*filling_us, *queued_us);
            }
        }
        drop(pages);
        draft.clear();
    }

    /// A Produce request was answered: it was handed over at `sent_us`, and the socket had all of it at `written_us`. `topics`: how many
    /// batches of each.
    pub(crate) fn answered<'a>(
        &self,
        node: i32,
        (sent_us, written_us): (u64, u64),
        throttle_ms: u64,
        topics: impl Iterator<Item = (&'a Arc<str>, usize)>,
        now_us: u64,
    ) {
        let now_ms = now_us / 1000;
        let latency_us = now_us.saturating_sub(sent_us);
        let writing_us = written_us.saturating_sub(sent_us).min(latency_us);
        let answering_us = latency_us - writing_us;
        let mut pages = self.open(now_ms);
        let (sums, largest) = pages.producer.add(self.spans, now_ms);
        sums.throttle_ms += throttle_ms;
        largest.throttle_ms = largest.throttle_ms.max(throttle_ms);
        pages.wires(node, now_ms, |sums, largest| {
            sums.latency_us += latency_us;
            sums.latencies += 1;
            largest.latency_us = largest.latency_us.max(latency_us);
        });
        let page = pages.node(node, now_ms);
        page.writing.record(writing_us, 1);
        page.answering.record(answering_us, 1);
        for (topic, batches) in topics {
            let page = pages.topic(topic, now_ms);
            page.stage(Stage::Writing).record(writing_us, batches as u64);
            page.stage(Stage::Answering).record(answering_us, batches as u64);
        }
    }

    /// A batch goes back to be sent again.
    pub(crate) fn retried(&self, topic: &Arc<str>, records: u64, now_us: u64) {
        let now_ms = now_us / 1000;
        self.open(now_ms).flows(topic, now_ms, |flow| flow.records_retried += records);
    }

    /// A batch goes on in parts.
    pub(crate) fn split(&self, now_us: u64) {
        let now_ms = now_us / 1000;
        self.open(now_ms).producer.add(self.spans, now_ms).0.batches_split += 1;
    }

    /// Batches have their outcome, callbacks included. Empties the list.
    pub(crate) fn told(&self, told: &mut Vec<Told>, now_us: u64) {
        let now_ms = now_us / 1000;
        let mut pages = self.open(now_ms);
        for Told { topic, records, failed, created_us, ended_us } in told.drain(..) {
            if failed {
                pages.flows(&topic, now_ms, |flow| flow.records_failed += records);
            }
            let page = pages.topic(&topic, now_ms);
            page.stage(Stage::Telling).record(now_us.saturating_sub(ended_us), 1);
            page.stage(Stage::Total).record(now_us.saturating_sub(created_us), 1);
        }
    }

    /// A call has waited for its topic's metadata, and then for room. `topic`: unless it is not known to exist.
    pub(crate) fn waited(&self, topic: Option<&Arc<str>>, metadata_us: u64, room_us: u64, now_us: u64) {
        let now_ms = now_us / 1000;
        let mut pages = self.open(now_ms);
        let sums = pages.producer.add(self.spans, now_ms).0;
        sums.metadata_wait_us += metadata_us;
        sums.room_wait_us += room_us;
        if let Some(topic) = topic {
            pages.topic(topic, now_ms).stage(Stage::Room).record(metadata_us + room_us, 1);
        }
    }

    /// A call found no room in time (BUF-3).
    pub(crate) fn exhausted(&self, now_us: u64) {
        let now_ms = now_us / 1000;
        self.open(now_ms).producer.add(self.spans, now_ms).0.exhausted += 1;
    }

    /// A call of `flush` has waited for so long.
    pub(crate) fn flushed(&self, us: u64, now_us: u64) {
        let now_ms = now_us / 1000;
        self.open(now_ms).producer.add(self.spans, now_ms).0.flush_us += us;
    }

    /// Connections stand that did not before, and others do not any more.
    pub(crate) fn connections(&self, made: u64, closed: u64, now_us: u64) {
        let now_ms = now_us / 1000;
        let mut pages = self.open(now_ms);
        let sums = pages.producer.add(self.spans, now_ms).0;
        sums.connections_made += made;
        sums.connections_closed += closed;
    }

    /// A pass of the sender's loop is over: it worked for `io_us`, and then waited for `wait_us`. `take` hands over what the sockets
    /// carried.
    pub(crate) fn polled(
        &self,
        io_us: u64,
        wait_us: u64,
        now_us: u64,
        take: impl FnOnce(&mut dyn FnMut(i32, Traffic)),
    ) {
        let now_ms = now_us / 1000;
        let mut pages = self.open(now_ms);
        let sums = pages.producer.add(self.spans, now_ms).0;
        sums.selects += 1;
        sums.io_us += io_us;
        sums.io_wait_us += wait_us;
        take(&mut |node, traffic| pages.wires(node, now_ms, |sums, largest| sums.carry(&traffic, largest)));
    }

    /// The cluster has described itself.
    pub(crate) fn got_metadata(&self, now_ms: u64) {
        self.metadata_at_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn metadata_at_ms(&self) -> Option<u64> {
        Some(self.metadata_at_ms.load(Ordering::Relaxed)).filter(|at| *at != NEVER)
    }

    fn open(&self, now_ms: u64) -> MutexGuard<'_, Pages> {
        let mut pages = self.pages.lock();
        if now_ms >= pages.next_sweep_ms {
            pages.sweep(now_ms);
        }
        pages
    }
}

impl Pages {
    /// A topic's page, begun if it has none; the common one if there are too many.
    fn topic(&mut self, name: &Arc<str>, now_ms: u64) -> &mut TopicPage {
        let is_beyond = self.topics.len() >= TOPICS_MAX && !self.topics.contains_key(name);
        let name = if is_beyond { MetricsSnapshot::OTHERS.into() } else { name.clone() };
        let page = self.topics.entry(name).or_insert_with(|| Arc::new(TopicPage::new(now_ms)));
        let page = Arc::make_mut(page);
        page.last_used_ms = now_ms;
        page
    }

    fn node(&mut self, node: i32, now_ms: u64) -> &mut NodePage {
        let is_beyond = self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&node);
        let node = if is_beyond { MetricsSnapshot::OTHER_NODES } else { node };
        let page = self.nodes.entry(node).or_insert_with(|| Arc::new(NodePage::new(now_ms)));
        let page = Arc::make_mut(page);
        page.last_used_ms = now_ms;
        page
    }

    /// Writes down what is counted for the producer and for a topic alike.
    fn flows(&mut self, topic: &Arc<str>, now_ms: u64, mut write: impl FnMut(&mut Flow)) {
        let spans = self.spans;
        write(&mut self.producer.add(spans, now_ms).0.flow);
        write(self.topic(topic, now_ms).windows.add(spans, now_ms).0);
    }

    /// Writes down what is counted for the producer and for a broker alike.
    fn wires(&mut self, node: i32, now_ms: u64, mut write: impl FnMut(&mut Wire, &mut WireLargest)) {
        let spans = self.spans;
        let (sums, largest) = self.producer.add(spans, now_ms);
        write(&mut sums.wire, &mut largest.wire);
        let (sums, largest) = self.node(node, now_ms).windows.add(spans, now_ms);
        write(sums, largest);
    }

    /// MTR-4
    fn sweep(&mut self, now_ms: u64) {
        self.next_sweep_ms = now_ms + SWEEP_EVERY_MS;
        let is_used = |last_used_ms: u64| now_ms.saturating_sub(last_used_ms) < IDLE_MS;
        self.topics.retain(|_, page| is_used(page.last_used_ms));
        self.nodes.retain(|_, page| is_used(page.last_used_ms));
    }
}

impl TopicPage {
    fn new(now_ms: u64) -> TopicPage {
        TopicPage { windows: Windows::new(now_ms), stages: Default::default(), last_used_ms: now_ms }
    }

    fn stage(&mut self, stage: Stage) -> &mut Histogram {
        &mut self.stages[stage as usize]
    }

    fn note_first(&mut self, filling_us: u64, queued_us: u64) {
        self.stage(Stage::Filling).record(filling_us, 1);
        self.stage(Stage::Queued).record(queued_us, 1);
    }
}

impl NodePage {
    fn new(now_ms: u64) -> NodePage {
        NodePage {
            windows: Windows::new(now_ms),
            writing: Histogram::default(),
            answering: Histogram::default(),
            last_used_ms: now_ms,
        }
    }
}

impl Draft {
    /// A batch goes into the request, as one of the topic at this place in it.
    pub(crate) fn add(&mut self, at: usize, topic: &Arc<str>, sent: Sent) {
        let first = if sent.first.is_some() { sent.records } else { 0 };
        let flow =
            Flow { records_sent: first, bytes: sent.bytes, raw_bytes: sent.raw_bytes, ..Flow::default() };
        let sums = &mut self.sums;
        sums.flow.add(&flow);
        sums.batches += 1;
        sums.records += sent.records;
        sums.record_bytes += sent.record_bytes;
        self.largest.batch_bytes = self.largest.batch_bytes.max(sent.bytes);
        self.largest.record_bytes = self.largest.record_bytes.max(sent.largest_record);
        if self.topics.len() == at {
            self.topics.push(TopicDraft { name: topic.clone(), flow: Flow::default() });
        }
        let Some(topic) = self.topics.get_mut(at) else { return };
        topic.flow.add(&flow);
        if let Some((filling_us, queued_us)) = sent.first {
            sums.queue_us += filling_us + queued_us;
            sums.queue_times += 1;
            self.largest.queue_us = self.largest.queue_us.max(filling_us + queued_us);
            self.times.push((at, filling_us, queued_us));
        }
    }

    /// Nothing was sent.
    pub(crate) fn clear(&mut self) {
        (self.sums, self.largest) = (Totals::default(), Largest::default());
        self.topics.clear();
        self.times.clear();
    }
}

impl Totals {
    /// What [`Draft::add`] has counted, and the request.
    fn add_sent(&mut self, request: &Totals) {
        self.flow.add(&request.flow);
        self.batches += request.batches;
        self.records += request.records;
        self.record_bytes += request.record_bytes;
        self.produce_requests += 1;
        self.queue_us += request.queue_us;
        self.queue_times += request.queue_times;
    }
}

impl Flow {
    fn add(&mut self, other: &Flow) {
        self.records_sent += other.records_sent;
        self.bytes += other.bytes;
        self.raw_bytes += other.raw_bytes;
        self.records_retried += other.records_retried;
        self.records_failed += other.records_failed;
    }
}

impl Wire {
    fn carry(&mut self, traffic: &Traffic, largest: &mut WireLargest) {
        self.requests += traffic.requests;
        self.request_bytes += traffic.request_bytes;
        self.responses += traffic.responses;
        self.bytes_out += traffic.bytes_out;
        self.bytes_in += traffic.bytes_in;
        largest.request_bytes = largest.request_bytes.max(traffic.largest_request);
    }
}

impl Maxima for Largest {
    fn join(&mut self, other: &Largest) {
        self.batch_bytes = self.batch_bytes.max(other.batch_bytes);
        self.record_bytes = self.record_bytes.max(other.record_bytes);
        self.queue_us = self.queue_us.max(other.queue_us);
        self.throttle_ms = self.throttle_ms.max(other.throttle_ms);
        self.wire.join(&other.wire);
    }
}

impl Maxima for WireLargest {
    fn join(&mut self, other: &WireLargest) {
        self.request_bytes = self.request_bytes.max(other.request_bytes);
        self.latency_us = self.latency_us.max(other.latency_us);
    }
}

impl Maxima for () {
    fn join(&mut self, (): &()) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;
    const HOUR_US: u64 = 3600 * SECOND_US;

    fn book() -> Book {
        Book::new(Spans::new(2, 30_000), 0)
    }

    fn send(book: &Book, topic: &str, now_us: u64) {
        let mut draft = Draft::default();
        let sent = Sent {
            records: 2,
            bytes: 100,
            raw_bytes: 200,
            record_bytes: 139,
            largest_record: 80,
            first: Some((10, 5)),
        };
        draft.add(0, &topic.into(), sent);
        book.sent(&mut draft, now_us);
        assert!(draft.topics.is_empty() && draft.times.is_empty());
    }

    // MTR-4
    #[test]
    fn a_topic_or_broker_not_used_for_an_hour_is_left_out() {
        let book = book();
        send(&book, "a", 0);
        book.answered(1, (0, 0), 0, [].into_iter(), 0);
        send(&book, "b", HOUR_US - 2 * SECOND_US);
        let names = |at_us| book.copy(at_us).topics.keys().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(HOUR_US - 1), ["a", "b"]);
        assert_eq!(book.copy(HOUR_US - 1).nodes.len(), 1);
        assert_eq!(names(HOUR_US + 61 * SECOND_US), ["b"]);
        assert_eq!(book.copy(HOUR_US + 62 * SECOND_US).nodes.len(), 0);
        send(&book, "a", HOUR_US + 63 * SECOND_US);
        let again = book.copy(HOUR_US + 64 * SECOND_US);
        assert_eq!(again.topics["a"].windows.total().records_sent, 2, "it begins anew");
        assert_eq!(again.producer.total().flow.records_sent, 6, "the producer's own goes on");
    }

    // MTR-4
    #[test]
    fn topics_and_brokers_beyond_the_limit_are_counted_together() {
        let book = book();
        for number in 0..TOPICS_MAX + 10 {
            send(&book, &format!("t{number}"), 0);
            book.answered(number as i32, (0, 0), 0, [].into_iter(), 0);
        }
        send(&book, "t0", 0);
        let pages = book.copy(0);
        assert_eq!((pages.topics.len(), pages.nodes.len()), (TOPICS_MAX + 1, NODES_MAX + 1));
        assert_eq!(pages.topics[MetricsSnapshot::OTHERS].windows.total().records_sent, 20);
        assert_eq!(pages.nodes[&MetricsSnapshot::OTHER_NODES].windows.total().latencies, 10);
        assert_eq!(pages.topics["t0"].windows.total().records_sent, 4);
    }

    #[test]
    fn a_snapshot_does_not_change_when_more_is_written() {
        let book = book();
        send(&book, "a", 0);
        let before = book.copy(0);
        send(&book, "a", 1);
        let after = book.copy(1);
        let filling = |pages: &Pages| pages.topics["a"].stages[Stage::Filling as usize].count();
        assert_eq!((filling(&before), filling(&after)), (1, 2));
    }

    // MTR-2
    #[test]
    fn the_stages_of_a_request_add_up_whatever_the_stamps_say() {
        let book = book();
        let topic: Arc<str> = "a".into();
        for (written_us, writing_us, answering_us) in [(700, 600, 300), (50, 0, 900), (5000, 900, 0)] {
            let before = book.copy(0);
            book.answered(1, (100, written_us), 0, [(&topic, 2)].into_iter(), 1000);
            let after = book.copy(0);
            let node = |pages: &Pages| {
                let page = pages.nodes.get(&1)?;
                Some((page.writing.sum().as_micros(), page.answering.sum().as_micros()))
            };
            let (was, is) = (node(&before).unwrap_or_default(), node(&after).unwrap());
            assert_eq!((is.0 - was.0, is.1 - was.1), (writing_us, answering_us));
            let page = &after.topics["a"].stages[Stage::Answering as usize];
            assert_eq!(page.count() % 2, 0, "each of the two batches");
        }
    }

    #[test]
    fn batches_of_a_topic_that_do_not_stand_together_are_all_counted() {
        let book = book();
        let mut draft = Draft::default();
        let sent = Sent {
            records: 1,
            bytes: 10,
            raw_bytes: 10,
            record_bytes: 8,
            largest_record: 8,
            first: Some((1, 1)),
        };
        for (at, name) in [(0, "a"), (1, "b"), (0, "a")] {
            draft.add(at, &name.into(), sent);
        }
        book.sent(&mut draft, 0);
        let pages = book.copy(0);
        let count = |name: &str| pages.topics[name].stages[Stage::Queued as usize].count();
        assert_eq!((count("a"), count("b")), (2, 1));
        assert_eq!(pages.topics["a"].windows.total().records_sent, 2);
    }
}
