//! Batches that are none, and batches that a leader refuses: every case of `invalid_batches.jsonl` at every station that this crate
//! answers for, beside what Kafka does there. Where the answers differ, the case is named with the reason.

mod common;

use common::{READS_ZSTD, cases, hex_of, id, java};
use rohrpost_record::{
    Answer, Batch, Batches, InvalidBatch, ValidateRules, Validated, single_batch, validate,
};

/// Room for the bombs: 64 MiB and the record around them.
const LIMIT: usize = (64 << 20) + 1024;

fn rules() -> ValidateRules {
    ValidateRules { now_ms: 1_750_000_060_000, max_decompressed_bytes: LIMIT, ..ValidateRules::default() }
}

/// This build reads zstd.
fn reads(name: &str) -> bool {
    READS_ZSTD || !name.contains("zstd")
}

/// Batches of the bytes, as far as they are batches.
fn split(bytes: &[u8]) -> (Vec<Batch<'_>>, bool) {
    let (mut batches, mut failed) = (Vec::new(), false);
    for batch in Batches::new(bytes) {
        match batch {
            Ok(batch) => batches.push(batch),
            Err(_) => failed = true,
        }
    }
    (batches, failed)
}

/// Formats 0 and 1 are not read here; Kafka reads them, but takes them in no produce request.
fn is_old_format(name: &str) -> bool {
    name.starts_with("message-set-") || name.ends_with("-layout-2")
}

#[test]
fn answers_have_the_codes_of_the_protocol() {
    let codes = [
        (Answer::CorruptMessage, 2),
        (Answer::MessageTooLarge, 10),
        (Answer::InvalidTimestamp, 32),
        (Answer::UnsupportedCompressionType, 76),
        (Answer::InvalidRecord, 87),
    ];
    assert_eq!(codes.map(|(answer, _)| answer.code()), codes.map(|(_, code)| code));
}

/// REC-7
#[test]
fn bytes_are_split_into_batches_as_java_splits_them() {
    for case in cases("invalid_batches.jsonl") {
        let (hex, name) = (hex_of(&case), id(&case));
        let (batches, failed) = split(&hex);
        let java = java(&case, "batches").expect("every case gets here");
        match name {
            // Java splits a header that is cut short off, and refuses it at the next station
            "length-48" => assert!(failed && java.is_ok()),
            _ if is_old_format(name) => assert!(failed && java.is_ok(), "{name}"),
            _ => match java {
                Ok(count) => assert!(!failed && count == batches.len(), "{name}"),
                Err(_) => assert!(failed, "{name}"),
            },
        }
    }
}

/// REC-3, REC-7
#[test]
fn wrong_checksums_are_found() {
    for case in cases("invalid_batches.jsonl") {
        let (hex, name) = (hex_of(&case), id(&case));
        let (batches, failed) = split(&hex);
        let valid = !batches.is_empty() && batches.iter().all(Batch::is_crc_valid);
        match java(&case, "ensureValid") {
            Some(Ok(_)) if !is_old_format(name) => assert!(valid, "{name}"),
            Some(_) => assert!(!valid || failed, "{name}"),
            None => assert!(batches.is_empty(), "{name}"),
        }
    }
}

/// Cases whose records Java reads and this crate does not. A correct client makes none of them.
const STRICTER_READING: [(&str, &str); 3] = [
    ("count-zero", "bytes follow the last record"),
    ("key-length-minus-2", "a length below -1 is a damaged one"),
    ("gzip-key-length-minus-2", "a length below -1 is a damaged one"),
];

/// REC-7, CMP-2
#[test]
fn records_are_refused_where_java_refuses_them() {
    let mut scratch = Vec::new();
    for case in cases("invalid_batches.jsonl") {
        let (hex, name) = (hex_of(&case), id(&case));
        let (batches, failed) = split(&hex);
        if is_old_format(name) || !reads(name) {
            continue;
        }
        let mut read = Ok(0);
        for batch in &batches {
            let (count, error) = match batch.records(&mut scratch, LIMIT) {
                Ok(records) => records.fold((0, None), |(count, _), record| match record {
                    Ok(_) => (count + 1, None),
                    Err(error) => (count, Some(error)),
                }),
                Err(error) => (0, Some(error)),
            };
            read = match (read, error) {
                (Ok(before), None) => Ok(before + count),
                (Err(error), _) | (_, Some(error)) => Err(error),
            };
        }
        let stricter = STRICTER_READING.iter().any(|(other, _)| *other == name);
        match java(&case, "records") {
            Some(Ok(_)) if stricter => assert!(read.is_err(), "{name}"),
            Some(Ok(count)) => assert_eq!(read.expect(name), count.as_i64().expect("a number"), "{name}"),
            Some(Err(_)) => assert!(read.is_err() || failed, "{name}"),
            None => assert_eq!(read, Ok(0), "{name}"),
        }
    }
}

/// P3, REC-6
#[test]
fn produce_requests_have_one_batch_of_format_2() {
    for case in cases("invalid_batches.jsonl") {
        let (hex, name) = (hex_of(&case), id(&case));
        let answer = single_batch(Some(&hex)).map(|_| ()).map_err(|error| error.answer().name());
        match name {
            // Kafka finds it when it appends, with the same answer
            "length-48" => assert_eq!(answer, Err("CORRUPT_MESSAGE")),
            // Java's sum overflows
            "length-max" => assert_eq!(answer, Err("CORRUPT_MESSAGE")),
            _ => match java(&case, "produceRequest").expect("every case gets here") {
                Ok(_) => assert_eq!(answer, Ok(()), "{name}"),
                Err(java) => assert_eq!(answer, Err(java), "{name}"),
            },
        }
    }
    assert_eq!(single_batch(None).map_err(|error| error.answer().name()).err(), Some("INVALID_RECORD"));
    assert_eq!(single_batch(Some(&[])).map_err(|error| error.answer().name()).err(), Some("INVALID_RECORD"));
}

/// Cases that Kafka's leader takes, or answers with an error that means nothing to a client, and what is answered here.
fn stricter_answer(name: &str) -> Option<&'static str> {
    Some(match name {
        // Kafka looks at a record's stated length only where it does not skip values; readers fail on them later
        "gzip-record-length-beyond"
        | "gzip-record-length-negative"
        | "gzip-record-length-zero"
        | "gzip-record-length-max"
        | "gzip-record-length-one-less"
        | "gzip-record-length-one-more" => "INVALID_RECORD",
        // a length below -1 is a damaged one
        "key-length-minus-2" | "gzip-key-length-minus-2" => "INVALID_RECORD",
        // offset deltas of a client must be 0, 1, 2, …: consumers and compaction rely on it
        "offsets-same" | "offsets-decreasing" | "offset-delta-negative" => "INVALID_RECORD",
        // UNKNOWN_SERVER_ERROR in Kafka
        "record-length-varint-long" => "INVALID_RECORD",
        "codec-5" | "codec-6" => "UNSUPPORTED_COMPRESSION_TYPE",
        "gzip-noise" | "gzip-cut" | "gzip-no-bytes" | "gzip-plain" | "gzip-crc" => "INVALID_RECORD",
        "snappy-noise" | "snappy-chunk-size" => "INVALID_RECORD",
        "lz4-noise"
        | "lz4-cut"
        | "lz4-no-bytes"
        | "lz4-plain"
        | "lz4-header-checksum"
        | "lz4-linked"
        | "lz4-block-size" => "INVALID_RECORD",
        "zstd-noise" | "zstd-cut" | "zstd-window" => "INVALID_RECORD",
        "length-max" => "CORRUPT_MESSAGE",
        _ => return None,
    })
}

fn as_leader(bytes: &[u8]) -> Result<Validated, InvalidBatch> {
    validate(&single_batch(Some(bytes))?, &rules(), &mut Vec::new())
}

/// P3, L2, L3, L7, REC-7
#[test]
fn a_leader_refuses_what_kafka_refuses() {
    let mut compared = 0;
    for case in cases("invalid_batches.jsonl") {
        let (hex, name) = (hex_of(&case), id(&case));
        if !reads(name) {
            continue;
        }
        let answer = as_leader(&hex).map(|_| ()).map_err(|error| error.answer().name());
        // in Kafka the produce request is looked at before the log
        let java = match java(&case, "produceRequest").expect("every case gets here") {
            Ok(_) => java(&case, "appendAsLeader").expect("every case gets here").map(|_| ()),
            Err(error) => Err(error),
        };
        match stricter_answer(name) {
            Some(stricter) => {
                assert_ne!(java, Err(stricter), "{name} is no exception");
                assert_eq!(answer, Err(stricter), "{name}");
            }
            None => assert_eq!(answer, java, "{name}"),
        }
        compared += 1;
    }
    assert!(compared >= 120, "{compared}");
}

/// REC-7: bombs do not go off
#[test]
fn decompression_stops_at_the_limit() {
    for case in cases("invalid_batches.jsonl").iter().filter(|case| id(case).contains("bomb")) {
        if !reads(id(case)) {
            continue;
        }
        let hex = hex_of(case);
        let batch = Batch::parse(&hex).expect("a batch");
        let mut scratch = Vec::new();
        let rules = ValidateRules { max_decompressed_bytes: 1 << 20, ..rules() };
        let error = validate(&batch, &rules, &mut scratch).expect_err("a bomb");
        assert_eq!(error.answer().name(), "MESSAGE_TOO_LARGE", "{}", id(case));
        assert!(scratch.capacity() <= (1 << 20) + 1, "{}: {}", id(case), scratch.capacity());
    }
}
