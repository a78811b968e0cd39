//! Target: opening a log on whatever lies in its directory (D15 to D19), reading and going on from there.
//!
//! Input: flags (1: a clean start, 2: recovery point 0, 4: begin without any file, 8: topic is compacted), recovery point,
//! log start, then damage done to a valid log of several segments: file, kind of damage, place, and what that kind needs.
//!
//! Promises: opening never fails and never panics, its memory is bounded by the files; after a full recovery all of the log
//! can be read, in whole good batches with rising offsets; the log takes more; it is the same after the next start.

use std::sync::{Arc, OnceLock};

use rohrpost_log::{LeaderChecks, Log, LogConfig, LogError, MemoryStorage, OpenMode, OpenOptions, Storage};
use rohrpost_record::crc::crc32c;
use rohrpost_record::{
    Batch, BatchBuilder, Batches, Codec, Compression, Compressor, HEADER_LEN, NO_HEADERS, Stamp, patch, stamp,
};

use crate::input::Input;
use crate::memory::within;
use crate::record::mend;

const DIR: &str = "data/t-0";
const NOW: i64 = 1_750_000_000_000;

const CLEAN: u8 = 1;
const FROM_ZERO: u8 = 2;
const EMPTY: u8 = 4;
const COMPACTED: u8 = 8;

/// See the module.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let recovery_point = if flags & FROM_ZERO != 0 { 0 } else { i64::from(input.byte()) };
    let log_start = i64::from(input.byte()).saturating_sub(150).max(0);
    let storage = MemoryStorage::new();
    storage.create_dir(DIR).expect("memory has room");
    if flags & EMPTY == 0 {
        for (name, bytes) in valid_log() {
            put(&storage, name, bytes);
        }
    }
    let mut edits = 0;
    while !input.is_empty() && edits < 64 {
        damage(&storage, &mut input);
        edits += 1;
    }
    let options = OpenOptions {
        clean: flags & CLEAN != 0,
        recovery_point,
        log_start,
        now_ms: NOW,
        ..OpenOptions::default()
    };
    let config = LogConfig { compact: flags & COMPACTED != 0, ..small() };
    check(&storage, &config, options);
}

/// See the module.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![], vec![CLEAN], vec![FROM_ZERO, 0], vec![EMPTY | FROM_ZERO, 0]];
    let files = valid_log().len() as u8;
    for flags in [0, CLEAN, FROM_ZERO, COMPACTED, FROM_ZERO | COMPACTED] {
        for kind in 0..KINDS {
            for file in [0, files / 3, files / 2, files - 1] {
                let mut seed = vec![flags];
                if flags & FROM_ZERO == 0 {
                    seed.push(60);
                }
                seed.extend([0, file, kind, 0, 70 + kind, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
                seeds.push(seed);
            }
        }
    }
    // files that are written from nothing: a good batch, an index, a snapshot, epochs
    let batch = batch(3, Codec::None, Stamp { producer_id: 7, producer_epoch: 0, base_sequence: 0 });
    for (suffix, content) in [
        (0, batch.clone()),
        (0, [&batch[..], &batch[..]].concat()),
        (1, vec![0, 0, 0, 1, 0, 0, 0, 0]),
        (2, [&NOW.to_be_bytes()[..], &[0, 0, 0, 1]].concat()),
        (3, vec![0; 34]),
        (4, snapshot(&[7])),
        (5, b"0\n1\n3 0\n".to_vec()),
    ] {
        let mut seed = vec![EMPTY | FROM_ZERO, 0, 0, WRITE_FILE, 0, 0, suffix, 0];
        crate::input::put_counted(&mut seed, &content);
        seeds.push(seed);
    }
    seeds
}

const KINDS: u8 = 12;
const WRITE_FILE: u8 = 9;

/// One piece of damage.
fn damage(storage: &MemoryStorage, input: &mut Input<'_>) {
    let names = names(storage);
    let which = usize::from(input.byte());
    let kind = input.byte() % KINDS;
    let at = input.u16();
    if kind == WRITE_FILE {
        write_file(storage, input);
        return;
    }
    let Some(name) = names.get(which % names.len().max(1)) else { return };
    let bytes = get(storage, name);
    let position = usize::from(at) % bytes.len().max(1);
    let changed = |change: &mut dyn FnMut(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        put(storage, name, &bytes);
    };
    match kind {
        0 => storage.remove(&path(name)).expect("it was listed"),
        1 => put(storage, name, &bytes[..position]),
        2 => {
            let byte = input.byte();
            changed(&mut |bytes| bytes.iter_mut().skip(position).take(1).for_each(|b| *b = byte));
        }
        3 => {
            let noise = input.take(8);
            changed(&mut |bytes| bytes.iter_mut().skip(position).zip(noise).for_each(|(b, n)| *b = *n));
        }
        4 => {
            let len = usize::from(input.byte());
            changed(&mut |bytes| bytes.iter_mut().skip(position).take(len).for_each(|b| *b = 0));
        }
        5 => {
            let tail = input.counted();
            changed(&mut |bytes| bytes.extend_from_slice(tail));
        }
        6 => {
            let suffix = input.choose(&[".deleted", ".swap", ".cleaned", ".tmp"]);
            storage.rename(&path(name), &path(&format!("{name}{suffix}"))).expect("it was listed");
        }
        7 => {
            // a stretch of the file once more, as old sectors that come back
            let len = usize::from(input.byte()) * 4;
            let stretch = bytes[position..(position + len).min(bytes.len())].to_vec();
            changed(&mut |bytes| bytes.extend_from_slice(&stretch));
        }
        8 | 10 => {
            // a batch whose header says something else, with a good checksum
            let (field, noise) = (usize::from(input.byte()) % HEADER_LEN, input.take(8));
            changed(&mut |bytes| change_batch(bytes, position, field, noise));
        }
        _ => {
            // a snapshot that says something else, with a good checksum
            let noise = input.take(8);
            changed(&mut |bytes| {
                bytes.iter_mut().skip(position).zip(noise).for_each(|(b, n)| *b = *n);
                if bytes.len() >= 6 {
                    let crc = crc32c(&bytes[6..]);
                    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
                }
            });
        }
    }
}

/// Writes a file of a kind that belongs into the directory: suffix, base offset, content.
fn write_file(storage: &MemoryStorage, input: &mut Input<'_>) {
    let suffix = usize::from(input.byte()) % 6;
    let base = match input.byte() {
        255 => input.i64() & i64::MAX,
        base => i64::from(base),
    };
    let mut content = input.counted().to_vec();
    let mended = input.byte() & 1 != 0;
    let name = match [".log", ".index", ".timeindex", ".txnindex", ".snapshot"].get(suffix) {
        Some(suffix) => format!("{base:020}{suffix}"),
        None => "leader-epoch-checkpoint".to_owned(),
    };
    match suffix {
        0 if mended => mend(&mut content),
        4 if mended && content.len() >= 6 => {
            let crc = crc32c(&content[6..]);
            content[2..6].copy_from_slice(&crc.to_be_bytes());
        }
        _ => {}
    }
    put(storage, &name, &content);
}

/// Changes a field of the batch that holds `position`, and its checksum.
fn change_batch(bytes: &mut [u8], position: usize, field: usize, noise: &[u8]) {
    let mut start = 0;
    while let Ok(batch) = Batch::parse(&bytes[start..]) {
        let len = batch.bytes().len();
        if position < start + len {
            let batch = &mut bytes[start..start + len];
            batch.iter_mut().skip(field).zip(noise).for_each(|(b, n)| *b = *n);
            let crc = crc32c(&batch[21..]);
            batch[17..21].copy_from_slice(&crc.to_be_bytes());
            return;
        }
        start += len;
    }
}

fn check(storage: &MemoryStorage, config: &LogConfig, options: OpenOptions) {
    let files: usize = names(storage).iter().map(|name| get(storage, name).len()).sum();
    // A window of 256 KiB over a file; a producer takes a few times its 46 bytes in a snapshot, and its indexes are rebuilt.
    let bound = 12 * files + (1 << 20);
    let mut log = within(bound, || open(storage, config, &options));
    assert!(log.log_start_offset() <= log.log_end_offset());
    assert!(log.log_start_offset() >= options.log_start);
    let is_whole = !options.clean && options.recovery_point == 0;
    let before = match contents(&log) {
        Ok(bytes) => bytes,
        Err(error) => {
            assert!(!is_whole, "a recovered log cannot be read: {error}");
            assert!(!error.is_storage_error(), "{error}");
            Vec::new()
        }
    };
    if is_whole {
        whole_batches(&before, log.log_end_offset());
    }
    ask_around(&log);
    drop(log);
    // D16: recovery does not depend on how often it is done
    let again = OpenOptions { clean: false, recovery_point: 0, ..options.clone() };
    if is_whole {
        storage.kill();
        log = open(storage, config, &again);
        assert!(contents(&log).expect("as before") == before, "another log after a second recovery");
        drop(log);
    }
    storage.kill();
    log = open(storage, config, &options);
    let end = log.log_end_offset();
    let epoch = log.latest_epoch().unwrap_or(0);
    let appended =
        log.append_as_leader(&mut batch(2, Codec::None, Stamp::NONE), epoch, NOW, LeaderChecks::default());
    match appended {
        Ok(info) => assert_eq!((info.first_offset, log.log_end_offset()), (end, end + 2)),
        // the only thing that a log may lack is offsets
        Err(error) => {
            assert!(end > i64::MAX - (1 << 32), "{error}");
            return;
        }
    }
    let after = contents(&log);
    let point = match log.close() {
        Ok(point) => point,
        Err(error) => panic!("a log that was opened cannot be closed: {error}"),
    };
    assert_eq!(point, end + 2, "D19: all is synced");
    let after = match after {
        Ok(after) if is_whole => after,
        // files that were trusted and should not have been
        _ => return,
    };
    whole_batches(&after, end + 2);
    for next in [
        OpenOptions { clean: true, recovery_point: point, ..options.clone() },
        OpenOptions { recovery_point: point, ..again.clone() },
        again,
    ] {
        let log = open(storage, config, &next);
        assert_eq!(log.log_end_offset(), end + 2);
        assert!(contents(&log).expect("as before") == after, "another log after a start");
        drop(log);
        storage.kill();
    }
}

/// Everything else that can be asked of a log: answers or errors, nothing that takes the directory offline.
fn ask_around(log: &Log) {
    let asked = [
        log.offset_for_timestamp(NOW).err(),
        log.offset_for_timestamp(-1).err(),
        log.offset_for_timestamp(i64::MAX).err(),
        log.offset_of_max_timestamp().err(),
    ];
    assert!(!asked.iter().flatten().any(LogError::is_storage_error));
    for epoch in [-1, 0, 1, 2, i32::MAX] {
        if let Some((_, end)) = log.end_offset_for_epoch(epoch) {
            assert!(end <= log.log_end_offset());
        }
    }
    let _ = log.size_bytes();
}

/// All bytes from the start of the log to its end.
fn contents(log: &Log) -> Result<Vec<u8>, LogError> {
    let mut bytes = Vec::new();
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let read = log.read(offset, 700, i64::MAX, true)?;
        if read.records.is_empty() {
            break;
        }
        assert!(read.next_offset > offset, "a read goes on");
        bytes.extend_from_slice(&read.records);
        offset = read.next_offset;
    }
    Ok(bytes)
}

/// Only whole, good batches, with offsets that rise and end below `end`.
fn whole_batches(bytes: &[u8], end: i64) {
    let mut all = Batches::new(bytes);
    let mut next = 0;
    for batch in all.by_ref() {
        let batch = batch.expect("a whole batch");
        assert!(batch.is_crc_valid());
        assert!(batch.header().base_offset >= next, "offsets fall");
        next = batch.header().next_offset();
    }
    assert!(all.remaining().is_empty() && next <= end);
}

fn open(storage: &MemoryStorage, config: &LogConfig, options: &OpenOptions) -> Log {
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    // the health of a directory ends with its process
    let options = OpenOptions { health: Default::default(), ..options.clone() };
    match Log::open(shared, DIR, config.clone(), options) {
        Ok(log) => log,
        Err(error) => panic!("the content of files made a start fail: {error}"),
    }
}

fn small() -> LogConfig {
    LogConfig { segment_bytes: 1500, index_interval_bytes: 150, ..LogConfig::default() }
}

/// The files of a log of several segments: three epochs, three producers, some batches compressed.
fn valid_log() -> &'static [(String, Vec<u8>)] {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let storage = MemoryStorage::new();
        storage.create_dir(DIR).expect("memory has room");
        let mut log = open(&storage, &small(), &OpenOptions { now_ms: NOW, ..OpenOptions::default() });
        let mut sequences = [0; 3];
        for i in 0..48_i64 {
            let (producer, count) = ((i % 3) as usize, 1 + (i % 4) as u32);
            let by =
                Stamp { producer_id: producer as i64, producer_epoch: 0, base_sequence: sequences[producer] };
            sequences[producer] += count as i32;
            let codec = if i % 7 == 6 { Codec::Lz4 } else { Codec::None };
            let mut bytes = batch(count, codec, by);
            log.append_as_leader(&mut bytes, 1 + (i / 16) as i32, NOW, LeaderChecks::default())
                .expect("a valid batch");
        }
        log.close().expect("memory does not fail");
        names(&storage).into_iter().map(|name| (name.clone(), get(&storage, &name))).collect()
    })
}

pub(crate) fn batch(count: u32, codec: Codec, by: Stamp) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut plain = Vec::new();
    for i in 0..count {
        let (at, time) = (plain.len(), NOW + i64::from(i));
        plain.resize(at + builder.record_len(time, Some(b"key"), Some(b"a value"), NO_HEADERS), 0);
        builder.append(&mut plain[at..], time, Some(b"key"), Some(b"a value"), NO_HEADERS);
    }
    let mut bytes = vec![0; HEADER_LEN];
    let compression = Compression::new(codec, None).expect("default levels are in every build");
    Compressor::new()
        .compress(compression, &mut std::iter::once(&plain[..]), &mut bytes, 1 << 20)
        .expect("memory is there");
    let len = bytes.len() - HEADER_LEN;
    builder.write_header(bytes.first_chunk_mut().expect("room for a header"), codec, len, false);
    stamp(&mut bytes, [], by);
    patch(&mut bytes, 0, -1);
    bytes
}

/// A producer snapshot with an entry for each id.
fn snapshot(ids: &[i64]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0, 0, 0];
    bytes.extend((ids.len() as i32).to_be_bytes());
    for id in ids {
        bytes.extend(id.to_be_bytes());
        // epoch, last sequence, last offset, offset delta, time
        bytes.extend([0; 2 + 4 + 8 + 4 + 8]);
        // no coordinator, no open transaction
        bytes.extend([0xff; 4 + 8]);
    }
    let crc = crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn path(name: &str) -> String {
    format!("{DIR}/{name}")
}

fn names(storage: &MemoryStorage) -> Vec<String> {
    let entries = storage.list(DIR).expect("the directory is there");
    entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect()
}

fn get(storage: &MemoryStorage, name: &str) -> Vec<u8> {
    let file = storage.open(&path(name), OpenMode::Existing).expect("it was listed");
    let len = file.len().expect("memory does not fail") as usize;
    file.read_bytes(0, len).expect("memory does not fail").to_vec()
}

fn put(storage: &MemoryStorage, name: &str, bytes: &[u8]) {
    let file = storage.open(&path(name), OpenMode::Truncate).expect("memory has room");
    file.write_at(0, bytes).expect("memory has room");
}
