//! Varints, checksums, hashes, batches and control records as Apache Kafka writes and reads them.

mod common;

use common::{READS_ZSTD, bytes, case, cases, hex_of, id, int, is_readable, java, unhex};
use rohrpost_record::control::{
    self, ControlBatch, ControlRecord, ControlType, EndTxnMarker, KRaftVersion, LeaderChange, SnapshotFooter,
    SnapshotHeader, Voters,
};
use rohrpost_record::crc::{crc32c, crc32c_append};
use rohrpost_record::varint::*;
use rohrpost_record::{
    Attributes, Batch, BatchBuilder, Batches, Codec, Compression, Compressor, HEADER_LEN, Header, Record,
    Stamp, TimestampType, ValidateRules, murmur2, patch, single_batch, stamp, validate,
};
use serde_json::Value;

const LIMIT: usize = 4 << 20;

/// REC-1
#[test]
fn varints_as_java_writes_them() {
    for case in cases("varints.jsonl") {
        let (encoded, name) = (hex_of(&case), id(&case));
        let mut out = [0; MAX_VARLONG_LEN];
        let kind = case["type"].as_str().expect("type");
        let read = match kind {
            "varint" => read_varint(&encoded).map(|(value, used)| (i128::from(value), used)),
            "varlong" => read_varlong(&encoded).map(|(value, used)| (i128::from(value), used)),
            "unsigned_varint" => {
                read_unsigned_varint(&encoded).map(|(value, used)| (i128::from(value), used))
            }
            "unsigned_varlong" => {
                read_unsigned_varlong(&encoded).map(|(value, used)| (i128::from(value), used))
            }
            other => panic!("{other}"),
        };
        let Some(value) = case["value"].as_str().map(|value| value.parse::<i128>().expect("decimal")) else {
            match case["java"].as_str() {
                Some(java) => {
                    let used = int(&case["java_read_bytes"]) as usize;
                    assert_eq!(read, Ok((java.parse().expect("decimal"), used)), "{name}");
                }
                None => assert!(read.is_err(), "{name}: {read:?}"),
            }
            continue;
        };
        assert_eq!(read, Ok((value, encoded.len())), "{name}");
        let (used, size) = match kind {
            "varint" => (put_varint(&mut out, value as i32), size_varint(value as i32)),
            "varlong" => (put_varlong(&mut out, value as i64), size_varlong(value as i64)),
            "unsigned_varint" => {
                (put_unsigned_varint(&mut out, value as u32), size_unsigned_varint(value as u32))
            }
            _ => (put_unsigned_varlong(&mut out, value as u64), size_unsigned_varlong(value as u64)),
        };
        assert_eq!((&out[..used], size), (&encoded[..], encoded.len()), "{name}");
    }
}

/// REC-3
#[test]
fn checksums_in_one_piece_and_in_two() {
    for case in cases("crc32c.jsonl") {
        let data = bytes(&case["data"]).expect("data");
        let stated = int(&case["crc32c"]) as u32;
        assert_eq!(crc32c(&data), stated, "{}", id(&case));
        let (head, rest) = data.split_at(data.len() / 3);
        assert_eq!(crc32c_append(crc32c(head), rest), stated, "{}", id(&case));
    }
}

/// PAR-2, PAR-3
#[test]
fn murmur2_places_keys_where_java_does() {
    for case in cases("murmur2.jsonl") {
        let hash = murmur2(&bytes(&case["key"]).expect("key"));
        assert_eq!(i64::from(hash), int(&case["murmur2"]), "{}", id(&case));
        let positive = hash & i32::MAX;
        assert_eq!(i64::from(positive), int(&case["positive"]), "{}", id(&case));
        for (partitions, partition) in case["partition"].as_object().expect("partition") {
            assert_eq!(
                i64::from(positive) % partitions.parse::<i64>().expect("a number"),
                int(partition),
                "{}",
                id(&case)
            );
        }
    }
}

/// L9: every field of the header, and what follows from it
#[test]
fn headers_are_read_field_by_field() {
    for case in cases("batches.jsonl") {
        let (hex, name, want) = (hex_of(&case), id(&case), &case["batch"]);
        let batch = Batch::parse(&hex).unwrap_or_else(|e| panic!("{name}: {e}"));
        let header = batch.header();
        for (field, value) in [
            ("baseOffset", header.base_offset),
            ("batchLength", header.batch_length.into()),
            ("partitionLeaderEpoch", header.partition_leader_epoch.into()),
            ("magic", header.magic.into()),
            ("crc", header.crc.into()),
            ("attributes", header.attributes.0.into()),
            ("lastOffsetDelta", header.last_offset_delta.into()),
            ("baseTimestamp", header.base_timestamp),
            ("maxTimestamp", header.max_timestamp),
            ("producerId", header.producer_id),
            ("producerEpoch", header.producer_epoch.into()),
            ("baseSequence", header.base_sequence.into()),
            ("recordsCount", header.records_count.into()),
            ("lastOffset", header.last_offset()),
            ("nextOffset", header.next_offset()),
            ("lastSequence", header.last_sequence().into()),
        ] {
            assert_eq!(value, int(&want[field]), "{name}: {field}");
        }
        assert_eq!(header.attributes.codec().expect("a codec").name(), want["compression"], "{name}");
        let timestamp_type = match header.attributes.timestamp_type() {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        };
        assert_eq!(timestamp_type, want["timestampType"], "{name}");
        assert_eq!(header.attributes.is_transactional(), want["isTransactional"], "{name}");
        assert_eq!(header.attributes.is_control(), want["isControlBatch"], "{name}");
        assert_eq!(header.delete_horizon_ms(), want["deleteHorizonMs"].as_i64(), "{name}");
        assert_eq!(header.total_len(), hex.len(), "{name}");
        assert!(batch.is_crc_valid(), "{name}");
        let mut rewritten = [0; HEADER_LEN];
        header.write(&mut rewritten);
        assert_eq!(rewritten[..], hex[..HEADER_LEN], "{name}");
    }
}

fn assert_record(record: &Record<'_>, want: &Value, name: &str) {
    assert_eq!(record.offset, int(&want["offset"]), "{name}");
    assert_eq!(record.timestamp, int(&want["timestamp"]), "{name}");
    assert_eq!(i64::from(record.sequence), int(&want["sequence"]), "{name}");
    assert_eq!(record.size as i64, int(&want["size"]), "{name}");
    assert_eq!(i64::from(record.attributes), int(&want["attributes"]), "{name}");
    assert_eq!(record.timestamp_delta, int(&want["timestampDelta"]), "{name}");
    assert_eq!(i64::from(record.offset_delta), int(&want["offsetDelta"]), "{name}");
    assert_eq!(record.key, bytes(&want["key"]).as_deref(), "{name}");
    assert_eq!(record.value, bytes(&want["value"]).as_deref(), "{name}");
    let headers = want["headers"].as_array().expect("headers");
    assert_eq!(record.headers().len(), headers.len(), "{name}");
    for (header, want) in record.headers().zip(headers) {
        assert_eq!(Some(header.key), bytes(&want["key"]).as_deref(), "{name}");
        assert_eq!(header.value, bytes(&want["value"]).as_deref(), "{name}");
    }
}

/// REC-1, REC-2, CMP-1, CMP-2, CMP-3: every record of every batch, of every codec, odd writers included
#[test]
fn records_are_read_as_java_reads_them() {
    let mut scratch = Vec::new();
    for case in cases("batches.jsonl").into_iter().filter(is_readable) {
        let (hex, name) = (hex_of(&case), id(&case));
        let batch = Batch::parse(&hex).expect("a batch");
        let want = case["records"].as_array().expect("records");
        let records = batch.records(&mut scratch, LIMIT).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(records.left() as usize, want.len(), "{name}");
        let mut seen = 0;
        for (record, want) in records.zip(want) {
            assert_record(&record.unwrap_or_else(|e| panic!("{name}: {e}")), want, name);
            seen += 1;
        }
        assert_eq!(seen, want.len(), "{name}");
        // the station's checks that come after the last record
        let records = batch.records(&mut scratch, LIMIT).expect("as before");
        assert!(records.last().is_none_or(|record| record.is_ok()), "{name}");
    }
}

/// The batch that an encoder makes of a case's fields; its records are compressed by `compression`.
fn encode(case: &Value, compression: Compression) -> Vec<u8> {
    let want = &case["batch"];
    let attributes = Attributes(int(&want["attributes"]) as i16).with_codec(compression.codec());
    let horizon = want["deleteHorizonMs"].as_i64();
    let mut builder = horizon.map_or(BatchBuilder::new(), BatchBuilder::with_delete_horizon);
    let mut plain = Vec::new();
    for record in case["records"].as_array().expect("records") {
        let owned: Vec<_> = record["headers"]
            .as_array()
            .expect("headers")
            .iter()
            .map(|header| (bytes(&header["key"]).expect("a name"), bytes(&header["value"])))
            .collect();
        let headers: Vec<_> =
            owned.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        let (key, value) = (bytes(&record["key"]), bytes(&record["value"]));
        // the deltas are the producer's also where a broker has set other times
        let timestamp = int(&want["baseTimestamp"]) + int(&record["timestampDelta"]);
        let len = builder.record_len(timestamp, key.as_deref(), value.as_deref(), &headers);
        let upper = BatchBuilder::upper_bound(key.as_deref(), value.as_deref(), &headers);
        assert!(HEADER_LEN + len <= upper, "{}", id(case));
        let at = plain.len();
        plain.resize(at + len, 0);
        assert_eq!(
            builder.append(&mut plain[at..], timestamp, key.as_deref(), value.as_deref(), &headers),
            len
        );
    }
    assert_eq!(builder.records_len(), plain.len());
    let mut batch = vec![0; HEADER_LEN];
    let fits = Compressor::new().compress(compression, &mut plain.chunks(1000), &mut batch, usize::MAX / 2);
    assert_eq!(fits, Ok(true), "{}", id(case));
    let mut header = builder.header(attributes, batch.len() - HEADER_LEN);
    if attributes.timestamp_type() == TimestampType::LogAppendTime {
        header.max_timestamp = int(&want["maxTimestamp"]);
    }
    header.write(batch.first_chunk_mut().expect("a header"));
    patch(&mut batch, int(&want["baseOffset"]), int(&want["partitionLeaderEpoch"]) as i32);
    let by = Stamp {
        producer_id: int(&want["producerId"]),
        producer_epoch: int(&want["producerEpoch"]) as i16,
        base_sequence: int(&want["baseSequence"]) as i32,
    };
    let (head, rest) = batch.split_at_mut(HEADER_LEN);
    stamp(head, rest.chunks(7), by);
    batch
}

/// What compaction left cannot come out of an encoder: gaps, and batches without records.
fn is_compacted(case: &Value) -> bool {
    let records = case["records"].as_array().expect("records");
    records.iter().enumerate().any(|(i, record)| int(&record["offsetDelta"]) != i as i64)
        || records.len() as i64 != int(&case["batch"]["lastOffsetDelta"]) + 1
}

/// REC-1, REC-2, REC-3, REC-5, PRE-5
#[test]
fn encoding_arrives_at_the_same_bytes() {
    let mut exact = 0;
    for case in cases("batches.jsonl") {
        if case["exact"] == true && !is_compacted(&case) {
            assert_eq!(encode(&case, Compression::NONE), hex_of(&case), "{}", id(&case));
            exact += 1;
        }
    }
    assert!(exact >= 50, "{exact}");
}

/// CMP-5: compressed batches are compared after decompression
#[test]
fn compressed_batches_hold_the_same_records_again() {
    let (mut scratch, mut checked) = (Vec::new(), 0);
    for case in cases("batches.jsonl") {
        let codec = Codec::from_name(case["compression"].as_str().expect("compression")).expect("a codec");
        if codec == Codec::None || id(&case).starts_with("odd-") || is_compacted(&case) {
            continue;
        }
        let level = case["level"].as_i64().map(|level| level as i32);
        let Ok(compression) = Compression::new(codec, level).or_else(|_| Compression::new(codec, None))
        else {
            continue;
        };
        let batch = encode(&case, compression);
        let batch = Batch::parse(&batch).expect("a batch");
        assert!(batch.is_crc_valid());
        assert_eq!(batch.header().attributes.codec(), Ok(codec));
        let mut count = 0;
        for (record, want) in batch
            .records(&mut scratch, LIMIT)
            .expect("decompresses")
            .zip(case["records"].as_array().expect("records"))
        {
            assert_record(&record.expect("a record"), want, id(&case));
            count += 1;
        }
        assert_eq!(count, int(&case["batch"]["recordsCount"]));
        checked += 1;
    }
    assert!(checked >= if READS_ZSTD { 30 } else { 20 }, "{checked}");
}

/// L2, L3: what Java's leader takes, the validation takes
#[test]
fn batches_that_a_leader_takes_are_valid() {
    let mut scratch = Vec::new();
    let rules = ValidateRules { now_ms: 1_750_000_060_000, ..ValidateRules::default() };
    for case in cases("batches.jsonl").into_iter().filter(is_readable) {
        if java(&case, "appendAsLeader").is_some_and(|outcome| outcome.is_ok()) {
            let hex = hex_of(&case);
            let batch = single_batch(Some(&hex)).unwrap_or_else(|e| panic!("{}: {e}", id(&case)));
            let validated =
                validate(&batch, &rules, &mut scratch).unwrap_or_else(|e| panic!("{}: {e}", id(&case)));
            let largest = case["records"]
                .as_array()
                .expect("records")
                .iter()
                .map(|record| int(&record["timestamp"]))
                .max();
            assert_eq!(Some(validated.max_timestamp), largest);
            assert_eq!(
                validated.must_rewrite(),
                largest != case["batch"]["maxTimestamp"].as_i64(),
                "{}",
                id(&case)
            );
            assert_eq!(i64::from(validated.records_count), int(&case["batch"]["recordsCount"]));
        }
    }
}

#[test]
fn batches_back_to_back_are_split() {
    let all: Vec<_> = cases("batches.jsonl").iter().map(hex_of).collect();
    let mut joined = all.concat();
    joined.extend_from_slice(&all[0][..40]);
    let mut batches = Batches::new(&joined);
    for bytes in &all {
        assert_eq!(batches.next().expect("one more").expect("a batch").bytes(), bytes);
    }
    assert!(batches.next().is_none());
    assert_eq!(batches.remaining(), &all[0][..40]);
}

/// T9
#[test]
fn transaction_markers_as_the_coordinator_writes_them() {
    for (name, committed) in [("commit-marker", true), ("abort-marker", false)] {
        let case = case("batches.jsonl", name);
        let want = &case["batch"];
        let record = &case["records"][0];
        let value = bytes(&record["value"]).expect("a value");
        let marker = EndTxnMarker::read(&value).expect("a marker");
        let at = ControlBatch {
            base_offset: int(&want["baseOffset"]),
            leader_epoch: int(&want["partitionLeaderEpoch"]) as i32,
            timestamp: int(&record["timestamp"]),
        };
        let (pid, epoch) = (int(&want["producerId"]), int(&want["producerEpoch"]) as i16);
        let bytes = control::end_txn_marker(at, pid, epoch, committed, marker);
        assert_eq!(bytes[..], hex_of(&case), "{name}");
    }
}

/// C6, C7
#[test]
fn control_batches_of_the_metadata_log() {
    for name in ["leader-change", "snapshot-header", "kraft-version"] {
        let case = case("batches.jsonl", name);
        let (want, record) = (&case["batch"], &case["records"][0]);
        let (key, value) = (bytes(&record["key"]).expect("a key"), bytes(&record["value"]).expect("a value"));
        let mut again = Vec::new();
        match ControlRecord::read(&key, &value).expect("a control record") {
            ControlRecord::LeaderChange(body) => body.encode(&mut again, 0),
            ControlRecord::SnapshotHeader(body) => body.encode(&mut again),
            ControlRecord::KRaftVersion(body) => body.encode(&mut again),
            other => panic!("{other:?}"),
        }
        assert_eq!(again, value, "{name}");
        let at = ControlBatch {
            base_offset: int(&want["baseOffset"]),
            leader_epoch: int(&want["partitionLeaderEpoch"]) as i32,
            timestamp: int(&record["timestamp"]),
        };
        let mut batch = Vec::new();
        control::control_batch(&mut batch, at, &[(ControlType::from_key(&key).expect("a type"), &value)]);
        assert_eq!(batch, hex_of(&case), "{name}");
    }
}

#[test]
fn bodies_of_control_records() {
    let mut checked = 0;
    for case in cases("data.jsonl") {
        let body = unhex(case["body"].as_str().expect("body"));
        let prefixed = unhex(case["prefixed"].as_str().expect("prefixed"));
        let (fields, version) = (&case["fields"], int(&case["version"]) as i16);
        let mut again = Vec::new();
        match case["message"].as_str().expect("message") {
            "EndTxnMarker" => {
                let marker = EndTxnMarker::read(&prefixed).expect("a marker");
                assert_eq!(i64::from(marker.coordinator_epoch), int(&fields["coordinatorEpoch"]));
                again.extend_from_slice(&marker.value()[2..]);
            }
            "LeaderChangeMessage" => {
                let change = LeaderChange::decode(&body, version).expect("a leader change");
                assert_eq!(i64::from(change.leader_id), int(&fields["leaderId"]));
                for (voters, name) in
                    [(&change.voters, "voters"), (&change.granting_voters, "grantingVoters")]
                {
                    let want = fields[name].as_array().expect("voters");
                    assert_eq!(voters.len(), want.len());
                    for (voter, want) in voters.iter().zip(want) {
                        assert_eq!(i64::from(voter.id), int(&want["voterId"]));
                        if version >= 1 {
                            assert_eq!(Some(voter.directory_id.to_vec()), bytes(&want["voterDirectoryId"]));
                        }
                    }
                }
                change.encode(&mut again, version);
            }
            "SnapshotHeaderRecord" => {
                let header = SnapshotHeader::read(&body).expect("a snapshot header");
                assert_eq!(header.last_contained_log_timestamp, int(&fields["lastContainedLogTimestamp"]));
                header.encode(&mut again);
            }
            "SnapshotFooterRecord" => {
                SnapshotFooter::read(&body).expect("a snapshot footer").encode(&mut again)
            }
            "KRaftVersionRecord" => {
                let record = KRaftVersion::read(&body).expect("a version");
                assert_eq!(i64::from(record.kraft_version), int(&fields["kRaftVersion"]));
                record.encode(&mut again);
            }
            "VotersRecord" => {
                let voters = Voters::read(&body).expect("voters");
                let want = fields["voters"].as_array().expect("voters");
                assert_eq!(voters.voters.len(), want.len());
                for (voter, want) in voters.voters.iter().zip(want) {
                    assert_eq!(voter.endpoints[0].host, want["endpoints"][0]["host"]);
                    assert_eq!(i64::from(voter.endpoints[0].port), int(&want["endpoints"][0]["port"]));
                }
                voters.encode(&mut again);
            }
            "ControlRecordTypeSchema" => {
                let kind = ControlType::from_key(&prefixed).expect("a type");
                assert_eq!(i64::from(kind.id()), int(&fields["type"]));
                again.extend_from_slice(&kind.key()[2..]);
            }
            _ => continue,
        }
        assert_eq!(again, body, "{}", id(&case));
        checked += 1;
        for cut in 0..body.len() {
            let mut key_then_value = [0, 0, 0, 0];
            for kind in 0..7u8 {
                key_then_value[3] = kind;
                let _ = ControlRecord::read(&key_then_value, &body[..cut]);
            }
        }
    }
    assert!(checked >= 14, "{checked}");
}
