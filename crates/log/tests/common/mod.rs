//! What the tests share: batches as a producer makes them, and logs in memory.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;

use rohrpost_log::{
    AppendError, AppendInfo, AppendOrigin, LeaderChecks, Log, LogConfig, MemoryStorage, OpenMode,
    OpenOptions, Storage,
};
use rohrpost_record::{BatchBuilder, Batches, Codec, HEADER_LEN, NO_HEADERS, Stamp, stamp};

pub const NOW: i64 = 1_750_000_060_000;
pub const DIR: &str = "data/t-0";

/// A batch of `count` records with `size` bytes of value each, the first at `time` and each a millisecond later.
pub fn batch_with(count: u32, size: usize, time: i64, stamp_with: Stamp) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut bytes = vec![0; HEADER_LEN];
    for i in 0..count {
        let value: Vec<u8> = (0..size).map(|j| (i as usize * 31 + j * 7) as u8).collect();
        let at = bytes.len();
        let time = time + i64::from(i);
        bytes.resize(at + builder.record_len(time, Some(b"k"), Some(&value), NO_HEADERS), 0);
        builder.append(&mut bytes[at..], time, Some(b"k"), Some(&value), NO_HEADERS);
    }
    let head = bytes.first_chunk_mut::<HEADER_LEN>().unwrap();
    builder.write_header(head, Codec::None, builder.records_len(), false);
    stamp(&mut bytes, [], stamp_with);
    bytes
}

/// A batch without a producer id.
pub fn batch(count: u32) -> Vec<u8> {
    batch_with(count, 20, NOW - 1000, Stamp::NONE)
}

/// A batch of producer 10.
pub fn produced(epoch: i16, sequence: i32, count: u32) -> Vec<u8> {
    let id = Stamp { producer_id: 10, producer_epoch: epoch, base_sequence: sequence };
    batch_with(count, 20, NOW - 1000, id)
}

/// Appends with the latest leader epoch, 1 in a new log.
pub fn append(log: &mut Log, mut batch: Vec<u8>) -> Result<AppendInfo, AppendError> {
    let epoch = log.latest_epoch().unwrap_or(1);
    log.append_as_leader(&mut batch, epoch, NOW, LeaderChecks::default())
}

pub fn options() -> OpenOptions {
    OpenOptions { now_ms: NOW, ..OpenOptions::default() }
}

pub fn open_with(storage: &MemoryStorage, config: LogConfig, options: OpenOptions) -> Log {
    let storage: Arc<dyn Storage> = Arc::new(storage.clone());
    storage.create_dir(DIR).unwrap();
    storage.sync_dir("").unwrap();
    storage.sync_dir("data").unwrap();
    Log::open(storage, DIR, config, options).unwrap()
}

pub fn open(storage: &MemoryStorage) -> Log {
    open_with(storage, LogConfig::default(), options())
}

/// All bytes of the log.
pub fn content(log: &Log) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let read = log.read(offset, 1 << 20, i64::MAX, true).unwrap();
        if read.records.is_empty() {
            break;
        }
        bytes.extend_from_slice(&read.records);
        offset = read.next_offset;
    }
    bytes
}

/// Base offset and number of records of each batch, after checking that bytes are whole and good.
pub fn batches(bytes: &[u8]) -> Vec<(i64, i32)> {
    let mut all = Batches::new(bytes);
    let found = all
        .by_ref()
        .map(|b| {
            let b = b.unwrap();
            assert!(b.is_crc_valid());
            (b.header().base_offset, b.header().records_count)
        })
        .collect();
    assert!(all.remaining().is_empty(), "only whole batches");
    found
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

pub fn small() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 150, ..LogConfig::default() }
}

pub fn path(base: i64, suffix: &str) -> String {
    format!("{DIR}/{base:020}{suffix}")
}

pub fn files(storage: &MemoryStorage) -> Vec<String> {
    storage.list(DIR).unwrap().into_iter().map(|e| e.name).collect()
}

pub fn read(storage: &MemoryStorage, path: &str) -> Vec<u8> {
    let file = storage.open(path, OpenMode::Existing).unwrap();
    file.read_bytes(0, file.len().unwrap() as usize).unwrap().to_vec()
}

pub fn write(storage: &MemoryStorage, path: &str, position: u64, bytes: &[u8]) {
    storage.open(path, OpenMode::Create).unwrap().write_at(position, bytes).unwrap();
}

pub fn cut(storage: &MemoryStorage, path: &str, len: u64) {
    storage.open(path, OpenMode::Existing).unwrap().set_len(len).unwrap();
}

pub fn clean() -> OpenOptions {
    OpenOptions { clean: true, ..options() }
}

/// A log of several segments, closed without a crash, and all its bytes.
pub fn filled(storage: &MemoryStorage) -> (Vec<u8>, i64) {
    let mut log = open_with(storage, small(), options());
    for i in 0..60u32 {
        let mut bytes = batch_with(
            1 + i % 3,
            20,
            NOW - 100_000 + i64::from(i) * 10,
            Stamp {
                producer_id: i64::from(i % 2),
                producer_epoch: 0,
                base_sequence: (i / 2 * 6) as i32 % 1000,
            },
        );
        let checks = LeaderChecks { origin: AppendOrigin::Broker, ..LeaderChecks::default() };
        log.append_as_leader(&mut bytes, 1 + (i / 20) as i32, NOW, checks).unwrap();
    }
    assert!(log.segment_count() >= 5);
    let all = content(&log);
    let end = log.log_end_offset();
    log.close().unwrap();
    (all, end)
}

/// Base offset of the n-th segment from the end.
pub fn base_from_end(storage: &MemoryStorage, n: usize) -> i64 {
    let logs: Vec<_> = files(storage).into_iter().filter(|f| f.ends_with(".log")).collect();
    logs[logs.len() - 1 - n][..20].parse().unwrap()
}
