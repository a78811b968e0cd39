//! Whatever is appended is read again: plain or by any codec, in one piece or in many.

use proptest::prelude::*;
use rohrpost_record::varint::{
    put_varint, put_varlong, read_varint, read_varlong, size_varint, size_varlong,
};
use rohrpost_record::{
    Batch, BatchBuilder, BatchHeader, Codec, Compression, Compressor, HEADER_LEN, Header, Stamp,
    ValidateRules, decompress, patch, stamp, validate,
};

#[derive(Debug, Clone)]
struct Own {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Own {
    fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect()
    }
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..max),
        // something that compresses
        (any::<u8>(), 0..max * 8).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn record() -> impl Strategy<Value = Own> {
    let header = (proptest::collection::vec(any::<u8>(), 0..5), proptest::option::of(bytes(8)));
    let timestamp = prop_oneof![-1i64..5000, any::<i64>()];
    (
        timestamp,
        proptest::option::of(bytes(40)),
        proptest::option::of(bytes(300)),
        proptest::collection::vec(header, 0..4),
    )
        .prop_map(|(timestamp, key, value, headers)| Own { timestamp, key, value, headers })
}

fn compressions() -> Vec<Compression> {
    let levels = [
        (Codec::None, None),
        (Codec::Gzip, None),
        (Codec::Gzip, Some(1)),
        (Codec::Gzip, Some(9)),
        (Codec::Snappy, None),
        (Codec::Lz4, None),
        (Codec::Lz4, Some(1)),
        (Codec::Lz4, Some(17)),
        (Codec::Zstd, None),
        (Codec::Zstd, Some(-5)),
        (Codec::Zstd, Some(19)),
    ];
    levels.into_iter().filter_map(|(codec, level)| Compression::new(codec, level).ok()).collect()
}

#[test]
fn a_builder_says_the_first_and_the_largest_timestamp_as_soon_as_there_are_records() {
    let mut builder = BatchBuilder::new();
    let both = |builder: &BatchBuilder| (builder.base_timestamp(), builder.max_timestamp());
    assert_eq!(both(&builder), (-1, -1));
    for (timestamp, expected) in [(7, (7, 7)), (9, (7, 9)), (8, (7, 9)), (5, (7, 9))] {
        builder.append(&mut [0; 64], timestamp, None, None, &[] as &[Header<'_>]);
        assert_eq!(both(&builder), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// REC-1, REC-2, REC-3, REC-4, PRE-5, CMP-1
    #[test]
    fn records_survive_the_journey(
        records in proptest::collection::vec(record(), 1..20),
        choice in any::<prop::sample::Index>(),
        cut in 1usize..5000,
        (producer_id, producer_epoch, base_sequence) in (any::<i64>(), any::<i16>(), 0..=i32::MAX),
        (offset, epoch) in (any::<i64>(), any::<i32>()),
    ) {
        let compressions = compressions();
        let compression = *choice.get(&compressions);
        let mut builder = BatchBuilder::new();
        let mut plain = Vec::new();
        for record in &records {
            let headers = record.headers();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let len = builder.record_len(record.timestamp, key, value, &headers);
            prop_assert!(HEADER_LEN + len <= BatchBuilder::upper_bound(key, value, &headers));
            let at = plain.len();
            plain.resize(at + len, 0);
            prop_assert_eq!(builder.append(&mut plain[at..], record.timestamp, key, value, &headers), len);
        }
        prop_assert_eq!((builder.records_len(), builder.count() as usize), (plain.len(), records.len()));
        let mut batch = vec![0; HEADER_LEN];
        let fits = Compressor::new().compress(compression, &mut plain.chunks(cut), &mut batch, plain.len() * 2 + 1000);
        prop_assert_eq!(fits, Ok(true));
        let payload_len = batch.len() - HEADER_LEN;
        builder.write_header(batch.first_chunk_mut().expect("a header"), compression.codec(), payload_len, false);
        let (head, rest) = batch.split_at_mut(HEADER_LEN);
        stamp(head, rest.chunks(cut), Stamp { producer_id, producer_epoch, base_sequence });
        let crc_before = Batch::parse(&batch).expect("a batch").header().crc;
        patch(&mut batch, offset, epoch);

        let read = Batch::parse(&batch).expect("a batch");
        prop_assert!(read.is_crc_valid());
        let header = *read.header();
        prop_assert_eq!(header.crc, crc_before);
        prop_assert_eq!((header.base_offset, header.partition_leader_epoch), (offset, epoch));
        prop_assert_eq!(
            (header.producer_id, header.producer_epoch, header.base_sequence),
            (producer_id, producer_epoch, base_sequence)
        );
        prop_assert_eq!(Some(header.max_timestamp), records.iter().map(|record| record.timestamp).max());
        let mut rewritten = [0; HEADER_LEN];
        header.write(&mut rewritten);
        prop_assert_eq!(&rewritten[..], &batch[..HEADER_LEN]);
        prop_assert_eq!(BatchHeader::parse(&rewritten), Ok(header));

        let mut scratch = vec![9; 7];
        let mut seen = 0;
        for (i, got) in read.records(&mut scratch, plain.len()).expect("decompresses").enumerate() {
            let (got, want) = (got.expect("a record"), &records[i]);
            prop_assert_eq!(got.offset, offset.wrapping_add(i as i64));
            prop_assert_eq!(got.timestamp, want.timestamp);
            prop_assert_eq!(got.key, want.key.as_deref());
            prop_assert_eq!(got.value, want.value.as_deref());
            prop_assert_eq!(got.headers().collect::<Vec<_>>(), want.headers());
            seen += 1;
        }
        prop_assert_eq!(seen, records.len());

        // a byte less of room is too little
        if compression.codec() != Codec::None {
            prop_assert!(read.records(&mut scratch, plain.len() - 1).is_err());
        }
        patch(&mut batch, 0, -1);
        let open = ValidateRules { before_max_ms: i64::MAX, after_max_ms: i64::MAX, ..ValidateRules::default() };
        let producer_is_whole = producer_id < 0 || base_sequence >= 0;
        let validated = validate(&Batch::parse(&batch).expect("a batch"), &open, &mut scratch);
        prop_assert_eq!(validated.is_ok(), producer_is_whole, "{:?}", validated);
    }

    /// CMP-2, CMP-3: large inputs in many slices; the limit is kept exactly
    #[test]
    fn streams_of_many_blocks_come_back(
        seed in bytes(600), repeat in 1usize..150, cut in 1usize..100_000, choice in any::<prop::sample::Index>(),
    ) {
        let compressions = compressions();
        let compression = *choice.get(&compressions);
        let plain = seed.repeat(repeat);
        let mut compressor = Compressor::new();
        let mut compress = |out: &mut Vec<u8>, limit| compressor.compress(compression, &mut plain.chunks(cut), out, limit);
        // a compressor that was used before may write other bytes than a new one, but the same ones each time from then on
        let (mut first, mut again) = (vec![1, 2, 3], Vec::new());
        prop_assert_eq!(compress(&mut first, usize::MAX / 2), Ok(true));
        prop_assert_eq!(compress(&mut again, usize::MAX / 2), Ok(true));
        let len = again.len();
        again.clear();
        prop_assert_eq!(compress(&mut again, len), Ok(true));
        let mut out = Vec::new();
        for stream in [&first[3..], &again] {
            prop_assert_eq!(decompress(compression.codec(), stream, &mut out, plain.len()), Ok(()));
            prop_assert!(out == plain);
        }
        if len > 0 {
            let mut short = vec![5];
            prop_assert_eq!(compress(&mut short, len - 1), Ok(false));
            prop_assert_eq!(short, vec![5]);
            again.clear();
            prop_assert_eq!(compress(&mut again, usize::MAX / 2), Ok(true));
            prop_assert_eq!(decompress(compression.codec(), &again, &mut out, plain.len()), Ok(()));
            prop_assert!(out == plain);
        }
    }

    /// REC-1
    #[test]
    fn varints_come_back(long in any::<i64>(), shift in 0u32..64) {
        let long = long >> shift;
        let mut out = [0; 10];
        let used = put_varlong(&mut out, long);
        prop_assert_eq!((used, read_varlong(&out[..used])), (size_varlong(long), Ok((long, used))));
        let int = long as i32;
        let used = put_varint(&mut out, int);
        prop_assert_eq!((used, read_varint(&out[..used])), (size_varint(int), Ok((int, used))));
        prop_assert!(read_varint(&out[..used - 1]).is_err());
    }
}
