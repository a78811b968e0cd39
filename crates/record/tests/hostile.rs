//! Hostile bytes: nothing panics, and memory stays bounded (REC-7).
//!
//! An allocator that counts, per thread, what is alive shows the bound: reading `n` bytes with a decompression limit `l` keeps at most
//! 4 × n + 64 KiB + l at once. The C library of zstd allocates past Rust's allocator: its context has a fixed size.

mod common;

use common::{cases, hex_of};
use rohrpost_record::control::ControlRecord;
use rohrpost_record::crc::crc32c;
use rohrpost_record::{Batches, Codec, ValidateRules, decompress, single_batch, validate};
use rohrpost_testing::memory::{Counting, peak_of};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The Rust decoder of zstd keeps its window beside the output.
const ZSTD_IN_RUST: bool = cfg!(all(feature = "zstd-rust", not(feature = "zstd")));

fn assert_bounded(input: &[u8], limit: usize, what: &str, work: impl FnOnce()) {
    let ((), peak) = peak_of(work);
    let mut bound = 4 * input.len() + (64 << 10) + limit;
    if ZSTD_IN_RUST {
        bound += 2 * limit.max(128 << 10) + (768 << 10);
    }
    assert!(
        peak <= bound,
        "{what}: {peak} bytes alive for {} bytes of input and a limit of {limit}",
        input.len()
    );
}

/// All that the crate can do with bytes.
fn read_everything(bytes: &[u8], limit: usize) {
    let rules = ValidateRules { max_decompressed_bytes: limit, compacted: true, ..ValidateRules::default() };
    if let Ok(batch) = single_batch(Some(bytes)) {
        let _ = validate(&batch, &rules, &mut Vec::new());
    }
    for batch in Batches::new(bytes).flatten() {
        let _ = batch.is_crc_valid();
        let mut scratch = Vec::new();
        let Ok(records) = batch.records(&mut scratch, limit) else { continue };
        for record in records.flatten() {
            assert!(record.headers().count() <= bytes.len().max(limit));
            if let (Some(key), Some(value)) = (record.key, record.value) {
                let _ = ControlRecord::read(key, value);
            }
        }
    }
}

/// A generator with a fixed seed (splitmix64): a failure comes again.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Makes the length and the checksum right again, so that what lies behind them is reached.
fn mend(bytes: &mut [u8]) {
    if bytes.len() >= 61 {
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

/// REC-7
#[test]
fn arbitrary_bytes_stay_within_the_bound() {
    let mut dice = Dice(1);
    for round in 0..4000 {
        let len = dice.below(400);
        let mut bytes = dice.bytes(len);
        if round % 4 != 0 && bytes.len() > 61 {
            bytes[..8].fill(0);
            bytes[16] = 2;
            bytes[21..23].copy_from_slice(&[0, dice.below(5) as u8]);
            let count = dice.below(5) as u8;
            bytes[23..27].copy_from_slice(&[0, 0, 0, count.saturating_sub(1)]);
            bytes[57..61].copy_from_slice(&[0, 0, 0, count]);
            mend(&mut bytes);
        }
        let limit = [0, 100, 16 << 10, 1 << 20][round % 4];
        assert_bounded(&bytes, limit, "arbitrary", || read_everything(&bytes, limit));
    }
}

/// REC-7
#[test]
fn mutated_batches_stay_within_the_bound() {
    let mut dice = Dice(2);
    for case in cases("batches.jsonl").iter().chain(&cases("invalid_batches.jsonl")) {
        let whole = hex_of(case);
        let rounds = if whole.len() > 4096 { 8 } else { 120 };
        for round in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..round % 5 {
                let at = dice.below(bytes.len());
                match dice.below(5) {
                    0 => bytes[at] ^= 1 << dice.below(8),
                    1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)],
                    2 => bytes.truncate(at.max(1)),
                    3 => bytes.insert(at, dice.next() as u8),
                    _ => {
                        // the records part, not the header
                        let at = 61 + dice.below(bytes.len().saturating_sub(61));
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte = dice.next() as u8;
                        }
                    }
                }
            }
            if round % 3 != 0 {
                mend(&mut bytes);
            }
            let limit = [1 << 20, 4096, 300][dice.below(3)];
            let what = common::id(case);
            assert_bounded(&bytes, limit, what, || read_everything(&bytes, limit));
        }
    }
}

/// REC-7, CMP-2, CMP-3: each codec's reader by itself, on noise behind a good beginning
#[test]
fn codecs_stay_within_the_bound() {
    let mut dice = Dice(3);
    let starts: [(Codec, &[u8]); 6] = [
        (Codec::Gzip, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]),
        (Codec::Snappy, &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]),
        (Codec::Snappy, &[]),
        (Codec::Lz4, &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73]),
        (Codec::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]),
        (Codec::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x20, 0xff]),
    ];
    for round in 0..6000 {
        let (codec, start) = starts[round % starts.len()];
        let len = dice.below(300);
        let input = [start, &dice.bytes(len)].concat();
        let limit = [0, 1000, 64 << 10, 8 << 20][dice.below(4)];
        assert_bounded(&input, limit, codec.name(), || {
            let mut out = Vec::new();
            if decompress(codec, &input, &mut out, limit).is_ok() {
                assert!(out.len() <= limit);
            }
        });
    }
}

/// REC-7, C6, C7
#[test]
fn control_records_stay_within_the_bound() {
    let mut dice = Dice(4);
    for case in cases("data.jsonl") {
        let body = common::unhex(case["body"].as_str().expect("body"));
        for _ in 0..200 {
            let mut value = body.clone();
            let tail = dice.below(40);
            value.extend(dice.bytes(tail));
            for _ in 0..dice.below(4) {
                let at = dice.below(value.len());
                value[at] = [0, 1, 2, 0x7f, 0x80, 0xff][dice.below(6)];
            }
            let key = [0, 0, 0, dice.below(8) as u8];
            assert_bounded(&value, 0, common::id(&case), || drop(ControlRecord::read(&key, &value)));
        }
    }
    // voters with very many endpoints of no name and no host: five bytes each, forty in memory
    let mut value = vec![0, 0, 2];
    value.extend([0; 20]);
    value.extend([0xa1, 0x8d, 0x06]);
    value.extend([1, 1, 0, 9, 0].repeat(100_000));
    value.extend([0; 7]);
    assert_bounded(&value, 0, "endpoints", || {
        assert!(ControlRecord::read(&[0, 0, 0, 6], &value).is_err());
    });
}

/// REC-7: the bound is the caller's, not the bomb's
#[test]
fn bombs_stay_within_the_bound() {
    for case in cases("invalid_batches.jsonl").iter().filter(|case| common::id(case).contains("bomb")) {
        let bytes = hex_of(case);
        for limit in [1000, 1 << 20] {
            assert_bounded(&bytes, limit, common::id(case), || read_everything(&bytes, limit));
        }
    }
}
