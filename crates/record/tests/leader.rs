//! What a leader makes of good batches, and of those that only its topic refuses: `append.jsonl` as far as single batches go, and the
//! rows of the table of bad input that no vector has.

mod common;

use common::{READS_ZSTD, case, cases, hex_of, id, int, unhex};
use rohrpost_record::validate::REJECTED_MAX;
use rohrpost_record::{
    Attributes, Batch, BatchBuilder, Codec, Compression, Compressor, HEADER_LEN, InvalidBatch, NO_HEADERS,
    RecordError, Stamp, TimestampType, ValidateRules, patch, reencode, set_max_timestamp_and_type,
    single_batch, stamp, validate,
};
use serde_json::Value;

const NOW: i64 = 1_750_000_060_000;

fn rules_of(case: &Value) -> ValidateRules {
    let config = &case["topicConfig"];
    let number = |key: &str| config[key].as_str().map(|text| text.parse::<i64>().expect("a number"));
    let defaults = ValidateRules::default();
    ValidateRules {
        now_ms: int(&case["clock"]),
        timestamp_type: match config["message.timestamp.type"].as_str() {
            Some("LogAppendTime") => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        after_max_ms: number("message.timestamp.after.max.ms").unwrap_or(defaults.after_max_ms),
        compacted: config["cleanup.policy"] == "compact",
        max_message_bytes: number("max.message.bytes").map_or(defaults.max_message_bytes, |n| n as usize),
        ..defaults
    }
}

/// Whether the log's state, not the batch, is the reason.
fn is_about_sequences(error: &str) -> bool {
    ["OUT_OF_ORDER_SEQUENCE_NUMBER", "INVALID_PRODUCER_EPOCH", "DUPLICATE_SEQUENCE_NUMBER"].contains(&error)
}

/// A plain batch with these records: (timestamp, key).
fn batch_of(records: &[(i64, Option<&[u8]>)], edit: impl FnOnce(&mut BatchBuilder, &mut Vec<u8>)) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut batch = vec![0; HEADER_LEN];
    for (timestamp, key) in records {
        let at = batch.len();
        batch.resize(at + builder.record_len(*timestamp, *key, Some(b"v"), NO_HEADERS), 0);
        builder.append(&mut batch[at..], *timestamp, *key, Some(b"v"), NO_HEADERS);
    }
    let len = batch.len() - HEADER_LEN;
    builder.write_header(batch.first_chunk_mut().expect("a header"), Codec::None, len, false);
    edit(&mut builder, &mut batch);
    stamp(&mut batch, [], Stamp::NONE);
    batch
}

fn check(bytes: &[u8], rules: &ValidateRules) -> Result<rohrpost_record::Validated, InvalidBatch> {
    validate(&single_batch(Some(bytes))?, rules, &mut Vec::new())
}

fn answer(bytes: &[u8], rules: &ValidateRules) -> &'static str {
    check(bytes, rules).map_or_else(|error| error.answer().name(), |_| "NONE")
}

/// L2, L3, L4, L5, L6, L7: the same bytes end up in the log
#[test]
fn batches_are_stored_as_java_stores_them() {
    let (mut stored_exactly, mut refused) = (0, 0);
    for case in cases("append.jsonl") {
        let rules = rules_of(&case);
        let mut log = Vec::new();
        let mut next_offset = int(&case["logStartOffset"]);
        let mut own_steps_only = true;
        for step in case["steps"].as_array().expect("steps") {
            let mut input = unhex(step["input"].as_str().expect("input"));
            if step["role"] != "leader" {
                own_steps_only = false;
                continue;
            }
            let outcome = check(&input, &rules);
            if !READS_ZSTD
                && matches!(&outcome, Err(error) if error.answer().name() == "UNSUPPORTED_COMPRESSION_TYPE")
            {
                own_steps_only = false;
                break;
            }
            if let Some(error) = step["result"]["error"].as_str() {
                if is_about_sequences(error) {
                    assert!(outcome.is_ok(), "{}", id(&case));
                    continue;
                }
                let invalid = outcome.expect_err(id(&case));
                assert_eq!(invalid.answer().name(), error, "{}", id(&case));
                let listed: Vec<_> =
                    invalid.rejected().iter().map(|record| i64::from(record.index)).collect();
                let java = step["result"]["recordErrors"].as_array().map_or(Vec::new(), |errors| {
                    errors.iter().map(|error| int(&error["batchIndex"])).collect()
                });
                assert_eq!(listed, java, "{}", id(&case));
                refused += 1;
                continue;
            }
            let validated = outcome.unwrap_or_else(|e| panic!("{}: {e}", id(&case)));
            let ok = &step["result"]["ok"];
            if int(&ok["firstOffset"]) < next_offset {
                continue; // a duplicate: nothing is stored
            }
            assert_eq!(validated.max_timestamp, int(&ok["maxTimestamp"]), "{}", id(&case));
            if validated.must_rewrite() {
                set_max_timestamp_and_type(&mut input, validated.max_timestamp, rules.timestamp_type);
            }
            patch(&mut input, next_offset, int(&step["leaderEpoch"]) as i32);
            if let Some(wanted) = case["topicConfig"]["compression.type"].as_str() {
                let codec = Codec::from_name(if wanted == "uncompressed" { "none" } else { wanted })
                    .expect("a codec");
                let mut anew = Vec::new();
                let compression = Compression::new(codec, None).expect("every build has it");
                let batch = Batch::parse(&input).expect("a batch");
                reencode(&batch, compression, &mut Compressor::new(), &mut Vec::new(), 1 << 20, &mut anew)
                    .expect("reencodes");
                input = anew;
            }
            next_offset += i64::from(validated.records_count);
            assert_eq!(next_offset, int(&step["logEndOffset"]), "{}", id(&case));
            log.extend_from_slice(&input);
        }
        if own_steps_only && case["exact"] == true {
            assert_eq!(log, unhex(case["stored"].as_str().expect("stored")), "{}", id(&case));
            stored_exactly += 1;
        }
    }
    assert!(stored_exactly >= 16 && refused >= 4, "{stored_exactly} {refused}");
}

/// CMP-4, L8
#[test]
fn a_batch_keeps_its_records_and_its_producer_under_another_codec() {
    let case = case("batches.jsonl", "transactional-gzip");
    let hex = hex_of(&case);
    let batch = Batch::parse(&hex).expect("a batch");
    let mut anew = vec![7];
    reencode(
        &batch,
        Compression::new(Codec::Snappy, None).expect("snappy"),
        &mut Compressor::new(),
        &mut Vec::new(),
        4096,
        &mut anew,
    )
    .expect("reencodes");
    let again = Batch::parse(&anew[1..]).expect("a batch");
    assert!(again.is_crc_valid());
    assert_eq!(again.header().attributes, batch.header().attributes.with_codec(Codec::Snappy));
    assert!(again.header().attributes.is_transactional());
    assert_eq!(again.header().producer_id, batch.header().producer_id);
    assert_eq!(again.header().base_sequence, batch.header().base_sequence);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    assert_eq!(again.plain_records(&mut one, 4096), batch.plain_records(&mut other, 4096));
}

/// L7: the bounds are inclusive, −1 is unchecked, and every bad record is listed
#[test]
fn times_out_of_range_are_listed_by_record() {
    let rules =
        ValidateRules { now_ms: NOW, before_max_ms: 1000, after_max_ms: 500, ..ValidateRules::default() };
    assert_eq!(
        answer(&batch_of(&[(NOW - 1000, None), (NOW + 500, None), (-1, None)], |_, _| {}), &rules),
        "NONE"
    );
    let bad = batch_of(
        &[(NOW - 1001, None), (NOW, None), (NOW + 501, None), (i64::MAX, None), (i64::MIN, None)],
        |_, _| {},
    );
    let error = check(&bad, &rules).expect_err("times out of range");
    assert_eq!(error.answer().name(), "INVALID_TIMESTAMP");
    assert_eq!(error.rejected().iter().map(|record| record.index).collect::<Vec<_>>(), [0, 2, 3, 4]);
    // log append time asks for no times
    let append_time = ValidateRules { timestamp_type: TimestampType::LogAppendTime, ..rules };
    let validated = check(&bad, &append_time).expect("times do not count");
    assert_eq!((validated.max_timestamp, validated.max_timestamp_offset_delta), (NOW, 4));
    assert!(validated.fix_max_timestamp && validated.fix_timestamp_type);
}

/// L3, L6: the header's maximum is put right, and the first record that has it is known
#[test]
fn a_wrong_maximum_timestamp_is_corrected() {
    let mut batch =
        batch_of(&[(NOW, None), (NOW + 9, None), (NOW + 3, None), (NOW + 9, None)], |_, batch| {
            batch[35..43].copy_from_slice(&NOW.to_be_bytes());
        });
    let rules = ValidateRules { now_ms: NOW, ..ValidateRules::default() };
    let validated = check(&batch, &rules).expect("valid");
    assert_eq!((validated.max_timestamp, validated.max_timestamp_offset_delta), (NOW + 9, 1));
    assert!(validated.fix_max_timestamp && !validated.fix_timestamp_type);
    set_max_timestamp_and_type(&mut batch, validated.max_timestamp, rules.timestamp_type);
    let batch = Batch::parse(&batch).expect("a batch");
    assert!(batch.is_crc_valid());
    assert_eq!(batch.header().max_timestamp, NOW + 9);
}

/// L6: batches that a producer marked LogAppendTime
#[test]
fn the_mark_of_log_append_time_is_cleared_or_refused() {
    let mark = |_: &mut BatchBuilder, batch: &mut Vec<u8>| {
        let marked = Attributes::default().with_timestamp_type(TimestampType::LogAppendTime);
        batch[21..23].copy_from_slice(&marked.0.to_be_bytes());
    };
    let create_time = ValidateRules { now_ms: NOW, ..ValidateRules::default() };
    let append_time = ValidateRules { timestamp_type: TimestampType::LogAppendTime, ..create_time };
    let mut batch = batch_of(&[(NOW - 5, None)], mark);
    assert_eq!(answer(&batch, &append_time), "INVALID_TIMESTAMP");
    let validated = check(&batch, &create_time).expect("taken, and cleared");
    assert!(validated.fix_timestamp_type);
    set_max_timestamp_and_type(&mut batch, validated.max_timestamp, TimestampType::CreateTime);
    let batch = Batch::parse(&batch).expect("a batch");
    assert!(batch.is_crc_valid());
    assert_eq!(batch.header().attributes, Attributes::default());
    assert_eq!(answer(&batch_of(&[(-1, None)], mark), &create_time), "INVALID_TIMESTAMP");
}

/// L3: what a client and an operator read about a refused record
#[test]
fn a_refusal_says_which_record_and_what_is_wrong_with_it() {
    let rules =
        ValidateRules { now_ms: NOW, before_max_ms: 1000, after_max_ms: 500, ..ValidateRules::default() };
    let texts = |batch: &[u8], rules: &ValidateRules| {
        let error = check(batch, rules).expect_err("refused");
        error.rejected().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let bad = batch_of(&[(NOW - 1001, None), (NOW + 501, None)], |_, _| {});
    assert_eq!(
        texts(&bad, &rules),
        [
            "timestamp 1750000058999 is further in the past than message.timestamp.before.max.ms allows",
            "timestamp 1750000060501 is further in the future than message.timestamp.after.max.ms allows",
        ]
    );
    let keyless = batch_of(&[(NOW, None)], |_, _| {});
    let compacted = ValidateRules { compacted: true, ..rules };
    assert_eq!(texts(&keyless, &compacted), ["a compacted topic takes no record without a key"]);
    let marked = batch_of(&[(-1, None)], |_, batch| batch[22] |= 8);
    assert_eq!(texts(&marked, &rules), ["a producer must not set the timestamp type to LogAppendTime"]);
    // more records stated than there are
    let short = batch_of(&[(NOW, None), (NOW, None)], |_, batch| {
        batch[23..27].copy_from_slice(&4i32.to_be_bytes());
        batch[57..61].copy_from_slice(&5i32.to_be_bytes());
    });
    let missing = InvalidBatch::Records { index: 2, error: RecordError::Missing { records: 3 } };
    assert_eq!(check(&short, &rules), Err(missing));
}

/// CMP-4, REC-5, L2: the rows of the table that no vector has
#[test]
fn rules_about_whole_batches() {
    let rules = ValidateRules { now_ms: NOW, ..ValidateRules::default() };
    let plain = batch_of(&[(NOW, Some(b"k"))], |_, _| {});
    assert_eq!(answer(&plain, &rules), "NONE");
    let len = plain.len();
    assert_eq!(answer(&plain, &ValidateRules { max_message_bytes: len, ..rules }), "NONE");
    assert_eq!(answer(&plain, &ValidateRules { max_message_bytes: len - 1, ..rules }), "MESSAGE_TOO_LARGE");
    // fewer than 12 stray bytes are dropped
    assert_eq!(answer(&[&plain[..], &[0xff; 11]].concat(), &rules), "NONE");
    assert_eq!(answer(&[&plain[..], &[0xff; 12]].concat(), &rules), "CORRUPT_MESSAGE");
    let with = |at: usize, bytes: &'static [u8]| {
        batch_of(&[(NOW, Some(b"k"))], |_, batch| batch[at..at + bytes.len()].copy_from_slice(bytes))
    };
    // reserved bits, the delete horizon's bit, and a record's attributes are taken
    assert_eq!(answer(&with(21, &[0xff, 0x80]), &rules), "NONE");
    assert_eq!(answer(&with(21, &[0, 0x40]), &rules), "NONE");
    assert_eq!(answer(&with(62, &[0x7f]), &rules), "NONE");
    // the control bit is not
    assert_eq!(answer(&with(21, &[0, 0x20]), &rules), "INVALID_RECORD");
    assert_eq!(answer(&with(7, &[1]), &rules), "INVALID_RECORD");
    let zstd = with(21, &[0, 4]);
    let old = ValidateRules { zstd_allowed: false, ..rules };
    assert_eq!(answer(&zstd, &old), "UNSUPPORTED_COMPRESSION_TYPE");
}

/// Chapter 5, the table's row on compacted topics
#[test]
fn compacted_topics_need_keys() {
    let rules = ValidateRules { now_ms: NOW, compacted: true, ..ValidateRules::default() };
    assert_eq!(answer(&batch_of(&[(NOW, Some(b"")), (NOW, Some(b"k"))], |_, _| {}), &rules), "NONE");
    let error = check(&batch_of(&[(NOW, Some(b"k")), (NOW, None)], |_, _| {}), &rules).expect_err("no key");
    assert_eq!(error.answer().name(), "INVALID_RECORD");
    assert_eq!(error.rejected()[0].index, 1);
    // a wrong time beside it decides the answer, as in Kafka
    let both = batch_of(&[(NOW, None), (NOW * 2, Some(b"k"))], |_, _| {});
    assert_eq!(answer(&both, &rules), "INVALID_TIMESTAMP");
}

#[test]
fn the_list_of_refused_records_is_bounded() {
    let records = vec![(NOW, None); REJECTED_MAX + 5];
    let rules = ValidateRules { now_ms: NOW, compacted: true, ..ValidateRules::default() };
    let error = check(&batch_of(&records, |_, _| {}), &rules).expect_err("no keys");
    assert_eq!(error.rejected().len(), REJECTED_MAX);
    assert!(error.to_string().contains("record 0"), "{error}");
}
