//! Loss of power at random moments under load, simulated: what was synced survives, what was only written does not, except for a
//! random part of it.
//!
//! The disk of these tests is slow: a sync covers what was written before it began, and comes back later. So an
//! acknowledgement that counts a byte too much is found out. When the power goes, the process is dead at that instant: nothing
//! that its threads still do reaches the disk. Kill -9, which keeps the page cache, is tested with the real command.
//!
//! `ROHRPOST_POWER_LOSSES` says how often (default 12 in each mode), `ROHRPOST_SEED` repeats a run's choices.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::*;
use parking_lot::RwLock;
use rohrpost_broker::Cluster;
use rohrpost_log::{Entry, File, HeldLock, MemoryStorage, OpenMode, Storage};
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, ProduceRequest,
};

#[test]
fn in_synced_mode_what_was_acknowledged_survives_power_losses_at_random_moments() {
    // U3, D14, U6, U8: flush.messages=1, with rolls, new topics and several producers per partition
    lose_power_often(true);
}

#[test]
fn in_kafka_mode_a_power_loss_leaves_a_prefix_of_whole_batches() {
    // U4, D16
    lose_power_often(false);
}

fn lose_power_often(synced: bool) {
    let rounds = setting("ROHRPOST_POWER_LOSSES").unwrap_or(12);
    let seed = setting("ROHRPOST_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 7919);
    let mut dice = Dice(seed);
    let storage = MemoryStorage::new();
    let mut known = Known::default();
    for round in 0..rounds {
        let disk = Disk::of(&storage, dice.below(3));
        let cluster = start(&disk);
        known.check(&cluster, synced, seed, round);
        // of every third topic retention takes the beginning
        let name = format!("{}{round}", if round % 3 == 1 { RETAINED } else { "t" });
        create_topic(&cluster, &name, synced);
        known.topics.push(name);
        let wanted = dice.below(60);
        std::thread::scope(|scope| {
            let done = Arc::new(AtomicU64::new(0));
            for producer in 0..4 {
                let (known, cluster, done) = (&known, &cluster, Arc::clone(&done));
                // two write to the newest topic, two to an old one
                let old = round as usize / 2;
                let topic = known.topics[if producer < 2 { known.topics.len() - 1 } else { old }].clone();
                scope.spawn(move || produce(cluster, known, &topic, round, producer, &done));
            }
            eventually("some are acknowledged", || done.load(Ordering::Relaxed) >= wanted);
            std::thread::sleep(Duration::from_micros(dice.below(4000)));
            disk.lose_power(&mut dice);
        });
        cluster.abandon();
    }
    let disk = Disk::of(&storage, 0);
    let cluster = start(&disk);
    known.check(&cluster, synced, seed, rounds);
    let acknowledged: usize = known.acknowledged.lock().unwrap().values().map(BTreeMap::len).sum();
    assert!(acknowledged as u64 >= rounds, "the load was none");
}

/// Names of topics that lose their beginning start with this.
const RETAINED: &str = "retained";

fn start(disk: &Disk) -> Cluster {
    Cluster::builder()
        .data_dir("/data")
        .storage(Arc::new(disk.clone()))
        .config("log.initial.task.delay.ms", "0")
        .config("log.flush.offset.checkpoint.interval.ms", "3")
        .config("replica.high.watermark.checkpoint.interval.ms", "3")
        .config("log.flush.start.offset.checkpoint.interval.ms", "3")
        .config("log.retention.check.interval.ms", "1")
        .config("metadata.log.max.record.bytes.between.snapshots", "1500")
        .config("num.io.threads", "3")
        .start()
        .unwrap()
}

fn create_topic(cluster: &Cluster, name: &str, synced: bool) {
    let config = |name, value| CreatableTopicConfig { name, value: Some(value), ..Default::default() };
    // the batches of these tests are from 2023
    let mut configs = vec![config("internal.segment.bytes", "2000"), config("retention.ms", "-1")];
    if name.starts_with(RETAINED) {
        configs.push(config("retention.bytes", "1000"));
        configs.push(config("file.delete.delay.ms", "2"));
    }
    if synced {
        configs.push(config("flush.messages", "1"));
    }
    let topic =
        CreatableTopic { name, num_partitions: 2, replication_factor: 1, configs, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let mut client = Client::of(cluster);
    assert_eq!(client.call(&request, 7).topics[0].error_code, ErrorCode::NONE);
}

/// What was acknowledged: values by offset, by topic and partition.
#[derive(Default)]
struct Known {
    topics: Vec<String>,
    acknowledged: Mutex<BTreeMap<(String, i32), BTreeMap<i64, String>>>,
}

/// Writes until the broker is gone; only what was answered without error counts.
fn produce(cluster: &Cluster, known: &Known, topic: &str, round: u64, producer: u64, done: &AtomicU64) {
    let mut client = Client::of(cluster);
    let partition = (producer % 2) as i32;
    for number in 0.. {
        let value = format!("{round} {producer} {number} {}", "x".repeat(number % 90));
        let records = batch(&[&value, &value]);
        // acks=1 is as good as all with one replica
        let acks = if number % 5 == 4 { 1 } else { -1 };
        client.send(&produce_request(topic, partition, Some(&records), acks), 12);
        let response = client.receive::<ProduceRequest<'_>>(12, 0);
        let answer = &response.responses[0].partition_responses[0];
        done.fetch_add(1, Ordering::Relaxed);
        if answer.error_code != ErrorCode::NONE {
            assert_eq!(answer.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
            return;
        }
        let mut acknowledged = known.acknowledged.lock().unwrap();
        let log = acknowledged.entry((topic.to_owned(), partition)).or_default();
        for offset in [answer.base_offset, answer.base_offset + 1] {
            let before = log.insert(offset, value.clone());
            assert_eq!(before, None, "{topic}-{partition}: offset {offset} was given twice");
        }
    }
}

impl Known {
    /// Compares the logs after a start with what was acknowledged; what a power loss may take in Kafka mode is forgotten.
    fn check(&mut self, cluster: &Cluster, synced: bool, seed: u64, round: u64) {
        let mut acknowledged = self.acknowledged.lock().unwrap();
        for topic in &self.topics {
            for partition in 0..2 {
                let place = format!("{topic}-{partition} in round {round}, ROHRPOST_SEED={seed}");
                // retention may go on while this looks
                let start_before = cluster.log(topic, partition).start_offset();
                let records = cluster.log(topic, partition).records();
                let log_start = cluster.log(topic, partition).start_offset();
                let end = cluster.log(topic, partition).end_offset();
                assert!(log_start == 0 || topic.starts_with(RETAINED), "{place} starts at {log_start}");
                let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
                let first = offsets.first().copied().unwrap_or(end);
                assert!((start_before..=log_start).contains(&first), "{place} starts at {first}");
                assert!(offsets.iter().copied().eq(first..end), "{place}: not {first} to {end}: {offsets:?}");
                let log = acknowledged.entry((topic.clone(), partition)).or_default();
                if synced {
                    assert!(
                        log.last_key_value().is_none_or(|(last, _)| *last < end),
                        "{place}: {:?} was acknowledged, and the log ends at {end}",
                        log.last_key_value()
                    );
                } else {
                    log.split_off(&end);
                }
                let mut last_of = BTreeMap::new();
                for record in records {
                    let value = String::from_utf8(record.value.unwrap()).unwrap();
                    if let Some(said) = log.get(&record.offset) {
                        assert_eq!(*said, value, "{place} at {}", record.offset);
                    }
                    let numbers: Vec<u64> =
                        value.split(' ').take(3).map(|number| number.parse().unwrap()).collect();
                    // two records a batch, in order per producer
                    let times = last_of.entry((numbers[0], numbers[1])).or_insert((numbers[2], 0));
                    *times = if times.0 == numbers[2] { (times.0, times.1 + 1) } else { (numbers[2], 1) };
                    assert!(times.1 <= 2, "{place}: {value} is there more than once");
                }
            }
        }
    }
}

/// A disk that is slow to sync, and that a dead process cannot reach.
#[derive(Debug, Clone)]
struct Disk {
    memory: MemoryStorage,
    /// Whether the power is on. Held for reading while something happens to the disk.
    power: Arc<RwLock<bool>>,
    sync_ms: u64,
}

#[derive(Debug)]
struct DiskFile {
    file: Arc<dyn File>,
    disk: Disk,
}

impl Disk {
    fn of(memory: &MemoryStorage, sync_ms: u64) -> Disk {
        Disk { memory: memory.clone(), power: Arc::new(RwLock::new(true)), sync_ms }
    }

    fn with<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let power = self.power.read();
        if *power { work() } else { Err(io::Error::other("the power is gone")) }
    }

    /// A random part of what was not synced survives, of files that have only grown.
    fn lose_power(&self, dice: &mut Dice) {
        let mut power = self.power.write();
        *power = false;
        self.memory.power_loss_keeping(|_, unsynced| match dice.below(3) {
            0 => 0,
            1 => unsynced,
            _ => dice.below(unsynced + 1),
        });
    }

    /// What was written before this is durable; the answer takes its time.
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.with(sync)?;
        std::thread::sleep(Duration::from_millis(self.sync_ms));
        Ok(())
    }
}

impl Storage for Disk {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.with(|| self.memory.create_dir(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        self.with(|| self.memory.list(path))
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.with(|| self.memory.open(path, mode))?;
        Ok(Arc::new(DiskFile { file, disk: self.clone() }))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.with(|| self.memory.exists(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.with(|| self.memory.rename(from, to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.with(|| self.memory.remove(path))
    }

    fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        self.with(|| self.memory.remove_dir_all(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.sync(|| self.memory.sync_dir(path))
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn HeldLock>>> {
        self.with(|| self.memory.lock(path))
    }

    fn preallocates(&self) -> bool {
        false
    }
}

impl File for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.with(|| self.file.len())
    }

    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<usize> {
        self.disk.with(|| self.file.read_at(position, out))
    }

    fn read_bytes(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.disk.with(|| self.file.read_bytes(position, len))
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.with(|| self.file.write_at(position, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync(|| self.file.sync())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.with(|| self.file.set_len(len))
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A generator with a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}
