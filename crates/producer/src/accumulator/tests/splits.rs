//! What a batch that is too large is split into, and what its topic learns.

use rohrpost_record::Codec;

use super::*;

/// A batch of partition 0 with these values, drained, as one that is to be split.
fn batch(rig: &Rig, values: impl IntoIterator<Item = Vec<u8>>) -> Batch {
    values.into_iter().for_each(|value| drop(rig.send_to(0, value)));
    let mut batches = drain(rig);
    assert_eq!(batches.len(), 1);
    batches.remove(0)
}

/// Everything that is queued.
fn drain(rig: &Rig) -> Vec<Batch> {
    let mut batches = Vec::new();
    loop {
        rig.ready();
        rig.accumulator.codec.settle();
        let more = rig.drain(1);
        if more.is_empty() {
            return batches;
        }
        batches.extend(more);
    }
}

fn split(rig: &Rig, batch: Batch, was_refused: bool) -> Vec<Batch> {
    let told = rig.accumulator.split(batch, was_refused, false, rig.clock.last_ms());
    let told = told.unwrap_or_else(|batch| panic!("{} records were not split", batch.record_count()));
    let parts = drain(rig);
    assert_eq!(parts.len(), told.len());
    parts
}

fn counts(parts: &[Batch]) -> Vec<u32> {
    parts.iter().map(Batch::record_count).collect()
}

/// Bytes that no codec makes fewer of.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.u8(..)).collect()
}

fn rig(codec: Codec) -> Rig {
    let compression = Compression::new(codec, None).unwrap();
    Rig::new(&[Some(1)], Settings { compression, linger_ms: 0, ..settings() })
}

// ACC-22
#[test]
fn a_batch_of_at_most_batch_size_is_halved_and_one_of_a_topic_that_learned_gets_what_was_learned() {
    // Eight records of 109 bytes and a header of 61: 933 bytes.
    let eight = || (0..8).map(|_| vec![0; 100]);
    for (learned, expected) in [
        (None, vec![3, 3, 2]),
        (Some(600), vec![2, 2, 2, 2]),  // half of it is wanted
        (Some(2 * 933), vec![3, 3, 2]), // just what it has: of no use
    ] {
        let rig = rig(Codec::None);
        let batch = batch(&rig, eight());
        assert_eq!(batch.encoded_len(), 933);
        if let Some(size) = learned {
            batch.partition().size_limit().learn(size, 0, 0);
        }
        assert_eq!(counts(&split(&rig, batch, false)), expected, "{learned:?}");
    }
}

// ACC-22
#[test]
fn a_large_record_and_a_small_one_part() {
    for values in [[vec![0; 1000], vec![]], [vec![], vec![0; 1000]]] {
        let rig = rig(Codec::None);
        let batch = batch(&rig, values);
        assert_eq!(counts(&split(&rig, batch, true)), [1, 1]);
    }
}

// ACC-22
#[test]
fn a_part_that_is_still_too_large_is_split_by_half_of_what_it_takes_compressed() {
    let rig = rig(Codec::Gzip);
    // Each record shrinks to somewhat less than half.
    let value = |seed| [noise(seed, 30), vec![0; 70]].concat();
    let batch = batch(&rig, (0..16).map(value));
    batch.partition().size_limit().learn(1800, 0, 0);
    let mut parts = split(&rig, batch, false);
    assert_eq!(counts(&parts), [7, 7, 2]);
    let part = parts.remove(0);
    let half = part.encoded_len() / 2;
    for smaller in split(&rig, part, false) {
        let len = smaller.uncompressed_len();
        assert!(len <= half || smaller.record_count() == 1, "{len} bytes, and half is {half}");
    }
}

// ACC-6
#[test]
fn nothing_is_expected_of_the_codec_after_a_refusal_but_a_batch_that_is_split_ahead_says_nothing_of_it() {
    for (was_refused, expected) in [(true, 1.0), (false, 0.5)] {
        let rig = rig(Codec::Gzip);
        let batch = batch(&rig, [vec![0; 500], vec![1; 500]]);
        let partition = batch.partition().clone();
        while partition.ratio().get() > 0.5 {
            partition.ratio().observe(0.5);
        }
        assert!(rig.accumulator.split(batch, was_refused, false, 0).is_ok());
        assert_eq!(partition.ratio().get(), expected);
    }
}

// ACC-22, ACC-23
#[test]
fn one_record_is_not_split_whatever_was_refused() {
    let rig = rig(Codec::None);
    let two = batch(&rig, [vec![0; 100], vec![0; 100]]);
    let one = batch(&rig, [vec![0; 1000]]);
    assert!(!rig.accumulator.is_known_too_large(&two), "nothing was refused");
    one.partition().size_limit().learn(two.encoded_len(), 0, 0);
    assert!(rig.accumulator.is_known_too_large(&two));
    assert!(!rig.accumulator.is_known_too_large(&one));
    let back = rig.accumulator.split(one, true, false, 0).err().unwrap();
    assert_eq!(values(&back), [vec![0; 1000]]);
    assert_eq!(rig.queue_len(0), 0);
}

// ERR-3
#[test]
fn records_that_all_go_out_or_all_stay_are_not_sorted() {
    let rig = rig(Codec::None);
    let mut batch = batch(&rig, (0..3).map(|value| vec![value]));
    for all in [true, false] {
        batch = *rig.accumulator.sort_out(batch, |_| all, 0).err().unwrap();
    }
    assert_eq!(values(&batch), [[0], [1], [2]]);
    let (told, out) = rig.accumulator.sort_out(batch, |index| index == 1, 0).ok().unwrap();
    assert_eq!(told.len(), 3);
    assert_eq!(out.iter().map(values).collect::<Vec<_>>(), [[[1]]]);
    assert_eq!(drain(&rig).iter().map(values).collect::<Vec<_>>(), [[[0]], [[2]]]);
}
