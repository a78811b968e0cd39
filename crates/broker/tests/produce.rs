//! Produce against the running broker: chapter 5 of the reference, row by row, and chapter 7.

#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use common::*;
use rohrpost_broker::Cluster;
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, PartitionProduceData, ProduceRequest,
    TopicProduceData,
};
use rohrpost_protocol::{Records, Uuid};
use rohrpost_record::{Codec, Compression, Compressor, HEADER_LEN, Stamp};

fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::builder().topic("t", 2, 1).start().unwrap();
    let client = Client::of(&cluster);
    (cluster, client)
}

fn create(client: &mut Client, name: &str, configs: &[(&str, &str)]) {
    let configs = configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig { name, value: Some(value), ..Default::default() })
        .collect();
    let topic =
        CreatableTopic { name, num_partitions: 1, replication_factor: 1, configs, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let response = client.call(&request, 7);
    assert_eq!(response.topics[0].error_code, ErrorCode::NONE, "{:?}", response.topics[0].error_message);
}

/// The batch with these bytes at this place, its checksum right.
fn with(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    bytes[at..at + new.len()].copy_from_slice(new);
    seal(bytes)
}

/// The batch with its records part replaced by this payload, which the codec id calls compressed.
fn with_payload(bytes: &[u8], codec: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = bytes[..HEADER_LEN].to_vec();
    bytes.extend_from_slice(payload);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = bytes[22] & !7 | codec;
    seal(bytes)
}

fn compressed(bytes: &[u8], codec: Codec) -> Vec<u8> {
    let mut payload = Vec::new();
    let compression = Compression::new(codec, None).unwrap();
    let mut input = [&bytes[HEADER_LEN..]].into_iter();
    assert!(Compressor::new().compress(compression, &mut input, &mut payload, 1 << 20).unwrap());
    with_payload(bytes, codec.id(), &payload)
}

#[test]
fn bad_input_is_answered_as_the_table_says_and_nothing_is_written() {
    // P3, P12, L2, L3, L7, ERR-6
    let (cluster, mut client) = cluster();
    let good = batch(&["a", "b"]);
    let none: &[i32] = &[];
    let mut two = good.clone();
    two.extend_from_slice(&good);
    let mut twelve_stray = good.clone();
    twelve_stray.extend_from_slice(&[0; 12]);
    let mut wrong_crc = good.clone();
    *wrong_crc.last_mut().unwrap() ^= 1;
    let mut magic_1 = good.clone();
    magic_1[16] = 1;
    let mut magic_3 = good.clone();
    magic_3[16] = 3;
    let large = batch(&["x".repeat(1_048_588).as_str()]);
    let mut more_bytes = good.clone();
    more_bytes.extend_from_slice(&[0, 0]);
    let length = (more_bytes.len() - 12) as i32;
    let more_bytes = with(more_bytes, 8, &length.to_be_bytes());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let future = build(&["a"], Stamp::NONE, now + 7_200_000);
    // the second record's offset delta: after the first record (length 1+8), the length, attributes and timestamp delta of the second
    let second = HEADER_LEN + 1 + usize::from(good[HEADER_LEN] / 2);
    let same_delta = with(good.clone(), second + 3, &[0]);

    // what, records, error, log start of the answer, records at fault
    type Row<'a> = (&'a str, Option<&'a [u8]>, ErrorCode, i64, &'a [i32]);
    let rows: &[Row<'_>] = &[
        ("records null", None, ErrorCode::INVALID_RECORD, -1, none),
        ("records empty", Some(&[]), ErrorCode::INVALID_RECORD, -1, none),
        ("shorter than a header", Some(&good[..40]), ErrorCode::INVALID_RECORD, -1, none),
        ("cut short", Some(&good[..good.len() - 1]), ErrorCode::INVALID_RECORD, -1, none),
        ("two batches", Some(&two), ErrorCode::INVALID_RECORD, -1, none),
        ("magic 1", Some(&magic_1), ErrorCode::INVALID_RECORD, -1, none),
        ("12 stray bytes", Some(&twelve_stray), ErrorCode::CORRUPT_MESSAGE, -1, none),
        ("magic above 2", Some(&magic_3), ErrorCode::CORRUPT_MESSAGE, -1, none),
        (
            "length below 14",
            Some(&with(good.clone(), 8, &13i32.to_be_bytes())),
            ErrorCode::CORRUPT_MESSAGE,
            -1,
            none,
        ),
        (
            "length below a v2 header",
            Some(&with(good.clone(), 8, &20i32.to_be_bytes())),
            ErrorCode::CORRUPT_MESSAGE,
            -1,
            none,
        ),
        ("wrong CRC", Some(&wrong_crc), ErrorCode::CORRUPT_MESSAGE, -1, none),
        (
            "base offset not 0",
            Some(&with(good.clone(), 0, &5i64.to_be_bytes())),
            ErrorCode::INVALID_RECORD,
            0,
            none,
        ),
        ("larger than max.message.bytes", Some(&large), ErrorCode::MESSAGE_TOO_LARGE, -1, none),
        ("count 0", Some(&with(good.clone(), 57, &0i32.to_be_bytes())), ErrorCode::INVALID_RECORD, 0, none),
        (
            "last delta + 1 is not the count",
            Some(&with(good.clone(), 23, &5i32.to_be_bytes())),
            ErrorCode::INVALID_RECORD,
            0,
            none,
        ),
        (
            "more records counted than there",
            Some(&with(with(good.clone(), 57, &3i32.to_be_bytes()), 23, &2i32.to_be_bytes())),
            ErrorCode::INVALID_RECORD,
            0,
            none,
        ),
        ("bytes after the last record", Some(&more_bytes), ErrorCode::INVALID_RECORD, 0, none),
        ("control batch", Some(&with(good.clone(), 22, &[1 << 5])), ErrorCode::INVALID_RECORD, 0, none),
        (
            "producer id without a sequence",
            Some(&with(good.clone(), 43, &7i64.to_be_bytes())),
            ErrorCode::INVALID_RECORD,
            0,
            none,
        ),
        ("time out of range", Some(&future), ErrorCode::INVALID_TIMESTAMP, 0, &[0]),
        ("codec id 5", Some(&with(good.clone(), 22, &[5])), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, 0, none),
        ("codec id 7", Some(&with(good.clone(), 22, &[7])), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, 0, none),
        (
            "payload that does not decompress",
            Some(&with_payload(&good, 1, b"not gzip")),
            ErrorCode::INVALID_RECORD,
            0,
            none,
        ),
        ("offset deltas not 0,1 in a plain batch", Some(&same_delta), ErrorCode::INVALID_RECORD, 0, none),
        (
            "the same in a compressed batch",
            Some(&compressed(&same_delta, Codec::Gzip)),
            ErrorCode::INVALID_RECORD,
            0,
            none,
        ),
    ];
    for (what, records, code, log_start, record_errors) in rows {
        let answer = client.produce("t", 0, *records);
        assert_eq!(answer.error, *code, "{what}: {answer:?}");
        assert_eq!((answer.base_offset, answer.log_append_time_ms), (-1, -1), "{what}");
        assert_eq!(answer.log_start_offset, *log_start, "{what}");
        assert_eq!(answer.record_errors, *record_errors, "{what}");
        if !record_errors.is_empty() || *what == "two batches" {
            assert!(answer.message.is_some(), "{what}");
        }
    }
    assert!(log_values(&cluster, "t", 0).is_empty());
    assert_eq!(client.produce("t", 0, Some(&good)).base_offset, 0);
}

#[test]
fn what_the_table_accepts_is_stored() {
    let (cluster, mut client) = cluster();
    let good = batch(&["a", "b"]);
    let mut stray = good.clone();
    stray.extend_from_slice(&[9; 11]);
    let rows: &[(&str, Vec<u8>)] = &[
        ("fewer than 12 stray bytes", stray),
        ("marked LogAppendTime on a CreateTime topic", with(good.clone(), 22, &[1 << 3])),
        ("reserved attribute bits", with(good.clone(), 21, &[1])),
        ("delete-horizon bit", with(good.clone(), 22, &[1 << 6])),
        ("wrong maxTimestamp", with(good.clone(), 35, &5i64.to_be_bytes())),
        ("gzip", compressed(&good, Codec::Gzip)),
        ("lz4", compressed(&good, Codec::Lz4)),
        ("snappy", compressed(&good, Codec::Snappy)),
    ];
    for (n, (what, bytes)) in rows.iter().enumerate() {
        let answer = client.produce("t", 0, Some(bytes));
        assert_eq!((answer.error, answer.base_offset), (ErrorCode::NONE, 2 * n as i64), "{what}: {answer:?}");
        assert_eq!((answer.log_append_time_ms, answer.log_start_offset), (-1, 0), "{what}"); // P11
    }
    assert_eq!(log_values(&cluster, "t", 0), ["a", "b"].repeat(rows.len()));
    assert!(cluster.log("t", 0).records().iter().all(|record| record.timestamp == NOW));
}

#[test]
fn topic_settings_decide_about_keys_times_and_sizes() {
    let (_cluster, mut client) = cluster();
    create(&mut client, "compacted", &[("cleanup.policy", "compact")]);
    let answer = client.produce("compacted", 0, Some(&batch(&["no key"])));
    assert_eq!((answer.error, &answer.record_errors[..]), (ErrorCode::INVALID_RECORD, &[0][..]));

    create(&mut client, "stamped", &[("message.timestamp.type", "LogAppendTime")]);
    let answer = client.produce("stamped", 0, Some(&batch(&["x"])));
    assert_eq!(answer.error, ErrorCode::NONE);
    assert!(answer.log_append_time_ms > NOW); // P11
    let marked = with(batch(&["x"]), 22, &[1 << 3]);
    assert_eq!(client.produce("stamped", 0, Some(&marked)).error, ErrorCode::INVALID_TIMESTAMP);

    create(&mut client, "small", &[("segment.bytes", "1048576"), ("max.message.bytes", "2000000")]);
    let large = batch(&["x".repeat(1_048_576).as_str()]);
    assert_eq!(client.produce("small", 0, Some(&large)).error, ErrorCode::RECORD_LIST_TOO_LARGE);
}

#[test]
fn zstd_needs_produce_7() {
    // ERR-6
    let (_cluster, mut client) = cluster();
    let bytes = compressed(&batch(&["a"]), Codec::Zstd);
    assert_eq!(
        client.produce_with("t", 0, Some(&bytes), 1, 6).error,
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
    );
    assert_eq!(client.produce_with("t", 0, Some(&bytes), 1, 7).error, ErrorCode::NONE);
}

#[test]
fn each_partition_is_judged_alone_and_answered_in_order() {
    // P2, P8, Q1, Q2
    let (cluster, mut client) = cluster();
    let good = batch(&["x"]);
    let bad = [1, 2, 3];
    let data = |index, records| PartitionProduceData {
        index,
        records: Some(Records::Bytes(records)),
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![
            TopicProduceData {
                name: "t",
                partition_data: vec![data(1, &good[..]), data(0, &bad), data(9, &good), data(0, &good)],
                ..Default::default()
            },
            TopicProduceData {
                name: "nowhere",
                partition_data: vec![data(0, &good[..])],
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    let response = client.call(&request, 11);
    let answers: Vec<_> = response
        .responses
        .iter()
        .flat_map(|t| t.partition_responses.iter().map(move |p| (t.name, p.index, p.error_code)))
        .collect();
    assert_eq!(
        answers,
        [
            ("t", 1, ErrorCode::NONE),
            ("t", 0, ErrorCode::INVALID_RECORD),
            ("t", 9, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            ("t", 0, ErrorCode::NONE),
            ("nowhere", 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ]
    );
    assert_eq!(log_values(&cluster, "t", 1), ["x"]);
    assert_eq!(log_values(&cluster, "t", 0), ["x"]);
}

#[test]
fn topics_go_by_id_from_version_13_on() {
    // P2
    let (cluster, mut client) = cluster();
    let id = client.topic_id("t");
    let good = batch(&["x"]);
    for (topic_id, expected) in [(id, ErrorCode::NONE), (Uuid([7; 16]), ErrorCode::UNKNOWN_TOPIC_ID)] {
        let mut request = produce_request("", 0, Some(&good), -1);
        request.topic_data[0].topic_id = topic_id;
        let response = client.call(&request, 13);
        assert_eq!(response.responses[0].topic_id, topic_id);
        assert_eq!(response.responses[0].partition_responses[0].error_code, expected);
    }
    assert_eq!(log_values(&cluster, "t", 0), ["x"]);
}

#[test]
fn acks_are_0_1_or_all() {
    // P4, N13, ERR-6
    let (cluster, mut client) = cluster();
    let good = batch(&["x"]);
    let answer = client.produce_with("t", 0, Some(&good), 2, 12);
    assert_eq!(answer.error, ErrorCode::INVALID_REQUIRED_ACKS);
    // shape and existence are judged before acks
    assert_eq!(client.produce_with("t", 0, Some(&[1]), 2, 12).error, ErrorCode::INVALID_RECORD);
    assert_eq!(client.produce_with("t", 7, Some(&good), 2, 12).error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(client.produce_with("t", 0, Some(&good), 1, 12).base_offset, 0);
    // acks=0: no answer; the next request's answer is the next thing on the connection
    client.send(&produce_request("t", 0, Some(&good), 0), 12);
    assert_eq!(client.produce("t", 0, Some(&good)).base_offset, 2);
    assert_eq!(log_values(&cluster, "t", 0).len(), 3);
    // an error closes the connection, the only sign there is
    client.send(&produce_request("t", 7, Some(&good), 0), 12);
    client.assert_closed("acks=0 with an error");
}

#[test]
fn transactional_batches_are_refused_as_a_whole() {
    // P1
    let (cluster, mut client) = cluster();
    let transactional =
        with(stamped(&["x"], Stamp { producer_id: 1, producer_epoch: 0, base_sequence: 0 }), 22, &[1 << 4]);
    let answer = client.produce("t", 0, Some(&transactional));
    assert_eq!(answer.error, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    assert!(log_values(&cluster, "t", 0).is_empty());
    // an older format has something else in that place
    let old = with(transactional, 16, &[1]);
    assert_eq!(client.produce("t", 0, Some(&old)).error, ErrorCode::INVALID_RECORD);
}

#[test]
fn internal_topics_take_nothing_from_clients() {
    // P5
    let (cluster, mut client) = cluster();
    cluster.create_topic("__consumer_offsets", 1, 1).unwrap();
    let answer = client.produce("__consumer_offsets", 0, Some(&batch(&["x"])));
    assert_eq!(answer.error, ErrorCode::INVALID_TOPIC_EXCEPTION);
}

#[test]
fn retries_are_recognised_gaps_refused_old_epochs_fenced() {
    // I1 to I7
    let (cluster, mut client) = cluster();
    let producer_id = client.producer_id();
    let by = |producer_epoch, base_sequence| Stamp { producer_id, producer_epoch, base_sequence };
    let mut send = |producer_epoch, sequence| {
        let bytes = stamped(&["a", "b"], by(producer_epoch, sequence));
        let answer = client.produce("t", 0, Some(&bytes));
        (answer.error, answer.base_offset)
    };
    for n in 0..6 {
        assert_eq!(send(0, 2 * n), (ErrorCode::NONE, i64::from(2 * n)));
    }
    // I2: the last five are known, with their offsets
    for n in 1..6 {
        assert_eq!(send(0, 2 * n), (ErrorCode::NONE, i64::from(2 * n)));
    }
    // I3: the sixth-last, an overlap, a gap
    assert_eq!(send(0, 0), (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    assert_eq!(send(0, 11), (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    assert_eq!(send(0, 14), (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    // I5: a new epoch begins at 0
    assert_eq!(send(1, 12), (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    assert_eq!(send(1, 0), (ErrorCode::NONE, 12));
    // I4
    assert_eq!(send(0, 12), (ErrorCode::INVALID_PRODUCER_EPOCH, -1));
    assert_eq!(log_values(&cluster, "t", 0).len(), 14);
}

#[test]
fn a_producer_id_that_is_unknown_may_begin_anywhere_and_wraps() {
    // I6, I7
    let (cluster, mut client) = cluster();
    let by = |base_sequence| Stamp { producer_id: 77, producer_epoch: 3, base_sequence };
    let answer = client.produce("t", 0, Some(&stamped(&["a", "b"], by(i32::MAX))));
    assert_eq!((answer.error, answer.base_offset), (ErrorCode::NONE, 0));
    let answer = client.produce("t", 0, Some(&stamped(&["c"], by(1))));
    assert_eq!((answer.error, answer.base_offset), (ErrorCode::NONE, 2));
    let records = cluster.log("t", 0).records();
    let sequences: Vec<_> = records.iter().map(|r| (r.producer_id, r.producer_epoch, r.sequence)).collect();
    assert_eq!(sequences, [(77, 3, i32::MAX), (77, 3, 0), (77, 3, 1)]);
}
