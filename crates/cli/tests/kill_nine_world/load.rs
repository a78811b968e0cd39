//! The load: a producer that never stops, and topics that come and go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rohrpost::{Outcome, Producer, Record};
use rohrpost_net::{Client, ClientError, Target};
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::{CreatableTopic, CreateTopicsRequest, DeleteTopicsRequest};

use super::{KEPT, PARTITIONS, PATIENCE, RETAINED, reader};

/// Records on their way at most.
const OUTSTANDING_MAX: u64 = 400;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Not known yet: it may be in the log.
    OnItsWay,
    /// Acknowledged at this offset.
    Acknowledged(i64),
    /// The producer said that it may be in the log.
    Unknown,
    /// The producer said that it is not in the log.
    NotWritten,
}

type Partition = (&'static str, i32);

/// All records, by partition and number.
#[derive(Default)]
pub struct Load {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    fates: BTreeMap<Partition, Vec<Fate>>,
    acknowledged: u64,
    unknown: u64,
    outstanding: u64,
}

impl Load {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next number of the partition, once there is room.
    fn next(&self, partition: Partition, stop: &AtomicBool) -> Option<u64> {
        let mut state = self.lock();
        while state.outstanding >= OUTSTANDING_MAX {
            state = self.changed.wait_timeout(state, Duration::from_millis(50)).unwrap().0;
            if stop.load(Ordering::Relaxed) {
                return None;
            }
        }
        state.outstanding += 1;
        let fates = state.fates.entry(partition).or_default();
        fates.push(Fate::OnItsWay);
        Some(fates.len() as u64 - 1)
    }

    fn ended(&self, partition: Partition, number: u64, fate: Fate) {
        let mut state = self.lock();
        state.outstanding -= 1;
        match fate {
            Fate::Acknowledged(_) => state.acknowledged += 1,
            Fate::Unknown => state.unknown += 1,
            Fate::OnItsWay | Fate::NotWritten => {}
        }
        let slot = &mut state.fates.get_mut(&partition).unwrap()[number as usize];
        assert_eq!(*slot, Fate::OnItsWay, "record {number} of {partition:?} ended twice");
        *slot = fate;
        self.changed.notify_all();
    }

    /// Waits until so many more are acknowledged.
    pub fn wait_for_acknowledged(&self, more: u64) {
        let mut state = self.lock();
        let wanted = state.acknowledged + more;
        while state.acknowledged < wanted {
            let (next, timeout) = self.changed.wait_timeout(state, PATIENCE).unwrap();
            assert!(!timeout.timed_out(), "the producer gets nowhere");
            state = next;
        }
    }

    /// For each partition, how many records have been sent, and the number of the last one acknowledged.
    pub fn acknowledged(&self) -> BTreeMap<Partition, u64> {
        let state = self.lock();
        let last = |fates: &Vec<Fate>| {
            fates.iter().rposition(|fate| matches!(fate, Fate::Acknowledged(_))).map(|at| at as u64)
        };
        state.fates.iter().filter_map(|(partition, fates)| Some((*partition, last(fates)?))).collect()
    }

    /// What became of a record.
    pub fn fate(&self, partition: Partition, number: u64) -> Option<Fate> {
        self.lock().fates.get(&partition)?.get(number as usize).copied()
    }

    pub fn acknowledged_count(&self) -> u64 {
        self.lock().acknowledged
    }

    pub fn unknown_count(&self) -> u64 {
        self.lock().unknown
    }
}

/// The value of a record: its place and number, and bytes that follow from them.
pub fn value(partition: Partition, number: u64) -> String {
    let tail = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ partition.1 as u64;
    format!(
        "{} {} {number} {}",
        partition.0,
        partition.1,
        format!("{tail:016x}").repeat(1 + (tail % 11) as usize)
    )
}

/// A producer at work.
pub struct Producing {
    producer: Producer,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Producing {
    pub fn begin(port: u16, load: &Arc<Load>) -> Producing {
        let producer = Producer::builder(format!("127.0.0.1:{port}"))
            // nothing is given up while the broker is away
            .delivery_timeout(PATIENCE * 10)
            .max_block(PATIENCE)
            .linger(Duration::from_millis(2))
            .batch_size(4096)
            .build()
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (producer, stop, load) = (producer.clone(), stop.clone(), load.clone());
            move || send(&producer, &stop, &load)
        });
        Producing { producer, stop, thread }
    }

    /// Closes it at once, whatever is on its way.
    pub fn give_up(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.producer.close_blocking(Duration::ZERO);
    }

    /// Waits for all that is on its way.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let report = self.producer.close_blocking(PATIENCE);
        assert!(
            report.undelivered.is_empty(),
            "not delivered with the broker there: {:?}",
            report.undelivered
        );
    }
}

fn send(producer: &Producer, stop: &AtomicBool, load: &Arc<Load>) {
    let targets: Vec<Partition> =
        (0..PARTITIONS).map(|partition| (KEPT, partition)).chain([(RETAINED, 0)]).collect();
    for round in 0.. {
        if round % 8 == 0 {
            // the disk is to hold minutes of this
            std::thread::sleep(Duration::from_millis(1));
        }
        let target = targets[round % targets.len()];
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Some(number) = load.next(target, stop) else { return };
        let record = Record::to(target.0).partition(target.1).unwrap().value(value(target, number));
        let ended = {
            let load = load.clone();
            move |outcome: Result<rohrpost::Delivered, rohrpost::DeliveryError>| {
                let fate = match outcome {
                    Ok(at) => Fate::Acknowledged(at.offset().expect("acks=all tells offsets")),
                    Err(error) if error.outcome() == Outcome::NotWritten => Fate::NotWritten,
                    Err(_) => Fate::Unknown,
                };
                load.ended(target, number, fate);
            }
        };
        // refused, the callback has run
        let _ = pollster(producer.send_with(record, ended));
    }
}

/// Runs a future in this thread.
fn pollster<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// Topics that come and go: a kill may hit any step of it.
pub struct Churn {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<String, Wanted>>,
}

/// What is known of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A request was not answered.
    Either,
    /// Its creation was answered.
    There,
    /// Its deletion was answered.
    Gone,
}

impl Churn {
    pub fn begin(port: u16) -> Churn {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || churn(port, &stop)
        });
        Churn { stop, thread }
    }

    /// Ends it, and compares with what the broker has.
    pub fn end(self, port: u16) {
        self.stop.store(true, Ordering::Relaxed);
        let wanted = self.thread.join().unwrap();
        let there = reader::connect(port).metadata(None).unwrap();
        for (name, wanted) in &wanted {
            let found = there.topics.iter().any(|topic| topic.name == *name);
            match wanted {
                Wanted::Either => {}
                Wanted::There => assert!(found, "{name} was created and is not there"),
                Wanted::Gone => assert!(!found, "{name} was deleted and is there"),
            }
        }
        assert!(wanted.values().any(|wanted| *wanted == Wanted::Gone), "no topic came and went");
    }
}

fn churn(port: u16, stop: &AtomicBool) -> BTreeMap<String, Wanted> {
    let mut wanted = BTreeMap::new();
    let mut client = reader::connect(port);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // each topic lives while the next three are made
        let made = format!("churn-{number}");
        let ended = |outcome: Result<ErrorCode, ClientError>, wanted| match outcome {
            Ok(ErrorCode::NONE) => Some(wanted),
            // a request before this one may have been carried out without an answer
            Ok(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) if wanted == Wanted::Gone => Some(wanted),
            Ok(code) => panic!("a topic could not be {wanted:?}: {}", code.name()),
            Err(_) => None,
        };
        match ended(create(&mut client, &made), Wanted::There) {
            Some(there) => wanted.insert(made, there),
            None => {
                client = reader::connect(port);
                wanted.insert(made, Wanted::Either)
            }
        };
        let Some(old) = (number as u64).checked_sub(3).map(|old| format!("churn-{old}")) else { continue };
        while wanted.get(&old) != Some(&Wanted::Gone) && !stop.load(Ordering::Relaxed) {
            wanted.insert(old.clone(), Wanted::Either);
            match ended(delete(&mut client, &old), Wanted::Gone) {
                Some(gone) => wanted.insert(old.clone(), gone),
                None => {
                    client = reader::connect(port);
                    None
                }
            };
        }
        // the disk is to hold minutes of this
        std::thread::sleep(Duration::from_millis(5));
    }
    wanted
}

fn create(client: &mut Client, name: &str) -> Result<ErrorCode, ClientError> {
    let topic = CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let response = client.call(Target::Any, &request)?;
    Ok(response.decode::<CreateTopicsRequest<'_>>()?.topics[0].error_code)
}

fn delete(client: &mut Client, name: &str) -> Result<ErrorCode, ClientError> {
    // by name: the versions with ids want those
    let request = DeleteTopicsRequest { topic_names: vec![name], timeout_ms: 10_000, ..Default::default() };
    let versions = rohrpost_protocol::VersionRange::new(1, 5);
    let response = client.call_within(Target::Any, versions, &request)?;
    Ok(response.decode::<DeleteTopicsRequest<'_>>()?.responses[0].error_code)
}
