//! Input from strangers: whatever the bytes, decoding ends, does not panic, and stays within its memory.

mod common;

use common::{body_vectors, vectors};
use proptest::{collection::vec, prelude::*, sample::Index};
use rohrpost_protocol::{
    ApiKey, CodecError, DecodeErrorKind, Decoder, HeaderError, Kind, Message, RequestHeader, ResponseHeader,
    VersionRange, describe_body, frame, messages::*, metadata_log::MetadataRecord, reencode_body,
};
use rohrpost_testing::memory::{Counting, allocated_by};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, if it allocated no more than input of this length justifies.
fn within_bound<T>(input_len: usize, work: impl FnOnce() -> T) -> T {
    let (result, allocated) = allocated_by(work);
    assert!(
        allocated <= 4 * input_len + 64 * 1024,
        "{allocated} bytes allocated for {input_len} bytes of input"
    );
    result
}

/// Everything that can be made of bytes from outside.
fn try_everything(api_key: i16, version: i16, kind: Kind, bytes: &[u8]) {
    let again = within_bound(bytes.len(), || reencode_body(api_key, version, kind, bytes));
    if let Ok(again) = again {
        assert!(again.len() <= bytes.len(), "a message grew");
        // what we write, we read, and write again in the same way
        assert_eq!(reencode_body(api_key, version, kind, &again).as_ref(), Ok(&again));
    }
}

/// All bodies that can be asked for.
fn every_body() -> impl Iterator<Item = (ApiKey, i16, Kind)> {
    ApiKey::ALL.iter().flat_map(|api| {
        api.all_versions()
            .iter()
            .flat_map(|version| [(*api, version, Kind::Request), (*api, version, Kind::Response)])
    })
}

#[test]
fn long_rows_of_one_byte_stay_within_the_bound() {
    // counts and lengths of all sizes, empty elements, tags without end
    for len in [1 << 10, 1 << 18] {
        for byte in [0x00, 0x01, 0x02, 0x03, 0x04, 0x20, 0x7f, 0x80, 0xfe, 0xff] {
            let bytes = vec![byte; len];
            for (api, version, kind) in every_body() {
                try_everything(api as i16, version, kind, &bytes);
            }
            let _ = within_bound(len, || MetadataRecord::decode_value(&bytes));
        }
    }
}

#[test]
fn an_array_of_the_smallest_elements_is_paid_for_before_it_is_made() {
    // CON-9: a compact array of a million topics, each of three bytes: less than the input says it holds, far more in memory
    let count: u32 = 1_000_000;
    let mut bytes = Vec::new();
    let mut left = count + 1;
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes.resize(bytes.len() + 3 * count as usize + 3, 0);
    bytes[3..].chunks_exact_mut(3).for_each(|element| element.copy_from_slice(&[2, b't', 0]));
    let result = within_bound(bytes.len(), || MetadataRequest::decode(&mut Decoder::new(&bytes), 9));
    let error = result.expect_err("more memory than the bound allows");
    assert!(matches!(error.kind(), DecodeErrorKind::OverBudget { .. }), "{error}");
    assert!(error.to_string().contains("MetadataRequest.topics"), "{error}");
}

#[test]
fn a_count_that_the_input_cannot_hold_takes_no_memory() {
    // CON-9
    for bytes in [&[0x7f, 0xff, 0xff, 0xff][..], &[0, 0, 0, 2, 0, 1, b'a']] {
        let (result, allocated) = allocated_by(|| MetadataRequest::decode(&mut Decoder::new(bytes), 1));
        assert_eq!(allocated, 0);
        let error = result.expect_err("there are not that many");
        assert!(matches!(error.kind(), DecodeErrorKind::CountBeyondInput { .. }), "{error}");
    }
}

#[test]
fn kept_unknown_tags_are_paid_for() {
    // a header's tagged section with as many empty fields as fit: in memory each takes far more than its two bytes
    let count = 100_u8;
    let mut bytes = vec![count];
    (0..count).for_each(|tag| bytes.extend([tag, 0]));
    let small = [&[0, 0, 0, 1][..], &bytes].concat();
    let mut keeping = Decoder::new(&small).keep_unknown_tags(true);
    let header = within_bound(small.len(), || ResponseHeader::decode(&mut keeping, 1)).expect("a header");
    assert_eq!(header.unknown_tags.len(), usize::from(count));

    let mut large = vec![0, 0, 0, 1, 0xff, 0x7f]; // 16383 fields
    for tag in 0..16383_u32 {
        if tag < 0x80 {
            large.extend([tag as u8, 0]);
        } else {
            large.extend([tag as u8 | 0x80, (tag >> 7) as u8, 0]);
        }
    }
    let mut keeping = Decoder::new(&large).keep_unknown_tags(true);
    let error =
        within_bound(large.len(), || ResponseHeader::decode(&mut keeping, 1)).expect_err("too many to keep");
    assert!(matches!(error.kind(), DecodeErrorKind::OverBudget { .. }), "{error}");
    assert!(ResponseHeader::decode(&mut Decoder::new(&large), 1).is_ok(), "skipped, they cost nothing");
}

#[test]
fn answers_about_many_partitions_are_not_mistaken_for_an_attack() {
    use rohrpost_protocol::Encoder;
    fn check<'a, M: Message<'a>>(message: &M, version: i16) {
        let mut out = Encoder::new();
        message.encode(&mut out, version).expect("a valid message");
        let bytes = out.into_parts().0;
        // the borrow of `bytes` is over when the function ends, so the message is decoded as one with a lifetime of its own
        let bytes: &'static [u8] = bytes.leak();
        let decoded = within_bound(bytes.len(), || M::decode(&mut Decoder::new(bytes), version).map(drop));
        assert_eq!(decoded, Ok(()), "{} of {} bytes", M::NAME, bytes.len());
    }
    let one = |id: i32| -> Box<[i32]> { [id].into() };
    let partitions = |count| {
        (0..count).map(|partition_index| MetadataResponsePartition {
            partition_index,
            replica_nodes: one(1),
            isr_nodes: one(1),
            ..Default::default()
        })
    };
    for version in [0, 8, 9, 12] {
        let topic = MetadataResponseTopic {
            name: Some("t"),
            partitions: partitions(50_000).collect(),
            ..Default::default()
        };
        check(&MetadataResponse { topics: vec![topic], ..Default::default() }, version);
        let topics = (0..20_000).map(|_| MetadataResponseTopic {
            name: Some("orders"),
            partitions: partitions(1).collect(),
            ..Default::default()
        });
        check(&MetadataResponse { topics: topics.collect(), ..Default::default() }, version);
    }
    let partitions = (0..2_000).map(|partition_index| DescribeTopicPartitionsResponsePartition {
        partition_index,
        replica_nodes: one(1),
        isr_nodes: one(1),
        ..Default::default()
    });
    let topic =
        DescribeTopicPartitionsResponseTopic { partitions: partitions.collect(), ..Default::default() };
    check(&DescribeTopicPartitionsResponse { topics: vec![topic], ..Default::default() }, 0);
    for version in [12, 18] {
        let partitions =
            (0..10_000).map(|partition_index| PartitionData { partition_index, ..Default::default() });
        let topic = FetchableTopicResponse { partitions: partitions.collect(), ..Default::default() };
        check(&FetchResponse { responses: vec![topic], ..Default::default() }, version);
    }
    for version in [3, 9, 13] {
        let partitions = (0..50_000).map(|index| PartitionProduceResponse { index, ..Default::default() });
        let topic = TopicProduceResponse { partition_responses: partitions.collect(), ..Default::default() };
        check(&ProduceResponse { responses: vec![topic], ..Default::default() }, version);
    }
}

#[test]
fn an_unknown_api_or_version_is_named() {
    assert_eq!(reencode_body(-1, 0, Kind::Request, &[]), Err(CodecError::UnknownApi(-1)));
    assert_eq!(reencode_body(999, 0, Kind::Request, &[]), Err(CodecError::UnknownApi(999)));
    for version in [i16::MIN, -1, 14, i16::MAX] {
        let error = reencode_body(3, version, Kind::Request, &[]).expect_err("no such version");
        assert_eq!(error.to_string(), format!("MetadataRequest: has no version {version} (after 0 bytes)"));
    }
}

#[test]
fn a_header_says_what_a_broker_needs_to_close_the_connection() {
    // G1
    let read = |bytes: &[u8]| {
        RequestHeader::read(&mut Decoder::new(bytes)).map(|(api, header)| (api, header.api_version))
    };
    assert_eq!(read(&[0x7f, 0, 0, 1, 0, 0]), Err(HeaderError::UnknownApi { api_key: 0x7f00, version: 1 }));
    assert_eq!(
        read(&[0, 4, 0, 1]),
        Err(HeaderError::UnknownApi { api_key: 4, version: 1 }),
        "removed from Kafka 4"
    );
    let refused = HeaderError::UnsupportedVersion { api: ApiKey::Produce, version: 2 };
    assert_eq!(refused.to_string(), "Produce has no version 2; versions 3-13 are known");
    // VER-5: listed from 0 on, refused below 3
    assert_eq!(read(&[0, 0, 0, 2, 0, 0, 0, 1, 0, 0]), Err(refused));
    assert_eq!(ApiKey::Produce.advertised_versions(), VersionRange::new(0, 13));
    assert!(matches!(read(&[0, 3]), Err(HeaderError::Malformed(_))));
    // VER-5: not in force
    let unstable = read(&[0, 22, 0, 6, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(unstable, Err(HeaderError::UnsupportedVersion { api: ApiKey::InitProducerId, version: 6 }));
}

#[test]
fn a_null_client_id_counts_as_empty() {
    // G7
    let bytes = [0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let (_, header) = RequestHeader::read(&mut Decoder::new(&bytes)).expect("a header");
    assert_eq!((header.client_id, header.client_name()), (None, ""));
}

#[test]
fn api_versions_in_a_version_that_does_not_exist_has_a_header_of_version_2() {
    // G3
    for version in [5, 99, i16::MAX, -1] {
        let mut bytes = vec![0, 18];
        bytes.extend(version.to_be_bytes());
        bytes.extend([0, 0, 0, 7, 0, 1, b'c', 1, 9, 2, 0xaa, 0xbb, 0xff, 0xff]);
        let mut input = Decoder::new(&bytes);
        let (api, header) = RequestHeader::read(&mut input).expect("the header is good");
        assert_eq!((api, header.api_version, header.correlation_id), (ApiKey::ApiVersions, version, 7));
        assert_eq!(header.client_id, Some("c"));
        assert_eq!(input.rest(), [0xff, 0xff], "the body has not been looked at");
    }
    assert_eq!(ApiKey::ApiVersions.request_header_version(2), 1);
    assert_eq!((0..=4).map(|v| ApiKey::ApiVersions.response_header_version(v)).max(), Some(0));
}

#[test]
fn repeated_and_falling_tags_are_refused() {
    for (tags, accepted) in [
        (&[2, 5, 0, 6, 0][..], true),
        (&[2, 5, 0, 5, 0], false),
        (&[2, 6, 0, 5, 0], false),
        (&[1, 5, 1], false),
        (&[3, 5, 0, 6, 0], false),
    ] {
        let bytes = [&[0, 0, 0, 1], tags].concat();
        assert_eq!(ResponseHeader::decode(&mut Decoder::new(&bytes), 1).is_ok(), accepted, "{tags:?}");
    }
}

#[test]
fn a_known_tagged_field_has_the_size_that_it_says() {
    // the cluster id of a fetch request, tag 0: a compact string of two bytes in a field of two, three and four bytes
    let before = [0, 0, 1, 0xf4, 0, 0, 0, 1, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 1, 1];
    // version 12 has the replica id in front
    let request = |tail: &[u8]| [&[0xff, 0xff, 0xff, 0xff], &before[..20], &[0xff, 1, 1, 1], tail].concat();
    let decode = |bytes: &[u8]| {
        FetchRequest::decode(&mut Decoder::new(bytes), 12).map(|r| r.cluster_id.map(str::to_owned))
    };
    assert_eq!(decode(&request(&[1, 0, 3, 3, b'a', b'b'])), Ok(Some("ab".to_owned())));
    assert!(decode(&request(&[1, 0, 2, 3, b'a', b'b'])).is_err(), "cut by its size");
    let error = decode(&request(&[1, 0, 4, 3, b'a', b'b', 0])).expect_err("a byte is left");
    assert_eq!(error.kind(), &DecodeErrorKind::BytesLeft { count: 1 });
}

#[test]
fn bytes_after_a_valid_body_are_ignored() {
    // G2
    for vector in body_vectors().step_by(7) {
        let mut bytes = vector.hex("hex");
        let whole = bytes.clone();
        bytes.extend([1, 2, 3]);
        assert_eq!(
            reencode_body(vector.api as i16, vector.version, vector.kind, &bytes),
            Ok(whole),
            "{}",
            vector.id
        );
    }
}

/// How a valid message is spoiled.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Remove(Index),
    Insert(Index, u8),
    Truncate(Index),
    /// Copies a stretch to another place.
    Repeat(Index, Index, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(vec![0, 1, 2, 0x7f, 0x80, 0xfe, 0xff])];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        any::<Index>().prop_map(Edit::Remove),
        (any::<Index>(), byte).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        any::<Index>().prop_map(Edit::Truncate),
        (any::<Index>(), any::<Index>(), any::<u8>()).prop_map(|(from, to, len)| Edit::Repeat(from, to, len)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edits: &[Edit]) {
    for edit in edits {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match edit {
            Edit::Set(at, byte) => bytes[at.index(len)] = *byte,
            Edit::Remove(at) => drop(bytes.remove(at.index(len))),
            Edit::Insert(at, byte) => bytes.insert(at.index(len), *byte),
            Edit::Truncate(at) => bytes.truncate(at.index(len)),
            Edit::Repeat(from, to, count) => {
                let from = from.index(len);
                let stretch = bytes[from..len.min(from + usize::from(*count))].to_vec();
                let to = to.index(len);
                bytes.splice(to..to, stretch);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_do_no_harm(
        bytes in vec(any::<u8>(), 0..600),
        api in prop::sample::select(ApiKey::ALL.to_vec()),
        version in 0..19_i16,
    ) {
        for kind in [Kind::Request, Kind::Response] {
            try_everything(api as i16, version, kind, &bytes);
            let _ = describe_body(api as i16, version, kind, &bytes);
        }
        let _ = within_bound(bytes.len(), || MetadataRecord::decode_value(&bytes).map(drop));
        let _ = within_bound(bytes.len(), || RequestHeader::read(&mut Decoder::new(&bytes)).map(drop));
        let _ = within_bound(bytes.len(), || ResponseHeader::decode(&mut Decoder::new(&bytes), 1).map(drop));
        let _ = within_bound(bytes.len(), || ApiVersionsResponse::decode_answer(&bytes, 4).map(drop));
        let _ = within_bound(bytes.len(), || frame::check(&bytes, 1 << 20));
    }

    #[test]
    fn spoiled_messages_do_no_harm(which in any::<Index>(), edits in vec(edit(), 1..6)) {
        thread_local!(static BODIES: Vec<(ApiKey, Kind, i16, Vec<u8>)> =
            body_vectors().map(|v| (v.api, v.kind, v.version, v.hex("hex"))).collect());
        BODIES.with(|bodies| {
            let (api, kind, version, bytes) = which.get(bodies);
            let mut bytes = bytes.clone();
            apply(&mut bytes, &edits);
            try_everything(*api as i16, *version, *kind, &bytes);
        });
    }

    #[test]
    fn spoiled_metadata_records_do_no_harm(which in any::<Index>(), edits in vec(edit(), 1..6)) {
        thread_local!(static VALUES: Vec<Vec<u8>> =
            vectors("metadata_records.jsonl").iter().map(|v| v.hex("value")).collect());
        VALUES.with(|values| {
            let mut value = which.get(values).clone();
            apply(&mut value, &edits);
            let decoded = within_bound(value.len(), || MetadataRecord::decode_value(&value));
            if let Ok((record, version)) = decoded {
                let again = record.encode_value(version).expect("what was read can be written");
                assert_eq!(MetadataRecord::decode_value(&again), Ok((record, version)));
            }
        });
    }
}
