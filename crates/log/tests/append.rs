//! Appending as a leader, producer state, reading, rolling.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{DIR, NOW, append, batch, batch_with, batches, content, open, open_with, options, produced};
use rohrpost_log::{
    AppendOrigin, Fault, FileStorage, LeaderChecks, Log, LogConfig, LogError, MemoryStorage, OpenMode,
    Storage, check_produce_shape, code,
};
use rohrpost_record::{
    Attributes, Batch, BatchBuilder, Codec, Compression, Compressor, HEADER_LEN, NO_HEADERS, Stamp,
    TimestampType, stamp,
};

fn small_segments(bytes: u32) -> LogConfig {
    LogConfig { segment_bytes: bytes, index_interval_bytes: 100, ..LogConfig::default() }
}

fn names(storage: &dyn Storage, dir: &str, suffix: &str) -> Vec<String> {
    let entries = storage.list(dir).unwrap();
    entries.into_iter().map(|e| e.name).filter(|n| n.ends_with(suffix)).collect()
}

fn len_of(storage: &dyn Storage, path: &str) -> u64 {
    storage.open(path, OpenMode::Existing).unwrap().len().unwrap()
}

#[test]
fn a_batch_gets_the_next_offsets_and_the_leaders_epoch() {
    // L4, L5
    let mut log = open(&MemoryStorage::new());
    assert_eq!(append(&mut log, batch(3)).unwrap().first_offset, 0);
    let mut second = batch(2);
    let info = log.append_as_leader(&mut second, 7, NOW, LeaderChecks::default()).unwrap();
    assert_eq!((info.first_offset, info.last_offset, log.log_end_offset()), (3, 4, 5));
    assert_eq!(second[12..16], 7i32.to_be_bytes(), "patched in place");
    assert_eq!(log.epochs(), [(1, 0), (7, 3)]);
    assert_eq!(batches(&content(&log)), [(0, 3), (3, 2)]);
}

#[test]
fn a_plain_batch_is_stored_verbatim_but_for_offset_and_epoch() {
    // L6
    let mut log = open(&MemoryStorage::new());
    append(&mut log, batch(1)).unwrap();
    let sent = batch(4);
    append(&mut log, sent.clone()).unwrap();
    let stored = log.read(1, 1 << 20, i64::MAX, true).unwrap().records;
    assert_eq!(stored[8..12], sent[8..12]);
    assert_eq!(stored[16..], sent[16..]);
}

#[test]
fn the_epoch_is_durable_before_the_first_batch_of_it() {
    // L10, U8: even if the batch itself is lost
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, batch(1)).unwrap();
    log.flush().unwrap();
    storage.inject(Fault::FailWrite(2));
    let mut next = batch(1);
    assert!(log.append_as_leader(&mut next, 9, NOW, LeaderChecks::default()).is_err());
    storage.power_loss();
    let path = format!("{DIR}/leader-epoch-checkpoint");
    let file = storage.open(&path, OpenMode::Existing).unwrap();
    assert_eq!(file.read_bytes(0, 100).unwrap(), &b"0\n2\n1 0\n9 1\n"[..]);
}

#[test]
fn a_missing_or_misshapen_batch_is_refused_before_the_log() {
    // P3, P12
    for bytes in [None, Some(&[][..]), Some(&batch(1)[..60]), Some(&[batch(1), batch(1)].concat()[..])] {
        let error = check_produce_shape(bytes).unwrap_err();
        assert_eq!((error.code, error.log_start_known), (code::INVALID_RECORD, false));
        assert!(error.error_message().is_some());
    }
    let one = batch(1);
    assert_eq!(check_produce_shape(Some(&[&one[..], &[0xff; 11]].concat())).unwrap(), one.len());
    let mut log = open(&MemoryStorage::new());
    let mut stray = [&one[..], &[0xff; 11]].concat();
    log.append_as_leader(&mut stray, 1, NOW, LeaderChecks::default()).unwrap();
    assert_eq!(log.size_bytes(), one.len() as u64, "stray bytes are dropped");
}

#[test]
fn only_errors_of_records_and_producers_tell_the_log_start() {
    // P12
    let mut log = open_with(
        &MemoryStorage::new(),
        LogConfig { max_message_bytes: 300, compact: true, ..LogConfig::default() },
        options(),
    );
    let large = append(&mut log, batch(100)).unwrap_err();
    assert_eq!((large.code, large.log_start_known), (code::MESSAGE_TOO_LARGE, false));
    assert_eq!(large.error_message(), None);
    let mut flipped = batch(1);
    *flipped.last_mut().unwrap() ^= 1;
    let corrupt = append(&mut log, flipped).unwrap_err();
    assert_eq!((corrupt.code, corrupt.log_start_known), (code::CORRUPT_MESSAGE, false));
    let late = batch_with(2, 1, NOW + 3_600_000, Stamp::NONE);
    let late = append(&mut log, late).unwrap_err();
    assert_eq!((late.code, late.log_start_known), (code::INVALID_TIMESTAMP, true));
    assert_eq!(late.record_errors.len(), 1);
    assert_eq!(late.record_errors[0].batch_index, 1);
    assert!(late.error_message().is_some());
    append(&mut log, produced(0, 0, 1)).unwrap();
    let gap = append(&mut log, produced(0, 5, 1)).unwrap_err();
    assert_eq!((gap.code, gap.log_start_known), (code::OUT_OF_ORDER_SEQUENCE_NUMBER, true));
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    // L10
    let size = batch(20).len() as u32;
    let mut log = open_with(&MemoryStorage::new(), small_segments(size - 1), options());
    let error = append(&mut log, batch(20)).unwrap_err();
    assert_eq!(error.code, code::RECORD_LIST_TOO_LARGE);
    log.set_config(small_segments(size));
    append(&mut log, batch(20)).unwrap();
}

#[test]
fn offsets_run_out_before_the_last_one() {
    // L10
    let last = rohrpost_log::OpenOptions { log_start: i64::MAX - 1, ..options() };
    let mut log = open_with(&MemoryStorage::new(), LogConfig::default(), last);
    assert_eq!(append(&mut log, batch(2)).unwrap_err().code, code::UNKNOWN_SERVER_ERROR);
    assert_eq!(append(&mut log, batch(1)).unwrap().last_offset, i64::MAX - 1);
    assert_eq!(append(&mut log, batch(1)).unwrap_err().code, code::UNKNOWN_SERVER_ERROR);
    assert_eq!(log.log_end_offset(), i64::MAX);
}

#[test]
fn zstd_needs_produce_version_7() {
    let mut log = open(&MemoryStorage::new());
    let mut bytes = batch(1);
    let attributes = Attributes::new(Codec::Zstd, false);
    bytes[21..23].copy_from_slice(&attributes.0.to_be_bytes());
    stamp(&mut bytes, [], Stamp::NONE);
    let checks = LeaderChecks { produce_version: 6, ..LeaderChecks::default() };
    let error = log.append_as_leader(&mut bytes, 1, NOW, checks).unwrap_err();
    assert_eq!(error.code, code::UNSUPPORTED_COMPRESSION_TYPE);
}

#[test]
fn the_broker_itself_may_write_control_batches() {
    let mut log = open(&MemoryStorage::new());
    let mut bytes = batch(1);
    bytes[21..23].copy_from_slice(&Attributes::control(false).0.to_be_bytes());
    stamp(&mut bytes, [], Stamp::NONE);
    let error = append(&mut log, bytes.clone()).unwrap_err();
    assert_eq!(error.code, code::INVALID_RECORD);
    let checks = LeaderChecks { origin: AppendOrigin::Broker, ..LeaderChecks::default() };
    log.append_as_leader(&mut bytes, 1, NOW, checks).unwrap();
    assert_eq!(log.log_end_offset(), 1);
    // its offsets and its count must agree all the same
    for (at, field) in [(0, &1i64.to_be_bytes()[..]), (57, &0i32.to_be_bytes()), (23, &1i32.to_be_bytes())] {
        let mut wrong = batch(1);
        wrong[at..at + field.len()].copy_from_slice(field);
        stamp(&mut wrong, [], Stamp::NONE);
        let error = log.append_as_leader(&mut wrong, 1, NOW, checks).unwrap_err();
        assert_eq!(error.code, code::INVALID_RECORD, "the field at {at}");
    }
    let mut flipped = batch(1);
    *flipped.last_mut().unwrap() ^= 1;
    let error = log.append_as_leader(&mut flipped, 1, NOW, checks).unwrap_err();
    assert_eq!(error.code, code::CORRUPT_MESSAGE);
    assert_eq!(log.log_end_offset(), 1);
}

#[test]
fn each_of_the_last_five_batches_is_known_as_a_duplicate_and_the_sixth_is_not() {
    // I1, I2, I3
    let mut log = open(&MemoryStorage::new());
    for i in 0..6 {
        assert_eq!(append(&mut log, produced(0, i * 2, 2)).unwrap().first_offset, i64::from(i) * 2);
    }
    let before = log.size_bytes();
    for i in 1..6 {
        let again = append(&mut log, produced(0, i * 2, 2)).unwrap();
        assert!(again.duplicate);
        assert_eq!((again.first_offset, again.last_offset), (i64::from(i) * 2, i64::from(i) * 2 + 1));
        assert_eq!(again.log_append_time, NOW - 999, "the old batch's largest timestamp");
    }
    assert_eq!((log.size_bytes(), log.log_end_offset()), (before, 12));
    let sixth = append(&mut log, produced(0, 0, 2)).unwrap_err();
    assert_eq!(sixth.code, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(log.producer(10).unwrap().batches().len(), 5);
}

#[test]
fn equal_first_and_other_last_sequence_is_no_duplicate() {
    // I2, I3: an overlap
    let mut log = open(&MemoryStorage::new());
    append(&mut log, produced(0, 0, 2)).unwrap();
    let error = append(&mut log, produced(0, 0, 3)).unwrap_err();
    assert_eq!(error.code, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
}

#[test]
fn a_lower_epoch_is_fenced_even_for_batches_it_has_stored() {
    // I4
    let mut log = open(&MemoryStorage::new());
    append(&mut log, produced(3, 0, 2)).unwrap();
    append(&mut log, produced(4, 0, 1)).unwrap();
    let error = append(&mut log, produced(3, 0, 2)).unwrap_err();
    assert_eq!(error.code, code::INVALID_PRODUCER_EPOCH);
}

#[test]
fn a_higher_epoch_begins_at_sequence_zero_and_forgets_the_five() {
    // I5
    let mut log = open(&MemoryStorage::new());
    append(&mut log, produced(0, 0, 2)).unwrap();
    assert_eq!(append(&mut log, produced(1, 2, 1)).unwrap_err().code, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    append(&mut log, produced(1, 0, 1)).unwrap();
    assert_eq!(log.producer(10).unwrap().batches().len(), 1);
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    // I6
    let mut log = open(&MemoryStorage::new());
    append(&mut log, produced(5, 77, 2)).unwrap();
    append(&mut log, produced(5, 79, 1)).unwrap();
}

#[test]
fn sequences_wrap_within_a_batch_and_between_batches() {
    // I7
    let mut log = open(&MemoryStorage::new());
    append(&mut log, produced(0, i32::MAX - 3, 2)).unwrap();
    append(&mut log, produced(0, i32::MAX - 1, 4)).unwrap();
    assert!(append(&mut log, produced(0, i32::MAX - 1, 4)).unwrap().duplicate);
    assert_eq!(append(&mut log, produced(0, 3, 1)).unwrap_err().code, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    append(&mut log, produced(0, 2, 1)).unwrap();
}

#[test]
fn silent_producers_are_forgotten() {
    // I9
    let mut log = open(&MemoryStorage::new());
    append(&mut log, produced(0, 0, 1)).unwrap();
    log.expire_producers(NOW + 500, 86_400_000);
    assert!(log.producer(10).is_some());
    log.expire_producers(NOW + 86_400_000, 86_400_000);
    assert!(log.producer(10).is_none());
}

#[test]
fn reads_give_whole_batches_from_the_one_that_holds_the_offset() {
    // F3, F4, F5
    let mut log = open(&MemoryStorage::new());
    for _ in 0..5 {
        append(&mut log, batch(3)).unwrap();
    }
    let one = batch(3).len();
    let all = log.read(4, 1 << 20, i64::MAX, true).unwrap();
    assert_eq!(batches(&all.records), [(3, 3), (6, 3), (9, 3), (12, 3)]);
    assert_eq!(all.next_offset, 15);
    let two = log.read(4, one * 3 - 1, i64::MAX, true).unwrap();
    assert_eq!((batches(&two.records), two.next_offset), (vec![(3, 3), (6, 3)], 9));
    let first = log.read(4, 0, i64::MAX, true).unwrap();
    assert_eq!(batches(&first.records), [(3, 3)]);
    let none = log.read(4, one - 1, i64::MAX, false).unwrap();
    assert!(none.records.is_empty() && none.first_too_large);
}

#[test]
fn reads_end_before_the_high_watermark() {
    // F2
    let mut log = open(&MemoryStorage::new());
    for _ in 0..4 {
        append(&mut log, batch(3)).unwrap();
    }
    assert_eq!(batches(&log.read(0, 1 << 20, 6, true).unwrap().records), [(0, 3), (3, 3)]);
    assert_eq!(batches(&log.read(0, 1 << 20, 7, true).unwrap().records), [(0, 3), (3, 3)]);
    assert!(log.read(6, 1 << 20, 6, true).unwrap().records.is_empty());
    assert!(log.read(9, 1 << 20, 6, true).unwrap().records.is_empty());
    assert!(log.read(12, 1 << 20, i64::MAX, true).unwrap().records.is_empty());
    for outside in [-1, 13] {
        let error = log.read(outside, 1, i64::MAX, true).unwrap_err();
        assert!(matches!(error, LogError::OffsetOutOfRange { log_start: 0, log_end: 12, .. }));
        assert_eq!(error.code(), code::OFFSET_OUT_OF_RANGE);
    }
}

#[test]
fn every_offset_is_found_across_segments_and_index_entries() {
    // D9, D10
    let mut log = open_with(&MemoryStorage::new(), small_segments(1000), options());
    for i in 0..120u32 {
        append(&mut log, batch_with(1 + i % 4, 10, NOW - 1000, Stamp::NONE)).unwrap();
    }
    assert!(log.segment_count() > 10);
    for offset in 0..log.log_end_offset() {
        let read = log.read(offset, 1, i64::MAX, true).unwrap();
        let found = batches(&read.records);
        assert_eq!(found.len(), 1);
        let (base, count) = found[0];
        assert!((base..base + i64::from(count)).contains(&offset));
    }
}

#[test]
fn a_segment_is_closed_when_the_batch_does_not_fit() {
    // D10, D11
    let storage = MemoryStorage::new();
    let one = batch(1).len() as u32;
    let mut log = open_with(&storage, small_segments(one * 3), options());
    let rolled: Vec<bool> = (0..7).map(|_| append(&mut log, batch(1)).unwrap().rolled).collect();
    assert_eq!(rolled, [false, false, false, true, false, false, true]);
    assert_eq!(
        names(&storage, DIR, ".log"),
        ["00000000000000000000.log", "00000000000000000003.log", "00000000000000000006.log"]
    );
    // I11
    assert_eq!(
        names(&storage, DIR, ".snapshot"),
        ["00000000000000000003.snapshot", "00000000000000000006.snapshot"]
    );
    assert!(log.needs_flush_after_roll());
    log.flush().unwrap();
    assert!(!log.needs_flush_after_roll());
    assert_eq!(log.recovery_point(), 7);
}

#[test]
fn a_segment_is_closed_when_it_is_too_old() {
    // D10
    let config = LogConfig { segment_ms: 1000, ..LogConfig::default() };
    let mut log = open_with(&MemoryStorage::new(), config, options());
    let at = |time| batch_with(1, 1, time, Stamp::NONE);
    append(&mut log, at(NOW - 5000)).unwrap();
    assert!(!append(&mut log, at(NOW - 4000)).unwrap().rolled);
    assert!(append(&mut log, at(NOW - 3999)).unwrap().rolled);
    // If the first batch has no timestamp it is the clock that counts, and only then.
    let timeless = |log: &mut Log, now| {
        let mut none = batch_with(1, 1, -1, Stamp::NONE);
        log.append_as_leader(&mut none, 1, now, LeaderChecks::default()).unwrap().rolled
    };
    assert!(!timeless(&mut log, NOW + 5000));
    let mut log = open(&MemoryStorage::new());
    log.set_config(LogConfig { segment_ms: 1000, ..LogConfig::default() });
    assert!(!timeless(&mut log, NOW));
    assert!(!timeless(&mut log, NOW + 1000));
    assert!(timeless(&mut log, NOW + 1001));
    assert!(!timeless(&mut log, NOW + 2001), "the new one is a second old");
}

#[test]
fn jitter_closes_some_segments_earlier_and_none_too_early() {
    // D10
    let config = LogConfig { segment_ms: 1000, segment_jitter_ms: 500, ..LogConfig::default() };
    let rolls_at = |seed: u64, age: i64| {
        let options = rohrpost_log::OpenOptions { seed, ..options() };
        let mut log = open_with(&MemoryStorage::new(), config.clone(), options);
        append(&mut log, batch_with(1, 1, NOW - 5000, Stamp::NONE)).unwrap();
        append(&mut log, batch_with(1, 1, NOW - 5000 + age, Stamp::NONE)).unwrap().rolled
    };
    let rolled = |age| (0..40).filter(|seed| rolls_at(*seed, age)).count();
    assert_eq!((rolled(500), rolled(1001)), (0, 40));
    assert!((5..36).contains(&rolled(750)), "drawn anew for each log");
    // More jitter than age would close every segment at its second batch.
    let config = LogConfig { segment_ms: 1000, segment_jitter_ms: i64::MAX, ..LogConfig::default() };
    let mut log = open_with(&MemoryStorage::new(), config, options());
    append(&mut log, batch(1)).unwrap();
    assert!(!append(&mut log, batch(1)).unwrap().rolled);
}

#[test]
fn a_segment_is_closed_when_an_index_is_full() {
    // D8, D10
    let config = LogConfig { segment_index_bytes: 48, index_interval_bytes: 0, ..LogConfig::default() };
    let mut log = open_with(&MemoryStorage::new(), config, options());
    // The time index has 4 places, of which one is kept free; the first batch makes no entry.
    let rolled: Vec<bool> = (0..6)
        .map(|i| append(&mut log, batch_with(1, 1, NOW - 1000 + i, Stamp::NONE)).unwrap().rolled)
        .collect();
    assert_eq!(rolled, [false, false, false, false, true, false]);
}

#[test]
fn a_segment_is_closed_before_its_relative_offsets_overflow() {
    // D10
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, batch(1)).unwrap();
    let mut far = batch(2);
    far[0..8].copy_from_slice(&(i64::from(i32::MAX)).to_be_bytes());
    far[12..16].copy_from_slice(&1i32.to_be_bytes());
    assert!(log.append_as_follower(&far, 1, NOW).unwrap().rolled);
    assert_eq!(names(&storage, DIR, ".log"), ["00000000000000000000.log", "00000000002147483647.log"]);
    assert_eq!(batches(&log.read(5, 1, i64::MAX, true).unwrap().records), [(i64::from(i32::MAX), 2)]);
}

#[test]
fn index_entries_name_the_last_offset_and_the_start_of_a_batch() {
    // D5, D6
    let storage = MemoryStorage::new();
    let config = LogConfig { index_interval_bytes: 200, ..LogConfig::default() };
    let mut log = open_with(&storage, config, options());
    let len = batch(2).len() as u64;
    let per_entry = 200 / len + 1;
    for i in 0..20 {
        append(&mut log, batch_with(2, 20, NOW - 1000 + i * 10, Stamp::NONE)).unwrap();
    }
    log.close().unwrap();
    let read = |suffix: &str| {
        let path = format!("{DIR}/{:020}{suffix}", 0);
        let file = storage.open(&path, OpenMode::Existing).unwrap();
        file.read_bytes(0, file.len().unwrap() as usize).unwrap()
    };
    let index = read(".index");
    let entries: Vec<(u32, u32)> = index
        .chunks(8)
        .map(|e| {
            (u32::from_be_bytes(e[..4].try_into().unwrap()), u32::from_be_bytes(e[4..].try_into().unwrap()))
        })
        .collect();
    let expected: Vec<(u32, u32)> = (1..)
        .map(|n| n * per_entry)
        .take_while(|b| *b < 20)
        .map(|b| ((b * 2 + 1) as u32, (b * len) as u32))
        .collect();
    assert_eq!(entries, expected);
    let times = read(".timeindex");
    let entries: Vec<(i64, u32)> = times
        .chunks(12)
        .map(|e| {
            (i64::from_be_bytes(e[..8].try_into().unwrap()), u32::from_be_bytes(e[8..].try_into().unwrap()))
        })
        .collect();
    let mut expected: Vec<(i64, u32)> =
        expected.iter().map(|(offset, _)| (NOW - 1000 + i64::from(offset / 2) * 10 + 1, *offset)).collect();
    let last = (NOW - 1000 + 191, 39);
    if expected.last() != Some(&last) {
        expected.push(last); // D6: the final entry
    }
    assert_eq!(entries, expected);
}

#[test]
fn index_files_are_preallocated_while_active_and_trimmed_when_closed() {
    // D7
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned() + "/t-0";
    let storage = FileStorage::new();
    let config = LogConfig {
        segment_bytes: 1000,
        index_interval_bytes: 100,
        preallocate: true,
        ..LogConfig::default()
    };
    let mut log = Log::open(Arc::new(storage), &path, config, options()).unwrap();
    let file = |base: i64, suffix: &str| len_of(&storage, &format!("{path}/{base:020}{suffix}"));
    assert_eq!((file(0, ".index"), file(0, ".timeindex"), file(0, ".log")), (10_485_760, 10_485_756, 1000));
    let mut last = 0;
    while log.segment_count() < 2 {
        last = append(&mut log, batch(2)).unwrap().first_offset;
    }
    assert!(file(0, ".index") < 200 && file(0, ".index") % 8 == 0);
    assert!(file(0, ".timeindex") < 200 && file(0, ".timeindex") % 12 == 0);
    assert_eq!(file(0, ".log") + batch(2).len() as u64, log.size_bytes());
    assert_eq!(file(last, ".index"), 10_485_760);
    log.close().unwrap();
    assert_eq!((file(last, ".index"), file(last, ".log")), (0, batch(2).len() as u64));
}

#[test]
fn records_are_found_by_time() {
    // O1, O3
    let mut log = open_with(&MemoryStorage::new(), small_segments(1000), options());
    assert_eq!(log.offset_of_max_timestamp().unwrap(), None);
    for i in 0..100 {
        append(&mut log, batch_with(2, 10, NOW - 100_000 + i * 100, Stamp::NONE)).unwrap();
    }
    assert!(log.segment_count() > 3);
    for i in 0..100 {
        let start = NOW - 100_000 + i * 100;
        let at = |time| log.offset_for_timestamp(time).unwrap().map(|f| (f.offset, f.timestamp));
        assert_eq!(at(start), Some((2 * i, start)));
        assert_eq!(at(start + 1), Some((2 * i + 1, start + 1)));
        assert_eq!(at(start - 1), Some((2 * i, start)));
    }
    assert_eq!(log.offset_for_timestamp(NOW).unwrap(), None);
    let max = log.offset_of_max_timestamp().unwrap().unwrap();
    assert_eq!((max.offset, max.timestamp, max.leader_epoch), (199, NOW - 100_000 + 9901, 1));
}

#[test]
fn times_out_of_order_are_found_too() {
    // O3, D6
    let mut log = open_with(&MemoryStorage::new(), small_segments(100_000), options());
    for time in [500, 100, 900, 200, 300, 950, 10] {
        append(&mut log, batch_with(1, 200, NOW - 10_000 + time, Stamp::NONE)).unwrap();
    }
    for (time, offset) in [(0, 0), (500, 0), (501, 2), (900, 2), (901, 5), (950, 5)] {
        assert_eq!(log.offset_for_timestamp(NOW - 10_000 + time).unwrap().unwrap().offset, offset);
    }
    assert_eq!(log.offset_of_max_timestamp().unwrap().unwrap().offset, 5);
}

#[test]
fn flush_messages_1_syncs_before_the_append_returns() {
    // D13, U3
    let storage = MemoryStorage::new();
    let config = LogConfig { flush_messages: 1, ..LogConfig::default() };
    let mut log = open_with(&storage, config, options());
    append(&mut log, batch(2)).unwrap();
    assert_eq!((log.recovery_point(), log.unflushed_messages(), log.unflushed_bytes()), (2, 0, 0));
    storage.power_loss();
    assert_eq!(open(&storage).log_end_offset(), 2);
}

#[test]
fn without_flush_nothing_is_promised_and_flush_makes_it_durable() {
    // D13
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, batch(2)).unwrap();
    log.flush().unwrap();
    append(&mut log, batch(3)).unwrap();
    assert_eq!((log.unflushed_messages(), log.unflushed_bytes()), (3, batch(3).len() as u64));
    storage.power_loss();
    assert_eq!(open(&storage).log_end_offset(), 2);
}

#[test]
fn one_sync_serves_all_appends_before_it_and_none_after_it() {
    // D12, U3
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, batch(2)).unwrap();
    let flush = log.prepare_flush().unwrap();
    append(&mut log, batch(3)).unwrap();
    flush.run().unwrap();
    log.complete_flush(flush);
    assert_eq!(log.recovery_point(), 2);
    assert_eq!((log.unflushed_messages(), log.unflushed_bytes()), (3, batch(3).len() as u64));
}

#[test]
fn a_flush_that_is_dropped_is_made_up_by_the_next() {
    // D11, D14
    let storage = MemoryStorage::new();
    let one = batch(1).len() as u32;
    let mut log = open_with(&storage, small_segments(one * 2), options());
    for _ in 0..5 {
        append(&mut log, batch(1)).unwrap();
    }
    drop(log.prepare_flush().unwrap());
    log.flush().unwrap();
    storage.power_loss();
    let point = rohrpost_log::OpenOptions { recovery_point: 5, ..options() };
    let log = open_with(&storage, small_segments(one * 2), point);
    assert_eq!(batches(&content(&log)).len(), 5);
    assert_eq!(names(&storage, DIR, ".snapshot").len(), 3, "two rolls and the end of recovery");
}

#[test]
fn a_flush_from_before_a_truncation_says_nothing_about_what_came_after() {
    // D27, D31
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, batch(5)).unwrap();
    let flush = log.prepare_flush().unwrap();
    flush.run().unwrap();
    log.truncate_to(0).unwrap();
    append(&mut log, batch(9)).unwrap();
    log.complete_flush(flush);
    assert_eq!((log.recovery_point(), log.unflushed_messages()), (0, 9));
}

#[test]
fn a_failed_write_takes_the_directory_offline() {
    // D30, L13
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, batch(2)).unwrap();
    storage.inject(Fault::TearWrite { nth: 1, keep: 30 });
    let error = append(&mut log, batch(2)).unwrap_err();
    assert_eq!((error.code, error.log_start_known), (code::KAFKA_STORAGE_ERROR, false));
    assert!(log.health().is_offline());
    assert_eq!(log.log_end_offset(), 2);
    assert_eq!(append(&mut log, batch(2)).unwrap_err().code, code::KAFKA_STORAGE_ERROR);
    assert!(log.flush().unwrap_err().is_storage_error());
    storage.kill();
    let log = open(&storage);
    assert_eq!(batches(&content(&log)), [(0, 2)]);
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    // D31
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, batch(2)).unwrap();
    storage.inject(Fault::FailSync(1));
    assert!(log.flush().unwrap_err().is_storage_error());
    assert!(matches!(log.flush().unwrap_err(), LogError::Offline(_)));
    assert_eq!(log.recovery_point(), 0);
    let synced = LogConfig { flush_messages: 1, ..LogConfig::default() };
    storage.kill();
    let mut log = open_with(&storage, synced, options());
    storage.inject(Fault::FailSync(1));
    assert_eq!(append(&mut log, batch(1)).unwrap_err().code, code::KAFKA_STORAGE_ERROR);
}

#[test]
fn a_full_disk_is_an_error_and_no_corruption() {
    // D30
    let storage = MemoryStorage::new();
    let mut log = open(&storage);
    append(&mut log, batch(2)).unwrap();
    storage.inject(Fault::DiskFull(batch(2).len() as u64 * 2 + 10));
    let mut stored = 1;
    loop {
        match append(&mut log, batch(2)) {
            Ok(_) => stored += 1,
            Err(e) => break assert_eq!(e.code, code::KAFKA_STORAGE_ERROR),
        }
    }
    assert_eq!(stored, 3);
    storage.clear_faults();
    storage.kill();
    assert_eq!(batches(&content(&open(&storage))), [(0, 2), (2, 2), (4, 2)]);
}

#[test]
fn a_topic_with_a_codec_stores_everything_in_it() {
    // L8
    let mut codecs = vec![("gzip", Codec::Gzip), ("snappy", Codec::Snappy), ("lz4", Codec::Lz4)];
    if cfg!(any(feature = "zstd", feature = "zstd-rust")) {
        codecs.push(("zstd", Codec::Zstd));
    }
    for (name, codec) in codecs {
        let mut config = LogConfig::default();
        config.set("compression.type", name).unwrap();
        let mut log = open_with(&MemoryStorage::new(), config, options());
        append(&mut log, produced(2, 0, 3)).unwrap();
        assert!(
            append(&mut log, produced(2, 0, 3)).unwrap().duplicate,
            "the producer's id and sequence are kept"
        );
        append(&mut log, produced(2, 3, 3)).unwrap();
        let bytes = content(&log);
        assert_eq!(batches(&bytes), [(0, 3), (3, 3)]);
        let batch = rohrpost_record::Batch::parse(&bytes).unwrap();
        assert_eq!(batch.header().attributes.codec(), Ok(codec));
        let mut scratch = Vec::new();
        let records: Vec<_> = batch.records(&mut scratch, 1 << 20).unwrap().map(|r| r.unwrap()).collect();
        let offsets: Vec<_> = records.iter().map(|r| (r.offset, r.timestamp)).collect();
        assert_eq!(offsets, [(0, NOW - 1000), (1, NOW - 999), (2, NOW - 998)]);
        // The same codec at whatever level stays as it is.
        let mut other = open(&MemoryStorage::new());
        let mut taken = bytes.clone();
        taken.truncate(batch.bytes().len());
        taken[0..8].fill(0);
        append(&mut other, taken.clone()).unwrap();
        assert_eq!(content(&other)[16..], taken[16..]);
    }
}

#[test]
fn a_batch_that_has_the_topics_codec_and_a_control_batch_are_stored_as_they_came() {
    // L8, L6
    let mut config = LogConfig::default();
    config.set("compression.type", "gzip").unwrap();
    let mut log = open_with(&MemoryStorage::new(), config, options());
    // A record's attributes have no meaning, so compressing anew would lose them.
    let mut plain = batch(3);
    plain[HEADER_LEN + 1] = 0x7f;
    let mut sent = plain[..HEADER_LEN].to_vec();
    let gzip = Compression::new(Codec::Gzip, None).unwrap();
    let records = plain.split_off(HEADER_LEN);
    Compressor::new().compress(gzip, &mut std::iter::once(&records[..]), &mut sent, 1000).unwrap();
    let length = sent.len() as i32 - 12;
    sent[8..12].copy_from_slice(&length.to_be_bytes());
    sent[21..23].copy_from_slice(&Attributes::new(Codec::Gzip, false).0.to_be_bytes());
    stamp(&mut sent, [], Stamp::NONE);
    append(&mut log, sent.clone()).unwrap();
    assert_eq!(content(&log)[16..], sent[16..]);
    let mut control = batch(1);
    control[21..23].copy_from_slice(&Attributes::control(false).0.to_be_bytes());
    stamp(&mut control, [], Stamp::NONE);
    let checks = LeaderChecks { origin: AppendOrigin::Broker, ..LeaderChecks::default() };
    log.append_as_leader(&mut control.clone(), 1, NOW, checks).unwrap();
    let stored = log.read(3, 1 << 20, i64::MAX, true).unwrap().records;
    assert_eq!(stored[16..], control[16..]);
}

#[test]
fn after_compressing_anew_the_size_is_checked_again() {
    // L8
    let mut config = LogConfig { max_message_bytes: 1000, ..LogConfig::default() };
    config.set("compression.type", "gzip").unwrap();
    let mut gzip = open_with(&MemoryStorage::new(), config.clone(), options());
    let mut builder = BatchBuilder::new();
    let value = [7; 600];
    let mut bytes = vec![0; HEADER_LEN + builder.record_len(NOW, None, Some(&value), NO_HEADERS)];
    builder.append(&mut bytes[HEADER_LEN..], NOW, None, Some(&value), NO_HEADERS);
    let head = bytes.first_chunk_mut::<HEADER_LEN>().unwrap();
    builder.write_header(head, Codec::None, builder.records_len(), false);
    stamp(&mut bytes, [], Stamp::NONE);
    let plain_len = bytes.len() as u32;
    append(&mut gzip, bytes).unwrap();
    let mut small = content(&gzip);
    small[0..8].fill(0);
    config.set("compression.type", "uncompressed").unwrap();
    config.max_message_bytes = 500;
    let mut plain = open_with(&MemoryStorage::new(), config, options());
    assert!(small.len() < 500);
    assert_eq!(append(&mut plain, small.clone()).unwrap_err().code, code::MESSAGE_TOO_LARGE);
    assert_eq!(plain.size_bytes(), 0);
    let exactly = LogConfig { max_message_bytes: plain_len, ..plain.config().clone() };
    plain.set_config(LogConfig { max_message_bytes: plain_len - 1, ..exactly.clone() });
    assert_eq!(append(&mut plain, small.clone()).unwrap_err().code, code::MESSAGE_TOO_LARGE);
    plain.set_config(exactly);
    append(&mut plain, small).unwrap();
}

#[test]
fn log_append_time_is_the_brokers_clock() {
    // L6, P11
    let mut config = LogConfig::default();
    config.set("message.timestamp.type", "LogAppendTime").unwrap();
    let mut log = open_with(&MemoryStorage::new(), config, options());
    let info = append(&mut log, batch_with(2, 5, 17, Stamp::NONE)).unwrap();
    assert_eq!((info.log_append_time, info.max_timestamp), (NOW, NOW));
    let bytes = content(&log);
    assert_eq!(batches(&bytes), [(0, 2)], "with a new checksum");
    assert_eq!(log.offset_for_timestamp(18).unwrap().unwrap().timestamp, NOW);
}

#[test]
fn a_header_is_rewritten_if_its_time_or_the_kind_of_its_time_is_wrong() {
    // L6
    let stored = |log: &Log| {
        let bytes = content(log);
        assert_eq!(batches(&bytes).len(), 1, "with a new checksum");
        let header = *Batch::parse(&bytes).unwrap().header();
        (header.max_timestamp, header.attributes.timestamp_type())
    };
    // the time alone
    let mut wrong = batch_with(2, 5, NOW - 1, Stamp::NONE);
    wrong[35..43].copy_from_slice(&17i64.to_be_bytes());
    stamp(&mut wrong, [], Stamp::NONE);
    let mut log = open(&MemoryStorage::new());
    let info = append(&mut log, wrong).unwrap();
    assert_eq!((info.max_timestamp, info.log_append_time), (NOW, -1));
    assert_eq!(stored(&log), (NOW, TimestampType::CreateTime));
    // the kind alone: the record's time is the broker's by chance
    let mut config = LogConfig::default();
    config.set("message.timestamp.type", "LogAppendTime").unwrap();
    let mut log = open_with(&MemoryStorage::new(), config, options());
    append(&mut log, batch_with(1, 5, NOW, Stamp::NONE)).unwrap();
    assert_eq!(stored(&log), (NOW, TimestampType::LogAppendTime));
}
