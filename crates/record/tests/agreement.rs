//! Agreement with another implementation: the `kafka-protocol` crate reads what is written here, and is read here.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{self as other, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions};
use proptest::prelude::*;
use rohrpost_record::{
    Batch, BatchBuilder, Codec, Compression, Compressor, HEADER_LEN, Header, Stamp, patch, stamp,
};

#[derive(Debug, Clone)]
struct Own {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    /// The other crate keeps one header of a name, and only UTF-8 names.
    headers: std::collections::BTreeMap<String, Option<Vec<u8>>>,
}

fn record() -> impl Strategy<Value = Own> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let headers = proptest::collection::btree_map("[a-z]{0,6}|ä", bytes(), 0..4);
    (0i64..2_000_000_000_000, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| Own {
        timestamp,
        key,
        value,
        headers,
    })
}

fn theirs(codec: Codec) -> other::Compression {
    match codec {
        Codec::None => other::Compression::None,
        Codec::Gzip => other::Compression::Gzip,
        Codec::Snappy => other::Compression::Snappy,
        Codec::Lz4 => other::Compression::Lz4,
        Codec::Zstd => other::Compression::Zstd,
    }
}

/// Codecs that both read in each other's framing: theirs writes lz4 frames with dependent blocks, which Kafka's readers refuse.
fn codecs() -> Vec<Codec> {
    Codec::ALL.into_iter().filter(|&codec| Compression::new(codec, None).is_ok()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// REC-1, REC-2, REC-3, CMP-1
    #[test]
    fn kafka_protocol_reads_our_batches(
        records in proptest::collection::vec(record(), 1..10), choice in any::<prop::sample::Index>(), offset in 0i64..1 << 40,
    ) {
        let codec = *choice.get(&codecs());
        let mut builder = BatchBuilder::new();
        let mut plain = Vec::new();
        for record in &records {
            let headers: Vec<_> =
                record.headers.iter().map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() }).collect();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let at = plain.len();
            plain.resize(at + builder.record_len(record.timestamp, key, value, &headers), 0);
            builder.append(&mut plain[at..], record.timestamp, key, value, &headers);
        }
        let mut batch = vec![0; HEADER_LEN];
        let compression = Compression::new(codec, None).expect("every build");
        Compressor::new().compress(compression, &mut plain.chunks(64), &mut batch, 1 << 20).expect("compresses");
        let len = batch.len() - HEADER_LEN;
        builder.write_header(batch.first_chunk_mut().expect("a header"), codec, len, true);
        stamp(&mut batch, [], Stamp { producer_id: 7, producer_epoch: 3, base_sequence: 11 });
        patch(&mut batch, offset, 5);

        let mut input = Bytes::from(batch);
        let set = RecordBatchDecoder::decode(&mut input).expect("kafka-protocol reads it");
        prop_assert!(!input.has_remaining());
        prop_assert_eq!(set.records.len(), records.len());
        for (i, (got, want)) in set.records.iter().zip(&records).enumerate() {
            prop_assert_eq!(got.offset, offset + i as i64);
            prop_assert_eq!(got.sequence, 11 + i as i32);
            prop_assert_eq!((got.producer_id, got.producer_epoch, got.transactional), (7, 3, true));
            prop_assert_eq!(got.timestamp, want.timestamp);
            prop_assert_eq!(got.key.as_deref(), want.key.as_deref());
            prop_assert_eq!(got.value.as_deref(), want.value.as_deref());
            let headers: Vec<_> = got.headers.iter().map(|(key, value)| (key.to_string(), value.as_ref().map(|v| v.to_vec()))).collect();
            prop_assert_eq!(headers, want.headers.clone().into_iter().collect::<Vec<_>>());
        }
    }

    /// REC-1, REC-2, REC-3
    #[test]
    fn we_read_kafka_protocols_batches(
        records in proptest::collection::vec(record(), 1..10), choice in any::<prop::sample::Index>(),
    ) {
        let codec = *choice.get(&codecs());
        let input: Vec<_> = records
            .iter()
            .enumerate()
            .map(|(i, record)| other::Record {
                transactional: false,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: 0,
                producer_id: 9,
                producer_epoch: 1,
                timestamp_type: other::TimestampType::Creation,
                offset: i as i64,
                sequence: i as i32,
                timestamp: record.timestamp,
                key: record.key.clone().map(Bytes::from),
                value: record.value.clone().map(Bytes::from),
                headers: record
                    .headers
                    .iter()
                    .map(|(key, value)| (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from)))
                    .collect::<IndexMap<_, _>>(),
            })
            .collect();
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: theirs(codec) };
        RecordBatchEncoder::encode(&mut batch, &input, &options).expect("kafka-protocol writes it");
        let batch = Batch::parse(&batch).expect("a batch");
        prop_assert!(batch.is_crc_valid());
        prop_assert_eq!((batch.header().producer_id, batch.header().base_sequence), (9, 0));
        let mut scratch = Vec::new();
        let read = match batch.records(&mut scratch, 1 << 20) {
            Ok(read) => read,
            Err(error) if codec == Codec::Lz4 && error.to_string().contains("dependent blocks") => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let mut seen = 0;
        for (got, want) in read.zip(&records) {
            let got = got.expect("a record");
            prop_assert_eq!((got.offset, got.timestamp), (seen, want.timestamp));
            prop_assert_eq!(got.key, want.key.as_deref());
            prop_assert_eq!(got.value, want.value.as_deref());
            prop_assert_eq!(got.headers().count(), want.headers.len());
            for header in got.headers() {
                let name = std::str::from_utf8(header.key).expect("UTF-8");
                prop_assert_eq!(header.value, want.headers[name].as_deref());
            }
            seen += 1;
        }
        prop_assert_eq!(seen as usize, records.len());
    }
}
