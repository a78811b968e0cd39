//! When the cluster itself takes writes: the measure that a producer is held against.
//!
//! For each partition and each broker a thread of its own asks again and again, without any of the producer's code above a connection:
//! one batch of one record, acks=all, no producer id, straight to that broker, whoever leads. What succeeds tells that the partition takes
//! writes at that moment. A request that waits for in-sync replicas is answered the moment they are enough; otherwise the next one comes
//! within [`TICK`], so that the cluster's recovery is seen late by that much at most, and a producer is judged too kindly by as much.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rohrpost_net::Target;
use rohrpost_protocol::messages::{PartitionProduceData, ProduceRequest, TopicProduceData};
use rohrpost_protocol::{ErrorCode, Records, VersionRange};
use rohrpost_record::{BatchBuilder, Codec, HEADER_LEN, NO_HEADERS, Stamp, stamp};

use super::nodes::connect;
use super::now_ms;

/// Between two questions to a broker.
pub const TICK: Duration = Duration::from_millis(50);
/// How long a broker may take.
const WITHIN_MS: u64 = 1_500;
/// By topic name, which stays the same when the topic is made again.
const VERSIONS: VersionRange = VersionRange::new(9, 12);

/// Threads that ask. They end when it is stopped or dropped.
pub struct Probe {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// By partition: when a record was accepted, in milliseconds since 1970.
    accepted: Vec<Arc<Mutex<Vec<u64>>>>,
}

impl Probe {
    /// Starts to ask.
    pub fn start(
        brokers: impl IntoIterator<Item = SocketAddr> + Clone,
        topic: &str,
        partitions: usize,
    ) -> Probe {
        let stop = Arc::new(AtomicBool::new(false));
        let mut probe = Probe { stop, threads: Vec::new(), accepted: Vec::new() };
        for partition in 0..partitions {
            let accepted = Arc::new(Mutex::new(Vec::new()));
            for broker in brokers.clone() {
                let (stop, topic, accepted) = (probe.stop.clone(), topic.to_owned(), accepted.clone());
                probe.threads.push(std::thread::spawn(move || {
                    ask(broker, &topic, partition as i32, &stop, &accepted);
                }));
            }
            probe.accepted.push(accepted);
        }
        probe
    }

    /// True if every partition has taken a record since `since_ms`.
    pub fn is_whole_since(&self, since_ms: u64) -> bool {
        self.accepted.iter().all(|accepted| {
            let accepted = accepted.lock().unwrap_or_else(PoisonError::into_inner);
            accepted.last().is_some_and(|&last| last > since_ms)
        })
    }

    /// Ends, and gives by partition when a record was accepted, in order.
    pub fn stop(mut self) -> Vec<Vec<u64>> {
        self.end();
        let taken = |accepted: &Arc<Mutex<Vec<u64>>>| {
            let mut times = std::mem::take(&mut *accepted.lock().unwrap_or_else(PoisonError::into_inner));
            times.sort_unstable();
            times
        };
        self.accepted.iter().map(taken).collect()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.end();
    }
}

fn ask(broker: SocketAddr, topic: &str, partition: i32, stop: &AtomicBool, accepted: &Mutex<Vec<u64>>) {
    let batch = batch();
    while !stop.load(Ordering::SeqCst) {
        // connects again after each failure: nothing of a broken connection is waited for
        if let Some(mut client) = connect(&[broker], WITHIN_MS) {
            while !stop.load(Ordering::SeqCst) {
                let Some(error) = produce(&mut client, topic, partition, &batch) else { break };
                if error == ErrorCode::NONE {
                    accepted.lock().unwrap_or_else(PoisonError::into_inner).push(now_ms());
                }
                std::thread::sleep(TICK);
            }
        }
        std::thread::sleep(TICK);
    }
}

fn produce(
    client: &mut rohrpost_net::Client,
    topic: &str,
    partition: i32,
    batch: &[u8],
) -> Option<ErrorCode> {
    let data =
        PartitionProduceData { index: partition, records: Some(Records::Bytes(batch)), ..Default::default() };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData { name: topic, partition_data: vec![data], ..Default::default() }],
        ..Default::default()
    };
    let response = client.call_within(Target::Any, VERSIONS, &request).ok()?;
    let answer = response.decode::<ProduceRequest<'_>>().ok()?;
    Some(answer.responses.first()?.partition_responses.first()?.error_code)
}

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut bytes = vec![0; HEADER_LEN + 100];
    let len = builder.append(&mut bytes[HEADER_LEN..], now_ms() as i64, None, Some(b"probe"), NO_HEADERS);
    bytes.truncate(HEADER_LEN + len);
    builder.write_header(bytes.first_chunk_mut().expect("a header"), Codec::None, len, false);
    stamp(&mut bytes, [], Stamp::NONE);
    bytes
}
