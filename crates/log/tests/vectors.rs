//! What Apache Kafka's own log makes of the same bytes: `vectors/append.jsonl` and `vectors/invalid_batches.jsonl`.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{DIR, NOW, content, options, unhex};
use rohrpost_log::{LeaderChecks, Log, LogConfig, MemoryStorage, OpenOptions, code};
use serde_json::Value;

fn lines(file: &str) -> Vec<Value> {
    let path = format!("{}/../../vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The outcome of a step, in the vectors' own terms.
#[derive(Debug, PartialEq)]
enum Outcome {
    Ok { first: i64, last: i64, max_timestamp: i64, append_time: i64 },
    Error { code: i16, records: Vec<i32> },
}

fn expected(result: &Value) -> Outcome {
    let number = |v: &Value| v.as_i64().unwrap();
    match result.get("ok") {
        Some(ok) => Outcome::Ok {
            first: number(&ok["firstOffset"]),
            last: number(&ok["lastOffset"]),
            max_timestamp: number(&ok["maxTimestamp"]),
            append_time: number(&ok["logAppendTime"]),
        },
        None => Outcome::Error {
            code: number(&result["errorCode"]) as i16,
            records: result["recordErrors"]
                .as_array()
                .map(|all| all.iter().map(|e| number(&e["batchIndex"]) as i32).collect())
                .unwrap_or_default(),
        },
    }
}

fn append(log: &mut Log, role: &str, bytes: &[u8], epoch: i32, clock: i64) -> Outcome {
    if role == "follower" {
        return match log.append_as_follower(bytes, epoch, clock) {
            Ok(info) => Outcome::Ok {
                first: info.first_offset,
                last: info.last_offset,
                max_timestamp: info.max_timestamp,
                append_time: -1,
            },
            Err(e) => Outcome::Error { code: e.code(), records: Vec::new() },
        };
    }
    match log.append_as_leader(&mut bytes.to_vec(), epoch, clock, LeaderChecks::default()) {
        Ok(info) => Outcome::Ok {
            first: info.first_offset,
            last: info.last_offset,
            max_timestamp: info.max_timestamp,
            append_time: info.log_append_time,
        },
        Err(e) => {
            Outcome::Error { code: e.code, records: e.record_errors.iter().map(|r| r.batch_index).collect() }
        }
    }
}

fn log_with(config: LogConfig, options: OpenOptions) -> Log {
    Log::open(Arc::new(MemoryStorage::new()), DIR, config, options).unwrap()
}

#[test]
fn batches_are_stored_as_kafka_stores_them() {
    // L2, L3, L4, L5, L6, L7, L8, I2, I3, I4, I5, I7, I8, R22
    for case in lines("append.jsonl") {
        let id = case["id"].as_str().unwrap();
        let mut config = LogConfig::default();
        for (key, value) in case["topicConfig"].as_object().unwrap() {
            config.set(key, value.as_str().unwrap()).unwrap();
        }
        let exact = case["exact"].as_bool().unwrap();
        let start = case["logStartOffset"].as_i64().unwrap();
        let mut log = log_with(config, OpenOptions { log_start: start, ..options() });
        for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let bytes = unhex(step["input"].as_str().unwrap());
            let epoch = step["leaderEpoch"].as_i64().unwrap() as i32;
            let clock = case["clock"].as_i64().unwrap();
            let outcome = append(&mut log, step["role"].as_str().unwrap(), &bytes, epoch, clock);
            assert_eq!(outcome, expected(&step["result"]), "{id}, step {i}");
            assert_eq!(log.log_end_offset(), step["logEndOffset"].as_i64().unwrap(), "{id}, step {i}");
            if exact {
                assert_eq!(log.size_bytes(), step["storedBytes"].as_u64().unwrap(), "{id}, step {i}");
            }
        }
        if exact {
            let stored = unhex(case["stored"].as_str().unwrap());
            assert!(content(&log) == stored, "{id}: stored bytes differ");
        }
    }
}

/// Where Rohrpost's leader is stricter than Kafka's, or says it better (chapter 5, "Rohrpost if different").
fn stricter_leader(id: &str) -> Option<i16> {
    Some(match id {
        "codec-5" | "codec-6" => code::UNSUPPORTED_COMPRESSION_TYPE,
        // No batch is as long as that.
        "length-max" => code::CORRUPT_MESSAGE,
        // Payload that does not decompress.
        "gzip-noise" | "gzip-cut" | "gzip-no-bytes" | "gzip-plain" | "gzip-crc" => code::INVALID_RECORD,
        "snappy-noise" | "snappy-chunk-size" => code::INVALID_RECORD,
        "lz4-noise" | "lz4-cut" | "lz4-no-bytes" | "lz4-plain" => code::INVALID_RECORD,
        "lz4-header-checksum" | "lz4-linked" | "lz4-block-size" => code::INVALID_RECORD,
        "zstd-noise" | "zstd-cut" | "zstd-window" => code::INVALID_RECORD,
        // Offset deltas that are not 0, 1, 2, …
        "offsets-same" | "offsets-decreasing" | "offset-delta-negative" => code::INVALID_RECORD,
        // Kafka skips over keys and values of compressed batches and does not look at a record's stated length; nobody
        // could read these.
        "gzip-record-length-beyond" | "gzip-record-length-max" | "record-length-varint-long" => {
            code::INVALID_RECORD
        }
        "gzip-record-length-negative" | "gzip-record-length-zero" => code::INVALID_RECORD,
        "gzip-record-length-one-less" | "gzip-record-length-one-more" => code::INVALID_RECORD,
        "key-length-minus-2" | "gzip-key-length-minus-2" => code::INVALID_RECORD,
        _ => return None,
    })
}

#[test]
fn bad_batches_are_refused_as_kafkas_leader_refuses_them() {
    // P3, L2, L3: the table of bad input in chapter 5
    let mut wrong = Vec::new();
    for case in lines("invalid_batches.jsonl") {
        let id = case["id"].as_str().unwrap();
        let java = &case["java"];
        // A produce request passes the request's check first, then the log's.
        let result = match java.get("produceRequest") {
            Some(shape) if shape.get("ok").is_none() => shape,
            _ => &java["appendAsLeader"],
        };
        let want = match (stricter_leader(id), result.get("ok")) {
            (Some(code), _) => Err(code),
            (None, Some(ok)) => {
                Ok((ok["firstOffset"].as_i64().unwrap(), ok["storedBytes"].as_u64().unwrap()))
            }
            (None, None) => Err(result["errorCode"].as_i64().unwrap() as i16),
        };
        let mut bytes = unhex(case["hex"].as_str().unwrap());
        let mut log = log_with(LogConfig::default(), options());
        let got = match log.append_as_leader(&mut bytes, 5, NOW, LeaderChecks::default()) {
            Ok(info) => Ok((info.first_offset, log.size_bytes())),
            Err(e) => {
                assert_eq!((log.log_end_offset(), log.size_bytes()), (0, 0), "{id}: nothing of it is stored");
                Err(e.code)
            }
        };
        if got != want {
            wrong.push(format!("{id}: {got:?}, expected {want:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Where Rohrpost's follower differs from Kafka's: formats 0 and 1 are not stored, and errors have better names.
fn stricter_follower(id: &str) -> Option<Result<(i64, u64), i16>> {
    Some(match id {
        "codec-5" | "codec-6" => Err(code::UNSUPPORTED_COMPRESSION_TYPE),
        "control-type-unknown" => Err(code::INVALID_RECORD),
        _ if id.starts_with("message-set-") => Err(code::CORRUPT_MESSAGE),
        "length-max" => Err(code::CORRUPT_MESSAGE),
        _ => return None,
    })
}

#[test]
fn bad_batches_are_judged_as_kafkas_follower_judges_them() {
    // R22
    let mut wrong = Vec::new();
    for case in lines("invalid_batches.jsonl") {
        let id = case["id"].as_str().unwrap();
        let result = &case["java"]["appendAsFollower"];
        let want = match (stricter_follower(id), result.get("ok")) {
            (Some(other), _) => other,
            (None, Some(ok)) => {
                Ok((ok["firstOffset"].as_i64().unwrap(), ok["storedBytes"].as_u64().unwrap()))
            }
            (None, None) => Err(result["errorCode"].as_i64().unwrap() as i16),
        };
        let mut bytes = unhex(case["hex"].as_str().unwrap());
        if bytes.len() >= 16 && bytes[12..16] == [0xff; 4] {
            // The vectors' producer batches have no leader epoch yet.
            bytes[12..16].copy_from_slice(&5i32.to_be_bytes());
        }
        let mut log = log_with(LogConfig::default(), options());
        let got = match log.append_as_follower(&bytes, 5, NOW) {
            Ok(info) => Ok((info.first_offset, log.size_bytes())),
            Err(e) => Err(e.code()),
        };
        if got != want {
            wrong.push(format!("{id}: {got:?}, expected {want:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
