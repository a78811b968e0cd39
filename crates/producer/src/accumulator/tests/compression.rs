//! Batches on their way through the codecs.

use rohrpost_record::{Codec, HEADER_LEN, Stamp};

use super::*;

#[test]
fn every_codec_comes_through_the_pool_and_is_readable() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let Ok(compression) = Compression::new(codec, None) else { continue };
        for codec_threads in [0, 1] {
            let rig =
                Rig::new(&[Some(1)], Settings { compression, codec_threads, linger_ms: 0, ..settings() });
            let value = |i: usize| format!("record {i} of many that look alike, {}", i * 7919).into_bytes();
            (0..100).for_each(|i| drop(rig.send(Record::value(value(i)))));
            let raw = rig.held();
            // The first look closes the batch, a later one finds it compressed.
            assert!(rig.ready().nodes.is_empty(), "{codec:?}: not ready before it is compressed");
            if codec_threads == 0 {
                assert!(rig.drain(1).is_empty(), "{codec:?}: nor does it travel with others");
            }
            rig.accumulator.codec.settle();
            assert_eq!(rig.ready().nodes, [1]);
            let mut batch = rig.drain(1).remove(0);
            assert_eq!(batch.codec(), codec);
            assert!(rig.held() < raw, "surplus chunks went back: {} of {raw}", rig.held());
            batch.set_stamp(Stamp::NONE);
            let mut slices = Vec::new();
            batch.slices(&mut slices);
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            assert_eq!(bytes.len(), batch.encoded_len());
            assert!(rohrpost_record::Batch::parse(&bytes).unwrap().is_crc_valid());
            assert_eq!(values(&batch), (0..100).map(value).collect::<Vec<_>>());
            rig.complete(batch, 0);
            assert_eq!(rig.held(), 0);
        }
    }
}

// ACC-5, ACC-6
#[test]
fn with_compression_a_batch_takes_as_much_as_it_is_expected_to_shrink() {
    let compression = Compression::new(Codec::Gzip, None).unwrap();
    let rig = Rig::new(&[Some(1)], Settings { compression, ..settings() });
    rig.topic.partition_or_new(0, &rig.accumulator.ledger, &rig.accumulator.next_key).ratio().observe(0.0);
    (0..150).for_each(|_| drop(rig.send(Record::value(vec![7; 100]))));
    rig.accumulator.codec.settle();
    let first = rig.topic.partition(0).unwrap().queue.lock().batches[0].record_count();
    // 61 + records · 0.995 · 1.05 ≤ 16384, with 109 and 110 bytes per record
    assert_eq!(first, 142);
    assert_eq!(rig.queue_len(0), 2);
}

// ACC-7: however well a topic was compressed before
#[test]
fn a_batch_that_does_not_shrink_after_all_still_goes_into_a_request() {
    let compression = Compression::new(Codec::Gzip, None).unwrap();
    let rig = Rig::new(&[Some(1)], Settings { compression, max_request_size: 50_000, ..settings() });
    let ratio = rig.topic.partition_or_new(0, &rig.accumulator.ledger, &rig.accumulator.next_key).ratio();
    (0..198).for_each(|_| ratio.observe(0.01));
    (0..600).for_each(|_| drop(rig.send(Record::value(vec![7; 100]))));
    let batches = &rig.topic.partition(0).unwrap().queue.lock().batches;
    let raw: Vec<usize> = batches.iter().map(|batch| HEADER_LEN + batch.builder.records_len()).collect();
    assert!(raw[0] > 49_000 && raw[0] <= 50_000, "{raw:?}");
}

#[test]
fn records_that_do_not_shrink_stay_plain() {
    let compression = Compression::new(Codec::Gzip, None).unwrap();
    let rig = Rig::new(&[Some(1)], Settings { compression, linger_ms: 0, ..settings() });
    rig.send(Record::value("x"));
    rig.ready();
    rig.ready();
    let batch = rig.drain(1).remove(0);
    assert_eq!((batch.codec(), values(&batch)), (Codec::None, vec![b"x".to_vec()]));
}

#[test]
fn batches_taken_by_force_keep_their_records_even_from_the_codec() {
    let compression = Compression::new(Codec::Lz4, None).unwrap();
    let rig = Rig::new(&[Some(1)], Settings { compression, codec_threads: 1, batch_size: 500, ..settings() });
    (0..100).for_each(|i: u8| drop(rig.send(Record::value(vec![i; 100]))));
    let mut batches = Vec::new();
    rig.accumulator.abort_all(&mut batches);
    let all: Vec<_> = batches.iter().flat_map(values).collect();
    assert_eq!(all, (0..100).map(|i: u8| vec![i; 100]).collect::<Vec<_>>());
    batches.into_iter().for_each(|batch| rig.accumulator.complete(batch, failure(Outcome::NotWritten)));
    assert_eq!(rig.held(), 0);
}

// PRE-9
#[test]
fn without_a_thread_to_compress_the_sender_is_told_and_compresses() {
    let compression = Compression::new(Codec::Lz4, None).unwrap();
    let settings = Settings { compression, codec_threads: 1, linger_ms: 0, ..settings() };
    let mut rig = Rig::new(&[Some(1)], settings);
    rig.accumulator.codec.refuse_threads();
    drop(rig.send(Record::value(vec![7; 500])));
    let token = rig.sender.begin_pass();
    assert!(rig.ready().nodes.is_empty(), "it is closed now");
    assert!(!rig.sender.sleep(token, u64::MAX), "there is work");
    assert_eq!(rig.ready().nodes, [1]);
    let batch = rig.drain(1).remove(0);
    assert_eq!(batch.codec(), Codec::Lz4);
    rig.complete(batch, 0);
}

// ACC-7
#[test]
fn a_batch_that_its_codec_would_make_larger_stays_within_its_memory() {
    let compression = Compression::new(Codec::Lz4, None).unwrap();
    let rig = Rig::new(&[Some(1)], Settings { compression, linger_ms: 0, ..settings() });
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    drop(rig.send(Record::value(noise.take(10_000).collect::<Vec<u8>>())));
    let held = rig.held();
    rig.ready();
    rig.ready();
    let batch = rig.drain(1).remove(0);
    assert_eq!((batch.codec(), rig.held()), (Codec::None, held));
    rig.complete(batch, 0);
}

// MTR-2
#[test]
fn a_batch_that_its_linger_closes_has_filled_until_then() {
    let compression = Compression::new(Codec::Gzip, None).unwrap();
    let rig = Rig::new(&[Some(1)], Settings { compression, linger_ms: 5, ..settings() });
    rig.send_to(0, "v");
    rig.clock.advance(5);
    let now_ms = rig.clock.last_ms();
    assert_eq!(rig.ready().next_check_ms, Some(now_ms), "it is compressed by the next look");
    rig.clock.advance(3);
    rig.ready();
    let batch = rig.drain(1).remove(0);
    assert_eq!(batch.filling_and_queued_us(rig.clock.last_us()), (5000, 3000));
}
