//! Target: record batches, records, codecs, varints, control records.
//!
//! Input: what (batches, varints, a codec, a control record), then what that one says at its function.

use rohrpost_record::control::ControlRecord;
use rohrpost_record::crc::crc32c;
use rohrpost_record::{
    Batch, BatchBuilder, Batches, Codec, Compression, Compressor, HEADER_LEN, Header, Record, Stamp,
    TimestampType, ValidateRules, decompress, reencode, single_batch, stamp, validate, varint,
};

use crate::input::Input;
use crate::memory::{usual, within};
use crate::vectors::{SEED_BYTES_MAX, bytes, cases};

const LIMITS: [usize; 4] = [1 << 20, 16 << 10, 300, 0];
const BATCHES: u8 = 0;
const VARINTS: u8 = 1;
const CODEC: u8 = 2;
const CONTROL: u8 = 3;

/// See the module.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        BATCHES => batches(input),
        VARINTS => varints(input.rest()),
        CODEC => codec(input),
        _ => control(input),
    }
}

/// See the module.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for case in cases("batches.jsonl").iter().chain(&cases("invalid_batches.jsonl")) {
        let batch = bytes(case, "hex");
        if batch.len() > SEED_BYTES_MAX {
            continue;
        }
        seeds.push([&[BATCHES, 0, 1][..], &batch].concat());
        if let Ok(parsed) = Batch::parse(&batch)
            && let Ok(codec) = parsed.header().attributes.codec()
            && codec != Codec::None
        {
            seeds.push([&[CODEC, codec.id(), 0][..], parsed.payload()].concat());
        }
    }
    seeds.extend(cases("varints.jsonl").iter().map(|case| [&[VARINTS][..], &bytes(case, "hex")].concat()));
    for case in cases("data.jsonl") {
        for kind in [2, 3, 4, 5, 6] {
            seeds.push([&[CONTROL, 0, 0, 0, kind][..], &bytes(&case, "prefixed")].concat());
        }
    }
    seeds.push(vec![CONTROL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    seeds
}

/// Input: limit of decompression, flags (1: length and checksum are made right, 2: log append time), batches.
fn batches(mut input: Input<'_>) {
    let limit = input.choose(&LIMITS);
    let flags = input.byte();
    let mut bytes = input.rest().to_vec();
    if flags & 1 != 0 {
        mend(&mut bytes);
    }
    let timestamp_type =
        if flags & 2 == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime };
    let rules = ValidateRules { max_decompressed_bytes: limit, timestamp_type, ..ValidateRules::default() };
    within(usual(bytes.len()) + limit, || {
        let mut all = Batches::new(&bytes);
        let mut len = 0;
        for batch in all.by_ref().flatten() {
            len += batch.bytes().len();
            let mut header = [0; HEADER_LEN];
            batch.header().write(&mut header);
            assert_eq!(header, batch.bytes()[..HEADER_LEN], "a header is written as it was read");
            let mut scratch = Vec::new();
            let Ok(records) = batch.records(&mut scratch, limit) else { continue };
            for record in records.flatten() {
                let _ = record.headers().count();
            }
        }
        assert_eq!(len + all.remaining().len(), bytes.len(), "no byte is lost between batches");
    });
    let batch = match single_batch(Some(&bytes)) {
        Ok(batch) => batch,
        Err(error) => {
            let _ = (error.to_string(), error.answer());
            return;
        }
    };
    let mut scratch = Vec::new();
    match within(usual(bytes.len()) + limit, || validate(&batch, &rules, &mut scratch)) {
        Err(error) => {
            let _ = (error.to_string(), error.answer());
        }
        Ok(validated) => {
            // What a leader stores, every reader can read.
            let mut scratch = Vec::new();
            let records: Vec<_> = batch
                .records(&mut scratch, limit)
                .expect("a validated batch has records")
                .map(|record| record.expect("a validated record can be read"))
                .collect();
            assert_eq!(records.len(), validated.records_count as usize);
            assert!(records.iter().zip(0..).all(|(record, offset)| record.offset == offset));
            if timestamp_type == TimestampType::CreateTime
                && batch.header().attributes.timestamp_type() == TimestampType::CreateTime
            {
                // as in Kafka, times below -1 do not count
                let max = records.iter().map(|r| r.timestamp).max().unwrap_or(-1).max(-1);
                assert_eq!(max, validated.max_timestamp);
            }
            in_other_codecs(&batch, &records, limit);
            if !batch.header().attributes.is_control() && batch.header().delete_horizon_ms().is_none() {
                built_again(&records);
            }
        }
    }
}

/// A validated batch holds the same records in every codec.
fn in_other_codecs(batch: &Batch<'_>, records: &[Record<'_>], limit: usize) {
    for codec in Codec::ALL {
        let compression = Compression::new(codec, None).expect("default levels are in every build");
        let mut out = Vec::new();
        let (mut compressor, mut scratch) = (Compressor::new(), Vec::new());
        reencode(batch, compression, &mut compressor, &mut scratch, limit, &mut out)
            .expect("a validated batch can be compressed anew");
        let again = Batch::parse(&out).expect("what was written is a batch");
        assert!(again.is_crc_valid() && again.bytes().len() == out.len());
        let mut scratch = Vec::new();
        let found: Result<Vec<_>, _> =
            again.records(&mut scratch, limit.max(1 << 20)).expect("it can be decompressed").collect();
        assert_eq!(found.expect("its records can be read"), records);
    }
}

/// Records that were read can be written, and are the same when they are read again.
fn built_again(records: &[Record<'_>]) {
    let mut builder = BatchBuilder::new();
    let mut bytes = vec![0; HEADER_LEN];
    for record in records {
        let headers: Vec<Header<'_>> = record.headers().collect();
        let at = bytes.len();
        let len = builder.record_len(record.timestamp, record.key, record.value, &headers);
        bytes.resize(at + len, 0);
        builder.append(&mut bytes[at..], record.timestamp, record.key, record.value, &headers);
    }
    let head = bytes.first_chunk_mut().expect("room for a header");
    builder.write_header(head, Codec::None, builder.records_len(), false);
    stamp(&mut bytes, [], Stamp::NONE);
    let batch = Batch::parse(&bytes).expect("a batch");
    let mut scratch = Vec::new();
    let mut count = 0;
    for (found, wanted) in batch.records(&mut scratch, 0).expect("records").zip(records) {
        let found = found.expect("a record");
        assert_eq!((found.offset, found.timestamp), (wanted.offset, wanted.timestamp));
        assert_eq!((found.key, found.value), (wanted.key, wanted.value));
        assert!(found.headers().eq(wanted.headers()));
        count += 1;
    }
    assert_eq!(count, records.len());
}

/// Makes the length and the checksum right, so that what lies behind them is reached.
pub(crate) fn mend(bytes: &mut [u8]) {
    if bytes.len() >= HEADER_LEN {
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Input: bytes. What is read is written in no more bytes, and read again as the same.
fn varints(bytes: &[u8]) {
    let mut out = [0; 10];
    if let Ok((value, used)) = varint::read_varint(bytes) {
        let len = varint::put_varint(&mut out, value);
        assert!(len <= used && varint::read_varint(&out[..len]) == Ok((value, len)));
    }
    if let Ok((value, used)) = varint::read_varlong(bytes) {
        let len = varint::put_varlong(&mut out, value);
        assert!(len <= used && varint::read_varlong(&out[..len]) == Ok((value, len)));
    }
    if let Ok((value, used)) = varint::read_unsigned_varint(bytes) {
        let len = varint::put_unsigned_varint(&mut out, value);
        assert!(len <= used && varint::read_unsigned_varint(&out[..len]) == Ok((value, len)));
    }
    if let Ok((value, used)) = varint::read_unsigned_varlong(bytes) {
        let len = varint::put_unsigned_varlong(&mut out, value);
        assert!(len <= used && varint::read_unsigned_varlong(&out[..len]) == Ok((value, len)));
    }
}

/// Input: codec, limit, compressed bytes.
fn codec(mut input: Input<'_>) {
    let codec = Codec::ALL[usize::from(input.byte()) % Codec::ALL.len()];
    let limit = input.choose(&LIMITS);
    let bytes = input.rest();
    let mut plain = Vec::new();
    let read = within(usual(bytes.len()) + limit, || decompress(codec, bytes, &mut plain, limit));
    match read {
        Err(error) => drop(error.to_string()),
        Ok(()) => {
            assert!(plain.len() <= limit);
            let mut packed = Vec::new();
            let compression = Compression::new(codec, None).expect("default levels are in every build");
            let fits = Compressor::new()
                .compress(compression, &mut plain.chunks(1000), &mut packed, 2 * plain.len() + 1024)
                .expect("memory is there");
            assert!(fits, "{codec} made {} bytes more than twice as long", plain.len());
            let mut again = Vec::new();
            decompress(codec, &packed, &mut again, plain.len()).expect("what was written can be read");
            assert!(again == plain);
        }
    }
}

/// Input: key of four bytes, value.
fn control(mut input: Input<'_>) {
    let key = input.take(4);
    let value = input.rest();
    if let Err(error) = within(usual(value.len()), || ControlRecord::read(key, value)) {
        let _ = error.to_string();
    }
}
