//! What the tests share: batches as a producer makes them, and logs in memory.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;

use rohrpost_log::{
    AppendError, AppendInfo, LeaderChecks, Log, LogConfig, MemoryStorage, OpenOptions, Storage,
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
